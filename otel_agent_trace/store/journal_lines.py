"""Read the lines of a journal: started spans in a short form, the resources and scopes that they name, or OTLP/JSON.

Spans are written to a journal while the program waits, twice as fast in this form:

- ``{"frame":1,"resourceSpans":[…]}``: a resource and a scope, as OTLP/JSON without spans, under a number.
- ``{"frame":1,"traceId":…,"spanId":…,…,"started":["name",{"key":"value",…}]}``: a span of them that has started. Its values
  are texts, integers and truth values; a span with any other has a line of OTLP/JSON, as has one that has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from otel_agent_trace.formats.otlp_json_encoding import encode_span
from otel_agent_trace.formats.otlp_json_sampling import with_sampling
from otel_agent_trace.span import SpanRecord

LOGS = b'{"resourceLogs"'
"""Beginning of a line of log records."""
MAX_JOURNAL_BYTES = 256 << 20
"""Most bytes of a journal; a larger one is none of ours."""
_PART_BYTES = 1 << 20
_SHORT = b'{"frame":'
_NO_SPANS = b'"spans":[]'
"""Place of the spans in a frame; within a text of JSON, its quotes would be escaped."""


class _Started(msgspec.Struct):
    """Represent a line of a started span."""

    frame: int
    traceId: str  # noqa: N815 - the names are OTLP's
    spanId: str  # noqa: N815
    kind: int
    startTimeUnixNano: str  # noqa: N815
    flags: int
    started: tuple[str, dict[str, str | bool | int]]
    parentSpanId: str | None = None  # noqa: N815
    traceState: str = ""  # noqa: N815


_decoder = msgspec.json.Decoder(_Started)


def frame_line(number: int, head: bytes, tail: bytes) -> bytes:
    """Return the line of a resource and a scope.

    Args:
        number: the number by which started spans name them.
        head: what is before the spans in an OTLP/JSON object of them.
        tail: what is after the spans, with a line feed.
    """
    return b"%b%d,%b%b" % (_SHORT, number, head[1:], tail)


def as_kept(line: bytes, threshold: int) -> bytes:
    """Return a line of OTLP/JSON of a trace that is kept with a threshold: its spans have that, its logs stay as they are."""
    return line if line.startswith(LOGS) else with_sampling(line, threshold)


def in_parts(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield lines in parts of about 1 MB."""
    part: list[bytes] = []
    size = 0
    for line in lines:
        part.append(line)
        size += len(line)
        if size >= _PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def as_otlp(content: bytes) -> bytes:
    """Return the content of a journal as lines of OTLP/JSON, without lines that cannot be read, such as one in progress."""
    frames: dict[int, tuple[bytes, bytes]] = {}
    return b"\n".join(_as_otlp(line, frames) if line.startswith(_SHORT) else line for line in content.split(b"\n"))


def _as_otlp(line: bytes, frames: dict[int, tuple[bytes, bytes]]) -> bytes:
    number, _, rest = line.removeprefix(_SHORT).partition(b",")
    if rest.startswith(b'"resourceSpans"'):
        head, _, tail = rest.partition(_NO_SPANS)
        frames[_number(number)] = b"{%b%b" % (head, _NO_SPANS[:-1]), b"]" + tail
        return b""
    try:
        started = _decoder.decode(line)
        head, tail = frames[started.frame]
        return b"%b%b%b" % (head, encode_span(_record(started)), tail.rstrip())
    except (ValueError, KeyError, RecursionError):  # in progress, or the last one of a process that was killed
        return b""


def _number(digits: bytes) -> int:
    return int(digits) if digits.isdigit() and len(digits) < 10 else -1


def _record(started: _Started) -> SpanRecord:
    name, attributes = started.started
    values: Mapping[str, Any] = attributes
    return SpanRecord(
        trace_id=started.traceId,
        span_id=started.spanId,
        parent_span_id=started.parentSpanId,
        name=name,
        start_ns=int(started.startTimeUnixNano),
        end_ns=None,
        attributes=values,
        kind=started.kind,
        trace_state=started.traceState,
        flags=started.flags,
    )
