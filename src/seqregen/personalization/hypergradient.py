"""Gradients through a minimum, by implicit differentiation and a truncated Neumann series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

__all__ = ["implicit_gradient", "losses_gradient", "through_minimum"]

# What torch puts behind a derivative that has none of its own.
_NOT_DIFFERENTIABLE = "torch::autograd::Error"


def implicit_gradient(
    dev_loss: Tensor,
    train_loss: Tensor,
    parameters: Sequence[Tensor],
    hyperparameters: Sequence[Tensor],
    n_terms: int = 3,
    step: float | None = 1e-3,
    *,
    scaled: bool = False,
    tolerance: float = 0.0,
) -> list[Tensor]:
    """How the dev loss changes with what the training loss depends on, at parameters that minimise the latter.

    With parameters θ, hyperparameters φ and the Hessian ``H = ∂²L_train/∂θ²``, the implicit function theorem gives
    ``dL_dev/dφ = -∂L_dev/∂θ · H⁻¹ · ∂²L_train/∂θ∂φ`` where ``∂L_train/∂θ = 0``. The inverse is a series,
    ``H⁻¹ = step · Σ_n (I - step H)ⁿ``, which is cut off behind the ``n_terms``-th power of the bracket (DR4SR, KDD
    2024, equation 10; Navon et al., ICLR 2021). No matrix is made: each power is one product of the Hessian with a
    vector.

    Parameters
    ----------
    dev_loss : Tensor, scalar
        Must not depend on the hyperparameters other than through the parameters.
    train_loss : Tensor, scalar
        Must be differentiable twice: compute it inside :func:`second_order_kernels`. The two losses share nothing
        but leaves.
    parameters : sequence of Tensor
        θ. Those that a loss does not depend on count with a gradient of 0.
    hyperparameters : sequence of Tensor
        φ.
    n_terms : int, default=3
        Highest power of the bracket (published: 3). 0 puts the identity in the place of the series: gradients of
        single training losses are weighed by how much they agree with that of the dev loss.
    step : float or None, default=1e-3
        The series converges where it is below two over the largest eigenvalue of the Hessian (published: 1e-3, not in
        the paper). None measures the curvature along the gradient ``v`` of the dev loss in every call and takes
        ``|v| / |H v|``. Where the loss has none along ``v``, the scaled sum is infinite.
    scaled : bool, default=False
        Whether the sum is multiplied by ``step``, as the inverse is. The published code leaves it away, and
        so leaves a factor to the learning rate. With ``n_terms=0`` and ``step=None`` no curvature is measured, and
        nothing is multiplied.
    tolerance : float, default=0
        Once a product with the Hessian changes a power by so little that all the powers left together would change
        by less than this share of its length, they are taken to change as much again each, and no more products are
        made. What is left out is of the order of the tolerance's square. 0 makes all of them.

    Returns
    -------
    list of Tensor
        One gradient a hyperparameter, detached.

    Raises
    ------
    TypeError
        ``parameters`` or ``hyperparameters`` is no sequence of tensors.
    ValueError
        ``n_terms`` is no integer of at least 0, ``step`` is no number above 0, ``tolerance`` none of at least 0, or
        there are no parameters or hyperparameters.
    RuntimeError
        An operation has no second derivative.

    Examples
    --------
    >>> import torch
    >>> from seqregen.personalization import implicit_gradient
    >>> weight = torch.tensor([2.0], requires_grad=True)
    >>> value = torch.tensor([2.0], requires_grad=True)  # the minimum of (value - weight)² / 2
    >>> train_loss, dev_loss = ((value - weight) ** 2).sum() / 2, ((value - 5) ** 2).sum() / 2
    >>> implicit_gradient(dev_loss, train_loss, [value], [weight], n_terms=0)
    [tensor([-3.])]
    """
    if isinstance(n_terms, bool) or not isinstance(n_terms, Integral) or n_terms < 0:
        raise ValueError(f"n_terms must be an integer of at least 0; got {n_terms!r}.")
    if step is not None and not (_is_number(step) and 0 < step < math.inf):
        raise ValueError(f"step must be above 0 and finite, or None to measure the curvature; got {step!r}.")
    if not (_is_number(tolerance) and 0 <= tolerance < math.inf):
        raise ValueError(f"tolerance must be at least 0 and finite; got {tolerance!r}.")
    parameters, hyperparameters = _listed(parameters, "parameters"), _listed(hyperparameters, "hyperparameters")
    gradients = losses_gradient(dev_loss, parameters)
    return through_minimum(
        gradients, train_loss, parameters, hyperparameters, n_terms, step, scaled=scaled, tolerance=tolerance
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _listed(tensors: Any, name: str) -> list[Tensor]:
    if isinstance(tensors, Tensor):
        raise TypeError(f"{name} must be a sequence of tensors; got one tensor. Give [{name}].")
    found = list(tensors)
    for place, tensor in enumerate(found):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a sequence of tensors; number {place} is a {type(tensor).__name__}.")
    if not found:
        raise ValueError(f"{name} must have one tensor at least; got none.")
    return found


def losses_gradient(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of a scalar, zeros for parameters that it does not depend on."""
    if not loss.requires_grad:
        return [torch.zeros_like(parameter) for parameter in parameters]
    return _filled(torch.autograd.grad(loss, parameters, allow_unused=True), parameters)


def through_minimum(
    gradients: Sequence[Tensor],
    train_loss: Tensor,
    parameters: Sequence[Tensor],
    hyperparameters: Sequence[Tensor],
    n_terms: int = 3,
    step: float | None = 1e-3,
    *,
    scaled: bool = False,
    tolerance: float = 0.0,
) -> list[Tensor]:
    """:func:`implicit_gradient` for a dev loss whose gradients are known, so that its graph need not be kept.

    Parameters
    ----------
    gradients : sequence of Tensor
        Of the dev loss, one a parameter.
    train_loss, parameters, hyperparameters, n_terms, step, scaled, tolerance
        As in :func:`implicit_gradient`.

    Returns
    -------
    list of Tensor
    """
    slopes = _Slopes(train_loss, parameters)
    power = [gradient.detach().clone() for gradient in gradients]
    total = [part.clone() for part in power] if n_terms else power
    for n_left in range(n_terms, 0, -1):
        curved = slopes.along(power, parameters)
        if step is None:
            step = _inverse_curvature(power, curved)
        if tolerance > 0 and n_left * step * _length(curved) < tolerance * _length(power):
            _add_line(total, power, curved, step, n_left)
            break
        for part, bend, whole in zip(power, curved, total, strict=True):
            if bend is not None and step < math.inf:
                part.sub_(bend, alpha=step)
            whole.add_(part)
    factor = -step if scaled and step is not None else -1.0
    # What has no influence keeps its 0 under an infinite step, too.
    return [
        torch.where(part == 0, part, part * factor)
        for part in _filled(slopes.along(total, hyperparameters, last=True), hyperparameters)
    ]


class _Slopes:
    """First derivatives of a loss, which are to be differentiated again."""

    def __init__(self, loss: Tensor, parameters: Sequence[Tensor]) -> None:
        found: Sequence[Tensor | None] = [None] * len(parameters)
        if loss.requires_grad:
            found = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        # One that is constant has nothing to differentiate.
        self._places = [place for place, slope in enumerate(found) if slope is not None and slope.requires_grad]
        self._slopes: list[Any] = [found[place] for place in self._places]
        _require_second_derivatives(self._slopes)

    def along(
        self, direction: Sequence[Tensor], wanted: Sequence[Tensor], last: bool = False
    ) -> Sequence[Tensor | None]:
        """Gradients of the inner product of the slopes and a direction; ``last`` frees what they are made of."""
        if not self._slopes:
            return [None] * len(wanted)
        return torch.autograd.grad(
            self._slopes,
            wanted,
            grad_outputs=[direction[place] for place in self._places],
            retain_graph=not last,
            allow_unused=True,
        )


def _require_second_derivatives(slopes: Sequence[Tensor]) -> None:
    """Refuse operations that have a first derivative alone: torch does so only where it comes past their mark."""
    seen: set[Any] = set()
    left = [slope.grad_fn for slope in slopes]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == _NOT_DIFFERENTIABLE:
            raise RuntimeError(
                "an operation of the network can be differentiated once only (its backward pass is marked "
                "once_differentiable)"
            )
        left += [behind for behind, _ in node.next_functions]


def _add_line(
    total: Sequence[Tensor], power: Sequence[Tensor], curved: Sequence[Tensor | None], step: float, n_left: int
) -> None:
    """Add ``power - n step curved`` for n from 1 to ``n_left``."""
    for part, bend, whole in zip(power, curved, total, strict=True):
        whole.add_(part, alpha=n_left)
        if bend is not None:
            whole.sub_(bend, alpha=step * n_left * (n_left + 1) / 2)


def _inverse_curvature(direction: Sequence[Tensor], curved: Sequence[Tensor | None]) -> float:
    """Length of a direction over that of its product with the Hessian; infinite where there is no curvature."""
    length, bent = _length(direction), _length(curved)
    if length == 0:
        return 0.0
    return length / bent if bent > 0 else math.inf


def _length(parts: Sequence[Tensor | None]) -> float:
    lengths = [torch.linalg.vector_norm(part) for part in parts if part is not None]
    return torch.linalg.vector_norm(torch.stack(lengths)).item() if lengths else 0.0


def _filled(found: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    return [
        torch.zeros_like(tensor) if part is None else part.detach() for part, tensor in zip(found, like, strict=True)
    ]
