"""Parquet exports that were written with prices of one's own have the costs by these, whoever reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from otel_agent_trace import SourceError
from otel_agent_trace.cli import main
from otel_agent_trace.export.parquet import write_parquet
from otel_agent_trace.metrics.engines import source_metrics
from otel_agent_trace.model import Usage
from otel_agent_trace.prices import VARIABLE, Prices
from otel_agent_trace.prices.own import OwnPrices, own_prices
from otel_agent_trace.sources import prices_for
from tests.support.sample_runs import make_run

RUNS = [make_run(number) for number in range(1, 5)]
MODELS = {name for run in RUNS for part in run.walk() for step in part.model_steps if (name := step.model)}
PRICES = {model: {"input": 1000, "output": 3, "cache_read": 0.5} for model in MODELS}
OTHERS = {model: {"input": 2000, "output": 6, "cache_read": 1} for model in MODELS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_parquet(RUNS, tmp_path / "made", prices=PRICES)
    return tmp_path / "made"


def file_with(prices: dict[str, Any], path: Path) -> str:
    path.write_text(json.dumps(prices))
    return str(path)


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) in (0, 1)
    return json.loads(capsys.readouterr().out)


def costs_in(capsys: pytest.CaptureFixture[str], folder: Path, *options: str) -> list[Any]:
    """What commands show as the cost of the runs of a folder."""
    name = str(folder)
    run_id = shown(capsys, "list", name)[0]["run_id"]
    difference = shown(capsys, "diff", f"{name}#{run_id}", f"{name}#{run_id}", *options)
    return [
        *(run["cost_usd"] for run in shown(capsys, "list", name, *options)),
        shown(capsys, "show", name, run_id, *options)["cost_usd"],
        *(session["cost_usd"] for session in shown(capsys, "sessions", name, *options)),
        difference["a"]["cost_usd"],
        difference["b"]["cost_usd"],
        *(shown(capsys, "metrics", name, "--engine", engine, *options)["cost"] for engine in ("duckdb", "parse")),
        shown(capsys, "metrics", name, "--compare", "status=success,error", *options)["before"]["cost"],
    ]


def test_all_commands_price_by_the_prices_of_the_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a further export keeps these."""
    plain, again = tmp_path / "plain", tmp_path / "again"
    write_parquet(RUNS, plain)
    expected = costs_in(capsys, plain, "--prices", file_with(PRICES, tmp_path / "prices.json"))
    assert costs_in(capsys, folder) == expected != costs_in(capsys, plain)
    assert main(["export", str(folder), "--to", "parquet", "--output", str(again)]) == 0
    assert costs_in(capsys, again) == expected
    columns = pyarrow.parquet.read_table(again / "runs.parquet", columns=["cost_pico_usd"]).column(0).to_pylist()
    assert sum(columns) > 0
    assert columns == pyarrow.parquet.read_table(folder / "runs.parquet").column("cost_pico_usd").to_pylist()


@pytest.mark.parametrize("is_named", [True, False])
def test_others_that_are_given_come_first(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_named: bool,
) -> None:
    others = file_with(OTHERS, tmp_path / "others.json")
    plain = tmp_path / "plain"
    write_parquet(RUNS, plain)
    expected = costs_in(capsys, plain, "--prices", others)
    if not is_named:
        monkeypatch.setenv(VARIABLE, others)
    assert costs_in(capsys, folder, *(["--prices", others] if is_named else [])) == expected


def test_an_empty_mapping_is_given_too(folder: Path) -> None:
    assert prices_for(folder, {}) == Prices.of({}) != prices_for(folder, None) == Prices.of(PRICES)


def test_a_condition_about_cost_needs_no_other_prices(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_agent_trace.prices.table.installed_version", lambda: "")
    assert main(["metrics", str(folder), "--fail-if", "cost<0"]) == 0


def test_several_exports_have_prices_if_these_are_the_same(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_parquet(RUNS[:1], other, prices=PRICES)
    assert source_metrics([folder, other]).cost == source_metrics([folder, other], prices=PRICES).cost
    assert prices_for(f"{tmp_path}/*", None) == Prices.of(PRICES)
    write_parquet(RUNS[:1], other, prices=OTHERS)
    assert prices_for(f"{tmp_path}/*", None) == Prices.of(None)
    assert prices_for(tmp_path / "none.jsonl", None) == Prices.of(None)


@pytest.mark.parametrize("text", [b'[["m", [1, "x"]]]', b"[", b"[" * 100_000, b"\xff"])
def test_prices_that_are_none_are_named(folder: Path, text: bytes) -> None:
    for name in ("runs.parquet", "spans.parquet", "dropped.parquet"):
        table = pyarrow.parquet.read_table(folder / name)
        marks = {**table.schema.metadata, b"otel_agent_trace.own_prices": text}
        pyarrow.parquet.write_table(table.replace_schema_metadata(marks), folder / name)
    with pytest.raises(SourceError, match="damaged"):
        prices_for(folder, None)


def test_prices_come_back_from_their_text() -> None:
    prices = own_prices(
        {"M/x": {"input": 0.123456, "output": 10**9}, "\ud800é": {"input": 0, "output": 1, "cache_write": 2}}
    )
    read = OwnPrices.of_text(prices.text)
    assert (read, read.digest) == (prices, prices.digest)
    assert read["m/x"].cost_of(Usage(input_tokens=10)) == 1234560
    assert (OwnPrices.of_text(""), OwnPrices().digest) == ({}, "")
