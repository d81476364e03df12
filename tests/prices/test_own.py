"""Prices of one's own come first; those of another shape are refused by file and key."""

from __future__ import annotations

import json
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import RunQuery, compute_metrics
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.prices import PICO_USD_PER_USD, Prices, run_cost
from tests.support.model_calls import model_call, run_of

COUNTS: dict[str, Any] = {
    "input_tokens": 1000,
    "output_tokens": 100,
    "cache_read_input_tokens": 200,
    "cache_write_input_tokens": 50,
}
OWN: dict[str, Any] = {"input": 3.0, "output": 15.0, "cache_read": 0.3, "cache_write": 3.75}


def cost(prices: Any, model: str = "house-1", provider: str | None = "openai") -> float | None:
    found = Prices.of(prices).call_cost(model_call(model, provider, **COUNTS))
    return None if found is None else found / PICO_USD_PER_USD


def test_dollars_a_million_tokens() -> None:
    assert cost({"house-1": OWN}) == pytest.approx((750 * 3 + 200 * 0.3 + 50 * 3.75 + 100 * 15) / 10**6, rel=1e-15)
    assert cost({"house-1": {"input": 3, "output": 15}}) == pytest.approx((1000 * 3 + 100 * 15) / 10**6, rel=1e-15)
    assert cost({"house-1": {"input": 0, "output": 0}}) == 0.0


def test_contracts_come_before_published_prices_and_these_before_nothing() -> None:
    published = cost(None, "gpt-4o")
    assert published is not None
    assert cost({"gpt-4o": OWN}, "gpt-4o") != published
    assert cost({"house-1": OWN}, "gpt-4o") == published
    assert cost({"house-1": OWN}, "house-2") is None


def test_a_price_for_one_provider_counts_before_one_for_any() -> None:
    for_any, for_one = {"input": 1, "output": 1}, {"input": 2, "output": 2}
    prices = {"house-1": for_any, "Azure/House-1": for_one}
    assert cost(prices, provider="openai") == cost({"house-1": for_any})
    assert cost(prices, provider=None) == cost({"house-1": for_any})
    for name in ("azure", "azure.ai.openai"):  # as the conventions name it, too
        assert cost(prices, provider=name) == cost({"house-1": for_one})
    assert cost({"openai/gpt-4o": for_one}, "openai/gpt-4o", "litellm") == cost({"house-1": for_one})


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"house-1": OWN}))
    assert cost(path) == cost(str(path)) == cost({"house-1": OWN})
    assert cost(None) is None
    monkeypatch.setenv("OTEL_AGENT_TRACE_PRICES", str(path))
    assert cost(None) == cost({"house-1": OWN})
    assert cost({"house-1": {"input": 1, "output": 1}}) != cost(None)
    run = run_of(model_call("house-1", **COUNTS))
    assert run_cost(run).usd == compute_metrics([run]).cost.total_usd == cost(path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("[]", ["must be a mapping like"]),
        ("{", ["no JSON"]),
        ('{"m": 3}', ["'m'", "must have prices like"]),
        ('{"m": {"input": 3}}', ["'m'", "lacks 'output'"]),
        ('{"m": {"input": 3, "output": 3, "ouput": 3}}', ["'m'", "'ouput'", "cache_read"]),
        ('{"m": {"input": -3, "output": 3}}', ["'m': input", "0 or more"]),
        ('{"m": {"input": NaN, "output": 3}}', ["'m': input"]),
        ('{"m": {"input": true, "output": 3}}', ["'m': input", "True"]),
        ('{"m": {"input": "3", "output": 3}}', ["'m': input", "got '3'"]),
        ('{"m": {"input": null, "output": 3}}', ["'m': input", "got None"]),
        ('{"m": {"input": 3, "output": Infinity}}', ["'m': output", "at most 1,000,000,000"]),
        ('{"m": {"input": 3, "output": 1e400}}', ["'m': output", "at most 1,000,000,000"]),
        ('{"m": {"input": 3, "output": 1' + 400 * "0" + "}}", ["'m': output", "at most 1,000,000,000"]),
        ('{"m": {"input": 1e10, "output": 3}}', ["'m': input", "got 10000000000.0"]),
        ('{"m": {"input": 3, "output": 3, "input": 4}}', ["'m': 'input' is there twice"]),
        ('{"m": {"input": 3, "output": 3}, "m": {"input": 4, "output": 3}}', ["'m' is there twice"]),
        ('{"m": {"input": 3, "output": 3}, "M": {"input": 4, "output": 3}}', ["'M' is there twice, in any case"]),
        ('{"": {"input": 3, "output": 3}}', ["a name must be", "got ''"]),
        ('{"/": {"input": 3, "output": 3}}', ["a name must be", "got '/'"]),
        ('{"openai/": {"input": 3, "output": 3}}', ["a name must be", "got 'openai/'"]),
        ('{" m": {"input": 3, "output": 3}}', ["a name must be", "got ' m'"]),
        ('{"' + 257 * "m" + '": {"input": 3, "output": 3}}', ["a name must be", "at most 256 characters", "mmm…"]),
        ('"' + 10_000 * "m" + '"', ["must be a mapping like", "mmm…"]),
        ("[" * 100_000, ["no JSON"]),
        ('{"m": {"input": 3, "output": 3}}' + (1 << 24) * " ", ["more than 16,777,216 characters"]),
    ],
)
def test_another_shape_is_refused(tmp_path: Path, given: str, words: list[str]) -> None:
    path = tmp_path / "prices.json"
    path.write_text(given)
    with pytest.raises(ConfigurationError) as refusal:
        compute_metrics([], prices=path)
    message = str(refusal.value)
    assert all(word in message for word in [*words, str(path)])
    assert len(message) < 500 + len(str(path))


@pytest.mark.parametrize("key", [3, None, b"m", ("openai", "m")])
def test_keys_of_mappings_are_texts(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="a name must be"):
        Prices.of({key: OWN})


@pytest.mark.parametrize("price", [Decimal("NaN"), Decimal("sNaN"), Decimal("-0.1"), 10**400, object()])
def test_prices_of_mappings_are_numbers(price: Any) -> None:
    with pytest.raises(ConfigurationError, match="'m': output must be dollars a million tokens"):
        Prices.of({"m": {"input": 1, "output": price}})


def test_the_longest_names_and_highest_prices() -> None:
    """Names of gateways have several parts."""
    name = "accounts/" + 247 * "m"
    highest: dict[str, Any] = {"input": 10**9, "output": Decimal("0.5")}
    found = Prices.of({name: highest}).call_cost(model_call(name.upper(), None, input_tokens=2))
    assert found == 2000 * PICO_USD_PER_USD


def test_what_is_no_file_of_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^prices: .*: (Is a directory|Permission denied); name a JSON file"):
        Prices.of(tmp_path)
    path = tmp_path / "prices.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="no JSON"):
        Prices.of(path)


def test_files_of_editors_that_mark_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"house-1": OWN}), encoding="utf-8-sig")
    assert cost(path) == cost({"house-1": OWN})


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.json: No such file"):
        RunQuery(sort="cost", prices=tmp_path / "none.json")


def test_the_version_is_that_of_the_prices() -> None:
    one, same, other = (Prices.of({name: OWN}) for name in ("a", "A", "b"))
    assert one.version == same.version
    assert one == same
    assert len({one.version, other.version, Prices().version}) == 3
    copy = pickle.loads(pickle.dumps(one))
    assert (copy, copy.version) == (one, one.version)
    changed = Prices.of({"a": {**OWN, "output": 15.5}})
    assert changed.version != one.version
