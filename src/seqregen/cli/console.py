"""What a command says: results on stdout, what it is doing on stderr."""

from __future__ import annotations

import io
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = [
    "CommandError",
    "Console",
    "check_printable",
    "complain",
    "format_table",
    "plain_warnings",
    "prepare_streams",
    "show",
    "silence_stdout",
]


class CommandError(ValueError):
    """Something the user can put right; shown as one line."""


class Console:
    """Plain log lines, and whether progress bars are shown.

    Parameters
    ----------
    quiet : bool, default=False
        Say nothing but the result, warnings and errors.
    bars : bool or None, default=None
        Show progress bars; None shows them where stderr is a terminal.

    Attributes
    ----------
    seconds : dict of str to float
        How long each stage took.
    """

    def __init__(self, quiet: bool = False, bars: bool | None = None) -> None:
        self.quiet = quiet
        self.bars = not quiet and (sys.stderr.isatty() if bars is None else bars)
        self.seconds: dict[str, float] = {}

    def log(self, message: str) -> None:
        """Say what is being done."""
        if not self.quiet:
            print(message, file=sys.stderr, flush=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; what it found is for the caller to say."""
        self.log(f"{name} ...")
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


def prepare_streams() -> None:
    """Put the null device in the place of closed streams, and let the others escape what they cannot encode."""
    # In the order of their numbers: the first file that is opened takes the lowest number that is free, and what the
    # system writes to number 2 must not end up in an output.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show(*values: object, end: str = "\n", flush: bool = False) -> None:
    """Print a result on stdout.

    Raises
    ------
    BrokenPipeError
        Whoever read it has gone.
    CommandError
        It cannot be written, as on a full disk.
    """
    try:
        print(*values, end=end, flush=flush)
    except BrokenPipeError:
        raise
    except OSError as error:
        silence_stdout()
        raise CommandError(f"cannot write to stdout: {error.strerror or error}") from error


def silence_stdout() -> None:
    """Let what stdout still holds go nowhere, of which the interpreter would complain once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_printable(texts: Iterable[str]) -> None:
    """Refuse texts that the encoding of stdout lacks: an escape would be another label.

    Raises
    ------
    CommandError
        A text cannot be encoded.
    """
    encoding = sys.stdout.encoding or "utf-8"
    for text in texts:
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            raise CommandError(
                f"the label {text!r} cannot be printed in {encoding}, the encoding of stdout; write -o FILE, which is "
                "UTF-8."
            ) from None


def complain(message: object, kind: str = "error") -> None:
    """Print one line on stderr, whatever line breaks the message has."""
    print(f"seqregen: {kind}: {' '.join(str(message).split())}", file=sys.stderr, flush=True)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show warnings to the user as one line each, without the place in the code."""

    def show(message: Any, *_: Any, **__: Any) -> None:
        complain(message, "warning")

    with warnings.catch_warnings():
        warnings.filterwarnings("default", category=UserWarning)
        warnings.showwarning = show
        yield


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns in line, the first to the left and the others to the right, with a rule under the header."""
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(cells))
        for cells in (zip(line, widths, strict=True) for line in lines)
    ]
    return "\n".join([shown[0], "  ".join("-" * width for width in widths), *shown[1:]])
