"""Runs out of a Jaeger, of a stand-in that answers in all the ways in which Jaegers do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_agent_trace import (
    AgentRun,
    JaegerSource,
    RunStatus,
    compute_metrics,
    iter_runs,
    load_run,
    load_runs,
    run_to_spans,
)
from otel_agent_trace.errors import AmbiguousRunError, ConfigurationError, RunNotFoundError
from otel_agent_trace.span import Event, Link, Resource, Scope, SpanRecord
from otel_agent_trace.testing import check_source
from tests.support.fake_jaeger import FakeJaeger, v3_error
from tests.support.sample_runs import BEGAN_NS, Problems, fail_on_problem, failed_run, make_run, of_service

SECOND_NS = 1_000_000_000
INTERFACES = pytest.mark.parametrize("interfaces", [("v3",), ("legacy",)], ids=["v3", "legacy"])
WAYS: dict[str, dict[str, Any]] = {
    "as 1.62": {},
    "as 1.76": {"nothing_is_404": True},
    "new names only": {"names": "camel", "nothing_is_404": True},
    "a group for each span": {"a_group_each": True},
    "a line for each span": {"a_line_each": True},
    "only spans of the window": {"parts": "window"},
    "only spans of the service": {"parts": "service"},
    "looks at nothing but times": {"depth_counts": False, "attributes_count": False, "service_counts": False},
    "counts microseconds": {"resolution_ns": 1000},
    "older interface": {"interfaces": ("legacy",)},
    "older interface alone, below a path": {"interfaces": ("legacy",), "base": "/jaeger/ui"},
    "below a path": {"base": "/jaeger"},
}
EVERY_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def spans_of(runs: Sequence[AgentRun], service: str = "weather") -> list[SpanRecord]:
    """Spans in the order of arrival, the root of each trace last; tools belong to a service of their own."""
    spans = [span for run in runs for span in reversed(run_to_spans(run))]
    return [of_service(span, "tools" if span.name.startswith("execute_tool") else service) for span in spans]


def some_runs(count: int = 10) -> list[AgentRun]:
    return [failed_run(number) if number % 3 == 2 else make_run(number) for number in range(count)]


def facts(runs: Sequence[AgentRun]) -> list[dict[str, Any]]:
    """What has to come back whichever interface is there: all but the last three digits of times, and services."""
    return [_without_times(run.to_dict()) for run in runs]


_ASIDE = ("duration_s", "service_name", "service_version", "resource", "dialect", "recorded_by", "not_recorded")


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if key not in _ASIDE}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value // 1000 if isinstance(value, int) and value > BEGAN_NS // 2 else value


# ── all of it ────────────────────────────────────────────────────────────────────────────────────────────────────────


@EVERY_WAY
@pytest.mark.parametrize("query", ["", "?service=weather", "?service=tools"])
def test_all_runs_come_back(jaeger: FakeJaeger, way: dict[str, Any], query: str, problems: Problems) -> None:
    """Whole, once, in order, whatever the way of answering is, of all services or of one that takes part."""
    runs = some_runs()
    jaeger.fresh(spans_of(runs), **way)
    url = jaeger.url(way.get("base", "")) + query
    assert facts(load_runs(url, on_problem=problems)) == facts(runs)
    assert problems == []


@EVERY_WAY
def test_nothing_there(jaeger: FakeJaeger, way: dict[str, Any]) -> None:
    """An empty Jaeger, a service that it does not know, and a time in which nothing happened."""
    jaeger.fresh(**way)
    url = jaeger.url(way.get("base", ""))
    assert load_runs(url) == []
    jaeger.keep(spans_of(some_runs(3)))
    assert load_runs(url, service="nobody") == load_runs(url + "?service=nobody") == []
    assert load_runs(url, since="2001-01-01", until="2002-01-01") == []
    with pytest.raises(RunNotFoundError):
        load_run(url, "f" * 32)


def test_the_new_interface_keeps_everything(jaeger: FakeJaeger) -> None:
    """Down to the nanosecond."""
    runs = some_runs()
    jaeger.fresh(span for run in runs for span in run_to_spans(run))
    assert load_runs(jaeger.url()) == runs
    assert all(request.query["query.rawTraces"] == "true" for request in jaeger.searches)


@pytest.mark.parametrize("interfaces", [("v3",), ("legacy",), ("v3", "legacy")])
def test_conformance(jaeger: FakeJaeger, interfaces: tuple[str, ...]) -> None:
    """It keeps the contract of sources, but for what Jaeger's own JSON loses."""

    def make_source(spans: Sequence[SpanRecord]) -> JaegerSource:
        jaeger.fresh(spans, interfaces=interfaces)
        return JaegerSource(jaeger.url())

    lost = ("start_ns", "end_ns", "flags", "links", "events", "attributes") if interfaces == ("legacy",) else ()
    check_source(make_source, ignoring=lost)


def test_a_trace_whose_root_has_not_arrived_is_running(jaeger: FakeJaeger) -> None:
    """As far as anybody can tell."""
    jaeger.fresh(run_to_spans(make_run(1))[1:])
    [run] = load_runs(jaeger.url())
    assert run.status is RunStatus.RUNNING
    assert [step.name for step in run.steps] == ["m", "search", "helper"]


def test_clocks_that_are_ahead(jaeger: FakeJaeger) -> None:
    """A run that starts tomorrow, or in the year 2200, was traced all the same."""
    now_ns = time.time_ns()
    starts = [now_ns + 60 * SECOND_NS, now_ns + 86400 * 40 * SECOND_NS, 7_258_118_400 * SECOND_NS]
    runs = [make_run(number, started_at_ns=start, ended_at_ns=start + 1) for number, start in enumerate(starts)]
    jaeger.fresh(span for run in runs for span in run_to_spans(run))
    assert [run.run_id for run in load_runs(jaeger.url())] == [run.run_id for run in runs]


def test_a_store_that_refuses_to_look_through_long_times(jaeger: FakeJaeger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less is asked for at once; the far future is left alone."""
    runs = some_runs(3)
    jaeger.fresh(spans_of(runs))
    usual = jaeger._found

    def found(service: str, begin: int, end: int, *rest: Any) -> Any:
        if end - begin > 400 * 86400 * SECOND_NS:
            raise OverflowError
        return usual(service, begin, end, *rest)

    def traces(trace_id: str, query: dict[str, str]) -> Any:
        try:
            return answer(trace_id, query)
        except OverflowError:
            return v3_error(500, "too many indices")

    answer = jaeger._v3_traces
    monkeypatch.setattr(jaeger, "_found", found)
    monkeypatch.setattr(jaeger, "_v3_traces", traces)
    assert facts(load_runs(jaeger.url())) == facts(runs)


@pytest.mark.parametrize("kind", ["v3", "legacy"])
def test_what_cannot_be_read_costs_itself(jaeger: FakeJaeger, kind: str, problems: Problems) -> None:
    """A span that is none is reported; all others come."""
    runs = some_runs(3)
    jaeger.fresh(
        [*spans_of(runs), SpanRecord("zz" * 16, "1" * 16, None, "bad", BEGAN_NS, BEGAN_NS)], interfaces=(kind,)
    )
    assert facts(load_runs(jaeger.url(), on_problem=problems)) == facts(runs)
    assert {problem.path for problem in problems} == {jaeger.url()}
    assert any("a span" in problem.reason for problem in problems)


# ── windows ──────────────────────────────────────────────────────────────────────────────────────────────────────────


starts = st.one_of(
    st.integers(0, 10**6),
    st.integers(BEGAN_NS, BEGAN_NS + 5),
    st.integers(BEGAN_NS, BEGAN_NS + 86400 * SECOND_NS),
    st.integers(0, 7_258_118_400 * SECOND_NS),
)


@given(
    traces=st.lists(st.lists(starts, min_size=1, max_size=4), max_size=24),
    depth=st.integers(1, 12),
    kind=st.sampled_from(["v3", "legacy"]),
    parts=st.sampled_from([None, "window"]),
    most=st.sampled_from([None, 20]),
)
@settings(suppress_health_check=list(HealthCheck))
def test_none_missed_none_doubled(
    jaeger: FakeJaeger, traces: list[list[int]], depth: int, kind: str, parts: str | None, most: int | None
) -> None:
    """Any traces over time, any depth: chains of spans of which each is the child of the one that started before."""
    spans = [chained for number, times in enumerate(traces, 1) for chained in _chain(number, sorted(times))]
    jaeger.fresh(spans, interfaces=(kind,), parts=parts, most=most)
    read = list(JaegerSource(jaeger.url(), search_depth=depth).traces(fail_on_problem))
    assert Counter(read_spans[0].trace_id for read_spans in read) == Counter(
        {span.trace_id: 1 for span in spans}.keys()
    )
    assert {(span.trace_id, span.span_id) for read_spans in read for span in read_spans} == {
        (span.trace_id, span.span_id) for span in spans
    }


def _chain(number: int, times: list[int]) -> list[SpanRecord]:
    return [
        SpanRecord(
            trace_id=f"{number:032x}",
            span_id=f"{number:08x}{place + 1:08x}",
            parent_span_id=f"{number:08x}{place:08x}" if place else None,
            name="s",
            start_ns=start,
            end_ns=start + 1,
            resource=Resource({"service.name": f"service-{place % 2}"}),
        )
        for place, start in enumerate(times)
    ]


def test_traces_that_arrive_meanwhile(jaeger: FakeJaeger) -> None:
    """Whatever was there at the beginning comes once; what is new comes once or not at all."""
    runs = some_runs(60)
    jaeger.fresh(spans_of(runs[::2]))
    coming = iter(runs[1::2])
    found = []
    for spans in JaegerSource(jaeger.url(), search_depth=4).traces(fail_on_problem):
        found.append(spans[0].trace_id)
        late = next(coming, None)
        if late is not None:
            jaeger.keep(spans_of([late]))
    assert max(Counter(found).values()) == 1
    assert {run.trace_id for run in runs[::2]} <= set(found) <= {run.trace_id for run in runs}


def test_more_in_a_moment_than_there_is_to_be_had(jaeger: FakeJaeger, problems: Problems) -> None:
    """It is reported, with the time."""
    spans = [SpanRecord(f"{n:032x}", f"{n:016x}", None, "s", BEGAN_NS, BEGAN_NS + 1) for n in range(1, 140)]
    jaeger.fresh(spans, most=100)
    read = list(JaegerSource(jaeger.url()).traces(problems))
    assert len(read) == 100
    assert "some are missing" in problems[0].reason
    assert "2026-11-23T23:0" in problems[0].reason


def test_answers_are_bounded(jaeger: FakeJaeger, problems: Problems) -> None:
    """More bytes than may come at once are asked for in parts; a trace that is larger by far is reported, and left out."""
    runs = [make_run(number, user_input="x" * 40_000) for number in range(30)]
    runs.append(make_run(40, user_input="x" * 1_000_000))
    jaeger.fresh(span for run in runs for span in run_to_spans(run))
    source = JaegerSource(jaeger.url(), max_answer_bytes=100_000)
    assert [run.run_id for run in load_runs(source, on_problem=problems)] == [run.run_id for run in runs[:-1]]
    assert problems
    assert load_run(JaegerSource(jaeger.url()), runs[-1].trace_id) == runs[-1]


def test_memory_holds_a_window(jaeger: FakeJaeger) -> None:
    """What was given is not kept: lists that are gone are not in the source any more."""
    jaeger.fresh(spans_of(some_runs(40)))
    reading = JaegerSource(jaeger.url(), search_depth=4).traces(fail_on_problem)
    next(reading)
    asked = len(jaeger.searches)
    for _ in range(20):
        next(reading)
    assert len(jaeger.searches) > asked  # as it is read, not before
    reading.close()


# ── what is wanted ───────────────────────────────────────────────────────────────────────────────────────────────────


@INTERFACES
def test_filters(jaeger: FakeJaeger, interfaces: tuple[str, ...]) -> None:
    """As over files; times go to Jaeger as well."""
    runs = some_runs(12)
    jaeger.fresh(spans_of(runs), interfaces=interfaces)
    url = jaeger.url()
    assert facts(load_runs(url, status="error")) == facts(runs[2::3])
    assert facts(load_runs(url, tool="search", user_id="user-3")) == facts([runs[3]])
    assert facts(load_runs(url, agent="weather", limit=2)) == facts(runs[:2])
    jaeger.requests.clear()
    since, until = (BEGAN_NS // SECOND_NS + 3, BEGAN_NS // SECOND_NS + 7)
    assert facts(load_runs(url, since=since, until=until)) == facts(runs[3:7])
    assert len(jaeger.searches) <= 2 * 2  # of each service, unless the window is too full
    assert compute_metrics(iter_runs(url)).runs == 12


@INTERFACES
def test_the_newest_come_without_reading_all(jaeger: FakeJaeger, interfaces: tuple[str, ...]) -> None:
    """A few questions, however much there is."""
    runs = some_runs(400)
    jaeger.fresh(spans_of(runs), interfaces=interfaces)
    load_runs(jaeger.url())
    everything = len(jaeger.searches)
    jaeger.requests.clear()
    assert facts(list(iter_runs(jaeger.url(), newest_first=True, limit=5))) == facts(runs[:-6:-1])
    assert len(jaeger.searches) < everything / 2
    jaeger.requests.clear()
    assert facts([load_run(jaeger.url(), "last")]) == facts(runs[-1:])
    assert len(jaeger.searches) < everything / 2


def test_the_newest_run_may_be_long(jaeger: FakeJaeger) -> None:
    """A run that began earlier and has the latest steps is not the newest."""
    long = make_run(0, ended_at_ns=BEGAN_NS + 90 * SECOND_NS)
    assert long.trace_id is not None
    late = SpanRecord(
        long.trace_id, "ab" * 8, long.span_id, "execute_tool t", BEGAN_NS + 80 * SECOND_NS, BEGAN_NS + 81 * SECOND_NS
    )
    runs = [long, *(make_run(number) for number in range(1, 60))]
    jaeger.fresh([*(span for run in runs for span in run_to_spans(run)), late])
    found = list(iter_runs(JaegerSource(jaeger.url(), search_depth=3), newest_first=True, limit=4))
    assert found == runs[:-5:-1]


@INTERFACES
def test_a_run_by_its_trace_is_one_question(jaeger: FakeJaeger, interfaces: tuple[str, ...]) -> None:
    """By the trace id, or by the id of a run below, which begins with it."""
    runs = some_runs(12)
    jaeger.fresh(spans_of(runs), interfaces=interfaces)
    inner = runs[4].steps[2].run
    assert facts([load_run(jaeger.url(), runs[4].trace_id)]) == facts([runs[4]])
    assert inner is not None
    assert facts([load_run(jaeger.url(), inner.run_id)]) == facts([inner])
    assert jaeger.searches == []


@INTERFACES
@pytest.mark.parametrize("attributes_count", [True, False])
def test_a_run_by_an_id_of_its_own(jaeger: FakeJaeger, interfaces: tuple[str, ...], attributes_count: bool) -> None:
    """Whether Jaeger looks at attributes or not; the beginning of an id works too, where it is unique."""
    runs = [make_run(number, run_id=f"order-{number}") for number in range(1, 13)]
    jaeger.fresh(spans_of(runs), interfaces=interfaces, attributes_count=attributes_count)
    url = jaeger.url()
    assert facts([load_run(url, "order-1")]) == facts(runs[:1])
    assert facts([load_run(url, "order-2")]) == facts(runs[1:2])
    assert facts([load_run(url, "order-12")]) == facts(runs[11:])
    assert facts([load_run(url, runs[2].trace_id[:32])]) == facts([runs[2]])
    with pytest.raises(AmbiguousRunError, match="order-10"):
        load_run(url, "order-")
    with pytest.raises(RunNotFoundError):
        load_run(url, "order-99")


def test_attributes_that_are_refused(jaeger: FakeJaeger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then all is looked through."""
    runs = [make_run(number, run_id=f"order-{number}") for number in range(3)]
    jaeger.fresh(spans_of(runs))
    usual = jaeger._v3_traces
    refused = v3_error(400, "unknown parameter query.attributes")
    monkeypatch.setattr(
        jaeger,
        "_v3_traces",
        lambda trace_id, query: refused if "query.attributes" in query else usual(trace_id, query),
    )
    assert facts([load_run(jaeger.url(), "order-1")]) == facts(runs[1:2])


@pytest.mark.parametrize(
    "link", ["/trace/{id}", "/trace/{id}?uiFind=search", "/api/traces/{id}", "/api/v3/traces/{id}", "/trace/{ID}/"]
)
@INTERFACES
def test_a_pasted_link_is_that_trace(jaeger: FakeJaeger, interfaces: tuple[str, ...], link: str) -> None:
    """Of the page or of the API, below a path as well."""
    runs = some_runs(4)
    jaeger.fresh(spans_of(runs), interfaces=interfaces, base="/tracing")
    trace_id = runs[2].trace_id
    url = jaeger.url("/tracing" + link.format(id=trace_id, ID=trace_id.lstrip("0").upper()))
    assert facts(load_runs(url)) == facts([runs[2]])
    assert facts([load_run(url)]) == facts([load_run(url, "last")]) == facts([runs[2]])
    assert jaeger.searches == []


def test_a_pasted_link_of_the_search_page(jaeger: FakeJaeger) -> None:
    """It names the service."""
    jaeger.fresh(spans_of(some_runs(2)))
    url = jaeger.url("/search?end=1&limit=20&lookback=1h&maxDuration&minDuration&service=weather&start=0")
    assert len(load_runs(url)) == 2
    assert {request.query["query.service_name"] for request in jaeger.searches} == {"weather"}


def test_several_sources(jaeger: FakeJaeger, tmp_path: Any) -> None:
    """A trace of which a part is in a file, and a part in Jaeger, is one run."""
    from tests.support.sample_runs import lines_of

    run = make_run(1)
    spans = run_to_spans(run)
    path = tmp_path / "half.jsonl"
    path.write_bytes(b"".join(lines_of(spans[:2])))
    jaeger.fresh(spans[2:])
    assert load_runs([path, jaeger.url()]) == load_runs([jaeger.url(), str(path)]) == [run]
    assert load_runs([path, jaeger.url()], since=BEGAN_NS // SECOND_NS) == [run]
    assert load_run([path, jaeger.url()], run.trace_id) == run


def test_what_jaeger_adds_is_not_the_runs(jaeger: FakeJaeger) -> None:
    """All-in-one marks every span."""
    run = make_run(1)
    marked = [
        msgspec.structs.replace(span, attributes={**span.attributes, "internal.span.format": "otlp"})
        for span in run_to_spans(run)
    ]
    jaeger.fresh(marked)
    assert load_runs(jaeger.url()) == [run]


def test_progress_counts_traces(jaeger: FakeJaeger) -> None:
    """There are no bytes to be reported."""
    reported: list[Any] = []
    jaeger.fresh(spans_of(some_runs(3)))
    list(iter_runs(jaeger.url(), on_progress=lambda *now: reported.append(now)))
    assert reported == [(1, None), (2, None), (3, None)]


@pytest.mark.parametrize(
    "wrong", [{"timeout_s": 0}, {"search_depth": 0}, {"max_answer_bytes": 0}, {"timeout_s": float("nan")}]
)
def test_arguments_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        JaegerSource("http://localhost:16686", **wrong)


def test_the_older_interface_keeps_all_but_times(jaeger: FakeJaeger) -> None:
    """Kind, status, scope and trace state are put back."""
    [root, *below] = run_to_spans(make_run(1))
    root = msgspec.structs.replace(
        root,
        kind=3,
        status_code=2,
        status_message="no",
        trace_state="a=1",
        links=(Link("ab" * 16, "cd" * 8),),
        events=(Event("e", root.start_ns + 1_000, {"n": 1}),),
        attributes={**root.attributes, "big": 2**63 - 1, "float": 1.0, "bytes": b"\0\1", "truth": False},
        flags=0,
        scope=Scope("otel_agent_trace"),  # its attributes are lost
    )
    jaeger.fresh([root, *below], interfaces=("legacy",))
    [read] = JaegerSource(jaeger.url()).traces(fail_on_problem)
    found = next(span for span in read if span.span_id == root.span_id)
    assert found == msgspec.structs.replace(root, attributes=found.attributes, resource=found.resource)
    assert {key: found.attributes[key] for key in ("big", "float", "bytes", "truth")} == {
        "big": 2**63 - 1,
        "float": 1.0,
        "bytes": b"\0\1",
        "truth": False,
    }
    assert type(found.attributes["float"]) is float
