"""The restated FMLP loop does what the specification says, and its states are ours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import seqregen

from .limits import filter_epoch_flops
from .published import fmlp, sasrec

ROWS = [[1, 2, 3, 4, 5], [3, 1, 2, 5], [5, 4, 1], list(range(1, 60))]


def test_prefixes_lose_two_items_and_are_padded_in_front():
    prefixes, targets = fmlp.prefix_rows(ROWS)
    assert targets[:3].tolist() == [2, 3, 1]
    assert prefixes[1, -3:].tolist() == [0, 1, 2]
    # Of 59 items the last 50 are kept, and the last two of those are held out.
    assert len(targets) == 2 + 1 + 0 + 47
    assert prefixes[-1, 3:].tolist() == list(range(10, 57))
    assert targets[-1] == 57


def test_its_states_are_ours_with_the_same_weights():
    torch.manual_seed(0)
    published = fmlp.PublishedFMLP(60, width=8, hidden=16).eval()
    model = seqregen.targets.FMLP(embedding_dim=8, hidden_dim=16, max_epochs=1, device="cpu").fit(
        seqregen.SequenceDataset.from_sequences(ROWS, vocabulary=range(1, 61))
    )
    ours = dict(model.network_.named_parameters())
    with torch.no_grad():
        for parameter in ours.values():
            parameter.copy_(torch.randn(parameter.shape) * 0.5)
        published.embedding.weight[1:] = ours["items.weight"]
        published.position.weight.copy_(ours["positions.weight"])
        published.norm.load_state_dict(model.network_.norm.state_dict())
        for theirs, layer in zip(published.layers, model.network_.layers, strict=True):
            theirs.filter[0] = layer.filter.weight
            theirs.expand.load_state_dict(layer.expand.state_dict())
            theirs.contract.load_state_dict(layer.contract.state_dict())
            theirs.norms[0].load_state_dict(layer.filter_norm.state_dict())
            theirs.norms[1].load_state_dict(layer.feed_forward_norm.state_dict())
        prefixes, _ = fmlp.prefix_rows(ROWS)
        expected = published(prefixes).numpy()
    histories = [[item for item in row if item] for row in prefixes.tolist()]
    np.testing.assert_allclose(model.encode(histories), expected, rtol=1e-3, atol=1e-4)


def test_it_learns():
    torch.manual_seed(0)
    network, rows = fmlp.PublishedFMLP(60, width=8, hidden=16, dropout=0.0), fmlp.prefix_rows(ROWS)
    before = float(network.loss(*rows).detach())
    assert len(sasrec.train_steps(network, rows, 20)) == 20
    assert float(network.loss(*rows).detach()) < before


def test_flops_of_one_prefix():
    assert filter_epoch_flops(np.array([1])) == pytest.approx(3 * (51 * 65_536 + 256))
