"""List the files that a path, a directory or a glob names; the live file of a store, or its folder, names all that it has."""

from __future__ import annotations

import glob
import os

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.parquet.schema import check_is_no_export, is_parquet_folder
from otel_agent_trace.store import names

SUFFIXES = tuple(
    f".{file_format}{packing}"
    for packing in ("", ".gz", ".zst")
    for file_format in ("jsonl", "json", "ndjson", "pb", "proto", "binpb")
)
"""Endings of the names of files that are read of a directory."""


def expand(path: str) -> list[str]:
    """Return the paths of the files that a path, a directory or a glob names.

    Raises:
        SourceError: there are none, or a Parquet export is named.
    """
    check_names_no_export(path)
    if os.path.isdir(path):
        found = _files_in(path)
        if not found:
            msg = f"{path}: no trace files in this directory (*{', *'.join(SUFFIXES)}){_advice_about_exports(path)}"
            raise SourceError(msg)
        return found
    if is_glob(path):
        found = matches_of(path)
        if not found:
            msg = f"{path}: no file matches this pattern{_advice_about_parameters(path)}"
            raise SourceError(msg)
        return found
    return _files_of_store(path)


def check_names_no_export(path: str) -> None:
    """Check that a path or a glob names no Parquet export, and no file of one.

    Raises:
        SourceError: it does; the message has what to do.
    """
    for name in matches_of(path) if is_glob(path) else [path]:
        check_is_no_export(name)


def is_glob(path: str) -> bool:
    """Return whether a path is a glob, and not the name of an existing file."""
    return glob.has_magic(path) and not os.path.lexists(path)


def matches_of(pattern: str) -> list[str]:
    """Return the paths that fit a glob, without what lies beside stores."""
    return [name for name in sorted(glob.glob(pattern, recursive=True)) if not names.is_beside(name)]


def _files_in(folder: str) -> list[str]:
    """Return the paths of the files with spans in a directory: the journals of stores first, as in `StoreFiles.files`."""
    entries = sorted(list_directory(folder))
    known = set(entries)
    stores = [names.store_of_journals(os.path.join(folder, name)) for name in entries]
    journals = [path for store in stores if store is not None for path in store.journals()]
    plain = [name for name in entries if name.endswith(SUFFIXES) or names.is_rotated(name)]
    return journals + [os.path.join(folder, name) for name in plain if not names.is_compressed_among(name, known)]


def _files_of_store(path: str) -> list[str]:
    """Return the paths of the files of the store whose live file has a path; a closed segment is itself alone."""
    if "\0" in path or names.store_of_segment(path) is not None or names.is_journal(path):
        return [path]
    has_live = os.path.lexists(path)  # before the closed ones, as in `StoreFiles.files`
    store = names.StoreFiles(os.path.realpath(path))
    others = [*store.journals(), *store.closed()]
    return [*others, path] if has_live or not others else others


def _advice_about_parameters(pattern: str) -> str:
    """Return the advice for a pattern that is a path with the parameters of an address, and an empty text for others."""
    path, _, parameters = pattern.partition("?")
    if "=" not in parameters or not os.path.lexists(path):
        return ""
    names = ", ".join(repr(parameter.partition("=")[0]) for parameter in parameters.split("&"))
    return f"; {path} takes no parameters such as {names}, only addresses of servers do: give filters by themselves"


def _advice_about_exports(folder: str) -> str:
    """Return the advice for a folder in which there are Parquet exports, and an empty text for others."""
    exports = [name for name in sorted(os.listdir(folder)) if is_parquet_folder(os.path.join(folder, name))]
    return f"; a Parquet export in it is read by its own name, as {os.path.join(folder, exports[0])}" if exports else ""


def list_directory(folder: str) -> list[str]:
    """Return the names in a directory.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        return os.listdir(folder)
    except OSError as error:
        msg = f"{folder}: {error.strerror}"
        raise SourceError(msg) from error


def size_of(path: str) -> int:
    """Return the size of a file in bytes; 0 for one that cannot be opened, whose error opening it will raise."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def is_gone(file: str, named: str, error: SourceError) -> bool:
    """Return whether a file has been renamed or removed since its folder was listed, as log rotation does.

    So may the live file of a store that was named itself, which has segments then, or a new live file.
    """
    if not isinstance(error.__cause__, FileNotFoundError) or os.path.islink(file):
        return False
    return file != named or os.path.lexists(file) or expand(named) != [file]
