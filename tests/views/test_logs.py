"""`show` and `explain` have the lines of logs below their step, a line each, escaped and bounded."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from otel_agent_trace import AgentRun, AgentTracer, FileBackend, LogEntry, load_run
from otel_agent_trace.cli import main
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.runs import run_to_spans


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a run of one step that has seven lines, and one line itself."""
    memory = tmp_path / "plain.jsonl"
    with AgentTracer(FileBackend(memory)) as tracer, tracer.run(agent_name="weather") as active, active.step("search"):
        pass
    run = load_run(memory)
    begun = run.steps[0].started_at_ns
    entries = tuple(
        LogEntry(at_ns=begun + 1_500_000_000, severity="WARN", logger="a.b", body=f"line {number}\n\x1b[31mred")
        for number in range(7)
    )
    step = msgspec.structs.replace(run.steps[0], logs=entries)
    failed = LogEntry(
        at_ns=run.started_at_ns, severity="ERROR", body="failed", attributes={"exception.stacktrace": "Traceback: here"}
    )
    run = msgspec.structs.replace(run, steps=(step,), logs=(failed,))
    path = tmp_path / "logs.jsonl"
    path.write_bytes(otlp_json.encode(run_to_spans(run)) + b"\n")
    assert load_run(path) == run
    return path


def test_show(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "+1.50s WARN a.b: line 0" in shown
    assert "line 4" in shown
    assert "line 5" not in shown
    assert "2 more lines; --full shows them" in shown
    assert "ERROR: failed" in shown
    assert "\x1b" not in shown
    assert main(["show", str(path), "--full"]) == 0
    full = capsys.readouterr().out
    assert "line 6" in full
    assert "Traceback: here" in full
    assert "\x1b" not in full


def test_show_as_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["logs"][0]["body"] == "failed"
    assert AgentRun.from_dict(data) == load_run(path)


def test_explain(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "7 lines" in shown
    assert "log records" in shown
