"""Random datasets for the laws that containers and formats must keep."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from seqregen import Origin, SequenceDataset
from seqregen.pairs import PatternPairs
from seqregen.ragged import offsets_from_lengths

# No white space, no bar, nothing that reads as an integer: what all formats can hold.
WORDS = st.text(st.characters(codec="utf-8", categories=("L", "So")), min_size=1, max_size=4)
INTEGERS = st.integers(-(2**40), 2**40)
FLOATS = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)


@st.composite
def label_rows(draw, labels=None):
    """Rows of labels of one kind."""
    kind = labels if labels is not None else draw(st.sampled_from([WORDS, INTEGERS, FLOATS]))
    catalogue = draw(st.lists(kind, min_size=1, max_size=6, unique=True))
    return draw(st.lists(st.lists(st.sampled_from(catalogue), max_size=6), min_size=1, max_size=7))


@st.composite
def plain_datasets(draw, labels=None, min_length=0):
    """Original rows over a vocabulary that may be larger than what occurs."""
    kind = labels if labels is not None else draw(st.sampled_from([WORDS, INTEGERS, FLOATS]))
    catalogue = draw(st.lists(kind, min_size=1, max_size=6, unique=True))
    rows = draw(st.lists(st.lists(st.integers(1, len(catalogue)), min_size=min_length, max_size=5), max_size=6))
    items = np.array([code for row in rows for code in row], dtype=np.int64)
    vocabulary = np.fromiter(catalogue, dtype=object, count=len(catalogue))
    if not isinstance(catalogue[0], str):
        vocabulary = np.array(catalogue)
    return SequenceDataset(items, offsets_from_lengths(np.array([len(row) for row in rows])), vocabulary)


@st.composite
def full_datasets(draw):
    """Datasets with any of the columns that there are."""
    dataset = draw(plain_datasets())
    n_rows, n_interactions = len(dataset), dataset.n_interactions
    n_original = draw(st.integers(0, n_rows))

    def column(values, size, dtype):
        return np.array(draw(st.lists(values, min_size=size, max_size=size)), dtype=dtype)

    origin = np.full(n_rows, Origin.ORIGINAL, dtype=np.int8)
    origin[n_original:] = column(st.sampled_from([Origin.MINED, Origin.REGENERATED]), n_rows - n_original, np.int8)
    source = column(st.integers(-1, n_original - 1), n_rows, np.int64)
    source[:n_original] = -1
    optional = {
        "memory": lambda: column(st.integers(-1, 5), n_rows, np.int16),
        "free_steps": lambda: column(st.integers(0, 9), n_rows, np.int16),
        "validation": lambda: column(st.integers(0, dataset.n_items), n_rows, np.int64),
        "users": lambda: draw(
            st.sampled_from([np.arange(n_rows) + 7, np.array([None, *map(str, range(n_rows))][:n_rows], dtype=object)])
        ),
        "weights": lambda: column(st.floats(0, 2, width=32), n_interactions, np.float32),
        "timestamps": lambda: draw(
            st.sampled_from(
                [
                    np.arange(n_interactions),
                    np.arange(n_interactions).astype("datetime64[s]"),
                    np.full(n_interactions, "NaT", dtype="datetime64[ns]"),
                    np.arange(n_interactions).astype("datetime64[D]"),
                    np.full(n_interactions, np.nan),
                ]
            )
        ),
        "domains": lambda: draw(
            st.sampled_from([np.zeros(n_interactions, np.int8), np.full(n_interactions, "food", dtype=object)])
        ),
        "pairs": lambda: draw(pattern_pairs(n_rows, dataset.n_items)),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(optional))))
    return dataset.replace(origin=origin, source=source, **{name: optional[name]() for name in sorted(chosen)})


@st.composite
def pattern_pairs(draw, n_rows, n_items):
    """Pairs of rows with patterns."""
    patterns = draw(st.lists(st.lists(st.integers(1, n_items), min_size=2, max_size=3), min_size=1, max_size=4))
    rows = draw(st.lists(st.lists(st.integers(0, len(patterns) - 1), max_size=2), min_size=n_rows, max_size=n_rows))
    return PatternPairs(
        offsets_from_lengths(np.array([len(row) for row in rows], dtype=np.int64)),
        np.array([number for row in rows for number in row], dtype=np.int64),
        np.array([code for pattern in patterns for code in pattern], dtype=np.int64),
        offsets_from_lengths(np.array([len(pattern) for pattern in patterns])),
    )
