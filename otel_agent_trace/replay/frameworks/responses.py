"""Write a recorded answer as a response of OpenAI's Responses API, whole and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from otel_agent_trace.model import Usage
from otel_agent_trace.replay.frameworks.model_answers import Call, ModelAnswer

_ENDS = {"length": "max_output_tokens", "content_filter": "content_filter"}
Event = tuple[str, dict[str, Any]]


def response(answer: ModelAnswer, instructions: Any = None) -> dict[str, Any]:
    """Return the body of a response; the API gives the instructions of the request back in it."""
    reason = _ENDS.get(answer.reason)
    return {
        **_started(answer, instructions),
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": _items(answer),
        "usage": _usage(answer.usage),
    }


def response_events(answer: ModelAnswer, instructions: Any = None) -> Iterator[dict[str, Any]]:
    """Yield the events of a streamed response."""
    started, ended = _started(answer, instructions), response(answer, instructions)
    events: list[Event] = [("created", {"response": started}), ("in_progress", {"response": started})]
    for index, item in enumerate(_items(answer)):
        place = {"output_index": index}
        empty: dict[str, Any] = {"content": []} if "content" in item else {"arguments": ""}
        begun = {**item, "status": "in_progress", **empty}
        events.append(("output_item.added", {**place, "item": begun}))
        events += _text_events(item, place) if "content" in item else _call_events(item, place)
        events.append(("output_item.done", {**place, "item": item}))
    events.append((str(ended["status"]), {"response": ended}))
    for number, (kind, data) in enumerate(events):
        yield {"type": f"response.{kind}", "sequence_number": number, **data}


def _started(answer: ModelAnswer, instructions: Any) -> dict[str, Any]:
    return {
        "id": "resp_replay",
        "object": "response",
        "created_at": 0,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": instructions,
        "metadata": {},
        "model": answer.model,
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def _items(answer: ModelAnswer) -> list[dict[str, Any]]:
    calls = [_call(call, number) for number, call in enumerate(answer.calls)]
    if calls and not answer.text:
        return calls
    part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
    message = {"id": "msg_replay", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return [message, *calls]


def _call(call: Call, number: int) -> dict[str, Any]:
    item = {"id": f"fc_replay_{number}", "type": "function_call", "status": "completed", "call_id": call.id}
    return {**item, "name": call.name, "arguments": call.arguments}


def _text_events(item: dict[str, Any], place: dict[str, Any]) -> list[Event]:
    (part,) = item["content"]
    at = {**place, "item_id": item["id"], "content_index": 0}
    text: dict[str, Any] = {"logprobs": []}
    return [
        ("content_part.added", {**at, "part": {**part, "text": ""}}),
        ("output_text.delta", {**at, **text, "delta": part["text"]}),
        ("output_text.done", {**at, **text, "text": part["text"]}),
        ("content_part.done", {**at, "part": part}),
    ]


def _call_events(item: dict[str, Any], place: dict[str, Any]) -> list[Event]:
    at = {**place, "item_id": item["id"]}
    return [
        ("function_call_arguments.delta", {**at, "delta": item["arguments"]}),
        ("function_call_arguments.done", {**at, "name": item["name"], "arguments": item["arguments"]}),
    ]


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens or 0,
        "output_tokens": usage.output_tokens or 0,
        "total_tokens": usage.total_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read_input_tokens or 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_output_tokens or 0},
    }
