"""Agents of other tracers within each other, within frames, and around and within runs and steps of our own."""

from __future__ import annotations

from typing import Any

import pytest

from otel_agent_trace import AgentStep, SpanRecord
from otel_agent_trace.dialects import openinference, traceloop
from otel_agent_trace.span import Event
from otel_agent_trace.testing import check_dialect
from tests.support.handwritten_spans import numbered_span, only_run

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ERROR = 2
OURS = "otel_agent_trace"


def span(
    number: int, parent: int | None, times: tuple[int, int], name: str, scope: str = "x", **more: Any
) -> SpanRecord:
    """A span; ``gen_ai__x`` is written for ``gen_ai.x``, and objects stand as JSON text."""
    attributes = more.pop("attributes", {}) | {key.replace("__", "."): value for key, value in more.items()}
    options = {"error": attributes.pop("failed", None), "events": attributes.pop("events", ()), "scope": scope}
    return numbered_span(number, parent, times, name, attributes, **options)


def agent(
    number: int, parent: int | None, times: tuple[int, int], name: str, scope: str = "x", **more: Any
) -> SpanRecord:
    """An agent's span after the conventions."""
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name}
    return span(number, parent, times, f"invoke_agent {name}", scope, attributes=attributes, **more)


def tool(
    number: int, parent: int | None, times: tuple[int, int], name: str, scope: str = "x", **more: Any
) -> SpanRecord:
    """A tool's span after the conventions."""
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
    return span(number, parent, times, f"execute_tool {name}", scope, attributes=attributes, **more)


def chat(number: int, parent: int, times: tuple[int, int], text: str = "Yes.") -> SpanRecord:
    """A model call after the conventions."""
    messages = [{"role": "assistant", "parts": [{"type": "text", "content": text}]}]
    more: dict[str, Any] = {"gen_ai__operation__name": "chat", "gen_ai__output__messages": messages}
    return span(number, parent, times, "chat", **more)


def outline(steps: tuple[AgentStep, ...]) -> list[Any]:
    """Kinds and names, sub-agents with what is in them."""
    return [(step.kind.value, step.name, *([outline(step.run.steps)] if step.run else [])) for step in steps]


def chain(number: int, parent: int | None, times: tuple[int, int], name: str, **metadata: Any) -> SpanRecord:
    """A chain of OpenInference."""
    return span(number, parent, times, name, attributes={"openinference.span.kind": "CHAIN", "metadata": metadata})


# ── graphs in graphs ─────────────────────────────────────────────────────────────────────────────────────────────────

NESTED_GRAPHS = [
    chain(1, None, (0, 90), "planner", ls_integration="langchain_create_agent", lc_agent_name="planner"),
    chain(
        2,
        1,
        (10, 80),
        "tools",
        ls_integration="langchain_create_agent",
        lc_agent_name="planner",
        langgraph_node="tools",
    ),
    span(3, 2, (20, 70), "ask", openinference__span__kind="TOOL", tool__name="ask"),
    chain(
        4,
        3,
        (30, 60),
        "expert",
        ls_integration="langchain_create_agent",
        lc_agent_name="expert",
        langgraph_node="tools",
    ),
    chain(
        5, 4, (31, 59), "model", ls_integration="langchain_create_agent", lc_agent_name="expert", langgraph_node="model"
    ),
    span(6, 5, (35, 50), "FakeModel", openinference__span__kind="LLM", llm__model_name="m-1"),
]


def test_a_graph_in_a_graph_is_a_sub_agent_and_its_nodes_are_none() -> None:
    run = only_run(*NESTED_GRAPHS)
    assert run.agent_name == "planner"
    assert outline(run.steps) == [("tool", "ask"), ("agent", "expert", [("model", "m-1")])]
    assert run.steps[1].parent_step_id == run.steps[0].step_id
    check_dialect(openinference.read, NESTED_GRAPHS)


def test_a_graph_of_several_agents_has_its_own_name() -> None:
    run = only_run(
        chain(1, None, (0, 90), "team", ls_integration="langgraph"),
        chain(
            2, 1, (1, 20), "first", ls_integration="langchain_create_agent", lc_agent_name="first", langgraph_node="f"
        ),
        chain(
            3,
            1,
            (21, 40),
            "second",
            ls_integration="langchain_create_agent",
            lc_agent_name="second",
            langgraph_node="s",
        ),
        span(4, 2, (5, 6), "FakeModel", openinference__span__kind="LLM", llm__model_name="m-1"),
        span(5, 3, (25, 26), "FakeModel", openinference__span__kind="LLM", llm__model_name="m-1"),
    )
    assert run.agent_name == "team"
    assert outline(run.steps) == [("agent", "first", [("model", "m-1")]), ("agent", "second", [("model", "m-1")])]


TASKS = [
    agent(1, None, (0, 90), "planner"),
    span(2, 1, (10, 80), "execute_task tools", traceloop__span__kind="task", traceloop__entity__name="tools",
         attributes={"traceloop.association.properties.lc_agent_name": "planner"}),
    tool(3, 2, (20, 70), "ask", traceloop__span__kind="tool", traceloop__entity__name="ask"),
    tool(4, 3, (21, 69), "ask", OURS),
    agent(5, 4, (22, 68), "expert", gen_ai__conversation__id="c-1"),
    span(6, 3, (30, 60), "execute_task expert", traceloop__span__kind="task", traceloop__entity__name="expert",
         attributes={"traceloop.association.properties.lc_agent_name": "expert"}),
    chat(7, 6, (35, 50)),
]  # fmt: skip


def test_the_steps_of_an_agent_that_hang_beside_its_own_span_are_the_agents() -> None:
    """Callbacks know the tool above, contexts our own step in it: the agent is recorded twice, as the tool is."""
    run = only_run(*TASKS)
    assert outline(run.steps) == [("tool", "ask"), ("agent", "expert", [("model", "chat")])]
    assert run.steps[1].run is not None
    assert run.steps[1].run.session_id == "c-1"
    check_dialect(traceloop.read, [TASKS[1], TASKS[2], TASKS[5]])


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(agent(6, 3, (30, 60), "another"), id="another name"),
        pytest.param(agent(6, 3, (65, 99), "expert"), id="another time"),
    ],
)
def test_another_agent_beside_one_without_steps_stays_another(other: SpanRecord) -> None:
    run = only_run(*TASKS[:5], other, chat(7, 6, (66, 67)))
    assert [step.name for step in run.steps] == ["ask", "expert", other.attributes["gen_ai.agent.name"]]


# ── what is around agents ────────────────────────────────────────────────────────────────────────────────────────────

WORKFLOW = [
    span(2, 1, (1, 98), "Some workflow", openinference__span__kind="AGENT"),
    agent(3, 2, (2, 40), "first"),
    chat(4, 3, (3, 30), "Ask the second."),
    agent(5, 2, (41, 80), "second"),
    chat(6, 5, (42, 70), "Seven."),
]


def test_a_run_has_the_name_of_its_first_agent_and_not_that_of_the_span_around() -> None:
    run = only_run(*WORKFLOW)
    assert run.agent_name == "first"
    assert run.final_output == "Seven."
    assert outline(run.steps) == [("model", "chat"), ("agent", "second", [("model", "chat")])]


def test_what_is_around_an_agent_in_a_run_of_ours_is_the_agent() -> None:
    host = agent(1, None, (0, 99), "host", OURS)
    run = only_run(host, *WORKFLOW[:3])
    assert outline(run.steps) == [("agent", "first", [("model", "chat")])]
    run = only_run(host, *WORKFLOW)
    assert outline(run.steps) == [
        ("agent", "first", [("model", "chat"), ("agent", "second", [("model", "chat")])]),
    ]  # fmt: skip


def test_a_workflow_of_several_agents_with_a_name_of_its_own_is_none_of_them() -> None:
    named = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "team"}
    run = only_run(
        span(2, None, (1, 98), "invoke_workflow team", attributes=named),
        agent(3, 2, (2, 40), "first"),
        chat(4, 3, (3, 30), "Ask the second."),
        agent(5, 2, (41, 80), "second"),
        chat(6, 5, (42, 70), "Seven."),
    )
    assert (run.agent_name, run.final_output) == ("team", "Seven.")
    assert outline(run.steps) == [("agent", "first", [("model", "chat")]), ("agent", "second", [("model", "chat")])]


# ── a tool that both traced ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_step_of_ours_has_no_output_although_the_model_got_a_result() -> None:
    run = only_run(
        agent(1, None, (0, 90), "planner"),
        tool(2, 1, (10, 80), "ask", gen_ai__tool__call__result="An error occurred.", gen_ai__tool__call__id="c-1"),
        tool(3, 2, (20, 70), "ask", OURS, failed="no answer", error__type="LookupError"),
    )
    (step,) = run.steps
    assert (step.output, step.error and step.error.message) == (None, "no answer")


@pytest.mark.parametrize(
    ("description", "message"),
    [("LookupError: no answer", "no answer"), ("no answer", "no answer"), ("OSError: no answer", "OSError: no answer")],
)
def test_the_type_of_an_error_is_no_part_of_its_message(description: str, message: str) -> None:
    happened = Event("exception", 70, {"exception.type": "acme.LookupError", "exception.message": "no answer"})
    run = only_run(agent(1, None, (0, 90), "planner", failed=description, events=(happened,)))
    assert run.error is not None
    assert (run.error.type, run.error.message) == ("acme.LookupError", message)
