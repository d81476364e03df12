"""The command ``sessions``, and ``show --session``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from otel_agent_trace import AgentRun, load_runs
from otel_agent_trace.model import RunStatus, Score, StepError, StepKind, Usage

GOLDEN = Path(__file__).parent / "golden" / "session.txt"
SESSION = "b2f1c0de-5d6e-4a4f-9f00-1d2c3b4a5e6f"
FAILED = StepError(type="TimeoutError", message="the railway did not answer")


@pytest.fixture
def trip(write_runs: Callable[..., Path], make_run: Callable[..., AgentRun], make_step: Callable[..., Any]) -> Path:
    """A session in which a run waits for a person and another one goes on, one fails, and two others beside it."""
    steps = [make_step(number, StepKind.TOOL, name, number, number + 1) for number, name in enumerate("aabc")]
    first = make_run(
        "trip-1",
        0,
        session_id=SESSION,
        user_id="anna",
        user_input="Which trains go to Lyon tomorrow morning, and is there one on which I may take my bicycle?",
        final_output="Two:\n\n- 7:02\n- 8:02 (bicycles)",
        usage=Usage(input_tokens=420, output_tokens=48),
        steps=tuple(steps),
        scores=(Score(name="helpful", value=0.5, source="HUMAN", explanation="No price.", at_ns=1),),
    )
    asks = {"session_id": SESSION, "user_id": "anna", "user_input": "Book the second."}
    waits = make_run("trip-2", 40, **asks, interrupted_for={"ask": "8:02 for 34 EUR?"})
    done = (Score(name="helpful", value=1, at_ns=2), Score(name="verdict", label="pass", at_ns=3))
    goes_on = make_run("trip-3", 75, **asks, continues="trip-2", final_output="Booked.", scores=done)
    fails = make_run("trip-4", 90, session_id=SESSION, user_input="And back?", status=RunStatus.ERROR, error=FAILED)
    running = make_run("run", 30, session_id="s-42", status=RunStatus.RUNNING, ended_at_ns=None)
    return write_runs([first, running, waits, goes_on, fails, make_run("lone", 100)])


def rows(result: Any) -> list[list[str]]:
    return [re.split(r" {2,}", line.strip()) for line in result.out.splitlines()]


# ── the list ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lists_newest_first(run_command, trip, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    result = run_command("sessions", trip)
    assert (result.code, result.err) == (0, "")
    assert rows(result) == [
        ["session", "user", "turns", "failed", "started", "took", "tokens", "scores"],
        [SESSION, "anna", "4", "1", rows(result)[1][4], "1m31s", "468", "helpful 0.75, verdict -"],
        ["s-42", "-", "1", "0", rows(result)[2][4], "running", "-", "-"],
    ]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_id_is_whole_in_a_terminal(run_command, trip, monkeypatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run_command("sessions").out.splitlines()
    assert all(cell_len(line) <= width for line in lines)
    assert lines[1].startswith(SESSION)
    assert {"session", "turns", "failed", "took"} <= set(lines[0].split())


def test_filters_order_and_limit(run_command, trip) -> None:
    assert [row[0].split()[0] for row in rows(run_command("sessions", "--sort", "duration"))[1:]] == [SESSION, "s-42"]
    assert [row[0].split()[0] for row in rows(run_command("sessions", "--status", "running"))[1:]] == ["s-42"]
    limited = run_command("sessions", "--limit", "1")
    assert [row[0].split()[0] for row in rows(limited)[1:]] == [SESSION]
    assert "(the newest 1; --limit 0 lists all)" in limited.err
    assert len(rows(run_command("sessions", "--limit", "0"))) == 3


def test_json(run_command, trip) -> None:
    first, second = json.loads(run_command("sessions", "--json").out)
    assert (first["session_id"], first["turns"], first["first_failed"]) == (SESSION, 4, 3)
    assert first["continued"] == {"trip-3": "trip-2"}
    assert [run["status"] for run in first["runs"]] == ["success", "paused", "success", "error"]
    assert (second["status"], second["ended_at"]) == ("running", None)


def test_nothing_found(run_command, write_runs, make_run) -> None:
    path = write_runs([make_run("run")])
    for options, why in (([], ": no run there has a session id"), (["--agent", "x"], " match the filters")):
        result = run_command("sessions", path, *options)
        assert (result.code, result.out, result.err) == (0, "", f"no sessions in {path}{why}\n")
    assert json.loads(run_command("sessions", path, "--json").out) == []
    assert run_command("sessions", "none.jsonl").code == 2


# ── one session ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_golden(run_command, trip) -> None:
    """The conversation looks as it looked when somebody last looked at it (UPDATE_GOLDEN=1 writes it anew)."""
    result = run_command("show", "--session", SESSION)
    assert (result.code, result.err) == (0, "")
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(result.out, "utf-8")
    assert result.out == GOLDEN.read_text("utf-8")


def test_values_are_short_unless_full(run_command, write_runs, make_run, make_step) -> None:
    long = "x" * 1_000_000
    steps = tuple(make_step(number, StepKind.TOOL, f"tool-{number}", 0, 1) for number in range(100))
    write_runs([make_run(f"{number}", number, session_id="s", final_output=long, steps=steps) for number in range(2)])
    short, full = (run_command("show", "--session", "s", *options).out for options in ([], ["--full"]))
    assert len(short) < 4_000
    assert "more characters" in short
    assert "tool-99" not in short
    assert "tool-99" in full.replace("\n", "").replace(" ", "")
    assert full.count("x") >= 2 * len(long)


def test_json_is_the_session_with_its_runs(run_command, trip) -> None:
    data = json.loads(run_command("show", trip, "--session", SESSION, "--json").out)
    listed = json.loads(run_command("sessions", trip, "--json").out)[0]
    runs = load_runs(trip, session_id=SESSION)
    assert [AgentRun.from_dict(run) for run in data.pop("runs")] == runs
    assert listed.pop("runs")
    assert data == listed


@pytest.mark.parametrize(
    "words", [["traces.jsonl", "last"], ["last"], ["traces.jsonl#trip-1"], ["#trip-1"], ["traces.jsonl", "trip-1"]]
)
def test_a_run_and_a_session_exclude_each_other(run_command, trip, words: Sequence[str]) -> None:
    result = run_command("show", *words, "--session", SESSION)
    assert (result.code, result.out) == (2, "")
    assert "RUN" in result.err
    assert "--session" in result.err


def test_an_unknown_session(run_command, trip, write_runs, make_run) -> None:
    result = run_command("show", "--session", SESSION[:-1])
    expected = f"error: no session {SESSION[:-1]!r} in traces.jsonl; did you mean {SESSION!r}?\n"
    assert (result.code, result.out, result.err) == (2, "", expected)
    assert run_command("show", "--session", "zzz").err.endswith(f"the newest one is {SESSION!r}\n")
    other = run_command("show", "--session", SESSION, "--service", "no")
    assert (other.code, "no run has a session id" in other.err) == (2, True)
    write_runs([make_run("run")])
    assert "in which no run has a session id" in run_command("show", "--session", "s").err
    assert run_command("show", "none.jsonl", "--session", "s").code == 2
