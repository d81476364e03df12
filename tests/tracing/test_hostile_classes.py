"""Objects of made-up classes, whose methods do anything, given everywhere: the host sees the same objects come out."""

from __future__ import annotations

import asyncio
import collections
import collections.abc
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_agent_trace import AgentTracer, FileBackend, InMemoryBackend, Limits
from tests.support.hostile_values import FatalBoom, run_coroutine

MOST_CPU_S = 60


class Text(collections.UserString):
    def __init__(self) -> None:
        super().__init__("x")


ERRORS = [
    ValueError,
    AttributeError,
    KeyError,
    StopIteration,
    StopAsyncIteration,
    RecursionError,
    MemoryError,
    GeneratorExit,
    asyncio.CancelledError,
    KeyboardInterrupt,
    SystemExit,
    FatalBoom,
]
ANSWERS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda self: self,
    "none": lambda self: None,
    "text": lambda self: "text",
    "huge text": lambda self: "x" * 2_000_000,
    "surrogate": lambda self: "\ud800",
    "minus one": lambda self: -1,
    "huge number": lambda self: 2**70,
    "nan": lambda self: float("nan"),
    "endless": lambda self: itertools.count(),
    "endless of itself": lambda self: itertools.repeat(self),
    "pair with itself": lambda self: [("a", self), (self, "b")],
    "mapping": lambda self: {"a": self, 1: "x"},
    "bytes": lambda self: b"\xff",
    "class": lambda self: int,
}
METHODS = [
    *("__str__", "__repr__", "__format__", "__bytes__", "__fspath__"),
    *("__len__", "__length_hint__", "__bool__", "__eq__", "__ne__", "__lt__", "__hash__", "__sizeof__"),
    *("__getattr__", "__getattribute__", "__dir__", "__class__", "__dict__", "__doc__", "__module__"),
    *("__iter__", "__next__", "__getitem__", "__contains__", "__reversed__", "__missing__", "__call__"),
    *("__int__", "__float__", "__index__", "__complex__", "__round__", "__reduce_ex__", "__copy__", "__deepcopy__"),
    *("__aiter__", "__anext__", "__await__", "__enter__", "__get__", "__instancecheck__", "__subclasscheck__"),
    *("keys", "values", "items", "get", "copy", "_asdict", "tolist", "isoformat", "encode", "isascii", "total_seconds"),
    *("model_dump", "dict", "__dataclass_fields__", "__pydantic_fields__", "__struct_fields__", "__attrs_attrs__"),
    *("choices", "usage", "content", "role", "model", "output", "id", "message", "input_tokens", "value", "name"),
    *("code", "status", "status_code", "response", "exceptions", "args", "__cause__", "__traceback__", "__notes__"),
]
PROPERTIES = frozenset({"__class__", "__dict__", "__module__", "__doc__"}) | frozenset(
    METHODS[METHODS.index("choices") :] + ["__dataclass_fields__", "__pydantic_fields__", "__struct_fields__"]
)
BASES = [object, dict, list, tuple, str, bytes, int, float, set, frozenset, collections.deque, Text]

behaviours = st.sampled_from(ERRORS) | st.sampled_from(sorted(ANSWERS))
methods = st.dictionaries(st.sampled_from(METHODS), behaviours, max_size=8)


def method(behaviour: Any) -> Callable[..., Any]:
    def do(self: Any, *args: Any, **more: Any) -> Any:
        if isinstance(behaviour, type):
            raise behaviour
        return ANSWERS[behaviour](self)

    return do


def made(base: type, behaviours: dict[str, Any], armed: list[bool]) -> Any:
    """An object of a class with these methods, which behave as the base's until it is armed."""
    body: dict[str, Any] = {}
    for name, behaviour in behaviours.items():
        act, usual = method(behaviour), getattr(base, name, None)

        def call(self: Any, *args: Any, act: Any = act, usual: Any = usual, **more: Any) -> Any:
            return act(self) if armed else usual(self, *args, **more) if callable(usual) else None

        body[name] = property(call) if name in PROPERTIES else call
    with contextlib.suppress(TypeError):
        return type("Made", (base,), body)()
    return type("Made", (base,), {})()


def give_everywhere(tracer: AgentTracer, value: Any) -> None:
    """Give it wherever values are taken; what comes back is the same object."""

    async def later(q: Any, *args: Any, **more: Any) -> Any:
        return q

    def stream(q: Any) -> Iterator[Any]:
        yield q
        return q

    async def astream(q: Any) -> AsyncIterator[Any]:
        yield q

    def plain(q: Any, *args: Any, **more: Any) -> Any:
        return q

    for decorate in (tracer.tool, tracer.agent, tracer.model(usage=lambda result: result)):
        assert decorate(plain)(value, value, key=value) is value
        assert run_coroutine(decorate(later)(value, value)) is value
        pieces = decorate(stream)(value)
        assert next(pieces) is value
        with pytest.raises(StopIteration) as stop:
            next(pieces)
        assert stop.value.value is value
        assert run_coroutine(decorate(astream)(value).__anext__()) is value
    with tracer.bind(session_id=value, metadata=value, user_id=value):
        with tracer.run({"mine": value}, user_input=value, config=value, model=value, agent_name=value) as run:
            run.final_output = run.usage = run.error = run.metadata = run.session_id = run.user_id = value
            run.model = run.agent_name = run.user_input = value
            run.set_attribute("mine", value)
            with run.step(value, value, step_id=value, metadata=value) as step:
                step.input = step.output = step.error = step.messages = step.usage = step.model = value
                step.name = step.metadata = value
                step.set_attribute("mine", value)
            with run.model_call(value, value, provider=value, name=value, input=value) as call:
                call.output = call.usage = value
            with run.model_call("m", [{"role": value, "content": value}, value]) as call:
                call.output = {"choices": [{"message": value, "finish_reason": value}], "usage": value, "model": value}
    fields = {"user_input": value, "user_id": value, "metadata": {"a": value}, "mine": value}
    run_id = tracer.start_run(fields)
    tracer.log_step(
        run_id,
        {"x": value},
        name=value,
        input=value,
        output=value,
        error=value,
        step_id=value,
        usage=value,
        metadata=value,
    )
    tracer.log_step(run_id, name="s", messages=[value], parent_step_id=value, model=value, kind="model")
    tracer.log_error(run_id, value)


def raise_everywhere(tracer: AgentTracer, error: BaseException) -> None:
    """Raise it wherever something may be raised; the same arrives."""

    def plain(*args: Any) -> None:
        raise error

    async def later(*args: Any) -> None:
        raise error

    def stream(*args: Any) -> Iterator[int]:
        yield 1
        raise error

    def block() -> None:
        with tracer.run() as run, run.step("s"):
            raise error

    uses: list[Callable[[], Any]] = [block]
    for decorate in (tracer.tool, tracer.agent, tracer.model):
        uses.append(lambda decorate=decorate: decorate(plain)(error))  # type: ignore[misc]
        uses.append(lambda decorate=decorate: run_coroutine(decorate(later)(error)))  # type: ignore[misc]
        uses.append(lambda decorate=decorate: list(decorate(stream)(error)))  # type: ignore[misc]
    for use in uses:
        caught = None
        try:
            use()
        except BaseException as arrived:
            caught = arrived
        assert caught is error


@pytest.fixture(scope="module")
def tracer(tmp_path_factory: pytest.TempPathFactory) -> AgentTracer:
    """One for all examples, with both backends."""
    backends = [InMemoryBackend(max_runs=50), FileBackend(tmp_path_factory.mktemp("hostile") / "t.jsonl")]
    return AgentTracer(backend=backends, limits=Limits(value_bytes=10_000))


@given(st.sampled_from(BASES), methods)
def test_values_of_made_up_classes(tracer: AgentTracer, base: type, behaviours: dict[str, Any]) -> None:
    """Whatever a value's class does, it comes through everywhere, the runs are recorded, in bounded time."""
    armed: list[bool] = []
    value = made(base, behaviours, armed)
    armed.append(True)
    began_s = time.process_time()
    give_everywhere(tracer, value)
    assert time.process_time() - began_s < MOST_CPU_S
    armed.clear()
    (memory, _) = tracer._own._active_span_processor._span_processors[0].pipeline.sinks  # type: ignore[union-attr]
    runs = memory.runs()
    assert runs
    assert all(part.ended_at_ns is not None for top in runs for part in top.walk())


@given(st.sampled_from([Exception, BaseException, OSError, KeyError, TimeoutError, UnicodeError]), methods)
@example(Exception, {"__getattribute__": ValueError})
def test_exceptions_of_made_up_classes(tracer: AgentTracer, base: type, behaviours: dict[str, Any]) -> None:
    """Whatever an exception's class does, it is the one that arrives."""
    armed: list[bool] = []
    error = made(base, behaviours, armed)
    armed.append(True)
    began_s = time.process_time()
    raise_everywhere(tracer, error)
    assert time.process_time() - began_s < MOST_CPU_S


def test_nothing_is_consumed(tracer: AgentTracer) -> None:
    """What can be advanced, awaited or locked is as it was before."""

    def numbers() -> Iterator[int]:
        yield from range(3)

    async def coroutine() -> int:
        return 5

    lock, rlock, waiting, queue = threading.Lock(), threading.RLock(), coroutine(), collections.deque([1])
    iterators = [numbers(), iter([0, 1, 2]), map(int, "012"), zip("abc"), filter(None, [1, 2, 3]), iter({1, 2, 3})]
    for value in [*iterators, lock, rlock, waiting, queue, reversed([1, 2, 3]), enumerate([1, 2, 3])]:
        give_everywhere(tracer, value)
        give_everywhere(tracer, {"nested": [value, (value,)]})
    assert [len(list(iterator)) for iterator in iterators] == [3] * len(iterators)
    assert not lock.locked()
    assert lock.acquire(blocking=False)
    assert run_coroutine(waiting) == 5
    assert list(queue) == [1]


def test_a_finish_reason_that_never_ends(run_python: Callable[..., Any]) -> None:
    """A text whose class iterates without end is a text, also where it is an item of an attribute."""
    result = run_python(
        """
        import itertools, resource, signal
        from otel_agent_trace import *
        resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
        signal.alarm(10)
        class Made(str):
            def __iter__(self): return itertools.repeat(self)
        tracer = AgentTracer(backend=FileBackend("t.jsonl"))
        with tracer.run() as run, run.model_call("m") as call:
            message = {"role": "assistant", "content": "x"}
            call.output = {"choices": [{"message": message, "finish_reason": Made("stop")}], "id": Made("i")}
        ((step,),) = [run.steps for run in load_runs("t.jsonl")]
        print(step.attributes["gen_ai.response.finish_reasons"], tracer.stats())
        """
    )
    assert (result.returncode, result.stdout) == (0, "['stop'] {'runs': 1, 'steps': 1, 'FileBackend: kept': 2}\n"), (
        result.stderr
    )


@pytest.mark.parametrize("base", [dict, list, tuple, set, frozenset, collections.deque])
def test_containers_that_never_end(run_python: Callable[..., Any], base: type) -> None:
    """A container whose class iterates without end is recorded by what it holds, in little memory."""
    result = run_python(
        f"""
        import collections, itertools, resource
        from otel_agent_trace import *
        class Made({base.__module__}.{base.__qualname__}):
            def __iter__(self): return itertools.repeat(1)
            def __len__(self): return 2**40
            keys = __iter__
        """.replace("builtins.", "")
        + """
        memory = InMemoryBackend()
        tracer = AgentTracer(backend=memory)
        with tracer.run(user_input=1):
            pass
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
        with tracer.run(user_input=Made(), config=[Made()]) as run:
            if issubclass(Made, collections.deque):  # of a message, str() says what is in it, which here never ends
                Made = list
            for messages in (Made(), [Made()], [{"role": "user", "content": Made(), "tool_calls": Made()}]):
                with run.model_call("m", messages) as call:
                    call.output = {"choices": [{"message": messages}]}
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, tracer.stats())
        """
    )
    grown_mb, _, stats = result.stdout.strip().partition(" ")
    assert int(grown_mb) < 20, result.stderr
    assert stats == "{'runs': 2, 'steps': 3, 'InMemoryBackend: kept': 5}"
