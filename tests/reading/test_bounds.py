"""Memory stays bounded however large the files are, and files may grow or go while they are read."""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import iter_runs, load_runs, open_source, run_to_spans
from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources import scanned_files
from tests.support.reading_limits import set_block_bytes
from tests.support.sample_runs import BEGAN_NS, Problems, append, fail_on_problem, lines_of, make_run, raw_line

Write = Callable[..., Path]
MANY = 8_000
OPEN_AT_ONCE = 100
SPANS = 3


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small traces of three spans each, a hundred of which are always interleaved."""
    path = tmp_path_factory.mktemp("many") / "traces.jsonl"
    with open(path, "wb") as file:
        for first in range(0, MANY, OPEN_AT_ONCE):
            for part in range(SPANS):
                for number in range(first, first + OPEN_AT_ONCE):
                    parent = f"{number * SPANS + 1:016x}" if part else ""
                    ids = {"traceId": f"{number + 1:032x}", "spanId": f"{number * SPANS + part + 1:016x}"}
                    file.write(raw_line(**ids, parentSpanId=parent, startTimeUnixNano=str(BEGAN_NS + number)))
    return path


def peak_of(call: Callable[[], Any]) -> int:
    """The most memory that Python held for it at one moment, in bytes."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_traces_are_read_in_bounded_memory(many: Path) -> None:
    """Of eight thousand traces those are held that are open at one moment, and each is yielded once and whole."""
    sizes: list[int] = []
    peak = peak_of(lambda: sizes.extend(len(spans) for spans in open_source(many).traces(fail_on_problem)))
    assert sizes == [SPANS] * MANY
    assert many.stat().st_size > 8_000_000
    assert peak < 5_000_000


@pytest.mark.slow
def test_newest_runs_are_read_in_bounded_memory(many: Path) -> None:
    """Whoever asks for the newest runs holds those, not all."""
    newest: list[str | None] = []
    peak = peak_of(lambda: newest.extend(run.trace_id for run in iter_runs(many, newest_first=True, limit=3)))
    assert newest == [f"{MANY - number:032x}" for number in range(3)]
    assert peak < 12_000_000  # with the index that is built meanwhile


def test_index_takes_at_most_100_bytes_a_trace(many: Path) -> None:
    """What is remembered of each trace between the passes is small."""
    with ExitStack() as held:
        ends = scanned_files.LastBlocks(held)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            ends.scan(str(many), lambda _: None)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    assert len(ends._last) == MANY
    assert grown / MANY <= 100


@pytest.mark.parametrize("number", [1_000, 11_000, 43_000, 44_000, 88_000])
def test_index_at_other_sizes(number: int) -> None:
    """Also right after its table has grown to twice the room, the index takes little more."""
    ends = scanned_files.LastBlocks(ExitStack())
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for at in range(number):
            if at % 300 == 0:
                block = 1000 + at // 300  # one number for all traces of a block
            ends._last[scanned_files._trace_key(b"%032x" % at)] = block
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown / number <= 100
    assert sys.getsizeof(next(iter(ends._last))) <= 32


# ── files that change meanwhile ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few lines, so that a small file has many."""
    set_block_bytes(monkeypatch, 2_000)


@pytest.mark.usefixtures("small_blocks")
def test_file_that_grows(write: Write, problems: Problems) -> None:
    """What is appended while a file is read is left for the next reading; each trace comes once."""
    path = write("runs.jsonl", [line for n in range(20) for line in lines_of(run_to_spans(make_run(n)))])
    later = [line for n in (0, 19, 25) for line in lines_of(run_to_spans(make_run(n, user_input="later")))]
    seen = []
    for run in iter_runs(path, on_problem=problems):
        seen.append(run)
        append(path, b"".join(later) + raw_line()[:100])
        later = []
    assert seen == [make_run(n) for n in range(20)]
    assert problems == []
    again = load_runs(path, on_problem=problems)
    assert [int(run.trace_id or "", 16) - 1 for run in again] == [*range(20), 25]
    assert len(problems) == 1


@pytest.mark.usefixtures("small_blocks")
def test_line_that_is_being_written(write: Write, problems: Problems) -> None:
    """A line of which only the beginning was there at first is not half read, whether it is ended meanwhile or not."""
    last = lines_of(run_to_spans(make_run(30)))[0]
    for rest in (last[100:], b""):
        path = write("runs.jsonl", [*(x for n in range(20) for x in lines_of(run_to_spans(make_run(n)))), last[:100]])
        problems.clear()
        reading = iter_runs(path, on_problem=problems)
        seen = [next(reading)]
        append(path, rest)
        seen.extend(reading)
        assert seen == [make_run(n) for n in range(20)]
        assert len(problems) == (not rest)


@pytest.mark.usefixtures("small_blocks")
def test_first_of_two_files_grows(write: Write, problems: Problems) -> None:
    """A trace whose spans lie in two files is whole and comes once, although the first grew by many blocks."""
    parts = [lines_of(run_to_spans(make_run(n))) for n in range(20)]
    first = write("a.jsonl", [line for part in parts for line in part[:2]])
    second = write("b.jsonl", [line for part in parts for line in part[2:]])
    reading = iter(open_source([first, second]).traces(problems))
    filler = b"".join(line for n in range(50, 90) for line in lines_of(run_to_spans(make_run(n))))
    seen = [next(reading)]
    append(first, filler)
    seen.extend(reading)
    assert [len(spans) for spans in seen] == [len(part) for part in parts]
    assert problems == []


@pytest.mark.usefixtures("small_blocks")
def test_file_that_shrinks(write: Write, problems: Problems) -> None:
    """A file that was emptied meanwhile ends earlier, and that is all."""
    path = write("runs.jsonl", [line for n in range(200) for line in lines_of(run_to_spans(make_run(n)))])
    reading = iter_runs(path, on_problem=problems)
    first = next(reading)
    os.truncate(path, 0)
    assert first == make_run(0)
    assert len([first, *reading]) < 200


@pytest.mark.usefixtures("small_blocks")
def test_file_that_goes(write: Write) -> None:
    """A file that is removed between the passes is named in an error of ours, never in one of the system."""
    paths = [write(f"{n}.jsonl", lines_of(run_to_spans(make_run(n)))) for n in range(3)]
    removed: list[Path] = []

    def on_progress(done: int, total: int | None) -> None:
        if not removed:
            removed.append(paths[2])
            paths[2].unlink()

    with pytest.raises(SourceError, match=r"2\.jsonl: No such file"):
        list(iter_runs(paths, on_progress=on_progress))


def test_file_that_is_renamed_while_it_is_read(write: Write) -> None:
    """Rotation renames what is being read; the reading goes on with the same file."""
    path = write("runs.jsonl", [line for n in range(200) for line in lines_of(run_to_spans(make_run(n)))])
    reading = iter_runs(path)
    seen = [next(reading)]
    path.rename(path.with_name("runs.1.jsonl"))
    path.write_bytes(b"")
    seen.extend(reading)
    assert seen == [make_run(n) for n in range(200)]
