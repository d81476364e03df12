"""Find what counts of dropped runs leave open: runs that no kept one stands for, and runs that may not belong here.

Such runs have no weight. They leave figures as they are, and widen their intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import NamedTuple, TypeVar

from otel_agent_trace.metrics.estimates import UNKNOWN, Bounds, agent_interval, share_interval
from otel_agent_trace.metrics.strata import DROPPED, POSSIBLE, Count, Sample, Weight
from otel_agent_trace.metrics.tally import OutcomeTally

K = TypeVar("K")
T = TypeVar("T")
_RAREST_CHANCE = 1e-6
"""Least chance of a number of kept runs that is taken for chance."""
_runs_of, _success_of, _finished_of = attrgetter("runs"), attrgetter("success"), attrgetter("finished")


class SuccessIntervals(NamedTuple):
    """Hold the interval of the agent's success rate, and that of the runs that happened."""

    of_agent: tuple[float, float] | None
    of_runs: Bounds | None


def success_intervals(runs: Sample[OutcomeTally]) -> SuccessIntervals:
    """Return the intervals of the success rate; they have room for dropped runs of which nobody knows if they belong here."""
    finished = runs.total(_finished_of)
    if runs.has_unseen and runs.is_estimated:
        return SuccessIntervals(None, UNKNOWN if finished else None)
    more, fewer = _possible(runs)
    lowest, highest = _agent_interval(runs, fewer=fewer), _agent_interval(runs, more=more)
    traces, success = runs.of(lambda tally: tally.traces), runs.total(_success_of)
    of_runs = share_interval(traces, success, finished, if_all_failed=0.0)
    if of_runs is not None and (more or fewer):
        of_runs = success / (finished + fewer), (success + more) / (finished + more)
    return SuccessIntervals(lowest and highest and (lowest[0], highest[1]), of_runs)


def are_counts_of(runs: Sample[OutcomeTally]) -> bool:
    """Return whether what was counted can be all that the kept runs stand for.

    It cannot where it is less than chance explains, as when only some of the files that were read have such counts.
    """
    number, estimate = _counted_and_estimated(runs)
    return number >= estimate or _may_be_chance(runs)


def has_unseen(runs: Sample[OutcomeTally]) -> bool:
    """Return whether runs were dropped, or may have been, for which no kept run stands, or more than chance explains."""
    found = {weight for weight, tally in runs.parts if tally.runs}
    if DROPPED in found:
        number, estimate = _counted_and_estimated(runs)
        return not estimate or (number > estimate and not _may_be_chance(runs))
    return POSSIBLE in found and not any(weight.of_values > 1 for weight in found)


def known_apart(samples: Mapping[K, Sample[T]], outcomes: Callable[[T], OutcomeTally]) -> dict[K, Sample[T]]:
    """Return samples of which is counted how many runs were dropped, with what is unseen of each one by itself."""
    return {key: replace(sample, has_unseen=has_unseen(sample.of(outcomes))) for key, sample in samples.items()}


def perhaps_dropped(runs: Sample[OutcomeTally]) -> int:
    """Return how many runs were dropped of which nobody knows if they belong here, and for which no estimate stands."""
    is_estimated = any(weight.of_runs > 1 for weight, _ in runs.parts)
    return 0 if is_estimated else sum(tally.runs for weight, tally in runs.parts if weight == POSSIBLE)


def _possible(runs: Sample[OutcomeTally]) -> tuple[int, int]:
    """Return how many successes and failures may belong here as well, where no estimate stands for them."""
    if not perhaps_dropped(runs):
        return 0, 0
    tallies = [tally for weight, tally in runs.parts if weight == POSSIBLE]
    success = sum(map(_success_of, tallies))
    return success, sum(map(_finished_of, tallies)) - success


def _agent_interval(runs: Sample[OutcomeTally], more: int = 0, fewer: int = 0) -> tuple[float, float] | None:
    """Return the interval of the agent's rate with that many more successes and failures."""
    squares = runs.sum(lambda weight, tally: weight**2 * tally.finished)
    further, finished = more + fewer, runs.total(_finished_of)
    return agent_interval(runs.total(_success_of) + more, finished + further, squares + further) if finished else None


def _may_be_chance(runs: Sample[OutcomeTally]) -> bool:
    """Return whether chance explains how far counts and estimate of the runs are apart."""
    number, estimate = _counted_and_estimated(runs)
    kept = _counted(runs).kept(_runs_of)
    if not kept:
        return True
    share, probability = kept / number, kept / estimate
    divergence = share * math.log(share / probability)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - probability))
    return math.exp(-number * divergence) >= _RAREST_CHANCE  # Chernoff's bound of so many or more, or so few or fewer


def _counted_and_estimated(runs: Sample[OutcomeTally]) -> tuple[Count, Count]:
    """Return how many runs there are that were kept by chance, or were not, by the counts and as an estimate."""
    counted = _counted(runs)
    return counted.counted().total(_runs_of), counted.total(_runs_of)


def _counted(runs: Sample[OutcomeTally]) -> Sample[OutcomeTally]:
    """Return those parts of which is counted what was dropped."""
    parts: list[tuple[Weight, OutcomeTally]] = [
        part for part in runs.parts if part[0].of_runs == 1 != part[0].of_values
    ]
    return Sample(tuple(parts))
