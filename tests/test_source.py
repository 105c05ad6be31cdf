"""Rules about the source itself: who includes whom, what C may call, what is exported."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from conftest import ROOT

CSRC = ROOT / "csrc"
C_FILES = sorted(p for p in CSRC.rglob("*") if p.suffix in (".c", ".h", ".def"))
# A folder may include itself and what stands before it in one of its chains.
CHAINS = (
    ("base", "image", "data"),
    ("base", "graph", "ops", "plan", "train"),
    ("base", "kernels", "ops", "plan", "train"),
)
MAX_LINES = 700


def code(path) -> str:
    """A file's text without comments and string contents; line breaks stay."""
    pattern = r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"

    def blank(match):
        keep = '""' if match[0][0] == '"' else " "
        return keep + "\n" * match[0].count("\n")

    return re.sub(pattern, blank, path.read_text(), flags=re.DOTALL)


def places(pattern, files, text=code):
    """["file:line: match", ...] of a pattern."""
    found = []
    for path in files:
        source = text(path)
        for match in re.finditer(pattern, source):
            line = source.count("\n", 0, match.start()) + 1
            found.append(f"{path.relative_to(ROOT)}:{line}: {match[0].strip()}")
    return found


def raw(path) -> str:
    return path.read_text()


def test_the_folders_are_the_data_flow():
    allowed = {}
    for chain in CHAINS:
        for position, folder in enumerate(chain):
            allowed.setdefault(folder, set()).update(chain[: position + 1])
    wrong = []
    for path in C_FILES:
        folder = path.relative_to(CSRC).parts[0]
        if folder == "python" or path.parent == CSRC:
            continue
        assert folder in allowed, f"{path.relative_to(ROOT)}: no rule for csrc/{folder}"
        for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.MULTILINE):
            target = (CSRC / name) if (CSRC / name).exists() else (path.parent / name).resolve()
            assert target.exists(), f"{path.relative_to(ROOT)} includes {name}, which is not there"
            other = target.relative_to(CSRC).parts[0]
            if other != "tl.h" and other not in allowed[folder]:
                wrong.append(f"{path.relative_to(ROOT)} includes {name}")
    assert not wrong, "\n".join(wrong)


def test_only_the_binding_knows_python():
    core = [p for p in C_FILES if p.relative_to(CSRC).parts[0] != "python"]
    assert core
    assert not places(r"#\s*include\s+[<\"](Python|numpy/).*", core, text=raw)


def test_the_core_never_prints_or_ends_the_process():
    calls = r"\b(v?f?printf|puts|putchar|perror|abort|_?exit|quick_exit)\s*\("
    assert not places(calls, C_FILES)


def test_setjmp_stays_with_the_decoders():
    decoders = {CSRC / "image" / "jpeg.c", CSRC / "image" / "png.c"}
    others = [p for p in C_FILES if p not in decoders]
    assert not places(r"\b(sig)?(setjmp|longjmp)\s*\(", others)


def test_checked_allocation_only():
    """malloc and its kin are called in base/ alone; everything else goes through alloc.h."""
    others = [p for p in C_FILES if p.relative_to(CSRC).parts[0] not in ("base", "python")]
    assert not places(r"\b(malloc|calloc|realloc|strdup)\s*\(", others)


def test_no_notes_to_self():
    files = [*C_FILES, *sorted((ROOT / "tlfast").rglob("*.py")), *sorted(ROOT.glob("*.py"))]
    words = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X"))
    assert not places(rf"\b({words})\b", files, text=raw)


def test_no_return_without_the_lock():
    """Between Py_BEGIN_ALLOW_THREADS and its end nothing leaves the function."""
    wrong = []
    for path in sorted((CSRC / "python").glob("*.c")):
        source = code(path)
        blocks = re.findall(
            r"Py_BEGIN_ALLOW_THREADS(.*?)Py_END_ALLOW_THREADS", source, flags=re.DOTALL
        )
        assert len(blocks) == source.count("Py_BEGIN_ALLOW_THREADS"), path.name
        wrong += [path.name for block in blocks if re.search(r"\b(return|goto)\b|\bPy[A-Z]", block)]
    assert not wrong


def test_exported_symbols():
    """The extension exports PyInit__core and nothing else."""
    if shutil.which("nm") is None:
        pytest.skip("no nm (binutils)")
    import tlfast._core

    command = ["nm", "-D", "--defined-only", "--extern-only", tlfast._core.__file__]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1].split("@")[0] for line in listed.splitlines()}
    assert names - {"_init", "_fini"} == {"PyInit__core"}


def test_the_extension_does_not_link_onednn():
    """It opens the copy beside it by its path, so that no other library can take its place."""
    if shutil.which("readelf") is None:
        pytest.skip("no readelf (binutils)")
    import tlfast._core

    command = ["readelf", "-d", tlfast._core.__file__]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"NEEDED.*\[(.*)\]", listed)
    assert any(name.startswith("libc.so") for name in needed), listed
    assert not [name for name in needed if "dnnl" in name]


def test_file_length():
    python = [p for part in ("tlfast", "tests", "benchmarks") for p in (ROOT / part).rglob("*.py")]
    lengths = {p.relative_to(ROOT): p.read_text().count("\n") for p in [*C_FILES, *python]}
    longest = sorted(lengths.items(), key=lambda item: -item[1])[:5]
    print("longest files:", ", ".join(f"{path} {lines}" for path, lines in longest))
    assert not {str(p): n for p, n in lengths.items() if n > MAX_LINES}


def test_licences_travel_with_the_package():
    from importlib.metadata import distribution

    files = distribution("tlfast").files
    licences = {file.name: file.read_text() for file in files if "licenses" in file.parts}
    assert "Apache License" in licences["LICENSE"]
    assert "Apache License" in licences["onednn-LICENSE"]
    assert len(licences["onednn-THIRD-PARTY-PROGRAMS"]) > 10_000
    third_party = licences["THIRD-PARTY.txt"]
    for name in ("oneDNN", "libjpeg-turbo", "libpng", "libgomp", "GCC-exception-3.1"):
        assert name in third_party


def test_onednn_lies_beside_the_extension_and_is_stripped():
    import tlfast._core

    assert Path(tlfast._core.__file__).with_name("libdnnl.so.3").stat().st_size < 50e6


def test_the_extension_serves_later_pythons():
    """It uses the limited API only; the release command asks abi3audit about every symbol."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("the free-threaded Python has no stable ABI")
    if shutil.which("nm") is None:
        pytest.skip("no nm (binutils)")
    import tlfast._core

    assert tlfast._core.__file__.endswith(".abi3.so")
    command = ["nm", "-D", "--undefined-only", tlfast._core.__file__]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    private = set(re.findall(r"\b_Py\w+", listed))
    # What the macros of the limited API expand to; it promises these names too.
    allowed = {"_Py_Dealloc", "_Py_NoneStruct", "_Py_TrueStruct", "_Py_FalseStruct"}
    allowed |= {"_PyArg_ParseTuple_SizeT", "_PyArg_ParseTupleAndKeywords_SizeT"}
    assert private <= allowed | {"_Py_BuildValue_SizeT"}
    assert "PyType_GetModuleState" in listed


def test_core_compiles_without_python():
    """csrc without python/ needs no header of Python or NumPy: the core stands alone."""
    from importlib.metadata import PackageNotFoundError, distribution

    compiler = (sysconfig.get_config_var("CC") or "gcc").split()
    if shutil.which(compiler[0]) is None:
        pytest.skip("no compiler")
    try:
        files = distribution("onednn-devel-cpu-gomp").files
    except PackageNotFoundError:
        pytest.skip("the oneDNN headers are only in pip's build environment")
    header = next(str(f.locate()) for f in files if str(f).endswith("oneapi/dnnl/dnnl.h"))
    include = header.removesuffix("oneapi/dnnl/dnnl.h")
    sources = [str(p) for p in sorted(CSRC.rglob("*.c")) if p.parent.name != "python"]
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-fopenmp", "-fsyntax-only", "-Werror", "-Wall"]
    command = [*compiler, *flags, f"-I{CSRC}", "-isystem", include, *sources]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
