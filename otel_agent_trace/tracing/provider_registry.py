"""What is known of providers of other makers, which need not be hashable."""

from __future__ import annotations

import weakref
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class ProviderRegistry(Generic[T]):
    """A fact for each provider, by its identity, as long as the provider lives."""

    def __init__(self) -> None:
        self._facts: dict[int, tuple[weakref.ref[Any], T]] = {}

    def put(self, provider: Any, fact: T) -> None:
        """Note a fact.

        Raises:
            TypeError: the provider takes no weak references.
        """
        key = id(provider)
        self._facts[key] = weakref.ref(provider, lambda _: self._facts.pop(key, None)), fact

    def get(self, provider: Any) -> T | None:
        """What was noted, if something was."""
        known = self._facts.get(id(provider))
        return known[1] if known is not None and known[0]() is provider else None
