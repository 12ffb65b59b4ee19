"""The outer level of bi-level training: every few steps of the loop, one step of other parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..nn.embedding import ordinary_gradients

__all__ = ["OuterPlan", "OuterUpdates"]

# Of the joint norm, as torch's own clipping has it.
_NORM_EPSILON = 1e-6


@dataclass(frozen=True)
class OuterPlan:
    """When and how the outer parameters step; the defaults are those of DR4SR's published code.

    Parameters
    ----------
    every : int, default=30
        Steps of the training loop between two updates, counted from the first step of the run.
    first_epoch : int, default=11
        Epoch, from 0, before which nothing is updated.
    optimizer : {"sgd", "adam"}, default="sgd"
        Adam makes steps of one size out of gradients of any: what single updates disagree on cancels.
    learning_rate : float, default=1e-3
    momentum : float, default=0.9
        Adam's first coefficient, where that is the optimizer.
    weight_decay : float, default=1e-3
    clip : float, default=10
        Joint norm that gradients are scaled down to.
    skip_above : float, default=1000
        Joint norm above which an update is skipped rather than scaled down (not published).
    """

    every: int = 30
    first_epoch: int = 11
    optimizer: str = "sgd"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 1e-3
    clip: float = 10.0
    skip_above: float = 1000.0

    def n_updates(self, n_batches: int, n_epochs: int) -> int:
        """Updates of a run of so many epochs of so many batches."""
        before = min(self.first_epoch, n_epochs) * n_batches
        return n_epochs * n_batches // self.every - before // self.every


class OuterUpdates:
    """Steps of an optimizer of its own on parameters that the training loop's own optimizer leaves alone.

    Between the updates the parameters need no gradient, so that the loop computes none for them. They must be part of
    the network that is trained, whose checkpoints and best weights keep them; what is kept here is the optimizer's
    state and the counts.

    Parameters
    ----------
    parameters : sequence of Parameter
    gradients : callable of numpy Generator
        Computes one gradient a parameter, None for 0; called while they need gradients, and outside of
        :func:`seqregen.nn.accumulating_gradients`.
    plan : OuterPlan
    updated : callable, optional
        Called behind every step that was made.

    Attributes
    ----------
    n_updates : int
        Steps made.
    n_skipped : int
        Steps that were not made, because a gradient was not finite or their norm above ``plan.skip_above``, or were
        taken back, because parameters were not finite behind them, or so large that products of theirs would not be.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        gradients: Callable[[np.random.Generator], Sequence[Tensor | None]],
        plan: OuterPlan,
        updated: Callable[[], None] | None = None,
    ) -> None:
        self.parameters, self.plan = list(parameters), plan
        self._gradients, self._updated = gradients, updated
        self._optimizer = _optimizer(self.parameters, plan)
        self.n_updates = self.n_skipped = 0
        for parameter in self.parameters:
            parameter.requires_grad_(False)

    def after_step(self, n_steps: int, epoch: int, random: np.random.Generator) -> None:
        """Update where one is due after the ``n_steps``-th step of the loop."""
        if epoch < self.plan.first_epoch or n_steps % self.plan.every:
            return
        gradients = self.gradients(random)
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(part) for part in gradients])).item()
        if not (math.isfinite(norm) and norm <= self.plan.skip_above):
            self.n_skipped += 1
            return
        factor = min(1.0, self.plan.clip / (norm + _NORM_EPSILON))
        if not self._step([gradient * factor for gradient in gradients]):
            self.n_skipped += 1
            return
        self.n_updates += 1
        if self._updated is not None:
            self._updated()

    def _step(self, gradients: Sequence[Tensor]) -> bool:
        """Whether the step left sound parameters; one that did not is taken back, and what drove it is forgotten."""
        before = [parameter.detach().clone() for parameter in self.parameters]
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        # A NaN is not below, either.
        if torch.stack([parameter.abs().max() < _largest(parameter) for parameter in self.parameters]).all().item():
            return True
        with torch.no_grad():
            for parameter, value in zip(self.parameters, before, strict=True):
                parameter.copy_(value)
        self._optimizer.state.clear()
        return False

    def gradients(self, random: np.random.Generator) -> list[Tensor]:
        """One gradient a parameter; nothing is updated."""
        with self.learning(), ordinary_gradients():
            found = self._gradients(random)
        return [
            torch.zeros_like(parameter) if gradient is None else gradient.detach()
            for parameter, gradient in zip(self.parameters, found, strict=True)
        ]

    @contextmanager
    def learning(self) -> Iterator[None]:
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        try:
            yield
        finally:
            for parameter in self.parameters:
                parameter.requires_grad_(False)

    def record(self) -> dict[str, float]:
        """The counts so far."""
        return {"updates": self.n_updates, "skipped_updates": self.n_skipped}

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self._optimizer.state_dict(), "updates": self.n_updates, "skipped": self.n_skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._optimizer.load_state_dict(state["optimizer"])
        self.n_updates, self.n_skipped = state["updates"], state["skipped"]


def _largest(parameter: Tensor) -> float:
    """Two layers of such weights, and sums of many of them, stay within what the type can hold."""
    return torch.finfo(parameter.dtype).max ** 0.25


def _optimizer(parameters: list[nn.Parameter], plan: OuterPlan) -> torch.optim.Optimizer:
    shared: dict[str, Any] = {"lr": plan.learning_rate, "weight_decay": plan.weight_decay}
    if plan.optimizer == "adam":
        return torch.optim.Adam(parameters, betas=(plan.momentum, 0.999), **shared)
    return torch.optim.SGD(parameters, momentum=plan.momentum, **shared)
