"""The plan of a replay names each recorded call, what happens to it and why, and executes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    ConfigurationError,
    InMemoryBackend,
    Opaque,
    Raises,
    ReplayDivergence,
    StepKind,
    Truncated,
    plan_replay,
    replay_run,
)
from otel_agent_trace.replay import PlannedCall


class Agent:
    """An agent with a tool, a tool that fails, a tool that uses another, a model, a sub-agent and blocks."""

    def __init__(self, tracer: AgentTracer) -> None:
        self.made: list[str] = []

        @tracer.tool
        def search(query: str) -> str:
            self.made.append("search")
            return f"found {query}"

        @tracer.tool(side_effects=True)
        def send(text: str) -> None:
            self.made.append("send")
            raise ConnectionError("no route")

        @tracer.tool
        def publish(text: str) -> int:
            self.made.append("publish")
            try:
                send(text)
            except ConnectionError:
                return 0
            return 1

        @tracer.model(model="gpt-4o")
        def decide(messages: list[dict[str, str]]) -> str:
            self.made.append("decide")
            return "go on"

        @tracer.agent(name="helper")
        def helper(query: str) -> str:
            return search(query)

        @tracer.agent(name="bot")
        def bot(question: str) -> int:
            decide([{"role": "user", "content": question}])
            search("a")
            with tracer.run(user_input="inner") as run, run.step("think", kind=StepKind.OTHER):
                search("b")
            helper("c")
            return publish("d")

        self.ask = bot


@pytest.fixture
def agent(tracer: AgentTracer) -> Agent:
    return Agent(tracer)


@pytest.fixture
def run(agent: Agent, memory: InMemoryBackend) -> AgentRun:
    agent.ask("why?")
    agent.made.clear()
    (recorded,) = memory.runs()
    return recorded


def short(rows: list[PlannedCall]) -> list[tuple[str, str, str]]:
    return [(row.step, row.name, row.what) for row in rows]


def with_step(run: AgentRun, number: int, **facts: Any) -> AgentRun:
    """Return a run with a step that was recorded otherwise."""
    steps = list(run.steps)
    steps[number] = msgspec.structs.replace(steps[number], **facts)
    return msgspec.structs.replace(run, steps=tuple(steps))


ANSWERED = [
    ("1", "decide", "answered"),
    ("2", "search", "answered"),
    ("3/2", "search", "answered"),
    ("4/1", "search", "answered"),
    ("5", "publish", "answered"),
]


def test_calls_are_listed_and_what_executes_is_not(agent: Agent, run: AgentRun) -> None:
    """Runs, sub-agents and brackets have no rows, nor what an answered tool has called; nothing is executed."""
    assert short(plan_replay(run)) == ANSWERED
    assert short(plan_replay(run, agent.ask)) == ANSWERED
    assert agent.made == []


def test_plan_is_what_the_replay_does(agent: Agent, run: AgentRun) -> None:
    """Calls are answered and live as the plan has it, with live tools, patches and an end."""
    for options in ({}, {"live": "publish"}, {"live": ["gpt-4o"]}, {"until": "3/2"}, {"until": 0}, {"patch": {2: "x"}}):
        rows = plan_replay(run, agent.ask, **options)  # type: ignore[arg-type]
        with replay_run(run, **options) as session:  # type: ignore[arg-type]
            agent.ask("why?")
        assert [row.name for row in rows if row.what == "answered"] == session.answered
        assert [row.name for row in rows if row.what == "live"] == session.live


def test_live_calls_bring_what_they_call(run: AgentRun) -> None:
    """Below a live tool, the calls that it makes have rows; side effects are those that were recorded."""
    rows = plan_replay(run, live=["publish", "send"])
    assert short(rows[-2:]) == [("5", "publish", "live"), ("6", "send", "live")]
    assert [row.side_effects for row in rows[-2:]] == [False, True]
    (answered,) = [row for row in plan_replay(run, live="publish") if row.name == "send"]
    assert (answered.what, answered.why, answered.side_effects) == (
        "answered",
        "the recorded error, ConnectionError",
        True,
    )


def test_patches_answer(run: AgentRun) -> None:
    """A patch is named as the answer, of a sub-agent too, which does not execute then."""
    rows = plan_replay(run, patch={2: "x", "3/2": Raises(TimeoutError("slow")), 4: "all"})
    whys = {row.step: row.why for row in rows}
    assert whys["2"] == "the patch"
    assert whys["3/2"] == "the patch raises TimeoutError('slow')"
    assert "4/1" not in whys
    assert ("4", "helper", "answered") in short(rows)


def test_patch_of_unknown_step_is_refused(run: AgentRun) -> None:
    """A plan has the same errors as the replay."""
    with pytest.raises(ConfigurationError, match="99"):
        plan_replay(run, patch={99: 1})
    with pytest.raises(ConfigurationError, match="7/7"):
        plan_replay(run, until="7/7")


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"output": {"rows": [Truncated("ab", 9, "bytes")]}}, r"output\.rows\[0\]: a value that was truncated"),
        ({"output": [1, Opaque("app.City", {})]}, r"output\[1\]: an instance of app\.City"),
        ({"ended_at_ns": None}, "its end was not recorded"),
        ({"name": ""}, "without a name"),
    ],
    ids=["truncated", "opaque", "unended", "unnamed"],
)
def test_what_cannot_be_given_back_is_refused(run: AgentRun, facts: dict[str, Any], why: str) -> None:
    """The reason names what it is and where it stands; a live tool does not need it."""
    damaged = with_step(run, 1, **facts)
    (row,) = [row for row in plan_replay(damaged) if row.step == "2"]
    assert row.what == "refused"
    assert re.search(why, row.why)
    assert {row.what for row in plan_replay(damaged, live=["search", ""]) if row.step == "2"} == {"live"}


def test_classes_that_an_annotation_names_are_known_from_the_agent(
    tracer: AgentTracer, memory: InMemoryBackend
) -> None:
    """What the annotation of a tool names is given back: only with the agent can that be known."""

    @tracer.tool
    def where(query: str) -> Place:
        return Place(query)

    @tracer.agent
    def guide(question: str) -> str:
        return where(question).city

    guide("Lyon")
    (recorded,) = memory.runs()
    stored = with_step(recorded, 0, output=Opaque(f"{__name__}.Place", {"city": "Lyon"}))
    assert [row.what for row in plan_replay(stored)] == ["refused"]
    assert [row.what for row in plan_replay(stored, guide)] == ["answered"]


class Place(msgspec.Struct):
    city: str


def test_tools_that_are_not_decorated_are_refused(run: AgentRun) -> None:
    """A tool that the tracer of today's agent never decorated is refused by name, unless it is live."""
    today = AgentTracer(backend=InMemoryBackend())

    def search(query: str) -> str:
        return query

    @today.tool
    def publish(text: str) -> int:
        return 1

    @today.model
    def decide(messages: list[Any]) -> str:
        return ""

    @today.agent(name="bot")
    def bot(question: str) -> int:
        decide([])
        return publish(search(question))

    rows = plan_replay(run, bot)
    assert {(row.name, row.what) for row in rows} == {
        ("decide", "answered"),
        ("publish", "answered"),
        ("search", "refused"),
    }
    assert {row.why for row in rows if row.what == "refused"} == {
        "the tracer of bot has decorated no tool of this name"
    }
    assert "refused" not in {row.what for row in plan_replay(run, bot, live=["search"])}


def test_tracers_of_an_agent_are_found_in_its_code(agent: Agent, tracer: AgentTracer, run: AgentRun) -> None:
    """The tracer is found of methods, of functions that call the agent, of code with a tracer in it, and of the tracer."""
    other = AgentTracer(backend=InMemoryBackend())
    ask = agent.ask

    def calls_it(question: str) -> int:
        return ask(question)

    def uses_tracer(question: str) -> None:
        with tracer.run(user_input=question):
            pass

    def uses_another(question: str) -> Any:
        return [other for _ in question]

    class Service:
        def __init__(self) -> None:
            self.tracer = tracer

        def answer(self, question: str) -> int:
            return 1

    for one in (calls_it, uses_tracer, Service().answer, tracer, lambda question: calls_it(question)):
        assert short(plan_replay(run, one)) == ANSWERED
    assert {row.what for row in plan_replay(run, uses_another)} == {"refused"}
    assert short(plan_replay(run, len)) == ANSWERED  # of which no tracer is known


def test_names_are_kept_when_functions_are_gone(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """A tool that is decorated where it is called is known as long as the tracer, also an object with `__call__`."""

    class Adder:
        def __call__(self, number: int) -> int:
            return number + 1

    @tracer.agent
    def count(question: str) -> int:
        return tracer.tool("add")(Adder())(tracer.tool("double")(lambda number: 2 * number)(1))

    count("?")
    (recorded,) = memory.runs()
    assert [(row.name, row.what) for row in plan_replay(recorded, count)] == [
        ("double", "answered"),
        ("add", "answered"),
    ]


def test_blocks_are_refused_as_far_as_they_are_known(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """A retrieval is always a block; a block of a tool is known by the agent's tracer. The replay refuses both."""

    def ask(question: str) -> None:
        with tracer.run(user_input=question) as run:
            with run.step("index", kind=StepKind.RETRIEVAL):
                pass
            with run.step("fetch", kind=StepKind.TOOL):
                pass

    ask("?")
    (recorded,) = memory.runs()
    assert [row.what for row in plan_replay(recorded)] == ["refused", "answered"]
    assert [row.what for row in plan_replay(recorded, ask)] == ["refused", "refused"]
    with pytest.raises(ReplayDivergence), replay_run(recorded):
        ask("?")


def test_steps_of_several_runs_have_the_id_of_their_run(agent: Agent, run: AgentRun, memory: InMemoryBackend) -> None:
    """With several runs a step is one that `patch` takes."""
    agent.ask("who?")
    rows = plan_replay(memory.runs())
    assert len({row.step for row in rows}) == len(rows) == 2 * len(ANSWERED)
    assert "the patch" in {row.why for row in plan_replay(memory.runs(), patch={rows[1].step: 1})}


def test_plan_of_an_address(
    agent: Agent, run: AgentRun, trace_file: Path, recorded: Callable[[], list[AgentRun]]
) -> None:
    """A run is read from its address, and the plan is the same however it was stored."""
    assert short(plan_replay(f"{trace_file}#last", agent.ask)) == ANSWERED
    assert plan_replay(recorded(), agent.ask) == plan_replay(run, agent.ask)
