"""Random numbers for code that draws them from generators of the whole process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ...nn import seeded_torch

__all__ = ["seeded_everywhere"]


@contextmanager
def seeded_everywhere(seed: int, device: torch.device) -> Iterator[None]:
    """Seed Python's, numpy's old and torch's generators; afterwards they are as they were before.

    Other threads wait until the block has ended.

    Parameters
    ----------
    seed : int
        Reduced to 32 bits where a generator takes no more.
    device : torch.device
        The generator of this device is seeded as well as the CPU's.
    """
    with seeded_torch(seed, device):
        # What the code inside draws from is numpy's old generator; there is no other way to reach it.
        python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
