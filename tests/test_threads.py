"""Threads, processes and signals: one plan in two threads, Ctrl-C, OMP_* variables, fork, spawn."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from op_net import Net, threads, training_plan
from thread_cases import CASES, MSE

from tlfast import _core

TESTS = Path(__file__).resolve().parent
# Losses under other numbers of threads: weight gradients are summed in another order.
LOSSES = 1e-6
OMP = ("OMP_NUM_THREADS", "OMP_DYNAMIC", "OMP_THREAD_LIMIT")


def run_case(name, timeout=120, **variables):
    env = {k: v for k, v in os.environ.items() if k not in OMP} | variables
    env["PYTHONPATH"] = os.pathsep.join([str(TESTS), *filter(None, [env.get("PYTHONPATH")])])
    return subprocess.run([sys.executable, str(TESTS / "thread_cases.py"), name], env=env,
                          capture_output=True, text=True, timeout=timeout, cwd=TESTS.parent)


# Teams of two are slow where the machine has other things to do; one case is enough for them.
@pytest.mark.parametrize("name, n", [
    ("fork_after_a_step", 1), ("fork_after_a_step", 2), ("fork_in_a_step", 1),
    ("fork_in_an_update", 1), ("two_threads", 1), ("made_here_run_there", 2),
    ("multiprocessing_spawn", 1), ("multiprocessing_fork", 2)])
def test_case(name, n):
    done = run_case(name, OMP_NUM_THREADS=str(n))
    assert done.stdout == "good\n", done.stderr


def test_every_case_is_run():
    marks = test_case.pytestmark[0].args[1]
    assert {name for name, _ in marks} | {"losses"} == set(CASES)


@functools.cache
def losses_of_two_threads():
    done = run_case("losses", OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    return np.array(done.stdout.split(), float)


@pytest.mark.parametrize("variables", [
    {"OMP_NUM_THREADS": "1"}, {"OMP_DYNAMIC": "true"}, {"OMP_THREAD_LIMIT": "1"},
    {"OMP_DYNAMIC": "true", "OMP_NUM_THREADS": "3"},
    {"OMP_THREAD_LIMIT": "1", "OMP_NUM_THREADS": "2"}], ids=str)
def test_openmp_variables(variables):
    """The same losses or one error, never a hang or half a gradient."""
    expected = losses_of_two_threads()
    assert len(expected) == 4 and expected[-1] < expected[0]
    done = run_case("losses", **variables)
    if done.returncode == 0:
        np.testing.assert_allclose(np.array(done.stdout.split(), float), expected, rtol=LOSSES)
    else:
        assert "RuntimeError: OpenMP gave" in done.stderr.splitlines()[-1]


def test_a_plan_belongs_to_a_number_of_threads(rng):
    net = Net(rng)
    y = net.dense(net.input((4,)), 2)
    feeds = net.draw(2)
    with threads(2):
        plan = net.plan(2, [y])
        expected = plan.forward(feeds)[0]
        with threads(1):
            with pytest.raises(RuntimeError, match="OpenMP gave 1 threads where 2 were planned"):
                plan.forward(feeds)
            assert np.array_equal(net.plan(2, [y]).forward(feeds)[0], expected)
        assert np.array_equal(plan.forward(feeds)[0], expected)
    for n in (-1, 4097, 2**32 + 1):
        with pytest.raises(ValueError, match=f"number of threads {n}; allowed: 1 to 4096"):
            _core.set_num_threads(n)


# ---- something that takes a while -------------------------------------------------------------


def long_net(rng, n_layers=25):
    net = Net(rng)
    x = net.conv(net.input((96, 96, 3)), 32)
    for _ in range(n_layers):
        x = net.act(net.norm(net.conv(x, 32, 3, pads=(1, 1, 1, 1))), "tanh")
    return net, net.dense(net.add("global_avg_pool", x), 3)


@pytest.fixture
def one_thread():
    with threads(1):
        yield


def test_one_plan_in_two_threads(one_thread, rng):
    net, y = long_net(rng)
    plan = training_plan(net, [y], [MSE], 2, trainable=net.trainable()[-2:])
    feeds, target = net.draw(2), [np.zeros((2, 3), np.float32)]
    expected = plan.forward(feeds)[0]
    updates = tuple((v, (), False, 0.0, 0.0) for v in net.trainable()[-2:])
    results = []
    thread = threading.Thread(target=lambda: results.append(plan.forward(feeds)[0]))
    refused = 0
    thread.start()
    while thread.is_alive():
        for call in (lambda: plan.forward(feeds), plan.gradients,
                     lambda: plan.evaluate(feeds, target),
                     lambda: plan.set_optimizer({"kind": "sgd"}, updates)):
            try:
                call()
            except RuntimeError as error:
                assert "running in another thread" in str(error)
                refused += 1
    thread.join()
    assert refused > 3
    assert np.array_equal(results[0], expected)
    assert np.array_equal(plan.forward(feeds)[0], expected)


def interrupt_after(seconds, call):
    """Calls with Ctrl-C after some seconds; (seconds it took to return, raised)."""
    def press(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, press)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    started = time.perf_counter()
    try:
        call()
        raised = False
    except KeyboardInterrupt:
        raised = True
    finally:
        took = time.perf_counter() - started
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return took, raised


def test_interrupt_in_a_long_forward(one_thread, rng):
    net, y = long_net(rng)
    plan = net.plan(4, [y])
    feeds = net.draw(4)
    started = time.perf_counter()
    expected = plan.forward(feeds)[0]
    whole = time.perf_counter() - started
    took, raised = interrupt_after(whole / 20, lambda: plan.forward(feeds))
    assert raised
    assert took < whole / 20 + max(0.5, whole / 3)
    assert np.array_equal(plan.forward(feeds)[0], expected)
    other = net.plan(4, [y])
    assert np.array_equal(other.forward(feeds)[0], expected)


def test_interrupt_in_a_training_step(one_thread, rng):
    """Weights, slots and statistics are those from before the step or from after it.

    A step on other data comes before every interrupted one: an update with the gradients that a
    cancelled backward pass left from there would be seen."""
    net = Net(rng)
    x = net.conv(net.input((48, 48, 3)), 32)
    for _ in range(12):
        x = net.act(net.norm(net.conv(x, 32, 3, pads=(1, 1, 1, 1)), training=True), "tanh")
    y = net.dense(net.add("global_avg_pool", x), 3)
    slots = [[_core.Variable(v.shape)] for v in net.trainable()]
    plan = training_plan(net, [y], [MSE], 4, slots=slots,
                         optimizer={"kind": "sgd", "momentum": 0.9})
    feeds, others, target = net.draw(4), net.draw(4), [np.zeros((4, 3), np.float32)]
    everything = [*net.variables, *(s for row in slots for s in row)]

    def state():
        return [v.numpy() for v in everything]

    def restore(values):
        for v, w in zip(everything, values, strict=True):
            v.assign(w)

    def step(feeds=feeds):
        plan.train(feeds, target, learning_rate=0.1)

    start = state()
    step(others)
    restore(start)
    began = time.perf_counter()
    step()
    whole = time.perf_counter() - began
    after = state()
    assert not np.array_equal(start[0], after[0])
    interrupted = 0
    for share in (0.02, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.95):
        step(others)
        restore(start)
        _, raised = interrupt_after(whole * share, step)
        now = state()
        kept = [np.array_equal(a, b) for a, b in zip(now, start, strict=True)]
        done = [np.array_equal(a, b) for a, b in zip(now, after, strict=True)]
        assert all(kept) or all(done)
        interrupted += raised and all(kept)
    assert interrupted > 0
    restore(start)
    step()
    assert all(np.array_equal(a, b) for a, b in zip(state(), after, strict=True))


def test_plans_dropped_while_others_run(one_thread, rng):
    """Destruction happens in the caller's thread, at any time."""
    net = Net(rng)
    x = net.act(net.norm(net.conv(net.input((16, 16, 3)), 16, 3)))
    y = net.dense(net.add("global_avg_pool", x), 3)
    feeds, pool = net.draw(2), _core.Pool()
    expected = net.plan(2, [y], pool).forward(feeds)[0]
    wrong, stop = [], threading.Event()

    def churn():
        while not stop.is_set():
            if not np.array_equal(net.plan(2, [y], pool).forward(feeds)[0], expected):
                wrong.append(1)

    workers = [threading.Thread(target=churn) for _ in range(3)]
    for worker in workers:
        worker.start()
    time.sleep(0.5)
    stop.set()
    for worker in workers:
        worker.join()
    assert not wrong
