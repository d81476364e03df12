"""What a report says of scores, and of groups of runs."""

from __future__ import annotations

import json
import math
import pickle
import statistics
import sys
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.metrics import MetricsReport, ScoreMetrics, compute_metrics
from otel_agent_trace.metrics.groups import KEYS
from otel_agent_trace.metrics.intervals import t_quantile, wilson_interval
from otel_agent_trace.metrics.numbers import Numbers, mean_interval_of, mean_of
from otel_agent_trace.metrics.tally import GROUP_SCORES, LABELS, NAMES
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, Score, StepKind, Usage

S = 1_000_000_000
PLAIN_KEYS = [key for key in KEYS if "." not in key and ":" not in key]


def run(*scores: Score, **fields: Any) -> AgentRun:
    values: dict[str, Any] = {"status": RunStatus.SUCCESS, "started_at_ns": S, "ended_at_ns": 2 * S, **fields}
    return AgentRun(run_id="r", scores=scores, **values)


def helpful(value: Any = None, **fields: Any) -> Score:
    return Score(name="helpful", value=value, **fields)


def figures(*runs: AgentRun) -> ScoreMetrics:
    return compute_metrics(runs).scores["helpful"]


# ── scores ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_numbers_have_a_mean_with_its_interval() -> None:
    """Of 0, 0.5 and 1 the standard error is 0.5 / √3, and t with two degrees of freedom 4.3027."""
    found = figures(run(helpful(0)), run(helpful(0.5)), run(helpful(1)))
    assert (found.count, found.runs, found.numbers) == (3, 3, 3)
    assert (found.mean, found.min, found.max) == (0.5, 0.0, 1.0)
    margin = 4.30265273 * 0.5 / math.sqrt(3)
    assert found.mean_interval == pytest.approx((0.5 - margin, 0.5 + margin))
    assert (found.true_rate, found.true_interval, found.labels) == (None, None, {})


def test_one_number_has_no_interval() -> None:
    found = figures(run(helpful(0.25)))
    assert (found.mean, found.mean_interval) == (0.25, None)


def test_bools_have_a_rate_with_its_interval() -> None:
    """They are no numbers."""
    found = figures(*[run(helpful(number < 3)) for number in range(4)])
    assert (found.true, found.false, found.true_rate) == (3, 1, 0.75)
    assert found.true_interval == wilson_interval(3, 4)
    assert (found.numbers, found.mean, found.min, found.max) == (0, None, None, None)


def test_labels_are_counted_beside_values_too() -> None:
    """The most frequent first."""
    found = figures(run(helpful(label="fail")), run(helpful(0.5, label="pass")), run(helpful(True, label="pass")))
    assert list(found.labels.items()) == [("pass", 2), ("fail", 1)]
    assert (found.count, found.numbers, found.true) == (3, 1, 1)


def test_kinds_of_values_do_not_mix() -> None:
    """A check that is a bool in one place and a number in another has both figures."""
    found = figures(run(helpful(True)), run(helpful(1.0)), run(helpful(0.0)), run(helpful(explanation="why")))
    assert (found.count, found.true_rate, found.mean) == (4, 1.0, 0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
def test_what_is_no_finite_number_destroys_no_figure(value: Any) -> None:
    found = figures(run(helpful(value)), run(helpful(0.5)))
    assert (found.count, found.numbers, found.mean, found.min, found.max) == (2, 1, 0.5, 0.5, 0.5)


def test_the_newest_of_each_source_counts() -> None:
    scores = (helpful(0.1, source="a"), helpful(0.9, source="b"), helpful(0.3, source="a"))
    found = figures(run(*scores))
    assert (found.runs, found.count, found.mean) == (1, 2, 0.6)


def test_scores_of_steps_and_sub_agents_count_once_each() -> None:
    inner = run(helpful(0.5), steps=(AgentStep(scores=(helpful(0.25), helpful(0.75))),))
    outer = run(helpful(1), steps=(AgentStep(kind=StepKind.AGENT, run=inner), AgentStep(scores=(helpful(0),))))
    found = figures(outer)
    assert (found.runs, found.count, found.mean) == (1, 4, (0.5 + 0.75 + 1 + 0) / 4)


def test_replays_count_only_when_asked_for() -> None:
    again = run(helpful(0), replay_of="x")
    assert not compute_metrics([again]).scores
    assert compute_metrics([again], replays=True).scores["helpful"].count == 1


def test_the_most_frequent_name_comes_first() -> None:
    report = compute_metrics([run(Score(name="b"), Score(name="a"), helpful()), run(helpful())])
    assert list(report.scores) == ["helpful", "a", "b"]


def test_names_and_labels_beyond_the_bounds_count_together() -> None:
    report = compute_metrics([run(helpful(label=str(number)), Score(name=str(number))) for number in range(1200)])
    assert len(report.scores) == NAMES + 1
    assert sum(score.count for score in report.scores.values()) == 2400
    labels = next(score.labels for score in report.scores.values() if score.labels)
    assert len(labels) == LABELS + 1
    assert labels["(other)"] == 1200 - LABELS
    assert len(compute_metrics([run(Score(name="n" * 5000, label="l" * 5000))]).scores["n" * 200].labels) == 1


# ── exact sums ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (5, 2.57058), (9, 2.26216), (29, 2.04523), (99, 1.98422)]
    + [(10**9, 1.95996)],
)
def test_quantiles_are_those_of_tables(degrees: int, quantile: float) -> None:
    assert t_quantile(degrees) == pytest.approx(quantile, rel=0.002)


def sums_of(numbers: list[float]) -> Numbers:
    made = Numbers()
    for number in numbers:
        made.add(number)
    return made


@given(st.lists(st.floats(-1e6, 1e6), min_size=2), st.integers(0, 9))
def test_sums_are_exact(numbers: list[float], part: int) -> None:
    """Mean and standard error are those of fractions, however the numbers are divided."""
    whole = sums_of(numbers[part:])
    whole.absorb(sums_of(numbers[:part]))
    assert whole == sums_of(numbers)
    fractions = list(map(Fraction, numbers))
    mean = sum(fractions) / len(fractions)
    assert mean_of([(1.0, whole)]) == float(mean)
    error = math.sqrt(statistics.variance(fractions, mean) / len(fractions))
    interval = mean_interval_of([(1.0, whole)])
    assert interval is not None
    assert interval[1] - interval[0] == pytest.approx(2 * error * t_quantile(len(numbers) - 1), rel=1e-9, abs=1e-9)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2))
def test_no_numbers_are_too_large(numbers: list[float]) -> None:
    """Figures are finite numbers, in their order."""
    found = figures(*[run(helpful(number)) for number in numbers])
    assert found.mean_interval is not None
    assert found.min is not None
    assert found.mean is not None
    assert found.max is not None
    assert found.min <= found.mean <= found.max
    low, high = found.mean_interval
    assert -sys.float_info.max <= low <= found.mean <= high <= sys.float_info.max


def test_equal_numbers_have_one_value() -> None:
    """Which of 0.0 and -0.0 is the least does not depend on their order."""
    assert [str(sums_of(numbers).minimum) for numbers in ([0.0, -0.0], [-0.0, 0.0])] == ["0.0", "0.0"]


# ── groups ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def sizes_by(by: str, *runs: AgentRun) -> dict[str, float]:
    return {name: group.runs for name, group in compute_metrics(runs, by=by).groups.items()}


FULL = run(
    Score(name="helpful", value=True),
    agent_name="weather",
    model="gpt-4",
    user_id="hmac:k1:9c11",
    session_id="s-1",
    tags=("a", "b"),
    prompt_name="ask",
    prompt_version="2",
    metadata={"tenant": "acme", "x.y": 1, "flag": True, "list": [1, "a"], "nothing": None, "half": 0.5},
    resource={"service.name": "shop", "deployment.environment.name": "prod"},
)


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("agent", ["weather"]),
        ("model", ["gpt-4"]),
        ("user_id", ["hmac:k1:9c11"]),
        ("session_id", ["s-1"]),
        ("service", ["shop"]),
        ("status", ["success"]),
        ("tag", ["a", "b"]),
        ("prompt_name", ["ask"]),
        ("prompt_version", ["2"]),
        ("environment", ["prod"]),
        ("metadata.tenant", ["acme"]),
        ("metadata.x.y", ["1"]),
        ("metadata.flag", ["true"]),
        ("metadata.list", ['[1,"a"]']),
        ("metadata.half", ["0.5"]),
        ("metadata.nothing", ["(none)"]),
        ("metadata.other", ["(none)"]),
        ("resource.service.name", ["shop"]),
        ("score:helpful", ["true"]),
        ("score:other", ["(none)"]),
    ],
)
def test_runs_are_grouped_by_each_key(by: str, names: list[str]) -> None:
    assert sizes_by(by, FULL) == dict.fromkeys(names, 1)


@pytest.mark.parametrize("key", PLAIN_KEYS)
def test_runs_without_anything_are_one_group(key: str) -> None:
    empty = run(status=RunStatus.RUNNING, interrupted=True, ended_at_ns=None)
    assert sizes_by(key, empty, empty) == {"interrupted" if key == "status" else "(none)": 2}


@pytest.mark.parametrize(
    ("scores", "names"),
    [
        ([helpful(0.25)], ["0.25"]),
        ([helpful(1)], ["1"]),
        ([helpful(1.0)], ["1"]),
        ([helpful(False)], ["false"]),
        ([helpful(label="pass")], ["pass"]),
        ([helpful(0.8312, label="pass")], ["pass"]),
        ([helpful(explanation="why")], ["(none)"]),
        ([helpful(math.nan)], ["(none)"]),
        ([helpful(10**400)], ["(none)"]),
        ([helpful(1e300)], ["1e300"]),
        ([helpful(0.1), helpful(0.9)], ["0.9"]),
        ([helpful(True, source="a"), helpful(False, source="b")], ["false", "true"]),
        ([helpful(True, source="a"), helpful(True, source="b")], ["true"]),
    ],
)
def test_the_group_of_a_score_is_its_label_or_value(scores: list[Score], names: list[str]) -> None:
    """Sources that disagree put the run in several groups, as it fits several conditions."""
    assert sizes_by("score:helpful", run(*scores)) == dict.fromkeys(names, 1)


def test_versions_of_prompts_and_models_may_be_those_of_calls() -> None:
    call = AgentStep(kind=StepKind.MODEL, model="m-1", attributes={"gen_ai.request.model": "m"}, prompt_version="7")
    other = AgentStep(kind=StepKind.MODEL, model="n")
    below = AgentStep(kind=StepKind.AGENT, run=run(steps=(other, call)))
    made = run(steps=(call, below), model="x")
    assert sizes_by("model", made) == {"m": 1, "n": 1}
    assert sizes_by("prompt_version", made) == {"7": 1}
    assert sizes_by("prompt_version", run(steps=(call,), prompt_version="8")) == {"8": 1}


def test_a_group_has_outcomes_and_scores() -> None:
    """So that the versions of a prompt can be compared."""
    runs = [
        run(helpful(0.5), helpful(0.25), prompt_version="1", usage=Usage(input_tokens=3)),
        run(helpful(0.75), prompt_version="1", status=RunStatus.ERROR),
        run(helpful(True), Score(name="polite", label="yes"), prompt_version="2"),
    ]
    report = compute_metrics(runs, by="prompt_version")
    assert (list(report.by), list(report.groups)) == (["prompt_version"], ["1", "2"])
    assert report.by["prompt_version"] == report.groups
    first, second = report.groups.values()
    assert (first.runs, first.success_rate, first.success_interval) == (2, 0.5, wilson_interval(1, 2))
    assert (first.latency.mean_s, first.tokens.input_tokens) == (1.0, 3)
    assert (first.scores["helpful"].mean, second.scores["helpful"].true_rate) == (0.5, 1.0)
    assert second.scores["polite"].labels == {"yes": 1}
    assert first.scores == compute_metrics(runs[:2]).scores


def test_without_a_key_there_are_no_groups() -> None:
    report = compute_metrics([FULL])
    assert (report.by, dict(report.groups), report.to_dict()["by"], report.to_dict()["groups"]) == ({}, {}, {}, {})


def test_groups_are_by_several_keys() -> None:
    report = compute_metrics([FULL], by=["agent", "status", "agent"])
    assert report.by == {key: compute_metrics([FULL], by=key).groups for key in ("agent", "status")}
    assert list(report.by) == ["agent", "status"]
    assert (report + report).by["status"]["success"].runs == 2


@pytest.mark.parametrize("by", ["colour", "", "metadata", "metadata.", "score", "score:", "step.x", 5])
def test_a_wrong_key_is_refused(by: Any) -> None:
    """The error lists the keys, and nothing is read."""
    with pytest.raises(ConfigurationError) as caught:
        compute_metrics(iter([]), by=by)
    listed = (
        "agent, model, provider, tool, user_id, session_id, service, version, status, tag, prompt_name, "
        "prompt_version, environment"
    )
    assert str(caught.value) == f"by must be one of {listed}, metadata.KEY, resource.KEY, score:NAME, got {by!r}"


def test_groups_beyond_the_bound_count_together() -> None:
    runs = [run(*[Score(name=str(name)) for name in range(40)], session_id=str(number)) for number in range(1100)]
    groups = compute_metrics(runs, by="session_id").groups
    assert len(groups) == NAMES + 1
    assert groups["(other)"].runs == 1100 - NAMES
    assert {len(group.scores) for group in groups.values()} == {GROUP_SCORES + 1}


@pytest.mark.parametrize(("one", "other"), [("agent", "tag"), ("agent", None), (None, "agent")])
def test_reports_by_different_keys_cannot_be_added(one: str | None, other: str | None) -> None:
    with pytest.raises(ConfigurationError, match="groups by agent"):
        compute_metrics([FULL], by=one) + compute_metrics([FULL], by=other)


def test_an_empty_report_adds_to_any() -> None:
    report = compute_metrics([FULL], by="agent")
    assert sum([report, report], MetricsReport()).groups["weather"].runs == 2
    assert report + compute_metrics([], by="agent") == report


def test_a_report_with_scores_is_plain_data() -> None:
    report = compute_metrics([FULL, run(helpful(0.5)), run(helpful(0.75))], by="score:helpful")
    copy = pickle.loads(pickle.dumps(report))
    assert copy == report
    assert (copy + report).to_dict() == (report + report).to_dict()
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["by"] == {"score:helpful": data["groups"]}
    assert data["scores"]["helpful"]["mean"] == 0.625
    assert [group["runs"] for group in data["groups"].values()] == [1, 1, 1]
    assert data["groups"]["true"]["scores"]["helpful"]["true_interval"] == list(wilson_interval(1, 1) or ())
