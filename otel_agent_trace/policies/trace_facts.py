"""Note what is known of a trace as its spans end: what sampling decides by, and what is counted of it if it is dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.model import FAILED_STATUSES
from otel_agent_trace.sampling import NS_PER_HOUR, DroppedTraces

_NS_PER_S = 1e9
INTERRUPTED = "interrupted"


class TraceFacts(msgspec.Struct):
    """Hold what is known of a trace.

    Args:
        is_error: whether its root span failed, or its process died before that ended.
        has_tool_error: whether a tool failed.
        duration_s: the duration of its root span in seconds.
        agents: the names of its agents.
        agent: the name of its outermost agent so far.
        status: the status of that one's run, or of the root span where there is no agent.
        start_ns: the start of the root span in Unix nanoseconds.
    """

    is_error: bool = False
    has_tool_error: bool = False
    duration_s: float = 0.0
    agents: set[Any] = msgspec.field(default_factory=set)
    agent: str | None = None
    status: str = "running"
    start_ns: int = 0
    _agent_start_ns: float = float("inf")

    def note(self, attributes: Mapping[str, Any], start_ns: int, *, is_error: bool) -> None:
        """Note a span that has ended."""
        operation = attributes.get(semconv.OPERATION_NAME)
        if operation == semconv.OPERATION_INVOKE_AGENT:
            name = attributes.get(semconv.AGENT_NAME)
            self.agents.add(name)
            if start_ns <= self._agent_start_ns:
                self._agent_start_ns = start_ns
                self.agent = name if isinstance(name, str) else None
                self.status = _status(attributes, is_error)
        elif is_error and operation == semconv.OPERATION_EXECUTE_TOOL:
            self.has_tool_error = True

    def note_root(self, attributes: Mapping[str, Any], start_ns: int, end_ns: int, *, is_error: bool) -> None:
        """Note the end of the root span, after `note`."""
        self.is_error = is_error
        self.duration_s = (end_ns - start_ns) / _NS_PER_S
        self.start_ns = start_ns
        if not self.agents:
            self.status = _status(attributes, is_error)

    def note_death(self, name: object, start_ns: int) -> None:
        """Note that the process died before the root span ended, whose agent, if it is one, has this name."""
        self.is_error, self.status, self.start_ns = True, INTERRUPTED, start_ns
        if name is not None:
            self.agents.add(name)
            self.agent = str(name)

    def counted(self, *, is_running: bool = False) -> DroppedTraces:
        """Return the trace as the count of one."""
        status = "running" if is_running else self.status
        return DroppedTraces(self.agent, status, self.start_ns - self.start_ns % NS_PER_HOUR, 1)


def _status(attributes: Mapping[str, Any], is_error: bool) -> str:
    """Return the status of the run of a span, as it is read back (see `query.status_of`)."""
    written = attributes.get(semconv.RUN_STATUS)
    if written in FAILED_STATUSES:
        return str(written)
    if is_error:
        return "error"
    return "paused" if semconv.INTERRUPTED_FOR in attributes else "success"
