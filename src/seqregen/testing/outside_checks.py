"""What is seen on a target from outside: parameters, labels, scores, repeated and second fits."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from ..inputs import UnseenItemsWarning
from .trial import Trial, small_rows

__all__ = [
    "check_batch_mates",
    "check_labels",
    "check_long_histories",
    "check_padding",
    "check_parameters",
    "check_pickling",
    "check_refitting",
    "check_repeatable",
    "check_shapes",
    "check_unseen_items",
]


def check_parameters(trial: Trial) -> str:
    target = trial.target
    params = target.get_params(deep=False)
    cloned = clone(target).get_params(deep=False)
    assert set(cloned) == set(params), (
        f"{trial.name}: clone has the parameters {sorted(cloned)} instead of {sorted(params)}; "
        "__init__ must name every parameter, and store it under its name"
    )
    copied = clone(target).set_params(**params).get_params(deep=False)
    changed = [name for name, value in params.items() if copied[name] is not value]
    assert not changed, f"{trial.name}: set_params then get_params changes {changed}; store parameters untouched"
    model = trial.small()
    before = model.get_params(deep=False)
    returned = model.fit(trial.data)
    assert returned is model, f"{trial.name}: fit must return self; it returned a {type(returned).__name__}"
    after = model.get_params(deep=False)
    changed = [name for name, value in before.items() if after[name] is not value]
    assert not changed, (
        f"{trial.name}: fit changes the parameters {changed}; keep what is learnt in names that end in _"
    )
    return f"{len(params)} parameters survive clone, set_params and fit"


def check_shapes(trial: Trial) -> str:
    n_rows, n_items = len(trial.data), trial.data.n_items
    scores = trial.fitted.decision_function(trial.data)
    assert scores.shape == (n_rows, n_items), (
        f"{trial.name}: decision_function gives {scores.shape}; it must score all items after each row, "
        f"{(n_rows, n_items)}, items that never occurred in training included"
    )
    assert np.isfinite(scores).all(), f"{trial.name}: decision_function gives scores that are NaN or infinite"
    if not trial.has_network:
        return f"{n_items} scores a row"
    states, table = trial.fitted.encode(trial.data), trial.fitted.item_embeddings_
    assert states.ndim == 2 and len(states) == n_rows, (  # noqa: PT018
        f"{trial.name}: encode gives {states.shape}; last_states must be (n_rows, d), here ({n_rows}, d)"
    )
    assert table.shape == (n_items, states.shape[1]), (
        f"{trial.name}: the item table is {table.shape}; it must have one row for each item and the width of the "
        f"states, {(n_items, states.shape[1])}"
    )
    trial.assert_close(scores, states @ table.T, "scores must be inner products of states and item vectors")
    return f"states of {states.shape[1]} values, {n_items} item vectors"


def check_labels(trial: Trial) -> str:
    histories = trial.data.to_lists()
    predicted = trial.fitted.predict(histories, k=3)
    assert predicted.shape == (len(histories), 3), f"{trial.name}: predict(X, k=3) gives {predicted.shape}"
    known = set(trial.data.vocabulary.tolist())
    for row, (history, items) in enumerate(zip(histories, predicted.tolist(), strict=True)):
        assert set(items) <= known, f"{trial.name}: predict must give labels of fit; row {row} has {items}"
        assert len(set(items)) == len(items), f"{trial.name}: predict lists an item twice in row {row}: {items}"
        again = set(items) & set(history) if len(known) - len(set(history)) >= len(items) else set()
        assert not again, f"{trial.name}: predict leaves items of the history in: {sorted(again)} in row {row}"
    best = predicted[:, 0]
    ranks = trial.fitted.rank(histories, best)
    assert (ranks[np.array([item not in row for item, row in zip(best, histories, strict=True)])] == 1).all(), (
        f"{trial.name}: the first item of predict must have rank 1; predict and rank score differently"
    )
    return "labels of fit come out of predict"


def check_repeatable(trial: Trial) -> str:
    states = torch.get_rng_state(), _numpy_state()
    first = trial.small().fit(trial.data)
    left = torch.get_rng_state(), _numpy_state()
    scores = first.decision_function(trial.data)
    assert np.array_equal(scores, first.decision_function(trial.data)), (
        f"{trial.name}: scoring the same rows twice gives two answers; randomness must stop in eval mode "
        "(use nn.Dropout, or heed self.training)"
    )
    assert torch.equal(states[0], left[0]), (
        f"{trial.name}: fit changes torch's global random state; draw from the generator or the random numbers that "
        "are given, or fork the state"
    )
    assert np.array_equal(states[1], left[1]), (
        f"{trial.name}: fit draws from numpy's global random state; use the generator that is given"
    )
    again = trial.small().fit(trial.data).decision_function(trial.data)
    message = (
        "two fits with random_state=0 differ; all randomness must come from torch's generators or the random numbers "
        "that are given, not from numpy.random, random, or the clock"
    )
    trial.assert_close(again, scores, message)
    assert trial.on_gpu or np.array_equal(scores, again), f"{trial.name}: {message}"
    return "two fits with one random_state agree"


def _numpy_state() -> np.ndarray:
    state: Any = np.random.get_state()  # noqa: NPY002
    # The words are drawn anew every 624 draws; in between, only the place among them moves.
    return np.append(state[1], state[2])


def check_batch_mates(trial: Trial) -> str:
    rows = [row for row in trial.data.to_lists() if len(row) == 5]
    _assert_alone_is_together(
        trial, rows, "scores of a row change with the other rows of its batch, all of one length; a state may "
        "depend on its own row alone"
    )  # fmt: skip
    return "scores of a row do not depend on other rows"


def check_padding(trial: Trial) -> str:
    rows = trial.data.to_lists()
    limit = trial.target.get_params(deep=False).get("max_length", 12)
    rows = [row[-limit:] for row in rows]
    _assert_alone_is_together(
        trial, rows, "scores of a row change when longer rows are in its batch, so padding is read; mask code 0, "
        "and do not normalise or average over padded places"
    )  # fmt: skip
    return "padding changes no score"


def _assert_alone_is_together(trial: Trial, rows: list[list], message: str) -> None:
    together = trial.fitted.decision_function(rows)
    for row, scores in zip(rows, together, strict=True):
        alone = trial.fitted.decision_function([row])[0]
        trial.assert_close(scores, alone, message)


def check_pickling(trial: Trial) -> str:
    try:
        written = pickle.dumps(trial.fitted)
    except Exception as error:
        raise AssertionError(
            f"{trial.name}: a fitted model must be picklable: {error}. Define modules and functions at the top of a "
            "module that can be imported, not inside a function."
        ) from error
    read = pickle.loads(written)
    same = np.array_equal(read.decision_function(trial.data), _on_cpu(trial).decision_function(trial.data))
    assert same, f"{trial.name}: scores change by pickling; keep all that decides them in parameters or buffers"
    return f"{len(written):,} bytes"


def _on_cpu(trial: Trial) -> Any:
    """Pickled models wake up on the CPU, so they are compared with one that was moved there."""
    return trial.fitted if trial.has_network and trial.device.type == "cpu" else copy.deepcopy(trial.fitted)


def check_unseen_items(trial: Trial) -> str:
    history = trial.data.to_lists()[3]
    expected = trial.fitted.decision_function([history])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = trial.fitted.decision_function([["never seen", *history, "nor this"]])
        empty = trial.fitted.predict([["never seen"]], k=3)
    assert any(issubclass(warning.category, UnseenItemsWarning) for warning in caught), (
        f"{trial.name}: items that fit has not seen must be ignored with an UnseenItemsWarning, and there was none"
    )
    trial.assert_close(found, expected, "items that fit has not seen must be ignored, and they change scores")
    assert len(set(empty[0].tolist())) == 3, (
        f"{trial.name}: a history without a known item must be answered all the same"
    )
    return "ignored with a warning"


def check_long_histories(trial: Trial) -> str:
    limit = trial.target.get_params(deep=False).get("max_length")
    if limit is None:
        return "no max_length"
    labels = np.resize(trial.data.vocabulary, limit + 7).tolist()
    found, expected = (trial.fitted.decision_function([row]) for row in (labels, labels[-limit:]))
    trial.assert_close(found, expected, "of a history longer than max_length the last items must be read")
    return f"the last {limit} items are read"


def check_refitting(trial: Trial) -> str:
    data = small_rows(trial.data.n_items, seed=1)
    again = trial.small().fit(trial.data).fit(data).decision_function(data)
    fresh = trial.small().fit(data).decision_function(data)
    trial.assert_close(
        again, fresh,
        "a second fit must start from scratch, and gives what it would not have given at first; make "
        "the network in fit, and keep nothing of the fit before",
    )  # fmt: skip
    return "a second fit starts from scratch"
