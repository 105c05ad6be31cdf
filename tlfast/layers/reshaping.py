"""Layers that pad, cut and reshape."""

import math
from typing import Any

from tlfast._tensor import Shape
from tlfast.layers._base import Layer
from tlfast.layers._checks import check_data_format
from tlfast.layers._pads import pair

Sides = tuple[tuple[int, int], tuple[int, int]]


def _sides(name: str, value: Any, where: str) -> Sides:
    """Return ((top, bottom), (left, right)) of an int, a pair, or a pair of pairs.

    Raises:
        ValueError: for anything else.
    """
    if (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and not all(hasattr(v, "__index__") for v in value)
    ):
        rows, columns = (pair(name, v, where, minimum=0) for v in value)
        return rows, columns
    high, wide = pair(name, value, where, minimum=0)
    return (high, high), (wide, wide)


class ZeroPadding2D(Layer):
    """Adds rows and columns of zeros.

    Args:
        padding: n, (rows, columns), or ((top, bottom), (left, right)).
        data_format: "channels_last" or None.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _ndim = 4

    def __init__(
        self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        where = f"layer '{self.name}' (ZeroPadding2D)"
        self.data_format: str = check_data_format(data_format, where)
        self.padding: Sides = _sides("padding", padding, where)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        rows, columns = (sum(p) for p in self.padding)
        return (
            batch,
            None if height is None else height + rows,
            None if width is None else width + columns,
            channels,
        )

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        pads = (*self.padding[0], *self.padding[1])
        return g.add("zero_pad2d", inputs, [], self.name, pads=pads) if any(pads) else inputs[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding, "data_format": self.data_format}


class Cropping2D(Layer):
    """Cuts off rows and columns.

    Args:
        cropping: n, (rows, columns), or ((top, bottom), (left, right)).
        data_format: "channels_last", None, or "channels_first": the last two axes are cut. On
            images (height, width, channels), ((0, 0), (2, 0)) then leaves the last of 3 channels.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _ndim = 4

    def __init__(
        self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        where = f"layer '{self.name}' (Cropping2D)"
        self._cuts_last = data_format == "channels_first"
        self.data_format: str | None = (
            data_format if self._cuts_last else check_data_format(data_format, where)
        )
        self.cropping: Sides = _sides("cropping", cropping, where)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        first = 2 if self._cuts_last else 1
        sizes = [
            None if size is None else size - sum(cut)
            for size, cut in zip(input_shape[first : first + 2], self.cropping, strict=True)
        ]
        if any(size is not None and size <= 0 for size in sizes):
            raise ValueError(
                f"Layer '{self.name}' (Cropping2D): cropping={self.cropping} leaves nothing of an "
                f"input of shape {tuple(input_shape)}"
            )
        return (*input_shape[:first], *sizes, *input_shape[first + 2 :])

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        (top, bottom), (left, right) = self.cropping
        if not self._cuts_last:
            return self._cut(g, inputs[0], (top, bottom, left, right))
        x = self._cut(g, inputs[0], (0, 0, top, bottom))
        if not left + right:
            return x
        height, width, channels = g.shape(x)[1:]
        # The core cuts the axes of pictures: the channels become the columns of one.
        x = g.add("reshape", [x], [], self.name, shape=(height * width, channels, 1))
        x = self._cut(g, x, (0, 0, left, right))
        shape = (height, width, channels - left - right)
        return g.add("reshape", [x], [], self.name, shape=shape)

    def _cut(self, g: Any, x: int, pads: tuple[int, int, int, int]) -> int:
        return g.add("crop2d", [x], [], self.name, pads=pads) if any(pads) else x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cropping": self.cropping, "data_format": self.data_format}


class Flatten(Layer):
    """One row of values per sample, height first, channels last.

    Args:
        data_format: "channels_last" or None.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _min_ndim = 1

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format: str = check_data_format(data_format, f"layer '{self.name}'")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sizes: Any = input_shape[1:]
        return (input_shape[0], None if None in sizes else math.prod(sizes))

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        shape = g.shape(inputs[0])
        if len(shape) == 2:
            return inputs[0]
        return g.add("reshape", inputs, [], self.name, shape=(math.prod(shape[1:]),))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class Reshape(Layer):
    """The same values in another shape.

    Args:
        target_shape: sizes without the batch; one of them may be -1.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _records_build = False

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        sizes = tuple(target_shape) if hasattr(target_shape, "__iter__") else None
        if (
            sizes is None
            or not all(hasattr(s, "__index__") for s in sizes)
            or any(int(s) < -1 or int(s) == 0 for s in sizes)
            or sizes.count(-1) > 1
        ):
            raise ValueError(
                f"layer '{self.name}' (Reshape): `target_shape` is a tuple of positive sizes "
                f"without the batch, one of them at most -1. Received: {target_shape!r}"
            )
        self.target_shape: tuple[int, ...] = tuple(int(s) for s in sizes)

    def _resolve(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        total = math.prod(sizes)
        known = math.prod(s for s in self.target_shape if s != -1)
        if total % known or (-1 not in self.target_shape and total != known):
            raise ValueError(
                f"Layer '{self.name}' (Reshape): the total size of the tensor must be unchanged. "
                f"Received: input_shape={sizes}, target_shape={self.target_shape}"
            )
        return tuple(total // known if s == -1 else s for s in self.target_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sizes: Any = input_shape[1:]
        if None in sizes:
            return (input_shape[0], *(None if s == -1 else s for s in self.target_shape))
        return (input_shape[0], *self._resolve(sizes))

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        shape = tuple(g.shape(inputs[0]))[1:]
        target = self._resolve(shape)
        if target == shape:
            return inputs[0]
        return g.add("reshape", inputs, [], self.name, shape=target)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": self.target_shape}
