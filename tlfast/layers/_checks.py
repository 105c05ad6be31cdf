"""What layers check: types, layouts, call arguments, and configs of all Keras versions."""

from typing import Any

from tlfast import _dtype_policy
from tlfast._errors import did_you_mean

LEGACY_SHAPE = ("input_shape", "batch_input_shape", "input_dim")


def check_data_format(data_format: str | None, where: str) -> str:
    """Return "channels_last" or raise.

    Raises:
        NotImplementedError: for "channels_first".
    """
    if data_format in (None, "channels_last"):
        return "channels_last"
    if data_format == "channels_first":
        raise NotImplementedError(
            f"{where}: data_format='channels_first' is not supported; images are (batch, height, "
            "width, channels), 'channels_last'"
        )
    raise ValueError(
        f"{where}: `data_format` is 'channels_last'. Received: data_format={data_format!r}"
    )


def check_unsupported(layer: Any, **arguments: Any) -> None:
    """Raise for arguments of Keras that are not honoured and were not left at None or False.

    Raises:
        NotImplementedError: naming the argument and the layer.
    """
    for name, value in arguments.items():
        if value is not None and value is not False:
            raise NotImplementedError(
                f"layer '{layer.name}' ({type(layer).__name__}): {name} is not supported, leave "
                f"it out. Received: {name}={value!r}"
            )


def check_call_arguments(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise for call arguments other than the inputs and `training`.

    Raises:
        TypeError: naming the argument.
    """
    if len(args) > 1 or (not args and "inputs" not in kwargs):
        raise TypeError(
            f"layer '{layer.name}' ({type(layer).__name__}) is called on one argument, a tensor or "
            f"a list of tensors, and training=. Received {len(args)} positional arguments"
        )
    for name in kwargs:
        if name == "mask" and kwargs[name] is None:
            continue
        if name not in ("training", "inputs"):
            raise TypeError(
                f"layer '{layer.name}' ({type(layer).__name__}) got an unexpected argument "
                f"{name!r} in its call; allowed is training=True or False."
                + did_you_mean(name, ["training"])
            )
    if kwargs.get("training") not in (None, True, False):
        raise TypeError(
            f"layer '{layer.name}': training is True, False or None. Received: "
            f"training={kwargs['training']!r}"
        )


# Arguments that Keras versions wrote into configs and that change nothing at these values.
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "quantization_config": (None,),
    "lora_rank": (None,),
    "lora_alpha": (None,),
    "implementation": (0, 1, 2),
    "fused": (None, True, False),
    "batch_size": (None,),
    "renorm": (False,),
    "renorm_clipping": (None, {}),
    "renorm_momentum": (0.99,),
    "virtual_batch_size": (None,),
    "synchronized": (False,),
    "groups": (1,),
    "noise_shape": (None,),
    "sparse": (False, None),
    "ragged": (False, None),
    "autocast": (True,),
    "rms_scaling": (False,),
    "force_generator": (False, True),
    "rng_type": (None,),
    "value_range": (None,),
    "data_format": ("channels_last", None),
    "activity_regularizer": (None,),
}


def clean_config(
    cls: type, config: dict[str, Any], accepted: frozenset[str] | None
) -> dict[str, Any]:
    """Return a config of any Keras version as arguments of `cls`.

    Args:
        cls: class of a layer.
        config: what a file holds.
        accepted: the arguments of the class; None if it takes any.

    Raises:
        ValueError: if an argument is not known and not provably harmless.
    """
    config = dict(config)
    if config.get("dtype") is not None:
        config["dtype"] = _dtype_policy.get(config["dtype"], f"config of {config.get('name')!r}")
    if accepted is None:
        return config
    for name in [k for k in config if k not in accepted]:
        value = config[name]
        # Keras 2 stored initializers that a class never used, as in DepthwiseConv2D.
        empty = value is None or name.endswith("_initializer")
        if empty or (name in _HARMLESS and value in _HARMLESS[name]):
            del config[name]
            continue
        raise ValueError(
            f"The config of layer {config.get('name')!r} has the argument {name}={value!r}, which "
            f"{cls.__name__} does not know." + did_you_mean(name, accepted)
        )
    return config


def shape_hint(shape: tuple[Any, ...], expected: tuple[Any, ...]) -> str:
    """What to do about images (or one image) of another shape than a model's input."""
    if len(expected) != 4:
        return ""
    if len(shape) == 3:
        return ". The axis of the batch is missing: pass one image as x[None]"
    if len(shape) != 4:
        return ". Images come as (batch, height, width, channels)"
    if shape[3] == expected[3]:
        size = f"({expected[1]}, {expected[2]})"
        return f". Read the images at that size: image_size={size} or target_size={size}"
    if shape[1] == expected[3]:
        return ". The channels come last: x.transpose(0, 2, 3, 1)"
    modes = {1: "grayscale", 3: "rgb", 4: "rgba"}
    if expected[3] in modes:
        return f'. The last axis holds the channels: read with color_mode="{modes[expected[3]]}"'
    return ". The last axis holds the channels"
