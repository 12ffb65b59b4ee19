"""Labels of kinds that Arrow has no column for, as text that gives back the very labels."""

from __future__ import annotations

import base64
import datetime
import json
import uuid
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

__all__ = ["UnwritableLabelError", "label_of", "text_of"]


class UnwritableLabelError(ValueError):
    """A label that no text gives back."""


def _from_parts(kind: type) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    def parts(value: Any) -> list:
        described = [_described(part) for part in value]
        # A set has no order, and its text must have one.
        return described if kind is tuple else sorted(described, key=json.dumps)

    return parts, lambda parts: kind(_restored(part) for part in parts)


def _time_text(value: datetime.datetime | datetime.time) -> str | list:
    if not isinstance(value.tzinfo, zoneinfo.ZoneInfo):
        return value.isoformat()
    # The hour that comes twice, when clocks are set back, is told apart by its fold.
    return [value.replace(tzinfo=None).isoformat(), value.tzinfo.key, value.fold]


def _restored_time(kind: type[datetime.datetime | datetime.time]) -> Callable[[Any], Any]:
    def restored(text: str | list) -> Any:
        if isinstance(text, str):
            return kind.fromisoformat(text)
        local, zone, fold = text
        return kind.fromisoformat(local).replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=fold)

    return restored


# Of each type, by its name in the text: what JSON can hold of a value, and how the value is made of that again.
_KINDS: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    tuple: _from_parts(tuple),
    frozenset: _from_parts(frozenset),
    bytes: (lambda value: base64.b64encode(value).decode("ascii"), base64.b64decode),
    datetime.datetime: (_time_text, _restored_time(datetime.datetime)),
    datetime.date: (lambda value: value.isoformat(), datetime.date.fromisoformat),
    datetime.time: (_time_text, _restored_time(datetime.time)),
    datetime.timedelta: (
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda parts: datetime.timedelta(*parts),
    ),
    Decimal: (str, Decimal),
    Fraction: (str, Fraction),
    uuid.UUID: (str, uuid.UUID),
}
_RESTORED = {kind.__name__: restore for kind, (_, restore) in _KINDS.items()} | {
    kind.__name__: lambda parts, kind=kind: kind(parts[0], tuple(parts[1:])) for kind in (np.datetime64, np.timedelta64)
}


def text_of(label: Any) -> str:
    """A label as JSON: numbers, strings and booleans as they are, others as ``{"type": what it is made of}``.

    Parameters
    ----------
    label : hashable
        A string, number, boolean or bytes, of :mod:`datetime`, :mod:`decimal`, :mod:`fractions` or :mod:`uuid`; or a
        tuple or frozenset of such.

    Raises
    ------
    UnwritableLabelError
        The label is, or holds, something else.

    Examples
    --------
    >>> from seqregen.formats.label_text import label_of, text_of
    >>> text_of(("tea", 3))
    '{"tuple": ["tea", 3]}'
    >>> label_of(text_of(("tea", 3)))
    ('tea', 3)
    """
    return json.dumps(_described(label))


def label_of(text: str) -> Any:
    """The label that :func:`text_of` made a text of."""
    return _restored(json.loads(text))


def _described(value: Any) -> Any:
    if isinstance(value, (np.datetime64, np.timedelta64)) and isinstance(value.item(), int):
        # Python has no times as fine as these.
        return {type(value).__name__: [int(value.astype(np.int64)), *np.datetime_data(value.dtype)]}
    if isinstance(value, np.generic):
        value = value.item()
    kind = type(value)
    if value is None or kind in (str, int, float, bool):
        return value
    unnamed_zone = not _is_restorable(getattr(value, "tzinfo", None))
    if kind not in _KINDS or unnamed_zone:
        raise UnwritableLabelError(
            f"the label {value!r} is of type {kind.__name__}{' with a time zone of no name' if unnamed_zone else ''}"
        )
    describe, _ = _KINDS[kind]
    return {kind.__name__: describe(value)}


def _is_restorable(zone: datetime.tzinfo | None) -> bool:
    """Whether the zone is none, a fixed offset, or one that :mod:`zoneinfo` knows by a name."""
    if isinstance(zone, zoneinfo.ZoneInfo):
        return zone.key is not None
    return isinstance(zone, datetime.timezone | None)


def _restored(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, described),) = value.items()
    return _RESTORED[kind](described)
