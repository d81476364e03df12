"""Exceptions that another thread raises in this one, as the time limits of dramatiq and func_timeout do."""

from __future__ import annotations

import asyncio
import ctypes
import json
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, InMemoryBackend, RunStatus


class TimeLimitExceeded(BaseException):
    """As of dramatiq: no `Exception`, without arguments."""


class FunctionTimedOut(Exception):  # noqa: N818 - the name in func_timeout
    """As of func_timeout: it makes its message itself."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or "timed out")


LIMITS = [TimeLimitExceeded, FunctionTimedOut, KeyboardInterrupt, TimeoutError]


def raise_soon(kind: type[BaseException]) -> None:
    """Do what another thread does: Python raises the exception at the next place where it looks for one."""
    thread = ctypes.c_ulong(threading.get_ident())
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(kind)) == 1


class RaisesSoon:
    """A value; while it is recorded, the exception arrives."""

    def __init__(self, kind: type[BaseException], at: str) -> None:
        self.kind, self.at = kind, at

    def __repr__(self) -> str:
        raise_soon(self.kind)
        if self.at == "function":
            return self.name()
        if self.at == "loop":
            while True:
                pass
        return "a call of C"

    def name(self) -> str:
        return "unreachable"


@pytest.fixture(params=["argument", "result", "body"])
def call(request: pytest.FixtureRequest, tracer: AgentTracer) -> Callable[[Any], Any]:
    """Return a function that calls a tool within a run, in which the exception arrives at one place."""
    place = request.param

    @tracer.tool
    def work(value: Any = None) -> Any:
        if place == "body":
            repr(kept[0])
        return kept[0] if place == "result" else None

    @tracer.agent
    def bot() -> Any:
        return work(kept[0]) if place == "argument" else work()

    kept: list[Any] = []

    def call(value: Any) -> Any:
        kept[:] = [value]
        return bot()

    return call


@pytest.mark.parametrize("at", ["function", "loop", "call"])
@pytest.mark.parametrize("kind", LIMITS)
def test_they_reach_the_program_and_fail_the_step(
    call: Callable[[Any], Any],
    memory: InMemoryBackend,
    kind: type[BaseException],
    at: str,
    request: pytest.FixtureRequest,
) -> None:
    """A step whose arguments were being recorded had not started yet."""
    with pytest.raises(kind) as caught:
        call(RaisesSoon(kind, at))
    assert type(caught.value) is kind
    (run,) = memory.runs()
    assert run.status in (RunStatus.ERROR, RunStatus.TIMEOUT)
    assert run.error is not None
    assert run.error.type.endswith(kind.__name__)
    failed = [step.error and step.error.type for step in run.steps]
    assert failed == ([] if request.node.callspec.params["call"] == "argument" else [run.error.type])


def test_one_in_a_coroutine_fails_its_step(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    @tracer.tool
    async def work() -> Any:
        await asyncio.sleep(0)
        return RaisesSoon(TimeLimitExceeded, "loop")

    with pytest.raises(TimeLimitExceeded):
        asyncio.run(work())
    (run,) = memory.runs()
    assert [step.error is not None for step in run.steps] == [True]


def test_one_while_a_backend_is_called(memory: InMemoryBackend) -> None:
    class Interrupted(InMemoryBackend):
        def on_end(self, span: Any) -> None:
            raise_soon(TimeLimitExceeded)
            super().on_end(span)

    tracer = AgentTracer(backends=[Interrupted(), memory])
    with pytest.raises(TimeLimitExceeded), tracer.run(user_input="x"):
        pass


def empty_queue() -> Any:
    return next(iter(()))


FAILURES: list[Callable[[], Any]] = [
    sys.exit,
    empty_queue,
    lambda: int("x"),
    lambda: json.loads("{"),
    lambda: {}["key"],
    lambda: [].pop(),
    lambda: getattr(object(), "missing"),
    lambda: bytes(-1),
    lambda: queue.Queue(1).get_nowait(),
    lambda: (_ for _ in ()).throw(ValueError()),
]


@pytest.mark.parametrize("failure", FAILURES)
def test_what_a_value_itself_raises_stays_out_of_the_program(tracer: AgentTracer, failure: Callable[[], Any]) -> None:
    class Value:
        def __repr__(self) -> str:
            return str(failure())

    assert tracer.tool(lambda value: 5)(Value()) == 5
