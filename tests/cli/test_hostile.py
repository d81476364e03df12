import io
import re
import unicodedata
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.console import Console

from otel_agent_trace.cli.printing import (
    print_beginning,
    print_diff,
    print_ending,
    print_plan,
    print_report,
    print_run,
    print_runs,
    print_session,
    print_sessions,
    print_step,
)
from otel_agent_trace.metrics import compute_metrics
from otel_agent_trace.model import AgentRun, AgentStep, Message, RunStatus, Score, StepError, StepKind, at_time
from otel_agent_trace.replay.diff import diff_runs
from otel_agent_trace.replay.plan import plan_replay
from otel_agent_trace.replay.walk import walk_run
from otel_agent_trace.runs.step_names import StepNames
from otel_agent_trace.sessions import load_sessions
from otel_agent_trace.sources.runs import RunsSource
from otel_agent_trace.values import Opaque
from otel_agent_trace.views.summaries import summary_of
from otel_agent_trace.views.text import run_text

SGR = re.compile(r"\x1b\[[0-9;]*m")
NASTY = (
    "\x1b]0;title\x07\x1b[2J\x9b31m\u202egnp.exe\u2028\x7f\r\x00\ud800\ufeff[red]markup[/red] :smile: [link=http://x]y"
)


def hostile_run(text: str) -> AgentRun:
    """A run that says `text` wherever a run can say anything."""
    error = StepError(type=text, message=text, stacktrace=text, category=text)
    tool = AgentStep(
        step_id=text,
        name=text,
        input={text: [text]},
        output=Opaque(text, text),
        error=error,
        metadata={text: text},
        attributes={text: text},
        truncated=(text,),
        started_at_ns=10,
        ended_at_ns=20,
    )
    parts = (
        {"type": "text", "content": text},
        {"type": "reasoning", "content": text},
        {"type": "tool_call", "name": text, "arguments": text},
        {"type": "tool_call_response", "response": {text: text}},
        {"type": "uri", "uri": text},
        {"type": "file", "file_id": text},
        {"type": "blob", "mime_type": text},
        {"type": text, text: text},
    )
    messages = (Message(role=text, parts=parts), Message(role=text, parts=parts))
    model = AgentStep(step_id=2, index=1, kind=StepKind.MODEL, name=text, model=text + "x", messages=messages)
    inner = AgentRun(run_id=text + "/", agent_name=text, user_input=text, final_output=text, steps=(tool,))
    agent = AgentStep(step_id=3, index=2, kind=StepKind.AGENT, name=text, run=inner)
    return AgentRun(
        run_id=text,
        agent_name=text,
        user_input=text,
        user_id=text,
        session_id=text,
        model=text,
        config={text: text},
        metadata={text: text},
        attributes={text: text},
        status=RunStatus.ERROR,
        final_output=[text],
        error=error,
        steps=(tool, model, agent),
        trace_id=text + "t",
        parent_run_id=text,
        resource={"service.name": text},
        truncated=(text,),
        replay_of=text,
        continues=text,
        scores=(Score(name=text, label=text, explanation=text, source=text), Score(name=text + "v", value=0.5)),
        started_at_ns=5,
        ended_at_ns=30,
    )


def everything_shown(run: AgentRun, width: int) -> str:
    """All that the commands for people write of a run, in colour, and its plain text."""
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        force_terminal=True,
        color_system="truecolor",
        markup=False,
        emoji=False,
        highlight=False,
    )
    for full in (False, True):
        print_run(run, console, full=full)
        print_beginning(run, console, full=full)
        for depth, step in walk_run(run):
            print_step(step, depth, StepNames(run), console, names_only=False, full=full)
        print_ending(run, console, names_only=False, full=full)
        print_diff(diff_runs(run, hostile_run("other")), console, full=full)
        print_diff(diff_runs(replace(run, steps=()), run), console, full=full)
    print_plan(plan_replay(run), console)
    print_runs([summary_of(run)], console, at_time(0))
    for session in load_sessions(RunsSource(SimpleNamespace(runs=lambda: [run]))):
        print_sessions([session], console, at_time(0))
        print_session(session, console, full=False)
        print_session(session, console, full=True)
    print_report(compute_metrics([run], bucket="1h"), console)
    return file.getvalue() + run_text(run, full=True)


def controls_in(shown: str) -> set[str]:
    plain = SGR.sub("", shown)
    return {char for char in plain if char != "\n" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


@pytest.mark.parametrize("width", [30, 80, 200])
def test_nothing_but_colour_reaches_the_terminal(width):
    """Of a run full of control characters nothing comes through but our own colours, and its markup is plain text."""
    shown = everything_shown(hostile_run(NASTY), width)
    assert controls_in(shown) == set()
    assert "[red]" in shown or width == 30


@pytest.mark.slow
@settings(deadline=None)
@given(st.text(st.one_of(st.sampled_from(NASTY), st.characters(codec=None)), max_size=40))
@example("\t")
@example("\t0")
@example("a\tb\n\tc")
def test_no_text_gets_through(text):
    """The same of any text at all."""
    assert controls_in(everything_shown(hostile_run(text), 80)) == set()


def test_json_has_no_control_character(run_command, write_runs, make_run, make_step):
    """What `--json` writes to a terminal is as harmless."""
    text = NASTY.replace("\ud800", "")
    steps = (make_step(0, StepKind.TOOL, text, 0, 1, input=text, output={text: text}),)
    write_runs([make_run("run", user_input=text, agent_name=text, session_id=text, steps=steps)])
    commands = (("list",), ("show",), ("show", "--session", text), ("sessions",), ("replay",), ("metrics",))
    for command in commands:
        result = run_command(*command, "--json")
        assert result.code == 0
        assert controls_in(result.out) == set()


def test_errors_and_warnings_are_escaped(run_command, tmp_path, write_runs, make_run):
    """A hostile file name, run id or line does no harm on standard error either."""
    write_runs([make_run("run")])
    for arguments in (("list", "a\x1b[2J.jsonl"), ("show", "traces.jsonl", "x\x1b[2J\u202e"), ("\x1b[2J",)):
        result = run_command(*arguments)
        assert result.code == 2
        assert controls_in(result.err) == set()
        assert "\x1b" not in result.err
