"""Remove content from spans and logs, given what is not allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.policies.content_halves import without_half, writer_of
from otel_agent_trace.policies.content_names import Content, content_of, is_listed_structure, is_of_convention
from otel_agent_trace.policies.rewriting import Attributes, Rewriter, container_in
from otel_agent_trace.span import LogRecord, Resource, Scope, SpanRecord

R = TypeVar("R", SpanRecord, LogRecord)


def without_content(record: R, mode: str) -> R:
    """Return a span or log record without the content that a mode does not allow; the same one if there is none.

    Raises:
        KeyError: the mode is not one that removes content.
    """
    return _REMOVERS[mode](record)


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

    def resource(self, resource: Resource) -> Resource:
        """Return a resource without the command line, if inputs are not allowed; whatever else describes the program stays."""
        if not self._removed & Content.INPUT or _COMMAND_LINE.isdisjoint(resource.attributes):
            return resource
        kept = {name: value for name, value in resource.attributes.items() if name not in _COMMAND_LINE}
        return msgspec.structs.replace(resource, attributes=kept)

    def scope(self, scope: Scope) -> Scope:
        """Return a scope as it is."""
        return scope

    def record_attributes(self, record: SpanRecord | LogRecord) -> Attributes:
        """Return attributes without those that are not allowed, of an event where a log record stands for one."""
        return self.attributes("span" if isinstance(record, SpanRecord) else record.name, record.attributes)

    def attributes(self, where: str, attributes: Attributes) -> Attributes:
        """Return attributes without those that are not allowed."""
        kept = self._of(where, attributes)
        if semconv.TYPES in kept and kept is not attributes:
            kept = {**kept, semconv.TYPES: _types_of(kept, attributes)}
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
        if key == semconv.EXCEPTION and self._removed & Content.OTHER:
            return _classes_of(value)
        found = content_of(key)
        if found is Content.OTHER and not isinstance(value, _TEXTS) and is_of_convention(key):
            found = Content.STRUCTURE
        if found in (Content.BOTH, Content.OTHER) and of_event not in (Content.STRUCTURE, Content.OTHER):
            found = of_event
        if found & self._removed:
            return _listed_structure(value) if found is Content.OTHER and key in _METADATA else None
        if found is Content.STRUCTURE or key in _OF_ONE_KIND:
            return value
        writer = _writer_of(key, attributes)
        return None if writer & self._removed else self._half(value)

    def _half(self, value: Any) -> Any:
        """Return a value without the half of a conversation that is not allowed."""
        return value if self._removed & Content.OTHER else without_half(value, self._removed)


_REMOVERS = {
    "no_inputs": _Remover(Content.INPUT),
    "no_outputs": _Remover(Content.OUTPUT),
    "none": _Remover(Content.BOTH | Content.OTHER),
}


def _types_of(kept: Mapping[str, Any], attributes: Attributes) -> str:
    """Return the type tags of the attributes that are kept; classes of an exception have none."""
    gone = () if kept.get(semconv.EXCEPTION) is attributes.get(semconv.EXCEPTION) else (semconv.EXCEPTION,)
    try:
        types = msgspec.json.decode(kept[semconv.TYPES], type=dict[str, Any])
    except (msgspec.DecodeError, TypeError):
        return "{}"
    return msgspec.json.encode({key: tag for key, tag in types.items() if key in kept and key not in gone}).decode()


def _classes_of(exception: Any) -> str | None:
    """Return nothing but the classes of an exception, as JSON; None if there are none."""
    data = container_in(exception) if isinstance(exception, str) else exception
    classes = data.get("classes") if isinstance(data, Mapping) else None
    return msgspec.json.encode({"classes": classes}).decode() if classes else None


# ── events, and messages that stand in several attributes ────────────────────────────────────────────────────────────

_TEXTS = (str, list, tuple, dict)
_STACKTRACES = (semconv.EXCEPTION_STACKTRACE, semconv.CODE_STACKTRACE)
_COMMAND_LINE = frozenset({"process.command_args", "process.command_line"})
"""Attributes of a resource that hold the question where a program is given it as an argument."""
_OF_ONE_KIND = frozenset(
    {
        semconv.TOOL_ARGUMENTS,
        semconv.TOOL_RESULT,
        semconv.CONFIG,
        semconv.METADATA,
        semconv.TAGS,
        semconv.TYPES,
        semconv.EXCEPTION,
    }
)
"""Attributes that hold no conversation, so that their keys may have any name."""
_METADATA = frozenset({"metadata", "langsmith.metadata", "langfuse.trace.metadata", "langfuse.observation.metadata"})
"""Attributes of other instrumentations in which ids of sessions stand among the metadata of a program."""
_PLACE = re.compile(r"(.+?\.\d+)\.")
_MESSAGE = re.compile(r"(?:message|prompt)s?\.\d+")


def _listed_structure(value: Any) -> str | None:
    """Return what is no data of the program in metadata, as JSON; None for nothing."""
    metadata = container_in(value) if isinstance(value, str) else value
    if not isinstance(metadata, Mapping):
        return None
    kept = {key: item for key, item in metadata.items() if is_listed_structure(str(key)) and not isinstance(item, dict)}
    return msgspec.json.encode(kept).decode() if kept else None


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
