"""Ctrl-C and SIGTERM while h5py works: its callbacks swallow the exception of a signal handler.

So the handler waits until h5py is left, or until `check()` is called between two arrays.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_waiting: list[tuple[int, Any]] = []
_handlers: dict[int, Any] = {}


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Hold back Python's handlers of SIGINT and SIGTERM inside the block.

    They run in `check()`, or after the block.
    """
    found: dict[int, Any] = {
        number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))
    }
    main = threading.current_thread() is threading.main_thread()
    if not main or not found or _handlers:
        yield
        return
    _handlers.update(found)
    for number in found:
        signal.signal(number, lambda number, frame: _waiting.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
        _handlers.clear()
        late = _waiting[:1]
        _waiting.clear()
        for caught, frame in late:
            found[caught](caught, frame)


def check() -> None:
    """Run the handler of a signal that waits; between two arrays, where nothing of h5py runs."""
    if _waiting and _handlers and threading.current_thread() is threading.main_thread():
        number, frame = _waiting.pop()
        _waiting.clear()
        _handlers[number](number, frame)
