"""Send what waits when SIGTERM ends the program, if it has no handler of its own."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from types import FrameType

from otel_agent_trace import endings
from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.signals import OneShotResult

_TIMEOUT_S = 5.0
_NO_EFFECT = "flush_on_sigterm=True has no effect: %s"
_DIAGNOSTICS = Diagnostics()


class _FlushOnSigterm:
    """Send what waits, and end the process by the signal, as it would have ended without a handler."""

    def __init__(self) -> None:
        self._ending: int | None = None
        """Process that is ending; a forked child begins anew."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._ending == os.getpid():  # a second signal during the first
            return
        self._ending = os.getpid()
        try:
            _shut_down_elsewhere().wait(_TIMEOUT_S)
        finally:  # also after Ctrl-C
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            os._exit(128 + number)  # process 1 of a container, for which Linux ignores the signal


def _shut_down_elsewhere() -> OneShotResult[bool]:
    """Shut down everything in a thread, since the handler may have interrupted code that holds a lock.

    The thread is not one of `threading`, whose locks may be among them.
    """
    done: OneShotResult[bool] = OneShotResult()

    def shut_down() -> None:
        try:
            endings.shut_down_all()
        finally:
            done.set(True)

    try:
        _thread.start_new_thread(shut_down, ())
    except RuntimeError:  # no thread can be started
        done.set(False)
    return done


_HANDLER = _FlushOnSigterm()


def flush_on_sigterm() -> None:
    """Install the handler if SIGTERM has its default action; otherwise, or outside of the main thread, log one warning.

    A program may call `configure` several times, and be ended by the handler of the first call.
    A handler that the program sets later replaces it. Windows delivers no SIGTERM, so that nothing is done there.
    """
    if sys.platform == "win32":
        return
    if threading.current_thread() is not threading.main_thread():
        _warn_once("signal handlers can be set in the main thread only")
        return
    given = signal.getsignal(signal.SIGTERM)
    if _is_ours(given):
        return
    if given is not signal.SIG_DFL:
        _warn_once("the program handles SIGTERM itself; call tracer.flush() there")
        return
    try:
        signal.signal(signal.SIGTERM, _HANDLER)
    except ValueError as error:  # in a subinterpreter
        _warn_once(str(error))


def _is_ours(handler: object) -> bool:
    """Return whether a handler is ours, also that of a former import of this module, as `importlib.reload` leaves it."""
    return (type(handler).__module__, type(handler).__name__) == (__name__, _FlushOnSigterm.__name__)


def _warn_once(reason: str) -> None:
    _DIAGNOSTICS.warn_once(reason, _NO_EFFECT, reason)
