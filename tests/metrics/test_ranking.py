"""Metrics of ranks: bounds, identities, and agreement with another library."""

from __future__ import annotations

import math
import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqregen.metrics import (
    UNREACHABLE,
    mean_reciprocal_rank,
    ndcg_at_k,
    paired_bootstrap,
    ranking_metrics,
    recall_at_k,
    top_items_in_blocks,
)
from seqregen.metrics.full_ranking import rank_targets_in_blocks

some_ranks = st.lists(st.one_of(st.integers(1, 60), st.just(UNREACHABLE)), min_size=1, max_size=40)


@given(some_ranks, st.integers(1, 70))
def test_agree_with_plain_python(ranks, k):
    hits = [rank for rank in ranks if rank <= k]
    assert recall_at_k(ranks, k) == pytest.approx(len(hits) / len(ranks), abs=1e-12)
    assert ndcg_at_k(ranks, k) == pytest.approx(sum(1 / math.log2(r + 1) for r in hits) / len(ranks), abs=1e-12)
    assert mean_reciprocal_rank(ranks, k) == pytest.approx(sum(1 / r for r in hits) / len(ranks), abs=1e-12)


@given(some_ranks, st.integers(1, 70), st.randoms())
def test_bounds_monotone_in_k_and_order_of_users(ranks, k, random):
    assert 0 <= ndcg_at_k(ranks, k) <= recall_at_k(ranks, k) <= 1
    assert recall_at_k(ranks, k) <= recall_at_k(ranks, k + 1)
    assert ndcg_at_k(ranks, k) <= ndcg_at_k(ranks, k + 1) + 1e-12
    assert ndcg_at_k(ranks, 1) == recall_at_k(ranks, 1)
    shuffled = random.sample(ranks, len(ranks))
    assert ndcg_at_k(shuffled, k) == pytest.approx(ndcg_at_k(ranks, k), abs=1e-12)


def test_unreachable_targets_are_misses_of_every_length():
    assert recall_at_k([UNREACHABLE], 10**12) == 0
    assert mean_reciprocal_rank([UNREACHABLE, 2]) == 0.25


def test_keys_and_order():
    assert list(ranking_metrics([3])) == ["recall@10", "ndcg@10", "recall@20", "ndcg@20"]
    assert ranking_metrics([3], k=5) == {"recall@5": 1.0, "ndcg@5": 0.5}


@pytest.mark.parametrize(
    ("ranks", "k", "message"),
    [
        ([], 10, "ranks is empty"),
        ([1, 0], 10, "the one at 1 is 0"),
        ([1.0], 10, "integers from 1"),
        ([1], 0, "k must be a positive integer"),
        ([1], 2.0, "k must be a positive integer"),
        ([1], True, "k must be a positive integer"),
        ([1], (), "at least one cut-off"),
    ],
)
def test_bad_input(ranks, k, message):
    with pytest.raises(ValueError, match=message):
        ranking_metrics(ranks, k)


@pytest.mark.parametrize("metric", [recall_at_k, ndcg_at_k, mean_reciprocal_rank, partial(paired_bootstrap, [1, 2])])
def test_one_cut_off_is_one(metric):
    with pytest.raises(ValueError, match=r"k must be a positive integer; got \[1, 2\]"):
        metric([1, 2], k=[1, 2])


@pytest.mark.slow
def test_agree_with_ranx():
    with warnings.catch_warnings():
        # Its own dependencies warn at import; those warnings are not ours.
        warnings.simplefilter("ignore")
        ranx = pytest.importorskip("ranx")
        random = np.random.default_rng(5)
        n_rows, n_items, k = 60, 200, 20
        scores = random.gumbel(size=(n_rows, n_items)) + np.log(1 / np.arange(1, n_items + 1))
        histories = random.integers(1, n_items + 1, n_rows * 5), np.arange(n_rows + 1) * 5
        targets = random.zipf(1.3, n_rows) % n_items + 1
        codes, values = top_items_in_blocks(lambda a, b: scores[a:b], n_rows, histories, k)
        qrels = ranx.Qrels({f"user {row}": {str(target): 1} for row, target in enumerate(targets)})
        lists = {
            f"user {row}": dict(zip(map(str, codes[row]), map(float, values[row]), strict=True))
            for row in range(n_rows)
        }
        theirs = ranx.evaluate(qrels, ranx.Run(lists), ["recall@10", "ndcg@10", "recall@20", "ndcg@20", "mrr@20"])
    ranks = rank_targets_in_blocks(lambda a, b: scores[a:b], n_rows, targets, histories)
    ours = ranking_metrics(ranks) | {"mrr@20": mean_reciprocal_rank(ranks, 20)}
    assert 0 < ours["ndcg@20"] < 1
    assert ours == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("k", [np.iinfo(np.int64).max, 10**30])
def test_no_list_is_long_enough_for_what_cannot_be_reached(k):
    assert recall_at_k([UNREACHABLE], k) == ndcg_at_k([UNREACHABLE], k) == mean_reciprocal_rank([UNREACHABLE], k) == 0
