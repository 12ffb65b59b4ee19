"""The command line, run in this process; one test starts it for real."""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import os
import pickle
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from seqregen import RegeneratedRecommender, SequenceDataset
from seqregen.cli import commands, demo, main, models
from seqregen.cli.console import format_table
from seqregen.cli.options import LOSSES as OFFERED_LOSSES
from seqregen.cli.options import NEGATIVE_SAMPLING as OFFERED_SAMPLING
from seqregen.cli.options import PRECISIONS as OFFERED_PRECISIONS
from seqregen.cli.options import TEACHERS
from seqregen.datasets import make_sequences
from seqregen.formats import read_parquet, read_text, write_text
from seqregen.mining import PatternMiner
from seqregen.model_selection import leave_one_out
from seqregen.nn import PRECISIONS
from seqregen.targets import SASRec
from seqregen.training import LOSSES, NEGATIVE_SAMPLING

COMMANDS = ("demo", "describe", "mine", "regenerate", "teach", "train", "score")
FAST_REGENERATOR = ["--epochs", "1", "--embedding-dim", "8", "--memories", "2", "--threads", "1"]
FAST_MODEL = ["--epochs", "2", "--embedding-dim", "8", "--threads", "1"]


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    path = tmp_path / "ratings.txt"
    write_text(make_sequences(60, 20, random_state=0), path)
    return path


@pytest.fixture
def model(ratings: Path, tmp_path: Path) -> Path:
    """Trained without the last item of each row."""
    path = tmp_path / "model.joblib"
    assert main(["train", str(ratings), "-o", str(path), "--leave-one-out", "--quiet", *FAST_MODEL]) == 0
    return path


def run(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def assert_refused(result: tuple[int, str, str], *words: str) -> None:
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("seqregen: error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


# The parser


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_of_the_command(command: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"examples:\n  seqregen {command}" in shown
    # A per cent sign that is not doubled is filled with the parser's own parameters.
    assert "option_strings" not in shown


def test_help_and_version_of_the_program(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert re.findall(r"^    (\w+)", shown, re.MULTILINE) == list(COMMANDS)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("seqregen 0.")


def test_bad_arguments_are_one_line(capsys: pytest.CaptureFixture, ratings: Path) -> None:
    assert_refused(run(capsys), "COMMAND", "seqregen --help")
    assert_refused(run(capsys, "dance"), "dance")
    assert_refused(run(capsys, "mine", ratings, "--window", "wide"), "--window", "wide", "seqregen mine --help")
    assert_refused(run(capsys, "train", ratings, "-o", "m.joblib", "--loss", "best"), "best", "sampled_softmax")
    assert_refused(run(capsys, "demo", "--seed", "-1"), "--seed", "-1")
    assert_refused(run(capsys, "demo", "--size", "3"), "--size", "3")
    for threads in (0, 10**6, 10**11):
        assert_refused(run(capsys, "demo", "--threads", threads), "--threads must be between 1 and 1024", f"{threads}.")


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_options_point_to_the_help_of_the_command(command: str, capsys: pytest.CaptureFixture) -> None:
    in_and_out = {name: ["x", "-o", "y"] for name in ("regenerate", "teach", "train")}
    given = {**in_and_out, "mine": ["x"], "score": ["x", "y"], "describe": ["x"], "demo": []}[command]
    refused = run(capsys, command, *given, "--speed", 3)
    assert_refused(refused, "unrecognized arguments: --speed 3", f"(see seqregen {command} --help)")


def test_offered_losses_are_those_there_are() -> None:
    assert set(OFFERED_LOSSES) == set(LOSSES)
    assert ("auto", *NEGATIVE_SAMPLING) == OFFERED_SAMPLING
    assert OFFERED_PRECISIONS == PRECISIONS


def test_starts_without_torch_and_as_a_module(tmp_path: Path) -> None:
    check = "import sys; sys.argv = ['seqregen', '--version']; from seqregen.cli import main\ntry: main()\n"
    check += "except SystemExit: print('torch' in sys.modules, 'sklearn' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert result.stdout.endswith("False False\n")
    missing = tmp_path / "missing.txt"
    command = [sys.executable, "-m", "seqregen", "describe", str(missing)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("seqregen: error: ")
    assert str(missing) in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "error", [TypeError, RuntimeError, KeyError, pa.lib.ArrowNotImplementedError, pa.lib.ArrowException]
)
def test_no_error_is_a_traceback(
    error: type[Exception], capsys: pytest.CaptureFixture, ratings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error("not this")

    monkeypatch.setattr(commands, "load_rows", fail)
    assert_refused(run(capsys, "describe", ratings), error.__name__, "not this", "--debug shows where")
    with pytest.raises(error, match="not this"):
        run(capsys, "describe", ratings, "--debug")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "there is not enough memory"),
        (MemoryError("Unable to allocate 3 TiB"), "there is not enough memory: Unable to allocate 3 TiB"),
        (torch.OutOfMemoryError("CUDA out of memory."), "there is not enough memory: CUDA out of memory."),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: 8"),
            "there is not enough memory: can't allocate memory: 8",
        ),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:75] data. DefaultCPUAllocator: not enough memory: you tried"),
            "there is not enough memory: not enough memory: you tried",
        ),
    ],
)
def test_lack_of_memory_is_said_in_plain_words(
    error: Exception, message: str, capsys: pytest.CaptureFixture, ratings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(commands, "load_rows", fail)
    assert run(capsys, "describe", ratings) == (2, "", f"seqregen: error: {message}\n")


# Streams


def start(redirections: str, *arguments: object, **settings: str) -> subprocess.CompletedProcess:
    """Run the command for real, in a shell that redirects its streams."""
    command = ["bash", "-c", f'exec "$0" -m seqregen "$@" {redirections}', sys.executable, *map(str, arguments)]
    environment = os.environ | settings
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no full device")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_stdout_is_named(ratings: Path, unbuffered: str) -> None:
    result = start("> /dev/full", "describe", ratings, "-q", PYTHONUNBUFFERED=unbuffered)
    assert result.returncode == 2
    assert result.stderr == "seqregen: error: cannot write to stdout: No space left on device\n"


def test_streams_may_be_closed(ratings: Path, tmp_path: Path) -> None:
    found, missing = tmp_path / "patterns.txt", tmp_path / "missing.txt"
    shown = start("2>&-", "describe", ratings)
    assert shown.returncode == 0
    assert shown.stdout.startswith("rows")
    assert start(">&-", "describe", missing).returncode == 2
    assert start("<&- >&- 2>&-", "mine", ratings, "-o", found).returncode == 0
    assert len(found.read_text().split("\n")[0].split()) > 2
    assert start(">&- 2>&-", "describe", missing).returncode == 2


def test_tables_escape_what_the_encoding_of_stdout_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("1 gr\u00fcn \u0142ez\n2 gr\u00fcn \u0142ez\n", encoding="utf-8")
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(["mine", str(rows), "-q"]) == 0
    assert b"gr\xfcn > \\u0142ez" in stdout.buffer.getvalue()


def test_predictions_are_not_escaped(
    capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, model, output = tmp_path / "rows.txt", tmp_path / "model.joblib", tmp_path / "next.txt"
    rows.write_text("1 a b \u0142ez\n2 a b \u0142ez\n", encoding="utf-8")
    assert run(capsys, "train", rows, "-o", model, "-q", *FAST_MODEL)[0] == 0
    predict = ["score", str(model), str(rows), "-q", "--keep-history", "--predict", "3"]
    assert "\u0142ez" in run(capsys, *predict)[1]
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stdout)
        assert main(predict) == 2
        assert stdout.buffer.getvalue() == b""
        assert main([*predict, "-o", str(output)]) == 0
    assert "cannot be printed in cp1252, the encoding of stdout; write -o FILE" in capsys.readouterr().err
    assert "\u0142ez" in output.read_text(encoding="utf-8")


def test_help_says_where_negatives_come_from(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "default auto: by popularity for sampled_softmax, else uniform;" in shown
    assert SASRec(loss="sampled_softmax")._negative_sampling() == "popularity"
    assert SASRec(loss="gbce")._negative_sampling() == "uniform"
    assert "256 for gbce, else 1; not used by ce and in_batch)" in shown


# describe


def test_describe(capsys: pytest.CaptureFixture, ratings: Path) -> None:
    code, out, err = run(capsys, "describe", ratings)
    values = {line[:14].strip(): line[14:].strip() for line in out.splitlines()}
    rows = make_sequences(60, 20, random_state=0)
    assert code == 0
    assert values["users"] == "60"
    assert values["interactions"] == f"{rows.n_interactions:,}"
    assert values["longest row"] == str(rows.lengths.max())
    assert str(ratings) in err
    assert run(capsys, "describe", ratings, "--quiet")[1:] == (out, "")


def test_bad_files(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert_refused(run(capsys, "describe", tmp_path / "none.txt", "-q"), "none.txt")
    assert_refused(run(capsys, "describe", tmp_path, "-q"), "directory")
    assert_refused(run(capsys, "describe", "", "-q"), "there is no file ''", "the name is empty")
    os.mkfifo(tmp_path / "pipe.parquet")
    assert_refused(run(capsys, "describe", tmp_path / "pipe.parquet", "-q"), "pipe.parquet", "it is a pipe")
    for name, content, words in (
        ("empty.txt", b"", ("empty.txt",)),
        ("blank.txt", b"1 2 3\n\n2 3\n", ("line 2",)),
        ("users.txt", b"1\n2\n", ("not one item",)),
        ("bytes.txt", b"1 2\n2 \xff\n", ("line 2",)),
        ("broken.parquet", b"PAR1 and no more", ("broken.parquet",)),
        ("ratings.csv", b"user,item\n1,2\n", ("to_parquet",)),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert_refused(run(capsys, "describe", path, "-q"), *words)


def test_columns_of_a_file_of_others(capsys: pytest.CaptureFixture, tmp_path: Path, ratings: Path) -> None:
    path = tmp_path / "long.parquet"
    pq.write_table(pa.table({"who": [1, 1, 2], "what": ["a", "b", "a"], "when": [2, 1, 0]}), path)
    refused = run(capsys, "describe", path, "-q")
    assert_refused(refused, "long.parquet' is a frame with the columns 'who'", "--user, --item and --time")
    assert "seqregen." not in refused[2]
    named = ["--user", "who", "--item", "what", "--time", "when"]
    code, out, _ = run(capsys, "mine", path, *named, "--min-support", 1, "--window", 2)
    assert code == 0
    assert "b > a" in out
    assert_refused(run(capsys, "describe", path, "-q", "--user", "who"), "no column 'item'", "'when'")
    assert_refused(run(capsys, "describe", ratings, "-q", "--user", "who"), "--user", "read as text")


def test_files_are_looked_for_with_named_columns_too(
    capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQREGEN_DATA", str(tmp_path))
    path = tmp_path / "long.parquet"
    pq.write_table(pa.table({"who": [1, 1, 2], "what": ["a", "b", "a"]}), path)
    code, _, err = run(capsys, "describe", "long.parquet", "--user", "who", "--item", "what")
    assert code == 0
    assert f"read {path}: " in err


def test_a_missing_value_is_placed_in_the_file(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    path = tmp_path / "nan.parquet"
    pq.write_table(pa.table({"user": [1, 1], "item": ["a", None]}), path)
    assert_refused(run(capsys, "describe", path, "-q"), "nan.parquet' cannot be read at row 1", "column 'item'")


def test_debug_shows_the_error_itself(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        main(["describe", str(tmp_path / "none.txt"), "--debug"])


# mine


def test_mine_writes_all_formats(capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path) -> None:
    miner = PatternMiner(window=4, min_support=3).fit(make_sequences(60, 20, random_state=0))
    expected = list(zip(miner.patterns_.to_lists(), miner.support_.tolist(), strict=True))
    for suffix in ("parquet", "csv", "tsv", "txt"):
        path = tmp_path / f"patterns.{suffix}"
        code, out, _ = run(capsys, "mine", ratings, "-o", path, "--window", 4, "--min-support", 3)
        assert code == 0
        assert f"{len(expected):,} patterns in 60 sequences" in out
        assert read_patterns(path) == expected


def read_patterns(path: Path) -> list[tuple[list[int], int]]:
    if path.suffix == ".parquet":
        table = pq.read_table(path).to_pydict()
        assert table["length"] == list(map(len, table["pattern"]))
        return list(zip(table["pattern"], table["support"], strict=True))
    if path.suffix == ".txt":
        lines = [list(map(int, line.split())) for line in path.read_text().splitlines()]
        return [(line[1:], line[0]) for line in lines]
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
    return [(list(map(int, row["pattern"].split())), int(row["support"])) for row in rows]


def test_mine_holds_test_items_out(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    path, found = tmp_path / "rows.txt", tmp_path / "patterns.txt"
    path.write_text("a 1 2 8 9\nb 1 2 8 9\nc\n")
    assert run(capsys, "mine", path, "-o", found, "--hold-out", "none")[0] == 0
    assert "2 8 9" in found.read_text()
    _, _, err = run(capsys, "mine", path, "-o", found, "--hold-out", "validation-and-test")
    assert found.read_text() == "2 1 2\n"
    assert "warning: 1 of 3 rows left out" in err


def test_no_pattern_is_a_warning_of_one_line(capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path) -> None:
    path = tmp_path / "patterns.parquet"
    code, out, err = run(capsys, "mine", ratings, "--min-support", 1000, "-o", path, "-q")
    assert code == 0
    assert out.startswith("0 patterns")
    assert err.startswith("seqregen: warning: no pattern")
    assert err.count("\n") == 1
    assert pq.read_table(path).num_rows == 0


def test_bad_outputs_are_refused_before_any_work(capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.txt"
    for output, word in (
        (tmp_path / "patterns.xlsx", ".parquet"),
        (tmp_path / "nowhere" / "patterns.csv", "nowhere"),
    ):
        assert_refused(run(capsys, "mine", missing, "-o", output), word)
    (tmp_path / "folder.csv").mkdir()
    assert_refused(run(capsys, "mine", missing, "-o", tmp_path / "folder.csv"), "directory")
    os.mkfifo(tmp_path / "pipe.csv")
    assert_refused(run(capsys, "mine", missing, "-o", tmp_path / "pipe.csv"), "pipe.csv", "named pipe")
    content = ratings.read_bytes()
    assert_refused(run(capsys, "regenerate", ratings, "-o", ratings), "input")
    assert_refused(run(capsys, "regenerate", ratings, "-o", tmp_path / "rows.csv"), ".parquet")
    assert_refused(run(capsys, "teach", missing, "-o", tmp_path / "rows.txt"), ".parquet")
    assert_refused(run(capsys, "train", ratings, "-o", tmp_path / "model.pt"), ".joblib")
    assert ratings.read_bytes() == content


def test_an_input_that_was_looked_for_is_not_written_over(
    capsys: pytest.CaptureFixture, ratings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, home = ratings.read_bytes(), ratings.parent
    monkeypatch.setenv("HOME", str(home))
    for name in ("~/ratings.txt", "ratings.txt"):
        for arguments in (["mine"], ["regenerate", *FAST_REGENERATOR]):
            assert_refused(run(capsys, *arguments, name, "-o", ratings), "is the input file, which would be lost")
        monkeypatch.setenv("SEQREGEN_DATA", str(home))
    assert ratings.read_bytes() == content


def test_a_read_only_output_is_refused_by_name(
    capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "model.joblib"
    output.write_text("old")
    output.chmod(0o444)
    # To root, under whom tests may run, nothing is read-only.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    refused = run(capsys, "train", tmp_path / "missing.txt", "-o", output)
    assert_refused(refused, f"cannot write {str(output)!r}", "make it writable, or give another name")
    assert os.listdir(tmp_path) == ["model.joblib"]


def test_items_with_spaces_are_refused_in_csv(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    rows, output = tmp_path / "rows.parquet", tmp_path / "patterns.csv"
    SequenceDataset.from_sequences([["green tea", "milk"]] * 2).to_parquet(rows)
    output.write_text("old")
    assert_refused(run(capsys, "mine", rows, "-o", output, "-q"), "'green tea'", ".parquet")
    assert output.read_text() == "old"


def test_bad_parameters_name_the_parameter(capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    assert_refused(run(capsys, "mine", ratings, "--window", 1, "-q"), "window")
    refused = run(capsys, "regenerate", tmp_path / "missing.txt", "-o", output, "--generative-rate", 2)
    assert_refused(refused, "generative_rate")
    refused = run(capsys, "regenerate", tmp_path / "missing.txt", "-o", output, "--highest-rank", 0)
    assert_refused(refused, "highest_rank")
    refused = run(capsys, "regenerate", ratings, "-o", output, "--highest-rank", 5, "--include", "mined")
    assert_refused(refused, "original")
    assert_refused(run(capsys, "teach", tmp_path / "missing.txt", "-o", output, "--weight", -1), "weight")
    model = tmp_path / "m.joblib"
    assert_refused(run(capsys, "train", tmp_path / "missing.txt", "-o", model, "--heads", 3), "n_heads=3")
    assert_refused(run(capsys, "train", ratings, "-o", model, "--device", "quantum"), "quantum")
    assert_refused(run(capsys, "train", ratings, "-o", model, "--device", "meta"), "device='meta' is not supported")
    assert_refused(run(capsys, "train", ratings, "-o", model, "--window", 3), "--regenerate")
    assert not output.exists()
    assert not model.exists()


# Labels that an output cannot hold


def write_interactions(path: Path, item: object, user: object = "u", **columns: object) -> Path:
    """Two users with the same three items."""
    items = pa.array([item, item, item] * 2)
    users = pa.array([user] * 3 + ["v" if isinstance(user, str) else user] * 3)
    table = pa.table({"user": users, "item": items, **{name: pa.array([value] * 6) for name, value in columns.items()}})
    pq.write_table(table, path)
    return path


def refuse_to_work(*_: object, **__: object) -> None:
    raise AssertionError("work was done for an output that cannot be written")


@pytest.mark.parametrize(
    ("columns", "output", "words"),
    [
        ({"item": "item 0"}, "rows.txt", ("'item 0'", "Parquet")),
        ({"item": "a|0"}, "rows.txt", ("'a|0'", "Parquet")),
    ],
)
def test_regenerate_refuses_labels_before_any_work(
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    columns: dict,
    output: str,
    words: tuple[str, ...],
) -> None:
    monkeypatch.setattr(PatternMiner, "fit_transform", refuse_to_work)
    path = write_interactions(tmp_path / "long.parquet", **columns)
    assert_refused(run(capsys, "regenerate", path, "-o", tmp_path / output, "-q"), *words)
    assert [file.name for file in tmp_path.iterdir()] == ["long.parquet"]


@pytest.mark.parametrize(
    "columns",
    [
        {"item": datetime.date(2020, 1, 1)},
        {"item": Decimal("1.5")},
        {"item": "a", "user": b"u"},
        {"item": "a", "domain": b"d"},
    ],
)
def test_labels_of_any_kind_come_through(capsys: pytest.CaptureFixture, tmp_path: Path, columns: dict) -> None:
    path, output = write_interactions(tmp_path / "long.parquet", **columns), tmp_path / "rows.parquet"
    assert run(capsys, "regenerate", path, "-o", output, "-q", *FAST_REGENERATOR)[0] == 0
    rows, written = read_parquet(path), read_parquet(output)
    assert written.originals().to_lists() == rows.to_lists()
    assert written.users[: len(rows)].tolist() == rows.users.tolist()
    if "domain" in columns:
        assert set(written.originals().domains.tolist()) == {b"d"}


def test_users_that_are_not_written_may_be_anything(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    path, text = write_interactions(tmp_path / "long.parquet", "a", user="Ann Lee"), tmp_path / "rows.txt"
    assert run(capsys, "regenerate", path, "-o", text, "-q", *FAST_REGENERATOR)[0] == 0
    assert text.read_text().splitlines()[:2] == ["1 a a a", "2 a a a"]


def test_mine_refuses_items_before_any_work(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(PatternMiner, "fit", refuse_to_work)
    for item in ("green tea", ""):
        path = write_interactions(tmp_path / "long.parquet", item)
        for name in ("patterns.csv", "patterns.tsv", "patterns.txt"):
            assert_refused(run(capsys, "mine", path, "-o", tmp_path / name, "-q"), repr(item), ".parquet")


def test_mine_refuses_items_that_parquet_cannot_hold_before_any_work(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    labels = np.array([object(), object()])
    rows = SequenceDataset(np.array([1, 2, 1, 2]), np.array([0, 2, 4]), labels)
    monkeypatch.setattr(PatternMiner, "fit", refuse_to_work)
    monkeypatch.setattr(commands, "load_rows", lambda *_: rows)
    refused = run(capsys, "mine", "rows.parquet", "-o", tmp_path / "patterns.parquet")
    assert_refused(refused, "items", "cannot be written to Parquet")


def test_mine_writes_items_that_arrow_has_no_type_for(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    rows, output = tmp_path / "rows.parquet", tmp_path / "patterns.parquet"
    for labels, texts in (([(1, 2), (3, 4)], ['{"tuple": [1, 2]}', '{"tuple": [3, 4]}']), ([7, 2**70], None)):
        SequenceDataset.from_sequences([labels] * 2).to_parquet(rows)
        assert run(capsys, "mine", rows, "-o", output, "-q")[0] == 0
        assert pq.read_table(output).to_pydict()["pattern"] == [texts or list(map(str, labels))]


def test_score_refuses_labels_before_any_work(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(RegeneratedRecommender, "predict", refuse_to_work)
    model, tea = tmp_path / "model.joblib", write_interactions(tmp_path / "tea.parquet", "green tea")
    assert run(capsys, "train", tea, "-o", model, "-q", *FAST_MODEL)[0] == 0
    predict = ["score", model, tea, "-q", "--predict", 1]
    assert_refused(run(capsys, *predict, "-o", tmp_path / "next.txt"), "'green tea'", "Parquet")
    assert_refused(run(capsys, *predict), "'green tea'", "Parquet")


def test_predictions_of_labels_of_any_kind(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    day, model, output = datetime.date(2020, 1, 1), tmp_path / "model.joblib", tmp_path / "next.parquet"
    dates = write_interactions(tmp_path / "dates.parquet", day, user=b"ann")
    assert run(capsys, "train", dates, "-o", model, "-q", *FAST_MODEL)[0] == 0
    assert run(capsys, "score", model, dates, "-q", "--predict", 1, "--keep-history", "-o", output)[0] == 0
    assert read_parquet(output).to_lists() == [[day]]


# regenerate


def test_regenerate_keeps_the_rows_and_repeats(capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "first.parquet", tmp_path / "second.parquet"]
    for path in paths:
        code, out, _ = run(capsys, "regenerate", ratings, "-o", path, "--seed", 3, *FAST_REGENERATOR)
        assert code == 0
        assert "decodes               120" in out
    first, second = map(SequenceDataset.read_parquet, paths)
    assert first == second
    assert first.originals().to_lists() == make_sequences(60, 20, random_state=0).to_lists()
    assert first.describe().mined > 0
    assert first.validation is None


def test_regenerate_holds_out_and_includes(capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path) -> None:
    path, text = tmp_path / "rows.parquet", tmp_path / "rows.txt"
    held_out = ["--hold-out", "validation-and-test"]
    assert run(capsys, "regenerate", ratings, "-o", path, *held_out, *FAST_REGENERATOR)[0] == 0
    X, _ = leave_one_out(make_sequences(60, 20, random_state=0), validation=True)
    rows = SequenceDataset.read_parquet(path).originals()
    assert rows.to_lists() == X.to_lists()
    np.testing.assert_array_equal(rows.validation, X.validation)
    included = ["--include", "original", "mined"]
    code, _, err = run(capsys, "regenerate", ratings, "-o", text, *held_out, *included, *FAST_REGENERATOR)
    assert code == 0
    lost = "origins, pairs, users and validation items"
    assert f"warning: text keeps the rows alone, not their {lost}; write .parquet" in err
    assert len(text.read_text().splitlines()) > 60


def test_items_that_are_held_out_of_rows_left_away_are_not_kept(
    capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path
) -> None:
    path = tmp_path / "rows.parquet"
    added = ["--hold-out", "validation", "--include", "mined", "regenerated"]
    code, out, err = run(capsys, "regenerate", ratings, "-o", path, *added, *FAST_REGENERATOR)
    assert code == 0
    assert "warning: held-out items are not kept: they stand beside original rows" in err
    assert "held out" not in out
    assert SequenceDataset.read_parquet(path).validation is None
    _, _, err = run(capsys, "train", path, "-o", tmp_path / "model.joblib", *FAST_MODEL)
    assert "holds no validation items: training stops on a plateau" in err
    assert "leave_one_out" not in err


def test_text_of_added_rows_alone_loses_their_origins(
    capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path
) -> None:
    included = ["--include", "regenerated", *FAST_REGENERATOR]
    code, _, err = run(capsys, "regenerate", ratings, "-o", tmp_path / "new.txt", *included)
    assert code == 0
    assert "warning: text keeps the rows alone, not their origins; write .parquet" in err


def test_users_that_text_cannot_hold_end_no_work(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    rows, text = tmp_path / "rows.parquet", tmp_path / "rows.txt"
    # No two rows share a pair, so that none is added, and each still has its user.
    data = SequenceDataset.from_sequences([[1, 2], [3, 4]])
    data.replace(users=np.array(["u 1", "u 2"], dtype=object)).to_parquet(rows)
    code, _, err = run(capsys, "regenerate", rows, "-o", text, *FAST_REGENERATOR)
    assert code == 0
    assert "warning: text keeps the rows alone, not their users; write .parquet" in err
    assert text.read_text().splitlines() == ["1 1 2", "2 3 4"]


def test_text_says_what_it_loses_of_what_there_is(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    rows, text = tmp_path / "rows.parquet", tmp_path / "rows.txt"
    plain = SequenceDataset.from_sequences([[1, 2, 3]] * 3)
    ones = np.ones(plain.n_interactions)
    for columns, output, lost in (
        ({}, ["--include", "original"], "pairs;"),
        ({"timestamps": ones}, ["--include", "original"], "pairs;"),
        ({"timestamps": ones}, [], "origins, source rows, pairs and times;"),
        ({"domains": ones.astype(int), "weights": ones}, [], "origins, source rows, pairs, domains and weights;"),
    ):
        plain.replace(**columns).to_parquet(rows)
        code, _, err = run(capsys, "regenerate", rows, "-o", text, *output, *FAST_REGENERATOR)
        assert code == 0
        assert f"warning: text keeps the rows alone, not their {lost}" in err


def test_regenerate_leaves_unexpected_rows_away(capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path) -> None:
    counts = []
    for name, filtered in (("all", []), ("some", ["--highest-rank", 2])):
        path = tmp_path / f"{name}.parquet"
        code, _, err = run(capsys, "regenerate", ratings, "-o", path, *filtered, *FAST_REGENERATOR)
        assert code == 0
        counts.append(len(SequenceDataset.read_parquet(path)))
    assert 60 <= counts[1] < counts[0]
    assert f"{counts[0] - counts[1]:,} rows left away" in err


def test_reference_is_handed_on(monkeypatch: pytest.MonkeyPatch, ratings: Path, tmp_path: Path) -> None:
    made = []
    make = commands._make_regenerator
    monkeypatch.setattr(commands, "_make_regenerator", lambda *given: made.append(make(*given)) or made[-1])
    output = str(tmp_path / "out.parquet")
    assert main(["regenerate", str(ratings), "-o", output, "--reference", "-q", *FAST_REGENERATOR]) == 0
    assert made[0].generative_rate == 1.0
    assert made[0].gate_balance_weight == 0.0
    assert (made[0].n_memories, made[0].max_epochs, made[0].random_state) == (2, 1, 0)


# teach


@pytest.mark.parametrize("teacher", TEACHERS)
def test_teach_continues_the_rows(capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path, teacher: str) -> None:
    path, model = tmp_path / "taught.parquet", tmp_path / "model.joblib"
    options = ["--teacher", teacher, "--items", 2, "--copies", 2, "--weight", 0.5, "--threads", 1]
    code, out, _ = run(capsys, "teach", ratings, "-o", path, "--hold-out", "validation-and-test", *options)
    assert code == 0
    assert "120 regenerated" in out
    X, _ = leave_one_out(make_sequences(60, 20, random_state=0), validation=True)
    taught = SequenceDataset.read_parquet(path)
    assert taught.originals().to_lists() == X.to_lists()
    np.testing.assert_array_equal(taught.originals().validation, X.validation)
    added = taught[60:]
    assert [row[:-2] for row in added.to_lists()] == X.to_lists() * 2
    assert set(added.weights.tolist()) == {0.0, 0.5}
    assert added.weights.sum() == 120 * 2 * 0.5
    assert run(capsys, "train", path, "-o", model, *FAST_MODEL)[0] == 0


# train and score


def test_score_of_held_out_items(capsys: pytest.CaptureFixture, ratings: Path, model: Path) -> None:
    code, out, err = run(capsys, "score", model, ratings, "-k", 5, 10)
    assert code == 0
    assert "Held out" in out
    assert "left out" in out
    assert "warning" not in err
    X, y = leave_one_out(make_sequences(60, 20, random_state=0))
    ranks = joblib.load(model).rank(X, y)
    values = out.splitlines()[2].split()
    assert out.splitlines()[0].split() == ["Recall@5", "NDCG@5", "Recall@10", "NDCG@10"]
    assert values[0] == f"{np.mean(ranks <= 5):.4f}"
    _, kept, _ = run(capsys, "score", model, ratings, "--keep-history", "-q")
    assert "compete as well" in kept
    code, _, err = run(capsys, "score", model, ratings, "-k", 5, 21)
    assert (code, "-k 21 is larger than the vocabulary of the model, which has 20 items." in err) == (2, True)


@pytest.mark.parametrize(("n_items", "shown"), [(12, ["Recall@10", "NDCG@10"]), (5, ["Recall@5", "NDCG@5"])])
def test_score_of_few_items(capsys: pytest.CaptureFixture, tmp_path: Path, n_items: int, shown: list[str]) -> None:
    events, path = tmp_path / "events.txt", tmp_path / "model.joblib"
    write_text(SequenceDataset.from_sequences([[(u + i) % n_items + 1 for i in range(4)] for u in range(20)]), events)
    assert run(capsys, "train", events, "-o", path, *FAST_MODEL)[0] == 0
    _, out, _ = run(capsys, "score", path, events, "-q")
    assert out.splitlines()[0].split() == shown


def test_score_warns_of_what_was_trained_on(capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path) -> None:
    path, other = tmp_path / "model.pkl", tmp_path / "other.txt"
    _, _, err = run(capsys, "train", ratings, "-o", path, *FAST_MODEL)
    assert "would flatter" in err
    _, _, err = run(capsys, "score", path, ratings, "-q")
    assert "warning: the model was trained on the very items" in err
    write_text(make_sequences(60, 20, random_state=1), other)
    _, _, err = run(capsys, "score", path, other, "-q")
    assert "warning: these histories are not just the rows that the model was trained on" in err


def test_an_item_of_the_targets_alone_does_not_hide_what_was_trained_on(
    capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path
) -> None:
    path, whole = tmp_path / "model.pkl", tmp_path / "whole.txt"
    rows = make_sequences(60, 20, random_state=0).to_lists()
    rows[0] = [*rows[0], 999]
    write_text(SequenceDataset.from_sequences([row[:-1] for row in rows]), ratings)
    write_text(SequenceDataset.from_sequences(rows), whole)
    assert run(capsys, "train", ratings, "-o", path, *FAST_MODEL)[0] == 0
    _, out, _ = run(capsys, "score", path, whole, "-q")
    assert "1 unknown targets" in out
    assert "Held out: the model was trained on these histories without the ranked items." in out


def test_train_with_regeneration_and_of_a_regenerated_file(
    capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path
) -> None:
    path, rows = tmp_path / "model.joblib", tmp_path / "rows.parquet"
    settings = {"epochs": 1, "embedding-dim": 8, "memories": 2}
    fast = [f"--regenerator-{name}={value}" for name, value in settings.items()] + FAST_MODEL
    code, out, _ = run(capsys, "train", ratings, "-o", path, "--regenerate", "--leave-one-out", *fast)
    assert code == 0
    assert "validation NDCG@20" in out
    assert "decodes               120" in out
    assert "Held out" in run(capsys, "score", path, ratings)[1]
    run(capsys, "regenerate", ratings, "-o", rows, "--hold-out", "validation-and-test", *FAST_REGENERATOR)
    assert run(capsys, "train", rows, "-o", path, *FAST_MODEL)[0] == 0
    assert "Held out" in run(capsys, "score", path, ratings)[1]
    assert_refused(run(capsys, "train", rows, "-o", path, "--regenerate", "-q"), "raw histories")
    assert_refused(run(capsys, "train", rows, "-o", path, "--leave-one-out", "-q"), "raw histories")
    assert_refused(run(capsys, "score", path, rows, "-q"), "row 60 is mined")


def test_train_without_validation_items_says_what_to_type(
    capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.parquet"
    PatternMiner().fit_transform(make_sequences(60, 20, random_state=0)).to_parquet(rows)
    code, _, err = run(capsys, "train", rows, "-o", tmp_path / "model.joblib", "-q", *FAST_MODEL)
    assert code == 0
    assert err.count("\n") == 1
    assert "rows.parquet' holds no validation items" in err
    assert "--hold-out validation" in err


def test_predictions(capsys: pytest.CaptureFixture, ratings: Path, model: Path, tmp_path: Path) -> None:
    expected = joblib.load(model).predict(make_sequences(60, 20, random_state=0), k=3).tolist()
    code, out, _ = run(capsys, "score", model, ratings, "--predict", 3)
    assert code == 0
    assert [list(map(int, line.split()))[1:] for line in out.splitlines()] == expected
    for suffix in ("txt", "parquet"):
        path = tmp_path / f"next.{suffix}"
        assert run(capsys, "score", model, ratings, "--predict", 3, "-o", path)[0] == 0
        read = SequenceDataset.read_parquet(path).to_lists() if suffix == "parquet" else None
        assert (read or [list(map(int, line.split()))[1:] for line in path.read_text().splitlines()]) == expected
    assert_refused(run(capsys, "score", model, ratings, "-o", tmp_path / "x.txt"), "--predict")
    assert_refused(run(capsys, "score", model, ratings, "--predict", 3, "-k", 5), "-k", "--predict")
    assert_refused(run(capsys, "score", model, ratings, "--predict", 21, "-q"), "20")
    assert_refused(run(capsys, "score", model, ratings, "-k", 21, "-q"), "-k 21")


def test_bad_models(capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path, model: Path) -> None:
    assert_refused(run(capsys, "score", tmp_path / "none.joblib", ratings), "none.joblib")
    broken = tmp_path / "broken.joblib"
    broken.write_bytes(model.read_bytes()[:200])
    assert_refused(run(capsys, "score", broken, ratings), "broken.joblib' is damaged: truncated")
    broken.write_bytes(pickle.dumps([1, 2]))
    assert_refused(run(capsys, "score", broken, ratings), "list")
    broken.write_bytes(pickle.dumps(SASRec()).replace(b"SASRec", b"NoSuch"))
    assert_refused(run(capsys, "score", broken, ratings), "another version of seqregen wrote it")
    broken.write_text("1 2 3\n")
    assert_refused(run(capsys, "score", broken, ratings), "it is no model file")


def test_a_changed_model_file_is_refused_unread(
    capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = model.read_bytes()
    changed = tmp_path / "changed.joblib"
    monkeypatch.setattr(joblib, "load", refuse_to_work)
    for place in (0, len(content) // 2, len(content) - 80, len(content) - 2):
        flipped = bytearray(content)
        flipped[place] ^= 1
        changed.write_bytes(flipped)
        assert_refused(run(capsys, "score", changed, ratings), "changed.joblib' is damaged")
    changed.write_bytes(content[:-10])
    assert_refused(run(capsys, "score", changed, ratings), "changed.joblib' is damaged: truncated")


def test_a_model_of_another_version_is_told(
    capsys: pytest.CaptureFixture, ratings: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, other = joblib.load(model), tmp_path / "other.joblib"
    with monkeypatch.context() as patched:
        patched.setattr(models, "__version__", "0.0.7")
        models.save_model(fitted, str(other))
    scores = run(capsys, "score", model, ratings, "-q")[:2]
    code, out, err = run(capsys, "score", other, ratings, "-q")
    assert (code, out) == scores
    assert err.startswith("seqregen: warning: the model file")
    assert "was written by seqregen 0.0.7, and this is seqregen 0." in err
    with monkeypatch.context() as patched:
        patched.delattr("seqregen.targets.sasrec.SASRec")
        assert_refused(run(capsys, "score", other, ratings, "-q"), "seqregen 0.0.7 wrote it, and this is 0.")
    joblib.dump(fitted, other)
    code, out, err = run(capsys, "score", other, ratings, "-q")
    assert (code, out) == scores
    assert err.startswith("seqregen: warning: the model file")
    assert "has no checksum" in err
    del fitted.recommender_.max_length
    joblib.dump(fitted, other)
    assert_refused(run(capsys, "score", other, ratings, "-q"), "written by another version of seqregen", "max_length")
    read_again = hashlib.sha256(model.read_bytes()[:-65]).hexdigest()
    assert model.read_bytes().endswith(f"{read_again}\n".encode())


def test_what_fails_leaves_the_old_file(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, ratings: Path, model: Path
) -> None:
    before, others = model.read_bytes(), sorted(model.parent.iterdir())
    arguments = ["train", ratings, "-o", model, "-q", *FAST_MODEL]

    def fill_the_disk(_: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(joblib, "dump", fill_the_disk)
    assert_refused(run(capsys, *arguments), "No space left")

    def press_control_c(_: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(joblib, "dump", press_control_c)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (130, "")
    assert err.startswith("seqregen: interrupted: ")
    assert model.read_bytes() == before
    assert sorted(model.parent.iterdir()) == others


# demo


def test_demo_shows_the_table_and_repeats(capsys: pytest.CaptureFixture) -> None:
    code, out, err = run(capsys, "demo", "--size", 60, "--seed", 1)
    assert code == 0
    assert "original = the sequences; mined = " in out
    table = [line for line in out.splitlines() if line.startswith("original")][:3]
    assert [line.split("  ")[0] for line in table] == [
        "original",
        "original + mined",
        "original + mined + regenerated",
    ]
    values = np.array([line.split()[-4:] for line in table], dtype=float)
    assert ((values >= 0) & (values <= 1)).all()
    assert "against original + mined " in out
    assert "train the regenerator" in out
    assert "SASRec epoch" in err
    again = run(capsys, "demo", "--size", 60, "--seed", 1, "-q")
    before_times = out.index("stage ")
    assert again[1][:before_times] == out[:before_times]
    assert again[2] == ""


def test_demo_says_that_no_row_was_regenerated(capsys: pytest.CaptureFixture) -> None:
    names = ("original", "original + mined", "original + mined + regenerated")
    results = demo._Results(
        rows=dict(zip(names, (10, 20, 20), strict=True)),
        ranks=dict.fromkeys(names, np.arange(1, 11)),
        epochs=dict.fromkeys(names, 3),
    )
    remark = "the last two lines are of the same training set. A larger --size"
    demo._print_results(results, demo.Console(quiet=True), seed=0)
    assert remark in capsys.readouterr().out
    results.rows[names[2]] = 21
    demo._print_results(results, demo.Console(quiet=True), seed=0)
    assert remark not in capsys.readouterr().out


def test_format_table() -> None:
    assert format_table(("name", "n"), [("a", 10), ("bcdef", 2)]) == ("name    n\n-----  --\na      10\nbcdef   2")


# Labels and outputs that do not go together


@pytest.mark.parametrize("users", [["{00}", "{01}"], ["last,first0", "last,first1"], ["[u0]", "[u1]"]])
@pytest.mark.parametrize("output", [None, "next.txt", "next.parquet"])
def test_predictions_for_users_of_any_name(model, tmp_path, capsys, users, output):
    rows = SequenceDataset.from_sequences([[1, 2, 3], [2, 3, 1]]).replace(users=users)
    rows.to_parquet(tmp_path / "rows.parquet")
    given = [] if output is None else ["-o", tmp_path / output]
    code, out, _ = run(capsys, "score", model, tmp_path / "rows.parquet", "--predict", 3, *given)
    assert code == 0
    if output is None:
        assert [line.split()[0] for line in out.splitlines()] == users
    elif output.endswith("txt"):
        assert read_text(tmp_path / output).users.tolist() == users


@pytest.mark.parametrize(
    ("columns", "given", "words"),
    [
        ({"vocabulary": [f"i{place}," for place in range(20)]}, [], "fields that end in ','"),
        ({"users": [f"u|{row}" for row in range(60)]}, ["--include", "original"], "the user 'u|0'"),
    ],
)
def test_labels_that_the_output_cannot_hold_are_told_before_any_work(ratings, tmp_path, capsys, columns, given, words):
    rows = read_text(ratings)
    rows = rows.replace(**{name: np.array(labels, dtype=object) for name, labels in columns.items()})
    rows.to_parquet(tmp_path / "rows.parquet")
    code, out, err = run(capsys, "regenerate", tmp_path / "rows.parquet", "-o", tmp_path / "out.txt", *given)
    assert (code, out) == (2, "")
    assert words in err
    assert "mining" not in err


@pytest.mark.parametrize("given", [["mine"], ["regenerate", "-o", "out.txt"]])
def test_options_of_the_miner_are_told_before_a_file_is_read(tmp_path, capsys, given):
    refused = run(capsys, *given[:1], tmp_path / "none.txt", *given[1:], "--window", 1)
    assert_refused(refused, "window must be an integer >= 2; got 1")


def test_added_rows_alone_have_no_histories(model, ratings, tmp_path, capsys):
    mined = PatternMiner(include=("mined",), random_state=0).fit_transform(read_text(ratings))
    mined.to_parquet(tmp_path / "mined.parquet")
    refused = run(capsys, "score", model, tmp_path / "mined.parquet", "--predict", 2, "-q")
    assert_refused(refused, "mined.parquet' has no original row")
