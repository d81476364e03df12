"""Write the threshold of a kept trace into the OTLP/JSON of its spans, without decoding those that our encoders wrote."""

from __future__ import annotations

import functools
import re

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.formats.otlp_json_encoding import encode
from otel_agent_trace.sampling import probability_of, threshold_before, threshold_in, with_threshold
from otel_agent_trace.span import SpanRecord

_SPANS, _ATTRIBUTES, _FLAGS, _STATE = b'"spans":[', b'"attributes":[', b',"flags":', b',"traceState":"'
_PROBABILITY = b'"%b"' % semconv.SAMPLING_PROBABILITY.encode()
_END = re.compile(rb',"flags":\d+\}\](?=[,}])')
"""End of the only span of a line; within a text, its quotes would be escaped."""


def with_sampling(line: bytes, threshold: int) -> bytes:
    """Return a line of one span with the threshold with which its trace was kept, or with its own if that is higher.

    Raises:
        ValueError: the line is damaged.
    """
    start = line.find(_SPANS) + len(_SPANS)
    at = line.find(_ATTRIBUTES, start) + len(_ATTRIBUTES)
    end = line.rfind(_FLAGS)
    if at < len(_ATTRIBUTES) or end < at or not _END.match(line, end) or _PROBABILITY in line:
        return _encoded_again(line, threshold)
    state_at, before = line.rfind(_STATE, at, end), b""
    if state_at >= 0:
        before = line[state_at + len(_STATE) : end - 1]
        if line[end - 1 : end] != b'"' or b'"' in before or b"\\" in before:  # of a link, or one with escapes
            return _encoded_again(line, threshold)
    attribute, state = _texts_of(threshold, before)
    comma = b"" if line[at : at + 1] == b"]" else b","
    rest = line[at : state_at if state_at >= 0 else end]
    return b"%b%b%b%b%b%b" % (line[:at], attribute, comma, rest, state, line[end:])


def _encoded_again(line: bytes, threshold: int) -> bytes:
    return encode([sampled(record, threshold) for record in otlp_json.decode(line)]) + b"\n"


@functools.lru_cache(maxsize=16)
def _texts_of(threshold: int, before: bytes) -> tuple[bytes, bytes]:
    """Return the JSON of the attribute and of the trace state for a threshold, in place of a trace state before."""
    threshold = max(threshold, threshold_in(before.decode()) or 0)
    attribute = {"key": semconv.SAMPLING_PROBABILITY, "value": {"doubleValue": probability_of(threshold)}}
    return msgspec.json.encode(attribute), b'%b%b"' % (_STATE, with_threshold(before.decode(), threshold).encode())


def sampled(record: SpanRecord, threshold: int) -> SpanRecord:
    """Return the record of a span with the threshold with which its trace was kept, or with its own if that is higher."""
    own = threshold_before(record.trace_state, record.attributes.get(semconv.SAMPLING_PROBABILITY))
    threshold = max(threshold, own or 0)
    return msgspec.structs.replace(
        record,
        attributes={**record.attributes, semconv.SAMPLING_PROBABILITY: probability_of(threshold)},
        trace_state=with_threshold(record.trace_state, threshold),
    )
