"""Remove the files of a media folder that no span of the store names any more."""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection, Iterator

from otel_agent_trace.errors import SourceError
from otel_agent_trace.store.frames import FrameError, decompressed
from otel_agent_trace.store.media import MediaFolder, names_in
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.sharing import open_regular


def remove_unnamed_media(store: StoreFiles, *, among: Collection[str] | None = None, apply: bool = True) -> list[str]:
    """Remove the content that no file of a store names, and return the names of its files, without their folder.

    It is safe beside programs that write: what was put into the folder since this call began, or for a span that is not
    written yet, stays for the next time.

    Args:
        store: the names of the store.
        among: the names that may be removed; by default all.
        apply: whether to remove them.

    Raises:
        SourceError: a file of the store cannot be read; nothing is removed then.
    """
    folder = MediaFolder(store)
    names = folder.names()
    if not names:
        return []
    others = frozenset(names).difference(among) if among is not None else frozenset[str]()
    return folder.remove_except(lambda: others.union(_named_in(store)), apply=apply)


def media_named_in(path: str) -> Iterator[str]:
    """Yield the names of content in a file.

    Raises:
        FileNotFoundError: it is not there.
        SourceError: it cannot be read.
    """
    try:
        with open(open_regular(path), "rb") as raw:
            yield from names_in(decompressed(raw, _refuse_damage))
    except FileNotFoundError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path}: {getattr(error, 'strerror', None) or error}"
        raise SourceError(msg) from error


def _refuse_damage(error: FrameError) -> None:
    raise error


def _named_in(store: StoreFiles) -> Iterator[str]:
    """Yield the names in all files of a store; a file that is renamed meanwhile is read under its new name."""
    seen: set[tuple[int, int]] = set()
    while new := {path: identity for path in store.files() if (identity := _identity(path)) not in seen}:
        for path, identity in new.items():
            try:
                yield from media_named_in(path)
            except FileNotFoundError:
                continue
            seen.add(identity)


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:  # renamed or removed since it was listed
        return (0, 0)
    return status.st_dev, status.st_ino
