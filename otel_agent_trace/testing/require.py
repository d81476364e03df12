"""Provide what the kits share: raising `AssertionError`, and values as text in its message."""

from __future__ import annotations

_SHOWN = 300


def require(fact: object, message: str) -> None:
    """Check that a fact holds.

    Raises:
        AssertionError: it does not; `message` is its text.
    """
    if not fact:
        raise AssertionError(message)


def shown(value: object) -> str:
    """Return the `repr` of a value, shortened for a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
