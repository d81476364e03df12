"""Follow a local store in a thread: which runs have changed, and which have started since the server began."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

from otel_agent_trace.errors import SourceError
from otel_agent_trace.model import AgentRun
from otel_agent_trace.sources.run_events import Event
from otel_agent_trace.sources.tail import Tail
from otel_agent_trace.span import LogRecord

_INTERVAL_S = 0.25
_MOST_KNOWN = 20_000
_log = logging.getLogger("otel_agent_trace")


class Changes:
    """Count the changes of each outermost run, and hold the ids of those that have started, the newest ones.

    `started` counts the runs that have started, `number` all changes.
    """

    def __init__(self) -> None:
        self.started = 0
        self.number = 0
        self._arrivals: OrderedDict[str, int] = OrderedDict()
        self._revisions: OrderedDict[str, int] = OrderedDict()
        self._outermost: OrderedDict[str, str] = OrderedDict()
        """Id of a run, or of a trace → that of the outermost run."""
        self._server = secrets.token_hex(4)
        self._lock = threading.Lock()

    @property
    def version(self) -> str:
        """Return what differs after each change; no other server returns the same."""
        return f"{self._server}-{self.number}"

    def know(self, run: AgentRun) -> None:
        """Note what an outermost run that was read consists of: its sub-agents' runs, and its traces."""
        with self._lock:
            names = [*run.trace_ids, *(part.run_id for part in run.walk())]
            self._outermost.update(dict.fromkeys(names, run.run_id))
            self._trim()

    def note(self, events: Iterable[Event], logs: Iterable[LogRecord] = ()) -> dict[str, str | None]:
        """Note what has happened, and return the outermost runs that changed: id → status, None if it did not change.

        Args:
            events: what has started or ended.
            logs: log records, of which those count that are about a run which is known, or that name one.
        """
        changed: dict[str, str | None] = {}
        with self._lock:
            for event in events:
                run_id = self._outermost_of(event)
                is_of_run = run_id == event.run_id and event.event.startswith("run_")
                changed[run_id] = event.status if is_of_run else changed.get(run_id)
                if is_of_run and event.event == "run_started" and run_id not in self._arrivals:
                    self.started += 1
                    self._arrivals[run_id] = self.started
            for about in map(self._subject_of, logs):
                if about is not None:
                    changed.setdefault(about, None)
            for run_id in changed:
                self._revisions[run_id] = self._revisions.get(run_id, 0) + 1
                self._revisions.move_to_end(run_id)
            self.number += len(changed)
            self._trim()
        return changed

    def touch(self, run_id: str) -> None:
        """Note that a run has changed."""
        with self._lock:
            self._revisions[run_id] = self._revisions.get(run_id, 0) + 1
            self.number += 1
            self._trim()

    def revision(self, run_id: str) -> str:
        """Return what changes when a run does, or the one that it is a part of; no other server returns the same."""
        with self._lock:
            return f"{self._server}-{self._revisions.get(self._outermost.get(run_id, run_id), 0)}"

    def arrived_after(self, started: int) -> list[str]:
        """Return the runs that have started after so many others, as far as they are held."""
        with self._lock:
            return [run_id for run_id, number in self._arrivals.items() if number > started]

    def _trim(self) -> None:
        for known in (self._arrivals, self._revisions, self._outermost):
            while len(known) > _MOST_KNOWN:
                known.popitem(last=False)

    def _subject_of(self, log: LogRecord) -> str | None:
        """Return the outermost run that a log record is about, as far as that is known."""
        return self._outermost.get(log.run_id or "") or self._outermost.get(log.trace_id) or log.run_id

    def _outermost_of(self, event: Event) -> str:
        parent = event.parent_run_id
        outermost = self._outermost.get(event.run_id) or self._outermost.get(parent or "", parent) or event.run_id
        if event.depth == 0 and event.event == "run_started":
            outermost = event.run_id
        self._outermost[event.run_id] = outermost
        return outermost


class Follower:
    """Follow a store in a thread, from its end on.

    Args:
        path: the path of the store; it need not exist yet.
        changes: where the changes are noted.
        on_change: called in that thread with the runs that changed, as `Changes.note` returns them.
    """

    def __init__(self, path: str, changes: Changes, on_change: Callable[[dict[str, str | None]], None]) -> None:
        self._changes = changes
        self._logs: list[LogRecord] = []
        self._tail = Tail(path, only_new=True, on_log=self._logs.append)
        self._on_change = on_change
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="otel-agent-trace-follow", daemon=True)

    def start(self) -> None:
        """Begin at what the store has now, and follow it from here on."""
        self._look()
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._tail.close()

    def _follow(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            changed = self._look()
            if changed:
                self._on_change(changed)

    def _look(self) -> dict[str, str | None]:
        try:
            events = [*self._tail.look()]  # which fills the logs
            changed = self._changes.note(events, self._logs)
            self._logs.clear()
            return changed
        except (OSError, SourceError) as error:  # looked at again
            _log.debug("not followed: %s", error)
            return {}
