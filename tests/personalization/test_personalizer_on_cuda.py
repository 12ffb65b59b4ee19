"""Weights that are learnt on CUDA against those of the CPU; run where there is a GPU."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from seqregen import DatasetPersonalizer
from seqregen.targets import FMLP, GNN, CL4SRec, GRU4Rec, SASRec

pytestmark = pytest.mark.gpu

MODELS = [SASRec, GRU4Rec, FMLP, GNN, CL4SRec]


@pytest.mark.parametrize("model", MODELS)
def test_weights_on_cuda_are_those_of_the_cpu(model, sizes, mined):
    settings = sizes | {"dropout": 0.0, "loss": "bce", "max_epochs": 3}
    on_cpu, on_cuda = (
        DatasetPersonalizer(model(**(settings | {"device": device})), warmup_epochs=1, update_every=2).fit(mined)
        for device in ("cpu", "cuda")
    )
    losses = [[record["loss"] for record in fitted.history_] for fitted in (on_cpu, on_cuda)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=5e-3)
    expected = on_cpu.transform(mined).weights
    np.testing.assert_allclose(on_cuda.transform(mined).weights, expected, rtol=0.02, atol=0.01)
    moved = pickle.loads(pickle.dumps(on_cuda))
    np.testing.assert_allclose(moved.transform(mined).weights, expected, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("features", ["state", "state_target_and_origin"])
@pytest.mark.parametrize("model", MODELS)
def test_a_weighted_step_never_waits_for_the_gpu(model, features, sizes, mined, steps_without_waiting):
    recommender = model(**(sizes | {"device": "cuda", "max_epochs": 1}))
    DatasetPersonalizer(recommender, features=features, noise=True, warmup_epochs=0, update_every=2).fit(mined)
    assert steps_without_waiting == [model.__name__]
