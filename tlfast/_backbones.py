"""What a model knows of the pretrained networks inside it: which, made for what input.

The builder of an application leaves a `Stem` on every operation that reads its image. It stays
with the layer wherever that goes: nested models, `Model(base.input, ...)`, parts of models. Files
hold the stems in their record, beside what Keras reads; files of Keras have none. Weights copied by
`set_weights` leave no trace.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from tlfast._tensor import KerasTensor

OTHER = "other"  # a range that is none of SCALES


@dataclass
class Stem:
    """Where a network of tlfast.applications begins.

    Attributes:
        application: "ResNet50", ...
        expects: a key of `tlfast.applications._scales.SCALES`: what its weights were made for;
            "none" (pixels 0 to 255) where the network scales them itself.
        pretrained: whether weights were loaded. Without, the network learns any range.
        trained_on: what arrived in the last `fit` (a key of SCALES, or OTHER), or None.
        weights_file: name of the file of tlfast's catalogue that the weights are from, or None.
    """

    application: str
    expects: str
    pretrained: bool
    trained_on: Any = None
    weights_file: Any = None


def mark(model: Any, image: KerasTensor, stem: Stem) -> None:
    """Put a stem on the operations of a new model that read its image."""
    for node in model._require_graph().nodes:
        if any(tensor is image for tensor in node.input_tensors):
            node.operation._stem = stem


def stems(model: Any) -> dict[str, Stem]:
    """The stems in a model, by the path of names that leads to them: "resnet50/conv1_pad"."""
    return {path: op._stem for path, op in _operations(model, "") if op._stem is not None}


def names(model: Any) -> list[str]:
    """The applications in a model, each once; the model's own name may say anything."""
    return list(dict.fromkeys(stem.application for stem in stems(model).values()))


def hidden_names(model: Any) -> list[str]:
    """The applications in a model that no name in the table of its summary shows."""
    shown = [_plain(name) for name in (model.name, *(layer.name for layer in model.layers))]
    return [name for name in names(model) if not any(s.startswith(_plain(name)) for s in shown)]


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _operations(model: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    graph = getattr(model, "_graph", None)
    for operation in graph.operations if graph is not None else ():
        yield prefix + operation.name, operation
        yield from _operations(operation, f"{prefix}{operation.name}/")


def as_record(model: Any) -> dict[str, dict[str, Any]]:
    """The stems as plain values for a file."""
    return {path: asdict(stem) for path, stem in stems(model).items()}


def restore(model: Any, stored: dict[str, Stem]) -> None:
    """Put the stems of a file on a model just built from it."""
    operations = dict(_operations(model, ""))
    for path, stem in stored.items():
        if path in operations:
            operations[path]._stem = stem


def weights_loaded(model: Any, stored: dict[str, Stem]) -> None:
    """Say that a model's weights now come from a file.

    Args:
        model: the model.
        stored: the stems of the file. One of the model that is not among them is taken for
            pretrained.
    """
    for path, stem in stems(model).items():
        known = stored.get(path)
        stem.pretrained = known is None or known.pretrained
        stem.trained_on = None if known is None else known.trained_on
        stem.weights_file = None if known is None else known.weights_file


def from_record(found: object) -> dict[str, Stem]:
    """The stems of a file's record, without those of networks that this version does not know.

    Args:
        found: what `as_record` gave, as read.

    Raises:
        ValueError: another form.
    """
    from tlfast.applications._registry import WATCHED
    from tlfast.applications._scales import SCALES

    if not isinstance(found, dict):
        raise ValueError(f"'backbones' is not an object but {found!r:.80}")
    result = {}
    for path, entry in found.items():
        keys = [field.name for field in fields(Stem)]
        if not isinstance(entry, dict) or sorted({*entry, "weights_file"}) != sorted(keys):
            raise ValueError(f"'backbones': {path!r:.80} does not have the keys {keys}")
        stem = Stem(**entry)
        texts = [stem.application, stem.expects, stem.trained_on or OTHER]
        texts.append(stem.weights_file or OTHER)
        if not isinstance(stem.pretrained, bool) or not all(isinstance(t, str) for t in texts):
            raise ValueError(f"'backbones': {path!r:.80} has values of a wrong type")
        if stem.application in WATCHED and {*texts[1:3]} <= {*SCALES, OTHER}:
            result[path] = stem
    return result
