"""The calls of a model that take one batch, and the Keras 2 names of the others."""

from collections.abc import Mapping
from typing import Any

from tlfast import _keras2, _targets
from tlfast._rows import row_count
from tlfast._steps import Steps
from tlfast.callbacks._base import History, plain_logs

# Arguments of Keras 2, and of the data, that users pass to fit, evaluate and predict.
NOT_HERE = {
    "on_bad_image": "It belongs to the data: image_dataset_from_directory(..., on_bad_image=).",
    "workers": "Images are decoded by threads chosen automatically; leave it out.",
    "use_multiprocessing": "Images are decoded by threads; leave it out.",
    "max_queue_size": "The loader decides how far it reads ahead; leave it out.",
}


class BatchCalls:
    """The part of `Trainer` that is not an epoch loop."""

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> float | list[float] | dict[str, float]:
        """Train one step on one batch of arrays.

        Args:
            x, y, sample_weight, class_weight: see `fit`.
            return_dict: return a dictionary instead of a list.

        Returns:
            Loss and metrics of this batch, as `evaluate` returns them.

        Raises:
            ValueError: the model is not compiled, or both kinds of weights are given.
        """
        self._check_ready("train_on_batch")
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError(
                    "Arguments `sample_weight` and `class_weight` cannot be specified at the same "
                    f"time. Received: sample_weight={sample_weight!r}, "
                    f"class_weight={class_weight!r}"
                )
            _targets.check_class_weight(class_weight, len(self._output_names_or_default()))
        return self._one_batch(x, y, sample_weight, class_weight, True, return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> float | list[float] | dict[str, float]:
        """Return loss and metrics on one batch of arrays.

        Args:
            x, y, sample_weight: see `fit`.
            return_dict: return a dictionary instead of a list.

        Raises:
            ValueError: the model is not compiled.
        """
        self._check_ready("test_on_batch")
        return self._one_batch(x, y, sample_weight, None, False, return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """Return the outputs of one batch of arrays.

        Args:
            x: an array, or a list of arrays for several inputs.
        """
        source = self._source((x, None, None), row_count(x), "predict")
        self._build_from(source)
        run = Steps(self._engine, source, False)
        outputs = [self._engine.predict_batch(batch) for _, batch in run.epoch(0)]
        return self._packed(outputs[0])

    def _one_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        class_weight: Mapping[int, float] | None,
        training: bool,
        return_dict: bool,
    ) -> float | list[float] | dict[str, float]:
        purpose = "fit" if training else "evaluate"
        source = self._source(
            (x, y, sample_weight), row_count(x), purpose, class_weight=class_weight
        )
        self._prepare(source)
        if training:
            self._engine.begin_fit()
        self.reset_metrics()
        for _, batch in Steps(self._engine, source, training).epoch(0):
            if training:
                self._train_step(batch)
            else:
                self._test_step(batch)
        logs = plain_logs(self.get_metrics_result())
        return logs if return_dict else self._in_order(logs)

    def fit_generator(self, generator: Any, *args: Any, **kwargs: Any) -> History:
        """The Keras 2 name of `fit` for generators (arguments of its thread pool are dropped)."""
        return self._old_method("fit_generator", generator, args, kwargs)

    def evaluate_generator(self, generator: Any, *args: Any, **kwargs: Any) -> Any:
        """The Keras 2 name of `evaluate` for generators."""
        return self._old_method("evaluate_generator", generator, args, kwargs)

    def predict_generator(self, generator: Any, *args: Any, **kwargs: Any) -> Any:
        """The Keras 2 name of `predict` for generators."""
        return self._old_method("predict_generator", generator, args, kwargs)

    def predict_proba(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The Keras 2 name of `predict` where the outputs are probabilities."""
        return self._old_method("predict_proba", x, args, kwargs)

    def predict_classes(self, x: Any, batch_size: int | None = None, verbose: int = 0) -> Any:
        """The classes as Keras 2 gave them, up to TensorFlow 2.5.

        Args:
            x, batch_size, verbose: see `predict`.

        Returns:
            The index of the largest output, int64 (samples,); for one output unit 0 or 1, int32
            (samples, 1), by whether it is above 0.5.
        """
        _keras2.say("model.predict_classes", "model.predict(x).argmax(axis=-1)")
        outputs = self.predict(x, batch_size=batch_size, verbose=verbose)
        if outputs.shape[-1] == 1:
            return (outputs > 0.5).astype("int32")
        return outputs.argmax(axis=-1)

    def _old_method(
        self, name: str, data: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        new, places = _keras2.METHODS[name]
        _keras2.say(f"model.{name}", f"model.{new}", 3)
        if len(args) > len(places):
            raise TypeError(f"{name}() takes {len(places)} unnamed arguments after the data.")
        kwargs = {key: value for key, value in kwargs.items() if key not in NOT_HERE}
        return getattr(self, new)(data, **dict(zip(places, args, strict=False)), **kwargs)
