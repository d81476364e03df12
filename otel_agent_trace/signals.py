"""Handle exceptions of signal handlers and of other threads, which Python raises in whatever code runs at that moment.

A handler runs in the main thread. Another thread raises by ``PyThreadState_SetAsyncExc``, as the time limits of dramatiq and
func_timeout do.
"""

from __future__ import annotations

import _thread
import functools
import inspect
import opcode
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_MAX_WAIT_S = 0.1
_TRACEBACK: Any = vars(BaseException)["__traceback__"]
_ONLY_FROM_OUTSIDE = ("RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE")
"""Instructions that raise nothing themselves; at the start of a function and of each round of a loop, Python raises
exceptions of other threads. The other instructions where it does so are calls and conditional jumps."""
_BARE_IN_C = (StopIteration, StopAsyncIteration, GeneratorExit, SystemExit, MemoryError)
"""Exceptions that functions in C raise without arguments."""
_GENERATORS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_LIBRARIES = frozenset({__name__.partition(".")[0], "opentelemetry", *sys.stdlib_module_names})
"""Packages whose code calls none of these functions, or handles what they raise: only memory may be short anywhere."""


def is_of_signal_handler(error: BaseException) -> bool:
    """Return whether a signal handler or another thread raised an exception, so that it has to reach the host.

    A handler in Python is recognised by its frame in the traceback. Python's own handler of Ctrl-C has no frame; its
    exception is recognised by the lack of a ``raise`` statement. If there is a handler without Python code, as one in C,
    its `SystemExit` cannot be distinguished from that of the code itself, and True is returned for either.
    """
    if _is_of_another_thread(error):
        return True
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


def _is_of_another_thread(error: BaseException) -> bool:
    """Return whether another thread raised an exception here: between two instructions, without a ``raise`` statement.

    Python makes it by calling its class without arguments. At a call it cannot be distinguished from a bare exception of a
    function in C; those that such functions are known to raise are not regarded as of another thread there, unless only
    code runs that calls no such function: neither a value, a policy nor a backend of the program.
    """
    name = _raising_instruction(error)
    if name in _ONLY_FROM_OUTSIDE:
        return True
    if not ("CALL" in name or name.startswith("POP_JUMP")) or not _is_made_without_arguments(error):
        return False
    if type(error) in _BARE_IN_C:
        return type(error) is not MemoryError and all(map(_is_of_a_library, _traceback_entries(error)))
    return True


def _is_of_a_library(entry: TracebackType) -> bool:
    module = str(entry.tb_frame.f_globals.get("__name__"))
    return module.partition(".")[0] in _LIBRARIES or module.startswith("namedtuple_")  # whose constructor calls `tuple`


def _is_made_without_arguments(error: BaseException) -> bool:
    try:
        return type(error)().args == error.args
    except Exception:  # noqa: BLE001 - its class needs arguments, so that no other thread can raise it
        return False


def _was_raised_by_a_statement(error: BaseException) -> bool:
    return _raising_instruction(error) == "RAISE_VARARGS"


def _raising_instruction(error: BaseException) -> str:
    """Return the name of the instruction that raised an exception; an empty text if it has no traceback."""
    *_, innermost = (None, *_traceback_entries(error))
    if innermost is None:
        return ""
    code = innermost.tb_frame.f_code
    if innermost.tb_lasti >= 0:
        return opcode.opname[code.co_code[innermost.tb_lasti]]
    # Before the first instruction, in Python 3.10; unless it was thrown into a generator that has not begun.
    return "" if code.co_flags & _GENERATORS else "RESUME"


def _traceback_entries(error: BaseException) -> Iterator[TracebackType]:
    traceback = traceback_of(error)
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next
