"""Kill a training again and again, resume it each time, and compare its end bit for bit.

    python tests/kill_resume.py --kills 200 --seed 1

A run is a process of its own: images in folders, augmentation, dropout, batch normalization, Adam,
a falling learning rate and the callbacks that count; its state is stored after every batch. It is
killed at a random time, or at a random step of a save, and started again until it comes to its
end; then weights, optimizer, history, CSV file and best model must be those of the run that nobody
killed. The run writes where it is into shared memory, so the log says where each kill fell.
"""

import argparse
import collections
import contextlib
import hashlib
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZE, EPOCHS, BATCH = 12, 6, 4
CLASSES = ("cat", "dog")
# Where a run is. All but the first two are inside a save.
PHASES = ("start", "training", "backup", "checkpoint", "write", "fsync", "rename", "folder")
IN_A_SAVE = PHASES[2:]
# What a run leaves; anything else in its folder is a stray file.
EXPECTED = {"best.keras", "log.csv", "outcome.json"}


# ---- the run -----------------------------------------------------------------------------------


class Marks:
    """Says where the process is, in memory that outlives it.

    Args:
        path: file of the shared memory.
        die_at: the process kills itself at this mark inside a save; 0: it does not.
    """

    def __init__(self, path: Path, die_at: int = 0) -> None:
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 16)
        self._count, self._die_at = 0, die_at
        self.set("start")

    def set(self, phase: str) -> None:
        self._memory[0] = PHASES.index(phase)
        if phase in IN_A_SAVE:
            self._count += 1
            self._memory[8:16] = self._count.to_bytes(8, "little")
            if self._count == self._die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    @contextlib.contextmanager
    def inside(self, phase: str):
        before = PHASES[self._memory[0]]
        self.set(phase)
        try:
            yield
        finally:
            self._memory[0] = PHASES.index(before)

    def around(self, owner, name: str, phase: str) -> None:
        """Mark every call of a function."""
        function = getattr(owner, name)

        def marked(*args, **kwargs):
            with self.inside(phase):
                return function(*args, **kwargs)

        setattr(owner, name, marked)

    def read(self) -> tuple[str, int]:
        return PHASES[self._memory[0]], int.from_bytes(self._memory[8:16], "little")


def run(images: Path, folder: Path, marks: Marks) -> None:
    """Train from the start or from where an earlier run was; write the outcome."""
    from tlfast import callbacks, keras
    from tlfast.saving import atomic

    marks.around(callbacks.BackupAndRestore, "_save", "backup")
    marks.around(keras.Model, "save", "checkpoint")
    marks.around(atomic._Temporary, "write", "write")
    marks.around(atomic, "sync_folder", "folder")
    for name, phase in (("fsync", "fsync"), ("replace", "rename")):
        marks.around(atomic.os, name, phase)

    keras.utils.set_random_seed(5)
    options = {"image_size": (SIZE, SIZE), "batch_size": BATCH, "verbose": False}
    from_folder = keras.utils.image_dataset_from_directory
    train, test = from_folder(
        images, validation_split=0.25, subset="both", seed=7, **options
    )  # fmt: skip
    model = network()
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", ["accuracy"])
    used = [
        callbacks.BackupAndRestore(folder / "backup", save_freq=1, double_checkpoint=True),
        callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.97),
        callbacks.ReduceLROnPlateau(factor=0.5, patience=1),
        callbacks.EarlyStopping(patience=3, restore_best_weights=True),
        callbacks.ModelCheckpoint(folder / "best.keras", save_best_only=True),
        callbacks.CSVLogger(folder / "log.csv"),
    ]
    marks.set("training")
    model.fit(train, validation_data=test, epochs=EPOCHS, verbose=0, callbacks=used)
    best = keras.models.load_model(folder / "best.keras")
    outcome = {
        "weights": hashed(model.get_weights()),
        "optimizer": hashed([np.asarray(v.numpy()) for v in model.optimizer.variables]),
        "history": model.history.history,
        "epochs": model.history.epoch,
        "log.csv": (folder / "log.csv").read_text(),
        "best.keras": hashed(best.get_weights()),
    }
    (folder / "outcome.json").write_text(json.dumps(outcome))


def network():
    from tlfast import keras, layers

    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.RandomFlip("horizontal")(layers.Rescaling(1 / 255)(inputs))
    x = layers.RandomRotation(0.1)(x)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(x)))
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(len(CLASSES), activation="softmax")(x))


def hashed(arrays: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


# ---- killing it --------------------------------------------------------------------------------


def make_images(top: Path) -> Path:
    """Two classes of noise that differ in brightness."""
    from PIL import Image

    rng = np.random.default_rng(2)
    for index, name in enumerate(CLASSES):
        (top / name).mkdir(parents=True)
        for number in range(14):
            pixels = rng.integers(0, 160, (SIZE, SIZE, 3)) + 50 * index
            Image.fromarray(pixels.astype(np.uint8)).save(top / name / f"{number}.png")
    return top


class Runner:
    """Starts runs in folders below `top`."""

    def __init__(self, top: Path) -> None:
        self._images = make_images(top / "images")
        self._marks = top / "marks"
        self._marks.write_bytes(bytes(16))
        self._errors = top / "errors"

    def start(self, folder: Path, die_at: int = 0) -> subprocess.Popen:
        self._marks.write_bytes(bytes(16))
        here = [sys.executable, __file__, "--run", self._images, folder, self._marks, die_at]
        with open(self._errors, "w") as errors:
            return subprocess.Popen(
                [str(part) for part in here], stdout=subprocess.DEVNULL, stderr=errors
            )

    def where(self) -> tuple[str, int]:
        with open(self._marks, "rb") as file:
            content = file.read()
        return PHASES[content[0]], int.from_bytes(content[8:16], "little")

    def wait_for_training(self, process: subprocess.Popen) -> None:
        while process.poll() is None and self.where()[0] == "start":
            time.sleep(0.005)

    def ended(self, process: subprocess.Popen, signals: tuple[int, ...]) -> bool:
        """Whether a run came to its end; False if it was killed, an error if it failed."""
        code = process.wait()
        # Python turns SIGINT into an exception, whose traceback is what the run leaves.
        if -code in signals or (code == 1 and "KeyboardInterrupt" in self._errors.read_text()):
            return False
        if code:
            raise SystemExit(f"the run failed:\n{self._errors.read_text()}")
        return True


def uninterrupted(runner: Runner, folder: Path) -> tuple[str, float, int]:
    """The outcome to compare with, seconds of training, and number of marks inside saves."""
    folder.mkdir()
    process = runner.start(folder)
    runner.wait_for_training(process)
    begin = time.monotonic()
    assert runner.ended(process, ())
    return outcome_of(folder), time.monotonic() - begin, runner.where()[1]


def outcome_of(folder: Path) -> str:
    stray = {path.name for path in folder.iterdir()} - EXPECTED
    assert not stray, f"stray files: {stray}"
    return (folder / "outcome.json").read_text()


def kill_once(
    runner: Runner, folder: Path, rng: random.Random, seconds: float, marks: int, number: int
) -> tuple[str, str] | None:
    """Start a run and kill it: (signal, where it was); None if it came to its end before."""
    if rng.random() < 0.5:
        process = runner.start(folder, die_at=rng.randint(1, marks))
        ended = runner.ended(process, (signal.SIGKILL,))
        return None if ended else ("SIGKILL", runner.where()[0])
    process = runner.start(folder)
    if rng.random() < 0.8:  # the rest may fall into the imports
        runner.wait_for_training(process)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(rng.uniform(0, seconds))
    process.send_signal(number)
    if runner.ended(process, (number,)):
        return None
    return signal.Signals(number).name, runner.where()[0]


def campaign(
    kills: int, seed: int, numbers: tuple[int, ...] = (signal.SIGKILL,), say=print
) -> collections.Counter:
    """Kill `kills` times.

    Args:
        kills: how often.
        seed: of the times.
        numbers: signals, in turns.
        say: takes a line of the log.

    Returns:
        Kills by where they fell.

    Raises:
        AssertionError: a resumed run ended differently, or left a stray file.
    """
    rng = random.Random(seed)
    fallen: collections.Counter = collections.Counter()
    memory = Path("/dev/shm")  # a kill leaves what was written, on a disk or not
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as top:
        runner = Runner(Path(top))
        expected, seconds, marks = uninterrupted(runner, Path(top, "straight"))
        say(f"uninterrupted: {seconds:.2f} s, {marks} marks inside saves")
        chain = 0
        while fallen.total() < kills:
            chain += 1
            folder = Path(top, f"chain{chain}")
            folder.mkdir()
            for _ in range(kills - fallen.total()):
                number = numbers[fallen.total() % len(numbers)]
                killed = kill_once(runner, folder, rng, seconds, marks, number)
                if killed is None:
                    break
                fallen[killed[1]] += 1
                say(f"{fallen.total():4} chain {chain:3} {killed[0]} in {killed[1]}")
            else:
                assert runner.ended(runner.start(folder), ())
            assert outcome_of(folder) == expected, f"chain {chain}, --seed {seed}: another end"
            say(f"     chain {chain:3} ended equal")
    return fallen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="number of kills (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the times (%(default)s)")
    parser.add_argument(
        "--signals", default="KILL", help="signals in turns, KILL,TERM,INT (%(default)s)"
    )
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        images, folder, marks, die_at = options.run
        run(Path(images), Path(folder), Marks(Path(marks), int(die_at)))
        return
    numbers = tuple(signal.Signals[f"SIG{name}"] for name in options.signals.split(","))
    fallen = campaign(options.kills, options.seed, numbers)
    inside = sum(count for phase, count in fallen.items() if phase in IN_A_SAVE)
    print(f"{fallen.total()} kills, {inside} inside a save, all resumed to the same bits: {fallen}")


if __name__ == "__main__":
    main()
