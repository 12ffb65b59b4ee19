"""The network that gives every training position a weight."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..nn import in_full_precision, initialize, on_device
from ..sequences import Origin

__all__ = ["FEATURES", "WeightingNetwork", "origin_codes"]

FEATURES = ("state", "state_and_target", "state_target_and_origin")
# Quantiles of the noise that an expectation is the mean over.
_N_QUANTILES = 32


class WeightingNetwork(nn.Module):
    """Linear, ReLU, linear to two scores a position; the weight is the first's share in a Gumbel-softmax.

    With two classes that is ``sigmoid((z₀ - z₁ + Λ) / τ)``, where the difference Λ of two Gumbel variables is
    logistic (Jang et al., ICLR 2017; DR4SR, KDD 2024, equation 5).

    Parameters
    ----------
    width : int
        Size of a state d.
    hidden : int
        Size of the hidden layer.
    features : {"state", "state_and_target", "state_target_and_origin"}
        What is read: the state that the target is predicted from, the target's item vector, and whether the row is
        original, mined or regenerated.
    temperature : float
        τ at the start.
    floor : float
        τ is never taken to be less.
    noise : bool
        Whether Λ is drawn; without it, it is 0.

    Attributes
    ----------
    temperature : Parameter, scalar
    """

    def __init__(
        self, width: int, hidden: int, features: str, temperature: float, floor: float, noise: bool = True
    ) -> None:
        super().__init__()
        size = {"state": width, "state_and_target": 2 * width, "state_target_and_origin": 2 * width + len(Origin)}
        self.expand = nn.Linear(size[features], hidden)
        self.contract = nn.Linear(hidden, 2)
        self.temperature = nn.Parameter(torch.tensor(float(temperature)), requires_grad=False)
        self.features, self.floor, self.noise = features, floor, noise

    def draw_weights(self, generator: torch.Generator) -> None:
        """Draw the first weights as published: N(0, 0.02²), biases 0."""
        initialize(self, generator)

    @property
    def layers(self) -> list[nn.Parameter]:
        """All parameters but the temperature."""
        return [*self.expand.parameters(), *self.contract.parameters()]

    def inputs(self, states: Tensor, table: Tensor, targets: Tensor, origins: Tensor) -> Tensor:
        """What is read, (n, size), of states (n, d), the item table (n_items, d), target codes and origins (n,)."""
        if self.features == "state":
            return states
        read = [states, table.index_select(0, targets - 1)]
        if self.features == "state_target_and_origin":
            read.append(functional.one_hot(origins, len(Origin)).to(states))
        return torch.cat(read, dim=1)

    @in_full_precision
    def forward(self, inputs: Tensor, random: np.random.Generator) -> Tensor:
        """One weight a position, (n,), with noise drawn from ``random``."""
        leanings = self._leanings(inputs)
        if self.noise:
            leanings = leanings + on_device(_logistic(len(inputs), random), inputs.device).to(inputs.dtype)
        return torch.sigmoid(leanings / self._clipped())

    def expected(self, inputs: Tensor) -> Tensor:
        """Mean weight, (n,), over the noise: over 32 of its quantiles, so that nothing is drawn."""
        leanings = self._leanings(inputs)
        if not self.noise:
            return torch.sigmoid(leanings / self._clipped())
        quantiles = torch.logit((torch.arange(_N_QUANTILES) + 0.5) / _N_QUANTILES).to(inputs)
        return torch.sigmoid((leanings[:, None] + quantiles) / self._clipped()).mean(1)

    def _leanings(self, inputs: Tensor) -> Tensor:
        scores = self.contract(functional.relu(self.expand(inputs)))
        return scores[:, 0] - scores[:, 1]

    def _clipped(self) -> Tensor:
        return self.temperature.clamp(min=self.floor)


def _logistic(n: int, random: np.random.Generator) -> np.ndarray:
    # Drawn in double precision: neither 0 nor 1 is ever met but for one draw in 2**53, which the clip sees to.
    uniform = np.clip(random.random(n), 1e-16, 1 - 1e-16)
    return np.log(uniform) - np.log1p(-uniform)


def origin_codes(origins: np.ndarray, device: torch.device) -> Tensor:
    """Origins of rows, int8 (n,), as the int64 Tensor that :meth:`WeightingNetwork.inputs` reads."""
    return on_device(origins.astype(np.int64), device)
