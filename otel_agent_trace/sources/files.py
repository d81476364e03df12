"""Spans out of local files of any file_format, plain or compressed, in bounded memory.

Two passes: the first notes in which block of bytes each trace is seen last, the second decodes and yields a trace as
soon as that block is behind it. What a file grows by meanwhile is left for the next reading, and a file that is renamed
meanwhile, as rotation does, is read on under its new name. In memory are the traces that are open at one moment, one block (128 KiB, or
one line, document or message if that is longer), and less than 100 bytes for each trace of the files. Of one that cannot be
read as a whole those spans are read that are whole.
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
from otel_agent_trace.sources import zstandard
from otel_agent_trace.sources.file_formats import HEAD_BYTES, DamagedError, FileFormat, Pieces, file_format_of
from otel_agent_trace.span import Capabilities, LogRecord, Problem, SpanRecord, logs_without_spans, with_logs

BLOCK_BYTES = 128 << 10
MAX_LINE_BYTES = 64 << 20
"""A longer line, document or message is reported and skipped."""
MAX_RATIO = 1000
"""What unpacks to more times its size is not read on; the first GB is free, since a little may say the same often."""
SUFFIXES = tuple(
    f".{file_format}{packing}"
    for packing in ("", ".gz", ".zst")
    for file_format in ("jsonl", "json", "ndjson", "pb", "proto", "binpb")
)
"""What is read of a directory."""

_KEY_BITS = 2**60 - 1
_RATIO_FROM_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_MOST_RENAMES = 3


class FilesSource:
    """A `SpanSource` over files, globs and directories (of which it reads the files that end in `SUFFIXES`)."""

    capabilities = Capabilities(logs=True)

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
        return self.traces_and_logs(on_problem, _ignore_log)

    def traces_and_logs(
        self, on_problem: Callable[[Problem], None], on_log: Callable[[LogRecord], None]
    ) -> Iterator[list[SpanRecord]]:
        """As `traces`; `on_log` is given the log records whose spans are in none of the files."""
        listed = self._listed()
        files = [file for file, named in listed.items() if _is_usable(file, named, on_problem)]
        counters = self._counters(files)
        ends = _Ends()
        noted = [*_noted(ends, {file: listed[file] for file in files}, counters)]
        noted += _noted(ends, self._new_files(noted, listed, on_problem), itertools.repeat(_ignore))
        open_traces = _OpenTraces(on_problem, on_log)
        read_up_to = 0
        for file in noted:
            file_format = file.file_format()
            for pieces, numbers, position in _read(file, file_format, on_problem, next(counters, _ignore)):
                for piece, number in zip(pieces, numbers, strict=False):
                    open_traces.take(piece, file_format, file.path, number)
                block = file.block_at(position)
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
    file_format: Callable[[], FileFormat]
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
        last = self._last
        with _open(file) as (raw, blocks):
            identity = _identity(raw.fileno())
            seen = _Counted(_undamaged(blocks))
            file_format, all_blocks = _carrier_in(seen)
            for trace_ids, position in file_format().trace_ids(all_blocks, MAX_LINE_BYTES):
                number = first + (position - 1) // BLOCK_BYTES
                for trace_id in trace_ids:
                    last[_key(trace_id)] = number
                count(raw.tell())
            size = seen.all()
        noted = _Noted(file, identity, file_format, first, size)
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


class _Counted:
    """Blocks, of which it counts the bytes."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._size = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = next(self._blocks)
        self._size += len(block)
        return block

    def all(self) -> int:
        """The bytes of all blocks, those that nobody wanted among them."""
        for _ in self:
            pass
        return self._size


def _carrier_in(blocks: Iterator[bytes]) -> tuple[Callable[[], FileFormat], Iterator[bytes]]:
    """What reads these blocks, and all of them again."""
    seen: list[bytes] = []
    size = 0
    for block in blocks:
        seen.append(block)
        size += len(block)
        if size >= HEAD_BYTES:
            break
    return file_format_of(b"".join(seen).removeprefix(codecs.BOM_UTF8)), itertools.chain(seen, blocks)


def _read(
    file: _Noted, file_format: FileFormat, on_problem: Callable[[Problem], None], count: Callable[[int], None]
) -> Iterator[Pieces]:
    """Some pieces at a time."""
    number = 1
    opened = _opened_again(file)
    if opened is None:
        on_problem(Problem(file.path, 0, "removed or replaced while it was read"))
        return
    with opened as (raw, blocks):
        try:
            for found in file_format.pieces(blocks, file.size, MAX_LINE_BYTES):
                yield found
                number = found.numbers[-1] + 1
                count(raw.tell())
        except DamagedError as error:
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


class _OpenTraces:
    """The traces that are not complete yet, as far as their spans have been read."""

    def __init__(self, on_problem: Callable[[Problem], None], on_log: Callable[[LogRecord], None]) -> None:
        self._on_problem = on_problem
        self._on_log = on_log
        self._traces: dict[str, list[SpanRecord]] = {}
        self._logs: dict[str, list[LogRecord]] = {}

    def take(self, piece: bytes | None, file_format: FileFormat, file: str, number: int) -> None:
        """Add the spans of one piece; one that cannot be read as a whole is reported, and what is whole in it is added."""
        if piece is None:
            self._on_problem(Problem(file, number, f"a {file_format.what} of more than {MAX_LINE_BYTES >> 20} MiB"))
            return
        refusal: Exception | None = None
        records: Sequence[SpanRecord] = ()
        try:
            records = file_format.read(piece)
        except ValueError as error:
            refusal = error
        if not records:
            records = self._read_otherwise(piece, refusal, file_format, file, number)
        traces = self._traces
        for record in records:
            known = traces.get(record.trace_id)
            if known is None:
                traces[record.trace_id] = [record]
            else:
                known.append(record)

    def _read_otherwise(
        self, piece: bytes, refusal: Exception | None, file_format: FileFormat, file: str, number: int
    ) -> Sequence[SpanRecord]:
        """The spans of what is none of the usual pieces; its log records are kept until the spans are there."""
        spans, logs, reason = file_format.read_otherwise(piece, refusal)
        if reason:
            self._on_problem(Problem(file, number, reason))
        for log in logs:
            self._logs.setdefault(log.trace_id, []).append(log)
        return spans

    def complete(self, ends: _Ends, block: int) -> Iterator[list[SpanRecord]]:
        """Give away the traces of which no more comes in that block or later."""
        for trace_id in [known for known in self._traces if ends.last_block(known) < block]:
            spans, logs = self._traces.pop(trace_id), self._logs.pop(trace_id, None)
            if logs is not None:
                self._leave(logs_without_spans(spans, logs))
                spans = with_logs(spans, logs)
            yield spans
        if self._logs:  # of spans that are nowhere
            for trace_id in [known for known in self._logs if ends.last_block(known) < block]:
                self._leave(self._logs.pop(trace_id))

    def _leave(self, logs: Sequence[LogRecord]) -> None:
        for log in logs:
            self._on_log(log)


def _ignore_log(log: LogRecord) -> None:
    """Whoever reads the files alone has no spans for it."""


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


class _DamagedError(DamagedError):
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
    return ("zstd", zstandard.ZstdFile(raw)) if head.startswith(zstandard.MAGIC) else ("file", raw)


class _Unpacked(Protocol):
    """Gives what it has, instead of waiting for all that was asked for."""

    def read1(self, size: int, /) -> bytes: ...


# ── what else it may be ──────────────────────────────────────────────────────────────────────────────────────────────


def _check(path: str) -> None:
    """Refuse a file whose beginning no file_format understands, and say what it looks like."""
    with _open(path) as (_, blocks):
        head = _head(path, blocks)
    if not file_format_of(head)().fits(head):
        msg = f"{path}: no OTLP and no traces of Jaeger; it looks like {_looks_like(head)}"
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


def _looks_like(block: bytes) -> str:
    head = block[:HEAD_BYTES].lstrip()
    for what, fits in _LOOKS:
        if fits(head):
            return what
    return "something else"


_LOOKS: tuple[tuple[str, Callable[[bytes], Any]], ...] = (
    ("Jaeger UI JSON", lambda head: head.startswith(b"{") and b'"traceID"' in head),
    ("a JSON document of something else", lambda head: re.match(rb"[\[{]\s*\n", head)),
    ("a Zipkin JSON array", lambda head: head.startswith(b"[") and b'"traceId"' in head),
    ("a JSON array", lambda head: head.startswith(b"[")),
    ("JSON Lines of something else", lambda head: head.startswith(b"{")),
    ("a web page", lambda head: re.match(rb"(?i)<!doctype|<html", head)),
    ("XML", lambda head: head.startswith(b"<")),
    ("binary data", lambda head: b"\0" in head),
    ("text", lambda head: True),
)
