"""Writing files so that the old one survives whatever happens in between."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["check_replaceable", "write_aside"]

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_replaceable(path: str | os.PathLike) -> None:
    """Refuse a path that no file can be put in the place of.

    Parameters
    ----------
    path : str or path-like
        The file to make or to replace. A symbolic link is followed.

    Raises
    ------
    FileNotFoundError
        The directory does not exist, or ``path`` is empty.
    IsADirectoryError
        ``path`` is a directory.
    PermissionError
        The file is there and may not be written. A rename would replace it all the same.
    OSError
        ``path`` is a named pipe, a socket or a device, which a rename would turn into a regular file; or a
        symbolic link that leads in a circle.
    """
    shown = os.fspath(path)
    if not shown:
        raise FileNotFoundError(f"cannot write {shown!r}: the name is empty; give the name of a file.")
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        parent = os.path.dirname(os.path.realpath(path))
        if os.path.isdir(parent):
            return
        raise FileNotFoundError(f"cannot write {shown!r}: the directory {parent!r} is not there.") from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"cannot write the file {shown!r}: it is a directory.")
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(
            f"cannot write {shown!r}: it is {kind}, and only a regular file can be replaced; give another name."
        )
    if not os.access(path, os.W_OK):
        raise PermissionError(
            f"cannot write {shown!r}: the file is there and may not be written ({stat.filemode(mode)}); "
            "make it writable, or give another name."
        )


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
    OSError
        No file can be put in the place of ``path``: see :func:`check_replaceable`. Or writing fails, as on a full
        disk; the message then names ``path``, not the temporary file.

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
    check_replaceable(path)
    target = Path(os.path.realpath(path))
    # The suffix stays: some writers choose a format by it, or append it where it is missing.
    aside = target.with_name(f".{target.stem[:40]}.{secrets.token_hex(6)}{target.suffix}")
    with _naming(path, aside):
        # 0o666 is cut down by the user's umask, as for any new file; tempfile would make it 0o600.
        os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            mode = _mode(target)
            if mode is not None:
                # What others may not read of the old file, they may not read of the new one while it is written.
                os.chmod(aside, mode | stat.S_IRUSR | stat.S_IWUSR)
            yield aside
            _flush(aside)
            if mode is not None:
                os.chmod(aside, mode)
            os.replace(aside, target)
        except BaseException:
            with suppress(FileNotFoundError):
                aside.unlink()
            raise
    _flush_directory(target.parent)


@contextmanager
def _naming(path: str | os.PathLike, aside: Path) -> Iterator[None]:
    """Let errors of the system name the user's file, where they name none or the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is None or (error.filename is not None and str(error.filename) != str(aside)):
            raise
        named = type(error)(f"cannot write {os.fspath(path)!r}: {os.strerror(error.errno)}")
        # With a second argument the message would begin with "[Errno 28]".
        named.errno = error.errno
        raise named from error


def _mode(target: Path) -> int | None:
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        return None


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
