"""Agents and tools as Google's ADK, Koog and Claude's Agent SDK record them, beside or through OpenInference."""

from __future__ import annotations

from typing import Any

import pytest

from otel_agent_trace import SpanRecord, run_to_spans, runs_from_spans
from tests.support.handwritten_spans import event, only_run, span

KIND = "openinference.span.kind"


def test_a_sub_agent_has_what_the_tool_was_given() -> None:
    """OpenInference for Claude's Agent SDK names the span of the sub-agent after the tool, and records nothing else."""
    task = {"subagent_type": "reviewer", "description": "a review", "prompt": "Review a.py"}
    run = only_run(
        span(
            "1",
            None,
            (0, 20),
            "ClaudeAgentSDK.query",
            {KIND: "AGENT", "input.value": "Review it", "output.value": "Done."},
        ),
        span(
            "2", "1", (1, 9), "Task", {KIND: "TOOL", "tool.name": "Task", "input.value": task, "output.value": "Fine."}
        ),
        span("3", "2", (2, 8), "ClaudeAgentSDK.Task", {KIND: "AGENT", "agent.name": "Task"}),
        span("4", "3", (3, 4), "Read", {KIND: "TOOL", "tool.name": "Read", "input.value": {"file": "a.py"}}),
    )
    (inner,) = [below for below in run.walk() if below is not run]
    assert (run.user_input, run.final_output) == ("Review it", "Done.")
    assert (inner.agent_name, inner.user_input, inner.final_output) == ("reviewer", "Review a.py", "Fine.")
    assert [step.name for step in inner.steps] == ["Read"]


def test_a_sub_agent_keeps_what_it_records_itself() -> None:
    task = {"subagent_type": "reviewer", "prompt": "Review a.py"}
    own = {KIND: "AGENT", "agent.name": "critic", "input.value": "Its question", "output.value": "Its answer"}
    run = only_run(
        span("1", None, (0, 20), "query", {KIND: "AGENT", "input.value": "Review it"}),
        span(
            "2", "1", (1, 9), "Task", {KIND: "TOOL", "tool.name": "Task", "input.value": task, "output.value": "Fine."}
        ),
        span("3", "2", (2, 8), "critic", own),
    )
    (inner,) = [below for below in run.walk() if below is not run]
    assert (inner.agent_name, inner.user_input, inner.final_output) == ("critic", "Its question", "Its answer")


@pytest.mark.parametrize("prompt_key", ["prompt", "description"])
def test_a_sub_agent_without_a_span_of_its_own(prompt_key: str) -> None:
    """deepagents have the question in the description; what was below the tool is the sub-agent's work."""
    task = {"subagent_type": "reviewer", prompt_key: "Review a.py"}
    run = only_run(
        span("1", None, (0, 20), "query", {KIND: "AGENT", "input.value": "Review it"}),
        span("2", "1", (1, 9), "Task", {KIND: "TOOL", "tool.name": "Task", "input.value": task, "output.value": "Ok."}),
        span("3", "2", (2, 4), "Read", {KIND: "TOOL", "tool.name": "Read", "input.value": {"file": "a.py"}}),
        span("4", "2", (5, 8), "chat", {KIND: "LLM", "llm.model_name": "m", "llm.token_count.prompt": 3}),
    )
    (inner,) = [below for below in run.walk() if below is not run]
    assert [step.kind.value for step in run.steps] == ["tool", "agent"]
    assert (inner.agent_name, inner.user_input, inner.final_output) == ("reviewer", "Review a.py", "Ok.")
    assert [step.name for step in inner.steps] == ["Read", "m"]
    assert runs_from_spans(run_to_spans(run)) == [run]


def test_the_result_in_a_response_of_a_function() -> None:
    """Google's ADK under OpenInference; a text that looks like a number stays one."""

    def output_of(response: Any) -> Any:
        recorded = {"id": "adk-1", "name": "price", "response": response}
        run = only_run(
            span("1", None, (0, 9), "agent_run [shop]", {KIND: "AGENT", "agent.name": "shop"}),
            span(
                "2", "1", (1, 2), "execute_tool price", {KIND: "TOOL", "tool.name": "price", "output.value": recorded}
            ),
        )
        return run.steps[0].output

    assert output_of({"result": "1.10"}) == "1.10"
    assert output_of({"price": 2, "unit": "EUR"}) == {"price": 2, "unit": "EUR"}


def test_tools_of_koog() -> None:
    """It writes arguments and results under OpenInference's names; nodes of its graph are no agents."""
    asked = event("gen_ai.user.message", content="Rain?", role="user")
    answered = event("gen_ai.choice", index=0, role="assistant", content="No.", finish_reason="stop")
    called = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search", "input.value": {"q": "rain"}}
    run = only_run(
        span(
            "1",
            None,
            (0, 20),
            "create_agent desk",
            {"gen_ai.operation.name": "create_agent", "gen_ai.agent.id": "desk"},
        ),
        span(
            "2", "1", (1, 19), "invoke_agent desk", {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.id": "desk"}
        ),
        span("3", "2", (2, 4), "node.nodeExecuteTool", {"koog.node.name": "nodeExecuteTool"}),
        span("4", "3", (2, 4), "execute_tool search", {**called, "output.value": "sunny"}),
        span(
            *("5", "2", (5, 9), "chat m", {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}),
            events=(asked, answered),
        ),
    )
    assert (run.user_input, run.final_output) == ("Rain?", "No.")
    assert [(step.kind.value, step.input, step.output) for step in run.steps] == [
        ("tool", {"q": "rain"}, "sunny"),
        ("model", None, None),
    ]


def test_a_handoff_is_one_step() -> None:
    """OpenAI Agents records it as a span, and its result in the messages that the next agent's model is sent."""
    asked = [{"role": "user", "parts": [{"type": "text", "content": "Rain?"}]}]
    call = {"type": "tool_call", "id": "c1", "name": "transfer_to_the_meteorologist", "arguments": {}}
    result = {"type": "tool_call_response", "id": "c1", "response": {"assistant": "the meteorologist"}}
    handed = [*asked, {"role": "assistant", "parts": [call]}, {"role": "tool", "parts": [result]}]
    answer = [{"role": "assistant", "parts": [{"type": "text", "content": "No."}]}]

    def chat(number: str, parent: str, at: int, sent: Any, answered: Any) -> SpanRecord:
        operation = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
        messages = {"gen_ai.input.messages": sent, "gen_ai.output.messages": answered}
        return span(number, parent, (at, at + 1), "chat m", {**operation, **messages})

    run = only_run(
        span("1", None, (0, 20), "workflow", {KIND: "CHAIN"}),
        span("2", "1", (1, 6), "concierge", {KIND: "AGENT", "agent.name": "concierge"}),
        chat("3", "2", 2, asked, handed[1:2]),
        span("4", "2", (4, 5), "handoff to The meteorologist", {KIND: "TOOL", "output.value": "The meteorologist"}),
        span("5", "1", (7, 19), "The meteorologist", {KIND: "AGENT", "agent.name": "The meteorologist"}),
        chat("6", "5", 8, handed, answer),
    )
    tools = [step.name for below in run.walk() for step in below.tool_steps]
    assert tools == ["handoff to The meteorologist"]


def test_a_crew_is_named_after_the_role_of_the_agent_that_did_its_task() -> None:
    run = only_run(
        span("1", None, (0, 20), "Crew_1.kickoff", {KIND: "CHAIN", "crew_key": "k", "output.value": "Done."}),
        span(
            *("2", "1", (1, 19), "Task._execute_core"),
            {KIND: "AGENT", "task_key": "t", "agent_role": "Researcher", "input.value": "Look"},
        ),
        span("3", "2", (2, 8), "chat", {KIND: "LLM", "llm.model_name": "m"}),
    )
    assert run.agent_name == "Researcher"
