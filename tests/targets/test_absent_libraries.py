"""What the adapters say where the library that they adapt is not there."""

from __future__ import annotations

import sys

import pytest

from seqregen.targets import RecBoleTarget, RecToolsTarget


@pytest.mark.parametrize(
    ("target", "modules", "extra"),
    [
        (RecBoleTarget("SASRec"), ("recbole", "recbole.model"), r"seqregen\[recbole\]"),
        (RecToolsTarget(object()), ("rectools", "rectools.models", "rectools.models.base"), r"seqregen\[rectools\]"),
    ],
)
def test_fit_names_the_extra_to_install(monkeypatch, sequences, target, modules, extra):
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=extra):
        target.fit(sequences)
