"""Chat completions and completions of OpenAI, and of the many servers and libraries that answer in their shape."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.messages import message_from, usage_from
from otel_agent_trace.model import Message
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

_TEXTS = ("refusal", "reasoning_content", "reasoning")
_OF_DELTAS = ("role", "content", "tool_calls", *_TEXTS, "function_call", "audio")


def is_chunk(chunk: Any) -> bool:
    """Return whether a value is a chunk of a chat completion, or has one."""
    return isinstance(get(_chunk_in(chunk), "choices"), list)


def is_result(result: Any) -> bool:
    """Return whether a value is a completion."""
    return isinstance(get(result, "choices"), list)


def read(result: Any) -> ModelResult:
    """Return the facts of a completion."""
    choices = get(result, "choices")
    reasons = [get_text(choice, "finish_reason") for choice in choices]
    return ModelResult(
        messages=tuple([message for choice in choices if (message := _message_of(choice)) is not None]),
        usage=usage_from(get(result, "usage")),
        model=get_text(result, "model"),
        response_id=get_text(result, "id"),
        finish_reasons=tuple([reason for reason in reasons if reason is not None]),
        error=error_of(result),
    )


def _message_of(choice: Any) -> Message | None:
    message, text = get(choice, "message"), get_text(choice, "text")
    if message is not None:
        return message_from(message)
    return None if text is None else message_from({"role": "assistant", "content": text})


def put_together(chunks: list[Any]) -> dict[str, Any]:
    """Return the completion that the chunks of a stream make up, with all its choices."""
    completion: dict[str, Any] = {}
    choices: dict[int, _Choice] = {}
    for chunk in map(_chunk_in, chunks):
        completion.update(fields_of(chunk, "id", "model", "usage", "error"))
        for part in items_of(get(chunk, "choices")):
            index = get(part, "index")
            choice = choices.get(index if type(index) is int else 0)
            if choice is None:
                choice = choices[index if type(index) is int else 0] = _Choice()
            choice.add(part)
    return {**completion, "choices": [choices[index].whole() for index in sorted(choices)]}


def _chunk_in(event: Any) -> Any:
    """Return the chunk in an event of the helper of OpenAI's client (`chunk`), or of Mistral's client (`data`)."""
    return event if get(event, "choices") is not None else get(event, "chunk") or get(event, "data")


class _Choice:
    """Put one choice of a stream together."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {"role": "assistant"}
        self._fields: dict[str, Any] = {}
        self._content: list[Any] = []
        self._calls = _ToolCalls()

    def add(self, part: Any) -> None:
        """Add what a chunk has for this choice."""
        self._fields.update(fields_of(part, "finish_reason"))
        append(self._fields, "text", get(part, "text"))
        for name, value in fields_of(get(part, "delta") or get(part, "message"), *_OF_DELTAS).items():
            if name == "content":
                self._content.append(value)
            elif name == "role":
                self._message[name] = value
            elif name == "tool_calls":
                for call in items_of(value):
                    self._calls.add(call)
            elif name in _TEXTS:
                append(self._message, name, value)
            else:
                whole = self._message.setdefault(name, {})
                for field, piece in as_dict(value).items():
                    append(whole, field, piece)

    def whole(self) -> dict[str, Any]:
        """Return the choice as a completion that is not streamed has it."""
        if "text" in self._fields:
            return self._fields
        message = self._message
        if self._content:
            message["content"] = joined(self._content)
        if self._calls.calls:
            message["tool_calls"] = self._calls.calls
        return {**self._fields, "message": message}


def joined(pieces: list[Any]) -> Any:
    """Return the content that pieces make up: a text, or a list of parts if one of them is a list, as of Mistral."""
    if not any(isinstance(piece, list) for piece in pieces):
        return "".join(map(str, pieces))
    parts: list[Any] = []
    for piece in pieces:
        for part in piece if isinstance(piece, list) else [piece]:
            text = part if isinstance(part, str) else get(part, "text") if get(part, "type") == "text" else None
            if not isinstance(text, str):
                parts.append(part)
            elif parts and isinstance(parts[-1], str):
                parts[-1] += text
            else:
                parts.append(text)
    return parts


class _ToolCalls:
    """Put the tool calls of a choice together, of which each chunk has pieces, or whole ones.

    The pieces of a call have an index in common, but Ollama, Gemini and Dynamo give every call the index 0, and others
    give none. Id and name are in the first piece of a call, or in each.
    """

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self._latest: dict[Any, dict[str, Any]] = {}

    def add(self, part: Any) -> None:
        """Add a piece to the call that it belongs to, or begin another one."""
        index, function = get(part, "index"), get(part, "function")
        given = {**fields_of(part, "id"), **fields_of(function, "name", "arguments")}
        call = self._call_of(index, given)
        if call is None:
            call = {"function": {}}
            self.calls.append(call)
        self._latest[index] = self._latest[None] = call
        call.update(fields_of(part, "type", *(() if "id" in call else ("id",))))
        call["function"].update(fields_of(function, "name"))
        append(call["function"], "arguments", get(function, "arguments"))

    def _call_of(self, index: Any, given: dict[str, Any]) -> dict[str, Any] | None:
        """Return the call that a piece continues, None if it begins one."""
        call_id = given.get("id")
        same_id = (call for call in self.calls if call_id is not None and call.get("id") == call_id)
        call = next(same_id, None) or self._latest.get(index)
        return None if call is None or _begins_another(call, given) else call


def _begins_another(call: dict[str, Any], given: dict[str, Any]) -> bool:
    """Return whether a piece begins another call than that which came before it under the same index."""
    function = call["function"]
    name = given.get("name")
    has_other_name = name is not None and function.get("name", name) != name
    has_other_id = "id" in given and call.get("id", given["id"]) != given["id"]
    if has_other_name or (has_other_id and name is not None):
        return True
    is_whole = isinstance(decode_text(function.get("arguments")), dict)
    return is_whole and bool(given.get("arguments")) and (has_other_id or name is not None)
