"""The training loop: what it keeps, when it stops, and that it can be interrupted."""

from __future__ import annotations

import math
import signal
import subprocess
import sys

import lines
import numpy as np
import pytest
import torch
from lines import CPU, Line, dies_in, run
from torch import nn

from seqregen.nn import Dropout
from seqregen.training import StopRule, TrainingPlan, train
from seqregen.training.checkpoints import CheckpointFile
from seqregen.training.loop import TrainingDivergedError


def weights(network: nn.Module) -> list[torch.Tensor]:
    return list(network.state_dict().values())


def assert_same(first: tuple, second: tuple) -> None:
    assert all(torch.equal(a, b) for a, b in zip(weights(first[0]), weights(second[0]), strict=True))
    assert first[1].best_epoch == second[1].best_epoch
    timeless = [
        [{name: value for name, value in record.items() if "seconds" not in name} for record in result.history]
        for _, result in (first, second)
    ]
    assert timeless[0] == timeless[1]


class Scripted(nn.Module):
    """One number; each step of Adam with the loss x moves it by about the learning rate."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(()))


def scripted(values, *, patience=3, rising=True, tolerance=0.0, max_epochs=50, losses=None):
    """Train with measurements (or losses) that are given; returns the number after each epoch, too."""
    network, numbers = Scripted(), []
    values = iter(values)

    def measure():
        numbers.append(network.x.item())
        return {"value": next(values)}

    def loss(batch, random):
        return network.x if losses is None else network.x * 0.001 + losses[len(numbers)]

    stop = StopRule("value", patience, rising, tolerance)
    plan = TrainingPlan(max_epochs=max_epochs, learning_rate=0.1, stop=stop)
    result = train(network, lambda random: [None], loss, plan, seed=0, device=CPU, evaluate=measure)
    return network, result, numbers


def test_training_learns_and_leaves_nothing_behind():
    network, result = run(max_epochs=40, stop=False)
    assert result.history[-1]["loss"] < result.history[0]["loss"] / 5
    assert result.best_epoch == 39
    assert [record["epoch"] for record in result.history] == list(range(40))
    assert {"epoch", "loss", "seconds", "error", "evaluation_seconds"} == set(result.history[0])
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(module.masks is None for module in network.modules() if isinstance(module, Dropout))


def test_the_best_epochs_weights_are_restored():
    network, result, numbers = scripted([0.1, 0.5, 0.3, 0.2, 0.4], patience=3)
    assert result.best_epoch == 1
    assert len(result.history) == 5
    assert network.x.item() == numbers[1] != numbers[-1]


@pytest.mark.parametrize(
    ("values", "patience", "best", "epochs"),
    [
        # Epochs without an improvement are counted, not a drop; the count starts anew.
        ([3, 2, 2.5, 4, 1, 1, 1], 3, 3, 7),
        # An equal value counts as an improvement, as in the published harness.
        ([2, 1, 2, 1, 1], 2, 2, 5),
        # One value for so many epochs, as a perfect one is, will stay.
        ([1, 2, 2, 2, 9], 2, 3, 4),
        ([5, 1], 1, 0, 2),
        # Epochs run out before patience does.
        ([1, 2, 3, 4], 2, 3, 4),
    ],
)
def test_patience(values, patience, best, epochs):
    _, result, _ = scripted(values, patience=patience, max_epochs=len(values) if best == len(values) - 1 else 50)
    assert (result.best_epoch, len(result.history)) == (best, epochs)


def test_a_loss_of_nothing_is_a_plateau():
    # Weights of 0, or nothing to tell apart: no epoch gains a share of what is left.
    _, result, _ = scripted([4, 0, 0, 0, 0], patience=3, rising=False, tolerance=0.01)
    # As good as the first of them: the last is kept.
    assert (result.best_epoch, len(result.history)) == (4, 5)


def test_buffers_of_other_shapes_and_what_is_no_tensor_are_kept(tmp_path):
    class Growing(Scripted):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.zeros(0, 0))
            self.notes = {"seen": 0}

        def get_extra_state(self):
            return self.notes

        def set_extra_state(self, notes):
            self.notes = notes

    def grow(network, epochs):
        def loss(batch, random):
            network.notes["seen"] += 1
            network.mask = torch.ones(network.notes["seen"], 2)
            return network.x

        values = iter([1.0, 3.0, 2.0, 2.5])
        plan = TrainingPlan(
            max_epochs=epochs, stop=StopRule("value", 5), checkpoint=CheckpointFile(tmp_path, "growing", "run")
        )
        return train(
            network, lambda random: [None], loss, plan, seed=0, device=CPU, evaluate=lambda: {"value": next(values)}
        )

    network = Growing()
    assert grow(network, 3).best_epoch == 1
    # The state of the best epoch, not of the last.
    assert (network.mask.shape, network.notes) == ((2, 2), {"seen": 2})
    again = Growing()
    assert len(grow(again, 4).history) == 4
    assert (again.mask.shape, again.notes) == ((2, 2), {"seen": 2})


def test_a_falling_metric_with_a_tolerance_is_a_plateau():
    # 1 % is asked for: 100, 99 and 90 bring it; 89.5 and what follows does not, but is what is kept if it is lower.
    _, result, _ = scripted([100, 99, 98.5, 90, 89.5, 89.15, 89.2], patience=3, rising=False, tolerance=0.01)
    assert (result.best_epoch, len(result.history)) == (5, 7)
    # Small steps add up to 1 % within three epochs.
    _, result, _ = scripted([100, 99.6, 99.2, 98.8, 98.8, 98.8, 98.8], patience=3, rising=False, tolerance=0.01)
    assert (result.best_epoch, len(result.history)) == (6, 7)


def test_the_schedule_is_asked_once_a_step():
    asked = []

    def schedule(step):
        asked.append(step)
        return 0.0

    network, _ = run(max_epochs=3, stop=False, schedule=schedule)
    assert asked == list(range(9))
    # A rate of 0 moves nothing.
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), Line().parameters(), strict=True))


def test_the_step_is_adams():
    network, twin = Line(), Line()
    network.dropout.rate = twin.dropout.rate = 0.0
    rows = torch.tensor([0, 3, 3, 5])
    plan = TrainingPlan(max_epochs=4, learning_rate=0.02, weight_decay=0.1, betas=(0.8, 0.95), epsilon=1e-3)
    train(network, lambda random: [rows], lambda batch, random: (network(batch) ** 2).mean(), plan, seed=0, device=CPU)
    optimizer = torch.optim.Adam(
        twin.parameters(), lr=0.02, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-3, foreach=False
    )
    for _ in range(4):
        optimizer.zero_grad()
        (twin(rows) ** 2).mean().backward()
        optimizer.step()
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_diverging_at_once_says_where_and_what_to_do():
    losses = [math.inf]
    with pytest.raises(TrainingDivergedError, match=r"in epoch 1, batch 1\. .*learning rate .*\(it is 0\.1\)"):
        scripted([1], losses=losses)
    assert issubclass(TrainingDivergedError, FloatingPointError)

    def third_batch(network):
        calls = iter(range(10))
        return lambda rows, random: network(rows).sum() * (math.nan if next(calls) == 2 else 1)

    with pytest.raises(TrainingDivergedError, match="epoch 1, batch 3"):
        run(loss=third_batch)


def test_diverging_later_keeps_the_best_weights():
    with pytest.warns(RuntimeWarning, match=r"in epoch 4, batch 1\..*the weights of epoch 2 are kept") as caught:
        network, result, numbers = scripted([1, 3, 2], losses=[1.0, 1.0, 1.0, math.nan])
    assert len(caught) == 1
    assert result.best_epoch == 1
    assert len(result.history) == 3
    assert network.x.item() == numbers[1]


def test_diverging_later_keeps_the_last_weights_where_there_is_no_stop_rule():
    network, numbers = Scripted(), []

    def loss(batch, random):
        numbers.append(network.x.item())
        return network.x * (math.nan if len(numbers) == 3 else 1.0)

    with pytest.warns(RuntimeWarning, match=r"in epoch 3, batch 1\..*the weights of epoch 2 are kept"):
        result = train(network, lambda random: [None], loss, TrainingPlan(max_epochs=5), seed=0, device=CPU)
    assert (result.best_epoch, len(result.history)) == (1, 2)
    assert network.x.item() == numbers[2]


def test_diverging_in_the_validation_is_diverging():
    class NotANumber(ValueError, FloatingPointError):
        pass

    def measured(*found):
        yield from found
        raise NotANumber("the score of item code 1 in row 0 is NaN")

    with pytest.raises(TrainingDivergedError, match=r"validation behind epoch 1: the score of item code 1 in row 0"):
        scripted(measured())
    with pytest.warns(RuntimeWarning, match=r"behind epoch 4: .*the weights of epoch 2 are kept"):
        network, result, numbers = scripted(measured(1, 3, 2))
    assert (result.best_epoch, len(result.history)) == (1, 3)
    assert network.x.item() == numbers[1]


def test_weights_that_the_last_step_spoils_are_not_passed_off_as_trained():
    network = Scripted()
    plan = TrainingPlan(max_epochs=1, learning_rate=0.1)

    def loss(batch, random):
        # The loss is 0 and its gradient infinite.
        return network.x.abs().sqrt()

    with pytest.raises(TrainingDivergedError, match="in epoch 1"):
        train(network, lambda random: [None], loss, plan, seed=0, device=CPU)


def test_no_batch_is_no_training():
    with pytest.raises(ValueError, match="no batch to train on"):
        train(Line(), lambda random: [], lambda *_: None, TrainingPlan(max_epochs=1), seed=0, device=CPU)


def test_the_seed_decides_everything():
    first, again, other = run(), run(), run(seed=4)
    assert_same(first, again)
    assert not torch.equal(first[0].head.weight, other[0].head.weight)


def test_the_global_generators_are_neither_read_nor_moved():
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = run()
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    torch.manual_seed(2)
    assert_same(first, run())


class Interrupt(Exception):
    pass


def interrupt() -> None:
    raise Interrupt


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("epoch", [1, 6, 11])
def test_an_interrupted_run_ends_like_one_that_was_not(tmp_path, epoch, stop):
    schedule = lambda step: 1 / (1 + step)  # noqa: E731
    expected = run(stop=stop, schedule=schedule)
    with pytest.raises(Interrupt):
        run(tmp_path, stop=stop, schedule=schedule, loss=dies_in(epoch, interrupt))
    assert len(list(tmp_path.iterdir())) == 1
    assert_same(run(tmp_path, stop=stop, schedule=schedule), expected)
    # A finished run is only read back.
    assert_same(run(tmp_path, stop=stop, schedule=schedule, loss=dies_in(0, interrupt)), expected)


def test_interrupted_in_the_first_epoch_it_starts_again(tmp_path):
    with pytest.raises(Interrupt):
        run(tmp_path, loss=dies_in(0, interrupt))
    assert list(tmp_path.iterdir()) == []
    assert_same(run(tmp_path), run())


def test_a_killed_process_goes_on_where_it_was(tmp_path):
    killed = subprocess.run([sys.executable, lines.__file__, str(tmp_path)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    state = CheckpointFile(tmp_path, "line", "run").load()
    assert len(state["history"]) == 6
    assert_same(run(tmp_path), run())


def test_killed_while_writing_the_old_checkpoint_survives(tmp_path, monkeypatch):
    with pytest.raises(Interrupt):
        run(tmp_path, loss=dies_in(4, interrupt))
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()

    def full_disk(state, path):
        path.write_bytes(b"half of it")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match=r"the checkpoint .* cannot be written: is the disk full\?"):
        run(tmp_path)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before
    assert_same(run(tmp_path), run())


@pytest.mark.parametrize("spoil", ["missing", "shape", "best", "another", "number"])
def test_a_checkpoint_of_something_else_is_named(tmp_path, spoil):
    run(tmp_path, max_epochs=1)
    file = CheckpointFile(tmp_path, "line", "run")
    state = file.load()
    if spoil == "missing":
        del state["n_steps"]
    elif spoil == "shape":
        state["network"] = {name: value[None] for name, value in state["network"].items()}
    elif spoil == "best":
        del state["best_weights"]["head.bias"]
    elif spoil == "another":
        state["best_weights"]["head.bias"] = torch.zeros(2)
    else:
        state["best_weights"]["head.bias"] = 3
    file.save(state)
    with pytest.raises(ValueError, match=r"line-run\.pt is not one of .* as it is now .* Delete it"):
        run(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_truncated_checkpoint_is_named(tmp_path, share):
    run(tmp_path, max_epochs=2)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"line-run\.pt cannot be read: it is damaged.* Delete it"):
        run(tmp_path)


def test_a_checkpoint_cannot_run_code(tmp_path):
    CheckpointFile(tmp_path, "line", "run").save({"network": Interrupt()})
    with pytest.raises(ValueError, match="cannot be read"):
        run(tmp_path)


def test_every_epoch_draws_anew():
    orders, draws = [], []

    def batches(random):
        orders.append(tuple(random.permutation(20)))
        return [None]

    def loss(batch, random):
        draws.append(random.random())
        return network.x * 1.0

    network = Scripted()
    train(network, batches, loss, TrainingPlan(max_epochs=3), seed=0, device=CPU)
    assert len(set(orders)) == len(set(draws)) == 3
