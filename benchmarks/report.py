"""Tables of the accuracy runs, made from the result files alone: ``python -m benchmarks.accuracy --report``."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from seqregen.metrics import UNREACHABLE, paired_bootstrap

__all__ = ["accuracy_table"]

RESULTS = Path(__file__).parent / "results" / "accuracy"
METRICS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
ROWS = {
    "original": "original",
    "mined": "original + mined",
    "regenerated": "original + mined + regenerated",
    "balanced": "original + mined + regenerated, gate balanced",
}


def accuracy_table(dataset: str) -> str:
    """Markdown: mean and deviation over seeds, and the paired difference in NDCG@20 to the original data."""
    runs: dict[tuple[str, str], dict[int, dict]] = defaultdict(dict)
    for path in sorted(RESULTS.glob(f"{dataset}_*.json")):
        record = json.loads(path.read_text())
        record["ranks"] = _ranks(path.with_suffix(".npz"))
        runs[record["settings"]["loss"], record["variant"]][record["seed"]] = record
    lines = [
        "| loss | trained on | seeds | " + " | ".join(METRICS) + " | NDCG@20 against original (95 % interval, p) |",
        "| --- | --- | --- |" + " --- |" * (len(METRICS) + 1),
    ]
    for (loss, variant), seeds in sorted(runs.items(), key=lambda item: (item[0][0], list(ROWS).index(item[0][1]))):
        cells = [_mean_and_deviation([record["test"][metric] for record in seeds.values()]) for metric in METRICS]
        difference = _difference(runs.get((loss, "original"), {}), seeds) if variant != "original" else ""
        lines.append(f"| {loss} | {ROWS[variant]} | {len(seeds)} | " + " | ".join(cells) + f" | {difference} |")
    return "\n".join(lines)


def _ranks(path: Path) -> np.ndarray:
    ranks = np.load(path)["ranks"].astype(np.int64)
    return np.where(ranks == 0, UNREACHABLE, ranks)


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
