"""The end of the processes of `multiprocessing`, which run no `atexit` of their parent's."""

from __future__ import annotations

import sys
import weakref
from typing import Any, Protocol


class Ending(Protocol):
    """What has something to do at the end of a process."""

    def shutdown(self) -> None:
        """Do it; more than once is harmless."""


def call_at_end_of_workers(ending: Ending) -> None:
    """Have `ending.shutdown()` called at the end of a process that `multiprocessing` made.

    To be called again in each forked child: whoever imports `multiprocessing` may do so later than we are made.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    process: Any = sys.modules.get("multiprocessing.process")
    if util is None or process is None:
        return
    util.register_after_fork(ending, _register)  # a new process first forgets what was registered, then calls these
    if process.parent_process() is not None:
        _register(ending)


def _register(ending: Ending) -> None:
    util: Any = sys.modules["multiprocessing.util"]
    util.Finalize(None, _end, args=(weakref.ref(ending),), exitpriority=0)


def _end(reference: weakref.ref[Ending]) -> None:
    ending = reference()
    if ending is not None:
        ending.shutdown()
