"""Haystack as OpenInference and OpenLLMetry write it: the agent is a chain, its messages stand as their `repr`."""

from __future__ import annotations

from typing import Any

import pytest

from otel_agent_trace import RunStatus, SpanRecord
from tests.support.handwritten_spans import only_run, span

OPENINFERENCE, OPENLLMETRY = "openinference.instrumentation.haystack", "opentelemetry.instrumentation.haystack"
ASKED = "ChatMessage(_role=<ChatRole.USER: 'user'>, _content=[TextContent(text='Rain?')], _name=None, _meta={})"
CALLED = (
    "ChatMessage(_role=<ChatRole.ASSISTANT: 'assistant'>, _content=[ToolCall(tool_name='look', arguments={}, id='1')])"
)
ANSWERED = "ChatMessage(_role=<ChatRole.ASSISTANT: 'assistant'>, _content=[TextContent(text=\"It's dry.\")], _meta={})"
STATE = {"messages": [ASKED, CALLED, ANSWERED], "step_count": 2}


def chain(given: Any, gave: Any = None) -> dict[str, Any]:
    values = {"input.value": given, **({} if gave is None else {"output.value": gave})}
    return {"openinference.span.kind": "CHAIN", "session.id": "s", **values}


def pipeline(given: Any, gave: Any, **more: Any) -> SpanRecord:
    return span("1", None, (0, 90), "Pipeline.run", chain({"data": given}, gave), scope=OPENINFERENCE, **more)


def agent(given: Any, gave: Any, **more: Any) -> SpanRecord:
    return span("2", "1", (1, 80), "Agent.run", chain(given, gave), scope=OPENINFERENCE, **more)


def test_an_agent_of_a_pipeline_is_a_run_without_steps() -> None:
    given = {"messages": [ASKED]}
    run = only_run(pipeline({"clerk": given}, {"clerk": STATE}), agent({**given, "tools": None}, STATE))
    assert (run.agent_name, run.user_input, run.final_output) == ("clerk", "Rain?", "It's dry.")
    assert (run.session_id, run.steps) == ("s", ())


def test_an_agent_of_a_pipeline_that_failed() -> None:
    given = {"messages": [ASKED]}
    run = only_run(pipeline({"clerk": given}, None, error="Error: too many"), agent(given, None, error="too many"))
    assert (run.status, run.user_input, run.final_output) == (RunStatus.ERROR, "Rain?", None)


@pytest.mark.parametrize("given", [{"a": {"messages": [ASKED]}, "b": {"messages": []}}, {"builder": {"question": "x"}}])
def test_a_pipeline_of_anything_else_names_no_agent(given: Any) -> None:
    run = only_run(pipeline(given, None), agent({"messages": [ASKED]}, STATE))
    assert (run.agent_name, run.user_input) == (None, "Rain?")


def test_the_constant_name_of_pipelines_is_no_agents() -> None:
    message: dict[str, Any] = {"_role": "user", "_content": [{"text": "Rain?"}], "_name": None, "_meta": {}}
    answer = {**message, "_role": "assistant", "_content": [{"text": "No."}]}
    workflow = {
        "traceloop.span.kind": "workflow",
        "traceloop.entity.name": "haystack_pipeline",
        "traceloop.entity.input": {"args": [], "kwargs": {"clerk": {"messages": [message]}}},
        "traceloop.entity.output": {"clerk": {"messages": [message, answer]}},
    }
    call = {"gen_ai.system": "OpenAI", "llm.request.type": "chat"}
    run = only_run(
        span("1", None, (0, 90), "haystack_pipeline.workflow", workflow, scope=OPENLLMETRY),
        span("2", "1", (1, 80), "haystack.openai.chat", call, scope=OPENLLMETRY),
    )
    assert (run.agent_name, run.user_input, run.final_output) == ("clerk", "Rain?", "No.")
