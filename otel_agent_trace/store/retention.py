"""Remove closed segments of a store that are too old, or too many for the bytes that it may take on disk.

Only segments that this library closed are removed, never the live file, nor what others rotated away. A segment is as old
as the moment at which it was closed, which is in its name.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from otel_agent_trace.errors import SourceError
from otel_agent_trace.store.dropped_counts import note_removal
from otel_agent_trace.store.media import MediaFolder
from otel_agent_trace.store.names import COMPRESSED, StoreFiles, closed_at
from otel_agent_trace.store.settings import StoreSettings
from otel_agent_trace.store.sharing import held, open_regular, take, unlock
from otel_agent_trace.store.unnamed_media import media_named_in, remove_unnamed_media

_S_PER_DAY = 86400
_BLOCK_BYTES = 512


def apply_retention(files: StoreFiles, settings: StoreSettings) -> int:
    """Remove the segments that are not kept, the oldest first, and return their number.

    Args:
        files: the names of the store.
        settings: the days for which segments are kept, and the bytes that the store may take.
    """
    removed = 0
    if settings.keep_days is not None:
        oldest_s = time.time() - settings.keep_days * _S_PER_DAY
        removed += sum(_remove(files, path) for path in files.segments() if _closed_at_s(path) < oldest_s)
    if settings.keep_bytes is not None:
        of_spans = sum(map(bytes_of_file, files.files()))
        for path in files.segments():
            if of_spans + bytes_of_media(files) <= settings.keep_bytes:
                break
            size = bytes_of_file(path)
            if _remove(files, path):
                of_spans -= size
                removed += 1
    return removed


def bytes_on_disk(files: StoreFiles) -> int:
    """Return the bytes that all files of spans and the binary parts beside them take on disk.

    The index is left out: it may be deleted at any time.
    """
    return sum(map(bytes_of_file, files.files())) + bytes_of_media(files)


def bytes_of_media(files: StoreFiles) -> int:
    """Return the bytes that the binary parts of a store take on disk."""
    folder = MediaFolder(files)
    return sum(bytes_of_file(os.path.join(folder.path, name)) for name in folder.names())


def bytes_of_file(path: str) -> int:
    """Return the bytes of the blocks of a file; 0 if it is not there."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return status.st_blocks * _BLOCK_BYTES if hasattr(status, "st_blocks") else status.st_size


def _closed_at_s(path: str) -> float:
    moment = closed_at(path)
    return float("inf") if moment is None else moment.timestamp()


def _remove(files: StoreFiles, path: str) -> bool:
    """Remove a segment, unless a program has it open, and the binary parts that it was the last one to name."""
    named = set[str]()
    with suppress(OSError):
        if os.path.isdir(files.media_folder):
            with suppress(SourceError):  # damaged: those that can be read
                named.update(media_named_in(path))
        for each in (path.removesuffix(COMPRESSED), path):  # a plain one may be left beside a compressed one
            if os.path.lexists(each) and not remove_unused(each):
                return False
        note_removal(files)
        if named:
            with suppress(SourceError):  # what cannot be read may name them too
                remove_unnamed_media(files, among=named)
        return True
    return False


def remove_unused(path: str) -> bool:
    """Remove a file unless a program has it open, and return whether it is gone.

    Raises:
        OSError: it cannot be removed.
    """
    with held(open_regular(path)) as descriptor:
        if take(descriptor) is False:
            return False
        os.unlink(path)
        unlock(descriptor)
    return True
