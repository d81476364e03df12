"""A store of sampled traces: undecided ones wait in the journal, and whoever folds it decides."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import AgentTracer, FileBackend, RunQuery, SpanRecord, TailSampling, load_runs
from otel_agent_trace.forgetting import prune
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.formats.otlp_json_encoding import encode
from otel_agent_trace.formats.otlp_json_sampling import sampled, with_sampling
from otel_agent_trace.sampling import DroppedTraces, threshold_in
from otel_agent_trace.semconv import SAMPLING_PROBABILITY
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.store import dropped as dropped_module
from otel_agent_trace.store import liveness
from otel_agent_trace.store.compaction import compact
from otel_agent_trace.store.dropped import read_dropped
from otel_agent_trace.store.dropped_counts import DroppedFile, add_dead_files, add_journal, read_counts
from otel_agent_trace.store.folding import fold_dead_journals
from otel_agent_trace.store.names import StoreFiles, is_beside
from otel_agent_trace.store.settings import StoreSettings
from tests.support.processes import environment
from tests.support.requirements import needs_fork, needs_locks
from tests.support.span_strategies import otlp_records

KILLS = int(os.environ.get("OTEL_AGENT_TRACE_TEST_KILLS", "15"))
NOTHING = TailSampling(rest=0)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "t.jsonl")


def run(tracer: AgentTracer, name: str = "a", *, error: bool = False) -> str:
    with contextlib.suppress(ValueError), tracer.run(agent_name=name, user_input=name) as current:
        with current.step("s") as step:
            step.output = "é"
        if error:
            raise ValueError
    return current.run_id


def spans_in(store: str) -> list[SpanRecord]:
    with open(store, "rb") as file:
        return [span for line in file for span in otlp_json.decode(line)]


# ── one process ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_kept_traces_have_their_threshold_on_every_span(store: str) -> None:
    tracer = AgentTracer(backend=FileBackend(store), sampling=TailSampling(rest=0.5))
    ids = [run(tracer) for _ in range(30)]
    failed = run(tracer, error=True)
    kept = {one.run_id for one in load_runs(store)}
    assert kept == {failed, *(each for each in ids if int(each, 16) & (2**56 - 1) >= 2**55)}
    spans = spans_in(store)
    assert len(spans) == 2 * len(kept)
    for span in spans:
        probability = 1.0 if span.trace_id == failed else 0.5
        assert span.attributes[SAMPLING_PROBABILITY] == probability
        assert threshold_in(span.trace_state) == (0 if span.trace_id == failed else 2**55)
    assert sum(one.traces for one in read_dropped(StoreFiles(store))) == 31 - len(kept)


STATES = st.none() | st.sampled_from(["", "ot=th:0", "ot=rv:0123456789abcd;th:4,x=1", 'x="', "x=\\", "é"])


@given(span=otlp_records(), state=STATES, threshold=st.booleans())
def test_a_line_with_a_threshold(span: SpanRecord, state: str | None, threshold: bool) -> None:
    """It is the line of the record with that threshold, whatever the span has."""
    number = 2**55 if threshold else 0
    if state is not None:  # else any text
        span = msgspec.structs.replace(span, trace_state=state, flags=0x101)
    line = with_sampling(encode([span]) + b"\n", number)
    assert line.endswith(b"\n")
    assert otlp_json.decode(line) == otlp_json.decode(encode([sampled(span, number)]))


def test_scores_and_logs_follow_their_trace(store: str) -> None:
    tracer = AgentTracer(backend=FileBackend(store), sampling=NOTHING)
    for error in (False, True):
        with contextlib.suppress(ValueError), tracer.run(user_input=str(error)) as current:
            current.score("helpful", 1)
            if error:
                raise ValueError
        tracer.score(current.run_id, "later", 2)
    (one,) = load_runs(store)
    assert [score.name for score in one.scores] == ["helpful", "later"]
    with open(store, "rb") as file:
        assert sum(b"gen_ai.evaluation" in line for line in file) == 2


def test_what_runs_is_seen_and_what_is_dropped_is_gone(store: str) -> None:
    tracer = AgentTracer(backend=FileBackend(store), sampling=NOTHING)
    with tracer.run(user_input="?") as current:
        with current.step("s"):
            pass
        (one,) = load_runs(store)
        assert (one.status.value, len(one.steps)) == ("running", 1)
    assert load_runs(store) == []
    tracer.close()
    assert StoreFiles(store).journals() == []


def test_a_journal_that_cannot_be_written(store: str) -> None:
    """What is held waits in memory then."""
    Path(f"{store}.open").write_text("no folder")
    tracer = AgentTracer(backend=FileBackend(store), sampling=NOTHING)
    run(tracer)
    run(tracer, error=True)
    (one,) = load_runs(store)
    assert (one.status.value, len(one.steps)) == ("error", 1)


def test_little_memory_is_held_of_open_traces(store: str) -> None:
    """The spans are on disk; when what is known of them takes too much, the oldest traces are decided."""
    tracer = AgentTracer(backend=FileBackend(store), sampling=TailSampling(rest=0, hold_bytes=1 << 20))
    runs = [tracer.start_run() for _ in range(1000)]
    for run_id in runs:
        tracer.log_step(run_id, tool_name="t", tool_output="x" * 3000)
    held = tracer._own._active_span_processor._span_processors[0].pipeline._held  # type: ignore[union-attr]
    assert held._room.bytes <= 1 << 20
    assert len(held._held) > 300
    assert os.path.getsize(StoreFiles(store).journals()[0]) > 1 << 20
    for run_id in runs:
        tracer.log_error(run_id, "broken")
    assert len(load_runs(store)) > 300


# ── counts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@needs_locks
def test_counts_by_agent_status_and_hour(store: str) -> None:
    tracer = AgentTracer(backend=FileBackend(store), sampling=TailSampling(rest=0, keep_errors=False))
    for name, error in (("a", False), ("a", False), ("a", True), ("b", False)):
        run(tracer, name, error=error)
    with pytest.raises(TimeoutError), tracer.run(agent_name="a"):
        raise TimeoutError
    before = read_dropped(StoreFiles(store))
    assert [(one.agent, one.status, one.traces) for one in before] == [
        ("a", "error", 1),
        ("a", "success", 2),
        ("a", "timeout", 1),
        ("b", "success", 1),
    ]
    assert {one.hour_ns % (3600 * 10**9) for one in before} == {0}
    tracer.close()
    compact(StoreFiles(store), StoreSettings())
    assert StoreFiles(store).counts() == {}
    assert FilesSource([store]).dropped() == before


def statuses(store: str) -> list[tuple[str | None, str]]:
    return [(one.agent, one.status) for one in read_dropped(StoreFiles(store)) for _ in range(one.traces)]


@needs_locks
def test_a_trace_that_is_dropped_before_its_end_is_counted_by_its_end(store: str) -> None:
    """Until then it is running, as it stays if its end is not seen."""
    tracer = AgentTracer(backend=FileBackend(store), sampling=TailSampling(rest=0, hold_bytes=40_000))
    runs = [tracer.start_run(agent_name="a") for _ in range(7)]
    for run_id in runs:
        for _ in range(60):
            tracer.log_step(run_id, tool_name="t")
    assert {status for _, status in statuses(store)} == {"running"}
    early = len(statuses(store))
    assert early >= 4
    stats = tracer.stats()
    assert (stats["decided early: hold_bytes full"], stats["dropped: hold_bytes full"] > 20) == (early, True)
    tracer.log_error(runs[0], "broken")
    for run_id in runs[2:]:
        tracer.end_run(run_id)
    assert load_runs(store, status="error") == []
    tracer.close()
    expected = [("a", "error"), *[("a", "success")] * 5]
    for _ in range(2):
        assert [one for one in statuses(store) if one[1] != "running"] == expected
        assert [status for _, status in statuses(store)].count("running") == 1
        compact(StoreFiles(store), StoreSettings())
    assert StoreFiles(store).counts() == {}


def test_counts_are_no_counts_of_what_is_left_of_a_store(store: str) -> None:
    tracer = AgentTracer(backend=FileBackend(store), sampling=NOTHING)
    run(tracer)
    run(tracer, "b", error=True)
    tracer.close()
    problems: list[Any] = []
    assert len(read_dropped(StoreFiles(store))) == 1
    prune(store, RunQuery(agent="nobody"), apply=True, on_problem=problems.append)
    assert len(read_dropped(StoreFiles(store))) == 1
    prune(store, RunQuery(agent="b"), apply=False, on_problem=problems.append)
    assert len(read_dropped(StoreFiles(store))) == 1
    prune(store, RunQuery(agent="b"), apply=True, on_problem=problems.append)
    assert read_dropped(StoreFiles(store)) == []


def test_retention_removes_runs_as_well(store: str) -> None:
    backend = FileBackend(store, rotate_bytes=1024)
    tracer = AgentTracer(backend=backend, sampling=NOTHING)
    for _ in range(3):
        run(tracer)
        run(tracer, error=True)
    tracer.close()
    compact(StoreFiles(store), StoreSettings())
    assert read_dropped(StoreFiles(store))
    compact(StoreFiles(store), StoreSettings(keep_bytes=1))
    assert read_dropped(StoreFiles(store)) == []


@needs_locks
def test_binary_parts_of_dropped_traces_are_removed_by_a_compaction(store: str) -> None:
    """Not those that a kept trace, or one that is held, has as well."""
    tracer = AgentTracer(backend=FileBackend(store), sampling=NOTHING)

    def log(run_id: str, *contents: int) -> None:
        tracer.log_step(run_id, tool_name="t", tool_output=[bytes([content]) * 100_000 for content in contents])

    dropped, kept, held = (tracer.start_run() for _ in range(3))
    log(dropped, 1, 2, 3, 4)
    log(kept, 2)
    log(held, 3)
    tracer.end_run(dropped)
    tracer.log_error(kept, "broken")
    assert len(os.listdir(StoreFiles(store).media_folder)) == 4
    assert compact(StoreFiles(store), StoreSettings()).media == 2
    assert len(os.listdir(StoreFiles(store).media_folder)) == 2
    tracer.end_run(held)
    assert compact(StoreFiles(store), StoreSettings(), repairs=False).media == 0
    assert compact(StoreFiles(store), StoreSettings()).media == 1
    (one,) = load_runs(store)
    assert one.steps[0].tool_output == [bytes([2]) * 100_000]


def dropped(number: int = 0) -> DroppedTraces:
    return DroppedTraces("a", "success", number * 3600 * 10**9, 1)


def total_of(files: StoreFiles) -> int:
    return sum(one.traces for one in read_dropped(files))


@needs_locks
def test_a_kill_while_counts_are_added_counts_nothing_twice(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a file is removed, the total names it."""
    files = StoreFiles(store)
    counts = DroppedFile(files)
    for number in range(10):
        counts.add(number, dropped(number % 2))
    counts.close()
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(os, "unlink", _interrupt)
        add_dead_files(files)
    assert (len(files.counts()), total_of(files)) == (1, 10)
    for _ in range(2):
        add_dead_files(files)
        add_journal(files, "1-00000000.jsonl", [dropped()])
        assert (files.counts(), total_of(files)) == ({}, 11)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@needs_locks
def test_files_of_counts_are_bounded(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_agent_trace.store.dropped_counts._FULL_LINES", 5)
    monkeypatch.setattr("otel_agent_trace.store.dropped_counts._MOST_COUNTS", 3)
    files = StoreFiles(store)
    counts = DroppedFile(files)
    for number in range(12):
        counts.add(number, dropped(number // 4))
    assert len(files.counts()) == 3
    counts.close()
    add_dead_files(files)
    assert total_of(files) == 12
    add_journal(files, "x", [dropped(9)])
    assert [one.hour_ns // (3600 * 10**9) for one in read_dropped(files)] == [1, 2, 9]


def test_the_folder_lies_beside_the_store(store: str) -> None:
    assert is_beside(StoreFiles(store).sampling_folder)


# ── killed processes ─────────────────────────────────────────────────────────────────────────────────────────────────


Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program that has printed a line when this returns."""
    with ExitStack() as stack:

        def started(code: str) -> subprocess.Popen[str]:
            program = f"import os, sys\nfrom otel_agent_trace import *\n{textwrap.dedent(code)}"
            process = subprocess.Popen(
                [sys.executable, "-c", program],
                cwd=tmp_path,
                env=environment(),
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
            return process

        yield started


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


WAITING = """
tracer = AgentTracer(backend=FileBackend("t.jsonl"), agent_name="a", sampling=TailSampling({arguments}))
with tracer.run(user_input="dropped"):
    pass
with tracer.run(user_input="interrupted") as run:
    with run.step("s"):
        pass
    print("ready", flush=True)
    sys.stdin.readline()
"""


@needs_locks
@pytest.mark.parametrize(
    ("arguments", "kept", "counted"),
    [
        ("rest=0", ["interrupted"], ["success"]),
        ("rest=0, keep_errors=False", [], ["interrupted", "success"]),
        ("rest=0, keep_errors=False, keep_agents=['a']", ["dropped", "interrupted"], []),
    ],
)
def test_who_reads_or_folds_the_journal_of_a_killed_process_decides(
    start: Start, store: str, arguments: str, kept: list[str], counted: list[str]
) -> None:
    """By the policy in its first line: an interrupted run counts as an error."""
    kill(start(WAITING.format(arguments=arguments)))
    files = StoreFiles(store)
    for is_folded in (False, True):
        assert sorted(str(one.user_input) for one in load_runs(store)) == kept
        assert [one.status for one in read_dropped(files) for _ in range(one.traces)] == counted
        assert (files.journals() == []) is is_folded
        fold_dead_journals(files)
    assert all(span.attributes[SAMPLING_PROBABILITY] == 1 for span in spans_in(store) if kept)


DYING = """
from otel_agent_trace.store.dropped_counts import DroppedFile
tracer = AgentTracer(backend=FileBackend("t.jsonl"), sampling=TailSampling(rest=0, keep_errors=False))
DroppedFile.add = lambda *_, **__: os._exit(1)
with tracer.run(agent_name="a") as run:
    for _ in range({steps}):
        with run.step("s"):
            pass
"""


@needs_locks
@pytest.mark.parametrize("steps", [0, 2])
def test_a_process_that_dies_before_it_counts_a_trace(start: Start, store: str, steps: int) -> None:
    """The journal still has all of the trace by then, its agent, too."""
    start(DYING.format(steps=steps)).wait()
    files = StoreFiles(store)
    for fold in (lambda _: None, fold_dead_journals):
        fold(files)
        assert [(one.agent, one.status, one.traces) for one in read_dropped(files)] == [("a", "interrupted", 1)]


@needs_locks
def test_a_journal_that_is_folded_while_counts_are_read_counts_once(
    start: Start, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(start(WAITING.format(arguments="rest=0, keep_errors=False")))
    files = StoreFiles(store)

    def after_folding(files: StoreFiles) -> Any:
        assert fold_dead_journals(files) == 1
        return read_counts(files)

    monkeypatch.setattr(dropped_module, "read_counts", after_folding)
    assert sorted((one.status, one.traces) for one in read_dropped(files)) == [("interrupted", 1), ("success", 1)]


PARENT = """
import subprocess
tracer = AgentTracer(backend=FileBackend("t.jsonl"), sampling=TailSampling(rest=0, wait_s={wait_s}))
CHILD = '''
from otel_agent_trace import *
tracer = AgentTracer(backend=FileBackend("t.jsonl"), sampling=TailSampling(rest=0, wait_s={wait_s}))
with tracer.run(agent_name="child"):
    pass
'''
try:
    with tracer.run(agent_name="parent"):
        subprocess.run([sys.executable, "-c", CHILD], env=child_environment(), check=True)
        {end}
except ValueError:
    pass
print("ready", flush=True)
"""


@needs_locks
def test_a_child_process_follows_its_parent(start: Start, store: str) -> None:
    """The spans of a child that has ended wait in its journal until its parent has decided."""
    start(PARENT.format(end="raise ValueError", wait_s=60)).wait()
    files = StoreFiles(store)
    for _ in range(2):
        (one,) = load_runs(store)
        assert [inner.agent_name for inner in one.walk()] == ["parent", "child"]
        fold_dead_journals(files)
    assert files.journals() == []
    assert read_dropped(files) == []


@needs_locks
def test_a_child_process_is_dropped_with_its_parent(start: Start, store: str) -> None:
    start(PARENT.format(end="pass", wait_s=60)).wait()
    files = StoreFiles(store)
    for _ in range(2):
        assert load_runs(store) == []
        assert [one.traces for one in read_dropped(files)] == [1]
        fold_dead_journals(files)
    assert files.journals() == []


@needs_locks
@pytest.mark.parametrize(
    ("end", "kept", "counted"),
    [("pass", [], [("parent", "success")]), ("raise ValueError", ["parent"], [])],
)
def test_a_child_process_that_has_not_waited_counts_nothing_twice(
    start: Start, store: str, end: str, kept: list[str], counted: list[Any]
) -> None:
    """What it has dropped and counted, its parent counts, or keeps, when it decides later."""
    start(PARENT.format(end=end, wait_s=0)).wait()
    for _ in range(2):
        assert [one.agent_name for one in load_runs(store)] == kept
        assert statuses(store) == counted
        compact(StoreFiles(store), StoreSettings())


@needs_locks
def test_a_parent_that_is_killed_is_kept_although_its_child_has_counted_the_trace(start: Start, store: str) -> None:
    """It is seen while it runs, too."""
    parent = start(PARENT.format(end="print('ready', flush=True); sys.stdin.readline()", wait_s=0))
    assert [one.agent_name for one in load_runs(store)] == ["parent"]
    assert statuses(store) == [("child", "success")]
    kill(parent)
    for _ in range(2):
        (one,) = load_runs(store)
        assert (one.agent_name, one.interrupted) == ("parent", True)
        assert statuses(store) == []
        compact(StoreFiles(store), StoreSettings())


@needs_locks
def test_a_child_process_waits_for_as_long_as_its_parent_runs(start: Start, store: str) -> None:
    """Also beyond the stated time, if it was killed or has ended: its parent is in the same store."""
    parent = start(PARENT.format(end="print('ready', flush=True); sys.stdin.readline(); raise ValueError", wait_s=60))
    files = StoreFiles(store)
    (journal,) = (Path(path) for path in files.journals() if not liveness.is_alive(path))
    journal.write_bytes(journal.read_bytes().replace(b"wait_s=60.0", b"wait_s=0.00"))
    assert fold_dead_journals(files) == 0
    parent.communicate("\n")
    fold_dead_journals(files)
    (one,) = load_runs(store)
    assert [inner.agent_name for inner in one.walk()] == ["parent", "child"]


@needs_locks
def test_a_trace_whose_root_is_elsewhere_waits_for_a_stated_time(start: Start, store: str) -> None:
    """Then its random bits decide, which drop it, and it is counted."""
    code = """
    from opentelemetry import trace
    parent = trace.set_span_in_context(trace.NonRecordingSpan(trace.SpanContext(1 << 100, 5, True, trace.TraceFlags(1))))
    tracer = AgentTracer(backend=FileBackend("t.jsonl"), sampling=TailSampling(rest=0.5, wait_s={wait_s}))
    with tracer.run(user_input="?", parent=parent):
        pass
    print("ready", flush=True)
    """
    files = StoreFiles(store)
    start(code.format(wait_s=3600)).wait()
    assert fold_dead_journals(files) == 0
    assert load_runs(store) == read_dropped(files) == []
    (journal,) = files.journals()
    text = Path(journal).read_bytes()
    Path(journal).write_bytes(text.replace(b"wait_s=3600.0", b"wait_s=0.00000"))
    assert fold_dead_journals(files) == 1
    assert [one.traces for one in read_dropped(files)] == [1]


@needs_fork
@needs_locks
@pytest.mark.slow
def test_killed_processes_lose_and_double_nothing(tmp_path: Path) -> None:
    """Every run that had begun is kept or counted as the policy says, however its process and its folders are killed."""
    command = [sys.executable, "-m", "tests.store.sampled_stress", "--kills", str(KILLS), "--seed", "5"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kept interrupted" in done.stdout
