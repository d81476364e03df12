"""Look for secrets in the bytes of recorded values, which stand as base64: in JSON texts, and in values of log records."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.redaction.patterns import lazy_pattern
from otel_agent_trace.redaction.texts import bytes_of_texts, texts_of, texts_of_bytes

_BASE64 = r"[A-Za-z0-9+/]{2,}={0,2}"
_WHOLE = lazy_pattern(_BASE64)
_QUOTED = lazy_pattern(rf'(?<=")(?:{_BASE64})(?=["\\]|\Z)')
_QUANTUM = 4
_BYTE_TYPE = lazy_pattern(r'(?<!\d,)"byte')  # not the unit of what a limit has cut: [70000, "bytes"]


def has_bytes(attributes: Mapping[str, Any]) -> bool:
    """Return whether there are bytes among the values that our tracer recorded: their type is ``bytes``, ``bytearray``."""
    types = attributes.get(semconv.TYPES)
    return type(types) is str and '"byte' in types and _BYTE_TYPE.search(types) is not None


def bytes_in(text: str) -> Iterator[str]:
    """Yield the texts in the bytes of a JSON text."""
    for found in _QUOTED.finditer(text):
        yield from texts_of([with_texts(found[0])])


Mask = Callable[[Any], Any]
"""Function such as a `Redactor`: it returns a JSON value with masks, the same object if there are none."""


def masked_bytes(value: Any, mask: Mask) -> Any:
    """Return a JSON value with masks in its bytes, which stay base64; the same object if there are none.

    Bytes are names too, as in the headers of ASGI: ``[(b"authorization", b"Bearer ...")]``.
    """
    shown = with_texts(value)
    masked = mask(shown)
    return value if masked is shown else _merged(value, shown, masked)


def with_masked_bytes(value: Any, mask: Mask) -> Any:
    """Return a text of JSON with masks in its bytes, as `masked_bytes`; any other value as it is."""
    if type(value) is not str:
        return value
    try:
        given = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):  # cut by a limit of the provider
        changed = _QUOTED.sub(lambda found: masked_bytes(found[0], mask), value)
        return value if changed == value else changed
    masked = masked_bytes(given, mask)
    return value if masked is given else msgspec.json.encode(masked).decode()


def with_texts(value: Any) -> Any:
    """Return a JSON value with the texts of the bytes in it instead; as keys, only those that are ASCII: words are base64 too."""
    if type(value) is str:
        is_encoded = len(value) % _QUANTUM == 0 and _WHOLE.fullmatch(value)
        return texts_of_bytes(base64.b64decode(value)) if is_encoded else value
    if type(value) is list:
        return [with_texts(item) for item in value]
    if type(value) is dict:
        shown: dict[str, Any] = {}
        for key, item in value.items():
            name = with_texts(key)
            is_name = type(name) is str and name.isascii() and name not in value and name not in shown
            shown[name if is_name else key] = with_texts(item)
        return shown
    return value


def _merged(given: Any, shown: Any, masked: Any) -> Any:
    """Return a JSON value with the masks in the texts of its bytes, which are base64 again."""
    if masked is shown:
        return given
    if type(given) is str:
        return masked if shown == given else _with_masks(given, masked)
    if type(masked) is not type(given):  # nested too deep to be looked at
        return masked
    if type(given) is list:
        return [_merged(*parts) for parts in zip(given, shown, masked, strict=True)]
    if type(given) is not dict:
        return masked
    names = zip(given, shown, masked, strict=True)
    items = zip(given.values(), shown.values(), masked.values(), strict=True)
    return {_merged(*name): _merged(*item) for name, item in zip(names, items, strict=True)}


def _with_masks(encoded: str, masked: Any) -> str:
    """Return the base64 of bytes with masks in their texts."""
    return base64.b64encode(bytes_of_texts(base64.b64decode(encoded), masked)).decode()
