"""Look at what waits from time to time, also while the program does nothing."""

from __future__ import annotations

import _thread
import time
import weakref
from collections.abc import Callable

from otel_agent_trace.forks import renewed_in_children
from otel_agent_trace.guard import Diagnostics, shielded

_LOOK_S = 1.0


class Watch:
    """Call a method about once a second in a thread, for as long as it returns True and its object lives.

    A forked child begins without the thread.

    Args:
        look: the method; the object is referred to weakly.
        diagnostics: counts and logs its failures.
    """

    def __init__(self, look: Callable[[], bool], diagnostics: Diagnostics) -> None:
        self._look, self._diagnostics = weakref.WeakMethod(look), diagnostics
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Begin without the thread, in a forked child."""
        self._is_at_work = _thread.allocate_lock()

    def begin(self) -> None:
        """Start the thread, unless it runs."""
        if not self._is_at_work.acquire(blocking=False):
            return
        try:
            # Not `threading.Thread`, whose start() never returns in a signal handler that has interrupted another
            # start().
            _thread.start_new_thread(_watch, (weakref.ref(self), self._is_at_work))
        except RuntimeError:  # no further thread can be started, as at the end of the interpreter
            self._is_at_work.release()

    def look(self) -> bool:
        """Call the method, and return whether there is something to wait for."""
        look = self._look()
        return look is not None and bool(shielded(self._diagnostics, "gate", look))


def _watch(watch: weakref.ref[Watch], is_at_work: _thread.LockType) -> None:
    while True:
        time.sleep(_LOOK_S)
        found = watch()
        if found is None or not found.look():
            break
        del found
    is_at_work.release()
    if found is not None and found.look():  # since the last look
        found.begin()
