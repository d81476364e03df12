"""An error given as a text, without a class: people read the text, programs the ``error.type`` of the conventions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, FileBackend

RUN_ERROR, STEP_ERROR = "the service did not answer", "no such city"


@pytest.fixture
def failed_run(tmp_path: Path) -> str:
    """The id of a run in traces.jsonl that failed, as one of its steps did, each with a text."""
    with AgentTracer(FileBackend(tmp_path / "traces.jsonl")) as tracer:
        run_id = tracer.start_run(user_input="Rain?")
        tracer.log_step(run_id, {"tool_name": "search", "tool_input": {"q": "rain"}, "error": STEP_ERROR})
        tracer.log_error(run_id, RUN_ERROR)
    return run_id


@pytest.mark.parametrize("command", ["show", "replay"])
def test_a_run_shows_the_texts_of_its_errors(run_command: Callable[..., Any], failed_run: str, command: str) -> None:
    lines = [line.strip(" │└─") for line in run_command(command, "traces.jsonl", failed_run).out.splitlines()]
    assert [line for line in lines if line.startswith("error ")] == [f"error  {STEP_ERROR}", f"error     {RUN_ERROR}"]


@pytest.mark.parametrize("words", [["list"], ["show", "--full"], ["replay"], ["metrics"], ["explain"]])
def test_no_command_shows_the_placeholder(
    run_command: Callable[..., Any], failed_run: str, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    command, *options = words
    assert "_OTHER" not in run_command(command, "traces.jsonl", *options).out


def test_explain_shows_the_text_as_the_value_of_the_error(
    run_command: Callable[..., Any], failed_run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    lines = run_command("explain", "traces.jsonl").out.splitlines()
    assert [line.split()[:3] for line in lines if line.strip().startswith("error ")] == [
        ["error", "the", "service"],
        ["error", "no", "such"],
    ]


def test_metrics_name_the_type_of_such_errors_other(run_command: Callable[..., Any], failed_run: str) -> None:
    lines = run_command("metrics", "traces.jsonl").out.splitlines()
    table = [line.split(maxsplit=2) for line in lines[lines.index("  times  error  message") + 1 :]]
    assert table == [["1", "other", STEP_ERROR], ["1", "other", RUN_ERROR]]


def test_json_keeps_the_recorded_type(run_command: Callable[..., Any], failed_run: str) -> None:
    shown = json.loads(run_command("show", "traces.jsonl", failed_run, "--json").out)
    assert (shown["error"]["type"], shown["error"]["message"]) == ("_OTHER", RUN_ERROR)
    figures = json.loads(run_command("metrics", "traces.jsonl", "--json").out)
    assert {error["type"] for error in figures["error_messages"]} == {"_OTHER"}
