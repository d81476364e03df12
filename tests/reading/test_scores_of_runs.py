"""Scores that were given later, or elsewhere: each belongs to its span, or else to the run that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otel_agent_trace import AgentRun, Score, explain_run, load_run, load_runs, open_source, run_to_spans
from otel_agent_trace.cli import main
from otel_agent_trace.scores import event_of
from otel_agent_trace.span import LogRecord, SpanRecord
from tests.support.handwritten_spans import TRACE, span
from tests.support.reading_limits import set_block_bytes
from tests.support.sample_runs import Problems, write_records_to

Write = Callable[..., Path]
OTHER_TRACE, NO_SPAN = "f" * 32, "e" * 16
SCOPE = "otel_agent_trace"
BREVITY = Score(name="brevity", value=0.25, source="HUMAN", at_ns=200)
RUN_ID, STEP = "agent_trace.run.id", {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}


def run_spans(run_id: str, first: str, begin: int = 2, trace_id: str = TRACE) -> list[SpanRecord]:
    """Return a run of our own tracer, with one step and a sub-agent with a step of its own."""
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
    below = {**agent, RUN_ID: f"{run_id}-below", "agent_trace.run.parent_id": run_id}
    spans = [
        span(f"{first}1", None, (begin, begin + 50), "invoke_agent weather", {**agent, RUN_ID: run_id}, scope=SCOPE),
        span(f"{first}2", f"{first}1", (begin + 1, begin + 2), "search", {**STEP, RUN_ID: run_id}, scope=SCOPE),
        span(f"{first}3", f"{first}1", (begin + 3, begin + 9), "invoke_agent b", below, scope=SCOPE),
        span(
            f"{first}4", f"{first}3", (begin + 4, begin + 5), "search", {**STEP, RUN_ID: f"{run_id}-below"}, scope=SCOPE
        ),
    ]
    return [msgspec.structs.replace(each, trace_id=trace_id) for each in spans]


def record(score: Score, run_id: str, trace_id: str = "", span_id: str = "") -> LogRecord:
    event = event_of(score)
    return LogRecord(trace_id, span_id, event.name, event.time_ns, {**event.attributes, RUN_ID: run_id})


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes spans and log records, a line each, and returns the path."""

    def write(*items: SpanRecord | LogRecord, name: str = "trace.jsonl") -> Path:
        return write_records_to(tmp_path / name, items)

    return write


def scored(runs: list[AgentRun]) -> dict[str, list[str]]:
    """Return the names of the scores of each run and step, by its run and its name, where there are some."""
    found: dict[str, list[str]] = {}
    for run in (each for outer in runs for each in outer.walk()):
        places: list[tuple[str, Any]] = [
            (run.run_id, run),
            *((f"{run.run_id}/{step.name}", step) for step in run.steps),
        ]
        for place, item in places:
            if item.scores:
                found.setdefault(place, []).extend(score.name for score in item.scores)
    return found


SPANS = [*run_spans("order-1", "a"), *run_spans("order-10", "b", 3)]
FIRST, STEP_OF_FIRST = SPANS[0].span_id, SPANS[1].span_id


@pytest.mark.parametrize("block_bytes", [128 << 10, 300], ids=["one block", "many blocks"])
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("run_id", "trace_id", "span_id", "place"),
    [
        ("order-1", TRACE, FIRST, "order-1"),
        ("order-1", TRACE, STEP_OF_FIRST, "order-1/search"),
        ("order-10", TRACE, "", "order-10"),
        ("order-10-below", TRACE, "", "order-10-below"),
        ("order-1", TRACE, NO_SPAN, "order-1"),
        ("order-1", "", "", "order-1"),
        ("order-10-below", "", "", "order-10-below"),
    ],
)
def test_a_score_belongs_to_its_span_or_else_to_its_run(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    *,
    block_bytes: int,
    is_first: bool,
    run_id: str,
    trace_id: str,
    span_id: str,
    place: str,
) -> None:
    """Two runs are in one trace, and one id begins as the other; the record is before them or after them, in a file of its own."""
    set_block_bytes(monkeypatch, block_bytes)
    late = write(record(BREVITY, run_id, trace_id, span_id), name="a.jsonl" if is_first else "z.jsonl")
    path = write(*SPANS, *run_spans("order-2", "c", trace_id=OTHER_TRACE))
    runs = load_runs(path.parent, strict=True)
    assert late.exists()
    assert scored(runs) == {place: ["brevity"]}
    assert [score for outer in runs for run in outer.walk() for score in run.scores] in ([BREVITY], [])
    assert explain_run(path.parent, "order-1").outside_logs == ()


@pytest.mark.parametrize(
    ("run_id", "trace_id", "span_id"),
    [
        ("order-3", "", ""),
        ("order", "", ""),
        ("order-3", TRACE, ""),
        ("order-2", TRACE, NO_SPAN),
        ("order-1", NO_SPAN * 2, ""),
    ],
)
def test_a_score_of_a_run_that_was_not_read_is_counted(
    write: Write, capsys: pytest.CaptureFixture[str], run_id: str, trace_id: str, span_id: str
) -> None:
    """It is on no other run: where it names a trace, the run is looked for there only."""
    path = write(
        *run_spans("order-1", "a"),
        *run_spans("order-2", "c", trace_id=OTHER_TRACE),
        record(BREVITY, run_id, trace_id, span_id),
    )
    assert scored(load_runs(path)) == {}
    (outside,) = explain_run(path, "order-1").outside_logs
    assert (outside.why, outside.records) == ("of a run that was not read", 1)
    assert main(["explain", str(path), "order-1"]) == 0
    assert "of a run that was not read" in capsys.readouterr().out


def test_the_id_of_a_run_is_nothing_else(write: Write) -> None:
    path = write(*run_spans("order-1", "a"), record(BREVITY, "order-1", TRACE, FIRST))
    run, unscored = load_run(path), load_run(write(*run_spans("order-1", "a"), name="b.jsonl"))
    assert msgspec.structs.replace(run, scores=()) == unscored
    assert not [place for each in explain_run(path).outside for place in each.places]


@pytest.mark.parametrize(("at_ns", "expected"), [(150, "first"), (400, "second"), (1, "first")])
@pytest.mark.parametrize("same_trace", [True, False])
def test_runs_with_one_id(write: Write, at_ns: int, expected: str, *, same_trace: bool) -> None:
    """As retries have it: the score belongs to the run that began last before it."""
    second = run_spans("order-1", "b", 300, trace_id=TRACE if same_trace else OTHER_TRACE)
    late = record(msgspec.structs.replace(BREVITY, at_ns=at_ns), "order-1", TRACE if same_trace else "")
    runs = load_runs(write(*run_spans("order-1", "a", 100), *second, late))
    assert {run.started_at_ns: len(run.scores) for run in runs} == {
        100: int(expected == "first"),
        300: int(expected == "second"),
    }


def test_a_run_with_one_id_in_the_trace_that_the_score_names(write: Write) -> None:
    second = run_spans("order-1", "b", 300, trace_id=OTHER_TRACE)
    runs = load_runs(write(*run_spans("order-1", "a", 100), *second, record(BREVITY, "order-1", TRACE)))
    assert {run.trace_id: len(run.scores) for run in runs} == {TRACE: 1, OTHER_TRACE: 0}


@pytest.mark.parametrize("parent", [None, "9"])
def test_runs_of_other_tracers(write: Write, parent: str | None) -> None:
    """Their ids are derived from those of their traces and spans."""
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
    spans = [span("a", parent, (2, 90), "invoke_agent weather", agent), span("b", "a", (3, 4), "search", STEP)]
    (run,) = load_runs(write(*spans))
    path = write(*spans, *run_spans("order-1", "c", trace_id=OTHER_TRACE), record(BREVITY, run.run_id))
    assert scored(load_runs(path)) == {run.run_id: ["brevity"]}


def test_a_run_without_a_span(write: Write) -> None:
    """As while it is in progress elsewhere, or where a policy left its span out: the score is the run's own."""
    _, *steps = run_spans("order-1", "a")
    path = write(*steps, record(BREVITY, "order-1", TRACE, FIRST))
    (run,) = load_runs(path)
    assert (run.span_id, scored([run])) == (None, {"order-1": ["brevity"]})
    assert load_run(write(*run_to_spans(run), name="written.jsonl")).scores == (BREVITY,)


def test_a_step_without_a_span(write: Write) -> None:
    """It is known from the messages of a model only, so that a score names it by its id."""
    call = [{"role": "assistant", "parts": [{"type": "tool_call", "id": "1", "name": "search", "arguments": {}}]}]
    answer = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": "x"}]}
    chat = {"gen_ai.operation.name": "chat"}
    spans = [
        span("a", None, (2, 90), "invoke_agent w", {"gen_ai.operation.name": "invoke_agent"}),
        span("b", "a", (3, 4), "chat m", {**chat, "gen_ai.output.messages": call}),
        span("c", "a", (5, 6), "chat m", {**chat, "gen_ai.input.messages": [*call, answer]}),
    ]
    (run,) = load_runs(write(*spans))
    step = next(step for step in run.steps if step.kind == "tool")
    log = record(BREVITY, run.run_id, TRACE)
    log = msgspec.structs.replace(log, attributes={**log.attributes, "agent_trace.step.id": step.step_id})
    (run,) = load_runs(write(*spans, log))
    assert step.span_id is None
    assert scored([run]) == {f"{run.run_id}/{step.name}": ["brevity"]}


class Held:
    """A source of spans in memory."""

    def __init__(self, *spans: SpanRecord) -> None:
        self._spans = spans

    def traces(self, on_problem: object) -> Iterator[list[SpanRecord]]:
        """Yield the only trace."""
        return iter([list(self._spans)])


@pytest.mark.parametrize(("trace_id", "span_id"), [("", ""), (TRACE, ""), (TRACE, FIRST)])
def test_scores_in_a_file_of_runs_in_another_source(write: Write, trace_id: str, span_id: str) -> None:
    path = write(record(BREVITY, "order-1", trace_id, span_id), *run_spans("order-2", "c", trace_id=OTHER_TRACE))
    source = open_source([path, Held(*SPANS)])
    assert scored(load_runs(source)) == {"order-1": ["brevity"]}


def test_scores_of_runs_that_are_never_read_are_bounded(
    write: Write, problems: Problems, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_agent_trace.sources.named_logs.MOST_RECORDS", 1)
    records = [record(msgspec.structs.replace(BREVITY, at_ns=at), "order-1") for at in (200, 201, 202)]
    (run,) = load_runs(write(*run_spans("order-1", "a"), *records), on_problem=problems)
    assert len(run.scores) == 1
    assert "2 of responses and runs are left out" in str(problems[0])


def test_scores_of_one_moment_keep_their_order(write: Write) -> None:
    """Clocks of some systems stand for milliseconds."""
    names = ["c", "a", "b"]
    records = [record(Score(name=name, value=True, at_ns=200), "order-1", TRACE, FIRST) for name in names]
    (run,) = load_runs(write(*run_spans("order-1", "a"), *records))
    assert [score.name for score in run.scores] == names
