"""What the result of a model call tells: the answer, the tokens, the model; OpenAI's and Anthropic's shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from otel_agent_trace.messages import message_from, usage_from
from otel_agent_trace.model import Message, Usage
from otel_agent_trace.values import is_iterator

_PROVIDERS = {"openai": "openai", "anthropic": "anthropic"}


class ModelResult(msgspec.Struct, frozen=True):
    """The facts of a result; None, or empty, where it has none."""

    message: Message | None = None
    usage: Usage | None = None
    model: str | None = None
    response_id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    provider: str | None = None


def model_result(result: Any) -> ModelResult:
    """What a result tells; a text is the answer itself."""
    if isinstance(result, str):
        return ModelResult(message=answer(result))
    if result is None or is_iterator(result) or not _has_facts(result):
        return ModelResult()
    choice = _first(_get(result, "choices"))
    return ModelResult(
        message=_message(result, choice),
        usage=usage_from(_get(result, "usage")),
        model=_text(_get(result, "model")),
        response_id=_text(_get(result, "id")),
        finish_reasons=_finish_reasons(result, choice),
        provider=_PROVIDERS.get(type(result).__module__.partition(".")[0]),
    )


def _has_facts(result: Any) -> bool:
    return any(_get(result, name) is not None for name in ("choices", "usage", "content", "model", "output"))


def _get(result: Any, name: str) -> Any:
    return result.get(name) if isinstance(result, Mapping) else getattr(result, name, None)


def _first(items: Any) -> Any:
    return items[0] if isinstance(items, list | tuple) and items else None


def _text(value: Any) -> str | None:
    return str.__str__(value) if issubclass(type(value), str) else None


def answer(text: str) -> Message:
    """What a model answered, where that is a text."""
    return Message(role="assistant", parts=({"type": "text", "content": text},))


def _message(result: Any, choice: Any) -> Message | None:
    if choice is not None:
        message = _get(choice, "message")
        text = _text(_get(choice, "text"))
        return message_from(message) if message is not None else answer(text) if text is not None else None
    content = _get(result, "content")
    if content is not None:
        return message_from({"role": _text(_get(result, "role")) or "assistant", "content": content})
    text = _text(_get(result, "output_text")) or _text(_get(result, "output"))
    return answer(text) if text is not None else None


def _finish_reasons(result: Any, choice: Any) -> tuple[str, ...]:
    reason = _text(_get(choice, "finish_reason")) if choice is not None else _text(_get(result, "stop_reason"))
    return () if reason is None else (reason,)
