"""How streams end when their consumer goes away, in every way in which one can."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, RunStatus, current_run, current_step, load_run
from tests.support.processes import RunPython

TheRun = Callable[[], AgentRun]


def stubborn(log: list[Any]) -> Generator[int, Any, str]:
    """Answers the first close() with one more piece."""
    try:
        yield 1
    except GeneratorExit as error:
        log.append(error)
        log.append((yield 2))
    return "ended"


async def astubborn(log: list[Any]) -> AsyncGenerator[int, Any]:
    """The same, with awaits in between."""
    try:
        yield 1
    except GeneratorExit as error:
        await asyncio.sleep(0)
        log.append(error)
        log.append((yield 2))


@pytest.mark.parametrize("traced", [False, True])
def test_generator_exit_is_thrown_in_as_it_is(tracer: AgentTracer, traced: bool) -> None:
    """throw(GeneratorExit) is no close(): the body gets that very object, and may go on."""
    log: list[Any] = []
    thrown = GeneratorExit("mine")
    stream = (tracer.tool(stubborn) if traced else stubborn)(log)
    assert (next(stream), stream.throw(thrown)) == (1, 2)
    with pytest.raises(StopIteration) as stop:
        stream.send("on")
    assert (stop.value.value, log) == ("ended", [thrown, "on"])


@pytest.mark.parametrize("traced", [False, True])
def test_generator_exit_is_thrown_into_async_streams(tracer: AgentTracer, traced: bool) -> None:
    """athrow(GeneratorExit) is no aclose() either."""
    log: list[Any] = []
    thrown = GeneratorExit("mine")

    async def main() -> None:
        stream = (tracer.tool(astubborn) if traced else astubborn)(log)
        assert (await anext(stream), await stream.athrow(thrown)) == (1, 2)
        with pytest.raises(StopAsyncIteration):
            await stream.asend("on")

    asyncio.run(main())
    assert log == [thrown, "on"]


def test_a_body_that_goes_on_when_it_is_closed(tracer: AgentTracer, the_run: TheRun) -> None:
    """Its span ends when it is closed, as abandoned; what it does later is the host's alone."""
    stream = tracer.tool(stubborn)([])
    next(stream)
    with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
        stream.close()
    (step,) = the_run().steps
    assert (step.abandoned, step.error, step.output) == (True, None, [1])
    assert step.ended_at_ns is not None
    assert list(stream) == []
    assert tracer.stats().get("ended again") is None


def test_an_async_body_that_goes_on_when_it_is_closed(tracer: AgentTracer, the_run: TheRun) -> None:
    """The same error comes out of aclose()."""

    async def main() -> None:
        stream = tracer.tool(astubborn)([])
        await anext(stream)
        with pytest.raises(RuntimeError, match="async generator ignored GeneratorExit"):
            await stream.aclose()

    asyncio.run(main())
    (step,) = the_run().steps
    assert (step.abandoned, step.error, step.ended_at_ns is None) == (True, None, False)


@pytest.mark.parametrize("answer", ["value", None])
def test_a_body_that_returns_when_it_is_closed(tracer: AgentTracer, the_run: TheRun, answer: str | None) -> None:
    """It is abandoned with the pieces so far; throw(GeneratorExit) raises the StopIteration of its return."""

    @tracer.tool
    def g() -> Generator[int, None, str | None]:
        with contextlib.suppress(GeneratorExit):
            yield 1
        return answer

    stream = g()
    next(stream)
    with pytest.raises(StopIteration) as stop:
        stream.throw(GeneratorExit)
    assert stop.value.value == answer
    (step,) = the_run().steps
    assert (step.abandoned, step.output) == (True, [1])


@pytest.mark.parametrize("later", [False, True], ids=["sync", "async"])
def test_a_stream_in_a_cycle(tracer: AgentTracer, memory: InMemoryBackend, later: bool) -> None:
    """The garbage collector ends a stream that its own body refers to; the last words of an async one are in context.

    Those of a sync one are not where the collector comes to the body before the wrapper, as Python 3.10's does.
    """
    seen: list[bool] = []

    def g(box: list[Any]) -> Iterator[int]:
        mine = current_step()
        try:
            yield 1
        finally:
            seen.append(current_step() is mine)

    async def ag(box: list[Any]) -> AsyncIterator[int]:
        mine = current_step()
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            seen.append(current_step() is mine)

    async def main() -> None:
        box: list[Any] = []
        box.append(tracer.tool(ag if later else g)(box))
        assert (await anext(box[0]) if later else next(box[0])) == 1
        del box
        gc.collect()
        for _ in range(10):
            await asyncio.sleep(0)

    asyncio.run(main())
    assert seen == [True] or (not later and len(seen) == 1)
    (step,) = memory.runs()[0].steps
    assert (step.abandoned, step.error, step.ended_at_ns is None) == (True, None, False)


def test_the_loop_closes_a_stream_once(tracer: AgentTracer, the_run: TheRun) -> None:
    """A stream that is left when the loop shuts down is closed as the plain one, without a word of the loop."""
    log: list[Any] = []

    async def ag() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            log.append("finally")

    async def main(function: Any) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, details: log.append(details))
        left.append(function())
        await anext(left[-1])

    left: list[Any] = []
    for function in (ag, tracer.tool(ag)):
        asyncio.run(main(function))
    assert log == ["finally"] * 2
    (step,) = the_run().steps
    assert (step.abandoned, step.error, step.ended_at_ns is None) == (True, None, False)


def test_hooks_see_one_generator(tracer: AgentTracer) -> None:
    """Whoever watches async generators sees the wrapper alone, and finds the hooks as they were."""
    begun: list[int] = []
    dropped: list[Any] = []
    hooks: list[Any] = []

    @tracer.tool
    async def ag() -> AsyncIterator[int]:
        hooks.append(sys.get_asyncgen_hooks())
        yield 1

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=lambda stream: begun.append(id(stream)), finalizer=dropped.append)
    try:
        stream = ag()
        with pytest.raises(StopIteration):
            stream.asend(None).send(None)  # type: ignore[attr-defined]
        assert hooks == [sys.get_asyncgen_hooks()]
        wrapper = id(stream)
        del stream
        assert begun == [id(stream) for stream in dropped] == [wrapper]
    finally:
        sys.set_asyncgen_hooks(*before)


def test_a_loop_that_dies_in_the_middle_of_a_step(tracer: AgentTracer, the_run: TheRun) -> None:
    """A stream that nobody can close any more, since its loop is gone while it waits, is abandoned when it is freed."""

    @tracer.tool
    async def producer() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def consume() -> None:
        async for _ in producer():
            loop.call_soon(loop.stop)

    loop = asyncio.new_event_loop()
    task = loop.create_task(consume())
    loop.run_forever()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    del task
    gc.collect()
    (step,) = the_run().steps
    assert (step.abandoned, step.error, step.output) == (True, None, [1])
    assert step.ended_at_ns is not None


def test_a_coroutine_that_is_closed_closes_its_stream(tracer: AgentTracer, the_run: TheRun) -> None:
    """Closing what awaits a step, with the step in the middle, abandons the stream."""

    class Pause:
        def __await__(self) -> Generator[None, None, None]:
            yield

    @tracer.tool
    async def producer() -> AsyncIterator[int]:
        yield 1
        await Pause()
        yield 2

    async def consume() -> None:
        async for _ in producer():
            pass

    context = otel_context.get_current()
    waiting = consume()
    waiting.send(None)
    waiting.close()
    del waiting
    gc.collect()
    (step,) = the_run().steps
    assert (step.abandoned, step.error, step.ended_at_ns is None) == (True, None, False)
    otel_context.attach(context)


@pytest.mark.parametrize("later", [False, True], ids=["sync", "async"])
def test_blocks_in_a_stream_that_is_closed(tracer: AgentTracer, memory: InMemoryBackend, later: bool) -> None:
    """A step, a model call or a run whose block is left because a generator is closed is no error either."""

    @tracer.tool
    def g() -> Iterator[int]:
        with current_run().step("inside"), current_run().model_call("m"), tracer.run(agent_name="sub"):
            yield 1

    @tracer.tool
    async def ag() -> AsyncIterator[int]:
        async with current_run().step("inside"), current_run().model_call("m"), tracer.run(agent_name="sub"):
            yield 1

    async def main() -> None:
        if later:
            stream = ag()
            await anext(stream)
            await stream.aclose()  # type: ignore[attr-defined]
        else:
            next(g())

    with tracer.run():
        asyncio.run(main())
    (run,) = memory.runs()
    assert [(step.name, step.abandoned, step.error) for step in run.steps] == [
        (name, True, None) for name in ("ag" if later else "g", "inside", "m", "sub")
    ]
    assert run.steps[-1].run is not None
    assert run.steps[-1].run.status is RunStatus.SUCCESS


def test_an_exception_does_not_keep_the_stream(tracer: AgentTracer) -> None:
    """What was thrown in and came out again is freed with its frames as soon as nobody holds it."""

    class Marker:
        pass

    @tracer.tool
    def g(marker: Marker) -> Iterator[int]:
        yield 1

    @tracer.tool
    async def ag(marker: Marker) -> AsyncIterator[int]:
        yield 1

    def throw() -> weakref.ref[Marker]:
        marker = Marker()
        stream = g(marker)
        next(stream)
        with contextlib.suppress(ValueError):
            stream.throw(ValueError("v"))  # type: ignore[attr-defined]
        return weakref.ref(marker)

    async def athrow() -> weakref.ref[Marker]:
        marker = Marker()
        stream = ag(marker)
        await anext(stream)
        with contextlib.suppress(ValueError):
            await stream.athrow(ValueError("v"))  # type: ignore[attr-defined]
        return weakref.ref(marker)

    gc.collect()
    gc.disable()
    try:
        assert throw()() is None
        assert asyncio.run(athrow())() is None
    finally:
        gc.enable()


EXIT = """
    from otel_agent_trace import AgentTracer, FileBackend, current_run
    import asyncio, sys
    tracer = AgentTracer(backend=FileBackend("traces.jsonl"))

    @tracer.agent
    def answer(q):
        with current_run().step("inside"):
            yield "a"
            yield "b"

    @tracer.agent
    async def aanswer(q):
        yield "a"
        yield "b"

    async def ask():
        global stream
        stream = aanswer("q")
        print(await stream.__anext__())

    def main(how):
        global stream, holder
        if how == "loop":
            asyncio.run(ask())
        elif how == "lost loop":
            loop = asyncio.new_event_loop()
            loop.run_until_complete(ask())
            loop.close()
        else:
            stream = answer("q")
            print(next(stream))
            if how == "cycle":
                holder = {}
                holder["me"] = holder, stream
    """


@pytest.mark.parametrize("how", ["global", "cycle", "loop", "lost loop"])
def test_a_stream_that_is_left_at_exit(run_python: RunPython, tmp_path: Any, how: str) -> None:
    """A program that ends in the middle of a stream says nothing, and leaves a run that ended, with what had come."""
    done = run_python(EXIT + f"\n    main({how!r})")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\n", "")
    run = load_run(str(tmp_path / "traces.jsonl"))
    assert (run.status, run.final_output) == (RunStatus.SUCCESS, "a")
    assert all(step.abandoned and step.error is None for step in run.steps)
