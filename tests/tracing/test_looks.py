"""A decorated function looks like the plain one to whoever asks `inspect`."""

from __future__ import annotations

import asyncio
import functools
import inspect
import types
import typing
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any, cast

import pytest

from otel_agent_trace import AgentTracer, InMemoryBackend


def plain(a: int, /, b: str = "x", *args: float, c: bytes, **kwargs: bool) -> dict[str, int]:
    """Says what it does."""
    return {}


async def coroutine(a: int) -> int:
    """Waits."""
    return a


def generator(a: int) -> Iterator[int]:
    """Gives."""
    yield a


async def async_generator(a: int) -> AsyncIterator[int]:
    """Gives later."""
    yield a


plain.mark = [1]  # type: ignore[attr-defined]
FUNCTIONS = [plain, coroutine, generator, async_generator]
QUESTIONS: list[Callable[[Any], Any]] = [
    inspect.isfunction,
    inspect.isroutine,
    inspect.ismethod,
    inspect.isclass,
    inspect.iscoroutinefunction,
    asyncio.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
    inspect.signature,
    inspect.getdoc,
    inspect.getsource,
    inspect.getmodule,
    typing.get_type_hints,
    callable,
    lambda function: function.__name__,
    lambda function: function.__qualname__,
    lambda function: function.__module__,
    lambda function: function.__annotations__,
    lambda function: getattr(function, "mark", None),
]


@pytest.mark.parametrize("decorator", ["tool", "model", "agent"])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_inspect_says_the_same(tracer: AgentTracer, decorator: str, function: Callable[..., Any]) -> None:
    """Every question of inspect and typing has the same answer for the traced function."""
    traced = getattr(tracer, decorator)(function)
    assert traced is not function
    assert inspect.unwrap(traced) is function
    for question in QUESTIONS:
        assert question(traced) == question(function), question


def test_those_who_do_not_unwrap(tracer: AgentTracer) -> None:
    """Where annotations are no texts, `getfullargspec` and `getcallargs` say the same as well; texts stay evaluable."""
    namespace: dict[str, Any] = {}
    source = "def plain(a, /, b: str = 'x', *args: float, c: bytes, **kwargs) -> dict: ..."
    exec(compile(source, "<plain>", "exec", dont_inherit=True), namespace)  # without the import from __future__ here
    unannotated, traced = namespace["plain"], tracer.tool(namespace["plain"])
    assert inspect.getfullargspec(traced) == inspect.getfullargspec(unannotated)
    assert inspect.getcallargs(traced, 1, c=b"") == inspect.getcallargs(unannotated, 1, c=b"")
    assert inspect.signature(tracer.tool(plain), eval_str=True) == inspect.signature(plain, eval_str=True)


@pytest.mark.parametrize(
    ("function", "question"),
    [
        (coroutine, inspect.iscoroutine),
        (coroutine, inspect.isawaitable),
        (generator, inspect.isgenerator),
        (async_generator, inspect.isasyncgen),
    ],
)
def test_what_it_returns_is_of_the_same_kind(
    tracer: AgentTracer, function: Callable[..., Any], question: Callable[[Any], bool]
) -> None:
    """Coroutines, generators and async generators are real ones, under the function's name."""
    results = [function(1), tracer.tool(function)(1)]
    for result in results:
        assert question(result)
        assert result.__qualname__ == function.__qualname__
    for result in results:
        if inspect.isasyncgen(result):
            asyncio.run(result.aclose())
        else:
            result.close()


def test_generators_that_are_awaited(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """What `types.coroutine` made of a generator function can still be awaited, and is one step with its result."""

    @types.coroutine
    def old_style(q: int) -> Generator[Any, Any, int]:
        yield
        return q + 1

    traced = tracer.tool(old_style)
    results = [old_style(1), traced(1)]
    for question in (inspect.isgenerator, inspect.iscoroutine, inspect.isawaitable):
        assert question(results[0]) == question(results[1]), question

    async def main() -> list[Any]:
        return [await result for result in results]

    assert asyncio.run(main()) == [2, 2]
    (step,) = memory.runs()[0].steps
    assert (step.input, step.output, step.first_chunk_at_ns) == ({"q": 1}, 2, None)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_methods_look_like_methods(tracer: AgentTracer, function: Callable[..., Any]) -> None:
    """In a class, a traced function is bound, and class and static methods are what they were."""
    traced = tracer.tool(function)
    cls = type(
        "C",
        (),
        {"m": traced, "c": tracer.tool(cast("Any", classmethod(function))), "s": tracer.tool(staticmethod(function))},
    )
    plain_cls = type("C", (), {"m": function, "c": classmethod(function), "s": staticmethod(function)})
    assert isinstance(vars(cls)["c"], classmethod)
    assert isinstance(vars(cls)["s"], staticmethod)
    for name in "mcs":
        bound, expected = getattr(cls(), name), getattr(plain_cls(), name)
        for question in (inspect.ismethod, inspect.isfunction, inspect.signature, inspect.iscoroutinefunction):
            assert question(bound) == question(expected), (name, question)


def test_decorators_on_top_of_each_other(tracer: AgentTracer) -> None:
    """Ours under and over another well-behaved decorator still looks like the function."""

    def other(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    for traced in (tracer.tool(other(plain)), other(tracer.tool(plain)), tracer.agent(tracer.tool(plain))):
        assert inspect.signature(traced) == inspect.signature(plain)
        assert inspect.getsource(traced) == inspect.getsource(plain)
        assert traced(1, c=b"") == {}


def test_the_plain_function_is_left_alone(tracer: AgentTracer) -> None:
    """Decorating changes nothing of the function itself."""
    before = dict(vars(plain))
    tracer.tool(plain)
    assert vars(plain) == before
