"""TeacherRegenerator: rows that end with what a trained recommender expects, for other recommenders to learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils.validation import check_is_fitted

from ..inputs import check_sequences, check_weights
from ..labels import encode_labels
from ..nn.usual_settings import with_usual_defaults
from ..parameters import check_flag, check_integer, check_real, draw_seed, remember_columns, with_plain_numbers
from ..ragged import position_in_row
from ..sequences import Origin, SequenceDataset
from ..targets import FMLP, Ensemble, SASRec
from ..training.checkpoints import warn_of_unrepeatable_runs
from ..training.run_parameters import check_run_parameters
from ..transformers import SequenceTransformer
from .continuing import DrawingSettings, continued
from .originals import check_is_ranker, with_originals

__all__ = ["TeacherRegenerator"]


class TeacherRegenerator(MetaEstimatorMixin, SequenceTransformer, BaseEstimator):
    """Continue every sequence with items that a trained recommender expects next (distillation by data).

    A teacher, by default SASRec and FMLP together, is trained on the original rows. From each row it is then asked
    for an item at random, by its own probabilities (sharpened by ``temperature``, items of the row left out), then for
    another one behind that, and so on. The source row and what was drawn behind it are a new row, whose drawn items
    alone are training targets. Whatever learns from the rows learns what the teacher knows, without sharing its loss,
    architecture or library: the weaker it is, the more. One that knows as much as the teacher learns nothing but the
    noise of the draws.

    ``transform`` returns the rows that it is given and adds the new ones behind them.

    Parameters
    ----------
    teacher : recommender, optional
        Anything that trains on a SequenceDataset and has ``score_blocks``: the targets and adapters of this library.
        Its scores are read as logarithms of probabilities, which the softmax losses make them. Default an
        :class:`~seqregen.targets.Ensemble` of ``SASRec(refit=True, patience=5)`` and ``FMLP(refit=True, patience=5)``
        with the last four parameters below. FMLP, the better of the two, takes most of the time;
        ``SASRec(refit=True)`` alone is several times as fast, and enough for models under a weak loss.
    n_items : int, default=10
        Items drawn behind each row.
    n_copies : int, default=1
        New rows a source row, each drawn anew.
    temperature : float, default=0.5
        What scores are divided by. Below 1 likely items are drawn more often than the teacher expects them, which is
        less noise to learn from; near 0 the best item is always drawn.
    weight : float, default=0.3
        Weight of each drawn item as a training target; other items of the new rows have 0. At least 0. Models about as
        good as the teacher need less than 1.
    exclude_history : bool, default=True
        Whether items that a row has already are never drawn, as they are never recommended.
    device : str, default="auto"
        "auto" takes CUDA where there is one, else the CPU. This and what follows but ``random_state`` and ``verbose``
        is for the default teacher; another one has its own.
    random_state : int, RandomState instance or None, default=None
        An integer makes fits repeat, bit for bit on one CPU.
    checkpoint_dir : path-like, optional
        Where the default teacher keeps checkpoints; a fit that was interrupted goes on from there to the same result.
    verbose : bool, default=False
        Progress bars.

    Attributes
    ----------
    teacher_ : recommender
        Fitted on the original rows.
    vocabulary_ : ndarray of shape (n_items,)
    is_sayable_ : bool ndarray of shape (n_items,)
        Which items the rows of ``fit`` have: no other is drawn.
    drawing_seed_ : int
        Where the draws of ``transform`` come from, so that it repeats.

    See Also
    --------
    DatasetRegenerator : the published regenerator.

    Notes
    -----
    Not part of DR4SR. ``X.validation`` is never read: the teacher stops early on the last items of the rows
    themselves. Items that the rows of ``fit`` lack are never drawn.

    A recommender that heeds no weights trains on the source rows once more for each copy.

    Examples
    --------
    >>> import seqregen as sr
    >>> data = sr.datasets.make_sequences(n_sequences=100, n_items=30, random_state=0)
    >>> teacher = sr.targets.SASRec(embedding_dim=8, max_epochs=4, batch_size=32, random_state=0)
    >>> regenerated = sr.TeacherRegenerator(teacher, n_items=3, random_state=0).fit_transform(data)
    >>> len(regenerated), regenerated.n_original
    (200, 100)
    >>> int(regenerated.lengths[100] - data.lengths[0])
    3
    """

    def __init__(
        self,
        teacher: Any = None,
        *,
        n_items: int = 10,
        n_copies: int = 1,
        temperature: float = 0.5,
        weight: float = 0.3,
        exclude_history: bool = True,
        device: str = "auto",
        random_state: Any = None,
        checkpoint_dir: Any = None,
        verbose: bool = False,
    ) -> None:
        self.teacher = teacher
        self.n_items = n_items
        self.n_copies = n_copies
        self.temperature = temperature
        self.weight = weight
        self.exclude_history = exclude_history
        self.device = device
        self.random_state = random_state
        self.checkpoint_dir = checkpoint_dir
        self.verbose = verbose

    def _check_drawing_parameters(self) -> None:
        """Those that ``transform`` reads."""
        check_integer(self, "n_items", 1)
        check_integer(self, "n_copies", 1)
        check_real(self, "temperature", 0, open_low=True)
        check_real(self, "weight", 0)
        check_flag(self, "exclude_history")

    def _check_parameters(self) -> None:
        self._check_drawing_parameters()
        check_run_parameters(self)
        check_is_ranker(self, "teacher", "score_blocks")

    @with_plain_numbers
    def fit(self, X: Any, y: Any = None) -> TeacherRegenerator:
        """Train the teacher.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            Its original rows are read, its validation items are not.
        y : ignored
            Present for scikit-learn's conventions; never read.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            The teacher is no recommender.
        ValueError
            No original row has two items.
        """
        self._check_parameters()
        warn_of_unrepeatable_runs(self)
        data, originals = with_originals(self, X)
        training_seed, drawing_seed = (
            int(seed >> 1) for seed in np.random.SeedSequence(draw_seed(self.random_state)).generate_state(2)
        )
        teacher = self._default_teacher(training_seed) if self.teacher is None else clone(self.teacher)
        # Frozen estimators insist on a y.
        teacher.fit(originals, None)
        remember_columns(self, X)
        self.teacher_, self.drawing_seed_ = teacher, drawing_seed
        self.vocabulary_ = data.vocabulary
        self.is_sayable_ = np.bincount(originals.items, minlength=data.n_items + 1)[1:] > 0
        return self

    def _default_teacher(self, seed: int) -> Ensemble:
        common = {
            # FMLP takes most of the time, and is near its best early.
            "patience": 5,
            "refit": True,
            "device": self.device,
            "random_state": seed,
            "checkpoint_dir": self.checkpoint_dir,
            "verbose": self.verbose,
        }
        return Ensemble([SASRec(**common), FMLP(**common)])

    @with_plain_numbers
    @with_usual_defaults
    def transform(self, X: Any) -> SequenceDataset:
        """Add rows that continue the original ones.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            Items not seen in fit are ignored with one warning. Empty rows are not continued.

        Returns
        -------
        SequenceDataset
            The rows of X in order, then ``n_copies`` rows for each original one, with its number in ``source``. Rows
            that hold every item that may be drawn are not continued, either.

        Raises
        ------
        ValueError
            A weight that X has is negative or not finite.
        """
        check_is_fitted(self, "teacher_")
        self._check_drawing_parameters()
        data = check_sequences(X, vocabulary=self.vocabulary_)
        check_weights(data)
        originals = data.originals()
        numbers = np.flatnonzero(originals.lengths)
        sources = np.tile(numbers, self.n_copies)
        rows = SequenceDataset(originals.items, originals.offsets, self.vocabulary_, users=originals.users)[sources]
        score_blocks, is_known = _in_order_of(self.vocabulary_, self.teacher_)
        settings = DrawingSettings(self.n_items, self.temperature, self.exclude_history)
        random = np.random.default_rng(self.drawing_seed_)
        is_sayable = self.is_sayable_ & is_known
        longer = continued(rows, score_blocks, is_sayable, settings, random, verbose=bool(self.verbose))
        # A row that holds all that may be drawn would come again as it is.
        is_longer = longer.lengths > rows.lengths
        rows, longer, sources = rows[is_longer], longer[is_longer], sources[is_longer]
        is_drawn = position_in_row(longer.offsets) >= np.repeat(rows.lengths, longer.lengths)
        weights = np.ones(data.n_interactions, dtype=np.float32) if data.weights is None else data.weights
        return data.append(longer.items, longer.offsets, Origin.REGENERATED, source=sources).replace(
            weights=np.concatenate([weights, np.where(is_drawn, np.float32(self.weight), np.float32(0))])
        )


def _in_order_of(vocabulary: np.ndarray, teacher: Any) -> tuple[Callable[..., Iterable[Any]], np.ndarray]:
    """The teacher's scores, a column for each item of a vocabulary, and which of these items it knows.

    A teacher that was fitted elsewhere has a vocabulary of its own.
    """
    known = getattr(teacher, "vocabulary_", vocabulary)
    codes = encode_labels(vocabulary, known)
    if np.array_equal(codes, np.arange(1, len(known) + 1)):
        return teacher.score_blocks, codes > 0
    columns = np.maximum(codes - 1, 0)

    def score_blocks(rows: SequenceDataset, block_rows: int) -> Iterator[np.ndarray]:
        for block in teacher.score_blocks(rows, block_rows):
            scores = np.asarray(block)
            # What has other columns is refused where it is read.
            yield scores[:, columns] if scores.ndim == 2 and scores.shape[1] == len(known) else scores

    return score_blocks, codes > 0
