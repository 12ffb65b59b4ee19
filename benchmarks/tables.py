"""Tables of the accuracy runs: models and losses, what the rows bring, and who gains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .chance import Gain, Key, holm
from .published.tables import PAPER, ROWS
from .recipes import RECIPES
from .runs import training_seconds
from .store import DATASETS, METRICS, Comparison, Records, Store
from .variants import VARIANTS

__all__ = [
    "OVERVIEW",
    "beside",
    "costs_table",
    "groups_table",
    "losses_table",
    "markdown",
    "marked_gains",
    "mean_and_deviation",
    "mean_of",
    "models_table",
    "overview_table",
    "parts_table",
    "published_gain",
    "regeneration_table",
    "short",
]

# The row of Table 3 that a variant is measured against.
_ROW_OF = {variant: row for row, variant in ROWS.items()} | {"personalized": "DR4SR+"}
_SIGNIFICANT = 0.05
# The columns of the overview: what its recipes are trained on.
OVERVIEW = {
    "twice": "original, twice",
    "mined": "+ mined",
    "regenerated": "DR4SR",
    "expected": "DR4SR, filtered",
    "constant": "DR4SR, constants",
    "personalized_reference": "DR4SR+ (published)",
    "personalized": "DR4SR+",
    "personalized_moving": "DR4SR+, moving",
    "taught_ensemble": "+ teachers",
}

# What differs by one part alone: of a variant, what it is to be set against.
_PARTS = (
    ("mined", "twice"),
    ("mined", "windows"),
    ("mined", "mined_popularity"),
    ("mined_support_3", "mined"),
    ("regenerated", "mined"),
    ("constant", "regenerated"),
    ("expected_mined", "mined"),
    ("expected", "regenerated"),
    ("personalized_reference", "constant"),
    ("personalized", "constant"),
    ("personalized_moving", "constant"),
    ("personalized_moving", "constant_tenth"),
    ("taught", "mined"),
    ("taught_ensemble", "mined"),
    ("taught_ensemble_mined", "mined"),
    ("taught_ensemble_mined", "taught_ensemble"),
)


def markdown(heading: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    names = list(heading)
    lines = [names, *rows]
    text = [f"| {' | '.join(str(cell) for cell in cells)} |" for cells in lines]
    return "\n".join([text[0], "|" + " --- |" * len(names), *text[1:]])


def mean_and_deviation(values: list[float]) -> str:
    """Over seeds; one seed has no deviation."""
    deviation = f" ± {short(np.std(values, ddof=1))}" if len(values) > 1 else ""
    return f"{short(np.mean(values))}{deviation}"


def short(share: Any) -> str:
    """Four digits behind the point, and none before it."""
    return f"{share:.4f}".removeprefix("0")


def mean_of(seeds: Mapping[int, Mapping[str, Any]], metric: str) -> float | None:
    """Of the runs of all seeds; None where there are none."""
    return float(np.mean([record["test"][metric] for record in seeds.values()])) if seeds else None


def beside(ours: float | None, theirs: float | None) -> str:
    """Ours, and theirs in brackets; a dash for a run that there is not."""
    bracket = "" if theirs is None else f" ({short(theirs)})"
    return f"{'-' if ours is None else short(ours)}{bracket}"


def _probability(p_value: float) -> str:
    return f"{p_value:.4f}" if p_value >= 0.00005 else "< 0.0001"


def published_gain(dataset: str, recipe: str, variant: str) -> float | None:
    """Gain in NDCG@20 over the backbone in Table 3, in percent; None where the paper has no such row."""
    backbone = _published_ndcg(dataset, recipe)
    if backbone is None or variant == "original" or variant not in _ROW_OF:
        return None
    return 100 * (PAPER["table3"][RECIPES[recipe][0]][_ROW_OF[variant]][dataset]["ndcg@20"] / backbone - 1)


def _published_ndcg(dataset: str, recipe: str) -> float | None:
    """NDCG@20 of a recipe's model on the original rows in Table 3; None for recipes other than the published."""
    if not recipe.endswith("-bce"):
        return None
    return PAPER["table3"][RECIPES[recipe][0]]["backbone"][dataset]["ndcg@20"]


def overview_table(store: Store, models: Iterable[str]) -> str:
    """All data sets at a glance: NDCG@20 on the original rows of models under both losses, and what other rows bring.

    Gains that hold after Holm's correction for all comparisons of their data set are bold, those of one seed in
    italics; the paper's stand in brackets.
    """
    recipes = [f"{model}-{loss}" for model in models for loss in ("bce", "softmax")]
    rows = []
    for dataset in DATASETS:
        gains = _gain_cells(store, dataset)
        for recipe in recipes:
            cells = [gains.get((recipe, variant), "-") for variant in OVERVIEW]
            if set(cells) != {"-"}:
                base = mean_of(store.runs(dataset)[recipe, "original"], "ndcg@20")
                rows.append([dataset, recipe, beside(base, _published_ndcg(dataset, recipe)), *cells])
    return markdown(["data set", "recipe", "original", *OVERVIEW.values()], rows)


def _gain_cells(store: Store, dataset: str) -> dict[tuple[str, str], str]:
    """What the overview says of every comparison with the original rows of a data set."""
    cells = marked_gains(store.comparisons(dataset))
    for (recipe, variant), text in cells.items():
        gain = published_gain(dataset, recipe, variant)
        if gain is not None:
            cells[recipe, variant] = f"{text} ({gain:+.1f})"
    return cells


def marked_gains(compared: Mapping[Key, Gain]) -> dict[Key, str]:
    """Gains: bold what holds after Holm's correction for all that are given, in italics what has one seed."""
    adjusted, cells = _corrected(compared), {}
    for key, gain in compared.items():
        text = f"{gain.percent:+.1f} %"
        if adjusted[key] < _SIGNIFICANT:
            text = f"**{text}**"
        cells[key] = f"*{text}*" if gain.n_seeds == 1 else text
    return cells


def _corrected(compared: Mapping[Key, Gain]) -> dict[Key, float]:
    """Holm's p value of every comparison."""
    return holm({key: gain.p_value for key, gain in compared.items()})


def models_table(store: Store, dataset: str) -> str:
    """Every recipe on the original rows, and the published NDCG@20 of its model where there is one."""
    rows = []
    for recipe in RECIPES:
        seeds = store.runs(dataset).get((recipe, "original"))
        if not seeds:
            continue
        known = ""
        published = _published_ndcg(dataset, recipe)
        if published is not None:
            ours = np.mean([record["test"]["ndcg@20"] for record in seeds.values()])
            known = f"{short(published)} (ours {100 * (ours / published - 1):+.0f} %)"
        epochs = " ".join(str(record["best_epoch"] + 1) for record in seeds.values())
        minutes = np.mean([training_seconds(record) for record in seeds.values()]) / 60
        rows.append([recipe, len(seeds), *_cells(seeds), known, epochs, f"{minutes:.1f}"])
    return markdown(["recipe", "seeds", *METRICS, "published ndcg@20", "best epoch", "minutes a run"], rows)


def regeneration_table(store: Store, dataset: str) -> str:
    """What each data variant brings: mean and deviation over seeds, and the paired difference to the original rows.

    The p values are Holm's for all comparisons of the table.
    """
    compared = store.comparisons(dataset)
    adjusted = _corrected(compared)
    rows = []
    for recipe, variant, seeds in _compared_runs(store.runs(dataset)):
        found = compared.get((recipe, variant))
        tested = ("", "") if found is None else (found, _probability(adjusted[recipe, variant]))
        gain = published_gain(dataset, recipe, variant)
        published = "" if gain is None else f"{gain:+.1f} %"
        made = _regenerated_rows(seeds)
        rows.append([recipe, VARIANTS[variant].label, len(seeds), made, *_cells(seeds), *tested, published])
    tests = ["ndcg@20 against original (95 %)", "p (Holm)", "published gain"]
    names = ["recipe", "trained on", "seeds", "regenerated rows", *METRICS, *tests]
    return markdown(names, rows) if rows else "There are no runs to compare yet."


def _regenerated_rows(seeds: dict[int, dict[str, Any]]) -> str:
    """How many regenerated rows the runs had, seed by seed, before any filter: another number is another making."""
    counts = [
        record.get("added_rows_kept", {}).get("regenerated", {}).get("of", record["rows"]["regenerated"])
        for _, record in sorted(seeds.items())
    ]
    return ", ".join(f"{count:,}" for count in counts) if any(counts) else ""


def parts_table(comparison: Comparison[Gain]) -> str:
    """What a part brings: variants beside others than the original rows, on all data sets.

    The p values are Holm's for all comparisons of the table.

    Parameters
    ----------
    comparison : callable of (dataset, recipe, variant, baseline)
        A gain or None, as :attr:`Store.comparison` and :meth:`Curves.comparison` give it.
    """
    found = {
        key: gain
        for dataset in DATASETS
        for variant, baseline in _PARTS
        for recipe in RECIPES
        for key in [(dataset, recipe, variant, baseline)]
        if (gain := comparison(*key)) is not None
    }
    rows = [
        [dataset, recipe, VARIANTS[variant].label, VARIANTS[baseline].label, found[key], _probability(p_value)]
        for key, p_value in _corrected(found).items()
        for dataset, recipe, variant, baseline in [key]
    ]
    names = ["data set", "recipe", "trained on", "against", "difference in ndcg@20 (95 %)", "p (Holm)"]
    return markdown(names, rows) if rows else "There are no runs to compare yet."


def losses_table(store: Store, models: Iterable[str]) -> str:
    """The softmax against bce on the original rows of all data sets.

    The p values are Holm's for all comparisons of the table.
    """
    found = {
        (dataset, model): gain
        for dataset in DATASETS
        for model in models
        if (gain := store.comparison(dataset, f"{model}-softmax", "original", "original", f"{model}-bce")) is not None
    }
    rows = []
    for (dataset, model), p_value in _corrected(found).items():
        runs, gain = store.runs(dataset), found[dataset, model]
        means = [mean_of(runs[f"{model}-{loss}", "original"], "ndcg@20") for loss in ("bce", "softmax")]
        rows.append([dataset, model, gain.n_seeds, *map(short, means), gain, _probability(p_value)])
    names = ["data set", "model", "seeds", "bce", "softmax", "difference in ndcg@20 (95 %)", "p (Holm)"]
    return markdown(names, rows) if rows else "There are no runs to compare yet."


def costs_table(store: Store, dataset: str) -> str:
    """Minutes and memory of the runs: making the rows, an epoch, the whole training."""
    rows = []
    for recipe, variant, seeds in _compared_runs(store.runs(dataset)):
        records = list(seeds.values())
        epochs = np.mean([training_seconds(record) / record["epochs"] for record in records])
        training = np.mean([training_seconds(record) for record in records]) / 60
        making = [found for record in records if (found := _seconds_of_rows(record)) is not None]
        peaks = [record["peak_mebibytes"] for record in records if "peak_mebibytes" in record]
        rows.append([
            recipe,
            VARIANTS[variant].label,
            f"{records[0]['rows']['interactions']:,}",
            f"{np.mean(making) / 60:.1f}" if making else "",
            f"{epochs:.1f}",
            f"{training:.1f}",
            f"{np.mean(peaks):,.0f}" if peaks else "",
        ])  # fmt: skip
    names = ["recipe", "trained on", "interactions", "rows, min", "an epoch, s", "training, min", "peak, MiB"]
    return markdown(names, rows) if rows else "There are no runs yet."


def _seconds_of_rows(record: dict[str, Any]) -> float | None:
    """What making the added rows took; None where none were, or it was not kept from the start."""
    # A making that went on from a checkpoint knows the seconds of its last piece, and those of all epochs.
    if _seconds_of_epochs(record.get("regenerator_history") or []) > record.get("regenerator_fit_seconds", 0):
        return None
    parts = ("mining_seconds", "regenerator_fit_seconds", "regenerator_transform_seconds")
    found = [record[part] for part in parts if part in record]
    return sum(found) if found else None


def _seconds_of_epochs(history: list) -> float:
    """Of a regenerator, or of several teachers one after the other."""
    return sum(_seconds_of_epochs(part) if isinstance(part, list) else part["seconds"] for part in history)


def _compared_runs(runs: Records) -> Iterable[tuple[str, str, dict[int, dict[str, Any]]]]:
    """Runs of the recipes that were trained on more than the original rows."""
    for recipe in RECIPES:
        variants = [variant for variant in VARIANTS if (recipe, variant) in runs]
        for variant in variants if len(variants) > 1 else ():
            yield recipe, variant, runs[recipe, variant]


def groups_table(store: Store, dataset: str) -> str:
    """Gain in NDCG@20 over the original rows, by length of history and by how often the target occurs."""
    runs = store.runs(dataset)
    names: list[str] = []
    rows = []
    for recipe, variant in store.comparisons(dataset):
        base, seeds = runs[recipe, "original"], runs[recipe, variant]
        shared = sorted(set(base) & set(seeds))
        gains = _gains_by_group([base[seed]["groups"] for seed in shared], [seeds[seed]["groups"] for seed in shared])
        names = list(gains)
        rows.append([recipe, VARIANTS[variant].label, *gains.values()])
    return markdown(["recipe", "trained on", *names], rows) if rows else "There are no runs to compare yet."


def _gains_by_group(before: list[dict], after: list[dict]) -> dict[str, str]:
    gains = {}
    for by, what in (("history_length", "history"), ("target_popularity", "target")):
        for group in before[0][by]:
            old, new = (np.mean([groups[by][group]["ndcg@20"] for groups in those]) for those in (before, after))
            gains[f"{what} {group}"] = f"{100 * (new / old - 1):+.1f} %" if old else ""
    return gains


def _cells(seeds: dict[int, dict[str, Any]]) -> list[str]:
    return [mean_and_deviation([record["test"][metric] for record in seeds.values()]) for metric in METRICS]
