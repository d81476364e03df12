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
_SCOPE_EXTRA = 32
"""More than the lengths and brackets that a resource and a scope need once there are spans in it."""
_SPAN_EXTRA = 1
_MAX_SCOPES = 256

Join = Callable[[Iterable[tuple[Resource, Scope, Sequence[bytes]]]], bytes]


class ResourceScope(msgspec.Struct, eq=False):
    """Hold what the spans of one resource and scope stand in; `head` is it without any."""

    resource: Resource
    scope: Scope
    head: bytes

    @property
    def size(self) -> int:
        """Bytes that it adds to a request, at most."""
        return len(self.head) + _SCOPE_EXTRA


class EncodedSpan(NamedTuple):
    """Hold one encoded span, and what it is called when it is refused."""

    resource_scope: ResourceScope
    data: bytes
    trace_id: str
    span_id: str
    name: str


class Encoder:
    """Encode spans for a protocol, one by one. Not for several threads at once."""

    def __init__(self, protocol: Protocol) -> None:
        codec = otlp_json if protocol == "http/json" else otlp_proto
        self._encode_span = codec.encode_span
        self.join: Join = codec.join
        self._scopes: dict[tuple[int, int], ResourceScope] = {}

    def encode(self, spans: Iterable[SpanRecord]) -> list[EncodedSpan]:
        """Encode each span by itself."""
        encode_span, known = self._encode_span, self._scopes
        return [
            EncodedSpan(
                known.get((id(span.resource), id(span.scope))) or self._resource_scope(span.resource, span.scope),
                encode_span(span),
                span.trace_id,
                span.span_id,
                span.name,
            )
            for span in spans
        ]

    def _resource_scope(self, resource: Resource, scope: Scope) -> ResourceScope:
        """Make one and remember it; it holds both, so that their ids stay theirs as long as it is remembered."""
        if len(self._scopes) >= _MAX_SCOPES:
            self._scopes.clear()
        made = ResourceScope(resource, scope, self.join([(resource, scope, [])]))
        self._scopes[id(resource), id(scope)] = made
        return made


class Batch:
    """Hold spans that go in one request."""

    __slots__ = ("size", "spans")

    def __init__(self, spans: list[EncodedSpan], size: int | None = None) -> None:
        self.spans = spans
        self.size = _size(spans) if size is None else size
        """In bytes, a little more than the request has, before it is compressed."""

    def body(self, join: Join) -> bytes:
        """Make the request."""
        groups: dict[int, tuple[Resource, Scope, list[bytes]]] = {}
        for span in self.spans:
            within = span.resource_scope
            group = groups.get(id(within))
            if group is None:
                group = groups[id(within)] = (within.resource, within.scope, [])
            group[2].append(span.data)
        return join(groups.values())

    def halves(self) -> tuple[Batch, Batch]:
        """Return the same in two; there must be two spans at least."""
        middle = len(self.spans) // 2
        return Batch(self.spans[:middle]), Batch(self.spans[middle:])


def _size(spans: Sequence[EncodedSpan]) -> int:
    return sum(len(span.data) + _SPAN_EXTRA for span in spans) + sum(each.size for each in _scopes(spans))


def _scopes(spans: Iterable[EncodedSpan]) -> set[ResourceScope]:
    return {span.resource_scope for span in spans}


class BatchBuilder:
    """Fill batches up to a limit; a span above it gets a batch for itself."""

    def __init__(self) -> None:
        self._spans: list[EncodedSpan] = []
        self._scopes: set[ResourceScope] = set()
        self._size = 0

    def add(self, spans: Sequence[EncodedSpan], limit: int) -> bool:
        """Add them all to the others, unless that would be too much; return whether it was done.

        To an empty one a single span can always be added.
        """
        scopes = _scopes(spans) - self._scopes
        added = sum([len(span.data) for span in spans]) + _SPAN_EXTRA * len(spans)
        added += sum(each.size for each in scopes)
        if self._size + added > limit and (self._spans or len(spans) > 1):
            return False
        self._size += added
        self._scopes |= scopes
        self._spans += spans
        return True

    def take(self) -> Batch | None:
        """Return what was added so far, if anything, after which it is empty."""
        batch = Batch(self._spans, self._size) if self._spans else None
        self._spans, self._scopes, self._size = [], set(), 0
        return batch
