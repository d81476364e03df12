"""Define `SpanSink`, the base class of what receives spans and logs after the policies."""

from __future__ import annotations

from collections.abc import Sequence

from otel_agent_trace.pipeline.outlet import Decided
from otel_agent_trace.pipeline.spans import PipelineSpan, StartedSpan
from otel_agent_trace.policies.tail_sampling import TailSampling
from otel_agent_trace.span import LogRecord


class SpanSink:
    """Receive spans and logs after the policies; each method does nothing unless a subclass overrides it.

    A span has `record` (plain data) and `readable` (the SDK's span, or a copy if a policy changed it), each made on
    first use. Calls block the program, come from any thread, and may overlap. An exception that one raises is counted
    and logged once; neither the program nor other sinks notice it.
    """

    name = ""
    """Name in counts and in the log; if it is empty, the name of the class."""
    journals = False
    """True to receive the spans that a `Gate` holds at once: their starts, `on_hold` and `on_hold_log`."""
    keeps_held = False
    """True if it keeps what is held itself: `on_decided` follows `on_hold` in place of `on_end`; it `journals`."""
    holds_in_memory = True
    """False if what it keeps of held traces takes no memory worth counting."""
    calls_program = True
    """False if it calls no code of the program, and may be called in threads of the library."""
    is_suppressed = True
    """True to run calls with instrumentation suppressed, without delivering spans that they make; False for a sink that
    makes no spans, or suppresses instrumentation itself, since suppression takes 2 µs a call."""

    releases_itself = False
    """True for a sink that releases its resources when it is collected, so that `release` is not needed."""

    @property
    def takes_logs(self) -> bool:
        """Return whether it receives log records."""
        return type(self).on_log is not SpanSink.on_log

    def on_start(self, span: StartedSpan) -> None:
        """Receive a span that has started; `span.current()` later returns its state at that time."""

    def on_end(self, span: PipelineSpan) -> None:
        """Receive a span that has ended; its start may be missing, if a policy dropped it or a batch was passed."""

    def on_batch(self, spans: Sequence[PipelineSpan]) -> bool:
        """Receive several spans that have ended, and return whether they were accepted."""
        for span in spans:
            self.on_end(span)
        return True

    def on_discard(self, span: PipelineSpan) -> None:
        """Forget a span that may have been passed to `on_start`: a policy dropped it at its end. Use its ids only."""

    def on_log(self, log: LogRecord) -> None:
        """Receive a log record."""

    def on_hold(self, span: PipelineSpan) -> None:
        """Receive, for a journal, an ended span whose trace the gate holds; `on_end` or `on_drop` follows."""

    def on_hold_log(self, log: LogRecord) -> None:
        """Receive a score for a journal whose trace the gate holds; `on_log` of it, or `on_drop`, follows."""

    def on_decided(self, decided: Decided) -> None:
        """Receive, for a sink that keeps what is held itself, what was decided about a trace."""

    def sample_by(self, policy: TailSampling) -> None:
        """Note the policy by which traces are sampled."""

    def decision_elsewhere(self, trace_id: int) -> bool | None:
        """Return what another process has decided about a trace; None where that is not known."""
        return None

    def on_drop(self, trace_id: str) -> None:
        """Forget a trace (32 hex digits) that the gate has dropped."""

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Pass on what is queued, and return whether that was done within `timeout_s` seconds."""
        return True

    def close(self) -> None:
        """Pass on what is queued, and release resources; further spans may come nevertheless."""

    def release(self) -> None:
        """Release what nobody else uses, after the last tracer with this sink was dropped without being closed."""
        self.close()

    def stats(self) -> dict[str, int]:
        """Return the number of spans that were kept and lost, by reason."""
        return {}
