"""Tool calls whose ids are no keys: each call is read once, in order, whatever spans and messages were lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import AgentRun, SpanRecord, run_to_spans, runs_from_spans
from tests.support.handwritten_spans import only_run, span

Message = dict[str, Any]
START_NS, LENGTH_NS = 1_000_000, 100


def text(role: str, words: str) -> Message:
    return {"role": role, "parts": [{"type": "text", "content": words}]}


@dataclass(frozen=True)
class Call:
    """A tool call that happened: in which turn, under which id, with what arguments and result."""

    turn: int
    call_id: str | None
    name: str
    arguments: dict[str, Any]
    result: Any

    @property
    def request(self) -> dict[str, Any]:
        return {"type": "tool_call", "id": self.call_id, "name": self.name, "arguments": self.arguments}

    @property
    def response(self) -> Message:
        return {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": self.call_id, "response": self.result}],
        }


@dataclass
class Conversation:
    """A run of an agent, with everything that its spans could show; `window` messages are sent at most."""

    turns: list[list[Call]]
    earlier: list[list[Call]] = field(default_factory=list)
    window: int | None = None

    @property
    def calls(self) -> list[Call]:
        return [call for turn in self.turns for call in turn]

    def messages_sent(self, turn: int) -> list[Message]:
        """What the model call of a turn was sent."""
        messages = [text("user", "Hello?")] if self.earlier else []
        for calls in self.earlier:
            messages += exchange(calls)
        if self.earlier:
            messages.append(text("assistant", "Hello."))
        messages.append(text("user", "Stock?"))
        for calls in self.turns[:turn]:
            messages += exchange(calls)
        return messages if self.window is None else messages[-self.window :]

    def model_span(self, turn: int) -> SpanRecord:
        asked = self.turns[turn] if turn < len(self.turns) else []
        answer = {"role": "assistant", "parts": [call.request for call in asked]} if asked else text("assistant", "OK.")
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "gen_ai.input.messages": self.messages_sent(turn),
            "gen_ai.output.messages": [answer],
        }
        start_ns = START_NS + turn * LENGTH_NS
        return span(f"a{turn:04x}", "1", (start_ns + 1, start_ns + 10), "chat m", attributes)

    def tool_span(self, place: int, *, with_id: bool = True, offset_ns: int = 0, service: str = "app") -> SpanRecord:
        call = self.calls[place]
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.call.arguments": call.arguments,
            "gen_ai.tool.call.result": call.result,
            **({"gen_ai.tool.call.id": call.call_id} if with_id and call.call_id is not None else {}),
        }
        start_ns = START_NS + call.turn * LENGTH_NS + 20 + place + offset_ns
        return span(f"b{place:04x}", "1", (start_ns, start_ns + 1), "execute_tool", attributes, service=service)

    def run(self, models: Iterable[int], tools: Iterable[int], *, with_ids: bool = True, **where: Any) -> AgentRun:
        """The run that is read from the spans of some of the model calls and tools."""
        agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}
        return only_run(
            span("1", None, (START_NS, START_NS + (len(self.turns) + 1) * LENGTH_NS), "invoke_agent clerk", agent),
            *[self.model_span(turn) for turn in models],
            *[self.tool_span(place, with_id=with_ids, **where) for place in tools],
        )


def exchange(calls: list[Call]) -> list[Message]:
    return [{"role": "assistant", "parts": [call.request for call in calls]}, *[call.response for call in calls]]


IDS: dict[str, Callable[[int, int, int], str | None]] = {
    "unique": lambda turn, place, number: f"id-{number}",
    "of each turn": lambda turn, place, number: f"call_{place}",
    "one for all": lambda turn, place, number: "call_0",
    "the name of the tool": lambda turn, place, number: "stock",
    "one in a turn": lambda turn, place, number: f"turn-{turn}",
    "empty": lambda turn, place, number: "",
    "none": lambda turn, place, number: None,
}


def conversation(
    items: list[list[int]], ids: Callable[[int, int, int], str | None], window: int | None = None, earlier: int = 0
) -> Conversation:
    """A conversation of turns in which the stock of some items is asked for; what is in stock changes from turn to turn."""
    numbered = 0
    turns: list[list[Call]] = []
    for turn, wanted in enumerate(items):
        calls = []
        for place, item in enumerate(wanted):
            calls.append(Call(turn - earlier, ids(turn, place, numbered), "stock", {"item": item}, turn % 2))
            numbered += 1
        turns.append(calls)
    return Conversation(turns[earlier:], turns[:earlier], window)


ITEMS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=3), min_size=1, max_size=5)


def steps_of(run: AgentRun) -> list[Any]:
    """The steps in order; the tools of one turn, which may have run at once, without an order."""
    steps = [
        ("model",) if step.kind.value == "model" else (step.name, json.dumps(step.input), json.dumps(step.output))
        for step in run.steps
    ]
    groups = (list(group) for _, group in groupby(steps, key=lambda step: step == ("model",)))
    return [sorted(group) for group in groups]


def happened(talk: Conversation, models: set[int]) -> list[Any]:
    """The steps that happened, as `steps_of` returns them, without the model calls that have no span."""
    steps: list[tuple[str, ...]] = []
    for turn in range(len(talk.turns) + 1):
        if turn in models:
            steps.append(("model",))
        for call in talk.turns[turn] if turn < len(talk.turns) else ():
            steps.append((call.name, json.dumps(call.arguments), json.dumps(call.result)))
    groups = (list(group) for _, group in groupby(steps, key=lambda step: step == ("model",)))
    return [sorted(group) for group in groups]


def assert_times_are_possible(run: AgentRun) -> None:
    for step in run.steps:
        assert step.ended_at_ns is None or step.ended_at_ns >= step.started_at_ns


def assert_written_and_read_again(run: AgentRun) -> None:
    assert runs_from_spans(run_to_spans(run)) == [run]


@given(st.data())
def test_each_call_is_one_step_whatever_spans_are_missing(data: st.DataObject) -> None:
    """The last model call was sent everything, so that nothing is lost with the others."""
    items = data.draw(ITEMS)
    earlier = data.draw(st.integers(0, len(items) - 1))
    talk = conversation(items, IDS[data.draw(st.sampled_from(sorted(IDS)))], earlier=earlier)
    last = len(talk.turns)
    models = {*data.draw(st.sets(st.integers(0, last))), last}
    tools = data.draw(st.sets(st.integers(0, len(talk.calls) - 1)))
    run = talk.run(models, tools, with_ids=data.draw(st.booleans()))
    assert steps_of(run) == happened(talk, models)
    assert_times_are_possible(run)
    assert_written_and_read_again(run)


@given(st.data())
def test_a_history_that_was_cut_neither_loses_nor_doubles_calls(data: st.DataObject) -> None:
    """Each model call was sent at least the results of the calls before it; the cut may be between call and result."""
    talk = conversation(data.draw(ITEMS), IDS[data.draw(st.sampled_from(sorted(IDS)))])
    most = max(map(len, talk.turns))
    talk.window = data.draw(st.integers(most, most + 8))
    models = set(range(len(talk.turns) + 1))
    tools = data.draw(st.sets(st.integers(0, len(talk.calls) - 1)))
    run = talk.run(models, tools)
    assert steps_of(run) == happened(talk, models)
    assert_written_and_read_again(run)


@given(st.data())
def test_tools_of_a_service_with_another_clock_stand_where_they_ran(data: st.DataObject) -> None:
    """Where spans of equal calls without ids of their own were lost, nothing shows which of them the others are."""
    scheme = data.draw(st.sampled_from(sorted(IDS)))
    talk = conversation(data.draw(ITEMS), IDS[scheme])
    models, every_tool = set(range(len(talk.turns) + 1)), set(range(len(talk.calls)))
    tools = data.draw(st.sets(st.sampled_from(sorted(every_tool)))) if scheme == "unique" else every_tool
    offset_ns = data.draw(st.integers(-9, 9)) * LENGTH_NS // 2
    run = talk.run(models, tools, offset_ns=offset_ns, service="tools")
    assert steps_of(run) == happened(talk, models)
    assert_times_are_possible(run)
    assert_written_and_read_again(run)
