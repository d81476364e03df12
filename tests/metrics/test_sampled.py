"""Figures of sampled runs: those of all runs that happened, as far as the kept ones show, and how far that is."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from statistics import NormalDist
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from otel_agent_trace.metrics import Sampled, compute_metrics, strata
from otel_agent_trace.metrics.estimates import total_interval
from otel_agent_trace.metrics.intervals import t_quantile, wilson_interval
from otel_agent_trace.metrics.strata import WHOLE, Sample, Weight
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, Score, StepError, StepKind, Usage
from otel_agent_trace.sampling import DroppedTraces

S = 1_000_000_000
HOUR = 3600 * S
Z = NormalDist().inv_cdf(0.975)
FAILED = StepError(type="ValueError", message="no", category="invalid_request")


def run(kept_of: float | None = None, seconds: float = 1, status: str = "success", **fields: Any) -> AgentRun:
    """A run of a trace of its own that stands for `kept_of` runs."""
    start = fields.pop("started_at_ns", 0)
    return AgentRun(
        run_id="r",
        agent_name=fields.pop("agent_name", "a"),
        status=RunStatus(status),
        started_at_ns=start,
        ended_at_ns=None if status == "running" else start + round(seconds * S),
        sampling_probability=None if kept_of is None else 1 / kept_of,
        **fields,
    )


def call(name: str, error: StepError | None = None, seconds: float = 1) -> AgentStep:
    return AgentStep(name=name, started_at_ns=0, ended_at_ns=round(seconds * S), error=error)


weights = st.sampled_from([1, 2, 4, 10])
statuses = st.sampled_from(["success", "success", "error", "timeout", "running"])
seconds = st.sampled_from([0, 0.001, 1, 2, 4, 8, 64, 3600])
calls = st.lists(st.builds(call, st.sampled_from(["search", "forecast"]), st.sampled_from([None, FAILED])), max_size=3)
scores = st.lists(
    st.builds(
        Score,
        name=st.just("helpful"),
        source=st.sampled_from(["x", "y", "z"]),
        value=st.none() | st.booleans() | st.sampled_from([0, 0.5, 1.25, -3]),
        label=st.sampled_from([None, "good", "bad"]),
    ),
    max_size=2,
)
sampled_runs = st.lists(
    st.builds(
        run,
        weights,
        seconds,
        statuses,
        agent_name=st.sampled_from(["a", "b"]),
        user_id=st.sampled_from([None, "u"]),
        started_at_ns=st.sampled_from([0, HOUR // 2, HOUR]),
        usage=st.builds(Usage, input_tokens=st.integers(0, 1000), output_tokens=st.integers(0, 1000)),
        steps=calls.map(tuple),
        scores=scores.map(tuple),
    ),
    max_size=12,
)


def weight(one: AgentRun) -> int:
    return round(1 / (one.sampling_probability or 1))


def expanded(runs: Iterable[AgentRun]) -> Iterator[AgentRun]:
    """The population that a sample stands for: each run as often as it weighs."""
    return (replace(one, sampling_probability=None) for one in runs for _ in range(weight(one)))


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def estimates(figures: Any, leaf: Any = lambda figure: figure) -> Any:
    """Figures without those that depend on how many runs were kept, each as `leaf` returns it."""
    if isinstance(figures, dict):
        kept = {name for name in figures if "interval" not in name and name not in ("sample", "too_few")}
        return {name: estimates(figures[name], leaf) for name in kept}
    return [estimates(each, leaf) for each in figures] if isinstance(figures, list) else leaf(figures)


def nearly(figure: Any) -> Any:
    return pytest.approx(figure, rel=1e-9, abs=1e-12) if isinstance(figure, int | float) else figure


@settings(max_examples=30, deadline=None)
@given(sampled_runs)
def test_every_figure_is_that_of_the_population_that_the_sample_stands_for(runs: list[AgentRun]) -> None:
    """A run that was kept with 1/n counts as n runs do: in counts, sums, means, quantiles, labels, groups and buckets."""
    how: dict[str, Any] = {"bucket": "1h", "by": ["agent", "user_id", "score:helpful"]}
    population = compute_metrics(expanded(runs), **how).to_dict()
    assert estimates(compute_metrics(runs, **how).to_dict()) == estimates(population, nearly)


@settings(max_examples=30, deadline=None)
@given(sampled_runs, st.sampled_from([1.0, 0, -1.0, 1.5, math.nan, math.inf]))
def test_runs_that_were_kept_for_certain_are_no_sample(runs: list[AgentRun], probability: float) -> None:
    """A probability of 1, or one that is none, changes nothing, and nothing speaks of a sample."""
    plain = [replace(one, sampling_probability=None) for one in runs]
    report = compute_metrics([replace(one, sampling_probability=probability) for one in runs])
    assert report == compute_metrics(plain)
    assert report.sample is None
    assert "sample" not in report.to_dict()
    figures = [report.outcomes, *report.agents.values()]
    assert not any(each.too_few or each.sampling_interval or each.latency.p95_interval_s for each in figures)
    assert not any(tool.error_rate_interval for tool in report.tools.values())
    assert all(type(each) is int for each in (report.runs, report.success, report.tokens.total_tokens))
    if report.finished:
        assert report.success_interval == wilson_interval(report.success, report.finished)


def test_the_sample_is_as_large_as_it_was_read() -> None:
    """`sample` is the number of kept runs, `runs` that of the runs for which they stand."""
    report = compute_metrics([run(10), run(10), run(1, status="error")])
    assert (report.sample, report.runs, report.success, report.errors) == (Sampled(runs=3), 21, 20, 1)
    assert report.to_dict()["sample"] == {"runs": 3}
    assert report.success_rate == 20 / 21


def test_fewer_than_30_kept_runs_are_too_few() -> None:
    """So it is of the report, of each agent and group, and of each bucket; all runs are never too few."""
    runs = [run(10) for _ in range(29)] + [run(1, agent_name="b", user_id="u", started_at_ns=HOUR)]
    report = compute_metrics(runs, by="user_id", bucket="1h")
    assert not report.too_few
    assert {name: agent.too_few for name, agent in report.agents.items()} == {"a": True, "b": True}
    assert [group.too_few for group in report.groups.values()] == [True, True]
    assert [bucket.too_few for bucket in report.series] == [True, True]
    assert compute_metrics(runs[:29]).to_dict()["too_few"] is True
    assert not compute_metrics([run()]).too_few


def test_agents_that_run_for_others_only_are_judged_by_these_runs() -> None:
    """What else is known of them is about these runs; an agent with runs of its own has rates and latencies of those."""
    helper = AgentStep(name="helper", kind=StepKind.AGENT, run=run(agent_name="helper"))
    itself = AgentStep(name="a", kind=StepKind.AGENT, run=run(agent_name="b"))
    often = compute_metrics([run(10, steps=(helper,)) for _ in range(30)] + [run(10, steps=(itself,), agent_name="b")])
    assert {name: agent.too_few for name, agent in often.agents.items()} == {"a": False, "b": True, "helper": False}
    assert compute_metrics([run(10, steps=(helper,)) for _ in range(29)]).agents["helper"].too_few
    assert not compute_metrics([run(steps=(helper,))]).agents["helper"].too_few


# ── intervals ────────────────────────────────────────────────────────────────────────────────────────────────────────


def variance_of_ratio(traces: list[tuple[int, int, int]]) -> tuple[float, float, int]:
    """A ratio, its variance and the whole by their definitions, of weight, amount and units of each trace."""
    whole = sum(w * n for w, _, n in traces)
    ratio = Fraction(sum(w * y for w, y, _ in traces), whole)
    return float(ratio), float(sum(w * (w - 1) * (y - ratio * n) ** 2 for w, y, n in traces) / whole**2), whole


traces = st.lists(st.tuples(weights, st.integers(0, 5), st.integers(1, 5)).map(lambda t: (t[0], min(t[1:]), t[2])))


@settings(max_examples=30, deadline=None)
@given(traces.filter(lambda those: any(w > 1 for w, _, _ in those)))
def test_intervals_of_error_rates_have_the_trace_as_their_unit(those: list[tuple[int, int, int]]) -> None:
    """That of a tool is Wilson's with the variance of a ratio of sums over the traces, whatever calls each has."""
    runs = [run(w, steps=(call("t", FAILED),) * y + (call("t"),) * (n - y)) for w, y, n in those]
    tool = compute_metrics(runs).tools["t"]
    ratio, variance, _ = variance_of_ratio(those)
    assert tool.error_rate == pytest.approx(ratio)
    if variance and 0 < ratio < 1:
        trials = ratio * (1 - ratio) / variance
        assert tool.error_rate_interval == pytest.approx(wilson_interval(ratio * trials, trials), rel=1e-6, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(traces.filter(lambda those: any(w > 1 for w, _, _ in those)))
def test_intervals_of_totals(those: list[tuple[int, int, int]]) -> None:
    """They are 1.96 standard errors wide on each side, but no total is less than what was kept of it."""
    sample = Sample(tuple((Weight(w, w), y**2) for w, y, _ in those), is_sampled=True)
    total, error = sum(w * y for w, y, _ in those), math.sqrt(sum(w * (w - 1) * y**2 for w, y, _ in those))
    low = max(total - Z * error, sum(y for _, y, _ in those))
    bounds = total_interval(sample, total, sum(y for _, y, _ in those), is_known=True)
    assert bounds == pytest.approx((low, total + Z * error))


def test_numbers_of_runs_calls_and_tokens_have_intervals() -> None:
    """They are those of sums over the traces, of which one has two runs."""
    usage = Usage(input_tokens=3, output_tokens=2)
    steps = (call("search"), call("search"), AgentStep(kind=StepKind.MODEL, model="m", started_at_ns=0, usage=usage))
    one = run(10, steps=steps)
    pair = [replace(one, trace_id="b" * 32)] * 2
    report = compute_metrics([one, *pair, *[run(1, status="error", steps=(call("fail"), *steps))] * 5], by="agent")

    def interval(each: int, kept: int) -> Any:
        margin = Z * math.sqrt(10 * 9 * (each**2 + (2 * each) ** 2))
        return pytest.approx((max(35 * each - margin, kept), 35 * each + margin))

    data = report.to_dict()
    for part in (data, data["agents"]["a"], data["by"]["agent"]["a"]):
        assert (part["runs"], part["tokens"]["total_tokens"]) == (35, 175)
        assert part["runs_interval"] == interval(1, 8)
        assert part["tokens"]["total_tokens_interval"] == interval(5, 40)
    assert data["tools"]["search"]["calls_interval"] == interval(2, 16)
    assert data["models"]["m"]["calls_interval"] == interval(1, 8)
    assert data["models"]["m"]["tokens"]["total_tokens_interval"] == interval(5, 40)
    assert data["tools"]["fail"]["calls_interval"] == [5, None], (
        "nobody knows in which of the dropped runs it was called"
    )


def test_runs_of_all_have_no_intervals() -> None:
    """There is nothing to estimate."""
    data = compute_metrics([run(steps=(call("search"),))]).to_dict()
    intervals = (
        data["runs_interval"],
        data["tokens"]["total_tokens_interval"],
        data["tools"]["search"]["calls_interval"],
    )
    assert intervals == (None, None, None)


def test_runs_of_one_trace_are_one_observation() -> None:
    """Ten runs of one trace say less about the rate than ten traces."""
    ends = ["success", "error"] * 10
    apart = compute_metrics([run(10, status=end, trace_id=str(number)) for number, end in enumerate(ends)])
    together = compute_metrics(
        [run(10, status=end, trace_id=end) for end in sorted(ends)],
    )
    assert apart.success_rate == together.success_rate == 0.5
    assert together.sampling_interval is not None
    assert apart.sampling_interval is not None
    assert together.sampling_interval[0] < apart.sampling_interval[0]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("kept", "interval"),
    [
        ([run(1, status="error")] * 3, (0.0, None)),  # any number of successes may have been dropped
        ([run(1)] * 3, (1.0, 1.0)),  # failures are kept where successes are
        ([run(1), run(1, status="error")], (0.5, 0.5)),
        ([run(10)] * 100, wilson_interval(100, 100)),
        ([run(10, status="error")] * 100, wilson_interval(0, 100)),
        ([run(10, status="running")], None),
    ],
)
def test_what_cannot_be_known_of_a_rate(
    kept: list[AgentRun], interval: tuple[float | None, float | None] | None
) -> None:
    """Runs that were kept for certain say nothing about what was dropped; equal ones that were not say a little."""
    elsewhere = run(10, agent_name="other")
    agent = compute_metrics([*kept, elsewhere]).agents["a"]
    assert agent.sampling_interval == interval


def test_the_interval_of_the_agents_rate_has_the_effective_number() -> None:
    """100 successes that stand for 1,000 and 50 failures are as good as 1050² / 10,050 runs of equal weight."""
    report = compute_metrics([run(10)] * 100 + [run(1, status="error")] * 50)
    trials = 1050**2 / (100 * 100 + 50)
    assert report.success_interval == pytest.approx(wilson_interval(trials * 1000 / 1050, trials))


@pytest.mark.parametrize("errors", [60, 0])
def test_intervals_of_p95_are_those_of_woodruff(errors: int) -> None:
    """They are the quantiles at the ends of the interval of the share, widened by the sketch's 1 %."""
    rng = random.Random(5)
    kept = [(10, rng.lognormvariate(1, 1)) for _ in range(600)] + [(1, 9 * rng.random()) for _ in range(errors)]
    latency = compute_metrics([run(w, x) for w, x in kept]).latency
    total = sum(w for w, _ in kept)

    def quantile(share: float) -> float:
        up_to = 0
        for w, x in sorted(kept, key=lambda one: one[1]):
            up_to += w
            if up_to >= share * total:
                return x
        raise AssertionError

    p95 = quantile(0.95)
    error = math.sqrt(sum(w * (w - 1) * ((x <= p95) - 0.95) ** 2 for w, x in kept)) / total
    assert latency.p95_interval_s is not None
    low, high = latency.p95_interval_s
    assert quantile(0.95 - Z * error) / 1.021 <= low <= quantile(0.95 - Z * error)
    assert high is not None
    assert quantile(0.95 + Z * error) <= high <= quantile(0.95 + Z * error) * 1.021


@pytest.mark.parametrize(("kept", "is_known"), [(180, False), (260, True)])
def test_a_quantile_that_few_kept_runs_exceed_has_no_upper_bound(kept: int, is_known: bool) -> None:
    """With fewer than ten kept runs beyond it nobody knows how far it may go."""
    interval = compute_metrics([run(10, 1.03**number) for number in range(kept)]).latency.p95_interval_s
    assert interval is not None
    assert (interval[1] is not None) is is_known


def test_several_values_in_a_trace_make_an_interval_no_narrower() -> None:
    """Four equal calls in each trace are no more than one."""
    rng = random.Random(6)
    durations = [rng.expovariate(1) for _ in range(500)]
    once, often = (
        compute_metrics([run(10, steps=(call("t", None, x),) * times) for x in durations]).tools["t"].latency
        for times in (1, 4)
    )
    assert often.count == 4 * once.count
    assert often.p95_interval_s == once.p95_interval_s


def test_means_of_scores_are_ratios_with_their_interval() -> None:
    """The variance is that of the linear approximation, with the degrees of freedom of the effective number."""
    rng = random.Random(7)
    kept = [(rng.choice([1, 4, 10]), rng.random()) for _ in range(40)]
    runs = [run(w, scores=(Score(name="s", value=x), Score(name="b", value=x < 0.5))) for w, x in kept]
    found = compute_metrics(runs).scores
    total, squared = sum(w for w, _ in kept), sum(w * w for w, _ in kept)
    mean, trials = sum(w * x for w, x in kept) / total, total**2 / squared
    error = math.sqrt(sum((w * (x - mean)) ** 2 for w, x in kept) / total**2 * trials / (trials - 1))
    margin = t_quantile(int(trials - 1)) * error
    assert found["s"].mean == pytest.approx(mean)
    assert found["s"].mean_interval == pytest.approx((mean - margin, mean + margin))
    share = sum(w for w, x in kept if x < 0.5) / total
    assert found["b"].true_rate == pytest.approx(share)
    assert found["b"].true_interval == pytest.approx(wilson_interval(share * trials, trials))


def population_run(rng: random.Random) -> AgentRun:
    """A run of a population, of which errors take longer, with calls of a tool that fail more or less often."""
    is_error, often = rng.random() < 0.05, rng.random() < 0.3
    steps = tuple(
        call("t", FAILED if rng.random() < (0.5 if often else 0.02) else None) for _ in range(rng.randrange(3))
    )
    seconds = rng.lognormvariate(1, 1) * (3 if is_error else 1)
    return run(None, seconds, "error" if is_error else "success", steps=steps)


def is_within(truth: float, interval: tuple[float | None, float | None] | None) -> bool:
    assert interval is not None
    low, high = interval
    return (low is None or low <= truth) and (high is None or truth <= high)


def test_figures_are_within_their_intervals_as_often_as_stated() -> None:
    """Of 40 samples, each of a population of its own, about two miss, and not ten; nor are the intervals far too wide."""
    rng, within, within_half = random.Random(1), Counter[str](), Counter[str]()
    for _ in range(40):
        everything = [population_run(rng) for _ in range(1000)]
        kept = [one for one in everything if one.status is RunStatus.ERROR or rng.random() < 0.25]
        report = compute_metrics(
            replace(one, sampling_probability=1.0 if one.status is RunStatus.ERROR else 0.25) for one in kept
        )
        tool_errors = [step.error is not None for one in everything for step in one.steps]
        for name, truth, interval in (
            ("rate", sum(one.status is RunStatus.SUCCESS for one in everything) / 1000, report.sampling_interval),
            ("p95", sorted(one.duration_s or 0 for one in everything)[949], report.latency.p95_interval_s),
            ("tool", sum(tool_errors) / len(tool_errors), report.tools["t"].error_rate_interval),
        ):
            within[name] += is_within(truth, interval)
            within_half[name] += is_within(truth, half_of(interval))
    assert min(within.values()) > 33, within
    assert max(within_half.values()) < 37, within_half


def half_of(interval: tuple[float | None, float | None] | None) -> tuple[float | None, float | None]:
    """The middle half of an interval."""
    assert interval is not None
    low, high = interval
    assert low is not None
    assert high is not None
    return low + (high - low) / 4, high - (high - low) / 4


# ── adding up ────────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_many_weights_are_rounded_in_whichever_order(given_weights: list[float], rng: random.Random) -> None:
    """Few are exact, those that the weights alone determine; the others are within 1 %, and no run is lost."""
    runs = [run(w) for w in given_weights]
    with mock.patch.object(strata, "EXACT_WEIGHTS", 3):
        whole = compute_metrics(runs)
        shuffled, middle = rng.sample(runs, len(runs)), rng.randrange(len(runs))
        halves = compute_metrics(shuffled[:middle]) + compute_metrics(shuffled[middle:])
    assert halves == whole
    assert halves.to_dict() == whole.to_dict()
    assert whole.runs == pytest.approx(sum(given_weights), rel=0.0101)
    assert whole._strata.sample().kept(lambda tally: tally.outcomes.runs) == len(runs)


def test_the_number_of_strata_is_bounded() -> None:
    """A weight for each run takes no tally for each run; 1 stays exact."""
    rng = random.Random(3)
    report = compute_metrics([run(1.0)] + [run(rng.uniform(1, 100)) for _ in range(3000)])
    parts = report._strata.sample().parts
    assert len(parts) < strata.EXACT_WEIGHTS + math.log(100) / math.log(1.02) + 2
    assert parts[0][0] == WHOLE
    assert sum(tally.outcomes.runs for _, tally in parts) == 3001


# ── counts of what was dropped ───────────────────────────────────────────────────────────────────────────────────────


def dropped(traces: int, agent: str | None = "a", status: str = "success", hour: int = 0) -> DroppedTraces:
    return DroppedTraces(agent, status, hour * HOUR, traces)


def test_counted_runs_are_exact() -> None:
    """Numbers of runs are what was kept and what was dropped, with no interval left; the rest stays an estimate."""
    kept = [run(10, usage=Usage(input_tokens=5))] * 9 + [run(1, status="error")] * 4
    counts = [dropped(70), dropped(21, "b", hour=1)]
    report = compute_metrics(kept, bucket="1h", by=["agent", "status", "user_id"], dropped=counts)
    assert (report.runs, report.success, report.errors, report.success_rate) == (104, 100, 4, 100 / 104)
    assert report.sampling_interval == (100 / 104, 100 / 104)
    assert report.runs_interval == (104, 104)
    assert report.agents["b"].runs_interval == report.series[1].runs_interval == (21, 21)
    assert report.by["user_id"]["(none)"].runs_interval == (pytest.approx(94 - Z * math.sqrt(90 * 9)), None)
    assert report.success_interval == wilson_interval(100, 104)
    assert report.sample == Sampled(runs=13, has_unseen=True), (
        "a fifth of all runs is of an agent of which none was kept"
    )
    assert report.tokens.input_tokens == report.latency.count - 4 + 360 == 450
    assert {name: agent.runs for name, agent in report.agents.items()} == {"a": 83, "b": 21}
    assert {name: group.runs for name, group in report.by["agent"].items()} == {"a": 83, "b": 21}
    assert {name: group.runs for name, group in report.by["status"].items()} == {"success": 100, "error": 4}
    assert {name: group.runs for name, group in report.by["user_id"].items()} == {"(none)": 94}
    assert [bucket.runs for bucket in report.series] == [83, 21]
    assert report.agents["b"].sampling_interval == (1.0, 1.0)
    assert report.agents["b"].latency.p95_s is None


def test_counted_failures_are_all_that_happened() -> None:
    """Without counts nobody knows how many successes of an agent were dropped; with them, that there were none."""
    kept = [run(10)] * 10 + [run(1, status="error", agent_name="b")] * 3
    assert compute_metrics(kept).agents["b"].sampling_interval == (0.0, None)
    assert compute_metrics(kept, dropped=[dropped(85)]).agents["b"].sampling_interval == (0.0, 0.0)


@pytest.mark.parametrize("width", ["15m", "90m"])
def test_buckets_of_no_whole_hours_are_estimated(width: str) -> None:
    """The counts are by the hour: no other bucket has its own."""
    report = compute_metrics([run(10)] * 10, bucket=width, dropped=[dropped(85)])
    assert report.runs == 95
    assert [bucket.runs for bucket in report.series] == [100]


def test_reports_with_and_without_counts_add_up() -> None:
    """What was counted is exact, the other half is estimated, with its variance alone."""
    kept = [run(10)] * 50 + [run(1, status="error")] * 5
    counted, estimated = compute_metrics(kept, dropped=[dropped(430)]), compute_metrics(kept)
    both = counted + estimated
    assert both == estimated + counted
    assert both.runs == 485 + 505
    assert both.sampling_interval is not None
    assert estimated.sampling_interval is not None
    low, high = both.sampling_interval
    assert 0 < high - low < estimated.sampling_interval[1] - estimated.sampling_interval[0]  # type: ignore[operator]


def test_counts_of_other_runs_are_not_taken_for_those_of_these() -> None:
    """Where chance does not explain the number of dropped runs, the estimate is taken: their sampler did not count them."""
    kept = [run(10)] * 100
    assert compute_metrics(kept, dropped=[dropped(3)]).runs == 1000
    assert compute_metrics(kept, dropped=[dropped(5000)]).runs == 5100
    assert compute_metrics(kept, dropped=[dropped(800)]).runs == 900
    assert compute_metrics([run(100)], dropped=[dropped(1, "b")]).agents["a"].runs == 1  # which is rare, but no wonder
    some = compute_metrics([*kept, *[run(10, agent_name="b")] * 30], dropped=[dropped(800)])
    assert some.agents["b"].runs == 300


@settings(max_examples=30, deadline=None)
@given(
    sampled_runs,
    sampled_runs,
    st.lists(
        st.builds(dropped, st.integers(1, 50), st.sampled_from(["a", None]), st.sampled_from(["success", "error"]))
    ),
)
def test_counted_reports_add_up_in_any_order(
    one: list[AgentRun], two: list[AgentRun], counts: list[DroppedTraces]
) -> None:
    """The report of all is that of the parts, bit for bit, however the counts are divided if all have some."""
    counts = [dropped(1), *counts, dropped(2)]
    how: dict[str, Any] = {"bucket": "1h", "by": ["status"]}
    whole = compute_metrics([*one, *two], dropped=counts, **how)
    a, b = compute_metrics(two, dropped=counts[1:], **how), compute_metrics(one, dropped=counts[:1], **how)
    assert a + b == b + a == whole
    assert json.dumps((a + b).to_dict()) == json.dumps(whole.to_dict())
