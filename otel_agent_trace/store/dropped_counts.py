"""Count beside a store the traces that sampling drops, by agent, status and hour.

Each process appends a line for each trace to a file of its own, before it removes the trace from its journal: whoever finds
the trace in the journal of a killed process as well counts it once. A line may take back one that was written before, as a
count of -1. When such a file is full, or its process is gone, it is added to ``total.json``, which is replaced as a whole and names what was added, so that a kill before the removal of the file
counts nothing twice. Of more than 65,536 counts, those of the oldest hours are removed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress

import msgspec

from otel_agent_trace.forks import ForkSafeLock, renewed_in_children
from otel_agent_trace.sampling import DroppedTraces
from otel_agent_trace.store.lines import LineFile
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.replacing import written_beside
from otel_agent_trace.store.sharing import held, open_regular, take

_FULL_LINES = 4096
_RECENT, _MOST_ADDED = 64, 128
"""Number of the latest traces of a file that are known after it was added, and of the added files that are."""
_MOST_COUNTS = 65_536
_MOST_BYTES = 64 << 20
Key = tuple[str | None, str, int]
"""Agent, status and hour."""


class _Line(msgspec.Struct, array_like=True):
    """Represent the line of a trace; `traces` is -1 to take an earlier one back."""

    trace_id: str
    agent: str | None
    status: str
    hour_ns: int
    traces: int = 1


class _Total(msgspec.Struct):
    """Represent what was added up: names of files with their latest traces, and counts."""

    added: dict[str, list[str]] = msgspec.field(default_factory=dict)
    counts: list[tuple[str | None, str, int, int]] = msgspec.field(default_factory=list)


decode_line = msgspec.json.Decoder(_Line).decode
"""Return the line of a trace; ValueError if it is none."""
decode_total = msgspec.json.Decoder(_Total).decode
"""Return what was added up; ValueError if it is no such JSON."""
_to_json = msgspec.json.encode


class DroppedFile:
    """Count the traces that this process drops; may be used by several threads.

    Args:
        files: the names of the store.
        on_full: called when a file is full, which is to be added to the total.
    """

    def __init__(self, files: StoreFiles, on_full: Callable[[], object] | None = None) -> None:
        self._files, self._on_full = files, on_full
        self._turn = ForkSafeLock()
        self._file: LineFile | None = None
        self._lines = 0
        self._latest: tuple[int, DroppedTraces | None] = (0, None)
        renewed_in_children(self)

    def renew(self) -> None:
        """Begin without a file, in a forked child."""
        self._file = None

    def add(self, trace_id: int, dropped: DroppedTraces | None, *, instead_of: DroppedTraces | None = None) -> None:
        """Count a trace, and take back as what it was counted before; both, or nothing after a kill.

        Raises:
            OSError: it cannot be written.
        """
        if dropped == instead_of or self._latest == (trace_id, dropped):  # again, since what followed has failed
            return
        counts = [] if instead_of is None else [instead_of._replace(traces=-1)]
        counts += [] if dropped is None else [dropped]
        lines = b"".join(_to_json(_line(trace_id, count)) + b"\n" for count in counts)
        with self._turn:
            if self._file is None or self._lines >= _FULL_LINES:
                is_full = self._file is not None
                self.close()
                self._file = LineFile(self._files.new_counts())
                if is_full and self._on_full is not None:
                    self._on_full()
            self._lines += len(counts)
            self._file.append(lines, 0)
            self._latest = trace_id, dropped

    def close(self) -> None:
        """Close the file, which is added to the total by the next compaction."""
        with self._turn:
            file, self._file, self._lines = self._file, None, 0
            if file is not None:
                file.close()


def note_removal(files: StoreFiles) -> None:
    """Note that runs were removed from a store: counts of what was dropped beside them are no counts of what is left.

    Raises:
        OSError: it cannot be written.
    """
    if os.path.isdir(files.sampling_folder):
        with open(files.removals, "ab"):
            pass


def read_counts(files: StoreFiles) -> tuple[list[DroppedTraces], Collection[str]]:
    """Count the traces that sampling dropped, without those in journals of dead processes.

    Returns:
        the counts, and the names of files and journals that were added to the total lately.
    """
    lines = {name: _lines_of(path) for name, path in files.counts().items()}
    total = _total_of(files)  # after the files, which are removed when the total has them
    of_files = (line for name, of_file in lines.items() if name not in total.added for line in of_file)
    counts = [
        *(DroppedTraces(*count) for count in total.counts),
        *(DroppedTraces(line.agent, line.status, line.hour_ns, line.traces) for line in of_files),
    ]
    return counts, total.added.keys()


def summed(counts: Iterable[DroppedTraces]) -> list[DroppedTraces]:
    """Return counts with those of the same agent, status and hour added up, the oldest first."""
    sums = Counter[Key]()
    for count in counts:
        sums[_key(count)] += count.traces
    found = [DroppedTraces(*key, traces) for key, traces in sums.items() if traces > 0]
    return sorted(found, key=lambda one: (one.hour_ns, one.agent or "", one.status))


def counted_traces(files: StoreFiles) -> set[str]:
    """Return the ids of traces that were counted lately."""
    lines = [line for path in files.counts().values() for line in _lines_of(path)]
    recent = (trace_id for ids in _total_of(files).added.values() for trace_id in ids)
    return {*(line.trace_id for line in lines), *recent}


def add_journal(files: StoreFiles, name: str, dropped: Iterable[DroppedTraces]) -> None:
    """Add traces that the journal of a dead process has, unless that was done before. Only who is alone may call it.

    Raises:
        OSError: the total cannot be written.
    """
    total = _total_of(files)
    if name not in total.added:
        counts = Counter[Key]()
        for one in dropped:
            counts[_key(one)] += one.traces
        _add(files, total, {name: []}, counts)


def add_dead_files(files: StoreFiles) -> None:
    """Add the files of dead processes, and those that are full, to the total. Only who is alone may call it.

    Raises:
        OSError: the total cannot be written.
    """
    total, added, counts = _total_of(files), dict[str, list[str]](), Counter[Key]()
    dead = {name: path for name, path in files.counts().items() if _is_dead(path)}
    for name, path in dead.items():
        if name not in total.added:
            lines = _lines_of(path)
            added[name] = [line.trace_id for line in lines[-_RECENT:]]
            for line in lines:
                counts[_key(line)] += line.traces
    if added:
        _add(files, total, added, counts)
    for path in dead.values():
        with suppress(FileNotFoundError):
            os.unlink(path)


def _add(files: StoreFiles, total: _Total, added: Mapping[str, list[str]], counts: Mapping[Key, int]) -> None:
    """Replace the total by one with further counts."""
    both = _counts_of(total)
    both.update(counts)
    latest = sorted((key for key, traces in both.items() if traces), key=lambda key: key[2])[-_MOST_COUNTS:]
    names = dict([*total.added.items(), *added.items()][-_MOST_ADDED:])
    os.makedirs(files.sampling_folder, mode=0o700, exist_ok=True)
    with written_beside(files.total, os.stat(files.sampling_folder)) as beside:
        beside.write(_to_json(_Total(names, [(*key, both[key]) for key in latest])))
        beside.flush()
        os.fsync(beside.fileno())
        os.replace(beside.name, files.total)


def _is_dead(path: str) -> bool:
    """Return whether nobody writes to a file any more; an empty one was perhaps only just made."""
    with suppress(OSError), held(open_regular(path)) as descriptor:
        return os.fstat(descriptor).st_size > 0 and take(descriptor) is True
    return False


def _lines_of(path: str) -> list[_Line]:
    """Return the whole lines of a file, none if it is gone; the last one of a process that was killed may be torn."""
    try:
        with open(open_regular(path), "rb") as file:
            text = file.read(_MOST_BYTES)
    except OSError:
        return []
    lines = []
    for line in text.splitlines():
        with suppress(ValueError):
            lines.append(decode_line(line))
    return lines


def _total_of(files: StoreFiles) -> _Total:
    try:
        with open(open_regular(files.total), "rb") as file:
            return decode_total(file.read(_MOST_BYTES))
    except (OSError, ValueError):
        return _Total()


def _counts_of(total: _Total) -> Counter[Key]:
    counts = Counter[Key]()
    for agent, status, hour_ns, traces in total.counts:
        counts[agent, status, hour_ns] += traces
    return counts


def _key(line: _Line | DroppedTraces) -> Key:
    return line.agent, line.status, line.hour_ns


def _line(trace_id: int, count: DroppedTraces) -> _Line:
    return _Line(f"{trace_id:032x}", *_key(count), count.traces)
