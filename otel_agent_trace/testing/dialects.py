"""Provide `check_dialect`, which runs the contract of a dialect against an implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.span import Event, SpanRecord
from otel_agent_trace.span_facts import SpanFacts
from otel_agent_trace.testing.require import require, shown

Dialect = Callable[[SpanRecord], "SpanFacts | None"]
_DEPTH = 60


def check_dialect(read: Dialect, spans: Iterable[SpanRecord]) -> None:
    """Read spans that the dialect understands, and hostile variants of them.

    The dialect must understand the given spans, return None for a span without any of their attributes, never raise,
    whatever an attribute holds, return `SpanFacts` whose fields have the declared types, and leave the span as it was.

    Args:
        read: the dialect's function.
        spans: examples of all that it understands.

    Raises:
        AssertionError: the dialect breaks the contract; the message names the span.
    """
    examples = list(spans)
    require(examples, "check_dialect was given no spans to check")
    for span in examples:
        require(_read_checked(read, span) is not None, f"{_qualified_name(read)} does not understand {shown(span)}")
        unrelated = msgspec.structs.replace(span, attributes={"http.request.method": "GET"}, events=())
        require(_read_checked(read, unrelated) is None, f"{_qualified_name(read)} claims {shown(unrelated)}")
        for hostile in _hostile_variants(span):
            _read_checked(read, hostile)


def _read_checked(read: Dialect, span: SpanRecord) -> SpanFacts | None:
    before = repr(span)
    try:
        facts = read(span)
    except Exception as error:
        msg = f"{_qualified_name(read)} raised {type(error).__name__}: {shown(error)} on {shown(span)}"
        raise AssertionError(msg) from error
    require(repr(span) == before, f"{_qualified_name(read)} changed the span {before}")
    if facts is not None:
        require(isinstance(facts, SpanFacts), f"{_qualified_name(read)} gave {shown(facts)}, which is no SpanFacts")
        for item in (facts, facts.error, facts.usage, *facts.messages):
            _check_types(read, item, span)
    return facts


def _check_types(read: Dialect, item: msgspec.Struct | None, span: SpanRecord) -> None:
    if item is None:
        return
    try:
        msgspec.convert({name: getattr(item, name) for name in item.__struct_fields__}, type(item))
    except msgspec.ValidationError as error:
        msg = f"{_qualified_name(read)} gave a {type(item).__name__} that is none: {error}, for {shown(span)}"
        raise AssertionError(msg) from error


def _qualified_name(read: Dialect) -> str:
    return f"{read.__module__}.{getattr(read, '__qualname__', type(read).__qualname__)}"


# ── hostile spans ────────────────────────────────────────────────────────────────────────────────────────────────────


def _hostile_variants(span: SpanRecord) -> Iterator[SpanRecord]:
    """Yield the span with each attribute changed, with all of them changed, and with other parts changed."""
    replace, attributes = msgspec.structs.replace, dict(span.attributes)
    for key, known in attributes.items():
        yield replace(span, attributes={name: value for name, value in attributes.items() if name != key})
        yield replace(span, attributes={key: known})
        for value in _VALUES:
            yield replace(span, attributes={**attributes, key: value})
    for value in _VALUES:
        yield replace(span, attributes=dict.fromkeys(attributes, value))
        exception = Event(semconv.EXCEPTION_EVENT, 0, dict.fromkeys(_EXCEPTION, value))
        yield replace(span, events=(exception, Event("", -1)), status_code=semconv.STATUS_ERROR)
    for change in _CHANGES:
        yield replace(span, **change)


def _nested(value: Any, wrap: Callable[[Any], Any]) -> Any:
    for _ in range(_DEPTH):
        value = wrap(value)
    return value


_EXCEPTION = (semconv.EXCEPTION_TYPE, semconv.EXCEPTION_MESSAGE, semconv.EXCEPTION_STACKTRACE)
_CHANGES: tuple[dict[str, Any], ...] = (
    {"attributes": {}},
    {"end_ns": None},
    {"start_ns": 0, "end_ns": 0},
    {"start_ns": 2**64 - 1, "end_ns": 1},
    {"name": "", "kind": 99, "status_code": 99},
    {"status_code": semconv.STATUS_ERROR, "status_message": "\ud800"},
    {"events": (Event(semconv.EXCEPTION_EVENT, 0),) * 3, "status_code": semconv.STATUS_ERROR},
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63 - 1, -(2**63), 0.5, -0.0, float("nan"), float("inf"), 1e308),
    *("", " ", "\0", "\ud800", "\ufeff{}", "x" * 100_000, "9" * 5_000, "-1", "1e999", "NaN", "true"),
    *("{", "[", '"', "null", "{}", "[]", "[[]]", "[null]", "[1, 2.5]", '[{"role": 1, "parts": 2}]', '{"a": {"b": []}}'),
    *('[{"role": "user", "parts": [{"type": {}, "content": []}]}]', '[{"parts": [null]}]', '{"t": 1, "c": [], "k": 5}'),
    *("[" * 10_000, '{"a":' * 10_000, "[" * 200 + "]" * 200),
    *(b"", b"\xff\x00", [], [""], [None], [[], {}], ["a", 1], {}, {"": None}, {"role": [], "parts": {}}),
    *({"type": "text", "content": 5}, [{"role": None, "content": [{"type": 1}]}], {"t": "tuple", "c": {"0": 1}}),
    *(_nested(None, lambda inner: [inner]), _nested({}, lambda inner: {"a": inner})),
)
