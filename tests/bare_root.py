"""Runs both README commands word for word in a fresh Debian root: python tests/bare_root.py

    --suite bookworm      Debian release to install with debootstrap
    --mirror URL          where from (default: deb.debian.org)
    --order demo,tests    which commands, in which order, in one clone
    --wheel FILE          instead: installs this wheel where there is only Python and its venv, no
                          compiler, no libgomp, no libjpeg; then import, doctor, demo
    --env NAME            passes a variable of this environment on (proxies, pip's index)
    --copy PATH           copies a file or folder to the same place; certificates for pip as
                          /usr/local/share/ca-certificates, of which Debian makes its bundle
    --bind PATH           shows a folder at the same place, read-only (a folder of wheels)
    --root DIR            keeps the root there and uses it again; default: a temporary one

--env, --copy and --bind may be given several times.

Needs to be root, debootstrap, chroot and mount; changes nothing outside its own folder. The clone
is made with git from the commit checked out here. Exit status 0 when every command succeeded; with
--wheel the first that fails is the last.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".ci"))
from readme_command import readme_command  # noqa: E402


def run(*command: str | Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in command], check=True, **options)


def bootstrap(root: Path, suite: str, mirror: str) -> None:
    """A root with nothing but the package manager."""
    if not (root / "bin" / "bash").exists():
        run("debootstrap", "--variant=minbase", suite, root, mirror, stdout=subprocess.DEVNULL)
    # For names of hosts; debootstrap copies it too, but not where a root is used again.
    shutil.copyfile("/etc/resolv.conf", root / "etc" / "resolv.conf")


def mount(root: Path, binds: list[str], made: list[Path]) -> None:
    """Mounts what a program expects of a running system; made: in the order to undo."""
    for source in ("/proc", "/dev", *binds):
        target = root / source.lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", source, target)
        made.insert(0, target)
        if source in binds:
            run("mount", "-o", "remount,ro,bind", target)


def replace(source: str, target: str) -> str:
    """Copies a file's content; a link that stands at the target would lead out of the root."""
    Path(target).unlink(missing_ok=True)
    return shutil.copyfile(source, target)


def bring(root: Path, paths: list[str]) -> None:
    """Copies to the same place: what links lead to, and no links that lead nowhere."""
    for path in map(Path, paths):
        target = root / str(path).lstrip("/")
        if not path.exists():
            sys.exit(f"bare_root.py: --copy {path}: there is no such file or folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(
                path,
                target,
                copy_function=replace,
                dirs_exist_ok=True,
                ignore_dangling_symlinks=True,
            )
        else:
            replace(str(path), str(target))


def clone(root: Path) -> None:
    shutil.rmtree(root / "clone", ignore_errors=True)
    run("git", "clone", "-q", "--no-hardlinks", ROOT, root / "clone")


def wheel_commands(wheel: Path) -> list[tuple[str, str]]:
    """What somebody does who has Python and nothing else, in a folder with the wheel."""
    python = "apt-get update && apt-get install -y --no-install-recommends python3 python3-venv"
    install = f"rm -rf env && python3 -m venv env && env/bin/pip install './{wheel.name}[demo]'"
    # With one of these in the root, a wheel that lacks it would pass.
    bare = "! command -v gcc cc && ! ldconfig -p | grep -E 'libgomp|libjpeg|libpng|libdnnl'"
    commands = [("python", python), ("bare", bare), ("install", install)]
    commands += [("import", "env/bin/python -W error -c 'import tlfast'")]
    commands += [("doctor", "env/bin/tlfast doctor"), ("demo", "env/bin/tlfast demo")]
    # All that may be left: the cache folder, what the demo wrote where it was started, the wheel.
    left = "find / -xdev -name '*tlfast*' -not -path '/root/.cache/tlfast*'"
    left += " -not -path '/wheel/tlfast-*' -print"
    uninstall = f"env/bin/pip uninstall -y tlfast && {left} | tee /dev/stderr | wc -l | grep -qx 0"
    return [*commands, ("uninstall", uninstall)]


def run_inside(root: Path, folder: str, command: str, names: list[str]) -> int:
    """Runs one line of shell in a folder inside the root, with no standard input."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"HOME": "/root", "PATH": path, "LANG": "C.UTF-8"}
    environment["DEBIAN_FRONTEND"] = "noninteractive"
    environment |= {name: os.environ[name] for name in names if name in os.environ}
    line = f"cd /{folder} && {command}"
    return subprocess.run(
        ["chroot", str(root), "/bin/bash", "-c", line], env=environment, stdin=subprocess.DEVNULL
    ).returncode


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", default="bookworm")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--order", default="demo,tests")
    parser.add_argument("--wheel", type=Path)
    for name in ("--env", "--copy", "--bind"):
        parser.add_argument(name, action="append", default=[])
    parser.add_argument("--root", type=Path)
    options = parser.parse_args()
    if options.wheel:
        commands, folder = wheel_commands(options.wheel), "wheel"
    else:
        commands = [(name, readme_command(name)) for name in options.order.split(",")]
        folder = "clone"

    if os.geteuid() != 0:
        sys.exit("bare_root.py: chroot and mount need root")
    if shutil.which("debootstrap") is None:
        sys.exit("bare_root.py: apt-get install debootstrap")
    # So that a kill unmounts too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    root = options.root or Path(tempfile.mkdtemp(prefix="bare-root-"))
    results: list[tuple[str, int, float]] = []
    made: list[Path] = []
    try:
        started = time.perf_counter()
        bootstrap(root, options.suite, options.mirror)
        print(f"{options.suite} in {root}: {time.perf_counter() - started:.0f} s", flush=True)
        bring(root, options.copy)
        mount(root, options.bind, made)
        if options.wheel:
            (root / folder).mkdir(exist_ok=True)
            shutil.copy(options.wheel, root / folder)
        else:
            clone(root)
        for name, command in commands:
            print(f"\n$ {command}", flush=True)
            started = time.perf_counter()
            status = run_inside(root, folder, command, options.env)
            results.append((name, status, time.perf_counter() - started))
            if options.wheel and status != 0:
                break
    finally:
        for target in made:
            run("umount", target)
        if not options.root:
            shutil.rmtree(root)  # not reached where something is still mounted in it
    print()
    for name, status, seconds in results:
        print(f"{name}: {'passed' if status == 0 else f'FAILED, status {status}'}, {seconds:.0f} s")
    return int(any(status for _, status, _ in results))


if __name__ == "__main__":
    sys.exit(main())
