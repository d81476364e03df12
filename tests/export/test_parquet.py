"""`export --to parquet`: tables for engines of SQL that read back as equal runs."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from otel_agent_trace import AgentRun, RunQuery, RunStatus, SourceError, load_run, load_runs, runs_from_spans
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.export.parquet import write_parquet
from otel_agent_trace.model import LogEntry, Score, StepError, Usage
from otel_agent_trace.runs import run_to_spans
from otel_agent_trace.sources.parquet.values import mapping_of, maps_of
from otel_agent_trace.values import same
from tests.support.export_command import Exporter, trace, write
from tests.support.random_traces import traces
from tests.support.run_strategies import agent_runs
from tests.support.sample_runs import make_run
from tests.support.strategies import values

_FOLDERS = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


def read_back(folder: Path, runs: list[AgentRun]) -> list[AgentRun]:
    path = folder / str(next(_FOLDERS))
    assert write_parquet(runs, path) == len(runs)
    return load_runs(path)


# ── reading back ─────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(traces(), max_size=3))
def test_runs_of_frameworks_come_back_equal(folder: Path, spans: list[Any]) -> None:
    renumbered = [
        [replace(span, trace_id=f"{number:032x}") for span in of_trace] for number, of_trace in enumerate(spans, 1)
    ]
    runs = runs_from_spans([span for of_trace in renumbered for span in of_trace])
    assert read_back(folder, runs) == runs


@given(st.lists(agent_runs(), min_size=1, max_size=3))
def test_runs_with_any_values_come_back_equal(folder: Path, made: list[AgentRun]) -> None:
    """They have what spans can hold once they were read; that stays as it is, types included."""
    named = [replace(run, run_id=f"run-{number}") for number, run in enumerate(made)]
    runs = runs_from_spans([span for run in named for span in run_to_spans(run)])
    assert read_back(folder, runs) == runs


@given(st.dictionaries(st.text(max_size=3), values(3), max_size=4))
def test_a_map_holds_any_value_with_its_type(mapping: dict[str, Any]) -> None:
    assert same(mapping_of(*maps_of(mapping)), mapping)


def test_texts_are_texts_and_all_else_is_json() -> None:
    mapping = {"a": "1", "b": 1, "c": 1.0, "d": None, "e": [1, "x"], "f": math.nan, "g": b"\xff", "h": "\ud800"}
    texts = dict(maps_of(mapping)[0])
    assert {key: texts[key] for key in "abcde"} == {"a": "1", "b": "1", "c": "1.0", "d": "null", "e": '[1,"x"]'}
    assert same(mapping_of(*maps_of(mapping)), mapping)


FULL = make_run(
    1,
    status=RunStatus.ERROR,
    error=StepError(type="builtins.ValueError", message="no\nsuch", category="validation", stacktrace="Traceback"),
    usage=Usage(input_tokens=1, output_tokens=2**40, details={"x": [1.5]}),
    tags=("a", "\u00fc"),
    metadata={"tenant": "acme", "tier": 2, "t": (1, 2)},
    attributes={"custom": {"set": [1]}},
    resource={"service.name": "shop", "service.version": "1.2", "n": 7},
    logs=(LogEntry(at_ns=1_795_475_001_000_000_123, severity="WARN", body={"a": 1}, logger="x", attributes={"k": 1}),),
    scores=(
        Score(name="helpful", value=0.5, source="LLM", at_ns=1_795_475_002_000_000_001),
        Score(name="correct", value=True, label="yes", explanation="since", at_ns=1_795_475_003_000_000_007),
    ),
    sampling_probability=0.25,
    first_chunk_at_ns=1_795_475_001_000_000_001,
    interrupted=True,
)


def test_all_that_a_run_has(folder: Path) -> None:
    (run,) = runs_from_spans(run_to_spans(FULL))
    (back,) = read_back(folder, [run])
    assert back == run
    assert (back.interrupted, back.dialect, back.recorded_by) == (run.interrupted, run.dialect, run.recorded_by)
    assert (back.scores, back.logs, back.error) == (FULL.scores, FULL.logs, FULL.error)


def test_runs_of_one_trace_come_back_as_one_trace(folder: Path) -> None:
    """Although another run was written between them."""
    one, other = make_run(1), make_run(2)
    beside = replace(one, run_id="beside", span_id="e" * 16, steps=())
    back = read_back(folder, [one, other, beside])
    assert sorted(run.run_id for run in back) == sorted(run.run_id for run in (one, other, beside))


# ── what SQL finds ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_columns_are_typed_and_named_as_fields(folder: Path) -> None:
    path = folder / "columns"
    write_parquet([FULL], path)
    query = f"""
        SELECT run_id, agent_name, status, duration_s, input_tokens, cost_usd, epoch_us(started_at), started_at_ns,
            metadata['tenant'], metadata['tier'], attributes['custom'], error_category, tags, scores[1].value, step_count,
            typeof(cost_usd), typeof(started_at)
        FROM '{path}/runs.parquet'
    """
    (row,) = duckdb.sql(query).fetchall()
    started_ns = FULL.started_at_ns
    assert row == (
        *(FULL.run_id, "weather", "error", 0.5, 1, None, started_ns // 1000, started_ns),
        *("acme", "2", '{"set":[1]}', "validation", ["a", "\u00fc"], 0.5, 4),
        *("DOUBLE", "TIMESTAMP WITH TIME ZONE"),
    )


def test_spans_are_joined_with_their_run(folder: Path) -> None:
    path = folder / "joined"
    write_parquet([make_run(1), make_run(2)], path)
    query = f"""
        SELECT user_id, kind, name, input, span.duration_s
        FROM '{path}/spans.parquet' AS span JOIN '{path}/runs.parquet' AS run USING (run_id)
        WHERE kind IS NOT NULL ORDER BY user_id, span.started_at_ns, name LIMIT 4
    """
    assert duckdb.sql(query).fetchall() == [
        ("user-1", "model", "m", None, 5e-9),
        ("user-1", "tool", "search", '{"query":"\U0001f600"}', 5e-9),
        ("user-1", "agent", "helper", None, 1e-8),
        ("user-1", "tool", "inner-tool", None, 5e-9),
    ]


# ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────────────

MANY = [
    make_run(
        number,
        agent_name=f"agent {number % 3}",
        status=RunStatus.ERROR if number % 4 == 0 else RunStatus.SUCCESS,
        tags=("even",) if number % 2 == 0 else (),
        resource={"service.name": f"service {number % 2}"},
        user_id=f"user-{number % 5}",
        ended_at_ns=make_run(number).started_at_ns + number * 1_000_000_000,
        metadata={"number": number},
        scores=(Score(name="good", value=number / 10),),
    )
    for number in range(20)
]
QUERIES = [
    {"agent": "agent 1"},
    {"status": "error"},
    {"tool": "inner-tool"},
    {"tool": "nothing"},
    {"tool_error": True},
    {"model": "m"},
    {"user_id": "user-3"},
    {"session_id": "session-4"},
    {"service": "service 1"},
    {"tag": "even"},
    {"where": {"metadata.number": 7}},
    {"score": "good>1.5"},
    {"since": MANY[5].started_at, "until": MANY[9].started_at},
    {"min_duration": "4.5s"},
    {"text": "ANSWER 13"},
    {"run_id": MANY[8].run_id},
    {"run_id": f"{MANY[8].run_id}-"},
    {"newest_first": True, "limit": 3},
    {"sort": "duration", "limit": 3, "tag": "even"},
    {"sort": "steps", "limit": 2},
    {"sort": "tokens", "limit": 2},
    {"sort": "score:good", "limit": 2},
    {"limit": 4},
]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "export"
    write_parquet(MANY, path)
    return path


@pytest.mark.parametrize("query", QUERIES, ids=repr)
def test_each_filter_finds_the_same_runs_as_without_the_folder(many: Path, query: dict[str, Any]) -> None:
    everything = load_runs(many)
    assert load_runs(many, **query) == load_runs(_Held(everything), **query)


class _Held:
    def __init__(self, runs: list[AgentRun]) -> None:
        self._runs = runs

    def runs(self) -> Iterator[AgentRun]:
        return iter(self._runs)


def test_only_the_row_groups_of_the_chosen_runs_are_read(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    from otel_agent_trace.sources.parquet.records import RecordReader

    monkeypatch.setattr(RecordReader, "record", _noting(RecordReader.record, read))
    assert [run.run_id for run in load_runs(many, newest_first=True, limit=1)] == [MANY[-1].run_id]
    assert set(read) == {MANY[-1].trace_id}


def _noting(record: Any, read: list[str]) -> Any:
    def noted(self: Any, row: dict[str, Any]) -> Any:
        read.append(row["trace_id"])
        return record(self, row)

    return noted


def test_one_run_by_its_id(many: Path) -> None:
    assert load_run(many, MANY[3].run_id[:32]) == load_runs(many)[3]


def test_beside_other_sources(many: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.jsonl", [trace(99)])
    assert len(load_runs([many, other])) == len(MANY) + 1


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def failing(runs: list[AgentRun]) -> Iterator[AgentRun]:
    yield from runs
    raise OSError("gone")


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        write_parquet(failing(MANY), tmp_path / "new")
    assert [*tmp_path.iterdir()] == []


def test_a_failure_leaves_an_earlier_export_as_it_was(tmp_path: Path) -> None:
    write_parquet(MANY[:2], tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OSError, match="gone"):
        write_parquet(failing(MANY), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    write_parquet(MANY[2:5], tmp_path)
    assert [run.run_id for run in load_runs(tmp_path)] == [run.run_id for run in MANY[2:5]]


def test_no_runs_at_all(tmp_path: Path) -> None:
    assert write_parquet([], tmp_path) == 0
    assert load_runs(tmp_path) == []


@pytest.mark.parametrize("there", ["notes.txt", "runs.parquet", "foreign"])
def test_what_is_no_export_is_not_overwritten(tmp_path: Path, there: str) -> None:
    path = tmp_path / ("runs.parquet" if there == "foreign" else there)
    if there == "foreign":
        pa.parquet.write_table(pa.table({"run_id": ["a"]}), path)
    else:
        path.write_bytes(b"something else")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"not (overwritten|written)"):
        write_parquet(MANY[:1], tmp_path)
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError, match="as a folder"):
        write_parquet(MANY[:1], tmp_path / "file")


def test_the_next_export_may_come_from_the_folder_itself(many: Path, tmp_path: Path) -> None:
    from otel_agent_trace import iter_runs

    write_parquet(MANY, tmp_path)
    write_parquet(iter_runs(tmp_path, tag="even"), tmp_path)
    assert len(load_runs(tmp_path)) == 10


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *itertools.product(("runs.parquet", "spans.parquet"), ("cut", "zeros", "foreign")),
        ("spans.parquet", "missing"),  # a folder without runs.parquet is one of other files
    ],
)
def test_damaged_or_foreign_files_are_one_clear_error(tmp_path: Path, name: str, damage: str) -> None:
    write_parquet(MANY, tmp_path)
    (tmp_path / "other.jsonl").write_bytes(b"")
    path = tmp_path / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "zeros":
        path.write_bytes(content[:4] + bytes(len(content) // 2) + content[len(content) // 2 + 4 :])
    else:
        pa.parquet.write_table(pa.table({"run_id": ["a"]}), path)
    for query in (RunQuery(), RunQuery(agent="agent 1")):
        try:
            runs = load_runs(tmp_path, query=query)
        except SourceError as error:
            assert str(tmp_path) in str(error)  # noqa: PT017
        else:
            assert damage == "zeros"
            assert runs == load_runs(_Held(MANY), query=query)


def test_files_of_two_exports_are_none(tmp_path: Path) -> None:
    write_parquet(MANY[:2], tmp_path / "one")
    write_parquet(MANY[:2], tmp_path / "two")
    (tmp_path / "one" / "runs.parquet").replace(tmp_path / "two" / "runs.parquet")
    with pytest.raises(SourceError, match="not of one export"):
        load_runs(tmp_path / "two")


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Exporter:
    return Exporter(tmp_path, capsys)


def test_the_command_writes_what_the_filters_select(exported: Exporter, tmp_path: Path) -> None:
    source = write(tmp_path / "traces.jsonl", [trace(1), trace(2, agent="b"), trace(3)])
    folder = tmp_path / "made" / "here"
    assert exported(source, "--to", "parquet", "--output", folder, "--agent", "a") == (
        0,
        f"2 runs written to {folder}\n",
        "",
    )
    assert load_runs(folder) == load_runs(source, agent="a")


def test_it_needs_a_folder(exported: Exporter, tmp_path: Path) -> None:
    result = exported(write(tmp_path / "traces.jsonl", [trace(1)]), "--to", "parquet")
    assert result.code == 2
    assert "--to parquet needs --output" in result.err


def test_a_source_that_is_not_there_leaves_no_folder(exported: Exporter, tmp_path: Path) -> None:
    result = exported(tmp_path / "nothing.jsonl", "--to", "parquet", "--output", tmp_path / "made")
    assert result.code == 2
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("package", ["pyarrow", "duckdb"])
def test_a_missing_package_is_named(
    exported: Exporter, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    result = exported(many, "--agent", "agent 1", "--to", "parquet", "--output", tmp_path / "made")
    assert result.code == 2
    assert "pip install 'otel-agent-trace[parquet]'" in result.err
