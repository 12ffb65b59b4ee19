"""Checks of constructor parameters, made in fit, with one kind of message."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable
from functools import wraps
from numbers import Integral
from typing import Any, ParamSpec, TypeVar

import numpy as np

__all__ = [
    "check_choice",
    "check_flag",
    "check_heads",
    "check_integer",
    "check_jobs",
    "check_parts",
    "check_random_state",
    "check_real",
    "draw_seed",
    "remember_columns",
    "require_flag",
    "takes",
    "with_parameter",
    "with_plain_numbers",
]


_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")


def with_plain_numbers(method: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
    """A method of an estimator that computes with Python's numbers where its parameters are numpy's.

    Those of few bits, or without a sign, wrap around; afterwards the parameters are what they were.
    """

    @wraps(method)
    def with_numbers(*arguments: _Given.args, **keywords: _Given.kwargs) -> _Made:
        estimator: Any = arguments[0]
        given = {name: value for name, value in vars(estimator).items() if isinstance(value, (np.number, np.bool_))}
        given = {name: value for name, value in given.items() if not name.endswith("_")}
        vars(estimator).update({name: value.item() for name, value in given.items()})
        try:
            return method(*arguments, **keywords)
        finally:
            # A fit may have given the estimator another dict.
            vars(estimator).update(given)

    return with_numbers


def check_integer(owner: Any, name: str, minimum: int, *, none: bool = False) -> None:
    """Refuse a parameter that is no integer of at least ``minimum`` (nor None, where ``none`` allows it)."""
    value = getattr(owner, name)
    if none and value is None:
        return
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral) or value < minimum:
        alternative = " or None" if none else ""
        raise ValueError(f"{_place(owner, name)} must be an integer >= {minimum}{alternative}; got {value!r}.")


def check_real(
    owner: Any,
    name: str,
    minimum: float,
    maximum: float = np.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
    infinite: bool = False,
) -> None:
    """Refuse a parameter that is no number between ``minimum`` and ``maximum``; infinity is none, unless allowed."""
    open_high = open_high or (maximum == np.inf and not infinite)
    value = getattr(owner, name)
    # Fractions are numbers, too, but not to torch.
    is_number = isinstance(value, (Integral, float, np.floating)) and not isinstance(value, (bool, np.bool_))
    fits = is_number and minimum <= float(value) <= maximum
    if not fits or (open_low and value == minimum) or (open_high and value == maximum):
        low, high = "(" if open_low else "[", ")" if open_high or maximum == np.inf else "]"
        raise ValueError(
            f"{_place(owner, name)} must be a number in {low}{minimum:g}, {maximum:g}{high}; got {value!r}."
        )


def check_heads(owner: Any) -> None:
    """Refuse an ``embedding_dim`` that cannot be cut into ``n_heads`` of one size; both are positive integers."""
    if owner.embedding_dim % owner.n_heads:
        raise ValueError(f"{_place(owner, 'n_heads')}={owner.n_heads} must divide embedding_dim={owner.embedding_dim}.")


def check_choice(owner: Any, name: str, choices: Iterable) -> None:
    """Refuse a parameter that is not one of the choices."""
    value, choices = getattr(owner, name), list(choices)
    if not any(value is choice or (isinstance(value, type(choice)) and value == choice) for choice in choices):
        raise ValueError(f"{_place(owner, name)} must be one of {', '.join(map(repr, choices))}; got {value!r}.")


def check_parts(owner: Any, name: str, choices: Iterable) -> None:
    """Refuse a parameter that is no tuple of one or more of the choices."""
    value, choices = getattr(owner, name), tuple(choices)
    named = isinstance(value, Collection) and not isinstance(value, str) and getattr(value, "ndim", 1) == 1
    named = named and len(value) > 0
    wrong = [part for part in value if part not in choices] if named else []
    if not named or wrong:
        which = f"; {wrong[0]!r} is none of them" if wrong else ""
        raise ValueError(f"{_place(owner, name)} must be a tuple of names out of {choices}; got {value!r}{which}.")


def check_jobs(owner: Any) -> None:
    """Refuse a parameter ``n_jobs`` that joblib could make nothing of."""
    value = owner.n_jobs
    if value is not None and (isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral) or value == 0):
        raise ValueError(
            f"{_place(owner, 'n_jobs')} must be an integer, -1 for all processors, or None for one job; got {value!r}."
        )


def check_flag(owner: Any, name: str, *, number: bool = False) -> None:
    """Refuse a parameter that is neither True nor False (nor an integer >= 0, where ``number`` allows it)."""
    value = getattr(owner, name)
    if number and isinstance(value, (int, np.integer)) and value >= 0:
        return
    require_flag(_place(owner, name), value, "True, False or an integer >= 0" if number else "True or False")


def require_flag(name: str, value: Any, needed: str = "True or False") -> None:
    """Refuse an argument that is neither True nor False: every text is true to Python."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be {needed}; got {value!r}.")


def check_random_state(owner: Any) -> None:
    """Refuse a parameter ``random_state`` that scikit-learn could make nothing of."""
    from sklearn.utils import check_random_state as random_state_of

    value = owner.random_state
    try:
        random_state_of(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{_place(owner, 'random_state')} must be an integer from 0 to 2**32 - 1, a numpy RandomState or None; got "
            f"{value!r}."
        ) from error


def draw_seed(random_state: Any) -> int:
    """One seed drawn from scikit-learn's ``random_state``; all randomness of a fit derives from it."""
    from sklearn.utils import check_random_state

    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def remember_columns(owner: Any, X: Any) -> None:
    """Set scikit-learn's ``n_features_in_`` where X was a two-dimensional array; other input has no columns."""
    if isinstance(X, np.ndarray) and X.ndim == 2:
        owner.n_features_in_ = X.shape[1]
    elif hasattr(owner, "n_features_in_"):
        del owner.n_features_in_


def takes(method: Any, parameter: str) -> bool:
    """Whether a method can be given a parameter by its name."""
    parameters = inspect.signature(method).parameters
    return parameter in parameters or any(value.kind is value.VAR_KEYWORD for value in parameters.values())


def with_parameter(text: str, name: str, value: Any) -> str:
    """The repr of an estimator, of which one parameter is shown even where it is the default."""
    if re.search(rf"\b{name}=", text):
        return text
    front, _, back = text.partition("(")
    return f"{front}({name}={value!r}{'' if back.startswith(')') else ', '}{back}"


def _place(owner: Any, name: str) -> str:
    return f"{type(owner).__name__}: {name}"
