"""A run, its steps, a list and a tree as rows, cells and branches, and as plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentStep, Message, RunStatus, Score, StepError, StepKind, Usage, compute_metrics
from otel_agent_trace.model import at_time
from otel_agent_trace.views.report import report_rows, report_title
from otel_agent_trace.views.report_tables import report_tables
from otel_agent_trace.views.rows import TONES, Branch, Cell, Row, Table
from otel_agent_trace.views.run_list import runs_table
from otel_agent_trace.views.runs import ending_rows, fact_rows, question_rows, run_title
from otel_agent_trace.views.steps import step_rows, step_title
from otel_agent_trace.views.summaries import summary_of
from otel_agent_trace.views.text import run_text
from otel_agent_trace.views.tree import steps_tree

BEGAN_NS = 1_795_475_000_000_000_000  # 2026-11-23 23:03:20 UTC
TRACE, OTHER_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736", "5bf92f3577b34da6a3ce929d0e0e4736"


def step(index: int, **facts: Any) -> AgentStep:
    """A step of 10 ms that began 100 ms after the one before."""
    began_ns = BEGAN_NS + index * 100_000_000
    defaults = {"step_id": index + 1, "index": index, "name": "search", "started_at_ns": began_ns}
    return AgentStep(**{**defaults, "ended_at_ns": began_ns + 10_000_000, **facts})


_OF_THE_RESOURCE = {
    "service_name": "service.name",
    "service_version": "service.version",
    "environment": "deployment.environment.name",
}


def run(**facts: Any) -> AgentRun:
    """A run of two seconds; facts of its resource by their names in a run."""
    resource = {key: facts.pop(name) for name, key in _OF_THE_RESOURCE.items() if name in facts}
    defaults = {"run_id": "r1", "agent_name": "weather", "status": RunStatus.SUCCESS, "started_at_ns": BEGAN_NS}
    return AgentRun(**{**defaults, "ended_at_ns": BEGAN_NS + 2_000_000_000, "resource": resource, **facts})


def facts_of(of_run: AgentRun) -> dict[str, str]:
    return {row.label: row.text for row in fact_rows(of_run, full=False)}


def test_facts_of_a_release_and_a_prompt() -> None:
    facts = facts_of(
        run(
            service_name="weather-api",
            service_version="1.4.2",
            environment="prod",
            tags=("beta", "eu west"),
            prompt_name="greeting",
            prompt_version="7",
        )
    )
    assert facts == {
        "run": "r1",
        "started": "2026-11-23 23:03:20.000+00:00",
        "service": "weather-api 1.4.2",
        "environment": "prod",
        "prompt": "greeting 7",
        "tags": "beta, eu west",
        "steps": "0",
    }


@pytest.mark.parametrize(
    ("facts", "service"),
    [
        ({"service_name": "unknown_service:python"}, None),
        ({"service_name": "unknown_service:python", "service_version": "2"}, "2"),
        ({"service_name": "weather-api"}, "weather-api"),
        ({}, None),
    ],
)
def test_a_service_without_a_name_is_not_shown(facts: dict[str, str], service: str | None) -> None:
    assert facts_of(run(**facts)).get("service") == service


@pytest.mark.parametrize(
    ("facts", "label", "text"),
    [
        ({"trace_id": TRACE, "trace_ids": (TRACE,)}, "trace", TRACE),
        ({"trace_id": TRACE, "trace_ids": (TRACE, OTHER_TRACE)}, "traces", f"{TRACE}, {OTHER_TRACE}"),
    ],
)
def test_traces(facts: dict[str, object], label: str, text: str) -> None:
    """All of them are shown where a run was joined from several."""
    shown = facts_of(run(**facts))
    assert {key: value for key, value in shown.items() if key.startswith("trace")} == {label: text}


def test_the_only_trace_is_not_shown_twice() -> None:
    assert "trace" not in facts_of(run(run_id=TRACE, trace_id=TRACE, trace_ids=(TRACE,)))


def test_the_prompt_of_a_step() -> None:
    rows = list(step_rows(step(0, prompt_name="greeting", prompt_version=None), full=False))
    assert rows == [Row("prompt", "greeting", "faint")]


def test_a_summary_has_what_a_list_filters_by() -> None:
    listed = run(
        tags=("beta",),
        environment="prod",
        service_version="1.4.2",
        trace_id=TRACE,
        trace_ids=(TRACE, OTHER_TRACE),
    )
    data = summary_of(listed).to_dict()
    assert data["tags"] == ["beta"]
    assert (data["environment"], data["service_version"]) == ("prod", "1.4.2")
    assert (data["trace_id"], data["trace_ids"]) == (TRACE, [TRACE, OTHER_TRACE])


def test_text_is_not_escaped_before_it_is_rendered() -> None:
    """A page escapes it in its own way; a length is that of the text, not of its escapes."""
    hostile = run(agent_name="a\x1b[2J", user_input="<b>\x1b</b>")
    assert run_title(hostile)[0] == Cell("a\x1b[2J", "strong")
    assert list(question_rows(hostile, full=False)) == [Row("question", "<b>\x1b</b>")]
    assert (
        list(question_rows(run(user_input="\x1b" * 801), full=False))[0].text == "\x1b" * 800 + "… (1 more characters)"
    )
    assert summary_of(hostile).user_input == "<b>\x1b</b>"


def test_steps_hang_under_what_called_them() -> None:
    inner = run(run_id="r2", agent_name="inner", steps=(step(0, name="read"),))
    steps = (step(0, name="plan"), step(1, name="look", parent_step_id=1), step(2, kind=StepKind.AGENT, run=inner))
    root = steps_tree(run(steps=steps), full=False)
    assert names_in(root) == ("steps", [("plan", [("look", [])]), ("search", [("read", [])])])


def test_left_out_steps_are_counted() -> None:
    root = steps_tree(run(steps=tuple(step(index) for index in range(203))), full=False)
    (gap,) = [child for child in root.children if child.left_out]
    assert (gap.left_out, gap.title) == (3, (Cell("… 3 steps left out", "faint"),))
    assert len(root.children) == 201
    assert len(steps_tree(run(steps=tuple(step(index) for index in range(203))), full=True).children) == 203


def test_left_out_rows_are_counted() -> None:
    tools = run(steps=tuple(step(index, name=f"tool-{index}") for index in range(23)))
    (table,) = report_tables(compute_metrics([tools]))
    assert (table.columns[0].title, len(table.columns[0].cells), table.left_out) == ("tools", 20, 3)


def test_columns_are_of_equal_length() -> None:
    for table in tables_of(everything()):
        assert len({len(column.cells) for column in table.columns}) == 1


def test_every_tone_is_a_known_word() -> None:
    """A renderer that knows the words of `TONES` can show everything."""
    tones = set(tones_of(everything()))
    assert {word for tone in tones for word in tone.split()} <= set(TONES)
    assert {"strong success", "error", "failed", "warning", "id", "faint", "tool"} <= tones


def test_run_text() -> None:
    steps = (
        step(
            0,
            kind=StepKind.MODEL,
            name="chat",
            model="gpt-4o",
            messages=(message_of("user", "Rain?"), message_of("assistant", "No.")),
        ),
        step(1, input={"q": "rain"}, error=StepError(type="ValueError", message="no such city\nat all")),
        step(2, name="save", parent_step_id=2, ended_at_ns=None),
    )
    assert run_text(run(user_input="Will it rain?", final_output="No\x1b[2J.\nNever.", steps=steps)) == (
        "weather  success  2.00s\n"
        "  run       r1\n"
        "  started   2026-11-23 23:03:20.000+00:00\n"
        "  steps     3 (2 tool, 1 model), 1 failed\n"
        "\n"
        "  question  Will it rain?\n"
        "\n"
        "steps\n"
        "├── 1 model chat  gpt-4o  10ms  at +0ms\n"
        "│     user       Rain?\n"
        "│     assistant  No.\n"
        "└── 2 tool search  10ms  at +100ms  failed\n"
        '      in     {"q": "rain"}\n'
        "      error  ValueError: no such city\n"
        "             at all\n"
        "    └── 3 tool save  unfinished  at +200ms\n"
        "\n"
        "  answer    No\\x1b[2J.\n"
        "            Never."
    )


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (StepError(type="_OTHER", message="the service did not answer"), "the service did not answer"),
        (StepError(type="_OTHER"), "other"),
        (StepError(type="ValueError", message="no"), "ValueError: no"),
    ],
)
def test_an_error_without_a_class_is_shown_as_its_text(error: StepError, shown: str) -> None:
    """The conventions' ``_OTHER`` says that no class is known; it is nothing to read."""
    failed = run(status=RunStatus.ERROR, error=error)
    assert list(ending_rows(failed, full=False)) == [Row("error", shown, "failed")]
    assert summary_of(failed).to_dict()["error"] == shown
    assert run_text(failed).endswith(f"error     {shown}")


def test_tables_of_errors_call_it_other() -> None:
    error = StepError(type="_OTHER", message="no answer", category="_OTHER")
    report = compute_metrics([run(status=RunStatus.ERROR, error=error)])
    (table,) = report_tables(report)
    assert table.columns[1].cells == [Cell("other", "failed")]
    assert Row("run errors", "1 other") in list(report_rows(report))


def test_run_text_is_bounded() -> None:
    long = run(steps=(step(0, output="x\n" * 40),))
    assert "… (30 more lines)" in run_text(long)
    assert [line.split()[-1] for line in run_text(long, full=True).splitlines()[-40:]] == ["x"] * 40
    assert run_text(run()).splitlines()[-2:] == ["", "no steps"]


def message_of(role: str, text: str) -> Message:
    return Message(role=role, parts=({"type": "text", "content": text},))


def names_in(branch: Branch) -> tuple[str, list[object]]:
    """The names in a tree: that of a step is the third text of its title."""
    name = branch.title[2 if len(branch.title) > 2 else 0].text
    return name, [names_in(child) for child in branch.children]


def everything() -> AgentRun:
    """A run that has a bit of everything."""
    error = StepError(type="ValueError", message="no", stacktrace="line 1\nline 2")
    steps = (
        *(step(index, kind=kind, usage=Usage(input_tokens=1)) for index, kind in enumerate(StepKind)),
        step(5, error=error, truncated=(".input",), abandoned=True, ended_at_ns=None, metadata={"a": 1}),
        step(6, kind=StepKind.MODEL, messages=(message_of("user", "a"),) * 3, attributes={"a": 1}),
        step(7, kind=StepKind.AGENT, run=run(run_id="r3", agent_name="inner")),
    )
    scores = (Score(name="helpful", value=0.5), Score(name="helpful", value=True, label="yes", source="a"))
    return run(
        steps=steps,
        error=error,
        truncated=("final_output",),
        metadata={"a": 1},
        usage=Usage(input_tokens=1),
        scores=scores,
    )


def tables_of(of_run: AgentRun) -> Iterator[Table]:
    ends = [run(run_id=status.value, status=status, interrupted=True) for status in RunStatus]
    yield runs_table([summary_of(each) for each in (of_run, *ends)], at_time(BEGAN_NS))
    yield from report_tables(compute_metrics([of_run, *ends], bucket="1h", by="score:helpful"))


def tones_of(of_run: AgentRun) -> Iterator[str]:
    report = compute_metrics([of_run])
    rows = [*fact_rows(of_run, full=True), *ending_rows(of_run, full=True), *report_rows(report)]
    lines = [run_title(of_run), run_title(run()), report_title(report)]
    for each in of_run.steps:
        rows += step_rows(each, full=True)
        lines.append(step_title(each, of_run.started_at_ns))
    yield from (row.tone for row in rows)
    for table in tables_of(of_run):
        lines += [(cell,) if isinstance(cell, Cell) else cell for column in table.columns for cell in column.cells]
    yield from (cell.tone for line in lines for cell in line)


def test_a_signal_is_shown_with_its_value() -> None:
    """In the title of run and step, in a row of its own, in the list, and as a number in a report."""
    paused = run(interrupted_for={"approve": "pay?"}, steps=(step(0, interrupted_for="why"),))
    assert [cell.text for cell in run_title(paused)][2] == "paused"
    assert Row("paused for", '{"approve": "pay?"}', "warning") in list(ending_rows(paused, full=False))
    assert Cell("paused", "warning") in step_title(paused.steps[0], BEGAN_NS)
    assert [row.text for row in step_rows(paused.steps[0], full=False) if row.label == "paused for"] == ["why"]
    summary = summary_of(paused)
    statuses = next(column for column in runs_table([summary], at_time(BEGAN_NS)).columns if column.title == "status")
    assert statuses.cells == [Cell("paused", "paused")]
    assert (summary.to_dict()["status"], summary.to_dict()["interrupted_for"]) == ("success", "pay?")
    assert next(iter(report_rows(compute_metrics([paused])))) == Row("status", "1 paused")
