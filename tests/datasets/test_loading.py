"""Files by path and by name, and downloads that are checked; no network is used."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest

from seqregen import SequenceDataset, datasets
from seqregen.datasets import fetch_amazon, fetch_cross_domain, fetch_yelp, get_data_home, load_sequences
from seqregen.datasets.fetchers import FILES, RemoteFile

TEXT = b"1 5 6 7\n2 6\n"
ROWS = [[5, 6, 7], [6]]


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """A data home, a cache and a working directory of the test's own."""
    monkeypatch.delenv("SEQREGEN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A file at a local address that stands for Beauty's."""

    def publish(content=TEXT, sha256=None, name="amazon-beauty.txt"):
        sha256 = sha256 or hashlib.sha256(content).hexdigest()
        source = tmp_path / "published.txt"
        source.write_bytes(content)
        monkeypatch.setitem(FILES, name, RemoteFile(source.as_uri(), sha256, "fetch", FILES[name].first_domain))
        return source

    return publish


# Loading


def test_loads_text_and_parquet_by_path(tmp_path):
    (tmp_path / "a.txt").write_bytes(TEXT)
    data = load_sequences(tmp_path / "a.txt")
    assert data.to_lists() == ROWS
    data.to_parquet(tmp_path / "a.parquet")
    assert load_sequences(str(tmp_path / "a.parquet")) == data


def test_looks_here_then_in_the_data_home_then_in_the_cache(tmp_path, monkeypatch):
    places = [tmp_path / "here", tmp_path / "home", tmp_path / "cache" / "seqregen"]
    monkeypatch.setenv("SEQREGEN_DATA", str(tmp_path / "home"))
    for number, place in reversed(list(enumerate(places))):
        place.mkdir(parents=True, exist_ok=True)
        (place / "a.txt").write_text(f"1 {number}\n")
        assert load_sequences("a.txt").to_lists() == [[number]]


def test_a_missing_file_lists_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQREGEN_DATA", str(tmp_path / "home"))
    with pytest.raises(FileNotFoundError) as caught:
        load_sequences("amazon-toys.txt")
    message = str(caught.value)
    assert str(tmp_path / "home" / "amazon-toys.txt") in message
    assert str(tmp_path / "cache" / "seqregen" / "amazon-toys.txt") in message
    assert "seqregen.datasets.fetch_amazon('toys') downloads it" in message


def test_every_known_file_names_its_fetcher(monkeypatch):
    fetched = []
    monkeypatch.setattr(datasets.fetchers, "_fetch", lambda name, *_: fetched.append(name))
    for remote in FILES.values():
        eval(remote.fetcher.removeprefix("seqregen.datasets."))
        assert len(remote.sha256) == 64
        assert remote.url.startswith("https://raw.githubusercontent.com/")
    assert fetched == list(FILES)


def test_warnings_point_at_who_loads(tmp_path):
    (tmp_path / "data.txt").write_text("1 2 3\n4 x 5 6\n")
    with pytest.warns(UserWarning, match="all items are read as text") as seen:
        load_sequences(tmp_path / "data.txt")
    assert seen[0].filename == __file__


def test_a_pipe_is_read_like_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(TEXT,))
    writer.start()
    assert load_sequences(pipe).to_lists() == ROWS
    writer.join()


def test_parquet_through_a_pipe_is_refused_by_name(tmp_path):
    os.mkfifo(tmp_path / "rows.parquet")
    with pytest.raises(
        ValueError, match=r"rows\.parquet' cannot be read as Parquet: it is a pipe .* write it to a file"
    ):
        load_sequences(tmp_path / "rows.parquet")


def test_a_directory_is_refused(tmp_path, monkeypatch):
    with pytest.raises(IsADirectoryError, match="is a directory; give one"):
        load_sequences(tmp_path)
    monkeypatch.setenv("SEQREGEN_DATA", str(tmp_path))
    (tmp_path / "rows").mkdir()
    with pytest.raises(IsADirectoryError, match=r"rows' is a directory; give one"):
        load_sequences("rows")


def test_an_empty_name_is_refused():
    with pytest.raises(FileNotFoundError, match="there is no file '': the name is empty"):
        load_sequences("")


def test_who_has_no_home_directory_reads_files_all_the_same(tmp_path, monkeypatch):
    def fail():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA")
    monkeypatch.setattr(Path, "home", fail)
    Path("a.txt").write_bytes(TEXT)
    assert load_sequences("a.txt").to_lists() == ROWS
    with pytest.raises(FileNotFoundError, match=r"there is no file 'b\.txt'; tried b\.txt\.$"):
        load_sequences("b.txt")
    monkeypatch.setenv("SEQREGEN_DATA", str(tmp_path))
    (tmp_path / "b.txt").write_bytes(TEXT)
    assert load_sequences("b.txt").to_lists() == ROWS


def test_a_tilde_may_be_part_of_a_name(tmp_path, monkeypatch):
    Path("~backup.txt").write_bytes(TEXT)
    assert load_sequences("~backup.txt").to_lists() == ROWS
    monkeypatch.setenv("SEQREGEN_DATA", "~nobody-of-this-name/data")
    assert load_sequences("~backup.txt").to_lists() == ROWS
    with pytest.raises(FileNotFoundError, match=r"tried b\.txt, ~nobody-of-this-name.data.b\.txt, "):
        load_sequences("b.txt")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "b.txt").write_bytes(TEXT)
    assert load_sequences("~/b.txt").to_lists() == ROWS


def test_bad_lines_name_the_file(tmp_path):
    (tmp_path / "a.txt").write_text("1 2\n\n2 3\n")
    with pytest.raises(ValueError, match=r"a\.txt', line 2"):
        load_sequences(tmp_path / "a.txt")


def test_data_home(tmp_path, monkeypatch):
    assert get_data_home() == tmp_path / "cache" / "seqregen"
    monkeypatch.setenv("SEQREGEN_DATA", str(tmp_path / "home"))
    assert get_data_home() == tmp_path / "home"
    assert get_data_home(tmp_path) == tmp_path


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "users", "items", "interactions"),
    [
        ("amazon-beauty.txt", 22_363, 12_101, 198_502),
        ("amazon-sports.txt", 35_598, 18_357, 296_337),
        ("amazon-toys.txt", 19_412, 11_924, 167_597),
        ("yelp.txt", 30_431, 20_033, 316_354),
        ("amazon-beauty-electronics.txt", 4_474, 24_567, 114_129),
        ("amazon-food-kitchen.txt", 7_144, 28_095, 173_548),
    ],
)
def test_real_files(real_file, name, users, items, interactions):
    path = real_file(name)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == FILES[name].sha256
    data = load_sequences(path)
    assert (len(data), data.n_items, data.n_interactions) == (users, items, interactions)


@pytest.mark.data
def test_real_domains(real_file):
    data = load_sequences(real_file("amazon-beauty-electronics.txt"))
    assert (data.domains == 0).sum() == 50_329
    assert (data.domains == 1).sum() == 63_800
    assert len(data.timestamps) == data.n_interactions


# Fetching


def test_downloads_once(published, tmp_path):
    source = published()
    assert fetch_amazon(data_home=tmp_path / "home").to_lists() == ROWS
    source.unlink()
    assert fetch_amazon("beauty", data_home=tmp_path / "home").to_lists() == ROWS
    assert os.listdir(tmp_path / "home") == ["amazon-beauty.txt"]


def test_downloads_to_the_cache_where_the_loader_finds_it(published):
    published(name="yelp.txt")
    assert fetch_yelp() == load_sequences("yelp.txt")


def test_cross_domain_has_times_and_domains(published):
    content = b"0 10379|5 10380|6\n"
    published(content, name="amazon-beauty-electronics.txt")
    data = fetch_cross_domain()
    assert data.domains.tolist() == [0, 1]
    assert data.timestamps.tolist() == [5, 6]
    assert isinstance(data, SequenceDataset)


def test_a_wrong_checksum_leaves_nothing(published, tmp_path):
    published(sha256="0" * 64)
    with pytest.raises(ValueError, match=r"another file than expected: its sha256 is .* Nothing was kept"):
        fetch_amazon(data_home=tmp_path / "home")
    assert os.listdir(tmp_path / "home") == []


def test_a_changed_file_in_the_data_home_is_noticed_and_kept(published, tmp_path):
    published()
    (tmp_path / "amazon-beauty.txt").write_text("1 2 3\n")
    with pytest.raises(ValueError, match=r"is not the expected file: .* Move it away"):
        fetch_amazon(data_home=tmp_path)
    assert (tmp_path / "amazon-beauty.txt").read_text() == "1 2 3\n"


def test_download_if_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="download_if_missing=False"):
        fetch_amazon(data_home=tmp_path, download_if_missing=False)


def test_unknown_names():
    with pytest.raises(ValueError, match="category must be one of 'beauty', 'sports', 'toys'; got 'food'"):
        fetch_amazon("food")
    with pytest.raises(ValueError, match="pair must be one of"):
        fetch_cross_domain("beauty")
    with pytest.raises(ValueError, match=r"category must be one of .*; got \['beauty'\]"):
        fetch_amazon(["beauty"])


@pytest.mark.parametrize(
    "wrong", [{"n_retries": -1}, {"n_retries": 1.5}, {"n_retries": True}, {"delay": -1}, {"delay": "1"}]
)
def test_bad_tries_are_refused_before_any_is_made(published, tmp_path, wrong):
    published()
    (name, value), home = *wrong.items(), tmp_path / "home"
    with pytest.raises(ValueError, match=f"{name} must be .* >= 0; got {value!r}"):
        fetch_amazon(data_home=home, **wrong)
    assert not home.exists()


class Server:
    """An opener that fails with the given errors and then answers."""

    def __init__(self, *errors):
        self.errors, self.calls = list(errors), 0

    def __call__(self, url, timeout):
        assert timeout > 0
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return io.BytesIO(TEXT)


def test_a_failing_network_is_tried_again(published, monkeypatch, tmp_path):
    published()
    passing = [URLError("unreachable"), TimeoutError("slow"), OSError(113, "No route to host")]
    passing += [HTTPError("url", code, "busy", {}, io.BytesIO()) for code in (503, 429)]
    server = Server(*passing)
    monkeypatch.setattr(datasets.fetchers, "urlopen", server)
    assert fetch_amazon(data_home=tmp_path / "home", n_retries=5, delay=0).to_lists() == ROWS
    assert server.calls == 6


@pytest.mark.parametrize(
    ("errors", "calls"),
    [([URLError("unreachable")] * 9, 3), ([HTTPError("url", 404, "not there", {}, io.BytesIO())], 1)],
)
def test_a_failed_download_says_where_the_file_belongs(published, monkeypatch, tmp_path, errors, calls):
    published()
    server = Server(*errors)
    monkeypatch.setattr(datasets.fetchers, "urlopen", server)
    with pytest.raises(OSError, match=r"could not be downloaded .* put the file at .*amazon-beauty"):
        fetch_amazon(data_home=tmp_path / "home", n_retries=2, delay=0)
    assert server.calls == calls
    assert os.listdir(tmp_path / "home") == []


def test_folders_that_may_not_be_searched_or_written(published, monkeypatch, tmp_path):
    published()

    def refuse(path, *rest, **more):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        # As without the right to search a folder; whoever is root has it everywhere.
        patched.setattr(Path, "exists", refuse)
        patched.setattr(Path, "is_dir", refuse)
        with pytest.raises(FileNotFoundError, match=r"there is no file 'typo\.txt'; tried"):
            load_sequences("typo.txt")
        with pytest.raises(PermissionError, match="may not be searched; name another by data_home"):
            fetch_amazon(data_home=tmp_path / "home")
    server = Server()
    monkeypatch.setattr(datasets.fetchers, "urlopen", server)
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.X_OK)
    with pytest.raises(PermissionError, match="may not be written; name another by data_home"):
        fetch_amazon(data_home=tmp_path / "home")
    assert server.calls == 0


def test_a_home_that_is_a_file(tmp_path):
    (tmp_path / "home").touch()
    with pytest.raises(NotADirectoryError, match=r"data_home .* is a file; give a folder"):
        fetch_amazon("toys", data_home=tmp_path / "home")
