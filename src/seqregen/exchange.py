"""Ways of a dataset into and out of other formats; the work is done in seqregen.inputs and seqregen.formats."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self, cast

__all__ = ["Exchange"]


class Exchange:
    """What :class:`~seqregen.SequenceDataset` is made of and turned into, as methods of it."""

    __slots__ = ()

    @classmethod
    def from_sequences(cls, sequences: Any, *, vocabulary: Iterable | None = None) -> Self:
        """Convert anything that holds one sequence a row.

        Parameters
        ----------
        sequences : array-like of sequences
            As in :func:`seqregen.inputs.check_sequences`, which does it and tells what it raises.
        vocabulary : iterable of labels, optional
            The items there are, in the order of their codes; default those that occur.

        Returns
        -------
        SequenceDataset
        """
        from .inputs import check_sequences

        return cast(Self, check_sequences(sequences, vocabulary=vocabulary))

    @classmethod
    def from_frame(cls, frame: Any, *, user: str = "user", item: str = "item", time: str | None = "time") -> Self:
        """Convert a long frame, one interaction a row.

        Parameters
        ----------
        frame : pandas, polars or pyarrow frame
            As in :func:`seqregen.formats.from_frame`, which does it and tells what it raises.
        user, item : str, default="user", "item"
            Names of columns.
        time : str or None, default="time"
            Name of the column to sort by; None keeps the order of the frame.

        Returns
        -------
        SequenceDataset
        """
        from .formats import from_frame

        return cast(Self, from_frame(frame, user=user, item=item, time=time))

    @classmethod
    def read_parquet(cls, path: Any, **columns: str) -> Self:
        """Read what :meth:`to_parquet` wrote, or what others did.

        Parameters
        ----------
        path : path-like
            As in :func:`seqregen.formats.read_parquet`, which does it and tells what it raises.
        **columns : str
            Names of the columns ``user``, ``item`` and ``time`` in a file with one interaction a row.

        Returns
        -------
        SequenceDataset
        """
        from .formats import read_parquet

        return cast(Self, read_parquet(path, **columns))

    def to_frame(self, library: str = "pandas") -> Any:
        """Make a frame of one row an interaction; see :func:`seqregen.formats.to_frame`.

        Parameters
        ----------
        library : {"pandas", "polars"}, default="pandas"
            Whose frame.

        Returns
        -------
        pandas.DataFrame or polars.DataFrame
        """
        from .formats import to_frame

        return to_frame(cast(Any, self), library=library)

    def to_parquet(self, path: Any) -> None:
        """Write everything to one Parquet file; see :func:`seqregen.formats.to_parquet`.

        Parameters
        ----------
        path : path-like
            A file that is there is replaced.
        """
        from .formats import to_parquet

        to_parquet(cast(Any, self), path)

    def to_recbole(self, directory: Any, name: str) -> Path:
        """Write RecBole's atomic files; see :func:`seqregen.formats.to_recbole`.

        Parameters
        ----------
        directory : path-like
            RecBole's ``data_path``; it is made if it is not there.
        name : str
            RecBole's ``dataset``.

        Returns
        -------
        Path
            The file ``directory/name/name.inter``.
        """
        from .formats import to_recbole

        return to_recbole(cast(Any, self), directory, name)

    def to_rectools(self) -> Any:
        """Make RecTools' frame of interactions; see :func:`seqregen.formats.to_rectools`.

        Returns
        -------
        pandas.DataFrame
        """
        from .formats import to_rectools

        return to_rectools(cast(Any, self))
