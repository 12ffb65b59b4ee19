"""The page on models of one's own: its code runs as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from exporting import require_exporter

PAGE = Path(__file__).resolve().parents[1] / "docs" / "user_guide" / "own_models.rst"


BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", re.MULTILINE)


def code_blocks():
    return [dedent(block) for block in BLOCK.findall(PAGE.read_text(encoding="utf-8"))]


@pytest.mark.slow
def test_its_code_runs(tmp_path, monkeypatch, capsys):
    module, fitting, exporting = code_blocks()
    (tmp_path / "convolution.py").write_text(module, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names = {}
    exec(compile(fitting, "own_models.rst", "exec"), names)
    assert re.search(r"^shapes +states of 16 values, 20 item vectors$", capsys.readouterr().out, re.MULTILINE)
    assert names["search"].best_score_ > 0.3
    pytest.importorskip("onnxruntime")
    require_exporter()
    exec(compile(exporting, "own_models.rst", "exec"), names)
    # With an item that is unknown the file still answers as the model does.
    expected = names["best"].predict([[3, 7]], k=5, exclude_history=False)[0]
    assert capsys.readouterr().out.strip() == str(expected.tolist())
    sys.modules.pop("convolution")
