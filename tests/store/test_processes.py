"""Processes that share a store: forked, spawned, daemons, containers, and systems without locks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from otel_agent_trace import AgentRun, load_runs
from otel_agent_trace.store.names import StoreFiles
from tests.support.processes import RunPython, environment
from tests.support.requirements import START_METHODS, cannot_run, needs_fork, needs_locks

pytestmark = pytest.mark.slow

BEGINNING = """
import logging, multiprocessing, os, resource, signal, subprocess, sys, threading, time
from otel_agent_trace import AgentTracer, FileBackend, load_runs

def made(**options):
    return AgentTracer(backend=FileBackend("t.jsonl", **options))

def run(tracer, question):
    with tracer.run(user_input=question) as run, run.step("s"):
        pass

def work(number):
    for index in range(20):
        run(tracer, f"{number}-{index}")
"""


def program(run_python: RunPython, code: str) -> str:
    """Run a program that traces to `t.jsonl` in the folder of the test, and return what it prints."""
    done = run_python(BEGINNING + textwrap.dedent(code))
    assert done.returncode == 0, done.stderr
    return done.stdout


def runs_of(folder: Path) -> dict[str | None, AgentRun]:
    runs = load_runs(folder / "t.jsonl")
    found = {run.user_input: run for run in runs}
    assert len(found) == len(runs)
    return found


WORKED = {f"{number}-{index}" for number in range(4) for index in range(20)}


@pytest.mark.parametrize("method", START_METHODS)
def test_multiprocessing(tmp_path: Path, run_python: RunPython, method: str) -> None:
    """All runs of all workers are there once, and workers that end leave no journal."""
    code = f"""
    tracer = made(rotate_bytes=20_000)
    if __name__ == "__main__":
        multiprocessing.set_start_method("{method}")
        with multiprocessing.Pool(2) as pool:
            pool.map(work, range(4))
            pool.close()
            pool.join()
    """
    (tmp_path / "program.py").write_text(BEGINNING + textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, "program.py"], check=False, cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert runs_of(tmp_path).keys() == WORKED
    assert not [run for run in load_runs(tmp_path / "t.jsonl") if run.ended_at_ns is None]
    assert StoreFiles(str(tmp_path / "t.jsonl")).journals() == []


@needs_fork
@pytest.mark.parametrize("closes", ["os.closerange(3, 256)", "pass"], ids=["closes all descriptors", "keeps them"])
def test_a_daemon(tmp_path: Path, run_python: RunPython, closes: str) -> None:
    """A program that forks twice in the midst of a run, and closes all descriptors, goes on; its parent ends the run."""
    code = f"""
    tracer = made()
    with tracer.run(user_input="of the parent"):
        run(tracer, "before")
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                {closes if closes == "pass" else "os.dup2(writer, 300); os.closerange(3, 256); writer = 300"}
                with open("own", "w") as own:  # has the number of a descriptor that was closed
                    run(tracer, "of the daemon")
                    own.write("own")
                os.write(writer, b"x")
            os._exit(0)
        os.read(reader, 1)
    """
    program(run_python, code)
    assert (tmp_path / "own").read_text() == "own"
    [run] = runs_of(tmp_path).values()
    assert {step.run.user_input for step in run.steps if step.run} == {"before", "of the daemon"}
    assert run.ended_at_ns


def test_a_program_that_closes_all_its_descriptors(tmp_path: Path, run_python: RunPython) -> None:
    """What it opens instead is not written to, and the next run is kept."""
    code = """
    tracer = made()
    run(tracer, "before")
    os.closerange(3, 256)
    own = [open(f"own{number}", "w+") for number in range(20)]
    run(tracer, "after")
    run(tracer, "last")
    tracer.close()
    for file in own:
        file.write("own")
        file.close()
    """
    program(run_python, code)
    assert {path.read_text() for path in tmp_path.glob("own*")} == {"own"}
    assert runs_of(tmp_path).keys() >= {"before", "last"}


@pytest.mark.parametrize(
    "end",
    [
        "sys.exit()",
        "os._exit(0)",
        "os.abort()",
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "os.execv('/bin/true', ['true'])",
        "raise RuntimeError",
    ],
)
def test_a_program_that_ends_with_an_open_run(tmp_path: Path, end: str) -> None:
    """However it ends, and whatever programs it leaves behind: its run is running, and interrupted."""
    code = f"""
    tracer = made()
    child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    open_run = tracer.start_run(user_input="open", user_id="u", session_id="s")
    tracer.log_step(open_run, tool_name="look", tool_input={{"a": 1}}, tool_output="b")
    {end}
    """
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + textwrap.dedent(code)],
        check=False, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    run = runs_of(tmp_path)["open"]
    assert (run.status, run.interrupted, run.session_id) == ("running", True, "s")
    assert [(step.name, step.output) for step in run.steps] == [("look", "b")]
    os.kill(int(done.stdout), signal.SIGKILL)


@needs_fork
def test_a_fork_in_the_midst_of_a_rotation(tmp_path: Path, run_python: RunPython) -> None:
    """A child inherits no lock: while it lives, others rotate and compact, and its dead parent is known to be dead."""
    code = """
    tracer = made(rotate_bytes=3000)
    rename, children = os.rename, []

    def rename_and_fork(*names):
        child = os.fork()
        if child == 0:
            os.closerange(1, 3)
            time.sleep(600)
        children.append(child)
        rename(*names)

    os.rename = rename_and_fork
    work(0)
    os.rename = rename
    print(*children, flush=True)
    work(1)
    open_run = tracer.start_run(user_input="open")
    os._exit(0)
    """
    children = program(run_python, code).split()
    try:
        assert runs_of(tmp_path)["open"].interrupted is True
        before = len(StoreFiles(str(tmp_path / "t.jsonl")).segments())
        program(run_python, "tracer = made(rotate_bytes=3000, compress='zst')\nwork(2)\nwork(3)")
        after = StoreFiles(str(tmp_path / "t.jsonl")).segments()
        assert len(after) > before + 10
        assert runs_of(tmp_path).keys() == WORKED | {"open"}
        done = subprocess.run(
            [sys.executable, "-m", "otel_agent_trace.cli", "compact", "t.jsonl"], check=False, cwd=tmp_path,
            env=environment(OTEL_AGENT_TRACE_COMPRESS="zst"), capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert StoreFiles(str(tmp_path / "t.jsonl")).journals() == []
        assert all(path.endswith(".zst") for path in StoreFiles(str(tmp_path / "t.jsonl")).segments())
    finally:
        for child in children:
            os.kill(int(child), signal.SIGKILL)


def test_a_kill_when_a_journal_moves(tmp_path: Path) -> None:
    """What is open stands in the new file before the old one is removed."""
    code = """
    tracer = made()
    open_run = tracer.start_run(user_input="open")
    unlink = os.unlink
    def unlink_and_die(path, **options):
        unlink(path, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    os.unlink = unlink_and_die
    for index in range(100):
        run(tracer, "x" * 100_000)
    """
    command = [sys.executable, "-c", BEGINNING + textwrap.dedent(code)]
    done = subprocess.run(command, check=False, cwd=tmp_path, env=environment())
    assert done.returncode == -signal.SIGKILL
    assert [run.interrupted for run in load_runs(tmp_path / "t.jsonl") if run.user_input == "open"] == [True]


@needs_locks
def test_another_container(tmp_path: Path, run_python: RunPython) -> None:
    """Whoever has other numbers of processes knows who is alive, and folds the dead only."""
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode
    ):
        cannot_run("needs the right to make a namespace of processes")
    code = BEGINNING + textwrap.dedent("""
    tracer = made()
    open_run = tracer.start_run(user_input=f"of {sys.argv[1]}")
    print("ready", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
    """)
    inner, outer = (
        subprocess.Popen(
            [*before, sys.executable, "-c", code, name], cwd=tmp_path, env=environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for name, before in (("inner", ["unshare", "--pid", "--fork", "--mount-proc"]), ("outer", []))
    )  # fmt: skip
    for process in (inner, outer):
        assert process.stdout.readline() == b"ready\n"
    look = "print({run.user_input: run.interrupted for run in load_runs('t.jsonl')})"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", BEGINNING + look]
    for expected in ({"of inner": False, "of outer": False}, {"of inner": True, "of outer": False}):
        found = subprocess.run(command, check=True, cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert eval(found.stdout) == expected
        assert {name: run.interrupted for name, run in runs_of(tmp_path).items()} == expected
        inner.communicate()
    outer.communicate()


WITHOUT_LOCKS = {
    "no fcntl": "sys.modules['fcntl'] = None",
    "not supported": """
import errno, fcntl
def flock(*_): raise OSError(errno.EOPNOTSUPP, "Operation not supported")
fcntl.flock = flock
""",
    "no locks left": """
import errno, fcntl
def flock(*_): raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
""",
}


@needs_locks
@pytest.mark.parametrize("name", WITHOUT_LOCKS)
def test_without_locks(tmp_path: Path, run_python: RunPython, name: str) -> None:
    """One warning; writing and rotating go on, nothing is compressed, and nobody alive is called interrupted."""
    code = (
        "import sys\n"
        + WITHOUT_LOCKS[name]
        + BEGINNING
        + textwrap.dedent("""
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    tracer = made(rotate_bytes=4000, compress="zst", keep_days=1)
    open_run = tracer.start_run(user_input="open")
    for number in range(4):
        work(number)
    print("read", {run.user_input: run.interrupted for run in load_runs("t.jsonl")}["open"], flush=True)
    if len(sys.argv) == 1:
        reader = subprocess.run([sys.executable, "-c", CODE, "reader"], check=True, capture_output=True, text=True)
        print("other", reader.stdout)
    os._exit(0)
    """)
    )
    code = code.replace(
        "CODE", repr(BEGINNING + "print({r.user_input: r.interrupted for r in load_runs('t.jsonl')}['open'])")
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    *warnings, read, other = [line for line in done.stdout.splitlines() if line]
    assert len(warnings) == 1, warnings
    assert read in ("read False", "read None")
    assert other in ("other False", "other None")
    segments = StoreFiles(str(tmp_path / "t.jsonl")).segments()
    assert len(segments) > 10
    assert not [path for path in segments if path.endswith(".zst")]
    found = runs_of(tmp_path)
    assert found.keys() == WORKED | {"open"}
    assert found["open"].interrupted is not False
