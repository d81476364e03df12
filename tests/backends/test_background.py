"""`BackgroundBackend`: a slow `TracerBackend` in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, BackgroundBackend
from tests.support.requirements import needs_fork
from tests.support.waiting import DEADLOCK_S

Recording = Any


def test_the_same_calls_in_another_thread(recording: type[Recording]) -> None:
    """A backend behind Background receives the same, in order, in one other thread; close() waits for it."""

    class Threads(recording):  # type: ignore[misc, valid-type]
        seen: set[int] = set()

        def _note(self, name: str, what: Any) -> None:
            self.seen.add(threading.get_ident())
            super()._note(name, what)

    plain, behind = recording(), Threads()
    tracer = AgentTracer(backend=[plain, BackgroundBackend(behind)])
    for number in range(20):
        with tracer.run(run_id=str(number)) as run, run.step("s"):
            pass
    tracer.close()
    assert behind.calls == plain.calls
    assert len(behind.seen) == 1
    assert threading.get_ident() not in behind.seen
    assert (behind.closed, plain.closed) == (1, 1)


class Gate:
    """A backend that waits until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.ended: list[str] = []

    def start_run(self, run: Any) -> None:
        self.entered.set()
        self.open.wait(DEADLOCK_S)

    def log_step(self, run_id: str, step: Any) -> None:
        pass

    def end_run(self, run: Any) -> None:
        self.ended.append(run.run_id)


def test_the_host_does_not_wait(caplog: pytest.LogCaptureFixture) -> None:
    """A store that hangs costs the host next to nothing; what does not fit is dropped, counted, and reported once."""
    gate = Gate()
    background = BackgroundBackend(gate, max_pending=5, enqueue_timeout_s=0.01)
    tracer = AgentTracer(backend=background)
    for number in range(30):
        with tracer.run(run_id=str(number)) as run, run.step("s"):
            pass
    assert gate.entered.is_set()
    assert gate.ended == []  # the store hangs in its first call still: nobody has waited for it
    dropped = background.stats()
    assert dropped["dropped: start_run"] >= 20
    assert dropped["dropped: end_run"] >= 20
    assert len(caplog.records) == 1
    assert tracer.flush(0.05) is False
    gate.open.set()
    assert tracer.flush(DEADLOCK_S) is True
    assert gate.ended
    assert gate.ended == sorted(gate.ended, key=int)
    tracer.close()


def test_a_store_that_fails(recording: type[Recording], caplog: pytest.LogCaptureFixture) -> None:
    """What the store raises is counted, reported once a kind of call, and does not end the thread."""
    failing = recording(ValueError("x"))
    background = BackgroundBackend(failing)
    tracer = AgentTracer(backend=background)
    for _ in range(3):
        with tracer.run():
            pass
    assert tracer.flush()
    assert len(failing.calls) == 6
    assert sum(background.stats().values()) == 6
    assert len(caplog.records) == 2
    tracer.close()


def test_a_program_that_ends(run_python: Callable[..., Any]) -> None:
    """A program that just ends has passed everything to its store."""
    result = run_python(
        """
        from otel_agent_trace import *
        class Slow:
            def start_run(self, run): pass
            def log_step(self, run_id, step): pass
            def end_run(self, run): print(run.run_id, flush=True)
        tracer = AgentTracer(backend=BackgroundBackend(Slow()))
        for i in range(50):
            with tracer.run(run_id=str(i)): pass
        """
    )
    assert (result.returncode, result.stdout.split()) == (0, [str(i) for i in range(50)]), result.stderr


def test_going_on_after_close(recording: type[Recording]) -> None:
    """Runs after close() are still passed on."""
    backend = recording()
    background = BackgroundBackend(backend)
    tracer = AgentTracer(backend=background)
    background.close()
    with tracer.run(run_id="r"):
        pass
    assert background.flush()
    assert backend.names() == ["start_run r 0", "end_run r 0"]
    background.close()


def test_closing_before_a_store_that_hangs(run_python: Callable[..., Any]) -> None:
    """A program whose store hangs for ever ends all the same, in bounded time."""
    result = run_python(
        """
        import threading
        from otel_agent_trace import *
        from otel_agent_trace.backends import contract
        called = threading.Event()
        class Hanging:
            def start_run(self, run):
                called.set()
                threading.Event().wait()
            def log_step(self, run_id, step): pass
            def end_run(self, run): pass
            def close(self): print("closed while it was called")
        background = BackgroundBackend(Hanging(), max_pending=3, enqueue_timeout_s=0)
        contract._CLOSE_S = 0.1
        tracer = AgentTracer(backend=background)
        for i in range(10):
            with tracer.run(): pass
            called.wait()
        tracer.close()
        print("closed", background.stats()["dropped: waiting at close"])
        """
    )
    assert (result.returncode, result.stdout.split()) == (0, ["closed", "3"]), result.stderr


@pytest.mark.parametrize("answer", [None, True, False, ValueError("x")])
def test_flushing_reaches_the_store(recording: type[Recording], answer: Any) -> None:
    """A store that can be flushed is, after what was queued, with the time that is left, in the thread of all calls."""

    class Flushing(recording):  # type: ignore[misc, valid-type]
        def flush(self, timeout_s: float) -> Any:
            self.calls.append(("flush", (timeout_s, threading.current_thread().name)))
            if isinstance(answer, Exception):
                raise answer
            return answer

    behind = Flushing()
    tracer = AgentTracer(backend=BackgroundBackend(behind))
    with tracer.run():
        pass
    assert tracer.flush(DEADLOCK_S) is (answer is None or answer is True)
    assert [name for name, _ in behind.calls] == ["start_run", "end_run", "flush"]
    left_s, thread = behind.calls[-1][1]
    assert 0 < left_s <= DEADLOCK_S
    assert thread == "otel_agent_trace"
    tracer.close()
    assert behind.closed == 1


@needs_fork
def test_forks(run_python: Callable[..., Any]) -> None:
    """A forked child has a queue and a thread of its own, whatever its parent's threads were doing."""
    result = run_python(
        """
        import os, signal, sys, threading
        from otel_agent_trace import *
        class Own:
            ended = 0
            def start_run(self, run): pass
            def log_step(self, run_id, step): pass
            def end_run(self, run): self.ended += run.run_id == "child"
        own = Own()
        sys.setswitchinterval(1e-5)
        tracer, stop = AgentTracer(backend=BackgroundBackend(own)), threading.Event()
        def work():
            while not stop.is_set():
                with tracer.run() as run, run.step("s"): pass
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        bad = 0
        for _ in range(40):
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                with tracer.run(run_id="child"): pass
                os._exit(0 if tracer.flush(600) and own.ended == 1 else 1)
            bad += os.waitpid(child, 0)[1] != 0
        stop.set()
        for thread in threads: thread.join()
        tracer.close()
        print(bad)
        """
    )
    assert (result.returncode, result.stdout.strip()) == (0, "0"), result.stderr
