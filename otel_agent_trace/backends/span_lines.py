"""Encode spans and log records as lines of OTLP JSON, without the binary content that stands in the media folder."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

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


class Frame(NamedTuple):
    """Hold the bytes before and after the spans of one resource and scope, and their number in a journal."""

    head: bytes
    tail: bytes
    number: int


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
        self._frames: dict[tuple[int, int], tuple[Resource, Scope, Frame]] = {}
        self._last: tuple[Any, Any, Frame] = (self, self, Frame(b"", b"", 0))
        self._numbers = itertools.count(1)
        self._reader, self._encoder = SdkReader(), SdkSpanEncoder()

    def started(self, span: StartedSpan) -> tuple[bytes, Frame | None]:
        """Return the line of a span that has started, for a journal, and the frame that it names, if it does."""
        live = span.unchanged
        if live is not None:
            frame = self._frame_of(live)
            line = self._encoder.encode_start(live, span.shape, frame.number)
            if line is not None and len(line) < LEAST_CHARACTERS:
                return line, frame
        frame, encoded = self._framed(span, None)
        return b"%b%b%b" % (frame.head, encoded, frame.tail), None

    def ended(self, span: PipelineSpan) -> bytes:
        """Return the line of a span that has ended."""
        live = span.unchanged
        encoded = None if live is None else self._encoder.encode(live, span.shape)
        if encoded is not None and len(encoded) < LEAST_CHARACTERS:  # `_framed` written out: this runs once a span
            head, tail, _ = self._frame_of(live)
        else:
            (head, tail, _), encoded = self._framed(span, encoded)
        return b"%b%b%b" % (head, encoded, tail)

    def batch(self, spans: Sequence[PipelineSpan]) -> tuple[bytes, int]:
        """Return spans as lines, grouped by resource and scope, and the number of spans in them."""
        encoded = [found for span in spans if (found := self.encoded(span)) is not None]
        return lines_of(encoded), len(encoded)

    def encoded(self, span: PipelineSpan) -> tuple[Frame, bytes] | None:
        """Return an ended span, and what is before and after it in a line; None if it cannot be written."""
        found = guarded(self._diagnostics, "span that cannot be written", self._encoded, span)
        if found is not None and len(found[1]) > MAX_LINE_BYTES - _LINE_BYTES:
            self._on_lost(too_long())
            return None
        return found

    def _encoded(self, span: PipelineSpan) -> tuple[Frame, bytes]:
        unchanged = span.unchanged
        return self._framed(span, None if unchanged is None else self._encoder.encode(unchanged, span.shape))

    def _framed(self, span: PipelineSpan, encoded: bytes | None) -> tuple[Frame, bytes]:
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

    def _frame_of(self, span: Any) -> Frame:
        """Return the frame of a span of the SDK; most have the same resource and scope as the one before."""
        resource, scope, frame = self._last
        # The public properties are functions.
        if span._resource is not resource or span._instrumentation_scope is not scope:  # noqa: SLF001
            frame = self._frame(self._reader.resource(span), self._reader.scope(span))
            self._last = span._resource, span._instrumentation_scope, frame  # noqa: SLF001
        return frame

    def _frame(self, resource: Resource, scope: Scope) -> Frame:
        """Return a frame, which is encoded once for each resource and scope."""
        key = (id(resource), id(scope))
        known = self._frames.get(key)
        if known is None or known[0] is not resource or known[1] is not scope:
            head, tail = otlp_json_encoding.frame(resource, scope)
            known = (resource, scope, Frame(head, tail + b"\n", next(self._numbers)))
            remember(self._frames, key, known)
        return known[2]


def lines_of(encoded: Iterable[tuple[Frame, bytes]]) -> bytes:
    """Return encoded spans as lines, grouped by resource and scope."""
    frames: dict[Frame, list[bytes]] = {}
    for frame, span in encoded:
        frames.setdefault(frame, []).append(span)
    return b"".join(
        b"%b%b%b" % (head, b",".join(part), tail)
        for (head, tail, _), group in frames.items()
        for part in _line_parts(group)
    )


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
