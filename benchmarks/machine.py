"""What a figure was measured on, and where figures are written."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["RESULTS", "describe_machine", "threads", "write_results"]

RESULTS = Path(__file__).resolve().parent / "results"
_PACKAGES = ("seqregen", "torch", "numpy", "scikit-learn", "seq2pat")


def describe_machine() -> dict[str, object]:
    """Processor, cores, versions and the commit of this repository; nothing that names the machine."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """What is checked out, with ``-dirty`` behind it where files were changed since; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Hold torch and every loaded BLAS to a number of threads; child processes are told through the environment."""
    import torch
    from threadpoolctl import threadpool_limits

    before, environment = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(count)
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)
        if environment is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = environment


def write_results(kind: str, command: str, contents: dict[str, object], path: Path | None = None) -> Path:
    """Write ``results/<kind>-<date and time>.json`` aside and rename it into place; or over the file given."""
    from seqregen.files import write_aside

    RESULTS.mkdir(exist_ok=True)
    if path is None:
        path = RESULTS / f"{kind}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"
    record = {"command": command, "machine": describe_machine(), **contents}
    with write_aside(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path
