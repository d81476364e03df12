"""Provide locks that a forked child can take, although another thread of its parent held them when it forked."""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType
from typing import Protocol


class ForkSafeLock:
    """Provide a re-entrant lock for ``with`` blocks that is replaced by a free one in a forked child.

    The child may find what the lock guards in the midst of a change: it is for counters and tables, not for files.
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
            return  # the block forked, and the lock of this child is another, which was never acquired

    def renew(self) -> None:
        """Replace the lock by a free one."""
        self._lock = threading.RLock()


class Renewed(Protocol):
    """Describe an object that replaces its locks in a forked child."""

    def renew(self) -> None:
        """Replace the locks by free ones."""


_RENEWED: weakref.WeakSet[Renewed] = weakref.WeakSet()
_renewed_in = os.getpid()
"""Process in which the objects were renewed last; the first one needs no renewal."""


def renewed_in_children(holder: Renewed) -> None:
    """Register an object, whose `renew` is called in every forked child for as long as it lives; held by a weak reference."""
    _RENEWED.add(holder)


def renew_all() -> None:
    """Renew all objects in a forked child, once; uWSGI forks without the hooks of Python by default."""
    global _renewed_in  # noqa: PLW0603 - it is of the process
    if _renewed_in == os.getpid():
        return
    _renewed_in = os.getpid()
    for holder in list(_RENEWED):
        holder.renew()


NO_FORK = threading.RLock()
"""Lock to hold while a module is imported, or OpenSSL first used, in the midst of tracing: the process cannot fork then.

Otherwise a child would wait for ever for locks of the interpreter or of OpenSSL that none of its threads can release.
Nothing else belongs in such a block: a fork of the program waits for its end.
"""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=NO_FORK.acquire, after_in_parent=NO_FORK.release, after_in_child=NO_FORK.release)
    os.register_at_fork(after_in_child=renew_all)
