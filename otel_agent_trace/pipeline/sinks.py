"""`SpanSink`: what hears of spans and logs, after the policies."""

from __future__ import annotations

from collections.abc import Sequence

from otel_agent_trace.pipeline.spans import PipelineSpan, StartedSpan
from otel_agent_trace.span import LogRecord


class SpanSink:
    """Hears of spans and logs after the policies; every method does nothing unless a subclass has its own.

    A span that is given has `record` (plain data) and `readable` (the SDK's span, a copy where a policy changed it), each
    made when it is asked for. Calls happen in the host's time, from any thread, and may overlap. What one raises is counted
    and logged once; neither the host nor other sinks notice.
    """

    name = ""
    """What it is called in counts and in the log; empty for the name of its class."""
    journals = False
    """Whether it hears at once what a `Gate` holds: starts, and `on_hold`."""
    is_suppressed = True
    """Whether calls run with instrumentation suppressed, and what is traced meanwhile is not delivered; False for a sink that
    makes no spans, or sees to it itself: suppressing costs 2 µs a call."""

    def on_start(self, span: StartedSpan) -> None:
        """Hear of a span that has started; `span.current()` is what it says later."""

    def on_end(self, span: PipelineSpan) -> None:
        """Hear of a span that has ended. Its start may not have been announced: another provider's, or kept by a policy."""

    def on_batch(self, spans: Sequence[PipelineSpan]) -> bool:
        """Hear of several spans that have ended, and return whether they were taken."""
        for span in spans:
            self.on_end(span)
        return True

    def on_discard(self, span: PipelineSpan) -> None:
        """Forget a span that may have been announced: it has ended, and a policy dropped it. Only its ids are for use."""

    def on_log(self, log: LogRecord) -> None:
        """Hear of a log record."""

    def on_hold(self, span: PipelineSpan) -> None:
        """Hear, in a journal, of a span that has ended and whose trace the gate holds; `on_end` follows, or `on_drop`."""

    def on_drop(self, trace_id: str) -> None:
        """Forget a trace (32 hex digits) that the gate has dropped."""

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Hand on what waits, and return whether all of it could be in that many seconds."""
        return True

    def close(self) -> None:
        """Hand on what waits, and release what is held; spans may come nevertheless."""

    def stats(self) -> dict[str, int]:
        """Return what was kept and lost, by reason."""
        return {}
