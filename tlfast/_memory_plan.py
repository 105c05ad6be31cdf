"""How much memory training will take, known before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MB = 1 << 20
# What the lower bound grants for all that is no tensor of the network: the loader's batches, the
# code of the kernels, Python's objects.
ALLOWANCE = 100 * MB
# Kernel code, objects of layers, decoders: a round figure and so much for every layer, as measured
# by `benchmarks/run.py growth` (24 MB for MobileNetV2's 154 layers, 51 for DenseNet121's 427).
RUNTIME, RUNTIME_PER_LAYER = 18 * MB, 75 << 10


@dataclass(frozen=True)
class MemoryPlan:
    """Memory of a training step beyond what the process holds already, in bytes.

    Attributes:
        model: the model's name.
        batch_size: images per step.
        input_shapes: shape of one sample of each input.
        activations: outputs of layers, their gradients and scratch memory, placed so that what is
            not needed at the same time shares its place.
        gradients: of the weights.
        weights: values of all weights.
        packed_weights: weights once more in the layouts the kernels read.
        slots: the optimizer's averages.
        pixels: batches that are read ahead.
        runtime: kernel code, objects of layers, decoders; by a rule of thumb.
        convolutions: outputs of all trained convolutions, each once.
    """

    model: str
    batch_size: int
    input_shapes: tuple[tuple[int, ...], ...]
    activations: int
    gradients: int
    weights: int
    packed_weights: int
    slots: int
    pixels: int
    convolutions: int
    runtime: int

    @property
    def peak(self) -> int:
        """The sum of all parts."""
        return (
            self.activations + self.gradients + self.weights + self.packed_weights + self.slots
            + self.pixels + self.runtime
        )  # fmt: skip

    @property
    def lower_bound(self) -> int:
        """What training cannot do without: convolution outputs once, weights and slots, gradients,
        and 100 MB for everything else."""
        return self.convolutions + self.weights + self.slots + self.gradients + ALLOWANCE

    def __str__(self) -> str:
        shapes = ", ".join(str(shape) for shape in self.input_shapes)
        rows = (
            ("activations and scratch", self.activations),
            ("gradients of weights", self.gradients),
            ("weights", self.weights),
            ("weights as the kernels read them", self.packed_weights),
            ("optimizer slots", self.slots),
            ("images read ahead", self.pixels),
            ("code and objects", self.runtime),
            ("peak", self.peak),
            ("lower bound", self.lower_bound),
        )
        lines = [f"Memory to train '{self.model}' on {shapes} with batch_size={self.batch_size}:"]
        lines += [f"  {name:34}{_megabytes(value):>10} MB" for name, value in rows]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"<MemoryPlan of '{self.model}': {_megabytes(self.peak)} MB with "
            f"batch_size={self.batch_size}>"
        )


def _megabytes(value: int) -> str:
    return f"{value / MB:,.0f}"


def plan_memory(model: Any, batch_size: int, input_shape: Sequence[int] | None) -> MemoryPlan:
    """What `Model.plan` prints; see there."""
    check_count("batch_size", batch_size)
    shapes = sample_shapes(model, input_shape)
    found = model._engine.memory_of(shapes, int(batch_size))
    return MemoryPlan(
        model=model.name, batch_size=int(batch_size), input_shapes=shapes,
        runtime=RUNTIME + RUNTIME_PER_LAYER * len(list(model._flatten_layers())), **found,
    )  # fmt: skip


def check_count(name: str, value: Any) -> None:
    """Refuse what is no whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, got {value}")


def sample_shapes(model: Any, input_shape: Sequence[int] | None) -> tuple[tuple[int, ...], ...]:
    """Shapes of one sample of each input, as given or as the model says."""
    if input_shape is not None:
        shapes = [tuple(int(size) for size in input_shape)]
    else:
        given = model.input_shape
        given = given if isinstance(given, list) else [given]
        shapes = [tuple(shape[1:]) for shape in given]
    for shape in shapes:
        if None in shape:
            raise ValueError(
                f"model '{model.name}' takes images of any size {shape}: say which with "
                "input_shape=(height, width, channels)"
            )
    return tuple(shapes)
