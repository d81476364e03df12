"""What frameworks ask of generators and coroutines, and the errors of misuse: the same with and without tracing."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import threading
import traceback
import warnings
from collections import abc
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any

import pytest
from opentelemetry import trace

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, current_run, current_step

TheRun = Callable[[], AgentRun]


def counting() -> Generator[int, Any, str]:
    yield 0
    yield 1
    yield 2
    return "ended"


async def acounting() -> AsyncGenerator[int, Any]:
    for number in range(3):
        await asyncio.sleep(0)
        yield number


def both(tracer: AgentTracer, function: Any) -> list[Any]:
    return [function, *(getattr(tracer, decorator)(function) for decorator in ("tool", "model", "agent"))]


def message(call: Callable[[], Any]) -> tuple[str, str]:
    """The error that a call raises."""
    with pytest.raises(BaseException) as caught:
        call()
    return type(caught.value).__name__, str(caught.value)


def test_what_a_generator_says_of_itself(tracer: AgentTracer) -> None:
    """Classes, states, frames and names."""

    def look(stream: Any) -> list[Any]:
        return [
            inspect.getgeneratorstate(stream),
            isinstance(stream, abc.Generator),
            inspect.isgenerator(stream),
            stream.gi_running,
            stream.gi_frame is None,
            stream.gi_yieldfrom,
            stream.__name__,
            stream.__qualname__,
            iter(stream) is stream,
        ]

    def life(function: Any) -> list[Any]:
        stream = function()
        seen = [look(stream)]
        for _ in stream:
            seen.append(look(stream))
        return [*seen, look(stream)]

    plain, *traced = both(tracer, counting)
    for function in traced:
        assert life(function) == life(plain)


def test_what_an_async_generator_says_of_itself(tracer: AgentTracer) -> None:
    """The same, with what is awaited."""

    def look(stream: Any) -> list[Any]:
        return [
            isinstance(stream, abc.AsyncGenerator),
            inspect.isasyncgen(stream),
            inspect.isawaitable(stream),
            stream.ag_running,
            stream.ag_frame is None,
            stream.ag_await,
            stream.__name__,
            stream.__qualname__,
            aiter(stream) is stream,
            inspect.isawaitable(stream.aclose) or callable(stream.aclose),
        ]

    async def life(function: Any) -> list[Any]:
        stream = function()
        seen = [look(stream)]
        step = asyncio.ensure_future(stream.__anext__())
        await asyncio.sleep(0)
        seen.append([stream.ag_running, stream.ag_await is None])
        await step
        async for _ in stream:
            seen.append(look(stream))
        return [*seen, look(stream)]

    plain, *traced = both(tracer, acounting)
    for function in traced:
        assert asyncio.run(life(function)) == asyncio.run(life(plain))


def test_a_generator_that_runs_already(tracer: AgentTracer) -> None:
    """A body that takes a step of itself, or closes itself, gets Python's error."""

    def selfish(how: str) -> Iterator[Any]:
        try:
            getattr(box[0], how)(*[ValueError] * (how == "throw"))
        except ValueError as error:
            yield str(error)

    box: list[Any] = []
    plain, *traced = both(tracer, selfish)
    for how in ("__next__", "throw", "close"):
        errors = []
        for function in (plain, *traced):
            box[:] = [function(how)]
            errors.append(next(box[0]))
        assert errors == ["generator already executing"] * 4


def test_an_async_generator_that_runs_already(tracer: AgentTracer) -> None:
    """Two steps at a time are Python's error, whichever they are; the first goes on."""

    async def collide(function: Any, second: str) -> tuple[str, Any]:
        stream = function()
        first = asyncio.ensure_future(stream.__anext__())
        await asyncio.sleep(0)
        choices: dict[str, list[Any]] = {"asend": [1], "athrow": [ValueError], "aclose": [], "__anext__": []}
        arguments = choices[second]
        with pytest.raises(RuntimeError) as caught:
            await getattr(stream, second)(*arguments)
        result = (str(caught.value), await first)
        await stream.aclose()
        return result

    plain, *traced = both(tracer, acounting)
    for second in ("__anext__", "asend", "athrow", "aclose"):
        expected = asyncio.run(collide(plain, second))
        assert "already running" in expected[0]
        for function in traced:
            assert asyncio.run(collide(function, second)) == expected


class Refused(Exception):
    pass


def resource(log: list[Any], swallow: bool) -> Iterator[str]:
    try:
        yield "given"
    except Refused as error:
        log.append(repr(error))
        if not swallow:
            raise
    finally:
        log.append("released")


async def aresource(log: list[Any], swallow: bool) -> AsyncIterator[str]:
    try:
        yield "given"
    except Refused as error:
        await asyncio.sleep(0)
        log.append(repr(error))
        if not swallow:
            raise
    finally:
        log.append("released")


@pytest.mark.parametrize("swallow", [False, True])
@pytest.mark.parametrize("error", [None, Refused("r"), StopIteration("s"), StopAsyncIteration("a"), GeneratorExit("g")])
def test_context_managers_of_generators(tracer: AgentTracer, error: BaseException | None, swallow: bool) -> None:
    """`contextmanager` and `asynccontextmanager` over a traced generator, with every exception in their block."""

    def use(function: Any) -> Any:
        log: list[Any] = []
        try:
            with contextlib.contextmanager(function)(log, swallow) as given:
                log.append((given, current_step().recording))
                if error is not None:
                    raise error
        except BaseException as caught:
            log.append(caught)
        return log

    async def ause(function: Any) -> Any:
        log: list[Any] = []
        try:
            async with contextlib.asynccontextmanager(function)(log, swallow) as given:
                log.append((given, current_step().recording))
                if error is not None:
                    raise error
        except BaseException as caught:
            log.append(caught)
        return log

    plain, *traced = both(tracer, resource)
    for function in traced:
        assert use(function) == use(plain)
    plain, *traced = both(tracer, aresource)
    for function in traced:
        assert asyncio.run(ause(function)) == asyncio.run(ause(plain))


def test_tracebacks_show_the_users_frames(tracer: AgentTracer) -> None:
    """The frames of the consumer and of the body are there, in order, with the cause and the context of the exception."""

    def deep() -> None:
        try:
            raise LookupError("first")
        except LookupError as first:
            raise ValueError("second") from first

    def g() -> Iterator[int]:
        yield 1
        deep()

    async def ag() -> AsyncIterator[int]:
        yield 1
        deep()

    async def collect() -> None:
        async for _ in tracer.tool(ag)():
            pass

    for call, name in ((lambda: list(tracer.tool(g)()), "g"), (lambda: asyncio.run(collect()), "ag")):
        with pytest.raises(ValueError) as caught:
            call()
        frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert frames[-3:] == ["traced", name, "deep"]
        assert repr(caught.value.__cause__) == "LookupError('first')"
        assert caught.value.__context__ is caught.value.__cause__


def test_a_stream_starts_where_its_first_piece_is_asked_for(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """Made in one context and consumed in another, it belongs to the consumer's, as a coroutine to its awaiter's."""

    @tracer.tool
    async def later() -> str:
        return "x"

    with tracer.run(agent_name="made") as made:
        stream, waiting = tracer.tool(counting)(), later()
    with tracer.run(agent_name="used") as used:
        assert list(stream) == [0, 1, 2]

        async def main() -> str:
            return await asyncio.create_task(waiting)

        assert asyncio.run(main()) == "x"
        assert trace.get_current_span() is used.span
    steps = {run.run_id: [step.name for step in run.steps] for run in memory.runs()}
    assert steps == {made.run_id: [], used.run_id: ["counting", "later"]}


# ── coroutines ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("decorator", ["tool", "model", "agent"])
def test_a_coroutine_that_is_never_awaited(tracer: AgentTracer, memory: InMemoryBackend, decorator: str) -> None:
    """It has no span, and Python's one warning, under the function's own name."""

    async def forgotten() -> None:
        pass

    def warnings_of(function: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            function()
            gc.collect()
        return [str(warning.message) for warning in caught]

    assert warnings_of(getattr(tracer, decorator)(forgotten)) == warnings_of(forgotten)
    assert memory.runs() == []


@pytest.mark.parametrize("decorator", ["tool", "model", "agent"])
def test_a_coroutine_that_is_timed_out(tracer: AgentTracer, memory: InMemoryBackend, decorator: str) -> None:
    """What `wait_for` cancels sees its own CancelledError, may clean up, and is cancelled; the caller's context stays."""
    log: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            log.append("cleaned up")
            raise

    async def main() -> None:
        async with tracer.run() as run:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(getattr(tracer, decorator)(slow)(), 0.01)
            assert trace.get_current_span() is run.span
            assert current_run() is run

    asyncio.run(main())
    assert log == ["cleaned up"]
    (step,) = memory.runs()[0].steps
    assert step.error is not None
    assert (step.error.category, step.ended_at_ns is None) == ("cancelled", False)


def test_coroutines_of_other_contexts(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """Made here and awaited in a new task, an empty context or another thread's loop: below what is current there."""

    @tracer.tool
    async def here(where: str) -> bool:
        mine = current_step()
        await asyncio.sleep(0)
        return current_step() is mine

    async def in_task(waiting: Awaitable[bool]) -> bool:
        return await waiting

    async def main() -> None:
        async with tracer.run() as run:
            assert await asyncio.create_task(here("task"))  # type: ignore[arg-type]
            empty = contextvars.Context().run(asyncio.ensure_future, in_task(here("empty")))
            assert await empty
            thread = threading.Thread(target=lambda waiting=here("thread"): seen.append(asyncio.run(waiting)))
            thread.start()
            thread.join()
            assert trace.get_current_span() is run.span

    seen: list[bool] = []
    asyncio.run(main())
    assert seen == [True]
    places = {
        step.input["where"]: run.agent_name is None and len(run.steps) for run in memory.runs() for step in run.steps
    }
    assert places == {"task": 1, "empty": 1, "thread": 1}
    assert len(memory.runs()) == 3
