"""Writing files so that the old one survives whatever happens in between."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["write_aside"]


@contextmanager
def write_aside(path: str | os.PathLike) -> Iterator[Path]:
    """Write to a temporary file beside ``path``, and rename it into place once it is complete.

    Parameters
    ----------
    path : str or path-like
        The file to make or to replace. A symbolic link is followed: the file behind it is replaced.

    Yields
    ------
    Path
        An empty temporary file in the same directory and with the same suffix. Write it and close it
        before the block ends; it is then flushed to the disk and takes the place of ``path``.

    Raises
    ------
    FileNotFoundError
        The directory does not exist.
    IsADirectoryError
        ``path`` is a directory.

    Notes
    -----
    When the block raises (a full disk, an interrupt), the temporary file is removed and ``path`` is as it
    was. When the process is killed, ``path`` is as it was and the temporary file, whose name begins with a
    dot, stays behind.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from seqregen.files import write_aside
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     target = Path(directory) / "note.txt"
    ...     with write_aside(target) as aside:
    ...         _ = aside.write_text("complete")
    ...     target.read_text()
    'complete'
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"cannot write the file {os.fspath(path)!r}: it is a directory.")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {os.fspath(path)!r}: the directory {str(target.parent)!r} is not there.")
    # The suffix stays: some writers choose a format by it, or append it where it is missing.
    aside = target.with_name(f".{target.stem[:100]}.{secrets.token_hex(6)}{target.suffix}")
    # 0o666 is cut down by the user's umask, as for any new file; tempfile would make it 0o600.
    os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        if target.exists():
            os.chmod(aside, target.stat().st_mode & 0o7777)
        yield aside
        _flush(aside)
        os.replace(aside, target)
    except BaseException:
        with suppress(FileNotFoundError):
            aside.unlink()
        raise
    _flush_directory(target.parent)


def _flush(path: Path) -> None:
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _flush_directory(directory: Path) -> None:
    """Make the rename itself durable, where the system can open a directory for that."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        # Some network file systems refuse this; the file is complete and in place all the same.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
