"""Traces of our own tracer and of others, some of which are one run together, and queries that find some of them."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from otel_agent_trace import AgentRun, SpanRecord
from otel_agent_trace.model import AgentStep, RunStatus, Score, StepError, StepKind, Usage
from otel_agent_trace.runs.write import run_to_spans
from otel_agent_trace.span import Resource, Scope
from tests.support.random_traces import chat, tangled_traces
from tests.support.sample_runs import BEGAN_NS, failed_run, make_run

OURS = Scope("otel_agent_trace", "1")
SECOND_NS = 1_000_000_000
QUERIES: tuple[dict[str, Any], ...] = (
    {"sort": "time", "limit": 1},
    {"newest_first": True, "limit": 3},
    {"sort": "duration", "limit": 2},
    {"sort": "steps", "limit": 3},
    {"sort": "tokens", "limit": 2},
    {"sort": "tokens", "agent": "weather"},
    {"agent": "helper"},
    {"agent": "a", "sort": "time", "limit": 2},
    {"status": "error", "sort": "time", "limit": 2},
    {"status": "running"},
    {"status": "interrupted"},
    {"status": "paused", "sort": "duration"},
    {"tool": "search", "sort": "time", "limit": 2},
    {"tool": "inner-tool"},
    {"tool_error": True},
    {"tool_error": "search", "sort": "steps", "limit": 1},
    {"model": "m"},
    {"model": "m-1", "sort": "time", "limit": 2},
    {"user_id": "user-1"},
    {"session_id": "session-2", "newest_first": True},
    {"service": "shop", "sort": "time", "limit": 2},
    {"service": "other"},
    {"tag": "a"},
    {"tag": ["a", "b"], "sort": "time", "limit": 1},
    {"where": {"metadata.tenant": "acme"}, "sort": "time", "limit": 2},
    {"text": "question", "sort": "tokens", "limit": 2},
    {"score": "good<0.5"},
    {"score": ["good", "good!=1"], "sort": "time", "limit": 1},
    {"score": "good>=0", "agent": "a"},
    {"sort": "score:good"},
    {"sort": "score:good", "limit": 1},
    {"sort": "score:good", "agent": "weather", "limit": 2},
    {"sort": "score:good", "newest_first": True, "tool": "search"},
    {"since": (BEGAN_NS + 2 * SECOND_NS) / SECOND_NS, "sort": "time", "limit": 9},
    {"until": (BEGAN_NS + 2 * SECOND_NS) / SECOND_NS},
    {"min_duration": "400ms"},
    {"run_id": "0000"},
    {"run_id": "order-1"},
    {"run_id": "last"},
    {"run_id": "r-1"},
    {"sort": "cost", "prices": {"m": {"input": 3, "output": 5}}, "limit": 2},
    {"sort": "cost", "prices": {"m-1": {"input": 3, "output": 5}}, "limit": 3},
    {"sort": "cost", "prices": {"m": {"input": 3, "output": 5}}, "agent": "weather"},
    {"newest_first": True, "prices": {"m": {"input": 1, "output": 5}}, "limit": 3},
    {"sort": "tokens", "prices": {"m": {"input": 3, "output": 5}}, "tool": "search"},
)


def of_ours(run: AgentRun, service: str = "shop") -> list[SpanRecord]:
    """The spans of a run as our own tracer emits them."""
    resource = Resource({"service.name": service})
    return [msgspec.structs.replace(span, scope=OURS, resource=resource) for span in run_to_spans(run)]


@st.composite
def own_traces(draw: st.DrawFn) -> list[SpanRecord]:
    """A run of our own tracer, some of whose spans may be lost or open, or there twice."""
    number = draw(st.integers(0, 5))
    if draw(st.integers(0, 5)) == 0:
        return of_ours(failed_run(number))
    fields: dict[str, Any] = {}
    choices: dict[str, list[Any]] = {
        "agent_name": ["weather", "a", None],
        "final_output": ["No.", None],
        "status": [RunStatus.SUCCESS, RunStatus.TIMEOUT],
        "user_id": ["user-1", None, "x" * 3000, "a\ud800"],
        "session_id": ["session-2", None],
        "tags": [(), ("a",), ("a", "b"), ("a\x1fb",)],
        "metadata": [{}, {"tenant": "acme"}],
        "interrupted_for": [None, None, {"ask": 1}],
        "run_id": ["order-1", f"{number + 1:032x}", "order-\x1f"],
        "usage": [None, Usage(input_tokens=3), Usage(details={"x": 1})],
        "sampling_probability": [None, 0.5],
        "scores": [(Score(name="good", value=value),) for value in (True, 0.25, -1)],
    }
    for name, values in choices.items():
        if draw(st.booleans()):
            fields[name] = draw(st.sampled_from(values))
    spans = of_ours(_with_steps(draw, make_run(number, **fields)), draw(st.sampled_from(["shop", "other"])))
    match draw(st.integers(0, 6)):
        case 0:
            del spans[draw(st.integers(0, len(spans) - 1))]
        case 1:
            spans.append(draw(st.sampled_from(spans)))
        case 2:
            place = draw(st.integers(0, len(spans) - 1))
            spans[place] = _open(spans[place])
    return spans


def _with_steps(draw: st.DrawFn, run: AgentRun) -> AgentRun:
    def changed(step: AgentStep) -> AgentStep:
        fields: dict[str, Any] = {}
        if step.kind is StepKind.TOOL and draw(st.booleans()):
            fields["error"] = StepError(type="ValueError", message="no", category="invalid_request")
        if step.kind is StepKind.TOOL and draw(st.booleans()):
            fields["output"] = {"status": "pending"}
        if step.kind is StepKind.MODEL and draw(st.booleans()):
            fields["model"] = draw(st.sampled_from(["m-1", None]))
        return msgspec.structs.replace(step, **fields)

    steps = run.steps if draw(st.booleans()) else run.steps[:-1]  # with a sub-agent, runs are always read as a whole
    return msgspec.structs.replace(run, steps=tuple(map(changed, steps)))


def _open(span: SpanRecord) -> SpanRecord:
    return msgspec.structs.replace(span, end_ns=None, attributes={**span.attributes, "agent_trace.interrupted": True})


@st.composite
def conversations(draw: st.DrawFn) -> list[SpanRecord]:
    """Calls of another tracer, each a trace of its own, that are one run."""
    number = draw(st.integers(0, 3))
    call = {"id": "c1", "name": "forecast", "arguments": {"city": "Lyon"}}
    calls = [chat("Rain?", call=call), chat("Rain?", "No.", call, "sun")]
    return [
        SpanRecord(
            f"{number:015x}{place}".rjust(32, "c"),
            f"{number:015x}{place + 1}",
            None,
            "chat",
            BEGAN_NS + 10 * place,
            BEGAN_NS + 10 * place + 5,
            attributes,
            scope=Scope("openai"),
            resource=Resource({"service.name": "shop"}),
        )
        for place, attributes in enumerate(calls)
    ]


@st.composite
def foreign_traces(draw: st.DrawFn) -> list[SpanRecord]:
    """Spans of any tracers, ours too, in a trace of their own."""
    trace_id = f"{draw(st.integers(1, 4)):032x}".replace("0", "d", 1)
    return [msgspec.structs.replace(span, trace_id=trace_id) for span in draw(tangled_traces())]
