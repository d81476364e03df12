"""Read the runs of a session when they are asked for, in order and in bounded memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple, overload

from otel_agent_trace.errors import RunNotFoundError
from otel_agent_trace.model import AgentRun
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sessions.turn import SessionTurn
from otel_agent_trace.sources.search import OnProblem, search
from otel_agent_trace.span import SpanSource, capabilities_of

MOST_HELD = 256
"""Runs that are held in memory because earlier ones have not been read yet."""
_NS_PER_S = 1_000_000_000
_Key = tuple[str, str | None]


class SessionReader(NamedTuple):
    """Read the runs of one session.

    Args:
        source: the source that has them.
        name: its name for messages.
        session_id: the session.
        service: the service that takes part in their traces, if only such runs belong to it.
        on_problem: called with each `Problem` of reading.
    """

    source: SpanSource
    name: str
    session_id: str
    service: str | None
    on_problem: OnProblem

    def runs(self, **times: Any) -> Iterator[AgentRun]:
        """Yield the runs that fit `since` and `until`, in the order of the source."""
        query = RunQuery(session_id=self.session_id, service=self.service, **times)
        return search(self.source, query, self.on_problem, lambda found: found.run)


class SessionRuns(Sequence[AgentRun]):
    """Hold the places of runs, each of which is read from the source again when it is asked for.

    Iteration reads the source once where that has the runs in about the order of time, and at most once for each
    `MOST_HELD` runs where it has not, as `reversed` does. An item reads as much as a query for its time does: its own
    part of a store with an index, and of other files all. A slice is another such sequence.

    Args:
        reader: what reads them.
        turns: the facts of all runs of the session.
        places: which of them the sequence has.

    Raises:
        RunNotFoundError: on access, if the source does not have a run any more.
    """

    def __init__(self, reader: SessionReader, turns: Sequence[SessionTurn], places: range | None = None) -> None:
        self._reader, self._turns = reader, turns
        self._places = range(len(turns)) if places is None else places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> AgentRun: ...
    @overload
    def __getitem__(self, index: slice) -> SessionRuns: ...
    def __getitem__(self, index: int | slice) -> AgentRun | SessionRuns:
        if isinstance(index, slice):
            return SessionRuns(self._reader, self._turns, self._places[index])
        place = self._places[index]
        return next(self._read(range(place, place + 1)))

    def __iter__(self) -> Iterator[AgentRun]:
        return self._read(self._places)

    def __reversed__(self) -> Iterator[AgentRun]:
        return self._read(self._places[::-1])

    def __contains__(self, value: object) -> bool:
        return next(self._indices_of(value), None) is not None

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Return the first index of a run.

        Raises:
            ValueError: the sequence does not have it.
        """
        among = range(len(self))[start:stop]
        found = next((index for index in self._indices_of(value) if index in among), None)
        if found is None:
            raise ValueError("the run is not in the sequence")
        return found

    def count(self, value: Any) -> int:
        """Return how often the sequence has a run."""
        return sum(1 for _ in self._indices_of(value))

    def __repr__(self) -> str:
        return f"<{len(self)} runs of session {self._reader.session_id!r}>"

    def _indices_of(self, value: object) -> Iterator[int]:
        """Yield the indices of a run; only those with its id are read."""
        if isinstance(value, AgentRun):
            for index, place in enumerate(self._places):
                if self._turns[place].run_id == value.run_id and self[index] == value:
                    yield index

    def _read(self, places: range) -> Iterator[AgentRun]:
        """Yield the runs at some places, in their order."""
        is_along = (places.step > 0) is not capabilities_of(self._reader.source).newest_first
        while places:
            asked = places if is_along else places[:MOST_HELD]
            count = yield from self._pass(asked, self._times_of(asked))
            if not count:  # it may have begun earlier than was known before
                count = yield from self._pass(asked, {})
            if not count:
                session_id, run_id = self._reader.session_id, self._turns[places[0]].run_id
                msg = f"run {run_id!r} of session {session_id!r} is no longer in {self._reader.name}"
                raise RunNotFoundError(msg)
            places = places[count:]

    def _pass(self, places: range, times: dict[str, Any]) -> Generator[AgentRun, None, int]:
        """Read the source once, yield the first runs at some places, and return how many these are."""
        waiting = self._waiting(places)
        held: dict[int, AgentRun] = {}
        count = 0
        for run in self._reader.runs(**times):
            index = self._taken(waiting, places, run)
            if index is not None and index < count + MOST_HELD:
                held[index] = run
            while count in held:
                yield held.pop(count)
                count += 1
            if count == len(places):
                break
        return count

    def _waiting(self, places: range) -> dict[_Key, list[int]]:
        waiting: dict[_Key, list[int]] = {}
        for index, place in enumerate(places):
            turn = self._turns[place]
            waiting.setdefault((turn.run_id, turn.trace_id), []).append(index)
        return waiting

    def _taken(self, waiting: dict[_Key, list[int]], places: range, run: AgentRun) -> int | None:
        """Take from those that are waited for the index of a run; of several with its ids the one that began with it."""
        indices = waiting.get((run.run_id, run.trace_id))
        if not indices:
            return None
        same = (each for each in indices if self._turns[places[each]].started_at_ns == run.started_at_ns)
        index = next(same, indices[0])
        indices.remove(index)
        return index

    def _times_of(self, places: range) -> dict[str, Any]:
        """Return the times between which all runs at some places began, and those that they continue or are continued by."""
        ids = {self._turns[place].run_id for place in places}
        continued = {self._turns[place].continues for place in places}
        starts = [
            turn.started_at_ns
            for turn in self._turns
            if not ids.isdisjoint((turn.run_id, turn.continues)) or turn.run_id in continued
        ]
        return {"since": min(starts) // _NS_PER_S, "until": max(starts) // _NS_PER_S + 1}
