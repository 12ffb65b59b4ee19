"""Where the time of one SASRec epoch goes: torch's operators by kind, beside the arithmetic of real tokens."""

from __future__ import annotations

import time
from collections import defaultdict

import seqregen
from seqregen.model_selection import leave_one_out

from . import limits
from .data import data_file, read_sequences

__all__ = ["KINDS", "profile_epoch"]

# The first kind that has a part of an operator's name takes it.
KINDS: dict[str, tuple[str, ...]] = {
    "matrix products of linear layers": ("aten::mm", "aten::addmm", "linear_pointwise"),
    "matrix products of attention": ("aten::bmm", "aten::baddbmm"),
    "rows looked up and moved": ("index", "scatter", "gather", "cat", "copy_", "clone", "_lookup", "slice", "split"),
    "dropout": ("aten::ge", "random"),
    "softmax, norm, activation": ("softmax", "layer_norm", "gelu", "softplus", "sigmoid", "log"),
    "optimizer": ("adam", "zero_grad"),
    "elementwise": ("aten::mul", "aten::add", "aten::sub", "aten::div", "aten::sum", "aten::eq", "aten::neg"),
    "memory": ("aten::empty", "aten::zero", "aten::fill", "aten::ones", "aten::full", "aten::resize"),
}
_REST = "calls and everything else"


def profile_epoch(name: str = "amazon-beauty") -> dict[str, object]:
    """Profile the training part of one epoch of ``SASRec.reference()``.

    Returns
    -------
    dict
        ``shares`` of the operators' time by kind; ``seconds`` of an epoch without the profiler;
        ``arithmetic_seconds`` of real tokens at the best measured rate of products.
    """
    from torch.profiler import ProfilerActivity, profile

    sequences = read_sequences(data_file(name))
    X, _ = leave_one_out(sequences, validation=True)
    # Without validation items nothing is ranked: what is profiled is training alone.
    training = X.replace(validation=(X.validation > 0) * 0)
    model = seqregen.targets.SASRec.reference(max_epochs=3, device="cpu", random_state=0)
    seconds = min(record["seconds"] for record in _quietly(model, training).history_)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        started = time.perf_counter()
        _quietly(model.set_params(max_epochs=1), training)
        profiled = time.perf_counter() - started
    by_kind: dict[str, float] = defaultdict(float)
    for event in recorded.key_averages():
        by_kind[_kind(event.key)] += event.self_cpu_time_total / 1e6
    by_kind[_REST] += max(0.0, profiled - sum(by_kind.values()))
    total = sum(by_kind.values())
    flops = limits.training_epoch_flops(limits.next_item_lengths(sequences))
    rate = limits.gemm_rate()
    return {
        "shares": {kind: spent / total for kind, spent in sorted(by_kind.items(), key=lambda item: -item[1])},
        "seconds": seconds,
        "profiled_seconds": profiled,
        "gflop": flops / 1e9,
        "gflop_a_second": rate / 1e9,
        "arithmetic_seconds": flops / rate,
    }


def _quietly(model: seqregen.targets.SASRec, training: seqregen.SequenceDataset) -> seqregen.targets.SASRec:
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*plateau of the training loss.*")
        return model.fit(training)


def _kind(operator: str) -> str:
    name = operator.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), _REST)
