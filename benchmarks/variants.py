"""What a recommender is trained on, by name: the data variants of the accuracy runs, controls among them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from filelock import FileLock

import seqregen as sr
from seqregen.files import write_aside
from seqregen.ragged import offsets_from_lengths, take_positions

from .data import data_file, read_sequences
from .settings import deciding, differences

__all__ = ["VARIANTS", "WINDOWS", "RowMaker", "Variant"]

# Mining windows of the paper (section 5.1).
WINDOWS = {"amazon-beauty": 5, "amazon-toys": 10, "amazon-sports": 10, "yelp": 10}
# Twelve epochs rather than forty: the regenerator's loss has levelled off by then.
REGENERATOR_EPOCHS = 12


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
    def mined(self) -> sr.SequenceDataset:
        """Original and mined rows."""
        started = time.perf_counter()
        rows = self._miner.fit_transform(self.original)
        self.notes["mining_seconds"] = time.perf_counter() - started
        return rows

    @property
    def _miner(self) -> sr.PatternMiner:
        return sr.PatternMiner(window=WINDOWS[self.dataset], min_support=2, random_state=self.seed)

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
        return self._made(
            name,
            regenerator,
            lambda: self.mined,
            lambda fitted: {"regenerator": vars(fitted.report_), "regenerator_history": fitted.history_},
            {"mining": deciding(self._miner.get_params())} | deciding(regenerator.get_params(deep=False)),
            shared_fit=None if rate is None else "rates",
        )

    def taught(
        self, name: str = "taught", models: Sequence[str] = ("SASRec",), patience: int = 20, **settings: Any
    ) -> sr.SequenceDataset:
        """Original rows, and rows that a teacher continued; kept for other runs, as regenerated ones are."""
        members = [self._teacher(model, patience) for model in models]
        teacher = members[0] if len(members) == 1 else sr.targets.Ensemble(members)
        regenerator = sr.TeacherRegenerator(teacher, **settings, random_state=self.seed, verbose=True)
        return self._made(
            name,
            regenerator,
            lambda: self.original,
            lambda fitted: {
                "regenerator_history": [
                    member.history_ for member in getattr(fitted.teacher_, "recommenders_", [fitted.teacher_])
                ],
            },
            deciding(regenerator.get_params(deep=False))
            | {"teacher": [deciding(member.get_params()) for member in members]},
        )

    def expected(self) -> sr.SequenceDataset:
        """Original rows, and of the added ones those that a SASRec expects."""
        rows = self.regenerated()
        kept = sr.RankFilter(self._teacher("SASRec")).fit_transform(rows)
        self.notes["added_rows_kept"] = {
            origin.name.lower(): {
                name: int(np.count_nonzero(some.origin == origin)) for name, some in (("kept", kept), ("of", rows))
            }
            for origin in (sr.Origin.MINED, sr.Origin.REGENERATED)
        }
        return kept

    def _teacher(self, model: str, patience: int = 20) -> sr.targets.SequentialRecommender:
        common = {"random_state": self.seed, "checkpoint_dir": self.cache / "checkpoints", "verbose": True}
        return getattr(sr.targets, model)(refit=True, patience=patience, **common)

    def _made(
        self,
        name: str,
        regenerator: Any,
        rows: Callable[[], sr.SequenceDataset],
        facts: Callable[[Any], dict[str, Any]],
        settings: dict[str, Any],
        shared_fit: str | None = None,
    ) -> sr.SequenceDataset:
        kept = self.cache / f"{self.dataset}-{name}-{self.seed}.parquet"
        notes = kept.with_suffix(".json")
        # Of runs side by side that want the same rows one makes them.
        with FileLock(self.cache / f"{self.dataset}-{shared_fit or name}-{self.seed}.lock"):
            if not notes.exists():
                self._make(kept, notes, regenerator, rows(), facts, settings, shared_fit)
        told = json.loads(notes.read_text())
        changed = differences(told.setdefault("rows_settings", settings), settings)
        if changed:
            raise ValueError(f"{kept} was made with {changed}; delete {notes.name} beside it to make it again.")
        self.notes |= told
        return sr.SequenceDataset.read_parquet(kept)

    def _make(
        self,
        kept: Path,
        notes: Path,
        regenerator: Any,
        rows: sr.SequenceDataset,
        facts: Callable[[Any], dict[str, Any]],
        settings: dict[str, Any],
        shared_fit: str | None,
    ) -> None:
        fitted, seconds = self._fitted(regenerator, rows, shared_fit)
        started = time.perf_counter()
        fitted.transform(rows).to_parquet(kept)
        made = {
            "regenerator_fit_seconds": seconds,
            "regenerator_transform_seconds": time.perf_counter() - started,
            "rows_settings": settings,
            **facts(fitted),
        }
        with write_aside(notes) as aside:
            aside.write_text(json.dumps(made))

    def _fitted(self, regenerator: Any, rows: sr.SequenceDataset, shared: str | None) -> tuple[Any, float]:
        """The regenerator, fitted, and the seconds that took; a fit with a name serves all that differ in decoding."""
        kept = self.cache / f"{self.dataset}-{shared}-{self.seed}.joblib"
        if shared is not None and kept.exists():
            fitted, seconds = joblib.load(kept)
            return fitted.set_params(**regenerator.get_params(deep=False)), seconds
        started = time.perf_counter()
        found = regenerator.fit(rows), time.perf_counter() - started
        if shared is not None:
            with write_aside(kept) as aside:
                joblib.dump(found, aside)
        return found


@dataclass(frozen=True)
class Variant:
    """A way to make training rows, and to weigh them while a model is trained on them.

    Attributes
    ----------
    label : str
        What tables call it.
    rows : callable of RowMaker
    personalizer : mapping or None
        Settings of the :class:`seqregen.DatasetPersonalizer` that the model is trained by; None for none.
    as_published : bool
        Whether the personalizer is that of the published script, but for these settings.
    """

    label: str
    rows: Callable[[RowMaker], sr.SequenceDataset]
    personalizer: Mapping[str, Any] | None = None
    as_published: bool = field(default=False, kw_only=True)

    def estimator(self, model: sr.targets.SequentialRecommender) -> Any:
        """The model, or the personalizer around it."""
        if self.personalizer is None:
            return model
        make = sr.DatasetPersonalizer.reference if self.as_published else sr.DatasetPersonalizer
        return make(model, **self.personalizer)


def _twice(maker: RowMaker) -> sr.SequenceDataset:
    rows = maker.original
    return rows.append(rows.items, rows.offsets, sr.Origin.MINED)


def _random_windows(maker: RowMaker) -> sr.SequenceDataset:
    """For every mined row a window of its length, at a random place of a random row: a gap-free, support-free twin."""
    rows = maker.original
    wanted = maker.mined.lengths[maker.mined.origin == sr.Origin.MINED]
    random = np.random.default_rng(maker.seed)
    starts = np.empty(len(wanted), dtype=np.int64)
    for length in np.unique(wanted):
        n_places = np.maximum(rows.lengths - length + 1, 0)
        ends = np.cumsum(n_places)
        asked = wanted == length
        drawn = random.integers(0, ends[-1], np.count_nonzero(asked))
        row = np.searchsorted(ends, drawn, side="right")
        starts[asked] = rows.offsets[row] + drawn - (ends[row] - n_places[row])
    places, _ = take_positions(starts, wanted)
    return rows.append(rows.items[places], offsets_from_lengths(wanted), sr.Origin.MINED)


def _weighed(rows: sr.SequenceDataset, **weights: float) -> sr.SequenceDataset:
    """The rows with one weight an origin, by its name; 1 where none is named."""
    table = np.array([weights.get(origin.name.lower(), 1.0) for origin in sorted(sr.Origin)], dtype=np.float32)
    return rows.replace(weights=np.repeat(table[rows.origin], rows.lengths))


def _without_mined(maker: RowMaker) -> sr.SequenceDataset:
    rows = maker.regenerated()
    return rows[rows.origin != sr.Origin.MINED]


VARIANTS: dict[str, Variant] = {
    "original": Variant("original", lambda maker: maker.original),
    "twice": Variant("original, twice", _twice),
    "windows": Variant("original + random windows", _random_windows),
    # The original rows stay for early stopping; weighing nothing, they teach nothing.
    "mined_only": Variant("mined alone", lambda maker: _weighed(maker.mined, original=0.0)),
    "mined": Variant("original + mined", lambda maker: maker.mined),
    "original_regenerated": Variant("original + regenerated", _without_mined),
    "regenerated": Variant("original + mined + regenerated (DR4SR)", lambda maker: maker.regenerated()),
    # Rows that a SASRec under the default loss continued: not DR4SR's, but what they have to beat.
    "taught": Variant("original + continued by a SASRec", lambda maker: maker.taught()),
    # For models as good as one teacher: a better one, whose draws weigh less. FMLP alone takes most of the time, and
    # is near its best early.
    "taught_ensemble": Variant(
        "original + continued by SASRec and FMLP, weight 0.3",
        lambda maker: maker.taught("taught_ensemble", ("SASRec", "FMLP"), patience=5, weight=0.3),
    ),
    # Rows that a recommender does not expect may be noise.
    "expected": Variant("DR4SR, added rows among a SASRec's first 100", lambda maker: maker.expected()),
    "balanced": Variant("DR4SR, gate balanced", lambda maker: maker.regenerated("balanced", gate_balance_weight=1.0)),
    **{
        f"memories_{count}": Variant(
            f"DR4SR, K = {count}", lambda maker, count=count: maker.regenerated(f"memories_{count}", n_memories=count)
        )
        for count in (1, 3, 7, 9)
    },
    **{
        f"rate_{rate:g}": Variant(
            f"DR4SR, generative rate {rate:g}",
            lambda maker, rate=rate: maker.regenerated(f"rate_{rate:g}", rate),
        )
        for rate in (0.0, 0.3, 0.5, 1.0)
    },
    # What the published weights are close to: the mined rows fixed at 1, the others near 0.5.
    "constant": Variant(
        "DR4SR, weights 0.5 but for mined rows",
        lambda maker: _weighed(maker.regenerated(), original=0.5, regenerated=0.5),
    ),
    "personalized_reference": Variant("DR4SR+ (published)", lambda maker: maker.regenerated(), {}, as_published=True),
    "personalized": Variant("DR4SR+", lambda maker: maker.regenerated(), {}),
    # What was added is weighed against the original rows, by larger steps, for items that are kept from the model.
    "personalized_original_fixed": Variant(
        "DR4SR+, original rows fixed",
        lambda maker: maker.regenerated(),
        {
            "fixed": ("original",),
            "temperature": 1.0,
            "noise": False,
            "normalize": "weight",
            "optimizer": "adam",
            "learning_rate": 0.01,
            "dev": "held_out_items",
            "train_batch_size": None,
            "n_neumann_terms": 3,
            "update_every": 40,
        },
    ),
    # With the mined rows fixed at 1 nothing could collapse: the paper's ablation must have run without.
    "joint": Variant(
        "DR4SR+ (published), end to end",
        lambda maker: maker.regenerated(),
        {"optimize": "joint", "fixed": ()},
        as_published=True,
    ),
}
