"""Reads the attributes of foreign spans for dialects: first come of several names, parsed, each taken once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.categories import category_of_type
from otel_agent_trace.dialects.parsing.payloads import HIDDEN, parsed
from otel_agent_trace.messages import usage_from
from otel_agent_trace.model import StepError, Usage
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import exception_of, integer_of, text_of

_TRACEBACK = "Traceback (most recent call last)"
_COUNTS = {"input": "input_tokens", "output": "output_tokens", "total": "total_tokens", "tokens": "total_tokens"}
_NOTHING = frozenset({"", "None", "null", "N/A", "<not specified>", *HIDDEN})
USER_IDS = (semconv.USER_ID, semconv.ENDUSER_PSEUDO_ID, semconv.ENDUSER_ID)
"""Where the user stands; a pipeline that pseudonymises has put its own name in place of the tracer's."""
_LONGEST_NOTHING = max(map(len, _NOTHING))


class Attributes:
    """The attributes of one span; what was asked for is taken, the rest stays."""

    __slots__ = ("rest", "span")

    def __init__(self, span: SpanRecord) -> None:
        self.span = span
        self.rest: dict[str, Any] = dict(span.attributes)

    def take(self, *keys: str) -> Any:
        """The first of these that says something, as it stands; all are taken."""
        found = None
        for key in keys:
            value = self.rest.pop(key, None)
            if found is None and not (value is None or _is_nothing(value)):
                found = value
        return found

    def text(self, *keys: str) -> str | None:
        """The first of these that says something, as a text."""
        value = self.take(*keys)
        return value if value is None or type(value) is str else str(value)

    def quoted(self, *keys: str) -> str | None:
        """A text that may stand as JSON, with quotes."""
        value = parsed(self.take(*keys))
        return value if value is None or type(value) is str else str(value)

    def parsed(self, *keys: str) -> Any:
        """The first of these that says something, as the value that its text stands for."""
        return parsed(self.take(*keys))

    def tags(self, key: str) -> tuple[str, ...]:
        """Return tags: a list, one in JSON, or one with commas. They stay among the attributes, since only runs have tags."""
        value = parsed(self.rest.get(key))
        if isinstance(value, list | tuple):
            return tuple([item if type(item) is str else str(item) for item in value])
        return () if value is None else tuple([item.strip() for item in str(value).split(",") if item.strip()])

    def integer(self, *keys: str) -> int | None:
        """A whole number, also one in a text."""
        return integer_of(self.take(*keys))

    def usage(self, **keys: Iterable[str] | str) -> Usage | None:
        """Tokens: for each field of `Usage` the names of its attribute."""
        counts: dict[str, Any] = {
            field: self.integer(*((names,) if isinstance(names, str) else names)) for field, names in keys.items()
        }
        found = {field: count for field, count in counts.items() if count is not None}
        return Usage(**found) if found else None

    def usage_of(self, *keys: str) -> Usage | None:
        """Tokens that stand in one attribute as an object, in a provider's words."""
        value = self.parsed(*keys)
        if not isinstance(value, dict):
            return None
        return usage_from({_COUNTS.get(str(key), str(key)): item for key, item in value.items()})

    def under(self, prefix: str) -> Any:
        """What is spread over attributes ``prefix.0.name``, ``prefix.name.0.x`` ..., put together again."""
        start = f"{prefix}."
        found = {key: value for key, value in self.rest.items() if key.startswith(start)}
        tree: dict[str, Any] = {}
        for key, value in found.items():
            del self.rest[key]
            _put(tree, key[len(start) :].split("."), value)
        return _as_lists(tree)

    def error(self, *, failed: bool | None = None, message: str | None = None) -> StepError | None:
        """What went wrong, where the span failed (or `failed` says so): status, exception event, ``error.type``."""
        span = self.span
        said_type = self.text(semconv.ERROR_TYPE)
        if failed is None:
            failed = span.status_code == semconv.STATUS_ERROR or said_type is not None
        if not failed:
            return None
        happened = exception_of(span)
        text = message or _short(span.status_message) or _short(text_of(happened.get(semconv.EXCEPTION_MESSAGE)))
        text = text or text_of(self.rest.get("error.message")) or ""
        if said_type is not None and " " in said_type:  # no type, but what happened
            text, said_type = message or said_type, None
        event_text = text_of(happened.get(semconv.EXCEPTION_MESSAGE))
        if event_text and _TRACEBACK in span.status_message and _TRACEBACK not in event_text:
            text = message or event_text
        kind = said_type if said_type not in (None, semconv.ERROR_TYPE_OTHER) else None
        kind = kind or text_of(happened.get(semconv.EXCEPTION_TYPE)) or _type_in(text) or semconv.ERROR_TYPE_OTHER
        return StepError(
            type=kind,
            message=(text or "").removeprefix(f"{kind.rpartition('.')[2]}: "),
            category=category_of_type(kind),
            stacktrace=text_of(happened.get(semconv.EXCEPTION_STACKTRACE)),
        )


def _is_nothing(value: Any) -> bool:
    return type(value) is str and len(value) <= _LONGEST_NOTHING and value in _NOTHING


_TYPE = re.compile(r"((?:\w+\.)*[A-Z]\w*(?:Error|Exception|Group|Interrupt|Exit))\b(?=: |\()")


def _type_in(message: str | None) -> str | None:
    """The class of an exception where a message begins with it."""
    found = _TYPE.match(message) if message else None
    return found[1] if found else None


def _short(text: str | None) -> str:
    """A message without the stack that some write behind it, or around it."""
    if not text or _TRACEBACK not in text:
        return text or ""
    before, _, after = text.partition(_TRACEBACK)
    if before.strip():
        return before.strip()
    lines = [line for line in after.splitlines() if line and not line[0].isspace()]
    return lines[-1].strip() if lines else text


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        below = tree.setdefault(name, {})
        if not isinstance(below, dict):
            return  # a name that is both a value and a prefix
        tree = below
    tree.setdefault(path[-1], value)


def _as_lists(tree: Any) -> Any:
    """Objects whose keys are all numbers are lists."""
    if not isinstance(tree, dict):
        return tree
    if tree and all(key.isdigit() for key in tree):
        return [_as_lists(tree[key]) for key in sorted(tree, key=int)]
    return {key: _as_lists(item) for key, item in tree.items()}
