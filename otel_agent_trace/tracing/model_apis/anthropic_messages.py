"""Messages of Anthropic: the message itself, and the events of a stream, raw or with those that the client's helper adds."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.messages import message_from, usage_from
from otel_agent_trace.tracing.model_apis.fields import (
    ModelResult,
    add_counts,
    append,
    as_dict,
    error_of,
    fields_of,
    get,
    get_text,
)
from otel_agent_trace.values import decode_text

_START, _BLOCK_START, _BLOCK_DELTA, _MESSAGE_DELTA, _ERROR = (
    "message_start",
    "content_block_start",
    "content_block_delta",
    "message_delta",
    "error",
)
_EVENTS = {
    _START,
    _BLOCK_START,
    _BLOCK_DELTA,
    _MESSAGE_DELTA,
    _ERROR,
}  # those that the helper adds repeat what these have
_PIECES = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("partial_json", "tool_use"),
}
"""By type of delta: its field, and the type of the block if its start is missing."""


def is_chunk(chunk: Any) -> bool:
    """Return whether a value is an event of a stream of a message."""
    return get_text(chunk, "type") in _EVENTS


def is_result(result: Any) -> bool:
    """Return whether a value is a message, or has the content of one."""
    return get(result, "content") is not None


def read(result: Any) -> ModelResult:
    """Return the facts of a message."""
    reason = get_text(result, "stop_reason")
    content = get(result, "content")
    role = get_text(result, "role") or "assistant"
    return ModelResult(
        messages=(message_from({"role": role, "content": content}),),
        usage=usage_from(get(result, "usage")),
        model=get_text(result, "model"),
        response_id=get_text(result, "id"),
        finish_reasons=() if reason is None else (reason,),
        error=error_of(result),
    )


def put_together(events: list[Any]) -> dict[str, Any]:
    """Return the message that the events of a stream make up; token counts are totals so far."""
    message: dict[str, Any] = {"role": "assistant"}
    usage: dict[str, Any] = {}
    blocks: dict[Any, _Block] = {}
    for event in events:
        kind = get_text(event, "type")
        if kind == _START:
            message.update(fields_of(get(event, "message"), "id", "model", "role"))
            add_counts(usage, get(get(event, "message"), "usage"))
        elif kind == _BLOCK_START:
            blocks[get(event, "index")] = _Block(as_dict(get(event, "content_block")))
        elif kind == _BLOCK_DELTA:
            blocks.setdefault(get(event, "index"), _Block({})).add(get(event, "delta"))
        elif kind == _MESSAGE_DELTA:
            message.update(fields_of(get(event, "delta"), "stop_reason"))
            add_counts(usage, get(event, "usage"))
        elif kind == _ERROR:
            message.update(fields_of(event, _ERROR))
    return {**message, "usage": usage or None, "content": [block.whole() for block in blocks.values()]}


class _Block:
    """Put one block of content together; its pieces replace what it had at its start, which is empty."""

    def __init__(self, start: dict[str, Any]) -> None:
        self._start = start
        self._pieces: dict[str, Any] = {}

    def add(self, delta: Any) -> None:
        """Add a piece; signatures and citations are kept with the block."""
        kind = get_text(delta, "type") or ""
        if kind in _PIECES:
            field, block_type = _PIECES[kind]
            self._start.setdefault("type", block_type)
            append(self._pieces, field, get(delta, field))
        elif kind == "citations_delta":
            self._pieces.setdefault("citations", []).append(get(delta, "citation"))
        else:
            self._pieces.update(fields_of(delta, "signature"))

    def whole(self) -> dict[str, Any]:
        """Return the block as a message that is not streamed has it."""
        pieces = dict(self._pieces)
        arguments = pieces.pop("partial_json", None)
        if arguments:
            pieces["input"] = decode_text(arguments)
        return {**self._start, **pieces}
