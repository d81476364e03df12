"""Whatever an agent does, its replay gives it the same and makes no call; what it does differently is named."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from otel_agent_trace import AgentTracer, InMemoryBackend, ReplayDivergence, replay_run
from otel_agent_trace.values import same

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.frozensets(st.integers() | st.text(max_size=2), max_size=3)
    ),
    max_leaves=6,
)


class Act(NamedTuple):
    """One call: how it is made, with which argument, what it gives, and the acts of a sub-agent."""

    how: str
    argument: Any
    result: Any
    inside: tuple[Any, ...] = ()


HOW = st.sampled_from(["plain", "later", "items", "fails", "model"])
CALLS = st.builds(Act, HOW, VALUES, VALUES | st.lists(VALUES, max_size=3), st.just(()))
ACTS = st.recursive(
    st.lists(CALLS, max_size=5),
    lambda inner: st.lists(CALLS | st.builds(Act, st.just("agent"), VALUES, VALUES, inner.map(tuple)), max_size=4),
    max_leaves=8,
)


class Program:
    """An agent that does what a list of acts says."""

    def __init__(self) -> None:
        self.memory = InMemoryBackend()
        tracer = AgentTracer(backend=self.memory)
        self.made = 0
        self.results: list[Any] = []

        @tracer.tool
        def plain(value: Any) -> Any:
            return self.result()

        @tracer.tool
        async def later(value: Any) -> Any:
            await asyncio.sleep(0)
            return self.result()

        @tracer.tool
        def items(value: Any) -> Any:
            yield from [self.result()] * 2

        @tracer.tool
        def fails(value: Any) -> Any:
            raise ValueError(self.result())

        @tracer.model
        def model(messages: Any) -> Any:
            return self.result()

        @tracer.agent
        def agent(question: Any, acts: tuple[Act, ...]) -> Any:
            return [self.perform(act) for act in acts]

        self.plain, self.later, self.items, self.fails, self.model = plain, later, items, fails, model
        self.agent = tracer.agent(user_input="question")(agent.__wrapped__)

    def result(self) -> Any:
        self.made += 1
        return self.results[-1]

    def perform(self, act: Act) -> Any:
        self.results.append(act.result)
        if act.how == "agent":
            return self.agent(act.argument, act.inside)
        if act.how == "later":
            return asyncio.run(self.later(act.argument))
        if act.how == "items":
            return list(self.items(act.argument))
        if act.how == "fails":
            try:
                self.fails(act.argument)
            except ValueError as error:
                return error.args
        return (self.model if act.how == "model" else self.plain)(act.argument)


@given(acts=ACTS)
def test_a_replay_gives_the_same(acts: list[Act]) -> None:
    program = Program()
    first = program.agent("why?", tuple(acts))
    made = program.made
    (run,) = program.memory.runs()
    with replay_run(run) as session:
        second = program.agent("why?", tuple(acts))
    assert same(first, second)
    assert program.made == made
    assert session.live == []


@given(acts=ACTS.filter(bool), data=st.data())
def test_the_call_that_differs_is_named(acts: list[Act], data: st.DataObject) -> None:
    program = Program()
    program.agent("why?", tuple(acts))
    (run,) = program.memory.runs()
    place = data.draw(st.integers(0, len(acts) - 1))
    act = acts[place]
    assume(act.how != "agent")
    changed = [*acts[:place], act._replace(argument=["another", act.argument]), *acts[place + 1 :]]
    made = program.made
    with pytest.raises(ReplayDivergence) as caught, replay_run(run):
        program.agent("why?", tuple(changed))
    assert caught.value.name == act.how
    assert "another" in caught.value.reason
    assert program.made == made


@given(acts=ACTS.filter(bool), at=st.integers(1, 4))
def test_a_fork_is_live_from_any_step_on(acts: list[Act], at: int) -> None:
    from otel_agent_trace import fork_run

    program = Program()
    first = program.agent("why?", tuple(acts))
    (run,) = program.memory.runs()
    assume(at <= len(run.steps))
    program.made = 0
    with fork_run(run, at=at) as session:
        second = program.agent("why?", tuple(acts))
    assert same(first, second)
    assert len(session.answered) + len(session.live) == sum(map(_calls_in, acts))
    assert len(session.live) == sum(map(_calls_in, acts[at - 1 :]))


def _calls_in(act: Act) -> int:
    return sum(map(_calls_in, act.inside)) if act.how == "agent" else 1
