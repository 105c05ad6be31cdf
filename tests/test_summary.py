"""The text of summary(), character for character what Keras prints."""

import json
import types
from pathlib import Path

import numpy as np
import pytest
from keras_cases import CASES, SUMMARIES

from tlfast import backend, layers, models
from tlfast._summary import readable_memory_size, summary_text

KERAS = json.loads(Path(__file__).with_name("keras_cases.json").read_text("utf-8"))
TLFAST = types.SimpleNamespace(layers=layers, models=models, backend=backend)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    backend.clear_session(free_memory=False)
    monkeypatch.setenv("COLUMNS", "80")


TABLES = [(case, options) for case in KERAS for options in KERAS[case]["summary"]]


@pytest.mark.parametrize("case, options", TABLES)
def test_summary_is_keras_text(case, options, capsys):
    arguments = dict(SUMMARIES[options])
    if options == "wide" and case == "sequential":
        arguments["positions"] = [0.5, 0.7, 1.0]
    CASES[case](TLFAST).summary(**arguments)
    assert capsys.readouterr().out == KERAS[case]["summary"][options]


def test_print_fn_gets_the_whole_text(capsys):
    parts = []
    model = CASES["plain"](TLFAST)
    model.summary(print_fn=parts.append)
    assert parts == [summary_text(model)]
    assert capsys.readouterr().out == ""


def test_layer_range():
    model = CASES["plain"](TLFAST)
    text = summary_text(model, layer_range=["conv2d", "max_pool.*"])
    assert "conv2d (Conv2D)" in text and "max_pooling2d" in text
    assert "input_layer" not in text and "softmax" not in text
    with pytest.raises(ValueError, match="do not match"):
        summary_text(model, layer_range=["conv2d", "nothing"])


def test_unbuilt_layers():
    model = models.Sequential([layers.Conv2D(2, 3), layers.Dense(2)])
    text = summary_text(model)
    assert "0 (unbuilt)" in text and "?" in text


def test_optimizer_variables_count_once_they_are_there():
    model = models.Sequential([layers.Input((4,)), layers.Dense(2)])
    model.compile("adam", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    # From Keras 3.15: iteration (8 bytes), learning rate, two slots per weight.
    assert summary_text(model).split("┘\n")[1] == (
        " Total params: 32 (132.00 B)\n Trainable params: 10 (40.00 B)\n"
        " Non-trainable params: 0 (0.00 B)\n Optimizer params: 22 (92.00 B)\n"
    )


def test_columns_that_do_not_fit():
    with pytest.raises(ValueError, match="Insufficient console width"):
        CASES["plain"](TLFAST).summary(line_length=15)


def test_a_terminal_without_unicode(monkeypatch):
    import io
    import sys

    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    CASES["plain"](TLFAST).summary()
    stream.flush()
    text = stream.buffer.getvalue().decode("ascii")
    assert "+---" in text and "| conv2d (Conv2D)" in text


@pytest.mark.parametrize(
    "size, text", [(0, "0.00 B"), (1023, "1023.00 B"), (1024, "1.00 KB"), (94e6, "89.65 MB")]
)
def test_memory_size(size, text):
    assert readable_memory_size(size) == text
