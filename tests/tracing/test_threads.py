"""Plain threads: the first step that one loses is reported once, and `configure(threads=True)` carries the context."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, ConfigurationError, InMemoryBackend, configure, current_run, extract, inject
from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.tracing.threads import LostSteps
from tests.support.processes import RunPython
from tests.support.requirements import need_package, needs_fork
from tests.support.waiting import DEADLOCK_S

Tool = Callable[..., Any]


def in_thread(function: Callable[..., Any], *arguments: Any) -> None:
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join(DEADLOCK_S)
    assert not thread.is_alive()


@pytest.fixture
def search(tracer: AgentTracer) -> Tool:
    @tracer.tool
    def search(query: Any = None) -> Any:
        return query

    return search


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The warnings of a process in which no step has been reported yet."""
    monkeypatch.setattr(LostSteps, "is_reported", False)
    monkeypatch.setattr(LostSteps, "diagnostics", Diagnostics())
    caplog.set_level(logging.WARNING, "otel_agent_trace")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "otel_agent_trace"]


# ── lost ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def submitted(tracer: AgentTracer, search: Tool) -> None:
    with tracer.run(), ThreadPoolExecutor() as pool:
        assert list(pool.map(search, range(4))) == [0, 1, 2, 3]


def within_another_function(tracer: AgentTracer, search: Tool) -> None:
    with tracer.run(), ThreadPoolExecutor() as pool:
        list(pool.map(lambda query: search(query), range(4)))


def in_plain_threads(tracer: AgentTracer, search: Tool) -> None:
    with tracer.run():
        in_thread(search)
        in_thread(search)


def in_a_thread_with_a_method(tracer: AgentTracer, search: Tool) -> None:
    class Searching(threading.Thread):
        def run(self) -> None:
            search()

    with tracer.run():
        thread = Searching()
        thread.start()
        thread.join(DEADLOCK_S)


def in_a_timer(tracer: AgentTracer, search: Tool) -> None:
    with tracer.run():
        timer = threading.Timer(0, search)
        timer.start()
        timer.join(DEADLOCK_S)


def in_the_executor_of_a_loop(tracer: AgentTracer, search: Tool) -> None:
    async def answer() -> None:
        async with tracer.run():
            await asyncio.get_running_loop().run_in_executor(None, search)

    asyncio.run(answer())


def in_an_older_pool(tracer: AgentTracer, search: Tool) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(str).result()
        with tracer.run():
            pool.submit(search).result()


def in_a_pool_of_multiprocessing(tracer: AgentTracer, search: Tool) -> None:
    with tracer.run(), ThreadPool(1) as pool:
        pool.map(search, range(2))


def of_a_generator(tracer: AgentTracer, search: Tool) -> None:
    @tracer.agent
    def answer(question: str) -> Any:
        in_thread(search)
        yield question

    assert list(answer("q")) == ["q"]


def of_an_agent_in_a_thread(tracer: AgentTracer, search: Tool) -> None:
    @tracer.agent
    def answer(question: str) -> None:
        in_thread(search)

    in_thread(answer, "q")


def of_an_agent_in_a_pool(tracer: AgentTracer, search: Tool) -> None:
    with ThreadPoolExecutor() as pool:
        pool.submit(submitted, tracer, search).result()


def with_another_tracer(tracer: AgentTracer, search: Tool) -> None:
    with AgentTracer(backend=InMemoryBackend()).run():
        in_thread(search)


@pytest.mark.parametrize(
    "lose",
    [
        submitted,
        within_another_function,
        in_plain_threads,
        in_a_thread_with_a_method,
        in_a_timer,
        in_the_executor_of_a_loop,
        in_an_older_pool,
        in_a_pool_of_multiprocessing,
        of_a_generator,
        of_an_agent_in_a_thread,
        of_an_agent_in_a_pool,
        with_another_tracer,
    ],
)
def test_the_first_lost_step_is_reported(
    tracer: AgentTracer, search: Tool, warnings: Callable[[], list[str]], lose: Callable[..., None]
) -> None:
    """One warning, however many steps are lost, names the function, and each way to carry the context."""
    lose(tracer, search)
    (warning,) = warnings()
    assert warning.startswith(f"step 'search' (function {__name__}.search.<locals>.search) ran in thread ")
    for way in ("TracedExecutor", "with_context", "copy_context().run", "configure(threads=True)"):
        assert way in warning


def test_a_lost_block(tracer: AgentTracer, warnings: Callable[[], list[str]]) -> None:
    """A step of the current run, of which there is none in the thread, is recorded nowhere, and reported too."""

    def work() -> None:
        with current_run().step("look up"):
            pass

    with tracer.run(run_id="r1", agent_name="weather"):
        in_thread(work)
    (warning,) = warnings()
    assert warning.startswith("step 'look up' ran in thread ")
    assert "outside any run, while run r1 of 'weather' is open" in warning


# ── not lost ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def carried(tracer: AgentTracer, search: Tool) -> None:
    with tracer.run(), ThreadPoolExecutor() as pool:
        list(tracer.executor(pool).map(search, range(2)))
        in_thread(tracer.with_context(search))
        in_thread(contextvars.copy_context().run, search)


def carried_by_asyncio(tracer: AgentTracer, search: Tool) -> None:
    async def answer() -> None:
        async with tracer.run():
            await asyncio.to_thread(search)

    asyncio.run(answer())


def after_the_run(tracer: AgentTracer, search: Tool) -> None:
    with tracer.run():
        pass
    in_thread(search)


def in_a_run_of_its_own(tracer: AgentTracer, search: Tool) -> None:
    def work() -> None:
        with tracer.run():
            search()

    with tracer.run():
        in_thread(work)


def below_a_caller(tracer: AgentTracer, search: Tool) -> None:
    def work(headers: dict[str, str]) -> None:
        with extract(headers):
            search()

    with tracer.run():
        in_thread(work, inject())


def beside_a_run_that_has_only_an_id(tracer: AgentTracer, search: Tool) -> None:
    run_id = tracer.start_run()
    in_thread(search)
    tracer.end_run(run_id)


def in_the_main_thread(tracer: AgentTracer, search: Tool) -> None:
    is_open, may_end = threading.Event(), threading.Event()

    def work() -> None:
        with tracer.run():
            is_open.set()
            may_end.wait(DEADLOCK_S)

    thread = threading.Thread(target=work)
    thread.start()
    is_open.wait(DEADLOCK_S)
    search()
    may_end.set()
    thread.join(DEADLOCK_S)


def handled(tracer: AgentTracer, search: Tool) -> Callable[[int], None]:
    """A handler of two requests at once: a run, and a single step meanwhile."""
    is_open, may_end = threading.Event(), threading.Event()

    def handle(request: int) -> None:
        if request == 0:
            with tracer.run():
                is_open.set()
                may_end.wait(DEADLOCK_S)
        else:
            is_open.wait(DEADLOCK_S)
            search()
            may_end.set()

    return handle


def in_a_server_with_a_thread_for_each_request(tracer: AgentTracer, search: Tool) -> None:
    handle = handled(tracer, search)
    threads = [threading.Thread(target=lambda request=request: handle(request)) for request in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLOCK_S)


def in_a_server_with_a_pool(tracer: AgentTracer, search: Tool) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(handled(tracer, search), range(2)))


def in_a_pool_that_did_so_before(tracer: AgentTracer, search: Tool) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(search).result()
        with tracer.run():
            pool.submit(search).result()


@pytest.mark.parametrize(
    "work",
    [
        carried,
        carried_by_asyncio,
        after_the_run,
        in_a_run_of_its_own,
        below_a_caller,
        beside_a_run_that_has_only_an_id,
        in_the_main_thread,
        in_a_server_with_a_thread_for_each_request,
        in_a_server_with_a_pool,
        in_a_pool_that_did_so_before,
    ],
)
def test_no_false_alarm(
    tracer: AgentTracer, search: Tool, warnings: Callable[[], list[str]], work: Callable[..., None]
) -> None:
    """A step that is in its run, or that no open run can own, is not reported."""
    work(tracer, search)
    assert warnings() == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux provides the start of a thread")
def test_a_thread_that_is_older_than_the_run(
    tracer: AgentTracer, search: Tool, warnings: Callable[[], list[str]]
) -> None:
    """A thread that watches something since before the run makes steps of its own."""
    may_begin = threading.Event()

    def watch() -> None:
        may_begin.wait(DEADLOCK_S)
        search()

    thread = threading.Thread(target=watch)
    thread.start()
    run = tracer.run()
    run.start(start_ns=time.time_ns() + 10**9)  # later than the start of the thread by the clock of the system, too
    run.enter()
    may_begin.set()
    thread.join(DEADLOCK_S)
    run.leave()
    run.end()
    assert warnings() == []


@needs_fork
def test_a_run_of_the_parent_process(run_python: RunPython) -> None:
    """A forked child does not report steps beside a run that its parent has open."""
    result = run_python(
        """
        import os, threading
        from otel_agent_trace import AgentTracer, InMemoryBackend
        tracer = AgentTracer(backend=InMemoryBackend())
        search = tracer.tool(lambda: None)
        with tracer.run():
            if (child := os.fork()) == 0:
                thread = threading.Thread(target=search)
                thread.start()
                thread.join()
                os._exit(0)
            print(os.waitpid(child, 0)[1])
        """
    )
    assert (result.stdout, result.stderr) == ("0\n", "")


# ── threads=True ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_threads_carry_the_context(run_python: RunPython) -> None:
    """With threads=True, however often, steps in threads, timers and pools are in the run, each once."""
    need_package("opentelemetry-instrumentation-threading", "test")
    result = run_python(
        """
        import threading
        from concurrent.futures import ThreadPoolExecutor
        from otel_agent_trace import AgentTracer, InMemoryBackend, configure
        memory = InMemoryBackend()
        pool = ThreadPoolExecutor(1)
        pool.submit(str).result()
        for _ in range(2):
            provider = configure(provider=configure(threads=True), backends=[memory] if _ else [], threads=True)
        tracer = AgentTracer(tracer_provider=provider)

        @tracer.tool
        def search(query):
            return query

        with tracer.run():
            list(pool.map(search, range(2)))
            list(tracer.executor(pool).map(search, range(2, 4)))
            for thread in (threading.Thread(target=search, args=(4,)), threading.Timer(0, search, (5,))):
                thread.start()
                thread.join()
        pool.submit(search, 6).result()
        print([sorted(step.input["query"] for step in run.steps) for run in memory.runs()])
        """
    )
    assert (result.stdout, result.stderr) == ("[[0, 1, 2, 3, 4, 5], [6]]\n", "")


def test_threads_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error names the extra to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.threading", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'otel-agent-trace\[threads\]'"):
        configure(threads=True)
