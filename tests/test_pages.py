"""Pages whose code runs as it stands: that on models of one's own, and that of questions."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from exporting import require_exporter

from seqregen.datasets import make_sequences
from seqregen.model_selection import leave_one_out
from seqregen.targets import SASRec

PAGES = Path(__file__).resolve().parents[1] / "docs" / "user_guide"
BLOCK = re.compile(r"^( *)\.\. code-block:: python\n\n((?:\1   .*\n|\n)+)", re.MULTILINE)


def code_blocks(page):
    return [dedent(block) for _, block in BLOCK.findall((PAGES / page).read_text(encoding="utf-8"))]


@pytest.mark.slow
def test_its_code_runs(tmp_path, monkeypatch, capsys):
    module, fitting, continuing, exporting = code_blocks("own_models.rst")
    (tmp_path / "convolution.py").write_text(module, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names = {}
    exec(compile(fitting, "own_models.rst", "exec"), names)
    assert re.search(r"^shapes +states of 16 values, 20 item vectors$", capsys.readouterr().out, re.MULTILINE)
    assert names["search"].best_score_ > 0.3
    exec(compile(continuing, "own_models.rst", "exec"), names)
    old, new = names["best"], names["later"]
    assert new.vocabulary_.tolist() == [*old.vocabulary_.tolist(), 42, 41]
    # One epoch of few small steps leaves the vectors near those that it began with.
    moved = np.abs(new.item_embeddings_[: len(old.vocabulary_)] - old.item_embeddings_)
    assert moved.max() < 0.1 < np.abs(old.item_embeddings_).max()
    pytest.importorskip("onnxruntime")
    require_exporter()
    exec(compile(exporting, "own_models.rst", "exec"), names)
    # With an item that is unknown the file still answers as the model does.
    expected = names["best"].predict([[3, 7]], k=5, exclude_history=False)[0]
    assert capsys.readouterr().out.strip() == str(expected.tolist())
    sys.modules.pop("convolution")


def test_candidates_and_sampled_items_are_ranked_as_the_page_of_questions_says():
    candidates, sampled = code_blocks("errors.rst")
    X, y = leave_one_out(make_sequences(n_sequences=80, n_items=20, random_state=0))
    model = SASRec(embedding_dim=8, n_layers=1, max_epochs=2, random_state=0).fit(X)
    names = {"model": model, "X": X, "y": y}
    exec(compile(candidates, "errors.rst", "exec"), names)
    scores = model.decision_function(X)
    stock = np.flatnonzero(np.isin(model.vocabulary_, [3, 7, 11]))
    assert names["best"] == model.vocabulary_[stock[scores[:, stock].argmax(axis=1)]].tolist()
    exec(compile(sampled, "errors.rst", "exec"), names)
    # A hundred of twenty items, so that nearly all are drawn: no rank is 1 but of the best.
    own = scores[np.arange(len(X)), np.searchsorted(model.vocabulary_, y)]
    assert (np.array(names["ranks"]) == 1).tolist() == (own == scores.max(axis=1)).tolist()
