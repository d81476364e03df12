"""What could not be kept is counted by reason: kept and failed together are the spans that ended."""

from __future__ import annotations

import json
import os
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_agent_trace import AgentTracer, FileBackend, load_runs
from tests.support.processes import run_code

FULL = """
    import json, resource
    from otel_agent_trace import AgentTracer, FileBackend

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    with AgentTracer(FileBackend("t.jsonl")) as tracer:
        for number in range(20):
            if number == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, limit))
            if number == 15:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            with tracer.run(user_input=number) as run, run.step("search", {"text": "x" * 2000}):
                pass
        print(json.dumps(tracer.stats()))
"""


def counted(stats: dict[str, int], name: str = "FileBackend: ") -> tuple[int, int]:
    """Return the numbers of spans kept, and failed."""
    failed = sum(number for reason, number in stats.items() if reason.startswith(f"{name}failed: "))
    return stats.get(f"{name}kept", 0), failed


def test_a_full_disk(tmp_path: Path) -> None:
    """What a limit on the size of files refuses is counted by the reason of the system, and what is kept is read."""
    result = run_code(FULL, tmp_path)
    stats = json.loads(result.stdout)
    kept, failed = counted(stats)
    assert kept + failed == stats["runs"] + stats["steps"] == 40
    assert failed > 0
    assert stats["FileBackend: failed: File too large"] == failed
    spans = sum(1 + len(run.steps) for run in load_runs(tmp_path / "t.jsonl"))
    assert spans >= kept
    assert result.stderr.count("File too large") <= 2  # once for the file, once for the journal


def test_a_path_that_becomes_a_pipe(tmp_path: Path) -> None:
    """Nothing is written to a pipe, on which a program could wait for ever."""
    path = tmp_path / "t.jsonl"
    with AgentTracer(FileBackend(path)) as tracer:
        with tracer.run():
            pass
        path.unlink()
        os.mkfifo(path)
        with tracer.run():
            pass
        stats = tracer.stats()
    assert counted(stats) == (1, 1)


def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    """Starts that the journal could not take have "started" in their key; the spans are kept when they end."""
    path = tmp_path / "t.jsonl"
    (tmp_path / "t.jsonl.open").write_bytes(b"no folder")
    with AgentTracer(FileBackend(path)) as tracer:
        with tracer.run() as run, run.step("search"):
            pass
        stats = tracer.stats()
    assert counted(stats) == (2, 0)
    assert sum(number for reason, number in stats.items() if "started not journaled" in reason) == 2


def test_spans_of_a_provider(tmp_path: Path) -> None:
    """Spans that the SDK's own processor exports are counted alike."""
    path = tmp_path / "t.jsonl"
    backend = FileBackend(path)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(backend))
    tracer = provider.get_tracer("t")
    for number in range(4):
        if number == 2:
            path.unlink()
            path.mkdir()
        with tracer.start_as_current_span("s"):
            pass
    assert counted(backend.stats(), "") == (2, 2)
