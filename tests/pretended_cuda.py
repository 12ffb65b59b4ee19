"""A CUDA device that is none: tensors that say they lie on it, computed on the CPU.

Tests of what happens on a GPU run here where there is none. As on a real one, tensors of two devices do not mix, what
lies on the device has no numpy array, and with :func:`torch.cuda.set_sync_debug_mode` waiting for it is an error. What
this cannot show is how a GPU rounds, and what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # what it imports must not be imported while torch is changed
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["PretendedTensor", "pretended_cuda"]

_CUDA, _CPU = torch.device("cuda:0"), torch.device("cpu")
_aten = torch.ops.aten
# Indices may lie on the CPU; what is put at them may not.
_INDEX = (_aten.index,)
_INDEX_PUT = (_aten.index_put, _aten.index_put_, _aten._index_put_impl_)
# What a GPU has to have finished before it can be answered.
_WAITS = (
    _aten._local_scalar_dense,
    _aten.nonzero,
    _aten.masked_select,
    _aten.bincount,
    _aten._unique2,
    _aten.unique_dim,
)
_OF_DEVICE_TYPES = ("autocast", "get_autocast_dtype", "is_autocast_enabled")


class PretendedTensor(Tensor):
    """Says that it lies on a CUDA device.

    Parameters
    ----------
    inner : Tensor
        The same tensor on the CPU.
    """

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> PretendedTensor:
        strided = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=_CPU,
            **(strided if inner.layout == torch.strided else {}),
        )
        made.inner = inner
        return made

    device = property(lambda self: _CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operator, types, arguments=(), keywords=None):
        return _run(operator, arguments, keywords or {})

    def __repr__(self, *, tensor_contents=None):
        return f"{self.inner!r} on {_CUDA}"

    def __reduce_ex__(self, protocol):
        # As a checkpoint that is read with map_location="cpu".
        return self.inner.detach().__reduce_ex__(protocol)

    def data_ptr(self):
        return 0

    def tolist(self):
        _wait("tolist")
        return self.inner.tolist()

    def numpy(self, *arguments, **keywords):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    __array__ = numpy


class _State:
    """What torch keeps to itself."""

    # Whether what runs was asked for by Python alone. torch's own operations and derivatives make tensors of their own,
    # and make them where they believe the others to be: on the CPU.
    asked_for = True
    waiting_is_an_error = False


@contextmanager
def _asked_for(by_python_alone: bool) -> Iterator[None]:
    before, _State.asked_for = _State.asked_for, by_python_alone
    try:
        yield
    finally:
        _State.asked_for = before


def _wait(what: Any) -> None:
    if _State.waiting_is_an_error:
        raise RuntimeError(f"called a synchronizing CUDA operation: {what}")


def _is_stranger(value: Any) -> bool:
    """Whether a tensor lies on the CPU, and is more than a number."""
    return isinstance(value, Tensor) and not isinstance(value, PretendedTensor) and value.dim() > 0


def _run(operator: Any, arguments: tuple, keywords: dict) -> Any:
    tensors = [value for value in tree_leaves((arguments, keywords)) if isinstance(value, Tensor)]
    pretended = [value for value in tensors if isinstance(value, PretendedTensor)]
    if not pretended:
        return _on_cpu(operator, arguments, keywords, tensors)
    stays = _check_devices(operator, arguments, tensors)
    if operator.overloadpacket == _aten.repeat_interleave and keywords.get("output_size") is None:
        _wait(operator)
    plain = tree_map(lambda value: value.inner if isinstance(value, PretendedTensor) else value, (arguments, keywords))
    found = operator(*plain[0], **plain[1])
    if not stays:
        return found
    known = {id(value.inner): value for value in pretended}

    def wrapped(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return known[id(value)] if id(value) in known else PretendedTensor(value)

    return return_and_correct_aliasing(operator, arguments, keywords, tree_map(wrapped, found))


def _on_cpu(operator: Any, arguments: tuple, keywords: dict, tensors: list[Tensor]) -> Any:
    found = operator(*arguments, **keywords)
    made = all(hasattr(value, "at_home_anywhere") for value in tensors) and not _State.asked_for
    if made and isinstance(found, Tensor):
        found.at_home_anywhere = True
    return found


def _check_devices(operator: Any, arguments: tuple, tensors: list[Tensor]) -> bool:
    """Whether what comes out lies on the pretended device; an error where a real one would give one."""
    packet = operator.overloadpacket
    if packet in _WAITS:
        _wait(operator)
    if packet == _aten.copy_:
        if not isinstance(arguments[0], PretendedTensor):
            _wait(operator)
        return isinstance(arguments[0], PretendedTensor)
    if packet in _INDEX + _INDEX_PUT:
        if any(index is not None and index.dtype == torch.bool for index in arguments[1]):
            _wait(operator)
        together = [arguments[0]] if packet in _INDEX else [arguments[0], arguments[2]]
    else:
        together = tensors
    if any(_is_stranger(value) and not hasattr(value, "at_home_anywhere") for value in together):
        raise RuntimeError(f"{operator}: expected all tensors to be on the same device, found cuda:0 and cpu.")
    return True


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, operator, types, arguments=(), keywords=None):
        return _run(operator, arguments, keywords or {})


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, to_cuda: bool) -> Tensor:
        ctx.from_cuda = isinstance(value, PretendedTensor)
        if not to_cuda:
            _wait("copy to the CPU")
        plain = (value.inner if ctx.from_cuda else value.detach()).clone()
        return PretendedTensor(plain) if to_cuda else plain

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if isinstance(gradient, PretendedTensor) == ctx.from_cuda:
            return gradient, None
        return _Move.apply(gradient, ctx.from_cuda), None


def _is_cuda(device: Any) -> bool:
    return torch.device(device).type == "cuda"


def _to(value: Tensor, *arguments: Any, non_blocking: bool = False, **keywords: Any) -> Tensor:
    device, dtype = keywords.get("device"), keywords.get("dtype")
    for given in arguments:
        if isinstance(given, Tensor):
            device, dtype = given.device, given.dtype
        elif isinstance(given, torch.dtype):
            dtype = given
        elif isinstance(given, (str, torch.device)):
            device = given
    if dtype is not None and dtype != value.dtype:
        value = _aten._to_copy(value, dtype=dtype)
    if device is None or _is_cuda(device) == isinstance(value, PretendedTensor):
        return value
    if not non_blocking:
        _wait("copy between devices")
    return _Move.apply(value, _is_cuda(device))


class _Function(TorchFunctionMode):
    def __torch_function__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        with _asked_for(not any(isinstance(value, PretendedTensor) for value in tree_leaves((arguments, keywords)))):
            return self._answer(function, arguments, keywords)

    def _answer(self, function: Callable, arguments: tuple, keywords: dict) -> Any:
        if function is Tensor.to:
            return _to(*arguments, **keywords)
        if function in (Tensor.cpu, Tensor.cuda):
            return _to(arguments[0], "cpu" if function is Tensor.cpu else "cuda", **keywords)
        device = keywords.get("device")
        if device is None:
            return function(*arguments, **keywords)
        made = function(*arguments, **(keywords | {"device": _CPU}))
        return PretendedTensor(made) if _is_cuda(device) and not isinstance(made, PretendedTensor) else made


_run_backward = torch.autograd.graph._engine_run_backward


def _run_backward_pretending(*arguments: Any, **keywords: Any) -> Any:
    # Called with the mode put aside, as part of the answer to a function; derivatives written in Python need it.
    with _asked_for(False), _Function():
        return _run_backward(*arguments, **keywords)


class _Generator(torch.Generator):
    """Of either device; what it draws is drawn on the CPU."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        return super().__new__(cls, "cpu")


def _set_sync_debug_mode(mode: str) -> None:
    _State.waiting_is_an_error = mode == "error"


def _of_the_cpu(function: Callable) -> Callable:
    """A function of a kind of device, which is the first argument and may be left away, that is asked of the CPU."""
    return lambda device_type="cuda", *others, **keywords: function("cpu", *others, **keywords)


@contextmanager
def pretended_cuda() -> Iterator[None]:
    """Inside, there is a CUDA device."""
    generator = torch.default_generator
    changes: list[tuple[Any, str, Any]] = [
        (torch.cuda, "is_available", lambda: True),
        (torch.cuda, "device_count", lambda: 1),
        (torch.cuda, "current_device", lambda: 0),
        (torch.cuda, "set_sync_debug_mode", _set_sync_debug_mode),
        (torch.cuda, "default_generators", (generator,)),
        (torch.cuda, "manual_seed", generator.manual_seed),
        (torch.cuda, "get_rng_state", lambda device=0: generator.get_state()),
        (torch.cuda, "set_rng_state", lambda state, device=0: generator.set_state(state)),
        (torch.cuda, "get_device_capability", lambda device=None: (9, 0)),
        *((torch, name, _of_the_cpu(getattr(torch, name))) for name in _OF_DEVICE_TYPES),
        (torch.backends.cudnn, "is_acceptable", lambda tensor: False),
        (torch, "Generator", _Generator),
        (torch.autograd, "_engine_run_backward", _run_backward_pretending),
    ]
    # Optimizers ask the driver, by a name that depends on the version, whether a graph is being captured.
    changes += [
        (torch.optim.Optimizer, name, lambda optimizer: None)
        for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check")
        if hasattr(torch.optim.Optimizer, name)
    ]
    with ExitStack() as stack:
        for owner, name, value in changes:
            stack.enter_context(mock.patch.object(owner, name, value))
        # Parameters become tensors of another class.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, False)
        stack.enter_context(_Dispatch())
        stack.enter_context(_Function())
        yield
