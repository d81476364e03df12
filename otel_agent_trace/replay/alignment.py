"""Align two sequences: equal items in order, equal items out of order, and what moved, in about linear time."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

Pair = tuple[int, int]
"""Position in the one sequence and in the other."""

_MOST_ROUNDS = 32


class _Gap(NamedTuple):
    """Bound a part of both sequences in which nothing is aligned yet."""

    one: int
    one_end: int
    other: int
    other_end: int
    rounds: int = 0


def in_order(one: Sequence[Hashable], other: Sequence[Hashable]) -> list[Pair]:
    """Return pairs of positions of equal items that rise on both sides.

    First comes what both sides begin and end with, then the items that each has once, then those between
    them. A limit on the rounds bounds the time for any sequences; the pairs may then be fewer than there could be.
    """
    pairs: list[Pair] = []
    pending = [_Gap(0, len(one), 0, len(other))]
    while pending:
        ends, gap = _equal_ends(one, other, pending.pop())
        anchors = _anchors(one, other, gap)
        pairs += ends + anchors
        if anchors and gap.rounds < _MOST_ROUNDS:
            pending += _gaps_between(anchors, gap)
    return sorted(pairs)


def out_of_order(one: Sequence[Hashable], other: Sequence[Hashable], taken: Sequence[Pair]) -> list[Pair]:
    """Return pairs of positions of equal items that no pair has taken: the nth of the one with the nth of the other."""
    one_taken, other_taken = {i for i, _ in taken}, {j for _, j in taken}
    there = _positions(one, (i for i in range(len(one)) if i not in one_taken))
    here = _positions(other, (j for j in range(len(other)) if j not in other_taken))
    return [pair for item, found in there.items() for pair in zip(found, here.get(item, ()), strict=False)]


def gaps(pairs: Sequence[Pair], one_length: int, other_length: int) -> Iterator[tuple[range, range]]:
    """Yield the positions between rising pairs, before the first and after the last, where there are any on both sides."""
    for gap in _gaps_between(pairs, _Gap(0, one_length, 0, other_length)):
        yield range(gap.one, gap.one_end), range(gap.other, gap.other_end)


def _equal_ends(one: Sequence[Hashable], other: Sequence[Hashable], gap: _Gap) -> tuple[list[Pair], _Gap]:
    """Return pairs of what both sides of a gap begin and end with, and what is left of the gap."""
    i, i_end, j, j_end, rounds = gap
    while i < i_end and j < j_end and one[i] == other[j]:
        i, j = i + 1, j + 1
    while i < i_end and j < j_end and one[i_end - 1] == other[j_end - 1]:
        i_end, j_end = i_end - 1, j_end - 1
    first = zip(range(gap.one, i), range(gap.other, j), strict=True)
    last = zip(range(i_end, gap.one_end), range(j_end, gap.other_end), strict=True)
    return [*first, *last], _Gap(i, i_end, j, j_end, rounds)


def _anchors(one: Sequence[Hashable], other: Sequence[Hashable], gap: _Gap) -> list[Pair]:
    """Return rising pairs of the items that each side of a gap has once; without any, of the nth of each item."""
    there = _positions(one, range(gap.one, gap.one_end))
    here = _positions(other, range(gap.other, gap.other_end))
    shared = [(found, here[item]) for item, found in there.items() if item in here]
    once = [(i[0], j[0]) for i, j in shared if len(i) == len(j) == 1]
    return _longest_rising(sorted(once or (pair for i, j in shared for pair in zip(i, j, strict=False))))


def _positions(items: Sequence[Hashable], among: Iterator[int] | range) -> dict[Hashable, list[int]]:
    found: dict[Hashable, list[int]] = defaultdict(list)
    for position in among:
        found[items[position]].append(position)
    return found


def _longest_rising(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the longest part of pairs, which rise on the one side, that rises on the other side too."""
    lowest_ends: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for index, (_, position) in enumerate(pairs):
        length = bisect_left(lowest_ends, position)
        before.append(ends[length - 1] if length else -1)
        lowest_ends[length : length + 1] = [position]
        ends[length : length + 1] = [index]
    rising: list[Pair] = []
    index = ends[-1] if ends else -1
    while index >= 0:
        rising.append(pairs[index])
        index = before[index]
    return rising[::-1]


def _gaps_between(pairs: Sequence[Pair], gap: _Gap) -> Iterator[_Gap]:
    i, j = gap.one, gap.other
    for pair in (*pairs, (gap.one_end, gap.other_end)):
        if i < pair[0] and j < pair[1]:
            yield _Gap(i, pair[0], j, pair[1], gap.rounds + 1)
        i, j = pair[0] + 1, pair[1] + 1


# ── order in time ────────────────────────────────────────────────────────────────────────────────────────────────────


class Interval(NamedTuple):
    """Hold start and end in Unix nanoseconds."""

    start_ns: int
    end_ns: int


Times = tuple[Interval, Interval]
"""Times of a pair: on the one side and on the other."""


def turned_around(times: Sequence[Times], of: Sequence[Times]) -> list[bool]:
    """Return for each of some pairs whether it came before another on one side and after it on the other side.

    What overlaps in time has no order: steps that ran at the same time are not turned around.

    Args:
        times: all pairs.
        of: the pairs in question, which are among them.
    """
    swapped = [(other, one) for one, other in times]
    forth = _turned(times, of)
    back = _turned(swapped, [(other, one) for one, other in of])
    return [one or other for one, other in zip(forth, back, strict=True)]


def _turned(times: Sequence[Times], of: Sequence[Times]) -> list[bool]:
    """Return for each pair whether another began after its end on the one side, and ended before its start on the other."""
    ordered = sorted(times, key=lambda pair: pair[0].start_ns)
    starts = [one.start_ns for one, _ in ordered]
    earliest_ends: list[int] = []
    for _, other in reversed(ordered):
        earliest_ends.append(min(other.end_ns, earliest_ends[-1]) if earliest_ends else other.end_ns)
    earliest_ends.reverse()
    found = []
    for one, other in of:
        position = bisect_left(starts, one.end_ns)
        found.append(position < len(starts) and earliest_ends[position] <= other.start_ns)
    return found
