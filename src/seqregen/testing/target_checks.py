"""Proof that a target model is fit for everything this library does with it.

Each check is one promise that the rest of the library relies on, and that a model of your own breaks silently:
it trains, and its numbers are wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..targets import Ranker
from . import network_checks, outside_checks
from .trial import Trial, small_rows

__all__ = ["CHECKS", "check_target"]

#: What :func:`check_target` checks, by name, in this order.
CHECKS: dict[str, Callable[[Trial], str]] = {
    "parameters": outside_checks.check_parameters,
    "repeatable": outside_checks.check_repeatable,
    "shapes": outside_checks.check_shapes,
    "labels": outside_checks.check_labels,
    "batch_mates": outside_checks.check_batch_mates,
    "padding": outside_checks.check_padding,
    "row_mixing": network_checks.check_row_mixing,
    "leaks": network_checks.check_leaks,
    "state": network_checks.check_state,
    "gradients": network_checks.check_gradients,
    "weights": network_checks.check_weights,
    "pickling": outside_checks.check_pickling,
    "unseen_items": outside_checks.check_unseen_items,
    "long_histories": outside_checks.check_long_histories,
    "refitting": outside_checks.check_refitting,
}


def check_target(target: Ranker, n_items: int = 20, *, skip: Collection[str] = ()) -> dict[str, str]:
    """Prove that a target model keeps its promises, by training small copies of it.

    Parameters
    ----------
    target : SequentialRecommender or Ranker
        An unfitted model, such as a :class:`seqregen.targets.TorchTarget`. It is not changed; copies of it are
        fitted a dozen times, for one to three epochs, on two dozen rows. A :class:`~seqregen.targets.Ranker` that
        has no network of ours is checked from outside alone.
    n_items : int, default=20
        Size of the vocabulary to train on; that of the module, where the target holds one that is made already, or
        features of your own items.
    skip : collection of str
        Names of checks to leave out; :data:`CHECKS` lists them.

    Returns
    -------
    dict of str
        What each check found, by its name, in the order they ran.

    Raises
    ------
    AssertionError
        A promise is broken. The message says which, and what to change.
    ValueError
        ``skip`` has a name that is no check's, or ``n_items`` is less than 4.

    Notes
    -----
    ``parameters``: clone, get_params, set_params, and a fit that leaves parameters alone. ``repeatable``: one
    random_state, one result, and global random states untouched. ``shapes``: states, item vectors and scores.
    ``labels``: labels in, labels out. ``padding``, ``batch_mates``: neither changes a state. ``row_mixing``: nor do
    other rows in training, as with batch norm. ``leaks``: no state that is trained on sees its target.
    ``state``: what training changes is in the network's ``state_dict()``, which is all that the best epoch and
    checkpoints keep. ``gradients``: every parameter learns. ``weights``: the loss heeds them. ``pickling``,
    ``unseen_items``, ``long_histories``; ``refitting``: a second fit starts from scratch.

    Examples
    --------
    >>> from seqregen.targets import SASRec
    >>> from seqregen.testing import check_target
    >>> check_target(SASRec(embedding_dim=8, n_layers=1))["shapes"]
    'states of 8 values, 20 item vectors'
    """
    unknown = set(skip) - set(CHECKS)
    if unknown:
        raise ValueError(f"skip: {sorted(unknown)} are no checks; they are {', '.join(CHECKS)}.")
    if n_items < 4:
        raise ValueError(f"n_items must be at least 4, for rows that differ; got {n_items}.")
    trial = Trial(target, small_rows(n_items))
    found = {}
    for name, check in CHECKS.items():
        if name in skip:
            continue
        try:
            found[name] = check(trial)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(
                f"{name}: {type(target).__name__} raised {type(error).__name__}: {error} (check_target trains on "
                f"{n_items} items; where the module holds vectors or features of its own items, pass n_items=their "
                "number.)"
            ) from error
    return found
