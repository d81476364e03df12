"""Every way to consume a stream x every kind of step x every kind of body: one span each, right parents, nothing leaks."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_agent_trace import ActiveRun, AgentTracer, InMemoryBackend, configure, current_run
from otel_agent_trace.span import SpanRecord

Streams = Callable[[str], Any]
HOST: contextvars.ContextVar[str] = contextvars.ContextVar("HOST", default="host")
DECORATORS = ["tool", "model", "agent"]
BODIES = ["plain", "steps", "nested", "spans"]


class Bench:
    """A provider, its spans, and the functions to try."""

    def __init__(self, decorator: str) -> None:
        self.memory = InMemoryBackend()
        self.provider: TracerProvider = configure(backends=[self.memory], otlp=False)
        self.tracer = AgentTracer(tracer_provider=self.provider)
        self.otel = self.provider.get_tracer("another instrumentation")
        self.decorate = getattr(self.tracer, decorator)

    def sync(self, body: str) -> Streams:
        def plain(stream: str) -> Iterator[str]:
            yield from "abc"

        def steps(stream: str) -> Iterator[str]:
            for piece in "abc":
                with current_run().step(f"in {stream}"):
                    pass
                with current_run().step(f"in {stream}"), current_run().model_call(f"in {stream}"):
                    yield piece

        def spans(stream: str) -> Iterator[str]:
            for piece in "abc":
                with self.otel.start_as_current_span(f"in {stream}"):
                    yield piece

        def nested(stream: str) -> Iterator[str]:
            with current_run().step(f"in {stream}"):
                yield from inner(f"{stream} {stream}")

        inner = self.tracer.tool("inner")(steps)
        return self.decorate({"plain": plain, "steps": steps, "nested": nested, "spans": spans}[body])

    def later(self, body: str) -> Streams:
        async def plain(stream: str) -> AsyncIterator[str]:
            for piece in "abc":
                await asyncio.sleep(0)
                yield piece

        async def steps(stream: str) -> AsyncIterator[str]:
            for piece in "abc":
                async with current_run().step(f"in {stream}"):
                    await asyncio.sleep(0)
                async with current_run().step(f"in {stream}"), current_run().model_call(f"in {stream}"):
                    yield piece

        async def spans(stream: str) -> AsyncIterator[str]:
            for piece in "abc":
                with self.otel.start_as_current_span(f"in {stream}"):
                    await asyncio.sleep(0)
                    yield piece

        async def nested(stream: str) -> AsyncIterator[str]:
            async with current_run().step(f"in {stream}"):
                async with contextlib.aclosing(inner(f"{stream} {stream}")) as pieces:
                    async for piece in pieces:
                        yield piece

        inner = self.tracer.tool("inner")(steps)
        return self.decorate({"plain": plain, "steps": steps, "nested": nested, "spans": spans}[body])

    def between(self, run: ActiveRun) -> None:
        """What the consumer does between two pieces."""
        assert trace.get_current_span() is run.span
        assert current_run() is run
        with run.step("of the consumer"):
            assert HOST.get() == "host"
        with self.otel.start_as_current_span("of the consumer"):
            pass

    def check(
        self, run: ActiveRun, function: Streams, streams: list[str], *, abandoned: bool, error: str | None
    ) -> None:
        """One span a stream, ended as expected; what it opened is below it, what the consumer opened is not."""
        spans = {span.span_id: span for span in self.memory.spans()}
        assert all(span.end_ns is not None for span in spans.values())
        called = (f" {function.__name__}", "chat")
        tops = [span for span in spans.values() if span.name.endswith(called)]
        assert sorted(map(stream_of, tops)) == streams
        for top in tops:
            assert top.parent_span_id == run.span_id
            assert (top.attributes.get("agent_trace.abandoned", False), top.attributes.get("error.type")) == (
                abandoned,
                error,
            )
        for span in spans.values():
            if span.name.endswith("of the consumer"):
                assert span.parent_span_id == run.span_id
            elif "in " in span.name:
                parents = list(above(span, spans))
                owners = [parent for parent in parents if parent in tops or parent.name.endswith(" inner")]
                assert stream_of(owners[0]) == span.name.rpartition("in ")[2]
                assert owners[-1] in tops
                assert stream_of(owners[-1]) == stream_of(owners[0]).split()[0]
        assert self.tracer.stats().get("ended again") is None


def above(span: SpanRecord, spans: dict[str, SpanRecord]) -> Iterator[SpanRecord]:
    parent = spans.get(span.parent_span_id or "")
    while parent is not None:
        yield parent
        parent = spans.get(parent.parent_span_id or "")


def stream_of(span: SpanRecord) -> str:
    """Which stream a traced call was asked for; each is named in its arguments."""
    attributes = span.attributes
    given = str(attributes.get("gen_ai.tool.call.arguments") or attributes.get("agent_trace.input") or "")
    given = given or str(attributes.get("gen_ai.input.messages"))
    return next(name for name in ("s0 s0", "s1 s1", "s0", "s1") if f'"{name}"' in given)


class Stop(Exception):
    pass


@pytest.fixture(autouse=True)
def only_new_garbage() -> Iterator[None]:
    """What earlier tests left is not looked at: a collection of all generations is quick, and finds what it shall."""
    gc.freeze()
    yield
    gc.unfreeze()


# ── sync ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def full(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    for _ in streams("s0"):
        bench.between(run)


def breaks(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    for _ in streams("s0"):
        bench.between(run)
        break


def closing(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    with contextlib.closing(streams("s0")) as stream:
        next(stream)
        bench.between(run)


def throws(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    stream = streams("s0")
    next(stream)
    bench.between(run)
    with pytest.raises(Stop):
        stream.throw(Stop())


def in_threads(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    stream = streams("s0")
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        assert next(stream) == "a"
        for pool in (one, two, one):
            pool.submit(next, stream, None).result()
            bench.between(run)
            assert not pool.submit(trace.get_current_span).result().is_recording()


def interleaved(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    one, two = streams("s0"), streams("s1")
    for _ in range(4):
        assert next(one, None) == next(two, None)
        bench.between(run)


def collected(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    cycle: list[Any] = [streams("s0")]
    cycle.append(cycle)
    next(cycle[0])
    del cycle
    gc.collect()
    bench.between(run)


SYNC: dict[str, tuple[Any, list[str], bool, str | None]] = {
    "full": (full, ["s0"], False, None),
    "break": (breaks, ["s0"], True, None),
    "closing": (closing, ["s0"], True, None),
    "throw": (throws, ["s0"], False, f"{__name__}.Stop"),
    "threads": (in_threads, ["s0"], False, None),
    "interleaved": (interleaved, ["s0", "s1"], False, None),
    "collected": (collected, ["s0"], True, None),
}


@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("how", SYNC)
def test_consumers(caplog: pytest.LogCaptureFixture, how: str, body: str, decorator: str) -> None:
    """Sync streams: consumed in full, left, closed, thrown into, from threads, interleaved, collected."""
    consume, names, abandoned, error = SYNC[how]
    bench = Bench(decorator)
    streams = bench.sync(body)
    with bench.tracer.run() as run:
        consume(bench, run, streams)
        assert trace.get_current_span() is run.span
    bench.check(run, streams, names, abandoned=abandoned, error=error)
    assert complaints(caplog, foreign=body == "spans" and how == "threads") == []


# ── async ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def afull(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    async for _ in streams("s0"):
        bench.between(run)


async def abreaks(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    async for _ in streams("s0"):
        bench.between(run)
        break
    await closed_by_the_loop()


async def closed_by_the_loop() -> None:
    """What nobody refers to any more is closed in a task of the loop's own."""
    gc.collect()
    for _ in range(20):
        await asyncio.sleep(0)


async def aclosing(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    async with contextlib.aclosing(streams("s0")) as stream:
        async for _ in stream:
            bench.between(run)
            break


async def athrows(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    stream = streams("s0")
    await anext(stream)
    bench.between(run)
    with pytest.raises(Stop):
        await stream.athrow(Stop())


async def in_tasks(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    stream = streams("s0")
    for expected in ("a", "b", "c", None):
        assert await asyncio.create_task(taken(stream)) == expected
        bench.between(run)


async def taken(stream: Any) -> Any:
    return await anext(stream, None)


async def ainterleaved(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    one, two = streams("s0"), streams("s1")
    for _ in range(4):
        assert await taken(one) == await taken(two)
        bench.between(run)


async def together(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    async def consume(name: str) -> None:
        async for _ in streams(name):
            bench.between(run)

    await asyncio.gather(consume("s0"), consume("s1"))


async def cancelled(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    """The task that waits for the second piece is cancelled, in the middle of the step."""
    stream = streams("s0")

    async def consume() -> None:
        await anext(stream)
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        await anext(stream)

    task: Awaitable[None] = asyncio.create_task(consume())
    with pytest.raises(asyncio.CancelledError):
        await task
    bench.between(run)


async def timed_out(bench: Bench, run: ActiveRun, streams: Streams) -> None:
    """The consumer is cancelled between two pieces."""
    has_one = asyncio.Event()
    consumer = asyncio.create_task(endless(streams("s0"), has_one))
    await has_one.wait()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(consumer, 0.01)
    del consumer
    await closed_by_the_loop()
    bench.between(run)


async def endless(stream: Any, has_one: asyncio.Event) -> None:
    async for _ in stream:
        has_one.set()
        await asyncio.Event().wait()


ASYNC: dict[str, tuple[Any, list[str], bool, str | None]] = {
    "full": (afull, ["s0"], False, None),
    "break": (abreaks, ["s0"], True, None),
    "aclosing": (aclosing, ["s0"], True, None),
    "throw": (athrows, ["s0"], False, f"{__name__}.Stop"),
    "tasks": (in_tasks, ["s0"], False, None),
    "interleaved": (ainterleaved, ["s0", "s1"], False, None),
    "together": (together, ["s0", "s1"], False, None),
    "cancelled": (cancelled, ["s0"], False, "asyncio.exceptions.CancelledError"),
    "timed out": (timed_out, ["s0"], True, None),
}


@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("how", ASYNC)
def test_async_consumers(caplog: pytest.LogCaptureFixture, how: str, body: str, decorator: str) -> None:
    """Async streams: consumed in full, left, closed, thrown into, from tasks, interleaved, cancelled, timed out."""
    consume, names, abandoned, error = ASYNC[how]
    bench = Bench(decorator)
    streams = bench.later(body)

    async def main() -> ActiveRun:
        asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is no complaint
        async with bench.tracer.run() as run:
            await consume(bench, run, streams)
            assert trace.get_current_span() is run.span
        return run

    run = asyncio.run(main(), debug=True)
    bench.check(run, streams, names, abandoned=abandoned, error=error)
    elsewhere = how in ("break", "tasks", "cancelled", "timed out")
    assert complaints(caplog, foreign=body == "spans" and elsewhere) == []


def complaints(caplog: pytest.LogCaptureFixture, *, foreign: bool) -> list[str]:
    """What was logged; a block of OpenTelemetry's own around a ``yield`` complains when it is left in another context."""
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [message for message in messages if not (foreign and message == "Failed to detach context")]
