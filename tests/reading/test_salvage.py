"""What a killed Collector leaves in its file, and what a living one does to it while it is read."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import AgentRun, load_runs, open_source, run_to_spans
from otel_agent_trace.errors import BadRecordError
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.sources import format_checks, scanned_files
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.span import Resource, Scope, SpanRecord
from tests.support.sample_runs import Problems, append, make_run

Write = Callable[..., Path]


def objects(number: int) -> list[bytes]:
    """One object for each run, all its spans in it, as a Collector writes a request."""
    return [otlp_json.encode(run_to_spans(make_run(each))) for each in range(number)]


def runs(*numbers: int) -> list[AgentRun]:
    return [make_run(number) for number in numbers]


ONE, TWO, THREE = objects(3)
LOGS = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}'
INSIDE_A_TEXT = ONE[: ONE.index(b"question") + 3]
GLUED = {
    "torn, then whole": (INSIDE_A_TEXT + TWO, [1]),
    "whole, then torn": (ONE + TWO[:100], [0]),
    "torn, torn, whole": (TWO[:100] + INSIDE_A_TEXT + THREE, [2]),
    "torn in the key": (ONE[:9] + TWO, [1]),
    "torn at an escape": (b'{"resourceSpans":[{"resource":{"attributes":[{"key":"\\' + TWO, [1]),
    "zeros, then whole": (bytes(4096) + TWO, [1]),
    "whole, then zeros": (ONE + bytes(4096), [0]),
    "whole, then text": (ONE + b' and "more', [0]),
    "whole, then a bracket": (ONE + b"]}", [0]),
    "text, then whole": (b"Traceback: " + ONE, [0]),
    "another signal between": (ONE + LOGS[:50] + TWO, [0, 1]),
    "another signal behind what is torn in a text": (INSIDE_A_TEXT + LOGS + TWO, [1]),
    "written with blanks, then torn": (
        json.dumps(json.loads(ONE)).encode().replace(b'{"res', b'{ "res', 1) + TWO[:99],
        [0],
    ),
}
IN_A_ROW = {
    "one directly after another": (ONE + TWO + THREE, [0, 1, 2]),
    "written with blanks": (json.dumps(json.loads(ONE)).encode().replace(b'{"res', b'{ "res', 1) + TWO, [0, 1]),
    "with commas between them": (ONE + b", " + TWO + b",", [0, 1]),
    "behind a byte order mark": (b"\xef\xbb\xbf" + TWO, [1]),
    "behind a record separator (RFC 7464)": (b"\x1e" + TWO, [1]),
    "in a list": (b"[" + ONE + b"," + TWO + b"]", [0, 1]),
    "in a list that has no end yet": (b"[" + ONE + b"," + TWO, [0, 1]),
}


@pytest.mark.parametrize("what", IN_A_ROW)
def test_objects_on_one_line_are_read(write: Write, problems: Problems, what: str) -> None:
    line, numbers = IN_A_ROW[what]
    path = write("traces.jsonl", [b"{}\n", line, b"\n"])
    assert load_runs(path, on_problem=problems) == runs(*numbers)
    assert not problems


@pytest.mark.parametrize("what", GLUED)
def test_whole_objects_of_a_glued_line_are_read(write: Write, problems: Problems, what: str) -> None:
    line, intact = GLUED[what]
    after = make_run(7)
    path = write("traces.jsonl", [b"{}\n", line, b"\n", otlp_json.encode(run_to_spans(after)), b"\n"])
    assert load_runs(path, on_problem=problems) == [*runs(*intact), after]
    assert problems.places == [("traces.jsonl", 2)]
    spans = sum(len(run_to_spans(run)) for run in runs(*intact))
    assert problems[0].reason.endswith(f"; {spans} intact spans of it were read")
    with pytest.raises(BadRecordError) as raised:
        load_runs(path, strict=True)
    assert raised.value.line == 2


def ends_of_spans(line: bytes) -> list[int]:
    """Where in an object of ours each span ends."""
    spans = [otlp_json.encode_span(span) for span in run_to_spans(make_run(0))]
    return [line.index(span) + len(span) for span in spans]


def test_of_an_object_torn_anywhere_the_whole_spans_are_read() -> None:
    ends = ends_of_spans(ONE)
    spans = run_to_spans(make_run(0))
    for size in range(0, len(ONE), 5):
        expected = [span for span, end in zip(spans, ends, strict=True) if end <= size]
        assert otlp_json.salvage(ONE[:size]) == expected, size
        assert otlp_json.salvage(ONE[:size] + TWO) == expected + run_to_spans(make_run(1)), size


def test_spans_of_a_torn_object_keep_their_resource_and_scope() -> None:
    spans = [
        SpanRecord(
            f"{n:032x}",
            f"{n:016x}",
            None,
            'quo"te\\',
            1,
            2,
            {"brackets": ']}]}{"spans":[', "n": n},
            resource=Resource({"service.name": f"s{n // 2}"}),
            scope=Scope("scope", "1", {"deep": [1, {"a": "b"}]}),
        )
        for n in range(1, 6)
    ]
    line = otlp_json.encode(spans)
    assert len(json.loads(line)["resourceSpans"]) == 5
    assert otlp_json.salvage(line[:-20]) == spans[:4]
    assert otlp_json.salvage(line + b"}") == spans


@pytest.mark.parametrize("damage", [(b'"spanId":"', b'"spanId":"x'), (b'"traceId":', b'"traceId":5,"traceId_":')])
def test_a_span_that_cannot_be_read_costs_itself(write: Write, problems: Problems, damage: tuple[bytes, bytes]) -> None:
    before, _, after = ONE.rpartition(damage[0])
    path = write("traces.jsonl", [before + damage[1] + after, b"\n", TWO, b"\n"])
    spans = run_to_spans(make_run(0))
    found = [span for trace in open_source(path).traces(problems) for span in trace]
    assert len(found) == len(spans) - 1 + len(run_to_spans(make_run(1)))
    assert all(span in [*spans, *run_to_spans(make_run(1))] for span in found)
    assert problems.places == [("traces.jsonl", 1)]


@given(st.lists(st.binary(max_size=40) | st.sampled_from([ONE, TWO, LOGS, ONE[:-4], TWO[:300]]), max_size=6))
def test_whatever_stands_there_is_no_harm(parts: list[bytes]) -> None:
    """And every object that stands there whole is found, unless what follows it is its own repetition."""
    found = {span.trace_id for span in otlp_json.salvage(b"".join(parts))}
    for number, whole in enumerate((ONE, TWO)):
        assert whole not in parts or f"{number + 1:032x}" in found


SIZE = 12_000_000
HOSTILE = {
    "objects that only begin": b'{"resourceSpans":[',
    "objects that begin with an id": b'{"resourceSpans":[{"spanId":' + b'"0123456789abcdef"' * 3,
    "quotes": b'{"resourceSpans":["spanId" ' + b'"' * 100_000,
    "escapes": b'{"resourceSpans":["spanId","' + b"\\\\" * 1_000_000,
    "blanks": b'{"resourceSpans":["spanId"' + b"{" + b" " * 1_000_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_line_takes_bounded_time(write: Write, problems: Problems, what: str) -> None:
    """In proportion to its length: a second or two for 12 MB, where anything quadratic would take hours."""
    unit = HOSTILE[what]
    path = write("traces.jsonl", [TWO, b"\n", unit * (SIZE // len(unit)), b'"spanId"', b"\n", ONE, b"\n"])
    started = time.process_time()
    assert load_runs(path, on_problem=problems) == runs(0, 1)
    assert time.process_time() - started < 60
    assert problems.places == [("traces.jsonl", 2)]


# ── a file that is written and rotated meanwhile ─────────────────────────────────────────────────────────────────────


def rotated(folder: Path, number: int) -> Path:
    """The name that the Collector gives to a file that is full."""
    return folder / f"traces-2026-11-25T21-00-0{number}.000.jsonl"


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A file of two lines, with one rotated part."""
    rotated(tmp_path, 0).write_bytes(THREE + b"\n")
    path = tmp_path / "traces.jsonl"
    path.write_bytes(ONE + b"\n" + TWO + b"\n")
    return path


@pytest.mark.parametrize("source", ["traces*.jsonl", ""])
def test_rotated_parts_are_read_of_a_folder_or_pattern(live: Path, source: str) -> None:
    assert load_runs(str(live.parent / source), strict=True) == runs(0, 1, 2)


def test_a_file_that_is_named_is_that_file_alone(live: Path) -> None:
    assert load_runs(live, strict=True) == runs(0, 1)


def test_a_trace_over_a_rotation_is_one_run(tmp_path: Path) -> None:
    spans = run_to_spans(make_run(0))
    rotated(tmp_path, 0).write_bytes(otlp_json.encode(spans[:2]) + b"\n")
    (tmp_path / "traces.jsonl").write_bytes(otlp_json.encode(spans[2:]) + b"\n")
    assert load_runs(tmp_path, strict=True) == runs(0)


@pytest.fixture
def between_passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Do something once, after the files were looked through, before they are read."""

    def install(act: Callable[[], Any]) -> None:
        new_files, todo = FilesSource._new_files, [act]

        def after(*arguments: Any) -> Any:
            found = new_files(*arguments)
            while todo and not found:
                todo.pop()()
            return found

        monkeypatch.setattr(FilesSource, "_new_files", after)

    return install


@pytest.fixture
def while_looked_through(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Do something once, after the files were listed, before the first of them is looked through."""

    def install(act: Callable[[], Any]) -> None:
        note, todo = scanned_files.LastBlocks.scan, [act]

        def before(*arguments: Any) -> Any:
            while todo:
                todo.pop()()
            return note(*arguments)

        monkeypatch.setattr(scanned_files.LastBlocks, "scan", before)

    return install


def rotate(path: Path, number: int, then: bytes) -> None:
    path.rename(rotated(path.parent, number))
    path.write_bytes(then)


Act = Callable[[Callable[[], Any]], None]


@pytest.mark.parametrize("cut", [1, 100, len(THREE) - 1, len(THREE)])
def test_a_line_that_is_being_written_is_no_problem(tmp_path: Path, between_passes: Act, cut: int) -> None:
    """Its beginning was there when the file was looked through; it is left for the next reading, which has it once."""
    path = tmp_path / "traces.jsonl"
    path.write_bytes(ONE + b"\n" + THREE[:cut])
    between_passes(lambda: append(path, THREE[cut:] + b"\n" + TWO))
    assert load_runs(path, strict=True) == runs(0)
    assert load_runs(path, strict=True) == runs(0, 1, 2)


def test_a_file_rotated_between_the_passes_is_read_under_its_new_name(live: Path, between_passes: Act) -> None:
    between_passes(lambda: rotate(live, 1, otlp_json.encode(run_to_spans(make_run(5))) + b"\n"))
    assert load_runs(live.parent, strict=True) == runs(0, 1, 2)


def test_a_named_file_rotated_between_the_passes_is_read_on(live: Path, between_passes: Act) -> None:
    between_passes(lambda: rotate(live, 1, b""))
    assert load_runs(live, strict=True) == runs(0, 1)


def test_a_file_rotated_before_it_is_looked_through_is_found(live: Path, while_looked_through: Act) -> None:
    while_looked_through(lambda: rotate(live, 1, otlp_json.encode(run_to_spans(make_run(5))) + b"\n"))
    assert load_runs(live.parent, strict=True) == runs(0, 1, 2, 5)


def test_a_file_that_is_just_being_rotated_is_found(live: Path, while_looked_through: Act) -> None:
    """It has its new name, and nothing has come in its place yet."""
    while_looked_through(lambda: live.rename(rotated(live.parent, 1)))
    assert load_runs(live.parent, strict=True) == runs(0, 1, 2)


def test_a_file_that_is_rotated_before_it_is_checked_is_found(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check, todo = format_checks._check_format, [lambda: live.rename(rotated(live.parent, 1))]

    def rotate_first(path: str) -> None:
        while todo:
            todo.pop()()
        check(path)

    monkeypatch.setattr(format_checks, "_check_format", rotate_first)
    assert load_runs(live.parent, strict=True) == runs(0, 1, 2)


@pytest.mark.parametrize("then", [None, TWO, b""])
def test_a_file_that_is_rotated_before_it_is_opened_again_is_found(
    live: Path, monkeypatch: pytest.MonkeyPatch, then: bytes | None
) -> None:
    """Whether something has come in its place or not."""
    path_now = scanned_files.ScannedFile.path_now
    todo: list[Callable[[], object]] = [lambda: live.rename(rotated(live.parent, 1))]
    if then is not None:
        todo.append(lambda: live.write_bytes(then))

    def rotate_after(noted: Any) -> str | None:
        found = path_now(noted)
        while found == str(live) and todo:
            todo.pop(0)()
        return found

    monkeypatch.setattr(scanned_files.ScannedFile, "path_now", rotate_after)
    assert load_runs(live.parent, strict=True) == runs(0, 1, 2)


def test_a_rotated_part_that_is_deleted_meanwhile_is_read(live: Path, between_passes: Act) -> None:
    """As the Collector does with the oldest one: the first files are kept open."""
    between_passes(rotated(live.parent, 0).unlink)
    assert load_runs(live.parent, strict=True) == runs(0, 1, 2)


def test_a_part_beyond_those_that_are_kept_open(
    live: Path, between_passes: Act, problems: Problems, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported as removed."""
    monkeypatch.setattr(scanned_files, "_MOST_HELD", 0)
    between_passes(rotated(live.parent, 0).unlink)
    assert load_runs(live.parent, on_problem=problems) == runs(0, 1)
    assert [problem.reason for problem in problems] == ["removed or replaced during reading"]


LIVE_RUNS, PIECES, PER_FILE = 400, 3, 60


def _write_on(path: Path) -> None:
    for number in range(LIVE_RUNS):
        if number % PER_FILE == PER_FILE - 1:
            path.rename(path.with_name(f"traces-{number:05}.jsonl"))
        line = otlp_json.encode(run_to_spans(make_run(number))) + b"\n"
        step = len(line) // PIECES + 1
        for begin in range(0, len(line), step):
            append(path, line[begin : begin + step])


def ids_read(folder: Path) -> set[str]:
    """The runs of one reading; nothing is reported but lines that are being written."""
    problems = Problems()
    ids = [run.run_id for run in load_runs(folder, on_problem=problems)]
    assert [problem for problem in problems if "truncated" not in problem.reason] == []
    assert len(ids) == len(set(ids))
    return set(ids)


def test_while_it_is_written_and_rotated_nothing_is_doubled_and_nothing_lost(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_bytes(b"")
    writer = multiprocessing.get_context("spawn").Process(target=_write_on, args=(path,))
    writer.start()
    seen: set[str] = set()
    while writer.is_alive():
        ids = ids_read(tmp_path)
        assert seen <= ids
        seen = ids
    writer.join()
    assert writer.exitcode == 0
    assert ids_read(tmp_path) == {run.run_id for run in runs(*range(LIVE_RUNS))}
