"""Read the spans and log records of one JSON text, a line or a document: OTLP in any spelling, or Jaeger's JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise

from otel_agent_trace.formats import console_json, jaeger_json, otlp_json, otlp_spellings
from otel_agent_trace.json_repair import repaired
from otel_agent_trace.sources.file_formats.json_parts import parts_of
from otel_agent_trace.sources.file_formats.pieces import Found, salvaged
from otel_agent_trace.span import LogRecord, SpanRecord

_TRACE_ID = re.compile(rb'race(?:Id|_id|ID)"\s*:\s*"(?:0x)?([0-9A-Za-z+/_=-]{1,32})"')
"""Values of ``traceId`` in any spelling; that it begins with letters makes the search three times as fast."""
_TRACE_ID_DIGITS = 32
_JAEGER_KEY, LOGS_KEY = b'"traceID"', b'"resourceLogs"'
_LOGS = b"{" + LOGS_KEY
_OBJECT = re.compile(rb'\{"resource(?:Spans|Logs)"')
_FURTHER_KEYS = (LOGS_KEY, b"_spans", b"_logs", b"log_records", b"instrumentationLibrary")
"""Keys of OTLP of which one is in every text that holds more than the spans that `read` finds."""


def trace_ids(text: bytes) -> set[bytes]:
    """Return the trace ids in a part of a text, those of links included."""
    return {otlp_spellings.hex_id(found).zfill(_TRACE_ID_DIGITS) for found in set(_TRACE_ID.findall(text))}


_MAX_WRAPPERS = 4


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
        if refusal is None and not any(key in text for key in _FURTHER_KEYS):
            return Found()
        found = _content(text, refusal, _MAX_WRAPPERS)
        if not found.reason:
            return found
        data, what = repaired(text)
        again = _content(data, refusal, _MAX_WRAPPERS) if what else found
        return again._replace(notice=f"repaired: {what}") if what and (again.spans or again.logs) else found


def _content(text: bytes, refusal: Exception | None, depth: int) -> Found:
    """Return the content of a text, or that of the values in it if it is nothing known itself."""
    found = _content_by_keys(text, refusal)
    if not found.reason or not depth:
        return found
    parts = parts_of(text)
    within = _together([_content(part, refusal or ValueError(found.reason), depth - 1) for part in parts.values])
    if not parts.is_all:
        within = salvaged(within.spans, found.reason)._replace(logs=within.logs)
    return within if _gain(within) > _gain(found) else found


def _gain(found: Found) -> tuple[int, bool]:
    number = len(found.spans) + len(found.logs)
    return number, number > 0 and not found.reason


def _together(found: Sequence[Found]) -> Found:
    return Found(
        [span for each in found for span in each.spans],
        [log for each in found for log in each.logs],
        "; ".join(each.reason for each in found if each.reason),
    )


def _content_by_keys(text: bytes, refusal: Exception | None) -> Found:
    """Return the content of a text by the keys in it."""
    if refusal is not None and console_json.is_printed(text):
        return _printed_content(text)
    if _JAEGER_KEY in text or jaeger_json.is_empty(text):
        return _jaeger_content(text)
    return _respelled_content(text, refusal)


def _printed_content(text: bytes) -> Found:
    """Return what an exporter printed, or what is intact in a text that has such a key in a value."""
    reasons: list[str] = []
    try:
        printed = console_json.decode(text, reasons.append)
    except console_json.ConsoleJsonError as error:
        found = _respelled_content(text, None)
        return found if found.spans or found.logs else Found(reason=str(error))
    return Found(printed.spans, printed.logs, _first_of(reasons))


def _jaeger_content(text: bytes) -> Found:
    """Return the spans of a text with a key of Jaeger's JSON, which may be OTLP all the same."""
    reasons: list[str] = []
    try:
        spans = jaeger_json.decode(text, reasons.append)
    except jaeger_json.NotJaegerError as error:
        found = _respelled_content(text, error)  # the key may be in an attribute of an OTLP document
        return found if found.spans else salvaged(jaeger_json.salvage(text), str(error))
    if not spans and reasons and (found := _respelled_content(text, None)).spans:
        return found
    return Found(spans, reason=_first_of(reasons))


def _first_of(reasons: Sequence[str]) -> str:
    """Return the first of some reasons with the number of the others, or an empty text."""
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}" if reasons else ""


def _respelled_content(text: bytes, refusal: Exception | None) -> Found:
    """Return the content of an OTLP text in another spelling (snake_case, enum names), or what is intact in a damaged one."""
    spelled = otlp_spellings.spelled(text)
    try:
        objects = otlp_spellings.objects_in(spelled)
    except ValueError as error:
        return salvaged(otlp_json.salvage(spelled), str(refusal or error))._replace(logs=_glued_logs(spelled))
    return _together([_log_content(each) if each.startswith(_LOGS) else _span_content(each) for each in objects])


def _glued_logs(text: bytes) -> list[LogRecord]:
    """Return the log records of whole objects behind others in a text, as behind one that a killed program left torn."""
    begins = [match.start() for match in _OBJECT.finditer(text)]
    pieces = (text[begin:end].rstrip(b"\0\r\n ") for begin, end in pairwise([*begins, len(text)]))
    return [log for piece in pieces if piece.startswith(_LOGS) for log in _log_content(piece).logs]


def _span_content(part: bytes) -> Found:
    reasons: list[str] = []
    with suppress(otlp_json.OtlpJsonError):
        return Found(otlp_json.decode(part))
    try:
        return salvaged(otlp_json.decode_each(part, reasons.append), _first_of(reasons))
    except otlp_json.OtlpJsonError as error:
        return salvaged(otlp_json.salvage(part), str(error))


def _log_content(part: bytes) -> Found:
    reasons: list[str] = []
    try:
        return Found(logs=otlp_json.decode_logs(part, reasons.append), reason=_first_of(reasons))
    except otlp_json.OtlpJsonError as error:
        return Found(reason=str(error))
