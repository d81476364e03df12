"""What a replay needs beside input and output is recorded: chunks, changed arguments, kinds of results, what is missing."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentStep, AgentTracer, InMemoryBackend, StepKind, current_run, run_to_spans
from otel_agent_trace.reading import runs_from_spans
from otel_agent_trace.span import Scope, SpanRecord


def steps_of(use: Callable[[AgentTracer], Any], **options: Any) -> tuple[AgentStep, ...]:
    """The steps of a run in which tools were used, the same as spans and as data."""
    backend = InMemoryBackend()
    tracer = AgentTracer(backend, **options)
    with tracer.run():
        use(tracer)
    (run,) = backend.runs()
    (again,) = runs_from_spans(run_to_spans(run))
    assert [again, AgentRun.from_dict(json.loads(json.dumps(run.to_dict())))] == [run, run]
    assert [step.not_recorded for step in again.steps] == [step.not_recorded for step in run.steps]
    assert (run.recorded_by, run.is_lossless, again.is_lossless) == ("otel_agent_trace", True, True)
    return run.steps


def drain(items: Iterator[Any]) -> None:
    """Use a stream up, whatever it raises."""
    try:
        list(items)
    except TimeoutError:
        pass


async def drain_async(items: AsyncIterator[Any]) -> None:
    """Use a stream up, whatever it raises."""
    try:
        async for _ in items:
            pass
    except TimeoutError:
        pass


def failing() -> Iterator[int]:
    """Fail after two items."""
    yield from (1, 2)
    raise TimeoutError


async def failing_async() -> AsyncIterator[int]:
    """Fail after two items."""
    yield 1
    yield 2
    raise TimeoutError


def answering() -> Generator[int, None, str]:
    """Return a value after two items."""
    yield from (1, 2)
    return "all"


def test_the_chunks_of_a_stream_that_fails_are_its_output() -> None:
    def use(tracer: AgentTracer) -> None:
        for decorate in (tracer.tool, tracer.model):
            drain(decorate(failing)())
            asyncio.run(drain_async(decorate(failing_async)()))
            drain(decorate(lambda: failing())())
            asyncio.run(drain_async(decorate(lambda: failing_async())()))

    steps = steps_of(use)
    assert [step.output for step in steps] == [[1, 2]] * 8
    assert {step.error.type for step in steps if step.error} == {"TimeoutError"}
    assert [step.chunks for step in steps] == [None] * 8


@pytest.mark.parametrize("decorate", ["tool", "model"])
def test_the_chunks_of_a_stream_that_returns_a_value_are_beside_it(decorate: str) -> None:
    (step,) = steps_of(lambda tracer: drain(getattr(tracer, decorate)(answering)()))
    assert (step.chunks, step.output) == ([1, 2], "all")
    assert step.to_dict()["chunks"] == [1, 2]


def test_without_content_there_are_no_chunks() -> None:
    (hidden,) = steps_of(lambda tracer: drain(tracer.tool(capture=False)(answering)()))
    (left_out,) = steps_of(lambda tracer: drain(tracer.tool(answering)()), content="no_outputs")
    assert (hidden.chunks, left_out.chunks) == (None, None)


def change(rows: Any, limit: int = 3) -> None:
    """Add to any collection."""
    for add in ("append", "add"):
        if hasattr(rows, add):
            getattr(rows, add)(limit)
    if type(rows) is dict:
        rows["limit"] = limit


@pytest.mark.parametrize(
    ("given", "after"),
    [([1], [1, 3]), ({1}, {1, 3}), (bytearray(b"a"), bytearray(b"a\x03")), ({}, {"limit": 3}), ([(1,)], [(1,), 3])],
    ids=repr,
)
def test_arguments_that_change_in_place_are_recorded_as_they_were_before_and_after(given: Any, after: Any) -> None:
    (step,) = steps_of(lambda tracer: tracer.tool(change)(given, limit=3))
    assert step.input != step.input_after
    assert step.input_after == {"rows": after}
    assert type(step.input_after["rows"]) is type(after)


def test_arguments_that_do_not_change_and_those_of_others_are_recorded_once() -> None:
    def use(tracer: AgentTracer) -> None:
        tracer.tool(change)((1, [2]), 3)
        tracer.tool(lambda rows: len(rows))([1, {"a": [None, 2.5]}])
        with current_run().step("block", {"rows": (rows := [])}):
            rows.append(1)

    assert [step.input_after for step in steps_of(use)] == [None, None, None]


def test_a_change_of_a_type_alone_and_one_before_an_error_are_found() -> None:
    def retype(rows: list[Any]) -> None:
        rows[:] = [(1,), b"x"]
        raise TimeoutError

    def use(tracer: AgentTracer) -> None:
        with pytest.raises(TimeoutError):
            tracer.tool(retype)([[1], b"x"])

    (step,) = steps_of(use)
    assert step.input_after == {"rows": [(1,), b"x"]}


def test_without_content_changed_arguments_are_left_out() -> None:
    (step,) = steps_of(lambda tracer: tracer.tool(change)([1]), content="no_inputs")
    assert (step.input, step.input_after, step.not_recorded) == (None, None, ("input",))


def test_work_that_a_function_returned_is_named() -> None:
    async def coroutine() -> int:
        return 1

    async def nested() -> Any:
        return asyncio.ensure_future(coroutine())

    async def use_async(tracer: AgentTracer) -> None:
        await tracer.tool(lambda: coroutine())()
        await (await tracer.tool(lambda: nested())())
        await drain_async(tracer.tool(lambda: failing_async())())
        await tracer.tool(coroutine)()

    def use(tracer: AgentTracer) -> None:
        drain(tracer.tool(lambda: failing())())
        drain(tracer.tool(failing)())
        tracer.tool(lambda: 1)()
        asyncio.run(use_async(tracer))

    kinds = [("generator",), (), (), ("coroutine",), ("coroutine", "_asyncio.Task"), ("async_generator",), ()]
    assert [step.returned_as for step in steps_of(use)] == kinds


# ── what was not recorded, and by whom ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "missing"),
    [({"content": "all"}, ()), ({"content": "none"}, ("input", "output")), ({"content": "no_outputs"}, ("output",))],
    ids=repr,
)
def test_none_is_told_apart_from_what_was_not_recorded(options: dict[str, Any], missing: tuple[str, ...]) -> None:
    returned = 1 if missing else None
    (step,) = steps_of(lambda tracer: tracer.tool(lambda a: returned)(1), **options)
    assert (step.output, step.not_recorded) == (None, missing)


def test_what_a_decorator_leaves_out_was_not_recorded() -> None:
    (step,) = steps_of(lambda tracer: tracer.tool(capture=False)(lambda a: None)(1))
    assert step.not_recorded == ("input", "output")


def span(scope: str, attributes: dict[str, Any], end_ns: int | None = 2) -> SpanRecord:
    """The span of a tool."""
    named = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t", **attributes}
    return SpanRecord("0" * 31 + "1", "0" * 15 + "1", None, "execute_tool t", 1, end_ns, named, scope=Scope(scope))


@pytest.mark.parametrize(
    ("made", "missing"),
    [
        (span("theirs", {}), ("input", "output")),
        (span("theirs", {"gen_ai.tool.call.arguments": "{}", "gen_ai.tool.call.result": "null"}), ()),
        (span("theirs", {"gen_ai.tool.call.arguments": "{}", "error.type": "ValueError"}), ()),
        (span("otel_agent_trace", {"agent_trace.step.index": 0}), ()),
        (span("otel_agent_trace", {"agent_trace.step.index": 0}, None), ()),
    ],
)
def test_spans_of_others_lack_what_has_no_attribute(made: SpanRecord, missing: tuple[str]) -> None:
    (run,) = runs_from_spans([made])
    (again,) = runs_from_spans(run_to_spans(run))
    for each in (run, again):
        assert each.steps[0].kind is StepKind.TOOL
        assert each.steps[0].not_recorded == missing
        assert each.recorded_by == made.scope.name
        assert each.is_lossless == (made.scope.name == "otel_agent_trace")
