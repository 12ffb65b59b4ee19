"""SASRec's network against one written from scratch, padded, in plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seqregen import SequenceDataset
from seqregen.nn import RandomMasks, use_masks
from seqregen.targets import SASRec
from seqregen.targets.sasrec import SASRecNetwork
from seqregen.training import NextItemLoss, next_item_rows
from seqregen.training.batches import history_batches

CPU = torch.device("cpu")
N_ITEMS, WIDTH, HEADS, LAYERS, HIDDEN, LONGEST = 9, 8, 2, 2, 12, 6


class PlainSASRec(nn.Module):
    """Post-padded rows of item codes, 0 for padding; positions from the left; nothing ragged."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Embedding(N_ITEMS + 1, WIDTH, padding_idx=0)
        self.positions = nn.Embedding(LONGEST, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        length = codes.shape[1]
        vectors = self.items(codes) + self.positions.weight[:length]
        mask = torch.ones(length, length, dtype=torch.bool).triu(1)
        return self.encoder(vectors, mask=mask, src_key_padding_mask=codes == 0)


def networks(seed: int) -> tuple[SASRecNetwork, PlainSASRec]:
    generator = torch.Generator().manual_seed(seed)
    ours = SASRecNetwork(N_ITEMS, WIDTH, LAYERS, HEADS, HIDDEN, 0.0, LONGEST).double()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
    plain = PlainSASRec().double()
    names = {
        "self_attn": "attention",
        "linear1": "feed_forward.expand",
        "linear2": "feed_forward.contract",
        "norm1": "attention_norm",
        "norm2": "feed_forward_norm",
    }
    state = ours.state_dict()
    with torch.no_grad():
        plain.items.weight[1:] = state["items.weight"]
        plain.positions.weight.copy_(state["positions.weight"])
        for number, layer in enumerate(plain.encoder.layers):
            for theirs, name in names.items():
                prefix = f"layers.{number}.{name}."
                part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
                getattr(layer, theirs).load_state_dict(part)
    return ours, plain


def dataset_of(rows: list[list[int]]) -> SequenceDataset:
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    return SequenceDataset(items, np.cumsum([0, *map(len, rows)]), np.arange(1, N_ITEMS + 1))


def padded(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor([row + [0] * (LONGEST - len(row)) for row in rows])


some_rows = st.lists(st.lists(st.integers(1, N_ITEMS), min_size=1, max_size=10), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(some_rows, st.integers(0, 100))
def test_states_are_those_of_the_plain_network(rows, seed):
    ours, plain = networks(seed)
    expected = plain(padded([row[-LONGEST:] for row in rows]))
    for batch in history_batches(dataset_of(rows), LONGEST, 5, CPU):
        states = ours.states(batch)
        bounds = [0, *(batch.last + 1).tolist()]
        for row, start, stop in zip(batch.rows, bounds, bounds[1:], strict=False):
            torch.testing.assert_close(states[start:stop], expected[row, : stop - start], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(
            ours.last_states(batch),
            torch.stack([expected[row, min(len(rows[row]), LONGEST) - 1] for row in batch.rows]),
            rtol=1e-6,
            atol=1e-9,
        )


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
    torch.testing.assert_close(ours.positions.weight.grad, plain.positions.weight.grad, rtol=1e-8, atol=1e-12)
    layer, twin = ours.layers[0], plain.encoder.layers[0]
    torch.testing.assert_close(
        layer.attention.in_proj_weight.grad, twin.self_attn.in_proj_weight.grad, rtol=1e-8, atol=1e-12
    )
    # The plain network never learns its padding row; its item rows learn what ours learn.
    torch.testing.assert_close(ours.items.weight.grad, plain.items.weight.grad[1:], rtol=1e-8, atol=1e-12)


@given(st.lists(st.integers(1, N_ITEMS), min_size=2, max_size=6), st.integers(1, 5), st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_future_items_change_no_state(row, changed_from, seed):
    ours, _ = networks(seed)
    other = row[:changed_from] + [item % N_ITEMS + 1 for item in row[changed_from:]]
    states, changed = (
        ours.states(next(iter(history_batches(dataset_of([items]), LONGEST, 1, CPU)))) for items in (row, other)
    )
    assert torch.equal(states[:changed_from], changed[:changed_from])
    if len(row) > changed_from:
        assert not torch.equal(states[changed_from:], changed[changed_from:])


def test_the_published_architecture_is_the_default():
    network = SASRec()._make_network(SequenceDataset.from_sequences([range(100)]))
    assert [tuple(parameter.shape) for parameter in (network.items.weight, network.positions.weight)] == [
        (100, 64),
        (50, 64),
    ]
    layer = network.layers[1]
    assert len(network.layers) == 2
    assert (layer.attention.n_heads, layer.feed_forward.expand.out_features) == (2, 128)
    assert {module.rate for module in network.modules() if hasattr(module, "rate")} == {0.5}
    assert layer.attention_norm.eps == 1e-12
    # Item table, positions, and of each layer: attention, feed-forward, two norms.
    expected = 100 * 64 + 50 * 64 + 2 * (4 * 64 * 64 + 4 * 64 + 2 * 64 * 128 + 128 + 64 + 4 * 64)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("changes", [{}, {"embedding_dim": 32}])
def test_the_reference_is_the_published_setting(changes):
    model = SASRec.reference(**changes)
    assert (model.loss, model.n_negatives, model.batch_size, model.patience) == ("bce", 1, 256, 20)
    assert (model.learning_rate, model.weight_decay, model.max_epochs) == (1e-3, 0.0, 1000)
    assert model.embedding_dim == changes.get("embedding_dim", 64)


def test_dropout_falls_on_what_goes_into_the_layers():
    network = SASRecNetwork(9, 4, 1, 2, 8, 0.5, 6).double().train()
    rows = SequenceDataset.from_sequences([[1, 2, 3], [4]], vocabulary=range(1, 10))
    (batch,) = history_batches(rows, 6, 2, CPU)
    drawn = []
    network.dropout.register_forward_hook(lambda module, inputs, output: drawn.append((inputs[0], output)))
    use_masks(network, RandomMasks(0, CPU))
    network.states(batch)
    network.last_states(batch)
    assert len(drawn) == 2
    for vectors, dropped in drawn:
        assert set((dropped / vectors).unique().tolist()) == {0.0, 2.0}
