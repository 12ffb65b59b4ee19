"""Linear layers through oneDNN against torch's own, and where they leave it alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from seqregen.nn import linear as module
from seqregen.nn.linear import Linear, linear, product


@pytest.fixture
def onednn():
    if module._onednn_product() is None:
        pytest.skip("this build of torch has no oneDNN product")


@pytest.fixture(autouse=True)
def small_products_in_training(monkeypatch):
    monkeypatch.setattr(module, "_FEWEST_IN_TRAINING", 0)


def layers(n_inputs: int, n_outputs: int) -> tuple[Linear, nn.Linear]:
    torch.manual_seed(0)
    ours = Linear(n_inputs, n_outputs)
    plain = nn.Linear(n_inputs, n_outputs)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.mark.parametrize("shape", [(100, 5), (20, 7, 5), (70, 1, 5)])
@pytest.mark.parametrize("n_outputs", [1, 3, 16])
def test_values_and_gradients_are_torchs(shape, n_outputs):
    ours, plain = layers(5, n_outputs)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
    found, expected = (
        torch.autograd.grad((layer(values) ** 2).sum(), [values, layer.weight, layer.bias]) for layer in (ours, plain)
    )
    torch.testing.assert_close(ours(values), plain(values))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_values_that_are_not_contiguous(onednn):
    ours, plain = layers(5, 3)
    values = torch.randn(5, 200)[:, ::2].T.requires_grad_()
    torch.testing.assert_close(ours(values), plain(values))
    found, expected = (torch.autograd.grad(layer(values).sum(), [values, layer.weight]) for layer in (ours, plain))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_second_derivatives_are_torchs(onednn):
    ours, plain = layers(4, 6)
    values = torch.randn(80, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    seconds = []
    for layer in (ours, plain):
        inputs = [values, layer.weight, layer.bias]
        firsts = torch.autograd.grad((functional.gelu(layer(values)) ** 2).mean(), inputs, create_graph=True)
        seconds.append(torch.autograd.grad(sum((first**2).sum() for first in firsts), inputs))
    for a, b in zip(*seconds, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_other_types_and_few_rows_go_to_torch(onednn, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("oneDNN was called")

    monkeypatch.setattr(module._OneDNNLinear, "apply", refuse)
    ours, plain = layers(5, 3)
    for values in (torch.ones(63, 5), torch.ones(0, 5)):
        assert torch.equal(ours(values), plain(values))
    assert copy.deepcopy(ours).double()(torch.ones(100, 5, dtype=torch.float64)).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(torch.ones(100, 5)).dtype == torch.bfloat16
    before = torch.backends.mkldnn.set_flags(False)[0]
    try:
        ours(torch.ones(100, 5))
    finally:
        torch.backends.mkldnn.set_flags(before)
    rows = torch.export.Dim("rows")
    exported = torch.export.export(ours.eval(), (torch.ones(100, 5),), dynamic_shapes=({0: rows},))
    assert "mkldnn" not in str(exported.graph)
    with pytest.raises(AssertionError, match="was called"):
        ours(torch.ones(100, 5))


def test_small_products_in_training_are_left_to_torch(onednn, monkeypatch):
    calls = []
    monkeypatch.setattr(module._OneDNNLinear, "apply", lambda values, weight, bias: calls.append(len(values)))
    monkeypatch.setattr(module, "_FEWEST_IN_TRAINING", 100 * 5 * 3)
    ours, _ = layers(5, 3)
    assert ours(torch.ones(99, 5)).requires_grad
    ours(torch.ones(100, 5))
    with torch.no_grad():
        ours(torch.ones(99, 5))
    assert calls == [100, 99]


def test_an_operator_that_changed_is_not_used(monkeypatch):
    module._onednn_product.cache_clear()
    try:
        monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda *a: torch.zeros(4, 2), raising=False)
        assert module._onednn_product() is None
        values = torch.ones(100, 5)
        ours, plain = layers(5, 3)
        assert torch.equal(ours(values), plain(values))
    finally:
        module._onednn_product.cache_clear()


def test_functional_gradients(onednn):
    ours, plain = layers(4, 3)
    values = torch.ones(70, 4)
    for layer in (ours, plain):
        layer.requires_grad_(False)
    found, expected = (
        torch.func.grad(lambda weight, layer=layer: (layer.bias + linear(values, weight, layer.bias)).sum())(
            layer.weight
        )
        for layer in (ours, plain)
    )
    torch.testing.assert_close(found, expected)


WIDE = torch.randn(90, 12, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("values", "weight"),
    [
        (WIDE[:, :8].contiguous(), WIDE[:7, :8].contiguous()),
        # Transposed, a part of a matrix, of a transposed one, and another type.
        (WIDE[:, :8].contiguous(), WIDE[:8, :7].contiguous().T),
        (WIDE[:, :8], WIDE[:7, :8].contiguous()),
        (WIDE[:, :8].contiguous(), WIDE[:7, 2:10]),
        (WIDE[:, :8].contiguous(), WIDE[:8, 1:8].T),
        (WIDE[:, :8].double(), WIDE[:7, :8].double()),
        (WIDE[:0, :8].contiguous(), WIDE[:7, :8].contiguous()),
    ],
)
@pytest.mark.parametrize("bias", [None, torch.arange(7.0)])
def test_a_bare_product_is_torchs_and_has_no_graph(values, weight, bias, monkeypatch):
    monkeypatch.setattr(module, "_FEWEST_IN_PRODUCT", 0)
    bias = bias if bias is None else bias.to(values.dtype)
    found = product(values.clone(memory_format=torch.preserve_format).requires_grad_(), weight, bias)
    assert not found.requires_grad
    torch.testing.assert_close(found, functional.linear(values, weight, bias))


def test_only_whole_matrices_of_a_bare_product_go_to_onednn(onednn, monkeypatch):
    taken = []
    onednns = module._onednn_product()

    def noting(values, weight, bias):
        taken.append((tuple(values.shape), tuple(weight.shape)))
        return onednns(values, weight, bias)

    monkeypatch.setattr(module, "_FEWEST_IN_PRODUCT", 90 * 8 * 7)
    monkeypatch.setattr(module, "_onednn_product", lambda: noting)
    whole, part = WIDE[:7, :8].contiguous(), WIDE[:7, 2:10]
    product(WIDE[:, :8].contiguous(), whole)
    product(WIDE[:, :8].contiguous(), WIDE[:8, :7].contiguous().T)
    for values, weight in ((WIDE[:, :8], whole), (WIDE[:, :8].contiguous(), part), (WIDE[:89, :8].contiguous(), whole)):
        product(values, weight)
    assert taken == [((90, 8), (7, 8))] * 2
