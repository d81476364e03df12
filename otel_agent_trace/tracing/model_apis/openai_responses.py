"""Responses of OpenAI: the response itself, and the events of a stream, which ends with the whole response."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from otel_agent_trace.messages import message_from, usage_from
from otel_agent_trace.tracing.model_apis.fields import (
    ModelResult,
    append,
    as_dict,
    error_of,
    fields_of,
    get,
    get_text,
    items_of,
)
from otel_agent_trace.values import decode_text

_PREFIX = "response."
_TEXTS = {"response.output_text": "output_text", "response.refusal": "refusal"}
_REASONING = ("response.reasoning_summary_text", "response.reasoning_text")
_ARGUMENTS = {
    "response.function_call_arguments": ("function_call", "arguments"),
    "response.mcp_call_arguments": ("mcp_call", "arguments"),
    "response.custom_tool_call_input": ("custom_tool_call", "input"),
}
_ENDS = (".delta", ".done")
_ERROR = "error"


def is_chunk(chunk: Any) -> bool:
    """Return whether a value is an event of a stream of a response."""
    return (get_text(chunk, "type") or "").startswith(_PREFIX) or _is_error(chunk)


def _is_error(event: Any) -> bool:
    """Return whether an event is an error, which has code and message of its own, other than that of Anthropic."""
    return get_text(event, "type") == _ERROR and get_text(event, "message") is not None


def is_result(result: Any) -> bool:
    """Return whether a value is a response."""
    output = get(result, "output")
    is_named = get_text(result, "object") == "response"
    return isinstance(output, list) and (is_named or bool(output and get_text(output[0], "type")))


def read(result: Any) -> ModelResult:
    """Return the facts of a response; its output is one message, of texts, reasoning and tool calls."""
    parts = [part for item in get(result, "output") for part in _parts_of(item)]
    reason = get_text(get(result, "incomplete_details"), "reason") or get_text(result, "status")
    return ModelResult(
        messages=(message_from({"role": "assistant", "parts": parts}),) if parts else (),
        usage=usage_from(get(result, "usage")),
        model=get_text(result, "model"),
        response_id=get_text(result, "id"),
        finish_reasons=() if reason is None else (reason,),
        error=error_of(result),
    )


def _parts_of(item: Any) -> Iterable[Any]:
    kind = get_text(item, "type") or ""
    if kind == "message":
        return items_of(get(item, "content"))
    if kind == "reasoning":
        texts = [get_text(part, "text") for part in (*items_of(get(item, "summary")), *items_of(get(item, "content")))]
        text = "\n".join(filter(None, texts))
        return ({"type": "reasoning", "content": text},) if text else ()
    if kind in ("function_call", "custom_tool_call"):
        arguments = get(item, "arguments") if kind == "function_call" else get(item, "input")
        return (
            {
                "type": "tool_call",
                "id": get(item, "call_id") or get(item, "id"),
                "name": get(item, "name"),
                "arguments": decode_text(arguments) if kind == "function_call" else arguments,
            },
        )
    if kind.endswith("_call"):  # a tool that the provider runs, as web_search_call
        name = get_text(item, "name") or kind.removesuffix("_call")
        return ({"type": "server_tool_call", "id": get(item, "id"), "name": name, "server_tool_call": as_dict(item)},)
    return (as_dict(item),)


def put_together(events: list[Any]) -> dict[str, Any]:
    """Return the response that the events of a stream make up: that of its last event, else what came until then."""
    response: Any = None
    items: dict[Any, _Item] = {}
    error: dict[str, Any] = {}
    for event in events:
        if _is_error(event):
            error = {_ERROR: fields_of(event, "code", "message")}
        response = get(event, "response") or response
        item = get(event, "item")
        index = get(event, "output_index")
        if item is not None:
            items[index] = _Item(as_dict(item))
        elif (get_text(event, "type") or "").endswith(_ENDS):
            items.setdefault(index, _Item({})).add(event)
    whole = fields_of(response, "id", "model", "usage", "status", "incomplete_details", _ERROR)
    if whole.get("status") == "in_progress":
        del whole["status"]
    output = get(response, "output") or [item.whole() for item in items.values()]
    return {**whole, **error, "output": output}


class _Item:
    """Put one item of the output together; its pieces replace what it had when it was added."""

    def __init__(self, start: dict[str, Any]) -> None:
        self._start = start
        self._texts: dict[Any, dict[str, Any]] = {}
        self._arguments: dict[str, Any] = {}

    def add(self, event: Any) -> None:
        """Add a piece, unless it is the end of a field, which repeats its pieces."""
        name, _, end = (get_text(event, "type") or "").rpartition(".")
        if end != "delta":
            return
        if name in _TEXTS:
            self._start.setdefault("type", "message")
            kind = _TEXTS[name]
            part = self._texts.setdefault(get(event, "content_index"), {"type": kind})
            append(part, "refusal" if kind == "refusal" else "text", get(event, "delta"))
        elif name in _REASONING:
            self._start.setdefault("type", "reasoning")
            place = get(event, "summary_index"), get(event, "content_index")
            append(self._texts.setdefault(place, {}), "text", get(event, "delta"))
        elif name in _ARGUMENTS:
            kind, field = _ARGUMENTS[name]
            self._start.setdefault("type", kind)
            append(self._arguments, field, get(event, "delta"))

    def whole(self) -> dict[str, Any]:
        """Return the item as a response that is not streamed has it."""
        texts = {"content": list(self._texts.values())} if self._texts else {}
        return {**self._start, **texts, **self._arguments}
