"""Find what counts of dropped runs leave open: runs that no kept one stands for, and runs that may not belong here.

Such runs have no weight. They leave figures as they are, and widen their intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import NamedTuple, TypeVar

from otel_agent_trace.metrics.estimates import UNKNOWN, Bounds, agent_interval, share_interval, total_interval
from otel_agent_trace.metrics.outcome_tally import STATUSES, OutcomeTally
from otel_agent_trace.metrics.strata import DROPPED, POSSIBLE, WHOLE, Count, Sample

K = TypeVar("K")
T = TypeVar("T")
_RAREST_CHANCE = 1e-6
"""Least chance of a number of kept runs that is taken for chance."""
_CHANCE_OF_NONE = _UNSEEN_SHARE = 0.05
"""Least chance that none was kept of an agent and status for which others stand, and most of all runs that are of such."""
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


def runs_interval(runs: Sample[OutcomeTally]) -> Bounds | None:
    """Return the interval of the number of runs, which has room for dropped runs of which nobody knows if they belong here."""
    total, kept = runs.total(_runs_of), runs.kept(_runs_of)
    is_counted = runs.is_counted and not runs.is_estimated
    is_known = is_counted or (replace(runs, has_unseen=runs.has_unseen and runs.is_estimated)).is_known
    bounds = total_interval(runs.of(attrgetter("run_squares")), total, kept, is_known=is_known)
    if bounds is None or bounds[1] is None:
        return bounds
    return bounds[0], bounds[1] + perhaps_dropped(runs)


def are_counts_of(runs: Sample[OutcomeTally]) -> bool:
    """Return whether what was counted can be all that the kept runs stand for.

    It cannot where it is less than chance explains, as when only some of the files that were read have such counts.
    """
    numbers = runs.of(_runs_of)
    number, estimate = _counted_and_estimated(numbers)
    return number >= estimate or _may_be_chance(numbers)


def has_unseen(runs: Sample[OutcomeTally], agents: Iterable[Sample[OutcomeTally]] = ()) -> bool:
    """Return whether runs were dropped, or may have been, for which no kept run stands, or more than chance explains.

    `agents` are the runs by agent, where these are of several.
    """
    found = {weight for weight, tally in runs.parts if tally.runs}
    if DROPPED in found:
        numbers = runs.of(_runs_of)
        return (
            not _counted_and_estimated(numbers)[1]
            or _is_beyond_chance(numbers)
            or has_unseen_cells(runs, agents or [runs])
        )
    return POSSIBLE in found and not any(weight.of_values > 1 for weight in found)


def has_unseen_cells(runs: Sample[OutcomeTally], agents: Iterable[Sample[OutcomeTally]]) -> bool:
    """Return whether runs of some agent and status were dropped for which no run of these stands, or too few do.

    That is seen where stores that keep a share of the rest are in one sum with others that keep none of it. As chance may
    leave a few runs of a sample without one that was kept, others stand for these.
    """
    cells = [agent.of(lambda tally: tally.statuses[status]) for agent in agents for status in STATUSES]  # noqa: B023 - called at once
    dropped = [cell for cell in cells if any(number and weight == DROPPED for weight, number in cell.parts)]
    counts = [_counted_and_estimated(cell) for cell in dropped]
    missed = [number for number, estimate in counts if not estimate]
    number, estimate = _counted_and_estimated(runs.of(_runs_of))
    chance = 1 - _counted(runs).kept(_runs_of) / estimate if estimate else 0.0
    return (
        sum(missed) > _UNSEEN_SHARE * number
        or any(chance**each < _CHANCE_OF_NONE for each in missed)
        or any(map(_is_beyond_chance, dropped))
    )


def known_apart(
    samples: Mapping[K, Sample[T]], outcomes: Callable[[T], OutcomeTally], *, is_in_doubt: bool = False
) -> dict[K, Sample[T]]:
    """Return samples of which is counted how many runs were dropped, with what is known of each one by itself.

    `is_in_doubt` is whether any dropped run may be unseen, as it is not known of which agent it is.
    """

    def is_unseen(sample: Sample[T]) -> bool:
        return (is_in_doubt and _has_dropped(sample)) or has_unseen(sample.of(outcomes))

    return {
        key: replace(sample, has_unseen=is_unseen(sample), is_whole=_is_whole(sample))
        for key, sample in samples.items()
    }


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


def _has_dropped(sample: Sample[T]) -> bool:
    return any(weight == DROPPED for weight, _ in sample.parts)


def _is_whole(sample: Sample[T]) -> bool:
    return sample.is_counted and all(weight == WHOLE for weight, _ in sample.parts)


def _is_beyond_chance(numbers: Sample[int]) -> bool:
    """Return whether there are more runs than those for which kept ones stand, and chance does not explain it."""
    number, estimate = _counted_and_estimated(numbers)
    return number > estimate and not _may_be_chance(numbers)


def _may_be_chance(numbers: Sample[int]) -> bool:
    """Return whether chance explains how far counts and estimate of the runs are apart."""
    number, estimate = _counted_and_estimated(numbers)
    kept = _counted(numbers).kept(int)
    if not kept:
        return True
    share, probability = kept / number, kept / estimate
    divergence = share * math.log(share / probability)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - probability))
    return math.exp(-number * divergence) >= _RAREST_CHANCE  # Chernoff's bound of so many or more, or so few or fewer


def _counted_and_estimated(numbers: Sample[int]) -> tuple[Count, Count]:
    """Return how many runs there are that were kept by chance, or were not, by the counts and as an estimate."""
    counted = _counted(numbers)
    return counted.counted().total(int), counted.total(int)


def _counted(runs: Sample[T]) -> Sample[T]:
    """Return those parts of which is counted what was dropped."""
    parts = [part for part in runs.parts if part[0].of_runs == 1 != part[0].of_values]
    return Sample(tuple(parts))
