"""Frameworks as they differ from the GenAI conventions, or have a scheme of their own: one test for each difference."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_agent_trace import AgentRun
from otel_agent_trace.dialects import any_agent, voltagent
from otel_agent_trace.testing import check_dialect
from tests.support.handwritten_spans import event, only_run, span

OPERATION = "gen_ai.operation.name"
CHAT = {OPERATION: "chat", "gen_ai.request.model": "m"}
ARGUMENTS = {"x": 1}


def calls_and_tools(run: AgentRun) -> list[Any]:
    """The last message of each model call, and each tool's name, arguments and result."""
    return [step.messages[-1].parts if step.messages else (step.name, step.input, step.output) for step in run.steps]


def test_outputs_of_any_agent() -> None:
    """Only the first call of a model has its messages; calls are written in a shape of its own."""
    model = {OPERATION: "call_llm", "gen_ai.request.model": "m"}
    called = {"gen_ai.output": [{"tool.name": "f", "tool.args": '{"x": 1}'}], "gen_ai.output.type": "json"}
    tool = {OPERATION: "execute_tool", "gen_ai.tool.name": "f", "gen_ai.tool.args": ARGUMENTS}
    spans = (
        span("1", None, (0, 90), "invoke_agent [any_agent]", {OPERATION: "invoke_agent", "gen_ai.agent.name": "clerk"}),
        span(
            "2",
            "1",
            (1, 9),
            "call_llm m",
            {**model, "gen_ai.input.messages": [{"role": "user", "content": "Q?"}], **called},
        ),
        span("3", "1", (10, 20), "execute_tool f", {**tool, "gen_ai.output": "1.10", "gen_ai.output.type": "text"}),
        span("4", "1", (21, 29), "call_llm m", {**model, "gen_ai.output": '{"n": 1}', "gen_ai.output.type": "json"}),
    )
    run = only_run(*spans)
    assert (run.agent_name, run.user_input, run.final_output) == ("clerk", "Q?", '{"n": 1}')
    assert calls_and_tools(run) == [
        ({"type": "tool_call", "id": None, "name": "f", "arguments": ARGUMENTS},),
        ("f", ARGUMENTS, "1.10"),
        ({"type": "text", "content": '{"n": 1}'},),
    ]
    check_dialect(any_agent.read, [item for item in spans if "gen_ai.output" in item.attributes])


def test_calls_of_koog_have_the_role_of_their_results() -> None:
    """Its events repeat earlier calls as choices, before the result that was sent back."""
    call = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}]
    asked = event("gen_ai.user.message", role="user", content="Q?")
    chosen = event("gen_ai.choice", role="tool", tool_calls=call, finish_reason="tool_calls")
    sent_back = event("gen_ai.tool.message", role="tool", content="one", id="c1")
    answered = event("gen_ai.assistant.message", role="assistant", content="A.")
    run = only_run(
        span("1", None, (0, 90), "run.r1", {OPERATION: "invoke_agent", "gen_ai.agent.id": "clerk"}),
        span("2", "1", (1, 9), "chat m", CHAT, events=(asked, chosen)),
        span("3", "1", (21, 29), "chat m", CHAT, events=(asked, chosen, sent_back, answered)),
    )
    assert (run.agent_name, run.user_input, run.final_output) == ("clerk", "Q?", "A.")
    first, tool, last = run.steps
    assert [message.role for message in first.messages] == ["user", "assistant"]
    assert (tool.name, tool.input, tool.output) == ("f", ARGUMENTS, "one")
    assert [message.role for message in last.messages] == ["user", "assistant", "tool", "assistant"]


def test_messages_of_koog_with_the_role_of_results() -> None:
    call = {"role": "Tool", "parts": [{"type": "tool_call", "id": "c1", "name": "f", "arguments": ARGUMENTS}]}
    asked = {"role": "User", "parts": [{"type": "text", "content": "Q?"}]}
    messages = {"gen_ai.input.messages": [asked], "gen_ai.output.messages": [call]}
    run = only_run(span("2", None, (1, 9), "chat m", {**CHAT, **messages}))
    assert [message.role for message in run.steps[0].messages] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("span_name", "agent_id", "name"),
    [
        ("run.r1", "clerk", "clerk"),
        ("run.r1", "weather_agent", "weather_agent"),
        ("invoke_agent desk-v2.1", "desk-v2.1", "desk-v2.1"),
        ("run.r1", "1b4e28ba-2fa1-11d2-883f-0016d3cca427", None),
        ("invoke_agent 1b4e28ba-2fa1-11d2-883f-0016d3cca427", "1b4e28ba-2fa1-11d2-883f-0016d3cca427", None),
        ("invoke_agent Clerk", "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "Clerk"),
        ("run", "asst_9AbC7dEf", None),
        ("run", "arn:aws:bedrock-agentcore:eu-west-1:1:runtime/clerk-x1", None),
    ],
)
def test_an_agents_id_is_its_name_if_it_is_one(span_name: str, agent_id: str, name: str | None) -> None:
    run = only_run(span("1", None, (0, 9), span_name, {OPERATION: "invoke_agent", "gen_ai.agent.id": agent_id}))
    assert run.agent_name == name


def test_names_of_ioa_observe_lose_the_kind_at_their_end() -> None:
    def of(kind: str, name: str, **more: Any) -> dict[str, Any]:
        return {"ioa_observe.span.kind": kind, "ioa_observe.entity.name": f"{name}.{kind}", **more}

    run = only_run(
        span("1", None, (0, 9), "clerk.agent", of("agent", "clerk")),
        span("2", "1", (1, 2), "f.tool", of("tool", "f", **{"ioa_observe.entity.output": "one"})),
    )
    assert (run.agent_name, run.steps[0].name, run.steps[0].output) == ("clerk", "f", "one")


def test_a_failed_tool_of_rig_has_an_outcome_and_no_status() -> None:
    called = {OPERATION: "execute_tool", "gen_ai.tool.name": "f", "gen_ai.tool.call.arguments": ARGUMENTS}
    failed = {"gen_ai.tool.call.outcome": "error", "gen_ai.tool.error.type": "timeout"}
    run = only_run(
        span("1", None, (0, 9), "invoke_agent", {OPERATION: "invoke_agent", "gen_ai.prompt": "Q?"}),
        span("2", "1", (1, 2), "execute_tool", {**called, **failed, "gen_ai.tool.call.result": "too slow"}),
        span("3", "1", (3, 4), "execute_tool", {**called, "gen_ai.tool.call.outcome": "success"}),
    )
    first, second = run.steps
    assert (first.error.type, first.error.message, first.output) == ("timeout", "too slow", None)
    assert (second.error, run.user_input) == (None, "Q?")


QUARKUS = "io.quarkus.opentelemetry"


def test_a_service_of_langchain4j_in_quarkus_is_an_agent() -> None:
    """Its failures are exceptions without a status."""
    tool = {OPERATION: "execute_tool", "gen_ai.tool.name": "f", "gen_ai.tool.call.arguments": ARGUMENTS}
    boom = event("exception", exception__type="java.lang.IllegalStateException", exception__message="boom")
    run = only_run(
        span("1", None, (0, 90), "POST /ask", {"http.request.method": "POST"}, scope=QUARKUS),
        span("2", "1", (1, 80), "langchain4j.aiservices.Clerk.chat", scope=QUARKUS),
        span("3", "2", (2, 9), "completion m", {**CHAT, "gen_ai.prompt": "Q?"}, scope=QUARKUS),
        span("4", "2", (10, 20), "langchain4j.tools.f", tool, scope=QUARKUS, events=(boom,)),
        span("5", "2", (30, 40), "completion m", {**CHAT, "gen_ai.completion": "A."}, scope=QUARKUS),
    )
    assert (run.agent_name, run.user_input, run.final_output) == ("Clerk", "Q?", "A.")
    assert [(step.name, step.error and step.error.message) for step in run.steps] == [
        ("m", None),
        ("f", "boom"),
        ("m", None),
    ]


@pytest.mark.parametrize(
    ("requested", "answered", "model"),
    [("m", "unknown", "m"), ("unknown", "m-1", "m-1"), ("unknown", "unknown", None), ("m", "none", "m")],
)
def test_an_unknown_model_is_none(requested: str, answered: str, model: str | None) -> None:
    """LangChain4j and Spring AI write words in place of what they do not know."""
    models = {"gen_ai.request.model": requested, "gen_ai.response.model": answered}
    run = only_run(span("1", None, (0, 9), f"chat {requested}", {OPERATION: "chat", **models}))
    assert run.steps[0].model == model


def of_voltagent(kind: str | None = None, **more: Any) -> dict[str, Any]:
    """The attributes that all spans of an agent share, and its own."""
    shared = {
        "entity.id": "clerk",
        "entity.type": "agent",
        "entity.name": "Clerk",
        "user.id": "u",
        "conversation.id": "s",
    }
    return {
        **shared,
        **({} if kind is None else {"span.type": kind}),
        **{key.replace("__", "."): value for key, value in more.items()},
    }


def test_an_agent_of_voltagent() -> None:
    sent = [{"role": "system", "content": "Be nice"}, {"role": "user", "content": [{"type": "text", "text": "Q?"}]}]
    usage = {"llm.usage.prompt_tokens": 20, "llm.usage.completion_tokens": 9, "llm.usage.total_tokens": 29}
    sums = {"usage.prompt_tokens": 20, "usage.completion_tokens": 9}
    tool = {"tool__name": "f", "tool__call__id": "c1", "tool__parameters": {"type": "object"}, "input": ARGUMENTS}
    below = {"subagent.name": "Writer", "subagent.id": "writer", "voltagent.is_subagent": True}
    spans = (
        span("1", None, (0, 90), "generateText", {**of_voltagent(input="Q?", output="A."), **sums}),
        span(
            "2", "1", (1, 80), "llm:generateText", {**of_voltagent("llm", llm__model="m", llm__messages=sent), **usage}
        ),
        span("3", "2", (10, 20), "tool.execution:f", of_voltagent("tool", output={"y": 2}, **tool)),
        span("4", "2", (21, 22), "tool.execution:f", of_voltagent("tool", error__type="Error", **tool), error="boom"),
        span("5", "1", (2, 3), "memory.read", of_voltagent("memory", memory__operation="read")),
        span("6", "2", (30, 40), "subagent:Writer", {**of_voltagent(input=sent, output="Text"), **below}),
    )
    run = only_run(*spans)
    assert (run.agent_name, run.user_input, run.final_output) == ("Clerk", "Q?", "A.")
    assert (run.session_id, run.user_id, run.usage.input_tokens) == ("s", "u", 20)
    model, first, failed, writer = run.steps
    assert (model.model, model.usage.output_tokens, model.messages[-1].text) == ("m", 9, "Q?")
    assert (first.name, first.input, first.output) == ("f", ARGUMENTS, {"y": 2})
    assert (failed.error.type, failed.error.message) == ("Error", "boom")
    assert (writer.name, writer.input, writer.output) == ("Writer", "Q?", "Text")
    check_dialect(voltagent.read, spans)


def test_the_agent_of_goose_is_written_twice() -> None:
    """Both spans have the question; neither has a name unless the program gave one."""
    asked = {OPERATION: "invoke_agent", "gen_ai.input.messages": [{"role": "user", "content": "Q?"}]}
    answered = {"gen_ai.output.messages": [{"role": "assistant", "content": "A."}]}
    run = only_run(
        span("1", None, (0, 90), "reply", {**asked, **answered}),
        span("2", "1", (1, 89), "reply_stream", {**asked, **answered, "gen_ai.conversation.id": "s"}),
        span("3", "2", (2, 9), "stream_response_from_provider", CHAT),
    )
    assert (run.user_input, run.final_output, run.session_id) == ("Q?", "A.", "s")
    assert [step.kind.value for step in run.steps] == ["model"]


def test_the_generation_of_mastra_is_named_after_its_model() -> None:
    generation = {**CHAT, "mastra.span.type": "model_generation"}
    run = only_run(
        span("1", None, (0, 90), "invoke_agent Clerk", {OPERATION: "invoke_agent", "mastra.span.type": "agent_run"}),
        span("2", "1", (1, 9), "chat m", generation),
    )
    assert [(step.name, step.model) for step in run.steps] == [("m", "m")]


def test_the_id_in_the_span_name_of_agent_framework_is_no_part_of_the_name() -> None:
    agent_id = "7f3a9b2c1d4e5f60718293a4b5c6d7e8"
    invoked = {OPERATION: "invoke_agent", "gen_ai.agent.id": agent_id}
    assert only_run(span("1", None, (0, 9), f"invoke_agent Clerk({agent_id})", invoked)).agent_name == "Clerk"


@pytest.mark.parametrize(
    ("others", "name"), [([], "get_weather"), ([("find_city", ARGUMENTS)], "DynamicStructuredTool")]
)
def test_a_failed_tool_of_langchain_in_javascript_is_named_by_the_call_with_its_arguments(
    others: list[tuple[str, Any]], name: str
) -> None:
    """Its span has the name of its class, and the models' messages have no calls; the graph's nodes were sent them."""
    calls = [{"id": "c1", "name": called, "args": given} for called, given in [("get_weather", ARGUMENTS), *others]]
    asked = {"content": "", "tool_calls": calls}
    message = {"lc": 1, "type": "constructor", "id": ["langchain_core", "messages", "AIMessage"], "kwargs": asked}
    scope = "@traceloop/instrumentation-langchain"
    kind, of = "traceloop.span.kind", "traceloop.entity."
    tool = {OPERATION: "execute_tool", kind: "task", f"{of}name": "DynamicStructuredTool"}
    run = only_run(
        span("1", None, (0, 90), "clerk.workflow", {kind: "workflow", f"{of}name": "clerk"}),
        span(
            "2",
            "1",
            (1, 9),
            "workflow RunnableLambda",
            {kind: "workflow", f"{of}input": {"messages": [message]}},
            scope=scope,
        ),
        span(
            "3",
            "1",
            (10, 20),
            "execute_tool DynamicStructuredTool",
            {**tool, f"{of}input": '{"args":["{\\"x\\": 1}"]}'},
            error="boom",
            scope=scope,
        ),
        span("4", "1", (30, 40), "chat m", CHAT, scope=scope),
    )
    assert [(step.name, step.input) for step in run.steps if step.error] == [(name, ARGUMENTS)]


def of_mlflow(kind: str, given: Any = None, gave: Any = None, **more: str) -> dict[str, Any]:
    values = {"mlflow.spanInputs": given, "mlflow.spanOutputs": gave}
    recorded = {key: json.dumps(value) for key, value in values.items() if value is not None}
    return {"mlflow.spanType": f'"{kind}"', **recorded, **more}


def test_the_runner_of_openai_agents_is_no_agent() -> None:
    run = only_run(
        span("1", None, (0, 90), "AgentRunner.run", of_mlflow("AGENT", {"input": "Q?"}, "A.")),
        span("2", "1", (1, 89), "Clerk", of_mlflow("AGENT", [{"role": "user", "content": "Q?"}])),
        span("3", "2", (2, 9), "Response", of_mlflow("CHAT_MODEL", model='"m"')),
    )
    assert (run.agent_name, run.user_input, run.final_output) == ("Clerk", "Q?", "A.")
    assert [(step.kind.value, step.model) for step in run.steps] == [("model", "m")]


def test_the_model_of_langchain_under_mlflow_is_a_parameter() -> None:
    model = of_mlflow("CHAT_MODEL", [[{"content": "Q?", "type": "human"}]], invocation_params='{"model": "m"}')
    run = only_run(
        span("1", None, (0, 90), "LangGraph", of_mlflow("CHAIN", {"messages": [{"role": "user", "content": "Q?"}]})),
        span("2", "1", (1, 9), "ChatOpenAI", model),
    )
    assert [(step.name, step.model) for step in run.steps] == [("m", "m")]
