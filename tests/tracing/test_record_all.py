"""Spans of our own provider state that they are no sample, below whatever came from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import TraceState

from otel_agent_trace import AgentTracer, InMemoryBackend, configure, extract, inject, open_source
from otel_agent_trace.sampling import randomness_of, threshold_in, without_threshold
from otel_agent_trace.tracing.record_all import RECORD_ALL
from otel_agent_trace.tracing.sdk_spans import SdkSpans, spans_of
from tests.support.sample_runs import fail_on_problem

PARENT = f"00-{0xA:032x}-{0xB:016x}-01"
RANDOM = "rv:00000000000001"


def record(tracer: AgentTracer) -> None:
    with tracer.run() as run, run.step("look"), tracer.run(agent_name="inner") as inner, inner.step("see"):
        pass


def states_of(backend: InMemoryBackend) -> set[str]:
    assert len(backend.spans()) == 4
    return {span.trace_state for span in backend.spans()}


def test_every_span_is_of_no_sample() -> None:
    backend = InMemoryBackend()
    record(AgentTracer(backend=backend))
    assert states_of(backend) == {"ot=th:0"}
    assert [run.sampling_probability for run in backend.runs()] == [None]


@pytest.mark.parametrize(
    ("received", "written"),
    [
        ("", "ot=th:0"),
        ("a=1,b=2", "ot=th:0,a=1,b=2"),
        (f"a=1,ot={RANDOM},b=2", f"ot=th:0;{RANDOM},a=1,b=2"),
        (f"a=1,ot={RANDOM};th:c,b=2", f"ot=th:0;{RANDOM},a=1,b=2"),
        ("ot=th:no", "ot=th:0"),
    ],
)
def test_what_came_from_elsewhere_stays_but_the_threshold(received: str, written: str) -> None:
    backend = InMemoryBackend()
    with extract({"traceparent": PARENT, "tracestate": received}):
        record(AgentTracer(backend=backend))
    assert states_of(backend) == {written}


@pytest.mark.parametrize("received", [f"a={'x' * 256},b={'x' * 245}", ",".join(f"k{number}=1" for number in range(32))])
def test_without_room_nothing_is_claimed(received: str) -> None:
    backend = InMemoryBackend()
    with extract({"traceparent": PARENT, "tracestate": received}):
        record(AgentTracer(backend=backend))
    assert states_of(backend) == {received}


def test_it_is_passed_on() -> None:
    with AgentTracer(backend=InMemoryBackend()).run():
        assert inject()["tracestate"] == "ot=th:0"


def test_a_provider_of_others_claims_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, sampled = InMemoryBackend(), InMemoryBackend()
    record(AgentTracer(tracer_provider=configure(provider=TracerProvider(shutdown_on_exit=False), backends=theirs)))
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    record(AgentTracer(tracer_provider=configure(backends=sampled)))
    assert states_of(theirs) == states_of(sampled) == {""}


def test_the_file_has_it_for_spans_that_never_end(tmp_path: Path) -> None:
    tracer = AgentTracer(tracer_provider=configure(file=tmp_path / "traces.jsonl"))
    record(tracer)
    run = tracer.run()
    run.__enter__()
    spans = [span for trace in open_source(tmp_path / "traces.jsonl").traces(fail_on_problem) for span in trace]
    assert [span.end_ns is None for span in spans].count(True) == 1
    assert {span.trace_state for span in spans} == {"ot=th:0"}
    run.__exit__(None, None, None)


def test_spans_are_made_in_the_fast_way() -> None:
    provider = configure(backends=InMemoryBackend())
    assert provider.sampler is RECORD_ALL
    assert isinstance(spans_of(provider.get_tracer("agents")), SdkSpans)


keys = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True).filter(lambda key: key != "ot")
values = st.from_regex(r"[!-+\--<>-~]{1,20}", fullmatch=True)
ours = st.lists(st.sampled_from([RANDOM, "th:c", "th:e6666666666666", "th:0", "th:", "x:1"]), max_size=3, unique=True)


@given(st.dictionaries(keys, values, max_size=31), ours, st.integers(0, 31))
def test_names_and_order_of_all_other_entries_stay(others: dict[str, str], fields: list[str], place: int) -> None:
    entries = [*others.items()]
    if fields:
        entries.insert(place, ("ot", ";".join(fields)))
    above = TraceState(entries)
    below = RECORD_ALL.state_below(above)
    assert [pair for pair in below.items() if pair[0] != "ot"] == [*others.items()]
    assert len(below.to_header()) <= max(512, len(above.to_header()))
    assert randomness_of(1, below.to_header()) == randomness_of(1, above.to_header())
    assert threshold_in(below.to_header()) == 0 or below is above
    assert RECORD_ALL.state_below(below) == below
    assert threshold_in(without_threshold(below.to_header())) is None
