"""`diff`: two runs side by side, as a person sees them, and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rich.cells import cell_len

from otel_agent_trace import AgentRun, AgentStep, Message, StepError, StepKind, Usage, diff_runs, load_run

GOLDEN = Path(__file__).parent / "golden" / "diff.txt"
OTHER_ID = "7" * 32


@pytest.fixture
def other_run(weather_run: AgentRun, make_step: Callable[..., AgentStep]) -> AgentRun:
    """The run of `weather_run` once more, with all kinds of differences."""
    model, forecast, researcher, written, translated, _ = weather_run.steps
    call = {"type": "tool_call", "id": "c9", "name": "forecast", "arguments": {"city": "Nantes"}}
    answer = Message(role="assistant", parts=(model.messages[-1].parts[0], call))
    page = make_step(2, StepKind.TOOL, "summarise", 2700, 2800, input={"words": 100}, output="wet")
    inner = researcher.run
    assert inner is not None
    steps = (
        replace(model, messages=(*model.messages[:-1], answer), usage=Usage(input_tokens=420, output_tokens=51)),
        replace(forecast, input={"city": "Nantes", "days": 2}, output={**forecast.output, "source": "radar"}),
        replace(researcher, run=replace(inner, steps=(inner.steps[0], replace(inner.steps[1], error=None), page))),
        written,
        replace(translated, output=translated.output.replace("line 17", "line 17: 明日は雨が降るでしょう")),
        make_step(5, StepKind.TOOL, "look\tup\x1b[31m", 4060, 4070, input={"q": "x" * 300}),
    )
    ids = {"run_id": OTHER_ID, "trace_id": OTHER_ID, "trace_ids": (OTHER_ID,)}
    return replace(
        weather_run, **ids, steps=steps, final_output="Go to Nantes.", ended_at_ns=weather_run.ended_at_ns + 1
    )


@pytest.fixture
def addresses(write_runs: Callable[..., Path], weather_run: AgentRun, other_run: AgentRun) -> tuple[str, str]:
    write_runs([weather_run, other_run])
    return f"traces.jsonl#{weather_run.run_id}", f"traces.jsonl#{OTHER_ID}"


def test_golden(run_command: Callable[..., Any], addresses: tuple[str, str]) -> None:
    """The picture is what it was when somebody last looked at it (UPDATE_GOLDEN=1 writes it anew)."""
    result = run_command("diff", *addresses)
    assert (result.code, result.err) == (1, "")
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(result.out, "utf-8")
    assert result.out == GOLDEN.read_text("utf-8")


def test_a_run_and_itself(run_command: Callable[..., Any], addresses: tuple[str, str]) -> None:
    result = run_command("diff", addresses[0], addresses[0])
    assert (result.code, result.err) == (0, "")
    assert "  runs      the same, ids and times aside\n" in result.out
    assert "… 6 steps the same\n" in result.out
    assert "forecast" not in result.out
    assert "2 tool forecast" in run_command("diff", "--full", addresses[0], addresses[0]).out


def test_json(run_command: Callable[..., Any], addresses: tuple[str, str]) -> None:
    result = run_command("diff", *addresses, "--json")
    assert (result.code, result.err) == (1, "")
    a, b = (load_run(*address.split("#")) for address in addresses)
    data = json.loads(result.out)
    assert [(data[side].pop("cost_usd"), data[side].pop("unpriced_calls") > 0) for side in "ab"] == [(None, True)] * 2
    assert data == json.loads(json.dumps(diff_runs(a, b).to_dict()))
    assert run_command("diff", addresses[0], addresses[0], "--json").code == 0


def test_a_source_alone_is_its_last_run(
    run_command: Callable[..., Any], write_runs: Callable[..., Path], make_run: Callable[..., AgentRun]
) -> None:
    write_runs([make_run("first", 0, final_output="a"), make_run("last-1", 5, final_output="b")], "one.jsonl")
    write_runs([make_run("last-2", 0, final_output="b")], "two.jsonl")
    same = run_command("diff", "one.jsonl", "two.jsonl")
    assert (same.code, same.err) == (0, "")
    assert same.out.splitlines()[1].split() == ["run", "last-1", "run", "last-2"]
    assert run_command("diff", "one.jsonl#first", "two.jsonl").code == 1


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["nowhere.jsonl", "traces.jsonl"], "error: nowhere.jsonl"),
        (["traces.jsonl", "traces.jsonl#nobody"], "error: "),
        (["traces.jsonl"], "error: Missing argument 'B'"),
        (["traces.jsonl", "traces.jsonl", "run"], "error: Got unexpected extra argument"),
    ],
)
def test_bad_input(
    run_command: Callable[..., Any],
    write_runs: Callable[..., Path],
    make_run: Callable[..., AgentRun],
    words: list[str],
    what: str,
) -> None:
    write_runs([make_run("run")])
    result = run_command("diff", *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(what)
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("options", [[], ["--full"]], ids=["short", "full"])
def test_no_line_is_wider_than_the_terminal(
    run_command: Callable[..., Any],
    addresses: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    options: list[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run_command("diff", *addresses, *options).out.splitlines()
    assert max(map(cell_len, lines)) <= width
    assert [line for line in lines if line != line.rstrip()] == []


def deep_run(run_id: str, name: str, depth: int, step: Callable[..., AgentStep]) -> AgentRun:
    """A run of sub-agents in each other, the innermost of which calls a tool of this name."""
    call = step(0, StepKind.TOOL, name, 0, 1, input={name: name}, error=StepError(type=name, message=f"{name}\n{name}"))
    run = AgentRun(run_id=f"{run_id}-{depth}", user_input=name, final_output=name, steps=(call,))
    for level in range(depth):
        agent = step(0, StepKind.AGENT, f"助手{level}", 0, 1, run=run)
        run = AgentRun(run_id=f"{run_id}-{depth - level - 1}", agent_name=name, user_input=name, steps=(agent,))
    return run


@pytest.mark.parametrize("width", [40, 80, 200])
def test_wide_characters_and_deep_sub_agents_fit(
    run_command: Callable[..., Any],
    write_runs: Callable[..., Path],
    make_step: Callable[..., AgentStep],
    monkeypatch: pytest.MonkeyPatch,
    width: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    names = ("雨\t" * 40, "ab\x1b[2J\u202e雪 " * 30)
    write_runs([deep_run("a", names[0], 20, make_step)], "a.jsonl")
    write_runs([deep_run("b", names[1], 20, make_step)], "b.jsonl")
    result = run_command("diff", "a.jsonl#a-0", "b.jsonl#b-0")
    assert result.code == 1
    assert max(map(cell_len, result.out.splitlines())) <= width
    assert "\x1b" not in result.out
    assert "\u202e" not in result.out


def test_without_a_terminal_lines_are_whole(
    run_command: Callable[..., Any], addresses: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS")
    out = run_command("diff", *addresses, "--full").out
    assert f'"q": "{"x" * 300}"' in out
    assert "run 4bf92f3577b34da6a3ce929d0e0e4736   run 77777777777777777777777777777777\n" in out


def rows_of(out: str, label: str) -> list[str]:
    """The lines of a row, without the label and what stands before them."""
    lines = out.splitlines()
    first = next(index for index, line in enumerate(lines) if line.strip().startswith(f"{label} "))
    start = lines[first].index(label) + max(len(label), 8) + 2
    rest = [lines[first][start:]]
    for line in lines[first + 1 :]:
        if line[:start].strip() or not line.strip():
            break
        rest.append(line[start:])
    return rest


@pytest.fixture
def outputs_shown(
    run_command: Callable[..., Any],
    write_runs: Callable[..., Path],
    make_run: Callable[..., AgentRun],
    make_step: Callable[..., AgentStep],
) -> Callable[..., list[str]]:
    """What is shown of two outputs of a tool."""

    def shown(a: Any, b: Any, *options: str) -> list[str]:
        for name, output in (("a", a), ("b", b)):
            step = make_step(0, StepKind.TOOL, "search", 0, 1, output=output)
            write_runs([make_run(name, steps=(step,))], f"{name}.jsonl")
        result = run_command("diff", "a.jsonl", "b.jsonl", *options)
        assert result.code == 1
        return rows_of(result.out, "out")

    return shown


def test_short_values_are_a_line_each(outputs_shown: Callable[..., list[str]]) -> None:
    assert outputs_shown({"n": 1}, {"n": 2}) == ['- {"n": 1}', '+ {"n": 2}']
    assert outputs_shown(None, [1]) == ["+ [1]"]


def test_long_values_are_a_diff_of_their_json(outputs_shown: Callable[..., list[str]]) -> None:
    days = [{"day": day, "sky": "sunny"} for day in range(9)]
    changed = [{**day, "sky": "wet"} if day["day"] == 4 else day for day in days]
    assert outputs_shown(days, changed) == [
        "  …",
        "    {",
        '      "day": 4,',
        '-     "sky": "sunny"',
        '+     "sky": "wet"',
        "    },",
        "    {",
        "  …",
    ]
    assert len(outputs_shown(days, changed, "--full")) == 39


def test_long_lines_are_cut_around_what_differs(outputs_shown: Callable[..., list[str]]) -> None:
    first, last = "a" * 500, "b" * 500
    lines = outputs_shown(f"{first} one {last}", f"{first} two {last}")
    assert lines == [f"- …{'a' * 29} one {'b' * 29}…", f"+ …{'a' * 29} two {'b' * 29}…"]


def test_values_that_read_the_same_are_shown_with_their_types(outputs_shown: Callable[..., list[str]]) -> None:
    assert outputs_shown((1, 2), [1, 2]) == ['- (tuple: "tuple")', "+ (list)", "  [1, 2]"]


def test_many_lines_are_counted(outputs_shown: Callable[..., list[str]]) -> None:
    texts = ["\n".join(f"{word} {line}" for line in range(50)) for word in ("one", "two")]
    assert outputs_shown(*texts)[-1] == "… (70 more lines; --full shows them)"
    assert len(outputs_shown(*texts, "--full")) == 100


def test_many_steps_are_counted(
    run_command: Callable[..., Any],
    write_runs: Callable[..., Path],
    make_run: Callable[..., AgentRun],
    make_step: Callable[..., AgentStep],
) -> None:
    for name in ("a", "b"):
        steps = (make_step(index, StepKind.TOOL, f"{name}{index}", index, index) for index in range(150))
        write_runs([make_run(name, steps=tuple(steps))], f"{name}.jsonl")
    out = run_command("diff", "a.jsonl", "b.jsonl").out
    assert "… 300 steps in all (--full shows them)\n" in out
    assert "  steps     150 only on the left, 150 only on the right\n" in out
    assert " > 150 tool b149" in run_command("diff", "a.jsonl", "b.jsonl", "--full").out
