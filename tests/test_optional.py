"""Where a package of an extra is missing, the message says what needs it and how to install it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from seqregen import PatternMiner, SequenceDataset
from seqregen.optional import require_package

DATA = SequenceDataset.from_sequences([["tea", "milk"], ["salt"]])


@pytest.mark.parametrize(
    ("package", "user", "use"),
    [
        ("pyarrow", "read_parquet", SequenceDataset.read_parquet),
        ("pyarrow", "to_parquet", DATA.to_parquet),
        ("pandas", "to_frame", lambda path: DATA.to_frame()),
        ("polars", "to_frame", lambda path: DATA.to_frame("polars")),
        ("pandas", "to_frame", lambda path: PatternMiner().fit([[1, 2], [1, 2]]).to_frame()),
        ("pandas", "to_rectools", lambda path: DATA.to_rectools()),
    ],
)
def test_a_missing_package_is_named(package, user, use, tmp_path, monkeypatch):
    path = tmp_path / "data.parquet"
    DATA.to_parquet(path)
    written = path.read_bytes()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError) as caught:
        use(path)
    expected = f"{user} needs the package {package}, which is not installed: pip install 'seqregen[frames]'."
    assert str(caught.value) == expected
    assert caught.value.name == package
    assert path.read_bytes() == written


def test_the_command_line_says_it_in_a_line(tmp_path):
    path = tmp_path / "data.parquet"
    DATA.to_parquet(path)
    program = "import sys; sys.modules['pyarrow'] = None; from seqregen.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "describe", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("pyarrow, which is not installed: pip install 'seqregen[frames]'.")
    assert len(done.stderr.splitlines()) == 1


def test_what_is_broken_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("raise ImportError('its library is of another version')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="its library is of another version"):
        require_package("broken_package", "this", "frames")
    require_package("json", "this", "frames")
