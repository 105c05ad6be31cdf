"""Small programs that run the same under Keras and under tlfast.

Each function takes the library (`keras` or `tlfast`) and returns plain data. make_training.py
stores what Keras returns, the tests compare with what tlfast returns.
"""

import contextlib
import io
import os
import tempfile
import time

import numpy as np


def numbers(shape, seed, low=0.0, high=1.0):
    """Numbers by formula, the same on every machine: fractional parts of multiples of sqrt(2)."""
    k = np.arange(1, int(np.prod(shape)) + 1, dtype=np.float64)
    u = np.modf((k + 7.0 * seed) * 1.4142135623730951 * (seed + 1))[0]
    return (low + (high - low) * u).reshape(shape).astype(np.float32)


def probabilities(rows, classes, seed):
    logits = numbers((rows, classes), seed, -3, 3)
    p = np.exp(logits)
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


def one_hot(rows, classes, seed):
    return np.eye(classes, dtype=np.float32)[class_indices(rows, classes, seed)]


def class_indices(rows, classes, seed):
    return (numbers((rows,), seed) * classes).astype(np.int64) % classes


def plain(value):
    """Arrays and tensors to lists, scalars to floats."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    array = np.asarray(value)
    return float(array) if array.ndim == 0 else array.astype(float).tolist()


@contextlib.contextmanager
def captured():
    """Capture what is printed, on a stream that is not a terminal."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        yield stream


@contextlib.contextmanager
def clock(ticks):
    """Let time.time() return the given numbers one after another, then the last one again."""
    ticks = list(ticks)
    real = time.time

    def now():
        return ticks.pop(0) if len(ticks) > 1 else ticks[0]

    time.time = now
    try:
        yield
    finally:
        time.time = real


# ---- losses ------------------------------------------------------------------------------------


def loss_objects(k):
    los = k.losses
    return {
        "cce": los.CategoricalCrossentropy(),
        "cce_logits": los.CategoricalCrossentropy(from_logits=True),
        "cce_smooth": los.CategoricalCrossentropy(label_smoothing=0.1),
        "cce_sum": los.CategoricalCrossentropy(reduction="sum"),
        "cce_none": los.CategoricalCrossentropy(reduction="none"),
        "cce_weighted_mean": los.CategoricalCrossentropy(reduction="mean_with_sample_weight"),
        "scce": los.SparseCategoricalCrossentropy(),
        "scce_logits": los.SparseCategoricalCrossentropy(from_logits=True),
        "scce_ignore": los.SparseCategoricalCrossentropy(ignore_class=1, reduction="none"),
        "bce": los.BinaryCrossentropy(),
        "bce_logits": los.BinaryCrossentropy(from_logits=True),
        "bce_smooth": los.BinaryCrossentropy(label_smoothing=0.2),
        "focal": los.BinaryFocalCrossentropy(),
        "focal_balanced": los.BinaryFocalCrossentropy(
            apply_class_balancing=True, alpha=0.4, gamma=1.5, from_logits=True
        ),
        "cfocal": los.CategoricalFocalCrossentropy(),
        "cfocal_logits": los.CategoricalFocalCrossentropy(
            alpha=0.5, gamma=1.0, from_logits=True, label_smoothing=0.1
        ),
        "mse": los.MeanSquaredError(),
        "mae": los.MeanAbsoluteError(),
        "mape": los.MeanAbsolutePercentageError(),
        "msle": los.MeanSquaredLogarithmicError(),
        "huber": los.Huber(),
        "huber_small": los.Huber(delta=0.2),
        "log_cosh": los.LogCosh(),
        "cosine": los.CosineSimilarity(),
        "kld": los.KLDivergence(),
        "poisson": los.Poisson(),
        "hinge": los.Hinge(),
        "squared_hinge": los.SquaredHinge(),
        "categorical_hinge": los.CategoricalHinge(),
    }


def loss_values(k):
    """Each loss on arrays, without and with weights, and at saturated outputs."""
    found = {}
    rows, classes = 6, 4
    weight = numbers((rows,), 9, 0.0, 2.0)
    hard = np.array([[1, 0, 0, 0]] * 3 + [[0.5, 0.5, 0, 0]] * 3, np.float32)
    for name, loss in loss_objects(k).items():
        sparse = name.startswith("scce")
        y = class_indices(rows, classes, 3) if sparse else one_hot(rows, classes, 3)
        logits = "logits" in name or name == "focal_balanced"
        p = numbers((rows, classes), 5, -4, 4) if logits else probabilities(rows, classes, 5)
        found[name] = plain(
            {"value": loss(y, p), "weighted": loss(y, p, weight), "hard": loss(y, hard)}
        )
    binary = k.losses.BinaryCrossentropy()
    found["bce_column"] = plain(
        {
            "flat": binary(np.array([0, 1, 1.0]), np.array([[0.1], [0.7], [1.0]])),
            "smooth": binary(np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]])),
        }
    )
    return found


def loss_configs(k):
    return {name: [type(o).__name__, o.get_config()] for name, o in loss_objects(k).items()}


def loss_functions(k):
    y, p = one_hot(5, 3, 2), probabilities(5, 3, 4)
    names = (
        "categorical_crossentropy binary_crossentropy mean_squared_error mean_absolute_error "
        "huber kl_divergence hinge poisson log_cosh cosine_similarity categorical_hinge"
    ).split()
    return {name: plain(getattr(k.losses, name)(y, p)) for name in names}


# ---- metrics -----------------------------------------------------------------------------------


def metric_objects(k):
    m = k.metrics
    return {
        "categorical_accuracy": (m.CategoricalAccuracy(), "one_hot"),
        "sparse_accuracy": (m.SparseCategoricalAccuracy(), "sparse"),
        "binary_accuracy": (m.BinaryAccuracy(threshold=0.4), "binary"),
        "accuracy": (m.Accuracy(), "equal"),
        "topk": (m.TopKCategoricalAccuracy(k=2), "one_hot"),
        "sparse_topk": (m.SparseTopKCategoricalAccuracy(k=2), "sparse"),
        "topk_ties": (m.SparseTopKCategoricalAccuracy(k=2), "ties"),
        "precision": (m.Precision(name="precision"), "one_hot"),
        "precision_thresholds": (m.Precision(thresholds=[0.2, 0.5, 0.8], name="p"), "binary"),
        "precision_class": (m.Precision(class_id=1, name="p1"), "one_hot"),
        "precision_top": (m.Precision(top_k=2, name="p2"), "one_hot"),
        "recall": (m.Recall(name="recall"), "binary"),
        "recall_class": (m.Recall(class_id=2, thresholds=0.3, name="r1"), "one_hot"),
        "tp": (m.TruePositives(name="tp"), "binary"),
        "fp": (m.FalsePositives(name="fp"), "binary"),
        "tn": (m.TrueNegatives(name="tn"), "binary"),
        "fn": (m.FalseNegatives(thresholds=[0.1, 0.9], name="fn"), "binary"),
        "auc": (m.AUC(name="auc"), "binary"),
        "auc_pr": (m.AUC(curve="PR", name="auc_pr"), "binary"),
        "auc_major": (m.AUC(summation_method="majoring", name="auc_m"), "binary"),
        "auc_minor_pr": (m.AUC(curve="PR", summation_method="minoring", name="a"), "binary"),
        "auc_few": (m.AUC(num_thresholds=7, name="auc_few"), "one_hot"),
        "auc_own": (m.AUC(thresholds=[0.1, 0.35, 0.8], name="auc_own"), "binary"),
        "auc_labels": (m.AUC(multi_label=True, num_labels=3, name="auc_l"), "one_hot"),
        "f1": (m.F1Score(), "one_hot"),
        "f1_macro": (m.F1Score(average="macro", threshold=0.3), "one_hot"),
        "f1_micro": (m.F1Score(average="micro"), "one_hot"),
        "f1_weighted": (m.F1Score(average="weighted"), "one_hot"),
        "fbeta": (m.FBetaScore(beta=2.0, average="macro"), "one_hot"),
        "bce": (m.BinaryCrossentropy(), "binary"),
        "cce": (m.CategoricalCrossentropy(label_smoothing=0.1), "one_hot"),
        "scce": (m.SparseCategoricalCrossentropy(), "sparse"),
        "mse": (m.MeanSquaredError(), "one_hot"),
        "mae": (m.MeanAbsoluteError(), "one_hot"),
        "rmse": (m.RootMeanSquaredError(), "one_hot"),
        "mape": (m.MeanAbsolutePercentageError(), "binary"),
        "msle": (m.MeanSquaredLogarithmicError(), "one_hot"),
        "cosine": (m.CosineSimilarity(), "one_hot"),
        "logcosh": (m.LogCoshError(), "one_hot"),
        "kld": (m.KLDivergence(), "one_hot"),
        "poisson": (m.Poisson(), "one_hot"),
        "hinge": (m.Hinge(), "one_hot"),
        "squared_hinge": (m.SquaredHinge(), "one_hot"),
        "categorical_hinge": (m.CategoricalHinge(), "one_hot"),
    }


def metric_batch(kind, seed):
    rows, classes = 9, 3
    p = probabilities(rows, classes, seed)
    if kind == "one_hot":
        return one_hot(rows, classes, seed + 1), p
    if kind == "sparse":
        return class_indices(rows, classes, seed + 1), p
    if kind == "binary":
        y = (numbers((rows, 1), seed + 1) > 0.4).astype(np.float32)
        return y, np.round(numbers((rows, 1), seed + 2), 2)
    if kind == "ties":
        p = np.array([[0.2, 0.2, 0.2], [0.5, 0.3, 0.3], [np.nan, 1, 0]], np.float32)
        return np.array([2, 2, 1]), p
    a = np.round(numbers((rows, 1), seed) * 3)
    return a, np.where(numbers((rows, 1), seed + 5) > 0.3, a, 9)


def metric_values(k):
    """Each metric after two batches, plain and weighted."""
    found = {}
    for name, (metric, kind) in metric_objects(k).items():
        metric.reset_state()
        first = metric_batch(kind, 2)
        metric.update_state(*first)
        one = plain(metric.result())
        weight = numbers((len(first[0]),), 11, 0.0, 2.0)
        metric.update_state(*metric_batch(kind, 5), sample_weight=weight)
        found[name] = {"one": one, "two": plain(metric.result())}
    mean = k.metrics.Mean()
    mean.update_state([1.0, 3.0, 5.0], sample_weight=[1.0, 0.0, 2.0])
    total = k.metrics.Sum()
    total.update_state([1.0, 3.0])
    found["mean"] = plain(mean.result())
    found["sum"] = plain(total.result())
    return found


def metric_configs(k):
    found = {}
    for name, (metric, _) in metric_objects(k).items():
        found[name] = [type(metric).__name__, metric.get_config()]
    return found


# ---- optimizers --------------------------------------------------------------------------------


def optimizer_objects(k):
    o, s = k.optimizers, k.optimizers.schedules
    return {
        "sgd": o.SGD(0.05, name="sgd"),
        "momentum": o.SGD(0.05, momentum=0.9, name="sgd"),
        "nesterov": o.SGD(0.05, momentum=0.9, nesterov=True, name="sgd"),
        "sgd_decay": o.SGD(0.05, weight_decay=0.01, clipnorm=0.3, name="sgd"),
        "sgd_schedule": o.SGD(s.ExponentialDecay(0.1, 3, 0.5), name="sgd"),
        "adam": o.Adam(0.01, name="adam"),
        "amsgrad": o.Adam(0.01, amsgrad=True, clipvalue=0.1, name="adam"),
        "adam_global": o.Adam(0.01, beta_1=0.8, global_clipnorm=0.5, name="adam"),
        "adamw": o.AdamW(0.01, weight_decay=0.05, name="adamw"),
        "rmsprop": o.RMSprop(0.01, name="rmsprop"),
        "rmsprop_full": o.RMSprop(0.01, momentum=0.5, centered=True, name="rmsprop"),
    }


def optimizer_configs(k):
    return {name: k.optimizers.serialize(o) for name, o in optimizer_objects(k).items()}


def schedule_objects(k):
    s = k.optimizers.schedules
    return {
        "exponential": s.ExponentialDecay(0.1, 10, 0.5),
        "staircase": s.ExponentialDecay(0.1, 10, 0.5, staircase=True),
        "piecewise": s.PiecewiseConstantDecay([5, 12], [0.1, 0.05, 0.01]),
        "polynomial": s.PolynomialDecay(0.1, 15, 0.01, power=2.0),
        "cycle": s.PolynomialDecay(0.1, 7, 0.01, cycle=True),
        "inverse": s.InverseTimeDecay(0.1, 10, 0.5),
        "inverse_staircase": s.InverseTimeDecay(0.1, 10, 0.5, staircase=True),
        "cosine": s.CosineDecay(0.1, 20, alpha=0.1),
        "warmup": s.CosineDecay(0.0, 20, warmup_target=0.1, warmup_steps=5),
        "restarts": s.CosineDecayRestarts(0.1, 7, m_mul=0.9, alpha=0.05),
        "equal_restarts": s.CosineDecayRestarts(0.1, 6, t_mul=1.0, m_mul=0.5),
    }


def schedule_values(k):
    # Steps at which a restart falls exactly between two periods are left out: Keras' logarithm
    # in single precision chooses either side.
    steps = [0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 15, 16, 19, 20, 22, 25, 30, 40]
    return {
        name: [float(np.asarray(schedule(step))) for step in steps]
        for name, schedule in schedule_objects(k).items()
    }


def schedule_configs(k):
    serialize = k.optimizers.schedules.serialize
    return {name: serialize(schedule) for name, schedule in schedule_objects(k).items()}


# ---- callbacks ---------------------------------------------------------------------------------


class StubModel:
    """What callbacks need of a model, with scripted weights."""

    def __init__(self, k, rate=0.1):
        self.optimizer = k.optimizers.SGD(rate)
        compiled = [k.metrics.BinaryAccuracy(name="accuracy")]
        if k.__name__ == "keras":
            # Keras' callbacks look into this private class only.
            from keras.src.trainers.compile_utils import MetricsList

            compiled = [MetricsList(compiled)]
        self.metrics = [k.metrics.Mean(name="loss"), *compiled]
        self.stop_training = False
        self.weights = [np.zeros(1)]
        self.calls = []
        self.history = None

    def get_weights(self):
        return [w.copy() for w in self.weights]

    def set_weights(self, weights):
        self.weights = [np.asarray(w) for w in weights]

    def save(self, path, overwrite=True):
        self.calls.append(f"save {os.path.basename(path)}")

    def save_weights(self, path, overwrite=True):
        self.calls.append(f"save_weights {os.path.basename(path)}")


def drive(model, callback, epochs, batches=0):
    """Run a callback's hooks over scripted epochs; return what happened."""
    callback.set_model(model)
    callback.set_params({"verbose": 1, "epochs": len(epochs), "steps": batches})
    seen = []
    with captured() as out:
        callback.on_train_begin()
        for epoch, logs in enumerate(epochs):
            logs = dict(logs)
            model.weights = [np.full(1, float(epoch))]
            callback.on_epoch_begin(epoch)
            for batch in range(batches):
                callback.on_train_batch_begin(batch)
                callback.on_train_batch_end(batch, logs)
            callback.on_epoch_end(epoch, logs)
            rate = round(float(np.asarray(model.optimizer.learning_rate)), 10)
            seen.append([sorted(logs), rate, bool(model.stop_training)])
            if model.stop_training:
                break
        callback.on_train_end()
    return {
        "out": out.getvalue(),
        "seen": seen,
        "calls": model.calls,
        "weights": float(model.weights[0][0]),
    }


LOSSES = [0.9, 0.7, 0.72, 0.71, 0.6, 0.61, 0.605, 0.64, 0.7, 0.8]


def _epochs():
    return [{"loss": v, "val_loss": v, "val_accuracy": 1 - v, "accuracy": v} for v in LOSSES]


def callback_runs(k):
    c = k.callbacks
    runs = {}

    def run(name, callback, **kwargs):
        runs[name] = drive(StubModel(k), callback, _epochs(), **kwargs)

    run("stop", c.EarlyStopping(patience=2, verbose=1, restore_best_weights=True))
    run("stop_max", c.EarlyStopping("val_accuracy", patience=1, verbose=1, min_delta=0.05))
    run("stop_baseline", c.EarlyStopping(patience=3, verbose=1, baseline=0.65))
    run("stop_late", c.EarlyStopping(patience=1, verbose=1, start_from_epoch=4))
    run("never", c.EarlyStopping(patience=20, verbose=1, restore_best_weights=True))
    run("plateau", c.ReduceLROnPlateau(patience=2, verbose=1, factor=0.5))
    run("plateau_cool", c.ReduceLROnPlateau(patience=1, verbose=1, cooldown=2, min_lr=0.02))
    run("schedule", c.LearningRateScheduler(lambda epoch, lr: lr * 0.5, verbose=1))
    run("schedule_old", c.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1), verbose=1))
    with tempfile.TemporaryDirectory() as folder:
        inside = os.path.join(folder, "new", "m-{epoch:02d}-{val_loss:.2f}.keras")
        run("best", c.ModelCheckpoint(inside, verbose=1, save_best_only=True))
        run("every", c.ModelCheckpoint(os.path.join(folder, "m.h5"), verbose=1))
        weights = os.path.join(folder, "w.weights.h5")
        run(
            "best_max",
            c.ModelCheckpoint(
                weights,
                "val_accuracy",
                1,
                True,
                save_weights_only=True,
                mode="max",
                initial_value_threshold=0.35,
            ),
        )
        batches = os.path.join(folder, "b{batch}.keras")
        run("batches", c.ModelCheckpoint(batches, verbose=1, save_freq=4), batches=3)
        for item in runs.values():
            item["out"] = item["out"].replace(folder, "DIR")
    nan = [{"loss": 0.5}, {"loss": float("nan")}]
    runs["nan"] = drive(StubModel(k), c.TerminateOnNaN(), nan, batches=2)
    return runs


def csv_text(k):
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "log.csv")
        drive(StubModel(k), k.callbacks.CSVLogger(path), _epochs()[:2])
        with open(path, newline="") as f:
            found["plain"] = f.read()
        late = [{"loss": 0.5}, {"loss": 0.25, "val_loss": 0.125}]
        drive(StubModel(k), k.callbacks.CSVLogger(path, separator=";", append=True), late)
        with open(path, newline="") as f:
            found["appended"] = f.read()
    return found


# ---- progress line -----------------------------------------------------------------------------


def progress_texts(k, **live):
    """What the bar prints, with a scripted clock."""
    bar = k.utils.Progbar
    found = {}

    def run(name, ticks, steps, **kwargs):
        with captured() as out, clock(ticks):
            p = bar(**kwargs, **live)
            for step in steps:
                p.update(*step)
        found[name] = out.getvalue()

    values = [("accuracy", 0.375), ("loss", 0.8492)]
    small = [("loss", 0.0005), ("b", -2.0)]
    stateless = {"stateless_metrics": set()}
    half = [i * 0.5 for i in range(1, 40)]
    run("bar", half, [(i, values) for i in range(1, 8)], target=7, **stateless)
    run("fast", [i * 0.01 for i in range(40)], [(i, values) for i in range(1, 31)], target=30)
    run("slow", [i * 700.0 for i in range(9)], [(i, small) for i in range(1, 4)], target=12)
    run("minutes", [i * 20.0 for i in range(9)], [(i, small) for i in range(1, 6)], target=10)
    run("micro", [i * 5e-5 for i in range(99)], [(i, small) for i in range(1, 4)], target=3)
    run("unknown", half, [(1, values, False), (2, values, False)], target=None)
    run("line", half, [(i, values) for i in range(1, 4)], target=3, verbose=2)
    run("line_small", half, [(1, small, True)], target=1, verbose=2)
    run("averages", half, [(1, [("a", 1.0)], False), (3, [("a", 2.0)], False)], target=9)
    run("shrinks", half, [(1, [("a", 0.00012)], False), (2, [("a", 0.5)], True)], target=2)
    return found


def logger_texts(k):
    """What ProgbarLogger prints over two epochs with validation, then alone in `evaluate`."""
    found = {}
    for verbose in (1, 2):
        logger = k.callbacks.ProgbarLogger()
        logger.set_params({"verbose": verbose, "epochs": 2, "steps": 3})
        with captured() as out, clock([i * 0.25 for i in range(80)]):
            logger.on_train_begin()
            for epoch in range(2):
                logger.on_epoch_begin(epoch)
                for batch in range(3):
                    logs = {"accuracy": 0.5 + 0.1 * batch, "loss": 1.0 / (batch + 1)}
                    logger.on_train_batch_begin(batch)
                    logger.on_train_batch_end(batch, logs)
                logger.on_test_begin()
                logger.on_test_batch_end(0, {"loss": 3.0})
                logger.on_test_end({"loss": 3.0})
                logger.on_epoch_end(epoch, {**logs, "val_loss": 0.25, "learning_rate": 0.001})
        found[f"fit{verbose}"] = out.getvalue()
        logger = k.callbacks.ProgbarLogger()
        logger.set_params({"verbose": verbose, "epochs": 1, "steps": None})
        with captured() as out, clock([i * 0.25 for i in range(80)]):
            logger.on_test_begin()
            for batch in range(2):
                logger.on_test_batch_end(batch, {"loss": 1.0})
            logger.on_test_end({"loss": 1.0})
        found[f"evaluate{verbose}"] = out.getvalue()
    return found


CASES = {
    f.__name__: f
    for f in (
        loss_values,
        loss_configs,
        loss_functions,
        metric_values,
        metric_configs,
        optimizer_configs,
        schedule_values,
        schedule_configs,
        callback_runs,
        csv_text,
        progress_texts,
        logger_texts,
    )
}
