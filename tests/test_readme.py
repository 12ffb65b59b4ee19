"""The README's two commands are what a newcomer and the continuous integration run."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

import seqregen

ROOT = Path(__file__).resolve().parents[1]


README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def bash_blocks() -> list[str]:
    return code_blocks("bash")


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


def test_every_block_is_bash_or_python():
    openings = re.findall(r"^```(\w*)$", README, flags=re.MULTILINE)[::2]
    assert set(openings) == {"bash", "python"}


def test_the_commands_use_ignored_directories():
    patterns = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    environments = {name for block in code_blocks("bash") for name in re.findall(r"\.venv-\w+", block)}
    assert environments == {".venv-demo", ".venv-test"}
    assert ".venv*/" in patterns


def test_relative_links_lead_somewhere():
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def attribute_chains(tree):
    """Dotted names that start with ``sr``, as lists of the names behind it."""
    for node in ast.walk(tree):
        names = []
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        if names and isinstance(node, ast.Name) and node.id == "sr":
            yield names


@pytest.mark.parametrize("block", code_blocks("python"))
def test_the_example_uses_names_that_exist(block):
    chains = list(attribute_chains(ast.parse(block)))
    assert chains
    for names in chains:
        found = seqregen
        for name in names:
            found = getattr(found, name)


@pytest.mark.slow
@pytest.mark.parametrize("block", code_blocks("python"))
def test_the_example_runs(block, tmp_path, monkeypatch):
    """On fewer rows, with networks small enough for a test."""
    monkeypatch.chdir(tmp_path)
    small = block.replace("make_sequences(300, random_state=0)", "make_sequences(80, 20, random_state=0)")
    small = small.replace("n_memories=5", "n_memories=2, embedding_dim=8, max_epochs=1, item_embeddings=None")
    small = small.replace("TeacherRegenerator()", "TeacherRegenerator(sr.targets.SASRec())")
    small = small.replace("SASRec()", "SASRec(embedding_dim=8, max_epochs=1)")
    small = small.replace("max_epochs=1))).fit", "max_epochs=1), warmup_epochs=0, update_every=1)).fit")
    assert small.count("max_epochs=1") == 5
    names: dict = {}
    exec(compile(small, "README.md", "exec"), names)
    assert names["model"].predict(names["X"], k=10).shape == (80, 10)
    assert names["regenerated"].n_original == 80
