"""Cases of test_threads that need a process of their own: python thread_cases.py NAME.

Each one ends by printing "good"; an assertion or a hang (the test has a time limit) is a failure.
"""

import multiprocessing
import os
import sys
import threading
import time

import numpy as np
from op_net import Net, training_plan

from tlfast import _core

MSE = {"kind": "mean_squared_error"}
ADAM = {"kind": "adam", "epsilon": 1e-3}


class Job:
    """A small convolutional network, its plans and data; equal for equal seeds."""

    def __init__(self, seed=0, rows=6, size=24):
        self.rng = np.random.default_rng(seed)
        net = self.net = Net(self.rng)
        x = net.conv(net.input((size, size, 3)), 16, 3, pads=(1, 1, 1, 1))
        for _ in range(4):
            x = net.act(net.norm(net.conv(x, 16, 3, pads=(1, 1, 1, 1)), training=True), "swish")
        self.out = net.dense(net.add("global_avg_pool", x), 5)
        self.feeds = net.draw(rows)
        self.target = [self.rng.normal(size=(rows, 5)).astype(np.float32)]
        self.slots = [[_core.Variable(v.shape) for _ in range(2)] for v in net.trainable()]
        self.build(rows)

    def build(self, rows=6):
        self.plan = self.net.plan(rows, [self.out])
        self.trained = training_plan(self.net, [self.out], [MSE], rows, optimizer=ADAM,
                                     slots=self.slots)
        self.steps = 0

    def forward(self):
        return self.plan.forward(self.feeds)[0].tobytes()

    def step(self):
        losses, _ = self.trained.train(self.feeds, self.target, learning_rate=0.01,
                                       iteration=self.steps)
        self.steps += 1
        return losses[0]

    def weights(self):
        return b"".join(v.numpy().tobytes() for v in self.net.variables)


def in_child(check):
    """Runs check in a forked child; it has to end by itself."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            check()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {status}"


def losses():
    """For runs under OMP_* variables: the losses, or the one error."""
    job = Job()
    print(*(repr(job.step()) for _ in range(4)))


def fork_after_a_step():
    job, twin = Job(), Job()
    for _ in range(2):
        job.step(), twin.step()
    expected, expected_loss = twin.forward(), twin.step()
    after = twin.forward()

    def check():
        assert job.forward() == expected
        assert job.step() == expected_loss
        assert job.forward() == after
        fresh = Job(1)
        assert np.isfinite(fresh.step())
        in_child(lambda: job.forward() == after or os._exit(3))  # a fork of the fork

    in_child(check)
    in_child(check)
    assert job.forward() == expected and job.step() == expected_loss and job.forward() == after


def fork_in_a_step():
    """Another thread trains all the time. The child finds weights from between two steps, and runs
    the very plan that was running."""
    n_steps, n_forks = 150, 10
    twin = Job()
    states = [twin.weights()]
    for _ in range(n_steps):
        twin.step()
        states.append(twin.weights())
    known = {state: i for i, state in enumerate(states)}
    job, stop = Job(), threading.Event()

    def train():
        while job.steps < n_steps and not stop.is_set():
            job.step()

    thread = threading.Thread(target=train)
    thread.start()
    seen = set()
    for i in range(n_forks):
        time.sleep(0.003 * (i % 4))

        def check():
            at = known[job.weights()]  # KeyError: half an update
            feeds = job.net.plan(6, [job.out]).forward(job.feeds)[0]
            assert np.isfinite(feeds).all()
            job.trained.evaluate(job.feeds, job.target)  # running in the parent
            assert job.forward() == feeds.tobytes()
            assert at >= 0

        in_child(check)
        seen.add(job.steps)
    stop.set()
    thread.join()
    assert len(seen) > 1, "the thread did not train between the forks"
    assert known[job.weights()] == job.steps


def fork_in_an_update():
    """Most of a step is an update here. All rows of kernel and slots are equal before and after it,
    since one picture of ones gives every row the same gradient; in the midst of it they are not."""
    net = Net(np.random.default_rng(0))
    y = net.dense(net.input((1000,)), 2048)
    (kernel, _), target = net.variables, [np.linspace(1, 2, 2048, dtype=np.float32)[None]]
    kernel.assign(np.zeros(kernel.shape, np.float32))
    slots = [[_core.Variable(v.shape) for _ in range(2)] for v in net.variables]
    plan = training_plan(net, [y], [MSE], 1, optimizer=ADAM, slots=slots)
    feeds, stop, steps = [np.ones((1, 1000), np.float32)], threading.Event(), []

    def step():
        plan.train(feeds, target, learning_rate=0.01, iteration=len(steps))
        steps.append(1)

    def train():
        while not stop.is_set():
            step()

    def check():
        for values in (v.numpy() for v in (kernel, *slots[0])):
            assert (values == values[0]).all(), "half an update"
        assert kernel.numpy().any()
        step()
        assert (kernel.numpy() == kernel.numpy()[0]).all()

    step()
    thread = threading.Thread(target=train)
    thread.start()
    for i in range(12):
        time.sleep(0.007 * (i % 5))
        in_child(check)
    stop.set()
    thread.join()
    assert len(steps) > 12, "the thread did not train between the forks"
    check()


def run_in_pool(seed):
    job = Job(seed)
    job.step()
    return job.forward()


def multiprocessing_with(method):
    expected = [run_in_pool(seed) for seed in (1, 2)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(run_in_pool, (1, 2)) == expected


def two_threads():
    """Two plans in two threads give the bits of one after the other."""
    def work(job, results):
        for _ in range(15):
            results.append((job.step(), job.forward()))

    serial = [[], []]
    for seed in (0, 1):
        work(Job(seed), serial[seed])
    jobs, parallel = [Job(0), Job(1)], [[], []]
    threads = [threading.Thread(target=work, args=pair)
               for pair in zip(jobs, parallel, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert parallel == serial


def made_here_run_there():
    """A plan made in one thread runs in another, is dropped in a third."""
    holder, results = [Job()], []
    expected = Job().step()
    thread = threading.Thread(target=lambda: results.append(holder[0].step()))
    thread.start(), thread.join()
    assert results == [expected]
    thread = threading.Thread(target=holder.clear)
    thread.start(), thread.join()
    assert not holder


CASES = {f.__name__: f for f in (losses, fork_after_a_step, fork_in_a_step,
                                 fork_in_an_update, two_threads, made_here_run_there)}
CASES |= {f"multiprocessing_{m}": lambda m=m: multiprocessing_with(m) for m in ("spawn", "fork")}

if __name__ == "__main__":
    CASES[sys.argv[1]]()
    if sys.argv[1] != "losses":
        print("good")
