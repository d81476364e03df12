"""LangGraph's graphs that wait for a person, as OpenInference, OpenLLMetry and LangSmith record them, and those that go on."""

from __future__ import annotations

from typing import Any

import pytest

from otel_agent_trace import AgentRun, SpanRecord, run_to_spans, runs_from_spans
from otel_agent_trace.span import Event
from tests.support.handwritten_spans import event, span

FIRST, SECOND, THIRD = "1" * 32, "2" * 32, "3" * 32
RESUME: dict[str, Any] = {"graph": None, "update": None, "resume": "yes", "goto": []}
QUESTION: dict[str, Any] = {"messages": [["user", "Send it."]]}
CALL = {"tool_call.id": "call_1", "tool_call.function.name": "send", "tool_call.function.arguments": '{"to": "Ada"}'}


def chain(given: Any = None, returned: Any = None, **more: Any) -> dict[str, Any]:
    values = {"input.value": given, "output.value": returned}
    attributes = {"openinference.span.kind": "CHAIN", "session.id": "t1", **more}
    return {**attributes, **{key: value for key, value in values.items() if value is not None}}


def model(answer: str, *, asks: bool = False, results: tuple[str, ...] = ()) -> dict[str, Any]:
    """A call of a model, which was sent the results of a call that it had asked for, and answers, or asks for the call."""
    sent = [{"role": "user", "content": "Send it."}]
    attributes: dict[str, Any] = {"openinference.span.kind": "LLM", "llm.model_name": "m", "session.id": "t1"}
    for result in results:
        place = len(sent)
        attributes |= {f"llm.input_messages.{place}.message.tool_calls.0.{key}": value for key, value in CALL.items()}
        sent += [{"role": "assistant"}, {"role": "tool", "content": result, "tool_call_id": "call_1"}]
    for place, message in enumerate(sent):
        attributes |= {f"llm.input_messages.{place}.message.{key}": value for key, value in message.items()}
    answered = {f"tool_calls.0.{key}": value for key, value in CALL.items()} if asks else {}
    for key, value in {"role": "assistant", "content": answer, **answered}.items():
        attributes[f"llm.output_messages.0.message.{key}"] = value
    return attributes


def interrupt(*values: str, name: str = "langgraph.errors.GraphInterrupt", around: str = "{}") -> tuple[Event, ...]:
    text = ", ".join(f"Interrupt(value={value!r}, id='1')" for value in values)
    return (event("exception", exception__type=name, exception__message=around.format(f"({text},)")),)


def graph(
    trace: str, given: Any, *parts: tuple[str, dict[str, Any], tuple[Event, ...]], **more: Any
) -> list[SpanRecord]:
    """The spans of one trace: a graph, and its nodes and steps one after the other."""
    start = int(trace[0]) * 1000
    top = f"{trace[0]}0"
    spans = [span(top, None, (start, start + 100 * (len(parts) + 1)), "LangGraph", chain(given, **more), trace=trace)]
    for place, (name, attributes, events) in enumerate(parts, 1):
        times = (start + 100 * place, start + 100 * place + 90)
        spans.append(span(f"{trace[0]}{place}", top, times, name, attributes, events=events, trace=trace))
    return spans


def links(spans: list[SpanRecord]) -> list[tuple[Any, str | None]]:
    runs = runs_from_spans(spans)
    assert all(run.error is None for run in runs)
    assert runs_from_spans(spans[::-1]) == runs
    assert runs_from_spans([record for run in runs for record in run_to_spans(run)]) == runs
    return [(run.interrupted_for, run.continues) for run in runs]


TOOL = {"openinference.span.kind": "TOOL", "tool.name": "send", "input.value": '{"to": "Ada"}'}
ASKS = ("ChatOpenAI", model("", asks=True), ())
TALKS = ("ChatOpenAI", model("I will ask."), ())
WAITS = ("ask", chain(), interrupt("ok?"))
SENDS = ("send", {**TOOL, "output.value": "sent"}, ())
ANSWERS = ("ChatOpenAI", model("Done.", results=("sent",)), ())


# ── which graph waits for what ───────────────────────────────────────────────────────────────────────────────────────


def only(spans: list[SpanRecord]) -> AgentRun:
    (run,) = runs_from_spans(spans)
    return run


def test_a_node_that_calls_no_tool_interrupts_the_run() -> None:
    run = only(graph(FIRST, QUESTION, TALKS, WAITS))
    assert (run.interrupted_for, run.final_output, run.error) == ("ok?", "I will ask.", None)
    assert [step.name for step in run.steps] == ["m"]


@pytest.mark.parametrize(
    ("event_type", "around"),
    [
        ("GraphInterrupt", "{}"),
        ("NodeInterrupt", "{}"),
        ("Exception", "GraphInterrupt({})Traceback (most recent call last):\n  File ..."),
    ],
)
def test_the_value_stands_in_what_each_tracer_records_of_the_exception(event_type: str, around: str) -> None:
    """LangSmith's event has the class of the exception and its stack trace in its message."""
    node = {"langsmith.span.kind": "chain", "langsmith.metadata.thread_id": "t1"}
    events = interrupt("ok?", name=event_type, around=around)
    failed = span("19", "10", (1200, 1290), "ask", node, error="", events=events, trace=FIRST)
    assert only([*graph(FIRST, QUESTION, TALKS), failed]).interrupted_for == "ok?"


@pytest.mark.parametrize(
    "returned",
    [
        {"messages": [], "__interrupt__": [{"value": "ok?", "id": "1"}]},
        {"messages": [], "__interrupt__": ["Interrupt(value='ok?', id='1')"]},
        {"outputs": {"__interrupt__": [{"value": "ok?", "id": "1"}]}, "kwargs": {}},
        [{"model": {"messages": []}}, {"__interrupt__": [{"value": "ok?", "id": "1"}]}],
    ],
)
def test_a_graph_may_return_what_it_waits_for(returned: Any) -> None:
    assert only(graph(FIRST, QUESTION, TALKS, **{"output.value": returned})).interrupted_for == "ok?"


@pytest.mark.parametrize("returned", [{"__interrupt__": []}, {"answer": "It said __interrupt__."}, ["__interrupt__"]])
def test_a_graph_that_returned_no_interrupt_was_not_interrupted(returned: Any) -> None:
    assert only(graph(FIRST, QUESTION, TALKS, **{"output.value": returned})).interrupted_for is None


def test_interrupts_at_once_are_all_that_a_run_waits_for() -> None:
    tools = [(name, TOOL, interrupt(value)) for name, value in (("send", "a?"), ("send", "b?"))]
    assert only(graph(FIRST, QUESTION, ASKS, *tools)).interrupted_for == ["a?", "b?"]


def test_nodes_around_an_interrupted_tool_add_nothing_to_it() -> None:
    around = span("11", "10", (1100, 1400), "tools", chain(), events=interrupt("ok?"), trace=FIRST)
    within = span("12", "11", (1200, 1300), "send", TOOL, events=interrupt("ok?"), trace=FIRST)
    assert only([*graph(FIRST, QUESTION), around, within]).interrupted_for == "ok?"


def test_a_model_in_the_same_step_of_the_graph_is_no_sign_that_the_run_went_on() -> None:
    step, later = {"metadata": {"langgraph_step": 2}}, {"metadata": {"langgraph_step": 3}}
    waits = ("ask", chain(**step), interrupt("ok?"))
    assert only(graph(FIRST, QUESTION, waits, ("m", {**model("Two."), **step}, ()))).interrupted_for == "ok?"
    assert only(graph(FIRST, QUESTION, waits, ("m", {**model("Two."), **later}, ()))).interrupted_for is None


def test_a_graph_that_waits_before_its_first_step_is_a_run() -> None:
    run = only(graph(FIRST, QUESTION, WAITS))
    assert (run.user_input, run.interrupted_for, run.steps) == ("Send it.", "ok?", ())


# ── which one goes on ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([TALKS, WAITS], [ANSWERS]),
        ([ASKS, WAITS], [SENDS, ANSWERS]),
        ([ASKS, WAITS], [("ChatOpenAI", model("I do not.", results=("refused",)), ())]),
        ([ASKS, ("send", TOOL, interrupt("ok?"))], [SENDS, ANSWERS]),
        ([WAITS], [ANSWERS]),
    ],
)
def test_chains_of_one_thread_are_two_runs_of_which_the_second_continues_the_first(first: Any, second: Any) -> None:
    spans = [*graph(FIRST, QUESTION, *first), *graph(SECOND, RESUME, ("ask", chain(), ()), *second)]
    assert links(spans) == [("ok?", None), (None, FIRST)]


@pytest.mark.parametrize(
    "given",
    [
        {"resume": "yes"},
        {"input": RESUME},
        {"inputs": RESUME, "tags": []},
        {"command": {"resume": True, "goto": []}},
        {"lg_name": "Command", "resume": False, "goto": []},
        "Command(resume='yes')",
        {"input": "Command(update={'a': 1}, resume=True)"},
    ],
)
def test_a_command_resumes_however_it_is_written(given: Any) -> None:
    spans = [*graph(FIRST, QUESTION, TALKS, WAITS), *graph(SECOND, given, TALKS)]
    assert links(spans) == [("ok?", None), (None, FIRST)]


@pytest.mark.parametrize("given", [QUESTION, {"resume": "My career", "topic": "x"}, {"goto": "end", "resume": None}])
def test_a_new_question_resumes_nothing(given: Any) -> None:
    spans = [*graph(FIRST, QUESTION, TALKS, WAITS), *graph(SECOND, given, TALKS)]
    assert links(spans) == [("ok?", None), (None, None)]


def test_a_command_in_another_thread_resumes_nothing() -> None:
    other = graph(SECOND, RESUME, ("m", {**model("Done."), "session.id": "t2"}, ()), **{"session.id": "t2"})
    assert links([*graph(FIRST, QUESTION, TALKS, WAITS), *other]) == [("ok?", None), (None, None)]


def test_interrupts_one_after_the_other_make_a_row_of_runs() -> None:
    again = graph(SECOND, RESUME, ("ask", chain(), interrupt("sure?")))
    last = graph(THIRD, RESUME, ("ask", chain(), ()), TALKS)
    assert links([*graph(FIRST, QUESTION, TALKS, WAITS), *again, *last]) == [
        ("ok?", None),
        ("sure?", FIRST),
        (None, SECOND),
    ]


def test_the_command_may_stand_on_a_span_within_the_agents() -> None:
    """OpenLLMetry records the input on `LangGraph.workflow`, below `invoke_agent LangGraph`."""
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "LangGraph", "gen_ai.conversation.id": "t1"}
    workflow = {"traceloop.span.kind": "workflow", "traceloop.entity.name": "LangGraph"}
    task = {"traceloop.span.kind": "task", "traceloop.entity.name": "ask"}
    spans = []
    for trace, given, events in ((FIRST, QUESTION, interrupt("ok?")), (SECOND, RESUME, ())):
        at, ids = int(trace[0]) * 1000, [f"{trace[0]}{number}" for number in range(4)]
        inputs = {**workflow, "traceloop.entity.input": {"inputs": given, "tags": []}}
        spans += [
            span(ids[0], None, (at, at + 900), "invoke_agent LangGraph", agent, trace=trace),
            span(ids[1], ids[0], (at + 1, at + 800), "LangGraph.workflow", inputs, trace=trace),
            span(ids[2], ids[1], (at + 2, at + 100), "m", model("Well."), trace=trace),
            span(ids[3], ids[1], (at + 200, at + 300), "execute_task ask", task, events=events, trace=trace),
        ]
    assert links(spans) == [("ok?", None), (None, FIRST)]


@pytest.mark.parametrize("node", [True, False])
def test_a_graph_that_goes_on_without_a_model_is_a_run(node: bool) -> None:
    """A node that only does what a person approved, or none with a span."""
    first = graph(FIRST, QUESTION, ("pay", chain(), interrupt("Pay?")))
    parts = [("pay", chain(returned={}), ())] if node else []
    second = graph(SECOND, RESUME, *parts, **{"output.value": {"messages": [{"type": "ai", "content": "Paid."}]}})
    assert links([*first, *second]) == [("Pay?", None), (None, FIRST)]
    assert runs_from_spans([*first, *second])[1].final_output == "Paid."
