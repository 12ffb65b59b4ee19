"""Tables of the accuracy runs, made from the result files alone.

``python -m benchmarks report`` prints them; with ``--write`` it puts them into docs/results.md, each between the two
comments that name it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqregen.files import write_aside
from seqregen.metrics import UNREACHABLE, PairedBootstrap, paired_bootstrap

from .datasets import datasets_table
from .figures import draw_gains, draw_growth
from .growth import ITEM_SIZES, SIZES, growth_table, measured_sizes
from .recipes import RECIPES
from .variants import VARIANTS

__all__ = [
    "TABLES",
    "draw_figures",
    "groups_table",
    "main",
    "models_table",
    "regeneration_table",
    "seed_deviations",
    "with_tables",
    "write_page",
]

RESULTS = Path(__file__).parent / "results" / "accuracy"
PAGE = Path(__file__).parents[1] / "docs" / "results.md"
METRICS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
# NDCG@20 in DR4SR's Table 3: without regeneration, with it, and with the personalizer.
PUBLISHED = {
    "amazon-beauty": {
        "GRU4Rec": (0.0150, 0.0177, 0.0194),
        "SASRec": (0.0368, 0.0395, 0.0412),
        "FMLP": (0.0394, 0.0421, 0.0449),
        "GNN": (0.0384, 0.0406, 0.0414),
        "CL4SRec": (0.0441, 0.0495, 0.0517),
    },
    "amazon-toys": {
        "GRU4Rec": (0.0136, 0.0165, 0.0179),
        "SASRec": (0.0448, 0.0504, 0.0527),
        "FMLP": (0.0447, 0.0486, 0.0524),
        "GNN": (0.0469, 0.0498, 0.0521),
        "CL4SRec": (0.0530, 0.0551, 0.0567),
    },
}
# Which of the three a variant is measured against.
_PUBLISHED_GAIN_OF = {"regenerated": 1, "personalized_reference": 2, "personalized": 2}


# Differences between seeds that a recipe must have for a deviation of its own.
_LEAST_FREEDOM = 2


@dataclass(frozen=True)
class _Comparison:
    """A variant beside the original rows, on the seeds that both have."""

    found: PairedBootstrap
    base: float

    @property
    def gain(self) -> float:
        return 100 * self.found.difference / self.base

    @property
    def interval(self) -> tuple[float, float]:
        return 100 * self.found.low / self.base, 100 * self.found.high / self.base

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.gain:+.1f} % ({low:+.1f} to {high:+.1f})"


def models_table(dataset: str) -> str:
    """Every recipe on the original rows, and the published NDCG@20 of its model where there is one."""
    runs = _runs(dataset)
    lines = _heading("recipe", "seeds", *METRICS, "published ndcg@20", "best epoch", "minutes a run")
    for recipe, (model, _) in RECIPES.items():
        seeds = runs.get((recipe, "original"))
        if not seeds:
            continue
        published = PUBLISHED.get(dataset, {}).get(model) if recipe.endswith("-bce") else None
        epochs = " ".join(str(record["best_epoch"] + 1) for record in seeds.values())
        minutes = np.mean([record["fit_seconds"] for record in seeds.values()]) / 60
        known = ""
        if published:
            ours = np.mean([record["test"]["ndcg@20"] for record in seeds.values()])
            known = f"{published[0]:.4f} (ours {100 * (ours / published[0] - 1):+.0f} %)"
        lines.append(_line(recipe, len(seeds), *_cells(seeds), known, epochs, f"{minutes:.1f}"))
    return "\n".join(lines)


def regeneration_table(dataset: str) -> str:
    """What each data variant brings: mean and deviation over seeds, and the paired difference to the original rows.

    The p values are Holm's for all comparisons of the table.
    """
    runs = _runs(dataset)
    compared = _comparisons(runs)
    adjusted = dict(zip(compared, _holm([each.found.p_value for each in compared.values()]), strict=True))
    lines = _heading(
        "recipe", "trained on", "seeds", *METRICS, "ndcg@20 against original (95 %)", "p (Holm)", "published gain"
    )
    for recipe, (model, _) in RECIPES.items():
        variants = [variant for variant in VARIANTS if (recipe, variant) in runs]
        for variant in variants if len(variants) > 1 else ():
            seeds = runs[recipe, variant]
            found = compared.get((recipe, variant))
            tested = ("", "") if found is None else (found, f"{adjusted[recipe, variant]:.4f}")
            gain = _published_gain(dataset, model, variant) if recipe.endswith("-bce") else None
            published = "" if gain is None else f"{gain:+.1f} %"
            lines.append(_line(recipe, VARIANTS[variant].label, len(seeds), *_cells(seeds), *tested, published))
    return "\n".join(lines)


def groups_table(dataset: str) -> str:
    """Gain in NDCG@20 over the original rows, by length of history and by how often the target occurs."""
    runs = _runs(dataset)
    lines: list[str] = []
    for recipe in RECIPES:
        base = runs.get((recipe, "original"), {})
        for variant in VARIANTS:
            seeds = runs.get((recipe, variant), {})
            shared = sorted(set(base) & set(seeds))
            if variant == "original" or not shared:
                continue
            gains = _gains_by_group(
                [base[seed]["groups"] for seed in shared], [seeds[seed]["groups"] for seed in shared]
            )
            lines = lines or _heading("recipe", "trained on", *gains)
            lines.append(_line(recipe, VARIANTS[variant].label, *gains.values()))
    return "\n".join(lines) or "There are no runs to compare yet."


def draw_figures() -> None:
    """Make the figures of docs/results.md anew."""
    for dataset in PUBLISHED:
        gains, published = {}, {}
        for (recipe, variant), found in _comparisons(_runs(dataset)).items():
            label = f"{recipe}: {VARIANTS[variant].label}"
            gains[label] = (found.gain, *found.interval)
            if recipe.endswith("-bce") and (gain := _published_gain(dataset, RECIPES[recipe][0], variant)):
                published[label] = gain
        if gains:
            draw_gains(dataset, gains, published, f"gains-{dataset}")
    series = {
        name: [(size.n_items, size.n_interactions) for size in sizes]
        for name, sizes in (("interactions", SIZES), ("items", ITEM_SIZES))
    }
    draw_growth(measured_sizes(), series, "growth")


def _gains_by_group(before: list[dict], after: list[dict]) -> dict[str, str]:
    gains = {}
    for by, what in (("history_length", "history"), ("target_popularity", "target")):
        for group in before[0][by]:
            old, new = (np.mean([groups[by][group]["ndcg@20"] for groups in those]) for those in (before, after))
            gains[f"{what} {group}"] = f"{100 * (new / old - 1):+.1f} %" if old else ""
    return gains


# What a page can ask for, by the name before the data set: "models amazon-beauty".
TABLES = {"models": models_table, "regeneration": regeneration_table, "groups": groups_table}
_PLACE = re.compile(r"(<!-- table: (\w+) ([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
# Tables that are of no one data set, by both names that a page asks for them by.
_OTHER_TABLES = {("growth", "generated"): growth_table, ("datasets", "all"): datasets_table}


def with_tables(page: str) -> str:
    """A page with each table between its two comments made anew."""
    return _PLACE.sub(lambda found: f"{found[1]}\n{_table(found[2], found[3])}\n\n{found[4]}", page)


def _table(name: str, dataset: str) -> str:
    return _OTHER_TABLES[name, dataset]() if (name, dataset) in _OTHER_TABLES else TABLES[name](dataset)


def write_page() -> None:
    """Make the tables of docs/results.md anew."""
    page = with_tables(PAGE.read_text(encoding="utf-8"))
    with write_aside(PAGE) as aside:
        aside.write_text(page, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks report", description="Tables of the accuracy runs.")
    parser.add_argument("--datasets", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    parser.add_argument("--write", action="store_true", help="put them into docs/results.md instead of printing them")
    parser.add_argument("--figures", action="store_true", help="draw the figures of that page, too: needs matplotlib")
    options = parser.parse_args(arguments)
    if options.figures:
        draw_figures()
    if options.write:
        write_page()
    else:
        print("\n\n".join(f"## {data}: {name}\n\n{TABLES[name](data)}" for data in options.datasets for name in TABLES))
        for (name, dataset), table in _OTHER_TABLES.items():
            print(f"\n## {dataset}: {name}\n\n{table()}")
    return 0


def _runs(dataset: str) -> dict[tuple[str, str], dict[int, dict]]:
    """Records of the finished runs by recipe and variant, and then by seed."""
    runs: dict[tuple[str, str], dict[int, dict]] = defaultdict(dict)
    for path in sorted(RESULTS.glob(f"{dataset}_*.json")):
        record = json.loads(path.read_text())
        record["ranks"] = _ranks(path.with_suffix(".npz"))
        runs[record["recipe"], record["variant"]][record["seed"]] = record
    return runs


def _ranks(path: Path) -> np.ndarray:
    ranks = np.load(path)["ranks"].astype(np.int64)
    return np.where(ranks == 0, UNREACHABLE, ranks)


def _comparisons(runs: dict[tuple[str, str], dict[int, dict]]) -> dict[tuple[str, str], _Comparison]:
    """Every variant beside the original rows of its recipe, in the order of recipes and variants."""
    chance = seed_deviations()
    return {
        (recipe, variant): _compared(
            runs[recipe, "original"], runs[recipe, variant], chance.get(recipe, chance.get("", 0.0))
        )
        for recipe in RECIPES
        for variant in VARIANTS
        if variant != "original" and set(runs.get((recipe, "original"), {})) & set(runs.get((recipe, variant), {}))
    }


def _compared(original: dict[int, dict], other: dict[int, dict], chance: float) -> _Comparison:
    """``chance`` is the deviation between seeds as a share of the mean."""
    shared = sorted(set(original) & set(other))
    here, before = (np.stack([those[seed]["ranks"] for seed in shared]) for those in (other, original))
    base = float(np.mean([original[seed]["test"]["ndcg@20"] for seed in shared]))
    found = paired_bootstrap(here, before, metric="ndcg", k=20, seed_deviation=chance * base, random_state=0)
    return _Comparison(found, found.mean_b)


def seed_deviations() -> dict[str, float]:
    """Standard deviation of NDCG@20 between seeds, as a share of its mean, of each recipe over all rows and data sets.

    Under "" that of all recipes together, which stands for those with fewer than three seeds to tell it from.
    """
    squares: dict[str, list[float]] = defaultdict(list)
    freedom: dict[str, int] = defaultdict(int)
    for dataset in PUBLISHED:
        for (recipe, _), seeds in _runs(dataset).items():
            values = np.array([record["test"]["ndcg@20"] for record in seeds.values()])
            for name in (recipe, ""):
                squares[name] += ((values / values.mean() - 1) ** 2).tolist()
                freedom[name] += len(values) - 1
    return {
        name: float(np.sqrt(sum(squares[name]) / freedom[name]))
        for name in squares
        if freedom[name] >= (_LEAST_FREEDOM if name else 1)
    }


def _holm(p_values: list[float]) -> list[float]:
    """p values that hold for all comparisons together (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(1, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    return adjusted[np.argsort(order)].tolist()


def _published_gain(dataset: str, model: str, variant: str) -> float | None:
    """In percent; None where the paper has none."""
    place = _PUBLISHED_GAIN_OF.get(variant)
    published = PUBLISHED.get(dataset, {}).get(model)
    return 100 * (published[place] / published[0] - 1) if place and published else None


def _heading(*names: str) -> list[str]:
    return [_line(*names), "|" + " --- |" * len(names)]


def _line(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _cells(seeds: dict[int, dict]) -> list[str]:
    return [_mean_and_deviation([record["test"][metric] for record in seeds.values()]) for metric in METRICS]


def _mean_and_deviation(values: list[float]) -> str:
    deviation = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{deviation}"
