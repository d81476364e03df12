"""Build exceptions like those that were recorded, without calling their classes.

Classes are found among those that the program has loaded. An instance is made by the nearest built-in base, since the
constructor of a class may require other arguments than those in ``args``; then it is given its attributes.
"""

from __future__ import annotations

import ast
import copy
import functools
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.guard import attempt
from otel_agent_trace.model import RecordedException, StepError
from otel_agent_trace.replay.validation_errors import validation_error
from otel_agent_trace.values import Opaque
from otel_agent_trace.values.classes import type_name
from otel_agent_trace.values.members import class_dicts, classes_of

Rebuild = Callable[[Any], Any]
"""Function that returns a fresh copy of a recorded value, and may raise what it cannot give back."""

_MESSAGE = "__recorded_message__"
_STORED: Any = vars(BaseException)["__dict__"]
_OF_PYTHON = ("builtins", "exceptiongroup")
_OF_GROUPS = ("_exceptions", "_message")
"""Attributes in which the package exceptiongroup keeps what a group is made of, before Python 3.11."""
_RESPONSES = ("httpx.Response", "httpx2.Response")
_OF_TRANSFER = ("content-encoding", "content-length", "transfer-encoding")
"""Headers that describe how the text was sent."""


def exception_from(error: StepError, rebuild: Rebuild = copy.deepcopy) -> BaseException:
    """Return a new exception like that of a step which failed: of its class, with its arguments and attributes.

    If the program has not loaded that class, it is of a subclass of the first of its bases that is known, with its name.
    If only type and message are known, as of other tracers, it has the message as its argument.

    Args:
        error: the recorded error.
        rebuild: returns a fresh copy of each recorded argument and attribute.

    Raises:
        Exception: what `rebuild` raises.
    """
    recorded = error.exception
    if recorded is None or not recorded.classes:
        return _from_message(error)
    built = _built(recorded, rebuild)
    if _MESSAGE in vars(type(built)) or attempt(str, built) is None:  # it has the text of its class, or none
        return _with_message(built, error.message)
    return built


# ── by what was recorded ─────────────────────────────────────────────────────────────────────────────────────────────


def _built(recorded: RecordedException, rebuild: Rebuild) -> BaseException:
    members = [_built(member, rebuild) for member in recorded.members]
    error = validation_error(recorded, rebuild)
    if error is None:
        cls = _class_of(recorded.classes)
        args = [rebuild(value) for value in recorded.args]
        error = _instance(cls, [*args[:1], members] if members else args)
        attributes = recorded.attributes.items()
        for name, value in ((name, value) for name, value in attributes if not members or name not in _OF_GROUPS):
            _set(error, str(name), _response(value) or rebuild(value))
    if recorded.notes:
        _set(error, "__notes__", list(recorded.notes))
    if recorded.cause is not None:
        error.__cause__ = _built(recorded.cause, rebuild)
    return error


def _instance(cls: type[BaseException], args: Sequence[Any]) -> BaseException:
    """Return an instance that the nearest class of Python has made, not initialised if it does not accept `args`."""
    maker: Any = next(base for base in classes_of(cls) if base.__module__ in _OF_PYTHON)
    try:
        error: BaseException = maker.__new__(cls, *args)
    except (TypeError, ValueError):  # a group whose members were not recorded
        return _instance(_made(type_name(cls), Exception), args)
    try:
        maker.__init__(error, *args)
    except (TypeError, ValueError):
        error.args = tuple(args)
    return error


def _set(error: BaseException, name: str, value: Any) -> None:
    """Set an attribute as it is stored, in a slot or the dictionary, without calling properties."""
    member = next((members[name] for members in class_dicts(type(error)) if name in members), None)
    if type(member) is types.MemberDescriptorType:
        member.__set__(error, value)
    else:
        _STORED.__get__(error)[name] = value


def _response(value: Any) -> Any:
    """Return the response of an HTTP client that a value describes, if that client is loaded; else None."""
    if type(value) is not Opaque or value.type_name not in _RESPONSES:
        return None
    module = sys.modules.get(value.type_name.partition(".")[0])
    return None if module is None else attempt(_response_of, vars(module)["Response"], value.data)


def _response_of(cls: Any, fields: dict[str, Any]) -> Any:
    status, text = fields["status_code"], fields["text"] or ""
    headers = {name: item for name, item in fields["headers"].items() if name not in _OF_TRANSFER}
    charset = cls(status, headers=headers).charset_encoding or "utf-8"
    return cls(status, headers=headers, content=text.encode(charset, "replace"))


# ── by type and message ──────────────────────────────────────────────────────────────────────────────────────────────


def _from_message(error: StepError) -> BaseException:
    """Return an exception of a class that has the name of the error's type, and its message as text."""
    if error.type == semconv.ERROR_TYPE_OTHER:
        return Exception(error.message)
    cls = class_named(error.type) or _made(error.type, Exception)
    built = _instance(cls, _arguments_of(cls, error.message))
    return built if attempt(str, built) == error.message else _with_message(built, error.message)


def _arguments_of(cls: type[BaseException], message: str) -> list[Any]:
    """Return the arguments that give an exception of a class its message, which is their `repr` in some cases."""
    if not message:
        return []
    if issubclass(cls, KeyError | SystemExit):
        try:
            return [ast.literal_eval(message)]
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            pass
    return [message]


def _with_message(error: BaseException, message: str) -> BaseException:
    """Return an exception as one of a class of the same name whose text is a message."""
    if _MESSAGE not in vars(type(error)):
        other = _instance(_made(type_name(type(error)), type(error)), error.args)
        _STORED.__get__(other).update(_STORED.__get__(error))
        other.__cause__ = error.__cause__
        error = other
    _set(error, _MESSAGE, message)
    return error


# ── classes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def class_named(name: str) -> type[BaseException] | None:
    """Return the class of exceptions with a recorded name; None if the program has loaded none.

    Classes that functions define, and those of the main module under its real name, are found below `BaseException`.
    """
    return _class_in_modules(name) or _newest(cls for cls in _loaded_classes() if _is_named(cls, name))


def _class_of(names: Iterable[str]) -> type[BaseException]:
    first, *others = names
    known = class_named(first)
    if known is not None:
        return known
    return _made(first, next(filter(None, map(class_named, others)), Exception))


def _class_in_modules(name: str) -> type[BaseException] | None:
    parts = name.split(".") if "." in name else ["builtins", name]
    for end in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:end]))
        for part in parts[end:]:
            found = getattr(found, "__dict__", {}).get(part)
        if issubclass(type(found), type) and issubclass(found, BaseException):
            return found  # type: ignore[no-any-return]
    return None


def _loaded_classes() -> Iterator[type[BaseException]]:
    """Yield all classes of exceptions, bases before subclasses, but for those that are made here."""
    waiting: list[type[BaseException]] = [BaseException]
    for cls in waiting:
        yield cls
        waiting.extend(below for below in type.__subclasses__(cls) if _MESSAGE not in vars(below))


def _is_named(cls: type, name: str) -> bool:
    return name.endswith(cls.__qualname__) and type_name(cls) == name


def _newest(classes: Iterable[type[BaseException]]) -> type[BaseException] | None:
    return next(iter([*classes][::-1]), None)


def _new_class(name: str, base: type) -> type[BaseException]:
    """Return a new class with a name, whose text is the message that was recorded."""
    module, _, own = name.rpartition(".")
    members = {"__module__": module or "builtins", "__qualname__": own, "__str__": _message_of, _MESSAGE: ""}
    return type(own, (base,), members)


_made: Callable[[str, type], type[BaseException]] = functools.lru_cache(maxsize=1024)(_new_class)
"""Return the same class for the same name and base."""


def _message_of(error: BaseException) -> str:
    return str(getattr(error, _MESSAGE))
