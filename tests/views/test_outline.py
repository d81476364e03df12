"""The outline of a run: columns from which a page draws its tree and its time axis."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given

from otel_agent_trace import AgentRun, RunStatus, StepError, StepKind, Usage
from otel_agent_trace.prices import Prices, run_cost
from otel_agent_trace.views.call_figures import UNPRICED, call_figures
from otel_agent_trace.views.head import head_of
from otel_agent_trace.views.items import RunItems
from otel_agent_trace.views.outline import KINDS, STATUSES, outline_of
from tests.support.long_runs import BEGAN_NS, STEP_NS, failed, long_run, nested_run, run_of, step
from tests.support.run_strategies import agent_runs

PRICES = {"m": {"input": 1, "output": 2}}
NO = StepError(type="ValueError", message="no")
STOPPED = {"status": RunStatus.RUNNING, "ended_at_ns": None}


def columns(run: AgentRun, prices: Any = None) -> dict[str, list[Any]]:
    return outline_of(run, prices)["columns"]


def statuses(run: AgentRun) -> list[str]:
    return [STATUSES[code] for code in columns(run)["status"]]


def test_columns_have_an_entry_for_each_item() -> None:
    inner = run_of((step(1, name="fetch"),), run_id="inner", agent_name="helper")
    agent = step(1, kind=StepKind.AGENT, name="", run=inner)
    outline = outline_of(run_of((step(0), agent, failed(2, NO))), ids=True, revision="7")
    assert outline["columns"] == {
        "depth": [0, 1, 1, 2, 1],
        "kind": [KINDS.index(kind) for kind in ("agent", "tool", "agent", "tool", "tool")],
        "name": [0, 1, 2, 3, 1],
        "start_us": [0, 0, 10_000, 10_000, 20_000],
        "duration_us": [35_000, 5_000, 5_000, 5_000, 5_000],
        "status": [0, 0, 0, 0, 1],
        "tokens": [0] * 5,
        "cost_nano_usd": [0] * 5,
        "ids": [None, f"{1:016x}", f"{2:016x}", f"{2:016x}", f"{3:016x}"],
    }
    assert (outline["names"], outline["kinds"]) == (["weather", "search", "helper", "fetch"], [*KINDS])
    assert (outline["run_id"], outline["revision"], outline["started_at_ns"]) == ("r", "7", str(BEGAN_NS))
    assert (outline["is_running"], outline["cause"], outline["selected"]) == (False, None, None)


def test_statuses() -> None:
    slow = StepError(type="TimeoutError", category="timeout")
    paused, abandoned = step(3, interrupted_for="approval"), failed(4, NO, abandoned=True)
    steps = (step(0), failed(1, NO), failed(2, slow), paused, abandoned, step(5, ended_at_ns=None))
    found = ["ok", "error", "timeout", "paused", "ok"]
    assert statuses(run_of(steps, **STOPPED)) == ["running", *found, "running"]
    assert statuses(run_of(steps, **STOPPED, interrupted=True)) == ["interrupted", *found, "interrupted"]
    assert statuses(run_of(steps, status=RunStatus.ERROR, error=NO)) == ["error", *found, "interrupted"]
    assert statuses(run_of(steps, status=RunStatus.TIMEOUT)) == ["timeout", *found, "interrupted"]
    assert statuses(run_of((), interrupted_for="approval")) == ["paused"]
    assert columns(run_of((step(0, ended_at_ns=None),), **STOPPED))["duration_us"] == [-1, -1]


def test_a_sub_agent_has_the_status_of_its_run() -> None:
    inner = run_of((failed(0, NO),), status=RunStatus.ERROR, error=NO)
    assert statuses(run_of((step(0, kind=StepKind.AGENT, run=inner),))) == ["ok", "error", "error"]


def test_a_clock_that_runs_back_gives_no_negative_duration() -> None:
    early = step(0, started_at_ns=BEGAN_NS - STEP_NS, ended_at_ns=BEGAN_NS - 2 * STEP_NS)
    found = columns(run_of((early,)))
    assert (found["start_us"][1], found["duration_us"][1]) == (-10_000, 0)


# ── tokens and costs ─────────────────────────────────────────────────────────────────────────────────────────────────


def call(index: int, tokens: int | None, model: str = "m", **facts: Any) -> Any:
    usage = None if tokens is None else Usage(input_tokens=tokens)
    return step(index, kind=StepKind.MODEL, model=model, usage=usage, **facts)


def test_steps_have_the_tokens_and_the_cost_of_what_is_below_them() -> None:
    around = step(0, kind=StepKind.OTHER, name="node")
    steps = (around, call(1, 1000, parent_step_id=1), call(2, 20, "unknown", parent_step_id=1), call(3, None), step(4))
    found = columns(run_of(steps), Prices.of(PRICES))
    assert found["tokens"] == [1020, 1020, 1000, 20, 0, 0]
    assert found["cost_nano_usd"] == [1_000_000, 1_000_000, 1_000_000, UNPRICED, 0, 0]


def test_a_call_around_another_counts_once() -> None:
    steps = (call(0, 1000), call(1, 999, parent_step_id=1))
    assert columns(run_of(steps))["tokens"] == [999, 999, 999]


def test_a_sub_agent_that_reports_a_sum_has_that() -> None:
    inner = run_of((step(1),), usage=Usage(input_tokens=7), model="m")
    run = run_of((step(1, kind=StepKind.AGENT, run=inner), call(2, 5)))
    found = outline_of(run, Prices.of(PRICES))
    assert found["columns"]["tokens"] == [12, 7, 0, 5]
    assert (found["head"]["tokens"], found["head"]["cost_usd"]) == (12, pytest.approx(12e-6))


def test_without_prices_no_cost_is_known() -> None:
    head = outline_of(run_of((call(0, 5),)))["head"]
    assert (head["cost_usd"], head["cost_text"]) == (None, "-")


@given(agent_runs())
def test_the_cost_is_that_of_lists_and_reports(run: AgentRun) -> None:
    prices = {"gpt": {"input": 3, "output": 4}}
    assert call_figures(RunItems(run), Prices.of(prices)).cost == run_cost(run, prices)


# ── the head ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_head_of_a_failed_run() -> None:
    run = run_of(
        (failed(0, NO), call(1, 12_345)),
        user_input="Will it rain?\nIn Oslo?",
        status=RunStatus.ERROR,
        error=NO,
        usage=Usage(input_tokens=12_000, output_tokens=345),
        resource={"service.name": "api"},
        truncated=(".user_input",),
        redacted=("metadata.key",),
    )
    head = outline_of(run, command="replay it")["head"]
    assert (head["status"], head["agent"], head["question"]) == ("error", "weather", "Will it rain?\nIn Oslo?")
    assert (head["answer"], head["error"], head["steps"], head["errors"]) == (None, "ValueError: no", 2, 1)
    assert (head["tokens_text"], head["input_tokens"], head["output_tokens"]) == ("12.3k", 12_000, 345)
    assert (head["started_at"], head["when_text"]) == ("2026-11-23T23:03:20+00:00", "2026-11-23 23:03:20")
    assert (head["duration_s"], head["duration_text"], head["service_name"]) == (0.025, "25ms", "api")
    assert (head["cut"], head["masked"], head["command"]) == (["user_input"], ["metadata.key"], "replay it")


def test_a_long_question_is_cut() -> None:
    head = outline_of(run_of((), user_input="x" * 10_000_000, final_output=["\n" * 5000]))["head"]
    assert len(head["question"]) <= 2000
    assert head["question"].endswith("… (9,998,100 more characters)")
    assert len(head["answer"]) <= 2000


def test_a_head_is_json_whatever_it_holds() -> None:
    odd = {"agent_name": "\ud800", "session_id": "\udfff", "tags": ("\ud800",), "sampling_probability": float("nan")}
    run = run_of((step(0, name="\ud800"),), user_input={1: b"\xff", "2": float("inf")}, final_output=2**70, **odd)
    json.dumps(outline_of(run), ensure_ascii=False, allow_nan=False).encode()


# ── size ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_long_run_is_17_bytes_a_step_when_it_is_packed() -> None:
    found = outline_of(long_run(50_000), Prices.of(PRICES))
    assert {name: len(column) for name, column in found["columns"].items()} == dict.fromkeys(found["columns"], 50_001)
    assert len(gzip.compress(json.dumps(found, separators=(",", ":")).encode())) < 17 * 50_000


def test_what_is_sent_of_a_step_does_not_depend_on_its_values() -> None:
    small, large = (run_of((step(0, input="x" * size, output="y" * size),)) for size in (10, 1_000_000))
    assert outline_of(small) == outline_of(large)


def test_sub_agents_may_be_nested_ten_thousand_deep() -> None:
    found = columns(nested_run(10_000))
    assert (found["depth"][-1], found["tokens"][0]) == (10_001, 0)


def test_prices_are_asked_once_for_each_call() -> None:
    class Counting(Prices):
        calls = 0

        def call_cost(self, call: Any) -> int | None:
            self.calls += 1
            return 1000

    prices = Counting()
    run = long_run(1000)
    assert columns(run, prices)["cost_nano_usd"][0] == 500
    assert prices.calls == 500


def test_head_of_uses_what_is_already_summed() -> None:
    items = RunItems(run_of((call(0, 5),)))
    figures = call_figures(items, Prices.of(PRICES))
    assert head_of(items, figures)["cost_usd"] == pytest.approx(5e-6)
