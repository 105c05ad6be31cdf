"""The training surface of a model: compile, fit, evaluate, predict and the per-batch calls."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlfast import (
    _backbones,
    _class_names,
    _dtype_policy,
    _keras2,
    _registry,
    _stored_compile,
    _targets,
    optimizers,
)
from tlfast._answers import predict_files
from tlfast._batch_calls import NOT_HERE, BatchCalls
from tlfast._compiled import CompiledLosses, CompiledMetrics
from tlfast._fine_tune import FineTuning
from tlfast._fingerprint import fingerprint
from tlfast._fit_loop import FitLoop, is_due
from tlfast._metric_base import Mean
from tlfast._recipe._recorder import Recorder
from tlfast._rows import split_rows, unpacked
from tlfast._step_costs import StepCosts
from tlfast._steps import Steps
from tlfast.callbacks._base import CallbackList, History, plain_logs
from tlfast.data._pipeline import is_files, pipeline_of
from tlfast.saving.record import update_record

# Methods of Keras' models that scripts override to compute steps in their own way.
_OWN_STEPS = (
    "train_step", "test_step", "predict_step", "make_train_function", "make_test_function",
    "make_predict_function", "compute_loss", "compute_metrics",
)  # fmt: skip


class Trainer(FineTuning, BatchCalls, StepCosts):
    """What `Model` inherits to be trained.

    Which variables are trained is read from the `trainable` flags at the start of every `fit`
    and `train_on_batch`, so freezing or unfreezing layers needs no new `compile`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if own := [name for name in _OWN_STEPS if name in vars(cls)]:
            raise NotImplementedError(
                f"class {cls.__name__} defines {own[0]}(), which would never be called: the steps "
                "of tlfast's models run in its C core. What stands around the steps can go to a "
                "callback; for steps of one's own, use TensorFlow or PyTorch"
            )

    compiled: bool = False
    optimizer: Any = None  # the Optimizer, once compiled
    loss: Any = None
    history: Any = None  # the History of the last fit
    stop_training: bool = False  # set it in a callback to end `fit`
    stop_evaluating: bool = False
    stop_predicting: bool = False

    _training_steps: Steps | None = None  # of the fit that is running
    _engine_object: Any = None
    # CompiledLosses, CompiledMetrics and Mean, once compiled.
    _losses: Any = None
    _compile_metrics: Any = None
    _loss_tracker: Any = None
    _compile_config: Any = None
    _engine_ready = False
    _loss_warned = False
    _loading = False  # a file says what its training said: no need to repeat the warnings

    # ---- compile -------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: str | dict[str, Any] | optimizers.Optimizer = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: str | bool | None = "auto",
        auto_scale_loss: bool = True,
        precision: Any = None,
        **kwargs: Any,
    ) -> None:
        """Choose the optimizer, the losses and the metrics.

        Calling it again replaces all of them; `metrics=None` means no metrics (Keras keeps the
        earlier ones).

        Args:
            optimizer: a name ("adam") or an object.
            loss: a name, an object, or a list or dictionary with one per output.
            loss_weights: a number per loss, 1 by default.
            metrics: list of names, objects or functions `fn(y_true, y_pred)`; "accuracy" is
                resolved by the shapes of labels and outputs. With several outputs a list of lists
                or a dictionary by output name.
            weighted_metrics: the same, with sample and class weights applied.
            run_eagerly: only False: a step always runs in the compiled core.
            steps_per_execution: only 1.
            jit_compile: without effect: a step is always planned ahead.
            auto_scale_loss: without effect: bfloat16 has the exponents of float32, and no loss
                needs scaling.
            precision: "mixed_bfloat16" or "float32": the dtype policy that all layers of the model
                get, now and in the files it is saved to; None leaves them their own. Not in
                Keras, where a policy is chosen before the layers are made.

        Raises:
            ValueError: an unknown optimizer, loss or metric, with the closest known name.
            TypeError: an unknown argument.
            NotImplementedError: an option of Keras that tlfast does not have, or bfloat16 on a
                machine that would emulate it.
        """
        _registry.refuse_unknown("compile", kwargs, _arguments(Trainer.compile))
        if run_eagerly:
            raise NotImplementedError(
                "compile(run_eagerly=True): steps always run in the compiled core; leave "
                "`run_eagerly` out."
            )
        if steps_per_execution != 1:
            raise NotImplementedError(
                f"compile(steps_per_execution={steps_per_execution!r}): every step is one call of "
                "the core already; leave `steps_per_execution` out."
            )
        if metrics is None and _keras2.are_names(loss_weights):
            _keras2.say("compile(optimizer, loss, metrics)", "compile(optimizer, loss, metrics=)")
            metrics, loss_weights = loss_weights, None
        policy = None
        if precision is not None:
            policy = _dtype_policy.supported(_dtype_policy.get(precision, "compile(precision=)"))
        made_optimizer = optimizers.get(optimizer)
        losses = None if loss is None else CompiledLosses(loss, loss_weights)
        compiled_metrics = CompiledMetrics(metrics, weighted_metrics)
        if losses is not None and self.built:
            losses.build(self._output_names_or_default(), self._output_shapes(), None)
        for layer in self._flatten_layers() if policy is not None else ():
            layer.dtype_policy = policy
        self.optimizer = made_optimizer
        self.loss = loss
        self._losses = losses
        self._compile_metrics = compiled_metrics
        self._loss_tracker = Mean(name="loss")
        self._compile_config = {
            "optimizer": made_optimizer,
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
            "run_eagerly": False,
            "steps_per_execution": 1,
            "jit_compile": False,
        }
        self.stop_training = False
        self.compiled = True
        self._engine_ready = False
        self._loss_warned = False
        if losses is not None and self.built:
            self._warn_about_losses()

    def get_compile_config(self) -> dict[str, Any]:
        """Return the arguments of `compile` in the layout of Keras' files, {} if not compiled."""
        if not self.compiled:
            return {}
        return _stored_compile.serialize(self._compile_config)

    def compile_from_config(
        self, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> None:
        """Compile with what `get_compile_config` stored.

        Args:
            config: the stored dictionary; {} leaves the model uncompiled.
            custom_objects: further losses and metrics by name.

        Raises:
            ValueError: an optimizer, loss or metric that is not known.
        """
        if not config:
            return
        self._loading = True
        try:
            self.compile(**_stored_compile.deserialize(config, custom_objects))
        finally:
            self._loading = False
        if self.built and self.optimizer is not None:
            self.optimizer.build(self.trainable_weights)

    @property
    def class_names(self) -> list[str] | None:
        """The class of each output, or None: set by `fit` on folders, kept in model files.

        `fit` and `evaluate` refuse data whose classes are in another order. Setting a list (the
        lines of a class file, for example) checks its order and length too; None forgets it.
        """
        names = _class_names.stored(self)
        return None if names is None else list(names)

    @class_names.setter
    def class_names(self, names: Sequence[str] | None) -> None:
        _class_names.store(self, names)

    # ---- metrics -------------------------------------------------------------------------------

    @property
    def metrics(self) -> list[Any]:
        """Loss tracker, the compiled metrics as one object, trackers of single losses."""
        if not self.compiled:
            return []
        found: list[Any] = [self._loss_tracker, self._compile_metrics]
        if self._losses is not None:
            found += self._losses.trackers
        return found

    @property
    def metrics_names(self) -> list[str]:
        """The names of `metrics`, as Keras 3 gives them."""
        return [metric.name for metric in self.metrics]

    def reset_metrics(self) -> None:
        """Forget all running means."""
        for metric in self.metrics:
            metric.reset_state()

    def get_metrics_result(self) -> dict[str, Any]:
        """Return the running means by name."""
        results: dict[str, Any] = {}
        for metric in self.metrics:
            value = metric.result()
            results.update(value if isinstance(value, dict) else {metric.name: value})
        return results

    # ---- fit -----------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        cache_features: bool | str | None = None,
        **kwargs: Any,
    ) -> History:
        """Train for `epochs` and return a `History`.

        The loss of a batch is sum(weight * loss) / number of samples. Ctrl-C leaves the weights
        as they are before or after a whole step; `fit` can be called again.

        Args:
            x: arrays, a dataset, a directory iterator, a PyDataset or a generator of batches.
            y: labels, with arrays only.
            batch_size: samples per step for arrays, 32 by default.
            epochs: number of the last epoch.
            verbose: 0 silent, 1 or "auto" progress bar, 2 one line per epoch.
            callbacks: list of callbacks.
            validation_split: share of the rows (the last ones, before shuffling) held out.
            validation_data: (x, y), (x, y, weights) or a dataset, evaluated after epochs.
            shuffle: new order in every epoch (arrays); "batch": only inside each batch.
            class_weight: weight by class index, 1 for classes left out.
            sample_weight: weight per row, with arrays only.
            initial_epoch: number of the first epoch, when going on with a training.
            steps_per_epoch: batches per epoch; the data go on where the last epoch ended.
            validation_steps: batches per validation.
            validation_batch_size: `batch_size` of the validation.
            validation_freq: validate every n-th epoch, or after the listed epochs (from 1).
            cache_features: what the frozen layers make of each image is computed once and reused
                by later epochs and by the validation: "auto" where it pays, True, or False; the
                numbers are the same. None: as in the last `fit`, "auto" at first. Not in Keras.

        Returns:
            The history: `.history` has a list per logged value, `.epoch` the epoch numbers.

        Raises:
            ValueError: the model is not compiled, labels that do not fit the loss, ...
            TypeError: an unknown argument.
        """
        self._refuse_unknown("fit", kwargs, Trainer.fit)
        self._check_ready("fit")
        self._check_epochs(epochs, initial_epoch, validation_freq)
        if not (cache_features is None or isinstance(cache_features, bool)) and (
            cache_features != "auto"
        ):
            raise ValueError(
                f'`cache_features` must be "auto", True, False or None, got {cache_features!r}.'
            )
        if class_weight is not None:
            _targets.check_class_weight(class_weight, len(self._output_names_or_default()))
            if sample_weight is not None:
                raise ValueError(
                    "Arguments `sample_weight` and `class_weight` cannot be specified at the same "
                    f"time. Received: sample_weight={sample_weight!r}, "
                    f"class_weight={class_weight!r}"
                )
        recorder = Recorder(
            self, (x, y, sample_weight), validation_data, batch_size=batch_size, epochs=epochs,
            shuffle=shuffle, class_weight=class_weight, validation_split=validation_split,
            initial_epoch=initial_epoch, steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps, validation_batch_size=validation_batch_size,
            validation_freq=validation_freq,
        )  # fmt: skip
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split_rows(
                (x, y, sample_weight), validation_split
            )
        source = self._source(
            (x, y, sample_weight), batch_size, "fit", steps_per_epoch, shuffle, class_weight
        )
        validation = None
        if validation_data is not None:
            size = validation_batch_size or batch_size
            validation = self._source(unpacked(validation_data), size, "evaluate", validation_steps)
        self._prepare(source)
        _class_names.check(_class_names.stored(self), source, "training data", new=True)
        if source.class_names is not None:
            if hasattr(source, "order"):  # labels as they come from the folders, not mapped
                _targets.check_class_names(
                    source.class_names, self._losses.losses, self._output_shapes()
                )
            update_record(self, class_names=[str(name) for name in source.class_names])
        pipeline = pipeline_of(x)
        update_record(self, images=None if pipeline is None else pipeline.record())
        _class_names.check(_class_names.stored(self), validation, "validation data")
        train = Steps(self._engine, source, True)
        test = validation and Steps(self._engine, validation, False)
        callbacks = self._callback_list(callbacks, verbose, epochs, train.num_batches, fit=True)
        epoch_numbers = range(initial_epoch, epochs)
        self._check_monitors(callbacks, validation is not None, epoch_numbers, validation_freq)
        recorder.watch(callbacks)
        self.history.backbones = _backbones.names(self)
        self.stop_training = False
        if cache_features is not None:
            self._engine.cache_features = cache_features
        self._engine.begin_fit(keep_features=True)
        whole = False
        self._training_steps = train
        try:
            made_of = functools.partial(
                fingerprint, self, source, validation, validation_freq, class_weight
            )
            FitLoop(
                self, train, test, callbacks, recorder, epoch_numbers, validation_freq, made_of
            ).run()
            whole = True
        finally:
            self._training_steps = None
            self._engine.end_fit()
            train.close()
            if test:
                test.close()
            recorder.close(whole)  # it reads all weights; a second Ctrl-C may end that
        train.report_bad()
        if test:
            test.report_bad()
        return self.history

    def _train_step(self, batch: Any) -> None:
        self._check_batch(batch)
        loss, outputs = self._engine.train_batch(batch)
        self._take_results(batch, loss, outputs)

    def _test_step(self, batch: Any) -> None:
        self._check_batch(batch)
        loss, outputs = self._engine.test_batch(batch)
        self._take_results(batch, loss, outputs)

    def _take_results(self, batch: Any, loss: float, outputs: list[np.ndarray]) -> None:
        self._loss_tracker.update_state(loss, np.float32(batch.size))
        weights = batch.sample_weight
        if self._losses.trackers:
            self._losses.update(batch.y, outputs, weights)
        if not self._compile_metrics.built:
            self._compile_metrics.build(self._output_names_or_default(), batch.y, outputs)
        self._compile_metrics.update_state(batch.y, outputs, weights)

    # ---- evaluate and predict --------------------------------------------------------------------

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> float | list[float] | dict[str, float]:
        """Return loss and metrics on the given data.

        Args:
            x, y, batch_size, verbose, sample_weight, callbacks: see `fit`.
            steps: number of batches, all by default.
            return_dict: return a dictionary instead of a list.

        Returns:
            The loss, or [loss, metric, ...] in the order of `compile`, or a dictionary.

        Raises:
            ValueError: the model is not compiled, labels that do not fit the loss, ...
            TypeError: an unknown argument.
        """
        self._refuse_unknown("evaluate", kwargs, Trainer.evaluate)
        self._check_ready("evaluate")
        source = self._source((x, y, sample_weight), batch_size, "evaluate", steps)
        _class_names.check(_class_names.stored(self), source, "data")
        self._prepare(source)
        test = Steps(self._engine, source, False)
        callbacks = self._callback_list(callbacks, verbose, 1, test.num_batches)
        try:
            logs = self._run_evaluation(test, callbacks)
        finally:
            test.close()
        test.report_bad()
        return logs if return_dict else self._in_order(logs)

    def _run_evaluation(self, test: Steps, callbacks: CallbackList) -> dict[str, Any]:
        self.stop_evaluating = False
        callbacks.on_test_begin()
        self.reset_metrics()
        for step, batch in test.epoch(0):
            callbacks.on_test_batch_begin(step)
            self._test_step(batch)
            callbacks.on_test_batch_end(step, self.get_metrics_result())
            if self.stop_evaluating:
                break
        logs = plain_logs(self.get_metrics_result())
        callbacks.on_test_end(logs)
        return logs

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Return the outputs for the given data, in the data's order.

        Args:
            x: arrays, a dataset, a directory iterator, ...; labels in it are not used. Not in
                Keras: the path of an image file, or a list of paths, for a model that was trained
                on image files.
            batch_size: samples per batch for arrays and files, 32 by default.
            verbose: 0 silent, 1 or "auto" progress bar, 2 one line.
            steps: number of batches, all by default.
            callbacks: list of callbacks.

        Returns:
            An array with a row per sample (a list of arrays for several outputs). For a file an
            answer with `name`, `score`, `scores` and `top(k)`, for a list of files a list of them;
            files are read and prepared as those of `fit`.

        Raises:
            TypeError: an unknown argument.
            ValueError: a file for a model that does not know how to read files.
        """
        self._refuse_unknown("predict", kwargs, Trainer.predict)
        if is_files(x):
            if steps is not None:
                raise ValueError(f"steps={steps!r} does not go with image files; pass fewer files")
            return predict_files(self, x, batch_size, verbose=verbose, callbacks=callbacks)
        source = self._source((x, None, None), batch_size, "predict", steps)
        self._build_from(source)
        run = Steps(self._engine, source, False)
        callbacks = self._callback_list(callbacks, verbose, 1, run.num_batches)
        parts: list[list[np.ndarray]] = []
        self.stop_predicting = False
        callbacks.on_predict_begin()
        try:
            for step, batch in run.epoch(0):
                callbacks.on_predict_batch_begin(step)
                outputs = self._engine.predict_batch(batch)
                parts.append(outputs)
                callbacks.on_predict_batch_end(step, {"outputs": self._packed(outputs)})
                if self.stop_predicting:
                    break
        finally:
            run.close()
        callbacks.on_predict_end()
        run.report_bad()
        return self._packed([np.concatenate(output) for output in zip(*parts, strict=True)])

    # ---- inside ----------------------------------------------------------------------------------

    @property
    def _engine(self) -> Any:
        if self._engine_object is None:
            from tlfast._engine import Engine

            self._engine_object = Engine(self)
        return self._engine_object

    def _refuse_unknown(
        self, name: str, kwargs: dict[str, Any], method: Callable[..., Any]
    ) -> None:
        for key in kwargs:
            if key in NOT_HERE:
                raise TypeError(f"{name}() has no argument {key!r}. {NOT_HERE[key]}")
        _registry.refuse_unknown(name, kwargs, _arguments(method))

    def _check_ready(self, method: str) -> None:
        if not self.compiled:
            raise ValueError(
                f"You must call `compile()` before using the model. (`{method}` needs a loss and "
                'an optimizer: model.compile(optimizer="adam", loss="categorical_crossentropy", '
                'metrics=["accuracy"]).)'
            )
        if self._losses is None:
            raise ValueError("No loss to compute. Provide a `loss` argument in `compile()`.")

    @staticmethod
    def _check_epochs(epochs: int, initial_epoch: int, validation_freq: Any) -> None:
        for name, value in (("epochs", epochs), ("initial_epoch", initial_epoch)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                raise ValueError(f"`{name}` must be a whole number, 0 or more, got {value!r}.")
        good = isinstance(validation_freq, (list, tuple, set, frozenset)) or (
            isinstance(validation_freq, int) and validation_freq >= 1
        )
        if not good:
            raise ValueError(
                "Expected `validation_freq` to be a list or int (1 or more). Received: "
                f"validation_freq={validation_freq!r} of the type {type(validation_freq)}."
            )

    def _source(
        self,
        data: tuple[Any, Any, Any],
        batch_size: int | None,
        purpose: str,
        steps: int | None = None,
        shuffle: bool | str = False,
        class_weight: Mapping[int, float] | None = None,
    ) -> Any:
        from tlfast.data._source import adapt

        x, y, sample_weight = data
        if x is None:
            raise ValueError("No data: pass arrays, a dataset or an iterator as `x`.")
        return adapt(
            x,
            y,
            sample_weight,
            batch_size=batch_size,
            shuffle=shuffle,
            steps=steps,
            class_weight=None if class_weight is None else dict(class_weight),
            purpose=purpose,
            input_names=self.input_names if self.built else None,
            output_names=self.output_names if self.built else None,
        )

    def _build_from(self, source: Any) -> None:
        """Build a model that waits for its input shape (Sequential without an Input)."""
        if not self.built:
            shapes = [(None, *shape) for shape in source.element_shapes]
            self.build(shapes[0] if len(shapes) == 1 else shapes)

    def _prepare(self, source: Any) -> None:
        """Get the losses, and the engine, ready for the first batch after `compile`."""
        self._build_from(source)
        if self._engine_ready:
            return
        targets = source.targets(np.zeros(1, np.int64)) if hasattr(source, "targets") else None
        self._prepare_losses(targets)
        self._warn_about_losses()
        self._engine_ready = True

    def _prepare_losses(self, targets: list[np.ndarray] | None) -> None:
        self._losses.build(self._output_names_or_default(), self._output_shapes(), targets)
        self._engine.compile(self.optimizer, self._losses.losses, self._losses.weights)

    def _warn_about_losses(self) -> None:
        if self._loss_warned:
            return
        self._loss_warned = True
        for i, (loss, shape) in enumerate(
            zip(self._losses.losses, self._output_shapes(), strict=True)
        ):
            if loss is not None:
                activation = _targets.output_activation(self, i)
                _targets.warn_about_loss(loss, shape[-1], activation, not self._loading)

    def _check_batch(self, batch: Any) -> None:
        if batch.y is None:
            raise ValueError(
                "The data have no labels: `fit` and `evaluate` need (x, y) batches or `y=`."
            )
        names, shapes = self._output_names_or_default(), self._output_shapes()
        if len(batch.y) != len(names):
            raise ValueError(
                f"The data have {len(batch.y)} label arrays, the model has {len(names)} outputs "
                f"({', '.join(names)})."
            )
        weights = batch.sample_weight
        if weights is not None and not isinstance(weights, (list, tuple)):
            batch.sample_weight = [weights] * len(names)  # one for all outputs
        for i, loss in enumerate(self._losses.losses):
            if loss is not None:
                shape = (len(batch.y[i]), *_known_axes(shapes[i], np.shape(batch.y[i])))
                _targets.check_target(loss, np.asarray(batch.y[i]), shape, names[i])

    def _output_names_or_default(self) -> list[str]:
        # A Sequential that waits for its input shape has one output, whose name is not known.
        return list(self.output_names) if self.built else ["output"]

    def _output_shapes(self) -> list[tuple[Any, ...]]:
        return [tuple(output.shape) for output in self.outputs]

    def _packed(self, outputs: list[np.ndarray]) -> Any:
        return outputs[0] if len(outputs) == 1 else list(outputs)

    def _callback_list(
        self, callbacks: Any, verbose: str | int, epochs: int, steps: int | None, fit: bool = False
    ) -> CallbackList:
        if isinstance(verbose, str) and verbose != "auto" or verbose not in ("auto", 0, 1, 2):
            raise ValueError(f"`verbose` must be 'auto', 0, 1 or 2, got {verbose!r}.")
        if isinstance(callbacks, CallbackList):
            callbacks = callbacks.callbacks
        return CallbackList(
            callbacks,
            add_history=fit,
            add_progbar=verbose != 0,
            model=self,
            verbose=1 if verbose == "auto" else verbose,
            epochs=epochs,
            steps=steps,
        )

    def _check_monitors(
        self,
        callbacks: CallbackList,
        validated: bool,
        epochs: range,
        validation_freq: int | Sequence[int],
    ) -> None:
        """Let callbacks refuse values that are never logged, before the first epoch."""
        names = ["loss", *(tracker.name for tracker in self._losses.trackers)]
        names += self._compile_metrics.expected_names(self._output_names_or_default())
        values = [f"val_{name}" for name in names] if validated else []
        often = validation_freq == 1 or all(is_due(epoch, validation_freq) for epoch in epochs)
        if often:
            callbacks.check_monitors(names + values)
        else:
            callbacks.check_monitors(names, sometimes=values)

    def _in_order(self, logs: dict[str, Any]) -> Any:
        order = [self._loss_tracker.name]
        order += [metric.name for metric in self._compile_metrics.metrics]
        order += [tracker.name for tracker in self._losses.trackers]
        results = [logs[name] for name in order if name in logs]
        results += [logs[name] for name in sorted(logs) if name not in order]
        return results[0] if len(results) == 1 else results


def _arguments(method: Callable[..., Any]) -> list[str]:
    code = method.__code__
    return [name for name in code.co_varnames[1 : code.co_argcount] if not name.startswith("_")]


def _known_axes(shape: tuple[Any, ...], like: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an output shape without the batch axis, unknown axes taken from the labels."""
    axes = shape[1:]
    padded = (*like[1:], *([1] * len(axes)))
    return tuple(padded[i] if axis is None else axis for i, axis in enumerate(axes))
