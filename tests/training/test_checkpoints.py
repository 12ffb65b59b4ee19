"""Checkpoints: files that are damaged, and directories that cannot be written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seqregen.targets import NextItemNetwork, SASRec
from seqregen.training import checkpoints
from seqregen.training.checkpoints import CheckpointFile

ROWS = [[1, 2, 3], [2, 3, 1], [3, 1, 2]]


STATE = {"weights": {"a": torch.arange(400.0)}, "history": [{"loss": 0.5}], "best": None}


@pytest.fixture
def file(tmp_path):
    return CheckpointFile(tmp_path, "model", "run")


def test_what_is_saved_is_loaded(file):
    assert file.load() is None
    file.save(STATE)
    found = file.load()
    assert torch.equal(found["weights"]["a"], STATE["weights"]["a"])
    assert (found["history"], found["best"]) == (STATE["history"], None)


def test_one_bit_anywhere_is_noticed(file):
    file.save(STATE)
    content = file.path.read_bytes()
    for place in np.linspace(0, len(content) - 1, 200).astype(int).tolist():
        spoilt = bytearray(content)
        spoilt[place] ^= 1
        file.path.write_bytes(spoilt)
        with pytest.raises(ValueError, match=r"model-run\.pt cannot be read: it is damaged, .* Delete it to start"):
            file.load()


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_truncated_file_is_noticed(file, length):
    file.save(STATE)
    file.path.write_bytes(file.path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"it is damaged, that is truncated"):
        file.load()


def test_a_file_without_a_seal_is_not_used(file):
    torch.save(STATE, file.path)
    with pytest.raises(ValueError, match=r"it is damaged, that is truncated"):
        file.load()


def test_numbers_of_numpy_become_plain_ones(file):
    rates = {"rate": np.float64(0.5), "steps": [np.int64(3), (np.float32(0.25), np.bool_(True))], "name": np.str_("a")}
    file.save(rates)
    assert file.load() == {"rate": 0.5, "steps": [3, (0.25, True)], "name": "a"}


def model_of_ones_own(factor):
    """A recommender as a user writes one, whose code is not the same for another factor."""

    class Network(NextItemNetwork):
        def __init__(self, n_items):
            super().__init__()
            self.items = torch.nn.Embedding(n_items, 4)

        def item_table(self):
            return self.items.weight

        def states(self, batch):
            return factor * self.items(batch.items - 1)

    class Model(SASRec):
        def _make_network(self, data):
            return Network(data.n_items)

    return Model


def test_code_of_ones_own_tells_runs_apart(tmp_path):
    settings = {"max_epochs": 2, "random_state": 0, "checkpoint_dir": tmp_path}
    rows = [[1, 2, 3, 1, 4], [2, 3, 1, 4], [3, 1, 2, 4]]
    model_of_ones_own(1.0)(**settings).fit(rows)
    edited = model_of_ones_own(-3.0)(**settings).fit(rows)
    fresh = model_of_ones_own(-3.0)(**(settings | {"checkpoint_dir": None})).fit(rows)
    assert edited.history_[0]["loss"] == fresh.history_[0]["loss"]
    assert np.array_equal(edited.decision_function(rows), fresh.decision_function(rows))
    assert len(list(tmp_path.glob("*.pt"))) == 2


def test_another_version_of_the_package_begins_anew(tmp_path, monkeypatch):
    model = SASRec(max_epochs=1, random_state=0, checkpoint_dir=tmp_path, embedding_dim=4, n_heads=1, hidden_dim=4)
    model.fit(ROWS)
    model.fit(ROWS)
    assert len(list(tmp_path.glob("*.pt"))) == 1
    monkeypatch.setattr("seqregen.__version__", "99.0")
    model.fit(ROWS)
    assert len(list(tmp_path.glob("*.pt"))) == 2


class TestDirectories:
    def fit(self, path):
        return SASRec(max_epochs=1, checkpoint_dir=path, random_state=0).fit(ROWS)

    @pytest.fixture(autouse=True)
    def nothing_is_trained(self, monkeypatch):
        def trained(*_):
            raise AssertionError("something was trained")

        monkeypatch.setattr(SASRec, "_make_network", trained)

    def test_a_file_is_none(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(NotADirectoryError, match=r"SASRec: checkpoint_dir='.*file' is a file; give a directory"):
            self.fit(tmp_path / "file")

    def test_nor_is_what_lies_in_a_file(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(NotADirectoryError, match=r"SASRec: checkpoint_dir='.*inside' cannot be made: Not a dir"):
            self.fit(tmp_path / "file" / "inside")

    def test_a_directory_that_cannot_be_made(self, tmp_path, monkeypatch):
        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(PermissionError, match=r"SASRec: checkpoint_dir='.*new' cannot be made: Permission denied"):
            self.fit(tmp_path / "new")

    def test_a_directory_that_cannot_be_written(self, tmp_path, monkeypatch):
        def refuse(*_, **__):
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(checkpoints.tempfile, "TemporaryFile", refuse)
        with pytest.raises(OSError, match=r"SASRec: checkpoint_dir='.*' cannot be written: Read-only file system"):
            self.fit(tmp_path)

    @pytest.mark.parametrize("path", [3, ""])
    def test_what_is_no_path(self, path):
        with pytest.raises(TypeError, match=rf"SASRec: checkpoint_dir must be the path .* or None; got {path!r}"):
            self.fit(path)


def test_a_directory_is_made(tmp_path):
    SASRec(max_epochs=1, checkpoint_dir=str(tmp_path / "a" / "b"), random_state=0).fit(ROWS)
    assert len(list((tmp_path / "a" / "b").iterdir())) == 1
