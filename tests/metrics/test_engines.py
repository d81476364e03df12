"""Each engine counts the same: reports are equal, to the bins of their sketches."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from otel_agent_trace import (
    AgentRun,
    ConfigurationError,
    MetricsReport,
    RunQuery,
    SpanRecord,
    StepKind,
    Usage,
    compute_metrics,
    load_runs,
    run_to_spans,
    runs_from_spans,
)
from otel_agent_trace.cli import main
from otel_agent_trace.export.parquet import write_parquet
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.metrics.engines import source_metrics
from otel_agent_trace.metrics.sql.clickhouse import opened_table
from otel_agent_trace.metrics.sql.otlp_json import opened_files
from otel_agent_trace.metrics.strata import WHOLE
from otel_agent_trace.prices import Prices, PricesGiven, published, run_cost
from otel_agent_trace.sources.clickhouse import ClickHouseSource
from otel_agent_trace.sources.parquet.records import RecordReader
from otel_agent_trace.sources.parquet.selection import opened_database
from tests.support.clickhouse import ClickHouseDatabase
from tests.support.measured_runs import PRICES, measured_runs
from tests.support.mixed_traces import conversations, foreign_traces, of_ours, own_traces
from tests.support.sample_runs import BEGAN_NS, make_run

_FOLDERS = itertools.count()
KEYS = (
    *("agent", "model", "user_id", "session_id", "service", "status", "tag", "prompt_name", "environment"),
    *("metadata.tenant", "resource.n", "score:helpful", "provider", "tool", "version", "user", "session"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@st.composite
def several_runs(draw: st.DrawFn) -> list[AgentRun]:
    """As they are read: with what spans can hold."""
    made = [draw(measured_runs(number)) for number in range(draw(st.integers(0, 12)))]
    return runs_from_spans([span for run in made for span in run_to_spans(run)])


HOW: dict[str, Any] = {"bucket": "1h", "by": KEYS, "prices": PRICES}


def assert_equal(one: MetricsReport, other: MetricsReport) -> None:
    assert one.to_dict() == other.to_dict()
    assert one._strata == other._strata


@settings(max_examples=5)
@given(several_runs(), st.booleans())
def test_parquet_by_duckdb(folder: Path, runs: list[AgentRun], replays: bool) -> None:
    path = folder / str(next(_FOLDERS))
    write_parquet(runs, path, prices=PRICES)
    parsed = compute_metrics(runs, **HOW, replays=replays)
    assert_equal(source_metrics(path, engine="duckdb", **HOW, replays=replays), parsed)


# ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────────────

FILTERS: list[dict[str, Any]] = [
    {"agent": "weather"},
    {"status": "paused"},
    {"status": "running"},
    {"status": "interrupted"},
    {"tool": "search"},
    {"tool_error": True},
    {"tool_error": "search"},
    {"model": "m-1"},
    {"user_id": "user-1"},
    {"session_id": "s-1"},
    {"service": "bank"},
    {"tag": ("a", "b")},
    {"where": {"metadata.tenant": "a"}},
    {"score": "helpful>0"},
    {"text": "boom"},
    {"since": BEGAN_NS / 1e9 + 1800, "until": BEGAN_NS / 1e9 + 5400},
    {"min_duration": "30s"},
    {"run_id": "0" * 30},
]


@pytest.fixture(scope="module")
def many(folder: Path) -> tuple[Path, list[AgentRun]]:
    """More than a hundred runs."""
    runs = runs_from_spans([span for run in _hundred() for span in run_to_spans(run)])
    write_parquet(runs, folder / "many", prices=PRICES)
    return folder / "many", runs


def _hundred(*, is_plain: bool = False) -> list[AgentRun]:
    """The same ones each time."""
    made: list[AgentRun] = []

    @settings(max_examples=100 if is_plain else 150, database=None, derandomize=True, phases=[Phase.generate])
    @given(measured_runs(is_plain=is_plain))
    def draw(run: AgentRun) -> None:
        number = f"{len(made) + 1:032x}"
        made.append(replace(run, run_id=f"run-{len(made)}", trace_id=number, trace_ids=()))

    draw()
    return made


@pytest.mark.parametrize("filters", FILTERS, ids=repr)
def test_filters_select_the_same_runs(many: tuple[Path, list[AgentRun]], filters: dict[str, Any]) -> None:
    path, runs = many
    query = RunQuery(**filters)
    parsed = compute_metrics([run for run in runs if query.matches(run, run_to_spans(run))], prices=PRICES)
    assert_equal(source_metrics(path, query, engine="duckdb", prices=PRICES), parsed)


def test_the_hundred_have_some_of_all(many: tuple[Path, list[AgentRun]]) -> None:
    """So the tests above mean something."""
    report = compute_metrics(many[1], by=KEYS, prices=PRICES)
    assert min(report.success, report.errors, report.timeouts, report.running, report.paused) > 0
    assert min(len(report.tools), len(report.models), len(report.scores), len(report.error_messages)) > 1
    assert min(map(len, report.by.values())) > 1
    assert sum(agent.nested_runs for agent in report.agents.values()) > 0
    assert len(report._sample.parts) > 1
    tally = report._strata.at(WHOLE)
    outcomes, calls = tally.outcomes, [call for table in (tally.tools, tally.models) for call in table.values()]
    assert min(outcomes.loops, outcomes.retries, outcomes.success_with_tool_errors, outcomes.cost.calls) > 0
    assert min(outcomes.first_chunk_ns.count, len(tally.unpriced.items())) > 0
    for figure in ("loops", "retries", "timed_output_tokens", "output_ns"):
        assert sum(getattr(call, figure) for call in calls) > 0
    assert sum(call.cost.calls for call in tally.tools.values()) > 0


# ── which engine ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_duckdb_is_the_default_for_parquet(
    many: tuple[Path, list[AgentRun]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads no span where nothing was sampled."""
    write_parquet([replace(run, sampling_probability=None) for run in many[1]], folder / "unsampled")
    monkeypatch.setattr(RecordReader, "record", None)
    assert source_metrics(folder / "unsampled").runs > 50
    with pytest.raises(TypeError):
        source_metrics(folder / "unsampled", engine="parse")


def test_other_prices_than_those_of_the_export(many: tuple[Path, list[AgentRun]]) -> None:
    """Its costs are by those, also where none are given; with others each run is read, and priced anew."""
    path, runs = many
    others = {"m": {"input": 1, "output": 1}}
    for named, by in ((None, PRICES), (others, others)):
        assert_equal(source_metrics(path, engine="duckdb", prices=named), compute_metrics(runs, prices=by))
    with opened_database(str(path)) as connection:
        (usd,) = connection.execute("SELECT sum(cost_usd) FROM runs").fetchone()
    assert usd == pytest.approx(sum(run_cost(run, PRICES).usd or 0 for run in runs))


def test_both_engines_through_the_command(
    many: tuple[Path, list[AgentRun]], capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = []
    for engine in ("duckdb", "parse"):
        assert main(["metrics", str(many[0]), "--json", "--by", "agent", "--bucket", "1h", "--engine", engine]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_an_engine_that_cannot_count_a_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "http://127.0.0.1:9", "--engine", "duckdb"]) == 2
    assert "http://127.0.0.1:9: DuckDB counts" in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="engine must be one of duckdb, parse"):
        source_metrics(tmp_path, engine="sqlite")


def test_reports_of_several_machines_add_up(many: tuple[Path, list[AgentRun]], folder: Path) -> None:
    runs = many[1]
    write_parquet(runs[:40], folder / "one", prices=PRICES)
    write_parquet(runs[40:], folder / "other", prices=PRICES)
    both = source_metrics(folder / "one", **HOW) + source_metrics(folder / "other", **HOW)
    assert_equal(both, source_metrics(many[0], **HOW))


@pytest.fixture
def no_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """No prices are known."""
    monkeypatch.setattr(published, "installed_version", lambda: None)
    monkeypatch.setattr("otel_agent_trace.prices.table.installed_version", lambda: None)
    monkeypatch.setattr(published, "is_installed", lambda: False)
    published.published_model.cache_clear()


# ── OTLP JSON ────────────────────────────────────────────────────────────────────────────────────────────────────────

OF_SPANS: dict[str, Any] = {"bucket": "1h", "by": ("agent", "model", "user_id", "session_id", "service", "environment")}


@st.composite
def mixed_traces(draw: st.DrawFn) -> list[list[SpanRecord]]:
    """Runs of ours with all that reports count, others of ours, damaged or not, and traces of other tracers."""
    numbers = range(100, 100 + draw(st.integers(1, 6)))
    measured = [of_ours(draw(measured_runs(number, is_plain=draw(st.integers(0, 3)) > 0))) for number in numbers]
    others = draw(st.lists(own_traces() | conversations() | foreign_traces(), max_size=4))
    return [*measured, *others]


@settings(max_examples=15)
@given(
    mixed_traces(),
    st.sampled_from(({}, {"agent": "weather"}, {"status": "error"}, {"tool": "search"}, {"model": "m"})),
    st.sampled_from((None, PRICES)),
)
def test_otlp_json_by_duckdb(
    folder: Path, traces: list[list[SpanRecord]], filters: dict[str, Any], prices: PricesGiven
) -> None:
    path = folder / f"{next(_FOLDERS)}.jsonl"
    path.write_bytes(b"".join(otlp_json.encode(spans) + b"\n" for spans in traces if spans))
    query = RunQuery(**filters)
    parsed = compute_metrics(load_runs(path, query=query), **OF_SPANS, prices=prices)
    assert_equal(source_metrics(path, query, engine="duckdb", **OF_SPANS, prices=prices), parsed)


# ── ClickHouse ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def filled(clickhouse: ClickHouseDatabase) -> ClickHouseDatabase:
    """More than a hundred runs of ours, and traces of others, of which some are to be joined, or damaged."""
    drawn: list[list[SpanRecord]] = []

    @settings(max_examples=12, database=None, derandomize=True, phases=[Phase.generate])
    @given(st.lists(own_traces() | conversations() | foreign_traces(), max_size=4))
    def draw(traces: list[list[SpanRecord]]) -> None:
        drawn.extend(traces)

    draw()
    clickhouse.insert(span for run in _hundred(is_plain=True) for span in of_ours(run))
    clickhouse.insert(_moved(span) for spans in drawn for span in spans if "\\ud8" not in repr(span))
    return clickhouse


def _moved(span: SpanRecord) -> SpanRecord:
    """A span of this century: the table takes no others."""
    span = replace(span, events=tuple(replace(each, time_ns=max(each.time_ns, BEGAN_NS)) for each in span.events))
    by_ns = BEGAN_NS if span.start_ns < BEGAN_NS else 0
    return replace(span, start_ns=span.start_ns + by_ns, end_ns=None if span.end_ns is None else span.end_ns + by_ns)


def _priced() -> AgentRun:
    """A plain run with a call that has a price."""
    run = make_run(1000)
    called = {"kind": StepKind.MODEL, "name": "m", "model": "m", "usage": Usage(input_tokens=1000), "run": None}
    return replace(run, steps=(replace(run.steps[0], **called),))


def test_clickhouse_counts_itself_what_is_usual(clickhouse: ClickHouseDatabase) -> None:
    runs = _hundred(is_plain=True)
    clickhouse.insert(span for run in runs for span in of_ours(run))
    with opened_table(ClickHouseSource(clickhouse.url), Prices.of(PRICES)) as spans:
        odd = spans.odd()
    assert len(odd) < 0.8 * len(runs)
    how = OF_SPANS | {"prices": PRICES}
    assert_equal(source_metrics(clickhouse.url, **how), source_metrics(clickhouse.url, engine="parse", **how))
    clickhouse.run("TRUNCATE TABLE otel_traces")
    assert source_metrics(clickhouse.url, **how).runs == 0
    usual = [run for run in runs if run.trace_id not in odd]
    clickhouse.insert(span for run in (*usual, _priced()) for span in of_ours(run))
    parsed = compute_metrics(load_runs(clickhouse.url), **how)
    assert parsed.cost.total_usd
    assert_equal(source_metrics(clickhouse.url, **how), parsed)


@pytest.mark.usefixtures("no_prices")
def test_clickhouse_without_any_prices(filled: ClickHouseDatabase) -> None:
    parsed = source_metrics(filled.url, engine="parse", **OF_SPANS)
    assert parsed.cost.total_usd is None
    assert_equal(source_metrics(filled.url, **OF_SPANS), parsed)


def test_what_is_not_is_read_from_clickhouse(filled: ClickHouseDatabase) -> None:
    queries: tuple[tuple[dict[str, Any], dict[str, dict[str, float]] | None], ...] = (
        ({}, PRICES),
        ({"agent": "weather", "tool": "search"}, None),
        ({"model": "m", "min_duration": "1s"}, PRICES),
        ({"tag": "a"}, None),
    )
    for filters, prices in queries:
        query, how = RunQuery(**filters), OF_SPANS | {"prices": prices, "replays": True}
        assert_equal(source_metrics(filled.url, query, **how), source_metrics(filled.url, query, engine="parse", **how))


def test_the_hundred_are_counted_by_duckdb(folder: Path) -> None:
    path = folder / "hundred.jsonl"
    runs = _hundred(is_plain=True)
    path.write_bytes(b"".join(otlp_json.encode(of_ours(run)) + b"\n" for run in runs))
    with opened_files([str(path)], Prices.of(PRICES)) as spans:
        assert spans is not None
        assert len(spans.odd()) < 0.8 * len(runs)
    how = OF_SPANS | {"prices": PRICES}
    assert_equal(source_metrics(path, engine="duckdb", **how), source_metrics(path, engine="parse", **how))
