"""What a personalizer refuses, and what it says."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seqregen import DatasetPersonalizer, Origin
from seqregen.targets import SASRec, TorchTarget
from seqregen.targets.adapters.recbole_target import RecBoleTarget
from seqregen.targets.adapters.rectools_target import RecToolsTarget


@pytest.mark.parametrize(
    ("recommender", "message"),
    [
        (
            RecBoleTarget("GRU4Rec"),
            "RecBoleTarget cannot be personalized; it lacks hidden states after single positions",
        ),
        (RecToolsTarget(None), "RecToolsTarget cannot be personalized; it lacks losses .*trained by RecTools' own fit"),
        (LogisticRegression(), "LogisticRegression cannot be personalized; it lacks hidden states and losses"),
        (None, "NoneType cannot be personalized"),
    ],
    ids=["RecBole", "RecTools", "scikit-learn", "None"],
)
def test_a_recommender_that_cannot_be_differentiated(mined, recommender, message):
    with pytest.raises(TypeError, match=f"{message}.*TorchTarget"):
        DatasetPersonalizer(recommender).fit(mined)


def test_a_class_is_no_recommender(mined):
    with pytest.raises(TypeError, match=r"the recommender is the class SASRec; give an instance: SASRec\(\)"):
        DatasetPersonalizer(SASRec).fit(mined)


class NoSecondDerivative(nn.Module):
    def __init__(self, n_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, 4, padding_idx=0)

    def forward(self, items: Tensor) -> Tensor:
        vectors = self.items(items)
        return vectors + torch.cdist(vectors, torch.ones_like(vectors), p=1.0).sum(-1, keepdim=True)


def test_a_module_without_second_derivatives_is_named_before_training(tiny, mined):
    personalizer = tiny(TorchTarget(NoSecondDerivative, max_epochs=2, device="cpu"))
    with pytest.raises(TypeError, match=r"cannot be differentiated twice.*_cdist_backward"):
        personalizer.fit(mined)


class _FirstDerivativeAlone(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return gradient.clone()


class OnceDifferentiable(NoSecondDerivative):
    def forward(self, items: Tensor) -> Tensor:
        return _FirstDerivativeAlone.apply(self.items(items))


def test_an_operation_that_hides_its_second_derivative_is_refused(tiny, mined):
    personalizer = tiny(TorchTarget(OnceDifferentiable, max_epochs=2, device="cpu"))
    with pytest.raises(TypeError, match=r"cannot be differentiated twice.*marked once_differentiable"):
        personalizer.fit(mined)


@pytest.mark.parametrize("normalize", ["count", "weight"])
def test_rows_that_weigh_nothing_already_are_no_trouble(tiny, mined, normalize):
    weights = np.ones(mined.n_interactions, dtype=np.float32)
    weights[mined.offsets[12] :] = 0
    # Most batches hold no row that weighs anything.
    personalizer = tiny(normalize=normalize, recommender__batch_size=4, update_every=20)
    personalizer.fit(mined.replace(weights=weights))
    assert len(personalizer.history_) == 4
    assert np.isfinite(personalizer.weights_).all()
    assert not personalizer.weights_[mined.offsets[12] :].any()


def test_a_model_of_double_precision(tiny, mined):
    class Double(NoSecondDerivative):
        def forward(self, items: Tensor) -> Tensor:
            return self.items(items) * 2

    model = TorchTarget(lambda n_items: Double(n_items).double(), max_epochs=3, batch_size=32, random_state=0)
    personalizer = tiny(model, warmup_epochs=0).fit(mined)
    assert personalizer.n_updates_ > 0
    assert personalizer.weights_.dtype == np.float32


def test_a_failed_fit_leaves_what_was_fitted(tiny, mined, split):
    personalizer = tiny().fit(mined)
    before = personalizer.predict(split[0])
    with pytest.raises(ValueError, match="no update of the weights"):
        personalizer.set_params(update_every=10**4).fit(mined)
    assert (personalizer.predict(split[0]) == before).all()


def test_a_fit_that_fails_behind_its_training_leaves_what_was_fitted(tiny, mined):
    personalizer = tiny(warmup_epochs=0).fit(mined)
    before = dict(vars(personalizer))
    personalizer.set_params(skip_norm=1e-30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="learnt nothing"):
            personalizer.fit(mined[:70])
    personalizer.set_params(skip_norm=before["skip_norm"])
    assert {name: id(value) for name, value in vars(personalizer).items()} == {
        name: id(value) for name, value in before.items()
    }


def test_original_rows_alone_work_and_it_says_so(tiny, split):
    X, _ = split
    personalizer = tiny()
    with pytest.warns(UserWarning, match="no mined or regenerated rows; weights are learnt for the 60 orig") as seen:
        personalizer.fit_transform(X)
    assert {warning.filename for warning in seen} == {__file__}
    assert personalizer.n_updates_ > 0
    assert set(personalizer.weights_by_origin_) == {"original"}


def test_weights_of_the_wrong_length(mined):
    with pytest.raises(
        ValueError, match=rf"weights must have one value for each interaction, shape \({len(mined.items)}"
    ):
        mined.replace(weights=np.ones(3, dtype=np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1])
def test_weights_that_are_no_weights(tiny, mined, value):
    weights = np.ones(mined.n_interactions, dtype=np.float32)
    place = int(mined.offsets[3]) + 1
    weights[place] = value
    with pytest.raises(ValueError, match=r"finite and not negative; got .* in row 3, position 1"):
        tiny().fit(mined.replace(weights=weights))


@pytest.mark.parametrize(("changes", "epochs"), [({"update_every": 10**4}, 4), ({"warmup_epochs": 4}, 4)])
def test_updates_that_never_come(tiny, mined, changes, epochs):
    personalizer = tiny(recommender__max_epochs=epochs, **changes)
    with pytest.raises(ValueError, match=r"no update of the weights would ever be made\. There are 7 step\(s\)"):
        personalizer.fit(mined)
    # Trained jointly there are no updates to wait for.
    personalizer.set_params(optimize="joint", update_every=10**4, warmup_epochs=0).fit(mined)


def test_stopping_before_the_first_update(tiny, mined):
    personalizer = tiny(warmup_epochs=30, recommender__max_epochs=40, recommender__patience=1)
    personalizer.set_params(recommender__learning_rate=0.3)
    with pytest.warns(
        UserWarning, match=r"learnt nothing.*ended after \d+ epoch\(s\), before the first update; lower warmup_epochs"
    ):
        personalizer.fit(mined)


def test_a_best_epoch_within_the_warm_up(tiny, mined):
    # At this rate every epoch spoils what the one before has learnt.
    personalizer = tiny(warmup_epochs=3, recommender__learning_rate=0.1, recommender__patience=4)
    with pytest.warns(UserWarning, match="within the warm-up of 3"):
        personalizer.fit(mined)


def test_a_best_epoch_before_the_first_update(tiny, mined):
    # At this rate every epoch spoils what the one before has learnt.
    personalizer = tiny(warmup_epochs=0, update_every=14, recommender__learning_rate=0.1, recommender__patience=3)
    with pytest.warns(UserWarning, match=r"best in epoch 1, before the first update; lower update_every"):
        personalizer.fit(mined)
    assert personalizer.n_updates_ > 0


def test_nothing_to_weigh(tiny, mined):
    with pytest.raises(ValueError, match=r"fixed=\('original', 'mined'\) sets the weights of all 220 rows to 1"):
        tiny(fixed=("original", "mined")).fit(mined)
    with pytest.raises(
        ValueError, match=r"nothing to weigh, and dev='held_out' kept others back: lower held_out_share"
    ):
        tiny(fixed=("original", "mined"), dev="held_out", held_out_share=0.5).fit(mined)


def test_nothing_to_hold_out(tiny, mined):
    one = mined.originals()[:1].append(mined.items, mined.offsets, Origin.MINED)
    for dev in ("held_out", "held_out_items"):
        with pytest.raises(ValueError, match=rf"dev='{dev}' keeps a share of 0\.1 of the 1 sample\(s\)"):
            tiny(dev=dev, held_out_share=0.1).fit(one)
    with (
        pytest.warns(UserWarning, match="stops on a plateau"),
        pytest.raises(ValueError, match="dev='original' draws from original rows, and none"),
    ):
        tiny(dev="original").fit(mined[mined.n_original :])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimize", "alternating"), ("update_every", 0), ("n_neumann_terms", -1), ("neumann_step", 0),
        ("fixed", "mined"), ("fixed", ("pattern",)), ("features", "item"), ("hidden_dim", 2.5), ("temperature", 0),
        ("temperature_floor", 0), ("temperature_schedule", "cosine"), ("temperature_decay", 1.5), ("noise", "yes"),
        ("detach_states", None),
        ("normalize", "batch"), ("learning_rate", 0), ("momentum", 1), ("weight_decay", -1), ("clip_norm", 0),
        ("skip_norm", -1), ("dev", "validation"), ("optimizer", "rmsprop"), ("held_out_share", 1),
        ("dev_batch_size", 0), ("train_batch_size", 0), ("train_batch_size", "quarter"), ("warmup_epochs", None),
        ("neumann_scaled", 2), ("neumann_tolerance", -1),
    ],
)  # fmt: skip
def test_parameters_are_checked_by_name(tiny, mined, name, value):
    with pytest.raises(ValueError, match=f"DatasetPersonalizer: {name} must be"):
        tiny(**{name: value}).fit(mined)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.1}, r"temperature=0\.1 is below temperature_floor=1\.0, and would be raised"),
        ({"temperature": 1.0, "temperature_schedule": "exponential"}, "has nowhere to fall: .* both 1.0"),
    ],
)
def test_temperatures_that_cannot_be(tiny, mined, settings, message):
    with pytest.raises(ValueError, match=message):
        tiny(**settings).fit(mined)


def test_before_fit(tiny, mined):
    for method in ("transform", "predict", "decision_function"):
        with pytest.raises(ValueError, match="not fitted"):
            getattr(tiny(), method)(mined)
