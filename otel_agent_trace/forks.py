"""Locks that a forked child can take, although another thread of its parent held them at that moment."""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType
from typing import Protocol


class ForkSafeLock:
    """A re-entrant lock for ``with`` blocks, new in a forked child.

    What it guards must bear being found half done in the child: counters and tables are, files are not.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        renewed_in_children(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            return  # the block forked, and this is the child

    def renew(self) -> None:
        """Forget who holds it."""
        self._lock = threading.RLock()


class Renewed(Protocol):
    """What holds a lock of its own, and takes a new one in a forked child."""

    def renew(self) -> None:
        """Forget who holds it."""


_RENEWED: weakref.WeakSet[Renewed] = weakref.WeakSet()


def renewed_in_children(holder: Renewed) -> None:
    """Have `holder.renew()` called in every forked child, as long as it lives."""
    _RENEWED.add(holder)


def _renew_all() -> None:
    for holder in list(_RENEWED):
        holder.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
