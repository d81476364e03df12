"""Look for secrets in the bytes of recorded values, which stand as base64 in JSON texts."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.redaction.texts import bytes_of_texts, texts_of, texts_of_bytes

_BASE64 = r"(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?|[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}="
_WHOLE = re.compile(_BASE64)
_QUOTED = re.compile(rf'(?<=")(?:{_BASE64})(?=["\\]|\Z)')


def has_bytes(attributes: Mapping[str, Any]) -> bool:
    """Return whether there are bytes among the values that our tracer recorded: their type is ``bytes``, ``bytearray``."""
    types = attributes.get(semconv.TYPES)
    return type(types) is str and '"byte' in types


def bytes_in(text: str) -> Iterator[str]:
    """Yield the texts in the bytes of a JSON text."""
    for found in _QUOTED.finditer(text):
        yield from texts_of([base64.b64decode(found[0])])


def with_masked_bytes(text: str, mask: Callable[[Any], Any]) -> str:
    """Return a JSON text with masks in its bytes, which stay base64; the same object if there are none.

    Bytes are names too, as in the headers of ASGI: ``[(b"authorization", b"Bearer ...")]``.

    Args:
        text: the text.
        mask: a function such as a `Redactor`: it returns a JSON value with masks, the same object if there are none.
    """
    try:
        given = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):  # cut by a limit of the provider
        changed = _QUOTED.sub(lambda found: _with_masks(found[0], mask(with_texts(found[0]))), text)
        return text if changed == text else changed
    shown = with_texts(given)
    masked = mask(shown)
    return text if masked is shown else msgspec.json.encode(_merged(given, shown, masked)).decode()


def with_texts(value: Any) -> Any:
    """Return a JSON value with the texts of the bytes in it instead; as keys, only those that are ASCII: words are base64 too."""
    if type(value) is str:
        return texts_of_bytes(base64.b64decode(value)) if _WHOLE.fullmatch(value) else value
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
    names = zip(given, shown, masked, strict=True)
    items = zip(given.values(), shown.values(), masked.values(), strict=True)
    return {_merged(*name): _merged(*item) for name, item in zip(names, items, strict=True)}


def _with_masks(encoded: str, masked: Any) -> str:
    """Return the base64 of bytes with masks in their texts."""
    return base64.b64encode(bytes_of_texts(base64.b64decode(encoded), masked)).decode()
