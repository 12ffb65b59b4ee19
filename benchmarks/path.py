"""The whole path, from the file to a trained and scored SASRec, with seconds and peak memory after each stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import seqregen
from seqregen.metrics import ndcg_at_k, recall_at_k
from seqregen.model_selection import leave_one_out

from .data import data_file, read_sequences
from .memory import peak_mebibytes
from .workload import MIN_SUPPORT, N_MEMORIES, WINDOW

__all__ = ["walk"]


def walk(name: str, loss: str, max_epochs: int | None) -> Iterator[dict[str, Any]]:
    """Take the path stage by stage.

    Parameters
    ----------
    name : str
        The data set.
    loss : str
        Of the SASRec at the end.
    max_epochs : int or None
        Most epochs of the regenerator and of the SASRec; None for each estimator's default. With a number
        the regenerator starts from fresh item vectors, else from a SASRec that it trains first.

    Yields
    ------
    dict
        ``stage``, ``seconds``, ``peak_mebibytes``, and facts about what the stage made.
    """
    limit = {} if max_epochs is None else {"max_epochs": max_epochs}
    miner = seqregen.PatternMiner(window=WINDOW, min_support=MIN_SUPPORT, random_state=0)
    # A short run is for trying the path out: it has no SASRec trained to its end for the item vectors.
    vectors = "pretrain" if max_epochs is None else None
    regenerator = seqregen.DatasetRegenerator(
        n_memories=N_MEMORIES, item_embeddings=vectors, device="cpu", random_state=0, **limit
    )
    model = seqregen.targets.SASRec(loss=loss, device="cpu", random_state=0, **limit)

    (X, y), record = _timed(
        "read and hold out", lambda: leave_one_out(read_sequences(data_file(name)), validation=True)
    )
    yield record | {"rows": len(X), "items": X.n_items}
    mined, record = _timed("mine and pair", lambda: miner.fit_transform(X))
    yield record | {"rows": len(mined), "pairs": len(mined.pairs)}
    _, record = _timed("train the regenerator", lambda: regenerator.fit(mined))
    yield record | {"epochs": len(regenerator.history_), "item_embeddings": vectors}
    regenerated, record = _timed("regenerate all rows", lambda: regenerator.transform(mined))
    yield record | {"rows": len(regenerated), "interactions": regenerated.n_interactions}
    _, record = _timed("train SASRec", lambda: model.fit(regenerated))
    yield record | {"epochs": len(model.history_), "best_epoch": model.best_epoch_, "loss": loss}
    ranks, record = _timed("rank all items", lambda: model.rank(X, y))
    scores = {f"recall@{k}": float(recall_at_k(ranks, k)) for k in (10, 20)}
    yield record | scores | {f"ndcg@{k}": float(ndcg_at_k(ranks, k)) for k in (10, 20)}


def _timed(stage: str, work: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    start = time.perf_counter()
    made = work()
    return made, {"stage": stage, "seconds": time.perf_counter() - start, "peak_mebibytes": peak_mebibytes()}
