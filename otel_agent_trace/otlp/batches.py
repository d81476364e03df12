"""Encode spans, and collect them into requests of bounded size that can be halved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.formats import otlp_json, otlp_proto
from otel_agent_trace.otlp.settings import Protocol, Signal
from otel_agent_trace.span import LogRecord, Resource, Scope, SpanRecord
from otel_agent_trace.values import binary, decode_text

MAX_REQUEST_BYTES = (4 << 20) - (64 << 10)
"""Largest request that receivers accept: 4 MiB is the default limit of gRPC, and little less than that of some over HTTP."""
USUAL_REQUEST_BYTES = 1 << 20
"""Usual size of a request; larger ones are no faster, and several of them are in memory at any time."""
_SCOPE_EXTRA = 32
"""Most bytes of lengths or brackets that a resource and a scope add to their own once they hold spans."""
_SPAN_EXTRA = 1
_MAX_SCOPES = 256

Join = Callable[[Iterable[tuple[Resource, Scope, Sequence[bytes]]]], bytes]


class ResourceScope(msgspec.Struct, eq=False):
    """Hold the resource and scope that spans share; `head` is their encoding without any spans."""

    resource: Resource
    scope: Scope
    head: bytes

    @property
    def size(self) -> int:
        """Return the most bytes that it adds to a request."""
        return len(self.head) + _SCOPE_EXTRA


class EncodedSpan(NamedTuple):
    """Hold one encoded span, and the ids and name to report if it is refused.

    `lighter` returns the encoding without binary content, for a receiver that refuses the span for its size, or None if
    it has none; it is None if the span is no larger than requests may be.
    """

    resource_scope: ResourceScope
    data: bytes
    trace_id: str
    span_id: str
    name: str
    lighter: Callable[[], bytes | None] | None = None


class Encoder:
    """Encode spans or log records for a protocol, one by one; not to be used by several threads at once."""

    def __init__(self, protocol: Protocol, signal: Signal = "traces") -> None:
        codec = otlp_json if protocol == "http/json" else otlp_proto
        is_logs = signal == "logs"
        self._encode_span: Callable[[Any], bytes] = codec.encode_log_record if is_logs else codec.encode_span
        self.join: Join = codec.join_logs if is_logs else codec.join
        self._scopes: dict[tuple[int, int], ResourceScope] = {}

    def encode(self, spans: Sequence[SpanRecord | LogRecord]) -> list[EncodedSpan]:
        """Return the encoding of each span, or of each log record."""
        encode_span, known = self._encode_span, self._scopes
        encoded = [
            EncodedSpan(
                known.get((id(span.resource), id(span.scope))) or self._resource_scope(span.resource, span.scope),
                encode_span(span),
                span.trace_id,
                span.span_id,
                span.name,
            )
            for span in spans
        ]
        if any(len(each.data) > MAX_REQUEST_BYTES for each in encoded):
            return [self._with_lighter(each, span) for each, span in zip(encoded, spans, strict=True)]
        return encoded

    def _with_lighter(self, encoded: EncodedSpan, span: SpanRecord | LogRecord) -> EncodedSpan:
        if not isinstance(span, SpanRecord) or len(encoded.data) <= MAX_REQUEST_BYTES:
            return encoded

        def lighter() -> bytes | None:
            without = _without_binaries(span)
            return None if without is None else self._encode_span(without)

        return encoded._replace(lighter=lighter)

    def _resource_scope(self, resource: Resource, scope: Scope) -> ResourceScope:
        """Encode a resource and scope, and cache them by their ids, which stay theirs since the result refers to both."""
        if len(self._scopes) >= _MAX_SCOPES:
            self._scopes.clear()
        encoded = ResourceScope(resource, scope, self.join([(resource, scope, [])]))
        self._scopes[id(resource), id(scope)] = encoded
        return encoded


def _without_binaries(span: SpanRecord) -> SpanRecord | None:
    """Return a span without the binary content in its attributes, which are listed as truncated; None if there is none."""
    texts = {key: value for key, value in span.attributes.items() if type(value) is str}
    changed = {key: text for key, value in texts.items() if (text := binary.without_content(value)) != value}
    if not changed:
        return None
    cut = decode_text(span.attributes.get(semconv.TRUNCATED, "[]"))
    paths = [*(cut if isinstance(cut, list) else []), *changed]
    attributes = {**span.attributes, **changed, semconv.TRUNCATED: msgspec.json.encode(paths).decode()}
    return msgspec.structs.replace(span, attributes=attributes)


class Batch:
    """Hold the spans of one request."""

    __slots__ = ("size", "spans")

    def __init__(self, spans: list[EncodedSpan], size: int | None = None) -> None:
        self.spans = spans
        self.size = _encoded_size(spans) if size is None else size
        """Upper bound of the bytes of the request before compression, and little more than they are."""

    def body(self, join: Join) -> bytes:
        """Return the body of the request, made by the `join` of the spans' `Encoder`."""
        groups: dict[int, tuple[Resource, Scope, list[bytes]]] = {}
        for span in self.spans:
            parent = span.resource_scope
            group = groups.get(id(parent))
            if group is None:
                group = groups[id(parent)] = (parent.resource, parent.scope, [])
            group[2].append(span.data)
        return join(groups.values())

    def halves(self) -> tuple[Batch, Batch]:
        """Return two batches with half of the spans each; there must be at least two spans."""
        middle = len(self.spans) // 2
        return Batch(self.spans[:middle]), Batch(self.spans[middle:])

    def lighter(self) -> Batch | None:
        """Return a batch of the only span without its binary content; None if it has none, or is small enough."""
        [span] = self.spans
        data = None if span.lighter is None else span.lighter()
        return None if data is None else Batch([span._replace(data=data, lighter=None)])


def _encoded_size(spans: Sequence[EncodedSpan]) -> int:
    return sum(len(span.data) + _SPAN_EXTRA for span in spans) + sum(each.size for each in _scopes(spans))


def _scopes(spans: Iterable[EncodedSpan]) -> set[ResourceScope]:
    return {span.resource_scope for span in spans}


class BatchBuilder:
    """Collect spans into batches up to a limit of bytes; a larger span is a batch of its own."""

    def __init__(self) -> None:
        self._spans: list[EncodedSpan] = []
        self._scopes: set[ResourceScope] = set()
        self._size = 0

    def add(self, spans: Sequence[EncodedSpan], limit: int) -> bool:
        """Add all of the spans if the batch stays within `limit` bytes, and return whether they were added.

        A single span can always be added to an empty batch.
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
        """Return a batch of the spans that were added, or None if there are none, and begin a new one."""
        batch = Batch(self._spans, self._size) if self._spans else None
        self._spans, self._scopes, self._size = [], set(), 0
        return batch
