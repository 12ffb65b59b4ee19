"""Numbers of numpy as parameters: what ``np.array`` grids and the distributions of scipy give a search."""

from __future__ import annotations

from fractions import Fraction
from numbers import Integral, Real

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from torch import nn

from seqregen import DatasetPersonalizer, DatasetRegenerator, PatternMiner, RankFilter, TeacherRegenerator
from seqregen.datasets import make_sequences
from seqregen.model_selection import LeaveLastOut, hold_out_last, leave_one_out
from seqregen.targets import FMLP, GNN, CL4SRec, GRU4Rec, SASRec, TorchTarget

SMALL = {"embedding_dim": 8, "max_length": 6, "max_epochs": 2, "batch_size": 16, "n_negatives": 4, "random_state": 0}
ESTIMATORS = [
    SASRec(hidden_dim=8, **SMALL),
    GRU4Rec(hidden_dim=8, **SMALL),
    FMLP(hidden_dim=8, **SMALL),
    GNN(hidden_dim=8, **SMALL),
    CL4SRec(hidden_dim=8, **SMALL),
    DatasetRegenerator(
        embedding_dim=8, n_heads=2, hidden_dim=8, n_memories=2, max_epochs=2, item_embeddings=None, random_state=0
    ),
    PatternMiner(random_state=0, max_length=3, pair_length=10),
]


def with_numpy_numbers(estimator):
    """The same estimator, every number of its own a scalar of numpy."""
    kinds = ((bool, np.bool_), (Integral, np.int64), (Real, np.float64))
    numbers = {}
    for name, value in estimator.get_params(deep=False).items():
        kind = next((made for plain, made in kinds if isinstance(value, plain)), None)
        if kind is not None:
            numbers[name] = kind(value)
    return estimator.set_params(**numbers)


def outcome(estimator, rows):
    """What a fitted estimator makes of rows, as arrays."""
    if hasattr(estimator, "transform"):
        made = estimator.transform(rows)
        return made.items, made.offsets
    return (estimator.decision_function(rows),)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_a_fit_is_that_of_plain_numbers(estimator):
    rows = make_sequences(60, 20, random_state=0)
    plain = outcome(type(estimator)(**estimator.get_params(deep=False)).fit(rows), rows)
    found = outcome(with_numpy_numbers(type(estimator)(**estimator.get_params(deep=False))).fit(rows), rows)
    assert all(map(np.array_equal, plain, found))


def with_short_numbers(estimator):
    """The same estimator, every integer of its own of as few bits as will do, the other numbers of 16."""
    numbers = {}
    for name, value in estimator.get_params(deep=False).items():
        if isinstance(value, bool):
            continue
        if isinstance(value, int):
            numbers[name] = np.uint8(value) if value < 256 else np.uint16(value)
        elif isinstance(value, float):
            numbers[name] = np.float16(value)
    return estimator.set_params(**numbers)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_numbers_of_few_bits_do_not_wrap_around(estimator):
    rows = make_sequences(60, 20, random_state=0)
    given = with_short_numbers(type(estimator)(**estimator.get_params(deep=False)))
    numbers = {name: value for name, value in given.get_params(deep=False).items() if isinstance(value, np.number)}
    plain = type(estimator)(**given.get_params(deep=False) | {name: value.item() for name, value in numbers.items()})
    assert all(map(np.array_equal, outcome(plain.fit(rows), rows), outcome(given.fit(rows), rows)))
    # What was given is what is kept.
    assert all(given.get_params(deep=False)[name] is value for name, value in numbers.items())


def test_what_torch_could_not_compute_with_is_refused():
    for name in ("learning_rate", "weight_decay"):
        with pytest.raises(ValueError, match=f"SASRec: {name} must be a number"):
            SASRec(**{name: Fraction(1, 2)}).fit([[1, 2, 3]] * 4)
    with pytest.raises(ValueError, match="is not a device"):
        SASRec(device=np.array(["cpu", "cuda"])).fit([[1, 2, 3]] * 4)
    with pytest.raises(ValueError, match="include must be a tuple of names"):
        PatternMiner(include=np.array("mined")).fit([[1, 2, 3]] * 4)
    with pytest.raises(ValueError, match=r"item_embeddings must be 'pretrain', None or numbers of shape .*; got dict"):
        DatasetRegenerator(item_embeddings={"a": [1.0]}, max_epochs=1).fit([[1, 2, 3]] * 4)
    mined = PatternMiner(random_state=0).fit_transform([[1, 2, 3]] * 4)
    for changes in ({"fixed": np.array("mined")}, {"train_batch_size": np.array([1, 2])}):
        with pytest.raises(ValueError, match=f"{next(iter(changes))} must be"):
            DatasetPersonalizer(SASRec(), **changes).fit(mined)


class Tower(nn.Module):
    def __init__(self, n_items, width=8):
        super().__init__()
        self.items = nn.Embedding(n_items + 1, width, padding_idx=0)
        self.layers = nn.GRU(width, width, batch_first=True)

    def forward(self, items):
        return self.layers(self.items(items))[0]


def test_sizes_of_a_module_may_come_from_a_grid():
    X, y = leave_one_out(make_sequences(60, 20, random_state=0))
    model = TorchTarget(Tower, max_epochs=1, random_state=0)
    found = GridSearchCV(model, {"module__width": np.array([4, 8])}, cv=LeaveLastOut(), error_score="raise").fit(X, y)
    assert found.best_params_["module__width"] in (4, 8)


@pytest.mark.parametrize(
    "estimator",
    [each for each in ESTIMATORS if hasattr(each, "checkpoint_dir")],
    ids=lambda estimator: type(estimator).__name__,
)
def test_checkpoints_are_read_again(estimator, tmp_path):
    rows = make_sequences(60, 20, random_state=0)
    given = type(estimator)(**estimator.get_params(deep=False)).set_params(checkpoint_dir=tmp_path)
    first = outcome(with_numpy_numbers(given).fit(rows), rows)
    assert list(tmp_path.glob("*.pt"))
    assert all(map(np.array_equal, first, outcome(given.fit(rows), rows)))


def test_checkpoints_of_the_personalizer_are_read_again(tmp_path):
    rows = PatternMiner(random_state=0).fit_transform(hold_out_last(make_sequences(60, 20, random_state=0)))
    recommender = SASRec(hidden_dim=8, **SMALL, checkpoint_dir=tmp_path)
    personalizer = with_numpy_numbers(DatasetPersonalizer(recommender, warmup_epochs=0, update_every=2))
    first = personalizer.fit(rows).weights_
    assert np.array_equal(first, personalizer.fit(rows).weights_)


@pytest.mark.parametrize(
    "search",
    [
        lambda model, split: RandomizedSearchCV(
            model, {"learning_rate": loguniform(1e-4, 1e-2)}, n_iter=2, cv=split, random_state=0
        ),
        lambda model, split: GridSearchCV(model, {"weight_decay": np.logspace(-4, -2, 2)}, cv=split),
        lambda model, split: GridSearchCV(model, {"embedding_dim": np.array([4, 8])}, cv=split),
    ],
    ids=["distribution", "grid of floats", "grid of integers"],
)
def test_searches_that_keep_checkpoints_end(search, tmp_path):
    X, y = leave_one_out(make_sequences(60, 20, random_state=0))
    model = SASRec(hidden_dim=8, **SMALL, checkpoint_dir=tmp_path)
    found = search(model, LeaveLastOut()).fit(X, y)
    assert np.isfinite(found.cv_results_["mean_test_score"]).all()
    assert found.best_estimator_.predict(X, k=3).shape == (60, 3)


@pytest.mark.parametrize(
    "estimator",
    [*ESTIMATORS, TeacherRegenerator(), RankFilter()],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("random_state", [np.random.default_rng(0), "zero", -1])
def test_what_is_no_random_state_is_refused_first(estimator, random_state):
    given = type(estimator)(**estimator.get_params(deep=False) | {"random_state": random_state})
    with pytest.raises(ValueError, match=rf"{type(estimator).__name__}: random_state must be an integer from 0 to"):
        given.fit([[1, 2, 3]] * 4)
    assert not [name for name in vars(given) if name.endswith("_")]
