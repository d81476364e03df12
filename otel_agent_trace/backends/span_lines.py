"""Encode spans and log records as lines of OTLP JSON, without the binary content that stands in the media folder."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from otel_agent_trace.formats import otlp_json_encoding
from otel_agent_trace.formats.sdk_span import SdkReader, remember
from otel_agent_trace.formats.sdk_span_json import SdkSpanEncoder
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.pipeline import PipelineSpan, StartedSpan
from otel_agent_trace.span import Resource, Scope
from otel_agent_trace.store.lines import MAX_LINE_BYTES
from otel_agent_trace.values.binary import LEAST_CHARACTERS

if TYPE_CHECKING:
    from otel_agent_trace.store.media_parts import Outside

_LINE_BYTES = 256 << 10
_LINE_SPANS = 64
_Frame = tuple[bytes, bytes]
"""Bytes before and after the spans of one resource and scope."""


class SpanLines:
    """Encode spans as lines.

    Args:
        media: returns what stores binary content once, and leaves a reference to it.
        on_lost: called with the error for a span that is too long for readers.
        diagnostics: counts spans that cannot be written.
    """

    def __init__(
        self, media: Callable[[], Outside], on_lost: Callable[[OSError], None], diagnostics: Diagnostics
    ) -> None:
        self._media, self._on_lost, self._diagnostics = media, on_lost, diagnostics
        self._frames: dict[tuple[int, int], tuple[Resource, Scope, _Frame]] = {}
        self._last: tuple[Any, Any, _Frame] = (self, self, (b"", b""))
        self._reader, self._encoder = SdkReader(), SdkSpanEncoder()

    def started(self, span: StartedSpan) -> bytes:
        """Return the line of a span that has started."""
        live = span.unchanged
        encoded = None if live is None else self._encoder.encode_start(live, span.shape)
        (head, tail), encoded = self._framed(span, encoded)
        return b"%b%b%b" % (head, encoded, tail)

    def ended(self, span: PipelineSpan) -> bytes:
        """Return the line of a span that has ended."""
        (head, tail), encoded = self._encoded(span)
        return b"%b%b%b" % (head, encoded, tail)

    def batch(self, spans: Sequence[PipelineSpan]) -> tuple[bytes, int]:
        """Return spans as lines, grouped by resource and scope, and the number of spans in them."""
        frames: dict[_Frame, list[bytes]] = {}
        for span in spans:
            written = guarded(self._diagnostics, "span that cannot be written", self._encoded, span)
            if written is None:
                continue
            frame, encoded = written
            if len(encoded) > MAX_LINE_BYTES - _LINE_BYTES:
                self._on_lost(too_long())
            else:
                frames.setdefault(frame, []).append(encoded)
        lines = b"".join(
            b"%b%b%b" % (head, b",".join(part), tail)
            for (head, tail), group in frames.items()
            for part in _line_parts(group)
        )
        return lines, sum(map(len, frames.values()))

    def _encoded(self, span: PipelineSpan) -> tuple[_Frame, bytes]:
        unchanged = span.unchanged
        return self._framed(span, None if unchanged is None else self._encoder.encode(unchanged, span.shape))

    def _framed(self, span: PipelineSpan, encoded: bytes | None) -> tuple[_Frame, bytes]:
        """Return the bytes before and after a span, and the span itself.

        Args:
            span: the span.
            encoded: the span with all content that it has; None if it has to be encoded by its record.
        """
        if encoded is not None and len(encoded) < LEAST_CHARACTERS:
            return self._frame_of(span.unchanged), encoded
        record = span.record
        without = self._media().record(record)
        if encoded is None or without is not record:
            encoded = otlp_json_encoding.encode_span(without)
        return self._frame(record.resource, record.scope), encoded

    def _frame_of(self, span: Any) -> _Frame:
        """Return the frame of a span of the SDK; most have the same resource and scope as the one before."""
        given = span._resource, span._instrumentation_scope  # noqa: SLF001 - the properties are functions
        resource, scope, frame = self._last
        if given[0] is not resource or given[1] is not scope:
            frame = self._frame(self._reader.resource(span), self._reader.scope(span))
            self._last = (*given, frame)
        return frame

    def _frame(self, resource: Resource, scope: Scope) -> _Frame:
        """Return a frame, which is encoded once for each resource and scope."""
        key = (id(resource), id(scope))
        known = self._frames.get(key)
        if known is None or known[0] is not resource or known[1] is not scope:
            head, tail = otlp_json_encoding.frame(resource, scope)
            known = (resource, scope, (head, tail + b"\n"))
            remember(self._frames, key, known)
        return known[2]


def too_long() -> OSError:
    """Return the error for a line that readers would refuse."""
    return OSError(errno.EMSGSIZE, f"a line of more than {MAX_LINE_BYTES >> 20} MiB, which readers refuse")


def _line_parts(encoded: list[bytes]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for item in encoded:
        if part and (len(part) == _LINE_SPANS or size + len(item) > _LINE_BYTES):
            yield part
            part, size = [], 0
        part.append(item)
        size += len(item)
    yield part
