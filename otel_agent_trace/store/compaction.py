"""Compact a store: fold dead journals, repair torn lines, compress closed segments, and remove what is not kept.

A program may be killed at any moment of it: nothing is lost or doubled, and the next compaction goes on. It never waits for
a program that writes: a file that one has open is left for the next time.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import IO, Any

import msgspec

from otel_agent_trace.errors import SourceError
from otel_agent_trace.store.folding import fold_dead_journals
from otel_agent_trace.store.frames import FRAME_BYTES, FrameWriter, is_intact
from otel_agent_trace.store.names import COMPRESSED, StoreFiles
from otel_agent_trace.store.repair import repair
from otel_agent_trace.store.replacing import written_beside
from otel_agent_trace.store.retention import apply_retention
from otel_agent_trace.store.settings import StoreSettings
from otel_agent_trace.store.sharing import alone_in, held, open_regular, take, written_elsewhere
from otel_agent_trace.store.unnamed_media import remove_unnamed_media

BUSY = "somebody else compacts a store in this folder, or removes runs from one, at this moment"
NO_LOCKS = "files cannot be locked here, so that nothing is repaired or compressed"


class Compacted(msgspec.Struct, frozen=True, kw_only=True):
    """Represent what a compaction did.

    Args:
        folded: number of journals of dead processes that were folded into the live file.
        repaired: number of torn lines that were repaired.
        compressed: number of segments that were compressed.
        removed: number of segments that were removed, as they are not kept.
        in_use: number of files that were left as they are, since a program has them open.
        leftovers: number of files that were removed which killed compactions had left.
        media: number of binary parts that were removed, as no span names them any more: of traces that sampling dropped.
        failed: number of files that could not be read or changed.
        reason: why nothing, or not all, was done; empty if that is not so.
    """

    folded: int = 0
    repaired: int = 0
    compressed: int = 0
    removed: int = 0
    in_use: int = 0
    leftovers: int = 0
    media: int = 0
    failed: int = 0
    reason: str = ""

    def __add__(self, other: Compacted) -> Compacted:
        """Return what both compactions did."""
        reasons = "; ".join(dict.fromkeys(filter(None, (self.reason, other.reason))))
        numbers = {name: value + getattr(other, name) for name, value in self.to_dict().items() if name != "reason"}
        return Compacted(**numbers, reason=reasons)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-serializable data."""
        return msgspec.structs.asdict(self)


def compact(files: StoreFiles, settings: StoreSettings, *, repairs: bool = True) -> Compacted:
    """Compact a store, and return what was done; nothing is, while somebody else compacts it.

    Args:
        files: the names of the store.
        settings: whether to compress, and what is kept.
        repairs: whether to look for torn lines in all files, and for binary parts that nobody names; otherwise for torn lines
            in those that are compressed only.

    Raises:
        OSError: the folder of the store cannot be read.
    """
    counts = Counter[str]()
    with alone_in(files.folder) as is_alone:
        if is_alone is False:
            return Compacted(reason=BUSY)
        counts += tidy(files) if is_alone else Counter(folded=fold_dead_journals(files))
        if is_alone:
            if repairs:
                _for_each([path for path in (*files.closed(), files.path) if _is_plain(path)], _repaired, counts)
            if settings.compress is not None:
                _compress_segments(files, counts)
        counts["removed"] += apply_retention(files, settings)
        if is_alone and repairs:
            with suppress(SourceError):  # what cannot be read may name them
                counts["media"] += len(remove_unnamed_media(files))
    return Compacted(**counts, reason="" if is_alone else NO_LOCKS)


def tidy(files: StoreFiles) -> Counter[str]:
    """Fold dead journals, remove what killed compactions left, and return what was done.

    Only who is alone in the folder of the store may call it.
    """
    return Counter(folded=fold_dead_journals(files), leftovers=_remove_leftovers(files))


def _is_plain(path: str) -> bool:
    return not path.endswith((COMPRESSED, ".gz"))


def _compress_segments(files: StoreFiles, counts: Counter[str]) -> None:
    """Compress the segments, also those that programs close meanwhile, which find that somebody is at work."""
    seen: set[str] = set()
    while new := [path for path in files.segments() if _is_plain(path) and path not in seen]:
        seen.update(new)
        written = written_elsewhere(new)
        counts["in_use"] += len(written)
        _for_each([path for path in new if path not in written], _compressed, counts)


def _for_each(paths: Iterable[str], work: Callable[[str], Counter[str]], counts: Counter[str]) -> None:
    for path in paths:
        try:
            counts += work(path)
        except FileNotFoundError:  # renamed or removed meanwhile
            continue
        except OSError:
            counts["failed"] += 1


def _repaired(path: str) -> Counter[str]:
    lines = repair(path)
    return Counter(in_use=1) if lines is None else Counter(repaired=lines)


def _compressed(path: str) -> Counter[str]:
    """Repair and compress a segment, unless a program has it open, and return what was done.

    The compressed copy is on the disk, under its name, before the plain one is removed: whoever finds both has the same
    content twice.
    """
    lines = repair(path)
    with held(open_regular(path)) as descriptor, open(descriptor, "rb", closefd=False) as plain:
        if lines is None or not take(descriptor):
            return Counter(in_use=1)
        _write_compressed(plain, f"{path}{COMPRESSED}")
        os.unlink(path)
    return Counter(repaired=lines, compressed=1)


def _write_compressed(plain: IO[bytes], path: str) -> None:
    status = os.fstat(plain.fileno())
    with written_beside(path, status) as beside:
        writer = FrameWriter(beside.write)
        shutil.copyfileobj(plain, writer, FRAME_BYTES)
        writer.close()
        beside.flush()
        os.utime(beside.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(beside.fileno())
        os.replace(beside.name, path)


def _remove_leftovers(files: StoreFiles) -> int:
    """Remove what killed compactions left, and return the number of files: only who is alone in the folder may do so."""
    removed = 0
    for path in files.unfinished():
        os.unlink(path)
        removed += 1
    for path in files.replaced():
        if is_intact(f"{path}{COMPRESSED}"):
            os.unlink(path)
            removed += 1
        else:
            os.unlink(f"{path}{COMPRESSED}")
    return removed
