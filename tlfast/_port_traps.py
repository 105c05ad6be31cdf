"""Traps: lines that run and do something else than is meant, with the line to write."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tlfast import _port_ranges
from tlfast._port_script import Script

_LISTINGS = ("listdir", "glob", "iglob", "rglob", "iterdir", "scandir")
_CLASSES = re.compile(r"class|label|categor", re.IGNORECASE)
_OUTPUT_LOSSES = ("BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy")


@dataclass(frozen=True)
class Trap:
    """One finding.

    Attributes:
        line: where.
        kind: "preprocessing", "always true", "freezing", "class order" or "output".
        text: what happens.
        write: the line to write instead or besides.
    """

    line: int
    kind: str
    text: str
    write: str


def traps(script: Script) -> list[Trap]:
    """Return the traps of a script, in the order of lines."""
    found = [Trap(line, "preprocessing", *rest) for line, *rest in _port_ranges.findings(script)]
    for kind, findings in (
        ("always true", _always_true), ("freezing", _freezing), ("class order", _class_order),
        ("output", _output),
    ):  # fmt: skip
        found += [Trap(line, kind, *rest) for line, *rest in findings(script)]
    return sorted(found, key=lambda trap: (trap.line, trap.kind))


Finding = tuple[int, str, str]


# ---- conditions ----------------------------------------------------------------------------------


def _always_true(script: Script) -> Iterator[Finding]:
    """`if head == 'a' or 'b':`, where the second text alone is true."""
    for node in ast.walk(script.tree):
        if not isinstance(node, (ast.If, ast.While, ast.IfExp)):
            continue
        for test in ast.walk(node.test):
            if not isinstance(test, ast.BoolOp) or not isinstance(test.op, ast.Or):
                continue
            constants = [
                value.value
                for value in test.values
                if isinstance(value, ast.Constant) and value.value and value.value is not True
            ]
            if constants:
                text = f"`{script.says(test)}` is always true, because {constants[0]!r} alone is"
                yield test.lineno, text, _membership(script, test)


def _membership(script: Script, test: ast.BoolOp) -> str:
    first = test.values[0]
    if not (isinstance(first, ast.Compare) and len(first.ops) == 1 and
            isinstance(first.ops[0], ast.Eq)):  # fmt: skip
        return "a comparison on both sides of `or`"
    values = [first.comparators[0], *test.values[1:]]
    values = [v.comparators[0] if isinstance(v, ast.Compare) else v for v in values]
    return f"{script.says(first.left)} in ({', '.join(map(script.says, values))})"


# ---- freezing ------------------------------------------------------------------------------------


def _freezing(script: Script) -> Iterator[Finding]:
    """`trainable` set between compile and fit, and `training` where `trainable` is meant."""
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            target = node.targets[0]
            if target.attr == "training" and isinstance(node.value, ast.Constant):
                line = f"{script.says(target.value)}.trainable = {node.value.value!r}"
                text = f"`{script.says(node)}` freezes nothing: the attribute is `trainable`"
                yield node.lineno, text, line
    functions = [n for n in ast.walk(script.tree) if isinstance(n, ast.FunctionDef)]
    scopes: list[ast.Module | ast.FunctionDef] = [script.tree, *functions]
    for scope in scopes:
        yield from _without_compiling(script, scope)


def _without_compiling(script: Script, scope: ast.Module | ast.FunctionDef) -> Iterator[Finding]:
    compiled: ast.Call | None = None
    changed: ast.Assign | None = None
    for node in _in_order(scope.body):
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            if compiled and isinstance(target, ast.Attribute) and target.attr == "trainable":
                changed = changed or node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "compile" and not _is_re(node):
                compiled, changed = node, None
            elif node.func.attr in ("fit", "fit_generator") and changed and compiled:
                text = (
                    f"`{script.says(changed)}` after compile: Keras goes on training the weights "
                    "it compiled for (tlfast reads the flags at every fit)"
                )
                yield changed.lineno, text, f"{script.says(compiled)}  # before fit"
                changed = None


def _is_re(call: ast.Call) -> bool:
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    return isinstance(owner, ast.Name) and owner.id == "re"


def _in_order(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Assignments and calls as they run, without those inside functions defined here."""
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        blocks = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
        if any(blocks):
            for block in blocks:
                yield from _in_order(block)
            continue
        found = [n for n in ast.walk(statement) if isinstance(n, (ast.Call, ast.Assign))]
        yield from sorted(found, key=lambda node: (node.lineno, node.col_offset))


# ---- order of classes ----------------------------------------------------------------------------


def _class_order(script: Script) -> Iterator[Finding]:
    """Class names in the order in which the file system lists folders."""
    in_order = _sorted_names(script.tree)
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
            if _CLASSES.search(name) and name not in in_order and _lists(value):
                yield _order_finding(value, f"{name} = sorted({script.says(value)})")
        elif (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and
              node.func.id == "enumerate" and node.args and _lists(node.args[0])):  # fmt: skip
            yield _order_finding(node, f"enumerate(sorted({script.says(node.args[0])}))")


def _order_finding(node: ast.expr, line: str) -> Finding:
    text = (
        "folders come in the order of the file system, which differs between machines; the "
        "labels of flow_from_directory and image_dataset_from_directory count sorted names"
    )
    return node.lineno, text, line


def _lists(value: ast.expr) -> bool:
    """Whether a value is a listing of a folder, in the order it came in."""
    if isinstance(value, (ast.ListComp, ast.GeneratorExp)):
        return _lists(value.generators[0].iter)
    if not isinstance(value, ast.Call):
        return False
    name = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(
        value.func, "id", "")  # fmt: skip
    if name in ("list", "tuple", "map") and value.args:
        return _lists(value.args[-1])
    return name in _LISTINGS


def _sorted_names(tree: ast.Module) -> set[str]:
    """Names that are sorted somewhere: x.sort(), sorted(x)."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            func = node.func
            if isinstance(func, ast.Attribute) and func.attr == "sort":
                found.add(getattr(func.value, "id", ""))
            elif isinstance(func, ast.Name) and func.id == "sorted" and node.args:
                found.add(getattr(node.args[0], "id", ""))
    return found


# ---- output and loss -----------------------------------------------------------------------------


def _output(script: Script) -> Iterator[Finding]:
    """The last Dense layer before each compile, against its loss."""
    last: tuple[ast.Call, int | None, str | None] | None = None
    events = [(call, name) for call, name, _ in script.calls() if name == "Dense"]
    events += [
        (node, "compile")
        for node in ast.walk(script.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        and node.func.attr == "compile" and not _is_re(node)
    ]  # fmt: skip
    for call, name in sorted(events, key=lambda event: (event[0].lineno, event[0].col_offset)):
        if name == "Dense":
            activation = script.argument(call, "activation", 1)
            activation = getattr(activation, "__name__", activation)
            last = call, script.argument(call, "units", 0), activation
        elif last is not None:
            yield from _against_loss(script, last[1], last[2], call)


def _against_loss(
    script: Script, units: int | None, activation: str | None, call: ast.Call
) -> Iterator[Finding]:
    node = script.argument_node(call, "loss", 1)
    if node is None:
        return
    name = script.argument(call, "loss", 1)
    from_logits = None
    if isinstance(node, ast.Call):
        name = getattr(script.object(node.func), "__name__", None)
        from_logits = script.argument(node, "from_logits", 0)
    name = getattr(name, "__name__", name)
    if not isinstance(name, str):
        return
    kind = name.replace("_", "").lower()
    wrong_loss = from_logits is True and name in _OUTPUT_LOSSES
    if wrong_loss and isinstance(node, ast.Call) and activation in ("softmax", "sigmoid"):
        text = f"from_logits=True with a last layer that has activation='{activation}' already"
        yield node.lineno, text, f"loss={script.says(node.func)}()"
    if activation == "softmax" and units == 1:
        text = "softmax over one unit is always 1, whatever the network learns"
        yield node.lineno, text, "Dense(1, activation='sigmoid') with loss='binary_crossentropy'"
    elif activation == "softmax" and units and kind == "binarycrossentropy":
        text = f"binary_crossentropy on a softmax of {units} units takes them for {units} separate"
        text += " yes/no answers"
        yield node.lineno, text, "loss='categorical_crossentropy' (labels one-hot), or 'sparse_...'"
    elif units == 1 and kind == "categoricalcrossentropy":
        text = "categorical_crossentropy of one unit is always 0"
        yield node.lineno, text, "loss='binary_crossentropy', with labels 0 and 1"
