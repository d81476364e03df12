"""Read prices of one's own: ``{"[provider/]model": {"input": 3.0, "output": 15.0, "cache_read": 0.3}}``, dollars a million tokens."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from os import PathLike, fspath
from typing import Any

import msgspec

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import shown
from otel_agent_trace.prices.rates import Rates, rates_of

_KINDS = ("input", "output", "cache_read", "cache_write")
_REQUIRED = ("input", "output")
_MOST_CHARACTERS = 1 << 24
_MOST_NAME_CHARACTERS = 256
_MOST_USD = 10**9
_SHOWN_CHARACTERS = 80
_EXAMPLE = '{"openai/gpt-4o": {"input": 2.5, "output": 10, "cache_read": 1.25}}'


class OwnPrices(dict[str, Rates]):
    """Map ``model`` or ``provider/model``, in lower case, to rates."""

    @functools.cached_property
    def text(self) -> str:
        """Return all prices as JSON, which `of_text` reads; empty where there are none."""
        return json.dumps(sorted((name, [*rates]) for name, rates in self.items())) if self else ""

    @functools.cached_property
    def digest(self) -> str:
        """Return the digest of all prices; empty where there are none."""
        return hashlib.blake2b(self.text.encode(), digest_size=6).hexdigest() if self else ""

    @classmethod
    def of_text(cls, text: str) -> OwnPrices:
        """Return the prices in a `text`.

        Raises:
            msgspec.DecodeError: it has others, or is no JSON.
        """
        try:
            given = json.loads(text) if text else []  # names may have surrogates, which msgspec does not decode
        except (ValueError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from error
        return cls(msgspec.convert(given, list[tuple[str, Rates]]))

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
        raise ConfigurationError(f"{place} must be a mapping like {_EXAMPLE}, got {_shown(given)}")
    _check_repeats(given, place)
    prices = OwnPrices()
    for key in given:
        name = _name(key, place)
        if name in prices:
            raise ConfigurationError(
                f"{place}: {_shown(key)} is there twice, in any case of letters; leave one of them"
            )
        prices[name] = _rates(_numbers(given[key], f"{place}: {_shown(key)}"))
    return prices


def read_prices(path: str | PathLike[str]) -> OwnPrices:
    """Return the prices in a JSON file.

    Raises:
        ConfigurationError: it cannot be read, has more than 2**24 characters, or another shape; the message names the
            file, and the key.
    """
    name = fspath(path)
    try:
        with open(name, encoding="utf-8-sig") as file:
            text = file.read(_MOST_CHARACTERS + 1)
        given = None if len(text) > _MOST_CHARACTERS else json.loads(text, object_pairs_hook=_Pairs)
    except OSError as error:
        raise ConfigurationError(f"prices: {name}: {error.strerror}; name a JSON file like {_EXAMPLE}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"prices: {name}: no JSON ({error}); it must be like {_EXAMPLE}") from error
    if len(text) > _MOST_CHARACTERS:
        msg = f"prices: {name} has more than {_MOST_CHARACTERS:,} characters; name a JSON file like {_EXAMPLE}"
        raise ConfigurationError(msg)
    return own_prices(given, f"prices: {name}")


class _Pairs(dict[str, Any]):
    """Hold an object of JSON, of which `repeated` is a name that is there twice; None without one."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        times = Counter(name for name, _ in pairs)
        self.repeated = next((name for name in times if times[name] > 1), None)


def _name(key: Any, place: str) -> str:
    """Return a key as it is looked up: in lower case.

    Raises:
        ConfigurationError: it is no name of a model.
    """
    if isinstance(key, str) and 0 < len(key) <= _MOST_NAME_CHARACTERS and key.strip().strip("/") == key:
        return key.lower()
    raise ConfigurationError(
        f'{place}: a name must be "model" or "provider/model", of at most {_MOST_NAME_CHARACTERS} characters, '
        f"got {_shown(key)}"
    )


def _check_repeats(given: Mapping[Any, Any], place: str) -> None:
    repeated = given.repeated if isinstance(given, _Pairs) else None
    if repeated is not None:
        raise ConfigurationError(f"{place}: {_shown(repeated)} is there twice; leave one of them")


def _shown(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _numbers(given: Any, place: str) -> dict[str, Decimal]:
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{place} must have prices like {{'input': 3, 'output': 15}}, got {_shown(given)}")
    _check_repeats(given, place)
    unknown = [kind for kind in given if kind not in _KINDS]
    if unknown:
        raise ConfigurationError(f"{place} has {_shown(unknown[0])}; known are {', '.join(_KINDS)}")
    missing = [kind for kind in _REQUIRED if kind not in given]
    if missing:
        raise ConfigurationError(f"{place} lacks {missing[0]!r}, in dollars a million tokens (0 if it is free)")
    return {kind: _number(given[kind], f"{place}: {kind}") for kind in given}


def _number(given: Any, place: str) -> Decimal:
    is_number = isinstance(given, int | float | Decimal) and not isinstance(given, bool)
    number = Decimal(repr(float(given)) if isinstance(given, float) else given) if is_number else None
    if number is None or not number.is_finite() or not 0 <= number <= _MOST_USD:
        msg = f"{place} must be dollars a million tokens, 0 or more and at most {_MOST_USD:,}, got {_shown(given)}"
        raise ConfigurationError(msg)
    return number


def _rates(by_kind: Mapping[str, Decimal]) -> Rates:
    return rates_of(
        by_kind["input"],
        by_kind["output"],
        cache_read_usd=by_kind.get("cache_read"),
        cache_write_usd=by_kind.get("cache_write"),
    )
