"""What one JSON text of a file holds: a line or a document, of OTLP in any spelling, or of Jaeger."""

from __future__ import annotations

import re
from collections.abc import Callable

from otel_agent_trace.formats import jaeger_json, otlp_json, otlp_spellings
from otel_agent_trace.sources.file_formats.pieces import Found, salvaged
from otel_agent_trace.span import SpanRecord

_ANY_KEY = b'"trace'
_AFTER_KEY = re.compile(rb'(?:Id|_id|ID)"\s*:\s*"([0-9A-Za-z+/_=-]{1,32})"')
_USUAL_BYTES = len('Id":""') + 32
_TRACE_ID_DIGITS = 32
_JAEGER_KEY, LOGS_KEY = b'"traceID"', b'"resourceLogs"'
_LOGS = b"{" + LOGS_KEY
_FURTHER_KEYS = (LOGS_KEY, b"_spans", b"_logs", b"log_records", b"instrumentationLibrary")
"""One of them is in what holds more than the spans that `read` finds."""


def trace_ids(text: bytes) -> set[bytes]:
    """The trace ids in a piece of text, and maybe some more: links name traces as well."""
    parts = text.split(_ANY_KEY)[1:]
    found = [_AFTER_KEY.match(part) for part in {part[:_USUAL_BYTES] for part in parts}]
    if not all(found):  # written with blanks, or something else that begins so
        found = [_AFTER_KEY.match(part) for part in parts]
    return {otlp_spellings.hex_id(match[1]).zfill(_TRACE_ID_DIGITS) for match in found if match is not None}


class JsonTexts:
    """Reads one text after another, as they stand in a file."""

    def __init__(self) -> None:
        self.read: Callable[[bytes], list[SpanRecord]] = otlp_json.Decoder().decode
        """Gives the spans of a text as most are: OTLP as the protocol spells it."""

    def read_otherwise(self, text: bytes, refusal: Exception | None) -> Found:
        """What else a text may be that `read` refused, or in which it found no spans."""
        if not text.strip():
            return Found()
        if _JAEGER_KEY in text:
            return _of_jaeger(text)
        if refusal is None and not any(key in text for key in _FURTHER_KEYS):
            return Found()
        return _respelled(text, refusal)


def _of_jaeger(text: bytes) -> Found:
    reasons: list[str] = []
    try:
        spans = jaeger_json.decode(text, reasons.append)
    except jaeger_json.NotJaegerError as error:
        return _respelled(text, error)  # the key may be a text of an OTLP document
    if not spans and reasons and (found := _respelled(text, None)).spans:
        return found
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return Found(spans, reason=f"{reasons[0]}{more}" if reasons else "")


def _respelled(text: bytes, refusal: Exception | None) -> Found:
    try:
        parts = otlp_spellings.respelled(text)
    except ValueError as error:
        return salvaged(otlp_json.salvage(text), str(refusal or error))
    found = [_logs(part) if part.startswith(_LOGS) else _spans(part) for part in parts]
    return Found(
        [span for each in found for span in each.spans],
        [log for each in found for log in each.logs],
        "; ".join(each.reason for each in found if each.reason),
    )


def _spans(part: bytes) -> Found:
    try:
        return Found(otlp_json.decode(part))
    except otlp_json.OtlpJsonError as error:
        return salvaged(otlp_json.salvage(part), str(error))


def _logs(part: bytes) -> Found:
    try:
        return Found(logs=otlp_json.decode_logs(part))
    except otlp_json.OtlpJsonError as error:
        return Found(reason=str(error))
