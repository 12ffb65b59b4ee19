"""Packages that are not needed by most: what to install where one is missing, and what is theirs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["foreign_base", "package_of", "require_package"]

_HOLD_COLUMNS = ("pandas", "polars", "pyarrow", "numpy")


def foreign_base(value: Any) -> type | None:
    """The class of pandas, polars, pyarrow or numpy that a value is of, by itself or as a subclass; None for others."""
    bases = type(value).__mro__
    return next((base for base in bases if base.__module__.partition(".")[0] in _HOLD_COLUMNS), None)


def package_of(value: Any) -> str:
    """The library that a value belongs to: "pandas", "polars", "pyarrow", "numpy"; "" for any other."""
    base = foreign_base(value)
    return "" if base is None else base.__module__.partition(".")[0]


def require_package(package: str, user: str, extra: str, advice: str = "") -> None:
    """Import a package of an extra, or say how to install it.

    Parameters
    ----------
    package : str
        What is imported.
    user : str
        What needs it; the message begins with this.
    extra : str
        Extra of this library that brings it.
    advice : str, optional
        What to do without it; the message ends with this.

    Raises
    ------
    ModuleNotFoundError
        It is not installed.
    """
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        message = (
            f"{user} needs the package {package}, which is not installed: pip install 'seqregen[{extra}]'. {advice}"
        )
        raise ModuleNotFoundError(message.strip(), name=error.name) from error
