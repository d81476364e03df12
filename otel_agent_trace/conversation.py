"""Messages in the shapes of providers and frameworks that write traces → `Message`.

Understood beside what `messages` knows: OpenAI's responses (items), Bedrock's and Gemini's blocks, those of LangChain,
Haystack and the AI SDK, and the events of the older GenAI conventions. For foreign spans only.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from otel_agent_trace.messages import messages_from
from otel_agent_trace.model import Message
from otel_agent_trace.payloads import message_in, parsed, result_of, sole_text

_ROLES = {
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "developer": "system",
    "function": "tool",
    "tool-response": "tool",
    "tool-call": "assistant",
}
_INSIDE = (
    "messages",
    "choices",
    "contents",
    "replies",
    "generations",
    "input",
    "output",
    "inputs",
    "outputs",
    "update",
    "value",
    "message",
)
"""Keys under which requests, answers and states of frameworks hold their messages."""
_DEEPEST = 8


def conversation(value: Any, role: str = "user") -> tuple[Message, ...]:
    """The messages in a value, whatever shape they have; a bare text is one of that role."""
    return messages_from([*_standard(parsed(value), role, _DEEPEST)])


def has_messages(value: Any) -> bool:
    """Whether a value holds messages, and is not just any data."""
    return any(True for _ in _standard(parsed(value), None, _DEEPEST))


def said_by(messages: Iterable[Message], role: str) -> str | None:
    """What that role said last, where it said something."""
    found = None
    for message in messages:
        if message.role == role and message.text.strip():
            found = message.text
    return found


def question_in(value: Any) -> Any:
    """What was asked in a value: the last words of the user, where it holds messages, else its one text."""
    return said_by(conversation(value), "user") if has_messages(value) else sole_text(value, answered=False)


def answer_in(value: Any) -> Any:
    """What was answered in a value: the last words of the assistant, where it holds messages, else its one text."""
    return said_by(conversation(value), "assistant") if has_messages(value) else sole_text(value, answered=True)


def _standard(value: Any, role: str | None, depth: int) -> Iterable[dict[str, Any]]:
    """The messages as the conventions have them."""
    if depth == 0 or value is None:
        return
    if isinstance(value, str):
        if role is not None and value:
            yield {"role": role, "parts": [_text(value)]}
    elif isinstance(value, list | tuple):
        if value and role is not None and all(_is_part(item) for item in value):
            yield from _message({"content": value}, role)
            return
        for item in value:
            yield from _standard(parsed(item), role if isinstance(item, str) and depth == _DEEPEST else None, depth - 1)
    elif isinstance(value, Mapping):
        yield from _of_mapping(value, role, depth)


def _of_mapping(value: Mapping[Any, Any], role: str | None, depth: int) -> Iterable[dict[str, Any]]:
    message = message_in(value)
    if _is_message(message):
        yield from _message(message, role)
        return
    for key in _INSIDE:
        inner = parsed(value.get(key))
        if isinstance(inner, list | tuple | Mapping) and inner:
            found = [*_standard(inner, None, depth - 1)]
            if found:
                yield from found
                return


def _is_message(value: Mapping[Any, Any]) -> bool:
    """Whether it is a message itself, and not something around messages."""
    if isinstance(value.get("message"), Mapping):
        return "event.name" in value
    if "role" in value or "event.name" in value:
        return True
    if "source" in value and "content" in value:
        return True
    return value.get("type") in _ITEMS or ("content" in value and value.get("type") in _MESSAGE_TYPES)


_MESSAGE_TYPES = frozenset({"human", "ai", "system", "tool", "user", "assistant", "message"})


def _is_part(value: Any) -> bool:
    return isinstance(value, Mapping) and "role" not in value and not value.keys().isdisjoint(_PART_KEYS)


def _message(value: Mapping[Any, Any], role: str | None) -> Iterable[dict[str, Any]]:
    event = value.get("event.name")
    if isinstance(value.get("message"), Mapping) and event is not None:
        yield from _message(value["message"], "assistant")
        return
    item = _ITEMS.get(value.get("type")) if isinstance(value.get("type"), str) else None
    if item is not None:
        yield item(value)
        return
    said_by_whom = _role_of(value, event, role)
    parts = [*_parts(value, said_by_whom)]
    message: dict[str, Any] = {"role": said_by_whom, "parts": parts}
    if isinstance(value.get("name"), str):
        message["name"] = value["name"]
    yield message


def _role_of(value: Mapping[Any, Any], event: Any, role: str | None) -> str:
    said = value.get("role")
    if isinstance(said, Mapping):  # an enum that was written out
        said = said.get("value")
    if said is None and value.get("type") in _MESSAGE_TYPES and value.get("type") != "message":
        said = value["type"]
    if said is None and "source" in value:
        said = "user" if value["source"] == "user" else "assistant"
    if said is None and isinstance(event, str):
        said = {"gen_ai.choice": "assistant"}.get(event, event.split(".")[1] if event.count(".") > 1 else None)
    text = str(said if said is not None else role or "user").rpartition(".")[2].lower()
    return _ROLES.get(text, text)


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _parts(value: Mapping[Any, Any], role: str) -> Iterable[dict[str, Any]]:
    content = parsed(value["parts"]) if "parts" in value else value.get("content")
    call_id = value.get("tool_call_id", value.get("id") if role == "tool" else None)
    if role == "tool" and not _holds_responses(content):
        yield _response(call_id, content)
        return
    yield from _content(content)
    for call in _list(parsed(value.get("tool_calls"))):
        if isinstance(call, Mapping):
            yield _called(call)
    legacy = parsed(value.get("function_call"))
    if isinstance(legacy, Mapping):
        yield _called(legacy)


def _holds_responses(content: Any) -> bool:
    items = parsed(content) if isinstance(content, str) and content[:1] == "[" else content
    return isinstance(items, list | tuple) and any(
        isinstance(item, Mapping) and (not item.keys().isdisjoint(_RESPONSE_KEYS) or item.get("type") in _RESPONSES)
        for item in items
    )


def _content(content: Any) -> Iterable[dict[str, Any]]:
    if content is None or content == "":
        return
    if isinstance(content, str):
        inner = parsed(content) if content[:1] == "[" else None
        blocks = isinstance(inner, list) and inner and all(_is_part(item) for item in inner)
        yield from (_part(item) for item in inner) if blocks and isinstance(inner, list) else (_text(content),)
    elif isinstance(content, list | tuple):
        yield from (_part(item) for item in content)
    elif isinstance(content, Mapping) and _is_part(content):
        yield _part(content)
    elif isinstance(content, Mapping) and "parts" in content:
        yield from _content(parsed(content["parts"]))
    else:
        yield _text(content)


def _part(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return _text(value)
    kind = value.get("type", value.get("kind"))
    read = _PARTS_BY_TYPE.get(kind) if isinstance(kind, str) else None
    if read is not None:
        return read(value)
    content = value.get("content")
    if kind == "text" and isinstance(content, str):
        return _text_or_call(content)
    for key, of_key in _PARTS_BY_KEY.items():
        if isinstance(value.get(key), Mapping):
            return of_key(value[key])
    if isinstance(value.get("text"), str) and kind in (None, "text", "input_text", "output_text"):
        return _text(value["text"])
    return {str(key): item for key, item in value.items()}


_REPR_OF_CALL = re.compile(r"\w*ToolCall\(")


def _call_in_repr(text: str) -> dict[str, Any] | None:
    """The call in what Python shows of an object: ``ResponseFunctionToolCall(arguments='{}', name='search')``."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
        fields = (
            {item.arg: ast.literal_eval(item.value) for item in call.keywords} if isinstance(call, ast.Call) else {}
        )
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return _called(fields) if "name" in fields else None


def _text_or_call(text: str) -> dict[str, Any]:
    call = _call_in_repr(text) if _REPR_OF_CALL.match(text) else None
    return _text(text) if call is None else call


def _text(value: Any) -> dict[str, Any]:
    return {"type": "text", "content": value if isinstance(value, str) else str(value)}


def _called(call: Mapping[Any, Any]) -> dict[str, Any]:
    """A call of a tool in any of the shapes."""
    function = call.get("function") if isinstance(call.get("function"), Mapping) else call
    source: Mapping[Any, Any] = function if isinstance(function, Mapping) else call
    arguments = _first(source, "arguments", "args", "input", "parameters")
    return {
        "type": "tool_call",
        "id": _first(call, "id", "call_id", "toolCallId", "tool_call_id", "toolUseId"),
        "name": _first(source, "name", "tool_name", "toolName"),
        "arguments": parsed(arguments),
    }


def _response(call_id: Any, content: Any) -> dict[str, Any]:
    return {"type": "tool_call_response", "id": call_id, "response": result_of(content)}


def _answered(value: Mapping[Any, Any]) -> dict[str, Any]:
    origin = value.get("origin")
    if isinstance(origin, Mapping):
        return _response(origin.get("id"), value.get("result"))
    call_id = _first(value, "id", "call_id", "tool_call_id", "toolCallId", "toolUseId", "tool_use_id")
    return _response(call_id, _first(value, "response", "result", "content", "output"))


def _first(value: Mapping[Any, Any], *keys: str) -> Any:
    return next((value[key] for key in keys if value.get(key) is not None), None)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _item(
    role: str, read: Callable[[Mapping[Any, Any]], dict[str, Any]]
) -> Callable[[Mapping[Any, Any]], dict[str, Any]]:
    return lambda value: {"role": role, "parts": [read(value)]}


_RESPONSES = frozenset({"tool_result", "tool-result", "tool_call_response", "tool-return"})
_RESPONSE_KEYS = frozenset({"toolResult", "tool_call_result", "function_response", "functionResponse"})
_PARTS_BY_KEY: dict[str, Callable[[Mapping[Any, Any]], dict[str, Any]]] = {
    "toolUse": _called,
    "tool_call": _called,
    "function_call": _called,
    "functionCall": _called,
    "toolResult": _answered,
    "tool_call_result": _answered,
    "function_response": _answered,
    "functionResponse": _answered,
}
_PART_KEYS = frozenset({*_PARTS_BY_KEY, "type", "text", "part_kind"})
_PARTS_BY_TYPE: dict[str, Callable[[Mapping[Any, Any]], dict[str, Any]]] = {
    **dict.fromkeys(("tool_call", "tool-call", "tool_use", "function"), _called),
    **dict.fromkeys(_RESPONSES, _answered),
}
_ITEMS: dict[Any, Callable[[Mapping[Any, Any]], dict[str, Any]]] = {
    "function_call": _item("assistant", _called),
    "function_call_output": _item("tool", _answered),
}
