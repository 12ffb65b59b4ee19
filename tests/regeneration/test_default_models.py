"""The models that a filter and a teacher train by default."""

from __future__ import annotations

import pytest

from seqregen import RankFilter, TeacherRegenerator
from seqregen.targets import SASRec


class Noted(Exception):
    pass


@pytest.mark.parametrize("kind", [RankFilter, TeacherRegenerator])
def test_their_seed_is_of_the_random_state(kind, monkeypatch):
    seeds = []

    def note(self, X, companion=None):
        seeds.append(self.random_state)
        raise Noted

    monkeypatch.setattr(SASRec, "_fit", note)
    for state in (0, 0, 1):
        with pytest.raises(Noted):
            kind(random_state=state).fit([[1, 2, 3], [2, 3, 4], [4, 1, 2]])
    assert seeds[0] == seeds[1] != seeds[2]
