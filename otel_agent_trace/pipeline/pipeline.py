"""Pass started and ended spans and logs through the policies, then the gate, to every sink."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from otel_agent_trace.closer import is_shared
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import Diagnostics, failed, guarded
from otel_agent_trace.pipeline.held_traces import HeldTraces
from otel_agent_trace.pipeline.outlet import Listener, Listeners
from otel_agent_trace.pipeline.sinks import SpanSink
from otel_agent_trace.pipeline.spans import PipelineSpan, Policies, Policy, StartedSpan
from otel_agent_trace.pipeline.suppression import is_in_a_sink, suppress_instrumentation
from otel_agent_trace.policies.gate import Gate
from otel_agent_trace.policies.tail_sampling import TailSampling
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.span import LogRecord

DROPPED_BY_A_POLICY = "dropped: by a policy"
_METHODS = ("on_start", "on_end", "on_discard", "on_log", "on_hold", "on_hold_log", "on_decided", "on_drop")


def checked_policies(policies: Iterable[Policy | Gate]) -> tuple[Policy | Gate, ...]:
    """Return policies as a tuple.

    Raises:
        ConfigurationError: one is not a policy, or a `Gate` is not the last.
    """
    if isinstance(policies, Gate) or callable(policies):
        msg = f"policies={policies!r} is one policy; write policies=[...]"
        raise ConfigurationError(msg)
    if not isinstance(policies, Iterable):
        msg = f"policies={policies!r} must be a list of policies"
        raise ConfigurationError(msg)
    given = tuple(policies)
    if any(isinstance(policy, Gate) for policy in given[:-1]):
        msg = "policies: a Gate must be the last policy, and the only Gate"
        raise ConfigurationError(msg)
    Policies((policy for policy in given if not isinstance(policy, Gate)), Diagnostics())
    return given


def policies_without_gate(policies: Iterable[Policy | Gate]) -> tuple[Policy | Gate, ...]:
    """Return policies as a tuple, for a place where no gate is possible.

    Raises:
        ConfigurationError: one is not a policy, or is a `Gate`.
    """
    given = checked_policies(policies)
    if any(isinstance(policy, Gate) for policy in given):
        msg = "policies: a Gate needs backends: use AgentTracer(backend=...), configure or AgentSpanProcessor"
        raise ConfigurationError(msg)
    return given


class Pipeline:
    """Pass spans and logs through policies in their order, of which the last may be a `Gate`, to sinks.

    An exception that a policy or a sink raises is counted and logged once, and does not keep the span from other sinks.
    An exception of a signal handler of the program is raised after all sinks have been called.

    Args:
        policies: see `Policy`.
        sinks: the sinks.
        diagnostics: counts what was dropped and what failed; by default its own.

    Raises:
        ConfigurationError: one is not a policy, or a gate is not the last.
    """

    def __init__(
        self,
        policies: Iterable[Policy | Gate] = (),
        sinks: Iterable[SpanSink] = (),
        diagnostics: Diagnostics | None = None,
    ) -> None:
        given = checked_policies(policies)
        self.sinks = tuple(sinks)
        self._diagnostics = diagnostics or Diagnostics()
        self._all = _listeners(self.sinks)
        self.journals = _listeners(sink for sink in self.sinks if sink.journals)
        self._others = _listeners(sink for sink in self.sinks if not sink.journals)
        self._keepers = _listeners(sink for sink in self.sinks if sink.keeps_held)
        self._without_keepers = _listeners(sink for sink in self.sinks if not sink.keeps_held)
        gate = given[-1] if given and isinstance(given[-1], Gate) else None
        self._policies = Policies((policy for policy in given if not isinstance(policy, Gate)), self._diagnostics)
        self._held = None if gate is None else self._holding(gate)
        if isinstance(gate, TailSampling):
            for sink in self.sinks:
                guarded(self._diagnostics, name_of(sink), sink.sample_by, gate)
        self._starts, self._ends = self._all["on_start"], self._all["on_end"]
        self.needs_starts = bool(self._starts) or self._held is not None
        """True if `on_start` has to be called."""

    def _holding(self, gate: Gate) -> HeldTraces:
        """Return what holds traces until a gate has decided."""
        return HeldTraces(gate, self, self._diagnostics)

    # ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def on_start(self, span: ReadableSpan) -> None:
        """Pass on a span that has started and has ids."""
        if not self._starts:  # no sink reads it, so that policies need not be applied
            if self._held is not None:
                self._held.on_start(span, None)
            return
        interrupts: list[BaseException] = []  # a name for one would keep it and this frame until garbage collection
        try:
            started = self._policies.admit(span, StartedSpan)
        except BaseException as error:  # noqa: BLE001 - a signal handler's
            interrupts[:], started = [error], self._policies.admit(span, StartedSpan)
        listeners = self._starts if self._held is None else self._held.on_start(span, started)
        if started is not None:
            for name, listen in listeners:
                try:
                    listen(started)
                except BaseException as error:  # noqa: BLE001 - guarded() written out: this runs once a span and a sink
                    self._failed(name, error, interrupts)
        if started is not None:
            started.is_announced = True
        if interrupts:
            raise interrupts.pop()

    def on_end(self, span: ReadableSpan) -> None:
        """Pass on a span that has ended and has ids."""
        interrupts: list[BaseException] = []
        try:
            admitted = self._policies.admit(span, PipelineSpan)
        except BaseException as error:  # noqa: BLE001 - a signal handler's
            interrupts[:], admitted = [error], self._policies.admit(span, PipelineSpan)
        if admitted is None:
            self._diagnostics.count(DROPPED_BY_A_POLICY)
            self._discard(PipelineSpan(self._policies, span, None, None))
        elif self._held is not None:
            self._held.on_end(admitted, is_discarded=False)
        else:
            for name, listen in self._ends:
                try:
                    listen(admitted)
                except BaseException as error:  # noqa: BLE001 - likewise
                    self._failed(name, error, interrupts)
        if interrupts:
            raise interrupts.pop()

    def on_batch(self, spans: Sequence[ReadableSpan]) -> bool:
        """Pass on ended spans without their starts; return whether all sinks accepted them."""
        if self._held is not None:
            for span in spans:
                if span.context is None:
                    self._diagnostics.count("dropped: span without ids")
                else:
                    self.on_end(span)
            return True
        admitted = [seen for span in spans if (seen := self._policies.admit(span, PipelineSpan)) is not None]
        if len(admitted) < len(spans):
            self._diagnostics.count(DROPPED_BY_A_POLICY, len(spans) - len(admitted))
        taken = [guarded(self._diagnostics, name_of(sink), sink.on_batch, admitted) for sink in self.sinks if admitted]
        return all(taken)

    def on_log(self, log: LogRecord) -> None:
        """Pass on a log record."""
        admitted = self._policies.of_record(log)
        if admitted is None:
            self._diagnostics.count(DROPPED_BY_A_POLICY)
        elif self._held is not None:
            self._held.on_log(admitted)
        else:
            self.deliver("on_log", admitted)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Decide what the gate holds and flush every sink; return whether all succeeded within `timeout_s` seconds.

        Sampling decides about traces whose root span has ended only.
        """
        deadline = time.monotonic() + timeout_s
        if self._held is not None:
            self._held.flush()
        flushed = [
            guarded(self._diagnostics, f"{name_of(sink)}.flush", sink.flush, max(0.0, deadline - time.monotonic()))
            for sink in self.sinks
        ]
        return all(flushed)

    def close(self) -> None:
        """Decide what the gate holds, and close every sink."""
        if self._held is not None:
            self._held.close()
        for sink in self.sinks:
            guarded(self._diagnostics, f"{name_of(sink)}.close", sink.close)

    @property
    def needs_release(self) -> bool:
        """Return whether `release` has something to do."""
        return self._held is not None or not all(sink.releases_itself for sink in self.sinks)

    def release(self, note_sink: Callable[[SpanSink, Mapping[str, int]], None] | None = None) -> None:
        """Decide what the gate holds, flush every sink, and release those to which nothing else refers.

        It is for a pipeline that nobody uses any more, and may take as long as `close`. `note_sink` is called with each
        sink and its last counts.
        """
        if self._held is not None:
            self._held.close()
        self.flush()
        sinks = list(self.sinks)
        self.sinks, self._starts, self._ends = (), (), ()
        self._all = self.journals = self._others = self._keepers = self._without_keepers = _listeners(())
        while sinks:
            sink = sinks.pop()
            if not is_shared(sink, 1):
                guarded(self._diagnostics, f"{name_of(sink)}.release", sink.release)
            if note_sink is not None:
                note_sink(sink, self.counts_of(sink))

    def stats(self) -> dict[str, int]:
        """Return the number of spans dropped and failed, by reason, and the `stats` of each sink after its name."""
        counts = Counter(self._diagnostics.counts())
        for sink in self.sinks:
            counts.update({f"{name_of(sink)}: {reason}": number for reason, number in self.counts_of(sink).items()})
        return dict(counts)

    @property
    def diagnostics(self) -> Diagnostics:
        """Return what counts the spans dropped and failed here."""
        return self._diagnostics

    def counts_of(self, sink: SpanSink) -> Mapping[str, int]:
        """Return the `stats` of a sink; nothing if they raise."""
        return guarded(self._diagnostics, f"{name_of(sink)}.stats", sink.stats) or {}

    # ── delivering ───────────────────────────────────────────────────────────────────────────────────────────────────

    def deliver(self, what: str, thing: Any) -> None:
        """Call the method `what` of every sink that overrides it."""
        self.call(self._all[what], thing)

    def deliver_to_others(self, what: str, thing: Any) -> None:
        """Call it for sinks without a journal only."""
        self.call(self._others[what], thing)

    def deliver_to_journals(self, what: str, thing: Any) -> None:
        """Call it for sinks with a journal only."""
        self.call(self.journals[what], thing)

    def deliver_to_keepers(self, what: str, thing: Any) -> None:
        """Call it for sinks only that keep what is held themselves."""
        self.call(self._keepers[what], thing)

    def deliver_held(self, what: str, thing: Any) -> None:
        """Call it for sinks that do not keep what is held themselves."""
        self.call(self._without_keepers[what], thing)

    def has_held(self, what: str) -> bool:
        """Return whether `deliver_held` has anything to call."""
        return bool(self._without_keepers[what])

    @property
    def calls_program(self) -> bool:
        """Return whether a sink calls code of the program, which may expect to be called in the program's threads."""
        return any(sink.calls_program for sink in self.sinks)

    @property
    def holds_in_memory(self) -> bool:
        """Return whether what is held takes memory: at least one sink has no journal on disk."""
        return bool(self._without_keepers["on_end"]) or any(
            sink.holds_in_memory for sink in self.sinks if sink.keeps_held
        )

    def decision_elsewhere(self, trace_id: int) -> bool | None:
        """Return what another process has decided about a trace; None where that is not known."""
        found = (
            guarded(self._diagnostics, name_of(sink), sink.decision_elsewhere, trace_id)
            for sink in self.sinks
            if sink.keeps_held
        )
        return next((decision for decision in found if decision is not None), None)

    def _discard(self, span: PipelineSpan) -> None:
        if self._held is not None:
            self._held.on_end(span, is_discarded=True)
        else:
            self.deliver("on_discard", span)

    def call(self, listeners: Iterable[Listener], thing: Any) -> None:
        """Call methods of sinks."""
        interrupts: list[BaseException] = []
        for name, listen in listeners:
            try:
                listen(thing)
            except BaseException as error:  # noqa: BLE001 - likewise
                self._failed(name, error, interrupts)
        if interrupts:
            raise interrupts.pop()

    def _failed(self, name: str, error: BaseException, interrupts: list[BaseException]) -> None:
        """Count an exception of a sink; keep one of a signal handler, which is raised after the other sinks."""
        if is_of_signal_handler(error):
            interrupts[:] = [error]
        else:
            failed(self._diagnostics, name, error)


def name_of(sink: SpanSink) -> str:
    """Return the name of a sink in counts and in the log."""
    return sink.name or type(sink).__name__


def _listeners(sinks: Iterable[SpanSink]) -> Listeners:
    """Return the methods that the sinks override, with the names of the sinks, by name of the method."""
    given = list(sinks)
    return {
        method: tuple(
            (
                name_of(sink),
                partial(_suppressed, getattr(sink, method)) if sink.is_suppressed else getattr(sink, method),
            )
            for sink in given
            if getattr(type(sink), method) is not getattr(SpanSink, method)
        )
        for method in _METHODS
    }


def _suppressed(listen: Callable[[Any], Any], thing: Any) -> None:
    if not is_in_a_sink():
        suppress_instrumentation(listen, thing)
