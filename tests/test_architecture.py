"""Imports run downward, the package is quick to import, and every public name is there."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import seqregen

ROOT = Path(seqregen.__file__).parent

# The rooms by floor; a room may import rooms of its own floor that stand before it, and all below.
FLOORS = [
    [
        "callers",
        "optional",
        "process_wide",
        "parameters",
        "files",
        "last_line_seal",
        "ragged",
        "labels",
        "pairs",
        "times",
        "columns",
        "exchange",
        "sequences",
    ],
    ["formats", "inputs", "transformers", "nn", "training"],
    ["mining", "metrics", "model_selection", "datasets"],
    ["targets"],
    ["regeneration", "personalization", "recommender", "testing"],
    ["cli", "__main__"],
]
RANK = {room: place for place, room in enumerate(room for floor in FLOORS for room in floor)}
# Upward imports, allowed inside functions alone: the methods by which the container comes in and goes out, and
# the door through which formats pass columns of Python lists.
UPWARD_INSIDE_FUNCTIONS = {("exchange", "inputs"), ("exchange", "formats"), ("formats", "inputs")}

MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path, node):
    """The rooms of this package that an import statement names."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif node.level == 0:
        names = [f"{node.module}.{alias.name}" if node.module == "seqregen" else node.module for alias in node.names]
    else:
        package = path.relative_to(ROOT.parent).parent.parts
        base = ".".join(package[: len(package) - node.level + 1])
        names = [f"{base}.{node.module or alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("seqregen.")}


def imports(path):
    """(room, whether inside a function) of every import of this package in a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for room in imported_rooms(path, node):
                yield room, id(node) in inside


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downward(path):
    here = room_of(path)
    assert here in RANK, f"the room {here} has no floor; give it one in DESIGN and here"
    for room, inside_function in imports(path):
        if room in (here, "__version__"):
            continue
        if inside_function and (here, room) in UPWARD_INSIDE_FUNCTIONS:
            continue
        assert RANK[room] < RANK[here], f"{here} imports {room}, which stands above it"


def test_the_checker_sees_all_forms_of_import():
    path = ROOT / "formats" / "text.py"
    forms = {
        "from ..files import write_aside": {"files"},
        "from .. import files, labels": {"files", "labels"},
        "from .frames import to_frame": {"formats"},
        "from seqregen import labels": {"labels"},
        "from seqregen.nn.attention import x": {"nn"},
        "import seqregen.labels as labels, numpy": {"labels"},
        "import numpy": set(),
        "from torch import nn": set(),
    }
    for statement, rooms in forms.items():
        assert imported_rooms(path, ast.parse(statement).body[0]) == rooms


def test_files_stay_short():
    long = {
        str(path.relative_to(ROOT)): count for path in MODULES if (count := len(path.read_text().splitlines())) > 500
    }
    assert long == {}


def module_name(path):
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def python(script):
    return subprocess.run([sys.executable, "-c", script], check=False, timeout=120, capture_output=True, text=True)


HEAVY = ("torch", "sequential", "seq2pat", "pandas", "polars", "pyarrow", "matplotlib", "recbole", "rectools")


@pytest.mark.parametrize(
    "statement",
    ["import seqregen", "from seqregen import SequenceDataset", "import seqregen.datasets", "import seqregen.inputs"],
)
def test_light_imports_load_nothing_heavy(statement):
    loaded = python(f"import sys; {statement}; print([name for name in {HEAVY} if name in sys.modules])")
    assert loaded.stdout.strip() == "[]", loaded.stderr


def test_importing_the_package_loads_no_scikit_learn_either():
    assert python("import sys, seqregen; print('sklearn' in sys.modules)").stdout.strip() == "False"


def test_every_public_name_resolves():
    for name in seqregen.__all__:
        assert getattr(seqregen, name) is not None
    assert set(seqregen.__all__) <= set(dir(seqregen))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = seqregen.nothing


@pytest.mark.parametrize(
    "room", ["datasets", "formats", "inputs", "labels", "sequences", "pairs", "ragged", "files", "columns"]
)
def test_every_exported_name_resolves(room):
    module = __import__(f"seqregen.{room}", fromlist=["__all__"])
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_module_can_be_imported_first(path):
    """A circle shows only for the module that is imported first."""
    if path.name == "__main__.py":
        pytest.skip("running it is its purpose")
    assert first_imports()[module_name(path)] == ""


@cache
def first_imports():
    """What importing each module first raises, as text; all modules in turn in one process."""
    names = [module_name(path) for path in MODULES if path.name != "__main__.py"]
    script = (
        "import importlib, sys\n"
        "import numpy, scipy.sparse, sklearn.base, torch\n"
        f"for name in {names}:\n"
        "    for loaded in [key for key in sys.modules if key.partition('.')[0] == 'seqregen']:\n"
        "        del sys.modules[loaded]\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "        print(name, '')\n"
        "    except Exception as error:\n"
        "        print(name, repr(error))\n"
    )
    lines = python(script).stdout.splitlines()
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}
