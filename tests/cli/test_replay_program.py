"""The command replay runs real programs: their calls are answered, and the exit code says what came of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, load_runs
from otel_agent_trace.cli import main
from tests.support.export_command import Result
from tests.support.processes import ROOT
from tests.support.waiting import DEADLOCK_S

pytestmark = pytest.mark.slow  # a program for each replay

AGENT = """
import os, sys
from pathlib import Path
from otel_agent_trace import AgentTracer, FileBackend

tracer = AgentTracer(backend=FileBackend("traces.jsonl"))


def note(name):
    with open("made.txt", "a") as made:
        made.write(name + "\\n")


@tracer.tool
def search(query, limit=5):
    note("search")
    return f"found {query}"


@tracer.tool(side_effects=True)
def send(text):
    note("send")
    return len(text)


@tracer.agent
def bot(question):
    found = search(os.environ.get("QUERY", question), int(os.environ.get("LIMIT", "5")))
    return send(found)


try:
    print("answer", bot(sys.argv[1]))
    print("talk", file=sys.stderr)
except BaseException:
    if "SWALLOW" not in os.environ:
        raise
sys.exit(int(os.environ.get("CODE", "0")))
"""


class Stage:
    """A folder with an agent, and the command to replay its runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capfd = monkeypatch, capfd
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        Path("agent.py").write_text(AGENT)

    def record(self, *questions: str) -> list[AgentRun]:
        """Run the agent, and read what it has recorded."""
        for question in questions:
            subprocess.run([sys.executable, "agent.py", question], check=True, capture_output=True)
        self.made()
        return load_runs("traces.jsonl")

    def made(self) -> list[str]:
        """Return the calls that were made since the last look."""
        path = Path("made.txt")
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def replay(self, *words: str, **environment: str) -> Result:
        """Run the command; the last words are those of the program, which writes to the same streams."""
        self._capfd.readouterr()
        with self._monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            code = main(["replay", *words])
        return Result(code, *self._capfd.readouterr())

    def agent(self, *words: str, question: str = "rain", **environment: str) -> Result:
        """Replay a run with the agent."""
        return self.replay(*words, "--", sys.executable, "agent.py", question, **environment)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Stage:
    return Stage(monkeypatch, capfd)


def test_program_is_answered_and_its_streams_are_its_own(stage: Stage) -> None:
    """No tool is called, nothing is written to the store; the summary follows on standard error."""
    (run,) = stage.record("rain")
    done = stage.agent()
    assert (done.code, done.out) == (0, "answer 10\n")
    assert done.err == f"talk\nreplay of run {run.run_id}: 2 answered (search, send), 0 live; as recorded\n"
    assert stage.made() == []
    assert len(load_runs("traces.jsonl")) == 1


def test_divergence_is_shown_with_its_difference(stage: Stage) -> None:
    """A program that was ended by the divergence passes its own code on, and the first difference is shown."""
    stage.record("rain")
    done = stage.agent(QUERY="snow")
    summary = done.err.partition("replay of run ")[2]
    assert done.code == 1
    assert "0 answered, 0 live; " in summary
    assert '  tool search {"query":"snow","limit":5} was called, which was not recorded' in summary
    assert '  -  "query": "rain"\n  +  "query": "snow"\n' in summary
    assert stage.made() == []


@pytest.mark.parametrize(("code", "passed"), [("0", 1), ("7", 7)])
def test_code_of_a_program_that_swallows_the_divergence(stage: Stage, code: str, passed: int) -> None:
    """The code is 1 where the program ended with 0 but diverged, else its own."""
    stage.record("rain")
    assert stage.agent(QUERY="snow", SWALLOW="1", CODE=code).code == passed


def test_code_of_a_program_that_does_as_recorded(stage: Stage) -> None:
    """Its code is passed on."""
    stage.record("rain")
    assert stage.agent(CODE="7").code == 7


def test_what_was_never_asked_for_is_a_divergence(stage: Stage) -> None:
    """A program that does nothing at all has diverged."""
    stage.record("rain")
    done = stage.replay("--", sys.executable, "-c", "pass")
    assert done.code == 1
    assert "was recorded, but never asked for" in done.err


def test_options_are_those_of_replay_run(stage: Stage) -> None:
    """Misses, live tools, parameters that are not compared, and the end are as in Python."""
    (run,) = stage.record("rain")
    assert stage.agent("--on-miss", "nearest", QUERY="snow").code == 1
    assert stage.made() == []
    assert stage.agent("--on-miss", "live", QUERY="snow").code == 0
    assert stage.made() == ["search", "send"]
    assert stage.agent("--on-miss", "error", QUERY="snow").code == 1
    assert stage.agent("--ignore", "search=query", "--ignore", "search=limit", QUERY="snow", LIMIT="9").code == 0
    assert stage.made() == []
    done = stage.agent("traces.jsonl", run.run_id[:8], "--live", "send", "--live", "other")
    assert "1 answered (search), 1 live (send); as recorded" in done.err
    assert stage.made() == ["send"]
    assert "0 answered, 2 live (search, send)" in stage.agent("--until", "0").err
    assert "1 answered (search), 1 live (send)" in stage.agent("traces.jsonl#last", "--until", "1").err


def test_program_that_cannot_be_started(stage: Stage) -> None:
    """The exit code is 127, with one line that names the program."""
    stage.record("rain")
    Path("not_executable").write_text("")
    for name in ("no-such-program", "./not_executable"):
        done = stage.replay("--", name, "--live")
        assert (done.code, done.out) == (127, "")
        assert done.err.startswith(f"error: {name} cannot be started: ")
        assert len(done.err.splitlines()) == 1


def test_program_that_a_signal_kills(stage: Stage) -> None:
    """The exit code is 128 and the number of the signal."""
    stage.record("rain")
    done = stage.replay("--", sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert done.code == 128 + signal.SIGKILL
    assert "a signal has ended the program" in done.err


@pytest.mark.skipif(os.name == "nt", reason="POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to_group", [True, False])
def test_signals_go_to_the_program(stage: Stage, number: signal.Signals, to_group: bool) -> None:
    """Ctrl-C of a terminal goes to both; what the command alone receives, it passes on. The program decides how to end."""
    stage.record("rain")
    program = (
        "import signal, sys, time\n"
        "def end(*_): print('cleaned up', flush=True); sys.exit(9)\n"
        "signal.signal(signal.SIGINT, end); signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.05)\n"
    )
    command = [sys.executable, "-m", "otel_agent_trace.cli", "replay", "--", sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (os.killpg if to_group else os.kill)(process.pid, number)
        assert process.stdout.read() == b"cleaned up\n"
        assert process.wait(DEADLOCK_S) == 9


def test_folder_of_the_replay_is_removed(stage: Stage, tmp_path: Path) -> None:
    """Nothing of the replay stays in the folder for temporary files."""
    stage.record("rain")
    (tmp_path / "temporary").mkdir()
    for words in ((), ("--on-miss", "live")):
        stage.agent(*words, TMPDIR=str(tmp_path / "temporary"))
    assert os.listdir(tmp_path / "temporary") == []


# ── many runs ────────────────────────────────────────────────────────────────────────────────────────────────────────


def against(stage: Stage, *words: str, program: str = "agent.py", **environment: str) -> Result:
    return stage.replay("--against", "traces.jsonl", *words, "--", sys.executable, program, "{input}", **environment)


def test_each_run_has_a_line(stage: Stage) -> None:
    """Runs of which the calls are the same are named so; the output of the program disturbs nothing."""
    runs = stage.record("rain", "snow and {braces}", "")
    done = against(stage)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [f"{run.run_id} same" for run in runs]
    assert stage.made() == []


def test_runs_that_diverge_name_the_call(stage: Stage) -> None:
    """One line names the call; the difference and the end of the program's output are on standard error."""
    rain, snow = stage.record("rain", "snow")
    done = against(stage, QUERY="snow", SWALLOW="1")
    first, second = done.out.splitlines()
    assert done.code == 1
    assert first.startswith(f'{rain.run_id} diverged: tool search {{"query":"snow","limit":5}} was called')
    assert second == f"{snow.run_id} same"
    assert '  +  "query": "snow"' in done.err


def test_output_of_the_program_is_bounded(stage: Stage) -> None:
    """Of much output the end is shown, without control characters, and only for runs that diverge."""
    stage.record("rain")
    Path("noisy.py").write_text("print('x' * 100_000 + '\\x1b[31mthe end')")
    done = against(stage, program="noisy.py")
    assert done.code == 1
    assert "the end" in done.err
    assert "\x1b" not in done.err
    assert len(done.err) < 10_000


def test_program_that_fails_where_the_run_succeeded(stage: Stage) -> None:
    """It makes the same calls, and is no success for a gate; a run that failed may fail again."""
    (run,) = stage.record("rain")
    done = against(stage, CODE="7")
    assert (done.code, done.out.split(maxsplit=1)[0]) == (1, run.run_id)
    assert "exit code 7" in done.out


def test_questions_that_are_no_texts_are_json(stage: Stage) -> None:
    """A question is a word of the program as JSON where it is no text."""
    Path("asks.py").write_text(
        "import json, sys\n"
        "from otel_agent_trace import AgentTracer, FileBackend\n"
        "with AgentTracer(backend=FileBackend('traces.jsonl')).run(user_input=json.loads(sys.argv[1])): pass\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "asks.py", '{"city": "Córdoba", "days": [1, 2]}']
    subprocess.run(words, env=environment, check=True)
    done = against(stage, program="asks.py")
    assert (done.code, done.out.split()[1:]) == (0, ["same"])


def test_runs_are_filtered(stage: Stage) -> None:
    """The filters are those of `list`; none at all is exit code 2."""
    rain, _ = stage.record("rain", "snow")
    assert against(stage, "--text", "rain").out.split() == [rain.run_id, "same"]
    none = against(stage, "--agent", "nobody")
    assert (none.code, none.out) == (2, "")
    assert "no runs in traces.jsonl match the filters" in none.err
    Path("empty").mkdir()
    assert stage.replay("--against", "empty", "--", sys.executable, "agent.py").code == 2


def test_json_is_one_line_for_each_run(stage: Stage) -> None:
    """Each line has the run, whether it is the same, and what differs."""
    stage.record("rain", "snow")
    results: list[dict[str, Any]] = list(map(json.loads, against(stage, "--json", QUERY="snow").out.splitlines()))
    assert [(result["same"], result["exit_code"]) for result in results] == [(False, 1), (True, 0)]
    assert results[0]["divergences"][0]["name"] == "search"


def test_against_stops_where_the_program_cannot_be_started(stage: Stage) -> None:
    """A program that is not there is exit code 127, with one message, not one for each run."""
    stage.record("rain", "snow")
    done = stage.replay("--against", "traces.jsonl", "--", "no-such-program")
    assert (done.code, done.out, len(done.err.splitlines())) == (127, "", 1)


# ── usage ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--live", "search"], "--live does not go with a walk"),
        (["--status", "error"], "--status does not go with a walk"),
        (["--plan", "--", "true"], "'-- PROGRAM' does not go with --plan"),
        (["--plan", "--step"], "--step does not go with --plan"),
        (["--plan", "--on-miss", "live"], "--on-miss does not go with --plan"),
        (["--dry-run", "--", "true"], "--dry-run does not go with '-- PROGRAM'"),
        (["--since", "7d", "--", "true"], "--since does not go with '-- PROGRAM'"),
        (["--against", "x"], "--against needs a program"),
        (["traces.jsonl", "--against", "x", "--", "true"], "source does not go with --against"),
        (["--"], "a program must follow '--'"),
        (["--ignore", "search", "--", "true"], "'search' must be like search=limit"),
        (["--on-miss", "skip", "--", "true"], "'skip' is not one of"),
        (["--until", "77", "--", "true"], "until='77': there is no such step"),
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_refused(
    run_command: Callable[..., Any], write_runs: Any, weather_run: AgentRun, words: list[str], text: str
) -> None:
    """A wrong command line is one message, exit code 2, and nothing is executed."""
    write_runs([weather_run])
    result = run_command("replay", *words)
    assert (result.code, result.out) == (2, "")
    assert text in result.err


def test_words_of_the_program_are_not_options(stage: Stage) -> None:
    """What follows `--` is the program's, whatever it looks like, a second `--` included."""
    stage.record("rain")
    done = stage.replay("--", sys.executable, "-c", "import sys; print(sys.argv[1:])", "--plan", "--", "-h")
    assert done.out.strip() == "['--plan', '--', '-h']"
