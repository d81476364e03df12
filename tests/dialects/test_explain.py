"""Each fact of a run comes with the span and the attribute that it came from, in any dialect."""

from __future__ import annotations

import json
import operator
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, InMemoryBackend, SpanRecord, dialects, runs_from_spans
from otel_agent_trace.dialects import genai
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.model import StepKind, Usage
from otel_agent_trace.runs.explain import Fact, RunExplanation, explain
from otel_agent_trace.runs.provenance import places_of
from otel_agent_trace.span import BODY_KEY, Event, Scope
from otel_agent_trace.span_facts import SpanFacts

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ERROR = 2


def span(number: int, above: int | None, name: str, attributes: dict[str, Any], **more: Any) -> SpanRecord:
    parent = None if above is None else f"{above:016x}"
    times = {"start_ns": number * 1_000, "end_ns": number * 1_000 + 500}
    return SpanRecord(TRACE, f"{number:016x}", parent, name, attributes=attributes, **{**times, **more})


def origins_of(facts: tuple[Fact, ...]) -> dict[str, tuple[str, list[tuple[int, tuple[str, ...]]]]]:
    """Each fact: how it was come by, and the numbers of the spans with the places in them."""
    return {
        fact.name: (fact.how, [(int(source.span_id, 16), source.places) for source in fact.sources]) for fact in facts
    }


def explained(*spans: SpanRecord) -> RunExplanation:
    (explanation,) = explain(spans)
    assert [explanation.run] == runs_from_spans(spans)
    return explanation


def messages(*sent: tuple[str, dict[str, Any]]) -> str:
    return json.dumps([{"role": role, "parts": [part]} for role, part in sent])


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


CALL = {"type": "tool_call", "id": "c1", "name": "forecast", "arguments": {"city": "Lyon"}}
FIRST = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m-1",
    "gen_ai.response.model": "m-1-2026",
    "gen_ai.input.messages": messages(("user", text("Rain?"))),
    "gen_ai.output.messages": messages(("assistant", CALL)),
    "gen_ai.usage.input_tokens": 5,
    "server.address": "api",
}
LAST = {
    **FIRST,
    "gen_ai.input.messages": messages(
        ("user", text("Rain?")),
        ("assistant", CALL),
        ("tool", {"type": "tool_call_response", "id": "c1", "response": 7}),
    ),
    "gen_ai.output.messages": messages(("assistant", text("No."))),
}


def test_facts_that_stand_in_the_span_itself() -> None:
    agent = {
        "openinference.span.kind": "AGENT",
        "agent.name": "weather",
        "input.value": "Rain?",
        "output.value": "No.",
        "session.id": "s1",
        "metadata": '{"user_id": "u1"}',
    }
    tool = {"openinference.span.kind": "TOOL", "tool.name": "forecast", "input.value": '{"city": "Lyon"}', "odd": 1}
    explanation = explained(span(1, None, "weather.run", agent), span(2, 1, "t", tool, status_code=ERROR))
    assert origins_of(explanation.facts) == {
        "kind": ("", [(1, ("openinference.span.kind",))]),
        "agent_name": ("", [(1, ("agent.name",))]),
        "user_input": ("", [(1, ("input.value",))]),
        "final_output": ("", [(1, ("output.value",))]),
        "session_id": ("", [(1, ("session.id",))]),
        "user_id": ("", [(1, ("metadata",))]),
        "metadata": ("", [(1, ("metadata",))]),
        "status": ("no error", []),
    }
    (step,) = explanation.steps
    assert origins_of(step.facts) == {
        "kind": ("", [(2, ("openinference.span.kind",))]),
        "name": ("", [(2, ("tool.name",))]),
        "input": ("", [(2, ("input.value",))]),
        "error": ("", [(2, ("span status",))]),
    }
    assert [(fact.name, fact.value) for fact in step.facts][:3] == [
        ("kind", "tool"),
        ("name", "forecast"),
        ("input", {"city": "Lyon"}),
    ]


def test_what_was_inferred_names_the_call_whose_messages_say_it() -> None:
    """Question, answer, a tool without a span, and tokens, in a run around which a span means nothing."""
    explanation = explained(span(1, None, "POST /ask", {"x": 1}), span(2, 1, "chat", FIRST), span(4, 1, "chat", LAST))
    sent, answered = ("gen_ai.input.messages",), ("gen_ai.output.messages",)
    assert origins_of(explanation.facts) == {
        "kind": ("", [(1, ())]),
        "user_input": ("out of the messages", [(2, sent)]),
        "final_output": ("out of the messages", [(4, answered)]),
        "usage": ("the sum of 2", [(2, ("gen_ai.usage.input_tokens",)), (4, ("gen_ai.usage.input_tokens",))]),
        "status": ("no error", []),
    }
    first, tool, _ = explanation.steps
    assert origins_of(first.facts)["name"] == ("", [(2, ("gen_ai.request.model",))])
    assert origins_of(first.facts)["model"] == ("", [(2, ("gen_ai.response.model",))])
    assert origins_of(tool.facts) == {
        "kind": ("no span of its own", [(2, sent + answered)]),
        "name": ("out of the messages", [(2, sent + answered)]),
        "input": ("out of the messages", [(2, sent + answered)]),
        "output": ("out of the messages", [(4, sent + answered)]),
    }
    assert [(span.span_name, span.is_understood, span.attributes) for span in explanation.unread] == [
        ("POST /ask", False, ("x",)),
        ("chat", True, ("server.address",)),
        ("chat", True, ("server.address",)),
    ]


def test_facts_of_other_spans_of_the_run() -> None:
    """An error that only the last step tells, a conversation in a frame, a name that only the steps say."""
    agent = {"openinference.span.kind": "AGENT"}
    frame = {"openinference.span.kind": "CHAIN", "session.id": "s1"}
    call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.agent.name": "weather"}
    failed = span(3, 2, "chat m", call, status_code=ERROR, status_message="boom")
    facts = origins_of(explained(span(1, None, "run", agent), span(2, 1, "turn", frame), failed).facts)
    assert facts == {
        "kind": ("", [(1, ("openinference.span.kind",))]),
        "agent_name": ("from another span", [(3, ("gen_ai.agent.name",))]),
        "error": ("from another span", [(3, ("span status", "status message"))]),
        "session_id": ("from another span", [(2, ("session.id",))]),
        "status": ("from the error", [(3, ("span status", "status message"))]),
    }


def test_one_call_seen_by_two_instrumentations() -> None:
    """The outer span knows the messages, the inner one the tokens."""
    outer = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "m-1",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": "Rain?",
    }
    inner = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1", "gen_ai.usage.output_tokens": 3}
    explanation = explained(
        span(1, None, "run", {"openinference.span.kind": "AGENT", "agent.name": "a"}),
        span(2, 1, "llm", outer, end_ns=9_000),
        span(3, 2, "chat", inner),
    )
    (step,) = explanation.steps
    facts = origins_of(step.facts)
    assert facts["messages"] == ("", [(2, ("llm.input_messages.*",))])
    assert facts["usage"] == ("from another span", [(3, ("gen_ai.usage.output_tokens",))])


def test_the_answer_of_the_agent_that_was_handed_over_to() -> None:
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "outer"}
    inner = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "inner",
        "gen_ai.output.messages": messages(("assistant", text("No."))),
    }
    explanation = explained(span(1, None, "a", agent, end_ns=9_000), span(2, 1, "c", FIRST), span(3, 1, "b", inner))
    assert origins_of(explanation.facts)["final_output"] == ("from another span", [(3, ("gen_ai.output.messages",))])
    (_, step, *_) = explanation.walk()
    assert origins_of(step.facts)["agent_name"] == ("", [(3, ("gen_ai.agent.name",))])


def test_events_and_log_records() -> None:
    asked = Event("gen_ai.user.message", 1, {BODY_KEY: {"content": "Rain?"}})
    answer = Event("gen_ai.choice", 2, {"message": '{"content": "No."}', "index": 0})
    model = span(2, None, "c", {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}, events=(asked, answer))
    (step,) = explained(model).steps
    places = ("log record gen_ai.user.message: body", "event gen_ai.choice: message")
    assert origins_of(step.facts)["messages"] == ("", [(2, places)])


def test_the_spans_of_our_own_tracer_are_explained_as_well() -> None:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend, agent_name="weather")
    with tracer.run(user_input="Rain?") as run:
        with run.step("forecast", {"city": ("Lyon", 1)}) as step:
            step.output = "sun"
        run.final_output = "No."
    explanation = explained(*backend.spans())
    facts = {name: (how, places) for name, (how, [(_, places)]) in origins_of(explanation.facts).items()}
    assert facts == {
        "kind": ("", ("gen_ai.operation.name",)),
        "agent_name": ("", ("gen_ai.agent.name",)),
        "user_input": ("", ("gen_ai.input.messages",)),
        "final_output": ("", ("gen_ai.output.messages",)),
        "status": ("no error", ("span status", "span end")),
    }
    assert origins_of(explanation.steps[0].facts)["input"][1][0][1] == (
        "gen_ai.tool.call.arguments",
        "agent_trace.types",
    )
    assert explanation.unread == ()


def test_a_dialect_of_another_package_needs_to_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(record: SpanRecord) -> SpanFacts | None:
        given = Attributes(record)
        if given.text("acme.what") != "action":
            return None
        meaning = SpanFacts(kind=StepKind.TOOL, dialect="acme", name=given.text("acme.title", "acme.name"))
        meaning.usage = Usage(input_tokens=given.integer("acme.tokens"))
        meaning.attributes = given.rest
        return meaning

    monkeypatch.setattr(dialects, "DIALECTS", (dialects.Dialect("acme", read), *dialects.DIALECTS))
    dialects._candidates.cache_clear()
    places = places_of(
        span(1, None, "x", {"acme.what": "action", "acme.name": "t", "acme.tokens": "7", "acme.title": ""})
    )
    dialects._candidates.cache_clear()
    assert places == {"kind": ("acme.what",), "name": ("acme.name",), "usage": ("acme.tokens",)}


def test_a_fact_that_two_attributes_say_in_the_same_words() -> None:
    """A text that is no number does not count: without the first, the second steps in."""

    def places(**attributes: Any) -> tuple[str, ...]:
        attributes_of_tool = {"openinference.span.kind": "TOOL", **attributes}
        return places_of(span(1, None, "t", attributes_of_tool, scope=Scope("x")))["session_id"]

    assert places(**{"session.id": "s1", "metadata": '{"session_id": "s1"}'}) == ("session.id",)
    assert places(**{"session.id": "", "metadata": '{"session_id": "s1"}'}) == ("metadata",)


def test_several_runs_of_one_trace_have_their_own_spans() -> None:
    agent = {"gen_ai.operation.name": "invoke_agent", "x": 1}
    one, other = explain(
        [
            span(1, None, "GET /", {"y": 1}),
            *(span(number, 1, "a", {**agent, "gen_ai.agent.name": f"{number}"}) for number in (2, 4)),
            *(span(number, number - 1, "c", FIRST) for number in (3, 5)),
        ]
    )
    assert [unread.span_id[-1] for unread in one.unread] == ["1", "2", "3"]
    assert [unread.span_id[-1] for unread in other.unread] == [
        "1",
        "4",
        "5",
    ]  # what stands around both is listed for both


def test_a_run_whose_span_was_lost() -> None:
    facts = origins_of(explained(span(2, 1, "chat", FIRST), span(4, 1, "chat", LAST)).facts)
    assert facts["user_input"] == ("out of the messages", [(2, ("gen_ai.input.messages",))])
    lone = origins_of(explained(span(2, 1, "chat", FIRST)).facts)
    assert lone == {
        "user_input": ("out of the messages", [(2, ("gen_ai.input.messages",))]),
        "usage": ("from a step", [(2, ("gen_ai.usage.input_tokens",))]),
        "status": ("no error", []),
    }


def test_equal_runs_are_not_unequal() -> None:
    assert operator.ne(Usage(input_tokens=1), Usage(input_tokens=1)) is False
    assert operator.ne(Usage(input_tokens=1), Usage(input_tokens=2)) is True


def test_messages_are_not_converted_again_for_each_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[Any] = []
    conversation = genai.conversation
    monkeypatch.setattr(genai, "conversation", lambda *given: converted.append(given[0]) or conversation(*given))
    sent = [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}]
    operation = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "claude",
        "gen_ai.input.messages": json.dumps(sent),
    }
    parameters = {f"gen_ai.request.{name}": 1 for name in ("max_tokens", "seed", "temperature", "top_k", "top_p")}
    explained(span(1, None, "chat claude", operation))
    few = converted.count(sent)
    explained(span(1, None, "chat claude", operation | parameters))

    assert converted.count(sent) == 2 * few
