"""What tests of several rooms share."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

# Before torch is loaded: the tests are tiny, and threads that wait for one another on busy cores slow them tenfold.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def real_file(request):
    """The path of a real data file by name; the test is skipped where it is not there."""

    def find(name):
        home = os.environ.get("SEQREGEN_DATA", request.config.rootpath.parent / "shared" / "data")
        path = Path(home) / name
        if not path.is_file():
            pytest.skip(f"{name} is not there; set SEQREGEN_DATA to its directory")
        return path

    return find


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Tests marked ``gpu`` run on a GPU, or on one that is pretended where there is none."""
    with nullcontext() if item.get_closest_marker("gpu") is None else _gpu():
        return (yield)


def _gpu():
    import torch
    from pretended_cuda import pretended_cuda

    return nullcontext() if torch.cuda.is_available() else pretended_cuda()


@pytest.fixture
def steps_without_waiting(monkeypatch):
    """Before each training one step of it is made in which waiting for the GPU is an error; lists what was trained."""
    import numpy as np
    import torch

    from seqregen.nn import RandomMasks, accumulating_gradients, use_masks
    from seqregen.regeneration import regenerator
    from seqregen.targets import base

    trained = []

    def train(network, batches, loss, plan, *, device, begin_epoch=None, _train=base.train, **others):
        use_masks(network, RandomMasks(0, device))
        network.train()
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        if begin_epoch is not None:
            # Behind every warm-up.
            begin_epoch(1_000)
        random = np.random.default_rng(0)
        with accumulating_gradients():
            drawn = iter(batches(random))
            # What is made once for all batches is made here.
            loss(next(drawn), random).backward()
            torch.cuda.set_sync_debug_mode("error")
            try:
                loss(next(drawn), random).backward()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        trained.append(plan.name)
        return _train(network, batches, loss, plan, device=device, begin_epoch=begin_epoch, **others)

    for module in (base, regenerator):
        monkeypatch.setattr(module, "train", train)
    return trained
