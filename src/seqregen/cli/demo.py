"""``seqregen demo``: the whole way on generated data."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..sequences import SequenceDataset
from .computing import computing
from .console import CommandError, Console, format_table, show

__all__ = ["demo"]

_LEAST_SIZE = 50
_SEQUENCES_PER_ITEM = 3
_CUTOFFS = (10, 20)
# Smaller and faster than the defaults, for a minute on two cores; the same for all three training sets.
_SASREC: dict[str, Any] = {
    "n_layers": 1,
    "n_heads": 1,
    "dropout": 0.2,
    "learning_rate": 3e-3,
    "patience": 5,
    "max_epochs": 150,
}
_REGENERATOR_EPOCHS = 8
# Below this a difference is called one.
_SIGNIFICANT = 0.05

_ORIGINAL = "original"
_CONTROL = "original + mined"
_ALL = "original + mined + regenerated"


@dataclass
class _Results:
    """Training rows, ranks and validation of each training set."""

    rows: dict[str, int] = field(default_factory=dict)
    ranks: dict[str, np.ndarray] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)


def demo(options: Namespace, console: Console) -> None:
    """Generate, mine, regenerate, train on each training set, and print what it brought."""
    if options.size < _LEAST_SIZE:
        raise CommandError(f"--size must be at least {_LEAST_SIZE}; got {options.size}.")
    # A first run should show that something is going on, wherever its output goes.
    console = Console(options.quiet, bars=not options.quiet)
    with computing(options.device, options.threads):
        results = _run(options, console)
    _print_results(results, console, options.seed)


def _run(options: Namespace, console: Console) -> _Results:
    from ..datasets import make_sequences
    from ..mining import PatternMiner
    from ..model_selection import leave_one_out
    from ..regeneration import DatasetRegenerator

    settings = {"device": options.device, "random_state": options.seed, "verbose": console.bars}
    results = _Results()
    with console.stage("generate sequences"):
        n_items = max(options.size // _SEQUENCES_PER_ITEM, _LEAST_SIZE)
        sequences = make_sequences(options.size, n_items, random_state=options.seed)
        assert isinstance(sequences, SequenceDataset)
        X, y = leave_one_out(sequences, validation=True)
    _explain(sequences)
    with console.stage("mine patterns"):
        mined = PatternMiner(random_state=options.seed).fit_transform(X)
    _train(_ORIGINAL, X, y, settings, results, console)
    control = _train(_CONTROL, mined, y, settings, results, console)
    # As published, the regenerator starts from the vectors of a SASRec trained on original + mined rows: the control.
    regenerator = DatasetRegenerator(
        item_embeddings=control.item_embeddings_, max_epochs=_REGENERATOR_EPOCHS, **settings
    )
    with console.stage("train the regenerator and regenerate"):
        regenerated = regenerator.fit_transform(mined)
    _train(_ALL, regenerated, y, settings, results, console)
    return results


def _explain(sequences: SequenceDataset) -> None:
    facts = sequences.describe()
    show(
        f"Data: {facts.users:,} generated sequences over {facts.items:,} items, {facts.interactions:,} interactions. "
        "The last item of each is the test item, which nothing sees before the end; the last but one stops training."
    )
    show(
        "Rows: original = the sequences; mined = frequent patterns found in them; "
        "regenerated = new patterns written by a network that learnt sequence -> pattern.",
        flush=True,
    )


def _train(
    name: str, rows: SequenceDataset, y: np.ndarray, settings: dict[str, Any], results: _Results, console: Console
) -> Any:
    from ..targets import SASRec

    with console.stage(f"train SASRec on {name}"):
        model = SASRec(**_SASREC, **settings).fit(rows)
        results.ranks[name] = model.rank(rows, y)
    results.rows[name], results.epochs[name] = len(rows), len(model.history_)
    return model


def _print_results(results: _Results, console: Console, seed: int) -> None:
    from ..metrics import paired_bootstrap, ranking_metrics

    header = ["SASRec trained on", "rows", "epochs"]
    header += [f"{title}@{k}" for k in _CUTOFFS for title in ("Recall", "NDCG")]
    table = []
    for name, ranks in results.ranks.items():
        metrics = ranking_metrics(ranks, _CUTOFFS)
        values = [f"{metrics[f'{metric}@{k}']:.4f}" for k in _CUTOFFS for metric in ("recall", "ndcg")]
        table.append([name, f"{results.rows[name]:,}", results.epochs[name], *values])
    show(f"\n{format_table(header, table)}")
    if results.rows[_ALL] == results.rows[_CONTROL]:
        show(
            "All that the regenerator wrote had fewer than two items and was dropped: the last two lines are of the "
            "same training set. A larger --size gives it more to learn from."
        )
    show("Full ranking: every item is a candidate, those of the user's history are left out, ties count against.\n")
    comparisons = {
        (after, before): paired_bootstrap(results.ranks[after], results.ranks[before], "ndcg", 20, random_state=seed)
        for after, before in ((_CONTROL, _ORIGINAL), (_ALL, _ORIGINAL), (_ALL, _CONTROL))
    }
    lines = [
        [
            f"{after} against {before}",
            f"{found.difference:+.4f}",
            f"{found.low:+.4f} to {found.high:+.4f}",
            f"{found.p_value:.4f}",
            _verdict(found),
        ]
        for (after, before), found in comparisons.items()
    ]
    show(format_table(["difference of NDCG@20", "mean", "95% interval", "p", "which is"], lines))
    show("Paired bootstrap over users, one training run each: another --seed moves these figures too.\n")
    seconds = [[name, f"{spent:.1f}"] for name, spent in console.seconds.items()]
    show(format_table(["stage", "seconds"], [*seconds, ["all", f"{sum(console.seconds.values()):.1f}"]]))


def _verdict(found: Any) -> str:
    if found.p_value > _SIGNIFICANT:
        return "no clear difference"
    return "better" if found.difference > 0 else "worse"
