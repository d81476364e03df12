"""Answers of the Converse API of Amazon Bedrock, and the events of its stream: mappings with one key each."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.messages import message_from, usage_from
from otel_agent_trace.tracing.model_apis.fields import ModelResult, append, as_dict, fields_of, get, get_text, items_of
from otel_agent_trace.values import decode_text

_EVENTS = ("messageStart", "contentBlockStart", "contentBlockDelta", "messageStop")
_COUNTS = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "cacheReadInputTokens": "cache_read_input_tokens",
    "cacheWriteInputTokens": "cache_creation_input_tokens",  # not part of the input, as in Anthropic's counts
}


def is_chunk(chunk: Any) -> bool:
    """Return whether a value is an event of a stream."""
    return isinstance(chunk, dict) and any(name in chunk for name in _EVENTS)


def is_result(result: Any) -> bool:
    """Return whether a value is an answer."""
    return isinstance(result, dict) and isinstance(get(result.get("output"), "message"), dict)


def read(result: Any) -> ModelResult:
    """Return the facts of an answer."""
    blocks = items_of(get(result["output"]["message"], "content"))
    reason, usage = get_text(result, "stopReason"), as_dict(result.get("usage"))
    return ModelResult(
        messages=(message_from({"role": "assistant", "parts": list(map(_part_of, blocks))}),),
        usage=usage_from({_COUNTS[name]: count for name, count in usage.items() if name in _COUNTS}),
        finish_reasons=() if reason is None else (reason,),
    )


def _part_of(block: Any) -> dict[str, Any]:
    call, reasoning = get(block, "toolUse"), get(get(block, "reasoningContent"), "reasoningText")
    if call is not None:
        arguments = decode_text(get(call, "input"))
        return {"type": "tool_call", "id": get(call, "toolUseId"), "name": get(call, "name"), "arguments": arguments}
    if reasoning is not None:
        return {"type": "reasoning", "content": get(reasoning, "text")}
    text = get(block, "text")
    return as_dict(block) if text is None else {"type": "text", "content": text}


def put_together(events: list[Any]) -> dict[str, Any]:
    """Return the answer that the events of a stream make up."""
    whole: dict[str, Any] = {}
    blocks: dict[Any, dict[str, Any]] = {}
    for event in events:
        whole.update(fields_of(get(event, "messageStop"), "stopReason"))
        whole.update(fields_of(get(event, "metadata"), "usage"))
        start, delta = get(event, "contentBlockStart"), get(event, "contentBlockDelta")
        if start is not None:
            blocks[get(start, "contentBlockIndex")] = {"toolUse": as_dict(get(get(start, "start"), "toolUse"))}
        elif delta is not None:
            _add(blocks.setdefault(get(delta, "contentBlockIndex"), {}), get(delta, "delta"))
    return {**whole, "output": {"message": {"role": "assistant", "content": list(blocks.values())}}}


def _add(block: dict[str, Any], delta: Any) -> None:
    append(block, "text", get(delta, "text"))
    arguments, thought = get(get(delta, "toolUse"), "input"), get(get(delta, "reasoningContent"), "text")
    if arguments is not None:
        append(block.setdefault("toolUse", {}), "input", arguments)
    if thought is not None:
        append(block.setdefault("reasoningContent", {}).setdefault("reasoningText", {}), "text", thought)
