"""Signal handlers: Python runs them, and raises what they raise, in whatever code the main thread is in just then."""

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
_UNINTERRUPTED_S = 0.1
_TRACEBACK: Any = vars(BaseException)["__traceback__"]
_RAISE = opcode.opmap["RAISE_VARARGS"]


def is_of_signal_handler(error: BaseException) -> bool:
    """Whether an exception is the host's, raised by a signal handler in the midst of other code, and has to reach it.

    A handler in Python stands in the traceback. Python's own for Ctrl-C leaves no trace of itself, but no ``raise``
    statement either. What a handler in C raises cannot be told apart from what the code itself did; it goes through.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return False
    handlers = [handler for handler in map(signal.getsignal, signal.valid_signals()) if callable(handler)]
    codes = [_code_of(handler) for handler in handlers if handler is not signal.default_int_handler]
    if any(entry.tb_frame.f_code in codes for entry in _entries(error)):
        return True
    if issubclass(type(error), KeyboardInterrupt):
        return not _was_raised_by_a_statement(error)
    return issubclass(type(error), SystemExit) and None in codes


def traceback_of(error: BaseException) -> TracebackType | None:
    """Python's own traceback of an exception, also where its class has something else under that name."""
    traceback: TracebackType | None = _TRACEBACK.__get__(error)
    return traceback


class OneShotResult(Generic[T]):
    """What another thread tells, once; it may be waited for in a signal handler, and while one runs.

    A lock, and no `queue.SimpleQueue`: a signal handler that runs until after the time of its `get(timeout)` makes it
    wait for ever. One wait is many short ones: a signal that another thread receives, or that arrives just before a
    wait, does not interrupt it, and its handler runs only when the wait is over.
    """

    def __init__(self) -> None:
        self._value: T | None = None
        self._untold = _thread.allocate_lock()
        self._untold.acquire()

    def tell(self, value: T) -> None:
        """Give the answer."""
        self._value = value
        self._untold.release()

    @property
    def is_told(self) -> bool:
        """Whether it is there, and nobody has taken it yet."""
        return not self._untold.locked()

    def within(self, timeout_s: float) -> T | None:
        """The answer; None if there is none in that time."""
        until = time.monotonic() + timeout_s
        while True:
            left_s = until - time.monotonic()
            if self._untold.acquire(timeout=max(0.0, min(left_s, _UNINTERRUPTED_S))):
                return self._value
            if not left_s > _UNINTERRUPTED_S:
                return None


def _code_of(handler: Any) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    code = getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _was_raised_by_a_statement(error: BaseException) -> bool:
    *_, innermost = (None, *_entries(error))
    return innermost is not None and innermost.tb_frame.f_code.co_code[innermost.tb_lasti] == _RAISE


def _entries(error: BaseException) -> Iterator[TracebackType]:
    traceback = traceback_of(error)
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next
