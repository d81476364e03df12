"""What evaluators thought of a run or a step stands on it, in whichever scheme they wrote it down."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import AgentRun, Score, load_run, load_runs, run_to_spans, runs_from_spans
from otel_agent_trace.cli import main
from otel_agent_trace.dialects.evaluations import score_of
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.scores import event_of
from otel_agent_trace.span import Event, SpanRecord
from tests.support.file_formats import COMPRESSIONS, FILE_FORMATS, logs, traces
from tests.support.handwritten_spans import only_run, span

OPENINFERENCE = "openinference.span.kind"
RELEVANCE = Score(
    name="relevance", value=0.9, label="relevant", explanation="Names both cities.", source="CODE", at_ns=9
)
BREVITY = Score(name="brevity", value=0.25, at_ns=9)
AGENT = {OPENINFERENCE: "AGENT", "agent.name": "weather", "input.value": "Rain?", "output.value": "No."}
IN_CONVENTIONS = {
    "gen_ai.evaluation.name": "relevance",
    "gen_ai.evaluation.score.value": 0.9,
    "gen_ai.evaluation.score.label": "relevant",
    "gen_ai.evaluation.explanation": "Names both cities.",
}


def chat(response_id: str = "chatcmpl-1", parent: str | None = "a") -> SpanRecord:
    return span("c", parent, (4, 5), "chat m", {"gen_ai.operation.name": "chat", "gen_ai.response.id": response_id})


def openinference(prefix: str, *entries: dict[str, Any]) -> dict[str, Any]:
    word = prefix[:-1]
    return {f"{prefix}.{at}.{word}.{key}": value for at, entry in enumerate(entries) for key, value in entry.items()}


ENTRY = {
    "name": "relevance",
    "score": 0.9,
    "label": "relevant",
    "explanation": "Names both cities.",
    "annotator_kind": "CODE",
}


def test_attributes_of_openinference() -> None:
    """They stand on the span that was evaluated, and are no unread attributes any more."""
    evaluations = openinference("evaluations", ENTRY, {"name": "brevity", "score": 0.25})
    annotations = openinference("annotations", {"name": "right", "label": "yes"})
    run = only_run(
        span("a", None, (1, 9), "weather", {**AGENT, **evaluations}),
        span("b", "a", (2, 3), "search", {OPENINFERENCE: "TOOL", "tool.name": "search", **annotations}),
    )
    assert run.scores == (RELEVANCE, BREVITY)
    assert run.steps[0].scores == (Score(name="right", label="yes", at_ns=3),)
    assert not [key for item in (run, *run.steps) for key in item.attributes if "evaluation" in key or "annot" in key]


def test_evaluators_within_a_run_are_no_steps() -> None:
    """As Phoenix runs them: their output is a list of scores, or one without a name."""
    kind = {OPENINFERENCE: "EVALUATOR"}
    output = [
        {"name": "relevance", "score": 0.9, "label": "relevant", "explanation": "Names both cities.", "kind": "CODE"}
    ]
    run = only_run(
        span("a", None, (1, 10), "weather", AGENT),
        span("b", "a", (7, 9), "relevance.evaluate", {**kind, "output.value": json.dumps(output)}),
        span("c", "a", (8, 9), "brevity.evaluate", {**kind, "output.value": "0.25"}),
    )
    assert (run.steps, run.scores) == ((), (RELEVANCE, BREVITY))


EXPERIMENT = {"gen_ai.operation.name": "experiment", "logfire.msg_template": "evaluate {name}"}


@pytest.mark.parametrize("agents_scope", ["otel_agent_trace", "pydantic-ai"])
@pytest.mark.parametrize("of_evaluation", [{}, EXPERIMENT], ids=["plain", "as Logfire writes it"])
def test_the_case_around_a_run(agents_scope: str, of_evaluation: dict[str, str]) -> None:
    """As pydantic-evals writes it, which calls what a check found `reason`; its spans are no frame of one run."""
    results = {
        "scores": {"relevance": {"value": 0.9, "reason": "Names both cities.", "source": {"name": "Relevance"}}},
        "labels": {"tone": {"value": "friendly"}},
        "assertions": {"short": {"value": False}, "polite": {"value": True}},
    }
    scope, facts = "pydantic-evals", {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
    attributes = {key: json.dumps(value) for key, value in results.items()}
    logfire = {"logfire.msg": "case"} if of_evaluation else {}
    cases = [
        span(f"{number}", "f", (1 + number, 90), "case", logfire | (attributes if number == 1 else {}), scope=scope)
        for number in (1, 2)
    ]
    agents = [
        span(f"{number}0", str(number), (3 + number, 80), "invoke_agent weather", facts, scope=agents_scope)
        for number in (1, 2)
    ]
    evaluated, other = runs_from_spans(
        [span("f", None, (1, 99), "evaluate", of_evaluation, scope=scope), *cases, *agents]
    )
    assert evaluated.scores == (
        Score(name="relevance", value=0.9, explanation="Names both cities.", source="Relevance", at_ns=90),
        Score(name="tone", label="friendly", at_ns=90),
        Score(name="short", value=False, label="fail", at_ns=90),
        Score(name="polite", value=True, label="pass", at_ns=90),
    )
    assert other.scores == ()


@pytest.mark.parametrize(
    "attributes",
    [
        {"braintrust.scores": json.dumps({"brevity": 0.25})},
        {"mlflow.assessments": json.dumps([{"assessment_name": "brevity", "feedback": {"value": 0.25}}])},
        {"langfuse.trace.scores": json.dumps([{"name": "brevity", "value": 0.25}])},
        {"gen_ai.evaluation.name": "brevity", "gen_ai.evaluation.score.value": "0.25"},
    ],
    ids=lambda attributes: next(iter(attributes)),
)
def test_schemes_of_others(attributes: dict[str, Any]) -> None:
    """On the span that was evaluated, and on one within it that is no step."""
    (alone,) = runs_from_spans([span("a", None, (1, 9), "weather", {**AGENT, **attributes})])
    (within,) = runs_from_spans(
        [span("a", None, (1, 9), "weather", AGENT), span("b", "a", (2, 9), "score", attributes)]
    )
    assert alone.scores == within.scores == (BREVITY,)


GIVEN_NS = 1_764_000_000_123_000_000
ASSESSMENTS = [
    {
        "assessment_name": "helpful",
        "trace_id": "",
        "feedback": {"value": True},
        "rationale": "Names both.",
        "valid": True,
        "source": {"source_type": "HUMAN", "source_id": "ann"},
        "create_time": "2025-11-24T16:00:00.123Z",
    },
    {
        "assessment_name": "tone",
        "trace_id": "",
        "feedback": {"value": "friendly"},
        "valid": True,
        "source": {"source_type": "LLM_JUDGE", "source_id": "m"},
        "create_time": "2025-11-24T16:00:00.123Z",
    },
    {
        "assessment_name": "helpful",
        "trace_id": "",
        "feedback": {"value": False},
        "valid": False,
        "source": {"source_type": "HUMAN", "source_id": "ann"},
        "create_time": "2025-11-24T15:00:00.123Z",
    },
    {
        "assessment_name": "answer",
        "trace_id": "",
        "expectation": {"value": "No."},
        "source": {"source_type": "HUMAN", "source_id": "default"},
        "create_time": "2025-11-24T16:00:00.123Z",
    },
]
"""What `Feedback.to_dictionary` and `Expectation.to_dictionary` of MLflow 3.17 return; what is expected is no score."""
OF_LANGFUSE = [
    {
        "name": "helpful",
        "value": 1,
        "stringValue": "True",
        "dataType": "BOOLEAN",
        "comment": "Names both.",
        "source": "EVAL",
    },
    {"name": "tone", "value": 0, "stringValue": "friendly", "dataType": "CATEGORICAL", "source": "ANNOTATION"},
]
HELPFUL = Score(name="helpful", value=True, explanation="Names both.", source="ann", at_ns=GIVEN_NS)


@pytest.mark.parametrize(
    ("key", "entries", "expected"),
    [
        (
            "mlflow.trace.assessments",
            ASSESSMENTS,
            (HELPFUL, Score(name="tone", label="friendly", source="m", at_ns=GIVEN_NS)),
        ),
        (
            "langfuse.trace.scores",
            OF_LANGFUSE,
            (
                msgspec.structs.replace(HELPFUL, source="EVAL", at_ns=9),
                Score(name="tone", value=0, label="friendly", source="ANNOTATION", at_ns=9),
            ),
        ),
    ],
    ids=["MLflow", "Langfuse"],
)
def test_scores_in_the_stores_of_others(key: str, entries: list[dict[str, Any]], expected: tuple[Score, ...]) -> None:
    """Written on a span as they are there."""
    run = only_run(span("a", None, (1, 9), "weather", {**AGENT, key: entries}))
    assert run.scores == expected
    assert key not in run.attributes


@pytest.mark.parametrize("value", [True, False, 0, 1, -3, 0.5, 1.0])
@pytest.mark.parametrize("written", [str, lambda number: int(number) if float(number).is_integer() else number])
def test_carriers_that_keep_no_doubles(value: Any, written: Any) -> None:
    """Some write a double as a text, or without its point: what was a bool or an integer is one again."""
    event = event_of(Score(name="brevity", value=value, at_ns=9))
    key = "gen_ai.evaluation.score.value"
    read = score_of(Event(event.name, 9, {**event.attributes, key: written(event.attributes[key])}))
    assert read is not None
    assert read.value == value
    assert type(value) is float or type(read.value) is type(value)


EVALUATOR = {OPENINFERENCE: "EVALUATOR", "eval.name": "relevance", "eval.explanation": "Names both cities."}


def test_attributes_named_after_the_score() -> None:
    """As Arize names the columns of evaluations and annotations; `name` of something else is no score."""
    attributes = {
        "eval.relevance.score": 0.9,
        "eval.relevance.label": "relevant",
        "eval.relevance.explanation": "Names both cities.",
        "trace_eval.brevity.score": 0.25,
        "annotation.right.label": "yes",
        "eval.capability.name": "weather",
        "annotation.label": "of something else",
    }
    run = only_run(span("a", None, (1, 9), "weather", {**AGENT, **attributes}))
    assert run.scores == (
        msgspec.structs.replace(RELEVANCE, source=None),
        BREVITY,
        Score(name="right", label="yes", at_ns=9),
    )


@pytest.mark.parametrize(
    ("name", "attributes", "expected"),
    [
        (
            "judge",
            {**EVALUATOR, "eval.score": 0.9, "eval.label": "relevant", "output.value": '{"score": 0.9}'},
            RELEVANCE,
        ),
        ("judge", {**EVALUATOR, "output.value": '{"score": 0.9, "label": "relevant"}'}, RELEVANCE),
        ("brevity.evaluate", {"eval.score": 0.25}, BREVITY),
        ("judge", {"eval.name": "polite", "eval.passed": True}, Score(name="polite", label="pass", at_ns=9)),
        ("score", {"eval.score.name": "brevity", "eval.score.value": 0.25}, BREVITY),
        ("feedback: brevity", {"logfire.feedback.name": "brevity", "brevity": 0.25}, BREVITY),
        (
            "eval_root",
            {"ai.observability.eval_root.score": 0.25, "ai.observability.eval.metric_name": "brevity"},
            BREVITY,
        ),
    ],
)
def test_spans_of_evaluators(name: str, attributes: dict[str, Any], expected: Score) -> None:
    """Of OpenInference, by hand, of Axiom, Logfire and TruLens: each below the agent that it is about."""
    run = only_run(span("a", None, (1, 9), "weather", AGENT), span("b", "a", (7, 9), name, attributes))
    (score,) = run.scores
    assert (score.name, score.value, score.label) == (expected.name, expected.value, expected.label)


def test_events_of_langwatch() -> None:
    evaluation = {"name": "polite", "score": 0.7, "passed": False, "details": "Curt."}
    event = Event("langwatch.evaluation.custom", 9, {"json_encoded_event": json.dumps(evaluation)})
    broken = Event("langwatch.evaluation.custom", 9, {"json_encoded_event": "{"})
    run = only_run(span("a", None, (1, 9), "weather", AGENT, events=(event, broken)))
    assert run.scores == (Score(name="polite", value=0.7, label="fail", explanation="Curt.", at_ns=9),)


def test_events_of_any_tracer() -> None:
    """An evaluation of a database call belongs to the step around it; one without a result is none."""
    events = (Event("gen_ai.evaluation.result", 9, IN_CONVENTIONS), Event("gen_ai.evaluation.result", 9, {"a": 1}))
    named = Event("gen_ai.evaluation.brevity", 9, {"gen_ai.evaluation.score": 0.25})
    run = only_run(
        span("a", None, (1, 9), "weather", AGENT, events=(named,)),
        span("b", "a", (2, 6), "search", {OPENINFERENCE: "TOOL"}),
        span("c", "b", (3, 5), "SELECT", {}, events=events),
    )
    assert run.scores == (BREVITY,)
    assert run.steps[0].scores == (msgspec.structs.replace(RELEVANCE, source=None),)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("file_format", FILE_FORMATS)
@pytest.mark.parametrize("name", ["a_logs", "z_logs"])
def test_late_evaluations_name_the_response(tmp_path: Path, file_format: str, compression: str, name: str) -> None:
    """Whether their file is read before or after that of the spans."""
    packed = COMPRESSIONS[compression]
    agent = span("a", None, (1, 9), "weather", {"gen_ai.operation.name": "invoke_agent"})
    attributes = {"gen_ai.evaluation.name": "brevity", "gen_ai.evaluation.score.value": "0.25"}
    late = logs(
        [
            ("", "", 12, "gen_ai.evaluation.result", {**attributes, "gen_ai.response.id": other})
            for other in ("chatcmpl-1", "x")
        ]
    )
    (tmp_path / f"spans.json{compression}").write_bytes(packed(FILE_FORMATS[file_format](traces([agent, chat()]))))
    (tmp_path / f"{name}.json{compression}").write_bytes(packed(FILE_FORMATS[file_format](late)))
    (run,) = load_runs(tmp_path)
    assert run.steps[0].scores == (Score(name="brevity", value=0.25, at_ns=12),)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
scores = st.builds(
    Score,
    name=texts,
    value=st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False),
    label=st.none() | texts,
    explanation=st.none() | texts,
    source=st.none() | st.sampled_from(["HUMAN", "LLM", "judge v2"]),
    at_ns=st.integers(0, 2**63 - 1),
)


@given(scores)
def test_a_score_is_an_event(score: Score) -> None:
    assert score_of(event_of(score)) == score


def test_the_whole_trip(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a file, JSON, `show` and `explain`; a control character of an evaluator does not reach the terminal."""
    (step,) = only_run(span("a", None, (1, 9), "weather", AGENT), chat()).steps
    harsh = Score(name="tone\x1b[31m", label="harsh", explanation="Because\nof this.", source="HUMAN", at_ns=20)
    run = only_run(span("a", None, (1, 9), "weather", AGENT), chat())
    run = msgspec.structs.replace(
        run, scores=(RELEVANCE, harsh), steps=(msgspec.structs.replace(step, scores=(BREVITY,)),)
    )
    path = tmp_path / "scored.jsonl"
    path.write_bytes(otlp_json.encode(run_to_spans(run)) + b"\n")
    assert load_run(path) == run
    assert AgentRun.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    assert main(["show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "relevance 0.9 relevant (CODE): Names both cities." in shown
    assert "brevity 0.25" in shown
    assert "\x1b" not in shown
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["explain", str(path)]) == 0
    assert "relevance 0.9" in capsys.readouterr().out


def test_a_score_that_an_event_and_a_log_record_have_is_one() -> None:
    """Some SDKs write both; a second evaluation has another time."""
    events = [Event("gen_ai.evaluation.result", at_ns, IN_CONVENTIONS) for at_ns in (9, 9, 10)]
    run = only_run(msgspec.structs.replace(span("a", None, (0, 9), "agent", AGENT), events=tuple(events)), chat())
    assert [(score.name, score.at_ns) for score in run.scores] == [("relevance", 9), ("relevance", 10)]


def test_a_number_that_is_no_double_costs_nothing_else() -> None:
    """Langfuse's and MLflow's lists may hold anything."""
    huge = "1" + "0" * 400
    value = f'[{{"name":"x","value":{huge},"dataType":"BOOLEAN"}}]'
    run = only_run(span("a", None, (1, 9), "weather", {**AGENT, "langfuse.trace.scores": value}))
    assert (run.user_input, run.final_output) == ("Rain?", "No.")


def test_scores_of_a_run_without_a_span_are_placed_in_proportion() -> None:
    """Calls grow with the number of scores, not with its square."""

    def calls(number: int) -> int:
        names = {"agent_trace.run.id": "1" * 32, "agent_trace.score.by_id": True}
        events = [event_of(Score("x", at, at_ns=at)) for at in range(number)]
        named = [Event(event.name, event.time_ns, {**event.attributes, **names}) for event in events]
        spans = [
            SpanRecord(
                "1" * 32,
                "2" * 16,
                None,
                "execute_tool x",
                1,
                2,
                {"gen_ai.operation.name": "execute_tool"},
                events=tuple(named),
            )
        ]
        counts = [0]

        def count(*_: object) -> None:
            counts[0] += 1

        sys.setprofile(count)
        try:
            (run,) = runs_from_spans(spans)
        finally:
            sys.setprofile(None)
        assert len(run.scores) == number
        return counts[0]

    calls(10)
    assert calls(400) < 3 * calls(200)
