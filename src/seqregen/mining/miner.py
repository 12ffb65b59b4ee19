"""The estimator that mines patterns and pairs every sequence with those it contains."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from ..callers import stacklevel_of_caller
from ..inputs import check_sequences
from ..optional import require_package
from ..pairs import PatternPairs
from ..parameters import (
    check_choice,
    check_flag,
    check_integer,
    check_jobs,
    check_parts,
    check_random_state,
    draw_seed,
    remember_columns,
    with_plain_numbers,
)
from ..ragged import offsets_from_lengths, read_only, row_of_position, take_positions
from ..sequences import Origin, SequenceDataset
from .engine import mine_patterns
from .matching import match_patterns
from .sampling import sample_per_row
from .seq2pat_engine import mine_patterns_with_seq2pat
from .table import PatternTable
from .trie import PatternTrie

__all__ = ["PatternMiner"]


class PatternMiner(TransformerMixin, BaseEstimator):
    """Mine the frequent ordered patterns of item sequences and pair each sequence with those it contains.

    A pattern is an ordered sub-sequence of at least two items, gaps allowed, that fits in ``window``
    consecutive positions of at least ``min_support`` different sequences (DR4SR, section 4.2). ``fit`` finds
    all of them, exactly; ``transform`` annotates sequences with the patterns they contain, the supervised
    pairs (sequence -> pattern) of a :class:`~seqregen.DatasetRegenerator`, and adds the patterns
    themselves as rows behind the originals.

    Parameters
    ----------
    window : int, default=5
        Positions that an occurrence must fit in: its last index minus its first is at most ``window - 1``. At
        least 2. The published setting is 5 for Amazon Beauty and 10 for Amazon Toys, Amazon Sports and Yelp.
    min_support : int, default=2
        Smallest number of different sequences that hold a pattern (published: 2). At least 1.
    max_length : int, optional
        Longest pattern, at least 2; by default only ``window`` bounds it, as published.
    max_patterns_per_sequence : int or None, default=10
        Pair a sequence with at most so many patterns, drawn uniformly from all it contains (published: 10).
        None keeps all.
    match : {"anywhere", "window"}, default="anywhere"
        Which sequences count as containing a pattern: those that hold its items in order anywhere, whatever
        lies between (as the published code), or only those with an occurrence inside the window.
    include : tuple of {"original", "mined"}, default=("original", "mined")
        The rows that ``transform`` returns; ``("original",)`` only annotates.
    engine : {"vectorised", "seq2pat"}, default="vectorised"
        What mines. Both find the same patterns and supports; seq2pat is the published choice, much slower
        and a package of its own (``pip install 'seqregen[seq2pat]'``).
    n_jobs : int, optional
        Number of joblib threads for the vectorised engine and the pairing. The result does not depend on it.
    random_state : int, RandomState or None, default=None
        Decides which patterns are drawn where a sequence contains more than ``max_patterns_per_sequence``.
    verbose : bool, default=False
        Print what was found.
    pair_length : int or None, default=48
        Pairs are sought in the last so many items of a sequence: the published code mines whole sequences but
        pairs training rows of at most 48 items (the last 50 of a user less the two held out). None for no limit.

    Attributes
    ----------
    patterns_ : SequenceDataset
        The patterns as rows of origin "mined", by falling support, ties in the order of their item codes.
    support_ : int64 ndarray of shape (n_patterns,)
        Number of different sequences that hold each pattern.
    vocabulary_ : ndarray of shape (n_items,)
        Item labels; code ``c`` is ``vocabulary_[c - 1]``.
    sampling_seed_ : int
        Drawn from ``random_state`` in ``fit``, so that every ``transform`` draws alike.
    n_features_in_ : int
        Number of columns, only where ``X`` was a two-dimensional array. Other lengths are accepted as well.

    Notes
    -----
    Only original rows are mined and paired. Rows of origin "mined" that a dataset already has are replaced by
    the patterns of this miner, so transforming twice changes nothing; regenerated rows are kept, behind them.
    ``X.validation`` is never read.

    scikit-learn's ``FeatureUnion`` puts columns side by side, but a dataset has rows alone, so no transformer of
    datasets can stand in one. The rows of several miners are put one behind the other by
    :meth:`seqregen.SequenceDataset.concatenate`, as below; pairs are those of the miner that keeps the original rows.
    What gives features of each row does stand in a ``FeatureUnion``: ``FunctionTransformer(recommender.encode)``.

    References
    ----------
    Yin et al., "Dataset Regeneration for Sequential Recommendation", KDD 2024.

    Examples
    --------
    >>> from seqregen import PatternMiner
    >>> sequences = [["tea", "milk", "cup"], ["tea", "sugar", "milk"], ["cup", "tea"]]
    >>> miner = PatternMiner(window=3, random_state=0).fit(sequences)
    >>> miner.patterns_.to_lists(), miner.support_
    ([['tea', 'milk']], array([2]))
    >>> mined = miner.transform(sequences)
    >>> mined.to_lists()[-1], len(mined.pairs)
    (['tea', 'milk'], 2)

    The patterns of two miners behind the original rows, which are there once:

    >>> from seqregen import SequenceDataset
    >>> wider = PatternMiner(window=4, min_support=1, include=("mined",)).fit_transform(sequences)
    >>> SequenceDataset.concatenate([mined, wider])
    SequenceDataset(12 rows (3 original, 9 mined), 4 items, 28 interactions, mean length 2.3)
    """

    def __init__(
        self,
        window: int = 5,
        min_support: int = 2,
        max_length: int | None = None,
        max_patterns_per_sequence: int | None = 10,
        match: str = "anywhere",
        include: Collection[str] = ("original", "mined"),
        engine: str = "vectorised",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: bool = False,
        pair_length: int | None = 48,
    ) -> None:
        self.window = window
        self.min_support = min_support
        self.max_length = max_length
        self.max_patterns_per_sequence = max_patterns_per_sequence
        self.match = match
        self.include = include
        self.engine = engine
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.pair_length = pair_length

    @with_plain_numbers
    def fit(self, X: Any, y: Any = None) -> PatternMiner:
        """Mine the patterns of the original rows.

        Parameters
        ----------
        X : array-like of sequences
            Anything that :func:`seqregen.inputs.check_sequences` accepts.
        y : ignored

        Returns
        -------
        self : PatternMiner

        Raises
        ------
        ValueError
            A parameter is out of range, or a row or label of ``X`` is not acceptable.
        TypeError
            ``X`` is no collection of sequences.
        ImportError
            ``engine="seq2pat"`` and the library is not installed.

        Warns
        -----
        UserWarning
            No pattern reaches ``min_support``.
        """
        self._check_parameters()
        fitted, _ = self._mined(check_sequences(X), X)
        return self._become(fitted)

    @with_plain_numbers
    def fit_transform(self, X: Any, y: Any = None) -> SequenceDataset:
        """Mine the patterns of ``X`` and annotate it with them: ``fit(X).transform(X)``, converting ``X`` once.

        Parameters
        ----------
        X : array-like of sequences
            As for :meth:`fit`.
        y : ignored

        Returns
        -------
        SequenceDataset
            As of :meth:`transform`.
        """
        self._check_parameters()
        dataset = check_sequences(X)
        fitted, table = self._mined(dataset, X)
        annotated = fitted._annotate(dataset, table)
        self._become(fitted)
        return annotated

    @with_plain_numbers
    def transform(self, X: Any) -> SequenceDataset:
        """Pair sequences, also unseen ones, with the patterns they contain.

        Parameters
        ----------
        X : array-like of sequences
            As for :meth:`fit`. Items that ``fit`` has not seen are left out with one warning.

        Returns
        -------
        SequenceDataset
            The original rows first and in order, with ``pairs``; then the patterns; then rows that ``X`` holds
            of origin "regenerated". Which of the first two is up to ``include``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            ``fit`` has not been called.
        ValueError, TypeError
            ``X`` is no collection of sequences.
        """
        check_is_fitted(self)
        self._check_parameters()
        return self._annotate(check_sequences(X, vocabulary=self.vocabulary_), None)

    def to_frame(self) -> Any:
        """The patterns as a pandas frame, most frequent first.

        Returns
        -------
        pandas.DataFrame of shape (n_patterns, 3)
            Columns ``pattern`` (a tuple of item labels), ``support`` and ``length``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            ``fit`` has not been called.

        Examples
        --------
        >>> PatternMiner().fit([[1, 2, 3], [1, 3]]).to_frame()
          pattern  support  length
        0  (1, 3)        2       2
        """
        check_is_fitted(self)
        require_package("pandas", "to_frame", "frames")
        import pandas as pd

        patterns = pd.Series(list(map(tuple, self.patterns_.to_lists())), dtype=object)
        return pd.DataFrame({"pattern": patterns, "support": self.support_, "length": self.patterns_.lengths})

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        # The result is a dataset of item codes; it has no dtype that could follow that of X.
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _check_parameters(self) -> None:
        check_integer(self, "window", 2)
        check_integer(self, "min_support", 1)
        check_integer(self, "max_length", 2, none=True)
        check_integer(self, "max_patterns_per_sequence", 1, none=True)
        check_integer(self, "pair_length", 2, none=True)
        check_choice(self, "match", ("anywhere", "window"))
        check_choice(self, "engine", ("vectorised", "seq2pat"))
        check_jobs(self)
        check_flag(self, "verbose", number=True)
        check_random_state(self)
        check_parts(self, "include", ("original", "mined"))

    def _become(self, fitted: PatternMiner) -> PatternMiner:
        self.__dict__ = fitted.__dict__
        return self

    def _mined(self, dataset: SequenceDataset, X: Any) -> tuple[PatternMiner, PatternTable]:
        """A fitted twin, so that what ends a fit halfway leaves this one as it was; and the patterns."""
        sampling_seed = draw_seed(self.random_state)
        originals = dataset[dataset.origin == Origin.ORIGINAL]
        limits: dict[str, Any] = {
            "window": _within(self.window, originals.lengths),
            "min_support": int(self.min_support),
            "max_length": None if self.max_length is None else int(self.max_length),
        }
        if self.engine == "seq2pat":
            table = mine_patterns_with_seq2pat(originals.items, originals.offsets, **limits)
        else:
            table = mine_patterns(originals.items, originals.offsets, n_jobs=self.n_jobs, **limits)
        mined = np.full(len(table), Origin.MINED, dtype=np.int8)
        fitted = copy.copy(self)
        fitted.vocabulary_ = dataset.vocabulary
        fitted.patterns_ = SequenceDataset(table.items, table.offsets, dataset.vocabulary, origin=mined)
        fitted.support_ = table.support
        fitted.sampling_seed_ = sampling_seed
        remember_columns(fitted, X)
        if len(table) == 0:
            warnings.warn(
                f"no pattern of two or more items within window={self.window} is held by "
                f"min_support={self.min_support} of the {len(originals)} original rows.",
                UserWarning,
                stacklevel=stacklevel_of_caller(),
            )
        self._say(f"{len(table):,} patterns in {len(originals):,} sequences{_by_length(table.lengths)}")
        return fitted, table

    def _annotate(self, dataset: SequenceDataset, table: PatternTable | None) -> SequenceDataset:
        original = dataset.origin == Origin.ORIGINAL
        if original.all():
            kept, n_original = dataset, len(dataset)
        else:
            regenerated = np.flatnonzero(dataset.origin == Origin.REGENERATED)
            kept = dataset[np.concatenate([np.flatnonzero(original), regenerated])]
            n_original = len(kept) - len(regenerated)
        pairs = self._pair(kept[:n_original], table)
        self._say(f"{len(pairs):,} pairs; {np.count_nonzero(np.diff(pairs.offsets)):,} of {n_original:,} sequences")
        kept = kept.replace(pairs=None)
        n_kept = len(kept)
        if "mined" in self.include:
            kept = SequenceDataset.concatenate([kept, self.patterns_])
        kept = kept.replace(pairs=pairs.extend(len(kept)))
        if "original" in self.include and n_original == n_kept:
            return kept
        rows = np.arange(len(kept))
        originals = rows[:n_original] if "original" in self.include else rows[:0]
        return kept[np.concatenate([originals, rows[n_kept:], rows[n_original:n_kept]])]

    def _pair(self, originals: SequenceDataset, table: PatternTable | None) -> PatternPairs:
        limit = self.max_patterns_per_sequence
        lengths = originals.lengths
        taken = lengths if self.pair_length is None else np.minimum(lengths, _within(self.pair_length, lengths))
        if table is not None and table.rows is not None and self.match == "window" and np.array_equal(taken, lengths):
            # Mining has just seen every occurrence that could be looked for here.
            offsets, patterns = table.patterns_of_rows(len(originals))
            rows, patterns = sample_per_row(row_of_position(offsets), patterns, limit, self.sampling_seed_)
            offsets = offsets_from_lengths(np.bincount(rows, minlength=len(originals)))
            return self._pairs_of(offsets, patterns)
        positions, offsets = take_positions(originals.offsets[1:] - taken, taken)
        offsets, patterns = match_patterns(
            originals.items[positions],
            offsets,
            PatternTrie(self.patterns_.items, self.patterns_.offsets, len(self.vocabulary_) + 1),
            window=_within(self.window, lengths) if self.match == "window" else None,
            limit=limit,
            seed=self.sampling_seed_,
            n_jobs=self.n_jobs,
        )
        return self._pairs_of(offsets, patterns)

    def _pairs_of(self, offsets: np.ndarray, patterns: np.ndarray) -> PatternPairs:
        return PatternPairs(read_only(offsets), read_only(patterns), self.patterns_.items, self.patterns_.offsets)

    def _say(self, message: str) -> None:
        if self.verbose:
            print(f"[PatternMiner] {message}.")


def _within(span: int, lengths: np.ndarray) -> int:
    """A number of positions, no more than the longest row has: what is longer reaches no further."""
    return min(int(span), max(2, int(lengths.max(initial=2))))


def _by_length(lengths: np.ndarray) -> str:
    counts = np.bincount(lengths, minlength=2)[2:]
    return f" (by length from 2: {', '.join(f'{count:,}' for count in counts)})" if len(counts) else ""
