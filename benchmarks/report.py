"""Tables of the accuracy runs, made from the result files alone: ``python -m benchmarks.accuracy --report``."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from seqregen.metrics import UNREACHABLE, paired_bootstrap

from .recipes import RECIPES
from .variants import VARIANTS

__all__ = ["models_table", "regeneration_table"]

RESULTS = Path(__file__).parent / "results" / "accuracy"
METRICS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
# NDCG@20 of each backbone without regeneration in DR4SR's Table 3.
PUBLISHED = {
    "amazon-beauty": {"GRU4Rec": 0.0150, "SASRec": 0.0368, "FMLP": 0.0394, "GNN": 0.0384, "CL4SRec": 0.0441},
    "amazon-toys": {"GRU4Rec": 0.0136, "SASRec": 0.0448, "FMLP": 0.0447, "GNN": 0.0469, "CL4SRec": 0.0530},
}


def regeneration_table(dataset: str) -> str:
    """Markdown: mean and deviation over seeds, and the paired difference in NDCG@20 to the original data."""
    runs = _runs(dataset)
    lines = [
        "| recipe | trained on | seeds | " + " | ".join(METRICS) + " | NDCG@20 against original (95 % interval, p) |",
        "| --- | --- | --- |" + " --- |" * (len(METRICS) + 1),
    ]
    for recipe in RECIPES:
        variants = [variant for variant in VARIANTS if (recipe, variant) in runs]
        for variant in variants if len(variants) > 1 else ():
            seeds = runs[recipe, variant]
            difference = _difference(runs[recipe, "original"], seeds) if variant != "original" else ""
            lines.append(f"| {recipe} | {VARIANTS[variant].label} | {len(seeds)} | {_cells(seeds)} | {difference} |")
    return "\n".join(lines)


def models_table(dataset: str) -> str:
    """Markdown: every recipe on the original rows, and the published NDCG@20 of its model where there is one."""
    runs = _runs(dataset)
    lines = [
        "| recipe | seeds | " + " | ".join(METRICS) + " | published ndcg@20 | best epoch | minutes a run |",
        "| --- | --- |" + " --- |" * (len(METRICS) + 3),
    ]
    for recipe, (model, _) in RECIPES.items():
        seeds = runs.get((recipe, "original"))
        if not seeds:
            continue
        published = PUBLISHED.get(dataset, {}).get(model) if recipe.endswith("-bce") else None
        epochs = " ".join(str(record["best_epoch"] + 1) for record in seeds.values())
        minutes = np.mean([record["fit_seconds"] for record in seeds.values()]) / 60
        known = f"{published:.4f}" if published else ""
        lines.append(f"| {recipe} | {len(seeds)} | {_cells(seeds)} | {known} | {epochs} | {minutes:.1f} |")
    return "\n".join(lines)


def _runs(dataset: str) -> dict[tuple[str, str], dict[int, dict]]:
    """Records of the finished runs by recipe and variant, and then by seed."""
    runs: dict[tuple[str, str], dict[int, dict]] = defaultdict(dict)
    for path in sorted(RESULTS.glob(f"{dataset}_*.json")):
        # Recipes have underscores of their own.
        recipe, variant, seed = path.stem.removeprefix(f"{dataset}_").rsplit("_", 2)
        record = json.loads(path.read_text())
        record["ranks"] = _ranks(path.with_suffix(".npz"))
        runs[recipe, variant][int(seed)] = record
    return runs


def _ranks(path: Path) -> np.ndarray:
    ranks = np.load(path)["ranks"].astype(np.int64)
    return np.where(ranks == 0, UNREACHABLE, ranks)


def _cells(seeds: dict[int, dict]) -> str:
    return " | ".join(_mean_and_deviation([record["test"][metric] for record in seeds.values()]) for metric in METRICS)


def _mean_and_deviation(values: list[float]) -> str:
    deviation = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{deviation}"


def _difference(original: dict[int, dict], other: dict[int, dict]) -> str:
    shared = sorted(set(original) & set(other))
    if not shared:
        return ""
    compared = paired_bootstrap(
        np.stack([other[seed]["ranks"] for seed in shared]),
        np.stack([original[seed]["ranks"] for seed in shared]),
        metric="ndcg",
        k=20,
        random_state=0,
    )
    base = np.mean([original[seed]["test"]["ndcg@20"] for seed in shared])
    low, high = (100 * bound / base for bound in (compared.low, compared.high))
    return f"{100 * compared.difference / base:+.1f} % ({low:+.1f} to {high:+.1f}, p {compared.p_value:.4f})"
