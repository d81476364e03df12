"""Read the spans and log records of one JSON text, a line or a document: OTLP in any spelling, or Jaeger's JSON."""

from __future__ import annotations

import re
from collections.abc import Callable

from otel_agent_trace.formats import jaeger_json, otlp_json, otlp_spellings
from otel_agent_trace.sources.file_formats.pieces import Found, salvaged
from otel_agent_trace.span import SpanRecord

_TRACE_ID = re.compile(rb'"trace(?:Id|_id|ID)"\s*:\s*"([0-9A-Za-z+/_=-]{1,32})"')
_TRACE_ID_DIGITS = 32
_JAEGER_KEY, LOGS_KEY = b'"traceID"', b'"resourceLogs"'
_LOGS = b"{" + LOGS_KEY
_FURTHER_KEYS = (LOGS_KEY, b"_spans", b"_logs", b"log_records", b"instrumentationLibrary")
"""Keys of OTLP of which one is in every text that holds more than the spans that `read` finds."""


def trace_ids(text: bytes) -> set[bytes]:
    """Return the trace ids in a part of a text, those of links included."""
    return {otlp_spellings.hex_id(found).zfill(_TRACE_ID_DIGITS) for found in set(_TRACE_ID.findall(text))}


class JsonTexts:
    """Read one JSON text after another."""

    def __init__(self) -> None:
        self.read: Callable[[bytes], list[SpanRecord]] = otlp_json.Decoder().decode
        """Return the spans of an OTLP text in the spelling of the protocol, as most texts have it."""

    def mentions(self, text: bytes, mark: bytes) -> bool:
        """Return whether some bytes are in a text."""
        return mark in text

    def read_unusual(self, text: bytes, refusal: Exception | None) -> Found:
        """Return the spans and log records of a text that `read` refused, or in which it found no spans.

        Args:
            text: the text.
            refusal: the error of `read`, or None if it found no spans.
        """
        if not text.strip():
            return Found()
        if _JAEGER_KEY in text:
            return _jaeger_content(text)
        if refusal is None and not any(key in text for key in _FURTHER_KEYS):
            return Found()
        return _respelled_content(text, refusal)


def _jaeger_content(text: bytes) -> Found:
    """Return the spans of a text with a key of Jaeger's JSON, which may be OTLP all the same."""
    reasons: list[str] = []
    try:
        spans = jaeger_json.decode(text, reasons.append)
    except jaeger_json.NotJaegerError as error:
        return _respelled_content(text, error)  # the key may be in an attribute of an OTLP document
    if not spans and reasons and (found := _respelled_content(text, None)).spans:
        return found
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return Found(spans, reason=f"{reasons[0]}{more}" if reasons else "")


def _respelled_content(text: bytes, refusal: Exception | None) -> Found:
    """Return the content of an OTLP text in another spelling (snake_case, enum names), or what is intact in a damaged one."""
    try:
        parts = otlp_spellings.respelled(text)
    except ValueError as error:
        return salvaged(otlp_json.salvage(text), str(refusal or error))
    found = [_log_content(part) if part.startswith(_LOGS) else _span_content(part) for part in parts]
    return Found(
        [span for each in found for span in each.spans],
        [log for each in found for log in each.logs],
        "; ".join(each.reason for each in found if each.reason),
    )


def _span_content(part: bytes) -> Found:
    try:
        return Found(otlp_json.decode(part))
    except otlp_json.OtlpJsonError as error:
        return salvaged(otlp_json.salvage(part), str(error))


def _log_content(part: bytes) -> Found:
    try:
        return Found(logs=otlp_json.decode_logs(part))
    except otlp_json.OtlpJsonError as error:
        return Found(reason=str(error))
