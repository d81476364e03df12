"""`export --to otlp-json`: the runs of any tracer in the form of ours, to a file or to standard output."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, SpanRecord, load_runs
from otel_agent_trace.formats import otlp_json


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A file of two traces of another tracer."""
    path = tmp_path / "foreign.jsonl"
    lines = []
    for number, name in enumerate(["weather", "travel"], 1):
        trace = f"{number:032x}"
        agent = {"openinference.span.kind": "AGENT", "agent.name": name, "input.value": "Rain?", "output.value": "No."}
        tool = {"openinference.span.kind": "TOOL", "tool.name": "forecast", "input.value": '{"city": "Lyon"}', "odd": 1}
        spans = [
            SpanRecord(trace, f"{number:016x}", None, f"{name}.run", 1_000 * number, 9_000, agent),
            SpanRecord(trace, f"{number:015x}f", f"{number:016x}", "forecast", 2_000 * number, 8_000, tool),
        ]
        lines.append(otlp_json.encode(spans).rstrip(b"\n") + b"\n")
    path.write_bytes(b"".join(lines))
    return path


def test_to_a_file(run_command: Callable[..., Any], foreign: Path) -> None:
    result = run_command("export", foreign, "--to", "otlp-json", "--output", "canonical.jsonl")
    assert (result.code, result.out, result.err) == (0, "2 runs written to canonical.jsonl\n", "")
    runs = load_runs("canonical.jsonl")
    assert runs == load_runs(foreign)
    assert [run.dialect for run in runs] == ["genai", "genai"]
    assert stat.S_IMODE(os.stat("canonical.jsonl").st_mode) == 0o600
    text = Path("canonical.jsonl").read_text()
    assert '"gen_ai.agent.name"' in text
    assert '"input.value"' not in text
    assert sorted(os.listdir()) == ["canonical.jsonl", "foreign.jsonl"]


def test_to_standard_output_and_once_more(run_process: Callable[..., Any], foreign: Path) -> None:
    first = run_process("export", foreign, "--to", "otlp-json", cwd=foreign.parent)
    assert (first.returncode, first.stderr) == (0, b"")
    Path("once.jsonl").write_bytes(first.stdout)
    assert load_runs("once.jsonl") == load_runs(foreign)
    again = run_process("export", "once.jsonl", "--to", "otlp-json", "--output", "-", cwd=foreign.parent)
    assert again.stdout == first.stdout


def test_only_the_runs_that_fit(run_command: Callable[..., Any], foreign: Path) -> None:
    result = run_command("export", foreign, "--to", "otlp-json", "--output", "x.jsonl", "--agent", "travel", "--json")
    assert json.loads(result.out) == {"file": "x.jsonl", "runs": 1}
    assert [run.agent_name for run in load_runs("x.jsonl")] == ["travel"]
    run_command("export", foreign, "--to", "otlp-json", "--output", "x.jsonl", "--limit", "1")
    assert [run.agent_name for run in load_runs("x.jsonl")] == ["travel"]


def test_over_the_source_itself(run_command: Callable[..., Any], foreign: Path) -> None:
    before = load_runs(foreign)
    assert run_command("export", foreign, "--to", "otlp-json", "--output", foreign).code == 0
    assert load_runs(foreign) == before


def test_what_fails_leaves_nothing_behind(run_command: Callable[..., Any]) -> None:
    Path("kept.jsonl").write_text("kept")
    result = run_command("export", "missing.jsonl", "--to", "otlp-json", "--output", "kept.jsonl")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert os.listdir() == ["kept.jsonl"]
    assert Path("kept.jsonl").read_text() == "kept"


@pytest.mark.parametrize("option", [["--again"], ["--protocol", "grpc"], ["--header", "a=b"], ["--timeout", "1"]])
def test_options_of_addresses(run_command: Callable[..., Any], foreign: Path, option: list[str]) -> None:
    result = run_command("export", foreign, "--to", "otlp-json", *option)
    assert result.code == 2
    assert "cannot be combined with --to otlp-json" in result.err


def test_a_file_is_not_for_addresses(run_command: Callable[..., Any], foreign: Path) -> None:
    result = run_command("export", foreign, "--to", "http://localhost:1", "--output", "x")
    assert result.code == 2
    assert "--output needs --to otlp-json, cases, parquet or html" in result.err


def test_our_own_runs(run_command: Callable[..., Any], write_runs: Callable[..., Path], weather_run: AgentRun) -> None:
    path = write_runs([weather_run])
    run_command("export", path, "--to", "otlp-json", "--output", "own.jsonl")
    assert load_runs("own.jsonl") == load_runs(path)
    assert Path("own.jsonl").read_bytes() == path.read_bytes()
