"""What a file must be to be read as sequences: text in lines, and none of the tables that look like it."""

from __future__ import annotations

import io
import os
import re
from itertools import chain, islice
from typing import Any

__all__ = [
    "BYTE_ORDER_MARK",
    "FIRST_LINES",
    "PARQUET_MARK",
    "first_rows",
    "layout_fault",
    "read_lines",
    "separator_of_columns",
]

# What a Parquet file begins with.
PARQUET_MARK = b"PAR1"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# What other files begin with that are given in the place of text, and what to do with them.
_OTHER_FILES = {
    b"\x1f\x8b": "compressed by gzip; unpack it",
    b"PK\x03\x04": "a ZIP archive; unpack it",
    **{b"BZh%d1AY&SY" % level: "compressed by bzip2; unpack it" for level in range(1, 10)},
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it",
    b"\xfd7zXZ\x00": "compressed by xz; unpack it",
    b"ARROW1\0\0": "an Arrow (Feather) file; read it with pandas or polars, and give from_frame the frame",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
}
_SEPARATORS = (",", ";", "|", "::")
# What a file is shows in its first lines.
FIRST_LINES = 1000
_LONE_RETURN = re.compile(rb"\r(?!\n)")
_FIELD = re.compile(r"[^ \t\r\n]+")
_BY_SPACES = "fields are separated by spaces or tabs"


def read_lines(path: str | os.PathLike) -> bytes:
    """A file without byte order mark and white space at its end, each line with a line feed behind it.

    Parameters
    ----------
    path : str or path-like
        A UTF-8 file. Lines end in a line feed, with or without a carriage return before it; where there is no line
        feed at all, in a carriage return.

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        The file is Parquet, a line is no UTF-8 text, or holds a NUL, or a carriage return within.
    """
    shown = os.fspath(path)
    with open(path, "rb") as file:
        content = file.read()
    if content.startswith(PARQUET_MARK):
        raise ValueError(f"{shown!r} is a Parquet file and no text. Give it a name that ends with .parquet.")
    kind = next((kind for mark, kind in _OTHER_FILES.items() if content.startswith(mark)), None)
    if kind is not None:
        raise ValueError(f"{shown!r} is {kind}.")
    nul = content.find(0)
    if nul >= 0:
        # Letters of Latin text are two bytes there, of which one is NUL.
        wide = 3 * content.count(0, 0, 1000) > len(content[:1000])
        raise ValueError(
            f"{shown!r}, line {_line(content, nul)}: there is a NUL byte, which text does not hold. "
            + ("Is this UTF-16? Save it as UTF-8." if wide else "Is this a binary file?")
        )
    content = content.removeprefix(BYTE_ORDER_MARK).rstrip(b" \t\r\n") + b"\n"
    content = _with_line_feeds(content, shown)
    _check_utf8(content, shown)
    return content


def _line(content: bytes, place: int) -> int:
    return content.count(b"\n", 0, place) + 1


def _with_line_feeds(content: bytes, shown: Any) -> bytes:
    lone = _LONE_RETURN.search(content) if b"\r" in content else None
    if lone is None:
        return content
    if content.count(b"\n") == 1:
        # Old Macs ended lines so; the line feed at the end is not the file's.
        return content.replace(b"\r", b"\n")
    raise ValueError(
        f"{shown!r}, line {_line(content, lone.start())}: there is a carriage return within the line. End all lines "
        "in a line feed, or in a carriage return and a line feed."
    )


def _check_utf8(content: bytes, shown: Any) -> None:
    if content.isascii():
        return
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        where = f"{shown!r}, line {_line(content, error.start)}"
        raise ValueError(f"{where}: the byte 0x{content[error.start]:02x} is no UTF-8 text.") from None


def first_rows(content: bytes) -> list[list[str]]:
    """The fields of each of the first lines of a file that :func:`read_lines` gave."""
    lines = islice(io.BytesIO(content), FIRST_LINES)
    return [_FIELD.findall(line.decode("utf-8")) for line in lines]


def layout_fault(rows: list[list[str]]) -> str | None:
    """What shows that a file is something else than a line ``user item item ...`` a user, as the rest of a sentence.

    Parameters
    ----------
    rows : list of list of str
        The fields of its first lines, each with one at least.

    Returns
    -------
    str or None
        None where nothing shows.
    """
    if not rows:
        return None
    first = " ".join(rows[0])[:60]
    column = next((field for field in rows[0] if field.endswith((":token", ":token_seq"))), None)
    if column is not None:
        return f"begins with the header of a RecBole table, with {column!r} in line 1."
    if all(len(row) == 1 for row in rows) and any(separator in first for separator in _SEPARATORS):
        return f"has no item in any line: {_BY_SPACES}, not as in {first!r}."
    if 2 * sum(map(_is_json, rows)) > len(rows) or first in ("{", "["):
        return f"has lines of JSON: {_BY_SPACES}, not as in {first!r}."
    # The last field of a line has no separator behind it.
    inner = list(chain.from_iterable(row[:-1] for row in rows))
    separated = sum(field.endswith((",", ";")) for field in inner)
    if inner and 2 * separated >= len(inner):
        return f"has fields that end in ',' or ';': {_BY_SPACES} alone, not as in {first!r}."
    return None


def separator_of_columns(rows: list[list[str]]) -> str | None:
    """What seems to part columns, of which those with spaces in them pass for items; users may be called so, too.

    Parameters
    ----------
    rows : list of list of str
        As for :func:`layout_fault`.
    """
    return next((separator for separator in _SEPARATORS if _is_table(rows, separator)), None)


def _is_table(rows: list[list[str]], separator: str) -> bool:
    counts = [row[0].count(separator) for row in rows]
    has_header = len(rows) > 1 and len(rows[0]) == 1 and all(counts)
    # One may stand in the names of users.
    return has_header or (len(rows) > 1 and counts[0] >= 2 and len(set(counts)) == 1)


def _is_json(row: list[str]) -> bool:
    # Both ends count: users may be called [deleted], or {550e8400-...}.
    return row[0].startswith(("{", "[")) and row[-1].endswith(("}", "]", "},", "],"))
