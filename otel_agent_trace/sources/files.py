"""Spans out of local files of OTLP JSON Lines, plain or compressed, in bounded memory.

Two passes: the first notes in which block of lines each trace is seen last, the second decodes and yields a trace as
soon as that block is behind it. In memory are the traces that are open at one moment, one block of lines (1 MiB, or
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

BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 64 << 20
"""A longer line is reported and skipped."""
SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
"""What is read of a directory."""

_TRACE_ID = re.compile(rb'"trace_?[iI]d" *: *"([0-9a-fA-F]{32})"')
_ID_KEY, _COMPACT_ID = b"traceId", b'"traceId":"'
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
        ends = self._last_blocks(files)
        open_traces: dict[str, list[SpanRecord]] = {}
        for number, (file, first_line, block) in enumerate(self._blocks(files, on_problem)):
            for offset, line in enumerate(block.split(b"\n")):
                if line:
                    _take(line, open_traces, file, first_line + offset, on_problem)
            for trace_id in [known for known in open_traces if ends.get(_key(known), -1) == number]:
                yield open_traces.pop(trace_id)
        yield from open_traces.values()

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

    def _last_blocks(self, files: list[str]) -> dict[int, int]:
        """The number of the last block in which each trace id stands.

        A hash stands for the id: should two ids share one, their traces are only kept open longer.
        """
        ends: dict[int, int] = {}
        for number, (_, _, block) in enumerate(self._blocks(files, _ignore, progress_from=0)):
            for trace_id in _trace_ids(block):
                ends[_key(trace_id.decode("ascii", "replace"))] = number
        return ends

    def _blocks(
        self, files: list[str], on_problem: Callable[[Problem], None], *, progress_from: int = 1
    ) -> Iterator[tuple[str, int, bytes]]:
        """Whole lines of each file, about `BLOCK_BYTES` at a time, with the number of the first line."""
        total = sum(os.path.getsize(file) for file in files)
        done = progress_from * total
        for file in files:
            with _open(file) as (raw, stream):
                line_number = 1
                for block in _whole_lines(stream, file, on_problem):
                    yield file, line_number, block
                    line_number += block.count(b"\n")
                    if self._on_progress is not None:
                        self._on_progress(done + raw.tell(), 2 * total)
                done += os.path.getsize(file)


def _trace_ids(block: bytes) -> set[bytes]:
    """The trace ids in a block, and maybe some more; the compact form of most writers is found much faster."""
    parts = block.split(_COMPACT_ID)
    if block.count(_ID_KEY) == len(parts) - 1:
        return {part[:32] for part in parts[1:]}
    return set(_TRACE_ID.findall(block))


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


def _key(trace_id: str) -> int:
    return hash(trace_id.lower())


def _ignore(problem: Problem) -> None:
    """The second pass says it."""


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
    return open(descriptor, "rb", buffering=BLOCK_BYTES)


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


def _whole_lines(stream: IO[bytes], file: str, on_problem: Callable[[Problem], None]) -> Iterator[bytes]:
    """Blocks that end where a line ends; a damaged end of a compressed file costs what lies behind it."""
    line_number = 1
    while True:
        try:
            block = stream.read(BLOCK_BYTES)
            if block and not block.endswith(b"\n"):
                block += stream.readline(MAX_LINE_BYTES)
        except (EOFError, OSError, zlib.error, RuntimeError, ValueError) as error:
            on_problem(Problem(file, line_number, _damage(error)))
            return
        if not block:
            return
        if not block.endswith(b"\n") and len(block) > MAX_LINE_BYTES:
            block = _without_long_line(block, stream, file, line_number, on_problem)
        yield block
        line_number += block.count(b"\n")


def _without_long_line(
    block: bytes, stream: IO[bytes], file: str, line_number: int, on_problem: Callable[[Problem], None]
) -> bytes:
    """Leave out a last line that is too long to be held, and skip to where it ends."""
    whole, _, _ = block.rpartition(b"\n")
    on_problem(Problem(file, line_number + block.count(b"\n"), f"a line of more than {MAX_LINE_BYTES >> 20} MiB"))
    while rest := stream.readline(BLOCK_BYTES):
        if rest.endswith(b"\n"):
            break
    return whole + b"\n\n" if whole else b"\n"


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
        except (OSError, zlib.error, RuntimeError, ValueError) as error:
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
