"""Bringing numpy's arrays to where the tensors are, and keeping long ones there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["GatheredArray", "on_device"]


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


class GatheredArray:
    """A long array that batches take values from.

    A device other than the CPU gets a copy when it first asks, and keeps it: what travels with a batch are places.

    Parameters
    ----------
    values : ndarray of shape (n,)

    Examples
    --------
    >>> import numpy as np, torch
    >>> from seqregen.nn import GatheredArray
    >>> GatheredArray(np.array([5, 6, 7])).gather(np.array([2, 0]), torch.device("cpu"))
    tensor([7, 5])
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self._copies: dict[torch.device, Tensor] = {}

    def gather(self, places: np.ndarray, device: torch.device) -> Tensor:
        """The values at some places, as a tensor on a device."""
        if device.type == "cpu":
            return torch.from_numpy(self.values[places])
        if device not in self._copies:
            # A dataset's arrays are not to be written to, and a tensor of one could be.
            self._copies[device] = on_device(self.values.copy(), device)
        return self._copies[device].index_select(0, on_device(places, device))
