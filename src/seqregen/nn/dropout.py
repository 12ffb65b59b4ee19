"""Dropout whose masks cost about as much as reading them.

On a CPU torch draws one random number an element, which costs as much as the rest of a small Transformer.
Here masks are cut from the raw words of a fast generator, 16 bits an element.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Dropout", "RandomMasks", "use_masks"]

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
            self._generator.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))

    def draw(self, like: Tensor, rate: float) -> Tensor:
        """A mask of the shape of ``like``: 0 with probability ``rate``, else ``1 / (1 - rate)``.

        The rate is kept to one part in 65,536.
        """
        threshold = min(round(rate * _LEVELS), _LEVELS - 1)
        scale = _LEVELS / (_LEVELS - threshold)
        if self._generator is not None:
            draws = torch.rand(like.shape, generator=self._generator, device=like.device)
            return (draws >= threshold / _LEVELS).to(like.dtype).mul_(scale)
        words = self._words.random_raw((like.numel() + 3) // 4)
        # As signed integers the 65,536 levels start at -32,768.
        levels = torch.from_numpy(words.view(np.int16)[: like.numel()]).view(like.shape)
        return levels.ge(threshold - _LEVELS // 2).to(like.dtype).mul_(scale)


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
        if self.masks is None:
            raise RuntimeError("no masks to drop with: call use_masks(network, RandomMasks(...)) before training.")
        return values * self.masks.draw(values, self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def use_masks(network: nn.Module, masks: RandomMasks | None) -> None:
    """Let every :class:`Dropout` of a network draw from the same masks."""
    for module in network.modules():
        if isinstance(module, Dropout):
            module.masks = masks
