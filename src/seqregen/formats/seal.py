"""A digest of a whole Parquet file within it, so that damage is seen before anything of it is decoded."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["is_sealed", "write_sealed"]

_MAGIC = b"PAR1"
_MARK = b"seqregen-sha256:"
_DIGEST_SIZE = hashlib.sha256().digest_size
_CONTENT = len(_MAGIC) + len(_MARK) + _DIGEST_SIZE


def write_sealed(table: Any, path: Path) -> None:
    """Write an Arrow table as Parquet, with a digest of the file at its beginning.

    Parameters
    ----------
    table : pyarrow.Table
        What to write.
    path : Path
        A file to fill. Whoever calls this renames it into place.

    Notes
    -----
    A footer says where each column begins, counted from the first byte of the file, and readers go by that
    alone. So there is room behind the leading ``PAR1``: the mark ``seqregen-sha256:``, and the SHA-256 digest of
    all the bytes that follow. At the beginning it is found whatever has become of the footer.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (
        # Arrow itself opens paths of UTF-8 alone.
        open(path, "wb") as file,
        pa.PythonFile(file, mode="w") as sink,
        pq.ParquetWriter(sink, table.schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        # The writer has written the leading magic by now, and asks the file where each column begins.
        sink.write(_MARK + bytes(_DIGEST_SIZE))
        writer.write_table(table)
    with open(path, "r+b") as written:
        written.seek(_CONTENT)
        digest = hashlib.file_digest(written, "sha256").digest()
        written.seek(len(_MAGIC) + len(_MARK))
        written.write(digest)


def is_sealed(file: io.BufferedReader, refuse: Callable[[str], Exception]) -> bool:
    """Whether a Parquet file bears a digest of itself, which then is right.

    Parameters
    ----------
    file : binary file
        Open for reading, at its beginning, where this leaves it.
    refuse : callable
        Makes the error to raise of what is wrong.

    Returns
    -------
    bool
        False for files that others, or earlier versions, wrote.
    """
    beginning = file.read(_CONTENT)
    if beginning and not beginning.startswith(_MAGIC):
        raise refuse(f"it begins with {beginning[:4]!r} where Parquet has {_MAGIC!r}")
    sealed = beginning[len(_MAGIC) :].startswith(_MARK)
    if sealed and hashlib.file_digest(file, "sha256").digest() != beginning[-_DIGEST_SIZE:]:
        raise refuse("its content does not match its checksum")
    file.seek(0)
    return sealed
