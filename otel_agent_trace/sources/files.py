"""Spans out of local files of OTLP JSON Lines, plain or compressed, in bounded memory.

Two passes: the first notes in which block of bytes each trace is seen last, the second decodes and yields a trace as
soon as that block is behind it. What a file grows by meanwhile is left for the next reading, and a file that is renamed
meanwhile, as rotation does, is read on under its new name. In memory are the traces that are open at one moment, one block of lines (128 KiB, or
one line if that is longer), and less than 100 bytes for each trace of the files. Of a line that cannot be read as a whole
those spans are read that are whole.
"""

from __future__ import annotations

import codecs
import glob
import gzip
import io
import itertools
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import IO, Any, NamedTuple, Protocol

from otel_agent_trace.errors import SourceError
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.span import Problem, SpanRecord

BLOCK_BYTES = 128 << 10
MAX_LINE_BYTES = 64 << 20
"""A longer line is reported and skipped."""
MAX_RATIO = 1000
"""What unpacks to more times its size is not read on; the first GB is free, since a little may say the same often."""
SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
"""What is read of a directory."""

_ID_KEY = b'traceId"'
_AFTER_ID_KEY = re.compile(rb'\s*:\s*"([0-9a-fA-F]{32})"')
_USUAL_BYTES = len(':""') + 32
_KEY_BITS = 2**60 - 1
_ID_BYTES = 64
"""More than an id with its key, so that one on the edge of two blocks is seen whole."""
_RATIO_FROM_BYTES = 1 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_HEAD_BYTES = 4096
_MOST_RENAMES = 3
_BEGINNING = b'{"resourceSpans"'


class FilesSource:
    """A `SpanSource` over files, globs and directories (of which it reads the files that end in `SUFFIXES`)."""

    def __init__(
        self,
        paths: Sequence[str | PathLike[str]],
        *,
        on_progress: Callable[[int, int | None], None] | None = None,
    ) -> None:
        self._paths = [os.fspath(path) for path in paths]
        self._on_progress = on_progress

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace.

        Raises:
            SourceError: a path that does not exist, or a named file that holds something else.
        """
        listed = self._listed()
        files = [file for file, named in listed.items() if _is_usable(file, named, on_problem)]
        counters = self._counters(files)
        ends = _Ends()
        noted = [*_noted(ends, {file: listed[file] for file in files}, counters)]
        noted += _noted(ends, self._new_files(noted, listed, on_problem), itertools.repeat(_ignore))
        open_traces = _OpenTraces(on_problem)
        read_up_to = 0
        for file in noted:
            for lines, first_line, block in _read_lines(file, on_problem, next(counters, _ignore)):
                for number, line in enumerate(lines, first_line):
                    open_traces.take(line, file.path, number)
                if block > read_up_to:
                    read_up_to = block
                    yield from open_traces.complete(ends, block)
        yield from open_traces.complete(ends, sys.maxsize)

    def _counters(self, files: Sequence[str]) -> Iterator[Callable[[int], None]]:
        """One for each reading of a file, of which there are two; each is told the bytes read of its file."""
        sizes = [_size(file) for file in files] * 2
        return (self._counter(begun, sum(sizes)) for begun in itertools.accumulate(sizes, initial=0))

    def _counter(self, begun: int, total: int) -> Callable[[int], None]:
        on_progress = self._on_progress
        if on_progress is None:
            return _ignore
        return lambda read: on_progress(min(begun + read, total), total)

    def _listed(self) -> dict[str, str]:
        """The files that are there, each with the path that it was named by."""
        return {file: path for path in self._paths for file in _expand(path)}

    def _new_files(
        self, noted: Sequence[_Noted], listed: Mapping[str, str], on_problem: Callable[[Problem], None]
    ) -> dict[str, str]:
        """What has come since: where a file was renamed before it was noted, its new name, else what came in its place."""
        known = {file.identity for file in noted}
        refused = listed.keys() - {file.path for file in noted}
        new = {file: named for file, named in self._listed().items() if file not in refused}
        return {
            file: named
            for file, named in new.items()
            if _identity(file) not in known and _is_usable(file, named, on_problem)
        }


_Identity = tuple[int, int]


class _Noted(NamedTuple):
    """A file as it was when it was first read: what it grows by afterwards is left for the next reading.

    `size` is in bytes, unpacked, `first_block` the number of its first block, counted through all files.
    """

    path: str
    identity: _Identity | None
    first_block: int
    size: int

    def block_at(self, position: int) -> int:
        """The number of the block that byte is in."""
        return self.first_block + position // BLOCK_BYTES

    def path_now(self) -> str | None:
        """Where it is now, if it is still in its folder."""
        if _identity(self.path) == self.identity:
            return self.path
        folder = os.path.dirname(self.path)
        paths = (os.path.join(folder, name) for name in _names_in(folder or "."))
        return next((path for path in paths if _identity(path) == self.identity), None)


class _Ends:
    """Where each trace is seen last: the number of the block, counted through all files.

    A hash stands for the id: should two ids share one, their traces are only kept open longer.
    """

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._next_block = 0

    def note(self, file: str, count: Callable[[int], None]) -> _Noted:
        """Look through a file."""
        first = self._next_block
        last, left_over, size = self._last, b"", 0
        with _open(file) as (raw, blocks):
            identity = _identity(raw.fileno())
            for block in _undamaged(blocks):
                size += len(block)
                number = first + (size - 1) // BLOCK_BYTES
                for trace_id in _trace_ids(block) | _trace_ids(left_over + block[:_ID_BYTES]):
                    last[_key(trace_id)] = number
                left_over = (left_over + block[-_ID_BYTES:])[-_ID_BYTES:]
                count(raw.tell())
        noted = _Noted(file, identity, first, size)
        self._next_block = noted.block_at(size) + 1
        return noted

    def last_block(self, trace_id: str) -> int:
        """The last block of a trace, which may be later than it is, but never earlier."""
        return self._last.get(_key(trace_id.encode()), self._next_block)


def _noted(ends: _Ends, files: Mapping[str, str], counters: Iterator[Callable[[int], None]]) -> Iterator[_Noted]:
    """Look through files, each with the path that it was named by."""
    for (file, named), count in zip(files.items(), counters, strict=False):
        try:
            noted = ends.note(file, count)
        except SourceError as error:
            if not _is_gone(file, named, error):
                raise
        else:
            yield noted


def _is_gone(file: str, named: str, error: SourceError) -> bool:
    """Whether a file has been renamed or removed since its folder was listed, as one is that is rotated."""
    return file != named and isinstance(error.__cause__, FileNotFoundError) and not os.path.islink(file)


def _key(trace_id: bytes) -> int:
    """60 bits of a hash: an `int` of 32 bytes, where one more bit would take 48."""
    return hash(trace_id) & _KEY_BITS


def _trace_ids(block: bytes) -> set[bytes]:
    """The trace ids in a block, and maybe some more: links name traces as well."""
    parts = block.split(_ID_KEY)[1:]
    found = [_AFTER_ID_KEY.match(part) for part in {part[:_USUAL_BYTES] for part in parts}]
    if not all(found):  # written with blanks, or no ids at all
        found = [_AFTER_ID_KEY.match(part) for part in parts]
    return {match[1].lower() for match in found if match is not None}


def _read_lines(
    file: _Noted, on_problem: Callable[[Problem], None], count: Callable[[int], None]
) -> Iterator[tuple[list[bytes | None], int, int]]:
    """Some lines at a time, with the number of the first, and the block before which all has been read then."""
    number = 1
    opened = _opened_again(file)
    if opened is None:
        on_problem(Problem(file.path, 0, "removed or replaced while it was read"))
        return
    with opened as (raw, blocks):
        try:
            for lines, position in _lines(blocks, file.size):
                yield lines, number, file.block_at(position)
                number += len(lines)
                count(raw.tell())
        except _DamagedError as error:
            on_problem(Problem(file.path, number, f"{error}; what came before was read"))


def _opened_again(file: _Noted) -> _open | None:
    """Where it is now; it may be renamed just before it is opened."""
    for _ in range(_MOST_RENAMES):
        path = file.path_now()
        if path is None:
            return None
        try:
            opened = _open(path)
        except SourceError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
        else:
            if opened.identity() == file.identity:
                return opened
            opened.close()
    return None


def _lines(blocks: Iterator[bytes], size: int) -> Iterator[tuple[list[bytes | None], int]]:
    """The lines of the first so many bytes, some at a time, each list with the position after it.

    A line that is too long is None. Where the file goes on after those bytes, a line that does so too is not theirs.
    """
    begun: list[bytes] = []
    begun_bytes = position = 0
    grown = False
    for block in blocks:
        grown = len(block) > size - position
        part = block[: size - position] if grown else block
        position += len(part)
        *whole, rest = part.split(b"\n")
        if whole:
            lines: list[bytes | None] = [*whole]
            lines[0] = _joined([*begun, whole[0]], begun_bytes + len(whole[0]))
            begun, begun_bytes = [], 0
            yield lines, position - len(rest)
        if begun_bytes <= MAX_LINE_BYTES:
            begun.append(rest)
        begun_bytes += len(rest)
        if grown:
            return
    if begun_bytes:
        yield [_joined(begun, begun_bytes)], position


def _joined(parts: list[bytes], size: int) -> bytes | None:
    return b"".join(parts) if size <= MAX_LINE_BYTES else None


class _OpenTraces:
    """The traces that are not complete yet, as far as their spans have been read."""

    def __init__(self, on_problem: Callable[[Problem], None]) -> None:
        self._on_problem = on_problem
        self._decode = otlp_json.Decoder().decode
        self._traces: dict[str, list[SpanRecord]] = {}

    def take(self, line: bytes | None, file: str, line_number: int) -> None:
        """Add the spans of one line; one that cannot be read as a whole is reported, and what is whole in it is added."""
        if line is None:
            self._on_problem(Problem(file, line_number, f"a line of more than {MAX_LINE_BYTES >> 20} MiB"))
            return
        try:
            records = self._decode(line)
        except otlp_json.NotOtlpError as error:
            records = self._salvaged(line, file, line_number, error)
        traces = self._traces
        for record in records:
            known = traces.get(record.trace_id)
            if known is None:
                traces[record.trace_id] = [record]
            else:
                known.append(record)

    def _salvaged(self, line: bytes, file: str, line_number: int, error: Exception) -> list[SpanRecord]:
        if line_number == 1 and line.startswith(codecs.BOM_UTF8):
            try:
                return self._decode(line[len(codecs.BOM_UTF8) :])
            except otlp_json.NotOtlpError as inner_error:
                error = inner_error
        if not line.strip():
            return []
        records = otlp_json.salvage(line)
        count = f"{len(records)} spans that are" if len(records) > 1 else "1 span that is"
        found = f"; {count} whole in it could be read" if records else ""
        self._on_problem(Problem(file, line_number, f"{error}{found}"))
        return records

    def complete(self, ends: _Ends, block: int) -> Iterator[list[SpanRecord]]:
        """Give away the traces of which no more comes in that block or later."""
        for trace_id in [known for known in self._traces if ends.last_block(known) < block]:
            yield self._traces.pop(trace_id)


def _ignore(read: int) -> None:
    """Nobody asked how far it is."""


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0  # opening it will say why


def _identity(file: str | int) -> _Identity | None:
    """What stays when a file is renamed, by path or descriptor; None where it is gone."""
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return None  # opening it will say why
    return status.st_dev, status.st_ino


def _is_usable(file: str, named: str, on_problem: Callable[[Problem], None]) -> bool:
    """Whether it can be read; one that was named itself must be, others are reported."""
    try:
        _check(file)
    except SourceError as error:
        if file == named:
            raise
        if _is_gone(file, named, error):
            return False
        on_problem(Problem(file, 0, str(error).removeprefix(f"{file}: ")))
        return False
    return True


def _expand(path: str) -> list[str]:
    if os.path.isdir(path):
        names = sorted(name for name in _names_in(path) if name.endswith(SUFFIXES))
        if not names:
            msg = f"{path}: a directory without trace files (*{', *'.join(SUFFIXES)})"
            raise SourceError(msg)
        return [os.path.join(path, name) for name in names]
    if not os.path.lexists(path) and glob.has_magic(path):
        found = sorted(glob.glob(path, recursive=True))
        if not found:
            msg = f"{path}: no file fits this pattern"
            raise SourceError(msg)
        return found
    return [path]


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        msg = f"{folder}: {error.strerror}"
        raise SourceError(msg) from error


class _open:  # noqa: N801 - reads as the function it stands in for
    """A regular file, opened for reading, and its bytes, unpacked as the first of them say, piece by piece."""

    def __init__(self, path: str) -> None:
        self._raw = open_regular(path)

    def identity(self) -> _Identity | None:
        return _identity(self._raw.fileno())

    def close(self) -> None:
        self._raw.close()

    def __enter__(self) -> tuple[IO[bytes], Iterator[bytes]]:
        return self._raw, _blocks(self._raw)

    def __exit__(self, *_: object) -> None:
        self.close()


def open_regular(path: str) -> io.BufferedReader:
    """Open a regular file; devices and pipes, which could hang or never end, are refused.

    Raises:
        SourceError: it cannot be opened, or is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        msg = f"{path}: {getattr(error, 'strerror', None) or error}"
        raise SourceError(msg) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        msg = f"{path}: not a regular file"
        raise SourceError(msg)
    return io.BufferedReader(io.FileIO(descriptor), BLOCK_BYTES)


class _DamagedError(Exception):
    """What comes next in a file cannot be read; `early_end` where nothing comes, although something should."""

    def __init__(self, error: Exception, packing: str) -> None:
        self.early_end = isinstance(error, EOFError)
        super().__init__(f"a {packing} that ends early" if self.early_end else f"damaged data ({error})")


def _blocks(raw: io.BufferedReader) -> Iterator[bytes]:
    """All that comes before a damage, if there is one; each block is small, and none is empty."""
    packing = "file"
    try:
        packing, stream = _unpacked(raw)
        size = 0
        while block := stream.read1(BLOCK_BYTES):
            size += len(block)
            if size > MAX_RATIO * max(raw.tell(), _RATIO_FROM_BYTES):
                raise OSError(f"a {packing} that unpacks to more than {MAX_RATIO} times its size")  # noqa: TRY301
            yield block
    except (EOFError, OSError, zlib.error) as error:
        raise _DamagedError(error, packing) from error


def _undamaged(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """What comes before the damage, which is reported when the lines are read."""
    try:
        yield from blocks
    except _DamagedError:
        return


def _unpacked(raw: io.BufferedReader) -> tuple[str, _Unpacked]:
    """What the first bytes say that it is, and what gives its content."""
    head = raw.peek(4)[:4]
    if head.startswith(_GZIP):
        return "gzip", gzip.GzipFile(fileobj=raw)
    return ("zstd", _ZstdFile(raw)) if head.startswith(_ZSTD) else ("file", raw)


class _Unpacked(Protocol):
    """Gives what it has, instead of waiting for all that was asked for."""

    def read1(self, size: int, /) -> bytes: ...


class _ZstdFile:
    """A file in Zstandard, whose windows are bounded (128 MiB), and whose damages are an `OSError`."""

    def __init__(self, raw: IO[bytes]) -> None:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415 - only where such a file is read
        else:
            from backports import zstd  # noqa: PLC0415
        self._error = zstd.ZstdError
        self._file = zstd.ZstdFile(raw, options={zstd.DecompressionParameter.window_log_max: 27})

    def read1(self, size: int, /) -> bytes:
        try:
            return self._file.read1(size)
        except self._error as error:
            raise OSError(str(error)) from error


# ── what else it may be ──────────────────────────────────────────────────────────────────────────────────────────────


def _check(path: str) -> None:
    """Refuse a file of which not even one of the first lines is OTLP/JSON, and say what it looks like."""
    with _open(path) as (_, blocks):
        head = _head(path, blocks)
    lines = [line for line in head.split(b"\n") if line.strip()]
    if lines and not any(map(_is_otlp, lines)) and not _is_torn_early(head):
        msg = f"{path}: no OTLP JSON Lines; it looks like {_looks_like(head)}"
        raise SourceError(msg)


def _head(path: str, blocks: Iterator[bytes]) -> bytes:
    """The beginning: a block at least, and at least one line, unless that is too long."""
    parts: list[bytes] = []
    size = 0
    try:
        for block in blocks:
            parts.append(block)
            size += len(block)
            if size >= MAX_LINE_BYTES or (size >= BLOCK_BYTES and b"\n" in block):
                break
    except _DamagedError as error:
        if not parts and not error.early_end:  # else it is reported when it is read
            msg = f"{path}: {error}"
            raise SourceError(msg) from error
    return b"".join(parts).removeprefix(codecs.BOM_UTF8)


def _is_otlp(line: bytes) -> bool:
    """Whether it is such a line, or what a crash left of one."""
    try:
        otlp_json.decode(line)
    except otlp_json.NotOtlpError:
        return _BEGINNING in line
    return True


def _is_torn_early(head: bytes) -> bool:
    """Whether it ends within the first few characters of such a line."""
    torn = head.rpartition(b"\n")[2]
    return bool(torn) and _BEGINNING.startswith(torn)


def _looks_like(block: bytes) -> str:
    head = block[:_HEAD_BYTES].lstrip()
    for what, fits in _LOOKS:
        if fits(head):
            return what
    return "something else"


_LOOKS: tuple[tuple[str, Callable[[bytes], Any]], ...] = (
    ("Jaeger UI JSON", lambda head: head.startswith(b"{") and b'"traceID"' in head),
    ("a JSON document over several lines (jq -c . makes it one)", lambda head: re.match(rb"[\[{]\s*\n", head)),
    ("a Zipkin JSON array", lambda head: head.startswith(b"[") and b'"traceId"' in head),
    ("a JSON array", lambda head: head.startswith(b"[")),
    ("JSON Lines of something else", lambda head: head.startswith(b"{")),
    ("a web page", lambda head: re.match(rb"(?i)<!doctype|<html", head)),
    ("XML", lambda head: head.startswith(b"<")),
    ("binary data", lambda head: b"\0" in head),
    ("text", lambda head: True),
)
