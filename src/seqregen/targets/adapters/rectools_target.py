"""RecToolsTarget: a model of RecTools as a recommender."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ...callers import stacklevel_of_caller
from ...inputs import check_sequences, check_weights, require_two_items
from ...nn import computing_in
from ...parameters import draw_seed, remember_columns
from ...process_wide import ProcessWide
from ...ragged import row_of_position
from ...sequences import SequenceDataset
from ...training import TrainingDivergedError
from ..ranker import Ranker, ScoreBlock
from .foreign_randomness import seeded_everywhere
from .rectools_scores import FromHistories, FromSessions, RecToolsScores

__all__ = ["RecToolsTarget"]

_PREFIX = "model__"
# Models that score from the items of a history alone; all transformers do.
_FROM_HISTORIES = ("EASEModel", "ImplicitItemKNNWrapperModel", "PopularModel")
_LIBRARIES = ("rectools", "pytorch_lightning", "lightning", "lightning_fabric", "pydantic")


class RecToolsTarget(Ranker):
    """Trains a model of RecTools by its own ``fit`` on a dataset, and ranks with it.

    Rows are passed as RecTools' interactions, each row as a user of its own; what is trained on them, how many epochs
    and on which device is the model's own setting. Predictions, full ranking and labels are this library's, for any
    history. No file is written and nothing is logged, unless the model is set to. Needs the extra
    ``seqregen[rectools]``: RecTools 0.19 with pandas 2.

    Transformers (``SASRecModel``, ``BERT4RecModel``) multiply the loss of every target by its weight; a weight of 0
    also takes it out of a softmax loss' mean. How ``EASEModel``, ``ImplicitItemKNNWrapperModel`` and ``PopularModel``
    use weights is theirs; where a dataset has weights, fit says so. Models that learn a vector a user, such as
    ``ImplicitALSWrapperModel``, cannot rank after a history and are refused.

    Parameters
    ----------
    model : rectools ModelBase
        Not fitted itself: every fit trains a new one with the same settings, which are seen and set as
        ``model__n_factors`` and so on.
    random_state : int, RandomState or None, default=None
        An integer makes fits repeat; the generators of Python, numpy and torch, which RecTools draws from, are
        seeded from it and left as they were.

    Attributes
    ----------
    model_ : rectools ModelBase
        The trained model; it knows the items by their labels.
    vocabulary_ : ndarray of shape (n_items,)
        Item labels; the catalogue that is ranked. Items that the model has not seen come last.
    item_counts_ : int64 ndarray of shape (n_items,)
        How often each item stands in the rows trained on.

    Notes
    -----
    Validation items are not read in fit: RecTools stops by its own settings. Rows of one item are skipped by
    transformers, and count for the others.

    Examples
    --------
    >>> from seqregen.datasets import make_sequences
    >>> from seqregen.targets import RecToolsTarget
    >>> from rectools.models import SASRecModel  # doctest: +SKIP
    >>> target = RecToolsTarget(SASRecModel(n_factors=32, epochs=2), random_state=0)  # doctest: +SKIP
    >>> target.fit(make_sequences(n_sequences=50, n_items=20, random_state=0)).predict([[1, 2]], k=3)  # doctest: +SKIP
    """

    _lacks_for_weighing = "losses and hidden states that can be differentiated: it is trained by RecTools' own fit"

    def __init__(self, model: Any, random_state: Any = None) -> None:
        self.model = model
        self.random_state = random_state

    def _sk_visual_block_(self) -> Any:
        # For an HTML repr scikit-learn would ask RecTools' model for its parameters, which are given in another way.
        from sklearn.pipeline import _VisualBlock

        return _VisualBlock("single", self, names=type(self).__name__, name_details=str(self))

    # The model's settings stand beside the other parameters

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name.

        Parameters
        ----------
        deep : bool, default=True
            Also the model's settings, with the prefix ``model__``.

        Returns
        -------
        dict
        """
        params = super().get_params(deep=False)
        if deep and hasattr(self.model, "get_config"):
            settings = self.model.get_config().items()
            params |= {_PREFIX + name: value for name, value in settings if name != "cls"}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; ``model__<setting>`` puts a new model in place of the old one.

        Parameters
        ----------
        **params

        Returns
        -------
        self
        """
        super().set_params(**{name: value for name, value in params.items() if not name.startswith(_PREFIX)})
        changes = {name.removeprefix(_PREFIX): value for name, value in params.items() if name.startswith(_PREFIX)}
        if changes:
            settings = self.model.get_config()
            unknown = [name for name in changes if name not in settings or name == "cls"]
            if unknown:
                raise ValueError(
                    f"RecTools' {type(self.model).__name__} has no setting {', '.join(map(repr, unknown))}; it has "
                    f"{', '.join(name for name in settings if name != 'cls')}."
                )
            self.model = _made(type(self.model), settings | changes)
        return self

    def __sklearn_clone__(self) -> RecToolsTarget:
        model = _fresh(self.model) if hasattr(self.model, "get_config") else self.model
        return type(self)(model, random_state=self.random_state)

    # Learning

    def fit(self, X: Any, y: Any = None) -> RecToolsTarget:
        """Train on all rows of a dataset.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            Rows of items, oldest first.
        y : ignored
            Present for scikit-learn's conventions; never read.

        Returns
        -------
        self
        """
        scores = _scores_of(self.model)
        data = check_sequences(X, require_items=True)
        check_weights(data)
        require_two_items(self, data, X)
        if scores is FromHistories and data.weights is not None and np.any(data.weights != 1):
            warnings.warn(
                f"RecToolsTarget: the weights are passed as RecTools' column 'weight'; whether and how "
                f"{type(self.model).__name__} reads them is its own.",
                UserWarning,
                stacklevel=stacklevel_of_caller(),
            )
        from rectools.dataset import Dataset

        device = _device()
        with (
            quiet_libraries(),
            seeded_everywhere(draw_seed(self.random_state), device),
            computing_in("float32", device),
        ):
            # Rows are rows here: another order of times, or two rows of one user, must not mix them.
            rows = data.replace(users=None, timestamps=None)
            dataset = Dataset.construct((rows if scores is FromHistories else _weighing(rows)).to_rectools())
            model = _fresh(self.model).fit(dataset)
        _require_finite(model)
        self.scores_ = scores.of(model, dataset, data.vocabulary)
        self.model_ = model
        remember_columns(self, X)
        self.vocabulary_ = data.vocabulary
        self.item_counts_ = np.bincount(data.items, minlength=data.n_items + 1)[1:]
        return self

    # Ranking

    def _scores(self, histories: SequenceDataset) -> ScoreBlock:
        # With nothing to go by, popular items first.
        popularity = torch.from_numpy(np.log1p(self.item_counts_)).float()

        def block(start: int, stop: int) -> Tensor:
            rows = histories[start:stop]
            scores = popularity.repeat(len(rows), 1)
            known = self.scores_.known(rows)
            if len(known):
                with quiet_libraries(), computing_in("float32", _device()):
                    scores[torch.from_numpy(known)] = self.scores_.score(self.model_, rows[known]).cpu()
            return scores

        return block

    # Pickling

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        with quiet_libraries():
            for name in ("model", "model_"):
                if hasattr(state.get(name), "data_preparator"):
                    state[name] = _PackedTransformer.of(state[name])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # RecTools draws weights before it reads the saved ones.
        with quiet_libraries(), seeded_everywhere(0, torch.device("cpu")):
            state = {
                name: value.unpack() if isinstance(value, _PackedTransformer) else value
                for name, value in state.items()
            }
        super().__setstate__(state)


@dataclass(frozen=True)
class _PackedTransformer:
    """A transformer as RecTools pickles it, quietly, and so that one trained on a GPU loads where there is none."""

    model_class: Any
    state: dict[str, Any]

    @classmethod
    def of(cls, model: Any) -> _PackedTransformer:
        state = model.__getstate__()
        if "fitted_checkpoint" in state:
            checkpoint = torch.load(BytesIO(state["fitted_checkpoint"]), map_location="cpu", weights_only=False)
            file = BytesIO()
            torch.save(checkpoint, file)
            state = {"fitted_checkpoint": file.getvalue()}
        return cls(type(model), state)

    def unpack(self) -> Any:
        model = self.model_class.__new__(self.model_class)
        model.__setstate__(self.state)
        return model


def _scores_of(model: Any) -> type[RecToolsScores]:
    """How to score with a model; refuses what is no model of RecTools or cannot rank after a history."""
    try:
        from rectools.models.base import ModelBase
    except ImportError as error:
        raise ImportError(
            f"RecToolsTarget needs RecTools, and it cannot be imported ({error}). "
            'Install it: pip install "seqregen[rectools]".'
        ) from error
    if not isinstance(model, ModelBase):
        raise TypeError(
            f"RecToolsTarget: model must be a model of RecTools, such as rectools.models.SASRecModel(); got {model!r}."
        )
    name = type(model).__name__
    if hasattr(model, "data_preparator"):
        if model.require_recommend_context or model.data_preparator.add_unix_ts:
            raise ValueError(
                f"RecTools' {name} reads the time of the recommendation, too; RecToolsTarget ranks after items alone."
            )
        return FromSessions
    if any(parent.__name__ in _FROM_HISTORIES for parent in type(model).__mro__):
        return FromHistories
    raise ValueError(
        f"RecTools' {name} cannot rank after any history: it learns a vector a user, or reads more than items. "
        f"RecToolsTarget takes RecTools' transformers (SASRecModel, BERT4RecModel), {', '.join(_FROM_HISTORIES)}."
    )


def _weighing(rows: SequenceDataset) -> SequenceDataset:
    """Rows without those whose targets all weigh nothing: RecTools divides by the number of others in a batch."""
    if rows.weights is None:
        return rows
    weighs = rows.weights > 0
    weighs[rows.offsets[:-1][rows.lengths > 0]] = False
    held = np.bincount(row_of_position(rows.offsets)[weighs], minlength=len(rows)) > 0
    if not held.any():
        raise ValueError("RecToolsTarget: every target weighs 0, so there is nothing to learn from.")
    return rows[held]


def _require_finite(model: Any) -> None:
    network = getattr(model, "lightning_model", None)
    if network is not None and not all(torch.isfinite(parameter).all() for parameter in network.parameters()):
        raise TrainingDivergedError(
            f"RecTools' {type(model).__name__} has weights that are not finite after its training: its loss became NaN "
            "or infinite. Lower its learning rate, or choose another loss."
        )


def _fresh(model: Any) -> Any:
    """An untrained model with the same settings."""
    return _made(type(model), model.get_config())


def _made(model_class: Any, settings: dict[str, Any]) -> Any:
    with quiet_libraries():
        return model_class.from_config(settings)


def _device() -> torch.device:
    """Where Lightning computes."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def _undisturbed() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    levels = [logger.level for logger in loggers]
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=rf"({'|'.join(_LIBRARIES)})(\.|$)")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


_UNDISTURBED = ProcessWide(_undisturbed)


def quiet_libraries() -> AbstractContextManager[None]:
    """Silence what RecTools and Lightning say of themselves, and undo what they switch; errors still come through."""
    return _UNDISTURBED.inside()
