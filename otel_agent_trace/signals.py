"""Handle exceptions of signal handlers, which Python runs in whatever code the main thread executes at that moment."""

from __future__ import annotations

import _thread
import functools
import opcode
import signal
import threading
import time
from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_MAX_WAIT_S = 0.1
_TRACEBACK: Any = vars(BaseException)["__traceback__"]
_RAISE = opcode.opmap["RAISE_VARARGS"]


def is_of_signal_handler(error: BaseException) -> bool:
    """Return whether a signal handler raised an exception, so that it has to reach the host.

    A handler in Python is recognised by its frame in the traceback. Python's own handler of Ctrl-C has no frame; its
    exception is recognised by the lack of a ``raise`` statement. If there is a handler without Python code, as one in C,
    its `SystemExit` cannot be distinguished from that of the code itself, and True is returned for either.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return False
    handlers = [handler for handler in map(signal.getsignal, signal.valid_signals()) if callable(handler)]
    codes = [_code_of(handler) for handler in handlers if handler is not signal.default_int_handler]
    if any(entry.tb_frame.f_code in codes for entry in _traceback_entries(error)):
        return True
    if issubclass(type(error), KeyboardInterrupt):
        return not _was_raised_by_a_statement(error)
    return issubclass(type(error), SystemExit) and None in codes


def traceback_of(error: BaseException) -> TracebackType | None:
    """Return the traceback that Python keeps of an exception, even if its class redefines ``__traceback__``."""
    traceback: TracebackType | None = _TRACEBACK.__get__(error)
    return traceback


class OneShotResult(Generic[T]):
    """Pass one result from another thread to the one that waits for it, which may be running a signal handler.

    It uses a lock rather than a `queue.SimpleQueue`, whose `get(timeout)` waits for ever if a signal handler runs until
    after its timeout. It waits in many short steps: a signal that another thread receives, or that arrives just before
    a wait, does not interrupt the wait, and its handler runs only afterwards.
    """

    def __init__(self) -> None:
        self._value: T | None = None
        self._unset = _thread.allocate_lock()
        self._unset.acquire()

    def set(self, value: T) -> None:
        """Set the result, once."""
        self._value = value
        self._unset.release()

    @property
    def is_set(self) -> bool:
        """Return whether the result is set, and no `wait` has returned it yet."""
        return not self._unset.locked()

    def wait(self, timeout_s: float) -> T | None:
        """Return the result as soon as it is set, or None if that takes longer than `timeout_s` seconds."""
        until = time.monotonic() + timeout_s
        while True:
            left_s = until - time.monotonic()
            if self._unset.acquire(timeout=max(0.0, min(left_s, _MAX_WAIT_S))):
                return self._value
            if not left_s > _MAX_WAIT_S:
                return None


def _code_of(handler: Any) -> CodeType | None:
    """Return the code of a signal handler in Python, or None."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    code = getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _was_raised_by_a_statement(error: BaseException) -> bool:
    *_, innermost = (None, *_traceback_entries(error))
    return innermost is not None and innermost.tb_frame.f_code.co_code[innermost.tb_lasti] == _RAISE


def _traceback_entries(error: BaseException) -> Iterator[TracebackType]:
    traceback = traceback_of(error)
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next
