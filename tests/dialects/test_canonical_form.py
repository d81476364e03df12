"""Runs of other tracers, written as our tracer would have: they read back equal, and the same bytes come out again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given

from otel_agent_trace import AgentRun, SpanRecord, StepKind, load_runs, run_to_spans, runs_from_spans
from otel_agent_trace.export.canonical import write_runs
from otel_agent_trace.runs.explain import explain
from otel_agent_trace.span import Resource
from tests.support.random_traces import CALL, chat, span, traces


def written(runs: list[AgentRun]) -> bytes:
    pieces: list[bytes] = []
    assert write_runs(runs, pieces.append) == len(runs)
    return b"".join(pieces)


def again(runs: list[AgentRun]) -> list[AgentRun]:
    return runs_from_spans([record for run in runs for record in run_to_spans(run)])


NO_TOOL_SPANS = [
    span(1, None, "invoke_agent", {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}),
    span(2, 1, "chat m-1", chat("Rain?", call=CALL), end_ns=3_000_000),
    span(4, 1, "chat m-1", chat("Rain?", "No.", call=CALL, result="sun")),
]


def test_a_step_out_of_messages_has_no_span_there_either() -> None:
    (run,) = runs_from_spans(NO_TOOL_SPANS)
    assert [(step.name, step.span_id is None) for step in run.steps] == [
        ("m-1", False),
        ("forecast", True),
        ("m-1", False),
    ]
    spans = run_to_spans(run)
    made_up = [record for record in spans if "agent_trace.inferred" in record.attributes]
    assert [record.name for record in made_up] == ["execute_tool forecast"]
    assert len({record.span_id for record in spans}) == 4
    assert again([run]) == [run]


@pytest.mark.parametrize("odd", [[1], {"a": 1}, 7])
def test_calls_whose_ids_and_names_are_no_texts(odd: Any) -> None:
    """They cost nothing but their step's name."""
    call = {"id": odd, "name": odd, "arguments": odd}
    spans = [
        NO_TOOL_SPANS[0],
        span(2, 1, "chat", chat("Rain?", call=call)),
        span(4, 1, "chat", chat("", "No.", call, 7)),
    ]
    (run,) = runs_from_spans(spans)
    assert [(step.name, step.output) for step in run.tool_steps] == [(str(odd), 7)]
    assert again([run]) == [run]


def test_a_part_whose_type_is_no_text() -> None:
    sent = [{"role": "tool", "content": [{"type": {}, "content": "7"}]}]
    (run,) = runs_from_spans([span(1, None, "c", {"openinference.span.kind": "LLM", "input.value": json.dumps(sent)})])
    assert [message.role for message in run.steps[0].messages] == ["tool"]


def test_a_run_whose_span_was_lost_keeps_what_is_known_of_it() -> None:
    (run,) = runs_from_spans(NO_TOOL_SPANS[1:])
    assert (run.user_input, run.final_output, run.span_id) == ("Rain?", "No.", None)
    assert again([run]) == [run]


@pytest.mark.parametrize("above", [None, 9])
def test_a_lone_call_is_written_without_a_run_around_it(above: int | None) -> None:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "forecast"}
    (run,) = runs_from_spans([span(2, above, "forecast", tool)])
    (record,) = run_to_spans(run)
    assert record.name == "execute_tool forecast"
    assert again([run]) == [run]


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("TOOL", {"gen_ai.tool.type": "FunctionTool"}),
        ("TOOL", {"gen_ai.tool.call.result": "something else"}),
        ("TOOL", {"gen_ai.usage.input_tokens": 7, "gen_ai.agent.name": "x", "gen_ai.output.messages": "[]"}),
        ("LLM", {"gen_ai.response.time_to_first_chunk": 0.5, "gen_ai.response.finish_reasons": '["stop"]'}),
        ("LLM", {"gen_ai.conversation.id": 5, "error.category": True}),
        ("LLM", {"gen_ai.request.model": "m-2"}),
        ("LLM", {"gen_ai.request.model": 5}),
        ("RETRIEVER", {"gen_ai.retrieval.documents": "[1]", "gen_ai.retrieval.query.text": "q"}),
        ("AGENT", {"gen_ai.usage.output_tokens": 9, "enduser.pseudo.id": "hmac:a:b"}),
    ],
)
def test_attributes_that_nobody_understood_stay_what_they_are(kind: str, attributes: dict[str, Any]) -> None:
    """Also where their names mean something in the conventions."""
    spans = [
        span(1, None, "outer", {"openinference.span.kind": "AGENT", "agent.name": "a"}),
        span(2, 1, "inner", {"openinference.span.kind": kind}),
    ]
    (run,) = runs_from_spans(spans)
    (step,) = run.steps
    odd = {"gen_ai.tool.type": "x", **attributes}
    facts = {name: getattr(step, name) for name in step.__struct_fields__ if name not in ("attributes", "run")}
    inner = None if step.run is None else type(run)(**{**_fields(step.run), "attributes": odd})
    changed = type(run)(**{**_fields(run), "steps": (type(step)(**facts, attributes=odd, run=inner),)})
    assert again([changed]) == [changed]


def _fields(item: Any) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__struct_fields__}


def test_a_sub_agent_without_a_name_and_of_another_service() -> None:
    spans = [
        span(1, None, "outer", {"openinference.span.kind": "AGENT", "agent.name": "a"}),
        span(2, 1, "chat", {"openinference.span.kind": "LLM"}),
        span(
            3, 1, "remote", {"gen_ai.operation.name": "invoke_agent"}, resource=Resource({"service.name": "elsewhere"})
        ),
        span(4, 3, "chat m-1", chat("Rain?", "No."), resource=Resource({"service.name": "elsewhere"})),
    ]
    (run,) = runs_from_spans(spans)
    inner = run.steps[1]
    assert (inner.kind, inner.name) == (StepKind.AGENT, "remote")
    assert inner.run is not None
    assert (inner.run.agent_name, inner.run.service_name) == (None, "elsewhere")
    assert again([run]) == [run]


def test_several_runs_of_one_trace(tmp_path: Any) -> None:
    spans = [span(1, None, "GET /", {})] + [
        record
        for number in (2, 5)
        for record in (
            span(number, 1, "run", {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"}),
            span(number + 1, number, "chat m-1", chat("Rain?", f"{number}")),
        )
    ]
    runs = runs_from_spans(spans)
    assert [run.final_output for run in runs] == ["2", "5"]
    path = tmp_path / "runs.jsonl"
    path.write_bytes(written(runs))
    assert load_runs(path) == runs


def test_a_run_names_all_dialects_that_its_spans_speak() -> None:
    spans = [
        span(1, None, "outer", {"openinference.span.kind": "AGENT", "agent.name": "a"}),
        span(2, 1, "chat m-1", chat("Rain?", "No.")),
        span(3, 1, "inner", {"openinference.span.kind": "TOOL"}),
    ]
    (run,) = runs_from_spans(spans)
    assert run.dialect == "openinference + genai"
    assert again([run])[0].dialect == "genai"


@given(traces())
@example(NO_TOOL_SPANS)
@example(NO_TOOL_SPANS[1:])
def test_runs_of_any_tracer_read_back_equal_and_are_the_same_bytes_again(spans: list[SpanRecord]) -> None:
    runs = runs_from_spans(spans)
    back = again(runs)
    assert back == runs
    assert written(back) == written(runs)


@given(traces())
@example(NO_TOOL_SPANS)
def test_explaining_gives_the_same_runs_and_tells_where_each_fact_was_read(spans: list[SpanRecord]) -> None:
    explanations = explain(spans)
    assert [explanation.run for explanation in explanations] == runs_from_spans(spans)
    ids = {record.span_id for record in spans}
    for explanation in explanations:
        for below in explanation.walk():
            facts = [*below.facts, *(fact for step in below.steps for fact in step.facts)]
            assert [fact.name for fact in facts if fact.name != "status" and not fact.sources] == []
            assert {source.span_id for fact in facts for source in fact.sources} <= ids
