"""Apply a function of the program's own to each value that a person may have written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.policies.content_names import Content, content_of
from otel_agent_trace.policies.rewriting import Attributes, Rewriter, container_in
from otel_agent_trace.span import LogRecord, SpanRecord

R = TypeVar("R", SpanRecord, LogRecord)

Mask = Callable[[Any, str], Any]
"""Function `(value, where) -> value`.

The value is a text, or a whole container where an attribute holds JSON; `where` is the name of the attribute, or
``span.name``, ``status``, ``event.name`` or ``body``. What it returns is stored in place of the value.
"""
_DROPPED = object()
_NAMES = {"name": "span.name", "event": "event.name"}
_COROUTINE = 0x80  # inspect.CO_COROUTINE; `inspect` is slow to import


def is_asynchronous(mask: object) -> bool:
    """Return whether a function, or an object that is called, returns a coroutine, for which no span can wait."""
    functions = (mask, vars(type(mask)).get("__call__"))
    codes = (getattr(function, "__code__", None) for function in functions)
    return any(getattr(code, "co_flags", 0) & _COROUTINE for code in codes)


class MaskPolicy:
    """Call a function of the program's own with each value, and drop those for which it raises.

    Names, ids, counts and the like are not passed to it, unless they are texts of another instrumentation or of the
    program.

    Args:
        mask: the function.
    """

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self.diagnostics = Diagnostics()
        """Diagnostics that count its failures; those of the pipeline once it is in one."""

    def __call__(self, record: R) -> R:
        """Return a span or log record with what the function returns in place of each value."""
        is_ours = record.scope.name == semconv.SCOPE_NAME
        return _Masking(self._masked, names_are_content=not is_ours)(record)

    def _masked(self, value: Any, where: str) -> Any:
        """Return what the function returns, `_DROPPED` if it raises, or returns what has no JSON."""
        result = guarded(self.diagnostics, "mask", self._call, value, where)
        return _DROPPED if result is None else result[0]

    def _call(self, value: Any, where: str) -> tuple[Any]:
        result = self._mask(value, where)
        if result is not value:
            msgspec.json.encode(result)
        return (result,)


class _Masking(Rewriter):
    """Mask one record."""

    def __init__(self, masked: Mask, *, names_are_content: bool) -> None:
        self._masked = masked
        self._names_are_content = names_are_content

    def text(self, where: str, text: str) -> str:
        """Return what the function returns for a text, an empty text for anything else."""
        if not text or (where in _NAMES and not self._names_are_content):
            return text
        masked = self._masked(text, _NAMES.get(where, where))
        return masked if type(masked) is str else ""

    def body(self, event: str, body: Any) -> Any:
        """Return what the function returns for the body of a log record."""
        masked = None if body is None else self._masked(body, "body")
        return None if masked is _DROPPED else masked

    def attributes(self, where: str, attributes: Attributes) -> Attributes:
        """Return attributes with what the function returns; without those for which it raised."""
        if where in ("resource", "scope"):
            return attributes
        kept = {
            name: masked for name, value in attributes.items() if (masked := self._value(name, value)) is not _DROPPED
        }
        return attributes if kept == dict(attributes) else kept

    def _value(self, name: str, value: Any) -> Any:
        if content_of(name) is Content.STRUCTURE or name in _OURS:
            return value
        if type(value) is str:
            return self._text_value(name, value)
        if not isinstance(value, list | tuple | dict) or not any(type(text) is str for text in value):
            return value
        masked = self._masked(value.copy() if isinstance(value, dict) else [*value], name)
        is_list = isinstance(masked, list | tuple) and len({type(item) for item in masked}) == 1
        if masked is _DROPPED or (is_list and type(masked[0]) in _PRIMITIVES):
            return masked if masked is _DROPPED else type(value)(masked)
        return masked if isinstance(value, dict) else _text_of(masked)

    def _text_value(self, name: str, value: str) -> Any:
        data = container_in(value)
        if data is None:
            masked = self._masked(value, name)
            return masked if masked is _DROPPED or type(masked) is str else _text_of(masked)
        masked = self._masked(data, name)
        if masked is _DROPPED or (type(masked) is type(data) and masked == container_in(value)):
            return _DROPPED if masked is _DROPPED else value
        return _text_of(masked)


_OURS = frozenset((semconv.TYPES, semconv.TRUNCATED, semconv.REDACTED))
_PRIMITIVES = (str, bool, int, float)
"""Types of the items that a sequence may have as an attribute."""


def _text_of(value: Any) -> str:
    return msgspec.json.encode(value).decode()
