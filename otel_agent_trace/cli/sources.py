"""Resolve the arguments SOURCE and RUN of a command line, and read that run."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.streams import write_message
from otel_agent_trace.errors import AgentTraceError, RunNotFoundError, SourceError
from otel_agent_trace.model import AgentRun
from otel_agent_trace.sources import Progress, is_address, open_source
from otel_agent_trace.sources.addresses import with_scheme, without_secrets
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.listing import SUFFIXES
from otel_agent_trace.sources.parquet.schema import is_parquet_folder
from otel_agent_trace.span import SpanSource
from otel_agent_trace.store.names import COMPRESSED, is_beside

T = TypeVar("T")
SOURCE_VARIABLE = "OTEL_AGENT_TRACE_FILE"
DEFAULT_SOURCE = "traces.jsonl"
LAST = "last"


class Target(NamedTuple):
    """Name one run of a source, or all its runs (`run` is None).

    `guess` is the word of the command line, if it was the only one and was taken for a run rather than a source.
    """

    source: str
    run: str | None
    guess: str | None = None


def source_of(word: str | None) -> str:
    """Return the source that was named, else that of ``OTEL_AGENT_TRACE_FILE``, else ``traces.jsonl``."""
    return word or os.environ.get(SOURCE_VARIABLE) or DEFAULT_SOURCE


def local_source(word: str | None) -> str:
    """Return the source that was named, else the usual one.

    Raises:
        SourceError: it is the address of a server.
    """
    name = source_of(word)
    if is_address(name):
        msg = f"{without_secrets(name)}: a server; this command reads files"
        raise SourceError(msg)
    return name


def target_of(first: str | None, second: str | None, *, without: str | None = LAST) -> Target:
    """Return the target of the arguments ``[SOURCE] [RUN]``: both, ``SOURCE#RUN``, a source, a run, or nothing.

    Args:
        first: the first argument, if there is one.
        second: the second argument, if there is one.
        without: the run where none is named; None stands for all runs.
    """
    if first is None or second is not None:
        return Target(source_of(first), second or without)
    if is_address(first):
        source, _, run = first.partition("#")
        return Target(source, run or without)
    if _is_source(first):
        return Target(first, without)
    if "#" in first:
        source, run = _split_word(first)
        return Target(source_of(source), run or without)
    if _looks_like_run(first):
        return Target(source_of(None), first, guess=None if first == LAST else first)
    return Target(first, without)


def _split_word(word: str) -> tuple[str, str]:
    """Return SOURCE and RUN of ``SOURCE#RUN``, split at the first ``#`` that follows an existing source, else the last."""
    *_, last = cuts = [match.start() for match in re.finditer("#", word)]
    cut = next((cut for cut in cuts if cut == 0 or _is_source(word[:cut])), last)
    return word[:cut], word[cut + 1 :]


def run_of(first: str | None, second: str | None, service: str | None) -> AgentRun:
    """Read the run that the arguments ``[SOURCE] [RUN]`` name, among those of a service if one is given."""
    from otel_agent_trace import reading  # noqa: PLC0415 - other commands do without

    return read_by(reading.load_run, first, second, service)


def read_by(read: Callable[..., T], first: str | None, second: str | None, service: str | None) -> T:
    """Call a reading function with the run that the arguments name, report its progress, and return its result."""
    target = target_of(first, second)
    with reporting_progress() as reporter, hints_on_error(target.source, target.guess):
        return read(
            target.source,
            target.run,
            service=service,
            on_problem=reporter.on_problem,
            on_progress=reporter.on_progress,
        )


@contextmanager
def hints_on_error(source: str, guess: str | None = None) -> Iterator[None]:
    """Add advice to the error of a block: that `guess` was taken for a run id, or how to name a source.

    Raises:
        AgentTraceError: in place of a `SourceError` or `RunNotFoundError` of the block for which there is advice.
    """
    try:
        yield
    except (SourceError, RunNotFoundError) as error:
        hints = list(_hints(source, guess))
        if not hints:
            raise
        raise AgentTraceError(f"{error} ({'; '.join(hints)})") from error


def _hints(source: str, guess: str | None) -> Iterator[str]:
    if guess is not None:
        yield f"there is no file {guess!r}, so it was taken for a run id"
        address = with_scheme(guess)
        if address is not None:
            yield f"to read from a server, write {address}"
    if source == DEFAULT_SOURCE and not os.path.lexists(source):
        yield f"name a source, set {SOURCE_VARIABLE}, or try 'otel-agent-trace demo'"


def _is_source(word: str) -> bool:
    return os.path.lexists(word) or bool(_is_glob(word) and glob.glob(word, recursive=True))


def _looks_like_run(word: str) -> bool:
    has_path = "/" in word or os.sep in word or word in ("-", ".", "..")
    return not (has_path or _is_glob(word) or word.endswith(SUFFIXES))


def _is_glob(word: str) -> bool:
    return glob.has_magic(word)


def redacted(source: str, on_progress: Progress) -> SpanSource:
    """Return a source whose secrets are masked as it is read."""
    from otel_agent_trace.policies.redaction import RedactionPolicy  # noqa: PLC0415 - of two commands
    from otel_agent_trace.redaction.redactor import Redactor  # noqa: PLC0415
    from otel_agent_trace.sources.masked import MaskedSource  # noqa: PLC0415

    return MaskedSource(open_source(source, on_progress=on_progress), [RedactionPolicy(Redactor())])


def warn_of_files_beside(source: str) -> None:
    """Write a message about older parts of a file, or of those in a folder, that are not read, as log rotation names them."""
    is_file = os.path.isfile(source)
    if not is_file and (not os.path.isdir(source) or is_parquet_folder(source)):
        return
    folder, name = os.path.split(source) if is_file else (source, "")
    stem, _ = os.path.splitext(name)
    older = rf"{re.escape(name)}[.-].+|{re.escape(stem)}-\d.*" if is_file else r".+\.jsonl?[.-]\d.*"
    there = [os.path.join(folder, other) for other in os.listdir(folder or ".") if re.fullmatch(older, other)]
    looked_at = {_content_at(path) for path in FilesSource([source]).files()}
    others = sorted(path for path in there if _content_at(path) not in looked_at and not is_beside(path))
    if others:
        pattern = f"{source}*" if is_file else os.path.join(source, "*")
        write_message(f"not looked at: {', '.join(others)}; a glob such as '{pattern}' names such files too")


def _content_at(path: str) -> str:
    """Return what stands for the content of a file: its path, which has another end once the file is compressed."""
    return os.path.realpath(path).removesuffix(COMPRESSED)
