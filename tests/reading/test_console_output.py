"""What exporters print for people is read: Python's, Go's and Java's, among whatever else the program prints."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry import trace as trace_api
from opentelemetry._logs import LogRecord as ApiLogRecord
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_agent_trace import load_runs, open_source
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.formats.sdk_span import SdkReader
from otel_agent_trace.span import Notice, Scope, SpanRecord
from tests.support.sample_runs import BEGAN_NS, Problems, fail_on_problem

Write = Callable[..., Path]
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
US = 1_000


def emitted(indent: int | None = 4) -> tuple[list[ReadableSpan], list[str]]:
    """The spans of a small program, and what Python's exporter prints of each."""
    kept, out = InMemorySpanExporter(), io.StringIO()
    provider = TracerProvider(resource=SdkResource.create({"service.name": "shop"}))
    printer = ConsoleSpanExporter(out=out, formatter=lambda span: f"{span.to_json(indent=indent)}\n\f")
    for exporter in (kept, printer):
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("lib", "1")
    agent = tracer.start_span("invoke_agent clerk", attributes=AGENT, start_time=BEGAN_NS)
    context = trace_api.set_span_in_context(agent)
    other = trace_api.Link(agent.get_span_context(), {"why": "{ not a document"})
    chat = tracer.start_span(
        "chat m", context, trace_api.SpanKind.CLIENT, {**CHAT, "n": 1, "list": ["a", "}\n{"]}, [other], BEGAN_NS + US
    )
    chat.add_event("progress", {"part": 0.5}, BEGAN_NS + 2 * US)
    chat.set_status(trace_api.Status(trace_api.StatusCode.ERROR, "it failed"))
    chat.end(BEGAN_NS + 3 * US)
    agent.end(BEGAN_NS + 4 * US)
    return list(kept.get_finished_spans()), out.getvalue().split("\f")[:-1]


def without_scope(span: SpanRecord) -> SpanRecord:
    """A span as Python prints it: without scope and flags, and the scope's name is nowhere else."""
    return msgspec.structs.replace(span, scope=Scope(), flags=0)


def by_id(spans: Sequence[SpanRecord]) -> list[SpanRecord]:
    return sorted(spans, key=lambda span: span.span_id)


ARRANGEMENTS: dict[str, Callable[[list[str]], str]] = {
    "one after another": "".join,
    "with text around them": lambda texts: (
        "Starting ...\n" + "".join(f"[INFO] Answer: {{4}}\n{text}Spans:\n" for text in texts)
    ),
    "with a prompt before them": lambda texts: "".join(f"You: {text}" for text in texts),
    "in a list": lambda texts: json.dumps([json.loads(text) for text in texts], indent=2),
    "in a list on one line": lambda texts: json.dumps([json.loads(text) for text in texts]),
    "without a line break between them": lambda texts: "".join(text.strip() for text in texts),
    "with commas between them": lambda texts: ",\n".join(text.strip() for text in texts) + ",\n",
    "with brackets around them": lambda texts: f"[{','.join(text.strip() for text in texts)}]",
    "with brackets and line breaks around them": lambda texts: "[" + ",\n".join(text.strip() for text in texts) + "]\n",
    "in a list that has no end yet": lambda texts: "[" + ",\n".join(text.strip() for text in texts) + ",\n",
    "in an object": lambda texts: json.dumps({"count": 2, "spans": [json.loads(text) for text in texts]}, indent=2),
    "as JSON strings": lambda texts: "".join(f"{json.dumps(text)}\n" for text in texts),
    "as JSON strings in a list": json.dumps,
    "behind one that was cut off": lambda texts: texts[0][:60] + "\n" + "".join(texts),
}


@pytest.mark.parametrize("indent", [4, None, 1])
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_spans_that_python_prints(write: Write, arrangement: str, indent: int | None) -> None:
    spans, texts = emitted(indent)
    path = write("out.log", ARRANGEMENTS[arrangement](texts).encode())
    found = Problems()
    [read] = open_source(path).traces(found)
    reader = SdkReader()
    assert by_id(read) == by_id([without_scope(reader.record(span)) for span in spans])
    assert {type(problem) for problem in found} <= (
        {Notice} if "cut" not in arrangement else {Notice, *map(type, found)}
    )


def test_a_run_of_printed_spans(write: Write) -> None:
    _, texts = emitted()
    [run] = load_runs(write("spans.json", "".join(texts).encode()), strict=True)
    assert (run.agent_name, run.service_name, [step.name for step in run.steps]) == ("clerk", "shop", ["m"])


def test_text_between_is_reported_once(write: Write) -> None:
    _, texts = emitted()
    found = Problems()
    list(open_source(write("out", "".join(f"a\nb: {{\n{text}c\n" for text in texts).encode())).traces(found))
    assert [(type(problem), problem.line) for problem in found] == [(Notice, 1)]


def test_log_records_that_python_prints(write: Write) -> None:
    """They are events of their spans, beside which they were printed."""
    spans, texts = emitted()
    chat = spans[0].get_span_context()
    out = io.StringIO()
    provider = LoggerProvider(resource=SdkResource.create({}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(ConsoleLogRecordExporter(out=out)))
    assert chat is not None
    context = trace_api.set_span_in_context(trace_api.NonRecordingSpan(chat))
    for body, name in (("hello", ""), ({"content": "Hi"}, "gen_ai.user.message")):
        record = ApiLogRecord(
            timestamp=BEGAN_NS + 2 * US,
            context=context,
            severity_number=SeverityNumber.WARN,
            body=body,
            event_name=name,
            attributes={"k": 1},
        )
        provider.get_logger("shop.log").emit(record)
    path = write("out", (texts[0] + out.getvalue() + texts[1]).encode())
    [read] = open_source(path).traces(fail_on_problem)
    span = next(span for span in read if span.name == "chat m")
    assert {event.name for event in span.events} == {"progress", "log", "gen_ai.user.message"}
    [line] = [event for event in span.events if event.name == "log"]
    assert line.attributes == {
        "k": 1,
        "agent_trace.log.severity": "WARN",
        "agent_trace.log.logger": "",
        "agent_trace.log.body": "hello",
    }


def test_older_versions_of_python(write: Write) -> None:
    """Resources were printed without an object around them, kinds and codes by other names; ids may be short of nothing."""
    span = {
        "name": "invoke_agent clerk",
        "context": {"trace_id": "0x" + "ab" * 16, "span_id": "0x" + "cd" * 8, "trace_state": "['{key=a, value=1}']"},
        "kind": "SpanKind.SERVER",
        "parent_id": None,
        "start_time": "2026-11-23T23:03:20Z",
        "end_time": "2026-11-23T23:03:21.5+00:00",
        "status": {"status_code": "StatusCode.OK"},
        "attributes": AGENT,
        "resource": {"service.name": "shop"},
    }
    [[read]] = open_source(write("x", json.dumps(span).encode())).traces(fail_on_problem)
    assert (read.kind, read.status_code, read.trace_state) == (2, 1, "a=1")
    assert (read.start_ns, read.end_ns) == (1_795_475_000 * 10**9, 1_795_475_001_500_000_000)
    assert read.resource.attributes == {"service.name": "shop"}


GO: dict[str, Any] = {
    "Name": "chat m",
    "SpanContext": {"TraceID": "ab" * 16, "SpanID": "cd" * 8, "TraceFlags": "01", "TraceState": "a=1", "Remote": False},
    "Parent": {"TraceID": "ab" * 16, "SpanID": "ef" * 8, "TraceFlags": "01", "TraceState": "", "Remote": False},
    "SpanKind": 3,
    "StartTime": "2026-11-24T00:03:20.000000001+01:00",
    "EndTime": "2026-11-23T23:03:21.000000002Z",
    "Attributes": [
        {"Key": "gen_ai.operation.name", "Value": {"Type": "STRING", "Value": "chat"}},
        {"Key": "n", "Value": {"Type": "INT64", "Value": 7}},
        {"Key": "list", "Value": {"Type": "STRINGSLICE", "Value": ["a"]}},
    ],
    "Events": [{"Name": "progress", "Attributes": None, "DroppedAttributeCount": 0, "Time": "2026-11-23T23:03:20.5Z"}],
    "Links": [
        {"SpanContext": {"TraceID": "12" * 16, "SpanID": "34" * 8}, "Attributes": None, "DroppedAttributeCount": 0}
    ],
    "Status": {"Code": "Error", "Description": "it failed"},
    "DroppedAttributes": 0,
    "ChildSpanCount": 0,
    "Resource": [{"Key": "service.name", "Value": {"Type": "STRING", "Value": "shop"}}],
    "InstrumentationScope": {"Name": "lib", "Version": "1", "SchemaURL": "", "Attributes": None},
}
ZEROS = {"TraceID": "0" * 32, "SpanID": "0" * 16, "TraceFlags": "00", "TraceState": "", "Remote": False}
GO_LOG = {
    "Timestamp": "2026-11-23T23:03:20.7Z",
    "ObservedTimestamp": "2026-11-23T23:03:20.8Z",
    "Severity": 9,
    "SeverityText": "INFO",
    "Body": {"Type": "String", "Value": "hello"},
    "Attributes": [],
    "TraceID": "ab" * 16,
    "SpanID": "cd" * 8,
    "TraceFlags": "01",
    "Resource": None,
    "Scope": {"Name": "slog"},
}


@pytest.mark.parametrize("indent", [None, "\t", 2])
def test_spans_that_go_prints(write: Write, indent: str | int | None) -> None:
    root = {**GO, "Name": "root", "SpanContext": GO["Parent"], "Parent": ZEROS, "EndTime": "0001-01-01T00:00:00Z"}
    texts = [json.dumps(each, indent=indent) for each in (GO, GO_LOG, root)]
    [read] = open_source(write("spans.txt", "\n".join(texts).encode())).traces(fail_on_problem)
    chat, parent = by_id(read)
    assert (chat.name, chat.parent_span_id, chat.kind, chat.status_code) == ("chat m", "ef" * 8, 3, 2)
    assert (chat.status_message, chat.trace_state) == ("it failed", "a=1")
    assert (chat.start_ns, chat.end_ns) == (1_795_475_000_000_000_001, 1_795_475_001_000_000_002)
    assert chat.attributes == {"gen_ai.operation.name": "chat", "n": 7, "list": ["a"]}
    assert [event.name for event in chat.events] == ["progress", "log"]
    assert [(link.trace_id, link.span_id) for link in chat.links] == [("12" * 16, "34" * 8)]
    assert (chat.resource.attributes, chat.scope) == ({"service.name": "shop"}, Scope("lib", "1"))
    assert (parent.parent_span_id, parent.end_ns) == (None, None)


SPANS = [
    SpanRecord("ab" * 16, "cd" * 8, None, "invoke_agent clerk", BEGAN_NS, BEGAN_NS + 9, AGENT, scope=Scope("s")),
    SpanRecord("ab" * 16, "ef" * 8, "cd" * 8, "chat m", BEGAN_NS + 1, BEGAN_NS + 5, CHAT, scope=Scope("s")),
]
PREFIXES = {
    "none": "",
    "java.util.logging": "Nov 12, 2025 10:11:12 AM io.opentelemetry.exporter.logging.otlp.OtlpJsonLoggingSpanExporter export\nINFO: ",
    "logback": "10:11:12.345 [BatchSpanProcessor_WorkerThread-1] INFO  i.o.e.l.o.OtlpJsonLoggingSpanExporter - ",
    "Spring Boot": "2025-11-12T10:11:12.345Z  INFO 1 --- [shop] [ad-1] i.o.e.l.otlp.OtlpJsonLoggingSpanExporter : ",
    "brackets": "[otel.javaagent 2025-11-12 10:11:12:345 +0000] [main] INFO io.opentelemetry.OtlpJsonLoggingSpanExporter - ",
}


@pytest.mark.parametrize(
    ("prefix", "wrapped"),
    [*((prefix, False) for prefix in PREFIXES), *((prefix, True) for prefix in list(PREFIXES)[1:])],
)
def test_spans_that_java_logs(write: Write, prefix: str, wrapped: bool) -> None:
    """An object for each resource is a line, with or without `resourceSpans` around it, behind what the logger writes."""
    lines = []
    for span in SPANS:
        whole = json.loads(otlp_json.encode([span]))
        lines.append(
            PREFIXES[prefix] + json.dumps(whole if wrapped else whole["resourceSpans"][0], separators=(",", ":"))
        )
    text = "Picked up JAVA_TOOL_OPTIONS: -javaagent\n" + "\n".join(lines) + "\nINFO: Done {}\n"
    found = Problems()
    [read] = open_source(write("app.log", text.encode())).traces(found)
    assert by_id(read) == SPANS
    assert [type(problem) for problem in found] == [Notice]


@pytest.mark.parametrize("arrangement", ["a line each", "a page of the API"])
def test_spans_of_phoenix(write: Write, arrangement: str) -> None:
    """Its client and its API have Python's objects, with the kind and the status in fields of their own."""
    span: dict[str, Any] = {
        "name": "clerk",
        "context": {"trace_id": f"{5:032x}", "span_id": f"{6:016x}"},
        "span_kind": "AGENT",
        "parent_id": None,
        "start_time": "2026-05-01T12:00:00.5+00:00",
        "end_time": "2026-05-01T12:00:01+00:00",
        "status_code": "ERROR",
        "status_message": "it failed",
        "attributes": {"input.value": "Q?", "output.value": "A."},
        "events": [],
    }
    content = (
        json.dumps(span)
        if arrangement == "a line each"
        else json.dumps({"data": [span], "next_cursor": None}, indent=1)
    )
    [run] = load_runs(write("spans.json", content.encode()), strict=True)
    assert (run.user_input, run.final_output, run.error and run.error.message) == ("Q?", "A.", "it failed")
    assert run.ended_at_ns == run.started_at_ns + 500_000_000


def test_what_is_neither_span_nor_log_record_is_reported(write: Write) -> None:
    _, texts = emitted()
    bad = [{**json.loads(texts[0]), "context": {"trace_id": "0x0", "span_id": "0x1"}}, {"context": 5}, {"a": 1}]
    found = Problems()
    path = write("x", json.dumps([json.loads(texts[0]), *bad], indent=4).encode())
    [read] = open_source(path).traces(found)
    assert len(read) == 1
    assert [problem.reason for problem in found] == [
        "neither a span nor a log record: expected an id of 32 hex digits, got 3 characters (and 2 more)"
    ]
