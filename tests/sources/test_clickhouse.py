"""ClickHouse as a source: what the exporter writes comes back, each trace once, the newest first, and nothing is lost."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from otel_agent_trace import ConfigurationError, iter_runs, load_runs, run_to_spans
from otel_agent_trace.sources import open_source
from otel_agent_trace.sources.clickhouse import ClickHouseSource
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.testing import check_source
from tests.support.clickhouse import ClickHouseDatabase
from tests.support.exact_comparison import assert_alike
from tests.support.sample_runs import BEGAN_NS, Problems, fail_on_problem, failed_run, make_run, write_runs_to

LOST = {"flags", "attributes"}
"""Fields that the table keeps in part: of attributes the texts of their values."""


def test_it_is_a_source(clickhouse_databases: Callable[[], ClickHouseDatabase]):
    def source_of(spans: Iterable[SpanRecord]) -> ClickHouseSource:
        database = clickhouse_databases()
        database.insert(spans)
        return ClickHouseSource(database.url)

    check_source(source_of, ignoring=LOST)


def test_runs_are_those_of_a_file(clickhouse, tmp_path):
    runs = [make_run(1), failed_run(2), make_run(3)]
    clickhouse.insert(span for run in runs for span in run_to_spans(run))
    path = write_runs_to(tmp_path / "runs.jsonl", runs)
    assert_alike(load_runs(clickhouse.url, strict=True), load_runs(path))


def test_nothing_is_there(clickhouse):
    assert load_runs(clickhouse.url, strict=True) == []


def test_it_works_without_the_table_of_times(clickhouse):
    for name in ("otel_traces_trace_id_ts_mv", "otel_traces_trace_id_ts"):
        clickhouse.run(f"DROP TABLE {name}")
    clickhouse.insert(run_to_spans(make_run(1)))
    assert [run.run_id for run in load_runs(clickhouse.url, strict=True)] == [make_run(1).run_id]


def test_traces_that_the_table_of_times_lacks_are_whole(clickhouse):
    clickhouse.insert(run_to_spans(make_run(1)))
    clickhouse.run("TRUNCATE TABLE otel_traces_trace_id_ts")
    clickhouse.insert(run_to_spans(make_run(2)))
    runs = load_runs(clickhouse.url, strict=True)
    assert [(run.run_id, len(run.steps)) for run in runs] == [(make_run(number).run_id, 3) for number in (1, 2)]


def small_trace(number: int, size: int = 0) -> SpanRecord:
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather", "text": "x" * size}
    began_ns = BEGAN_NS + number * 1000
    return SpanRecord(f"{number + 1:032x}", f"{number + 1:016x}", None, "agent", began_ns, began_ns + 9, attributes)


def test_memory_does_not_grow_with_the_number_of_traces(clickhouse):
    count, size = 5_000, 4_000
    clickhouse.insert(small_trace(number, size) for number in range(count))
    latest_ns, number = 2**63, 0
    tracemalloc.start()
    try:
        for number, [span] in enumerate(ClickHouseSource(clickhouse.url, page_traces=128).traces(fail_on_problem), 1):
            assert span.start_ns < latest_ns
            latest_ns = span.start_ns
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert number == count
    assert peak_bytes < count * size / 3


def test_the_newest_are_there_without_reading_the_others(clickhouse):
    clickhouse.insert(small_trace(number) for number in range(1_000))
    read = []
    source = ClickHouseSource(clickhouse.url, on_progress=lambda count, _: read.append(count))
    runs = list(iter_runs(source, newest_first=True, limit=3))
    assert [run.started_at_ns for run in runs] == [BEGAN_NS + number * 1000 for number in (999, 998, 997)]
    assert read[-1] < 100


def test_what_does_not_fit_into_memory_is_read_in_parts(clickhouse):
    clickhouse.insert(small_trace(number, 10_000) for number in range(50))
    source = ClickHouseSource(clickhouse.url, max_held_bytes=50_000)
    assert len(load_runs(source, strict=True)) == 50


def test_a_trace_that_is_too_large_is_named(clickhouse):
    clickhouse.insert([small_trace(1), small_trace(2, 100_000), small_trace(3)])
    problems = Problems()
    source = ClickHouseSource(clickhouse.url, max_held_bytes=20_000)
    assert len(load_runs(source, on_problem=problems)) == 2
    assert [problem.reason for problem in problems] == [f"trace {3:032x} has more than 80,000 bytes"]


def test_rows_that_are_no_spans_are_named(clickhouse):
    clickhouse.insert(run_to_spans(make_run(1)))
    clickhouse.run("INSERT INTO otel_traces (Timestamp, TraceId, SpanId) VALUES (1, '', ''), (2, 'X', '1')")
    clickhouse.run(f"INSERT INTO otel_traces (Timestamp, TraceId, SpanId) VALUES (3, '{'e' * 32}', 'X')")
    problems = Problems()
    assert len(load_runs(clickhouse.url, on_problem=problems)) == 1
    assert sorted(problem.reason for problem in problems) == [
        f"a row is no span: expected ids of 32 and 16 hex digits, got '{'e' * 32}' and 'X'",
        "rows without a trace id of 32 hex digits",
    ]


@pytest.mark.parametrize("option", ["timeout_s", "page_traces", "max_held_bytes"])
def test_options_must_be_positive(option):
    options: dict[str, Any] = {option: 0}
    with pytest.raises(ConfigurationError):
        open_source("clickhouse://host/db", **options)
