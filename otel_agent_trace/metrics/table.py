"""Tables by key with a bound on their size that no order of adding and merging can tell apart.

Each key has a rank that depends on nothing but the key. A table keeps the keys of the lowest ranks; what belongs to any
other key goes to one further entry. A key that was ever left out has `limit` keys before it, for good: so what is kept
is the same whichever way the table came about, and the figures of what is kept are complete.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, ItemsView
from hashlib import blake2b
from typing import Any, Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Tally(Protocol):
    """What counts and can take in the counts of another of its kind, leaving the other as it is."""

    def absorb(self: T, other: T) -> None:
        """Add all that the other counted."""


V = TypeVar("V", bound=Tally)


class Table(Generic[K, V]):
    """At most `limit` entries by key, made by `new` when first asked for, and one under the key `rest` for all others.

    `rank` gives each key its place (see the module); the lowest stay.
    """

    __slots__ = ("_entries", "_limit", "_new", "_rank", "_rest", "_worst_first")

    def __init__(self, new: Callable[[], V], *, rank: Callable[[K], int], limit: int, rest: K) -> None:
        self._new, self._rank, self._limit, self._rest = new, rank, limit, rest
        self._entries: dict[K, V] = {}
        self._worst_first: list[tuple[int, Any]] = []

    def at(self, key: K) -> V:
        """Return the entry to count into for that key."""
        entry = self._entries.get(key)
        return self._entry_for_new(key) if entry is None else entry

    def items(self) -> ItemsView[K, V]:
        """Return the entries by key, in no particular order."""
        return self._entries.items()

    def absorb(self, other: Table[K, V]) -> None:
        """Add all entries of another table of the same kind, which stays as it is."""
        for key, entry in other.items():
            self.at(key).absorb(entry)

    def _entry_for_new(self, key: K) -> V:
        if key == self._rest:
            return self._entries.setdefault(key, self._new())
        place = (-self._rank(key), key)
        if len(self._worst_first) < self._limit:
            heapq.heappush(self._worst_first, place)
        else:
            _, loser = heapq.heappushpop(self._worst_first, place)
            if loser == key:
                return self.at(self._rest)
            self.at(self._rest).absorb(self._entries.pop(loser))
        return self._entries.setdefault(key, self._new())

    def __eq__(self, other: object) -> bool:
        return self._entries == other._entries if isinstance(other, Table) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes


def scattered(name: str) -> int:
    """Return a rank for a name: the same everywhere, and favouring none."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest(), "big")
