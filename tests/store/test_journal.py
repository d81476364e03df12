"""What has started is kept in a journal beside the store, and read back when the process is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentTracer, FileBackend, RunStatus, load_run, load_runs
from otel_agent_trace.store import liveness
from otel_agent_trace.store.folding import fold_dead_journals
from otel_agent_trace.store.journal import Journal
from otel_agent_trace.store.names import StoreFiles
from tests.support.processes import environment
from tests.support.requirements import needs_fork, needs_locks
from tests.support.waiting import wait_until

AGENT = """
import os, sys, threading
from otel_agent_trace import *

def ready():
    print("ready", flush=True)
    sys.stdin.readline()

tracer = AgentTracer(backend=FileBackend("t.jsonl"))

@tracer.tool
def add(a, b):
    return a + b

@tracer.tool
def wait(seconds, why="test"):
    ready()

@tracer.model
def ask(messages, model="m-1"):
    ready()

@tracer.agent
def helper(question):
    add(3, 4)
    wait(5)

def main(call):
    with tracer.run(agent_name="main", user_input="How long?", user_id="ann", session_id="s1", tags=["t"]):
        add(1, 2)
        call()
"""

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program, and return when it is in the midst of its last call."""
    with ExitStack() as stack:

        def started(code: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", AGENT + textwrap.dedent(code)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
                env=environment(),
                start_new_session=True,
            )
            stack.callback(process.wait)
            stack.callback(kill_session, process)
            assert process.stdout is not None
            stack.callback(process.stdout.close)
            assert process.stdin is not None
            stack.callback(process.stdin.close)
            assert process.stdout.readline() == "ready\n"
            return process

        yield started


def kill_session(process: subprocess.Popen[str]) -> None:
    """Kill a program, and the children that live on."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "t.jsonl")


def shape(run: AgentRun) -> list[Any]:
    """The steps of a run: name, arguments, and whether it has ended; of a sub-agent its steps."""
    return [
        (step.name, shape(step.run) if step.run else step.input, step.ended_at_ns is not None) for step in run.steps
    ]


@needs_locks
def test_a_killed_run_is_read_back(start: Start, store: str) -> None:
    """Alive it is running; killed it is interrupted, with all that was known of it, before folding and after."""
    process = start("main(lambda: helper('deep'))")
    (alive,) = load_runs(store)
    assert (alive.status, alive.interrupted) == (RunStatus.RUNNING, False)
    kill(process)
    (dead,) = load_runs(store)
    assert (dead.status, dead.interrupted, dead.ended_at_ns) == (RunStatus.RUNNING, True, None)
    assert (dead.user_input, dead.session_id, dead.agent_name, dead.tags) == ("How long?", "s1", "main", ("t",))
    inner = [("add", {"a": 3, "b": 4}, True), ("wait", {"seconds": 5}, False)]
    assert shape(dead) == [("add", {"a": 1, "b": 2}, True), ("helper", inner, False)]
    assert [run.interrupted for run in dead.walk()] == [True, True]
    assert dead.to_dict()["status"] == "running"
    for filters in ({"status": "interrupted"}, {"user_id": "ann"}, {"session_id": "s1"}, {"tool": "wait"}):
        assert load_runs(store, **filters) == [dead], filters  # type: ignore[arg-type]
    assert load_runs(store, status="success") == []
    assert load_run(Path(store).parent, "last") == dead
    assert fold_dead_journals(StoreFiles(store)) == 1
    assert StoreFiles(store).journals() == []
    assert load_runs(store) == [dead]
    assert AgentRun.from_dict(json.loads(json.dumps(dead.to_dict()))) == dead


@needs_locks
def test_a_model_call_in_flight(start: Start, store: str) -> None:
    """It has the messages that it was sent."""
    kill(start("main(lambda: ask([{'role': 'user', 'content': 'hi'}]))"))
    (run,) = load_runs(store)
    call = run.model_steps[0]
    assert [(message.role, message.parts) for message in call.messages] == [
        ("user", ({"type": "text", "content": "hi"},))
    ]
    assert (call.model, call.output, call.ended_at_ns) == ("m-1", None, None)


@needs_locks
def test_a_stopped_process_is_alive(start: Start, store: str) -> None:
    process = start("main(lambda: wait(1))")
    process.send_signal(signal.SIGSTOP)
    (run,) = load_runs(store)
    assert run.interrupted is False
    assert fold_dead_journals(StoreFiles(store)) == 0


@needs_locks
def test_a_zombie_is_dead(start: Start, store: str) -> None:
    """A killed process that nobody waited for has let go of its lock."""
    process = start("main(lambda: wait(1))")
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    (run,) = load_runs(store)
    assert run.interrupted is True


FORKED = """
import subprocess, time

def forked():
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, b"x")
        time.sleep(60)
    os.read(read, 1)  # the child runs, so that it has let go of what it inherited
"""


@needs_fork
@needs_locks
@pytest.mark.parametrize("child", ["forked()", "subprocess.Popen(['sleep', '60'])"])
def test_a_child_that_lives_on(start: Start, store: str, child: str) -> None:
    """Children, which inherit what is open, do not make a killed process look alive."""
    process = start(f"{FORKED}\nmain(lambda: ({child}, wait(1)))")
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    (run,) = load_runs(store)
    assert run.interrupted is True


@needs_fork
def test_a_forked_child_has_a_journal_of_its_own(start: Start, store: str) -> None:
    """What is open in the parent stays open there; the child's own runs are kept as well."""
    start(
        """
        def in_child():
            pid = os.fork()
            if pid == 0:
                with tracer.run(user_input="child"):
                    wait(2)
            else:
                os.waitpid(pid, 0)
        with tracer.run(user_input="parent"):
            in_child()
        """
    )
    (outer,) = load_runs(store)
    assert {run.user_input: run.interrupted for run in outer.walk()} == {"parent": False, "child": False}
    assert len(StoreFiles(store).journals()) == 2


def test_a_clean_end_leaves_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    tracer = AgentTracer(backend=FileBackend(path))
    with tracer.run(user_input="q") as run:
        assert len(StoreFiles(str(path)).journals()) == 1
        with run.step("s"):
            pass
    tracer.close()
    assert sorted(os.listdir(tmp_path)) == ["t.jsonl"]


def test_a_journal_is_closed_while_a_run_goes_on(tmp_path: Path) -> None:
    """A backend that is closed too early keeps its lock: the process is alive."""
    path = tmp_path / "t.jsonl"
    tracer = AgentTracer(backend=FileBackend(path))
    with tracer.run(user_input="q"):
        tracer.close()
        (run,) = load_runs(path)
        assert run.interrupted is False
    (run,) = load_runs(path)
    assert run.status is RunStatus.SUCCESS


@needs_locks
def test_a_later_writer_folds(start: Start, store: str) -> None:
    """The first span of a new process folds what the killed one left, in a thread beside it."""
    kill(start("main(lambda: wait(1))"))
    before = load_runs(store)
    second = start("main(lambda: wait(1))")
    files = StoreFiles(store)
    wait_until(lambda: len(files.journals()) == 1, "the journal of the killed process is folded")
    runs = load_runs(store)
    assert [run.interrupted for run in runs] == [True, False]
    assert runs[:1] == before
    kill(second)


@needs_locks
def test_folding_leaves_out_what_has_ended(start: Start, store: str) -> None:
    """Also if the end is in a segment, or in a compressed one; a torn end counts for nothing."""
    kill(start("main(lambda: wait(1))"))
    files = StoreFiles(store)
    before = load_runs(store)
    (journal,) = files.journals()
    text = Path(journal).read_bytes()
    os.rename(store, files.new_segment(1))
    assert fold_dead_journals(files) == 1
    Path(journal).parent.mkdir(exist_ok=True)
    Path(journal).write_bytes(text)  # as after a kill between the append and the removal
    size = os.path.getsize(store)
    assert fold_dead_journals(files) == 1
    assert os.path.getsize(store) == size
    assert load_runs(store) == before
    ids = [span_id for line in _lines(store) for span_id in line]
    assert len(ids) == len(set(ids))


def _lines(path: str) -> list[list[str]]:
    return [
        [
            span["spanId"]
            for group in json.loads(line)["resourceSpans"]
            for scope in group["scopeSpans"]
            for span in scope["spans"]
        ]
        for line in Path(path).read_text().splitlines()
        if line.strip()
    ]


@needs_locks
def test_a_torn_end_is_no_end(start: Start, store: str) -> None:
    """A process that was killed in the write of a step's end leaves the step in flight, also when its journal is folded."""
    kill(start("main(lambda: wait(1))"))
    files = StoreFiles(store)
    (journal,) = files.journals()
    started = next(line for line in Path(journal).read_text().splitlines() if '"execute_tool wait"' in line)
    with open(store, "a") as file:
        file.write(
            started.replace('"name":"execute_tool wait"', '"endTimeUnixNano":"17","name":"execute_tool wait"')[:-40]
        )
    assert fold_dead_journals(files) == 1
    (run,) = load_runs(store, on_problem=lambda problem: None)
    assert shape(run)[-1] == ("wait", {"seconds": 1}, False)


def test_a_policy_that_drops_a_span_at_its_end(start: Start, store: str) -> None:
    """It is not read as in flight."""
    process = start(
        """
        def drop(span):
            return None if span.name == "execute_tool secret" and span.end_ns else span
        tracer = AgentTracer(backend=FileBackend("t.jsonl", ), policies=[drop])
        add, wait = tracer.tool(add.__wrapped__), tracer.tool(wait.__wrapped__)
        @tracer.tool
        def secret(): pass
        with tracer.run(user_input="q"):
            secret()
            wait(1)
        """
    )
    kill(process)
    (run,) = load_runs(store)
    assert [step.name for step in run.steps] == ["wait"]


def test_many_runs_at_once_keep_the_journal_small(tmp_path: Path) -> None:
    """Where something is always open, what is open moves to a new file, and nothing of it is lost."""
    files = StoreFiles(str(tmp_path / "t.jsonl"))
    journal = Journal(files, lambda: "")
    line = b'{"a":"' + b"x" * 20_000 + b'"}\n'
    journal.add(0, 0, line)
    for number in range(1, 300):
        journal.add(number, 1, line)
        journal.remove(number, True)
    (path,) = files.journals()
    assert os.path.getsize(path) < 2 << 20
    assert [text for text in Path(path).read_bytes().splitlines()[1:] if text.strip()] == [line.rstrip()]
    journal.remove(0)
    assert os.path.getsize(path) < 2000
    journal.close()
    assert os.listdir(tmp_path) == []


def test_a_journal_that_is_removed_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is still open in it."""
    monkeypatch.setattr("otel_agent_trace.store.journal._LOOK_S", 0)
    files = StoreFiles(str(tmp_path / "t.jsonl"))
    journal = Journal(files, lambda: "")
    journal.add(1, 1, b'{"first":1}\n')
    os.unlink(files.journals()[0])
    os.rmdir(files.journal_folder)
    journal.add(2, 1, b'{"second":1}\n')
    (path,) = files.journals()
    assert Path(path).read_bytes().splitlines()[1:] == [b'{"first":1}', b'{"second":1}']


def test_who_cannot_be_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without locks, the first line decides; of another machine, or a damaged one, nothing is known."""
    files = StoreFiles(str(tmp_path / "t.jsonl"))
    journal = Journal(files, lambda: "")
    journal.add(1, 1, b"{}\n")
    (path,) = files.journals()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert liveness.is_owner_alive(descriptor, lock_is_free=None) is True
        monkeypatch.setattr(liveness, "_boot_id", lambda: "another")
        assert liveness.is_owner_alive(descriptor, lock_is_free=None) is None
        assert liveness.is_owner_alive(descriptor, lock_is_free=False) is True
    finally:
        os.close(descriptor)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"\0\1garbage")
    assert liveness.is_alive(str(damaged)) is None


GATED = """
from otel_agent_trace.pipeline import Gate

class Longer(Gate):
    def decide(self, spans, *, is_over):
        return None if not is_over else len(spans) > 2

tracer = AgentTracer(backend=FileBackend("t.jsonl"), policies=[Longer()])
add, wait = tracer.tool(add.__wrapped__), tracer.tool(wait.__wrapped__)
with tracer.run(user_input="dropped"):
    add(1, 1)
with tracer.run(user_input="kept"):
    add(2, 2)
    add(3, 3)
with tracer.run(user_input="undecided"):
    add(4, 4)
    wait(5)
"""


@needs_locks
def test_what_waits_for_a_decision_is_kept(start: Start, store: str) -> None:
    """Spans that a gate holds are in the journal, ended ones too; of a trace that it drops nothing is left."""
    kill(start(GATED))
    for _ in range(2):  # before folding, and after
        runs = {run.user_input: run for run in load_runs(store)}
        assert sorted(runs) == ["kept", "undecided"]
        assert (runs["kept"].status, runs["undecided"].interrupted) == (RunStatus.SUCCESS, True)
        assert shape(runs["undecided"]) == [("add", {"a": 4, "b": 4}, True), ("wait", {"seconds": 5}, False)]
        fold_dead_journals(StoreFiles(store))
    assert not any(b"dropped" in file.read_bytes() for file in Path(store).parent.rglob("*") if file.is_file())
