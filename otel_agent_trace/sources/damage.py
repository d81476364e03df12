"""Look for damage in files: in every line, in every compressed frame with its checksum, and in what lies beside the store.

What other programs wrote is no damage: JSON that is no OTLP, blank lines, and a last line without a line feed.
"""

from __future__ import annotations

import functools
import gzip
import io
import itertools
import os
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator

import msgspec

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.file_contents import BLOCK_BYTES, detect_format, open_regular
from otel_agent_trace.sources.file_formats import DamagedError, FileFormat, Found, Pieces
from otel_agent_trace.sources.file_formats.console_output import ConsoleOutput
from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.text_encoding import as_utf8
from otel_agent_trace.span import Problem, SpanRecord
from otel_agent_trace.store.damaged_counts import damaged_counts
from otel_agent_trace.store.frames import FrameError, contents
from otel_agent_trace.store.lines import MAX_LINE_BYTES
from otel_agent_trace.store.media import damaged_media
from otel_agent_trace.store.names import StoreFiles, store_of
from otel_agent_trace.store.zstandard import MAGIC

OnProblem = Callable[[Problem], None]

_GZIP = b"\x1f\x8b"
_OTLP = (b'{"resourceSpans"', b'{"resourceLogs"')
_IS_OF_LINES = re.compile(r"\.(?:jsonl|ndjson)\b")
_ROUNDS = 3
"""Number of times that the files are listed: meanwhile, segments are closed and compressed."""
_WRITE_S, _RECENT_S = 0.2, 2.0
"""Time after which a line that was being written is complete, and age of a file that may be written at this moment."""
_MOST_HELD = 1000


class Inspected(msgspec.Struct, kw_only=True):
    """Represent what was read: numbers of files, bytes on disk, lines and ended spans, their times, and what is wrong.

    `first_ns` and `last_ns` are the earliest start and the latest end in Unix nanoseconds, None without spans. `damage`
    is the number of damages, `unreadable` what could not be read at all.
    """

    files: int = 0
    size_bytes: int = 0
    lines: int = 0
    spans: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    damage: int = 0
    unreadable: list[Problem] = []

    def add_span(self, span: SpanRecord) -> None:
        """Count a span if it has ended, and note its times."""
        self.spans += span.end_ns is not None
        end_ns = span.end_ns or span.start_ns
        self.first_ns = span.start_ns if self.first_ns is None else min(self.first_ns, span.start_ns)
        self.last_ns = end_ns if self.last_ns is None else max(self.last_ns, end_ns)


def inspect(source: str, on_damage: OnProblem) -> Inspected:
    """Read all files of a path, and call `on_damage` with each damage: its path, its line (from 1), and the reason.

    Args:
        source: a path, a directory or a glob.
        on_damage: the function.

    Raises:
        SourceError: there are no such files, or none of them can be read.
    """
    inspected, missing = Inspected(), "no such file"

    def report(problem: Problem) -> None:
        inspected.damage += 1
        on_damage(problem)

    seen: set[tuple[int, int]] = set()
    stores: set[StoreFiles] = set()
    for _ in range(_ROUNDS):
        for path in FilesSource([source]).files():
            stores.add(store_of(os.path.realpath(path)))
            try:
                with open_regular(path) as raw:
                    status = os.fstat(raw.fileno())
                    if (status.st_dev, status.st_ino) not in seen:
                        seen.add((status.st_dev, status.st_ino))
                        inspected.files += 1
                        inspected.size_bytes += status.st_size
                        _inspect_twice(path, raw, inspected, report)
            except (SourceError, OSError) as error:
                reason = str(error).removeprefix(f"{path}: ")
                if isinstance(error.__cause__, FileNotFoundError):  # renamed or removed meanwhile
                    missing = reason
                else:
                    inspected.unreadable.append(Problem(path, 0, reason))
        if inspected.unreadable:
            break
    if not inspected.files:
        raise SourceError(str(inspected.unreadable[0]) if inspected.unreadable else f"{source}: {missing}")
    for path, reason in itertools.chain.from_iterable(map(damaged_media, stores)):
        report(Problem(path, 1, reason))
    for damage in itertools.chain.from_iterable(map(damaged_counts, stores)):
        report(Problem(*damage))
    return inspected


def _inspect_twice(path: str, raw: io.BufferedReader, inspected: Inspected, on_damage: OnProblem) -> None:
    """Inspect a file, and again if it is being written: a line that was incomplete is complete a moment later."""
    if time.time() - os.fstat(raw.fileno()).st_mtime > _RECENT_S:
        _inspect_file(path, raw, inspected, on_damage)
        return
    held: set[Problem] = set()

    def hold(problem: Problem) -> None:
        (held.add if len(held) < _MOST_HELD else on_damage)(problem)

    _inspect_file(path, raw, inspected, hold)
    if held:
        time.sleep(_WRITE_S)
        anew: io.BufferedReader = io.BufferedReader(io.FileIO(os.dup(raw.fileno())), BLOCK_BYTES)
        with anew:
            _inspect_file(path, anew, Inspected(), lambda found: on_damage(found) if found in held else None)


def _inspect_file(path: str, raw: io.BufferedReader, inspected: Inspected, on_damage: OnProblem) -> None:
    content = _Content(path, raw, on_damage)
    factory, blocks = detect_format(as_utf8(content))
    file_format = factory()
    if isinstance(file_format, ConsoleOutput) and _IS_OF_LINES.search(os.path.basename(path)):
        file_format = JsonLines()  # what is before its first line is damage, not what a program printed
    is_of_lines = type(file_format) is JsonLines
    read = _read_line if is_of_lines else _read_piece
    last: Problem | None = None
    for pieces in _pieces(path, file_format, blocks, on_damage):
        for piece, number in zip(pieces.pieces, pieces.numbers, strict=False):
            if last is not None:
                on_damage(last)
            inspected.lines += 1
            found = read(piece, file_format) if piece is not None else Found(reason=_too_long(file_format))
            for span in found.spans:
                inspected.add_span(span)
            last = Problem(path, number, found.reason) if found.reason else None
    if last is not None:
        is_open = is_of_lines and content.has_open_line
        on_damage(Problem(path, last.line, f"incomplete line: {last.reason}") if is_open else last)
    content.report_end()


def _pieces(path: str, file_format: FileFormat, blocks: Iterator[bytes], on_damage: OnProblem) -> Iterator[Pieces]:
    number = 1
    try:
        for pieces in file_format.pieces(blocks, sys.maxsize, MAX_LINE_BYTES):
            yield pieces
            number = pieces.numbers[-1] + 1
    except DamagedError as error:
        on_damage(Problem(path, number, str(error)))


def _too_long(file_format: FileFormat) -> str:
    return f"a {file_format.piece_name} of more than {MAX_LINE_BYTES >> 20} MiB"


class _Content:
    """Iterate over the decompressed blocks of a file, and report what cannot be decompressed, with the line reached."""

    def __init__(self, path: str, raw: io.BufferedReader, on_damage: OnProblem) -> None:
        self._path, self._raw, self._on_damage = path, raw, on_damage
        self._lines = 0
        self._end: Problem | None = None
        self.has_open_line = False
        """True if the last line has no line feed."""

    def __iter__(self) -> Iterator[bytes]:
        try:
            for block in self._blocks():
                self._lines += block.count(b"\n")
                self.has_open_line = not block.endswith(b"\n")
                yield block
        except (EOFError, OSError, zlib.error) as error:
            self._end = self._damage(error)

    def _blocks(self) -> Iterator[bytes]:
        self._raw.seek(0)
        head = self._raw.read(len(MAGIC))
        self._raw.seek(0)
        if head == MAGIC:
            return contents(self._raw, lambda error: self._on_damage(self._damage(error)))
        read = gzip.GzipFile(fileobj=self._raw).read1 if head.startswith(_GZIP) else self._raw.read1
        return iter(functools.partial(read, BLOCK_BYTES), b"")

    def _damage(self, error: Exception) -> Problem:
        packing = "zstd frame" if isinstance(error, FrameError) else "gzip"
        ends_early = isinstance(error, EOFError) or getattr(error, "ends_early", False)
        what = f"a {packing} that ends early" if ends_early else f"a damaged {packing} ({error})"
        return Problem(self._path, self._lines + 1, what)

    def report_end(self) -> None:
        """Report what ended the content before its end."""
        if self._end is not None:
            self._on_damage(self._end)


def _read_piece(piece: bytes, file_format: FileFormat) -> Found:
    """Return the spans of a document or a message, and what is wrong with it."""
    try:
        spans, refusal = file_format.read(piece), None
    except ValueError as error:
        spans, refusal = [], error
    return Found(spans) if spans else file_format.read_unusual(piece, refusal)


def _read_line(line: bytes, file_format: FileFormat) -> Found:
    """Return the spans of a line, and what is wrong with it."""
    try:
        _ = line.isascii() or line.decode()
        if spans := file_format.read(line):
            return Found(spans)
        refusal = None
    except UnicodeDecodeError as error:
        return Found(reason=f"invalid UTF-8 at byte {error.start + 1} of the line")
    except ValueError as error:
        refusal = error
    if not line.strip():
        return Found()
    if zeros := line.count(b"\0"):
        return Found(reason=f"{zeros:,} NUL bytes")
    found = file_format.read_unusual(line, refusal)
    if _is_json(line):
        return found if line.lstrip().startswith(_OTLP) else Found(found.spans)
    return found._replace(reason=found.reason or found.notice or "more than one JSON text in a line")


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except RecursionError:  # of another program: ours are not that deep
        return True
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True
