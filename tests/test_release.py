"""The release command and the bare root: what can be checked without building a wheel."""

import importlib.util
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from conftest import ROOT


def load(path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / ".ci"), *sys.path])
    spec = importlib.util.spec_from_file_location(f"tlfast_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def release(monkeypatch):
    return load(ROOT / ".ci" / "release.py", monkeypatch)


@pytest.fixture
def bare_root(monkeypatch):
    return load(ROOT / "tests" / "bare_root.py", monkeypatch)


def test_the_tag_is_what_setup_py_builds(release, monkeypatch):
    """pyproject's oldest Python, the limited API and the licence that the wheel's replaces."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    build = load(ROOT / "setup.py", monkeypatch)
    oldest = project["requires-python"].removeprefix(">=3.")
    assert build.STABLE_ABI == f"cp3{oldest}"
    assert int(build.STABLE_ABI_HEX, 16) >> 16 == 0x300 + int(oldest)
    assert release.LICENCE.startswith(project["license"] + " AND ")


@pytest.mark.skipif(
    not all(map(shutil.which, ("dpkg", "gcc", "dpkg-query"))), reason="no Debian with GCC"
)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("libjpeg-turbo", ["Independent JPEG Group", "libjpeg"]),
        ("libpng", ["The PNG Reference Library Authors", "libpng16"]),
        ("libgomp", ["GCC RUNTIME LIBRARY EXCEPTION", "TERMS AND CONDITIONS", "libgomp.so.1"]),
    ],
)
def test_licence_texts(release, name, words):
    text = release.licence_text(release.GRAFTED[name])
    assert "https://snapshot.debian.org/package/" in text.splitlines()[1]
    for word in words:
        assert word in text


@pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf (binutils)")
def test_linked_reads_the_extension(release):
    import tlfast._core

    needed, _ = release.linked(tlfast._core.__file__)
    assert {"libc.so.6", "libm.so.6"} <= needed


def wheel_with(tmp_path, *names):
    wheel = tmp_path / "tlfast-0-cp311-abi3-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return wheel


def test_a_grafted_library_without_a_licence_stops_the_release(release, monkeypatch, tmp_path):
    monkeypatch.setattr(release, "WORK", tmp_path)
    wheel = wheel_with(tmp_path, "tlfast.libs/libgomp-1.so.1", "tlfast.libs/libfoo-1.so.1")
    with pytest.raises(SystemExit, match="auditwheel grafted .*libfoo-1.so.1"):
        release.check_libraries(wheel)


def test_a_missing_program_and_a_failing_one_stop_with_a_sentence(release):
    with pytest.raises(SystemExit, match="no-such-program is not installed; .* Debian 12"):
        release.run("no-such-program")
    with pytest.raises(SystemExit, match="(?s)gave status 3:.*the reason"):
        release.run(sys.executable, "-c", "import sys; print('the reason'); sys.exit(3)")


def test_sizes_over_a_limit_stop_the_release(release, monkeypatch, tmp_path, capsys):
    (tmp_path / "a.whl").write_bytes(b"0" * 100)
    monkeypatch.setattr(release, "installed_sizes", lambda wheel: {"tlfast 1": 50, "numpy 2": 70})
    monkeypatch.setattr(release, "WHEEL_LIMIT", 99)
    with pytest.raises(SystemExit, match="wheel is larger than"):
        release.check_sizes(tmp_path / "a.whl", tmp_path / "a.whl")
    assert "all together" in capsys.readouterr().out


def test_bring_copies_what_links_lead_to(bare_root, tmp_path):
    certificates, root = tmp_path / "certs", tmp_path / "root"
    certificates.mkdir()
    (tmp_path / "real.pem").write_text("new")
    (certificates / "a.pem").symlink_to(tmp_path / "real.pem")
    (certificates / "gone.pem").symlink_to(tmp_path / "nowhere")
    # In a root that is used again, links lead out of it.
    outside = tmp_path / "outside.pem"
    outside.write_text("of this system")
    inside = root / str(certificates).lstrip("/")
    inside.mkdir(parents=True)
    (inside / "a.pem").symlink_to(outside)
    bare_root.bring(root, [str(certificates)])
    assert [path.name for path in inside.iterdir()] == ["a.pem"]
    assert (inside / "a.pem").read_text() == "new" and not (inside / "a.pem").is_symlink()
    assert outside.read_text() == "of this system"


def test_bring_names_what_is_not_there(bare_root, tmp_path):
    with pytest.raises(SystemExit, match="--copy .*absent: there is no such file or folder"):
        bare_root.bring(tmp_path, [str(tmp_path / "absent")])


def test_what_is_tried_with_a_wheel(bare_root, tmp_path):
    wheel = wheel_with(tmp_path, "tlfast/cli.py")
    commands = dict(bare_root.wheel_commands(wheel))
    assert list(commands) == [
        "python", "bare", "install", "import", "doctor", "demo", "uninstall",
    ]  # fmt: skip
    assert wheel.name in commands["install"]
    for command in commands.values():
        subprocess.run(["bash", "-n", "-c", command], check=True)
