"""Batch normalization."""

from typing import Any

from tlfast import _keras2, initializers, regularizers
from tlfast._serialization import serialize
from tlfast._tensor import KerasTensor, Shape
from tlfast.layers._base import Layer
from tlfast.layers._checks import check_unsupported


def last_axis(layer: Layer, axis: Any, ndim: int) -> None:
    """Raise unless `axis` is the last of `ndim` axes.

    Raises:
        NotImplementedError: for another axis.
        ValueError: if there is no such axis.
    """
    axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    if len(axes) == 1 and axes[0] in (-1, ndim - 1):
        return
    if any(not -ndim <= a < ndim for a in axes):
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): axis={axis} does not exist in inputs "
            f"of {ndim} axes"
        )
    raise NotImplementedError(
        f"Layer '{layer.name}' ({type(layer).__name__}): only the last axis, axis=-1, is "
        f"supported (images are channels_last). Received: axis={axis} for {ndim} axes"
    )


class BatchNormalization(Layer):
    """Normalises each channel, in training by the batch, otherwise by moving statistics.

    With `trainable = False` the moving statistics are used and kept, in `fit` too.

    Args:
        axis: -1 or the number of the last axis.
        momentum: weight of the old moving statistics in an update.
        epsilon: added to the variance.
        center: whether to add beta.
        scale: whether to multiply by gamma.
        beta_initializer: start values of beta.
        gamma_initializer: start values of gamma.
        moving_mean_initializer: start values of the moving mean.
        moving_variance_initializer: start values of the moving variance.
        beta_regularizer: penalty on beta, or None.
        gamma_regularizer: penalty on gamma, or None.
        beta_constraint: not supported.
        gamma_constraint: not supported.
        renorm: not supported.
        renorm_clipping: not supported.
        renorm_momentum: 0.99, used only with renorm.
        synchronized: not supported.
        **kwargs: name, trainable, dtype, input_shape; see `Layer`.
    """

    _min_ndim = 2
    _has_mask = True

    def __init__(
        self,
        axis: Any = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_unsupported(
            self,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            renorm=renorm,
            renorm_clipping=renorm_clipping or None,
            synchronized=synchronized,
        )
        # Files of Keras 2 hold the axis as a list of one.
        self.axis: Any = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
        self.momentum: float = float(momentum)
        self.epsilon: float = float(epsilon)
        if not 0 <= self.momentum <= 1:
            raise ValueError(
                f"layer '{self.name}': `momentum` is between 0 and 1. Received: momentum={momentum}"
            )
        self.center = center
        self.scale = scale
        self.beta_initializer: Any = initializers.get(beta_initializer)
        self.gamma_initializer: Any = initializers.get(gamma_initializer)
        self.moving_mean_initializer: Any = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer: Any = initializers.get(moving_variance_initializer)
        self.beta_regularizer: Any = regularizers.get(beta_regularizer)
        self.gamma_regularizer: Any = regularizers.get(gamma_regularizer)
        self.renorm_momentum = renorm_momentum
        self.gamma: Any = None  # Variables, once built
        self.beta: Any = None
        self.moving_mean: Any = None
        self.moving_variance: Any = None

    def _build(self, input_shape: Shape) -> None:
        last_axis(self, self.axis, len(input_shape))
        shape = (input_shape[-1],)
        if self.scale:
            self.gamma = self.add_weight(
                shape, self.gamma_initializer, name="gamma", regularizer=self.gamma_regularizer
            )
        if self.center:
            self.beta = self.add_weight(
                shape, self.beta_initializer, name="beta", regularizer=self.beta_regularizer
            )
        self.moving_mean = self.add_weight(
            shape, self.moving_mean_initializer, trainable=False, name="moving_mean"
        )
        self.moving_variance = self.add_weight(
            shape, self.moving_variance_initializer, trainable=False, name="moving_variance"
        )

    def _check_input(self, inputs: list[KerasTensor]) -> None:
        super()._check_input(inputs)
        if self.built:
            self._check_axis(inputs, -1, self.moving_mean.shape[0])

    def lower(self, g: Any, inputs: list[int], training: bool) -> int:
        weights = [
            self.gamma.core if self.scale else None,
            self.beta.core if self.center else None,
            self.moving_mean.core,
            self.moving_variance.core,
        ]
        return g.add(
            "batch_norm",
            inputs,
            weights,
            self.name,
            epsilon=self.epsilon,
            momentum=self.momentum,
            training=bool(training and self.trainable),
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": serialize(self.beta_initializer),
            "gamma_initializer": serialize(self.gamma_initializer),
            "moving_mean_initializer": serialize(self.moving_mean_initializer),
            "moving_variance_initializer": serialize(self.moving_variance_initializer),
            "beta_regularizer": serialize(self.beta_regularizer),
            "gamma_regularizer": serialize(self.gamma_regularizer),
            "beta_constraint": None,
            "gamma_constraint": None,
            "synchronized": False,
            "renorm": False,
            "renorm_clipping": None,
            "renorm_momentum": self.renorm_momentum,
        }


def __getattr__(name: str) -> Any:
    return _keras2.moved(__name__, name)
