"""Validation curves of the runs, compared at the same epochs.

What early stopping keeps is one epoch of a curve that goes up and down, so two seeds of one run may differ by more than
rows bring. The mean of many epochs repeats far better; it judges how well rows teach in so many epochs, not how far
they lead in the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import stats

from .chance import Gain, SeedChances
from .recipes import RECIPES
from .store import DATASETS, Store, all_comparisons
from .tables import OVERVIEW, markdown, marked_gains

__all__ = ["CurveGain", "Curves", "chances_table", "curve_panels", "curves_table"]

# What the figure shows, by its names there.
_DRAWN = {name: OVERVIEW.get(name, name) for name in ("original", "mined", "regenerated", "taught_ensemble")}
# Epochs that are averaged over; every recipe's patience is as long, so that every run has as many.
_WINDOW = 20


@dataclass(frozen=True)
class CurveGain(Gain):
    """A gain on the validation items; its interval covers the chance of training, as the users are the same.

    Attributes
    ----------
    last : int
        The epoch, from 1, that the averages end with: the last one that all runs of both sides have.
    """

    last: int

    def __str__(self) -> str:
        return f"{super().__str__()} to epoch {self.last}"


class Curves:
    """The validation curves of all runs of a store.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @cached_property
    def chances(self) -> SeedChances:
        """How far the average over the last epochs that all seeds have differs between the seeds of each recipe."""
        cells = ((recipe, _curves_of(seeds)) for recipe, seeds in self._store.cells())
        return SeedChances((recipe, _averages(curves, _common(curves))) for recipe, curves in cells)

    def comparisons(self, dataset: str, baseline: str = "original") -> dict[tuple[str, str], CurveGain]:
        """Every variant beside a baseline of its recipe, all seeds of either, in the order of recipes and variants."""
        return all_comparisons(self.comparison, dataset, baseline)

    def comparison(self, dataset: str, recipe: str, variant: str, baseline: str) -> CurveGain | None:
        """The gain of a variant over a baseline; None where either has no run, or chance is not known."""
        runs, chance = self._store.runs(dataset), self.chances.of(recipe)
        sides = [_curves_of(runs.get((recipe, name), {})) for name in (variant, baseline)]
        # Seeds that agree to the last digit tell nothing of chance.
        if not all(sides) or chance is None or chance.share == 0:
            return None
        last = _common([curve for side in sides for curve in side])
        here, before = (_averages(side, last).mean() for side in sides)
        # Chance is a share of either side's own mean, so it does not matter which of them is the baseline.
        errors = [mean / np.sqrt(len(side)) for mean, side in zip((here, before), sides, strict=True)]
        deviation = chance.share * float(np.hypot(*errors)) / before
        ratio = float(here / before - 1)
        margin = float(deviation * stats.t.ppf(0.975, chance.freedom))
        p_value = float(2 * stats.t.sf(abs(ratio) / deviation, chance.freedom))
        interval = (100 * (ratio - margin), 100 * (ratio + margin))
        return CurveGain(100 * ratio, interval, p_value, len(sides[0]), last)


def _curves_of(seeds: dict[int, dict[str, Any]]) -> list[np.ndarray]:
    return [np.array([epoch["ndcg@20"] for epoch in record["history"]]) for record in seeds.values()]


def _common(curves: list[np.ndarray]) -> int:
    return min(map(len, curves))


def _averages(curves: list[np.ndarray], last: int) -> np.ndarray:
    return np.array([curve[max(0, last - _WINDOW) : last].mean() for curve in curves])


def curves_table(curves: Curves) -> str:
    """What rows other than the original ones bring to the curve of every recipe.

    Gains that hold after Holm's correction for all comparisons of their data set are bold, those of one seed in
    italics.
    """
    rows = []
    for dataset in DATASETS:
        found = curves.comparisons(dataset)
        cells = marked_gains({key: gain for key, gain in found.items() if key[1] in OVERVIEW})
        rows += [
            [dataset, recipe, *(cells.get((recipe, variant), "-") for variant in OVERVIEW)]
            for recipe in dict.fromkeys(recipe for recipe, _ in cells)
        ]
    return markdown(["data set", "recipe", *OVERVIEW.values()], rows) if rows else "There are no runs to compare yet."


def chances_table(store: Store, curves: Curves) -> str:
    """How far seeds of a recipe lie apart: on the test items with the epoch that was kept, and along the curve."""
    rows = []
    for recipe in RECIPES:
        kept, averaged = store.chances.own(recipe), curves.chances.own(recipe)
        if kept and averaged:
            rows.append([recipe, kept.freedom, *(f"{100 * chance.share:.1f} %" for chance in (kept, averaged))])
    names = ["recipe", "degrees of freedom", "test, the epoch kept", f"validation, mean of {_WINDOW} epochs"]
    return markdown(names, rows) if rows else "There are no seeds to compare yet."


def curve_panels(store: Store) -> dict[str, dict[str, list[np.ndarray]]]:
    """SASRec's curves under both losses on all data sets, the seeds of each kind of rows together."""
    panels = {}
    for loss in ("bce", "softmax"):
        for dataset in DATASETS:
            runs = store.runs(dataset)
            panels[f"{dataset}, {loss}"] = {
                label: _curves_of(runs.get((f"SASRec-{loss}", variant), {})) for variant, label in _DRAWN.items()
            }
    return panels
