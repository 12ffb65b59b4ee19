"""Validation curves of the runs, compared at the same epochs.

What early stopping keeps is one epoch of a curve that goes up and down, so two seeds of one run may differ by more than
rows bring. The mean of many epochs repeats far better; it judges how well rows teach in so many epochs, not how far
they lead in the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import stats

from .chance import SeedChances, holm
from .recipes import RECIPES
from .store import DATASETS, Store
from .tables import OVERVIEW, PARTS, SIGNIFICANT, markdown, probability
from .variants import VARIANTS

__all__ = ["CurveComparison", "Curves", "chances_table", "curve_panels", "curve_parts_table", "curves_table"]

# What the figure shows, by its names there.
_DRAWN = {name: OVERVIEW.get(name, name) for name in ("original", "mined", "regenerated", "taught_ensemble")}
# Epochs that are averaged over; every recipe's patience is as long, so that every run has as many.
_WINDOW = 20


@dataclass(frozen=True)
class CurveComparison:
    """Validation NDCG@20 of a variant beside that of a baseline, in percent of the latter.

    Attributes
    ----------
    gain, margin : float
        The interval of 95 % reaches as far as the margin to either side. It covers the chance of training, not that of
        users, who are the same on both sides.
    p_value : float
    last : int
        The epoch, from 1, that the averages end with: the last one that all runs of both sides have.
    n_seeds : int
        Of the variant.
    """

    gain: float
    margin: float
    p_value: float
    last: int
    n_seeds: int

    def __str__(self) -> str:
        return f"{self.gain:+.1f} % ({self.gain - self.margin:+.1f} to {self.gain + self.margin:+.1f})"


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
        return SeedChances(self._values())

    def _values(self) -> Iterator[tuple[str, np.ndarray]]:
        for dataset in DATASETS:
            for (recipe, _), seeds in self._store.runs(dataset).items():
                curves = _curves_of(seeds)
                yield recipe, _averages(curves, _common(curves))

    def compared(self, dataset: str, recipe: str, variant: str, baseline: str) -> CurveComparison | None:
        """A variant beside a baseline, all seeds of either; None where one has no run, or chance is not known."""
        runs, chance = self._store.runs(dataset), self.chances.of(recipe)
        sides = [_curves_of(runs.get((recipe, name), {})) for name in (variant, baseline)]
        # Seeds that agree to the last digit tell nothing of chance.
        if not all(sides) or chance is None or chance.share == 0:
            return None
        last = _common([curve for side in sides for curve in side])
        here, before = (float(_averages(side, last).mean()) for side in sides)
        # Of the ratio of the two, as far as chance is a share of either.
        deviation = chance.share * np.sqrt(sum(1 / len(side) for side in sides))
        gain = here / before - 1
        p_value = 2 * stats.t.sf(abs(gain) / deviation, chance.freedom)
        margin = deviation * stats.t.ppf(0.975, chance.freedom)
        return CurveComparison(100 * gain, 100 * float(margin), float(p_value), last, len(sides[0]))


def _curves_of(seeds: dict[int, dict[str, Any]]) -> list[np.ndarray]:
    return [np.array([epoch["ndcg@20"] for epoch in record["history"]]) for record in seeds.values()]


def _common(curves: list[np.ndarray]) -> int:
    return min(map(len, curves))


def _averages(curves: list[np.ndarray], last: int) -> np.ndarray:
    return np.array([curve[max(0, last - _WINDOW) : last].mean() for curve in curves])


def curves_table(store: Store) -> str:
    """What rows other than the original ones bring to the curve of every recipe.

    Gains that hold after Holm's correction for all comparisons of their data set are bold, those of one seed in
    italics.
    """
    curves, rows = Curves(store), []
    for dataset in DATASETS:
        found = {
            (recipe, variant): comparison
            for recipe in RECIPES
            for variant in OVERVIEW
            if (comparison := curves.compared(dataset, recipe, variant, "original"))
        }
        adjusted = dict(zip(found, holm([each.p_value for each in found.values()]), strict=True))
        cells = {key: _cell(comparison, adjusted[key]) for key, comparison in found.items()}
        rows += [
            [dataset, recipe, *(cells.get((recipe, variant), "-") for variant in OVERVIEW)]
            for recipe in dict.fromkeys(recipe for recipe, _ in found)
        ]
    return markdown(["data set", "recipe", *OVERVIEW.values()], rows) if rows else "There are no runs to compare yet."


def _cell(comparison: CurveComparison, p_value: float) -> str:
    text = f"{comparison.gain:+.1f} %"
    if p_value < SIGNIFICANT:
        text = f"**{text}**"
    return f"*{text}*" if comparison.n_seeds == 1 else text


def curve_parts_table(store: Store) -> str:
    """What a part brings to the curve: variants beside others than the original rows.

    The p values are Holm's for all comparisons of the table.
    """
    curves = Curves(store)
    found = {
        (dataset, recipe, variant, baseline): comparison
        for dataset in DATASETS
        for variant, baseline in PARTS
        for recipe in RECIPES
        if (comparison := curves.compared(dataset, recipe, variant, baseline))
    }
    adjusted = holm([comparison.p_value for comparison in found.values()])
    rows = [
        [dataset, recipe, VARIANTS[variant].label, VARIANTS[baseline].label, each.last, each, probability(p_value)]
        for ((dataset, recipe, variant, baseline), each), p_value in zip(found.items(), adjusted, strict=True)
    ]
    names = ["data set", "recipe", "trained on", "against", "to epoch", "difference (95 %)", "p (Holm)"]
    return markdown(names, rows) if rows else "There are no runs to compare yet."


def chances_table(store: Store) -> str:
    """How far seeds of a recipe lie apart: on the test items with the epoch that was kept, and along the curve."""
    curves, rows = Curves(store), []
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
