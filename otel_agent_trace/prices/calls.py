"""Find in a model call, or in a run that reports its tokens as a whole, what its price depends on.

That are the provider, the model, the service tier, and tokens that have a price of their own beside those of `Usage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.model import AgentRun, AgentStep, Usage

_PROVIDERS = (
    semconv.PROVIDER_NAME,
    "gen_ai.system",
    "llm.provider",
    "llm.system",
    "ai.model.provider",
    "langsmith.metadata.ls_provider",
    "traceloop.association.properties.ls_provider",
)
"""Attributes that name a provider, the conventions' own first; OpenInference, the AI SDK and LangChain have others."""
_NO_PROVIDERS = frozenset({"", "_other", "langchain", "litellm", "strands-agents", "function"})
"""Names of frameworks, and of nothing, that some instrumentations write in place of the provider's."""
_TIERS = dict.fromkeys(
    (
        "openai.response.service_tier",
        "gen_ai.openai.response.service_tier",
        "openai.request.service_tier",
        "gen_ai.openai.request.service_tier",
    )
)
"""Attributes that name a tier, in order; what was requested may not be what was given."""
_UNDECIDED_TIER = "auto"
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details")
_NAMED_PARTS: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("input_audio_tokens", tuple((outer, "audio_tokens") for outer in _INPUT_DETAILS)),
    ("input_image_tokens", tuple((outer, "image_tokens") for outer in _INPUT_DETAILS)),
    (
        "cache_audio_read_tokens",
        tuple((outer, "cached_tokens_details", "audio_tokens") for outer in _INPUT_DETAILS),
    ),
    (
        "cache_image_read_tokens",
        tuple((outer, "cached_tokens_details", "image_tokens") for outer in _INPUT_DETAILS),
    ),
    ("output_audio_tokens", tuple((outer, "audio_tokens") for outer in _OUTPUT_DETAILS)),
    ("output_image_tokens", tuple((outer, "image_tokens") for outer in _OUTPUT_DETAILS)),
    ("cache_write_1h_tokens", (("cache_creation", "ephemeral_1h_input_tokens"),)),
    ("web_searches", (("server_tool_use", "web_search_requests"),)),
)
"""Count of ``genai_prices.Usage`` → where OpenAI and Anthropic report it in `Usage.details`."""
_ATTRIBUTES = {
    "gen_ai.usage.audio.input_tokens": "input_audio_tokens",
    "gen_ai.usage.image.input_tokens": "input_image_tokens",
    "gen_ai.usage.audio.cache_read.input_tokens": "cache_audio_read_tokens",
    "gen_ai.usage.image.cache_read.input_tokens": "cache_image_read_tokens",
    "gen_ai.usage.audio.output_tokens": "output_audio_tokens",
    "gen_ai.usage.image.output_tokens": "output_image_tokens",
}
"""Attribute of the conventions → count of ``genai_prices.Usage``."""
RARE_ATTRIBUTES = frozenset({*_PROVIDERS[1:], *_TIERS, *_ATTRIBUTES})
"""Attributes on which a price depends beside the provider and the models by the conventions' names."""


def provider_of(call: AgentStep | AgentRun) -> str | None:
    """Return the provider of a call as it was recorded, in lower case; None where none was."""
    attributes = call.attributes
    for key in _PROVIDERS:
        name = attributes.get(key)
        if type(name) is str and (plain := name.strip().lower()) not in _NO_PROVIDERS:
            return plain
    return None


def models_of(call: AgentStep | AgentRun) -> tuple[str, ...]:
    """Return the names of the model that answered and of the one that was requested, as far as they are known."""
    answered, requested = call.model, call.attributes.get(semconv.REQUEST_MODEL)
    if type(requested) is not str or not requested or requested == answered:
        return (answered,) if answered else ()
    return (answered, requested) if answered else (requested,)


def tier_of(call: AgentStep | AgentRun, usage: Usage) -> str | None:
    """Return the service tier of a call as its response has it, else as it was requested; None for the usual one."""
    attributes = call.attributes
    names = [] if _TIERS.keys().isdisjoint(attributes) else [attributes.get(key) for key in _TIERS]
    if usage.details:
        names += usage.details.get("service_tier"), usage.details.get("speed")
    return next((name for name in names if type(name) is str and name != _UNDECIDED_TIER), None)


def named_parts(call: AgentStep | AgentRun, usage: Usage) -> dict[str, int]:
    """Return counts that are priced apart, such as audio tokens, under the names of ``genai_prices.Usage``; usually none."""
    if not usage.details and _ATTRIBUTES.keys().isdisjoint(call.attributes):
        return {}
    return {name: count for name, count in _parts(call, usage) if count}


def _parts(call: AgentStep | AgentRun, usage: Usage) -> Iterator[tuple[str, int]]:
    for name, paths in _NAMED_PARTS:
        for path in paths:
            yield name, _count_at(usage.details, path)
    for key, name in _ATTRIBUTES.items():
        yield name, _count_at(call.attributes, (key,))


def _count_at(place: Any, path: tuple[str, ...]) -> int:
    for key in path:
        place = place.get(key) if isinstance(place, Mapping) else None
    return place if type(place) is int else 0
