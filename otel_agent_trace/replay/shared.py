"""Share a replay among processes: what happens in them, and where their calls stand in the recording."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.model import AgentRun
from otel_agent_trace.pipeline import Policy
from otel_agent_trace.replay.divergences import ReplayDivergence
from otel_agent_trace.replay.notes import NotedList
from otel_agent_trace.replay.recordings import Place, Recording
from otel_agent_trace.replay.seats import Replaying, Seat, carried_of, carried_outside, carried_seat, seat_in
from otel_agent_trace.replay.spans import ReplaySpans
from otel_agent_trace.tracing.contexts import RUN_KEY, STEP_KEY, replay_place_in
from otel_agent_trace.tracing.diversion import Diversion

if TYPE_CHECKING:
    from otel_agent_trace.replay.folders import ReplayFolder


class SharedReplay(Replaying, Diversion):
    """Hold what came of a replay: in the process that has begun it, also what happened in others.

    Args:
        recording: the recorded runs.
        folder: the folder of the replay, None for one of this process only.
        backends: where spans of this process go in addition to memory.
        policies: policies for spans.
    """

    def __init__(
        self, recording: Recording, folder: ReplayFolder | None, backends: Iterable[Any], policies: Iterable[Policy]
    ) -> None:
        self.folder = folder
        self.id = uuid.uuid4().hex if folder is None else folder.id
        self._recording = recording
        self._nowhere = Place(None, is_lossless=True)
        """Place of code that was not recorded."""
        self._memory = ReplaySpans(folder)
        super().__init__([self._memory, *backends], policies)
        self._lock = ForkSafeLock()
        self._divergences: NotedList[ReplayDivergence] = NotedList(lambda one: self._pass_on("divergence", one.facts()))
        self._answered: NotedList[str] = NotedList(partial(self._pass_on, "answered"))
        self._live: NotedList[str] = NotedList(partial(self._pass_on, "live"))

    @property
    def run(self) -> AgentRun | None:
        """Return the new run, or the first of several; None before it starts."""
        return next(iter(self.runs), None)

    @property
    def runs(self) -> list[AgentRun]:
        """Return the new outermost runs."""
        return self._memory.runs()

    @property
    def divergences(self) -> list[ReplayDivergence]:
        """Return where the program differs from the recording, in order."""
        self._receive()
        return self._divergences

    @property
    def answered(self) -> list[str]:
        """Return the names of the tools and models whose calls were answered, in order."""
        self._receive()
        return self._answered

    @property
    def live(self) -> list[str]:
        """Return the names of the tools and models whose calls were made, in order."""
        self._receive()
        return self._live

    # ── other processes ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_of_another_process(self) -> bool:
        """Return whether another process has begun the replay, and ends it."""
        return self.folder is not None and not self.folder.is_owner

    def _pass_on(self, subject: str, content: Any) -> None:
        """Note what happens here for the process that has begun the replay."""
        if self.folder is not None and not self.folder.is_owner:
            self.folder.notes.add(subject, content)

    def _receive(self) -> None:
        """Take over what other processes have noted so far."""
        if self.folder is not None and self.folder.is_owner and self.folder.notes.exist():
            with self._lock:
                self._divergences.receive(self.folder.divergences())
                self._answered.receive(self.folder.answered())
                self._live.receive(self.folder.live())

    def close(self) -> None:
        """Take over what happened in other processes, and remove the folder."""
        if self.folder is not None:
            self._receive()
            self._memory.receive()
            self.folder.close()

    # ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def carried(self, context: Any) -> str | None:
        """Return where a context stands in the recording, for a carrier."""
        seat = seat_in(context)
        return replay_place_in(context) or carried_outside(self) if seat is None else carried_of(seat)

    def seat_in(self, context: Any) -> Seat | None:
        """Return where the nearest run or step stands, also one of another process; None outside of all runs."""
        seat = seat_in(context)
        carried = replay_place_in(context) if seat is None else None
        if carried is not None:
            return carried_seat(carried, self, self._recording, self._nowhere)
        return self._seat_of_recorded(context) if seat is None and self.is_of_another_process else seat

    def _seat_of_recorded(self, context: Any) -> Seat | None:
        """Return the place of the recorded run itself, in whose course a worker was forked that is still at work."""
        run_id = None if context.get(STEP_KEY) is not None else getattr(context.get(RUN_KEY), "run_id", None)
        calls = (call for call in self._recording.outside.calls if getattr(call.record, "run_id", "") == run_id)
        return next((Seat(self, call.inside) for call in calls), None)
