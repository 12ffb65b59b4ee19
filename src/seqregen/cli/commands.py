"""describe, mine, regenerate, teach, train and score."""

from __future__ import annotations

import warnings
from argparse import Namespace
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias

import numpy as np

from ..sequences import SequenceDataset
from .computing import computing
from .console import CommandError, Console, check_printable, complain, format_table, show
from .data import (
    MODELS,
    PARQUET,
    PATTERNS,
    ROWS,
    check_output,
    check_patterns_fit,
    check_rows_fit,
    digest_rows,
    find_input,
    hold_out,
    load_rows,
    lost_in_text,
    save_patterns,
    save_rows,
    without_empty_rows,
)
from .models import load_model, save_model
from .options import TEACHERS, chosen

__all__ = ["describe", "mine", "regenerate", "score", "teach", "train"]

_SHOWN_PATTERNS = 10
_CUTOFFS = (10, 20)
_Command: TypeAlias = Callable[[Namespace, Console], None]


def _computing(command: _Command) -> _Command:
    """The command, run on the device and the threads that its options name."""

    @wraps(command)
    def run(options: Namespace, console: Console) -> None:
        with computing(options.device, options.threads):
            command(options, console)

    return run


def describe(options: Namespace, console: Console) -> None:
    """Print the statistics of a file."""
    rows = load_rows(options, console)
    lengths = rows.lengths
    facts: dict[str, str] = {"shortest row": f"{lengths.min():,}", "longest row": f"{lengths.max():,}"}
    if rows.validation is not None:
        facts["held out"] = f"{np.count_nonzero(rows.validation):,}"
    if rows.pairs is not None:
        facts |= {"patterns": f"{rows.pairs.n_patterns:,}", "pairs": f"{len(rows.pairs):,}"}
    show(rows.describe())
    show("\n".join(f"{name:<14}{value:>14}" for name, value in facts.items()))


def mine(options: Namespace, console: Console) -> None:
    """Mine the patterns of a file."""
    from ..mining import PatternMiner

    check_output(options.output, PATTERNS, [find_input(options.file)])
    miner = PatternMiner(**chosen(options, "miner"), include=("original",))
    miner._check_parameters()
    rows = load_rows(options, console)
    if options.output is not None:
        check_patterns_fit(rows.vocabulary, options.output)
    rows = hold_out(rows, options.hold_out)
    with console.stage("mining"):
        miner.fit(rows)
    patterns, support = miner.patterns_, miner.support_
    if options.output is not None:
        save_patterns(patterns, support, options.output)
        console.log(f"wrote {options.output}")
    show(f"{len(patterns):,} patterns in {rows.n_original:,} sequences, {console.seconds['mining']:.1f} s")
    if len(patterns):
        shown = patterns[:_SHOWN_PATTERNS].to_lists()
        table = [(" > ".join(map(str, pattern)), f"{count:,}") for pattern, count in zip(shown, support, strict=False)]
        show(format_table(("most frequent", "support"), table))


@_computing
def regenerate(options: Namespace, console: Console) -> None:
    """Write a regenerated training set."""
    from ..mining import PatternMiner

    check_output(options.output, ROWS, [find_input(options.file)])
    regenerator = _make_regenerator(options, console)
    expected = None if options.highest_rank is None else _make_filter(options, console)
    miner = PatternMiner(**chosen(options, "miner"), random_state=options.seed)
    miner._check_parameters()
    rows = load_rows(options, console)
    # Text numbers the rows as soon as one of them has no user, as those that are added.
    included = tuple(options.include or ("original", "mined", "regenerated"))
    users_are_written = included == ("original",) if _is_text(options.output) else "original" in included
    check_rows_fit(rows if users_are_written else rows.replace(users=None), options.output)
    rows = hold_out(rows, options.hold_out)
    if rows.validation is not None and "original" not in included:
        complain("held-out items are not kept: they stand beside original rows, which --include leaves out.", "warning")
        rows = rows.replace(validation=None)
    with console.stage("mining"):
        mined = miner.fit_transform(rows)
    console.log(f"{len(miner.patterns_):,} patterns")
    with console.stage("regenerating"):
        regenerated = regenerator.fit_transform(mined)
    if expected is not None:
        n_rows = len(regenerated)
        with console.stage("filtering"):
            regenerated = expected.fit_transform(regenerated)
        console.log(f"{n_rows - len(regenerated):,} rows left away")
    if _is_text(options.output):
        regenerated = _as_in_text(regenerated, users_are_written)
    save_rows(regenerated, options.output)
    console.log(f"wrote {options.output} ({sum(console.seconds.values()):.1f} s)")
    show(repr(regenerated))
    show(regenerator.report_)


def _as_in_text(rows: SequenceDataset, users_are_written: bool) -> SequenceDataset:
    """The rows without users that were not checked for what text can hold, once it is told what text loses."""
    lost = lost_in_text(rows)
    if rows.users is not None and not users_are_written and rows.n_original:
        # Where no row was added in the end, each still has its user.
        rows, lost = rows.replace(users=None), list(dict.fromkeys([*lost, "users"]))
    if lost:
        named = " and ".join([*filter(None, [", ".join(lost[:-1])]), lost[-1]])
        complain(f"text keeps the rows alone, not their {named}; write .parquet to keep them.", "warning")
    return rows


def _is_text(path: str) -> bool:
    return path.lower().endswith(".txt")


def _make_regenerator(options: Namespace, console: Console) -> Any:
    from ..regeneration import DatasetRegenerator

    settings = chosen(options, "regenerator") | _common(options, console)
    if getattr(options, "include", None):
        settings["include"] = tuple(options.include)
    make = DatasetRegenerator.reference if options.reference else DatasetRegenerator
    regenerator = make(**settings)
    # Refused here already, not after the file has been read and mined.
    regenerator._check_parameters()
    return regenerator


def _make_filter(options: Namespace, console: Console) -> Any:
    from ..regeneration import RankFilter

    if "original" not in (options.include or ("original",)):
        raise CommandError("--highest-rank needs the original rows, which its SASRec learns; name them in --include.")
    expected = RankFilter(highest_rank=options.highest_rank, **_common(options, console))
    expected._check_parameters()
    return expected


def _common(options: Namespace, console: Console) -> dict[str, Any]:
    return {"device": options.device, "random_state": options.seed, "verbose": console.bars}


@_computing
def teach(options: Namespace, console: Console) -> None:
    """Write a training set whose rows a trained recommender continues."""
    from ..regeneration import TeacherRegenerator
    from ..targets import SASRec

    check_output(options.output, PARQUET, [find_input(options.file)])
    common = _common(options, console)
    alone = None if options.teacher == TEACHERS[0] else SASRec(refit=True, **common)
    teacher = TeacherRegenerator(alone, **common, **chosen(options, "teacher"))
    teacher._check_parameters()
    rows = load_rows(options, console)
    check_rows_fit(rows, options.output)
    rows = hold_out(rows, options.hold_out)
    with console.stage("teaching"):
        taught = teacher.fit_transform(rows)
    save_rows(taught, options.output)
    console.log(f"wrote {options.output} ({sum(console.seconds.values()):.1f} s)")
    show(repr(taught))


@_computing
def train(options: Namespace, console: Console) -> None:
    """Train SASRec and save it."""
    from ..recommender import RegeneratedRecommender
    from ..targets import SASRec

    check_output(options.output, MODELS, [find_input(options.file)])
    make = SASRec.reference if options.reference else SASRec
    recommender = make(**_common(options, console), **chosen(options, "sasrec"))
    recommender._check_parameters()
    if not options.regenerate and (chosen(options, "miner") or chosen(options, "regenerator")):
        raise CommandError("options of the miner and the regenerator need --regenerate.")
    regeneration = _make_regeneration(options, console) if options.regenerate else None
    rows = _training_rows(options, load_rows(options, console))
    ready_made = rows.n_original < len(rows) or rows.validation is not None
    model: Any = recommender if ready_made else RegeneratedRecommender(regeneration, recommender)
    with console.stage("training"), warnings.catch_warnings():
        if ready_made and (rows.validation is None or not rows.validation.any()):
            complain(
                f"{options.file!r} holds no validation items: training stops on a plateau of its loss. Better: "
                "seqregen regenerate or teach FILE --hold-out validation, or validation-and-test.",
                "warning",
            )
            # The same with advice for those who write Python.
            warnings.filterwarnings("ignore", message=".* has no validation item to stop on")
        model.fit(rows)
    model.training_digest_ = digest_rows(rows.histories())
    save_model(model, options.output)
    console.log(f"wrote {options.output}")
    show(_training_summary(getattr(model, "recommender_", model), console.seconds["training"]))
    if regeneration is not None:
        show(model.regeneration_[-1].report_)
    if not ready_made and not options.leave_one_out:
        console.log("trained on whole histories, for use: 'seqregen score' of the same file would flatter this model.")


def _make_regeneration(options: Namespace, console: Console) -> Any:
    from sklearn.pipeline import make_pipeline

    from ..mining import PatternMiner

    miner = PatternMiner(**chosen(options, "miner"), random_state=options.seed)
    return make_pipeline(miner, _make_regenerator(options, console))


def _training_rows(options: Namespace, rows: SequenceDataset) -> SequenceDataset:
    """The rows to train on, with the test items left out if that is asked for."""
    ready_made = rows.n_original < len(rows) or rows.validation is not None
    if ready_made and options.regenerate:
        raise CommandError(
            f"--regenerate needs raw histories; {options.file!r} holds mined, regenerated or held-out items already."
        )
    if ready_made and options.leave_one_out:
        raise CommandError(
            f"--leave-one-out needs raw histories; {options.file!r} holds rows or items that may show its last items. "
            "Hold the test items out before: seqregen regenerate or teach FILE --hold-out validation-and-test."
        )
    return hold_out(rows, "test") if options.leave_one_out else rows


def _training_summary(recommender: Any, seconds: float) -> str:
    history, best = recommender.history_, recommender.best_epoch_
    watched = history[best].get("ndcg@20")
    reached = "" if watched is None else f", validation NDCG@20 {watched:.4f}"
    settings = f"loss={recommender.loss}, {len(recommender.vocabulary_):,} items"
    return f"SASRec ({settings}): {len(history)} epochs, best epoch {best + 1}{reached}, {seconds:.1f} s"


def score(options: Namespace, console: Console) -> None:
    """Score a model on the last item of each row, or write its predictions."""
    check_output(options.output, ROWS, [options.model, find_input(options.file)])
    if options.output is not None and options.predict is None:
        raise CommandError("-o goes with --predict N; scores are printed.")
    if options.k is not None and options.predict is not None:
        raise CommandError("-k goes with scores; --predict N lists the N best items instead. Leave one of them away.")
    with computing(options.device, options.threads):
        model = load_model(options.model)
        _move(model, options.device)
        rows = load_rows(options, console)
        if options.predict is not None:
            _predict(model, rows, options, console)
        else:
            _score(model, rows, options, console)


def _move(model: Any, device: str) -> None:
    from ..training import resolve_device

    network = getattr(getattr(model, "recommender_", model), "network_", None)
    if network is not None:
        network.to(resolve_device(device))


def _score(model: Any, rows: SequenceDataset, options: Namespace, console: Console) -> None:
    from ..labels import encode_labels
    from ..metrics import UNREACHABLE, ranking_metrics
    from ..model_selection import leave_one_out

    n_items = len(model.vocabulary_)
    cutoffs = options.k or [k for k in _CUTOFFS if k <= n_items] or [n_items]
    rows = without_empty_rows(rows, "they have no last item to rank")
    histories, targets = leave_one_out(rows)
    if max(cutoffs) > n_items:
        raise CommandError(f"-k {max(cutoffs)} is larger than the vocabulary of the model, which has {n_items} items.")
    with console.stage("ranking"):
        ranks = model.rank(histories, targets, exclude_history=not options.keep_history)
    unknown = int(np.count_nonzero(encode_labels(targets, model.vocabulary_) == 0))
    excluded = int(np.count_nonzero(ranks == UNREACHABLE)) - unknown
    metrics = ranking_metrics(ranks, cutoffs)
    names = [(title, k) for k in sorted(set(cutoffs)) for title in ("Recall", "NDCG")]
    values = [f"{metrics[f'{title.lower()}@{k}']:.4f}" for title, k in names]
    show(format_table([f"{title}@{k}" for title, k in names], [values]))
    kept = "compete as well" if options.keep_history else "are left out"
    show(f"{len(ranks):,} users: the last item of each is ranked among all {n_items:,} items;")
    show(f"items of the history {kept}. Out of reach: {unknown:,} unknown targets, {excluded:,} in the history.")
    _judge(model, rows, histories)


def _judge(model: Any, rows: SequenceDataset, histories: SequenceDataset) -> None:
    """Say whether the ranked items were held out of training."""
    digest = getattr(model, "training_digest_", None)
    if digest == digest_rows(histories):
        show("Held out: the model was trained on these histories without the ranked items.")
    elif digest == digest_rows(rows):
        complain(
            "the model was trained on the very items that are ranked here, so these figures flatter it; "
            "train with --leave-one-out to measure.",
            "warning",
        )
    else:
        complain(
            "these histories are not just the rows that the model was trained on; whether the ranked items were "
            "among those cannot be told.",
            "warning",
        )


def _predict(model: Any, rows: SequenceDataset, options: Namespace, console: Console) -> None:
    from ..formats.text import user_tokens
    from ..formats.text_layout import FIRST_LINES
    from ..inputs import check_sequences

    histories = rows.histories()
    if len(histories) == 0:
        raise CommandError(f"{options.file!r} has no original row; added rows are nobody's history.")
    listed = np.arange(1, min(options.predict, len(model.vocabulary_)) + 1)
    n_shown = min(len(histories), FIRST_LINES)
    offsets = np.minimum(np.arange(len(histories) + 1), n_shown) * len(listed)
    trial = SequenceDataset(np.tile(listed, n_shown), offsets, model.vocabulary_, users=histories.users)
    # Lines on stdout are the lines of a text file.
    check_rows_fit(trial, options.output or "stdout.txt")
    users = user_tokens(histories).tolist()
    if options.output is None:
        check_printable(map(str, [*model.vocabulary_.tolist(), *users]))
    with console.stage("predicting"):
        labels = model.predict(histories, k=options.predict, exclude_history=not options.keep_history)
    if options.output is not None:
        save_rows(check_sequences(labels).replace(users=histories.users), options.output)
        console.log(f"wrote {options.output}")
        return
    for user, items in zip(users, labels.tolist(), strict=True):
        show(user, *items)
