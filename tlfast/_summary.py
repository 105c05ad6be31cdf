"""The table of `model.summary()`, character for character as Keras prints it.

Keras draws it with the library rich; the column arithmetic and the wrapping below are rich's for
a table of fixed width, heavy header and a rule between rows.
"""

import math
import re
import shutil
import sys
from typing import Any

from tlfast._backbones import hidden_names

_ASCII = str.maketrans(
    {
        **dict.fromkeys("┏┓┳┡┩╇├┤┼└┘┴", "+"),
        **dict.fromkeys("━─", "-"),
        **dict.fromkeys("┃│", "|"),
        "…": "~",
    }
)


def readable_memory_size(size: float) -> str:
    """Return bytes as "1.57 KB", with 1024 bytes to the KB."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} PB"


def _wrap(text: str, width: int) -> list[str]:
    """Break a text between words; a word longer than a line is cut with an ellipsis."""
    lines, line, used = [], "", 0
    for word in re.findall(r"\s*\S+\s*", text):
        length = len(word.rstrip())
        if line and used + length > width:
            lines.append(line)
            line, used = "", 0
        line += word
        used += len(word)
    lines.append(line)
    result = []
    for line in lines:
        line = line[:width] + line[width:].rstrip()
        result.append(line if len(line) <= width else line[: width - 1] + "…")
    return result


def _aligned(lines: list[str], width: int, alignment: str) -> list[str]:
    if alignment == "left":
        return [line.ljust(width) for line in lines]
    if alignment == "right":
        return [line.rstrip().rjust(width) for line in lines]
    centred = []
    for line in lines:
        line = line.rstrip()
        centred.append((" " * ((width - len(line)) // 2) + line).ljust(width))
    return centred


def _content_widths(widths: list[int], line_length: int) -> list[int]:
    """Fit columns of the wanted content widths into a table of `line_length` characters."""
    count = len(widths)
    room = line_length - (count + 1)  # the vertical rules
    padded = [w + 2 for w in widths]
    total = sum(padded)
    if total > room:
        excess, ratio, reduced = total - room, count, []
        for value in padded:
            share = min(value, round(excess / ratio))
            reduced.append(value - share)
            excess -= share
            ratio -= 1
        total = sum(reduced)
        padded = [min(p, r) for p, r in zip(padded, reduced, strict=True)]
    if total < room:
        left, ratio, grown = room - total, sum(padded), []
        for value in padded:
            share = math.ceil(value * left / ratio) if ratio > 0 else left
            grown.append(value + share)
            ratio -= value
            left -= share
        padded = grown
    return [max(p - 2, 1) for p in padded]


def _table(
    header: list[str],
    rows: list[list[str]],
    widths: list[int],
    alignments: list[str],
    line_length: int,
) -> list[str]:
    widths = _content_widths(widths, line_length)

    def rule(left: str, line: str, cross: str, right: str) -> str:
        return left + cross.join(line * (w + 2) for w in widths) + right

    def block(cells: list[str], bar: str, bottom: bool = False) -> list[str]:
        columns = [
            _aligned(_wrap(cell, w), w, a)
            for cell, w, a in zip(cells, widths, alignments, strict=True)
        ]
        height = max(len(c) for c in columns)
        for column, w in zip(columns, widths, strict=True):
            blank = [" " * w] * (height - len(column))
            column[:] = blank + column if bottom else column + blank
        return [
            bar + bar.join(f" {cell} " for cell in line) + bar
            for line in zip(*columns, strict=True)
        ]

    lines = [rule("┏", "━", "┳", "┓"), *block(header, "┃", bottom=True), rule("┡", "━", "╇", "┩")]
    for i, row in enumerate(rows):
        if i:
            lines.append(rule("├", "─", "┼", "┤"))
        lines += block(row, "│")
    return [*lines, rule("└", "─", "┴", "┘")]


def _shape_text(shape: tuple[Any, ...]) -> str:
    return f"({', '.join(str(size) for size in shape)})"


def _output_shape(layer: Any) -> str:
    if layer.inbound_nodes:
        shapes = [_shape_text(t.shape) for t in layer.inbound_nodes[-1].output_tensors]
    elif getattr(layer, "_build_input_shape", None) is not None:
        shape = layer.compute_output_shape(layer._build_input_shape)
        shapes = (
            [_shape_text(shape)] if not isinstance(shape, list) else [_shape_text(s) for s in shape]
        )
    else:
        return "?"
    return shapes[0] if len(shapes) == 1 else str(shapes).replace("'", "")


def _is_chain(model: Any) -> bool:
    """Whether every layer follows one layer and is called once."""
    nodes: set[Any] = set()
    for level in model._graph.nodes_by_depth.values():
        if len(level) > 1 or len(level[0].input_tensors) > 1:
            return False
        nodes.update(level)
    return all(sum(node in nodes for node in layer.inbound_nodes) <= 1 for layer in model.layers)


def _connections(layer: Any, model: Any) -> str:
    names = []
    for node in layer.inbound_nodes:
        if node in model._graph.node_set:
            for tensor in node.input_tensors:
                operation, index, tensor_index = tensor._keras_history
                names.append(f"{operation.name}[{index}][{tensor_index}]")
    return ", ".join(names) or "-"


def _param_count(layer: Any) -> str:
    if not hasattr(layer, "built"):
        return "0"
    return f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"


def _layer_range(layers: list[Any], layer_range: Any) -> list[Any]:
    """Return the layers between two names or regular expressions."""
    if layer_range is None:
        return layers
    if len(layer_range) != 2 or not all(isinstance(x, str) for x in layer_range):
        raise ValueError(
            "layer_range is a pair of layer names, first and last. Received: "
            f"layer_range={layer_range}"
        )
    first, last = (
        [i for i, layer in enumerate(layers) if re.match(pattern, layer.name)]
        for pattern in layer_range
    )
    if not first or not last:
        raise ValueError(
            f"Passed layer_names do not match the layer names in the model. Received: {layer_range}"
        )
    if min(first) > max(last):
        return layers[min(last) : max(first) + 1]
    return layers[min(first) : max(last) + 1]


def _rows(
    layers: list[Any], model: Any, connected: bool, expand_nested: bool, show_trainable: bool
) -> list[list[str]]:
    rows = []

    def add(layer: Any, level: int) -> None:
        prefix = "   " * level + "└ " if level else ""
        row = [
            f"{prefix}{layer.name} ({type(layer).__name__})",
            _output_shape(layer),
            _param_count(layer),
        ]
        if connected:
            row.append(_connections(layer, model))
        if show_trainable:
            weighty = bool(getattr(layer, "weights", None))
            row.append(("Y" if layer.trainable else "N") if weighty else "-")
        rows.append(row)
        if expand_nested and hasattr(layer, "layers"):
            for inner in layer.layers:
                add(inner, level + 1)

    for layer in layers:
        add(layer, 0)
    return rows


def _footer(model: Any) -> list[str]:
    optimizer = []
    built = (
        model.compiled and model.optimizer is not None and getattr(model.optimizer, "built", False)
    )
    if built:
        optimizer = model.optimizer.variables
    groups = [
        ("Total", model.weights + list(optimizer)),
        ("Trainable", model.trainable_weights),
        ("Non-trainable", model.non_trainable_weights),
    ]
    if built:
        groups.append(("Optimizer", optimizer))
    lines = []
    for title, variables in groups:
        count = sum(math.prod(v.shape) for v in variables)
        size = sum(_nbytes(v) for v in variables)
        lines.append(f" {title} params: {count:,} ({readable_memory_size(size)})")
    hidden = hidden_names(model)
    if hidden:
        lines.append(f" Backbone: {', '.join(hidden)}")
    layers = [layer for layer in model._flatten_layers() if not hasattr(layer, "layers")]
    mixed = sum(layer.compute_dtype == "bfloat16" for layer in layers)
    if mixed:
        lines.append(f" Computed in bfloat16 (mixed_bfloat16): {mixed} of {len(layers)} layers")
    return lines


def _nbytes(variable: Any) -> int:
    size = 8 if getattr(variable, "dtype", "float32") == "int64" else 4
    return size * math.prod(variable.shape)


def summary_text(
    model: Any,
    line_length: int | None = None,
    positions: list[float] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Any = None,
) -> str:
    """Return the text of `model.summary()`; arguments as there.

    Raises:
        ValueError: if the columns do not fit or `layer_range` names no layer.
    """
    chain = model._graph is None or type(model).__name__ == "Sequential" or _is_chain(model)
    stacked = model._graph is None or type(model).__name__ == "Sequential"
    layers = model.layers if stacked else model.operations
    header, alignments = ["Layer (type)", "Output Shape", "Param #"], ["left", "left", "right"]
    width, wanted = 88, positions or [0.45, 0.80, 1.0]
    if not chain:
        width, wanted = 108, positions or [0.3, 0.56, 0.74, 1.0]
        header.append("Connected to")
        alignments.append("left")
    if show_trainable:
        width, wanted = width + 12, [p * 0.90 for p in wanted] + [1.0]
        header.append("Trainable")
        alignments.append("center")
    line_length = line_length or min(width, shutil.get_terminal_size().columns - 4)
    widths: list[int] = []
    for position in wanted:
        widths.append(int(position * line_length) - sum(widths))
    if min(widths) < 4 or len(widths) != len(header):
        raise ValueError(
            "Insufficient console width to print summary: the table has the columns "
            f"{header}; line_length={line_length} and positions={positions} give them the widths "
            f"{widths}, and each needs at least 4"
        )
    rows = _rows(_layer_range(layers, layer_range), model, not chain, expand_nested, show_trainable)
    lines = [
        f'Model: "{model.name}"',
        *_table(header, rows, widths, alignments, line_length),
        *_footer(model),
    ]
    return "\n".join(lines) + "\n"


def print_summary(
    model: Any,
    line_length: int | None = None,
    positions: list[float] | None = None,
    print_fn: Any = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Any = None,
) -> None:
    """Print the text of `summary_text`, or pass it to `print_fn`."""
    text = summary_text(model, line_length, positions, expand_nested, show_trainable, layer_range)
    if print_fn is not None:
        print_fn(text)
        return
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_ASCII)
    sys.stdout.write(text)
