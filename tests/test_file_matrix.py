"""Every kind of model in every kind of file, from tlfast to Keras, back, and to itself.

Keras is one process for the whole module (file_cases_keras.py); where it is not installed, the
stored files of files/keras_files.zip and files/keras_networks.json.gz stand for it.

The bounds, in units of the largest value: predictions 1e-5 (measured 2e-6); the updates of one
step 2e-2 of the largest update (two float32 programs differ so far where gradients nearly cancel;
reference/gradients.npz holds both against float64). Weights and the optimizer's variables are
bits.
"""

import functools
import gzip
import json
import subprocess
import zipfile
from pathlib import Path

import file_cases as cases
import h5py
import numpy as np
import pytest
from conftest import peer_python
from reference import formula

import tlfast
from tlfast import keras

TESTS = Path(__file__).parent
FILES = TESTS / "files"
WEIGHT_FILES = (".weights.h5", "_legacy.h5")
PREDICTIONS = 1e-5
LOSS = 1e-4
STEP = 2e-2
NETWORKS = [case for case in cases.CASES if case not in cases.SMALL]
ONE = "MobileNetV2 nested"  # runs everywhere
# The whole matrix takes minutes, most of them in Keras: it runs where Keras is.
WHOLE = (pytest.mark.slow, pytest.mark.peer("keras"))
ALL = [*cases.SMALL, *(pytest.param(case, marks=WHOLE) for case in NETWORKS)]


# The weights are made by formula, for no range of pixels in particular.
pytestmark = pytest.mark.filterwarnings("ignore::tlfast.InputRangeWarning")


@pytest.fixture(autouse=True)
def exact():
    """No Winograd: its error is a tolerance of its own."""
    tlfast.set_exact(True)
    yield
    tlfast.set_exact(False)


def write(model, folder: Path) -> None:
    model.save(folder / "tlfast.keras")
    model.save(folder / "tlfast.h5")
    model.save_weights(folder / "tlfast.weights.h5")
    model.save_weights(folder / "tlfast_legacy.h5")
    (folder / "tlfast.json").write_text(model.to_json())


def opened(path: Path, case: str, flip: bool = False):
    """The model of a file, or a model of the case with the weights of a file."""
    if not path.name.endswith(WEIGHT_FILES):
        return keras.models.load_model(path)
    model = cases.build(keras, case)
    model.set_weights([w * 0 for w in model.get_weights()])
    if flip:
        cases.flip_frozen(model)
    cases.compile_model(keras, model, case)
    model.optimizer.build(model.trainable_weights)
    model.load_weights(path)
    return model


def select(found: dict, *kinds: str) -> dict:
    return {key: value for key, value in found.items() if key.split()[0] in kinds}


def assert_same_bits(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    different = [key for key in wanted if not np.array_equal(found[key], wanted[key])]
    assert not different, different[:5]


def assert_close(found: dict, wanted: dict, state: bool, stepping: bool) -> None:
    """Another program's description: bits where nothing was computed, else the bounds above."""
    kinds = ("weight", "state") if state else ("weight",)
    assert_same_bits(select(found, *kinds), select(wanted, *kinds))
    worst = np.abs(found["predictions"] - wanted["predictions"]).max()
    assert worst <= PREDICTIONS * np.abs(wanted["predictions"]).max()
    if not stepping or "loss" not in wanted:
        return
    assert float(found["loss"]) == pytest.approx(float(wanted["loss"]), rel=LOSS)
    numbers = [key.split()[1] for key in wanted if key.startswith("stepped")]
    largest = max(np.abs(wanted[f"stepped {n}"] - wanted[f"weight {n}"]).max() for n in numbers)
    worst = max(np.abs(found[f"stepped {n}"] - wanted[f"stepped {n}"]).max() for n in numbers)
    assert largest > 0 and worst <= STEP * largest, (worst, largest)


# ---- tlfast to tlfast: bits


@pytest.mark.parametrize("case", ALL)
def test_own_files(tmp_path, case):
    model = cases.trained(keras, case)
    write(model, tmp_path)
    copy = cases.build(keras, case)
    copy.set_weights(model.get_weights())
    wanted = cases.describe(model, case)
    # A model that was trained predicts with the kernels' training layouts, which may round
    # otherwise; a new process, as a new model, does not have those.
    wanted["predictions"] = cases.predict(copy, case)
    for name in ("tlfast.keras", "tlfast.h5", "tlfast.weights.h5"):
        assert_same_bits(cases.describe(opened(tmp_path / name, case), case), wanted)
    legacy = cases.describe(opened(tmp_path / "tlfast_legacy.h5", case), case, stepping=False)
    kinds = ("predictions", "weight")
    assert_same_bits(select(legacy, *kinds), select(wanted, *kinds))
    for name in ("tlfast.weights.h5", "tlfast_legacy.h5"):
        flipped = opened_with_other_layers_frozen(tmp_path / name, case)
        assert_same_bits(flipped, select(wanted, "predictions", "weight"))


def opened_with_other_layers_frozen(path: Path, case: str) -> dict:
    """Weights and predictions; the optimizer's slots are those of other weights and stay away."""
    if path.name.endswith(".weights.h5"):
        with pytest.warns(UserWarning, match="state of the optimizer .* is not restored"):
            model = opened(path, case, flip=True)
    else:
        model = opened(path, case, flip=True)
    return select(cases.describe(model, case, stepping=False), "predictions", "weight")


@pytest.mark.parametrize("case", ALL)
def test_configs_and_copies(case):
    """to_json, get_config, from_config, clone_model: the same graph, new weights."""
    model = cases.build(keras, case)
    wanted = cases.predict(model, case)
    copies = {
        "model_from_json": keras.models.model_from_json(model.to_json()),
        "from_config": type(model).from_config(model.get_config()),
        "clone_model": keras.models.clone_model(model),
    }
    for how, copy in copies.items():
        assert type(copy) is type(model) and copy.name == model.name, how
        assert copy.to_json() == model.to_json(), how
        assert not {id(w) for w in copy.weights} & {id(w) for w in model.weights}, how
        cases.fill(copy, case.split()[0])
        assert np.array_equal(cases.predict(copy, case), wanted), how


# ---- tlfast and Keras


@pytest.fixture(scope="module")
def ask():
    """ask("call", ...) runs a function of file_cases_keras.py in Keras' process."""
    command = [peer_python("keras"), str(TESTS / "file_cases_keras.py")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as process:

        def call(name: str, **arguments) -> None:
            print(json.dumps({"call": name, **arguments}), file=process.stdin, flush=True)
            answer = process.stdout.readline()
            assert answer, f"Keras' process ended ({process.poll()})"
            assert json.loads(answer)["error"] is None, json.loads(answer)["error"]

        yield call
        process.stdin.close()


@pytest.mark.peer("keras")
@pytest.mark.parametrize("case", ALL)
def test_keras_opens_ours(tmp_path, ask, case):
    model = cases.trained(keras, case)
    write(model, tmp_path)
    wanted = cases.describe(model, case)

    def asked(call: str, **arguments) -> dict:
        ask(call, case=case, folder=str(tmp_path), **arguments)
        with np.load(tmp_path / "opened.npz") as found:
            return dict(found)

    found = asked("open_model", file="tlfast.keras", stepping=True)
    assert_close(found, wanted, state=True, stepping=True)
    # Keras builds the optimizer of an .h5 file without slots, its own files' too.
    found = asked("open_model", file="tlfast.h5", stepping=False)
    assert_close(found, wanted, state=False, stepping=False)
    for name in ("tlfast.weights.h5", "tlfast_legacy.h5"):
        found = asked("open_weights", file=name, flip=False)
        assert_close(found, wanted, state=name == "tlfast.weights.h5", stepping=False)
    found = asked("open_weights", file="tlfast.weights.h5", flip=True)
    assert_close(found, wanted, state=False, stepping=False)
    found = asked("rebuild", file="tlfast.json")["predictions"]
    ours = cases.predict(cases.build(keras, case), case)
    assert np.abs(found - ours).max() <= PREDICTIONS * np.abs(ours).max()


@pytest.mark.peer("keras")
@pytest.mark.parametrize("case", ALL)
def test_we_open_what_keras_wrote(tmp_path, ask, case):
    ask("write", case=case, folder=str(tmp_path))
    with np.load(tmp_path / "keras.npz") as stored:
        wanted = dict(stored)
    check_keras_files(tmp_path, case, wanted)


def check_keras_files(folder: Path, case: str, wanted: dict) -> None:
    """All four files of Keras and the JSON text, against Keras' description."""
    for name in ("keras.keras", "keras.h5", "keras.weights.h5"):
        found = cases.describe(opened(folder / name, case), case)
        assert_close(found, wanted, state=True, stepping=True)
    found = cases.describe(opened(folder / "keras_legacy.h5", case), case, stepping=False)
    assert_close(found, wanted, state=False, stepping=False)
    for name in ("keras.weights.h5", "keras_legacy.h5"):
        found = opened_with_other_layers_frozen(folder / name, case)
        assert_close(found, wanted, state=False, stepping=False)
    model = keras.models.model_from_json((folder / "keras.json").read_text())
    assert model.to_json() == keras.models.load_model(folder / "keras.keras").to_json()


# ---- Keras' files where there is no Keras: files/make_keras_files.py wrote them


@pytest.mark.parametrize("case", cases.SMALL)
def test_stored_files_of_keras(tmp_path, case):
    with zipfile.ZipFile(FILES / "keras_files.zip") as stored:
        for member in stored.namelist():
            folder, name = member.split("/")
            if folder == case:
                (tmp_path / name).write_bytes(stored.read(member))
    with np.load(tmp_path / "keras.npz") as description:
        wanted = dict(description)
    check_keras_files(tmp_path, case, wanted)


@functools.cache
def stored_networks() -> dict:
    return json.loads(gzip.decompress((FILES / "keras_networks.json.gz").read_bytes()))["cases"]


def keras_h5(path: Path, stored: dict, value) -> None:
    """A full model as Keras' older layout holds it."""

    def plain(config: dict) -> dict:
        layers = []
        for layer in config["layers"]:
            layer = {k: layer[k] for k in ("class_name", "config", "name", "inbound_nodes")}
            inner = layer["config"]
            layers.append({**layer, "config": plain(inner) if "layers" in inner else inner})
        return {**config, "layers": layers}

    with h5py.File(path, "w") as f:
        config = {"class_name": "Functional", "config": plain(stored["config"]["config"])}
        f.attrs.update(
            keras_version="3.15.1", backend="tensorflow", model_config=json.dumps(config)
        )
        top = f.create_group("model_weights")
        top.attrs["layer_names"] = [name for name, _ in stored["legacy"]]
        for layer, weights in stored["legacy"]:
            group = top.create_group(layer)
            group.attrs["weight_names"] = [name for name, *_ in weights]
            for name, *origin in weights:
                group[name] = value(*origin)


def keras_archive(path: Path, stored: dict, value) -> None:
    """A `.keras` file."""
    inner = path.with_suffix(".inner.h5")
    with h5py.File(inner, "w") as f:
        for place, origin in stored["weights"].items():
            f[place] = value(*origin)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(stored["config"]))
        archive.write(inner, "model.weights.h5")


@pytest.mark.parametrize(
    "case",
    [ONE, *(pytest.param(case, marks=WHOLE) for case in NETWORKS if case != ONE)],
)
def test_stored_networks_of_keras(tmp_path, case):
    """Keras' configs, paths and order of weights; the weights by formula, as there."""
    stored = stored_networks()[case]
    scales = (1.0, formula.SCALES.get(case.split()[0], (1.0, 1.0))[1])

    @functools.cache
    def by_name(layer: str, name: str, shape: tuple) -> np.ndarray:
        return formula.weight(layer, name, shape, scales)

    def value(layer: str, name: str, shape: list) -> np.ndarray:
        found = by_name(layer, name, tuple(shape))
        return found.astype(np.int32) if name == "count" else found  # of a Normalization

    keras_archive(tmp_path / "m.keras", stored, value)
    keras_h5(tmp_path / "m.h5", stored, value)
    wanted = np.array(stored["predictions"])
    for name in ("m.keras", "m.h5"):
        model = keras.models.load_model(tmp_path / name)
        assert np.abs(cases.predict(model, case) - wanted).max() <= PREDICTIONS * wanted.max()
        model.set_weights([w * 0 for w in model.get_weights()])
        cases.flip_frozen(model)
        model.load_weights(tmp_path / ("m.h5" if name == "m.keras" else "m.keras"))
        assert np.abs(cases.predict(model, case) - wanted).max() <= PREDICTIONS * wanted.max()
