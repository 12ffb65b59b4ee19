"""FMLP: the network against one written padded, in plain torch; prefixes; and what fit makes of them."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from seqregen import SequenceDataset
from seqregen.datasets import make_sequences
from seqregen.model_selection import hold_out_last, leave_one_out
from seqregen.nn import FrequencyFilter, RandomMasks, accumulating_gradients, use_masks
from seqregen.targets import FMLP, fmlp
from seqregen.targets.fmlp import FMLPNetwork
from seqregen.training import next_item_rows
from seqregen.training.batches import history_batches
from seqregen.training.prefixes import prefix_rows

CPU = torch.device("cpu")
N_ITEMS, WIDTH, HIDDEN = 9, 8, 12
# Longest first: some are longer than any max_length here.
ROWS = [[1, 2, 3, 4, 5, 6, 7, 8, 9, 1], [3, 3], [5], [9, 8, 7, 6], [2, 4, 6, 8, 1, 3], [7, 1, 2]]


class PlainFMLP(nn.Module):
    """Left-padded rows of item codes, 0 for padding; every slot of every layer."""

    def __init__(self, length: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.items = nn.Embedding(N_ITEMS + 1, WIDTH, padding_idx=0)
        self.positions = nn.Embedding(length, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH, eps=1e-12) for _ in range(1 + 2 * n_layers))
        self.filters = nn.ParameterList(torch.zeros(1, length // 2 + 1, WIDTH, 2) for _ in range(n_layers))
        self.expand = nn.ModuleList(nn.Linear(WIDTH, HIDDEN) for _ in range(n_layers))
        self.contract = nn.ModuleList(nn.Linear(HIDDEN, WIDTH) for _ in range(n_layers))
        self.dropout = nn.Dropout(dropout)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        length = codes.shape[1]
        x = self.dropout(self.norms[0](self.items(codes) + self.positions.weight))
        for number, weight in enumerate(self.filters):
            spectrum = torch.fft.rfft(x, dim=1, norm="ortho") * torch.view_as_complex(weight)
            filtered = torch.fft.irfft(spectrum, n=length, dim=1, norm="ortho")
            x = self.norms[1 + 2 * number](x + self.dropout(filtered))
            hidden = self.contract[number](functional.gelu(self.expand[number](x)))
            x = self.norms[2 + 2 * number](x + self.dropout(hidden))
        return x[:, -1]

    def pairs(self, ours: FMLPNetwork) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Our parameters and the ones here that stand for them, but for the item table."""
        pairs = [(ours.positions.weight, self.positions.weight)]
        pairs += zip(ours.norm.parameters(), self.norms[0].parameters(), strict=True)
        for number, layer in enumerate(ours.layers):
            pairs.append((layer.filter.weight, self.filters[number]))
            parts = [
                (layer.filter_norm, self.norms[1 + 2 * number]),
                (layer.expand, self.expand[number]),
                (layer.contract, self.contract[number]),
                (layer.feed_forward_norm, self.norms[2 + 2 * number]),
            ]
            pairs += [pair for a, b in parts for pair in zip(a.parameters(), b.parameters(), strict=True)]
        return pairs


def networks(length: int, n_layers: int = 2, dropout: float = 0.0) -> tuple[FMLPNetwork, PlainFMLP]:
    """Both, in double precision, with the same weights, none of which is 0 or 1."""
    generator = torch.Generator().manual_seed(length)
    ours = FMLPNetwork(N_ITEMS, WIDTH, n_layers, HIDDEN, dropout, length).double()
    plain = PlainFMLP(length, n_layers, dropout).double()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
        for mine, theirs in plain.pairs(ours):
            theirs.copy_(mine.view_as(theirs))
        plain.items.weight[1:] = ours.items.weight
    assert sum(a.numel() for a, _ in plain.pairs(ours)) + N_ITEMS * WIDTH == sum(p.numel() for p in ours.parameters())
    return ours, plain


def left_padded(prefixes: list[list[int]], length: int) -> torch.Tensor:
    return torch.tensor([[0] * (length - len(prefix[-length:])) + prefix[-length:] for prefix in prefixes])


def batch_of(rows: list[list[int]], length: int):
    data = SequenceDataset.from_sequences(rows, vocabulary=range(1, N_ITEMS + 1))
    (batch,) = history_batches(data, length, len(rows), CPU)
    return batch


def prefixes_of(rows: list[list[int]], length: int) -> list[tuple[list[int], int]]:
    """(prefix, next item) of the last ``length + 1`` items of each row, row by row."""
    used = [row[-length - 1 :] for row in rows]
    return [(row[:end], row[end]) for row in used for end in range(1, len(row))]


def assert_same_gradients(ours, plain, found, expected):
    """Gradients in the order of each network's parameters."""
    mine = dict(zip(map(id, ours.parameters()), found, strict=True))
    theirs = dict(zip(map(id, plain.parameters()), expected, strict=True))
    torch.testing.assert_close(mine[id(ours.items.weight)], theirs[id(plain.items.weight)][1:])
    for a, b in plain.pairs(ours):
        torch.testing.assert_close(mine[id(a)].view_as(b), theirs[id(b)])


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_states_and_gradients_are_those_of_the_padded_network(length, n_layers):
    ours, plain = networks(length, n_layers)
    data = SequenceDataset.from_sequences(ROWS, vocabulary=range(1, N_ITEMS + 1))
    rows = prefix_rows(data, length)
    batch = rows.batch(np.arange(len(rows)), CPU)
    # Batches are ordered by length; ties stay in order.
    expected = sorted(prefixes_of(ROWS, length), key=lambda pair: len(pair[0]))
    assert batch.targets.tolist() == [target for _, target in expected]
    states, plain_states = ours.target_states(batch), plain(left_padded([prefix for prefix, _ in expected], length))
    torch.testing.assert_close(states, plain_states)
    losses = [((s * table[batch.targets - 1]).sum(-1) ** 3).mean() for s, table in (
        (states, ours.items.weight), (plain_states, plain.items.weight[1:])
    )]  # fmt: skip
    found, wanted = (
        torch.autograd.grad(loss, list(network.parameters()))
        for loss, network in zip(losses, (ours, plain), strict=True)
    )
    assert_same_gradients(ours, plain, found, wanted)


def test_gradients_accumulated_in_a_training_loop_are_the_same():
    ours, plain = networks(6)
    batch = batch_of(ROWS, 6)
    for parameter in ours.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with accumulating_gradients():
        (ours.last_states(batch) ** 3).sum().backward()
    codes = left_padded(sorted(ROWS, key=lambda row: len(row[-6:])), 6)
    wanted = torch.autograd.grad((plain(codes) ** 3).sum(), list(plain.parameters()))
    assert_same_gradients(ours, plain, [parameter.grad for parameter in ours.parameters()], wanted)


@pytest.mark.parametrize("at_once", [2, 1024])
def test_every_position_has_the_state_of_its_prefix(monkeypatch, at_once):
    monkeypatch.setattr(fmlp, "_ROWS_AT_ONCE", at_once)
    ours, plain = networks(7)
    batch = batch_of(ROWS, 7)
    used = sorted((row[-7:] for row in ROWS), key=len)
    codes = left_padded([row[: end + 1] for row in used for end in range(len(row))], 7)
    states = ours.states(batch)
    torch.testing.assert_close(states, plain(codes))
    torch.testing.assert_close(ours.last_states(batch), states[batch.last])
    with torch.no_grad():
        torch.testing.assert_close(ours.states(batch), states)


def test_second_derivatives_are_those_of_the_padded_network(monkeypatch):
    # Few at once, so that states are computed again in the backward pass, twice.
    monkeypatch.setattr(fmlp, "_ROWS_AT_ONCE", 4)
    ours, plain = networks(5)
    batch = batch_of(ROWS, 5)
    used = sorted((row[-5:] for row in ROWS), key=len)
    codes = left_padded([row[: end + 1] for row in used for end in range(len(row))], 5)
    products = []
    for network, states in ((ours, ours.states(batch)), (plain, plain(codes))):
        parameters = list(network.parameters())
        first = torch.autograd.grad((states**3).mean(), parameters, create_graph=True)
        products.append(torch.autograd.grad(sum((gradient**2).sum() for gradient in first), parameters))
    assert_same_gradients(ours, plain, *products)


def test_what_is_computed_again_drops_the_same_elements(monkeypatch):
    monkeypatch.setattr(fmlp, "_ROWS_AT_ONCE", 4)
    network, _ = networks(5, dropout=0.5)
    network.train()
    batch = batch_of(ROWS, 5)

    def value() -> torch.Tensor:
        use_masks(network, RandomMasks(3, CPU))
        return (network.states(batch) ** 2).mean()

    weight = network.layers[0].filter.weight
    (gradient,) = torch.autograd.grad(value(), [weight])
    direction = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step, values = 1e-5, []
    for sign in (1, -2):
        with torch.no_grad():
            weight += sign * step * direction
        values.append(value().item())
    assert (values[0] - values[1]) / (2 * step) == pytest.approx((gradient * direction).sum().item(), rel=1e-5)


def test_batch_mates_and_blocks_change_nothing(monkeypatch):
    ours, _ = networks(8)
    ours.eval()
    together = batch_of(ROWS, 8)
    states = {tuple(ROWS[row]): state for row, state in zip(together.rows, ours.last_states(together), strict=True)}
    for mates in ([], [[1]], [[4] * 8] * 40):
        for row in ROWS:
            batch = batch_of([row, *mates], 8)
            (place,) = np.flatnonzero(batch.rows == 0)
            torch.testing.assert_close(ours.last_states(batch)[place], states[tuple(row)], rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(fmlp, "_ROWS_IN_CACHE", 1)
    blocks = ours.last_states(together)
    torch.testing.assert_close(blocks, torch.stack([states[tuple(ROWS[row])] for row in together.rows]))


def test_dropout_has_the_distribution_of_the_published_network():
    """Padded slots included: means, variances and covariances of the state over many draws."""
    ours, plain = networks(5, dropout=0.5)
    with torch.no_grad():
        for network in (ours, plain):
            for parameter in network.parameters():
                parameter *= 0.6
    n_draws = 20_000
    use_masks(ours, RandomMasks(0, CPU))
    batch = batch_of([[4, 2]] * n_draws, 5)
    torch.manual_seed(0)
    with torch.no_grad():
        samples = [ours.last_states(batch), plain(left_padded([[4, 2]] * n_draws, 5))]
    moments = []
    for sample in samples:
        products = torch.einsum("ni,nj->nij", sample, sample).flatten(1)
        values = torch.cat([sample, products, sample**3], dim=1)
        moments.append((values.mean(0), values.var(0) / n_draws))
    (first, first_variance), (second, second_variance) = moments
    assert ((first - second).abs() < 4.5 * (first_variance + second_variance).sqrt()).all()
    assert (first_variance > 0).all()
    ours.eval()
    with torch.no_grad():
        assert ours.last_states(batch).std(0).max() < 1e-12


def test_a_filter_and_its_last_slot_are_the_circular_convolution_with_its_kernel():
    for length in (1, 4, 7):
        layer = FrequencyFilter(length, 3).double()
        assert layer.weight.shape == (length // 2 + 1, 3, 2)
        nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(length))
        tokens = torch.randn(2, length, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        kernel = layer.kernel()
        expected = sum(kernel[back] * tokens.roll(back, dims=1) for back in range(length))
        torch.testing.assert_close(layer(tokens), expected)
        torch.testing.assert_close(layer.last(tokens), expected[:, -1])


@pytest.mark.parametrize("max_length", [1, 3, 50])
def test_prefixes_are_those_of_a_list(max_length):
    data = SequenceDataset.from_sequences([[], *ROWS], vocabulary=range(1, N_ITEMS + 1))
    data = data.replace(weights=np.arange(data.n_interactions, dtype=np.float32))
    rows = prefix_rows(data, max_length)
    expected = prefixes_of(ROWS, max_length)
    assert len(rows) == len(expected) == next_item_rows(data, max_length).n_positions
    assert rows.targets().tolist() == [target for _, target in expected]
    weights = dict(zip(range(data.n_interactions), data.weights.tolist(), strict=True))
    ends = [
        end for first, last in zip(data.offsets[:-1], data.offsets[1:], strict=True)
        for end in range(max(first, last - max_length - 1) + 1, last)
    ]  # fmt: skip
    found = []
    for batch in rows.shuffled(4, np.random.default_rng(0), CPU):
        lengths = np.diff(np.append(-1, batch.last))
        assert len(batch.targets) == len(batch.weights) == len(lengths) <= 4
        assert (np.diff(lengths) >= 0).all()
        pieces = torch.split(batch.items, lengths.tolist())
        found += [
            (piece.tolist(), target, weight)
            for piece, target, weight in zip(pieces, batch.targets.tolist(), batch.weights.tolist(), strict=True)
        ]
    everything = [(*pair, weights[end]) for pair, end in zip(expected, ends, strict=True)]
    assert sorted(found) == sorted(everything)
    assert found != everything


def test_an_epoch_never_holds_the_padded_prefixes():
    data = make_sequences(n_sequences=2_000, n_items=100, random_state=0)
    tracemalloc.start()
    rows = prefix_rows(data, 50)
    for _ in rows.shuffled(64, np.random.default_rng(0), CPU):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A row of 50 slots of one byte would take more; an order of the prefixes takes 8 bytes each.
    assert peak < 50 * len(rows)


def tiny_fmlp(**changes) -> FMLP:
    settings = {
        "embedding_dim": 8,
        "hidden_dim": 12,
        "max_length": 6,
        "n_negatives": 5,
        "batch_size": 16,
        "max_epochs": 3,
        "random_state": 0,
    }
    return FMLP(**(settings | changes))


def weights_of(model: FMLP) -> list[torch.Tensor]:
    return list(model.network_.state_dict().values())


@pytest.mark.parametrize("loss", ["sampled_softmax", "bce"])
def test_it_learns_more_than_popularity(loss):
    X, y = leave_one_out(make_sequences(n_sequences=400, n_items=24, random_state=0))
    model = tiny_fmlp(loss=loss, n_negatives=10, max_epochs=15, learning_rate=0.01, dropout=0.1, batch_size=64).fit(X)
    counts = np.bincount(X.items, minlength=25)[1:]
    scores = counts + np.zeros((len(X), 1))
    scores[np.repeat(np.arange(len(X)), X.lengths), X.items - 1] = -1
    top = X.vocabulary[np.argsort(-scores, axis=1)[:, :5]]
    hits = [np.mean((lists == y[:, None]).any(axis=1)) for lists in (model.predict(X, k=5), top)]
    assert hits[0] > hits[1] + 0.1


def test_weights_are_those_of_the_predicted_items(sequences):
    X = hold_out_last(sequences)
    ones = np.ones(X.n_interactions, dtype=np.float32)
    plain, weighted = tiny_fmlp().fit(X), tiny_fmlp().fit(X.replace(weights=ones))
    assert all(torch.equal(a, b) for a, b in zip(weights_of(plain), weights_of(weighted), strict=True))
    # With a weight on second items alone, what stands behind them has no say.
    seconds = np.zeros_like(ones)
    seconds[X.offsets[:-1] + 1] = 1
    items = X.items.copy()
    behind = np.arange(X.n_interactions) - np.repeat(X.offsets[:-1], X.lengths) > 1
    items[behind] = items[behind] % 24 + 1
    first = tiny_fmlp(loss="bce", max_epochs=1).fit(X.replace(weights=seconds))
    other = tiny_fmlp(loss="bce", max_epochs=1).fit(X.replace(weights=seconds, items=items))
    assert all(torch.equal(a, b) for a, b in zip(weights_of(first), weights_of(other), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights_of(plain), weights_of(first), strict=True))


def test_a_batch_holds_prefixes_and_an_epoch_all_of_them(sequences, monkeypatch):
    sizes = []
    forward = FMLPNetwork.target_states

    def counted(network, batch):
        sizes.append(len(batch.last))
        return forward(network, batch)

    monkeypatch.setattr(FMLPNetwork, "target_states", counted)
    tiny_fmlp(max_epochs=1).fit(sequences)
    trained = hold_out_last(sequences)
    assert sum(sizes) == np.minimum(trained.lengths - 1, 6).sum()
    assert set(sizes[:-1]) == {16}


def test_first_weights_are_the_published_ones():
    data = make_sequences(n_sequences=50, n_items=500, random_state=0)
    model = FMLP.reference()
    first, again = (model._make_network(data) for _ in range(2))
    for network in (first, again):
        model._draw_weights(network, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    state = first.state_dict()
    assert {tuple(state[f"layers.{layer}.filter.weight"].shape) for layer in range(2)} == {(26, 64, 2)}
    for name, value in state.items():
        if "norm" in name or name.endswith("bias"):
            assert torch.equal(value, torch.full_like(value, float("norm" in name and name.endswith("weight"))))
        else:
            assert value.std().item() == pytest.approx(0.02, rel=0.05)
            assert value.mean().item() == pytest.approx(0, abs=0.002)


def test_reference_is_the_published_setting():
    model = FMLP.reference(max_epochs=7)
    published = {
        "embedding_dim": 64, "n_layers": 2, "hidden_dim": 256, "dropout": 0.5, "max_length": 50, "loss": "bce",
        "n_negatives": 1, "batch_size": 256, "learning_rate": 1e-3, "weight_decay": 0.0, "patience": 20,
        "max_epochs": 7,
    }  # fmt: skip
    assert {name: model.get_params()[name] for name in published} == published
    assert FMLP().loss == "sampled_softmax"


def test_it_repeats_pickles_and_encodes(sequences):
    model, again = tiny_fmlp().fit(sequences), tiny_fmlp().fit(sequences)
    assert all(torch.equal(a, b) for a, b in zip(weights_of(model), weights_of(again), strict=True))
    moved = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(moved.predict(sequences, k=4), model.predict(sequences, k=4))
    states = model.encode(sequences)
    assert states.shape == (60, 8)
    np.testing.assert_array_equal(states, model.encode(sequences))
    # A history that is too long is read from its end.
    long_rows = [[1, 2, *row] for row in sequences.to_lists() if len(row) >= 6]
    np.testing.assert_array_equal(model.encode(long_rows), model.encode([row[2:] for row in long_rows]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_dim": 0}, "hidden_dim"),
        ({"n_layers": 1.5}, "n_layers"),
        ({"dropout": 1.0}, "dropout"),
        ({"embedding_dim": -1}, "embedding_dim"),
        ({"loss": "best"}, "sampled_softmax"),
    ],
)
def test_bad_parameters(sequences, changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        tiny_fmlp(**changes).fit(sequences)


@pytest.mark.gpu
def test_cuda_learns_what_the_cpu_learns(sequences):
    on_cpu, on_cuda = (
        tiny_fmlp(loss="bce", dropout=0.0, device=device, max_epochs=4).fit(sequences) for device in ("cpu", "cuda")
    )
    losses = [[record["loss"] for record in model.history_] for model in (on_cpu, on_cuda)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    moved = pickle.loads(pickle.dumps(on_cuda))
    np.testing.assert_allclose(moved.encode(sequences), on_cuda.encode(sequences), rtol=1e-3, atol=1e-4)
