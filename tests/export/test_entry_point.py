"""The file exporter is found by name, so that a program without a line about it writes its runs to a file."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_agent_trace import load_runs
from tests.support.processes import ROOT
from tests.support.requirements import cannot_run
from tests.support.waiting import DEADLOCK_S

SCRIPT = """
from opentelemetry import trace
from otel_agent_trace import AgentTracer
with AgentTracer().run(user_input="question", user_id="alice", agent_name="a") as run:
    with run.step("search", {"query": ("a", "b")}) as step:
        step.output = {"found": 1}
    run.final_output = "answer"
attributes = {"user.id": "alice", "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "foreign"}
trace.get_tracer("somebody").start_span("execute_tool foreign", attributes=attributes).end()
"""


@pytest.fixture
def instrument() -> Path:
    """The launcher, where it and our entry point are installed."""
    found = importlib.metadata.entry_points(group="opentelemetry_traces_exporter", name="agent_trace_file")
    if not found:
        cannot_run("the package is not installed: pip install --no-deps -e .")
    program = Path(sys.executable).with_name("opentelemetry-instrument")
    if not program.exists():
        cannot_run("opentelemetry-distro is not installed")
    return program


def run_instrumented(program: Path, folder: Path, **settings: str) -> None:
    """Run the script as `opentelemetry-instrument python script.py`."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OTEL_TRACES_EXPORTER": "agent_trace_file",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "instrumented",
        **settings,
    }
    command = [str(program), sys.executable, str(script)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=DEADLOCK_S)
    assert done.returncode == 0, done.stderr
    assert "rror" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("settings", "file"), [({"OTEL_AGENT_TRACE_FILE": "logs/runs.jsonl"}, "logs/runs.jsonl"), ({}, "traces.jsonl")]
)
def test_exporter_by_name(instrument: Path, tmp_path: Path, settings: dict[str, str], file: str) -> None:
    """Under the launcher of OpenTelemetry the environment alone makes a program write its runs to a file."""
    run_instrumented(instrument, tmp_path, **settings)
    run, foreign = load_runs(tmp_path / file, strict=True)
    assert (run.agent_name, run.user_input, run.final_output, run.service_name) == (
        "a",
        "question",
        "answer",
        "instrumented",
    )
    assert [(step.name, step.input, step.output) for step in run.steps] == [
        ("search", {"query": ("a", "b")}, {"found": 1})
    ]
    assert [step.name for step in foreign.steps] == ["foreign"]
    assert b"alice" not in (tmp_path / file).read_bytes()
    assert (tmp_path / file).stat().st_mode & 0o777 == 0o600
