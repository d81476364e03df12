"""Ways in which a process ends: whatever had ended before is in the file, once; and handlers of signals may trace."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, load_runs
from tests.support.processes import RunPython
from tests.support.requirements import needs_fork

BEFORE = """
import asyncio, os, signal, sys, threading, time
from otel_agent_trace import *
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup
tracer = AgentTracer(backend=[FileBackend("t.jsonl"), InMemoryBackend()])
for i in range(10):
    with tracer.run(run_id=str(i), user_id="u") as run, run.step("s"):
        pass

def trace_for_ever():
    while True:
        with tracer.run(user_id="thread"):
            pass

async def agent(end):
    async with tracer.run(run_id="open") as run:
        with run.step("done"):
            pass
        end()
        await asyncio.sleep(0)
"""
IN_A_RUN = """
with tracer.run(run_id="open") as run:
    with run.step("done"):
        pass
    {end}
"""
IN_ASYNCIO = "asyncio.run(agent(lambda: {end}))"

NORMAL, BY_ERROR, CUT = "success", "error", "running"
ENDS: dict[str, tuple[str, int, str]] = {
    "the last line": ("pass", 0, NORMAL),
    "sys.exit": ("sys.exit(3)", 3, BY_ERROR),
    "an exception": ("1 / 0", 1, BY_ERROR),
    "SIGINT": ("signal.raise_signal(signal.SIGINT)", -signal.SIGINT, BY_ERROR),
    "SIGTERM": ("signal.raise_signal(signal.SIGTERM)", -signal.SIGTERM, CUT),
    "SIGHUP": ("signal.raise_signal(signal.SIGHUP)", -signal.SIGHUP, CUT),
    "SIGKILL": ("signal.raise_signal(signal.SIGKILL)", -signal.SIGKILL, CUT),
    "abort": ("os.abort()", -signal.SIGABRT, CUT),
    "os._exit": ("os._exit(4)", 4, CUT),
    "execv": ("os.execv(sys.executable, [sys.executable, '-c', 'raise SystemExit(5)'])", 5, CUT),
}


def the_open_run(path: Path) -> AgentRun:
    """The run in which the process ended, after a look at all that had ended before."""
    spans = [span for line in path.read_text().splitlines() for span in _spans(json.loads(line))]
    ids = [span["spanId"] for span in spans]
    assert len(ids) == len(set(ids))
    problems: list[object] = []
    runs = {run.run_id: run for run in load_runs(path, on_problem=problems.append)}
    assert problems == []
    open_run = runs.pop("open")
    whole = [run for run in runs.values() if run.user_id is not None]
    assert set(map(str, range(10))) <= {run.run_id for run in whole}
    assert all(len(runs[str(number)].steps) == 1 for number in range(10))
    assert {run.status.value for run in whole if run.interrupted is not True} == {"success"}
    return open_run


def _spans(line: Any) -> list[Any]:
    return [span for resource in line["resourceSpans"] for scope in resource["scopeSpans"] for span in scope["spans"]]


@pytest.mark.parametrize("around", [IN_A_RUN, IN_ASYNCIO], ids=["plain", "asyncio"])
@pytest.mark.parametrize("name", ENDS)
def test_ends_of_a_process(run_python: RunPython, tmp_path: Path, name: str, around: str) -> None:
    """A run in which the process ends has the step that had ended; it ends itself where Python unwinds."""
    end, code, status = ENDS[name]
    if around is IN_ASYNCIO:
        end = "(_ for _ in ()).throw(ZeroDivisionError)" if name == "an exception" else end.replace("pass", "None")
    result = run_python(BEFORE + around.format(end=end))
    assert result.returncode == code, result.stderr
    run = the_open_run(tmp_path / "t.jsonl")
    assert (run.status.value, [step.name for step in run.steps]) == (status, ["done"])


@pytest.mark.parametrize("name", ["the last line", "sys.exit", "SIGTERM", "os._exit"])
def test_with_a_daemon_thread_that_traces(run_python: RunPython, tmp_path: Path, name: str) -> None:
    """A thread that still traces neither keeps the process from ending nor costs it a span."""
    end, code, status = ENDS[name]
    start = "threading.Thread(target=trace_for_ever, daemon=True).start()\n"
    result = run_python(BEFORE + start + IN_A_RUN.format(end=end))
    assert (result.returncode, result.stderr) == (code, "")
    data = (tmp_path / "t.jsonl").read_bytes()
    if not data.endswith(b"\n"):  # cut in the midst of a write of the thread's
        (tmp_path / "t.jsonl").write_bytes(data[: data.rindex(b"\n") + 1])
    assert the_open_run(tmp_path / "t.jsonl").status.value == status


@needs_fork
@pytest.mark.parametrize("name", ENDS)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_ends_of_a_forked_child(run_python: RunPython, tmp_path: Path, name: str) -> None:
    """A child that is forked after ten runs has them not, and its own once, however it ends."""
    end, code, status = ENDS[name]
    fork = """
child = os.fork()
if child:
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    sys.exit()
"""
    result = run_python(BEFORE + fork + IN_A_RUN.format(end=end))
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == code
    run = the_open_run(tmp_path / "t.jsonl")
    assert (run.status.value, [step.name for step in run.steps]) == (status, ["done"])


FLUSHING = """
import faulthandler, os, signal, sys, threading, time
from otel_agent_trace import *

class Slow:
    flushes = 0
    def start_run(self, run): pass
    def log_step(self, run_id, step): pass
    def end_run(self, run): pass
    def flush(self, timeout_s):
        Slow.flushes += 1
        if Slow.flushes == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            handled.wait()
        return True

handled = threading.Event()
tracer = AgentTracer(backend=[FileBackend("t.jsonl"), Slow()])
with tracer.run(run_id="open"):
    pass
"""


def test_sigterm_in_the_midst_of_a_flush(run_python: RunPython, tmp_path: Path) -> None:
    """A handler that traces, flushes and exits, as many do, is not kept waiting by the flush that it interrupts."""
    result = run_python(
        FLUSHING
        + """
def on_term(*_):
    with tracer.run(run_id="in the handler"):
        pass
    print(tracer.flush(600), Slow.flushes)
    handled.set()
    sys.exit(7)

signal.signal(signal.SIGTERM, on_term)
tracer.flush(600)
print("not reached")
"""
    )
    assert (result.returncode, result.stdout) == (7, "True 2\n"), result.stderr
    assert [run.run_id for run in load_runs(tmp_path / "t.jsonl")] == ["open", "in the handler"]


HANGING = """
        import os, signal, socket, threading, time
        from otel_agent_trace import *
        class Hanging:
            def start_run(self, run): threading.Event().wait()
            def log_step(self, run_id, step): pass
            def end_run(self, run): pass
            def flush(self, timeout_s): return threading.Event().wait(timeout_s)
        silent = socket.create_server(("127.0.0.1", 0))
        sending = configure(otlp=f"http://127.0.0.1:{silent.getsockname()[1]}")
        sending.get_tracer("t").start_span("s").end()
        background = BackgroundBackend(Hanging())
        """
FLUSHES = {
    "a tracer": "AgentTracer(backend=Hanging()).flush(600)",
    "in the background": "background.start_run(None), background.flush(600)",
    "over OTLP": "sending.force_flush(600_000)",
}


@pytest.mark.parametrize("flush", FLUSHES)
def test_a_signal_that_another_thread_receives(run_python: RunPython, flush: str) -> None:
    """Its handler runs in the main thread soon, and not only when a flush there has waited in vain."""
    result = run_python(
        f"""{HANGING}
        def receive():
            while True:
                signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

        signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))
        threading.Timer(0.2, receive).start()
        {FLUSHES[flush]}
        """
    )
    assert result.returncode == 7, result.stderr


@pytest.mark.parametrize("flush", [text.replace("600", "0.05").replace("0.05_000", "50") for text in FLUSHES.values()])
def test_a_handler_that_runs_until_after_the_time_of_a_flush(run_python: RunPython, flush: str) -> None:
    """The flush is over then."""
    result = run_python(
        f"""{HANGING}
        signal.signal(signal.SIGUSR1, lambda *_: time.sleep(0.3))
        for _ in range(3):
            threading.Timer(0.02, os.kill, [os.getpid(), signal.SIGUSR1]).start()
            {flush}
        os._exit(7)
        """
    )
    assert result.returncode == 7, result.stderr


def test_a_flush_from_a_handler_that_interrupts_the_start_of_a_thread(run_python: RunPython) -> None:
    """What guards the threads that are starting is held meanwhile, as in the middle of `threading.Thread.start`."""
    result = run_python(
        """
        import signal, threading
        from otel_agent_trace import *
        tracer = AgentTracer(backend=InMemoryBackend())
        signal.signal(signal.SIGUSR1, lambda *_: print(tracer.flush(600)))
        with threading._active_limbo_lock:
            signal.raise_signal(signal.SIGUSR1)
        """
    )
    assert (result.returncode, result.stdout) == (0, "True\n"), result.stderr


def test_a_flush_at_exit(run_python: RunPython) -> None:
    """When threads cannot be started any more, a flush says so, and raises nothing."""
    result = run_python(
        """
        import atexit, threading
        from otel_agent_trace import *
        tracer = AgentTracer(backend=InMemoryBackend())
        atexit.register(lambda: print(tracer.flush(5) in (True, False)))
        """
    )
    assert (result.returncode, result.stdout) == (0, "True\n"), result.stderr


STORM = """
import faulthandler, os, signal, sys, threading, time
from otel_agent_trace import *

class Own:
    def start_run(self, run): pass
    def log_step(self, run_id, step): pass
    def end_run(self, run): pass

memory = InMemoryBackend(max_runs=20)
tracer = AgentTracer(backend=[FileBackend("t.jsonl"), memory, Own()])
emitted = {"main": 0, "handler": 0}
busy = False

@tracer.tool
def tool(q):
    return q

def handler(*_):
    global busy
    if busy:
        return  # else a slow machine does nothing but handle signals
    busy = True
    tool("in the handler")
    with tracer.run(run_id=f"handler {emitted['handler']}", metadata={1: "x"}) as run, run.step("s"):
        pass
    current_run().metadata["touched"] = 1
    tracer.stats()
    emitted["handler"] += 3
    if emitted["handler"] % 30 == 0:
        assert tracer.flush(600)
    busy = False

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
while min(emitted.values()) < 150:
    with tracer.run(run_id=f"main {emitted['main']}", user_input="a" * 500) as run:
        with run.step("s", {"q": {1, 2}}) as step:
            step.output = 2
        run.agent_name = "renamed"
        tool("main")
    emitted["main"] += 3
    if emitted["main"] % 30 == 0:
        assert tracer.flush(600)
        memory.runs()
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
signal.setitimer(signal.ITIMER_REAL, 0)
print(emitted["main"], emitted["handler"])
assert not any(reason.split(": ")[-1].startswith(("failed", "lost")) for reason in tracer.stats()), tracer.stats()
"""


def test_tracing_in_a_handler_that_interrupts_tracing(run_python: RunPython, tmp_path: Path) -> None:
    """Signals by the hundred, whose handler traces, at any point of what it interrupts: no hang, no span lost or torn."""
    result = run_python(STORM)
    assert result.returncode == 0, result.stderr
    main, handler = map(int, result.stdout.split())
    lines = (tmp_path / "t.jsonl").read_bytes().splitlines()
    spans = [span for line in lines for span in _spans(json.loads(line))]
    assert len(spans) == len({span["spanId"] for span in spans}) == main + handler
