"""Writes gradients.npz and gradients.json: Keras' float64 gradients of whole networks.

Run with a Python that has Keras: `python tests/reference/make_gradients.py [NETWORK ...]`; with
names, the entries of other networks are kept. Every case runs three times, each in its own
process: in float64, and in float32 with oneDNN off and on in TensorFlow, which tells how far
Keras' float32 is from the truth.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import formula
import gradient_cases as cases
import numpy as np

HERE = pathlib.Path(__file__).parent
RUNS = {"float64": "0", "onednn_off": "0", "onednn_on": "1"}


def build(case: cases.Case) -> object:
    import keras

    keras.backend.clear_session()
    base = getattr(keras.applications, case.network)(
        weights=None, include_top=False, input_shape=(case.size, case.size, 3)
    )
    cases.fill(base, case, formula.weight)
    for layer in base.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # set_weights alone would leave it computing with the old ones
    cases.without_dropout(base.layers)
    cases.freeze(base.layers, case.frozen)
    features = keras.layers.GlobalAveragePooling2D()(base.output)
    outputs = keras.layers.Dense(cases.CLASSES, activation="softmax", name="head")(features)
    model = keras.Model(base.input, outputs)
    head = formula.head_weights(features.shape[-1], cases.CLASSES)
    model.get_layer("head").set_weights(head)
    return model


def step_function(model: object, rate: float) -> object:
    """One step of SGD. Not compiled: tracing a network takes longer than its sixteen steps."""
    import keras
    import tensorflow as tf

    def step(x: object, y: object) -> tuple:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.categorical_crossentropy(y, model(x, training=True)))
        variables = [v.value for v in model.trainable_variables]
        gradients = tape.gradient(loss, variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_sub(tf.cast(rate, variable.dtype) * gradient)
        return loss, gradients

    return step


def compute(case: cases.Case, file: str) -> None:
    """Losses of every seed, with more steps of the first (in float64, which takes long, only its
    first steps); gradients and moving statistics of the first seed's first step."""
    import keras

    model = build(case)
    step = step_function(model, case.rate)
    start = model.get_weights()
    floatx = keras.config.floatx()
    losses, found = [], {}
    for seed in cases.SEEDS if floatx == "float32" else cases.SEEDS[:1]:
        model.set_weights(start)
        count = cases.LONG * case.batch
        pictures = formula.photos(count, case.size, case.size, seed=10 + seed)
        x = cases.prepared(case, pictures).astype(floatx)
        y = formula.labels(count, cases.CLASSES, seed=seed).astype(floatx)
        row = []
        is_long = floatx == "float32" and seed == cases.SEEDS[0]
        for k in range(cases.LONG if is_long else cases.STEPS):
            rows = slice(k * case.batch, (k + 1) * case.batch)
            loss, gradients = step(x[rows], y[rows])
            row.append(float(loss))
            if seed == cases.SEEDS[0] and k == 0:
                for i, (v, g) in enumerate(zip(model.trainable_variables, gradients, strict=True)):
                    found[f"g{i}"] = np.asarray(g)
                    found[f"n{i}"] = np.array(v.path)
                moving = [v for v in model.weights if "moving_" in v.path]
                for i, v in enumerate(moving):
                    found[f"m{i}"] = v.numpy()
        losses.append(row)
    first_steps = [row[: cases.STEPS] for row in losses]
    np.savez(file, losses=np.array(first_steps), long=np.array(losses[0]), **found)


def distances(truth: dict, run: dict, count: int) -> tuple[float, list[float]]:
    """Distance of all gradients, and of each, in units of the true length."""
    squares = [float(((run[f"g{i}"].astype(np.float64) - truth[f"g{i}"]) ** 2).sum())
               for i in range(count)]  # fmt: skip
    norms = [float((truth[f"g{i}"] ** 2).sum()) for i in range(count)]
    ratios = [(s / n) ** 0.5 if n else 0.0 for s, n in zip(squares, norms, strict=True)]
    return (sum(squares) / sum(norms)) ** 0.5, ratios


def run_all(names: list[str], folder: pathlib.Path) -> None:
    """The three runs of all cases, side by side; each writes FOLDER/RUN-NUMBER.npz."""
    started = [
        subprocess.Popen(
            [sys.executable, __file__, "--run", run, str(folder), *names],
            env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn},
        )
        for run, onednn in RUNS.items()
    ]
    codes = [process.wait() for process in started]
    if any(codes):
        raise SystemExit(f"the runs {list(RUNS)} ended with {codes}")


def reference(case: cases.Case, runs: dict[str, dict]) -> tuple[dict, dict]:
    """(arrays, numbers) to store for a case."""
    truth = runs["float64"]
    count = sum(key.startswith("g") for key in truth)
    moving = [truth[f"m{i}"] for i in range(sum(key.startswith("m") for key in truth))]
    gradients = [truth[f"g{i}"] for i in range(count)]
    off, each_off = distances(truth, runs["onednn_off"], count)
    on, each_on = distances(truth, runs["onednn_on"], count)
    arrays = {
        "norms": np.array([np.linalg.norm(g) for g in gradients]),
        "sums": np.concatenate([cases.signed_sums(g, i) for i, g in enumerate(gradients)]),
        "entries": np.concatenate([cases.entries(g) for g in gradients]),
        "keras": np.maximum(each_off, each_on),
    }
    if moving:
        arrays["moving_sums"] = np.concatenate(
            [cases.signed_sums(m, i, cases.STATISTIC_SUMS) for i, m in enumerate(moving)]
        )
        arrays["moving_entries"] = np.concatenate(
            [cases.entries(m, cases.STATISTIC_ENTRIES) for m in moving]
        )
        arrays["moving_largest"] = np.array([np.abs(m).max() for m in moving])
    numbers = {
        "gradients": {"onednn_off": off, "onednn_on": on},
        "losses": {run: found["losses"].tolist() for run, found in runs.items()},
        "long": {run: found["long"].tolist() for run, found in runs.items() if run != "float64"},
    }
    print(f"{case.name}: off {off:.1e} on {on:.1e}", numbers["losses"], flush=True)
    arrays = {key: value.astype(np.float32) for key, value in arrays.items()}
    arrays["names"] = np.array("\n".join(str(truth[f"n{i}"]) for i in range(count)))
    return arrays, numbers


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        run, folder, names = sys.argv[2], sys.argv[3], sys.argv[4:]
        if run == "float64":
            import keras

            keras.config.set_floatx("float64")
        for number, case in enumerate(cases.CASES):
            if case.network in names:
                began = time.monotonic()
                compute(case, f"{folder}/{run}-{number}.npz")
                print(f"{case.name} {run}: {time.monotonic() - began:.0f} s", flush=True)
        return
    wanted = sys.argv[1:] or [case.network for case in cases.CASES]
    arrays, numbers = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        run_all(wanted, pathlib.Path(folder))
        if sys.argv[1:] and (HERE / "gradients.json").exists():
            arrays = dict(np.load(HERE / "gradients.npz"))
            numbers = json.loads((HERE / "gradients.json").read_text())
        for number, case in enumerate(cases.CASES):
            if case.network in wanted:
                runs = {run: dict(np.load(f"{folder}/{run}-{number}.npz")) for run in RUNS}
                made, numbers[case.name] = reference(case, runs)
                arrays |= {f"{case.name}/{key}": value for key, value in made.items()}
    np.savez_compressed(HERE / "gradients.npz", **arrays)
    (HERE / "gradients.json").write_text(json.dumps(numbers, indent=1, sort_keys=True) + "\n")
    print(sum((HERE / f"gradients.{end}").stat().st_size for end in ("npz", "json")), "bytes")


if __name__ == "__main__":
    main()
