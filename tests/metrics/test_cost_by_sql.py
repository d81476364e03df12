"""SQL prices the calls in spans as reading does: by provider, model, time, size and kinds of tokens."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from otel_agent_trace import AgentRun, AgentStep, StepKind, Usage, compute_metrics, load_runs, run_cost
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.metrics.engines import source_metrics
from otel_agent_trace.metrics.sql import span_prices
from otel_agent_trace.metrics.sql.clickhouse import opened_table
from otel_agent_trace.metrics.sql.otlp_json import opened_files
from otel_agent_trace.prices import Prices
from otel_agent_trace.sources.clickhouse import ClickHouseSource
from otel_agent_trace.span import SpanRecord
from tests.support.clickhouse import ClickHouseDatabase
from tests.support.mixed_traces import of_ours

OWN: dict[str, Any] = {"house": {"input": 0.123456, "output": 7}, "acme/dear": {"input": 1e6, "output": 1}}
DAY_NS = 86_400 * 10**9
HOW: dict[str, Any] = {"bucket": "1d", "by": ("agent", "model"), "prices": OWN}


O3_CHEAPER_NS = int(datetime(2025, 6, 10, tzinfo=timezone.utc).timestamp()) * 10**9


def run_with(number: int, *calls: AgentStep, began_ns: int = O3_CHEAPER_NS) -> AgentRun:
    """A run with calls, each a nanosecond after the other."""
    steps = (
        AgentStep(
            kind=call.kind,
            name=call.name,
            model=call.model,
            usage=call.usage,
            attributes=call.attributes,
            parent_step_id=call.parent_step_id,
            step_id=place,
            index=place - 1,
            span_id=f"{number:08x}{place:08x}" if call.run is None else call.run.span_id,
            run=call.run,
            started_at_ns=began_ns + place,
            ended_at_ns=began_ns + place + 5,
        )
        for place, call in enumerate(calls, 1)
    )
    return AgentRun(
        run_id=f"{number + 1:032x}",
        trace_id=f"{number + 1:032x}",
        span_id=f"{number:08x}{99:08x}",
        agent_name="weather",
        final_output="No.",
        started_at_ns=began_ns,
        ended_at_ns=began_ns + 50,
        steps=tuple(steps),
    )


def call(model: str, provider: str | None = None, answered: str | None = None, **fields: Any) -> AgentStep:
    """A call of a model with 1,000 and 100 tokens, if not with others."""
    usage = fields.pop("usage", Usage(input_tokens=1000, output_tokens=100))
    attributes = {"gen_ai.request.model": model, **fields.pop("attributes", {})}
    if provider is not None:
        attributes["gen_ai.provider.name"] = provider
    return AgentStep(
        kind=StepKind.MODEL, name=model, model=answered or model, usage=usage, attributes=attributes, **fields
    )


def large(tokens: int) -> AgentStep:
    return call("gemini-2.5-pro", "gcp.gemini", usage=Usage(input_tokens=tokens, output_tokens=10))


CACHED = Usage(input_tokens=900, cache_read_input_tokens=300, output_tokens=50, reasoning_output_tokens=20)
IMPOSSIBLE = Usage(input_tokens=9, cache_read_input_tokens=300)
COUNTED = {
    "another size": [run_with(0, large(200_000), large(200_001), large(0))],
    "another day": [
        run_with(number, call("o3", "openai"), began_ns=O3_CHEAPER_NS + days * DAY_NS - 2)
        for number, days in enumerate((-400, -1, 0, 1, 2, 300))
    ],
    "own prices": [run_with(0, call("house"), call("other", "acme", "house", usage=CACHED))],
    "cached tokens": [run_with(0, call("claude-sonnet-4-5", "anthropic", usage=CACHED), call("o3", usage=CACHED))],
    "spelt otherwise": [run_with(0, call("gpt-4o", " OpenAI"), call("gpt-4o", "_OTHER", "gpt-4o-2024-08-06"))],
    "not known": [run_with(0, call("nobody's"), call("o3", "openai"), call("it's {x:y} %s \\", "a\nb"))],
    "impossible": [run_with(0, call("o3", usage=IMPOSSIBLE), call("gpt-4o", usage=Usage(output_tokens=0)))],
    "no tokens": [run_with(0, call("o3", usage=None), call("o3", usage=Usage()), call("house"))],
}
TOOL = AgentStep(kind=StepKind.TOOL, name="search")
NESTED = replace(run_with(7, call("house"), began_ns=O3_CHEAPER_NS + 1), trace_id=f"{1:032x}")
SUB_AGENT = AgentStep(kind=StepKind.AGENT, name="weather", run=NESTED)
READ = {
    "hours": [run_with(0, call("deepseek-chat", "deepseek"))],
    "a tier": [run_with(0, call("o3", "openai", attributes={"openai.response.service_tier": "flex"}))],
    "audio": [run_with(0, call("gpt-4o-audio-preview", attributes={"gen_ai.usage.audio.input_tokens": 500}))],
    "another attribute": [run_with(0, call("gpt-4o", attributes={"llm.provider": "azure"}))],
    "no text": [run_with(0, call("gpt-4o", attributes={"gen_ai.provider.name": 1}))],
    "below a tool": [run_with(0, TOOL, call("house", parent_step_id=1))],
    "below a sub-agent": [run_with(0, SUB_AGENT)],
    "a great price": [run_with(0, call("dear", "acme"))],
    "a separator": [run_with(0, call("ho\x1fuse", "acme"))],
}
ALL = [*COUNTED.items(), *READ.items()]


def spans_of(runs: list[AgentRun]) -> list[SpanRecord]:
    return [span for run in runs for span in of_ours(run)]


def written(runs: list[AgentRun], folder: Path) -> Path:
    path = folder / "spans.jsonl"
    path.write_bytes(b"".join(otlp_json.encode(of_ours(run)) + b"\n" for run in runs))
    return path


@pytest.mark.parametrize(("case", "runs"), ALL, ids=[case for case, _ in ALL])
def test_duckdb(case: str, runs: list[AgentRun], tmp_path: Path) -> None:
    path = written(runs, tmp_path)
    with opened_files([str(path)], Prices.of(OWN)) as spans:
        assert spans is not None
        assert len(spans.odd()) == (0 if case in COUNTED else 1)
    parsed = compute_metrics(load_runs(path), **HOW)
    assert source_metrics(path, engine="duckdb", **HOW).to_dict() == parsed.to_dict()


def test_clickhouse(clickhouse: ClickHouseDatabase) -> None:
    for case, runs in ALL:
        clickhouse.insert(spans_of(runs))
        with opened_table(ClickHouseSource(clickhouse.url), Prices.of(OWN)) as spans:
            assert len(spans.odd()) == (0 if case in (*COUNTED, "no text") else 1), case  # the table has texts alone
        parsed = compute_metrics(load_runs(clickhouse.url), **HOW)
        assert source_metrics(clickhouse.url, **HOW).to_dict() == parsed.to_dict(), case
        clickhouse.run("TRUNCATE TABLE otel_traces")


def test_the_cases_cost_what_differs() -> None:
    """So the tests above mean something."""
    (sizes,) = COUNTED["another size"]
    small, big = (run_cost(run_with(0, step), OWN).usd for step in sizes.steps[:2])
    assert small
    assert big
    assert big > 1.5 * small
    costs = [run_cost(run, OWN).usd for run in COUNTED["another day"]]
    assert len(set(costs)) == 2
    assert all(run_cost(run, OWN).priced_calls for case, runs in ALL for run in runs if case != "a separator")


def test_more_models_than_rates_are_held_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those called most are counted."""
    runs = [
        run_with(0, call("house")),
        run_with(1, call("gpt-4o")),
        run_with(2, call("gpt-4o")),
        run_with(3, call("o3")),
    ]
    monkeypatch.setattr(span_prices, "_MOST_KEYS", 1)
    path = written(runs, tmp_path)
    with opened_files([str(path)], Prices.of(OWN)) as spans:
        assert spans is not None
        assert spans.odd() == {runs[0].trace_id, runs[3].trace_id}
    parsed = compute_metrics(load_runs(path), **HOW)
    assert source_metrics(path, engine="duckdb", **HOW).to_dict() == parsed.to_dict()


def test_a_call_without_a_start(tmp_path: Path) -> None:
    path = written([run_with(0, call("house")), run_with(1, call("house"))], tmp_path)
    start, *others = re.findall(rb'"startTimeUnixNano":"[0-9]+",', path.read_bytes())[1:]
    assert others
    path.write_bytes(path.read_bytes().replace(start, b"", 1))
    parsed = compute_metrics(load_runs(path), **HOW)
    assert source_metrics(path, engine="duckdb", **HOW).to_dict() == parsed.to_dict()


_COUNTS = st.none() | st.integers(0, 300_000)
_CALLS = st.builds(
    call,
    st.sampled_from(("o3", "gemini-2.5-pro", "house", "gpt-5", "")),
    st.sampled_from((None, "openai", "gcp.gemini", "azure.ai.openai", "acme", "")),
    st.sampled_from((None, "gpt-4o-2024-08-06", "house", "x")),
    usage=st.builds(
        Usage,
        input_tokens=_COUNTS,
        output_tokens=_COUNTS,
        cache_read_input_tokens=_COUNTS,
        cache_write_input_tokens=st.none() | st.integers(0, 9),
        reasoning_output_tokens=_COUNTS,
    ),
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(_CALLS, max_size=6), max_size=6), st.integers(-500, 300))
def test_any_calls(tmp_path: Path, calls: list[list[AgentStep]], days: int) -> None:
    began_ns = O3_CHEAPER_NS + days * DAY_NS
    runs = [run_with(place, *each, began_ns=began_ns + place * DAY_NS) for place, each in enumerate(calls)]
    path = written(runs, tmp_path)
    parsed = compute_metrics(load_runs(path), **HOW)
    assert source_metrics(path, engine="duckdb", **HOW).to_dict() == parsed.to_dict()
