"""Losses on arrays: Keras' numbers, configurations, reductions; what is refused."""

import numpy as np
import pytest
from reference_compare import differences, stored
from training_cases import loss_configs, loss_functions, loss_objects, loss_values

import tlfast
from tlfast import _registry, losses
from tlfast._loss_functions import softmax


def test_values_equal_keras():
    assert differences(loss_values(tlfast), stored()["loss_values"]) == []


def test_functions_equal_keras():
    assert differences(loss_functions(tlfast), stored()["loss_functions"]) == []


def test_configurations_equal_keras():
    got = loss_configs(tlfast)
    for name in ("huber", "huber_small"):  # Keras forgets delta when it stores a Huber loss
        assert got[name][1].pop("delta") in (1.0, 0.2)
    assert differences(got, stored()["loss_configs"]) == []


@pytest.mark.parametrize("name", loss_objects(tlfast))
def test_stored_and_read_again(name):
    loss = loss_objects(tlfast)[name]
    again = losses.deserialize(losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


def test_float64_reference_of_the_cross_entropies():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(50, 7)) * 3
    y = rng.integers(0, 7, 50)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    want = -log_p[np.arange(50), y].mean()
    one_hot = np.eye(7)[y]
    p = softmax(z.astype(np.float32))
    close = {"rel": 2e-6}
    assert losses.CategoricalCrossentropy(from_logits=True)(one_hot, z) == pytest.approx(
        want, **close
    )
    assert losses.SparseCategoricalCrossentropy(from_logits=True)(y, z) == pytest.approx(
        want, **close
    )
    assert losses.CategoricalCrossentropy()(one_hot, p) == pytest.approx(want, rel=1e-5)
    assert losses.SparseCategoricalCrossentropy()(y, p) == pytest.approx(want, rel=1e-5)
    q = 1 / (1 + np.exp(-z))
    b = -(one_hot * np.log(q) + (1 - one_hot) * np.log1p(-q)).mean()
    assert losses.BinaryCrossentropy(from_logits=True)(one_hot, z) == pytest.approx(b, **close)


def test_huge_logits_stay_finite():
    z = np.array([[1000.0, -1000.0]])
    assert losses.CategoricalCrossentropy(from_logits=True)([[0, 1]], z) == 2000
    assert losses.BinaryCrossentropy(from_logits=True)([[0, 1]], z) == 1000


def test_weights_count_in_the_sum_only():
    y, p = np.array([[1.0], [3.0]]), np.array([[0.0], [0.0]])
    loss = losses.MeanSquaredError()
    assert loss(y, p) == 5
    assert loss(y, p, [2.0, 0.0]) == 1  # (2 * 1 + 0 * 9) / 2 samples
    mean = losses.MeanSquaredError(reduction="mean_with_sample_weight")
    assert mean(y, p, [2.0, 0.0]) == 1
    assert mean(y, p, [0.0, 0.0]) == 0
    assert losses.MeanSquaredError(reduction="sum")(y, p) == 10
    assert losses.MeanSquaredError(reduction="none")(y, p).tolist() == [1, 9]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mse", "mean_squared_error"),
        ("MSE", "mean_squared_error"),
        ("MeanSquaredError", "mean_squared_error"),
        ("mean_squared_error", "mean_squared_error"),
        ("binary_crossentropy", "binary_crossentropy"),
        ("BCE", "binary_crossentropy"),
        ("CategoricalCrossentropy", "categorical_crossentropy"),
        ("kullback_leibler_divergence", "kl_divergence"),
    ],
)
def test_names(name, kind):
    assert losses.as_loss(name).core_spec()["kind"] == kind


def test_functions_and_classes_are_losses_too():
    assert losses.as_loss(losses.mean_absolute_error).core_spec()["kind"] == "mean_absolute_error"
    assert losses.as_loss(losses.Huber).core_spec()["delta"] == 1.0
    assert losses.as_loss({"class_name": "Hinge", "config": {}}).name == "hinge"
    assert losses.get(None) is None


def test_what_the_core_is_told():
    spec = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1).core_spec()
    assert spec == {
        "kind": "categorical_crossentropy",
        "reduction": "sum_over_batch_size",
        "from_logits": True,
        "label_smoothing": 0.1,
    }


def test_misspelt_name():
    with pytest.raises(ValueError, match="Did you mean 'categorical_crossentropy'"):
        losses.get("categorical_crosentropy")


def test_custom_function_cannot_be_trained_but_evaluated():
    loss = losses.as_loss(lambda y, p: np.abs(y - p).mean(-1))
    assert loss([[1.0]], [[4.0]]) == 3
    with pytest.raises(NotImplementedError, match="Python function"):
        loss.core_spec()


def test_subclass():
    class Squared(losses.Loss):
        def call(self, y_true, y_pred):
            return np.square(y_true - y_pred).mean(-1)

    assert Squared()([[1.0]], [[4.0]]) == 9
    assert Squared().name.startswith("squared")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.CategoricalCrossentropy(label_smoothing=2), "from 0 to 1"),
        (lambda: losses.CategoricalCrossentropy(axis=1), "axis"),
        (lambda: losses.MeanSquaredError(reduction="average"), "reduction"),
        (lambda: losses.MeanSquaredError(dtype="float16"), "float32"),
        (lambda: losses.Huber(delta=0), "positive"),
        (lambda: losses.get(3), "Could not interpret loss"),
        (lambda: losses.deserialize({"name": 3}), "class_name"),
        (
            lambda: losses.CategoricalCrossentropy()(np.zeros(3), np.zeros((3, 4))),
            "same rank",
        ),
        (
            lambda: losses.CategoricalCrossentropy()(np.zeros((3, 2)), np.zeros((3, 4))),
            "same shape",
        ),
        (
            lambda: losses.SparseCategoricalCrossentropy()([0, 4], np.full((2, 4), 0.25)),
            "The label 4 is not a class index",
        ),
        (
            lambda: losses.SparseCategoricalCrossentropy()(np.eye(4), np.full((4, 4), 0.25)),
            "one-hot",
        ),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_file_cannot_name_code():
    with pytest.raises(ValueError, match="Unknown loss 'system'"):
        losses.deserialize({"module": "os", "class_name": "system", "config": {}})
    with pytest.raises(ValueError, match="Unknown loss 'eval'"):
        losses.deserialize({"module": "builtins", "class_name": "function", "config": "eval"})
    with pytest.raises(TypeError, match="neither a function nor"):
        _registry.serialize(3, "keras.losses")


def test_an_ignored_class_is_not_silently_trained():
    with pytest.raises(NotImplementedError, match="ignore_class=0"):
        losses.SparseCategoricalCrossentropy(ignore_class=0).core_spec()
