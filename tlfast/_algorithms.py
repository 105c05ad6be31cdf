"""Which algorithm a convolution runs by: a table shipped with tlfast, or one measured here.

The rule in the core (Winograd's algorithm from 64 channels and 10 x 10 results on) is right for
most shapes; `algorithms.json` beside this file holds what was measured against it for the layers of
the seven networks, by instruction set and type. `tlfast bench --tune` measures this machine and
writes such a file to the cache folder, which is then used instead. Which one is in use decides
about the last bits of results; it never changes within a process, and `algorithm_choices` names
it.
"""

import functools
import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

from tlfast import _core
from tlfast._cache import cache_folder
from tlfast._warnings import TlfastWarning

FORMAT = 2
ISAS = ("base", "avx2", "avx512")
DTYPES = ("float32", "bfloat16")
USES = ("inference", "forward", "backward_data", "backward_weights")
SHIPPED = Path(__file__).with_name("algorithms.json")
MAX_BYTES, MAX_ENTRIES, MAX_SIZE = 1 << 20, 5_000, 1 << 20

Entry = tuple[str, str, int, int, int, int, bool]
"""Use, type, height and width of the result, channels in and out, Winograd or not."""


class TableError(ValueError):
    """A file is not a table of algorithms."""


def instruction_set() -> str:
    """Our loops' instruction set: "avx512", "avx2" or "base"; oneDNN's limit counts."""
    isa = _core.onednn_info()["isa"]
    return "avx512" if isa & 0x27 == 0x27 else "avx2" if isa & 0x7 == 0x7 else "base"


def tuned_file() -> Path:
    """Where `tlfast bench --tune` writes this machine's table."""
    return cache_folder() / f"algorithms-{instruction_set()}.json"


def table_file() -> Path:
    """The file in use: `TLFAST_ALGORITHMS`, this machine's own, or the shipped one."""
    named = os.environ.get("TLFAST_ALGORITHMS", "")
    if named == "shipped":
        return SHIPPED
    if named:
        return Path(named).expanduser()
    tuned = tuned_file()
    return tuned if tuned.exists() else SHIPPED


def read_table(path: Path, isa: str) -> list[Entry]:
    """The entries of a file for an instruction set.

    Raises:
        TableError: not such a file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise TableError(f"{path}: more than {MAX_BYTES} bytes")
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path}: not JSON: {error}") from error
    if not isinstance(parsed, dict) or parsed.get("format") != FORMAT:
        raise TableError(f"{path}: no table of algorithms of format {FORMAT}")
    rows = parsed.get("tables", {}).get(isa, []) if isinstance(parsed.get("tables"), dict) else None
    if not isinstance(rows, list) or len(rows) > MAX_ENTRIES:
        raise TableError(f"{path}: 'tables' maps an instruction set to at most {MAX_ENTRIES} rows")
    return [_entry(row, path) for row in rows]


def _entry(row: Any, path: Path) -> Entry:
    if not isinstance(row, list) or len(row) != 7:
        raise TableError(f"{path}: {row!r} is no list of seven")
    use, dtype, *sizes, winograd = row
    good = all(type(size) is int and 0 < size <= MAX_SIZE for size in sizes)
    known = use in USES and dtype in DTYPES
    if not known or not good or not isinstance(winograd, bool):
        raise TableError(
            f"{path}: {row!r}; a row is [use, type, height, width, in, out, true or false]"
        )
    return (use, dtype, *sizes, winograd)


def table_text(tables: dict[str, list[Entry]], facts: dict[str, str]) -> str:
    """A file's content: a row per line, so that changes are easy to read."""
    parts = [
        f'"{isa}": [\n   ' + ",\n   ".join(json.dumps(e) for e in sorted(entries)) + "\n  ]"
        for isa, entries in sorted(tables.items())
    ]
    return (
        f'{{"format": {FORMAT},\n "measured": {json.dumps(facts)},\n'
        ' "tables": {\n  ' + ",\n  ".join(parts) + "\n }}\n"
    )


@functools.cache
def algorithm_choices() -> str:
    """Give the core its table, once per process; returns the table's name and digest.

    A table of this machine that cannot be read is named in a warning, and the shipped one used.
    """
    path, isa = table_file(), instruction_set()
    try:
        entries = read_table(path, isa)
    except (OSError, TableError) as error:
        if os.environ.get("TLFAST_ALGORITHMS") or path == SHIPPED:
            raise
        warnings.warn(
            f"the table of algorithms of this machine is not used: {error}. "
            "`tlfast bench --tune` makes a new one",
            TlfastWarning, stacklevel=2,
        )  # fmt: skip
        path, entries = SHIPPED, read_table(SHIPPED, isa)
    _core.set_algorithms(entries)
    digest = hashlib.sha256(json.dumps(sorted(entries)).encode()).hexdigest()[:16]
    return f"{'shipped' if path == SHIPPED else 'tuned'}:{isa}:{digest}"
