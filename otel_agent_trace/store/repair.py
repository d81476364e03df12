"""Repair torn lines in a file that nobody has open, so that every reader of JSON lines reads it.

A writer that is killed leaves a piece of a line; another one, which cannot know whether that is a line in progress, may have
appended its own line to it. A power cut leaves zeros, or bytes of anything. Such pieces are overwritten with blanks where
they stand, so that the whole lines keep their places; what can be read of them is appended as lines of its own before.

Only files of ours are repaired, and in them only what looks like a piece of our lines, or is no text: a JSON document of
several lines is none, nor are other lines that a program prints between ours.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from typing import IO

import msgspec

from otel_agent_trace.formats import otlp_json
from otel_agent_trace.formats.otlp_json_encoding import encode
from otel_agent_trace.json_repair import repaired
from otel_agent_trace.store.lines import MAX_LINE_BYTES, LineFile
from otel_agent_trace.store.sharing import held, is_only_user, open_regular, take, unlock

_BEGINNINGS = (b'{"resourceSpans"', b'{"resourceLogs"')
_OBJECT = re.compile(rb'\{"resource(?:Spans|Logs|Metrics)"')
_OF_OURS = re.compile(rb'"(?:resource(?:Spans|Logs)|scope(?:Spans|Logs)|traceId|spanId|stringValue)"')
_HEAD_BYTES = 64 << 10
_MOST_LINES = 100_000
"""Most lines that one repair looks at again; the next repair goes on."""
_decoder = msgspec.json.Decoder(msgspec.Raw)


def repair(path: str) -> int | None:
    """Repair the torn lines of a file, and return their number; None if somebody has it open for writing.

    Raises:
        OSError: it cannot be read or written, or is no regular file.
    """
    with held(open_regular(path, os.O_RDWR)) as descriptor:
        places = _places(descriptor)
        if not places:
            return 0
        if not take(descriptor):
            return None
        # A line in progress looks torn, but whoever writes it has the file open at the later look.
        lines = _lines_at(descriptor, places)
        if not is_only_user(descriptor):
            return None
        torn = [(offset, line) for offset, line in lines if _is_torn(line)]
        _append(path, descriptor, [found for _, line in torn for found in _intact_in(line)])
        for offset, line in torn:
            os.pwrite(descriptor, _blanked(line), offset)
        unlock(descriptor)
        return len(torn)


def _places(descriptor: int) -> list[int]:
    """Return the offsets of the torn lines of a file; none unless it has a whole line of ours too, or one line only."""
    with open(descriptor, "rb", closefd=False) as file:
        if not _is_ours(file):
            return []
        torn: list[int] = []
        offset = file.seek(0)
        is_ours, number = False, 0
        while (line := file.readline(MAX_LINE_BYTES)) and len(torn) < _MOST_LINES:
            if is_torn := _is_torn(line):
                torn.append(offset)
            is_ours = is_ours or (bool(_kept(line)[1]) if is_torn else line.startswith(_BEGINNINGS))
            offset += len(line)
            number += 1
    return torn if is_ours or number == 1 else []


def _lines_at(descriptor: int, offsets: Sequence[int]) -> list[tuple[int, bytes]]:
    """Return the lines at some offsets, as they are now."""
    with open(descriptor, "rb", closefd=False) as file:
        return [(offset, file.readline(MAX_LINE_BYTES)) for offset in map(file.seek, offsets)]


def _is_ours(file: IO[bytes]) -> bool:
    """Return whether the first line of a file begins like ours; zeros before it are of a power cut, or of a truncation."""
    head = file.read(_HEAD_BYTES).lstrip(b"\0\t\r\n ")
    return any(head.startswith(begin) or begin.startswith(head.rstrip(b"\0\t\r\n ")) for begin in _BEGINNINGS)


def _is_torn(line: bytes) -> bool:
    """Return whether a line is a piece of ours, or no text; other lines that are no JSON are of others, and stay."""
    bare = line.strip()
    if not bare or _is_whole(bare) or (len(line) == MAX_LINE_BYTES and not line.endswith(b"\n")):
        return False
    try:
        json.loads(bare, strict=False)  # as others write it, with NaN or half a character
    except RecursionError:
        return False
    except ValueError:
        is_text = b"\0" not in bare and _is_utf8(bare)
        return not is_text or bool(_OF_OURS.search(bare)) or any(begin.startswith(bare) for begin in _BEGINNINGS)
    return b"\0" in bare


def _is_whole(text: bytes) -> bool:
    try:
        _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return _is_utf8(text)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _pieces(line: bytes) -> list[tuple[int, bytes]]:
    """Return the pieces of a line, each from the beginning of an object to that of the next, with their offsets."""
    begins = [match.start() for match in _OBJECT.finditer(line)]
    cuts = [*dict.fromkeys([0, *begins, len(line)])]
    return [(begin, line[begin:end]) for begin, end in pairwise(cuts)]


def _kept(line: bytes) -> tuple[int, bytes]:
    """Return the last whole object of a line, which stays in its place, with its offset; nothing if there is none."""
    bare = ((begin, piece.strip(b"\0\r\n ")) for begin, piece in reversed(_pieces(line)) if piece.startswith(b"{"))
    return next(((begin, piece) for begin, piece in bare if _is_whole(piece)), (len(line), b""))


def _blanked(line: bytes) -> bytes:
    begin, kept = _kept(line)
    end = begin + len(kept)
    blanked = bytearray(b" " * len(line))
    blanked[begin:end] = kept
    if end < len(line) or line.endswith(b"\n"):
        blanked[-1:] = b"\n"
    return bytes(blanked)


def _intact_in(line: bytes) -> Iterator[bytes]:
    """Yield what readers find in the pieces of a line that are overwritten, as lines."""
    kept_at, _ = _kept(line)
    for begin, piece in _pieces(line):
        if begin == kept_at:
            continue
        text = repaired(piece.strip(b"\0\r\n ")).data
        if text.startswith(b"{") and _is_whole(text):
            yield text + b"\n"
        elif spans := otlp_json.salvage(piece):
            yield encode(spans) + b"\n"


def _append(path: str, descriptor: int, lines: list[bytes]) -> None:
    """Append lines to a file, to which others may append as well by now, and return when the disk has them."""
    if lines:
        with closing(LineFile(path)) as file:
            file.append(b"".join(lines))
        os.fsync(descriptor)
