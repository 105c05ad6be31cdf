"""Saving whole or not at all: every system call of a save fails or is the last; two writers."""

import errno
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tlfast import callbacks, layers, saving
from tlfast.models import Sequential
from tlfast.saving import atomic, interrupts, state_file
from tlfast.saving.atomic import replacing

OPERATIONS = ("open", "write", "fsync", "replace", "ftruncate", "fchmod")
FILES = ("m.keras", "m.h5", "m.weights.h5", "m.tlfast")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)


@pytest.fixture
def tmp_path(memory_path):
    return memory_path


class Faults:
    """Stands in front of the system calls of a save, for a while.

    Args:
        act: called with the number of each call, from 1; what it raises is the call's error.
    """

    def __init__(self, monkeypatch, act) -> None:
        self.count = 0
        self._act = act
        for name in OPERATIONS:
            monkeypatch.setattr(atomic.os, name, self._around(getattr(os, name)))

    def _around(self, function):
        def called(*args, **kwargs):
            self.count += 1
            self._act(self.count)
            return function(*args, **kwargs)

        return called


def network(value: float):
    model = Sequential([layers.Input((30,)), layers.Dense(600), layers.Dense(1)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_weights)
    for variable in model.weights:
        variable.assign(np.full(variable.shape, value))
    return model


def save(model, path) -> None:
    if path.suffix == ".tlfast":
        state_file.write_state(path, {"weights": list(model.weights)})
    elif path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)


def value_in(path) -> float:
    """The value that all weights in a file have."""
    if path.suffix == ".tlfast":
        weights = state_file.read_state(path)["weights"]
    elif path.name.endswith(".weights.h5"):
        model = network(0)
        model.load_weights(path)
        weights = model.get_weights()
    else:
        weights = saving.load_model(path).get_weights()
    values = {float(v) for weight in weights for v in np.ravel(weight)}
    assert len(values) == 1
    return values.pop()


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("forever", [False, True], ids=["once", "forever"])
def test_every_call_fails(tmp_path, monkeypatch, name, number, forever):
    path = tmp_path / name
    save(network(1), path)
    new = network(2)
    for n in itertools.count(1):

        def fail(count, n=n):
            if count == n or (forever and count > n):
                raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            faults = Faults(patch, fail)
            try:
                save(new, path)
                break
            except OSError as error:
                assert error.errno == number and str(path) in str(error)
                old = "cannot write (an older file is kept)" in str(error)
        assert value_in(path) == (1 if old else 2)
        assert os.listdir(tmp_path) == [name]
        save(network(1), path)
    assert n == faults.count + 1 and n > 5
    assert value_in(path) == 2


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("name", FILES)
def test_killed_at_every_call(tmp_path, monkeypatch, name):
    path = tmp_path / name
    save(network(1), path)
    new = network(2)
    seen = set()
    for n in itertools.count(1):
        child = os.fork()
        if not child:  # never comes back into pytest
            with monkeypatch.context() as patch:

                def kill(count, n=n):
                    if count == n:
                        os.kill(os.getpid(), signal.SIGKILL)

                Faults(patch, kill)
                save(new, path)
            os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        found = value_in(path)
        seen.add(found)
        assert found in (1, 2)
        save(network(1), path)
        assert os.listdir(tmp_path) == [name]  # the next save cleans up
        if not killed:
            break
    assert n > 5 and found == 2 and seen == {1, 2}


def test_short_writes(tmp_path, monkeypatch):
    written = []

    def short(descriptor, data, write=os.write):
        written.append(write(descriptor, memoryview(data)[:1000]))
        return written[-1]

    monkeypatch.setattr(atomic.os, "write", short)
    for name in FILES:
        save(network(3), tmp_path / name)
        assert value_in(tmp_path / name) == 3
    assert len(written) > 40


@pytest.mark.parametrize("name", FILES)
def test_two_writers(tmp_path, name):
    path = tmp_path / name
    models = [network(1), network(2)]
    save(models[0], path)

    def write(model):
        for _ in range(10):
            save(model, path)

    threads = [threading.Thread(target=write, args=[model]) for model in models]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert value_in(path) in (1, 2)
    assert os.listdir(tmp_path) == [name]


def test_two_processes(tmp_path):
    code = """
import sys
import tempfile
from tlfast.saving.atomic import replacing
for n in range(100):
    with replacing(sys.argv[1]) as file:
        file.write(sys.argv[2].encode() * 200_000)
"""
    path = tmp_path / "f"
    writers = [subprocess.Popen([sys.executable, "-c", code, path, letter]) for letter in "abc"]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            content = path.read_bytes()
            assert content == content[:1] * 200_000
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert os.listdir(tmp_path) == ["f"]


# ---- messages ------------------------------------------------------------------------------------


def test_how_much_room_is_needed(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "write", full)
    monkeypatch.setattr(
        atomic.os, "statvfs", lambda folder: os.statvfs_result((4096, 4096, 9, 9, 3, *[0] * 5))
    )
    with pytest.raises(OSError) as caught, replacing(tmp_path / "big") as file:
        file.write(bytes(10**6))
    assert str(caught.value) == (
        "[Errno 28] cannot write (an older file is kept): No space left on device; at least "
        f"1000000 bytes are needed, 12288 are free: '{tmp_path / 'big'}'"
    )


def test_a_folder_that_has_gone(tmp_path):
    folder = tmp_path / "folder"
    with pytest.raises(FileNotFoundError, match="an older file is kept.*folder' has gone"):
        with replacing(folder / "f") as file:
            file.write(b"x")
            for name in os.listdir(folder):
                os.unlink(folder / name)
            folder.rmdir()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS], ids=errno.errorcode.get)
def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch, number):
    def refuse(*args):
        raise OSError(number, os.strerror(number))

    what = f"{os.strerror(number)}; in the folder '{tmp_path}'"
    with monkeypatch.context() as patch, pytest.raises(OSError, match=what):
        patch.setattr(atomic.os, "open", refuse)
        with replacing(tmp_path / "f"):
            raise AssertionError("there is no file")
    assert os.listdir(tmp_path) == []


def test_not_known_to_be_on_the_disk(tmp_path, monkeypatch):
    (tmp_path / "f").write_text("old")
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    with pytest.raises(OSError, match="written, but not known to be on the disk for good"):
        with replacing(tmp_path / "f") as file:
            file.write(b"new")
    assert (tmp_path / "f").read_text() == "new" and os.listdir(tmp_path) == ["f"]


# ---- the block -----------------------------------------------------------------------------------


def test_a_lost_error_is_not_lost(tmp_path, monkeypatch):
    """A library that calls `write` may swallow what it raises."""

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "f").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "write", full)
        with pytest.raises(OSError, match="No space left"), replacing(tmp_path / "f") as file:
            try:
                file.write(bytes(10**6))
            except OSError:
                patch.undo()
    assert (tmp_path / "f").read_text() == "old" and os.listdir(tmp_path) == ["f"]


def test_an_interrupt_stays_one_on_a_full_disk(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "write", full)
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "f") as file:
        file.write(b"x")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_errors_of_other_files_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="^.Errno 2. No such file or directory: 'nothing'$"):
        with replacing(tmp_path / "f"):
            open("nothing")
    assert os.listdir(tmp_path) == []


def test_the_file_before(tmp_path):
    path, before = tmp_path / "f", tmp_path / "before"
    for content in (b"1", b"2", b"3"):
        with replacing(path, before) as file:
            file.write(content)
    assert (path.read_bytes(), before.read_bytes()) == (b"3", b"2")


def test_read_back_and_cut(tmp_path):
    """What h5py asks of a file it writes to."""
    with replacing(tmp_path / "f") as file:
        file.write(b"0123456789")
        file.seek(2)
        assert file.read(3) == b"234"
        file.truncate(7)
    assert (tmp_path / "f").read_bytes() == b"0123456"


# ---- what killed processes left ------------------------------------------------------------------


def test_orphans(tmp_path):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    here, there = atomic._machine(), "0" * 8
    names = {
        "dead": f".f.{here}-{done.pid}-01234567.part",
        "alive": f".f.{here}-{os.getpid()}-01234567.part",
        "elsewhere": f".f.{there}-{done.pid}-01234567.part",
        "long ago": f".f.{there}-1-01234567.part",
        "of another file": f".g.{here}-{done.pid}-01234567.part",
        "not ours": f".f.{done.pid}.part",
    }
    for name in names.values():
        (tmp_path / name).write_text("")
    os.utime(tmp_path / names["long ago"], (1, time.time() - 2 * atomic._ABANDONED))
    with replacing(tmp_path / "f") as file:
        file.write(b"x")
    left = set(os.listdir(tmp_path)) - {"f"}
    assert left == {names[key] for key in ("alive", "elsewhere", "not ours")}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_orphans_of_another_user_stay(tmp_path):
    """In a shared folder (/tmp) nobody may delete the files of others."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    with tempfile.TemporaryDirectory() as name:  # one that every user reaches
        shared = Path(name)
        shared.chmod(0o1777)
        orphan = shared / f".f.{atomic._machine()}-{done.pid}-01234567.part"
        orphan.write_text("")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setuid(65534)
                with replacing(shared / "f") as file:
                    file.write(b"x")
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert (shared / "f").read_bytes() == b"x" and orphan.exists()


def test_long_names(tmp_path):
    name = "ü" * 120
    with replacing(tmp_path / name) as file:
        file.write(b"x")
    assert os.listdir(tmp_path) == [name]


def test_handlers_of_signals_wait_until_h5py_is_left():
    """An exception of a handler would be lost in h5py's own callbacks."""
    raised = []

    def handler(number, frame):
        raised.append(number)
        raise SystemExit(3)

    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.signal(number, handler)
        try:
            with pytest.raises(SystemExit):
                with interrupts.deferred():
                    os.kill(os.getpid(), number)
                    assert not raised
            assert raised.pop() == number and signal.getsignal(number) is handler
            with pytest.raises(SystemExit), interrupts.deferred():
                os.kill(os.getpid(), number)
                interrupts.check()
                raise AssertionError("check() runs the handler")
            assert raised.pop() == number and not raised
        finally:
            signal.signal(number, before)


def test_a_backup_that_cannot_be_written_keeps_the_one_before(tmp_path, monkeypatch):
    x, y = np.ones((6, 30)), np.ones((6, 1))
    backup = callbacks.BackupAndRestore(tmp_path / "b", save_freq=1, delete_checkpoint=False)

    def fit(fail):
        faults = Faults(monkeypatch, fail)
        model = network(1)
        model.fit(x, y, batch_size=2, epochs=1, shuffle=False, verbose=0, callbacks=[backup])
        return model, faults.count

    expected, calls = fit(lambda count: None)
    (tmp_path / "b" / "latest.tlfast").unlink()

    def fail(count):
        if count > calls // 2:
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context():
        with pytest.raises(OSError, match="latest.tlfast"):
            fit(fail)
    monkeypatch.undo()
    assert os.listdir(tmp_path / "b") == ["latest.tlfast"]
    model, _ = fit(lambda count: None)
    for value, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        assert np.array_equal(value, other)
