"""Read prices of one's own: ``{"[provider/]model": {"input": 3.0, "output": 15.0, "cache_read": 0.3}}``, dollars a million tokens."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from os import PathLike, fspath
from typing import Any

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import shown
from otel_agent_trace.prices.rates import Rates, rates_of

_KINDS = ("input", "output", "cache_read", "cache_write")
_REQUIRED = ("input", "output")
_EXAMPLE = '{"openai/gpt-4o": {"input": 2.5, "output": 10, "cache_read": 1.25}}'


class OwnPrices(dict[str, Rates]):
    """Map ``model`` or ``provider/model``, in lower case, to rates; `digest` is that of all prices."""

    digest = ""

    def find(self, providers: Iterable[str | None], models: Iterable[str]) -> Rates | None:
        """Return the rates of the first model that has some, those for one of the providers before those for any."""
        known = [provider for provider in providers if provider]
        for model in models:
            for key in (*(f"{provider}/{model}" for provider in known), model):
                if (rates := self.get(key.lower())) is not None:
                    return rates
        return None


def own_prices(given: Any, place: str = "prices") -> OwnPrices:
    """Return the prices in a mapping.

    Args:
        given: the mapping.
        place: what it is called in messages: the name of an argument, or of a file.

    Raises:
        ConfigurationError: it has another shape; the message names the key.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{place} must be a mapping like {_EXAMPLE}, got {shown(given)}")
    numbers = {str(name): _numbers(given[name], f"{place}: {shown(name)}") for name in given}
    prices = OwnPrices({name.lower(): _rates(by_kind) for name, by_kind in numbers.items()})
    if prices:
        text = json.dumps(sorted((name, [*rates]) for name, rates in prices.items()))
        prices.digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return prices


def read_prices(path: str | PathLike[str]) -> OwnPrices:
    """Return the prices in a JSON file.

    Raises:
        ConfigurationError: it cannot be read, or has another shape; the message names the file, and the key.
    """
    name = fspath(path)
    try:
        with open(name, encoding="utf-8") as file:
            given = json.load(file)
    except OSError as error:
        raise ConfigurationError(f"prices: {name}: {error.strerror}; name a JSON file like {_EXAMPLE}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"prices: {name}: no JSON ({error}); it must be like {_EXAMPLE}") from error
    return own_prices(given, f"prices: {name}")


def _numbers(given: Any, place: str) -> dict[str, Decimal]:
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{place} must have prices like {{'input': 3, 'output': 15}}, got {shown(given)}")
    unknown = [kind for kind in given if kind not in _KINDS]
    if unknown:
        raise ConfigurationError(f"{place} has {shown(unknown[0])}; known are {', '.join(_KINDS)}")
    missing = [kind for kind in _REQUIRED if kind not in given]
    if missing:
        raise ConfigurationError(f"{place} lacks {missing[0]!r}, in dollars a million tokens (0 if it is free)")
    return {kind: _number(given[kind], f"{place}: {kind}") for kind in given}


def _number(given: Any, place: str) -> Decimal:
    is_number = isinstance(given, int | float | Decimal) and not isinstance(given, bool)
    if not is_number or not math.isfinite(given) or given < 0:
        raise ConfigurationError(f"{place} must be dollars a million tokens, 0 or more, got {shown(given)}")
    return Decimal(repr(given)) if isinstance(given, float) else Decimal(given)


def _rates(by_kind: Mapping[str, Decimal]) -> Rates:
    return rates_of(
        by_kind["input"],
        by_kind["output"],
        cache_read_usd=by_kind.get("cache_read"),
        cache_write_usd=by_kind.get("cache_write"),
    )
