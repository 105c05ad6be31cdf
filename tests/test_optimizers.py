"""Optimizers: arguments, configurations, learning rate, slot variables; schedules."""

import warnings

import numpy as np
import pytest
from reference_compare import differences, stored
from training_cases import optimizer_configs, optimizer_objects, schedule_configs, schedule_values

import tlfast
from tlfast import optimizers
from tlfast.optimizers import schedules


class Variable:
    """What an optimizer needs of a model's variable."""

    def __init__(self, path, shape):
        self.path, self.name, self.shape = path, path.split("/")[-1], shape


def variables():
    return [Variable("head/kernel", (2, 3)), Variable("head/bias", (3,))]


def test_configurations_equal_keras():
    assert differences(optimizer_configs(tlfast), stored()["optimizer_configs"]) == []


def test_schedule_configurations_equal_keras():
    assert differences(schedule_configs(tlfast), stored()["schedule_configs"]) == []


def test_schedules_equal_keras():
    got = schedule_values(tlfast)
    assert differences(got, stored()["schedule_values"], rtol=1e-5, atol=1e-8) == []


def test_restarts_begin_where_they_should():
    schedule = schedules.CosineDecayRestarts(0.1, 7)
    assert schedule(7) == schedule(21) == schedule(49) == 0.1
    assert schedule(20) < 0.002


@pytest.mark.parametrize("name", optimizer_objects(tlfast))
def test_stored_and_read_again(name):
    optimizer = optimizer_objects(tlfast)[name]
    again = optimizers.deserialize(optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    assert again.core_spec() == optimizer.core_spec()


@pytest.mark.parametrize("name", ["adam", "Adam", "ADAM", "sgd", "RMSprop", "rmsprop", "AdamW"])
def test_names_in_any_case(name):
    assert type(optimizers.get(name)).__name__.lower() == name.lower()


def test_other_identifiers():
    made = optimizers.SGD()
    assert optimizers.get(made) is made
    assert optimizers.get(None) is None
    assert type(optimizers.get(optimizers.Adam)) is optimizers.Adam
    stored_form = {"class_name": "SGD", "config": {"learning_rate": 0.5}}
    assert optimizers.get(stored_form).learning_rate == 0.5
    with pytest.raises(ValueError, match="Did you mean 'rmsprop'"):
        optimizers.get("rmspro")
    with pytest.raises(ValueError, match="not part of tlfast"):
        optimizers.get("adagrad")
    with pytest.raises(ValueError, match="Could not interpret"):
        optimizers.get(0.1)


def test_learning_rate_is_single_precision_and_settable():
    optimizer = optimizers.Adam(1e-4)
    assert float(optimizer.learning_rate) == float(np.float32(1e-4))
    assert optimizer.learning_rate.numpy() == np.float32(1e-4)
    optimizer.learning_rate = 0.5
    optimizer.learning_rate *= 0.5
    assert optimizer.learning_rate == 0.25
    optimizer.learning_rate.assign(0.125)
    assert optimizer.current_learning_rate() == 0.125
    assert f"{optimizer.learning_rate:.3f}" == "0.125"
    assert round(optimizer.learning_rate, 1) == 0.1
    assert np.sqrt(np.asarray(optimizer.learning_rate) * 2) == 0.5
    assert 1 - optimizer.learning_rate == 0.875
    assert (optimizer.learning_rate > 0.1) is True


def test_iterations_count():
    optimizer = optimizers.SGD(schedules.PiecewiseConstantDecay([1], [0.5, 0.25]))
    assert optimizer.current_learning_rate() == 0.5
    optimizer.iterations += 1
    assert optimizer.current_learning_rate() == 0.5
    optimizer.iterations += 1
    assert optimizer.current_learning_rate() == 0.25
    assert int(optimizer.iterations.numpy()) == 2
    assert optimizer.iterations.dtype == "int64"


def test_a_schedule_is_not_settable_by_a_number():
    optimizer = optimizers.SGD(schedules.ExponentialDecay(0.1, 10, 0.5))
    with pytest.raises(TypeError, match="not settable"):
        optimizer.learning_rate = 0.1
    optimizer.learning_rate = schedules.ExponentialDecay(0.2, 10, 0.5)
    assert optimizer.current_learning_rate() == float(np.float32(0.2))


def test_a_function_as_learning_rate():
    optimizer = optimizers.SGD(lambda: 0.25)
    assert optimizer.current_learning_rate() == 0.25
    assert len(optimizer.variables) == 1


@pytest.mark.parametrize("kind", [optimizers.SGD, optimizers.Adam, optimizers.RMSprop])
def test_lr_works_with_one_warning(kind):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        optimizer = kind(lr=0.5)
    assert [w.category for w in seen] == [DeprecationWarning]
    assert seen[0].filename == __file__
    assert optimizer.learning_rate == 0.5
    with pytest.warns(DeprecationWarning):
        assert optimizer.lr == 0.5
        optimizer.lr = 0.25
    assert optimizer.learning_rate == 0.25


def test_decay_warns_as_in_keras():
    with pytest.warns(UserWarning, match="InverseTimeDecay"):
        optimizer = optimizers.SGD(0.1, decay=1e-6)
    assert optimizer.current_learning_rate() == float(np.float32(0.1))


@pytest.mark.parametrize(
    ("kwargs", "kind", "message"),
    [
        ({"learning_rat": 1}, TypeError, "Did you mean 'learning_rate'"),
        ({"beta1": 0.9}, TypeError, "Did you mean 'beta_1'"),
        ({"learning_rate": "fast"}, ValueError, "learning_rate='fast'"),
        ({"learning_rate": True}, ValueError, "learning_rate=True"),
        ({"clipnorm": 1.0, "clipvalue": 1.0}, ValueError, "Only one of"),
        ({"clipnorm": -1.0}, ValueError, "positive"),
        ({"weight_decay": "small"}, ValueError, "weight_decay"),
        ({"use_ema": True}, NotImplementedError, "use_ema"),
        ({"gradient_accumulation_steps": 4}, NotImplementedError, "gradient_accumulation_steps"),
        ({"beta_2": 1.0}, ValueError, "beta_2"),
    ],
)
def test_refused(kwargs, kind, message):
    with pytest.raises(kind, match=message):
        optimizers.Adam(**kwargs)


def test_own_arguments_refused():
    with pytest.raises(ValueError, match="momentum"):
        optimizers.SGD(momentum=1.5)
    with pytest.raises(ValueError, match="weight_decay=None"):
        optimizers.AdamW(weight_decay=None)
    with pytest.raises(ValueError, match="rho"):
        optimizers.RMSprop(rho=-1)
    with pytest.raises(ValueError, match="decay_steps"):
        schedules.CosineDecay(0.1, 0)
    with pytest.raises(ValueError, match="t_mul"):
        schedules.CosineDecayRestarts(0.1, 5, t_mul=0.5)
    with pytest.raises(ValueError, match="1 less"):
        schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="learning-rate schedule"):
        schedules.deserialize({"class_name": "Cosine", "config": {}})


@pytest.mark.parametrize(
    ("optimizer", "names"),
    [
        (optimizers.SGD(name="o"), []),
        (optimizers.SGD(momentum=0.5, name="o"), ["head_kernel_momentum", "head_bias_momentum"]),
        (
            optimizers.Adam(amsgrad=True, name="o"),
            [
                "head_kernel_momentum",
                "head_kernel_velocity",
                "head_bias_momentum",
                "head_bias_velocity",
                "head_kernel_velocity_hat",
                "head_bias_velocity_hat",
            ],
        ),
        (
            optimizers.RMSprop(momentum=0.5, centered=True, name="o"),
            [
                "head_kernel_velocity",
                "head_bias_velocity",
                "head_kernel_momentum",
                "head_bias_momentum",
                "head_kernel_average_gradient",
                "head_bias_average_gradient",
            ],
        ),
    ],
)
def test_slots_in_the_order_of_keras_files(optimizer, names):
    made = variables()
    optimizer.build(made)
    found = optimizer.variables
    assert [v.name for v in found] == ["iteration", "learning_rate", *names]
    assert [v.path for v in found[2:]] == [f"o/{name}" for name in names]
    assert all(v.numpy().sum() == 0 for v in found[2:])
    assert len(optimizer.slots_for(made[0])) == len(names) // 2


def test_building_again_keeps_known_slots():
    optimizer = optimizers.SGD(momentum=0.9)
    head = variables()
    optimizer.build(head)
    optimizer.variables[2].assign(np.full((2, 3), 7.0))
    below = Variable("base/kernel", (4,))
    optimizer.build([below, *head])
    assert [v.shape for v in optimizer.variables[2:]] == [(4,), (2, 3), (3,)]
    assert optimizer.variables[3].numpy().tolist() == np.full((2, 3), 7.0).tolist()
    optimizer.build(head)
    assert len(optimizer.variables) == 4
    with pytest.raises(ValueError, match="Unknown variable: 'other'"):
        optimizer.slots_for(Variable("other", (1,)))


def test_weight_decay_exclusions():
    kernel, bias = variables()
    optimizer = optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma"])
    assert optimizer.uses_weight_decay(kernel)
    assert not optimizer.uses_weight_decay(bias)
    optimizer.exclude_from_weight_decay(var_list=[kernel])
    assert not optimizer.uses_weight_decay(kernel)
    assert optimizer.uses_weight_decay(bias)
    optimizer.build([kernel])
    with pytest.raises(ValueError, match="before"):
        optimizer.exclude_from_weight_decay(var_names=["x"])
    assert not optimizers.SGD().uses_weight_decay(kernel)


def test_files_of_other_keras_versions():
    config = {
        "name": "Adam",
        "learning_rate": 1e-3,
        "decay": 0.0,
        "jit_compile": False,
        "is_legacy_optimizer": False,
    }
    assert optimizers.Adam.from_config(config).current_learning_rate() == pytest.approx(1e-3)


def test_names_that_are_not_there():
    with pytest.raises(AttributeError, match="Keras has it, tlfast does not. Available: Adam"):
        optimizers.Nadam  # noqa: B018
    with pytest.raises(AttributeError, match="Did you mean 'RMSprop'"):
        optimizers.RMSProp  # noqa: B018
    with pytest.raises(ImportError):
        from tlfast.optimizers import Adm  # noqa: F401
