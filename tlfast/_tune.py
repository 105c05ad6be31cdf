"""Measuring which convolutions run faster by Winograd's algorithm here: `tlfast bench --tune`.

A layer is measured inside a small model, so that packing and layouts are as in a real step. Only
the algorithm of one use (forward of a step, one of its gradients, inference) changes between the
models that are compared, and they run in turns, so that a slow minute meets all of them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tlfast import _core, applications, layers, models
from tlfast._algorithms import DTYPES, Entry, algorithm_choices

Shape = tuple[int, int, int, int, str]
"""Height and width of the result, channels in and out, padding."""

BATCH = 16
# An algorithm has to be this much faster, of the whole small step, to replace the direct one.
WORTH = 0.01
_TRAINED = ("forward", "backward_data", "backward_weights")


def shapes_of(networks: Sequence[str], size: int) -> list[Shape]:
    """The distinct convolutions of some networks of which Winograd's algorithm is a choice.

    Args:
        networks: names in `tlfast.applications`.
        size: height and width of the images.
    """
    found: dict[tuple[int, int, int, int], str] = {}
    for network in networks:
        model = getattr(applications, network)(
            include_top=False, weights=None, input_shape=(size, size, 3)
        )
        for layer in model.layers:
            if type(layer) is layers.Conv2D and _is_choice(layer):
                _, height, width, out = layer.output.shape
                found.setdefault((height, width, layer.input.shape[-1], out), layer.padding)
    return [(*key, padding) for key, padding in found.items()]


def _is_choice(layer: Any) -> bool:
    plain = layer.strides == (1, 1) and layer.dilation_rate == (1, 1) and layer.groups == 1
    n_in, n_out = layer.input.shape[-1], layer.output.shape[-1]
    return plain and layer.kernel_size == (3, 3) and n_in % 16 == 0 and n_out % 32 == 0


def tune(shapes: Sequence[Shape], rounds: int) -> Iterator[tuple[Shape, list[Entry]]]:
    """Measure shapes one after the other; the core's table is the process' own again afterwards.

    Args:
        shapes: as `shapes_of` gives them.
        rounds: how often each choice is timed; the fastest counts.

    Yields:
        Each shape with its entries, one per use; in bfloat16 too where the machine computes in it.
    """
    algorithm_choices()
    try:
        for shape in shapes:
            for dtype in DTYPES if _core.has_bfloat16() else DTYPES[:1]:
                found = _tune_step(shape, dtype, rounds)
                yield shape, [*found, _tune_inference(shape, dtype, rounds)]
    finally:
        algorithm_choices.cache_clear()
        algorithm_choices()


def _tune_step(shape: Shape, dtype: str, rounds: int) -> list[Entry]:
    x, y = _batch(shape)
    steps = {use: _stepper(shape, dtype, use, x, y) for use in (None, *_TRAINED)}
    seconds = _fastest(steps, rounds)
    return [_entry(use, dtype, shape, seconds[use], seconds[None]) for use in _TRAINED]


def _stepper(shape: Shape, dtype: str, use: str | None, x: Any, y: Any) -> Callable[[], object]:
    model = _model(shape, dtype)
    _core.set_algorithms([_row(other, dtype, shape, other == use) for other in _TRAINED])
    model.train_on_batch(x, y)  # makes the plan
    return lambda: model.train_on_batch(x, y)


def _tune_inference(shape: Shape, dtype: str, rounds: int) -> Entry:
    x, _ = _batch(shape)
    runs: dict[bool, Callable[[], object]] = {}
    for winograd in (False, True):
        model = _model(shape, dtype)
        _core.set_algorithms([_row("inference", dtype, shape, winograd)])
        model.predict(x, verbose=0)
        runs[winograd] = lambda model=model: model.predict(x, verbose=0)  # type: ignore[misc]
    seconds = _fastest(runs, rounds)
    return _entry("inference", dtype, shape, seconds[True], seconds[False])


def _model(shape: Shape, dtype: str) -> Any:
    """The depthwise layer is trained, so that a gradient goes back through the convolution."""
    height, width, n_in, n_out, padding = shape
    margin = 2 if padding == "valid" else 0
    model = models.Sequential([
        layers.Input((height + margin, width + margin, n_in)),
        layers.DepthwiseConv2D(1, use_bias=False),
        layers.Conv2D(n_out, 3, padding=padding, use_bias=False),
        layers.GlobalAveragePooling2D(),
        layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    precision = "mixed_bfloat16" if dtype == "bfloat16" else dtype
    model.compile("sgd", "sparse_categorical_crossentropy", precision=precision)
    return model


def _batch(shape: Shape) -> tuple[Any, Any]:
    height, width, n_in, _, padding = shape
    margin = 2 if padding == "valid" else 0
    images = (BATCH, height + margin, width + margin, n_in)
    return np.random.default_rng(0).normal(size=images).astype(np.float32), np.arange(BATCH) % 2


def _fastest(runs: dict[Any, Callable[[], object]], rounds: int) -> dict[Any, float]:
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def _row(use: str, dtype: str, shape: Shape, winograd: bool) -> Entry:
    height, width, n_in, n_out, _ = shape
    return (use, dtype, height, width, n_in, n_out, winograd)


def _entry(use: str, dtype: str, shape: Shape, winograd: float, direct: float) -> Entry:
    return _row(use, dtype, shape, winograd < direct * (1 - WORTH))
