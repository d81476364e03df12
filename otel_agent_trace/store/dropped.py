"""Count what sampling has dropped from a store, also what journals of dead processes have that nobody has folded yet."""

from __future__ import annotations

import os
from contextlib import suppress

from otel_agent_trace.sampling import DroppedTraces
from otel_agent_trace.store.decisions import has_kept
from otel_agent_trace.store.dropped_counts import read_counts, summed
from otel_agent_trace.store.liveness import is_alive
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.sampled_journals import sampled
from otel_agent_trace.store.sharing import open_regular


def read_dropped(files: StoreFiles) -> list[DroppedTraces]:
    """Return how many traces sampling has dropped from a store, by agent, status and hour; none once runs were removed.

    That somebody else removed runs is noticed where nothing is left of those that were kept.
    """
    if os.path.lexists(files.removals) or (_is_empty(files) and has_kept(files)):
        return []
    in_journals = _dropped_in_journals(files)
    counts, added = read_counts(files)  # after the journals, which are removed when they are added
    found = [one for name, dropped in in_journals.items() if name not in added for one in dropped.values()]
    return summed([*counts, *found])


def _is_empty(files: StoreFiles) -> bool:
    """Return whether no file of a store has any content."""
    for path in files.files():
        with suppress(FileNotFoundError):
            if os.stat(path).st_size:
                return False
    return True


def _dropped_in_journals(files: StoreFiles) -> dict[str, dict[str, DroppedTraces]]:
    """Return what is counted of the dropped traces in journals of dead processes, by the names of the journals."""
    found = {}
    for path in files.journals():
        with suppress(OSError):
            if is_alive(path) is False:
                with open(open_regular(path), "rb") as file:
                    found[os.path.basename(path)] = sampled(files, file.read(), is_alive=False).dropped
    return found
