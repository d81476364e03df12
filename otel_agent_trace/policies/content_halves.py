"""Remove inputs from values that hold outputs too, and the other way round.

Instrumentations record whole conversations, requests and states of graphs as one JSON value. A message of it is an input or
an output by who wrote it: answers of models and results of tools are outputs also where they are sent to a model again,
questions and instructions are inputs also where a graph returns them, and so are the arguments of a tool call wherever a
model asks for it. What cannot be taken apart, such as a Python repr or a value that a limit cut, is left out if it may hold
what is to be removed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from otel_agent_trace.policies.content_names import Content, direction_of
from otel_agent_trace.policies.rewriting import container_in

_MISSING = object()
_MOST_LEVELS = 100
_OUTPUT_WRITERS = frozenset(
    [
        *("assistant", "model", "ai", "aimessage", "aimessagechunk", "chatbot", "bot"),
        *("tool", "toolmessage", "toolmessagechunk", "toolcall", "toolresponse", "toolresult"),
        *("function", "functionmessage"),
    ]
)
_INPUT_WRITERS = frozenset(
    [
        *("user", "human", "humanmessage", "humanmessagechunk", "usermessage"),
        *("system", "systemmessage", "developer", "instruction"),
    ]
)
_OUTPUT_TYPES = frozenset(
    [
        *("ai", "aimessage", "aimessagechunk", "assistant", "tool", "toolmessage", "functionmessage"),
        *("toolresult", "toolcallresponse", "toolresponse", "functioncalloutput", "functionresponse"),
        *("reasoning", "thinking", "outputtext"),
    ]
)
_INPUT_TYPES = _INPUT_WRITERS | {"inputtext"}
_KEPT_KEYS = ("role", "type", "id", "name")
_AUTHOR_KEYS = ("source", "author", "sender")
_WORDS_ONLY = re.compile(r"[\W_]+")
_REPR = re.compile(r"\s*(?:[\[{(<]|\w+\()")
_MAY_HOLD = {
    Content.OUTPUT: re.compile(
        r"(?i)assistant|ai_?message|tool_?(?:message|result|response|call_response)|function_?(?:response|call_output)"
        r"|[\"'](?:tool|ai|model|function)[\"']|\b(?:output|result|response|answer|completion)s?[\"']?\s*[=:]"
    ),
    Content.INPUT: re.compile(
        r"(?i)human_?message|user_?message|system_?message|(?:role\.|[\"'])(?:user|human|system|developer)\b"
        r"|\b(?:input|prompt|question|query|argument|arg|task|instruction)s?[\"']?\s*[=:]"
    ),
}


def without_half(value: Any, removed: Content) -> Any:
    """Return a value without the inputs or the outputs in it; the same object if it has none, None if nothing is left.

    Args:
        value: the value of an attribute: a text, which may be JSON, or any JSON value.
        removed: `Content.INPUT` or `Content.OUTPUT`.
    """
    kept = _kept(value, removed, 0)
    return None if kept is _MISSING else kept


def writer_of(role: object) -> Content:
    """Return whether a message of a role is an input or an output; both for a role that is the name of an agent."""
    word = _WORDS_ONLY.sub("", str(role)).lower()
    return Content.INPUT if word in _INPUT_WRITERS else Content.OUTPUT if word in _OUTPUT_WRITERS else Content.BOTH


def _kept(value: Any, removed: Content, level: int) -> Any:
    if level > _MOST_LEVELS:
        return _MISSING
    if isinstance(value, str):
        return _kept_text(value, removed, level)
    if isinstance(value, Mapping):
        return _emptied(value) if _written_as(value) & removed else _kept_mapping(value, removed, level)
    if isinstance(value, list | tuple):
        items = [kept for item in value if (kept := _kept(item, removed, level + 1)) is not _MISSING]
        is_same = len(items) == len(value) and all(new is old for new, old in zip(items, value, strict=True))
        return value if is_same else items
    return value


def _kept_text(text: str, removed: Content, level: int) -> Any:
    data = container_in(text)
    if data is None:
        return _MISSING if _REPR.match(text) and _MAY_HOLD[removed].search(text) else text
    kept = _kept(data, removed, level + 1)
    if kept is data or kept is _MISSING:
        return text if kept is data else _MISSING
    return msgspec.json.encode(kept).decode()


def _kept_mapping(value: Mapping[Any, Any], removed: Content, level: int) -> Any:
    is_langchain = "lc" in value  # a message of LangChain has all its fields under `kwargs`
    changed = {
        key: kept
        for key, item in value.items()
        if (is_langchain or not (direction_of(str(key)) & removed))
        and (kept := _kept(item, removed, level + 1)) is not _MISSING
    }
    is_same = len(changed) == len(value) and all(changed[key] is item for key, item in value.items())
    return value if is_same else changed


def _written_as(value: Mapping[Any, Any]) -> Content:
    """Return what a mapping holds if it is a message or a part of one, by its role or its type."""
    role = value.get("role", value.get("_role"))
    if isinstance(role, str):
        return writer_of(role)
    authors = (writer_of(value[key]) for key in _AUTHOR_KEYS if isinstance(value.get(key), str))
    if (author := next(authors, Content.BOTH)) is not Content.BOTH:
        return author
    kind, path = value.get("type"), value.get("id")
    if isinstance(path, list) and path:  # LangChain: {"lc": 1, "id": ["langchain", …, "AIMessage"], "kwargs": …}
        kind = path[-1]
    word = _WORDS_ONLY.sub("", kind).lower() if isinstance(kind, str) else ""
    return Content.INPUT if word in _INPUT_TYPES else Content.OUTPUT if word in _OUTPUT_TYPES else Content.STRUCTURE


def _emptied(message: Mapping[Any, Any]) -> dict[str, Any]:
    kept = {key: message[key] for key in _KEPT_KEYS if isinstance(message.get(key), str)}
    return {**kept, "parts": []} if "parts" in message else kept
