"""Convert exceptions and texts to `StepError`: type, message, category, and a stack trace that is made fast."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.categories import OTHER, TIMEOUT, category_of_names, category_of_status_code
from otel_agent_trace.guard import attempt
from otel_agent_trace.model import StepError
from otel_agent_trace.signals import is_of_signal_handler, traceback_of

ErrorRule = Callable[["BaseException | str"], "str | None"]
"""Function that returns the category of an exception or a text, or None if it does not know it."""

_TIMEOUTS: tuple[type[BaseException], ...] = (TimeoutError,)
if sys.version_info < (3, 11):  # before, asyncio has one of its own; it takes a fifth of what importing the SDK does
    from asyncio import TimeoutError as AsyncioTimeoutError

    _TIMEOUTS = (TimeoutError, AsyncioTimeoutError)
_FRAMES_OUTER, _FRAMES_INNER = 4, 24
_BARE: frozenset[object] = frozenset({"builtins", None})
_BARE_IN_STACKS = _BARE | {"__main__"}
"""Modules that are no part of a name; Python leaves out ``__main__`` too where it prints a stack."""
_MESSAGE_CHARACTERS = 1 << 20


def step_error(error: object, rules: Iterable[ErrorRule]) -> StepError:
    """Return the facts of an error, an exception or a text."""
    if isinstance(error, StepError):
        return error
    if isinstance(error, BaseException):
        return StepError(
            type=error_type(error),
            message=error_message(error),
            category=_category_by_rule(error, rules) or _category_of(error),
            stacktrace=stack_text(error),
        )
    text = error if isinstance(error, str) else str(error)
    return StepError(type=semconv.ERROR_TYPE_OTHER, message=text, category=_category_by_rule(text, rules) or OTHER)


def error_type(error: BaseException) -> str:
    """Return the ``error.type`` of the conventions: a provider's code, else the class with its module, built-in ones bare.

    A class that was made at run time under a name with a number, as func_timeout makes one for each call, would be a new
    series of metrics each time: the first of its bases that is known by its name takes its place.
    """
    code, status = attribute_of(error, "code"), attribute_of(error, "status_code")
    if type(code) is str and code and type(status) is int:
        return code
    cls = next((cls for cls in type(error).__mro__ if not _is_numbered(cls)), type(error))
    return _class_name(cls, _BARE)


def _is_numbered(cls: type) -> bool:
    """Return whether a class has a number in its name, under which its module does not have it.

    Classes without a number, as botocore makes them from its models, have the same names in every process.
    """
    if not any(map(str.isdigit, cls.__qualname__)) or cls.__module__ not in sys.modules:
        return False
    found: Any = sys.modules[cls.__module__]
    for name in cls.__qualname__.partition(".<locals>")[0].split(
        "."
    ):  # what a function defines has a name in the source
        found = getattr(found, "__dict__", {}).get(name)
    return found is None


def _class_name(cls: type, bare: frozenset[object]) -> str:
    """Return the name of a class, nested ones with the outer one, after its module unless that is among `bare`."""
    return cls.__qualname__ if cls.__module__ in bare else f"{cls.__module__}.{cls.__qualname__}"


def is_timeout(error: object) -> bool:
    """Return whether an error is Python's timeout, or a group of such only."""
    members = group_members(error)
    return all(map(is_timeout, members)) if members else issubclass(type(error), _TIMEOUTS)


def group_members(error: object) -> Sequence[BaseException]:
    """Return the exceptions of an exception group, none for any other error."""
    if not any(cls.__name__ == "BaseExceptionGroup" for cls in type(error).__mro__):
        return ()
    members = attribute_of(error, "exceptions")
    return members if isinstance(members, tuple) else ()


def _category_of(error: BaseException) -> str:
    if is_timeout(error):
        return TIMEOUT
    categories = set(map(_category_of, group_members(error)))
    if categories:
        return categories.pop() if len(categories) == 1 else OTHER
    status = _status_code(error)
    category = OTHER if status is None else category_of_status_code(status)
    return category if category != OTHER else category_of_names(cls.__name__ for cls in type(error).__mro__)


def _status_code(error: BaseException) -> int | None:
    """Return the HTTP status code of an exception, from the attributes in which common clients keep it."""
    response = attribute_of(error, "response")
    places = ((error, "status_code"), (response, "status_code"), (error, "status"), (error, "code"))
    found = (attribute_of(holder, name) for holder, name in places)
    return next((status for status in found if type(status) is int), None)


def attribute_of(holder: object, name: str) -> Any:
    """Return an attribute, None if there is none or a property raises."""
    return attempt(getattr, holder, name, None)


def _category_by_rule(error: BaseException | str, rules: Iterable[ErrorRule]) -> str | None:
    return next((str(category) for rule in rules if (category := rule(error)) is not None), None)


def error_message(error: BaseException) -> str:
    """Return the text of an exception, or which exception its ``__str__`` raised."""
    try:
        text = str(error)
        return text if type(text) is str else str.__str__(text)
    except BaseException as failure:  # the exception's own __str__ may raise anything
        if is_of_signal_handler(failure):
            raise
        return f"<{type(error).__name__} whose str raised {type(failure).__name__}>"


def stack_text(error: BaseException) -> str:
    """Return the stack trace of an exception as Python prints it, from the traced call inwards.

    Frames in the middle of a deep stack are omitted, which is noted. The text is not made by `traceback`, which takes
    100 µs; source lines are those in `linecache`, without a check whether the file has changed.
    """
    stack = list(_stack(traceback_of(error)))
    left_out = max(0, len(stack) - _FRAMES_OUTER - _FRAMES_INNER)
    frames = [_frame_text(frame) for frame in (stack[:_FRAMES_OUTER] + stack[-_FRAMES_INNER:] if left_out else stack)]
    if left_out:
        frames.insert(_FRAMES_OUTER, f"  ... {left_out} frames left out\n")
    message = _shortened(error_message(error))
    name = _class_name(type(error), _BARE_IN_STACKS)
    last = f"{name}: {message}" if message else name
    return f"Traceback (most recent call last):\n{''.join(frames)}{last}\n"


def _shortened(message: str) -> str:
    """Return a message of at most about 1 MiB, since only a few KB of a stack trace are kept."""
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
    number: int | None = traceback.tb_lineno  # None of an instruction without a line, as Python has them from 3.11 on
    line = "" if number is None else linecache.getline(code.co_filename, number, traceback.tb_frame.f_globals).strip()
    where = f'  File "{code.co_filename}", line {"?" if number is None else number}, in {code.co_name}\n'
    return f"{where}    {line}\n" if line else where
