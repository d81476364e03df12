"""Read answer, tokens and model from the result of a model call, in the shapes of OpenAI and Anthropic.

The chunks of an OpenAI stream are put together first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from otel_agent_trace.messages import message_from, usage_from
from otel_agent_trace.model import Message, Usage
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.values import Truncated, fields_of, is_iterator, is_mapped

_KEYS_OF_MESSAGE = {"role", "content"}
_PROVIDERS = {"openai": "openai", "anthropic": "anthropic"}


class ModelResult(msgspec.Struct, frozen=True):
    """Hold the facts of a result; None, or empty, for each that it does not have."""

    message: Message | None = None
    usage: Usage | None = None
    model: str | None = None
    response_id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    provider: str | None = None


def model_result(result: Any) -> ModelResult:
    """Return the facts of a result; a text is the answer itself."""
    if type(result) is not dict and is_mapped(type(result)):
        return model_result(fields_of(result))  # a mapped object, of which only what is loaded may be read
    if isinstance(result, str):
        return ModelResult(message=answer(result))
    if type(result) is dict and result.keys() == _KEYS_OF_MESSAGE and type(result["content"]) is str:
        return ModelResult(message=answer(result["content"], _str_or_none(result["role"]) or "assistant"))
    if isinstance(result, Truncated):
        return model_result(result.kept)
    if isinstance(result, list) and result and _is_chunk(result[0]):
        return _facts(completion_of(result), result[0])
    if result is None or is_iterator(result) or not _has_facts(result):
        return ModelResult()
    return _facts(result, result)


def _is_chunk(item: Any) -> bool:
    return not is_mapped(type(item)) and isinstance(_get(item, "choices"), list)


def _facts(result: Any, given: Any) -> ModelResult:
    """Return the facts of a completion or message; the module of the given object's class shows the provider."""
    choice = _first(_get(result, "choices"))
    return ModelResult(
        message=_answer_message(result, choice),
        usage=usage_from(_get(result, "usage")),
        model=_str_or_none(_get(result, "model")),
        response_id=_str_or_none(_get(result, "id")),
        finish_reasons=_finish_reasons(result, choice),
        provider=_PROVIDERS.get(type(given).__module__.partition(".")[0]),
    )


def completion_of(chunks: list[Any]) -> dict[str, Any]:
    """Return the chat completion that the chunks of an OpenAI stream make up, with its first choice only."""
    completion: dict[str, Any] = {}
    message: dict[str, Any] = {"role": "assistant"}
    choice: dict[str, Any] = {"message": message}
    calls: dict[Any, dict[str, Any]] = {}
    for chunk in chunks:
        completion.update(_fields_of(chunk, "id", "model", "usage"))
        part = _first(_get(chunk, "choices"))
        choice.update(_fields_of(part, "finish_reason"))
        delta = _get(part, "delta")
        _append(message, delta, "content", "refusal")
        for call in _get(delta, "tool_calls") or ():
            _add_to_call(calls.setdefault(_get(call, "index"), {"function": {}}), call)
    if calls:
        message["tool_calls"] = list(calls.values())
    return {**completion, "choices": [choice]}


def _add_to_call(whole: dict[str, Any], part: Any) -> None:
    function = _get(part, "function")
    whole.update(_fields_of(part, "id", "type"))
    whole["function"].update(_fields_of(function, "name"))
    _append(whole["function"], function, "arguments")


def _fields_of(holder: Any, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := _get(holder, name)) is not None}


def _append(whole: dict[str, Any], part: Any, *names: str) -> None:
    for name, value in _fields_of(part, *names).items():
        whole[name] = whole.get(name, "") + str(value)


def _has_facts(result: Any) -> bool:
    return any(_get(result, name) is not None for name in ("choices", "usage", "content", "model", "output"))


def _get(result: Any, name: str) -> Any:
    """Return an item of a mapping, or an attribute; None also where looking it up raises, which costs no other fact."""
    try:
        if type(result) is dict or issubclass(type(result), Mapping):  # the first check takes a tenth of the time
            return result.get(name)
        return getattr(result, name, None)
    except BaseException as error:
        if is_of_signal_handler(error):
            raise
        return None


def _first(items: Any) -> Any:
    return items[0] if isinstance(items, list | tuple) and items else None


def _str_or_none(value: Any) -> str | None:
    return str.__str__(value) if issubclass(type(value), str) else None


def answer(text: str, role: str = "assistant") -> Message:
    """Return a message with one text part, an answer of a model by default."""
    return Message(role=role, parts=({"type": "text", "content": text},))


def _answer_message(result: Any, choice: Any) -> Message | None:
    if choice is not None:
        message = _get(choice, "message")
        text = _str_or_none(_get(choice, "text"))
        return message_from(message) if message is not None else answer(text) if text is not None else None
    content = _get(result, "content")
    if content is not None:
        return message_from({"role": _str_or_none(_get(result, "role")) or "assistant", "content": content})
    text = _str_or_none(_get(result, "output_text")) or _str_or_none(_get(result, "output"))
    return answer(text) if text is not None else None


def _finish_reasons(result: Any, choice: Any) -> tuple[str, ...]:
    reason = (
        _str_or_none(_get(choice, "finish_reason")) if choice is not None else _str_or_none(_get(result, "stop_reason"))
    )
    return () if reason is None else (reason,)
