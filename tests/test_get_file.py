"""`get_file`: names in the cache, archives, archives that reach outside."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from tlfast.weights import files as files_module
from tlfast.weights import get_file


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """KERAS_HOME in the test's folder; addresses are copied from `tmp_path / "net"`."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    (tmp_path / "net").mkdir()
    asked = []

    def copy(origin, target, digest=None, replace=False):
        if target.exists() and not replace:
            return str(target)
        asked.append(origin)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((tmp_path / "net" / origin.rsplit("/", 1)[1]).read_bytes())
        return str(target)

    monkeypatch.setattr(files_module, "download", copy)
    copy.net, copy.asked, copy.home = tmp_path / "net", asked, tmp_path / "home" / "datasets"
    return copy


def tar(members) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.linkname = content
                archive.addfile(info)
    return made.getvalue()


def test_plain_file(cache):
    (cache.net / "a.txt").write_text("hello")
    path = get_file(origin="http://x/a.txt")
    assert path == str(cache.home / "a.txt") and Path(path).read_text() == "hello"
    assert get_file("b.txt", "http://x/a.txt", cache_subdir="other").endswith("home/other/b.txt")
    get_file(origin="http://x/a.txt")
    assert len(cache.asked) == 2
    get_file(origin="http://x/a.txt", force_download=True)
    assert len(cache.asked) == 3


@pytest.mark.parametrize(
    ("fname", "kwargs", "folder", "archive"),
    [
        (None, {"extract": True}, "flowers.tgz", "flowers.tgz_archive"),
        ("flowers", {"untar": True}, "flowers", "flowers_archive"),
        ("flowers.tgz", {"extract": True}, "flowers_extracted", "flowers.tgz"),
    ],
)
def test_archive_names_are_keras(cache, fname, kwargs, folder, archive):
    """The names that Keras 3.15's get_file gives in these three cases."""
    (cache.net / "flowers.tgz").write_bytes(tar([("photos/1.txt", b"one", tarfile.REGTYPE)]))
    path = get_file(fname, "http://x/flowers.tgz", **kwargs)
    assert path == str(cache.home / folder)
    assert (cache.home / folder / "photos" / "1.txt").read_text() == "one"
    assert (cache.home / archive).is_file()
    (cache.home / folder / "photos" / "1.txt").write_text("kept, not unpacked again")
    get_file(fname, "http://x/flowers.tgz", **kwargs)
    assert (cache.home / folder / "photos" / "1.txt").read_text().startswith("kept")


def test_zip(cache):
    with zipfile.ZipFile(cache.net / "cats.zip", "w") as archive:
        archive.writestr("cats/1.txt", "one")
    path = get_file("cats.zip", "http://x/cats.zip", extract=True)
    assert Path(path, "cats", "1.txt").read_text() == "one"


@pytest.mark.parametrize(
    "member",
    [
        ("../evil.txt", b"x", tarfile.REGTYPE),
        ("/tmp/evil.txt/../../evil", b"x", tarfile.REGTYPE),
        ("link", "../../outside", tarfile.SYMTYPE),
        ("hard", "../../outside", tarfile.LNKTYPE),
        ("pipe", "", tarfile.FIFOTYPE),
    ],
)
def test_tar_that_reaches_outside(cache, member):
    (cache.net / "bad.tgz").write_bytes(tar([("good.txt", b"g", tarfile.REGTYPE), member]))
    with pytest.raises(ValueError, match="bad.tgz.*refused"):
        get_file("bad.tgz", "http://x/bad.tgz", extract=True)
    assert not (cache.home / "bad_extracted").exists()
    assert {p.name for p in cache.home.iterdir()} == {"bad.tgz"}


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "C:/evil"])
def test_zip_that_reaches_outside(cache, name):
    with zipfile.ZipFile(cache.net / "bad.zip", "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(ValueError, match="refused: member"):
        get_file("bad.zip", "http://x/bad.zip", extract=True)
    with zipfile.ZipFile(cache.net / "link.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="refused: member 'link'"):
        get_file("link.zip", "http://x/link.zip", extract=True)


def test_bombs(cache, monkeypatch):
    monkeypatch.setattr(files_module, "_MAX_EXPANSION", 10)
    (cache.net / "b.tgz").write_bytes(tar([("zeros", bytes(1_000_000), tarfile.REGTYPE)]))
    with pytest.raises(ValueError, match="unpacks to more than"):
        get_file("b.tgz", "http://x/b.tgz", extract=True)
    with zipfile.ZipFile(cache.net / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1_000_000))
    with pytest.raises(ValueError, match="unpacks to more than"):
        get_file("b.zip", "http://x/b.zip", extract=True)


def test_bad_arguments(cache):
    with pytest.raises(ValueError, match="needs `origin`"):
        get_file("a")
    for name in ("../a", "/a", ".."):
        with pytest.raises(ValueError, match="without folders"):
            get_file(name, "http://x/a")
    with pytest.raises(ValueError, match="hash_algorithm is"):
        get_file("a", "http://x/a", hash_algorithm="crc")
    with pytest.raises(ValueError, match="not a hash of the kind 'sha256'"):
        get_file("a", "http://x/a", file_hash="0" * 32, hash_algorithm="sha256")
    (cache.net / "a").write_text("no archive")
    with pytest.raises(ValueError, match="is not an archive of the kind tar, zip"):
        get_file("a", "http://x/a", extract=True)
    with pytest.raises(ValueError, match="archive_format is"):
        get_file("a", "http://x/a", extract=True, archive_format="rar")
