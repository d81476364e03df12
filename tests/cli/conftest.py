"""Runs in a file, and the command as a person at a terminal of a known size, place and time zone has it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace.cli import main
from otel_agent_trace.model import AgentRun, AgentStep, Message, RunStatus, StepError, StepKind, Usage
from otel_agent_trace.prices import table
from tests.support.export_command import Result
from tests.support.processes import ROOT
from tests.support.sample_runs import write_runs_to
from tests.support.waiting import DEADLOCK_S

BEGAN_NS = 1_795_475_000_000_000_000  # 2026-11-23 23:03:20 UTC


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty folder, 100 columns, no colour, UTC."""
    monkeypatch.chdir(tmp_path)
    for name in ("OTEL_AGENT_TRACE_FILE", "FORCE_COLOR", "OPENAI_API_KEY", "OPENAI_BASE_URL", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr(table, "installed_version", lambda: None)  # what is printed depends on no published price
    monkeypatch.setattr(table, "published_model", lambda provider, name: None)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def run_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Call `main` and see what it returned and wrote."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture
def run_process() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run the command as a process of its own."""

    def call(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
        command = [sys.executable, "-m", "otel_agent_trace.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, env=environment, timeout=DEADLOCK_S, check=False, **options)

    return call


@pytest.fixture
def write_runs(tmp_path: Path) -> Callable[..., Path]:
    """Write runs to a trace file."""

    def write(runs: Sequence[AgentRun], name: str = "traces.jsonl") -> Path:
        return write_runs_to(tmp_path / name, runs)

    return write


@pytest.fixture
def make_step() -> Callable[..., AgentStep]:
    return step


@pytest.fixture
def make_run() -> Callable[..., AgentRun]:
    """A run that began so many seconds after `BEGAN_NS` and took one."""

    def make(run_id: str, after_s: float = 0, **facts: Any) -> AgentRun:
        began = at(after_s * 1000)
        defaults = {"agent_name": "weather", "status": RunStatus.SUCCESS, "ended_at_ns": began + 1_000_000_000}
        return AgentRun(run_id=run_id, started_at_ns=began, **{**defaults, **facts})

    return make


@pytest.fixture
def weather_run() -> AgentRun:
    """A run with everything in it: models, tools, a sub-agent, an inner step, an error, a cut, long values."""
    return AgentRun(
        run_id="4bf92f3577b34da6a3ce929d0e0e4736",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        span_id="00f067aa0ba902b7",
        agent_name="weather",
        user_input="Will it rain in Lyon tomorrow, and should I rather go to Nantes? Please compare the two cities "
        "for a weekend with small children.",
        user_id="hmac:k1:9c1185a5c5e9fc54612808977ee8f548",
        session_id="s-42",
        model="gpt-4o",
        resource={"service.name": "weather-api"},
        status=RunStatus.SUCCESS,
        started_at_ns=at(0),
        ended_at_ns=at(5300),
        final_output="Stay in Lyon (21 °C): Nantes is wetter.\n\n- Lyon: sunny\n- Nantes: showers",
        usage=Usage(input_tokens=2480, output_tokens=212, cache_read_input_tokens=1024),
        config={"temperature": 0.2},
        metadata={"release": "2026.11"},
        steps=(
            step(
                0,
                StepKind.MODEL,
                "gpt-4o",
                2,
                910,
                model="gpt-4o",
                usage=Usage(input_tokens=420, output_tokens=48),
                messages=(
                    text("system", "You are a helpful weather assistant."),
                    text("user", "Will it rain in Lyon tomorrow?"),
                    Message(
                        role="assistant",
                        parts=(
                            {"type": "reasoning", "content": "I need the forecast first."},
                            {"type": "tool_call", "id": "c1", "name": "forecast", "arguments": {"city": "Lyon"}},
                        ),
                    ),
                ),
            ),
            step(
                1,
                StepKind.TOOL,
                "forecast",
                920,
                1340,
                input={"city": "Lyon", "days": 2},
                output={
                    "days": [{"date": "2026-11-23", "sky": "sunny", "high": 21}, {"date": "2026-11-24", "high": 22}],
                    "source": "meteo",
                    "note": "line one\nline two",
                },
            ),
            step(
                2,
                StepKind.AGENT,
                "researcher",
                1395,
                3905,
                input="Compare Lyon and Nantes in spring",
                output="Nantes is wetter.",
                run=_sub_run(),
            ),
            step(3, StepKind.OTHER, "format_answer", 4000, 4100, input="x", output="y"),
            step(
                4,
                StepKind.TOOL,
                "translate",
                4010,
                4050,
                parent_step_id=4,
                input={"text": "Bonjour"},
                output="\n".join(f"line {number}" for number in range(30)),
            ),
            step(5, StepKind.TOOL, "never_ended", 4060, None, input={"id": 7}),
        ),
    )


def _sub_run() -> AgentRun:
    return AgentRun(
        run_id="4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111",
        agent_name="researcher",
        user_input="Compare Lyon and Nantes in spring",
        status=RunStatus.SUCCESS,
        started_at_ns=at(1395),
        ended_at_ns=at(3905),
        final_output="Nantes is wetter.",
        steps=(
            step(
                0,
                StepKind.RETRIEVAL,
                "climate-index",
                1450,
                1800,
                input={"query": "rain lyon nantes", "top_k": 3},
                output=[
                    {"id": "d1", "score": 0.92, "text": "Lyon: 832 mm of rain a year"},
                    {"id": "d2", "score": 0.81, "text": "Nantes: 820 mm a year over many more days"},
                ],
            ),
            step(
                1,
                StepKind.TOOL,
                "fetch_page",
                1500,
                2600,
                input={"url": "https://example.org/nantes"},
                error=StepError(
                    type="httpx.ReadTimeout",
                    message="timed out after 1.0 s",
                    category="timeout",
                    stacktrace='Traceback (most recent call last):\n  File "x.py", line 3, in f\nhttpx.ReadTimeout',
                ),
            ),
        ),
    )


def step(index: int, kind: StepKind, name: str, start_ms: float, end_ms: float | None, **facts: Any) -> AgentStep:
    """A step with times in milliseconds after `BEGAN_NS`."""
    times = {"started_at_ns": at(start_ms), "ended_at_ns": None if end_ms is None else at(end_ms)}
    return AgentStep(**{"step_id": index + 1, "index": index, "kind": kind, "name": name, **times, **facts})


def text(role: str, content: str) -> Message:
    return Message(role=role, parts=({"type": "text", "content": content},))


def at(millis: float) -> int:
    return BEGAN_NS + int(millis * 1_000_000)
