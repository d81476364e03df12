"""Runs, steps and model calls as ``with`` blocks, sync and async."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_agent_trace import (
    AgentRun,
    AgentSpanProcessor,
    AgentTracer,
    InMemoryBackend,
    RunStatus,
    StepKind,
    Usage,
    current_run,
    current_step,
)

TheRun = Callable[[], AgentRun]


def test_a_run_with_steps(tracer: AgentTracer, the_run: TheRun) -> None:
    """What is set inside of the blocks is in the run that is read back."""
    with tracer.run(user_input="q", model="m") as run:
        with run.step("search", {"q": 1}, step_id="s1", metadata={"a": 1}) as step:
            step.output = ["r"]
        with run.model_call(model="gpt-4", messages=[{"role": "user", "content": "q"}], provider="openai") as call:
            call.output, call.usage = "answer", {"input_tokens": 1, "output_tokens": 2}
        run.final_output = "answer"
    read = the_run()
    assert (read.run_id, read.user_input, read.final_output, read.status) == (
        run.run_id,
        "q",
        "answer",
        RunStatus.SUCCESS,
    )
    search, chat = read.steps
    assert (search.step_id, search.kind, search.input, search.output) == ("s1", StepKind.TOOL, {"q": 1}, ["r"])
    assert search.metadata == {"a": 1}
    assert (chat.kind, chat.model, chat.output, chat.usage) == (
        StepKind.MODEL,
        "gpt-4",
        "answer",
        Usage(input_tokens=1, output_tokens=2),
    )
    assert [(message.role, message.text) for message in chat.messages] == [("user", "q"), ("assistant", "answer")]
    assert read.usage == chat.usage
    assert read.started_at_ns <= search.started_at_ns <= search.ended_at_ns <= chat.started_at_ns <= read.ended_at_ns


def test_async_blocks(tracer: AgentTracer, the_run: TheRun) -> None:
    """The same blocks work with ``async with``, across awaits."""

    async def main() -> None:
        async with tracer.run(user_input="q") as run:
            async with run.step("a") as outer:
                await asyncio.sleep(0)
                assert current_step() is outer
                async with run.step("b"):
                    await asyncio.sleep(0)
            async with run.model_call("m") as call:
                call.output = "x"

    asyncio.run(main())
    assert [(step.name, step.parent_step_id) for step in the_run().steps] == [("a", None), ("b", 1), ("m", None)]


def test_nesting_by_context(tracer: AgentTracer, the_run: TheRun) -> None:
    """A step inside a step has it as parent, also where it was made through current_run()."""
    with tracer.run(), current_run().step("outer"), current_run().step("inner"):
        current_run().model_call("m").__enter__().__exit__(None, None, None)
    by_name = {step.name: step.parent_step_id for step in the_run().steps}
    assert by_name == {"outer": None, "inner": 1, "m": 2}


def test_spans_of_others_in_between() -> None:
    """A span of another instrumentation is the step's child and no step; a step in it hangs below the outer step."""
    memory = InMemoryBackend()
    provider = TracerProvider()
    provider.add_span_processor(AgentSpanProcessor(memory))
    tracer = AgentTracer(tracer_provider=provider)
    other = provider.get_tracer("http")
    with tracer.run() as run, run.step("outer") as outer:
        with other.start_as_current_span("GET /") as span:
            assert span.parent is not None  # type: ignore[attr-defined]
            assert span.parent.span_id == outer.span.get_span_context().span_id  # type: ignore[attr-defined]
            with other.start_as_current_span("socket"), run.step("inner"):
                pass
    (read,) = memory.runs()
    assert [(step.name, step.step_id, step.parent_step_id) for step in read.steps] == [
        ("outer", 1, None),
        ("inner", 2, 1),
    ]
    assert len(memory.spans()) == 5
    assert len({record.trace_id for record in memory.spans()}) == 1


def test_the_context_is_restored(tracer: AgentTracer) -> None:
    """After a block, however it ends, the current span, run and step are those from before."""
    provider = TracerProvider()
    with provider.get_tracer("host").start_as_current_span("host") as host:
        with tracer.run() as run:
            assert trace.get_current_span() is run.span
            with run.step("a") as step:
                assert trace.get_current_span() is step.span
                assert (current_run(), current_step()) == (run, step)
            assert trace.get_current_span() is run.span
            with pytest.raises(ZeroDivisionError), run.step("b"):
                raise ZeroDivisionError
            assert trace.get_current_span() is run.span
        assert trace.get_current_span() is host
        assert not current_run().recording
    assert trace.get_current_span() is trace.INVALID_SPAN


def deep(error: BaseException) -> None:
    raise error


class OwnError(BaseException):
    pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        asyncio.CancelledError("c"),
        KeyboardInterrupt(),
        SystemExit(3),
        GeneratorExit(),
        OwnError(),
        StopIteration(1),
    ],
    ids=lambda error: type(error).__name__,
)
def test_exceptions_go_through_unchanged(tracer: AgentTracer, the_run: TheRun, error: BaseException) -> None:
    """The same exception object leaves the blocks, with its traceback, cause and context; step and run are errors."""
    cause = LookupError("cause")
    error.__cause__ = cause
    try:
        with tracer.run() as run, run.step("a"):
            deep(error)
    except BaseException as caught:
        assert caught is error
        assert caught.__cause__ is cause
        assert caught.__context__ is None
        names = [frame.name for frame in traceback.extract_tb(caught.__traceback__)]
        assert names == ["test_exceptions_go_through_unchanged", "deep"]
        if isinstance(error, SystemExit):
            assert error.code == 3
    else:
        pytest.fail("swallowed")
    read = the_run()
    assert read.status is RunStatus.ERROR
    assert read.ended_at_ns is not None
    for failure in (read.error, read.steps[0].error):
        assert failure is not None
        assert failure.type.endswith(type(error).__name__)
        assert "deep" in (failure.stacktrace or "")


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_exceptions_go_through_async_blocks(tracer: AgentTracer, the_run: TheRun, error: type[BaseException]) -> None:
    """Async blocks let the same exceptions through, and end as errors."""

    async def main() -> str:
        try:
            async with tracer.run() as run, run.step("a"):
                await asyncio.sleep(0)
                raise error
        except error:
            return "through"

    assert asyncio.run(main()) == "through"
    assert the_run().status is RunStatus.ERROR
    assert the_run().steps[0].error is not None


@pytest.mark.parametrize("error", [TimeoutError, asyncio.TimeoutError], ids=["builtin", "asyncio"])
def test_timeouts(tracer: AgentTracer, the_run: TheRun, error: type[Exception]) -> None:
    """A run that a timeout leaves has status timeout."""
    with pytest.raises(error), tracer.run() as run, run.step("a"):
        raise error("slow")
    assert the_run().status is RunStatus.TIMEOUT
    assert the_run().steps[0].error.category == "timeout"


def test_wait_for(tracer: AgentTracer, the_run: TheRun) -> None:
    """What wait_for cancels is a cancelled step; the run that sees its TimeoutError is a timeout."""

    async def main() -> None:
        async with tracer.run() as run:

            async def slow() -> None:
                async with run.step("slow"):
                    await asyncio.Event().wait()

            await asyncio.wait_for(slow(), 0.01)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(main())
    assert the_run().status is RunStatus.TIMEOUT
    assert the_run().steps[0].error.category == "cancelled"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout is new in Python 3.11")
def test_asyncio_timeout(tracer: AgentTracer, the_run: TheRun) -> None:
    """asyncio.timeout inside a run makes it a timeout, and asyncio.timeout works as it does without us."""

    async def main() -> None:
        async with tracer.run() as run:
            async with asyncio.timeout(0.01), run.step("slow"):
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert the_run().status is RunStatus.TIMEOUT


def test_cancelling_a_task(tracer: AgentTracer, the_run: TheRun) -> None:
    """A task that is cancelled inside of a run ends cancelled, and the run is an error that says so."""

    async def main() -> bool:
        inside = asyncio.Event()

        async def work() -> None:
            async with tracer.run():
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await inside.wait()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(main())
    assert (the_run().status, the_run().error.category) == (RunStatus.ERROR, "cancelled")


def test_an_error_that_is_caught_inside(tracer: AgentTracer, the_run: TheRun) -> None:
    """A step that failed does not make its run fail."""
    with tracer.run() as run:
        try:
            with run.step("a"):
                raise ValueError("x")
        except ValueError:
            pass
    assert (the_run().status, the_run().steps[0].error.message) == (RunStatus.SUCCESS, "x")


def test_tasks_each_with_a_run(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """Runs in tasks of one loop that take turns do not mix."""

    async def one(number: int) -> None:
        async with tracer.run(user_input=number) as run:
            for i in range(5):
                await asyncio.sleep(0)
                assert current_run() is run
                async with run.step("t", [number, i]):
                    await asyncio.sleep(0)
            run.final_output = number

    async def main() -> None:
        await asyncio.gather(*map(one, range(20)))

    asyncio.run(main())
    runs = memory.runs()
    assert sorted(run.user_input for run in runs) == list(range(20))
    for run in runs:
        assert run.final_output == run.user_input
        assert [step.input for step in run.steps] == [[run.user_input, i] for i in range(5)]


def test_parallel_steps_of_one_run(tracer: AgentTracer, the_run: TheRun) -> None:
    """Steps in tasks of one run are siblings."""

    async def main() -> None:
        async with tracer.run() as run:

            async def one(number: int) -> None:
                async with run.step(str(number)):
                    await asyncio.sleep(0)

            await asyncio.gather(*map(one, range(10)))

    asyncio.run(main())
    assert [step.parent_step_id for step in the_run().steps] == [None] * 10
    assert sorted(step.step_id for step in the_run().steps) == list(range(1, 11))


def test_a_step_in_a_bare_thread_belongs_to_its_run(tracer: AgentTracer, the_run: TheRun) -> None:
    """run.step() in a thread that has no context of the run still makes a step of that run, in its trace."""
    seen: list[Any] = []

    def work(number: int) -> None:
        with run.step(f"outer {number}"):
            seen.append(current_run() is run)
            with run.step(f"inner {number}"):
                pass
        seen.append(current_run().recording)

    with tracer.run() as run, ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    read = the_run()
    outer = {step.name[-1]: step.step_id for step in read.steps if step.name.startswith("outer")}
    assert len(read.steps) == 8
    assert all(step.parent_step_id == outer[step.name[-1]] for step in read.steps if step.name.startswith("inner"))
    assert sorted(seen) == [False] * 4 + [True] * 4


def test_a_step_of_the_outer_run_inside_the_inner(tracer: AgentTracer, the_run: TheRun) -> None:
    """A step is made of the run that is asked, not of the one that is current."""
    with tracer.run(agent_name="outer") as outer, tracer.run(agent_name="inner"):
        with outer.step("mine"):
            assert current_run() is outer
    steps = the_run().steps
    assert sorted((step.name, step.kind.value) for step in steps) == [("inner", "agent"), ("mine", "tool")]


def test_ending_inside_of_the_block(tracer: AgentTracer, the_run: TheRun) -> None:
    """A run that is ended by its id inside of its block is over; the end of the block is counted."""
    with tracer.run() as run:
        tracer.end_run(run.run_id, "early")
        run.final_output = "late"
    assert the_run().final_output == "early"
    assert run.ended
    assert tracer.stats()["ended again"] == 1


def test_log_step_into_a_block(tracer: AgentTracer, the_run: TheRun) -> None:
    """The imperative calls take the id of a run that is a block, and name a step of it as parent."""
    with tracer.run() as run:
        with run.step("a", step_id="A"):
            tracer.log_step(run.run_id, tool_name="b", parent_step_id="A")
        tracer.log_step(run.run_id, tool_name="c")
    assert [
        (step.name, step.step_id, step.parent_step_id) for step in sorted(the_run().steps, key=lambda s: s.index)
    ] == [
        ("a", "A", None),
        ("b", 2, "A"),
        ("c", 3, None),
    ]


def test_a_block_is_entered_once(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """A run or step whose block is entered again is one run or step, nothing leaks, and it is counted."""
    run = tracer.run()
    with run, run:
        step = run.step("a")
        with step:
            pass
        with step:
            pass
    with run:
        pass
    (read,) = memory.runs()
    assert (read.status, len(read.steps)) == (RunStatus.SUCCESS, 1)
    assert tracer.stats()["started again"] == 3
    assert not current_run().recording


def test_a_block_left_in_another_context(tracer: AgentTracer, the_run: TheRun) -> None:
    """A block that is entered in one context and left in another ends, without an error."""
    run = tracer.run()
    contextvars.copy_context().run(run.__enter__)
    run.__exit__(None, None, None)
    assert the_run().status is RunStatus.SUCCESS
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_step_that_ends_after_its_run(tracer: AgentTracer, the_run: TheRun) -> None:
    """A step of a task that outlives its run is part of the run."""

    async def main() -> None:
        go = asyncio.Event()

        async def late() -> None:
            async with current_run().step("late"):
                await go.wait()

        async with tracer.run():
            task = asyncio.create_task(late())
            await asyncio.sleep(0)
        go.set()
        await task

    asyncio.run(main())
    (step,) = the_run().steps
    assert step.ended_at_ns >= the_run().ended_at_ns


def test_a_step_begun_after_its_run(tracer: AgentTracer, the_run: TheRun) -> None:
    """A step of a handle whose run is over still hangs below it."""
    with tracer.run() as run:
        pass
    with run.step("late") as step:
        assert step.trace_id == run.trace_id
    assert the_run().steps[0].name == "late"


def test_a_kind_that_does_not_exist(tracer: AgentTracer) -> None:
    """An unknown kind is refused where the step is made."""
    with tracer.run() as run, pytest.raises(ValueError, match="retrieval"):
        run.step("x", kind="thought")


@pytest.mark.parametrize("kind", list(StepKind))
def test_every_kind_of_step(tracer: AgentTracer, the_run: TheRun, kind: StepKind) -> None:
    """Name, input and output come back for every kind."""
    with tracer.run() as run, run.step("n", [1], kind=kind) as step:
        step.output = {"o": 1}
    (read,) = the_run().steps
    assert (read.kind, read.name, read.input, read.output) == (kind, "n", [1], {"o": 1})


def test_mutable_values_are_taken_when_the_step_starts_or_ends(tracer: AgentTracer, the_run: TheRun) -> None:
    """Arguments are recorded as they were at the start, results as they were at the end of the step."""
    given: list[int] = [1]
    result: list[int] = [1]
    with tracer.run() as run:
        with run.step("a", given) as step:
            given.append(2)
            step.output = result
            result.append(2)
        result.append(3)
    (read,) = the_run().steps
    assert (read.input, read.output) == ([1], [1, 2])


def test_handles_hold_nothing_of_an_exception(tracer: AgentTracer) -> None:
    """What a failing block held is freed with the exception, without the garbage collector."""

    class Held:
        pass

    freed = threading.Event()

    def work() -> None:
        held = Held()
        import weakref

        weakref.finalize(held, freed.set)
        with tracer.run() as run, run.step("a"):
            raise ValueError("x")

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError) as caught:
            work()
        del caught
        sys.exc_info()
        assert freed.is_set()
    finally:
        gc.enable()
