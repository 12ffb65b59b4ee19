"""Result files that cannot be used are named, with what to do."""

from __future__ import annotations

import json

import numpy as np
import pytest
from benchmarks import __main__ as benchmarks_main
from benchmarks import report
from benchmarks.result_files import BrokenResult, read_json, read_ranks, read_run
from benchmarks.store import Store

from seqregen.metrics import UNREACHABLE, ndcg_at_k

RANKS = np.array([1, 3, 0, 40])


@pytest.fixture
def path(tmp_path):
    """The record of a run of four users; its ranks lie beside it."""
    record = {
        "dataset": "amazon-beauty", "recipe": "SASRec-bce", "variant": "original", "seed": 0, "settings": {},
        "history": [], "rows": {}, "groups": {"history_length": {"to 4": {"users": 3}, "above 4": {"users": 1}}},
        "test": {"ndcg@20": ndcg_at_k(np.where(RANKS == 0, UNREACHABLE, RANKS), 20)},
    }  # fmt: skip
    path = tmp_path / "amazon-beauty_SASRec-bce_original_0.json"
    path.write_text(json.dumps(record))
    np.savez_compressed(path.with_suffix(".npz"), ranks=RANKS)
    return path


def test_a_whole_run_is_read(path):
    record = read_run(path)
    assert record["recipe"] == "SASRec-bce"
    assert read_ranks(path.with_suffix(".npz"), record).tolist() == [1, 3, UNREACHABLE, 40]


@pytest.mark.parametrize(
    ("contents", "fault"),
    [
        (b'{"recipe": "SA', "is broken: Unterminated string"),
        (b"", "is broken: Expecting value"),
        (b"\xff\xfe", "is broken: 'utf-8' codec"),
        (b"[1]", "is no record of a run but a list"),
        (b'{"recipe": "SASRec-bce"}', "is no whole record of a run: it has no 'dataset'"),
    ],
)
def test_a_broken_record_is_named(path, contents, fault, monkeypatch, capsys):
    path.write_bytes(contents)
    with pytest.raises(BrokenResult, match=f"{path.name} {fault}.* Copy it again from where it was made"):
        read_run(path)
    monkeypatch.setattr(report, "RESULTS", path.parent)
    assert benchmarks_main.main(["report", "--datasets", "amazon-beauty"]) == 2
    assert f"{path.name} {fault}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("test", None, "is no whole record of a run: its 'test' is no dict"),
        ("seed", "0", "is no whole record of a run: its 'seed' is no int"),
        ("seed", 1, "holds another run than its name says, amazon-beauty_SASRec-bce_original_1"),
        ("dataset", "yelp", "holds another run than its name says, yelp_SASRec-bce_original_0"),
    ],
)
def test_the_record_of_another_run_is_named(path, name, value, fault):
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(BrokenResult, match=f"{path.name} {fault}"):
        read_run(path)


def test_other_files_of_results_are_named_too(tmp_path):
    path = tmp_path / "speed-1.json"
    path.write_text("{")
    with pytest.raises(BrokenResult, match=r"speed-1.json is broken: Expecting property name"):
        read_json(path)


def damaged(ranks: np.ndarray, path) -> None:
    """Whole from the outside, another byte within."""
    np.savez_compressed(path, ranks=np.arange(4000))
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 0xFF
    path.write_bytes(contents)


@pytest.mark.parametrize(
    ("write", "fault"),
    [
        (lambda ranks, path: path.unlink(), "is missing"),
        (lambda ranks, path: path.write_bytes(b""), "is broken: No data left in file"),
        (lambda ranks, path: path.write_bytes(path.read_bytes()[:60]), "is broken: File is not a zip file"),
        (damaged, "is broken: "),
        (lambda ranks, path: np.savez(path, other=ranks), "is broken: 'ranks is not a file"),
        (lambda ranks, path: np.savez(path, ranks=np.array(["a"])), "is broken: invalid literal"),
        (lambda ranks, path: np.savez(path, ranks=np.tile(ranks, 2)), r"has ranks of shape \(8,\), where .* 4 users"),
        (lambda ranks, path: np.savez(path, ranks=ranks + 1), "is of another run than the .json: its ndcg@20 is 0."),
    ],
)
def test_broken_ranks_are_named(path, write, fault):
    ranks = path.with_suffix(".npz")
    write(RANKS, ranks)
    with pytest.raises(BrokenResult, match=f"{ranks.name} {fault}"):
        read_ranks(ranks, read_run(path))


def test_so_are_those_of_a_comparison(path):
    other = path.with_name(path.name.replace("original", "mined"))
    other.write_text(path.read_text().replace("original", "mined"))
    with pytest.raises(BrokenResult, match=r"mined_0.npz is missing"):
        Store(path.parent).comparison("amazon-beauty", "SASRec-bce", "mined", "original")
