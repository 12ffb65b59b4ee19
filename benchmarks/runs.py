"""One run of the accuracy benchmark: a data set, a recipe, a data variant and a seed; one result file, written once."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

import seqregen as sr
from seqregen.files import write_aside
from seqregen.labels import encode_labels
from seqregen.metrics import UNREACHABLE, ranking_metrics
from seqregen.ragged import row_of_position
from seqregen.training.fingerprint import fingerprint

from .machine import RESULTS as ALL_RESULTS
from .machine import describe_machine
from .memory import peak_mebibytes
from .recipes import make_model
from .result_files import read_run
from .row_maker import RowMaker, rows_settings
from .settings import deciding, differences
from .variants import VARIANTS

__all__ = ["CACHE", "MAP_SIZE", "RESULTS", "Run", "training_seconds"]

RESULTS = ALL_RESULTS / "accuracy"
CACHE = Path(__file__).parent / ".cache"
# Upper bounds, inclusive, of groups of users: items in the history, and how often the target stands in the rows.
LENGTH_BOUNDS = (4, 8, 16)
POPULARITY_BOUNDS = (4, 16, 64)
# Rows, and positions of each, whose learned weights are kept: the size of the paper's Figure 4.
MAP_SIZE = 25


@dataclass(frozen=True)
class Run:
    """A configuration; its key names its result file."""

    dataset: str
    recipe: str
    variant: str
    seed: int

    @property
    def key(self) -> str:
        return f"{self.dataset}_{self.recipe}_{self.variant}_{self.seed}"

    @property
    def command(self) -> str:
        """What makes the run again."""
        options = {"datasets": self.dataset, "recipes": self.recipe, "variants": self.variant, "seeds": self.seed}
        return " ".join(["python -m benchmarks accuracy", *(f"--{name} {value}" for name, value in options.items())])

    @property
    def path(self) -> Path:
        return RESULTS / f"{self.key}.json"

    @property
    def finished(self) -> bool:
        return self.path.exists() and self.path.with_suffix(".npz").exists()

    def changes(self) -> str:
        """Where the finished run was made with other settings than its recipe and variant have now; "" for nowhere."""
        record = read_run(self.path)
        variant = VARIANTS[self.variant]
        estimator = variant.estimator(make_model(self.recipe))
        model = getattr(estimator, "recommender", estimator)
        found = [differences(deciding(record["settings"]), deciding(model.get_params()))]
        found.append(differences(record.get("rows_settings", {}), rows_settings(self.dataset, variant.rows)))
        if model is not estimator:
            settings = estimator.get_params(deep=False) | {"recommender": None}
            found.append(differences(deciding(record["personalizer"]["settings"]), deciding(settings)))
        return ", ".join(filter(None, found))

    def __str__(self) -> str:
        return f"{self.dataset}, {self.recipe}, {self.variant}, seed {self.seed}"

    def carry_out(self, threads: int = 1) -> dict[str, Any]:
        """Make the rows, train, rank the test items, write the files; a training that was stopped goes on.

        Raises
        ------
        filelock.Timeout
            Another process is carrying it out.
        """
        CACHE.mkdir(exist_ok=True)
        with FileLock(CACHE / f"{self.key}.lock", timeout=0):
            return read_run(self.path) if self.finished else self._carry_out(threads)

    def _carry_out(self, threads: int) -> dict[str, Any]:
        torch.set_num_threads(threads)
        maker = RowMaker(self.dataset, self.seed, CACHE)
        variant = VARIANTS[self.variant]
        rows = variant.rows(maker)
        model = make_model(self.recipe, random_state=self.seed, checkpoint_dir=CACHE / "checkpoints", verbose=True)
        estimator = variant.estimator(model)
        estimator.fit(rows)
        started = time.perf_counter()
        ranks = estimator.rank(rows, maker.y)
        record = self._record(rows, estimator, maker) | {
            "test": ranking_metrics(ranks, k=(10, 20)),
            "groups": _by_group(ranks, maker),
            "rank_seconds": time.perf_counter() - started,
            "peak_mebibytes": peak_mebibytes(),
            "threads": threads,
            "machine": describe_machine(),
        }
        self._write(record, ranks)
        return record

    def _record(self, rows: sr.SequenceDataset, estimator: Any, maker: RowMaker) -> dict[str, Any]:
        model = getattr(estimator, "recommender_", estimator)
        record = {
            "dataset": self.dataset,
            "recipe": self.recipe,
            "model": type(model).__name__,
            "settings": model.get_params() | {"checkpoint_dir": None},
            "variant": self.variant,
            "seed": self.seed,
            "command": self.command,
            "history_excluded": True,
            "best_epoch": model.best_epoch_,
            "epochs": len(model.history_),
            "history": model.history_,
            "refit_history": getattr(model, "refit_history_", None),
            "rows": vars(rows.describe()),
            "rows_digest": fingerprint(rows.items, rows.offsets, rows.origin, rows.weights, rows.validation),
            **maker.notes,
        }
        if model is not estimator:
            settings = estimator.get_params(deep=False) | {"recommender": None}
            summaries = {
                by: {group: summary._asdict() for group, summary in getattr(estimator, f"weights_by_{by}_").items()}
                for by in ("origin", "popularity", "position")
            }
            weighed = rows.replace(weights=estimator.weights_)
            record["personalizer"] = {"settings": settings, "weights": summaries, "rows": _some_rows(weighed)}
        return record

    def _write(self, record: dict[str, Any], ranks: np.ndarray) -> None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        with write_aside(self.path.with_suffix(".npz")) as aside:
            # 0 stands for a target that cannot be reached.
            np.savez_compressed(aside, ranks=np.where(ranks == UNREACHABLE, 0, ranks).astype(np.int32))
        with write_aside(self.path) as aside:
            aside.write_text(json.dumps(record, indent=1, default=_as_plain) + "\n", encoding="utf-8")


def _some_rows(rows: sr.SequenceDataset) -> list[list[float]]:
    """Weights of the targets of rows drawn at random, the same for all models, of those that are not fixed at 1."""
    differs = np.zeros(len(rows), dtype=bool)
    differs[row_of_position(rows.offsets)[rows.weights != 1]] = True
    numbers = np.flatnonzero(differs & (rows.lengths > 1))
    drawn = np.random.default_rng(0).permutation(numbers)[:MAP_SIZE]
    return [
        [round(float(weight), 4) for weight in rows.weights[rows.offsets[row] + 1 : rows.offsets[row + 1]][:MAP_SIZE]]
        for row in drawn
    ]


def training_seconds(record: dict[str, Any]) -> float:
    """Seconds of all epochs of a run, those before it was stopped and went on as well."""
    epochs = [*record["history"], *(record.get("refit_history") or [])]
    return sum(epoch["seconds"] + epoch.get("evaluation_seconds", 0.0) for epoch in epochs)


def _by_group(ranks: np.ndarray, maker: RowMaker) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics of the users by length of history, and by how often their target stands in the original rows."""
    lengths = maker.original.histories().lengths
    codes = encode_labels(np.asarray(maker.y), maker.original.vocabulary)
    counts = np.bincount(maker.original.items, minlength=maker.original.n_items + 1)
    counts[0] = 0
    return {
        "history_length": _in_ranges(ranks, lengths, LENGTH_BOUNDS),
        "target_popularity": _in_ranges(ranks, counts[codes], POPULARITY_BOUNDS),
    }


def _in_ranges(ranks: np.ndarray, values: np.ndarray, bounds: tuple[int, ...]) -> dict[str, dict[str, float]]:
    group = np.searchsorted(bounds, values)
    names = [f"to {bound}" for bound in bounds] + [f"above {bounds[-1]}"]
    return {
        name: {"users": int(np.count_nonzero(group == number))} | ranking_metrics(ranks[group == number], k=(10, 20))
        for number, name in enumerate(names)
        if (group == number).any()
    }


def _as_plain(value: Any) -> Any:
    """What JSON has no word for, as something it has."""
    return value.item() if isinstance(value, np.generic) else str(value)
