"""Group the runs of a source into sessions: the conversations that they are turns of."""

from __future__ import annotations

from otel_agent_trace.sessions.reading import iter_sessions, load_sessions
from otel_agent_trace.sessions.session import AgentSession
from otel_agent_trace.sessions.turn import SessionTurn

__all__ = ["AgentSession", "SessionTurn", "iter_sessions", "load_sessions"]
