"""CL4SRec: its views, its contrastive loss against a double loop, and what it does in fit."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from padded_twins import causal_mask, shake, twin_of_encoder
from torch import Tensor

from seqregen import Origin, SequenceDataset
from seqregen.model_selection import hold_out_last, leave_one_out
from seqregen.ragged import offsets_from_lengths
from seqregen.targets import CL4SRec, SASRec
from seqregen.targets.cl4srec import CL4SRecNetwork, ContrastiveTerm, info_nce
from seqregen.targets.views import Views, crop, mask, reorder
from seqregen.training import next_item_rows
from seqregen.training.batches import history_batches

CPU = torch.device("cpu")
N_ITEMS, WIDTH, HEADS, LAYERS, HIDDEN, LONGEST = 9, 8, 2, 2, 12, 6
TOKEN = N_ITEMS + 1

some_rows = st.lists(st.lists(st.integers(1, N_ITEMS), min_size=1, max_size=12), min_size=1, max_size=12)
rates = st.sampled_from([0.0, 0.1, 0.2, 0.4, 0.5, 0.7, 1.0])


def flat(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    return items, offsets_from_lengths(np.array([len(row) for row in rows]))


def rows_of(items: np.ndarray, offsets: np.ndarray) -> list[list[int]]:
    assert len(items) == offsets[-1]
    return [row.tolist() for row in np.split(items, offsets[1:-1])]


def dataset_of(rows: list[list[int]]) -> SequenceDataset:
    return SequenceDataset(*flat(rows), np.arange(1, N_ITEMS + 1))


@pytest.fixture
def tiny_cl4srec(tiny):
    def make(**changes) -> CL4SRec:
        settings = {name: value for name, value in tiny().get_params().items() if name not in changes}
        return CL4SRec(**settings, **changes)

    return make


def assert_same(first, second):
    pairs = zip(first.network_.state_dict().values(), second.network_.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert [record["loss"] for record in first.history_] == [record["loss"] for record in second.history_]


# Views


@given(some_rows, rates, st.integers(0, 1000))
@settings(deadline=None)
def test_a_crop_is_one_piece_of_the_promised_length(rows, rate, seed):
    cropped = rows_of(*crop(*flat(rows), rate, np.random.default_rng(seed)))
    assert len(cropped) == len(rows)
    for row, piece in zip(rows, cropped, strict=True):
        assert len(piece) == max(1, math.floor(rate * len(row)))
        assert any(row[start : start + len(piece)] == piece for start in range(len(row)))


@given(some_rows, rates, st.integers(0, 1000))
@settings(deadline=None)
def test_a_mask_hides_the_promised_number_and_leaves_the_rest(rows, rate, seed):
    masked = rows_of(*mask(*flat(rows), rate, TOKEN, np.random.default_rng(seed)))
    for row, view in zip(rows, masked, strict=True):
        assert len(view) == len(row)
        assert view.count(TOKEN) == math.floor(rate * len(row))
        assert all(seen in (item, TOKEN) for item, seen in zip(row, view, strict=True))


@given(some_rows, rates, st.integers(0, 1000))
@settings(deadline=None)
def test_a_reordering_shuffles_one_piece_of_the_promised_length(rows, rate, seed):
    reordered = rows_of(*reorder(*flat(rows), rate, np.random.default_rng(seed)))
    for row, view in zip(rows, reordered, strict=True):
        assert sorted(view) == sorted(row)
        changed = [place for place, (item, seen) in enumerate(zip(row, view, strict=True)) if item != seen]
        if changed:
            assert changed[-1] - changed[0] < math.floor(rate * len(row))


def test_all_places_are_drawn_alike():
    row, random = list(range(1, 7)), np.random.default_rng(0)
    starts, hidden, orders = np.zeros(6), np.zeros(6), {}
    n_rows = 6000
    items, offsets = flat([row] * n_rows)
    for piece in rows_of(*crop(items, offsets, 0.5, random)):
        starts[piece[0] - 1] += 1
    for view in rows_of(*mask(items, offsets, 0.5, TOKEN, random)):
        hidden += np.array(view) == TOKEN
    for view in rows_of(*reorder(items, offsets, 0.5, random)):
        orders[tuple(view)] = orders.get(tuple(view), 0) + 1
    # Four pieces of three items; each item masked in half of the rows; six orders of each piece.
    np.testing.assert_allclose(starts[:4] / n_rows, 1 / 4, atol=0.03)
    np.testing.assert_allclose(hidden / n_rows, 1 / 2, atol=0.03)
    assert orders[tuple(row)] / n_rows == pytest.approx(1 / 6, abs=0.03)
    # Four times five orders that change something, some of them reached from two pieces.
    assert len(orders) == 1 + 4 * 5 - 3


def test_one_operator_makes_a_whole_view():
    rows = [[1, 2, 3, 4, 5, 6, 7, 8, 9]] * 50
    views, random = Views(0.5, 0.5, 0.5, TOKEN), np.random.default_rng(0)
    kinds = []
    for _ in range(300):
        items, offsets = views.draw(*flat(rows), random)
        view = rows_of(items, offsets)
        kind = "crop" if len(view[0]) == 4 else "mask" if TOKEN in view[0] else "reorder"
        assert {len(row) for row in view} == {len(view[0])}
        assert all((TOKEN in row) == (kind == "mask") for row in view)
        kinds.append(kind)
    shares = [kinds.count(kind) / 300 for kind in ("crop", "mask", "reorder")]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.1)


@given(some_rows, st.integers(0, 1000))
@settings(deadline=None)
def test_views_leave_the_rows_as_they_are_and_repeat(rows, seed):
    items, offsets = flat(rows)
    kept = items.copy()
    items.flags.writeable = False
    views = Views(0.4, 0.7, 0.6, TOKEN)
    first, second = (views.draw(items, offsets, np.random.default_rng(seed)) for _ in range(2))
    for ours, again in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, again)
    np.testing.assert_array_equal(items, kept)


# The contrastive loss


def info_nce_by_hand(first: Tensor, second: Tensor) -> float:
    losses = []
    for i in range(len(first)):
        candidates = []
        for j in range(len(first)):
            candidates.append(float(first[i] @ second[j]))
            if j != i:
                candidates.append(float(first[i] @ first[j]))
        losses.append(math.log(sum(map(math.exp, candidates))) - float(first[i] @ second[i]))
    return sum(losses) / len(losses)


@given(st.integers(1, 7), st.integers(0, 100))
@settings(deadline=None)
def test_info_nce_is_that_of_a_double_loop(n_rows, seed):
    first, second = torch.randn(2, n_rows, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert info_nce(first, second).item() == pytest.approx(info_nce_by_hand(first, second), abs=1e-12)


def test_info_nce_can_be_differentiated_twice():
    pair = [torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(info_nce, pair)
    assert torch.autograd.gradgradcheck(info_nce, pair)


# The network and the term


def make_network(seed: int) -> CL4SRecNetwork:
    network = CL4SRecNetwork(
        n_items=N_ITEMS, width=WIDTH, n_layers=LAYERS, n_heads=HEADS, hidden=HIDDEN, dropout=0.0, max_length=LONGEST
    ).double()
    shake(network, seed)
    return network


def plain_states(network: CL4SRecNetwork, row: list[int]) -> Tensor:
    """One row, with mask tokens, through torch's own layers, padded behind."""
    table = torch.cat([network.items.weight, network.mask_token.weight])
    codes = torch.tensor([row + [0] * (LONGEST - len(row))])
    tokens = table[(codes - 1).clamp(min=0)] + network.positions.weight
    for ours in network.layers:
        twin = twin_of_encoder(ours, HIDDEN)
        tokens = twin(tokens, src_mask=causal_mask(LONGEST), src_key_padding_mask=codes == 0, is_causal=True)
    return tokens[0, : len(row)]


@dataclass(frozen=True)
class Recording(Views):
    """Views that remember what they drew."""

    drawn: list = field(default_factory=list)

    def draw(self, items, offsets, random):
        view = super().draw(items, offsets, random)
        self.drawn.append(rows_of(*view))
        return view


def make_term(rows: SequenceDataset, follow_batch: bool = True, weight: float = 0.3) -> ContrastiveTerm:
    views = Recording(crop_rate=0.5, mask_rate=0.5, reorder_rate=0.8, token=TOKEN)
    return ContrastiveTerm(next_item_rows(rows, LONGEST), follow_batch, views, weight, CPU)


@pytest.mark.parametrize("seed", range(6))
def test_the_term_is_that_of_rows_encoded_one_by_one(seed):
    data = dataset_of([[1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 1, 2], [2, 5], [2, 2, 5, 6], [4], [9, 8, 7, 6, 5]])
    network, term = make_network(seed), make_term(data)
    batch = term.rows.batch(np.array([4, 0, 1, 3, 2]), CPU)
    value = term(network, batch, np.random.default_rng(seed))
    first, second = term.views.drawn
    # Rows of two items are read as one item, and left out.
    assert len(first) == len(second) == 4
    means = [torch.stack([plain_states(network, row).mean(0) for row in view]).detach() for view in (first, second)]
    assert value.item() == pytest.approx(0.3 * info_nce_by_hand(*means), rel=1e-8)


def test_no_row_has_two_views():
    term = make_term(dataset_of([[1, 2], [3, 4], [5, 6]]))
    batch = term.rows.batch(np.arange(3), CPU)
    assert term(make_network(0), batch, np.random.default_rng(0)).item() == 0
    # A single pair has nothing to be told from.
    term = make_term(dataset_of([[1, 2, 3], [3, 4]]))
    assert term(make_network(0), term.rows.batch(np.arange(2), CPU), np.random.default_rng(0)).item() == 0


def test_views_are_made_of_the_rows_that_were_asked_for(tiny_cl4srec):
    # Original rows hold odd items, added ones even items.
    originals = dataset_of([[1, 3, 5, 7], [3, 5, 7, 9], [5, 7, 9, 1], [7, 9]])
    added = originals.append(np.array([2, 4, 6, 8, 4, 6, 8, 2]), np.array([0, 4, 8]), Origin.REGENERATED)
    rates = {"crop_rate": 1.0, "mask_rate": 0.0, "reorder_rate": 0.0, "max_length": LONGEST}
    batch_of = {"regenerated": np.array([4, 0, 5]), "original": np.array([4, 5, 4])}
    network = make_network(0)
    for augment, batch_rows in batch_of.items():
        term = tiny_cl4srec(augment=augment, **rates)._added_loss(added, CPU)
        recording = Recording(**asdict(term.views))
        term = replace(term, views=recording)
        batch = next_item_rows(added, LONGEST).batch(batch_rows, CPU)
        for seed in range(10):
            recording.drawn.clear()
            term(network, batch, np.random.default_rng(seed))
            first, second = recording.drawn
            # All rates leave rows as they are.
            assert first == second
            if augment == "regenerated":
                assert sorted(first) == [[1, 3, 5], [2, 4, 6], [4, 6, 8]]
            else:
                # As many rows as the batch has, drawn from four, of which one is too short.
                assert len(first) in (2, 3)
                assert all(item % 2 for row in first for item in row)
                assert len({tuple(row) for row in first}) == len(first)


def test_as_many_rows_as_there_are(tiny_cl4srec):
    data = dataset_of([[1, 3, 5], [3, 5, 7]]).append(np.tile([2, 4, 6], 30), np.arange(0, 91, 3), Origin.MINED)
    term = tiny_cl4srec(augment="original")._added_loss(data, CPU)
    batch = next_item_rows(data, LONGEST).batch(np.arange(32), CPU)
    assert np.isfinite(term(make_network(0), batch, np.random.default_rng(0)).item())


def test_no_original_row_to_make_views_of(tiny_cl4srec):
    data = dataset_of([[1], [2]]).append(np.array([1, 2, 3]), np.array([0, 3]), Origin.MINED)
    with (
        pytest.warns(UserWarning, match="plateau"),
        pytest.raises(ValueError, match="none of them has two items or more; use augment='regenerated'"),
    ):
        tiny_cl4srec(augment="original").fit(data)


@given(
    st.lists(st.lists(st.integers(1, TOKEN), min_size=1, max_size=LONGEST), min_size=1, max_size=9), st.integers(0, 9)
)
@settings(max_examples=20, deadline=None)
def test_batch_mates_and_mask_tokens_change_no_state(rows, seed):
    network = make_network(seed)
    data = SequenceDataset(*flat(rows), np.arange(1, TOKEN + 1))
    with torch.no_grad():
        for batch in history_batches(data, LONGEST, 100, CPU):
            together = network.states(batch).split([len(rows[row]) for row in batch.rows])
            for row, states in zip(batch.rows, together, strict=True):
                torch.testing.assert_close(states, plain_states(network, rows[row]), rtol=1e-7, atol=1e-10)


def test_gradients_of_items_and_of_the_mask_token():
    network, row = make_network(1), [3, TOKEN, 1, TOKEN]
    data = SequenceDataset(*flat([row]), np.arange(1, TOKEN + 1))
    network.states(next(iter(history_batches(data, LONGEST, 1, CPU)))).square().sum().backward()
    twin = copy.deepcopy(network)
    twin.zero_grad()
    plain_states(twin, row).square().sum().backward()
    for name in ("items", "mask_token", "positions"):
        ours, theirs = (getattr(one, name).weight.grad for one in (network, twin))
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)
    assert not network.items.weight.grad[[1, 3, 4, 5, 6, 7, 8]].any()


def test_the_mask_token_is_no_item(tiny_cl4srec, sequences):
    model = tiny_cl4srec().fit(sequences)
    assert model.network_.item_table().shape == model.item_embeddings_.shape == (24, 8)
    assert sorted(model.predict(sequences, k=24, exclude_history=False)[0]) == sorted(sequences.vocabulary)
    # It learns.
    started = tiny_cl4srec()._make_network(sequences)
    seed = np.random.RandomState(0).randint(2**31 - 1)
    tiny_cl4srec()._draw_weights(started, torch.Generator().manual_seed(seed))
    assert not torch.equal(model.network_.mask_token.weight, started.mask_token.weight)


# The estimator


def test_without_the_term_it_is_sasrec(tiny, tiny_cl4srec, sequences):
    plain, ours = tiny().fit(sequences), tiny_cl4srec(contrast_weight=0).fit(sequences)
    for name, value in plain.network_.state_dict().items():
        assert torch.equal(ours.network_.state_dict()[name], value)
    assert [record["loss"] for record in ours.history_] == [record["loss"] for record in plain.history_]
    with_term = tiny_cl4srec().fit(sequences)
    assert not torch.equal(with_term.network_.items.weight, ours.network_.items.weight)


@pytest.mark.parametrize("changes", [{"loss": "sampled_softmax"}, {"loss": "bce"}, {"augment": "original"}])
def test_it_learns_planted_transitions(tiny_cl4srec, changes):
    rows = [[(start + step) % 12 for step in range(2 + start % 7)] for start in range(60)]
    X, y = leave_one_out(rows)
    changes = changes | {"n_negatives": None, "max_epochs": 60, "learning_rate": 0.02, "dropout": 0.1, "patience": 60}
    assert tiny_cl4srec(**changes).fit(X).score(X, y) > 0.8


def test_the_term_draws_views_together(tiny_cl4srec, sequences):
    X, _ = leave_one_out(sequences, validation=True)
    settings = {"contrast_weight": 1.0, "max_epochs": 15, "learning_rate": 0.01, "patience": 15}
    nothing_to_predict = X.replace(weights=np.zeros(X.n_interactions, np.float32))
    losses = [record["loss"] for record in tiny_cl4srec(**settings).fit(nothing_to_predict).history_]
    # Weights of positions say nothing about the term, which is all that is left to learn.
    assert losses[-1] < 0.9 * losses[0]


def test_weights_are_honoured_and_the_term_heeds_none(tiny_cl4srec, sequences):
    X = hold_out_last(sequences)
    once = {"max_epochs": 1, "batch_size": 100, "dropout": 0.0}
    whole, half, none = (
        tiny_cl4srec(**once).fit(X.replace(weights=np.full(X.n_interactions, weight, np.float32))).history_[0]["loss"]
        for weight in (1.0, 0.5, 0.0)
    )
    assert none > 0
    assert half - none == pytest.approx((whole - none) / 2, rel=1e-4)


def test_the_random_state_decides(tiny_cl4srec, sequences):
    for augment in ("regenerated", "original"):
        assert_same(tiny_cl4srec(augment=augment).fit(sequences), tiny_cl4srec(augment=augment).fit(sequences))
    other = tiny_cl4srec(random_state=1).fit(sequences)
    assert not torch.equal(other.network_.items.weight, tiny_cl4srec().fit(sequences).network_.items.weight)


def test_pickling_and_checkpoints(tiny_cl4srec, sequences, tmp_path):
    expected = tiny_cl4srec().fit(sequences)
    again = pickle.loads(pickle.dumps(expected))
    np.testing.assert_array_equal(again.predict(sequences), expected.predict(sequences))
    assert_same(again, expected)
    assert_same(tiny_cl4srec(checkpoint_dir=tmp_path).fit(sequences), expected)
    assert_same(tiny_cl4srec(checkpoint_dir=tmp_path).fit(sequences), expected)
    tiny_cl4srec(checkpoint_dir=tmp_path, crop_rate=0.4).fit(sequences)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_published_setting():
    model = CL4SRec.reference()
    assert (model.loss, model.n_negatives, model.contrast_weight, model.augment) == ("bce", 1, 0.1, "regenerated")
    assert (model.crop_rate, model.mask_rate, model.reorder_rate) == (0.2, 0.7, 0.2)
    # All that SASRec has, in the same order and with the same defaults.
    theirs, ours = SASRec().get_params(), CL4SRec().get_params()
    assert {name: ours[name] for name in theirs} == theirs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment": "none"}, "CL4SRec: augment must be one of 'regenerated', 'original'; got 'none'"),
        ({"contrast_weight": -0.1}, r"CL4SRec: contrast_weight must be a number in \[0, inf\)"),
        ({"crop_rate": 1.1}, r"CL4SRec: crop_rate must be a number in \[0, 1\]"),
        ({"mask_rate": float("nan")}, "CL4SRec: mask_rate must be"),
        ({"reorder_rate": "half"}, "CL4SRec: reorder_rate must be"),
        ({"embedding_dim": 9}, "CL4SRec: n_heads=2 must divide embedding_dim=9"),
    ],
)
def test_bad_parameters_are_named_in_fit(tiny_cl4srec, sequences, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_cl4srec(**changes).fit(sequences)
