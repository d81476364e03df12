"""Nothing is silent: what every backend kept, and what was lost where and why, is counted, and reported once a cause."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult

from otel_agent_trace import AgentSpanProcessor, AgentTracer, FileBackend, InMemoryBackend, load_runs


def trace(tracer: AgentTracer, count: int = 1) -> None:
    """Runs of one step."""
    for _ in range(count):
        with tracer.run() as run, run.step("s"):
            pass


class Exporter(SpanExporter):
    """Takes spans until its test says stop."""

    def __init__(self) -> None:
        self.result = SpanExportResult.SUCCESS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self.result


def test_what_each_backend_kept(tmp_path: Path, recording: Any) -> None:
    """Every kind of backend says how many spans it took, in the same word; of one class they are added up."""
    backends = [
        InMemoryBackend(),
        FileBackend(tmp_path / "a.jsonl"),
        FileBackend(tmp_path / "b.jsonl"),
        recording(),
        Exporter(),
    ]
    tracer = AgentTracer(backend=backends)
    trace(tracer, 3)
    assert tracer.stats() == {
        "runs": 3,
        "steps": 3,
        "InMemoryBackend: kept": 6,
        "FileBackend: kept": 12,
        "Recording: kept": 6,
        "Exporter: kept": 6,
    }


@pytest.mark.parametrize("processor", [SimpleSpanProcessor, BatchSpanProcessor])
def test_what_was_kept_under_the_sdks_processors(tmp_path: Path, processor: Callable[[Any], Any]) -> None:
    """Likewise where the SDK hands on the spans."""
    file, memory = FileBackend(tmp_path / "t.jsonl"), InMemoryBackend()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor(file))
    provider.add_span_processor(processor(memory))
    trace(AgentTracer(tracer_provider=provider), 3)
    provider.shutdown()
    assert (file.stats(), memory.stats()) == ({"kept": 6}, {"kept": 6})


def test_what_fails_is_not_kept(recording: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A span is kept or failed, never both; and each cause is reported once."""
    exporter = Exporter()
    exporter.result = SpanExportResult.FAILURE
    tracer = AgentTracer(backend=[exporter, recording(error=ValueError("no"))])
    trace(tracer, 5)
    exporter.result = SpanExportResult.SUCCESS
    trace(tracer)
    assert tracer.stats() == {
        "runs": 6,
        "steps": 6,
        "failed: Exporter": 10,
        "Exporter: kept": 2,
        "Recording: failed: Recording.start_run": 6,
        "Recording: failed: Recording.log_step": 6,
        "Recording: failed: Recording.end_run": 6,
    }
    assert len(caplog.records) == 4


@pytest.mark.parametrize("through", ["ours", "the SDK's"])
def test_a_disk_that_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, through: str
) -> None:
    """Spans are lost while the disk fails, counted by what the system's error, reported once a cause; later ones are kept."""
    path = tmp_path / "t.jsonl"
    file = FileBackend(path)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(AgentSpanProcessor(file) if through == "ours" else SimpleSpanProcessor(file))
    tracer = AgentTracer(tracer_provider=provider)
    trace(tracer, 2)
    for code, number in ((errno.ENOSPC, 5), (errno.EIO, 3), (errno.ENOSPC, 1)):
        with monkeypatch.context() as patch:

            def fail(descriptor: int, data: bytes, code: int = code) -> int:
                raise OSError(code, os.strerror(code))

            patch.setattr(os, "write", fail)
            trace(tracer, number)
    trace(tracer, 2)
    assert file.stats() == {"kept": 8, "failed: No space left on device": 12, "failed: Input/output error": 6}
    assert len(load_runs(path)) == 4
    assert [record.getMessage() for record in caplog.records] == [
        f"could not write spans to {path}: {reason}; they are lost"
        for reason in ("No space left on device", "Input/output error")
    ]


def test_a_write_that_is_always_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes only a part, again and again, is one reason; what it took is not read as spans."""
    path = tmp_path / "t.jsonl"
    file = FileBackend(path)
    tracer = AgentTracer(backend=file)
    trace(tracer)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:10]))
        trace(tracer, 2)
    trace(tracer)
    assert file.stats() == {"kept": 4, "failed: the disk took only a part": 4}
    assert len(load_runs(path, on_problem=lambda problem: None)) == 2


def test_a_folder_that_comes_back(tmp_path: Path) -> None:
    """While a file stands where the folder was, spans are lost and counted; then they are kept again."""
    folder = tmp_path / "logs"
    file = FileBackend(folder / "t.jsonl")
    tracer = AgentTracer(backend=file)
    trace(tracer)
    shutil.rmtree(folder)
    folder.write_text("in the way")
    trace(tracer, 2)
    folder.unlink()
    trace(tracer)
    lost = {reason: number for reason, number in file.stats().items() if reason.startswith("failed")}
    assert (file.stats()["kept"], list(lost.values())) == (4, [4])
    assert len(load_runs(folder / "t.jsonl")) == 1


def test_runs_after_close(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Runs of a tracer that was closed are counted, reported once, and kept if the file takes them."""
    path = tmp_path / "t.jsonl"
    tracer = AgentTracer(backend=FileBackend(path))
    trace(tracer)
    tracer.close()
    trace(tracer, 3)
    assert tracer.stats() == {
        "runs": 4,
        "steps": 4,
        "after close": 3,
        "FileBackend: kept": 8,
        "FileBackend: after close": 6,
    }
    assert len(caplog.records) == 1
    assert len(load_runs(path)) == 4


class RecordOnly(Sampler):
    """Records without sampling."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        return "record only"


def test_what_is_not_sampled(tmp_path: Path) -> None:
    """Runs and steps that a sampler drops are counted by the tracer, or by the processor that sees them."""
    memory = InMemoryBackend()
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(AgentSpanProcessor(memory))
    tracer = AgentTracer(tracer_provider=provider)
    trace(tracer, 2)
    assert tracer.stats() == {"runs": 2, "steps": 2, "dropped: not recorded": 4}
    provider = TracerProvider(sampler=RecordOnly(), shutdown_on_exit=False)
    processor = AgentSpanProcessor(memory)
    provider.add_span_processor(processor)
    trace(AgentTracer(tracer_provider=provider), 2)
    assert processor.stats() == {"dropped: span not sampled": 4}
    assert memory.runs() == []


def test_a_span_that_somebody_else_ends() -> None:
    """What is set on a step after its span was ended behind the tracer's back is lost, and that is counted."""
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory)
    with tracer.run() as run, run.step("s") as step:
        step.span.end()
        step.output = "lost"
    assert tracer.stats() == {"runs": 1, "steps": 1, "dropped: not recorded": 1, "InMemoryBackend: kept": 2}
    assert memory.runs()[0].steps[0].output is None
