"""What takes part in the training of a recommender to weigh its positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..nn import RandomMasks, on_device, ordinary_gradients, seeded_torch, use_masks
from ..sequences import Origin, SequenceDataset
from ..targets.network import NextItemNetwork
from ..targets.task import TrainingPart, TrainingTask
from ..training import NextItemBatch, OuterPlan, OuterUpdates, TrainingRows, next_item_rows
from ..training.fingerprint import fingerprint
from .dev_rows import keep_for_dev
from .hypergradient import losses_gradient, through_minimum
from .kernels import second_order_kernels
from .weighting import WeightingNetwork, origin_codes

__all__ = ["Personalization", "PersonalizationSettings"]

# Rows that a new network is tried on.
_TRIAL_ROWS = 4
_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class PersonalizationSettings:
    """The parameters of :class:`seqregen.DatasetPersonalizer` under their own names, checked."""

    optimize: str
    fixed: tuple[str, ...]
    features: str
    hidden_dim: int
    temperature: float
    temperature_schedule: str
    temperature_decay: float
    temperature_floor: float
    noise: bool
    detach_states: bool
    normalize: str
    warmup_epochs: int
    update_every: int
    n_neumann_terms: int
    neumann_step: float | None
    neumann_scaled: bool
    neumann_tolerance: float
    optimizer: str
    learning_rate: float
    momentum: float
    weight_decay: float
    clip_norm: float
    skip_norm: float
    dev: str
    held_out_share: float
    dev_batch_size: int | None
    train_batch_size: int | str | None

    @property
    def holds_out(self) -> bool:
        """Whether the dev loss is of something that is not trained on."""
        return self.dev in ("held_out", "held_out_items")

    @property
    def outer_plan(self) -> OuterPlan:
        return OuterPlan(
            every=self.update_every,
            first_epoch=self.warmup_epochs,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            clip=self.clip_norm,
            skip_above=self.skip_norm,
        )


class _Together(nn.Module):
    """A recommender's network and the one that weighs its positions: what is trained, saved and restored as one."""

    def __init__(self, network: NextItemNetwork, weighting: WeightingNetwork) -> None:
        super().__init__()
        self.network, self.weighting = network, weighting


class Personalization:
    """Joins a recommender's training with a weighting network, which it trains along.

    Parameters
    ----------
    settings : PersonalizationSettings

    Attributes
    ----------
    weighting : WeightingNetwork
        Of the last training.
    outer : OuterUpdates or None
        Of the last training; None where both networks are trained by one optimizer.
    """

    weighting: WeightingNetwork
    outer: OuterUpdates | None = None

    def __init__(self, settings: PersonalizationSettings) -> None:
        self._settings = settings
        self._dev_rows: SequenceDataset | None = None

    def settings(self) -> dict[str, Any]:
        dev = self._dev_rows
        # What dev holds out is not in the rows that are trained on, which tell checkpoints apart.
        columns = [] if dev is None else [dev.items, dev.offsets, *([] if dev.weights is None else [dev.weights])]
        return asdict(self._settings) | {"dev_rows": fingerprint({}, *columns)}

    def kept_in(self, training: SequenceDataset, seed: int) -> SequenceDataset:
        """All rows, or what remains of them when some are kept for dev, in whole or their last items."""
        if self._settings.optimize == "joint":
            # It has no dev loss.
            return training
        if self._settings.dev == "original":
            self._dev_rows = training.originals()
            _require_targets(self._dev_rows, "dev='original' draws from original rows")
        if not self._settings.holds_out:
            return training
        settings = self._settings
        rows, self._dev_rows = keep_for_dev(training, settings.dev, settings.held_out_share, seed)
        return rows

    def joined(self, task: TrainingTask) -> TrainingTask:
        """The task with a weighting network beside its own."""
        join = _Join(self._settings, task, self._dev_rows)
        if self._settings.optimize == "joint":
            self.outer = None
        else:
            # How long a refit is has been found by the training before it.
            if not hasattr(self, "weighting"):
                join.require_updates()
            self.outer = join.outer_updates()
        self.weighting = join.weighting
        return join.task(self.outer)


def _require_targets(rows: SequenceDataset, what: str) -> None:
    if len(rows) == 0 or rows.lengths.max() < 2:
        raise ValueError(
            f"DatasetPersonalizer: {what}, and none of the rows is one with two items or more; use dev='train'."
        )


class _Join:
    """One training of the two networks together."""

    def __init__(self, settings: PersonalizationSettings, original: TrainingTask, dev: SequenceDataset | None) -> None:
        self.settings, self.original = settings, original
        self.dev_loss = self._dev_loss_of(dev)
        data = original.training
        fixed = np.isin(data.origin, [Origin[name.upper()] for name in settings.fixed])
        if fixed[data.lengths > 1].all():
            others = f", and dev={settings.dev!r} kept others back: lower held_out_share" if settings.holds_out else ""
            raise ValueError(
                f"DatasetPersonalizer: fixed={settings.fixed!r} sets the weights of all {len(data)} rows to 1, so "
                f"there is nothing to weigh{others}."
            )
        self.is_fixed = np.repeat(fixed, data.lengths)
        self.origins = np.repeat(data.origin, data.lengths)
        self.weighting = self._new_weighting()
        self.parameters = [parameter for parameter in original.network.parameters() if parameter.requires_grad]
        self.epoch = -1
        self._forget_means()

    def _forget_means(self) -> None:
        zero = torch.zeros((), device=self.original.device)
        # Of the weights that were drawn in the epoch, and of the unweighted losses of its steps.
        self.sum, self.count = zero.clone(), 0
        self.plain, self.n_steps = zero.clone(), 0

    def _new_weighting(self) -> WeightingNetwork:
        settings, original = self.settings, self.original
        seed = int(np.random.SeedSequence(original.seed).generate_state(1)[0])
        # Layers of torch draw weights from its global generator as they are made.
        with seeded_torch(seed, torch.device("cpu")):
            weighting = WeightingNetwork(
                original.network.item_table().shape[1],
                settings.hidden_dim,
                settings.features,
                settings.temperature,
                settings.temperature_floor,
                settings.noise,
            )
        weighting.draw_weights(torch.Generator().manual_seed(seed))
        return weighting.to(original.device, original.network.item_table().dtype)

    def task(self, outer: OuterUpdates | None) -> TrainingTask:
        """The original task with both networks in it."""
        if outer is None:
            self.weighting.temperature.requires_grad_(True)
        return replace(
            self.original,
            trained=_Together(self.original.network, self.weighting),
            loss=self.loss,
            evaluate=self.evaluate,
            begin_epoch=self.begin_epoch,
            outer=outer,
            # Weights that fall or rise move the other loss, whatever the model learns.
            plateau="unweighted_loss",
        )

    def outer_updates(self) -> OuterUpdates:
        """Updates of the weighting network, which work: one has been tried."""
        outer = OuterUpdates(self._outer_parameters(), self.hypergradient, self.settings.outer_plan, self.cool)
        self._try_out(outer)
        return outer

    def _outer_parameters(self) -> list[nn.Parameter]:
        # Under weight decay the temperature shrinks without a gradient, as it does in the published code.
        shrinks = self.settings.temperature_schedule == "weight_decay"
        return [*self.weighting.layers, *([self.weighting.temperature] if shrinks else [])]

    def require_updates(self) -> None:
        """Refuse a training in which no update is due."""
        settings, original = self.settings, self.original
        if settings.outer_plan.n_updates(original.n_batches, original.n_epochs):
            return
        raise ValueError(
            f"DatasetPersonalizer: no update of the weights would ever be made. There are {original.n_batches} "
            f"step(s) an epoch in at most {original.n_epochs} epoch(s), an update every "
            f"update_every={settings.update_every} steps, and none in the first warmup_epochs={settings.warmup_epochs} "
            "epoch(s). Lower update_every or warmup_epochs, or raise the recommender's max_epochs."
        )

    def _try_out(self, outer: OuterUpdates) -> None:
        """Compute one hypergradient of a few rows, so that what can never work is said before training."""
        network, device = self.original.network, self.original.device
        network.train()
        use_masks(network, RandomMasks(0, device))
        try:
            with outer.learning(), ordinary_gradients():
                self._hypergradient_of(_TRIAL_ROWS, _TRIAL_ROWS, np.random.default_rng(0))
        except (RuntimeError, NotImplementedError) as error:
            raise TypeError(
                "DatasetPersonalizer: the recommender's network cannot be differentiated twice, which weights are "
                f"learned by: {error}"
            ) from error
        finally:
            use_masks(network, None)

    # The lower level

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self._forget_means()

    def evaluate(self) -> dict[str, float]:
        """The recommender's own measurements, and the epoch's means of unweighted losses and of drawn weights."""
        found = {} if self.original.evaluate is None else self.original.evaluate()
        found |= {"unweighted_loss": self.plain.item() / self.n_steps}
        if self.count:
            found |= {"mean_weight": self.sum.item() / self.count, "temperature": self._temperature}
        return found

    @property
    def _temperature(self) -> float:
        return max(self.weighting.temperature.item(), self.settings.temperature_floor)

    def loss(self, batch: NextItemBatch, random: np.random.Generator) -> Tensor:
        """The loss of a batch that the recommender is trained on: unweighted while the warm-up lasts."""
        if self.epoch < self.settings.warmup_epochs:
            plain = loss = self._unweighted(batch, random, self.original.part)
        else:
            plain, loss = self._weighted(batch, random)
        self.plain += plain.detach()
        self.n_steps += 1
        return loss

    def _unweighted(self, batch: NextItemBatch, random: np.random.Generator, part: TrainingPart) -> Tensor:
        _, losses = self.original.measure(batch, random)
        return self._mean(losses, batch.weights) + self._added(batch, random, part)

    def _weighted(
        self, batch: NextItemBatch, random: np.random.Generator, counted: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The loss of a batch with the weights that it has, detached, and with those that are learned."""
        states, losses = self.original.measure(batch, random)
        weights = self._weights(states, batch, random, counted)
        if batch.weights is not None:
            weights = weights * batch.weights
        added = self._added(batch, random, self.original.part)
        return (self._mean(losses.detach(), batch.weights) + added).detach(), self._mean(losses, weights) + added

    def _mean(self, losses: Tensor, weights: Tensor | None) -> Tensor:
        if weights is None:
            return losses.mean()
        # Where all weights of a batch are 0, its loss is.
        total = weights.sum().clamp(min=_TINY) if self.settings.normalize == "weight" else len(losses)
        return (losses * weights).sum() / total

    def _added(self, batch: NextItemBatch, random: np.random.Generator, part: TrainingPart) -> Tensor | float:
        """What the recommender adds to the loss of the targets, which is not weighed."""
        return 0.0 if part.added is None else part.added(self.original.network, batch, random)

    def _weights(self, states: Tensor, batch: NextItemBatch, random: np.random.Generator, counted: bool) -> Tensor:
        """Weights, (n_targets,), of a batch; 1 in fixed rows."""
        assert batch.targets is not None
        assert batch.places is not None
        # An item table can be work to make; not every network reads it.
        table = states if self.settings.features == "state" else self.original.network.item_table()
        is_fixed = self.is_fixed[batch.places]
        origins = origin_codes(self.origins[batch.places], states.device)
        inputs = self.weighting.inputs(states, table, batch.targets, origins)
        weights = self.weighting(inputs.detach() if self.settings.detach_states else inputs, random)
        fixed = on_device(is_fixed, weights.device)
        if counted:
            self.sum += weights.detach().masked_fill(fixed, 0).sum()
            self.count += len(weights) - int(np.count_nonzero(is_fixed))
        return weights.masked_fill(fixed, 1.0)

    # The upper level

    def hypergradient(self, random: np.random.Generator) -> Sequence[Tensor | None]:
        """One gradient of each outer parameter, from one batch of either level."""
        size = self.original.batch_size
        n_train = self.settings.train_batch_size or size
        if n_train == "half":
            n_train = (size + 1) // 2
        return self._hypergradient_of(self.settings.dev_batch_size or size, int(n_train), random)

    def cool(self) -> None:
        """Lower the temperature by its schedule, behind an update."""
        settings = self.settings
        if settings.temperature_schedule == "exponential":
            with torch.no_grad():
                self.weighting.temperature.mul_(settings.temperature_decay).clamp_(min=settings.temperature_floor)

    def _hypergradient_of(self, n_dev: int, n_train: int, random: np.random.Generator) -> Sequence[Tensor | None]:
        settings = self.settings
        dev_loss = self.dev_loss(n_dev, random)
        gradients = losses_gradient(dev_loss, self.parameters)
        # Its graph is not kept while the other one is made.
        del dev_loss
        with second_order_kernels():
            found = through_minimum(
                gradients,
                self._weighted(self._drawn(self.original.part.rows, n_train, random), random, counted=False)[1],
                self.parameters,
                self.weighting.layers,
                0 if settings.optimize == "first_order" else settings.n_neumann_terms,
                settings.neumann_step,
                scaled=settings.neumann_scaled,
                tolerance=settings.neumann_tolerance,
            )
        return [*found, *([None] if settings.temperature_schedule == "weight_decay" else [])]

    def _dev_loss_of(self, dev: SequenceDataset | None) -> Callable[[int, np.random.Generator], Tensor]:
        """What computes the unweighted loss of so many rows, drawn anew in every call."""
        if dev is not None and self.settings.dev == "held_out_items":
            # The rows end with what was cut off in training: the loss is that of their last items alone.
            rows = next_item_rows(dev, self.original.max_length)
            return lambda n, random: self._loss_of_last(self._drawn(rows, n, random), random)
        part = self.original.part if dev is None else self.original.part_of(dev)
        return lambda n, random: self._unweighted(self._drawn(part.rows, n, random), random, part)

    def _loss_of_last(self, batch: NextItemBatch, random: np.random.Generator) -> Tensor:
        _, losses = self.original.measure_last(batch, random)
        return self._mean(losses, None if batch.weights is None else batch.weights[batch.last])

    def _drawn(self, rows: TrainingRows, size: int, random: np.random.Generator) -> NextItemBatch:
        chosen = random.choice(len(rows), min(size, len(rows)), replace=False, shuffle=False)
        return rows.batch(chosen, self.original.device)
