"""Remove what lies beside a store and may hold parts of removed runs."""

from __future__ import annotations

import os
from contextlib import suppress

from otel_agent_trace.store.names import StoreFiles


def remove_index(store: StoreFiles) -> None:
    """Remove the index of a store, which has previews of runs; the next reader makes it anew.

    Raises:
        OSError: it cannot be removed.
    """
    for suffix in ("-wal", "-shm", "-journal", ""):
        with suppress(FileNotFoundError):
            os.unlink(f"{store.index}{suffix}")
