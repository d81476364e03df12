"""Spans out of local files of OTLP JSON Lines, plain or compressed, in bounded memory.

Two passes: the first notes in which block of bytes each trace is seen last, the second decodes and yields a trace as
soon as that block is behind it. In memory are the traces that are open at one moment, one block of lines (128 KiB, or
one line if that is longer), and less than 100 bytes for each trace of the files.
"""

from __future__ import annotations

import glob
import gzip
import io
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import IO, Any, cast

from otel_agent_trace.errors import SourceError
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.span import Problem, SpanRecord

BLOCK_BYTES = 128 << 10
MAX_LINE_BYTES = 64 << 20
"""A longer line is reported and skipped."""
SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
"""What is read of a directory."""

_ID_KEY = b'traceId"'
_ID = re.compile(rb'traceId"\s*:\s*"([0-9a-fA-F]{32})"')
_KEY_BITS = 2**60 - 1
_ID_BYTES = 64
"""More than an id with its key, so that one on the edge of two blocks is seen whole."""
_DAMAGES = (EOFError, OSError, zlib.error, RuntimeError, ValueError)
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_HEAD_BYTES = 4096


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
        files = self._files(on_problem)
        total = sum(os.path.getsize(file) for file in files)
        ends = _Ends()
        for file in files:
            ends.note(file, self._counter(0, total))
        open_traces: dict[str, list[SpanRecord]] = {}
        for file in files:
            for lines, first_line, block in _read_lines(file, ends, on_problem, self._counter(total, total)):
                for offset, line in enumerate(lines):
                    _take(line, open_traces, file, first_line + offset, on_problem)
                for trace_id in [known for known in open_traces if ends.last_block(known) < block]:
                    yield open_traces.pop(trace_id)
        yield from open_traces.values()

    def _counter(self, done: int, total: int) -> Callable[[int], None]:
        """Reports progress within one pass; each pass reads everything once."""
        on_progress = self._on_progress
        if on_progress is None:
            return _ignore
        return lambda read: on_progress(min(done + read, 2 * total), 2 * total)

    def _files(self, on_problem: Callable[[Problem], None]) -> list[str]:
        """The files that are to be read: named ones must be readable, others are reported when they are not."""
        files: list[str] = []
        for path in self._paths:
            for file in _expand(path):
                try:
                    _check(file)
                except SourceError as error:
                    if file == path:
                        raise
                    on_problem(Problem(file, 0, str(error).removeprefix(f"{file}: ")))
                else:
                    files.append(file)
        return list(dict.fromkeys(files))


class _Ends:
    """Where each trace is seen last: the number of the block, counted through all files.

    A hash stands for the id: should two ids share one, their traces are only kept open longer.
    """

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._first_block: dict[str, int] = {}
        self._next_block = 0
        self._with_long_lines: set[str] = set()

    def note(self, file: str, count: Callable[[int], None]) -> None:
        """Look through a file."""
        number = self._first_block[file] = self._next_block
        last, left_over, since_line_feed = self._last, b"", 0
        with _open(file) as (raw, stream):
            for block in _blocks(stream):
                for trace_id in _trace_ids(block) | _trace_ids(left_over + block[:_ID_BYTES]):
                    last[_key(trace_id)] = number
                left_over = block[-_ID_BYTES:]
                line_feed = block.rfind(b"\n")
                since_line_feed = since_line_feed + len(block) if line_feed < 0 else len(block) - line_feed
                if since_line_feed > MAX_LINE_BYTES:
                    self._with_long_lines.add(file)
                number += 1
                count(raw.tell())
        self._next_block = number + 1

    def last_block(self, trace_id: str) -> int:
        """The last block of a trace; one that grew into the file meanwhile has none that is known."""
        return self._last.get(_key(trace_id.encode()), self._next_block)

    def block_at(self, file: str, position: int) -> int:
        """The number of the block that byte is in."""
        return self._first_block[file] + position // BLOCK_BYTES

    def has_long_lines(self, file: str) -> bool:
        """Whether there is a line that must not be held."""
        return file in self._with_long_lines


def _key(trace_id: bytes) -> int:
    """60 bits of a hash: an `int` of 32 bytes, where one more bit would take 48."""
    return hash(trace_id) & _KEY_BITS


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """All bytes, each block of the full size but the last; of a damaged file what comes before the damage."""
    while True:
        try:
            block = stream.read(BLOCK_BYTES)
        except _DAMAGES:
            return
        if not block:
            return
        yield block


def _trace_ids(block: bytes) -> set[bytes]:
    """The trace ids in a block, and maybe some more: links name traces as well."""
    ids = set()
    at = block.find(_ID_KEY)
    while at >= 0:
        found = _ID.match(block, at)
        if found is not None:
            ids.add(found[1].lower())
        at = block.find(_ID_KEY, at + 8)
    return ids


def _read_lines(
    file: str, ends: _Ends, on_problem: Callable[[Problem], None], count: Callable[[int], None]
) -> Iterator[tuple[list[bytes], int, int]]:
    """Some lines at a time, with the number of the first, and the block up to which all has been read then."""
    number, position = 1, 0
    with _open(file) as (raw, stream):
        batches = _bounded_lines(stream, file, on_problem) if ends.has_long_lines(file) else _lines(stream)
        while True:
            try:
                lines = next(batches, None)
            except _DAMAGES as error:
                on_problem(Problem(file, number, _damage(error)))
                return
            if lines is None:
                return
            position += sum(map(len, lines))
            yield lines, number, ends.block_at(file, position)
            number += len(lines)
            count(raw.tell())


def _lines(stream: IO[bytes]) -> Iterator[list[bytes]]:
    while lines := stream.readlines(BLOCK_BYTES):
        yield lines


def _bounded_lines(stream: IO[bytes], file: str, on_problem: Callable[[Problem], None]) -> Iterator[list[bytes]]:
    """One line at a time; what is longer than can be held is left out and reported."""
    number = 1
    while line := stream.readline(MAX_LINE_BYTES):
        if not line.endswith(b"\n") and len(line) == MAX_LINE_BYTES:
            on_problem(Problem(file, number, f"a line of more than {MAX_LINE_BYTES >> 20} MiB"))
            while not line.endswith(b"\n") and (line := stream.readline(BLOCK_BYTES)):
                pass
            line = b"\n"
        yield [line]
        number += 1


def _take(
    line: bytes,
    open_traces: dict[str, list[SpanRecord]],
    file: str,
    line_number: int,
    on_problem: Callable[[Problem], None],
) -> None:
    try:
        records = otlp_json.decode(line)
    except otlp_json.NotOtlpError as error:
        if line.strip():
            on_problem(Problem(file, line_number, str(error)))
        return
    for record in records:
        known = open_traces.get(record.trace_id)
        if known is None:
            open_traces[record.trace_id] = [record]
        else:
            known.append(record)


def _ignore(read: int) -> None:
    """Nobody asked how far it is."""


def _expand(path: str) -> list[str]:
    if os.path.isdir(path):
        names = sorted(name for name in os.listdir(path) if name.endswith(SUFFIXES))
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


class _open:  # noqa: N801 - reads as the function it stands in for
    """A regular file, opened for reading bytes, unpacked as its first bytes say."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> tuple[IO[bytes], IO[bytes]]:
        self._raw = open_regular(self._path)
        try:
            head = self._raw.peek(4)[:4]
            self._stream = _unpacked(self._raw, head)
        except BaseException:
            self._raw.close()
            raise
        return self._raw, self._stream

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._raw.close()


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


def _unpacked(raw: io.BufferedReader, head: bytes) -> IO[bytes]:
    if head.startswith(_GZIP):
        return cast("IO[bytes]", io.BufferedReader(gzip.GzipFile(fileobj=raw), BLOCK_BYTES))
    if head.startswith(_ZSTD):
        return io.BufferedReader(_zstd_file(raw), BLOCK_BYTES)
    return raw


def _zstd_file(raw: IO[bytes]) -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - only where such a file is read
    else:
        from backports import zstd  # noqa: PLC0415
    return zstd.ZstdFile(raw, options={zstd.DecompressionParameter.window_log_max: 27})


def _damage(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "a compressed file that ends early; what came before was read"
    return f"damaged data ({error}); what came before was read"


# ── what else it may be ──────────────────────────────────────────────────────────────────────────────────────────────


def _check(path: str) -> None:
    """Refuse a file of which not even one of the first lines is OTLP/JSON, and say what it looks like."""
    with _open(path) as (_, stream):
        try:
            block = stream.read(BLOCK_BYTES)
            block += b"" if block.endswith(b"\n") else stream.readline(MAX_LINE_BYTES)
        except EOFError:
            return  # reported when it is read
        except _DAMAGES as error:
            msg = f"{path}: {_damage(error)}"
            raise SourceError(msg) from error
    lines = [line for line in block.split(b"\n") if line.strip()]
    if lines and not any(map(_is_otlp, lines)):
        msg = f"{path}: no OTLP JSON Lines; it looks like {_looks_like(block)}"
        raise SourceError(msg)


def _is_otlp(line: bytes) -> bool:
    try:
        otlp_json.decode(line)
    except otlp_json.NotOtlpError:
        return b'"resourceSpans"' in line  # a torn or damaged line of such a file
    return True


def _looks_like(block: bytes) -> str:
    head = block[:_HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n")
    for what, fits in _LOOKS:
        if fits(head):
            return what
    return "something else"


_LOOKS: tuple[tuple[str, Callable[[bytes], Any]], ...] = (
    ("Jaeger UI JSON", lambda head: head.startswith(b"{") and b'"traceID"' in head),
    ("a JSON document over several lines", lambda head: re.match(rb"[\[{]\s*\n", head)),
    ("a Zipkin JSON array", lambda head: head.startswith(b"[") and b'"traceId"' in head),
    ("a JSON array", lambda head: head.startswith(b"[")),
    ("JSON Lines of something else", lambda head: head.startswith(b"{")),
    ("a web page", lambda head: re.match(rb"(?i)<!doctype|<html", head)),
    ("XML", lambda head: head.startswith(b"<")),
    ("binary data", lambda head: b"\0" in head),
    ("text", lambda head: True),
)
