"""`explain`: where each fact of a run came from, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, SpanRecord
from otel_agent_trace.formats import otlp_json

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    agent = {
        "openinference.span.kind": "AGENT",
        "agent.name": "weather",
        "input.value": "Will it rain in Lyon tomorrow, or in Nantes?",
        "mood": "good",
    }
    tool = {"openinference.span.kind": "TOOL", "tool.name": "fore\x1b[31mcast", "output.value": "sun\x1b]0;x\x07"}
    spans = [
        SpanRecord(TRACE, "00f067aa0ba902b7", None, "weather.run", 1_000_000, 9_000_000, agent),
        SpanRecord(TRACE, "00f067aa0ba902b8", "00f067aa0ba902b7", "a\x1b[0m", 2_000_000, 3_000_000, tool),
        SpanRecord(TRACE, "00f067aa0ba902b9", "00f067aa0ba902b8", "GET /", 2_000_000, 3_000_000, {"http.route": "/"}),
    ]
    path = tmp_path / "foreign.jsonl"
    path.write_bytes(otlp_json.encode(spans).rstrip(b"\n") + b"\n")
    return path


def test_as_a_table(run_command: Callable[..., Any], foreign: Path) -> None:
    result = run_command("explain", foreign)
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        "weather  success  8.0ms\n"
        f"run {TRACE}  read as openinference\n"
        "  fact        value                     read from                of the span\n"
        "  kind        agent                     openinference.span.kind  00f067aa0ba902b7 weather.run\n"
        "  agent name  weather                   agent.name               00f067aa0ba902b7 weather.run\n"
        "  user input  Will it rain in Lyon to…  input.value              00f067aa0ba902b7 weather.run\n"
        "  status      success                   (no error)\n"
        "\n"
        "1 tool fore\\x1b[31mcast  1.0ms  at +1.0ms\n"
        "  fact    value             read from                of the span\n"
        "  kind    tool              openinference.span.kind  00f067aa0ba902b8 a\\x1b[0m\n"
        "  name    fore\\x1b[31mcast  tool.name                00f067aa0ba902b8 a\\x1b[0m\n"
        "  output  sun\\x1b]0;x\\x07   output.value             00f067aa0ba902b8 a\\x1b[0m\n"
        "\n"
        "not understood\n"
        "  00f067aa0ba902b7 weather.run  1 attribute: mood\n"
        "  00f067aa0ba902b9 GET /  nothing: 1 attribute: http.route\n"
    )


def test_as_json(run_command: Callable[..., Any], foreign: Path) -> None:
    result = run_command("explain", foreign, TRACE[:8], "--json")
    data = json.loads(result.out)
    assert (data["run_id"], data["dialect"]) == (TRACE, "openinference")
    assert data["facts"][1] == {
        "name": "agent_name",
        "value": "weather",
        "sources": [{"span_id": "00f067aa0ba902b7", "span_name": "weather.run", "places": ["agent.name"]}],
        "how": "",
    }
    (step,) = data["steps"]
    assert (step["step_id"], step["kind"], step["span_id"], step["run"]) == (1, "tool", "00f067aa0ba902b8", None)
    assert [fact["name"] for fact in step["facts"]] == ["kind", "name", "output"]
    assert data["unread"] == [
        {"span_id": "00f067aa0ba902b7", "span_name": "weather.run", "is_understood": True, "attributes": ["mood"]},
        {"span_id": "00f067aa0ba902b9", "span_name": "GET /", "is_understood": False, "attributes": ["http.route"]},
    ]
    assert data["left_out"] == []


def test_the_run_of_a_sub_agent(
    run_command: Callable[..., Any], write_runs: Callable[..., Path], weather_run: AgentRun
) -> None:
    """Everything that a run of ours may hold, whole and a part of it, on every width."""
    path = write_runs([weather_run])
    (inner,) = [run for run in weather_run.walk() if run is not weather_run]
    whole = json.loads(run_command("explain", path, "--json").out)
    part = json.loads(run_command("explain", path, inner.run_id, "--json").out)
    assert part["run_id"] == inner.run_id
    (found,) = [step["run"] for step in whole["steps"] if step["run"] is not None]
    assert found == part
    assert run_command("explain", path).code == 0


def test_no_such_run(run_command: Callable[..., Any], foreign: Path) -> None:
    result = run_command("explain", foreign, "nope")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: no run 'nope'")
