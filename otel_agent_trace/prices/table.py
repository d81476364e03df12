"""Define `Prices`: what model calls cost, by provider, model, time, size and tier."""

from __future__ import annotations

import os
from collections.abc import Mapping
from os import PathLike
from typing import TypeAlias

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.model import AgentRun, AgentStep
from otel_agent_trace.prices import calls
from otel_agent_trace.prices.own import OwnPrices, own_prices, read_prices
from otel_agent_trace.prices.published import (
    DISTRIBUTION,
    EXTRA,
    PublishedModel,
    installed_version,
    published_model,
    published_provider,
)
from otel_agent_trace.prices.rates import Rates

VARIABLE = "OTEL_AGENT_TRACE_PRICES"
_RULES = 2
"""Number of the rules by which calls are priced here; another number makes costs that were kept invalid."""
_MOST_CACHED = 10_000


class Prices:
    """Hold what model calls cost: prices of one's own first, then those that ``genai-prices`` knows. It never changes.

    Args:
        own: prices of one's own, as `Prices.of` reads them.
    """

    __slots__ = ("_found", "_own", "_version")

    def __init__(self, own: OwnPrices | None = None) -> None:
        self._own = OwnPrices() if own is None else own
        self._found: dict[tuple[str | None, tuple[str, ...]], Rates | PublishedModel | None] = {}
        self._version: str | None = None

    @classmethod
    def of(cls, given: PricesGiven = None) -> Prices:
        """Return prices.

        Args:
            given: ``{"[provider/]model": {"input": 3.0, "output": 15.0, "cache_read": 0.3, "cache_write": 3.75}}`` in
                dollars a million tokens, of which the last two may be left out; the path of a JSON file with such; or
                None for the file that ``OTEL_AGENT_TRACE_PRICES`` names, if it names one.

        Raises:
            ConfigurationError: prices have another shape, a name is there twice in any case of letters, or the file cannot
                be read; the message names the file, the key, and what it must be.
        """
        if isinstance(given, Prices):
            return given
        if given is None:
            path = os.environ.get(VARIABLE, "").strip()
            return cls(read_prices(path) if path else None)
        return cls(read_prices(given) if isinstance(given, str | PathLike) else own_prices(given))

    @property
    def version(self) -> str:
        """Return a name of these prices: others have another one; empty where there are none at all."""
        if self._version is None:
            published, own = installed_version(), self._own.digest
            parts = ([f"{DISTRIBUTION} {published}"] if published else []) + ([f"own {own}"] if own else [])
            self._version = ", ".join([*parts, f"rules {_RULES}"]) if parts else ""
        return self._version

    @property
    def own_text(self) -> str:
        """Return prices of one's own as JSON, which `of_own_text` reads; empty where there are none."""
        return self._own.text

    @classmethod
    def of_own_text(cls, text: str) -> Prices:
        """Return the prices in an `own_text`, before those that ``genai-prices`` knows.

        Raises:
            msgspec.DecodeError: it has others, or is no JSON.
        """
        return cls(OwnPrices.of_text(text))

    def check(self) -> None:
        """Check that there are prices.

        Raises:
            ConfigurationError: there are none; the message names what to install.
        """
        if not self.version:
            raise ConfigurationError(
                f"no prices: pip install '{EXTRA}', or give prices of your own (prices=, --prices FILE, {VARIABLE})"
            )

    def rates(
        self, provider: str | None, model: str, at_ns: int, input_tokens: int, tier: str | None = None
    ) -> Rates | None:
        """Return what the tokens of a call cost; None where that is not known.

        Args:
            provider: the provider as it was recorded, None where it was not.
            model: the model.
            at_ns: the time of the call in Unix nanoseconds.
            input_tokens: the input tokens of the call: with some models, all tokens of large calls cost more.
            tier: the service tier, such as ``flex``.
        """
        return _rates_in(self._find(provider, (model,)), at_ns, input_tokens, tier)

    def steps(self, provider: str | None, model: str) -> tuple[int, ...]:
        """Return the numbers of input tokens above which the tokens of a call have other prices; usually none."""
        found = self._find(provider, (model,))
        return found.steps if isinstance(found, PublishedModel) else ()

    def of_model(self, call: AgentStep | AgentRun) -> Rates | PublishedModel | None:
        """Return the prices of the model of a call; None where they are not known."""
        models = calls.models_of(call)
        return self._find(calls.provider_of(call), models) if models else None

    def call_cost(self, call: AgentStep | AgentRun) -> int | None:
        """Return what a model call costs in 1e-12 dollars; None where that is not known.

        The tokens of a run that reports them only as a whole have the prices of small calls.
        """
        usage, found = call.usage, self.of_model(call)
        if usage is None or found is None:
            return None
        at_ns, tier = call.started_at_ns, calls.tier_of(call, usage)
        is_one = isinstance(call, AgentStep)
        rates = _rates_in(found, at_ns, (usage.input_tokens or 0) if is_one else 0, tier)
        cost = None if rates is None else rates.cost_of(usage)
        if cost is not None and is_one and isinstance(found, PublishedModel):
            parts = calls.named_parts(call, usage)
            return found.cost_of(usage, parts, at_ns, tier) if parts else cost
        return cost

    def _find(self, provider: str | None, models: tuple[str, ...]) -> Rates | PublishedModel | None:
        key = provider, models
        if key not in self._found:
            if len(self._found) >= _MOST_CACHED:
                self._found.clear()
            self._found[key] = self._search(None if provider is None else provider.strip().lower(), models)
        return self._found[key]

    def _search(self, provider: str | None, models: tuple[str, ...]) -> Rates | PublishedModel | None:
        own = self._own.find((provider, published_provider(provider)), models)
        if own is not None:
            return own
        return next((found for name in models if (found := published_model(provider, name)) is not None), None)

    def __eq__(self, other: object) -> bool:
        return self._own == other._own if isinstance(other, Prices) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._own.digest)

    def __repr__(self) -> str:
        return f"<Prices {self.version or 'of nothing'}>"

    def __reduce__(self) -> tuple[type[Prices], tuple[OwnPrices]]:
        return type(self), (self._own,)


PricesGiven: TypeAlias = Prices | Mapping[str, Mapping[str, float]] | str | PathLike[str] | None
"""Type of prices as they are given: see `Prices.of`."""


def _rates_in(found: Rates | PublishedModel | None, at_ns: int, input_tokens: int, tier: str | None) -> Rates | None:
    return found.rates(at_ns, input_tokens, tier) if isinstance(found, PublishedModel) else found
