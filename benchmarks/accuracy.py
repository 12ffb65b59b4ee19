"""Accuracy on real data, of every model and of what regeneration adds: a result file a run, finished ones skipped.

    python -m benchmarks.accuracy --recipes "SASRec-*" --seeds 0 1 2 --minutes 60
    python -m benchmarks.accuracy --report

Protocol: leave-one-out. The last item of each user is the test target, the last but one the validation item
that early stopping reads; mining, regeneration and gradients see the rest alone. Full ranking, history excluded.
"""

from __future__ import annotations

import argparse
import json
import time
from fnmatch import fnmatch
from itertools import product
from pathlib import Path

import numpy as np
import torch

import seqregen as sr
from benchmarks.data import data_file, read_sequences
from benchmarks.machine import describe_machine
from benchmarks.recipes import RECIPES, make_model
from seqregen.files import write_aside
from seqregen.metrics import UNREACHABLE, ranking_metrics

RESULTS = Path(__file__).parent / "results" / "accuracy"
CACHE = Path(__file__).parent / ".cache"
# Mining windows of the paper (section 5.1).
WINDOWS = {"amazon-beauty": 5, "amazon-toys": 10, "amazon-sports": 10, "yelp": 10}
# Data variants: what the recommender is trained on, and the settings of the regenerator where there is one.
# Twelve epochs rather than forty: the regenerator's loss has levelled off by then.
VARIANTS: dict[str, dict | None] = {
    "original": None,
    "mined": None,
    "regenerated": {"max_epochs": 12},
    "balanced": {"max_epochs": 12, "gate_balance_weight": 1.0},
}


def training_set(dataset: str, variant: str, seed: int) -> tuple[sr.SequenceDataset, np.ndarray, dict]:
    """The rows to train on, every user's test item, and how the rows were made."""
    sequences = read_sequences(data_file(dataset))
    X, y = sr.model_selection.leave_one_out(sequences, validation=True)
    if variant == "original":
        return X, y, {}
    started = time.perf_counter()
    mined = sr.PatternMiner(window=WINDOWS[dataset], min_support=2, random_state=seed).fit_transform(X)
    made = {"mining_seconds": time.perf_counter() - started}
    settings = VARIANTS[variant]
    if settings is None:
        return mined, y, made
    regenerated, report = regenerate(dataset, variant, seed, mined, settings)
    return regenerated, y, made | report


def regenerate(
    dataset: str, variant: str, seed: int, mined: sr.SequenceDataset, settings: dict
) -> tuple[sr.SequenceDataset, dict]:
    """Regenerate, or take what an earlier run for another loss made; the fit itself resumes from checkpoints."""
    kept = CACHE / f"{dataset}-{variant}-{seed}.parquet"
    notes = kept.with_suffix(".json")
    if not notes.exists():
        regenerator = sr.DatasetRegenerator(
            **settings, random_state=seed, checkpoint_dir=CACHE / "checkpoints", verbose=True
        )
        started = time.perf_counter()
        regenerator.fit(mined)
        fitted = time.perf_counter()
        regenerator.transform(mined).to_parquet(kept)
        report = {
            "regenerator_fit_seconds": fitted - started,
            "regenerator_transform_seconds": time.perf_counter() - fitted,
            "regenerator": vars(regenerator.report_),
            "regenerator_history": regenerator.history_,
        }
        with write_aside(notes) as aside:
            aside.write_text(json.dumps(report))
    return sr.SequenceDataset.read_parquet(kept), json.loads(notes.read_text())


def run(dataset: str, recipe: str, variant: str, seed: int) -> None:
    """Train, rank the test items, and write the run's files."""
    name = f"{dataset}_{recipe}_{variant}_{seed}"
    target = RESULTS / f"{name}.json"
    if target.exists():
        return
    X, y, made = training_set(dataset, variant, seed)
    model = make_model(recipe, random_state=seed, checkpoint_dir=CACHE / "checkpoints", verbose=True)
    started = time.perf_counter()
    model.fit(X)
    fit_seconds = time.perf_counter() - started
    started = time.perf_counter()
    ranks = model.rank(X, y)
    record = {
        "dataset": dataset,
        "recipe": recipe,
        "model": type(model).__name__,
        "settings": model.get_params() | {"checkpoint_dir": None},
        "variant": variant,
        "seed": seed,
        "history_excluded": True,
        "test": ranking_metrics(ranks, k=(10, 20)),
        "best_epoch": model.best_epoch_,
        "epochs": len(model.history_),
        "history": model.history_,
        "refit_history": getattr(model, "refit_history_", None),
        "rows": vars(X.describe()),
        "fit_seconds": fit_seconds,
        "rank_seconds": time.perf_counter() - started,
        "threads": torch.get_num_threads(),
        **made,
        "machine": describe_machine(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    with write_aside(RESULTS / f"{name}.npz") as aside:
        # 0 stands for a target that cannot be reached.
        np.savez_compressed(aside, ranks=np.where(ranks == UNREACHABLE, 0, ranks).astype(np.int32))
    with write_aside(target) as aside:
        aside.write_text(json.dumps(record, indent=1))
    print(name, {key: round(value, 4) for key, value in record["test"].items()}, f"{fit_seconds:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=WINDOWS, default="amazon-beauty")
    parser.add_argument(
        "--recipes",
        nargs="+",
        default=["SASRec-bce", "SASRec-sampled_softmax"],
        help=f"names or patterns such as 'SASRec-*', of: {', '.join(RECIPES)}",
    )
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["original", "mined", "regenerated"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after this time")
    parser.add_argument("--report", action="store_true", help="print the table of the results so far")
    arguments = parser.parse_args()
    if arguments.report:
        from benchmarks.report import models_table, regeneration_table

        print(f"{models_table(arguments.dataset)}\n\n{regeneration_table(arguments.dataset)}")
        return
    torch.set_num_threads(arguments.threads)
    CACHE.mkdir(exist_ok=True)
    deadline = time.monotonic() + 60 * arguments.minutes
    recipes = [name for name in RECIPES if any(fnmatch(name, pattern) for pattern in arguments.recipes)]
    if not recipes:
        parser.error(f"no recipe is called {' or '.join(arguments.recipes)}; there are {', '.join(RECIPES)}")
    for seed, variant, recipe in product(arguments.seeds, arguments.variants, recipes):
        if time.monotonic() < deadline:
            run(arguments.dataset, recipe, variant, seed)


if __name__ == "__main__":
    main()
