"""One benchmark a comparison. Nothing is asserted of a clock; what is asserted is that both sides did their work.

Run with ``pytest benchmarks --benchmark-json=FILE``; the ratios are in ``extra_info``.
"""

from __future__ import annotations

import math

import pytest
from torch.nn import functional

from .peers import environment
from .personalizer_cost import MODELS, personalized_epoch
from .stages import (
    bfloat16_epoch,
    cl4srec_epoch,
    decoding,
    fmlp_epoch,
    gnn_epoch,
    gru4rec_epoch,
    metrics,
    mining,
    ranking,
    regenerator_epoch,
    sasrec_epoch,
    softmax_loss,
)

pytestmark = [pytest.mark.data, pytest.mark.slow]


def _against(comparisons, name):
    return next(comparison for comparison in comparisons if comparison.against.startswith(name))


def test_mining_against_the_published_search(work, compare):
    measured = compare(_against(mining(work), "seq2pat"))
    # The number of patterns that the published code prints for Amazon Beauty.
    assert measured.facts["patterns"] == measured.facts["published patterns"] == 40_664
    assert measured.facts["pairs"] == 44_471


def test_mining_against_reading_the_file(work, compare):
    assert min(compare(_against(mining(work), "reading")).baseline_seconds) > 0


def test_regenerator_epoch(work, compare):
    measured = compare(_against(regenerator_epoch(work), "published"), rounds=2)
    assert measured.facts["pairs"] == 44_471
    assert math.isfinite(measured.facts["loss"])


@pytest.mark.parametrize("against", ["published decoder", "published decoder, no gradients"])
def test_decoding(work, compare, against):
    measured = compare(_against(decoding(work), against))
    assert measured.facts["regenerated rows kept"] > 0
    assert 1 <= measured.facts["published steps a decode"] <= 24


@pytest.mark.parametrize("against", ["published", "arithmetic"])
def test_sasrec_epoch(work, compare, against):
    measured = compare(_against(sasrec_epoch(work), against))
    # One-negative binary cross-entropy of a network that knows nothing is 2 log 2.
    assert 0 < measured.facts["loss"] < 2 * math.log(2)


@pytest.mark.skipif(not environment.is_built(), reason="build it: python -m benchmarks.peers.environment")
@pytest.mark.parametrize("against", ["RecTools", "RecBole"])
def test_sasrec_epoch_against_peers(work, compare, against):
    assert min(compare(_against(sasrec_epoch(work), against), rounds=2).baseline_seconds) > 0


def test_gru4rec_epoch(work, compare):
    assert 0 < compare(_against(gru4rec_epoch(work), "arithmetic"), rounds=2).facts["loss"] < 2 * math.log(2)


@pytest.mark.skipif(not environment.is_built(), reason="build it: python -m benchmarks.peers.environment")
def test_gru4rec_epoch_against_recbole(work, compare):
    assert min(compare(_against(gru4rec_epoch(work), "RecBole"), rounds=1).baseline_seconds) > 0


@pytest.mark.parametrize("against", ["published", "our SASRec"])
@pytest.mark.parametrize("epoch", [gnn_epoch, cl4srec_epoch])
def test_epochs_of_the_sisters_of_sasrec(work, compare, epoch, against):
    measured = compare(_against(epoch(work), against), rounds=2)
    assert math.isfinite(measured.facts["loss"])
    assert measured.facts["loss"] > 0


@pytest.mark.skipif(not environment.is_built(), reason="build it: python -m benchmarks.peers.environment")
def test_gnn_epoch_against_recbole(work, compare):
    assert min(compare(_against(gnn_epoch(work), "RecBole"), rounds=1).baseline_seconds) > 0


@pytest.mark.parametrize("against", ["published", "arithmetic"])
def test_fmlp_epoch(work, compare, against):
    assert 0 < compare(_against(fmlp_epoch(work), against), rounds=1).facts["loss"] < 2 * math.log(2)


@pytest.mark.parametrize("against", ["published", "its matrix product"])
def test_full_ranking(work, compare, against):
    measured = compare(_against(ranking(work), against))
    assert measured.facts["ranked"] == len(work.X)


@pytest.mark.skipif(not environment.is_built(), reason="build it: python -m benchmarks.peers.environment")
@pytest.mark.parametrize("against", ["RecTools", "RecBole"])
def test_full_ranking_against_peers(work, compare, against):
    assert min(compare(_against(ranking(work), against), rounds=1).baseline_seconds) > 0


@pytest.mark.skipif(not environment.is_built(), reason="build it: python -m benchmarks.peers.environment")
def test_metrics_against_ranx(work, compare):
    facts = compare(_against(metrics(work), "ranx")).facts
    assert facts["metrics"] == pytest.approx(facts["metrics of ranx"])


@pytest.mark.skipif(not hasattr(functional, "linear_cross_entropy"), reason="torch has its own from 2.13 on")
def test_softmax_over_all_items(work, compare):
    assert min(compare(_against(softmax_loss(work), "torch")).seconds) > 0


@pytest.mark.parametrize("model", MODELS)
def test_bfloat16_epoch(work, compare, model):
    comparison = next(each for each in bfloat16_epoch(work) if each.stage.startswith(f"{model} "))
    facts = compare(comparison, rounds=1).facts
    assert facts["loss in bfloat16"] == pytest.approx(facts["loss in float32"], rel=0.01)


@pytest.mark.parametrize("model", MODELS)
def test_personalized_epoch(work, compare, model):
    (comparison,) = personalized_epoch(work, model)
    measured = compare(comparison, rounds=1)
    assert measured.facts["updates"] > 0
    assert measured.facts["peak MiB"] > 0
