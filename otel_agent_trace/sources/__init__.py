"""Where spans can be read from: each a `SpanSource`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.several import SeveralSources
from otel_agent_trace.span import SpanSource

Progress = Callable[[int, "int | None"], None]
"""Called now and then with the bytes read and, where it is known, all there are."""


def open_source(source: Any, *, on_progress: Progress | None = None) -> SpanSource:
    """The source that a path, a glob, a directory, a backend, or a list of them names.

    Raises:
        SourceError: there is no such file, or nothing can be read from such a thing.
    """
    if isinstance(source, str | PathLike):
        return FilesSource([source], on_progress=on_progress)
    if hasattr(source, "traces"):
        readable: SpanSource = source
        return readable
    if isinstance(source, Iterable):
        return _open_several(list(source), on_progress)
    msg = (
        f"cannot read runs from {type(source).__name__}; give a path, a glob, a directory, a backend, or a list of them"
    )
    raise SourceError(msg)


def _open_several(sources: list[Any], on_progress: Progress | None) -> SpanSource:
    paths = [source for source in sources if isinstance(source, str | PathLike)]
    others = [open_source(source) for source in sources if not isinstance(source, str | PathLike)]
    files = [FilesSource(paths, on_progress=on_progress)] if paths else []
    return SeveralSources([*files, *others])


__all__ = ["FilesSource", "Progress", "SeveralSources", "open_source"]
