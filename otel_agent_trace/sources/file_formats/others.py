"""Name what a file is that holds no spans which can be read, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple


class _Other(NamedTuple):
    """Describe a kind of file, how it is recognised by its beginning, and what to do instead of reading it."""

    description: str
    fits: Callable[[bytes], object]
    advice: str = ""


def description_of(head: bytes) -> str:
    """Return what a file that begins so looks like, and what to do; the beginning may be decompressed."""
    bare = head.lstrip()
    other = next(other for other in _OTHERS if other.fits(bare))
    return f"{other.description}: {other.advice}" if other.advice else other.description


def _begins(*beginnings: bytes) -> Callable[[bytes], object]:
    return lambda head: head.startswith(beginnings)


def _has_keys(*keys: str) -> Callable[[bytes], object]:
    """Return a function that looks for keys of JSON."""
    patterns = [re.compile(rb'"%b"\s*:' % key.encode()) for key in keys]
    return lambda head: head[:1] in (b"{", b"[") and all(pattern.search(head) for pattern in patterns)


def _matches(pattern: bytes) -> Callable[[bytes], object]:
    return re.compile(pattern, re.MULTILINE).search


_EXPORT_OTLP = "let the program export OTLP as well, to a file or a Collector"
_UNPACK = "unpack it first"
_OTHERS = (
    _Other("an SQLite database", _begins(b"SQLite format 3\0"), "export the traces in it as OTLP/JSON"),
    _Other("a Parquet file", _begins(b"PAR1"), "export the traces in it as OTLP/JSON"),
    _Other("an Avro file", _begins(b"Obj\1"), "export the traces in it as OTLP/JSON"),
    _Other("a ZIP archive", _begins(b"PK\3\4"), _UNPACK),
    _Other("a bzip2 file", _begins(b"BZh"), _UNPACK),
    _Other("an xz file", _begins(b"\xfd7zXZ\0"), _UNPACK),
    _Other("a tar archive", lambda head: head[257:262] == b"ustar", _UNPACK),
    _Other("a gzip file within a gzip file", _begins(b"\x1f\x8b"), _UNPACK),
    _Other("a PDF", _begins(b"%PDF")),
    _Other("Jaeger UI JSON", lambda head: head.startswith(b"{") and b'"traceID"' in head),
    _Other(
        "an error of Jaeger's API", _has_keys("data", "errors", "total"), "the server found no such trace, or failed"
    ),
    _Other("a HAR file (HTTP Archive)", _has_keys("log", "entries", "creator"), _EXPORT_OTLP),
    _Other(
        "a Zipkin JSON array",
        lambda head: head.startswith(b"[") and b'"traceId"' in head and re.search(rb'"(?:id|localEndpoint)"\s*:', head),
        "export OTLP instead of Zipkin, or send it to a Collector with a Zipkin receiver and a file exporter",
    ),
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
        "a trace of MLflow", _has_keys("info", "data", "trace_id"), "set OTEL_EXPORTER_OTLP_ENDPOINT to export OTLP"
    ),
    _Other("calls of W&B Weave", _has_keys("op_name", "trace_id", "started_at"), _EXPORT_OTLP),
    _Other("AWS X-Ray JSON", _matches(rb'"trace_id"\s*:\s*"1-[0-9a-f]{8}-'), _EXPORT_OTLP),
    _Other("Datadog JSON", _has_keys("trace_id", "span_id", "meta"), _EXPORT_OTLP),
    _Other("Chrome trace events", _has_keys("traceEvents"), _EXPORT_OTLP),
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
        _matches(rb"^\s*(?:traceId: '[0-9a-f]{32}'|_spanContext: \{)"),
        "it is cut and no JSON; use an OTLP exporter with a Collector, or print JSON.stringify of OTLP requests",
    ),
    _Other(
        "the output of .NET's console exporter",
        _matches(rb"^Activity\.(?:TraceId|Id|DisplayName):"),
        "its values have no types and may be cut; use the OTLP exporter",
    ),
    _Other(
        "the output of the Collector's debug exporter",
        _matches(rb"^\s*(?:ResourceSpans #0|Resource SchemaURL:)"),
        "use the Collector's file exporter",
    ),
    _Other(
        "the output of Rust's or PHP's console exporter",
        _matches(rb"^(?:Spans\n\s*Resource|\s*Instrumentation Scope\n)"),
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
        lambda head: re.match(rb"[^\n,;{]+(?:[,;][^\n,;{]+)+\r?\n[^\n]*[,;]", head),
        "export the traces as OTLP/JSON",
    ),
    _Other("text", lambda head: True),
)
