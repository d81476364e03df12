"""Jaeger's own JSON: what it made of a span is put back, whatever else it is costs itself and nothing more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import run_to_spans, runs_from_spans
from otel_agent_trace.formats import jaeger_json
from otel_agent_trace.span import Event, Link, Resource, Scope, SpanRecord
from tests.support.fake_jaeger import jaeger_trace
from tests.support.sample_runs import make_run

TRACE, SPAN, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "00f067aa0ba902b8"


def tag(key: str, value: Any, kind: str = "string") -> dict[str, Any]:
    return {"key": key, "type": kind, "value": value}


def document(**fields: Any) -> dict[str, Any]:
    """An answer with one span, some fields of it changed."""
    span = {
        "traceID": TRACE,
        "spanID": SPAN,
        "operationName": "work",
        "references": [],
        "startTime": 1_795_475_000_000_001,
        "duration": 5,
        "tags": [],
        "logs": [],
        "processID": "p1",
        **fields,
    }
    processes = {"p1": {"serviceName": "weather", "tags": [tag("host.name", "h"), tag("pid", 7, "int64")]}}
    return {"data": [{"traceID": TRACE, "spans": [span], "processes": processes}], "errors": None}


def read(**fields: Any) -> SpanRecord:
    [record] = jaeger_json.decode(json.dumps(document(**fields)).encode())
    return record


def test_a_span() -> None:
    tags = [
        tag("otel.scope.name", "lib"),
        tag("otel.scope.version", "1"),
        tag("span.kind", "client"),
        tag("otel.status_code", "ERROR"),
        tag("otel.status_description", "it failed"),
        tag("error", True, "bool"),
        tag("w3c.tracestate", "a=1"),
        tag("internal.span.format", "otlp"),
        tag("text", "x"),
        tag("list", '["a",1]'),
        tag("int", -3, "int64"),
        tag("big", "9223372036854775807", "int64"),
        tag("float", 1, "float64"),
        tag("bytes", "AAEC", "binary"),
        tag("no", False, "bool"),
    ]
    references = [
        {"refType": "CHILD_OF", "traceID": TRACE, "spanID": PARENT},
        {"refType": "FOLLOWS_FROM", "traceID": "ab" * 16, "spanID": "cd" * 8},
    ]
    logs = [{"timestamp": 1_795_475_000_000_002, "fields": [tag("event", "exception"), tag("n", 1, "int64")]}]
    assert read(tags=tags, references=references, logs=logs) == SpanRecord(
        TRACE,
        SPAN,
        PARENT,
        "work",
        1_795_475_000_000_001_000,
        1_795_475_000_000_006_000,
        {
            "text": "x",
            "list": '["a",1]',
            "int": -3,
            "big": 2**63 - 1,
            "float": 1.0,
            "bytes": b"\0\1\2",
            "no": False,
        },
        kind=3,
        status_code=2,
        status_message="it failed",
        events=(Event("exception", 1_795_475_000_000_002_000, {"n": 1}),),
        links=(Link("ab" * 16, "cd" * 8),),
        resource=Resource({"service.name": "weather", "host.name": "h", "pid": 7}),
        scope=Scope("lib", "1"),
        trace_state="a=1",
    )


def test_ids_without_their_zeros() -> None:
    record = read(traceID="1f", spanID="A", references=[{"refType": "CHILD_OF", "traceID": "1f", "spanID": "b"}])
    assert (record.trace_id, record.span_id, record.parent_span_id) == (f"{31:032x}", f"{10:016x}", f"{11:016x}")


@pytest.mark.parametrize(
    ("references", "parent", "links"),
    [
        ([], None, 0),
        ([("CHILD_OF", TRACE, PARENT)], PARENT, 0),
        ([("FOLLOWS_FROM", TRACE, PARENT)], PARENT, 1),  # of a span that links to its own parent nothing else is left
        ([("FOLLOWS_FROM", TRACE, "1"), ("CHILD_OF", TRACE, PARENT)], PARENT, 1),
        ([("CHILD_OF", "ab" * 16, PARENT)], None, 1),
        ([("FOLLOWS_FROM", TRACE, SPAN)], None, 1),
        ([("FOLLOWS_FROM", "", "")], None, 0),
    ],
)
def test_parents_and_links(references: list[tuple[str, str, str]], parent: str | None, links: int) -> None:
    named = [{"refType": kind, "traceID": trace, "spanID": span} for kind, trace, span in references]
    record = read(references=named)
    assert (record.parent_span_id, len(record.links)) == (parent, links)


@pytest.mark.parametrize(
    ("tags", "status", "rest"),
    [
        ([], 0, {}),
        ([tag("otel.status_code", "OK")], 1, {}),
        ([tag("error", True, "bool")], 2, {}),
        ([tag("error", "true", "bool")], 2, {}),
        ([tag("error", False, "bool")], 0, {"error": False}),
        ([tag("error", "disk")], 0, {"error": "disk"}),
        ([tag("otel.status_code", "OK"), tag("error", True, "bool")], 1, {"error": True}),
        ([tag("otel.status_code", "STRANGE")], 0, {"otel.status_code": "STRANGE"}),
        (
            [tag("span.kind", "strange"), tag("w3c.tracestate", 1, "int64")],
            0,
            {"span.kind": "strange", "w3c.tracestate": 1},
        ),
    ],
)
def test_status_and_tags_that_say_something_else(tags: list[Any], status: int, rest: dict[str, Any]) -> None:
    record = read(tags=tags)
    assert (record.status_code, record.attributes) == (status, rest)


@pytest.mark.parametrize(
    "tagged",
    [
        tag("a", "x", "int64"),
        tag("a", "9" * 5000, "int64"),
        tag("a", [], "float64"),
        tag("a", "?", "binary"),
        tag("a", None, "bool"),
        tag("a", {"b": 1}, "map"),
        tag("a", "x", "unknown"),
    ],
)
def test_a_value_of_another_type_than_it_says(tagged: dict[str, Any]) -> None:
    """It stays as it is."""
    assert read(tags=[tagged]).attributes == {"a": tagged["value"]}


def test_a_negative_duration() -> None:
    assert read(duration=2**64 - 5).end_ns == 1_795_475_000_000_001_000 - 5_000
    assert read(duration=-5).end_ns == 1_795_475_000_000_001_000 - 5_000


@pytest.mark.parametrize(
    ("fields", "times"),
    [
        ({"startTime": -1}, (0, 0)),
        ({"startTime": 0}, (0, 0)),
        ({"startTime": 2**63}, (0, 0)),
        ({"startTime": 1, "duration": -5}, (1_000, 0)),
        ({"startTime": 1, "duration": 2**62}, (1_000, 0)),
    ],
)
def test_times_that_are_none_are_unknown(fields: dict[str, Any], times: tuple[int, int]) -> None:
    record = read(**fields)
    assert (record.start_ns, record.end_ns) == times


def test_the_time_of_an_event_may_be_unknown() -> None:
    assert [event.time_ns for event in read(logs=[{"timestamp": -1}]).events] == [0]


def test_a_parent_of_zeros_is_none() -> None:
    named = [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": "0" * 16}]
    assert (read(references=named).parent_span_id, read(parentSpanID="0").parent_span_id) == (None, None)


def test_a_program_without_a_name() -> None:
    changed = document()
    changed["data"][0]["processes"]["p1"] = {"serviceName": "OTLPResourceNoServiceName"}
    [record] = jaeger_json.decode(json.dumps(changed).encode())
    assert record.resource == Resource()
    assert read(processID="p9").resource == Resource()


def test_every_form_of_a_document() -> None:
    """An answer, a file of the page, one trace, a list of traces; an answer without any."""
    whole = document()
    trace = whole["data"][0]
    forms = [whole, {"data": [trace]}, trace, [trace], {"data": [trace, trace]}]
    assert [len(jaeger_json.decode(json.dumps(form).encode())) for form in forms] == [1, 1, 1, 1, 2]
    assert jaeger_json.decode(b'{"data":null,"errors":[{"code":404}]}') == []
    assert jaeger_json.decode(b'{"data":[]}') == []


BAD: dict[str, dict[str, Any]] = {
    "an id that is none": {"traceID": "x" * 32},
    "an id with a sign": {"spanID": "+1"},
    "a long id": {"spanID": "a" * 17},
    "no id": {"spanID": ""},
    "an id of zeros": {"traceID": "0"},
    "a link to nothing": {"references": [{"refType": "FOLLOWS_FROM", "traceID": "zz", "spanID": "1"}]},
    "a text for a time": {"startTime": "now"},
    "a tag without a key": {"tags": [{"value": 1}]},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
def test_a_bad_span_costs_itself(fields: dict[str, Any]) -> None:
    changed = document()
    good = changed["data"][0]["spans"][0]
    changed["data"][0]["spans"] = [{**good, **fields}, good]
    data = json.dumps(changed).encode()
    problems: list[str] = []
    assert len(jaeger_json.decode(data, problems.append)) == 1
    assert len(problems) == 1
    with pytest.raises(jaeger_json.NotJaegerError):
        jaeger_json.decode(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[", b"17", b"null", b'{"data":1}', b"\xff", b'{"spans":1}', b'{"resourceSpans":[]}', b"[" * 100_000],
)
def test_what_is_none_of_jaegers(data: bytes) -> None:
    with pytest.raises(jaeger_json.NotJaegerError):
        jaeger_json.decode(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["traceID", "spanID", "references", "startTime", "duration", "tags", "logs", "processID", "operationName"]


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_nothing_but_its_own_error(fields: dict[str, Any]) -> None:
    """Whatever stands where, it is read, or reported."""
    problems: list[str] = []
    records = jaeger_json.decode(json.dumps(document(**fields)).encode(), problems.append)
    assert len(records) + len(problems) == 1


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    for start in (b"", b"{", b'{"data":[{"spans":['):
        try:
            jaeger_json.decode(start + data)
        except jaeger_json.NotJaegerError:
            pass


def test_a_run_comes_back() -> None:
    """But for the last three digits of times."""
    run = make_run(1, started_at_ns=1_795_475_000_000_000_000)
    data = json.dumps({"data": [jaeger_trace(run_to_spans(run))]}).encode()
    [read_run] = runs_from_spans(jaeger_json.decode(data))
    assert (read_run.user_input, read_run.final_output, read_run.status) == (
        run.user_input,
        run.final_output,
        run.status,
    )
    assert [(step.name, step.input, step.output) for step in read_run.steps] == [
        (step.name, step.input, step.output) for step in run.steps
    ]


def test_traces_with_changed_times_are_known_by_the_warning() -> None:
    """Not by a text of the same words elsewhere."""
    warning = "This span's timestamps were adjusted by -1.7ms"

    def trace(number: int, **fields: Any) -> dict[str, Any]:
        return {"spans": [{"traceID": f"{number:x}", "spanID": "1", **fields}], "processes": {}}

    warning_tags = [{"key": "k", "type": "string", "value": warning}]
    traces = [trace(1, warnings=[warning]), trace(2, warnings=None), trace(3, tags=warning_tags), trace(4, warnings=[])]
    assert jaeger_json.adjusted(json.dumps({"data": traces}).encode()) == {f"{1:032x}"}
    assert jaeger_json.adjusted(json.dumps({"data": traces[1:]}).encode()) == set()
    with pytest.raises(jaeger_json.NotJaegerError):
        jaeger_json.adjusted(warning.encode())
