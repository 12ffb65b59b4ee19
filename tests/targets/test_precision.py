"""Training in bfloat16: what is rounded, what is not, and what comes of it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from small_modules import Recurrent

from seqregen import DatasetPersonalizer, PatternMiner
from seqregen.model_selection import leave_one_out
from seqregen.nn import PRECISIONS, narrow_type
from seqregen.targets import FMLP, GNN, CL4SRec, GRU4Rec, NextItemNetwork, SASRec, TorchTarget
from seqregen.targets.sasrec import SASRecNetwork
from seqregen.training import LOSSES, devices

MODELS = [SASRec, GRU4Rec, FMLP, GNN, CL4SRec]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SETTINGS = {"embedding_dim": 8, "hidden_dim": 12, "n_layers": 1, "max_length": 6, "batch_size": 16, "random_state": 0}

# Whether the machine of the tests is quick in it is not theirs to say.
pytestmark = pytest.mark.filterwarnings("ignore:.*no instructions for bfloat16:UserWarning")


def losses_of(model):
    return np.array([record["loss"] for record in model.history_])


@pytest.mark.parametrize(
    ("loss", "device"),
    [*((loss, "cpu") for loss in LOSSES), pytest.param("sampled_softmax", "cuda", marks=pytest.mark.gpu)],
)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns_the_same_under_every_loss(model, loss, device, sequences):
    settings = SETTINGS | {"loss": loss, "n_negatives": None, "max_epochs": 2, "dropout": 0.0, "device": device}
    full, rounded = (model(precision=precision, **settings).fit(sequences) for precision in ("float32", "bfloat16"))
    assert not np.array_equal(full.item_embeddings_, rounded.item_embeddings_)
    np.testing.assert_allclose(losses_of(rounded), losses_of(full), rtol=0.01)
    assert {parameter.dtype for parameter in rounded.network_.parameters()} == {torch.float32}


@pytest.mark.parametrize("device", DEVICES)
def test_batches_drawn_in_the_batch(device, sequences):
    settings = SETTINGS | {"negative_sampling": "in_batch", "max_epochs": 2, "dropout": 0.0, "device": device}
    for loss in ("sampled_softmax", "bce", "gbce"):
        full, rounded = (SASRec(loss=loss, precision=p, **settings).fit(sequences) for p in ("float32", "bfloat16"))
        np.testing.assert_allclose(losses_of(rounded), losses_of(full), rtol=0.01)


def test_ranking_does_not_round(tiny, sequences):
    model = tiny(precision="bfloat16").fit(sequences)
    scores = model.decision_function(sequences)
    assert scores.dtype == np.float32
    states = torch.from_numpy(model.encode(sequences)).double()
    exact = states @ torch.from_numpy(model.item_embeddings_).double().T
    # Rounded products would be wrong by a part in several hundred.
    np.testing.assert_allclose(scores, exact.numpy(), rtol=1e-5, atol=1e-6)


def test_nothing_but_steps_rounds(tiny, sequences, monkeypatch):
    seen = []

    def spied(owner, name):
        plain = getattr(owner, name)

        def spy(*arguments, **keywords):
            seen.append((name, narrow_type(torch.device("cpu"))))
            return plain(*arguments, **keywords)

        monkeypatch.setattr(owner, name, spy)

    spied(NextItemNetwork, "target_states")
    spied(SASRecNetwork, "last_states")
    spied(torch.optim.Adam, "step")
    # As in a program that rounds all that it does.
    with torch.autocast("cpu", torch.bfloat16):
        model = tiny(precision="bfloat16", max_epochs=1).fit(sequences)
        model.predict(sequences)
    assert set(seen) == {("target_states", torch.bfloat16), ("last_states", None), ("step", None)}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("model", MODELS)
def test_an_autocast_around_it_changes_nothing(model, precision, sequences):
    settings = SETTINGS | {"precision": precision, "max_epochs": 2}
    outside = model(**settings).fit(sequences)
    with torch.autocast("cpu", torch.bfloat16):
        inside = model(**settings).fit(sequences)
        scores = inside.decision_function(sequences)
    assert np.array_equal(losses_of(inside), losses_of(outside))
    assert np.array_equal(scores, outside.decision_function(sequences))


class Unmixed(Recurrent):
    def forward(self, items):
        states = torch.zeros(*items.shape, self.items.embedding_dim)
        states[items > 0] = self.linear(self.items(items[items > 0]))
        return states

    def __init__(self, n_items):
        super().__init__(n_items)
        self.linear = torch.nn.Linear(self.items.embedding_dim, self.items.embedding_dim)


def test_a_module_that_cannot_be_rounded(sequences):
    TorchTarget(Unmixed, max_epochs=1).fit(sequences)
    with pytest.raises(ValueError, match=r"Unmixed failed in bfloat16, .*: RuntimeError: .* Try precision='float32'\."):
        TorchTarget(Unmixed, max_epochs=1, precision="bfloat16").fit(sequences)


def test_it_repeats(tiny, sequences):
    first, again = (tiny(precision="bfloat16").fit(sequences) for _ in range(2))
    assert np.array_equal(losses_of(first), losses_of(again))


def test_fits_beside_each_other_are_as_fits_alone(sequences):
    # Each weight is used three times a step: for the row and its two views.
    model = CL4SRec(precision="bfloat16", max_epochs=3, **SETTINGS)
    alone = losses_of(clone(model).fit(sequences))
    beside = Parallel(n_jobs=3, backend="threading")(delayed(clone(model).fit)(sequences) for _ in range(3))
    for fitted in beside:
        np.testing.assert_array_equal(losses_of(fitted), alone)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.filterwarnings("ignore:.*within the warm-up of:UserWarning")
def test_weights_are_learnt_for_it(model, device, sequences):
    data = PatternMiner(window=3, random_state=0).fit_transform(leave_one_out(sequences, validation=True)[0])
    recommender = model(precision="bfloat16", device=device, max_epochs=3, **SETTINGS)
    personalizer = DatasetPersonalizer(recommender, warmup_epochs=1, update_every=2).fit(data)
    assert personalizer.n_updates_ > 0
    assert personalizer.n_skipped_ == 0
    assert np.isfinite(personalizer.weights_).all()


@pytest.mark.parametrize("device", DEVICES)
def test_a_module_of_ones_own_is_rounded(device, sequences):
    settings = {"max_epochs": 2, "n_negatives": 5, "random_state": 0, "device": device}
    full, rounded = (TorchTarget(Recurrent, precision=p, **settings).fit(sequences) for p in ("float32", "bfloat16"))
    assert not np.array_equal(losses_of(full), losses_of(rounded))
    np.testing.assert_allclose(losses_of(rounded), losses_of(full), rtol=0.02)
    assert pickle.loads(pickle.dumps(rounded)).predict([[1, 2]], k=3).shape == (1, 3)


def test_a_machine_that_does_not_compute_in_it(tiny, sequences, monkeypatch):
    monkeypatch.setattr(devices, "_computes_in_bfloat16", lambda device: False)
    with pytest.warns(UserWarning, match="SASRec: this machine's cpu has no instructions for bfloat16; training with"):
        tiny(precision="bfloat16", max_epochs=1).fit(sequences)


@pytest.mark.gpu
@pytest.mark.parametrize(("capability", "computes"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_which_gpus_compute_in_it(capability, computes, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    assert devices._computes_in_bfloat16(torch.device("cuda")) is computes


def test_another_precision(tiny, sequences):
    with pytest.raises(ValueError, match="precision must be one of 'float32', 'bfloat16'"):
        tiny(precision="float16").fit(sequences)
