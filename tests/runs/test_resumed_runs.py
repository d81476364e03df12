"""Runs that stop until a person answers, those that go on from there, and other exceptions that are no failures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    InMemoryBackend,
    RunStatus,
    SpanRecord,
    run_to_spans,
    runs_from_spans,
)
from otel_agent_trace.runs.explain import explain
from otel_agent_trace.span import Event
from tests.support.handwritten_spans import event, only_run, span

FIRST, SECOND, THIRD = "1" * 32, "2" * 32, "3" * 32
ASKED = "Send the report."
ARGUMENTS = {"city": "Lima"}
ASK = {"type": "tool_call", "id": "call_1", "name": "send", "arguments": ARGUMENTS}
SENT = {"type": "tool_call_response", "id": "call_1", "response": "sent"}


def message(role: str, part: dict[str, Any] | str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": part} if isinstance(part, str) else part]}


QUESTION, REQUEST, RESULT = message("user", ASKED), message("assistant", ASK), message("tool", SENT)


def agent(session: str | None = "s", name: str = "clerk", **more: Any) -> dict[str, Any]:
    conversation = {} if session is None else {"gen_ai.conversation.id": session}
    return {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name, **conversation, **more}


def chat(sent: list[Any], answered: dict[str, Any]) -> dict[str, Any]:
    content = {"gen_ai.input.messages": sent, "gen_ai.output.messages": [answered]}
    return {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", **content}


def tool(result: Any = None) -> dict[str, Any]:
    call = {"gen_ai.tool.name": "send", "gen_ai.tool.call.arguments": ARGUMENTS, "gen_ai.tool.call.result": result}
    return {"gen_ai.operation.name": "execute_tool", **{key: value for key, value in call.items() if value is not None}}


def signal(name: str, text: str = "") -> tuple[Event, ...]:
    return (event("exception", exception__type=name, exception__message=text),)


INTERRUPT = signal("langgraph.errors.GraphInterrupt", "(Interrupt(value={'ask': 'Send it?'}, id='1'),)")


def stopped(
    session: str | None = "s", events: tuple[Event, ...] = (), own: Mapping[str, Any] | None = None
) -> tuple[SpanRecord, ...]:
    return (
        span("1", None, (0, 90), "invoke_agent clerk", {**agent(session), **(own or {})}, trace=FIRST),
        span("2", "1", (1, 20), "chat m", chat([QUESTION], REQUEST), trace=FIRST),
        span("3", "1", (30, 40), "execute_tool send", tool(), trace=FIRST, events=events),
    )


def went_on(session: str | None = "s", at: int = 200, sent: tuple[Any, ...] = (QUESTION, REQUEST, RESULT)) -> Any:
    done = message("assistant", "It was sent.")
    return (
        span("4", None, (at, at + 90), "invoke_agent clerk", agent(session), trace=SECOND),
        span("5", "4", (at + 1, at + 10), "execute_tool send", tool("sent"), trace=SECOND),
        span("6", "4", (at + 20, at + 40), "chat m", chat([*sent], done), trace=SECOND),
    )


def asked_again(session: str | None = "s", at: int = 400) -> Any:
    sent = [QUESTION, REQUEST, RESULT, message("assistant", "It was sent."), message("user", "Thanks?")]
    return (
        span("7", None, (at, at + 90), "invoke_agent clerk", agent(session), trace=THIRD),
        span("8", "7", (at + 1, at + 10), "chat m", chat(sent, message("assistant", "Yes.")), trace=THIRD),
    )


def links(runs: list[AgentRun]) -> list[tuple[Any, str | None]]:
    assert all(run.status is RunStatus.SUCCESS and run.error is None for run in runs)
    return [(run.interrupted_for, run.continues) for run in runs]


# ── runs that belong together ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_a_run_that_resumes_an_interrupted_one_names_it(order: tuple[int, ...]) -> None:
    traces = (stopped(events=INTERRUPT), went_on(), asked_again())
    runs = runs_from_spans([record for place in order for record in traces[place]])
    assert links(runs) == [({"ask": "Send it?"}, None), (None, FIRST), (None, None)]


def test_both_are_read_again_from_what_is_written_of_them() -> None:
    runs = runs_from_spans([*stopped(events=INTERRUPT), *went_on()])
    assert runs_from_spans([record for run in runs for record in run_to_spans(run)]) == runs
    assert runs_from_spans(run_to_spans(runs[1])) == [runs[1]]
    assert [explanation.run for explanation in explain([*stopped(events=INTERRUPT), *went_on()])] == runs


def test_a_call_that_waited_is_what_a_run_was_interrupted_for_once_it_is_resumed() -> None:
    call = {"id": "call_1", "name": "send", "arguments": ARGUMENTS}
    assert links(runs_from_spans([*stopped(), *went_on(session=None)])) == [(call, None), (None, FIRST)]
    assert links(runs_from_spans(stopped())) == [(None, None)]


def test_a_tool_without_a_result_waited_where_the_answers_of_models_are_not_recorded() -> None:
    """OpenLLMetry's instrumentation of OpenAI Agents leaves out what models of Chat Completions answered."""

    def without_answers(records: tuple[SpanRecord, ...]) -> list[SpanRecord]:
        left_out = ("gen_ai.output.messages", "gen_ai.conversation.id")
        return [
            msgspec.structs.replace(
                record, attributes={key: value for key, value in record.attributes.items() if key not in left_out}
            )
            for record in records
        ]

    first, second = without_answers(stopped()), without_answers(went_on())
    assert links(runs_from_spans([*first, *second])) == [
        ({"name": "send", "arguments": ARGUMENTS}, None),
        (None, FIRST),
    ]
    other = without_answers(went_on(sent=(message("user", "Send another one."), REQUEST, RESULT)))
    assert links(runs_from_spans([*first, *other])) == [(None, None), (None, None)]


@pytest.mark.parametrize(
    "other",
    [
        went_on(session="t"),
        went_on(at=0),
        went_on(sent=(QUESTION, message("assistant", {**ASK, "id": "x"}), message("tool", {**SENT, "id": "x"}))),
        asked_again(),
    ],
)
def test_a_run_of_something_else_continues_nothing(other: tuple[SpanRecord, ...]) -> None:
    assert all(continues is None for _, continues in links(runs_from_spans([*stopped(), *other])))


def test_a_call_that_is_made_again_in_the_same_conversation_resumes_the_run() -> None:
    again = went_on(sent=(QUESTION,))
    assert links(runs_from_spans([*stopped(events=INTERRUPT), *again]))[1] == (None, FIRST)
    assert links(runs_from_spans([*stopped(events=INTERRUPT, session=None), *again]))[1] == (None, None)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_run_without_a_model_that_makes_a_call_again_resumes_in_any_order(order: tuple[int, ...]) -> None:
    traces = [
        [record for record in records if not record.name.startswith("chat")]
        for records in (stopped(events=INTERRUPT), went_on())
    ]
    runs = runs_from_spans([record for place in order for record in traces[place]])
    assert links(runs) == [({"ask": "Send it?"}, None), (None, FIRST)]


def test_an_interrupted_run_may_be_resumed_again() -> None:
    """After an error, or because a program keeps its history: the first attempt does not hide the second."""
    later = [
        span(f"a{n}", None if n == 4 else "a4", (600, 690), record.name, record.attributes, trace=THIRD)
        for n, record in enumerate(went_on(), 4)
    ]
    runs = runs_from_spans([*stopped(events=INTERRUPT), *went_on(), *later])
    assert [run.continues for run in runs] == [None, FIRST, FIRST]


def test_of_several_interrupted_runs_the_one_that_was_not_resumed_is() -> None:
    def renamed(records: Any, prefix: str, by_ns: int) -> list[SpanRecord]:
        return [
            msgspec.structs.replace(
                record,
                trace_id=prefix * 32,
                span_id=prefix + record.span_id[1:],
                parent_span_id=record.parent_span_id and prefix + record.parent_span_id[1:],
                start_ns=record.start_ns + by_ns,
                end_ns=(record.end_ns or 0) + by_ns,
            )
            for record in records
        ]

    first, second = stopped(events=INTERRUPT), renamed(stopped(events=INTERRUPT), "a", 100)
    runs = runs_from_spans([*first, *second, *renamed(went_on(), "b", 100), *renamed(went_on(), "c", 300)])
    assert [run.continues for run in runs] == [None, None, "a" * 32, FIRST]


def test_a_tool_that_the_program_calls_before_each_model_resumes_nothing() -> None:
    first, *others = stopped(events=INTERRUPT)
    prefetch = tool("found")
    prefetch["gen_ai.tool.name"] = "search"
    early = span("9", "1", (0, 1), "execute_tool search", prefetch, trace=FIRST)
    later = [
        span("4", None, (200, 290), "invoke_agent clerk", agent(), trace=SECOND),
        span("5", "4", (201, 210), "execute_tool search", prefetch, trace=SECOND),
        span(
            "6", "4", (220, 240), "chat m", chat([message("user", "Hello?")], message("assistant", "Hi.")), trace=SECOND
        ),
    ]
    assert links(runs_from_spans([first, early, *others, *later])) == [({"ask": "Send it?"}, None), (None, None)]


def test_runs_resumed_one_after_the_other_have_only_their_own_calls() -> None:
    """The history of the third run has the call that the second one made; alone, it has that call too."""
    ask_again = {**ASK, "id": "call_2", "arguments": {"city": "Oslo"}}
    request, result = message("assistant", ask_again), message("tool", {**SENT, "id": "call_2"})
    history = [QUESTION, REQUEST, RESULT]
    second = [
        span("4", None, (200, 290), "invoke_agent clerk", agent(), trace=SECOND),
        span("5", "4", (201, 210), "execute_tool send", tool("sent"), trace=SECOND),
        span("6", "4", (220, 240), "chat m", chat(history, request), trace=SECOND),
    ]
    oslo = {**tool("sent"), "gen_ai.tool.call.arguments": {"city": "Oslo"}}
    third = [
        span("7", None, (400, 490), "invoke_agent clerk", agent(), trace=THIRD),
        span("8", "7", (401, 410), "execute_tool send", oslo, trace=THIRD),
        span(
            "9",
            "7",
            (420, 440),
            "chat m",
            chat([*history, request, result], message("assistant", "Both.")),
            trace=THIRD,
        ),
    ]
    spans = [*stopped(), *second, *third]
    runs = runs_from_spans(spans)
    assert [run.continues for run in runs] == [None, FIRST, SECOND]
    assert [[step.input for step in run.tool_steps] for run in runs] == [[ARGUMENTS], [ARGUMENTS], [{"city": "Oslo"}]]
    assert [step.input for step in only_run(*third).tool_steps] == [ARGUMENTS, {"city": "Oslo"}]
    assert [explanation.run for explanation in explain(spans)] == runs
    assert runs_from_spans([record for run in runs for record in run_to_spans(run)]) == runs


def test_a_call_that_was_made_at_once_with_one_that_waits_did_not_wait() -> None:
    """The AI SDK runs what needs no approval at once, beside what does."""
    look = {"type": "tool_call", "id": "call_0", "name": "look", "arguments": {}}
    both = {"role": "assistant", "parts": [look, ASK]}
    looked = {**tool("seen"), "gen_ai.tool.name": "look", "gen_ai.tool.call.arguments": {}}
    results = message("tool", {"type": "tool_call_response", "id": "call_0", "response": "seen"})
    first = [
        span("1", None, (0, 90), "invoke_agent clerk", agent(), trace=FIRST),
        span("2", "1", (1, 20), "chat m", chat([QUESTION], both), trace=FIRST),
        span("3", "1", (30, 40), "execute_tool look", looked, trace=FIRST),
    ]
    runs = runs_from_spans([*first, *went_on(sent=(QUESTION, both, results, RESULT))])
    assert links(runs) == [({"id": "call_1", "name": "send", "arguments": ARGUMENTS}, None), (None, FIRST)]
    assert [step.name for step in runs[1].tool_steps] == ["send"]


def test_a_result_that_is_pending_is_waited_for() -> None:
    """Google ADK's long-running tools return at once; the result comes with a later message."""
    pending = {"status": "pending", "ticket": "T1"}
    noted = message("tool", {**SENT, "response": pending})
    first = [
        span("1", None, (0, 90), "invoke_agent clerk", agent(), trace=FIRST),
        span("2", "1", (1, 20), "chat m", chat([QUESTION], REQUEST), trace=FIRST),
        span("3", "1", (30, 40), "execute_tool send", tool(pending), trace=FIRST),
        span(
            "9", "1", (50, 60), "chat m", chat([QUESTION, REQUEST, noted], message("assistant", "Wait.")), trace=FIRST
        ),
    ]
    call = {"id": "call_1", "name": "send", "arguments": ARGUMENTS}
    assert links(runs_from_spans([*first, *went_on()])) == [(call, None), (None, FIRST)]
    assert links(runs_from_spans([*first, *asked_again()])) == [(None, None), (None, None)]


@pytest.mark.parametrize(("session", "continues"), [("s", FIRST), (None, None)])
def test_without_content_a_conversation_shows_that_the_tool_which_ended_a_run_is_called_again(
    session: str | None, continues: str | None
) -> None:
    model = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    bare = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "send"}
    spans = [
        span("1", None, (0, 90), "invoke_agent clerk", agent(session), trace=FIRST),
        span("2", "1", (1, 20), "chat m", model, trace=FIRST),
        span("3", "1", (30, 40), "execute_tool send", bare, trace=FIRST),
        span("4", None, (200, 290), "invoke_agent clerk", agent(session), trace=SECOND),
        span("5", "4", (201, 210), "execute_tool send", bare, trace=SECOND),
        span("6", "4", (220, 240), "chat m", model, trace=SECOND),
    ]
    assert [run.continues for run in runs_from_spans(spans)] == [None, continues]


def test_an_agent_that_was_called_as_a_tool_and_waits_makes_its_caller_wait() -> None:
    ask = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "ask_payer",
        "gen_ai.tool.call.arguments": {"n": 1},
    }
    asked, payer = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": [QUESTION]}, agent(None, "payer")
    first = [
        span("1", None, (0, 90), "invoke_agent clerk", agent(None), trace=FIRST),
        span("2", "1", (1, 20), "chat m", asked, trace=FIRST),
        span("3", "1", (30, 80), "execute_tool ask_payer", ask, trace=FIRST),
        span("4", "3", (31, 79), "invoke_agent payer", payer, trace=FIRST),
        span("5", "4", (32, 40), "chat m", {"gen_ai.operation.name": "chat"}, trace=FIRST),
    ]
    part = {"type": "tool_call", "id": "call_1", "name": "ask_payer", "arguments": {"n": 1}}
    sent = [QUESTION, message("assistant", part), message("tool", {**SENT, "response": "paid"})]
    second = [
        span("6", None, (200, 290), "invoke_agent clerk", agent(None), trace=SECOND),
        span("7", "6", (201, 220), "execute_tool ask_payer", {**ask, "gen_ai.tool.call.result": "paid"}, trace=SECOND),
        span("8", "6", (230, 240), "chat m", {**asked, "gen_ai.input.messages": sent}, trace=SECOND),
    ]
    call = {"name": "ask_payer", "arguments": {"n": 1}}
    assert links(runs_from_spans([*first, *second])) == [(call, None), (None, FIRST)]


def test_a_tool_in_our_own_runs_that_returns_nothing_did_not_wait() -> None:
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory, agent_name="clerk")
    for _ in range(2):
        with tracer.run(user_input="Save.", session_id="s") as run:
            with run.step("save", {"n": 1}):
                pass
            with run.model_call(model="m"):
                pass
            with run.step("save", {"n": 1}):
                pass
    assert links(memory.runs()) == [(None, None), (None, None)]


def test_a_tool_that_no_model_asked_for_did_not_wait() -> None:
    bare = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "fetch"}
    spans = [
        span("1", None, (0, 90), "invoke_agent clerk", agent(), trace=FIRST),
        span("2", "1", (1, 20), "execute_tool fetch", bare, trace=FIRST),
        span("3", None, (200, 290), "invoke_agent clerk", agent(), trace=SECOND),
        span("4", "3", (201, 220), "execute_tool fetch", bare, trace=SECOND),
        span("5", "3", (230, 240), "chat m", {"gen_ai.operation.name": "chat"}, trace=SECOND),
    ]
    assert links(runs_from_spans(spans)) == [(None, None), (None, None)]


# ── runs in one trace ────────────────────────────────────────────────────────────────────────────────────────────────


SUSPENDED_FOR = {"reason": "tool-call-approval", "toolName": "send", "toolCallId": "call_1"}
SUSPENDED = {"status": "suspended", **SUSPENDED_FOR}
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}
BY_OTEL_EXPORTER = (
    {**AGENT, "mastra.agent_run.input": ASKED, "mastra.agent_run.output": SUSPENDED},
    {**AGENT, "mastra.agent_run.output": {"text": "Sent."}, "mastra.metadata.resumedFromSpanId": "2"},
)
BY_ARIZE_EXPORTER = (
    {"openinference.span.kind": "AGENT", "agent.name": "clerk", "output.value": SUSPENDED},
    {"openinference.span.kind": "AGENT", "agent.name": "clerk", "metadata": {"resumedFromSpanId": "2"}},
)


@pytest.mark.parametrize(("first", "second"), [BY_OTEL_EXPORTER, BY_ARIZE_EXPORTER])
def test_an_agent_of_mastra_that_was_resumed_in_its_trace_is_a_run_of_its_own(first: Any, second: Any) -> None:
    spans = [
        span("1", None, (0, 90), "invoke_agent clerk", first),
        span("2", "1", (1, 80), "chat m", chat([QUESTION], REQUEST)),
        span("3", "2", (200, 290), "invoke_agent clerk", second),
        span("4", "3", (201, 280), "chat m", chat([QUESTION, REQUEST, RESULT], message("assistant", "Sent."))),
    ]
    runs = runs_from_spans(spans)
    assert links(runs) == [(SUSPENDED_FOR, None), (None, runs[0].run_id)]
    assert [run.agent_name for run in runs] == ["clerk", "clerk"]
    assert [len(run.model_steps) for run in runs] == [1, 1]
    assert runs_from_spans([record for run in runs for record in run_to_spans(run)]) == runs


def test_an_answer_about_what_is_suspended_is_an_answer() -> None:
    answer = {"status": "suspended", "account": "A1"}
    own = {"openinference.span.kind": "AGENT", "output.value": answer}
    run = only_run(span("1", None, (0, 90), "clerk", own), span("2", "1", (1, 20), "chat m", chat([QUESTION], REQUEST)))
    assert run.interrupted_for is None


# ── what a run was interrupted for ───────────────────────────────────────────────────────────────────────────────────

DEFERRED = {"calls": [], "approvals": [{"tool_name": "send", "args": '{"city": "Lima"}', "tool_call_id": "call_1"}]}


def test_deferred_calls_are_no_answer() -> None:
    run = only_run(*stopped(own={"final_result": DEFERRED, "agent_name": "clerk"}))
    assert run.interrupted_for == [{"id": "call_1", "name": "send", "arguments": ARGUMENTS}]
    assert run.final_output is None


def test_an_interrupt_in_place_of_an_answer() -> None:
    choice = event("gen_ai.choice", finish_reason="interrupt", message="[{'id': '1', 'name': 'ok', 'response': None}]")
    first, *others = stopped()
    run = only_run(span("1", None, (0, 90), first.name, first.attributes, events=(choice,), trace=FIRST), *others)
    assert (run.interrupted_for, run.final_output) == ({"id": "1", "name": "ok"}, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(Interrupt(value='Go on?', resumable=True, ns=['a:1']),)", "Go on?"),
        ("(Interrupt(value=1, id='a'), Interrupt(value=2, id='b'))", [1, 2]),
        ("(Interrupt(value=Ask(text='Go on?'), id='a'),)", "Ask(text='Go on?')"),
        ("Go on?", "Go on?"),
        ("", "GraphInterrupt"),
    ],
)
def test_the_value_of_an_interrupt_is_read_from_its_text(text: str, value: Any) -> None:
    assert only_run(*stopped(events=signal("langgraph.errors.GraphInterrupt", text))).interrupted_for == value


def test_an_interrupt_that_is_the_status_of_the_agents_span_is_no_error() -> None:
    failed = span("1", None, (0, 90), "x", agent(), error="GraphInterrupt((Interrupt(value='Go on?', id='1'),))")
    run = only_run(failed)
    assert (run.error, run.status) == (None, RunStatus.SUCCESS)
    assert run.interrupted_for == "Go on?"


def test_a_run_that_went_on_after_an_interrupt_within_it_was_not_interrupted() -> None:
    last = span("9", "1", (50, 60), "chat m", chat([QUESTION], message("assistant", "Done.")), trace=FIRST)
    run = only_run(*stopped(events=INTERRUPT), last)
    assert (run.interrupted_for, run.final_output) == (None, "Done.")


# ── streams, time limits, cancellations ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "events"),
    [
        ("GeneratorExit", ()),
        ("GeneratorExit()", ()),
        ("stopped", signal("GeneratorExit")),
        (None, signal("GeneratorExit", "GeneratorExit()")),
    ],
)
def test_a_stream_that_was_left_is_no_error(error: str | None, events: tuple[Event, ...]) -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent clerk", agent(), error=error, events=events),
        span("2", "1", (1, 20), "chat m", chat([QUESTION], message("assistant", "Whole."))),
    )
    assert (run.abandoned, run.error, run.status, run.final_output) == (True, None, RunStatus.SUCCESS, "Whole.")


TIMEOUTS = ["pydantic_ai.exceptions.ModelTimeoutError", "langchain_openai.OpenAITimeoutError", "httpx.ReadTimeout"]


@pytest.mark.parametrize("name", [*TIMEOUTS, "DEADLINE_EXCEEDED", "google.api_core.exceptions.DeadlineExceeded"])
def test_exceptions_about_time_are_timeouts(name: str) -> None:
    failed = agent(**{"error.type": name})
    assert only_run(span("1", None, (0, 90), "x", failed, error="too slow")).status is RunStatus.TIMEOUT


def test_a_timeout_whose_class_is_only_on_the_call_is_the_runs() -> None:
    late = {**chat([QUESTION], message("assistant", "")), "error.type": "openai.APITimeoutError"}
    run = only_run(
        span("1", None, (0, 90), "invoke_agent clerk", agent(), error="{'message': 'Error', 'data': 'timed out'}"),
        span("2", "1", (1, 20), "chat m", late, error="timed out"),
    )
    assert (run.status, run.error and run.error.type) == (RunStatus.TIMEOUT, "openai.APITimeoutError")


def test_a_run_that_was_cancelled_and_the_tool_it_waited_for_failed() -> None:
    run = only_run(*stopped(own={"strands.cancellation.type": "CancelledError"}))
    assert (run.status, run.error and run.error.category) == (RunStatus.ERROR, "cancelled")
    assert [step.error and step.error.category for step in run.tool_steps] == ["cancelled"]
