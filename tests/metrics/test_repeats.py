"""Loops, retries, tool errors in spite of success, first chunks and tokens per second."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_agent_trace.metrics import Latency, compute_metrics
from otel_agent_trace.model import AgentRun, AgentStep, Message, RunStatus, StepError, StepKind, Usage
from otel_agent_trace.values import encode_text

S = 1_000_000_000
FAILED = StepError(type="TimeoutError")


def tool(given: Any, second: int = 0, *, name: str = "search", **fields: Any) -> AgentStep:
    return AgentStep(name=name, input=given, started_at_ns=second * S, ended_at_ns=second * S + S // 2, **fields)


def call(question: str | None, second: int = 0, *, answer: str | None = None, **fields: Any) -> AgentStep:
    texts = [("user", question), ("assistant", answer)]
    messages = tuple(
        Message(role=role, parts=({"type": "text", "content": text},)) for role, text in texts if text is not None
    )
    times = {"started_at_ns": second * S, "ended_at_ns": second * S + S // 2}
    return AgentStep(kind=StepKind.MODEL, model="m", messages=messages, **{**times, **fields})


def run(*steps: AgentStep, status: RunStatus = RunStatus.SUCCESS, **fields: Any) -> AgentRun:
    return AgentRun(run_id="r", status=status, started_at_ns=0, ended_at_ns=9 * S, steps=steps, **fields)


def below(*steps: AgentStep) -> AgentStep:
    return AgentStep(kind=StepKind.AGENT, name="sub", run=run(*steps))


# ── loops ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_call_three_times_is_a_loop() -> None:
    """Each run with a loop counts once, for itself and for each tool that looped in it."""
    looping = run(*[tool({"q": "rain"}, n) for n in range(5)], *[tool({"x": 1}, n, name="add") for n in range(3)])
    report = compute_metrics([looping, run(tool({"q": "rain"})), looping], by="user")
    assert (report.loops, report.tools["search"].loops, report.tools["add"].loops) == (2, 2, 2)
    assert report.agents["unknown"].loops == report.by["user"]["(none)"].loops == 2


@pytest.mark.parametrize(
    "steps",
    [
        [tool({"q": "a"}), tool({"q": "a"}), tool({"q": "b"})],
        [tool({"q": "a"}), tool({"q": "a"}), tool({"q": "a"}, name="other")],
        [tool(None), tool(None), tool(None)],
        [tool({"q": 1}), tool({"q": True}), tool({"q": "1"})],
        [call("rain?"), call("rain?"), call("rain?")],
    ],
    ids=["two inputs", "two tools", "no input", "types", "models"],
)
def test_what_is_no_loop(steps: list[AgentStep]) -> None:
    """Only calls of one tool with one known input make a loop."""
    assert compute_metrics([run(*steps)]).loops == 0


def test_a_loop_may_go_through_sub_agents_but_not_through_runs() -> None:
    """The calls of an outermost run and of all below it count together."""
    once = tool({"q": "rain"})
    assert compute_metrics([run(once, below(once, below(once)))]).loops == 1
    assert compute_metrics([run(once), run(once), run(once)]).loops == 0


# ── retries ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_call_after_the_same_one_failed_is_a_retry() -> None:
    """The last attempt before it counts: a call after one that went well is none."""
    steps = [tool({"q": "rain"}, 0, error=FAILED), tool({"q": "rain"}, 1, error=FAILED), tool({"q": "rain"}, 2)]
    report = compute_metrics([run(*reversed(steps), tool({"q": "rain"}, 3), tool({"q": "snow"}, 4))])
    assert (report.retries, report.tools["search"].retries) == (2, 2)


def test_models_are_called_again_with_what_they_were_sent() -> None:
    """The answer is no part of what was sent, and other messages are another call."""
    steps = [call("rain?", 0, error=FAILED), call("rain?", 1, answer="no"), call("snow?", 2)]
    report = compute_metrics([run(*steps)])
    assert (report.retries, report.models["m"].retries, report.loops) == (1, 1, 0)


@pytest.mark.parametrize(
    "steps",
    [
        [tool({"q": "rain"}, 0, error=FAILED), tool({"q": "snow"}, 1)],
        [tool({"q": "rain"}, 0, error=FAILED), tool({"q": "rain"}, 1, name="other")],
        [tool({"q": "rain"}, 0, error=FAILED), tool({"q": "rain"}, 0)],
        [tool(None, 0, error=FAILED), tool(None, 1)],
        [tool({"q": "rain"}, 0, error=FAILED, abandoned=True), tool({"q": "rain"}, 1)],
        [call(None, 0, error=FAILED), call(None, 1)],
        [tool({"q": "rain"}, 0), tool({"q": "rain"}, 1)],
    ],
    ids=["other input", "other tool", "at the same time", "no input", "abandoned", "no messages", "no failure"],
)
def test_what_is_no_retry(steps: list[AgentStep]) -> None:
    """A retry is the same call, and begins after the failure."""
    assert compute_metrics([run(*steps)]).retries == 0


QUERY = """
WITH calls AS (
    SELECT *, count(*) OVER (PARTITION BY run, tool, input) AS same,
        lag(failed) OVER attempts AND lag(ended) OVER attempts <= started AS is_retry
    FROM steps WHERE input IS NOT NULL
    WINDOW attempts AS (PARTITION BY run, tool, input ORDER BY started, ended, failed)
)
SELECT count(DISTINCT run) FILTER (WHERE same >= 3), count(*) FILTER (WHERE is_retry) FROM calls
"""
attempts = st.builds(
    tool,
    st.none() | st.sampled_from([{"q": "rain"}, {"q": "snow"}, "rain"]),
    st.integers(0, 4),
    name=st.sampled_from("ab"),
    error=st.sampled_from([None, FAILED]),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(attempts, max_size=8), min_size=1, max_size=3))
def test_window_functions_of_sql_count_the_same(runs: list[list[AgentStep]]) -> None:
    """Loops and retries are what a query over (run, tool, text of the input) finds."""
    rows = [
        (
            number,
            step.name,
            step.input if step.input is None or isinstance(step.input, str) else encode_text(step.input).text,
            step.started_at_ns,
            step.ended_at_ns,
            step.error is not None,
        )
        for number, steps in enumerate(runs)
        for step in steps
    ]
    report = compute_metrics([run(*steps) for steps in runs])
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE steps (run INT, tool TEXT, input TEXT, started LONG, ended LONG, failed BOOL)")
        if rows:
            connection.executemany("INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?)", rows)
        assert connection.execute(QUERY).fetchone() == (report.loops, report.retries)


# ── success in spite of errors ───────────────────────────────────────────────────────────────────────────────────────


def test_runs_that_succeed_although_a_tool_failed() -> None:
    """A tool of a sub-agent counts too; a failed run, and a failed model, do not."""
    bad = tool({"q": 1}, error=FAILED)
    runs = [
        run(bad, bad),
        run(below(bad)),
        run(bad, status=RunStatus.ERROR),
        run(call("rain?", error=FAILED)),
        run(tool({"q": 1})),
    ]
    assert compute_metrics(runs).success_with_tool_errors == 2


# ── chunks and tokens ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_chunk_of_models_and_runs() -> None:
    """Times count from the start of the call, or of the run, where something was streamed."""
    steps = [call("rain?", 2, first_chunk_at_ns=2 * S + S // 4), call("rain?", 3)]
    report = compute_metrics([run(*steps, first_chunk_at_ns=4 * S), run()], bucket="1h")
    assert (report.models["m"].first_chunk.count, report.models["m"].first_chunk.max_s) == (1, 0.25)
    assert (report.first_chunk.count, report.first_chunk.min_s) == (1, 4.0)
    assert report.series[0].first_chunk == report.first_chunk
    assert compute_metrics([run()]).first_chunk == Latency()


def test_tokens_per_second_are_of_completed_calls_with_output() -> None:
    """Calls without an end or without output tokens change nothing, and calls that took no time give no figure."""
    output = Usage(input_tokens=7, output_tokens=30)
    steps = [
        call("a", 0, usage=output),
        call("b", 1, usage=output),
        call("c", 2, usage=output, ended_at_ns=None),
        call("d", 3, usage=output, abandoned=True),
        call("e", 4, usage=Usage(input_tokens=7)),
    ]
    assert compute_metrics([run(*steps)]).models["m"].tokens_per_s == 60.0
    assert compute_metrics([run(call("a", usage=output, ended_at_ns=0))]).models["m"].tokens_per_s is None


def test_the_share_of_cached_input() -> None:
    """Cached tokens are part of the input; without input there is no share."""
    usage = Usage(input_tokens=80, cache_read_input_tokens=20)
    report = compute_metrics([run(call("a", usage=usage), call("b", usage=usage))])
    assert report.tokens.cache_hit_share == report.models["m"].tokens.cache_hit_share == 0.25
    assert compute_metrics([run()]).tokens.cache_hit_share is None


# ── groups ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_groups_by_provider_tool_version_user_and_session() -> None:
    """A run counts once in each of its groups, also for what its sub-agents called."""
    steps = [tool(1), tool(2), below(tool(3, name="add"), call("a", attributes={"gen_ai.provider.name": "acme"}))]
    made = run(*steps, user_id="ann", session_id="s", resource={"service.version": "1.2"})
    older = run(call("a", attributes={"gen_ai.system": "openai"}), call("b"))
    by = compute_metrics([made, made, older], by=["tool", "provider", "version", "user", "session", "user_id"]).by
    assert {key: {name: group.runs for name, group in groups.items()} for key, groups in by.items()} == {
        "tool": {"add": 2, "search": 2, "(none)": 1},
        "provider": {"acme": 2, "(none)": 1, "openai": 1},
        "version": {"1.2": 2, "(none)": 1},
        "user": {"ann": 2, "(none)": 1},
        "session": {"s": 2, "(none)": 1},
        "user_id": {"ann": 2, "(none)": 1},
    }
