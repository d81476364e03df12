"""Unwrap values that other tracers wrote: JSON in JSON, Python literals, envelopes of frameworks.

Used for values of other tracers' spans only. A value of an unknown shape is returned as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from otel_agent_trace.dialects.parsing.texts import beginning_of, last_leaf, looks_structured, value_in
from otel_agent_trace.media import media_part
from otel_agent_trace.values import Truncated

_DEEPEST = 5
HIDDEN = frozenset({"__REDACTED__", "HIDDEN:non-empty", "<REDACTED>", "<elided>", "[REDACTED]"})
"""Texts that tracers write in place of content when they are configured not to record it."""
_PLAIN = frozenset("abcdeghijklmopqrsuvwxyzABCDEFGHIJKLMOPQRSTUVWXYZ*#")
"""First characters that neither JSON nor a Python literal worth reading begins with."""
_ARGUMENT_ENVELOPE = frozenset({"args", "kwargs", "sanitize_inputs_outputs"})
_RUN_ENVELOPE = frozenset({"inputs", "tags", "metadata", "kwargs", "input_str", "run_id", "parent_run_id", "name"})
_OUTPUT_ENVELOPE = frozenset({"output", "outputs", "kwargs", "tags", "metadata", "run_id", "parent_run_id"})
_TOOL_CALL = frozenset({"name", "args", "arguments", "id", "type", "tool_name", "tool_call_id", "call_id"})


def parsed(value: Any) -> Any:
    """Return the value in an attribute: that of JSON or of a Python literal in a text, any other value as it is.

    Of a text that a limit has cut, that is a `Truncated`; of hidden content it is None.
    """
    if type(value) is not str or value[:1] in _PLAIN:
        return structured(value)
    inner = value_in(value)
    if inner is value:
        inner = beginning_of(value) or value
    return None if type(inner) is str and inner in HIDDEN else structured(inner)


def structured(value: Any) -> Any:
    """Return the object or list in a text, any other value as it is.

    For a text within a value that was parsed: one like ``555`` or ``null`` is no number there, and not None.
    """
    if type(value) is Truncated and type(value.kept) is str:
        return beginning_of(value.kept) or value
    for _ in range(_DEEPEST):
        if type(value) is not str or not looks_structured(value):
            break
        inner = value_in(value)
        if inner is value:
            break
        value = inner
    return value


def kept_of(value: Any) -> Any:
    """Return what is kept of a value that a limit has cut, any other value as it is."""
    return value.kept if type(value) is Truncated else value


def cut(value: Any) -> Truncated:
    """Return a value that a limit has cut; of a text at its end, as of the whole, what is kept."""
    if type(value) is Truncated:
        return value
    leaf = last_leaf(value)
    if leaf is not None and type(leaf.value) is Truncated:
        leaf.holder[leaf.place] = leaf.value.kept
    return Truncated(value, None, "bytes")


def compact_json(value: Any) -> str:
    """Return a value as JSON text on one line."""
    return json.dumps(value, ensure_ascii=False, default=str)


# ── arguments ────────────────────────────────────────────────────────────────────────────────────────────────────────


def model_in(request: Any) -> str | None:
    """Return the model that the parameters of a request name, None where they name none."""
    names = (request.get("model"), request.get("model_name")) if isinstance(request, dict) else ()
    return next((name for name in names if isinstance(name, str) and name), None)


def arguments_of(value: Any) -> Any:
    """Return the arguments of a call, without the envelopes that frameworks put around them."""
    if type(value) is Truncated:
        return cut(arguments_of(value.kept))
    value = structured(value)
    for _ in range(_DEEPEST):
        if not isinstance(value, dict) or not value:
            break
        inner = _arguments_in(value)
        if inner is value:
            break
        value = structured(inner)
    return value


def _arguments_in(data: dict[Any, Any]) -> Any:
    keys = data.keys()
    if "kwargs" in keys and keys <= _ARGUMENT_ENVELOPE:
        return _positional_or_keywords(data)
    if "inputs" in keys and keys <= _RUN_ENVELOPE:
        return data["inputs"]
    if keys <= _TOOL_CALL and ("name" in keys or "tool_name" in keys) and len(keys) > 1:
        return data.get("arguments", data.get("args", data))
    if "input" in keys and isinstance(structured(data["input"]), dict) and not _has_other_than(data, "input"):
        return data["input"]
    return data


def _has_other_than(data: dict[Any, Any], key: str) -> bool:
    """Return whether an object has a value under any other key."""
    return any(item is not None for other, item in data.items() if other != key)


def _positional_or_keywords(data: dict[Any, Any]) -> Any:
    """Return keyword arguments where there are only these, or the value of a single positional argument."""
    positional, keywords = structured(data.get("args")), structured(data["kwargs"])
    if not positional:
        return keywords
    if not keywords and isinstance(positional, list | tuple):
        return positional[0] if len(positional) == 1 else list(positional)
    return data


# ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def result_of(value: Any) -> Any:
    """Return the result of a tool, without the message or the content blocks in which it was sent back to the model."""
    return _unwrapped(_content_in_repr(value), _result_in)


def content_of(value: Any) -> Any:
    """Return the result of a tool without the message or the content blocks around it, but as it is otherwise.

    Only what is marked as sent to a model is unwrapped: content blocks, results of MCP, messages with the id of a call.
    """
    return _unwrapped(_content_in_repr(value), _content_in)


def _unwrapped(value: Any, inner_of: Callable[[Any], Any]) -> Any:
    value = structured(value)
    for _ in range(_DEEPEST):
        if type(value) is Truncated:
            return cut(_unwrapped(value.kept, inner_of)) if type(value.kept) in (dict, list) else value
        inner = inner_of(value)
        if inner is value:
            break
        value = structured(inner)
    return value


_REPR_OF_MESSAGE = re.compile(
    r"""(?:ToolMessage\()?content=('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"),? .*\btool_call_id=""", re.DOTALL
)


def _content_in_repr(value: Any) -> Any:
    """Return the content of a LangChain tool message from its `repr`, ``content='...' tool_call_id='...'``."""
    found = _REPR_OF_MESSAGE.match(value) if type(value) is str else None
    return value if found is None else value_in(found[1])


def _content_in(value: Any) -> Any:
    if isinstance(value, list):
        return _content_of_blocks(value)
    if not isinstance(value, dict):
        return value
    if _is_mcp_result(value):
        return _mcp_result(value)
    if _is_blob(value):
        return _content_of_blocks([value])
    if value.keys() == {"type", "value"} and value["type"] in _TYPED_VALUES:
        return value["value"]
    if "toolResult" in value and isinstance(value["toolResult"], dict):
        return value["toolResult"].get("content")
    message = message_in(value)
    return message["content"] if "content" in message and not _CALL_IDS.isdisjoint(message) else value


def _result_in(value: Any) -> Any:
    content = _content_in(value)
    if content is not value or not isinstance(value, dict):
        return content
    message = message_in(value)
    if message is not value:
        return message.get("content")
    if value.get("type") in ("tool", "tool_result", "tool_call_response", "function_call_output"):
        return next((value[key] for key in ("content", "result", "response", "output") if key in value), value)
    if "raw_output" in value and "tool_name" in value:  # LlamaIndex's ToolOutput
        return value["raw_output"]
    return _output_in_envelope(value)


_CALL_IDS = frozenset({"tool_call_id", "tool_use_id", "toolUseId"})
_TYPED_VALUES = ("text", "json", "content", "error-text", "error-json")
"""Types of the output of a tool in messages of Vercel's AI SDK, which holds the result as `value`."""


def _output_in_envelope(value: dict[Any, Any]) -> Any:
    """Return the only output in an envelope, all keys of which are those of envelopes."""
    keys = value.keys()
    for key in ("output", "outputs"):
        if key in keys and keys <= _OUTPUT_ENVELOPE and (len(keys) > 1 or _is_tool_message(structured(value[key]))):
            return value[key]
    return value


def _is_tool_message(value: Any) -> bool:
    return isinstance(value, dict) and (message_in(value) is not value or "tool_call_id" in value)


def message_in(value: dict[Any, Any]) -> dict[Any, Any]:
    """Return the message in an envelope of LangChain (class or type) or with private fields (``_role``), else it."""
    if value.get("type") == "constructor" and isinstance(value.get("kwargs"), dict):
        return _with_type(value["kwargs"], value.get("id"))
    if isinstance(value.get("data"), dict) and isinstance(value.get("type"), str) and "content" in value["data"]:
        data: dict[Any, Any] = value["data"]
        return data if "type" in data else {**data, "type": value["type"]}
    if "_role" in value:
        return {str(key).lstrip("_"): item for key, item in value.items()}
    return value


def _with_type(message: dict[Any, Any], path: Any) -> dict[Any, Any]:
    if "type" in message or not isinstance(path, list) or not path:
        return message
    return {**message, "type": str(path[-1]).removesuffix("Chunk").removesuffix("Message").lower()}


def _is_mcp_result(value: dict[Any, Any]) -> bool:
    """Return whether an object is a result of MCP, of which some writers leave out what is unset or False."""
    content = value.get("content")
    is_bare = value.keys() <= _BARE_RESULT and isinstance(content, list) and _content_of_blocks(content) is not content
    return is_bare or "structuredContent" in value or ("content" in value and "isError" in value)


_BARE_RESULT = frozenset({"content", "meta", "_meta"})


def _is_blob(value: dict[Any, Any]) -> bool:
    """Return whether an object is a picture or sound of MCP, which tools return without a list around it too."""
    return value.get("type") in ("image", "audio") and isinstance(value.get("data"), str) and "mimeType" in value


def _mcp_result(value: dict[Any, Any]) -> Any:
    data = value.get("structuredContent")
    if isinstance(data, dict):
        return data["result"] if data.keys() == {"result"} else data
    return value.get("content", value)


def _content_of_blocks(blocks: list[Any]) -> Any:
    """Return the content of blocks that hold nothing else: the value of one JSON block, or the joined texts."""
    if not blocks or not all(isinstance(block, dict) for block in blocks):
        return blocks
    if len(blocks) == 1 and blocks[0].keys() == {"json"}:
        return blocks[0]["json"]
    texts = [_text_of_block(block) for block in blocks]
    if all(text is not None for text in texts):
        joined = "".join(map(kept_of, texts))
        return Truncated(joined, None, "bytes") if type(texts[-1]) is Truncated else joined
    results = [block.get("toolResult") for block in blocks]
    if len(results) == 1 and isinstance(results[0], dict):
        return results[0].get("content")
    parts = [
        {"type": "text", "content": text} if text is not None else _media_of_block(block)
        for text, block in zip(texts, blocks, strict=True)
    ]
    return blocks if None in parts else parts


def _media_of_block(block: dict[Any, Any]) -> dict[str, Any] | None:
    """Return the part for a block with a picture or a file, which has a type, or Bedrock's only key."""
    only = next(iter(block.values())) if len(block) == 1 else None
    return media_part(block) if "type" in block or (isinstance(only, dict) and "source" in only) else None


_BLOCK_KEYS = frozenset({"text", "type", "annotations", "meta", "_meta"})
_TEXT_TYPES = (None, "text", "input_text", "output_text")


def _text_of_block(block: dict[Any, Any]) -> Any:
    text = block.get("text")
    return (
        text
        if isinstance(kept_of(text), str) and block.keys() <= _BLOCK_KEYS and block.get("type") in _TEXT_TYPES
        else None
    )


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def failure_in(value: Any) -> str | None:
    """Return the text of a result that is marked as a failure, by MCP, Anthropic, Bedrock or LangChain; else None."""
    for _ in range(_DEEPEST):
        value = structured(value)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, dict):
            return None
        if is_marked_failed(value):
            found = result_of(value)
            return found if isinstance(found, str) else compact_json(found)
        message = message_in(value)
        inner = value.get("toolResult", value.get("output")) if message is value else message
        if inner is value:
            return None
        value = inner
    return None


def is_marked_failed(value: dict[Any, Any]) -> bool:
    """Return whether the result of a tool is marked as failed; data of a tool with ``status`` or the like are not."""
    if value.get("isError") is True:
        return "content" in value
    is_result = value.get("type") in ("tool", "tool_result", "tool-result") or "toolUseId" in value
    return is_result and (value.get("is_error") is True or value.get("status") == "error")


# ── questions and answers ────────────────────────────────────────────────────────────────────────────────────────────

_QUESTION_KEYS = ("question", "query", "user_input", "task", "prompt", "input", "message", "text", "content")
_ANSWER_KEYS = ("final_output", "output", "answer", "result", "response", "text", "content", "output_text", "raw")


def sole_text(value: Any, *, answered: bool) -> Any:
    """Return the only text in an agent's input or output: that under a usual key, or the only one; else the value."""
    for _ in range(_DEEPEST):
        value = structured(value)
        if not isinstance(value, dict):
            break
        inner = _text_under(
            _arguments_in(value) if not answered else value, _ANSWER_KEYS if answered else _QUESTION_KEYS
        )
        if inner is value:
            break
        value = inner
    return value


def _text_under(value: Any, names: tuple[str, ...]) -> Any:
    if not isinstance(value, dict):
        return value
    texts = {
        str(key).rpartition(".")[2]: item
        for key, item in value.items()
        if isinstance(item, str | dict | Truncated) and item
    }
    named = next((texts[name] for name in names if name in texts), None)
    if named is not None:
        return named
    return next(iter(texts.values())) if len(value) == len(texts) == 1 else value
