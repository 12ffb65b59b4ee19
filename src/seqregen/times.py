"""Times as numpy keeps them: of any objects, with a sign, and where one is missing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from numbers import Integral, Real
from typing import Any

import numpy as np

from .labels import LabelError, is_missing

__all__ = ["missing_times", "signed_times", "times_of_objects"]

_CONVERT = "; convert them first, for example with pandas.to_datetime"


def times_of_objects(times: np.ndarray) -> np.ndarray:
    """Numbers, datetimes and dates, or durations, from an array of objects; zones become UTC, None what is missing.

    Raises
    ------
    LabelError
        One of them is no time, or they are of several kinds.
    """
    missing = is_missing(times)
    known = times[~missing].tolist()
    if all(isinstance(time, Integral) and not isinstance(time, (bool, np.bool_)) for time in known):
        found = np.full(times.shape, np.iinfo(np.int64).min)
    elif all(isinstance(time, Real) and not isinstance(time, (bool, np.bool_)) for time in known):
        found = np.full(times.shape, np.nan)
    else:
        places = np.flatnonzero(~missing).tolist()
        known = [_as_numpy_time(time, place) for time, place in zip(known, places, strict=True)]
        _check_one_kind(known, places)
        found = np.full(times.shape, "NaT", dtype=np.result_type(*known))
    try:
        found[~missing] = known
    except OverflowError:
        place = next(place for place in np.flatnonzero(~missing) if not -(2**63) < times.flat[place] < 2**63)
        raise LabelError(f"the time {times.flat[place]} does not fit in 64 bits", int(place)) from None
    if found.dtype.kind in "mM":
        _check_units(found.ravel(), known, np.flatnonzero(~missing))
    return found


def _check_one_kind(known: list, places: list[int]) -> None:
    for time, place in zip(known, places, strict=True):
        if time.dtype.kind != known[0].dtype.kind:
            raise LabelError(
                f"times must be all moments or all durations; got {time!r} beside {known[0]!r}{_CONVERT}", place
            )


def _check_units(found: np.ndarray, known: list, places: np.ndarray) -> None:
    """Refuse a time that the unit of another one has no room for: numpy would wrap it around."""
    for place, time in zip(places.tolist(), known, strict=True):
        if time.dtype != found.dtype and found[place].astype(time.dtype) != time:
            raise LabelError(f"the time {time} does not fit in the unit of the others, {found.dtype}", place)


def _as_numpy_time(time: Any, place: int) -> np.datetime64 | np.timedelta64:
    # pandas' own, which know of nanoseconds.
    if hasattr(time, "to_datetime64"):
        return time.to_datetime64()
    if hasattr(time, "to_timedelta64"):
        return time.to_timedelta64()
    if isinstance(time, (timedelta, np.timedelta64)):
        return np.timedelta64(time)
    if isinstance(time, datetime) and time.tzinfo is not None:
        time = time.astimezone(UTC).replace(tzinfo=None)
    if isinstance(time, (date, np.datetime64)):
        return np.datetime64(time)
    raise LabelError(f"times must be numbers, datetimes or durations; got {time!r}{_CONVERT}", place)


def signed_times(times: np.ndarray) -> np.ndarray:
    """Times in which a missing one has a place: unsigned numbers, the smallest of which is a real time, as int64.

    Raises
    ------
    LabelError
        They are no times, or one does not fit.
    """
    if times.dtype.kind not in "iufmM":
        found = f"{times.ravel()[:1].tolist()[0]!r}" if times.size else f"dtype {times.dtype}"
        raise LabelError(f"times must be numbers, datetimes or durations; got {found}{_CONVERT}", 0)
    if times.dtype.kind != "u":
        return times
    limit = np.iinfo(np.int64).max
    if times.size and times.max() > limit:
        position = int(times.argmax())
        raise LabelError(f"the time {times[position]} is larger than {limit}, the largest integer of 64 bits", position)
    return times.astype(np.int64)


def missing_times(times: np.ndarray) -> np.ndarray:
    """Where times of a dataset are missing, bool of the same shape: NaT, NaN, None, or the smallest integer."""
    return times == np.iinfo(times.dtype).min if times.dtype.kind == "i" else is_missing(times)
