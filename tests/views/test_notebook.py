"""What notebooks show of runs, steps, sessions, reports and differences: elements and styles that survive, within bounds."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given

from otel_agent_trace import AgentRun, AgentStep, Message, RunStatus, StepError, StepKind
from otel_agent_trace.metrics import compare_metrics, compute_metrics
from otel_agent_trace.model import LogEntry, Score
from otel_agent_trace.prices import Prices
from otel_agent_trace.replay import diff_runs
from otel_agent_trace.sessions import AgentSession
from otel_agent_trace.sessions.session import session_of
from otel_agent_trace.sessions.turn import turn_of
from otel_agent_trace.viewer.html_file import document_of
from tests.support import long_runs
from tests.support.measured_runs import measured_runs
from tests.support.run_strategies import agent_runs
from tests.support.sample_runs import failed_run, make_run

MOST_BYTES, MOST_STEPS = 200_000, 100
ALLOWED = {"div", "details", "summary", "table", "tr", "th", "td", "pre", "span"}
PLAIN_STYLE = re.compile(r"(?:[a-z-]+:[a-zA-Z0-9#%., -]+(?:;|$))*")
HOSTILE = "</pre></td><script>alert(1)</script><img src=x onerror=alert(1)>\" style='x\x1b[2J\u202e\x00\ud800"
HUGE = "<é x" * 2_500_000


class Checker(HTMLParser):
    """Whether HTML has only elements and attributes that survive in any notebook, and is nested as it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._open: list[str] = []
        self.elements: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        self.elements.append(tag)
        assert tag in ALLOWED
        for name, value in attrs:
            assert name in ("style", "open")
            assert name == "open" or PLAIN_STYLE.fullmatch(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_comment(self, data: str) -> None:
        pytest.fail(f"a comment: {data[:80]}")

    def handle_decl(self, decl: str) -> None:
        pytest.fail(f"a declaration: {decl[:80]}")


def shown(item: Any) -> str:
    """The HTML of something, which was checked, as was its text."""
    bundle = item._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/html"] == item._repr_html_()
    assert bundle["text/plain"].strip()
    for text in bundle.values():
        assert len(text.encode()) <= MOST_BYTES
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    Checker(bundle["text/html"])
    return str(bundle["text/html"])


def session_in(runs: Sequence[AgentRun]) -> AgentSession:
    """A session of these runs."""
    return session_of("s", [turn_of(run) for run in runs], runs)


def items_of(*runs: AgentRun) -> list[Any]:
    """All that can be shown of some runs."""
    reports = [compute_metrics(part, prices=Prices.of(None)) for part in (runs, runs[:1])]
    steps = [step for run in runs for step in run.steps[:3]]
    return [*runs, *steps, session_in(runs), reports[0], compare_metrics(*reports), diff_runs(runs[0], runs[-1])]


def test_everything_is_shown_with_its_facts() -> None:
    run, other = make_run(1), failed_run(2)
    assert "question 1" in shown(run)
    assert "answer 1" in shown(run)
    assert "inner-tool" in shown(run)
    assert "ValueError: no" in shown(other)
    assert "😀" in shown(run.steps[1])
    assert "2 runs" in shown(compute_metrics([run, other]))
    assert "answer 2" in shown(diff_runs(run, make_run(2)))
    assert "question 4" in shown(session_in([make_run(3), make_run(4)]))
    assert shown(compare_metrics(compute_metrics([run]), compute_metrics([other])))


def test_the_text_has_what_the_commands_show() -> None:
    """A terminal, and a notebook that was converted to text, have no HTML."""
    run, other = make_run(1), make_run(2)

    def first_words(item: Any) -> list[str]:
        lines = item._repr_mimebundle_()["text/plain"].splitlines()
        return [" ".join(line.split()[:3]) for line in lines]

    report = compute_metrics([run, failed_run(2)])
    assert first_words(report)[0] == "2 runs 50%"
    assert "inner-tool 2 0" in first_words(report)
    assert 'in {"query": "😀"}' in first_words(run.steps[1])
    assert {"question question 1", "answer answer 2"} <= set(first_words(session_in([run, other])))
    assert {"question - question", "+ question 2", "+ answer 2"} <= set(first_words(diff_runs(run, other)))
    assert "success 50% 50%" in first_words(compare_metrics(report, report))


def test_a_long_run_has_its_end_in_its_text() -> None:
    steps = tuple(long_runs.step(index, input=HUGE[:9_000]) for index in range(300))
    text = long_runs.run_of(steps, user_input="first", final_output="last")._repr_mimebundle_()["text/plain"]
    assert "question  first" in text
    assert text.endswith("answer    last")
    assert len(text) < 30_000


def test_a_bar_is_where_its_step_is() -> None:
    steps = tuple(long_runs.step(index) for index in range(2))
    lefts = re.findall(
        r"left:([\d.]+)%;width:([\d.]+)%", shown(long_runs.run_of(steps, ended_at_ns=long_runs.BEGAN_NS + 20_000_000))
    )
    assert lefts == [("0.00", "25.00"), ("50.00", "25.00")]


@given(agent_runs(), measured_runs())
def test_any_run_is_shown_with_what_survives(run: AgentRun, other: AgentRun) -> None:
    for item in items_of(run, other):
        shown(item)


def of_text(text: Any, **more: Any) -> AgentRun:
    """A run with a text wherever one can be."""
    error = StepError(type=text, message=text, stacktrace=text)
    facts: dict[str, Any] = {
        "error": error,
        "metadata": {text: text, **{f"{number}": text for number in range(50)}},
        "attributes": {text: text},
        "scores": tuple(Score(name=text, value=1, label=text, explanation=text, source=text) for _ in range(20)),
        "logs": tuple(LogEntry(at_ns=1, severity=text, body=text, logger=text) for _ in range(20)),
        "prompt_name": text,
        "truncated": (text,),
        "redacted": (text,),
        "model": text,
    }
    message = Message(role=text, name=text, parts=({"type": "text", "content": text}, {"type": text, text: text}))
    step = long_runs.step(
        0, kind=StepKind.MODEL, **facts | {"name": text, "input": {text: text}, "output": [text, text]}
    )
    model = long_runs.step(1, kind=StepKind.MODEL, messages=(message,) * 20, **facts)
    tool = long_runs.step(2, input=text, output=text, interrupted_for=text, **facts)
    named = {"agent_name": text, "user_input": text, "final_output": text, "tags": (text,) * 20, "session_id": "s"}
    return long_runs.run_of((step, model, tool), status=RunStatus.ERROR, config={text: text}, **facts | named | more)


def test_hostile_texts_are_only_text() -> None:
    for item in items_of(of_text(HOSTILE, run_id=HOSTILE), of_text(HOSTILE, user_input="other")):
        assert "<script" not in shown(item)


@pytest.mark.parametrize(
    "make",
    [
        lambda: long_runs.run_of((long_runs.step(0, input=HUGE, output=[HUGE]),), user_input=HUGE, final_output=HUGE),
        lambda: long_runs.long_run(50_000),
        lambda: long_runs.nested_run(300),
        lambda: long_runs.deep_run(3_000),
        lambda: long_runs.run_of(tuple(long_runs.step(index, input=HUGE[:9_000]) for index in range(300))),
    ],
    ids=["huge texts", "many steps", "nested agents", "deep steps", "long inputs"],
)
def test_any_size_is_bounded(make: Callable[[], AgentRun]) -> None:
    run = make()
    text = shown(run)
    assert text.count("<summary>") <= MOST_STEPS + 1
    shown(run.steps[0])
    shown(session_in([run]))


def test_what_is_left_out_is_mentioned() -> None:
    assert "… 150 more steps" in shown(long_runs.long_run(250))
    assert "… 10 more turns" in shown(session_in([make_run(number) for number in range(40)]))
    steps = tuple(long_runs.step(index, name=f"t{index}", input={"q": index}) for index in range(150))
    assert "more is left out here" in shown(diff_runs(long_runs.run_of(steps), long_runs.run_of(())))


def test_long_facts_leave_room_for_the_steps() -> None:
    run = long_runs.run_of((long_runs.step(0, name="the-step"),), metadata={f"{n}": "x" * 9_000 for n in range(300)})
    assert "the-step" in shown(run)


def test_a_run_in_a_frame_can_reach_nothing_but_itself() -> None:
    run = of_text(HOSTILE)
    frame = run.view(height_px=321)._repr_html_()
    found = re.fullmatch(
        r'<iframe sandbox="allow-scripts" style="width:100%;height:321px;[^"]*" srcdoc="([^"]*)"></iframe>', frame
    )
    assert found
    assert html.unescape(found[1]) == document_of(run)


def test_a_step_is_shown_without_its_run() -> None:
    assert "unfinished" in shown(AgentStep(name="x"))
