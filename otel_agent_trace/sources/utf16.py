"""Convert UTF-16 to UTF-8, as PowerShell's ``>`` writes what a program prints in UTF-16."""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterable, Iterator

_MARKS = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_PLAIN = rb"[\t\n\r -~]"
# Without a byte order mark: characters of ASCII beside zeros, and lengths of messages do not look like that.
_UNMARKED = (
    (re.compile(rb"\s\0|[\[{]\0(?:%b\0){3}" % _PLAIN), "utf-16-le"),
    (re.compile(rb"\0\s|\0[\[{](?:\0%b){3}" % _PLAIN), "utf-16-be"),
)


def as_utf8(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the blocks of a file, in UTF-8 if they are UTF-16; what is no character there is U+FFFD."""
    rest = iter(blocks)
    first = next(rest, b"")
    encoding = _encoding_of(first)
    if encoding is None:
        yield from itertools.chain((first,), rest) if first else rest
        return
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    for block in itertools.chain((first,), rest):
        if text := decoder.decode(block):
            yield text.encode()
    if text := decoder.decode(b"", final=True):
        yield text.encode()


def _encoding_of(first: bytes) -> str | None:
    marked = next((encoding for mark, encoding in _MARKS if first.startswith(mark)), None)
    return marked or next((encoding for pattern, encoding in _UNMARKED if pattern.match(first)), None)
