"""What the names of a script stand for: modules and classes of Keras, constants, objects."""

import ast
import operator
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tlfast import _run_hook

_ARITHMETIC = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}  # fmt: skip


class Unknown(Exception):
    """A value that is known only when the script runs."""


class Script:
    """The syntax tree of a script and what its names stand for.

    Names that stand for more than one thing stand for nothing here: better to miss a finding than
    to report a wrong one.

    Args:
        tree: of the whole script.
        text: what the tree was made from.

    Attributes:
        bindings: local name to path in TensorFlow or Keras, {"tf": "tensorflow"}.
        constants: names with one value throughout.
    """

    def __init__(self, tree: ast.Module, text: str) -> None:
        self.tree = tree
        self._text = text
        self.bindings: dict[str, str] = {}
        self.constants: dict[str, Any] = {}
        bound = Counter(_bound_names(tree))
        for name, path, _ in self.imports():
            if own(self.bindings.get(name, "")) == own(path):
                bound[name] -= 1
            self.bindings[name] = path
        for name in [name for name in self.bindings if bound[name] > 1]:
            del self.bindings[name]
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                self._bind(node.targets[0], node.value, bound)

    def _bind(self, target: ast.expr, value: ast.expr, bound: Counter[str]) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=False):
                self._bind(one, other, bound)
        if not isinstance(target, ast.Name) or bound[target.id] > 1:
            return
        path = self.path(value)
        if path is not None:
            self.bindings[target.id] = path
            return
        try:
            self.constants[target.id] = self.value(value)
        except Unknown:
            return

    def imports(self) -> Iterator[tuple[str, str, ast.stmt]]:
        """(local name, path, node) of every import from TensorFlow and Keras."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    root = alias.name.partition(".")[0]
                    if root in _run_hook.ROOTS:
                        yield alias.asname or root, alias.name if alias.asname else root, node
            elif isinstance(node, ast.ImportFrom) and not node.level:
                module = node.module or ""
                if module.partition(".")[0] not in _run_hook.ROOTS:
                    continue
                for alias in node.names:
                    for name in [alias.name] if alias.name != "*" else _public(module):
                        yield alias.asname or name, f"{module}.{name}", node

    def says(self, node: ast.AST) -> str:
        """What the script says there, on one line."""
        return " ".join((ast.get_source_segment(self._text, node) or ast.unparse(node)).split())

    def path(self, node: ast.AST | None) -> str | None:
        """ "tensorflow.keras.layers.Dense" for what a name or attribute chain stands for."""
        names = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self.bindings:
            return None
        return ".".join([self.bindings[node.id], *reversed(names)])

    def object(self, node: ast.AST | None) -> Any:
        """What tlfast has at the path of an expression; None where it has nothing."""
        path = self.path(node)
        try:
            return None if path is None else resolve(path)
        except AttributeError:
            return None

    def value(self, node: ast.expr) -> Any:
        """The value of an expression of constants.

        Raises:
            Unknown: it is known only when the script runs.
        """
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name) and node.id in self.constants:
            return self.constants[node.id]
        if isinstance(node, (ast.Tuple, ast.List)):
            return (tuple if isinstance(node, ast.Tuple) else list)(map(self.value, node.elts))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self._number(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            try:
                return _ARITHMETIC[type(node.op)](self._number(node.left), self._number(node.right))
            except ZeroDivisionError as error:
                raise Unknown from error
        found = self.object(node)
        if found is None:
            raise Unknown
        return found

    def _number(self, node: ast.expr) -> Any:
        value = self.value(node)
        if not isinstance(value, (int, float)):
            raise Unknown
        return value

    def argument(self, call: ast.Call, name: str, place: int | None = None) -> Any:
        """The value of a call's argument, or None if it is not given or not known."""
        node = self.argument_node(call, name, place)
        return None if node is None else self.constant(node)

    def constant(self, node: ast.expr) -> Any:
        """`value`, or None where it is not known."""
        try:
            return self.value(node)
        except Unknown:
            return None

    @staticmethod
    def argument_node(call: ast.Call, name: str, place: int | None = None) -> ast.expr | None:
        """The expression given for an argument, by name or place."""
        for keyword in call.keywords:
            if keyword.arg == name:
                return keyword.value
        return call.args[place] if place is not None and place < len(call.args) else None

    def calls(self) -> Iterator[tuple[ast.Call, str, Any]]:
        """(call, name, object) of every call of something from tlfast, in the order of lines."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        for call in sorted(found, key=lambda call: (call.lineno, call.col_offset)):
            made = self.object(call.func)
            if made is not None:
                yield call, getattr(made, "__name__", ""), made


def resolve(path: str) -> Any:
    """`_run_hook.resolve` without the warning that a spelling is old: the script gives it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return _run_hook.resolve(path)


def own(path: str) -> str:
    """ "tlfast.keras.layers" for "tensorflow.keras.layers" and "keras.layers"."""
    root, _, rest = path.partition(".")
    return ".".join(filter(None, ["tlfast" if root == "tensorflow" else "tlfast.keras", rest]))


def _public(module: str) -> list[str]:
    try:
        return _run_hook.ServedModule(module, resolve(module)).__dir__()
    except AttributeError:
        return []


def _bound_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                if alias.name == "*":
                    yield from (
                        _public(module[:-1]) if module[:-1].startswith(_run_hook.ROOTS) else ()
                    )
                else:
                    yield alias.asname or alias.name.partition(".")[0]
