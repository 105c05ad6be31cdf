"""The training surface of a model: compile, fit, evaluate, predict and the per-batch calls."""


class Trainer:
    """What `Model` inherits to be trained; state lives in instance attributes, no `__init__`."""

    compiled = False
    optimizer = None
    loss = None
    history = None
    stop_training = False

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
        auto_scale_loss=True,
        **kwargs,
    ) -> None:
        """Choose the optimizer, the losses and the metrics."""
        raise NotImplementedError("compile")

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
        on_bad_image="error",
        **kwargs,
    ):
        """Train for `epochs` and return a `History`."""
        raise NotImplementedError("fit")

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        steps=None,
        callbacks=None,
        return_dict=False,
        on_bad_image="error",
        **kwargs,
    ):
        """Return loss and metrics on the given data."""
        raise NotImplementedError("evaluate")

    def predict(
        self,
        x,
        batch_size=None,
        verbose="auto",
        steps=None,
        callbacks=None,
        on_bad_image="error",
    ):
        """Return the outputs for the given data."""
        raise NotImplementedError("predict")

    def train_on_batch(
        self, x, y=None, sample_weight=None, class_weight=None, return_dict=False
    ):
        """One training step on one batch."""
        raise NotImplementedError("train_on_batch")

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """Loss and metrics on one batch."""
        raise NotImplementedError("test_on_batch")

    def predict_on_batch(self, x):
        """Outputs of one batch."""
        raise NotImplementedError("predict_on_batch")

    @property
    def metrics(self) -> list:
        """The metric objects of the compiled model."""
        raise NotImplementedError("metrics")

    @property
    def metrics_names(self) -> list[str]:
        """The names of `metrics`, as Keras 3 gives them."""
        raise NotImplementedError("metrics_names")

    def reset_metrics(self) -> None:
        """Clear the state of all metrics."""
        raise NotImplementedError("reset_metrics")

    def get_compile_config(self) -> dict | None:
        """The compile arguments as stored in a `.keras` file, or None if not compiled."""
        raise NotImplementedError("get_compile_config")

    def compile_from_config(self, config: dict) -> None:
        """Compile with the arguments of a model file."""
        raise NotImplementedError("compile_from_config")
