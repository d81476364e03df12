"""Reports add up exactly, whichever way they are grouped."""

from __future__ import annotations

import itertools
import json
import random
from datetime import timedelta
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.metrics import MetricsReport, compute_metrics, error_messages, strata, tally
from otel_agent_trace.metrics.error_messages import Occurrences, Texts
from otel_agent_trace.metrics.sketch import Distribution
from otel_agent_trace.metrics.table import Table
from otel_agent_trace.model import TOKEN_FIELDS, AgentRun, AgentStep, RunStatus, Score, StepError, StepKind, Usage

HOUR = 3600 * 1_000_000_000

names = st.sampled_from(["a", "b", "c", "(other)", "unknown", ""])
times = st.integers(0, 30 * HOUR)
ends = st.none() | st.integers(-HOUR, 40 * HOUR)
counts = st.none() | st.integers(0, 10**6)
usages = st.none() | st.builds(Usage, **dict.fromkeys(TOKEN_FIELDS, counts))
errors = st.none() | st.builds(StepError, type=names, message=st.text(max_size=30), category=names)
scores = st.lists(
    st.builds(
        Score,
        name=names,
        value=st.none() | st.booleans() | st.integers(-3, 3) | st.floats(),
        label=st.none() | names,
        source=st.none() | names,
    ),
    max_size=3,
).map(tuple)
keys = st.none() | st.sampled_from(["agent", "model", "tag", "prompt_version", "score:a", "score:b"])
plain_steps = st.builds(
    AgentStep,
    step_id=st.integers(0, 5),
    parent_step_id=st.none() | st.integers(0, 5),
    kind=st.sampled_from(StepKind),
    name=names,
    model=names,
    error=errors,
    usage=usages,
    abandoned=st.booleans(),
    interrupted_for=st.none() | st.just("x"),
    scores=scores,
    prompt_version=st.none() | names,
    started_at_ns=times,
    ended_at_ns=ends,
)


def runs_of(steps: st.SearchStrategy[AgentStep]) -> st.SearchStrategy[AgentRun]:
    return st.builds(
        AgentRun,
        run_id=st.just("r"),
        agent_name=names,
        status=st.sampled_from(RunStatus),
        error=errors,
        usage=usages,
        scores=scores,
        tags=st.lists(names, max_size=3).map(tuple),
        started_at_ns=times,
        ended_at_ns=ends,
        sampling_probability=st.none() | st.sampled_from([1.0, 0.5, 0.3, 0.1, 0.01, -1.0]),
        steps=st.lists(steps, max_size=3).map(tuple),
    )


sub_agents = st.builds(AgentStep, kind=st.just(StepKind.AGENT), run=runs_of(plain_steps), error=errors)
runs = st.lists(runs_of(plain_steps | sub_agents), max_size=5)


def same(one: MetricsReport, other: MetricsReport) -> None:
    assert one == other
    assert json.dumps(one.to_dict(), allow_nan=False) == json.dumps(other.to_dict(), allow_nan=False)


@pytest.fixture(autouse=True, scope="module")
def tight_bounds():
    """Bounds so tight that ordinary examples exceed them, in every test of this module."""
    tight = lambda *args, limit, **named: Table(*args, limit=2, **named)
    with (
        mock.patch.object(tally, "Table", tight),
        mock.patch.object(error_messages, "MESSAGES_PER_TYPE", 2),
        mock.patch.object(strata, "EXACT_WEIGHTS", 2),
    ):
        yield


@settings(max_examples=25, deadline=None)
@given(runs, runs, runs, keys)
def test_adding_is_associative(one: list[AgentRun], two: list[AgentRun], three: list[AgentRun], by: str | None) -> None:
    """(a + b) + c is a + (b + c), bit for bit, beyond all bounds of the tables."""
    a, b, c = (compute_metrics(part, bucket="1h", by=by) for part in (one, two, three))
    same((a + b) + c, a + (b + c))


@settings(max_examples=25, deadline=None)
@given(runs, runs, keys)
def test_adding_is_commutative_and_changes_no_operand(one: list[AgentRun], two: list[AgentRun], by: str | None) -> None:
    """a + b is b + a, and both are afterwards what they were."""
    a, b = compute_metrics(one, by=by), compute_metrics(two, by=by)
    same(a + b, b + a)
    same(a, compute_metrics(one, by=by))
    same(b, compute_metrics(two, by=by))


@settings(max_examples=25, deadline=None)
@given(runs)
def test_the_empty_report_is_neutral(some: list[AgentRun]) -> None:
    """Adding nothing changes nothing, with buckets or without, also as the start of a sum."""
    a, bucketed = compute_metrics(some), compute_metrics(some, bucket="1h")
    same(a + MetricsReport(), a)
    same(MetricsReport() + a, a)
    same(bucketed + compute_metrics([], bucket="1h"), bucketed)
    same(sum([bucketed], MetricsReport()), bucketed)


@settings(max_examples=25, deadline=None)
@given(runs, runs, keys, st.randoms(use_true_random=False))
def test_a_split_anywhere_is_the_whole(
    one: list[AgentRun], two: list[AgentRun], by: str | None, rng: random.Random
) -> None:
    """Runs that are counted in parts and in another order give the report of the whole."""
    whole = [*one, *two]
    shuffled = rng.sample(whole, len(whole))
    parts = [compute_metrics(part, bucket="1h", by=by) for part in (one, two, shuffled)]
    same(parts[0] + parts[1], parts[2])


def test_the_bounds_are_tight_in_these_tests() -> None:
    """The examples do reach the bounds that they are to prove harmless."""
    steps = tuple(
        AgentStep(name=name, error=StepError(type="a", message=message)) for name, message in zip("abcd", "wxyz")
    )
    made = [AgentRun(run_id="r", started_at_ns=number * HOUR, steps=steps) for number in range(5)]
    report = compute_metrics(made, bucket="1h")
    assert len(report.tools) == 3
    assert report.tools["(other)"].calls == 10
    assert [bucket.runs for bucket in report.series] == [3, 1, 1]
    assert report.series[0].start is None
    assert [message.count for message in report.error_messages] == [20]


@pytest.mark.parametrize("tags", list(itertools.permutations("abcd")), ids="".join)
def test_no_group_of_a_run_drives_out_another_uncounted(tags: tuple[str, ...]) -> None:
    """Groups that find no room in the table count together, in whichever order a run is in them."""
    made = AgentRun(run_id="r", tags=tags, scores=(Score(name="a", value=1),))
    groups = compute_metrics([made, made], by="tag").groups
    assert {name: group.runs for name, group in groups.items() if name != "(other)"} == dict.fromkeys(
        set(groups) - {"(other)"}, 2
    )
    assert sum(group.runs for group in groups.values()) == 8
    assert sum(group.scores["a"].count for group in groups.values()) == 8


@pytest.mark.parametrize(("one", "other"), [("1h", "15m"), ("1h", None), (None, "1h")])
def test_different_buckets_cannot_be_added(one: str | None, other: str | None) -> None:
    """The error is a ValueError that names both widths."""
    made = [AgentRun(run_id="r")]
    with pytest.raises(ConfigurationError, match="buckets of 3600 s") as caught:
        compute_metrics(made, bucket=one) + compute_metrics(made, bucket=other)
    assert isinstance(caught.value, ValueError)


def test_equal_buckets_can_be_given_in_any_form() -> None:
    """60 minutes are an hour."""
    made = [AgentRun(run_id="r")]
    total = (
        compute_metrics(made, bucket="60m")
        + compute_metrics(made, bucket="1h")
        + compute_metrics(made, bucket=timedelta(hours=1))
    )
    assert [bucket.runs for bucket in total.series] == [3]


def test_only_reports_can_be_added() -> None:
    """Anything else is a type error."""
    with pytest.raises(TypeError):
        MetricsReport() + 1  # type: ignore[operator]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-5, 2**70)), st.lists(st.integers(0, 10**12)), st.lists(st.integers(0, 1000)))
def test_merging_distributions_is_exact(one: list[int], two: list[int], three: list[int]) -> None:
    """Every grouping gives the distribution of all values, with equal quantiles, and shares nothing."""

    def of(*parts: list[int]) -> Distribution:
        made = Distribution()
        for part in parts:
            for value in part:
                made.add(value)
        return made

    left, right, tail = of(one), of(three), of(two)
    left.absorb(tail)
    left.absorb(right)
    tail.absorb(right)
    assert tail == of(two, three)
    tail.absorb(of(one))
    assert left == tail == of(two, one, three)
    assert [left.percentile(p) for p in range(101)] == [tail.percentile(p) for p in range(101)]
    assert right == of(three)
    right.add(1)
    assert left == of(one, two, three)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text("ab", max_size=12), st.booleans()), max_size=40))
def test_cutting_messages_depends_on_no_order(messages: list[tuple[str, bool]]) -> None:
    """Two halves, divided in any way, give the texts, the width and the counts of the whole."""
    whole, halves = Texts(), (Texts(), Texts())
    for text, half in messages:
        whole.count(text, Occurrences(steps=1))
        halves[half].count(text, Occurrences(steps=1))
    for one, other in (halves, halves[::-1]):
        total = Texts()
        total.absorb(one)
        total.absorb(other)
        assert total == whole
    assert len(whole.by_text) <= 2
    assert sum(seen.steps for seen in whole.by_text.values()) == len(messages)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9)))
def test_a_table_keeps_the_lowest_ranks(keys: list[int]) -> None:
    """The figures of what is kept are complete, and the rest is what is left of the total."""
    table: Table[int, Occurrences] = Table(Occurrences, rank=lambda key: key, limit=3, rest=-1)
    for key in keys:
        table.at(key).runs += 1
    kept = sorted(set(keys))[:3]
    expected = {key: keys.count(key) for key in kept}
    left = len(keys) - sum(expected.values())
    if left:
        expected[-1] = left
    assert {key: entry.runs for key, entry in table.items()} == expected
