"""DatasetPersonalizer: the scikit-learn face of DR4SR's personalizer."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection
from typing import Any, Self

import numpy as np
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.utils.validation import check_is_fitted

from ..callers import stacklevel_of_caller
from ..inputs import check_sequences, check_weights, reusable
from ..parameters import check_choice, check_flag, check_integer, check_real, remember_columns, with_plain_numbers
from ..sequences import Origin, SequenceDataset
from ..targets import Ranker, SequentialRecommender
from ..targets.ranker import ScoreBlock
from ..transformers import SequenceTransformer
from .applying import position_weights
from .inspection import WeightSummary, summarize_weights
from .training import Personalization, PersonalizationSettings
from .weighting import FEATURES, WeightingNetwork

__all__ = ["DatasetPersonalizer"]

_ORIGINS = tuple(origin.name.lower() for origin in Origin)
_SCHEDULES = ("constant", "exponential", "weight_decay")


class DatasetPersonalizer(MetaEstimatorMixin, SequenceTransformer, Ranker):
    """Learn, for one target model, how much every training position should weigh (DR4SR+, KDD 2024, section 4.3).

    A small network reads the state that the model predicts a target from, and gives the target's loss a weight between
    0 and 1. The model is trained on the weighted losses; every few steps the small network takes a step along
    the gradient, through the model's minimum, of the model's *unweighted* loss on other rows (bi-level optimisation by
    implicit differentiation, see :func:`seqregen.personalization.implicit_gradient`).

    It is a transformer, whose ``transform`` returns the dataset with ``weights``, and a recommender: ``predict``,
    ``rank`` and ``score`` go to the model that was trained along with the weights.

    Parameters
    ----------
    recommender : SequentialRecommender
        One of SASRec, GRU4Rec, FMLP, GNN, CL4SRec or a TorchTarget. It decides loss, batches, early stopping,
        ``random_state``, ``device`` and ``checkpoint_dir`` for all that is trained here.
    optimize : {"bilevel", "first_order", "joint"}, default="bilevel"
        "bilevel" is published. "first_order" puts the identity in the place of the inverse Hessian: the same as
        ``n_neumann_terms=0``, without products with the Hessian. "joint" trains weights and model by one optimizer
        on one loss, the paper's ablation: with ``normalize="count"``, as published, the weights collapse to 0, since
        that is how a weighted loss is smallest.
    update_every : int, default=50
        Steps of the model between two steps of the weights (published: T_lower = 30). One step of the weights costs as
        much as several of the model.
    n_neumann_terms : int, default=1
        K, highest power in the truncated series of the inverse Hessian (published: 3). Each costs a product with the
        Hessian, which takes about as long as two steps of the model.
    neumann_step : float or None, default=None
        Step of the series; published settings are 1e-1, 1e-2 and 1e-3, which the paper does not name. None measures the
        curvature in every update.
    neumann_scaled : bool, default=True
        Whether the series is multiplied by its step, as the inverse is; not so in the published code.
    neumann_tolerance : float, default=1e-2
        Products with the Hessian are spared once those left would together change a term of the series by less than
        this share; the rest follows a straight line, with an error of its square. Not published: 0 makes all.
    warmup_epochs : int, default=2
        First epochs, in which all weights are 1 and none is learnt (published code: 11; not in the paper). Early
        stopping counts them, too.
    fixed : "auto" or tuple of {"original", "mined", "regenerated"}, default="auto"
        Rows of these origins weigh exactly 1; () fixes none. "auto" fixes the mined rows, as the published code does;
        where there are none, the original ones if others have been added to them; and else none.
    features : {"state", "state_and_target", "state_target_and_origin"}, default="state_target_and_origin"
        What the network reads: the state that the target is predicted from (published code); the target's item vector,
        too, so that two targets in one place can be told apart; and whether the row is original, mined or regenerated.
    hidden_dim : int, default=64
        Size of its hidden layer (published: that of the states).
    temperature : float, default=10.0
        Of the Gumbel-softmax that makes two scores a weight (published code). It keeps weights near one half.
    temperature_schedule : {"constant", "exponential", "weight_decay"}, default="constant"
        "weight_decay" lets the weights' optimizer shrink it, which is what happens in the published code under the
        torch it was written for; "exponential" multiplies it by ``temperature_decay`` in every update. With "joint" it
        is learnt.
    temperature_decay : float, default=0.985
        Not published; read by "exponential" alone.
    temperature_floor : float, default=1.0
        The temperature is never taken to be less (published code).
    noise : bool, default=True
        Whether Gumbel noise is drawn in training, as published. ``weights_`` are expectations over it.
    detach_states : bool, default=True
        Whether the model is kept from lowering its loss by moving states to where weights are small. False is
        published.
    normalize : {"count", "weight"}, default="count"
        What the weighted sum of a batch is divided by: the number of targets (published), or the sum of weights, so
        that only their proportions matter.
    optimizer : {"sgd", "adam"}, default="sgd"
        Of the weights: stochastic gradient descent (published), whose steps are as uneven as single hypergradients
        are, or Adam, under which what these disagree on cancels.
    learning_rate, momentum, weight_decay : float, default=1e-3, 0.9, 1e-3
        Of that optimizer; the momentum is Adam's first coefficient. Weights hardly move at the published learning rate;
        weight decay and ``neumann_step`` are searched there, 1e-3 is what its file says.
    clip_norm : float, default=10.0
        Gradients of the weights are scaled down to this joint norm (published code); infinity for never.
    skip_norm : float, default=1000.0
        An update whose gradient has a larger norm, or is not finite, is skipped and counted. Not published; infinity
        for those alone that are not finite.
    dev : {"train", "original", "held_out", "held_out_items"}, default="original"
        Rows of the unweighted loss: all that are trained on (published code; Algorithm 2), the original ones among
        them (section 4.3.2), or a random share of the original ones that is kept from the model, as are regenerated
        rows made of them and mined rows that too few others support. With ``optimize="joint"`` there is no such loss.
        "held_out_items" keeps the last items of such a share alone, and takes the loss of these items:
        what the model is for, at the price of few items. A loss on rows that are trained on favours whatever
        helps to know them by heart. Validation items are never read.
    held_out_share : float, default=0.05
        Share of the original rows that "held_out" and "held_out_items" keep, one row at least.
    dev_batch_size : int, optional
        Rows of the unweighted loss in an update; default the recommender's ``batch_size`` (published).
    train_batch_size : int, "half" or None, default="half"
        Rows of the weighted loss in an update, which is differentiated twice and takes most of the memory. "half" is
        half of the recommender's ``batch_size``, None all of it (published).

    Attributes
    ----------
    recommender_ : SequentialRecommender
        The model that was trained along with the weights.
    weighting_ : WeightingNetwork
        The network that gives the weights, of the model's best epoch.
    weights_ : float32 ndarray of shape (n_interactions,)
        Weights of the rows given to ``fit``, as ``transform`` gives them.
    weights_by_origin_, weights_by_popularity_, weights_by_position_ : dict of str to WeightSummary
        ``weights_`` in groups; see :func:`seqregen.personalization.summarize_weights`.
    fixed_ : tuple of str
        Origins of the rows that weigh 1.
    n_updates_, n_skipped_ : int
        Steps of the weights that were made, and that were skipped, in the last training.
    history_ : list of dict
        The model's records. ``loss`` is the weighted one, beside ``unweighted_loss``; behind the warm-up there are
        ``mean_weight`` and ``temperature``, and unless ``optimize="joint"`` ``updates`` and ``skipped_updates`` so
        far.
    vocabulary_ : ndarray of shape (n_items,)

    Notes
    -----
    The defaults are the published choices, since no other measured better, at a lower cost: fewer and smaller
    updates. What they come to is that mined rows weigh twice as much as all others. Weights that differ from place to
    place take, for example, ``temperature=1, optimizer="adam", learning_rate=0.01, normalize="weight"``.

    The weight of position i is that of item i as a target. The first item of a row is no target; its weight is 1 and is
    never read. Weights that the dataset has already are factors of the losses, in all that is trained here, and of the
    weights that come out.

    Examples
    --------
    >>> import seqregen as sr
    >>> data = sr.datasets.make_sequences(n_sequences=100, n_items=30, random_state=0)
    >>> X, y = sr.model_selection.leave_one_out(data, validation=True)
    >>> mined = sr.PatternMiner(random_state=0).fit_transform(X)
    >>> model = sr.targets.SASRec(embedding_dim=8, max_epochs=4, batch_size=32, random_state=0)
    >>> personalizer = sr.DatasetPersonalizer(model, warmup_epochs=1, update_every=5)
    >>> weighted = personalizer.fit_transform(mined)
    >>> weighted.weights.shape == (mined.n_interactions,)
    True
    >>> personalizer.predict(X, k=5).shape
    (100, 5)
    """

    def __init__(
        self,
        recommender: Any,
        *,
        optimize: str = "bilevel",
        update_every: int = 50,
        n_neumann_terms: int = 1,
        neumann_step: float | None = None,
        neumann_scaled: bool = True,
        neumann_tolerance: float = 1e-2,
        warmup_epochs: int = 2,
        fixed: str | tuple[str, ...] = "auto",
        features: str = "state_target_and_origin",
        hidden_dim: int = 64,
        temperature: float = 10.0,
        temperature_schedule: str = "constant",
        temperature_decay: float = 0.985,
        temperature_floor: float = 1.0,
        noise: bool = True,
        detach_states: bool = True,
        normalize: str = "count",
        optimizer: str = "sgd",
        learning_rate: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 1e-3,
        clip_norm: float = 10.0,
        skip_norm: float = 1000.0,
        dev: str = "original",
        held_out_share: float = 0.05,
        dev_batch_size: int | None = None,
        train_batch_size: int | str | None = "half",
    ) -> None:
        self.recommender = recommender
        self.optimize = optimize
        self.update_every = update_every
        self.n_neumann_terms = n_neumann_terms
        self.neumann_step = neumann_step
        self.neumann_scaled = neumann_scaled
        self.neumann_tolerance = neumann_tolerance
        self.warmup_epochs = warmup_epochs
        self.fixed = fixed
        self.features = features
        self.hidden_dim = hidden_dim
        self.temperature = temperature
        self.temperature_schedule = temperature_schedule
        self.temperature_decay = temperature_decay
        self.temperature_floor = temperature_floor
        self.noise = noise
        self.detach_states = detach_states
        self.normalize = normalize
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.skip_norm = skip_norm
        self.dev = dev
        self.held_out_share = held_out_share
        self.dev_batch_size = dev_batch_size
        self.train_batch_size = train_batch_size

    @classmethod
    def reference(cls, recommender: Any, **changes: Any) -> Self:
        """The published script.

        Its network reads states alone, at temperature 10, which weight decay shrinks; states are not detached; the
        mined rows are fixed; both levels see the same rows; and the steps of the weights are small.

        Parameters
        ----------
        recommender : SequentialRecommender
            Published with ``reference()`` of the five models.
        **changes
            Parameters that shall be others; the published grid is ``weight_decay`` x ``neumann_step``, both in
            1e-3, 1e-2, 1e-1.

        Returns
        -------
        DatasetPersonalizer
        """
        published: dict[str, Any] = {
            "update_every": 30,
            "n_neumann_terms": 3,
            "neumann_step": 1e-3,
            "neumann_scaled": False,
            "neumann_tolerance": 0.0,
            "warmup_epochs": 11,
            "fixed": ("mined",),
            "features": "state",
            "temperature_schedule": "weight_decay",
            "detach_states": False,
            "dev": "train",
            "train_batch_size": None,
            "skip_norm": np.inf,
            "hidden_dim": getattr(recommender, "embedding_dim", 64),
        }
        return cls(recommender, **(published | changes))

    def _check_parameters(self) -> None:
        check_choice(self, "optimize", ("bilevel", "first_order", "joint"))
        check_choice(self, "features", FEATURES)
        check_choice(self, "temperature_schedule", _SCHEDULES)
        check_choice(self, "normalize", ("count", "weight"))
        check_choice(self, "optimizer", ("adam", "sgd"))
        check_choice(self, "dev", ("train", "original", "held_out", "held_out_items"))
        for name in ("noise", "detach_states", "neumann_scaled"):
            check_flag(self, name)
        for name in ("update_every", "hidden_dim"):
            check_integer(self, name, 1)
        for name in ("n_neumann_terms", "warmup_epochs"):
            check_integer(self, name, 0)
        check_integer(self, "dev_batch_size", 1, none=True)
        if isinstance(self.train_batch_size, str) and self.train_batch_size != "half":
            raise ValueError(
                "DatasetPersonalizer: train_batch_size must be an integer >= 1, 'half' or None; got "
                f"{self.train_batch_size!r}."
            )
        if not isinstance(self.train_batch_size, str):
            check_integer(self, "train_batch_size", 1, none=True)
        if self.neumann_step is not None:
            check_real(self, "neumann_step", 0, open_low=True)
        for name in ("temperature", "temperature_floor", "learning_rate"):
            check_real(self, name, 0, open_low=True)
        for name in ("clip_norm", "skip_norm"):
            check_real(self, name, 0, open_low=True, infinite=True)
        self._check_temperature()
        check_real(self, "temperature_decay", 0, 1, open_low=True)
        check_real(self, "momentum", 0, 1, open_high=True)
        for name in ("weight_decay", "neumann_tolerance"):
            check_real(self, name, 0)
        check_real(self, "held_out_share", 0, 1, open_low=True, open_high=True)
        named = isinstance(self.fixed, Collection) and not isinstance(self.fixed, str)
        named = named and getattr(self.fixed, "ndim", 1) == 1
        if not self._fixes_by_default and (not named or any(part not in _ORIGINS for part in self.fixed)):
            raise ValueError(
                f"DatasetPersonalizer: fixed must be 'auto' or a tuple of names out of {_ORIGINS}; got {self.fixed!r}."
            )
        self._check_recommender()

    def _check_temperature(self) -> None:
        start, floor = self.temperature, self.temperature_floor
        if start < floor:
            raise ValueError(
                f"DatasetPersonalizer: temperature={start} is below temperature_floor={floor}, and would be raised to "
                "it. Lower temperature_floor."
            )
        if self.temperature_schedule == "exponential" and start == floor:
            raise ValueError(
                f"DatasetPersonalizer: temperature_schedule='exponential' has nowhere to fall: temperature and "
                f"temperature_floor are both {start}. Raise temperature (published: 10), or lower temperature_floor."
            )

    def _check_recommender(self) -> None:
        if isinstance(self.recommender, type):
            name = self.recommender.__name__
            raise TypeError(f"DatasetPersonalizer: the recommender is the class {name}; give an instance: {name}().")
        lacks = getattr(self.recommender, "_lacks_for_weighing", None)
        if lacks is None and not isinstance(self.recommender, SequentialRecommender):
            lacks = "hidden states and losses of positions, which SequentialRecommender computes"
        if lacks is not None:
            raise TypeError(
                f"DatasetPersonalizer: {type(self.recommender).__name__} cannot be personalized; it lacks {lacks}. Use "
                "SASRec, GRU4Rec, FMLP, GNN, CL4SRec, or TorchTarget for a torch module; or learn weights with one of "
                "these, and train any model that heeds weights on what transform returns."
            )
        self.recommender._check_parameters()

    def _settings(self, data: SequenceDataset) -> PersonalizationSettings:
        values = {name: getattr(self, name) for name in PersonalizationSettings.__annotations__}
        if self._fixes_by_default:
            fixed = self._fixed_by_default(data)
        else:
            # Sets have no order that checkpoints could be told by.
            fixed = tuple(name for name in _ORIGINS if name in self.fixed)
        return PersonalizationSettings(**(values | {"fixed": fixed}))

    @property
    def _fixes_by_default(self) -> bool:
        return isinstance(self.fixed, str) and self.fixed == "auto"

    @staticmethod
    def _fixed_by_default(data: SequenceDataset) -> tuple[str, ...]:
        origins = set(data.origin[data.lengths > 1].tolist())
        if Origin.MINED in origins and len(origins) > 1:
            return ("mined",)
        return ("original",) if len(origins) > 1 else ()

    # Learning

    @with_plain_numbers
    def fit(self, X: Any, y: Any = None) -> Self:
        """Train the recommender and the weights of its training positions together.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            Best with mined or regenerated rows; original ones alone will do, with a warning. ``X.validation`` is read
            by the recommender's early stopping, and by nothing else.
        y : ignored
            Present for scikit-learn's conventions; never read.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            The recommender cannot be differentiated; the message names what it lacks.
        ValueError
            No update would ever be made, every row is fixed, no row can be held out, or weights that X has are negative
            or not finite.
        """
        self._check_parameters()
        X = reusable(X)
        data = check_sequences(X, require_items=True)
        check_weights(data)
        if data.n_original == len(data):
            warnings.warn(
                "DatasetPersonalizer: there are no mined or regenerated rows; weights are learnt for the "
                f"{len(data)} original row(s). Regenerate first to weigh added rows: PatternMiner, DatasetRegenerator.",
                UserWarning,
                stacklevel=stacklevel_of_caller(),
            )
        settings = self._settings(data)
        companion = Personalization(settings)
        recommender = clone(self.recommender)
        recommender._fit(X, companion)
        weighting = companion.weighting.requires_grad_(False).eval()
        outer = companion.outer
        n_updates, n_skipped = (0, 0) if outer is None else (outer.n_updates, outer.n_skipped)
        self._warn_if_nothing_was_learnt(recommender, n_updates, n_skipped)
        weighted = data.replace(weights=_weights_of(data, recommender, weighting, settings.fixed))
        by_origin, by_popularity, by_position = (
            summarize_weights(weighted, by) for by in ("origin", "popularity", "position")
        )
        remember_columns(self, X)
        self.recommender_, self.vocabulary_ = recommender, recommender.vocabulary_
        self.weighting_, self.fixed_ = weighting, settings.fixed
        self.n_updates_, self.n_skipped_ = n_updates, n_skipped
        self.weights_ = weighted.weights
        self.weights_by_origin_: dict[str, WeightSummary] = by_origin
        self.weights_by_popularity_: dict[str, WeightSummary] = by_popularity
        self.weights_by_position_: dict[str, WeightSummary] = by_position
        return self

    def _warn_if_nothing_was_learnt(self, recommender: SequentialRecommender, n_updates: int, n_skipped: int) -> None:
        if self.optimize == "joint":
            return
        # Where there is a refit, the model of its last epoch is kept.
        refit = getattr(recommender, "refit_history_", None)
        kept = refit[-1] if refit else recommender.history_[recommender.best_epoch_]
        epoch, n_kept = int(kept["epoch"]) + 1, int(kept["updates"])
        what = None
        if n_updates == 0 and n_skipped:
            what = (
                f"all {n_skipped} update(s) were skipped: gradients, or what they led to, were not finite or too large"
            )
        elif n_updates == 0:
            n_epochs = len(refit or recommender.history_)
            what = f"training ended after {n_epochs} epoch(s), before the first update; lower warmup_epochs"
        elif n_kept == 0:
            where, name = "before the first update", "update_every"
            if epoch <= self.warmup_epochs:
                where, name = f"within the warm-up of {self.warmup_epochs} epoch(s)", "warmup_epochs"
            what = f"the model was best in epoch {epoch}, {where}; lower {name}"
        if what is not None:
            warnings.warn(
                f"DatasetPersonalizer learnt nothing, and its weights mean nothing: {what}.",
                UserWarning,
                stacklevel=stacklevel_of_caller(),
            )

    # Weights

    @with_plain_numbers
    def transform(self, X: Any) -> SequenceDataset:
        """The dataset with learnt ``weights``.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            Need not be what was fitted. Items not seen in fit are ignored with one warning.

        Returns
        -------
        SequenceDataset
            The same rows. The weights are expectations over the noise, between 0 and 1; exactly 1 in rows of the
            ``fixed`` origins and for the first item of each row; times the weights that X has already.

        Raises
        ------
        ValueError
            A weight that X has already is negative or not finite.
        """
        check_is_fitted(self, "weighting_")
        data = check_sequences(X, vocabulary=self.vocabulary_)
        check_weights(data)
        return data.replace(weights=_weights_of(data, self.recommender_, self.weighting_, self.fixed_))

    # Ranking

    def _scores(self, histories: SequenceDataset) -> ScoreBlock:
        return self.recommender_._scores(histories)

    @property
    def history_(self) -> list[dict[str, float]]:
        """The recommender's records, one an epoch."""
        check_is_fitted(self, "recommender_")
        return self.recommender_.history_

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        weighting = state.get("weighting_")
        if weighting is not None and weighting.temperature.device.type != "cpu":
            state = state | {"weighting_": copy.deepcopy(weighting).cpu()}
        return state


def _weights_of(
    data: SequenceDataset, recommender: SequentialRecommender, weighting: WeightingNetwork, fixed: tuple[str, ...]
) -> np.ndarray:
    weights = position_weights(recommender.network_, weighting, data, recommender.max_length_)
    is_fixed = np.isin(data.origin, [Origin[name.upper()] for name in fixed])
    weights[np.repeat(is_fixed, data.lengths)] = 1
    return weights if data.weights is None else weights * data.weights
