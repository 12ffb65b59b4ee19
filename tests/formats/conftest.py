"""Files to read."""

from __future__ import annotations

import pytest


@pytest.fixture
def write(tmp_path):
    """Writes a text file and gives its path."""

    def write(content):
        path = tmp_path / "data.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
