"""What a recipe from a file must look like before anything is done with it."""

import base64
import binascii
import math
from collections.abc import Callable
from typing import Any

from tlfast._recipe._maps import MAX_CONSTANT, MAX_OPERATIONS
from tlfast.saving.errors import FormatError

FORMAT = 1
MAX_EPOCHS = 100_000
_MAX_FITS = 1_000
_MAX_NODES = 1_000
_MAX_ROWS = 1 << 31
_MAX_TEXT = 4 << 20

Check = Callable[[Any, str], None]


def check(recipe: object) -> None:
    """Raise FormatError, naming the key, unless this is a recipe that can be read.

    Args:
        recipe: the entry "recipe" of a file's record.
    """
    version = recipe.get("format") if isinstance(recipe, dict) else None
    if isinstance(version, int) and not isinstance(version, bool) and version > FORMAT:
        raise FormatError(
            f"recipe.format is {version}, of a newer version of tlfast; this one reads {FORMAT}"
        )
    _RECIPE(recipe, "recipe")
    assert isinstance(recipe, dict)
    for number, fit in enumerate(recipe["fits"]):
        _check_places(fit, number, f"recipe.fits[{number}]")


def is_readable(recipe: object) -> bool:
    """Whether `check` finds nothing wrong."""
    try:
        check(recipe)
    except FormatError:
        return False
    return True


def _check_places(fit: dict[str, Any], number: int, where: str) -> None:
    """Steps read from earlier steps only."""
    for place, node in enumerate(fit["nodes"]):
        for key in ("of", "and"):
            if key in node and node[key] >= place:
                raise FormatError(
                    f"{where}.nodes[{place}].{key} is {node[key]}, not an earlier one"
                )
        kept = node.get("kept")
        if kept and "fit" in kept and kept["fit"] >= number:
            raise FormatError(
                f"{where}.nodes[{place}].kept.fit is {kept['fit']}, not an earlier one"
            )
    for key in ("data", "validation"):
        used = (fit[key] or {}).get("node", -1)
        if used >= len(fit["nodes"]):
            raise FormatError(f"{where}.{key}.node is {used}; there are {len(fit['nodes'])}")


# ---- kinds of values -------------------------------------------------------------------------


def _wrong(where: str, value: object, wanted: str) -> FormatError:
    return FormatError(f"{where} is {value!r:.60}, not {wanted}")


def _whole(least: int, most: int) -> Check:
    def verify(value: Any, where: str) -> None:
        good = isinstance(value, int) and not isinstance(value, bool)
        if not good or not least <= value <= most:
            raise _wrong(where, value, f"a whole number from {least} to {most}")

    return verify


def _number(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(where, value, "a number")


def _finite(value: Any, where: str) -> None:
    _number(value, where)
    if not math.isfinite(value):
        raise _wrong(where, value, "a finite number")


def _flag(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        raise _wrong(where, value, "true or false")


def _text(most: int = 1000) -> Check:
    def verify(value: Any, where: str) -> None:
        if not isinstance(value, str) or len(value) > most:
            raise _wrong(where, value, f"a text of up to {most} characters")

    return verify


def _bytes(value: Any, where: str) -> None:
    _text(_MAX_TEXT)(value, where)
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong(where, value, "base64") from error


def _one_of(*allowed: Any) -> Check:
    def verify(value: Any, where: str) -> None:
        if not any(value is one or type(value) is type(one) and value == one for one in allowed):
            raise _wrong(where, value, f"one of {', '.join(map(repr, allowed))}")

    return verify


def _maybe(kind: Check) -> Check:
    def verify(value: Any, where: str) -> None:
        if value is not None:
            kind(value, where)

    return verify


def _either(*kinds: Check) -> Check:
    def verify(value: Any, where: str) -> None:
        for kind in kinds[:-1]:
            try:
                return kind(value, where)
            except FormatError:
                continue
        kinds[-1](value, where)

    return verify


def _list(kind: Check, most: int, exactly: int | None = None) -> Check:
    def verify(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) > most:
            raise _wrong(where, value, f"a list of up to {most}")
        if exactly is not None and len(value) != exactly:
            raise _wrong(where, value, f"a list of {exactly}")
        for place, item in enumerate(value):
            kind(item, f"{where}[{place}]")

    return verify


def _row(*kinds: Check) -> Check:
    def verify(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) != len(kinds):
            raise _wrong(where, value, f"a list of {len(kinds)}")
        for place, (kind, item) in enumerate(zip(kinds, value, strict=True)):
            kind(item, f"{where}[{place}]")

    return verify


def _map(kind: Check, most: int) -> Check:
    def verify(value: Any, where: str) -> None:
        if not isinstance(value, dict) or len(value) > most:
            raise _wrong(where, value, f"an object of up to {most} entries")
        for key, item in value.items():
            kind(item, f"{where}[{key!r:.60}]")

    return verify


def _object(required: dict[str, Check], **optional: Check) -> Check:
    kinds = required | optional

    def verify(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(where, value, "an object")
        for key in (*required, *value):
            if key not in value:
                raise FormatError(f"{where} has no {key!r}")
            if key not in kinds:
                raise FormatError(f"{where} has an unknown entry {key!r:.60}")
        for key, item in value.items():
            kinds[key](item, f"{where}.{key}")

    return verify


def _by(key: str, table: dict[str, Check]) -> Check:
    """Objects whose entry `key` says what else they have."""

    def verify(value: Any, where: str) -> None:
        name = value.get(key) if isinstance(value, dict) else None
        if not isinstance(name, str) or name not in table:
            raise _wrong(f"{where}.{key}", name, f"one of {', '.join(table)}")
        table[name]({k: v for k, v in value.items() if k != key}, where)

    return verify


def _json(value: Any, where: str) -> None:
    """A config, which is checked by the class it is given to; classes come from fixed tables."""
    if not isinstance(value, (dict, list, str, int, float, bool, type(None))):
        raise _wrong(where, value, "plain values")


def _arrays(value: Any, where: str) -> None:
    """Hashes of arrays, in tuples, lists and dicts."""
    if isinstance(value, dict) and len(value) == 1:
        ((name, inner),) = value.items()
        if name in ("tuple", "list"):
            return _list(_arrays, _MAX_NODES)(inner, f"{where}.{name}")
        if name == "dict":
            return _map(_arrays, _MAX_NODES)(inner, f"{where}.{name}")
    _ARRAY(value, where)


def _expression(value: Any, where: str) -> None:
    left = MAX_OPERATIONS

    def visit(made: Any, where: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise FormatError(f"{where}: more than {MAX_OPERATIONS} operations")
        if isinstance(made, dict) and "do" in made:
            name = made["do"]
            kinds = {"sides": _list(visit, 2, 2)} if name in _TWO else {"on": visit, **_ONE.get(
                name if isinstance(name, str) else "", {"": _flag})}  # fmt: skip
            return _object({"do": _text(), **kinds})(made, where)
        kind = next(iter(made), "") if isinstance(made, dict) else ""
        inner = {
            "tuple": _object({"tuple": _list(visit, 100)}),
            "dict": _object({"dict": _map(visit, 100)}),
            "input": _object({"input": _whole(0, 100)}),
            "number": _object({"number": _finite}),
        }
        inner.get(kind, _object({"array": _numbers, "type": _text(20)}))(made, where)

    visit(value, where)


def _numbers(value: Any, where: str) -> None:
    left = MAX_CONSTANT

    def visit(made: Any, where: str) -> None:
        nonlocal left
        if isinstance(made, list):
            return _list(visit, MAX_CONSTANT)(made, where)
        left -= 1
        if left < 0:
            raise FormatError(f"{where}: more than {MAX_CONSTANT} numbers")
        _number(made, where)

    visit(value, where)


# ---- the parts of a recipe -------------------------------------------------------------------

_TWO = ("add", "subtract", "multiply", "divide")
_ONE: dict[str, dict[str, Check]] = {
    "cast": {"type": _text(20)},
    "preprocess": {"mode": _one_of("caffe", "tf", "torch", "lite")},
    "rescaling": {"scale": _numbers, "offset": _numbers},
}
_HASH = _text(64)
_COUNT = _whole(0, _MAX_ROWS)
_ARRAY = _object({"shape": _list(_COUNT, 32), "type": _text(20), "hash": _HASH})
_TABLE = _object({"files": _COUNT, "list": _HASH})
_RANGE = _either(_finite, _list(_finite, 1000))
_GENERATOR = _object({
    **dict.fromkeys(("rotation_range", "shear_range", "channel_shift_range", "cval"), _finite),
    **dict.fromkeys(("width_shift_range", "height_shift_range"), _RANGE),
    "zoom_range": _list(_finite, 2, 2), "brightness_range": _maybe(_list(_finite, 2, 2)),
    "fill_mode": _text(20), "horizontal_flip": _flag, "vertical_flip": _flag,
    "rescale": _maybe(_finite), "preprocessing_function": _maybe(_text(40)),
})  # fmt: skip
_ITERATOR = {
    "batch_size": _whole(1, _MAX_ROWS), "shuffle": _flag, "seed": _maybe(_whole(0, (1 << 32) - 1)),
    "type": _text(20), "generator": _GENERATOR, "seen": _whole(0, 1 << 53), "started": _flag,
}  # fmt: skip
_DATA = _by("kind", {
    "unknown": _object({}),
    "arrays": _object({"x": _arrays}, y=_arrays, sample_weight=_arrays),
    "dataset": _object({"node": _COUNT}),
    "flow": _object({"x": _ARRAY, **_ITERATOR}, y=_ARRAY, sample_weight=_ARRAY),
    "flow_from_directory": _object({
        "table": _TABLE, "class_mode": _maybe(_text(20)), "color_mode": _text(20),
        "target_size": _list(_whole(1, 1 << 20), 2, 2), "interpolation": _text(20),
        "keep_aspect_ratio": _flag, **_ITERATOR,
    }),
})  # fmt: skip
_KEPT = _either(
    _object({"fit": _COUNT, "node": _COUNT}),
    _object({"rows": _bytes, "sizes": _maybe(_list(_COUNT, 1 << 22))}),
)
_OF = {"of": _COUNT}
_SIGNED = _whole(-1, _MAX_ROWS)
_NODE = _by("step", {
    "unknown": _object({}),
    "files": _object({"table": _TABLE}),
    "arrays": _object({"arrays": _arrays}),
    "same": _object(_OF), "unbatch": _object(_OF),
    "concatenate": _object({**_OF, "and": _COUNT}),
    "cache": _object({**_OF, "kept": _maybe(_KEPT)}),
    "map": _object({**_OF, "function": _maybe(_expression)}),
    "batch": _object({**_OF, "size": _whole(1, _MAX_ROWS), "drop": _flag}),
    **dict.fromkeys(("take", "skip", "repeat"), _object({**_OF, "count": _SIGNED})),
    "shuffle": _object({
        **_OF, "buffer": _whole(1, 1 << 62), "anew": _flag,
        "seeds": _list(_whole(-(1 << 64), 1 << 64), 2, 2), "drawn": _whole(0, 1 << 40),
    }),
})  # fmt: skip
_ARGUMENTS = _object({
    "batch_size": _maybe(_whole(1, _MAX_ROWS)), "epochs": _whole(0, MAX_EPOCHS),
    "shuffle": _one_of(True, False, "batch"), "validation_split": _finite,
    "initial_epoch": _whole(0, MAX_EPOCHS),
    **dict.fromkeys(("steps_per_epoch", "validation_steps"), _maybe(_finite)),
    "validation_batch_size": _maybe(_whole(1, _MAX_ROWS)),
    "validation_freq": _either(_whole(1, MAX_EPOCHS), _list(_whole(0, MAX_EPOCHS), MAX_EPOCHS)),
    "class_weight": _maybe(_list(_row(_whole(-_MAX_ROWS, _MAX_ROWS), _finite), 1 << 20)),
})  # fmt: skip
_EARLY = _object({
    "monitor": _text(), "min_delta": _number, "patience": _number, "mode": _text(20),
    "baseline": _maybe(_number), "restore_best_weights": _flag, "start_from_epoch": _number,
})  # fmt: skip
_CALLBACK = _by("name", {
    "EarlyStopping": _object({"config": _EARLY}),
    "TerminateOnNaN": _object({"config": _object({})}),
})  # fmt: skip
_FIT = _object({
    "made_with": _map(_json, 20),
    "start": _maybe(_object({
        "weights": _bytes, "seeds": _list(_maybe(_whole(-(1 << 63), 1 << 63)), 1 << 20),
        "files": _list(_text(200), 20),
    })),
    "layers": _object({
        "trainable": _text(1 << 20), "trained": _text(1 << 20),
        "seeds": _list(_whole(-(1 << 63), 1 << 63), 1 << 20),
    }),
    "compile": _map(_json, 10),
    "optimizer": _object({
        "carried": _flag, "step": _whole(0, 1 << 53), "rate": _maybe(_number),
        "factors": _list(_row(_COUNT, _finite), 1 << 20), "undecayed": _list(_COUNT, 1 << 20),
    }),
    "arguments": _ARGUMENTS,
    "callbacks": _list(_CALLBACK, 100),
    "notes": _list(_text(), 1000), "reasons": _list(_text(2000), 1000),
    "data": _DATA, "validation": _maybe(_DATA),
    "nodes": _list(_NODE, _MAX_NODES),
    "random": _maybe(_object({
        "python": _row(_whole(3, 3), _bytes, _maybe(_finite)),
        "numpy": _row(_one_of("MT19937"), _bytes, _whole(0, 624), _whole(0, 1), _finite),
    })),
    "seed": _maybe(_whole(0, (1 << 32) - 1)),
    "rates": _list(_maybe(_number), MAX_EPOCHS),
    "steps": _map(_HASH, 64),
    "epochs": _list(_object({"weights": _HASH, "logs": _map(_number, 1000)}), MAX_EPOCHS),
    "ended": _one_of("whole", "interrupted", None),
    "end": _object({"weights": _HASH, "step": _whole(0, 1 << 53)}),
})  # fmt: skip
_PIXELS = _object({
    **dict.fromkeys(("height", "width"), _whole(1, 1 << 20)), "channels": _one_of(1, 3, 4),
    **dict.fromkeys(("interpolation", "pipeline", "fit"), _text(20)),
})  # fmt: skip
_LIST = _object({
    "count": _COUNT, "pixels": _PIXELS, "label_mode": _one_of("int", "categorical", "binary", None),
    "class_names": _maybe(_list(_text(), 1 << 20)), "on_bad_image": _one_of("error", "skip"),
    "labels": _maybe(_bytes), "files": _bytes,
}, classes=_list(_row(_COUNT, _HASH), 1 << 20))  # fmt: skip
_RECIPE = _object(
    {"format": _one_of(FORMAT), "fits": _list(_FIT, _MAX_FITS), "data": _map(_LIST, _MAX_NODES)},
    changed=_flag,
    left_out=_text(),
)
