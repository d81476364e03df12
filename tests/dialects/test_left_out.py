"""Whatever the spans of a run hold is in the run, or in the list of what was left out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otel_agent_trace import explain_run
from otel_agent_trace.cli import main
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.runs.explain import RunExplanation, explain
from otel_agent_trace.runs.left_out import Outside, leaves_of
from otel_agent_trace.span import Event, Link, LogRecord, Resource, Scope, SpanRecord
from tests.support.handwritten_spans import span

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m",
    "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "Rain?"}]}],
}


def explained(*spans: SpanRecord) -> RunExplanation:
    (explanation,) = explain(spans)
    return explanation


def left_out(explanation: RunExplanation) -> dict[str, tuple[str, ...]]:
    return {span.span_name: span.places for span in explanation.left_out}


def test_what_is_in_the_run_is_not_listed() -> None:
    """Also a number that was a text, and words that only classify a span."""
    agent = {"openinference.span.kind": "AGENT", "agent.name": "weather", "input.value": "Rain?", "session.id": "s1"}
    model = {**CHAT, "gen_ai.usage.input_tokens": "10"}
    explanation = explained(span("1", None, (1, 9), "agent", agent), span("2", "1", (2, 3), "chat m", model))
    assert explanation.unread == ()
    assert left_out(explanation) == {}


def test_values_that_lost_to_others() -> None:
    """A second session, tokens of an outer span with those of the calls, the output of a chain that is no step."""
    agent = {"openinference.span.kind": "AGENT", "agent.name": "weather", "session.id": "s1", "output.value": "No."}
    chain = {"openinference.span.kind": "CHAIN", "session.id": "s2", "output.value": "of the chain"}
    explanation = explained(
        span("1", None, (1, 9), "agent", agent),
        span("2", "1", (2, 8), "chain", chain),
        span("3", "2", (3, 4), "chat m", CHAT),
    )
    assert left_out(explanation) == {"chain": ("openinference.span.kind", "session.id", "output.value")}


def test_what_stands_beside_the_attributes() -> None:
    """Events, links, another resource, the scope, the trace state and a status message."""
    agent = span("1", None, (1, 9), "agent", {"gen_ai.operation.name": "invoke_agent"})
    request = msgspec.structs.replace(
        span("2", "1", (2, 3), "GET /", {}, events=(Event("retry", 2, {"attempt": 7}),)),
        links=(Link("a" * 32, "b" * 16, {"why": "batch"}),),
        resource=Resource({"service.name": "app", "host.name": "node-1"}),
        scope=Scope("http", "1", {"flavour": "mild"}),
        trace_state="vendor=x",
        status_message="refused by the proxy",
    )
    assert left_out(explained(agent, request)) == {
        "GET /": (
            "event retry: attempt",
            "link: why",
            "resource: host.name",
            "scope: flavour",
            "trace state",
            "status message",
        )
    }


def scalars(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from itertools.chain.from_iterable(map(scalars, value.values()))
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(scalars, value))
    else:
        yield str(value)


def test_nothing_is_unaccounted() -> None:
    """A value of its own in every place of a trace in several schemes; each is in the run, or its place is listed.

    Of spans, their events and log records, links, resources and scopes; `leaves_of` yields them all.
    """
    numbers = itertools.count(1000)
    keys = (
        *(
            "input.value",
            "output.value",
            "session.id",
            "user.id",
            "metadata",
            "gen_ai.input.messages",
            "llm.model_name",
        ),
        *("traceloop.entity.name", "traceloop.entity.input", "tool.name", "gen_ai.agent.name"),
        *("gen_ai.usage.input_tokens", "llm.token_count.prompt", "exception.message", "error.type", "app.own", "tags"),
    )
    kinds: tuple[dict[str, Any], ...] = (
        *({"openinference.span.kind": kind} for kind in ("AGENT", "CHAIN", "LLM", "TOOL", "EVALUATOR")),
        *({"traceloop.span.kind": kind} for kind in ("workflow", "task", "tool")),
        *({"gen_ai.operation.name": kind} for kind in ("chat", "execute_tool", "invoke_agent")),
        {},
    )

    def value() -> str:
        return f"v{next(numbers)}"

    spans = [
        msgspec.structs.replace(
            span(
                f"{number}",
                None if number == 1 else "1",
                (number, 99),
                f"span {number}",
                {**kind, **{key: value() for key in keys}},
                events=(
                    Event("exception", number, {"exception.type": value(), "x": value()}),
                    LogRecord("", "", "", number, {"retry": value()}, value(), 17, value(), scope=Scope(value())).event,
                    LogRecord("", "", "gen_ai.user.message", number, {"content": value()}, {"id": value()}).event,
                    LogRecord("", "", "of.the.app", number, {"state": value()}, value()).event,
                ),
            ),
            links=(Link("a" * 32, "b" * 16, {"why": value()}),),
            resource=Resource({"service.name": "app", "host.name": value()}),
            scope=Scope("tracer", "1", {"flavour": value()}),
            trace_state=f"vendor={value()}",
            status_message=value(),
        )
        for number, kind in enumerate(kinds, start=1)
    ]
    places_have = {text for record in spans for _, found in leaves_of(record) for text in scalars(found)}
    assert {f"v{number}" for number in range(1000, next(numbers))} <= {
        text.removeprefix("vendor=") for text in places_have
    }
    explanation = explained(*spans)
    output = json.dumps(explanation.run.to_dict())
    listed = {each.span_id: set(each.attributes) for each in explanation.unread}
    for each in explanation.left_out:
        listed.setdefault(each.span_id, set()).update(each.places)
    for record in spans:
        places = listed.get(record.span_id, set())
        missing = {
            place
            for place, found in leaves_of(record)
            if place not in places and not all(map(output.__contains__, scalars(found)))
        }
        assert missing <= {"openinference.span.kind", "traceloop.span.kind", "gen_ai.operation.name"}


def test_traces_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are counted by scope; those of the run, and of other runs, are not."""
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather"}
    path = tmp_path / "mixed.jsonl"
    spans = [
        *(span("1", None, (1, 9), "invoke_agent", agent, trace=trace * 32) for trace in "ab"),
        span("2", None, (1, 9), "GET /", {"http.route": "/"}, trace="c" * 32, scope="http.server"),
        span("3", "2", (1, 9), "SELECT", {"db.system": "x"}, trace="c" * 32, scope="http.server"),
    ]
    path.write_bytes(b"".join(otlp_json.encode([each]) + b"\n" for each in spans))
    explanation = explain_run(path, "a" * 32)
    assert explanation.outside == (Outside("http.server", 2, ("db.system", "http.route", "resource: service.name")),)
    assert main(["explain", str(path), "a" * 32]) == 0
    assert "http.server  2 spans, 3 places: db.system, http.route" in capsys.readouterr().out
