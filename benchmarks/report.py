"""Tables and figures of everything that is in the store of results, and the pages that show them.

``python -m benchmarks report`` prints the tables; with ``--write`` it puts them into README.md and docs/results.md,
each between the two comments that name it, and with ``--figures`` it draws the figures.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from seqregen.files import write_aside

from . import paper, tables
from .curves import Curves, chances_table, curve_panels, curves_table
from .datasets import datasets_table
from .figures import draw_curves, draw_gains, draw_growth, draw_sources, draw_sweeps, draw_weights
from .growth import ITEM_SIZES, SIZES, growth_table, measured_sizes
from .machine import RESULTS as ALL_RESULTS
from .published.tables import MODELS
from .runs import MAP_SIZE, RESULTS
from .store import DATASETS, Store
from .tables import published_gain
from .variants import VARIANTS

__all__ = ["PAGES", "all_tables", "draw_figures", "main", "with_tables", "write_pages"]

_ROOT = Path(__file__).parents[1]
PAGES = (_ROOT / "README.md", _ROOT / "docs" / "results.md")
_PLACE = re.compile(r"(<!-- table: ([\w-]+) ([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
_SWEPT = ("amazon-beauty", "amazon-toys")


def all_tables(store: Store) -> Mapping[tuple[str, str], Callable[[], str]]:
    """Every table, by the two names that a page asks for it by: ``<!-- table: models amazon-beauty -->``."""
    curves = Curves(store)
    of_a_data_set = {
        "models": tables.models_table,
        "regeneration": tables.regeneration_table,
        "groups": tables.groups_table,
        "costs": tables.costs_table,
        "table3": paper.overall_table,
        "figure4": paper.weights_table,
    }
    return {
        **{
            (name, dataset): partial(table, store, dataset)
            for dataset in DATASETS
            for name, table in of_a_data_set.items()
        },
        ("overview", "all"): partial(tables.overview_table, store, MODELS),
        ("front", "all"): partial(tables.overview_table, store, ("SASRec",)),
        ("parts", "all"): partial(tables.parts_table, store.comparison),
        ("losses", "all"): partial(tables.losses_table, store, MODELS),
        ("chances", "all"): partial(chances_table, store, curves),
        ("curves", "all"): partial(curves_table, curves),
        ("curve-parts", "all"): partial(tables.parts_table, curves.comparison),
        ("datasets", "all"): datasets_table,
        ("growth", "generated"): growth_table,
        ("strong", "all"): partial(paper.strong_loss_table, store),
        ("table4", "all"): partial(paper.ablation_table, store),
        ("table5", "amazon-beauty"): partial(paper.cost_table, ALL_RESULTS),
        ("table6", "all"): paper.other_data_table,
        ("figure5", "all"): partial(paper.sources_table, store),
        **{(figure, "all"): partial(paper.sweep_table, store, figure) for figure in paper.SWEEPS},
    }


def with_tables(page: str, store: Store) -> str:
    """A page with each table between its two comments made anew."""
    made = all_tables(store)
    return _PLACE.sub(lambda found: f"{found[1]}\n{made[found[2], found[3]]()}\n\n{found[4]}", page)


def write_pages(store: Store) -> None:
    """Make the tables of the pages anew."""
    for path in PAGES:
        page = with_tables(path.read_text(encoding="utf-8"), store)
        with write_aside(path) as aside:
            aside.write_text(page, encoding="utf-8")


def draw_figures(store: Store) -> None:
    """Make the figures of docs/results.md anew."""
    for dataset in DATASETS:
        gains, published = {}, {}
        for (recipe, variant), found in store.comparisons(dataset).items():
            label = f"{recipe}: {VARIANTS[variant].label}"
            gains[label] = (found.percent, *found.interval)
            gain = published_gain(dataset, recipe, variant)
            if gain is not None:
                published[label] = gain
        if gains:
            draw_gains(dataset, gains, published, f"gains-{dataset}")
        maps = paper.weight_maps(store, dataset)
        if maps:
            draw_weights(maps, MAP_SIZE, f"figure4-{dataset}")
    draw_curves(curve_panels(store), "curves")
    draw_sources(paper.sources(store), DATASETS, "figure5")
    for figure, (parameter, _) in paper.SWEEPS.items():
        panels = {
            f"{dataset}, {metric}": paper.sweep(store, dataset, figure, metric)
            for dataset in _SWEPT
            for metric in ("recall@20", "ndcg@20")
        }
        draw_sweeps(parameter.replace("_", " "), panels, figure)
    series = {
        name: [(size.n_items, size.n_interactions) for size in sizes]
        for name, sizes in (("interactions", SIZES), ("items", ITEM_SIZES))
    }
    draw_growth(measured_sizes(), series, "growth")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks report", description="Tables of the store of results.")
    parser.add_argument("--datasets", nargs="+", choices=(*DATASETS, "all", "generated"), help="default: every table")
    parser.add_argument("--write", action="store_true", help="put them into README.md and docs/results.md instead")
    parser.add_argument("--figures", action="store_true", help="draw the figures of that page, too: needs matplotlib")
    options = parser.parse_args(arguments)
    if options.datasets and (options.write or options.figures):
        parser.error("--write and --figures make all that the pages show; --datasets chooses what is printed")
    store = Store(RESULTS)
    if options.figures:
        draw_figures(store)
    if options.write:
        write_pages(store)
        return 0
    for (name, dataset), table in all_tables(store).items():
        if options.datasets is None or dataset in options.datasets:
            print(f"## {dataset}: {name}\n\n{table()}\n")
    return 0
