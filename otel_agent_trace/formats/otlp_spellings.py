"""Convert variants of OTLP/JSON to the JSON of the OTLP specification, which the decoder reads.

Variants are: keys in snake_case, enums by name, ids in base64 (protobuf's own JSON), null for missing values, names of
older versions, responses that wrap the object or a list of objects, and spans without the objects around them. The text is
converted without parsing: quotes in JSON strings are escaped, so that only a key looks like one. Time and memory are
proportional to the number of bytes.
"""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

_OLD_NAMES = {
    b"instrumentationLibrarySpans": b"scopeSpans",
    b"instrumentationLibraryLogs": b"scopeLogs",
    b"instrumentationLibrary": b"scope",
    b"batches": b"resourceSpans",
}
_ENUMS = {
    name: number
    for names in (
        ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"),
        ("UNSET", "OK", "ERROR"),
    )
    for number, name in enumerate(names)
}
_SEVERITIES = {
    f"{name}{part or ''}": 1 + 4 * group + max(part - 1, 0)
    for group, name in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"))
    for part in (0, 2, 3, 4)
}

_KEY = re.compile(rb'"([a-z]+(?:_[a-z]+)+|instrumentationLibrary(?:Spans|Logs)?|batches)"(?=\s*:)')
_ENUM = re.compile(rb'("(?:kind|code|severityNumber)"\s*:\s*)"(SPAN_KIND|STATUS_CODE|SEVERITY_NUMBER)_([A-Z0-9_]+)"')
_BASE64_ID = re.compile(rb'("(?:traceId|spanId|parentSpanId)"\s*:\s*)"([A-Za-z0-9+/_-]{22}==|[A-Za-z0-9+/_-]{11}=)"')
_NULL = re.compile(rb'"[A-Za-z]+"(?=\s*:\s*null\b)')
_UNKNOWN_KEY = b'""'
_MAX_WRAPPERS = 4


class _Object(msgspec.Struct, rename="camel"):
    resource_spans: msgspec.Raw = msgspec.Raw()
    resource_logs: msgspec.Raw = msgspec.Raw()
    resource_metrics: msgspec.Raw = msgspec.Raw()
    scope_spans: msgspec.Raw = msgspec.Raw()
    scope_logs: msgspec.Raw = msgspec.Raw()
    spans: msgspec.Raw = msgspec.Raw()
    span_id: msgspec.Raw = msgspec.Raw()
    start_time_unix_nano: msgspec.Raw = msgspec.Raw()
    resource: msgspec.Raw = msgspec.Raw(b"{}")
    scope: msgspec.Raw = msgspec.Raw(b"{}")
    result: msgspec.Raw = msgspec.Raw()
    trace: msgspec.Raw = msgspec.Raw()


_object_decoder = msgspec.json.Decoder(_Object)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_EMPTY = (b"{}", b"null", b"[]")
_SPAN_ALONE = b'[{"resource":%b,"scopeSpans":[{"scope":%b,"spans":[%b]}]}]'


def spelled(data: bytes) -> bytes:
    """Return a text with the keys, enums, ids and missing values of the specification; it need not be whole."""
    data = _KEY.sub(_protocol_key, data)
    data = _NULL.sub(_UNKNOWN_KEY, data)
    data = _ENUM.sub(_number, data)
    return _BASE64_ID.sub(_hex, data)


def objects_in(data: bytes) -> list[bytes]:
    """Return the OTLP/JSON objects in a text that is spelled as in the specification.

    Raises:
        ValueError: the text is not JSON, not UTF-8, or has other objects.
    """
    try:
        return _objects(data, _MAX_WRAPPERS)
    except _REFUSALS as error:
        raise ValueError(str(error)) from error


def _objects(data: bytes, depth: int) -> list[bytes]:
    """Return the objects in a list, or in the objects that responses wrap around them."""
    if data.lstrip()[:1] == b"[":
        items = _list_decoder.decode(data) if depth else []
        return [inner for item in items for inner in _objects(bytes(item), depth - 1)]
    return _objects_of(data, depth)


def _objects_of(data: bytes, depth: int) -> list[bytes]:
    found = _object_decoder.decode(data)
    wrapped = bytes(found.result) or bytes(found.trace)
    if wrapped:
        return [] if wrapped in _EMPTY or not depth else _objects(wrapped, depth - 1)
    parts = {
        b"resourceSpans": bytes(found.resource_spans),
        b"resourceLogs": bytes(found.resource_logs),
        b"resourceMetrics": bytes(found.resource_metrics),
    }
    # Java's OtlpJsonLoggingSpanExporter writes the spans of each resource as an object of their own.
    if bytes(found.scope_spans):
        parts[b"resourceSpans"] = b"[%b]" % data
    elif bytes(found.spans) not in (b"", *_EMPTY):
        parts[b"resourceSpans"] = b'[{"resource":%b,"scopeSpans":[%b]}]' % (bytes(found.resource), data)
    elif bytes(found.span_id) and bytes(found.start_time_unix_nano):  # Phoenix's API, and exporters of one's own
        parts[b"resourceSpans"] = _SPAN_ALONE % (bytes(found.resource), bytes(found.scope), data)
    if bytes(found.scope_logs):
        parts[b"resourceLogs"] = b"[%b]" % data
    if not any(parts.values()):
        msg = "the JSON object has no resourceSpans"
        raise ValueError(msg)
    return [b'{"%b":%b}' % (key, part) for key, part in parts.items() if part]


def hex_id(text: bytes) -> bytes:
    """Return an id in lower-case hex digits, from base64 or hex."""
    if text.endswith(b"="):
        try:
            return base64.b64decode(text, altchars=b"-_" if b"-" in text or b"_" in text else None).hex().encode()
        except binascii.Error:
            return text
    return text.lower()


def _protocol_key(match: re.Match[bytes]) -> bytes:
    first, *others = match[1].split(b"_")
    name = first + b"".join(map(bytes.capitalize, others))
    return b'"%b"' % _OLD_NAMES.get(name, name)


def _number(match: re.Match[bytes]) -> bytes:
    numbers = _SEVERITIES if match[2] == b"SEVERITY_NUMBER" else _ENUMS
    return b"%b%d" % (match[1], numbers.get(match[3].decode(), 0))


def _hex(match: re.Match[bytes]) -> bytes:
    return b'%b"%b"' % (match[1], hex_id(match[2]))
