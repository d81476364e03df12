"""Compact a store beside the program that writes to it, in a thread, so that the program does not wait."""

from __future__ import annotations

import _thread

from otel_agent_trace.forks import NO_FORK
from otel_agent_trace.guard import Diagnostics, shielded
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.settings import StoreSettings


def maintain_soon(files: StoreFiles, settings: StoreSettings, diagnostics: Diagnostics) -> None:
    """Compact a store in a thread; a failure is counted, and logged once.

    The thread may be killed at any moment, as it is at the end of the program: whoever compacts next goes on.
    """
    try:
        # Not `threading.Thread`, whose start() never returns in a signal handler that has interrupted another start().
        _thread.start_new_thread(shielded, (diagnostics, "compaction", _compact, files, settings))
    except RuntimeError:  # no further thread can be started, as at the end of the interpreter
        return


def _compact(files: StoreFiles, settings: StoreSettings) -> None:
    with NO_FORK:
        from otel_agent_trace.store.compaction import compact  # noqa: PLC0415 - needed rarely, and slow to import
    compact(files, settings, repairs=False)
