"""The rows of one data set under one seed: original, mined, regenerated, taught; made once and kept for other runs."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from filelock import FileLock

import seqregen as sr
from seqregen.files import write_aside
from seqregen.training.fingerprint import fingerprint

from .data import data_file, read_sequences
from .settings import deciding, differences

__all__ = ["REGENERATOR_EPOCHS", "WINDOWS", "RowMaker", "rows_settings"]

# Mining windows of the paper (appendix A.4).
WINDOWS = {"amazon-beauty": 5, "amazon-toys": 10, "amazon-sports": 10, "yelp": 10}
# What is read in decoding alone.
_DECODING = "generative_rate"
# Twelve epochs rather than forty: the regenerator's loss has levelled off by then.
REGENERATOR_EPOCHS = 12


@dataclass(frozen=True)
class _Making:
    """What makes rows, and what is kept of that.

    Attributes
    ----------
    name : str
        Of the rows, within data set and seed.
    estimator : estimator
        Its transform makes them.
    settings : dict
        What decides the rows.
    facts : callable of the fitted estimator
        What is told of the fit.
    shared_fit : str, optional
        Name of fits that serve all rows whose estimators differ in decoding alone.
    """

    name: str
    estimator: Any
    settings: dict[str, Any]
    facts: Callable[[Any], dict[str, Any]]
    shared_fit: str | None = None


class RowMaker:
    """The rows of one data set under one seed, each kind made at first use.

    Parameters
    ----------
    dataset : str
    seed : int
    cache : Path
        Where regenerated rows and checkpoints are kept for other runs.
    """

    def __init__(self, dataset: str, seed: int, cache: Path) -> None:
        self.dataset, self.seed, self.cache = dataset, seed, cache
        self.notes: dict[str, Any] = {}

    @cached_property
    def _held_out(self) -> tuple[sr.SequenceDataset, np.ndarray]:
        return sr.model_selection.leave_one_out(read_sequences(data_file(self.dataset)), validation=True)

    @property
    def original(self) -> sr.SequenceDataset:
        """Rows without their last two items; the last but one is in ``validation``."""
        return self._held_out[0]

    @property
    def y(self) -> np.ndarray:
        """The last item of each row."""
        return self._held_out[1]

    @cached_property
    def _data(self) -> str:
        """Digest of all items, held-out ones included."""
        return fingerprint(self.original.items, self.original.offsets, self.original.validation, self.y)

    @cached_property
    def mined(self) -> sr.SequenceDataset:
        """Original and mined rows."""
        return self.mined_by()

    def mined_by(self, **settings: Any) -> sr.SequenceDataset:
        """Original and mined rows, by other settings of the miner."""
        miner = self._miner.set_params(**settings)
        self._decided_by({"mining": deciding(miner.get_params())})
        started = time.perf_counter()
        rows = miner.fit_transform(self.original)
        self.notes["mining_seconds"] = time.perf_counter() - started
        return rows

    @property
    def _miner(self) -> sr.PatternMiner:
        return sr.PatternMiner(window=WINDOWS[self.dataset], min_support=2, random_state=self.seed)

    def _decided_by(self, settings: dict[str, Any]) -> None:
        """Note settings that decide the rows, beside those that are noted already."""
        self.notes["rows_settings"] = self.notes.get("rows_settings", {}) | settings

    def regenerated(self, name: str = "regenerated", rate: float | None = None, **settings: Any) -> sr.SequenceDataset:
        """Original, mined and regenerated rows; what an earlier run made is taken, a fit that was stopped goes on.

        The generative rate is read in decoding alone: one fit serves all that are asked for.
        """
        regenerator = sr.DatasetRegenerator(
            **({"max_epochs": REGENERATOR_EPOCHS} | settings),
            random_state=self.seed,
            checkpoint_dir=self.cache / "checkpoints",
            verbose=True,
        )
        if rate is not None:
            regenerator.set_params(generative_rate=rate)
        making = _Making(
            name,
            regenerator,
            {"mining": deciding(self._miner.get_params())} | deciding(regenerator.get_params(deep=False)),
            lambda fitted: {"regenerator": vars(fitted.report_), "regenerator_history": fitted.history_},
            shared_fit=None if rate is None else "rates",
        )
        return self._made(making, lambda: self.mined)

    def taught(
        self, name: str = "taught", models: Sequence[str] = ("SASRec",), patience: int = 20, **settings: Any
    ) -> sr.SequenceDataset:
        """Original rows, and rows that a teacher continued; kept for other runs, as regenerated ones are."""
        members = [self._teacher(model, patience) for model in models]
        teacher = members[0] if len(members) == 1 else sr.targets.Ensemble(members)
        regenerator = sr.TeacherRegenerator(teacher, **settings, random_state=self.seed, verbose=True)
        making = _Making(
            name,
            regenerator,
            deciding(regenerator.get_params(deep=False))
            | {"teacher": [deciding(member.get_params()) for member in members]},
            lambda fitted: {
                "regenerator_history": [
                    member.history_ for member in getattr(fitted.teacher_, "recommenders_", [fitted.teacher_])
                ],
            },
        )
        return self._made(making, lambda: self.original)

    def expected(self, rows: sr.SequenceDataset) -> sr.SequenceDataset:
        """The rows without those added ones that a SASRec does not expect."""
        expects = self._teacher("SASRec")
        self._decided_by({"filter": deciding(expects.get_params())})
        kept = self._filtered(rows, sr.RankFilter(expects))
        self.notes["added_rows_kept"] = {
            origin.name.lower(): {
                name: int(np.count_nonzero(some.origin == origin)) for name, some in (("kept", kept), ("of", rows))
            }
            for origin in (sr.Origin.MINED, sr.Origin.REGENERATED)
        }
        return kept

    def _filtered(self, rows: sr.SequenceDataset, rank_filter: sr.RankFilter) -> sr.SequenceDataset:
        return rank_filter.fit_transform(rows)

    def _teacher(self, model: str, patience: int = 20) -> sr.targets.SequentialRecommender:
        common = {"random_state": self.seed, "checkpoint_dir": self.cache / "checkpoints", "verbose": True}
        return getattr(sr.targets, model)(refit=True, patience=patience, **common)

    def _made(self, making: _Making, rows: Callable[[], sr.SequenceDataset]) -> sr.SequenceDataset:
        kept = self._file(making.name, ".parquet")
        notes = kept.with_suffix(".json")
        # Of runs side by side that want the same rows one makes them.
        with FileLock(self._file(making.shared_fit or making.name, ".lock")):
            if not notes.exists():
                self._make(making, rows(), kept, notes)
        told = json.loads(notes.read_text())
        changed = differences(told.setdefault("rows_settings", making.settings), making.settings)
        if changed:
            raise ValueError(f"{kept} was made with {changed}; delete {notes.name} beside it to make it again.")
        if told.pop("data", None) != self._data:
            raise ValueError(f"{kept} was made of other data; delete {notes.name} beside it to make it again.")
        self.notes |= {name: fact for name, fact in told.items() if name != "rows_settings"}
        self._decided_by(told["rows_settings"])
        return sr.SequenceDataset.read_parquet(kept)

    def _make(self, making: _Making, rows: sr.SequenceDataset, kept: Path, notes: Path) -> None:
        fitted, seconds = self._fitted(making, rows)
        started = time.perf_counter()
        fitted.transform(rows).to_parquet(kept)
        made = {
            "regenerator_fit_seconds": seconds,
            "regenerator_transform_seconds": time.perf_counter() - started,
            "rows_settings": making.settings,
            "data": self._data,
            **making.facts(fitted),
        }
        with write_aside(notes) as aside:
            aside.write_text(json.dumps(made))

    def _fitted(self, making: _Making, rows: sr.SequenceDataset) -> tuple[Any, float]:
        """The estimator, fitted, and the seconds that took."""
        kept = self._fit_file(making) if making.shared_fit else None
        if kept is not None and kept.exists():
            fitted, seconds = joblib.load(kept)
            return fitted.set_params(**making.estimator.get_params(deep=False)), seconds
        started = time.perf_counter()
        found = making.estimator.fit(rows), time.perf_counter() - started
        if kept is not None:
            with write_aside(kept) as aside:
                joblib.dump(found, aside)
        return found

    def _fit_file(self, making: _Making) -> Path:
        """Other settings or data are another fit, and have another file."""
        deciding_fit = {name: value for name, value in making.settings.items() if name != _DECODING}
        return self._file(f"{making.shared_fit}-{fingerprint(self._data, deciding_fit)}", ".joblib")

    def _file(self, name: str, suffix: str) -> Path:
        return self.cache / f"{self.dataset}-{name}-{self.seed}{suffix}"


class _Unmade(RowMaker):
    """Notes what would decide the rows, and makes none: two items stand for all."""

    def __init__(self, dataset: str) -> None:
        super().__init__(dataset, 0, Path())

    @cached_property
    def _held_out(self) -> tuple[sr.SequenceDataset, np.ndarray]:
        return sr.SequenceDataset.from_sequences([[1, 2]]), np.array([1])

    def _filtered(self, rows: sr.SequenceDataset, rank_filter: sr.RankFilter) -> sr.SequenceDataset:
        return rows

    def _made(self, making: _Making, rows: Callable[[], sr.SequenceDataset]) -> sr.SequenceDataset:
        self._decided_by(making.settings)
        return rows()


def rows_settings(dataset: str, rows: Callable[[RowMaker], sr.SequenceDataset]) -> dict[str, Any]:
    """What decides the rows of a variant of a data set now, whatever the seed; empty where that is the data alone."""
    unmade = _Unmade(dataset)
    with warnings.catch_warnings():
        # So few rows have no pattern.
        warnings.simplefilter("ignore")
        rows(unmade)
    return unmade.notes.get("rows_settings", {})
