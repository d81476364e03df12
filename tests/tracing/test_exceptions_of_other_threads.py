"""Exceptions that another thread raises in this one, as the time limits of dramatiq and func_timeout do."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import gc
import itertools
import json
import queue
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest
from opentelemetry import trace

from otel_agent_trace import (
    AgentRun,
    AgentStep,
    AgentTracer,
    BackgroundBackend,
    FileBackend,
    InMemoryBackend,
    RunStatus,
    current_run,
    extract,
    load_runs,
)
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.pipeline.suppression import is_in_a_sink
from tests.support.waiting import DEADLOCK_S


class TimeLimitExceeded(BaseException):
    """As of dramatiq: no `Exception`, without arguments."""


class FunctionTimedOut(Exception):  # noqa: N818 - the name in func_timeout
    """As of func_timeout: it makes its message itself."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or "timed out")


class OwnTimeoutError(TimeoutError):
    """An `OSError`, as those that a backend catches."""


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


# ── wherever in a call they arrive ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(autouse=True)
def no_collections() -> Iterator[None]:
    """No collections of garbage: in a finalizer of an object that another test dropped, Python drops what is raised."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Interruption:
    """Raise an exception as another thread does at one of the places where Python looks for one.

    These are the start of each function in Python, and the end of each call of one in C, which a profile function is
    called for. It is called for a generator expression that is dropped, too, where Python does not look. In callbacks of
    weak references, Python itself drops what is raised.
    """

    def __init__(self, kind: type[BaseException], place: int) -> None:
        self.kind, self.places_left = kind, place
        self.place = ("", "")
        """Event and name of the function where it was raised."""

    def __enter__(self) -> None:
        sys.setprofile(self.look)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def look(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if (
            event in ("call", "c_return")
            and code.co_filename != __file__
            and code.co_name not in ("<genexpr>", "_remove")
        ):
            self.places_left -= 1
            if self.places_left == 0:
                self.place = (event, code.co_name)
                sys.setprofile(None)
                raise_soon(self.kind)


def keep_all(record: Any) -> Any:
    return record


class Keeper:
    """A backend for runs."""

    def __init__(self) -> None:
        self.runs: list[AgentRun] = []

    def start_run(self, run: AgentRun) -> None:
        pass

    def log_step(self, run_id: str, step: AgentStep) -> None:
        pass

    def end_run(self, run: AgentRun) -> None:
        self.runs.append(run)


def called(tracer: AgentTracer) -> Callable[[], object]:
    """Return a function that makes calls of all kinds in a run."""

    @tracer.tool
    def plain(value: int) -> list[int]:
        return [value]

    @tracer.tool
    def numbers() -> Any:
        yield from (1, 2)

    @tracer.model
    def model(messages: list[dict[str, str]]) -> str:
        return "answer"

    @tracer.agent
    def bot() -> str:
        plain(1)
        list(numbers())
        return model([{"role": "user", "content": "question"}])

    return bot


def awaited(tracer: AgentTracer) -> Callable[[], object]:
    """Return a function that runs coroutines, one of them returned by a plain function, and an async generator."""

    @tracer.tool
    async def later() -> int:
        return 1

    @tracer.tool
    def returned() -> Any:
        return later.__wrapped__()

    @tracer.tool
    async def numbers() -> Any:
        yield 1

    @tracer.agent
    async def bot() -> None:
        await later()
        await returned()
        async for _ in numbers():
            pass

    def call() -> None:
        with contextlib.suppress(StopIteration):
            bot().send(None)

    return call


class Place(NamedTuple):
    """Where spans go: the backends, and a policy."""

    backends: list[Any]
    policies: list[Any]


PLACES: dict[str, Callable[[Path], Place]] = {
    "memory": lambda _: Place([], []),
    "file, with a policy": lambda folder: Place([FileBackend(folder / "traces.jsonl")], [keep_all]),
    "runs": lambda _: Place([Keeper(), BackgroundBackend(Keeper())], []),
}
STRIDE = 61
"""Of the places at which an exception arrives; each kind begins at one of its own."""
FIRST_PLACES = {TimeLimitExceeded: 1, FunctionTimedOut: 21, OwnTimeoutError: 41}


def in_another_thread(work: Callable[[], object]) -> None:
    """Call a function in a thread, which has to end."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(DEADLOCK_S)
    assert not thread.is_alive(), "a lock was not released"


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # it arrives before the `await`
@pytest.mark.parametrize("calls", [called, awaited])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", FIRST_PLACES)
def test_wherever_they_arrive_nothing_is_left_behind(
    calls: Callable[[AgentTracer], Callable[[], object]], place: str, kind: type[BaseException], tmp_path: Path
) -> None:
    """The exception arrives, nothing is current and no lock is taken after it, and later runs are whole."""
    memory = InMemoryBackend(max_runs=10)
    backends, policies = PLACES[place](tmp_path)
    tracer = AgentTracer(backends=[memory, *backends], policies=policies)
    call = calls(tracer)
    call()
    whole = len(memory.runs()[0].steps)
    for number in itertools.count(FIRST_PLACES[kind], STRIDE):
        interruption = Interruption(kind, number)
        try:
            with interruption:
                call()
        except kind as error:
            arrived = weakref.ref(error)
        else:
            assert interruption.places_left > 0, f"lost: number {number}, {interruption.place}"
            break
        assert arrived() is None, "it is in a cycle, which keeps all objects of its frames"
        assert not current_run().started, number
        assert trace.get_current_span() is trace.INVALID_SPAN, number
        assert not is_in_a_sink(), number
        call()
        assert len(memory.runs()[-1].steps) == whole, number
    assert number > 5 * STRIDE
    in_another_thread(call)
    tracer.close()
    if place.startswith("file"):
        problems: list[Any] = []
        load_runs(tmp_path / "traces.jsonl", on_problem=problems.append)
        assert problems == []


@pytest.mark.parametrize("kind", [SystemExit, StopIteration, KeyboardInterrupt, TimeLimitExceeded])
def test_one_that_functions_in_c_raise_too_is_recognised_by_the_code_that_runs(kind: type[BaseException]) -> None:
    """No code of a value, a policy or a backend runs, which might call such a function."""
    thread = [ctypes.c_ulong(threading.get_ident())]
    raised_in_guard = map(ctypes.pythonapi.PyThreadState_SetAsyncExc, thread, [ctypes.py_object(kind)])
    with pytest.raises(kind):
        guarded(Diagnostics(), "a list", list, raised_in_guard)


def test_a_block_is_left_too(tracer: AgentTracer) -> None:
    """At all places but the start of ``__exit__``: Python calls it once, and no code of it has run there."""

    def blocks() -> None:
        with tracer.bind(session_id="s"), tracer.run(user_input="x") as run, run.step("s") as step:
            with extract({}):
                step.output = 1

    def is_interrupted_at(number: int) -> bool:
        interruption = Interruption(TimeLimitExceeded, number)
        try:
            with interruption:
                blocks()
        except TimeLimitExceeded:
            is_left = not current_run().started and trace.get_current_span() is trace.INVALID_SPAN
            assert is_left or interruption.place == ("call", "__exit__"), interruption.place
            return True
        return False

    number = 1
    while contextvars.copy_context().run(is_interrupted_at, number):
        number += 1
    assert number > 300


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
