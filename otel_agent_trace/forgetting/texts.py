"""Remove selected spans and log records from JSON texts; all others, and whatever surrounds them, stay byte for byte."""

from __future__ import annotations

import re
from collections import Counter

import msgspec

from otel_agent_trace.forgetting.selection import Selection
from otel_agent_trace.forgetting.splicing import REFUSALS, Part, parts_of, spliced
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.formats.otlp_spellings import hex_id
from otel_agent_trace.sources.file_formats import FileFormat, Found
from otel_agent_trace.sources.file_formats.json_texts import JsonTexts, trace_ids

_SPANS, _LOGS = frozenset({"spans"}), frozenset({"logRecords", "log_records"})
_AROUND = re.compile(r"(?:spans|logs|metrics|batches|data|result|traces?)$", re.IGNORECASE)
"""Keys of what is around the lists of records, in OTLP of any spelling, responses that wrap it, and Jaeger's JSON."""
_LOG_MARK = re.compile(rb'"(?:logRecords|log_records)"|"(?:body|Body|event_name)"')
_AROUND_A_LOG = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[%b]}]}]}'
_NOT_EMPTY = re.compile(rb"[\[{]\s*[^\s\]}]")
_TRACE_ID_DIGITS, _SPAN_ID_DIGITS = 32, 16


class _Ids(msgspec.Struct):
    """Represent the ids of a span or log record, in any spelling."""

    traceId: str | None = None  # noqa: N815 - the names are those of the fields
    trace_id: str | None = None
    traceID: str | None = None  # noqa: N815
    spanId: str | None = None  # noqa: N815
    span_id: str | None = None
    spanID: str | None = None  # noqa: N815


_ids_decoder = msgspec.json.Decoder(_Ids)


class TextFilter:
    """Remove what is selected from one text after another, and count it."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._trace_ids = {trace_id.encode() for trace_id in selection.trace_ids}
        self._logs = JsonTexts()
        self.counts = Counter[str]()
        """Number of spans and log records ("logs") that were removed."""

    def kept(self, text: bytes, file_format: FileFormat) -> bytes | None:
        """Return what is kept of a text, the same object if that is all of it; None if nothing is left."""
        if self._trace_ids.isdisjoint(trace_ids(text)) and not _LOG_MARK.search(text):
            return text
        before = self.counts.copy()
        try:
            left = self._pruned(text)
        except REFUSALS:
            left, self.counts = text, before
        if left is not None and self._holds_selected(found := _content(left, file_format)):
            return self._rest_of(found)
        return left

    def holds_selected(self, piece: bytes, file_format: FileFormat) -> bool:
        """Return whether anything in a piece of a file is selected."""
        return self._holds_selected(_content(piece, file_format))

    def _holds_selected(self, found: Found) -> bool:
        has_span = self._selection.has_span
        return any(has_span(span.trace_id, span.span_id) for span in found.spans) or any(
            map(self._selection.has_log, found.logs)
        )

    def _rest_of(self, found: Found) -> bytes | None:
        """Return the spans and log records that are kept of a text which is damaged, or is one record by itself."""
        spans = [span for span in found.spans if not self._selection.has_span(span.trace_id, span.span_id)]
        logs = [log for log in found.logs if not self._selection.has_log(log)]
        self.counts.update(spans=len(found.spans) - len(spans), logs=len(found.logs) - len(logs))
        lines = [otlp_json.encode(spans).rstrip()] if spans else []
        return b"\n".join([*lines, *map(otlp_json.encode_log, logs)]) or None

    def _pruned(self, text: bytes, key: str = "") -> bytes | None:
        """Return a value without the selected records in it, the same object if it has none; None if nothing is left."""
        parts = parts_of(text)
        values = [self._pruned_part(part, key) for part in parts]
        if all(value is part.value for part, value in zip(parts, values, strict=True)):
            return text
        left = [part.key for part, value in zip(parts, values, strict=True) if value and _NOT_EMPTY.match(value)]
        return spliced(text, parts, values) if any(not key or _is_around(key) for key in left) else None

    def _pruned_part(self, part: Part, key: str) -> bytes | None:
        """Return the value of an item of the list or object under a key, without the selected records in it."""
        if not part.key and (key in _SPANS or key in _LOGS):
            return None if self._takes(part.value, is_log=key in _LOGS) else part.value
        return self._pruned(part.value, part.key) if not part.key or _is_around(part.key) else part.value

    def _takes(self, record: bytes, *, is_log: bool) -> bool:
        """Return whether a record is selected, and count it."""
        ids = _ids_decoder.decode(record)
        trace_id = _normal(ids.traceId or ids.trace_id or ids.traceID or "", _TRACE_ID_DIGITS)
        span_id = _normal(ids.spanId or ids.span_id or ids.spanID or "", _SPAN_ID_DIGITS)
        takes = self._selection.has_span(trace_id, span_id)
        if is_log and not takes:
            logs = self._logs.read_unusual(_AROUND_A_LOG % record, None).logs
            takes = any(map(self._selection.has_log, logs))
        self.counts["logs" if is_log else "spans"] += takes
        return takes


def _is_around(name: str) -> bool:
    return name in _LOGS or _AROUND.search(name) is not None


def _normal(text: str, digits: int) -> str:
    return hex_id(text.encode()).decode().removeprefix("0x").zfill(digits)


def _content(text: bytes, file_format: FileFormat) -> Found:
    """Return what a reader finds in a text."""
    refusal: ValueError | None = None
    try:
        spans = file_format.read(text)
    except ValueError as error:
        spans, refusal = [], error
    return Found(spans) if spans else file_format.read_unusual(text, refusal)
