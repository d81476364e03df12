"""Which attribute or event of a span a fact was read from, in any dialect: what changes when that is changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from otel_agent_trace import dialects, semconv
from otel_agent_trace.dialects.parsing.conversation import last_text
from otel_agent_trace.span import BODY_KEY, Event, SpanRecord
from otel_agent_trace.span_facts import SpanFacts
from otel_agent_trace.values import same

EVIDENCE = "kind"
"""The field under which stands what says that the span is such a step at all."""
_NUMBERED = re.compile(r"\.\d+(\..*)?$")
_NOTHING: tuple[object, ...] = (None, "", "[]", "{}", "null", [], {}, ())
_OTHER = "~"
LAST_WORDS = {"last words of the user": "user", "last words of the assistant": "assistant"}
"""Further facts: the last words of a role in the messages, of which questions and answers are made."""
_NOT_FACTS = (EVIDENCE, "dialect", "is_frame", "attributes")
_FIELDS = (*(name for name in SpanFacts.__struct_fields__ if name not in _NOT_FACTS), *LAST_WORDS)
Change = tuple[str, SpanRecord]
"""What was changed in a span, and the span with that change."""
_Compare = Callable[[SpanFacts, "SpanFacts | None"], list[str]]


def places_of(span: SpanRecord) -> dict[str, tuple[str, ...]]:
    """For each fact of the span the places that it depends on.

    A dialect is only called, never asked: a place is one where another value makes another fact; where no value does,
    one without which the fact is another; and where something else steps in with the same, one that suffices for it.
    """
    facts = dialects.read(span)
    if facts is None:
        return {}
    found = _found(facts, _changed(span), _differing)
    if _is_complete(facts, found):
        return found
    found = _found(facts, _without(span), _differing) | found
    evidence = found.get(EVIDENCE, ())
    bare, *alone = _alone(span, evidence)
    found = dict.fromkeys(_equal(facts, dialects.read(bare[1])), evidence) | found  # what says what it is says that too
    return found if _is_complete(facts, found) else _found(facts, alone, _equal) | found


def _is_complete(facts: SpanFacts, found: Mapping[str, tuple[str, ...]]) -> bool:
    return all(name in found for name in (EVIDENCE, *_known(facts)))


def _found(facts: SpanFacts, changes: Iterable[Change], compare: _Compare) -> dict[str, tuple[str, ...]]:
    """For each fact the places that a comparison finds."""
    found: dict[str, tuple[str, ...]] = {}
    for place, span in changes:
        other = dialects.read(span)
        for name in compare(facts, other):
            found[name] = (*found.get(name, ()), place)
    return found


def _differing(facts: SpanFacts, other: SpanFacts | None) -> list[str]:
    if other is None or (other.kind, other.dialect, other.is_frame) != (facts.kind, facts.dialect, facts.is_frame):
        return [EVIDENCE]
    return [name for name in _known(facts) if not same(_fact(other, name), _fact(facts, name))]


def _equal(facts: SpanFacts, other: SpanFacts | None) -> list[str]:
    if other is None or other.kind != facts.kind:
        return []
    return [EVIDENCE, *(name for name in _known(facts) if same(_fact(other, name), _fact(facts, name)))]


def _known(facts: SpanFacts) -> list[str]:
    return [name for name in _FIELDS if (value := _fact(facts, name)) not in _NOTHING and value is not False]


def _fact(facts: SpanFacts, name: str) -> Any:
    return last_text(facts.messages, LAST_WORDS[name]) if name in LAST_WORDS else getattr(facts, name)


# ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _changed(span: SpanRecord) -> Iterator[Change]:
    """The span with each thing in it replaced that says something."""
    for place, keys in _groups(span.attributes).items():
        changed = {key: _replaced(span.attributes[key]) for key in keys}
        if any(changed[key] is not span.attributes[key] for key in keys):
            yield place, msgspec.structs.replace(span, attributes={**span.attributes, **changed})
    for name, key in _event_keys(span):
        yield _event_place(span, name, key), _with_events(span, name, key, _replaced)
    yield from _of_the_span_itself(span)


def _without(span: SpanRecord) -> Iterator[Change]:
    """The span without each thing in it."""
    for place, keys in _groups(span.attributes).items():
        left = {key: value for key, value in span.attributes.items() if key not in keys}
        yield place, msgspec.structs.replace(span, attributes=left)
    for name, key in _event_keys(span):
        yield _event_place(span, name, key), _with_events(span, name, key, lambda value: None)


def _alone(span: SpanRecord, evidence: Sequence[str]) -> Iterator[Change]:
    """The span with nothing in it but what says what the span is; then with one more thing."""
    groups = _groups(span.attributes)
    known = {key: span.attributes[key] for place in evidence for key in groups.get(place, ())}
    yield "", msgspec.structs.replace(span, attributes=known, events=())
    for place, keys in groups.items():
        only = known | {key: span.attributes[key] for key in keys}
        yield place, msgspec.structs.replace(span, attributes=only, events=())
    for name in dict.fromkeys(event.name for event in span.events):
        events = tuple(event for event in span.events if event.name == name)
        place = _event_place(span, name, None)
        yield place, msgspec.structs.replace(span, attributes=known, events=events)


def _of_the_span_itself(span: SpanRecord) -> Iterator[Change]:
    replace = msgspec.structs.replace
    failed = span.status_code == semconv.STATUS_ERROR
    yield "span status", replace(span, status_code=semconv.STATUS_UNSET if failed else semconv.STATUS_ERROR)
    yield "span name", replace(span, name=_OTHER)
    yield "scope name", replace(span, scope=replace(span.scope, name=_OTHER))
    if span.status_message:
        yield "status message", replace(span, status_message=_OTHER)
    if span.end_ns is not None:
        yield "span end", replace(span, end_ns=None)


def _groups(attributes: Mapping[str, Any]) -> dict[str, list[str]]:
    """The attributes, those over which one list is spread together (``llm.input_messages.*``)."""
    groups: dict[str, list[str]] = {}
    for key in attributes:
        groups.setdefault(_NUMBERED.sub(".*", key), []).append(key)
    return {keys[0] if len(keys) == 1 else place: keys for place, keys in groups.items()}


def _event_keys(span: SpanRecord) -> dict[tuple[str, str], None]:
    return {(event.name, key): None for event in span.events for key in event.attributes}


def _event_place(span: SpanRecord, name: str, key: str | None) -> str:
    is_log = any(event.name == name and BODY_KEY in event.attributes for event in span.events)
    place = f"{'log record' if is_log else 'event'} {name}"
    return place if key is None else f"{place}: {key}"


def _with_events(span: SpanRecord, name: str, key: str, change: Any) -> SpanRecord:
    """The span with one attribute of all events of a name changed; None takes it away."""
    events = tuple(_with_event(event, key, change) if event.name == name else event for event in span.events)
    return msgspec.structs.replace(span, events=events)


def _with_event(event: Event, key: str, change: Any) -> Event:
    if key not in event.attributes:
        return event
    value = change(event.attributes[key])
    rest = {name: item for name, item in event.attributes.items() if name != key}
    return msgspec.structs.replace(event, attributes=rest if value is None else {**event.attributes, key: value})


def _replaced(value: Any) -> Any:
    """Another value of the same type; one that says nothing stays."""
    if value in _NOTHING:
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, Mapping):
        return {_OTHER: _OTHER}
    return [_OTHER] if isinstance(value, list | tuple) else _OTHER.encode() if isinstance(value, bytes) else _OTHER
