"""What runs cost: every call once, exactly, whichever way runs are summed."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import RunQuery, compute_metrics, load_runs, load_sessions
from otel_agent_trace.metrics import MetricsReport
from otel_agent_trace.model import AgentRun, AgentStep, Usage
from otel_agent_trace.prices import NO_COST, PICO_USD_PER_USD, Prices, run_cost
from otel_agent_trace.usage import counted_parts, usage_of
from otel_agent_trace.views.report import report_rows
from tests.support.backends import GivenRuns
from tests.support.model_calls import model_call, run_of, tool_call

DOLLAR: dict[str, Any] = {"m": {"input": 10**6, "output": 0}}
"""Prices at which a token of "m" costs a dollar."""


def call(tokens: int | None, number: int = 1, model: str = "m", within: int | None = None) -> AgentStep:
    usage: dict[str, Any] = {} if tokens is None else {"input_tokens": tokens}
    return model_call(model, None, number=number, within=within, **usage)


def usd(run: AgentRun) -> float | None:
    return run_cost(run, DOLLAR).usd


def test_each_call_counts_once() -> None:
    wrapped = run_of(call(5), call(5, 2, within=1), call(2, 3))
    assert usd(wrapped) == 7
    whole = run_of(call(3), usage=Usage(input_tokens=100))
    assert usd(whole) == 3


def test_a_run_that_reports_its_tokens_as_a_whole_is_priced_by_its_model() -> None:
    inner = run_of(run_id="b" * 32, usage=Usage(input_tokens=4), model="m")
    assert usd(inner) == 4
    assert usd(run_of(tool_call("helper", 1, run=inner))) == 4
    assert usd(run_of(tool_call("helper", 1, run=inner), usage=Usage(input_tokens=6), model="m")) == 6
    assert usd(run_of(tool_call("helper", 1, run=inner), call(1, 2))) == 5
    assert usd(run_of(call(None), usage=Usage(input_tokens=6), model="m")) == 6


def test_a_sum_over_calls_has_the_prices_of_small_calls() -> None:
    """Nobody knows whether a million tokens of Gemini were one call or many."""
    usage = Usage(input_tokens=10**6, output_tokens=0)
    attributes = {"gen_ai.provider.name": "gcp.gemini"}
    whole = run_cost(run_of(usage=usage, model="gemini-2.5-pro", attributes=attributes)).usd
    one = run_cost(run_of(model_call("gemini-2.5-pro", "gcp.gemini", input_tokens=10**6, output_tokens=0))).usd
    assert whole is not None
    assert one == 2 * whole


def test_what_has_no_price_is_listed_and_the_rest_is_summed() -> None:
    cost = run_cost(run_of(call(2), call(3, 2, "x"), call(4, 3, "x"), call(None, 4, "y")), DOLLAR)
    assert (cost.usd, cost.priced_calls, cost.unpriced, cost.unpriced_calls) == (2.0, 1, {"x": 2}, 2)
    nameless = run_cost(run_of(model_call(None, None, input_tokens=1)), DOLLAR)
    assert (nameless.usd, nameless.unpriced) == (None, {"unknown": 1})


@pytest.mark.parametrize("run", [run_of(), run_of(tool_call("t", 1)), run_of(call(None))])
def test_without_priced_calls_there_is_no_cost(run: AgentRun) -> None:
    """Nothing is known about what other work cost, so it is not 0."""
    assert run_cost(run, DOLLAR) == NO_COST
    assert NO_COST.usd is None
    assert compute_metrics([run], prices=DOLLAR).cost.total_usd is None


def test_calls_that_cost_nothing_are_priced() -> None:
    assert usd(run_of(call(0))) == 0.0
    assert compute_metrics([run_of(call(0))], prices=DOLLAR).to_dict()["cost"]["total_usd"] == 0.0


# ── reports ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_report_has_the_cost_of_everything_it_counts() -> None:
    helper = run_of(call(8), run_id="b" * 32, agent_name="helper")
    runs = [
        run_of(
            call(1),
            tool_call("ask", 2),
            call(2, 3, within=2),
            tool_call("helper", 4, within=2, run=helper),
            tool_call("ask", 5, within=2),
            call(4, 6, within=5),
            call(1, 7, "x"),
            user_id="ann",
            session_id="s",
        ),
        run_of(call(16), run_id="c" * 32, agent_name="other", user_id="bob"),
    ]
    report = compute_metrics(runs, prices=DOLLAR, bucket="1d", by=["user_id", "model", "session_id"])
    data = report.to_dict()
    assert data["cost"] == {
        "total_usd": 31.0,
        "total_interval_usd": None,
        "unpriced": [{"model": "x", "calls": 1}],
        "prices": [Prices.of(DOLLAR).version],
    }
    assert "cost_usd" not in data
    assert {name: model["cost_usd"] for name, model in data["models"].items()} == {"m": 31.0, "x": None}
    assert {name: tool["cost_usd"] for name, tool in data["tools"].items()} == {"ask": 14.0}
    assert {name: agent["cost_usd"] for name, agent in data["agents"].items()} == {
        "weather": 15.0,
        "other": 16.0,
        "helper": 8.0,  # it is part of what the outermost run costs, too
    }
    assert [bucket["cost_usd"] for bucket in data["series"]] == [31.0]
    by_user = {name: group["cost_usd"] for name, group in data["by"]["user_id"].items()}
    assert by_user == {"ann": 15.0, "bob": 16.0}
    assert data["by"]["session_id"]["s"]["cost_usd"] == data["by"]["model"]["x"]["cost_usd"] == 15.0


def test_added_reports_name_the_versions_of_their_prices() -> None:
    """In any order and grouping: the most used first. What was not priced has no version."""
    euro, dollar = ({"m": {"input": price, "output": 0}} for price in (1, 2))
    versions = [Prices.of(prices).version for prices in (euro, dollar)]
    one = compute_metrics([run_of(call(1))], prices=euro)
    two = compute_metrics([run_of(call(1), call(2, 2))], prices=dollar)
    nothing = compute_metrics([run_of(call(1, 1, "x")), run_of()], prices=DOLLAR)
    assert (one + nothing).cost.prices == one.cost.prices == (versions[0],)
    assert nothing.cost.prices == ()
    assert (one + two).cost.prices == (two + (nothing + one)).cost.prices == (versions[1], versions[0])
    assert (one + two).to_dict()["cost"]["prices"] == [versions[1], versions[0]]
    assert "by 2 versions of prices" in _cost_row(one + two)
    assert "versions" not in _cost_row(one + one)


def _cost_row(report: MetricsReport) -> str:
    (text,) = [row.text for row in report_rows(report) if row.label == "cost"]
    return text


def test_a_call_is_charged_once_to_each_agent_that_made_it() -> None:
    """An agent that runs itself, at once or through another one, pays once, outermost or not."""
    innermost = run_of(call(1), run_id="d" * 32, agent_name="helper")
    between = run_of(call(2), tool_call("helper", 2, run=innermost), run_id="c" * 32, agent_name="boss")
    helper = run_of(call(4), tool_call("boss", 2, run=between), run_id="b" * 32, agent_name="helper")
    boss = run_of(call(8), tool_call("helper", 2, run=helper), agent_name="boss")
    whole = run_of(run_id="e" * 32, agent_name="helper", usage=Usage(input_tokens=16), model="m")
    report = compute_metrics([boss, run_of(tool_call("helper", 1, run=whole), agent_name="boss")], prices=DOLLAR)
    assert {name: agent.cost_usd for name, agent in report.agents.items()} == {"boss": 31, "helper": 7 + 16}
    assert report.cost.total_usd == 31


def test_a_weighted_run_costs_as_much_as_the_runs_it_stands_for() -> None:
    kept = run_of(call(3), call(1, 2, "x"), sampling_probability=0.25)
    cost = compute_metrics([kept], prices=DOLLAR).cost
    assert cost.total_usd == 12
    margin = 1.959964 * (4 * 3 * 3**2) ** 0.5  # the root of w (w - 1) y**2
    assert cost.total_interval_usd == pytest.approx((3, 12 + margin), rel=1e-6)
    assert [(each.model, each.calls) for each in cost.unpriced] == [("x", 4)]


def test_what_was_kept_for_certain_belongs_to_the_interval_of_the_cost() -> None:
    """It moves both ends of the interval, and makes it no wider."""
    runs = [run_of(call(100)), run_of(call(50), sampling_probability=1.0)]
    sampled = [run_of(call(usd), run_id=str(usd), sampling_probability=0.5) for usd in range(1, 40)]
    alone, whole = (compute_metrics(those, prices=DOLLAR).cost for those in (sampled, [*sampled, *runs]))
    assert alone.total_interval_usd is not None
    assert whole.total_interval_usd == pytest.approx([bound + 150 for bound in alone.total_interval_usd])


_calls = st.builds(
    call,
    st.none() | st.integers(0, 10**7),
    st.integers(1, 6),
    st.sampled_from(["m", "n", "x"]),
    st.none() | st.integers(1, 6),
)
_tools = st.builds(tool_call, st.sampled_from(["a", "b"]), st.integers(1, 6), st.none() | st.integers(1, 6))
_steps = st.lists(_calls | _tools, max_size=6)
_usages = st.none() | st.builds(Usage, input_tokens=st.none() | st.integers(0, 10**6))


def _as_run(steps: list[AgentStep], usage: Usage | None, inner: list[AgentStep]) -> AgentRun:
    helper = tool_call("helper", 9, within=1, run=run_of(*inner, run_id="b" * 32))
    return run_of(*steps, *([helper] if inner else []), usage=usage, model="m")


runs_of_calls = st.builds(_as_run, _steps, _usages, _steps)
PENCE: dict[str, Any] = {"m": {"input": 0.1, "output": 0.3}, "n": {"input": 0.7, "output": 0.2}}


@given(st.lists(runs_of_calls, max_size=8), st.randoms())
def test_reports_of_costs_add_up_exactly(runs: list[AgentRun], order: random.Random) -> None:
    whole = compute_metrics(runs, prices=PENCE, by="model")
    parts = [compute_metrics([run], prices=PENCE, by="model") for run in runs]
    order.shuffle(parts)
    total = sum(parts, MetricsReport() + compute_metrics([], by="model"))
    assert total == whole
    mixed = [compute_metrics([run], prices=(PENCE, DOLLAR)[number % 2]) for number, run in enumerate(runs)]
    shuffled = order.sample(mixed, len(mixed))
    middle = order.randint(0, len(mixed))
    halves = (sum(part, MetricsReport()) for part in (shuffled[:middle], shuffled[middle:]))
    assert sum(halves, MetricsReport()) == sum(mixed, MetricsReport())
    costs = [run_cost(run, PENCE) for run in runs]
    pico = sum(cost.pico_usd for cost in costs)
    assert whole.cost.total_usd == (pico / PICO_USD_PER_USD if any(cost.priced_calls for cost in costs) else None)
    assert sum(each.calls for each in whole.cost.unpriced) == sum(cost.unpriced_calls for cost in costs)
    assert sum(costs, NO_COST) == sum(reversed(costs), NO_COST)


@given(runs_of_calls)
def test_the_priced_calls_are_those_whose_tokens_count(run: AgentRun) -> None:
    assert sum(counted.part.usage.input_tokens or 0 for counted in counted_parts(run) if counted.part.usage) == (
        usage_of(run).input_tokens or 0
    )


# ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────────────

RUNS = [
    run_of(call(tokens), run_id=f"{number:032x}", started_at_ns=10**18 + number, session_id=session)
    for number, (tokens, session) in enumerate([(3, "s"), (None, "t"), (7, "t"), (1, "u"), (3, "s")])
]


def test_runs_are_sorted_by_cost_the_highest_first() -> None:
    source = GivenRuns(*RUNS)
    found = load_runs(source, sort="cost", prices=DOLLAR)
    assert [usd(run) for run in found] == [7, 3, 3, 1, None]
    assert [run.run_id[-1] for run in found] == ["2", "4", "0", "3", "1"]
    first = load_runs(source, RunQuery(sort="cost", prices=DOLLAR, limit=2))
    assert [run.run_id[-1] for run in first] == ["2", "4"]


def test_sessions_cost_what_their_runs_do() -> None:
    source = GivenRuns(*RUNS)
    by_cost = load_sessions(source, sort="cost", prices=DOLLAR)
    assert [(each.session_id, each.cost and each.cost.usd) for each in by_cost] == [("t", 7), ("s", 6), ("u", 1)]
    assert [each.to_dict()["cost_usd"] for each in by_cost] == [7, 6, 1]
    assert {each.cost for each in load_sessions(source)} == {None}
