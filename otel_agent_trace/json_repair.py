r"""Repair JSON that writers are known to get wrong, so that one bad text or number costs itself and nothing beside it.

JavaScript cuts texts in the middle of an emoji and writes the half as an escape (``\ud83d``), Python writes ``NaN``, loggers
write raw control characters, and files that were edited by hand have commas before closing brackets. Time and memory
are proportional to the number of bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

_SURROGATES = re.compile(
    rb"(?<!\\)((?:\\\\)*)\\u(?:[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|([dD][89a-fA-F][\da-fA-F]{2}))"
)
_SUSPECT = re.compile(rb"[\0-\x1f]|[:,\[]\s*-?(?:NaN|Infinity)|,\s*[}\]]")
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|(?<![\w.+-])-?(?:NaN|Infinity)(?![\w.])|,(?=\s*[}\]])', re.DOTALL)
_CONTROL = re.compile(rb"[\0-\x1f]")
_HALF, _BYTES, _CONTROLS = "a lone surrogate (half a character)", "bytes that are not UTF-8", "a raw control character"
_NUMBER, _COMMA = "NaN or Infinity, which JSON does not have", "a comma before a closing bracket"


class Repaired(NamedTuple):
    """Hold repaired JSON, and what was repaired in it: an empty text if nothing was."""

    data: bytes
    what: str


def repaired(data: bytes) -> Repaired:
    """Return JSON with what is wrong in its texts and numbers replaced: by U+FFFD, by escapes, by texts.

    The data may still be no JSON, as where it ends early. JSON in which nothing is wrong is returned as it is.
    """
    return _Repair().of(data)


class _Repair:
    """Repair one text, and record what was wrong in it, and where first."""

    def __init__(self) -> None:
        self._counts = Counter[str]()
        self._first: dict[str, int] = {}

    def of(self, data: bytes) -> Repaired:
        """Return the repaired text."""
        fixed = _SURROGATES.sub(self._surrogates, self._utf8(data))
        if _SUSPECT.search(fixed):  # looking at each token takes long
            fixed = _TOKEN.sub(self._token, fixed)
        return Repaired(fixed, ", ".join(map(self._described, self._counts)))

    def _described(self, fault: str) -> str:
        more = f" and {self._counts[fault] - 1} more" if self._counts[fault] > 1 else ""
        return f"{fault} at byte {self._first[fault]}{more}"

    def _note(self, fault: str, position: int) -> None:
        self._counts[fault] += 1
        self._first.setdefault(fault, position)

    def _utf8(self, data: bytes) -> bytes:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            self._note(_BYTES, error.start)
            return data.decode(errors="replace").encode()
        return data

    def _token(self, match: re.Match[bytes]) -> bytes:
        token, position = match[0], match.start()
        if token.startswith(b'"'):
            return self._text(token, position)
        if token == b",":
            self._note(_COMMA, position)
            return b""
        self._note(_NUMBER, position)
        return b'"%b"' % token

    def _text(self, token: bytes, position: int) -> bytes:
        control = _CONTROL.search(token)
        if control is None:
            return token
        self._note(_CONTROLS, position + control.start())
        return _CONTROL.sub(lambda match: b"\\u%04x" % match[0][0], token)

    def _surrogates(self, match: re.Match[bytes]) -> bytes:
        if match[2] is None:
            return match[0]
        self._note(_HALF, match.start())
        return rb"%b\ufffd" % match[1]


# ── text that ends early ─────────────────────────────────────────────────────────────────────────────────────────────

_BRACKET = re.compile(rb'"[^"]*"?|[\[\]{}]')
_QUOTE = ord('"')
_OPENING = {ord("}"): ord("{"), ord("]"): ord("[")}
_CLOSING = {opening: closing for closing, opening in _OPENING.items()}


def closed(data: bytes, *around: bytes) -> bytes:
    """Return the JSON value at the beginning of a text; an incomplete one is closed after its last whole item.

    Args:
        data: the text, in which anything may follow the value.
        *around: the brackets that are open around an item, as ``b"{["`` for the items of a list in an object.
    """
    bare = data.replace(rb"\\", b"__").replace(rb"\"", b"__")
    open_brackets = bytearray()
    end, tail = 0, bytes(map(_CLOSING.__getitem__, reversed(around[0])))
    for match in _BRACKET.finditer(bare):
        sign = bare[match.start()]
        if sign == _QUOTE:
            continue
        if sign not in _OPENING:
            open_brackets.append(sign)
            continue
        if not open_brackets or open_brackets.pop() != _OPENING[sign]:
            break
        if not open_brackets:
            return data[: match.end()]
        if open_brackets in around:
            end, tail = match.end(), bytes(map(_CLOSING.__getitem__, reversed(open_brackets)))
    return data[:end] + tail
