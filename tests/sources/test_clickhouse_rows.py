"""Rows of the exporter's table: runs come back as they were, types included, and what is no span is named."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import run_to_spans, runs_from_spans, semconv
from otel_agent_trace.formats.attribute_types import restored
from otel_agent_trace.formats.clickhouse_rows import NotSpanError, RowReader
from otel_agent_trace.mapping import facts
from otel_agent_trace.span import SpanRecord
from tests.support.clickhouse_rows import as_texts, values_of
from tests.support.exact_comparison import assert_alike
from tests.support.run_strategies import agent_runs
from tests.support.sample_runs import failed_run, make_run
from tests.support.span_strategies import otlp_records


def read_back(span: SpanRecord) -> SpanRecord:
    return RowReader().record(values_of(span))


@given(agent_runs("4bf92f3577b34da6a3ce929d0e0e4736"))
def test_runs_come_back(run):
    spans = run_to_spans(run)
    [expected] = runs_from_spans(spans)
    [found] = runs_from_spans(map(read_back, spans))
    assert_alike(found, expected)


@pytest.mark.parametrize("run", [make_run(1), failed_run(2), make_run(3, tags=("a",), sampling_probability=1.0)])
def test_every_field_of_a_run_comes_back(run):
    [expected] = runs_from_spans(run_to_spans(run))
    [found] = runs_from_spans(map(read_back, run_to_spans(run)))
    assert_alike(found, expected)


@given(otlp_records())
def test_of_any_span_only_types_flags_scope_and_schemas_are_lost(span):
    found = read_back(span)
    for name in ("trace_id", "span_id", "parent_span_id", "name", "start_ns", "end_ns", "kind", "status_code"):
        assert getattr(found, name) == getattr(span, name)
    assert (found.status_message, found.trace_state) == (span.status_message, span.trace_state)
    assert as_texts(found.attributes) == as_texts(span.attributes)
    assert as_texts(found.resource.attributes) == as_texts(span.resource.attributes)
    assert (found.scope.name, found.scope.version) == (span.scope.name, span.scope.version)
    assert [(event.name, event.time_ns, as_texts(event.attributes)) for event in found.events] == [
        (event.name, event.time_ns, as_texts(event.attributes)) for event in span.events
    ]
    assert [(link.trace_id, link.span_id, link.trace_state, as_texts(link.attributes)) for link in found.links] == [
        (link.trace_id, link.span_id, link.trace_state, as_texts(link.attributes)) for link in span.links
    ]


VALUES: dict[str, Any] = {
    "gen_ai.usage.input_tokens": 2**63 - 1,
    "llm.token_count.prompt": 0,
    "agent_trace.step.index": 7,
    "gen_ai.request.temperature": 1.0,
    "gen_ai.request.top_p": 5e-324,
    "gen_ai.evaluation.score.value": -1e300,
    "gen_ai.request.stream": False,
    "agent_trace.interrupted": True,
    "gen_ai.response.finish_reasons": ["stop", "é"],
    "process.command_args": [],
    "process.pid": -1,
}


def test_types_are_known_by_names():
    found = restored(as_texts(VALUES))
    assert found == VALUES
    assert {key: type(value) for key, value in found.items()} == {key: type(value) for key, value in VALUES.items()}


def test_not_a_number():
    assert math.isnan(restored({"gen_ai.request.top_p": "NaN"})["gen_ai.request.top_p"])
    assert restored({"gen_ai.request.top_p": "-Infinity"}) == {"gen_ai.request.top_p": -math.inf}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("gen_ai.usage.input_tokens", str(2**63)),
        ("gen_ai.usage.input_tokens", "07"),
        ("gen_ai.usage.input_tokens", "1.0"),
        ("gen_ai.usage.cost", "0.5"),
        ("gen_ai.request.temperature", "1_0"),
        ("gen_ai.request.stream", "True"),
        ("gen_ai.response.finish_reasons", "[1]"),
        ("gen_ai.response.finish_reasons", "stop"),
        ("my.number", "5"),
        ("my.list", "[1]"),
    ],
)
def test_other_texts_stay(key, text):
    assert restored({key: text}) == {key: text}


@given(st.floats())
def test_floats_come_back(value):
    [found] = restored(as_texts({"gen_ai.request.temperature": value})).values()
    assert found == value or (math.isnan(found) and math.isnan(value))


def test_each_fact_of_ours_that_is_no_text_has_a_type():
    """A new fact must be added to the types, or it would come back from ClickHouse as a text."""
    codecs = {facts.INTEGER: "7", facts.PROBABILITY: "0.5", facts.FLAG: "true", facts.TRUTH: "false"}
    for fact in facts.TABLE:
        if fact.codec in codecs:
            text = codecs[fact.codec]
            assert restored({fact.attribute: text}) != {fact.attribute: text}, fact


@pytest.mark.parametrize(
    "ids", [("", "00f067aa0ba902b7"), ("4bf92f3577b34da6a3ce929d0e0e4736", "x"), ("0" * 32, "1" * 16)]
)
def test_a_row_without_valid_ids_is_no_span(ids):
    [span, *_] = run_to_spans(make_run(1))
    row = values_of(span)
    with pytest.raises(NotSpanError):
        RowReader().record((*ids, *row[2:]))


def test_an_end_before_the_start_and_none():
    [span, *_] = run_to_spans(make_run(1))
    before = msgspec.structs.replace(span, end_ns=span.start_ns - 5)
    assert read_back(before).end_ns == before.end_ns
    assert read_back(msgspec.structs.replace(span, end_ns=None)).end_ns is None


def test_rows_of_one_program_share_its_resource():
    spans = run_to_spans(make_run(1))
    reader = RowReader()
    found = [reader.record(values_of(span)) for span in spans]
    assert len({id(span.resource) for span in found}) == 1
    assert found[0].resource.attributes.get(semconv.SERVICE_NAME) == spans[0].resource.attributes.get(
        semconv.SERVICE_NAME
    )
