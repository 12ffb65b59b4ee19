"""Lists of any recommender: as long as asked for, best first, each item once."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqregen.inputs import check_sequences
from seqregen.targets.ranker import Ranker


class Scored(Ranker):
    """Has the given scores for each user, -inf where an item is never recommended."""

    def __init__(self, scores=None):
        self.scores = scores

    def fit(self, X, y=None):
        self.vocabulary_ = np.arange(self.scores.shape[1])
        return self

    def _scores(self, histories):
        return lambda start, stop: torch.from_numpy(self.scores[histories.users[start:stop]])


def in_order(scores, history, exclude_history):
    """All items: those with a score outside the history, then with one in it, then the others by their number."""
    last = [2 if score == -np.inf else int(exclude_history and item in history) for item, score in enumerate(scores)]
    return sorted(range(len(scores)), key=lambda item: (last[item], 0 if last[item] == 2 else -scores[item]))


@given(st.data())
def test_lists_are_as_long_as_asked_for(data):
    n_rows, n_items = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 12))
    k, exclude_history = data.draw(st.integers(1, n_items)), data.draw(st.booleans())
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    scores = random.permuted(np.tile(np.arange(n_items, dtype=np.float32), (n_rows, 1)), axis=1)
    scores[random.random(scores.shape) < data.draw(st.sampled_from([0, 0.3, 0.9]))] = -np.inf
    rows = [random.integers(0, n_items, random.integers(1, 6)).tolist() for _ in range(n_rows)]
    X = check_sequences(rows, vocabulary=np.arange(n_items)).replace(users=np.arange(n_rows))
    lists = Scored(scores).fit(X).predict(X, k=k, exclude_history=exclude_history)
    assert lists.tolist() == [
        in_order(row, set(history), exclude_history)[:k] for row, history in zip(scores, rows, strict=True)
    ]
