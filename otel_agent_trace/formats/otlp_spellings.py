"""Convert variants of OTLP/JSON to the JSON of the OTLP specification, which the decoder reads.

Variants are: keys in snake_case, enums by name, ids in base64 (protobuf's own JSON), null for missing values, names of
older versions, and responses that wrap the object or a list of objects. The text is converted without parsing: quotes in
JSON strings are escaped, so that only a key looks like one. Time and memory are proportional to the number of bytes.
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
    result: msgspec.Raw = msgspec.Raw()
    trace: msgspec.Raw = msgspec.Raw()

    def __post_init__(self) -> None:
        if not any(bytes(part) for part in (self.resource_spans, self.resource_logs, self.resource_metrics)):
            self._check_wrapped()

    def _check_wrapped(self) -> None:
        if not bytes(self.result) and not bytes(self.trace):
            msg = "the JSON object has no resourceSpans"
            raise ValueError(msg)


_object_decoder = msgspec.json.Decoder(_Object)
_list_decoder = msgspec.json.Decoder(list[_Object])
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def respelled(data: bytes) -> list[bytes]:
    """Return the OTLP/JSON objects in a text, in the spelling of the specification.

    Raises:
        ValueError: the text is not JSON, not UTF-8, or has other objects.
    """
    data = _KEY.sub(_protocol_key, data)
    data = _NULL.sub(_UNKNOWN_KEY, data)
    data = _ENUM.sub(_number, data)
    data = _BASE64_ID.sub(_hex, data)
    try:
        return _objects(data, _MAX_WRAPPERS)
    except _REFUSALS as error:
        raise ValueError(str(error)) from error


def _objects(data: bytes, depth: int) -> list[bytes]:
    """Return the objects in a list, or in the objects that responses wrap around them."""
    if data.lstrip()[:1] == b"[":
        return [inner for found in _list_decoder.decode(data) for inner in _unwrapped(found, depth)]
    return _unwrapped(_object_decoder.decode(data), depth)


def _unwrapped(found: _Object, depth: int) -> list[bytes]:
    wrapped = bytes(found.result) or bytes(found.trace)
    if wrapped:
        return _objects(wrapped, depth - 1) if depth else []
    parts = {
        b"resourceSpans": found.resource_spans,
        b"resourceLogs": found.resource_logs,
        b"resourceMetrics": found.resource_metrics,
    }
    return [b'{"%b":%b}' % (key, bytes(part)) for key, part in parts.items() if bytes(part)]


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
