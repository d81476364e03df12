"""Convert messages in the shapes of providers and frameworks to `Message`.

Beside the shapes that `otel_agent_trace.messages` knows: items of OpenAI's Responses API, blocks of Bedrock and Gemini,
messages of LangChain, Haystack, AutoGen and the AI SDK, and the events of the older GenAI conventions. Used for spans
of other tracers only; values are what JSON gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from otel_agent_trace.dialects.parsing.chunks import joined_texts, whole_response
from otel_agent_trace.dialects.parsing.payloads import (
    HIDDEN,
    compact_json,
    cut,
    failure_in,
    message_in,
    parsed,
    result_of,
    sole_text,
    structured,
)
from otel_agent_trace.dialects.parsing.reprs import object_in_repr
from otel_agent_trace.dialects.parsing.texts import last_leaf
from otel_agent_trace.media import MEDIA_TYPES, may_hold_media, media_part
from otel_agent_trace.model import Message
from otel_agent_trace.span_facts import SpanFacts
from otel_agent_trace.values import Truncated

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
    """Return the messages in a value of any known shape; a bare text is one message of the given role.

    Of messages that a limit has cut, these are the whole ones and what is readable of the last.
    """
    return _messages(value, role)


def question_in(value: Any) -> Any:
    """Return the question in a value: the last one of the user in its messages, else its only text, else the value."""
    messages = _messages(value, None)
    if not messages:
        value = _sole_text(value, answered=False)
        messages = _messages(value, None)  # in an envelope around a state
    return last_content(messages, "user") if messages else value


def answer_in(value: Any) -> Any:
    """Return the answer in a value: the assistant's last one in its messages, else its only text, else the value.

    Of the messages of a conversation that a limit has cut, the last may not be the answer: None, unless it was cut within
    the text of the assistant.
    """
    value = joined_texts(parsed(value))
    messages = _messages(value, None)
    if not messages:
        return _sole_text(value, answered=True)
    answer = last_content(messages, "assistant")
    is_cut = type(value) is Truncated and any(message.role != "assistant" for message in messages)
    return None if is_cut and (messages[-1].role != "assistant" or type(answer) is not Truncated) else answer


def has_messages(value: Any) -> bool:
    """Return whether a value holds messages rather than any other data."""
    return any(True for _ in _messages_in(_readable(value), None, _DEEPEST))


def last_text(messages: Iterable[Message], role: str) -> str | None:
    """Return the text of the last message of a role that has a text and is not hidden; None where there is none."""
    for message in reversed(tuple(messages)):
        if message.role == role:
            text = message.text
            if text.strip() and text not in HIDDEN:
                return text
    return None


def last_content(messages: Iterable[Message], role: str) -> Any:
    """Return what the last message of a role holds that has a text or media, and is not hidden; None where there is none.

    That is its text, a `Truncated` of it where a limit has cut it, or a list of its parts: of all of a user's message
    with media, of the media in an answer without a text.
    """
    found = (_content_of(message) for message in reversed(tuple(messages)) if message.role == role)
    return next((content for content in found if content is not None), None)


def answer_of(facts: SpanFacts) -> Any:
    """Return what a model answered, of several choices the first: a text, or parts; None where it only called tools."""
    contents = map(_content_of, facts.answers)
    return next((content for content in contents if content is not None), None)


def is_content(value: Any) -> bool:
    """Return whether a value is what a message holds, a text or parts, rather than other data."""
    if type(value) is list and value:
        return all(type(part) is dict and part.get("type") in _CONTENT_TYPES for part in value)
    return type(value) is str


def _content_of(message: Message) -> Any:
    text = message.text
    has_text = bool(text.strip()) and text not in HIDDEN
    if any(part.get("type") in MEDIA_TYPES for part in message.parts) and not (
        has_text and message.role == "assistant"
    ):
        return [part for part in message.parts if part.get("type") in _CONTENT_TYPES]
    if not has_text:
        return None
    is_cut = any(type(part.get("content")) is Truncated for part in message.parts if part.get("type") == "text")
    return Truncated(text, None, "bytes") if is_cut else text


_CONTENT_TYPES = frozenset({"text", *MEDIA_TYPES})


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _messages(value: Any, role: str | None) -> tuple[Message, ...]:
    readable = _readable(value)
    found = tuple(_messages_in(joined_texts(readable) if role == "assistant" else readable, role, _DEEPEST))
    if not found or type(parsed(value)) is not Truncated:
        return found
    *whole, last = found
    parts = tuple(part for part in last.parts if any(item is not None for key, item in part.items() if key != "type"))
    return (*whole, msgspec.structs.replace(last, parts=parts)) if parts else tuple(whole)


def _readable(value: Any) -> Any:
    """Return a value parsed, but for a bare text; of one that a limit has cut, what is kept and can be relied on."""
    found = parsed(value)
    if type(found) is Truncated and type(found.kept) in (dict, list):
        return _without_cut_name(found.kept)
    if type(found) in (list, dict):
        return whole_response(found)
    return found if found is None or type(found) in (str, tuple, Truncated) else value


def _without_cut_name(data: Any) -> Any:
    """Return containers without the text at their end that a limit has cut, if it is a role, an id or the like."""
    leaf = last_leaf(data)
    if leaf is not None and type(leaf.value) is Truncated and leaf.key.lower().endswith(_NAMES):
        del leaf.holder[leaf.place]
    return data


_NAMES = ("role", "type", "kind", "source", "id", "name", "reason", "uri", "url")
"""Ends of keys whose values mean something else without their end."""


def _sole_text(value: Any, *, answered: bool) -> Any:
    value = parsed(value)
    if type(value) is not Truncated or type(value.kept) is str:
        return sole_text(value, answered=answered)
    is_state = type(value.kept) is dict and "messages" in value.kept
    if is_state or has_messages(value):  # what they hold is behind the cut
        return None
    text = sole_text(value.kept, answered=answered)
    return text if type(text) in (str, Truncated) else cut(text)


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
                yield from _messages_in(structured(item), inner_role if type(item) is str else None, depth - 1)
    elif type(value) is str and _REPR_OF_MESSAGE.match(value):
        fields = object_in_repr(value)
        found = _messages_in_object(fields, role, depth) if fields is not None else ()
        yield from (message for message in found if message.parts)  # LlamaIndex's `repr` of a message has none
    elif value and role is not None and type(value) in (str, Truncated):
        yield Message(role=role, parts=(_text_part(value),))


_REPR_OF_MESSAGE = re.compile(r"ChatMessage\(_?role=")
"""Beginning of the `repr` of a message of Haystack or smolagents, as OpenInference writes them."""


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
        inner = structured(value[key]) if key in value else None
        if inner and (type(inner) is list or type(inner) is dict):
            found = tuple(_messages_in(inner, None, depth - 1))
            if found:
                yield from found
                return
    if depth and len(value) == 1:  # LangGraph's updates hold the state of a node under its name
        (inner,) = map(structured, value.values())
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
    if message_role == "tool" and _holds_calls(value):  # Koog's calls have the role of their results
        message_role = "assistant"
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
    content = structured(value["parts"]) if "parts" in value else value.get("content", value.get("blocks"))
    is_cut_off = "parts" in value and type(content) is list and not any(content)
    if role == "tool" and not is_cut_off and not _holds_responses(content):
        yield _response_part(value, value.get("tool_call_id") or value.get("id"), content)
        return
    yield from _parts_of_content(content)
    for key, kind in _MEDIA_KEYS.items():
        yield from _media_beside(value.get(key), kind)
    for key in ("tool_calls", "function_call"):
        calls = structured(value.get(key))
        for call in calls if type(calls) is list else (calls,):
            if type(call) is dict:
                yield _call_part(call)


_MEDIA_KEYS = {"images": "image", "audio": "audio", "videos": "video", "files": "file", "media": "media"}
"""Keys beside the content of a message that hold media, in Ollama, Agno, Spring AI and OpenAI, and their types."""


def _media_beside(items: Any, kind: str) -> Iterator[Part]:
    for item in items if type(items) is list else (items,):
        part = media_part({"type": kind, **({"data": item} if type(item) is str else item)}) if item else None
        if part is not None:
            yield part


def _holds_responses(content: Any) -> bool:
    items = structured(content) if type(content) is str and content[:1] == "[" else content
    return type(items) is list and any(
        type(item) is dict
        and (
            str(item.get("type")) in _RESPONSES
            or type(item.get("origin")) is dict
            or not _RESPONSE_KEYS.isdisjoint(item)
        )
        for item in items
    )


def _holds_calls(value: dict[Any, Any]) -> bool:
    parts = structured(value.get("parts"))
    return bool(value.get("tool_calls")) or (
        type(parts) is list and any(type(part) is dict and part.get("type") == "tool_call" for part in parts)
    )


def _parts_of_content(content: Any) -> Iterator[Part]:
    inner = _parts_in_text(content) if type(content) is str or type(content) is Truncated else content
    if type(inner) is list:
        yield from map(_part_of, inner)
    elif type(inner) is dict and "parts" in inner:
        yield from _parts_of_content(structured(inner["parts"]))
    elif type(inner) is dict and type(inner.get("text")) is dict:
        yield _text_part(inner["text"].get("value", inner["text"]))
    elif type(inner) is dict and _is_part(inner):
        yield _part_of(inner)
    elif inner is not None and inner != "":
        yield _text_or_call(inner) if type(inner) is str else _text_part(inner)


def _parts_in_text(content: Any) -> Any:
    """Return the parts that a text holds as JSON; else the text, whatever other data it holds."""
    text = content if type(content) is str else content.kept
    if type(text) is not str or text[:1] not in ("[", "{"):
        return content
    inner = _readable(content)
    if type(inner) is list and inner and all(map(_is_part, inner)):
        return inner
    is_content = type(inner) is dict and (type(inner.get("parts")) is list or "role" in inner)
    return inner if is_content else content


def _is_part(value: Any) -> bool:
    if type(value) is not dict or "role" in value:
        return False
    if _PART_KEYS.isdisjoint(value):
        return may_hold_media(value)
    kind = value.get("type")
    return not (type(kind) is str and kind in _MESSAGE_TYPES and "content" in value)


def _part_of(value: Any) -> Part:
    if type(value) is not dict:
        return _text_part(value)
    media = media_part(value)
    if media is not None:
        return media
    kind = value.get("type", value.get("kind", value.get("block_type")))
    if kind == "text" or kind is None or kind in ("input_text", "output_text"):
        text = value.get("content", value.get("text"))
        if type(text) is str or type(text) is Truncated:
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
    is_text = type(value) is str or type(value) is Truncated
    is_data = type(value) is dict or type(value) is list
    return {"type": "text", "content": value if is_text else compact_json(value) if is_data else str(value)}


_REPR_OF_CALL = re.compile(r"\w*ToolCall\(")


def _text_or_call(text: Any) -> Part:
    """Return a text part, or the call whose `repr` it is: ``ResponseFunctionToolCall(arguments='{}', name='f')``."""
    fields = object_in_repr(text) if type(text) is str and _REPR_OF_CALL.match(text) else None
    return {"type": "text", "content": text} if fields is None or "name" not in fields else _call_part(fields)


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


def _response_part(value: dict[Any, Any], call_id: Any, content: Any) -> Part:
    failure = failure_in(content)
    response = result_of(content) if failure is None else failure
    part = {"type": "tool_call_response", "id": call_id, "response": response}
    is_error_value = type(content) is dict and str(content.get("type")).startswith("error-")
    if failure is not None or is_error_value or _is_failed(value):
        part["is_error"] = True
    return part


def _response_part_of(value: dict[Any, Any]) -> Part:
    origin = value.get("origin")
    if type(origin) is dict:
        has_failed = value.get("error") is True
        return _response_part({"is_error": has_failed}, origin.get("id"), value.get("result"))
    call_id = _first_of(value, "call_id", "tool_call_id", "toolCallId", "toolUseId", "tool_use_id", "id", "ref")
    return _response_part(value, call_id, _first_of(value, "response", "result", "content", "output"))


def _function_response_part(value: dict[Any, Any]) -> Part:
    """Return a response in the shape of Gemini's API, in which it is an object: a value stands under one key, or an error."""
    content = value.get("response")
    if type(content) is not dict or content.keys() not in _RESULT_KEYS:
        return _response_part_of(value)
    ((key, result),) = content.items()
    part = _response_part(value, value.get("id"), result)
    return {**part, "is_error": True} if key == "error" else part


def function_response(value: dict[Any, Any]) -> Any:
    """Return the result, or the text of the error, in a response in the shape of Gemini's API."""
    return _function_response_part(value)["response"]


_RESULT_KEYS = ({"output"}, {"result"}, {"error"})


def _is_failed(value: dict[Any, Any]) -> bool:
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
    **dict.fromkeys(("function_response", "functionResponse"), _function_response_part),
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
