"""The growth benchmark: what is measured of one size, what is skipped, and the table."""

from __future__ import annotations

import pytest
from benchmarks import figures, growth


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "STORE", tmp_path)
    return tmp_path


def record(n_items, n_interactions, seconds, stages=growth.STAGES):
    found = {
        stage: {"seconds": seconds, "mebibytes": 50 + 100.0 * seconds, "mebibytes_before": 50.0} for stage in stages
    }
    return {"n_items": n_items, "n_interactions": n_interactions, "stages": found}


def test_every_stage_of_a_small_size_is_measured(store):
    found = growth.measure(growth.Size(n_items=30, n_interactions=800), limit=60)
    assert tuple(found["stages"]) == growth.STAGES
    for measured in found["stages"].values():
        assert measured["seconds"] > 0
        assert measured["mebibytes"] >= 50
    mining = found["stages"]["mine and pair"]
    assert mining["matches"] >= 2 * mining["patterns"] > 0
    assert mining["pairs"] > 0


def test_what_would_take_too_long_is_left_out(store):
    growth._write(growth.Size(30, 80).path, record(30, 80, seconds=2.0))
    found = growth.measure(growth.Size(30, 800), limit=15)
    assert tuple(found["stages"]) == ("mine and pair",)
    # And so is the next size, of which nothing is known.
    growth._write(growth.Size(30, 800).path, found)
    assert growth._expected("decode", growth.Size(30, 8000)) == float("inf")
    assert growth._expected("decode", growth.Size(31, 8000)) == 0


def test_the_table_has_sizes_and_exponents(store):
    for place, size in enumerate(growth.SIZES[:3]):
        growth._write(size.path, record(size.n_items, size.n_interactions, seconds=3.0 * 10**place))
    table = growth.growth_table().splitlines()
    assert table[2].startswith("| 10,000 | 10,000 |  |  | 3 s, 300 MiB |")
    assert "| exponent in interactions | | | | 1.00, 1.00 |" in table[-2]
    # One size is no growth.
    assert table[-1].startswith("| exponent in items | | | |  |")


def test_mining_is_measured_again_and_the_other_stages_stay(store, monkeypatch):
    size = growth.Size(30, 800)
    monkeypatch.setattr(growth, "SIZES", (size,))
    monkeypatch.setattr(growth, "ITEM_SIZES", ())
    before = record(30, 800, seconds=2.0)
    growth._write(size.path, before)
    assert growth.main([]) == 0
    assert growth.measured_sizes() == [before]
    assert growth.main(["--mining-again"]) == 0
    (after,) = growth.measured_sizes()
    assert after["stages"].pop("mine and pair")["matches"] > 0
    assert after["stages"] == {stage: before["stages"][stage] for stage in growth.STAGES[1:]}


def test_figures_are_drawn_alike_every_time(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(figures, "FIGURES", tmp_path)
    gains = {"SASRec: mined": (2.0, -1.0, 5.0), "SASRec: DR4SR": (-1.0, -3.0, 1.0)}
    records = [record(10, 100, 1.0), record(10, 1000, 9.0), record(100, 100, 2.0)]
    series = {"interactions": [(10, 100), (10, 1000)], "items": [(10, 100), (100, 100)]}
    panels = {"beauty, ndcg@20": {"ours": {1: 0.1, 5: 0.2}, "paper": {}}, "toys": {"ours": {}, "paper": {5: 0.3}}}
    maps = {"SASRec": ([[0.5, 0.4], [0.5]], 0.02), "GNN": ([[0.5]], 0.03)}
    sources = {
        model: {"original": ([0.1, None], [0.2, 0.3]), "regenerated": ([None, None], [0.2, 0.3])} for model in maps
    }
    curves = {"beauty": {"original": [[0.1, 0.2], [0.1, 0.3, 0.2]], "+ mined": []}, "toys": {"original": []}}
    names = ("gains", "growth", "sweeps", "weights", "sources", "curves")
    drawn = []
    for _ in range(2):
        figures.draw_gains("beauty", gains, {"SASRec: DR4SR": 7.0}, "gains")
        figures.draw_growth(records, series, "growth")
        figures.draw_sweeps("memories", panels, "sweeps")
        figures.draw_weights(maps, 2, "weights")
        figures.draw_sources(sources, ("beauty", "toys"), "sources")
        figures.draw_curves(curves, "curves")
        drawn.append([(tmp_path / f"{name}.svg").read_text() for name in names])
    assert drawn[0] == drawn[1]
    assert "SASRec: DR4SR" in drawn[0][0]
    assert "regenerator epoch" in drawn[0][1]
    # An empty cell counts as 0: the variance of .5, .4, .5 and 0.
    assert "variance 0.0425 (paper 0.0200)" in drawn[0][3]
    assert "paper, regenerated rows" in drawn[0][4]
    assert "+ mined" in drawn[0][5]
