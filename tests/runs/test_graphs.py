"""Graphs of LangGraph as OpenInference's callbacks record them: their nodes are no agents."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_agent_trace import SpanRecord
from tests.support.handwritten_spans import as_text, only_run, span, summary_of

PARIS, CLEAR = {"city": "Paris"}, {"sky": "clear"}


def callback(kind: str, place: str = "", **attributes: Any) -> dict[str, Any]:
    """Attributes of a span within a node; a place is ``NODE:ID``, or several of them for a graph in a node."""
    node = place.rpartition("|")[2].partition(":")[0]
    metadata = {"langgraph_node": node, "langgraph_checkpoint_ns": place} if place else {"thread_id": "t1"}
    more = {key.replace("__", "."): value for key, value in attributes.items()}
    return {"openinference.span.kind": kind, "metadata": metadata, **more}


def model(place: str, *messages: dict[str, Any]) -> dict[str, Any]:
    return callback("LLM", place, llm__model_name="m", input__value=list(messages[:-1]), output__value=[messages[-1]])


ASKED = {"role": "user", "content": "Paris?"}
REQUEST = {
    "role": "assistant",
    "tool_calls": [{"id": "call_0", "function": {"name": "forecast", "arguments": json.dumps(PARIS)}}],
}
RESULT = {"role": "tool", "tool_call_id": "call_0", "content": json.dumps(CLEAR)}
ANSWER = {"role": "assistant", "content": "Clear."}


def prebuilt_agent(
    root: str, above: str | None = None, kind: str = "AGENT", within: str = "", node: str = "agent"
) -> list[SpanRecord]:
    """`create_react_agent` before LangGraph 1.0: the model's node has "agent" in its name."""
    inner = f"{within}|" if within else ""

    def number(place: int) -> str:
        return f"{root}{place}"

    first, tools, last = (f"{inner}{name}:{place}" for place, name in enumerate((node, "tools", node)))
    return [
        span(number(0), above, (0, 90), "helper", callback(kind, within)),
        span(number(1), number(0), (1, 20), node, callback("AGENT", first)),
        span(number(2), number(1), (2, 19), "ChatOpenAI", model(first, ASKED, REQUEST)),
        span(number(3), number(0), (21, 40), "tools", callback("CHAIN", tools)),
        span(
            number(4), number(3), (22, 39), "forecast",
            callback("TOOL", tools, tool__name="forecast", input__value="Paris", output__value=CLEAR),
        ),
        span(number(5), number(0), (41, 60), node, callback("AGENT", last)),
        span(number(6), number(5), (42, 59), "ChatOpenAI", model(last, ASKED, REQUEST, RESULT, ANSWER)),
    ]  # fmt: skip


STEPS = [("model", "m", None, None), ("tool", "forecast", PARIS, CLEAR), ("model", "m", None, None)]


@pytest.mark.parametrize("kind", ["AGENT", "CHAIN"])
@pytest.mark.parametrize("node", ["agent", "weather_agent"])
def test_the_node_that_calls_the_model_is_no_agent(kind: str, node: str) -> None:
    run = only_run(*prebuilt_agent("a", kind=kind, node=node))
    facts = summary_of(run)
    assert (run.agent_name, facts["asked"], facts["answered"], facts["steps"]) == ("helper", "Paris?", "Clear.", STEPS)


@pytest.mark.parametrize("kind", ["AGENT", "CHAIN"])
def test_a_graph_in_a_node_of_its_name_is_one_agent(kind: str) -> None:
    team = span("1", None, (0, 99), "team", callback("CHAIN"))
    node = span("2", "1", (0, 95), "helper", callback(kind, "helper:1"))
    run = only_run(team, node, *prebuilt_agent("a", "2", kind, "helper:1"))
    (step,) = run.steps
    assert run.agent_name == "team"
    assert step.run is not None
    assert (step.run.agent_name, summary_of(step.run)["steps"]) == ("helper", STEPS)


def test_a_node_with_a_model_of_its_own_stays_an_agent() -> None:
    """Each function of a hand-made graph of several agents answers by itself, without tools."""
    spans = [span("1", None, (0, 99), "team", callback("CHAIN"))]
    for place, name in enumerate(("research_agent", "writing_agent")):
        where = f"{name}:{place}"
        times = place * 20, place * 20 + 10
        spans.append(span(f"{place}a", "1", times, name, callback("AGENT", where)))
        spans.append(span(f"{place}b", f"{place}a", times, "ChatOpenAI", model(where, ASKED, ANSWER)))
    assert [step.run and step.run.agent_name for step in only_run(*spans).steps] == ["research_agent", "writing_agent"]


def test_a_graph_without_models_keeps_its_tools() -> None:
    graph = span("1", None, (0, 99), "cleaning", callback("CHAIN"))
    node = span("2", "1", (0, 95), "sweep", callback("CHAIN", "sweep:1"))
    tool = span("3", "2", (1, 2), "sweep", callback("TOOL", "sweep:1", tool__name="sweep"))
    assert [step.name for step in only_run(graph, node, tool).steps] == ["sweep"]


def test_the_node_of_tools_has_the_arguments_that_messages_had() -> None:
    """A limit on attributes drops those of a model that were set first: its messages."""
    calls = [{"type": "tool_call", "id": "call_0", "name": "forecast", "args": PARIS}]
    spans = [
        span("1", None, (0, 99), "helper", callback("AGENT")),
        span("2", "1", (1, 20), "tools", callback("CHAIN", "tools:1", input__value=calls)),
        *[
            span(
                f"{place}a", "2", (place, place + 1), "forecast",
                callback("TOOL", "tools:1", tool__name="forecast", input__value="Paris"), error="down",
            )
            for place in (3, 6)
        ],
        span("b", "1", (30, 40), "ChatOpenAI", callback("LLM", "model:1", llm__model_name="m")),
    ]  # fmt: skip
    assert [step.input for step in only_run(*spans).tool_steps] == [PARIS, PARIS]


def tool_node(calls: Any, results: Any, name: str = "tools") -> SpanRecord:
    attributes = {"tool.name": name, "input.value": as_text(calls), "output.value": as_text(results)}
    return span("2", "10", (10, 40), name, {"openinference.span.kind": "TOOL", **attributes})


def called(number: str, name: str, given: str) -> SpanRecord:
    attributes = {"tool.name": name, "input.value": given, "output.value": f"{name} did it"}
    return span(number, "2", (11, 39), name, {"openinference.span.kind": "TOOL", **attributes})


def request_of(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_call", "name": name, "args": arguments, "id": f"call_{name}"}


def result_of(name: str) -> dict[str, Any]:
    return {"type": "tool", "name": name, "content": f"{name} did it", "tool_call_id": f"call_{name}"}


@pytest.mark.parametrize("has_inner", [True, False])
@pytest.mark.parametrize(
    "calls", [request_of("find", q="x"), [request_of("find", q="x")], {"messages": [ASKED, REQUEST]}]
)
@pytest.mark.parametrize("name", ["tools", "action"])
def test_a_node_of_one_tool_that_is_marked_as_a_tool_is_that_call(calls: Any, name: str, has_inner: bool) -> None:
    """`ToolNode` of older versions; without the tool's own span, only its messages show the arguments."""
    inner = [called("3", "find", "{'q': 'x'}")] if has_inner else []
    run = only_run(prebuilt_agent("1")[0], tool_node(calls, {"messages": [result_of("find")]}, name), *inner)
    (step,) = run.tool_steps
    assert (step.name, step.output) == ("find", "find did it")
    if has_inner or "messages" not in calls:
        assert step.input == {"q": "x"}


def test_a_node_of_several_tools_that_is_marked_as_a_tool_is_a_frame() -> None:
    calls = [request_of("find", q="x"), request_of("sort", by="y")]
    results = [result_of("find"), result_of("sort")]
    inner = called("3", "find", "{'q': 'x'}"), called("4", "sort", "{'by': 'y'}")
    run = only_run(prebuilt_agent("1")[0], tool_node(calls, results), *inner)
    assert [(step.name, step.input) for step in run.tool_steps] == [("find", {"q": "x"}), ("sort", {"by": "y"})]


def test_a_tool_that_returns_the_messages_of_its_agent_stays_a_tool() -> None:
    messages = [{"type": "human", "content": "x?"}, result_of("find"), {"type": "ai", "content": "y"}]
    run = only_run(prebuilt_agent("1")[0], tool_node({"q": "x?"}, {"messages": messages}, "ask_expert"))
    assert [step.name for step in run.tool_steps] == ["ask_expert"]
