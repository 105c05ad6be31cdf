"""The cache folder: where it is, what it holds, `tlfast cache`, folders that cannot be written."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tlfast import _cache, _features, cli
from tlfast._cache import ForeignFolderError, cache_folder, removable, unnamed_file


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("TLFAST_CACHE_DIR", "XDG_CACHE_HOME", "TLFAST_CACHE_MEMORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_where_it_is(home, monkeypatch):
    assert cache_folder() == home / ".cache" / "tlfast"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # counts as not set, say the XDG rules
    assert cache_folder() == home / ".cache" / "tlfast"
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/tlfast")
    monkeypatch.setenv("TLFAST_CACHE_DIR", "~/mine")
    assert cache_folder() == home / "mine"


def test_everything_kept_is_below_it(home):
    """A store on disk makes and tags the folder; its file has no name."""
    store = _features.FeatureStore(3, [(5,)], budget=0)
    store.put(np.arange(3), [np.ones((3, 5), np.float32)])
    assert store.on_disk and store.get(np.array([1]))[0].sum() == 5
    everything = [p.relative_to(home) for p in home.rglob("*")]
    folder = Path(".cache/tlfast")
    assert sorted(everything) == [Path(".cache"), folder, folder / _cache.TAG]
    text = (home / folder / _cache.TAG).read_text()
    assert text.startswith("Signature: 8a477f597d28d172789f06886806bc55\n")


def test_dir_and_info(home, monkeypatch, capsys):
    assert cli.main(["cache", "dir"]) == 0
    assert capsys.readouterr().out == f"{home / '.cache' / 'tlfast'}\n"
    assert cli.main(["cache", "info"]) == 0
    assert "not made yet" in capsys.readouterr().out
    unnamed_file("features-").close()
    (cache_folder() / "features-left").write_bytes(bytes(3_000_000))
    assert cli.main(["cache", "info"]) == 0
    said = capsys.readouterr().out
    assert "(3.0 MB, 1 entry)" in said
    monkeypatch.setenv("TLFAST_CACHE_MEMORY", "many")
    assert cli.main(["cache", "info"]) == 1
    assert "expected a whole number of MB" in capsys.readouterr().err
    assert f"{home.parent / 'keras' / 'models'}" in said and "shared with Keras" in said


def test_clear(home, capsys):
    assert cli.main(["cache", "clear", "--yes"]) == 0  # there is none
    assert capsys.readouterr().out == f"{cache_folder()}: nothing to remove\n"
    unnamed_file("features-").close()
    outside = home / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    (cache_folder() / "features-left").write_bytes(bytes(2_000_000))
    (cache_folder() / "old").mkdir()
    (cache_folder() / "old" / "file").write_text("x")
    (cache_folder() / "link").symlink_to(outside)
    assert cli.main(["cache", "clear", "--yes"]) == 0
    said = capsys.readouterr().out
    assert str(cache_folder() / "features-left") in said and "removed 3 entries, 2.0 MB" in said
    assert [p.name for p in cache_folder().iterdir()] == [_cache.TAG]
    assert (outside / "kept").read_text() == "x"


@pytest.mark.parametrize(("answer", "left"), [("n", 1), ("", 1), ("y", 0), ("Yes", 0)])
def test_clear_asks(monkeypatch, capsys, answer, left):
    unnamed_file("features-").close()
    (cache_folder() / "features-left").write_bytes(b"x")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert cli.main(["cache", "clear"]) == 0
    assert len(removable(cache_folder())) == left


def test_clear_where_nobody_can_be_asked(capsys):
    unnamed_file("features-").close()
    (cache_folder() / "features-left").write_bytes(b"x")
    assert cli.main(["cache", "clear"]) == 1
    assert "`tlfast cache clear --yes`" in capsys.readouterr().err
    assert len(removable(cache_folder())) == 1


@pytest.mark.parametrize("tag", [None, "Signature: 8a477f597d28d172789f06886806bc55\n# pip\n"])
def test_clear_refuses_other_folders(home, monkeypatch, capsys, tag):
    home.mkdir()
    (home / "thesis.tex").write_text("x")
    if tag:
        (home / _cache.TAG).write_text(tag)
    monkeypatch.setenv("TLFAST_CACHE_DIR", str(home))
    unnamed_file("features-").close()  # it may be used, but it does not become ours by that
    assert cli.main(["cache", "clear", "--yes"]) == 1
    said = capsys.readouterr().err
    assert "does not look like a cache of tlfast" in said and "thesis.tex" in said
    assert "TLFAST_CACHE_DIR" in said
    assert (home / "thesis.tex").read_text() == "x"


def test_clear_does_not_follow_a_link(home, tmp_path, monkeypatch):
    unnamed_file("features-").close()
    (cache_folder() / "photos").mkdir()
    (tmp_path / "link").symlink_to(cache_folder())
    with pytest.raises(ForeignFolderError, match="photos"):
        removable(tmp_path / "link")


def test_no_home_folder(monkeypatch):
    """Containers run as users that no list knows: what needs a folder says which variable helps."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(OSError, match="HOME is not set; set TLFAST_CACHE_DIR to a folder"):
        cache_folder()


def test_a_folder_that_cannot_be_written(home, monkeypatch, caplog):
    """The folder's place is taken by a file: training goes on, and one warning says what helps."""
    (home / ".cache").mkdir(parents=True)
    (home / ".cache" / "tlfast").write_text("a file")
    with pytest.raises(OSError, match="cannot be written .*; set TLFAST_CACHE_DIR to another"):
        unnamed_file("features-")
    monkeypatch.setenv("TLFAST_CACHE_MEMORY", "0")
    assert _features._make_store(3, [(5,)]) is None
    assert "set TLFAST_CACHE_DIR to another folder" in caplog.text
