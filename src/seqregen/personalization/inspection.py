"""Looking at weights: by origin, by popularity, by position, and as a picture."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from ..optional import require_package
from ..ragged import position_in_row, row_of_position
from ..sequences import Origin, SequenceDataset

__all__ = ["WeightSummary", "plot_weights", "summarize_weights"]

_N_POPULARITY_GROUPS = 5
_LAST_POSITION = 20


class WeightSummary(NamedTuple):
    """Weights of a group of targets."""

    n_targets: int
    mean: float
    deviation: float
    lowest: float
    highest: float


def summarize_weights(dataset: SequenceDataset, by: str = "origin") -> dict[str, WeightSummary]:
    """Mean, deviation and range of the weights of groups of targets.

    The first item of a row is no target and is left out.

    Parameters
    ----------
    dataset : SequenceDataset
        With weights, as :meth:`seqregen.DatasetPersonalizer.transform` returns it.
    by : {"origin", "popularity", "position"}
        Where the row comes from; how often the item stands in the dataset, in five groups of near as many targets,
        from the rarest items to the most popular; or the target's place in its row, from 2, with 20 for all behind.

    Returns
    -------
    dict of str to WeightSummary
        Groups that have a target.

    Raises
    ------
    ValueError
        The dataset has no weights, or ``by`` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from seqregen import SequenceDataset
    >>> from seqregen.personalization import summarize_weights
    >>> data = SequenceDataset.from_sequences([[1, 2, 3], [4, 5]])
    >>> data = data.replace(weights=np.array([1, 0.5, 0.25, 1, 0.75], dtype=np.float32))
    >>> summarize_weights(data)["original"].mean
    0.5
    """
    if by not in _GROUPINGS:
        raise ValueError(f"by must be one of {', '.join(map(repr, _GROUPINGS))}; got {by!r}.")
    weights = _weights_of(dataset)
    targets = np.flatnonzero(position_in_row(dataset.offsets) > 0)
    names, groups = _GROUPINGS[by](dataset, targets)
    order = np.argsort(groups, kind="stable")
    parts = np.split(weights[targets[order]].astype(np.float64), np.searchsorted(groups[order], range(1, len(names))))
    return {
        name: WeightSummary(len(part), part.mean().item(), part.std().item(), part.min().item(), part.max().item())
        for name, part in zip(names, parts, strict=True)
        if len(part)
    }


def _by_origin(dataset: SequenceDataset, targets: np.ndarray) -> tuple[list[str], np.ndarray]:
    return [origin.name.lower() for origin in Origin], dataset.origin[row_of_position(dataset.offsets)[targets]]


def _by_popularity(dataset: SequenceDataset, targets: np.ndarray) -> tuple[list[str], np.ndarray]:
    counts = np.bincount(dataset.items)[dataset.items[targets]]
    bounds = np.quantile(counts, np.arange(1, _N_POPULARITY_GROUPS) / _N_POPULARITY_GROUPS) if len(counts) else [0]
    names = ["rarest", "rare", "middling", "popular", "most popular"]
    return names, np.searchsorted(bounds, counts, side="left")


def _by_position(dataset: SequenceDataset, targets: np.ndarray) -> tuple[list[str], np.ndarray]:
    places = np.minimum(position_in_row(dataset.offsets)[targets] + 1, _LAST_POSITION)
    return [str(place) for place in range(2, _LAST_POSITION + 1)], places - 2


_GROUPINGS: dict[str, Callable[[SequenceDataset, np.ndarray], tuple[list[str], np.ndarray]]] = {
    "origin": _by_origin,
    "popularity": _by_popularity,
    "position": _by_position,
}


def plot_weights(dataset: SequenceDataset, n_rows: int = 25, n_positions: int = 25, ax: Any = None) -> Any:
    """Draw the weights of some rows as a heat map, as Figure 4 of the paper does.

    Rows whose weights are all 1, such as fixed ones, are left out; of the others the longest are drawn, each from its
    second item, its first target. Cells that no target stands in stay empty, and do not count for the variance in
    the title; in the paper's figures they count as 0. Colours reach from 0 to 1, or to the largest weight where a
    dataset that had weights before has some above 1.

    Parameters
    ----------
    dataset : SequenceDataset
        With weights.
    n_rows, n_positions : int, default=25
        Size of the map (the paper's).
    ax : matplotlib Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        matplotlib is not installed (``pip install 'seqregen[plot]'``).
    TypeError
        Not a dataset.
    ValueError
        The dataset has no weights, or none but 1; or the map has no row or no column.
    """
    for name, size in (("n_rows", n_rows), ("n_positions", n_positions)):
        if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
            raise ValueError(f"plot_weights: {name} must be an integer of at least 1; got {size!r}.")
    grid = _grid(dataset, n_rows, n_positions)
    require_package("matplotlib.pyplot", "plot_weights", "plot")
    import matplotlib.pyplot as plt

    if ax is None:
        ax = plt.subplots()[1]
    image = ax.imshow(grid, aspect="auto", cmap="viridis", vmin=0, vmax=max(1, np.nanmax(grid)))
    ax.set_xlabel("position in the row")
    ax.set_xticks(range(0, grid.shape[1], 4), [str(place + 2) for place in range(0, grid.shape[1], 4)])
    ax.set_ylabel("row")
    ax.set_title(f"variance {grid.compressed().var():.4f}")
    ax.figure.colorbar(image, ax=ax, label="weight")
    return ax


def _grid(dataset: SequenceDataset, n_rows: int, n_positions: int) -> np.ma.MaskedArray:
    weights = _weights_of(dataset)
    differs = np.zeros(len(dataset), dtype=bool)
    differs[row_of_position(dataset.offsets)[weights != 1]] = True
    rows = np.flatnonzero(differs & (dataset.lengths > 1))
    if len(rows) == 0:
        raise ValueError("no row has a weight other than 1: there is nothing to draw.")
    rows = np.sort(rows[np.argsort(-dataset.lengths[rows], kind="stable")[:n_rows]])
    columns = np.arange(n_positions)
    is_target = columns < dataset.lengths[rows, None] - 1
    places = np.where(is_target, dataset.offsets[rows, None] + 1 + columns, 0)
    return np.ma.masked_array(weights[places], mask=~is_target)


def _weights_of(dataset: SequenceDataset) -> np.ndarray:
    if not isinstance(dataset, SequenceDataset):
        raise TypeError(f"weights are those of a SequenceDataset; got a {type(dataset).__name__}.")
    if dataset.weights is None:
        raise ValueError("the dataset has no weights; DatasetPersonalizer.transform returns one that has.")
    return dataset.weights
