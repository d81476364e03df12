"""Define `Gate`, the base class of policies that decide about whole traces."""

from __future__ import annotations

from collections.abc import Sequence

from otel_agent_trace.span import SpanRecord


class Gate:
    """Decide whether all spans and logs of a trace are delivered, or none. The last of the policies may be a gate.

    If more than `max_held_bytes` (64 MiB, estimated) are held, the traces held longest are delivered, and counted.
    """

    max_held_bytes = 64 << 20

    def decide(self, spans: Sequence[SpanRecord], *, is_over: bool) -> bool | None:
        """Return True to deliver a trace, False to drop it, None to go on holding it.

        It is called whenever a span of the trace has ended, from any thread, until it decides. Later spans of the trace
        follow the decision.

        Args:
            spans: the spans of the trace that have ended so far, in order of their ends, after the policies; read-only.
            is_over: whether no span of the trace is known to be open; also True if a decision is needed for `flush` or
                `close`, where None means True.
        """
        raise NotImplementedError
