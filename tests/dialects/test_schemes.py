"""Schemes of other tracers: an agent was asked about the weather in Lima, called a tool and answered, or failed.

The spans are written by hand after what the instrumentations emit; beside each stands what truly happened.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from otel_agent_trace import SpanRecord, runs_from_spans
from otel_agent_trace.dialects import (
    agentops,
    claude_code,
    crewai,
    genai,
    genkit,
    langfuse,
    langsmith,
    litellm,
    livekit,
    logfire,
    mlflow,
    monocle,
    openinference,
    spring_ai,
    traceloop,
    vendors,
    vercel,
)
from otel_agent_trace.span_facts import SpanFacts
from otel_agent_trace.testing import check_dialect
from tests.support.handwritten_spans import event, only_run, span, summary_of

ASKED, ANSWERED = "Weather in Lima?", "Lima: 19 degrees."
LIMA, WARM = {"city": "Lima"}, {"temp_c": 19}
TOOL = ("tool", "get_weather", LIMA, WARM)
CALLS = [{"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Lima"}'}}]
QUESTION = [{"role": "user", "content": ASKED}]
BOTH_CALLS = {"tokens": (250, 50)}
"""Of two calls of a model: the first asks for a tool, the second answers."""


def steps(model: str = "m") -> list[Any]:
    return [("model", model, 100, 20), TOOL, ("model", model, 150, 30)]


class Case(NamedTuple):
    read: Callable[[SpanRecord], SpanFacts | None]
    spans: tuple[SpanRecord, ...]
    truth: dict[str, Any]


# ── attributes of their own ──────────────────────────────────────────────────────────────────────────────────────────


def claude_code_that_fails() -> Case:
    def of(sort: str, **more: Any) -> dict[str, Any]:
        return {"span.type": sort, "session.id": "s1", "user.id": "u1", **more}

    used = {"model": "m", "input_tokens": 2, "output_tokens": 12, "cache_read_tokens": 80, "cache_creation_tokens": 10}
    shell = {"tool_name": "Bash", "tool_use_id": "t1", "gen_ai.tool.call.id": "t1"}
    listed = event("tool.output", bash_command="ls", output="a b")
    reason = "exit status 1"
    return Case(
        claude_code.read,
        (
            span("1", None, (0, 90), "claude_code.interaction", of("interaction", user_prompt=ASKED)),
            span("2", "1", (5, 20), "claude_code.llm_request", of("llm_request", success=True, **used)),
            span("3", "1", (21, 30), "claude_code.tool", of("tool", **shell), events=(listed,)),
            span("4", "3", (22, 23), "claude_code.tool.blocked_on_user", of("tool.blocked_on_user", decision="accept")),
            span(
                "5", "3", (24, 29), "claude_code.tool.execution", of("tool.execution", tool_use_id="t1", success=True)
            ),
            span(
                "6",
                "1",
                (31, 40),
                "claude_code.tool",
                of("tool", **{**shell, "tool_use_id": "t2", "gen_ai.tool.call.id": "t2"}),
            ),
            span(
                "7",
                "6",
                (32, 39),
                "claude_code.tool.execution",
                of("tool.execution", tool_use_id="t2", success=False, error=reason),
            ),
            span(
                "8",
                "1",
                (45, 60),
                "claude_code.llm_request",
                of("llm_request", model="m", success=False, error="overloaded"),
            ),
        ),
        {
            "asked": ASKED,
            "failed": "overloaded",
            "session": "s1",
            "user": "u1",
            "tokens": (92, 12),
            "steps": [
                ("model", "m", 92, 12),
                ("tool", "Bash", None, "a b"),
                ("tool", "Bash", None, None, reason),
                ("model", "m", None, None, "overloaded"),
            ],
        },
    )


def spring_ai_in_a_web_service() -> Case:
    def of(kind: str, **more: Any) -> dict[str, Any]:
        return {"gen_ai.operation.name": "framework", "gen_ai.system": "spring_ai", "spring.ai.kind": kind, **more}

    def chat(tokens_in: str, tokens_out: str) -> dict[str, Any]:
        used = {"gen_ai.usage.input_tokens": tokens_in, "gen_ai.usage.output_tokens": tokens_out}
        return {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", **used}

    called = {
        "spring.ai.tool.definition.name": "get_weather",
        "spring.ai.tool.call.arguments": '{"city":"Lima"}',
        "spring.ai.tool.call.result": '{"temp_c":19}',
    }
    asked = event("gen_ai.content.prompt", gen_ai__prompt=json.dumps([ASKED]))
    answered = event("gen_ai.content.completion", gen_ai__completion=json.dumps([ANSWERED]))
    session = {"spring.ai.chat.client.conversation.id": "s1"}
    return Case(
        spring_ai.read,
        (
            span("0", None, (0, 99), "http post /ask", {"http.request.method": "POST"}),
            span("1", "0", (0, 90), "spring_ai chat_client", of("chat_client", **session)),
            span("2", "1", (1, 89), "call", of("advisor", **{"spring.ai.advisor.name": "call"})),
            span("3", "2", (5, 20), "chat m", chat("100", "20"), events=(asked,)),
            span("4", "2", (21, 40), "tool_call get_weather", of("tool_call", **called)),
            span("5", "2", (45, 60), "chat m", chat("150", "30"), events=(answered,)),
        ),
        {"asked": ASKED, "answered": ANSWERED, "session": "s1", **BOTH_CALLS, "steps": steps()},
    )


def livekit_turn() -> Case:
    def request(tokens_in: int, tokens_out: int) -> dict[str, Any]:
        used = {"gen_ai.usage.input_tokens": tokens_in, "gen_ai.usage.output_tokens": tokens_out}
        return {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", **used}

    called = {
        "lk.function_tool.name": "get_weather",
        "lk.function_tool.arguments": '{"city": "Lima"}',
        "lk.function_tool.output": '{"temp_c": 19}',
        "lk.function_tool.is_error": False,
    }
    failed = {**called, "lk.function_tool.output": "no such city", "lk.function_tool.is_error": True}
    return Case(
        livekit.read,
        (
            span("1", None, (0, 99), "agent_session", {"lk.agent_name": "weather"}),
            span("2", "1", (1, 90), "agent_turn", {"lk.user_input": ASKED}),
            span("3", "2", (5, 20), "llm_node", {"lk.response.function_calls": "[]"}),
            span(
                "4",
                "3",
                (6, 19),
                "llm_request",
                request(100, 20),
                events=(event("gen_ai.user.message", content=ASKED),),
            ),
            span("5", "2", (21, 30), "function_tool", failed),
            span("6", "2", (31, 40), "function_tool", called),
            span(
                "7", "2", (45, 60), "llm_request", request(150, 30), events=(event("gen_ai.choice", content=ANSWERED),)
            ),
        ),
        {
            "agent": "weather",
            "asked": ASKED,
            "answered": ANSWERED,
            **BOTH_CALLS,
            "steps": [steps()[0], ("tool", "get_weather", LIMA, None, "no such city"), *steps()[1:]],
        },
    )


def mastra_with_sums_over_steps() -> Case:
    def of(sort: str, **more: Any) -> dict[str, Any]:
        return {"mastra.span.type": sort, **{key.replace("__", "."): value for key, value in more.items()}}

    def step(tokens_in: int, tokens_out: int) -> dict[str, Any]:
        return of("model_step", gen_ai__usage__input_tokens=tokens_in, gen_ai__usage__output_tokens=tokens_out)

    whole = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", **step(250, 50)}
    agent = of("agent_run", mastra__agent_run__input=QUESTION, mastra__agent_run__output={"text": ANSWERED})
    called = of("tool_call", mastra__tool_call__input=LIMA, mastra__tool_call__output=WARM)
    return Case(
        vendors.read,
        (
            span("1", None, (0, 90), "agent run: 'weather'", {**agent, "mastra.metadata.userId": "u1"}),
            span("2", "1", (1, 89), "llm: 'm'", {**whole, "mastra.span.type": "model_generation"}),
            span("3", "2", (5, 20), "step: 0", step(100, 20)),
            span("4", "3", (21, 40), "tool: 'get_weather'", called),
            span("5", "2", (45, 60), "step: 1", step(150, 30)),
        ),
        {"agent": "weather", "asked": ASKED, "answered": ANSWERED, "user": "u1", **BOTH_CALLS, "steps": steps()},
    )


def laminar() -> Case:
    def of(sort: str, given: Any, gave: Any, **more: Any) -> dict[str, Any]:
        return {"lmnr.span.type": sort, "lmnr.span.input": given, "lmnr.span.output": gave, **more}

    properties = "lmnr.association.properties."
    who = {f"{properties}session_id": "s1", f"{properties}user_id": "u1"}
    model = {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20}
    return Case(
        vendors.read,
        (
            span("1", None, (0, 90), "weather", of("DEFAULT", {"question": ASKED}, json.dumps(ANSWERED), **who)),
            span("2", "1", (5, 20), "openai.chat", {"lmnr.span.type": "LLM", **model}),
            span("3", "1", (21, 40), "get_weather", of("TOOL", LIMA, WARM)),
        ),
        {
            "agent": "weather",
            "asked": ASKED,
            "answered": ANSWERED,
            "session": "s1",
            "user": "u1",
            "tokens": (100, 20),
            "steps": steps()[:2],
        },
    )


def braintrust() -> Case:
    def of(sort: str, name: str, given: Any, gave: Any, **more: Any) -> dict[str, Any]:
        span_attributes = {"type": sort, "name": name}
        return {
            "braintrust.span_attributes": span_attributes,
            "braintrust.input_json": given,
            "braintrust.output_json": gave,
            **more,
        }

    counted = {
        "braintrust.metadata": {"model": "m"},
        "braintrust.metrics": {"prompt_tokens": 100, "completion_tokens": 20},
    }
    choices = [{"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": CALLS}}]
    return Case(
        vendors.read,
        (
            span("1", None, (0, 90), "root", of("task", "weather", json.dumps(ASKED), json.dumps(ANSWERED))),
            span("2", "1", (5, 20), "Chat Completion", of("llm", "Chat Completion", QUESTION, choices, **counted)),
            span("3", "1", (21, 40), "call", of("tool", "get_weather", LIMA, WARM)),
        ),
        {"agent": "weather", "asked": ASKED, "answered": ANSWERED, "tokens": (100, 20), "steps": steps()[:2]},
    )


def agent_universe() -> Case:
    def of(sort: str, name: str, given: Any, gave: Any) -> dict[str, Any]:
        values = {f"au.{sort}.name": name, f"au.{sort}.input": given, f"au.{sort}.output": gave}
        return {"au.span.kind": sort, **values}

    return Case(
        vendors.read,
        (
            span("1", None, (0, 90), "run", of("agent", "weather", {"input": ASKED}, {"output": ANSWERED})),
            span("2", "1", (5, 20), "run", of("tool", "get_weather", LIMA, WARM)),
        ),
        {"agent": "weather", "asked": ASKED, "answered": ANSWERED, "steps": [TOOL]},
    )


def deepeval() -> Case:
    def of(sort: str, **more: Any) -> dict[str, Any]:
        return {
            "confident.span.type": sort,
            **{f"confident.{key.replace('__', '.')}": value for key, value in more.items()},
        }

    counts = {"llm__model": "m", "llm__input_token_count": 100, "llm__output_token_count": 20}
    agent = of("agent", agent__name="weather", agent__input=ASKED, agent__output=ANSWERED, trace__thread_id="s1")
    return Case(
        vendors.read,
        (
            span("1", None, (0, 90), "run", agent),
            span("2", "1", (5, 20), "call", of("llm", span__input=[json.dumps(QUESTION[0])], **counts)),
            span("3", "1", (21, 40), "use", of("tool", tool__name="get_weather", tool__input=LIMA, span__output=WARM)),
        ),
        {
            "agent": "weather",
            "asked": ASKED,
            "answered": ANSWERED,
            "session": "s1",
            "tokens": (100, 20),
            "steps": steps()[:2],
        },
    )


def koog_that_hides_content() -> Case:
    hidden = event("gen_ai.user.message", body={"content": "HIDDEN:non-empty"})
    hidden_answer = event("gen_ai.assistant.message", body={"role": "Assistant", "content": "HIDDEN:non-empty"})
    model = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 100}
    invoked = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
    called = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "get_weather",
        "gen_ai.tool.call.arguments": LIMA,
    }
    return Case(
        genai.read,
        (
            span("0", None, (0, 99), "create_agent", {"gen_ai.operation.name": "create_agent"}),
            span("1", "0", (1, 90), "invoke_agent", invoked),
            span("2", "1", (4, 21), "node.execute", {"koog.node.name": "call", "koog.node.input": "x"}),
            span(
                "3",
                "2",
                (5, 20),
                "inference",
                {**model, "gen_ai.usage.output_tokens": 20},
                events=(hidden, hidden_answer),
            ),
            span("4", "1", (25, 40), "tool", called),
        ),
        {"agent": "weather", "tokens": (100, 20), "steps": [steps()[0], ("tool", "get_weather", LIMA, None)]},
    )


def hosted_agent_of_azure() -> Case:
    def of(operation: str, **more: Any) -> dict[str, Any]:
        return {"gen_ai.operation.name": operation, "gen_ai.thread.id": "s1", **more}

    def message_event(name: str, content: Any) -> Any:
        return event(name, gen_ai__event__content=content)

    asked = message_event("gen_ai.user.message", {"role": "user", "content": ASKED})
    answered = message_event(
        "gen_ai.assistant.message", {"role": "assistant", "content": {"text": {"value": ANSWERED}}}
    )
    used = {"gen_ai.usage.input_tokens": 250, "gen_ai.usage.output_tokens": 50}
    return Case(
        genai.read,
        (
            span("0", None, (0, 99), "main"),
            span("1", "0", (1, 2), "create_thread", of("create_thread")),
            span("2", "0", (3, 4), "create_message", of("create_message"), events=(asked,)),
            span("3", "0", (5, 80), "process_thread_run", of("process_thread_run", **used), events=(answered,)),
            span(
                "4", "3", (9, 20), "execute_tool get_weather", of("execute_tool", **{"gen_ai.tool.name": "get_weather"})
            ),
        ),
        {
            "asked": ASKED,
            "answered": ANSWERED,
            "session": "s1",
            **BOTH_CALLS,
            "steps": [("tool", "get_weather", None, None)],
        },
    )


# ── the conventions, and words that many share ───────────────────────────────────────────────────────────────────────


def semantic_kernel_for_net() -> Case:
    def message_event(name: str, **content: Any) -> Any:
        return event(name, gen_ai__event__content=content)

    used = {"gen_ai.response.prompt_tokens": 100, "gen_ai.response.completion_tokens": 20}
    call = {"gen_ai.operation.name": "chat.completions", "gen_ai.request.model": "m", **used}
    choice = message_event(
        "gen_ai.choice", index=0, message={"role": "Assistant", "content": None, "tool_calls": CALLS}
    )
    return Case(
        genai.read,
        (
            span(
                "1",
                None,
                (0, 90),
                "invoke_agent weather",
                {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"},
            ),
            span(
                "2",
                "1",
                (5, 20),
                "chat.completions m",
                call,
                events=(message_event("gen_ai.user.message", role="user", content=ASKED), choice),
            ),
        ),
        {
            "agent": "weather",
            "asked": ASKED,
            "tokens": (100, 20),
            "steps": [("model", "m", 100, 20), ("tool", "get_weather", LIMA, None)],
        },
    )


def function_of_google_genai() -> Case:
    values = {"code.function.parameters.city.value": "Lima", "code.function.parameters.city.type": "str"}
    called = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather", **values}
    model = {"gen_ai.operation.name": "generate_content", "gen_ai.request.model": "m"}
    return Case(
        genai.read,
        (
            span("1", None, (0, 90), "generate_content m", model),
            span(
                "2",
                "1",
                (5, 20),
                "execute_tool get_weather",
                {**called, "code.function.return.value": '{"temp_c": 19}'},
            ),
        ),
        {"steps": [("model", "m", None, None), TOOL]},
    )


def agno() -> Case:
    def of(kind: str, **more: Any) -> dict[str, Any]:
        return {"openinference.span.kind": kind, **{key.replace("__", "."): value for key, value in more.items()}}

    node = {"graph.node.id": "7f3c", "graph.node.name": "weather", "session.id": "s1"}
    return Case(
        openinference.read,
        (
            span(
                "1", None, (0, 90), "Weather.run", {**of("AGENT", input__value=ASKED, output__value=ANSWERED), **node}
            ),
            span(
                "2",
                "1",
                (5, 20),
                "get_weather",
                of("TOOL", tool__name="get_weather", input__value=LIMA, output__value=WARM),
            ),
        ),
        {"agent": "weather", "asked": ASKED, "answered": ANSWERED, "session": "s1", "steps": [TOOL]},
    )


def action_of_a_bedrock_agent() -> Case:
    called = {
        "openinference.span.kind": "TOOL",
        "tool.name": "weather_group",
        "tool_call.function.name": "get_weather",
        "tool_call.function.arguments": LIMA,
        "output.value": WARM,
    }
    asked = {"openinference.span.kind": "AGENT", "input.value": ASKED, "output.value": ANSWERED}
    return Case(
        openinference.read,
        (
            span("1", None, (0, 90), "bedrock_agent.invoke_agent", asked),
            span("2", "1", (5, 20), "action_group", called),
        ),
        {"agent": "bedrock_agent", "asked": ASKED, "answered": ANSWERED, "steps": [TOOL]},
    )


def llamaindex_in_traceloop() -> Case:
    def of(kind: str, name: str, given: Any, gave: Any) -> dict[str, Any]:
        entity = {"traceloop.entity.name": name, "traceloop.entity.input": given, "traceloop.entity.output": gave}
        return {"traceloop.span.kind": kind, **entity}

    raw = {"content": "19", "tool_name": "get_weather", "raw_input": {}, "raw_output": WARM, "is_error": False}
    return Case(
        traceloop.read,
        (
            span(
                "1",
                None,
                (0, 90),
                "Agent.workflow",
                of("workflow", "Agent", {"message": ASKED}, {"response": ANSWERED}),
            ),
            span("2", "1", (5, 20), "FunctionTool.tool", of("tool", "FunctionTool", LIMA, raw)),
        ),
        {"agent": "Agent", "asked": ASKED, "answered": ANSWERED, "steps": [TOOL]},
    )


def crewai_in_traceloop() -> Case:
    tasks = (
        f"[{{'agent': 'Weather Agent', 'description': '{ASKED}', 'tools': [Tool(name='get_weather')]}}]"  # no literal
    )
    crew = {"gen_ai.system": "crewai", "crewai.crew.tasks": tasks, "crewai.crew.result": ANSWERED}
    task = {"traceloop.span.kind": "task", "crewai.task.description": ASKED, "traceloop.entity.output": ANSWERED}
    agent = {"traceloop.span.kind": "agent", "crewai.agent.role": "Weather Agent", "crewai.agent.goal": "know"}
    tool = {"traceloop.span.kind": "tool", "traceloop.entity.name": "get_weather", "traceloop.entity.input": LIMA}
    return Case(
        crewai.read,
        (
            span("1", None, (0, 90), "crewai.workflow", crew),
            span("4", "1", (4, 81), f"{ASKED}.task", task),
            span("2", "4", (5, 80), "Weather Agent.agent", agent),
            span("3", "2", (9, 20), "get_weather.tool", tool),
        ),
        {
            "agent": "Weather Agent",
            "asked": ASKED,
            "answered": ANSWERED,
            "steps": [("tool", "get_weather", LIMA, None)],
        },
    )


def workflow_of_llamaindex_in_traceloop() -> Case:
    """Every span is a task; messages have blocks, and the answer says which agent gave it."""

    def task(**more: Any) -> dict[str, Any]:
        return {"traceloop.span.kind": "task", **more}

    def chat_message(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "additional_kwargs": {}, "blocks": [{"block_type": "text", "text": text}]}

    gave = {"tool_name": "get_weather", "raw_output": WARM, "is_error": False}
    failed = {"tool_name": "get_weather", "raw_output": "unknown city", "is_error": True}
    called = {"tool.name": "get_weather", "tool.arguments": LIMA}
    answer = {"result": {"response": chat_message("assistant", ANSWERED), "current_agent_name": "weather"}}
    asked = {"input": [chat_message("user", ASKED)], "current_agent_name": "weather"}
    counts = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20}
    chat = {"gen_ai.operation.name": "chat", "gen_ai.response.model": "m", **counts}
    root = {"traceloop.span.kind": "workflow", "traceloop.entity.name": "FunctionAgent.workflow"}

    def result(call_id: str, output: dict[str, Any]) -> dict[str, Any]:
        return {"tool_name": "get_weather", "tool_id": call_id, "tool_output": output}

    return Case(
        traceloop.read,
        (
            span("1", None, (0, 90), "FunctionAgent.workflow", {**root, "traceloop.entity.output": answer}),
            span("2", "1", (5, 20), "Model.task", task(**chat, **{"gen_ai.input.messages": QUESTION})),
            span(
                "3",
                "1",
                (21, 30),
                "Agent.task",
                task(**called, **{"traceloop.entity.output": result("c1", gave)}),
            ),
            span("4", "3", (22, 29), "FunctionTool.task", task(**{"traceloop.entity.input": {"kwargs": LIMA}})),
            span(
                "5",
                "1",
                (31, 40),
                "Agent.task",
                task(**called, **{"traceloop.entity.output": result("c2", failed)}),
            ),
            span("6", "1", (41, 42), "Agent.task", task(**{"traceloop.entity.output": asked})),
        ),
        {
            "agent": "weather",
            "asked": ASKED,
            "answered": ANSWERED,
            "tokens": (100, 20),
            "steps": [("model", "m", 100, 20), TOOL, ("tool", "get_weather", LIMA, None, "unknown city")],
        },
    )


def mcp_in_traceloop() -> Case:
    """Arguments and result stand in envelopes; what server and transport do is no step."""
    root = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
    tool = {"traceloop.span.kind": "tool", "traceloop.entity.name": "get_weather"}
    given = {"tool_name": "get_weather", "arguments": LIMA}
    envelopes = {"traceloop.entity.input": given, "traceloop.entity.output": {"result": json.dumps(WARM)}}
    greeting = {"traceloop.entity.input": {"method": "initialize"}, "traceloop.entity.output": {"serverInfo": {}}}
    return Case(
        traceloop.read,
        (
            span("1", None, (0, 90), "invoke_agent weather", root),
            span("2", "1", (1, 4), "initialize.mcp", greeting),
            span("3", "1", (5, 20), "get_weather.tool", {**tool, **envelopes}),
            span("4", "3", (6, 19), "ResponseStreamWriter", {"mcp.response.value": {"content": []}}),
        ),
        {"agent": "weather", "steps": [TOOL]},
    )


def crew_of_one_in_traceloop() -> Case:
    """Crew and task say whose they are, not what they are called."""
    invoke = {"gen_ai.operation.name": "invoke_agent"}
    crew = {"crewai.crew.agents": [{"role": "weather"}], "crewai.crew.tasks": [{"description": ASKED}]}
    agent = {"crewai.agent.role": "weather", "gen_ai.agent.name": "weather"}
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    counts = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20}
    scope = "opentelemetry.instrumentation.crewai.instrumentation"
    failure_messages = [
        {"role": "assistant", "tool_calls": CALLS},
        {"role": "tool", "tool_call_id": "c1", "content": "Error executing tool: unknown city"},
    ]
    return Case(
        crewai.read,
        (
            span(
                "1", None, (0, 90), "crewai.workflow", {**invoke, **crew, "crewai.crew.result": ANSWERED}, scope=scope
            ),
            span("2", "1", (1, 80), "x.task", {**invoke, "crewai.task.agent": "weather"}, scope=scope),
            span("3", "2", (2, 79), "weather.agent", {**invoke, **agent}, scope=scope),
            span("4", "3", (5, 20), "chat", {**chat, **counts, "gen_ai.input.messages": QUESTION}),
            span("5", "3", (25, 40), "chat", {**chat, **counts, "gen_ai.input.messages": failure_messages}),
        ),
        {
            "agent": "weather",
            "asked": ASKED,
            "answered": ANSWERED,
            "tokens": (200, 40),
            "steps": [
                ("model", "m", 100, 20),
                ("tool", "get_weather", LIMA, None, "Error executing tool: unknown city"),
                ("model", "m", 100, 20),
            ],
        },
    )


def litellm_in_the_span_of_the_caller() -> Case:
    """It writes what it knows of the last call on the span around all of them."""

    def call(asked: list[Any], answer: dict[str, Any], used: tuple[int, int], call_id: str) -> dict[str, Any]:
        usage = {"prompt_tokens": used[0], "completion_tokens": used[1]}
        choices = [{"index": 0, "message": answer}]
        return {
            "llm.openai.messages": repr(asked),
            "llm.openai.choices": repr(choices),
            "llm.openai.usage": repr(usage),
            "llm.openai.model": "m",
            "llm.openai.id": call_id,
        }

    last = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 150, "gen_ai.usage.output_tokens": 30}
    wish = {"role": "assistant", "content": None, "tool_calls": CALLS}
    result = {"role": "tool", "tool_call_id": "c1", "content": json.dumps(WARM)}
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather", "gen_ai.tool.call.id": "c1"}
    name = "raw_gen_ai_request"
    first = call(QUESTION, wish, (100, 20), "r1")
    second = call([*QUESTION, wish, result], {"role": "assistant", "content": ANSWERED}, (150, 30), "r2")
    return Case(
        litellm.read,
        (
            span("1", None, (0, 90), "invoke_agent weather", {**last, "gen_ai.agent.name": "weather"}),
            span("2", "1", (5, 20), name, first, scope="litellm"),
            span("3", "1", (21, 30), "execute_tool get_weather", tool),
            span("4", "1", (31, 40), name, second, scope="litellm"),
        ),
        {"agent": "weather", "asked": ASKED, "answered": ANSWERED, **BOTH_CALLS, "steps": steps()},
    )


def objects_in_openinference() -> Case:
    """What is not JSON stands as Python shows it, often cut; only the calls of the model have words."""

    def of(kind: str, given: Any, gave: Any) -> dict[str, Any]:
        return {"openinference.span.kind": kind, "input.value": given, "output.value": gave}

    shown = "StopEvent(result=AgentOutput(response=ChatMessage(role=<MessageRole.ASSISTANT: 'assis..."
    message = {"messages": ["ChatMessage(role=<MessageRole.USER: 'user'>, blocks=[])"]}
    counts = {"llm.token_count.prompt": 100, "llm.token_count.completion": 20}
    words = {
        "llm.model_name": "m",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": ASKED,
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": ANSWERED,
    }
    answer = {"message": {"role": "assistant", "content": ANSWERED}}
    return Case(
        openinference.read,
        (
            span("1", None, (0, 90), "Weather.run", of("CHAIN", "StartEvent(user_msg='Weat...", shown)),
            span("2", "1", (1, 3), "Model._prepare_chat", of("LLM", message, message)),
            span("3", "1", (5, 40), "Model.achat", {**of("LLM", message, answer), "llm.model_name": "m"}),
            span("4", "3", (6, 39), "Model.achat", {**of("LLM", message, "assistant: ..."), **words, **counts}),
            span("5", "1", (41, 50), "get_weather.__call__", of("TOOL", {"kwargs": LIMA}, WARM)),
        ),
        {
            "agent": "Weather",
            "asked": ASKED,
            "answered": ANSWERED,
            "tokens": (100, 20),
            "steps": [("model", "m", 100, 20), TOOL],
        },
    )


def events_as_spans_in_openinference() -> Case:
    """BeeAI: a span without a duration is something that happened in the one around it; the result tells the error."""
    words = 'ToolError(tools.errors): Tool Error\nContext: {"name": "get_weather"}\n  ValueError: unknown city'
    given = {"input": LIMA, "options": None}
    tool = {"openinference.span.kind": "TOOL", "tool.name": "get_weather", "input.value": given, "output.value": words}
    happened = {
        "openinference.span.kind": "TOOL",
        "input.value": {"error": "Tool Error", **given},
        "output.value": words,
    }
    root = {
        "openinference.span.kind": "AGENT",
        "agent.name": "weather",
        "input.value": {"input": ASKED},
        "output.value": ANSWERED,
    }
    return Case(
        openinference.read,
        (
            span("1", None, (0, 90), "weather", root),
            span("2", "1", (5, 20), "get_weather", tool, error="Tool Error"),
            span("3", "2", (19, 19), "error", happened, error="Tool Error"),
        ),
        {
            "agent": "weather",
            "asked": ASKED,
            "answered": ANSWERED,
            "steps": [("tool", "get_weather", LIMA, words, words)],
        },
    )


def handoff_in_traceloop() -> Case:
    def of(kind: str, **more: Any) -> dict[str, Any]:
        return {"traceloop.span.kind": kind, **{key.replace("__", "."): value for key, value in more.items()}}

    called = of("tool", gen_ai__tool__call__arguments=LIMA, gen_ai__tool__call__result=WARM)
    return Case(
        traceloop.read,
        (
            span("1", None, (0, 90), "Agent Workflow", of("workflow")),
            span("2", "1", (1, 40), "planner.agent", of("agent", gen_ai__agent__name="planner")),
            span("3", "2", (30, 31), "planner → weather.handoff", of("handoff")),
            span("4", "1", (41, 80), "weather.agent", of("agent")),
            span("5", "4", (45, 60), "get_weather.tool", {**called, "gen_ai.tool.name": "get_weather"}),
        ),
        {"agent": "planner", "steps": [("agent", {"agent": "weather", "steps": [TOOL]})]},
    )


def agentops_decorators() -> Case:
    def of(kind: str, name: str, given: Any, gave: Any) -> dict[str, Any]:
        entity = {"agentops.entity.input": {"args": [], "kwargs": given}, "agentops.entity.output": gave}
        return {"agentops.span.kind": kind, "operation.name": name, **entity}

    return Case(
        agentops.read,
        (
            span(
                "1", None, (0, 90), "weather.agent", of("agent", "weather", {"question": ASKED}, json.dumps(ANSWERED))
            ),
            span("2", "1", (5, 20), "get_weather.tool", of("tool", "get_weather", LIMA, WARM)),
        ),
        {"agent": "weather", "asked": ASKED, "answered": ANSWERED, "steps": [TOOL]},
    )


def langfuse_three() -> Case:
    def of(sort: str, given: Any, gave: Any, **more: Any) -> dict[str, Any]:
        pair = {"langfuse.observation.input": given, "langfuse.observation.output": gave}
        return {"langfuse.observation.type": sort, **pair, **more}

    def generation(given: Any, gave: Any, **usage: int) -> dict[str, Any]:
        model = {"langfuse.observation.model.name": "m", "langfuse.observation.usage_details": usage}
        return of("generation", given, gave, **model)

    wish = {"role": "assistant", "content": None, "tool_calls": CALLS}
    result = {"role": "tool", "tool_call_id": "c1", "content": '{"temp_c": 19}'}
    answer = {"role": "assistant", "content": ANSWERED}
    called = {"args": [ASKED], "kwargs": {}}
    return Case(
        langfuse.read,
        (
            span("1", None, (0, 90), "weather", of("span", called, json.dumps(ANSWERED), **{"session.id": "s1"})),
            span("2", "1", (5, 20), "generation", generation(QUESTION, wish, input=100, output=20, total=120)),
            span("3", "1", (21, 40), "get_weather", of("span", {"args": ["Lima"], "kwargs": {}}, WARM)),
            span("4", "1", (45, 60), "generation", generation([*QUESTION, wish, result], answer, input=150, output=30)),
        ),
        {"agent": "weather", "asked": ASKED, "answered": ANSWERED, "session": "s1", **BOTH_CALLS, "steps": steps()},
    )


def langsmith_traceable() -> Case:
    def of(kind: str, name: str, given: Any, gave: Any, **more: Any) -> dict[str, Any]:
        pair = {"gen_ai.prompt": given, "gen_ai.completion": gave}
        return {"langsmith.span.kind": kind, "langsmith.trace.name": name, **pair, **more}

    used = {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20}
    choices = {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": CALLS}}]}
    return Case(
        langsmith.read,
        (
            span("1", None, (0, 90), "weather", of("chain", "weather", {"question": ASKED}, {"output": ANSWERED})),
            span("2", "1", (5, 20), "ChatOpenAI", of("llm", "ChatOpenAI", {"messages": QUESTION}, choices, **used)),
            span("3", "1", (21, 40), "get_weather", of("tool", "get_weather", LIMA, {"output": WARM})),
        ),
        {"agent": "weather", "asked": ASKED, "answered": ANSWERED, "tokens": (100, 20), "steps": steps()[:2]},
    )


def logfire_around_the_clients() -> Case:
    def of(template: str, request: Any, response: Any) -> dict[str, Any]:
        data = {"request_data": {"model": "m", "messages": request}, "response_data": response}
        return {"logfire.span_type": "span", "logfire.msg_template": template, **data}

    use = {"type": "tool_use", "id": "c1", "name": "get_weather", "input": LIMA}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": '{"temp_c": 19}'}
    turns = [*QUESTION, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    first = {"message": {"role": "assistant", "content": [use]}, "usage": {"input_tokens": 100, "output_tokens": 20}}
    last = {"message": {"role": "assistant", "content": ANSWERED}, "usage": {"input_tokens": 150, "output_tokens": 30}}
    name = "Message with {request_data[model]!r}"
    return Case(
        logfire.read,
        (
            span("1", None, (0, 90), "ask", {"logfire.span_type": "span", "logfire.msg_template": "ask"}),
            span("2", "1", (5, 20), name, of(name, QUESTION, first)),
            span("3", "1", (45, 60), name, of(name, turns, last)),
        ),
        {"asked": ASKED, "answered": ANSWERED, **BOTH_CALLS, "steps": steps()},
    )


def mlflow_around_langgraph() -> Case:
    def of(kind: str, given: Any, gave: Any, **more: Any) -> dict[str, Any]:
        values = {"mlflow.spanType": kind, "mlflow.spanInputs": given, "mlflow.spanOutputs": gave, **more}
        return {key: json.dumps(value) for key, value in values.items()}

    wish = {"type": "ai", "content": "", "tool_calls": [{"name": "get_weather", "args": LIMA, "id": "c1"}]}
    counted = {
        "mlflow.chat.tokenUsage": {"input_tokens": 100, "output_tokens": 20},
    }
    asked = [{"type": "human", "content": ASKED}]
    result = {"type": "tool", "content": '{"temp_c": 19}', "tool_call_id": "c1", "status": "success"}
    state = {"messages": [*asked, {"type": "ai", "content": ANSWERED}]}
    return Case(
        mlflow.read,
        (
            span("1", None, (0, 90), "LangGraph", of("CHAIN", {"messages": asked}, state)),
            span(
                "2",
                "1",
                (5, 20),
                "ChatOpenAI",
                of("CHAT_MODEL", {"messages": asked, "model": "m"}, {"generations": [[{"message": wish}]]}, **counted),
            ),
            span("3", "1", (21, 40), "get_weather", of("TOOL", "{'city': 'Lima'}", result)),
        ),
        {"agent": "LangGraph", "asked": ASKED, "answered": ANSWERED, "tokens": (100, 20), "steps": steps()[:2]},
    )


def mlflow_around_dspy() -> Case:
    """Spans are called by class and method, and only the outermost one counts tokens."""

    def of(kind: str, given: Any, gave: Any) -> dict[str, Any]:
        return {"mlflow.spanType": json.dumps(kind), "mlflow.spanInputs": given, "mlflow.spanOutputs": gave}

    asked, answer = {"kwargs": {"question": ASKED}}, {"answer": ANSWERED}
    sums = {"mlflow.chat.tokenUsage": {"input_tokens": 250, "output_tokens": 50}}
    thread = {"metadata": {"thread_id": "s1"}}
    model = {"mlflow.llm.model": "m"}
    return Case(
        mlflow.read,
        (
            span("1", None, (0, 90), "Weather.forward", {**of("CHAIN", asked, answer), **sums}),
            span("2", "1", (1, 80), "ReAct.forward", {**of("AGENT", asked, answer), **thread}),
            span("3", "2", (2, 20), "LM.__call__", {**of("CHAT_MODEL", QUESTION, "text"), **model}),
            span("4", "2", (21, 30), "Tool.get_weather", of("TOOL", {"kwargs": LIMA}, WARM)),
        ),
        {
            "agent": "ReAct",
            "asked": ASKED,
            "answered": ANSWERED,
            "session": "s1",
            "tokens": (250, 50),
            "steps": [("model", "m", None, None), TOOL],
        },
    )


def vercel_without_a_name() -> Case:
    wish = {"type": "tool-call", "toolCallId": "c1", "toolName": "get_weather", "input": LIMA}
    value = {"type": "error-text", "value": "no such city"}
    result = {"type": "tool-result", "toolCallId": "c1", "toolName": "get_weather", "output": value}
    turns = [*QUESTION, {"role": "assistant", "content": [wish]}, {"role": "tool", "content": [result]}]
    call = {"ai.operationId": "ai.generateText.doGenerate", "ai.prompt.messages": turns, "ai.response.text": ANSWERED}
    used = {"ai.response.model": "m", "ai.usage.inputTokens": 150, "ai.usage.outputTokens": 30}
    whole = {"ai.operationId": "ai.generateText", "ai.prompt": {"prompt": ASKED}, "ai.response.text": ANSWERED}
    return Case(
        vercel.read,
        (
            span("1", None, (0, 90), "ai.generateText", whole),
            span("2", "1", (45, 60), "ai.generateText.doGenerate", {**call, **used}),
        ),
        {
            "asked": ASKED,
            "answered": ANSWERED,
            "tokens": (150, 30),
            "steps": [("tool", "get_weather", LIMA, None, "no such city"), ("model", "m", 150, 30)],
        },
    )


def genkit_whose_second_turn_is_within_the_first() -> Case:
    def of(sort: str, name: str, given: Any, gave: Any, **more: Any) -> dict[str, Any]:
        texts = {"genkit:input": json.dumps(given), "genkit:output": json.dumps(gave)}
        return {"genkit:type": "action", "genkit:metadata:subtype": sort, "genkit:name": name, **texts, **more}

    def answer(tokens: tuple[int, int], *content: Any) -> dict[str, Any]:
        usage = {"inputTokens": tokens[0], "outputTokens": tokens[1], "thoughtsTokens": 3}
        return {"message": {"role": "model", "content": [*content]}, "usage": usage}

    generate = {"genkit:type": "util", "genkit:name": "generate"}
    asked = {"role": "user", "content": [{"text": ASKED}]}
    called = {"toolRequest": {"name": "get_weather", "ref": "c1", "input": LIMA}}
    given = {"toolResponse": {"name": "get_weather", "ref": "c1", "output": WARM}}
    turns = [asked, {"role": "model", "content": [called]}, {"role": "tool", "content": [given]}]
    first = of("model", "acme/m", {"messages": [asked]}, answer((100, 20), called))
    second = of("model", "acme/m", {"messages": turns}, answer((150, 30), {"text": ANSWERED}))
    return Case(
        genkit.read,
        (
            span("1", None, (0, 90), "weather", of("flow", "weather", ASKED, ANSWERED)),
            span("2", "1", (1, 89), "generate", generate),
            span("3", "2", (5, 20), "acme/m", first),
            span("4", "2", (21, 40), "get_weather", of("tool", "get_weather", LIMA, WARM)),
            span("5", "2", (44, 88), "generate", generate),
            span("6", "5", (45, 60), "acme/m", second),
        ),
        {"agent": "weather", "asked": ASKED, "answered": ANSWERED, **BOTH_CALLS, "steps": steps()},
    )


def turns_of_one_agent_in_monocle() -> Case:
    def of(sort: str, *entities: tuple[str, str | None]) -> dict[str, Any]:
        named = {
            f"entity.{number}.{key}": value
            for number, (kind, name) in enumerate(entities, 1)
            for key, value in (("type", kind), ("name", name))
            if value is not None
        }
        return {"span.type": sort, "monocle_apptrace.version": "0.6.0", "workflow.name": "app", **named}

    def content(given: Any, gave: Any, **counts: Any) -> tuple[Any, ...]:
        metadata = (event("metadata", **counts),) if counts else ()
        return (event("data.input", input=given), event("data.output", response=gave), *metadata)

    def counts(sent: int, answered: int) -> dict[str, Any]:
        return {"prompt_tokens": sent, "completion_tokens": answered, "total_tokens": sent + answered}

    agent, model = ("agent.openai_agents", "weather"), (("inference.openai", None), ("model.llm.m", "m"))
    tool = (("tool.mcp", "get_weather"), agent)
    asked = json.dumps({"user": ASKED})
    call = {"tools": [{"tool_id": "c1", "tool_name": "get_weather", "tool_arguments": json.dumps(LIMA)}]}
    turn, invocation = "agentic.turn", "agentic.invocation"
    second = content([asked, json.dumps(call)], json.dumps({"assistant": ANSWERED}), **counts(150, 30))
    mcp = of("agentic.mcp.invocation", ("mcp.server", "get_weather"))
    return Case(
        monocle.read,
        (
            span("1", None, (0, 99), "workflow", of("workflow", ("workflow.generic", "app"))),
            span("2", "1", (1, 98), "run", of(turn, ("agent.openai_agents", None)), events=content([ASKED], ANSWERED)),
            span("3", "2", (2, 41), "turn", of(invocation, agent), events=(event("data.input", input=[ASKED]),)),
            span(
                "4",
                "3",
                (5, 20),
                "create",
                of("inference", *model),
                events=content([asked], json.dumps(call), **counts(100, 20)),
            ),
            span(
                "5",
                "3",
                (21, 40),
                "tool",
                of("agentic.tool.invocation", *tool),
                events=content(str(LIMA), json.dumps(WARM)),
            ),
            span("6", "5", (22, 39), "send", mcp, events=content([json.dumps(LIMA)], json.dumps(WARM))),
            span("7", "2", (42, 97), "turn", of(invocation, agent), events=content([ASKED], ANSWERED)),
            span("8", "7", (45, 60), "create", of("inference.framework", *model), events=second),
            span("9", "8", (46, 59), "create", of("inference.modelapi")),
        ),
        {"agent": "weather", "asked": ASKED, "answered": ANSWERED, **BOTH_CALLS, "steps": steps()},
    )


def qwen_code_whose_kinds_are_names() -> Case:
    def of(**more: Any) -> dict[str, Any]:
        return {"session.id": "s1", **{key.replace("__", "."): value for key, value in more.items()}}

    def model(tokens_in: int, tokens_out: int) -> dict[str, Any]:
        return of(
            gen_ai__request__model="m",
            gen_ai__operation__name="chat",
            gen_ai__usage__input_tokens=tokens_in,
            gen_ai__usage__output_tokens=tokens_out,
            success=True,
        )

    tool = of(
        gen_ai__operation__name="execute_tool",
        gen_ai__tool__name="get_weather",
        tool__call_id="c1",
        tool_input=f"[TOOL INPUT: get_weather]\n{json.dumps(LIMA)}",
        tool_result=f"[TOOL RESULT: get_weather]\n{json.dumps(WARM)}",
        success=True,
    )
    execution = of(gen_ai__tool__name="get_weather", tool__call_id="c1", success=True)
    logged = (event("assistant_response", response="<REDACTED>"), event("assistant_response", response=ANSWERED))
    return Case(
        claude_code.read,
        (
            span(
                "1",
                None,
                (0, 90),
                "qwen-code.interaction",
                of(new_context=f"[USER PROMPT]\n{ASKED}"),
                scope="qwen-code",
                events=logged,
            ),
            span("2", "1", (5, 20), "qwen-code.llm_request", model(100, 20), scope="qwen-code"),
            span("3", "1", (21, 40), "qwen-code.tool", tool, scope="qwen-code"),
            span("4", "3", (22, 39), "qwen-code.tool.execution", execution, scope="qwen-code"),
            span("5", "1", (45, 60), "qwen-code.llm_request", model(150, 30), scope="qwen-code"),
        ),
        {"asked": ASKED, "answered": ANSWERED, "session": "s1", **BOTH_CALLS, "steps": steps()},
    )


CASES = (
    *(
        claude_code_that_fails,
        spring_ai_in_a_web_service,
        livekit_turn,
        mastra_with_sums_over_steps,
        laminar,
        braintrust,
        agent_universe,
        deepeval,
        koog_that_hides_content,
    ),
    *(hosted_agent_of_azure, semantic_kernel_for_net, function_of_google_genai, agno, action_of_a_bedrock_agent),
    *(
        llamaindex_in_traceloop,
        crewai_in_traceloop,
        handoff_in_traceloop,
        workflow_of_llamaindex_in_traceloop,
        crew_of_one_in_traceloop,
        mcp_in_traceloop,
        agentops_decorators,
        langfuse_three,
        langsmith_traceable,
    ),
    *(litellm_in_the_span_of_the_caller, objects_in_openinference, events_as_spans_in_openinference),
    *(genkit_whose_second_turn_is_within_the_first, turns_of_one_agent_in_monocle, qwen_code_whose_kinds_are_names),
    *(logfire_around_the_clients, mlflow_around_langgraph, mlflow_around_dspy, vercel_without_a_name),
)


@pytest.mark.parametrize("make", CASES)
def test_the_run_is_what_happened(make: Callable[[], Case]) -> None:
    case = make()
    assert summary_of(only_run(*case.spans)) == case.truth


@pytest.mark.parametrize("make", CASES)
def test_hostile_values_do_no_harm(make: Callable[[], Case]) -> None:
    case = make()
    check_dialect(case.read, [item for item in case.spans if case.read(item) is not None])


@pytest.mark.parametrize("make", CASES)
def test_what_was_lost_is_missing_and_not_wrong(make: Callable[[], Case]) -> None:
    case = make()
    true_steps = tools_in(case.truth)
    for lost in case.spans:
        for run in runs_from_spans(item for item in case.spans if item is not lost):
            facts = summary_of(run)
            for fact in ("session", "user", "asked"):
                assert facts.get(fact) in (None, case.truth.get(fact)), (lost.name, fact)
            steps_left = tools_in(facts)
            assert all(any(_is_part_of(step, whole) for whole in true_steps) for step in steps_left), lost.name


def tools_in(facts: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The tool steps of a run and of the agents in it."""
    own = [step for step in facts["steps"] if step[0] == "tool"]
    return own + [step for agent in facts["steps"] if agent[0] == "agent" for step in tools_in(agent[1])]


def _is_part_of(step: tuple[Any, ...], whole: tuple[Any, ...]) -> bool:
    """Whether a step tells nothing that is not in the whole one."""
    return step == whole or (len(step) <= len(whole) and all(a in (None, b) for a, b in zip(step, whole, strict=False)))


def test_a_tool_that_took_no_time_by_a_coarse_clock_is_a_step() -> None:
    root = {"openinference.span.kind": "AGENT", "agent.name": "weather"}
    tool = {"openinference.span.kind": "TOOL", "input.value": LIMA, "output.value": WARM}
    run = only_run(span("1", None, (0, 90), "weather", root), span("2", "1", (5, 5), "get_weather", tool))
    assert summary_of(run)["steps"] == [TOOL]
