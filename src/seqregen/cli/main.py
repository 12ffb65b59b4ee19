"""Running a command, and turning what goes wrong into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from .console import Console, complain, plain_warnings
from .options import build_parser

__all__ = ["main"]

_FAILED = 2
_INTERRUPTED = 130
# Errors whose message is written for the user.
_FORESEEN = (ValueError, OSError, ImportError, FloatingPointError)
_OPTIONAL = ("pandas", "polars", "pyarrow")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands behind the name of the program; by default that of this process.

    Returns
    -------
    int
        0; 2 for bad input and whatever else goes wrong, with one line on stderr; 130 after Ctrl-C.

    Raises
    ------
    SystemExit
        With code 0, after ``--help`` and ``--version``.

    Examples
    --------
    >>> from seqregen.cli import main
    >>> main(["describe", "/no/such/file.txt"])
    2
    """
    debug = False
    try:
        options = build_parser().parse_args(arguments)
        debug = options.debug
        console = Console(options.quiet, True if options.verbose else None)
        module, function = options.run
        with plain_warnings():
            getattr(import_module(f".{module}", __package__), function)(options, console)
        sys.stdout.flush()
    except KeyboardInterrupt:
        complain("stopped by Ctrl-C; no file was left half-written", "interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone; without this the interpreter complains once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    # Whoever runs a command has no use for a traceback; --debug shows it.
    except Exception as error:
        if debug:
            raise
        complain(_explain(error))
        return _FAILED
    return 0


def _explain(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name in _OPTIONAL:
        return f"{error.name} is needed for this and is not installed: pip install 'seqregen[frames]'."
    if isinstance(error, MemoryError):
        return f"there is not enough memory: {error}"
    if isinstance(error, _FORESEEN):
        return str(error) or type(error).__name__
    return f"{type(error).__name__}: {error} (--debug shows where in the code it arises)"
