"""Define what held traces deliver to, and how a decision about a trace reaches sinks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from otel_agent_trace.sampling import DroppedTraces

Listener = tuple[str, Callable[[Any], Any]]
"""Name of a sink, and a method of it."""
Listeners = Mapping[str, tuple[Listener, ...]]
"""Methods of sinks by the name of the method."""


class Decided(NamedTuple):
    """Represent what was decided about a trace.

    Args:
        trace_id: the id of the trace.
        threshold: the threshold with which it is kept, `sampling.NEVER` if it is dropped; None if it is kept unsampled.
        is_noted: whether other processes cannot know by randomness that it is kept, or are to forget it.
        counted: what is counted of a dropped trace; None if nothing is.
        instead_of: as what it was counted before, when it was dropped before its end; None if it was not.
        is_elsewhere: whether another process decides about the trace, which had not done so.
    """

    trace_id: int
    threshold: int | None
    is_noted: bool = False
    counted: DroppedTraces | None = None
    instead_of: DroppedTraces | None = None
    is_elsewhere: bool = False


class Outlet(Protocol):
    """Deliver to sinks what the gate lets through."""

    @property
    def journals(self) -> Listeners:
        """Return the methods of sinks with a journal, by the name of the method."""

    def call(self, listeners: Iterable[Listener], thing: Any) -> None:
        """Call methods of sinks; this is `deliver_to_journals` for what happens once a span."""

    def deliver(self, what: str, thing: Any) -> None:
        """Call the method `what` of every sink that overrides it."""

    def deliver_to_others(self, what: str, thing: Any) -> None:
        """Call it for sinks without a journal only, as those with one received the event before."""

    def deliver_to_journals(self, what: str, thing: Any) -> None:
        """Call it for sinks with a journal only."""

    def deliver_to_keepers(self, what: str, thing: Any) -> None:
        """Call it for sinks only that keep what is held themselves."""

    def deliver_held(self, what: str, thing: Any) -> None:
        """Call it for sinks that do not keep what is held themselves."""

    def has_held(self, what: str) -> bool:
        """Return whether `deliver_held` has anything to call."""

    @property
    def calls_program(self) -> bool:
        """Return whether a sink calls code of the program, which may expect to be called in the program's threads."""

    @property
    def holds_in_memory(self) -> bool:
        """Return whether what is held takes memory: at least one sink has no journal on disk."""

    def decision_elsewhere(self, trace_id: int) -> bool | None:
        """Return what another process has decided about a trace; None where that is not known."""
