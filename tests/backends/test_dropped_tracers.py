"""Tracers that a program makes per request and drops without closing them: nothing of them stays, and no span is lost."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentStep, AgentTracer, FileBackend, InMemoryBackend, configure, load_runs
from otel_agent_trace.backends import BackgroundBackend
from otel_agent_trace.closer import CLOSER
from otel_agent_trace.pipeline import Gate, PipelineSpan, SpanSink
from tests.support.waiting import DEADLOCK_S


class Log:
    def __init__(self) -> None:
        self.ended = self.closed = 0


class Sink(SpanSink):
    def __init__(self, log: Log) -> None:
        self.log = log

    def on_end(self, span: PipelineSpan) -> None:
        self.log.ended += 1

    def close(self) -> None:
        self.log.closed += 1


class Store:
    def __init__(self, log: Log) -> None:
        self.log = log

    def start_run(self, run: AgentRun) -> None: ...

    def log_step(self, run_id: str, step: AgentStep) -> None: ...

    def end_run(self, run: AgentRun) -> None:
        self.log.ended += 1

    def close(self) -> None:
        self.log.closed += 1


class Undecided(Gate):
    def decide(self, spans: Any, *, is_over: bool) -> bool | None:
        return None


def request(make: Callable[[], AgentTracer]) -> weakref.ref[AgentTracer]:
    tracer = make()
    with tracer.run(user_input="x"):
        pass
    return weakref.ref(tracer)


def let_all_close() -> None:
    gc.collect()
    assert CLOSER.wait(DEADLOCK_S)
    gc.collect()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


KINDS: dict[str, Callable[[Log], Any]] = {
    "sink": Sink,
    "store": Store,
    "store in the background": lambda log: BackgroundBackend(Store(log)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_backend_is_closed_once_when_nothing_refers_to_it(kind: str) -> None:
    log = Log()
    dropped = request(lambda: AgentTracer(KINDS[kind](log)))
    let_all_close()
    assert (dropped(), log.ended, log.closed) == (None, 1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_backend_that_the_program_still_uses_stays_open(kind: str) -> None:
    log = Log()
    shared = KINDS[kind](log)
    for _ in range(3):
        request(lambda: AgentTracer(shared))
    let_all_close()
    assert (log.ended, log.closed) == (3, 0)
    AgentTracer(shared).close()
    assert log.closed == 1


def test_what_the_gate_holds_is_decided() -> None:
    log = Log()
    request(lambda: AgentTracer(Sink(log), policies=[Undecided()]))
    let_all_close()
    assert (log.ended, log.closed) == (1, 1)


def test_a_tracer_that_is_closed_is_not_closed_again() -> None:
    log = Log()
    with AgentTracer(Sink(log)):
        pass
    let_all_close()
    assert log.closed == 1


def test_a_decorated_function_keeps_its_tracer_and_backend() -> None:
    log = Log()
    answer = AgentTracer(Sink(log)).agent(lambda question: "yes")
    let_all_close()
    assert answer("?") == "yes"
    assert (log.ended, log.closed) == (1, 0)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_files_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    request(lambda: AgentTracer(FileBackend(path)))
    gc.collect()
    before = descriptors()
    for number in range(50):
        make = (
            (lambda: AgentTracer(FileBackend(path)))
            if number % 2
            else lambda: AgentTracer(tracer_provider=configure(file=path, otlp=False))
        )
        assert request(make)() is None
    gc.collect()
    assert descriptors() == before
    assert len(load_runs(path)) == 51


@pytest.mark.parametrize("fds_were_closed", [True, False])
def test_a_number_that_is_another_file_by_now_stays_open(tmp_path: Path, fds_were_closed: bool) -> None:
    """Daemons close all descriptors, and open files of their own under the same numbers."""
    backend = FileBackend(tmp_path / "traces.jsonl")
    tracer = AgentTracer(backend)
    with tracer.run():
        pass
    descriptor = backend._file._descriptor
    assert descriptor is not None
    if fds_were_closed:
        other = os.open(tmp_path / "other", os.O_CREAT | os.O_RDWR)
        os.dup2(other, descriptor)
        os.close(other)
    del tracer, backend
    gc.collect()
    if fds_were_closed:
        os.close(descriptor)
    else:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_collection_within_any_lock_does_not_wait() -> None:
    """A finalizer runs in whatever thread and code allocates: it must neither block nor take locks."""
    entered, leave = threading.Event(), threading.Event()

    class Slow(SpanSink):
        def close(self) -> None:
            entered.set()
            leave.wait(DEADLOCK_S)

    request(lambda: AgentTracer(Slow()))
    gc.collect()  # returns, although the backend is being closed
    assert entered.wait(DEADLOCK_S)
    leave.set()
    let_all_close()


def test_memory_does_not_grow() -> None:
    """All but what the SDK itself registers for forks, which cannot be unregistered, is freed."""
    request(lambda: AgentTracer(InMemoryBackend()))
    gc.collect()
    before = [str(getattr(type(thing), "__module__", "")) for thing in gc.get_objects()]
    for _ in range(50):
        request(lambda: AgentTracer(InMemoryBackend()))
    gc.collect()
    after = [str(getattr(type(thing), "__module__", "")) for thing in gc.get_objects()]
    for package in ("otel_agent_trace", "opentelemetry"):
        assert sum(name.startswith(package) for name in after) <= sum(name.startswith(package) for name in before)


def test_a_file_is_closed_once(tmp_path: Path) -> None:
    """The garbage collector finalizes a file before the tracer that refers to it releases it; its number is reused."""
    tracer = AgentTracer(backend=[FileBackend(tmp_path / "t.jsonl"), Sink(Log())])
    with tracer.run():
        pass
    circle: list[Any] = [tracer]
    circle.append(circle)
    del tracer, circle
    gc.collect()
    descriptors = [os.open(tmp_path / "other", os.O_CREAT | os.O_RDWR) for _ in range(8)]
    assert CLOSER.wait(DEADLOCK_S)
    for descriptor in descriptors:
        os.close(descriptor)  # raises if somebody else has closed it
