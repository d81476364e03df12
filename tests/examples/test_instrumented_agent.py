"""`run_agent_with_tracing` is called with functions by name or with a list of descriptions, from a checkout."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import otel_agent_trace
from otel_agent_trace import AgentRun, AgentTracer, ConfigurationError, InMemoryBackend, RunStatus, load_run, load_runs
from otel_agent_trace.demo import QUESTIONS, NoAnswerError, make_tools
from otel_agent_trace.demo.chat import is_configured
from tests.support.waiting import DEADLOCK_S

ROOT = Path(otel_agent_trace.__file__).parents[1]
SEARCH = {"name": "search", "description": "Search the texts."}
Agent = Callable[[str, Any, AgentTracer], str]

PROGRAM = """
import sys

from examples.instrumented_agent import run_agent_with_tracing
from otel_agent_trace import AgentTracer, FileBackend

tools = [{"name": "search", "description": "Search the texts."}]
print(run_agent_with_tracing("At what wind speed does the dome have to be closed?", tools, AgentTracer(backend=FileBackend(sys.argv[1]))))
"""


@pytest.fixture
def run_agent_with_tracing() -> Agent:
    agent: Agent = runpy.run_path(str(ROOT / "examples" / "instrumented_agent.py"))["run_agent_with_tracing"]
    return agent


def answer_and_run(agent: Agent, question: str, tools: Any) -> tuple[str, AgentRun]:
    """The answer, and the run as it is read back."""
    backend = InMemoryBackend()
    answer = agent(question, tools, AgentTracer(backend=backend))
    return answer, load_run(backend)


def run_in_checkout(*arguments: str) -> str:
    """What Python prints with the checkout as the current folder; it must not complain."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=DEADLOCK_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_functions_by_name(run_agent_with_tracing: Agent) -> None:
    """The functions are called, and what they take and give stands in the steps."""
    answer, run = answer_and_run(run_agent_with_tracing, "What is 6 * 7?", {"calculator": lambda expression: 42})
    assert (answer, run.final_output, run.user_input) == ("6 * 7 = 42", "6 * 7 = 42", "What is 6 * 7?")
    assert [(step.tool_name, step.tool_input, step.tool_output) for step in run.steps] == [
        ("calculator", {"expression": "6 * 7"}, 42)
    ]


@pytest.mark.parametrize(
    ("parameter", "search"), [("query", lambda query: []), ("q", lambda q: []), ("text", lambda text, limit=3: [])]
)
def test_parameters_may_have_any_name(
    run_agent_with_tracing: Agent, parameter: str, search: Callable[..., Any]
) -> None:
    _, run = answer_and_run(run_agent_with_tracing, "Who keeps bees?", {"search": search})
    (step,) = run.steps
    assert step.error is None
    assert step.input[parameter] == "keeps bees"


@pytest.mark.parametrize(
    "tools",
    [
        [SEARCH],
        [{**SEARCH, "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}}],
        [{"type": "function", "function": SEARCH}],
        (SEARCH,),
        ["search"],
        [make_tools()["search"]],
    ],
)
def test_a_list_of_tools(run_agent_with_tracing: Agent, tools: Sequence[Any]) -> None:
    """Descriptions stand for the demo's own functions, and functions for themselves."""
    answer, run = answer_and_run(run_agent_with_tracing, QUESTIONS[0], tools)
    assert "55 kilometres per hour" in answer
    assert run.status is RunStatus.SUCCESS
    (step,) = run.steps
    assert (step.tool_name, step.tool_output[0]["file"]) == ("search", "observatory-handbook.md")


def test_all_tools_of_the_demo_by_name(run_agent_with_tracing: Agent) -> None:
    answers = [
        answer_and_run(run_agent_with_tracing, QUESTIONS[1], tools)[0] for tools in (make_tools(), [*make_tools()])
    ]
    assert answers[0] == answers[1]
    assert "480 * 3 = 1440" in answers[0]


@pytest.mark.parametrize("tools", [{}, [], ()])
def test_no_tools(run_agent_with_tracing: Agent, tools: Any) -> None:
    """An agent without tools answers that it found nothing; its run is traced."""
    answer, run = answer_and_run(run_agent_with_tracing, QUESTIONS[0], tools)
    assert (answer, run.steps, run.status) == ("The texts say nothing about that.", (), RunStatus.SUCCESS)


def test_no_tools_for_a_model(run_agent_with_tracing: Agent, model: Any) -> None:
    """A model is sent no list of tools then, since OpenAI refuses an empty one."""
    model.will_say("I cannot search.")
    answer, _ = answer_and_run(run_agent_with_tracing, "Hello?", [])
    assert answer == "I cannot search."
    assert "tools" not in model.requests[0]


def test_a_model_is_sent_the_tools_of_the_list(run_agent_with_tracing: Agent, model: Any) -> None:
    model.will_call("search", {"query": "wind dome"})
    model.will_say("Above 55 kilometres per hour.")
    answer, run = answer_and_run(run_agent_with_tracing, QUESTIONS[0], [SEARCH])
    assert is_configured()
    assert answer == "Above 55 kilometres per hour."
    assert [tool["function"]["name"] for tool in model.requests[0]["tools"]] == ["search"]
    assert [step.name for step in run.tool_steps] == ["search"]


def test_an_unknown_tool_is_one_error_and_no_run(run_agent_with_tracing: Agent) -> None:
    backend = InMemoryBackend()
    with pytest.raises(ConfigurationError, match="no tool 'weather'; there are: search, read, calculator"):
        run_agent_with_tracing("Rain?", [{"name": "weather", "description": "..."}], AgentTracer(backend=backend))
    assert backend.runs() == []


def test_a_failing_tool_is_a_failing_run(run_agent_with_tracing: Agent) -> None:
    """The error of the tool stands at its step, and the agent's own at the run."""

    def search(query: str) -> list[object]:
        raise ConnectionError("the index is gone")

    backend = InMemoryBackend()
    with pytest.raises(NoAnswerError, match="the index is gone"):
        run_agent_with_tracing("Who keeps bees?", {"search": search}, AgentTracer(backend=backend))
    run = load_run(backend)
    assert run.status is RunStatus.ERROR
    assert [str(step.error) for step in run.steps] == ["ConnectionError: the index is gone"]


def test_imported_from_the_root_of_a_checkout(tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    assert "55 kilometres per hour" in run_in_checkout("-c", PROGRAM, str(file))
    (run,) = load_runs(file)
    assert [step.name for step in run.steps] == ["search"]


def test_run_as_a_module(tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    printed = run_in_checkout("-m", "examples.instrumented_agent", "What is 6 * 7?", "--file", str(file))
    assert "6 * 7 = 42" in printed
    assert len(load_runs(file)) == 1
