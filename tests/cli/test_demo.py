import json

import pytest

from otel_agent_trace.demo import QUESTIONS
from otel_agent_trace.reading import load_runs


def test_demo_traces_lists_shows_and_measures(run_command, tmp_path):
    """One command leaves a trace file, and shows it in every way there is."""
    result = run_command("demo")
    assert result.code == 0
    assert len(load_runs(tmp_path / "traces.jsonl")) == len(QUESTIONS)
    for text in ("$ otel-agent-trace list", "$ otel-agent-trace show", "$ otel-agent-trace metrics", "Try next:"):
        assert text in result.out
    assert all(question in result.err for question in QUESTIONS)


def test_demo_json(run_command, tmp_path):
    """`--json` gives the file, its runs and their figures; only this demo's runs, wherever they are added."""
    run_command("demo", "--file", "runs.jsonl")
    output = json.loads(run_command("demo", "--file", "runs.jsonl", "--json").out)
    assert output["file"] == "runs.jsonl"
    assert len(output["runs"]) == output["metrics"]["runs"] == len(QUESTIONS)
    assert len(load_runs(tmp_path / "runs.jsonl")) == 2 * len(QUESTIONS)


@pytest.mark.parametrize("words", [["named.jsonl"], ["--file", "named.jsonl"], []])
def test_demo_takes_a_source_as_every_command_does(run_command, tmp_path, monkeypatch, words):
    """The traces are added to SOURCE, else where the variable says."""
    monkeypatch.setenv("OTEL_AGENT_TRACE_FILE", "variable.jsonl")
    assert run_command("demo", *words).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["named.jsonl" if words else "variable.jsonl"]


def test_demo_shows_all_its_runs_whatever_is_sampled(run_command, monkeypatch):
    monkeypatch.setenv("OTEL_AGENT_TRACE_SAMPLING", "keep_errors=false,rest=0")
    output = json.loads(run_command("demo", "--json").out)
    assert len(output["runs"]) == len(QUESTIONS)


def test_what_to_try_next_works(run_command):
    """Each command that the demo names can be typed."""
    shown = run_command("demo").out
    commands = [line.split()[1:] for line in shown.partition("Try next:")[2].splitlines() if line.strip()]
    assert len(commands) == 3
    for words in commands:
        if "--step" not in words:
            assert run_command(*words).code == 0
