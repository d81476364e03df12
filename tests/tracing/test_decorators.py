"""`@tracer.agent`, `@tracer.tool`, `@tracer.model` on every kind of callable: results, arguments, options."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import operator
import pickle
import sys
import tracemalloc
import types
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from otel_agent_trace import (
    AgentRun,
    AgentStep,
    AgentTracer,
    InMemoryBackend,
    RunStatus,
    StepKind,
    Truncated,
    current_run,
)

LATER = 0 if sys.version_info >= (3, 14) else annotations.compiler_flag
TheRun = Callable[[], AgentRun]
Steps = Callable[[], list[AgentStep]]
NOTHING = InMemoryBackend()
GLOBAL = AgentTracer(backend=NOTHING)


@pytest.fixture
def steps(memory: InMemoryBackend) -> Steps:
    """All steps in memory, in the order in which they ended."""

    def find() -> list[AgentStep]:
        return sorted((step for run in memory.runs() for step in run.steps), key=lambda step: step.ended_at_ns or 0)

    return find


@pytest.mark.parametrize("decorator", ["tool", "model", "agent"])
@pytest.mark.parametrize("options", [False, True], ids=["bare", "options"])
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_bare_and_with_options(
    tracer: AgentTracer, memory: InMemoryBackend, decorator: str, options: bool, kind: str
) -> None:
    """Bare, the name is the function's; with options, the one that is given; the result is the function's."""
    result = object()

    def plain(q: int) -> object:
        return result

    async def later(q: int) -> object:
        await asyncio.sleep(0)
        return result

    decorate = getattr(tracer, decorator)
    function = plain if kind == "plain" else later
    traced = decorate("given")(function) if options else decorate(function)
    got = traced(1)
    assert (asyncio.run(got) if kind == "async" else got) is result
    (run,) = memory.runs()
    name = run.agent_name if decorator == "agent" else run.steps[0].name
    assert name == ("given" if options else function.__name__)
    assert (run.user_input if decorator == "agent" else run.steps[0].input) == (1 if decorator == "agent" else {"q": 1})


def test_options_without_a_name(tracer: AgentTracer, steps: Steps) -> None:
    """Empty parentheses are the same as none."""

    @tracer.tool()
    def search() -> int:
        return 1

    assert search() == 1
    assert steps()[0].name == "search"


@pytest.mark.parametrize("decorator", ["tool", "model", "agent"])
def test_the_name_as_a_keyword(tracer: AgentTracer, memory: InMemoryBackend, decorator: str) -> None:
    """The name may be given as a keyword."""
    assert getattr(tracer, decorator)(name="given")(lambda q: q)(1) == 1
    (run,) = memory.runs()
    assert (run.agent_name if decorator == "agent" else run.steps[0].name) == "given"


def test_names_of_agents(memory: InMemoryBackend) -> None:
    """An outermost agent without a name has the tracer's, an inner one the function's; a given one wins."""
    tracer = AgentTracer(backend=memory, agent_name="weather")

    @tracer.agent
    def inner() -> None:
        pass

    @tracer.agent
    def outer() -> None:
        inner()
        named()

    @tracer.agent("named")
    def named() -> None:
        pass

    outer()
    named()
    assert sorted((run.agent_name, run.parent_run_id is None) for top in memory.runs() for run in top.walk()) == [
        ("inner", False),
        ("named", False),
        ("named", True),
        ("weather", True),
    ]


def test_arguments_by_parameter_name(tracer: AgentTracer, steps: Steps) -> None:
    """Every kind of parameter is recorded under its name; defaults that were not passed are not."""

    @tracer.tool
    def f(a: int, /, b: int, *rest: int, c: int = 3, d: int = 4, **more: int) -> None:
        pass

    f(1, 2)
    f(1, b=2)
    f(1, 2, 3, 4, c=5, e=6)
    f(1, 2, **{"a": 7})
    assert [step.input for step in steps()] == [
        {"a": 1, "b": 2},
        {"a": 1, "b": 2},
        {"a": 1, "b": 2, "rest": (3, 4), "c": 5, "more": {"e": 6}},
        {"a": 1, "b": 2, "more": {"a": 7}},
    ]


def test_functions_in_c(tracer: AgentTracer, steps: Steps) -> None:
    """Functions that do not tell their parameters work as well."""
    assert tracer.tool(max)(1, 2) == 2
    assert tracer.tool(operator.add)(1, 2) == 3
    assert tracer.tool(functools.partial(int, base=2))("11") == 3
    assert [step.name for step in steps()] == ["max", "add", "int"]
    assert steps()[0].input == {"args": (1, 2)}


def test_lambdas_partials_and_callables(tracer: AgentTracer, steps: Steps) -> None:
    """A lambda, a partial, a bound method, an object with __call__ and one with an async __call__ are traced."""

    class Searcher:
        def __call__(self, q: str) -> str:
            return q

        def method(self, q: str) -> str:
            return q

    class Later:
        async def __call__(self, q: str) -> str:
            await asyncio.sleep(0)
            return q

    def search(q: str, top: int, *, lang: str) -> str:
        return q

    async def asearch(q: str, top: int) -> str:
        await asyncio.sleep(0)
        return q

    assert tracer.tool(lambda q: q)("1") == "1"
    assert tracer.tool(functools.partial(search, lang="de"))("2", 5) == "2"
    assert asyncio.run(tracer.tool(functools.partial(asearch, top=5))("3")) == "3"
    assert tracer.tool(Searcher())("4") == "4"
    assert tracer.tool(Searcher().method)("5") == "5"
    assert asyncio.run(tracer.tool(Later())("6")) == "6"
    assert [(step.name, step.input, step.output) for step in steps()] == [
        ("<lambda>", {"q": "1"}, "1"),
        ("search", {"q": "2", "top": 5, "lang": "de"}, "2"),
        ("asearch", {"q": "3", "top": 5}, "3"),
        ("Searcher", {"q": "4"}, "4"),
        ("method", {"q": "5"}, "5"),
        ("Later", {"q": "6"}, "6"),
    ]


def test_methods_of_callables_stay(tracer: AgentTracer) -> None:
    """The cache of a cached function, and the methods of a callable object, are still within reach."""

    class Searcher:
        calls = 0

        def __call__(self, q: str) -> str:
            self.calls += 1
            return q

        def count(self) -> int:
            return self.calls

    cached = tracer.tool(functools.lru_cache(maxsize=None)(str.upper))
    assert [cached("q"), cached("q"), cached.cache_info().hits] == ["Q", "Q", 1]
    cached.cache_clear()
    assert cached.cache_info().misses == 0
    searcher: Any = tracer.tool(Searcher())
    assert (searcher("q"), searcher.count()) == ("q", 1)


@pytest.mark.parametrize("what", [5, "name", None, int, InMemoryBackend])
def test_what_is_no_function_is_refused(tracer: AgentTracer, what: Any) -> None:
    """Classes and what cannot be called are refused when they are decorated."""
    with pytest.raises(TypeError, match="only functions"):
        tracer.tool()(what)


# ── receivers ────────────────────────────────────────────────────────────────────────────────────────────────────────


def make_class(tracer: AgentTracer) -> Any:
    tool = tracer.tool

    class Meta(type):
        @tool
        def of_meta(cls, q: int) -> int:
            return q

    class Base(metaclass=Meta):
        @tool
        def method(self, q: int) -> int:
            return q

        @tool
        async def later(self, q: int) -> int:
            return q

        @classmethod
        @tool
        def class_inside(cls, q: int) -> int:
            return q

        @tool
        @classmethod
        def class_outside(cls, q: int) -> int:
            return q

        @staticmethod
        @tool
        def static_inside(q: int) -> int:
            return q

        @tool
        @staticmethod
        def static_outside(q: int) -> int:
            return q

        @property
        @tool
        def prop(self) -> int:
            return 1

        @functools.cached_property
        @tool
        def cached(self) -> int:
            return 1

        @functools.lru_cache(maxsize=1)  # noqa: B019
        @tool
        def memoised(self, q: int) -> int:
            return q

        @tool
        def __call__(self, q: int) -> int:
            return q

        partial = functools.partialmethod(tool(lambda self, q, r: q), r=1)

    class Child(Base):
        @tool
        def method(self, q: int) -> int:
            return super().method(q)

    return Child


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda cls, obj: obj.method(1), {"q": 1}),
        (lambda cls, obj: obj.method(q=1), {"q": 1}),
        (lambda cls, obj: cls.method(obj, 1), {"q": 1}),
        (lambda cls, obj: cls.method(self=obj, q=1), {"q": 1}),
        (lambda cls, obj: asyncio.run(obj.later(1)), {"q": 1}),
        (lambda cls, obj: obj.class_inside(1), {"q": 1}),
        (lambda cls, obj: cls.class_inside(1), {"q": 1}),
        (lambda cls, obj: cls.class_outside(q=1), {"q": 1}),
        (lambda cls, obj: obj.class_outside(1), {"q": 1}),
        (lambda cls, obj: cls.static_inside(1), {"q": 1}),
        (lambda cls, obj: obj.static_outside(1), {"q": 1}),
        (lambda cls, obj: obj.prop, {}),
        (lambda cls, obj: obj.cached, {}),
        (lambda cls, obj: obj.memoised(1), {"q": 1}),
        (lambda cls, obj: obj(1), {"q": 1}),
        (lambda cls, obj: obj.partial(1), {"q": 1, "r": 1}),
        (lambda cls, obj: cls.of_meta(1), {"q": 1}),
    ],
)
def test_the_receiver_is_never_recorded(
    tracer: AgentTracer, steps: Steps, call: Callable[[Any, Any], int], expected: dict[str, int]
) -> None:
    """self and cls of methods, class methods, properties and the like are not among the arguments."""
    cls = make_class(tracer)
    assert call(cls, cls()) == 1
    assert [step.input for step in steps()] == [expected] * len(steps())


def test_the_receiver_of_a_hidden_method(tracer: AgentTracer, steps: Steps) -> None:
    """The receiver is not recorded either where the traced function does not stand in a class itself."""

    def hiding(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: function(*args, **kwargs)

    class Toolbox:
        @hiding
        @tracer.tool
        def search(self, q: int) -> int:
            return q

        @classmethod
        @hiding
        @tracer.tool
        def of_class(cls, q: int) -> int:
            return q

        def bound_later(self, q: int) -> int:
            return q

    toolbox = Toolbox()
    toolbox.search(1)
    Toolbox.of_class(q=1)
    types.MethodType(tracer.tool(Toolbox.bound_later), toolbox)(1)
    assert [step.input for step in steps()] == [{"q": 1}] * 3


def test_annotations_of_later(tracer: AgentTracer, steps: Steps) -> None:
    """An annotation may name what does not exist yet; on Python 3.14 it is not even a text."""
    source = "def search(q: Later) -> Later: return q"
    names: dict[str, Any] = {}
    exec(compile(source, "later.py", "exec", dont_inherit=True, flags=LATER), names)
    assert tracer.tool(names["search"])(1) == 1
    assert steps()[0].input == {"q": 1}


def test_a_static_method_that_is_given_an_object_of_its_class(tracer: AgentTracer, steps: Steps) -> None:
    """What a static method or a function is given first is an argument, whatever its class."""

    class C:
        @staticmethod
        @tracer.tool
        def static(value: Any) -> None:
            pass

    @tracer.tool
    def function(self: Any) -> None:
        pass

    C.static(C())
    C().static(C)
    function(C())
    assert [list(step.input) for step in steps()] == [["value"], ["value"], ["self"]]


def test_a_function_that_a_program_puts_on_a_class(tracer: AgentTracer, steps: Steps) -> None:
    """A plain call has all its arguments; one parameter that is named as a receiver, or none that is named, is one."""

    def hiding(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: function(*args)

    class Order:
        number = 7

        def cancel(order: Order) -> int:  # noqa: N805 - a method all the same
            return order.number

        cancel = tracer.tool(hiding(cancel))

    @tracer.tool
    def ship(order: Order) -> int:
        return order.number

    @tracer.tool
    def bill(self: Order, amount: int) -> int:
        return amount

    Order.ship, Order.bill = ship, bill  # type: ignore[attr-defined]
    ship(Order())
    ship(order=Order())
    Order().ship()  # type: ignore[attr-defined]
    Order().bill(1)  # type: ignore[attr-defined]
    Order().cancel()
    assert [list(step.input) for step in steps()] == [["order"], ["order"], ["order"], ["amount"], []]


def test_what_a_partial_holds_is_passed(tracer: AgentTracer, memory: InMemoryBackend, steps: Steps) -> None:
    """The arguments are those that the function gets, of an agent those of the call, which are the question."""

    class Held(functools.partial):  # type: ignore[type-arg]
        """A subclass, which Python does not merge with the partial around it."""

    class Shop:
        def find(self, q: str, *more: int, **options: int) -> str:
            return q

    def find(q: str, *more: int, **options: int) -> str:
        return q

    partial, tool = functools.partial, tracer.tool
    for held, *args in (
        (partial(find, "a"), 1),
        (partial(find, q="a"),),
        (partial(partial(find, "a", 1), 2, k=3),),
        (partial(Held(find, "a", 1, k=4), 2, k=3),),
        (partial(Shop().find, "a", 1),),
        (partial(Shop.find, Shop(), "a"), 1),
    ):
        assert tool(held)(*args) == "a"
    with_options = {"q": "a", "more": (1, 2), "options": {"k": 3}}
    plain = {"q": "a", "more": (1,)}
    assert [step.input for step in steps()] == [plain, {"q": "a"}, with_options, with_options, plain, plain]
    tool(exclude=["q"])(partial(find, "secret"))(1)
    assert steps()[-1].input == {"more": (1,)}
    assert tracer.agent(partial(lambda client, question: question, object()))("Rain?") == "Rain?"
    assert memory.runs()[-1].user_input == "Rain?"


def test_dataclasses_and_abstract_methods(tracer: AgentTracer, steps: Steps) -> None:
    """A method of a dataclass with slots, and one that implements an abstract one, have no receiver in their input."""

    class Tool(ABC):
        @tracer.tool
        @abstractmethod
        def run(self, q: int) -> int: ...

    @dataclasses.dataclass(slots=True)
    class Impl(Tool):
        k: int = 1

        @tracer.tool
        def run(self, q: int) -> int:
            return q + self.k

    with pytest.raises(TypeError, match="abstract"):
        Tool()  # type: ignore[abstract]
    assert Impl().run(1) == 2
    assert steps()[0].input == {"q": 1}


def test_nested_functions_and_threads(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """Closures made per call, called from many threads, record their own arguments."""

    def make(number: int) -> Callable[[int], int]:
        @tracer.tool(f"t{number}")
        def inner(q: int) -> int:
            return q * number

        return inner

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: make(n)(n), range(100))) == [n * n for n in range(100)]
    steps = [run.steps[0] for run in memory.runs()]
    assert sorted((step.input["q"], step.output) for step in steps) == [(n, n * n) for n in range(100)]
    assert all(step.name == f"t{step.input['q']}" for step in steps)


def test_recursion(tracer: AgentTracer, the_run: TheRun) -> None:
    """Each call of a function that calls itself is a step below the one that called it."""

    @tracer.tool
    def factorial(n: int) -> int:
        return 1 if n == 0 else n * factorial(n - 1)

    with tracer.run():
        assert factorial(4) == 24
    assert [(step.input["n"], step.output, step.parent_step_id) for step in the_run().steps] == [
        (4, 24, None),
        (3, 6, 1),
        (2, 2, 2),
        (1, 1, 3),
        (0, 1, 4),
    ]


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("exclude", [("secret",), ["secret"], {"secret"}, "secret"])
def test_excluded_parameters(tracer: AgentTracer, memory: InMemoryBackend, exclude: Any) -> None:
    """An excluded parameter is recorded nowhere, however it is passed, a single name included."""

    @tracer.tool(exclude=exclude)
    def login(user: str, secret: str = "", **more: str) -> None:
        pass

    @tracer.tool(exclude=exclude)
    def call(**fields: str) -> None:
        pass

    @tracer.tool(exclude=exclude)
    def many(*secret: str) -> None:
        pass

    login("u", "hunter2")
    login(user="u", secret="hunter2", x="y")
    call(secret="hunter2", user="u")
    many("hunter2")
    assert "hunter2" not in repr(memory.spans())
    assert sorted(str(run.steps[0].input) for run in memory.runs()) == [
        "{'fields': {'user': 'u'}}",
        "{'user': 'u', 'more': {'x': 'y'}}",
        "{'user': 'u'}",
        "{}",
    ]


def test_capture_off(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """Without capture neither arguments nor results are recorded, of functions and of streams."""

    @tracer.tool(capture=False)
    def f(q: str) -> str:
        return q

    @tracer.tool(capture=False)
    def g(q: str) -> Any:
        yield q
        return q

    @tracer.tool(capture=False)
    async def h(q: str) -> str:
        return q

    f("hunter2")
    list(g("hunter2"))
    next(g("hunter2"))
    asyncio.run(h("hunter2"))
    assert "hunter2" not in repr(memory.spans())
    assert all(run.steps[0].input is None is run.steps[0].output for run in memory.runs())


def test_side_effects(tracer: AgentTracer, steps: Steps) -> None:
    """A tool with side effects says so on its span."""
    tracer.tool(side_effects=True)(lambda: None)()
    assert steps()[0].attributes == {"agent_trace.tool.side_effects": True}


def test_user_input_of_an_agent(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """The input is the only argument, else all by name, else the parameter that is named; never the receiver."""

    class Bot:
        @tracer.agent
        def one(self, q: str, k: int = 3) -> None:
            pass

        @tracer.agent("named", user_input="q")
        def two(self, k: int, q: str) -> None:
            pass

        @tracer.agent(user_input="q")
        def by_default(self, k: int, q: str = "news?") -> None:
            pass

        @tracer.agent
        def none(self) -> None:
            pass

    Bot().one("x")
    Bot().one("x", k=4)
    Bot().two(5, "x")
    Bot().by_default(5)
    Bot().none()
    assert [run.user_input for run in memory.runs()] == ["x", {"q": "x", "k": 4}, "x", "news?", None]


def test_final_output_of_an_agent(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """The result is the final output, unless the code inside has set another."""

    @tracer.agent
    def result() -> dict[str, int]:
        return {"a": 1}

    @tracer.agent
    def overridden() -> int:
        current_run().final_output = "set inside"
        return 1

    assert (result(), overridden()) == ({"a": 1}, 1)
    assert [run.final_output for run in memory.runs()] == [{"a": 1}, "set inside"]


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("decorator", ["tool", "model", "agent"])
@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(2), asyncio.CancelledError()])
def test_exceptions_are_those_of_the_function(
    tracer: AgentTracer, memory: InMemoryBackend, decorator: str, kind: str, error: BaseException
) -> None:
    """The same object is raised, with nothing chained to it, and the step or run is an error."""

    def plain() -> None:
        raise error

    async def later() -> None:
        raise error

    async def main() -> BaseException | None:
        try:
            result = getattr(tracer, decorator)(plain if kind == "plain" else later)()
            await result
        except BaseException as caught:
            return caught
        return None

    assert asyncio.run(main()) is error
    assert error.__context__ is None
    (run,) = memory.runs()
    failure = run.error if decorator == "agent" else run.steps[0].error
    assert failure.type.endswith(type(error).__name__)
    assert run.status is RunStatus.ERROR


@pytest.mark.parametrize("arguments", [((), {}), ((1, 2), {}), ((1,), {"a": 2}), ((), {"zzz": 1})])
@pytest.mark.parametrize("kind", ["plain", "async", "generator", "async generator"])
def test_wrong_arguments(
    tracer: AgentTracer, memory: InMemoryBackend, kind: str, arguments: tuple[tuple[Any, ...], dict[str, Any]]
) -> None:
    """Wrong arguments raise the TypeError that they raise without us, and no span stays open."""

    def plain(a: int) -> int:
        return a

    async def later(a: int) -> int:
        return a

    def generator(a: int) -> Any:
        yield a

    async def agenerator(a: int) -> Any:
        yield a

    function: Any = {"plain": plain, "async": later, "generator": generator, "async generator": agenerator}[kind]

    def error_of(called: Any) -> str:
        with pytest.raises(TypeError) as caught:
            result = called(*arguments[0], **arguments[1])
            if kind == "async":
                asyncio.run(result)
            elif kind == "generator":
                next(result)
            else:
                asyncio.run(result.__anext__())
        return str(caught.value)

    assert error_of(tracer.tool(function)) == error_of(function)
    assert all(span.ended_at_ns is not None for run in memory.runs() for span in (run, *run.steps))


@GLOBAL.tool
def module_level(a: int) -> int:
    """Doubles."""
    return 2 * a


def test_traced_functions_can_be_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decorated function of a module is pickled by its name, as the plain one would be."""
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(module_level=module_level))
    assert pickle.loads(pickle.dumps(module_level)) is module_level


def test_many_chunks_are_bounded(tracer: AgentTracer, steps: Steps) -> None:
    """A stream hands on every piece, keeps a bounded number of them, and says that there were more."""

    @tracer.tool
    def stream() -> Any:
        yield from range(20_000)

    assert sum(stream()) == sum(range(20_000))
    (step,) = steps()
    assert step.output == Truncated(list(range(10_000)), 20_000, "bytes")
    assert step.truncated == ("output",)
    assert tracer.stats()["cut"] == 1


@pytest.mark.parametrize("decorator", ["tool", "model", "agent"])
def test_large_chunks_are_not_kept(memory: InMemoryBackend, decorator: str) -> None:
    """The memory that a stream of texts holds is bounded by the limit of one value, and the record says so."""

    def stream() -> Any:
        for number in range(500):
            yield str(number) * 50_000

    traced = getattr(AgentTracer(backend=memory), decorator)(stream)
    tracemalloc.start()
    try:
        assert sum(1 for _ in traced()) == 500
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    (run,) = memory.runs()
    output, truncated = (
        (run.final_output, run.truncated) if decorator == "agent" else (run.steps[0].output, run.steps[0].truncated)
    )
    assert isinstance(output, Truncated)
    assert any("output" in path for path in truncated)


def test_kinds_of_steps(tracer: AgentTracer, the_run: TheRun) -> None:
    """A tool is a tool step, a model a model step, an agent a step of kind agent."""
    with tracer.run():
        tracer.tool("t")(lambda: None)()
        tracer.model("m")(lambda: None)()
        tracer.agent("a")(lambda: None)()
    assert [(step.name, step.kind) for step in the_run().steps] == [
        ("t", StepKind.TOOL),
        ("m", StepKind.MODEL),
        ("a", StepKind.AGENT),
    ]
