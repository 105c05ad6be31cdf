"""The calls of a model that say what a step costs: memory and time."""

from tlfast._memory_plan import MemoryPlan, plan_memory
from tlfast._profile import Profile, profile_model


class StepCosts:
    """The part of `Trainer` that prints figures and trains nothing."""

    def plan(self, batch_size: int = 32, input_shape: tuple[int, ...] | None = None) -> MemoryPlan:
        """Print how much memory training will take, before it starts.

        Nothing is computed, and of that memory only the optimizer's slots are taken. `fit` raises a
        MemoryError that names a batch size that fits where there is too little.

        Args:
            batch_size: images per step.
            input_shape: shape of one sample (height, width, channels); needed where the model
                takes any size.

        Returns:
            The figures, in bytes.

        Raises:
            ValueError: a model that is not compiled, that has nothing to train, or of unknown
                input size.
        """
        self._check_ready("plan")
        if not self._engine_ready:
            self._prepare_losses(None)
        found = plan_memory(self, batch_size, input_shape)
        print(found)
        return found

    def profile(
        self, batch_size: int = 32, input_shape: tuple[int, ...] | None = None, runs: int = 3
    ) -> Profile:
        """Print how long every layer takes, and what computes it.

        A compiled model with something to train takes training steps (frozen layers in prediction
        form, as `fit` runs them), any other model predicts. The images are noise, and no weight is
        changed.

        Args:
            batch_size: images per step.
            input_shape: shape of one sample (height, width, channels); needed where the model
                takes any size.
            runs: steps that are measured; the figures are means.

        Returns:
            The rows of the table, the table as text, and as HTML in a notebook.

        Raises:
            ValueError: a model of unknown input size.
        """
        if self.compiled and self.trainable_weights and not self._engine_ready:
            self._prepare_losses(None)
        found = profile_model(self, batch_size, input_shape, runs)
        print(found)
        return found
