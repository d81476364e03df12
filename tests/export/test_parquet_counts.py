"""Parquet exports of a sampled store: the counts of dropped traces go along, and the SQL of the documents weighs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet
import pytest

from otel_agent_trace import (
    AgentTracer,
    FileBackend,
    RunQuery,
    SourceError,
    TailSampling,
    Usage,
    compute_metrics,
    load_runs,
)
from otel_agent_trace.cli import main
from otel_agent_trace.export.parquet import write_parquet
from otel_agent_trace.metrics.engines import source_metrics
from otel_agent_trace.sampling import NS_PER_HOUR, DroppedTraces
from otel_agent_trace.sources import open_source
from otel_agent_trace.sources.files import FilesSource
from tests.support.documents import blocks_in, read, section
from tests.support.fake_receivers import FakeReceiver
from tests.support.requirements import needs_locks
from tests.support.sample_runs import make_run

PRICES = {"gpt-x": {"input": 1, "output": 2}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """160 runs of two agents, of which some fail; of the others a third is kept."""
    path = str(tmp_path_factory.mktemp("sampled") / "traces.jsonl")
    with AgentTracer(backend=FileBackend(path), sampling=TailSampling(rest=1 / 3)) as tracer:
        for number in range(160):
            _run(tracer, number)
    return path


def _run(tracer: AgentTracer, number: int) -> None:
    with tracer.run(agent_name=f"agent {number % 2}", metadata={"tenant": "acme"}) as run:
        with run.model_call("gpt-x") as call:
            call.usage = Usage(input_tokens=100 + number, output_tokens=number)
        with run.step("search") as step:
            if number % 5 == 0:
                step.fail("no answer")
        if number % 8 == 0:
            run.fail("no")
        else:
            run.final_output = "yes"


@pytest.fixture(scope="module")
def folder(store: str) -> str:
    path = f"{store}.export"
    prices = Path(f"{store}.prices")
    prices.write_text(json.dumps(PRICES))
    assert main(["export", store, "--to", "parquet", "--output", path, "--prices", str(prices)]) == 0
    return path


def dropped_in(folder: Any) -> list[DroppedTraces]:
    source: Any = open_source(folder)
    dropped: list[DroppedTraces] = source.dropped()
    return dropped


@needs_locks
@pytest.mark.parametrize("engine", ["duckdb", "parse"])
@pytest.mark.parametrize("agent", [None, "agent 1"])
def test_an_export_has_the_figures_of_its_store(store: str, folder: str, engine: str, agent: str | None) -> None:
    query = RunQuery(agent=agent)
    of_store = source_metrics(store, query, prices=PRICES, by=["agent", "status"], bucket="1h").to_dict()
    assert of_store["runs"] == (160 if agent is None else 80)
    assert of_store["cost"]["total_usd"] > 0
    how: dict[str, Any] = {"prices": PRICES, "by": ["agent", "status"], "bucket": "1h", "engine": engine}
    assert source_metrics(folder, query, **how).to_dict() == of_store


@needs_locks
@pytest.mark.parametrize(
    ("options", "is_counted"),
    [
        (["--agent", "agent 1"], True),
        (["--status", "success"], True),
        (["--since", "2020-01-01T00:00:00Z"], True),
        (["--redact"], True),
        (["--since", "2020-01-01T00:00:01Z"], True),
        (["--until", "0s"], False),
        (["--tool", "search"], False),
        (["--limit", "1000"], False),
        (["last"], False),
    ],
)
def test_counts_go_along_where_they_fit(store: str, tmp_path: Path, options: list[str], is_counted: bool) -> None:
    assert main(["export", store, *options, "--to", "parquet", "--output", str(tmp_path / "made")]) == 0
    filters = dict(zip(options[::2], options[1::2], strict=False))
    expected = [
        count
        for count in FilesSource([store]).dropped()
        if filters.get("--agent", count.agent) == count.agent and filters.get("--status", count.status) == count.status
    ]
    if not is_counted:
        expected = [] if options == ["last"] else [count._replace(is_certain=False) for count in expected]
    assert dropped_in(tmp_path / "made") == expected


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with the 20 errors of 160 runs, and the counts of all others."""
    path = str(tmp_path_factory.mktemp("errors") / "traces.jsonl")
    with AgentTracer(backend=FileBackend(path), sampling=TailSampling(rest=0)) as tracer:
        for number in range(160):
            _run(tracer, number)
    return path


@needs_locks
@pytest.mark.parametrize(
    "options",
    [
        ["--limit", "1000"],
        ["--tool", "search"],
        ["--since", "2020-01-01T00:30:00Z"],
        ["--until", "0s"],
        ["--agent", "agent 1", "--until", "0s"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("name", ["store", "errors"])
def test_an_export_has_the_figures_of_its_store_with_the_same_filter(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, options: list[str]
) -> None:
    """Also where nobody knows whether the dropped traces are among the selected."""
    source, made = request.getfixturevalue(name), tmp_path / "made"
    assert main(["export", source, *options, "--to", "parquet", "--output", str(made)]) == 0
    filters = dict(zip(options[::2], options[1::2], strict=True))
    query = RunQuery.of(**{key.strip("-"): int(value) if value == "1000" else value for key, value in filters.items()})
    how: dict[str, Any] = {"prices": PRICES, "by": ["agent", "tool"], "bucket": "1h"}
    expected = source_metrics(source, query, **how).to_dict()
    for engine in ("duckdb", "parse"):
        assert source_metrics(made, engine=engine, **how).to_dict() == expected
    again = tmp_path / "again"
    assert main(["export", str(made), "--to", "parquet", "--output", str(again)]) == 0
    assert dropped_in(again) == dropped_in(made)


@needs_locks
def test_an_export_in_a_window_has_room_for_what_was_dropped(errors: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert main(["export", errors, "--since", "59m", "--tool", "search", "--to", "parquet", "--output", str(made)]) == 0
    found = source_metrics(made)
    assert found.sample is not None
    assert (found.runs, found.sample.perhaps_dropped) == (20, 140)
    assert found.sampling_interval == (0.0, 140 / 160)


@needs_locks
@pytest.mark.parametrize(
    ("options", "number"),
    [
        ([], "140 traces"),
        (["--agent", "agent 0"], "60 traces"),
        (["--tool", "search"], "up to 140 traces"),
        (["last"], None),
    ],
    ids=str,
)
def test_what_has_no_counts_is_named(
    errors: str,
    tmp_path: Path,
    http_receiver: FakeReceiver,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    number: str | None,
) -> None:
    """Neither a file of OTLP JSON nor a receiver has the counts."""
    places = {"written": ["otlp-json", "--output", str(tmp_path / "made.jsonl")], "sent": [http_receiver.endpoint]}
    for what, place in places.items():
        assert main(["export", errors, *options, "--to", *place]) == 0
        sentence = f"{number} of these runs were dropped by sampling; figures of what was {what} do not know of them\n"
        assert capsys.readouterr().err == ("" if number is None else sentence)


def test_cases_are_no_figures(errors: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", errors, "--to", "cases"]) == 0
    assert capsys.readouterr().err == ""


def test_counts_come_back_and_are_replaced(tmp_path: Path) -> None:
    counts = [DroppedTraces(None, "success", 10 * NS_PER_HOUR, 3), DroppedTraces("\u00e4", "error", 0, 2**40)]
    write_parquet([make_run(1)], tmp_path, dropped=counts)
    assert dropped_in(tmp_path) == counts
    write_parquet([make_run(1)], tmp_path)
    assert dropped_in(tmp_path) == []


def test_an_export_of_an_earlier_version_has_no_counts(tmp_path: Path) -> None:
    write_parquet([make_run(1)], tmp_path, dropped=[DroppedTraces("a", "success", 0, 3)])
    (tmp_path / "dropped.parquet").unlink()
    assert dropped_in(tmp_path) == []
    assert source_metrics(tmp_path).runs == 1
    write_parquet(load_runs(tmp_path), tmp_path)
    assert len(load_runs(tmp_path)) == 1


def test_counts_of_another_export_are_none(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_parquet([make_run(1)], tmp_path / name, dropped=[DroppedTraces("a", "success", 0, 3)])
    (tmp_path / "one" / "dropped.parquet").replace(tmp_path / "two" / "dropped.parquet")
    with pytest.raises(SourceError, match="not of one export"):
        source_metrics(tmp_path / "two")


def test_names_of_agents_are_masked_in_counts(tmp_path: Path) -> None:
    key = "sk-proj-" + "a1B2c3D4" * 6
    source, made = tmp_path / "source", tmp_path / "made"
    write_parquet([make_run(1)], source, dropped=[DroppedTraces(key, "success", 0, 3)])
    assert main(["export", str(source), "--redact", "--to", "parquet", "--output", str(made)]) == 0
    assert key not in str(pyarrow.parquet.read_table(made / "dropped.parquet").to_pylist())
    assert [count.traces for count in dropped_in(made)] == [3]


# ── SQL of one's own ─────────────────────────────────────────────────────────────────────────────────────────────────


def of_documents(page: str, title: str, folder: str) -> list[list[dict[str, Any]]]:
    """What the statements in a section select, of an export in place of the one that they name."""
    found = []
    for statement in blocks_in(section(read(page), title), "sql"):
        local = re.sub(
            r"INSTALL httpfs; LOAD httpfs;|s3://traces/\*|DIR", lambda match: _local(match[0], folder), statement
        )
        relation = duckdb.sql(local)
        found.append([dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()])
    return found


def _local(text: str, folder: str) -> str:
    return "" if text.startswith("INSTALL") else folder


@needs_locks
def test_sql_over_runs_has_the_figures_of_the_report(folder: str) -> None:
    weighed, counted = of_documents("docs/metrics.md", "Engines", folder)
    report = compute_metrics(load_runs(folder), prices=PRICES)
    assert report.runs != len(load_runs(folder))
    assert len(weighed) == len(report.agents) == 2
    for row in weighed:
        agent = report.agents[row["agent_name"]]
        assert row["runs"] == pytest.approx(agent.runs)
        assert row["success_rate"] == pytest.approx(agent.success_rate)
        assert row["mean_s"] == pytest.approx(agent.latency.mean_s)
        assert row["p95_s"] == pytest.approx(agent.latency.p95_s, rel=0.03)
        assert row["input_tokens"] == pytest.approx(agent.tokens.input_tokens)
        assert row["cost_usd"] == pytest.approx(agent.cost_usd)
    assert {row["agent"]: row["runs"] for row in counted} == {"agent 0": 80, "agent 1": 80}
    assert {name: figures.runs for name, figures in source_metrics(folder).agents.items()} == {
        "agent 0": 80,
        "agent 1": 80,
    }


@needs_locks
def test_sql_over_spans_has_the_figures_of_the_report(folder: str) -> None:
    (((row),),) = of_documents("docs/command-line.md", "Parquet", folder)
    tool = compute_metrics(load_runs(folder)).tools["search"]
    assert (row["name"], row["calls"]) == ("search", pytest.approx(tool.calls))
    assert row["error_rate"] == pytest.approx(tool.error_rate)
