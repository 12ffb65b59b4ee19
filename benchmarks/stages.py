"""The stages that are compared, in the order of the path: mining, regenerator, decoding, models, ranking."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

import seqregen
from seqregen.training.log_sum_exp import log_sum_exp_scores

from . import limits
from .peers import environment
from .peers.run import run_peer
from .personalizer_cost import MODELS, personalized_epoch
from .published import cl4srec, decoder, fmlp, gnn, pair_search, regenerator, sasrec
from .published.weights import published_from
from .timing import Comparison, seconds_of
from .workload import N_MEMORIES, Workload

__all__ = ["STAGES", "comparisons"]

N_REGENERATOR_STEPS = 5
N_SASREC_STEPS = 12
N_SAMPLED_ROWS = 40
N_SOFTMAX_TARGETS = 1400


def mining(work: Workload) -> Iterable[Comparison]:
    """Mining and pairing beside seq2pat and the published pair search, and beside reading the file."""
    facts: dict[str, object] = {}
    data = work.X

    def ours() -> float:
        made = []
        seconds = seconds_of(lambda: made.append(work.miner().fit_transform(data)))
        facts["pairs"] = len(made[0].pairs)
        facts["patterns"] = int(np.count_nonzero(made[0].origin == seqregen.Origin.MINED))
        return seconds

    def published() -> float:
        patterns, seconds = work.seq2pat_patterns()
        search = pair_search.time_pair_search(work.published_rows, patterns, N_SAMPLED_ROWS)
        facts["published patterns"] = len(patterns)
        facts["seq2pat seconds"] = seconds
        facts["pair search seconds a row"] = search.seconds_a_row
        return search.extrapolated_seconds + (seconds or 0.0)

    note = f"pair search timed on {N_SAMPLED_ROWS} rows drawn at random and extrapolated to all; seq2pat in full"
    yield Comparison("mine and pair", "seq2pat + published pair search", ours, published, note, facts)
    reading = Comparison(
        "mine and pair", "reading the file", ours, lambda: limits.read_seconds(work.path), "a limit: ratio below 1"
    )
    yield reading


def regenerator_epoch(work: Workload) -> Iterable[Comparison]:
    """One training epoch of the regenerator beside the published step, times the steps of an epoch."""
    facts: dict[str, object] = {}

    def ours() -> float:
        fitted = _regenerator(max_epochs=2).fit(work.mined)
        facts["loss"] = fitted.history_[-1]["loss"]
        return min(record["seconds"] for record in fitted.history_)

    def published() -> float:
        pairs = work.published_pairs
        steps = math.ceil(len(pairs[0]) / regenerator.BATCH_SIZE)
        facts["pairs"], facts["steps an epoch"] = len(pairs[0]), steps
        seconds = regenerator.train_steps(work.published_regenerator, pairs, N_REGENERATOR_STEPS)
        facts["published seconds a step"] = min(seconds)
        return min(seconds) * steps

    note = f"published epoch extrapolated from the least of {N_REGENERATOR_STEPS} steps; anomaly detection off"
    yield Comparison("regenerator epoch", "published step", ours, published, note, facts)


def decoding(work: Workload) -> Iterable[Comparison]:
    """Decoding all rows from all memories beside the published decoder, one row at a time, with the same weights."""
    facts: dict[str, object] = {}
    fitted = cache(lambda: _regenerator(max_epochs=2).fit(work.mined))
    network = cache(lambda: published_from(fitted().network_))

    def ours() -> float:
        model = fitted()
        made = []
        seconds = seconds_of(lambda: made.append(model.transform(work.mined)))
        facts["regenerated rows kept"] = int(np.count_nonzero(made[0].origin == seqregen.Origin.REGENERATED))
        return seconds

    def published(record_gradients: bool) -> float:
        rows = work.published_rows
        result = decoder.time_decoding(network(), rows, N_SAMPLED_ROWS, record_gradients=record_gradients)
        facts["published seconds a row"] = result.seconds_a_row
        facts["published steps a decode"] = result.steps_a_decode
        facts["published seconds a step"] = result.seconds_a_step
        return result.extrapolated_seconds

    note = (
        f"published decoder on {N_SAMPLED_ROWS} rows x {N_MEMORIES} memories, extrapolated to all; the same weights, "
        "those of two epochs; anomaly detection off"
    )
    stage = "regenerate all rows"
    as_published = f"{note}; gradients recorded, as published"
    kind = f"{note}; gradients not recorded either (as published they are)"
    yield Comparison(stage, "published decoder", ours, lambda: published(True), as_published, facts)
    yield Comparison(stage, "published decoder, no gradients", ours, lambda: published(False), kind, facts)


def sasrec_epoch(work: Workload) -> Iterable[Comparison]:
    """One BCE epoch beside the published loop, RecTools, RecBole, and the arithmetic of real tokens."""
    facts: dict[str, object] = {}

    def ours() -> float:
        model = _sasrec(max_epochs=3).fit(work.X)
        facts["loss"] = model.history_[-1]["loss"]
        return min(record["seconds"] for record in model.history_)

    def published() -> float:
        rows = work.published_training_rows
        seconds = sasrec.train_steps(work.published_sasrec, rows, N_SASREC_STEPS)
        return min(seconds) * math.ceil(len(rows[0]) / sasrec.BATCH_SIZE)

    def arithmetic() -> float:
        flops = limits.training_epoch_flops(limits.next_item_lengths(work.sequences))
        rate = limits.gemm_rate()
        facts["GFLOP"], facts["GFLOP a second"] = flops / 1e9, rate / 1e9
        return flops / rate

    note = f"published epoch extrapolated from the least of {N_SASREC_STEPS} steps; anomaly detection off"
    yield Comparison("SASRec BCE epoch", "published loop", ours, published, note, facts)
    if environment.is_built():
        yield Comparison("SASRec BCE epoch", "RecTools, BCE", ours, _peer(work, "rectools_sasrec"), _EXTRAPOLATED)
        recbole = _peer(work, "recbole_epoch", "--model", "SASRec")
        yield Comparison("SASRec BCE epoch", "RecBole, BPR", ours, recbole, _EXTRAPOLATED)
    limit_note = "a limit: operations of real tokens at the best measured rate of products of width 64"
    yield Comparison("SASRec BCE epoch", "arithmetic", ours, arithmetic, limit_note, facts)


def gru4rec_epoch(work: Workload) -> Iterable[Comparison]:
    """One BCE epoch beside RecBole's own GRU4Rec of the same sizes, and the arithmetic of real tokens."""
    facts: dict[str, object] = {}

    def ours() -> float:
        model = seqregen.targets.GRU4Rec.reference(max_epochs=2, device="cpu", random_state=0).fit(work.X)
        facts["loss"] = model.history_[-1]["loss"]
        return min(record["seconds"] for record in model.history_)

    def arithmetic() -> float:
        flops = limits.recurrent_epoch_flops(limits.next_item_lengths(work.sequences))
        rate = limits.gemm_rate(limits.RECURRENT_WIDTH)
        facts["GFLOP"], facts["GFLOP a second"] = flops / 1e9, rate / 1e9
        return flops / rate

    if environment.is_built():
        recbole = _peer(work, "recbole_epoch", "--model", "GRU4Rec")
        yield Comparison("GRU4Rec BCE epoch", "RecBole, BPR", ours, recbole, _EXTRAPOLATED)
    limit_note = "a limit: operations of real tokens at the best measured rate of products of width 256"
    yield Comparison("GRU4Rec BCE epoch", "arithmetic", ours, arithmetic, limit_note, facts)


def gnn_epoch(work: Workload) -> Iterable[Comparison]:
    """One BCE epoch beside the published loop, SASRec's own epoch, and the nearest model of RecBole."""
    published = cache(lambda: gnn.PublishedGNN(work.published_training_rows[0], work.X.n_items))
    yield from _sister_of_sasrec(work, seqregen.targets.GNN, published)
    if environment.is_built():
        # RecBole has no model of a graph over all rows: this one has a graph of each row, and attention above it.
        recbole = _peer(work, "recbole_epoch", "--model", "GCSAN")
        ours = _epoch_of(work, seqregen.targets.GNN, {})
        yield Comparison("GNN BCE epoch", "RecBole, GCSAN, BPR", ours, recbole, _EXTRAPOLATED)


def cl4srec_epoch(work: Workload) -> Iterable[Comparison]:
    """One BCE epoch with the contrastive term beside the published loop and SASRec's own epoch."""
    published = cache(lambda: cl4srec.PublishedCL4SRec(work.X.n_items))
    yield from _sister_of_sasrec(work, seqregen.targets.CL4SRec, published)


def _sister_of_sasrec(
    work: Workload, model: type[seqregen.targets.SASRec], published: Callable[[], sasrec.PublishedSASRec]
) -> Iterable[Comparison]:
    facts: dict[str, object] = {}
    ours = _epoch_of(work, model, facts)

    def published_epoch() -> float:
        rows = work.published_training_rows
        seconds = sasrec.train_steps(published(), rows, N_SASREC_STEPS)
        return statistics.fmean(seconds) * math.ceil(len(rows[0]) / sasrec.BATCH_SIZE)

    stage = f"{model.__name__} BCE epoch"
    # CL4SRec's steps differ with the views that they draw: the least of them stands for none of the others.
    note = f"published epoch extrapolated from the mean of {N_SASREC_STEPS} steps; anomaly detection off"
    yield Comparison(stage, "published loop", ours, published_epoch, note, facts)
    plain = _epoch_of(work, seqregen.targets.SASRec, {})
    yield Comparison(stage, "our SASRec epoch", ours, plain, "what the model costs above SASRec: ratio below 1", facts)


def _epoch_of(work: Workload, model: type[seqregen.targets.SASRec], facts: dict[str, object]) -> Callable[[], float]:
    """The least seconds of an epoch in the published setting."""

    def measure() -> float:
        fitted = model.reference(max_epochs=3, device="cpu", random_state=0).fit(work.X)
        facts["loss"] = fitted.history_[-1]["loss"]
        return min(record["seconds"] for record in fitted.history_)

    return measure


def fmlp_epoch(work: Workload) -> Iterable[Comparison]:
    """One BCE epoch beside the published loop and its arithmetic; the peers have no such model."""
    facts: dict[str, object] = {}

    def ours() -> float:
        model = seqregen.targets.FMLP.reference(max_epochs=1, device="cpu", random_state=0).fit(work.X)
        (record,) = model.history_
        facts["loss"], facts["evaluation seconds"] = record["loss"], record["evaluation_seconds"]
        return record["seconds"]

    @cache
    def prefixes() -> tuple:
        return fmlp.prefix_rows(work.sequences)

    network = cache(lambda: fmlp.PublishedFMLP(max(max(row) for row in work.sequences)))

    def published() -> float:
        seconds = sasrec.train_steps(network(), prefixes(), N_SASREC_STEPS)
        facts["published seconds a step"], facts["prefixes"] = min(seconds), len(prefixes()[0])
        return min(seconds) * math.ceil(len(prefixes()[0]) / sasrec.BATCH_SIZE)

    def arithmetic() -> float:
        flops = limits.filter_epoch_flops(limits.next_item_lengths(work.sequences))
        rate = max(limits.gemm_rate(), limits.linear_rate())
        facts["GFLOP"], facts["GFLOP a second"] = flops / 1e9, rate / 1e9
        return flops / rate

    note = f"published epoch extrapolated from the least of {N_SASREC_STEPS} steps; anomaly detection off"
    yield Comparison("FMLP BCE epoch", "published loop", ours, published, note, facts)
    limit_note = "a limit: operations of the slots that are needed at the best measured rate of products of width 64"
    yield Comparison("FMLP BCE epoch", "arithmetic", ours, arithmetic, limit_note, facts)


def bfloat16_epoch(work: Workload) -> Iterable[Comparison]:
    """One epoch of each model under the default loss, with rounded matrix products and without."""

    def epoch(model: str, precision: str, facts: dict[str, object]) -> float:
        settings = {"precision": precision, "device": "cpu", "random_state": 0}
        fitted = getattr(seqregen.targets, model)(max_epochs=1 if model == "FMLP" else 3, **settings).fit(work.X)
        facts[f"loss in {precision}"] = fitted.history_[-1]["loss"]
        facts[f"ndcg@20 in {precision}"] = fitted.history_[-1]["ndcg@20"]
        return min(record["seconds"] for record in fitted.history_)

    note = "a softmax over 4,096 drawn items; the least of three epochs, of FMLP one"
    for model in MODELS:
        facts: dict[str, object] = {}
        ours, theirs = (partial(epoch, model, precision, facts) for precision in ("bfloat16", "float32"))
        yield Comparison(f"{model} epoch in bfloat16", "in float32", ours, theirs, note, facts)


def ranking(work: Workload) -> Iterable[Comparison]:
    """Full ranking of all users beside the published top 100, and beside its matrix product alone."""
    fitted = cache(lambda: _sasrec(max_epochs=1).fit(work.X))
    facts: dict[str, object] = {}

    def ours() -> float:
        model = fitted()
        made = []
        seconds = seconds_of(lambda: made.append(model.rank(work.X, work.y)))
        facts["ranked"] = len(made[0])
        return seconds

    def published() -> float:
        return sasrec.time_evaluation(work.published_sasrec, *work.published_test)

    def product() -> float:
        return min(limits.ranking_gemm_seconds(len(work.X), work.X.n_items) for _ in range(3))

    note = "ours: rank(X, y), from item codes to ranks; published: padded rows, top 100 by sorting"
    yield Comparison("full ranking", "published top 100", ours, published, note, facts)
    if environment.is_built():
        own = "its own SASRec of the same sizes, from its rows to its metrics; history excluded by both"
        recbole = _peer(work, "recbole_epoch", "--model", "SASRec", "--evaluate", figure="evaluation_seconds")
        yield Comparison("full ranking", "RecBole, full evaluation", ours, recbole, own, facts)
        best = "its own SASRec of the same sizes; twenty items for every user, no metrics"
        rectools = _peer(work, "rectools_sasrec", "--evaluate", figure="recommend_seconds")
        yield Comparison("full ranking", "RecTools, recommend 20", ours, rectools, best, facts)
    yield Comparison("full ranking", "its matrix product", ours, product, "a limit: the least of three products", facts)


def softmax_loss(work: Workload) -> Iterable[Comparison]:
    """Loss and gradients of a softmax over all items for one batch beside torch's own operator for it."""
    random = torch.Generator().manual_seed(0)
    states = torch.randn(N_SOFTMAX_TARGETS, 64, generator=random).requires_grad_()
    vectors = torch.randn(work.X.n_items, 64, generator=random).mul_(0.1).requires_grad_()
    targets = torch.randint(0, work.X.n_items, (N_SOFTMAX_TARGETS,), generator=random)

    def ours() -> float:
        return seconds_of(
            lambda: (log_sum_exp_scores(states, vectors) - (states * vectors[targets]).sum(-1)).mean().backward()
        )

    def torchs() -> float:
        return seconds_of(lambda: functional.linear_cross_entropy(states, vectors, targets).backward())

    if hasattr(functional, "linear_cross_entropy"):
        note = f"{N_SOFTMAX_TARGETS:,} targets, {work.X.n_items:,} items of 64 values, forward and backward"
        yield Comparison("softmax over all items", "torch linear_cross_entropy", ours, torchs, note)


def metrics(work: Workload) -> Iterable[Comparison]:
    """Recall and NDCG of all users from ranked lists beside ranx; the values are compared, too."""
    facts: dict[str, object] = {}
    ranks = np.random.default_rng(0).zipf(1.1, len(work.X)).clip(max=work.X.n_items)

    def ours() -> float:
        found: dict[str, float] = {}
        seconds = seconds_of(lambda: found.update(seqregen.metrics.ranking_metrics(ranks, k=(10, 20))))
        facts["metrics"] = found
        return seconds

    def theirs() -> float:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "ranks.npy"
            np.save(file, ranks)
            result = run_peer("ranx_metrics", "--ranks", str(file), "--threads", "1")
        facts["metrics of ranx"] = result["metrics"]
        return float(result["seconds"])  # type: ignore[arg-type]

    if environment.is_built():
        note = "ours from ranks; ranx from lists of twenty with the target at its rank; making them is not timed"
        yield Comparison("recall and NDCG", "ranx", ours, theirs, note, facts)


_EXTRAPOLATED = f"the peer's epoch extrapolated from the least of {N_SASREC_STEPS} of its own steps"


def _peer(work: Workload, script: str, *options: str, figure: str = "") -> Callable[[], float]:
    """Seconds of one of the peer's figures; by default of its epoch, the least where it tells one."""

    def measure() -> float:
        arguments = ["--data", work.path, "--steps", str(N_SASREC_STEPS), "--threads", "1", *options]
        if script == "rectools_sasrec":
            arguments += ["--epochs", "1"]
        result = run_peer(script, *arguments)
        epoch = result.get("least_seconds_per_epoch", result["seconds_per_epoch"])
        return float(result[figure] if figure else epoch)  # type: ignore[arg-type]

    return measure


def _regenerator(max_epochs: int) -> seqregen.DatasetRegenerator:
    # Fresh embeddings: what is timed is the regenerator, not the SASRec that would give it its item vectors.
    return seqregen.DatasetRegenerator(
        n_memories=N_MEMORIES, item_embeddings=None, max_epochs=max_epochs, device="cpu", random_state=0
    )


def _sasrec(max_epochs: int) -> seqregen.targets.SASRec:
    return seqregen.targets.SASRec(loss="bce", max_epochs=max_epochs, device="cpu", random_state=0)


STAGES: dict[str, Callable[[Workload], Iterable[Comparison]]] = {
    "mining": mining,
    "regenerator": regenerator_epoch,
    "decoding": decoding,
    "sasrec": sasrec_epoch,
    "gru4rec": gru4rec_epoch,
    "fmlp": fmlp_epoch,
    "gnn": gnn_epoch,
    "cl4srec": cl4srec_epoch,
    "bfloat16": bfloat16_epoch,
    "softmax": softmax_loss,
    "ranking": ranking,
    "metrics": metrics,
    **{f"personalizer_{model.lower()}": partial(personalized_epoch, model=model) for model in MODELS},
}


def comparisons(work: Workload, stages: Iterable[str] = tuple(STAGES)) -> Iterable[Comparison]:
    """The comparisons of the named stages, each prepared only when it is reached."""
    for stage in stages:
        yield from STAGES[stage](work)
