"""Read the prices that providers publish from ``genai-prices``, which is imported when the first call is priced.

Its data is part of the package: nothing is fetched, unless the program itself has its prices updated.
"""

from __future__ import annotations

import functools
import re
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from decimal import Decimal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from otel_agent_trace.model import Usage, at_time
from otel_agent_trace.prices.rates import Rates, pico_usd, rates_of

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, PriceCalculation

DISTRIBUTION = "genai-prices"
EXTRA = "otel-agent-trace[cost]"
_MOST_CACHED = 10_000
_MINUTE_NS = 60 * 10**9
DAY_NS = 24 * 60 * _MINUTE_NS
_EVER_NS = 1 << 64
_VARIANTS = ("service_tier", "processing", "speed")
"""Under these keys ``genai-prices`` has the prices of tiers: flex and priority, batch, fast."""
_COUNTS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_write_input_tokens": "cache_write_tokens",
    "reasoning_output_tokens": "output_reasoning_tokens",
}
_AZURE = re.compile(r"az(ure)?\b")
_API = re.compile(r"\.(chat|completion|embedding|image|messages|responses)$")
_NAMES = {
    "azure_openai": "azure",
    "fireworks_ai": "fireworks",
    "gcp.gen_ai": "google",
    "togetherai": "together",
    "x_ai": "x-ai",
}
"""Name of a provider in the conventions, LiteLLM or the AI SDK → the one here, where it is not understood."""
_ANY_MODEL = (None, "openai", "openrouter", "litellm")
"""Providers whose models may be named ``provider/model``: gateways, and programs that reach one as if it was OpenAI."""


class PublishedModel:
    """Hold the prices of one model of one provider.

    Args:
        provider: the provider as ``genai-prices`` takes it, or None to find it by the model.
        name: the name of the model.

    Raises:
        LookupError: it is not known.
    """

    def __init__(self, provider: str | None, name: str) -> None:
        self._provider, self._name = provider, name
        self._rates: dict[tuple[int, int, str | None], Rates] = {}
        model = self._calculated({}, 0, None).model
        self.steps = tuple(sorted({start for price in _all_prices(model) for start in _starts(price)}))
        """Numbers of input tokens above which a call has other prices."""
        self.period_ns = _period_ns(model)
        """Period in which prices do not change: each so many nanoseconds since 1970 have the same ones."""

    def rates(self, at_ns: int, input_tokens: int, tier: str | None) -> Rates:
        """Return the rates of a call at a time with so many input tokens."""
        key = at_ns // self.period_ns, bisect_left(self.steps, input_tokens), tier
        if key not in self._rates:
            if len(self._rates) >= _MOST_CACHED:
                self._rates.clear()
            self._rates[key] = _rates_in(self._calculated({}, at_ns, tier).model_price, input_tokens)
        return self._rates[key]

    def cost_of(self, usage: Usage, parts: Mapping[str, int], at_ns: int, tier: str | None) -> int | None:
        """Return what one call with parts that are priced apart costs, in 1e-12 dollars; None for impossible counts."""
        counts = {name: getattr(usage, field) or 0 for field, name in _COUNTS.items()}
        try:
            with warnings.catch_warnings():  # another version may not know all parts
                warnings.simplefilter("ignore")
                return pico_usd(self._calculated({**counts, **parts}, at_ns, tier).total_price)
        except ValueError:
            return None

    def _calculated(self, counts: Mapping[str, int], at_ns: int, tier: str | None) -> PriceCalculation:
        from genai_prices import Usage as Counts  # noqa: PLC0415 - see the module
        from genai_prices import calc_price  # noqa: PLC0415

        return calc_price(
            Counts(**counts),
            self._name,
            provider_id=self._provider,
            genai_request_timestamp=at_time(at_ns),
            price_context=None if tier is None else dict.fromkeys(_VARIANTS, tier),
        )


@functools.cache
def is_installed() -> bool:
    """Return whether ``genai-prices`` can be imported; it is imported for that."""
    try:
        import genai_prices  # noqa: F401, PLC0415 - see the module
    except ImportError:
        return False
    return True


@functools.cache
def installed_version() -> str | None:
    """Return the version of ``genai-prices``, which is not imported for that; None where it is not installed."""
    if find_spec("genai_prices") is None:
        return None
    from importlib import metadata  # noqa: PLC0415 - takes longer than most of what is not priced

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


@functools.lru_cache(maxsize=_MOST_CACHED)
def published_model(provider: str | None, name: str) -> PublishedModel | None:
    """Return the prices of a model; None where they are not known, or ``genai-prices`` is not installed.

    Args:
        provider: the provider as it was recorded, in lower case.
        name: the model as it was recorded.
    """
    if not is_installed():
        return None
    for provider_id, model in _candidates(published_provider(provider), name):
        try:
            return PublishedModel(provider_id, model)
        except (LookupError, ValueError):
            continue
    return None


def published_provider(name: str | None) -> str | None:
    """Return the name under which a provider is found; a name that is understood as it is, stays."""
    if name is None:
        return None
    plain = _API.sub("", name)
    return "azure" if _AZURE.match(plain) else _NAMES.get(plain, plain)


def _candidates(provider: str | None, name: str) -> Iterator[tuple[str | None, str]]:
    yield provider, name
    head, slash, rest = name.partition("/")
    if slash and rest:
        if head == "models":  # as Google's API names them
            yield provider, rest
        elif provider in _ANY_MODEL:
            yield published_provider(head.lower()), rest


def _all_prices(model: Any) -> Iterator[ModelPrice]:
    conditional = model.prices if isinstance(model.prices, list) else []
    yield from (each.prices for each in (*conditional, *(model.price_variants or ())))
    if not isinstance(model.prices, list):
        yield model.prices


def _starts(price: ModelPrice) -> Iterator[int]:
    from genai_prices.types import TieredPrices  # noqa: PLC0415 - see the module

    for value in vars(price).values():
        if isinstance(value, TieredPrices):
            yield from (tier.start for tier in value.tiers)


def _period_ns(model: Any) -> int:
    """Return how long the prices of a model are certain to stay: ever, a day, or a minute where they depend on the hour."""
    from genai_prices.types import TimeOfDateConstraint  # noqa: PLC0415 - see the module

    conditional = model.prices if isinstance(model.prices, list) else []
    constraints = [each.constraint for each in (*conditional, *(model.price_variants or ()))]
    if any(isinstance(each, TimeOfDateConstraint) for each in constraints):
        return _MINUTE_NS
    return _EVER_NS if all(each is None for each in constraints) else DAY_NS


def _rates_in(prices: ModelPrice, input_tokens: int) -> Rates:
    def price(key: str) -> Decimal | None:
        return _at_step(getattr(prices, key, None), input_tokens)

    return rates_of(
        price("input_mtok"),
        price("output_mtok"),
        cache_read_usd=price("cache_read_mtok"),
        cache_write_usd=price("cache_write_mtok"),
        reasoning_usd=price("output_reasoning_mtok"),
        thousand_calls_usd=price("requests_kcount"),
    )


def _at_step(value: Any, input_tokens: int) -> Decimal | None:
    """Return a price at a number of input tokens: above the start of a step all tokens of a call have its price."""
    tiers = getattr(value, "tiers", None)
    if tiers is None:
        return value  # type: ignore[no-any-return]
    reached = [tier.price for tier in tiers if input_tokens > tier.start]
    return reached[-1] if reached else value.base  # type: ignore[no-any-return]
