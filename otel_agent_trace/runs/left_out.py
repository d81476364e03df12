"""Find what a run's spans hold that is nowhere in the run: attributes of spans, events, links, resources and scopes.

Values are compared, not names: a dialect may understand an attribute, and yet its value be left out, because another
span or attribute has the same fact, or a pass has removed the span.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.payloads import parsed
from otel_agent_trace.model import AgentRun
from otel_agent_trace.runs.provenance import event_place
from otel_agent_trace.runs.sampled import TRACE_STATE
from otel_agent_trace.sampling import without_threshold
from otel_agent_trace.span import SpanRecord

_MAX_SEARCHED_CHARS = 1 << 20
"""Total length of a run's texts up to which a value is looked for within them too."""


_OF_SCORES = frozenset(
    {
        semconv.EVALUATION_SCORE,
        semconv.SCORE_TYPE,
        semconv.SCORE_BY_ID,
        semconv.RUN_ID,
        semconv.STEP_ID,
        semconv.RESPONSE_ID,
    }
)
"""Attributes of evaluations that are in a score: its value, which is a double, and to what it belongs."""


class Outside(msgspec.Struct, frozen=True):
    """Represent the spans of an instrumentation scope in traces without a run: their number, and the places in them."""

    scope: str
    spans: int
    places: tuple[str, ...]


class OutsideLogs(msgspec.Struct, frozen=True):
    """Represent the log records of an instrumentation scope that belong to no span: why, their number, and their places.

    `why` is ``of no trace``, ``of a span that was not read``, ``of a trace that is not one run`` for records that name no
    span, ``of a response that was not read``, or ``of a run that was not read``.
    """

    why: str
    scope: str
    records: int
    places: tuple[str, ...]


class LeftOut(msgspec.Struct, frozen=True):
    """Represent a span, and the places in it whose values are nowhere in the run.

    A place with several values, as ``gen_ai.output.messages``, is one of them if any of its values is not in the run, such
    as a ``finish_reason``, although the others were read.
    """

    span_id: str
    span_name: str
    places: tuple[str, ...]


def left_out(
    run: AgentRun,
    spans: Iterable[SpanRecord],
    unread: Mapping[str, Collection[str]],
    sources: Mapping[str, Collection[str]],
) -> Iterator[LeftOut]:
    """Yield the spans with values that are nowhere in a run.

    Args:
        run: the outermost run.
        spans: the spans that it was read from, and those beside it.
        unread: names of attributes of each span, by its id, that are listed as unread.
        sources: places in each span from which facts were read: of a word or a number there (the kind of a span, a time)
            all that counts is in the fact.
    """
    values = _Values(run.to_dict())
    for span in spans:
        listed, read = unread.get(span.span_id, ()), sources.get(span.span_id, ())
        places = [
            place
            for place, value in leaves_of(span)
            if place not in listed
            and not values.hold(value)
            and not (place in read and place != TRACE_STATE and _is_a_word(value))
        ]
        if places:
            yield LeftOut(span.span_id, span.name, tuple(dict.fromkeys(places)))


def _is_a_word(value: Any) -> bool:
    return not isinstance(parsed(value), dict | list | tuple)


def leaves_of(span: SpanRecord) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of each attribute of a span, and of what belongs to it."""
    yield from span.attributes.items()
    for event in span.events:
        known = _OF_SCORES if event.name.startswith(semconv.EVALUATION_EVENTS) else ()
        for key, value in event.attributes.items():
            if key not in known:
                yield event_place(span, event.name, key), value
    for link in span.links:
        yield from ((f"link: {key}", value) for key, value in link.attributes.items())
    yield from ((f"resource: {key}", value) for key, value in span.resource.attributes.items())
    yield from ((f"scope: {key}", value) for key, value in span.scope.attributes.items() if key != semconv.FORMAT)
    yield TRACE_STATE, without_threshold(span.trace_state)
    yield "status message", span.status_message


class _Values:
    """Hold the values of a run as texts; numbers are equal to their texts, since many frameworks write them so."""

    def __init__(self, data: Any) -> None:
        self._texts = frozenset(_texts_in(data))
        long_texts = [text for text in self._texts if len(text) > 1]
        self._joined = "\0".join(long_texts) if sum(map(len, long_texts)) <= _MAX_SEARCHED_CHARS else ""

    def hold(self, value: Any) -> bool:
        """Return whether all that is in a value is in the run, itself or parsed as JSON."""
        return all(self._hold_text(text) for text in _texts_in(value)) or all(
            self._hold_text(text) for text in _texts_in(parsed(value))
        )

    def _hold_text(self, text: str) -> bool:
        return not text or text in self._texts or (len(text) > 1 and text in self._joined)


def _texts_in(value: Any) -> Iterator[str]:
    """Yield the texts of the leaves of JSON-like data, without keys; those that are JSON again are parsed."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Mapping):
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            pending.extend(item)
        elif isinstance(item, bool):
            yield str(item).lower()
        elif item is not None:
            yield item if type(item) is str else str(item)
