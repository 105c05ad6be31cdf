"""The progress line: Keras' characters on a terminal, one plain line elsewhere."""

import io
import sys

import pytest
from reference_compare import differences, stored
from training_cases import captured, clock, logger_texts, progress_texts

import tlfast
from tlfast import _progress
from tlfast.callbacks import ProgbarLogger


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bar_equals_keras():
    assert differences(progress_texts(tlfast, live=True), stored()["progress_texts"]) == []


def test_logger_equals_keras(monkeypatch):
    monkeypatch.setattr(_progress, "is_live", lambda: True)
    assert differences(logger_texts(tlfast), stored()["logger_texts"]) == []


def test_live_on_a_terminal_and_in_a_notebook_only(monkeypatch):
    monkeypatch.delenv("PYCHARM_HOSTED", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert _progress.is_live()
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert not _progress.is_live()
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert _progress.is_live()


def fit_text(epochs, verbose):
    logger = ProgbarLogger()
    logger.set_params({"verbose": verbose, "epochs": epochs, "steps": 2})
    with captured() as out, clock([i * 0.25 for i in range(99)]):
        logger.on_train_begin()
        for epoch in range(epochs):
            logger.on_epoch_begin(epoch)
            for batch in range(2):
                logger.on_train_batch_end(batch, {"accuracy": 0.5, "loss": 0.25})
            logger.on_epoch_end(epoch, {"accuracy": 0.75, "loss": 0.25, "val_loss": 2.0})
    return out.getvalue()


@pytest.mark.parametrize("verbose", [1, "auto", 2])
def test_plain_lines_in_a_file(verbose):
    text = fit_text(2, verbose)
    assert "\x1b" not in text
    assert "\r" not in text
    lines = text.splitlines()
    assert lines[0::2] == ["Epoch 1/2", "Epoch 2/2"]
    for line in lines[1::2]:
        assert line.startswith("2/2 - ")
        assert line.endswith("/step - accuracy: 0.7500 - loss: 0.2500 - val_loss: 2.0000")
    assert len(lines) == 4


def test_silent():
    assert fit_text(2, 0) == ""


def test_one_epoch_has_no_heading():
    assert not fit_text(1, 1).startswith("Epoch")


def test_a_terminal_without_the_heavy_line(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    _progress.print_text("1/2 ━━ é")
    stream.flush()
    assert stream.buffer.getvalue() == b"1/2 == ?\n"


def test_both_kinds_of_lists_are_refused():
    with pytest.raises(ValueError, match="Only one of"):
        _progress.Progbar(2, stateful_metrics=["a"], stateless_metrics=["b"])


def test_add_advances():
    with captured() as out, clock([0.0, 1.0, 2.0, 3.0]):
        bar = _progress.Progbar(2, verbose=2)
        bar.add(1, [("a", 1.0)])
        bar.add(1, [("a", 3.0)])
    assert out.getvalue() == "2/2 - 2s - 1s/step - a: 3.0000\n"
