"""Second derivatives of every model under every loss, against finite differences of the first."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqregen.targets import FMLP, GNN, CL4SRec, GRU4Rec, SASRec
from seqregen.training import LOSSES

CPU = torch.device("cpu")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", [SASRec, GRU4Rec, FMLP, GNN, CL4SRec])
def test_second_derivatives_are_those_of_the_first(sizes, mined, model, loss):
    settings = sizes | {"dropout": 0.0, "loss": loss, "n_negatives": 5, "negative_sampling": "uniform"}
    task = model(**settings)._task(mined, None, CPU, 0, 1)
    network = task.network.double().eval()
    parameters = list(network.parameters())
    batch = task.part.rows.batch(np.arange(40), CPU)
    generator = torch.Generator().manual_seed(0)

    def drawn(like):
        return torch.randn(like.shape, generator=generator, dtype=torch.float64)

    def slopes(weights, create_graph=False):
        _, losses = task.measure(batch, np.random.default_rng(0))
        return torch.autograd.grad((losses * weights).mean(), parameters, create_graph=create_graph)

    def inner(first, second):
        return sum((ours * theirs).sum() for ours, theirs in zip(first, second, strict=True))

    def moved(rate):
        with torch.no_grad():
            for parameter, part in zip(parameters, along, strict=True):
                parameter.add_(part, alpha=rate)

    weights = torch.rand(len(batch.targets), generator=generator, dtype=torch.float64, requires_grad=True)
    change, direction, along = drawn(weights), [drawn(p) for p in parameters], [drawn(p) for p in parameters]
    graph = slopes(weights, create_graph=True)
    torch.testing.assert_close(graph, slopes(weights), rtol=1e-9, atol=1e-12)
    (mixed,) = torch.autograd.grad(graph, weights, direction, retain_graph=True)
    difference = [a - b for a, b in zip(slopes(weights + change), slopes(weights - change), strict=True)]
    torch.testing.assert_close(mixed @ change, inner(difference, direction) / 2)
    curved = torch.autograd.grad(graph, parameters, direction, allow_unused=True)
    found = inner([torch.zeros_like(p) if c is None else c for c, p in zip(curved, parameters, strict=True)], along)
    step = 1e-6
    moved(step)
    above = slopes(weights)
    moved(-2 * step)
    difference = [a - b for a, b in zip(above, slopes(weights), strict=True)]
    torch.testing.assert_close(found, inner(difference, direction) / (2 * step), rtol=1e-4, atol=1e-7)
