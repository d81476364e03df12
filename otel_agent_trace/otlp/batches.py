"""Spans, encoded and packed into requests of bounded size that can be halved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from otel_agent_trace.formats import otlp_json, otlp_proto
from otel_agent_trace.otlp.settings import Protocol
from otel_agent_trace.span import Resource, Scope, SpanRecord

MAX_REQUEST_BYTES = (4 << 20) - (64 << 10)
"""Receivers of gRPC take 4 MiB by default; some of HTTP take no more than a little above."""
USUAL_REQUEST_BYTES = 1 << 20
"""Larger ones are no faster, and there are always some of them in memory."""
_FRAME_EXTRA = 32
"""More than the lengths and brackets that a frame needs once there are spans in it."""
_SPAN_EXTRA = 1
_MAX_FRAMES = 256

Join = Callable[[Iterable[tuple[Resource, Scope, Sequence[bytes]]]], bytes]


class ResourceScope(msgspec.Struct, eq=False):
    """What the spans of one resource and scope stand in; `head` is it without any."""

    resource: Resource
    scope: Scope
    head: bytes

    @property
    def size(self) -> int:
        """How much it adds to a request, at most."""
        return len(self.head) + _FRAME_EXTRA


class EncodedSpan(NamedTuple):
    """One encoded span, and what it is called when it is refused."""

    frame: ResourceScope
    data: bytes
    trace_id: str
    span_id: str
    name: str


class Encoder:
    """Encodes spans for a protocol, one by one. Not for several threads at once."""

    def __init__(self, protocol: Protocol) -> None:
        codec = otlp_json if protocol == "http/json" else otlp_proto
        self._encode_span = codec.encode_span
        self.join: Join = codec.join
        self._frames: dict[tuple[int, int], ResourceScope] = {}

    def pieces(self, spans: Iterable[SpanRecord]) -> list[EncodedSpan]:
        """The spans, encoded."""
        encode_span, frames = self._encode_span, self._frames
        return [
            EncodedSpan(
                frames.get((id(span.resource), id(span.scope))) or self._framed(span.resource, span.scope),
                encode_span(span),
                span.trace_id,
                span.span_id,
                span.name,
            )
            for span in spans
        ]

    def _framed(self, resource: Resource, scope: Scope) -> ResourceScope:
        """A new frame; it holds both, so that their ids stay theirs as long as it is remembered."""
        if len(self._frames) >= _MAX_FRAMES:
            self._frames.clear()
        frame = ResourceScope(resource, scope, self.join([(resource, scope, [])]))
        self._frames[id(resource), id(scope)] = frame
        return frame


class Batch:
    """Spans that go in one request."""

    __slots__ = ("pieces", "size")

    def __init__(self, pieces: list[EncodedSpan], size: int | None = None) -> None:
        self.pieces = pieces
        self.size = _size(pieces) if size is None else size
        """In bytes, a little more than the request has, before it is compressed."""

    def body(self, join: Join) -> bytes:
        """The request."""
        groups: dict[int, tuple[Resource, Scope, list[bytes]]] = {}
        for piece in self.pieces:
            frame = piece.frame
            group = groups.get(id(frame))
            if group is None:
                group = groups[id(frame)] = (frame.resource, frame.scope, [])
            group[2].append(piece.data)
        return join(groups.values())

    def halves(self) -> tuple[Batch, Batch]:
        """The same in two; there must be two spans at least."""
        middle = len(self.pieces) // 2
        return Batch(self.pieces[:middle]), Batch(self.pieces[middle:])


def _size(pieces: Sequence[EncodedSpan]) -> int:
    return sum(len(piece.data) + _SPAN_EXTRA for piece in pieces) + sum(frame.size for frame in _frames(pieces))


def _frames(pieces: Iterable[EncodedSpan]) -> set[ResourceScope]:
    return {piece.frame for piece in pieces}


class BatchBuilder:
    """Fills batches up to a limit; a span above it gets a batch for itself."""

    def __init__(self) -> None:
        self._pieces: list[EncodedSpan] = []
        self._frames: set[ResourceScope] = set()
        self._size = 0

    def add(self, pieces: Sequence[EncodedSpan], limit: int) -> bool:
        """Put them all to the others, unless that would be too much; true if it was done.

        To an empty one a single span can always be added.
        """
        frames = _frames(pieces) - self._frames
        added = sum([len(piece.data) for piece in pieces]) + _SPAN_EXTRA * len(pieces)
        added += sum(frame.size for frame in frames)
        if self._size + added > limit and (self._pieces or len(pieces) > 1):
            return False
        self._size += added
        self._frames |= frames
        self._pieces += pieces
        return True

    def take(self) -> Batch | None:
        """What was added so far, if anything, after which it is empty."""
        batch = Batch(self._pieces, self._size) if self._pieces else None
        self._pieces, self._frames, self._size = [], set(), 0
        return batch
