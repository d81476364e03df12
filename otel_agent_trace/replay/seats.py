"""Keep where runs and steps of a replay stand in its recording, and refuse those of a replay that is over."""

from __future__ import annotations

import threading
import weakref
from typing import Any

from otel_agent_trace.replay.divergences import ReplayDivergenceError
from otel_agent_trace.replay.recordings import Place, Recording
from otel_agent_trace.tracing.contexts import RUN_KEY, STEP_KEY, replay_place_in
from otel_agent_trace.tracing.interception import Answer, Interceptor, Request
from otel_agent_trace.tracing.memberships import MEMBERSHIP


class Replaying:
    """Provide what a seat needs to know of its replay."""

    id = ""
    """Id of the replay, which no other has."""
    is_over = False
    """True after the end of the replay: what is called by its runs from then on is refused."""


class Seat:
    """Hold where a run or step stands in a recording; it stays with it when the replay is over."""

    __slots__ = ("place", "session")

    def __init__(self, session: Replaying, place: Place) -> None:
        self.session, self.place = session, place


def seat_in(context: Any) -> Seat | None:
    """Return where the nearest run or step in a context stands in a recording; None if it belongs to no replay."""
    for key in (STEP_KEY, RUN_KEY):
        seat = getattr(context.get(key), "seat", None)
        if isinstance(seat, Seat):
            return seat
    return None


_NOWHERE, _OUTSIDE = "nowhere", "outside"


def carried_of(seat: Seat) -> str:
    """Return what a carrier brings to another process of where a run or step stands."""
    of = seat.place.of
    return f"{seat.session.id}:{_NOWHERE if of is None else of.number}"


def carried_outside(session: Replaying) -> str:
    """Return what a carrier brings to another process from where there is no run."""
    return f"{session.id}:{_OUTSIDE}"


def carried_seat(carried: str, session: Replaying, recording: Recording, nowhere: Place) -> Seat | None:
    """Return where a run or step of another process stands, by what a carrier has brought.

    Args:
        carried: what the carrier has brought.
        session: the replay of this process.
        recording: its recording.
        nowhere: the place of code that was not recorded.

    Returns:
        a seat, one of no session for that of another replay; None for one outside of all runs.
    """
    replay_id, _, where = carried.partition(":")
    if replay_id != session.id:
        return Seat(Replaying(), nowhere)
    if where == _OUTSIDE:
        return None
    number = int(where) if where.isascii() and where.isdecimal() else len(recording.calls)
    return Seat(session, recording.calls[number].inside if number < len(recording.calls) else nowhere)


_IN_PROGRESS: set[str] = set()
"""Ids of the replays in which this process takes part."""
_THREADS_BEFORE: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
"""Threads that were there when the latest replay began."""
_THREADS_LEFT: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
"""Threads that a replay has started, and that outlive it: timers, workers of pools."""


class Leftovers(Interceptor):
    """Refuse for ever what a replay that is over has left behind, as work that waits in a pool of threads or processes."""

    def intercept(self, request: Request) -> Answer | None:
        """Refuse a call of a run or step of a replay that is over, or that is not one of this process."""
        if request.how != "logged" and _is_left_over(request.context):
            raise left_over(request)
        return None

    def carried(self, context: Any) -> str | None:
        """Return what a carrier brings to another process of a run or step of a replay that is over."""
        seat = seat_in(context)
        return carried_of(seat) if seat is not None and seat.session.is_over else None


LEFTOVERS = Leftovers()


def _is_left_over(context: Any) -> bool:
    seat = seat_in(context)
    if seat is not None:
        return seat.session.is_over
    carried = replay_place_in(context)
    if carried is not None:
        return carried.partition(":")[0] not in _IN_PROGRESS
    return context.get(RUN_KEY) is None and not _IN_PROGRESS and threading.current_thread() in _THREADS_LEFT


def left_over(request: Request) -> ReplayDivergenceError:
    """Return the exception that refuses a call of a replay that is over; servers and pools can handle it."""
    name = str(getattr(request.active, "name", None) or getattr(request.active, "agent_name", None) or "")
    return ReplayDivergenceError(f"{name} belongs to a replay that is over", name=name)


def note_beginning(session: Replaying) -> None:
    """Note that this process takes part in a replay."""
    _IN_PROGRESS.add(session.id)
    _THREADS_BEFORE.clear()
    _THREADS_BEFORE.update(threading.enumerate())


def refuse_leftovers(session: Replaying) -> None:
    """Refuse, for as long as the process lives, what belongs to a replay that ends now."""
    session.is_over = True
    _IN_PROGRESS.discard(session.id)
    _THREADS_LEFT.update(set(threading.enumerate()).difference(_THREADS_BEFORE))
    MEMBERSHIP.leftovers = LEFTOVERS
    MEMBERSHIP.install()
