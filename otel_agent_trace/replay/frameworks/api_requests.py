"""Find the recorded call for a request of a client to the API of a provider."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from otel_agent_trace.model import StepKind
from otel_agent_trace.replay.frameworks.conversations import request_messages
from otel_agent_trace.replay.frameworks.hosted_tools import refuse_hosted
from otel_agent_trace.replay.frameworks.model_answers import RecordedCall, recorded_call
from otel_agent_trace.replay.session import ReplaySession


def refuse_request(session: ReplaySession, path: str, body: dict[str, Any]) -> NoReturn:
    """Refuse a request to a path for which no answer can be built.

    Raises:
        ReplayDivergence: Always.
    """
    reason = f"is a request to {path}, which a replay does not answer"
    session.refuse_step(StepKind.MODEL, str(body.get("model", path)), reason)


def call_for(session: ReplaySession, body: dict[str, Any], hosted: Iterable[str]) -> RecordedCall | None:
    """Return the recorded call that answers a request, None if the request is to be sent.

    Args:
        session: the replay.
        body: the request.
        hosted: the names of tools that the provider would execute.

    Raises:
        ReplayDivergence: it has such tools, or there is no such call.
    """
    refuse_hosted(session, hosted)
    return recorded_call(session, str(body.get("model")), request_messages(body))
