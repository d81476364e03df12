"""Several backends at once."""

from __future__ import annotations

import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import (
    AgentRun,
    AgentSpanProcessor,
    AgentStep,
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    configure,
    load_runs,
)

Recording = Any


def test_all_receive_the_same(tmp_path: Path, recording: type[Recording]) -> None:
    """Memory, two files and a backend of one's own have the same runs."""
    memory, own = InMemoryBackend(), recording()
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    with AgentTracer(backend=[memory, *map(FileBackend, paths), own]) as tracer:
        with pytest.raises(ValueError), tracer.run(user_input={"q": (1, 2)}) as run, run.step("s", {1: b"x"}):
            raise ValueError("x")
    runs = memory.runs()
    assert runs == load_runs(paths[0]) == load_runs(paths[1]) == [own.calls[-1][1]]


class Broken(InMemoryBackend):
    """A backend that fails at every call."""

    def fail(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("broken")

    on_start = on_end = flush = close = fail  # type: ignore[assignment]


def test_one_that_always_raises(caplog: pytest.LogCaptureFixture) -> None:
    """A backend that fails at every call is counted each time, logged once, and costs the others nothing."""
    one, two = InMemoryBackend(), InMemoryBackend()
    tracer = AgentTracer(backend=[one, Broken(), two])
    for _ in range(5):
        with tracer.run() as run, run.step("s"):
            pass
    assert len(one.runs()) == len(two.runs()) == 5
    assert tracer.stats()["failed: Broken"] == 20
    assert [record.getMessage() for record in caplog.records] == [
        "Broken failed: RuntimeError: broken (logged once)",
    ]
    assert tracer.flush() is False
    tracer.close()
    assert tracer.stats()["failed: Broken.close"] == 1


class Late(Exception):
    """What a signal handler of the program raises."""


class Signalled:
    """A backend that is interrupted by a signal while it receives something."""

    wanted = False

    def start_run(self, run: AgentRun) -> None:
        if self.wanted:
            signal.raise_signal(signal.SIGINT)

    def log_step(self, run_id: str, step: AgentStep) -> None:
        self.start_run(None)  # type: ignore[arg-type]

    end_run = start_run


class Handler:
    """A signal handler that raises."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __call__(self, *args: object) -> None:
        raise self.error

    def method(self, *args: object) -> None:
        self(*args)


@pytest.fixture
def of_sigint() -> Iterator[Callable[[Any], Any]]:
    """Sets the handler of SIGINT, for one test."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (signal.default_int_handler, KeyboardInterrupt),
        (lambda *_: sys.exit(3), SystemExit),
        (Handler(Late), Late),
        (Handler(KeyboardInterrupt).method, KeyboardInterrupt),
        (functools.partial(Handler(TimeoutError).method, 1), TimeoutError),
    ],
    ids=["Ctrl-C", "sys.exit", "object", "method", "partial"],
)
def test_an_interrupt_while_one_receives(
    of_sigint: Callable[[Any], Any], tmp_path: Path, handler: Any, error: type[BaseException]
) -> None:
    """What a signal handler raises in the midst of one backend goes on to the program, when the others have received it."""
    own, file = Signalled(), FileBackend(tmp_path / "t.jsonl")
    tracer = AgentTracer(backend=[own, file])
    of_sigint(handler)
    own.wanted = True
    with pytest.raises(error):
        with tracer.run(run_id="r"):
            pytest.fail("the interrupt at the start was swallowed")
    own.wanted = False
    run = tracer.run(run_id="s")
    run.start()
    own.wanted = True
    with pytest.raises(error):
        run.end()
    assert "s" in [read.run_id for read in file.runs()]
    assert not any(reason.startswith("failed") for reason in tracer.stats())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), Late()])
@pytest.mark.parametrize("in_thread", [False, True])
def test_a_backend_that_wants_the_program_to_end(
    recording: type[Recording], tmp_path: Path, error: BaseException, in_thread: bool
) -> None:
    """What looks like an interrupt but is a backend's own doing is a failure like any other."""
    own, file = recording(error), FileBackend(tmp_path / "t.jsonl")
    tracer = AgentTracer(backend=[own, file])
    came: list[str] = []

    def program() -> None:
        with tracer.run(run_id="r"):
            came.append("inside")
        came.append("after")

    if in_thread:
        thread = threading.Thread(target=program)
        thread.start()
        thread.join()
    else:
        program()
    assert came == ["inside", "after"]
    assert [run.run_id for run in file.runs()] == ["r"]
    assert tracer.stats()["Recording: failed: Recording.end_run"] == 1


def test_sys_exit_of_a_backend() -> None:
    """`sys.exit` of a backend raises without a raise statement of Python's; no handler of a signal can have done it."""

    class Exiting(Signalled):
        def start_run(self, run: AgentRun) -> None:
            sys.exit(5)

        end_run = start_run

    tracer = AgentTracer(backend=Exiting())
    with tracer.run():
        pass
    assert tracer.stats()["Exiting: failed: Exiting.end_run"] == 1


def test_one_backend_of_two_providers(tmp_path: Path) -> None:
    """One file and one memory may be shared by several tracers and providers."""
    memory, file = InMemoryBackend(), FileBackend(tmp_path / "t.jsonl")
    tracers = [
        AgentTracer(backend=[memory, file]),
        AgentTracer(tracer_provider=configure(backends=[memory, file], otlp=False)),
    ]
    for number, tracer in enumerate(tracers):
        with tracer.run(run_id=str(number)):
            pass
    assert [run.run_id for run in memory.runs()] == [run.run_id for run in file.runs()] == ["0", "1"]


def test_configured_twice() -> None:
    """A provider that is configured twice with different backends feeds both."""
    one, two = InMemoryBackend(), InMemoryBackend()
    provider = configure(backends=[one], otlp=False)
    configure(provider=provider, backends=[two], otlp=False)
    with AgentTracer(tracer_provider=provider).run():
        pass
    assert one.runs() == two.runs()
    assert len(one.runs()) == 1


def test_a_processor_without_backends() -> None:
    """A processor that feeds nobody is harmless."""
    provider = configure(otlp=False)
    provider.add_span_processor(AgentSpanProcessor())
    with AgentTracer(tracer_provider=provider).run() as run:
        assert run.recording
    assert provider.force_flush()
