"""Runtime contexts of other packages, whose tokens are opaque, and which may keep less than they are given."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan

from otel_agent_trace import AgentTracer, InMemoryBackend, SpanSink, current_run, extract, inject
from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.pipeline import runtime_context
from tests.support.requirements import need_package


class Plain:
    """A runtime context that keeps everything, and returns what it replaced."""

    def __init__(self) -> None:
        self.context = Context()

    def get_current(self) -> Context:
        return Context(self.context)

    def attach(self, context: Context) -> Any:
        before, self.context = self.context, context
        return before

    def detach(self, token: Any) -> None:
        self.context = token


class PerThread(threading.local, Plain):
    """A runtime context of one thread."""


class WithoutTokens(Plain):
    """A runtime context that cannot restore what was current before."""

    def attach(self, context: Context) -> Any:
        self.context = context

    def detach(self, token: Any) -> None:
        pass


class SpansOnly(Plain):
    """A runtime context that keeps only a span, once there was one, and restores nothing, as that of ddtrace."""

    def __init__(self) -> None:
        self.variable: contextvars.ContextVar[Any] = contextvars.ContextVar("span", default=trace.INVALID_SPAN)

    def get_current(self) -> Context:
        return trace.set_span_in_context(self.variable.get(), Context())

    def attach(self, context: Context) -> Any:
        span = trace.get_current_span(context)
        if span is not trace.INVALID_SPAN:
            self.variable.set(NonRecordingSpan(span.get_span_context()))
        return object()

    def detach(self, token: Any) -> None:
        pass


class TokensOfItsOwn(Plain):
    """A runtime context that keeps something else than contexts in a variable."""

    def __init__(self) -> None:
        self.variable: contextvars.ContextVar[Any] = contextvars.ContextVar("own", default=())

    def get_current(self) -> Context:
        return Context(self.variable.get())

    def attach(self, context: Context) -> Any:
        return self.variable.set(tuple(context.items()))

    def detach(self, token: Any) -> None:
        self.variable.reset(token)


class Broken(Plain):
    """A runtime context that raises."""

    def attach(self, context: Context) -> Any:
        raise RuntimeError("no")

    def detach(self, token: Any) -> None:
        raise RuntimeError("no")


class Unreadable(Broken):
    """A runtime context that raises whatever it is asked for."""

    def get_current(self) -> Context:
        raise LookupError("no")


class WithoutDetach(PerThread):
    """A runtime context that raises when something is detached."""

    def detach(self, token: Any) -> None:
        super().detach(token)
        raise RuntimeError("no")


def ddtrace() -> Any:
    need_package("ddtrace", "frameworks")
    from ddtrace.internal.opentelemetry.context import DDRuntimeContext

    return DDRuntimeContext()


OF_DDTRACE = pytest.param(ddtrace, marks=pytest.mark.frameworks)


@pytest.fixture(
    params=[Plain, PerThread, WithoutTokens, SpansOnly, TokensOfItsOwn, Broken, Unreadable, WithoutDetach, OF_DDTRACE]
)
def under_it(request: pytest.FixtureRequest) -> Callable[[Callable[[], None]], None]:
    """Call a function while a runtime context of another package is installed."""

    def call(work: Callable[[], None]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(otel_context, "_RUNTIME_CONTEXT", request.param())
            contextvars.copy_context().run(work)

    return call


def test_runs_and_steps_nest_as_in_any_other(tracer: AgentTracer, memory: InMemoryBackend, under_it: Any) -> None:
    @tracer.tool
    def inner(q: str) -> str:
        return q

    @tracer.tool
    def outer(q: str) -> str:
        return inner(q)

    @tracer.tool
    async def later(q: str) -> str:
        await asyncio.sleep(0)
        return inner(q)

    @tracer.agent
    async def bot(q: str) -> str:
        outer(q)
        return await later(q)

    def work() -> None:
        assert asyncio.run(bot("a")) == "a"
        assert asyncio.run(bot("b")) == "b"
        with tracer.bind(session_id="s"), tracer.run(user_input="c"), extract({}):
            assert not current_run().started
        with tracer.run(user_input="d"):
            outer("d")

    under_it(work)
    runs = {run.user_input: run for run in memory.runs()}
    assert list(runs) == ["a", "b", "c", "d"]
    assert len({run.trace_id for run in runs.values()}) == 4
    for question in "ab":
        steps = [(step.name, step.parent_step_id) for step in runs[question].steps]
        assert steps == [("outer", None), ("inner", 1), ("later", None), ("inner", 3)]
    assert (runs["c"].session_id, runs["c"].steps, runs["d"].session_id) == ("s", (), None)
    assert [(step.name, step.parent_step_id) for step in runs["d"].steps] == [("outer", None), ("inner", 1)]


def test_generators_have_their_context_while_they_run(
    tracer: AgentTracer, memory: InMemoryBackend, under_it: Any
) -> None:
    @tracer.tool
    def inner(q: int) -> int:
        return q

    @tracer.tool
    def numbers() -> Any:
        yield inner(1)
        yield inner(2)

    def work() -> None:
        with tracer.run(user_input="x"):
            for number in numbers():
                inner(number * 10)

    under_it(work)
    (run,) = memory.runs()
    steps = [(step.input["q"], step.parent_step_id) for step in run.steps if step.name == "inner"]
    assert steps == [(1, 1), (10, None), (2, 1), (20, None)]


@pytest.mark.parametrize("broken", [Broken, Unreadable, WithoutDetach])
def test_what_they_raise_is_reported_once(
    tracer: AgentTracer, memory: InMemoryBackend, broken: type[Plain], caplog: pytest.LogCaptureFixture
) -> None:
    """A step of the program does not notice it, and a backend of its own neither."""

    class Own(SpanSink):
        def on_end(self, span: Any) -> None:
            span.record  # noqa: B018 - what a backend does

    def work() -> None:
        for _ in range(3):
            with AgentTracer(backends=[memory, Own()]).run(user_input="x") as run, run.step("s"), tracer.bind():
                inject()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(otel_context, "_RUNTIME_CONTEXT", broken())
        patch.setattr(runtime_context, "_DIAGNOSTICS", Diagnostics())
        contextvars.copy_context().run(work)
    assert [len(run.steps) for run in memory.runs()] == [1, 1, 1]
    messages = [record.getMessage() for record in caplog.records]
    assert messages
    assert len(messages) == len(set(messages))
    assert all(message.endswith("no (logged once)") for message in messages)
