"""Measure `metrics` over many runs in Parquet by DuckDB, against the bare aggregate of the engine itself.

    python benchmarks/metrics_engines.py [RUNS] [FOLDER]

The export is made of 2,000 runs, repeated with other numbers, ids and times; a folder that exists is used as it is.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from otel_agent_trace.export.parquet import write_parquet
from otel_agent_trace.metrics.sql.parquet import count_parquet
from otel_agent_trace.metrics.strata import Strata
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, StepError, StepKind, Usage
from otel_agent_trace.prices import Prices
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources.parquet.schema import RUN_COLUMNS, SPAN_COLUMNS, schema_of

BASE = 2_000
BEGAN_NS = 1_795_475_000_000_000_000
BARE = """
    SELECT count(*), avg(CASE WHEN status = 'success' THEN 1 ELSE 0 END), quantile_cont(duration_s, 0.95),
        sum(input_tokens) FROM '{}/runs.parquet'
"""


def run_of(number: int) -> AgentRun:
    """A run with three calls of models and two of tools."""
    trace_id, began_ns = f"{number + 1:032x}", BEGAN_NS + number * 1_000_000_000
    steps = []
    for index in range(5):
        start_ns = began_ns + 1 + index * 50_000_000
        is_model, is_failed = index % 2 == 0, index == 3 and number % 20 == 0
        steps.append(
            AgentStep(
                kind=StepKind.MODEL if is_model else StepKind.TOOL,
                name="gpt-5" if is_model else ("search", "fetch", "calculate")[number % 3],
                model="gpt-5" if is_model else None,
                usage=Usage(input_tokens=100 + number, output_tokens=index) if is_model else None,
                error=StepError(type="http.429", message=f"too many requests, id {number:08d}") if is_failed else None,
                started_at_ns=start_ns,
                ended_at_ns=start_ns + 1_000_000 * (1 + number * (index + 7) % 997),
                step_id=index + 1,
                index=index,
                span_id=f"{number:08x}{index + 1:08x}",
            )
        )
    is_error = number % 50 == 0
    return AgentRun(
        run_id=trace_id,
        trace_id=trace_id,
        span_id=f"{number:08x}{255:08x}",
        agent_name=("weather", "planner", "support")[number % 3],
        user_input="Will it rain?",
        status=RunStatus.ERROR if is_error else RunStatus.SUCCESS,
        error=StepError(type="builtins.ValueError", message="no") if is_error else None,
        final_output="No.",
        started_at_ns=began_ns,
        ended_at_ns=began_ns + 1_000_000 * (250 + number * 31 % 4999),
        user_id=f"user-{number % 400}",
        resource={"service.name": "shop"},
        steps=tuple(steps),
    )


def repeat(folder: str, name: str, columns: dict[str, str], times: int, base: str) -> None:
    """Write a table so many times over, with its numbers moved on."""
    table = pq.read_table(f"{base}/{name}")
    with pq.ParquetWriter(
        f"{folder}/{name}", schema_of(columns, "bench", Prices.of().version), compression="zstd"
    ) as writer:
        batch: list[pa.Table] = []
        for turn in range(times):
            moved = table
            for column, step in (("run_number", BASE), ("started_at_ns", BASE * 10**9), ("ended_at_ns", BASE * 10**9)):
                place = columns_of(table, column)
                moved = moved.set_column(place, column, pc.add(table.column(column), turn * step))
            batch.append(moved.replace_schema_metadata(None))
            if sum(map(len, batch)) >= 122_880 or turn == times - 1:
                writer.write_table(
                    pa.concat_tables(batch).cast(schema_of(columns, "bench", Prices.of().version)), 122_880
                )
                batch = []


def columns_of(table: pa.Table, name: str) -> int:
    return table.schema.get_field_index(name)


def make(folder: str, runs: int) -> None:
    with tempfile.TemporaryDirectory() as base:
        write_parquet(map(run_of, range(BASE)), base)
        os.makedirs(folder)
        repeat(folder, "runs.parquet", RUN_COLUMNS, runs // BASE, base)
        repeat(folder, "spans.parquet", SPAN_COLUMNS, runs // BASE, base)


def timed(name: str, function: Callable[[], object]) -> None:
    wall_s, processor_s = min(_once(function) for _ in range(3))
    print(f"{name:40} {wall_s:6.2f} s, of processors {processor_s:6.2f} s", flush=True)


def _once(function: Callable[[], object]) -> tuple[float, float]:
    began_s, began_processor_s = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - began_s, time.process_time() - began_processor_s


def measured(folder: str, by: tuple[str, ...] = (), **filters: str) -> Strata:
    strata = Strata(by=by)
    assert count_parquet(folder, RunQuery(**filters), strata, replays=False) == []
    return strata


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    folder = sys.argv[2] if len(sys.argv) > 2 else os.path.join(tempfile.mkdtemp(), "export")
    if not os.path.isdir(folder):
        timed_s, _ = _once(lambda: make(folder, runs))
        size = sum(entry.stat().st_size for entry in os.scandir(folder))
        print(f"{folder}: {runs} runs, {size / 1e6:.0f} MB, made in {timed_s:.0f} s")
    timed("bare aggregate over runs.parquet", lambda: duckdb.connect().execute(BARE.format(folder)).fetchall())
    timed("the report", lambda: measured(folder))
    timed("the report, by agent", lambda: measured(folder, ("agent",)))
    timed("the report, by model", lambda: measured(folder, ("model",)))
    timed("the report of one agent", lambda: measured(folder, agent="weather"))


if __name__ == "__main__":
    main()
