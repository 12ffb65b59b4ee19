"""One SASRec epoch of RecTools; runs in the peers' environment and prints one JSON line.

RecTools takes one row a user, as the published code does, padded to 50. Whole epochs are timed; ``--steps`` limits
them to their first batches and extrapolates. It trains on all but the last two items of each row.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from importlib.metadata import version

import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer

from benchmarks.data import read_sequences, training_part


class BatchClock(Callback):
    """Notes when each batch and each epoch ends."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.batches: list[float] = []
        self._epoch = self._batch = 0.0

    def on_train_epoch_start(self, trainer: Trainer, module: object) -> None:
        self._epoch = self._batch = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        now = time.perf_counter()
        self.batches.append(now - self._batch)
        self._batch = now

    def on_train_epoch_end(self, trainer: Trainer, module: object) -> None:
        self.epochs.append(time.perf_counter() - self._epoch)


def interactions(rows: list[list[int]]) -> pd.DataFrame:
    """RecTools' frame of interactions; the place in the row stands for the time."""
    lengths = [len(row) for row in rows]
    places = [place for length in lengths for place in range(length)]
    return pd.DataFrame(
        {
            "user_id": [user for user, length in enumerate(lengths) for _ in range(length)],
            "item_id": [item for row in rows for item in row],
            "weight": 1.0,
            "datetime": pd.Timestamp("2020-01-01") + pd.to_timedelta(places, unit="D"),
        }
    )


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Fit, and recommend where that is asked for."""
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    frame = interactions(training_part(read_sequences(options.data)))
    dataset = Dataset.construct(frame)
    with tempfile.TemporaryDirectory() as directory:

        def make_trainer() -> Trainer:
            return Trainer(
                max_epochs=options.epochs,
                limit_train_batches=options.steps or None,
                accelerator="cpu",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=directory,
                callbacks=[BatchClock()],
            )

        model = SASRecModel(
            n_factors=64,
            n_blocks=2,
            n_heads=2,
            session_max_len=50,
            dropout_rate=0.5,
            batch_size=options.batch_size,
            loss=options.loss,
            n_negatives=1,
            lr=1e-3,
            dataloader_num_workers=0,
            get_trainer_func=make_trainer,
        )
        model.fit(dataset)
        # RecTools trains with a copy of the trainer that it was given.
        clock = next(callback for callback in model.fit_trainer.callbacks if isinstance(callback, BatchClock))
        recommending = None
        if options.evaluate:
            start = time.perf_counter()
            model.recommend(users=frame[Columns.User].unique(), dataset=dataset, k=20, filter_viewed=True)
            recommending = time.perf_counter() - start
    n_batches = -(-frame[Columns.User].nunique() // options.batch_size)
    epochs = [min(clock.batches[1:]) * n_batches] if options.steps else clock.epochs
    return {
        "peer": "RecTools SASRec",
        "loss": options.loss,
        "seconds_per_epoch": min(epochs),
        "all_epochs": epochs,
        "extrapolated_from_steps": options.steps or None,
        "steps_per_epoch": n_batches,
        "recommend_seconds": recommending,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="file of lines: user item item ...")
    parser.add_argument("--epochs", type=int, default=2, help="epochs to time; the least is reported")
    parser.add_argument("--steps", type=int, default=0, help="batches an epoch to time; 0: all of them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--loss", choices=("BCE", "gBCE", "softmax", "sampled_softmax"), default="BCE")
    parser.add_argument("--evaluate", action="store_true", help="time recommending 20 items to every user as well")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)
    # Lightning and pandas warn of what does not touch the measurement; the one line of JSON is what is read.
    warnings.simplefilter("ignore")
    result = measure(options)
    result["threads"] = options.threads
    result["versions"] = {name: version(name) for name in ("rectools", "pytorch-lightning", "torch", "numpy")}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
