"""The loader: order and bits, bad files, cancelling, memory that comes back, fork."""

import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import smooth_image
from PIL import Image

from tlfast import _core

SIZE = {"height": 24, "width": 20}


@pytest.fixture
def files(tmp_path, rng) -> list[str]:
    """24 images of several sizes, JPEG and PNG."""
    paths = []
    for i in range(24):
        path = tmp_path / f"{i:02d}.{'png' if i % 3 == 0 else 'jpg'}"
        Image.fromarray(smooth_image(rng, 30 + i, 50 - i)).save(path)
        paths.append(str(path))
    return paths


def run(loader: _core.Loader) -> list[tuple]:
    batches = []
    while (batch := loader.next()) is not None:
        batches.append(batch)
    assert loader.next() is None
    return batches


def expected(paths: list[str], **options: object) -> np.ndarray:
    return np.stack(
        [_core.resize_image(_core.decode_image(p), *SIZE.values(), **options) for p in paths]
    )


def n_threads() -> int:
    return len(os.listdir("/proc/self/task"))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_order_and_bits_do_not_depend_on_threads(files, rng, threads):
    order = np.concatenate([rng.permutation(24), rng.integers(0, 24, 17)])
    sizes = [1, 7, 16, 16, 1]
    with _core.Loader(files, **SIZE, threads=threads) as loader:
        assert loader.threads == threads
        loader.start(order, sizes)
        batches = run(loader)
    assert [b[0].shape for b in batches] == [(n, 24, 20, 3) for n in sizes]
    assert all(b[0].dtype == np.float32 and b[1].dtype == np.int64 and b[2] == [] for b in batches)
    np.testing.assert_array_equal(np.concatenate([b[1] for b in batches]), order)
    pixels = np.concatenate([b[0] for b in batches])
    np.testing.assert_array_equal(pixels, expected(files)[order])


@pytest.mark.parametrize("pipeline", ["keras", "pil", "fast"])
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_pipelines_and_fits(files, pipeline, fit):
    with _core.Loader(files, **SIZE, pipeline=pipeline, fit=fit) as loader:
        loader.start(range(24), [24])
        pixels = loader.next()[0]
    if pipeline == "fast":  # the target is larger than half of the files: no reduced decoding
        wanted = [_core.decode_image(p, pipeline="fast") for p in files]
        wanted = [_core.resize_image(p, 24, 20, "bilinear", "fast", fit) for p in wanted]
    else:
        wanted = [_core.decode_image(p, pipeline=pipeline) for p in files]
        wanted = [_core.resize_image(p, 24, 20, "bilinear", pipeline, fit) for p in wanted]
    np.testing.assert_array_equal(pixels, np.stack(wanted))


def test_fast_pipeline_decodes_smaller_but_looks_the_same(tmp_path, rng):
    image = Image.fromarray(smooth_image(rng, 480, 640))
    image.save(tmp_path / "big.jpg", quality=92)
    with _core.Loader([tmp_path / "big.jpg"], height=56, width=64, pipeline="fast") as loader:
        loader.start([0], [1])
        fast = loader.next()[0][0]
    whole = _core.decode_image(tmp_path / "big.jpg", pipeline="pil")
    full = _core.resize_image(whole, 56, 64, "bilinear", "pil")
    difference = np.abs(fast - full)
    assert 0 < difference.max() <= 6 and difference.mean() < 1


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_nearest_is_uint8_in_the_keras_pipeline(files, channels):
    options = {"interpolation": "nearest", "channels": channels}
    for pipeline, dtype in (("keras", np.uint8), ("pil", np.float32)):
        for fit in ("stretch", "pad"):
            with _core.Loader(files, **SIZE, pipeline=pipeline, fit=fit, **options) as loader:
                loader.start([5, 6], [2])
                pixels = loader.next()[0]
            assert pixels.dtype == dtype and pixels.shape == (2, 24, 20, channels)
            image = _core.decode_image(files[5], channels=channels, pipeline=pipeline)
            wanted = _core.resize_image(image, 24, 20, "nearest", pipeline, fit)
            np.testing.assert_array_equal(pixels[0], wanted)


def test_bad_file_is_named_and_ends_the_run(files):
    Path(files[9]).write_bytes(Path(files[10]).read_bytes()[:300])
    Path(files[12]).write_bytes(b"")
    with _core.Loader(files, **SIZE) as loader:
        loader.start(range(24), [8, 8, 8])
        assert loader.next()[0].shape[0] == 8
        for _ in range(2):  # the first in the order, whichever thread was first; and again
            with pytest.raises(_core.DecodeError, match="09.png': the JPEG data is truncated"):
                loader.next()
        loader.start([0, 1], [2])
        np.testing.assert_array_equal(run(loader)[0][0], expected(files[:2]))
        loader.start([12], [1])
        with pytest.raises(_core.DecodeError, match=r"12.png' is empty \(0 bytes\)"):
            loader.next()


def test_missing_file_is_an_oserror(files):
    os.remove(files[3])
    with _core.Loader(files, **SIZE) as loader:
        loader.start(range(24), [24])
        with pytest.raises(FileNotFoundError, match="03.png"):
            loader.next()


@pytest.mark.parametrize("threads", [1, 3])
def test_skip_drops_the_row_and_lists_it(files, threads):
    Path(files[2]).write_bytes(b"GIF89a" + bytes(50))
    Path(files[3]).write_text("hello")
    os.remove(files[7])
    with _core.Loader(files, **SIZE, on_bad="skip", threads=threads) as loader:
        loader.start([0, 2, 1, 3, 4, 7, 3, 5], [5, 1, 2])
        (a, a_ids, a_bad), (b, b_ids, b_bad), (c, c_ids, c_bad) = run(loader)
    good = expected([files[i] for i in (0, 1, 4, 5)])
    np.testing.assert_array_equal(a, good[:3])
    np.testing.assert_array_equal(c, good[3:])
    assert b.shape == (0, 24, 20, 3)
    assert [a_ids.tolist(), b_ids.tolist(), c_ids.tolist()] == [[0, 1, 4], [], [5]]
    assert [i for i, _ in a_bad] == [2, 3] and [i for i, _ in c_bad] == [3]
    gif = f"cannot decode '{files[2]}': unsupported format: GIF; convert to JPEG or PNG"
    assert a_bad[0][1] == gif
    assert b_bad[0][0] == 7 and "No such file" in b_bad[0][1]


def test_restart_in_the_middle(files):
    wanted = expected(files)
    with _core.Loader(files, **SIZE, threads=3) as loader:
        for seed in range(30):
            order = np.random.default_rng(seed).permutation(24)
            loader.start(order, [4] * 6)
            for k in range(seed % 5):
                pixels, ids, _ = loader.next()
                np.testing.assert_array_equal(ids, order[4 * k : 4 * k + 4])
                np.testing.assert_array_equal(pixels, wanted[ids])
        loader.start([], [])
        assert run(loader) == []


def test_kept_batches_neither_change_nor_block(files):
    wanted = expected(files)
    with _core.Loader(files, **SIZE, depth=1, threads=2) as loader:
        kept = []
        for _ in range(4):
            loader.start(range(24), [2] * 12)
            kept += run(loader)
        assert len(kept) == 48
        for pixels, ids, _ in kept:
            np.testing.assert_array_equal(pixels, wanted[ids])
    assert kept[0][0].flags.writeable and kept[0][0].flags.c_contiguous
    kept[0][0][:] = 7  # still ours after close


def test_batches_are_not_copied_and_memory_comes_back(files):
    with _core.Loader(files, **SIZE, depth=2, threads=1) as loader:
        seen = set()
        for _ in range(20):
            loader.start(range(24), [4] * 6)
            while (batch := loader.next()) is not None:
                pixels = batch[0]
                assert not pixels.flags.owndata and "batch" in repr(pixels.base)
                assert pixels.ctypes.data % 64 == 0
                seen.add(pixels.ctypes.data)
                del pixels, batch
        assert len(seen) <= 5  # ring, consumer, one on its way


def test_early_drop_ends_the_threads(files):
    before = n_threads()
    for _ in range(20):
        loader = _core.Loader(files, **SIZE, threads=3)
        loader.start(range(24), [3] * 8)
        pixels = loader.next()[0]
        del loader
    gc.collect()
    assert n_threads() == before
    np.testing.assert_array_equal(pixels, expected(files[:3]))


def test_slow_consumer_bounds_the_work_ahead(tmp_path, rng):
    """Files beyond the ring are not opened yet: a file removed now is missed only later."""
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path in paths:
        Image.fromarray(smooth_image(rng, 10, 10)).save(path)
    with _core.Loader(paths, **SIZE, depth=2, threads=2) as loader:
        loader.start(range(12), [2] * 6)
        time.sleep(0.3)
        paths[4].unlink()  # batch 2, outside the ring of batches 0 and 1
        paths[0].unlink()  # batch 0, decoded long ago
        assert loader.next()[0].shape[0] == 2
        assert loader.next()[0].shape[0] == 2
        with pytest.raises(FileNotFoundError, match="4.png"):
            loader.next()


def test_workers_are_nice_and_block_signals(files):
    before = set(os.listdir("/proc/self/task"))
    with _core.Loader(files, **SIZE, threads=2) as loader:
        loader.start(range(24), [24])
        loader.next()
        ours = set(os.listdir("/proc/self/task")) - before
        assert len(ours) == 2
        for task in ours:
            # One worker may have read everything before the other one ran at all.
            end = time.monotonic() + 10
            while os.getpriority(os.PRIO_PROCESS, int(task)) != 19 and time.monotonic() < end:
                time.sleep(0.01)
            assert os.getpriority(os.PRIO_PROCESS, int(task)) == 19
            status = Path(f"/proc/self/task/{task}/status").read_text()
            blocked = int(status.split("SigBlk:")[1].split()[0], 16)
            assert blocked & (1 << (signal.SIGINT - 1))
    assert os.getpriority(os.PRIO_PROCESS, 0) < 19


@pytest.fixture
def large(tmp_path, rng) -> Path:
    """A file that takes some 0.2 s to decode."""
    path = tmp_path / "large.jpg"
    noise = np.tile(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8), (10, 10, 1))
    Image.fromarray(noise).save(path, quality=95)
    return path


@pytest.mark.unsanitized
def test_interrupt_while_waiting(large):
    with _core.Loader([large], **SIZE, threads=1) as loader:
        loader.start([0] * 8, [8])
        timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
        timer.start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            loader.next()
        assert time.monotonic() - started < 0.5
        timer.join()
        loader.start([0], [1])  # cancels seven large files
        assert loader.next()[0].shape[0] == 1
        loader.start([0] * 8, [8])
        started = time.monotonic()
    assert time.monotonic() - started < 0.5  # close does not wait for eight files


def test_one_thread_at_a_time(large):
    with _core.Loader([large], **SIZE, threads=1) as loader:
        loader.start([0] * 3, [3])
        waiting = threading.Thread(target=loader.next)
        waiting.start()
        time.sleep(0.05)
        with pytest.raises(RuntimeError, match="in use by another thread"):
            loader.next()
        with pytest.raises(RuntimeError, match="in use by another thread"):
            loader.close()
        waiting.join()


def test_two_loaders_in_two_threads(files):
    wanted = expected(files)
    failures = []

    def epochs() -> None:
        with _core.Loader(files, **SIZE, threads=2) as loader:
            for _ in range(10):
                loader.start(range(24), [5, 5, 5, 5, 4])
                if not np.array_equal(np.concatenate([b[0] for b in run(loader)]), wanted):
                    failures.append(1)

    threads = [threading.Thread(target=epochs) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_child_goes_on_by_itself(files):
    wanted = expected(files)
    loader = _core.Loader(files, **SIZE, threads=2)
    loader.start(range(24), [6] * 4)
    first = loader.next()
    for action in ("continue", "restart", "drop"):
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            code = 1
            try:
                if action == "continue":
                    batches = run(loader)
                    same = [np.array_equal(b[0], wanted[b[1]]) for b in batches]
                    code = 0 if same == [True] * 3 else 2
                elif action == "restart":
                    loader.start([3, 2], [2])
                    code = 0 if np.array_equal(loader.next()[0], wanted[[3, 2]]) else 2
                else:
                    code = 0
                del first, loader
                gc.collect()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, action
    rest = run(loader)
    np.testing.assert_array_equal(np.concatenate([b[0] for b in [first, *rest]]), wanted)
    loader.close()


def test_exit_with_a_loader_running(files):
    code = (
        "import sys; from tlfast import _core\n"
        f"loader = _core.Loader({files!r}, height=300, width=300)\n"
        "loader.start(list(range(24)) * 50, [24] * 50); batch = loader.next(); sys.exit(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (3, b"")


@pytest.mark.unsanitized
def test_memory_does_not_grow(files):
    def epochs(n: int) -> int:
        for _ in range(n):
            with _core.Loader(files, height=64, width=64, on_bad="skip") as loader:
                loader.start(range(24), [8, 8, 8])
                run(loader)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = epochs(20)
    assert epochs(80) - before < 3000  # kB


def test_wrong_arguments(files):
    with pytest.raises(TypeError, match="a list of file names, not one name"):
        _core.Loader(files[0], **SIZE)
    with pytest.raises(TypeError, match="needs height= and width="):
        _core.Loader(files, height=3)
    with pytest.raises(TypeError):
        _core.Loader([1, 2], **SIZE)
    with pytest.raises(ValueError, match="null"):
        _core.Loader(["a\0b"], **SIZE)
    for wrong, text in (
        ({"height": 0}, "each must be 1 to 65536"),
        ({"channels": 2}, "channels=2 is not possible"),
        ({"threads": -1}, "threads is -1; allowed are 0"),
        ({"depth": 0}, "depth is 0; allowed are 1 to 64"),
        ({"fit": "zoom"}, "fit='zoom' is not known; allowed: 'stretch', 'crop', 'pad'"),
        ({"on_bad": "ignore"}, "on_bad='ignore' is not known; allowed: 'error', 'skip'"),
    ):
        with pytest.raises(ValueError, match=text):
            _core.Loader(files, **{**SIZE, **wrong})
    with pytest.raises(NotImplementedError, match="'lanczos' does not exist in pipeline 'keras'"):
        _core.Loader(files, **SIZE, interpolation="lanczos")
    loader = _core.Loader(files, **SIZE)
    with pytest.raises(RuntimeError, match="call start"):
        loader.next()
    for order, sizes, text in (
        ([24], [1], r"order\[0\] is 24; there are 24 files"),
        ([0, -1], [2], r"order\[1\] is -1"),
        ([0, 1], [1], "batch_sizes add up to 1, but order has 2 entries"),
        ([0, 1], [2, 0], r"batch_sizes\[1\] is 0"),
    ):
        with pytest.raises(ValueError, match=text):
            loader.start(order, sizes)
    with pytest.raises(TypeError, match="one-dimensional array of integers"):
        loader.start([0.5], [1])
    loader.close()
    loader.close()
    with pytest.raises(RuntimeError, match="closed"):
        loader.start([0], [1])


def test_names_as_bytes_and_unicode(tmp_path, rng):
    image = smooth_image(rng, 9, 9)
    paths = [os.fsencode(tmp_path) + name for name in (b"/\xff\xfe.png", b"/\xc3\xa9.png")]
    for path in paths:
        with open(path, "wb") as file:
            Image.fromarray(image).save(file, "PNG")
    names = [paths[0], os.fsdecode(paths[0]), os.fsdecode(paths[1]), Path(os.fsdecode(paths[1]))]
    with _core.Loader(names, height=9, width=9) as loader:
        loader.start(range(4), [4])
        np.testing.assert_array_equal(loader.next()[0], np.stack([image] * 4))
