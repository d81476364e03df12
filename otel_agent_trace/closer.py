"""Call functions off the garbage collector, which runs in the host's threads, whatever locks they hold."""

from __future__ import annotations

import _thread
import atexit
import queue
import sys
import time
from collections.abc import Callable

from otel_agent_trace.forks import renewed_in_children
from otel_agent_trace.guard import Diagnostics, shielded

_EXIT_TIMEOUT_S = 10.0
_COLLECTION_S = 0.001
"""Time for the interrupted thread to go on dropping what `is_shared` would otherwise count."""


class Closer:
    """Call functions one after the other in a thread, which ends when none is left; a forked child begins without any."""

    def __init__(self) -> None:
        self._diagnostics = Diagnostics()
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Forget what the parent process is going to call, in a forked child."""
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()  # its `put` is safe in `__del__`
        self._is_at_work = _thread.allocate_lock()

    def call_soon(self, call: Callable[[], object]) -> None:
        """Call a function in the thread; never waits, so that `__del__` may use it."""
        self._calls.put(call)
        self._start()

    def wait(self, timeout_s: float) -> bool:
        """Return whether all functions have been called within `timeout_s` seconds."""
        self._start()
        if not self._is_at_work.acquire(timeout=timeout_s):
            return False
        self._is_at_work.release()
        return self._calls.empty()

    def _start(self) -> None:
        """Start the thread unless it runs; not by `threading`, whose locks the interrupted code may hold."""
        if self._calls.empty() or not self._is_at_work.acquire(blocking=False):
            return
        try:
            _thread.start_new_thread(self._work, (self._calls, self._is_at_work))
        except RuntimeError:  # no further thread can be started, as at the end of the interpreter
            self._is_at_work.release()

    def _work(self, calls: queue.SimpleQueue[Callable[[], object]], is_at_work: _thread.LockType) -> None:
        time.sleep(_COLLECTION_S)
        while True:
            try:
                call = calls.get_nowait()
            except queue.Empty:
                break
            shielded(self._diagnostics, "closing what the program dropped", call)
            del call  # the thread may end much later
        is_at_work.release()
        if not calls.empty():  # added after the last look
            self._start()


CLOSER = Closer()
atexit.register(CLOSER.wait, _EXIT_TIMEOUT_S)


def is_shared(thing: object, references: int) -> bool:
    """Return whether something else refers to an object than the `references` that the caller knows of."""
    return _references(thing) - _OF_THE_CALLS > references


def _references(thing: object) -> int:
    return sys.getrefcount(thing)


def _references_of_the_calls() -> int:
    """Return how many references the calls themselves add; before Python 3.11, a caller keeps its own of each argument."""

    def passed_on(thing: object) -> int:
        return _references(thing)

    held_once = object()
    return passed_on(held_once) - 1


_OF_THE_CALLS = _references_of_the_calls()
