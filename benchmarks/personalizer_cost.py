"""What weighing positions costs: an epoch of a model with the personalizer beside one without, in time and memory."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import torch

import seqregen

from .memory import peak_mebibytes
from .timing import Comparison
from .workload import Workload

__all__ = ["MODELS", "personalized_epoch"]

MODELS = ("SASRec", "GRU4Rec", "FMLP", "GNN", "CL4SRec")


def personalized_epoch(work: Workload, model: str) -> Iterable[Comparison]:
    """One BCE epoch of original and mined rows with the personalizer's defaults, beside the plain epoch."""
    facts: dict[str, object] = {}
    peak = cache(lambda weighs: _peak_apart(work.name, model, weighs))

    def ours() -> float:
        seconds, facts["updates"] = _train(work, model, True)
        facts["peak MiB"], facts["plain peak MiB"] = peak(True), peak(False)
        return seconds

    def plain() -> float:
        return _train(work, model, False)[0]

    note = "what the personalizer costs: ratio below 1; original and mined rows, the least epoch after the warm-up"
    yield Comparison(f"{model}, personalized", "its plain epoch", ours, plain, note, facts)


def _train(work: Workload, model: str, weighs: bool) -> tuple[float, int]:
    """Least seconds of an epoch after the first, and updates of the weights."""
    # FMLP's epoch is long, and its batches are many: one epoch says enough.
    n_epochs = 1 if model == "FMLP" else 3
    recommender = getattr(seqregen.targets, model).reference(max_epochs=1 + n_epochs, device="cpu", random_state=0)
    fitted = seqregen.DatasetPersonalizer(recommender, warmup_epochs=1) if weighs else recommender
    fitted.fit(work.mined)
    return min(record["seconds"] for record in fitted.history_[1:]), fitted.n_updates_ if weighs else 0


def _peak_apart(data: str, model: str, weighs: bool) -> float:
    """Peak of resident memory in MiB of a process that does this training alone."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_peak, data, model, weighs, torch.get_num_threads()).result()


def _peak(data: str, model: str, weighs: bool, threads: int) -> float:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    _train(Workload(data), model, weighs)
    return peak_mebibytes()
