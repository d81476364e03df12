"""Shut down what still holds spans when a process ends, also where a library ends it by `os._exit` after a hook of its own.

Modules of others are looked up in `sys.modules`, never imported: those that are there when something is registered, and
before each fork those that were imported meanwhile.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from otel_agent_trace.forks import renew_all


class Closable(Protocol):
    """Describe what is shut down at an end; it is held by a weak reference."""

    def shutdown(self) -> None:
        """Send what waits, within a bounded time, and raise nothing."""


_Holders = weakref.WeakValueDictionary[int, Closable]
"""Objects by id, in the order in which they were added."""

_AT_EXIT: _Holders = weakref.WeakValueDictionary()
_AT_END_OF_WORKER: _Holders = weakref.WeakValueDictionary()
_taken: set[str] = set()
"""Names of the hooks that were taken in this process or its parents."""


def shut_down_at_exit(holder: Closable) -> None:
    """Shut an object down when the interpreter exits, unless it is collected or removed before.

    Functions that the program registers with `atexit` after the first such call can still trace.
    """
    if "atexit" not in _taken:
        _taken.add("atexit")
        atexit.register(_shut_down, _AT_EXIT)
    _AT_EXIT[id(holder)] = holder


def shut_down_at_end_of_worker(holder: Closable) -> None:
    """Shut an object down before a process ends that runs no `atexit` functions, if its library has a hook for that."""
    _AT_END_OF_WORKER[id(holder)] = holder
    _take_hooks()


def shut_down_all() -> None:
    """Shut down everything that is registered."""
    _shut_down(_AT_EXIT)
    _shut_down_in_worker()


def remove(holder: Closable) -> None:
    """Remove an object that is shut down."""
    _AT_EXIT.pop(id(holder), None)
    _AT_END_OF_WORKER.pop(id(holder), None)


def _shut_down(holders: _Holders) -> None:
    """Shut down what was added last first, as `atexit` does."""
    for reference in reversed(holders.valuerefs()):
        holder = reference()
        if holder is not None:
            holder.shutdown()


def _shut_down_in_worker() -> None:
    _shut_down(_AT_END_OF_WORKER)


# ── the hooks of libraries ───────────────────────────────────────────────────────────────────────────────────────────


class _ForkedChild:
    """Represent, in the registry of `multiprocessing`, what is to be done in each forked child."""


_FORKED_CHILD = _ForkedChild()


def _take_hooks() -> None:
    """Take the hooks of the libraries that are imported, each once a process."""
    if "billiard.process" in sys.modules:
        import multiprocessing.util  # noqa: F401, PLC0415 - a child of billiard imports it after the fork, too late
    for name, take in (("multiprocessing.util", _take_multiprocessing), ("uwsgi", _take_uwsgi)):
        module = sys.modules.get(name)
        if module is not None and name not in _taken:
            _taken.add(name)
            take(module)


def _take_multiprocessing(util: Any) -> None:
    """Register for children of `multiprocessing` and of `billiard`, which uses its registries.

    A forked child first clears its finalizers, and then calls what is registered for after the fork.
    """
    util.register_after_fork(_FORKED_CHILD, _in_forked_child)
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:  # a spawned one, which is running already
        _in_forked_child(_FORKED_CHILD)


def _in_forked_child(_: _ForkedChild) -> None:
    util: Any = sys.modules["multiprocessing.util"]
    util.Finalize(None, _shut_down_in_worker, exitpriority=0)
    _take_worker_of_billiard()


def _take_worker_of_billiard() -> None:
    """Extend `on_exit` of a worker of billiard's pools, Celery's too, which ends by `os._exit` without finalizers."""
    process: Any = sys.modules.get("billiard.process")
    if process is None:
        return
    worker: Any = getattr(process.current_process(), "_target", None)
    if hasattr(worker, "on_exit"):
        _extend(worker, "on_exit", _shut_down_in_worker)


def _take_uwsgi(uwsgi: Any) -> None:
    """Extend ``uwsgi.atexit`` and ``uwsgi.post_fork_hook``.

    uWSGI runs `atexit` functions only if it is not configured to skip them. It forks its workers without the functions of
    `os.register_at_fork`, unless ``--py-call-osafterfork`` is set: threads, ids and locks of the workers would be those of
    the master.
    """
    _extend(uwsgi, "atexit", _shut_down_in_worker)
    _extend(uwsgi, "post_fork_hook", renew_all)


def _extend(owner: Any, hook: str, call: Callable[[], object]) -> None:
    """Call a function after that which a module or an object has as its hook."""
    given = getattr(owner, hook, None)

    def extended(*arguments: object) -> None:
        try:
            if given is not None:
                given(*arguments)
        finally:
            call()

    setattr(owner, hook, extended)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_hooks)
