"""Make objects of the forms in which work was returned: a task, a client's stream, the manager of a context."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Coroutine
from typing import Any

_GENERATORS = ("coroutine", "generator", "async_generator")


class Work:
    """Hold the functions that begin work, one for each form; they return a new coroutine or generator."""

    __slots__ = ("async_items", "awaited", "items")

    def __init__(
        self,
        awaited: Callable[[], Coroutine[Any, Any, Any]],
        items: Callable[[], Any],
        async_items: Callable[[], Any],
    ) -> None:
        self.awaited, self.items, self.async_items = awaited, items, async_items


def can_be_made(form: str) -> bool:
    """Return whether an object of a form can be made: a kind of generator, or a known class that is loaded."""
    return form in _GENERATORS or _maker_of(form) is not None


def gives_items(form: str) -> bool:
    """Return whether an object of a form gives items."""
    return form in ("generator", "async_generator") or (form != "coroutine" and not _is_task(_class_of(form)))


def made(form: str, work: Work) -> Any:
    """Return an object of a form, for which `can_be_made` holds."""
    if form == "coroutine":
        return work.awaited()
    if form == "generator":
        return work.items()
    maker = _maker_of(form)
    return work.async_items() if maker is None else maker(work)


def _class_of(form: str) -> Any:
    """Return a class that is loaded by its module and name; None if it is not."""
    parts = form.split(".")
    for size in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:size]))
        if found is not None:
            for name in parts[size:]:
                found = getattr(found, name, None)
            return found if isinstance(found, type) else None
    return None


def _maker_of(form: str) -> Callable[[Work], Any] | None:
    cls = _class_of(form)
    if cls is None:
        return None
    if _is_task(cls):
        return _task
    if hasattr(cls, "__stream__"):  # of OpenAI's client, and of those of the same code generator
        return lambda work: _stream(cls, work)
    return _MANAGERS.get(form)


def _is_task(cls: Any) -> bool:
    return hasattr(cls, "_asyncio_future_blocking")


def _task(work: Work) -> Any:
    import asyncio  # noqa: PLC0415 - it is loaded if a task was recorded; other programs have no use for it

    return asyncio.ensure_future(work.awaited())


class _Response:
    """Stand for the response that a stream closes."""

    def close(self) -> None:
        """Do nothing: there is no connection."""

    async def aclose(self) -> None:
        """Do nothing, likewise."""


def _stream(cls: Any, work: Work) -> Any:
    """Return a stream of a client, which reads from recorded items; its constructor would need a response."""
    stream = object.__new__(cls)
    is_async = hasattr(cls, "__aiter__")
    vars(stream).update(_iterator=work.async_items() if is_async else work.items(), response=_Response())
    return stream


_MANAGERS: dict[str, Callable[[Work], Any]] = {
    "contextlib._GeneratorContextManager": lambda work: contextlib.contextmanager(work.items)(),
    "contextlib._AsyncGeneratorContextManager": lambda work: contextlib.asynccontextmanager(work.async_items)(),
}
