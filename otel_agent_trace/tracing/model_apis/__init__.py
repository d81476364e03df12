"""Read the results of models: a module for each API, which knows its results and the chunks of its streams.

A module has `is_chunk` and `is_result`, by which it is found; `put_together`, which returns the result that the chunks
of a stream make up, in the shape that the API gives without streaming; and `read`, which returns the facts of a result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from otel_agent_trace.tracing.model_apis import (
    anthropic_messages,
    bedrock,
    chat_completions,
    cohere,
    gemini,
    ollama,
    openai_responses,
)
from otel_agent_trace.tracing.model_apis.fields import ModelResult

__all__ = ["ModelResult", "api_of_chunks", "api_of_result"]


class ModelApi(NamedTuple):
    """Hold the functions of one API."""

    is_chunk: Callable[[Any], bool]
    is_result: Callable[[Any], bool]
    put_together: Callable[[list[Any]], Any]
    read: Callable[[Any], ModelResult]


_APIS = tuple(
    ModelApi(module.is_chunk, module.is_result, module.put_together, module.read)
    for module in (chat_completions, openai_responses, bedrock, anthropic_messages, gemini, ollama, cohere)
)


_PLAIN = frozenset(map(id, (str, bytes, int, float, bool, type(None))))
"""Ids of types of pieces that are no chunks of an API, as of texts and embeddings."""


def api_of_result(result: Any) -> ModelApi | None:
    """Return the API that gave a result; None if it has the shape of none."""
    for api in _APIS:  # `next` of a generator takes twice the time
        if api.is_result(result):
            return api
    return None


def api_of_chunks(chunks: list[Any]) -> ModelApi | None:
    """Return the API that gave the chunks of a stream, by the first that is known; None if none of them is."""
    return next(
        (api for chunk in chunks if id(type(chunk)) not in _PLAIN for api in _APIS if api.is_chunk(chunk)), None
    )
