"""Window arithmetic of convolutions and poolings, by TensorFlow's rules."""

from typing import Any

from tlfast._errors import did_you_mean

PADDINGS = ("valid", "same")


def pair(name: str, value: Any, where: str, minimum: int = 1) -> tuple[int, int]:
    """Return an int or a pair of ints as a pair.

    Raises:
        ValueError: unless both are integers of at least `minimum`, and below 2**31.
    """
    values = (value, value) if hasattr(value, "__index__") else value
    if (
        isinstance(values, (list, tuple))
        and len(values) == 2
        and all(hasattr(v, "__index__") and not isinstance(v, bool) for v in values)
        and all(minimum <= int(v) < 1 << 31 for v in values)
    ):
        return int(values[0]), int(values[1])
    raise ValueError(
        f"{where}: the `{name}` argument must be an integer or a pair of integers of at least "
        f"{minimum}, below 2**31. Received: {name}={value!r}"
    )


def padding_name(value: Any, where: str) -> str:
    """Return "valid" or "same".

    Raises:
        ValueError: for anything else.
    """
    name = value.lower() if isinstance(value, str) else value
    if name in PADDINGS:
        return name
    raise ValueError(
        f"{where}: the `padding` argument must be one of {PADDINGS}. Received: {value!r}."
        + did_you_mean(value, PADDINGS)
    )


def output_size(
    size: int | None, window: int, stride: int, padding: str, dilation: int = 1
) -> int | None:
    """Return the number of window positions along one axis; None if the size is unknown."""
    if size is None:
        return None
    if padding == "same":
        return -(-size // stride)
    return (size - dilation * (window - 1) - 1) // stride + 1


def same_pads(size: int, window: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return (before, after) of TensorFlow's "same": an odd pixel goes to the end."""
    reach = dilation * (window - 1) + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def window_pads(
    shape: tuple[int, ...],
    window: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation: tuple[int, int] = (1, 1),
) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right) for a concrete (batch, height, width, channels)."""
    if padding == "valid":
        return 0, 0, 0, 0
    top, bottom = same_pads(shape[1], window[0], strides[0], dilation[0])
    left, right = same_pads(shape[2], window[1], strides[1], dilation[1])
    return top, bottom, left, right


def check_positions(
    name: str,
    shape: tuple[Any, ...],
    window: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation: tuple[int, int] = (1, 1),
) -> tuple[int | None, int | None]:
    """Return the output (height, width).

    Raises:
        ValueError: if the input is smaller than the window.
    """
    height = output_size(shape[1], window[0], strides[0], padding, dilation[0])
    width = output_size(shape[2], window[1], strides[1], padding, dilation[1])
    if any(size is not None and size <= 0 for size in (height, width)):
        raise ValueError(
            "Computed output size would be zero or negative. Received "
            f"`inputs shape={tuple(shape)}` for layer '{name}' with a window of {window}, "
            f"`dilation_rate={dilation}`, `strides={strides}`, `padding={padding}`. Use larger "
            "images or padding='same'"
        )
    return height, width
