"""A small problem for the training loop: fit a line through points, with dropout on the way."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from seqregen.nn import Dropout, look_up
from seqregen.training import StopRule, TrainingPlan, TrainingResult, train
from seqregen.training.checkpoints import CheckpointFile

CPU = torch.device("cpu")


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        # torch's modules draw weights when they are made.
        with torch.random.fork_rng():
            self.table = nn.Embedding(6, 4)
            self.head = nn.Linear(4, 1)
        self.dropout = Dropout(0.2)
        self.register_buffer("n_forward", torch.zeros((), dtype=torch.int64))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, rows: Tensor) -> Tensor:
        self.n_forward += 1
        return self.head(self.dropout(look_up(self.table.weight, rows)))[:, 0]


def batches(random: np.random.Generator) -> Iterator[Tensor]:
    order = torch.from_numpy(random.permutation(6))
    yield from order.split(2)


def loss_of(network: Line) -> Callable:
    def loss(rows: Tensor, random: np.random.Generator) -> Tensor:
        noise = torch.from_numpy(random.normal(size=len(rows)).astype(np.float32))
        return ((network(rows) - rows - 0.1 * noise) ** 2).mean()

    return loss


def measure_of(network: Line) -> Callable:
    def measure() -> dict[str, float]:
        with torch.no_grad():
            rows = torch.arange(6)
            return {"error": float(((network(rows) - rows) ** 2).mean())}

    return measure


def run(
    directory: str | None = None,
    *,
    max_epochs: int = 12,
    stop: bool = True,
    seed: int = 3,
    loss: Callable | None = None,
    schedule: Callable | None = None,
    average_decay: float = 0.0,
) -> tuple[Line, TrainingResult]:
    network = Line()
    plan = TrainingPlan(
        max_epochs=max_epochs,
        learning_rate=0.05,
        stop=StopRule("error", patience=50, rising=False) if stop else None,
        schedule=schedule,
        average_decay=average_decay,
        checkpoint=None if directory is None else CheckpointFile(directory, "line", "run"),
        checkpoint_seconds=0,
    )
    result = train(
        network,
        batches,
        loss_of(network) if loss is None else loss(network),
        plan,
        seed=seed,
        device=CPU,
        evaluate=measure_of(network),
    )
    return network, result


def dies_in(epoch: int, how: Callable[[], None]) -> Callable:
    """A loss that ends the run in the second batch of an epoch."""

    def make(network: Line) -> Callable:
        loss, calls = loss_of(network), iter(range(10**6))

        def dying(rows: Tensor, random: np.random.Generator) -> Tensor:
            if next(calls) == 3 * epoch + 1:
                how()
            return loss(rows, random)

        return dying

    return make


if __name__ == "__main__":
    # Killed in the middle of the seventh epoch; the files tell the rest.
    run(sys.argv[1], loss=dies_in(6, lambda: os.kill(os.getpid(), signal.SIGKILL)))
