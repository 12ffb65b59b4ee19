"""The paper's tables and figures with ours beside theirs: each cell is ours, and theirs in brackets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .published.tables import MODELS, PAPER, ROWS
from .result_files import finished_files, read_json
from .store import DATASETS, METRICS, Store
from .tables import beside, markdown, mean_of, short

__all__ = [
    "SWEEPS",
    "ablation_table",
    "cost_table",
    "other_data_table",
    "overall_table",
    "sources",
    "sources_table",
    "strong_loss_table",
    "sweep",
    "sweep_table",
    "weight_maps",
    "weights_table",
]

# Table 4: its rows, and the data variants that stand for them.
_ABLATION = {
    "SASRec": "original",
    "DR4SR+": "personalized_reference",
    "-diversity": "memories_1",
    "pattern": "mined_only",
    "end-to-end": "joint",
}
# Figure 5: of what the GNN's graph and CL4SRec's views are made when the model is trained on regenerated rows.
_SOURCES = {
    "GNN": {"original": "GNN-bce", "regenerated": "GNN-bce-graph_regenerated"},
    "CL4SRec": {"original": "CL4SRec-bce-augment_original", "regenerated": "CL4SRec-bce"},
}
# Figures 6 and 7: the parameter that is swept, and the variant of each of its values; the defaults are K = 5, rate 0.1.
SWEEPS = {
    "figure6": ("memories", {1: "memories_1", 3: "memories_3", 5: "regenerated", 7: "memories_7", 9: "memories_9"}),
    "figure7": (
        "generative_rate",
        {0.0: "rate_0", 0.1: "regenerated", 0.3: "rate_0.3", 0.5: "rate_0.5", 1.0: "rate_1"},
    ),
}


def overall_table(store: Store, dataset: str) -> str:
    """Table 3: every model on the original rows, with DR4SR, and with DR4SR+ as published."""
    rows = []
    for model in MODELS:
        for row, variant in ROWS.items():
            published = PAPER["table3"][model][row][dataset]
            seeds = store.runs(dataset).get((f"{model}-bce", variant), {})
            cells = [beside(mean_of(seeds, metric), published[metric]) for metric in METRICS]
            rows.append([model, row, len(seeds) or "", *cells])
    return markdown(["model", "trained with", "seeds", *METRICS], rows)


def strong_loss_table(store: Store) -> str:
    """NDCG@20 of Table 3's cells under the softmax; in brackets the paper's, which are under bce."""
    rows = []
    for model in MODELS:
        for row, variant in {"backbone": "original", "original + mined": "mined", **ROWS}.items():
            runs = [store.runs(dataset).get((f"{model}-softmax", variant), {}) for dataset in DATASETS]
            published = PAPER["table3"][model].get(row, {})
            cells = [
                beside(mean_of(seeds, "ndcg@20"), published[dataset]["ndcg@20"] if published else None)
                for seeds, dataset in zip(runs, DATASETS, strict=True)
            ]
            rows.append([model, row, *cells])
    return markdown(["model", "trained with", *DATASETS], rows)


def ablation_table(store: Store) -> str:
    """Table 4: NDCG@20 of SASRec without the parts of DR4SR+."""
    rows = [
        [
            name,
            *(beside(mean_of(_runs(store, dataset, variant), "ndcg@20"), published[dataset]) for dataset in DATASETS),
        ]
        for (name, variant), published in zip(_ABLATION.items(), PAPER["table4"].values(), strict=True)
    ]
    return markdown(["", *DATASETS], rows)


def cost_table(results: Path) -> str:
    """Table 5: what weighing positions costs an epoch, from the newest measurement of each model in a directory."""
    rows = [
        [
            model,
            f"{record['baseline_seconds']:.2f}",
            f"{record['seconds']:.2f}",
            f"{record['seconds'] / record['baseline_seconds']:.2f}",
            f"{record['facts']['plain peak MiB']:.0f}",
            f"{record['facts']['peak MiB']:.0f}",
            f"{record['facts']['peak MiB'] / record['facts']['plain peak MiB']:.2f}",
        ]
        for model in MODELS
        if (record := _newest_cost(results, model))
    ]
    for dataset, published in PAPER["table5"].items():
        plain, weighed = published["plain"], published["personalized"]
        rows.append([
            f"paper, {dataset}",
            *(f"{side['seconds']:.2f}" for side in (plain, weighed)),
            f"{weighed['seconds'] / plain['seconds']:.2f}",
            *(f"{side['megabytes']}" for side in (plain, weighed)),
            f"{weighed['megabytes'] / plain['megabytes']:.2f}",
        ])  # fmt: skip
    names = ["", "plain, s", "weighed, s", "ratio", "plain, MiB", "weighed, MiB", "ratio"]
    return markdown(names, rows)


def _newest_cost(results: Path, model: str) -> dict[str, Any] | None:
    """The stage of a model in the newest file that has it."""
    for path in reversed(finished_files(results, "speed-*.json")):
        for record in read_json(path)["stages"]:
            if record["stage"] == f"{model}, personalized":
                return record
    return None


def other_data_table() -> str:
    """Table 6: the paper's NDCG@20 on two data sets of which there is no run here."""
    rows = [
        [dataset, model, *(short(scores[row]) for row in ROWS)]
        for dataset, metrics in PAPER["table6"].items()
        for model, scores in metrics["ndcg@20"].items()
    ]
    return markdown(["data set", "model", *ROWS], rows)


def weights_table(store: Store, dataset: str) -> str:
    """Figure 4: how far the learned weights of a model differ; mined rows, which are fixed at 1, are left out."""
    rows = []
    for model in MODELS:
        for recipe in (f"{model}-bce", f"{model}-softmax"):
            for variant in ("personalized_reference", "personalized", "personalized_moving", "personalized_unfixed"):
                seeds = store.runs(dataset).get((recipe, variant), {})
                if seeds:
                    rows.append([recipe, variant, len(seeds), *_weights(seeds)])
    published = ", ".join(f"{model} {variance:.4f}" for model, variance in PAPER["figure4"].items())
    table = markdown(["recipe", "variant", "seeds", "original", "mined", "regenerated"], rows)
    return f"{table}\n\nThe paper's variances, of 25 rows on Toys: {published}."


def _weights(seeds: dict[int, dict[str, Any]]) -> list[str]:
    cells = []
    for origin in ("original", "mined", "regenerated"):
        found = [record["personalizer"]["weights"]["origin"][origin] for record in seeds.values()]
        mean = np.mean([summary["mean"] for summary in found])
        variance = np.mean([summary["deviation"] ** 2 for summary in found])
        cells.append(f"{mean:.3f}, variance {variance:.1e}")
    return cells


def weight_maps(store: Store, dataset: str) -> dict[str, tuple[list[list[float]], float]]:
    """Figure 4: of each model with a run, the weights of some rows under the published script, and their variance."""
    found = {}
    for model, variance in PAPER["figure4"].items():
        seeds = store.runs(dataset).get((f"{model}-bce", "personalized_reference"), {})
        maps = [record["personalizer"]["rows"] for record in seeds.values() if record["personalizer"].get("rows")]
        if maps:
            found[model] = (maps[0], variance)
    return found


def sources(store: Store) -> dict[str, dict[str, tuple[list[float | None], list[float]]]]:
    """Figure 5: by model and by what its graph or views are made of, NDCG@20 on each data set, ours and the paper's."""
    found: dict[str, dict[str, tuple[list[float | None], list[float]]]] = {}
    for model, recipes in _SOURCES.items():
        for source, recipe in recipes.items():
            runs = [store.runs(dataset).get((recipe, "regenerated"), {}) for dataset in DATASETS]
            ours = [mean_of(seeds, "ndcg@20") for seeds in runs]
            published = [PAPER["figure5"][model][source][dataset] for dataset in DATASETS]
            found.setdefault(model, {})[source] = (ours, published)
    return found


def sources_table(store: Store) -> str:
    """Figure 5: NDCG@20 where the graph, or the views, are made of the original or of the regenerated rows."""
    rows = [
        [model, source, *(beside(ours, theirs) for ours, theirs in zip(*values, strict=True))]
        for model, by_source in sources(store).items()
        for source, values in by_source.items()
    ]
    return markdown(["model", "graph or views of", *DATASETS], rows)


def sweep(store: Store, dataset: str, figure: str, metric: str) -> dict[str, Mapping[float, float]]:
    """SASRec's metric by the value of the swept parameter, under bce: ours, and the paper's where it has one."""
    parameter, variants = SWEEPS[figure]
    theirs = PAPER[figure].get(dataset)
    found = {value: mean_of(_runs(store, dataset, variant), metric) for value, variant in variants.items()}
    return {
        "ours": {value: mean for value, mean in found.items() if mean is not None},
        "paper": dict(zip(theirs[parameter], theirs[metric], strict=True)) if theirs else {},
    }


def sweep_table(store: Store, figure: str) -> str:
    """Figure 6 or 7 as a table."""
    _, variants = SWEEPS[figure]
    rows = []
    for dataset in ("amazon-beauty", "amazon-toys"):
        for metric in ("recall@20", "ndcg@20"):
            lines = sweep(store, dataset, figure, metric)
            cells = [beside(lines["ours"].get(value), lines["paper"].get(value)) for value in variants]
            rows.append([dataset, metric, *cells])
    return markdown(["data set", "metric", *(f"{value:g}" for value in variants)], rows)


def _runs(store: Store, dataset: str, variant: str) -> dict[int, dict[str, Any]]:
    return store.runs(dataset).get(("SASRec-bce", variant), {})
