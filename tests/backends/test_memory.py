"""`InMemoryBackend`: what has ended and what is in flight, bounded, read while others write."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_agent_trace import (
    AgentRun,
    AgentStep,
    AgentTracer,
    ConfigurationError,
    InMemoryBackend,
    RunStatus,
    configure,
    iter_runs,
    load_run,
    load_runs,
    pseudonymize_user_id,
)


def test_runs_in_flight() -> None:
    """A run that is going on is there, with its steps, running; then it is the same run, ended."""
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory)
    with tracer.run(user_input="q") as run:
        with run.step("done"):
            pass
        with run.step("going on"):
            (seen,) = memory.runs()
            assert (seen.run_id, seen.status, seen.user_input, seen.ended_at_ns) == (
                run.run_id,
                RunStatus.RUNNING,
                "q",
                None,
            )
            assert [(step.name, step.ended_at_ns is None) for step in seen.steps] == [
                ("done", False),
                ("going on", True),
            ]
    (ended,) = memory.runs()
    assert (ended.status, len(ended.steps)) == (RunStatus.SUCCESS, 2)
    assert [span.name for span in memory.spans()] == ["execute_tool done", "execute_tool going on", "invoke_agent"]


def test_it_is_a_source() -> None:
    """Every reading function takes it."""
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory)
    for name in "ab":
        with tracer.run(run_id=name, agent_name=name):
            pass
    assert memory.runs() == load_runs(memory) == list(iter_runs(memory))
    assert load_run(memory, "a").run_id == "a"
    assert load_run(memory, "last").run_id == "b"
    assert [run.run_id for run in load_runs([memory, memory], agent="b")] == ["b"]


def test_clear() -> None:
    """clear() forgets everything; what was in flight and ends later is kept as it then is."""
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory)
    with tracer.run(run_id="before"):
        pass
    with tracer.run(run_id="during"):
        memory.clear()
        assert (memory.runs(), memory.spans()) == ([], [])
    assert [run.run_id for run in memory.runs()] == ["during"]


def test_max_runs() -> None:
    """Of more runs than are kept the oldest go, whole, and are counted; those in flight stay."""
    memory = InMemoryBackend(max_runs=3)
    tracer = AgentTracer(backend=memory)
    open_id = tracer.start_run(run_id="open")
    for number in range(10):
        with tracer.run(run_id=str(number)) as run, run.step("s"):
            pass
    assert [run.run_id for run in memory.runs()] == ["open", "7", "8", "9"]
    assert all(len(run.steps) == 1 for run in memory.runs()[1:])
    assert memory.stats() == {"kept": 20, "dropped: max_runs": 7}
    assert tracer.stats()["InMemoryBackend: dropped: max_runs"] == 7
    tracer.end_run(open_id)
    assert len(memory.runs()) == 3


@pytest.mark.parametrize("max_runs", [0, -1, 1.5, "3", True])
def test_a_bound_that_is_none(max_runs: Any) -> None:
    """A bound that would keep nothing, or fail at every span, is refused at once."""
    with pytest.raises(ConfigurationError, match="max_runs="):
        InMemoryBackend(max_runs=max_runs)


def test_nothing_is_held_of_what_ended() -> None:
    """Spans that have ended are not held as open."""
    memory = InMemoryBackend(max_runs=5)
    tracer = AgentTracer(backend=memory)
    for _ in range(100):
        with tracer.run() as run, run.step("s"):
            pass
    assert (len(memory._ended), len(memory._open)) == (5, 0)


def test_reading_while_others_write(frequent_switches: None) -> None:
    """Runs are read whole while threads start, write and end spans."""
    memory = InMemoryBackend(max_runs=100)
    tracer = AgentTracer(backend=memory)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with tracer.run(user_input="q") as run:
                for number in range(20):
                    run.span.set_attribute(f"k{number}", number)
                with run.step("s"):
                    run.metadata["a"] = 1

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write) for _ in range(3)]
        try:
            for _ in range(50):
                for run in memory.runs():
                    assert run.user_input == "q"
                    assert len(run.steps) <= 1
        finally:
            stop.set()
        for writer in writers:
            writer.result()
    assert tracer.stats().get("failed: InMemoryBackend") is None


def test_bounded_while_many_write(frequent_switches: None) -> None:
    """The bound holds, and nothing fails, while threads write at once."""
    memory = InMemoryBackend(max_runs=10)
    tracer = AgentTracer(backend=memory)

    def write(_: int) -> None:
        for _ in range(50):
            with tracer.run() as run, run.step("s"):
                pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len(memory.runs()) <= 10
    assert tracer.stats()["runs"] == 400
    assert not [reason for reason in tracer.stats() if reason.startswith("failed")]


def test_under_the_sdks_processor() -> None:
    """Under a processor of the SDK it holds what has ended."""
    memory = InMemoryBackend()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(memory))
    tracer = AgentTracer(tracer_provider=provider)
    with tracer.run() as run, run.step("s"):
        pass
    provider.shutdown()
    assert [len(run.steps) for run in memory.runs()] == [1]


@pytest.mark.parametrize(("mode", "seen"), [("pseudonym", "hmac"), ("plain", "alice"), ("none", None)])
def test_user_ids_of_what_is_open(mode: str, seen: str | None) -> None:
    """A plain user id in somebody else's span is treated from its start on, also one that is set while it is open."""
    seen = pseudonymize_user_id("alice") if seen == "hmac" else seen
    memory, user_ids = InMemoryBackend(), []

    class Own:
        def start_run(self, run: AgentRun) -> None:
            user_ids.append(run.user_id)

        def log_step(self, run_id: str, step: AgentStep) -> None:
            pass

        end_run = start_run

    provider = configure(backends=[memory, Own()], user_ids=mode, otlp=False)  # type: ignore[arg-type]
    agent = {"gen_ai.operation.name": "invoke_agent"}
    tracer = provider.get_tracer("other")
    with tracer.start_as_current_span("a", attributes=agent | {"user.id": "alice"}) as span:
        span.set_attribute("later", 1)
        (run,) = memory.runs()
        assert (run.user_id, run.attributes["later"], run.ended_at_ns) == (seen, 1, None)
    assert user_ids == [seen, seen]
    memory.clear()
    with tracer.start_as_current_span("a", attributes=agent) as span:
        span.set_attribute("user.id", "alice")
        assert memory.runs()[0].user_id == seen
    assert memory.runs()[0].user_id == seen
