"""Write values of any type as texts of a Parquet map, and read them back with their types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from otel_agent_trace.values import decode_text, encode_text

Pairs = list[tuple[str, str]]
"""Type of a map as pyarrow takes and returns it."""


def text_of(value: Any) -> str | None:
    """Return a text as it is, JSON text for any other value, and None for None."""
    return None if value is None else _text_and_type(value)[0]


def maps_of(values: Mapping[Any, Any]) -> tuple[Pairs, Pairs]:
    """Return a mapping as texts by key, and the types of those that are no text: the tag of `values`, empty without one."""
    texts, types = dict[str, str](), dict[str, str]()
    for key, value in values.items():
        name = _within_utf8(key if isinstance(key, str) else encode_text(key).text)
        texts[name], type_text = _text_and_type(value)
        if type_text is not None:
            types[name] = type_text
    return [*texts.items()], [*types.items()]


def mapping_of(texts: Iterable[tuple[str, str]], types: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the mapping that `maps_of` was called with.

    Raises:
        msgspec.DecodeError: a type is not one that `maps_of` writes.
    """
    known = dict(types)
    if not known:
        return dict(texts)
    return {key: value_of(text, known[key]) if key in known else text for key, text in texts}


def value_of(text: str, type_text: str) -> Any:
    """Return the value of a text of `maps_of` that has a type.

    Raises:
        msgspec.DecodeError: the type is not one that `maps_of` writes.
    """
    return decode_text(text, msgspec.json.decode(type_text) if type_text else None)


def _text_and_type(value: Any) -> tuple[str, str | None]:
    if type(value) is str and _is_utf8(value):
        return value, None
    encoded = encode_text(value)
    return _within_utf8(encoded.text), "" if encoded.tag is None else msgspec.json.encode(encoded.tag).decode()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _within_utf8(text: str) -> str:
    return text if _is_utf8(text) else text.encode("utf-8", "backslashreplace").decode()
