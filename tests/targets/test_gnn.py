"""GNN: its graph against the formula, its network against a dense one in plain torch, and what it does in fit."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from padded_twins import causal_mask, shake, twin_of_encoder
from torch import Tensor

from seqregen import Origin, SequenceDataset
from seqregen.metrics import ndcg_at_k, rank_targets
from seqregen.model_selection import hold_out_last, leave_one_out
from seqregen.nn import GraphPropagation, accumulating_gradients
from seqregen.targets import GNN, SASRec
from seqregen.targets.gnn import GNNNetwork
from seqregen.targets.item_graph import co_occurrence, item_graph
from seqregen.training import next_item_rows
from seqregen.training.batches import history_batches

CPU = torch.device("cpu")
N_ITEMS, WIDTH, HEADS, LAYERS, HIDDEN, LONGEST = 9, 8, 2, 2, 12, 6
SIZES = {
    "n_items": N_ITEMS, "width": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "hidden": HIDDEN, "dropout": 0.0,
    "max_length": LONGEST,
}  # fmt: skip

some_rows = st.lists(st.lists(st.integers(1, N_ITEMS), min_size=1, max_size=10), min_size=1, max_size=12)


def dataset_of(rows: list[list[int]], n_items: int = N_ITEMS) -> SequenceDataset:
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    return SequenceDataset(items, np.cumsum([0, *map(len, rows)]), np.arange(1, n_items + 1))


def graph_by_hand(rows: list[list[int]], n_items: int, window: int) -> np.ndarray:
    """The formula, entry by entry."""
    joined = np.zeros((n_items, n_items))
    for row in rows:
        for place, item in enumerate(row):
            for distance in range(1, window + 1):
                if place + distance < len(row):
                    joined[item - 1, row[place + distance] - 1] += 1 / distance
    joined = joined + joined.T + np.eye(n_items)
    inverse = np.diag(1 / np.count_nonzero(joined, axis=1))
    return inverse @ joined + joined @ inverse


def dense(propagation: GraphPropagation) -> Tensor:
    """The matrix of a network, as a whole."""
    n_nodes = len(propagation.starts)
    offsets = torch.cat([propagation.starts, torch.tensor([len(propagation.neighbours)])])
    matrix = torch.zeros(n_nodes, n_nodes, dtype=propagation.weights.dtype)
    for node in range(n_nodes):
        entries = slice(offsets[node], offsets[node + 1])
        matrix[node, propagation.neighbours[entries]] = propagation.weights[entries]
    return matrix


@pytest.fixture
def tiny_gnn(tiny):
    def make(**changes) -> GNN:
        settings = {name: value for name, value in tiny().get_params().items() if name not in changes}
        return GNN(**settings, **changes)

    return make


def assert_same(first, second):
    pairs = zip(first.network_.state_dict().values(), second.network_.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert [record["loss"] for record in first.history_] == [record["loss"] for record in second.history_]


# The graph


def test_the_graph_of_three_items():
    # Distances 1, 1 and 2; every item is joined to all three, itself included.
    expected = np.array([[1, 1, 1 / 2], [1, 1, 1], [1 / 2, 1, 1]]) * 2 / 3
    graph = item_graph(np.array([1, 2, 3]), np.array([0, 3]), n_items=3, window=2)
    np.testing.assert_allclose(graph.toarray(), expected, rtol=1e-15)
    # Of a training row the last item is only predicted: it has nothing but its own loop, of degree 1.
    network = GNN(graph_window=2)._make_network(dataset_of([[1, 2, 3, 4]], 4))
    expected = np.block([[expected, np.zeros((3, 1))], [np.zeros((1, 3)), np.full((1, 1), 2.0)]])
    np.testing.assert_allclose(dense(network.propagation), expected, rtol=1e-6)


@given(some_rows, st.integers(1, 4))
@settings(deadline=None)
def test_the_graph_is_that_of_the_formula(rows, window):
    data = dataset_of(rows)
    graph = item_graph(data.items, data.offsets, N_ITEMS, window)
    np.testing.assert_allclose(graph.toarray(), graph_by_hand(rows, N_ITEMS, window), rtol=1e-12)
    assert (graph != graph.T).nnz == 0
    # Stored entries count for the degree: none is stored that is zero.
    assert graph.data.all()


def test_a_graph_of_no_rows_and_of_repeated_items():
    assert co_occurrence(np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64), 3, 2).nnz == 0
    np.testing.assert_allclose(
        item_graph(np.array([2, 2, 2]), np.array([0, 3]), 2, 2).toarray(), graph_by_hand([[2, 2, 2]], 2, 2)
    )


def test_which_rows_and_which_items_are_joined():
    originals = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 1], [5], [2, 2, 4]]
    added = [[9, 8, 7], [1, 9, 5]]
    data = dataset_of(originals).append(np.array([9, 8, 7, 1, 9, 5]), np.array([0, 3, 6]), Origin.REGENERATED)
    # Of the first row, six items are read before the last one.
    inputs = [[3, 4, 5, 6, 7, 8], [3], [], [2, 2]]
    old, new = (
        dense(GNN(graph=graph, max_length=LONGEST)._make_network(data).propagation)
        for graph in ("original", "regenerated")
    )
    np.testing.assert_allclose(old, graph_by_hand(inputs, N_ITEMS, 2), rtol=1e-6)
    np.testing.assert_allclose(new, graph_by_hand(inputs + [row[:-1] for row in added], N_ITEMS, 2), rtol=1e-6)
    assert not torch.equal(old, new)
    alone = dataset_of(originals)
    for graph in ("original", "regenerated"):
        assert torch.equal(dense(GNN(graph=graph, max_length=LONGEST)._make_network(alone).propagation), old)


def test_the_window_is_a_parameter():
    data = dataset_of([[1, 2, 3, 4, 5, 6]])
    nonzero = [np.count_nonzero(dense(GNN(graph_window=w)._make_network(data).propagation)) for w in (1, 2, 9)]
    assert nonzero == [9 + 8, 9 + 8 + 6, 9 + 20]


def test_no_original_row_to_join(tiny_gnn):
    data = dataset_of([[1, 2, 3], [2, 3]]).replace(origin=np.full(2, Origin.MINED, dtype=np.int8))
    with (
        pytest.warns(UserWarning, match="plateau"),
        pytest.raises(ValueError, match=r"none of the 2 rows is original; use graph='regenerated'"),
    ):
        tiny_gnn().fit(data)


# The network


def make_network(rows: list[list[int]], seed: int, n_graph_layers: int = 3) -> GNNNetwork:
    data = dataset_of(rows)
    graph = item_graph(data.items, data.offsets, N_ITEMS, 2)
    network = GNNNetwork(GraphPropagation(graph.indptr, graph.indices, graph.data, n_graph_layers), **SIZES).double()
    shake(network, seed)
    return network


def plain_states(network: GNNNetwork, table: Tensor, rows: list[list[int]]) -> Tensor:
    """Padded rows through torch's own layers; items are read from powers of the dense matrix."""
    matrix, layer, layers = dense(network.propagation), table, [table]
    for _ in range(network.propagation.n_layers):
        layer = matrix @ layer
        layers.append(layer)
    spread = torch.stack(layers).mean(0)
    codes = torch.tensor([row + [0] * (LONGEST - len(row)) for row in rows])
    tokens = spread[(codes - 1).clamp(min=0)] + network.positions.weight
    for ours in network.layers:
        tokens = twin_of_encoder(ours, HIDDEN)(
            tokens, src_mask=causal_mask(LONGEST), src_key_padding_mask=codes == 0, is_causal=True
        )
    return tokens


@settings(max_examples=20, deadline=None)
@given(some_rows, st.integers(0, 100), st.integers(1, 4))
def test_states_are_those_of_the_dense_network(rows, seed, n_graph_layers):
    network = make_network(rows, seed, n_graph_layers)
    expected = plain_states(network, network.items.weight, [row[-LONGEST:] for row in rows])
    for batch in history_batches(dataset_of(rows), LONGEST, 5, CPU):
        with torch.no_grad():
            cached = network.last_states(batch)
        torch.testing.assert_close(network.last_states(batch), cached)
        wanted = torch.stack([expected[row, min(len(rows[row]), LONGEST) - 1] for row in batch.rows])
        torch.testing.assert_close(cached, wanted.detach(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("accumulate", [False, True])
def test_gradients_are_those_of_the_dense_network(accumulate):
    rows = [[1, 2, 3, 4, 5], [3, 1, 2], [2, 2, 5, 6]]
    network = make_network(rows, 3)
    network.items.weight.grad = torch.zeros_like(network.items.weight)
    batch = next_item_rows(dataset_of(rows), LONGEST).batch(np.arange(3), CPU)

    def scores(states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        return torch.logsumexp(states @ table.T, dim=-1).sum() - (states * table[targets - 1]).sum()

    if accumulate:
        with accumulating_gradients():
            scores(network.states(batch), network.item_table(), batch.targets).backward()
    else:
        scores(network.states(batch), network.item_table(), batch.targets).backward()
    table = network.items.weight.detach().clone().requires_grad_()
    inputs = [row[:-1] for row in rows]
    padded = plain_states(network, table, inputs)
    states = torch.cat([padded[number, : len(row)] for number, row in enumerate(inputs)])
    targets = torch.tensor([item for row in rows for item in row[1:]])
    # States are scored against the raw table, which so has two kinds of gradient.
    scores(states, table, targets).backward()
    torch.testing.assert_close(network.items.weight.grad, table.grad, rtol=1e-8, atol=1e-10)


def test_the_propagation_can_be_differentiated_twice():
    propagation = make_network([[1, 2, 3], [3, 4, 1]], 0).propagation
    table = torch.randn(N_ITEMS, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(propagation, table)
    assert torch.autograd.gradgradcheck(lambda values: propagation(values) ** 2, table)
    # A view whose memory has gaps is spread as well.
    strided = torch.randn(N_ITEMS, 6, dtype=torch.float64)[:, ::2]
    torch.testing.assert_close(propagation(strided), propagation(strided.clone()))


@given(some_rows, st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_batch_mates_change_no_state(rows, seed):
    network = make_network([[1, 2, 3, 4], [5, 6, 7, 2]], seed)
    with torch.no_grad():
        alone = [
            network.states(next(iter(history_batches(dataset_of([row]), LONGEST, 1, CPU)))) for row in rows
        ]  # fmt: skip
        for batch in history_batches(dataset_of(rows), LONGEST, 100, CPU):
            together = network.states(batch).split(np.minimum([len(rows[row]) for row in batch.rows], LONGEST).tolist())
            for row, states in zip(batch.rows, together, strict=True):
                torch.testing.assert_close(states, alone[row], rtol=1e-9, atol=1e-12)


def test_the_table_is_spread_once_while_nothing_is_learnt(monkeypatch):
    network = make_network([[1, 2, 3, 4]], 0)
    calls = []
    spread = GraphPropagation.forward
    monkeypatch.setattr(GraphPropagation, "forward", lambda *arguments: calls.append(1) or spread(*arguments))
    with torch.no_grad():
        first = network.input_table()
        assert network.input_table() is first
        assert len(calls) == 1
        network.items.weight[0] += 1
        second = network.input_table()
        assert len(calls) == 2
        assert not torch.equal(first, second)
        network.items.weight.data = network.items.weight.data * 2
        torch.testing.assert_close(network.input_table(), second * 2)
    network.input_table()
    network.input_table()
    assert len(calls) == 5


def test_training_steps_are_noticed(tiny_gnn, sequences):
    network = tiny_gnn(dropout=0.0).fit(sequences).network_

    def spread() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return network.input_table(), network.propagation(network.items.weight)

    before, expected = spread()
    assert torch.equal(before, expected)
    # Fused steps leave the version of a parameter as it was.
    batch = next(iter(history_batches(sequences, 6, 60, CPU)))
    for mode in (False, True):
        network.train(mode)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.1, fused=True)
        network.states(batch).square().sum().backward()
        optimizer.step()
        after, expected = spread()
        assert torch.equal(after, expected)
        assert not torch.equal(after, before)
        before = after


def test_early_stopping_watches_the_weights_of_the_epoch(tiny_gnn, sequences):
    X, _ = leave_one_out(sequences, validation=True)
    model = tiny_gnn(max_epochs=6, learning_rate=0.02).fit(X)
    assert model.best_epoch_ > 0
    states = copy.deepcopy(model).encode(X.replace(validation=None))
    ranks = rank_targets(
        torch.from_numpy(states), torch.from_numpy(model.item_embeddings_), X.validation, (X.items, X.offsets)
    )
    assert model.history_[model.best_epoch_]["ndcg@20"] == pytest.approx(ndcg_at_k(ranks, 20), abs=1e-12)


def test_copies_do_not_carry_the_spread_table(tiny_gnn, sequences):
    model = tiny_gnn().fit(sequences)
    model.predict(sequences)
    assert model.network_._spread is not None
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert again.network_._spread is None
        np.testing.assert_array_equal(again.predict(sequences), model.predict(sequences))
        assert_same(again, model)


# The estimator


@pytest.mark.parametrize("loss", ["sampled_softmax", "bce"])
def test_it_learns_planted_transitions(tiny_gnn, loss):
    rows = [[(start + step) % 12 for step in range(2 + start % 7)] for start in range(60)]
    X, y = leave_one_out(rows)
    changes = {"n_negatives": None, "max_epochs": 60, "learning_rate": 0.02, "dropout": 0.1, "patience": 60}
    assert tiny_gnn(loss=loss, **changes).fit(X).score(X, y) > 0.8


def test_the_random_state_decides(tiny_gnn, sequences):
    assert_same(tiny_gnn().fit(sequences), tiny_gnn().fit(sequences))
    other = tiny_gnn(random_state=1).fit(sequences)
    assert not torch.equal(other.network_.items.weight, tiny_gnn().fit(sequences).network_.items.weight)


def test_weights_are_honoured(tiny_gnn, sequences):
    X = hold_out_last(sequences)
    once = {"max_epochs": 1, "batch_size": 100, "dropout": 0.0}
    losses = [
        tiny_gnn(**once).fit(X.replace(weights=np.full(X.n_interactions, weight, np.float32))).history_[0]["loss"]
        for weight in (1.0, 0.5)
    ]
    assert losses[1] == pytest.approx(losses[0] / 2, rel=1e-5)
    nothing = tiny_gnn(**once).fit(X.replace(weights=np.zeros(X.n_interactions, np.float32)))
    untouched = tiny_gnn()._make_network(X)
    tiny_gnn()._draw_weights(untouched, torch.Generator().manual_seed(np.random.RandomState(0).randint(2**31 - 1)))
    pairs = zip(nothing.network_.state_dict().values(), untouched.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_refit_joins_the_validation_items(tiny_gnn, sequences):
    X, _ = leave_one_out(sequences, validation=True)
    stopped, refitted = tiny_gnn(max_epochs=1).fit(X), tiny_gnn(max_epochs=1, refit=True).fit(X)
    entries = [len(model.network_.propagation.neighbours) for model in (stopped, refitted)]
    assert entries[1] > entries[0]


def test_checkpoints_lead_to_the_same_result(tiny_gnn, sequences, tmp_path):
    expected = tiny_gnn().fit(sequences)
    assert_same(tiny_gnn(checkpoint_dir=tmp_path).fit(sequences), expected)
    assert_same(tiny_gnn(checkpoint_dir=tmp_path).fit(sequences), expected)
    tiny_gnn(checkpoint_dir=tmp_path, graph_window=1).fit(sequences)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_published_setting():
    model = GNN.reference()
    assert (model.loss, model.n_negatives, model.n_graph_layers, model.graph_window, model.graph) == (
        "bce", 1, 3, 2, "original",
    )  # fmt: skip
    # All that SASRec has, in the same order and with the same defaults.
    theirs, ours = SASRec().get_params(), GNN().get_params()
    assert {name: ours[name] for name in theirs} == theirs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"graph": "old"}, "GNN: graph must be one of 'original', 'regenerated'; got 'old'"),
        ({"n_graph_layers": 0}, "GNN: n_graph_layers must be an integer >= 1"),
        ({"graph_window": 0}, "GNN: graph_window must be an integer >= 1"),
        ({"embedding_dim": 9}, "GNN: n_heads=2 must divide embedding_dim=9"),
    ],
)
def test_bad_parameters_are_named_in_fit(tiny_gnn, sequences, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_gnn(**changes).fit(sequences)
