"""Restore values from JSON and type tags. No tag makes a class be imported, and a damaged tag is ignored."""

from __future__ import annotations

import base64
import collections
from collections.abc import Callable
from typing import Any

import msgspec

from otel_agent_trace.values.builtin import (
    SEQUENCE_BY_NAME,
    SPECIAL_FLOAT_JSON,
    TEXT_CODEC_BY_NAME,
    TextCodec,
    unescaped,
)
from otel_agent_trace.values.classes import BY_NAME
from otel_agent_trace.values.encoded import Opaque, Tag
from otel_agent_trace.values.limits import Truncated
from otel_agent_trace.values.models import model_data, put_together

_BROKEN = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, ArithmeticError, RecursionError)
_decode_json = msgspec.json.Decoder().decode


def decode_text(text: object, tag: Tag | None = None) -> Any:
    """Return the value of a JSON text and its tag; anything that is not a JSON text is returned as it is."""
    if type(text) is not str:
        return text if tag is None else restore(text, tag)
    try:
        data = _decode_json(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return text
    return data if tag is None else restore(data, tag)


def restore(data: Any, tag: Tag | None) -> Any:
    """Return the value that was given to `encode`; the data itself if the tag does not fit, as in a damaged trace."""
    if tag is None:
        return data
    name = tag if isinstance(tag, str) else tag.get("t") if isinstance(tag, dict) else None
    try:
        return _RESTORERS[name](data, tag if isinstance(tag, dict) else {})
    except _BROKEN:
        return data


def _restore_children(data: Any, tag: dict[str, Any]) -> Any:
    children = tag.get("c")
    if not children:
        return data
    if isinstance(data, list):
        return [restore(item, children.get(str(index))) for index, item in enumerate(data)]
    return {key: restore(item, children.get(key)) for key, item in data.items()}


def _restore_dict(data: Any, tag: dict[str, Any]) -> dict[Any, Any]:
    keys, children = tag.get("x") or {}, tag.get("c") or {}
    return {
        restore(*keys[name]) if name in keys else name: restore(item, children.get(name)) for name, item in data.items()
    }


def _restore_items(_: Any, tag: dict[str, Any]) -> dict[Any, Any]:
    return {restore(key, key_tag): restore(item, item_tag) for key, key_tag, item, item_tag in tag["x"]}


def _restore_class(data: Any, tag: dict[str, Any]) -> Any:
    name, content = str(tag["x"]), restore(data, tag.get("k"))
    codec = BY_NAME.get(name)
    if codec is None:
        return Opaque(name, content)
    try:
        return codec.from_data(content)
    except Exception:  # noqa: BLE001 - a class of another version may refuse the data with any exception
        return Opaque(name, content)


def _restore_model(data: Any, tag: dict[str, Any]) -> Any:
    name, content, state = str(tag["x"]), restore(data, tag.get("k")), dict(tag.get("s", {}))
    codec = BY_NAME.get(name)
    if codec is None:
        return Opaque(name, content, state)
    try:
        return put_together(codec.cls, content, state) if codec.to_data is model_data else codec.from_data(content)
    except Exception:  # noqa: BLE001 - a class of another version may refuse the data with any exception
        return Opaque(name, content, state)


def _restore_truncated(data: Any, tag: dict[str, Any]) -> Truncated:
    size, reason = tag["x"]
    return Truncated(restore(data, tag.get("k")), size, str(reason))


def _restore_text_codec(codec: TextCodec) -> Callable[[Any, dict[str, Any]], Any]:
    return lambda data, tag: codec.from_text(restore(data, tag.get("k")), tag.get("x"))


def _restore_sequence(build: Callable[[Any], Any]) -> Callable[[Any, dict[str, Any]], Any]:
    return lambda data, tag: build(_restore_children(data, tag))


def _restore_special_float(name: str) -> Callable[[Any, dict[str, Any]], float]:
    return lambda _data, _tag: float(name)  # a new NaN each time: a set may have several as members


_RESTORERS: dict[str | None, Callable[[Any, dict[str, Any]], Any]] = {
    None: _restore_children,
    "dict": _restore_dict,
    "items": _restore_items,
    "class": _restore_class,
    "model": _restore_model,
    "cut": _restore_truncated,
    "none": lambda _data, _tag: None,
    "str": lambda _, tag: unescaped(tag["x"]),
    "int": lambda data, _: int(data, 0),
    "bytes": lambda data, _: base64.b64decode(data, validate=True),
    "bytearray": lambda data, _: bytearray(base64.b64decode(data, validate=True)),
    **{name: _restore_special_float(name) for name in SPECIAL_FLOAT_JSON},
    **{name: _restore_sequence(build) for name, build in SEQUENCE_BY_NAME.items()},
    "deque": lambda data, tag: collections.deque(_restore_children(data, tag), tag.get("x")),
    **{name: _restore_text_codec(codec) for name, codec in TEXT_CODEC_BY_NAME.items()},
}
