"""The accuracy benchmark: its data variants, its result files, and its tables, on a small data set."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from benchmarks import __main__ as benchmarks_main
from benchmarks import accuracy, datasets, machine, paper, plan, report, row_maker, runs, stages, tables, variants
from benchmarks.recipes import RECIPES
from benchmarks.store import Store
from filelock import FileLock, Timeout
from sklearn.base import clone

import seqregen as sr
from seqregen.datasets import make_sequences
from seqregen.ragged import position_in_row

RECIPE = "SASRec-bce"


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A small data set in the place of the real ones, and a store of its own."""
    sequences = make_sequences(n_sequences=80, n_items=25, random_state=0).to_lists()
    for module in (row_maker, accuracy):
        monkeypatch.setattr(module, "data_file", lambda name: name)
    monkeypatch.setattr(row_maker, "read_sequences", lambda path: sequences)
    monkeypatch.setattr(runs, "CACHE", tmp_path / "cache")
    for module in (runs, accuracy):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(runs, "make_model", lambda recipe, **given: sr.targets.SASRec.reference(max_epochs=2, **given))
    return tmp_path / "results"


@pytest.fixture
def maker(store, tmp_path):
    return row_maker.RowMaker("amazon-beauty", 0, tmp_path)


def added(rows: sr.SequenceDataset) -> sr.SequenceDataset:
    return rows[rows.origin != sr.Origin.ORIGINAL]


def test_random_windows_are_pieces_of_rows_as_long_as_the_mined_ones(maker):
    windows = added(variants.VARIANTS["windows"].rows(maker))
    assert windows.lengths.tolist() == added(maker.mined).lengths.tolist()
    originals = [tuple(row) for row in maker.original.to_lists()]
    pieces = {row[i:j] for row in originals for i in range(len(row)) for j in range(i + 1, len(row) + 1)}
    assert {tuple(row) for row in windows.to_lists()} <= pieces


def test_controls_keep_the_original_rows_in_place(maker):
    for name in ("twice", "windows", "mined_only", "mined"):
        rows = variants.VARIANTS[name].rows(maker)
        assert rows.originals().to_lists() == maker.original.to_lists()
        assert rows.validation[: len(maker.original)].tolist() == maker.original.validation.tolist()
    alone = variants.VARIANTS["mined_only"].rows(maker)
    assert not alone.originals().weights.any()
    assert added(alone).weights.all()


def test_weights_by_hand_are_1_in_the_mean_and_lean_to_what_they_say(maker):
    rows = maker.original
    counts = np.bincount(rows.items)[rows.items]
    behind = np.repeat(rows.lengths, rows.lengths) - 1 - position_in_row(rows.offsets)
    is_target = behind < np.repeat(rows.lengths, rows.lengths) - 1
    weights = {}
    for name in ("recent", "users_alike", "rare", "popular"):
        found = variants.VARIANTS[name].rows(maker)
        assert found.to_lists() == rows.to_lists()
        weights[name] = found.weights
        assert weights[name][is_target].mean() == pytest.approx(1)
    last = weights["recent"][behind == 0]
    assert weights["recent"][behind == 2] == pytest.approx(0.81 * last[0])
    of_users = np.add.reduceat(weights["users_alike"] * is_target, rows.offsets[:-1])
    assert of_users == pytest.approx(of_users[0])
    for name, power in (("rare", -0.25), ("popular", 0.25)):
        assert weights[name] / counts**power == pytest.approx(weights[name][0] / counts[0] ** power)


def test_the_control_for_mined_rows_popularity_gives_items_their_weight(maker):
    rows, mined = variants.VARIANTS["mined_popularity"].rows(maker), maker.mined
    assert rows.to_lists() == maker.original.to_lists()

    def of_items(found, weights):
        is_target = position_in_row(found.offsets) > 0
        return np.bincount(found.items[is_target], weights[is_target], minlength=rows.n_items + 1)

    with_mined = of_items(mined, np.ones(mined.n_interactions))
    shares = of_items(rows, rows.weights) / of_items(rows, rows.weights).sum()
    met = of_items(rows, np.ones(rows.n_interactions)) > 0
    assert met.sum() > 10
    assert shares[met] == pytest.approx(with_mined[met] / with_mined[met].sum(), rel=1e-5)


def test_rows_that_a_recommender_does_not_expect_are_counted(maker, monkeypatch):
    quick = sr.targets.SASRec(embedding_dim=8, max_epochs=3, batch_size=32, random_state=0)
    monkeypatch.setattr(maker, "_teacher", lambda model: clone(quick))
    monkeypatch.setattr(row_maker.sr, "RankFilter", partial(sr.RankFilter, highest_rank=5))
    all_rows = maker.regenerated()
    rows = maker.expected(all_rows)
    assert rows.originals().to_lists() == maker.original.to_lists()
    kept, of = (
        {origin.name.lower(): int((found.origin == origin).sum()) for origin in sr.Origin} for found in (rows, all_rows)
    )
    assert maker.notes["added_rows_kept"] == {
        name: {"kept": kept[name], "of": of[name]} for name in ("mined", "regenerated")
    }
    assert 0 < kept["mined"] < of["mined"]


def test_a_run_is_one_file_that_is_written_once(store):
    run = runs.Run("amazon-beauty", RECIPE, "mined", 0)
    record = run.carry_out()
    assert run.finished
    stored = json.loads(run.path.read_text())
    assert stored["test"] == record["test"]
    for by in ("history_length", "target_popularity"):
        groups = stored["groups"][by].values()
        assert sum(group["users"] for group in groups) == 80
        mean = sum(group["users"] * group["ndcg@20"] for group in groups) / 80
        assert mean == pytest.approx(stored["test"]["ndcg@20"])
    assert len(np.load(run.path.with_suffix(".npz"))["ranks"]) == 80
    assert accuracy.carry_out_all([run], jobs=1, threads=1, minutes=1) == 0
    assert run.path.read_text() == json.dumps(stored, indent=1) + "\n"
    assert stored["command"].endswith(f"--datasets amazon-beauty --recipes {RECIPE} --variants mined --seeds 0")


_LONG_RUN = """
import sys, time
from filelock import FileLock
from benchmarks import accuracy

class LongRun:
    finished = False

    def carry_out(self, threads):
        with FileLock(sys.argv[1]):
            print("under way", flush=True)
            time.sleep(600)

if __name__ == "__main__":
    accuracy._known_minutes = dict
    accuracy.carry_out_all([LongRun()], jobs=1, threads=1, minutes=10)
"""


def test_a_run_ends_with_the_command_that_is_killed(tmp_path):
    script, lock = tmp_path / "command.py", tmp_path / "lock"
    script.write_text(_LONG_RUN)
    root = Path(accuracy.__file__).parents[1]
    started = subprocess.Popen(
        [sys.executable, str(script), str(lock)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    with started as command:
        assert "of 1 runs are finished" in command.stdout.readline()
        assert command.stdout.readline() == "under way\n"
        with pytest.raises(Timeout):
            FileLock(lock).acquire(blocking=False)
        command.kill()
    with FileLock(lock, timeout=60):
        pass


def test_a_run_that_another_command_carries_out_is_left_to_it(store, monkeypatch):
    run = runs.Run("amazon-beauty", RECIPE, "original", 0)
    runs.CACHE.mkdir()
    monkeypatch.setattr(accuracy, "_end_with_the_parent", lambda: None)
    with FileLock(runs.CACHE / f"{run.key}.lock"), pytest.raises(SystemExit) as ended:
        accuracy._carry_out(run, threads=1)
    assert ended.value.code == accuracy._ELSEWHERE
    assert not run.finished
    record = run.carry_out()
    written = run.path.stat().st_mtime_ns
    assert run.carry_out()["test"] == record["test"]
    assert run.path.stat().st_mtime_ns == written


def test_a_run_without_its_ranks_is_not_finished(store):
    run = runs.Run("amazon-beauty", RECIPE, "original", 0)
    run.carry_out()
    run.path.with_suffix(".npz").unlink()
    assert not run.finished
    run.carry_out()
    assert run.finished


def test_a_broken_file_elsewhere_does_not_stop_a_run(store, capsys):
    run = runs.Run("amazon-beauty", RECIPE, "original", 0)
    run.carry_out()
    (store / "amazon-toys_GNN-bce_original_0.json").write_text('{"half')
    assert accuracy.carry_out_all([run], jobs=1, threads=1, minutes=1) == 0
    assert "not counted in what is left: " in capsys.readouterr().err


def test_a_personalized_run_tells_its_weights(store, monkeypatch):
    settings = {"warmup_epochs": 1, "update_every": 1}
    variant = variants.Variant("mined, weighed", lambda maker: maker.mined, settings)
    monkeypatch.setitem(variants.VARIANTS, "weighed", variant)
    record = runs.Run("amazon-beauty", RECIPE, "weighed", 0).carry_out()
    assert record["personalizer"]["settings"]["update_every"] == 1
    assert record["personalizer"]["weights"]["origin"]["mined"]["mean"] == 1
    rows = record["personalizer"]["rows"]
    assert len(rows) == runs.MAP_SIZE
    assert max(map(len, rows)) <= runs.MAP_SIZE
    assert all(0 < weight < 1 for row in rows for weight in row)


def test_tables_compare_a_variant_with_the_original(store):
    for variant in ("original", "twice"):
        runs.Run("amazon-beauty", RECIPE, variant, 0).carry_out()
    found = Store(store)
    regeneration = tables.regeneration_table(found, "amazon-beauty")
    (line,) = (line for line in regeneration.splitlines() if "twice" in line)
    assert line.startswith(f"| {RECIPE} | original, twice | 1 |")
    assert " %" in line
    assert f"| {RECIPE} | 1 |" in tables.models_table(found, "amazon-beauty")


def test_any_variant_is_a_baseline(store):
    for variant in ("mined", "twice"):
        runs.Run("amazon-beauty", RECIPE, variant, 0).carry_out()
    found = Store(store).comparisons("amazon-beauty", "mined")
    assert list(found) == [(RECIPE, "twice")]
    assert not Store(store).comparisons("amazon-beauty")


def test_the_papers_tables_have_ours_beside_theirs(store):
    for variant in ("original", "mined_only"):
        runs.Run("amazon-beauty", RECIPE, variant, 0).carry_out()
    found = Store(store)
    ours = found.runs("amazon-beauty")[RECIPE, "original"][0]["test"]["recall@10"]
    overall = paper.overall_table(found, "amazon-beauty").splitlines()
    (line,) = (line for line in overall if line.startswith("| SASRec | backbone |"))
    assert line.startswith(f"| SASRec | backbone | 1 | {ours:.4f} (.0553) |".replace("0.", "."))
    assert any(line.startswith("| SASRec | DR4SR+ |  | - (.0619) |") for line in overall)
    (pattern,) = (line for line in paper.ablation_table(found).splitlines() if line.startswith("| pattern |"))
    assert "- (.0181)" not in pattern
    assert "- (.0407)" in pattern


def test_a_sweep_has_the_default_among_its_values(store):
    runs.Run("amazon-beauty", RECIPE, "regenerated", 0).carry_out()
    for figure, default in (("figure6", 5), ("figure7", 0.1)):
        lines = paper.sweep(Store(store), "amazon-beauty", figure, "ndcg@20")
        assert list(lines["ours"]) == [default]
        assert len(lines["paper"]) == 5
        assert list(lines["paper"]) == list(paper.SWEEPS[figure][1])


def test_unknown_names_are_refused_with_those_there_are(store, capsys):
    with pytest.raises(SystemExit):
        accuracy.main(["--recipes", "BERT4Rec-*"])
    assert "no recipe is called BERT4Rec-*; there are SASRec-bce" in capsys.readouterr().err


def test_the_plan_has_every_run_once_and_what_teaches_most_first(store, monkeypatch):
    planned = plan.planned_runs()
    assert len(set(planned)) == len(planned)
    assert all(run.recipe in RECIPES and run.variant in variants.VARIANTS for run in planned)
    assert planned[0] == runs.Run("amazon-beauty", "SASRec-bce", "original", 0)
    asked = []
    monkeypatch.setattr(accuracy, "carry_out_all", lambda runs, **options: asked.append(runs) or 0)
    assert accuracy.main(["--minutes", "1"]) == 0
    assert accuracy.main(["--seeds", "4"]) == 0
    assert asked[0] == planned
    assert {run.seed for run in asked[1]} == {4}
    assert len(asked[1]) == 2 * 3


def test_one_unknown_name_among_known_ones_is_refused(store, capsys):
    with pytest.raises(SystemExit):
        accuracy.main(["--recipes", RECIPE, "--variants", "original", "orignal"])
    assert "no variant is called orignal; there are original" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--jobs", "0", "an integer of at least 1"),
        ("--jobs", "-1", "an integer of at least 1"),
        ("--threads", "two", "an integer of at least 1"),
        ("--minutes", "nan", "no number above 0"),
        ("--minutes", "-3", "no number above 0"),
        ("--seeds", "-1", "an integer between 0 and 4294967295"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(store, capsys, option, value, allowed):
    with pytest.raises(SystemExit):
        accuracy.main([f"{option}={value}"])
    assert re.search(f"argument {option}: .*{allowed}", capsys.readouterr().err)


def test_a_name_given_twice_is_one_run(store, monkeypatch):
    asked = []
    monkeypatch.setattr(accuracy, "carry_out_all", lambda runs, **options: asked.extend(runs) or 0)
    assert accuracy.main(["--recipes", RECIPE, "--variants", "original", "--seeds", "5", "5"]) == 0
    assert asked == [runs.Run("amazon-beauty", RECIPE, "original", 5)]


@pytest.mark.parametrize("command", ["accuracy", "datasets", "path"])
def test_data_that_is_not_there_is_told_before_anything_begins(tmp_path, monkeypatch, capsys, command):
    monkeypatch.setenv("SEQREGEN_DATA", str(tmp_path))
    for module in (runs, accuracy):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(datasets, "STORE", tmp_path / "datasets")
    assert benchmarks_main.main([command]) == 2
    assert re.search(rf"amazon-\w+.txt is not in {tmp_path}; set SEQREGEN_DATA", capsys.readouterr().err)


def test_a_run_whose_settings_have_changed_is_not_passed_off_as_finished(store, monkeypatch, capsys):
    run = runs.Run("amazon-beauty", RECIPE, "original", 0)
    run.carry_out()
    assert run.changes() == ""
    monkeypatch.setattr(runs, "make_model", lambda recipe, **given: sr.targets.SASRec.reference(max_epochs=7, **given))
    with pytest.raises(SystemExit):
        accuracy.main(["--recipes", RECIPE, "--variants", "original", "--seeds", "0"])
    assert "was made with max_epochs=2 where now it is 7; delete" in capsys.readouterr().err


def test_so_is_one_whose_rows_would_be_others_now(store, monkeypatch):
    teacher = sr.targets.SASRec(embedding_dim=8, max_epochs=1, random_state=0)
    monkeypatch.setattr(row_maker.RowMaker, "_teacher", lambda self, model, patience=20: clone(teacher))
    monkeypatch.setattr(row_maker, "REGENERATOR_EPOCHS", 1)
    found = {name: runs.Run("amazon-beauty", RECIPE, name, 0) for name in ("mined", "regenerated", "expected")}
    for run in found.values():
        run.carry_out()
        assert run.changes() == ""
    monkeypatch.setattr(row_maker, "REGENERATOR_EPOCHS", 2)
    monkeypatch.setitem(row_maker.WINDOWS, "amazon-beauty", 3)
    teacher.set_params(max_epochs=3)
    mining, regeneration = "mining: window=5 where now it is 3", "max_epochs=1 where now it is 2"
    assert found["mined"].changes() == mining
    assert found["regenerated"].changes() == f"{mining}, {regeneration}"
    assert found["expected"].changes() == f"{mining}, {regeneration}, filter: max_epochs=1 where now it is 3"


def test_a_file_that_is_being_written_is_no_result(store, capsys):
    run = runs.Run("amazon-beauty", RECIPE, "original", 0)
    run.carry_out()
    (runs.RESULTS / f".amazon-beauty_{RECIPE}_original_0.0123.json").write_text('{"half')
    assert accuracy.main(["--recipes", RECIPE, "--variants", "original", "--seeds", "0"]) == 0
    assert "1 of 1 runs are finished already" in capsys.readouterr().out


def test_kept_rows_are_those_that_are_asked_for(maker):
    quick = {"max_epochs": 1, "item_embeddings": None, "embedding_dim": 8}
    rows = maker.regenerated("few", **quick)
    assert maker.regenerated("few", **quick).to_lists() == rows.to_lists()
    assert maker.notes["rows_settings"]["mining"]["window"] == 5
    with pytest.raises(ValueError, match="was made with max_epochs=1 where now it is 2; delete"):
        maker.regenerated("few", **quick | {"max_epochs": 2})


def test_rows_of_other_data_are_not_passed_off_as_those_asked_for(maker, tmp_path, monkeypatch):
    quick = {"max_epochs": 1, "item_embeddings": None, "embedding_dim": 8}
    maker.regenerated("few", **quick)
    others = make_sequences(n_sequences=80, n_items=25, random_state=1).to_lists()
    monkeypatch.setattr(row_maker, "read_sequences", lambda path: others)
    with pytest.raises(ValueError, match=r"few-0.parquet was made of other data; delete amazon-beauty-few-0.json"):
        row_maker.RowMaker("amazon-beauty", 0, tmp_path).regenerated("few", **quick)


def test_a_fit_serves_rows_of_other_rates_and_of_no_other_settings(maker):
    quick = {"item_embeddings": None, "embedding_dim": 8}
    for name, epochs, rate in (("a", 1, 0.5), ("b", 1, 1.0), ("c", 2, 1.0)):
        maker.regenerated(name, rate=rate, max_epochs=epochs, **quick)
        assert len(maker.notes["regenerator_history"]) == epochs
    assert len(list(maker.cache.glob("*.joblib"))) == 2


def test_every_run_in_the_store_was_made_with_the_settings_it_is_named_after():
    for path in sorted(report.RESULTS.glob("*.json")):
        record = json.loads(path.read_text())
        run = runs.Run(*(record[name] for name in ("dataset", "recipe", "variant", "seed")))
        assert (run.path, run.changes()) == (path, "")


def test_the_data_sets_are_counted_once_and_beside_the_paper(store, tmp_path, monkeypatch, capsys):
    for name in ("data_file", "read_sequences"):
        monkeypatch.setattr(datasets, name, getattr(row_maker, name))
    monkeypatch.setattr(datasets, "STORE", tmp_path / "datasets")
    monkeypatch.setattr(datasets, "CACHE", tmp_path / "cache")
    assert datasets.main(["--datasets", "amazon-beauty"]) == 0
    found = json.loads((tmp_path / "datasets" / "amazon-beauty.json").read_text())
    assert found["whole"]["users"] == found["mined"]["original"]["rows"] == 80
    assert found["whole"]["interactions"] == found["mined"]["original"]["interactions"] + 2 * 80
    assert found["patterns"] == found["mined"]["mined"]["rows"] > 0
    assert "regenerated" not in found
    assert "| amazon-beauty | 80 | 25 |" in capsys.readouterr().out
    assert datasets.main(["--datasets", "amazon-beauty"]) == 0
    assert "amazon-beauty\n" not in capsys.readouterr().out.split("|")[0]


def test_speeds_that_were_measured_survive_the_end_of_the_run(tmp_path, monkeypatch, capsys):
    class Found:
        stage, against, ratio = "mining", "a peer", 2.0

        def measure(self, rounds):
            return self

        def as_record(self):
            return {"stage": self.stage, "seconds": 1.0, "baseline_seconds": 2.0}

    def ending_early(workload, names):
        yield Found()
        yield Found()
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    monkeypatch.setattr(stages, "comparisons", ending_early)
    with pytest.raises(KeyboardInterrupt):
        benchmarks_main.main(["speed", "--stages", "mining"])
    (path,) = tmp_path.iterdir()
    assert [record["seconds"] for record in json.loads(path.read_text())["stages"]] == [1.0, 1.0]
    monkeypatch.setattr(stages, "comparisons", lambda workload, names: iter(()))
    assert benchmarks_main.main(["speed", "--stages", "metrics"]) == 1
    assert "nothing was measured" in capsys.readouterr().err
