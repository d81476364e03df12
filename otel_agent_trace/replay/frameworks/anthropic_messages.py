"""Write a recorded answer as a message of Anthropic's API, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from otel_agent_trace.dialects.parsing.texts import value_in
from otel_agent_trace.model import Usage
from otel_agent_trace.replay.frameworks.model_answers import ModelAnswer

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def message(answer: ModelAnswer) -> dict[str, Any]:
    """Return the body of a response."""
    return {
        **_started(answer),
        "content": _blocks(answer),
        "stop_reason": _STOP_REASONS[answer.reason],
        "usage": _usage(answer.usage),
    }


def message_events(answer: ModelAnswer) -> Iterator[dict[str, Any]]:
    """Yield the events of a streamed message."""
    usage = _usage(answer.usage)
    yield {"type": "message_start", "message": {**_started(answer), "usage": {**usage, "output_tokens": 0}}}
    for index, block in enumerate(_blocks(answer)):
        started, delta = _start_and_delta(block)
        yield {"type": "content_block_start", "index": index, "content_block": started}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": _STOP_REASONS[answer.reason], "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}


def _started(answer: ModelAnswer) -> dict[str, Any]:
    return {
        "id": "msg_replay",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _blocks(answer: ModelAnswer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.reasoning:
        blocks.append({"type": "thinking", "thinking": answer.reasoning, "signature": ""})
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    calls = (
        {"type": "tool_use", "id": one.id, "name": one.name, "input": value_in(one.arguments)} for one in answer.calls
    )
    return [*blocks, *calls]


def _start_and_delta(block: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a block without its content, and the content as the delta that adds it."""
    if block["type"] == "tool_use":
        return {**block, "input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    kind = str(block["type"])
    return {**block, kind: ""}, {"type": f"{kind}_delta", kind: block[kind]}


def _usage(usage: Usage) -> dict[str, Any]:
    """Return token counts as Anthropic has them: cached tokens are no part of the input."""
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    return {
        "input_tokens": (usage.input_tokens or 0) - read - written,
        "output_tokens": usage.output_tokens or 0,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
    }
