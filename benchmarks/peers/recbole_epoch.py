"""One epoch of a model of RecBole's own; runs in the peers' environment and prints one JSON line.

RecBole makes a row of every prefix and pads each to 50. ``--steps`` of its own training steps are timed and the
epoch is extrapolated from them; 0 runs the whole epoch. The data goes in whole and RecBole itself holds the last
two items of each user out, so that it trains on all but the last two items.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.data import read_sequences

DATASET = "sequences"


def write_atomic_file(sequences: list[list[int]], directory: Path) -> None:
    """Write RecBole's own format: an interaction a line, the place in the row as its time."""
    folder = directory / DATASET
    folder.mkdir()
    with open(folder / f"{DATASET}.inter", "w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for user, row in enumerate(sequences):
            file.writelines(f"{user}\t{item}\t{place}\n" for place, item in enumerate(row))


_ATTENTION = {
    "hidden_size": 64,
    "n_layers": 2,
    "n_heads": 2,
    "inner_size": 128,
    "hidden_dropout_prob": 0.5,
    "attn_dropout_prob": 0.5,
}
# The published sizes of each model, in RecBole's names.
SIZES = {
    "SASRec": _ATTENTION,
    "GRU4Rec": {
        "embedding_size": 64,
        "hidden_size": 256,
        "num_layers": 2,
        "dropout_prob": 0.2,
        "weight_decay": 1e-4,
    },
    # The nearest that there is to a graph of items below self-attention; its graph is one of each row.
    "GCSAN": _ATTENTION,
    "SRGNN": {"embedding_size": 64, "step": 1},
}


def settings(directory: Path, model: str, loss: str, batch_size: int) -> dict:
    """What is asked of RecBole."""
    return {
        "data_path": str(directory),
        "checkpoint_dir": str(directory / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "TIME_FIELD": "timestamp",
        "MAX_ITEM_LIST_LENGTH": 50,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "loss_type": loss,
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1} if loss == "BPR" else None,
        "train_batch_size": batch_size,
        "eval_batch_size": 2048,
        "learning_rate": 1e-3,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "log_wandb": False,
        **SIZES[model],
    }


def train_steps(model: torch.nn.Module, trainer: object, loader: object, n_steps: int) -> list[float]:
    """Seconds of each step as RecBole's trainer takes it, the loader's work included; the first is warm-up."""
    model.train()
    seconds = []
    batches = iter(loader)
    while len(seconds) < n_steps + 1:
        start = time.perf_counter()
        interaction = next(batches, None)
        if interaction is None:
            break
        trainer.optimizer.zero_grad()
        model.calculate_loss(interaction).backward()
        trainer.optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Prepare the data, take the steps, and evaluate where that is asked for."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model import sequential_recommender
    from recbole.trainer import Trainer

    make = getattr(sequential_recommender, options.model)
    sequences = read_sequences(options.data)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_atomic_file(sequences, directory)
        # RecBole reads sys.argv for settings of its own, and writes logs into the current directory.
        sys.argv = sys.argv[:1]
        os.chdir(directory)
        asked = settings(directory, options.model, options.loss, options.batch_size)
        config = Config(make, DATASET, config_dict=asked)
        dataset = create_dataset(config)
        train, validation, _ = data_preparation(config, dataset)
        torch.manual_seed(options.seed)
        model = make(config, train.dataset)
        trainer = Trainer(config, model)
        steps = options.steps or len(train)
        seconds = train_steps(model, trainer, train, min(steps, len(train) - 1))
        evaluation = None
        if options.evaluate:
            start = time.perf_counter()
            trainer.evaluate(validation, load_best_model=False)
            evaluation = time.perf_counter() - start
        os.chdir(directory.parent)
    return {
        "peer": f"RecBole {options.model}",
        "loss": options.loss,
        "seconds_per_epoch": statistics.median(seconds) * len(train),
        "least_seconds_per_epoch": min(seconds) * len(train),
        "extrapolated_from_steps": len(seconds),
        "steps_per_epoch": len(train),
        "training_rows": len(train.dataset),
        "evaluation_seconds": evaluation,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="file of lines: user item item ...")
    parser.add_argument("--model", choices=SIZES, default="SASRec")
    parser.add_argument("--steps", type=int, default=12, help="training steps to time; 0: the whole epoch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--loss", choices=("BPR", "CE"), default="BPR", help="RecBole's models have no BCE")
    parser.add_argument("--evaluate", action="store_true", help="time a full-ranking evaluation as well")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable(logging.INFO)
    # RecBole writes pandas' old way and warns of it; the one line of JSON is what is read.
    warnings.simplefilter("ignore")
    result = measure(options)
    result["threads"] = options.threads
    result["versions"] = {name: version(name) for name in ("recbole", "torch", "numpy", "pandas")}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
