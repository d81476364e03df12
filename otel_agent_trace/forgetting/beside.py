"""Remove what lies beside a store and may hold parts of removed runs."""

from __future__ import annotations

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.index.choice import index_paths, remove_database
from otel_agent_trace.store.names import StoreFiles


def remove_index(store: StoreFiles) -> None:
    """Remove the index of a store, which has previews of runs; the next reader makes it anew.

    Raises:
        SourceError: it cannot be removed.
    """
    left = [path for path in index_paths(store) if not remove_database(path)]
    if left:
        msg = f"{left[0]}: the index cannot be removed"
        raise SourceError(msg)
