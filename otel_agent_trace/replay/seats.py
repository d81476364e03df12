"""Keep where runs and steps of a replay stand in its recording, and refuse those of a replay that is over."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.replay.divergences import class_here
from otel_agent_trace.replay.recordings import Place
from otel_agent_trace.tracing.contexts import RUN_KEY, STEP_KEY
from otel_agent_trace.tracing.interception import INSTALLED, Answer, Interceptor, Request


class Replaying:
    """Provide what a seat needs to know of its replay."""

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


class _Leftovers(Interceptor):
    """Refuse for ever what a replay that is over has left behind, as work that waits in a pool of threads."""

    def intercept(self, request: Request) -> Answer | None:
        """Refuse a call of a run or step of a replay that is over."""
        seat = seat_in(request.context)
        if seat is not None and seat.session.is_over and request.how != "logged":
            name = getattr(request.active, "name", None) or getattr(request.active, "agent_name", "")
            raise class_here()(f"{name} belongs to a replay that is over", name=str(name or ""))
        return None


_LEFTOVERS = _Leftovers()


def refuse_leftovers(session: Replaying) -> None:
    """Refuse, for as long as the process lives, what belongs to a replay that ends now."""
    session.is_over = True
    INSTALLED.add_last(_LEFTOVERS)
