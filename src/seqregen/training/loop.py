"""The one training loop."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..callers import stacklevel_of_caller
from ..nn import RandomMasks, accumulating_gradients, computing_in, use_masks
from .averaging import WeightAverage
from .checkpoints import CheckpointFile
from .memory import release_unused_memory
from .outer import OuterUpdates

__all__ = ["StopRule", "TrainingDivergedError", "TrainingPlan", "TrainingResult", "train"]


class TrainingDivergedError(FloatingPointError):
    """The loss is no longer a number, and no epoch was good enough to fall back on."""


@dataclass(frozen=True)
class StopRule:
    """When training has nothing more to gain.

    Parameters
    ----------
    metric : str
        The entry of an epoch's record to watch, "loss" or what ``evaluate`` returns.
    patience : int
        Epochs without an improvement after which training stops; so does it where the metric was the same, to the
        last digit, through all of them.
    rising : bool, default=True
        Whether larger is better.
    tolerance : float, default=0
        Improvement that sets patience back, as a share of the last one that did. With 0 an equal value does, as in the
        published harness. The weights kept are those of the best epoch, by however little.
    """

    metric: str
    patience: int
    rising: bool = True
    tolerance: float = 0.0

    def improves(self, value: float, best: float | None) -> bool:
        """Whether the weights behind this value are to be kept rather than those behind the best one so far."""
        return best is None or (value >= best if self.rising else value <= best)

    def ends(self, history: list[dict[str, float]]) -> bool:
        """Whether to stop behind these records, one an epoch."""
        recent = {record[self.metric] for record in history[-self.patience - 1 :]}
        constant = len(history) > self.patience and len(recent) == 1
        return constant or len(history) - 1 - self._last_progress(history) >= self.patience

    def _last_progress(self, history: list[dict[str, float]]) -> int:
        """The last epoch that set patience back."""
        last = 0
        for epoch, record in enumerate(history):
            reference = history[last][self.metric]
            gain = record[self.metric] - reference if self.rising else reference - record[self.metric]
            # A loss of 0 cannot fall, and all that it could fall by is no more than a share of it.
            if gain >= self.tolerance * abs(reference) and (gain > 0 or self.tolerance == 0):
                last = epoch
        return last


@dataclass(frozen=True)
class TrainingPlan:
    """How to train; the defaults are those of the published harness.

    Parameters
    ----------
    max_epochs : int
    learning_rate : float, default=1e-3
    weight_decay : float, default=0
    average_decay : float, default=0
        Share of a :class:`WeightAverage` that is kept in a step. The average is what is evaluated and kept as the best
        weights, and is never trained on. 0 for none.
    betas : pair of float, default=(0.9, 0.999)
    epsilon : float, default=1e-8
        Adam's settings.
    schedule : callable of int, optional
        Factor of the learning rate in step 0, 1, 2, ...
    stop : StopRule, optional
        Without one all epochs are run and the last weights are kept.
    checkpoint : CheckpointFile, optional
        Where to keep the state of the run; a run that finds one goes on from there.
    checkpoint_seconds : float, default=30
        Least time between two checkpoints.
    precision : {"float32", "bfloat16"}, default="float32"
        What the matrix products of a step round to; see :func:`seqregen.nn.computing_in`. Weights, optimizer and
        evaluation stay in float32.
    name : str, default="network"
        What the progress bar calls it.
    verbose : bool, default=False
        Whether to show a progress bar.
    """

    max_epochs: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    average_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    schedule: Callable[[int], float] | None = None
    stop: StopRule | None = None
    checkpoint: CheckpointFile | None = None
    checkpoint_seconds: float = 30.0
    precision: str = "float32"
    name: str = "network"
    verbose: bool = False


@dataclass
class TrainingResult:
    """What happened: one record an epoch, and the epoch (from 0) whose weights the network has now."""

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1


def train(
    network: nn.Module,
    batches: Callable[[np.random.Generator], Iterable[Any]],
    loss: Callable[[Any, np.random.Generator], Tensor],
    plan: TrainingPlan,
    *,
    seed: int,
    device: torch.device,
    evaluate: Callable[[], dict[str, float]] | None = None,
    n_batches: int | None = None,
    begin_epoch: Callable[[int], None] | None = None,
    outer: OuterUpdates | None = None,
) -> TrainingResult:
    """Train a network in place with Adam, and leave it with its best weights.

    All randomness of an epoch comes from (seed, epoch), so a run that goes on from a checkpoint ends with the
    same weights, bit for bit on a CPU, as one that was never interrupted.

    Parameters
    ----------
    network : nn.Module
        On ``device`` already.
    batches : callable
        Makes the batches of one epoch from a random generator.
    loss : callable
        Scalar loss of a batch; a second argument is the epoch's generator, for negatives.
    plan : TrainingPlan
    seed : int
    device : torch.device
    evaluate : callable, optional
        Measures the network after each epoch; its values join the epoch's record.
    n_batches : int, optional
        Batches of an epoch, for the progress bar.
    begin_epoch : callable, optional
        Told the number of each epoch, from 0, before its first batch.
    outer : OuterUpdates, optional
        Updates of parameters of the network that need no gradient, after some of the steps.

    Returns
    -------
    TrainingResult

    Raises
    ------
    TrainingDivergedError
        The loss became NaN or infinite in the first epoch. Later, training stops with a warning and keeps
        the best weights so far.
    """
    run = _Run(network, plan, device, outer)
    run.resume()
    bar = tqdm(total=n_batches, desc=plan.name, disable=not plan.verbose, leave=False)
    # But for the steps that the plan wants rounded, nothing is.
    with bar, computing_in("float32", device):
        while not run.finished:
            epoch = len(run.result.history)
            bar.reset(n_batches)
            started = time.perf_counter()
            if begin_epoch is not None:
                begin_epoch(epoch)
            try:
                mean_loss = _one_epoch(run, batches, loss, np.random.SeedSequence([seed, epoch]), bar)
                record = {"epoch": epoch, "loss": mean_loss, "seconds": time.perf_counter() - started}
                with run.weights_to_keep():
                    run.record(record | ({} if outer is None else outer.record()) | _evaluated(run, evaluate))
            except TrainingDivergedError as error:
                run.stop_diverged(error)
                break
            run.save_if_due()
            release_unused_memory()
            bar.set_description(f"{plan.name} epoch {epoch + 1}")
            shown = run.result.history[-1]
            bar.set_postfix({name: f"{shown[name]:.4f}" for name in run.shown if name in shown})
    return run.close()


def _one_epoch(run: _Run, batches: Callable, loss: Callable, seed: np.random.SeedSequence, bar: tqdm) -> float:
    order_seed, loss_seed, mask_seed, outer_seed = seed.spawn(4)
    epoch, outer_random = len(run.result.history), np.random.Generator(np.random.SFC64(outer_seed))
    random = np.random.Generator(np.random.SFC64(loss_seed))
    use_masks(run.network, RandomMasks(mask_seed.generate_state(4).tolist(), run.device))
    run.network.train()
    total, count = torch.zeros((), device=run.device), 0
    with accumulating_gradients():
        for batch in batches(np.random.Generator(np.random.SFC64(order_seed))):
            with computing_in(run.plan.precision, run.device):
                value = loss(batch, random)
            # On a GPU reading the loss would wait for it in every step; the sum below is checked instead.
            if run.device.type == "cpu" and not math.isfinite(value.item()):
                raise _diverged(run, count)
            value.backward()
            run.step()
            if run.outer is not None:
                run.outer.after_step(run.n_steps, epoch, outer_random)
            total += value.detach()
            count += 1
            bar.update()
    if count == 0:
        raise ValueError("there is no batch to train on: no row has two items or more.")
    mean = total.item() / count
    # The last step can spoil the weights without a loss to show it.
    finite = torch.stack([torch.isfinite(parameter.detach()).all() for parameter in run.parameters]).all()
    if not math.isfinite(mean) or not finite.item():
        raise _diverged(run, None)
    return mean


def _evaluated(run: _Run, evaluate: Callable[[], dict[str, float]] | None) -> dict[str, float]:
    if evaluate is None:
        return {}
    run.network.eval()
    started = time.perf_counter()
    try:
        found = evaluate()
    except FloatingPointError as error:
        # Weights can be finite, and what is computed with them not.
        raise TrainingDivergedError(
            f"{run.plan.name} gave no numbers in the validation behind epoch {len(run.result.history) + 1}: {error}"
        ) from error
    return found | {"evaluation_seconds": time.perf_counter() - started}


def _diverged(run: _Run, batch: int | None) -> TrainingDivergedError:
    where = f"epoch {len(run.result.history) + 1}" + ("" if batch is None else f", batch {batch + 1}")
    rates = f"it is {run.plan.learning_rate}"
    if run.outer is not None:
        rates += f", and {run.outer.plan.learning_rate} where weights are learned"
    return TrainingDivergedError(
        f"the loss of {run.plan.name} became NaN or infinite in {where}. The usual cause is a learning rate that "
        f"is too high ({rates}), or weights or embeddings given as input that are not finite."
    )


def _copied(value: Any) -> Any:
    """An entry of a state: a tensor, or whatever else a module keeps in it."""
    return value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)


def _fitting(weights: dict[str, Any] | None, network: nn.Module) -> dict[str, Any] | None:
    """Weights as a checkpoint has them, refused where they are not those of the network."""
    if weights is not None:
        needed, shapes = network.state_dict(), {name: value.shape for name, value in network.named_parameters()}
        wrong = sorted(needed.keys() ^ weights.keys())
        wrong += [name for name, shape in shapes.items() if name in weights and weights[name].shape != shape]
        if wrong:
            raise ValueError(f"its best weights do not fit: {', '.join(wrong)}")
    return weights


def _take_state(network: nn.Module, state: dict[str, Any]) -> None:
    """Load a state of the network, whose buffers may have had other shapes: a mask can be as long as the last batch."""
    for path, module in network.named_modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            kept = state.get(f"{path}.{name}" if path else name)
            if isinstance(kept, Tensor) and kept.shape != buffer.shape:
                setattr(module, name, buffer.new_empty(kept.shape))
    network.load_state_dict(state)


class _Run:
    """The state of a training run between epochs."""

    def __init__(
        self, network: nn.Module, plan: TrainingPlan, device: torch.device, outer: OuterUpdates | None = None
    ) -> None:
        self.network, self.plan, self.device, self.outer = network, plan, device, outer
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer = torch.optim.Adam(
            self.parameters,
            lr=plan.learning_rate,
            betas=plan.betas,
            eps=plan.epsilon,
            weight_decay=plan.weight_decay,
            # The fused step knows real numbers alone.
            fused=device.type in ("cpu", "cuda") and not any(map(torch.is_complex, self.parameters)),
        )
        self.average = WeightAverage(self.parameters, plan.average_decay) if plan.average_decay else None
        self.result = TrainingResult()
        self.best: float | None = None
        self.best_weights: dict[str, Any] | None = None
        self.n_steps = 0
        self.saved_at = time.monotonic()
        self.shown = ["loss"] + ([plan.stop.metric] if plan.stop is not None and plan.stop.metric != "loss" else [])

    @property
    def finished(self) -> bool:
        history, stop = self.result.history, self.plan.stop
        if len(history) >= self.plan.max_epochs:
            return True
        if stop is None or not history:
            return False
        return stop.ends(history)

    def step(self) -> None:
        if self.plan.schedule is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.plan.learning_rate * self.plan.schedule(self.n_steps)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)
        self.n_steps += 1
        if self.average is not None:
            self.average.update()

    def weights_to_keep(self) -> AbstractContextManager[None]:
        """Inside, the network has the weights that are evaluated and kept."""
        return nullcontext() if self.average is None else self.average.in_place()

    def record(self, record: dict[str, float]) -> None:
        self.result.history.append(record)
        stop = self.plan.stop
        if stop is None or stop.improves(record[stop.metric], self.best):
            self.best = None if stop is None else record[stop.metric]
            self.result.best_epoch = len(self.result.history) - 1
            # Without a stop rule the last weights are the best; they are what a later divergence falls back on.
            self.best_weights = {name: _copied(value) for name, value in self.network.state_dict().items()}

    def save_if_due(self) -> None:
        if self.plan.checkpoint is not None:
            due = time.monotonic() - self.saved_at >= self.plan.checkpoint_seconds
            if due or self.finished:
                self.save()

    def stop_diverged(self, error: TrainingDivergedError) -> None:
        if self.best_weights is None:
            raise error
        warnings.warn(
            f"{error} Training stopped; the weights of epoch {self.result.best_epoch + 1} are kept.",
            RuntimeWarning,
            stacklevel=stacklevel_of_caller(),
        )

    def save(self) -> None:
        assert self.plan.checkpoint is not None
        self.plan.checkpoint.save(
            {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "best": self.best,
                "best_weights": self.best_weights,
                "best_epoch": self.result.best_epoch,
                "history": self.result.history,
                "n_steps": self.n_steps,
            }
            | ({} if self.outer is None else {"outer": self.outer.state_dict()})
            | ({} if self.average is None else {"average": self.average.state_dict()})
        )
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        file = self.plan.checkpoint
        state = None if file is None else file.load()
        if file is None or state is None:
            return
        try:
            _take_state(self.network, state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.best, self.best_weights = state["best"], _fitting(state["best_weights"], self.network)
            self.result = TrainingResult(state["history"], state["best_epoch"])
            self.n_steps = state["n_steps"]
            if self.outer is not None:
                self.outer.load_state_dict(state["outer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            what = " ".join(str(error).split())
            raise ValueError(
                f"the checkpoint {file.path} is not one of {self.plan.name} as it is now "
                f"({type(error).__name__}: {what}). Delete it to start this run from the beginning."
            ) from error

    def close(self) -> TrainingResult:
        if self.best_weights is not None:
            _take_state(self.network, self.best_weights)
        self.network.eval()
        use_masks(self.network, None)
        for parameter in self.parameters:
            parameter.grad = None
        return self.result
