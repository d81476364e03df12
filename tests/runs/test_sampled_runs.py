"""A run's probability is that of its root span: of the trace state or the attribute, the smaller, in any dialect."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import AgentRun, RunStatus, run_to_spans
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.runs.assemble import assemble
from otel_agent_trace.runs.explain import explain
from otel_agent_trace.sampling import threshold_of, with_threshold
from otel_agent_trace.semconv import SAMPLING_PROBABILITY
from otel_agent_trace.sources.index.own_rows import OwnRun
from otel_agent_trace.sources.index.rows import rows_of
from otel_agent_trace.sources.index.scan import LineScanner
from otel_agent_trace.span import Scope, SpanRecord
from tests.support.handwritten_spans import only_run, span
from tests.support.sample_runs import make_run

TENTH = "ot=th:e6666666666666"
OURS = Scope("otel_agent_trace", "1")
AGENT = {"openinference.span.kind": "AGENT", "agent.name": "weather", "input.value": "Rain?"}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}

states = st.sampled_from(["", "ot=th:0", TENTH, f"v=1,{TENTH};rv:00000000000001", "ot=th:c", "ot=th:no", "th:c", "ot="])
written = st.sampled_from([None, 0.05, 0.1, 0.5, 1.0, 1, 0, -2.0, 7.0, "0.05", "often", True, [0.5]])


def kept(spans: Any, state: str, probability: Any = None) -> list[SpanRecord]:
    """The spans as a sampler leaves them."""
    added = {} if probability is None else {SAMPLING_PROBABILITY: probability}
    return [msgspec.structs.replace(each, trace_state=state, attributes={**each.attributes, **added}) for each in spans]


def of_openinference() -> list[SpanRecord]:
    return [span("1", None, (1, 9), "agent", AGENT), span("2", "1", (2, 3), "chat m", CHAT)]


def of_ours(**fields: Any) -> list[SpanRecord]:
    return [msgspec.structs.replace(each, scope=OURS) for each in run_to_spans(make_run(0, **fields))]


TRACES = {
    "ours": of_ours,
    "of a framework": of_openinference,
    "a model call alone": lambda: [span("2", None, (2, 3), "chat m", CHAT)],
    "below a request": lambda: [span("9", None, (0, 10), "GET /", {}), span("2", "9", (2, 3), "chat m", CHAT)],
}


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
@pytest.mark.parametrize(
    ("state", "probability", "read"),
    [
        (TENTH, None, 0.1),
        (TENTH, 0.1, 0.1),
        (TENTH, 0.5, 0.1),
        (TENTH, 0.05, 0.05),
        ("ot=th:0", None, None),
        ("ot=th:0", 1.0, 1.0),
        ("ot=th:0", 0.5, 0.5),
        ("", 0.5, 0.5),
        ("ot=th:no", 0.5, 0.5),
        (TENTH, 7.0, 0.1),
        (TENTH, "often", 0.1),
        ("", None, None),
        ("", "0.5", 0.5),
        *(("", none, None) for none in (0, 7, -1.0, float("nan"), float("inf"), "often", True, [0.5])),
        *(("ot=th:0", none, None) for none in (0.0, 7.0)),
    ],
)
def test_the_smaller_one_is_read(trace: Any, state: str, probability: Any, read: float | None) -> None:
    run = only_run(*kept(trace(), state, probability))
    assert run.sampling_probability == read
    assert SAMPLING_PROBABILITY not in {*run.attributes, *(key for step in run.steps for key in step.attributes)}


def test_the_root_decides() -> None:
    """Samplers of the SDK write it there alone, and late spans come without what the others were given."""
    root, call = of_openinference()
    assert only_run(*kept([root], TENTH), call).sampling_probability == 0.1
    assert only_run(*kept([root], "ot=th:0"), *kept([call], TENTH)).sampling_probability is None


@given(states, written)
def test_the_index_has_what_is_read(state: str, probability: Any) -> None:
    spans = kept(of_ours(steps=make_run(0).steps[:2]), state, probability)
    run, scanner = OwnRun(spans[0].trace_id), LineScanner()
    for each in spans:
        for scanned in scanner.own_spans(otlp_json.encode([each]) + b"\n") or ():
            run.add(scanned)
    (whole,), _ = rows_of(spans)
    row = run.row()
    if probability is None or isinstance(probability, float):
        assert row is not None
    if row is not None:
        assert row[0].probability == whole.probability
    assert whole.probability == only_run(*spans).sampling_probability


@given(st.floats(0, 1, exclude_min=True) | st.just(1e-30) | st.just(0.1), st.booleans())
def test_written_spans_have_it(probability: float, is_open: bool) -> None:
    fields: dict[str, Any] = {"status": RunStatus.RUNNING, "ended_at_ns": None} if is_open else {}
    spans = run_to_spans(make_run(0, sampling_probability=probability, **fields))
    (run,) = assemble(spans)
    assert run.sampling_probability == probability
    assert assemble(run_to_spans(run)) == [run]
    if probability >= 2**-56:
        assert {each.trace_state for each in spans} == {with_threshold("", threshold_of(probability))}


@given(states, written)
def test_runs_that_were_read_are_written_again(state: str, probability: Any) -> None:
    for trace in TRACES.values():
        run = only_run(*kept(trace(), state, probability))
        assert only_run(*run_to_spans(run)) == run


def place_of(run: AgentRun, spans: list[SpanRecord]) -> list[tuple[str, tuple[str, ...]]]:
    (explanation,) = explain(spans)
    (fact,) = (fact for fact in explanation.facts if fact.name == "sampling_probability")
    assert fact.value == run.sampling_probability
    assert [each for each in explanation.left_out if "trace state" in each.places] == []
    return [(source.span_name, source.places) for source in fact.sources]


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_where_it_was_read(trace: Any) -> None:
    spans = trace()
    of_state, of_attribute = kept(spans, TENTH, 0.5), kept(spans, "ot=th:0", 0.5)
    assert place_of(only_run(*of_state), of_state) == [(spans[0].name, ("trace state",))]
    assert place_of(only_run(*of_attribute), of_attribute) == [(spans[0].name, (SAMPLING_PROBABILITY,))]


def test_nothing_is_known_of_no_sample() -> None:
    (explanation,) = explain(kept(of_openinference(), "ot=th:0"))
    assert "sampling_probability" not in {fact.name for fact in explanation.facts}
    assert explanation.left_out == ()


def test_the_rest_of_a_trace_state_is_left_out() -> None:
    (explanation,) = explain(kept(of_openinference(), f"{TENTH},vendor=x"))
    assert [each.places for each in explanation.left_out] == [("trace state",)] * 2
