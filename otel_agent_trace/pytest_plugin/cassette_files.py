"""Name and write cassettes: trace files that are the same for each recording of the same calls."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest

from otel_agent_trace import semconv
from otel_agent_trace.formats import otlp_json_encoding
from otel_agent_trace.pipeline.data_policies import default_redactor
from otel_agent_trace.policies.redaction import RedactionPolicy
from otel_agent_trace.span import Resource, SpanRecord

_FOLDER = "cassettes"
_SUFFIX = ".jsonl"
_MOST_CHARACTERS = 120
_TRACE_DIGITS, _SPAN_DIGITS = 32, 16
_FIRST_TIME_NS = 946_684_800_000_000_000
"""Time of the first span, the beginning of the year 2000: the times of a recording are chance."""
_TICK_NS = 1_000_000
_NO_SERVICE = "unknown_service"  # the SDK's default, followed by the name of the program
_LEFT_OUT = frozenset((semconv.TIME_TO_FIRST_CHUNK, semconv.EXCEPTION_STACKTRACE))
"""Attributes that a replay does not need, and that differ each time, or from one checkout to another."""


def cassette_path(item: pytest.Item, name: str | None = None) -> Path:
    """Return the path of a test's cassette, in the folder ``cassettes`` beside its module.

    Args:
        item: the test.
        name: the name of the cassette, which may have folders; None for that of the module, class and test with its
            parameters.

    Raises:
        TypeError: the name is no text.
        ValueError: the name leads elsewhere.
    """
    name = _name_of(item) if name is None else name
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(f"a cassette cannot be named {name!r}: the name is a path below the folder {_FOLDER}")
    return item.path.parent / _FOLDER / f"{name.removesuffix(_SUFFIX)}{_SUFFIX}"


def _name_of(item: pytest.Item) -> str:
    """Return module, class and test of an item, as a name that every file system takes."""
    name = ".".join((item.path.stem, *item.nodeid.split("::")[1:]))
    safe = re.sub(r"[^\w.,=+@\[\]-]+", "-", name)[:_MOST_CHARACTERS]
    return safe if safe == name else f"{safe}-{_digits_of(name, 8)}"


def write_cassette(path: Path, spans: Sequence[SpanRecord]) -> None:
    """Write spans to a cassette in place of what it held: masked, a line each, in the order of their start.

    Times are replaced by their order, ids are made of the name of the cassette, so that a change of a file is a change of
    what was recorded.
    """
    lines = b"".join(_lines(sorted(spans, key=lambda span: span.start_ns), path.stem))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(lines)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _lines(spans: Sequence[SpanRecord], name: str) -> Iterator[bytes]:
    mask = RedactionPolicy(default_redactor())
    times = {time: _FIRST_TIME_NS + rank * _TICK_NS for rank, time in enumerate(sorted({*_times(spans)}))}
    ids = _new_ids(spans, name)
    for span in spans:
        line = otlp_json_encoding.encode([_with_times(mask(span), times)])
        yield re.sub(rb"\b[0-9a-f]{16}(?:[0-9a-f]{16})?\b", lambda found: ids.get(found[0], found[0]), line) + b"\n"


def _times(spans: Iterable[SpanRecord]) -> Iterator[int]:
    for span in spans:
        yield span.start_ns
        yield from () if span.end_ns is None else (span.end_ns,)
        yield from (event.time_ns for event in span.events)
        first_chunk_at_ns = span.attributes.get(semconv.FIRST_CHUNK_AT_NS)
        yield from (first_chunk_at_ns,) if isinstance(first_chunk_at_ns, int) else ()


def _with_times(span: SpanRecord, times: Mapping[int, int]) -> SpanRecord:
    """Return a span with other times, and without what is left out of cassettes."""
    attributes = _kept(span.attributes)
    if isinstance(first_chunk_at_ns := attributes.get(semconv.FIRST_CHUNK_AT_NS), int):
        attributes[semconv.FIRST_CHUNK_AT_NS] = times[first_chunk_at_ns]
    service = str(span.resource.attributes.get(semconv.SERVICE_NAME, _NO_SERVICE))
    return msgspec.structs.replace(
        span,
        start_ns=times[span.start_ns],
        end_ns=None if span.end_ns is None else times[span.end_ns],
        attributes=attributes,
        events=tuple(
            msgspec.structs.replace(event, time_ns=times[event.time_ns], attributes=_kept(event.attributes))
            for event in span.events
        ),
        resource=Resource({} if service.startswith(_NO_SERVICE) else {semconv.SERVICE_NAME: service}),
    )


def _kept(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if key not in _LEFT_OUT}


def _new_ids(spans: Sequence[SpanRecord], name: str) -> dict[bytes, bytes]:
    """Return the new id of each trace and span, in hex."""
    digits = {span.trace_id: _TRACE_DIGITS for span in spans} | {span.span_id: _SPAN_DIGITS for span in spans}
    numbered = enumerate(digits.items())
    return {old.encode(): _digits_of(f"{name} {number}", length).encode() for number, (old, length) in numbered}


def _digits_of(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
