"""The average of a network's weights over the steps of its training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """An exponential average of parameters, which forgets its first steps faster than later ones.

    The last weights of a training with Adam jump about a good place; their average lies in it (Polyak and Juditsky
    1992; Izmailov et al., UAI 2018).

    Parameters
    ----------
    parameters : sequence of Parameter
    decay : float
        In [0, 1): share of the average that is kept in a step. It grows to this from 2 / 11 as ``(1 + n) / (10 + n)``.

    Examples
    --------
    >>> import torch
    >>> weight = torch.nn.Parameter(torch.tensor([0.0]))
    >>> average = WeightAverage([weight], decay=0.5)
    >>> for value in (1.0, 2.0):
    ...     weight.data = torch.tensor([value])
    ...     average.update()
    >>> with average.in_place():
    ...     print(f"{weight.item():.3f}")
    1.705
    >>> weight.item()
    2.0
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.n_updates = 0
        self._parameters = list(parameters)
        self._averages = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the parameters as they are now into the average."""
        self.n_updates += 1
        kept = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        torch._foreach_lerp_(self._averages, [parameter.detach() for parameter in self._parameters], 1 - kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the parameters be the averages inside of the block."""
        # Copied, not exchanged: whatever keeps something made of the parameters sees that they have changed.
        current = [parameter.detach().clone() for parameter in self._parameters]
        self._write(self._averages)
        try:
            yield
        finally:
            self._write(current)

    @torch.no_grad()
    def _write(self, values: Sequence[torch.Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        return {"averages": self._averages, "n_updates": self.n_updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if len(state["averages"]) != len(self._averages):
            raise ValueError(f"{len(state['averages'])} averages for {len(self._averages)} parameters")
        for average, value in zip(self._averages, state["averages"], strict=True):
            average.copy_(value)
        self.n_updates = state["n_updates"]
