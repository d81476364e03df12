"""Convert messages and token counts, in the shapes that callers and clients use, to `Message` and `Usage`.

Accepted are the shapes of the GenAI conventions (`role`, `parts`), of OpenAI (`role`, `content`, `tool_calls`,
`tool_call_id`) and of Anthropic (content blocks), as mappings or as the objects of their clients.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from otel_agent_trace.model import TOKEN_FIELDS, Message, Usage
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.values import Truncated, decode_text, encode_string, fields_of

_OWN_KEYS = ("role", "parts", "name")
EXTRA_KEY = "agent_trace.extra"
"""Key of a message whose parts must not be converted again; its value is `Message.extra`."""

# The conventions required the key up to 1.41, and readers of that time drop a list of answers without it. The reason
# itself is in `gen_ai.response.finish_reasons`.
FINISH_REASON_KEY, NO_FINISH_REASON = "finish_reason", ""
"""Key of an answer, and its value where a message has no reason of its own."""


def messages_from(value: Any) -> tuple[Message, ...]:
    """Return the messages in a value: a single message, or a list of them; None holds none."""
    if value is None:
        return ()
    if not issubclass(type(value), (list, tuple)):
        return (message_from(value),)
    return tuple(message_from(item) for item in _items_of(value))


def message_from(value: Any) -> Message:
    """Return a message from a mapping or a client's object; a bare text is a message of the user.

    An object whose methods raise is one too, so that the messages beside it are kept.
    """
    if issubclass(type(value), Message):
        return value  # type: ignore[no-any-return]
    try:
        return _message_from(value)
    except BaseException as error:  # a class of the program may raise anything
        if is_of_signal_handler(error):
            raise
        return Message(role="user", parts=({"type": "text", "content": encode_string(value).text},))


def _message_from(value: Any) -> Message:
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
        parts_as_they_are = tuple(part if type(part) is dict else _part_from(part) for part in rest["parts"])
        return Message(role=role, parts=parts_as_they_are, name=name, extra=extra)
    parts = _take_parts(role, rest)
    return Message(role=role, parts=tuple(parts), name=name, extra=_without_nones(rest))


def message_data(message: Message) -> dict[str, Any]:
    """Return a message as the conventions have it, so that `message_from` returns an equal message."""
    data: dict[str, Any] = {"role": message.role, "parts": list(message.parts)}
    if message.name is not None:
        data["name"] = message.name
    if all(map(_is_unchanged_as_part, message.parts)) and _fits_among_keys(message.extra):
        return {**message.extra, **data}
    return {**data, EXTRA_KEY: message.extra}


def _fits_among_keys(extra: dict[Any, Any]) -> bool:
    """Return whether extra keys fit among the keys of a message."""
    return not extra or not any(map(_would_be_lost, extra.keys(), extra.values()))


def _would_be_lost(key: Any, item: Any) -> bool:
    """Return whether an extra key would be read as something else, or be left out."""
    return item is None or key in (*_OWN_KEYS, EXTRA_KEY) or (key == FINISH_REASON_KEY and item == NO_FINISH_REASON)


def _without_nones(data: dict[Any, Any]) -> dict[Any, Any]:
    return {key: item for key, item in data.items() if item is not None}


def mapping_of(value: Any) -> Mapping[Any, Any] | None:
    """Return a mapping as it is, a client's object (with ``model_dump``) as a dict, None for anything else."""
    kind = type(value)
    if kind is dict:
        return value  # type: ignore[no-any-return]
    if issubclass(kind, dict):
        return dict.copy(value)
    try:
        return value if issubclass(kind, Mapping) else fields_of(value, exclude_none=True)
    except BaseException as error:  # a class of the program, or its metaclass, may raise anything
        if is_of_signal_handler(error):
            raise
        return None


def _take_parts(role: str, rest: dict[Any, Any]) -> list[dict[str, Any]]:
    """Remove the keys that make up the parts from `rest`, and return the parts."""
    if "parts" in rest:
        parts = rest.pop("parts")
        return (
            [_part_from(part) for part in _items_of(parts)]
            if issubclass(type(parts), (list, tuple))
            else [_part_from(parts)]
        )
    content = rest.pop("content", None)
    if role == "tool" and "tool_call_id" in rest:
        return [{"type": "tool_call_response", "id": rest.pop("tool_call_id"), "response": content}]
    calls = rest.pop("tool_calls", None)
    parts = [
        *_content_parts(content),
        *map(_call_part, _items_of(calls) if issubclass(type(calls), (list, tuple)) else ()),
    ]
    if rest and role == "assistant":
        if "function_call" in rest and mapping_of(rest["function_call"]) is not None:  # of OpenAI, before `tool_calls`
            parts.append(_call_part(rest.pop("function_call")))
        return [*_reasoning_parts(rest), *parts]
    return parts


_REASONING = ("reasoning_content", "reasoning", "thinking")
"""Keys of reasoning in messages of DeepSeek and vLLM, of OpenRouter, and of Ollama."""


def _reasoning_parts(rest: dict[str, Any]) -> list[dict[str, Any]]:
    """Remove the reasoning from a message's keys, and return its part; some servers give it under two keys."""
    given = [name for name in _REASONING if type(rest.get(name)) is str]
    texts = [rest.pop(name) for name in given]
    text = next(filter(None, texts), None)
    return [] if text is None else [{"type": "reasoning", "content": text}]


def _content_parts(content: Any) -> tuple[dict[str, Any], ...]:
    if content is None:
        return ()
    if issubclass(type(content), (list, tuple)):
        return tuple(_part_from(part) for part in _items_of(content))
    return (_part_from(content),)


def _items_of(items: list[Any] | tuple[Any, ...]) -> Iterable[Any]:
    """Return the items of a list or tuple, whatever `__iter__` a subclass defines, so that none is called."""
    return list.__iter__(items) if isinstance(items, list) else tuple.__iter__(items)


def _part_from(part: Any) -> dict[Any, Any]:
    if type(part) is str:
        return {"type": "text", "content": part}
    data = mapping_of(part)
    if data is None:
        return {"type": "text", "content": part if issubclass(type(part), str) else encode_string(part).text}
    writer = _BLOCKS.get(data.get("type")) if isinstance(data.get("type"), str) else None
    return (
        writer(data)
        if writer
        else {key if isinstance(key, Truncated) else str(key): item for key, item in data.items()}
    )


def _is_unchanged_as_part(part: Any) -> bool:
    """Return whether `_part_from` would return the part unchanged."""
    if type(part) is not dict or not all(type(key) is str for key in part):
        return False
    kind = part.get("type")
    return kind not in _BLOCKS or (kind == "text" and "text" not in part) if type(kind) is str else True


def _call_part(call: Any) -> dict[str, Any]:
    """Return a part for a tool call in OpenAI's shape, whose arguments are JSON in a text."""
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


_MISSING: Any = object()
_ATTRIBUTES = (numbers.Number, str, type(None))
"""Types of the attributes that are read of an object of an unknown class."""
_ANTHROPIC_KEYS = frozenset(("cache_creation_input_tokens", "cache_creation", "server_tool_use"))
"""Keys that only Anthropic's token counts have, and not always."""


def usage_from(value: Any) -> Usage | None:
    """Return token counts named as in `Usage`, by OpenAI or by Anthropic; whatever is no count goes to `details`.

    A count is a number that is whole and not negative, of any type: numpy's, a float, a Decimal. A bool, a fraction, NaN
    and a text of digits are none.

    Anthropic reports cached tokens beside the input; here, as in the conventions, they are part of it.
    """
    if value is None or (isinstance(value, Usage) and _has_counts_only(value)):
        return value
    data = mapping_of(value)
    if isinstance(value, Usage):
        data = {name: getattr(value, name) for name in ("details", *TOKEN_FIELDS)}
    elif data is None:
        attributes = {name: getattr(value, name, _MISSING) for name in (*TOKEN_FIELDS, *_SYNONYMS)}
        data = {name: item for name, item in attributes.items() if issubclass(type(item), _ATTRIBUTES)}  # not of mocks
    counts: dict[str, int] = {}
    details: dict[str, Any] = {}
    for key, item in data.items():
        name = _SYNONYMS.get(key, key) if isinstance(key, str) else key
        count = _count_of(item) if name in TOKEN_FIELDS and name not in counts else None
        if count is not None:
            counts[name] = count
        elif key == "details" and isinstance(item, Mapping):
            details.update(item)
        elif item is not None:
            details[key] = item
    _take_nested(details, counts)
    if not isinstance(value, Usage) and _has_input_without_cached(value, data, counts):
        counts["input_tokens"] = counts.get("input_tokens", 0) + _sum_of(counts, *_PARTS["input_tokens"])
    if _count_of(details.get("total_tokens")) == counts.get("input_tokens", 0) + counts.get("output_tokens", 0):
        del details["total_tokens"]
    usage = Usage(**counts, details=details)
    return usage or None


def _has_input_without_cached(value: Any, data: Mapping[Any, Any], counts: Mapping[str, int]) -> bool:
    """Return whether cached tokens stand beside the input, as Anthropic has them.

    A client's object has all of its fields, even if they are None. A mapping with none of the keys that only Anthropic
    has is recognised if it has more cached tokens than input.
    """
    if "cache_read_input_tokens" not in counts and "cache_write_input_tokens" not in counts:
        return False
    if not _ANTHROPIC_KEYS.isdisjoint(data) or not _ANTHROPIC_KEYS.isdisjoint(getattr(value, "__dict__", ())):
        return True
    cached = _sum_of(counts, *_PARTS["input_tokens"])
    return cached > counts.get("input_tokens", cached)


def with_parts(counts: dict[str, int], total: int | None = None) -> dict[str, int]:
    """Return token counts by field of `Usage`, with cached tokens as part of the input and reasoning of the output.

    A number that is less than its parts was reported without them (Anthropic's input, Gemini's output), as were those
    where only the sum with the parts is the reported total.
    """
    parts = {name: _sum_of(counts, *of_whole) for name, of_whole in _PARTS.items() if name in counts}
    beside = {name for name, count in parts.items() if count > counts[name]}
    known = _sum_of(counts, *_PARTS)
    if total is not None and not beside and total > known:
        combinations = ({"input_tokens"}, {"output_tokens"}, set(parts))
        fitting = [names for names in combinations if known + sum(parts.get(name, 0) for name in names) == total]
        beside = fitting[0] if fitting else beside
    return {name: count + (parts[name] if name in beside else 0) for name, count in counts.items()}


def with_cached(counts: dict[str, int]) -> dict[str, int]:
    """Return token counts by field of `Usage`, with cached tokens that were reported beside the input as part of it."""
    return {**counts, "input_tokens": _sum_of(counts, "input_tokens", *_PARTS["input_tokens"])}


_PARTS = {
    "input_tokens": ("cache_read_input_tokens", "cache_write_input_tokens"),
    "output_tokens": ("reasoning_output_tokens",),
}


def _sum_of(counts: Mapping[str, int], *names: str) -> int:
    return sum([counts.get(name, 0) for name in names])


def _take_nested(details: dict[str, Any], counts: dict[str, int]) -> None:
    for (outer, inner), name in _NESTED.items():
        nested = mapping_of(details.get(outer))
        count = _count_of(nested.get(inner)) if nested else None
        if count is not None:
            counts.setdefault(name, count)


def _has_counts_only(usage: Usage) -> bool:
    return all(count is None or type(count) is int for count in (getattr(usage, name) for name in TOKEN_FIELDS))


def _count_of(value: Any) -> int | None:
    """Return a whole number that is not negative as an `int`, whatever its type; None for anything else."""
    kind = type(value)
    if kind is int:
        return value if value >= 0 else None
    if kind is bool or not issubclass(kind, numbers.Number):  # numpy's numbers and Decimal are registered as such
        return None
    try:
        count = int(value)
        return count if count >= 0 and bool(count == value) else None
    except (ValueError, TypeError, OverflowError, ArithmeticError):  # NaN, an infinity, a complex number
        return None


def first_text(messages: Iterable[Message], role: str) -> str | None:
    """Return the text of the last message of a role; None where it has none."""
    texts = [message.text for message in messages if message.role == role]
    return texts[-1] if texts else None
