"""Calls that are traces of their own, as clients leave them that are traced without anything around them."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, Score, SpanRecord, load_runs, runs_from_spans
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.model import RunStatus
from otel_agent_trace.runs.assemble import Assembled
from otel_agent_trace.runs.explain import explain, explain_assembled
from otel_agent_trace.runs.stitch import MOST_HELD, Stitcher, assembled, runs_of
from otel_agent_trace.scores import event_of
from otel_agent_trace.span import LogRecord, Resource, Scope

SECOND = 10**9
START = 1_700_000_000 * SECOND
QUESTION = {"role": "user", "parts": [{"type": "text", "content": "Rain in Lyon?"}]}


def asks(call_id: str | None, city: str = "Lyon") -> dict[str, Any]:
    part = {"type": "tool_call", "id": call_id, "name": "forecast", "arguments": {"city": city}}
    return {"role": "assistant", "parts": [part]}


def tool_result(call_id: str | None, sky: str = "rain") -> dict[str, Any]:
    return {"role": "tool", "parts": [{"type": "tool_call_response", "id": call_id, "response": {"sky": sky}}]}


def answer_message(text: str) -> dict[str, Any]:
    return {"role": "assistant", "parts": [{"type": "text", "content": text}]}


def chat(number: int, at_s: float, sent: list[Any], answer: Any, service: str = "app", **more: Any) -> SpanRecord:
    """One model call, which is all of its trace."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 1,
        "gen_ai.input.messages": json.dumps(sent),
        "gen_ai.output.messages": json.dumps([answer]),
        **more,
    }
    start_ns = START + int(at_s * SECOND)
    resource = Resource({"service.name": service})
    ids = format(number, "032x"), format(number, "016x")
    return SpanRecord(*ids, None, "chat m", start_ns, start_ns + SECOND // 2, attributes, kind=3, resource=resource)


def conversation(first: int, at_s: float, call_id: str | None, **more: Any) -> list[SpanRecord]:
    """Two calls: the first asks for a tool, the second is sent its result."""
    asked, result = asks(call_id), tool_result(call_id)
    return [
        chat(first, at_s, [QUESTION], asked, **more),
        chat(first + 1, at_s + 2, [QUESTION, asked, result], answer_message("Yes."), **more),
    ]


def assert_whole(run: AgentRun) -> None:
    assert [(step.kind.value, step.name) for step in run.steps] == [
        ("model", "m"),
        ("tool", "forecast"),
        ("model", "m"),
    ]
    assert (run.steps[1].tool_input, run.steps[1].tool_output) == ({"city": "Lyon"}, {"sky": "rain"})
    assert (run.user_input, run.final_output, run.status) == ("Rain in Lyon?", "Yes.", RunStatus.SUCCESS)
    assert run.usage is not None
    assert (run.usage.input_tokens, run.usage.output_tokens) == (20, 2)


@pytest.mark.parametrize(("step_id", "place"), [(None, None), (1, 0), (2, 1), (3, 2)])
def test_scores_of_a_joined_run(tmp_path: Path, step_id: int | None, place: int | None) -> None:
    """They name it, or its step, in whichever trace that is."""
    score = Score(name="brevity", value=True, at_ns=START + 90 * SECOND)
    event = event_of(score)
    names = {"agent_trace.run.id": format(1, "032x"), **({} if step_id is None else {"agent_trace.step.id": step_id})}
    late = LogRecord("", "", event.name, event.time_ns, {**event.attributes, **names})
    lines = [otlp_json.encode_log(late), *(otlp_json.encode([each]) for each in conversation(1, 0, "call_0"))]
    (tmp_path / "calls.jsonl").write_bytes(b"\n".join(lines))
    (run,) = load_runs(tmp_path / "calls.jsonl")
    assert run.scores == ((score,) if place is None else ())
    assert [step.scores for step in run.steps] == [(score,) if at == place else () for at in range(3)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_calls_of_one_run_are_one_run(order: tuple[int, ...]) -> None:
    """A call that has the result of the tool that another asked for continues it; ids may come again in another conversation."""
    spans = [*conversation(1, 0, "call_0"), *conversation(5, 60, "call_0")]
    runs = runs_from_spans([spans[place] for place in order])
    assert [run.run_id for run in runs] == [format(1, "032x"), format(5, "032x")]
    for run in runs:
        assert_whole(run)


def test_calls_without_ids_are_known_by_the_messages_before() -> None:
    """The messages of the earlier call, and what a tool gave besides."""
    (run,) = runs_from_spans(conversation(1, 0, None, **{"gen_ai.conversation.id": "c"}))
    assert_whole(run)
    assert run.session_id == "c"


def test_files_give_the_same_in_any_order(tmp_path: Path) -> None:
    lines = [otlp_json.encode([span]) for n in range(20) for span in conversation(10 * n + 1, 30 * n, f"call_{n}")] * 2
    random.Random(1).shuffle(lines)
    (tmp_path / "t.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    runs = load_runs(tmp_path / "t.jsonl")
    assert len(runs) == 20
    for run in runs:
        assert_whole(run)
    assert [run.run_id for run in load_runs(tmp_path / "t.jsonl", limit=3, newest_first=True)] == [
        run.run_id for run in runs[:-4:-1]
    ]


@pytest.mark.parametrize(
    "second",
    [
        chat(2, 2, [QUESTION, asks("a"), tool_result("b")], answer_message("Yes.")),  # has the result of another call
        chat(2, 2, [QUESTION, asks("a"), tool_result("a")], answer_message("Yes."), service="other"),
        chat(
            2,
            2,
            [QUESTION, asks("a"), tool_result("a")],
            answer_message("Yes."),
            **{"gen_ai.conversation.id": "another"},
        ),
        chat(2, 3600, [QUESTION, asks("a"), tool_result("a")], answer_message("Yes.")),  # an hour later
        chat(2, 0.1, [QUESTION, asks("a"), tool_result("a")], answer_message("Yes.")),  # before the first had answered
        chat(2, 2, [QUESTION], answer_message("Yes.")),  # the same question once more
    ],
)
def test_other_calls_stay_runs_of_their_own(second: SpanRecord) -> None:
    runs = runs_from_spans([chat(1, 0, [QUESTION], asks("a")), second])
    assert [run.trace_id for run in runs] == [format(1, "032x"), format(2, "032x")]


def test_calls_of_an_agent_that_has_traced_them_itself(tmp_path: Path) -> None:
    """Where an agent of the same service was at work all the time, its calls are not given once more."""
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
    resource = Resource({"service.name": "app"})
    agent = SpanRecord("a" * 32, "b" * 16, None, "agent", START - 1, START + 9 * SECOND, attributes, resource=resource)
    runs = runs_from_spans([*conversation(1, 0, "call_0"), agent])
    assert [len(run.steps) for run in runs] == [0, 1, 2]


@pytest.mark.parametrize(("start_ns", "end_ns"), [(-5, -1), (2**70, 2**71), (2**70, None)])
def test_times_that_are_none_do_no_harm(start_ns: int, end_ns: int | None) -> None:
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
    agent = SpanRecord("a" * 32, "b" * 16, None, "agent", start_ns, end_ns, attributes)
    (*_, run) = sorted(runs_from_spans([agent, *conversation(1, 0, "call_0")]), key=lambda run: len(run.steps))
    assert_whole(run)


def test_many_calls_are_not_all_held() -> None:
    """Of more than are held the older ones are given meanwhile."""
    spans = [span for n in range(MOST_HELD) for span in conversation(10 * n + 1, 30 * n, f"call_{n}")]
    given = 0

    def traces() -> Iterator[list[SpanRecord]]:
        nonlocal given
        for given, span in enumerate(spans, 1):
            yield [span]

    runs = runs_of(traces())
    first = next(runs)
    assert given <= MOST_HELD
    found = [first, *runs]
    assert len(found) == MOST_HELD
    for run in found:
        assert_whole(run)


def test_calls_of_our_own_tracer_stay_runs_of_their_own() -> None:
    """A model call outside of any run is a run of that one step, as it was traced."""
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory)

    @tracer.model(model="m")
    def complete(messages: list[Any]) -> dict[str, Any]:
        return {"role": "assistant", "content": "Yes."}

    complete([QUESTION, asks("a")])
    complete([QUESTION, asks("a"), tool_result("a")])
    assert [len(run.steps) for run in memory.runs()] == [1, 1]


# ── where a joined run comes from ────────────────────────────────────────────────────────────────────────────────────


def agent_at_work(start_ns: int, end_ns: int | None, service: str = "app") -> SpanRecord:
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
    resource = Resource({"service.name": service})
    return SpanRecord("a" * 32, "b" * 16, None, "agent", start_ns, end_ns, attributes, resource=resource)


def test_a_joined_run_knows_its_traces_and_its_spans_as_they_were() -> None:
    spans = conversation(1, 0, "call_0")
    (found,) = assembled([[spans[1]], [spans[0]]])
    assert_whole(found.run)
    assert (found.run.run_id, found.run.trace_id) == (spans[0].trace_id, spans[0].trace_id)
    assert found.run.trace_ids == (spans[0].trace_id, spans[1].trace_id)
    assert found.spans == tuple(spans)


def test_a_run_of_one_trace_knows_that_one() -> None:
    request = SpanRecord("a" * 32, "c" * 16, None, "GET /", START, START + SECOND, {})
    agents = [
        SpanRecord("a" * 32, f"{n:016x}", "c" * 16, "agent", START + n, None, {"gen_ai.operation.name": "invoke_agent"})
        for n in (1, 2)
    ]
    found = list(assembled([[request, *agents]]))
    assert [run.trace_ids for run, _ in found] == [("a" * 32,)] * 2
    assert [spans for _, spans in found] == [(request, *agents)] * 2


def test_the_run_has_the_id_of_its_first_call_also_where_that_has_a_parent_elsewhere() -> None:
    spans = [msgspec.structs.replace(span, parent_span_id="e" * 16) for span in conversation(1, 0, "call_0")]
    (alone,) = runs_from_spans(spans[:1])
    (joined,) = runs_from_spans(spans)
    assert joined.run_id == alone.run_id == f"{spans[0].trace_id}-{spans[0].span_id}"
    assert_whole(joined)


def test_a_joined_run_is_explained_whole() -> None:
    spans = conversation(1, 0, "call_0")
    (explanation,) = explain(spans[::-1])
    assert explanation.run == runs_from_spans(spans)[0]
    assert [step.step.name for step in explanation.steps] == ["m", "forecast", "m"]
    tool = {fact.name: fact.sources[0] for fact in explanation.steps[1].facts}
    assert tool["input"].span_id == spans[0].span_id
    assert tool["output"].span_id == spans[1].span_id
    assert tool["output"].places == ("gen_ai.input.messages", "gen_ai.output.messages")


def test_each_run_of_several_is_explained_by_itself() -> None:
    spans = [*conversation(1, 0, "call_0"), *conversation(5, 60, "call_0"), agent_at_work(START + 99 * SECOND, None)]
    found = list(assembled([[span] for span in spans]))
    assert [explain_assembled(one).run for one in found] == [one.run for one in found]
    assert len(found) == 3


# ── live ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def live(spans: list[SpanRecord], stitcher: Stitcher | None = None) -> list[list[Assembled]]:
    """What is given at the end of each trace."""
    stitcher = Stitcher() if stitcher is None else stitcher
    return [stitcher.add([span]) for span in spans]


def test_a_call_that_goes_on_gives_the_run_again_as_readers_have_it() -> None:
    spans = conversation(1, 0, "call_0")
    (first,), (again,) = live(spans)
    assert first.run == runs_from_spans(spans[:1])[0]
    assert again.run == runs_from_spans(spans)[0]
    assert again.run.run_id == first.run.run_id
    assert_whole(again.run)
    assert again.spans == tuple(spans)


@given(st.lists(st.sampled_from([0, 60, 120, 180]), unique=True, min_size=1), st.sampled_from(["call_0", None]))
def test_what_was_given_last_of_each_run_is_what_readers_have(starts: list[int], call_id: str | None) -> None:
    chats = [conversation(10 * n + 1, at_s, call_id) for n, at_s in enumerate(starts)]
    spans = sorted((span for pair in chats for span in pair), key=lambda span: span.start_ns)
    last = {found.run.run_id: found.run for given in live(spans) for found in given}
    assert list(last.values()) == runs_from_spans(spans)


def test_a_trace_that_is_given_again_takes_its_own_place() -> None:
    spans = conversation(1, 0, "call_0")
    stitcher = Stitcher()
    live(spans, stitcher)
    (again,) = stitcher.add(spans[:1])
    assert_whole(again.run)
    (again,) = stitcher.add(spans[1:])
    assert_whole(again.run)


def test_of_more_calls_than_are_held_the_oldest_runs_are_forgotten() -> None:
    starts = [(10 * n + 1, 5 * n) for n in range(3)]
    firsts = [conversation(number, at_s, f"call_{number}")[0] for number, at_s in starts]
    rests = [conversation(number, at_s, f"call_{number}")[1] for number, at_s in starts]
    stitcher = Stitcher(most_held=2)
    live(firsts, stitcher)
    assert [len(given[0].run.steps) for given in live(rests[:1], stitcher)] == [
        2
    ]  # with the tool whose result it was sent
    (given,) = stitcher.add(rests[2:])
    assert_whole(given.run)


def test_a_run_of_more_calls_than_are_held_begins_anew() -> None:
    sent: list[Any] = [QUESTION]
    spans = []
    for number in range(1, 6):
        spans.append(chat(number, 2 * number, list(sent), asks(f"call_{number}")))
        sent += [asks(f"call_{number}"), tool_result(f"call_{number}")]
    given = [found.run for (found,) in live(spans, Stitcher(most_held=2))]
    assert [run.run_id[-1] for run in given] == ["1", "1", "1", "4", "4"]


@pytest.mark.parametrize(
    ("agent", "is_joined"),
    [
        (agent_at_work(START - 1, None), False),
        (agent_at_work(START - 1, START + 9 * SECOND), False),
        (agent_at_work(START - 1, START + SECOND), True),
        (agent_at_work(START + 1, None), True),
        (agent_at_work(START - 1, None, service="another"), True),
    ],
    ids=["at work", "was at work", "ended before", "began after", "another service"],
)
def test_calls_of_an_agent_that_is_at_work_stay_as_they_are(agent: SpanRecord, is_joined: bool) -> None:
    stitcher = Stitcher()
    stitcher.note([agent], runs_from_spans([agent]))
    spans = conversation(1, 0, "call_0")
    _, (last,) = live(spans, stitcher)
    assert (len(last.run.trace_ids) == 2) is is_joined


def test_agents_of_our_own_tracer_do_not_matter() -> None:
    agent = msgspec.structs.replace(agent_at_work(START - 1, None), scope=Scope("otel_agent_trace"))
    stitcher = Stitcher()
    stitcher.note([agent], runs_from_spans([agent]))
    _, (last,) = live(conversation(1, 0, "call_0"), stitcher)
    assert_whole(last.run)


# ── tools that are traces of their own ───────────────────────────────────────────────────────────────────────────────


def tool_trace(
    number: int, at_s: float, city: str | None = "Lyon", call_id: str | None = None, service: str = "app"
) -> SpanRecord:
    """One call of a tool, which is all of its trace."""
    attributes: dict[str, Any] = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "forecast"}
    if city is not None:
        attributes["gen_ai.tool.call.arguments"] = json.dumps({"city": city})
        attributes["gen_ai.tool.call.result"] = '{"sky": "rain"}'
    if call_id is not None:
        attributes["gen_ai.tool.call.id"] = call_id
    start_ns = START + int(at_s * SECOND)
    resource = Resource({"service.name": service})
    ids = format(number, "032x"), format(number, "016x")
    return SpanRecord(*ids, None, "execute_tool", start_ns, start_ns + SECOND // 10, attributes, resource=resource)


@pytest.mark.parametrize("call_id", ["call_0", None])
@pytest.mark.parametrize(
    "tool",
    [
        tool_trace(3, 1),
        tool_trace(3, 1, call_id="call_0"),
        tool_trace(3, 1, service="mcp-server"),
        tool_trace(3, -2, service="mcp-server"),  # whose clock is late
        tool_trace(3, 5, service="mcp-server"),
    ],
)
def test_a_tool_in_a_trace_of_its_own_is_the_call_that_a_model_asked_for(tool: SpanRecord, call_id: str | None) -> None:
    spans = [*conversation(1, 0, call_id), tool]
    for order in itertools.permutations(spans):
        (run,) = runs_from_spans(order)
        assert_whole(run)
        assert run.steps[1].span_id == tool.span_id
        assert set(run.trace_ids) == {span.trace_id for span in spans}


def test_a_tool_without_content_is_known_by_the_id_of_its_call() -> None:
    (run,) = runs_from_spans([*conversation(1, 0, "call_7"), tool_trace(3, 1, city=None, call_id="call_7")])
    assert_whole(run)
    assert run.steps[1].span_id == format(3, "016x")


@pytest.mark.parametrize(
    "tool", [tool_trace(3, 1, city="Metz"), tool_trace(3, -1), tool_trace(3, 3600), tool_trace(3, 1, city=None)]
)
def test_a_tool_that_no_model_asked_for_stays_a_run_of_its_own(tool: SpanRecord) -> None:
    whole, alone = sorted(runs_from_spans([*conversation(1, 0, "call_0"), tool]), key=lambda run: -len(run.steps))
    assert_whole(whole)
    assert [step.span_id for step in alone.steps] == [tool.span_id]


def test_conversations_at_once_whose_calls_have_the_same_id_stay_apart() -> None:
    spans = []
    for place, city in enumerate(("Lyon", "Metz", "Lyon")):
        question = {"role": "user", "parts": [{"type": "text", "content": f"Rain in {city}, {place}?"}]}
        asked, result = asks("call_0", city), tool_result("call_0")
        spans.append(chat(10 * place + 1, place / 10, [question], asked))
        spans.append(tool_trace(10 * place + 2, 1 + place / 10, city, "call_0"))
        spans.append(chat(10 * place + 3, 2 - place / 10, [question, asked, result], answer_message("Yes.")))
    for seed in range(5):
        random.Random(seed).shuffle(spans)
        runs = runs_from_spans(spans)
        assert [run.user_input for run in runs] == ["Rain in Lyon, 0?", "Rain in Metz, 1?", "Rain in Lyon, 2?"]
        assert [[step.kind.value for step in run.steps] for run in runs] == [["model", "tool", "model"]] * 3


def test_a_tool_in_a_trace_of_its_own_joins_the_run_while_it_happens() -> None:
    stitcher = Stitcher()
    first, second = conversation(1, 0, "call_0")
    for span in (first, tool_trace(3, 1), second):
        (found,) = stitcher.add([span])
    assert_whole(found.run)
    assert found.run.run_id == first.trace_id


def agent_trace(number: int, at_s: float, city: str = "Lyon", *, has_tool_span: bool) -> list[SpanRecord]:
    """An agent that calls a tool once, as one trace."""
    root = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
    asked, result = asks("call_0", city), tool_result("call_0")
    spans = [
        chat(number, at_s, [QUESTION], root),
        chat(number + 1, at_s + 1, [QUESTION], asked),
        tool_trace(number + 2, at_s + 2, city),
        chat(number + 3, at_s + 3, [QUESTION, asked, result], answer_message("Yes.")),
    ]
    replace = msgspec.structs.replace
    spans[0] = replace(spans[0], attributes=root, end_ns=spans[3].end_ns)
    inner = [replace(span, trace_id=spans[0].trace_id, parent_span_id=spans[0].span_id) for span in spans[1:]]
    return [spans[0], *(span for span in inner if has_tool_span or span is not inner[1])]


@pytest.mark.parametrize("has_tool_span", [True, False])
@pytest.mark.parametrize("late_s", [-3, 0.1, 3])
def test_a_server_that_knows_nothing_of_the_agent_serves_a_call_that_is_a_step_already(
    has_tool_span: bool, late_s: float
) -> None:
    """A server of MCP whose client propagates no context; its clock may differ."""
    spans = [*agent_trace(1, 0, has_tool_span=has_tool_span), tool_trace(9, 2 + late_s, service="mcp-server")]
    for order in (spans, spans[::-1]):
        (run,) = runs_from_spans(order)
        assert_whole(run)


def test_a_server_serves_others_too() -> None:
    """Each call of an agent is served once; what is left is the call of somebody who is not traced."""
    served = [tool_trace(number, 2, service="mcp-server") for number in (8, 9)]
    others = [tool_trace(10, 2, "Metz", service="mcp-server"), tool_trace(11, 99, service="mcp-server")]
    runs = runs_from_spans([*agent_trace(1, 0, has_tool_span=True), *served, *others])
    assert sorted(len(run.steps) for run in runs) == [1, 1, 1, 3]


@pytest.mark.parametrize("has_tool_span", [True, False])
@pytest.mark.parametrize("names_agent", [True, False])
def test_a_tool_of_the_agents_own_service_that_lost_its_context_is_a_step_already(
    has_tool_span: bool, names_agent: bool
) -> None:
    """Run in a thread or a worker; it began and ended while the agent called it."""
    apart = tool_trace(9, 2)
    if names_agent:
        apart = msgspec.structs.replace(apart, attributes={**apart.attributes, "gen_ai.agent.name": "weather"})
    (run,) = runs_from_spans([*agent_trace(1, 0, has_tool_span=has_tool_span), apart])
    assert_whole(run)


def test_a_tool_without_arguments_is_found_by_the_id_of_its_call() -> None:
    apart = tool_trace(9, 2)
    named = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "forecast", "gen_ai.tool.call.id": "call_0"}
    (run,) = runs_from_spans(
        [*agent_trace(1, 0, has_tool_span=False), msgspec.structs.replace(apart, attributes=named)]
    )
    assert_whole(run)


@pytest.mark.parametrize("other", [(9, 9, "Lyon"), (9, 2, "Metz")])
def test_another_call_of_the_same_tool_in_the_agents_service_is_a_run_of_its_own(other: tuple[int, int, str]) -> None:
    runs = runs_from_spans([*agent_trace(1, 0, has_tool_span=False), tool_trace(*other)])
    assert sorted(len(run.steps) for run in runs) == [1, 3]
