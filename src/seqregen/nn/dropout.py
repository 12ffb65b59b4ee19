"""Dropout whose masks cost about as much as reading them.

On a CPU torch draws one random number an element, which costs as much as the rest of a small Transformer.
Here masks are cut from the raw words of a fast generator, 8 or 16 bits an element.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Dropout", "RandomMasks", "TorchRandomness", "seeded_torch", "use_masks"]

_LEVELS = 1 << 16


class RandomMasks:
    """Draws dropout masks; everything that it will draw is fixed by the seed.

    Parameters
    ----------
    seed : int or sequence of int
        Seed; two objects with one seed draw the same masks on one kind of device.
    device : torch.device
        Where the masks are needed.
    """

    def __init__(self, seed: int | list[int], device: torch.device) -> None:
        self.device = device
        sequence = np.random.SeedSequence(seed)
        self._words = np.random.SFC64(sequence)
        self._generator = None
        if device.type != "cpu":
            self._generator = torch.Generator(device)
            self._generator.manual_seed(int(sequence.generate_state(1, np.uint64)[0]) >> 1)

    def draw(self, like: Tensor, rate: float) -> Tensor:
        """A mask of the shape of ``like``: 0 with probability ``rate``, else ``1 / (1 - rate)``.

        The rate is kept to one part in 65,536.
        """
        kept, scale = self.draw_kept(like, rate)
        return kept.mul_(scale)

    def draw_kept(self, like: Tensor, rate: float) -> tuple[Tensor, float]:
        """The same as a mask of 0 and 1, and the factor of what is kept."""
        n_levels = 1 << 8 if float(rate * (1 << 8)).is_integer() else _LEVELS
        threshold = min(round(rate * n_levels), n_levels - 1)
        scale = n_levels / (n_levels - threshold)
        if self._generator is not None:
            draws = torch.rand(like.shape, generator=self._generator, device=like.device)
            return (draws >= threshold / n_levels).to(like.dtype), scale
        dtype = np.int8 if n_levels == 1 << 8 else np.int16
        words = self._words.random_raw(-(-like.numel() * np.dtype(dtype).itemsize // 8))
        # As signed integers the levels start at minus half their number.
        levels = torch.from_numpy(words.view(dtype)[: like.numel()]).view(like.shape)
        kept = torch.empty(like.shape, dtype=like.dtype)
        return torch.ge(levels, threshold - n_levels // 2, out=kept), scale

    def draw_seed(self) -> int:
        """A seed for a generator that draws by itself, between 0 and 2**63 - 1."""
        return int(self._words.random_raw()) >> 1


class Dropout(nn.Module):
    """Dropout with masks from :class:`RandomMasks`, given by :func:`use_masks`.

    Parameters
    ----------
    rate : float
        Share of the elements that become 0 in training.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.masks: RandomMasks | None = None

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return values
        return values * self._masks().draw(values, self.rate)

    def added(self, residual: Tensor, values: Tensor) -> Tensor:
        """``residual + self(values)`` in one operation."""
        if not self.training or self.rate == 0:
            return residual + values
        kept, scale = self._masks().draw_kept(values, self.rate)
        return torch.addcmul(residual, values, kept, value=scale)

    def _masks(self) -> RandomMasks:
        if self.masks is None:
            raise RuntimeError("no masks to drop with: call use_masks(network, RandomMasks(...)) before training.")
        return self.masks

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


# torch's own generators are one for a process: what seeds them and draws from them has them for itself.
_torch_generators = threading.RLock()


def _open_in_child() -> None:
    # A forked process has none of the threads that may have held the lock.
    global _torch_generators  # noqa: PLW0603
    _torch_generators = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_in_child)


@contextmanager
def seeded_torch(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators of the CPU and of a device; afterwards they are as they were before.

    Other threads wait at this place until the block has ended.

    Parameters
    ----------
    seed : int
    device : torch.device
        Generators of other GPUs are left alone.
    """
    devices = [] if device.type != "cuda" else [torch.cuda.current_device() if device.index is None else device.index]
    with _torch_generators, torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for index in devices:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield


class TorchRandomness(nn.Module):
    """Makes repeatable what other people's modules draw from torch's own generators.

    A part of a network, so that :func:`use_masks` reaches it: from then on each :meth:`seeded` block begins with
    a seed of its own, and threads take turns. Without masks, and outside of training, torch's generators are used as
    they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.masks: RandomMasks | None = None

    @contextmanager
    def seeded(self) -> Iterator[None]:
        if self.masks is None or not self.training:
            yield
            return
        with seeded_torch(self.masks.draw_seed(), self.masks.device):
            yield


def use_masks(network: nn.Module, masks: RandomMasks | None) -> None:
    """Let every :class:`Dropout` and :class:`TorchRandomness` of a network draw from the same masks."""
    for module in network.modules():
        if isinstance(module, (Dropout, TorchRandomness)):
            module.masks = masks
