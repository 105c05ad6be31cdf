"""The table of algorithms: what is shipped, this machine's own, and `tlfast bench`."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from test_winograd import SHAPES, Layer

from tlfast import _algorithms, _core, cli
from tlfast._algorithms import ISAS, SHIPPED, TableError, read_table, table_text

ENTRY = ("forward", "float32", 14, 14, 64, 64, True)


FLOAT32 = [("float32", size, channels) for size, channels in
           ((56, 64), (28, 128), (14, 256), (7, 512))]
# AVX2 has no instructions for bfloat16.
KINDS = {"avx2": FLOAT32, "avx512": FLOAT32 + [("bfloat16", *key[1:]) for key in FLOAT32]}


@pytest.fixture(autouse=True)
def table_again():
    yield
    _algorithms.algorithm_choices.cache_clear()
    _algorithms.algorithm_choices()


def test_the_shipped_table_has_the_layers_of_resnet50():
    for isa in ("avx2", "avx512"):
        keys = {entry[:6] for entry in read_table(SHIPPED, isa)}
        for dtype, size, channels in KINDS[isa]:
            for use in _algorithms.USES:
                assert (use, dtype, size, size, channels, channels) in keys


def test_every_entry_is_unique():
    for isa in ISAS:
        entries = read_table(SHIPPED, isa)
        assert len({entry[:6] for entry in entries}) == len(entries)


def test_the_table_decides(rng):
    """The two algorithms differ in the last bits, so the answer shows which one ran."""
    layer = Layer(rng, SHAPES[0])
    x = rng.normal(size=(2, 14, 14, 64)).astype(np.float32)
    bits = {}
    for winograd in (True, False):
        _core.set_algorithms([("inference", "float32", 14, 14, 64, 64, winograd)])
        bits[winograd] = layer.run(x)
    _core.set_algorithms([("inference", "float32", 15, 14, 64, 64, False), ENTRY[:6] + (False,),
                          ("inference", "bfloat16", 14, 14, 64, 64, False)])
    other = layer.run(x)  # neither entry is about this layer: the rule holds
    assert not np.array_equal(bits[True], bits[False])
    assert np.array_equal(bits[True], other)


def test_the_last_of_equal_keys_counts(rng):
    layer = Layer(rng, SHAPES[0])
    x = rng.normal(size=(2, 14, 14, 64)).astype(np.float32)
    key = ("inference", "float32", 14, 14, 64, 64)
    _core.set_algorithms([(*key, False)])
    direct = layer.run(x)
    _core.set_algorithms([(*key, True), (*key, False)])
    assert np.array_equal(layer.run(x), direct)


@pytest.mark.parametrize(
    "entries", [[("sideways", "float32", 1, 1, 1, 1, True)],
                [("forward", "int8", 1, 1, 1, 1, True)], [("forward", 1, 1)], ["forward"],
                [("forward",)]]
)
def test_the_core_refuses_other_entries(entries):
    with pytest.raises((TypeError, ValueError)):
        _core.set_algorithms(entries)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(table_text({"avx2": [ENTRY], "base": []}, {"threads": "2"}))
    assert read_table(path, "avx2") == [ENTRY]
    assert read_table(path, "base") == read_table(path, "avx512") == []


@pytest.mark.parametrize("content", [
    "", "[]", '{"format": 1}', '{"format": 2, "tables": []}',
    '{"format": 2, "tables": {"avx2": 3}}',
    '{"format": 2, "tables": {"avx2": [["forward", "float32", 1, 1, 1, 1]]}}',
    '{"format": 2, "tables": {"avx2": [["forward", "float32", 1, 1, 1, 1, 1]]}}',
    '{"format": 2, "tables": {"avx2": [["forward", "float32", 1, 1, 1, true, true]]}}',
    '{"format": 2, "tables": {"avx2": [["forward", "float32", 1, -1, 1, 1, true]]}}',
    '{"format": 2, "tables": {"avx2": [["forward", "int8", 1, 1, 1, 1, true]]}}',
    "[" * 100_000,
])  # fmt: skip
def test_other_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(TableError, match=r"table\.json"):
        read_table(path, "avx2")


def choices_of_a_process(**environment: str) -> str:
    code = "from tlfast._algorithms import algorithm_choices; print(algorithm_choices())"
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True,
                          text=True, check=True, env=os.environ | environment)  # fmt: skip
    return done.stdout.strip() + done.stderr


def test_which_table_is_in_use(tmp_path):
    isa = _algorithms.instruction_set()
    folder = {"TLFAST_CACHE_DIR": str(tmp_path)}
    assert choices_of_a_process(**folder).startswith(f"shipped:{isa}:")
    tuned = tmp_path / f"algorithms-{isa}.json"
    tuned.write_text(table_text({isa: [ENTRY]}, {}))
    assert choices_of_a_process(**folder).startswith(f"tuned:{isa}:")
    assert choices_of_a_process(TLFAST_ALGORITHMS="shipped", **folder).startswith("shipped:")
    tuned.write_text("broken")
    said = choices_of_a_process(**folder)
    assert said.startswith("shipped:") and str(tuned) in said and "TlfastWarning" in said


def test_bench_tunes_and_times(tmp_path, capsys):
    """MobileNetV2 has no layer to tune at 32 x 32, DenseNet121 has two kinds."""
    target = tmp_path / "folder" / "table.json"
    base = ["bench", "--size", "32", "--rounds", "1"]
    assert cli.main([*base, "--tune", "--network", "DenseNet121", "--output", str(target)]) == 0
    said = capsys.readouterr().out
    assert "128 -> 32" in said and f"kept in {target}" in said
    isa = _algorithms.instruction_set()
    types = {entry[1] for entry in read_table(target, isa)}
    assert types == set(_algorithms.DTYPES if _core.has_bfloat16() else ["float32"])
    uses = [entry[0] for entry in read_table(target, isa)]
    assert sorted(set(uses)) == sorted(_algorithms.USES) and len(uses) % 4 == 0
    assert cli.main([*base, "--network", "MobileNetV2", "--batch", "2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1].split() == ["network", "training", "step", "predicted", "images"]
    assert said[2].startswith("MobileNetV2")
    content = json.loads(target.read_text())
    assert content["measured"]["batch"] == "16"


@pytest.mark.parametrize("arguments", [["--size", "8"], ["--rounds", "0"], ["--output", "x"]])
def test_bench_says_what_is_wrong(capsys, arguments):
    assert cli.main(["bench", *arguments]) != 0
    assert arguments[0] in capsys.readouterr().err
