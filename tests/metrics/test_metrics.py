"""What a report says of given runs."""

from __future__ import annotations

import json
import math
import pickle
import random
import tracemalloc
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import pytest

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.metrics import Latency, MetricsReport, Tokens, compute_metrics
from otel_agent_trace.metrics.error_messages import normalised
from otel_agent_trace.metrics.intervals import wilson_interval
from otel_agent_trace.metrics.sketch import Distribution
from otel_agent_trace.metrics.strata import WHOLE
from otel_agent_trace.metrics.tally import BUCKETS, NAMES
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, StepError, StepKind, Usage
from otel_agent_trace.views.summaries import summary_of

S = 1_000_000_000
NOON = int(datetime(2025, 3, 5, 12, tzinfo=timezone.utc).timestamp()) * S  # a Wednesday


def run(status: RunStatus = RunStatus.SUCCESS, seconds: float | None = 1.0, **fields: Any) -> AgentRun:
    start = fields.pop("started_at_ns", NOON)
    end = None if seconds is None or status is RunStatus.RUNNING else start + round(seconds * S)
    return AgentRun(run_id="r", status=status, started_at_ns=start, ended_at_ns=end, **fields)


def tool(name: str = "search", seconds: float | None = 0.1, **fields: Any) -> AgentStep:
    return AgentStep(name=name, started_at_ns=NOON, ended_at_ns=end_after(seconds), **fields)


def call(
    model: str | None = "m", tokens: tuple[int, int] | None = None, seconds: float = 0.5, **fields: Any
) -> AgentStep:
    usage = Usage(input_tokens=tokens[0], output_tokens=tokens[1]) if tokens else None
    return AgentStep(
        kind=StepKind.MODEL, model=model, usage=usage, started_at_ns=NOON, ended_at_ns=end_after(seconds), **fields
    )


def sub_agent(below: AgentRun, **fields: Any) -> AgentStep:
    return AgentStep(kind=StepKind.AGENT, name="sub", run=below, started_at_ns=NOON, ended_at_ns=NOON + S, **fields)


def end_after(seconds: float | None) -> int | None:
    return None if seconds is None else NOON + round(seconds * S)


def tokens_of(total_input: int, total_output: int) -> Usage:
    return Usage(input_tokens=total_input, output_tokens=total_output)


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_empty_input_gives_an_empty_report() -> None:
    """Of no runs there are counts of 0 and no rates, and nothing raises."""
    report = compute_metrics([])
    assert (report.runs, report.finished, report.success_rate, report.success_interval) == (0, 0, None, None)
    assert (report.latency, report.tokens) == (Latency(), Tokens())
    assert report.steps_per_run.mean is None
    assert not report.tools
    assert not report.models
    assert not report.agents
    assert not report.run_errors
    assert not report.step_errors
    assert report.error_messages == report.series == ()
    assert report == MetricsReport()
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["latency"]["p50_s"] is None


def test_the_success_rate_is_of_finished_runs() -> None:
    """Running runs count as runs but not in the rate."""
    statuses = [RunStatus.SUCCESS] * 8 + [RunStatus.ERROR, RunStatus.TIMEOUT] + [RunStatus.RUNNING] * 5
    report = compute_metrics(run(status) for status in statuses)
    assert (report.runs, report.running, report.success, report.errors, report.timeouts) == (15, 5, 8, 1, 1)
    assert report.finished == 10
    assert report.success_rate == 0.8
    assert report.success_interval == pytest.approx((0.4902, 0.9433), abs=5e-5)


def test_only_running_runs_have_no_rate() -> None:
    """A rate of nothing finished is None and not 0."""
    report = compute_metrics([run(RunStatus.RUNNING)])
    assert (report.runs, report.success_rate, report.success_interval, report.latency.count) == (1, None, None, 0)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_of_newcombe(successes: int, trials: int, low: float, high: float) -> None:
    """The intervals are those that Newcombe (1998, table I, method 3) printed."""
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize("trials", [1, 3, 10, 999_983])
def test_wilson_intervals_stay_within_0_and_1(trials: int) -> None:
    """None and all of the trials give bounds of exactly 0 and 1."""
    nothing, everything = wilson_interval(0, trials), wilson_interval(trials, trials)
    assert nothing is not None
    assert everything is not None
    assert nothing[0] == 0.0 < nothing[1] < 1
    assert 0 < everything[0] < 1.0 == everything[1]


def test_run_latency_is_of_finished_runs() -> None:
    """Least, greatest and mean are exact; running runs and runs without an end have no latency."""
    runs = [run(seconds=1.5), run(RunStatus.ERROR, 2.5), run(RunStatus.RUNNING), run(seconds=None)]
    latency = compute_metrics(runs).latency
    assert (latency.count, latency.min_s, latency.max_s, latency.mean_s, latency.total_s) == (2, 1.5, 2.5, 2.0, 4.0)
    assert latency.p50_s == pytest.approx(1.5, rel=0.01)


def test_zero_and_negative_durations_count_as_zero() -> None:
    """A clock that went back breaks nothing and lowers no sum."""
    latency = compute_metrics([run(seconds=-5), run(seconds=0), run(seconds=2)]).latency
    assert (latency.count, latency.min_s, latency.p50_s, latency.total_s, latency.max_s) == (3, 0.0, 0.0, 2.0, 2.0)


def test_steps_per_run_are_of_finished_runs() -> None:
    """Small numbers of steps are exact, and running runs are left out."""
    runs = [run(steps=(tool(),) * count) for count in (1, 2, 3, 3, 7)]
    steps = compute_metrics([*runs, run(RunStatus.RUNNING, steps=(tool(),) * 40)]).steps_per_run
    assert (steps.count, steps.mean, steps.min, steps.max, steps.p50, steps.p99) == (5, 3.2, 1, 7, 3.0, 7.0)


@pytest.mark.parametrize("steps", range(60))
def test_a_number_of_steps_below_50_is_exact(steps: int) -> None:
    """Each quantile of equal runs is their very number of steps (the extremes bound what is 50 and more)."""
    runs = [run(steps=(tool(),) * count) for count in (0, steps, 90)]
    p50 = compute_metrics(runs).steps_per_run.p50
    assert p50 == steps if steps < 50 else p50 == pytest.approx(steps, rel=0.01)


def test_agents_have_rates_of_their_own() -> None:
    """Runs count by agent name, a missing name is unknown, and nested runs have a column of their own."""
    below = run(RunStatus.ERROR, agent_name="helper", steps=(sub_agent(run(agent_name="boss")),))
    runs = [
        run(seconds=4, agent_name="boss", steps=(sub_agent(below),)),
        run(RunStatus.ERROR, agent_name="boss"),
        run(),
    ]
    agents = compute_metrics(runs).agents
    assert list(agents) == ["boss", "unknown", "helper"]
    assert (agents["boss"].runs, agents["boss"].success_rate, agents["boss"].nested_runs) == (2, 0.5, 1)
    assert agents["boss"].latency.max_s == 4.0
    assert (agents["helper"].runs, agents["helper"].success_rate, agents["helper"].nested_runs) == (0, None, 1)


# ── tools and models ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_tools_count_calls_errors_and_latency() -> None:
    """Abandoned and running calls are calls, but neither errors nor latencies."""
    failed = StepError(type="TimeoutError", message="slow", category="timeout")
    steps = (
        tool(seconds=0.2),
        tool(seconds=0.4, error=failed),
        tool(seconds=90, abandoned=True, error=failed),
        tool(seconds=None),
        tool("fetch"),
        tool(""),
    )
    tools = compute_metrics([run(steps=steps)]).tools
    assert list(tools) == ["search", "fetch", "unknown"]
    search = tools["search"]
    assert (search.calls, search.errors, search.abandoned, search.error_rate) == (4, 1, 1, 0.25)
    assert (search.latency.count, search.latency.min_s, search.latency.max_s) == (2, 0.2, 0.4)
    assert search.latency.p50_s == pytest.approx(0.2, rel=0.01)
    assert search.latency.p95_s == pytest.approx(0.4, rel=0.01)
    assert tools["fetch"].error_rate == 0.0


def test_paused_runs_and_calls_are_neither_successes_nor_errors() -> None:
    """They are left out of both sides of the rates, of latencies and of numbers of steps, and counted by themselves."""
    failed = StepError(type="ValueError", category="validation")
    runs = [
        run(steps=(tool(), tool(error=failed), tool(seconds=90, interrupted_for="x"), tool(interrupted_for={"a": 1}))),
        run(seconds=90, interrupted_for=0, steps=(tool(), tool())),
        run(RunStatus.ERROR, interrupted_for="x", error=failed),
    ]
    report = compute_metrics(runs[:2]) + compute_metrics(runs[2:])
    assert (report.runs, report.success, report.errors, report.paused, report.finished) == (3, 1, 1, 1, 2)
    assert (report.success_rate, report.latency.count, report.steps_per_run.count) == (0.5, 2, 2)
    search = report.tools["search"]
    assert (search.calls, search.errors, search.paused, search.error_rate) == (6, 1, 2, 0.25)
    assert (search.latency.count, dict(report.step_errors)) == (4, {"validation": 1})
    assert (report.to_dict()["paused"], report.to_dict()["tools"]["search"]["paused"]) == (1, 2)
    assert (report.interrupted, search.interrupted) == (1, 2)


def test_runs_whose_process_is_gone_count_as_running() -> None:
    report = compute_metrics([run(RunStatus.RUNNING, interrupted=True)])
    assert (report.running, report.paused, report.finished, report.success_rate) == (1, 0, 0, None)


def test_a_sub_agent_that_was_interrupted_fails_no_step() -> None:
    failed = StepError(type="ValueError", category="validation")
    step = AgentStep(kind=StepKind.AGENT, interrupted_for="x", run=run(RunStatus.ERROR, error=failed))
    assert dict(compute_metrics([run(steps=(step,))]).step_errors) == {}


def test_models_count_calls_and_every_kind_of_tokens() -> None:
    """Each model has its own tokens by kind, and a call without a model is unknown."""
    usage = Usage(
        input_tokens=10,
        output_tokens=5,
        cache_read_input_tokens=4,
        cache_write_input_tokens=3,
        reasoning_output_tokens=2,
    )
    error = StepError(type="RateLimitError", category="rate_limit")
    steps = (
        AgentStep(kind=StepKind.MODEL, model="a", usage=usage),
        AgentStep(kind=StepKind.MODEL, model="a", usage=usage, error=error),
        call(None, (1, 1)),
    )
    models = compute_metrics([run(steps=steps)]).models
    assert (models["a"].calls, models["a"].errors, models["a"].error_rate) == (2, 1, 0.5)
    assert models["a"].tokens == Tokens(
        input_tokens=20,
        output_tokens=10,
        total_tokens=30,
        cache_read_input_tokens=8,
        cache_write_input_tokens=6,
        reasoning_output_tokens=4,
        cache_hit_share=0.4,
    )
    assert models["unknown"].tokens.total_tokens == 2
    assert models["unknown"].latency.max_s == 0.5


def test_steps_of_sub_agents_count_but_their_runs_do_not() -> None:
    """Tools and models two levels down are in the tables; the run counts know the outermost run only."""
    deepest = run(RunStatus.ERROR, 50, steps=(tool("deep"), call("m", (1, 2))))
    middle = run(RunStatus.TIMEOUT, 60, steps=(tool("middle"), sub_agent(deepest)))
    report = compute_metrics([run(seconds=1, steps=(tool("top"), sub_agent(middle)))])
    assert set(report.tools) == {"top", "middle", "deep"}
    assert report.models["m"].calls == 1
    assert (report.runs, report.success_rate, report.latency.max_s, report.steps_per_run.mean) == (1, 1.0, 1.0, 6.0)


def test_steps_per_run_are_those_that_a_list_shows() -> None:
    """Each step once, also where a sub-agent made it; a run below is one step of the run above."""
    deepest = run(steps=(tool("deep"), call("m", (1, 2))))
    middle = run(steps=(tool("middle"), sub_agent(deepest)))
    runs = [run(steps=(tool("top"), sub_agent(middle))), run(steps=(tool("top"),)), run()]
    report = compute_metrics(runs)
    assert [summary_of(each).steps for each in runs] == [6, 1, 0]
    steps = report.steps_per_run
    assert (steps.count, steps.mean, steps.min, steps.max) == (3, 7 / 3, 0, 6)
    assert sum(figures.calls for figures in (*report.tools.values(), *report.models.values())) == 5


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        pytest.param(run(usage=tokens_of(7, 3)), (7, 3), id="only the run has them"),
        pytest.param(run(steps=(call(), call()), usage=tokens_of(7, 3)), (7, 3), id="calls have none"),
        pytest.param(
            run(steps=(call(tokens=(4, 1)), call(tokens=(3, 2))), usage=tokens_of(7, 3)), (7, 3), id="both have them"
        ),
        pytest.param(run(steps=(call(tokens=(4, 1)),)), (4, 1), id="only a call tells"),
        pytest.param(run(steps=(call(tokens=(4, 1)),), usage=tokens_of(99, 99)), (4, 1), id="calls win"),
        pytest.param(
            run(steps=(sub_agent(run(steps=(call(tokens=(2, 2)),), usage=tokens_of(2, 2))),), usage=tokens_of(2, 2)),
            (2, 2),
            id="a call of a sub-agent, reported on three levels",
        ),
        pytest.param(
            run(steps=(call(tokens=(1, 1)), sub_agent(run(usage=tokens_of(5, 5)))), usage=tokens_of(6, 6)),
            (6, 6),
            id="a sub-agent that tells only its sum",
        ),
        pytest.param(run(steps=(sub_agent(run(usage=tokens_of(5, 5))),)), (5, 5), id="only the sub-agent has them"),
        pytest.param(
            run(steps=(sub_agent(run(usage=tokens_of(5, 5))),), usage=tokens_of(8, 8)),
            (8, 8),
            id="two runs have them, no call does",
        ),
        pytest.param(
            run(steps=(call(tokens=(4, 1), step_id="w"), call(tokens=(4, 1), step_id="c", parent_step_id="w"))),
            (4, 1),
            id="a call that wraps a call",
        ),
        pytest.param(
            run(
                steps=(
                    call(tokens=(7, 3), step_id=1),
                    AgentStep(kind=StepKind.OTHER, step_id=2, parent_step_id=1),
                    call(tokens=(4, 1), step_id=3, parent_step_id=2),
                    call(tokens=(3, 2), step_id=4, parent_step_id=2),
                )
            ),
            (7, 3),
            id="a call that wraps two through a step of another kind",
        ),
        pytest.param(
            run(steps=(call(tokens=(4, 1), step_id=1), call(step_id=2, parent_step_id=1))),
            (4, 1),
            id="a wrapper whose call tells nothing",
        ),
        pytest.param(
            run(steps=(call(step_id=1), call(tokens=(4, 1), step_id=1, parent_step_id=1))), (4, 1), id="its own parent"
        ),
        pytest.param(run(steps=(call(),), usage=Usage(details={"x": 1})), (0, 0), id="a usage of nothing but details"),
    ],
)
def test_tokens_count_once(measured: AgentRun, expected: tuple[int, int]) -> None:
    """The innermost calls count, and a run's own figure only where they say nothing."""
    tokens = compute_metrics([measured]).tokens
    assert (tokens.input_tokens, tokens.output_tokens, tokens.total_tokens) == (*expected, sum(expected))


def test_models_and_total_agree_where_calls_tell() -> None:
    """The tokens by model sum up to the total, wrappers and sub-agents included."""
    below = run(steps=(call("b", (10, 20)),), usage=tokens_of(10, 20))
    steps = (call("a", (4, 1), step_id=1), call("c", (4, 1), step_id=2, parent_step_id=1), sub_agent(below))
    report = compute_metrics([run(steps=steps, usage=tokens_of(14, 21))] * 3)
    assert sum(model.tokens.total_tokens for model in report.models.values()) == report.tokens.total_tokens == 105
    assert report.models["a"].tokens.total_tokens == 0


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_errors_of_runs_and_steps_are_kept_apart() -> None:
    """Categories count runs and steps of every kind on their own; abandoned steps are no errors."""
    slow, limit = StepError(type="T", category="timeout"), StepError(type="R", category="rate_limit")
    steps = (
        tool(error=limit),
        call(error=limit),
        AgentStep(kind=StepKind.RETRIEVAL, error=slow),
        tool(error=slow, abandoned=True),
    )
    report = compute_metrics([run(RunStatus.ERROR, error=slow, steps=steps), run(RunStatus.ERROR, error=limit)])
    assert report.run_errors == {"timeout": 1, "rate_limit": 1}
    assert list(report.step_errors.items()) == [("rate_limit", 2), ("timeout", 1)]


def test_failed_runs_without_an_error_have_a_category() -> None:
    """The status tells the category where the error is missing; success and running tell none."""
    report = compute_metrics(run(status) for status in RunStatus)
    assert report.run_errors == {"timeout": 1, "other": 1}
    assert report.error_messages == ()


def test_the_failure_of_a_sub_agent_is_one_step_error() -> None:
    """It counts once, whether its step repeats it or not, and never as an outermost run's."""
    failed = StepError(type="E", message="no", category="internal")
    below = run(RunStatus.ERROR, error=failed)
    for step in (sub_agent(below), sub_agent(below, error=failed)):
        report = compute_metrics([run(steps=(step,))])
        assert (report.step_errors, report.run_errors) == ({"internal": 1}, {})


def test_error_messages_are_grouped_by_type_and_message() -> None:
    """Messages that differ in ids only are one, the most frequent comes first, runs and steps are kept apart."""

    def failed(type_: str, message: str) -> StepError:
        return StepError(type=type_, message=message)

    steps = (
        tool(error=failed("E", "order 12345 of\n 0x7f3a is lost")),
        tool(error=failed("E", "order 99999 of 0xdead is lost")),
        tool(error=failed("F", "order 99999 of 0xdead is lost")),
    )
    report = compute_metrics([run(RunStatus.ERROR, error=failed("E", "order 55555 of 0x0 is lost"), steps=steps)])
    first, second = report.error_messages
    assert (first.type, first.message, first.count, first.runs, first.steps) == ("E", "order # of # is lost", 3, 1, 2)
    assert (second.type, second.count) == ("F", 1)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("HTTP 503 after 30 s in line 12", "HTTP 503 after 30 s in line 12"),
        ("run 0190d3f2-8c1e-7abc-9def-0123456789ab failed", "run # failed"),
        ("trace 4bf92f3577b34da6a3ce929d0e0e4736", "trace #"),
        ("the facade defaced", "the facade defaced"),
        ("  a\n\tb  ", "a b"),
        ("x" * 5000, "x" * 200),
        ("", ""),
    ],
)
def test_messages_lose_what_varies(message: str, expected: str) -> None:
    """Ids, long numbers and white space go, short numbers and words stay."""
    assert normalised(message) == expected


def test_too_many_messages_of_one_type_are_grouped_by_their_beginnings() -> None:
    """No occurrence is lost, frequent messages stay apart, and other types keep their wording."""

    def errors() -> Iterator[AgentStep]:
        for number in range(500):
            text = "could not read the file named " + chr(0x4E00 + number) * 30
            yield tool(error=StepError(type="IOError", message=text))
            yield tool(error=StepError(type="IOError", message="disk full"))
        yield tool(error=StepError(type="KeyError", message="k" * 150))

    report = compute_metrics([run(steps=tuple(errors()))])
    read, full, key = report.error_messages
    assert (read.count, full.count, key.count) == (500, 500, 1)
    assert read.message == "could not read the file n…"
    assert (full.message, key.message) == ("disk full", "k" * 150)


def test_to_dict_says_how_many_messages_it_leaves_out() -> None:
    """The listed and the left-out occurrences are all there are."""
    steps = tuple(tool(error=StepError(type="E", message=f"m{number}")) for number in range(30))
    report = compute_metrics([run(steps=steps)])
    assert len(report.error_messages) == 30
    assert len(report.to_dict()["error_messages"]) == 20
    assert report.to_dict()["error_messages_left_out"] == 10
    data = report.to_dict(error_messages=3)
    assert (len(data["error_messages"]), data["error_messages_left_out"]) == (3, 27)


# ── time series ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_series_counts_by_bucket_of_the_start() -> None:
    """Each bucket has its statuses, latency and tokens; buckets without a run are left out."""
    runs = [
        run(seconds=1, started_at_ns=NOON, steps=(call(tokens=(3, 4)),)),
        run(RunStatus.ERROR, seconds=3, started_at_ns=NOON + 3599 * S),
        run(RunStatus.TIMEOUT, started_at_ns=NOON + 7200 * S),
        run(RunStatus.RUNNING, started_at_ns=NOON - 1),
    ]
    report = compute_metrics(reversed(runs), bucket="1h")
    before, first, third = report.series
    assert [bucket["start"] for bucket in report.to_dict()["series"]] == [
        "2025-03-05T11:00:00Z",
        "2025-03-05T12:00:00Z",
        "2025-03-05T14:00:00Z",
    ]
    assert (before.runs, before.running, before.success_rate, before.latency.p50_s) == (1, 1, None, None)
    assert (first.runs, first.success, first.errors, first.success_rate) == (2, 1, 1, 0.5)
    assert (first.latency.max_s, first.tokens.total_tokens) == (3.0, 7)
    assert first.latency.p50_s == pytest.approx(1.0, rel=0.01)
    assert (third.timeouts, third.start) == (1, datetime(2025, 3, 5, 14, tzinfo=timezone.utc))
    assert report.bucket_s == 3600.0


@pytest.mark.parametrize(
    ("bucket", "start"),
    [
        ("15m", "2025-03-05T12:30:00Z"),
        ("90s", "2025-03-05T12:34:30Z"),
        ("1h", "2025-03-05T12:00:00Z"),
        ("1d", "2025-03-05T00:00:00Z"),
        (" 1 w ", "2025-03-03T00:00:00Z"),
        (timedelta(minutes=15), "2025-03-05T12:30:00Z"),
        (timedelta(milliseconds=500), "2025-03-05T12:34:56.500000Z"),
    ],
)
def test_buckets_start_at_round_times(bucket: str | timedelta, start: str) -> None:
    """Hours start at the full hour, days at midnight UTC, weeks on Monday."""
    report = compute_metrics([run(started_at_ns=NOON + 2096 * S + 789_000_000)], bucket=bucket)
    assert report.to_dict()["series"][0]["start"] == start


@pytest.mark.parametrize("start", [-(10**18), -1, 0, 10**30])
def test_times_outside_the_calendar_break_nothing(start: int) -> None:
    """Times before 1970 and beyond the year 9999 have a bucket too."""
    report = compute_metrics([run(started_at_ns=start)], bucket="1d")
    assert report.series[0].runs == 1
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize("bucket", ["", "h", "1", "0h", "-1h", "1.5h", "1y", "٣h", 3600, timedelta(0), timedelta(-1)])
def test_a_bucket_that_cannot_be_meant_is_refused(bucket: Any) -> None:
    """The error names the bucket, before any run is read."""

    def never() -> Iterator[AgentRun]:
        pytest.fail("a run was read")
        yield run()

    with pytest.raises(ConfigurationError, match="bucket"):
        compute_metrics(never(), bucket=bucket)


# ── quantiles ────────────────────────────────────────────────────────────────────────────────────────────────────────

DISTRIBUTIONS = {
    "uniform": lambda rng: rng.uniform(0, 10),
    "lognormal": lambda rng: rng.lognormvariate(0, 3),
    "pareto": lambda rng: min(rng.paretovariate(0.7), 1e9),
    "exponential": lambda rng: rng.expovariate(100),
    "bimodal": lambda rng: rng.gauss(0.001, 0.0001) if rng.random() < 0.9 else rng.gauss(30, 5),
    "mostly zero": lambda rng: 0.0 if rng.random() < 0.6 else rng.random(),
    "nanoseconds": lambda rng: rng.randrange(1, 2000) / 1e9,
    "constant": lambda rng: 1.234,
}


def nearest_rank(ordered: list[int], percent: int) -> int:
    return ordered[max(math.ceil(Fraction(percent, 100) * len(ordered)) - 1, 0)]


@pytest.mark.parametrize("count", range(1, 63))
def test_percentiles_are_of_the_nearest_rank(count: int) -> None:
    """However few values there are, each percentile is that of the very rank, not of a neighbour's."""
    values = [2**index for index in range(count)] * 3
    distribution = Distribution()
    for value in values:
        distribution.add(value)
    for percent in range(101):
        exact = nearest_rank(sorted(values), percent)
        assert distribution.percentile(percent) == pytest.approx(exact, rel=0.01 + 1e-9, abs=0)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_quantiles_are_within_one_per_cent(name: str) -> None:
    """Each quantile is within 1 % of the exact one, on distributions of many shapes."""
    rng = random.Random(7)
    values = sorted(max(round(DISTRIBUTIONS[name](rng) * S), 0) for _ in range(4000))
    distribution = Distribution()
    for value in rng.sample(values, len(values)):
        distribution.add(value)
    for percent in (0, 1, 25, 50, 90, 95, 99, 100):
        assert distribution.percentile(percent) == pytest.approx(nearest_rank(values, percent), rel=0.01 + 1e-9, abs=0)
    assert (distribution.minimum, distribution.maximum, distribution.total) == (values[0], values[-1], sum(values))


def test_quantiles_of_one_value_are_that_value() -> None:
    """The extremes bound the estimate, so a single value is exact."""
    latency = compute_metrics([run(seconds=0.123456789)]).latency
    assert latency.p50_s == latency.p99_s == latency.min_s == latency.max_s == 0.123456789


@pytest.mark.parametrize("seconds", [1e9, 1e30])
def test_huge_durations_break_nothing(seconds: float) -> None:
    """What lies beyond 64 bits of nanoseconds is the greatest duration."""
    latency = compute_metrics([run(seconds=seconds)]).latency
    assert latency.max_s == pytest.approx(min(seconds, 2**63 / S))


# ── the report as a whole ────────────────────────────────────────────────────────────────────────────────────────────


def full_report() -> MetricsReport:
    failed = StepError(type="E\ud800", message="bad \ud800 text", category="own category")
    steps = (tool("\udfff"), tool(error=failed), call("m", (1, 2)), sub_agent(run(agent_name="below")))
    return compute_metrics(
        [run(steps=steps), run(RunStatus.ERROR, error=failed), run(RunStatus.RUNNING)], bucket=timedelta(hours=1)
    )


def test_to_dict_is_plain_json() -> None:
    """Everything comes back from JSON as it went in, and the error of the quantiles is stated."""
    data = full_report().to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["relative_accuracy"] == 0.01
    assert (data["runs"], data["success_rate"], data["bucket_s"]) == (3, 0.5, 3600.0)
    assert data["tools"]["search"]["latency"]["p95_s"] == pytest.approx(0.1)
    assert data["agents"]["below"]["nested_runs"] == 1


def test_every_public_figure_is_in_the_dictionary() -> None:
    """No property of the report is forgotten in `to_dict`."""
    report = full_report()
    public = {name for name in dir(report) if not name.startswith("_")} - {
        "to_dict",
        "to_pandas",
        "to_arrow",
        "outcomes",
        "sample",
        "interrupted",
    }
    assert public <= set(report.to_dict())


def test_a_report_cannot_be_changed() -> None:
    """Neither the report nor its parts take an assignment."""
    report = full_report()
    with pytest.raises(AttributeError):
        report.runs = 5  # type: ignore[misc]
    with pytest.raises(AttributeError):
        report.tools["search"].calls = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        report.tools["new"] = report.tools["search"]  # type: ignore[index]


def test_a_report_can_be_pickled() -> None:
    """Reports of several processes can be brought together, also after they were looked at."""
    report = full_report()
    assert report.to_dict()
    copy = pickle.loads(pickle.dumps(report))
    assert copy == report
    assert (copy + report).to_dict() == (report + report).to_dict()


def test_names_beyond_the_bound_count_together() -> None:
    """Tables stay bounded, and no call gets lost."""
    steps = tuple(tool(f"tool {number % 1500}") for number in range(3000))
    tools = compute_metrics([run(steps=steps)]).tools
    assert len(tools) == NAMES + 1
    assert tools["(other)"].calls == 1000
    assert {figures.calls for name, figures in tools.items() if name != "(other)"} == {2}


def test_the_series_keeps_the_newest_buckets() -> None:
    """Older runs count together in a first bucket without a start."""
    runs = (run(started_at_ns=NOON + number * S) for number in range(BUCKETS + 50))
    tally = compute_metrics(runs, bucket="1s")
    entries = dict(tally._strata.at(WHOLE).series.items())
    assert len(entries) == BUCKETS + 1
    assert entries[None].statuses["success"] == 50
    assert min(start for start in entries if start is not None) == NOON + 50 * S
    assert (compute_metrics([run()]) + compute_metrics([])).series == ()


def test_memory_does_not_grow_with_the_number_of_runs() -> None:
    """Ten times the runs, each with a message of its own, need the same memory."""

    def peak_bytes(count: int) -> int:
        runs = (
            run(RunStatus.ERROR, number % 50, error=StepError(type="E", message=f"m{number:x}"), steps=(tool(),))
            for number in range(count)
        )
        tracemalloc.start()
        try:
            assert compute_metrics(runs).runs == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(10)  # what is imported and cached once is no memory of the runs
    assert peak_bytes(5000) < 1.2 * peak_bytes(500)
