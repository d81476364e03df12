"""Prices of one's own come first; those of another shape are refused by file and key."""

from __future__ import annotations

import json
import pickle
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
        ('{"m": {"input": "3", "output": 3}}', ["'m': input"]),
    ],
)
def test_another_shape_is_refused(tmp_path: Path, given: str, words: list[str]) -> None:
    path = tmp_path / "prices.json"
    path.write_text(given)
    with pytest.raises(ConfigurationError) as refusal:
        compute_metrics([], prices=path)
    assert all(word in str(refusal.value) for word in [*words, str(path)])


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
