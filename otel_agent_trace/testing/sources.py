"""Provide `check_source`, which runs the contract of `SpanSource` against an implementation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.span import Event, Link, Problem, Resource, Scope, SpanRecord, SpanSource
from otel_agent_trace.testing.require import require, shown

_BEGAN_NS = 1_795_475_000_000_000_001
_MANY = 300
_RESOURCE = Resource({semconv.SERVICE_NAME: "checked"})
_SCOPE = Scope("checked", "1")


def check_source(
    make_source: Callable[[Sequence[SpanRecord]], SpanSource], *, ignoring: Collection[str] = frozenset()
) -> None:
    """Run the contract of `SpanSource` against an implementation: each trace once, with all its spans, again and again.

    Args:
        make_source: returns a source that holds just these spans, where possible in this order. Some come more than
            once, traces are interleaved, children come before their parents, and some parents are missing.
        ignoring: fields of `SpanRecord` that the store is known to lose or change.

    Raises:
        AssertionError: the source breaks the contract; the message names the case and the difference.
    """
    for title, spans in _CASES.items():
        source = make_source(spans)
        where = f"{type(source).__name__}, {title}"
        first = _read_traces(source, where)
        _compare(where, spans, first, frozenset(ignoring))
        again = _read_traces(source, f"{where}, read again")
        _compare(f"{where}, read again", spans, again, frozenset(ignoring))
        _check_abandoning(source, where)


def _read_traces(source: SpanSource, where: str) -> dict[str, list[SpanRecord]]:
    problems: list[Problem] = []
    traces: dict[str, list[SpanRecord]] = {}
    for spans in source.traces(problems.append):
        require(isinstance(spans, list), f"{where}: it gave {shown(spans)}, which is no list")
        require(spans, f"{where}: it gave a trace without spans")
        for span in spans:
            require(isinstance(span, SpanRecord), f"{where}: it gave {shown(span)}, which is no SpanRecord")
        trace_id = spans[0].trace_id
        require(all(span.trace_id == trace_id for span in spans), f"{where}: it gave spans of several traces together")
        require(trace_id not in traces, f"{where}: trace {trace_id} came twice")
        traces[trace_id] = list(spans)
        spans.clear()  # the lists belong to the caller
    require(not problems, f"{where}: it reported problems with valid spans: {'; '.join(map(str, problems))}")
    return traces


def _compare(
    where: str, written: Sequence[SpanRecord], traces: dict[str, list[SpanRecord]], ignoring: frozenset[str]
) -> None:
    missing = sorted({span.trace_id for span in written} - set(traces))
    require(not missing, f"{where}: traces {shown(missing)} are missing")
    require(len(traces) == len({span.trace_id for span in written}), f"{where}: it gave traces that it does not hold")
    expected = {(span.trace_id, span.span_id): span for span in written}
    found = {(span.trace_id, span.span_id) for spans in traces.values() for span in spans}
    require(found == set(expected), f"{where}: spans {shown(sorted(found ^ set(expected)))} are missing or too many")
    for spans in traces.values():
        for span in spans:
            _compare_fields(where, expected[span.trace_id, span.span_id], span, ignoring)


def _compare_fields(where: str, written: SpanRecord, held: SpanRecord, ignoring: frozenset[str]) -> None:
    for name in SpanRecord.__struct_fields__:
        one, other = getattr(written, name), getattr(held, name)
        require(name in ignoring or one == other, f"{where}: {name} was {shown(one)} and is {shown(other)}")


def _check_abandoning(source: SpanSource, where: str) -> None:
    """Check that a reading which is closed halfway does not keep the next one from reading all."""
    reading = source.traces(lambda _: None)
    first = next(reading, None)
    close = getattr(reading, "close", None)
    if close is not None:
        close()
    if first is not None:
        require(
            _read_traces(source, f"{where}, read after an abandoned reading"),
            f"{where}: nothing is left to be read again",
        )


# ── spans ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _span(trace: int, number: int, parent: int | None, **fields: Any) -> SpanRecord:
    known: dict[str, Any] = {
        "attributes": {semconv.OPERATION_NAME: semconv.OPERATION_EXECUTE_TOOL, semconv.TOOL_NAME: f"tool {number}"},
        "resource": _RESOURCE,
        "scope": _SCOPE,
        "flags": 0x101,
    }
    return SpanRecord(
        trace_id=f"{trace:032x}",
        span_id=f"{trace << 16 | number:016x}",
        parent_span_id=None if parent is None else f"{trace << 16 | parent:016x}",
        name=f"execute_tool tool {number}",
        start_ns=_BEGAN_NS + 1_000 * number,
        end_ns=_BEGAN_NS + 1_000_000 * (trace + 1) + number,
        **{**known, **fields},
    )


def _rich(trace: int) -> SpanRecord:
    """Return a span with a value in every field."""
    attributes = {
        "text": "\0 \U0001f600 \u202e",
        "empty": "",
        "json": '{"a": [1, null]}',
        "int": 2**63 - 1,
        "negative": -(2**63),
        "float": 5e-324,
        "whole": 1.0,
        "bool": False,
        "texts": ["a", "b"],
        "numbers": [1, 2],
    }
    return _span(
        trace,
        1,
        None,
        attributes=attributes,
        kind=semconv.KIND_CLIENT,
        status_code=semconv.STATUS_ERROR,
        status_message="it failed",
        events=(Event("exception", _BEGAN_NS + 1, {"exception.type": "E"}), Event("other", _BEGAN_NS + 2, {})),
        links=(Link(f"{trace + 1:032x}", "00000000000000ff", {"why": "related"}),),
        trace_state="vendor=1",
    )


def _small(trace: int) -> list[SpanRecord]:
    return [_span(trace, 1, None), _span(trace, 2, 1), _span(trace, 3, 2)]


def _renamed(span: SpanRecord, name: str) -> SpanRecord:
    return msgspec.structs.replace(span, name=name)


_CASES: dict[str, list[SpanRecord]] = {
    "no spans": [],
    "one trace": _small(1),
    "every field": [_rich(1)],
    "children before their parents": _small(1)[::-1],
    "interleaved traces": [span for spans in zip(*map(_small, range(1, _MANY)), strict=True) for span in spans],
    "spans that come more than once": [*_small(1), *_small(2), *_small(1), *_small(2)[1:]],
    "missing parents": [_span(1, 2, 1), _span(1, 3, 2), _span(2, 3, 2)],
    "a parent that has the span's own id": [_renamed(_span(1, 1, 1), "ring"), *_small(2)],
}
