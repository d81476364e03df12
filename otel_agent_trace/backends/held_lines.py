"""Move the lines of traces from the journal of a store to its live file when they are kept, and count those that are dropped."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable

from otel_agent_trace.forks import renewed_in_children
from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.pipeline import Decided
from otel_agent_trace.sampling import NEVER
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.store.decisions import Decisions
from otel_agent_trace.store.dropped_counts import DroppedFile
from otel_agent_trace.store.journal import Journal
from otel_agent_trace.store.journal_lines import LOGS, as_kept, in_parts
from otel_agent_trace.store.names import StoreFiles

_MOST_BYTES = 64 << 20
_LOST = "failed: held without a journal"
LOGS_KEPT = "logs kept"
"""Name of a count in `FileBackend.stats`."""
FULL_DISK = frozenset((errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)))
"""Numbers of the errors that pass when there is room again."""


class HeldLines:
    """Hold lines of undecided traces in the journal of a store, and in memory what that does not take.

    Args:
        files: the names of the store.
        journal: the journal.
        append: appends lines with a number of spans to the live file, and returns whether that succeeded.
        compact: called when the store is to be compacted.
        diagnostics: counts what is lost.
    """

    def __init__(
        self,
        files: StoreFiles,
        journal: Journal,
        append: Callable[[bytes, int, bool], bool],
        compact: Callable[[], object],
        diagnostics: Diagnostics,
    ) -> None:
        self._journal, self._append, self._diagnostics = journal, append, diagnostics
        self._decisions, self._dropped = Decisions(files), DroppedFile(files, compact)
        self._folder = files.sampling_folder
        self._numbers = itertools.count(1)
        self._has_dropped = False
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Forget what is held in memory, in a forked child: its parent has it."""
        self._in_memory: dict[int, list[bytes]] = {}
        self._bytes = 0

    def next_number(self) -> int:
        """Return a number of a line in the journal that is not of a span."""
        return -next(self._numbers)

    def add(self, trace_id: int, line: bytes) -> None:
        """Hold a line in memory."""
        if self._bytes + len(line) > _MOST_BYTES:
            self._diagnostics.count(_LOST)
            return
        self._bytes += len(line)
        self._in_memory.setdefault(trace_id, []).append(line)

    def decide(self, decided: Decided, *, sync: bool) -> None:
        """Follow the decision about a trace.

        A kill at any moment of it loses nothing, and counts nothing twice: what stands in the journal as well as in the live
        file, or among the counts, is known by its ids.

        Raises:
            OSError: the journal cannot be read or changed, or the disk is full.
        """
        trace_id, threshold = decided.trace_id, decided.threshold
        in_memory = self._in_memory.pop(trace_id, [])
        self._bytes -= sum(map(len, in_memory))
        if threshold == NEVER and not self._has_dropped:
            self._has_dropped = self._append(b"", 0, False)  # a store without any run is one, too
        try:
            self._note(decided)
        except OSError as error:
            if is_of_signal_handler(error) or error.errno in FULL_DISK:  # a TimeoutError, which is an OSError
                raise
            # The decision is followed nevertheless: the journal is not to grow without end for a note of it.
            message = "could not write to %s: %s; counts of dropped traces are too low"
            self._diagnostics.count_error("decision not noted", error, message, self._folder)
        if threshold == NEVER:
            self._journal.drop_trace(trace_id)
            return
        lines = [*self._journal.held_lines(trace_id), *in_memory]
        self._append_all(lines if threshold is None else [as_kept(line, threshold) for line in lines], sync)
        self._journal.drop_trace(trace_id, held_only=True)

    def _note(self, decided: Decided) -> None:
        """Note a decision for other processes, and count the trace if it is dropped.

        Raises:
            OSError: that cannot be written.
        """
        trace_id, is_kept = decided.trace_id, decided.threshold != NEVER
        if not is_kept:
            self._count(decided)
        if decided.is_noted:
            self._decisions.note(trace_id, is_kept=is_kept)
            if is_kept:
                self._dropped.add(trace_id, None, instead_of=self._decisions.count_of(trace_id))

    def _count(self, decided: Decided) -> None:
        """Count a dropped trace once, whichever processes count it."""
        trace_id, counted = decided.trace_id, decided.counted
        if counted is None:
            return
        if decided.is_elsewhere:
            if self._decisions.count_of(trace_id) is None:
                self._dropped.add(trace_id, counted)
                self._decisions.note_count(trace_id, counted)
            return
        before = self._decisions.count_of(trace_id) if decided.is_noted else None
        self._dropped.add(trace_id, counted, instead_of=decided.instead_of or before)

    def _append_all(self, lines: list[bytes], sync: bool) -> None:
        for part in in_parts(lines):
            logs = sum(line.startswith(LOGS) for line in part)
            if self._append(b"".join(part), len(part) - logs, sync) and logs:
                self._diagnostics.count(LOGS_KEPT, logs)

    def decision_elsewhere(self, trace_id: int) -> bool | None:
        """Return what another process has decided about a trace; None where that is not known."""
        return self._decisions.of(trace_id)

    def close(self) -> None:
        """Close the files of counts and decisions."""
        self._dropped.close()
        self._decisions.close()
