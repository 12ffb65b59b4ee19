"""Running a command, and turning what goes wrong into one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from .console import Console, complain, plain_warnings, prepare_streams, show, silence_stdout
from .options import build_parser

__all__ = ["main"]

_FAILED = 2
_INTERRUPTED = 130
# Errors whose message is written for the user.
_FORESEEN = (ValueError, OSError, ImportError, FloatingPointError)
# What torch says in a RuntimeError when there is no memory left.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


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
    prepare_streams()
    try:
        options = build_parser().parse_args(arguments)
        debug = options.debug
        console = Console(options.quiet, True if options.verbose else None)
        module, function = options.run
        with plain_warnings():
            getattr(import_module(f".{module}", __package__), function)(options, console)
        show(end="", flush=True)
    except KeyboardInterrupt:
        complain("stopped by Ctrl-C; no file was left half-written", "interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone.
        silence_stdout()
        return 1
    # Whoever runs a command has no use for a traceback; --debug shows it.
    except Exception as error:
        if debug:
            raise
        complain(_explain(error))
        return _FAILED
    return 0


def _explain(error: BaseException) -> str:
    if _is_lack_of_memory(error):
        # torch puts a place in its own code before what happened.
        found = str(error).rpartition("DefaultCPUAllocator: ")[2]
        return f"there is not enough memory{': ' if found else ''}{found}"
    if isinstance(error, _FORESEEN):
        return str(error) or type(error).__name__
    return f"{type(error).__name__}: {error} (--debug shows where in the code it arises)"


def _is_lack_of_memory(error: BaseException) -> bool:
    # Where torch was not imported, it is not its error either.
    of_torch = getattr(sys.modules.get("torch"), "OutOfMemoryError", MemoryError)
    if isinstance(error, (MemoryError, of_torch)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
