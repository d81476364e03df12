"""Decode the body of a request: the spans or log records of it that are valid, and how many are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from otel_agent_trace.formats import otlp_json, otlp_proto
from otel_agent_trace.formats.otlp_answers import Signal
from otel_agent_trace.receiver.refusals import Reason, RefusedError
from otel_agent_trace.receiver.unpacking import Limits, gunzipped
from otel_agent_trace.span import LogRecord, SpanRecord

_HEX = frozenset("0123456789abcdef")
_TRACE_ID_DIGITS, _SPAN_ID_DIGITS = (0, 32), (0, 16)
_SHOWN_REASONS = 3
_LOGS_OF_JSON, _SPANS_OF_JSON = b'"resourceLogs"', b'"resourceSpans"'


class Delivery(NamedTuple):
    """Hold the body of a request as it was received, and what it is."""

    signal: Signal
    body: bytes
    is_json: bool = False
    is_gzip: bool = False


class Content(NamedTuple):
    """Hold the valid spans and log records of a request, its size, and the reasons for which others are rejected."""

    spans: list[SpanRecord]
    logs: list[LogRecord]
    rejected: list[str]
    warnings: list[str]
    size_bytes: int = 0

    @property
    def message(self) -> str:
        """Return the first different reasons and warnings as one text."""
        texts = list(dict.fromkeys((*self.rejected, *self.warnings)))
        more = f"; and {len(texts) - _SHOWN_REASONS} more" if len(texts) > _SHOWN_REASONS else ""
        return "; ".join(texts[:_SHOWN_REASONS]) + more


def content_of(delivery: Delivery, limits: Limits) -> Content:
    """Return what the body of a request has.

    Raises:
        RefusedError: it cannot be read at all, or is too large.
    """
    body = gunzipped(delivery.body, limits) if delivery.is_gzip else delivery.body
    read = _READERS[delivery.signal, delivery.is_json]
    try:
        return read(body)._replace(size_bytes=len(body))
    except (otlp_json.OtlpJsonError, otlp_proto.OtlpProtoError) as error:
        raise RefusedError(Reason.UNREADABLE, f"the body cannot be read: {error}") from error


def _spans_of_json(body: bytes) -> Content:
    rejected, warnings = list[str](), list[str]()
    try:
        spans = otlp_json.decode(body)
    except otlp_json.OtlpJsonError:
        spans = otlp_json.decode_each(body, _sorted_into(rejected, warnings))
    if not spans and _LOGS_OF_JSON in body:
        raise otlp_json.OtlpJsonError("log records belong to /v1/logs")
    return Content(spans, [], rejected, warnings)


def _sorted_into(rejected: list[str], warnings: list[str]) -> Callable[[str], None]:
    """Return a function that puts the reason for a whole span into the first list, any other into the second."""

    def note(reason: str) -> None:
        (rejected if reason.startswith(otlp_json.BAD_SPAN) else warnings).append(reason)

    return note


def _spans_of_proto(body: bytes) -> Content:
    rejected: list[str] = []
    return Content(otlp_proto.decode_each(body, rejected.append), [], rejected, [])


def _logs_of_json(body: bytes) -> Content:
    warnings: list[str] = []
    logs = otlp_json.decode_logs(body, warnings.append)
    if not logs and _SPANS_OF_JSON in body:
        raise otlp_json.OtlpJsonError("spans belong to /v1/traces")
    return _valid_logs(logs, warnings)


def _logs_of_proto(body: bytes) -> Content:
    return _valid_logs(otlp_proto.decode_logs(body), [])


def _valid_logs(logs: list[LogRecord], warnings: list[str]) -> Content:
    valid = [log for log in logs if _is_id(log.trace_id, _TRACE_ID_DIGITS) and _is_id(log.span_id, _SPAN_ID_DIGITS)]
    rejected = ["a log record: its ids are not of 32 and 16 hex digits"] * (len(logs) - len(valid))
    return Content([], valid, rejected, warnings)


def _is_id(digits: str, lengths: tuple[int, int]) -> bool:
    return len(digits) in lengths and _HEX.issuperset(digits)


_READERS: dict[tuple[Signal, bool], Callable[[bytes], Content]] = {
    ("traces", True): _spans_of_json,
    ("traces", False): _spans_of_proto,
    ("logs", True): _logs_of_json,
    ("logs", False): _logs_of_proto,
}
