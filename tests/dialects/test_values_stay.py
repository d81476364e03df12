"""Values of other tracers stay what they are: a text that looks like a number, and data that looks like an envelope."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_agent_trace import AgentStep, Message
from otel_agent_trace.span import Event
from tests.support.handwritten_spans import event, only_run, span

TEXTS = ["1.10", "null", "555", "true", "007", "1e3", "None", "-0", "NaN"]
"""Versions, codes, answers: texts that JSON or Python would read as something else."""
AGENT, TOOL = {"openinference.span.kind": "AGENT"}, {"openinference.span.kind": "TOOL", "tool.name": "t"}
INVOKE = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}
EXECUTE = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}


def of_tool(attributes: dict[str, Any], *, scope: str = "", events: tuple[Event, ...] = ()) -> AgentStep:
    """The tool of an agent whose span has these attributes."""
    run = only_run(
        span("1", None, (0, 90), "clerk", INVOKE), span("2", "1", (1, 2), "t", attributes, scope=scope, events=events)
    )
    return run.tool_steps[0]


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_recorded_as_plain_text_is_not_parsed(text: str) -> None:
    types = {"input.mime_type": "text/plain", "output.mime_type": "text/plain"}
    values = {"input.value": text, "output.value": text, **types}
    run = only_run(
        span("1", None, (0, 90), "clerk", {**AGENT, **values}), span("2", "1", (1, 2), "t", {**TOOL, **values})
    )
    assert (run.user_input, run.final_output) == (text, text)
    assert (run.steps[0].input, run.steps[0].output) == (text, text)


def test_what_is_recorded_as_json_is_parsed() -> None:
    values = {"output.value": "1.5", "output.mime_type": "application/json"}
    run = only_run(span("1", None, (0, 90), "clerk", AGENT), span("2", "1", (1, 2), "t", {**TOOL, **values}))
    assert run.steps[0].output == 1.5


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: [{"type": "text", "text": text}],
        lambda text: {"content": [{"type": "text", "text": text}], "isError": False},
        lambda text: {"content": [{"type": "text", "text": text}]},
        lambda text: {"content": [], "structuredContent": {"result": text}},
        lambda text: {"role": "tool", "content": text, "tool_call_id": "c1"},
        lambda text: {"type": "text", "value": text},
        json.dumps,
    ],
    ids=["blocks", "MCP", "bare MCP", "structured MCP", "message", "typed", "JSON"],
)
def test_a_text_in_a_result_is_a_text(wrap: Any, text: str) -> None:
    assert of_tool({**EXECUTE, "gen_ai.tool.call.result": wrap(text)}).output == text


@pytest.mark.parametrize("text", TEXTS)
def test_google_adk_puts_texts_into_an_object(text: str) -> None:
    response = {**EXECUTE, "gcp.vertex.agent.tool_response": {"result": text}}
    assert of_tool(response, scope="gcp.vertex.agent").output == text


def test_a_number_is_one_where_json_would_write_it_so() -> None:
    """A tool's result is JSON or a text: 4 and 2.5 are numbers, 1.10 and 007 were never written by JSON."""
    results = ["4", "2.5", "1.10", "007", "true", "{}", "-0", "5\n", "{...}", "('a...',)"]
    given = [of_tool({**EXECUTE, "gen_ai.tool.call.result": text}).output for text in results]
    assert given == [4, 2.5, "1.10", "007", True, {}, "-0", "5\n", "{...}", ("a...",)]


@pytest.mark.parametrize("text", [*TEXTS, '{"city": "Lima"}', "[2024] was warm", "[1, 2]", '{"a": "b'])
@pytest.mark.parametrize("has_bodies", [False, True])
def test_the_text_of_a_message_in_an_event_is_a_text(text: str, has_bodies: bool) -> None:
    with_bodies = (
        Event("gen_ai.user.message", 1, {"body": {"content": text}}),
        Event("gen_ai.choice", 2, {"body": {"index": 0, "message": {"content": text}}}),
    )
    events = (
        with_bodies
        if has_bodies
        else (event("gen_ai.user.message", content=text), event("gen_ai.choice", message=text))
    )
    run = only_run(span("2", None, (1, 2), "chat m", {"gen_ai.operation.name": "chat"}, events=events))
    assert [message.text for message in run.steps[0].messages] == [text, text]
    assert (run.user_input, run.final_output) == (text, text)


@pytest.mark.parametrize("text", TEXTS)
def test_the_result_of_a_tool_in_a_message_is_a_text(text: str) -> None:
    sent = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "t", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": text},
    ]
    run = only_run(
        span("1", None, (0, 90), "clerk", INVOKE),
        span("2", "1", (1, 2), "chat", {"gen_ai.operation.name": "chat", "gen_ai.input.messages": sent}),
    )
    assert run.tool_steps[0].output == text


@pytest.mark.parametrize(
    "value",
    [
        {"name": "search", "arguments": {"q": "kettle"}},
        {"name": "ls", "args": ["-l"]},
        {"name": "daily", "inputs": {"day": 1}},
        {"args": [1], "kwargs": {"a": 2}},
        {"input": {"a": 1}},
        {"output": "x", "metadata": {"a": 1}},
        {"result": "x"},
        {"raw_output": "x", "tool_name": "y"},
        {"type": "tool", "content": "x"},
        {"type": "report", "data": {"content": "x"}},
        {"content": "x"},
        {"content": [{"title": "x"}]},
        {"content": [{"type": "text", "text": "x"}], "page": 1},
        {"type": "image", "data": "x.png"},
    ],
)
def test_values_of_the_standard_attributes_are_those_of_the_tool(value: dict[str, Any]) -> None:
    step = of_tool({**EXECUTE, "gen_ai.tool.call.arguments": value, "gen_ai.tool.call.result": value})
    assert (step.input, step.output) == (value, value)


FAILURES = {
    "MCP": {"content": [{"type": "text", "text": "no such city"}], "isError": True},
    "Anthropic": {"type": "tool_result", "tool_use_id": "c1", "content": "no such city", "is_error": True},
    "Bedrock": [{"toolResult": {"toolUseId": "c1", "status": "error", "content": [{"text": "no such city"}]}}],
    "LangChain": {
        "type": "tool",
        "data": {"content": "no such city", "tool_call_id": "c1", "status": "error", "type": "tool"},
    },
    "structured MCP": {"content": [{"type": "text", "text": "no such city"}], "isError": True, "_meta": None},
}


@pytest.mark.parametrize("result", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("as_text", [False, True])
def test_a_result_that_is_marked_as_a_failure_is_an_error(result: Any, as_text: bool) -> None:
    written = json.dumps(json.dumps(result)) if as_text else result
    step = of_tool({**EXECUTE, "gen_ai.tool.call.result": written})
    assert step.error is not None
    assert (step.error.message, step.output) == ("no such city", None)


MCP_ERROR = json.dumps(FAILURES["MCP"])


@pytest.mark.parametrize("result", [{}, {"gen_ai.tool.call.result": "no such city"}])
def test_a_failure_in_the_response_of_an_mcp_server_is_an_error(result: dict[str, Any]) -> None:
    """Traceloop has an attribute of its own for it, with or without a result beside it."""
    step = of_tool({**EXECUTE, **result, "mcp.response.value": MCP_ERROR})
    assert step.error is not None
    assert (step.error.message, step.output, step.attributes) == ("no such city", None, {})


def test_the_response_of_an_mcp_server_is_the_result_if_there_is_no_other() -> None:
    response = json.dumps({"content": [{"type": "text", "text": "1.10"}], "isError": False})
    assert of_tool({**EXECUTE, "mcp.response.value": response}).output == "1.10"
    step = of_tool({**EXECUTE, "gen_ai.tool.call.result": "cold", "mcp.response.value": response})
    assert (step.output, step.attributes) == ("cold", {"mcp.response.value": response})


@pytest.mark.parametrize(
    "result", [{"status": "error", "items": 2}, {"isError": True}, {"is_error": True, "content": 1}]
)
def test_data_with_a_word_for_failures_is_data(result: dict[str, Any]) -> None:
    step = of_tool({**EXECUTE, "gen_ai.tool.call.result": result})
    assert (step.error, step.output) == (None, result)


def test_a_failure_in_the_messages_is_an_error_of_the_tool() -> None:
    sent = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "t", "input": {}}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "is_error": True,
                    "content": [{"type": "text", "text": "no such city"}],
                }
            ],
        },
    ]
    run = only_run(
        span("1", None, (0, 90), "clerk", INVOKE),
        span("2", "1", (1, 2), "chat", {"gen_ai.operation.name": "chat", "gen_ai.input.messages": sent}),
    )
    (step,) = run.tool_steps
    assert step.error is not None
    assert step.error.message == "no such city"


@pytest.mark.parametrize("written", ['{"n": 1.10}', '["a", "b"]', '"sunny"', '{"role": "admin", "content": "x"}'])
@pytest.mark.parametrize("operation", ["ai.generateObject.doGenerate", "ai.streamObject.doStream"])
def test_an_object_of_the_ai_sdk_is_the_text_in_which_the_model_wrote_it(operation: str, written: str) -> None:
    attributes = {"ai.operationId": operation, "ai.model.id": "m", "ai.response.object": written}
    run = only_run(span("1", None, (0, 9), operation, attributes))
    assert run.final_output == written
    assert run.steps[0].messages == (Message(role="assistant", parts=({"type": "text", "content": written},)),)


def test_an_object_of_the_ai_sdk_that_was_cut_shows_it() -> None:
    attributes = {"ai.operationId": "ai.generateObject.doGenerate", "ai.response.object": '{"city": "Ly'}
    run = only_run(span("1", None, (0, 9), "x", attributes))
    assert (run.final_output, run.truncated) == ('{"city": "Ly', ("final_output",))
