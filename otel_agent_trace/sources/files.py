"""Read spans from local files of any format, plain or compressed, in bounded memory.

The files are read twice. The first pass records the last block of bytes in which each trace occurs; the second decodes
the spans, and yields a trace as soon as it is past that block. In memory are the traces that are open at one moment, one
block (128 KiB, or one line, document or message if that is longer), and less than 100 bytes for each trace.

What is appended to a file after the first pass is left for the next reading. A file that is renamed meanwhile, as log
rotation does, is read under its new name. Of a damaged file those spans are read that are intact.
"""

from __future__ import annotations

import functools
import gzip
import io
import itertools
import operator
import os
import stat
import sys
import zlib
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from os import PathLike
from typing import Any, NamedTuple, Protocol

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sampling import DroppedTraces
from otel_agent_trace.sources.container_logs import program_output
from otel_agent_trace.sources.file_formats import HEAD_BYTES, DamagedError, FileFormat, Pieces, file_format_of
from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.file_formats.others import description_of, is_other_binary
from otel_agent_trace.sources.listing import expand, list_directory, size_of
from otel_agent_trace.sources.named_logs import MARK, NamedLogs
from otel_agent_trace.sources.open_traces import OpenTraces, found_in
from otel_agent_trace.sources.stored_media import StoredMedia
from otel_agent_trace.sources.text_encoding import as_utf8, is_plain_utf8
from otel_agent_trace.span import (
    Capabilities,
    LogRecord,
    Problem,
    SpanRecord,
)
from otel_agent_trace.store import frames, names, zstandard
from otel_agent_trace.store.dropped import read_dropped
from otel_agent_trace.store.journal_lines import MAX_JOURNAL_BYTES
from otel_agent_trace.store.lines import MAX_LINE_BYTES
from otel_agent_trace.store.liveness import is_owner_alive
from otel_agent_trace.store.sampled_journals import sampled
from otel_agent_trace.store.sharing import is_lock_free

BLOCK_BYTES = 128 << 10
MAX_RATIO = 1000
"""Highest ratio of compression that is read, beyond the first GB: a file above it is damaged or malicious."""
_KEY_BITS = 2**60 - 1
_RATIO_FROM_BYTES = 1 << 20
_MOST_HELD = 64
"""Number of files that are kept open between the two passes."""
_MOST_LISTINGS = 10
"""Number of times that files are listed at most, while new ones appear."""
_GZIP = b"\x1f\x8b"
_MAX_RENAMES = 3


class FilesSource:
    """Read spans from files, globs and directories; a `SpanSource`.

    Args:
        paths: paths of files and directories, and globs; of a directory the files that end in `SUFFIXES` are read.
        on_progress: called now and then with the bytes read and their total, which counts both passes.
        media: whether content in the media folder of a store is put back into its spans; else they have references to it.
    """

    capabilities = Capabilities(logs=True)

    def __init__(
        self,
        paths: Sequence[str | PathLike[str]],
        *,
        on_progress: Callable[[int, int | None], None] | None = None,
        media: bool = True,
    ) -> None:
        self._paths = [os.fspath(path) for path in paths]
        self._has_media = media
        self._on_progress = on_progress

    def files(self) -> list[str]:
        """Return the paths of the files that are read: for the live file of a store, or its folder, all that it has.

        Raises:
            SourceError: there are none.
        """
        return [*self._listed()]

    def check(self) -> None:
        """Check that there are files, and that those which were named themselves begin as a known format does.

        Raises:
            SourceError: a path does not exist, or a file that was named itself cannot be read.
        """
        for file, named in self._listed().items():
            if file == named:
                _is_usable(file, named, _ignore_problem)

    def dropped(self) -> list[DroppedTraces]:
        """Return how many traces sampling has dropped from the stores of the files, by agent, status and hour."""
        stores = dict.fromkeys(names.store_of(os.path.realpath(file)) for file in self._listed())
        return [count for store in stores for count in read_dropped(store)]

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace, and call `on_problem` for everything that cannot be read.

        Raises:
            SourceError: a path does not exist, or a file that was named itself holds neither OTLP nor traces of Jaeger.
        """
        return self.traces_and_logs(on_problem, _ignore_log)

    def traces_and_logs(
        self, on_problem: Callable[[Problem], None], on_log: Callable[[LogRecord], None]
    ) -> Iterator[list[SpanRecord]]:
        """Yield what `traces` yields, and call `on_log` with each log record that belongs to no span of the files."""
        with ExitStack() as held:
            yield from self._traces(held, on_problem, on_log)

    def _traces(
        self, held: ExitStack, on_problem: Callable[[Problem], None], on_log: Callable[[LogRecord], None]
    ) -> Iterator[list[SpanRecord]]:
        last_blocks = _LastBlocks(held)
        scanned, counters = self._scanned(last_blocks, on_problem)
        stored = StoredMedia(on_problem) if self._has_media else None
        named_logs = _named_logs(scanned)
        open_traces = OpenTraces(on_problem, on_log, named_logs, stored)
        spans = (span for piece, file_format in _pieces_of(scanned) for span in found_in(piece, file_format).spans)
        open_traces.add_logs(named_logs.placed_by(spans))
        read_up_to = 0
        for file in scanned:
            file_format = file.file_format()
            for pieces in _read_pieces(file, file_format, on_problem, next(counters, _ignore_progress)):
                open_traces.take(pieces, file_format, file)
                block = file.block_at(pieces.position)
                if block > read_up_to:
                    read_up_to = block
                    yield from open_traces.complete(last_blocks, block)
        yield from open_traces.complete(last_blocks, sys.maxsize)
        yield from open_traces.sessions()
        open_traces.finish()

    def _counters(self, files: Sequence[str]) -> Iterator[Callable[[int], None]]:
        """Yield a function for each pass over each file, to be called with the bytes read of that file."""
        sizes = [size_of(file) for file in files] * 2
        return (self._counter(before, sum(sizes)) for before in itertools.accumulate(sizes, initial=0))

    def _counter(self, before: int, total: int) -> Callable[[int], None]:
        """Return a function that adds the bytes of the files before to those of one file, and reports the progress."""
        on_progress = self._on_progress
        if on_progress is None:
            return _ignore_progress
        return lambda read: on_progress(min(before + read, total), total)

    def _listed(self) -> dict[str, str]:
        """Return the existing files by path, each with the path, glob or directory of the caller that named it."""
        return {file: path for path in self._paths for file in expand(path)}

    def _scanned(
        self, last_blocks: _LastBlocks, on_problem: Callable[[Problem], None]
    ) -> tuple[list[_ScannedFile], Iterator[Callable[[int], None]]]:
        """Scan the files until none is new, and return them, and the functions for the progress of the second pass.

        What was listed may be renamed before it is opened, as its program goes on with another file.
        """
        refused: set[str] = set()

        def refuse(problem: Problem) -> None:
            refused.add(problem.path)
            on_problem(problem)

        scanned: list[_ScannedFile] = []
        counters: Iterator[Callable[[int], None]] | None = None
        for _ in range(_MOST_LISTINGS):
            new = self._new_files(scanned, refused)
            if not new:
                break
            usable = {file: named for file, named in new.items() if _is_usable(file, named, refuse)}
            if counters is None:
                counters = on_reads = self._counters([*usable])
            else:
                on_reads = itertools.repeat(_ignore_progress)
            scanned += _scan_files(last_blocks, usable, on_reads)
        return scanned, counters or iter(())

    def _new_files(self, scanned: Sequence[_ScannedFile], refused: Container[str]) -> dict[str, str]:
        """Return the files that were not scanned yet, under any name; all at first."""
        known = {file.identity for file in scanned}
        journals = {file.path for file in scanned if file.is_journal}
        return {
            file: named
            for file, named in self._listed().items()
            if file not in refused and file not in journals and _identity_of(file) not in known
        }


_Identity = tuple[int, int]
_OnDamage = Callable[[DamagedError], None]


class _ScannedFile(NamedTuple):
    """Hold a file as it was in the first pass.

    `size` is the number of its bytes after decompression, `first_block` the number of its first block, counted through
    all files. `identity` finds the file again if it is renamed. `has_evaluations` is whether it may hold some.
    """

    path: str
    identity: _Identity | None
    file_format: Callable[[], FileFormat]
    first_block: int
    size: int
    has_evaluations: bool
    held: io.RawIOBase | None = None
    is_journal: bool = False
    is_alive: bool | None = None

    def with_format(self, file_format: Callable[[], FileFormat]) -> _ScannedFile:
        """Return this with another way to read its lines; only of a journal of the same format."""
        return self._replace(file_format=file_format) if self.file_format is JsonLines else self

    def again(self) -> _ScannedFile:
        """Return a journal for another reader of the same content."""
        return self._replace(held=self.held.again()) if isinstance(self.held, _Held) else self

    def block_at(self, position: int) -> int:
        """Return the number of the block that holds the byte at a position."""
        return self.first_block + position // BLOCK_BYTES

    def path_now(self) -> str | None:
        """Return the current path of the file, or None if it is no longer in its folder."""
        if _identity_of(self.path) == self.identity:
            return self.path
        folder = os.path.dirname(self.path)
        paths = (os.path.join(folder, name) for name in list_directory(folder or "."))
        return next((path for path in paths if _identity_of(path) == self.identity), None)


class _LastBlocks:
    """Record the last block in which each trace occurs, counted through all files.

    Trace ids are kept as hashes: should two share one, their traces are kept open longer, and nothing else.

    Args:
        held: closes the files that are kept open.
    """

    def __init__(self, held: ExitStack) -> None:
        self._held = held
        self._newest: deque[io.RawIOBase] = deque()
        self._last: dict[int, int] = {}
        self._next_block = 0

    def scan(self, file: str, on_read: Callable[[int], None]) -> _ScannedFile:
        """Record the traces in the blocks of a file; `on_read` is called with the bytes read so far."""
        first = self._next_block
        last = self._last
        opened = _OpenFile(file)
        is_journal = names.is_journal(file)
        is_alive = opened.hold_journal(names.store_of(file)) if is_journal else None
        with opened as (raw, blocks):
            identity = None if is_journal else _identity_of(raw.fileno())
            seen = _CountedBlocks(_until_damage(blocks))
            file_format, all_blocks = detect_format(seen)
            for trace_ids, position in file_format().trace_ids(all_blocks, MAX_LINE_BYTES):
                number = first + (position - 1) // BLOCK_BYTES
                for trace_id in trace_ids:
                    last[_trace_key(trace_id)] = number
                on_read(raw.tell())
            size = seen.total()
            held = self._held.enter_context(opened.keep_open())
        if not is_journal:
            self._keep_newest(held)
        scanned = _ScannedFile(
            file, identity, file_format, first, size, seen.has_evaluations, held, is_journal, is_alive
        )
        self._next_block = scanned.block_at(size) + 1
        return scanned

    def _keep_newest(self, file: io.RawIOBase) -> None:
        """Keep a file open, and those before it that are likely to be replaced: by their compressed copies."""
        self._newest.append(file)
        if len(self._newest) > _MOST_HELD:
            self._newest.popleft().close()

    def of(self, trace_id: str) -> int:
        """Return the last block of a trace, or a later one, but never an earlier one."""
        return self._last.get(_trace_key(trace_id.encode()), self._next_block)


def _scan_files(
    last_blocks: _LastBlocks, files: Mapping[str, str], counters: Iterator[Callable[[int], None]]
) -> Iterator[_ScannedFile]:
    """Scan files, and leave out those that were renamed or removed since their directory was listed."""
    for (file, named), on_read in zip(files.items(), counters, strict=False):
        try:
            scanned = last_blocks.scan(file, on_read)
        except SourceError as error:
            if not _is_gone(file, named, error):
                raise
        else:
            yield scanned


def _is_gone(file: str, named: str, error: SourceError) -> bool:
    """Return whether a file has been renamed or removed since its folder was listed, as log rotation does.

    So may the live file of a store that was named itself, which has segments then, or a new live file.
    """
    if not isinstance(error.__cause__, FileNotFoundError) or os.path.islink(file):
        return False
    return file != named or os.path.lexists(file) or expand(named) != [file]


def _trace_key(trace_id: bytes) -> int:
    """Return 60 bits of a hash of a trace id, the most that an `int` of 32 bytes can hold."""
    return hash(trace_id) & _KEY_BITS


class _CountedBlocks:
    """Iterate over blocks, count their bytes, and note whether one mentions evaluations.

    So may messages that are compressed each by itself.
    """

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._size = 0
        self._end = b""
        self.has_evaluations = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = next(self._blocks)
        self._size += len(block)
        if not self.has_evaluations:
            is_packed = not self._end and zstandard.MAGIC in block[:HEAD_BYTES]
            self.has_evaluations = is_packed or MARK in block or MARK in self._end + block[: len(MARK)]
            self._end = block[-len(MARK) :]
        return block

    def total(self) -> int:
        """Return the number of bytes of all blocks, after reading those that are left."""
        for _ in self:
            pass
        return self._size


def detect_format(blocks: Iterator[bytes]) -> tuple[Callable[[], FileFormat], Iterator[bytes]]:
    """Return the format of a file by its first blocks, and an iterator over all its blocks."""
    seen: list[bytes] = []
    size = 0
    for block in blocks:
        seen.append(block)
        size += len(block)
        if size >= HEAD_BYTES:
            break
    return file_format_of(b"".join(seen)), itertools.chain(seen, blocks)


def _read_pieces(
    file: _ScannedFile, file_format: FileFormat, on_problem: Callable[[Problem], None], on_read: Callable[[int], None]
) -> Iterator[Pieces]:
    """Yield the pieces of a file as it was in the first pass; `on_read` is called with the bytes read so far."""
    number = 1

    def report_damage(error: DamagedError) -> None:
        on_problem(Problem(file.path, number, f"{error}; what follows it was read"))

    opened = _reopen(file, report_damage)
    if opened is None:
        on_problem(Problem(file.path, 0, "removed or replaced during reading"))
        return
    with opened as (raw, blocks):
        try:
            for found in file_format.pieces(blocks, file.size, MAX_LINE_BYTES):
                yield found
                number = found.numbers[-1] + 1
                on_read(raw.tell())
        except DamagedError as error:
            on_problem(Problem(file.path, number, f"{error}; everything before it was read"))


def _reopen(file: _ScannedFile, on_damage: _OnDamage) -> _OpenFile | None:
    """Open a file under its current name, again if it is renamed at that moment; None if it is gone."""
    if file.held is not None and not file.held.closed:
        return _OpenFile(file.held, on_damage)
    for _ in range(_MAX_RENAMES):
        path = file.path_now()
        if path is None:
            return _replacement(file.path, on_damage)
        try:
            opened = _OpenFile(path, on_damage)
        except SourceError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
        else:
            if opened.identity() == file.identity:
                return opened
            opened.close()
    return None


def _replacement(path: str, on_damage: _OnDamage) -> _OpenFile | None:
    """Open what stands in the place of a segment of a store: a file without runs that were removed, or a compressed one.

    Each trace in it ends where it did, or before. None if there is nothing.
    """
    if names.store_of_segment(path) is not None:
        for name in (path, f"{path}{names.COMPRESSED}"):
            with suppress(SourceError):
                return _OpenFile(name, on_damage)
    return None


def _named_logs(scanned: Sequence[_ScannedFile]) -> NamedLogs:
    """Return the log records that name a response or a run, which may be in a trace that is complete before them."""
    found = NamedLogs()
    for piece, file_format in _pieces_of(file for file in scanned if file.has_evaluations):
        if file_format.mentions(piece, MARK):
            for log in file_format.read_unusual(piece, None).logs:
                found.add(log)
    return found


def _pieces_of(scanned: Iterable[_ScannedFile]) -> Iterator[tuple[bytes, FileFormat]]:
    """Yield each piece of some files with its format, without reports."""
    for file in scanned:
        file_format = file.file_format()
        for pieces in _read_pieces(file, file_format, _ignore_problem, _ignore_progress):
            yield from ((piece, file_format) for piece in pieces.pieces if piece)


class LocatedLine(NamedTuple):
    """Hold a line of a file, without its line feed, and the position at which it begins in the content."""

    path: str
    begin: int
    data: bytes


ScannedJournal = _ScannedFile


def read_journals(paths: Iterable[str]) -> list[ScannedJournal]:
    """Return the content of journals at this moment, and whether their processes are alive."""
    last_blocks = _LastBlocks(ExitStack())
    return [*_scan_files(last_blocks, dict.fromkeys(paths, ""), itertools.repeat(_ignore_progress))]


def traces_in_lines(
    lines: Iterable[LocatedLine],
    journals: Iterable[ScannedJournal],
    on_problem: Callable[[Problem], None],
    logs: Iterable[LogRecord] = (),
    *,
    has_media: bool,
) -> Iterator[list[SpanRecord]]:
    """Yield the traces in journals, and in some lines of files, as `FilesSource` does for whole files.

    `logs` are log records of these traces beside those in the lines. The line of a problem is the position of its line,
    and one.
    """
    stored = StoredMedia(on_problem) if has_media else None
    open_traces = OpenTraces(on_problem, _ignore_log, NamedLogs(), stored)
    open_traces.add_logs(logs)
    for journal in journals:
        file_format = journal.file_format()
        for pieces in _read_pieces(journal, file_format, on_problem, _ignore_progress):
            open_traces.take(pieces, file_format, journal)
    for path, group in itertools.groupby(lines, key=operator.attrgetter("path")):
        file, file_format = _ScannedFile(path, None, JsonLines, 0, 0, has_evaluations=False), JsonLines()
        for line in group:
            piece = line.data if len(line.data) <= MAX_LINE_BYTES else None
            open_traces.take(Pieces([piece], [line.begin + 1], 0), file_format, file)
    yield from open_traces.complete(_LastBlocks(ExitStack()), sys.maxsize)
    open_traces.finish()


def _ignore_log(log: LogRecord) -> None:
    """Ignore a log record that belongs to no span, for callers that do not count them."""


def _ignore_problem(problem: Problem) -> None:
    """Ignore a problem that another pass reports."""


def ignore_damage(error: DamagedError) -> None:
    """Ignore a damage that another pass reports, and that others follow."""


def _ignore_progress(read: int) -> None:
    """Ignore the number of bytes read."""


def _identity_of(file: str | int) -> _Identity | None:
    """Return device and inode of a path or descriptor, which a renamed file keeps; None if there is no such file."""
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return None  # opening the file will raise the error
    return status.st_dev, status.st_ino


def _is_usable(file: str, named: str, on_problem: Callable[[Problem], None]) -> bool:
    """Return whether a file can be read; report one of a glob or directory that cannot.

    Raises:
        SourceError: the file was named itself, and cannot be read.
    """
    try:
        _check_format(file)
    except SourceError as error:
        if _is_gone(file, named, error):
            return False
        if file == named:
            raise
        on_problem(Problem(file, 0, str(error).removeprefix(f"{file}: ")))
        return False
    return True


class _OpenFile:
    """Open a regular file; as a context manager, provide it and its decompressed content in blocks.

    Args:
        file: its path, or the open file itself, which stays open.
        on_damage: called with each damage after which the content goes on.
    """

    def __init__(self, file: str | io.RawIOBase, on_damage: _OnDamage = ignore_damage) -> None:
        self._stays_open = not isinstance(file, str)
        self._raw: io.BufferedReader[Any] = (
            open_regular(file) if isinstance(file, str) else io.BufferedReader(file, BLOCK_BYTES)
        )
        self._raw.seek(0)
        self._on_damage = on_damage

    def hold_journal(self, store: names.StoreFiles) -> bool | None:
        """Hold the content of a journal, which may be emptied at any moment; return whether its process is alive.

        What sampling drops is left out.
        """
        is_alive = is_owner_alive(self._raw.fileno(), lock_is_free=is_lock_free(self._raw.fileno()))
        content = sampled(store, self._raw.read(MAX_JOURNAL_BYTES), is_alive=is_alive is not False).content
        self._raw.close()
        self._raw = io.BufferedReader(_Held(content), BLOCK_BYTES)
        return is_alive

    def keep_open(self) -> io.RawIOBase:
        """Keep the file open after the block, without a buffer, and return it."""
        self._stays_open = True
        file: io.RawIOBase = self._raw.raw
        return file

    def identity(self) -> _Identity | None:
        return _identity_of(self._raw.fileno())

    def close(self) -> None:
        if self._stays_open:
            self._raw.detach()
        else:
            self._raw.close()

    def __enter__(self) -> tuple[io.BufferedReader, Iterator[bytes]]:
        return self._raw, program_output(as_utf8(_blocks(self._raw, self._on_damage)))

    def __exit__(self, *_: object) -> None:
        self.close()


class _Held(io.RawIOBase):
    """Provide bytes as a file without a buffer."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def again(self) -> _Held:
        """Return this for another reader."""
        return _Held(self._content.getvalue())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._content.readinto(buffer)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._content.seek(offset, whence)


def blocks_of(path: str) -> Iterator[bytes]:
    """Yield the decompressed content of a file in blocks.

    Raises:
        SourceError: it cannot be opened, is not a regular file, or is damaged.
    """
    with open_regular(path) as raw:
        try:
            yield from _blocks(raw, _raise_damage)
        except DamagedError as error:
            msg = f"{path}: {error}"
            raise SourceError(msg) from error


def open_regular(path: str) -> io.BufferedReader:
    """Open a regular file for reading, and refuse devices and pipes, which could block or never end.

    Raises:
        SourceError: the file cannot be opened, or is not a regular file.
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
    """Report content that cannot be decompressed; `ends_early` is true if the file is cut off."""

    def __init__(self, error: Exception, packing: str) -> None:
        self.ends_early = isinstance(error, EOFError) or getattr(error, "ends_early", False)
        super().__init__(f"a {packing} that ends early" if self.ends_early else f"damaged data ({error})")


def _raise_damage(error: DamagedError) -> None:
    """Refuse content of which a part is damaged.

    Raises:
        DamagedError: the damage.
    """
    raise error


def _blocks(raw: io.BufferedReader, on_damage: _OnDamage) -> Iterator[bytes]:
    """Yield the decompressed content of a file in blocks of at most 128 KiB.

    Raises:
        _DamagedError: the rest cannot be decompressed, or is suspiciously large.
    """
    packing = "file"
    try:
        packing = _packing_of(raw)
        size = 0
        for block in _decompressed(raw, packing, on_damage):
            size += len(block)
            if size > MAX_RATIO * max(raw.tell(), _RATIO_FROM_BYTES):
                raise OSError(f"a {packing} that unpacks to more than {MAX_RATIO} times its size")  # noqa: TRY301
            yield block
    except (EOFError, OSError, zlib.error) as error:
        raise _DamagedError(error, packing) from error


def _until_damage(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield blocks up to a damage, which the second pass reports."""
    try:
        yield from blocks
    except _DamagedError:
        return


def _packing_of(raw: io.BufferedReader) -> str:
    """Return the kind of a file by its first bytes: gzip, zstd, or file."""
    head = raw.peek(4)[:4]
    return "gzip" if head.startswith(_GZIP) else "zstd" if head.startswith(zstandard.MAGIC) else "file"


def _decompressed(raw: io.BufferedReader, packing: str, on_damage: _OnDamage) -> Iterator[bytes]:
    if packing == "zstd":
        return frames.contents(raw, lambda error: on_damage(_DamagedError(error, packing)))
    stream: _Readable = gzip.GzipFile(fileobj=raw) if packing == "gzip" else raw
    return iter(functools.partial(stream.read1, BLOCK_BYTES), b"")


class Content(NamedTuple):
    """Hold what a file has: its packing (gzip, zstd, or file), its format, and its decompressed content in blocks.

    `is_plain` is true if these blocks are the bytes of the file.
    """

    packing: str
    is_plain: bool
    file_format: FileFormat
    blocks: Iterator[bytes]


def content_of(raw: io.BufferedReader, on_damage: _OnDamage = _raise_damage) -> Content:
    """Return the content of a file that is open at its beginning.

    Args:
        raw: the file.
        on_damage: called with each damage after which the content goes on; by default it ends there.
    """
    packing = _packing_of(raw)
    is_plain = packing == "file" and is_plain_utf8(raw.peek())
    file_format, blocks = detect_format(as_utf8(_blocks(raw, on_damage)))
    return Content(packing, is_plain, file_format(), blocks)


class _Readable(Protocol):
    """Describe a reader that returns the bytes it has, rather than waiting for all that were requested."""

    def read1(self, size: int, /) -> bytes: ...


# ── files of other formats ───────────────────────────────────────────────────────────────────────────────────────────


def _check_format(path: str) -> None:
    """Check that a file begins as one of the formats does.

    Raises:
        SourceError: it does not; the message names what it looks like.
    """
    with _OpenFile(path) as (_, blocks):
        head = _read_head(path, blocks)
    if is_other_binary(head) or not file_format_of(head)().fits(head):
        looks_like = description_of(head[:HEAD_BYTES])
        msg = f"{path}: neither OTLP nor traces of Jaeger; it looks like {looks_like}{_packing_text(path)}"
        raise SourceError(msg)


def _packing_text(path: str) -> str:
    with _OpenFile(path) as (raw, _):
        packing = _packing_of(raw)
    return "" if packing == "file" else f" (in a {packing} file)"


def _read_head(path: str, blocks: Iterator[bytes]) -> bytes:
    """Return the beginning of a file: at least one block and one line, or 64 MiB of a longer line."""
    parts: list[bytes] = []
    size = 0
    try:
        for block in blocks:
            size += len(block)
            if not parts or block.strip(b"\0"):  # a power cut may leave many zeros
                parts.append(block)
            if size >= MAX_LINE_BYTES or (size >= BLOCK_BYTES and b"\n" in block):
                break
    except _DamagedError as error:
        if not parts and not error.ends_early:  # otherwise reading reports it
            msg = f"{path}: {error}"
            raise SourceError(msg) from error
    return b"".join(parts)
