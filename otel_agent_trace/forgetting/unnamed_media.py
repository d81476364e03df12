"""Remove the files of a media folder that no span of the store names any more."""

from __future__ import annotations

import os
from collections.abc import Iterator

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.files import blocks_of
from otel_agent_trace.store.media import MediaFolder, names_in
from otel_agent_trace.store.names import StoreFiles


def remove_unnamed_media(store: StoreFiles, *, apply: bool = True) -> list[str]:
    """Remove the content that no file of a store names, and return the names of its files, without their folder.

    It is safe beside programs that write: what was put into the folder since this call began, or for a span that is not
    written yet, stays for the next time.

    Args:
        store: the names of the store.
        apply: whether to remove them.

    Raises:
        SourceError: a file of the store cannot be read; nothing is removed then.
    """
    folder = MediaFolder(store)
    return folder.remove_except(lambda: _named_in(store), apply=apply) if folder.names() else []


def _named_in(store: StoreFiles) -> Iterator[str]:
    """Yield the names in all files of a store; a file that is renamed meanwhile is read under its new name."""
    seen: set[tuple[int, int]] = set()
    while new := {path: identity for path in store.files() if (identity := _identity(path)) not in seen}:
        for path, identity in new.items():
            try:
                yield from names_in(blocks_of(path))
            except SourceError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
            seen.add(identity)


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:  # renamed or removed since it was listed
        return (0, 0)
    return status.st_dev, status.st_ino
