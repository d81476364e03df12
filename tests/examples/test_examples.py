"""Every example runs as its docstring says, and says what it promises."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import otel_agent_trace
from otel_agent_trace import AgentRun, AgentTracer, FileBackend, RunStatus, load_runs
from otel_agent_trace.demo import QUESTIONS
from tests.support.requirements import need_package

EXAMPLES = sorted((Path(otel_agent_trace.__file__).parents[1] / "examples").glob("*.py"))
Run = Callable[..., subprocess.CompletedProcess[str]]


def output_of(done: subprocess.CompletedProcess[str]) -> str:
    """What a successful example printed; it must not complain."""
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def spans_of(request: bytes) -> list[Any]:
    """The spans of an OTLP request."""
    message = ExportTraceServiceRequest.FromString(request)
    return [span for resource in message.resource_spans for scope in resource.scope_spans for span in scope.spans]


@pytest.fixture
def traces(run_example: Run, tmp_path: Path) -> Path:
    """The traces of the demo's questions."""
    output_of(run_example("instrumented_agent.py"))
    return tmp_path / "traces.jsonl"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_is_short_and_says_how_to_run_it(example: Path) -> None:
    """An example has 80 lines at most, and a docstring that names its command."""
    text = example.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    assert f"python examples/{example.name}" in text.split('"""')[1]


def test_instrumented_agent_writes_traces(traces: Path) -> None:
    """Each question becomes a run with its tool calls, failures included."""
    runs = load_runs(traces)
    assert [run.user_input for run in runs] == list(QUESTIONS)
    assert {run.agent_name for run in runs} == {"librarian"}
    assert [run.status for run in runs] == [RunStatus.SUCCESS] * 5 + [RunStatus.ERROR]
    tide = runs[3]
    assert [step.name for step in tide.tool_steps] == ["read", "search", "read"]
    assert tide.steps[0].error is not None
    assert tide.steps[0].error.type == "FileNotFoundError"
    assert "40 minutes" in tide.final_output


def test_instrumented_agent_takes_a_question(run_example: Run, tmp_path: Path) -> None:
    """A question of one's own is answered, and traced where one says."""
    printed = output_of(run_example("instrumented_agent.py", "What is 6 * 7?", "--file", "mine.jsonl"))
    assert "6 * 7 = 42" in printed
    (run,) = load_runs(tmp_path / "mine.jsonl")
    assert run.final_output == "6 * 7 = 42"
    assert [(step.tool_name, step.tool_input, step.tool_output) for step in run.steps] == [
        ("calculator", {"expression": "6 * 7"}, 42)
    ]


def test_instrumented_agent_sends_traces(run_example: Run, tmp_path: Path, collector: Any) -> None:
    """With an endpoint, the same spans go there in OTLP, before the example ends."""
    output_of(run_example("instrumented_agent.py", "What is 6 * 7?", "--otlp", collector.endpoint))
    names = [span.name for request in collector.requests for span in spans_of(request)]
    assert sorted(names) == ["execute_tool calculator", "invoke_agent librarian"]
    assert len(load_runs(tmp_path / "traces.jsonl")) == 1


def test_instrumented_agent_refuses_bad_endpoint(run_example: Run) -> None:
    """An endpoint that is none is one message, and exit status 2."""
    done = run_example("instrumented_agent.py", "--otlp", "somewhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "somewhere" in done.stderr


def test_replay_walks_last_run(run_example: Run, traces: Path) -> None:
    """Without an id, the last run is walked through, with what went in and came out."""
    printed = output_of(run_example("replay.py", str(traces)))
    assert repr(QUESTIONS[-1]) in printed
    assert "0. tool 'calculator'" in printed
    assert "in:  {'expression': '84 / (7 - 7)'}" in printed
    assert "ZeroDivisionError: division by zero" in printed


def test_replay_takes_beginning_of_id(run_example: Run, traces: Path) -> None:
    """The beginning of an id is enough; dry, only the steps are named."""
    run = load_runs(traces)[0]
    printed = output_of(run_example("replay.py", str(traces), run.run_id[:12], "--dry-run"))
    assert printed.startswith(run.run_id)
    assert "0. tool 'search'" in printed
    assert "in:" not in printed


def test_replay_lists_runs(run_example: Run, traces: Path) -> None:
    """The list has a line for each run, the newest first."""
    lines = output_of(run_example("replay.py", str(traces), "--list")).splitlines()
    assert [line.split()[0] for line in lines] == [run.run_id for run in reversed(load_runs(traces))]
    assert lines[0].split()[1] == "error"


@pytest.mark.parametrize(
    "command", [["replay.py"], ["replay.py", "--list"], ["rerun.py"], ["metrics.py"]], ids=" ".join
)
@pytest.mark.parametrize("content", [None, b"", b"not a trace\n", b"\x00\xff\x1b[31m\n"])
def test_bad_file_is_one_message(run_example: Run, tmp_path: Path, command: list[str], content: bytes | None) -> None:
    """A file that is missing, empty or no trace is one line on stderr, and exit status 2."""
    file = tmp_path / "bad.jsonl"
    if content is not None:
        file.write_bytes(content)
    done = run_example(*command, str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert "bad.jsonl" in done.stderr
    assert "\x1b" not in done.stderr


def test_replay_of_unknown_run(run_example: Run, traces: Path) -> None:
    """An id that no run has is said to be none."""
    done = run_example("replay.py", str(traces), "nonesuch")
    assert done.returncode == 2
    assert "nonesuch" in done.stderr
    assert len(done.stderr.splitlines()) == 1


RERUN = """\
patched: step 1, calculator, which raised 'ZeroDivisionError: division by zero', returns 12
answered from the recording: calculator; live: nothing
run: status: 'error' -> 'success'
run: final_output: None -> '84 / (7 - 7) = 12'
"""


def test_rerun_shows_what_a_patch_changes(run_example: Run, traces: Path) -> None:
    """The failed run of a file is run again: its tool is answered, the agent gets further, and the file stays as it is."""
    before = traces.read_bytes()
    printed = output_of(run_example("rerun.py", str(traces)))
    assert printed.startswith(RERUN)
    assert "step 1 calculator: error: 'ZeroDivisionError: division by zero' -> None" in printed
    assert traces.read_bytes() == before


def test_rerun_fails_by_itself_first(run_example: Run, tmp_path: Path) -> None:
    """Without a file, the agent is asked what it cannot answer, and nothing is written."""
    failure, _, rest = output_of(run_example("rerun.py")).partition("\n")
    assert failure.endswith("division by zero")
    assert rest.startswith(RERUN)
    assert list(tmp_path.iterdir()) == []


def test_rerun_of_a_file_without_failures(run_example: Run) -> None:
    """There must be a failed tool to patch."""
    run_example("instrumented_agent.py", "What is 6 * 7?")
    done = run_example("rerun.py", "traces.jsonl")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: no failed run with a failed tool in traces.jsonl\n"


def test_metrics_are_those_of_the_runs(run_example: Run, traces: Path) -> None:
    """The figures are those of the demo's six questions."""
    printed = output_of(run_example("metrics.py", str(traces)))
    assert "runs: 6 (5 succeeded, 1 failed, 0 timed out)" in printed
    assert "success rate: 83.3%" in printed
    assert "tool 'calculator': 3 calls, 1 failed, median " in printed
    assert "failed runs by category: 1 'internal'" in printed
    assert "failed steps by category: 2 'internal'" in printed
    assert "error, 1 times: 'ZeroDivisionError: division by zero'" in printed


def test_metrics_by_the_hour(run_example: Run, traces: Path) -> None:
    """With --time-series the hours follow."""
    plain = output_of(run_example("metrics.py", str(traces)))
    printed = output_of(run_example("metrics.py", str(traces), "--time-series"))
    hours = printed.splitlines()[len(plain.splitlines()) :]
    assert sum(int(line.split()[2]) for line in hours) == 6  # the hour may have struck while the questions were asked


@pytest.fixture
def errors_as_texts(tmp_path: Path) -> tuple[Path, str]:
    """A file with one run, which failed with a text as one of its steps did, and the run's id."""
    file = tmp_path / "texts.jsonl"
    with AgentTracer(backend=FileBackend(file)) as tracer:
        run_id = tracer.start_run({"user_input": "Will it rain?"})
        tracer.log_step(run_id, {"tool_name": "forecast", "tool_input": {"city": "Brest"}, "error": "no such city"})
        tracer.log_error(run_id, str(ConnectionError("the service did not answer")))
    return file, run_id


@pytest.mark.parametrize("with_run_id", [True, False])
def test_replay_shows_errors_given_as_texts(
    run_example: Run, errors_as_texts: tuple[Path, str], with_run_id: bool
) -> None:
    """An error without a class is its text, at the step and at the end."""
    file, run_id = errors_as_texts
    printed = output_of(run_example("replay.py", str(file), *([run_id] if with_run_id else [])))
    assert "   error: 'no such city'\n" in printed
    assert printed.endswith("failed: 'the service did not answer'\n")


@pytest.mark.parametrize("options", [["--dry-run"], ["--list"], ["--list", "--dry-run"]], ids=" ".join)
def test_replay_takes_its_options_in_any_place(
    run_example: Run, errors_as_texts: tuple[Path, str], options: list[str]
) -> None:
    file, run_id = map(str, errors_as_texts)
    first = output_of(run_example("replay.py", *options, file, run_id))
    assert first == output_of(run_example("replay.py", file, run_id, *options))
    assert first.startswith(run_id)
    assert "_OTHER" not in first


@pytest.mark.parametrize("options", [[], ["--time-series"]], ids=" ".join)
def test_metrics_show_errors_given_as_texts(
    run_example: Run, errors_as_texts: tuple[Path, str], options: list[str]
) -> None:
    """An error without a class counts in the category other, by its text."""
    printed = output_of(run_example("metrics.py", str(errors_as_texts[0]), *options))
    assert "failed runs by category: 1 'other'\n" in printed
    assert "failed steps by category: 1 'other'\n" in printed
    assert "error, 1 times: 'no such city'\n" in printed
    assert "error, 1 times: 'the service did not answer'\n" in printed
    assert len(printed.splitlines()) == 9 + len(options)


def test_error_handling_reads_back(run_example: Run) -> None:
    """A failing tool is no failing run; a timeout and a bug are, each of its category."""
    printed = output_of(run_example("error_handling.py"))
    assert "goes_on: success, no error" in printed
    assert "tool flaky_search: [network] ConnectionError: the index did not answer to 'How many moons?'" in printed
    assert "runs_out_of_time: timeout, [timeout] TimeoutError: no answer to 'How many moons?' within 10 ms" in printed
    assert "has_a_bug: error, " in printed
    assert "the caller of has_a_bug sees KeyError('anwser')" in printed
    assert "logs_its_error: error, [network] ConnectionError" in printed
    assert "tool ask_index: [network] ConnectionError" in printed


def test_custom_backend_keeps_runs(run_example: Run, tmp_path: Path) -> None:
    """Runs stand in the database, once each, and come back as they were."""
    printed = output_of(run_example("custom_backend.py", "own.db"))
    assert "{'error': 1, 'success': 5}" in printed
    with closing(sqlite3.connect(tmp_path / "own.db")) as database:
        rows = database.execute("SELECT data FROM runs ORDER BY started_at_ns").fetchall()
    runs = [AgentRun.from_dict(json.loads(data)) for (data,) in rows]
    assert [run.user_input for run in runs] == list(QUESTIONS)
    assert [len(run.steps) for run in runs] == [2, 3, 1, 3, 2, 1]


def test_custom_backend_is_read_replayed_and_measured(run_example: Run) -> None:
    """The readers of the library filter, order and walk what the database holds, and count it."""
    printed = output_of(run_example("custom_backend.py", "own.db")).splitlines()
    assert [line for line in printed if line.startswith("a tool failed: ")] == [
        f"a tool failed: {QUESTIONS[3]}",
        f"a tool failed: {QUESTIONS[5]}",
    ]
    assert printed[-2:] == ["0. tool calculator: ZeroDivisionError: division by zero", "6 runs, 83% succeeded"]


def test_async_agent_is_one_trace(run_example: Run, tmp_path: Path) -> None:
    """Tools at the same time, a streaming tool and a sub-agent stand in one run."""
    printed = output_of(run_example("async_agent.py"))
    (run,) = load_runs(tmp_path / "traces.jsonl")
    assert run.agent_name == "night-assistant"
    assert [str(step.kind) for step in run.steps] == ["tool", "tool", "tool", "agent"]
    inner = run.steps[-1].run
    assert inner is not None
    assert [step.name for step in inner.steps] == ["read_lines"] * 3
    assert isinstance(inner.steps[0].output, list)
    assert run.final_output == inner.final_output
    assert "    tool read_lines" in printed


def test_distributed_agent_is_one_trace(run_example: Run, tmp_path: Path) -> None:
    """The tool's process writes a file of its own; both files together are one run, with the tool as a step of it."""
    printed = output_of(run_example("distributed_agent.py"))
    tool, agent = tmp_path / "distributed" / "tool.jsonl", tmp_path / "distributed" / "agent.jsonl"
    (alone,) = load_runs(tool)
    assert [step.name for step in alone.steps] == ["search"]
    (run,) = load_runs([tool, agent])
    assert [(step.name, step.parent_step_id) for step in run.steps] == [("search", None), ("read", None)]
    assert run.steps[0].input == {"query": run.user_input}
    assert alone.trace_id == run.trace_id
    assert printed.startswith(f"run {run.run_id[:8]}, from agent.jsonl and tool.jsonl:\n\nlibrarian  success")
    assert printed.index("tool search") < printed.index("tool read")


def test_the_instrumented_agent_asks_a_model_where_the_environment_names_one(
    model: Any, run_example: Run, tmp_path: Path
) -> None:
    """With OPENAI_BASE_URL set, the example's loop is the model's, and its calls are steps of the run."""
    model.will_call("calculator", {"expression": "6 * 7"})
    model.will_say("It is 42.")
    assert "It is 42." in run_example("instrumented_agent.py", "What is six times seven?").stdout
    (run,) = load_runs(tmp_path / "traces.jsonl")
    assert [step.kind.value for step in run.steps] == ["model", "tool", "model"]
    assert run.final_output == "It is 42."


@pytest.mark.slow
@pytest.mark.frameworks
@pytest.mark.skipif(sys.version_info < (3, 11), reason="pydantic-ai needs Python 3.11")
def test_an_agent_of_pydantic_ai_is_read_back(run_example: Run, tmp_path: Path) -> None:
    """The framework's spans and our tool's are one run, with the tool in it once."""
    need_package("pydantic-ai-slim", "frameworks")
    printed = output_of(run_example("pydantic_ai_agent.py"))
    assert printed.startswith("librarian (pydantic_ai + genai): success\n")
    assert "answered 'It stands in observatory-handbook.md.'" in printed
    (run,) = load_runs(tmp_path / "traces.jsonl")
    assert [step.kind.value for step in run.steps] == ["model", "tool", "model"]
    (step,) = run.tool_steps
    assert (step.tool_name, step.tool_input) == ("search", {"query": "mirror fans"})
    assert step.tool_output[0]["file"] == "observatory-handbook.md"
