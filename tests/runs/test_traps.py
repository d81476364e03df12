"""What misleads a reader of other tracers' spans, each trap by itself: a rule holds whoever wrote the spans."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import msgspec
import pytest

from otel_agent_trace import RunStatus, SpanRecord, runs_from_spans
from tests.support.handwritten_spans import TRACE, event, only_run, span, summary_of

LIMA, WARM = {"city": "Lima"}, {"temp_c": 19}
TOOL = ("tool", "get_weather", LIMA, WARM)


def agent(name: str = "weather", **more: Any) -> dict[str, Any]:
    return named(gen_ai__operation__name="invoke_agent", gen_ai__agent__name=name, **more)


def chat(tokens_in: int | None = None, tokens_out: int | None = None, **more: Any) -> dict[str, Any]:
    used = (
        {}
        if tokens_in is None
        else {"gen_ai__usage__input_tokens": tokens_in, "gen_ai__usage__output_tokens": tokens_out}
    )
    return named(gen_ai__operation__name="chat", gen_ai__request__model="m", **used, **more)


def tool(name: str = "get_weather", given: Any = LIMA, gave: Any = WARM, **more: Any) -> dict[str, Any]:
    call = {"gen_ai__tool__call__arguments": given, "gen_ai__tool__call__result": gave}
    values = {key: value for key, value in call.items() if value is not None}
    return named(gen_ai__operation__name="execute_tool", gen_ai__tool__name=name, **values, **more)


def named(**attributes: Any) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in attributes.items()}


def message(role: str, *parts: dict[str, Any] | str) -> dict[str, Any]:
    texts = [{"type": "text", "content": part} if isinstance(part, str) else part for part in parts]
    return {"role": role, "parts": texts}


def wish(call_id: str, city: str, name: str = "get_weather") -> dict[str, Any]:
    return {"type": "tool_call", "id": call_id, "name": name, "arguments": {"city": city}}


def answer(call_id: str, response: Any) -> dict[str, Any]:
    return {"type": "tool_call_response", "id": call_id, "response": response}


# ── 1: sums ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_sum_on_an_agent_is_not_counted_beside_its_calls() -> None:
    sums: dict[str, Any] = {"gen_ai__usage__input_tokens": 250, "gen_ai__usage__output_tokens": 50}
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent(**sums)),
        span("2", "1", (5, 20), "chat m", chat(100, 20)),
        span("3", "1", (45, 60), "chat m", chat(150, 30)),
    )
    assert summary_of(run)["tokens"] == (250, 50)


def test_an_agent_without_calls_below_it_counts_itself() -> None:
    sums: dict[str, Any] = {"gen_ai__usage__input_tokens": 250, "gen_ai__usage__output_tokens": 50}
    assert summary_of(only_run(span("1", None, (0, 90), "x", agent(**sums))))["tokens"] == (250, 50)


def test_a_model_span_around_several_calls_is_their_sum() -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (1, 89), "generate", chat(250, 50)),
        span("3", "2", (5, 20), "step", chat(100, 20)),
        span("4", "2", (21, 30), "execute_tool get_weather", tool()),
        span("5", "2", (45, 60), "step", chat(150, 30)),
    )
    assert summary_of(run)["tokens"] == (250, 50)
    assert summary_of(run)["steps"] == [("model", "m", 100, 20), TOOL, ("model", "m", 150, 30)]


def test_steps_of_a_model_span_that_count_nothing_are_parts_of_it() -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (1, 89), "generate", chat(250, 50)),
        span("3", "2", (5, 20), "step", chat()),
        span("4", "3", (21, 30), "execute_tool get_weather", tool()),
        span("5", "2", (45, 60), "step", chat()),
    )
    assert summary_of(run)["tokens"] == (250, 50)
    assert summary_of(run)["steps"] == [("model", "m", 250, 50), TOOL]


# ── 2: two spans of one model call ───────────────────────────────────────────────────────────────────────────────────


def test_a_wrapper_and_the_client_in_it_are_one_call() -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span(
            "2", "1", (5, 20), "chat m", chat(gen_ai__output__messages=[message("assistant", "Warm.")]), scope="outer"
        ),
        span("3", "2", (6, 19), "chat m", chat(100, 20), scope="client"),
    )
    assert summary_of(run)["steps"] == [("model", "m", 100, 20)]
    assert run.final_output == "Warm."


@pytest.mark.parametrize("lost_root", [False, True])
def test_two_instrumentations_side_by_side_saw_one_call(lost_root: bool) -> None:
    spans = (
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (5, 20), "chat m", chat(100, 20, gen_ai__response__id="r1"), scope="vendor"),
        span("3", "1", (4, 21), "chat m", chat(100, 20, gen_ai__response__id="r1"), scope="library"),
        span("4", "1", (45, 60), "chat m", chat(150, 30, gen_ai__response__id="r2"), scope="vendor"),
        span("5", "1", (44, 61), "chat m", chat(150, 30), scope="library"),
    )
    run = only_run(*spans[lost_root:])
    assert summary_of(run)["steps"] == [("model", "m", 100, 20), ("model", "m", 150, 30)]


def test_spans_with_one_response_are_one_call_though_neither_lasted_within_the_other() -> None:
    """The consumer of a stream left early, which Anthropic's own span and OpenInference's count differently."""
    response = {"id": "msg_1", "content": [{"type": "text", "text": "Warm"}]}
    llm = {"openinference.span.kind": "LLM", "llm.model_name": "m", "llm.token_count.prompt": 150}
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (5, 20), "messages.stream", {**llm, "output.value": response}, scope="library"),
        span("3", "1", (6, 25), "chat m", chat(150, 0, gen_ai__response__id="msg_1"), scope="vendor"),
    )
    assert [step.kind.value for step in run.steps] == ["model"]


# ── 3: two spans of one tool call, and what is no tool ───────────────────────────────────────────────────────────────


def test_client_and_server_of_a_tool_are_one_call() -> None:
    server = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "get_weather", "gen_ai.tool.call.result": WARM}
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (10, 40), "execute_tool get_weather", tool(gave=None), scope="framework"),
        span(
            "3",
            "2",
            (11, 39),
            "tools/call get_weather",
            tool(given=None, gave=None, mcp__method__name="tools/call"),
            scope="mcp",
        ),
        span("4", "3", (12, 38), "tools/call get_weather", server, scope="mcp", service="weather-server"),
        span("5", "1", (1, 2), "tools/list", {"mcp.method.name": "tools/list"}),
    )
    assert summary_of(run)["steps"] == [TOOL]


def test_a_tool_that_calls_another_tool_is_two_calls() -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (10, 40), "execute_tool plan", tool("plan"), scope="framework"),
        span("3", "2", (11, 39), "execute_tool get_weather", tool(), scope="library"),
    )
    assert [step.name for step in run.tool_steps] == ["plan", "get_weather"]


def test_a_tool_within_the_same_tool_with_the_same_arguments_is_one_call() -> None:
    """A wrapper that traces what the framework traces too, by the same instrumentation."""
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (10, 40), "execute_tool get_weather", tool(gave=None)),
        span("3", "2", (11, 39), "get_weather", tool()),
    )
    assert summary_of(run)["steps"] == [TOOL]


def test_a_tool_that_calls_itself_with_other_arguments_is_two_calls() -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (10, 40), "execute_tool get_weather", tool()),
        span("3", "2", (11, 39), "execute_tool get_weather", tool(given={"city": "Callao"})),
    )
    assert [step.input for step in run.tool_steps] == [LIMA, {"city": "Callao"}]


@pytest.mark.parametrize("scope", ["", "retries"])
def test_a_tool_span_around_several_attempts_is_no_call_besides_them(scope: str) -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (10, 60), "execute_tool get_weather", tool()),
        span("3", "2", (11, 20), "execute_tool get_weather", tool(gave=None), error="down", scope=scope),
        span("4", "2", (21, 30), "execute_tool get_weather", tool(), scope=scope),
    )
    assert summary_of(run)["steps"] == [("tool", "get_weather", LIMA, None, "down"), TOOL]


def test_a_chat_that_names_the_tools_it_asked_for_is_no_tool() -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (5, 20), "chat m", chat(100, 20, gen_ai__tool__name="get_weather, get_weather")),
    )
    assert summary_of(run)["steps"] == [("model", "m", 100, 20)]


# ── 4, 5: decoys, and spans that were lost ───────────────────────────────────────────────────────────────────────────


def test_a_trace_without_model_tool_or_agent_gives_no_run() -> None:
    decoy = span(
        "1", None, (0, 5), "create_agent weather", named(gen_ai__operation__name="create_agent"), trace="d" * 32
    )
    web = (
        span("2", None, (0, 9), "POST /orders", {"http.request.method": "POST", "function.name": "f"}, trace="e" * 32),
        span(
            "3", "2", (1, 8), "SELECT", {"db.system": "postgresql", "span.type": "sql", "events": "3"}, trace="e" * 32
        ),
    )
    assert list(runs_from_spans([decoy, *web])) == []


def test_two_agents_below_one_request_are_two_runs() -> None:
    runs = runs_from_spans(
        [
            span("1", None, (0, 99), "POST /ask", {"http.request.method": "POST", "vendor.span.type": "web"}),
            span("2", "1", (1, 20), "invoke_agent weather", agent("weather")),
            span("3", "2", (2, 9), "execute_tool get_weather", tool()),
            span("4", "1", (21, 40), "invoke_agent news", agent("news")),
        ]
    )
    assert [(run.agent_name, len(run.steps)) for run in runs] == [("weather", 1), ("news", 0)]


@pytest.mark.parametrize(("flags", "runs"), [(0x301, 2), (0x101, 1)])
def test_two_agents_below_a_request_of_another_program_are_two_runs(flags: int, runs: int) -> None:
    """Where the parent is one of this program, it was a run that was lost."""
    spans = [
        span("2", "1", (1, 20), "invoke_agent weather", agent("weather")),
        span("4", "1", (21, 40), "invoke_agent news", agent("news")),
    ]
    assert len(runs_from_spans(msgspec.structs.replace(item, flags=flags) for item in spans)) == runs


def test_what_is_left_without_its_root_is_one_run() -> None:
    run = only_run(
        span("2", "1", (5, 20), "chat m", chat(100, 20, gen_ai__input__messages=[message("user", "Lima?")])),
        span("3", "1", (21, 40), "execute_tool get_weather", tool()),
        span("4", "1", (45, 60), "chat m", chat(150, 30, gen_ai__output__messages=[message("assistant", "Warm.")])),
    )
    assert summary_of(run) == {
        "asked": "Lima?",
        "answered": "Warm.",
        "tokens": (250, 50),
        "steps": [("model", "m", 100, 20), TOOL, ("model", "m", 150, 30)],
    }


def test_steps_whose_parent_was_lost_stay_in_the_run_around_them() -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("3", "2", (5, 20), "chat m", chat(100, 20)),
        span("4", "2", (21, 40), "execute_tool get_weather", tool()),
    )
    assert summary_of(run) == {
        "agent": "weather",
        "tokens": (100, 20),
        "steps": [("model", "m", 100, 20), TOOL],
    }


def test_a_step_without_parent_goes_below_none_of_two_that_went_on_at_once() -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent boss", agent("boss")),
        span("2", "1", (5, 50), "invoke_agent one", agent("one")),
        span("3", "1", (5, 50), "invoke_agent two", agent("two")),
        span("5", "4", (21, 40), "execute_tool get_weather", tool()),
    )
    assert [step.name for step in run.tool_steps] == ["get_weather"]


def test_a_lone_model_call_tells_what_was_asked() -> None:
    messages = {
        "gen_ai__input__messages": [message("user", "Lima?")],
        "gen_ai__output__messages": [message("assistant", "Warm.")],
    }
    run = only_run(span("1", None, (0, 9), "chat m", chat(100, 20, **messages)))
    assert (run.user_input, run.final_output) == ("Lima?", "Warm.")


# ── 6, 7: how runs and steps fail ────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_last_call_fails_the_run_whose_root_does_not_say_so() -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (5, 20), "chat m", chat(), error="rate limit"),
    )
    assert (run.status, run.error and run.error.message) == (RunStatus.ERROR, "rate limit")


def test_a_failed_tool_in_a_run_that_answers_is_an_error_of_the_step() -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (21, 40), "execute_tool get_weather", tool(gave=None), error="no such city"),
        span("3", "1", (45, 60), "chat m", chat(gen_ai__output__messages=[message("assistant", "Sorry.")])),
    )
    assert (run.status, run.error) == (RunStatus.SUCCESS, None)
    assert summary_of(run)["steps"][0] == ("tool", "get_weather", LIMA, None, "no such city")


ERRORS = {
    "status": ({}, "ValueError: no such city", (), "ValueError"),
    "event": (
        {},
        "",
        (event("exception", exception__type="ValueError", exception__message="no such city"),),
        "ValueError",
    ),
    "attribute": ({"error.type": "ValueError"}, "no such city", (), "ValueError"),
    "traceback": ({}, "ValueError: no such city\n\nTraceback (most recent call last):\n  File", (), "ValueError"),
}


@pytest.mark.parametrize("where", ERRORS)
def test_the_error_is_read_wherever_it_stands(where: str) -> None:
    attributes, status, events, kind = ERRORS[where]
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span(
            "2",
            "1",
            (21, 40),
            "execute_tool get_weather",
            {**tool(gave=None), **attributes},
            error=status,
            events=events,
        ),
    )
    error = run.steps[0].error
    assert error is not None
    assert error.type == kind
    assert error.message.removeprefix("ValueError: ") == "no such city"


# ── 8, 9: envelopes ──────────────────────────────────────────────────────────────────────────────────────────────────

ARGUMENTS = {
    "object": LIMA,
    "kwargs": {"args": [], "kwargs": LIMA},
    "inputs": {"inputs": LIMA, "tags": []},
    "call": {"tool_name": "get_weather", "arguments": LIMA},
    "call in JSON": {"name": "get_weather", "arguments": json.dumps(LIMA)},
    "repr": "{'city': 'Lima'}",
    "JSON in JSON": json.dumps(json.dumps(LIMA)),
}
RESULTS = {
    "object": WARM,
    "repr": "{'temp_c': 19}",
    "quoted": json.dumps(json.dumps(WARM)),
    "blocks": [{"type": "text", "text": json.dumps(WARM)}],
    "JSON block": [{"json": WARM}],
    "MCP": {"content": [{"type": "text", "text": json.dumps(WARM)}], "isError": False},
    "message": {"type": "tool", "content": json.dumps(WARM), "tool_call_id": "c1"},
    "message in its class": {
        "lc": 1,
        "type": "constructor",
        "id": ["ToolMessage"],
        "kwargs": {"content": json.dumps(WARM)},
    },
    "typed value": {"type": "json", "value": WARM},
}


@pytest.mark.parametrize(("given", "gave"), [*itertools.zip_longest(ARGUMENTS, RESULTS, fillvalue="object")])
def test_envelopes_are_taken_off(given: str, gave: str) -> None:
    values = {"input.value": ARGUMENTS[given], "output.value": RESULTS[gave]}
    run = only_run(
        span("1", None, (0, 90), "weather", {"openinference.span.kind": "AGENT"}),
        span("2", "1", (21, 40), "t", {"openinference.span.kind": "TOOL", "tool.name": "get_weather", **values}),
    )
    assert summary_of(run)["steps"] == [TOOL]


@pytest.mark.parametrize("given", ["kwargs", "inputs", "call"])
@pytest.mark.parametrize(
    "gave", [{"result": WARM}, {"output": WARM, "metadata": {}}, {"raw_output": 1, "tool_name": "t"}]
)
def test_values_of_standard_attributes_are_those_of_the_tool(given: str, gave: dict[str, Any]) -> None:
    """MCP gateways and code runners have parameters called name and arguments, tools return a result and metadata."""
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (21, 40), "execute_tool get_weather", tool(given=ARGUMENTS[given], gave=gave)),
    )
    assert summary_of(run)["steps"] == [("tool", "get_weather", ARGUMENTS[given], gave)]


def test_a_bare_value_is_the_argument_that_the_model_named() -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (5, 20), "chat m", chat(gen_ai__output__messages=[message("assistant", wish("c1", "Lima"))])),
        span("3", "1", (21, 40), "execute_tool get_weather", tool(given="Lima")),
    )
    assert summary_of(run)["steps"][1] == TOOL


def test_data_of_the_tool_that_looks_like_an_envelope_stays() -> None:
    given, gave = {"inputs": [1], "unit": "C"}, {"output": "x", "lines": 2}
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (21, 40), "execute_tool get_weather", tool(given=given, gave=gave)),
    )
    assert summary_of(run)["steps"] == [("tool", "get_weather", given, gave)]


# ── 10, 11: messages ─────────────────────────────────────────────────────────────────────────────────────────────────

TURNS = {
    "parts": [message("user", "Lima?"), message("assistant", wish("c1", "Lima")), message("tool", answer("c1", WARM))],
    "results in the user's words": [message("user", "Lima?"), message("assistant", wish("c1", "Lima")), message("user", answer("c1", WARM))],
    "OpenAI": [
        {"role": "user", "content": "Lima?"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "get_weather", "arguments": json.dumps(LIMA)}}]},
        {"role": "tool", "tool_call_id": "c1", "content": json.dumps(WARM)},
    ],
    "items": [
        {"role": "user", "content": [{"type": "input_text", "text": "Lima?"}]},
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": json.dumps(LIMA)},
        {"type": "function_call_output", "call_id": "c1", "output": json.dumps(WARM)},
    ],
    "Anthropic": [
        {"role": "user", "content": "Lima?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "get_weather", "input": LIMA}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": json.dumps(WARM)}]},
    ],
    "Bedrock": [
        {"role": "user", "content": [{"text": "Lima?"}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "get_weather", "input": LIMA}}]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"json": WARM}]}}]},
    ],
    "Gemini": [
        {"role": "user", "parts": [{"text": "Lima?"}]},
        {"role": "model", "parts": [{"function_call": {"id": "c1", "name": "get_weather", "args": LIMA}}]},
        {"role": "user", "parts": [{"function_response": {"id": "c1", "name": "get_weather", "response": WARM}}]},
    ],
    "LangChain": [
        {"type": "human", "content": "Lima?"},
        {"type": "ai", "content": "", "tool_calls": [{"id": "c1", "name": "get_weather", "args": LIMA}]},
        {"type": "tool", "content": json.dumps(WARM), "tool_call_id": "c1"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("shape", TURNS)
def test_messages_of_any_shape_tell_question_call_and_result(shape: str) -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (45, 60), "chat m", chat(gen_ai__input__messages=TURNS[shape])),
    )
    assert summary_of(run) == {"agent": "weather", "asked": "Lima?", "steps": [TOOL, ("model", "m", None, None)]}


def test_items_of_the_responses_api_have_an_id_beside_that_of_their_call() -> None:
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c1",
        "name": "get_weather",
        "arguments": json.dumps(LIMA),
    }
    result = {"type": "function_call_output", "id": "fco_1", "call_id": "c1", "output": json.dumps(WARM)}
    asked = message("user", "Lima?")
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (5, 20), "chat m", chat(gen_ai__input__messages=[asked], gen_ai__output__messages=[call])),
        span("3", "1", (45, 60), "chat m", chat(gen_ai__input__messages=[asked, call, result])),
    )
    assert summary_of(run)["steps"] == [("model", "m", None, None), TOOL, ("model", "m", None, None)]
    assert (run.steps[1].started_at_ns, run.steps[1].ended_at_ns) == (20, 45)


def test_events_tell_it_too() -> None:
    events = (
        event("gen_ai.user.message", content="Lima?"),
        event("gen_ai.choice", message={"role": "assistant", "content": "Warm."}),
    )
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (45, 60), "chat m", chat(), events=events),
    )
    assert (run.user_input, run.final_output) == ("Lima?", "Warm.")


# ── 12, 13: names, and agents among each other ───────────────────────────────────────────────────────────────────────


def test_the_agent_s_name_on_its_steps_is_not_theirs() -> None:
    run = only_run(
        span("1", None, (0, 90), "run", named(gen_ai__operation__name="invoke_agent")),
        span("2", "1", (5, 20), "chat m", chat(100, 20, gen_ai__agent__name="weather")),
        span("3", "1", (21, 40), "SimpleTool", tool(gen_ai__agent__name="weather")),
    )
    assert summary_of(run) == {"agent": "weather", "tokens": (100, 20), "steps": [("model", "m", 100, 20), TOOL]}


def test_a_sub_agent_called_as_a_tool_is_a_run_in_the_run() -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent planner", agent("planner")),
        span("2", "1", (5, 50), "execute_tool ask_weather", tool("ask_weather", {"question": "Lima?"}, "Warm.")),
        span("3", "2", (6, 49), "invoke_agent weather", agent("weather")),
        span("4", "3", (21, 40), "execute_tool get_weather", tool()),
    )
    assert summary_of(run) == {
        "agent": "planner",
        "steps": [
            ("tool", "ask_weather", {"question": "Lima?"}, "Warm."),
            ("agent", {"agent": "weather", "steps": [TOOL]}),
        ],
    }


def test_after_a_handoff_the_last_agent_answers() -> None:
    def speaking(name: str, text: str) -> dict[str, Any]:
        return agent(name, gen_ai__output__messages=[message("assistant", text)])

    run = only_run(
        span("1", None, (0, 90), "workflow", named(gen_ai__operation__name="invoke_workflow")),
        span("2", "1", (5, 20), "invoke_agent planner", speaking("planner", "Let weather answer.")),
        span("3", "1", (21, 40), "invoke_agent weather", speaking("weather", "Warm.")),
        span("4", "3", (25, 30), "execute_tool get_weather", tool()),
    )
    assert (run.agent_name, run.final_output) == ("planner", "Warm.")
    assert [step.name for part in run.walk() for step in part.tool_steps] == ["get_weather"]


# ── 14, 15: OTLP, and tools that have no spans ───────────────────────────────────────────────────────────────────────


def full_trace() -> list[SpanRecord]:
    first = chat(100, 20, gen_ai__output__messages=[message("assistant", wish("c1", "Lima"))])
    return [
        span("1", None, (0, 50), "invoke_agent weather", agent(), service="front"),
        span("2", "1", (5, 20), "chat m", first),
        span("3", "1", (21, 70), "execute_tool get_weather", tool(gen_ai__tool__call__id="c1")),
        span("4", "1", (45, 60), "chat m", chat(150, 30, user__id="", gen_ai__conversation__id="")),
    ]


def test_order_repetition_and_children_that_outlast_their_parents_change_nothing() -> None:
    expected = only_run(*full_trace())
    assert summary_of(expected)["steps"] == [("model", "m", 100, 20), TOOL, ("model", "m", 150, 30)]
    assert (expected.user_id, expected.session_id) == (None, None)
    for seed in range(5):
        spans = full_trace() * 2
        random.Random(seed).shuffle(spans)
        assert only_run(*spans) == expected


def test_structured_values_are_those_of_their_text() -> None:
    def structured(item: SpanRecord) -> SpanRecord:
        values = {
            key: json.loads(value) if str(value)[:1] in "[{" else value
            for key, value in item.attributes.items()
            if value != ""
        }
        return SpanRecord(**{**{name: getattr(item, name) for name in item.__struct_fields__}, "attributes": values})

    assert only_run(*map(structured, full_trace())) == only_run(*full_trace())


def test_tools_without_spans_are_in_the_messages() -> None:
    turns = [
        message("user", "Lima and Oslo?"),
        message("assistant", wish("c1", "Lima"), wish("c2", "Oslo")),
        message("tool", answer("c1", WARM)),
        message("tool", answer("c2", "Error: no such city")),
    ]
    run = only_run(
        span("1", None, (0, 90), "POST /ask"),
        span("2", "1", (5, 20), "chat m", chat(gen_ai__input__messages=turns[:1], gen_ai__output__messages=turns[1:2])),
        span("3", "1", (45, 60), "chat m", chat(gen_ai__input__messages=turns)),
    )
    assert [step for step in summary_of(run)["steps"] if step[0] == "tool"] == [
        TOOL,
        ("tool", "get_weather", {"city": "Oslo"}, None, "Error: no such city"),
    ]


def test_a_call_without_a_span_beside_one_with_is_a_step_once_it_was_answered() -> None:
    wishes = message("assistant", wish("c1", "Lima"), wish("c2", "Oslo"), wish("c3", "Rome"))
    turns = [wishes, message("tool", answer("c1", WARM)), message("tool", answer("c2", WARM))]
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (5, 20), "chat m", chat(gen_ai__output__messages=[wishes])),
        span("3", "1", (21, 40), "execute_tool get_weather", tool(gen_ai__tool__call__id="c1")),
        span("4", "1", (45, 60), "chat m", chat(gen_ai__input__messages=turns)),
    )
    assert [(step.input, step.output) for step in run.tool_steps] == [({"city": "Oslo"}, WARM), (LIMA, WARM)]


def test_an_answer_that_says_it_is_an_error_is_one() -> None:
    failed = {**answer("c1", "no such city"), "is_error": True}
    turns = [message("user", "Lima?"), message("assistant", wish("c1", "Lima")), message("tool", failed)]
    run = only_run(
        span("1", None, (0, 90), "POST /ask"),
        span("2", "1", (45, 60), "chat m", chat(gen_ai__input__messages=turns)),
    )
    assert summary_of(run)["steps"][0] == ("tool", "get_weather", LIMA, None, "no such city")


def test_a_run_whose_last_span_has_not_ended_is_running() -> None:
    run = only_run(
        span("1", None, (0, None), "invoke_agent weather", agent(), trace=TRACE),
        span("2", "1", (21, 40), "execute_tool get_weather", tool()),
    )
    assert (run.status, run.ended_at_ns, run.final_output) == (RunStatus.RUNNING, None, None)


@pytest.mark.parametrize("call_id", [{}, [], {"a": [1]}, 5, True, 1.5])
def test_the_id_of_a_call_may_be_anything(call_id: Any) -> None:
    turns = [
        message("assistant", {**wish("", "Lima"), "id": call_id}),
        message("tool", {**answer("", WARM), "id": call_id}),
    ]
    run = only_run(
        span("1", None, (0, 90), "POST /ask"),
        span("2", "1", (45, 60), "chat m", chat(gen_ai__input__messages=turns)),
    )
    assert summary_of(run)["steps"][0][:3] == ("tool", "get_weather", LIMA)


def test_messages_may_be_pairs_of_role_and_text() -> None:
    run = only_run(
        span(
            "1", None, (0, 90), "invoke_agent weather", agent(gen_ai__input__messages=json.dumps([["user", "Lima?"]]))
        ),
    )
    assert run.user_input == "Lima?"


def test_calls_of_earlier_turns_are_no_steps_of_this_one() -> None:
    earlier = [
        message("user", "Oslo?"),
        message("assistant", wish("c0", "Oslo")),
        message("tool", answer("c0", WARM)),
        message("assistant", "Warm."),
    ]
    now = [message("user", "Lima?")]
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span(
            "2",
            "1",
            (5, 20),
            "chat m",
            chat(
                gen_ai__input__messages=earlier + now,
                gen_ai__output__messages=[message("assistant", wish("c1", "Lima"))],
            ),
        ),
        span("3", "1", (21, 40), "execute_tool get_weather", tool(gen_ai__tool__call__id="c1")),
        span(
            "4",
            "1",
            (45, 60),
            "chat m",
            chat(
                gen_ai__input__messages=[
                    *earlier,
                    *now,
                    message("assistant", wish("c1", "Lima")),
                    message("tool", answer("c1", WARM)),
                ]
            ),
        ),
    )
    assert (run.user_input, [step.input for step in run.tool_steps]) == ("Lima?", [LIMA])


def test_model_calls_that_are_traces_of_their_own_tell_each_tool_once() -> None:
    turns = [
        message("user", "Lima, then Oslo?"),
        message("assistant", wish("c1", "Lima")),
        message("tool", answer("c1", WARM)),
    ]
    more = [*turns, message("assistant", wish("c2", "Oslo")), message("tool", answer("c2", WARM))]
    sent = [turns[:1], turns, more]
    got = [turns[1], more[3], message("assistant", "Warm.")]
    runs = runs_from_spans(
        span(
            f"{n}",
            None,
            (n * 10, n * 10 + 5),
            "chat m",
            chat(100, 20, gen_ai__input__messages=a, gen_ai__output__messages=[b]),
            trace=f"{n}" * 32,
        )
        for n, (a, b) in enumerate(zip(sent, got, strict=True), 1)
    )
    assert [[step.input["city"] for step in run.tool_steps] for run in runs] == [["Lima", "Oslo"]]
    assert [len(run.model_steps) for run in runs] == [3]
    assert (runs[-1].user_input, runs[-1].final_output) == ("Lima, then Oslo?", "Warm.")


# ── errors that stand where answers belong ───────────────────────────────────────────────────────────────────────────


def test_an_answer_that_is_only_the_words_of_the_last_error_is_that_error() -> None:
    answer_of_agent = {"gen_ai.output.messages": [message("assistant", "Rate limit reached")]}
    root = span("1", None, (0, 90), "invoke_agent", {**agent(), **answer_of_agent})
    call = span("2", "1", (5, 20), "chat m", chat(), error="RateLimitError: 429 - Rate limit reached")
    facts = summary_of(only_run(root, call))
    assert "answered" not in facts
    assert facts["failed"] == "429 - Rate limit reached"


def test_an_answer_of_a_failed_run_that_tells_the_error_in_full_is_that_error() -> None:
    full_messages = {"gen_ai.output.messages": [message("assistant", "Chat Model error: rate limit reached")]}
    facts = summary_of(only_run(span("1", None, (0, 90), "x", {**agent(), **full_messages}, error="Chat Model error")))
    assert facts == {"agent": "weather", "failed": "Chat Model error: rate limit reached", "steps": []}


def test_an_answer_after_an_error_stays_an_answer() -> None:
    answer_of_agent = {"gen_ai.output.messages": [message("assistant", "Sorry, I could not find it.")]}
    root = span("1", None, (0, 90), "invoke_agent", {**agent(), **answer_of_agent})
    failed = span("2", "1", (5, 20), "t", tool(gave=None), error="unknown city")
    facts = summary_of(only_run(root, failed))
    assert facts["answered"] == "Sorry, I could not find it."
    assert "failed" not in facts


def test_a_failed_tool_fails_no_run_whose_models_are_not_traced() -> None:
    failed = span("2", "1", (5, 20), "t", tool(gave=None), error="unknown city")
    run = only_run(span("1", None, (0, 90), "invoke_agent", agent()), failed)
    assert (run.status, run.error) == (RunStatus.SUCCESS, None)


def test_a_sentence_in_the_place_of_the_type_is_what_happened() -> None:
    attributes = {**tool(gave=None), "error.type": "unknown city: Lima"}
    (step,) = only_run(
        span("1", None, (0, 90), "x", agent()), span("2", "1", (1, 2), "t", attributes, error="Tool execution failed")
    ).steps
    assert step.error is not None
    assert (step.error.type, step.error.message) == ("_OTHER", "unknown city: Lima")


@pytest.mark.parametrize(
    "words", ["Error executing tool: unknown city", "Failed to invoke Tool `get_weather`. Error: unknown city"]
)
def test_what_a_framework_tells_the_model_of_a_failure_is_an_error(words: str) -> None:
    messages = [
        message("user", "Weather?"),
        message("assistant", wish("c1", "Lima")),
        message("tool", answer("c1", words)),
    ]
    run = only_run(
        span("1", None, (0, 90), "x", agent()),
        span("2", "1", (1, 2), "chat", chat(gen_ai__input__messages=messages)),
    )
    assert summary_of(run)["steps"][0] == ("tool", "get_weather", LIMA, None, words)


# ── what stands without names ───────────────────────────────────────────────────────────────────────────────────────


def test_answers_without_ids_are_those_of_the_calls_before_them_in_order() -> None:
    cold = {"temp_c": 7}
    asked = message("assistant", wish("c1", "Lima"), wish("c2", "Oslo"))
    answers = [
        message("tool", {"type": "tool_call_response", "response": WARM}),
        message("tool", {"type": "tool_call_response", "response": cold}),
    ]
    call = chat(gen_ai__input__messages=[message("user", "Weather?"), asked, *answers])
    run = only_run(span("1", None, (0, 90), "x", agent()), span("2", "1", (1, 2), "chat", call))
    assert summary_of(run)["steps"][:2] == [TOOL, ("tool", "get_weather", {"city": "Oslo"}, cold)]


def test_an_answer_without_an_id_and_without_a_call_is_no_step() -> None:
    lost = message("tool", {"type": "tool_call_response", "response": WARM})
    call = chat(gen_ai__input__messages=[message("user", "Weather?"), lost])
    run = only_run(span("1", None, (0, 90), "x", agent()), span("2", "1", (1, 2), "chat", call))
    assert [step.kind.value for step in run.steps] == ["model"]


@pytest.mark.parametrize(
    "shown",
    [
        """content='{"temp_c": 19}' name='get_weather' tool_call_id='c1'""",
        """ToolMessage(content='{"temp_c": 19}', name='get_weather', tool_call_id='c1')""",
    ],
)
def test_a_message_as_python_shows_it_is_its_content(shown: str) -> None:
    run = only_run(span("1", None, (0, 90), "x", agent()), span("2", "1", (1, 2), "t", tool(gave=shown)))
    assert summary_of(run)["steps"] == [TOOL]


def test_messages_of_private_fields_in_the_state_of_a_component() -> None:
    messages = [
        {"_role": "user", "_content": [{"text": "Weather?"}], "_name": None},
        {"_role": "assistant", "_content": [{"tool_name": "get_weather", "arguments": LIMA, "id": "c1"}]},
        {"_role": "tool", "_content": [{"result": json.dumps(WARM), "origin": {"id": "c1"}, "error": False}]},
    ]
    answered = [*messages, {"_role": "assistant", "_content": [{"text": "19 degrees."}]}]
    pipeline = {
        "traceloop.span.kind": "workflow",
        "traceloop.entity.input": {"args": [], "kwargs": {"weather": {"messages": messages[:1]}}},
        "traceloop.entity.output": {"weather": {"messages": answered}},
    }
    call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.input.messages": messages}
    facts = summary_of(only_run(span("1", None, (0, 90), "x", pipeline), span("2", "1", (1, 2), "chat", call)))
    assert (facts["asked"], facts["answered"]) == ("Weather?", "19 degrees.")
    assert facts["steps"] == [TOOL, ("model", "m", None, None)]


@pytest.mark.parametrize(
    "evidence",
    [
        {"openinference.span.kind": "AGENT"},
        {"langfuse.observation.type": "agent"},
        {"mlflow.spanType": "AGENT"},
        {"gcp.vertex.agent.invocation_id": "i1", "gen_ai.operation.name": "invoke_agent"},
    ],
)
def test_a_user_who_was_given_a_pseudonym_on_the_way_is_the_user(evidence: dict[str, Any]) -> None:
    run = only_run(span("1", None, (0, 90), "x", {**evidence, "enduser.pseudo.id": "hmac:1:2"}))
    assert run.user_id == "hmac:1:2"


def test_data_that_only_looks_like_a_failure_is_a_result() -> None:
    messages = [
        message("user", "?"),
        message("assistant", wish("c1", "Lima")),
        message("tool", answer("c1", "Error rate of the tool")),
    ]
    run = only_run(
        span("1", None, (0, 90), "x", agent()),
        span("2", "1", (1, 2), "chat", chat(gen_ai__input__messages=messages)),
    )
    assert summary_of(run)["steps"][0] == ("tool", "get_weather", LIMA, "Error rate of the tool")


def test_many_answers_without_ids_are_found_in_time_that_grows_with_them() -> None:
    count = 20_000
    wishes = [wish(f"c{index}", f"city {index}") for index in range(count)]
    answers = [{"type": "tool_call_response", "response": index} for index in range(count)]
    call = chat(gen_ai__input__messages=[message("assistant", *wishes), message("tool", *answers)])
    run = only_run(span("1", None, (0, 90), "x", agent()), span("2", "1", (1, 2), "chat", call))
    assert [step.output for step in run.steps if step.kind.value == "tool"] == list(range(count))


@pytest.mark.parametrize("deep", ["[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900])
def test_values_that_lie_deep_do_no_harm(deep: str) -> None:
    evidence = {"openinference.span.kind": "AGENT", "input.value": deep, "output.value": deep}
    assert only_run(span("1", None, (0, 90), "weather", evidence)).agent_name == "weather"


def test_a_wrapper_with_the_arguments_and_the_tool_with_the_result_are_one_call() -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (10, 40), "execute_tool get_weather", tool(gave=None)),
        span("3", "2", (11, 39), "get_weather", tool(given=None)),
    )
    assert summary_of(run)["steps"] == [TOOL]


def loop(first: int, at: int, temperature: int) -> list[SpanRecord]:
    """Two model calls with a tool call between, as one of several loops that went on at once."""
    asked, result = message("assistant", wish("call_0", "Lima")), message("tool", answer("call_0", temperature))
    sent = [[message("user", "Lima?")], [message("user", "Lima?"), asked, result]]
    answers = [asked, message("assistant", "OK.")]
    return [
        span(
            str(first + place), "1", (at + 40 * place, at + 40 * place + 10), "chat m",
            chat(gen_ai__input__messages=sent[place], gen_ai__output__messages=[answers[place]]),
        )
        for place in range(2)
    ]  # fmt: skip


def test_an_attempt_that_failed_asked_for_no_call_besides_that_of_the_next() -> None:
    """The framework threw the first answer away, and asked again with the same messages."""
    spans = [span("1", None, (0, 99), "invoke_agent weather", agent()), loop(10, 1, 19)[0], *loop(20, 20, 19)]
    assert [step.output for step in only_run(*spans).tool_steps] == [19]


def test_loops_that_went_on_at_once_with_equal_messages_are_no_attempts() -> None:
    spans = [span("1", None, (0, 99), "invoke_agent weather", agent()), *loop(10, 1, 19), *loop(20, 3, 7)]
    assert sorted(step.output for step in only_run(*spans).tool_steps) == [7, 19]


def test_an_agent_that_was_called_as_a_tool_is_below_the_call() -> None:
    calls = [{"type": "tool_call", "id": "call_0", "name": "helper", "arguments": {"q": q}} for q in "ab"]
    asked = message("assistant", *calls)
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather", agent()),
        span("2", "1", (5, 20), "chat m", chat(gen_ai__output__messages=[asked])),
        span("3", "1", (21, 30), "invoke_agent helper", agent("helper")),
        span("4", "1", (31, 40), "invoke_agent helper", agent("helper")),
    )
    assert [(step.kind.value, step.name) for step in run.steps[1:]] == [("tool", "helper"), ("agent", "helper")] * 2
    assert [step.input for step in run.tool_steps] == [{"q": "a"}, {"q": "b"}]
