"""Times that are none are unknown: other spans of the trace give better ones, and a notice reports it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, load_runs, runs_from_spans
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.span import Event, Notice, SpanRecord
from tests.support.sample_runs import BEGAN_NS, Problems

Write = Callable[..., Path]
S = 10**9
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}


def agent(start_ns: int, end_ns: int | None, **fields: Any) -> SpanRecord:
    return SpanRecord("ab" * 16, "a" * 16, None, "invoke_agent clerk", start_ns, end_ns, AGENT, **fields)


def chat(number: int, start_ns: int, end_ns: int | None, parent: str = "a" * 16) -> SpanRecord:
    return SpanRecord("ab" * 16, f"{number:016x}", parent, "chat m", start_ns, end_ns, CHAT)


NOW = BEGAN_NS
CALL = chat(1, NOW + S, NOW + 2 * S)
CASES: dict[str, tuple[list[SpanRecord], tuple[int, int | None]]] = {
    "a start that was never set": ([agent(0, NOW + 9 * S), CALL], (NOW + S, NOW + 9 * S)),
    "a start of a negative number": ([agent(2**64 - 5, NOW + 9 * S), CALL], (NOW + S, NOW + 9 * S)),
    "no start, and nothing below": ([agent(0, NOW + 9 * S)], (NOW + 9 * S, NOW + 9 * S)),
    "no start, but an event": (
        [agent(0, NOW + 9 * S, events=(Event("e", NOW + S), Event("f", 0)))],
        (NOW + S, NOW + 9 * S),
    ),
    "no start, and the call below has none": (
        [agent(0, NOW + 9 * S), chat(1, 0, NOW + 2 * S)],
        (NOW + 2 * S, NOW + 9 * S),
    ),
    "an end before the start": ([agent(NOW, NOW - S), CALL], (NOW, NOW + 2 * S)),
    "an end of a negative number": ([agent(NOW, 2**64 - 1), CALL], (NOW, NOW + 2 * S)),
    "an end before the start, and nothing below": ([agent(NOW, 1)], (NOW, NOW)),
    "neither start nor end": ([agent(0, 2**63), CALL], (NOW + S, NOW + 2 * S)),
    "no start, and still open": ([agent(0, None), CALL], (NOW + S, None)),
}


def times_of(run: AgentRun) -> tuple[int, int | None]:
    return run.started_at_ns, run.ended_at_ns


@pytest.mark.parametrize("what", CASES)
def test_times_that_are_none(what: str) -> None:
    spans, times = CASES[what]
    for order in permutations(spans):
        [run] = runs_from_spans(order)
        assert times_of(run) == times
        assert all((step.duration_s or 0) >= 0 for step in run.steps)


@pytest.mark.parametrize("what", CASES)
def test_they_are_reported(write: Write, what: str) -> None:
    spans, times = CASES[what]
    found = Problems()
    [run] = load_runs(write("traces.jsonl", otlp_json.encode(spans)), on_problem=found)
    assert times_of(run) == times
    [notice] = found
    assert isinstance(notice, Notice)
    assert str(notice).startswith(f"trace {'ab' * 16}: ")
    assert "no times (0, before 1970, or an end before the start)" in notice.reason


def test_a_step_without_start_begins_with_the_span_above() -> None:
    [run] = runs_from_spans([agent(NOW, NOW + 9 * S), chat(1, 0, 0)])
    assert [(step.started_at_ns, step.ended_at_ns) for step in run.steps] == [(NOW, NOW)]


def test_a_clock_that_counts_from_zero_has_a_time_of_zero(write: Write) -> None:
    found = Problems()
    spans = [agent(0, 90), chat(1, 5, 20)]
    [run] = load_runs(write("traces.jsonl", otlp_json.encode(spans)), on_problem=found)
    assert (times_of(run), found) == ((0, 90), [])


def test_a_ring_of_spans_without_start_is_no_harm() -> None:
    spans = [chat(1, 0, 0, parent=f"{2:016x}"), chat(2, 0, 0, parent=f"{1:016x}"), agent(NOW, NOW + S)]
    assert "clerk" in [run.agent_name for run in runs_from_spans(spans)]


def test_traces_with_such_times_are_reported_a_few_times_only(write: Write) -> None:
    traces = [
        SpanRecord(f"{number:032x}", "a" * 16, None, "invoke_agent", 0, NOW + number, AGENT) for number in range(1, 30)
    ]
    found = Problems()
    assert len(load_runs(write("traces.jsonl", otlp_json.encode(traces)), on_problem=found)) == 29
    assert len(found) == 5
