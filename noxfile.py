"""Development sessions: ``nox -s tests oldest adapters lint typing demo benchmarks docs``."""

import os
import tomllib
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "typing"]
nox.options.default_venv_backend = "venv"

# The build without CUDA where the index offers one; any torch >= 2.6 works: SEQREGEN_TORCH="torch==2.6.0" nox.
TORCH = os.environ.get("SEQREGEN_TORCH", "torch==2.13.0")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; arguments go to pytest."""
    session.install(TORCH)
    session.install("-e", ".[test]")
    # Without a compiler seq2pat cannot be built; the tests that compare with it are then skipped.
    session.run("pip", "install", "--quiet", "seq2pat>=2.0", success_codes=[0, 1], silent=True)
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")
def oldest(session: nox.Session) -> None:
    """Run the tests with the oldest versions that ``pyproject.toml`` allows; arguments go to pytest."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["frames"]
    session.install(*(requirement.replace(">=", "==") for requirement in needed))
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
@nox.parametrize("numpy", ["1", "2"])
def adapters(session: nox.Session, numpy: str) -> None:
    """Test the adapters against RecBole and RecTools, under the numpy that they ask for and under numpy 2."""
    session.install(TORCH)
    session.install("-e", ".[recbole,rectools]", "pytest>=8", "setuptools<81")
    if numpy == "2":
        # Newer than RecTools' pin, and than RecBole's own data sets can be read with; the adapters need neither.
        session.install("--no-deps", "numpy>=2")
    tests = [f"tests/targets/test_{name}.py" for name in ("recbole_target", "recbole_peer", "rectools_target")]
    session.run("pytest", *(session.posargs or tests))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install("ruff>=0.14")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types."""
    session.install(TORCH)
    session.install("-e", ".[test]", "mypy>=1.15")
    session.run("mypy")


@nox.session
def demo(session: nox.Session) -> None:
    """Run what a newcomer runs first."""
    session.install(TORCH)
    session.install(".")
    session.run("seqregen", "demo", *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Go on with the accuracy runs; arguments, such as ``speed`` or ``report``, go to ``python -m benchmarks``."""
    session.install(TORCH)
    session.install("-e", ".[test,plot]")
    session.run("python", "-m", "benchmarks", *(session.posargs or ["accuracy"]))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation."""
    session.install(TORCH)
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "-b", "html", "docs", "docs/_build/html")
