"""Look through files for the last block of bytes in which each trace occurs: the first of the two passes."""

from __future__ import annotations

import io
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import NamedTuple

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.file_contents import BLOCK_BYTES, detect_format, until_damage
from otel_agent_trace.sources.file_formats import HEAD_BYTES, FileFormat
from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.listing import is_gone, list_directory
from otel_agent_trace.sources.named_logs import MARK
from otel_agent_trace.sources.open_files import HeldBytes, Identity, OpenFile, identity_of
from otel_agent_trace.store import names, zstandard
from otel_agent_trace.store.lines import MAX_LINE_BYTES

_KEY_BITS = 2**60 - 1
_MOST_HELD = 64
"""Number of files that are kept open between the two passes."""


class ScannedFile(NamedTuple):
    """Hold a file as it was in the first pass.

    `size` is the number of its bytes after decompression, `first_block` the number of its first block, counted through
    all files. `identity` finds the file again if it is renamed. `has_evaluations` is whether it may hold some.
    """

    path: str
    identity: Identity | None
    file_format: Callable[[], FileFormat]
    first_block: int
    size: int
    has_evaluations: bool
    held: io.RawIOBase | None = None
    is_journal: bool = False
    is_alive: bool | None = None

    def with_format(self, file_format: Callable[[], FileFormat]) -> ScannedFile:
        """Return this with another way to read its lines; only of a journal of the same format."""
        return self._replace(file_format=file_format) if self.file_format is JsonLines else self

    def again(self) -> ScannedFile:
        """Return a journal for another reader of the same content."""
        return self._replace(held=self.held.again()) if isinstance(self.held, HeldBytes) else self

    def block_at(self, position: int) -> int:
        """Return the number of the block that holds the byte at a position."""
        return self.first_block + position // BLOCK_BYTES

    def path_now(self) -> str | None:
        """Return the current path of the file, or None if it is no longer in its folder."""
        if identity_of(self.path) == self.identity:
            return self.path
        folder = os.path.dirname(self.path)
        paths = (os.path.join(folder, name) for name in list_directory(folder or "."))
        return next((path for path in paths if identity_of(path) == self.identity), None)


class LastBlocks:
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

    def scan(self, file: str, on_read: Callable[[int], None]) -> ScannedFile:
        """Record the traces in the blocks of a file; `on_read` is called with the bytes read so far."""
        first = self._next_block
        last = self._last
        opened = OpenFile(file)
        is_journal = names.is_journal(file)
        is_alive = opened.hold_journal(names.store_of(file)) if is_journal else None
        with opened as (raw, blocks):
            identity = None if is_journal else identity_of(raw.fileno())
            seen = _CountedBlocks(until_damage(blocks))
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
        scanned = ScannedFile(
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


def scan_files(
    last_blocks: LastBlocks, files: Mapping[str, str], counters: Iterator[Callable[[int], None]]
) -> Iterator[ScannedFile]:
    """Scan files, and leave out those that were renamed or removed since their directory was listed."""
    for (file, named), on_read in zip(files.items(), counters, strict=False):
        try:
            scanned = last_blocks.scan(file, on_read)
        except SourceError as error:
            if not is_gone(file, named, error):
                raise
        else:
            yield scanned


def read_journals(paths: Iterable[str]) -> list[ScannedFile]:
    """Return the content of journals at this moment, and whether their processes are alive."""
    last_blocks = LastBlocks(ExitStack())
    return [*scan_files(last_blocks, dict.fromkeys(paths, ""), itertools.repeat(ignore_progress))]


def ignore_progress(read: int) -> None:
    """Ignore the number of bytes read."""
