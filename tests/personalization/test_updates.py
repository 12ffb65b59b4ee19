"""Updates of the weights inside the training loop: their step, what is skipped, and going on after an interruption."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seqregen import DatasetPersonalizer, Origin, PatternMiner
from seqregen.datasets import make_sequences
from seqregen.nn import RandomMasks, use_masks
from seqregen.nn.embedding import accumulating_gradients, is_accumulating
from seqregen.personalization import dev_rows, training
from seqregen.personalization.training import Personalization, _Join
from seqregen.targets import FMLP, SASRec, base
from seqregen.targets.cl4srec import CL4SRec, ContrastiveTerm
from seqregen.training import OuterPlan, OuterUpdates, TrainingPlan, next_item_rows

CPU = torch.device("cpu")


def outer_of(gradients, **plan) -> tuple[torch.nn.Parameter, OuterUpdates]:
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    found = iter(gradients)
    settings = {"every": 1, "first_epoch": 0} | plan
    return parameter, OuterUpdates([parameter], lambda random: [next(found)], OuterPlan(**settings))


def assert_skipped(parameter, outer, step) -> None:
    """The update is counted as skipped, and the parameter stays as it was."""
    before, record = parameter.detach().clone(), outer.record()
    outer.after_step(step, 0, np.random.default_rng(0))
    assert torch.equal(parameter.detach(), before)
    assert outer.record() == record | {"skipped_updates": record["skipped_updates"] + 1}


def test_the_step_is_that_of_gradient_descent_with_momentum():
    gradients = [torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 0.5]), torch.tensor([300.0, 400.0])]
    settings = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    ours, outer = outer_of(gradients, clip=10.0, **settings)
    twin = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.SGD([twin], lr=0.1, momentum=0.9, weight_decay=0.01)
    for step, gradient in enumerate(gradients):
        outer.after_step(step + 1, 0, np.random.default_rng(0))
        # The last one is longer than 10 and is scaled down.
        twin.grad = gradient * min(1.0, 10 / gradient.norm().item())
        optimizer.step()
        torch.testing.assert_close(ours.data, twin.data)
    assert (outer.n_updates, outer.n_skipped) == (3, 0)
    assert ours.grad is None
    assert not ours.requires_grad


def test_the_step_of_adam_is_that_of_torch():
    gradients = [torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 0.5])]
    ours, outer = outer_of(gradients, optimizer="adam", learning_rate=0.1, momentum=0.8, weight_decay=0.01)
    twin = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.Adam([twin], lr=0.1, betas=(0.8, 0.999), weight_decay=0.01)
    for step, gradient in enumerate(gradients):
        outer.after_step(step + 1, 0, np.random.default_rng(0))
        twin.grad = gradient
        optimizer.step()
    assert torch.equal(ours.data, twin.data)


@pytest.mark.parametrize(
    ("bad", "limit"), [(torch.nan, 1000.0), (torch.inf, 1000.0), (1001.0, 1000.0), (torch.inf, np.inf)]
)
def test_a_bad_gradient_is_counted_and_never_applied(bad, limit):
    gradients = [torch.tensor([0.0, bad]), None, torch.ones(2)]
    parameter, outer = outer_of(gradients, momentum=0.0, weight_decay=0.0, skip_above=limit)
    before = parameter.detach().clone()
    assert_skipped(parameter, outer, 1)
    outer.after_step(2, 0, np.random.default_rng(0))
    assert torch.equal(parameter.detach(), before)
    outer.after_step(3, 0, np.random.default_rng(0))
    assert outer.record() == {"updates": 2, "skipped_updates": 1}
    assert not torch.equal(parameter.detach(), before)


@pytest.mark.parametrize("rate", [3e38, 1e20])
def test_a_step_to_where_nothing_can_be_computed_is_taken_back(rate):
    gradients = [torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])]
    parameter, outer = outer_of(gradients, learning_rate=rate, momentum=0.9)
    assert_skipped(parameter, outer, 1)
    # What drove it there is forgotten with it.
    assert_skipped(parameter, outer, 2)


def test_weights_stay_finite_whatever_the_learning_rate(tiny, mined):
    personalizer = tiny(learning_rate=20, weight_decay=1, momentum=0.0, temperature=1.0, update_every=1).fit(mined)
    assert personalizer.n_skipped_ > 0
    assert np.isfinite(personalizer.weights_).all()


def test_updates_are_due_every_so_many_steps_of_the_run():
    for every, first_epoch, n_batches, n_epochs in [
        (3, 0, 7, 4),
        (3, 2, 7, 4),
        (30, 1, 7, 4),
        (28, 0, 7, 4),
        (5, 9, 7, 4),
    ]:
        _, outer = outer_of([torch.zeros(2)] * 30, every=every, first_epoch=first_epoch)
        for step in range(n_batches * n_epochs):
            outer.after_step(step + 1, step // n_batches, np.random.default_rng(0))
        assert outer.n_updates == outer.plan.n_updates(n_batches, n_epochs)


def test_gradients_are_ordinary_ones_while_they_are_computed():
    seen = []

    def gradients(random):
        seen.append((is_accumulating(), parameter.requires_grad))
        return [torch.zeros(2)]

    parameter = torch.nn.Parameter(torch.zeros(2))
    outer = OuterUpdates([parameter], gradients, OuterPlan(every=1, first_epoch=0))
    with accumulating_gradients():
        outer.after_step(1, 0, np.random.default_rng(0))
        assert is_accumulating()
    assert seen == [(False, True)]


def test_bad_hypergradients_are_skipped_in_a_fit(tiny, mined, monkeypatch):
    through, calls = training.through_minimum, iter(range(10**6))

    def sometimes_nan(*arguments, **settings):
        # The first call tries the network out.
        factor = torch.nan if next(calls) % 2 else 1.0
        return [part * factor for part in through(*arguments, **settings)]

    expected = tiny().fit(mined)
    monkeypatch.setattr(training, "through_minimum", sometimes_nan)
    personalizer = tiny().fit(mined)
    assert personalizer.n_skipped_ > 0
    assert personalizer.n_updates_ > 0
    assert personalizer.n_skipped_ + personalizer.n_updates_ == expected.n_updates_
    assert np.isfinite(personalizer.weights_).all()
    assert personalizer.history_[-1]["skipped_updates"] == personalizer.n_skipped_


def test_where_all_are_skipped_it_says_so(tiny, mined):
    with pytest.warns(UserWarning, match=r"learnt nothing.* all \d+ update\(s\) were skipped"):
        personalizer = tiny(skip_norm=1e-12, noise=False, temperature_schedule="exponential").fit(mined)
    assert personalizer.n_updates_ == 0
    # An update that was not made cools nothing.
    assert {record["temperature"] for record in personalizer.history_[1:]} == {10.0}


# The gradient of a whole network


def joined(personalizer, data, **changes):
    """The training task of a personalizer that has not begun, and its hypergradient."""
    model = personalizer.recommender.set_params(**changes)
    personalizer._check_parameters()
    companion = Personalization(personalizer._settings(data))
    task = model._task(companion.kept_in(data, 0), None, CPU, 0, 100)
    companion.joined(task)
    return task, companion


def test_the_first_order_gradient_is_that_of_one_step_ahead(tiny, mined):
    n_rows = int((mined.lengths > 1).sum())
    personalizer = tiny(noise=False, optimize="first_order", temperature=1.0, fixed=())
    task, companion = joined(personalizer, mined, loss="ce", batch_size=n_rows, dropout=0.0)
    network, weighting = task.network.double(), companion.weighting.double()
    network.eval()
    layers = weighting.layers
    found = companion.outer.gradients(np.random.default_rng(0))
    batch = task.part.rows.batch(np.arange(n_rows), CPU)
    parameters = list(network.parameters())
    states, losses = task.measure(batch, None)
    dev = torch.autograd.grad(losses.mean(), parameters)
    states, losses = task.measure(batch, None)
    for parameter in layers:
        parameter.requires_grad_(True)
    weighted = (weighting(states.detach(), None) * losses).mean()
    slopes = torch.autograd.grad(weighted, parameters, create_graph=True)
    # A step of ``rate`` along the slopes changes the dev loss by -rate times this.
    along = sum((slope * part).sum() for slope, part in zip(slopes, dev, strict=True))
    for ours, expected in zip(found, torch.autograd.grad(-along, layers), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-12)

    def dev_loss_after_a_step(shift: float, rate: float = 1e-6) -> float:
        with torch.no_grad():
            layers[2][0, 0] += shift
        states, losses = task.measure(batch, None)
        slopes = torch.autograd.grad((weighting(states.detach(), None) * losses).mean(), parameters)
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.sub_(slope, alpha=rate)
            value = task.measure(batch, None)[1].mean().item()
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.add_(slope, alpha=rate)
            layers[2][0, 0] -= shift
        return value

    difference = (dev_loss_after_a_step(1e-2) - dev_loss_after_a_step(-1e-2)) / 2e-2 / 1e-6
    assert difference == pytest.approx(found[2][0, 0].item(), rel=1e-2)


def test_the_loops_gradients_are_untouched_by_an_update(tiny, mined):
    task, companion = joined(tiny(), mined)
    task.network.train()
    use_masks(task.network, RandomMasks(0, CPU))
    for parameter in task.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with accumulating_gradients():
        companion.outer.after_step(2, 1, np.random.default_rng(0))
    assert companion.outer.n_updates == 1
    assert all(not parameter.grad.any() for parameter in task.network.parameters())


# Interruptions


def slow_clock(monkeypatch) -> None:
    """Let fits save after every epoch."""
    monkeypatch.setattr(base, "TrainingPlan", functools.partial(TrainingPlan, checkpoint_seconds=0))


class Interrupt(Exception):
    pass


@pytest.mark.parametrize("optimize", ["bilevel", "joint"])
def test_an_interrupted_fit_goes_on_to_the_same_result(tiny, mined, tmp_path, monkeypatch, optimize):
    settings = {
        "optimize": optimize, "temperature_schedule": "exponential", "recommender__checkpoint_dir": tmp_path,
        "recommender__max_epochs": 5,
    }  # fmt: skip
    expected = tiny(**(settings | {"recommender__checkpoint_dir": None})).fit(mined)
    slow_clock(monkeypatch)
    begin = training._Join.begin_epoch

    def interrupting(self, epoch):
        if epoch == 3:
            raise Interrupt
        begin(self, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(training._Join, "begin_epoch", interrupting)
        with pytest.raises(Interrupt):
            tiny(**settings).fit(mined)
    (path,) = tmp_path.iterdir()
    state = torch.load(path, weights_only=True)
    assert len(state["history"]) == 3
    assert ("outer" in state) == (optimize == "bilevel")
    again = tiny(**settings).fit(mined)
    np.testing.assert_array_equal(again.weights_, expected.weights_)
    assert [record["loss"] for record in again.history_] == [record["loss"] for record in expected.history_]
    assert again.n_updates_ == expected.n_updates_
    # Another setting, and the recommender alone, are other runs.
    tiny(**settings, momentum=0.1).fit(mined)
    again.recommender.fit(mined)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_killed_process_goes_on_where_it_was(tiny, mined, tmp_path, monkeypatch):
    script = (
        "import functools, os, pickle, signal, sys\n"
        "from seqregen.targets import base\n"
        "from seqregen.training import TrainingPlan\n"
        "from seqregen.personalization import training\n"
        "base.TrainingPlan = functools.partial(TrainingPlan, checkpoint_seconds=0)\n"
        "hypergradient, calls = training._Join.hypergradient, iter(range(100))\n"
        "def dying(self, random):\n"
        "    if next(calls) == 7:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return hypergradient(self, random)\n"
        "training._Join.hypergradient = dying\n"
        "personalizer, data = pickle.load(open(sys.argv[1], 'rb'))\n"
        "personalizer.fit(data)\n"
    )

    personalizer = tiny(recommender__max_epochs=5, recommender__checkpoint_dir=str(tmp_path / "kept"))
    file = Path(tmp_path / "call.pickle")
    file.write_bytes(pickle.dumps((personalizer, mined)))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.run(
        [sys.executable, "-c", script, str(file)], capture_output=True, check=False, env=environment
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(list((tmp_path / "kept").iterdir())) == 1
    expected = tiny(recommender__max_epochs=5).fit(mined)
    again = personalizer.fit(mined)
    np.testing.assert_array_equal(again.weights_, expected.weights_)
    assert again.n_updates_ == expected.n_updates_ > 7


# What is kept from the model


def assert_mined_rows_are_those_of(kept, data):
    """What dev rows alone support with one other row would show them; the fixture mines from a support of two."""

    def support(pattern, rows):
        return sum(holds(row, pattern) for row in rows.originals().to_lists())

    def holds(row, pattern):
        rest = iter(row)
        return all(item in rest for item in pattern)

    all_mined, mined = (rows[rows.origin == Origin.MINED].to_lists() for rows in (data, kept))
    least = min(support(pattern, data) for pattern in all_mined)
    assert mined == [pattern for pattern in all_mined if support(pattern, kept) >= least]
    assert 0 < len(mined) < len(all_mined)


def test_held_out_rows_and_what_was_made_of_them_stay_out(tiny, mined):
    originals = mined.originals()
    data = mined.append(originals.items, originals.offsets, Origin.REGENERATED, source=np.arange(len(originals)))
    companion = Personalization(tiny(dev="held_out", held_out_share=0.25)._settings(data))
    kept = companion.kept_in(data, seed=5)
    dev = companion._dev_rows
    assert len(dev) == 15
    assert (dev.origin == Origin.ORIGINAL).all()
    assert kept.n_original == 45
    assert_mined_rows_are_those_of(kept, data)
    regenerated = np.flatnonzero(kept.origin == Origin.REGENERATED)
    assert len(regenerated) == 45
    for row in regenerated[::7]:
        assert kept[row].tolist() == kept[int(kept.source[row])].tolist()
    both = sorted(map(tuple, kept.originals().to_lists() + dev.to_lists()))
    assert both == sorted(map(tuple, originals.to_lists()))
    again = Personalization(tiny(dev="held_out", held_out_share=0.25)._settings(data))
    assert again.kept_in(data, seed=5) == kept
    assert again.kept_in(data, seed=6) != kept


def test_mined_rows_of_dev_rows_stay_out_whatever_else_is_among_them(tiny):
    rows = [[f"a{i}", f"b{i}"] for i in range(20) for _ in range(2)] + [["x", "y"]] * 2
    mined = PatternMiner(min_support=2, random_state=0).fit_transform(rows)
    # No row that is left supports the pattern (x, y).
    data = mined[np.setdiff1d(np.arange(len(mined)), [40, 41])]
    companion = Personalization(tiny(dev="held_out", held_out_share=0.6)._settings(data))
    kept = companion.kept_in(data, seed=0)
    # Each of these patterns is a whole row.
    originals = kept.originals().to_lists()
    supports = [originals.count(pattern) for pattern in kept[kept.origin == Origin.MINED].to_lists()]
    assert sorted(set(supports)) == [0, 2]
    assert supports.count(0) == 1


def test_joint_training_has_no_dev_rows(tiny, mined):
    companion = Personalization(tiny(dev="held_out", held_out_share=0.5, optimize="joint")._settings(mined))
    assert companion.kept_in(mined, seed=0) == mined
    companion = Personalization(tiny(dev="original", optimize="joint")._settings(mined))
    added = mined[mined.origin == Origin.MINED]
    assert companion.kept_in(added, seed=0) == added


@pytest.mark.parametrize("factor", [1, 0.1])
def test_losses_are_means_of_one_kind_from_the_warm_up_on(tiny, mined, factor):
    weights = np.where(np.arange(mined.n_interactions) % 3 == 0, 1, 0.2).astype(np.float32) * np.float32(factor)
    personalizer = tiny(normalize="weight", update_every=1, recommender__max_epochs=3).fit(
        mined.replace(weights=weights)
    )
    losses = np.array([record["loss"] for record in personalizer.history_])
    np.testing.assert_allclose(losses, losses[0], rtol=0.1)


def test_held_out_items_are_cut_off_and_their_loss_alone_is_read(tiny, mined):
    originals = mined.originals()
    data = mined.append(originals.items, originals.offsets, Origin.REGENERATED, source=np.arange(len(originals)))
    personalizer = tiny(dev="held_out_items", held_out_share=0.25, noise=False)
    personalizer.set_params(recommender__dropout=0.0, recommender__loss="ce")
    companion = Personalization(personalizer._settings(data))
    kept = companion.kept_in(data, seed=5)
    dev = companion._dev_rows
    assert len(dev) == 15
    assert kept.n_original == 60
    assert_mined_rows_are_those_of(kept, data)
    assert (kept.origin == Origin.REGENERATED).sum() == 45
    cut = np.flatnonzero(kept.originals().lengths < originals.lengths)
    assert [kept[int(row)].tolist() for row in cut] == [row[:-1] for row in dev.to_lists()]
    # A refit puts validation items behind the rows; behind these it would be in the place of the one cut off.
    assert not kept.validation[cut].any()
    np.testing.assert_array_equal(np.delete(kept.validation[:60], cut), np.delete(originals.validation, cut))

    model = personalizer.recommender
    task = model._task(kept, None, CPU, 0, 10)
    companion.joined(task)
    join = _Join(companion._settings, task, dev)
    loss = join.dev_loss(len(dev), np.random.default_rng(1))
    batch = next_item_rows(dev, model.max_length).batch(np.arange(len(dev)), CPU)
    with torch.no_grad():
        logits = task.network.states(batch)[batch.last] @ task.network.item_table().T
    expected = torch.nn.functional.cross_entropy(logits, batch.targets[batch.last] - 1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    weighted = _Join(companion._settings, task, dev.replace(weights=np.full(dev.n_interactions, 3, dtype=np.float32)))
    assert weighted.dev_loss(len(dev), np.random.default_rng(1)).item() == pytest.approx(3 * expected.item(), rel=1e-5)


def test_runs_that_hold_out_other_items_do_not_share_a_checkpoint(tiny, mined, tmp_path, monkeypatch):
    """The rows that are trained on are the same: without the last item of every original row."""
    monkeypatch.setattr(dev_rows, "_draw", lambda training, what, share, seed: np.arange(10))
    items = mined.items.copy()
    places = mined.offsets[1:11] - 1
    items[places] = items[places] % mined.n_items + 1
    found = []
    for rows in (mined, mined.replace(items=items)):
        personalizer = tiny(dev="held_out_items", recommender__checkpoint_dir=tmp_path).fit(rows)
        expected = tiny(dev="held_out_items").fit(rows)
        np.testing.assert_array_equal(personalizer.weights_, expected.weights_)
        found.append(personalizer.weighting_.layers[0])
    assert len(list(tmp_path.iterdir())) == 2
    assert not torch.equal(*found)


def test_refitting_with_held_out_items_trains_on_none_of_them(tiny, mined, monkeypatch):
    seen = []
    task_of = SASRec._task

    def watched(self, training, *others):
        seen.append(training)
        return task_of(self, training, *others)

    monkeypatch.setattr(SASRec, "_task", watched)
    tiny(dev="held_out_items", held_out_share=0.25, recommender__refit=True).fit(mined)
    first, again = (rows.originals() for rows in seen)
    same = first.lengths == again.lengths
    assert same.sum() == 15
    np.testing.assert_array_equal(again.lengths[~same], first.lengths[~same] + 1)
    np.testing.assert_array_equal(again.lengths[~same], mined.originals().lengths[~same] + 1)


def test_held_out_items_work_for_prefixes(tiny, mined, sizes):
    model = FMLP(**sizes, loss="bce")
    fitted = tiny(model, dev="held_out_items", held_out_share=0.25).fit(mined)
    assert fitted.n_updates_ > 0
    assert fitted.weights_by_origin_["original"].deviation > 0


def test_patterns_of_one_staying_row_go_with_the_dev_row():
    mined = PatternMiner(min_support=1, random_state=0).fit_transform([["x", "y"], ["x", "y"], ["p", "q"]])
    seen = 0
    for seed in range(10):
        rows, dev = dev_rows.keep_for_dev(mined, "held_out", 1 / 3, seed)
        if dev.to_lists() == [["x", "y"]]:
            seen += 1
            assert rows[rows.origin == Origin.MINED].to_lists() == [["p", "q"]]
    assert seen


@pytest.mark.filterwarnings("ignore:CL4SRec has no validation item:UserWarning")
def test_dev_losses_add_views_of_dev_rows(monkeypatch):
    sizes, original = set(), ContrastiveTerm.__call__

    def noted(self, *args):
        sizes.add(len(self.rows))
        return original(self, *args)

    monkeypatch.setattr(ContrastiveTerm, "__call__", noted)
    mined = PatternMiner(window=3, random_state=0).fit_transform(make_sequences(40, 20, random_state=1))
    model = CL4SRec(embedding_dim=8, n_layers=1, hidden_dim=8, max_epochs=2, batch_size=16, random_state=0)
    DatasetPersonalizer(model, dev="original", update_every=2, warmup_epochs=0).fit(mined)
    # Those that are trained on, and the original ones.
    assert len(sizes) == 2
