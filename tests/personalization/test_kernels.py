"""Kernels that can be differentiated twice, and the threads beside them."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from seqregen import DatasetPersonalizer, PatternMiner
from seqregen.datasets import make_sequences
from seqregen.personalization import second_order_kernels
from seqregen.targets import TorchTarget

SHAPE = (2, 4, 5, 6)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SEEN = drawn(5, 5) > 0
# A query that sees nothing.
SEEN[2] = False


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": drawn(5, 5)},
        {"attn_mask": drawn(2, 1, 5, 5)},
        {"attn_mask": SEEN},
        {"attn_mask": torch.where(SEEN, 0.0, -torch.inf).double()},
    ],
    ids=str,
)
def test_attention_is_that_of_torch(keywords):
    query, key, value = (drawn(*SHAPE, seed=seed) for seed in range(3))
    expected = scaled_dot_product_attention(query, key, value, **keywords)
    with second_order_kernels():
        found = scaled_dot_product_attention(query.requires_grad_(), key, value, **keywords)
    torch.testing.assert_close(found, expected)
    (slope,) = torch.autograd.grad(found.square().sum(), query, create_graph=True)
    (bend,) = torch.autograd.grad(slope.square().sum(), query)
    assert slope.isfinite().all()
    assert bend.isfinite().all()


def test_grouped_queries():
    query, key, value = drawn(*SHAPE), drawn(2, 2, 7, 6, seed=1), drawn(2, 2, 7, 6, seed=2)
    expected = scaled_dot_product_attention(query, key, value, enable_gqa=True)
    with second_order_kernels():
        torch.testing.assert_close(scaled_dot_product_attention(query, key, value, enable_gqa=True), expected)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("padding", [None, torch.tensor([[True, True, False], [False, False, False]])])
def test_layers_of_torch_with_attention(need_weights, padding):
    layer = nn.MultiheadAttention(4, 2, batch_first=True, dtype=torch.float64)
    values, mask = drawn(2, 3, 4), torch.ones(3, 3, dtype=torch.bool).triu(1)
    keywords = {"need_weights": need_weights, "attn_mask": mask, "key_padding_mask": padding, "is_causal": True}
    expected, expected_shares = layer(values, values, values, **keywords)
    with second_order_kernels():
        found, shares = layer(values, values, values, **keywords)
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert (shares is None) == (expected_shares is None) == (not need_weights)


def test_attention_drops_what_it_is_told_to():
    ones = torch.ones(1, 1, 2000, 2000)
    with second_order_kernels():
        found = scaled_dot_product_attention(ones, ones, ones, dropout_p=0.25)
    assert found.mean().item() == pytest.approx(1, abs=1e-2)
    assert found.std().item() > 0


def test_switches_are_as_before_whoever_leaves_first():
    inside, other_inside, left = (threading.Event() for _ in range(3))

    def first():
        with second_order_kernels():
            inside.set()
            other_inside.wait()
        left.set()

    def second():
        inside.wait()
        with second_order_kernels():
            other_inside.set()
            left.wait()
            found.append(torch.backends.cudnn.enabled)

    found = []
    before = torch.backends.cudnn.enabled, torch.backends.cuda.flash_sdp_enabled()
    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert found == [False]
    assert (torch.backends.cudnn.enabled, torch.backends.cuda.flash_sdp_enabled()) == before


class Attentive(nn.Module):
    def __init__(self, n_items, width=8):
        super().__init__()
        self.items = nn.Embedding(n_items + 1, width)
        self.layer = nn.Linear(width, width)
        # torch's own generator, which modules draw their first weights from, is that of all threads.
        generator = torch.Generator().manual_seed(0)
        for weights in self.parameters():
            nn.init.normal_(weights, std=0.1, generator=generator)

    def forward(self, items):
        vectors = self.items(items)[:, None]
        return scaled_dot_product_attention(self.layer(vectors), vectors, vectors, is_causal=True)[:, 0]


@pytest.mark.filterwarnings("ignore:.*stops on a plateau of the training loss:UserWarning")
def test_fits_beside_each_other_are_as_fits_alone():
    rows = PatternMiner(random_state=0).fit_transform(make_sequences(60, 20, random_state=0))
    target = TorchTarget(Attentive, max_epochs=4, batch_size=16, random_state=0)
    personalizer = DatasetPersonalizer(target, warmup_epochs=0, update_every=1)
    alone = clone(personalizer).fit(rows).weights_
    beside = Parallel(n_jobs=3, backend="threading")(delayed(clone(personalizer).fit)(rows) for _ in range(3))
    for fitted in beside:
        np.testing.assert_array_equal(fitted.weights_, alone)
