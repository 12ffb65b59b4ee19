"""Losses against plain formulas in float64, for every way of drawing negatives."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from seqregen.nn import accumulating_gradients, product
from seqregen.training import LOSSES, NEGATIVE_SAMPLING, NextItemLoss, log_sum_exp, losses
from seqregen.training.negatives import DrawnNegatives, InBatchNegatives, PopularityNegatives, UniformNegatives

N_ITEMS, N_POSITIONS, WIDTH = 7, 11, 5
COUNTS = np.array([5, 1, 3, 8, 2, 1, 4])
SHARED = ("sampled_softmax", "gbce")

every_loss = pytest.mark.parametrize("name", LOSSES)
every_sampling = pytest.mark.parametrize("sampling", NEGATIVE_SAMPLING)


def sampler_of(sampling: str, counts: np.ndarray = COUNTS):
    items = np.repeat(np.arange(len(counts)), counts) + 1
    return {
        "uniform": lambda: UniformNegatives(len(counts)),
        "popularity": lambda: PopularityNegatives(items, len(counts)),
        "in_batch": lambda: InBatchNegatives(counts),
    }[sampling]()


@pytest.fixture
def problem():
    random = np.random.default_rng(0)
    states = torch.tensor(random.normal(size=(N_POSITIONS, WIDTH)), requires_grad=True)
    table = torch.tensor(random.normal(size=(N_ITEMS, WIDTH)), requires_grad=True)
    return states, table, torch.tensor(random.integers(1, N_ITEMS + 1, N_POSITIONS))


def loss_of(name: str, sampling: str, n_negatives: int, **options) -> NextItemLoss:
    return NextItemLoss(name, N_ITEMS, n_negatives, negatives=sampler_of(sampling), **options)


def values_of(loss: NextItemLoss, problem) -> torch.Tensor:
    values = loss.per_position(*problem, np.random.default_rng(1))
    assert values.shape == (N_POSITIONS,)
    return values


def softplus(value: float) -> float:
    return float(np.logaddexp(0, value))


def negatives_of_each(name: str, sampling: str, n_negatives: int, targets: np.ndarray) -> np.ndarray:
    """Rows of the table (n_positions, k), drawn as the losses say they are."""
    random = np.random.default_rng(1)
    if sampling == "in_batch":
        return np.tile(targets, (len(targets), 1))
    shape = (n_negatives,) if name in SHARED else (n_negatives, len(targets))
    if sampling == "uniform":
        drawn = random.integers(0, N_ITEMS, shape)
    else:
        drawn = np.repeat(np.arange(N_ITEMS), COUNTS)[random.integers(0, COUNTS.sum(), shape)]
    return np.tile(drawn, (len(targets), 1)) if name in SHARED else drawn.T


def plain_loss(name: str, sampling: str, s: np.ndarray, target: int, negatives: np.ndarray, n_draws: int) -> float:
    """The loss of one position with scores s, term by term."""
    if name == "ce":
        return np.log(np.exp(s).sum()) - s[target]
    counted = [j for j in negatives if j != target]
    if name == "sampled_softmax":
        expected = np.ones(N_ITEMS) if sampling == "uniform" else n_draws * COUNTS / COUNTS.sum()
        return np.log(np.exp(s[target]) + sum(np.exp(s[j]) / expected[j] for j in counted)) - s[target]
    if name == "gbce":
        alpha = n_draws / (N_ITEMS - 1)
        beta = alpha * (0.75 * (1 - 1 / alpha) + 1 / alpha)
        sigmoid = 1 / (1 + np.exp(-s))
        return -(beta * np.log(sigmoid[target]) + sum(np.log(1 - sigmoid[j]) for j in counted)) / (n_draws + 1)
    if name == "bce" and sampling == "uniform":
        counted = list(negatives)
    if name == "bce":
        terms = [softplus(s[j]) for j in counted]
        return softplus(-s[target]) + sum(terms) / max(len(terms), 1)
    terms = [softplus(s[j] - s[target]) for j in counted]
    return sum(terms) / max(len(terms), 1)


@pytest.mark.parametrize("n_negatives", [1, 3, 20])
@every_sampling
@every_loss
def test_each_loss_is_its_formula(problem, name, sampling, n_negatives):
    states, table, targets = problem
    scores, targets = (states @ table.T).detach().numpy(), targets.numpy() - 1
    negatives = negatives_of_each(name, sampling, n_negatives, targets)
    # With 20 draws out of 7 items every target is hit; with 1 nothing may be left to compare a hit position with.
    assert (negatives == targets[:, None]).any()
    n_draws = N_POSITIONS - 1 if sampling == "in_batch" else n_negatives
    expected = [
        plain_loss(name, sampling, row, target, drawn, n_draws)
        for row, target, drawn in zip(scores, targets, negatives, strict=True)
    ]
    values = values_of(loss_of(name, sampling, n_negatives), problem).detach().numpy()
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_calibration_of_gbce(problem, calibration):
    states, table, targets = problem
    scores, targets = (states @ table.T).detach().numpy(), targets.numpy() - 1
    negatives = np.random.default_rng(1).integers(0, N_ITEMS, 3)
    alpha = 3 / (N_ITEMS - 1)
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    sigmoid = 1 / (1 + np.exp(-scores))
    expected = [
        -(beta * np.log(sigmoid[i, t]) + sum(np.log(1 - sigmoid[i, j]) for j in negatives if j != t)) / 4
        for i, t in enumerate(targets)
    ]
    values = values_of(loss_of("gbce", "uniform", 3, calibration=calibration), problem).detach().numpy()
    np.testing.assert_allclose(values, expected, rtol=1e-12)


@every_sampling
@every_loss
def test_first_and_second_derivatives_are_those_of_finite_differences(problem, name, sampling):
    loss = loss_of(name, sampling, 3)
    states, table, targets = problem

    def values(states, table):
        return loss.per_position(states, table, targets, np.random.default_rng(1))

    assert torch.autograd.gradcheck(values, (states, table))
    assert torch.autograd.gradgradcheck(values, (states, table))


@every_sampling
@every_loss
def test_a_weight_scales_what_its_position_teaches(problem, name, sampling):
    loss = loss_of(name, sampling, 3)
    states, table, _targets = problem
    weights = torch.linspace(0, 2, N_POSITIONS, dtype=torch.float64)
    values = values_of(loss, problem)
    each = [torch.autograd.grad(value, (states, table), retain_graph=True) for value in values]
    weighted = torch.autograd.grad((values * weights).sum(), (states, table))
    for gradient, parts in zip(weighted, zip(*each, strict=True), strict=True):
        expected = sum(weight * part for weight, part in zip(weights, parts, strict=True))
        torch.testing.assert_close(gradient, expected, rtol=1e-11, atol=1e-12)
    # The loss of a position is no one else's business: its state gets no gradient from others.
    assert not weighted[0][0].any()
    assert weighted[0][1:].any(dim=1).sum() >= N_POSITIONS - 2


@every_sampling
@every_loss
def test_accumulated_gradients_are_the_same(problem, name, sampling):
    loss = loss_of(name, sampling, 3)
    states, table, _targets = problem
    expected = torch.autograd.grad(values_of(loss, problem).sum(), (states, table))
    table.grad = torch.ones_like(table)
    with accumulating_gradients():
        values_of(loss, problem).sum().backward()
    torch.testing.assert_close(states.grad, expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(table.grad, expected[1] + 1, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kept", [0, 1 << 26])
@pytest.mark.parametrize("rows", [1, 2, 4, N_POSITIONS + 3])
@pytest.mark.parametrize(("name", "sampling"), [("ce", "uniform"), ("sampled_softmax", "in_batch")])
def test_softmax_in_blocks_is_softmax(problem, name, sampling, rows, kept, monkeypatch):
    states, table, _targets = problem
    weights = torch.linspace(0.1, 2, N_POSITIONS, dtype=torch.float64)
    loss = loss_of(name, sampling, 1)
    whole = values_of(loss, problem)
    expected = torch.autograd.grad((whole * weights).sum(), (states, table))
    monkeypatch.setattr(log_sum_exp, "_FEWEST_ROWS", rows)
    monkeypatch.setitem(log_sum_exp._SCORES_AT_ONCE, "cpu", 1)
    monkeypatch.setattr(log_sum_exp, "_SCORES_KEPT", kept)
    blocked = values_of(loss, problem)
    torch.testing.assert_close(blocked, whole, rtol=1e-12, atol=1e-14)
    gradients = torch.autograd.grad((blocked * weights).sum(), (states, table))
    for gradient, unblocked in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, unblocked, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("logq", [True, False])
def test_softmax_of_a_number_of_negatives_that_varies_is_filled_up(problem, logq, monkeypatch):
    states, table, _targets = problem
    loss = loss_of("sampled_softmax", "in_batch", 1, logq=logq)
    whole = values_of(loss, problem)
    expected = torch.autograd.grad(whole.sum(), (states, table), create_graph=True)
    twice = torch.autograd.grad(sum((each**2).sum() for each in expected), (states, table))
    monkeypatch.setattr(log_sum_exp, "_RECURRING", 5)
    sizes = []
    monkeypatch.setattr(log_sum_exp, "product", lambda *given: sizes.append(len(given[1])) or product(*given))
    filled = values_of(loss, problem)
    assert N_POSITIONS % 5
    assert sizes[0] == N_POSITIONS + -N_POSITIONS % 5
    torch.testing.assert_close(filled, whole, rtol=1e-12, atol=1e-14)
    found = torch.autograd.grad(filled.sum(), (states, table), create_graph=True)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    found_twice = torch.autograd.grad(sum((each**2).sum() for each in found), (states, table))
    torch.testing.assert_close(found_twice, twice, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scores_at_once", [1, 2 * N_POSITIONS, 4 * N_POSITIONS + 3])
@pytest.mark.parametrize("name", ["gbce", "bce", "bpr"])
def test_binary_losses_in_blocks_are_themselves(problem, name, scores_at_once, monkeypatch):
    states, table, _targets = problem
    loss = loss_of(name, "in_batch", 1)
    whole = values_of(loss, problem)
    expected = torch.autograd.grad(whole.sum(), (states, table))
    monkeypatch.setattr(losses, "_SCORES_AT_ONCE", scores_at_once)
    blocked = values_of(loss, problem)
    torch.testing.assert_close(blocked, whole, rtol=1e-12, atol=1e-14)
    for gradient, unblocked in zip(torch.autograd.grad(blocked.sum(), (states, table)), expected, strict=True):
        torch.testing.assert_close(gradient, unblocked, rtol=1e-10, atol=1e-12)


class Allocations(TorchDispatchMode):
    """Notes the size of every tensor whose memory is new."""

    def __init__(self, known: list[torch.Tensor]) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.sizes = [0]
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        found = function(*arguments, **(keywords or {}))
        self.names.add(function.name())
        for tensor in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in self.known:
                self.sizes.append(tensor.numel())
        return found


def noted_step(loss: NextItemLoss, n_positions: int, width: int) -> Allocations:
    """What one forward and backward pass of a training step did."""
    random = np.random.default_rng(0)
    states = torch.tensor(random.normal(size=(n_positions, width)), dtype=torch.float32, requires_grad=True)
    table = torch.tensor(random.normal(size=(loss.n_items, width)), dtype=torch.float32, requires_grad=True)
    targets = torch.tensor(random.integers(1, loss.n_items + 1, n_positions))
    table.grad = torch.zeros_like(table)
    with accumulating_gradients():
        # What is made once for all batches is made here.
        loss.per_position(states, table, targets, random).sum().backward()
        with Allocations([table, table.grad]) as noted:
            loss.per_position(states, table, targets, random).sum().backward()
    assert len(noted.sizes) > 10
    return noted


def largest_allocation(loss: NextItemLoss, n_positions: int, width: int) -> int:
    """Elements of the largest tensor that one training step makes."""
    return max(noted_step(loss, n_positions, width).sizes)


@every_sampling
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "ce"])
def test_sampled_losses_make_nothing_of_the_size_of_the_vocabulary(name, sampling):
    n_items, n_positions, n_negatives, width = 5000, 12, 8, 3
    loss = NextItemLoss(name, n_items, n_negatives, negatives=sampler_of(sampling, np.full(n_items, 2)))
    assert largest_allocation(loss, n_positions, width) <= (n_negatives + 1) * n_positions * width < n_items


@every_sampling
@every_loss
def test_nothing_is_read_back_from_the_device(name, sampling):
    # On a GPU each of these waits for all that was queued before.
    waiting = {"aten::_local_scalar_dense", "aten::nonzero", "aten::_unique2", "aten::masked_select", "aten::equal"}
    names = noted_step(loss_of(name, sampling, 3), N_POSITIONS, WIDTH).names
    assert "aten::index_select" in names
    assert not names & waiting


def test_ce_holds_a_block_of_scores_and_no_gradient_of_the_table(monkeypatch):
    n_items, n_positions = 500, 200
    loss = NextItemLoss("ce", n_items, 1)
    assert largest_allocation(loss, n_positions, 64) == n_positions * n_items
    monkeypatch.setattr(log_sum_exp, "_SCORES_KEPT", n_positions * n_items - 1)
    monkeypatch.setattr(log_sum_exp, "_SUMMED_APART", n_items * 8 - 1)
    monkeypatch.setitem(log_sum_exp._SCORES_AT_ONCE, "cpu", 20 * n_items)
    assert largest_allocation(loss, n_positions, 64) < n_items * 64
    assert largest_allocation(loss, n_positions, 8) == 20 * n_items


def test_without_gradients_ce_keeps_nothing(problem, monkeypatch):
    states, table, _targets = problem
    loss = loss_of("ce", "uniform", 1)
    expected = values_of(loss, problem).detach()
    monkeypatch.setattr(log_sum_exp, "_FEWEST_ROWS", 2)
    monkeypatch.setitem(log_sum_exp._SCORES_AT_ONCE, "cpu", 1)
    with torch.no_grad(), Allocations([states, table]) as noted:
        values = values_of(loss, problem)
    assert max(noted.sizes) < N_POSITIONS * N_ITEMS
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-14)


def one_position(n_items: int, seed: int):
    random = np.random.default_rng(seed)
    state = torch.tensor(random.normal(size=(1, 4)), requires_grad=True)
    table = torch.tensor(random.normal(size=(n_items, 4)), requires_grad=True)
    return state, table, torch.tensor([3])


class Draws(np.random.Generator):
    """Draws a given number."""

    def integers(self, low, high, shape):
        return np.full(shape, self.value)


@pytest.mark.parametrize("sampling", ["uniform", "popularity"])
def test_corrected_negatives_have_the_sum_of_all_others_as_expectation(sampling):
    state, table, target = one_position(N_ITEMS, 0)
    loss = loss_of("sampled_softmax", sampling, 1, logq=True)
    scores = (state @ table.T).detach().numpy()[0]
    random = Draws(np.random.SFC64(0))
    sums = []
    # Every outcome of the draw, all equally probable: an item, or a place among the interactions.
    for random.value in range(N_ITEMS if sampling == "uniform" else COUNTS.sum()):
        value = loss.per_position(state, table, target, random).item()
        sums.append(np.exp(value + scores[2]) - np.exp(scores[2]))
    assert np.mean(sums) == pytest.approx(np.exp(np.delete(scores, 2)).sum(), rel=1e-12)


def mean_gradient(loss: NextItemLoss, n_repeats: int, counts: np.ndarray, n_negatives: int) -> np.ndarray:
    """Gradient of one position by its state and the table, averaged over draws."""
    state, table, target = one_position(len(counts), 1)
    random = np.random.default_rng(2)
    total = np.zeros(state.numel() + table.numel())
    for _ in range(n_repeats):
        states, targets = state, target
        if not isinstance(loss.sampler, DrawnNegatives):
            others = torch.from_numpy(random.choice(len(counts), n_negatives, p=counts / counts.sum()) + 1)
            states = torch.cat([state, torch.zeros(n_negatives, 4, dtype=torch.float64)])
            targets = torch.cat([target, others])
        value = loss.per_position(states, table, targets, random)[0]
        total += np.concatenate([part.numpy().ravel() for part in torch.autograd.grad(value, (state, table))])
    return total / n_repeats


@pytest.mark.parametrize("sampling", ["popularity", "in_batch"])
def test_with_logq_the_gradient_nears_that_of_the_full_softmax(sampling):
    counts = np.array([40, 1, 6, 25, 2, 12, 3, 1, 18, 5, 60, 2])
    full = mean_gradient(NextItemLoss("ce", len(counts), 1), 1, counts, 0)

    def errors(logq: bool) -> list[float]:
        found = []
        for n_negatives in (4, 32, 256, 1024):
            loss = NextItemLoss(
                "sampled_softmax", len(counts), n_negatives, negatives=sampler_of(sampling, counts), logq=logq
            )
            mean = mean_gradient(loss, min(500, 8192 // n_negatives), counts, n_negatives)
            found.append(np.linalg.norm(mean - full) / np.linalg.norm(full))
        return found

    corrected, plain = errors(True), errors(False)
    assert all(later < earlier for earlier, later in pairwise(corrected[:3]))
    assert corrected[-1] < 0.05
    # Without the correction frequent items are pushed down too far, however many negatives there are.
    assert min(plain) > 0.4


def test_logq_is_applied_where_the_sampler_is_not_uniform(problem):
    for sampling, expected in [("uniform", False), ("popularity", True), ("in_batch", True)]:
        chosen, same, other = (
            values_of(loss_of("sampled_softmax", sampling, 4, logq=logq), problem)
            for logq in (None, expected, not expected)
        )
        assert torch.equal(chosen, same)
        assert not torch.allclose(chosen, other)


@every_loss
def test_negatives_from_the_batch_are_as_many_as_there_are(problem, name):
    few, many = (values_of(loss_of(name, "in_batch", n_negatives), problem) for n_negatives in (1, 50))
    assert torch.equal(few, many)


@every_sampling
@every_loss
def test_a_catalogue_of_one_item_gives_numbers(name, sampling):
    for n_positions in (1, 3):
        states = torch.ones(n_positions, 2, requires_grad=True)
        table = torch.ones(1, 2, requires_grad=True)
        value = NextItemLoss(name, 1, 4, negatives=sampler_of(sampling, np.array([5]))).per_position(
            states, table, torch.ones(n_positions, dtype=torch.int64), np.random.default_rng(0)
        )
        value.sum().backward()
        assert torch.isfinite(value).all()
        assert torch.isfinite(states.grad).all()
        assert torch.isfinite(table.grad).all()


@every_sampling
@every_loss
def test_large_scores_do_not_overflow(name, sampling):
    table = torch.tensor([[100.0], [-100.0], [0.0]], requires_grad=True)
    states = torch.tensor([[10.0], [-10.0], [0.0]], requires_grad=True)
    loss = NextItemLoss(name, 3, 5, negatives=sampler_of(sampling, np.array([2, 3, 1])))
    value = loss.per_position(states, table, torch.tensor([1, 1, 2]), np.random.default_rng(0))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(states.grad).all()
    assert torch.isfinite(table.grad).all()
    assert value[1] > value[0]


def test_scores_that_are_no_number_give_a_loss_that_is_none():
    states = torch.full((2, 3), torch.nan)
    for name in LOSSES:
        value = NextItemLoss(name, 4, 3).per_position(
            states, torch.ones(4, 3), torch.tensor([1, 2]), np.random.default_rng(0)
        )
        assert torch.isnan(value).all(), name


def test_an_unknown_loss_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"one of 'sampled_softmax', 'ce', 'gbce', 'bce', 'bpr'; got 'hinge'"):
        NextItemLoss("hinge", 5, 1)
