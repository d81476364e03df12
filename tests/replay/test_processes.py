"""Other processes under a replay: each way to start them, before it and during it; nothing is executed in any of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import RunPython, environment
from tests.support.requirements import START_METHODS, needs_fork, needs_locks
from tests.support.waiting import DEADLOCK_S

PROGRAM = Path(__file__).with_name("processes_program.py")
RECORDING = """
import multiprocessing, os, pickle, subprocess, sys
from pathlib import Path
from otel_agent_trace import *

tracer = AgentTracer(backend=FileBackend("traces.jsonl"), user_ids="none")

@tracer.tool
def look(name):
    with open("calls.txt", "a") as file:
        file.write(name)
    return name + " was found"

def agent(*names, ask=None):
    with tracer.run(agent_name="agent"):
        return [(ask or look)(name) for name in names]

def live():
    return Path("calls.txt").read_text() if Path("calls.txt").exists() else ""

def recorded(*names):
    agent(*names)
    Path("calls.txt").unlink()
    return load_runs("traces.jsonl")

def fails(call, *arguments):
    try:
        call(*arguments)
    except BaseException as error:
        return type(error).__name__
"""

slow = pytest.mark.slow
WAYS = ["executor", "traced", "pool", "process"]


def replayed(folder: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, str(PROGRAM), *arguments]
    env = environment(PYTHONWARNINGS="ignore")
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=DEADLOCK_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def check(result: dict[str, Any], live_afterwards: int) -> None:
    """Each of the five calls was answered once, by what was recorded for it, and none was made until the replay was over."""
    assert result == {
        "live": [],
        "same": True,
        "untouched": True,
        "answered": ["look"] * 5,
        "divergences": [],
        "steps": ["look"] * 5,
        "again": live_afterwards,
        "normal": live_afterwards,
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", START_METHODS)
@slow
def test_processes_that_are_started_during_the_replay(tmp_path: Path, way: str, method: str) -> None:
    check(replayed(tmp_path, way, method, "during"), 0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", START_METHODS)
@slow
def test_processes_that_were_there_before_replay_and_are_normal_again_afterwards(
    tmp_path: Path, way: str, method: str
) -> None:
    check(replayed(tmp_path, way, method, "before"), 5)


@pytest.mark.parametrize("way", ["with_environment", "without_environment"])
@slow
def test_programs(tmp_path: Path, way: str) -> None:
    check(replayed(tmp_path, way, "spawn", "during"), 0)


@needs_fork
@pytest.mark.parametrize("arguments", [("fork", "spawn", "during"), ("pool", "fork", "before")])
def test_forked_processes(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    check(replayed(tmp_path, *arguments), 0 if arguments[0] == "fork" else 5)


def printed(run_python: RunPython, code: str) -> list[str]:
    done = run_python(RECORDING + code)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@needs_fork
def test_a_divergence_of_a_child_reaches_the_program_and_is_raised_at_the_end(run_python: RunPython) -> None:
    """`Pool` passes it on as an exception of the call; that the agent swallows it changes nothing."""
    lines = printed(
        run_python,
        """
runs = recorded("a")
try:
    with replay_run(runs) as session, multiprocessing.get_context("fork").Pool(1) as pool:
        def ask(name):
            return fails(pool.apply, tracer.with_context(look), ("b",)) and look(name)
        print(agent("a", ask=ask), live() == "")
        print([(one.name, one.reason.partition(" ")[0]) for one in session.divergences], session.answered)
except ReplayDivergence as divergence:
    print(type(divergence).__name__, divergence.name, "b" in divergence.diff, len(session.divergences))
for step in session.run.steps:
    print((step.input["name"], step.output, step.error and step.error.type))
""",
    )
    assert lines == [
        "['a was found'] True",
        "[('look', 'tool')] ['look']",
        "ReplayDivergence look True 1",
        "('b', None, 'otel_agent_trace.replay.divergences.ReplayDivergenceError')",
        "('a', 'a was found', None)",
    ]


@needs_fork
def test_a_worker_that_the_replay_has_started_does_nothing_after_its_end(run_python: RunPython) -> None:
    lines = printed(
        run_python,
        """
runs = recorded("a")
pool = None
with replay_run(runs):
    pool = multiprocessing.get_context("fork").Pool(1)
    print(agent("a", ask=lambda name: pool.apply(tracer.with_context(look), (name,))))
print(fails(pool.apply, look, ("a",)), live() == "")
with replay_run(runs):
    print(agent("a", ask=lambda name: pool.apply(tracer.with_context(look), (name,))), live() == "")
print(look("normal"), live())
pool.terminate()
""",
    )
    assert lines == [
        "['a was found']",
        "ReplayDivergenceError True",
        "['a was found'] True",
        "normal was found normal",
    ]


@needs_fork
def test_what_a_replay_has_sent_to_an_older_worker_is_refused_after_its_end(run_python: RunPython) -> None:
    """The worker is a normal one again, but the function carries its place in the replay."""
    lines = printed(
        run_python,
        """
pool = multiprocessing.get_context("fork").Pool(1)
runs = recorded("a")
with replay_run(runs):
    with tracer.run(agent_name="agent"):
        inside = tracer.with_context(look)
        look("a")
    outside = pickle.loads(pickle.dumps(tracer.with_context(look)))
print(fails(pool.apply, inside, ("a",)), fails(pool.apply, outside, ("a",)), live() == "")
print(fails(inside, "a"), fails(pickle.loads(pickle.dumps(inside)), "a"), live() == "")
print(pool.apply(look, ("b",)), live())
pool.terminate()
""",
    )
    assert lines == [
        "ReplayDivergenceError ReplayDivergenceError True",
        "ReplayDivergenceError ReplayDivergenceError True",
        "b was found b",
    ]


def test_programs_without_a_place_and_after_the_end_are_refused(run_python: RunPython) -> None:
    lines = printed(
        run_python,
        """
Path("child.py").write_text('''
import sys
from otel_agent_trace import *
tracer = AgentTracer(backend=FileBackend("production.jsonl"), user_ids="none")
@tracer.tool
def look(name):
    open("calls.txt", "a").write(name)
try:
    look("a")
except BaseException as error:
    print(type(error).__name__, error.reason.partition(",")[0])
''')
def child(env):
    return subprocess.run([sys.executable, "child.py"], env=env, capture_output=True, text=True).stdout.strip()
runs = recorded("a")
with replay_run(runs, on_miss="error") as session:
    agent("a")
    print(child(None), len(session.divergences))
    env = dict(os.environ)
print(child(env))
print(live() == "", os.path.exists("production.jsonl"), "OTEL_AGENT_TRACE_REPLAY" in os.environ)
""",
    )
    assert lines == [
        'ReplayDivergenceError tool look {"name":"a"} was called outside of the runs of the replay 1',
        "ReplayDivergenceError look belongs to a replay that is over",
        "True False False",
    ]


@needs_locks
def test_a_worker_ignores_the_mark_of_a_process_that_was_killed(run_python: RunPython) -> None:
    """A later process may get its number. So it is with a folder that others may write to."""
    lines = printed(
        run_python,
        """
from otel_agent_trace.replay.folders import ReplayFolder
from otel_agent_trace.replay.options import checked_options
from otel_agent_trace.replay.processes import announced
from otel_agent_trace.replay.recordings import Recording
from otel_agent_trace.tracing.memberships import marker_of

runs = recorded("a")
recording = Recording(runs)
options = checked_options(recording, on_miss="fail", live=(), patch={}, until=None, ignore={})
folder = ReplayFolder.make(runs, options)
pool = multiprocessing.get_context("fork").Pool(1)
mark = Path(marker_of(os.getpid()))
mark.write_text(folder.path)
print(pool.apply(look, ("killed",)), live())
with announced(folder):
    print(fails(pool.apply, look, ("a",)), live())
    os.chmod(folder.path, 0o755)
    with multiprocessing.get_context("fork").Pool(1) as other:
        print(fails(other.apply, look, ("open",)), live())
print(mark.exists())
folder.close()
pool.terminate()
""",
    )
    assert lines == ["killed was found killed", "ReplayDivergenceError killed", "None killedopen", "False"]
