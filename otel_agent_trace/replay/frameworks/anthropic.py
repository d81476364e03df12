"""Replay what Anthropic's client is asked: messages, whole and streamed, sync and async.

It is the client that a program, or a framework, has made itself (`anthropic.Anthropic`, `AsyncAnthropic`).
"""

from __future__ import annotations

from typing import Any, TypeVar

from otel_agent_trace.model import StepError
from otel_agent_trace.replay.frameworks.anthropic_messages import message, message_events
from otel_agent_trace.replay.frameworks.api_requests import call_for, refuse_request
from otel_agent_trace.replay.frameworks.hosted_tools import hosted_names
from otel_agent_trace.replay.frameworks.http_transport import Reply, answer_requests, event_reply, json_reply
from otel_agent_trace.replay.session import ReplaySession

C = TypeVar("C")


def replaying(client: C) -> C:
    """Return an Anthropic client whose requests are answered within a replay; it works as before outside of one.

    Raises:
        TypeError: `client` is no client of Anthropic.
    """
    return answer_requests(client, _respond)


def _respond(session: ReplaySession, path: str, body: dict[str, Any]) -> Reply | StepError | None:
    if not path.endswith("/messages"):
        refuse_request(session, path, body)
    call = call_for(session, body, _hosted_tools(body))
    if call is None or call.step.error is not None:
        return None if call is None else call.step.error
    answer = call.answer()
    return event_reply(message_events(answer)) if body.get("stream") else json_reply(message(answer))


def _hosted_tools(body: dict[str, Any]) -> list[str]:
    servers = [str(server.get("name")) for server in body.get("mcp_servers") or ()]
    return [*servers, *hosted_names(body.get("tools") or ())]
