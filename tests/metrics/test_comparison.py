"""Differences between two reports, and how often their intervals hold the true ones."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.metrics import MetricsReport, compare_metrics, compute_metrics
from otel_agent_trace.metrics.compute import compute_comparison
from otel_agent_trace.metrics.differences import Estimate, Sums, difference, difference_of_means, mean
from otel_agent_trace.metrics.intervals import wilson_interval
from otel_agent_trace.metrics.sides import sides_of
from otel_agent_trace.metrics.sketch import Distribution
from otel_agent_trace.metrics.strata import WHOLE, Sample, Weight
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, Score, StepError, StepKind, Usage

S = 1_000_000_000
NOON = datetime(2026, 5, 4, 12, tzinfo=timezone.utc)
NOON_NS = int(NOON.timestamp()) * S


def run(
    seconds: float = 1.0, *, started: datetime = NOON, status: RunStatus = RunStatus.SUCCESS, **fields: Any
) -> AgentRun:
    start = int(started.timestamp()) * S
    return AgentRun(run_id="r", status=status, started_at_ns=start, ended_at_ns=start + round(seconds * S), **fields)


def version(name: str, **fields: Any) -> AgentRun:
    return run(resource={"service.version": name}, **fields)


def sums(*numbers: int) -> Sample[Sums]:
    return Sample(((WHOLE, Sums(len(numbers), sum(numbers), sum(number**2 for number in numbers))),))


# ── methods ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("before", "after", "low", "high"),
    [
        ((48, 80), (56, 70), 0.0524, 0.3339),
        ((3, 10), (9, 10), 0.1705, 0.8090),
        ((2, 7), (6, 7), 0.0582, 0.8062),
        ((0, 29), (5, 56), -0.0381, 0.1926),
        ((0, 20), (0, 10), -0.1611, 0.2775),
        ((0, 10), (10, 10), 0.6075, 1.0),
    ],
)
def test_the_intervals_of_newcombe(before: tuple[int, int], after: tuple[int, int], low: float, high: float) -> None:
    """The intervals are those that Newcombe printed (1998, Statistics in Medicine 17:873, table II, method 10)."""
    rates = [Estimate(successes / trials, wilson_interval(successes, trials)) for successes, trials in (before, after)]
    found = difference(*rates)
    assert found.difference == pytest.approx(after[0] / after[1] - before[0] / before[1])
    assert found.interval == pytest.approx((low, high), abs=5e-5)


def test_the_interval_of_welch() -> None:
    """It is the one that R prints for its data set `sleep`, which is in tenths here."""
    one, two = sums(7, -16, -2, -12, -1, 34, 37, 8, 0, 20), sums(19, 8, 11, 1, -1, 44, 55, 16, 46, 34)
    found = difference_of_means(mean(one, 10), mean(two, 10))
    assert (found.before, found.after) == pytest.approx((0.75, 2.33))
    assert found.difference == pytest.approx(1.58)
    assert found.interval == pytest.approx((-0.2054832, 3.3654832), abs=1e-3)
    assert not found.is_certain


def test_too_few_values_have_no_interval() -> None:
    """Of one value nobody knows how far it is off; without any there is no difference."""
    assert difference_of_means(mean(sums(1)), mean(sums(2, 3))).interval is None
    assert difference_of_means(mean(sums()), mean(sums(2))).difference is None
    assert difference(Estimate(None), Estimate(0.5, (0.4, 0.6))).difference is None
    assert difference_of_means(mean(sums(2, 2)), mean(sums(3, 3))).interval == (1.0, 1.0)


@given(st.lists(st.tuples(st.integers(-1000, 1000), st.integers(1, 4)), min_size=2, max_size=20))
def test_values_with_weights_are_values_that_occurred_so_often(values: list[tuple[int, int]]) -> None:
    """A weighted mean is the mean of the values, each as often as its weight."""
    weighted = Sample(tuple((Weight(weight, weight), Sums(1, value, value**2)) for value, weight in values))
    plain = mean(sums(*[value for value, weight in values for _ in range(weight)]))
    assert mean(weighted).value == pytest.approx(plain.value)
    assert mean(Sample(tuple((Weight(2.0, 2.0), Sums(1, value, value**2)) for value, _ in values))) == mean(
        sums(*[value for value, _ in values])
    )


def test_intervals_of_quantiles_hold_the_true_ones() -> None:
    """Of 300 samples from an exponential distribution, at least 93 % of the intervals of the median and of p95 do."""
    rng, held = random.Random(18), {50: 0, 95: 0}
    true = {50: 693_147.18, 95: 2_995_732.27}
    for _ in range(300):
        values = Distribution()
        for _ in range(400):
            values.add(round(rng.expovariate(1) * 1_000_000))
        for percent in held:
            interval = values.percentile_interval(percent)
            assert interval is not None
            low, high = interval
            held[percent] += low <= true[percent] <= high
    assert min(held.values()) >= 279


def test_few_values_give_no_interval_of_a_quantile() -> None:
    """The greatest of ten values says nothing about how far p95 may be above it."""
    values = Distribution()
    assert values.percentile_interval(50) is None
    for value in range(10):
        values.add(value)
    assert values.percentile_interval(95) is None
    assert values.percentile_interval(50) is not None


# ── reports ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def drawn(
    rng: random.Random, number: int, *, slower: float = 1.0, failures: float = 0.1, tokens: int = 100
) -> MetricsReport:
    def one() -> AgentRun:
        status = RunStatus.ERROR if rng.random() < failures else RunStatus.SUCCESS
        usage = Usage(input_tokens=round(rng.expovariate(1 / tokens)), output_tokens=1)
        error = StepError(type="E") if rng.random() < failures else None
        steps = (AgentStep(name="search", error=error), AgentStep(kind=StepKind.MODEL, model="m", usage=usage))
        score = Score(name="helpful", value=rng.gauss(slower, 1))
        return run(
            rng.expovariate(1) * slower,
            status=status,
            steps=steps,
            scores=(score, Score(name="ok", value=error is None)),
        )

    return compute_metrics(one() for _ in range(number))


def test_equal_agents_rarely_differ() -> None:
    """Of 100 comparisons of equal agents, each figure has at most 10 intervals without 0; a different one is noticed."""
    rng = random.Random(18)
    wrong: dict[str, int] = {}
    for _ in range(100):
        compared = compare_metrics(drawn(rng, 100), drawn(rng, 150))
        found = {
            **compared.differences,
            **compared.tools["search"],
            **compared.scores["helpful"],
            **compared.scores["ok"],
        }
        for figure, by in found.items():
            wrong[figure] = wrong.get(figure, 0) + by.is_certain
    assert max(wrong.values()) <= 10
    worse = compare_metrics(drawn(rng, 400), drawn(rng, 400, slower=2.0, failures=0.3, tokens=200))
    certain = [figure for figure, by in worse.differences.items() if by.is_certain]
    assert certain == ["success_rate", "latency_p50_s", "latency_p95_s", "tokens_per_run"]
    assert worse.tools["search"]["error_rate"].is_certain
    assert worse.scores["helpful"]["mean"].is_certain
    assert worse.scores["ok"]["true_rate"].is_certain


def test_what_only_one_report_has_no_difference() -> None:
    """Its figure stands alone, and reports without runs have no figures at all."""
    only = compare_metrics(compute_metrics([]), compute_metrics([run(steps=(AgentStep(name="search"),))]))
    assert only.tools["search"]["error_rate"].after == 0.0
    assert only.tools["search"]["error_rate"].difference is None
    assert all(by.difference is None for by in only.differences.values())
    assert all(
        by.before is by.after is None for by in compare_metrics(MetricsReport(), MetricsReport()).differences.values()
    )


def priced(*dollars: int) -> MetricsReport:
    """The report of runs of which each costs so much."""
    calls = [AgentStep(kind=StepKind.MODEL, model="m", usage=Usage(input_tokens=each)) for each in dollars]
    return compute_metrics([run(steps=(each,)) for each in calls], prices={"m": {"input": 10**6, "output": 0}})


def test_the_cost_per_run_has_the_interval_of_welch() -> None:
    """As the mean of any other number has; runs without a price count at 0, and without any price there is no mean."""
    before, after = (7, 16, 2, 12, 1, 34), (40, 50, 60, 41, 52)
    found = compare_metrics(priced(*before) + compute_metrics([run()]), priced(*after)).differences["cost_usd_per_run"]
    assert found == difference_of_means(mean(sums(*before, 0)), mean(sums(*after)))
    assert found.is_certain
    assert found.before == pytest.approx(72 / 7)
    alone = compare_metrics(priced(1, 2), compute_metrics([run()])).differences["cost_usd_per_run"]
    assert (alone.before, alone.after, alone.interval) == (1.5, None, None)


def test_the_data_of_a_comparison_is_json() -> None:
    """It has the names, the differences, and both reports whole."""
    one, two = compute_metrics([run()]), compute_metrics([run(status=RunStatus.ERROR)])
    data = json.loads(json.dumps(compare_metrics(one, two).to_dict(), allow_nan=False))
    assert data["names"] == ["before", "after"]
    assert (data["before"], data["after"]) == (one.to_dict(), two.to_dict())
    assert data["differences"]["success_rate"]["difference"] == -1.0
    assert data["differences"]["cost_usd_per_run"] == dict.fromkeys(["before", "after", "difference", "interval"])


# ── two sets of runs ─────────────────────────────────────────────────────────────────────────────────────────────────


def numbers(runs: list[AgentRun], compare: str) -> tuple[Any, Any]:
    compared = compute_comparison(runs, sides_of(compare, NOON))
    return compared.before.runs, compared.after.runs


def test_windows_of_time() -> None:
    """The last day is compared with the day before: neither the end nor what came earlier is in any of them."""
    ages = [
        timedelta(0),
        timedelta(seconds=1),
        timedelta(days=1),
        timedelta(days=1, seconds=1),
        timedelta(days=2),
        timedelta(days=3),
    ]
    assert numbers([run(started=NOON - age) for age in ages], "1d") == (2, 2)
    assert sides_of(" 24h ", NOON).since == NOON - timedelta(days=2)
    assert sides_of("7d", NOON).names == ("the 7d before", "the last 7d")


def test_two_groups() -> None:
    """A run that is in both groups counts in both, and one that is in none, or a replay, in neither."""
    runs = [version("1.2"), version("1.3"), version("1.3"), run(), version("1.3", replay_of="r")]
    assert numbers(runs, "version = 1.2 , 1.3") == (1, 2)
    assert numbers(runs, "version=(none),1.3") == (1, 2)
    assert numbers([run(tags=("a", "b"))], "tag=a,b") == (1, 1)


@pytest.mark.parametrize(
    "given", ["", "7", "0d", "7y", "version", "version=1", "version=1,2,3", "version=1,1", "version=,1", "99999999w"]
)
def test_what_cannot_be_compared(given: str) -> None:
    """The error has an example of each form."""
    with pytest.raises(ConfigurationError, match='like "7d".*"version=1.2,1.3"'):
        sides_of(given, NOON)


def test_groups_by_an_unknown_key() -> None:
    """The error has the keys that there are."""
    with pytest.raises(ConfigurationError, match="by must be one of agent"):
        sides_of("colour=red,blue", NOON)


def test_the_reports_of_a_comparison_are_those_of_its_runs() -> None:
    """One pass gives what two would."""
    runs = [version("1.2"), version("1.3", status=RunStatus.ERROR), version("1.3")]
    compared = compute_comparison(iter(runs), sides_of("version=1.2,1.3", NOON))
    assert (compared.before, compared.after) == (compute_metrics(runs[:1]), compute_metrics(runs[1:]))
