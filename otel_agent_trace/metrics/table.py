"""Provide tables of bounded size whose content does not depend on the order of adding and merging.

Each key has a rank that depends on the key alone. A table keeps the keys of the lowest ranks; what belongs to any other
key goes to one further entry. Once a key is left out there are `limit` keys before it for good, so the same keys are
kept in whichever order the table was filled, and the figures of those that are kept are complete.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, ItemsView, ValuesView
from hashlib import blake2b
from typing import Any, Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Tally(Protocol):
    """Count something, and take in the counts of another tally of its kind, which stays as it is."""

    def absorb(self: T, other: T) -> None:
        """Add all that the other counted."""


V = TypeVar("V", bound=Tally)


class Table(Generic[K, V]):
    """Hold at most `limit` entries by key, made by `new` on first use, and one under the key `rest` for all others.

    `rank` gives each key its rank; the lowest are kept (see the module).
    """

    __slots__ = ("_entries", "_limit", "_new", "_rank", "_rest", "_worst_first")

    def __init__(self, new: Callable[[], V], *, rank: Callable[[K], int], limit: int, rest: K) -> None:
        self._new, self._rank, self._limit, self._rest = new, rank, limit, rest
        self._entries: dict[K, V] = {}
        self._worst_first: list[tuple[int, Any]] = []

    def at(self, key: K) -> V:
        """Return the entry of a key, or the one for the rest."""
        entry = self._entries.get(key)
        return self._add_entry(key) if entry is None else entry

    def items(self) -> ItemsView[K, V]:
        """Return the entries by key, in no particular order."""
        return self._entries.items()

    def values(self) -> ValuesView[V]:
        """Return the entries, in no particular order."""
        return self._entries.values()

    def empty(self, new: Callable[[], Any]) -> Table[K, Any]:
        """Return an empty table that keeps the same keys, with other entries."""
        return Table(new, rank=self._rank, limit=self._limit, rest=self._rest)

    def absorb(self, other: Table[K, V]) -> None:
        """Add all entries of another table of the same kind, which stays as it is."""
        for key, entry in other.items():
            self.at(key).absorb(entry)

    def _add_entry(self, key: K) -> V:
        if key == self._rest:
            return self._entries.setdefault(key, self._new())
        place = (-self._rank(key), key)
        if len(self._worst_first) < self._limit:
            heapq.heappush(self._worst_first, place)
        else:
            _, worst = heapq.heappushpop(self._worst_first, place)
            if worst == key:
                return self.at(self._rest)
            self.at(self._rest).absorb(self._entries.pop(worst))
        return self._entries.setdefault(key, self._new())

    def __eq__(self, other: object) -> bool:
        return self._entries == other._entries if isinstance(other, Table) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes


def scattered(name: str) -> int:
    """Return a rank for a name that is the same on every machine, and has nothing to do with what it names."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest(), "big")
