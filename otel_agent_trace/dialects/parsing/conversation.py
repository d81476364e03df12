"""Messages in the shapes of providers and frameworks that write traces → `Message`.

Understood beside what `messages` knows: OpenAI's responses (items), Bedrock's and Gemini's blocks, those of LangChain,
Haystack, AutoGen and the AI SDK, and the events of the older GenAI conventions. For foreign spans only; values are what
JSON gives.
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
_INSIDE = (
    *("messages", "last_message", "choices", "contents", "replies", "generations"),
    *("input", "output", "inputs", "outputs", "update", "value", "message", "result", "response"),
)
"""Keys under which requests, answers and states of frameworks hold their messages."""
_DEEPEST = 8


def conversation(value: Any, role: str = "user") -> tuple[Message, ...]:
    """The messages in a value, whatever shape they have; a bare text is one of that role."""
    return tuple(_messages(parsed(value), role, _DEEPEST))


def question_in(value: Any) -> Any:
    """What was asked in a value: the last words of the user, where it holds messages, else its one text."""
    value = parsed(value)
    messages = tuple(_messages(value, None, _DEEPEST))
    return last_words(messages, "user") if messages else sole_text(value, answered=False)


def answer_in(value: Any) -> Any:
    """What was answered in a value: the last words of the assistant, where it holds messages, else its one text."""
    value = parsed(value)
    messages = tuple(_messages(value, None, _DEEPEST))
    return last_words(messages, "assistant") if messages else sole_text(value, answered=True)


def has_messages(value: Any) -> bool:
    """Whether a value holds messages, and is not just any data."""
    return any(True for _ in _messages(parsed(value), None, _DEEPEST))


def last_words(messages: Iterable[Message], role: str) -> str | None:
    """Return the text of the last message of a role that has one."""
    for message in reversed(tuple(messages)):
        if message.role == role:
            text = message.text
            if text.strip() and text not in HIDDEN:
                return text
    return None


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _messages(value: Any, role: str | None, depth: int) -> Iterator[Message]:
    """The messages in a parsed value; bare texts and parts only where a role is given for them."""
    if type(value) is dict:
        yield from _of_object(value, role, depth)
    elif type(value) is list or type(value) is tuple:
        if role is not None and value and all(map(_is_part, value)):
            yield Message(role=role, parts=tuple(map(_part, value)))
        elif depth:
            inner_role = role if depth == _DEEPEST else None
            for item in value:
                if _is_pair(item):
                    yield _message({"role": item[0], "content": item[1]}, None)
                    continue
                yield from _messages(parsed(item), inner_role if type(item) is str else None, depth - 1)
    elif type(value) is str and value and role is not None:
        yield Message(role=role, parts=(_text(value),))


def _is_pair(value: Any) -> bool:
    """Whether it is a message as LangChain takes it too: ``["user", "Hello"]``."""
    return (
        (type(value) is list or type(value) is tuple)
        and len(value) == 2
        and type(value[0]) is type(value[1]) is str
        and (value[0] in _USUAL_ROLES or value[0] in _ROLES)
    )


def _of_object(value: dict[Any, Any], role: str | None, depth: int) -> Iterator[Message]:
    message = message_in(value)
    if _is_message(message):
        yield _message(message, role)
        return
    for key in _INSIDE if depth else ():
        inner = parsed(value[key]) if key in value else None
        if inner and (type(inner) is list or type(inner) is dict):
            found = tuple(_messages(inner, None, depth - 1))
            if found:
                yield from found
                return
    if depth and len(value) == 1:  # a state under the name of whose it is
        (inner,) = map(parsed, value.values())
        if type(inner) is dict:
            yield from _of_object(inner, None, depth - 1)


def _is_message(value: dict[Any, Any]) -> bool:
    """Whether it is a message itself, and not something around messages."""
    if type(value.get("message")) is dict:
        return "event.name" in value
    if "role" in value or "event.name" in value or ("source" in value and "content" in value):
        return True
    kind = value.get("type")
    return type(kind) is str and (kind in _ITEMS or (kind in _MESSAGE_TYPES and "content" in value))


_MESSAGE_TYPES = frozenset({"human", "ai", "system", "tool", "user", "assistant", "message"})


def _message(value: dict[Any, Any], role: str | None) -> Message:
    event = value.get("event.name")
    if event is not None and type(value.get("message")) is dict:
        return _message(value["message"], "assistant")
    kind = value.get("type")
    item = _ITEMS.get(kind) if type(kind) is str else None
    if item is not None:
        return Message(role=item[0], parts=(item[1](value),))
    said_by_whom = _role_of(value, event, role)
    name = value.get("name")
    return Message(
        role=said_by_whom,
        parts=tuple(_parts(value, said_by_whom)),
        name=name if type(name) is str else None,
    )


def _role_of(value: dict[Any, Any], event: Any, role: str | None) -> str:
    said = value.get("role")
    if type(said) is dict:  # an enum that was written out
        said = said.get("value")
    if said is None:
        said = _implied_role(value, event) or role or "user"
    text = str(said)
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


def _parts(value: dict[Any, Any], role: str) -> Iterator[Part]:
    content = parsed(value["parts"]) if "parts" in value else value.get("content", value.get("blocks"))
    if role == "tool" and not _holds_responses(content):
        yield _response(value.get("tool_call_id") or value.get("id"), content)
        return
    yield from _content(content)
    for key in ("tool_calls", "function_call"):
        calls = parsed(value.get(key))
        for call in calls if type(calls) is list else (calls,):
            if type(call) is dict:
                yield _called(call)


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


def _content(content: Any) -> Iterator[Part]:
    if type(content) is str:
        blocks = parsed(content) if content[:1] == "[" else None
        if type(blocks) is list and blocks and all(map(_is_part, blocks)):
            yield from map(_part, blocks)
        elif content:
            yield _text_or_call(content)
    elif type(content) is list:
        yield from map(_part, content)
    elif type(content) is dict and "parts" in content:
        yield from _content(parsed(content["parts"]))
    elif type(content) is dict and type(content.get("text")) is dict:
        yield _text(content["text"].get("value", content["text"]))
    elif type(content) is dict and _is_part(content):
        yield _part(content)
    elif content is not None:
        yield _text(content)


def _is_part(value: Any) -> bool:
    if type(value) is not dict or "role" in value or _PART_KEYS.isdisjoint(value):
        return False
    kind = value.get("type")
    return not (type(kind) is str and kind in _MESSAGE_TYPES and "content" in value)


def _part(value: Any) -> Part:
    if type(value) is not dict:
        return _text(value)
    kind = value.get("type", value.get("kind", value.get("block_type")))
    if kind == "text" or kind is None or kind in ("input_text", "output_text"):
        text = value.get("content", value.get("text"))
        if type(text) is str:
            return _text_or_call(text)
    read = _PARTS_BY_TYPE.get(kind) if type(kind) is str else None
    if read is not None:
        return read(value)
    if kind is None and "tool_name" in value and "arguments" in value:
        return _called(value)
    if kind is None and type(value.get("origin")) is dict:
        return _answered(value)
    for key, of_key in _PARTS_BY_KEY.items():
        if type(value.get(key)) is dict:
            return of_key(value[key])
    return {str(key): item for key, item in value.items()}


def _text(value: Any) -> Part:
    return {"type": "text", "content": value if type(value) is str else str(value)}


_REPR_OF_CALL = re.compile(r"\w*ToolCall\(")


def _text_or_call(text: str) -> Part:
    """A text; what Python shows of a call, ``ResponseFunctionToolCall(arguments='{}', name='search')``, is that call."""
    call = _call_in_repr(text) if _REPR_OF_CALL.match(text) else None
    return {"type": "text", "content": text} if call is None else call


def _call_in_repr(text: str) -> Part | None:
    try:
        call = ast.parse(text.strip(), mode="eval").body
        words = call.keywords if isinstance(call, ast.Call) else ()
        fields = {item.arg: ast.literal_eval(item.value) for item in words}
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return _called(fields) if "name" in fields else None


def _called(call: dict[Any, Any]) -> Part:
    """A call of a tool in any of the shapes."""
    function = call.get("function")
    source = function if type(function) is dict else call
    return {
        "type": "tool_call",
        "id": _first(call, "id", "call_id", "toolCallId", "tool_call_id", "toolUseId"),
        "name": _first(source, "name", "tool_name", "toolName"),
        "arguments": parsed(_first(source, "arguments", "args", "input", "parameters")),
    }


def _response(call_id: Any, content: Any) -> Part:
    return {"type": "tool_call_response", "id": call_id, "response": result_of(content)}


def _answered(value: dict[Any, Any]) -> Part:
    origin = value.get("origin")
    if type(origin) is dict:
        return _response(origin.get("id"), value.get("result"))
    call_id = _first(value, "id", "call_id", "tool_call_id", "toolCallId", "toolUseId", "tool_use_id")
    content = _first(value, "response", "result", "content", "output")
    part = _response(call_id, content)
    if _says_failed(value) or (type(content) is dict and str(content.get("type")).startswith("error-")):
        part["is_error"] = True
    return part


def _says_failed(value: dict[Any, Any]) -> bool:
    return value.get("is_error") is True or value.get("isError") is True or value.get("status") == "error"


def _first(value: dict[Any, Any], *keys: str) -> Any:
    for key in keys:
        found = value.get(key)
        if found is not None:
            return found
    return None


_Read = Callable[[dict[Any, Any]], Part]
_RESPONSES = ("tool_result", "tool-result", "tool_call_response", "tool-return")
_RESPONSE_KEYS = frozenset({"toolResult", "tool_call_result", "function_response", "functionResponse"})
_PARTS_BY_KEY: dict[str, _Read] = {
    **dict.fromkeys(("toolUse", "tool_call", "function_call", "functionCall"), _called),
    **dict.fromkeys(sorted(_RESPONSE_KEYS), _answered),
}
_PART_KEYS = frozenset({*_PARTS_BY_KEY, "type", "text", "part_kind"})
_PARTS_BY_TYPE: dict[str, _Read] = {
    **dict.fromkeys(("tool_call", "tool-call", "tool_use", "function"), _called),
    **dict.fromkeys(_RESPONSES, _answered),
}
_ITEMS: dict[str, tuple[str, _Read]] = {
    "function_call": ("assistant", _called),
    "function_call_output": ("tool", _answered),
}
