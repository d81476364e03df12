import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from otel_agent_trace.formats import otlp_json
from otel_agent_trace.model import RunStatus, StepError, StepKind, Usage
from otel_agent_trace.span import Scope, SpanRecord
from otel_agent_trace.views.summaries import short_ids


@pytest.fixture
def three_runs(write_runs, make_run, make_step):
    failed = make_step(0, StepKind.TOOL, "search", 60_000, 60_500, error=StepError(type="ValueError", message="no"))
    return write_runs(
        [
            make_run("aaaaaaaa11", 0, user_input="first question", user_id="u1", session_id="s1"),
            make_run(
                "bbbbbbbb22",
                60,
                agent_name="travel",
                user_input={"question": "second question"},
                status=RunStatus.ERROR,
                error=StepError(type="ValueError", message="no"),
                usage=Usage(input_tokens=12_000, output_tokens=345),
                steps=(failed,),
            ),
            make_run("cccccccc33", 120, user_input="third question"),
        ]
    )


def test_lists_newest_first(run_command, three_runs):
    """The newest run stands first, with its short id, agent, status and question."""
    result = run_command("list", three_runs)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].split() == ["run", "when", "agent", "status", "took", "steps", "errors", "tokens", "question"]
    assert [line.split()[0] for line in lines[1:]] == ["cccccccc33", "bbbbbbbb22", "aaaaaaaa11"]
    assert re.search(r"travel +error +1\.00s +1 +1 +12\.3k +second question$", lines[2])


def test_source_comes_from_the_environment(run_command, three_runs, monkeypatch):
    """Without SOURCE the variable names the file."""
    monkeypatch.setenv("OTEL_AGENT_TRACE_FILE", str(three_runs))
    monkeypatch.chdir("/")
    assert len(json.loads(run_command("list", "--json").out)) == 3


def test_json_is_an_array_of_summaries(run_command, three_runs):
    """`--json` says of each run what the table says, and more."""
    runs = json.loads(run_command("list", "--json").out)
    assert [run["run_id"] for run in runs] == ["cccccccc33", "bbbbbbbb22", "aaaaaaaa11"]
    failed = runs[1]
    assert (failed["status"], failed["steps"], failed["errors"], failed["tools"]) == ("error", 1, 1, {"search": 1})
    assert (failed["input_tokens"], failed["error"], failed["user_input"]) == (
        12_000,
        "ValueError: no",
        "second question",
    )


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--status", "error"], ["b"]),
        (["--agent", "weather"], ["c", "a"]),
        (["--tool", "search"], ["b"]),
        (["--user", "u1"], ["a"]),
        (["--session", "s1"], ["a"]),
        (["--since", "2026-11-23T23:04:20Z"], ["c", "b"]),
        (["--until", "2026-11-23T23:04:20Z"], ["a"]),
        (["--limit", "1"], ["c"]),
        (["--limit", "0"], ["c", "b", "a"]),
        (["--agent", "nobody"], []),
    ],
)
def test_filters(run_command, three_runs, options, found):
    """Each filter keeps the runs that fit."""
    runs = json.loads(run_command("list", three_runs, "--json", *options).out)
    assert [run["run_id"][0] for run in runs] == found


def test_says_when_there_may_be_more(run_command, three_runs):
    """A list that the limit cut says so on standard error."""
    result = run_command("list", "--limit", "2")
    assert len(result.out.splitlines()) == 3
    assert "--limit 0" in result.err


def test_nothing_that_fits(run_command, three_runs):
    """No run is no failure: nothing on standard output, a word on standard error."""
    assert run_command("list", "--agent", "nobody") == (0, "", "no runs in traces.jsonl match the filters\n")


@pytest.mark.parametrize("command", ["list", "metrics", "show"])
def test_spans_without_a_run_are_counted_by_scope(run_command, command):
    """Whoever finds no runs reads which spans there are instead."""
    spans = [
        SpanRecord("ab" * 16, f"{number:016x}", None, "GET", 1, 2, scope=Scope(f"scope-{min(number // 2, 6)}"))
        for number in range(2, 18)
    ]
    Path("traces.jsonl").write_bytes(otlp_json.encode(spans))
    assert run_command(command).err.removeprefix("error: ") == (
        "no runs in traces.jsonl, which has 16 spans, of the scopes "
        "scope-6 (6), scope-1 (2), scope-2 (2), scope-3 (2), scope-4 (2) and 1 more\n"
    )


def test_nothing_is_cut_where_the_output_is_no_terminal(run_command, write_runs, make_run, monkeypatch):
    """Ids, names and questions are whole, unless the user sets a width."""
    question, agent, run_id = (
        "why " * 40 + "so?",
        "the agent with the long name of forty and more characters",
        "ab" * 16,
    )
    write_runs([make_run(run_id, agent_name=agent, user_input=question)])
    monkeypatch.delenv("COLUMNS")
    heading, line = run_command("list").out.splitlines()
    assert line.startswith(f"{run_id}  ")
    assert line.endswith(question)
    assert agent in line
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, run_command("list").out.splitlines())) <= 80


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_fits_every_width(run_command, three_runs, monkeypatch, width):
    """No line is longer than the terminal is wide, and each run keeps its one line."""
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run_command("list", three_runs).out.splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    assert "cccccccc" in lines[1]


def test_no_column_is_left_out_at_eighty(run_command, write_runs, make_run, monkeypatch):
    """Long texts are narrowed, those of wide characters too, so that the columns stand below each other."""
    monkeypatch.setenv("COLUMNS", "80")
    large = {"usage": Usage(input_tokens=12_345_678)}
    names = ["a" * 90, "旅行代理" * 9, "🧳" * 20]
    runs = [make_run(f"order-{'7' * 60}-{i}", 9 * i, agent_name=name, **large) for i, name in enumerate(names)]
    write_runs([*runs, make_run("b", 90, user_input="why? " * 30)])
    heading, *lines = run_command("list").out.splitlines()
    assert heading.split() == ["run", "when", "agent", "status", "took", "steps", "errors", "tokens", "question"]
    assert len(lines) == 4
    assert max(map(cell_len, lines)) <= 80
    assert len({cell_len(line[: line.index("success")]) for line in lines}) == 1


def test_a_file_is_given_whole_lines(run_command, write_runs, make_run, monkeypatch):
    """Of a stack trace with long paths, as of anything else."""
    line = f'  File "/{"deep/" * 60}agent.py", line 1, in run'
    error = StepError(type="ValueError", message="no", stacktrace=f"Traceback:\n{line}\nValueError: no\n")
    write_runs([make_run("a", status=RunStatus.ERROR, error=error, metadata={"url": "http://x/" + "y" * 500})])
    monkeypatch.delenv("COLUMNS")
    shown = run_command("show", "--full").out
    assert any(found.endswith(line) for found in shown.splitlines())
    assert "http://x/" + "y" * 500 in shown


def test_question_is_shortened(run_command, write_runs, make_run):
    """A question of many lines becomes the beginning of one."""
    write_runs([make_run("abc", user_input="one\ntwo\n" + "x" * 10_000)])
    assert "one two xxx" in run_command("list").out
    assert len(json.loads(run_command("list", "--json").out)[0]["user_input"]) == 200


def test_a_listed_id_shows_its_own_run(run_command, write_runs, make_run):
    """An id as the list shows it is never that of another run, not of one that the list left out either."""
    write_runs([make_run(f"order-{number}", number, user_input=f"question {number}") for number in range(1, 101)])
    newest = run_command("list", "--limit", "2").out.splitlines()[1].split()
    assert newest[-1] == "100"
    assert "question 100" in run_command("show", newest[0]).out


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
UUID = "0199c1a2-7d7a-7c3e-8a51-5f6b9f0e1d2c"


@pytest.mark.parametrize(
    ("ids", "short"),
    [
        ([UUID, TRACE], ["0199c1a2", "4bf92f35"]),
        ([TRACE, f"{TRACE[:-1]}7"], [TRACE, f"{TRACE[:-1]}7"]),
        ([TRACE, f"{TRACE}-00f067aa0ba902b7"], [TRACE, f"{TRACE}-"]),
        (["run-2026-0001", "run-2026-0002"], ["run-2026-0001", "run-2026-0002"]),
        (["conversation-100"], ["conversation-100"]),
        (["0123456789"], ["0123456789"]),
        (["x"], ["x"]),
    ],
)
def test_short_ids_are_unique(ids, short):
    """A short id has at least eight characters and fits one run only; what somebody chose stays whole."""
    assert list(short_ids(ids).values()) == short


def test_what_is_shown_as_the_status_is_what_the_filter_finds(run_command, write_runs, make_run, monkeypatch):
    """At 80 columns, for runs that a framework paused too, which the figures count by the same word."""
    monkeypatch.setenv("COLUMNS", "80")
    question = "Which of the two cities is nicer for a weekend?"
    ends: list[dict[str, Any]] = [
        {"interrupted_for": {"approve": "pay?"}},
        {"status": RunStatus.ERROR},
        {"status": RunStatus.RUNNING, "ended_at_ns": None},
        {},
    ]
    ids = [f"4bf92f3577b34da6a3ce929d0e0e473{number}" for number in range(len(ends))]
    write_runs([make_run(run_id, user_input=question, **end) for run_id, end in zip(ids, ends, strict=True)])
    for status in ("paused", "error", "running", "success"):
        _, line = run_command("list", "--status", status).out.splitlines()
        assert f"weather  {status}  " in line
    assert run_command("list", "--status", "interrupted").err == "no runs in traces.jsonl match the filters\n"
    assert "1 success, 1 error, 1 paused, 1 running" in run_command("metrics").out
    assert json.loads(run_command("metrics", "--json").out)["paused"] == 1
