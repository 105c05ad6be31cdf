"""Names and calls of a script that tlfast lacks, found by asking tlfast itself."""

import ast
import importlib
import inspect
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from tlfast._port_script import Script, Unknown
from tlfast._tf import Namespace

# Classes that are made from what the script gives, to see whether they take it.
_TRIED = (
    "tlfast.layers",
    "tlfast.optimizers",
    "tlfast.losses",
    "tlfast.metrics",
    "tlfast.regularizers",
    "tlfast.initializers",
    "tlfast.callbacks",
    "tlfast.preprocessing.image",
)


def missing(script: Script) -> list[tuple[int, str]]:
    """Return (line, sentence) for every name and call that will raise, in the order of lines."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [*_imports(script), *_chains(script), *_calls(script), *_methods(script)]
    return sorted(dict.fromkeys(found))


def _imports(script: Script) -> Iterator[tuple[int, str]]:
    for _, path, node in script.imports():
        sentence = _lacking(path)
        if sentence:
            yield node.lineno, sentence


def _chains(script: Script) -> Iterator[tuple[int, str]]:
    inner = {id(n.value) for n in ast.walk(script.tree) if isinstance(n, ast.Attribute)}
    for node in ast.walk(script.tree):
        if not isinstance(node, ast.Attribute) or id(node) in inner:
            continue
        path = script.path(node)
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            root = root.value
        if path is None or not isinstance(root, ast.Name):
            continue
        if _lacking(script.bindings[root.id]):  # said at its import
            continue
        sentence = _lacking(path)
        if sentence:
            yield node.end_lineno or node.lineno, sentence


def _lacking(path: str) -> str | None:
    """The sentence about the first name of a path that is not there, or None."""
    found: Any = importlib.import_module("tlfast")
    names = path.split(".")
    for place, name in enumerate(names[1:], 2):
        if not isinstance(found, (ModuleType, Namespace, type)):
            return None  # what functions and numbers have is not looked at
        try:
            found = getattr(found, name)
        except AttributeError as error:
            return f"{'.'.join(names[:place])}: {error}"
    return None


def _calls(script: Script) -> Iterator[tuple[int, str]]:
    for call, _, called in script.calls():
        tried = isinstance(called, type) and called.__module__.startswith(_TRIED)
        reason = _refusal(script, call, called) if tried else _misfit(call, called)
        if reason:
            yield call.lineno, f"{script.says(call.func)}(...): {reason}"


def _refusal(script: Script, call: ast.Call, called: type) -> str | None:
    """Why a class does not take the arguments of a call, as far as these are known."""
    try:
        arguments = [script.value(node) for node in call.args]
    except Unknown:
        return _misfit(call, called)
    given = {}
    for keyword in call.keywords:
        try:
            given[keyword.arg or ""] = script.value(keyword.value)
        except Unknown:
            if keyword.arg is None or _required(called, keyword.arg):
                return _misfit(call, called)
    try:
        called(*arguments, **given)
    except (NotImplementedError, TypeError, ValueError) as error:
        return str(error)
    return _misfit(call, called)


def _required(called: Any, name: str) -> bool:
    # Of the class itself one sees `__new__`, which takes anything.
    parameter = inspect.signature(called.__init__).parameters.get(name)
    return parameter is not None and parameter.default is parameter.empty


def _misfit(call: ast.Call, called: Any) -> str | None:
    """Why a call does not fit the signature, or None."""
    if (inspect.getdoc(called) or "").startswith("Not built"):
        return "it is not built"
    names = [keyword.arg for keyword in call.keywords if keyword.arg is not None]
    unpacks = len(names) < len(call.keywords)
    if unpacks or any(isinstance(node, ast.Starred) for node in call.args):
        return None
    try:
        inspect.signature(called).bind(*call.args, **dict.fromkeys(names))
    except TypeError as error:
        return str(error)
    except ValueError:  # no signature, as some built-in functions
        return None
    return None


# ---- methods of models, datasets and generators --------------------------------------------------


def _methods(script: Script) -> Iterator[tuple[int, str]]:
    kinds = _kinds(script)
    for call in ast.walk(script.tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        kind = _kind(script, kinds, call.func.value)
        if kind is None:
            continue
        name, line = call.func.attr, call.func.end_lineno or call.lineno
        method = getattr(kind, name, None)
        if method is None:
            yield line, f"{kind.__name__}.{name}: tlfast's {kind.__name__} has none"
        elif callable(method) and (reason := _misfit(_with_self(call), method)):
            yield line, f"{kind.__name__}.{name}(...): {reason}"


def _with_self(call: ast.Call) -> ast.Call:
    return ast.Call(call.func, [call.func, *call.args], call.keywords)


def _kinds(script: Script) -> dict[str, Any]:
    """The classes of variables, where all assignments agree; None where they do not."""
    kinds: dict[str, Any] = {}
    nodes = [node for node in ast.walk(script.tree) if isinstance(node, ast.Assign)]
    for node in sorted(nodes, key=lambda node: node.lineno):
        kind = _kind(script, kinds, node.value)
        for target in node.targets:
            for name in ast.walk(target):
                if isinstance(name, ast.Name):
                    plain = isinstance(target, ast.Name)
                    same = plain and kinds.get(name.id, kind) is kind
                    kinds[name.id] = kind if same else None
    for argument in ast.walk(script.tree):
        if isinstance(argument, ast.arg):
            kinds[argument.arg] = None
    return kinds


def _kind(script: Script, kinds: dict[str, Any], node: ast.expr) -> Any:
    from tlfast import applications, data, models

    if isinstance(node, ast.Name):
        return kinds.get(node.id)
    if not isinstance(node, ast.Call):
        return None
    called = script.object(node.func)
    name = getattr(called, "__name__", "")
    if isinstance(called, type):
        return models.Model if issubclass(called, models.Model) else called
    if name in applications._FUNCTIONS or name == "load_model":
        return models.Model
    if name == "image_dataset_from_directory" and script.argument(node, "subset") != "both":
        return data.Dataset
    if isinstance(node.func, ast.Attribute):
        owner = _kind(script, kinds, node.func.value)
        return owner if owner is data.Dataset and hasattr(owner, node.func.attr) else None
    return None
