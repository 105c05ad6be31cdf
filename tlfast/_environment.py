"""Every environment variable that tlfast, its build or its tests look at, in one table.

`tlfast doctor` prints which of them are set; docs/environment.md shows the whole table, between its
two marks, as `python -m tlfast._environment docs/environment.md` writes it.
"""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

_BEGIN, _END = "<!-- table -->", "<!-- end of table -->"


@dataclass(frozen=True)
class Variable:
    """One environment variable.

    Args:
        name: as it is written in the environment.
        meaning: what a value does.
        default: what holds where it is not set.
    """

    name: str
    meaning: str
    default: str


GROUPS: dict[str, tuple[Variable, ...]] = {
    "Folders and files": (
        Variable("TLFAST_CACHE_DIR", "folder for everything tlfast keeps on disk",
                 "`$XDG_CACHE_HOME/tlfast`"),
        Variable("XDG_CACHE_HOME", "folder of the caches of all programs, an absolute path",
                 "`~/.cache`"),
        Variable("TLFAST_CACHE_MEMORY", "MB of memory for the outputs of the frozen layers of one "
                 "data set; what does not fit goes to the cache folder, 0: all of it",
                 "a quarter of what is available"),
        Variable("TLFAST_ALGORITHMS", "table of the convolutions' algorithms, as `tlfast bench "
                 "--tune` writes it; `shipped`: the one in the package",
                 "this machine's in the cache folder, or the one in the package"),
        Variable("TLFAST_DNNL", "path of another libdnnl.so.3 (oneDNN 3.2 or later, OpenMP build)",
                 "the one in the package"),
    ),
    "Pretrained weights": (
        Variable("TLFAST_WEIGHTS_DIR", "folder with weight files, looked at first; trusted by "
                 "file name", "none"),
        Variable("KERAS_HOME", "Keras' folder; weights are looked for and stored in its `models`",
                 "`~/.keras`"),
        Variable("TLFAST_WEIGHTS_URL", "mirror: files are downloaded from `URL/FILE`",
                 "the official addresses"),
        Variable("TLFAST_OFFLINE", "1: nothing is ever downloaded", "0"),
        Variable("https_proxy", "proxy for downloads", "none"),
        Variable("http_proxy", "the same for http addresses", "none"),
        Variable("no_proxy", "hosts asked without a proxy", "none"),
        Variable("SSL_CERT_FILE", "file with certificates for downloads", "the system's"),
        Variable("SSL_CERT_DIR", "folder with certificates", "the system's"),
        Variable("REQUESTS_CA_BUNDLE", "certificates, where SSL_CERT_FILE is not set",
                 "the system's"),
        Variable("CURL_CA_BUNDLE", "the same, looked at last", "the system's"),
    ),
    "Threads and instruction sets": (
        Variable("OMP_NUM_THREADS", "threads that compute; `tlfast.set_num_threads` overrides it",
                 "processors by affinity and container quota"),
        Variable("OMP_THREAD_LIMIT", "OpenMP gives no more threads than this", "no limit"),
        Variable("OMP_DYNAMIC", "without effect: tlfast asks for a team of fixed size", "false"),
        Variable("ONEDNN_MAX_CPU_ISA", "most recent instruction set oneDNN and tlfast's own loops "
                 "may use: SSE41, AVX, AVX2, AVX512_CORE, ...", "what the CPU has"),
        Variable("ONEDNN_DEFAULT_FPMATH_MODE", "without effect: tlfast computes in float32",
                 "strict"),
        Variable("ONEDNN_VERBOSE", "1: oneDNN prints every primitive it runs", "0"),
    ),
    "Output": (
        Variable("PYCHARM_HOSTED", "set by PyCharm: progress is redrawn in place", "not set"),
    ),
    "Building tlfast": (
        Variable("CC", "the compiler: a GCC with OpenMP", "the one Python was built with"),
        Variable("TLFAST_DEBUG", "1: -O0 -g and assertions", "0"),
        Variable("TLFAST_SANITIZE", "sanitizers, such as `address,undefined`", "none"),
        Variable("TLFAST_WERROR", "1: warnings of the compiler are errors", "0"),
    ),
    "Testing tlfast": (
        Variable("TLFAST_PEER_KERAS", "a Python that has TensorFlow and Keras",
                 "the Python of the tests"),
        Variable("TLFAST_PEER_TORCH", "a Python that has PyTorch", "the Python of the tests"),
        Variable("TLFAST_TEST_SEED", "seed of the tests' generators; a failing test prints its own",
                 "one per test"),
        Variable("TLFAST_TEST_VALGRIND", "valgrind's command: runs the programs of tests/c in it",
                 "not run in it"),
        Variable("TLFAST_SANITIZED", "set by tests/run_matrix.py in the runs under a sanitizer",
                 "not set"),
        Variable("TLFAST_WRITE_ERRORS", "1: writes the files of tests/errors again", "compares"),
    ),
}  # fmt: skip


def names() -> list[str]:
    """The name of every variable, in the table's order."""
    return [variable.name for group in GROUPS.values() for variable in group]


def set_now() -> dict[str, str]:
    """The variables that are set in this process, and their values; passwords of addresses are
    left out, because people paste this into bug reports."""
    values = {name: os.environ[name] for name in names() if name in os.environ}
    return {name: re.sub(r"//[^/@]*@", "//...@", value) for name, value in values.items()}


def markdown() -> str:
    """The table as docs/environment.md shows it."""
    lines: list[str] = []
    for group, variables in GROUPS.items():
        lines += [f"### {group}", "", "| variable | meaning | default |", "|---|---|---|"]
        lines += [f"| `{v.name}` | {v.meaning} | {v.default} |" for v in variables]
        lines.append("")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """A page whose part between the two marks is the table."""
    before, rest = page.split(_BEGIN)
    return f"{before}{_BEGIN}\n{markdown()}{_END}{rest.split(_END)[1]}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text()))
