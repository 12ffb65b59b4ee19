"""The README's two commands are what a newcomer and the continuous integration run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def bash_blocks() -> list[str]:
    return re.findall(
        r"^```bash\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def test_there_are_exactly_two_commands_of_one_line():
    demo, tests = bash_blocks()
    assert demo.count("\n") == 1
    assert tests.count("\n") == 1
    assert "seqregen demo" in demo
    assert "pytest" in tests


def test_each_command_makes_its_own_environment():
    for command in bash_blocks():
        environment = command.split()[3]
        assert command.startswith(f"python3 -m venv {environment} && ")
        programs = re.findall(r"\S+/bin/\w+", command)
        assert programs
        assert all(program.startswith(f"{environment}/bin/") for program in programs)


def test_continuous_integration_runs_the_second_one(tmp_path):
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_text(script, encoding="utf-8")
    (tmp_path / "README.md").write_text("```bash\necho first\n```\n\n```bash\necho second\n```\n", encoding="utf-8")
    result = subprocess.run(["bash", str(tmp_path / ".ci" / "run")], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["+ echo second", "second"]


@pytest.mark.parametrize("readme", ["no block", "```bash\necho first\n```\n"])
def test_continuous_integration_fails_without_it(tmp_path, readme):
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_text((ROOT / ".ci" / "run").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    result = subprocess.run(["bash", str(tmp_path / ".ci" / "run")], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "no second bash block" in result.stderr
