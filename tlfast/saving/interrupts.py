"""Ctrl-C while h5py works: h5py's callbacks swallow the exception of a signal handler.

So the handler waits until h5py is left, or until `check()` is called between two arrays.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

_waiting: list[tuple[int, Any]] = []
_handlers: list[Any] = []


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Hold back SIGINT inside the block; its handler runs in `check()`, or after the block."""
    handler = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or not callable(handler) or _handlers:
        yield
        return
    _handlers.append(handler)
    signal.signal(signal.SIGINT, lambda number, frame: _waiting.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        _handlers.clear()
        late = _waiting[:1]
        _waiting.clear()
        if late:
            handler(*late[0])


def check() -> None:
    """Run the handler of a SIGINT that waits; between two arrays, where nothing of h5py runs."""
    if _waiting and _handlers and threading.current_thread() is threading.main_thread():
        number, frame = _waiting.pop()
        _waiting.clear()
        _handlers[0](number, frame)
