"""Several backends at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentSpanProcessor, AgentTracer, FileBackend, InMemoryBackend, configure, load_runs

Recording = Any


def test_all_are_told_the_same(tmp_path: Path, recording: type[Recording]) -> None:
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

    started = keep = export = shutdown = force_flush = fail  # type: ignore[assignment]


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
        "Broken failed: RuntimeError: broken (said once)",
    ]
    assert tracer.flush() is False
    tracer.close()
    assert tracer.stats()["failed: Broken.shutdown"] == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_while_one_is_told(recording: type[Recording], tmp_path: Path, error: BaseException) -> None:
    """Ctrl-C in the midst of one backend goes on to the program, when the others have been told."""
    own, file = recording(error), FileBackend(tmp_path / "t.jsonl")
    tracer = AgentTracer(backend=[own, file])
    with pytest.raises(type(error)) as raised:
        with tracer.run(run_id="r") as run:
            pytest.fail("the interrupt at the start was swallowed")
    own.error = None
    assert raised.value is error
    run = tracer.run(run_id="s")
    run.start()
    own.error = error
    with pytest.raises(type(error)):
        run.end()
    assert "s" in [read.run_id for read in file.runs()]


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
