"""Values that bite when they are looked at: the host's result and exception stay what they are."""

from __future__ import annotations

import asyncio
import collections
import itertools
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace

from otel_agent_trace import AgentTracer, FileBackend, InMemoryBackend, Limits, current_run, current_step, load_runs
from tests.support.hostile_values import FatalBoom, HugeRepr, run_coroutine
from tests.support.waiting import DEADLOCK_S


def biting(*names: str, error: type[BaseException] = ZeroDivisionError) -> Any:
    """An object whose special methods raise."""

    def bite(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise error

    return type("Biting", (), dict.fromkeys(names, bite))()


class GetsAll:
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


class LiesAboutItsClass:
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise ZeroDivisionError


class EndlessIter:
    def __iter__(self) -> Iterator[int]:
        return itertools.count()

    def __len__(self) -> int:
        return 2**60


class TouchesItsSpan:
    def __repr__(self) -> str:
        span = trace.get_current_span()
        span.set_attribute("from repr", 1)
        current_run().metadata["from repr"] = 1
        current_step().output = "from repr"
        return "touched"


def itself_in_a_list() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def itself_in_a_dict() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = [value]
    return value


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


HOSTILE: dict[str, Callable[[], Any]] = {
    "repr and str": lambda: biting("__repr__", "__str__"),
    "repr raises no Exception": lambda: biting("__repr__", "__str__", error=FatalBoom),
    "eq and hash": lambda: biting("__eq__", "__hash__"),
    "len and bool": lambda: biting("__len__", "__bool__"),
    "iter and getitem": lambda: biting("__iter__", "__getitem__", "__contains__"),
    "getattr": lambda: biting("__getattr__"),
    "getattribute": lambda: biting("__getattribute__"),
    "gets everything": GetsAll,
    "class": LiesAboutItsClass,
    "endless iteration": EndlessIter,
    "mock": MagicMock,
    "huge repr": HugeRepr,
    "touches its span": TouchesItsSpan,
    "itself in a list": itself_in_a_list,
    "itself in a dict": itself_in_a_dict,
    "deep": lambda: deep(100_000),
    "range": lambda: range(10**12),
    "huge int": lambda: 10**5000,
    "surrogates": lambda: "\ud800" + os.fsdecode(b"\xff"),
    "keys that collide": lambda: {1: "a", "1": "b", None: 3, (1, 2): 4, True: 5},
    "nan and the like": lambda: [float("nan"), float("inf"), -0.0],
    "UserString": lambda: collections.UserString("x"),
    "lock": threading.Lock,
    "module": lambda: sys,
    "class object": lambda: int,
    "5 MB of text": lambda: "x" * 5_000_000,
    "5 MB of other text": lambda: "ü" * 2_500_000,
    "5 MB of bytes": lambda: b"x" * 5_000_000,
    "many numbers": lambda: list(range(30_000)),
}


@pytest.fixture(scope="module")
def hostile() -> dict[str, Any]:
    """Each value once."""
    return {name: make() for name, make in HOSTILE.items()}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_values(hostile: dict[str, Any], name: str, tmp_path: Any) -> None:
    """Given, returned, yielded, set or logged anywhere, the value comes through untouched and the run is recorded."""
    value = hostile[name]
    memory, path = InMemoryBackend(), tmp_path / "t.jsonl"
    tracer = AgentTracer(backend=[memory, FileBackend(path)], limits=Limits(value_bytes=10_000))

    @tracer.tool
    def tool(first: Any, *rest: Any, **more: Any) -> Any:
        return first

    @tracer.model(usage=lambda result: result)
    def model(messages: Any, model: Any) -> Any:
        return messages

    @tracer.agent
    def agent(q: Any) -> Any:
        return q

    @tracer.tool
    def stream() -> Iterator[Any]:
        yield value
        return value

    @tracer.agent
    async def later(q: Any) -> Any:
        return q

    @tracer.model
    async def astream() -> AsyncIterator[Any]:
        yield value

    began_s = time.process_time()
    with tracer.run() as run:
        assert tool(value, value, key=value) is value
        assert model(value, value) is value
        assert agent(value) is value
        assert next(stream()) is value
        assert run_coroutine(later(value)) is value
        assert run_coroutine(astream().__anext__()) is value
        run.final_output = run.config = run.user_input = run.usage = run.error = value
        run.set_attribute("mine", value)
        run.metadata["value"] = value
        with run.step(value, value, metadata={"v": value}) as step:
            step.output = step.model = step.error = value
        with run.model_call(value, value, input=value) as call:
            call.output = call.usage = value
    run_id = tracer.start_run(
        {"x": value}, user_input=value, session_id=value, agent_name=value, model=value, config=value
    )
    assert tracer.log_step(run_id, name=value, input=value, output=value, messages=value, usage=value, error=value) == 1
    tracer.log_error(run_id, value)
    assert time.process_time() - began_s < 60  # endless would be endless
    for runs in (memory.runs(), load_runs(path)):
        assert len(runs) == 2
        assert [step.ended_at_ns is None for step in runs[0].steps] == [False] * 8
        assert len(runs[1].steps) == 1
        assert all(part.ended_at_ns is not None for top in runs for part in top.walk())


def test_iterators_are_not_consumed(tracer: AgentTracer) -> None:
    """Iterators, generators, coroutines and files, given or returned anywhere, still have everything in them."""

    def numbers() -> Iterator[int]:
        yield from range(3)

    async def anumbers() -> AsyncIterator[int]:
        yield 1

    values: list[Any] = [numbers(), iter([0, 1, 2]), map(int, "012"), itertools.islice(itertools.count(), 3)]
    tool = tracer.tool(lambda *args, **kwargs: args[0])
    with open(os.devnull) as file:
        for value in [*values, anumbers(), file]:
            with (
                tracer.run(user_input=value, config=[value], metadata={"a": value}) as run,
                run.step("s", value) as step,
            ):
                step.output = run.final_output = {"x": value}
                run.set_attribute("a", value)
                assert tool(value, [value], key=(value,)) is value
    assert [list(value) for value in values] == [[0, 1, 2]] * 4


def test_a_coroutine_as_value_can_still_be_awaited(tracer: AgentTracer) -> None:
    """A coroutine that a plain function returns is handed on, to be awaited once."""

    async def answer() -> int:
        return 5

    @tracer.tool
    def start() -> Any:
        return answer()

    assert asyncio.run(start()) == 5


@pytest.mark.parametrize("kind", ["plain", "async", "generator"])
def test_exceptions_of_hostile_functions(tracer: AgentTracer, kind: str) -> None:
    """An exception with hostile arguments and a hostile str() is the one that arrives."""

    class Hostile(Exception):
        __str__ = __repr__ = lambda self: 1 / 0  # type: ignore[assignment, return-value]

    error = Hostile(itself_in_a_list(), biting("__repr__"))

    def plain(q: Any) -> None:
        raise error

    async def later(q: Any) -> None:
        raise error

    def generator(q: Any) -> Iterator[int]:
        raise error
        yield 1

    def use() -> None:
        if kind == "plain":
            tracer.tool(plain)(biting("__repr__"))
        elif kind == "async":
            run_coroutine(tracer.tool(later)(biting("__repr__")))
        else:
            list(tracer.tool(generator)(biting("__repr__")))

    with pytest.raises(Hostile) as caught:
        use()
    assert caught.value is error


def test_what_raises_no_exception_when_it_is_looked_at(tracer: AgentTracer) -> None:
    """A value that raises something else than an Exception at every look does not disturb the host."""
    value = biting("__getattribute__", error=FatalBoom)
    assert tracer.tool(lambda q: q)(value) is value
    assert tracer.model(lambda messages: messages)(value) is value
    assert tracer.agent(lambda q: q)(value) is value
    with tracer.run(user_input=value, metadata=value) as run, run.step("s", value) as step:
        run.user_input = run.config = run.final_output = run.usage = run.error = run.metadata = value
        step.output = step.messages = step.error = value


class Chaos:
    """Answers every special method by chance: a value of some kind, or an exception of some kind."""

    def __init__(self, answers: list[Any]) -> None:
        self.__dict__["answers"] = itertools.cycle(answers)

    def answer(self, *args: Any, **kwargs: Any) -> Any:
        given = next(self.__dict__["answers"])
        if isinstance(given, type):
            raise given
        return given

    def __getattr__(self, name: str) -> Any:
        return self.answer()

    __str__ = __repr__ = __len__ = __iter__ = __eq__ = __hash__ = __bool__ = answer  # type: ignore[assignment]
    __getitem__ = __contains__ = __call__ = __int__ = __float__ = __index__ = answer  # type: ignore[assignment]
    keys = values = items = get = model_dump = answer


answers = st.lists(
    st.sampled_from([ValueError, AttributeError, TypeError, FatalBoom, StopIteration, RecursionError, MemoryError])
    | st.none()
    | st.integers()
    | st.text(max_size=3)
    | st.booleans()
    | st.lists(st.integers(), max_size=2),
    min_size=1,
    max_size=5,
)


@given(answers)
def test_chaos(given: list[Any]) -> None:
    """Objects that answer anything at random never change a result or an exception."""
    value, memory = Chaos(given), InMemoryBackend()
    tracer = AgentTracer(backend=memory)
    assert tracer.tool(lambda q, **more: q)(value, k=value) is value
    assert tracer.model(usage=lambda r: value)(lambda messages: messages)(value) is value
    assert tracer.agent(lambda q: q)(value) is value
    with tracer.run(user_input=value, metadata=value, session_id=value, user_id=value) as run:
        run.usage = run.error = run.metadata = run.final_output = value
        with run.step(value, value) as step:
            step.messages = step.output = step.error = step.usage = value
    tracer.log_error(run_id := tracer.start_run(), value)
    tracer.end_run(run_id)
    assert all(part.ended_at_ns is not None for top in memory.runs() for part in top.walk())


def test_a_handler_that_looks_at_the_span(tracer: AgentTracer) -> None:
    """A logging handler that writes to the current span, as some do, does not hang what we log."""

    class ToSpan(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            trace.get_current_span().add_event(record.getMessage())
            current_step().metadata["logged"] = 1

    handler = ToSpan()
    logging.getLogger().addHandler(handler)
    try:
        with tracer.run() as run, run.step("s") as step:
            step.usage = biting("__getattr__")
            step.messages = biting("__getattr__")
    finally:
        logging.getLogger().removeHandler(handler)
    assert tracer.stats()["failed: usage"] == 1


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
@pytest.mark.parametrize("where", ["handler", "filter"])
def test_logging_that_raises(
    tracer: AgentTracer, memory: InMemoryBackend, where: str, error: type[BaseException]
) -> None:
    """A handler or filter of the program that raises, when we have something to say, is counted and no more."""

    class Biting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise error

        def filter(self, record: logging.LogRecord) -> Any:
            raise error

    log, biting_handler = logging.getLogger("otel_agent_trace"), Biting()
    add, remove = (log.addHandler, log.removeHandler) if where == "handler" else (log.addFilter, log.removeFilter)
    add(biting_handler)
    try:
        with tracer.run() as run, run.step("s") as step:
            step.usage = biting("__getattr__")
            step.output = 1
    finally:
        remove(biting_handler)
    assert (tracer.stats()["failed: usage"], tracer.stats()["failed: logging"]) == (1, 1)
    [step_of_run] = memory.runs()[0].steps
    assert step_of_run.output == 1


def test_fields_that_cannot_be_read(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """A mapping whose methods raise says nothing, and what stands beside it is recorded."""

    class Fields(dict[str, Any]):
        def keys(self) -> Any:
            raise ZeroDivisionError

        __len__ = __iter__ = keys

    fields = Fields(user_input="?")
    run_id = tracer.start_run(fields, agent_name="a")
    tracer.log_step(run_id, fields, name="s")
    tracer.end_run(run_id)
    with tracer.run(fields, agent_name="b"):
        pass
    assert [(run.agent_name, len(run.steps)) for run in memory.runs()] == [("a", 1), ("b", 0)]
    assert tracer.stats()["failed: fields"] == 3


def test_texts_that_cannot_be_hashed(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """As a name, a kind or a status such a text is what it says."""

    class Name(str):
        __slots__ = ()

        def __hash__(self) -> int:
            raise ZeroDivisionError

        __eq__ = __str__ = __hash__  # type: ignore[assignment]

    with tracer.run() as run, run.step("s", kind=Name("retrieval")) as step:
        step.set_attribute(Name("colour"), "red")
        run.set_attribute(Name("colour"), "blue")
        run.status = Name("timeout")
    [top] = memory.runs()
    assert (top.status, top.steps[0].kind) == ("timeout", "retrieval")
    assert (top.attributes["colour"], top.steps[0].attributes["colour"]) == ("blue", "red")


def test_memory_of_a_huge_value() -> None:
    """A value of 50 MB costs no second 50 MB to keep, whatever its shape."""
    code = """
import resource, sys
from otel_agent_trace import *
memory = InMemoryBackend()
tracer = AgentTracer(backend=memory)
values = ["x" * 50_000_000, b"x" * 50_000_000, ["x" * 50_000_000], {"a": {"b": "x" * 50_000_000}}]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for value in values:
    with tracer.run(user_input=value) as run, run.step("s", {"q": value}) as step:
        step.output = value
assert len(memory.runs()) == 4
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=DEADLOCK_S,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 80
