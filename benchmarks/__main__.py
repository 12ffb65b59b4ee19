"""``python -m benchmarks``: speed, path, profile, growth, datasets, accuracy, report; JSON in results/."""

from __future__ import annotations

import argparse
import sys

from . import accuracy, datasets, growth, report
from .arguments import positive_integer
from .data import MissingData
from .machine import threads, write_results
from .result_files import BrokenResult


def main(arguments: list[str] | None = None) -> int:
    try:
        return _command(sys.argv[1:] if arguments is None else arguments)
    except (BrokenResult, MissingData) as error:
        print(f"python -m benchmarks: {error}", file=sys.stderr)
        return 2


def _command(arguments: list[str]) -> int:
    separate = {module.__name__.split(".")[-1]: module.main for module in (accuracy, datasets, growth, report)}
    if arguments[:1] and arguments[0] in separate:
        return separate[arguments[0]](arguments[1:])
    from .stages import STAGES

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    speed = commands.add_parser("speed", help="ratios to the published loops, peers and limits, stage by stage")
    speed.add_argument("--stages", nargs="+", metavar="STAGE", help=f"any of {', '.join(STAGES)}; default: all")
    speed.add_argument(
        "--rounds", type=positive_integer, default=3, help="how often both sides run in turn (default %(default)s)"
    )
    _add_threads_and_data(speed, threads=1)
    path = commands.add_parser("path", help="the whole path from the file to scores: seconds and peak memory by stage")
    _add_threads_and_data(path, threads=2)
    path.add_argument("--loss", default="bce", help="of the SASRec that is trained at the end (default %(default)s)")
    path.add_argument("--epochs", type=positive_integer, help="most epochs a training; default: each estimator's own")
    profile = commands.add_parser("profile", help="what fills one SASRec epoch, beside its arithmetic")
    _add_threads_and_data(profile, threads=1)
    commands.add_parser("accuracy", add_help=False, help="train and rank on real data, run by run, resumably")
    commands.add_parser("datasets", add_help=False, help="the data sets before and after regeneration")
    commands.add_parser("growth", add_help=False, help="time and memory from ten thousand to ten million interactions")
    commands.add_parser("report", add_help=False, help="tables of the accuracy runs")
    options = parser.parse_args(arguments)
    with threads(options.threads):
        return {"speed": _speed, "path": _path, "profile": _profile}[options.command](options)


def _add_threads_and_data(parser: argparse.ArgumentParser, threads: int) -> None:
    parser.add_argument("--threads", type=positive_integer, default=threads, help="of a process (default %(default)s)")
    parser.add_argument("--data", default="amazon-beauty", help="a file of SEQREGEN_DATA (default %(default)s)")


def _speed(options: argparse.Namespace) -> int:
    from .peers import environment
    from .stages import STAGES, comparisons
    from .workload import Workload

    stages = options.stages or list(STAGES)
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown:
        print(f"unknown stage {unknown[0]!r}; the stages are {', '.join(STAGES)}.", file=sys.stderr)
        return 2
    if not environment.is_built():
        print(
            "RecBole, RecTools and ranx are left out; build them: python -m benchmarks.peers.environment",
            file=sys.stderr,
        )
    command = f"python -m benchmarks speed --rounds {options.rounds} --threads {options.threads} --data {options.data}"
    if options.stages:
        command += f" --stages {' '.join(options.stages)}"
    records: list[dict[str, object]] = []
    facts = {"data": options.data, "threads": options.threads, "peers": environment.installed(), "stages": records}
    written = None
    print(f"{'stage':<28}{'against':<34}{'ours, s':>10}{'theirs, s':>12}{'ratio':>10}", flush=True)
    for comparison in comparisons(Workload(options.data), stages):
        measured = comparison.measure(options.rounds)
        record = measured.as_record()
        records.append(record)
        # Behind every comparison: what ends the run does not take those before with it.
        written = write_results("speed", command, facts, written)
        print(
            f"{measured.stage:<28}{measured.against:<34}{record['seconds']:>10.3f}"
            f"{record['baseline_seconds']:>12.3f}{measured.ratio:>10.2f}",
            flush=True,
        )
    if written is None:
        print("nothing was measured: these stages need a peer that is not there.", file=sys.stderr)
        return 1
    print(f"written: results/{written.name}. Ratio: least seconds of theirs over least seconds of ours.")
    return 0


def _path(options: argparse.Namespace) -> int:
    from .path import walk

    stages = []
    print(f"{'stage':<30}{'seconds':>10}{'peak MiB':>10}", flush=True)
    for record in walk(options.data, options.loss, options.epochs):
        stages.append(record)
        print(f"{record['stage']:<30}{record['seconds']:>10.1f}{record['peak_mebibytes']:>10.0f}", flush=True)
    print(f"{'in all':<30}{sum(record['seconds'] for record in stages):>10.1f}")
    command = f"python -m benchmarks path --threads {options.threads} --data {options.data} --loss {options.loss}"
    if options.epochs:
        command += f" --epochs {options.epochs}"
    written = write_results("path", command, {"data": options.data, "threads": options.threads, "stages": stages})
    print(f"written: results/{written.name}")
    return 0


def _profile(options: argparse.Namespace) -> int:
    from .epoch_profile import profile_epoch

    record = profile_epoch(options.data)
    for kind, share in record["shares"].items():
        print(f"{kind:<36}{100 * share:>6.1f} %")
    print(f"an epoch: {record['seconds']:.2f} s; its arithmetic, {record['gflop']:.1f} GFLOP on real tokens:", end=" ")
    print(f"{record['arithmetic_seconds']:.2f} s at {record['gflop_a_second']:.0f} GFLOP/s")
    command = f"python -m benchmarks profile --threads {options.threads} --data {options.data}"
    written = write_results("profile", command, {"data": options.data, "threads": options.threads, **record})
    print(f"written: results/{written.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
