"""How the tracer's decorators and handles look to a type checker: a function keeps its type, whatever the options.

Not run; `tests/tracing/test_typing.py` has it checked by ``mypy --strict``.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from typing_extensions import assert_type

from otel_agent_trace import (
    ActiveModelCall,
    ActiveRun,
    ActiveStep,
    AgentRun,
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    RemoteContext,
    RunStatus,
    StepError,
    StepKind,
    Usage,
    child_environment,
    current_run,
    current_step,
    extract,
    inject,
    load_runs,
)

tracer = AgentTracer(backend=[InMemoryBackend(), FileBackend("traces.jsonl")], agent_name="a", user_ids="plain")


@tracer.tool
def plain(q: str, *, top: int = 3) -> dict[str, int]:
    return {q: top}


@tracer.tool("name", side_effects=True, capture=False, exclude=("q",))
def with_options(q: str) -> int:
    return len(q)


@tracer.tool(name="other", exclude=["q"])
def with_a_named_name(q: str) -> int:
    return len(q)


@tracer.agent
async def agent(question: str) -> str:
    return question


@tracer.agent(user_input="question")
async def agent_with_options(user: int, question: str) -> str:
    return question


@tracer.model("m", model="gpt-4", provider="openai", usage=lambda result: {"input_tokens": 1})
def complete(messages: list[dict[str, str]]) -> Iterator[str]:
    yield "x"


@tracer.model()
async def acomplete(messages: list[dict[str, str]]) -> AsyncIterator[str]:
    yield "x"


class Toolbox:
    @tracer.tool
    def method(self, q: str) -> int:
        return 1

    @classmethod
    @tracer.tool
    def of_class(cls, q: str) -> int:
        return 1

    @staticmethod
    @tracer.tool("static")
    def static(q: str) -> int:
        return 1

    @property
    @tracer.tool
    def prop(self) -> float:
        return 1.0


assert_type(plain("q", top=1), dict[str, int])
assert_type(with_options("q"), int)
assert_type(with_a_named_name("q"), int)
assert_type(complete([]), Iterator[str])
assert_type(acomplete([]), AsyncIterator[str])
assert_type(Toolbox().method("q"), int)
assert_type(Toolbox.of_class("q"), int)
assert_type(Toolbox.static("q"), int)
assert_type(Toolbox().prop, float)
asynchronous: Callable[[str], Awaitable[str]] = agent
partial: functools.partial[int] = tracer.tool(functools.partial(with_options, "q"))
shortest = tracer.tool(lambda q: q)

plain(1)  # type: ignore[arg-type]
plain("q", bottom=1)  # type: ignore[call-arg]
with_options()  # type: ignore[call-arg]
tracer.tool("name", effects=True)  # type: ignore[call-overload]
tracer.agent(5)  # type: ignore[call-overload]
AgentTracer(user_ids="hash")  # type: ignore[arg-type]
tracer.run(user_inptu="q")  # type: ignore[call-arg]
tracer.start_run({"anything": 1}, sesion_id="s")  # type: ignore[call-arg]
tracer.bind(userid="u")  # type: ignore[call-arg]
tracer.log_step("1", toolname="t")  # type: ignore[call-arg]
tracer.run("question")  # type: ignore[arg-type]


async def handles() -> None:
    with tracer.run({"user_input": "q"}, user_id=5) as run, tracer.bind(user_id="u"):
        assert_type(run, ActiveRun)
        run.user_id, run.session_id, run.model, run.usage = 5, "s", "m", {"input_tokens": 1}
        run.status, run.error, run.metadata["a"] = "timeout", ValueError("x"), 1
        with run.step("search", {"q": 1}, kind="retrieval") as step:
            assert_type(step, ActiveStep)
            assert_type(step.kind, StepKind)
            step.output = 1
        with run.model_call("gpt-4", [{"role": "user", "content": "q"}]) as call:
            assert_type(call, ActiveModelCall)
            assert_type(call.usage, Usage | None)
        async with run.step("later") as later, run.model_call() as acall:
            assert_type(later, ActiveStep)
            assert_type(acall, ActiveModelCall)
        assert_type(run.error, StepError | None)
        assert_type(run.status, RunStatus)
    async with tracer.run() as arun:
        assert_type(arun, ActiveRun)
    assert_type(current_run(), ActiveRun)
    assert_type(current_step(), ActiveStep)
    run_id = tracer.start_run(user_input="q")
    assert_type(run_id, str)
    assert_type(tracer.log_step(run_id, tool_name="t"), int | str)
    tracer.log_error(run_id, "x", status=RunStatus.TIMEOUT)
    tracer.end_run(run_id, 1, status="success", usage=Usage())
    assert_type(load_runs("traces.jsonl"), list[AgentRun])
    assert_type(tracer.stats(), dict[str, int])
    with AgentTracer() as inner:
        assert_type(inner, AgentTracer)
        with inner.extract({"traceparent": "x"}) as remote, inner.run(parent=remote) as below:
            assert_type(remote, RemoteContext)
            assert_type(below.step("s", parent=run).start(), ActiveStep)
        assert_type(inner.inject(), dict[str, str])
        assert_type(inner.inject({"a": 1}, context=run), dict[str, int])
        assert_type(inner.with_context(plain)("q", top=1), dict[str, int])
        assert_type(inner.executor(ThreadPoolExecutor()).submit(plain, "q").result(), dict[str, int])
        assert_type(inject(), dict[str, str])
        assert_type(extract(None), RemoteContext)
        assert_type(child_environment(), dict[str, str])
    anything: Any = await agent_with_options(1, "q")
    del anything
