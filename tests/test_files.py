"""A file is replaced as a whole or not at all."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys

import pytest

from seqregen.files import write_aside


def test_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    target = tmp_path / "data.txt"
    target.write_text("old")
    with write_aside(target) as aside:
        assert aside.parent == target.parent
        assert aside.suffix == ".txt"
        aside.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["data.txt"]


def write_and_fail(target, failure):
    with write_aside(target) as aside:
        aside.write_text("half of the n")
        raise failure


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError("no")]
)
def test_the_old_file_survives_a_failure_in_the_middle(tmp_path, failure):
    target = tmp_path / "data.txt"
    target.write_text("old")
    with pytest.raises(type(failure)):
        write_and_fail(target, failure)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["data.txt"]


def test_the_old_file_survives_a_kill_in_the_middle(tmp_path):
    target = tmp_path / "data.txt"
    target.write_text("old")
    script = (
        "import os, signal, sys\n"
        "from seqregen.files import write_aside\n"
        "with write_aside(sys.argv[1]) as aside:\n"
        "    aside.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    finished = subprocess.run([sys.executable, "-c", script, str(target)], check=False, timeout=60)
    assert finished.returncode != 0
    assert target.read_text() == "old"


def test_a_failed_rename_leaves_the_old_file(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    target = tmp_path / "data.txt"
    target.write_text("old")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="quota"), write_aside(target) as aside:
        aside.write_text("new")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["data.txt"]


def test_keeps_the_mode_of_the_old_file(tmp_path):
    target = tmp_path / "data.txt"
    target.write_text("old")
    target.chmod(0o640)
    with write_aside(target) as aside:
        aside.write_text("new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_keeps_pointing_to_its_file(tmp_path, is_there):
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "data.txt", tmp_path / "link.txt"
    if is_there:
        real.write_text("old")
    link.symlink_to(real)
    with write_aside(link) as aside:
        aside.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_a_named_pipe_stays_one(tmp_path):
    pipe, link = tmp_path / "pipe.txt", tmp_path / "link.txt"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(OSError, match=rf"cannot write '.*{path.name}': it is a named pipe"), write_aside(path):
            pass
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link.txt", "pipe.txt"]


def test_a_socket_stays_one(tmp_path, monkeypatch):
    # The address of a socket must be short.
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("here")
        with pytest.raises(OSError, match="it is a socket"), write_aside("here"):
            pass


def test_a_link_to_itself_stays(tmp_path):
    link = tmp_path / "link.txt"
    link.symlink_to(link)
    with pytest.raises(OSError, match="symbolic links"), write_aside(link):
        pass
    assert link.is_symlink()


def test_says_that_the_directory_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(FileNotFoundError, match=r"the directory .*file' is not there"),
        write_aside(tmp_path / "file/a"),
    ):
        pass


def test_says_that_the_directory_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the directory .* is not there"), write_aside(tmp_path / "no" / "a"):
        pass


def test_refuses_a_directory(tmp_path):
    with pytest.raises(IsADirectoryError, match="it is a directory"), write_aside(tmp_path):
        pass


def test_refuses_an_empty_name_before_anything_is_made(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = os.stat(tmp_path).st_mtime_ns
    with pytest.raises(FileNotFoundError, match="cannot write '': the name is empty"), write_aside(""):
        pass
    assert os.stat(tmp_path).st_mtime_ns == before


def test_refuses_a_file_that_may_not_be_written(tmp_path, monkeypatch):
    target = tmp_path / "data.txt"
    target.write_text("old")
    target.chmod(0o444)
    # To root, under whom tests may run, nothing is read-only.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(PermissionError, match=r"cannot write '.*data.txt': .* may not be written \(-r--r--r--\)"):
        write_and_fail(target, AssertionError("work was done"))
    assert os.listdir(tmp_path) == ["data.txt"]


@pytest.mark.parametrize("mode", [0o600, 0o620, 0o222])
def test_the_temporary_file_is_for_its_owner_to_write_and_for_no_more_to_read_than_the_old_one(tmp_path, mode):
    target = tmp_path / "data.txt"
    target.write_text("old")
    target.chmod(mode)
    with write_aside(target) as aside:
        assert stat.S_IMODE(aside.stat().st_mode) == mode | 0o600
        aside.write_text("new")
    assert stat.S_IMODE(target.stat().st_mode) == mode


@pytest.mark.parametrize("kind", [OSError, PermissionError, BrokenPipeError])
@pytest.mark.parametrize("is_named", [False, True])
def test_an_error_in_writing_names_the_file_and_stays_of_its_kind(tmp_path, kind, is_named):
    target = tmp_path / "data.txt"
    with pytest.raises(kind) as caught, write_aside(target) as aside:
        raise kind(errno.ENOSPC, "pyarrow says it otherwise", *([str(aside)] if is_named else []))
    assert type(caught.value) is kind
    assert caught.value.errno == errno.ENOSPC
    assert str(caught.value) == f"cannot write {str(target)!r}: No space left on device"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "not there", "input.txt"), OSError("my own words")])
def test_an_error_of_something_else_stays_as_it_is(tmp_path, error):
    with pytest.raises(OSError) as caught:
        write_and_fail(tmp_path / "data.txt", error)
    assert caught.value is error


def test_a_temporary_file_that_cannot_be_made_names_the_file(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match=r"cannot write '.*data.txt': Permission denied"):
        write_and_fail(tmp_path / "data.txt", AssertionError("work was done"))
