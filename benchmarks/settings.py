"""What a result was made with, and whether that is what is asked for now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["deciding", "differences"]

_OPERATIONAL = ("checkpoint_dir", "device", "n_jobs", "random_state", "verbose")


def deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide a result, as a JSON file gives them back."""
    kept = {name: value for name, value in settings.items() if name not in _OPERATIONAL}
    return json.loads(json.dumps(kept, default=str))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Where settings differ that both have, in words; "" where they do not.

    A setting that one of them lacks came with a later version of the library, whose default is what was there before.
    """
    found = []
    for name in before:
        if name not in now or before[name] == now[name]:
            continue
        parts = _parts(before[name]), _parts(now[name])
        if parts[0] is None or parts[1] is None:
            found.append(f"{name}={before[name]!r} where now it is {now[name]!r}")
        elif inner := differences(*parts):
            found.append(f"{name}: {inner}")
    return ", ".join(found)


def _parts(value: Any) -> Mapping[Any, Any] | None:
    """Settings within a setting, such as those of several teachers."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        return dict(enumerate(value))
    return None
