"""Restore attribute values from texts, for stores that keep all values as texts.

What an attribute is follows from its name: the types are those of the OpenTelemetry and GenAI conventions, of our own
attributes, and of token counts as other instrumentations name them. All other attributes stay texts, as does a text
that is not just what a value of the type is written as.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from otel_agent_trace import semconv

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_INT64_END = 2**63
_TRUTHS = {"true": True, "false": False}
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")
_decode_texts = msgspec.json.Decoder(list[str]).decode


def _integer(text: str) -> int | str:
    """Return an integer of 64 bits; larger ones are written as texts, with a type tag."""
    if _INTEGER.fullmatch(text) is None or not -_INT64_END <= int(text) < _INT64_END:
        return text
    return int(text)


def _double(text: str) -> float | str:
    return float(text) if _NUMBER.fullmatch(text) else _NOT_FINITE.get(text, text)


def _truth(text: str) -> bool | str:
    return _TRUTHS.get(text, text)


def _texts(text: str) -> list[str] | str:
    try:
        return _decode_texts(text)
    except msgspec.DecodeError:
        return text


_INTEGERS = (
    *semconv.USAGE.values(),
    semconv.STEP_INDEX,
    semconv.STEP_ID,
    semconv.HISTORY_MESSAGES,
    semconv.FIRST_CHUNK_AT_NS,
    semconv.SERVER_PORT,
    semconv.CODE_LINE_NUMBER,
    "client.port",
    "code.lineno",
    "gen_ai.embeddings.dimension.count",
    "gen_ai.memory.record.count",
    "gen_ai.request.choice.count",
    "gen_ai.request.max_tokens",
    "gen_ai.request.seed",
    "gen_ai.request.top_k",
    "gen_ai.response.completion_tokens",
    "gen_ai.response.prompt_tokens",
    "gen_ai.retrieval.top_k",
    "haystack.agent.max_steps",
    "haystack.agent.step",
    "haystack.agent.steps_taken",
    "http.request.resend_count",
    "http.response.status_code",
    "http.status_code",
    "process.exit.code",
    "process.parent_pid",
    "process.pid",
    "pydantic_ai.new_message_index",
    "thread.id",
)
_DOUBLES = (
    semconv.TIME_TO_FIRST_CHUNK,
    semconv.EVALUATION_SCORE,
    semconv.SAMPLING_PROBABILITY,
    "gen_ai.request.frequency_penalty",
    "gen_ai.request.presence_penalty",
    "gen_ai.request.temperature",
    "gen_ai.request.top_p",
)
_BOOLEANS = (
    semconv.ABANDONED,
    semconv.INTERRUPTED,
    semconv.INFERRED,
    semconv.SCORE_BY_ID,
    "gen_ai.conversation.compacted",
    "gen_ai.request.stream",
)
_ARRAYS_OF_TEXTS = (
    semconv.FINISH_REASONS,
    "gen_ai.request.encoding_formats",
    "gen_ai.request.stop_sequences",
    "process.command_args",
)
_COUNTS = ("gen_ai.usage.", "gen_ai.aggregated_usage.", "llm.token_count.", "llm.usage.", "ai.usage.")
"""Beginnings of the names of token counts."""

_RESTORES: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(_INTEGERS, _integer),
    **dict.fromkeys(_DOUBLES, _double),
    **dict.fromkeys(_BOOLEANS, _truth),
    **dict.fromkeys(_ARRAYS_OF_TEXTS, _texts),
}


def restored(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return attributes with the values that their texts were made of, as far as their names show the types."""
    return {key: _restored(key, text) for key, text in texts.items()}


def _restored(key: str, text: str) -> Any:
    restore = _RESTORES.get(key)
    if restore is None:
        return _integer(text) if key.startswith(_COUNTS) else text
    return restore(text)
