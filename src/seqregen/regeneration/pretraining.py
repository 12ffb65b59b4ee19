"""Where the item vectors of a regenerator start: rows to pretrain them on, or an array that is given."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..callers import stacklevel_of_caller
from ..labels import as_numpy
from ..mining.matching import count_support
from ..mining.trie import PatternTrie
from ..model_selection import hold_out_last
from ..pairs import PatternPairs
from ..ragged import take_positions
from ..sequences import Origin, SequenceDataset
from ..targets import SASRec
from .patterns import distinct_patterns

__all__ = ["check_vectors", "pairs_of", "pretrained_vectors", "pretraining_rows"]


def pairs_of(data: SequenceDataset) -> PatternPairs:
    """The pairs of a dataset; none where it carries none."""
    return data.pairs if data.pairs is not None else PatternPairs.empty(len(data))


def check_vectors(given: Any, data: SequenceDataset, width: int) -> np.ndarray:
    """Item vectors that are given, one a label of the vocabulary.

    Raises
    ------
    ValueError
        Their shape is another, or one is not finite.
    """
    try:
        vectors = np.asarray(as_numpy(given), dtype=np.float32)
    except (TypeError, ValueError):
        raise ValueError(
            f"item_embeddings must be 'pretrain', None or numbers of shape ({data.n_items}, {width}), one row an item "
            f"of the vocabulary in its order; got {type(given).__name__}."
        ) from None
    if vectors.shape != (data.n_items, width):
        raise ValueError(
            f"item_embeddings must have one row an item of the vocabulary, shape ({data.n_items}, {width}); got "
            f"{vectors.shape}."
        )
    if not np.isfinite(vectors).all():
        row = int(np.argmin(np.isfinite(vectors).all(axis=1)))
        label = data.vocabulary[row : row + 1].tolist()[0]
        raise ValueError(f"item_embeddings must be finite; row {row} ({label!r}) is not.")
    return vectors


def pretrained_vectors(data: SequenceDataset, *, seed: int, loss: str, **settings: Any) -> np.ndarray | None:
    """Item vectors of a SASRec that is trained on original and mined rows; None where these are too short."""
    rows = pretraining_rows(data)
    if rows.lengths.max(initial=0) < 2:
        warnings.warn(
            "DatasetRegenerator: without their last items, which are held out to stop on, no row is long enough to "
            "pretrain item vectors on; they start at random. Say so with item_embeddings=None.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )
        return None
    # To start from, these vectors do as well as those of the default negatives, for half the time.
    negatives = "in_batch" if loss == "sampled_softmax" else "auto"
    recommender = SASRec(loss=loss, negative_sampling=negatives, random_state=seed, **settings)
    return recommender.fit(rows).item_embeddings_


def pretraining_rows(data: SequenceDataset) -> SequenceDataset:
    """Original and mined rows, with original rows' last items held out to stop on: X.validation is not read.

    Rows of two items are trained on whole where there are longer ones to stop on. Mined rows that are frequent only
    with the held-out items are left out: they would show what is held out, and training would go on for as long as it
    learns that by heart.
    """
    whole = data.originals().replace(validation=None, pairs=None)
    shortened = hold_out_last(whole, min_length=3 if whole.lengths.max(initial=0) > 2 else 2)
    mined = data[data.origin == Origin.MINED]
    if len(mined):
        items, offsets = distinct_patterns(mined.items, mined.offsets)
    else:
        items, offsets = distinct_patterns(pairs_of(data).pattern_items, pairs_of(data).pattern_offsets)
    trie = PatternTrie(items, offsets, whole.n_items + 1)
    before, after = (count_support(rows.items, rows.offsets, trie, len(offsets) - 1) for rows in (whole, shortened))
    frequent = np.flatnonzero(after >= max(before.min(initial=np.iinfo(np.int64).max), 1))
    places, offsets = take_positions(offsets[frequent], np.diff(offsets)[frequent])
    return shortened.append(items[places], offsets, Origin.MINED)
