"""Answers of Cohere's chat API (v2), and the events of its stream."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.messages import message_from, usage_from
from otel_agent_trace.tracing.model_apis.fields import ModelResult, append, as_dict, fields_of, get, get_text

_EVENTS = {"message-start", "content-start", "content-delta", "tool-plan-delta", "tool-call-start", "message-end"}


def is_chunk(chunk: Any) -> bool:
    """Return whether a value is an event of a stream."""
    return get_text(chunk, "type") in _EVENTS


def is_result(result: Any) -> bool:
    """Return whether a value is an answer."""
    return get(result, "message") is not None and get_text(result, "finish_reason") is not None


def read(result: Any) -> ModelResult:
    """Return the facts of an answer."""
    reason = get_text(result, "finish_reason")
    return ModelResult(
        messages=(message_from(get(result, "message")),),
        usage=usage_from({name: _count(result, name) for name in ("input_tokens", "output_tokens")}),
        response_id=get_text(result, "id"),
        finish_reasons=() if reason is None else (reason,),
    )


def _count(result: Any, name: str) -> int | None:
    """Return a token count, which Cohere gives as a float."""
    count = get(get(get(result, "usage"), "tokens"), name)
    return int(count) if type(count) in (int, float) else None


def put_together(events: list[Any]) -> dict[str, Any]:
    """Return the answer that the events of a stream make up."""
    whole: dict[str, Any] = {"finish_reason": ""}
    message: dict[str, Any] = {"role": "assistant"}
    calls: dict[Any, dict[str, Any]] = {}
    for event in events:
        kind, delta, index = get_text(event, "type"), get(event, "delta"), get(event, "index")
        part = get(delta, "message")
        append(message, "content", get(get(part, "content"), "text"))
        append(message, "tool_plan", get(part, "tool_plan"))
        call = get(part, "tool_calls")
        if kind == "tool-call-start":
            calls[index] = {**as_dict(call), "function": as_dict(get(call, "function"))}
        elif call is not None:
            function = calls.setdefault(index, {"function": {}})["function"]
            append(function, "arguments", get(get(call, "function"), "arguments"))
        whole.update(fields_of(event, "id"))
        whole.update(fields_of(delta, "finish_reason", "usage"))
    return {**whole, "message": {**message, "tool_calls": list(calls.values())}}
