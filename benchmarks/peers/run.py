"""Run a peer's script in the peers' environment and read its line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from . import environment

__all__ = ["run_peer"]

_ROOT = Path(__file__).resolve().parents[2]


def run_peer(script: str, *arguments: str) -> dict[str, object]:
    """What ``benchmarks.peers.<script>`` printed.

    Raises
    ------
    RuntimeError
        The environment is not built, or the script failed; the message ends with what it said.
    """
    if not environment.is_built():
        raise RuntimeError("the peers' environment is not there; build it: python -m benchmarks.peers.environment")
    finished = subprocess.run(
        [str(environment.python()), "-m", f"benchmarks.peers.{script}", *arguments],
        cwd=_ROOT,
        env=os.environ | {"PYTHONPATH": str(_ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise RuntimeError(f"{script} ended with {finished.returncode}:\n{finished.stderr[-2000:]}")
    return json.loads(finished.stdout.strip().splitlines()[-1])
