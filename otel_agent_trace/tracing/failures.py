"""Exceptions and texts → `StepError`: type, message, category, and a stack trace that costs little."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.categories import OTHER, TIMEOUT, category_of_names, category_of_status_code
from otel_agent_trace.model import StepError
from otel_agent_trace.signals import is_of_signal_handler, traceback_of

ErrorRule = Callable[["BaseException | str"], "str | None"]
"""Gives the category of an exception or a text, or None where it has nothing to say."""

_TIMEOUTS: tuple[type[BaseException], ...] = (TimeoutError,)
if sys.version_info < (3, 11):  # before, asyncio has one of its own; it takes a fifth of what importing the SDK does
    from asyncio import TimeoutError as AsyncioTimeoutError

    _TIMEOUTS = (TimeoutError, AsyncioTimeoutError)
_FRAMES_OUTER, _FRAMES_INNER = 4, 24
_MESSAGE_CHARACTERS = 1 << 20


def step_error(error: object, rules: Iterable[ErrorRule]) -> StepError:
    """What is known of an error that was raised, or said."""
    if isinstance(error, StepError):
        return error
    if isinstance(error, BaseException):
        return StepError(
            type=error_type(error),
            message=_message(error),
            category=_by_rule(error, rules) or _category(error),
            stacktrace=stack_text(error),
        )
    text = error if isinstance(error, str) else str(error)
    return StepError(type=semconv.ERROR_TYPE_OTHER, message=text, category=_by_rule(text, rules) or OTHER)


def error_type(error: BaseException) -> str:
    """The ``error.type`` of the conventions: a provider's code, else the class, with its module unless it is built in."""
    code, status = _attribute(error, "code"), _attribute(error, "status_code")
    if type(code) is str and code and type(status) is int:
        return code
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def is_timeout(error: object) -> bool:
    """Whether it is Python's own timeout, or a group of nothing else, whatever else is said of it."""
    members = _members(error)
    return all(map(is_timeout, members)) if members else issubclass(type(error), _TIMEOUTS)


def _members(error: object) -> Sequence[BaseException]:
    """The exceptions of a group."""
    if not any(cls.__name__ == "BaseExceptionGroup" for cls in type(error).__mro__):
        return ()
    members = _attribute(error, "exceptions")
    return members if isinstance(members, tuple) else ()


def _category(error: BaseException) -> str:
    if is_timeout(error):
        return TIMEOUT
    categories = set(map(_category, _members(error)))
    if categories:
        return categories.pop() if len(categories) == 1 else OTHER
    status = _status_code(error)
    category = OTHER if status is None else category_of_status_code(status)
    return category if category != OTHER else category_of_names(cls.__name__ for cls in type(error).__mro__)


def _status_code(error: BaseException) -> int | None:
    """The HTTP status that an exception speaks of, where the clients at large keep it."""
    response = _attribute(error, "response")
    places = ((error, "status_code"), (response, "status_code"), (error, "status"), (error, "code"))
    found = (_attribute(holder, name) for holder, name in places)
    return next((status for status in found if type(status) is int), None)


def _attribute(holder: object, name: str) -> Any:
    try:
        return getattr(holder, name, None)
    except BaseException as failure:  # a property of the exception's own may raise anything
        if is_of_signal_handler(failure):
            raise
        return None


def _by_rule(error: BaseException | str, rules: Iterable[ErrorRule]) -> str | None:
    return next((str(category) for rule in rules if (category := rule(error)) is not None), None)


def _message(error: BaseException) -> str:
    try:
        text = str(error)
        return text if type(text) is str else str.__str__(text)
    except BaseException as failure:  # the exception's own __str__ may raise anything
        if is_of_signal_handler(failure):
            raise
        return f"<{type(error).__name__} whose str raised {type(failure).__name__}>"


def stack_text(error: BaseException) -> str:
    """The stack of an exception as Python prints it, from the call that we traced inwards.

    The middle of a deep stack is left out and said so. Written by hand since `traceback` costs a hundred microseconds;
    lines come from `linecache`, unchecked.
    """
    stack = list(_stack(traceback_of(error)))
    left_out = max(0, len(stack) - _FRAMES_OUTER - _FRAMES_INNER)
    frames = [_frame_text(frame) for frame in (stack[:_FRAMES_OUTER] + stack[-_FRAMES_INNER:] if left_out else stack)]
    if left_out:
        frames.insert(_FRAMES_OUTER, f"  ... {left_out} frames left out\n")
    message = _shortened(_message(error))
    last = f"{error_type(error)}: {message}" if message else error_type(error)
    return f"Traceback (most recent call last):\n{''.join(frames)}{last}\n"


def _shortened(message: str) -> str:
    """A message that is not copied with its 50 MB for a stack of which a few KB are kept."""
    if len(message) <= _MESSAGE_CHARACTERS:
        return message
    half = _MESSAGE_CHARACTERS // 2
    return f"{message[:half]} ... {len(message) - 2 * half} characters left out ... {message[-half:]}"


def _stack(traceback: TracebackType | None) -> Iterable[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _frame_text(traceback: TracebackType) -> str:
    code = traceback.tb_frame.f_code
    line = linecache.getline(code.co_filename, traceback.tb_lineno, traceback.tb_frame.f_globals).strip()
    where = f'  File "{code.co_filename}", line {traceback.tb_lineno}, in {code.co_name}\n'
    return f"{where}    {line}\n" if line else where
