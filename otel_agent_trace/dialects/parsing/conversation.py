"""Convert messages in the shapes of providers and frameworks to `Message`.

Beside the shapes that `otel_agent_trace.messages` knows: items of OpenAI's Responses API, blocks of Bedrock and Gemini,
messages of LangChain, Haystack, AutoGen and the AI SDK, and the events of the older GenAI conventions. Used for spans
of other tracers only; values are what JSON gives.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from otel_agent_trace.dialects.parsing.payloads import HIDDEN, message_in, parsed, result_of, sole_text
from otel_agent_trace.model import Message

Part = dict[str, Any]
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
_MESSAGE_HOLDERS = (
    *("messages", "last_message", "choices", "contents", "replies", "generations"),
    *("input", "output", "inputs", "outputs", "update", "value", "message", "result", "response"),
)
"""Keys under which requests, responses and states of frameworks hold their messages."""
_DEEPEST = 8


def conversation(value: Any, role: str = "user") -> tuple[Message, ...]:
    """Return the messages in a value of any known shape; a bare text is one message of the given role."""
    return tuple(_messages_in(parsed(value), role, _DEEPEST))


def question_in(value: Any) -> Any:
    """Return the question in a value: the last text of the user in its messages, else its only text, else the value."""
    value = parsed(value)
    messages = tuple(_messages_in(value, None, _DEEPEST))
    return last_text(messages, "user") if messages else sole_text(value, answered=False)


def answer_in(value: Any) -> Any:
    """Return the answer in a value: the assistant's last text in its messages, else its only text, else the value."""
    value = parsed(value)
    messages = tuple(_messages_in(value, None, _DEEPEST))
    return last_text(messages, "assistant") if messages else sole_text(value, answered=True)


def has_messages(value: Any) -> bool:
    """Return whether a value holds messages rather than any other data."""
    return any(True for _ in _messages_in(parsed(value), None, _DEEPEST))


def last_text(messages: Iterable[Message], role: str) -> str | None:
    """Return the text of the last message of a role that has a text and is not hidden; None where there is none."""
    for message in reversed(tuple(messages)):
        if message.role == role:
            text = message.text
            if text.strip() and text not in HIDDEN:
                return text
    return None


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _messages_in(value: Any, role: str | None, depth: int) -> Iterator[Message]:
    """Yield the messages in a parsed value; bare texts and parts count only where a role is given for them."""
    if type(value) is dict:
        yield from _messages_in_object(value, role, depth)
    elif type(value) is list or type(value) is tuple:
        if role is not None and value and all(map(_is_part, value)):
            yield Message(role=role, parts=tuple(map(_part_of, value)))
        elif depth:
            inner_role = role if depth == _DEEPEST else None
            for item in value:
                if _is_pair(item):
                    yield _message_of({"role": item[0], "content": item[1]}, None)
                    continue
                yield from _messages_in(parsed(item), inner_role if type(item) is str else None, depth - 1)
    elif type(value) is str and value and role is not None:
        yield Message(role=role, parts=(_text_part(value),))


def _is_pair(value: Any) -> bool:
    """Return whether a value is a message in LangChain's short form, ``["user", "Hello"]``."""
    return (
        (type(value) is list or type(value) is tuple)
        and len(value) == 2
        and type(value[0]) is type(value[1]) is str
        and (value[0] in _USUAL_ROLES or value[0] in _ROLES)
    )


def _messages_in_object(value: dict[Any, Any], role: str | None, depth: int) -> Iterator[Message]:
    message = message_in(value)
    if _is_message(message):
        yield _message_of(message, role)
        return
    for key in _MESSAGE_HOLDERS if depth else ():
        inner = parsed(value[key]) if key in value else None
        if inner and (type(inner) is list or type(inner) is dict):
            found = tuple(_messages_in(inner, None, depth - 1))
            if found:
                yield from found
                return
    if depth and len(value) == 1:  # LangGraph's updates hold the state of a node under its name
        (inner,) = map(parsed, value.values())
        if type(inner) is dict:
            yield from _messages_in_object(inner, None, depth - 1)


def _is_message(value: dict[Any, Any]) -> bool:
    """Return whether an object is a message itself, and not an envelope around messages."""
    if type(value.get("message")) is dict:
        return "event.name" in value
    if "role" in value or "event.name" in value or ("source" in value and "content" in value):
        return True
    kind = value.get("type")
    return type(kind) is str and (kind in _ITEMS or (kind in _MESSAGE_TYPES and "content" in value))


_MESSAGE_TYPES = frozenset({"human", "ai", "system", "tool", "user", "assistant", "message"})


def _message_of(value: dict[Any, Any], role: str | None) -> Message:
    event = value.get("event.name")
    if event is not None and type(value.get("message")) is dict:
        return _message_of(value["message"], "assistant")
    kind = value.get("type")
    item = _ITEMS.get(kind) if type(kind) is str else None
    if item is not None:
        return Message(role=item[0], parts=(item[1](value),))
    message_role = _role_of(value, event, role)
    name = value.get("name")
    return Message(
        role=message_role,
        parts=tuple(_parts_of_message(value, message_role)),
        name=name if type(name) is str else None,
    )


def _role_of(value: dict[Any, Any], event: Any, role: str | None) -> str:
    recorded_role = value.get("role")
    if type(recorded_role) is dict:  # an enum that was serialized as an object
        recorded_role = recorded_role.get("value")
    if recorded_role is None:
        recorded_role = _implied_role(value, event) or role or "user"
    text = str(recorded_role)
    if text not in _USUAL_ROLES:
        text = text.rpartition(".")[2].lower()
        text = _ROLES.get(text, text)
    return text


_USUAL_ROLES = frozenset({"user", "assistant", "system", "tool"})


def _implied_role(value: dict[Any, Any], event: Any) -> str | None:
    kind = value.get("type")
    if type(kind) is str and kind in _MESSAGE_TYPES and kind != "message":
        return kind
    if "source" in value:
        return "user" if value["source"] == "user" else "assistant"
    if event == "gen_ai.choice":
        return "assistant"
    parts = event.split(".") if type(event) is str else ()
    return parts[1] if len(parts) > 2 else None


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _parts_of_message(value: dict[Any, Any], role: str) -> Iterator[Part]:
    content = parsed(value["parts"]) if "parts" in value else value.get("content", value.get("blocks"))
    if role == "tool" and not _holds_responses(content):
        yield _response_part(value.get("tool_call_id") or value.get("id"), content)
        return
    yield from _parts_of_content(content)
    for key in ("tool_calls", "function_call"):
        calls = parsed(value.get(key))
        for call in calls if type(calls) is list else (calls,):
            if type(call) is dict:
                yield _call_part(call)


def _holds_responses(content: Any) -> bool:
    items = parsed(content) if type(content) is str and content[:1] == "[" else content
    return type(items) is list and any(
        type(item) is dict
        and (
            str(item.get("type")) in _RESPONSES
            or type(item.get("origin")) is dict
            or not _RESPONSE_KEYS.isdisjoint(item)
        )
        for item in items
    )


def _parts_of_content(content: Any) -> Iterator[Part]:
    if type(content) is str:
        blocks = parsed(content) if content[:1] == "[" else None
        if type(blocks) is list and blocks and all(map(_is_part, blocks)):
            yield from map(_part_of, blocks)
        elif content:
            yield _text_or_call(content)
    elif type(content) is list:
        yield from map(_part_of, content)
    elif type(content) is dict and "parts" in content:
        yield from _parts_of_content(parsed(content["parts"]))
    elif type(content) is dict and type(content.get("text")) is dict:
        yield _text_part(content["text"].get("value", content["text"]))
    elif type(content) is dict and _is_part(content):
        yield _part_of(content)
    elif content is not None:
        yield _text_part(content)


def _is_part(value: Any) -> bool:
    if type(value) is not dict or "role" in value or _PART_KEYS.isdisjoint(value):
        return False
    kind = value.get("type")
    return not (type(kind) is str and kind in _MESSAGE_TYPES and "content" in value)


def _part_of(value: Any) -> Part:
    if type(value) is not dict:
        return _text_part(value)
    kind = value.get("type", value.get("kind", value.get("block_type")))
    if kind == "text" or kind is None or kind in ("input_text", "output_text"):
        text = value.get("content", value.get("text"))
        if type(text) is str:
            return _text_or_call(text)
    read = _PARTS_BY_TYPE.get(kind) if type(kind) is str else None
    if read is not None:
        return read(value)
    if kind is None and "tool_name" in value and "arguments" in value:
        return _call_part(value)
    if kind is None and type(value.get("origin")) is dict:  # Haystack's ToolCallResult, whose origin is the call
        return _response_part_of(value)
    for key, of_key in _PARTS_BY_KEY.items():
        if type(value.get(key)) is dict:
            return of_key(value[key])
    return {str(key): item for key, item in value.items()}


def _text_part(value: Any) -> Part:
    return {"type": "text", "content": value if type(value) is str else str(value)}


_REPR_OF_CALL = re.compile(r"\w*ToolCall\(")


def _text_or_call(text: str) -> Part:
    """Return a text part, or the call whose `repr` it is: ``ResponseFunctionToolCall(arguments='{}', name='f')``."""
    call = _call_in_repr(text) if _REPR_OF_CALL.match(text) else None
    return {"type": "text", "content": text} if call is None else call


def _call_in_repr(text: str) -> Part | None:
    try:
        call = ast.parse(text.strip(), mode="eval").body
        keywords = call.keywords if isinstance(call, ast.Call) else ()
        fields = {item.arg: ast.literal_eval(item.value) for item in keywords}
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return _call_part(fields) if "name" in fields else None


def _call_part(call: dict[Any, Any]) -> Part:
    """Return a tool call of any shape as a part of the GenAI conventions."""
    function = call.get("function")
    source = function if type(function) is dict else call
    return {
        "type": "tool_call",
        "id": _first_of(call, "call_id", "id", "toolCallId", "tool_call_id", "toolUseId", "ref"),
        "name": _first_of(source, "name", "tool_name", "toolName"),
        "arguments": parsed(_first_of(source, "arguments", "args", "input", "parameters")),
    }


def _response_part(call_id: Any, content: Any) -> Part:
    return {"type": "tool_call_response", "id": call_id, "response": result_of(content)}


def _response_part_of(value: dict[Any, Any]) -> Part:
    origin = value.get("origin")
    if type(origin) is dict:
        return _response_part(origin.get("id"), value.get("result"))
    call_id = _first_of(value, "call_id", "tool_call_id", "toolCallId", "toolUseId", "tool_use_id", "id", "ref")
    content = _first_of(value, "response", "result", "content", "output")
    part = _response_part(call_id, content)
    if _is_marked_failed(value) or (type(content) is dict and str(content.get("type")).startswith("error-")):
        part["is_error"] = True
    return part


def _is_marked_failed(value: dict[Any, Any]) -> bool:
    return value.get("is_error") is True or value.get("isError") is True or value.get("status") == "error"


def _first_of(value: dict[Any, Any], *keys: str) -> Any:
    for key in keys:
        found = value.get(key)
        if found is not None:
            return found
    return None


_Read = Callable[[dict[Any, Any]], Part]
_RESPONSES = ("tool_result", "tool-result", "tool_call_response", "tool-return")
_RESPONSE_KEYS = frozenset({"toolResult", "tool_call_result", "function_response", "functionResponse", "toolResponse"})
_PARTS_BY_KEY: dict[str, _Read] = {
    **dict.fromkeys(("toolUse", "tool_call", "function_call", "functionCall", "toolRequest"), _call_part),
    **dict.fromkeys(sorted(_RESPONSE_KEYS), _response_part_of),
}
_PART_KEYS = frozenset({*_PARTS_BY_KEY, "type", "text", "part_kind"})
_PARTS_BY_TYPE: dict[str, _Read] = {
    **dict.fromkeys(("tool_call", "tool-call", "tool_use", "function", "function_call"), _call_part),
    "function_call_output": _response_part_of,
    **dict.fromkeys(_RESPONSES, _response_part_of),
}
_ITEMS: dict[str, tuple[str, _Read]] = {
    "function_call": ("assistant", _call_part),
    "function_call_output": ("tool", _response_part_of),
}
