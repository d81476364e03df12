"""Find the JSON values in a text that is more than one object: several in a row, a list, a string, or an object around them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import msgspec

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[{}]', re.DOTALL)
_OPENING, _CLOSING = ord("{"), ord("}")
_OTHER_TEXT = re.compile(
    rb"[^\s,\[\]\x1e\xef\xbb\xbf]"
)  # RFC 7464 has U+001E before each text; the last is a byte order mark
_BRACKETS = (b"{", b"[")
_SPAN_KEYS = {"context", "SpanContext", "spanId", "span_id", "spanID"}
"""Keys of a span, of which one with faults is not searched: its links look like spans."""
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text_decoder = msgspec.json.Decoder(str)
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Parts(NamedTuple):
    """Hold the objects and lists directly in a text; `is_all` is False if there is something else between them."""

    values: list[bytes]
    is_all: bool = True


def parts_of(text: bytes) -> Parts:
    """Return the objects and lists directly in a text, those in its JSON strings included; none if it is itself one only.

    A text that is no JSON is taken for objects with something else before, between or after them; the last one may be
    incomplete.
    """
    bare = text.strip()
    try:
        return Parts([part for value in _values(bare) if (part := _unquoted(value)).startswith(_BRACKETS)])
    except _REFUSALS:
        ranges = [*_objects(bare)]
    between = [bare[end:begin] for (_, end), (begin, _) in pairwise([(0, 0), *ranges, (len(bare), 0)])]
    found = [bare[begin:end] for begin, end in ranges]
    return Parts([each for each in found if each != bare], not any(map(_OTHER_TEXT.search, between)))


def _values(text: bytes) -> list[bytes]:
    """Return the values of an object that is no span, the items of a list, or a string itself.

    Raises:
        DecodeError, UnicodeDecodeError, RecursionError: the text is not one JSON value of these kinds.
    """
    if text.startswith(b"{"):
        fields = _fields_decoder.decode(text)
        return [] if _SPAN_KEYS & fields.keys() else [*map(bytes, fields.values())]
    return [*map(bytes, _list_decoder.decode(text))] if text.startswith(b"[") else [_decoded(text)]


def _unquoted(value: bytes) -> bytes:
    """Return the content of a string, or another value as it is."""
    return _decoded(value) if value.startswith(b'"') else value


def _decoded(text: bytes) -> bytes:
    return _text_decoder.decode(text).strip().encode()


def _objects(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield the begin and the end of each outermost object."""
    begin = text.find(b"{")
    while begin >= 0:
        end = _end_of_object(text, begin)
        yield begin, end
        begin = text.find(b"{", end)


def _end_of_object(text: bytes, begin: int) -> int:
    depth = 0
    for token in _TOKEN.finditer(text, begin):
        sign = text[token.start()]
        depth += (sign == _OPENING) - (sign == _CLOSING)
        if depth == 0:
            return token.end()
    return len(text)
