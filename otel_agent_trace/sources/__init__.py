"""Where spans can be read from: each a `SpanSource`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any

from otel_agent_trace.errors import ConfigurationError, SourceError
from otel_agent_trace.sources.addresses import scheme_of, with_scheme, without_secrets
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.runs import RunsSource
from otel_agent_trace.sources.several import SeveralSources
from otel_agent_trace.span import SpanSource

Progress = Callable[[int, "int | None"], None]
"""Called now and then with how much was read and, where it is known, all there is: of files the bytes, else the traces."""

Opener = Callable[..., SpanSource]
"""Gives the source of an address: called with the address and, by keyword, the options of `open_source`."""

ENTRY_POINT_GROUP = "otel_agent_trace.sources"
"""Entry points of this group add sources: the name is the scheme of their addresses, the object an `Opener`."""

_OPENERS = {
    "http": ("otel_agent_trace.sources.jaeger", "JaegerSource"),
    "https": ("otel_agent_trace.sources.jaeger", "JaegerSource"),
}
"""Scheme of an address → module and name of its `Opener`, imported when it is used: clients take long to import."""


def open_source(source: Any, *, on_progress: Progress | None = None, **options: Any) -> SpanSource:
    """Return the source that a path, a glob, a directory, an address, a backend, or a list of them names.

    Args:
        source: what to read. A text with a scheme (``http://host:16686?service=NAME``) is an address, unless there is a
            file of that name. A backend is anything that has `traces(on_problem)`, as a `SpanSource`, or `runs()`.
        on_progress: is told how far a reading is.
        options: for the source of an address; of Jaeger those of `JaegerSource`.

    Raises:
        SourceError: there is no such file, no source for such an address, or nothing can be read from such a thing.
        ConfigurationError: options for what takes none.
    """
    opener = _opener(source) if isinstance(source, str) else None
    if opener is not None:
        return opener(source, on_progress=on_progress, **options)
    if options:
        msg = f"{', '.join(options)}: options are for addresses, as http://HOST:PORT"
        raise ConfigurationError(msg)
    if isinstance(source, str | PathLike):
        _check_path(source)
        return FilesSource([source], on_progress=on_progress)
    if hasattr(source, "traces"):
        readable: SpanSource = source
        return readable
    if callable(getattr(source, "runs", None)):
        return RunsSource(source)
    if isinstance(source, Iterable):
        return _open_several(list(source), on_progress)
    msg = (
        f"cannot read runs from {type(source).__name__}; "
        "give a path, a glob, a directory, an address, a backend that has traces() or runs(), or a list of them"
    )
    raise SourceError(msg)


def is_address(source: Any) -> bool:
    """Whether it names something to be asked, and not a file."""
    return isinstance(source, str) and scheme_of(source) is not None and not os.path.lexists(source)


def name_of(source: Any) -> str:
    """What a source is called in messages, without secrets."""
    if isinstance(source, str):
        return without_secrets(source)
    if isinstance(source, PathLike):  # whose own name lacks the folder
        return str(os.fspath(source))
    return str(getattr(source, "name", None) or type(source).__name__)


def _check_path(path: str | PathLike[str]) -> None:
    """Refuse the address of a server without its scheme, which would be taken for a file, unless there is one."""
    address = with_scheme(path) if isinstance(path, str) and not os.path.lexists(path) else None
    if address is not None:
        msg = f"{path}: there is no such file; for the address of a server write {address}"
        raise SourceError(msg)


def _opener(text: str) -> Opener | None:
    """Who opens such an address; None for the name of a file."""
    if not is_address(text):
        return None
    scheme = scheme_of(text) or ""
    if scheme not in _OPENERS:
        return _third_party(scheme)
    module, name = _OPENERS[scheme]
    opener: Opener = getattr(importlib.import_module(module), name)
    return opener


def _third_party(scheme: str) -> Opener:
    from importlib import metadata  # noqa: PLC0415 - slow, and seldom needed

    found = metadata.entry_points(group=ENTRY_POINT_GROUP)
    for entry_point in found:
        if entry_point.name == scheme:
            opener: Opener = entry_point.load()
            return opener
    known = ", ".join(sorted({*_OPENERS, *found.names}))
    msg = f"nothing here reads {scheme}:// addresses; there is: {known}. A file of that name is not there either"
    raise SourceError(msg)


def _open_several(sources: list[Any], on_progress: Progress | None) -> SpanSource:
    paths = [source for source in sources if isinstance(source, str | PathLike) and not is_address(source)]
    others = [open_source(source) for source in sources if not isinstance(source, str | PathLike) or is_address(source)]
    for path in paths:
        _check_path(path)
    files = [FilesSource(paths, on_progress=on_progress)] if paths else []
    opened = [*files, *others]
    return opened[0] if len(opened) == 1 else SeveralSources(opened)


__all__ = [
    "FilesSource",
    "Opener",
    "Progress",
    "SeveralSources",
    "is_address",
    "name_of",
    "open_source",
]
