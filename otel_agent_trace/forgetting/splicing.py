"""Replace or remove items of JSON lists and fields of JSON objects in their text, of which all else stays byte for byte."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Exceptions that `parts_of` raises for a text that is no JSON."""
_KEY = re.compile(rb'[\s,]*("(?:[^"\\]|\\.)*")\s*:\s*')
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Part(NamedTuple):
    """Represent an item of a list (without a key) or a field of an object, and where it begins and ends in the text."""

    key: str
    value: bytes
    begin: int
    value_begin: int
    end: int


def parts_of(text: bytes) -> list[Part]:
    """Return the items of a list, the fields of an object, or nothing for any other value.

    Raises:
        DecodeError: the text is no JSON.
    """
    first = text.lstrip()[:1]
    return [*_items(text)] if first == b"[" else [*_fields(text)] if first == b"{" else []


def _items(text: bytes) -> Iterator[Part]:
    end = text.index(b"[") + 1
    for item in map(bytes, _list_decoder.decode(text)):
        begin = text.index(item, end)  # before it are blanks and a comma, with which no item begins
        end = begin + len(item)
        yield Part("", item, begin, begin, end)


def _fields(text: bytes) -> Iterator[Part]:
    end = text.index(b"{") + 1
    for key, raw in _fields_decoder.decode(text).items():
        before, value = _KEY.match(text, end), bytes(raw)
        if before is None or not text.startswith(value, before.end()):
            msg = "a key is there twice"
            raise msgspec.DecodeError(msg)
        end = before.end() + len(value)
        yield Part(key, value, before.start(1), before.end(), end)


def spliced(text: bytes, parts: Sequence[Part], values: Sequence[bytes | None]) -> bytes:
    """Return a text with other values of its parts; those of which the value is None are left out.

    Args:
        text: the text.
        parts: its parts, of which there is one at least.
        values: the new value of each.
    """
    pieces = [text[: parts[0].begin]]
    before = b""
    for number, (part, value) in enumerate(zip(parts, values, strict=True)):
        if value is not None:
            pieces += [before, text[part.begin : part.value_begin], value]
        if len(pieces) > 1 and number + 1 < len(parts):
            before = text[part.end : parts[number + 1].begin]
    return b"".join([*pieces, text[parts[-1].end :]])
