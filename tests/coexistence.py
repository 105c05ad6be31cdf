"""tlfast beside numpy, torch, tensorflow, cv2, PIL and sklearn, imported in many orders.

    python tests/coexistence.py [--part subsets|random|limits|every] [--share 2/3]

in an environment with tlfast, tensorflow-cpu, torch, opencv-python-headless, scikit-learn, pillow
and threadpoolctl. Every order is one fresh process: it imports, then twice lets each of the others
compute and tlfast train on a folder of JPEG and PNG files. Every result has to be, bit for bit,
what its package gives alone, in time.

The parts: `subsets`, every order of every set of at most three packages with tlfast in it (103);
`random`, 50 orders of all seven by a fixed seed; `limits`, what threadpoolctl sees and what its
limits do; `every`, all 5,040 orders of the seven. Importing from nothing 5,040 times would take
a day, so there an order's process is the fork of one that has imported the same beginning, and
nothing else: nobody has computed yet, so the loaded libraries and bound symbols are those of a
process that did it alone. It takes some hours; `--log` names a file that keeps the orders done,
and a second run with it goes on there. An order that did not end is tried again in a fresh
process, and if it hangs there too, without tlfast: a hang of the other six among themselves is
printed, but is no fault of ours.
"""

import argparse
import ctypes
import gc
import hashlib
import importlib
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

PACKAGES = ("numpy", "torch", "tensorflow", "cv2", "PIL", "sklearn", "tlfast")
TIMEOUT = 240
RANDOM_ORDERS = 50
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TLFAST_OFFLINE": "1"}


def digest(*arrays) -> str:
    import numpy as np

    value = hashlib.sha256()
    for array in arrays:
        value.update(np.ascontiguousarray(array).tobytes())
    return value.hexdigest()[:16]


# ---- what each package computes ----------------------------------------------------------------


def numpy_work(folder: Path) -> str:
    import numpy as np

    a = np.random.default_rng(0).normal(size=(200, 300)).astype("f4")
    return digest(a @ a.T, np.linalg.svd(a[:50, :50])[1])


def torch_work(folder: Path) -> str:
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 196, 3)
    )
    loss = net(torch.randn(4, 3, 16, 16)).square().mean()
    loss.backward()
    return digest(loss.detach().numpy(), net[0].weight.grad.numpy())


def tensorflow_work(folder: Path) -> str:
    import tensorflow as tf

    pixels = tf.io.decode_jpeg((folder / "cat" / "0.jpg").read_bytes())
    x = tf.image.resize(tf.cast(pixels, tf.float32), (24, 24))[None] / 255
    kernel = tf.reshape(tf.range(216, dtype=tf.float32) / 216, (3, 3, 3, 8))
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        loss = tf.reduce_mean(tf.nn.conv2d(x, kernel, 1, "SAME") ** 2)
    return digest(pixels.numpy(), tape.gradient(loss, kernel).numpy())


def cv2_work(folder: Path) -> str:
    import cv2

    pixels = [cv2.imread(str(folder / "cat" / name)) for name in ("0.jpg", "1.png")]
    blurred = [cv2.GaussianBlur(cv2.resize(p, (50, 60)), (5, 5), 0) for p in pixels]
    return digest(*pixels, *blurred)


def pil_work(folder: Path) -> str:
    import numpy as np
    from PIL import Image

    images = [Image.open(folder / "dog" / name) for name in ("0.jpg", "1.png")]
    return digest(*(np.asarray(i) for i in images), *(np.asarray(i.resize((9, 7))) for i in images))


def sklearn_work(folder: Path) -> str:
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.ensemble import HistGradientBoostingClassifier

    x = np.random.default_rng(0).normal(size=(300, 5))
    trees = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(x, x[:, 0] > 0)
    means = KMeans(3, n_init=1, random_state=0).fit(x)
    return digest(trees.predict_proba(x), means.labels_)


def scipy_work(folder: Path) -> str:
    """Not one of the seven: for the everyday test, whose environment has SciPy."""
    import numpy as np
    import scipy.linalg

    a = np.random.default_rng(0).normal(size=(60, 60))
    return digest(*scipy.linalg.lu(a), scipy.linalg.expm(a / 60))


def tlfast_work(folder: Path) -> str:
    import tlfast
    from tlfast import keras

    keras.utils.set_random_seed(0)
    data = keras.utils.image_dataset_from_directory(
        folder, image_size=(32, 32), batch_size=4, verbose=False, shuffle=False
    )
    model = tlfast.Sequential([
        keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(8, 3, activation="relu"), keras.layers.BatchNormalization(),
        keras.layers.DepthwiseConv2D(3), keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    loss = model.fit(data, epochs=2, verbose=0).history["loss"]
    pixels = [batch[0] for batch in data]
    return digest(*pixels, *model.get_weights(), loss, model.predict(data, verbose=0))


WORK = {
    "numpy": numpy_work, "torch": torch_work, "tensorflow": tensorflow_work, "cv2": cv2_work,
    "PIL": pil_work, "sklearn": sklearn_work, "scipy": scipy_work, "tlfast": tlfast_work,
}  # fmt: skip


def work_in_order(order: list[str], folder: Path) -> dict:
    """In the child: imports, then everybody computes, twice, tlfast in the middle of the others."""
    for name in order:
        importlib.import_module(name)
    return work(order, folder)


def work(order: list[str], folder: Path) -> dict:
    others = [name for name in order if name != "tlfast"]
    turns = [*others, *(["tlfast"] if "tlfast" in order else [])] * 2
    results: dict[str, list[str]] = {name: [] for name in order}
    for name in turns:
        results[name].append(WORK[name](folder))
    return {"results": results, "openmp": mapped("libgomp", "libomp", "libiomp")}


def mapped(*starts: str) -> list[str]:
    """Paths of the libraries of this process whose names begin so."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = {line.split(maxsplit=5)[-1] for line in lines if "/" in line}
    return sorted(p for p in paths if os.path.basename(p).startswith(starts))


# ---- threadpoolctl -----------------------------------------------------------------------------


class DlInfo(ctypes.Structure):
    _fields_ = [("file", ctypes.c_char_p), ("base", ctypes.c_void_p),
                ("name", ctypes.c_char_p), ("address", ctypes.c_void_p)]  # fmt: skip


def our_openmp() -> str:
    """Path of the OpenMP library that tlfast's core is bound to."""
    from tlfast import _core

    address = ctypes.cast(ctypes.CDLL(_core.__file__).omp_get_max_threads, ctypes.c_void_p)
    info = DlInfo()
    assert ctypes.CDLL(None).dladdr(address, ctypes.byref(info))
    return os.path.realpath(os.fsdecode(info.file))


def limits(order: list[str], folder: Path) -> dict:
    """In the child: whether threadpoolctl lists our library, and a training inside its limits."""
    import threadpoolctl

    for name in order:
        importlib.import_module(name)
    import tlfast

    plain = tlfast_work(folder)
    pools = [os.path.realpath(pool["filepath"]) for pool in threadpoolctl.threadpool_info()]
    threads = tlfast.num_threads()
    with threadpoolctl.threadpool_limits(1):
        inside, limited = tlfast.num_threads(), tlfast_work(folder)
    return {"ours": our_openmp(), "listed": our_openmp() in pools, "threads": threads,
            "inside": inside, "same": limited == plain == tlfast_work(folder)}  # fmt: skip


# ---- the parent --------------------------------------------------------------------------------


def orders(part: str) -> list[tuple[str, ...]]:
    others = [name for name in PACKAGES if name != "tlfast"]
    if part == "subsets":
        sets = [("tlfast", *c) for size in range(3) for c in itertools.combinations(others, size)]
        return [order for chosen in sets for order in itertools.permutations(chosen)]
    if part == "random":
        generator = random.Random(0)
        return [tuple(generator.sample(PACKAGES, len(PACKAGES))) for _ in range(RANDOM_ORDERS)]
    return [("tlfast",), *((n, "tlfast") for n in others), *(("tlfast", n) for n in others)]


def child(kind: str, order: tuple[str, ...], folder: Path) -> dict | str:
    """What a fresh process says, or what went wrong."""
    command = [sys.executable, __file__, "--child", kind, "--folder", str(folder), *order]
    try:
        done = subprocess.run(command, env=os.environ | QUIET, capture_output=True, text=True,
                              timeout=TIMEOUT)  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no end within {TIMEOUT} s"
    if done.returncode:
        return f"exit status {done.returncode}: {done.stderr.strip()[-800:]}"
    return json.loads(done.stdout.strip().splitlines()[-1])


def write_images(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    for index, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for number, ending in enumerate(("jpg", "png", "jpg", "png")):
            y, x = np.mgrid[0:60, 0:70]
            planes = [127 + 90 * np.sin((number + c) * x / 20 + index * y / 9) for c in (1, 2, 3)]
            Image.fromarray(np.stack(planes, -1).astype("u1")).save(
                folder / name / f"{number}.{ending}"
            )


def compare(order: tuple[str, ...], said: dict | str, alone: dict[str, str]) -> list[str]:
    """What is wrong with an order, in sentences."""
    if isinstance(said, str):
        return [said]
    return [f"{name} computed {value}, alone {alone[name]}"
            for name, values in said["results"].items() for value in values
            if value != alone[name]]  # fmt: skip


def results_alone(folder: Path) -> dict[str, str]:
    alone: dict[str, str] = {}
    for name in PACKAGES:
        said = child("work", (name,), folder)
        if isinstance(said, str):
            raise SystemExit(f"{name} alone: {said}")
        values = set(said["results"][name])
        if len(values) != 1:
            raise SystemExit(f"{name} alone does not repeat itself: {values}")
        alone[name] = values.pop()
    return alone


def run_orders(part: str, chosen: list[tuple[str, ...]], folder: Path) -> int:
    alone = results_alone(folder)
    failures, teams = 0, {}
    for number, order in enumerate(chosen, 1):
        began = time.monotonic()
        said = child("work", order, folder)
        wrong = compare(order, said, alone)
        failures += bool(wrong)
        if isinstance(said, dict):
            teams[len(said["openmp"])] = teams.get(len(said["openmp"]), 0) + 1
        seconds = time.monotonic() - began
        print(f"{part} {number}/{len(chosen)} {' '.join(order)}: {'; '.join(wrong) or 'good'}, "
              f"{seconds:.1f} s", flush=True)  # fmt: skip
    print(f"{part}: {len(chosen)} orders, {failures} with a fault; OpenMP libraries in a process: "
          + ", ".join(f"{n} in {count}" for n, count in sorted(teams.items())))  # fmt: skip
    return failures


# ---- all orders, as a tree of forks ------------------------------------------------------------


def run_every(log: Path, folder: Path, firsts: tuple[str, ...]) -> int:
    """The orders that begin with one of `firsts` and are not in `log` yet; each adds a line of
    JSON to it. Several runs may share a log. Counts as faults what is missing in the end."""
    alone = results_alone(folder)
    done = {tuple(json.loads(line)["order"]) for line in log.open()} if log.exists() else set()
    print(f"every: {len(done)} orders done before, in {log}", flush=True)
    for first in firsts:
        in_fork(grow, (first,), done, log, folder)
    said = {tuple(line["order"]): line["said"] for line in map(json.loads, log.open())}
    faults = 0
    for order, first_said in said.items():
        wrong = compare(order, first_said, alone)
        if wrong and order[0] in firsts:
            wrong = tried_again(order, wrong, alone, folder)
            faults += bool(wrong)
    missing = math.factorial(len(PACKAGES)) - len(said)
    print(f"every: {len(said)} orders, {missing} missing, {faults} with a fault")
    return faults + missing


def tried_again(order: tuple[str, ...], wrong: list[str], alone: dict[str, str],
                folder: Path) -> list[str]:  # fmt: skip
    """What is still wrong with an order in a fresh process, and right without tlfast."""
    again = compare(order, child("work", order, folder), alone)
    others = tuple(name for name in order if name != "tlfast")
    theirs = again and compare(others, child("work", others, folder), alone)
    print(f"every {' '.join(order)}: {'; '.join(wrong)}; again: {'; '.join(again) or 'good'}"
          + (f"; without tlfast: {'; '.join(theirs) or 'good'}" if again else ""),
          flush=True)  # fmt: skip
    return [] if theirs == again else again


def grow(order: tuple[str, ...], done: set, log: Path, folder: Path) -> None:
    """In a fork whose imports are order[:-1]: import the last one, fork for what may follow."""
    rest = [name for name in PACKAGES if name not in order]
    if all((*order, *end) in done for end in itertools.permutations(rest)):
        return
    gc.disable()  # a quarter of an import's time
    importlib.import_module(order[-1])
    gc.enable()
    if not rest:
        note(log, order, work(list(order), folder))
    for name in rest:
        longer = (*order, name)
        fault = in_fork(grow, longer, done, log, folder)
        if fault and len(rest) == 1:
            note(log, longer, fault)


def note(log: Path, order: tuple[str, ...], said: dict | str) -> None:
    with log.open("a") as file:
        file.write(json.dumps({"order": order, "said": said}) + "\n")


def in_fork(function, order: tuple[str, ...], *arguments) -> str:
    """Run function in a fork; return what went wrong there, if anything."""
    child = os.fork()
    if not child:
        status = 1
        try:
            if len(order) == len(PACKAGES):
                signal.alarm(TIMEOUT)  # ends a process that hangs
            function(order, *arguments)
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"no end within {TIMEOUT} s" if number == signal.SIGALRM else f"signal {number}"
    return f"exit status {os.WEXITSTATUS(status)}" if status else ""


def run_limits(chosen: list[tuple[str, ...]], folder: Path) -> int:
    failures = 0
    for order in chosen:
        said = child("limits", order, folder)
        good = isinstance(said, dict) and said["listed"] and said["same"]
        failures += not good
        print(f"limits {' '.join(order)}: {'good' if good else 'FAULT'} {said}", flush=True)
    print(f"limits: {len(chosen)} orders, {failures} with a fault")
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("subsets", "random", "limits", "every"))
    parser.add_argument("--log", type=Path, default=Path("coexistence.jsonl"),
                        help="of the part `every`")  # fmt: skip
    parser.add_argument(
        "--share",
        default="1/1",
        metavar="I/N",
        help="every Nth order (in the part `every`: first package) from the Ith",
    )
    parser.add_argument("--child", choices=("work", "limits"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("order", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        said = {"work": work_in_order, "limits": limits}[options.child]
        print("\n" + json.dumps(said(options.order, options.folder)))
        return 0
    first, step = map(int, options.share.split("/"))
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder)
        if options.part == "every":
            # What the child processes of the other parts are told, for this one's forks.
            os.environ.update(QUIET)
            return 1 if run_every(options.log, folder, PACKAGES[first - 1 :: step]) else 0
        for part in [options.part] if options.part else ["subsets", "random", "limits"]:
            chosen = orders(part)[first - 1 :: step]
            if part == "limits":
                failures += run_limits(chosen, folder)
            else:
                failures += run_orders(part, chosen, folder)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
