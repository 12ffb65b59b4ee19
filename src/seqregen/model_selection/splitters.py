"""Leave-one-out as a scikit-learn splitter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils.validation import _num_samples

__all__ = ["LeaveLastOut"]


class LeaveLastOut:
    """Splitter for ``cv=`` that trains on every row's history and tests on every row's held-out item.

    There is one split, and both of its halves are all rows: what is held out is not a row but the item after it,
    which :func:`~seqregen.model_selection.leave_one_out` has moved into ``y``. Nothing leaks through ``y``, because
    estimators of this package never read it in ``fit``.

    What does leak is time: a user's history may be later than another user's held-out item, so a model can learn
    from the future what will be popular. Published results under leave-one-out all have this leak. For an
    estimate free of it, split by time; for unseen users, give the same ``(X, y)`` to ``KFold``.

    Examples
    --------
    >>> from seqregen.model_selection import LeaveLastOut
    >>> [(train.tolist(), test.tolist()) for train, test in LeaveLastOut().split([["a", "b"], ["b"]])]
    [([0, 1], [0, 1])]
    """

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield all rows for training and all rows for testing, once.

        Parameters
        ----------
        X : array-like of sequences
            Histories.
        y, groups : ignored

        Yields
        ------
        train, test : int64 ndarrays of shape (n_rows,)
        """
        rows = np.arange(_num_samples(X))
        yield rows, rows.copy()

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Count the splits.

        Parameters
        ----------
        X, y, groups : ignored
            Present for scikit-learn's conventions.

        Returns
        -------
        int
            1.
        """
        return 1

    def __repr__(self) -> str:
        return "LeaveLastOut()"
