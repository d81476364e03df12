"""`check_dialect`: what every dialect must withstand."""

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
    """Read spans that the dialect understands, and spans that nobody does.

    It must understand the former, say None of a span without any of its attributes, never raise, whatever stands in an
    attribute, give `SpanFacts`s whose fields are of the types that they say, and leave the span as it was.

    Args:
        read: the dialect.
        spans: examples of all that it understands.

    Raises:
        AssertionError: the dialect does not; the message says for which span.
    """
    examples = list(spans)
    require(examples, "check_dialect was given no spans")
    for span in examples:
        require(_read(read, span) is not None, f"{_named(read)} does not understand {shown(span)}")
        stranger = msgspec.structs.replace(span, attributes={"http.request.method": "GET"}, events=())
        require(_read(read, stranger) is None, f"{_named(read)} claims {shown(stranger)}")
        for hostile in _hostile(span):
            _read(read, hostile)


def _read(read: Dialect, span: SpanRecord) -> SpanFacts | None:
    before = repr(span)
    try:
        facts = read(span)
    except Exception as error:
        msg = f"{_named(read)} raised {type(error).__name__}: {shown(error)} on {shown(span)}"
        raise AssertionError(msg) from error
    require(repr(span) == before, f"{_named(read)} changed the span {before}")
    if facts is not None:
        require(isinstance(facts, SpanFacts), f"{_named(read)} gave {shown(facts)}, which is no SpanFacts")
        for item in (facts, facts.error, facts.usage, *facts.messages):
            _check_types(read, item, span)
    return facts


def _check_types(read: Dialect, item: msgspec.Struct | None, span: SpanRecord) -> None:
    if item is None:
        return
    try:
        msgspec.convert({name: getattr(item, name) for name in item.__struct_fields__}, type(item))
    except msgspec.ValidationError as error:
        msg = f"{_named(read)} gave a {type(item).__name__} that is none: {error}, for {shown(span)}"
        raise AssertionError(msg) from error


def _named(read: Dialect) -> str:
    return f"{read.__module__}.{getattr(read, '__qualname__', type(read).__qualname__)}"


# ── hostile spans ────────────────────────────────────────────────────────────────────────────────────────────────────


def _hostile(span: SpanRecord) -> Iterator[SpanRecord]:
    """The span with each attribute changed, with all of them changed, and with other parts changed."""
    replace, attributes = msgspec.structs.replace, dict(span.attributes)
    for key, told in attributes.items():
        yield replace(span, attributes={name: value for name, value in attributes.items() if name != key})
        yield replace(span, attributes={key: told})
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
