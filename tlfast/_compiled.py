"""What `compile` makes of its arguments: one loss and a list of metrics per output."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlfast import losses as losses_module
from tlfast import metrics as metrics_module
from tlfast._errors import did_you_mean
from tlfast._loss_base import Loss
from tlfast._metric_base import Mean, Metric
from tlfast.saving.checks import Check, array, list_of, maybe, object_of, row, whole
from tlfast.saving.errors import FormatError

_MAX_VALUES = 1 << 28  # of a stored shape; a gigabyte


def per_output(
    value: Any, names: Sequence[str], what: str, leaf: type | tuple[Any, ...] = ()
) -> list[Any]:
    """Spread an argument of `compile` over the outputs.

    Args:
        value: one thing for all outputs, a list with one per output, or a dictionary by output
            name.
        names: the output names.
        what: the argument's name, for messages.
        leaf: sequence types that are one thing and not a list.

    Raises:
        ValueError: a wrong number of entries, or an unknown output name.
    """
    if isinstance(value, Mapping) and "class_name" not in value:
        unknown = [key for key in value if key not in names]
        if unknown:
            raise ValueError(
                f"`{what}` has the key {unknown[0]!r}, which is no output of the model."
                f"{did_you_mean(unknown[0], names)} Outputs: {', '.join(names)}."
            )
        return [value.get(name) for name in names]
    if isinstance(value, (list, tuple)) and not (leaf and isinstance(value, leaf)):
        if len(value) != len(names):
            raise ValueError(
                f"`{what}` has {len(value)} entries, but the model has {len(names)} "
                f"output{'s' if len(names) != 1 else ''} ({', '.join(names)})."
            )
        return list(value)
    return [value] * len(names)


class CompiledLosses:
    """The losses of a model.

    Args:
        loss: the argument of `compile`.
        loss_weights: the argument of `compile`.

    Raises:
        ValueError: an unknown loss, or weights that are no numbers.
    """

    def __init__(self, loss: Any, loss_weights: object) -> None:
        self._loss = loss
        self._weights = loss_weights
        _check_names(loss)
        self.losses: list[Any] = []  # Loss, or None for an output without one
        self.weights: list[float] = []
        self.trackers: list[Mean] = []

    def build(
        self, names: Sequence[str], shapes: Sequence[tuple[Any, ...]], targets: list[Any] | None
    ) -> None:
        """Make the loss objects.

        Args:
            names: output names.
            shapes: output shapes, batch axis first.
            targets: label arrays of a batch where known; "crossentropy" is decided by their rank.

        Raises:
            ValueError: see `per_output`; or no loss at all.
        """
        given = per_output(self._loss, names, "loss")
        weights = per_output(self._weights, names, "loss_weights")
        self.losses = [
            None if one is None else self._resolve(one, shapes[i], targets and targets[i])
            for i, one in enumerate(given)
        ]
        if all(one is None for one in self.losses):
            raise ValueError("No loss to compute. Provide a `loss` argument in `compile()`.")
        self.weights = [1.0 if weight is None else _number(weight) for weight in weights]
        used = [name for name, one in zip(names, self.losses, strict=True) if one is not None]
        self.trackers = [Mean(name=f"{name}_loss") for name in used] if len(used) > 1 else []

    def _resolve(self, one: Any, shape: tuple[Any, ...], target: Any) -> Loss:
        if isinstance(one, str) and one.lower() in ("crossentropy", "ce"):
            if shape[-1] == 1:
                return losses_module.BinaryCrossentropy(name=one)
            sparse = target is not None and (
                np.ndim(target) < len(shape) or np.shape(target)[-1] == 1
            )
            kind = "SparseCategoricalCrossentropy" if sparse else "CategoricalCrossentropy"
            return getattr(losses_module, kind)(name=one)
        return losses_module.as_loss(one)

    def update(self, y: list[Any], y_pred: list[Any], sample_weight: list[Any] | None) -> None:
        """Take a batch into the running means of the single losses (several outputs only)."""
        trackers = iter(self.trackers)
        for i, loss in enumerate(self.losses):
            tracker = next(trackers, None) if loss is not None else None
            if tracker is not None:
                weight = sample_weight[i] if sample_weight else None
                tracker.update_state(loss(y[i], y_pred[i], weight), np.float32(len(y_pred[i])))


def _check_names(loss: Any) -> None:
    """Raise for misspelt names already in `compile`."""
    if isinstance(loss, (list, tuple)):
        for one in loss:
            _check_names(one)
    elif isinstance(loss, Mapping) and "class_name" not in loss:
        for one in loss.values():
            _check_names(one)
    elif not (isinstance(loss, str) and loss.lower() in ("crossentropy", "ce")):
        losses_module.get(loss)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ValueError(
            f"Expected `loss_weights` to be numbers: one, a list or a dictionary by output name. "
            f"Received: {value!r}"
        )
    return float(value)


class CompiledMetrics(Metric):
    """The metrics of a model, behaving as one metric with several results.

    Args:
        metrics, weighted_metrics: the arguments of `compile`.

    Raises:
        ValueError: an unknown metric, or something that is not a list, tuple or dictionary.
    """

    def __init__(self, metrics: object, weighted_metrics: object) -> None:
        super().__init__(name="compile_metrics")
        for name, value in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
            if value and not isinstance(value, (list, tuple, Mapping)):
                raise ValueError(
                    f"Expected `{name}` argument to be a list, tuple, or dict. Received instead: "
                    f"{name}={value!r} of type {type(value)}"
                )
            _check_metric_names(value)
        self._given = [metrics, weighted_metrics]
        self.built = False
        self._plain: list[list[Metric]] = []
        self._weighted: list[list[Metric]] = []
        self._names: list[str] = []
        self._shapes: list[Any] = []  # of the labels and outputs that `build` was given

    def expected_names(self, names: Sequence[str]) -> list[str]:
        """Return the keys under which results will be logged, before anything is built.

        Args:
            names: output names.
        """
        plain, weighted = (
            [[_metric_name(one) for one in group] for group in self._groups(i, names)]
            for i in range(2)
        )
        return self._keys(plain, weighted, names)

    def _groups(self, which: int, names: Sequence[str]) -> list[list[Any]]:
        """Return the identifiers of each output."""
        value = self._given[which]
        what = ("metrics", "weighted_metrics")[which]
        if not value:
            return [[] for _ in names]
        if len(names) == 1:
            return [_flat(list(value.values()) if isinstance(value, Mapping) else value)]
        return [_flat(one) for one in per_output(value, names, what)]

    def build(self, names: Sequence[str], y: list[Any], y_pred: list[Any]) -> None:
        """Make the metric objects for a first batch of labels and outputs."""
        self._plain, self._weighted = (
            [
                [metrics_module.as_metric(one, y[i], y_pred[i]) for one in group]
                for i, group in enumerate(self._groups(which, names))
            ]
            for which in range(2)
        )
        plain, weighted = (
            [[m.name for m in group] for group in groups]
            for groups in (self._plain, self._weighted)
        )
        self._names = self._keys(plain, weighted, names)
        self._shapes = [
            [None if a is None else list(np.shape(a)) for a in part] for part in (y, y_pred)
        ]
        self.built = True

    @staticmethod
    def _keys(plain: list[Any], weighted: list[Any], names: Sequence[str]) -> list[str]:
        """Return unique keys as Keras makes them: output name in front, then counters."""
        used: dict[str, int] = {}
        keys = []

        def prefixed(name: str, i: int) -> str:
            return f"{names[i]}_{name}" if len(names) > 1 else name

        def unique(name: str) -> str:
            count = used.get(name, 0)
            used[name] = count + 1
            return f"{name}_{count}" if count else name

        for i, group in enumerate(plain):
            keys += [unique(prefixed(name, i)) for name in group]
        for i, group in enumerate(weighted):
            for name in group:
                key = prefixed(name, i)
                keys.append(unique(prefixed(f"weighted_{name}", i) if key in used else key))
        return keys

    @property
    def metrics(self) -> list[Metric]:
        """The metric objects, in the order of definition."""
        return [m for group in (*self._plain, *self._weighted) for m in group]

    @property
    def variables(self) -> list[Any]:
        """The state variables of all metrics."""
        return [variable for metric in self.metrics for variable in metric.variables]

    def update_state(
        self, y: list[Any], y_pred: list[Any], sample_weight: list[Any] | None = None
    ) -> None:
        """Take a batch into account."""
        for i, group in enumerate(self._plain):
            for metric in group:
                metric.update_state(y[i], y_pred[i])
        for i, group in enumerate(self._weighted):
            for metric in group:
                metric.update_state(y[i], y_pred[i], sample_weight[i] if sample_weight else None)

    def result(self) -> dict[str, Any]:
        """Return the results by key."""
        return dict(zip(self._names, (m.result() for m in self.metrics), strict=True))

    def reset_state(self) -> None:
        """Forget everything seen."""
        for metric in self.metrics:
            metric.reset_state()

    def get_state(self) -> dict[str, Any] | None:
        """Return the sums of all metrics, for `set_state`; None before the first batch."""
        if not self.built:
            return None
        sums = [[v.numpy() for v in metric.variables] for metric in self.metrics]
        return {"shapes": self._shapes, "sums": sums}

    def check_state(self, value: Any, where: str, outputs: Sequence[Any]) -> None:
        """Raise FormatError for what `get_state` never returns.

        Args:
            value: a value from a file.
            where: its place.
            outputs: shapes of the model's outputs.
        """
        if value is None:
            return
        labels = list_of(maybe(_check_shape), exactly=len(outputs))
        shapes = row(labels, row(*(_shape_like(shape) for shape in outputs)))
        sums = list_of(list_of(array(None, "biuf")))
        object_of({"shapes": shapes, "sums": sums})(value, where)
        for label, output in zip(*value["shapes"], strict=True):
            if label is not None and label[:1] != output[:1]:
                raise FormatError(f"{where}.shapes: {label} and {output} are of two batches")

    def set_state(self, state: dict[str, Any] | None, names: Sequence[str]) -> None:
        """Take back what `get_state` returned.

        Args:
            state: what it returned.
            names: output names.

        Raises:
            FormatError: the metrics cannot have been of that state.
        """
        if state is None:
            return
        y, outputs = (
            [None if shape is None else np.zeros(shape, np.float32) for shape in part]
            for part in state["shapes"]
        )
        try:
            if not self.built:
                self.build(names, y, outputs)
            if [len(m.variables) for m in self.metrics] != [len(sums) for sums in state["sums"]]:
                self.update_state(y, outputs)  # some make their variables for the first batch
        except (ValueError, TypeError, IndexError) as error:
            raise FormatError(
                f"the stored shapes {state['shapes']} do not go with the metrics: {error}"
            ) from error
        wanted = [row(*(array(v.shape) for v in metric.variables)) for metric in self.metrics]
        row(*wanted)(state["sums"], "the stored sums of metrics")
        for metric, sums in zip(self.metrics, state["sums"], strict=True):
            for variable, value in zip(metric.variables, sums, strict=True):
                variable.assign(value)


def _check_shape(value: Any, where: str) -> None:
    list_of(whole(0, _MAX_VALUES), most=8)(value, where)
    if math.prod(value) > _MAX_VALUES:
        raise FormatError(f"{where} is {value}, of more than {_MAX_VALUES} values")


def _shape_like(shape: Sequence[int | None]) -> Check:
    """The shape of a batch of a model's output."""

    def verify(value: Any, where: str) -> None:
        _check_shape(value, where)
        row(*(whole(n or 0, _MAX_VALUES if n is None else n) for n in shape))(value, where)

    return verify


def _flat(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return [one for group in value for one in _flat(group)]
    return [value]


def _check_metric_names(value: Any) -> None:
    groups = value.values() if isinstance(value, Mapping) else value or ()
    for one in _flat(list(groups)):
        if not (isinstance(one, str) and one.lower() in ("accuracy", "acc")):
            metrics_module.get(one)


def _metric_name(identifier: Any) -> str:
    if isinstance(identifier, str):
        return identifier
    if isinstance(identifier, Mapping):
        return str(identifier.get("config", {}).get("name", identifier.get("class_name")))
    return getattr(identifier, "name", None) or identifier.__name__
