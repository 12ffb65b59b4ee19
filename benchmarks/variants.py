"""What a recommender is trained on, by name: the data variants of the accuracy runs, controls among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import seqregen as sr
from seqregen.ragged import offsets_from_lengths, position_in_row, take_positions

from .row_maker import RowMaker

__all__ = ["VARIANTS", "Variant"]


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


def _scaled(rows: sr.SequenceDataset, weights: np.ndarray) -> sr.SequenceDataset:
    """The rows with these weights of positions, scaled so that those of targets are 1 in the mean."""
    is_target = position_in_row(rows.offsets) > 0
    return rows.replace(weights=(weights / weights[is_target].mean()).astype(np.float32))


def _recent(maker: RowMaker) -> sr.SequenceDataset:
    """A tenth less weight for every item that a target has behind it in its row: test targets have none."""
    rows = maker.original
    behind = np.repeat(rows.lengths, rows.lengths) - 1 - position_in_row(rows.offsets)
    return _scaled(rows, 0.9**behind)


def _users_alike(maker: RowMaker) -> sr.SequenceDataset:
    """Targets share the weight of their row, so that all users weigh as much: the test has one target of each."""
    rows = maker.original
    return _scaled(rows, 1 / np.repeat(np.maximum(rows.lengths - 1, 1), rows.lengths))


def _by_popularity(maker: RowMaker, power: float) -> sr.SequenceDataset:
    """Targets weigh as much as a power of how often their item stands in the rows."""
    rows = maker.original
    return _scaled(rows, np.bincount(rows.items)[rows.items] ** power)


def _popularity_of_mined(maker: RowMaker) -> sr.SequenceDataset:
    """Items weigh as much, over all their places as targets, as with mined rows, which are of popular ones."""
    rows = maker.original
    before, after = (_target_counts(found) for found in (rows, maker.mined))
    return _scaled(rows, (after / np.maximum(before, 1))[rows.items])


def _target_counts(rows: sr.SequenceDataset) -> np.ndarray:
    """How often each item, by its code, is a target."""
    return np.bincount(rows.items[position_in_row(rows.offsets) > 0], minlength=rows.n_items + 1)


def _without_mined(maker: RowMaker) -> sr.SequenceDataset:
    rows = maker.regenerated()
    return rows[rows.origin != sr.Origin.MINED]


def _by_teachers(maker: RowMaker) -> sr.SequenceDataset:
    # For models as good as one teacher: a better one, whose draws weigh less. FMLP alone takes most of the time, and
    # is near its best early.
    return maker.taught("taught_ensemble", ("SASRec", "FMLP"), patience=5, weight=0.3)


def _mined_and_by_teachers(maker: RowMaker) -> sr.SequenceDataset:
    """What a pipeline of both makes: a teacher learns from the original rows alone."""
    taught = _by_teachers(maker)
    return sr.SequenceDataset.concatenate([maker.mined, taught[taught.origin == sr.Origin.REGENERATED]])


# Large steps at a low temperature, and proportions alone matter.
_MOVING = {"temperature": 1.0, "optimizer": "adam", "learning_rate": 0.01, "normalize": "weight"}

VARIANTS: dict[str, Variant] = {
    "original": Variant("original", lambda maker: maker.original),
    "twice": Variant("original, twice", _twice),
    "windows": Variant("original + random windows", _random_windows),
    # Weights by hand: is anything to be learnt from where a target stands, or from how popular it is?
    "recent": Variant("original, a tenth less weight for each item behind", _recent),
    "users_alike": Variant("original, all users weigh alike", _users_alike),
    "rare": Variant("original, weights count ** -0.25", lambda maker: _by_popularity(maker, -0.25)),
    "popular": Variant("original, weights count ** 0.25", lambda maker: _by_popularity(maker, 0.25)),
    # Is it the patterns, or that they are of popular items?
    "mined_popularity": Variant("original, items weigh as with mined rows", _popularity_of_mined),
    # The original rows stay for early stopping; weighing nothing, they teach nothing.
    "mined_only": Variant("mined alone", lambda maker: _weighed(maker.mined, original=0.0)),
    "mined": Variant("original + mined", lambda maker: maker.mined),
    "mined_support_3": Variant("original + mined, support of 3 or more", lambda maker: maker.mined_by(min_support=3)),
    "original_regenerated": Variant("original + regenerated", _without_mined),
    "regenerated": Variant("original + mined + regenerated (DR4SR)", lambda maker: maker.regenerated()),
    # Rows that a SASRec under the default loss continued: not DR4SR's, but what they have to beat.
    "taught": Variant("original + continued by a SASRec, weight 1", lambda maker: maker.taught(weight=1.0)),
    "taught_ensemble": Variant("original + continued by SASRec and FMLP, weight 0.3", _by_teachers),
    "taught_ensemble_mined": Variant(
        "original + mined + continued by SASRec and FMLP, weight 0.3", _mined_and_by_teachers
    ),
    # Rows that a recommender does not expect may be noise.
    "expected_mined": Variant(
        "original + mined, those among a SASRec's first 100", lambda maker: maker.expected(maker.mined)
    ),
    "expected": Variant(
        "DR4SR, added rows among a SASRec's first 100", lambda maker: maker.expected(maker.regenerated())
    ),
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
    # Near what "personalized_moving" learns: is it more than the ratio of mined rows to all others?
    "constant_tenth": Variant(
        "DR4SR, weights 0.1 but for mined rows",
        lambda maker: _weighed(maker.regenerated(), original=0.1, regenerated=0.1),
    ),
    "personalized_reference": Variant("DR4SR+ (published)", lambda maker: maker.regenerated(), {}, as_published=True),
    "personalized": Variant("DR4SR+", lambda maker: maker.regenerated(), {}),
    # The published fixed rows, and weights that move.
    "personalized_moving": Variant("DR4SR+, weights that move", lambda maker: maker.regenerated(), _MOVING),
    "personalized_unfixed": Variant(
        "DR4SR+, weights that move, no rows fixed", lambda maker: maker.regenerated(), {**_MOVING, "fixed": ()}
    ),
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
