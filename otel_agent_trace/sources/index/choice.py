"""Decide whether the store at a path has an index, or is large enough for one; imports nothing of SQLite."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Sequence

from otel_agent_trace.errors import ConfigurationError, SourceError
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.listing import size_of
from otel_agent_trace.store.names import StoreFiles, is_journal, store_of, store_of_segment

VARIABLE = "OTEL_AGENT_TRACE_INDEX"
LEAST_BYTES = 8 << 20
"""Size of a store from which on reading it takes longer than making an index."""


_OFF, _ON = ("off", "0", "false", "no"), ("", "on", "1", "true", "yes")


def is_off() -> bool:
    """Return whether the environment asks to do without an index.

    Raises:
        ConfigurationError: the variable has a value that cannot be meant.
    """
    given = os.environ.get(VARIABLE, "").strip().lower()
    if given not in (*_OFF, *_ON):
        msg = f"{VARIABLE}={given} must be on or off"
        raise ConfigurationError(msg)
    return given in _OFF


def store_at(path: str, files: Sequence[str]) -> StoreFiles | None:
    """Return the store whose files are those that a path names; None where they are of several, or of none.

    Args:
        path: the path of a live file, or of its folder.
        files: what `FilesSource.files` returns for it.
    """
    if store_of_segment(path) is not None or is_journal(path):
        return None  # a part of a store
    stores = {store_of(os.path.realpath(file)) for file in files}
    return stores.pop() if len(stores) == 1 else None


def indexed_store(path: str) -> StoreFiles | None:
    """Return the store at a path, if it has an index or is large enough for one; None if not, or if that is off."""
    if is_off() or "\0" in path:
        return None
    try:
        files = FilesSource([path]).files()
    except SourceError:  # reading will raise it
        return None
    store = store_at(path, files)
    if store is None:
        return None
    is_large = sum(map(size_of, files)) >= LEAST_BYTES
    return store if is_large or any(map(os.path.lexists, index_paths(store))) else None


def index_paths(store: StoreFiles) -> list[str]:
    """Return where the index of a store may be: beside it, else in the folder of caches of this account."""
    name = hashlib.sha256(os.fsencode(store.path)).hexdigest()
    return [store.index, os.path.join(cache_folder(), f"{name}.index")]


def remove_database(path: str) -> bool:
    """Remove an index and what SQLite keeps beside it, and return whether there is none now."""
    for name in (path, f"{path}-wal", f"{path}-shm", f"{path}-journal"):
        with contextlib.suppress(OSError):
            os.unlink(name)
    return not os.path.lexists(path)


def cache_folder() -> str:
    """Return the folder of indexes of stores in folders that one may not write."""
    import platformdirs  # noqa: PLC0415 - rarely needed

    return os.path.join(platformdirs.user_cache_dir("otel-agent-trace"), "indexes")


def make_cache_folder() -> bool:
    """Make the folder of indexes, and return whether it belongs to this account."""
    folder = cache_folder()
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and (not hasattr(os, "geteuid") or found.st_uid == os.geteuid())
