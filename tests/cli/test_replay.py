import io
import json
import os
from pathlib import Path

import msgspec
import pytest

from otel_agent_trace.cli import replay
from otel_agent_trace.model import StepKind
from otel_agent_trace.replay import walk_run
from otel_agent_trace.values import Truncated

PLAN = Path(__file__).parent / "golden" / "plan.txt"


def test_walk_is_in_order_with_depths(weather_run):
    """A sub-agent's steps follow the step that called it, one deeper; inner steps are one deeper than their parent."""
    assert [(depth, step.name) for depth, step in walk_run(weather_run)] == [
        (0, "gpt-4o"),
        (0, "forecast"),
        (0, "researcher"),
        (1, "climate-index"),
        (1, "fetch_page"),
        (0, "format_answer"),
        (1, "translate"),
        (0, "never_ended"),
    ]


def test_walk_survives_nonsense_parents(make_run, make_step):
    """Steps that are each other's parents, their own, or of nobody known are walked once each."""
    parents = [2, 1, 3, "unknown"]
    steps = tuple(make_step(i, StepKind.TOOL, "t", i, i, parent_step_id=parent) for i, parent in enumerate(parents))
    assert [depth for depth, _ in walk_run(make_run("r", steps=steps))] == [0, 1, 0, 0]


def test_shows_every_step_in_order(run_command, write_runs, weather_run):
    """Each step is named with what went in and came out, between question and answer."""
    write_runs([weather_run])
    result = run_command("replay")
    places = [
        result.out.index(text) for text in ("question", "forecast", "climate-index", "Bonjour", "Stay in Lyon (21")
    ]
    assert result.code == 0
    assert places == sorted(places)


def test_dry_run_names_the_steps_only(run_command, write_runs, weather_run):
    """`--dry-run` has a line for each step and none for what went in or out."""
    write_runs([weather_run])
    shown = run_command("replay", "--dry-run").out
    assert "    3/1 retrieval climate-index" in shown
    assert "Bonjour" not in shown
    assert "Stay in Lyon (21" not in shown


def test_json_is_one_line_for_each_step(run_command, write_runs, weather_run):
    """`--json` writes an object a line; a sub-agent's steps have their own lines and stand nowhere else."""
    write_runs([weather_run])
    steps = [json.loads(line) for line in run_command("replay", "--json").out.splitlines()]
    assert [(step["depth"], step["name"]) for step in steps] == [(d, s.name) for d, s in walk_run(weather_run)]
    assert steps[1]["input"] == {"city": "Lyon", "days": 2}
    assert set(steps[2]["run"]) == {"run_id"}
    named = [json.loads(line) for line in run_command("replay", "--json", "--dry-run").out.splitlines()]
    assert "input" not in named[1]
    assert [step["path"] for step in named] == ["1", "2", "3", "3/1", "3/2", "4", "5", "6"]


def test_paced_waits_as_long_as_the_run_did(make_run, make_step):
    """Between steps passes what passed between their starts, so many times as fast, never less than nothing."""
    starts = [0, 400, 300, 1000, 10**11]
    steps = tuple(make_step(i, StepKind.TOOL, "t", start, start) for i, start in enumerate(starts))
    waits: list[float] = []
    assert len(list(replay.paced(walk_run(make_run("r", steps=steps)), 2, waits.append))) == 5
    assert waits == [0.2, 0.3, 3600.0]


def test_speed_uses_the_sleeper(run_command, write_runs, weather_run, monkeypatch):
    """`--speed` waits between the steps; without it nothing waits."""
    waits: list[float] = []
    monkeypatch.setattr(replay, "_sleep", waits.append)
    write_runs([weather_run])
    run_command("replay")
    assert waits == []
    run_command("replay", "--speed", "10")
    assert sum(waits) == pytest.approx((4.060 - 0.002) / 10)


@pytest.mark.parametrize(("typed", "shown"), [("\n\nq\n", 3), ("", 1), ("\n" * 20, 8), ("q\n", 1)])
def test_step_waits_for_lines(run_command, write_runs, weather_run, monkeypatch, typed, shown):
    """Where no terminal is there, each line asks for the next step; q or the end of the input ends it."""
    write_runs([weather_run])
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    result = run_command("replay", "--step", "--json")
    assert result.code == 0
    assert len(result.out.splitlines()) == shown


@pytest.mark.parametrize(("keys", "shown"), [("  q", 3), ("\x1b", 1), ("x" * 20, 8)])
def test_step_waits_for_keys(run_command, write_runs, weather_run, monkeypatch, keys, shown):
    """At a terminal any key asks for the next step and q quits."""
    write_runs([weather_run])
    pressed = iter(keys)
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    monkeypatch.setattr("click.getchar", lambda: next(pressed))
    assert len(run_command("replay", "--step", "--json").out.splitlines()) == shown


def test_quitting_tells_no_end(run_command, write_runs, weather_run, monkeypatch):
    """After quitting the end of the run is not shown."""
    write_runs([weather_run])
    monkeypatch.setattr("sys.stdin", io.StringIO("q\n"))
    assert "Stay in Lyon (21" not in run_command("replay", "--step").out


def test_ctrl_c_while_waiting(run_command, write_runs, weather_run, monkeypatch):
    """Ctrl-C ends the command with status 130 and without a traceback."""

    def interrupt(_seconds):
        raise KeyboardInterrupt

    write_runs([weather_run])
    monkeypatch.setattr(replay, "_sleep", interrupt)
    result = run_command("replay", "--speed", "1")
    assert result.code == 130
    assert "Traceback" not in result.err


def test_last_line_is_how_to_execute(run_command, write_runs, weather_run):
    """The walk ends with the command that runs the program again; beside JSON it is on standard error."""
    write_runs([weather_run], "my traces.jsonl")
    line = f"otel-agent-trace replay 'my traces.jsonl' {weather_run.run_id} -- PROGRAM"
    assert run_command("replay", "my traces.jsonl").out.splitlines()[-1].endswith(line)
    result = run_command("replay", "my traces.jsonl", "--json")
    assert result.err.splitlines()[-1].endswith(line)
    assert line not in result.out


@pytest.fixture
def planned_run(weather_run):
    """A run of which something is truncated, unended, and has side effects."""
    steps = list(weather_run.steps)
    steps[1] = msgspec.structs.replace(steps[1], output={"days": [1, Truncated("2 and more", 90, "bytes")]})
    steps[4] = msgspec.structs.replace(steps[4], attributes={"agent_trace.tool.side_effects": True})
    return msgspec.structs.replace(weather_run, steps=tuple(steps))


def test_plan_is_a_table_and_reasons_in_full(run_command, write_runs, planned_run, monkeypatch):
    """In a narrow terminal reasons are cut in the table, and whole below it for what is refused."""
    monkeypatch.setenv("COLUMNS", "64")
    write_runs([planned_run])
    result = run_command("replay", "--plan", "--live", "translate")
    assert (result.code, result.err) == (0, "")
    if os.environ.get("UPDATE_GOLDEN"):
        PLAN.write_text(result.out, "utf-8")
    assert result.out == PLAN.read_text("utf-8")
    assert max(map(len, result.out.splitlines())) <= 64


def test_plan_as_json_is_one_line_for_each_call(run_command, write_runs, planned_run):
    """Each line is an object; the end of the recording is that of `--until`."""
    write_runs([planned_run])
    rows = [json.loads(line) for line in run_command("replay", "--plan", "--json", "--until", "3/2").out.splitlines()]
    assert [(row["step"], row["what"]) for row in rows] == [
        ("1", "answered"),
        ("2", "refused"),
        ("3/1", "refused"),
        ("3/2", "answered"),
        ("5", "live"),
        ("6", "live"),
    ]
    assert rows[4] == {
        "step": "5",
        "name": "translate",
        "what": "live",
        "why": "after the last call that is answered",
        "side_effects": True,
    }
