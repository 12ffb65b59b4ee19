"""Files in and out of the commands: rows and patterns. Outputs are written aside and renamed."""

from __future__ import annotations

import csv
import hashlib
import os
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import check_replaceable, write_aside
from ..sequences import SequenceDataset
from .console import CommandError, Console, complain
from .options import COLUMNS

__all__ = [
    "MODELS",
    "PARQUET",
    "PATTERNS",
    "ROWS",
    "check_output",
    "check_patterns_fit",
    "check_rows_fit",
    "digest_rows",
    "find_input",
    "hold_out",
    "load_rows",
    "lost_in_text",
    "save_patterns",
    "save_rows",
    "without_empty_rows",
]

PARQUET = (".parquet", ".pq")
ROWS = (".txt", *PARQUET)
PATTERNS = (*ROWS, ".csv", ".tsv")
MODELS = (".joblib", ".pkl")


def check_output(path: str | None, suffixes: Sequence[str], inputs: Sequence[str | os.PathLike] = ()) -> None:
    """Refuse an output file before any work is done for it.

    Raises
    ------
    CommandError
        The suffix names no known format, the directory is closed, or the file is an input.
    OSError
        The directory is missing, or what is there is no regular file, or may not be written.
    """
    if path is None:
        return
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        raise CommandError(f"the output {path!r} must end in {', '.join(suffixes[:-1])} or {suffixes[-1]}.")
    check_replaceable(target)
    if not os.access(os.path.dirname(os.path.realpath(target)), os.W_OK | os.X_OK):
        raise CommandError(f"the output {path!r} cannot be written: no permission in {str(target.parent)!r}.")
    for name in inputs:
        if target.exists() and os.path.exists(name) and os.path.samefile(target, name):
            raise CommandError(f"the output {path!r} is the input file, which would be lost; give another name.")


def find_input(name: str) -> Path:
    """The file that :func:`load_rows` reads for a name; where there is none, which that says, the name itself."""
    from ..datasets.loaders import find_file

    try:
        return find_file(name)
    except FileNotFoundError:
        return Path(name)


def check_rows_fit(rows: SequenceDataset, path: str) -> None:
    """Refuse labels that an output of rows cannot hold, before any work is done for it.

    Raises
    ------
    ValueError
        An item, a user, a time or a domain has no place in the format of the output.
    """
    from ..formats.text import finite_times, item_texts
    from ..formats.text_layout import FIRST_LINES

    # What a format can hold, the format alone knows, and a trial of few interactions costs nothing.
    if Path(path).suffix.lower() in PARQUET:
        domains = [] if rows.domains is None else rows.domains.tolist()
        places = np.array(list({label: place for place, label in enumerate(domains)}.values()), dtype=np.int64)
        bounds = np.repeat([0, len(places)], [len(rows), 1])
    else:
        item_texts(rows)
        finite_times(rows, "as text")
        # A text is known by its first lines.
        bounds = np.minimum(rows.offsets, rows.offsets[min(FIRST_LINES, len(rows))])
        places = np.arange(bounds[-1])
    columns = {name: getattr(rows, name) for name in ("timestamps", "domains")}
    columns = {name: None if values is None else values[places] for name, values in columns.items()}
    trial = SequenceDataset(rows.items[places], bounds, rows.vocabulary, users=rows.users, **columns)
    with tempfile.TemporaryDirectory() as directory:
        save_rows(trial, os.path.join(directory, f"trial{Path(path).suffix}"))


def check_patterns_fit(vocabulary: np.ndarray, path: str) -> None:
    """Refuse items that an output of patterns cannot hold, before any work is done for it.

    Raises
    ------
    CommandError
        An item is empty or holds white space, and the output is text.
    ValueError
        Arrow has no place for an item, and the output is Parquet; or an item is no valid Unicode.
    """
    from ..formats.text import as_texts

    if Path(path).suffix.lower() in PARQUET:
        _labels_to_column(vocabulary)
        return
    for label in as_texts(vocabulary, "the item"):
        if len(label.split()) != 1:
            raise CommandError(
                f"the item {label!r} is empty or holds white space, which separates items here; write .parquet."
            )


def load_rows(options: Namespace, console: Console) -> SequenceDataset:
    """Read the sequences of the file that the options name."""
    from ..datasets import load_sequences
    from ..datasets.loaders import find_file
    from ..formats import LayoutError, read_parquet

    path = options.file
    columns = {role: getattr(options, role) for role in COLUMNS if getattr(options, role) is not None}
    if Path(path).suffix.lower() in (".csv", ".tsv", ".json", ".gz", ".zip", *MODELS):
        raise CommandError(
            f"{path!r} is neither text of the form 'user item item ...' nor Parquet. Of a CSV file of interactions "
            "make Parquet with the columns user, item and time: pandas.read_csv(...).to_parquet(...), with "
            "parse_dates=['time'] where times are written out."
        )
    if columns and Path(path).suffix.lower() not in PARQUET:
        flags = " and ".join(f"--{role}" for role in columns)
        raise CommandError(f"{flags} names a column of a Parquet file (.parquet); {path!r} is read as text.")
    try:
        found = find_file(path)
        rows = read_parquet(found, **columns) if columns else load_sequences(found)
    except LayoutError as error:
        advice = (
            "Name its columns with --user, --item and --time." if error.nameable else "Name that of the items: --item."
        )
        raise CommandError(f"{error.found} {advice}") from error
    if rows.n_interactions == 0:
        raise CommandError(f"{path!r} holds {len(rows)} rows and not one item.")
    console.log(f"read {found}: {rows!r}")
    return rows


def without_empty_rows(rows: SequenceDataset, why: str) -> SequenceDataset:
    """The rows that have an item, with a warning if others are left out."""
    empty = int(np.count_nonzero(rows.lengths == 0))
    if empty == 0:
        return rows
    complain(f"{empty:,} of {len(rows):,} rows left out, since empty: {why}.", "warning")
    return rows[rows.lengths > 0]


def hold_out(rows: SequenceDataset, how: str) -> SequenceDataset:
    """Move last items out of the rows, as the option ``--hold-out`` says."""
    from ..model_selection import hold_out_last, leave_one_out

    if how == "none":
        return rows
    if how == "validation":
        if rows.validation is not None:
            raise CommandError("the file holds validation items already; leave --hold-out validation away.")
        return hold_out_last(rows)
    rows = without_empty_rows(rows, "they have no last item to hold out")
    return leave_one_out(rows, validation=how == "validation-and-test")[0]


def save_rows(rows: SequenceDataset, path: str) -> None:
    """Write rows as text or Parquet, by the suffix."""
    from ..formats import to_parquet, write_text

    if Path(path).suffix.lower() == ".txt":
        write_text(rows, path)
    else:
        to_parquet(rows, path)


def save_patterns(patterns: SequenceDataset, support: np.ndarray, path: str) -> None:
    """Write patterns and their support as Parquet, CSV, TSV or text, by the suffix."""
    suffix = Path(path).suffix.lower()
    if suffix in PARQUET:
        _save_pattern_table(patterns, support, path)
        return
    texts = [" ".join(map(str, pattern)) for pattern in patterns.to_lists()]
    with write_aside(path) as aside, open(aside, "w", encoding="utf-8", newline="") as file:
        if suffix == ".txt":
            file.writelines(f"{count} {text}\n" for count, text in zip(support.tolist(), texts, strict=True))
            return
        writer = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
        writer.writerow(("pattern", "support", "length"))
        writer.writerows(zip(texts, support.tolist(), patterns.lengths.tolist(), strict=True))


def _save_pattern_table(patterns: SequenceDataset, support: np.ndarray, path: str) -> None:
    import pyarrow as pa

    from ..formats.seal import write_sealed

    labels = _labels_to_column(patterns.vocabulary)
    lists = pa.LargeListArray.from_arrays(pa.array(patterns.offsets), labels.take(pa.array(patterns.items - 1)))
    table = pa.table({"pattern": lists, "support": pa.array(support), "length": pa.array(patterns.lengths)})
    with write_aside(path) as aside:
        write_sealed(table, aside)


def _labels_to_column(vocabulary: np.ndarray) -> Any:
    # What a Parquet file of rows holds for a label, one of patterns holds as well.
    from ..formats.parquet import labels_to_arrow

    return labels_to_arrow(vocabulary, "items", {})


def lost_in_text(rows: SequenceDataset) -> list[str]:
    """What a dataset has and a text of its rows does not hold, in words."""
    from ..formats.text import loses_users, times_as_numbers
    from ..times import missing_times

    times = rows.timestamps
    keeps_times = times is None or missing_times(times).all() or times_as_numbers(rows) is not None
    has_added_rows = rows.n_original < len(rows)
    lost = {
        "origins": has_added_rows,
        "source rows": has_added_rows and (rows.source >= 0).any(),
        "pairs": rows.pairs is not None and len(rows.pairs.patterns) > 0,
        "users": loses_users(rows),
        "times": not keeps_times,
        "domains": rows.domains is not None,
        "weights": rows.weights is not None,
        "validation items": rows.validation is not None,
    }
    return [name for name, is_lost in lost.items() if is_lost]


def digest_rows(rows: SequenceDataset) -> str:
    """A fingerprint of the items of all rows that have any: tells whether a model was trained on just these rows."""
    # Codes count the labels of a file, of which its histories may lack some: places count those that occur.
    codes, places = np.unique(rows.items, return_inverse=True)
    digest = hashlib.sha256()
    for column in (places, rows.lengths[rows.lengths > 0]):
        digest.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
    digest.update(repr(rows.vocabulary[codes - 1].tolist()).encode())
    return digest.hexdigest()
