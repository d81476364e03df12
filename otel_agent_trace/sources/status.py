"""Summarize a store: its files, runs, journals, index, binary parts, sampling and damage."""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from otel_agent_trace.errors import SourceError
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources.damage import inspect
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.listing import is_glob, matches_of
from otel_agent_trace.sources.parquet.schema import is_parquet_folder
from otel_agent_trace.sources.search import search
from otel_agent_trace.span import Problem, ignore_problem
from otel_agent_trace.store.damaged_counts import sampling_bytes
from otel_agent_trace.store.dropped import read_dropped
from otel_agent_trace.store.liveness import is_alive
from otel_agent_trace.store.media import MediaFolder
from otel_agent_trace.store.names import StoreFiles, is_journal, is_rotated, store_of, store_of_segment

_SHOWN_DAMAGE = 100


class SegmentCounts(msgspec.Struct, frozen=True):
    """Represent how many files of spans there are: closed ones, and live ones, to which programs append."""

    closed: int
    live: int


class JournalCounts(msgspec.Struct, frozen=True):
    """Represent how many journals there are, by whether the process is alive; `unknown` where that cannot be known."""

    alive: int
    dead: int
    unknown: int


class IndexStatus(msgspec.Struct, frozen=True):
    """Represent whether there is an index, and its bytes on disk."""

    present: bool
    bytes: int


class MediaStatus(msgspec.Struct, frozen=True):
    """Represent how many binary parts lie beside the store, and their bytes."""

    parts: int
    bytes: int


class SamplingStatus(msgspec.Struct, frozen=True):
    """Represent the traces that sampling has dropped, and the bytes of its files beside the store.

    `dropped` is None if there are no counts, as nothing was sampled, or runs were removed since; it is without those of which
    nobody knows whether they belong to an export.
    """

    dropped: int | None
    bytes: int


class StoreStatus(msgspec.Struct, frozen=True):
    """Represent a store; `bytes` are those of live file, segments and journals, times Unix nanoseconds.

    `damaged` has the first hundred of the `damage`; `unreadable` are the files that cannot be read at all.
    """

    segments: SegmentCounts
    runs: int
    spans: int
    bytes: int
    first_ns: int | None
    last_ns: int | None
    journals: JournalCounts
    index: IndexStatus
    media: MediaStatus
    sampling: SamplingStatus
    damage: int
    damaged: tuple[Problem, ...]
    unreadable: tuple[Problem, ...]


def status_of(source: str) -> StoreStatus:
    """Read a store, and return what it has.

    Args:
        source: the path of a live file, a directory or a glob; or the folder of a Parquet export, or a glob of such.

    Raises:
        SourceError: there are no such files, or none of them can be read; an export is damaged, or beside files of spans.
    """
    exports = _exports_in(source)
    if exports:
        return _status_of_exports(exports)
    damaged: list[Problem] = []
    inspected = inspect(source, lambda problem: damaged.append(problem) if len(damaged) < _SHOWN_DAMAGE else None)
    paths = FilesSource([source]).files()
    journals = [path for path in paths if is_journal(path)]
    closed = [path for path in paths if store_of_segment(path) is not None or is_rotated(path)]
    live = [path for path in paths if path not in {*journals, *closed}]
    stores = {store_of(os.path.realpath(path)) for path in paths}
    alive = [_is_alive(path) for path in journals]
    index = [_size_of(f"{store.index}{end}") for store in stores for end in ("", "-wal", "-shm")]
    folders = [MediaFolder(store) for store in stores]
    media = [_size_of(os.path.join(folder.path, name)) for folder in folders for name in folder.names()]
    runs = search(FilesSource([source]), RunQuery(), ignore_problem, lambda found: 1)
    return StoreStatus(
        SegmentCounts(len(closed), len(live)),
        0 if inspected.unreadable else sum(runs),
        inspected.spans,
        inspected.size_bytes,
        inspected.first_ns,
        inspected.last_ns,
        JournalCounts(alive.count(True), alive.count(False), alive.count(None)),
        IndexStatus(any(index), sum(index)),
        MediaStatus(len(media), sum(media)),
        _sampling_of(stores),
        inspected.damage,
        tuple(damaged),
        tuple(inspected.unreadable),
    )


def _sampling_of(stores: Iterable[StoreFiles]) -> SamplingStatus:
    sizes = {store: size for store in stores if (size := sampling_bytes(store)) is not None}
    dropped = sum(one.traces for store in sizes for one in read_dropped(store))
    has_counts = any(not os.path.lexists(store.removals) for store in sizes)
    return SamplingStatus(dropped if has_counts else None, sum(sizes.values()))


def _exports_in(source: str) -> list[str]:
    """Return the folders of the Parquet exports that a source names.

    Raises:
        SourceError: it names something else as well.
    """
    if is_parquet_folder(source):
        return [source]
    found = matches_of(source) if is_glob(source) else []
    exports = [path for path in found if is_parquet_folder(path)]
    if exports and len(exports) < len(found):
        raise SourceError(f"{source}: Parquet exports and something else; name either")
    return exports


def _status_of_exports(folders: list[str]) -> StoreStatus:
    """Return the status of Parquet exports, of which all files are closed; a run in several of them counts in each."""
    from otel_agent_trace.sources.parquet.contents import contents_of  # noqa: PLC0415 - rarely needed

    found = [contents_of(folder) for folder in folders]
    return StoreStatus(
        SegmentCounts(sum(each.files for each in found), 0),
        sum(each.runs for each in found),
        sum(each.spans for each in found),
        sum(each.size_bytes for each in found),
        min((each.first_ns for each in found if each.first_ns is not None), default=None),
        max((each.last_ns for each in found if each.last_ns is not None), default=None),
        JournalCounts(0, 0, 0),
        IndexStatus(present=False, bytes=0),
        MediaStatus(0, 0),
        _sampling_of_exports(folders),
        damage=0,
        damaged=(),
        unreadable=(),
    )


def _sampling_of_exports(folders: list[str]) -> SamplingStatus:
    from otel_agent_trace.sources.parquet.schema import DROPPED  # noqa: PLC0415 - rarely needed
    from otel_agent_trace.sources.parquet.source import ParquetSource  # noqa: PLC0415

    counts = {folder: found for folder in folders if (found := ParquetSource(folder).dropped())}
    dropped = sum(one.traces for found in counts.values() for one in found if one.is_certain)
    size = sum(_size_of(os.path.join(folder, DROPPED)) for folder in counts)
    return SamplingStatus(dropped if counts else None, size)


def _is_alive(journal: str) -> bool | None:
    try:
        return is_alive(journal)
    except OSError:  # removed meanwhile, or not ours to read
        return None


def _size_of(path: str) -> int:
    """Return the size of a file in bytes; 0 if it is not there."""
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
