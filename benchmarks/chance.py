"""What is chance: how far seeds of a recipe differ, gains with their intervals, and p values of many together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

__all__ = ["Chance", "Gain", "SeedChances", "holm"]

Key = TypeVar("Key", bound=Hashable)

# Degrees of freedom from which a recipe's own deviation is taken, were it smaller than that of all.
_LEAST_FREEDOM = 4


@dataclass(frozen=True)
class Chance:
    """How far a measurement differs between seeds.

    Attributes
    ----------
    share : float
        Its deviation over its mean.
    freedom : int
        Degrees of freedom that it was estimated with.
    """

    share: float
    freedom: int


class SeedChances:
    """The chance of training of every recipe.

    Parameters
    ----------
    cells : iterable of (str, ndarray)
        A recipe, and what was measured with each seed on one data set and one variant of its rows.
    """

    def __init__(self, cells: Iterable[tuple[str, np.ndarray]]) -> None:
        squares: dict[str, list[float]] = defaultdict(list)
        freedom: dict[str, int] = defaultdict(int)
        for recipe, values in cells:
            # Under "" all recipes are one.
            for name in (recipe, ""):
                squares[name] += ((values / values.mean() - 1) ** 2).tolist()
                freedom[name] += len(values) - 1
        self._found = {
            name: Chance(float(np.sqrt(sum(squares[name]) / freedom[name])), freedom[name])
            for name in squares
            if freedom[name]
        }

    def own(self, recipe: str) -> Chance | None:
        """That of a recipe by itself, over all rows and data sets; None where each of them has one seed."""
        return self._found.get(recipe)

    def of(self, recipe: str) -> Chance | None:
        """That of a recipe, as far as it is known.

        A recipe of few seeds has the deviation of all recipes together, or its own where that is larger: few seeds may
        look steadier than they are, but those that lie far apart do.
        """
        own, common = self._found.get(recipe), self._found.get("")
        if own is None or common is None or own.freedom >= _LEAST_FREEDOM:
            return own or common
        return max(own, common, key=lambda chance: chance.share)


@dataclass(frozen=True)
class Gain:
    """NDCG@20 of one side beside that of a baseline.

    Attributes
    ----------
    percent : float
        Of the baseline's.
    interval : pair of float
        Of 95 %, in percent.
    p_value : float
    n_seeds : int
        Of the side, as far as they were compared.
    """

    percent: float
    interval: tuple[float, float]
    p_value: float
    n_seeds: int

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.percent:+.1f} % ({low:+.1f} to {high:+.1f})"


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """p values that hold for all comparisons together (Holm 1979)."""
    found = np.array(list(p_values.values()))
    order = np.argsort(found, kind="stable")
    factors = len(found) - np.arange(len(found))
    adjusted = np.minimum(1, np.maximum.accumulate(found[order] * factors))
    return dict(zip(p_values, adjusted[np.argsort(order)].tolist(), strict=True))
