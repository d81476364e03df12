"""Provide locks that a forked child can take, although another thread of its parent held them when it forked."""

from __future__ import annotations

import _thread
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol


class ForkSafeLock(_thread.RLock):  # type: ignore[misc]  # final for type checkers only
    """Provide a re-entrant lock for ``with`` blocks that is free in a forked child, unless its own thread holds it.

    The child may find what the lock guards in the midst of a change: it is for counters and tables, not for files.

    It is the lock in C itself. Python raises an exception of another thread, as of dramatiq's time limits, between any two
    calls: in an ``__enter__`` in Python also after the lock was acquired, which nobody would release then.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        renewed_in_children(self)

    def renew(self) -> None:
        """Free the lock of a thread that does not exist in this process; a block that forked frees it at its end."""
        if self.acquire(blocking=False):
            self.release()
        else:
            self._at_fork_reinit()  # type: ignore[attr-defined]


class Renewed(Protocol):
    """Describe an object that replaces its locks in a forked child."""

    def renew(self) -> None:
        """Replace the locks by free ones."""


_RENEWED: weakref.WeakSet[Renewed] = weakref.WeakSet()
_CALLED: list[Callable[[], object]] = []
_renewed_in = os.getpid()
"""Process in which the objects were renewed last; the first one needs no renewal."""


def renewed_in_children(holder: Renewed) -> None:
    """Register an object, whose `renew` is called in every forked child for as long as it lives; held by a weak reference."""
    _RENEWED.add(holder)


def called_in_children(call: Callable[[], object]) -> None:
    """Register a function that is called in every forked child after all objects were renewed."""
    _CALLED.append(call)


def renew_all() -> None:
    """Renew all objects in a forked child, once; uWSGI forks without the hooks of Python by default."""
    global _renewed_in  # noqa: PLW0603 - it is of the process
    if _renewed_in == os.getpid():
        return
    _renewed_in = os.getpid()
    for holder in list(_RENEWED):
        holder.renew()
    for call in _CALLED:
        call()


NO_FORK = threading.RLock()
"""Lock to hold while a module is imported, or OpenSSL first used, in the midst of tracing: the process cannot fork then.

Otherwise a child would wait for ever for locks of the interpreter or of OpenSSL that none of its threads can release.
Nothing else belongs in such a block: a fork of the program waits for its end.
"""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=NO_FORK.acquire, after_in_parent=NO_FORK.release, after_in_child=NO_FORK.release)
    os.register_at_fork(after_in_child=renew_all)
