"""Read the attributes of a span for a dialect: the first of several names, parsed, each attribute once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.categories import category_of_type
from otel_agent_trace.dialects.parsing.payloads import HIDDEN, parsed
from otel_agent_trace.messages import usage_from, with_cached, with_parts
from otel_agent_trace.model import TOKEN_FIELDS, StepError, Usage
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import exception_of, integer_of, text_of

_TRACEBACK = "Traceback (most recent call last)"
_COUNTS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "total": "total_tokens",
    "tokens": "total_tokens",
    # of Gemini's API, which Genkit and Google's CLI shorten
    "prompt_token_count": "input_tokens",
    "candidates_token_count": "output_tokens",
    **dict.fromkeys(("thoughts_token_count", "thoughts_tokens"), "reasoning_output_tokens"),
    **dict.fromkeys(("cached_content_token_count", "cached_content_tokens"), "cache_read_input_tokens"),
    "total_token_count": "total_tokens",
}
"""Further names of token counts in objects, written with underscores."""
_CAPITAL = re.compile(r"(?<=[a-z0-9])[A-Z]")
_MISSING = frozenset({"", "None", "null", "N/A", "<not specified>", *HIDDEN})
USER_IDS = (semconv.USER_ID, semconv.ENDUSER_PSEUDO_ID, semconv.ENDUSER_ID)
"""Attributes of the conventions that hold a user id, the plain one first.

A pipeline that pseudonymizes user ids replaces ``user.id`` of the tracer by ``enduser.pseudo.id``.
"""
_SESSION_NAMES = ("session_id", "sessionId", "conversation_id", "conversationId", "thread_id", "threadId")
_USER_NAMES = ("user_id", "userId")
_PROTOCOLS = ("mcp.", "rpc.", "http.", "db.", "browser.", "thread", "os.", "process.")
"""Beginnings of the names of attributes whose sessions and users are those of a protocol or a system."""
_LONGEST_MISSING = max(map(len, _MISSING))


class Attributes:
    """Hold the attributes of one span; reading one removes it, so that `rest` keeps what was not understood.

    A value that stands for nothing (empty, ``None``, ``N/A``, or a mark of hidden content) counts as missing.
    """

    __slots__ = ("rest", "span")

    def __init__(self, span: SpanRecord) -> None:
        self.span = span
        self.rest: dict[str, Any] = dict(span.attributes)

    def take(self, *keys: str) -> Any:
        """Remove all of these attributes and return the first value that is not missing, unconverted; else None."""
        found = None
        for key in keys:
            value = self.rest.pop(key, None)
            if found is None and not (value is None or _is_missing(value)):
                found = value
        return found

    def text(self, *keys: str) -> str | None:
        """Return the first of these attributes that is not missing, as text."""
        value = self.take(*keys)
        return value if value is None or type(value) is str else str(value)

    def quoted(self, *keys: str) -> str | None:
        """Return the first of these attributes that is not missing as text, without the quotes of JSON."""
        value = parsed(self.take(*keys))
        return value if value is None or type(value) is str else str(value)

    def parsed(self, *keys: str) -> Any:
        """Return the first of these attributes that is not missing, parsed where it holds JSON or a Python literal."""
        return parsed(self.take(*keys))

    def tags(self, key: str) -> tuple[str, ...]:
        """Return tags from a list, from JSON or from a text with commas.

        They stay in `rest`: only runs have tags, and a step would lose them.
        """
        value = parsed(self.rest.get(key))
        if isinstance(value, list | tuple):
            return tuple([item if type(item) is str else str(item) for item in value])
        return () if value is None else tuple([item.strip() for item in str(value).split(",") if item.strip()])

    def integer(self, *keys: str) -> int | None:
        """Return the first of these attributes that is not missing as a whole number, also from text; else None."""
        return integer_of(self.take(*keys))

    def usage(self, **keys: Iterable[str] | str) -> Usage | None:
        """Return token counts, given the attributes of each field of `Usage`, and of ``total``; None where there is none.

        The total shows whether cached tokens and reasoning are part of input and output, as they are in `Usage`.
        """
        counts = self._counts(keys)
        total = counts.pop("total", None)
        return Usage(**with_parts(counts, total)) if counts else None  # type: ignore[arg-type]

    def usage_beside_cached(self, **keys: Iterable[str] | str) -> Usage | None:
        """Return token counts as `usage` does, for a scheme that reports cached tokens beside the input."""
        counts = self._counts(keys)
        return Usage(**with_cached(counts)) if counts else None  # type: ignore[arg-type]

    def _counts(self, keys: Mapping[str, Iterable[str] | str]) -> dict[str, int]:
        counts = {
            field: self.integer(*((names,) if isinstance(names, str) else names)) for field, names in keys.items()
        }
        return {field: count for field, count in counts.items() if count is not None and count >= 0}

    def usage_of(self, *keys: str) -> Usage | None:
        """Return the token counts in an attribute that holds an object, under the names of any provider."""
        return usage_in(self.parsed(*keys))

    def under(self, prefix: str) -> Any:
        """Remove the attributes below a prefix (``prefix.0.name``), and return them as nested lists and dicts."""
        start = f"{prefix}."
        found = {key: value for key, value in self.rest.items() if key.startswith(start)}
        tree: dict[str, Any] = {}
        for key, value in found.items():
            del self.rest[key]
            _put_nested(tree, key[len(start) :].split("."), value)
        return _as_lists(tree)

    def error(self, *, failed: bool | None = None, message: str | None = None) -> StepError | None:
        """Return the error of a span that failed, from its exception event, ``error.type`` and status; else None.

        Args:
            failed: whether the span failed, where the dialect knows it better than status and ``error.type``.
            message: the message, where the dialect has a better one than the exception and the status description.
        """
        span = self.span
        recorded_type = self.text(semconv.ERROR_TYPE)
        if failed is None:
            failed = span.status_code == semconv.STATUS_ERROR or recorded_type is not None
        if not failed:
            return None
        exception = exception_of(span)
        event_text = text_of(exception.get(semconv.EXCEPTION_MESSAGE))
        text = message or _without_stack_trace(span.status_message) or _without_stack_trace(event_text)
        text = text or text_of(self.rest.get("error.message")) or ""
        if recorded_type is not None and " " in recorded_type:  # a message in place of the type
            text, recorded_type = message or recorded_type, None
        if event_text and _TRACEBACK in span.status_message and _TRACEBACK not in event_text:
            text = message or event_text
        error_type = recorded_type if recorded_type not in (None, semconv.ERROR_TYPE_OTHER) else None
        error_type = error_type or text_of(exception.get(semconv.EXCEPTION_TYPE)) or _exception_type_in(text)
        error_type = error_type or semconv.ERROR_TYPE_OTHER
        return StepError(
            type=error_type,
            message=(text or "").removeprefix(f"{error_type.rpartition('.')[2]}: "),
            category=category_of_type(error_type),
            stacktrace=text_of(exception.get(semconv.EXCEPTION_STACKTRACE)),
        )


def session_id_in(attributes: Mapping[str, Any]) -> str | None:
    """Return the id of a conversation in an attribute that programs or frameworks name after it; else None.

    Such are ``ai.settings.context.sessionId`` (AI SDK 7) and ``app.conversation_id``.
    """
    return _text_under(attributes, _SESSION_NAMES)


def user_id_in(attributes: Mapping[str, Any]) -> str | None:
    """Return the id of a user in an attribute that programs or frameworks name after it; else None."""
    return _text_under(attributes, _USER_NAMES)


def _text_under(attributes: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    keys = [key for key in attributes if key.endswith(names) and not key.startswith(_PROTOCOLS)]
    found = (attributes[key] for name in names for key in keys if key.rpartition(":")[2].rpartition(".")[2] == name)
    return next((value for value in found if type(value) is str and not _is_missing(value)), None)


def usage_in(counts: Any) -> Usage | None:
    """Return the token counts in an object, under the names of any provider, also in camel case; else None."""
    if not isinstance(counts, Mapping):
        return None
    names = {key: _CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", str(key)) for key in counts}
    reported = {_COUNTS.get(name, name): _number_in(counts[key]) for key, name in names.items()}
    usage = usage_from(reported)
    if usage is None:
        return None
    found = {name: count for name in TOKEN_FIELDS if (count := getattr(usage, name)) is not None}
    return msgspec.structs.replace(usage, **with_parts(found, integer_of(reported.get("total_tokens"))))


def _number_in(value: Any) -> Any:
    """Return the number in a text, anything else as it is."""
    number = integer_of(value) if type(value) is str else None
    return value if number is None else number


def _is_missing(value: Any) -> bool:
    return type(value) is str and len(value) <= _LONGEST_MISSING and value in _MISSING


_EXCEPTION_TYPE = re.compile(r"((?:\w+\.)*[A-Z]\w*(?:Error|Exception|Group|Interrupt|Exit))\b(?=: |\()")


def _exception_type_in(message: str | None) -> str | None:
    """Return the class of an exception where a message begins with it; else None."""
    found = _EXCEPTION_TYPE.match(message) if message else None
    return found[1] if found else None


def _without_stack_trace(text: str | None) -> str:
    """Return a message without the stack trace that some instrumentations write after it, or around it."""
    if not text or _TRACEBACK not in text:
        return text or ""
    before, _, after = text.partition(_TRACEBACK)
    if before.strip():
        return before.strip()
    lines = [line for line in after.splitlines() if line and not line[0].isspace()]
    return lines[-1].strip() if lines else text


def _put_nested(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        below = tree.setdefault(name, {})
        if not isinstance(below, dict):
            return  # a name that is both a value and a prefix
        tree = below
    tree.setdefault(path[-1], value)


def _as_lists(tree: Any) -> Any:
    """Return nested dicts with those whose keys are all numbers turned into lists."""
    if not isinstance(tree, dict):
        return tree
    if tree and all(key.isdigit() for key in tree):
        return [_as_lists(tree[key]) for key in sorted(tree, key=int)]
    return {key: _as_lists(item) for key, item in tree.items()}
