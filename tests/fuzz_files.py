"""Damaged files for every reader: `python tests/fuzz_files.py --seconds 300 --seed 1`.

A file may be refused with FormatError, or loaded; what is loaded must be consistent, and small
models must predict. Anything else is a finding: another exception, a crash, more than 5 s of
processor time, more than 512 MB. Findings are kept as files. A mutant is the same for the same
seed, reader and number; `--reader NAME --first NUMBER --count 1` makes one again.
"""

import argparse
import gc
import json
import math
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import file_mutators
import numpy as np
from hostile_files import FILES, members, packed
from hostile_files import TORCH as TORCH_SAMPLE

SECONDS = 5  # of processor time for one mutant
WALL = 120.0  # seconds without a word of a worker: it waits for something
MEGABYTES = 512
LARGE = 1_000_000  # values; models with more are not asked to predict


@dataclass(frozen=True)
class Reader:
    """A way in.

    Attributes:
        samples: function that returns the files to damage.
        mutators: the kinds of damage.
        read: function from (path, content) to a model or None.
    """

    samples: Callable[[], list[bytes]]
    mutators: list[file_mutators.Mutator]
    read: Callable[[Path, bytes], Any]


# ---- the readers


@cache
def _tlfast_files() -> dict[str, bytes]:
    """Small models as tlfast writes them, with a record and a trained optimizer."""
    from tlfast import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.Add()([keras.layers.ReLU()(x), x * 0.5])
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(x))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.zeros((4, 6, 6, 3), "f4"), np.array([0, 1, 0, 1]), verbose=0)
    model.class_names = ["cat", "dog"]
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("m.keras", "m.h5", "w.weights.h5", "w.h5"):
            path = Path(folder) / name
            (model.save if name[0] == "m" else model.save_weights)(path)
            files[name] = path.read_bytes()
    parts = members(files["m.keras"])
    stored = json.loads(parts["metadata.json"]) | {"date_saved": "2026-01-01@00:00:00"}
    files["m.keras"] = packed({**parts, "metadata.json": json.dumps(stored).encode()})
    files["json"] = model.to_json().encode()
    return files


def _sample(name: str) -> bytes:
    return (FILES / name).read_bytes()


@cache
def _model(name: str) -> Any:
    """A model that weights are loaded into, again and again."""
    from tlfast.saving import load_model

    if name in ("m.keras", "w.h5"):
        with tempfile.NamedTemporaryFile(suffix=".keras") as file:
            file.write(_tlfast_files()["m.keras"])
            file.flush()
            return load_model(file.name)
    return load_model(FILES / name)


def _load_model(path: Path, data: bytes) -> Any:
    from tlfast.saving import load_model

    path.write_bytes(data)
    return load_model(path)


def _load_weights(name: str, **options: Any) -> Callable[[Path, bytes], Any]:
    def read(path: Path, data: bytes) -> Any:
        path.write_bytes(data)
        _model(name).load_weights(path, **options)
        return _model(name)

    return read


def _read_hdf5(path: Path, data: bytes) -> None:
    """Everything that the file holds, asked for or not."""
    from tlfast.saving.hdf5_read import Dataset, File, Group

    def visit(group: Group) -> None:
        for name in group.attrs:
            group.attrs.get(name)
        for name in group.keys():
            found = group.get(name)
            if isinstance(found, Dataset):
                assert found.read().shape == found.shape
                for attribute in found.attrs:
                    found.attrs.get(attribute)
            elif found is not None:
                visit(found)

    with File(data, "mutant") as file:
        visit(file.root)


def _read_torch(path: Path, data: bytes) -> None:
    from tlfast.weights.torch_file import read_torch_file

    path.write_bytes(data)
    for array in read_torch_file(path).values():
        assert array.flags.owndata


def _read_json(path: Path, data: bytes) -> Any:
    from tlfast.models import model_from_json

    return model_from_json(data.decode("utf-8", "surrogateescape"))


@cache
def _states() -> list[bytes]:
    """A training stored inside an epoch and between two."""
    files = []
    for save_freq in (2, 3):
        with tempfile.TemporaryDirectory() as folder:
            _training(Path(folder), epochs=2, save_freq=save_freq)
            files.append(Path(folder, "latest.tlfast").read_bytes())
    return files


def _training(folder: Path, epochs: int, save_freq: int) -> Any:
    """A fit with what stores a state of its own; it goes on where the state in the folder is."""
    from tlfast import keras
    from tlfast.data import Dataset

    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    hidden = keras.layers.Dropout(0.5)(keras.layers.Dense(4)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", "AUC"])
    x, y = np.ones((6, 3), "f4"), np.array([0.0, 1] * 3)
    data = Dataset.from_tensor_slices((x, y)).shuffle(4).batch(2)
    callbacks = [
        keras.callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("loss"),
        keras.callbacks.CSVLogger(folder / "log.csv"),
        keras.callbacks.BackupAndRestore(folder, save_freq, delete_checkpoint=False),
    ]
    model.fit(data, validation_data=(x, y), epochs=epochs, verbose=0, callbacks=callbacks)
    return model


def _resume(path: Path, data: bytes) -> Any:
    from tlfast.saving import FormatError

    folder = path.with_suffix(".state")
    folder.mkdir(exist_ok=True)
    (folder / "latest.tlfast").write_bytes(data)
    try:
        return _training(folder, epochs=3, save_freq=100)
    except ValueError as error:
        if " is another one, so this one cannot go on" not in str(error):
            raise
        raise FormatError("refused by its fingerprint") from error


def _packed_hdf5() -> list[bytes]:
    """Chunks, filters, and groups in the compact form of newer files."""
    import h5py

    files = []
    for libver in ("earliest", "v108"):
        with h5py.File("m", "w", driver="core", backing_store=False, libver=libver) as file:
            data = np.arange(3000, dtype="f4").reshape(30, 100)
            options = {"compression": 4, "shuffle": True}
            file.create_dataset("a", data=data, chunks=data.shape, **options)
            if libver == "earliest":
                file.create_dataset("b", data=data, chunks=(7, 30), **options)
                file.create_dataset("c", data=data, chunks=(10, 100), fletcher32=True)
            for i in range(6):
                file.attrs[f"name{i}"] = ["x" * i, "y"]
                file.create_group(f"group{i}")["v"] = np.arange(i)
            file.flush()
            files.append(file.id.get_file_image())
    return files


READERS = {
    "keras": Reader(
        lambda: [_sample("keras3.keras"), _tlfast_files()["m.keras"]],
        file_mutators.ARCHIVE, _load_model,
    ),
    "h5": Reader(
        lambda: [_sample("keras3_legacy.h5"), _tlfast_files()["m.h5"]],
        file_mutators.OLD, _load_model,
    ),
    "weights": Reader(
        lambda: [_sample("keras3.weights.h5"), members()["model.weights.h5"]],
        file_mutators.HDF5, _load_weights("keras3.keras"),
    ),
    "weights-old": Reader(
        lambda: [_tlfast_files()["w.h5"], _tlfast_files()["m.h5"]],
        file_mutators.OLD, _load_weights("w.h5", by_name=True),
    ),
    "weights-skip": Reader(
        lambda: [_sample("keras3.keras"), _sample("keras3.weights.h5")],
        file_mutators.RAW, _load_weights("keras3.keras", skip_mismatch=True),
    ),
    "hdf5": Reader(_packed_hdf5, file_mutators.HDF5, _read_hdf5),
    "torch": Reader(lambda: [TORCH_SAMPLE], file_mutators.TORCH, _read_torch),
    "state": Reader(_states, file_mutators.STATE, _resume),
    "json": Reader(
        lambda: [_tlfast_files()["json"], members()["config.json"]],
        file_mutators.JSON, _read_json,
    ),
}  # fmt: skip


def mutant(reader: str, seed: int, number: int) -> bytes:
    """The content of one damaged file."""
    rng = np.random.default_rng([seed, zlib.crc32(reader.encode()), number])
    entry = READERS[reader]
    samples = _samples(reader)
    data = file_mutators.pick(rng, entry.mutators)(file_mutators.pick(rng, samples), rng)
    # Now and then two kinds of damage; only bytes, because the others need whole files.
    return file_mutators.some_bytes(data, rng) if data and rng.random() < 0.1 else data


@cache
def _samples(reader: str) -> list[bytes]:
    return READERS[reader].samples()


# ---- one mutant


def outcome(reader: str, data: bytes, path: Path, use: bool = True) -> str:
    """Read one file: "refused", "loaded", "predicted" or "not computed"; findings raise."""
    from tlfast.saving import FormatError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = READERS[reader].read(path, data)
        except FormatError as exc:
            assert str(exc) and "\x1b" not in str(exc) and len(str(exc)) < 2500, str(exc)
            return "refused"
        return "loaded" if model is None or not use else _use(model)


def _use(model: Any) -> str:
    for layer in model._flatten_layers():
        for variable in layer.weights:
            if variable.size < LARGE:
                assert variable.numpy().shape == variable.shape, variable.path
    model.to_json()
    assert model.class_names is None or all(isinstance(n, str) for n in model.class_names)
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert "\x1b" not in "".join(lines)
    shapes = [x.shape for x in model.inputs] if model.built else []
    tensors = [t for node in model._require_graph().nodes for t in node.output_tensors]
    sizes = [math.prod(n or 1 for n in t.shape) for t in tensors if t.shape]
    if not shapes or max(sizes) > LARGE or model.count_params() > LARGE:
        return "loaded"
    arrays = [np.zeros([2, *(4 if n is None else n for n in shape[1:])], "f4") for shape in shapes]
    try:
        model.predict(arrays if len(arrays) > 1 else arrays[0], verbose=0)
    except (ValueError, NotImplementedError):  # documented: shapes and layers that do not go
        return "not computed"
    return "predicted"


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) << 10
    raise OSError(f"no {key} in /proc/self/status")


def work(readers: list[str], seed: int, first: int, count: int, seconds: float) -> None:
    """Read mutants and print a line before and after each; the parent watches."""
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant"
        for reader in readers:  # imports, and what is kept from call to call
            for sample in _samples(reader):
                outcome(reader, sample, path)
        for index in range(first * len(readers), (first + count) * len(readers)):
            if time.monotonic() > end:
                break
            reader, number = readers[index % len(readers)], index // len(readers)
            print(json.dumps({"start": [reader, number]}), flush=True)
            line = _measured(reader, mutant(reader, seed, number), path)
            print(json.dumps(line), flush=True)
            if index % 100 == 0:
                gc.collect()  # models hold addresses and are freed late
    print(json.dumps({"end": True}), flush=True)


def _measured(reader: str, data: bytes, path: Path) -> dict[str, Any]:
    """The outcome under limits of memory and time, and what it took."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before, start = _status("VmRSS"), time.process_time()
    unlimited = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + (MEGABYTES << 20), unlimited[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal ends the process
    try:
        found = outcome(reader, data, path)
    except BaseException as exc:
        found = f"{type(exc).__name__}: {exc}"[:300]
    signal.setitimer(signal.ITIMER_PROF, 0)
    resource.setrlimit(resource.RLIMIT_AS, unlimited)
    peak = _status("VmHWM") - before
    if peak > MEGABYTES << 20:
        found = f"memory: {peak >> 20} MB"
    return {"done": found, "seconds": time.process_time() - start, "bytes": peak}


# ---- the campaign

GOOD = ("refused", "loaded", "predicted", "not computed")


class Report:
    """Counts by reader, the slowest and the largest mutant, and the findings."""

    def __init__(self, readers: list[str], seed: int, folder: Path) -> None:
        self.counts = {reader: dict.fromkeys(GOOD, 0) for reader in readers}
        self.worst = {"seconds": (0.0, "none"), "bytes": (0.0, "none")}
        self.findings: list[str] = []
        self.seed = seed
        self.folder = folder

    def add(self, reader: str, number: int, line: dict[str, Any]) -> None:
        for key, (worst, _) in self.worst.items():
            if line.get(key, 0) > worst:
                self.worst[key] = (line[key], f"{reader} {number}")
        if line["done"] in GOOD:
            self.counts[reader][line["done"]] += 1
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{reader}-{self.seed}-{number}"
        path.write_bytes(mutant(reader, self.seed, number))
        self.findings.append(f"{reader} {number}: {line['done']} ({path})")
        print(self.findings[-1], flush=True)

    def show(self) -> None:
        total = 0
        for reader, counts in self.counts.items():
            total += sum(counts.values())
            parts = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
            print(f"{reader:13} {sum(counts.values()):7} mutants: {parts}")
        seconds, slow = self.worst["seconds"]
        size, large = self.worst["bytes"]
        print(
            f"{total} mutants, seed {self.seed}: {len(self.findings)} findings; slowest "
            f"{seconds:.2f} s ({slow}), largest {size / 1e6:.0f} MB ({large})"
        )


def run(options: argparse.Namespace) -> int:
    """Run workers until the time or the count is over; returns the exit status."""
    readers = options.reader or list(READERS)
    report = Report(readers, options.seed, options.out)
    end = time.monotonic() + options.seconds
    first, last = options.first, options.first + options.count
    while first < last and time.monotonic() < end:
        first = _one_worker(readers, options.seed, first, last, end, report)
    report.show()
    return 1 if report.findings else 0


def _one_worker(
    readers: list[str], seed: int, first: int, last: int, end: float, report: Report
) -> int:
    """Watch one worker; returns the number to go on with after it died."""
    command = [sys.executable, __file__, "--work", "--seed", str(seed), "--first", str(first)]
    command += ["--count", str(last - first), "--seconds", str(end - time.monotonic())]
    command += [word for reader in readers for word in ("--reader", reader)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    at: tuple[str, int] | None = None
    signal.signal(signal.SIGALRM, lambda *_: worker.kill())
    try:
        while True:
            signal.setitimer(signal.ITIMER_REAL, WALL)
            text = worker.stdout.readline()
            signal.setitimer(signal.ITIMER_REAL, 0)
            line = json.loads(text) if text else {}
            if "start" in line:
                at = tuple(line["start"])
            elif "done" in line:
                assert at is not None
                report.add(*at, line)
                at = None
            else:
                break
    finally:
        worker.kill()
        status = worker.wait()
    if line:
        return last
    if at is None:
        raise RuntimeError(f"a worker ended with status {status} between two mutants")
    what = {-signal.SIGPROF: f"hang: more than {SECONDS} s", -signal.SIGKILL: "hang: it waits"}
    report.add(*at, {"done": what.get(status, f"crash: status {status}")})
    return at[1] + 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reader", action="append", choices=READERS, help="default: all")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--count", type=int, default=10**9, help="mutants of each reader at most")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(tempfile.gettempdir()) / "tlfast-fuzz",
        help="folder for findings (default: tlfast-fuzz in the temporary folder)",
    )
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.reader, options.seed, options.first, options.count, options.seconds)
        return 0
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
