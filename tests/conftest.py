"""What every test shares: no network, a seeded generator, small folders of images, peers."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
# Where TensorFlow or PyTorch are not installed beside tlfast, these name a Python that has them.
PEER_PYTHONS = {"keras": "TLFAST_PEER_KERAS", "torch": "TLFAST_PEER_TORCH"}
_CONNECTS = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex")}


def pytest_collection_modifyitems(config, items):
    for item in items:
        mark = item.get_closest_marker("peer")
        for peer in mark.args if mark else ():
            if peer_python(peer) is None:
                variable = PEER_PYTHONS[peer]
                reason = f"no {peer} beside tlfast; {variable}=PYTHON names one that has it"
                item.add_marker(pytest.mark.skip(reason=reason))


def peer_python(peer: str) -> str | None:
    """The Python that can import a peer: this one, or the one an environment variable names."""
    if importlib.util.find_spec(peer):
        return sys.executable
    return os.environ.get(PEER_PYTHONS[peer])


@pytest.fixture
def run_peer():
    """run_peer("keras", code) runs code in the peer's own process and returns what it prints."""

    def run(peer: str, code: str, timeout: float = 300) -> str:
        command = [peer_python(peer), "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(autouse=True)
def no_network(request, monkeypatch):
    """Every connection fails, except to this machine in tests marked `loopback`."""
    loopback = request.node.get_closest_marker("loopback") is not None

    def guarded(connect):
        def checked(self, address):
            if self.family == socket.AF_UNIX:
                return connect(self, address)
            if loopback and address[0] in ("127.0.0.1", "::1", "localhost"):
                return connect(self, address)
            allowed = "only to 127.0.0.1" if loopback else "not at all: mark it `loopback`"
            raise AssertionError(f"a test connects to {address}; this one may {allowed}")

        return checked

    for name, connect in _CONNECTS.items():
        monkeypatch.setattr(socket.socket, name, guarded(connect))


@pytest.fixture(autouse=True)
def no_seed_left_behind():
    """What `set_random_seed` sets for the whole process ends with the test that called it."""
    yield
    if module := sys.modules.get("tlfast.data._random"):
        module._GlobalSeed.seed = module._GlobalSeed.stream = None


@pytest.fixture(autouse=True)
def no_spelling_said_before():
    """Warnings that a process gives once are given once per test."""
    for name, once in (("tlfast._keras2", "_said"), ("tlfast._targets", "_told")):
        if module := sys.modules.get(name):
            getattr(module, once).clear()


@pytest.fixture
def memory_path():
    """A folder in memory where there is one, for tests that put thousands of files on the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def rng(request):
    """A generator whose seed depends on the test's name; TLFAST_TEST_SEED sets another one."""
    default = zlib.crc32(request.node.name.encode())
    seed = int(os.environ.get("TLFAST_TEST_SEED", default))
    request.node.add_report_section("setup", "seed", f"repeat with TLFAST_TEST_SEED={seed}")
    return np.random.default_rng(seed)


def smooth_image(rng, height: int, width: int, channels: int = 3) -> np.ndarray:
    """uint8 (H, W, C): a few waves and some noise, compressible and not symmetric."""
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for _ in range(channels):
        a, b, phase = rng.uniform(0.02, 0.2, 3)
        planes.append(127 + 90 * np.sin(a * x + b * y + 30 * phase))
    noise = rng.normal(0, 4, (height, width, channels))
    return np.clip(np.stack(planes, -1) + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def image_tree(tmp_path, rng):
    """image_tree(classes=("cat", "dog"), per_class=4, ...) makes DIR/<class>/NNN.jpg|png.

    The classes differ in brightness, so that a head on any features can learn them. Returns DIR.
    """
    from PIL import Image

    def make(
        classes=("cat", "dog"),
        per_class=4,
        size=(40, 48),
        formats=("jpg", "png"),
        mode="RGB",
        folder="images",
    ) -> Path:
        top = tmp_path / folder
        for index, name in enumerate(classes):
            (top / name).mkdir(parents=True)
            for number in range(per_class):
                height, width = (s + int(rng.integers(0, 9)) for s in size)
                pixels = smooth_image(rng, height, width) // 2 + index * (127 // len(classes))
                ending = formats[number % len(formats)]
                image = Image.fromarray(pixels.astype(np.uint8)).convert(mode)
                image.save(top / name / f"{number:03d}.{ending}", quality=92)
        return top

    return make


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """A copy of the project's own files without anything built."""
    top = tmp_path_factory.mktemp("clone")
    for name in ("csrc", "tlfast"):
        unbuilt = shutil.ignore_patterns("*.so", "*.so.*", "__pycache__", "onednn-*")
        shutil.copytree(ROOT / name, top / name, ignore=unbuilt)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, top / name)
    return top
