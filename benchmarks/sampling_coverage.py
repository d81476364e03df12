"""Draw samples as a tail sampler does, and count how often the figures of all runs are within the intervals of the reports.

Of each population 2 % are errors, all of which are kept, and a tenth of the successes. Errors take longer. The reports are
made of tallies, since making so many runs would take most of the time.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from otel_agent_trace.metrics import MetricsReport
from otel_agent_trace.metrics.moments import Moments
from otel_agent_trace.metrics.outcome_tally import CostTally
from otel_agent_trace.metrics.strata import WHOLE, Strata, Weight
from otel_agent_trace.prices import PICO_USD_PER_USD

RATE, ERRORS, SECOND_NS = 0.1, 0.02, 1_000_000_000


def tally_of(strata: Strata, weight: Weight, status: str, durations: np.ndarray, tokens: np.ndarray) -> None:
    """Count runs that are a trace each, of which a token costs 1e-12 dollars."""
    runs, outcomes = len(durations), strata.at(weight).outcomes
    outcomes.statuses[status] += runs
    outcomes.tokens["output_tokens"] += int(tokens.sum())
    for duration in durations.tolist():
        outcomes.latency_ns.add(duration)
    outcomes.cost.absorb(CostTally(runs, int(tokens.sum()), amounts(tokens) if weight != WHOLE else Moments()))
    if weight != WHOLE:
        success = runs if status == "success" else 0
        outcomes.traces.absorb(Moments(success, runs, success, success, runs))


def amounts(amounts: np.ndarray) -> Moments:
    moments = Moments()
    for amount in amounts.tolist():
        moments.add(amount)
    return moments


def is_within(truth: float, interval: tuple[float | None, float | None] | None) -> bool:
    if interval is None:
        return False
    low, high = interval
    return (low is None or low <= truth) and (high is None or truth <= high)


def repetition(rng: np.random.Generator, runs: int) -> list[bool | float]:
    failed = rng.random(runs) < ERRORS
    durations = (rng.lognormal(1, 1, runs) * np.where(failed, 3, 1) * SECOND_NS).astype(np.int64)
    tokens = rng.lognormal(6, 1.2, runs).astype(np.int64)
    rest = ~failed & (rng.random(runs) < RATE)
    strata, weight = Strata(), Weight(1 / RATE, 1 / RATE)
    tally_of(strata, WHOLE, "error", durations[failed], tokens[failed])
    tally_of(strata, weight, "success", durations[rest], tokens[rest])
    report = MetricsReport(strata)
    p95_s = np.sort(durations)[-(-95 * runs // 100) - 1] / SECOND_NS
    interval_s = report.latency.p95_interval_s
    return [
        is_within(1 - failed.mean(), report.sampling_interval),
        is_within(p95_s, interval_s),
        is_within(int(tokens.sum()) / PICO_USD_PER_USD, report.cost.total_interval_usd),
        interval_s is None or interval_s[1] is None,
    ]


def main(repetitions: int = 200) -> None:
    for runs in (100_000, 10_000, 1_000, 200):
        rng, began = np.random.default_rng(20_000 + runs), time.process_time()
        rate, p95, cost, unbounded = np.sum([repetition(rng, runs) for _ in range(repetitions)], axis=0)
        print(
            f"{runs:>7} runs, {repetitions} repetitions: within their 95 % intervals: success rate {rate}, p95 {p95} "
            f"({unbounded} without an upper bound), cost {cost}; {time.process_time() - began:.0f} s"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
