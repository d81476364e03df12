"""A store is read whole, although its program rotates, compresses and begins files at the worst moments."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, FileBackend, load_runs
from otel_agent_trace.errors import SourceError
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.metrics.engines import source_metrics
from otel_agent_trace.metrics.sql import otlp_json as otlp_json_by_sql
from otel_agent_trace.runs.write import run_to_spans
from otel_agent_trace.sources import file_pieces, format_checks, scanned_files
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.index import build, reading
from otel_agent_trace.sources.index.segments import Status
from otel_agent_trace.sources.index.source import build_index
from otel_agent_trace.sources.scanned_files import LastBlocks
from otel_agent_trace.store.compaction import compact
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.settings import store_settings
from tests.support.moments import act_after, act_before
from tests.support.requirements import needs_locks
from tests.support.sample_runs import append, make_run

Before = Callable[[Any, str, Callable[[], object]], None]


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch) -> Before:
    return partial(act_before, monkeypatch)


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """The live file of a store, with a run."""
    path = tmp_path / "t.jsonl"
    write(path, 0)
    return path


def write(path: Path, number: int) -> None:
    append(path, otlp_json.encode(run_to_spans(make_run(number))) + b"\n")


def rotate(path: Path, *then: int) -> Path:
    """Close the live file as its program does, and begin another one with some runs, or none yet."""
    segment = Path(StoreFiles(str(path)).new_segment(time.time_ns()))
    path.rename(segment)
    for number in then:
        write(path, number)
    return segment


def ids(path: Path) -> list[str]:
    return [run.run_id for run in load_runs(path, strict=True)]


def runs(*numbers: int) -> list[str]:
    return [make_run(number).run_id for number in numbers]


def compress(path: Path) -> None:
    compact(StoreFiles(str(path)), store_settings({"compress": "zst"}))


# ── without the index ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("module", "name"),
    [(format_checks, "_check_format"), (format_checks, "OpenFile"), (scanned_files, "detect_format")],
)
@pytest.mark.parametrize("then", [(), (1,)])
def test_the_live_file_is_closed_before_it_is_opened(
    live: Path, before: Before, module: ModuleType, name: str, then: tuple[int, ...]
) -> None:
    """Also the first time, when the store has no other file yet."""
    before(module, name, lambda: rotate(live, *then))
    assert ids(live)[:1] == runs(0)


def test_the_live_file_is_closed_after_the_closed_ones_were_listed(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act_after(monkeypatch, StoreFiles, "closed", lambda: rotate(live))
    assert ids(live) == runs(0)


@needs_locks
def test_a_segment_is_compressed_before_it_is_looked_through(live: Path, before: Before) -> None:
    rotate(live, 1)
    before(LastBlocks, "scan", lambda: compress(live))
    assert ids(live) == runs(0, 1)


@needs_locks
def test_what_is_found_late_is_compressed_as_well(live: Path, before: Before) -> None:
    def change() -> None:
        rotate(live, 1)
        before(LastBlocks, "scan", lambda: compress(live))

    before(LastBlocks, "scan", change)
    assert ids(live) == runs(0, 1)


@needs_locks
def test_a_segment_that_is_not_kept_open_is_read_on_in_its_compressed_copy(
    live: Path, before: Before, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanned_files, "_MOST_HELD", 0)
    rotate(live, 1)
    before(file_pieces, "_reopen", lambda: compress(live))
    assert ids(live) == runs(0, 1)


def test_of_a_segment_that_is_not_kept_open_the_runs_are_read_that_are_left(
    live: Path, before: Before, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanned_files, "_MOST_HELD", 0)
    write(live, 1)
    segment = rotate(live, 2)

    def remove_first() -> None:
        kept = segment.read_bytes().splitlines(keepends=True)[1:]
        other = segment.with_name("other")
        other.write_bytes(b"".join(kept))
        other.rename(segment)

    before(file_pieces, "_reopen", remove_first)
    assert ids(live) == runs(1, 2)


def test_a_file_that_is_not_there_is_an_error_nevertheless(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        ids(tmp_path / "t.jsonl")


@pytest.mark.parametrize("name", ["_check_format", "OpenFile"])
def test_a_run_of_another_process_is_scored_while_its_file_is_closed(live: Path, before: Before, name: str) -> None:
    """The tracer has not started it, so that it is looked for in the file."""
    with AgentTracer(backend=FileBackend(live)) as tracer:
        before(format_checks, name, lambda: rotate(live))
        tracer.score(runs(0)[0], "good", True)
    assert [score.name for score in load_runs(live)[0].scores] == ["good"]


def test_what_sql_would_count_is_read_when_a_file_is_closed_meanwhile(live: Path, before: Before) -> None:
    before(otlp_json_by_sql, "_is_read", lambda: rotate(live, 1))
    assert source_metrics(str(live), engine="duckdb").to_dict()["runs"] == 2


# ── with the index ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def never_scanned(live: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An indexed store, of which whole readings fail."""
    build_index(str(live))

    def fail(*_: object) -> None:
        pytest.fail("read as a whole")

    monkeypatch.setattr(FilesSource, "traces_and_logs", fail)
    return live


def by_index(path: Path) -> list[str]:
    return [run.run_id for run in load_runs(path, sort="time", limit=9, strict=True)][::-1]


def test_the_live_file_is_closed_before_its_status_is_known(never_scanned: Path, before: Before) -> None:
    before(Status, "of", lambda: rotate(never_scanned, 1))
    assert by_index(never_scanned) == runs(0, 1)


@pytest.mark.parametrize("name", ["packing_of", "chunks_of", "digest_of"])
def test_the_live_file_is_closed_before_it_is_indexed(never_scanned: Path, before: Before, name: str) -> None:
    """What is at its path by then is not taken for it; nor is it of a kind that the index does not answer for."""
    write(never_scanned, 1)
    before(build, name, lambda: rotate(never_scanned, 2, 3))
    assert by_index(never_scanned) == runs(0, 1, 2, 3)
    assert by_index(never_scanned) == runs(0, 1, 2, 3)
    assert build_index(str(never_scanned)).unusual == ()


@needs_locks
def test_a_segment_is_compressed_before_its_status_is_known(never_scanned: Path, before: Before) -> None:
    rotate(never_scanned, 1)
    before(Status, "of", lambda: compress(never_scanned))
    assert by_index(never_scanned) == runs(0, 1)


def test_another_process_notes_a_later_state_of_the_files(never_scanned: Path, before: Before) -> None:
    """The answer is of that state, and not of one that the index had before it."""

    def change() -> None:
        rotate(never_scanned, 1)
        build_index(str(never_scanned))

    before(reading.Index, "begin", change)
    assert by_index(never_scanned) == runs(0, 1)


def test_another_process_notes_an_earlier_state_of_the_files(never_scanned: Path, before: Before) -> None:
    """Who waits to write looks again at the files: nothing that was noted meanwhile is dropped."""

    def change() -> None:
        rotate(never_scanned, 1)
        assert by_index(never_scanned) == runs(0, 1, 2)

    write(never_scanned, 2)
    before(reading.Index, "transaction", change)
    assert by_index(never_scanned) == runs(0, 1, 2)
    assert os.path.exists(StoreFiles(str(never_scanned)).index)
