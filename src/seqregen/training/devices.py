"""Choosing where to compute."""

from __future__ import annotations

import copy
import platform
import warnings
from typing import Any

import torch

from ..callers import stacklevel_of_caller

__all__ = ["resolve_device", "warn_of_slow_rounding", "with_network_on_cpu"]

_ADVICE = "use 'auto', 'cpu', 'cuda' or 'cuda:<number>'"


def resolve_device(device: str | torch.device) -> torch.device:
    """The torch device that a ``device`` parameter asks for.

    Parameters
    ----------
    device : str or torch.device
        "auto" stands for CUDA where there is one, else the CPU; else "cpu", "cuda" or "cuda:<number>". The other
        devices of torch lack operations that are needed here, such as sums in double precision.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        The device is neither a CPU nor a CUDA device, or is not on this machine.

    Examples
    --------
    >>> from seqregen.training import resolve_device
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if not isinstance(device, (str, torch.device)):
        raise ValueError(f"device={device!r} is not a device; {_ADVICE}.")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device={device!r} is not a device; {_ADVICE}.") from None
    if chosen.type not in ("cpu", "cuda"):
        raise ValueError(f"device={device!r} is not supported; {_ADVICE}.")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r} was asked for, but no CUDA device is available; use device='auto'.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={device!r} was asked for, but there are {torch.cuda.device_count()} CUDA devices.")
    return chosen


def warn_of_slow_rounding(estimator: Any, device: torch.device) -> None:
    """Say where an estimator's ``precision`` makes training slower on a device, not quicker."""
    if estimator.precision == "bfloat16" and not _computes_in_bfloat16(device):
        warnings.warn(
            f"{type(estimator).__name__}: this machine's {device.type} has no instructions for bfloat16; training with "
            "precision='bfloat16' is likely slower than with precision='float32', and no better.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        # Ampere, the first with such instructions, is 8.0.
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Of other processors than these torch does not tell.
    return platform.machine().lower() not in ("x86_64", "amd64") or torch.cpu._is_avx512_bf16_supported()


def with_network_on_cpu(state: dict[str, Any]) -> dict[str, Any]:
    """An estimator's state for pickling: what was trained on a GPU must load where there is none."""
    network = state.get("network_")
    if network is None or next(network.parameters()).device.type == "cpu":
        return state
    return state | {"network_": copy.deepcopy(network).cpu()}
