"""Deliver or drop the traces about which it was decided, and remember the decisions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.pipeline.deciders import AS_IT_IS
from otel_agent_trace.pipeline.early_drops import EarlyDrop, EarlyDrops
from otel_agent_trace.pipeline.held_bytes import HeldBytes
from otel_agent_trace.pipeline.held_trace import Entry, HeldTrace, has_no_parent_here
from otel_agent_trace.pipeline.outlet import Decided, Outlet
from otel_agent_trace.pipeline.sampled import with_sampling
from otel_agent_trace.pipeline.spans import PipelineSpan
from otel_agent_trace.sampling import NEVER

_KEPT_DECISIONS = 65_536
_COUNTED = ("on_end", "on_log")
DROPPED_EARLY = NEVER + 1
"""Decision that is remembered of a trace that was dropped as there was no room."""


class DecidedTraces:
    """Follow the decisions about traces that were held, and remember them for later spans.

    No lock is held while a sink is called: while a thread delivers a trace, what ends in others is queued, and
    delivered in order by that thread; and a decision is followed when no thread is passing on a span of the trace to be
    held.

    Args:
        decider: see `deciders`.
        outlet: delivers to sinks.
        max_bytes: the memory that held traces may take.
        diagnostics: counts what is dropped.
    """

    def __init__(self, decider: Any, outlet: Outlet, max_bytes: int, diagnostics: Diagnostics) -> None:
        self._decider, self._outlet, self._max_bytes, self._diagnostics = decider, outlet, max_bytes, diagnostics
        self._has_other_drops = outlet.has_held("on_drop")
        self._holds_in_memory = outlet.holds_in_memory
        self._decisions: OrderedDict[int, int] = OrderedDict()
        self._lock = ForkSafeLock()
        self._held: dict[int, HeldTrace] = {}
        self.renew()

    def renew(self) -> None:
        """Drop everything that is held, in a forked child."""
        self._held = {}
        self._early = EarlyDrops(self._max_bytes)
        self._room = HeldBytes(self._max_bytes, self._diagnostics)

    def _remember(self, trace_id: int, decision: int) -> None:
        self._decisions[trace_id] = decision
        if len(self._decisions) > _KEPT_DECISIONS:
            self._decisions.popitem(last=False)

    def _follow(self, trace_id: int, held: HeldTrace) -> None:
        """Follow the decision about a trace once, when nothing of it is being passed on to be held."""
        with self._lock:
            if held.decision is None or held.writing or held.is_followed:
                return
            held.is_followed = True
            if held.decision == NEVER:
                self._held.pop(trace_id, None)
        if held.decision == NEVER:
            self._drop(trace_id, held)
            return
        try:
            decided = self._decider.outcome(trace_id, held.known, held.decision)
            self._outlet.deliver_to_keepers("on_decided", decided)
        finally:  # also after an exception of a signal handler
            self._let_go(trace_id, held)

    def _drop(self, trace_id: int, held: HeldTrace) -> None:
        """Drop what is held of a trace."""
        reason = self._decider.dropped_early if held.is_early else self._decider.dropped
        self._diagnostics.count(reason, held.number)
        decided = self._decider.outcome(trace_id, held.known, NEVER)
        if held.is_early and decided.counted is not None and not (held.has_root_ended or decided.is_elsewhere):
            with self._lock:
                self._early.add(
                    trace_id, EarlyDrop(held.known, held.root_id if held.has_starts else None, decided.counted)
                )
        self._outlet.deliver_to_keepers("on_decided", decided)
        for _, what, thing in held.entries:  # after the count, which a journal without the root span does not yield
            if what == "on_end":
                self._outlet.deliver_to_keepers("on_discard", thing)
        if self._has_other_drops:
            self._outlet.deliver_held("on_drop", f"{trace_id:032x}")

    def _drop_late(self, trace_id: int, what: str, thing: Any) -> None:
        """Drop a span that has ended, or a log record, of a trace that was dropped."""
        is_early = self._decisions.get(trace_id) == DROPPED_EARLY
        self._diagnostics.count(self._decider.dropped_early if is_early else self._decider.dropped)
        if what == "on_end":
            self._outlet.deliver_to_keepers("on_discard", thing)
            early = self._early.get(trace_id)
            if early is not None:
                guarded(self._diagnostics, "gate", self._note_late, trace_id, early, thing)

    def _note_late(self, trace_id: int, early: EarlyDrop, span: PipelineSpan) -> None:
        """Note a span of a trace that was dropped early, and count the trace anew when its root span has ended."""
        is_root = has_no_parent_here(span) if early.root_id is None else span.context.span_id == early.root_id
        self._decider.note(early.known, span, is_root)
        if is_root:
            with self._lock:
                self._early.pop(trace_id)
            counted = self._decider.outcome(trace_id, early.known, NEVER).counted
            decided = Decided(trace_id, NEVER, counted=counted, instead_of=early.counted)
            self._outlet.deliver_to_keepers("on_decided", decided)

    def _deliver_or_add(
        self, trace_id: int, deliver: Callable[[str, Any], None], what: str, thing: Any, size: int = 0
    ) -> None:
        """Deliver an event of a delivered trace; queue it if that is held or being delivered; else drop it."""
        with self._lock:
            held = self._held.get(trace_id)
            if held is not None:
                held.entries.append((deliver, what, thing))
                self._room.add(held, size)
        if held is not None:
            if held.is_followed:
                self._let_go(trace_id, held)
            return
        decision = self._decisions.get(trace_id, AS_IT_IS)
        if decision < NEVER:
            deliver(what, _as_kept(what, thing, decision))
        elif what in _COUNTED:
            self._drop_late(trace_id, what, thing)

    def _let_go(self, trace_id: int, held: HeldTrace) -> None:
        """Deliver what is held of a trace, unless another thread does, or the trace was dropped."""
        with self._lock:
            if held.is_being_delivered or not held.is_followed or held.decision == NEVER:
                return
            held.is_being_delivered = True
        interrupts: list[BaseException] = []  # a name for one would keep it and this frame until garbage collection
        try:
            while (entry := self._next_entry(trace_id, held)) is not None:
                deliver, what, thing = entry
                try:
                    deliver(what, _as_kept(what, thing, held.decision))
                except BaseException as error:  # noqa: BLE001 - a signal handler's: the outlet has guarded the sinks
                    interrupts[:] = [error]
        finally:
            held.is_being_delivered = False
        if interrupts:
            raise interrupts.pop()

    def _next_entry(self, trace_id: int, held: HeldTrace) -> Entry | None:
        """Return the next queued event; if there is none, remove the trace: later events are delivered at once."""
        with self._lock:
            if held.entries:
                return held.entries.popleft()
            self._held.pop(trace_id, None)
            return None


def _as_kept(what: str, thing: Any, decision: int | None) -> Any:
    """Return an event as it is delivered: an ended span with the threshold of its trace, if that has one."""
    return with_sampling(thing, decision) if what == "on_end" and decision is not None and decision >= 0 else thing
