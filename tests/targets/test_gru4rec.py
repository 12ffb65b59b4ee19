"""GRU4Rec: its network against a padded one in plain torch, its published setting, and that it learns."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seqregen import SequenceDataset
from seqregen.datasets import make_sequences
from seqregen.labels import encode_labels
from seqregen.metrics import ndcg_at_k, rank_targets
from seqregen.model_selection import hold_out_last, leave_one_out
from seqregen.nn import RandomMasks, use_masks
from seqregen.targets import GRU4Rec
from seqregen.targets.gru4rec import GRU4RecNetwork
from seqregen.training import LOSSES, NextItemLoss, next_item_rows
from seqregen.training.batches import history_batches

CPU = torch.device("cpu")
N_ITEMS, WIDTH, LAYERS, HIDDEN, LONGEST = 9, 4, 2, 6, 6


class PlainGRU4Rec(nn.Module):
    """Post-padded rows of item codes, 0 for padding; nothing ragged."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Embedding(N_ITEMS + 1, WIDTH, padding_idx=0)
        self.recurrent = nn.GRU(WIDTH, HIDDEN, LAYERS, bias=False, batch_first=True)
        self.output = nn.Linear(HIDDEN, WIDTH)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return self.output(self.recurrent(self.items(codes))[0])


def networks(seed: int) -> tuple[GRU4RecNetwork, PlainGRU4Rec]:
    generator = torch.Generator().manual_seed(seed)
    ours, plain = GRU4RecNetwork(N_ITEMS, WIDTH, LAYERS, HIDDEN, 0.0).double(), PlainGRU4Rec().double()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
        plain.items.weight[1:] = ours.items.weight
    plain.recurrent.load_state_dict(ours.recurrent.state_dict())
    plain.output.load_state_dict(ours.output.state_dict())
    return ours, plain


def dataset_of(rows: list[list[int]]) -> SequenceDataset:
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    return SequenceDataset(items, np.cumsum([0, *map(len, rows)]), np.arange(1, N_ITEMS + 1))


def padded(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor([row + [0] * (LONGEST - len(row)) for row in rows])


def states_of_row(network: GRU4RecNetwork, rows: list[list[int]], row: int) -> torch.Tensor:
    """States of one of the rows, with all of them in one batch."""
    (batch,) = history_batches(dataset_of(rows), LONGEST, len(rows), CPU)
    place = batch.rows.tolist().index(row)
    stop = int(batch.last[place]) + 1
    return network.states(batch)[stop - len(rows[row]) : stop]


a_row = st.lists(st.integers(1, N_ITEMS), min_size=1, max_size=LONGEST)
some_rows = st.lists(st.lists(st.integers(1, N_ITEMS), min_size=1, max_size=10), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(some_rows, st.integers(0, 100))
def test_states_are_those_of_the_plain_network(rows, seed):
    ours, plain = networks(seed)
    expected = plain(padded([row[-LONGEST:] for row in rows]))
    for batch in history_batches(dataset_of(rows), LONGEST, 5, CPU):
        states, bounds = ours.states(batch), [0, *(batch.last + 1).tolist()]
        for row, start, stop in zip(batch.rows, bounds, bounds[1:], strict=False):
            torch.testing.assert_close(states[start:stop], expected[row, : stop - start], rtol=1e-8, atol=1e-11)
        torch.testing.assert_close(ours.last_states(batch), states[batch.last], rtol=1e-10, atol=1e-12)


def test_the_training_loss_is_that_of_the_plain_network():
    ours, plain = networks(1)
    rows = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 1], [2, 2, 5], [4]]
    table = next_item_rows(dataset_of(rows), LONGEST)
    batch = table.batch(np.arange(len(table)), CPU)
    objective = NextItemLoss("ce", N_ITEMS, 1)
    loss = objective.per_position(ours.states(batch), ours.item_table(), batch.targets, np.random.default_rng(0)).mean()
    loss.backward()
    used = [row[-LONGEST - 1 :] for row in rows[:3]]
    states = plain(padded([row[:-1] for row in used]))
    targets = padded([row[1:] for row in used])
    scores = states @ plain.items.weight[1:].T
    expected = nn.functional.cross_entropy(scores[targets > 0], targets[targets > 0] - 1)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.items.weight.grad, plain.items.weight.grad[1:], rtol=1e-8, atol=1e-12)
    for name, parameter in ours.named_parameters():
        if name != "items.weight":
            torch.testing.assert_close(parameter.grad, plain.get_parameter(name).grad, rtol=1e-8, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(a_row, st.lists(a_row, min_size=1, max_size=6), st.integers(0, 20))
def test_batch_mates_change_no_state(row, others, seed):
    network, _ = networks(seed)
    alone = states_of_row(network, [row], 0)
    torch.testing.assert_close(states_of_row(network, [*others, row], len(others)), alone, rtol=1e-10, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, N_ITEMS), min_size=2, max_size=LONGEST), st.integers(1, 5), st.integers(0, 20))
def test_future_items_change_no_state(row, changed_from, seed):
    network, _ = networks(seed)
    other = row[:changed_from] + [item % N_ITEMS + 1 for item in row[changed_from:]]
    states, changed = (states_of_row(network, [items], 0) for items in (row, other))
    assert torch.equal(states[:changed_from], changed[:changed_from])
    if len(row) > changed_from:
        assert not torch.equal(states[changed_from:], changed[changed_from:])


def test_dropout_falls_on_the_item_vectors_alone():
    network = GRU4RecNetwork(N_ITEMS, WIDTH, LAYERS, HIDDEN, 0.5).double().train()
    (batch,) = history_batches(dataset_of([[1, 2, 3], [4]]), LONGEST, 2, CPU)
    drawn = []
    network.dropout.register_forward_hook(lambda module, inputs, output: drawn.append((inputs[0], output)))
    use_masks(network, RandomMasks(0, CPU))
    assert not torch.equal(network.states(batch), network.states(batch))
    for vectors, dropped in drawn:
        assert vectors.shape == (4, WIDTH)
        assert set((dropped / vectors).unique().tolist()) == {0.0, 2.0}
    assert torch.equal(network.eval().states(batch), network.states(batch))


def test_the_published_architecture_is_the_default():
    data = SequenceDataset.from_sequences([range(100)])
    network = GRU4Rec()._make_network(data)
    assert {name: tuple(parameter.shape) for name, parameter in network.named_parameters()} == {
        "items.weight": (100, 64),
        "recurrent.weight_ih_l0": (768, 64),
        "recurrent.weight_hh_l0": (768, 256),
        "recurrent.weight_ih_l1": (768, 256),
        "recurrent.weight_hh_l1": (768, 256),
        "output.weight": (64, 256),
        "output.bias": (64,),
    }
    assert network.dropout.rate == 0.2
    assert network.recurrent.dropout == 0
    GRU4Rec()._draw_weights(network, torch.Generator().manual_seed(0))
    assert network.items.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert network.output.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not network.output.bias.any()
    # Uniform within 1 / sqrt(256).
    assert network.recurrent.weight_hh_l1.std().item() == pytest.approx(1 / 16 / 3**0.5, rel=0.02)


@pytest.mark.parametrize("changes", [{}, {"embedding_dim": 32}])
def test_the_reference_is_the_published_setting(changes):
    model = GRU4Rec.reference(**changes)
    assert (model.loss, model.n_negatives, model.batch_size, model.patience) == ("bce", 1, 256, 20)
    assert (model.learning_rate, model.weight_decay, model.max_epochs) == (1e-3, 1e-4, 1000)
    assert (model.n_layers, model.hidden_dim, model.dropout, model.max_length) == (2, 256, 0.2, 50)
    assert model.embedding_dim == changes.get("embedding_dim", 64)


def tiny(**changes) -> GRU4Rec:
    sizes = {"embedding_dim": 8, "n_layers": 2, "hidden_dim": 12, "max_length": 6}
    training = {"n_negatives": 5, "batch_size": 16, "max_epochs": 3, "random_state": 0}
    return GRU4Rec(**(sizes | training | changes))


def parameters(model: GRU4Rec) -> list[torch.Tensor]:
    return list(model.network_.state_dict().values())


def assert_same(first: GRU4Rec, second: GRU4Rec) -> None:
    assert all(torch.equal(a, b) for a, b in zip(parameters(first), parameters(second), strict=True))


def test_it_beats_popularity():
    X, y = leave_one_out(make_sequences(n_sequences=300, n_items=40, random_state=0))
    sizes = {"embedding_dim": 16, "hidden_dim": 24, "n_layers": 1, "max_length": 20}
    model = tiny(n_negatives=None, max_epochs=10, learning_rate=0.01, **sizes).fit(X)
    counts = torch.from_numpy(model.item_counts_)[:, None].float()
    targets = encode_labels(y, model.vocabulary_)
    by_popularity = rank_targets(torch.ones(len(X), 1), counts, targets, (X.items, X.offsets))
    assert model.score(X, y) > 1.5 * ndcg_at_k(by_popularity, 10)


@pytest.mark.parametrize("loss", LOSSES)
def test_it_learns_planted_transitions(loss):
    rows = [[(start + step) % 12 for step in range(2 + start % 7)] for start in range(60)]
    X, y = leave_one_out(rows)
    sizes = {"embedding_dim": 32, "hidden_dim": 32, "n_layers": 1, "dropout": 0.1, "weight_decay": 0.0}
    model = tiny(loss=loss, n_negatives=8, max_epochs=60, learning_rate=0.02, patience=60, **sizes).fit(X)
    assert model.score(X, y) > 0.8


def test_the_random_state_decides(sequences):
    # What else draws from torch's own generator must not matter.
    torch.manual_seed(1)
    first = tiny().fit(sequences)
    torch.manual_seed(2)
    assert_same(first, tiny().fit(sequences))
    other = tiny(random_state=1).fit(sequences)
    assert not any(torch.equal(a, b) for a, b in zip(parameters(first), parameters(other), strict=True))


def test_weights_are_honoured(sequences):
    X = hold_out_last(sequences)
    ones = X.replace(weights=np.ones(X.n_interactions, dtype=np.float32))
    assert_same(tiny().fit(X), tiny().fit(ones))
    once = tiny(max_epochs=1, batch_size=100)
    halves = X.replace(weights=np.full(X.n_interactions, 0.5, dtype=np.float32))
    losses = [once.fit(data).history_[0]["loss"] for data in (ones, halves)]
    assert losses[1] == pytest.approx(losses[0] / 2, rel=1e-5)
    zeros = X.replace(weights=np.zeros(X.n_interactions, dtype=np.float32))
    untouched = tiny()._make_network(X)
    tiny()._draw_weights(untouched, torch.Generator().manual_seed(np.random.RandomState(0).randint(2**31 - 1)))
    model = tiny(max_epochs=1, weight_decay=0.0).fit(zeros)
    assert all(torch.equal(a, b) for a, b in zip(parameters(model), untouched.state_dict().values(), strict=True))


def test_weight_decay_is_applied(sequences):
    plain, decayed = (tiny(learning_rate=0.05, weight_decay=decay).fit(sequences) for decay in (0.0, 1.0))
    norms = [sum(float(value.square().sum()) for value in parameters(model)) for model in (plain, decayed)]
    assert norms[1] < 0.9 * norms[0]


def test_pickled_models_rank_alike(sequences):
    model = tiny().fit(sequences)
    again = pickle.loads(pickle.dumps(model))
    assert_same(again, model)
    np.testing.assert_array_equal(again.predict(sequences), model.predict(sequences))


def test_a_checkpoint_holds_all_of_the_network(sequences, tmp_path):
    tiny(max_epochs=3, checkpoint_dir=tmp_path).fit(sequences)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("GRU4Rec-")
    assert_same(tiny(max_epochs=3, checkpoint_dir=tmp_path).fit(sequences), tiny(max_epochs=3).fit(sequences))


def test_long_histories_are_read_from_their_end():
    rows = [[step % 5 for step in range(39)] + [5] for _ in range(4)]
    model = tiny().fit([row[-8:] for row in rows])
    np.testing.assert_array_equal(model.encode(rows), model.encode([row[-6:] for row in rows]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding_dim": 0}, "embedding_dim must be an integer >= 1"),
        ({"n_layers": 1.5}, "n_layers must be an integer >= 1"),
        ({"hidden_dim": 0}, "hidden_dim must be an integer >= 1"),
        ({"dropout": 1.0}, r"dropout must be a number in \[0, 1\)"),
        ({"loss": "hinge"}, "loss must be one of"),
    ],
)
def test_bad_parameters_are_named_in_fit(sequences, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes).fit(sequences)
