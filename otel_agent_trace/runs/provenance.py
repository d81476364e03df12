"""Find the attributes and events that each fact of a span was read from, in any dialect, by varying one at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from otel_agent_trace import dialects, semconv
from otel_agent_trace.dialects.parsing.conversation import last_text
from otel_agent_trace.dialects.parsing.rereading import rereading
from otel_agent_trace.span import BODY_KEY, Event, SpanRecord
from otel_agent_trace.span_facts import SpanFacts
from otel_agent_trace.values import same

EVIDENCE = "kind"
"""Field for the places that make the span a step of its kind at all."""
_NUMBERED = re.compile(r"\.\d+(\..*)?$")
_NOTHING: tuple[object, ...] = (None, "", "[]", "{}", "null", [], {}, ())
_OTHER = "~"
LAST_TEXTS = {"last text of the user": "user", "last text of the assistant": "assistant"}
"""Further facts: the last text of a role in the messages, from which questions and answers are made."""
_NOT_FACTS = (EVIDENCE, "dialect", "is_frame", "attributes", "choices")
_FIELDS = (*(name for name in SpanFacts.__struct_fields__ if name not in _NOT_FACTS), *LAST_TEXTS)
Change = tuple[str, SpanRecord]
"""Name of a place in a span, and the span with a change at that place."""
_Known = Mapping[str, Any]
"""Values of facts by name, and the kind of the span as that of its evidence."""
_Compare = Callable[[SpanFacts, _Known, "SpanFacts | None"], list[str]]


def places_of(span: SpanRecord) -> dict[str, tuple[str, ...]]:
    """Return for each fact of a span the places that it depends on.

    A dialect is a black box here. A place of a fact is one where another value gives another fact; where there is none,
    one without which the fact is another; and where something else gives the same fact then, one that is enough for it.
    """
    with rereading():
        return _places_of(span)


def _places_of(span: SpanRecord) -> dict[str, tuple[str, ...]]:
    facts = dialects.read(span)
    if facts is None:
        return {}
    known = _known_facts(facts)
    found = _places_by_fact(facts, known, _with_replacements(span), _changed_facts)
    if _is_complete(known, found):
        return found
    found |= _places_by_fact(facts, _missing(known, found), _with_removals(span), _changed_facts)
    if _is_complete(known, found):
        return found
    evidence = found.get(EVIDENCE, ())
    bare, *alone = _with_single_places(span, evidence)
    enough = _equal_facts(facts, _missing(known, found), dialects.read(bare[1]))
    found |= dict.fromkeys(enough, evidence)  # the evidence is enough for these
    if _is_complete(known, found):
        return found
    return found | _places_by_fact(facts, _missing(known, found), alone, _equal_facts)


def _is_complete(known: _Known, found: Mapping[str, tuple[str, ...]]) -> bool:
    return known.keys() <= found.keys()


def _missing(known: _Known, found: Mapping[str, tuple[str, ...]]) -> _Known:
    return {name: value for name, value in known.items() if name not in found}


def _places_by_fact(
    facts: SpanFacts, wanted: _Known, changes: Iterable[Change], compare: _Compare
) -> dict[str, tuple[str, ...]]:
    """Return for each fact that is wanted the places at which a comparison names it."""
    found: dict[str, tuple[str, ...]] = {}
    for place, span in changes:
        for name in compare(facts, wanted, dialects.read(span)):
            found[name] = (*found.get(name, ()), place)
    return found


def _changed_facts(facts: SpanFacts, wanted: _Known, other: SpanFacts | None) -> list[str]:
    if other is None or (other.kind, other.dialect, other.is_frame) != (facts.kind, facts.dialect, facts.is_frame):
        return [EVIDENCE] if EVIDENCE in wanted else []
    return [name for name, value in wanted.items() if name != EVIDENCE and not same(_value_of_fact(other, name), value)]


def _equal_facts(facts: SpanFacts, wanted: _Known, other: SpanFacts | None) -> list[str]:
    if other is None or other.kind != facts.kind:
        return []
    return [name for name, value in wanted.items() if name == EVIDENCE or same(_value_of_fact(other, name), value)]


def _known_facts(facts: SpanFacts) -> _Known:
    values = ((name, _value_of_fact(facts, name)) for name in _FIELDS)
    known = {name: value for name, value in values if value not in _NOTHING and value is not False}
    return {EVIDENCE: facts.kind, **known}


def _value_of_fact(facts: SpanFacts, name: str) -> Any:
    return last_text(facts.messages, LAST_TEXTS[name]) if name in LAST_TEXTS else getattr(facts, name)


# ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _with_replacements(span: SpanRecord) -> Iterator[Change]:
    """Yield the span with each place in it replaced by another value of the same type."""
    for place, keys in _groups(span.attributes).items():
        changed = {key: _other_value(span.attributes[key]) for key in keys}
        if any(changed[key] is not span.attributes[key] for key in keys):
            yield place, msgspec.structs.replace(span, attributes={**span.attributes, **changed})
    for name, key in _event_keys(span):
        yield event_place(span, name, key), _with_events(span, name, key, _other_value)
    yield from _with_span_changes(span)


def _with_removals(span: SpanRecord) -> Iterator[Change]:
    """Yield the span with each place in it removed."""
    for place, keys in _groups(span.attributes).items():
        left = {key: value for key, value in span.attributes.items() if key not in keys}
        yield place, msgspec.structs.replace(span, attributes=left)
    for name, key in _event_keys(span):
        yield event_place(span, name, key), _with_events(span, name, key, lambda value: None)


def _with_single_places(span: SpanRecord, evidence: Sequence[str]) -> Iterator[Change]:
    """Yield the span with nothing but the evidence for its kind, then with each further place alone."""
    groups = _groups(span.attributes)
    known = {key: span.attributes[key] for place in evidence for key in groups.get(place, ())}
    yield "", msgspec.structs.replace(span, attributes=known, events=())
    for place, keys in groups.items():
        only = known | {key: span.attributes[key] for key in keys}
        yield place, msgspec.structs.replace(span, attributes=only, events=())
    for name in dict.fromkeys(event.name for event in span.events):
        events = tuple(event for event in span.events if event.name == name)
        place = event_place(span, name, None)
        yield place, msgspec.structs.replace(span, attributes=known, events=events)


def _with_span_changes(span: SpanRecord) -> Iterator[Change]:
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
    """Return the attributes by place; those that spell out one list are one place (``llm.input_messages.*``)."""
    groups: dict[str, list[str]] = {}
    for key in attributes:
        groups.setdefault(_NUMBERED.sub(".*", key), []).append(key)
    return {keys[0] if len(keys) == 1 else place: keys for place, keys in groups.items()}


def _event_keys(span: SpanRecord) -> dict[tuple[str, str], None]:
    return {(event.name, key): None for event in span.events for key in event.attributes}


def event_place(span: SpanRecord, name: str, key: str | None) -> str:
    """Return the name of an attribute of the events of a name, or of all of them, as a place."""
    is_log = any(event.name == name and BODY_KEY in event.attributes for event in span.events)
    place = f"{'log record' if is_log else 'event'} {name}"
    return place if key is None else f"{place}: {key}"


def _with_events(span: SpanRecord, name: str, key: str, change: Any) -> SpanRecord:
    """Return the span with one attribute changed in all events of a name; None as the new value removes it."""
    events = tuple(_with_event(event, key, change) if event.name == name else event for event in span.events)
    return msgspec.structs.replace(span, events=events)


def _with_event(event: Event, key: str, change: Any) -> Event:
    if key not in event.attributes:
        return event
    value = change(event.attributes[key])
    rest = {name: item for name, item in event.attributes.items() if name != key}
    return msgspec.structs.replace(event, attributes=rest if value is None else {**event.attributes, key: value})


def _other_value(value: Any) -> Any:
    """Return another value of the same type; a value that stands for nothing stays."""
    if value in _NOTHING:
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, Mapping):
        return {_OTHER: _OTHER}
    return [_OTHER] if isinstance(value, list | tuple) else _OTHER.encode() if isinstance(value, bytes) else _OTHER
