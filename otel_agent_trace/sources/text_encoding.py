"""Convert the bytes of files to UTF-8 without a byte order mark: PowerShell's ``>`` writes UTF-16, Notepad the mark."""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterable, Iterator

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before the next, with which it begins
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
)
_PLAIN = rb"[\t\n\r -~]"
# Without a byte order mark: characters of ASCII beside zeros, and lengths of messages do not look like that.
_UNMARKED = (
    (re.compile(rb"\s\0|[\[{]\0(?:%b\0){3}" % _PLAIN), "utf-16-le"),
    (re.compile(rb"\0\s|\0[\[{](?:\0%b){3}" % _PLAIN), "utf-16-be"),
)


def as_utf8(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the blocks of a file, in UTF-8 if they are UTF-16 or UTF-32; what is no character there is U+FFFD."""
    rest = iter(blocks)
    first = next(rest, b"")
    encoding = _encoding_of(first)
    converted = (
        itertools.chain((first,), rest) if encoding is None else _decoded(encoding, itertools.chain((first,), rest))
    )
    if first := next(converted, b"").removeprefix(codecs.BOM_UTF8):
        yield first
    yield from converted


def is_plain_utf8(first: bytes) -> bool:
    """Return whether `as_utf8` leaves the blocks of a file as they are, given its beginning."""
    return _encoding_of(first) is None and not first.startswith(codecs.BOM_UTF8)


def _decoded(encoding: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    for block in blocks:
        if text := decoder.decode(block):
            yield text.encode()
    if text := decoder.decode(b"", final=True):
        yield text.encode()


def _encoding_of(first: bytes) -> str | None:
    marked = next((encoding for mark, encoding in _MARKS if first.startswith(mark)), None)
    return marked or next((encoding for pattern, encoding in _UNMARKED if pattern.match(first)), None)
