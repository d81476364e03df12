"""Processes that fork while their threads trace: no child hangs, nothing is lost or written twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from otel_agent_trace import load_runs
from tests.support.processes import ROOT, RunPython
from tests.support.requirements import START_METHODS, needs_fork
from tests.support.waiting import DEADLOCK_S

STORM = """
import os, signal, sys, threading
from otel_agent_trace import *

class Own:
    def start_run(self, run): pass
    def log_step(self, run_id, step): pass
    def end_run(self, run): pass

sys.setswitchinterval(1e-5)
tracer = AgentTracer(backend=[FileBackend("t.jsonl"), InMemoryBackend(max_runs=10), Own()])
stop = threading.Event()
counts = [0, 0, 0]

def work(number):
    while not stop.is_set():
        with tracer.run(run_id=f"parent {number}/{counts[number]}", user_id="u", user_input="x" * 2000) as run:
            with run.step("s"):
                pass
        counts[number] += 1

threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
hung = 0
for number in range(20):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        for i in range(3):
            with tracer.run(run_id=f"child {number}/{i}", user_id="u") as run, run.step("s"):
                pass
        tracer.stats()
        os._exit(0)
    hung += os.waitpid(child, 0)[1] != 0
stop.set()
for thread in threads:
    thread.join()
print(hung, sum(counts))
"""


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_while_threads_trace(run_python: RunPython, tmp_path: Path) -> None:
    """Each of twenty children traces as its parent does, at once, while three threads of the parent write."""
    result = run_python(STORM)
    assert result.returncode == 0, result.stderr
    hung, parents = map(int, result.stdout.split())
    assert hung == 0
    problems: list[object] = []
    runs = load_runs(tmp_path / "t.jsonl", on_problem=problems.append)
    assert problems == []
    ids = [run.run_id for run in runs]
    assert len(ids) == len(set(ids))
    assert sum(run_id.startswith("parent") for run_id in ids) == parents
    assert {run_id for run_id in ids if run_id.startswith("child")} == {
        f"child {number}/{i}" for number in range(20) for i in range(3)
    }
    assert len({run.trace_id for run in runs}) == len(runs)
    assert all(len(run.steps) == 1 for run in runs)


@needs_fork
def test_a_fork_inside_of_a_run(run_python: RunPython, tmp_path: Path) -> None:
    """A child that is forked inside of a run adds steps to it, in the same trace, under ids of its own."""
    result = run_python(
        """
        import os
        from otel_agent_trace import *
        tracer = AgentTracer(backend=FileBackend("t.jsonl"))
        with tracer.run(run_id="r") as run:
            with run.step("before"):
                pass
            child = os.fork()
            if child == 0:
                with run.step("child"):
                    pass
                os._exit(0)
            os.waitpid(child, 0)
            with run.step("after"):
                pass
        """
    )
    assert result.returncode == 0, result.stderr
    (run,) = load_runs(tmp_path / "t.jsonl")
    assert sorted(step.name for step in run.steps) == ["after", "before", "child"]


@needs_fork
def test_locks_of_a_forked_child(run_python: RunPython) -> None:
    """A block that forks ends in the child too, which can take a lock that another thread of its parent held."""
    result = run_python(
        """
        import os, signal, threading
        from otel_agent_trace.forks import ForkSafeLock
        own, other = ForkSafeLock(), ForkSafeLock()
        is_held, done = threading.Event(), threading.Event()
        def hold():
            with other:
                is_held.set()
                done.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        is_held.wait()
        with own:
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                with other, own:
                    pass
        if child == 0:
            is_free = []
            thread = threading.Thread(target=lambda: is_free.append(own.acquire(timeout=10) and other.acquire(timeout=10)))
            thread.start()
            thread.join()
            os._exit(not is_free[0])
        done.set()
        thread.join()
        print(os.waitpid(child, 0)[1])
        """
    )
    assert (result.returncode, result.stdout) == (0, "0\n"), result.stderr


@needs_fork
def test_a_fork_without_hooks(run_python: RunPython, tmp_path: Path) -> None:
    """uWSGI forks in C, and then calls `renew_all`: the child neither waits for locks nor writes to its parent's span."""
    result = run_python(
        """
        import ctypes, os, signal
        from opentelemetry import trace
        from otel_agent_trace import *
        from otel_agent_trace.forks import renew_all
        tracer = AgentTracer(backend=FileBackend("t.jsonl"))
        with tracer.run(run_id="r"):
            child = ctypes.PyDLL(None).fork()
            if child == 0:
                signal.alarm(20)
                renew_all()
                assert trace.get_current_span().get_span_context().is_remote
                assert not trace.get_current_span().is_recording()
                with tracer.run(run_id="of the child"):
                    pass
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        """
    )
    assert result.returncode == 0, result.stderr
    runs = {run.run_id: run for run in load_runs(tmp_path / "t.jsonl")}
    assert runs.keys() >= {"r"}
    assert all(run.status == "success" for run in runs.values())


@pytest.mark.parametrize("method", START_METHODS[:2])
def test_multiprocessing(run_python: RunPython, tmp_path: Path, method: str) -> None:
    """Workers of multiprocessing trace decorated functions, which reach them by name, into the same file."""
    (tmp_path / "tools.py").write_text(
        "from otel_agent_trace import *\n"
        'tracer = AgentTracer(backend=FileBackend("t.jsonl"))\n'
        "@tracer.agent\n"
        "def double(q: int) -> int:\n"
        "    return 2 * q\n"
    )
    (tmp_path / "main.py").write_text(
        "import multiprocessing, tools\n"
        'if __name__ == "__main__":\n'
        f'    with multiprocessing.get_context("{method}").Pool(2) as pool:\n'
        "        print(sum(pool.map(tools.double, range(20))))\n"
    )
    result = run_python('import runpy, sys; sys.path.insert(0, "."); runpy.run_path("main.py", run_name="__main__")')
    assert result.stdout.strip() == "380", result.stderr
    assert sorted(run.user_input for run in load_runs(tmp_path / "t.jsonl")) == list(range(20))


def test_a_process_that_is_killed(run_python: RunPython, tmp_path: Path) -> None:
    """What had ended when a process is killed is in its file."""
    result = run_python(
        """
        import os, signal
        from otel_agent_trace import *
        tracer = AgentTracer(backend=FileBackend("t.jsonl"))
        with tracer.run(run_id="whole"):
            pass
        with tracer.run(run_id="cut") as run:
            with run.step("done"):
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert result.returncode == -9
    assert [(run.run_id, run.status.value, len(run.steps)) for run in load_runs(tmp_path / "t.jsonl")] == [
        ("whole", "success", 0),
        ("cut", "running", 1),
    ]


@needs_fork
def test_what_the_parent_has_started_is_the_parents_to_end(run_python: RunPython, tmp_path: Path) -> None:
    """A child that leaves the blocks in which it was forked writes nothing of them; its own runs it does."""
    result = run_python(
        """
        import os
        from opentelemetry import trace
        from otel_agent_trace import *

        class Own:
            def __init__(self): self.calls = []
            def start_run(self, run): self.calls.append(f"start {run.run_id}")
            def log_step(self, run_id, step): self.calls.append(f"step {step.name}")
            def end_run(self, run): self.calls.append(f"end {run.run_id} {len(run.steps)}")

        own, memory = Own(), InMemoryBackend()
        provider = configure(file="t.jsonl", backends=[own, memory], otlp=False)
        tracer = AgentTracer(tracer_provider=provider)
        by_id = tracer.start_run(run_id="by id")
        later = tracer.run(run_id="later")  # not yet started
        with tracer.run(run_id="r") as run, provider.get_tracer("other").start_as_current_span("chat m", attributes={
                "gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}):
            with run.step("s") as step:
                child = os.fork()
                if child == 0:
                    assert memory.runs() == memory.spans() == []
                    own.calls.clear()
                step.output = "child" if child == 0 else "parent"
            assert step.ended
        tracer.end_run(by_id, "child" if child == 0 else "parent")
        if child == 0:
            with later:
                pass
            assert own.calls == ["start later", "end later 0"], own.calls
            assert [run.run_id for run in memory.runs()] == ["later"]
            assert tracer.stats()["ended in a forked child"] == 4, tracer.stats()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert "ended in a forked child" not in tracer.stats()
        assert own.calls == ["start by id", "start r", "step s", "step m", "end r 2", "end by id 0"], own.calls
        """
    )
    assert result.returncode == 0, result.stderr
    runs = {run.run_id: run for run in load_runs(tmp_path / "t.jsonl")}
    assert sorted(runs) == ["by id", "later", "r"]
    assert runs["by id"].final_output == "parent"
    assert [(step.name, step.output) for step in runs["r"].steps] == [("m", None), ("s", "parent")]
    assert len((tmp_path / "t.jsonl").read_text().splitlines()) == 5


@needs_fork
def test_a_generator_that_a_child_inherits(run_python: RunPython, tmp_path: Path) -> None:
    """A stream that was begun before a fork is written by the parent alone, although both exhaust it."""
    result = run_python(
        """
        import os
        from otel_agent_trace import *
        tracer = AgentTracer(backend=FileBackend("t.jsonl"))

        @tracer.tool
        def stream():
            yield 1
            yield 2

        pieces = stream()
        next(pieces)
        child = os.fork()
        assert list(pieces) == [2]
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        """
    )
    assert result.returncode == 0, result.stderr
    assert len((tmp_path / "t.jsonl").read_text().splitlines()) == 1


POOLS = {
    "multiprocessing": "multiprocessing.get_context({method!r}).Pool(3)",
    "ProcessPoolExecutor": (
        "concurrent.futures.ProcessPoolExecutor(3, mp_context=multiprocessing.get_context({method!r}))"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", START_METHODS[:2])
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_while_threads_trace(run_python: RunPython, tmp_path: Path, pool: str, method: str) -> None:
    """Workers that start while three threads trace have every run of theirs in the file, once, and none hangs."""
    (tmp_path / "tools.py").write_text(
        "from otel_agent_trace import *\n"
        'tracer = AgentTracer(backend=[FileBackend("t.jsonl"), InMemoryBackend(max_runs=10)])\n'
        "@tracer.agent\n"
        "def double(q: int) -> int:\n"
        "    return 2 * q\n"
    )
    (tmp_path / "main.py").write_text(
        "import concurrent.futures, multiprocessing, sys, threading, tools\n"
        "def work():\n"
        "    while not stop.is_set():\n"
        "        tools.double(-1)\n"
        'if __name__ == "__main__":\n'
        "    sys.setswitchinterval(1e-4)\n"
        "    stop = threading.Event()\n"
        "    threads = [threading.Thread(target=work) for _ in range(3)]\n"
        "    for thread in threads: thread.start()\n"
        f"    with {POOLS[pool].format(method=method)} as pool:\n"
        "        total = sum(pool.map(tools.double, range(200)))\n"
        "    stop.set()\n"
        "    for thread in threads: thread.join()\n"
        "    print(total, tools.tracer.stats()['runs'])\n"
    )
    result = run_python('import runpy, sys; sys.path.insert(0, "."); runpy.run_path("main.py", run_name="__main__")')
    total, parents = map(int, result.stdout.split())
    assert total == 39_800, result.stderr
    problems: list[object] = []
    runs = load_runs(tmp_path / "t.jsonl", on_problem=problems.append)
    assert problems == []
    assert sorted(run.user_input for run in runs if run.user_input >= 0) == list(range(200))
    assert len(runs) == 200 + parents
    assert len({run.trace_id for run in runs}) == len(runs)


@pytest.mark.slow
def test_gunicorn_with_preload(tmp_path: Path) -> None:
    """Workers that gunicorn forks from an application that has traced, and traces in a thread, keep every run once."""
    pytest.importorskip("gunicorn")
    (tmp_path / "app.py").write_text(
        "import threading\n"
        "from otel_agent_trace import *\n"
        'tracer = AgentTracer(backend=[FileBackend("t.jsonl"), InMemoryBackend(max_runs=5)])\n'
        "@tracer.agent\n"
        "def answer(q: str) -> str:\n"
        "    return q.upper()\n"
        'answer("preload")\n'
        "def work():\n"
        "    while not stop.wait(0.001): answer('thread')\n"
        "stop = threading.Event()\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "def app(environ, start_response):\n"
        '    start_response("200 OK", [])\n'
        '    return [answer(environ["QUERY_STRING"]).encode()]\n'
    )
    command = [sys.executable, "-m", "gunicorn", "--preload", "-w", "3", "--max-requests", "5", "-b", "127.0.0.1:0"]
    command += ["--worker-tmp-dir", str(tmp_path), "--no-control-socket", "app:app"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            listening = next(line for line in server.stderr if "Listening at" in line)
            address = listening.split()[listening.split().index("at:") + 1]
            with httpx.Client(transport=httpx.HTTPTransport(retries=3), timeout=DEADLOCK_S) as client:
                for number in range(30):
                    answer = client.get(address, params={f"q{number}": ""}, headers={"Connection": "close"})
                    assert answer.text == f"Q{number}="
            server.terminate()
            server.stderr.read()
            assert server.wait(DEADLOCK_S) == 0
        finally:
            server.kill()
    runs = load_runs(tmp_path / "t.jsonl")
    asked = [run.user_input for run in runs if run.user_input not in ("thread", "preload")]
    assert sorted(asked) == sorted(f"q{number}=" for number in range(30))
    assert [run.user_input for run in runs].count("preload") == 1
    assert len({run.trace_id for run in runs}) == len(runs)
