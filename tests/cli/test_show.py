import json
import os
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace.model import AgentRun, RunStatus, StepKind, Usage
from otel_agent_trace.reading import load_run
from otel_agent_trace.views.text import run_text

GOLDEN = Path(__file__).parent / "golden" / "show.txt"


def test_golden(run_command, write_runs, weather_run):
    """The tree of one fixed run looks as it looked when somebody last looked at it (UPDATE_GOLDEN=1 writes it anew)."""
    write_runs([weather_run])
    result = run_command("show")
    assert (result.code, result.err) == (0, "")
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(result.out, "utf-8")
    assert result.out == GOLDEN.read_text("utf-8")


@pytest.mark.parametrize("options", [[], ["--full"]])
def test_the_text_of_a_run_is_what_show_prints(run_command, write_runs, weather_run, monkeypatch, options):
    """Where no line is too long for the terminal, both are the same."""
    monkeypatch.setenv("COLUMNS", "1000")
    write_runs([weather_run])
    shown = run_command("show", *options).out
    assert run_text(load_run("traces.jsonl"), full=bool(options)) == shown.removesuffix("\n")


def test_json_is_the_run(run_command, write_runs, weather_run):
    """`--json` gives the data of which `from_dict` makes an equal run."""
    write_runs([weather_run])
    shown = AgentRun.from_dict(json.loads(run_command("show", "--json").out))
    assert shown == load_run("traces.jsonl")
    assert [step.input for step in shown.steps] == [step.input for step in weather_run.steps]


@pytest.mark.parametrize(
    "words", [["last"], ["traces.jsonl"], ["traces.jsonl", "4bf9"], ["4bf92f35"], ["traces.jsonl#4bf9"], ["#last"]]
)
def test_ways_to_name_a_run(run_command, write_runs, weather_run, words):
    """A source, a run, both, both in one word, or a lone prefix: all mean the same run."""
    write_runs([weather_run])
    assert json.loads(run_command("show", "--json", *words).out)["run_id"] == weather_run.run_id


def test_last_is_the_newest(run_command, write_runs, make_run):
    """Without RUN the newest run is shown, wherever in the file it stands."""
    write_runs([make_run("newest", 9), make_run("older", 1)])
    assert "newest" in run_command("show").out


def test_sub_agents_run_can_be_shown(run_command, write_runs, weather_run):
    """The id of a sub-agent's run shows that run alone."""
    write_runs([weather_run])
    shown = run_command("show", "traces.jsonl", "4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111").out
    assert shown.startswith("researcher  success")


def test_long_values_are_cut_and_full_shows_them(run_command, write_runs, weather_run):
    """A long value ends with how much is missing; `--full` misses nothing and tells where an error came from."""
    write_runs([weather_run])
    short, full = run_command("show").out, run_command("show", "--full").out
    assert "(20 more lines)" in short
    assert "line 29" not in short
    assert "line 29" in full
    assert "Traceback" in full


def test_many_steps_are_elided(run_command, write_runs, make_run, make_step):
    """Of more than 200 steps the first and last hundred are shown."""
    steps = tuple(make_step(i, StepKind.TOOL, f"tool_{i}_", i, i + 1) for i in range(301))
    write_runs([make_run("many", steps=steps)])
    shown = run_command("show").out
    assert "101 steps left out" in shown
    assert ("tool_99_" in shown, "tool_100_" in shown, "tool_200_" in shown, "tool_201_" in shown) == (1, 0, 0, 1)
    assert run_command("show", "--full").out.count("tool_") == 301


def test_children_of_elided_steps_stay(run_command, write_runs, make_run, make_step):
    """A shown step whose parent is left out hangs under the run."""
    steps = [make_step(i, StepKind.TOOL, f"t{i}_", i, i + 1) for i in range(150)]
    below = [make_step(i, StepKind.TOOL, f"child{i}_", i, i + 1, parent_step_id=150) for i in range(150, 300)]
    write_runs([make_run("many", steps=(*steps, *below))])
    shown = run_command("show").out
    assert "tool t149_" not in shown
    assert "\n└── 300 tool child299_" in shown


def test_deep_sub_agents_keep_room(run_command, write_runs, make_run, make_step):
    """Sub-agents nested thirty deep are all shown, within the width of the terminal."""
    inner = None
    for level in range(30, 0, -1):
        steps: tuple[Any, ...] = (make_step(0, StepKind.TOOL, f"tool_{level}_", 0, 1),)
        if inner is not None:
            steps = (*steps, make_step(1, StepKind.AGENT, f"level_{level}", 0, 1, run=inner))
        inner = make_run(f"run-{level}", agent_name=f"level_{level}", steps=steps)
    write_runs([inner])
    shown = run_command("show").out
    assert all(f"tool_{level}_" in shown for level in range(1, 31))
    assert max(map(len, shown.splitlines())) <= 100


def test_interrupted_and_empty(run_command, write_runs, make_run):
    """A run that never ended and did nothing is shown all the same."""
    write_runs([make_run("stuck", status=RunStatus.RUNNING, ended_at_ns=None, user_input="hello")])
    shown = run_command("show").out
    assert shown.startswith("weather  running")
    assert "no steps" in shown


@pytest.mark.parametrize("width", [40, 80, 160])
def test_fits_every_width(run_command, write_runs, weather_run, monkeypatch, width):
    """No line is longer than the terminal is wide, and none ends in blanks."""
    monkeypatch.setenv("COLUMNS", str(width))
    write_runs([weather_run])
    lines = run_command("show").out.splitlines()
    assert max(map(len, lines)) <= width
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("width", [70, 80])
def test_titles_of_steps_take_one_line(run_command, write_runs, make_run, make_step, monkeypatch, width):
    """What names a step fits a usual terminal, also with a long model name and many tokens."""
    monkeypatch.setenv("COLUMNS", str(width))
    usage = Usage(input_tokens=12_345, output_tokens=678, cache_read_input_tokens=4000)
    step = make_step(0, StepKind.MODEL, "complete", 150, 1650, model="gpt-4o-mini-2024-07-18", usage=usage)
    write_runs([make_run("run", steps=(step,))])
    lines = run_command("show").out.splitlines()
    title = next(index for index, line in enumerate(lines) if "complete" in line)
    assert "at +150ms" in lines[title]
    assert lines[title + 1].split() == ["tokens", "12.3k", "in", "(4000", "cached),", "678", "out"]
