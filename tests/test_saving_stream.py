"""Files written as a stream and read straight into the core: the same bits, no second copy."""

import io
import random
import resource
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest

from tlfast import _core, initializers, keras
from tlfast.saving import FormatError, hdf5_write

# Small ones, which h5py writes, up to two that take several pieces.
SHAPES = [(), (3,), (127, 129), (128, 128), (1025, 1025), (3, 3, 512, 300)]


class Weight:
    """What `hdf5_write.Group.write` takes."""

    def __init__(self, shape):
        values = np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)
        self.values, self.shape = values, shape
        self.core = _core.Variable(shape)
        self.core.assign(values)

    def numpy(self):
        return self.core.numpy()


def memory_of(script: str, folder) -> dict[str, float]:
    """Megabytes that a script prints; `peak(f)` in it gives what f added to the process' peak."""
    helper = """
        import gc
        import numpy as np
        from tlfast import keras

        def memory(field):
            lines = open("/proc/self/status").read().splitlines()
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

        def peak(f):
            gc.collect()
            open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
            before = memory("VmRSS")
            f()
            return memory("VmHWM") - before

        def dense(*units):
            return keras.Sequential([keras.Input((1500,)), *map(keras.layers.Dense, units)])

        small = dense(3)
        small.compile("adam", "mse")
        small.save("small.keras")  # brings in h5py
        keras.models.load_model("small.keras")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(helper) + textwrap.dedent(script)],
        cwd=folder, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}


def test_saving_needs_no_second_copy_of_the_model(tmp_path):
    found = memory_of(
        """
        model = dense(1500, 1500, 1500)
        model.compile("adam", "mse")
        model.train_on_batch(np.zeros((2, 1500), "f4"), np.zeros((2, 1500), "f4"))
        held = sum(v.numpy().nbytes for v in model.weights + model.optimizer.variables)
        print("model", held / 2**20)
        print("keras", peak(lambda: model.save("a.keras")))
        print("h5", peak(lambda: model.save("a.h5")))
        print("weights", peak(lambda: model.save_weights("a.weights.h5")))
        """,
        tmp_path,
    )
    assert found["model"] > 75
    for name in ("keras", "h5", "weights"):
        assert found[name] <= 0.1 * found["model"], found


def test_loading_needs_no_second_copy_of_the_weights(tmp_path):
    found = memory_of(
        """
        model = dense(1500, 1500, 1500, 1500, 1500)
        model.save("a.h5")
        print("model", sum(v.nbytes for v in model.weights) / 2**20)
        print("load", peak(lambda: keras.models.load_model("a.h5")))
        """,
        tmp_path,
    )
    assert found["model"] > 40
    assert found["load"] <= 1.15 * found["model"] + 2, found


def test_h5py_finds_every_value_where_it_belongs(tmp_path):
    weights = {str(number): Weight(shape) for number, shape in enumerate(SHAPES)}

    def write(root):
        root.attrs["text"] = "é" * 1000
        for number, weight in weights.items():
            root.create_group(f"deep/{number}").write("w/value", weight)

    image = hdf5_write.lay_out(write)
    path = tmp_path / "a.h5"
    with open(path, "wb") as file:
        for piece in image.pieces():
            file.write(piece)
    assert path.stat().st_size == image.size
    with h5py.File(path) as root:
        assert root.attrs["text"] == "é" * 1000
        for number, weight in weights.items():
            stored = root[f"deep/{number}/w/value"]
            assert stored.dtype == np.float32 and stored.shape == weight.shape
            assert np.array_equal(stored[()], weight.values)
    second = b"".join(bytes(piece) for piece in image.pieces())
    assert second == path.read_bytes()


def test_libhdf5_can_read_what_it_has_written():
    # It does so when a file is larger than its cache.
    weight = Weight((2,))

    def write(root):
        for number in range(200):
            root.create_group(f"layers/{number:03}").write("0", weight)

    image = hdf5_write.lay_out(write)
    with h5py.File(image._memory, "r") as root:
        assert len(root["layers"]) == 200
        assert all(np.array_equal(g["0"][()], weight.values) for g in root["layers"].values())


def test_memory_is_a_file():
    rng = np.random.default_rng(0)
    memory, real = hdf5_write._Memory(), io.BytesIO()
    for _ in range(300):
        place, size = int(rng.integers(400_000)), int(rng.integers(1, 150_000))
        memory.seek(place)
        real.seek(place)
        if rng.random() < 0.5:
            data = rng.bytes(size)
            assert memory.write(data) == real.write(data)
        else:
            target, expected = bytearray(size), bytearray(size)
            assert memory.readinto(target) == real.readinto(expected)
            assert target == expected
        assert memory.tell() == real.tell()
        assert memory.seek(0, 2) == real.seek(0, 2)
    assert b"".join(map(bytes, memory.pieces(0, memory.size))) == real.getvalue()


def model_of_both_kinds():
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(64, 3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.Conv2D(96, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(5),
        ]
    )


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_a_loaded_model_has_the_bits_of_the_saved_one(ending, tmp_path):
    model = model_of_both_kinds()
    x = np.random.default_rng(0).standard_normal((3, 16, 16, 3)).astype(np.float32)
    model.save(tmp_path / f"a.{ending}")
    loaded = keras.models.load_model(tmp_path / f"a.{ending}")
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    assert model.predict(x, verbose=0).tobytes() == loaded.predict(x, verbose=0).tobytes()
    # Into variables that are in use already: plans made before see the new values.
    other = model_of_both_kinds()
    other.predict(x, verbose=0)
    other.load_weights(tmp_path / f"a.{ending}")
    assert model.predict(x, verbose=0).tobytes() == other.predict(x, verbose=0).tobytes()


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_no_start_value_is_drawn_for_what_is_read(ending, tmp_path, monkeypatch):
    model_of_both_kinds().save(tmp_path / f"a.{ending}")

    def refuse(*args, **kwargs):
        raise AssertionError("start values were drawn")

    monkeypatch.setattr(initializers.VarianceScaling, "__call__", refuse)
    keras.models.load_model(tmp_path / f"a.{ending}")


def test_layers_after_a_load_start_as_after_building(tmp_path):
    model = model_of_both_kinds()
    model.save(tmp_path / "a.h5")
    config = model.to_json()

    def head():
        layer = keras.layers.Dense(4)
        layer.build((None, 5))
        return layer.get_weights()[0], random.random()

    keras.utils.set_random_seed(3)
    keras.models.load_model(tmp_path / "a.h5")
    after_loading = head()
    keras.utils.set_random_seed(3)
    keras.models.model_from_json(config)
    after_building = head()
    assert np.array_equal(after_loading[0], after_building[0])
    assert after_loading[1] == after_building[1]


@pytest.mark.parametrize("ending", ["h5", "keras", "weights.h5"])
def test_a_full_disk_at_any_place_is_an_error_and_keeps_the_old_file(ending, tmp_path):
    script = """
        import os, resource, sys
        from tlfast import keras
        path = sys.argv[1]
        model = keras.Sequential([keras.Input((300,)), *map(keras.layers.Dense, (300, 200, 3))])
        save = model.save_weights if path.endswith(".weights.h5") else model.save
        save(path)
        old = open(path, "rb").read()
        for share in (0, 0.01, 0.3, 0.6, 0.99):
            limit = int(share * len(old))
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                save(path)
                sys.exit(f"a save within {limit} bytes")
            except OSError as error:
                assert error.errno == 27 and error.filename == path, error
            assert open(path, "rb").read() == old
        assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        save(path)
        print("whole")
    """
    folder = tmp_path / "models"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(folder / f"a.{ending}")],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")


# ---- the core


def test_a_variable_from_a_file(tmp_path):
    values = np.random.default_rng(0).standard_normal((300, 400)).astype(np.float32)
    path = tmp_path / "values"
    path.write_bytes(b"12345" + values.tobytes())
    with open(path, "rb") as file:
        made = _core.Variable.from_file((300, 400), file.fileno(), 5)
        assert np.array_equal(made.numpy(), values)
        assert made.shape == (300, 400)
        with pytest.raises(ValueError, match="ends 4 bytes before"):
            _core.Variable.from_file((300, 400), file.fileno(), 9)
        with pytest.raises(ValueError, match="dimension -1"):
            _core.Variable.from_file((-1,), file.fileno(), 0)
        with pytest.raises(OSError):
            _core.Variable.from_file((2,), file.fileno(), -8)
    with pytest.raises(OSError, match="Errno 9"):
        _core.Variable.from_file((2,), 1 << 20, 0)


def test_a_file_cut_short_behind_the_check(tmp_path):
    model_of_both_kinds().save(tmp_path / "a.h5")
    from tlfast.saving.source import open_source

    with open_source(tmp_path / "a.h5") as source:
        with open(tmp_path / "a.h5", "r+b") as file:
            file.truncate(1000)
        with pytest.raises(FormatError, match="was shortened while it was read"):
            source.read_variable(900, (500,))


def test_parts_of_a_variable():
    variable = _core.Variable((10, 7))
    variable.assign(np.arange(70).reshape(10, 7))
    part = np.zeros((2, 4), np.float32)
    variable.copy_to(part, 62)
    assert part.tolist() == [[62, 63, 64, 65], [66, 67, 68, 69]]
    for start in (63, -1):
        with pytest.raises(ValueError, match="the variable has 70"):
            variable.copy_to(part, start)
    for wrong in (part.astype(np.float64), part.T, [0.0], np.frombuffer(bytes(32), np.float32)):
        with pytest.raises(TypeError, match="writable contiguous float32"):
            variable.copy_to(wrong, 0)


def test_values_of_all_sizes_are_apart_and_given_back():
    sizes = [1 << power for power in range(10, 23)] * 2 + [(1 << 16) + 1, 3 << 21]
    page = resource.getpagesize()

    def resident():
        _core.trim_memory()  # what NumPy's arrays of this and other tests leave in the heap
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * page

    before = resident()
    for _ in range(4):
        made = [_core.Variable((size,)) for size in sizes]
        for number, variable in enumerate(made):
            variable.assign(np.full(variable.shape, number, np.float32))
        for variable in made[::2]:  # half of them first
            variable.assign(np.full(variable.shape, -1, np.float32))
        del made[::2]
        expected = [number for number in range(len(sizes)) if number % 2]
        for number, variable in zip(expected, made, strict=True):
            assert np.all(variable.numpy() == number)
        fresh = _core.Variable((1 << 18,))
        assert not fresh.numpy().any()
        del made, fresh, variable
    assert resident() - before < 40 << 20  # of 128 MB that each round held
