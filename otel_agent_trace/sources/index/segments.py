"""Read the files that an index is made of: whether they are still what was indexed, and ranges of their content."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.file_contents import Content, blocks_of, content_of, open_regular
from otel_agent_trace.sources.file_formats import DamagedError
from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.index.scan import UnusualError
from otel_agent_trace.store import frames, zstandard
from otel_agent_trace.store.lines import MAX_LINE_BYTES

CHUNK_BYTES = 2 << 20
"""Size of the pieces in which files are scanned, each with a transaction of its own."""
_CHECKED_BYTES = 4096
_LAST_LINE = b"\n"
"""Line feed after the content of a packed file, which does not grow, and whose last line may lack it."""
_BEGINNINGS = (b'{"resourceSpans":', b'{"resourceLogs":')


class StaleError(Exception):
    """Indicate that files have changed since the index was brought up to date, or that it cannot answer."""


class WrongIndexError(Exception):
    """Indicate an index that is not what we have written, as the files have no such lines."""


class Segment(NamedTuple):
    """Represent a row of the table `segment`; `indexed` is the number of bytes of the file that are behind us."""

    id: int
    name: str
    identity: str
    size: int
    mtime_ns: int
    indexed: int
    digest: bytes
    is_usual: int


SEGMENT_TYPES = (int, str, str, int, int, int, bytes, int)
"""Types of the fields of a `Segment`, of which a file by others may have any."""


class Status(NamedTuple):
    """Hold how the file system describes a file."""

    path: str
    identity: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str) -> Status:
        """Return the status of a file.

        Raises:
            OSError: there is none.
        """
        found = os.stat(path)
        return cls(path, f"{found.st_dev}:{found.st_ino}", found.st_size, found.st_mtime_ns)


def digest_of(path: str, indexed: int) -> bytes:
    """Return a hash of the head of a file and of the last bytes before a position, as far as these are there."""
    with open_regular(path) as file:
        head = file.read(min(indexed, _CHECKED_BYTES))
        file.seek(max(0, indexed - _CHECKED_BYTES))
        tail = file.read(min(indexed, _CHECKED_BYTES))
    return hashlib.blake2b(b"%d %b%b" % (indexed, head, tail), digest_size=16).digest()


def packing_of(path: str) -> str:
    """Return how a file is packed: gzip, zstd, or not at all (file).

    Raises:
        UnusualError: it is of a format whose spans cannot be located.
        SourceError: it cannot be opened.
    """
    with open_regular(path) as raw:
        try:
            content = content_of(raw)
            head = next((block.lstrip() for block in content.blocks if block.strip()), _BEGINNINGS[0])
        except DamagedError as error:
            raise UnusualError from error
    if not head.startswith(_BEGINNINGS) or not _is_of_lines(content):
        raise UnusualError
    return content.packing


def _is_of_lines(content: Content) -> bool:
    return type(content.file_format) is JsonLines and (content.is_plain or content.packing != "file")


class Chunk(NamedTuple):
    """Hold whole lines of a file with their line feeds, which begin at a position of its content."""

    begin: int
    lines: list[bytes]

    @property
    def end(self) -> int:
        """Return the position after the last line."""
        return self.begin + sum(map(len, self.lines))


def chunks_of(path: str, begin: int, packing: str) -> Iterator[Chunk]:
    """Yield the whole lines of a file from a position on.

    Raises:
        UnusualError: a line is too long, or the file cannot be unpacked.
    """
    try:
        if packing == "file":
            yield from _chunks(_plain_blocks(path, begin), begin)
        else:
            yield from _chunks(itertools.chain(blocks_of(path), [_LAST_LINE]), begin)
    except SourceError as error:
        raise UnusualError from error


def _plain_blocks(path: str, begin: int) -> Iterator[bytes]:
    with open_regular(path) as file:
        file.seek(begin)
        while block := file.raw.read(CHUNK_BYTES):
            yield block


def _chunks(blocks: Iterable[bytes], begin: int) -> Iterator[Chunk]:
    lines: list[bytes] = []
    rest: list[bytes] = []  # of a line whose end is in a block to come
    size = 0
    for block in blocks:
        read = io.BytesIO(block).readlines()
        after = [] if block.endswith(b"\n") else [read.pop()] if read else []
        if read:
            read[0] = b"".join([*rest, read[0]])
            rest = []
        rest += after
        if sum(map(len, rest)) > MAX_LINE_BYTES:
            raise UnusualError
        lines += read
        size += len(block)
        if size >= CHUNK_BYTES and lines:
            yield (chunk := Chunk(begin, lines))
            begin, lines, size = chunk.end, [], 0
    if lines:
        yield Chunk(begin, lines)


class Frame(NamedTuple):
    """Hold where a frame begins: in the content, and in the file."""

    begin: int
    at: int


def frames_of(path: str, packing: str) -> list[Frame]:
    """Return where reading of a file may begin: each frame up to one whose size is not known."""
    found = [Frame(0, 0)]
    if packing != "zstd":
        return found
    with open_regular(path) as file:
        begin = 0
        for frame in frames.frames(file):
            if frame.offset and found[-1].at != frame.offset:
                found.append(Frame(begin, frame.offset))
            if frame.size_bytes is None:
                break
            begin += frame.size_bytes
    return found


class Range(NamedTuple):
    """Hold a part of the content of a file."""

    begin: int
    size: int


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Return sorted ranges, of which those that touch are one."""
    found: list[Range] = []
    for each in sorted(ranges):
        last = found[-1] if found else None
        if last is not None and each.begin <= last.begin + last.size:
            found[-1] = Range(last.begin, max(last.size, each.begin + each.size - last.begin))
        else:
            found.append(each)
    return found


@contextmanager
def opened(path: str, identity: str) -> Iterator[io.BufferedReader]:
    """Open the file that has an identity, for the time of a block.

    Raises:
        StaleError: there is another one at the path now, or none.
    """
    try:
        raw = open_regular(path)
    except SourceError as error:
        raise StaleError(path) from error
    with raw:
        found = os.fstat(raw.fileno())
        if f"{found.st_dev}:{found.st_ino}" != identity:
            raise StaleError(path)
        yield raw


def read_ranges(
    path: str, identity: str, known: Sequence[Frame], ranges: Iterable[Range]
) -> Iterator[tuple[int, bytes]]:
    """Yield the lines in ranges of a file, each with its position; `known` are the frames of one that is packed.

    Raises:
        StaleError: it is another file now.
        WrongIndexError: it has no such lines.
    """
    with opened(path, identity) as raw:
        content = _Packed(raw, known) if known else _Plain(raw)
        for begin, size in ranges:
            at = begin
            if begin < 0 or not 0 < size < 1 << 40:
                raise WrongIndexError(path)
            data = content.read(begin, size)
            if len(data) != size or not data.endswith(b"\n"):
                raise WrongIndexError(path)
            for line in io.BytesIO(data).readlines():
                yield at, line[:-1]
                at += len(line)


class _Plain:
    def __init__(self, raw: io.BufferedReader) -> None:
        self._raw = raw

    def read(self, begin: int, size: int) -> bytes:
        if begin + size > os.fstat(self._raw.fileno()).st_size:
            return b""
        self._raw.seek(begin)
        return self._raw.read(size)


class _Packed:
    """Read packed content forward, from the frame on in which a range begins."""

    def __init__(self, raw: io.BufferedReader, known: Sequence[Frame]) -> None:
        self._raw, self._known = raw, known
        self._blocks: Iterator[bytes] = iter(())
        self._begin, self._data = -1, b""

    def read(self, begin: int, size: int) -> bytes:
        frame = max((each for each in self._known if each.begin <= begin), default=Frame(0, 0))
        if not 0 <= self._begin <= begin or self._begin < frame.begin:
            self._blocks = unpacked(self._raw, frame.at)
            self._begin, self._data = frame.begin, b""
        try:
            while self._begin + len(self._data) < begin + size:
                if begin >= self._begin + len(self._data):
                    self._begin, self._data = self._begin + len(self._data), b""
                self._data += next(self._blocks)
        except StopIteration:
            self._data += _LAST_LINE
        except (OSError, EOFError):
            return b""
        return self._data[begin - self._begin : begin - self._begin + size]


def unpacked(raw: io.BufferedReader, at: int) -> Iterator[bytes]:
    """Yield the content of a packed file from a frame on."""
    import gzip  # noqa: PLC0415 - few stores have such files

    raw.seek(at)
    if raw.peek(4)[:4] == zstandard.MAGIC:
        for frame in frames.frames(raw, at):
            yield from frames.content_of(raw, frame)
    else:
        with gzip.GzipFile(fileobj=raw) as file:
            while block := file.read1(CHUNK_BYTES):
                yield block
