"""Callables whose kind flags do not tell, and generators that are consumed elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import operator
import sys
import threading
import unittest.mock
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentStep, AgentTracer, InMemoryBackend

Steps = Callable[[], list[AgentStep]]

keeps_origin = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="before Python 3.11, the flags of a code decide how it is run"
)


@pytest.fixture
def steps(memory: InMemoryBackend) -> Steps:
    """All steps in memory, in the order in which they started."""
    return lambda: [step for run in memory.runs() for step in run.steps]


class Streams:
    """An object whose call is a generator."""

    kind = "of the class"

    def __init__(self) -> None:
        self.limit = 5

    @property
    def schema(self) -> dict[str, int]:
        return {"limit": self.limit}

    def __call__(self, q: str) -> Iterator[str]:
        yield q


class StreamsLater:
    async def __call__(self, q: str) -> AsyncIterator[str]:
        yield q


class Later:
    async def __call__(self, q: str) -> str:
        await asyncio.sleep(0)
        return q


async def later(q: str) -> str:
    await asyncio.sleep(0)
    return q


def stream(q: str) -> Iterator[str]:
    yield q


async def consumed(pieces: AsyncIterator[Any]) -> list[Any]:
    return [piece async for piece in pieces]


async def awaited(awaitable: Any) -> Any:
    return await awaitable


def outcomes(steps: Steps) -> list[tuple[Any, bool, str | None]]:
    return [(step.output, step.abandoned, step.error.type if step.error else None) for step in steps()]


# ── objects ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("around", [lambda called: called, functools.partial], ids=["object", "partial"])
def test_calls_of_objects_end_with_their_work(tracer: AgentTracer, steps: Steps, around: Callable[[Any], Any]) -> None:
    assert list(tracer.tool(around(Streams()))("a")) == ["a"]
    assert asyncio.run(consumed(tracer.tool(around(StreamsLater()))("a"))) == ["a"]
    assert asyncio.run(tracer.tool(around(Later()))("a")) == "a"
    assert [step.output for step in steps()] == [["a"], ["a"], "a"]


def test_everything_else_of_an_object_is_its_own(tracer: AgentTracer) -> None:
    plain = Streams()
    traced: Any = tracer.tool(plain)
    plain.limit = 6
    assert (traced.kind, traced.schema, traced.limit) == ("of the class", {"limit": 6}, 6)
    traced.limit = 7
    assert plain.limit == 7
    assert isinstance(traced, Streams)
    assert traced == plain
    assert traced.__doc__ == "An object whose call is a generator."
    assert inspect.signature(traced) == inspect.signature(plain)
    assert inspect.isgeneratorfunction(traced.__call__)
    with pytest.raises(AttributeError, match="missing"):
        traced.missing  # noqa: B018


class Toolbox(dict[str, int]):
    """An object with special methods of many kinds, some of them in C, some static, one of them missing."""

    number: int = 1
    __length_hint__ = staticmethod(lambda: 5)
    __reversed__ = None  # type: ignore[assignment]

    def __call__(self, q: str) -> int:
        return self[q]

    def __add__(self, other: int) -> int:
        return self.number + other

    __radd__ = __add__

    def __lt__(self, other: Toolbox) -> bool:
        return self.number < other.number

    def __iadd__(self, other: int) -> Toolbox:
        self.number += other
        return self

    def __enter__(self) -> Toolbox:
        return self

    def __exit__(self, *_: object) -> bool:
        return True

    async def __aenter__(self) -> Toolbox:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.number = 0

    def __await__(self) -> Any:
        return later("awaited").__await__()

    async def __aiter__(self) -> AsyncIterator[str]:
        yield "piece"


def test_special_methods_of_an_object_are_its_own(tracer: AgentTracer, steps: Steps) -> None:
    """What Python looks up in the class, as `len`, ``in``, ``[]``, operators and ``with``; the stand-in takes its place."""

    async def main() -> tuple[Any, ...]:
        async with traced as entered:
            return entered is traced, await traced, await consumed(aiter(traced))

    plain = Toolbox({"a": 1})
    traced: Any = tracer.tool(plain)
    traced["b"] = 2
    del traced["a"]
    assert (len(traced), "b" in traced, "a" in traced, traced["b"], list(traced)) == (1, True, False, 2, ["b"])
    assert (bool(traced), bool(tracer.tool(Toolbox())), bool(tracer.tool(Later()))) == (True, False, True)
    assert (traced + 1, 1 + traced, traced == plain, plain == traced, traced == traced) == (2, 2, True, True, True)  # noqa: PLR0124
    assert (Toolbox() < traced, traced < Toolbox(), traced > traced) == (False, False, False)  # noqa: PLR0124
    assert operator.length_hint(traced) == 1
    stands_for = traced
    stands_for += 4
    assert (stands_for is traced, plain.number) == (True, 5)
    with traced as entered:
        assert entered is traced
        assert entered("b") == 2
        raise LookupError  # suppressed by it
    assert [step.input for step in steps()] == [{"q": "b"}]
    assert asyncio.run(main()) == (True, "awaited", ["piece"])
    assert plain.number == 0
    for missing in (reversed, hash, operator.neg, operator.index):
        with pytest.raises(TypeError):
            missing(traced)
    for made in (Streams(), unittest.mock.MagicMock(), unittest.mock.MagicMock(__len__=lambda _: 3)):
        assert repr(tracer.tool(made)) == repr(made)
        assert hash(tracer.tool(made)) == hash(made)
    assert len(tracer.tool(made)) == 3  # type: ignore[arg-type]


def test_an_object_is_no_method(tracer: AgentTracer, steps: Steps) -> None:
    """As an attribute of a class it is called without the instance, as without tracing."""

    class Agent:
        search = tracer.tool("search")(Later())

    assert asyncio.run(Agent().search("a")) == "a"
    assert steps()[0].input == {"q": "a"}


# ── functions that return work ───────────────────────────────────────────────────────────────────────────────────────


def test_a_function_that_returns_a_coroutine_lasts_until_it_is_awaited(tracer: AgentTracer, steps: Steps) -> None:
    inner = tracer.tool("inner")(later)
    tool = tracer.tool(lambda q: inner(q))

    async def program() -> None:
        assert inspect.iscoroutine(tool("a"))
        assert await tool("b") == "b"
        assert await asyncio.create_task(tool("c")) == "c"
        assert await asyncio.gather(tool("d"), tool("e")) == ["d", "e"]
        assert await asyncio.wait_for(tool("f"), 5) == "f"

    with tracer.run(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(program())
    inside = {step.name: step for step in steps() if step.name == "inner"}
    assert inside["inner"].parent_step_id is not None
    assert sorted(step.output for step in steps() if step.output) == sorted("bcdef" * 2)


def test_what_the_coroutine_raises_is_raised_and_recorded(tracer: AgentTracer, steps: Steps) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        asyncio.run(awaited(tracer.tool(lambda: fails())()))
    assert outcomes(steps) == [(None, False, "LookupError")]


def test_a_coroutine_that_is_never_awaited_is_abandoned_and_warned_of_once(tracer: AgentTracer, steps: Steps) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        tracer.tool(lambda q: later(q))("a")  # type: ignore[unused-coroutine]
        gc.collect()
        messages = [str(warning.message) for warning in seen]
        seen.clear()  # a warning holds its coroutine
    assert messages == ["coroutine 'later' was never awaited"]
    assert outcomes(steps) == [(None, True, None)]


def test_tasks_and_futures_stay_the_same_objects(tracer: AgentTracer, steps: Steps) -> None:
    async def program() -> None:
        made = asyncio.get_running_loop().create_future()
        assert tracer.tool(lambda: made)() is made
        made.set_result("future")
        task = tracer.tool(lambda q: asyncio.create_task(later(q)))("task")
        assert isinstance(task, asyncio.Task)
        assert await task == "task"
        cancelled = tracer.tool(lambda q: asyncio.create_task(later(q)))("never")
        cancelled.cancel()
        await asyncio.wait([cancelled])

    asyncio.run(program())
    found = {step.output: step.error and step.error.category for step in steps()}
    assert found == {"future": None, "task": None, None: "cancelled"}


def test_an_exception_of_a_task_that_nobody_reads_is_still_reported_by_asyncio(
    tracer: AgentTracer, steps: Steps
) -> None:
    reported: list[Any] = []

    async def fails() -> None:
        raise LookupError("no")

    async def program() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["message"]))
        await asyncio.wait([tracer.tool(lambda: asyncio.ensure_future(fails()))()])
        gc.collect()

    asyncio.run(program())
    gc.collect()
    assert reported == ["Task exception was never retrieved"]
    assert outcomes(steps) == [(None, False, "LookupError")]


def test_a_function_that_returns_a_generator_lasts_until_it_is_consumed(tracer: AgentTracer, steps: Steps) -> None:
    pieces = tracer.tool(lambda q: stream(q))("a")
    assert inspect.isgenerator(pieces)
    assert pieces.__name__ == "stream"
    assert list(pieces) == ["a"]
    assert asyncio.run(consumed(tracer.tool(lambda q: StreamsLater()(q))("b"))) == ["b"]
    assert outcomes(steps) == [(["a"], False, None), (["b"], False, None)]


def test_work_that_was_passed_in_is_not_that_of_the_call(tracer: AgentTracer, steps: Steps) -> None:
    pieces, coroutine = stream("a"), later("a")
    assert tracer.tool(lambda given: given)(pieces) is pieces
    assert tracer.tool(lambda *, given: given)(given=coroutine) is coroutine
    coroutine.close()
    begun = stream("b")
    next(begun)
    assert tracer.tool(lambda: begun)() is begun
    assert [step.abandoned for step in steps()] == [False] * 3


# ── context managers ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_context_managers_last_as_long_as_their_block(tracer: AgentTracer, steps: Steps) -> None:
    """Above `contextmanager` and below it, a step is the whole block, and fails as it does."""
    above = tracer.tool("above")(contextlib.contextmanager(stream))
    below = contextlib.contextmanager(tracer.tool("below")(stream))
    with tracer.run():
        for manager in (above, below):
            with manager("a") as given:
                assert given == "a"
                tracer.tool("inside")(len)("b")
            with pytest.raises(LookupError), manager("a"):
                raise LookupError
    found = [(step.name, step.output, step.error and step.error.type) for step in steps()]
    whole, failed = (["a"], None), (["a"], "LookupError")
    assert [found[index] for index in (0, 2, 3, 5)] == [
        ("above", *whole),
        ("above", *failed),
        ("below", *whole),
        ("below", *failed),
    ]


def test_async_context_managers_last_as_long_as_their_block(tracer: AgentTracer, steps: Steps) -> None:
    above = tracer.tool("above")(contextlib.asynccontextmanager(StreamsLater().__call__))
    below = contextlib.asynccontextmanager(tracer.tool("below")(StreamsLater().__call__))

    async def program() -> None:
        for manager in (above, below):
            async with manager("a") as given:
                assert given == "a"

    asyncio.run(program())
    assert outcomes(steps) == [(["a"], False, None)] * 2


def test_a_context_manager_that_decorates_is_a_step_for_each_call(tracer: AgentTracer, steps: Steps) -> None:
    """It is none when it is made, and none if it is never used; methods and other attributes stay what they were."""

    class Resource:
        @tracer.tool("sync")
        @contextlib.contextmanager
        def held(self, q: str) -> Iterator[str]:
            yield q

        @tracer.tool("async")
        @contextlib.asynccontextmanager
        async def held_later(self, q: str) -> AsyncIterator[str]:
            yield q

    managed = Resource().held("a")

    @managed
    def work(number: int) -> int:
        return number

    @Resource().held_later("b")
    async def work_later(number: int) -> int:
        return number

    Resource().held("never used")
    assert steps() == []
    assert [work(1), work(2), asyncio.run(work_later(3))] == [1, 2, 3]
    assert [(step.name, step.input, step.output, step.abandoned) for step in steps()] == [
        ("sync", {"q": "a"}, ["a"], False),
        ("sync", {"q": "a"}, ["a"], False),
        ("async", {"q": "b"}, ["b"], False),
    ]
    plain = contextlib.contextmanager(stream)
    plain.tag = 1  # type: ignore[attr-defined]
    traced = tracer.tool(plain)
    assert (traced.tag, traced.__name__, inspect.signature(traced)) == (1, "stream", inspect.signature(stream))  # type: ignore[attr-defined]
    assert type(traced("a")) is type(plain("a"))


# ── where a generator was made ───────────────────────────────────────────────────────────────────────────────────────


def in_thread(function: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


@keeps_origin
def test_a_generator_stands_below_the_run_it_was_made_in(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """Also if it is consumed by a thread without a run, of a web server for example."""
    tool = tracer.tool("sync")(stream)
    later_tool = tracer.tool("async")(StreamsLater().__call__)
    with tracer.run(agent_name="outer"), tracer.run(agent_name="sub"):
        made, made_async = tool("a"), later_tool("b")
    assert in_thread(lambda: list(made)) == ["a"]
    assert in_thread(lambda: asyncio.run(consumed(made_async))) == ["b"]
    (run,) = memory.runs()
    assert isinstance(run.steps[0].run, AgentRun)
    assert [step.name for step in run.steps[0].run.steps] == ["sync", "async"]


@keeps_origin
def test_a_generator_that_is_consumed_in_a_run_stands_there(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    tool = tracer.tool(stream)
    with tracer.run(agent_name="first"):
        made = tool("a")
    with tracer.run(agent_name="second"):
        assert list(made) == ["a"]
    assert [(run.agent_name, len(run.steps)) for run in memory.runs()] == [("first", 0), ("second", 1)]


def test_generator_functions_are_still_such(tracer: AgentTracer) -> None:
    class Agent:
        @tracer.tool
        def pieces(self) -> Iterator[int]:
            yield 1

        @tracer.agent
        async def answer(self) -> AsyncIterator[int]:
            yield 1

    assert inspect.isgeneratorfunction(Agent.pieces)
    assert inspect.isgeneratorfunction(Agent().pieces)
    assert inspect.isasyncgenfunction(Agent.answer)
    assert inspect.isfunction(Agent.pieces)
    assert inspect.isgenerator(Agent().pieces())
    assert inspect.isasyncgen(Agent().answer())
    assert Agent().pieces().__qualname__.endswith("Agent.pieces")
