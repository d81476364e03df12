"""Take exceptions apart: what an equal one can be built from, without running code of their classes.

Requests that exceptions of HTTP clients refer to are left out, since their headers and URLs hold keys; of the responses
of `httpx`, only status, headers and text are kept.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from itertools import islice
from typing import Any

from otel_agent_trace.guard import attempt
from otel_agent_trace.model import RecordedException
from otel_agent_trace.tracing.failures import group_members
from otel_agent_trace.values import Opaque
from otel_agent_trace.values.classes import type_name
from otel_agent_trace.values.members import classes_of, members_of

_DEPTH = 3
_MOST = 32
_STORED: Any = vars(BaseException)["__dict__"]
_ARGS: Any = vars(BaseException)["args"]
_CAUSE: Any = vars(BaseException)["__cause__"]
_BUILT_IN = "builtins"
_NOT_KEPT = frozenset({"obj", "exceptions", "message", "_exceptions", "_message"})
"""Members of built-in classes that are recorded elsewhere, or refer to any object of the program."""
_REQUESTS = ("Request", "RequestInfo")
_HTTP_CLIENTS = ("httpx", "httpx2")


def recorded_exception(error: BaseException, depth: int = _DEPTH) -> RecordedException:
    """Return an exception as it is recorded, with the values that it refers to."""
    classes = _recorded_classes(type(error))
    members = group_members(error)
    args: tuple[Any, ...] = _ARGS.__get__(error)
    stored: dict[str, Any] = _STORED.__get__(error)
    cause = _CAUSE.__get__(error)
    is_validation = (type(error).__module__, type(error).__name__) == (
        "pydantic_core._pydantic_core",
        "ValidationError",
    )
    return RecordedException(
        classes=tuple(map(type_name, classes)),
        args=args[:1] if members else args,
        attributes=_validation_errors(error) if is_validation else _attributes(error, classes, args, stored),
        notes=_notes(stored.get("__notes__")) if stored else (),
        cause=None if cause is None or not depth else recorded_exception(cause, depth - 1),
        members=tuple([recorded_exception(member, depth - 1) for member in members[:_MOST]]) if depth else (),
    )


def _recorded_classes(cls: type) -> list[type]:
    """Return a class and its bases, up to the first built-in one."""
    found = []
    for base in classes_of(cls):
        found.append(base)
        if base.__module__ == _BUILT_IN:
            break
    return found


def _notes(notes: Any) -> tuple[str, ...]:
    return tuple([note for note in notes[:_MOST] if type(note) is str]) if type(notes) is list else ()


def _attributes(
    error: BaseException, classes: list[type], args: tuple[Any, ...], stored: dict[str, Any]
) -> dict[str, Any]:
    """Return the attributes of an exception: those of the instance, of slots, and what is not among its arguments."""
    names = _names_of_built_in(classes[-1])
    if not stored and not names and len(classes) == 1:
        return {}
    found = dict(_slots(error, classes[:-1]))
    for name in names:
        value = getattr(classes[-1], name).__get__(error)
        if value is not None and all(value is not arg for arg in args):
            found[name] = value
    found.update(stored)
    kept = ((name, value) for name, value in found.items() if not _is_left_out(name, value))
    return {name: _response(value) if _is_response(type(value)) else value for name, value in islice(kept, _MOST)}


@functools.cache
def _names_of_built_in(cls: type) -> tuple[str, ...]:
    """Return the names of the members of a built-in exception class and of its bases, as the file name of an OSError."""
    return tuple(
        name
        for base in classes_of(cls)
        for name, member in members_of(base).items()
        if type(member) is types.MemberDescriptorType and name not in _NOT_KEPT and not name.startswith("__")
    )


def _slots(error: BaseException, classes: list[type]) -> Iterator[tuple[str, Any]]:
    """Yield the slots of an exception that have values."""
    for base in classes:
        for name, member in members_of(base).items():
            if type(member) is types.MemberDescriptorType:
                try:
                    yield name, member.__get__(error)
                except AttributeError:  # it was not set
                    continue


def _is_left_out(name: str, value: Any) -> bool:
    kind = type(value).__name__
    is_request = name.strip("_") in ("request", "request_info") or kind.endswith(_REQUESTS)
    return is_request or (name.startswith("__") and name.endswith("__"))


def _is_response(cls: type) -> bool:
    return cls.__name__ == "Response" and cls.__module__.partition(".")[0] in _HTTP_CLIENTS


def _response(response: Any) -> Opaque:
    """Return what is kept of a response; one that was not read has no text."""
    text = attempt(lambda: response.text)
    fields = {"status_code": response.status_code, "headers": dict(response.headers), "text": text}
    return Opaque(type_name(type(response)), fields)


def _validation_errors(error: Any) -> dict[str, Any]:
    """Return what pydantic makes a `ValidationError` from: its title, and its errors, with texts of exceptions."""
    errors = [
        {**item, "ctx": {name: _text_of_exception(value) for name, value in item["ctx"].items()}}
        if "ctx" in item
        else item
        for item in error.errors(include_url=False)[:_MOST]
    ]
    return {"title": error.title, "errors": errors}


def _text_of_exception(value: Any) -> Any:
    return str(value) if isinstance(value, BaseException) else value
