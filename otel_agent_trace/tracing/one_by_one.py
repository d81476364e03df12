"""Calls into code whose locks are its own, such as the SDK's instruments."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable


class SerialExecutor:
    """Makes calls one at a time, and none while the process forks.

    The locks of what is called are then free in a forked child, as far as these calls took them. A call that comes from
    within another one, as a finalizer's or a signal handler's may, is made after that one: it would wait for itself.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._calling = False
        if hasattr(os, "register_at_fork"):
            reference = weakref.ref(self)
            os.register_at_fork(
                before=lambda: _with(reference, SerialExecutor._hold),
                after_in_parent=lambda: _with(reference, SerialExecutor._go_on),
                after_in_child=lambda: _with(reference, SerialExecutor._begin_anew),
            )

    def make(self, call: Callable[[], None]) -> None:
        """Make a call, and those that wait.

        Raises:
            Exception: what a call raises; those behind it are made next time.
        """
        self._waiting.append(call)
        with self._lock:
            if self._calling:
                return
            self._calling = True
            try:
                while self._waiting:
                    self._waiting.popleft()()
            finally:
                self._calling = False

    def _hold(self) -> None:
        self._lock.acquire()

    def _go_on(self) -> None:
        self._lock.release()

    def _begin_anew(self) -> None:
        self._waiting.clear()  # the parent makes them
        self._lock.release()


def _with(reference: weakref.ref[SerialExecutor], do: Callable[[SerialExecutor], None]) -> None:
    calls = reference()
    if calls is not None:
        do(calls)
