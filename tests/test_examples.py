"""Every example of the gallery runs, says something, and asks its question in its title."""

from __future__ import annotations

import ast
import runpy
import tempfile
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.py"))


def test_there_are_examples():
    assert {path.stem for path in EXAMPLES} >= {
        "does_regenerating_help",
        "from_an_event_table",
        "use_the_rows_elsewhere",
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_title_is_underlined_as_the_gallery_needs_it(path):
    title, rule = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).splitlines()[:2]
    assert rule == "=" * len(title)


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path, monkeypatch, capsys):
    # Whatever it writes lands here.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
