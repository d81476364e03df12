"""What counts of dropped runs leave open: figures claim no certainty about runs that no kept one stands for."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from otel_agent_trace import AgentTracer, FileBackend, TailSampling, load_runs, open_source
from otel_agent_trace.export.parquet import write_parquet
from otel_agent_trace.metrics import MetricsReport, Sampled, compare_metrics, compute_metrics
from otel_agent_trace.metrics.compute import compute_comparison, compute_report
from otel_agent_trace.metrics.dropped import dropped_of
from otel_agent_trace.metrics.engines import source_metrics
from otel_agent_trace.metrics.intervals import wilson_interval
from otel_agent_trace.metrics.sides import sides_of
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, Score, StepError, StepKind, Usage, at_time
from otel_agent_trace.prices import Prices
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sampling import DroppedTraces

S = 1_000_000_000
HOUR = 3600 * S
PRICES = {"m": {"input": 1.0, "output": 1.0}}
UNKNOWN = (None, None)


def run(status: str = "success", at: int = 0, probability: float = 1.0, **fields: Any) -> AgentRun:
    """A run with a tool and a model call that costs a dollar, and a score."""
    tool = AgentStep(name="search", started_at_ns=at, ended_at_ns=at + S, error=StepError(type="E"))
    call = AgentStep(
        kind=StepKind.MODEL,
        model="m",
        started_at_ns=at,
        first_chunk_at_ns=at + 1,
        ended_at_ns=at + S,
        usage=Usage(input_tokens=1_000_000),
    )
    given: dict[str, Any] = {
        "agent_name": "a",
        "steps": (tool, call),
        "scores": (Score(name="good", value=True), Score(name="length", value=3.5), Score(name="length", value=4.5)),
    }
    return AgentRun(
        run_id="r",
        status=RunStatus(status),
        started_at_ns=at,
        first_chunk_at_ns=at + 1,
        ended_at_ns=at + 2 * S,
        sampling_probability=probability,
        **(given | fields),
    )


def dropped(traces: int, agent: str | None = "a", status: str = "success", hour: int = 0) -> DroppedTraces:
    return DroppedTraces(agent, status, hour * HOUR, traces)


def report(runs: Iterable[AgentRun], counts: Iterable[DroppedTraces], **how: Any) -> MetricsReport:
    return compute_metrics(runs, dropped=counts, prices=PRICES, **how)


def windowed(runs: Iterable[AgentRun], counts: Iterable[DroppedTraces], **filters: Any) -> MetricsReport:
    """The report of the runs that a query selects, with what was dropped of them."""
    query = RunQuery(**filters)
    how: dict[str, Any] = {"bucket": "1h", "by": ["agent", "user_id"], "replays": False, "prices": Prices.of(PRICES)}
    return compute_report(filter(query.matches, runs), dropped_of(counts, query), **how)


# ── no kept run stands for what was dropped ──────────────────────────────────────────────────────────────────────────


def test_only_counts_are_certain_where_nothing_of_the_rest_was_kept() -> None:
    """Of 40 runs 38 were dropped: what they cost, and how long they took, nobody knows; what was seen is the least."""
    found = report([run("error")] * 2, [dropped(38)])
    assert found.sample == Sampled(runs=2, has_unseen=True)
    assert (found.runs, found.success_rate, found.sampling_interval) == (40, 0.95, (0.95, 0.95))
    assert found.success_interval == wilson_interval(38, 40)
    assert (found.cost.total_usd, found.cost.total_interval_usd) == (2.0, (2.0, None))
    calls = [found.tools["search"], found.models["m"]]
    assert [call.error_rate_interval for call in calls] == [UNKNOWN, UNKNOWN]
    assert [call.error_rate for call in calls] == [1.0, 0.0]
    latencies = [found.latency, found.first_chunk, calls[0].latency, calls[1].latency, found.models["m"].first_chunk]
    assert all(latency.p95_interval_s == UNKNOWN and latency.p95_s for latency in latencies)
    assert found.scores["good"].true_interval is None
    assert found.scores["length"].mean_interval is None
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["sample"] == {"runs": 2, "has_unseen": True}
    assert data["cost"]["total_interval_usd"] == [2.0, None]
    assert data["tools"]["search"]["error_rate_interval"] == [None, None]


def test_a_kept_run_of_the_rest_stands_for_what_was_dropped() -> None:
    """Then the intervals are those of the sample, as without counts."""
    kept = [run(probability=0.1)] * 40 + [run("error")] * 4
    found = report(kept, [dropped(360)])
    assert found.sample == Sampled(runs=44)
    assert found.cost.total_interval_usd == report(kept, []).cost.total_interval_usd
    assert None not in found.cost.total_interval_usd  # type: ignore[operator]
    assert found.latency.p95_interval_s == report(kept, []).latency.p95_interval_s


def test_it_is_known_which_agents_statuses_and_hours_have_unseen_runs() -> None:
    """Nobody knows which users, nor which quarter of an hour: any of them may have them all."""
    kept = [run("error", user_id="u"), run(agent_name="vip", at=HOUR, user_id="v")]
    found = report(kept, [dropped(9)], bucket="1h", by=["agent", "status", "user_id"])
    assert found.agents["a"].latency.p95_interval_s == UNKNOWN
    interval = report([run(agent_name="vip")], [dropped(1, "other")]).agents["vip"].latency.p95_interval_s
    assert interval not in (None, UNKNOWN)
    assert interval == pytest.approx((2.0, 2.0), rel=0.03), "nothing of it was dropped"
    assert found.agents["vip"].tokens.total_tokens_interval == (1_000_000, 1_000_000)
    assert found.agents["vip"].latency.p95_interval_s == found.by["agent"]["vip"].latency.p95_interval_s == interval
    assert [status.latency.p95_interval_s == UNKNOWN for status in found.by["status"].values()] == [True, False]
    assert [bucket.latency.p95_interval_s == UNKNOWN for bucket in found.series] == [True, False]
    assert [bucket.sampling_interval for bucket in found.series] == [(0.9, 0.9), (1.0, 1.0)]
    anywhere = [*found.by["user_id"].values(), *report(kept, [dropped(9)], bucket="15m").series]
    assert {(each.sampling_interval, each.success_interval) for each in anywhere} == {(UNKNOWN, None)}
    assert {each.latency.p95_interval_s for each in anywhere} == {UNKNOWN}
    assert found.by["user_id"]["v"].scores["good"].true_interval is None
    assert found.by["agent"]["vip"].scores["good"].true_interval is not None


def test_reports_of_stores_that_keep_more_and_less_add_up() -> None:
    """The numbers of both are exact; that only one of them kept some of the rest, shows in the numbers alone."""
    nothing, tenth = report([run("error")] * 2, [dropped(900)]), report([run(probability=0.1)] * 10, [dropped(90)])
    both = nothing + tenth
    assert both == tenth + nothing
    assert (both.runs, both.success) == (1002, 1000)
    assert both.sampling_interval == (1000 / 1002, 1000 / 1002)
    assert both.sample == Sampled(runs=12, has_unseen=True)
    assert both.cost.total_interval_usd is not None
    assert both.cost.total_interval_usd[1] is None
    assert both.latency.p95_interval_s == UNKNOWN


def test_an_agent_of_which_none_was_kept_is_unseen_in_a_sum() -> None:
    """Of 40 runs of an agent not one was kept, which is no chance: those of others do not stand for them."""
    nothing = report([run(agent_name="vip")], [dropped(40, "usual")], bucket="1h", by=["status"])
    tenth = report([run(probability=0.1)] * 100, [dropped(900)], bucket="1h", by=["status"])
    assert tenth.sample == Sampled(runs=100)
    both = nothing + tenth
    assert both == tenth + nothing
    assert both.sample == Sampled(runs=101, has_unseen=True)
    assert both.cost.total_interval_usd is not None
    assert both.cost.total_interval_usd[1] is None
    shown = both.latency, both.agents["usual"].latency, both.by["status"]["success"].latency, both.series[0].latency
    assert {each.p95_interval_s for each in shown} == {UNKNOWN, None}
    assert both.agents["a"].latency.p95_interval_s == tenth.agents["a"].latency.p95_interval_s != UNKNOWN


def test_a_status_of_which_none_was_kept_is_unseen_in_a_sum() -> None:
    """As where one store keeps a tenth of all runs, and another one errors and slow runs alone."""
    both = report([], [dropped(60, status="running")]) + report([run(probability=0.1)] * 100, [dropped(900)])
    assert both.sample == Sampled(runs=100, has_unseen=True)
    assert both.agents["a"].latency.p95_interval_s == UNKNOWN


def test_a_few_runs_that_a_sample_missed_leave_its_intervals() -> None:
    """That none of an agent's three runs was kept is chance, and others stand for them; of the agent itself, nobody knows."""
    tenth = report([run(probability=0.1)] * 40, [dropped(360), dropped(3, "rare"), dropped(2, status="running")])
    assert tenth.sample == Sampled(runs=40)
    assert tenth.latency.p95_interval_s != UNKNOWN
    assert tenth.agents["rare"].latency.p95_interval_s is None


# ── windows and filters ──────────────────────────────────────────────────────────────────────────────────────────────


def test_whole_hours_of_a_window_are_exact() -> None:
    """Of an hour that is cut, counts belong to the window or not: the interval has room for both."""
    kept = [run("error", at=HOUR), run("error", at=2 * HOUR + 5 * S)]
    counts = [dropped(5, hour=1), dropped(9, hour=2), dropped(3, "b", "error", hour=2), dropped(8, hour=3)]
    exact = windowed(kept, counts, since=at_time(HOUR), until=at_time(3 * HOUR))
    assert (exact.runs, exact.sampling_interval) == (19, (14 / 19, 14 / 19))
    cut = windowed(kept, counts, since=at_time(HOUR), until=at_time(2 * HOUR + 1800 * S))
    assert cut.sample == Sampled(runs=2, has_unseen=True, perhaps_dropped=12)
    assert (cut.runs, cut.success_rate) == (7, 5 / 7)
    assert cut.sampling_interval == (5 / 10, 14 / 16)
    assert cut.runs_interval == (7, 7 + 12)
    assert (cut.tokens.total_tokens_interval, exact.runs_interval) == ((2_000_000, None), (19, 19))
    assert cut.success_interval is not None
    low, high = wilson_interval(5, 10), wilson_interval(14, 16)
    assert low is not None
    assert high is not None
    assert cut.success_interval == (low[0], high[1])
    assert [bucket.sampling_interval for bucket in cut.series] == [(5 / 6, 5 / 6), (0.0, 0.9)]
    assert {*cut.agents} == {"a"}, "nobody knows of a run of the other one"
    assert cut.agents["a"].sampling_interval == (5 / 7, 14 / 16)


def test_a_cut_hour_is_estimated_from_the_kept_runs() -> None:
    """Whole hours have their counts; where runs of the cut one stand for others, these are no room for more."""
    kept = [run(at=HOUR, probability=0.1)] * 3 + [run(at=2 * HOUR + 5 * S, probability=0.1)] * 2
    found = windowed(kept, [dropped(20, hour=1), dropped(40, hour=2)], until=at_time(2 * HOUR + 1800 * S))
    assert found.sample == Sampled(runs=5)
    assert found.runs == 3 + 20 + 20


def test_a_filter_by_what_is_not_counted() -> None:
    """Where only errors were kept, all dropped runs may be of this user: before, the rate was claimed to be 0."""
    kept = [run("error", user_id="u"), run("error", user_id="v")]
    found = windowed(kept, [dropped(38), dropped(2, "b")], user_id="u", agent="a")
    assert found.sample == Sampled(runs=1, has_unseen=True, perhaps_dropped=38)
    assert (found.runs, found.success_rate, found.sampling_interval) == (1, 0.0, (0.0, 38 / 39))
    assert found.cost.total_interval_usd == (1.0, None)
    assert windowed(kept, [dropped(38)], user_id="u", status="error").sample is None, "no error was dropped"


hours = st.integers(0, 3)
populations = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["success", "success", "error", "timeout", "running"]),
        st.tuples(hours, st.sampled_from([0, 600, 1800, 3599])).map(lambda at: at[0] * HOUR + at[1] * S),
        st.sampled_from(["u", "v"]),
        st.booleans(),
    ),
    max_size=20,
)
limits = st.none() | st.tuples(hours, st.sampled_from([0, 900, 1800])).map(lambda at: at_time(at[0] * HOUR + at[1] * S))


@settings(max_examples=100, deadline=None)
@given(populations, limits, limits, st.sampled_from([None, "a"]), st.sampled_from([None, "u"]))
def test_the_truth_is_within_the_bounds(
    population: list[tuple[str, str, int, str, bool]], since: Any, until: Any, agent: str | None, user: str | None
) -> None:
    """Whatever was dropped, and whatever is asked for: the rate, and the cost, of all runs are never outside."""
    everything = [run(status, at, agent_name=name, user_id=who) for name, status, at, who, _ in population]
    kept = [one for one, (*_, is_kept) in zip(everything, population, strict=True) if is_kept]
    counts = Counter((name, status, at // HOUR) for name, status, at, _, is_kept in population if not is_kept)
    filters = {"since": since, "until": until, "agent": agent, "user_id": user}
    query = {name: value for name, value in filters.items() if value is not None}
    found = windowed(kept, [dropped(n, name, status, hour) for (name, status, hour), n in counts.items()], **query)
    truth = windowed(everything, [], **query)
    pairs = [(found.outcomes, truth.outcomes), *((found.agents[name], truth.agents[name]) for name in found.agents)]
    assert found.runs <= truth.runs <= found.runs + (found.sample.perhaps_dropped if found.sample else 0)
    for seen, real in pairs:
        low, high = seen.sampling_interval or UNKNOWN
        if seen.finished and found.sample and real.success_rate is not None:
            assert (low or 0) - 1e-9 <= real.success_rate <= (1 if high is None else high) + 1e-9
        if seen.sampling_interval and low == high and low is not None:
            assert low == real.success_rate
    if found.cost.total_interval_usd is not None:
        least, most = found.cost.total_interval_usd
        assert least is not None
        assert least <= (truth.cost.total_usd or 0) <= (float("inf") if most is None else most)
    elif found.cost.total_usd is not None:
        assert found.cost.total_usd == truth.cost.total_usd
    if not found.sample:
        assert found.to_dict() == truth.to_dict()


@settings(max_examples=30, deadline=None)
@given(populations, populations, limits, st.randoms(use_true_random=False))
def test_reports_of_windows_add_up_in_any_order(one: Any, two: Any, until: Any, rng: random.Random) -> None:
    """The report of all is that of the parts, bit for bit, whatever is known of what was dropped."""

    def part(population: Any) -> tuple[list[AgentRun], list[DroppedTraces]]:
        runs = [run(status, at, 1.0 if status == "error" else 0.5, agent_name=a) for a, status, at, *_ in population]
        return runs, [dropped(1, a, status, at // HOUR) for a, status, at, _, is_kept in population if not is_kept]

    (runs, counts), (others, more) = part(one), part([*two, ("a", "success", 0, "u", False)])
    counts = [dropped(1), *counts]
    query: dict[str, Any] = {} if until is None else {"until": until}
    a, b = windowed(runs, counts, **query), windowed(others, more, **query)
    whole = windowed([*others, *runs], [*more, *counts], **query)
    assert a + b == b + a == whole
    assert json.dumps((a + b).to_dict()) == json.dumps(whole.to_dict())


# ── comparisons ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_comparison_of_unseen_runs_is_certain_of_the_success_rate_alone() -> None:
    """Everything else has no interval; and dollars and tokens are by run of those that were kept."""
    one, two = report([run("error")] * 3, [dropped(300)]), report([run("error")] * 200, [dropped(100)])
    compared = compare_metrics(one, two)
    assert compared.differences["success_rate"].is_certain
    assert compared.differences["cost_usd_per_run"].before == 1.0
    others = {name: by for name, by in compared.differences.items() if name != "success_rate"}
    tables = (compared.tools, compared.models, compared.scores)
    assert {
        by.interval for each in (others, *(by for table in tables for by in table.values())) for by in each.values()
    } == {None}


def test_windows_are_compared_with_their_counts() -> None:
    """Each side has what was dropped in its hours; that of the hour in which the one ends is no part of any."""
    until = at_time(20 * HOUR + 1800 * S)
    kept = [run("error", at=hour * HOUR + 60 * S) for hour in (14, 15, 17, 18, 20)]
    counts = [dropped(5, hour=16), dropped(7, hour=18), dropped(9, hour=20), dropped(11, hour=13), dropped(2, hour=17)]
    sides = sides_of("3h", until)
    compared = compute_comparison(kept, sides, dropped=sides.dropped(counts, RunQuery()))
    before, after = compared.before, compared.after
    assert (before.runs, before.success) == (2 + 5, 5)
    assert (after.runs, after.success) == (2 + 16, 16)
    assert before.sample == Sampled(runs=2, has_unseen=True, perhaps_dropped=2)
    assert after.sample == Sampled(runs=2, has_unseen=True, perhaps_dropped=2)
    low, high = compared.differences["success_rate"].interval or (0, 0)
    assert low < 16 / 18 - 5 / 7 < high
    assert compute_comparison(kept, sides).after.success == 0


@pytest.mark.parametrize(
    ("compare", "filters", "numbers", "perhaps"),
    [
        ("agent=a,b", {}, (31, 43), (0, 0)),
        ("status=success,error", {}, (70, 4), (0, 0)),
        ("agent=a,b", {"status": "success"}, (30, 40), (0, 0)),
        ("agent=a,b", {"agent": "a"}, (31, 0), (0, 0)),
        ("version=1,2", {}, (1, 1), (72, 72)),
        ("version=1,2", {"agent": "a"}, (1, 0), (30, 30)),
        ("agent=a,b", {"user_id": "u"}, (1, 1), (30, 42)),
    ],
)
def test_groups_are_compared_with_their_counts(
    compare: str, filters: dict[str, Any], numbers: tuple[int, int], perhaps: tuple[int, int]
) -> None:
    """Where nothing is counted by the key or by a filter, any dropped run may belong to either side."""
    kept = [
        run("error", resource={"service.version": "1"}, user_id="u"),
        run("error", agent_name="b", resource={"service.version": "2"}, user_id="u"),
    ]
    counts = [dropped(30), dropped(40, "b"), dropped(2, "b", "error")]
    query, sides = RunQuery(**filters), sides_of(compare, at_time(HOUR) + timedelta(days=1))
    compared = compute_comparison(filter(query.matches, kept), sides, dropped=sides.dropped(counts, query))
    assert (compared.before.runs, compared.after.runs) == numbers
    samples = [compared.before.sample, compared.after.sample]
    assert tuple(sample.perhaps_dropped if sample else 0 for sample in samples) == perhaps


# ── a store ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def store(tmp_path: Any) -> str:
    """A file with 2 errors of 40 runs."""
    path = str(tmp_path / "traces.jsonl")
    with AgentTracer(backend=FileBackend(path), agent_name="a", sampling=TailSampling(rest=0)) as tracer:
        for number in range(40):
            run_id = tracer.start_run(user_id="u")
            tracer.log_error(run_id, "no") if number < 2 else tracer.end_run(run_id, "yes")
    return path


def test_a_recent_window_of_a_store_is_a_sample(store: str) -> None:
    """Its present hour began before it: what was dropped in that hour may be older, and may be not."""
    day = source_metrics(store, RunQuery(since=timedelta(hours=24)))
    assert (day.runs, day.sampling_interval) == (40, (0.95, 0.95))
    recent = source_metrics(store, RunQuery(since=timedelta(minutes=59)))
    assert recent.sample is not None
    assert recent.sampling_interval in ((0.0, 0.95), (0.95, 0.95)), "the second in the last minute of an hour"
    assert recent.latency.p95_interval_s == UNKNOWN


def test_stores_of_which_one_keeps_nothing_of_an_agent_add_up(tmp_path: Any) -> None:
    """Read together, added up or exported, they claim no more than the one alone."""
    paths = [str(tmp_path / name) for name in ("big.jsonl", "tenth.jsonl")]
    policies = TailSampling(rest=0, keep_agents=["vip"]), TailSampling(rest=0.5)
    for path, policy, names in zip(paths, policies, (["vip"] + ["usual"] * 40, ["other"] * 60), strict=True):
        with AgentTracer(backend=FileBackend(path), sampling=policy) as tracer:
            for name in names:
                tracer.end_run(tracer.start_run(agent_name=name), "yes")
    folders = [str(tmp_path / name) for name in ("big", "tenth")]
    for path, folder in zip(paths, folders, strict=True):
        write_parquet(load_runs(path), folder, dropped=open_source(path).dropped())
    one, other = map(source_metrics, paths)
    reports = [one + other, source_metrics(paths), source_metrics(folders), source_metrics(folders, engine="parse")]
    assert [found.runs for found in reports] == [101] * 4
    assert [found.sample and found.sample.has_unseen for found in (one, *reports)] == [True] * 5
    assert other.sample is not None
    assert not other.sample.has_unseen


def test_a_store_that_was_emptied_by_hand_has_no_counts(store: str, tmp_path: Any) -> None:
    """It is noted beside it that traces were kept, and there are none; where all were dropped, the counts are right."""
    open(store, "wb").close()
    assert source_metrics(store).runs == 0
    other = str(tmp_path / "other.jsonl")
    with AgentTracer(backend=FileBackend(other), sampling=TailSampling(rest=0)) as tracer:
        tracer.end_run(tracer.start_run(), "yes")
    assert source_metrics(other).runs == 1


def test_unsampled_runs_with_the_same_filters_are_no_sample() -> None:
    """Without counts nothing is unseen, in any window."""
    runs = [replace(run("error", at=hour * HOUR + 5 * S), sampling_probability=None) for hour in range(3)]
    assert windowed(runs, [], since=at_time(7), user_id="u").sample is None
    assert windowed(runs, [], since=at_time(7)) == compute_metrics(
        runs, bucket="1h", by=["agent", "user_id"], prices=PRICES
    )
