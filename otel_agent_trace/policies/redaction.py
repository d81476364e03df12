"""Mask secrets, and personal data where that is asked for, in spans and logs of any instrumentation."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, TypeVar

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.policies.encoded_bytes import bytes_in, has_bytes, masked_bytes, with_texts
from otel_agent_trace.policies.masked_attributes import (
    KNOWN_NAMES,
    LISTS,
    NUMBERS,
    BytesMask,
    bytes_mask,
    masked_attribute,
)
from otel_agent_trace.policies.masked_histories import LONG_CHARACTERS, MaskedHistories
from otel_agent_trace.policies.rewriting import Attributes, Rewriter, attributes_in, container_in, replaced
from otel_agent_trace.redaction.redactor import Find, Redactor
from otel_agent_trace.redaction.texts import texts_of
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.span import LogRecord, Resource, Scope, SpanRecord
from otel_agent_trace.values import encode_string

R = TypeVar("R", SpanRecord, LogRecord)
F = TypeVar("F", Resource, Scope)

_TEXTS = frozenset((str,))
_KEPT_TEXTS = 256
_KEPT_FRAMES = 256
_KEPT_STARTED, _LEAST_STARTED = 1024, 256
"""Number of spans whose texts are kept until they end, and characters from which that takes less time than a look."""
_SPAN_ID = 1
"""Index in a `SpanContext`: it is a tuple, whose properties are slower, being written in Python."""


class RedactionPolicy:
    """Mask what a `Redactor` finds, in every text of a span or log record.

    A clean span is looked at as it is: its texts are searched together, once, and no record is made. Of the growing
    list of messages that the calls of a run are sent, only those that are new since the last call are searched, and
    resources and scopes, which spans share, are searched once.
    """

    traces = False

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self._messages = MaskedHistories(redactor)
        self._frames = _MaskedFrames(redactor)
        self._last_clean = _Clean(redactor.revision)

    def violates(self, span: Any) -> bool:
        """Return whether something in a span of the SDK may have to be masked."""
        try:
            if span._context is None:
                return False
            texts = [span._name, span._status.description or ""]
            parts = (*span._events, *span._links)
            return self._may_change(
                texts,
                attributes_in(span),
                parts,
                span._context.trace_id,
            ) or not self._frames.are_clean(span._resource, span._instrumentation_scope)
        except (AttributeError, TypeError, RuntimeError) as error:  # it is not as the SDK makes them, or being written
            if is_of_signal_handler(error):
                raise
            return True

    def check_for(self, attributes: Attributes) -> Callable[[Any], bool]:
        """Return what does the same as `violates`, and faster, for spans with attributes of these names and types."""
        if KNOWN_NAMES.issuperset(attributes) and _TEXTS_AND_NUMBERS.issuperset(map(type, attributes.values())):
            return functools.partial(self._violates_usual, _Shape.of(attributes))
        return self.violates

    def _violates_usual(self, shape: _Shape, span: Any) -> bool:
        """Return whether something in a span with usual attributes has to be masked: one scan of all that is new in it.

        It runs once a span, and therefore has few steps; it reads private fields of the SDK, since some of its properties
        return copies.
        """
        # ruff: noqa: SLF001 - see above
        try:
            attributes = span._attributes._dict
            clean = self._last_clean
            if clean.revision != self.redactor.revision:
                clean = self._clean()
            repeated = shape.repeated(attributes)
            if repeated not in clean.repeated and self._changes_repeated(repeated, attributes, clean):
                return True
            key, new = self._new_messages(attributes, span._context) if shape.has_messages else (None, "")
            if new is None or type(span._name) is not str:
                return True
            texts, parts = [span._name, new, *shape.new(attributes)], []
            texts = clean.without_started(span._context[_SPAN_ID], texts) if clean.started else texts
            if span._events._dq or span._links._dq or span._status._description:
                parts = [*span._events, *span._links]
                texts += (span._status._description or "", *_texts_of_usual(parts))
                if not _TEXTS.issuperset(map(type, texts)):
                    return self.violates(span)
            found = self.redactor.worth_a_look(texts)
            if found and not clean.texts.issuperset(found):
                searched = {**attributes, semconv.INPUT_MESSAGES: new}
                if self._changes(texts, searched, parts, None, frozenset(found), clean=clean):
                    return True
            if clean.revision != self.redactor.revision or (shape.has_types and has_bytes(attributes)):
                return self.violates(span)
            if key is not None:
                self._messages.keep_clean(key, attributes[semconv.INPUT_MESSAGES])
            elif span._end_time is None:
                clean.add_started(span._context[_SPAN_ID], texts)
            return not self._frames.are_clean(span._resource, span._instrumentation_scope)
        except (AttributeError, TypeError, RuntimeError) as error:  # it is not as the SDK makes them, or being written
            if is_of_signal_handler(error):
                raise
            return self.violates(span)

    def _new_messages(self, attributes: Attributes, context: Any) -> tuple[tuple[str, str] | None, str | None]:
        """Return the key under which messages are kept, None for a few; and what was not searched yet, None if there are masks."""
        history = attributes[semconv.INPUT_MESSAGES]
        if len(history) < LONG_CHARACTERS:
            return None, history
        key = (_run_of(attributes, context.trace_id), semconv.INPUT_MESSAGES)
        return key, self._messages.unknown_part(key, history)

    def _changes_repeated(self, texts: tuple[str, ...], attributes: Attributes, clean: _Clean) -> bool:
        """Return whether something is masked in the texts of attributes that come again; keep them if not."""
        found = self.redactor.worth_a_look(texts)
        if found and self._changes_any(attributes, frozenset(found), clean):
            return True
        clean.add_repeated(texts)
        return False

    def _clean(self) -> _Clean:
        """Return what was looked at for all that the redactor knows now."""
        clean = self._last_clean
        if clean.revision != self.redactor.revision:
            clean = self._last_clean = _Clean(self.redactor.revision)
        return clean

    def __call__(self, record: R) -> R:
        """Return a span or log record with masks in place of what was found; the same one if nothing was."""
        texts: list[str] = [record.name]
        parts: list[Any] = []
        body: Any = None
        if isinstance(record, SpanRecord):
            texts.append(record.status_message)
            parts += [*record.events, *record.links]
        else:
            body = record.body
            texts += texts_of([body, with_texts(body)])
        if (
            not self._may_change(texts, record.attributes, parts, record.trace_id, is_log=isinstance(record, LogRecord))
            and self._frames.are_clean(record.resource, record.scope)
            and (body is None or masked_bytes(body, self.redactor) is body)
        ):
            return record
        masking = _Masking(self.redactor, self._frames, self._messages, record)
        changed = masking(record)
        if not masking.finds:
            return changed
        attributes = {**changed.attributes, semconv.REDACTED: _listed(changed.attributes, masking.finds)}
        return msgspec.structs.replace(changed, attributes=attributes)

    def finds(self, record: R) -> list[Find]:
        """Return what would be masked in a span or log record."""
        masking = _Masking(self.redactor, self._frames, None, record)
        masking(record)
        return masking.finds

    def _may_change(
        self,
        texts: list[str],
        attributes: Attributes,
        parts: Iterable[Any],
        trace_id: int | str,
        *,
        is_log: bool = False,
    ) -> bool:
        """Return whether something is masked in texts, in attributes of a span or log record, in its events and links."""
        scanned = [*texts]
        clean = self._clean()
        known = clean.texts
        long = _add(scanned, attributes, known)
        run = _run_of(attributes, trace_id) if long else ""
        new = {name: self._messages.unknown_part((run, name), attributes[name]) for name in long}
        if None in new.values():
            return True
        scanned += filter(None, new.values())
        for part in parts:
            scanned.append(getattr(part, "name", ""))
            given = attributes_in(part)
            scanned += [given[name] for name in _add(scanned, given, known)]
        unknown = {**attributes, **new} if new else attributes
        in_bytes = bytes_mask(attributes, is_log=is_log)
        if is_log:
            scanned += texts_of(with_texts(list(unknown.values())))
        elif in_bytes is not None:
            scanned += (text for value in unknown.values() if type(value) is str for text in bytes_in(value))
        if not _TEXTS.issuperset(map(type, scanned)):  # a name that is no text, which it is in the record
            return True
        found_in = self.redactor.worth_a_look(scanned)
        if found_in and self._changes(texts, unknown, parts, in_bytes, frozenset(found_in), clean=clean):
            return True
        if clean.revision != self.redactor.revision:  # what was known before may hold what the redactor knows now
            return True
        for name in long:
            self._messages.keep_clean((run, name), attributes[name])
        return False

    def _changes(
        self,
        texts: list[str],
        attributes: Attributes,
        parts: Iterable[Any],
        in_bytes: BytesMask | None,
        found_in: frozenset[str],
        *,
        clean: _Clean,
    ) -> bool:
        """Return whether something is masked, given the texts in which something may be found."""
        outside = [*texts, *(getattr(part, "name", "") for part in parts)]
        if any(self.redactor.masked_text(text) is not text for text in outside if text in found_in):
            return True
        if in_bytes is not None:
            if any(masked_attribute(self.redactor, *pair, in_bytes) != pair for pair in attributes.items()):
                return True
        elif self._changes_any(attributes, found_in, clean):
            return True
        return any(self._changes_any(attributes_in(part), found_in, clean) for part in parts)

    def _changes_any(self, attributes: Attributes, found_in: frozenset[str], clean: _Clean) -> bool:
        """Return whether something is masked in attributes, given the texts in which something may be found."""
        for name, value in attributes.items():
            is_text = type(value) is str
            if name not in found_in and (value not in found_in if is_text else type(value) in NUMBERS):
                continue
            is_usual = is_text and name in KNOWN_NAMES
            if is_usual and value in clean.texts:
                continue
            if masked_attribute(self.redactor, name, value) != (name, value):
                return True
            if is_usual:
                clean.add(value)
        return False


def _add(texts: list[str], attributes: Attributes, known: AbstractSet[str]) -> list[str]:
    """Add the texts in attributes, but for known ones under usual names, and for long ones, of which the names are returned."""
    long = []
    for name, value in attributes.items():
        if name not in KNOWN_NAMES:
            texts.append(name if type(name) is str else encode_string(name).text)  # of spans made by hand
        elif type(value) is str and len(value) < LONG_CHARACTERS and value in known:
            continue
        if type(value) is str:
            if len(value) < LONG_CHARACTERS:
                texts.append(value)
            else:
                long.append(name)
        elif type(value) not in NUMBERS:
            texts += texts_of(value)
    return long


def _run_of(attributes: Attributes, trace_id: int | str) -> str:
    """Return the key of a run for its messages: its id, else that of the trace."""
    return str(attributes.get(semconv.RUN_ID) or (trace_id if isinstance(trace_id, str) else f"{trace_id:032x}"))


def _listed(attributes: Attributes, finds: Iterable[Find]) -> str:
    """Return the places of finds, with those that were listed before."""
    try:
        before = msgspec.json.decode(attributes.get(semconv.REDACTED, "[]"), type=list[str])
    except (msgspec.DecodeError, TypeError):
        before = []
    return msgspec.json.encode(list(dict.fromkeys([*before, *(find.path for find in finds)]))).decode()


# ── masking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Masking(Rewriter):
    """Mask one record, and collect what was found."""

    def __init__(
        self,
        redactor: Redactor,
        frames: _MaskedFrames,
        messages: MaskedHistories | None,
        record: SpanRecord | LogRecord,
    ) -> None:
        self._redactor, self._frames, self._messages = redactor, frames, messages
        self._run = _run_of(record.attributes, record.trace_id)
        self._in_bytes = bytes_mask(record.attributes, is_log=isinstance(record, LogRecord))
        self.finds: list[Find] = []

    def text(self, where: str, text: str) -> str:
        """Return a text with masks."""
        masked = self._redactor.masked_text(text)
        if masked is not text:
            self._note(where, text)
        return masked

    def body(self, event: str, body: Any) -> Any:
        """Return the body of a log record with masks."""
        masked = self._redactor(masked_bytes(body, self._redactor))
        if masked is not body:
            self._note("body", body, has_bytes=True)
        return masked

    def resource(self, resource: Resource) -> Resource:
        """Return a resource with masks."""
        masked, finds = self._frames.masked("resource", resource)
        self.finds += finds
        return masked

    def scope(self, scope: Scope) -> Scope:
        """Return a scope with masks."""
        masked, finds = self._frames.masked("scope", scope)
        self.finds += finds
        return masked

    def attributes(self, where: str, attributes: Attributes) -> Attributes:
        """Return attributes with masks in their values and names."""
        changed: dict[str, Any] = {}
        is_same = True
        is_own = where in ("span", "log")
        for name, value in attributes.items():
            in_bytes = self._in_bytes if is_own else None
            new_name, known = name, self._messages if where == "span" and _is_long(value) else None
            if known is not None:
                new_value = known.masked((self._run, name), value, in_bytes)
            else:
                new_name, new_value = masked_attribute(self._redactor, name, value, in_bytes)
            changed[new_name] = new_value
            if new_value is value and new_name is name:
                continue
            is_same = False
            prefix = "" if is_own else f"{where}."
            if known is not None:
                self.finds.append(Find("", f"{prefix}{new_name}"))  # to find the rules is to search all of it again
            else:
                self._note(f"{prefix}{new_name}", value, name, has_bytes=in_bytes is not None)
        return attributes if is_same else changed

    def _note(self, place: str, value: Any, name: str | None = None, *, has_bytes: bool = False) -> None:
        """Note what was found in a value, which stands under a name."""
        data = container_in(value) if type(value) is str else None
        data = value if data is None else data
        shown = [data, with_texts(data)] if has_bytes else [data]
        if name in LISTS:
            found = [find for text in texts_of(shown) for find in self._redactor.finds(text)]
        else:
            given = shown if name is None else [{name: each} for each in shown]
            found = [find for each in given for find in self._redactor.finds(each)]
        for find in dict.fromkeys(found) or [Find(rule="", path="")]:
            path = find.path if name is None else find.path.removeprefix(name)
            dot = "." if path and path[0] not in ".[" else ""
            self.finds.append(Find(find.rule, self._redactor.masked_text(f"{place}{dot}{path}")))


def _is_long(value: Any) -> bool:
    """Return whether a value may begin with the text of an earlier span."""
    return type(value) is str and len(value) >= LONG_CHARACTERS


class _Clean:
    """Keep the latest texts under usual names in which a close look found nothing, as ids and instructions that come again.

    Attributes:
        revision: that of the redactor which looked at them.
        texts: the texts in which something might be found.
        repeated: the texts of attributes that come again in the spans of a run, together.
        started: the texts that were looked at when a span started, by its id: most are the same when it ends.
    """

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.texts: set[str] = set()
        self.repeated: set[tuple[str, ...]] = set()
        self.started: dict[int, list[str]] = {}

    def add(self, text: str) -> None:
        """Keep a text, if it is not a long one."""
        if len(text) < LONG_CHARACTERS:
            if len(self.texts) >= _KEPT_TEXTS:
                self.texts.clear()
            self.texts.add(text)

    def add_repeated(self, texts: tuple[str, ...]) -> None:
        """Keep texts of attributes, if they are not long ones."""
        if sum(map(len, texts)) < LONG_CHARACTERS:
            if len(self.repeated) >= _KEPT_TEXTS:
                self.repeated.clear()
            self.repeated.add(texts)

    def add_started(self, span_id: int, texts: list[str]) -> None:
        """Keep the texts of a span that has started, if there is much in them; of spans that never end, not for ever."""
        if sum(map(len, texts)) > _LEAST_STARTED:
            if len(self.started) >= _KEPT_STARTED:
                self.started.clear()
            self.started[span_id] = texts

    def without_started(self, span_id: int, texts: list[str]) -> list[str]:
        """Return texts without those that were looked at when the span started, which come first unless one has changed."""
        started = self.started.pop(span_id, [])
        return texts[len(started) :] if texts[: len(started)] == started else texts


class _Shape(NamedTuple):
    """Hold what there is in attributes of the same names, with texts and numbers under the same ones.

    Attributes:
        new: returns the texts that are others in each span.
        repeated: returns those that are the same in many.
        has_messages: whether there are messages of a model call, which begin with those of the call before.
        has_types: whether there are types, by which bytes are known.
    """

    new: Callable[[Attributes], tuple[str, ...]]
    repeated: Callable[[Attributes], tuple[str, ...]]
    has_messages: bool
    has_types: bool

    @classmethod
    def of(cls, attributes: Attributes) -> _Shape:
        """Return the shape of attributes."""
        texts = [name for name, value in attributes.items() if type(value) is str]
        return cls(
            _values_of([name for name in texts if name not in _REPEATED and name != semconv.INPUT_MESSAGES]),
            _values_of([name for name in texts if name in _REPEATED]),
            semconv.INPUT_MESSAGES in texts,
            semconv.TYPES in texts,
        )


_TEXTS_AND_NUMBERS = NUMBERS | {str}
_REPEATED = frozenset(
    (
        *(semconv.AGENT_NAME, semconv.CONVERSATION_ID, semconv.ENDUSER_PSEUDO_ID, semconv.OPERATION_NAME),
        *(semconv.TOOL_NAME, semconv.TOOL_TYPE, semconv.REQUEST_MODEL, semconv.RESPONSE_MODEL, semconv.PROVIDER_NAME),
        *(semconv.STEP_NAME, semconv.STEP_KIND, semconv.ERROR_TYPE, semconv.ERROR_CATEGORY, semconv.TYPES),
    )
)
"""Names of attributes with the same values in many spans."""


def _values_of(names: list[str]) -> Callable[[Attributes], tuple[str, ...]]:
    """Return a function that returns the values of attributes."""
    if len(names) > 1:
        return operator.itemgetter(*names)  # which returns no tuple for fewer
    return lambda attributes: tuple(attributes[name] for name in names)


def _texts_of_usual(parts: Iterable[Any]) -> Iterator[str]:
    """Yield the texts of events and links.

    Raises:
        TypeError: they have unusual attributes.
    """
    for part in parts:
        given = attributes_in(part)
        if not (KNOWN_NAMES.issuperset(given) and _TEXTS_AND_NUMBERS.issuperset(map(type, given.values()))):
            raise TypeError
        yield getattr(part, "name", "")
        yield from (value for value in given.values() if type(value) is str)


class _MaskedFrames:
    """Mask resources and scopes, each once."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._revision = redactor.revision
        self._last: tuple[Any, Any, int] = (None, None, self._revision)
        self._clean: dict[int, Any] = {}
        self._masked: dict[int, tuple[Any, Any, list[Find]]] = {}

    def is_clean(self, frame: Any) -> bool:
        """Return whether nothing is masked in a resource or scope, of the SDK or ours."""
        if self._revision != self._redactor.revision:
            self._clean, self._masked, self._revision = {}, {}, self._redactor.revision
        if frame is None or self._clean.get(id(frame)) is frame:
            return True
        texts = [getattr(frame, "name", None) or "", getattr(frame, "version", None) or ""]
        if self._redactor.may_change(texts):
            return False
        if any(masked_attribute(self._redactor, *pair) != pair for pair in (frame.attributes or {}).items()):
            return False
        _remember(self._clean, frame, frame)
        return True

    def are_clean(self, resource: Any, scope: Any) -> bool:
        """Return whether nothing is masked in a resource and a scope, of the SDK or ours."""
        last = self._last
        if last[0] is resource and last[1] is scope and last[2] == self._redactor.revision:
            return True
        if not (self.is_clean(resource) and self.is_clean(scope)):
            return False
        self._last = resource, scope, self._revision
        return True

    def masked(self, where: str, frame: F) -> tuple[F, list[Find]]:
        """Return a resource or scope with masks, and what was found in it."""
        if self.is_clean(frame):
            return frame, []
        known = self._masked.get(id(frame))
        if known is None or known[0] is not frame:
            masking = _Masking(self._redactor, self, None, _NO_RECORD)
            changes: dict[str, Any] = {"attributes": masking.attributes(where, frame.attributes)}
            if isinstance(frame, Scope):
                changes["name"] = masking.text("scope.name", frame.name)
                changes["version"] = masking.text("scope.version", frame.version)
            known = (frame, replaced(frame, changes), masking.finds)
            _remember(self._masked, frame, known)
        return known[1], known[2]


def _remember(kept: dict[int, Any], frame: Any, fact: Any) -> None:
    """Keep a fact of a resource or scope; programs that make many of them use each once."""
    if len(kept) >= _KEPT_FRAMES:
        kept.clear()
    kept[id(frame)] = fact


_NO_RECORD = SpanRecord("", "", None, "", 0, None)
