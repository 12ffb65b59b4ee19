"""Ranks and top items against a brute-force ranking in plain numpy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqregen.metrics import UNREACHABLE, rank_targets, rank_targets_in_blocks, top_items, top_items_in_blocks
from seqregen.metrics.blocks import _candidates_on_accelerator, _count_on_accelerator, candidates, count_at_least


def brute_force_rank(scores, target, history):
    """Rank of one row's target: count in a Python loop what scores no less."""
    if target == 0 or target in history or scores[target - 1] == -np.inf:
        return UNREACHABLE
    return 1 + sum(
        scores[code - 1] >= scores[target - 1]
        for code in range(1, len(scores) + 1)
        if code != target and code not in history
    )


def brute_force_top(scores, history, k):
    codes = [code for code in range(1, len(scores) + 1) if code not in history and scores[code - 1] > -np.inf]
    codes.sort(key=lambda code: (-scores[code - 1], code))
    return (codes + [0] * k)[:k]


@st.composite
def ranking_problems(draw):
    n_rows, n_items = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    seed, levels = draw(st.integers(0, 2**16)), draw(st.sampled_from([1, 2, 5, 1000]))
    random = np.random.default_rng(seed)
    # Few levels make ties frequent.
    scores = random.integers(0, levels, size=(n_rows, n_items)).astype(draw(st.sampled_from([np.float32, np.float64])))
    scores[random.random(scores.shape) < draw(st.sampled_from([0.0, 0.2]))] = -np.inf
    lengths = random.integers(0, 8, size=n_rows)
    items = random.integers(1, n_items + 1, size=lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    targets = random.integers(0, n_items + 1, size=n_rows)
    return scores, targets, (items, offsets), draw(st.sampled_from([None, 1, 2, 5])), draw(st.booleans())


def rows_of(histories):
    items, offsets = histories
    return [set(items[start:stop].tolist()) for start, stop in pairwise(offsets)]


def as_given(scores, as_tensor):
    return torch.from_numpy(scores) if as_tensor else scores


@given(ranking_problems(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_ranks_agree_with_brute_force(problem, exclude_history):
    scores, targets, histories, block_rows, as_tensor = problem
    before = scores.copy()
    ranks = rank_targets_in_blocks(
        lambda start, stop: as_given(scores[start:stop], as_tensor),
        len(scores),
        targets,
        histories,
        exclude_history=exclude_history,
        block_rows=block_rows,
    )
    seen = rows_of(histories) if exclude_history else [set()] * len(scores)
    assert ranks.dtype == np.int64
    assert ranks.tolist() == list(map(brute_force_rank, scores, targets, seen))
    np.testing.assert_array_equal(scores, before)


@given(ranking_problems(), st.integers(1, 12))
@settings(max_examples=200, deadline=None)
def test_top_items_agree_with_brute_force(problem, k):
    scores, _, histories, block_rows, as_tensor = problem
    k = min(k, scores.shape[1])
    before = scores.copy()
    codes, values = top_items_in_blocks(
        lambda start, stop: as_given(scores[start:stop], as_tensor), len(scores), histories, k, block_rows=block_rows
    )
    expected = [brute_force_top(row, seen, k) for row, seen in zip(scores, rows_of(histories), strict=True)]
    assert codes.tolist() == expected
    read = np.take_along_axis(np.concatenate([np.full((len(scores), 1), -np.inf), scores], axis=1), codes, axis=1)
    np.testing.assert_array_equal(values, read)
    np.testing.assert_array_equal(scores, before)


@given(ranking_problems())
@settings(max_examples=100, deadline=None)
def test_the_arithmetic_of_accelerators_gives_the_same(problem):
    """Tensors on the CPU, given past the door that turns them into numpy arrays, take the accelerator's path."""
    scores, targets, histories, _, _ = problem
    rows, columns = np.divmod(
        np.unique(np.repeat(np.arange(len(scores)), np.diff(histories[1])) * 100 + histories[0] - 1), 100
    )
    target_columns = np.maximum(targets - 1, 0)
    tensor = torch.from_numpy(scores.copy())
    for mine, theirs in zip(
        count_at_least(scores, target_columns, (rows, columns)),
        _count_on_accelerator(tensor, target_columns, (rows, columns)),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, theirs)
    k = min(3, scores.shape[1])
    for mine, theirs in zip(
        candidates(scores, k, (rows, columns)), _candidates_on_accelerator(tensor, k, (rows, columns)), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(tensor.numpy(), scores)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_states_and_item_table(device):
    random = np.random.default_rng(3)
    # Whole numbers, so that sums do not depend on their order.
    states = torch.tensor(random.integers(-3, 4, (300, 8)), dtype=torch.float32, device=device)
    table = torch.tensor(random.integers(-3, 4, (50, 8)), dtype=torch.float32, device=device, requires_grad=True)
    targets = random.integers(0, 51, 300)
    histories = random.integers(1, 51, 900), np.arange(301) * 3
    scores = (states @ table.T).detach().cpu().numpy()
    ranks = rank_targets(states, table, targets, histories)
    assert ranks.tolist() == list(map(brute_force_rank, scores, targets, rows_of(histories)))
    codes, _ = top_items(states, table, histories, 7)
    assert codes.tolist() == [
        brute_force_top(row, seen, 7) for row, seen in zip(scores, rows_of(histories), strict=True)
    ]


def test_the_targets_score_is_the_one_of_the_block():
    """A score computed apart rounds differently; then a target could beat itself or be beaten by itself."""
    random = torch.Generator().manual_seed(0)
    states, table = torch.randn(500, 64, generator=random), torch.randn(700, 64, generator=random)
    best = (states @ table.T).argmax(dim=1).numpy() + 1
    assert (rank_targets(states, table, best, None) == 1).mean() > 0.99
    same_item_twice = torch.cat([table, table])
    assert set(rank_targets(states, same_item_twice, best, None).tolist()) <= {2, 3, 4}


def test_rank_does_not_change_under_a_monotone_transform_of_the_scores():
    random = np.random.default_rng(1)
    scores, targets = random.normal(size=(40, 30)), random.integers(1, 31, 40)
    ranks = [
        rank_targets_in_blocks(lambda start, stop, values=values: values[start:stop], 40, targets, None)
        for values in (scores, np.exp(scores), 3 * scores - 7)
    ]
    np.testing.assert_array_equal(ranks[0], ranks[1])
    np.testing.assert_array_equal(ranks[0], ranks[2])


def test_all_equal_scores_put_the_target_last():
    constant = np.broadcast_to(np.float32(1), (4, 9))
    ranks = rank_targets_in_blocks(lambda start, stop: constant[start:stop], 4, np.array([1, 5, 9, 0]), None)
    assert ranks.tolist() == [9, 9, 9, UNREACHABLE]
    histories = np.array([1, 2]), np.array([0, 2, 2, 2, 2])
    codes, _ = top_items_in_blocks(lambda start, stop: constant[start:stop], 4, histories, 3)
    assert codes.tolist() == [[3, 4, 5], [1, 2, 3], [1, 2, 3], [1, 2, 3]]


@pytest.mark.parametrize("as_tensor", [False, True])
def test_nan_scores_are_refused_with_their_place(as_tensor):
    scores = np.zeros((50, 4))
    scores[37, 2] = np.nan
    with pytest.raises(ValueError, match="item code 3 in row 37 is NaN"):
        rank_targets_in_blocks(lambda a, b: as_given(scores[a:b], as_tensor), 50, np.ones(50, dtype=int), None)
    with pytest.raises(ValueError, match="item code 3 in row 37 is NaN"):
        top_items_in_blocks(lambda a, b: as_given(scores[a:b], as_tensor), 50, None, 2)


def test_half_precision_and_integer_scores():
    values = [[1, 3, 2]]
    for block in (torch.tensor(values, dtype=torch.bfloat16), torch.tensor(values), np.array(values, dtype=np.float16)):
        ranks = rank_targets_in_blocks(lambda start, stop, block=block: block, 1, np.array([3]), None)
        assert ranks.tolist() == [2]
        assert top_items_in_blocks(lambda start, stop, block=block: block, 1, None, 2)[0].tolist() == [[2, 3]]


def test_no_rows():
    nothing = np.zeros(0, dtype=np.int64)
    assert rank_targets(torch.zeros(0, 2), torch.zeros(3, 2), nothing, (nothing, np.zeros(1, dtype=int))).shape == (0,)
    assert top_items(torch.zeros(0, 2), torch.zeros(3, 2), None, 2)[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": np.array([1])}, "one item code a row"),
        ({"targets": np.array([1.5, 2.0])}, "integer item codes"),
        ({"targets": np.array([1, -1])}, "row 1 is -1"),
        ({"targets": np.array([1, 4])}, "target of row 1 is code 4"),
        ({"histories": (np.array([1, 9]), np.array([0, 1, 2]))}, "history of row 1 holds 9"),
        ({"histories": (np.array([1, 0]), np.array([0, 1, 2]))}, "row 1 holds 0"),
        ({"histories": (np.array([1]), np.array([0, 1]))}, "offsets of histories"),
        ({"histories": (np.array([1, 2, 3]), np.array([0, 4, 3]))}, "must not fall; row 1 ends at 3"),
        ({"histories": (np.array([1.0, 2.0]), np.array([0, 1, 2]))}, "integer arrays; got dtypes float64"),
        # Codes that are labels by mistake: so large that rows x codes has no number.
        ({"histories": (np.array([1, 2**61]), np.array([0, 1, 2]))}, "history of row 1 holds 2305843009213693952"),
        ({"histories": (np.array([1, 2**62]), np.array([0, 1, 2]))}, "from 1 to the number of items; row 1 holds 46"),
        ({"block_rows": 0}, "block_rows must be at least 1"),
        ({"states": torch.zeros(2, 3)}, "vectors of one length"),
    ],
)
def test_bad_input(change, message):
    arguments = {
        "states": torch.zeros(2, 2),
        "item_table": torch.zeros(3, 2),
        "targets": np.array([1, 2]),
        "histories": (np.array([1, 2]), np.array([0, 1, 2])),
    }
    with pytest.raises(ValueError, match=message):
        rank_targets(**(arguments | change))


def test_histories_of_any_integers_and_of_none():
    states, table, targets = torch.ones(2, 2), torch.tensor([[3.0, 1], [2, 1], [1, 1]]), np.array([2, 3])
    expected = rank_targets(states, table, targets, (np.array([1, 1]), np.array([0, 1, 2]))).tolist()
    for dtype in (np.uint64, np.int8, np.uint16):
        histories = np.array([1, 1], dtype=dtype), np.array([0, 1, 2], dtype=dtype)
        assert rank_targets(states, table, targets, histories).tolist() == expected == [1, 2]
    assert rank_targets(states, table, targets, ([], [0, 0, 0])).tolist() == [2, 3]


def test_bad_k():
    # Told before anything of that size is asked for.
    with pytest.raises(ValueError, match="k=10000000000000 is larger than the vocabulary"):
        top_items(torch.zeros(2, 2), torch.zeros(3, 2), None, 10**13)
    with pytest.raises(ValueError, match="k=4 is larger than the vocabulary, which has 3 items"):
        top_items(torch.zeros(2, 2), torch.zeros(3, 2), None, 4)
    for k in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="k must be a positive integer"):
            top_items(torch.zeros(2, 2), torch.zeros(3, 2), None, k)


def test_wrong_shape_of_a_score_block():
    with pytest.raises(ValueError, match=r"score_block\(0, 3\) must give scores of shape \(3, n_items\)"):
        rank_targets_in_blocks(lambda start, stop: np.zeros((1, 5)), 3, np.ones(3, dtype=int), None)
