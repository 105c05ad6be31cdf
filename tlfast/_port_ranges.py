"""Does the script give each pretrained network the pixel range its weights were made for?

What prepares pixels (`preprocess_input`, `rescale=`, `Rescaling`, a division by 255) is gathered
over the whole script: which of it reaches which network is known only when it runs. So a network
is reported only where nothing in the script gives its range.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from tlfast._port_script import Script
from tlfast.applications._registry import BACKBONES, Backbone
from tlfast.applications._scales import SCALES


@dataclass(frozen=True)
class _Preparation:
    """Something that changes pixels: where, into which of SCALES (None: unknown), and its text."""

    line: int
    scale: str | None
    text: str


def findings(script: Script) -> Iterator[tuple[int, str, str]]:
    """Yield (line, what happens, what to write)."""
    networks = [
        (call, BACKBONES[name])
        for call, name, _ in script.calls()
        if name in BACKBONES and _pretrained(script, call)
    ]
    if not networks:
        return
    preparations = [*_by_calls(script), *_by_arithmetic(script)]
    scales = {p.scale for p in preparations}
    twice = list(_twice(script))
    yield from ((line, text, write) for line, text, write in twice)
    for call, network in networks:
        wanted = network.preprocessing
        if wanted in scales or None in scales or script.argument(call, "include_preprocessing"):
            continue
        if wanted == "none" and not preparations:
            continue
        yield _finding(script, call, network, preparations)


def _pretrained(script: Script, call: ast.Call) -> bool:
    node = script.argument_node(call, "weights", 1)
    return not (isinstance(node, ast.Constant) and node.value is None)


def _gives(preparation: _Preparation) -> str:
    """What `findings` knows of a preparation: it is silent where one is unknown."""
    assert preparation.scale is not None
    return f"`{preparation.text}` gives {SCALES[preparation.scale].text}"


def _finding(
    script: Script, call: ast.Call, network: Backbone, preparations: list[_Preparation]
) -> tuple[int, str, str]:
    wanted = SCALES[network.preprocessing].text
    if network.preprocessing == "none":
        first = preparations[0]
        text = (
            f"{_gives(first)}; {network.name}'s weights were made "
            f"for {wanted}, which the network scales itself"
        )
        return first.line, text, f"nothing: leave out `{first.text}`"
    function = f"keras.applications.{network.module}.preprocess_input"
    if preparations:
        first = preparations[0]
        line = first.line
        text = _gives(first)
        instead = f" instead of `{first.text}`"
    else:
        line, instead = call.lineno, ""
        text = "pixels 0 to 255 go in as they are"
    text += f"; {network.name}'s weights were made for {wanted}"
    generator = any(name == "ImageDataGenerator" for _, name, _ in script.calls())
    write = f"ImageDataGenerator(preprocessing_function={function})" if generator else (
        f"x = {function}(inputs)")  # fmt: skip
    return line, text, f"{write}{instead}"


def _twice(script: Script) -> Iterator[tuple[int, str, str]]:
    """A generator with both preprocess_input and rescale applies one after the other."""
    for call, name, _ in script.calls():
        function = script.argument_node(call, "preprocessing_function")
        rescale = script.argument(call, "rescale")
        if name != "ImageDataGenerator" or not rescale or function is None:
            continue
        if _scale_of_function(script, function) not in (None, "none"):
            text = "both preprocessing_function and rescale change the pixels, one after the other"
            yield call.lineno, text, f"{script.says(call.func)}(preprocessing_function=" \
                f"{script.says(function)}) without rescale"  # fmt: skip


def _by_calls(script: Script) -> Iterator[_Preparation]:
    for call, name, _ in script.calls():
        if name == "ImageDataGenerator":
            factor = script.argument_node(call, "rescale")
            if factor is not None and script.argument(call, "rescale"):
                text = f"rescale={script.says(factor)}"
                yield _Preparation(call.lineno, _affine(script.argument(call, "rescale"), 0), text)
            for option in ("featurewise_center", "samplewise_center"):
                if script.argument(call, option):
                    yield _Preparation(call.lineno, None, option)
        elif name == "Rescaling":
            factor = script.argument(call, "scale", 0)
            offset = script.argument(call, "offset", 1) or 0
            yield _Preparation(call.lineno, _affine(factor, offset), script.says(call))
        elif name == "Normalization":
            yield _Preparation(call.lineno, None, script.says(call))
    # As a function called or passed on: map, Lambda, preprocessing_function.
    for node in ast.walk(script.tree):
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            path = script.path(node)
            if path is not None and path.endswith(".preprocess_input"):
                text = script.says(node)
                yield _Preparation(node.lineno, _scale_of_function(script, node), text)


def _scale_of_function(script: Script, node: ast.expr) -> str | None:
    path = script.path(node) or ""
    modules = {record.module: record.preprocessing for record in BACKBONES.values()}
    modules["resnet50"] = "caffe"
    return modules.get(path.removesuffix(".preprocess_input").rpartition(".")[2])


def _by_arithmetic(script: Script) -> Iterator[_Preparation]:
    """x / 255, x / 127.5 - 1, x * (1 / 255)."""
    inner = set()
    for node in ast.walk(script.tree):  # outer expressions come first
        if not isinstance(node, (ast.BinOp, ast.AugAssign)) or id(node) in inner:
            continue
        offset, scaled = 0.0, cast("ast.AST", node)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
            offset = -_constant(script, node.right)
            scaled = node.left
        factor = _factor(script, scaled)
        if factor:
            inner.add(id(scaled))
            yield _Preparation(node.lineno, _affine(factor, offset), script.says(node))


def _factor(script: Script, node: ast.AST) -> float:
    """What an expression multiplies something by, where that is 1/255 or 1/127.5; else 0."""
    if not isinstance(node, (ast.BinOp, ast.AugAssign)):
        return 0.0
    divided = node.target if isinstance(node, ast.AugAssign) else node.left
    if _constant(script, divided):  # 1. / 255 itself is no picture
        return 0.0
    constant = _constant(script, node.value if isinstance(node, ast.AugAssign) else node.right)
    if isinstance(node.op, ast.Div) and constant in (255, 127.5):
        return 1 / constant
    if isinstance(node.op, ast.Mult) and _affine(constant, 0) == "unit":
        return constant
    return 0.0


def _constant(script: Script, node: ast.expr) -> float:
    value = script.constant(node)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _affine(factor: object, offset: object) -> str | None:
    """The key of SCALES for pixel * factor + offset, or None for another one."""
    if not isinstance(factor, (int, float)) or not isinstance(offset, (int, float)):
        return None
    for key in ("unit", "tf", "lite"):
        scale = SCALES[key]
        if abs(factor - scale.factor) < 1e-6 and abs(offset - scale.offset) < 1e-3:
            return key
    return None
