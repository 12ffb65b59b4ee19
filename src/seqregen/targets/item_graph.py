"""The graph of items that stand near each other in rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from ..ragged import row_of_position

__all__ = ["co_occurrence", "item_graph"]


def co_occurrence(items: np.ndarray, offsets: np.ndarray, n_items: int, window: int) -> Any:
    """How often, and how near, items follow each other.

    Parameters
    ----------
    items : int64 ndarray of shape (n_positions,)
        Item codes 1..V.
    offsets : int64 ndarray of shape (n_rows + 1,)
    n_items : int
        V.
    window : int
        Largest distance of two positions of a row that are joined.

    Returns
    -------
    scipy sparse array of shape (n_items, n_items)
        Entry (a - 1, b - 1) is the sum of ``1 / distance`` over all positions of item ``a`` and, at most ``window``
        positions behind it in the same row, of item ``b``.
    """
    nodes, rows = items - 1, row_of_position(offsets)
    earlier, later, nearness = [], [], []
    for distance in range(1, min(window, max(len(items) - 1, 0)) + 1):
        joined = np.flatnonzero(rows[distance:] == rows[:-distance])
        earlier.append(nodes[joined])
        later.append(nodes[joined + distance])
        nearness.append(np.full(len(joined), 1 / distance))
    if not earlier:
        return sparse.csr_array((n_items, n_items), dtype=np.float64)
    entries = np.concatenate(nearness), (np.concatenate(earlier), np.concatenate(later))
    return sparse.coo_array(entries, shape=(n_items, n_items)).tocsr()


def item_graph(items: np.ndarray, offsets: np.ndarray, n_items: int, window: int) -> Any:
    """The normalised matrix over which DR4SR's GNN spreads item vectors.

    With the co-occurrence C, ``A = C + C' + I`` and D the diagonal of the number of entries in each row of A, it is
    ``D^-1 A + A D^-1``: a sum, not LightGCN's ``D^-1/2 A D^-1/2``, so its entries are ``a_ij (1 / d_i + 1 / d_j)``
    and it is symmetric.

    Parameters
    ----------
    items : int64 ndarray of shape (n_positions,)
        Item codes 1..V.
    offsets : int64 ndarray of shape (n_rows + 1,)
    n_items : int
        V.
    window : int
        Largest distance of two positions of a row that are joined.

    Returns
    -------
    scipy CSR array of shape (n_items, n_items), float64
        Columns of a row ascend.

    Examples
    --------
    >>> import numpy as np
    >>> from seqregen.targets.item_graph import item_graph
    >>> item_graph(np.array([1, 2, 2]), np.array([0, 2, 3]), n_items=2, window=2).toarray()
    array([[1., 1.],
           [1., 1.]])
    """
    following = co_occurrence(items, offsets, n_items, window)
    graph = (following + following.T + sparse.eye_array(n_items)).tocsr()
    graph.sort_indices()
    degrees = np.diff(graph.indptr)
    graph.data *= np.repeat(1 / degrees, degrees) + (1 / degrees)[graph.indices]
    return graph
