"""One thread, the data, and the way a comparison becomes a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .data import data_file
from .machine import threads
from .timing import Comparison, Measurement

# Scripts of another environment: what they import is not here, and they have no doctests.
collect_ignore_glob = ["peers/*"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threads(1):
        yield


@pytest.fixture(scope="session")
def work():
    """The workload; benchmarks are skipped where the data is absent."""
    try:
        data_file()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    from .workload import Workload

    return Workload()


@pytest.fixture
def compare(benchmark) -> Callable[[Comparison], Measurement]:
    """Time our side with pytest-benchmark, run the baseline before each round, and keep the ratio in ``extra_info``."""

    def run(comparison: Comparison, rounds: int = 3) -> Measurement:
        seconds: list[float] = []
        baseline_seconds: list[float] = []
        benchmark.pedantic(
            lambda: seconds.append(comparison.ours()),
            setup=lambda: baseline_seconds.append(comparison.baseline()),
            rounds=rounds,
            iterations=1,
        )
        measured = Measurement(
            comparison.stage, comparison.against, seconds, baseline_seconds, comparison.note, dict(comparison.facts)
        )
        benchmark.extra_info.update(measured.as_record())
        return measured

    return run
