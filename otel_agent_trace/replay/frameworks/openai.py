"""Replay what OpenAI's client is asked: chat completions and responses, whole and streamed, sync and async.

It is the client that a program, or a framework, has made itself (`openai.OpenAI`, `AsyncOpenAI` and those of Azure).
"""

from __future__ import annotations

from typing import Any, TypeVar

from otel_agent_trace.model import StepError
from otel_agent_trace.replay.frameworks.api_requests import call_for, refuse_request
from otel_agent_trace.replay.frameworks.chat_completions import chat_chunks, chat_completion
from otel_agent_trace.replay.frameworks.hosted_tools import hosted_names
from otel_agent_trace.replay.frameworks.http_transport import Reply, answer_requests, event_reply, json_reply
from otel_agent_trace.replay.frameworks.model_answers import RecordedCall
from otel_agent_trace.replay.frameworks.responses import response, response_events
from otel_agent_trace.replay.session import ReplaySession

C = TypeVar("C")


def replaying(client: C) -> C:
    """Return an OpenAI client whose requests are answered within a replay; it works as before outside of one.

    Raises:
        TypeError: `client` is no client of OpenAI.
    """
    return answer_requests(client, _respond)


def _respond(session: ReplaySession, path: str, body: dict[str, Any]) -> Reply | StepError | None:
    if path.endswith("/chat/completions"):
        write = _chat_reply
    elif path.endswith("/responses") and "model" in body:
        write = _responses_reply
    else:
        refuse_request(session, path, body)
    call = call_for(session, body, _hosted_tools(body))
    return None if call is None else call.step.error or write(call, body)


def _chat_reply(call: RecordedCall, body: dict[str, Any]) -> Reply:
    answers = call.answers() if (body.get("n") or 1) > 1 else [call.answer()]
    if not body.get("stream"):
        return json_reply(chat_completion(answers))
    options = body.get("stream_options") or {}
    with_usage = bool(options.get("include_usage"))
    return event_reply(chat_chunks(answers, with_usage=with_usage), done="data: [DONE]\n\n")


def _responses_reply(call: RecordedCall, body: dict[str, Any]) -> Reply:
    answer, instructions = call.answer(), body.get("instructions")
    if body.get("stream"):
        return event_reply(response_events(answer, instructions))
    return json_reply(response(answer, instructions))


def _hosted_tools(body: dict[str, Any]) -> list[str]:
    searching = ["web_search"] if body.get("web_search_options") is not None else []
    return [*searching, *hosted_names(body.get("tools") or ())]
