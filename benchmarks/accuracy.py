"""Accuracy on real data, of every model and of what regeneration adds: a result file a run, finished ones skipped.

    python -m benchmarks accuracy --minutes 60 --jobs 2
    python -m benchmarks accuracy --recipes "SASRec-*" --seeds 0 1 2
    python -m benchmarks report

Without names the runs of the plan (:mod:`benchmarks.plan`) are carried out in its order.

Protocol: leave-one-out. The last item of each user is the test target, the last but one the validation item
that early stopping reads; mining, regeneration and gradients see the rest alone. Full ranking, history excluded.
Each run is a process of its own; one that is stopped goes on from its checkpoints when it is asked for again. The
files of several machines fill one store: copy them together.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from multiprocessing.process import BaseProcess
from threading import Thread

from filelock import Timeout

from seqregen.cli.options import seed

from .arguments import positive_integer, positive_number
from .data import data_file
from .plan import Block, planned_runs
from .recipes import RECIPES
from .result_files import BrokenResult, finished_files, read_run
from .row_maker import WINDOWS
from .runs import RESULTS, Run, training_seconds
from .variants import VARIANTS

# Seconds between two looks at the runs that are under way.
_PAUSE = 0.5
# What the process of a run ends with where another command has the run.
_ELSEWHERE = 3


def carry_out_all(runs: Sequence[Run], *, jobs: int, threads: int, minutes: float) -> int:
    """Carry out the runs in their order, some at once; after so many minutes those under way are stopped.

    Returns
    -------
    int
        Runs that failed.
    """
    waiting = [run for run in runs if not run.finished]
    print(f"{len(runs) - len(waiting)} of {len(runs)} runs are finished already.", flush=True)
    minutes_of = _known_minutes()
    _tell_what_is_left(waiting, jobs, minutes_of)
    deadline = time.monotonic() + 60 * minutes
    context = multiprocessing.get_context("spawn")
    under_way: dict[BaseProcess, Run] = {}
    failed = 0
    try:
        while (waiting or under_way) and time.monotonic() < deadline:
            while waiting and len(under_way) < jobs:
                run = waiting.pop(0)
                if run.finished:
                    print(f"finished by another command: {run}", flush=True)
                    continue
                process = context.Process(target=_carry_out, args=(run, threads))
                process.start()
                under_way[process] = run
            time.sleep(_PAUSE)
            for process in [process for process in under_way if not process.is_alive()]:
                run = under_way.pop(process)
                if process.exitcode == _ELSEWHERE:
                    print(f"left to another command, which is at it: {run}", flush=True)
                    continue
                failed += process.exitcode != 0
                _tell(run)
                _tell_what_is_left(waiting + list(under_way.values()), jobs, minutes_of)
    finally:
        for process, run in under_way.items():
            process.terminate()
            process.join()
            if not run.finished:
                print(f"stopped: {run}; the same command goes on with it", flush=True)
    if waiting:
        print(f"not begun: {len(waiting)} runs", flush=True)
    return failed


def _carry_out(run: Run, threads: int) -> None:
    Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        run.carry_out(threads)
    except Timeout:
        sys.exit(_ELSEWHERE)


def _end_with_the_parent() -> None:
    """A run whose command was killed would go on unseen, and meet the same run when it is asked for again."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _tell(run: Run) -> None:
    if not run.finished:
        print(f"failed: {run}", flush=True)
        return
    record = read_run(run.path)
    scores = "  ".join(f"{name} {value:.4f}" for name, value in record["test"].items())
    print(f"{run}: {scores}  ({training_seconds(record) / 60:.1f} min)", flush=True)


def _tell_what_is_left(left: list[Run], jobs: int, minutes_of: Mapping[str, list[float]]) -> None:
    """What like trainings took, or where there are none, all, tells how long it takes."""
    if minutes_of and left:
        usual = statistics.fmean(minutes for known in minutes_of.values() for minutes in known)
        expected = sum(statistics.fmean(minutes_of.get(run.recipe, [usual])) for run in left)
        print(f"{len(left)} runs left, about {expected / jobs:.0f} min, rows to be made not counted", flush=True)


def _known_minutes() -> dict[str, list[float]]:
    """Minutes of training of the finished runs by recipe; files that cannot be read are told and left out."""
    found: dict[str, list[float]] = {}
    for path in finished_files(RESULTS, "*.json"):
        try:
            record = read_run(path)
        except BrokenResult as error:
            print(f"not counted in what is left: {error}", file=sys.stderr, flush=True)
            continue
        found.setdefault(record["recipe"], []).append(training_seconds(record) / 60)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", choices=WINDOWS, help="default: amazon-beauty")
    parser.add_argument(
        "--recipes",
        nargs="+",
        help=f"names or patterns such as 'SASRec-*', of: {', '.join(RECIPES)}; default: SASRec-bce SASRec-softmax",
    )
    parser.add_argument(
        "--variants",
        nargs="+",
        help=f"names or patterns, of: {', '.join(VARIANTS)}; default: original mined regenerated",
    )
    parser.add_argument("--seeds", nargs="+", type=seed, help="default: 0 1 2")
    parser.add_argument("--jobs", type=positive_integer, default=1, help="runs at once")
    parser.add_argument("--threads", type=positive_integer, default=1, help="threads of each run")
    parser.add_argument("--minutes", type=positive_number, default=float("inf"), help="stop after this time, resumably")
    options = parser.parse_args(arguments)
    runs = _chosen_runs(parser, options)
    for run in runs:
        if run.finished and (changed := run.changes()):
            parser.error(f"{run} was made with {changed}; delete {run.path} to make it again")
    # What is not there is told before anything begins.
    for dataset in dict.fromkeys(run.dataset for run in runs if not run.finished):
        data_file(dataset)
    # Child processes take the number of threads from here.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    failed = carry_out_all(runs, jobs=options.jobs, threads=options.threads, minutes=options.minutes)
    return 1 if failed else 0


def _chosen_runs(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[Run]:
    """The runs of the plan, or where any is named, those of all combinations."""
    if not (options.datasets or options.recipes or options.variants or options.seeds):
        return planned_runs()
    recipes = _named(parser, "recipe", RECIPES, options.recipes or ["SASRec-bce", "SASRec-softmax"])
    variants = _named(parser, "variant", VARIANTS, options.variants or ["original", "mined", "regenerated"])
    datasets, seeds = options.datasets or ["amazon-beauty"], options.seeds or [0, 1, 2]
    return Block(tuple(datasets), tuple(recipes), tuple(variants), tuple(seeds)).runs()


def _named(parser: argparse.ArgumentParser, kind: str, known: dict, patterns: list[str]) -> list[str]:
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in known):
            parser.error(f"no {kind} is called {pattern}; there are {', '.join(known)}")
    return [name for name in known if any(fnmatch(name, pattern) for pattern in patterns)]
