"""Read answer, tokens and model from the result of a model call: a text, or a result or chunks of an API."""

from __future__ import annotations

from typing import Any

import msgspec

from otel_agent_trace.messages import FINISH_REASON_KEY, usage_from
from otel_agent_trace.model import Message
from otel_agent_trace.tracing.model_apis import ModelResult, api_of_chunks, api_of_result
from otel_agent_trace.tracing.model_apis.fields import get, get_text
from otel_agent_trace.values import Truncated, fields_of, is_iterator, is_mapped

_KEYS_OF_MESSAGE = {"role", "content"}
_PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "cohere": "cohere"}


def model_result(result: Any) -> ModelResult:
    """Return the facts of a result, or of the chunks of a stream; a text is the answer itself."""
    if type(result) is not dict and is_mapped(type(result)):
        return model_result(fields_of(result))  # a mapped object, of which only what is loaded may be read
    if isinstance(result, str):
        return ModelResult(messages=(answer(result),))
    if type(result) is dict and result.keys() == _KEYS_OF_MESSAGE and type(result["content"]) is str:
        return ModelResult(messages=(answer(result["content"], get_text(result, "role") or "assistant"),))
    if isinstance(result, Truncated):
        return model_result(result.kept)
    if isinstance(result, list):
        return _facts_of_chunks(result)
    if result is None or is_iterator(result):
        return ModelResult()
    api = api_of_result(result)
    return _completed(_other_facts(result) if api is None else api.read(result), result)


def _facts_of_chunks(chunks: list[Any]) -> ModelResult:
    api = None if chunks and is_mapped(type(chunks[0])) else api_of_chunks(chunks)
    if api is None:
        return ModelResult()
    given = next(filter(api.is_chunk, chunks))
    return _completed(api.read(api.put_together(chunks)), given)


def _completed(facts: ModelResult, given: Any) -> ModelResult:
    """Return facts with the provider, if the module of the given object's class shows it, and with a reason a choice."""
    provider = _PROVIDERS.get(type(given).__module__.partition(".")[0])
    messages, reasons = facts.messages, facts.finish_reasons
    if len(messages) == len(reasons) > 1:
        messages = tuple(map(_with_reason, messages, reasons))
    elif provider is None:
        return facts
    return msgspec.structs.replace(facts, messages=messages, provider=provider)


def _with_reason(message: Message, reason: str) -> Message:
    return msgspec.structs.replace(message, extra={**message.extra, FINISH_REASON_KEY: reason})


def _other_facts(result: Any) -> ModelResult:
    """Return the facts of a result of no known API, which may have a text and token counts."""
    text = get_text(result, "output_text") or get_text(result, "output")
    return ModelResult(
        messages=() if text is None else (answer(text),),
        usage=usage_from(get(result, "usage")),
        model=get_text(result, "model"),
        response_id=get_text(result, "id"),
    )


def answer(text: str, role: str = "assistant") -> Message:
    """Return a message with one text part, an answer of a model by default."""
    return Message(role=role, parts=({"type": "text", "content": text},))
