"""Tables of the accuracy benchmark, and what they say of chance."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from benchmarks import paper, report, tables
from benchmarks.chance import SeedChances, holm
from benchmarks.store import Store

from seqregen.metrics import ndcg_at_k

RECIPE = "SASRec-bce"


def write_run(directory, recipe, variant, seed, rank, **facts) -> None:
    """The files of a run in which all of 400 users' targets have one rank."""
    ranks = np.full(400, rank)
    record = {
        "dataset": "amazon-beauty", "recipe": recipe, "variant": variant, "seed": seed,
        "settings": {}, "history": [], "rows": {},
        "groups": {"history_length": {"to 4": {"users": 400}}}, "test": {"ndcg@20": ndcg_at_k(ranks, 20)},
    } | facts  # fmt: skip
    path = directory / f"amazon-beauty_{recipe}_{variant}_{seed}.json"
    path.write_text(json.dumps(record))
    np.savez_compressed(path.with_suffix(".npz"), ranks=ranks)


def test_the_overview_tells_what_holds_and_what_has_one_seed(tmp_path):
    ranks = {"original": (7, 7), "twice": (7,), "mined": (7, 7), "regenerated": (1,), "taught_ensemble": (1, 1)}
    for variant, by_seed in ranks.items():
        for seed, rank in enumerate(by_seed):
            write_run(tmp_path, RECIPE, variant, seed, rank)
    lines = tables.overview_table(Store(tmp_path), ["SASRec", "GNN"]).splitlines()[2:]
    gains = "*+0.0 %* | +0.0 % | ***+200.0 %*** (+7.3) | - | - | - | - | - | **+200.0 %**"
    assert lines == [f"| amazon-beauty | {RECIPE} | .3333 (.0368) | {gains} |"]


def test_it_does_not_matter_for_chance_which_side_is_the_baseline(tmp_path):
    for variant, ranks in {"original": (7, 6, 7), "mined": (1, 1, 2)}.items():
        for seed, rank in enumerate(ranks):
            write_run(tmp_path, RECIPE, variant, seed, rank)
    store = Store(tmp_path)
    gain = store.comparison("amazon-beauty", RECIPE, "mined", "original")
    loss = store.comparison("amazon-beauty", RECIPE, "original", "mined")
    assert 0.001 < gain.p_value == pytest.approx(loss.p_value)
    assert gain.percent > 0 > loss.percent


@pytest.mark.parametrize("teachers", [1, 2])
def test_a_making_that_went_on_from_a_checkpoint_costs_no_piece_of_its_time(tmp_path, teachers):
    history = [{"epoch": epoch, "seconds": 60.0} for epoch in range(4)]
    for seed, fit_seconds in enumerate((300.0, 1.5)):
        write_run(tmp_path, RECIPE, "original", seed, 7)
        write_run(
            tmp_path, RECIPE, "taught", seed, 7,
            rows={"interactions": 10}, history=[{"seconds": 1.0}],
            regenerator_fit_seconds=fit_seconds, regenerator_transform_seconds=60.0,
            regenerator_history=history if teachers == 1 else [history[:2], history[2:]],
        )  # fmt: skip
    assert tables._seconds_of_rows(Store(tmp_path).runs("amazon-beauty")[RECIPE, "taught"][0]) == 360.0
    assert tables._seconds_of_rows(Store(tmp_path).runs("amazon-beauty")[RECIPE, "taught"][1]) is None


def test_losses_are_compared_on_the_original_rows(tmp_path):
    for recipe, ranks in (("SASRec-bce", (7, 1, 7)), ("SASRec-softmax", (1, 1)), ("GNN-bce", (7,))):
        for seed, rank in enumerate(ranks):
            write_run(tmp_path, recipe, "original", seed, rank)
    lines = tables.losses_table(Store(tmp_path), ["SASRec", "GNN"]).splitlines()[2:]
    # Of seeds 0 and 1 alone: 2 over 4/3, of all .5556.
    assert len(lines) == 1
    assert lines[0].startswith("| amazon-beauty | SASRec | 2 | .5556 | 1.0000 | +50.0 % (")
    assert tables.losses_table(Store(tmp_path), ["GNN"]) == "There are no runs to compare yet."


def test_the_chance_of_training_is_that_of_all_where_a_recipe_has_few_seeds_that_agree():
    chances = SeedChances([
        ("one", np.array([0.9, 1.0, 1.1])),
        ("one", np.array([1.8, 2.0, 2.2])),
        ("far apart", np.array([0.4, 0.6])),
        ("together", np.array([0.5, 0.5])),
        ("alone", np.array([0.5])),
    ])  # fmt: skip
    found = {
        recipe: (chance.share, chance.freedom)
        for recipe in ("one", "far apart", "together", "alone")
        if (chance := chances.of(recipe))
    }
    common = (pytest.approx(np.sqrt((4 * 0.01 + 2 * 0.04) / 6)), 6)
    assert found == {
        "one": (pytest.approx(0.1), 4),
        "far apart": (pytest.approx(np.sqrt(2 * 0.04)), 1),
        "together": common,
        "alone": common,
    }
    assert chances.own("alone") is None
    assert SeedChances([]).of("one") is None


def test_holm_holds_for_all_comparisons_together():
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03}) == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@pytest.mark.parametrize("path", report.PAGES, ids=lambda path: path.name)
def test_the_pages_show_what_is_in_the_store(path):
    page = path.read_text(encoding="utf-8")
    made = report.with_tables(page, Store(report.RESULTS))
    # The last digit of a mean may differ between versions of numpy.
    shown, stored = (re.sub(r"[-+]?\d*\.\d+", "#", text) for text in (page, made))
    assert shown == stored, "make the tables anew: python -m benchmarks report --write"
    assert report._PLACE.findall(page)


def test_costs_are_the_newest_of_each_model(tmp_path):
    def write(name, stages):
        record = {
            "stages": [
                {"stage": f"{model}, personalized", "seconds": seconds, "baseline_seconds": 2.0}
                | {"facts": {"peak MiB": 110, "plain peak MiB": 100}}
                for model, seconds in stages.items()
            ]
        }
        (tmp_path / name).write_text(json.dumps(record))

    write("speed-20260101-000000.json", {"SASRec": 9.0, "GNN": 2.5})
    write("speed-20260102-000000.json", {"SASRec": 2.2})
    lines = paper.cost_table(tmp_path).splitlines()
    assert "| SASRec | 2.00 | 2.20 | 1.10 | 100 | 110 | 1.10 |" in lines
    assert "| GNN | 2.00 | 2.50 | 1.25 | 100 | 110 | 1.10 |" in lines
    assert "| paper, amazon-beauty | 7.62 | 9.48 | 1.24 | 1930 | 2342 | 1.21 |" in lines
