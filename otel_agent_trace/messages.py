"""Messages and token counts in the shapes that people hand around, brought into those of the model.

Understood are the shape of the GenAI conventions (`role`, `parts`), OpenAI's (`role`, `content`, `tool_calls`,
`tool_call_id`) and Anthropic's (content blocks), as mappings or as the objects of their clients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from otel_agent_trace.model import TOKEN_FIELDS, Message, Usage
from otel_agent_trace.values import Truncated, decode_text

_OWN_KEYS = ("role", "parts", "name")
EXTRA_KEY = "agent_trace.extra"
"""Key of a message that stands as it is, parts included; it holds `Message.extra`."""

FINISH_REASON_KEY, NO_FINISH_REASON = "finish_reason", ""
"""Key of an answer which the conventions required up to 1.41, and what stands there where a message says nothing:
readers of that time drop a list of answers without it. The reason itself stands in
``gen_ai.response.finish_reasons``."""


def messages_from(value: Any) -> tuple[Message, ...]:
    """The messages that a value holds: one, or a list of them; none in None."""
    if value is None:
        return ()
    if isinstance(value, str | Mapping | Message) or not isinstance(value, list | tuple):
        return (message_from(value),)
    return tuple(message_from(item) for item in _held(value))


def message_from(value: Any) -> Message:
    """One message; a bare text is one from the user."""
    if isinstance(value, Message):
        return value
    data = mapping_of(value)
    if data is None:
        return Message(role="user", parts=_content_parts(value))
    rest = dict(data)
    role = rest.pop("role", None)
    role = str(role) if role is not None else "user"
    name = rest.pop("name", None)
    name = name if name is None else str(name)
    extra = rest.get(EXTRA_KEY)
    if isinstance(extra, dict) and isinstance(rest.get("parts"), list):
        as_they_are = tuple(part if type(part) is dict else _part(part) for part in rest["parts"])
        return Message(role=role, parts=as_they_are, name=name, extra=extra)
    parts = _parts(role, rest)
    return Message(role=role, parts=tuple(parts), name=name, extra=_something(rest))


def message_data(message: Message) -> dict[str, Any]:
    """The message as the conventions have it, so that `message_from` gives the same message back."""
    data: dict[str, Any] = {"role": message.role, "parts": list(message.parts)}
    if message.name is not None:
        data["name"] = message.name
    if all(map(_is_settled, message.parts)) and _is_free(message.extra):
        return {**message.extra, **data}
    return {**data, EXTRA_KEY: message.extra}


def _is_free(extra: dict[Any, Any]) -> bool:
    """Whether it can stand among the keys of a message."""
    return not extra or not any(map(_is_taken, extra.keys(), extra.values()))


def _is_taken(key: Any, item: Any) -> bool:
    """Whether an extra key would read as something else, or as nothing."""
    return item is None or key in (*_OWN_KEYS, EXTRA_KEY) or (key == FINISH_REASON_KEY and item == NO_FINISH_REASON)


def _something(data: dict[Any, Any]) -> dict[Any, Any]:
    return {key: item for key, item in data.items() if item is not None}


def mapping_of(value: Any) -> Mapping[Any, Any] | None:
    """A mapping as it is, a client's object as one; None for anything else."""
    if type(value) is dict:
        return value
    if issubclass(type(value), dict):
        return dict.copy(value)
    if isinstance(value, Mapping):
        return value
    dump = getattr(value, "model_dump", None)
    return dump(exclude_none=True) if callable(dump) else None


def _parts(role: str, rest: dict[Any, Any]) -> list[dict[str, Any]]:
    """Take the keys that make the parts out of `rest`."""
    if "parts" in rest:
        parts = rest.pop("parts")
        return [_part(part) for part in _held(parts)] if isinstance(parts, list | tuple) else [_part(parts)]
    content = rest.pop("content", None)
    if role == "tool" and "tool_call_id" in rest:
        return [{"type": "tool_call_response", "id": rest.pop("tool_call_id"), "response": content}]
    calls = rest.pop("tool_calls", None)
    return [*_content_parts(content), *map(_called, _held(calls) if isinstance(calls, list | tuple) else ())]


def _content_parts(content: Any) -> tuple[dict[str, Any], ...]:
    if content is None:
        return ()
    if isinstance(content, list | tuple):
        return tuple(_part(part) for part in _held(content))
    return (_part(content),)


def _held(items: list[Any] | tuple[Any, ...]) -> Iterable[Any]:
    """What is in them, whatever the `__iter__` of a class of their own gives."""
    return list.__iter__(items) if isinstance(items, list) else tuple.__iter__(items)


def _part(part: Any) -> dict[Any, Any]:
    if type(part) is str:
        return {"type": "text", "content": part}
    data = mapping_of(part)
    if data is None:
        return {"type": "text", "content": part if isinstance(part, str) else str(part)}
    writer = _BLOCKS.get(data.get("type")) if isinstance(data.get("type"), str) else None
    return (
        writer(data)
        if writer
        else {key if isinstance(key, Truncated) else str(key): item for key, item in data.items()}
    )


def _is_settled(part: Any) -> bool:
    """Whether `_part` gives it back as it is."""
    if type(part) is not dict or not all(type(key) is str for key in part):
        return False
    kind = part.get("type")
    return kind not in _BLOCKS or (kind == "text" and "text" not in part) if type(kind) is str else True


def _called(call: Any) -> dict[str, Any]:
    """A tool call in OpenAI's shape; its arguments are JSON in a text."""
    data = mapping_of(call) or {}
    function = mapping_of(data.get("function")) or data
    return {
        "type": "tool_call",
        "id": data.get("id"),
        "name": function.get("name"),
        "arguments": decode_text(function.get("arguments")),
    }


_BLOCKS: dict[Any, Any] = {
    "text": lambda block: {"type": "text", "content": block["text"]} if "text" in block else dict(block),
    "input_text": lambda block: {"type": "text", "content": block.get("text", "")},
    "output_text": lambda block: {"type": "text", "content": block.get("text", "")},
    "thinking": lambda block: {"type": "reasoning", "content": block.get("thinking", block.get("content", ""))},
    "tool_use": lambda block: {
        "type": "tool_call",
        "id": block.get("id"),
        "name": block.get("name"),
        "arguments": block.get("input"),
    },
    "tool_result": lambda block: {
        "type": "tool_call_response",
        "id": block.get("tool_use_id"),
        "response": block.get("content"),
    },
}


# ── token counts ─────────────────────────────────────────────────────────────────────────────────────────────────────

_SYNONYMS = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "cache_creation_input_tokens": "cache_write_input_tokens",
    "cache_read_tokens": "cache_read_input_tokens",
    "cache_write_tokens": "cache_write_input_tokens",
    "reasoning_tokens": "reasoning_output_tokens",
}
_NESTED = {
    ("prompt_tokens_details", "cached_tokens"): "cache_read_input_tokens",
    ("input_tokens_details", "cached_tokens"): "cache_read_input_tokens",
    ("completion_tokens_details", "reasoning_tokens"): "reasoning_output_tokens",
    ("output_tokens_details", "reasoning_tokens"): "reasoning_output_tokens",
}


def usage_from(value: Any) -> Usage | None:
    """Token counts under the names of the model, of OpenAI or of Anthropic; what is no count goes to `details`.

    Anthropic counts cached tokens beside the input; here, as in the conventions, they are part of it.
    """
    if value is None or (isinstance(value, Usage) and _has_counts_only(value)):
        return value
    data = mapping_of(value)
    if isinstance(value, Usage):
        data = {name: getattr(value, name) for name in ("details", *TOKEN_FIELDS)}
    elif data is None:
        data = {name: item for name in (*TOKEN_FIELDS, *_SYNONYMS) if (item := getattr(value, name, None)) is not None}
    counts: dict[str, int] = {}
    details: dict[str, Any] = {}
    for key, item in data.items():
        name = _SYNONYMS.get(key, key) if isinstance(key, str) else key
        if name in TOKEN_FIELDS and _is_count(item) and name not in counts:
            counts[name] = item
        elif key == "details" and isinstance(item, Mapping):
            details.update(item)
        elif item is not None:
            details[key] = item
    _take_nested(details, counts)
    if "cache_creation_input_tokens" in data:
        cached = counts.get("cache_read_input_tokens", 0) + counts.get("cache_write_input_tokens", 0)
        counts["input_tokens"] = counts.get("input_tokens", 0) + cached
    if details.get("total_tokens") == counts.get("input_tokens", 0) + counts.get("output_tokens", 0):
        del details["total_tokens"]
    usage = Usage(**counts, details=details)
    return usage or None


def _take_nested(details: dict[str, Any], counts: dict[str, int]) -> None:
    for (outer, inner), name in _NESTED.items():
        nested = mapping_of(details.get(outer))
        if nested and _is_count(nested.get(inner)):
            counts.setdefault(name, nested[inner])


def _has_counts_only(usage: Usage) -> bool:
    return all(count is None or _is_count(count) for count in (getattr(usage, name) for name in TOKEN_FIELDS))


def _is_count(value: Any) -> bool:
    return type(value) is int


def first_text(messages: Iterable[Message], role: str) -> str | None:
    """The text of the last message of that role, where there is one."""
    texts = [message.text for message in messages if message.role == role]
    return texts[-1] if texts else None
