"""Name the files of a store: the live file, its closed segments, those that others rotated away, and what lies beside it.

The store of ``traces.jsonl``:

- ``traces.jsonl``: the live file, to which writers append.
- ``traces-20261128T101500.123456Z-9f3a1c2b.jsonl``, ``….jsonl.zst``: closed segments, the latter compressed.
- ``traces.jsonl.1``, ``traces.jsonl-20261128``, each also ``.gz`` or ``.zst``: names of logrotate.
- ``traces.jsonl.open/``: journals, one for each process that writes.
- ``traces.jsonl.media/``: binary parts, each by its sha256.
- ``traces.jsonl.sampling/``: what sampling has decided and counted, see `decisions` and `dropped_counts`.
- ``traces.jsonl.lock``, ``traces.jsonl.index`` (SQLite, with ``-wal`` and ``-shm``): may be deleted at any time.

Names are matched exactly, since somebody's own ``traces-old.jsonl`` does not belong to the store.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Container
from datetime import datetime, timezone

import msgspec

COMPRESSED = ".zst"
UNFINISHED = ".replacing"
"""End of the hidden name of a file that is written beside another one, which it replaces when it is complete."""
_TIME_FORMAT = "%Y%m%dT%H%M%S.%fZ"
_CLOSED_AT = r"-(?P<time>\d{8}T\d{6}\.\d{6}Z)-[0-9a-f]{8}"
_ROTATED = r"\.\d{1,6}|-\d{8}(?:-?\d{2,10})?|-\d{4}-\d{2}-\d{2}(?:-\d{2,10})?|-\d{10}"
_PACKED = r"(?:\.gz|\.zst)?"
_SEGMENT = re.compile(rf"(?P<stem>.+){_CLOSED_AT}(?P<extension>\.[^.]+|)(?:\.zst)?", re.DOTALL)
_ROTATED_NAME = re.compile(rf".+\.(?:jsonl|json|ndjson)(?:{_ROTATED}){_PACKED}", re.DOTALL)
_JOURNALS = ".open"
_LIVE = (".jsonl", ".ndjson")
_JOURNAL = re.compile(r"\d{1,10}-[0-9a-f]{8}\.jsonl")
_COUNTS = re.compile(r"\d{1,10}-[0-9a-f]{8}\.counts")
_BESIDE = re.compile(r".+\.(?:open|media|sampling|lock|index(?:-wal|-shm|-journal)?)", re.DOTALL)


class StoreFiles(msgspec.Struct, frozen=True):
    """Name the files of a store, and list those that exist.

    Args:
        path: the path of the live file, without symbolic links.
    """

    path: str

    @property
    def folder(self) -> str:
        """Return the path of the folder of the live file and its segments."""
        return os.path.dirname(self.path) or "."

    @property
    def journal_folder(self) -> str:
        """Return the path of the folder of journals."""
        return f"{self.path}{_JOURNALS}"

    @property
    def media_folder(self) -> str:
        """Return the path of the folder of binary parts."""
        return f"{self.path}.media"

    @property
    def sampling_folder(self) -> str:
        """Return the path of the folder of what sampling has decided and counted."""
        return f"{self.path}.sampling"

    @property
    def decisions(self) -> str:
        """Return the path of the file of decisions."""
        return os.path.join(self.sampling_folder, "decisions")

    @property
    def counted_undecided(self) -> str:
        """Return the path of the file of traces that were counted as dropped before another process decided about them."""
        return os.path.join(self.sampling_folder, "counted")

    @property
    def removals(self) -> str:
        """Return the path of the file that is there once runs were removed, so that counts of dropped traces do not fit."""
        return os.path.join(self.sampling_folder, "removals")

    @property
    def total(self) -> str:
        """Return the path of the counts of dropped traces that were added up."""
        return os.path.join(self.sampling_folder, "total.json")

    def new_counts(self) -> str:
        """Return a new path for the counts of this process."""
        return os.path.join(self.sampling_folder, f"{os.getpid()}-{secrets.token_hex(4)}.counts")

    def counts(self) -> dict[str, str]:
        """Return the paths of the counts of processes by their names, the oldest first."""
        folder = self.sampling_folder
        return {name: os.path.join(folder, name) for name in sorted(_listed(folder)) if _COUNTS.fullmatch(name)}

    @property
    def lock(self) -> str:
        """Return the path of the file that whoever rotates or compacts the store locks."""
        return f"{self.path}.lock"

    @property
    def index(self) -> str:
        """Return the path of the index."""
        return f"{self.path}.index"

    def new_segment(self, now_ns: int) -> str:
        """Return a new path for a segment that is closed at this time (Unix nanoseconds)."""
        stem, extension = os.path.splitext(self.path)
        moment = datetime.fromtimestamp(now_ns / 1e9, timezone.utc).strftime(_TIME_FORMAT)
        return f"{stem}-{moment}-{secrets.token_hex(4)}{extension}"

    def segments(self) -> list[str]:
        """Return the paths of the closed segments, the oldest first; of one that is compressed, only that file.

        A plain file beside its compressed copy has the same content: whoever compressed it was killed before removing it.
        """
        names = set(self._names_like(_CLOSED_AT, COMPRESSED))
        return [os.path.join(self.folder, name) for name in sorted(names) if f"{name}{COMPRESSED}" not in names]

    def replaced(self) -> list[str]:
        """Return the paths of plain segments beside their compressed copies."""
        names = set(self._names_like(_CLOSED_AT, COMPRESSED))
        return [os.path.join(self.folder, name) for name in sorted(names) if f"{name}{COMPRESSED}" in names]

    def unfinished(self) -> list[str]:
        """Return the paths of files that were to replace one of the store."""
        stem, extension = map(re.escape, os.path.splitext(os.path.basename(self.path)))
        name = rf"(?:{stem}{_CLOSED_AT}{extension}|{stem}{extension}(?:{_ROTATED})?){_PACKED}"
        pattern = re.compile(rf"\.{name}\.\w{{8}}{re.escape(UNFINISHED)}", re.DOTALL)
        return [os.path.join(self.folder, found) for found in _listed(self.folder) if pattern.fullmatch(found)]

    def rotated(self) -> list[str]:
        """Return the paths of files that logrotate renamed, in alphabetical order."""
        pattern = re.compile(rf"{re.escape(os.path.basename(self.path))}(?:{_ROTATED}){_PACKED}", re.DOTALL)
        return [os.path.join(self.folder, found) for found in sorted(_listed(self.folder)) if pattern.fullmatch(found)]

    def journals(self) -> list[str]:
        """Return the paths of the journals."""
        folder = self.journal_folder
        paths = [os.path.join(folder, name) for name in sorted(_listed(folder)) if _JOURNAL.fullmatch(name)]
        return [path for path in paths if not os.path.islink(path)]

    def closed(self) -> list[str]:
        """Return the paths of the closed segments, and of what others rotated away."""
        return [*self.segments(), *self.rotated()]

    def files(self) -> list[str]:
        """Return the paths of all files with spans: journals first, then closed ones, then the live file, if it exists.

        Journals are first, since a span that ends meanwhile moves from its journal to the live file. The live file is looked
        for before the closed ones, as it may be closed at any moment: it is found there then.
        """
        live = [self.path] if os.path.lexists(self.path) else []
        return [*self.journals(), *self.closed(), *live]

    def _names_like(self, middle: str, packing: str) -> list[str]:
        stem, extension = map(os.path.basename, os.path.splitext(self.path))
        pattern = re.compile(rf"{re.escape(stem)}{middle}{re.escape(extension)}(?:{re.escape(packing)})?", re.DOTALL)
        return [name for name in _listed(self.folder) if pattern.fullmatch(name)]


def store_of_segment(path: str) -> StoreFiles | None:
    """Return the store that a closed segment belongs to, by its name; None for any other name."""
    match = _SEGMENT.fullmatch(path)
    return StoreFiles(match["stem"] + match["extension"]) if match else None


def store_of(path: str) -> StoreFiles:
    """Return the store that any file with spans belongs to, by its name, which may be that of the live file itself."""
    if is_journal(path):
        return StoreFiles(os.path.dirname(path).removesuffix(_JOURNALS))
    segment = store_of_segment(path)
    if segment is not None:
        return segment
    plain = re.sub(rf"{_PACKED}\Z", "", path, count=1)
    folder, name = os.path.split(plain)
    live = re.sub(rf"(?:{_ROTATED})(?=\Z|\.[^.]*\Z)", "", name, count=1)
    return StoreFiles(os.path.join(folder, live or name))


def stores_in(folder: str) -> list[StoreFiles]:
    """Return the stores of which a folder has a live file, closed segments, or journals."""
    found = (_store_at(os.path.join(folder, name)) for name in sorted(_listed(folder)))
    return [*dict.fromkeys(store for store in found if store is not None)]


def _store_at(path: str) -> StoreFiles | None:
    """Return the store that a live file, what was closed of one, or a folder of journals shows; None for other files."""
    if path.endswith(_LIVE) and store_of_segment(path) is None and os.path.isfile(path):
        return StoreFiles(path)
    return store_of_journals(path) or (store_of(path) if is_rotated(path) else store_of_segment(path))


def closed_at(path: str) -> datetime | None:
    """Return the time when a segment was closed, by its name; None for any other name."""
    match = _SEGMENT.fullmatch(path)
    if match is None:
        return None
    return datetime.strptime(match["time"], _TIME_FORMAT).replace(tzinfo=timezone.utc)


def is_journal(path: str) -> bool:
    """Return whether a path is that of a journal, by its name and that of its folder."""
    folder, name = os.path.split(path)
    return folder.endswith(_JOURNALS) and _JOURNAL.fullmatch(name) is not None


def is_compressed_among(name: str, names: Container[str]) -> bool:
    """Return whether the name of a plain segment has beside it that of the compressed one, whose content is the same."""
    return f"{name}{COMPRESSED}" in names and _SEGMENT.fullmatch(name) is not None


def is_rotated(path: str) -> bool:
    """Return whether logrotate may have given a file of JSON lines such a name."""
    return _ROTATED_NAME.fullmatch(path) is not None


def store_of_journals(folder: str) -> StoreFiles | None:
    """Return the store whose journals are in a folder, by its name; None for any other name."""
    return StoreFiles(folder.removesuffix(_JOURNALS)) if folder.endswith(_JOURNALS) else None


def is_beside(path: str) -> bool:
    """Return whether a path is that of something that lies beside a live file, and is no file of spans."""
    match = _BESIDE.fullmatch(path)
    return match is not None


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # no such folder, or not ours to read
        return []
