"""`save_model`, `load_model`, `save_weights`, `load_weights`."""

import json
import os
from typing import Any

from tlfast._backbones import weights_loaded
from tlfast._serialization import serialize
from tlfast.saving import archive, legacy_h5, weights_h5
from tlfast.saving.atomic import replacing
from tlfast.saving.building import build_model, compile_model
from tlfast.saving.config_json import parse_json
from tlfast.saving.errors import FormatError
from tlfast.saving.hdf5_read import SIGNATURE, File
from tlfast.saving.hdf5_write import Group, Image, lay_out, on_their_way
from tlfast.saving.record import (
    KEY,
    dump_record,
    newer_version_said,
    restore_record,
    stored_backbones,
)
from tlfast.saving.source import Source, open_source

_HDF5_ENDINGS = (".h5", ".hdf5")
_UNCOMPILED = "load_model(..., compile=False) loads it without"

Path = str | os.PathLike[str]


# ---- saving


def save_model(
    model: Any,
    filepath: Path,
    overwrite: bool = True,
    zipped: bool | None = None,
    include_optimizer: bool = True,
    save_format: str | None = None,
) -> None:
    """Write a model: architecture, weights, compile arguments, optimizer state, record.

    The file appears whole or not at all; Keras 3 opens it.

    Args:
        model: a built model.
        filepath: ending in `.keras`, or in `.h5` or `.hdf5` for Keras' older format.
        overwrite: False raises when the file is there.
        zipped: None or True; folders are not written.
        include_optimizer: with compile arguments and optimizer state.
        save_format: None, or "keras" or "h5" in agreement with the ending.

    Raises:
        ValueError: another ending, an unbuilt model, or something that has no stored form.
        FileExistsError: the file is there and `overwrite` is False.
        OSError: the file cannot be written; an older one is kept.
    """
    path = os.fspath(filepath)
    legacy = path.endswith(_HDF5_ENDINGS)
    if not legacy and not path.endswith(".keras"):
        raise ValueError(
            "Invalid filepath extension for saving. Please add either a `.keras` extension for "
            "the native Keras format (recommended) or a `.h5` extension. "
            f"Received: filepath={path}"
        )
    if zipped is False:
        raise ValueError("zipped=False (a folder instead of a file) is not supported")
    if save_format not in (None, "h5" if legacy else "keras"):
        raise ValueError(
            f"save_format={save_format!r} does not agree with {path!r}; the ending decides: "
            "`.keras` or `.h5`"
        )
    _check_built(model)
    _check_overwrite(path, overwrite)
    config = serialize(model)
    if not include_optimizer:
        config["compile_config"] = {}
    optimizer = getattr(model, "optimizer", None) if include_optimizer else None
    if legacy:
        image = lay_out(lambda root: _write_legacy(root, model, config, include_optimizer))
        _write_image(path, image)
        return
    metadata = {"keras_version": legacy_h5.FORMAT_VERSION, KEY: json.loads(dump_record(model))}
    weights = lay_out(lambda root: weights_h5.write_weights(root, model, optimizer, as_stored=True))
    with replacing(path) as file:
        archive.write_archive(file, config, metadata, weights.size, weights.pieces())


def save_weights(model: Any, filepath: Path, overwrite: bool = True) -> None:
    """Write the weights of a model, and the optimizer's variables when it is compiled.

    Args:
        model: a built model.
        filepath: ending in `.weights.h5`; another `.h5` or `.hdf5` gives Keras' older layout,
            which Keras expects under such a name (without the optimizer).
        overwrite: False raises when the file is there.

    Raises:
        ValueError: another ending, or an unbuilt model.
        FileExistsError: the file is there and `overwrite` is False.
        OSError: the file cannot be written; an older one is kept.
    """
    path = os.fspath(filepath)
    if not path.endswith(_HDF5_ENDINGS):
        raise ValueError(
            f"The filename must end in `.weights.h5`. Received: filepath={path} (model.save "
            "writes whole models to `.keras`)"
        )
    _check_built(model)
    _check_overwrite(path, overwrite)
    optimizer = getattr(model, "optimizer", None)

    def write(root: Group) -> None:
        if path.endswith(".weights.h5"):
            weights_h5.write_weights(root, model, optimizer)
        else:
            legacy_h5.write_weights(root, model)
        _write_record(root, model)

    _write_image(path, lay_out(write))


def _write_image(path: str, image: Image) -> None:
    with replacing(path) as file:
        for piece in on_their_way(file, image.pieces()):
            file.write(piece)


def _write_legacy(root: Group, model: Any, config: dict[str, Any], optimizer: bool) -> None:
    legacy_h5.write_model(root, model, config, optimizer)
    _write_record(root, model)


def _write_record(root: Group, model: Any) -> None:
    root.attrs[KEY] = dump_record(model)


def _check_built(model: Any) -> None:
    if not model.built:
        raise ValueError(
            f"Model '{model.name}' is not built and has no weights yet: give it an Input as the "
            "first layer, or call it on data, before saving or loading weights"
        )


def _check_overwrite(path: str, overwrite: bool) -> None:
    if not overwrite and os.path.exists(path):
        raise FileExistsError(17, "the file is there and overwrite=False", path)


# ---- loading


def load_model(
    filepath: Path,
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """Read a model from a `.keras` or `.h5` file of Keras 2, Keras 3 or tlfast.

    The content decides the format, not the name. Classes come from a fixed table; nothing is
    imported because a file names it, and code in files (Lambda) is refused.

    Args:
        filepath: the file.
        custom_objects: your own classes and functions by name, for files that hold them.
        compile: also restore the compile arguments and the optimizer's state.
        safe_mode: True; code in files is never run.

    Returns:
        The model, compiled if it was.

    Raises:
        FormatError: damaged, not such a file, or something in it that is not allowed.
        OSError: the file cannot be opened.
    """
    if safe_mode is not True:
        raise ValueError("safe_mode=False is not supported: code in model files is never run")
    path = os.fspath(filepath)
    if os.path.isdir(path):
        raise FormatError(
            f"{path}: a folder (TensorFlow's SavedModel or an unzipped model), which is not read; "
            "save the model as `.keras` first"
        )
    with open_source(path) as source:
        if source.head.startswith(archive.SIGNATURE):
            return _load_archive(source, custom_objects, compile)
        if source.head == SIGNATURE:
            return _load_legacy(source, custom_objects, compile)
        raise FormatError(
            f"{path}: neither a `.keras` nor an HDF5 file (it starts with {source.head!r}); was "
            "the download cut short, or is it a web page?"
        )


def _load_archive(source: Source, custom_objects: dict[str, Any] | None, compiled: bool) -> Any:
    where = source.name
    members = archive.read_archive(source)
    record = _metadata(members, where).get(KEY)
    weights = File(members[archive.WEIGHTS], f"{where}: {archive.WEIGHTS}")
    with weights as file, newer_version_said(record, where):
        config = parse_json(members[archive.CONFIG], f"{where}: {archive.CONFIG}")
        model = build_model(config, custom_objects, where, source.size)
        weights_h5.read_weights(file.root, model, where)
        restore_record(model, record, where)
        if compiled and config.get("compile_config"):
            compile_model(model, config["compile_config"], custom_objects, where, _UNCOMPILED)
            group = file.root.group("optimizer/vars")
            if group is not None:
                weights_h5.read_optimizer(weights_h5.read_vars(group), model, where)
    return model


def _metadata(members: dict[str, bytes], where: str) -> dict[str, Any]:
    if archive.METADATA not in members:
        return {}
    return parse_json(members[archive.METADATA], f"{where}: {archive.METADATA}")


def _load_legacy(source: Source, custom_objects: dict[str, Any] | None, compiled: bool) -> Any:
    where = source.name
    with File(source) as file, newer_version_said(file.root.attrs.get(KEY), where):
        text = file.root.attrs.get("model_config")
        if not isinstance(text, str):
            raise FormatError(
                f"{where}: No model config found in the file: it holds weights only. Build the "
                "model in Python, then call its load_weights"
            )
        config = parse_json(text, f"{where}: model_config")
        model = build_model(config, custom_objects, where, source.size)
        group = legacy_h5.weights_group(file.root)
        if group is None:
            raise FormatError(f"{where}: a model config without weights")
        legacy_h5.read_weights(group, model, where)
        restore_record(model, file.root.attrs.get(KEY), where)
        training = file.root.attrs.get("training_config")
        if compiled and isinstance(training, str):
            parsed = parse_json(training, f"{where}: training_config")
            compile_model(
                model, legacy_h5.compile_config(parsed), custom_objects, where, _UNCOMPILED
            )
            datasets = legacy_h5.read_optimizer_datasets(file.root)
            if datasets:
                weights_h5.read_optimizer(datasets, model, where)
    return model


def load_weights(
    model: Any,
    filepath: Path,
    skip_mismatch: bool = False,
    by_name: bool = False,
) -> None:
    """Read weights into a model from any file of Keras 2, Keras 3 or tlfast that has some.

    The content decides the format: `.weights.h5`, a `.keras` archive, an older weights file or
    an older full model. All weights are read and checked before the first is changed.

    Args:
        model: a built model.
        filepath: the file.
        skip_mismatch: leave out layers that do not fit, with one warning.
        by_name: pair layers by name; only for the older layout.

    Raises:
        FormatError: the file is damaged or does not fit the model; nothing is changed.
        OSError: the file cannot be opened.
    """
    _check_built(model)
    with open_source(filepath) as source:
        where = source.name
        record: object = None
        if source.head.startswith(archive.SIGNATURE):
            members = archive.read_archive(source)
            record = _metadata(members, where).get(KEY)
            opened = File(members[archive.WEIGHTS], f"{where}: {archive.WEIGHTS}")
        elif source.head == SIGNATURE:
            opened = File(source)
        else:
            raise FormatError(
                f"{where}: neither an HDF5 nor a `.keras` file (it starts with {source.head!r})"
            )
        with opened as file:
            record = record or file.root.attrs.get(KEY)
            with newer_version_said(record, where):
                backbones = stored_backbones(record, where)
                _load_into(file, model, where, skip_mismatch, by_name)
    weights_loaded(model, backbones)


def _load_into(file: File, model: Any, where: str, skip: bool, by_name: bool) -> None:
    group = legacy_h5.weights_group(file.root)
    if group is not None:
        legacy_h5.read_weights(group, model, where, by_name, skip)
        return
    if by_name:
        raise FormatError(
            f"{where}: by_name=True works with Keras' older HDF5 layout only; this file names its "
            "weights by class and number"
        )
    stored = file.root.group("optimizer/vars")
    optimizer = getattr(model, "optimizer", None)
    values = None
    if stored is not None and optimizer is not None and optimizer.built:
        values = weights_h5.optimizer_values(weights_h5.read_vars(stored), model, where)
    weights_h5.read_weights(file.root, model, where, skip)
    weights_h5.set_optimizer(model, values)
