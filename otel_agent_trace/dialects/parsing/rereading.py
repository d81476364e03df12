"""Convert a text once while a span is read again and again, with something else changed each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
_known: ContextVar[dict[tuple[Any, str, str], Any] | None] = ContextVar("known", default=None)


@contextmanager
def rereading() -> Iterator[None]:
    """Remember inside a block what texts were converted into, which nobody may keep: two spans would share it."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def remembered(convert: Callable[[Any, str], T], value: Any, role: str) -> T:
    """Return what a function converts a value into, inside of `rereading` the same for the same text and role."""
    known = _known.get()
    if known is None or type(value) is not str:
        return convert(value, role)
    key = (convert, value, role)
    if key not in known:
        known[key] = convert(value, role)
    found: T = known[key]
    return found
