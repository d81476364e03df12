"""Decorated generators and async generators behave as the plain ones do, and are one step from first to last piece."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import trace

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    InMemoryBackend,
    RunStatus,
    current_run,
    current_step,
    run_to_spans,
    runs_from_spans,
)

TheRun = Callable[[], AgentRun]
Log = list[Any]


def talker(log: Log) -> Generator[int, Any, str]:
    """Yields numbers, notes what it is sent, lives through ValueErrors, says when it is closed."""
    number = 0
    try:
        while number < 5:
            try:
                got = yield number
                log.append(("got", got))
                if got == "stop":
                    return "stopped"
            except ValueError as error:
                log.append(("caught", str(error)))
            number += 1
    finally:
        log.append("finally")
    return "ended"


async def atalker(log: Log) -> AsyncGenerator[int, Any]:
    """The same, with awaits in between."""
    number = 0
    try:
        while number < 5:
            try:
                await asyncio.sleep(0)
                got = yield number
                log.append(("got", got))
                if got == "stop":
                    return
            except ValueError as error:
                log.append(("caught", str(error)))
            number += 1
    finally:
        await asyncio.sleep(0)
        log.append("finally")


def send_and_throw(stream: Generator[int, Any, str]) -> Log:
    """Use all of a generator's protocol, and note what comes of it."""
    seen: Log = [next(stream), stream.send("a"), stream.throw(ValueError("v")), stream.throw(ValueError("w"))]
    try:
        stream.send("stop")
    except StopIteration as stop:
        seen.append(stop.value)
    seen.append(next(stream, "nothing"))
    return seen


async def asend_and_throw(stream: AsyncGenerator[int, Any]) -> Log:
    """The same of an async generator."""
    seen: Log = [await stream.__anext__(), await stream.asend("a"), await stream.athrow(ValueError("v"))]
    try:
        await stream.asend("stop")
    except StopAsyncIteration:
        seen.append("over")
    seen.append(await anext(stream, "nothing"))
    return seen


def test_send_throw_and_return_value(tracer: AgentTracer, the_run: TheRun) -> None:
    """send(), throw(), the return value and what comes after the end are the plain generator's."""
    plain_log: Log = []
    log: Log = []
    assert send_and_throw(tracer.tool(talker)(log)) == send_and_throw(talker(plain_log))
    assert log == plain_log
    (step,) = the_run().steps
    assert (step.output, step.error, step.abandoned) == ("stopped", None, False)
    assert step.first_chunk_at_ns is not None
    assert step.started_at_ns <= step.first_chunk_at_ns <= (step.ended_at_ns or 0)


def test_asend_and_athrow(tracer: AgentTracer, the_run: TheRun) -> None:
    """asend() and athrow() are the plain async generator's."""
    plain_log: Log = []
    log: Log = []
    traced = asyncio.run(asend_and_throw(tracer.tool(atalker)(log)))
    assert traced == asyncio.run(asend_and_throw(atalker(plain_log)))
    assert log == plain_log
    assert the_run().steps[0].output == [0, 1, 2]


def test_yield_from(tracer: AgentTracer) -> None:
    """``yield from`` a traced generator gives its return value, and passes on what is sent and thrown."""

    def outer(inner: Generator[int, Any, str]) -> Generator[int, Any, str]:
        result = yield from inner
        return f"<{result}>"

    assert send_and_throw(outer(tracer.tool(talker)([]))) == send_and_throw(outer(talker([])))


def test_nothing_happens_before_the_first_next(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """A generator that nobody asks has run nothing, and has no span."""
    log: Log = []

    @tracer.tool
    def g() -> Iterator[int]:
        log.append("body")
        yield 1

    @tracer.tool
    async def ag() -> AsyncIterator[int]:
        log.append("body")
        yield 1

    @tracer.tool
    async def coroutine() -> None:
        log.append("body")

    stream, astream, waiting = g(), ag(), coroutine()
    stream.close()
    asyncio.run(astream.aclose())
    waiting.close()
    assert (log, memory.runs()) == ([], [])
    stream = g()
    assert memory.runs() == []
    assert next(stream) == 1
    (run,) = memory.runs()
    assert run.steps[0].ended_at_ns is None
    assert list(stream) == []
    assert memory.runs()[0].steps[0].ended_at_ns is not None


@pytest.mark.parametrize("how", ["close", "del", "break"])
def test_a_consumer_that_goes_away(tracer: AgentTracer, the_run: TheRun, how: str) -> None:
    """A stream that its consumer closes, drops or breaks out of is abandoned, which is no error."""
    log: Log = []
    if how == "break":
        for number in tracer.tool(talker)(log):
            if number == 1:
                break
    else:
        stream = tracer.tool(talker)(log)
        assert [next(stream), next(stream)] == [0, 1]
        if how == "close":
            stream.close()
        del stream
    assert log[-1] == "finally"
    (step,) = the_run().steps
    assert (step.abandoned, step.error, step.output) == (True, None, [0, 1])
    assert step.ended_at_ns is not None


def test_an_abandoned_agent_is_no_failure(tracer: AgentTracer, the_run: TheRun, memory: InMemoryBackend) -> None:
    """The run of a streaming agent whose consumer stops listening is a success with what had come until then."""

    @tracer.agent
    def answer(q: str) -> Iterator[str]:
        yield "a"
        yield "b"
        yield "c"

    stream = answer("q")
    assert next(stream) + next(stream) == "ab"
    stream.close()
    run = the_run()
    assert (run.status, run.final_output, run.error, run.abandoned) == (RunStatus.SUCCESS, "ab", None, True)
    assert runs_from_spans(run_to_spans(run)) == [run]
    with tracer.run() as outer:
        next(answer("q"))
    (step,) = next(run for run in memory.runs() if run.run_id == outer.run_id).steps
    assert (step.abandoned, step.error) == (True, None)


def test_the_first_piece_of_an_agent(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """When it came is known of an outermost agent, of a sub-agent, and of none that gave no piece."""
    came_ns: list[int] = []

    @tracer.agent
    def answer(pieces: int) -> Iterator[int]:
        for number in range(pieces):
            came_ns.append(time.time_ns())
            yield number

    list(answer(3))
    with tracer.run():
        list(answer(2))
    list(answer(0))
    outermost, above, silent = memory.runs()
    assert came_ns[0] <= (outermost.first_chunk_at_ns or 0) <= came_ns[1]
    (step,) = above.steps
    assert came_ns[3] <= (step.first_chunk_at_ns or 0) <= came_ns[4]
    assert step.run is not None
    assert step.run.first_chunk_at_ns == step.first_chunk_at_ns
    assert (silent.first_chunk_at_ns, silent.abandoned) == (None, False)


def test_async_consumers_that_go_away(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """aclose(), aclosing() and a break that the loop cleans up after abandon an async stream."""

    async def main() -> None:
        stream = tracer.tool("aclose")(atalker)([])
        await stream.__anext__()
        await stream.aclose()
        async with contextlib.aclosing(tracer.tool("aclosing")(atalker)([])) as numbers:
            async for _ in numbers:
                break
        async for _ in tracer.tool("break")(atalker)([]):
            break
        gc.collect()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    steps = {step.name: step for run in memory.runs() for step in run.steps}
    assert set(steps) == {"aclose", "aclosing", "break"}
    for step in steps.values():
        assert (step.abandoned, step.error, step.output) == (True, None, [0])


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), asyncio.CancelledError()])
def test_errors_in_a_stream(tracer: AgentTracer, the_run: TheRun, error: BaseException) -> None:
    """An exception of the generator's body is the same object outside, after the pieces before it."""

    @tracer.tool
    def g() -> Iterator[int]:
        yield 1
        raise error

    stream = g()
    assert next(stream) == 1
    with pytest.raises(type(error)) as caught:
        next(stream)
    assert caught.value is error
    assert list(stream) == []
    (step,) = the_run().steps
    assert step.error.type.endswith(type(error).__name__)
    assert not step.abandoned


def test_what_is_thrown_in_and_not_caught_comes_out(tracer: AgentTracer, the_run: TheRun) -> None:
    """throw() of what the body does not catch raises the same object, runs its finally, and is the step's error."""
    log: Log = []
    stream = tracer.tool(talker)(log)
    next(stream)
    error = KeyError("k")
    with pytest.raises(KeyError) as caught:
        stream.throw(error)
    assert caught.value is error
    assert log == ["finally"]
    assert the_run().steps[0].error.type == "KeyError"


def test_stop_iteration_in_the_body(tracer: AgentTracer) -> None:
    """A StopIteration that the body raises is a RuntimeError, as without us."""

    def g() -> Iterator[int]:
        yield 1
        raise StopIteration(2)

    async def ag() -> AsyncIterator[int]:
        yield 1
        raise StopAsyncIteration

    async def collect(stream: AsyncIterator[int]) -> list[int]:
        return [item async for item in stream]

    for function in (g, tracer.tool(g)):
        with pytest.raises(RuntimeError, match="generator raised StopIteration"):
            list(function())
    for afunction in (ag, tracer.tool(ag)):
        with pytest.raises(RuntimeError, match="async generator raised StopAsyncIteration"):
            asyncio.run(collect(afunction()))


def test_a_generator_that_ignores_close(tracer: AgentTracer) -> None:
    """A body that yields while it is closed raises the RuntimeError of Python."""

    def g() -> Iterator[int]:
        try:
            yield 1
        finally:
            yield 2

    for function in (g, tracer.tool(g)):
        stream = function()
        next(stream)
        with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
            stream.close()


def test_an_error_while_closing(tracer: AgentTracer, the_run: TheRun) -> None:
    """What the body raises while it is closed comes out of close(), and is the step's error."""

    @tracer.tool
    def g() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise LookupError("x")

    stream = g()
    next(stream)
    with pytest.raises(LookupError):
        stream.close()
    assert the_run().steps[0].error.type == "LookupError"


@pytest.mark.skipif(sys.version_info < (3, 13), reason="close() has a value from Python 3.13 on")
def test_the_value_of_close(tracer: AgentTracer) -> None:
    """close() returns what the body returned when it was closed."""

    def g() -> Generator[int, None, str]:
        try:
            yield 1
        except GeneratorExit:
            pass
        return "closed"

    stream = tracer.tool(g)()
    next(stream)
    assert stream.close() == "closed"


def test_a_stream_that_was_thrown_into_is_freed_at_once(tracer: AgentTracer, the_run: TheRun) -> None:
    """After an exception that the body caught, dropping the stream ends it without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        stream = tracer.tool(talker)([])
        next(stream)
        stream.throw(ValueError("v"))
        del stream
        assert the_run().steps[0].abandoned
    finally:
        gc.enable()


# ── context ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_context_does_not_leak_between_pieces(tracer: AgentTracer, the_run: TheRun) -> None:
    """Between two pieces the consumer has its own context, and its steps are not below the generator's."""

    @tracer.tool
    def producer() -> Iterator[int]:
        mine = current_step()
        for number in range(3):
            assert current_step() is mine
            with current_run().step(f"inside {number}"):
                yield number
            assert current_step() is mine

    with tracer.run() as run:
        for number in producer():
            assert trace.get_current_span() is run.span
            with run.step(f"outside {number}"):
                pass
    read = the_run()
    top = next(step.step_id for step in read.steps if step.name == "producer")
    for step in read.steps:
        expected = top if step.name.startswith("inside") else None
        assert step.parent_step_id == expected, step.name


def test_interleaved_generators(tracer: AgentTracer, the_run: TheRun) -> None:
    """Two streams that take turns each keep their own context."""

    @tracer.tool
    def producer(name: str) -> Iterator[str]:
        for number in range(3):
            with current_run().step(f"{name}{number}"):
                yield name

    with tracer.run() as run:
        assert "".join("".join(pair) for pair in zip(producer("a"), producer("b"), strict=False)) == "ababab"
        assert trace.get_current_span() is run.span
    steps = {step.step_id: step for step in the_run().steps}
    for step in steps.values():
        if step.name != "producer":
            assert steps[step.parent_step_id].input == {"name": step.name[0]}


def test_an_inner_stream_that_is_left_in_the_middle(tracer: AgentTracer, the_run: TheRun) -> None:
    """Leaving a stream with an open step inside of it leaves the consumer's context as it was."""

    @tracer.tool
    def producer() -> Iterator[int]:
        with current_run().step("inside"):
            yield 1

    with tracer.run() as run:
        for _ in producer():
            break
        assert trace.get_current_span() is run.span
        with run.step("after"):
            pass
    assert {step.name: step.parent_step_id for step in the_run().steps}["after"] is None


def test_each_piece_in_another_thread(tracer: AgentTracer, the_run: TheRun) -> None:
    """A stream whose pieces are taken in different threads keeps its context, and leaks it into none."""

    @tracer.tool
    def producer() -> Iterator[Any]:
        mine = current_step()
        for _ in range(6):
            yield current_step() is mine

    stream = producer()
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        results = [pool.submit(lambda: (next(stream), current_step().recording)).result() for pool in (one, two) * 3]
    assert results == [(True, False)] * 6
    assert list(stream) == []
    assert the_run().steps[0].output == [True] * 6


def test_each_piece_in_another_task(tracer: AgentTracer, the_run: TheRun) -> None:
    """An async stream whose pieces are taken by different tasks keeps its context."""

    @tracer.tool
    async def producer() -> AsyncIterator[bool]:
        mine = current_step()
        for _ in range(4):
            async with current_run().step("inside"):
                await asyncio.sleep(0)
                yield True
            assert current_step() is mine

    async def main() -> None:
        async with tracer.run() as run:
            stream = producer()
            for _ in range(4):
                assert await asyncio.create_task(stream.__anext__())  # type: ignore[arg-type]
                assert trace.get_current_span() is run.span
            assert [item async for item in stream] == []

    asyncio.run(main())
    assert [step.parent_step_id for step in the_run().steps] == [None, 1, 1, 1, 1]


def test_a_cancelled_consumer(tracer: AgentTracer, the_run: TheRun, caplog: pytest.LogCaptureFixture) -> None:
    """Cancelling the task that waits for a piece ends the stream as cancelled, and logs nothing."""

    @tracer.tool
    async def producer() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def main() -> None:
        async def consume() -> None:
            async for _ in producer():
                waiting.set()

        waiting = asyncio.Event()
        task = asyncio.create_task(consume())
        await waiting.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert the_run().steps[0].error.category == "cancelled"
    assert caplog.records == []


def test_two_async_streams_in_one_task(tracer: AgentTracer, the_run: TheRun) -> None:
    """Async streams that take turns in one task each keep their own context."""

    @tracer.tool
    async def producer(name: str) -> AsyncIterator[str]:
        for number in range(3):
            async with current_run().step(f"{name}{number}"):
                await asyncio.sleep(0)
                yield name

    async def main() -> None:
        async with tracer.run() as run:
            one, two = producer("a"), producer("b")
            for _ in range(3):
                assert (await one.__anext__(), await two.__anext__()) == ("a", "b")
                assert trace.get_current_span() is run.span
            await one.aclose()  # type: ignore[attr-defined]
            await two.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
    steps = {step.step_id: step for step in the_run().steps}
    for step in steps.values():
        if step.name != "producer":
            assert steps[step.parent_step_id].input == {"name": step.name[0]}


@pytest.mark.parametrize("decorator", ["tool", "model", "agent"])
def test_every_decorator_streams(tracer: AgentTracer, memory: InMemoryBackend, decorator: str) -> None:
    """Tools, models and agents may all be generators, sync and async."""

    def g(q: str) -> Iterator[str]:
        yield from "abc"

    async def ag(q: str) -> AsyncIterator[str]:
        for letter in "abc":
            yield letter

    async def collect() -> list[str]:
        return [letter async for letter in getattr(tracer, decorator)(ag)("q")]

    assert list(getattr(tracer, decorator)(g)("q")) == asyncio.run(collect()) == ["a", "b", "c"]
    for run in memory.runs():
        output = run.final_output if decorator == "agent" else run.steps[0].output
        assert output == ("abc" if decorator == "agent" else ["a", "b", "c"])
        if decorator == "model":
            assert run.steps[0].messages[-1].text == "abc"
