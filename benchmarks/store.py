"""The finished accuracy runs, read from their files, and how the rows of one are compared with those of another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from seqregen.metrics import paired_bootstrap

from .chance import Gain, SeedChances
from .recipes import RECIPES
from .result_files import finished_files, read_ranks, read_run
from .row_maker import WINDOWS
from .variants import VARIANTS

__all__ = ["DATASETS", "METRICS", "Comparison", "Records", "Store", "all_comparisons"]

DATASETS = tuple(WINDOWS)
METRICS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")

# Finished runs of one data set: by recipe and variant, and then by seed.
Records = dict[tuple[str, str], dict[int, dict[str, Any]]]
AnyGain = TypeVar("AnyGain", bound=Gain)
# Of data set, recipe, variant and baseline.
Comparison = Callable[[str, str, str, str], AnyGain | None]


class Store:
    """The result files of a directory.

    Parameters
    ----------
    directory : Path
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runs = cache(self._read)
        self.comparison = cache(self._compare)

    def _read(self, dataset: str) -> Records:
        """Finished runs of a data set."""
        runs: Records = defaultdict(dict)
        for path in finished_files(self.directory, f"{dataset}_*.json"):
            record = read_run(path)
            runs[record["recipe"], record["variant"]][record["seed"]] = record
        return dict(runs)

    def comparisons(self, dataset: str, baseline: str = "original") -> dict[tuple[str, str], Gain]:
        """Every variant beside a baseline of its recipe, in the order of recipes and variants."""
        return all_comparisons(self.comparison, dataset, baseline)

    def _compare(
        self, dataset: str, recipe: str, variant: str, baseline: str, baseline_recipe: str | None = None
    ) -> Gain | None:
        """The gain of a variant over a baseline, of the same recipe unless another is named, in the seeds of both.

        None where they share no seed.
        """
        runs, sides = self.runs(dataset), ((recipe, variant), (baseline_recipe or recipe, baseline))
        shared = sorted(set.intersection(*(set(runs.get(side, {})) for side in sides)))
        if not shared:
            return None
        here, before = (self._ranks(dataset, *side, shared) for side in sides)
        deviation, freedom = self._deviation_of(dataset, sides, shared)
        found = paired_bootstrap(
            here,
            before,
            metric="ndcg",
            k=20,
            seed_deviation=deviation,
            seed_freedom=freedom,
            random_state=0,
        )
        difference, low, high = (100 * each / found.mean_b for each in (found.difference, found.low, found.high))
        return Gain(difference, (low, high), found.p_value, len(shared))

    def _deviation_of(
        self, dataset: str, sides: tuple[tuple[str, str], ...], seeds: list[int]
    ) -> tuple[float, int | None]:
        """Of training, each side's a share of its own mean NDCG@20; degrees of freedom of their difference."""
        chances = [chance for recipe, _ in sides if (chance := self.chances.of(recipe)) is not None]
        if len(chances) < len(sides):
            return 0.0, None
        runs = self.runs(dataset)
        means = [np.mean([runs[side][seed]["test"]["ndcg@20"] for seed in seeds]) for side in sides]
        deviations = [chance.share * mean for chance, mean in zip(chances, means, strict=True)]
        return float(np.sqrt(np.mean(np.square(deviations)))), min(chance.freedom for chance in chances)

    def _ranks(self, dataset: str, recipe: str, variant: str, seeds: list[int]) -> np.ndarray:
        """Ranks of the users under each seed, (n_seeds, n_users)."""
        records = self.runs(dataset)[recipe, variant]
        files = [self.directory / f"{dataset}_{recipe}_{variant}_{seed}.npz" for seed in seeds]
        return np.stack([read_ranks(file, records[seed]) for file, seed in zip(files, seeds, strict=True)])

    @cached_property
    def chances(self) -> SeedChances:
        """How far NDCG@20 on the test items differs between the seeds of each recipe."""
        return SeedChances(
            (recipe, np.array([record["test"]["ndcg@20"] for record in seeds.values()]))
            for recipe, seeds in self.cells()
        )

    def cells(self) -> Iterator[tuple[str, dict[int, dict[str, Any]]]]:
        """The recipe and the seeds of each data set, recipe and variant."""
        for dataset in DATASETS:
            for (recipe, _), seeds in self.runs(dataset).items():
                yield recipe, seeds


def all_comparisons(comparison: Comparison[AnyGain], dataset: str, baseline: str) -> dict[tuple[str, str], AnyGain]:
    """Every variant that can be compared with a baseline of its recipe, in the order of recipes and variants."""
    return {
        (recipe, variant): gain
        for recipe in RECIPES
        for variant in VARIANTS
        if variant != baseline and (gain := comparison(dataset, recipe, variant, baseline)) is not None
    }
