"""to_onnx: what a file answers, by onnxruntime, against the model."""

from __future__ import annotations

import json
import sys
from functools import cache

import numpy as np
import pytest
import torch
from exporting import require_exporter
from sklearn.exceptions import NotFittedError
from small_modules import BothWays, CountsRows, IsToldOfItsMask, LeftPadded, LooksIntoItsMask, Recurrent
from torch.torch_version import TorchVersion

from seqregen import SequenceDataset
from seqregen.datasets import make_sequences
from seqregen.targets import FMLP, GNN, CL4SRec, GRU4Rec, SASRec, TorchTarget
from seqregen.training.batches import history_batches

CPU = torch.device("cpu")
MAX_LENGTH = 6
SMALL = {"embedding_dim": 8, "hidden_dim": 12, "max_length": MAX_LENGTH, "max_epochs": 2, "random_state": 0}
TORCH = {"max_length": MAX_LENGTH, "max_epochs": 2, "random_state": 0}
MODELS = {
    "SASRec": SASRec(**SMALL),
    "GRU4Rec": GRU4Rec(**SMALL),
    "FMLP": FMLP(**SMALL),
    "GNN": GNN(**SMALL),
    "CL4SRec": CL4SRec(**SMALL),
    "TorchTarget, right": TorchTarget(Recurrent, **TORCH),
    "TorchTarget, left": TorchTarget(LeftPadded, padding="left", **TORCH),
    "TorchTarget, last": TorchTarget(BothWays, output="last", **TORCH),
}
# Each file takes seconds to write; what is left out is covered by the equality of padded and ragged states.
EXPORTED = ["SASRec", "GRU4Rec", "FMLP", "GNN", "CL4SRec", "TorchTarget, left"]


def data() -> SequenceDataset:
    rows = make_sequences(n_sequences=60, n_items=24, random_state=0).to_lists()
    return SequenceDataset.from_sequences([[f"item {label}" for label in row] for row in rows])


@cache
def fitted(name):
    return MODELS[name].fit(data())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("width", [MAX_LENGTH, MAX_LENGTH - 2])
def test_padded_states_are_the_ragged_ones(name, width):
    network = fitted(name).network_
    rows = data()
    with torch.no_grad():
        for batch in history_batches(rows, width, 7, CPU):
            lengths = torch.from_numpy(batch.lengths)
            items = torch.zeros(len(lengths), width, dtype=torch.int64)
            real = torch.arange(width) < lengths[:, None]
            items[real] = batch.items
            for version in (network, network.frozen()):
                last = version.padded_last_states(items, lengths)
                torch.testing.assert_close(last, network.last_states(batch), rtol=1e-4, atol=1e-6)
            if name not in ("FMLP", "TorchTarget, last"):
                torch.testing.assert_close(
                    network.padded_states(items)[real], network.states(batch), rtol=1e-4, atol=1e-6
                )


@pytest.fixture(scope="module")
def session_of(tmp_path_factory):
    """An onnxruntime session of a model's file."""
    runtime = pytest.importorskip("onnxruntime")
    require_exporter()
    directory = tmp_path_factory.mktemp("onnx")

    @cache
    def open_session(name):
        path = directory / f"{name}.onnx"
        fitted(name).to_onnx(path)
        assert [file.name for file in directory.glob(f"*{name}*")] == [path.name]
        return runtime.InferenceSession(path)

    return open_session


def codes_of(rows, model, length, before=0):
    """Rows of labels as padded codes, with ``before`` zeros in front; None becomes 0."""
    place = {label: code for code, label in enumerate(model.vocabulary_.tolist(), start=1)}
    items = np.zeros((len(rows), length), dtype=np.int64)
    for row, labels in enumerate(rows):
        items[row, before : before + len(labels)] = [place.get(label, 0) for label in labels]
    return items


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_the_file_scores_like_the_model(session_of, name):
    model, session = fitted(name), session_of(name)
    rows = [*data().to_lists(), [], data().vocabulary[:20].tolist(), ["item 3"]]
    expected = model.decision_function(rows)
    scale = np.abs(expected[:-3]).max()
    longest = max(map(len, rows))
    for length, before in ((longest, 0), (longest + 9, 9), (longest + 9, 4)):
        (scores,) = session.run(None, {"items": codes_of(rows, model, length, before)})
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5 * scale)
    # One row, one item; rows shorter than max_length.
    (scores,) = session.run(["scores"], {"items": codes_of([["item 3"]], model, 1)})
    np.testing.assert_allclose(scores, expected[-1:], rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.slow
def test_unknown_items_are_skipped_wherever_they_stand(session_of):
    model, session = fitted("SASRec"), session_of("SASRec")
    row = data().to_lists()[0][:4]
    with_unknown = [row[0], "never seen", *row[1:3], "nor this", row[3]]
    (scores,) = session.run(None, {"items": codes_of([with_unknown], model, 8)})
    np.testing.assert_allclose(scores, model.decision_function([row]), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_file_says_what_it_is(session_of):
    session = session_of("SASRec")
    (items,), (scores,) = session.get_inputs(), session.get_outputs()
    assert (items.name, items.type, items.shape) == ("items", "tensor(int64)", ["n_rows", "length"])
    assert (scores.name, scores.type, scores.shape) == ("scores", "tensor(float)", ["n_rows", 24])
    described = session.get_modelmeta().custom_metadata_map
    assert json.loads(described["vocabulary"]) == fitted("SASRec").vocabulary_.tolist()
    assert (described["max_length"], described["model"]) == (str(MAX_LENGTH), "SASRec")
    assert described["seqregen"]


@pytest.mark.slow
def test_an_old_file_survives_an_export_that_fails(tmp_path):
    require_exporter()
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    model = TorchTarget(Recurrent, **TORCH).fit(data())
    model.network_.module.forward = lambda items: torch.zeros((*items.shape, int(items.sum()) % 3))
    with pytest.raises(RuntimeError, match="torch cannot export TorchTarget"):
        model.to_onnx(path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.slow
def test_a_graph_for_one_number_of_rows_is_refused(tmp_path):
    require_exporter()
    model = TorchTarget(CountsRows, **TORCH).fit(data())
    with pytest.raises(ValueError, match=r"for any number of rows: .* here 2, as len\(items\) does. Take items.shape"):
        model.to_onnx(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_module_that_torch_cannot_follow_is_refused_with_advice(tmp_path):
    require_exporter()
    with pytest.raises(RuntimeError, match=r"torch cannot export TorchTarget: .* pass is_causal=True"):
        TorchTarget(LooksIntoItsMask, **TORCH).fit(data()).to_onnx(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    TorchTarget(IsToldOfItsMask, **TORCH).fit(data()).to_onnx(tmp_path / "model.onnx")


@pytest.mark.parametrize("labels", [[("a", 1), ("b", 2), ("c", 3)], [1.5, 2.5, 3.5], [1, 2, 3]])
def test_labels_that_json_cannot_hold_are_refused(labels, tmp_path):
    require_exporter()
    from seqregen.targets.onnx_export import _as_json

    rows = SequenceDataset.from_sequences([labels, labels])
    if isinstance(labels[0], tuple):
        with pytest.raises(ValueError, match=r"must be strings, or numbers of 64 bits; got tuple\. Map your labels"):
            SASRec(**SMALL).fit(rows).to_onnx(tmp_path / "model.onnx")
        assert not list(tmp_path.iterdir())
    else:
        assert json.loads(_as_json(rows.vocabulary)) == labels


def test_labels_that_are_no_unicode_are_refused(tmp_path):
    require_exporter()
    rows = SequenceDataset.from_sequences([["a", "\ud800", "b"], ["\ud800", "a", "b"]])
    with pytest.raises(ValueError, match=r"the item '\\ud800' cannot be written: it is no valid Unicode .*; use other"):
        SASRec(**SMALL).fit(rows).to_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_without_its_packages_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.8.0"))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"needs the package onnx, .* pip install 'seqregen\[onnx\]'"):
        fitted("SASRec").to_onnx(tmp_path / "model.onnx")


def test_an_older_torch_is_refused(monkeypatch, tmp_path):
    # Its files would read batches of one size alone.
    model = fitted("SASRec")
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.7.1+cu126"))
    with pytest.raises(ImportError, match=r"to_onnx needs torch 2\.8 or newer; this is torch 2\.7\.1\+cu126"):
        model.to_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_an_unfitted_model_is_refused(tmp_path):
    with pytest.raises(NotFittedError):
        SASRec().to_onnx(tmp_path / "model.onnx")


def test_a_network_that_has_no_padded_form_says_so():
    from seqregen.targets import NextItemNetwork

    class RaggedAlone(NextItemNetwork):
        def states(self, batch):
            return torch.zeros(len(batch.items), 2)

        def item_table(self):
            return torch.zeros(3, 2)

    with pytest.raises(NotImplementedError, match="RaggedAlone works on ragged rows alone; to export it write padded_"):
        RaggedAlone().padded_last_states(torch.ones(1, 2, dtype=torch.int64), torch.tensor([2]))
