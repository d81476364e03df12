"""Write recorded answers as OpenAI's chat completions, whole and streamed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from otel_agent_trace.model import Usage
from otel_agent_trace.replay.frameworks.model_answers import Call, ModelAnswer

_ID = "chatcmpl-replay"


def chat_completion(answers: Sequence[ModelAnswer]) -> dict[str, Any]:
    """Return the body of a response whose choices are the answers."""
    choices = [
        {"index": index, "message": _message(answer), "finish_reason": answer.reason, "logprobs": None}
        for index, answer in enumerate(answers)
    ]
    return {**_head("chat.completion", answers), "choices": choices, "usage": _usage(answers[0].usage)}


def chat_chunks(answers: Sequence[ModelAnswer], *, with_usage: bool) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a streamed response: for each choice its text, its tool calls and its reason to end."""
    head = _head("chat.completion.chunk", answers)
    usage = {"usage": None} if with_usage else {}
    for index, answer in enumerate(answers):
        for delta, reason in _deltas(answer):
            yield {**head, **usage, "choices": [{"index": index, "delta": delta, "finish_reason": reason}]}
    if with_usage:
        yield {**head, "choices": [], "usage": _usage(answers[0].usage)}


def _head(kind: str, answers: Sequence[ModelAnswer]) -> dict[str, Any]:
    return {"id": _ID, "object": kind, "created": 0, "model": answers[0].model}


def _message(answer: ModelAnswer) -> dict[str, Any]:
    content = answer.text or (None if answer.calls else "")
    message = {"role": "assistant", "content": content, "refusal": None, **_reasoning(answer)}
    return {**message, "tool_calls": [_call(call) for call in answer.calls]} if answer.calls else message


def _deltas(answer: ModelAnswer) -> Iterable[tuple[dict[str, Any], str | None]]:
    yield {"role": "assistant", "content": "" if answer.text or not answer.calls else None}, None
    if answer.reasoning:
        yield _reasoning(answer), None
    if answer.text:
        yield {"content": answer.text}, None
    for index, call in enumerate(answer.calls):
        yield {"tool_calls": [{"index": index, **_call(call)}]}, None
    yield {}, answer.reason


def _reasoning(answer: ModelAnswer) -> dict[str, Any]:
    return {"reasoning_content": answer.reasoning} if answer.reasoning else {}


def _call(call: Call) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens or 0,
        "completion_tokens": usage.output_tokens or 0,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_input_tokens or 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_output_tokens or 0},
    }
