"""What a recipe from a file must look like before anything is done with it."""

import base64
import binascii
from typing import Any

from tlfast._recipe._maps import MAX_CONSTANT, MAX_OPERATIONS
from tlfast.saving.checks import (
    Check,
    by,
    either,
    finite,
    flag,
    list_of,
    map_of,
    maybe,
    number,
    object_of,
    one_of,
    row,
    text,
    whole,
    wrong,
)
from tlfast.saving.errors import FormatError

FORMAT = 1
_MAX_EPOCHS = 100_000  # that were trained; more may be asked for, and a callback end the fit
_MAX_FITS = 1_000
_MAX_NODES = 1_000
_MAX_ROWS = 1 << 31
_MAX_TEXT = 4 << 20


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
    for index, fit in enumerate(recipe["fits"]):
        _check_places(fit, index, f"recipe.fits[{index}]")


def is_readable(recipe: object) -> bool:
    """Whether `check` finds nothing wrong."""
    try:
        check(recipe)
    except FormatError:
        return False
    return True


def _check_places(fit: dict[str, Any], index: int, where: str) -> None:
    """Steps read from earlier steps only."""
    for place, node in enumerate(fit["nodes"]):
        for key in ("of", "and"):
            if key in node and node[key] >= place:
                raise FormatError(
                    f"{where}.nodes[{place}].{key} is {node[key]}, not an earlier one"
                )
        kept = node.get("kept")
        if kept and "fit" in kept and kept["fit"] >= index:
            raise FormatError(
                f"{where}.nodes[{place}].kept.fit is {kept['fit']}, not an earlier one"
            )
    for key in ("data", "validation"):
        used = (fit[key] or {}).get("node", -1)
        if used >= len(fit["nodes"]):
            raise FormatError(f"{where}.{key}.node is {used}; there are {len(fit['nodes'])}")


# ---- values of its own -----------------------------------------------------------------------


def _bytes(value: Any, where: str) -> None:
    text(_MAX_TEXT)(value, where)
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise wrong(where, value, "base64") from error


def _json(value: Any, where: str) -> None:
    """A config, which is checked by the class it is given to; classes come from fixed tables."""
    if not isinstance(value, (dict, list, str, int, float, bool, type(None))):
        raise wrong(where, value, "plain values")


def _arrays(value: Any, where: str) -> None:
    """Hashes of arrays, in tuples, lists and dicts."""
    if isinstance(value, dict) and len(value) == 1:
        ((name, inner),) = value.items()
        if name in ("tuple", "list"):
            return list_of(_arrays, _MAX_NODES)(inner, f"{where}.{name}")
        if name == "dict":
            return map_of(_arrays, _MAX_NODES)(inner, f"{where}.{name}")
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
            kinds = {"sides": list_of(visit, 2, 2)} if name in _TWO else {"on": visit, **_ONE.get(
                name if isinstance(name, str) else "", {"": flag})}  # fmt: skip
            return object_of({"do": text(), **kinds})(made, where)
        kind = next(iter(made), "") if isinstance(made, dict) else ""
        inner = {
            "tuple": object_of({"tuple": list_of(visit, 100)}),
            "dict": object_of({"dict": map_of(visit, 100)}),
            "input": object_of({"input": whole(0, 100)}),
            "number": object_of({"number": finite}),
        }
        inner.get(kind, object_of({"array": _numbers, "type": text(20)}))(made, where)

    visit(value, where)


def _numbers(value: Any, where: str) -> None:
    left = MAX_CONSTANT

    def visit(made: Any, where: str) -> None:
        nonlocal left
        if isinstance(made, list):
            return list_of(visit, MAX_CONSTANT)(made, where)
        left -= 1
        if left < 0:
            raise FormatError(f"{where}: more than {MAX_CONSTANT} numbers")
        number(made, where)

    visit(value, where)


# ---- the parts of a recipe -------------------------------------------------------------------

_TWO = ("add", "subtract", "multiply", "divide")
_ONE: dict[str, dict[str, Check]] = {
    "cast": {"type": text(20)},
    "preprocess": {"mode": one_of("caffe", "tf", "torch", "lite")},
    "rescaling": {"scale": _numbers, "offset": _numbers},
}
_HASH = text(64)
_COUNT = whole(0, _MAX_ROWS)
_ARRAY = object_of({"shape": list_of(_COUNT, 32), "type": text(20), "hash": _HASH})
_TABLE = object_of({"files": _COUNT, "list": _HASH})
_RANGE = either(finite, list_of(finite, 1000))
_GENERATOR = object_of({
    **dict.fromkeys(("rotation_range", "shear_range", "channel_shift_range", "cval"), finite),
    **dict.fromkeys(("width_shift_range", "height_shift_range"), _RANGE),
    "zoom_range": list_of(finite, 2, 2), "brightness_range": maybe(list_of(finite, 2, 2)),
    "fill_mode": text(20), "horizontal_flip": flag, "vertical_flip": flag,
    "rescale": maybe(finite), "preprocessing_function": maybe(text(40)),
})  # fmt: skip
_ITERATOR = {
    "batch_size": whole(1, _MAX_ROWS), "shuffle": flag, "seed": maybe(whole(0, (1 << 32) - 1)),
    "type": text(20), "generator": _GENERATOR, "seen": whole(0, 1 << 53), "started": flag,
}  # fmt: skip
_DATA = by("kind", {
    "unknown": object_of({}),
    "arrays": object_of({"x": _arrays}, y=_arrays, sample_weight=_arrays),
    "dataset": object_of({"node": _COUNT}),
    "flow": object_of({"x": _ARRAY, **_ITERATOR}, y=_ARRAY, sample_weight=_ARRAY),
    "flow_from_directory": object_of({
        "table": _TABLE, "class_mode": maybe(text(20)), "color_mode": text(20),
        "target_size": list_of(whole(1, 1 << 20), 2, 2), "interpolation": text(20),
        "keep_aspect_ratio": flag, **_ITERATOR,
    }),
})  # fmt: skip
_KEPT = either(
    object_of({"fit": _COUNT, "node": _COUNT}),
    object_of({"rows": _bytes, "sizes": maybe(list_of(_COUNT, 1 << 22))}),
)
_OF = {"of": _COUNT}
_SIGNED = whole(-1, _MAX_ROWS)
_NODE = by("step", {
    "unknown": object_of({}),
    "files": object_of({"table": _TABLE}),
    "arrays": object_of({"arrays": _arrays}),
    "same": object_of(_OF), "unbatch": object_of(_OF),
    "concatenate": object_of({**_OF, "and": _COUNT}),
    "cache": object_of({**_OF, "kept": maybe(_KEPT)}),
    "map": object_of({**_OF, "function": maybe(_expression)}),
    "batch": object_of({**_OF, "size": whole(1, _MAX_ROWS), "drop": flag}),
    **dict.fromkeys(("take", "skip", "repeat"), object_of({**_OF, "count": _SIGNED})),
    "shuffle": object_of({
        **_OF, "buffer": whole(1, 1 << 62), "anew": flag,
        "seeds": list_of(whole(-(1 << 64), 1 << 64), 2, 2), "drawn": whole(0, 1 << 40),
    }),
})  # fmt: skip
_ARGUMENTS = object_of({
    "batch_size": maybe(whole(1, _MAX_ROWS)), "epochs": _COUNT,
    "shuffle": one_of(True, False, "batch"), "validation_split": finite,
    "initial_epoch": _COUNT,
    **dict.fromkeys(("steps_per_epoch", "validation_steps"), maybe(finite)),
    "validation_batch_size": maybe(whole(1, _MAX_ROWS)),
    "validation_freq": either(whole(1, _MAX_ROWS), list_of(_COUNT, _MAX_EPOCHS)),
    "class_weight": maybe(list_of(row(whole(-_MAX_ROWS, _MAX_ROWS), finite), 1 << 20)),
})  # fmt: skip
_EARLY = object_of({
    "monitor": text(), "min_delta": number, "patience": number, "mode": text(20),
    "baseline": maybe(number), "restore_best_weights": flag, "start_from_epoch": number,
})  # fmt: skip
_CALLBACK = by("name", {
    "EarlyStopping": object_of({"config": _EARLY}),
    "TerminateOnNaN": object_of({"config": object_of({})}),
})  # fmt: skip
_FIT = object_of({
    "made_with": map_of(_json, 20),
    "start": maybe(object_of({
        "weights": _bytes, "seeds": list_of(maybe(whole(-(1 << 63), 1 << 63)), 1 << 20),
        "files": list_of(text(200), 20),
    })),
    "layers": object_of({
        "trainable": text(1 << 20), "trained": text(1 << 20),
        "seeds": list_of(whole(-(1 << 63), 1 << 63), 1 << 20), "mixed": text(1 << 20),
    }),
    "compile": map_of(_json, 10),
    "optimizer": object_of({
        "carried": flag, "step": whole(0, 1 << 53), "rate": maybe(number),
        "factors": list_of(row(_COUNT, finite), 1 << 20), "undecayed": list_of(_COUNT, 1 << 20),
    }),
    "arguments": _ARGUMENTS,
    "callbacks": list_of(_CALLBACK, 100),
    "notes": list_of(text(), 1000), "reasons": list_of(text(2000), 1000),
    "data": _DATA, "validation": maybe(_DATA),
    "nodes": list_of(_NODE, _MAX_NODES),
    "random": maybe(object_of({
        "python": row(whole(3, 3), _bytes, maybe(finite)),
        "numpy": row(one_of("MT19937"), _bytes, whole(0, 624), whole(0, 1), finite),
    })),
    "seed": maybe(whole(0, (1 << 32) - 1)),
    "rates": list_of(maybe(number), _MAX_EPOCHS),
    "steps": map_of(_HASH, 64),
    "epochs": list_of(object_of({"weights": _HASH, "logs": map_of(number, 1000)}), _MAX_EPOCHS),
    "ended": one_of("whole", "interrupted", None),
    "end": object_of({"weights": _HASH, "step": whole(0, 1 << 53)}),
})  # fmt: skip
_PIXELS = object_of({
    **dict.fromkeys(("height", "width"), whole(1, 1 << 20)), "channels": one_of(1, 3, 4),
    **dict.fromkeys(("interpolation", "pipeline", "fit"), text(20)),
})  # fmt: skip
_LIST = object_of({
    "count": _COUNT, "pixels": _PIXELS, "label_mode": one_of("int", "categorical", "binary", None),
    "class_names": maybe(list_of(text(), 1 << 20)), "on_bad_image": one_of("error", "skip"),
    "labels": maybe(_bytes), "files": _bytes,
}, classes=list_of(row(_COUNT, _HASH), 1 << 20))  # fmt: skip
_RECIPE = object_of(
    {"format": one_of(FORMAT), "fits": list_of(_FIT, _MAX_FITS), "data": map_of(_LIST, _MAX_NODES)},
    changed=flag,
    left_out=text(),
)
