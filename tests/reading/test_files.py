"""Files in every form in which runs may lie there are read to the same runs."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from backports import zstd

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    RunStatus,
    iter_runs,
    load_runs,
    open_source,
    run_to_spans,
    runs_from_spans,
)
from otel_agent_trace.formats import otlp_json
from tests.support.reading_limits import set_block_bytes
from tests.support.sample_runs import BEGAN_NS, Problems, fail_on_problem, lines_of, make_run, raw_line

Write = Callable[..., Path]


def in_members(data: bytes, compress: Callable[[bytes], bytes]) -> bytes:
    """Packed in several members, as appending does; one of them empty, and cut within a line."""
    return compress(data[:1000]) + compress(b"") + compress(data[1000:])


# ── one file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("runs.jsonl", bytes),
        ("runs.json", bytes),
        ("runs.jsonl.gz", gzip.compress),
        ("runs.jsonl.zst", zstd.compress),
        ("members.jsonl.gz", lambda data: in_members(data, gzip.compress)),
        ("members.jsonl.zst", lambda data: in_members(data, zstd.compress)),
        ("gzip-by-another-name.jsonl", gzip.compress),
        ("plain-by-another-name.jsonl.gz", bytes),
        ("no-name", zstd.compress),
    ],
)
def test_carriers(write: Write, lines: list[bytes], runs: list[AgentRun], name: str, packed: Callable) -> None:
    """Plain or packed, whatever it is called, a file is read to the runs that were written."""
    assert load_runs(write(name, packed(b"".join(lines))), strict=True) == runs


@pytest.mark.parametrize("kind", [str, Path])
def test_kinds_of_path(write: Write, lines: list[bytes], runs: list[AgentRun], kind: type) -> None:
    """A path is a path, whether it is a text or an object."""
    assert load_runs(kind(write("runs.jsonl", lines))) == runs


@pytest.mark.parametrize(
    "content",
    [
        lambda lines: b"".join(lines).rstrip(b"\n"),
        lambda lines: b"\n\n  \n" + b"\n \t\n".join(lines),
        lambda lines: b"".join(lines).replace(b"\n", b"\r\n"),
    ],
    ids=["no last line feed", "blank lines", "Windows"],
)
def test_line_ends(write: Write, lines: list[bytes], runs: list[AgentRun], content: Callable) -> None:
    """Lines may end as they do elsewhere, and blank ones are no problem."""
    assert load_runs(write("runs.jsonl", content(lines)), strict=True) == runs


@pytest.mark.parametrize("count", [1, None])
def test_byte_order_mark(write: Write, lines: list[bytes], runs: list[AgentRun], count: int | None) -> None:
    """The mark that some editors put before UTF-8 costs no line."""
    kept = lines[:count]
    expected = load_runs(write("plain.jsonl", b"\n".join(kept)), strict=True)
    assert expected
    assert load_runs(write("marked.jsonl", b"\xef\xbb\xbf" + b"\n".join(kept)), strict=True) == expected


def test_other_writers(write: Write, problems: Problems) -> None:
    """Ids in capitals, 64-bit integers as numbers, blanks, unknown fields and null are understood."""
    span = {"traceId": "0AF7651916CD43DD8448EB211C80319C", "startTimeUnixNano": BEGAN_NS, "parentSpanId": "0" * 16}
    spaced = json.dumps(json.loads(raw_line(**span, future={"field": [1]}, droppedAttributesCount=3, links=[])))
    path = write(
        "runs.jsonl", [spaced.encode(), b'\n{}\n{"resourceSpans":[]}\n{"resourceSpans":[{"resource":null}]}\n']
    )
    [run] = load_runs(path, on_problem=problems)
    assert (run.trace_id, run.started_at_ns) == ("0af7651916cd43dd8448eb211c80319c", BEGAN_NS)
    assert [step.name for step in run.steps] == ["t"]
    assert problems == []


def test_other_signals(write: Write, lines: list[bytes], runs: list[AgentRun], problems: Problems) -> None:
    """Logs and metrics among the traces are no problem, and no runs."""
    others = b'{"resourceLogs":[{"scopeLogs":[]}]}\n{"resourceMetrics":[]}\n'
    assert load_runs(write("runs.jsonl", [lines[0], others, *lines[1:]]), on_problem=problems) == runs
    assert problems == []


def test_one_line_of_many_spans(write: Write, runs: list[AgentRun]) -> None:
    """Spans of many traces in one line, as the Collector batches them, are kept apart."""
    spans = [span for run in runs for span in run_to_spans(run)]
    assert load_runs(write("runs.jsonl", otlp_json.encode(spans)), strict=True) == runs


def test_empty_file_has_no_runs(write: Write, problems: Problems) -> None:
    """Nothing was traced yet: that is no error."""
    for content in (b"", b"\n\n", gzip.compress(b""), zstd.compress(b"")):
        assert load_runs(write("empty.jsonl", content), on_problem=problems) == []
    assert problems == []


# ── several ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(write: Write, lines: list[bytes], tmp_path: Path) -> Path:
    """The lines of the ten runs, dealt out to three files, so that most traces lie in all of them."""
    write("logs/a.jsonl", lines[0::3])
    write("logs/b.jsonl.gz", gzip.compress(b"".join(lines[1::3])))
    write("logs/c.json.zst", zstd.compress(b"".join(lines[2::3])))
    write("logs/notes.txt", b"not a trace")
    return tmp_path / "logs"


@pytest.mark.parametrize(
    "named",
    [
        lambda folder: folder,
        lambda folder: f"{folder}/",
        lambda folder: f"{folder}/*.js*",
        lambda folder: f"{folder.parent}/**/[abc].*",
        lambda folder: [folder / "c.json.zst", str(folder / "a.jsonl"), folder / "b.jsonl.gz"],
        lambda folder: (folder / name for name in ("a.jsonl", "b.jsonl.gz", "c.json.zst")),
        lambda folder: [folder, folder / "a.jsonl", f"{folder}/a*"],
        lambda folder: [[folder / "a.jsonl"], [f"{folder}/[bc]*"]],
    ],
    ids=["directory", "with slash", "glob", "deep glob", "list", "generator", "overlapping", "nested lists"],
)
def test_traces_over_several_files(folder: Path, runs: list[AgentRun], named: Callable) -> None:
    """A trace whose spans lie in several files is one run, however the files are named, and in whatever order."""
    assert load_runs(named(folder), strict=True) == runs


def test_backends_and_files_together(folder: Path, runs: list[AgentRun]) -> None:
    """A list may hold files and backends; the runs of all are read."""
    memory = InMemoryBackend()
    with AgentTracer(backend=memory).run(user_input="in memory"):
        pass
    read = load_runs([memory, folder, memory])
    assert sorted(read, key=lambda run: run.run_id) == sorted([*runs, *memory.runs()], key=lambda run: run.run_id)


def test_name_with_magic_characters(write: Write, lines: list[bytes], runs: list[AgentRun]) -> None:
    """A file whose name looks like a pattern is meant itself."""
    assert load_runs(write("runs[1]*.jsonl", lines)) == runs


# ── order and repetition ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(5))
def test_any_order(write: Write, lines: list[bytes], runs: list[AgentRun], seed: int) -> None:
    """Lines may come in any order, and more than once."""
    shuffled = [*lines, *lines[::2]]
    random.Random(seed).shuffle(shuffled)
    assert load_runs(write("runs.jsonl", shuffled), strict=True) == runs


def test_a_run_comes_once_and_complete(write: Write, runs: list[AgentRun], monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces that are interleaved over many blocks are each yielded once, with all their steps, before the end."""
    set_block_bytes(monkeypatch, 512)
    spans = [run_to_spans(run) for run in runs]
    parts = [lines_of(part) for part in zip(*spans[:5], strict=True)]
    first = [line for part in parts for line in part]
    path = write("runs.jsonl", [*first, *(line for trace in spans[5:] for line in lines_of(trace))])
    traces = open_source(path).traces(fail_on_problem)
    met = [next(traces)[0].trace_id]
    assert met == [runs[0].trace_id]
    assert [run.run_id for run in iter_runs(path)] == [run.run_id for run in runs]
    assert list(iter_runs(path, strict=True)) == runs


def test_missing_root(write: Write, runs: list[AgentRun]) -> None:
    """Steps whose run's span never came are a run that is still running."""
    spans = run_to_spans(runs[0])[1:]
    read = load_runs(write("runs.jsonl", lines_of(spans)))
    [run] = (run for run in read if run.run_id == runs[0].run_id)
    assert (run.status, run.ended_at_ns, run.span_id) == (RunStatus.RUNNING, None, None)
    assert [step.name for step in run.steps][:2] == ["m", "search"]
    assert {step.name for one in read for part in one.walk() for step in part.steps} >= {"m", "search", "inner-tool"}
    assert read == runs_from_spans(spans)


def test_missing_middle(write: Write, runs: list[AgentRun]) -> None:
    """Without the span of a sub-agent its steps are read nevertheless, once."""
    spans = [span for span in run_to_spans(runs[0]) if "helper" not in span.name]
    read = load_runs(write("runs.jsonl", lines_of(spans)))
    assert sorted(step.name for run in read for part in run.walk() for step in part.steps) == [
        "inner-tool",
        "m",
        "search",
    ]


def test_the_fuller_of_two_wins(write: Write, runs: list[AgentRun]) -> None:
    """Of a span that was written while it ran, and again when it ended, the latter counts."""
    ended = run_to_spans(runs[0])
    begun = run_to_spans(make_run(0, ended_at_ns=None, status=RunStatus.RUNNING, final_output=None))
    for spans in ([*begun, *ended], [*ended, *begun]):
        assert load_runs(write("runs.jsonl", lines_of(spans))) == [runs[0]]


def test_reading_changes_nothing(folder: Path) -> None:
    """Neither the files nor the folder are touched."""
    before = {entry.name: (entry.stat().st_mtime_ns, entry.stat().st_size) for entry in os.scandir(folder)}
    load_runs(folder)
    assert {entry.name: (entry.stat().st_mtime_ns, entry.stat().st_size) for entry in os.scandir(folder)} == before


def test_a_source_can_be_read_again(folder: Path, runs: list[AgentRun]) -> None:
    """What was opened once gives the same traces each time, also after a reading that was broken off."""
    source = open_source(folder)
    next(source.traces(fail_on_problem))
    assert load_runs(source) == load_runs(source) == runs


def test_progress_goes_forward(folder: Path) -> None:
    """The reported progress grows to the total, over all files and both passes."""
    reported: list[tuple[int, int | None]] = []
    list(iter_runs(folder, on_progress=lambda *progress: reported.append(progress)))
    done, totals = [each for each, _ in reported], {total for _, total in reported}
    assert done == sorted(done)
    size = sum(entry.stat().st_size for entry in os.scandir(folder) if entry.name != "notes.txt")
    assert totals == {2 * size}
    assert done[-1] == 2 * size
    assert len(set(done)) >= 5


def test_duckdb_reads_our_file(tmp_path: Path) -> None:
    """DuckDB reads what the file backend wrote, without a schema."""
    path = tmp_path / "traces.jsonl"
    with AgentTracer(backend=FileBackend(path), agent_name="a") as tracer, tracer.run() as run:
        for number in range(3):
            with run.step("search", {"n": number}):
                pass
    rows = duckdb.sql(
        f"""
        WITH resources AS (SELECT unnest("resourceSpans") AS of_resource FROM read_json('{path}')),
            scopes AS (SELECT unnest(of_resource."scopeSpans") AS of_scope FROM resources),
            spans AS (SELECT unnest(of_scope.spans) AS span FROM scopes)
        SELECT span.name, span."traceId", span."endTimeUnixNano"::BIGINT >= span."startTimeUnixNano"::BIGINT
        FROM spans ORDER BY 1
        """
    ).fetchall()
    trace_id = load_runs(path)[0].trace_id
    assert rows == [*[("execute_tool search", trace_id, True)] * 3, ("invoke_agent a", trace_id, True)]
