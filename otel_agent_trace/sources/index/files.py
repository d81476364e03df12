"""Look at the files of a store at one moment, although programs rotate, compress and remove them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from otel_agent_trace.sources.index.segments import StaleError, Status
from otel_agent_trace.sources.kept_journals import KeptJournals
from otel_agent_trace.sources.scanned_files import ScannedFile
from otel_agent_trace.store.names import is_journal

_MOST_LISTINGS = 10

_kept = KeptJournals()

Listing = Callable[[], Sequence[str]]
"""Function that returns the paths of the files of a store, in the order in which they are read."""


def journals_of(listing: Listing) -> Sequence[ScannedFile]:
    """Return the journals of a store as they are; what ends later is in its other files.

    Raises:
        StaleError: some were removed each time that they were looked at.
    """
    for _ in range(_MOST_LISTINGS):
        paths = [path for path in listing() if is_journal(path)]
        journals = _kept.read(paths)
        if len(journals) == len(paths):  # what was in one that is gone may be in another by now
            return journals
    raise StaleError


def files_of(listing: Listing) -> Sequence[Status]:
    """Return the status of each file of a store at one moment, without the journals.

    Raises:
        StaleError: its files changed each time that they were looked at.
    """
    before: set[tuple[str, str]] | None = None
    for _ in range(_MOST_LISTINGS):
        paths = [path for path in listing() if not is_journal(path)]
        found = [*_statuses_of(paths)]
        now = {(status.path, status.identity) for status in found}
        if now == before:
            return found
        before = now
    raise StaleError


def _statuses_of(paths: Sequence[str]) -> Iterator[Status]:
    seen = set[str]()
    for path in paths:
        try:
            status = Status.of(path)
        except OSError:
            continue  # renamed or removed meanwhile
        if status.identity not in seen:
            seen.add(status.identity)
            yield status
