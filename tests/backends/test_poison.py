"""Spans that no format bears as they are: each arrives, repaired, and costs none of its neighbours."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from otel_agent_trace import (
    AgentRun,
    AgentSpanProcessor,
    AgentStep,
    FileBackend,
    InMemoryBackend,
    Problem,
    SpanRecord,
    load_runs,
    open_source,
)

BROKEN = "a\udcff"
SHOWN = "a\\udcff"
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "x"}
Poison = tuple[Callable[[Any], Any], Callable[[SpanRecord], bool]]


def deep(levels: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind is list else {"k": value}
    return value


def depth_of(value: Any) -> int:
    depth = 0
    while isinstance(value, list | dict):
        depth, value = depth + 1, value[0] if isinstance(value, list) else value["k"]
    return depth


def attribute(value: Any, read: Any) -> Poison:
    return (lambda span: span.set_attribute("a", value)), lambda record: record.attributes["a"] == read


def field(name: str, value: Any, check: Callable[[SpanRecord], bool]) -> Poison:
    return (lambda span: setattr(span, name, value)), check


def nested(levels: int, kind: type) -> Poison:
    return (
        lambda span: span.set_attribute("a", deep(levels, kind)),
        lambda record: depth_of(record.attributes["a"]) == min(levels, 64),
    )


def event(name: Any = "e", time_ns: Any = 5, read: tuple[str, int] | None = None) -> Poison:
    return (
        lambda span: span.add_event(name, {"b": 1}, timestamp=time_ns),
        lambda record: [(event.name, event.time_ns) for event in record.events] == [read or (name, record.start_ns)],
    )


class OddStatus:
    """What is no `Status`."""

    def __init__(self, code: Any, description: Any) -> None:
        self.status_code, self.description, self.is_unset, self.is_ok = code, description, False, True


def context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(1))


POISON: dict[str, Poison] = {
    "surrogate in a value": attribute(BROKEN, SHOWN),
    "surrogate in a nested key": attribute({BROKEN: {BROKEN: 1}}, {SHOWN: {SHOWN: 1}}),
    "surrogate in a key": (lambda span: span.set_attribute(BROKEN, 1), lambda record: record.attributes[SHOWN] == 1),
    "surrogate in the name": (lambda span: span.update_name(BROKEN), lambda record: record.name == SHOWN),
    "surrogate in the name of an event": event(BROKEN, 5, (SHOWN, 5)),
    "surrogate in the status": (
        lambda span: span.set_status(Status(StatusCode.ERROR, BROKEN)),
        lambda record: (record.status_code, record.status_message) == (2, SHOWN),
    ),
    "int of 64 bits": attribute(2**63, str(2**63)),
    "negative int": attribute(-(2**63) - 1, str(-(2**63) - 1)),
    "nested int": attribute([{"x": 2**70}], [{"x": str(2**70)}]),
    "int of 5000 digits": attribute(10**5000, hex(10**5000)),
    "NaN": (lambda span: span.set_attribute("a", float("nan")), lambda record: record.attributes["a"] != 1),
    "infinities": attribute([float("inf"), float("-inf")], [float("inf"), float("-inf")]),
    "bytes": attribute(b"\xff\x00", b"\xff\x00"),
    **{f"{kind.__name__} in {n}": nested(n, kind) for n in (33, 49, 150, 300) for kind in (dict, list)},
    "int as name": (lambda span: span.update_name(123), lambda record: record.name == "123"),
    "no name": (lambda span: span.update_name(None), lambda record: record.name in ("", "None")),
    "keys that are no text": (
        lambda span: span.set_attributes({1: 2, (1, 2): 3}),
        lambda record: (record.attributes["1"], record.attributes["(1, 2)"]) == (2, 3),
    ),
    "float as start": field("_start_time", 1.5e18, lambda record: record.start_ns == 15 * 10**17),
    "NaN as start": field("_start_time", float("nan"), lambda record: record.start_ns == record.end_ns),
    "infinite start": field("_start_time", float("inf"), lambda record: record.start_ns == record.end_ns),
    "text as start": field("_start_time", "yesterday", lambda record: record.start_ns == record.end_ns),
    "negative start": field("_start_time", -5, lambda record: record.start_ns == 0),
    "huge start": field("_start_time", 2**70, lambda record: record.start_ns == 2**64 - 1),
    "end before start": field("_start_time", 2**63, lambda record: record.start_ns == 2**63 > (record.end_ns or 0) > 0),
    "float as time of an event": event(time_ns=1.5, read=("e", 1)),
    "NaN as time of an event": event(time_ns=float("nan")),
    "text as time of an event": event(time_ns="x"),
    "negative time of an event": event(time_ns=-1, read=("e", 0)),
    "int as name of an event": event(5, 6, ("5", 6)),
    "no status": field("_status", None, lambda record: (record.status_code, record.status_message) == (0, "")),
    "int as description": field(
        "_status",
        OddStatus(StatusCode.ERROR, 5),
        lambda record: (record.status_code, record.status_message) == (2, "5"),
    ),
    "int as status": field(
        "_status", OddStatus(2, "x"), lambda record: (record.status_code, record.status_message) == (2, "x")
    ),
    "no kind": field("_kind", None, lambda record: record.kind == 1),
    "no resource": field("_resource", None, lambda record: record.name == "s300"),
    "no scope": field("_instrumentation_scope", None, lambda record: record.scope.name == ""),
    "ids that are too long": field(
        "_context",
        context(2**128 + 7, 2**64 + 9),
        lambda record: (record.trace_id, record.span_id) == (f"{7:032x}", f"{9:016x}"),
    ),
}


class Own:
    """A `TracerBackend` that counts steps."""

    def __init__(self) -> None:
        self.steps = 0

    def start_run(self, run: AgentRun) -> None:
        pass

    def log_step(self, run_id: str, step: AgentStep) -> None:
        self.steps += 1

    def end_run(self, run: AgentRun) -> None:
        pass


class Everywhere:
    """One provider with all ways to a backend."""

    def __init__(self, folder: Path) -> None:
        self.files = [FileBackend(folder / f"{name}.jsonl") for name in ("ours", "batch", "simple")]
        self.memories = [InMemoryBackend(), InMemoryBackend()]
        self.own = Own()
        self.provider = TracerProvider(shutdown_on_exit=False)
        for processor in (
            AgentSpanProcessor([self.files[0], self.memories[0], self.own]),
            BatchSpanProcessor(self.files[1], max_queue_size=4096, schedule_delay_millis=60_000),
            SimpleSpanProcessor(self.files[2]),
            BatchSpanProcessor(self.memories[1], max_queue_size=4096, schedule_delay_millis=60_000),
        ):
            self.provider.add_span_processor(processor)

    def emit(self, poisons: Mapping[int, list[Callable[[Any], Any]]], count: int) -> None:
        """So many spans, those of some numbers poisoned."""
        tracer = self.provider.get_tracer("x")
        for number in range(count):
            span = tracer.start_span(f"s{number}", attributes={**TOOL, "number": number})
            for poison in poisons.get(number, ()):
                poison(span)
            span.end()
        self.provider.shutdown()
        for file in self.files:  # where a span whose ids were changed has never ended
            shutil.rmtree(f"{file.path}.open", ignore_errors=True)


def not_standard(constant: str) -> None:
    raise ValueError(constant)


def records_of(backend: FileBackend) -> list[SpanRecord]:
    """What a reader gets of a file in which every line is JSON by every parser."""
    for line in Path(backend.path).read_bytes().splitlines():
        assert msgspec.json.decode(line) == json.loads(line.decode(), parse_constant=not_standard)
    problems: list[Problem] = []
    records = [record for trace in open_source(backend.path).traces(problems.append) for record in trace]
    assert problems == []
    return records


@pytest.mark.parametrize("name", POISON)
def test_one_poisoned_span_of_512(tmp_path: Path, name: str) -> None:
    """All 512 arrive by every way, each line is standard JSON, and the poisoned one is read back repaired."""
    poison, is_repaired = POISON[name]
    everywhere = Everywhere(tmp_path)
    everywhere.emit({300: [poison]}, 512)
    for backend in everywhere.files:
        records = {record.attributes["number"]: record for record in records_of(backend)}
        assert sorted(records) == list(range(512))
        assert is_repaired(records[300])
        assert all(records[number].name == f"s{number}" for number in records if number != 300)
        assert len(load_runs(backend.path)) == 512
        assert backend.stats() == {"kept": 512}
    for memory in everywhere.memories:
        assert len(memory.spans()) == len(memory.runs()) == 512
    assert everywhere.own.steps == 512


@given(st.dictionaries(st.integers(0, 11), st.lists(st.sampled_from(sorted(POISON)), min_size=1, max_size=6)))
def test_mixtures_of_poisons(tmp_path_factory: pytest.TempPathFactory, poisons: dict[int, list[str]]) -> None:
    """Several poisons in one span, and several such spans, change nothing of that."""
    everywhere = Everywhere(tmp_path_factory.mktemp("poison"))
    everywhere.emit({number: [POISON[name][0] for name in names] for number, names in poisons.items()}, 12)
    for backend in everywhere.files:
        assert sorted(record.attributes["number"] for record in records_of(backend)) == list(range(12))
        assert backend.stats() == {"kept": 12}
    assert [len(memory.spans()) for memory in everywhere.memories] == [12, 12]


def test_ids_that_stand_twice(tmp_path: Path) -> None:
    """Two spans under one id are both in the file; to readers, who know spans by their ids, they are one."""
    everywhere = Everywhere(tmp_path)
    everywhere.emit({number: [lambda span: setattr(span, "_context", context(7, 9))] for number in (3, 5)}, 8)
    for backend in everywhere.files:
        assert len(records_of(backend)) == 8
        assert len(load_runs(backend.path)) == 7


def test_ids_that_are_none(tmp_path: Path) -> None:
    """A span whose ids are zeros is in the file, and a problem for readers; its neighbours are read."""
    everywhere = Everywhere(tmp_path)
    everywhere.emit({3: [lambda span: setattr(span, "_context", context(0, 0))]}, 8)
    for backend in everywhere.files:
        problems: list[Problem] = []
        assert len(load_runs(backend.path, on_problem=problems.append)) == 7
        assert ["no span id" in problem.reason for problem in problems] == [True]
        assert backend.stats() == {"kept": 8}


class Foreign:
    """Neither a number nor a text, and not even printable."""

    def __repr__(self) -> str:
        raise ZeroDivisionError


BY_HAND: dict[str, Callable[[SpanContext], ReadableSpan]] = {
    "bare": lambda context: ReadableSpan("x", context=context),
    "no resource": lambda context: ReadableSpan("x", context=context, resource=None),
    "no status": lambda context: ReadableSpan("x", context=context, status=None),  # type: ignore[arg-type]
    "no events": lambda context: ReadableSpan("x", context=context, events=None, links=None),  # type: ignore[arg-type]
    "name": lambda context: ReadableSpan(Foreign(), context=context),  # type: ignore[arg-type]
    "kind": lambda context: ReadableSpan("x", context=context, kind=9),  # type: ignore[arg-type]
    "parent": lambda context: ReadableSpan("x", context=context, parent=SpanContext(2**130, 2**70, False)),
    "values": lambda context: ReadableSpan("x", context=context, attributes={"a": Foreign(), "b": [Foreign()]}),  # type: ignore[dict-item, list-item]
    "endless": lambda context: ReadableSpan("x", context=context, attributes={"a": itertools.count()}),  # type: ignore[dict-item]
    "long range": lambda context: ReadableSpan("x", context=context, attributes={"a": range(10**12)}),
    "keys": lambda context: ReadableSpan("x", context=context, attributes={Foreign(): 1, 2: 3}),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("name", BY_HAND)
def test_spans_made_by_hand(tmp_path: Path, name: str) -> None:
    """A `ReadableSpan` that no SDK would make is kept as well, between its neighbours."""
    file, memory = FileBackend(tmp_path / "t.jsonl"), InMemoryBackend()
    spans = [
        ReadableSpan("before", context=context(1, 1)),
        BY_HAND[name](context(2, 2)),
        ReadableSpan("after", context=context(3, 3)),
    ]
    for backend in (file, memory):
        assert backend.export(spans) is SpanExportResult.SUCCESS
        assert backend.stats() == {"kept": 3}
    AgentSpanProcessor(file).on_end(spans[1])
    assert sorted(record.span_id for record in records_of(file)) == [f"{number:016x}" for number in (1, 2, 2, 3)]
    assert len(memory.spans()) == 3


def test_spans_without_ids(tmp_path: Path) -> None:
    """A span without ids is none: it is counted, and costs no other."""
    file, memory = FileBackend(tmp_path / "t.jsonl"), InMemoryBackend()
    spans = [
        ReadableSpan("before", context=context(1, 1)),
        ReadableSpan("x", context=None),
        ReadableSpan("after", context=context(3, 3)),
    ]
    for backend in (file, memory):
        assert backend.export(spans) is SpanExportResult.SUCCESS
    assert file.stats() == {"kept": 2, "failed: span that cannot be written": 1}
    assert memory.stats() == {"kept": 2, "failed: span that cannot be kept": 1}
    processor = AgentSpanProcessor([file, memory])
    processor.on_end(spans[1])
    assert processor.stats()["dropped: span without ids"] == 1
    assert (len(records_of(file)), len(memory.spans())) == (2, 2)


def test_a_span_that_loses_its_ids_while_it_is_open(tmp_path: Path) -> None:
    """What memory holds as running and can no longer read costs nothing else."""
    memory = InMemoryBackend()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(AgentSpanProcessor(memory))
    tracer = provider.get_tracer("x")
    span: Any = tracer.start_span("x", attributes=TOOL)
    assert isinstance(span, Span)
    tracer.start_span("y", attributes=TOOL).end()
    span._context = None
    assert len(memory.runs()) == 1
    assert memory.stats() == {"kept": 1, "failed: span that cannot be read": 1}
