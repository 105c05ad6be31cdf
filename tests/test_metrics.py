"""Metrics on arrays: Keras' numbers, names, shapes; what is refused."""

import numpy as np
import pytest
from reference_compare import differences, stored
from training_cases import metric_configs, metric_objects, metric_values

import tlfast
from tlfast import losses, metrics


def test_values_equal_keras():
    assert differences(metric_values(tlfast), stored()["metric_values"]) == []


def test_configurations_equal_keras():
    assert differences(metric_configs(tlfast), stored()["metric_configs"]) == []


@pytest.mark.parametrize("name", metric_objects(tlfast))
def test_stored_and_read_again(name):
    metric, _ = metric_objects(tlfast)[name]
    again = metrics.deserialize(metrics.serialize(metric))
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()


def test_auc_against_all_pairs():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 400)
    p = np.clip(rng.normal(0.4 + 0.2 * y, 0.2), 0, 1)
    pairs = p[y == 1][:, None] - p[y == 0][None, :]
    exact = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert metrics.AUC(num_thresholds=5000)(y, p) == pytest.approx(exact, abs=1e-4)
    assert metrics.AUC()(y, p) == pytest.approx(exact, abs=3e-3)


@pytest.mark.parametrize(
    ("y", "p", "kind"),
    [
        (np.zeros(3), np.zeros((3, 1)), metrics.BinaryAccuracy),
        (np.zeros((3, 1)), np.zeros((3, 1)), metrics.BinaryAccuracy),
        (np.zeros(3), np.zeros((3, 4)), metrics.SparseCategoricalAccuracy),
        (np.zeros((3, 1)), np.zeros((3, 4)), metrics.SparseCategoricalAccuracy),
        (np.zeros((3, 4)), np.zeros((3, 4)), metrics.CategoricalAccuracy),
    ],
)
@pytest.mark.parametrize("name", ["accuracy", "acc", "Accuracy"])
def test_accuracy_by_shapes(y, p, kind, name):
    metric = metrics.as_metric(name, y, p)
    assert type(metric) is kind
    assert metric.name == name
    assert metric._direction == "up"


def test_accuracy_of_a_column_and_a_flat_label():
    p = np.array([[0.6], [0.4], [0.5]])
    assert metrics.BinaryAccuracy()(np.array([1, 1, 0]), p) == pytest.approx(2 / 3)
    sparse = metrics.SparseCategoricalAccuracy()
    assert sparse(np.array([[1], [0]]), np.array([[0.1, 0.9], [0.2, 0.8]])) == 0.5


def test_names_in_logs():
    y, p = np.zeros((3, 2)), np.full((3, 2), 0.5)

    def my_share(y_true, y_pred):
        return (y_pred > 0.4).mean(axis=-1)

    named = {
        "mse": metrics.as_metric("mse", y, p),
        "AUC": metrics.as_metric("AUC", y, p),
        "my_share": metrics.as_metric(my_share, y, p),
        "mean_absolute_error": metrics.as_metric(losses.mean_absolute_error, y, p),
        "huber_loss": metrics.as_metric(losses.Huber(), y, p),
        "precision": metrics.as_metric(metrics.Precision(name="precision"), y, p),
    }
    assert {k: m.name for k, m in named.items()} == {k: k for k in named}
    assert [m._direction for m in named.values()] == ["down", "up", None, "down", "down", "up"]
    assert named["my_share"](y, p) == 1


def test_automatic_names_count_up():
    first, second = metrics.AUC(), metrics.AUC()
    assert first.name.startswith("auc")
    assert second.name != first.name


def test_results_answer_numpy():
    assert metrics.Mean()(np.array([1.0, 2.0])).numpy() == np.float32(1.5)
    precision = metrics.Precision(thresholds=[0.1, 0.9])([1, 0], [0.5, 0.5])
    assert precision.numpy().tolist() == [0.5, 0]


def test_reset():
    metric = metrics.AUC()
    before = metric(np.array([0, 1]), np.array([0.9, 0.1]))
    metric.reset_state()
    after = metric(np.array([0, 1]), np.array([0.1, 0.9]))
    assert (before, after) == (0, 1)


def test_own_metric_as_in_keras():
    class Spread(metrics.Metric):
        def __init__(self, name="spread", **kwargs):
            super().__init__(name=name, **kwargs)
            self.low = self.add_weight(name="low", initializer="zeros")
            self.sums = self.add_variable(shape=(2,), initializer="zeros", name="sums")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.low.assign(np.minimum(self.low, y_pred.min()))
            self.sums.assign_add(y_pred.sum(axis=0))

        def result(self):
            return self.sums[1] / (self.low + 1)

    metric = Spread()
    metric.update_state(None, np.array([[1.0, 2.0], [-0.5, 4.0]]))
    assert metric.result() == 12
    assert len(metric.variables) == 2
    metric.reset_state()
    assert metric.result() == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.get("acuracy_top"), "Unknown metric"),
        (lambda: metrics.get("Precison"), "Did you mean 'precision'"),
        (lambda: metrics.Precision(thresholds=2.0), "Threshold values"),
        (lambda: metrics.AUC(curve="RC"), "ROC"),
        (lambda: metrics.AUC(num_thresholds=1), "> 1"),
        (lambda: metrics.AUC(num_labels=2), "multi_label"),
        (lambda: metrics.AUC(summation_method="mid"), "interpolation"),
        (lambda: metrics.F1Score(average="mean"), "average"),
        (lambda: metrics.F1Score(threshold=0.0), "threshold"),
        (lambda: metrics.FBetaScore(beta=0.0), "beta"),
        (lambda: metrics.F1Score()(np.zeros(3), np.zeros(3)), "2D"),
        (lambda: metrics.Precision()(np.zeros((3, 1)), np.zeros((3, 2))), "same shape"),
        (lambda: metrics.Recall(class_id=0)(np.zeros(3), np.zeros(3)), "class_id"),
        (lambda: metrics.Mean(dtype="float16"), "float32"),
        (lambda: metrics.Metric().add_weight(initializer="ones"), "zero"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
