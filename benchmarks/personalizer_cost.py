"""What weighing positions costs: an epoch of a model with the personalizer beside one without, in time and memory."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

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

    def ours() -> float:
        seconds, facts["peak MiB"], facts["updates"] = _apart(work.name, model, True)
        return seconds

    def plain() -> float:
        seconds, facts["plain peak MiB"], _ = _apart(work.name, model, False)
        return seconds

    note = "what the personalizer costs: ratio below 1; original and mined rows, the least epoch after the warm-up"
    yield Comparison(f"{model}, personalized", "its plain epoch", ours, plain, note, facts)


def _apart(data: str, model: str, weighs: bool) -> tuple[float, float, int]:
    """Measure in a process of its own, so that the peak of memory is that of this training alone."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, data, model, weighs, torch.get_num_threads()).result()


def _measure(data: str, model: str, weighs: bool, threads: int) -> tuple[float, float, int]:
    """Least seconds of an epoch, peak of resident memory in MiB, and updates of the weights."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    # FMLP's epoch is long, and its batches are many: one epoch says enough.
    n_epochs = 1 if model == "FMLP" else 3
    recommender = getattr(seqregen.targets, model).reference(max_epochs=1 + n_epochs, device="cpu", random_state=0)
    rows = Workload(data).mined
    if not weighs:
        recommender.fit(rows)
        return min(record["seconds"] for record in recommender.history_[1:]), peak_mebibytes(), 0
    personalizer = seqregen.DatasetPersonalizer(recommender, warmup_epochs=1).fit(rows)
    return min(record["seconds"] for record in personalizer.history_[1:]), peak_mebibytes(), personalizer.n_updates_
