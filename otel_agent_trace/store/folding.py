"""Fold the journals of processes that are gone into the live file of their store: what was in flight stays readable.

What has ended is in the store, and is left out: the files that were written since the journal was begun are searched for
the ids. A kill between the append and the removal of the journal leaves a record in both, which readers count once, and
which the next folding finds.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress

from otel_agent_trace.formats import otlp_json
from otel_agent_trace.formats.otlp_json_encoding import encode
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.store.dropped_counts import add_dead_files, add_journal
from otel_agent_trace.store.frames import FrameError, decompressed
from otel_agent_trace.store.journal_lines import LOGS, MAX_JOURNAL_BYTES
from otel_agent_trace.store.lines import MAX_LINE_BYTES, LineFile
from otel_agent_trace.store.liveness import is_owner_alive, owner_of, position_in, with_liveness
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.sampled_journals import sampled
from otel_agent_trace.store.sharing import held, open_regular, take

_SPAN_ID = re.compile(rb'"spanId":"([0-9a-f]{16})",(?:"parentSpanId":"[0-9a-f]{16}",)?"kind"')
"""Beginning of a span as our encoders write it; the ids of links are not followed by a kind."""
_BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 16 << 10
_GZIP = b"\x1f\x8b"
_MARGIN_S = 1.0
_NS_PER_S = 1e9
_Key = tuple[str, str]
"""Ids of a trace and of a span."""


def fold_dead_journals(files: StoreFiles) -> int:
    """Append what dead journals of a store have open to its live file, remove the journals, and return their number.

    One that cannot be read stays as it is.
    """
    folded = 0
    for path in files.journals():
        with suppress(OSError):
            folded += _fold(files, path)
    with suppress(OSError):
        add_dead_files(files)
    return folded


def _fold(files: StoreFiles, path: str) -> bool:
    """Fold a journal if its process is gone, or if it is damaged, and return whether it was.

    Raises:
        OSError: it cannot be read, or the live file not written.
    """
    with held(open_regular(path, os.O_RDWR)) as descriptor:
        if not take(descriptor):
            return False
        is_ours = bool(owner_of(os.pread(descriptor, _HEAD_BYTES, 0)))  # a journal is never seen without its first line
        if is_ours and is_owner_alive(descriptor, lock_is_free=True) is not False:
            return False
        if os.fstat(descriptor).st_size > MAX_JOURNAL_BYTES:
            if not is_ours:
                os.unlink(path)
            return not is_ours
        with open(descriptor, "rb", closefd=False) as journal:
            text = journal.read()
        decided = sampled(files, text, is_alive=False)
        if decided.is_waiting:
            return False
        waiting = left_open(files, decided.content, position_in(text[:_BLOCK_BYTES]))
        lines = [*(encode([record]) for record in waiting), *logs_in(decided.content)]
        if lines or decided.dropped:
            with closing(LineFile(files.path)) as live:
                live.append(b"".join(line + b"\n" for line in lines), len(waiting))
        if decided.dropped:
            add_journal(files, os.path.basename(path), decided.dropped.values())
        os.unlink(path)
    return True


def left_open(files: StoreFiles, content: bytes, position: tuple[int, int, int] | None) -> list[SpanRecord]:
    """Return the spans in the content of a dead journal that the store does not have, started ones marked as interrupted.

    Args:
        files: the names of the store.
        content: the content as OTLP/JSON.
        position: device, inode and size of the live file when the journal was begun.
    """
    records = {_key(record): record for line in content.splitlines() for record in _records_in(line)}
    if not records:
        return []
    since_s = min(record.start_ns for record in records.values()) / _NS_PER_S
    for key in _found_in(files, records.keys(), since_s, position):
        records.pop(key, None)
    return [with_liveness(record, is_alive=False) for record in records.values()]


def logs_in(text: bytes) -> list[bytes]:
    """Return the whole lines of log records in the text of a journal; readers count one once that a file has too."""
    lines = (line for line in text.split(b"\n") if line.startswith(LOGS))
    return [line for line in lines if _has_logs(line)]


def _has_logs(line: bytes) -> bool:
    try:
        return bool(otlp_json.decode_logs(line))
    except (ValueError, RecursionError):  # torn
        return False


def _records_in(line: bytes) -> list[SpanRecord]:
    if not line.strip():
        return []
    try:
        return [*otlp_json.decode(line)]
    except (ValueError, RecursionError):  # the last line of a process that was killed
        return []


def _found_in(
    files: StoreFiles, keys: Iterable[_Key], since_s: float, position: tuple[int, int, int] | None
) -> Iterator[_Key]:
    """Yield the ids of spans, among some, that the store has.

    Args:
        files: the names of the store.
        keys: the ids.
        since_s: the time after which the spans have ended, in Unix seconds; older files do not have them.
        position: device and inode of the live file at that time, and its size.
    """
    wanted = set(keys)
    for path in reversed([*files.closed(), files.path]):
        if not wanted:
            return
        with suppress(OSError, EOFError, zlib.error), open(open_regular(path), "rb") as raw:
            status = os.fstat(raw.fileno())
            if status.st_mtime < since_s - _MARGIN_S:
                continue
            if position is not None and (status.st_dev, status.st_ino) == position[:2]:
                raw.seek(position[2])
            for found in _keys_in(decompressed(raw, _ignore), wanted):
                wanted.discard(found)
                yield found


def _ignore(damage: FrameError) -> None:
    """Go on after a damaged frame: what it held is lost."""


def _keys_in(blocks: Iterable[bytes], wanted: set[_Key]) -> Iterator[_Key]:
    """Yield the wanted ids of spans in whole lines: the line in which a process was killed has the id, and not the end."""
    span_ids, rest = {span_id.encode() for _, span_id in wanted}, b""
    for block in blocks:
        lines, found, after = (rest + block).rpartition(b"\n")
        rest = after if len(after) <= MAX_LINE_BYTES else b""
        if found and not span_ids.isdisjoint(_SPAN_ID.findall(lines)):
            yield from _whole_keys_in(lines, span_ids, wanted)
    yield from _whole_keys_in(rest, span_ids, wanted)


def _whole_keys_in(lines: bytes, span_ids: set[bytes], wanted: set[_Key]) -> Iterator[_Key]:
    for line in lines.split(b"\n"):
        if not span_ids.isdisjoint(_SPAN_ID.findall(line)):
            try:
                records = otlp_json.decode(line)
            except (ValueError, RecursionError):  # torn, or a whole line after a torn one
                records = otlp_json.salvage(line)
            yield from wanted.intersection(map(_key, records))


def _key(record: SpanRecord) -> _Key:
    return record.trace_id, record.span_id
