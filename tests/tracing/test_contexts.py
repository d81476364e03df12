"""Threads, tasks and callbacks: what happens in them stands below the step that they were started in."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import queue
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace

from otel_agent_trace import (
    ActiveRun,
    ActiveStep,
    AgentRun,
    AgentTracer,
    InMemoryBackend,
    TracedExecutor,
    current_run,
    current_step,
)
from tests.support.waiting import DEADLOCK_S

Work = Callable[[], Any]
TheRun = Callable[[], AgentRun]


@pytest.fixture
def work(tracer: AgentTracer) -> Work:
    @tracer.tool
    def work() -> str:
        return current_step().name

    return work


def joined(thread: threading.Thread) -> None:
    thread.start()
    thread.join(DEADLOCK_S)
    assert not thread.is_alive()


# ── what needs nothing ───────────────────────────────────────────────────────────────────────────────────────────────


async def awaits(work: Work) -> None:
    async def inner() -> None:
        work()

    await inner()


async def creates_a_task(work: Work) -> None:
    async def inner() -> None:
        work()

    await asyncio.create_task(inner())


async def gathers(work: Work) -> None:
    async def inner() -> None:
        work()

    await asyncio.gather(inner())


async def waits(work: Work) -> None:
    async def inner() -> None:
        await asyncio.sleep(0)
        work()

    await asyncio.wait_for(inner(), DEADLOCK_S)


async def groups_tasks(work: Work) -> None:
    async def inner() -> None:
        work()

    if sys.version_info >= (3, 11):
        async with asyncio.TaskGroup() as group:
            group.create_task(inner())
    else:
        await gathers(work)


async def uses_a_thread(work: Work) -> None:
    await asyncio.to_thread(work)


async def calls_soon(work: Work) -> None:
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(lambda: (work(), done.set()))
    await done.wait()


async def adds_a_callback(work: Work) -> None:
    done = asyncio.Event()
    task = asyncio.create_task(asyncio.sleep(0))
    task.add_done_callback(lambda _: (work(), done.set()))
    await done.wait()


async def runs_threadsafe(work: Work) -> None:
    async def inner() -> None:
        work()

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(inner(), loop).result(DEADLOCK_S))


@pytest.mark.parametrize(
    "way",
    [
        awaits,
        creates_a_task,
        gathers,
        waits,
        groups_tasks,
        uses_a_thread,
        calls_soon,
        adds_a_callback,
        runs_threadsafe,
    ],
    ids=lambda way: way.__name__,
)
def test_what_follows_by_itself(
    tracer: AgentTracer, work: Work, the_run: TheRun, way: Callable[[Work], Coroutine[Any, Any, None]]
) -> None:
    """Tasks, and what asyncio calls, have the context in which they were created."""

    async def main() -> None:
        with tracer.run() as run, run.step("outer"):
            await way(work)

    asyncio.run(main())
    assert [(step.name, step.parent_step_id) for step in the_run().steps] == [("outer", None), ("work", 1)]


def test_a_task_that_goes_on_after_its_run(tracer: AgentTracer, the_run: TheRun) -> None:
    """It is part of the run nevertheless, with what it starts later."""

    async def main() -> None:
        over = asyncio.Event()

        @tracer.tool
        async def slow() -> None:
            await over.wait()
            with current_run().step("later"):
                pass

        with tracer.run() as run, run.step("outer"):
            task = asyncio.create_task(slow())
            await asyncio.sleep(0)
        over.set()
        await task

    asyncio.run(main())
    assert [(step.name, step.parent_step_id) for step in the_run().steps] == [
        ("outer", None),
        ("slow", 1),
        ("later", 2),
    ]


# ── what needs the function to be bound ──────────────────────────────────────────────────────────────────────────────


def in_a_thread(work: Work) -> None:
    joined(threading.Thread(target=work))


def in_a_timer(work: Work) -> None:
    joined(threading.Timer(0, work))


def in_a_pool(work: Work) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(DEADLOCK_S)


def in_an_executor_of_the_loop(work: Work) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(None, work)

    asyncio.run(main())


def from_a_bare_thread_into_the_loop(work: Work) -> None:
    async def main() -> None:
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(lambda: (work(), done.set()),))
        thread.start()
        await done.wait()
        thread.join(DEADLOCK_S)

    contextvars.Context().run(asyncio.run, main())


def in_the_callback_of_a_future(work: Work) -> None:
    future: Future[None] = Future()
    future.add_done_callback(lambda _: work())
    joined(threading.Thread(target=future.set_result, args=(None,)))


@pytest.mark.parametrize("bound", [True, False], ids=["bound", "bare"])
@pytest.mark.parametrize(
    "way",
    [
        in_a_thread,
        in_a_timer,
        in_a_pool,
        in_an_executor_of_the_loop,
        from_a_bare_thread_into_the_loop,
        in_the_callback_of_a_future,
    ],
    ids=lambda way: way.__name__,
)
def test_what_starts_without_a_context(
    tracer: AgentTracer, memory: InMemoryBackend, work: Work, way: Callable[[Work], None], bound: bool
) -> None:
    """Bound to the context of now, a function is part of the run wherever it runs; bare it is one of its own."""
    with tracer.run(run_id="r") as run, run.step("outer"):
        way(tracer.with_context(work) if bound else work)
    first, *others = memory.runs()
    steps = [("outer", None), ("work", 1)] if bound else [("outer", None)]
    assert [(step.name, step.parent_step_id) for step in first.steps] == steps
    assert [run.steps[0].name for run in others] == ([] if bound else ["work"])


def test_a_consumer_of_a_queue_has_the_context_of_the_item(
    tracer: AgentTracer, memory: InMemoryBackend, work: Work
) -> None:
    """One worker, started within the first run, does for each run what that run has put into the queue."""
    items: queue.Queue[Work | None] = queue.Queue()

    def consume() -> None:
        for item in iter(items.get, None):
            item()

    with tracer.run(run_id="0") as run, run.step("outer"):
        worker = threading.Thread(target=tracer.with_context(consume))
        worker.start()
        items.put(tracer.with_context(work))
    for number in "12":
        with tracer.run(run_id=number) as run, run.step("outer"):
            items.put(tracer.with_context(work))
    items.put(None)
    worker.join(DEADLOCK_S)
    found = {run.run_id: [(step.name, step.parent_step_id) for step in run.steps] for run in memory.runs()}
    assert found == dict.fromkeys("012", [("outer", None), ("work", 1)])


def test_a_consumer_task_has_the_context_of_the_item(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """So it is with a task; coroutine functions stay such."""

    @tracer.tool
    async def fetch() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        items: asyncio.Queue[Any] = asyncio.Queue()

        async def consume() -> None:
            while (item := await items.get()) is not None:
                await item()

        with tracer.run(run_id="0") as run, run.step("outer"):
            consumer = asyncio.create_task(consume())
            bound = tracer.with_context(fetch)
            assert inspect.iscoroutinefunction(bound)
            await items.put(bound)
        with tracer.run(run_id="1") as run, run.step("outer"):
            await items.put(tracer.with_context(fetch))
        await items.put(None)
        await consumer

    asyncio.run(main())
    found = {run.run_id: [(step.name, step.parent_step_id) for step in run.steps] for run in memory.runs()}
    assert found == dict.fromkeys("01", [("outer", None), ("fetch", 1)])


def test_a_bound_function_is_called_many_times_at_once(tracer: AgentTracer, the_run: TheRun) -> None:
    """Eight calls are under way at the same time, each in the same context."""
    barrier = threading.Barrier(8)

    @tracer.tool
    def meet(number: int) -> int:
        return barrier.wait(DEADLOCK_S) and number

    with ThreadPoolExecutor(8) as pool:
        with tracer.run() as run, run.step("outer"):
            bound = tracer.with_context(meet)
        assert len(list(pool.map(bound, range(8)))) == 8
    outer, *others = the_run().steps
    assert outer.name == "outer"
    assert [(step.name, step.parent_step_id) for step in others] == [("meet", 1)] * 8


def test_other_variables_come_along_and_stay_there(tracer: AgentTracer) -> None:
    """A function sees the caller's context variables, and what it sets nobody else sees; nor does it see that later."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    variable.set("caller's")

    def change() -> str:
        before = variable.get()
        variable.set("changed")
        return before

    bound = tracer.with_context(change)
    assert bound.__name__ == "change"
    with ThreadPoolExecutor(1) as pool:
        assert [pool.submit(bound).result(DEADLOCK_S) for _ in range(2)] == ["caller's"] * 2
    assert variable.get() == "caller's"


def test_a_bound_function_gives_and_raises_what_it_did(tracer: AgentTracer) -> None:
    def divide(number: int, *, by: int) -> float:
        return number / by

    bound = tracer.with_context(divide)
    assert bound(1, by=2) == 0.5
    assert inspect.signature(bound) == inspect.signature(divide)
    with pytest.raises(ZeroDivisionError):
        bound(1, by=0)
    with pytest.raises(TypeError):
        bound(1)  # type: ignore[call-arg]


def test_generators_have_their_context_only_while_they_run(tracer: AgentTracer, the_run: TheRun, work: Work) -> None:
    """What a bound generator does stands below the step around its binding, what its consumer does elsewhere."""

    def stream() -> Iterator[str]:
        yield work()
        yield work()

    async def async_stream() -> AsyncIterator[str]:
        yield work()
        yield work()

    async def collect(items: AsyncIterator[str]) -> list[str]:
        assert current_step().name == ""
        return [item + current_step().name async for item in items]

    with tracer.run() as run, run.step("outer"):
        bound, async_bound = tracer.with_context(stream), tracer.with_context(async_stream)
    assert inspect.isgeneratorfunction(bound)
    assert inspect.isasyncgenfunction(async_bound)
    assert [item + current_step().name for item in bound()] == ["work", "work"]
    assert asyncio.run(collect(async_bound())) == ["work", "work"]
    assert [step.parent_step_id for step in the_run().steps] == [None, 1, 1, 1, 1]


# ── executors ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_executor_carries_the_context_of_each_call(tracer: AgentTracer, memory: InMemoryBackend, work: Work) -> None:
    """submit, map and run_in_executor; the only worker was started by the first of them."""
    with tracer.executor(ThreadPoolExecutor(1)) as pool:
        for number in range(2):
            with tracer.run(run_id=str(number)) as run, run.step("outer"):
                pool.submit(work).result(DEADLOCK_S)
                assert list(pool.map(lambda item: work(), [1, 2], timeout=DEADLOCK_S)) == ["work"] * 2

                async def main() -> None:
                    await asyncio.get_running_loop().run_in_executor(pool, work)

                asyncio.run(main())
        assert pool.submit(current_run).result(DEADLOCK_S).started is False
    assert [[step.parent_step_id for step in run.steps] for run in memory.runs()] == [[None, 1, 1, 1, 1]] * 2


def test_an_executor_is_the_one_that_it_was(tracer: AgentTracer) -> None:
    plain = ThreadPoolExecutor(3, thread_name_prefix="mine")
    pool = tracer.executor(plain)
    assert isinstance(pool, TracedExecutor)
    assert pool._max_workers == 3
    assert pool.submit(lambda: threading.current_thread().name).result(DEADLOCK_S).startswith("mine")
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 // 0).result(DEADLOCK_S)
    pool.shutdown(cancel_futures=True)
    with pytest.raises(RuntimeError):
        plain.submit(int)


class Own(Executor):
    """Calls at once, and is shut down in words of its own."""

    killed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future

    def shutdown(self, wait: bool = True, kill_workers: bool = False) -> None:  # type: ignore[override]
        self.killed = kill_workers


def test_an_executor_is_shut_down_in_its_own_words(tracer: AgentTracer) -> None:
    """Also where it does not know all that those of the standard library know."""
    own = Own()
    with tracer.executor(own) as pool:
        assert pool.submit(abs, -1).result() == 1
    assert not own.killed
    pool.shutdown(kill_workers=True)
    assert own.killed


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor, Own])
def test_an_executor_is_taken_for_what_it_was(tracer: AgentTracer, kind: type[Executor]) -> None:
    assert isinstance(tracer.executor(kind()), kind)


def test_an_executor_as_the_default_one_of_a_loop(tracer: AgentTracer, the_run: TheRun, work: Work) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(tracer.executor(ThreadPoolExecutor(1)))  # type: ignore[arg-type]
        with tracer.run():
            await loop.run_in_executor(None, work)

    asyncio.run(main())
    assert [step.name for step in the_run().steps] == ["work"]


@pytest.mark.parametrize("way", ["with_context", "executor"])
def test_a_callable_that_does_not_let_itself_be_looked_at(tracer: AgentTracer, the_run: TheRun, way: str) -> None:
    """It is called all the same, in the run."""

    class Hostile:
        def __call__(self, number: int) -> int:
            with current_run().step("called"):
                return number

        def __getattr__(self, name: str) -> Any:
            raise ZeroDivisionError

    with ThreadPoolExecutor(1) as pool, tracer.run():
        if way == "executor":
            assert tracer.executor(pool).submit(Hostile(), 5).result(DEADLOCK_S) == 5
        else:
            assert pool.submit(tracer.with_context(Hostile()), 5).result(DEADLOCK_S) == 5
    assert [step.name for step in the_run().steps] == ["called"]
    assert tracer.stats()["failed: with_context"] >= 1


# ── several agents at once ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("grouped", [gathers, groups_tasks], ids=["gather", "TaskGroup"])
def test_sub_agents_at_the_same_time(tracer: AgentTracer, the_run: TheRun, grouped: Any) -> None:
    """Each has its own steps, although they take turns."""
    turns: list[str] = []

    @tracer.tool
    async def look(name: str) -> None:
        for _ in range(3):
            turns.append(name)
            await asyncio.sleep(0)

    @tracer.agent
    async def helper(name: str) -> str:
        await look(name)
        with current_run().step("think", name):
            await look(name)
        return name

    @tracer.agent
    async def chief(question: str) -> None:
        names = ["a", "b", "c"]
        if grouped is groups_tasks and sys.version_info >= (3, 11):
            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(helper(name))
        else:
            assert await asyncio.gather(*map(helper, names)) == names

    asyncio.run(chief("?"))
    assert turns[:6] == ["a", "b", "c"] * 2
    run = the_run()
    assert [step.name for step in run.steps] == ["helper"] * 3
    for name, step in zip("abc", run.steps, strict=True):
        assert step.run is not None
        assert (step.run.parent_run_id, step.run.final_output) == (run.run_id, name)
        inner = [(s.name, s.parent_step_id, s.input) for s in step.run.steps]
        assert inner == [("look", None, {"name": name}), ("think", None, name), ("look", 2, {"name": name})]


# ── parents that are given ───────────────────────────────────────────────────────────────────────────────────────────


def in_another_thread(call: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(DEADLOCK_S)


def test_callbacks_in_any_thread(tracer: AgentTracer, the_run: TheRun) -> None:
    """Start and end come from different threads, none of which has a context; nothing is ever attached."""
    run = tracer.run(run_id="r")
    in_another_thread(run.start)
    outer = run.step("outer")
    in_another_thread(outer.start)
    call = run.model_call("gpt-4", parent=outer)
    in_another_thread(call.start)
    inner = tracer.run(agent_name="helper", parent=outer)
    in_another_thread(inner.start)
    deep = inner.step("deep")
    in_another_thread(deep.start)
    assert inner.parent_run_id == "r"
    for handle in (run, outer, call, inner, deep):  # those above first
        in_another_thread(handle.end)
    read = the_run()
    assert [(step.name, step.parent_step_id) for step in read.steps] == [
        ("outer", None),
        ("gpt-4", 1),
        ("helper", 1),
    ]
    helper = read.steps[2].run
    assert helper is not None
    assert (helper.parent_run_id, [step.name for step in helper.steps]) == ("r", ["deep"])
    assert "parent ignored" not in tracer.stats()


def test_callbacks_that_have_only_ids(tracer: AgentTracer, the_run: TheRun) -> None:
    """The id of an open run is a parent; that of another tracer's run, or of one that has ended, is none."""
    outer = tracer.start_run(run_id="outer")
    inner = in_another_thread(lambda: tracer.start_run(agent_name="helper", parent=outer))
    tracer.log_step(inner, tool_name="deep")
    other = AgentTracer(backend=InMemoryBackend())
    with other.run(parent=outer) as apart:
        assert apart.parent_run_id is None
    assert tracer.inject(context=inner)["traceparent"].split("-")[2] in inner
    in_another_thread(lambda: tracer.end_run(inner))
    tracer.end_run(outer)
    (step,) = the_run().steps
    assert step.run is not None
    assert (step.run.parent_run_id, [deep.name for deep in step.run.steps]) == ("outer", ["deep"])
    tracer.start_run(parent=outer)
    assert [each.stats().get("parent ignored") for each in (tracer, other)] == [1, 1]


@pytest.mark.parametrize("kind", ["step", "agent"])
def test_numbers_are_in_order_of_start(
    tracer: AgentTracer, the_run: TheRun, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Of a step that has looked at the clock, and another one that starts in another thread just then."""
    run = tracer.run()
    run.start()
    begin = {"step": lambda: run.step("other").start(), "agent": lambda: tracer.run(parent=run).start()}[kind]
    threads: list[threading.Thread] = []
    clock = time.time_ns

    def slow_clock() -> int:
        now_ns = clock()
        if not threads:
            threads.append(threading.Thread(target=begin))
            threads[0].start()
            threads[0].join(0.2)  # it cannot come to its end, if all is well
        return now_ns

    monkeypatch.setattr(time, "time_ns", slow_clock)
    run.step("first").start()
    monkeypatch.undo()
    threads[0].join(DEADLOCK_S)
    run.end()
    assert [(step.name == "first", step.index) for step in the_run().steps] == [(True, 0), (False, 1)]


def forms_of(run: ActiveRun, step: ActiveStep) -> dict[str, Any]:
    span = step.span
    return {
        "step": step,
        "span": span,
        "span context": span.get_span_context(),
        "context": trace.set_span_in_context(span),
        "carrier": {"Traceparent": f"00-{step.trace_id}-{step.span_id}-01"},
    }


@pytest.mark.parametrize("form", ["step", "span", "span context", "context", "carrier"])
def test_every_form_of_a_parent(tracer: AgentTracer, memory: InMemoryBackend, form: str) -> None:
    """The parent that is given goes before the current one, for runs and steps alike."""
    with tracer.run(run_id="above") as above, above.step("outer") as outer:
        given = forms_of(above, outer)[form]
    with tracer.run(run_id="elsewhere"):
        with tracer.run(agent_name="sub", parent=given) as sub:
            assert trace.get_current_span() is sub.span
        started = tracer.start_run(agent_name="started", parent=given)
        tracer.end_run(started)
        with above.step("late", parent=given) as late:
            assert (current_run(), current_step()) == (above, late)
    first, second = memory.runs()
    assert [(step.name, step.parent_step_id) for step in first.steps] == [
        ("outer", None),
        ("sub", 1),
        ("started", 1),
        ("late", 1),
    ]
    assert second.steps == ()


@pytest.mark.parametrize("given", ["a text", 5, object(), False, ["x"], int])
def test_what_is_no_parent(
    tracer: AgentTracer, the_run: TheRun, given: object, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted, reported once, and the current context used."""
    with tracer.run(run_id="r") as run, run.step("outer"):
        with tracer.run(agent_name="sub", parent=given), run.step("inner", parent=given):
            pass
        in_another_thread(run.step("threaded", parent=given).__enter__).__exit__(None, None, None)
    assert [step.name for step in the_run().steps] == ["outer", "sub", "inner", "threaded"]
    assert tracer.stats()["parent ignored"] == 3
    assert len(caplog.records) == 1


def test_a_parent_that_has_not_started_is_none(tracer: AgentTracer, the_run: TheRun) -> None:
    with tracer.run() as run:
        with run.step("inner", parent=run.step("never")):
            pass
        with run.step("other", parent=tracer.run()):
            pass
    assert [(step.name, step.parent_step_id) for step in the_run().steps] == [("inner", None), ("other", None)]
    assert tracer.stats()["parent ignored"] == 2


def test_a_parent_whose_look_raises(tracer: AgentTracer, the_run: TheRun) -> None:
    class Hostile(dict[str, str]):
        def items(self) -> Any:
            raise ZeroDivisionError

    with tracer.run() as run, run.step("inner", parent=Hostile(a="b")):
        pass
    assert [step.name for step in the_run().steps] == ["inner"]
    assert tracer.stats()["failed: parent"] == 1


def test_bound_fields_reach_below_a_given_parent(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """What `bind` and others put into the current context stays where a parent is given."""
    key = otel_context.create_key("other")
    token = otel_context.attach(otel_context.set_value(key, 1))
    with tracer.bind(session_id="s"), tracer.run(parent={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}) as run:
        assert otel_context.get_value(key) == 1
        with tracer.run(agent_name="inner"):
            pass
    otel_context.detach(token)
    assert run.run_id == f"{'a' * 32}-{run.span_id}"
    assert {read.session_id for read in memory.runs()[0].walk()} == {"s"}
