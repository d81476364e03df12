"""What the kits say when something is not as it must be."""

from __future__ import annotations

_SHOWN = 300


def require(fact: object, message: str) -> None:
    """Go on if that is so.

    Raises:
        AssertionError: it is not so.
    """
    if not fact:
        raise AssertionError(message)


def shown(value: object) -> str:
    """A value as it can stand in a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
