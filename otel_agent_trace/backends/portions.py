"""Requests of a size that receivers of OTLP take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

REQUEST_BYTES = 4_000_000
"""What receivers take by default is 4 MiB over gRPC, and 20 MiB over HTTP."""
_FRAME_BYTES = 64
"""At most what Protobuf puts around a value, a key, an event or a link, or needs for a number or an id."""
_TIME_END = 1 << 64


def portions(spans: Iterable[ReadableSpan]) -> Iterator[list[ReadableSpan]]:
    """Spans in portions that fit into one request each.

    A span that is too large by itself, or that Protobuf cannot say, stands alone: it costs itself and no other.
    """
    portion: list[ReadableSpan] = []
    left = 0
    for span in spans:
        size = _size(span) if _can_be_said(span) else REQUEST_BYTES
        if portion and size > left:
            yield portion
            portion = []
        if not portion:
            left = REQUEST_BYTES - _resource_size(span)
        portion.append(span)
        left -= size
    if portion:
        yield portion


def _can_be_said(span: ReadableSpan) -> bool:
    """Whether names are UTF-8 and times fit: Protobuf refuses a whole request for one that is not."""
    texts = [span.name, span.status.description or "", *(event.name for event in span.events)]
    times = [span.start_time, span.end_time, *(event.timestamp for event in span.events)]
    return all(map(_is_utf8, texts)) and all(map(_is_time, times))


def _is_utf8(text: object) -> bool:
    if not isinstance(text, str):
        return False
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _is_time(time_ns: object) -> bool:
    return time_ns is None or (isinstance(time_ns, int) and 0 <= time_ns < _TIME_END)


def _size(span: ReadableSpan) -> int:
    """No fewer bytes than the span has as Protobuf, with its scope."""
    return sum(
        (
            8 * _FRAME_BYTES,
            _text_size(span.name),
            _text_size(span.status.description or ""),
            _state_size(span.context),
            _attributes_size(span.attributes),
            _scope_size(span.instrumentation_scope),
            *(_FRAME_BYTES + _text_size(event.name) + _attributes_size(event.attributes) for event in span.events),
            *(_FRAME_BYTES + _state_size(link.context) + _attributes_size(link.attributes) for link in span.links),
        )
    )


def _resource_size(span: ReadableSpan) -> int:
    """The spans of one provider share their resource, which a request has once."""
    return _text_size(span.resource.schema_url) + _attributes_size(span.resource.attributes)


def _state_size(context: SpanContext) -> int:
    return _text_size(context.trace_state.to_header()) if context.trace_state else 0


def _scope_size(scope: Any) -> int:
    if scope is None:
        return 0
    texts = (scope.name, scope.version, scope.schema_url)
    return sum(_text_size(text or "") for text in texts) + _attributes_size(scope.attributes)


def _attributes_size(attributes: Mapping[str, Any] | None) -> int:
    if not attributes:
        return 0
    return sum(_FRAME_BYTES + _text_size(key) + _value_size(value) for key, value in attributes.items())


def _value_size(value: Any) -> int:
    if isinstance(value, str):
        return _text_size(value)
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, Mapping):
        return _attributes_size(value)
    if isinstance(value, Sequence):
        return sum(_FRAME_BYTES + _value_size(item) for item in value)
    return _FRAME_BYTES


def _text_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
