"""Random generators under random consumers: with and without tracing, the host sees the same.

A program is Python source, made for a sync and for an async generator; a script is what a consumer does with two
instances of it. Values, exceptions, the order of side effects, context variables and what the interpreter could not
raise are compared between the plain and the decorated function. What is left out, since it cannot be the same: a body
that yields again when it is closed by the garbage collector is closed twice.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys
import textwrap
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_agent_trace import AgentTracer, InMemoryBackend, configure, current_run
from otel_agent_trace.span import SpanRecord

Observed = list[Any]
Op = tuple[Any, ...]
VAR: contextvars.ContextVar[int] = contextvars.ContextVar("VAR", default=0)
ERRORS: dict[str, type[BaseException]] = {
    error.__name__: error
    for error in (ValueError, KeyError, GeneratorExit, StopIteration, StopAsyncIteration, asyncio.CancelledError)
}

# ── programs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

names = st.sampled_from(sorted(ERRORS))
simple = st.one_of(
    st.tuples(st.just("yield"), st.integers(0, 9)),
    st.tuples(st.just("yield"), st.integers(0, 9)),
    st.tuples(st.just("raise"), names),
    st.tuples(st.just("return")),
    st.tuples(st.just("set"), st.integers(0, 9)),
    st.tuples(st.just("pause")),
)
blocks = st.recursive(
    st.lists(simple, min_size=1, max_size=4),
    lambda inner: st.lists(
        st.one_of(
            simple,
            st.tuples(st.just("try"), inner, st.sampled_from([*sorted(ERRORS), "BaseException"]), inner),
            st.tuples(st.just("finally"), inner, inner),
            st.tuples(st.just("step"), inner),
            st.tuples(st.just("span"), inner),
            st.tuples(st.just("loop"), inner),
            st.tuples(st.just("nested")),
        ),
        min_size=1,
        max_size=4,
    ),
    max_leaves=8,
)


def lines_of(block: list[Op], *, later: bool) -> Iterator[str]:
    """The Python of a block."""
    for op in block:
        inner = [textwrap.indent("\n".join(lines_of(part, later=later)), "    ") for part in op if type(part) is list]
        match op[0]:
            case "yield":
                yield f"log.append((name, 'got', (yield {op[1]}), VAR.get()))"
            case "raise":
                yield f"raise {op[1]}('text')"
            case "return":
                yield "return" if later else "return (name, len(log))"
            case "set":
                yield f"VAR.set({op[1]})"
            case "pause":
                yield "await asyncio.sleep(0)" if later else "pass"
            case "try":
                yield f"try:\n{inner[0]}\nexcept {op[2]} as error:\n    log.append((name, repr(error)))\n{inner[1]}"
            case "finally":
                yield f"try:\n{inner[0]}\nfinally:\n    log.append((name, 'finally'))\n{inner[1]}"
            case "step":
                yield f"with current_run().step(f'in {{name}}'):\n{inner[0]}"
            case "span":
                yield f"with raw.start_as_current_span(f'in {{name}}'):\n{inner[0]}"
            case "loop":
                yield f"for _ in range(2):\n{inner[0]}"
            case "nested" if later:
                yield "async for item in nested(log, name + '.'):\n    log.append((yield item))"
            case "nested":
                yield "log.append((yield from nested(log, name + '.')))"


def source_of(block: list[Op], function: str, *, later: bool) -> str:
    body = textwrap.indent("\n".join([*lines_of(block, later=later), "if False:", "    yield"]), "    ")
    return f"{'async ' if later else ''}def {function}(log, name):\n{body}\n"


def function_of(program: tuple[list[Op], list[Op]], decorate: Callable[[Any], Any], raw: Any, *, later: bool) -> Any:
    """The program as a function; a nested one is decorated as well."""
    outer, inner = program
    inner = [op for op in inner if op[0] != "nested"]
    namespace: dict[str, Any] = {"asyncio": asyncio, "current_run": current_run, "raw": raw, "VAR": VAR}
    exec(source_of(without_nested(inner), "nested", later=later), namespace)
    namespace["nested"] = decorate(namespace["nested"])
    exec(source_of(outer, "outer", later=later), namespace)
    return decorate(namespace["outer"])


def without_nested(block: list[Op]) -> list[Op]:
    return [
        tuple(without_nested(part) if type(part) is list else part for part in op) if op[0] != "nested" else ("pause",)
        for op in block
    ]


programs = st.tuples(blocks, blocks)

# ── scripts ──────────────────────────────────────────────────────────────────────────────────────────────────────────

wheres = st.sampled_from(["here", "here", "other", "another", "copy"])
actions = st.one_of(
    st.just(("send", None)),
    st.just(("send", None)),
    st.tuples(st.just("send"), st.integers(0, 9)),
    st.tuples(st.just("throw"), names),
    st.just(("close",)),
    st.just(("drop",)),
    st.just(("restart",)),
    st.tuples(st.just("set"), st.integers(0, 9)),
    st.just(("step",)),
)
scripts = st.lists(st.tuples(st.integers(0, 1), actions, wheres), min_size=1, max_size=10)


@contextmanager
def unraised(seen: Observed) -> Iterator[None]:
    """Note what the interpreter could not raise."""
    before, sys.unraisablehook = sys.unraisablehook, lambda args: seen.append(("unraised", repr(args.exc_value)))
    try:
        yield
    finally:
        sys.unraisablehook = before


def described(error: BaseException) -> Any:
    """An exception as the host sees it, with where it came from."""
    links = [type(link).__name__ for link in (error.__cause__, error.__context__) if link is not None]
    return (type(error).__name__, str(error), getattr(error, "value", None), links)


def play(function: Any, script: list[Any], run: Any) -> Observed:
    """What a consumer sees of two streams, each step in its own thread, another one, or a copy of its context."""
    log: Observed = []
    streams: list[Any] = [function(log, "s0"), function(log, "s1")]
    with unraised(log), ThreadPoolExecutor(1) as other, ThreadPoolExecutor(1) as another:

        def act(number: int, action: Op) -> Any:
            before = trace.get_current_span()
            try:
                if action[0] == "throw":
                    return streams[number].throw(ERRORS[action[1]]("thrown"))
                return getattr(streams[number], action[0])(*action[1:])
            except BaseException as error:
                return described(error)
            finally:
                log.append(("var", VAR.get()))
                assert trace.get_current_span() is before

        def anywhere(number: int, action: Op, where: str) -> Any:
            match where:
                case "here":
                    return act(number, action)
                case "copy":
                    return contextvars.copy_context().run(act, number, action)
            return (other if where == "other" else another).submit(act, number, action).result()

        for number, action, where in script:
            match action[0]:
                case "set":
                    VAR.set(action[1])
                case "step":
                    with run.step("of the consumer"):
                        log.append(anywhere(number, ("send", None), where))
                case "drop":
                    streams[number] = iter(())
                    gc.collect()
                    streams[number] = function(log, f"s{number}")
                case "restart":
                    old, streams[number] = streams[number], function(log, f"s{number}")
                    log.append(result_of_close(old))
                case _:
                    log.append(anywhere(number, action, where))
        streams.clear()
        gc.collect()
        VAR.set(0)
    return log


def result_of_close(stream: Any) -> Any:
    try:
        return stream.close()
    except BaseException as error:
        return described(error)


async def aplay(function: Any, script: list[Any], run: Any) -> Observed:
    """The same for async streams: here, in a new task, or in a task of another context."""
    log: Observed = []
    streams: list[Any] = [function(log, "s0"), function(log, "s1")]
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: log.append(("loop", repr(context.get("exception")))))
    methods = {"send": "asend", "close": "aclose"}

    async def act(number: int, action: Op) -> Any:
        before = trace.get_current_span()
        try:
            if action[0] == "throw":
                return await streams[number].athrow(ERRORS[action[1]]("thrown"))
            return await getattr(streams[number], methods[action[0]])(*action[1:])
        except BaseException as error:
            return described(error)
        finally:
            log.append(("var", VAR.get()))
            assert trace.get_current_span() is before

    def anywhere(number: int, action: Op, where: str) -> Coroutine[Any, Any, Any]:
        match where:
            case "here":
                return act(number, action)
            case "another":
                return contextvars.Context().run(waited, act(number, action))
        return waited(act(number, action))

    async def waited(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.create_task(coroutine)

    with unraised(log):
        for number, action, where in script:
            match action[0]:
                case "set":
                    VAR.set(action[1])
                case "step":
                    with run.step("of the consumer"):
                        log.append(await anywhere(number, ("send", None), where))
                case "drop" | "restart":
                    streams[number] = function(log, f"s{number}")
                    gc.collect()
                    for _ in range(20):  # the loop closes what was dropped
                        await asyncio.sleep(0)
                case _:
                    log.append(await anywhere(number, action, where))
        if len(script) % 2:  # else the loop finds them when it shuts down
            streams.clear()
            gc.collect()
            for _ in range(20):
                await asyncio.sleep(0)
        VAR.set(0)
    return log


def observe(program: Any, script: list[Any], decorate: Any, raw: Any, run: Any, *, later: bool) -> Observed:
    function = function_of(program, decorate, raw, later=later)
    if not later:
        return play(function, script, run)

    async def main() -> tuple[Observed, Any]:
        return await aplay(function, script, run)  # type: ignore[return-value]

    unraisable: list[Any] = []
    with unraised(unraisable):
        log = asyncio.run(main())
        gc.collect()
    return [*log, *unraisable]  # type: ignore[misc]


@pytest.fixture
def quick_and_quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The garbage collector looks only at what the test makes; OpenTelemetry says nothing of its own blocks."""
    monkeypatch.setattr(logging.getLogger("opentelemetry.context"), "disabled", True)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# ── the test ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_stubborn(log: Observed) -> bool:
    """Whether the garbage collector, or the loop, closed a body that yielded again."""
    return any(
        type(item) is tuple and item[0] in ("unraised", "loop") and "ignored GeneratorExit" in item[1] for item in log
    )


def check_spans(spans: list[SpanRecord], root: str) -> None:
    """Each span has ended; what a stream opened is below it, and what the consumer opened is not."""
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        assert span.end_ns is not None, span
        parent = by_id.get(span.parent_span_id or "")
        if "of the consumer" in span.name:
            assert span.parent_span_id == root
        elif " in " in span.name or span.name.startswith("in "):
            wanted = span.name.rpartition("in ")[2]
            while parent is not None and "in " in parent.name:
                parent = by_id.get(parent.parent_span_id or "")
            assert parent is not None
            assert wanted in parent.attributes["gen_ai.tool.call.arguments"], (span, parent)


@pytest.mark.usefixtures("quick_and_quiet")
@pytest.mark.parametrize("later", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("decorator", ["tool", "model", "agent"])
@given(program=programs, script=scripts)
@settings(suppress_health_check=[*HealthCheck])
def test_the_host_sees_the_same(decorator: str, later: bool, program: Any, script: list[Any]) -> None:
    """Whatever a generator does and whatever is done to it, tracing changes nothing of it, and its spans are sound."""
    memory = InMemoryBackend()
    provider: TracerProvider = configure(backends=[memory], otlp=False)
    tracer = AgentTracer(tracer_provider=provider)
    raw = provider.get_tracer("raw")
    off = SimpleNamespace(start_as_current_span=nullcontext)  # OpenTelemetry's own would leak its context
    plain_run = AgentTracer(tracer_provider=trace.NoOpTracerProvider()).run()
    leaky = contextvars.copy_context()  # what an undecorated generator leaves attached stays in here
    expected = leaky.run(observe, program, script, lambda function: function, off, plain_run, later=later)
    with tracer.run() as run:
        seen = observe(program, script, getattr(tracer, decorator), raw, run, later=later)
        root = run.span_id
    if is_stubborn(expected):
        return
    assert seen == expected
    if decorator == "tool":
        check_spans(memory.spans(), root)
    assert all(span.end_ns is not None for span in memory.spans())
