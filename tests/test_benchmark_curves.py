"""Validation curves of the accuracy runs, compared at the same epochs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from benchmarks import curves, tables
from benchmarks.runs import RESULTS
from benchmarks.store import Store
from scipy import stats

from seqregen.targets.stopping import stop_rule

RECIPE = "SASRec-bce"


def write(directory, variant, seed, curve, test=0.5):
    record = {
        "dataset": "amazon-beauty",
        "recipe": RECIPE,
        "variant": variant,
        "seed": seed,
        "settings": {},
        "rows": {},
        "groups": {},
        "test": {"ndcg@20": test},
        "history": [{"epoch": epoch, "ndcg@20": value} for epoch, value in enumerate(curve)],
    }
    (directory / f"amazon-beauty_{RECIPE}_{variant}_{seed}.json").write_text(json.dumps(record))


@pytest.fixture
def store(tmp_path):
    write(tmp_path, "original", 0, np.repeat([0.1, 0.995, 5.0], [20, 20, 7]), test=0.4)
    write(tmp_path, "original", 1, np.repeat([0.1, 1.005], [20, 20]), test=0.6)
    write(tmp_path, "mined", 0, np.repeat([0.1, 1.5, 9.0], [20, 20, 30]))
    write(tmp_path, "regenerated", 0, np.repeat([0.1, 1.01], [20, 25]))
    return Store(tmp_path)


def test_curves_are_compared_over_the_last_epochs_that_all_runs_have(store):
    chance = np.sqrt(2) * 0.005
    found = curves.Curves(store).comparisons("amazon-beauty")[RECIPE, "mined"]
    assert (found.percent, found.last, found.n_seeds) == (pytest.approx(50), 40, 1)
    # One seed beside two, each of a chance that is a share of its own mean; one degree of freedom.
    deviation = 100 * chance * np.sqrt(1.5**2 + 1 / 2)
    margin = deviation * stats.t.ppf(0.975, 1)
    assert found.interval == pytest.approx((50 - margin, 50 + margin))
    assert found.p_value == pytest.approx(2 * stats.t.sf(50 / deviation, 1))


def test_a_baseline_need_not_be_the_original_rows(store):
    compared = curves.Curves(store).comparisons("amazon-beauty", "mined")
    assert list(compared) == [(RECIPE, "original"), (RECIPE, "regenerated")]
    found = compared[RECIPE, "regenerated"]
    # The mined rows led by far in the last five of the twenty epochs, 26 to 45.
    assert found.last == 45
    assert found.percent == pytest.approx(100 * (1.01 / ((15 * 1.5 + 5 * 9) / 20) - 1))


def test_it_does_not_matter_for_chance_which_side_is_the_baseline(store):
    found = curves.Curves(store)
    pairs = (("mined", "original"), ("original", "mined"))
    gain, loss = (found.comparison("amazon-beauty", RECIPE, *pair) for pair in pairs)
    assert gain.p_value == pytest.approx(loss.p_value)
    assert gain.percent > 0 > loss.percent


def test_tables_of_curves(store):
    lines = curves.curves_table(curves.Curves(store)).splitlines()[2:]
    # One degree of freedom: of two comparisons the one that is far off holds.
    assert lines == [f"| amazon-beauty | {RECIPE} | - | ***+50.0 %*** | *+1.0 %* | - | - | - | - | - | - |"]
    (line,) = tables.parts_table(curves.Curves(store).comparison).splitlines()[2:]
    pair = f"| amazon-beauty | {RECIPE} | original + mined + regenerated (DR4SR) | original + mined "
    assert line.startswith(f"{pair}| -70.")
    assert " to epoch 45 | " in line
    chances = curves.chances_table(store, curves.Curves(store)).splitlines()[2:]
    assert chances == [f"| {RECIPE} | 1 | 28.3 % | 0.7 % |"]


def test_without_two_seeds_that_differ_there_is_nothing_to_compare(tmp_path):
    write(tmp_path, "original", 0, [0.1, 0.2])
    write(tmp_path, "original", 1, [0.1, 0.2])
    write(tmp_path, "mined", 0, [0.2, 0.3])
    assert curves.curves_table(curves.Curves(Store(tmp_path))) == "There are no runs to compare yet."
    empty = Store(tmp_path / "empty")
    assert curves.chances_table(empty, curves.Curves(empty)) == "There are no seeds to compare yet."


def test_the_figure_has_every_seed_of_what_it_shows(store):
    panels = curves.curve_panels(store)
    assert next(iter(panels)) == "amazon-beauty, bce"
    drawn = panels["amazon-beauty, bce"]
    lengths = {label: [len(curve) for curve in seeds] for label, seeds in drawn.items()}
    assert lengths == {"original": [47, 40], "+ mined": [70], "DR4SR": [45], "+ teachers": []}
    assert not any(panels["yelp, softmax"].values())


def test_a_plateau_of_the_loss_keeps_most_of_what_validation_items_would():
    # What a recommender without validation items is stopped by, replayed on the runs that had them.
    rule, kept = stop_rule(None, patience=20, plateau="loss"), []
    for file in sorted(RESULTS.glob("*_0.json")):
        history = json.loads(file.read_text())["history"]
        ends = next((n for n in range(1, len(history) + 1) if rule.ends(history[:n])), None)
        if ends is not None:
            lowest = min(history[:ends], key=lambda record: record["loss"])
            kept.append(lowest["ndcg@20"] / max(record["ndcg@20"] for record in history))
    assert len(kept) > 50
    assert np.mean(kept) > 0.94
