"""Runs and steps as they start and end, as ``tail`` shows them, in processes of their own."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentTracer, FileBackend, configure, load_runs
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.store.frames import FrameWriter
from tests.support.export_command import Result
from tests.support.processes import environment
from tests.support.waiting import DEADLOCK_S, wait_until

Event = dict[str, Any]
RunCommand = Callable[..., Result]


class Tail:
    """A process of ``tail --follow``, and what it has written."""

    def __init__(self, path: Path, output: Path, *options: str) -> None:
        self._output = output
        command = [sys.executable, "-m", "otel_agent_trace.cli", "tail", str(path), "--follow", *options]
        with output.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE, env=environment())

    def events(self) -> list[Event]:
        """The events so far; a line in progress is left out."""
        whole = self._output.read_bytes().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def wait_for(self, number: int, event: str = "run_ended") -> list[Event]:
        """Wait until there are so many events of a kind, and return all."""
        wait_until(lambda: len([found for found in self.events() if found["event"] == event]) >= number, event)
        return self.events()

    def end(self, signal_number: int = signal.SIGINT) -> tuple[int, bytes]:
        """End it, and return its exit status and messages."""
        self.process.send_signal(signal_number)
        _, errors = self.process.communicate(timeout=DEADLOCK_S)
        return self.process.returncode, errors.strip()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "t.jsonl"


@pytest.fixture
def tail(tmp_path: Path, path: Path) -> Iterator[Tail]:
    """A tail of a file that does not exist yet."""
    started = Tail(path, tmp_path / "output", "--json")
    yield started
    if started.process.poll() is None:
        started.process.kill()
    started.process.communicate()


def briefly(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(event["event"], event["name"], event["status"]) for event in events]


def expected_of(runs: list[AgentRun]) -> Counter[tuple[str, str, str | None]]:
    """Return the events that runs have, once each."""
    events: list[tuple[str, str, str | None]] = []
    for run in [part for outer in runs for part in outer.walk()]:
        ends = ("started", "ended") if run.ended_at_ns is not None or run.interrupted else ("started",)
        events += [(f"run_{what}", run.run_id, run.span_id) for what in ends]
        for step in run.steps:
            if step.run is None:
                is_over = step.ended_at_ns is not None or run.interrupted
                events += [(f"step_{what}", run.run_id, step.span_id) for what in ("started", "ended")[: 1 + is_over]]
    return Counter(events)


def assert_complete(events: list[Event], runs: list[AgentRun]) -> None:
    """Check that each run and step has its events once, and that those of a run are in order."""
    assert Counter((event["event"], event["run_id"], event["span_id"]) for event in events) == expected_of(runs)
    state: dict[str, str] = {}
    for event in events:
        before = state.get(event["run_id"], "none")
        assert before == ("none" if event["event"] == "run_started" else "open")
        state[event["run_id"]] = "over" if event["event"] == "run_ended" else "open"


WRITER = """
import sys
from otel_agent_trace import AgentTracer, FileBackend
path, number, settings = sys.argv[1], int(sys.argv[2]), eval(sys.argv[3])
with AgentTracer(FileBackend(path, **settings), agent_name="writer") as tracer:
    for question in range(number):
        with tracer.run(user_input=question) as run:
            for name in ("first", "second")[: question % 3]:
                with run.step(name, {"text": "x" * 300}) as step:
                    step.output = name
            if question % 5 == 0:
                with tracer.run(agent_name="inner") as inner, inner.step("within"):
                    pass
"""


def writers(path: Path, count: int, number: int, **settings: Any) -> list[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", WRITER, str(path), str(number), repr(settings)]
    return [subprocess.Popen(command, env=environment()) for _ in range(count)]


# ── what the store holds ─────────────────────────────────────────────────────────────────────────────────────────────


def test_events_of_what_the_store_has(path: Path, run_command: RunCommand) -> None:
    """Without --follow it shows what there is, in order of time, with errors and sub-agents, and ends."""
    with AgentTracer(FileBackend(path), agent_name="outer") as tracer, tracer.run() as run:
        with run.step("search"):
            pass
        with tracer.run(agent_name="inner") as inner, pytest.raises(ValueError, match="no"), inner.step("parse"):
            raise ValueError("no")
    result = run_command("tail", path, "--json")
    assert (result.code, result.err) == (0, "")
    events = [json.loads(line) for line in result.out.splitlines()]
    assert briefly(events) == [
        ("run_started", "outer", "running"),
        ("step_started", "search", "running"),
        ("step_ended", "search", "success"),
        ("run_started", "inner", "running"),
        ("step_started", "parse", "running"),
        ("step_ended", "parse", "error"),
        ("run_ended", "inner", "success"),
        ("run_ended", "outer", "success"),
    ]
    (outer,) = load_runs(path)
    inner_run = outer.steps[1].run
    assert inner_run is not None
    assert {event["run_id"] for event in events} == {outer.run_id, inner_run.run_id}
    assert events[3]["parent_run_id"] == outer.run_id
    assert events[-1]["time"] == (outer.ended_at or outer.started_at).isoformat()
    assert events[-1]["duration_s"] == outer.duration_s
    assert [event["kind"] for event in events[:4]] == ["agent", "tool", "tool", "agent"]


def test_people_see_a_line_for_each_event(path: Path, run_command: RunCommand) -> None:
    """Lines are aligned and indented by depth; names cannot control the terminal."""
    with AgentTracer(FileBackend(path), agent_name="outer\x1b[2J") as tracer, tracer.run() as run, run.step("search"):
        pass
    lines = run_command("tail", path).out.splitlines()
    assert [line[20:].split("  ")[0] for line in lines] == ["started", "started", "success", "success"]
    assert [line.index("agent" if "agent" in line else "tool") for line in lines] == [33, 35, 35, 33]
    assert all("\x1b" not in line for line in lines)


def test_interleaved_runs_come_in_order_of_time(path: Path, run_command: RunCommand) -> None:
    """Of runs at the same time, events of both are mixed as they happened."""
    with AgentTracer(FileBackend(path)) as tracer:
        first, second = tracer.start_run(agent_name="first"), tracer.start_run(agent_name="second")
        tracer.end_run(first)
        tracer.end_run(second)
    events = [json.loads(line) for line in run_command("tail", path, "--json").out.splitlines()]
    assert [(event["event"], event["name"]) for event in events] == [
        ("run_started", "first"),
        ("run_started", "second"),
        ("run_ended", "first"),
        ("run_ended", "second"),
    ]


def test_segments_of_all_kinds_are_read(path: Path, run_command: RunCommand) -> None:
    """Closed segments, compressed ones, and those of logrotate have their events once."""
    for process in writers(path, 1, 30, rotate_bytes=8192):
        assert process.wait(DEADLOCK_S) == 0
    segments = sorted(path.parent.glob("t-*.jsonl"))
    assert len(segments) > 3
    compress(segments[0])
    segments[1].rename(path.parent / "t.jsonl.1")
    (path.parent / "t.jsonl.2.gz").write_bytes(gzip.compress(segments[2].read_bytes()))
    segments[2].unlink()
    events = [json.loads(line) for line in run_command("tail", path, "--json").out.splitlines()]
    assert_complete(events, load_runs(path))
    assert len({event["run_id"] for event in events if event["parent_run_id"] is None}) == 30


def test_a_file_that_is_not_there_is_an_error_without_follow(path: Path, run_command: RunCommand) -> None:
    """Exit status 2; so it is for a server."""
    result = run_command("tail", path)
    assert (result.code, result.out) == (2, "")
    assert "No such file" in result.err
    assert run_command("tail", "http://localhost:16686").code == 2


# ── following ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_starts_are_shown_before_ends(path: Path, tail: Tail) -> None:
    """A run and a step in flight are shown by the journal, their ends by the file; a missing folder is waited for."""
    with AgentTracer(FileBackend(path), agent_name="outer") as tracer, tracer.run() as run:
        with run.step("search"):
            assert briefly(tail.wait_for(1, "step_started")) == [
                ("run_started", "outer", "running"),
                ("step_started", "search", "running"),
            ]
        tail.wait_for(1, "step_ended")
    assert briefly(tail.wait_for(1))[2:] == [("step_ended", "search", "success"), ("run_ended", "outer", "success")]
    assert_complete(tail.events(), load_runs(path))
    assert tail.end() == (130, b"")


def test_own_rotation_by_several_writers(path: Path, tail: Tail) -> None:
    """Three programs that rotate every few kilobytes: each event once and in order."""
    for process in writers(path, 3, 60, rotate_bytes=4096):
        assert process.wait(DEADLOCK_S) == 0
    runs = load_runs(path)
    assert len(runs) == 180
    assert len([*path.parent.glob("t-*.jsonl")]) > 20
    assert_complete(tail.wait_for(sum(len([*run.walk()]) for run in runs)), runs)


def rename_and_create(path: Path, turn: int) -> None:
    path.rename(path.with_name(f"{path.name}-202611{turn:02d}"))
    path.touch(mode=0o600)


def rename_and_pack(path: Path, turn: int) -> None:
    renamed = path.with_name(f"{path.name}-202611{turn:02d}")
    path.rename(renamed)
    packed = gzip.compress(renamed.read_bytes())
    renamed.with_name(f"{renamed.name}.gz").write_bytes(packed)
    renamed.unlink()


def shift(path: Path, turn: int) -> None:
    for number in range(turn, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.rename(path.with_name(f"{path.name}.{number + 1}"))
    path.rename(path.with_name(f"{path.name}.1"))


def copy_and_truncate(path: Path, turn: int) -> None:
    shutil.copy(path, path.with_name(f"{path.name}.{turn}"))
    os.truncate(path, 0)


def compress(path: Path) -> None:
    with path.with_name("compressing").open("wb") as file:
        writer = FrameWriter(file.write)
        writer.write(path.read_bytes())
        writer.close()
    path.with_name("compressing").rename(f"{path}.zst")
    path.unlink()


def close_and_compress(path: Path, turn: int) -> None:
    segment = path.with_name(f"t-20261128T1015{turn:02d}.123456Z-9f3a1c2b.jsonl")
    path.rename(segment)
    compress(segment)


@pytest.mark.parametrize(
    "rotate",
    [rename_and_create, rename_and_pack, shift, copy_and_truncate, close_and_compress],
    ids=lambda f: f.__name__,
)
def test_rotation_by_others(path: Path, tail: Tail, rotate: Callable[[Path, int], None]) -> None:
    """What logrotate and others do between two runs, whether tail has seen the last lines before or not."""
    with AgentTracer(FileBackend(path), agent_name="outer") as tracer:
        for turn in range(1, 7):
            with tracer.run(user_input=turn) as run, run.step("search"):
                pass
            if turn % 2:
                tail.wait_for(turn)
            rotate(path, turn)
        with tracer.run(user_input="last"):
            pass
    events = tail.wait_for(7)
    runs = load_runs(path)
    assert len(runs) == 7
    assert_complete(events, runs)


def test_a_killed_program_leaves_an_interrupted_run(path: Path, tail: Tail) -> None:
    """Its run, sub-agent and step in flight end as interrupted, once, also when a later program folds its journal."""
    code = """
        import sys
        from otel_agent_trace import AgentTracer, FileBackend
        with AgentTracer(FileBackend(sys.argv[1]), agent_name="outer") as tracer, tracer.run() as run:
            with run.step("done"):
                pass
            with tracer.run(agent_name="inner") as inner, inner.step("in flight"):
                sys.stdin.read()
    """
    code = "\n".join(line.removeprefix("        ") for line in code.splitlines())
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, env=environment()) as process:
        tail.wait_for(2, "step_started")
        process.kill()
    events = tail.wait_for(2)
    assert briefly(events)[-3:] == [
        ("step_ended", "in flight", "interrupted"),
        ("run_ended", "inner", "interrupted"),
        ("run_ended", "outer", "interrupted"),
    ]
    with AgentTracer(FileBackend(path), agent_name="later") as tracer, tracer.run():
        pass
    events = tail.wait_for(3)
    assert briefly(events)[8:] == [("run_started", "later", "running"), ("run_ended", "later", "success")]


def test_spans_of_other_tracers_appear(path: Path, tail: Tail) -> None:
    """Spans of a framework in a pipeline of ours are shown as they start, without those that are no steps."""
    provider = configure(file=path)
    tracer = provider.get_tracer("framework")
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "travel"}
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
    with tracer.start_as_current_span("GET /"), tracer.start_as_current_span("invoke_agent", attributes=agent):
        with tracer.start_as_current_span("execute_tool", attributes=tool):
            tail.wait_for(1, "step_started")
    provider.shutdown()
    assert briefly(tail.wait_for(1)) == [
        ("run_started", "travel", "running"),
        ("step_started", "search", "running"),
        ("step_ended", "search", "success"),
        ("run_ended", "travel", "success"),
    ]


def test_spans_without_starts_wait_for_their_run(path: Path, tail: Tail) -> None:
    """Where there is no journal, and a run is written when it ends, its steps come after its start."""
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "travel"}
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
    step = SpanRecord("1" * 32, "2" * 16, "3" * 16, "search", 10**18, 10**18 + 5, tool)
    run = SpanRecord("1" * 32, "3" * 16, None, "travel", 10**18 - 5, 10**18 + 9, agent)
    other = SpanRecord("4" * 32, "5" * 16, None, "other", 10**18, 10**18 + 1, {**agent, "gen_ai.agent.name": "other"})
    path.parent.mkdir()
    with path.open("ab", buffering=0) as file:
        file.write(otlp_json.encode([step]) + b"\n" + otlp_json.encode([other]) + b"\n")
        assert briefly(tail.wait_for(1)) == [("run_started", "other", "running"), ("run_ended", "other", "success")]
        line = otlp_json.encode([run]) + b"\n"
        file.write(line[:50])
        file.write(line[50:])
    assert briefly(tail.wait_for(2))[2:] == [
        ("run_started", "travel", "running"),
        ("step_started", "search", "running"),
        ("step_ended", "search", "success"),
        ("run_ended", "travel", "success"),
    ]


DAMAGE = {
    "torn": b'{"resourceSpans":[{"res\n',
    "nul bytes": b"\0\0\0\0\n",
    "json of others": b'{"level":"info"}\n',
    "text": b"plain text\n",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_does_not_stop_it(path: Path, tail: Tail, name: str) -> None:
    """Torn lines, NULs and lines of others are passed over, also at the beginning."""
    path.parent.mkdir()
    path.write_bytes(DAMAGE[name] * 2)
    with AgentTracer(FileBackend(path), agent_name="outer") as tracer:
        for number in (1, 2):
            with tracer.run():
                pass
            events = tail.wait_for(number)
    assert briefly(events) == [("run_started", "outer", "running"), ("run_ended", "outer", "success")] * 2
    assert tail.process.poll() is None


def test_sigterm_ends_it_as_ctrl_c_does(path: Path, tail: Tail) -> None:
    """No stack trace, and the exit status of Ctrl-C."""
    with AgentTracer(FileBackend(path)) as tracer, tracer.run():
        pass
    tail.wait_for(1)
    assert tail.end(signal.SIGTERM) == (130, b"")


def test_it_ends_when_nobody_reads_any_more(path: Path) -> None:
    """A closed pipe, as of ``| head -1``, is no error, also while nothing happens."""
    with AgentTracer(FileBackend(path)) as tracer, tracer.run():
        pass
    command = [sys.executable, "-m", "otel_agent_trace.cli", "tail", str(path), "-f"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(DEADLOCK_S) == 0
        assert process.stderr.read() == b""


def test_other_formats_are_read_once(tmp_path: Path, run_command: RunCommand) -> None:
    """A JSON document, and UTF-16, have the same events as the lines they were made of."""
    path = tmp_path / "t.jsonl"
    with AgentTracer(FileBackend(path), agent_name="outer") as tracer, tracer.run() as run, run.step("search"):
        pass
    events = run_command("tail", path, "--json").out
    groups = [json.loads(line)["resourceSpans"][0] for line in path.read_text().splitlines()]
    document, wide = tmp_path / "document.json", tmp_path / "wide.jsonl"
    document.write_text(json.dumps({"resourceSpans": groups}, indent=1))
    wide.write_text(path.read_text(), encoding="utf-16")
    assert run_command("tail", document, "--json").out == events
    assert run_command("tail", wide, "--json").out == events
    assert events.count("\n") == 4
