"""Name what a file is that holds no spans which can be read, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple


class _Other(NamedTuple):
    """Describe a kind of file, how it is recognised by its beginning, and what to do instead of reading it."""

    description: str
    fits: Callable[[bytes], object]
    advice: str = ""


def description_of(head: bytes) -> str:
    """Return what a file that begins so looks like, and what to do; the beginning may be decompressed."""
    binary = _first_that_fits(_BINARY, head)
    other = binary or _first_that_fits(_OTHERS, head.lstrip())
    if other is None:
        return "text"
    return f"{other.description}: {other.advice}" if other.advice else other.description


def is_other_binary(head: bytes) -> bool:
    """Return whether a file that begins so is an archive, or another kind of binary file, whatever stands in it."""
    return _first_that_fits(_BINARY, head) is not None


def _first_that_fits(others: Sequence[_Other], head: bytes) -> _Other | None:
    return next((other for other in others if other.fits(head)), None)


def _begins(*beginnings: bytes) -> Callable[[bytes], object]:
    return lambda head: head.startswith(beginnings)


def _has_keys(*keys: str) -> Callable[[bytes], object]:
    """Return a function that looks for keys of JSON."""
    patterns = [re.compile(rb'"%b"\s*:' % key.encode()) for key in keys]
    return lambda head: head[:1] in (b"{", b"[") and all(pattern.search(head) for pattern in patterns)


def _matches(pattern: bytes) -> Callable[[bytes], object]:
    """Return a function that looks for a pattern, which may read no stretch again from each place in it.

    Space of any kind after the beginning of a line does so with line feeds: 128 KiB of them took 40 seconds.
    """
    return re.compile(pattern, re.MULTILINE).search


_EXPORT_OTLP = "let the program export OTLP as well, to a file or a Collector"
_UNPACK = "unpack it first"
_EXPORT_FROM_IT = "export the traces in it as OTLP/JSON"
_BINARY = (
    _Other("an SQLite database", _begins(b"SQLite format 3\0"), _EXPORT_FROM_IT),
    _Other("a Parquet file", _begins(b"PAR1"), _EXPORT_FROM_IT),
    _Other("an Avro file", _begins(b"Obj\1"), _EXPORT_FROM_IT),
    _Other("an Arrow file", _begins(b"ARROW1"), _EXPORT_FROM_IT),
    _Other("an ORC file", _begins(b"ORC"), _EXPORT_FROM_IT),
    _Other("a ZIP archive", _begins(b"PK\3\4"), _UNPACK),
    _Other("a 7z archive", _begins(b"7z\xbc\xaf\x27\x1c"), _UNPACK),
    _Other("a tar archive", lambda head: head[257:262] == b"ustar", _UNPACK),
    _Other("a bzip2 file", _begins(b"BZh"), _UNPACK),
    _Other("an xz file", _begins(b"\xfd7zXZ\0"), _UNPACK),
    _Other("an LZ4 file", _begins(b"\x04\x22\x4d\x18"), _UNPACK),
    _Other("a Snappy file", _begins(b"\xff\6\0\0sNaPpY"), _UNPACK),
    _Other("a zlib stream", lambda head: re.match(rb"\x78[\x01\x5e\x9c\xda]", head), _UNPACK),
    _Other("a gzip file within a gzip file", _begins(b"\x1f\x8b"), _UNPACK),
    _Other("a PDF", _begins(b"%PDF")),
)
_OTHERS = (
    _Other("a pickle of Python", lambda head: re.match(rb"\x80[\2-\5]", head), _EXPORT_FROM_IT),
    _Other(
        "an error of Jaeger's API", _has_keys("data", "errors", "total"), "the server found no such trace, or failed"
    ),
    _Other("a HAR file (HTTP Archive)", _has_keys("log", "entries", "creator"), _EXPORT_OTLP),
    _Other(
        "a LangSmith export",
        lambda head: _has_keys("run_type")(head) and re.search(rb'"(?:dotted_order|trace_id|session_id|inputs)"', head),
        "set LANGSMITH_OTEL_ENABLED=true, and send the OTLP to a Collector with a file exporter",
    ),
    _Other(
        "a Langfuse export",
        lambda head: (
            re.search(rb'"(?:observations|htmlPath|parentObservationId|promptTokens|traceName)"\s*:', head)
            and re.search(rb'"(?:projectId|htmlPath|bookmarked|userId|traceId|latency)"\s*:', head)
        ),
        "send the OTLP that Langfuse's SDK exports to a Collector as well",
    ),
    _Other(
        "Zipkin JSON",
        _has_keys("traceId", "id", "name"),
        "export OTLP instead of Zipkin, or send it to a Collector with a Zipkin receiver and a file exporter",
    ),
    _Other(
        "a trace of MLflow", _has_keys("info", "data", "trace_id"), "set OTEL_EXPORTER_OTLP_ENDPOINT to export OTLP"
    ),
    _Other("calls of W&B Weave", _has_keys("op_name", "trace_id", "started_at"), _EXPORT_OTLP),
    _Other("AWS X-Ray JSON", _matches(rb'"trace_id"\s*:\s*"1-[0-9a-f]{8}-'), _EXPORT_OTLP),
    _Other(
        "Datadog JSON",
        lambda head: (
            _has_keys("trace_id", "span_id")(head) and re.search(rb'"(?:meta|resource_name|ml_app)"\s*:', head)
        ),
        _EXPORT_OTLP,
    ),
    _Other(
        "what a search in Tempo found, without the spans",
        lambda head: _has_keys("traces")(head) and re.search(rb'"(?:rootTraceName|metrics)"\s*:', head),
        "fetch each trace by its id, from /api/v2/traces/ID",
    ),
    _Other(
        "spans of Jaeger as Elasticsearch or OpenSearch stores them",
        lambda head: b'"traceID"' in head and re.search(rb'"(?:_source|startTimeMillis|process)"\s*:', head),
        "read the traces from Jaeger itself, by its address",
    ),
    _Other(
        "Jaeger UI JSON",
        lambda head: head.startswith(b"{") and b'"traceID"' in head,
        "no span of it is valid; download it again from /api/traces/ID",
    ),
    _Other(
        "a table of spans from Phoenix",
        _matches(rb"\A[^\n]*\bcontext\.(?:trace|span)_id\b"),
        "fetch them from Phoenix's /v1/projects/NAME/spans/otlpv1",
    ),
    _Other("Chrome trace events", _has_keys("traceEvents"), _EXPORT_OTLP),
    _Other("Chrome trace events", _has_keys("ph", "ts", "pid"), _EXPORT_OTLP),
    _Other("a table of Grafana", _has_keys("schema", "fields", "values"), "download the trace itself as JSON"),
    _Other("an answer of Loki or Prometheus", _has_keys("resultType", "result"), "they hold no traces"),
    _Other(
        "spans of JavaScript's SDK as objects",
        lambda head: _has_keys("name")(head) and re.search(rb'"(?:_spanContext|startTime)"\s*:\s*[{\[]\s*[\d"]', head),
        "use an OTLP exporter, or print JSON.stringify of OTLP requests",
    ),
    _Other(
        "spans of the OpenAI Agents SDK's own tracing",
        _matches(rb'"object"\s*:\s*"trace(?:\.span)?"'),
        "add an OpenTelemetry instrumentation for it, which exports OTLP",
    ),
    _Other(
        "a session of Claude Code",
        _has_keys("sessionId", "parentUuid"),
        "set CLAUDE_CODE_ENABLE_TELEMETRY=1 to export OTLP",
    ),
    _Other(
        "chat messages (OpenAI's fine-tuning format)",
        _matches(rb'\A[\[\s]*\{\s*"(?:messages|prompt)"\s*:\s*\[\s*\{\s*"(?:role|content)"'),
        "they are conversations without spans and times",
    ),
    _Other("a Jupyter notebook", _has_keys("nbformat")),
    _Other(
        "the output of JavaScript's ConsoleSpanExporter",
        _matches(rb"^[ \t]*(?:traceId: '[0-9a-f]{32}'|_spanContext: \{)"),
        "it is cut and no JSON; use an OTLP exporter with a Collector, or print JSON.stringify of OTLP requests",
    ),
    _Other(
        "the output of .NET's console exporter",
        _matches(rb"^Activity\.(?:TraceId|Id|DisplayName):"),
        "its values have no types and may be cut; use the OTLP exporter",
    ),
    _Other(
        "the output of the Collector's debug exporter",
        _matches(
            rb'^[ \t]*(?:ResourceSpans #0|Resource SchemaURL:)|\tResourceSpans #0$|"resource spans": \d+, "spans": \d+\}'
        ),
        "use the Collector's file exporter",
    ),
    _Other(
        "the output of Rust's, Ruby's or C++'s console exporter",
        _matches(
            rb"^(?:Spans\n\s*Resource|[ \t]*Instrumentation Scope\n|#<struct OpenTelemetry::SDK|  span_id +: [0-9a-f]{16}$)"
        ),
        "use an OTLP exporter",
    ),
    _Other(
        "the output of Java's LoggingSpanExporter",
        _matches(rb"'[^'\n]*' : [0-9a-f]{32} [0-9a-f]{16} [A-Z]+ \[tracer: "),
        "use OtlpJsonLoggingSpanExporter (OTEL_TRACES_EXPORTER=logging-otlp)",
    ),
    _Other(
        "the output of PHP's console exporter",
        _has_keys("parent_span_id", "kind", "start", "end"),
        "use an OTLP exporter",
    ),
    _Other("a JSON document of something else", lambda head: re.match(rb"[\[{]\s*\n", head)),
    _Other("a JSON array", _begins(b"[")),
    _Other("JSON Lines of something else", _begins(b"{")),
    _Other("a web page", lambda head: re.match(rb"(?i)<!doctype|<html", head)),
    _Other("XML", _begins(b"<")),
    _Other("binary data", lambda head: b"\0" in head),
    _Other(
        "text with commas (CSV)",
        lambda head: re.match(rb"[^\n,;\t{]+(?:[,;\t][^\n,;\t{]+)+\r?\n[^\n]*[,;\t]", head),
        "export the traces as OTLP/JSON",
    ),
)
