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
