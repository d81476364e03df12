"""Open sources of spans: files, servers, backends, and several of them at once; each is a `SpanSource`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any

from otel_agent_trace.errors import ConfigurationError, SourceError
from otel_agent_trace.prices import Prices, PricesGiven
from otel_agent_trace.sources.addresses import scheme_of, services_of, with_scheme, without_secrets
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.index.choice import indexed_store
from otel_agent_trace.sources.listing import is_glob, matches_of
from otel_agent_trace.sources.parquet.schema import is_parquet_folder
from otel_agent_trace.sources.runs import RunsSource
from otel_agent_trace.sources.several import SeveralSources
from otel_agent_trace.span import SpanSource

Progress = Callable[[int, "int | None"], None]
"""Function that is called now and then with the amount read and, where it is known, the total: bytes of files, else traces."""

Opener = Callable[..., SpanSource]
"""Function that returns the source of an address; called with the address and, by keyword, the options of `open_source`."""

ENTRY_POINT_GROUP = "otel_agent_trace.sources"
"""Group of entry points that add sources: their name is the scheme of addresses, their object an `Opener`."""

_OPENERS = {
    "clickhouse": ("otel_agent_trace.sources.clickhouse", "ClickHouseSource"),
    "clickhouses": ("otel_agent_trace.sources.clickhouse", "ClickHouseSource"),
    "http": ("otel_agent_trace.sources.jaeger", "JaegerSource"),
    "https": ("otel_agent_trace.sources.jaeger", "JaegerSource"),
}
"""Scheme of an address → module and name of its `Opener`, imported when it is used, since clients are slow to import."""


def open_source(source: Any, *, on_progress: Progress | None = None, media: bool = True, **options: Any) -> SpanSource:
    """Return the source for a path, a glob, a directory, an address, a backend, or a list of them.

    Args:
        source: what to read. A text with a scheme (``http://host:16686?service=NAME``) is an address, unless there is a
            file of that name. A backend is any object with `traces(on_problem)`, as a `SpanSource` has it, or `runs()`.
        on_progress: called now and then with the progress of reading.
        media: whether pictures and other content beside a local store are read into its spans (see `FilesSource`).
        **options: options for the source of an address; for Jaeger those of `JaegerSource`.

    Raises:
        SourceError: there is no such file, no source for such an address, or the object cannot be read.
        ConfigurationError: options were given for a source that takes none.
    """
    opener = _opener(source) if isinstance(source, str) else None
    if opener is not None:
        return opener(source, on_progress=on_progress, **options)
    if options:
        msg = f"{', '.join(options)}: only addresses such as http://HOST:PORT take options"
        raise ConfigurationError(msg)
    if isinstance(source, str | PathLike):
        _check_path(source)
        found = _found_by(source)
        if found != [source]:
            return _open_several(found, on_progress, media=media)
        return _files_source(source, on_progress, media=media)
    if hasattr(source, "traces"):
        readable: SpanSource = source
        return readable
    if callable(getattr(source, "runs", None)):
        return RunsSource(source)
    if isinstance(source, Iterable):
        return _open_several(list(source), on_progress, media=media)
    msg = (
        f"cannot read runs from {type(source).__name__}; "
        "give a path, a glob, a directory, an address, a backend that has traces() or runs(), or a list of them"
    )
    raise SourceError(msg)


def is_address(source: Any) -> bool:
    """Return whether a source is the address of a server, and not the name of an existing file."""
    return isinstance(source, str) and scheme_of(source) is not None and not os.path.lexists(source)


def name_of(source: Any) -> str:
    """Return the name of a source for messages, without secrets."""
    if isinstance(source, str):
        services = services_of(source) if is_address(source) else ()
        return without_secrets(source) + (f" (service {', '.join(services)})" if services else "")
    if isinstance(source, PathLike):  # the `name` of a `Path` lacks the folder
        return str(os.fspath(source))
    return str(getattr(source, "name", None) or type(source).__name__)


def prices_for(source: Any, given: PricesGiven) -> Prices:
    """Return prices that are given, else those of one's own with which an export was written, else those that are known.

    Args:
        source: a source as it is named, or opened.
        given: as `Prices.of` takes them; None for those that ``OTEL_AGENT_TRACE_PRICES`` names, if it names some.

    Raises:
        ConfigurationError: `given` are none.
        SourceError: an export is damaged.
    """
    prices = Prices.of(given)
    if given is not None or prices.own_text:
        return prices
    is_named = _is_path(source) and not is_address(source)
    if is_named and not any(map(is_parquet_folder, map(os.fspath, _found_by(source)))):
        return prices
    opened: Any = open_source(source) if is_named else source
    return (opened.own_prices() if hasattr(opened, "own_prices") else None) or prices


def _check_path(path: str | PathLike[str]) -> None:
    """Check that a path is not the address of a server without its scheme.

    Raises:
        SourceError: it looks like one, and there is no such file.
    """
    address = with_scheme(path) if isinstance(path, str) and not os.path.lexists(path) else None
    if address is not None:
        msg = f"{path}: there is no such file; to read from a server, write {address}"
        raise SourceError(msg)


def _opener(text: str) -> Opener | None:
    """Return the opener of an address, or None for the name of a file.

    Raises:
        SourceError: there is no opener for addresses with this scheme.
    """
    if not is_address(text):
        return None
    scheme = scheme_of(text) or ""
    if scheme not in _OPENERS:
        return _third_party_opener(scheme)
    module, name = _OPENERS[scheme]
    opener: Opener = getattr(importlib.import_module(module), name)
    return opener


def _third_party_opener(scheme: str) -> Opener:
    from importlib import metadata  # noqa: PLC0415 - slow, and rarely needed

    found = metadata.entry_points(group=ENTRY_POINT_GROUP)
    for entry_point in found:
        if entry_point.name == scheme:
            opener: Opener = entry_point.load()
            return opener
    known = ", ".join(sorted({*_OPENERS, *found.names}))
    msg = f"{scheme}:// addresses cannot be read, those of {known} can; and there is no file of that name"
    raise SourceError(msg)


def _files_source(path: str | PathLike[str], on_progress: Progress | None, *, media: bool) -> SpanSource:
    """Return the source of local files: with their index, if they are a store that has one or is large enough."""
    if is_parquet_folder(os.fspath(path)):
        return _parquet_source([os.fspath(path)], on_progress)
    store = indexed_store(os.fspath(path))
    if store is None:
        return FilesSource([path], on_progress=on_progress, media=media)
    from otel_agent_trace.sources.index.source import IndexedSource  # noqa: PLC0415 - imports SQLite

    return IndexedSource(path, store, on_progress=on_progress, media=media)


def _parquet_source(folders: list[str], on_progress: Progress | None) -> SpanSource:
    from otel_agent_trace.sources.parquet.several import SeveralExports  # noqa: PLC0415 - rarely needed
    from otel_agent_trace.sources.parquet.source import ParquetSource  # noqa: PLC0415

    if len(folders) == 1:
        return ParquetSource(folders[0], on_progress=on_progress)
    return SeveralExports(folders, on_progress=on_progress)


def _open_several(sources: list[Any], on_progress: Progress | None, *, media: bool) -> SpanSource:
    """Return one source for several, in which all files are one, and all Parquet exports, so that they are read as streams."""
    sources = [found for source in sources for found in _found_by(source)]
    exports = [os.fspath(source) for source in sources if _is_path(source) and is_parquet_folder(os.fspath(source))]
    paths = [source for source in sources if _is_path(source) and not is_parquet_folder(os.fspath(source))]
    for path in paths:
        _check_path(path)
    opened: list[SpanSource] = [FilesSource(paths, on_progress=on_progress, media=media)] if paths else []
    opened += [_parquet_source(exports, on_progress)] if exports else []
    opened += [open_source(source, media=media) for source in sources if not _is_path(source)]
    return opened[0] if len(opened) == 1 else SeveralSources(opened)


def _found_by(source: Any) -> list[Any]:
    """Return what a glob finds if Parquet exports are among it; else the source itself, as files can be read together."""
    found = matches_of(os.fspath(source)) if _is_path(source) and is_glob(os.fspath(source)) else []
    return [*found] if any(map(is_parquet_folder, found)) else [source]


def _is_path(source: Any) -> bool:
    """Return whether a source is the name of a file or a folder, or a glob."""
    return isinstance(source, str | PathLike) and not is_address(source)


__all__ = [
    "FilesSource",
    "Opener",
    "Progress",
    "SeveralSources",
    "is_address",
    "name_of",
    "open_source",
]
