"""Hold which run is at which place of a list of any length: where each thousandth is, and blocks already looked at."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from otel_agent_trace.sources.index.listing import Bound, Keys, Listing, Row, Way
from otel_agent_trace.sources.index.segments import StaleError
from otel_agent_trace.viewer.entries import Key
from otel_agent_trace.viewer.work import Stop

_BLOCK = 1000
_LOOK_S = 0.1


class Apart(NamedTuple):
    """Hold what the order of a run goes by that is read, not listed: it may go on, or the index lacks names."""

    value: int
    started_at_ns: int
    run_id: str

    @property
    def key(self) -> Key:
        """Return what names its entry."""
        return self.run_id, self.started_at_ns


class _Block(NamedTuple):
    """Hold a part of a list: its first place, the runs apart in it, and the places in the order that it is between."""

    begin: int
    apart: Sequence[Apart]
    after: Bound | None
    until: Bound | None


class _Listed(NamedTuple):
    """Hold the runs of a block, and the places in it of those apart."""

    keys: Keys
    apart: dict[int, Apart]


class Places:
    """Hold the places of the runs of one result, which stay what they are once they were looked at.

    Args:
        way: how the runs are found.
        apart: the runs that were read, in the order of the list.
    """

    def __init__(self, way: Way, apart: Sequence[Apart]) -> None:
        self.way = way
        self._apart = apart
        self._blocks: list[_Block] = []
        self._listed: dict[int, _Listed] = {}
        self._end = 0
        self._changed = threading.Condition()
        self.is_whole = False
        """Hold whether all blocks are known."""
        self._is_given_up = False

    def __len__(self) -> int:
        """Return how many runs are known."""
        return self._end

    def extend(self, listing: Listing) -> None:
        """Find where the next block ends."""
        after = self._blocks[-1].until if self._blocks else None
        until = None if self.way.is_few else listing.next_bound(self.way, after, _BLOCK)
        placed = sum(len(block.apart) for block in self._blocks)
        behind = len(self._apart) if until is None else bisect.bisect_right(self._apart, _order(until), key=_order)
        block = _Block(self._end, self._apart[placed:behind], after, until)
        count = listing.count(self.way, after, until) + len(block.apart)
        with self._changed:
            self._blocks.append(block)
            self._end += count
            self.is_whole = until is None
            self._changed.notify_all()

    def give_up(self) -> None:
        """Note that nobody finds further blocks; if some are unknown, those who wait for runs are informed."""
        with self._changed:
            self._is_given_up = not self.is_whole
            self._changed.notify_all()

    def wait(self, end: int, stop: Stop) -> None:
        """Wait until so many runs are known, or all.

        Raises:
            StaleError: not all blocks could be found, which those of a result that is made anew may.
            StoppedError: nobody waits for them any more.
        """
        with self._changed:
            while self._end < end and not (self.is_whole or self._is_given_up):
                self._changed.wait(_LOOK_S)
                stop.check()
            if self._is_given_up:
                raise StaleError

    def items(self, listing: Listing, begin: int, end: int) -> Iterator[Apart | Row | None]:
        """Yield for some places the run apart, or the row of another; None for one that is gone."""
        blocks = self._blocks
        for place in range(begin, min(end, self._end)):
            number = bisect.bisect_right(blocks, place, key=lambda block: block.begin) - 1
            if number not in self._listed:
                self._listed[number] = self._list(listing, blocks[number])
            yield _item(self._listed[number], place - blocks[number].begin)

    def _list(self, listing: Listing, block: _Block) -> _Listed:
        keys = listing.keys(self.way, block.after, block.until)
        return _Listed(keys, {listing.place_in(keys, *run) + number: run for number, run in enumerate(block.apart)})


def _order(each: Bound | Apart) -> tuple[int, int]:
    return -each[0], -each[1]


def _item(listed: _Listed, place: int) -> Apart | Row | None:
    if place in listed.apart:
        return listed.apart[place]
    before = sum(other < place for other in listed.apart)
    return listed.keys.row(place - before) if place - before < len(listed.keys) else None
