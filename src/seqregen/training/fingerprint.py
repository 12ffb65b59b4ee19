"""What tells one training run from another: a digest of everything that decides its outcome."""

from __future__ import annotations

import dis
import hashlib
import inspect
import json
import sys
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["fingerprint"]

# Code that a name tells as well as its text.
_LIBRARIES = {"numpy", "seqregen", "torch", *sys.stdlib_module_names}


def fingerprint(*parts: Any) -> str:
    """A short digest of what decides the outcome of a run; the same in every process.

    Parameters
    ----------
    *parts
        Anything: settings, arrays, tensors, modules, functions, objects. All values of arrays and tensors enter,
        wherever they stand; of functions and classes that are neither torch's nor of the standard library, their
        code, defaults, closures, and the globals that they name. Where an object cannot be looked into, its type alone
        enters.

    Returns
    -------
    str
        16 hexadecimal digits.

    Examples
    --------
    >>> import numpy as np
    >>> from seqregen.training.fingerprint import fingerprint
    >>> fingerprint({"start": np.zeros(5000)}) == fingerprint({"start": np.zeros(5000)})
    True
    >>> fingerprint({"start": np.zeros(5000)}) == fingerprint({"start": np.eye(1, 5000, 2500)[0]})
    False
    """
    digest = hashlib.sha256()
    description = _Description()
    for part in parts:
        if isinstance(part, np.ndarray) and not part.dtype.hasobject:
            digest.update(str((part.dtype, part.shape)).encode())
            digest.update(np.ascontiguousarray(part).view(np.uint8).data)
        else:
            digest.update(_as_text(description.of(part)).encode())
    return digest.hexdigest()[:16]


class _Description:
    """Describes values by what JSON can write, without addresses and without the order of sets."""

    def __init__(self) -> None:
        # Objects that are being described, for circles, and those that are; held, so that no address is used again.
        self._open: list[int] = []
        self._known: dict[int, tuple[Any, Any]] = {}

    def of(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        address = id(value)
        if address in self._known:
            return self._known[address][1]
        if address in self._open:
            return ["circle", len(self._open) - self._open.index(address)]
        self._open.append(address)
        found = self._of_contents(value)
        self._open.pop()
        self._known[address] = (value, found)
        return found

    def _of_contents(self, value: Any) -> Any:
        descriptions: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
            (np.generic, self._of_number),
            (np.ndarray, self._of_array),
            (Tensor, _of_tensor),
            (nn.Module, self._of_module),
            ((list, tuple), lambda values: [self.of(each) for each in values]),
            (dict, self._of_dict),
            ((set, frozenset), lambda values: ["set", *sorted(_as_text(self.of(each)) for each in values)]),
            ((bytes, bytearray), lambda text: ["bytes", hashlib.sha256(text).hexdigest()]),
            (partial, lambda made: ["partial", *map(self.of, (made.func, made.args, made.keywords))]),
            (MethodType, lambda method: ["method", self.of(method.__self__), self.of(method.__func__)]),
            ((classmethod, staticmethod), lambda method: [type(method).__name__, self.of(method.__func__)]),
            (property, lambda made: ["property", *map(self.of, (made.fget, made.fset, made.fdel))]),
            (FunctionType, self._of_function),
            (CodeType, self._of_code),
            (type, self._of_class),
            (ModuleType, lambda module: ["python", module.__name__]),
            (weakref.ReferenceType, lambda _: ["reference"]),
        )
        for kind, describe in descriptions:
            if isinstance(value, kind):
                return describe(value)
        return self._of_object(value)

    def _of_number(self, value: np.generic) -> Any:
        plain = value.item()
        # A long double has no plain form.
        return repr(value) if isinstance(plain, np.generic) else self.of(plain)

    def _of_array(self, value: np.ndarray) -> Any:
        contents = _as_text(self.of(value.tolist())) if value.dtype.hasobject else fingerprint(value)
        return ["array", str(value.dtype), list(value.shape), contents]

    def _of_dict(self, values: dict) -> Any:
        if all(isinstance(name, str) for name in values):
            return {name: self.of(value) for name, value in values.items()}
        return ["dict", *sorted(_as_text([self.of(name), self.of(value)]) for name, value in values.items())]

    def _of_module(self, module: nn.Module) -> Any:
        contents = {}
        for name, value in vars(module).items():
            if isinstance(value, dict) and "hook" in name:
                # Their keys are numbers that the process counts.
                contents[name] = self.of(list(value.values()))
            elif name in ("_modules", "_parameters", "_buffers"):
                # The order of parts is that of their computation.
                contents[name] = [[part, self.of(found)] for part, found in value.items()]
            else:
                contents[name] = self.of(value)
        return ["module", self.of(type(module)), _digest(contents)]

    def _of_function(self, function: FunctionType) -> Any:
        name = f"{function.__module__}.{function.__qualname__}"
        if not _is_of_the_user(function):
            return ["function", name, _source(function)]
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        used = {
            each: function.__globals__[each] for each in _globals(function.__code__) if each in function.__globals__
        }
        contents = {
            "code": self.of(function.__code__),
            "defaults": self.of([function.__defaults__, function.__kwdefaults__]),
            "closure": {free: self.of(_contents_of_cell(cell)) for free, cell in cells},
            "globals": self.of(used),
        }
        return ["function", name, _digest(contents)]

    def _of_code(self, code: CodeType) -> Any:
        return _digest([code.co_code.hex(), code.co_names, code.co_varnames, self.of(code.co_consts)])

    def _of_class(self, kind: type) -> Any:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if not _is_of_the_user(kind):
            return ["class", name, _source(kind)]
        code = (FunctionType, classmethod, staticmethod, property)
        members = {
            member: self.of(value)
            for member, value in vars(kind).items()
            # What else has such a name is what Python notes about the class.
            if isinstance(value, code) or not member.startswith("__")
        }
        return ["class", name, _digest([members, self.of(kind.__bases__)])]

    def _of_object(self, value: Any) -> Any:
        """An object as pickle would take it apart; what it cannot take apart is known by its type."""
        kind = self.of(type(value))
        wrapped = getattr(value, "__wrapped__", None)
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:
            return ["object", kind, self.of(wrapped)]
        if isinstance(reduced, str):
            return ["object", kind, reduced, self.of(wrapped)]
        contents = [list(part) if isinstance(part, Iterator) else part for part in reduced]
        return ["object", kind, _digest([self.of(part) for part in contents])]


def _as_text(described: Any) -> str:
    return json.dumps(described, sort_keys=True)


def _digest(described: Any) -> str:
    return hashlib.sha256(_as_text(described).encode()).hexdigest()


def _of_tensor(value: Tensor) -> Any:
    head = ["tensor", str(value.dtype), value.requires_grad]
    try:
        plain = value.detach().cpu().to_dense().resolve_conj().resolve_neg().contiguous()
        return [*head, list(value.shape), fingerprint(plain.flatten().view(torch.uint8).numpy())]
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        # Without values, or even without a shape, until it is used.
        return head


def _is_of_the_user(code: Any) -> bool:
    """Whether a function or class stands in code that may change between two runs of one program."""
    name = code.__module__ or ""
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    installed = {"site-packages", "dist-packages"} & set(Path(file).parts)
    return not installed and name.partition(".")[0] not in _LIBRARIES


def _source(code: Any) -> str | None:
    """Digest of the text of a function or class of an installed package, which an upgrade may change."""
    if (code.__module__ or "").partition(".")[0] in _LIBRARIES:
        return None
    try:
        return hashlib.sha256(inspect.getsource(code).encode()).hexdigest()
    except (OSError, TypeError):
        return None


def _globals(code: CodeType) -> set[str]:
    """Names of globals that code reads, in functions inside of it as well."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return names.union(*(_globals(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _contents_of_cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        # Not assigned yet.
        return None
