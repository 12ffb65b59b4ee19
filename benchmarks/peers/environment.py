"""Build the separate virtual environment in which RecBole, RecTools and ranx run.

Their pins (numpy 1.26 above all) do not fit the library's own, so they live in ``.benchmark-env`` beside the
sources and are spoken to through scripts that print one JSON line. Run it with::

    python -m benchmarks.peers.environment

The CPU build of torch goes in first and is then held by a constraint: asked for by the peers alone, pip would
take the newest build with several gigabytes of CUDA. Where the default index offers the CUDA build under the
same version, ``--torch-index`` names an index of CPU builds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

__all__ = ["DIRECTORY", "installed", "is_built", "main", "python"]

DIRECTORY = Path(__file__).resolve().parents[2] / ".benchmark-env"
TORCH = "torch==2.13.0"
# What the measured figures were made with; newer numpy and pandas break RecBole 1.2.1.
CONSTRAINTS = ("numpy==1.26.4", "pandas==2.2.3", TORCH)
PEERS = ("recbole==1.2.1", "rectools[torch]==0.19.0", "ranx==0.3.21")
_COMPLETE = DIRECTORY / "complete"


def python() -> Path:
    """The interpreter of the environment, whether or not it is built."""
    return DIRECTORY / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_built() -> bool:
    """Whether a former run of :func:`main` came to its end."""
    return _COMPLETE.exists() and _COMPLETE.read_text() == _marker()


def installed() -> list[str]:
    """The peers and their versions; none where the environment is not built."""
    return [*CONSTRAINTS, *PEERS] if is_built() else []


def _marker() -> str:
    return "\n".join((*CONSTRAINTS, *PEERS)) + "\n"


def _pip(*arguments: str) -> None:
    subprocess.run([str(python()), "-m", "pip", "install", *arguments], check=True)


def main(arguments: list[str] | None = None) -> int:
    """Build the environment if it is not there; ``--again`` builds it anew."""
    parser = argparse.ArgumentParser(description="Build the environment of the peers (RecBole, RecTools, ranx).")
    parser.add_argument("--again", action="store_true", help="throw away what is there first")
    parser.add_argument("--torch-index", help="package index to take torch's CPU build from")
    options = parser.parse_args(arguments)
    if is_built() and not options.again:
        print(f"{DIRECTORY.name} is complete.")
        return 0
    if DIRECTORY.exists():
        shutil.rmtree(DIRECTORY)
    venv.create(DIRECTORY, with_pip=True)
    _pip("numpy==1.26.4", TORCH, *(["--index-url", options.torch_index] if options.torch_index else []))
    with tempfile.TemporaryDirectory() as directory:
        constraints = Path(directory) / "constraints.txt"
        constraints.write_text("\n".join(CONSTRAINTS) + "\n")
        # setuptools < 81 still has pkg_resources, which RecBole's dependencies import.
        _pip("-c", str(constraints), "setuptools<81", *PEERS)
    _COMPLETE.write_text(_marker())
    return 0


if __name__ == "__main__":
    sys.exit(main())
