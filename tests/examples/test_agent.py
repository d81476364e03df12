"""The demo's agent, traced: what it did is what is read back."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, RunStatus, StepKind, load_run
from otel_agent_trace.demo import QUESTIONS, NoAnswerError, make_tools, run_agent
from otel_agent_trace.demo.chat import MalformedAnswerError
from otel_agent_trace.model import Usage


def answer_and_run(question: str) -> tuple[str, AgentRun]:
    """The answer, and the run as it is read back."""
    backend = InMemoryBackend()
    answer = run_agent(question, make_tools(), AgentTracer(backend=backend))
    return answer, load_run(backend)


def failed_run(question: str, error: type[Exception]) -> AgentRun:
    """The run that ended in that error."""
    backend = InMemoryBackend()
    with pytest.raises(error):
        run_agent(question, make_tools(), AgentTracer(backend=backend))
    return load_run(backend)


def test_run_by_rules() -> None:
    """Question, answer, and each tool call with arguments and result."""
    answer, run = answer_and_run(QUESTIONS[1])
    assert (run.user_input, run.final_output, run.status) == (QUESTIONS[1], answer, RunStatus.SUCCESS)
    assert run.agent_name == "librarian"
    assert [step.name for step in run.steps] == ["search", "read", "calculator"]
    assert {step.kind for step in run.steps} == {StepKind.TOOL}
    assert run.steps[0].output == make_tools()["search"]("flour loaves ridge bread")
    assert (run.steps[2].input, run.steps[2].output) == ({"expression": "480 * 3"}, 1440)


def test_failing_tool_is_a_failing_step() -> None:
    """The step has the error, the run succeeds."""
    _, run = answer_and_run(QUESTIONS[3])
    assert run.status is RunStatus.SUCCESS
    assert [step.error.type if step.error else None for step in run.steps] == ["FileNotFoundError", None, None]


def test_giving_up_is_a_failing_run() -> None:
    """The run ends in the agent's error, after the step that failed."""
    run = failed_run(QUESTIONS[-1], NoAnswerError)
    assert run.status is RunStatus.ERROR
    assert run.error is not None
    assert run.error.type.endswith("NoAnswerError")
    assert "division by zero" in run.error.message
    assert run.steps[0].error is not None
    assert run.steps[0].error.type == "ZeroDivisionError"


def test_run_by_model(model: Any) -> None:
    """Model calls and tool calls are steps in order; tokens are those of the model's server."""
    model.will_call("search", {"query": "wind dome"})
    model.will_call("read", {"file": "tide-table.txt"})
    model.will_say("Above 55 kilometres per hour.")
    answer, run = answer_and_run("When to close the dome?")
    assert (answer, run.final_output, run.status) == (answer, "Above 55 kilometres per hour.", RunStatus.SUCCESS)
    assert [step.kind for step in run.steps] == [
        StepKind.MODEL,
        StepKind.TOOL,
        StepKind.MODEL,
        StepKind.TOOL,
        StepKind.MODEL,
    ]
    assert [step.usage for step in run.model_steps] == [Usage(input_tokens=100, output_tokens=20)] * 3
    assert run.usage == Usage(input_tokens=300, output_tokens=60)
    assert run.model == "scripted-1"
    assert {step.model for step in run.model_steps} == {"scripted-1-2026"}


def test_messages_of_model_calls(model: Any) -> None:
    """What the model was sent and, last, what it answered stand at each step."""
    model.will_call("calculator", {"expression": "6 * 7"})
    model.will_say("42.")
    _, run = answer_and_run("What is 6 * 7?")
    first, last = run.model_steps
    assert [message.role for message in first.messages] == ["system", "user", "assistant"]
    assert first.messages[-1].tool_calls[0]["name"] == "calculator"
    assert [message.role for message in last.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert last.messages[-1].text == "42."


def test_rate_limit_ends_run(model: Any) -> None:
    """A model that refuses is a failing model step, and a failing run, of the category rate_limit."""
    model.will_send(b'{"error": {"message": "no quota"}}', status=429, x_should_retry="false")
    run = failed_run("Hello?", openai.RateLimitError)
    (step,) = run.steps
    assert run.status is RunStatus.ERROR
    assert step.kind is StepKind.MODEL
    assert step.error is not None
    assert run.error is not None
    assert (step.error.category, run.error.category) == ("rate_limit", "rate_limit")


def test_malformed_answer_ends_run(model: Any) -> None:
    """What is no chat completion is a failing model step."""
    model.will_send(b'{"choices": []}')
    run = failed_run("Hello?", MalformedAnswerError)
    assert run.steps[0].error is not None
    assert "no chat completion" in run.steps[0].error.message
