"""Log records that name no span that was read: each belongs to the run or the call that it does name, or is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from otel_agent_trace import RunNotFoundError, Score, explain_run, load_run, load_runs, open_source
from otel_agent_trace.cli import main
from otel_agent_trace.runs.left_out import OutsideLogs
from otel_agent_trace.sources import named_logs as named_logs_module
from otel_agent_trace.sources import sessions as sessions_module
from otel_agent_trace.sources.trace_logs import MOST_LOGS_OF_A_SPAN
from otel_agent_trace.span import LogRecord, Scope, SpanRecord
from tests.support.handwritten_spans import TRACE, span
from tests.support.reading_limits import set_block_bytes
from tests.support.sample_runs import Problems, write_records_to

Write = Callable[..., Path]
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
REQUEST = span("9", None, (1, 99), "POST /ask", {"http.route": "/ask"})
RUN = [
    span("a", None, (2, 90), "invoke_agent weather", AGENT),
    span("c", "a", (4, 5), "chat m", {"gen_ai.operation.name": "chat", "gen_ai.response.id": "r1"}),
]
BELOW_REQUEST = [REQUEST, span("a", "9", (2, 90), "invoke_agent weather", AGENT), RUN[1]]
OTHER_TRACE, NO_SPAN = "f" * 32, "e" * 16
BREVITY = {"gen_ai.evaluation.name": "brevity", "gen_ai.evaluation.score.value": 0.25}
EVALUATION = "gen_ai.evaluation.result"


def line(trace_id: str = "", span_id: str = "", body: str = "pool exhausted", at: int = 7) -> LogRecord:
    return LogRecord(trace_id, span_id, "", at, {}, body, 17, "ERROR", scope=Scope("db"))


def evaluation(trace_id: str, span_id: str, response_id: str) -> LogRecord:
    attributes = {**BREVITY, "gen_ai.response.id": response_id}
    return LogRecord(trace_id, span_id, EVALUATION, 12, attributes, scope=Scope("judge"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes spans, or log records, a line each, and returns the path."""

    def write(*items: SpanRecord | LogRecord, name: str = "trace.jsonl") -> Path:
        return write_records_to(tmp_path / name, items)

    return write


def bodies(logs: Iterable[object]) -> list[object]:
    return [getattr(entry, "body", None) for entry in logs]


# ── of a trace ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("block_bytes", [128 << 10, 300], ids=["one block", "many blocks"])
@pytest.mark.parametrize("spans", [RUN, BELOW_REQUEST], ids=["outermost", "below a request"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_record_of_a_trace_is_one_of_its_run(
    write: Write, monkeypatch: pytest.MonkeyPatch, *, spans: list[SpanRecord], is_first: bool, block_bytes: int
) -> None:
    set_block_bytes(monkeypatch, block_bytes)
    record = line(TRACE)
    path = write(*((record, *spans) if is_first else (*spans, record)))
    run = load_run(path)
    assert bodies(run.logs) == ["pool exhausted"]
    assert explain_run(path).outside_logs == ()


CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}


def calls_below(parent: str | None) -> list[SpanRecord]:
    return [span(str(at), parent, (at * 10, at * 10 + 5), "chat", CHAT) for at in (1, 2, 3)]


def test_a_record_of_a_trace_of_calls_is_one_of_the_call_before_it(write: Write) -> None:
    """Where the span around the calls is lost, there is none of the run."""
    run = load_run(write(*calls_below("8"), line(TRACE, at=27)))
    assert [bodies(step.logs) for step in run.steps] == [[], ["pool exhausted"], []]
    assert bodies(load_run(write(REQUEST, *calls_below("9"), line(TRACE, at=27))).logs) == ["pool exhausted"]


def test_a_record_of_a_trace_with_two_runs_is_counted(write: Write) -> None:
    """It may be of either."""
    second = span("b", "9", (2, 90), "invoke_agent traffic", {**AGENT, "gen_ai.agent.name": "traffic"})
    path = write(*BELOW_REQUEST, second, line(TRACE))
    assert [run.logs for run in load_runs(path)] == [(), ()]
    (outside,) = explain_run(path, load_runs(path)[0].run_id).outside_logs
    assert outside.why == "of a trace that is not one run"


# ── of nothing that was read ─────────────────────────────────────────────────────────────────────────────────────────


def test_other_records_are_counted_and_named(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """Zeros are no ids: OpenTelemetry writes them outside any span."""
    path = write(
        *RUN,
        *(line(), line("0" * 32, "0" * 16)),
        *(line(TRACE, NO_SPAN), line(OTHER_TRACE, NO_SPAN), line(OTHER_TRACE)),
        evaluation("", "", "unknown"),
    )
    places = ("log record: body", "log record: severity")
    assert set(explain_run(path).outside_logs) == {
        OutsideLogs("of no trace", "db", 2, places),
        OutsideLogs("of a span that was not read", "db", 2, places),
        OutsideLogs("of a trace that is not one run", "db", 1, places),
        OutsideLogs(
            "of a response that was not read",
            "judge",
            1,
            (
                f"log record {EVALUATION}: gen_ai.evaluation.name",
                f"log record {EVALUATION}: gen_ai.evaluation.score.value",
                f"log record {EVALUATION}: gen_ai.response.id",
            ),
        ),
    }
    assert main(["explain", str(path)]) == 0
    assert "db  2 log records of no trace, 2 places: log record: body" in capsys.readouterr().out
    assert main(["explain", str(path), "--json"]) == 0
    assert '"outside_logs"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spans", "text"),
    [
        ([], "has no spans and 2 log records"),
        ([REQUEST], "has 1 span, of the scope (no name) (1), and 2 log records"),
    ],
)
def test_sources_without_runs_say_how_many_log_records_they_have(
    write: Write, spans: list[SpanRecord], text: str
) -> None:
    path = write(*spans, line(), line(REQUEST.trace_id, REQUEST.span_id))
    with pytest.raises(RunNotFoundError, match=text.replace("(", r"\(").replace(")", r"\)")):
        load_run(path)


# ── of a response ────────────────────────────────────────────────────────────────────────────────────────────────────

SCORE = Score(name="brevity", value=0.25, at_ns=12)


@pytest.mark.parametrize(
    ("trace_id", "span_id"), [(OTHER_TRACE, NO_SPAN), (TRACE, NO_SPAN), (OTHER_TRACE, ""), ("", "")]
)
@pytest.mark.parametrize("is_first", [True, False])
def test_an_evaluation_belongs_to_its_response_where_its_span_is_unknown(
    write: Write, *, trace_id: str, span_id: str, is_first: bool
) -> None:
    """As those of a judge in another process, whose spans nobody exported."""
    record = evaluation(trace_id, span_id, "r1")
    path = write(*((record, *RUN) if is_first else (*RUN, record)))
    run = load_run(path)
    assert (run.scores, run.steps[0].scores) == ((), (SCORE,))
    assert explain_run(path).outside_logs == ()


def test_an_evaluation_belongs_to_its_span_where_that_is_known(write: Write) -> None:
    run = load_run(write(evaluation(TRACE, RUN[0].span_id, "r1"), *RUN))
    assert (run.scores, run.steps[0].scores) == ((SCORE,), ())


def test_fields_of_an_evaluation_may_be_in_its_body(write: Write) -> None:
    fields = {**BREVITY, "gen_ai.response.id": "r1"}
    for trace_id, span_id in ((TRACE, RUN[1].span_id), ("", "")):
        record = LogRecord(trace_id, span_id, EVALUATION, 12, {}, fields)
        assert load_run(write(*RUN, record)).steps[0].scores == (SCORE,)


def test_evaluations_of_responses_in_another_source(write: Write) -> None:
    """As when the log records are in a file and the spans in Jaeger."""

    class Held:
        def traces(self, on_problem: object) -> Iterator[list[SpanRecord]]:
            return iter([list(RUN)])

    path = write(evaluation(OTHER_TRACE, NO_SPAN, "r1"), line(TRACE), line())
    source = open_source([path, Held()])
    run = load_run(source)
    assert (run.steps[0].scores, bodies(run.logs)) == ((SCORE,), ["pool exhausted"])
    assert [each.why for each in explain_run(source).outside_logs] == ["of no trace"]


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lines_of_a_span_are_bounded(write: Write, problems: Problems) -> None:
    """Further ones are counted; events of the conventions are kept all."""
    many = [line(TRACE, RUN[0].span_id, f"line {at}", at) for at in range(MOST_LOGS_OF_A_SPAN + 7)]
    run = load_run(write(*RUN, *many), on_problem=problems)
    assert bodies(run.logs) == [f"line {at}" for at in range(MOST_LOGS_OF_A_SPAN)]
    assert [problem.reason for problem in problems] == ["7 log records of spans that have more than 1,000 are left out"]


def test_records_beyond_the_bounds_of_memory_are_counted(
    write: Write, problems: Problems, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "MOST_RECORDS", 3)
    monkeypatch.setattr(named_logs_module, "MOST_RECORDS", 1)
    prompts = [
        LogRecord("", "", "claude_code.user_prompt", at, {"session.id": "s", "prompt": f"q {at}"}) for at in range(1, 6)
    ]
    runs = load_runs(write(*RUN, *prompts, *[evaluation("", "", "r1")] * 3), on_problem=problems)
    assert len(runs) == 4
    assert [str(problem) for problem in problems] == [
        "log records: 2 of sessions are left out: more than are held in memory",
        "log records: 2 of responses and runs are left out: more than are held in memory",
    ]
