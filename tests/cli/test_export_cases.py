"""`export --to cases`: runs as test data, to a file or to standard output."""

from __future__ import annotations

import json
import os
import stat
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, Score, load_cases, load_runs
from otel_agent_trace.cases import case_of
from otel_agent_trace.cli import main

MANY = 5_000
GITHUB_TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3  # noqa: S105 - made up

Command = Callable[..., Any]


@pytest.fixture
def scored(make_run: Callable[..., AgentRun], write_runs: Callable[..., Path]) -> Path:
    """A file of three runs: a good one, a bad one, and one of another agent without a score."""
    good, bad = (Score(name="helpful", value=value, source="HUMAN", at_ns=1) for value in (1, 0))
    return write_runs(
        [
            make_run("good", 0, user_input="Rain?", final_output=("No.", {1}), scores=(good,)),
            make_run("bad", 1, user_input="Snow?", final_output="Yes.", scores=(bad,)),
            make_run("other", 2, user_input="Wind?", final_output="Some.", agent_name="travel"),
        ]
    )


def ids(path: str = "cases.jsonl") -> list[str]:
    return [case.id for case in load_cases(path)]


def test_to_a_file(run_command: Command, scored: Path) -> None:
    options = ("--output", "cases.jsonl", "--expected", "helpful>=1")
    result = run_command("export", scored, "--to", "cases", *options)
    assert (result.code, result.out, result.err) == (0, "3 runs written to cases.jsonl\n", "")
    assert load_cases("cases.jsonl") == [case_of(run, "helpful>=1") for run in load_runs(scored)]
    assert [case.expected for case in load_cases("cases.jsonl")] == [("No.", {1}), None, None]
    assert stat.S_IMODE(os.stat("cases.jsonl").st_mode) == 0o600


def test_to_standard_output(run_process: Command, scored: Path) -> None:
    result = run_process("export", scored, "--to", "cases", cwd=scored.parent)
    assert (result.returncode, result.stderr) == (0, b"")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["id"], line["input"], line["expected"]) for line in lines] == [
        ("good", "Rain?", None),
        ("bad", "Snow?", None),
        ("other", "Wind?", None),
    ]
    assert list(lines[1]) == ["id", "input", "output", "expected", "tools", "scores", "metadata"]
    assert lines[1]["scores"] == [
        {"name": "helpful", "value": 0, "label": None, "explanation": None, "source": "HUMAN"}
    ]


def test_one_run(run_process: Command, scored: Path) -> None:
    result = run_process("export", f"{scored}#bad", "--to", "cases", "--expected", "helpful=0", cwd=scored.parent)
    (line,) = result.stdout.splitlines()
    assert (json.loads(line)["id"], json.loads(line)["expected"]) == ("bad", "Yes.")


def test_only_the_runs_that_fit(run_command: Command, scored: Path) -> None:
    to_file = ("--to", "cases", "--output", "cases.jsonl")
    result = run_command("export", scored, *to_file, "--agent", "weather", "--json")
    assert json.loads(result.out) == {"file": "cases.jsonl", "runs": 2}
    assert ids() == ["good", "bad"]
    run_command("export", scored, *to_file, "--limit", "2")
    assert ids() == ["other", "bad"]
    result = run_command("export", scored, *to_file, "--agent", "nobody")
    assert (result.code, ids()) == (0, [])
    assert "no runs" in result.err


def test_all_conditions_have_to_hold(run_command: Command, scored: Path) -> None:
    conditions = ("--expected", "helpful>=0", "--expected", "helpful<1")
    run_command("export", scored, "--to", "cases", "--output", "cases.jsonl", *conditions)
    assert [case.expected for case in load_cases("cases.jsonl")] == [None, "Yes.", None]


@pytest.mark.parametrize("condition", ["helpful>pass", ">=1", ""])
def test_a_condition_that_is_none(run_process: Command, scored: Path, condition: str) -> None:
    result = run_process("export", scored, "--to", "cases", "--output", "cases.jsonl", "--expected", condition)
    assert (result.returncode, result.stdout) == (2, b"")
    (line,) = result.stderr.decode().splitlines()
    assert line.startswith("error: Invalid value for '--expected': score must be like")
    assert os.listdir(scored.parent) == ["traces.jsonl"]


@pytest.mark.parametrize("to", ["otlp-json", "http://localhost:1"])
def test_only_cases_expect_something(run_command: Command, scored: Path, to: str) -> None:
    result = run_command("export", scored, "--to", to, "--expected", "helpful>=1")
    assert (result.code, result.out) == (2, "")
    assert "--expected needs --to cases" in result.err


@pytest.mark.parametrize("option", [["--again"], ["--protocol", "grpc"], ["--header", "a=b"], ["--timeout", "1"]])
def test_options_of_addresses(run_command: Command, scored: Path, option: list[str]) -> None:
    result = run_command("export", scored, "--to", "cases", *option)
    assert result.code == 2
    assert "cannot be combined with --to cases" in result.err


def test_secrets_are_masked_on_demand(
    run_command: Command, make_run: Callable[..., AgentRun], write_runs: Callable[..., Path]
) -> None:
    path = write_runs([make_run("r", final_output=f"The token is {GITHUB_TOKEN}.", metadata={"token": GITHUB_TOKEN})])
    assert GITHUB_TOKEN in run_command("export", path, "--to", "cases").out
    masked = run_command("export", path, "--to", "cases", "--redact").out
    assert GITHUB_TOKEN not in masked
    assert json.loads(masked)["output"].startswith("The token is <secret:")


def test_what_runs_contain_cannot_end_a_line(
    run_process: Command, make_run: Callable[..., AgentRun], write_runs: Callable[..., Path]
) -> None:
    hostile = "\x1b[2J\r\n\u2028\x85{}\n"
    path = write_runs([make_run(hostile, user_input=hostile, final_output=[hostile], metadata={hostile: hostile})])
    result = run_process("export", path, "--to", "cases", cwd=path.parent)
    assert (result.stdout.count(b"\n"), result.stdout.count(b"\x1b")) == (1, 0)
    Path("cases.jsonl").write_bytes(result.stdout)
    (case,) = load_cases("cases.jsonl")
    assert (case.id, case.input, case.output, case.metadata[hostile]) == (hostile, hostile, [hostile], hostile)


@pytest.mark.slow
def test_many_runs_in_bounded_memory(make_run: Callable[..., AgentRun], write_runs: Callable[..., Path]) -> None:
    path = write_runs([make_run(f"r{number}", number, final_output="x" * 2_000) for number in range(MANY)])
    tracemalloc.start()
    try:
        assert main(["export", str(path), "--to", "cases", "--output", "cases.jsonl"]) == 0
        assert tracemalloc.get_traced_memory()[1] < 8_000_000 < path.stat().st_size
    finally:
        tracemalloc.stop()
    assert len(ids()) == MANY
