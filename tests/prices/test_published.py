"""Calls cost what `genai-prices` has for their provider, model, time, size and tier: compared with its own sums."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.types import TieredPrices
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace.model import at_time
from otel_agent_trace.prices import PICO_USD_PER_USD, Prices
from tests.support.model_calls import AT_NOON_NS, model_call

MODELS = {
    "openai": ("gpt-4o", "gpt-5", "o3", "gpt-4o-mini", "text-embedding-3-small"),
    "anthropic": ("claude-sonnet-4-5-20250929", "claude-3-5-haiku-latest"),
    "google": ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-1.5-pro"),
    "x-ai": ("grok-4",),
    "deepseek": ("deepseek-chat",),
    "perplexity": ("sonar-pro", "sonar-deep-research"),
    "aws": ("us.anthropic.claude-3-5-sonnet-20241022-v2:0",),
    "azure": ("gpt-4o-2024-08-06",),
}
REFERENCES = [(provider, model) for provider, models in MODELS.items() for model in models]


def price_of(model: str, provider: str, key: str) -> Decimal:
    """Return the price of one kind of tokens as the data of the package has it, in dollars a million."""
    prices: Any = genai_prices.calc_price(
        genai_prices.Usage(), model, provider_id=provider, genai_request_timestamp=at_time(AT_NOON_NS)
    ).model_price
    price = getattr(prices, key)
    assert isinstance(price, Decimal), price
    return price


def pico(usd_a_million: Decimal, tokens: int) -> int:
    return int(usd_a_million * tokens * PICO_USD_PER_USD / 10**6)


def test_cached_tokens_are_a_part_of_the_input_that_costs_less() -> None:
    call = model_call("gpt-4o", input_tokens=1000, output_tokens=100, cache_read_input_tokens=800)
    price = {key: price_of("gpt-4o", "openai", key) for key in ("input_mtok", "cache_read_mtok", "output_mtok")}
    expected = pico(price["input_mtok"], 200) + pico(price["cache_read_mtok"], 800) + pico(price["output_mtok"], 100)
    assert Prices().call_cost(call) == expected
    assert price["cache_read_mtok"] < price["input_mtok"]


def test_tokens_written_to_a_cache_have_a_price_of_their_own() -> None:
    counts: dict[str, Any] = {"input_tokens": 1000, "output_tokens": 10, "cache_write_input_tokens": 600}
    model = "claude-3-5-haiku-latest"
    price = {key: price_of(model, "anthropic", f"{key}_mtok") for key in ("input", "cache_write", "output")}
    five_minutes = pico(price["input"], 400) + pico(price["cache_write"], 600) + pico(price["output"], 10)
    assert Prices().call_cost(model_call(model, "anthropic", **counts)) == five_minutes
    an_hour = pico(price_of(model, "anthropic", "cache_write_1h_mtok"), 500) + pico(price["cache_write"], 100)
    details = {"cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 500}}
    expected = an_hour + pico(price["input"], 400) + pico(price["output"], 10)
    assert Prices().call_cost(model_call(model, "anthropic", details=details, **counts)) == expected > five_minutes


def test_reasoning_tokens_are_output_tokens() -> None:
    counts: dict[str, Any] = {"input_tokens": 10, "output_tokens": 500}
    plain = Prices().call_cost(model_call("o3", **counts))
    assert plain is not None
    assert Prices().call_cost(model_call("o3", reasoning_output_tokens=400, **counts)) == plain


@pytest.mark.parametrize("input_tokens", [0, 1, 200_000, 200_001, 900_000])
def test_large_calls_have_another_price_for_all_their_tokens(input_tokens: int) -> None:
    prices: Any = genai_prices.calc_price(genai_prices.Usage(), "gemini-2.5-pro", provider_id="google").model_price
    assert isinstance(prices.input_mtok, TieredPrices)
    assert Prices().steps("gcp.gemini", "gemini-2.5-pro") == (200_000,) == Prices().steps("google", "gemini-2.5-pro")

    def price(tiered: TieredPrices) -> Decimal:
        return tiered.tiers[0].price if input_tokens > 200_000 else tiered.base

    call = model_call("gemini-2.5-pro", "gcp.gemini", input_tokens=input_tokens, output_tokens=7)
    expected = pico(price(prices.input_mtok), input_tokens) + pico(price(prices.output_mtok), 7)
    assert Prices().call_cost(call) == expected


@pytest.mark.parametrize(
    ("attributes", "tier"),
    [
        ({"openai.response.service_tier": "flex"}, "flex"),
        ({"openai.request.service_tier": "auto", "gen_ai.openai.response.service_tier": "priority"}, "priority"),
        ({"openai.request.service_tier": "flex", "openai.response.service_tier": "default"}, None),
        ({"gen_ai.openai.request.service_tier": "auto"}, None),
    ],
)
def test_service_tiers(attributes: dict[str, str], tier: str | None) -> None:
    """What the response names counts before what was requested."""
    context = None if tier is None else {"service_tier": tier}
    at = at_time(AT_NOON_NS)
    expected = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=1000, output_tokens=10),
        "gpt-5",
        provider_id="openai",
        genai_request_timestamp=at,
        price_context=context,
    ).total_price
    usual = price_of("gpt-5", "openai", "input_mtok") * 1000 + price_of("gpt-5", "openai", "output_mtok") * 10
    assert (expected * 10**6 == usual) is (tier is None)
    call = model_call("gpt-5", attributes=attributes, input_tokens=1000, output_tokens=10)
    assert Prices().call_cost(call) == expected * PICO_USD_PER_USD


def test_batches_of_anthropic_cost_half() -> None:
    counts: dict[str, Any] = {"input_tokens": 1000, "output_tokens": 10}
    one, batch = (
        Prices().call_cost(model_call("claude-sonnet-4-5", "anthropic", details={"service_tier": tier}, **counts))
        for tier in ("standard", "batch")
    )
    assert one is not None
    assert batch == one / 2


def test_prices_go_by_the_time_of_the_call() -> None:
    """O3 became cheaper on 10 June 2025; DeepSeek has prices by the hour."""

    def cost(model: str, provider: str, *moment: int) -> int | None:
        at_ns = int(datetime(*moment, tzinfo=timezone.utc).timestamp()) * 10**9  # type: ignore[arg-type, misc]
        return Prices().call_cost(model_call(model, provider, at_ns=at_ns, input_tokens=1000, output_tokens=0))

    assert cost("o3", "openai", 2025, 6, 9, 23, 59) == 5 * (cost("o3", "openai", 2025, 6, 10) or 0) > 0
    night, day = (cost("deepseek-chat", "deepseek", 2025, 3, 1, *time) for time in ((0, 29), (0, 30)))
    assert day == 2 * (night or 0) > 0


def test_audio_tokens_where_details_name_them() -> None:
    details = {
        "prompt_tokens_details": {"audio_tokens": 60, "cached_tokens": 0},
        "completion_tokens_details": {"audio_tokens": 5},
    }
    call = model_call("gpt-realtime", input_tokens=100, output_tokens=20, details=details)
    keys = {"input": 40, "input_audio": 60, "output": 15, "output_audio": 5}
    expected = sum(pico(price_of("gpt-realtime", "openai", f"{key}_mtok"), count) for key, count in keys.items())
    assert Prices().call_cost(call) == expected
    attributes = {"gen_ai.usage.audio.input_tokens": 60, "gen_ai.usage.audio.output_tokens": 5}
    call = model_call("gpt-realtime", input_tokens=100, output_tokens=20, attributes=attributes)
    assert Prices().call_cost(call) == expected


@pytest.mark.parametrize(
    "counts",
    [
        {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 11},
        {"input_tokens": 10, "output_tokens": 5, "reasoning_output_tokens": 6},
        {"input_tokens": -1, "output_tokens": 5},
        {"input_tokens": 10, "output_tokens": 5, "details": {"prompt_tokens_details": {"audio_tokens": 11}}},
    ],
)
def test_counts_that_cannot_be_have_no_price(counts: dict[str, Any]) -> None:
    assert Prices().call_cost(model_call("gpt-realtime", **counts)) is None


@pytest.mark.parametrize(
    ("recorded", "model", "provider", "known_as"),
    [
        ("azure.ai.openai", "gpt-4o", "azure", "gpt-4o"),
        ("az.ai.openai", "gpt-4o", "azure", "gpt-4o"),
        ("azure-openai.chat", "gpt-4o", "azure", "gpt-4o"),
        ("azure.ai.inference", "gpt-4o", "azure", "gpt-4o"),
        ("x_ai", "grok-4", "x-ai", "grok-4"),
        ("xai.chat", "grok-4", "x-ai", "grok-4"),
        ("gcp.gen_ai", "gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("gcp.vertex_ai", "models/gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("mistral_ai", "mistral-large-latest", "mistral", "mistral-large-latest"),
        ("moonshot_ai", "kimi-k2", "moonshotai", "kimi-k2"),
        ("aws.bedrock", "anthropic.claude-3-haiku-20240307-v1:0", "aws", "anthropic.claude-3-haiku-20240307-v1:0"),
        ("OpenAI", "gpt-4o", "openai", "gpt-4o"),
        ("openai.responses", "gpt-4o-2024-08-06", "openai", "gpt-4o"),
        ("litellm", "anthropic/claude-3-5-haiku-latest", "anthropic", "claude-3-5-haiku-latest"),
        ("openai", "anthropic/claude-3-5-haiku-latest", "anthropic", "claude-3-5-haiku-latest"),
        ("openrouter", "openai/gpt-4o", "openrouter", "openai/gpt-4o"),
        (None, "openai/gpt-4o", "openai", "gpt-4o"),
        (None, "azure/gpt-4o", "azure", "gpt-4o"),
        (None, "gpt-4o", "openai", "gpt-4o"),
        ("strands-agents", "gpt-4o", "openai", "gpt-4o"),
    ],
)
def test_names_of_providers(recorded: str | None, model: str, provider: str, known_as: str) -> None:
    at = at_time(AT_NOON_NS)
    counts: dict[str, Any] = {"input_tokens": 1000, "output_tokens": 10}
    found = genai_prices.calc_price(
        genai_prices.Usage(**counts), known_as, provider_id=provider, genai_request_timestamp=at
    )
    assert Prices().call_cost(model_call(model, recorded, **counts)) == found.total_price * PICO_USD_PER_USD > 0


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-custom"),
        ("openai", "ft:gpt-4o:acme::1"),
        ("ibm.watsonx.ai", "gpt-4o"),
        ("groq", "openai/gpt-4o"),
        ("openai", "my/model"),
        (None, "llama-at-home"),
        ("openai", None),
    ],
)
def test_what_is_not_known_is_not_guessed(provider: str | None, model: str | None) -> None:
    assert Prices().call_cost(model_call(model, provider, input_tokens=10, output_tokens=10)) is None


def test_the_model_that_answered_counts_before_the_requested_one() -> None:
    counts: dict[str, Any] = {"input_tokens": 10, "output_tokens": 10}
    requested = {"gen_ai.request.model": "gpt-4o-mini"}
    cheap = Prices().call_cost(model_call("gpt-4o-mini", **counts))
    assert Prices().call_cost(model_call("gpt-4o", attributes=requested, **counts)) != cheap
    assert Prices().call_cost(model_call("deployment-7", attributes=requested, **counts)) == cheap
    assert Prices().call_cost(model_call(None, attributes=requested, **counts)) == cheap


@given(
    st.sampled_from(REFERENCES),
    st.integers(0, 300_000),
    st.integers(0, 10_000),
    st.data(),
    st.sampled_from([None, "flex", "batch", "priority"]),
    st.integers(1_700_000_000, 1_800_000_000),
)
def test_costs_are_those_of_the_package(
    reference: tuple[str, str], sent: int, answered: int, data: st.DataObject, tier: str | None, at_s: int
) -> None:
    provider, model = reference
    cached = data.draw(st.integers(0, sent))
    written, thought = data.draw(st.integers(0, sent - cached)), data.draw(st.integers(0, answered))
    call = model_call(
        model,
        provider,
        at_ns=at_s * 10**9,
        attributes={} if tier is None else {"openai.response.service_tier": tier},
        input_tokens=sent,
        output_tokens=answered,
        cache_read_input_tokens=cached,
        cache_write_input_tokens=written,
        reasoning_output_tokens=thought,
    )
    expected = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=sent,
            output_tokens=answered,
            cache_read_tokens=cached,
            cache_write_tokens=written,
            output_reasoning_tokens=thought,
        ),
        model,
        provider_id=provider,
        genai_request_timestamp=datetime.fromtimestamp(at_s, timezone.utc),
        price_context=None if tier is None else {"service_tier": tier, "processing": tier},
    ).total_price
    cost = Prices().call_cost(call)
    if cost is None:  # a model of embeddings has no price for output
        assert (model, answered > 0) == ("text-embedding-3-small", True)
    else:
        assert cost == expected * PICO_USD_PER_USD


@given(
    st.sampled_from(REFERENCES),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**4)), min_size=1, max_size=8),
)
def test_rates_are_linear_within_a_step(reference: tuple[str, str], calls: list[tuple[int, int]]) -> None:
    """Whoever sums tokens by model, day and step has the sum of the costs of the calls."""
    prices, (provider, model) = Prices(), reference
    costs = [
        prices.call_cost(model_call(model, provider, input_tokens=sent, output_tokens=answered))
        for sent, answered in calls
    ]
    if None in costs:
        assert model == "text-embedding-3-small"
        return
    steps = prices.steps(provider, model)
    total = 0
    for step in range(len(steps) + 1):
        inside = [call for call in calls if sum(call[0] > start for start in steps) == step]
        rates = prices.rates(provider, model, AT_NOON_NS, steps[step - 1] + 1 if step else 0)
        assert rates is not None
        sums = [sum(column) for column in zip(*inside, strict=True)] or [0, 0]
        summed = model_call(input_tokens=sums[0], output_tokens=sums[1]).usage
        assert summed is not None
        total += rates.cost_of(summed, len(inside)) or 0
    assert total == sum(cost for cost in costs if cost is not None)
