"""Small models trained the same way under Keras and under tlfast (see training_cases.py)."""

import numpy as np
from training_cases import class_indices, numbers, one_hot, plain

FEATURES, CLASSES, ROWS = 8, 3, 24


def head(k, units=CLASSES, activation="softmax", hidden=None):
    """A dense head with weights by formula."""
    inputs = k.Input((FEATURES,))
    x = k.layers.Dense(hidden, activation="relu", name="hidden")(inputs) if hidden else inputs
    outputs = k.layers.Dense(units, activation=activation, name="head")(x)
    model = k.Model(inputs, outputs)
    model.set_weights(
        [numbers(w.shape, 3 + i, -0.5, 0.5) for i, w in enumerate(model.get_weights())]
    )
    return model


def data(rows=ROWS):
    return numbers((rows, FEATURES), 1, -1, 1), one_hot(rows, CLASSES, 2)


def steps(k):
    """Ten steps with each optimizer: losses and the weights after them."""
    from training_cases import optimizer_objects

    found = {}
    x, y = data(80)
    for name, optimizer in optimizer_objects(k).items():
        model = head(k, hidden=5)
        model.compile(optimizer, "categorical_crossentropy")
        losses = []
        for step in range(10):
            rows = slice(8 * step, 8 * step + 8)
            losses.append(model.train_on_batch(x[rows], y[rows]))
        sums = [float(np.abs(w).sum()) for w in model.get_weights()]
        found[name] = {"losses": plain(losses), "weights": sums}
    return found


def kinds(k):
    """Three epochs of every sensible pair of loss and output, in order, with metrics."""
    x, y = data()
    labels = class_indices(ROWS, CLASSES, 2)
    yes = (labels == 1).astype(np.float32)
    smooth = k.losses.CategoricalCrossentropy(label_smoothing=0.1)
    pairs = {
        "cce": (CLASSES, "softmax", "categorical_crossentropy", y),
        "cce_logits": (CLASSES, None, k.losses.CategoricalCrossentropy(from_logits=True), y),
        "cce_smooth": (CLASSES, "softmax", smooth, y),
        "scce": (CLASSES, "softmax", "sparse_categorical_crossentropy", labels),
        "scce_column": (CLASSES, "softmax", "sparse_categorical_crossentropy", labels[:, None]),
        "bce": (1, "sigmoid", "binary_crossentropy", yes),
        "bce_logits": (1, None, k.losses.BinaryCrossentropy(from_logits=True), yes[:, None]),
        "bce_many": (CLASSES, "sigmoid", "binary_crossentropy", y),
        "hot_dog": (
            2,
            "softmax",
            "binary_crossentropy",
            np.eye(2, dtype=np.float32)[yes.astype(int)],
        ),
        "mse": (CLASSES, "softmax", "mse", y),
        "mae": (CLASSES, None, "mean_absolute_error", y),
    }
    found = {}
    for name, (units, activation, loss, target) in pairs.items():
        model = head(k, units, activation)
        model.compile(k.optimizers.SGD(0.5), loss, metrics=["accuracy"])
        history = model.fit(x, target, batch_size=7, epochs=3, shuffle=False, verbose=0)
        found[name] = {
            "history": plain(history.history),
            "evaluate": plain(model.evaluate(x, target, batch_size=5, verbose=0)),
            "predict": plain(model.predict(x[:2], verbose=0)),
        }
    return found


def further_losses(k):
    """Eight steps on a head with each of the other losses: values and gradients."""
    x, y = data(64)
    rated = np.abs(y - 0.1) + 0.1
    signs = 2 * y - 1
    los = k.losses
    pairs = {
        "mape": ("softmax", "mape", rated),
        "msle": ("sigmoid", "msle", rated),
        "huber": (None, los.Huber(delta=0.4), y),
        "log_cosh": (None, "log_cosh", 3 * y),
        "poisson": ("softmax", "poisson", rated),
        "hinge": (None, "hinge", y),
        "hinge_signs": (None, "hinge", signs * 0.5),
        "squared_hinge": (None, "squared_hinge", y),
        "categorical_hinge": (None, "categorical_hinge", y),
        "kld": ("softmax", "kl_divergence", rated),
        "cosine": (None, los.CosineSimilarity(), y),
        "focal": ("sigmoid", "binary_focal_crossentropy", y),
        "focal_logits": (
            None,
            los.BinaryFocalCrossentropy(
                apply_class_balancing=True,
                alpha=0.4,
                gamma=1.5,
                from_logits=True,
                label_smoothing=0.1,
            ),
            y,
        ),
        "cfocal": ("softmax", los.CategoricalFocalCrossentropy(label_smoothing=0.1), y),
        "cfocal_logits": (
            None,
            los.CategoricalFocalCrossentropy(alpha=0.5, gamma=3.0, from_logits=True),
            y,
        ),
        "sum": ("softmax", los.CategoricalCrossentropy(reduction="sum"), y),
    }
    found = {}
    for name, (activation, loss, target) in pairs.items():
        model = head(k, activation=activation, hidden=4)
        rate = 0.01 if name in ("mape", "sum") else 0.2
        model.compile(k.optimizers.SGD(rate), loss)
        losses = []
        for at in range(0, 64, 8):
            rows = slice(at, at + 8)
            losses.append(model.train_on_batch(x[rows], target[rows]))
        found[name] = plain(losses)
    return found


def fit_arguments(k):
    """What the arguments of fit do to History and to the weights."""
    x, y = data()
    weight = numbers((ROWS,), 6, 0.0, 2.0)
    found = {}

    def run(name, metrics=("accuracy",), weighted=None, **kwargs):
        model = head(k)
        model.compile(
            k.optimizers.SGD(0.5),
            "categorical_crossentropy",
            metrics=list(metrics),
            weighted_metrics=weighted,
        )
        kwargs = {"batch_size": 7, "shuffle": False, "verbose": 0, "epochs": 2, **kwargs}
        history = model.fit(x, y, **kwargs)
        found[name] = {
            "history": plain(history.history),
            "epoch": history.epoch,
            "params": history.params,
            "weights": [float(np.abs(w).sum()) for w in model.get_weights()],
        }

    run("plain")
    run("split", validation_split=0.3)
    run("class_weight", class_weight={0: 1.0, 1: 3.0}, weighted=["accuracy"])
    run("sample_weight", sample_weight=weight, weighted=["accuracy"])
    run("initial_epoch", initial_epoch=2, epochs=4)
    run("steps", steps_per_epoch=2, epochs=2)
    run("validation_freq", validation_data=(x[:5], y[:5]), validation_freq=2, epochs=4)
    run("validation_list", validation_data=(x[:5], y[:5]), validation_freq=[1, 3], epochs=3)
    run("validation_weights", validation_data=(x[:5], y[:5], weight[:5]), weighted=["mse"])
    run("validation_steps", validation_data=(x, y), validation_steps=2, validation_batch_size=3)
    run("names", metrics=["acc", "AUC", k.metrics.Precision(name="p"), "mse", "accuracy"])
    return found


class Recorder:
    """Writes down every hook and the keys it gets."""

    def __init__(self, k):
        events = self.events = []

        class Callback(k.callbacks.Callback):
            pass

        def record(name):
            def hook(self, *args, logs=None):
                args = list(args)
                if args and not isinstance(args[-1], int):
                    logs = args.pop()
                events.append([name, args, sorted(logs or {})])

            return hook

        names = ["epoch", "train_batch", "test_batch", "predict_batch", "train", "test", "predict"]
        for name in names:
            for end in ("begin", "end"):
                setattr(Callback, f"on_{name}_{end}", record(f"on_{name}_{end}"))
        self.callback = Callback()


def hooks(k):
    """The order of all hooks in fit with validation, evaluate and predict."""
    x, y = data()
    model = head(k)
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    recorder = Recorder(k)
    model.fit(
        x,
        y,
        batch_size=12,
        epochs=2,
        validation_data=(x[:4], y[:4]),
        verbose=0,
        callbacks=[recorder.callback, k.callbacks.LearningRateScheduler(lambda e, lr: lr)],
    )
    model.evaluate(x, y, batch_size=12, verbose=0, callbacks=[recorder.callback])
    model.predict(x, batch_size=12, verbose=0, callbacks=[recorder.callback])
    return recorder.events


def batches(k):
    """The single-batch calls."""
    x, y = data()
    model = head(k)
    model.compile(k.optimizers.SGD(0.5), "categorical_crossentropy", metrics=["accuracy", "mse"])
    weights = {0: 1.0, 1: 3.0, 2: 0.5}
    return plain(
        {
            "train": model.train_on_batch(x[:7], y[:7]),
            "train_dict": model.train_on_batch(x[7:9], y[7:9], return_dict=True),
            "weighted": model.train_on_batch(x[:7], y[:7], sample_weight=numbers((7,), 4)),
            "class_weighted": model.train_on_batch(x[:7], y[:7], class_weight=weights),
            "test": model.test_on_batch(x, y),
            "test_dict": model.test_on_batch(x, y, return_dict=True),
            "predict": model.predict_on_batch(x[:2]),
            "evaluate_dict": model.evaluate(x, y, verbose=0, return_dict=True),
        }
    )


def two_outputs(k):
    """Names and values with two outputs, dictionaries and weights."""
    x, y = data()
    yes = y[:, 1:2]
    found = {}
    for name, kwargs in {
        "list": {"loss": ["categorical_crossentropy", "binary_crossentropy"]},
        "dict": {
            "loss": {"a": "categorical_crossentropy", "b": "binary_crossentropy"},
            "loss_weights": {"a": 0.5, "b": 2.0},
            "metrics": {"a": ["accuracy", "mse"], "b": ["accuracy"]},
        },
        "lists": {
            "loss": ["categorical_crossentropy", "mse"],
            "loss_weights": [1.0, 0.25],
            "metrics": [["accuracy"], ["mae", "accuracy"]],
        },
    }.items():
        inputs = k.Input((FEATURES,))
        a = k.layers.Dense(CLASSES, activation="softmax", name="a")(inputs)
        b = k.layers.Dense(1, activation="sigmoid", name="b")(inputs)
        model = k.Model(inputs, [a, b])
        model.set_weights(
            [numbers(w.shape, 3 + i, -0.5, 0.5) for i, w in enumerate(model.get_weights())]
        )
        model.compile(k.optimizers.SGD(0.3), **kwargs)
        history = model.fit(x, [y, yes], batch_size=8, epochs=2, shuffle=False, verbose=0)
        found[name] = {
            "history": plain(history.history),
            "evaluate": plain(model.evaluate(x, [y, yes], verbose=0)),
            "dict": plain(model.evaluate(x, [y, yes], verbose=0, return_dict=True)),
        }
    return found


def compile_configs(k):
    """What is stored about compile."""
    found = {}
    o, los, m = k.optimizers, k.losses, k.metrics
    for name, args in {
        "strings": (o.Adam(1e-4, name="adam"), "categorical_crossentropy", ["accuracy"]),
        "objects": (
            o.SGD(0.1, momentum=0.9, name="sgd"),
            los.CategoricalCrossentropy(label_smoothing=0.1),
            [m.AUC(name="auc"), "mse", m.Precision(name="p", top_k=1)],
        ),
        "schedule": (o.RMSprop(o.schedules.CosineDecay(0.1, 10), name="r"), "mse", None),
    }.items():
        model = head(k)
        model.compile(*args[:2], metrics=args[2])
        found[name] = model.get_compile_config()
    return found


CASES = {
    f.__name__: f
    for f in (
        steps,
        kinds,
        further_losses,
        fit_arguments,
        hooks,
        batches,
        two_outputs,
        compile_configs,
    )
}
