"""Bringing numpy's arrays to where the tensors are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["on_device"]


def on_device(values: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor on a device.

    Nothing waits for a GPU: the copy takes its turn behind what was asked of the GPU before.

    Parameters
    ----------
    values : ndarray
    device : torch.device

    Returns
    -------
    Tensor
        On a CPU it shares the memory of the array.
    """
    return torch.from_numpy(values).to(device, non_blocking=True)
