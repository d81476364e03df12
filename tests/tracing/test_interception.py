"""Whoever is asked before a call may answer it: then the function is not called, and the span is recorded as ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Generator, Iterator
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, InMemoryBackend, RunStatus, StepKind
from otel_agent_trace.tracing.diversion import Diversion
from otel_agent_trace.tracing.interception import Answer, Interceptor, Request, intercepting


class Recorded:
    """Answers with one value, in whatever way it is asked."""

    def value(self) -> Any:
        return "recorded"

    async def _later(self) -> Any:
        return "recorded"

    def awaited(self) -> Awaitable[Any]:
        return self._later()

    def items(self) -> Generator[Any, Any, Any]:
        yield "recorded"
        yield "twice"

    async def async_items(self) -> AsyncGenerator[Any, Any]:
        yield "recorded"
        yield "twice"


class Refused(BaseException):
    """A call that is not to happen."""


class Answering(Interceptor):
    """Answers calls of tools and models, refuses what is named so, and keeps what it was asked."""

    def __init__(self, refused: str = "") -> None:
        self.asked: list[tuple[str, str]] = []
        self._refused = refused

    def intercept(self, request: Request) -> Answer | None:
        name = request.active.name if hasattr(request.active, "name") else request.active.agent_name
        self.asked.append((request.how, name))
        if name == self._refused:
            raise Refused(name)
        is_agent = getattr(request.active, "kind", StepKind.AGENT) is StepKind.AGENT
        return None if is_agent or request.function is None else Recorded()


def test_each_kind_of_function_is_answered(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """Plain, coroutine, generator and async generator functions give what is answered, and none of them runs."""
    called: list[str] = []

    @tracer.tool
    def plain(q: str) -> str:
        called.append("plain")
        return q

    @tracer.tool
    async def later(q: str) -> str:
        called.append("later")
        return q

    @tracer.tool
    def stream(q: str) -> Iterator[str]:
        called.append("stream")
        yield q

    @tracer.model
    async def astream(messages: str) -> AsyncIterator[str]:
        called.append("astream")
        yield messages

    @tracer.agent
    def agent(question: str) -> list[Any]:
        async def both() -> list[Any]:
            return [await later("b"), [piece async for piece in astream("d")]]

        return [plain("a"), list(stream("c")), *asyncio.run(both())]

    answering = Answering()
    with intercepting(answering):
        assert agent("?") == ["recorded", ["recorded", "twice"], "recorded", ["recorded", "twice"]]
    assert called == []
    (run,) = memory.runs()
    assert [(step.name, step.output) for step in run.steps] == [
        ("plain", "recorded"),
        ("stream", ["recorded", "twice"]),
        ("later", "recorded"),
        ("astream", ["recorded", "twice"]),
    ]
    assert [step.tool_input for step in run.tool_steps] == [{"q": "a"}, {"q": "c"}, {"q": "b"}]
    assert answering.asked == [
        *(("call", name) for name in ("agent", "plain", "stream", "later", "astream")),
    ]
    assert agent("?") == ["a", ["c"], "b", ["d"]]
    assert called == ["plain", "stream", "later", "astream"]


def test_blocks_started_and_logged_ones_ask_too(tracer: AgentTracer) -> None:
    """Blocks of runs, steps and model calls, start_run and log_step ask before their spans are opened."""
    answering = Answering()
    with intercepting(answering):
        with tracer.run(agent_name="block"), tracer.run(agent_name="inner") as run, run.step("s"):
            run.model_call("gpt").start().end()
        run_id = tracer.start_run(agent_name="imperative")
        tracer.log_step(run_id, tool_name="t")
        tracer.end_run(run_id)
    assert answering.asked == [
        *(("block", name) for name in ("block", "inner", "s", "gpt")),
        ("started", "imperative"),
        ("logged", "t"),
    ]


@pytest.mark.parametrize("what", ["plain", "stream", "block", "agent", "start_run"])
def test_a_refusal_reaches_the_program_before_anything_runs(
    tracer: AgentTracer, memory: InMemoryBackend, what: str
) -> None:
    """What the interceptor raises is raised in place of the call or the block, whose span ends as failed."""
    ran: list[str] = []

    @tracer.tool("refused")
    def plain() -> None:
        ran.append("plain")

    @tracer.tool("refused")
    def stream() -> Iterator[int]:
        ran.append("stream")
        yield 1

    @tracer.agent("refused")
    def agent() -> None:
        ran.append("agent")

    def block() -> None:
        with tracer.run(agent_name="a") as run, run.step("refused"):
            ran.append("block")

    calls: dict[str, Any] = {
        "plain": plain,
        "stream": lambda: next(stream()),
        "block": block,
        "agent": agent,
        "start_run": lambda: tracer.start_run(agent_name="refused"),
    }
    with intercepting(Answering("refused")), pytest.raises(Refused):
        calls[what]()
    assert ran == []
    (run,) = memory.runs()
    assert run.status is RunStatus.ERROR
    assert run.error is not None
    assert run.error.type.endswith("Refused")


def test_a_refused_log_changes_nothing(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """A step that is logged has happened: the refusal is counted, and the step recorded."""
    with intercepting(Answering("refused")):
        run_id = tracer.start_run(agent_name="a")
        assert tracer.log_step(run_id, tool_name="refused", tool_output=1) == 1
        tracer.end_run(run_id)
    assert [step.output for step in memory.runs()[0].steps] == [1]
    assert tracer.stats()["failed: interception"] == 1


def test_interceptors_go_in_any_order(tracer: AgentTracer) -> None:
    """The one that came last is asked first, then the others; taken away in any order, the others stay."""
    first, second = Answering(), Answering()
    one, other = intercepting(first), intercepting(second)
    one.__enter__()
    other.__enter__()
    tracer.end_run(tracer.start_run(agent_name="a"))
    one.__exit__(None, None, None)
    tracer.end_run(tracer.start_run(agent_name="b"))
    other.__exit__(None, None, None)
    tracer.end_run(tracer.start_run(agent_name="c"))
    assert (first.asked, second.asked) == ([("started", "a")], [("started", "a"), ("started", "b")])


def test_spans_are_diverted_and_come_back(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """A diversion takes the spans as long as it is installed."""
    elsewhere = InMemoryBackend()
    with intercepting(Diversion([elsewhere])), tracer.run(agent_name="there"):
        pass
    with tracer.run(agent_name="here"):
        pass
    assert [[run.agent_name for run in backend.runs()] for backend in (elsewhere, memory)] == [["there"], ["here"]]
