"""CUDA against the CPU; run where there is a GPU."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_modules import BothWays, LeftPadded, Recurrent

from seqregen import DatasetPersonalizer, DatasetRegenerator, PatternMiner
from seqregen.model_selection import leave_one_out
from seqregen.nn import GRU, time_steps
from seqregen.targets import FMLP, GNN, CL4SRec, GRU4Rec, SASRec, TorchTarget
from seqregen.testing import check_target
from seqregen.training import LOSSES

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("model", [GNN, CL4SRec])
def test_the_sisters_of_sasrec_learn_on_cuda_what_they_learn_on_the_cpu(tiny, sequences, model):
    settings = tiny(loss="bce", dropout=0.0, max_epochs=4).get_params()
    on_cpu, on_cuda = (model(**(settings | {"device": device})).fit(sequences) for device in ("cpu", "cuda"))
    losses = [[record["loss"] for record in fitted.history_] for fitted in (on_cpu, on_cuda)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    moved = pickle.loads(pickle.dumps(on_cuda))
    np.testing.assert_allclose(
        moved.decision_function(sequences), on_cuda.decision_function(sequences), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_cuda_learns_what_the_cpu_learns(tiny, sequences, loss):
    # Without dropout all randomness comes from numpy, so both see the same batches and negatives.
    on_cpu, on_cuda = (
        tiny(loss=loss, dropout=0.0, device=device, max_epochs=4).fit(sequences) for device in ("cpu", "cuda")
    )
    losses = [[record["loss"] for record in model.history_] for model in (on_cpu, on_cuda)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    assert on_cuda.history_[0]["ndcg@20"] == pytest.approx(on_cpu.history_[0]["ndcg@20"], abs=0.02)
    np.testing.assert_allclose(
        on_cuda.decision_function(sequences), on_cpu.decision_function(sequences), rtol=0.02, atol=0.02
    )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", [SASRec, GRU4Rec, FMLP, GNN, CL4SRec])
def test_a_step_never_waits_for_the_gpu(model, loss, sequences, steps_without_waiting):
    settings = {"embedding_dim": 8, "hidden_dim": 8, "n_layers": 1, "max_length": 6, "batch_size": 16, "max_epochs": 1}
    model(loss=loss, n_negatives=None, device="cuda", random_state=0, **settings).fit(sequences)
    assert steps_without_waiting == [model.__name__]


def test_a_step_of_the_regenerator_never_waits_for_the_gpu(sequences, steps_without_waiting):
    data = PatternMiner(window=3, random_state=0).fit_transform(sequences)
    settings = {"embedding_dim": 8, "n_layers": 1, "hidden_dim": 12, "max_length": 6, "batch_size": 16, "max_epochs": 1}
    regenerator = DatasetRegenerator(item_embeddings=None, gate="gumbel", device="cuda", random_state=0, **settings)
    regenerator.fit(data)
    assert steps_without_waiting == ["DatasetRegenerator"]


def test_recurrent_layers_learn_on_cuda_what_they_learn_on_the_cpu(sequences):
    sizes = {"embedding_dim": 8, "hidden_dim": 12, "max_length": 6, "dropout": 0.0, "max_epochs": 4}
    on_cpu, on_cuda = (
        GRU4Rec(loss="bce", batch_size=16, random_state=0, device=device, **sizes).fit(sequences)
        for device in ("cpu", "cuda")
    )
    losses = [[record["loss"] for record in model.history_] for model in (on_cpu, on_cuda)]
    # cuDNN multiplies with 10 bits behind the point where the GPU does it faster.
    np.testing.assert_allclose(losses[1], losses[0], rtol=5e-3)
    np.testing.assert_allclose(on_cuda.encode(sequences), on_cpu.encode(sequences), rtol=0.05, atol=0.02)
    moved = pickle.loads(pickle.dumps(on_cuda))
    assert next(moved.network_.parameters()).device.type == "cpu"
    np.testing.assert_allclose(moved.encode(sequences), on_cuda.encode(sequences), rtol=0.01, atol=2e-3)


def test_recurrent_layers_have_second_derivatives_on_cuda():
    lengths = np.array([2, 4, 1])
    products = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        network, steps = GRU(3, 4, 2).double().to(device), time_steps(lengths, device)
        with torch.no_grad():
            for number, weight in enumerate(network.parameters()):
                weight.copy_(torch.linspace(-1, 1, weight.numel()).view_as(weight) * (number + 1) / 4)
        positions = torch.linspace(-1, 1, 21, dtype=torch.float64).view(7, 3).to(device)
        slopes = torch.autograd.grad(network(positions, steps).sum(), list(network.parameters()), create_graph=True)
        along = sum(slope.square().sum() for slope in slopes)
        products.append([value.cpu() for value in torch.autograd.grad(along, list(network.parameters()))])
    for on_cpu, on_cuda in zip(*products, strict=True):
        torch.testing.assert_close(on_cuda, on_cpu, rtol=1e-8, atol=1e-10)


def test_cuda_ranks_like_the_cpu(tiny, sequences):
    X, y = leave_one_out(sequences)
    model = tiny(device="cuda", max_epochs=2).fit(X)
    moved = pickle.loads(pickle.dumps(model))
    assert next(moved.network_.parameters()).device.type == "cpu"
    assert next(model.network_.parameters()).device.type == "cuda"
    np.testing.assert_allclose(moved.decision_function(X), model.decision_function(X), rtol=1e-3, atol=1e-4)
    assert moved.score(X, y) == pytest.approx(model.score(X, y), abs=0.03)


def test_auto_takes_cuda(tiny, sequences):
    assert next(tiny().fit(sequences).network_.parameters()).device.type == "cuda"


def test_a_model_from_a_gpu_loads_where_there_is_none(tiny, sequences, tmp_path):
    path = tmp_path / "model.pickle"
    model = tiny(device="cuda").fit(sequences)
    path.write_bytes(pickle.dumps(model))
    code = (
        "import pickle, sys, torch\n"
        "assert not torch.cuda.is_available()\n"
        "print(pickle.load(open(sys.argv[1], 'rb')).predict([[1, 2, 3]], k=3).shape)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.strip() == "(1, 3)", found.stderr


def test_regeneration_on_cuda(sequences):
    vectors = np.random.default_rng(0).normal(size=(24, 8))
    data = PatternMiner(window=3, random_state=0).fit_transform(sequences)
    settings = {
        "n_memories": 2, "item_embeddings": vectors, "embedding_dim": 8, "n_layers": 1, "hidden_dim": 12,
        "dropout": 0.0, "max_epochs": 2, "max_length": 6, "deduplicate": False, "random_state": 0,
    }  # fmt: skip
    on_cpu, on_cuda = (DatasetRegenerator(device=device, **settings).fit(data) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(
        [record["loss"] for record in on_cuda.history_], [record["loss"] for record in on_cpu.history_], rtol=1e-3
    )
    # The same network decodes alike on both, but for scores that nearly tie.
    moved = pickle.loads(pickle.dumps(on_cuda))
    assert next(moved.network_.parameters()).device.type == "cpu"
    ours, theirs = (
        {
            (source, memory): tuple(row)
            for row, source, memory in zip(
                result.to_lists(), result.source.tolist(), result.memory.tolist(), strict=True
            )
            if source >= 0
        }
        for result in (on_cuda.transform(data), moved.transform(data))
    )
    same = [ours[place] == theirs.get(place) for place in ours]
    assert np.mean(same) > 0.95


def test_checkpoints_of_a_gpu_are_read_on_the_cpu(tiny, sequences, tmp_path):
    first = tiny(device="cuda", checkpoint_dir=tmp_path).fit(sequences)
    second = tiny(device="cpu", checkpoint_dir=tmp_path).fit(sequences)
    assert len(list(tmp_path.iterdir())) == 1
    assert [r["loss"] for r in first.history_] == [r["loss"] for r in second.history_]
    assert isinstance(second, SASRec)


@pytest.mark.parametrize(
    "model",
    [
        TorchTarget(Recurrent, max_length=10),
        TorchTarget(LeftPadded, padding="left", max_length=10),
        TorchTarget(BothWays, output="last", max_length=10),
        *(
            kind(embedding_dim=8, hidden_dim=8, n_layers=1, max_length=10)
            for kind in (SASRec, GRU4Rec, FMLP, GNN, CL4SRec)
        ),
    ],
)
def test_models_keep_their_promises_on_cuda(model):
    check_target(model.set_params(device="cuda"), n_items=12)


def test_torchs_dropout_repeats_on_cuda_and_leaves_it_alone(sequences):
    torch.cuda.manual_seed(5)
    expected = torch.rand(1, device="cuda")
    torch.cuda.manual_seed(5)
    settings = {"max_epochs": 3, "n_negatives": 5, "random_state": 0, "device": "cuda"}
    first, second = (TorchTarget(Recurrent, **settings).fit(sequences) for _ in range(2))
    assert torch.rand(1, device="cuda") == expected
    losses = [[record["loss"] for record in model.history_] for model in (first, second)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*within the warm-up of:UserWarning")
@pytest.mark.parametrize(
    "model",
    [
        TorchTarget(Recurrent, max_length=10),
        TorchTarget(LeftPadded, padding="left", max_length=10),
        *(
            kind(embedding_dim=8, hidden_dim=8, n_layers=1, max_length=10, dropout=0.1)
            for kind in (SASRec, GRU4Rec, FMLP, GNN, CL4SRec)
        ),
    ],
)
def test_weights_are_learnt_on_cuda(model, sequences):
    data = PatternMiner(window=3, random_state=0).fit_transform(leave_one_out(sequences, validation=True)[0])
    model = model.set_params(loss="bce", device="cuda", max_epochs=3, batch_size=64, random_state=0)
    personalizer = DatasetPersonalizer(model, warmup_epochs=1, update_every=2).fit(data)
    assert personalizer.n_updates_ > 0
    assert personalizer.n_skipped_ == 0
    moved = pickle.loads(pickle.dumps(personalizer))
    assert moved.weighting_.temperature.device.type == "cpu"
    np.testing.assert_allclose(moved.transform(data).weights, personalizer.weights_, rtol=1e-4)
