"""What a process has set for torch's defaults does not reach what is computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import seqregen as sr
from seqregen.nn.usual_settings import with_usual_defaults
from seqregen.targets import FMLP, GNN, CL4SRec, GRU4Rec, SASRec

ROWS = sr.datasets.make_sequences(40, 20, random_state=0)
TINY = {"embedding_dim": 8, "max_epochs": 2, "batch_size": 16, "random_state": 0}


def mined():
    return sr.PatternMiner(window=3, random_state=0).fit_transform(sr.model_selection.hold_out_last(ROWS))


COMPUTED = {
    **{
        model.__name__: lambda model=model: model(**TINY).fit(ROWS).decision_function(ROWS)
        for model in (SASRec, GRU4Rec, FMLP, GNN, CL4SRec)
    },
    "personalizer": lambda: (
        sr.DatasetPersonalizer(SASRec(**TINY), warmup_epochs=0, update_every=2).fit_transform(mined()).weights
    ),
    "regenerator": lambda: (
        sr.DatasetRegenerator(embedding_dim=8, max_epochs=1, batch_size=64, random_state=0).fit_transform(mined()).items
    ),
    "teacher": lambda: sr.TeacherRegenerator(SASRec(**TINY), n_items=2, random_state=0).fit_transform(ROWS).items,
}


@pytest.mark.parametrize("compute", COMPUTED.values(), ids=COMPUTED)
def test_defaults_of_the_process_change_nothing(compute):
    usual = compute()
    torch.set_default_dtype(torch.float64)
    try:
        found = compute()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == usual.dtype
    np.testing.assert_array_equal(found, usual)
    # In the place of a GPU, which need not be there; it holds no numbers, so that nothing can be computed on it.
    with torch.device("meta"):
        np.testing.assert_array_equal(compute(), usual)


def test_a_default_that_another_thread_sets_meanwhile_stays():
    @with_usual_defaults
    def set_within():
        torch.set_default_dtype(torch.float64)
        return torch.zeros(1).dtype

    try:
        assert set_within() == torch.float64
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
