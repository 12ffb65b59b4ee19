"""Figures of the results page, made from the result files alone (needs ``seqregen[plot]``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqregen.files import write_aside

__all__ = ["FIGURES", "draw_curves", "draw_gains", "draw_growth", "draw_sources", "draw_sweeps", "draw_weights"]

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
_STYLE = {"svg.hashsalt": "seqregen", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False,
          "axes.spines.right": False}  # fmt: skip
_BEST, _PUBLISHED = "tab:blue", "tab:orange"


def draw_gains(
    title: str, gains: Mapping[str, tuple[float, float, float]], published: Mapping[str, float], name: str
) -> None:
    """A line a comparison: the gain in NDCG@20 over the original rows, in percent, with its interval.

    Parameters
    ----------
    title : str
    gains : mapping of label to (gain, low, high)
    published : mapping of label to float
        The paper's gain, where it has one.
    name : str
        Of the file.
    """
    import matplotlib.pyplot as plt

    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(8, 1.2 + 0.28 * len(gains)), layout="constrained")
        for place, (label, (gain, low, high)) in enumerate(gains.items()):
            axes.plot([low, high], [place, place], color=_BEST, linewidth=2, alpha=0.5)
            axes.plot([gain], [place], "o", color=_BEST, markersize=5)
            if label in published:
                axes.plot([published[label]], [place], "D", color=_PUBLISHED, markersize=4)
        axes.plot([], [], "o-", color=_BEST, markersize=5, label="measured, 95 % interval")
        if published:
            axes.plot([], [], "D", color=_PUBLISHED, markersize=4, label="published")
        axes.axvline(0, color="0.5", linewidth=0.8)
        axes.set_yticks(range(len(gains)), list(gains))
        axes.invert_yaxis()
        axes.set_xlabel("gain in NDCG@20 over the original rows (%)")
        axes.set_title(title, loc="left")
        figure.legend(frameon=False, loc="outside upper right", ncols=2)
        _save(figure, name)


def draw_sweeps(parameter: str, panels: Mapping[str, Mapping[str, Mapping[float, float]]], name: str) -> None:
    """A panel a data set and metric: ours and the paper's by the value of a parameter.

    Parameters
    ----------
    parameter : str
        Its name, for the axis.
    panels : mapping of title to {"ours", "paper"} to value to metric
    name : str
        Of the file.
    """
    import matplotlib.pyplot as plt

    with plt.rc_context(_STYLE):
        figure, places = plt.subplots(1, len(panels), figsize=(10, 2.6), layout="constrained")
        for axes, (title, lines) in zip(places, panels.items(), strict=True):
            for label, style, color in (("ours", "o-", _BEST), ("paper", "D--", _PUBLISHED)):
                axes.plot(*_coordinates(lines[label]), style, color=color, markersize=4, label=label)
            axes.set_title(title, fontsize=9)
            axes.set_xlabel(parameter)
        figure.legend(*places[0].get_legend_handles_labels(), frameon=False, loc="outside right center")
        _save(figure, name)


def _coordinates(line: Mapping[float, float]) -> tuple[list[float], list[float]]:
    return list(line), list(line.values())


def draw_weights(maps: Mapping[str, tuple[list[list[float]], float]], n_positions: int, name: str) -> None:
    """A heat map a model: the weights of some rows, and their variance with empty cells as 0, as the paper takes it.

    Parameters
    ----------
    maps : mapping of model to (weights of each row, the paper's variance)
    n_positions : int
        Width of the maps.
    name : str
        Of the file.
    """
    import matplotlib.pyplot as plt

    with plt.rc_context(_STYLE):
        figure, places = plt.subplots(
            1, len(maps), figsize=(1.5 + 2.1 * len(maps), 2.9), sharey=True, squeeze=False, layout="constrained"
        )
        for axes, (model, (rows, published)) in zip(places[0], maps.items(), strict=True):
            grid = np.zeros((len(rows), n_positions))
            is_empty = np.ones(grid.shape, dtype=bool)
            for number, weights in enumerate(rows):
                grid[number, : len(weights)] = weights
                is_empty[number, : len(weights)] = False
            image = axes.imshow(np.ma.masked_array(grid, is_empty), aspect="auto", vmin=0, vmax=1)
            axes.set_title(f"{model}\nvariance {grid.var():.4f} (paper {published:.4f})", fontsize=8)
            axes.set_xlabel("position of the target")
        places[0][0].set_ylabel("row")
        figure.colorbar(image, ax=places[0], label="weight")
        _save(figure, name)


def draw_sources(
    panels: Mapping[str, Mapping[str, tuple[list[float | None], list[float]]]], datasets: Sequence[str], name: str
) -> None:
    """A panel a model: NDCG@20 on each data set by what the graph or the views are made of, ours and the paper's.

    Parameters
    ----------
    panels : mapping of model to source to (ours, the paper's)
        None where there is no run.
    datasets : sequence of str
    name : str
        Of the file.
    """
    import matplotlib.pyplot as plt

    with plt.rc_context(_STYLE):
        figure, places = plt.subplots(1, len(panels), figsize=(9, 2.8), layout="constrained")
        for axes, (model, by_source) in zip(places, panels.items(), strict=True):
            for shift, (source, (ours, theirs)) in zip((-0.12, 0.12), by_source.items(), strict=True):
                fill = "none" if source == "original" else "full"
                heights = [np.nan if value is None else value for value in ours]
                at = np.arange(len(datasets)) + shift
                axes.plot(at, heights, "o", color=_BEST, fillstyle=fill, label=f"ours, {source} rows")
                axes.plot(at, theirs, "D", color=_PUBLISHED, fillstyle=fill, label=f"paper, {source} rows")
            axes.set_xticks(range(len(datasets)), [name.removeprefix("amazon-") for name in datasets])
            axes.set_title(model, loc="left")
        places[0].set_ylabel("NDCG@20")
        figure.legend(*places[0].get_legend_handles_labels(), frameon=False, loc="outside right center")
        _save(figure, name)


def draw_growth(records: list[dict[str, Any]], series: Mapping[str, list[tuple[int, int]]], name: str) -> None:
    """Seconds and added memory of each stage against interactions and against items, all axes logarithmic.

    Parameters
    ----------
    records : list of dict
        What is in the store of the growth benchmark.
    series : mapping of what grows to list of (n_items, n_interactions)
    name : str
        Of the file.
    """
    import matplotlib.pyplot as plt

    known = {(record["n_items"], record["n_interactions"]): record["stages"] for record in records}
    stages = list(dict.fromkeys(stage for found in known.values() for stage in found))
    values = {
        "processor seconds, one thread": lambda record: record["seconds"],
        "added memory (MiB)": lambda record: record["mebibytes"] - record["mebibytes_before"],
    }
    with plt.rc_context(_STYLE):
        figure, panels = plt.subplots(2, len(series), figsize=(8, 6), sharex="col", sharey="row", layout="constrained")
        for row, (label, value) in zip(panels, values.items(), strict=True):
            for axes, (what, sizes) in zip(row, series.items(), strict=True):
                for stage in stages:
                    points = [
                        (size[what == "interactions"], value(known[size][stage]))
                        for size in sizes
                        if stage in known.get(size, {})
                    ]
                    axes.loglog(*zip(*points, strict=True), "o-", markersize=4, label=stage)
            row[0].set_ylabel(label)
        for axes, what in zip(panels[-1], series, strict=True):
            axes.set_xlabel(what)
        figure.legend(*panels[0][0].get_legend_handles_labels(), frameon=False, loc="outside right center")
        _save(figure, name)


def draw_curves(panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], name: str) -> None:
    """A panel a data set and loss: validation NDCG@20 by epoch, a line a seed and a colour for what is trained on.

    Parameters
    ----------
    panels : mapping of title to label to list of curves
        The panels stand in two rows, one behind the other from left to right.
    name : str
        Of the file.
    """
    import matplotlib.pyplot as plt

    labels = list(dict.fromkeys(label for curves in panels.values() for label in curves))
    with plt.rc_context(_STYLE):
        figure, places = plt.subplots(2, -(-len(panels) // 2), figsize=(12, 5), squeeze=False, layout="constrained")
        for axes, (title, curves) in zip(places.flat, panels.items(), strict=False):
            for label, seeds in curves.items():
                for curve in seeds:
                    axes.plot(range(1, len(curve) + 1), curve, color=f"C{labels.index(label)}", linewidth=0.9)
            axes.set_title(title, fontsize=9)
        for axes in places[-1]:
            axes.set_xlabel("epoch")
        for axes in places[:, 0]:
            axes.set_ylabel("NDCG@20, validation")
        lines = [plt.Line2D([], [], color=f"C{number}") for number in range(len(labels))]
        figure.legend(lines, labels, frameon=False, loc="outside right center")
        _save(figure, name)


def _save(figure: Any, name: str) -> None:
    import matplotlib.pyplot as plt

    FIGURES.mkdir(exist_ok=True)
    with write_aside(FIGURES / f"{name}.svg") as aside:
        figure.savefig(aside, format="svg", metadata={"Date": None})
    plt.close(figure)
