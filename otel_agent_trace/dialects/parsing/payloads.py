"""Unwrap values that other tracers wrote: JSON in JSON, Python literals, envelopes of frameworks.

Used for values of other tracers' spans only. A value of an unknown shape is returned as it is.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import msgspec

_LONGEST_LITERAL = 100_000
_DEEPEST = 5
_decode = msgspec.json.Decoder().decode
HIDDEN = frozenset({"__REDACTED__", "HIDDEN:non-empty", "<REDACTED>", "<elided>", "[REDACTED]"})
"""Texts that tracers write in place of content when they are configured not to record it."""
_PLAIN = frozenset("abcdeghijklmopqrsuvwxyzABCDEFGHIJKLMOPQRSTUVWXYZ*#")
"""First characters that neither JSON nor a Python literal worth reading begins with."""
_ARGUMENT_ENVELOPE = frozenset({"args", "kwargs", "sanitize_inputs_outputs"})
_RUN_ENVELOPE = frozenset({"inputs", "tags", "metadata", "kwargs", "input_str", "run_id", "parent_run_id", "name"})
_OUTPUT_ENVELOPE = frozenset({"output", "outputs", "kwargs", "tags", "metadata", "run_id", "parent_run_id"})
_TOOL_CALL = frozenset({"name", "args", "arguments", "id", "type", "tool_name", "tool_call_id", "call_id"})


def parsed(value: Any) -> Any:
    """Return the value of JSON or of a Python literal in a text; None for hidden content, any other value as it is."""
    for _ in range(_DEEPEST):
        if type(value) is not str or value[:1] in _PLAIN:
            return value
        inner = _parsed_once(value)
        if inner is value or (type(inner) is str and not _looks_structured(inner)):
            return None if inner in HIDDEN else inner
        value = inner
    return value


def _parsed_once(text: str) -> Any:
    try:
        return _decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return _literal(text) if _looks_structured(text) else text


def _looks_structured(text: str) -> bool:
    """Return whether a text may be more than plain text: an object, a list, a tuple or a quoted text."""
    return text.lstrip()[:1] in ("{", "[", "(", "'", '"') if text else False


def _literal(text: str) -> Any:
    """Return the value of a Python literal such as ``{'city': 'Paris'}``; else the text itself."""
    if len(text) > _LONGEST_LITERAL:
        return text
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


# ── arguments ────────────────────────────────────────────────────────────────────────────────────────────────────────


def model_in(request: Any) -> str | None:
    """Return the model that the parameters of a request name, None where they name none."""
    names = (request.get("model"), request.get("model_name")) if isinstance(request, dict) else ()
    return next((name for name in names if isinstance(name, str) and name), None)


def arguments_of(value: Any) -> Any:
    """Return the arguments of a call, without the envelopes that frameworks put around them."""
    value = parsed(value)
    for _ in range(_DEEPEST):
        if not isinstance(value, dict) or not value:
            break
        inner = _arguments_in(value)
        if inner is value:
            break
        value = parsed(inner)
    return value


def _arguments_in(data: dict[Any, Any]) -> Any:
    keys = data.keys()
    if "kwargs" in keys and keys <= _ARGUMENT_ENVELOPE:
        return _positional_or_keywords(data)
    if "inputs" in keys and keys <= _RUN_ENVELOPE:
        return data["inputs"]
    if keys <= _TOOL_CALL and ("name" in keys or "tool_name" in keys) and len(keys) > 1:
        return data.get("arguments", data.get("args", data))
    if "input" in keys and isinstance(parsed(data["input"]), dict) and not _has_other_than(data, "input"):
        return data["input"]
    return data


def _has_other_than(data: dict[Any, Any], key: str) -> bool:
    """Return whether an object has a value under any other key."""
    return any(item is not None for other, item in data.items() if other != key)


def _positional_or_keywords(data: dict[Any, Any]) -> Any:
    """Return keyword arguments where there are only these, or the value of a single positional argument."""
    positional, keywords = parsed(data.get("args")), parsed(data["kwargs"])
    if not positional:
        return keywords
    if not keywords and isinstance(positional, list | tuple):
        return positional[0] if len(positional) == 1 else list(positional)
    return data


# ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def result_of(value: Any) -> Any:
    """Return the result of a tool, without the message or the content blocks in which it was sent back to the model."""
    value = parsed(_content_in_repr(value))
    for _ in range(_DEEPEST):
        inner = _result_in(value)
        if inner is value:
            break
        value = parsed(inner)
    return value


_REPR_OF_MESSAGE = re.compile(
    r"""(?:ToolMessage\()?content=('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"),? .*\btool_call_id=""", re.DOTALL
)


def _content_in_repr(value: Any) -> Any:
    """Return the content of a LangChain tool message from its `repr`, ``content='...' tool_call_id='...'``."""
    found = _REPR_OF_MESSAGE.match(value) if type(value) is str else None
    return value if found is None else _literal(found[1])


def _result_in(value: Any) -> Any:
    if isinstance(value, list):
        return _content_of_blocks(value)
    if not isinstance(value, dict):
        return value
    message = message_in(value)
    if message is not value:
        return message.get("content")
    if value.get("type") in ("tool", "tool_result", "tool_call_response", "function_call_output"):
        return next((value[key] for key in ("content", "result", "response", "output") if key in value), value)
    if "structuredContent" in value or ("content" in value and "isError" in value):
        return _mcp_result(value)
    if value.keys() == {"type", "value"} and value["type"] in _TYPED_VALUES:
        return value["value"]
    if "raw_output" in value and "tool_name" in value:  # LlamaIndex's ToolOutput
        return value["raw_output"]
    if "toolResult" in value and isinstance(value["toolResult"], dict):
        return value["toolResult"].get("content")
    return _output_in_envelope(value)


_TYPED_VALUES = ("text", "json", "content", "error-text", "error-json")
"""Types of the output of a tool in messages of Vercel's AI SDK, which holds the result as `value`."""


def _output_in_envelope(value: dict[Any, Any]) -> Any:
    """Return the only output in an envelope, all keys of which are those of envelopes."""
    keys = value.keys()
    for key in ("output", "outputs"):
        if key in keys and keys <= _OUTPUT_ENVELOPE and (len(keys) > 1 or _is_tool_message(parsed(value[key]))):
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


def _mcp_result(value: dict[Any, Any]) -> Any:
    structured = value.get("structuredContent")
    if isinstance(structured, dict):
        return structured["result"] if structured.keys() == {"result"} else structured
    return value.get("content", value)


def _content_of_blocks(blocks: list[Any]) -> Any:
    """Return the content of blocks that hold nothing else: the value of one JSON block, or the joined texts."""
    if not blocks or not all(isinstance(block, dict) for block in blocks):
        return blocks
    if len(blocks) == 1 and blocks[0].keys() == {"json"}:
        return blocks[0]["json"]
    texts = [_text_of_block(block) for block in blocks]
    if all(text is not None for text in texts):
        return "".join(text for text in texts if text is not None)
    results = [block.get("toolResult") for block in blocks]
    return results[0].get("content") if len(results) == 1 and isinstance(results[0], dict) else blocks


_BLOCK_KEYS = frozenset({"text", "type", "annotations", "meta", "_meta"})
_TEXT_TYPES = (None, "text", "input_text", "output_text")


def _text_of_block(block: dict[Any, Any]) -> str | None:
    text = block.get("text")
    return text if isinstance(text, str) and block.keys() <= _BLOCK_KEYS and block.get("type") in _TEXT_TYPES else None


# ── questions and answers ────────────────────────────────────────────────────────────────────────────────────────────

_QUESTION_KEYS = ("question", "query", "user_input", "task", "prompt", "input", "message", "text", "content")
_ANSWER_KEYS = ("final_output", "output", "answer", "result", "response", "text", "content", "output_text", "raw")


def sole_text(value: Any, *, answered: bool) -> Any:
    """Return the only text in an agent's input or output: that under a usual key, or the only one; else the value."""
    for _ in range(_DEEPEST):
        value = parsed(value)
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
    texts = {str(key).rpartition(".")[2]: item for key, item in value.items() if isinstance(item, str | dict) and item}
    named = next((texts[name] for name in names if name in texts), None)
    if named is not None:
        return named
    return next(iter(texts.values())) if len(value) == len(texts) == 1 else value
