"""Keep content out of spans and logs: what goes into runs and steps, what comes out, or anything a person may have written."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast, get_args

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import warn
from otel_agent_trace.policies.content_halves import without_half, writer_of
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
        _warn_of(given)
    return _OF_VARIABLE.get(given, "none")


@functools.lru_cache(maxsize=16)
def _warn_of(given: str) -> None:
    """Warn of a value that is not known, once."""
    warn("%s=%s is not known: no content is recorded; use SPAN_ONLY or NO_CONTENT", CONTENT_VARIABLE, given)


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

    def body(self, event: str, body: Any) -> Any:
        """Return the body of a log record, None if it is not allowed."""
        found = _of_event(event)
        if (found or Content.OTHER) & self._removed:
            return None
        if isinstance(body, Mapping) and found:
            return self._of(event, body)
        return self._half(body)

    def record_attributes(self, record: SpanRecord | LogRecord) -> Attributes:
        """Return attributes without those that are not allowed, of an event where a log record stands for one."""
        return self.attributes("span" if isinstance(record, SpanRecord) else record.name, record.attributes)

    def attributes(self, where: str, attributes: Attributes) -> Attributes:
        """Return attributes without those that are not allowed; those of the program itself stay."""
        if where == "scope":
            return attributes
        if where == "resource":
            is_clean = not self._removed & Content.INPUT or _COMMAND_LINE.isdisjoint(attributes)
            return attributes if is_clean else {k: v for k, v in attributes.items() if k not in _COMMAND_LINE}
        kept = self._of(where, attributes)
        if semconv.TYPES in kept and len(kept) < len(attributes):
            kept = {**kept, semconv.TYPES: _types_of(kept)}
        return kept

    def _of(self, where: str, attributes: Attributes) -> Attributes:
        """Return what is kept of attributes, the same mapping if that is all."""
        of_event = _of_event(where)
        kept = {
            key: changed
            for key, value in attributes.items()
            if (changed := self._kept(key, value, attributes, of_event)) is not None
        }
        is_same = len(kept) == len(attributes) and all(kept[key] is value for key, value in attributes.items())
        return attributes if is_same else kept

    def _kept(self, key: str, value: Any, attributes: Attributes, of_event: Content) -> Any:
        """Return what is kept of a value, None for nothing."""
        if key in _STACKTRACES and self._removed & Content.OTHER:
            return frames_of(str(value))
        found = content_of(key)
        if found is Content.OTHER and not isinstance(value, _TEXTS) and is_of_convention(key):
            found = Content.STRUCTURE
        if found in (Content.BOTH, Content.OTHER) and of_event not in (Content.STRUCTURE, Content.OTHER):
            found = of_event
        if found & self._removed:
            return None
        if found is Content.STRUCTURE or key in _OF_ONE_KIND:
            return value
        writer = _writer_of(key, attributes)
        return None if writer & self._removed else self._half(value)

    def _half(self, value: Any) -> Any:
        """Return a value without the half of a conversation that is not allowed."""
        return value if self._removed & Content.OTHER else without_half(value, self._removed)


_REMOVERS = {mode: _Remover(removed) for mode, removed in _REMOVED.items() if removed is not Content.STRUCTURE}


def _types_of(kept: Mapping[str, Any]) -> str:
    """Return the type tags of the attributes that are kept."""
    try:
        types = msgspec.json.decode(kept[semconv.TYPES], type=dict[str, Any])
    except (msgspec.DecodeError, TypeError):
        return "{}"
    return msgspec.json.encode({key: tag for key, tag in types.items() if key in kept}).decode()


# ── events, and messages that stand in several attributes ────────────────────────────────────────────────────────────

_TEXTS = (str, list, tuple, dict)
_STACKTRACES = (semconv.EXCEPTION_STACKTRACE, semconv.CODE_STACKTRACE)
_COMMAND_LINE = frozenset({"process.command_args", "process.command_line"})
"""Attributes of a resource that hold the question where a program is given it as an argument."""
_OF_ONE_KIND = frozenset(
    {semconv.TOOL_ARGUMENTS, semconv.TOOL_RESULT, semconv.CONFIG, semconv.METADATA, semconv.TAGS, semconv.TYPES}
)
"""Attributes that hold no conversation, so that their keys may have any name."""
_PLACE = re.compile(r"(.+?\.\d+)\.")
_MESSAGE = re.compile(r"(?:message|prompt)s?\.\d+")


def _of_event(name: str) -> Content:
    """Return what the event of a name holds; names without a dot are too short to be those of one."""
    return content_of(name) if "." in name else Content.STRUCTURE


def _writer_of(key: str, attributes: Attributes) -> Content:
    """Return who wrote a message that stands in several attributes, as ``llm.input_messages.3.message.content``.

    Where a limit cut the role off, a message that a model was sent may be either.
    """
    place = _PLACE.match(key)
    if place is None:
        return Content.STRUCTURE
    role = attributes.get(f"{place[1]}.message.role") or attributes.get(f"{place[1]}.role")
    is_sent = content_of(place[1]) is Content.INPUT and _MESSAGE.search(place[1]) is not None
    return writer_of(role) if role else Content.BOTH if is_sent else Content.STRUCTURE


# ── stack traces ─────────────────────────────────────────────────────────────────────────────────────────────────────

_FRAME = re.compile(
    r"""(?x)
    \ *File\ "[^"\n]*",\ line\ \d+(?:,\ in\ \S+)?                                                # Python
    | \s+at\ (?:async\ |new\ )?(?:[^\s()]+\ (?:\[as\ \S+\]\ )?)?\(?\S+?:\d+(?::\d+)?\)?           # JavaScript
    | \s+at\ [\w.$<>/~@-]+\((?:[\w.$-]+(?::\d+)?|Native\ Method|Unknown\ Source)\)(?:\ ~?\[[^\]\s]*\])?  # Java
    | \s+at\ [\w.$<>`\[\],+]+\([^()\n]*\)(?:\ in\ \S+:line\ \d+)?                               # .NET
    """
)
_HEADING = re.compile(
    r"(?:\+ Exception Group )?Traceback \(most recent call last\):"
    r"|\+(?:-\+)?-{4,}(?: \d+ -{4,})?"
    r"|During handling of the above exception, another exception occurred:"
    r"|The above exception was the direct cause of the following exception:"
)
_CLASS = re.compile(r"((?:Caused by: |Suppressed: |Uncaught )?(?:[^\W\d][\w$]*\.)*[^\W\d][\w$]*)(?::.*)?", re.DOTALL)
_MARGIN = re.compile(r"(?: *\| ?)?")
"""Beginning of each line of an exception group."""


def frames_of(stacktrace: str) -> str:
    """Return a stack trace with its frames and the classes of exceptions, without source lines and messages.

    The class is on the first line, or on the one after the frames; whatever follows on lines of its own is the message.
    """
    kept, is_class_next = [], True
    for line in stacktrace.splitlines():
        text = line[_MARGIN.match(line).end() :]  # type: ignore[union-attr]  # it matches an empty text too
        if _FRAME.fullmatch(text) or _HEADING.fullmatch(text.strip()):
            kept.append(line)
            is_class_next = True
        elif is_class_next and text and not text[0].isspace():
            is_class_next = False
            named = _CLASS.fullmatch(text.rstrip())
            if named is not None and _is_class(named[1]):
                kept.append(line[: len(line) - len(text)] + named[1])
    return "\n".join(kept)


def _is_class(name: str) -> bool:
    """Return whether a word at the beginning of a line is the name of an exception's class rather than of a message."""
    return name.rpartition(".")[2].rpartition(" ")[2][:1].isupper()
