"""A last line that tells what a file is, and by a SHA-256 of all before it whether it is whole."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

__all__ = ["append_seal", "words_of_seal"]

_SEAL = re.compile(rb"\n(?P<words>[^\n]{1,200}) (?P<digest>[0-9a-f]{64})\n\Z")
_LONGEST = 300


def append_seal(path: Path, words: bytes) -> None:
    """Put a last line behind a file that torch or joblib wrote; both read over it.

    Parameters
    ----------
    path : Path
        The file. Whoever calls this renames it into place.
    words : bytes
        What the line begins with: what the file is, and of which version.
    """
    with open(path, "r+b") as file:
        digest = hashlib.file_digest(file, "sha256")
        beginning = b"\n" + words + b" "
        digest.update(beginning)
        file.write(beginning + digest.hexdigest().encode() + b"\n")


def words_of_seal(content: bytes) -> bytes | None:
    """The words of a file's seal; None where there is none, or the file is not what was sealed."""
    seal = _SEAL.search(content, max(len(content) - _LONGEST, 0))
    if seal is None:
        return None
    digest = hashlib.sha256(memoryview(content)[: seal.start("digest")]).hexdigest()
    return seal["words"] if digest.encode() == seal["digest"] else None
