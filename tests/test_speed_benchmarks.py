"""The speed benchmarks, which nobody runs with the tests: they are found, and leave no stage out."""

import ast
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from benchmarks.stages import STAGES

ROOT = Path(__file__).parents[1]


def test_they_are_collected_without_the_peers():
    command = [sys.executable, "-m", "pytest", "benchmarks", "--collect-only", "-q", "-p", "no:cacheprovider"]
    found = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-2000:]
    assert "test_speed.py::test_full_ranking" in found.stdout


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_of_the_command_has_a_benchmark(stage):
    made = STAGES[stage]
    function = made.func if isinstance(made, partial) else made
    source = ast.parse((ROOT / "benchmarks/test_speed.py").read_text())
    inside = [node for each in source.body if isinstance(each, ast.FunctionDef) for node in ast.walk(each)]
    assert function.__name__ in {node.id for node in inside if isinstance(node, ast.Name)}
