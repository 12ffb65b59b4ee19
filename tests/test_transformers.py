"""What holds for every transformer of sequences."""

from __future__ import annotations

import pytest

from seqregen import DatasetPersonalizer, DatasetRegenerator, PatternMiner, RankFilter, TeacherRegenerator
from seqregen.datasets import make_sequences
from seqregen.targets import SASRec

MODEL = SASRec(embedding_dim=8, n_layers=1, hidden_dim=8, max_epochs=2, batch_size=16, random_state=0)
REGENERATOR = {"n_memories": 2, "item_embeddings": None, "embedding_dim": 8, "n_layers": 1, "hidden_dim": 8}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "transformer",
    [
        PatternMiner(random_state=0),
        DatasetRegenerator(miner=PatternMiner(), max_epochs=1, random_state=0, **REGENERATOR),
        TeacherRegenerator(MODEL, n_items=1, random_state=0),
        RankFilter(MODEL, highest_rank=3),
        DatasetPersonalizer(MODEL, warmup_epochs=0, update_every=1),
    ],
    ids=lambda transformer: type(transformer).__name__,
)
def test_rows_that_come_but_once_are_rows(transformer):
    rows = make_sequences(n_sequences=40, n_items=12, random_state=0).to_lists()
    assert transformer.fit_transform(iter(rows)) == transformer.fit_transform(rows)
    transformer.fit(iter(rows))
    assert transformer.transform(rows) == transformer.fit_transform(rows)
