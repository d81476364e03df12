"""``otel-agent-trace run`` stands for the program: its streams, its signals, its exit code, whatever ends it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

from otel_agent_trace import load_runs
from tests.support.own_receiver import stored_spans
from tests.support.run_command import COMMAND, Place
from tests.support.waiting import DEADLOCK_S, wait_until

SPAN = """
from opentelemetry import trace
tracer = trace.get_tracer("app")
with tracer.start_as_current_span("outer"):
    tracer.start_span("inner").end()
"""
ENDS = {
    "": 0,
    "raise SystemExit(7)": 7,
    "raise ValueError": 1,
    "import os; os._exit(9)": 9,
    "import os; os.kill(os.getpid(), 9)": 137,
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)": 143,
    "import os, signal; os.kill(os.getpid(), signal.SIGABRT)": 134,
    "import os; os.execv('/bin/sh', ['sh', '-c', 'exit 5'])": 5,
}


@pytest.mark.parametrize("end", ENDS)
def test_spans_that_ended_are_in_the_file_and_the_exit_code_is_passed_on(place: Place, end: str) -> None:
    done = place.run_code(f"{SPAN}\n{end}")
    assert done.code == ENDS[end], done.err
    assert done.out == ""
    assert [span.name for span in stored_spans(place.file)] == ["inner", "outer"]


def test_a_run_that_is_killed_is_read_as_interrupted(place: Place) -> None:
    done = place.run_code(
        """
        import os
        from otel_agent_trace import AgentTracer
        tracer = AgentTracer()
        @tracer.agent
        def support(question):
            os.kill(os.getpid(), 9)
        support("where?")
        """
    )
    assert done.code == 137
    [run] = load_runs(place.file)
    assert (run.agent_name, run.interrupted) == ("support", True)


def test_an_interrupt_before_the_program_begins_is_one(place: Place) -> None:
    place.instrumentation("slow", begins="import signal; signal.raise_signal(signal.SIGINT)")
    done = place.run_code("print('begins')")
    assert (done.code, done.out) == (130, "")
    assert "Fatal" not in done.err


def test_a_program_without_spans_leaves_no_file_and_is_named(place: Place) -> None:
    done = place.run_code("pass")
    assert (done.code, place.file.exists()) == (0, False)
    assert "nothing was recorded" in done.err


@pytest.mark.parametrize(("words", "code"), [(["no-such-program"], 127), (["/no/such/program"], 127), (["."], 126)])
def test_what_cannot_be_started(place: Place, words: list[str], code: int) -> None:
    done = place.run("--", *words)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert words[0] in done.err


@pytest.mark.parametrize(("name", "code"), [("./app.py", 126), ("app.py", 127)])
def test_a_file_of_python_without_python_is_named_as_what_was_meant(place: Place, name: str, code: int) -> None:
    (place.folder / "app.py").write_text("print()")
    done = place.run(name, "--verbose")
    assert done.code == code
    assert f"did you mean: otel-agent-trace run -- python {name} --verbose\n" in done.err


def test_a_program_may_end_with_the_code_of_one_that_is_missing(place: Place) -> None:
    assert place.run("sh", "-c", "exit 127").code == 127
    assert place.run("sh", "-c", "exit 126").code == 126


def test_wrong_usage_is_2(place: Place) -> None:
    assert place.run().code == 2
    assert place.run("--unknown", "true").code == 2
    (place.folder / "t.jsonl").mkdir()
    done = place.run("true")
    assert (done.code, "not a regular file" in done.err) == (2, True)


def test_options_after_the_program_are_its_own(place: Place) -> None:
    show = "import sys; print(sys.argv[1:])"
    for words in (["--", sys.executable], [sys.executable]):
        assert place.run(*words, "-c", show, "--view", "--file", "x", "--").out == "['--view', '--file', 'x', '--']\n"


def test_streams_are_those_of_the_command(place: Place) -> None:
    copy = "import sys; sys.stdout.write(sys.stdin.read().upper()); print('problem', file=sys.stderr)"
    done = place.run(sys.executable, "-c", copy, given="text\n")
    assert done.out == "TEXT\n"
    assert "problem\n" in done.err


def test_the_file_is_that_of_the_environment_else_the_usual_one(tmp_path: Path, place: Place) -> None:
    for variables, name in (
        (place.variables(), "traces.jsonl"),
        (place.variables(OTEL_AGENT_TRACE_FILE="a.jsonl"), "a.jsonl"),
    ):
        command = [*COMMAND, sys.executable, "-c", SPAN]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True)
        assert f"recording into {tmp_path / name}" in done.stderr
        assert len(stored_spans(tmp_path / name)) == 2


@pytest.mark.skipif(find_spec("otel_agent_trace.viewer") is None, reason="there is no page yet")
def test_the_page_shows_the_run_while_it_runs_and_its_address_is_on_standard_error(place: Place) -> None:
    code = """
        import pathlib, sys, urllib.request
        from otel_agent_trace import AgentTracer
        tracer = AgentTracer()
        @tracer.agent
        def support(question):
            return "there"
        support("where?")
        address = sys.stdin.readline().split()[-1]
        while b"support" not in urllib.request.urlopen(address + "api/runs").read():
            pass
        print("seen")
        """
    with place.start("--view", sys.executable, "-c", textwrap.dedent(code), stdin=subprocess.PIPE) as process:
        assert process.stderr is not None
        address = process.stderr.readline()
        assert address.startswith("view: http://127.0.0.1:")
        out, _ = process.communicate(address, timeout=DEADLOCK_S)
    assert (process.returncode, out) == (0, "seen\n")


# ── signals ──────────────────────────────────────────────────────────────────────────────────────────────────────────

WAITS = """
import signal, sys
def end(number, frame):
    print("got", signal.Signals(number).name, flush=True)
    sys.exit(40)
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT"):
    signal.signal(getattr(signal, name), end)
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT"])
def test_signals_are_passed_on(place: Place, name: str) -> None:
    with place.start(sys.executable, "-c", WAITS) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(getattr(signal, name))
        out, _ = process.communicate(timeout=DEADLOCK_S)
    assert (process.returncode, out) == (40, f"got {name}\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_that_the_program_does_not_handle_ends_it(place: Place, name: str) -> None:
    """The exit code is that of a shell for a program that the signal has killed."""
    with place.start("sh", "-c", "echo ready; exec sleep 600") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(getattr(signal, name))
        process.communicate(timeout=DEADLOCK_S)
    assert process.returncode == 128 + getattr(signal, name)


def test_ctrl_c_of_a_terminal_reaches_the_program_once_and_it_has_the_terminal(place: Place) -> None:
    code = """
import os, signal, sys, time
print(*(os.isatty(number) for number in (0, 1, 2)), flush=True)
count = 0
def note(number, frame):
    global count
    count += 1
signal.signal(signal.SIGINT, note)
print("ready", flush=True)
while not count:
    signal.pause()
deadline = time.monotonic() + 2  # a second one would come after one second
while time.monotonic() < deadline:
    time.sleep(0.05)
print("interrupts:", count, flush=True)
"""
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(place.folder)
        os.execve(COMMAND[0], [*COMMAND, sys.executable, "-c", code], place.variables())
    shown = bytearray()

    def reads(text: bytes) -> bool:
        if select.select([terminal], [], [], 0)[0]:
            shown.extend(os.read(terminal, 1000))
        return text in shown

    wait_until(lambda: reads(b"ready"), "it runs", shown.decode)
    os.write(terminal, b"\x03")
    wait_until(lambda: reads(b"interrupts: 1\r\n"), "it counts", shown.decode)
    assert b"True True True" in shown
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
