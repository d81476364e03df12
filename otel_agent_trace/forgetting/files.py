"""Remove selected spans and log records from one file of any format that has texts: plain or compressed, of lines or documents."""

from __future__ import annotations

import gzip
import io
import os
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple

from otel_agent_trace.forgetting.selection import Selection
from otel_agent_trace.forgetting.texts import TextFilter
from otel_agent_trace.sources.file_contents import Content, content_of
from otel_agent_trace.sources.file_formats import DamagedError
from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.file_formats.messages import Messages
from otel_agent_trace.span import Problem
from otel_agent_trace.store.frames import FrameWriter
from otel_agent_trace.store.journal_lines import MAX_JOURNAL_BYTES, as_otlp
from otel_agent_trace.store.liveness import is_owner_alive
from otel_agent_trace.store.names import is_journal, store_of_segment
from otel_agent_trace.store.replacing import Write, replace
from otel_agent_trace.store.retention import remove_unused
from otel_agent_trace.store.sharing import is_lock_free, open_regular

_UNLIMITED = 1 << 62
_BATCH_BYTES = 1 << 20


class Removal(NamedTuple):
    """Hold the number of spans, log records and bytes that were removed from a place, and what is left there."""

    counts: Counter[str]
    left: tuple[Problem, ...] = ()


def remove_from_file(path: str, selection: Selection, apply: bool) -> Removal:
    """Remove what is selected from a file, or count it.

    Raises:
        SourceError: the file cannot be replaced at the moment.
        OSError: it cannot be read or written.
    """
    if is_journal(path):
        return _left_in_journal(path, selection, apply)
    rewriting = _Rewriting(selection)
    with open(path, "rb") as file:
        content = content_of(file)
        if isinstance(content.file_format, Messages):
            return _left_in_messages(path, content, selection)
        file.seek(0)
        has_other_names = os.fstat(file.fileno()).st_nlink > 1
        try:
            if apply:
                replace(path, rewriting.copy)
                if not rewriting.has_kept and store_of_segment(path) is not None:
                    remove_unused(path)
            else:
                rewriting.copy(file, _discard, True)
        except DamagedError as error:
            return Removal(Counter(), (Problem(path, 0, f"{error}; nothing can be removed from it"),))
    is_left = has_other_names and bool(rewriting.counts)
    reason = "it has another name (a hard link), under which all of it stays"
    return Removal(rewriting.counts, (Problem(path, 0, reason),) if is_left else ())


def _left_in_journal(path: str, selection: Selection, apply: bool) -> Removal:
    """Return what is selected in a journal; that of a process which is gone has been folded before anything is changed."""
    descriptor = open_regular(path)
    with open(descriptor, "rb") as file:
        is_alive = is_owner_alive(descriptor, lock_is_free=is_lock_free(descriptor))
        texts, lines = TextFilter(selection), JsonLines()
        for line in as_otlp(file.read(MAX_JOURNAL_BYTES)).splitlines():
            texts.kept(line, lines)
    if not +texts.counts or (is_alive is False and not apply):
        return Removal(+texts.counts)
    reason = (
        "runs in flight stay, as the process that writes this journal is alive"
        if is_alive is not False
        else "it could not be folded into the store"
    )
    return Removal(Counter(), (Problem(path, 0, f"{reason}: try again later"),))


def _left_in_messages(path: str, content: Content, selection: Selection) -> Removal:
    """Return that a file of protobuf messages keeps what it has, if anything of it is selected."""
    texts, read = TextFilter(selection), content.file_format
    pieces = (piece for found in read.pieces(content.blocks, _UNLIMITED, _UNLIMITED) for piece in found.pieces if piece)
    if not any(texts.holds_selected(piece, read) for piece in pieces):
        return Removal(Counter())
    reason = (
        "nothing can be removed from protobuf messages: export what is to be kept as OTLP JSON, and delete the file"
    )
    return Removal(Counter(), (Problem(path, 0, reason),))


class _Rewriting:
    """Copy what is kept of a file: first all that is there, then, line by line, what was appended since."""

    def __init__(self, selection: Selection) -> None:
        self._texts = TextFilter(selection)
        self._lines = JsonLines()
        self._removed_bytes = 0
        self.has_kept = False
        """Is True if anything but blank lines is left."""

    @property
    def counts(self) -> Counter[str]:
        """Return the numbers of what was left out; empty if nothing was."""
        return +(self._texts.counts + Counter(bytes=self._removed_bytes))

    def copy(self, file: io.BufferedReader, write: Write, is_last: bool) -> None:
        """Copy from the position of a file on (see `Copy`)."""
        position = file.seek(0, os.SEEK_CUR)
        content = None if position else content_of(file)
        if content is None or (content.is_plain and type(content.file_format) is JsonLines):
            self._copy_lines(file, position, write, is_last=is_last)
        else:
            self._copy_pieces(content, write)
            file.seek(0, os.SEEK_END)

    def _copy_lines(self, file: io.BufferedReader, position: int, write: Write, *, is_last: bool) -> None:
        end = os.fstat(file.fileno()).st_size
        file.seek(position)
        batch: list[bytes] = []
        batch_bytes = 0
        while position < end:
            line = file.readline()
            if not (line.endswith(b"\n") or is_last):
                break
            position += len(line)
            text = line.rstrip(b"\r\n")
            kept = self._texts.kept(text, self._lines)
            left = line if kept is text else b"" if kept is None else kept + line[len(text) :]
            self._removed_bytes += len(line) - len(left)
            self.has_kept |= bool(kept and not kept.isspace())
            batch.append(left)
            batch_bytes += len(left)
            if batch_bytes >= _BATCH_BYTES:
                write(b"".join(batch))
                batch, batch_bytes = [], 0
        if batch_bytes:
            write(b"".join(batch))
        file.seek(position)

    def _copy_pieces(self, content: Content, write: Write) -> None:
        with closing(_packed(content.packing, write)) as packed:
            before = b""
            for found in content.file_format.pieces(content.blocks, _UNLIMITED, _UNLIMITED):
                for piece in filter(None, found.pieces):
                    kept = self._texts.kept(piece, content.file_format)
                    self._removed_bytes += len(piece) - len(kept or b"")
                    if kept is not None:
                        self.has_kept |= not kept.isspace()
                        packed.write(before + kept)
                        before = b"\n"
            packed.write(before)


class _Sink:
    """Provide a function that writes as a file for those that compress."""

    def __init__(self, write: Write) -> None:
        self.write = write

    def flush(self) -> None:
        """Do nothing, as each block is written at once."""

    def close(self) -> None:
        """Do nothing, as whoever opened the file closes it."""


def _packed(packing: str, write: Write) -> Any:
    """Return a file that writes what is written to it, compressed in the same way as the file that is read."""
    openers: dict[str, Callable[[Any], Any]] = {
        "gzip": lambda sink: gzip.GzipFile(fileobj=sink, mode="wb"),
        "zstd": lambda sink: FrameWriter(sink.write),
    }
    return openers.get(packing, lambda sink: sink)(_Sink(write))


def _discard(_: bytes) -> None:
    """Write nothing."""
