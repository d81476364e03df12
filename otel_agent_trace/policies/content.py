"""Keep content out of spans and logs: what goes into runs and steps, what comes out, or anything a person may have written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast, get_args

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import warn
from otel_agent_trace.policies.content_names import Content, content_of, is_of_convention
from otel_agent_trace.policies.rewriting import Attributes, Rewriter, attributes_in
from otel_agent_trace.span import LogRecord, SpanRecord

R = TypeVar("R", SpanRecord, LogRecord)

ContentMode = Literal["all", "no_inputs", "no_outputs", "none"]
"""Modes of recording content: everything, no inputs, no outputs, or nothing but names, structure and figures."""
CONTENT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""Variable of the conventions; we write no events, so that content that goes to events only is not recorded."""
_OF_VARIABLE: dict[str, ContentMode] = {
    "no_content": "none",
    "event_only": "none",
    "false": "none",  # of instrumentations before the four values
    "span_only": "all",
    "span_and_event": "all",
    "true": "all",
}
_REMOVED: dict[str, Content] = {
    "all": Content.STRUCTURE,
    "no_inputs": Content.INPUT,
    "no_outputs": Content.OUTPUT,
    "none": Content.BOTH | Content.OTHER,
}


def check_content(mode: str) -> ContentMode:
    """Return a mode that is valid.

    Raises:
        ConfigurationError: the mode is not one of `ContentMode`.
    """
    if mode not in get_args(ContentMode):
        msg = f"content={mode!r} must be one of {', '.join(get_args(ContentMode))}"
        raise ConfigurationError(msg)
    return cast("ContentMode", mode)


def content_of_environment() -> ContentMode:
    """Return the mode of the conventions' variable; all content without it, none where its value is unknown."""
    given = os.environ.get(CONTENT_VARIABLE, "").strip().lower()
    if not given:
        return "all"
    if given not in _OF_VARIABLE:
        warn("%s=%s is not known: no content is recorded; use SPAN_ONLY or NO_CONTENT", CONTENT_VARIABLE, given)
    return _OF_VARIABLE.get(given, "none")


class ContentPolicy:
    """Remove content from spans and logs of any instrumentation.

    A span of ours that was started under a mode of its own names it, and that mode holds for it.

    Args:
        mode: the mode of all other spans, and of logs.

    Raises:
        ConfigurationError: there is no such mode.
    """

    traces = False

    def __init__(self, mode: str = "all") -> None:
        self.mode = check_content(mode)
        self._is_removing = mode != "all"

    def violates(self, span: Any) -> bool:
        """Return whether a span of the SDK may have content that its mode does not allow."""
        return self._is_removing or semconv.CONTENT in attributes_in(span)

    def __call__(self, record: R) -> R:
        """Return a span or log record without the content that its mode does not allow; the same one if there is none."""
        remover = _REMOVERS.get(self._mode_of(record.attributes))
        return record if remover is None else remover(record)

    def _mode_of(self, attributes: Mapping[str, Any]) -> str:
        mode = attributes.get(semconv.CONTENT, self.mode)
        return mode if mode in _REMOVED else "none"


class _Remover(Rewriter):
    """Remove content of some classes."""

    def __init__(self, removed: Content) -> None:
        self._removed = removed

    def text(self, where: str, text: str) -> str:
        """Return a text, an empty one in place of the message of an error."""
        return "" if where == "status" and self._removed & Content.OTHER else text

    def body(self, body: Any) -> Any:
        """Return the body of a log record, None if it is not allowed."""
        return None if self._removed & Content.OTHER else body

    def attributes(self, where: str, attributes: Attributes) -> Attributes:
        """Return attributes without those that are not allowed; those of the program itself stay."""
        if where in ("resource", "scope"):
            return attributes
        of_event = content_of(where) if "." in where else Content.STRUCTURE
        kept = {
            key: changed
            for key, value in attributes.items()
            if (changed := self._kept(key, value, attributes, of_event)) is not None
        }
        if semconv.TYPES in kept and len(kept) < len(attributes):
            kept[semconv.TYPES] = _types_of(kept)
        return attributes if kept == dict(attributes) else kept

    def _kept(self, key: str, value: Any, attributes: Attributes, of_event: Content) -> Any:
        """Return what is kept of a value, None for nothing."""
        if key == semconv.EXCEPTION_STACKTRACE and self._removed & Content.OTHER:
            return frames_of(str(value))
        found = content_of(key)
        if found is Content.OTHER and not isinstance(value, str | list | tuple) and is_of_convention(key):
            found = Content.STRUCTURE
        if found is not Content.STRUCTURE and of_event is not Content.STRUCTURE:
            found = of_event
        if found & self._removed:
            return None
        if found is Content.INPUT and self._removed is Content.OUTPUT:
            return _without_answers(key, value, attributes)
        return value


_REMOVERS = {mode: _Remover(removed) for mode, removed in _REMOVED.items() if removed is not Content.STRUCTURE}


def _types_of(kept: Mapping[str, Any]) -> str:
    """Return the type tags of the attributes that are kept."""
    try:
        types = msgspec.json.decode(kept[semconv.TYPES], type=dict[str, Any])
    except (msgspec.DecodeError, TypeError):
        return "{}"
    return msgspec.json.encode({key: tag for key, tag in types.items() if key in kept}).decode()


# ── answers among the messages of the next call ──────────────────────────────────────────────────────────────────────

_ANSWERING = frozenset(("assistant", "model", "ai", "tool", "function"))
"""Roles of messages that are outputs of earlier calls."""
_PLACE = re.compile(r"(.+?\.\d+)\.")


def _without_answers(key: str, value: Any, attributes: Attributes) -> Any:
    """Return messages sent to a model without the content of what models and tools answered before."""
    place = _PLACE.match(key)  # llm.input_messages.3.message.content, gen_ai.prompt.3.content
    if place is not None:
        role = attributes.get(f"{place[1]}.message.role") or attributes.get(f"{place[1]}.role")
        return None if role in _ANSWERING and not key.endswith(".role") else value
    if type(value) is not str or not value.startswith("["):
        return value
    try:
        messages = msgspec.json.decode(value)
    except msgspec.DecodeError:  # cut by a limit: what it holds cannot be taken apart
        return None if any(f'"{role}"' in value for role in _ANSWERING) else value
    changed = [_emptied(message) for message in messages]
    return value if changed == messages else msgspec.json.encode(changed).decode()


def _emptied(message: Any) -> Any:
    if not isinstance(message, dict) or message.get("role") not in _ANSWERING:
        return message
    return {"role": message["role"], "parts": []}


# ── stack traces ─────────────────────────────────────────────────────────────────────────────────────────────────────

_FRAME = re.compile(r'[\s|+-]*(?:File "[^"\n]*", line \d+.*|at [^\n]*)')
_HEADING = re.compile(
    r"[ |+-]*(?:Traceback \(most recent call last\)|During handling of|The above exception was)[^\n]*"
)
_CLASS = re.compile(r"([ |+-]*(?:[^\W\d][\w$]*\.)*[^\W\d]\w*)(?::.*)?")


def frames_of(stacktrace: str) -> str:
    """Return a stack trace with its frames and the classes of exceptions, without source lines and messages."""
    lines = []
    for line in stacktrace.splitlines():
        if _FRAME.fullmatch(line) or _HEADING.fullmatch(line):
            lines.append(line)
        elif not line.startswith("    ") and (named := _CLASS.fullmatch(line)) and _is_class(named[1]):
            lines.append(named[1])
    return "\n".join(lines)


def _is_class(name: str) -> bool:
    """Return whether a word at the beginning of a line is the name of an exception's class rather than of a message."""
    return name.rpartition(".")[2].lstrip(" |+-")[:1].isupper()
