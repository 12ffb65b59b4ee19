"""check_target: it passes what keeps its promises and names what does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_modules import Recurrent
from torch import nn

from seqregen.targets import FMLP, GNN, CL4SRec, GRU4Rec, SASRec, TorchTarget
from seqregen.testing import CHECKS, check_target

TINY = {"embedding_dim": 8, "n_layers": 1, "hidden_dim": 8, "max_length": 10}


@pytest.mark.parametrize("loss", ["sampled_softmax", "bce"])
@pytest.mark.parametrize("model", [SASRec, GRU4Rec, FMLP, GNN, CL4SRec])
def test_our_own_models_pass(model, loss):
    found = check_target(model(**TINY, loss=loss), n_items=12)
    assert list(found) == list(CHECKS)
    assert found["shapes"] == "states of 8 values, 12 item vectors"
    assert found["long_histories"] == "the last 10 items are read"


def test_the_target_is_left_as_it_is():
    target = SASRec(**TINY, random_state=np.random.RandomState(0))
    before = target.get_params()
    check_target(target, skip=("weights", "gradients"))
    assert not hasattr(target, "network_")
    assert all(target.get_params()[name] is value for name, value in before.items())


def fails(target, name, message):
    """A check fails with a message, and the checks before it do not."""
    before = list(CHECKS)[: list(CHECKS).index(name)]
    with pytest.raises(AssertionError, match=message):
        check_target(target, n_items=12, skip=[other for other in CHECKS if other != name])
    check_target(target, n_items=12, skip=list(CHECKS)[len(before) :])


class RunsOverPadding(Recurrent):
    """A recurrence that goes over the padding before a row."""


class BatchNorm(Recurrent):
    def __init__(self, n_items):
        super().__init__(n_items)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, items):
        return self.norm(super().forward(items).transpose(1, 2)).transpose(1, 2)


class Annealed(Recurrent):
    """Its counter of steps is a plain attribute, so the best epoch and checkpoints lose it."""

    def __init__(self, n_items):
        super().__init__(n_items)
        self.steps = 0

    def forward(self, items):
        if self.training:
            self.steps += 1
        return super().forward(items) * (1 + self.steps / 100)


class AnnealedInTraining(Recurrent):
    def __init__(self, n_items):
        super().__init__(n_items)
        self.register_buffer("steps", torch.zeros(()), persistent=False)

    def forward(self, items):
        states = super().forward(items)
        if self.training:
            self.steps += 1
            states = states * (1 + self.steps / 100)
        return states


class AnnealedByABuffer(AnnealedInTraining):
    def __init__(self, n_items):
        super().__init__(n_items)
        self.register_buffer("steps", torch.zeros(()))


class Centred(Recurrent):
    def forward(self, items):
        states = super().forward(items)
        return states - states.mean(0)


class AlwaysDropping(Recurrent):
    def forward(self, items):
        return nn.functional.dropout(super().forward(items), 0.1, training=True)


class NumpyNoise(Recurrent):
    def forward(self, items):
        states = super().forward(items)
        return states * float(np.random.default_rng().random()) if self.training else states


class GlobalNumpyNoise(Recurrent):
    def forward(self, items):
        states = super().forward(items)
        return states * np.random.random() if self.training else states  # noqa: NPY002


class Unused(Recurrent):
    def __init__(self, n_items):
        super().__init__(n_items)
        self.spare = nn.Linear(8, 8)


class Detached(Recurrent):
    def forward(self, items):
        return self.recurrent(self.items(items).detach())[0].detach() + self.items(items)


class WrongShape(Recurrent):
    def forward(self, items):
        return super().forward(items)[:, :-1]


@pytest.mark.parametrize(
    ("target", "name", "message"),
    [
        (TorchTarget(RunsOverPadding, padding="left"), "padding", "so padding is read; mask code 0"),
        (TorchTarget(BatchNorm), "row_mixing", "such as batch norm, by layer norm"),
        (TorchTarget(Annealed), "state", r"in training, states change with .* make it a parameter, or a buffer"),
        (TorchTarget(AnnealedInTraining), "state", r"in training, states change with something"),
        (TorchTarget(AlwaysDropping), "repeatable", "two answers; randomness must stop in eval mode"),
        (TorchTarget(NumpyNoise), "repeatable", "two fits with random_state=0 differ; .* not from numpy"),
        (TorchTarget(GlobalNumpyNoise), "repeatable", "fit draws from numpy's global random state"),
        (TorchTarget(Unused), "gradients", "no gradient reaches module.spare.weight, module.spare.bias; use them"),
        (TorchTarget(Detached), "gradients", "no gradient reaches module.recurrent.weight_ih_l0, .* do not detach"),
    ],
    ids=lambda value: value.module.__name__ if isinstance(value, TorchTarget) else "",
)
def test_broken_modules_fail(target, name, message):
    fails(target, name, message)


def test_a_counter_in_the_state_dict_passes():
    others = [name for name in CHECKS if name != "state"]
    found = check_target(TorchTarget(AnnealedByABuffer), n_items=12, skip=others)
    assert found == {"state": "state_dict() has all that training changes"}


def test_scores_that_depend_on_other_rows_fail():
    with pytest.raises(AssertionError, match="scores of a row change with the other rows of its batch"):
        check_target(TorchTarget(Centred), skip=("repeatable",))


class WithFeatures(Recurrent):
    """A module with a feature of each of thirty items."""

    def __init__(self, n_items):
        super().__init__(n_items)
        self.register_buffer("features", torch.ones(31, 1))

    def forward(self, items):
        return self.recurrent(self.items(items) * (self.features.repeat(1, 8) * self.items.weight**0)[items])[0]


def test_a_module_with_features_of_its_own_items_is_told_of_their_number():
    with pytest.raises(AssertionError, match=r"trains on 20 items; .* features of its own items, pass n_items=their"):
        check_target(TorchTarget(WithFeatures))
    assert "30 item vectors" in check_target(TorchTarget(WithFeatures), n_items=30)["shapes"]


def test_what_fit_refuses_fails_with_its_message():
    with pytest.raises(AssertionError, match="parameters: TorchTarget raised ValueError: WrongShape turned"):
        check_target(TorchTarget(WrongShape))


def test_a_local_module_cannot_be_pickled():
    class Local(Recurrent):
        pass

    fails(TorchTarget(Local), "pickling", "Define modules and functions at the top of a module")


class IgnoresWeights(SASRec):
    def _batch_loss(self, network, objective, added, batch, random):
        states = network.target_states(batch)
        return objective.per_position(states, network.item_table(), batch.targets, random).mean()


class DividesByWeights(SASRec):
    def _batch_loss(self, network, objective, added, batch, random):
        losses = objective.per_position(network.target_states(batch), network.item_table(), batch.targets, random)
        if batch.weights is None:
            return losses.mean()
        return (losses * batch.weights).sum() / (batch.weights.sum() + 1e-9)


class MovesWithoutWeights(SASRec):
    def _batch_loss(self, network, objective, added, batch, random):
        loss = super()._batch_loss(network, objective, added, batch, random)
        penalty = network.item_table().square().sum()
        return loss + penalty - penalty.detach()


class SeesTheFuture(SASRec):
    def _make_network(self, data):
        network = super()._make_network(data)
        causal = network.target_states
        # What stands behind each position of the flat batch is its target, but at the ends of rows.
        network.target_states = lambda batch: causal(batch) + network.items.weight[batch.items.roll(-1) - 1]
        return network


class ChangesItself(SASRec):
    def fit(self, X, y=None):
        self.hidden_dim = 2 * self.hidden_dim
        return super().fit(X, y)


class ReturnsNothing(SASRec):
    def fit(self, X, y=None):
        super().fit(X, y)


class GoesOn(SASRec):
    """Begins a second fit where the first ended."""

    def _draw_weights(self, network, generator):
        super()._draw_weights(network, generator)
        if hasattr(self, "network_"):
            network.load_state_dict(self.network_.state_dict())


class GlobalTorch(SASRec):
    def fit(self, X, y=None):
        torch.manual_seed(3)
        return super().fit(X, y)


class Ahead(nn.Module):
    """A state that also reads the item four places later, where there is one."""

    def __init__(self, n_items, width=8):
        super().__init__()
        self.items = nn.Embedding(n_items + 1, width, padding_idx=0)

    def forward(self, codes):
        vectors = self.items(codes)
        later = nn.functional.pad(vectors, (0, 0, 0, 4))[:, 4:]
        return (vectors + later) * (codes > 0)[..., None]


class AheadInTraining(Ahead):
    def forward(self, codes):
        vectors = self.items(codes)
        later = nn.functional.pad(vectors, (0, 0, 0, 1))[:, 1:]
        return (vectors + later if self.training else vectors) * (codes > 0)[..., None]


class GivesCodes(SASRec):
    def predict(self, X, k=10, exclude_history=True):
        labels = super().predict(X, k, exclude_history)
        return np.searchsorted(self.vocabulary_.astype(str), labels.astype(str)) + 1


class ReadsTheFirst(SASRec):
    def _states(self, histories):
        keep = np.minimum(histories.lengths, self.max_length)
        rows = [row[:n] for row, n in zip(histories.to_lists(), keep, strict=True)]
        return super()._states(self._histories(rows))


class RefusesUnseen(SASRec):
    def _histories(self, X):
        rows = X if isinstance(X, list) else X.to_lists()
        return super()._histories([[item for item in row if item in set(self.vocabulary_)] for row in rows])


class Inflates(SASRec):
    def decision_function(self, X):
        return super().decision_function(X) + 1


@pytest.mark.parametrize(
    ("model", "name", "message"),
    [
        (IgnoresWeights, "weights", "weights of positions are ignored: multiply"),
        (DividesByWeights, "weights", "divide by their number, not by their weights"),
        (MovesWithoutWeights, "weights", "items.weight moves although all weights are 0"),
        (
            SeesTheFuture,
            "leaks",
            "changes with the item it is to predict, or one behind it, so the model learns to copy",
        ),
        (ChangesItself, "parameters", r"fit changes the parameters \['hidden_dim'\]"),
        (ReturnsNothing, "parameters", "fit must return self; it returned a NoneType"),
        (GoesOn, "refitting", "a second fit must start from scratch"),
        (GlobalTorch, "repeatable", "fit changes torch's global random state"),
        (GivesCodes, "labels", "predict must give labels of fit; row 0 has"),
        (ReadsTheFirst, "long_histories", "of a history longer than max_length the last items must be read"),
        (RefusesUnseen, "unseen_items", "ignored with an UnseenItemsWarning, and there was none"),
        (Inflates, "shapes", "scores must be inner products of states and item vectors"),
    ],
)
def test_broken_targets_fail(model, name, message):
    with pytest.raises(AssertionError, match=message):
        check_target(model(**TINY), n_items=12, skip=[other for other in CHECKS if other != name])


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Ahead, "TorchTarget: a state that is trained on changes with the item it is to predict, or one behind it"),
        (AheadInTraining, "TorchTarget: in training, a state that is trained on changes with the item"),
    ],
)
def test_modules_that_read_ahead(module, message):
    with pytest.raises(AssertionError, match=message):
        check_target(TorchTarget(module), n_items=12)


def test_histories_of_one_item_are_checked_too():
    assert "padding" in check_target(SASRec(**(TINY | {"max_length": 1})), n_items=12, skip=["leaks"])


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"\['speed'\] are no checks; they are parameters, rep"):
        check_target(SASRec(), skip=["speed"])
    with pytest.raises(ValueError, match="n_items must be at least 4"):
        check_target(SASRec(), n_items=3)
