"""RecBole reads our export, makes the same training rows, and measures the same on the same weights."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from seqregen import SequenceDataset
from seqregen.datasets import load_sequences, make_sequences
from seqregen.formats import to_recbole
from seqregen.metrics import ranking_metrics
from seqregen.model_selection import leave_one_out
from seqregen.targets import RecBoleTarget
from seqregen.targets.adapters.padded_histories import PrefixPlaces

pytest.importorskip("recbole")
peer = pytest.importorskip("recbole_peer")
pytestmark = pytest.mark.skipif(not peer.RECBOLE_READS_FILES, reason="RecBole's data sets need numpy 1")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """RecBole's trainer writes logs where it is started."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sequences():
    data = make_sequences(n_sequences=80, n_items=30, random_state=1)
    return data.replace(users=np.array([f"u{row}" for row in range(len(data))]))


def test_recbole_reads_the_export(sequences, tmp_path, monkeypatch):
    weighted = sequences.replace(weights=np.linspace(0.5, 1, sequences.n_interactions, dtype=np.float32))
    path = to_recbole(weighted, tmp_path, "ours")
    _, dataset = peer.open_export(path, 50, monkeypatch, columns=["weight"], benchmark_filename=None)
    assert dataset.inter_num == sequences.n_interactions
    assert dataset.user_num - 1 == len(sequences)
    frame = dataset.inter_feat.sort_values(["user_id", "timestamp"], kind="stable")
    users = dataset.field2id_token["user_id"][frame["user_id"]]
    items = dataset.field2id_token["item_id"][frame["item_id"]]
    for row in range(0, len(sequences), 9):
        mine = users == sequences.users[row]
        assert items[mine].tolist() == [str(label) for label in sequences.to_lists()[row]]
    np.testing.assert_allclose(np.sort(frame["weight"]), np.sort(weighted.weights), rtol=1e-6)


@pytest.mark.parametrize("max_length", [3, 50])
def test_training_rows_are_recboles(sequences, tmp_path, monkeypatch, max_length):
    from recbole.data import data_preparation

    config, dataset = peer.open_export(to_recbole(sequences, tmp_path, "ours"), max_length, monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = data_preparation(config, dataset)[0].dataset.inter_feat
    tokens = dataset.field2id_token["item_id"]
    theirs = sorted(
        ([str(token) for token in tokens[history[:length]]], str(tokens[target]))
        for history, length, target in zip(
            rows["item_id_list"].numpy(), rows["item_length"].numpy(), rows["item_id"].numpy(), strict=True
        )
    )
    # RecBole keeps the last two items of each user back.
    data = leave_one_out(leave_one_out(sequences)[0])[0]
    places = PrefixPlaces.of(data, np.zeros(len(data), dtype=np.int64), max_length)
    batch = places.batch(places.places, torch.device("cpu"))
    label = np.concatenate([[""], data.vocabulary.astype(str)])
    ours = sorted(
        (label[history[:length]].tolist(), str(label[target]))
        for history, length, target in zip(
            batch.items.numpy(), batch.lengths.numpy(), batch.targets.numpy(), strict=True
        )
    )
    assert ours == theirs


def assert_same_metrics(target, X, y, theirs):
    ours = ranking_metrics(target.rank(X, y, exclude_history=False), k=(10, 20))
    print({name: round(value, 6) for name, value in ours.items()})
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-6)


def test_metrics_are_recboles(sequences, tmp_path, monkeypatch):
    X, y = leave_one_out(sequences, validation=True)
    target = RecBoleTarget(max_length=8, batch_size=128, max_epochs=3, random_state=0).fit(X)
    opened = peer.open_export(to_recbole(sequences, tmp_path, "ours"), 8, monkeypatch)
    theirs = peer.metrics_of_recbole(target, *opened)
    assert theirs.keys() == {"recall@10", "recall@20", "ndcg@10", "ndcg@20"}
    assert_same_metrics(target, X, y, theirs)


@pytest.mark.data
@pytest.mark.slow
def test_metrics_are_recboles_on_real_data(real_file, tmp_path, monkeypatch):
    # Every fourth user, and, as RecBole sees it, no item that none of them has.
    sequences = SequenceDataset.from_sequences(load_sequences(real_file("amazon-beauty.txt"))[::4].to_lists())
    X, y = leave_one_out(sequences, validation=True)
    config = {"hidden_size": 32, "n_layers": 1, "inner_size": 64}
    target = RecBoleTarget("SASRec", config, max_length=20, max_epochs=3, learning_rate=0.005, random_state=0).fit(X)
    opened = peer.open_export(to_recbole(sequences, tmp_path, "ours"), 20, monkeypatch, **config)
    assert_same_metrics(target, X, y, peer.metrics_of_recbole(target, *opened))
