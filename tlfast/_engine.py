"""From a model to plans of the core: which part is computed once, which part is trained.

A model is lowered to a core graph for concrete shapes. The values that are pure functions of the
images (no trainable weight, no randomness on the way) form the frozen part; the last of them, the
cut, are computed in chunks of a few images whose bits depend on nothing but the image, and can be
kept. Everything behind the cut is one plan per batch size.
"""

import gc
import logging
import math
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlfast import _core, _dtype_policy
from tlfast._algorithms import algorithm_choices
from tlfast._features import FeatureCache, FeatureStore, page_out
from tlfast._frozen_dropout import warn_about_dropout
from tlfast._input_watch import InputWatch
from tlfast._lowering import Cut, Lowered, as_input, lower
from tlfast.layers._base import own_weights

_log = logging.getLogger("tlfast")

# Images per run of the frozen part. No bit of a result depends on it; a chunk of 8 takes as long
# per image and twice the memory.
_CHUNKS = (4, 2, 1)
# Plans kept per model: chunk sizes, a training and an evaluation batch, their last short batches.
_MAX_PLANS = 16
_CONVOLUTIONS = frozenset({"conv2d", "depthwise_conv2d"})
# Batches of pixels at once: two being decoded ahead, one waiting, one in use.
_PIXEL_BATCHES = 4


@dataclass
class Batch:
    """One step's data, as `Engine.batches` yields it.

    Attributes:
        x: input arrays, or None where the features of all rows were kept.
        y: one target array per output, or None.
        sample_weight: one array of weights per output (entries may be None), or None.
        size: number of rows.
        ids: sample numbers, where the data has any.
        bad: (path, reason) of images that were left out.
        features: outputs of the frozen part, or None where they are to be computed.
        shapes: shape of one sample of each input.
    """

    x: Any
    y: Any
    sample_weight: list[np.ndarray | None] | None
    size: int
    ids: np.ndarray | None = None
    bad: list[Any] = field(default_factory=list)
    features: list[np.ndarray] | None = None
    shapes: tuple[Any, ...] = ()


# Models are full of reference cycles: one that was dropped keeps its packed weights until the
# garbage collector comes, which counts objects and not megabytes.
_engines: weakref.WeakSet[Any] = weakref.WeakSet()
_MANY_BYTES = 32 << 20


def _collect_dropped() -> None:
    """Free dropped models, and the heap behind them, before another one takes its memory."""
    if sum(engine._pool.bytes for engine in list(_engines)) > _MANY_BYTES:
        gc.collect()
    _core.trim_memory()  # what initialising or loading weights left in the heap


class Engine:
    """Runs one model. Plans are made on first demand and kept.

    Args:
        model: the model; its `trainable` flags are read again by `begin_fit`.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.cache_features: str | bool = "auto"
        _collect_dropped()
        _engines.add(self)
        self._pool = _core.Pool()
        self._plans: OrderedDict[Any, Any] = OrderedDict()
        self._lowered: OrderedDict[object, Lowered] = OrderedDict()
        self._cuts: dict[object, Cut] = {}
        self._features = FeatureCache()
        self._optimizer: Any = None
        self._losses: list[Any] = []
        self._loss_weights: list[float] = []
        self._trainable: list[Any] = []
        self._flags: tuple[bool, ...] = ()
        self._setting: tuple[Any, ...] | None = None
        self._policies = _dtype_policy.changes()
        self._keeps = False
        self._said: set[str] = set()
        self._inputs = InputWatch(model)

    # ---- plans -----------------------------------------------------------------------------

    def _kept(self, table: OrderedDict[Any, Any], key: object, make: Callable[[], Any]) -> Any:
        if key in table:
            table.move_to_end(key)
            return table[key]
        made = table[key] = make()
        while len(table) > _MAX_PLANS:
            table.popitem(last=False)
        return made

    def _lower(self, shapes: tuple[Any, ...], batch: int, training: bool) -> Lowered:
        self._see_policies()
        key = (shapes, batch, training, self._flags if training else ())
        return self._kept(self._lowered, key, lambda: lower(self.model, shapes, batch, training))

    def _see_policies(self) -> None:
        """Forget everything that was made before a layer got another dtype policy."""
        if self._policies != _dtype_policy.changes():
            self._policies = _dtype_policy.changes()
            for table in (self._lowered, self._cuts, self._plans):
                table.clear()
            self._pool = _core.Pool()

    def _plan(self, key: object, make: Callable[[], Any]) -> Any:
        algorithm_choices()  # the core's table is in place before its first plan
        # Primitives belong to a number of threads and to the algorithms allowed.
        setting = (_core.num_threads(), _core.winograd())
        if setting != self._setting:
            self._plans.clear()
            self._pool = _core.Pool()
            self._setting = setting
        return self._kept(self._plans, key, make)

    def _inference_plan(self, key: object, made: Lowered, wanted: tuple[int, ...]) -> Any:
        return self._plan(key, lambda: _core.Plan(made.graph, made.inputs, wanted, self._pool))

    def _cut(self, shapes: tuple[Any, ...], training: bool) -> Cut:
        self._see_policies()
        key = (shapes, training, self._flags)
        if key not in self._cuts:
            if len(self._cuts) > _MAX_PLANS:
                self._cuts.clear()
            self._cuts[key] = Cut(self._lower(shapes, 1, training), self._trainable_cores())
        return self._cuts[key]

    def _trainable_cores(self) -> tuple[Any, ...]:
        return tuple(v.core for v in self._trainable)

    # ---- the frozen part -------------------------------------------------------------------

    def _in_chunks(
        self,
        x: list[np.ndarray],
        shapes: tuple[Any, ...],
        training: bool,
        values: tuple[int, ...] | None,
    ) -> list[np.ndarray]:
        """Values (None: the outputs) for any number of rows, a few rows at a time."""
        parts: list[list[np.ndarray]] = []
        at, rows = 0, len(x[0])
        while at < rows:
            size = next(c for c in _CHUNKS if c <= rows - at)
            made = self._lower(shapes, size, training)
            wanted = made.outputs if values is None else values
            key = ("chunk", shapes, size, training, wanted, self._flags if training else ())
            plan = self._inference_plan(key, made, wanted)
            try:
                parts.append(plan.forward([a[at : at + size] for a in x]))
            except MemoryError as error:
                text = f"model '{self.model.name}': {error}; use smaller images"
                raise MemoryError(text) from None
            at += size
        if not parts:
            graph = self._lower(shapes, 1, training)
            wanted = graph.outputs if values is None else values
            return [np.empty((0, *graph.graph.shape(v)[1:]), np.float32) for v in wanted]
        if len(parts) == 1:
            return parts[0]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _compute(self, x: list[np.ndarray], training: bool) -> list[np.ndarray]:
        """What the cut holds for these rows."""
        shapes = tuple(a.shape[1:] for a in x)
        cut = self._cut(shapes, training)
        x = [as_input(a) for a in x]
        if not cut.works:
            return x
        return self._in_chunks(x, shapes, training, cut.values)

    # ---- what the Trainer calls ------------------------------------------------------------

    def predict(self, x: list[np.ndarray]) -> list[np.ndarray]:
        """Outputs for any number of rows.

        Args:
            x: one array per input, batch axis first.
        """
        x = [as_input(np.asarray(a)) for a in x]
        return self._in_chunks(x, tuple(a.shape[1:] for a in x), False, None)

    def predict_batch(self, batch: Batch) -> list[np.ndarray]:
        """Outputs of a batch, from kept features where there are any.

        Without them it takes the same two parts wherever they are cut, so that no bit of a
        prediction depends on whether features were kept.
        """
        cut = self._cut(batch.shapes, training=False)
        if batch.features is None and (not cut.works or cut.is_whole):
            return self.predict(batch.x)
        features = self._features_of(batch, training=False)
        plan, _ = self._head(batch, training=False, losses=False)
        return plan.forward(features)

    def compile(self, optimizer: Any, losses: list[Any], loss_weights: list[float]) -> None:
        """Take over what `Model.compile` chose; plans for training are made anew.

        Args:
            optimizer: object with `core_spec`, `build`, `slots_for`.
            losses: one loss object per output, or None for an output without a loss.
            loss_weights: one number per output.
        """
        self._optimizer = optimizer
        self._losses = losses
        self._loss_weights = list(loss_weights)
        for key in [k for k in self._plans if k[0] in ("train", "test")]:
            del self._plans[key]

    def begin_fit(self, keep_features: bool = False) -> None:
        """Read the `trainable` flags again and make the optimizer ready for them.

        Args:
            keep_features: whether outputs of the frozen part may be kept until `end_fit`, and are
                used by later passes over the same data.
        """
        self._keeps = keep_features
        self._begin_training()
        page_out([v.core for v in self.model.non_trainable_weights if v.dtype == "float32"])
        if keep_features:
            warn_about_dropout(self.model, self._said)

    def _begin_training(self) -> None:
        self._read_flags()
        if not self._trainable:
            raise ValueError(
                f"model '{self.model.name}' has no trainable weights: every layer is frozen. Set "
                "`trainable = True` on the layers to train, or add a new head"
            )
        self._optimizer.build(self._trainable)

    def forget_graphs(self) -> None:
        """Lower the model anew: attributes of its layers were changed."""
        self._lowered.clear()
        self._cuts.clear()
        self._plans.clear()

    def end_fit(self) -> None:
        """No new features are kept from here on; those there are stay."""
        self._keeps = False

    def _read_flags(self) -> None:
        layers = self.model._flatten_layers()  # once: one image is predicted in milliseconds
        weights = own_weights(layers)
        self._trainable = [v for v in weights if v.trainable] if self.model.trainable else []
        self._flags = tuple(bool(part.trainable) for part in (*weights, *layers))

    def train_batch(self, batch: Batch) -> tuple[float, list[np.ndarray]]:
        """One whole training step: weights are as before it, or as after it.

        Args:
            batch: rows with targets.

        Returns:
            The loss (regularization included) and the outputs.
        """
        features = self._features_of(batch, training=True)
        plan, cut = self._head(batch, training=True, losses=True)
        rate = self._optimizer.current_learning_rate()
        iteration = int(self._optimizer.iterations)
        penalty = self._penalty()
        try:
            losses, outputs = plan.train(
                features,
                self._targets(batch),
                self._weights(batch),
                rate,
                iteration,
                iteration,
                self._optimizer.iterations.cell(),
            )  # fmt: skip - the core counts the step too, whole with the weights when Ctrl-C comes
        except MemoryError as error:
            raise MemoryError(f"{error}; {self._advice(batch.shapes, batch.size)}") from None
        return self._total(losses, batch.size) + penalty, outputs

    def test_batch(self, batch: Batch) -> tuple[float, list[np.ndarray]]:
        """Loss and outputs of a batch, nothing changed.

        Args:
            batch: rows with targets.
        """
        features = self._features_of(batch, training=False)
        plan, _ = self._head(batch, training=False, losses=True)
        losses, outputs = plan.evaluate(features, self._targets(batch), self._weights(batch))
        return self._total(losses, batch.size) + self._penalty(), outputs

    # ---- memory ----------------------------------------------------------------------------

    def memory_of(self, shapes: tuple[Any, ...], batch: int) -> dict[str, int]:
        """Bytes of a training step, from plans that are made and never run.

        Args:
            shapes: shape of one sample of each input.
            batch: number of rows.

        Returns:
            Fields of `tlfast._memory_plan.MemoryPlan`.
        """
        self._begin_training()
        cut = self._cut(shapes, training=True)
        pool = _core.Pool()
        plans = [self._make_head(shapes, batch, cut, True, True, pool).plan]
        rows = batch
        if cut.works:
            rows = min(batch, _CHUNKS[0])
            made = self._lower(shapes, rows, True)
            plans.append(_core.Plan(made.graph, made.inputs, cut.values, pool))
        trained = [bytes for _, op, bytes in plans[0].steps() if op in _CONVOLUTIONS]
        return {
            "activations": max(plan.arena_bytes for plan in plans),
            "gradients": plans[0].gradient_bytes,
            "weights": sum(v.nbytes for v in self.model.weights),
            "packed_weights": pool.bytes,
            "slots": sum(4 * math.prod(slot.shape) for slot in self._slots()),
            "pixels": _PIXEL_BATCHES * rows * sum(4 * math.prod(shape) for shape in shapes),
            "convolutions": sum(trained),
        }

    # ---- time ------------------------------------------------------------------------------

    def dry_step(self, x: list[np.ndarray]) -> None:
        """What a step computes, and nothing is written: of a training step where the model is
        compiled and has something to train, otherwise a prediction.

        Args:
            x: one array per input, batch axis first.
        """
        if self._optimizer is None or not self.model.trainable_weights:
            self.predict(x)
            return
        self._begin_training()
        shapes, rows = tuple(a.shape[1:] for a in x), len(x[0])
        features = self._features_of(Batch(x, None, None, rows, shapes=shapes), training=True)
        plan, _ = self._head(Batch(x, None, None, rows, shapes=shapes), training=True, losses=True)
        made = self._lower(shapes, rows, True)
        targets = []
        for value, loss in zip(made.outputs, self._losses, strict=True):
            if loss is not None:
                shape = made.graph.shape(value)
                sparse = loss.core_spec()["kind"].startswith("sparse")
                targets.append(np.zeros(shape[:-1] if sparse else shape, np.float32))
        plan.train(features, targets, None, dry=True)

    def plans(self) -> list[Any]:
        """The core's plans that are kept."""
        return [getattr(plan, "plan", plan) for plan in self._plans.values()]

    def _slots(self) -> Iterator[Any]:
        for variable in self._trainable:
            yield from (s for s in self._optimizer.slots_for(variable) if s is not None)

    def _advice(self, shapes: tuple[Any, ...], batch: int) -> str:
        """The largest half, quarter ... of a batch that has room, as a sentence."""
        available = _core.memory_available()
        while batch > 1:
            batch //= 2
            needed = self.memory_of(shapes, batch)
            if needed["activations"] + needed["gradients"] <= available:
                return (
                    f"batch_size={batch} fits (model.plan(batch_size={batch}) prints what it takes)"
                )
        return "not even batch_size=1 fits: use smaller images, or freeze more layers"

    # ---- the part behind the cut -----------------------------------------------------------

    def _features_of(self, batch: Batch, training: bool) -> list[np.ndarray]:
        if batch.features is None:
            batch.features = self._compute(batch.x, training)
        return batch.features

    def _head(self, batch: Batch, training: bool, losses: bool) -> tuple[Any, Cut]:
        shapes = batch.shapes
        cut = self._cut(shapes, training)
        key = ("train" if training else "test", shapes, batch.size, losses, self._flags)
        plan = self._plan(
            key, lambda: self._make_head(shapes, batch.size, cut, training, losses, self._pool)
        )
        return plan, cut

    def _make_head(
        self, shapes: tuple[Any, ...], size: int, cut: Cut, training: bool, losses: bool, pool: Any
    ) -> "_Ordered":
        made = self._lower(shapes, size, training)
        specs = tuple(self._loss_specs(size)) if losses else ()
        used = [i for i, loss in enumerate(self._losses) if loss is not None] if losses else []
        rest = [i for i in range(len(made.outputs)) if i not in used]
        outputs = tuple(made.outputs[i] for i in used + rest)
        if not training:
            return _Ordered(
                _core.Plan(made.graph, cut.values, outputs, pool, (), specs), used + rest
            )
        trainable = self._trainable_cores()
        plan = _core.Plan(made.graph, cut.values, outputs, pool, trainable, specs)
        plan.set_optimizer(self._optimizer.core_spec(), tuple(self._updates()))
        return _Ordered(plan, used + rest)

    def _loss_specs(self, size: int) -> Iterator[dict[str, Any]]:
        for loss, weight in zip(self._losses, self._loss_weights, strict=True):
            if loss is None:
                continue
            spec = dict(loss.core_spec())
            reduction = spec.pop("reduction", "sum_over_batch_size")
            if reduction == "sum":
                weight = weight * size
            elif reduction not in ("sum_over_batch_size", "mean"):
                raise NotImplementedError(
                    f"training with reduction={reduction!r} of the loss {spec['kind']!r}; "
                    "available: 'sum_over_batch_size', 'sum'"
                )
            yield {**spec, "weight": float(weight)}

    def _updates(self) -> Iterator[tuple[Any, ...]]:
        optimizer = self._optimizer
        for variable in self._trainable:
            l1, l2 = _penalties(variable)
            slots = tuple(optimizer.slots_for(variable))
            decays, rate = optimizer.uses_weight_decay(variable), optimizer.rate_factor(variable)
            yield variable.core, slots, decays, l1, l2, rate

    def _targets(self, batch: Batch) -> list[np.ndarray]:
        return [
            np.ascontiguousarray(y, np.float32)
            for y, loss in zip(batch.y, self._losses, strict=True)
            if loss is not None
        ]

    def _weights(self, batch: Batch) -> list[np.ndarray | None] | None:
        if batch.sample_weight is None:
            return None
        return [
            None if w is None else np.ascontiguousarray(w, np.float32)
            for w, loss in zip(batch.sample_weight, self._losses, strict=True)
            if loss is not None
        ]

    def _total(self, losses: list[float], size: int) -> float:
        weights = [spec["weight"] for spec in self._loss_specs(size)]
        return float(sum(w * value for w, value in zip(weights, losses, strict=True)))

    def _penalty(self) -> float:
        # As in Keras, weights that are not trained add nothing.
        variables = self._trainable or self.model.trainable_weights
        return float(sum(v.regularizer(v.numpy()) for v in variables if v.regularizer is not None))

    # ---- data ------------------------------------------------------------------------------

    def batches(
        self, source: Any, epoch: int, training: bool, skip: int = 0
    ) -> Iterator[tuple[int, Batch]]:
        """The batches of one epoch with their numbers, kept features where that is possible.

        The order is drawn by the call; a batch none of whose images can be read is left out.

        Args:
            source: a `tlfast.data` source.
            epoch: number of the epoch, from 0.
            training: whether the batches are for training.
            skip: number of batches at the front that are left out.
        """
        self._read_flags()
        if not hasattr(source, "order"):
            return self._stream(source, source.batches(epoch, training, skip), training, skip)
        order = source.order(epoch, training)[skip:]
        return self._indexed(source, order, training, skip)

    def _indexed(
        self, source: Any, order: list[Any], training: bool, first: int
    ) -> Iterator[tuple[int, Batch]]:
        store, shapes = self._store(source, training)
        if store is None:
            for number, (x, ids, bad) in enumerate(source.pixels(order), first):
                if len(ids):
                    self._inputs.look(source, x, training)
                    yield number, _batch(source, ids, bad, x=x, shapes=shapes)
            return
        wanted = [store.missing(ids) for ids in order]
        yield from self._from_store(source, store, shapes, order, wanted, training, first)

    def _from_store(
        self,
        source: Any,
        store: FeatureStore,
        shapes: tuple[Any, ...],
        order: list[Any],
        wanted: list[Any],
        training: bool,
        first: int,
    ) -> Iterator[tuple[int, Batch]]:
        # A sample may stand in several batches: only the first of them asks for its pixels, and
        # for no more at once than are computed at once: pixels take far more memory than features.
        asked: set[int] = set()
        chunks: list[list[np.ndarray]] = []
        for ids in wanted:
            new = [n for n in ids.tolist() if n not in asked]
            asked.update(new)
            chunks.append([np.array(c, np.int64) for c in _divided(new, _CHUNKS[0])])
        pixels = source.pixels([chunk for of_batch in chunks for chunk in of_batch])
        for number, (ids, of_batch) in enumerate(zip(order, chunks, strict=True), first):
            bad: list[Any] = []
            for chunk in of_batch:
                x, kept, unreadable = next(pixels)
                bad += unreadable
                store.leave_out(np.setdiff1d(chunk, kept))
                if len(kept):
                    self._inputs.look(source, x, training)
                    store.put(kept, self._compute(x, training))
            ids = store.readable(ids)
            if len(ids):
                yield number, _batch(source, ids, bad, features=store.get(ids), shapes=shapes)

    def _stream(
        self, source: Any, batches: Iterator[Any], training: bool, first: int
    ) -> Iterator[tuple[int, Batch]]:
        for number, parts in enumerate(batches, first):
            if parts is None:
                continue
            x, y, weight = parts
            weights = weight if weight is None or isinstance(weight, list) else [weight]
            shapes = tuple(np.shape(a)[1:] for a in x)
            if training and self._keeps:
                self._say_not_kept(shapes)
            self._inputs.look(source, x, training)
            yield number, Batch(list(x), y, weights, len(x[0]), source.ids, shapes=shapes)

    def _store(self, source: Any, training: bool) -> tuple[FeatureStore | None, tuple[Any, ...]]:
        shapes = tuple(tuple(s) for s in source.element_shapes)
        looks = self._keeps or (not training and len(self._features) > 0)
        if not self.cache_features or not looks:
            return None, shapes
        if source.identity is None:
            if training:
                self._say_not_kept(shapes)
            return None, shapes
        cut = self._cut(shapes, training)
        if not cut.works:
            return None, shapes
        key = (source.identity, shapes, cut.signature)
        version = (cut.version(), _core.winograd())
        if not self._keeps and not self._features.holds(key, version):
            return None, shapes
        return self._features.store(key, version, source.num_samples, cut.shapes), shapes

    def _say_not_kept(self, shapes: tuple[Any, ...]) -> None:
        if self.cache_features and self._cut(shapes, True).works:
            self._say_once(
                f"model '{self.model.name}': this data has no stable identity (a Python generator, "
                "or images changed by a function), so its frozen layers are computed again in "
                "every epoch; data straight from image_dataset_from_directory or "
                "flow_from_directory, with the function as a layer of the model, is computed once"
            )

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            _log.warning(text)


def _divided(numbers: list[int], size: int) -> Iterator[list[int]]:
    return (numbers[at : at + size] for at in range(0, len(numbers), size))


class _Ordered:
    """A plan whose outputs come first where they have a loss, given back in the model's order."""

    def __init__(self, plan: Any, order: list[int]) -> None:
        self.plan, self._order = plan, order

    def _sorted(self, outputs: list[np.ndarray]) -> list[np.ndarray]:
        result: list[Any] = [None] * len(outputs)
        for place, value in zip(self._order, outputs, strict=True):
            result[place] = value
        return result

    def forward(self, feeds: list[np.ndarray]) -> list[np.ndarray]:
        return self._sorted(self.plan.forward(feeds))

    def evaluate(self, *args: Any) -> tuple[list[float], list[np.ndarray]]:
        losses, outputs = self.plan.evaluate(*args)
        return losses, self._sorted(outputs)

    def train(self, *args: Any, **kwargs: Any) -> tuple[list[float], list[np.ndarray]]:
        losses, outputs = self.plan.train(*args, **kwargs)
        return losses, self._sorted(outputs)


def _batch(
    source: Any, ids: np.ndarray, bad: list[Any], shapes: tuple[Any, ...], **data: Any
) -> Batch:
    weight = source.weights(ids)
    targets = source.targets(ids)
    weights = None
    if weight is not None:
        weights = weight if isinstance(weight, list) else [weight]
        if targets is not None and len(weights) == 1:
            weights = weights * len(targets)
    return Batch(
        data.get("x"), targets, weights, len(ids), ids, list(bad), data.get("features"), shapes
    )


def _penalties(variable: Any) -> tuple[float, float]:
    """l1 and l2 of a variable's regularizer."""
    penalty = variable.regularizer
    if penalty is None:
        return 0.0, 0.0
    if not hasattr(penalty, "l1") and not hasattr(penalty, "l2"):
        raise NotImplementedError(
            f"{variable.path}: training with the regularizer {penalty!r}; available: L1, L2, L1L2"
        )
    return float(getattr(penalty, "l1", 0.0)), float(getattr(penalty, "l2", 0.0))
