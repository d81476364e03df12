"""Find out which source and which run the words of a command line mean, and read the one run."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from otel_agent_trace import reading
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.errors import AgentTraceError, RunNotFoundError, SourceError
from otel_agent_trace.model import AgentRun
from otel_agent_trace.sources import is_address
from otel_agent_trace.sources.addresses import with_scheme
from otel_agent_trace.sources.files import SUFFIXES

T = TypeVar("T")
SOURCE_VARIABLE = "OTEL_AGENT_TRACE_FILE"
DEFAULT_SOURCE = "traces.jsonl"
LAST = "last"


class Target(NamedTuple):
    """One run of one source, or all; `guess` is the single word that was taken for the run, or None."""

    source: str
    run: str | None
    guess: str | None = None


def source_of(word: str | None) -> str:
    """Return the source that was named, or the one meant when none is."""
    return word or os.environ.get(SOURCE_VARIABLE) or DEFAULT_SOURCE


def target_of(first: str | None, second: str | None, *, without: str | None = LAST) -> Target:
    """Return the run meant by ``[SOURCE] [RUN]``: both, ``SOURCE#RUN``, a source alone, a run alone, or nothing.

    Where no run is named, it is the one called `without`.
    """
    if first is None or second is not None:
        return Target(source_of(first), second or without)
    if is_address(first):
        source, _, run = first.partition("#")
        return Target(source, run or without)
    if _is_source(first):
        return Target(first, without)
    if "#" in first:
        source, run = _split(first)
        return Target(source_of(source), run or without)
    if _looks_like_run(first):
        return Target(source_of(None), first, guess=None if first == LAST else first)
    return Target(first, without)


def _split(word: str) -> tuple[str, str]:
    """Return SOURCE and RUN of one word, cut at the first ``#`` behind a source that exists, else at the last."""
    *_, last = cuts = [match.start() for match in re.finditer("#", word)]
    cut = next((cut for cut in cuts if cut == 0 or _is_source(word[:cut])), last)
    return word[:cut], word[cut + 1 :]


def run_of(first: str | None, second: str | None, service: str | None) -> AgentRun:
    """Read the run meant by ``[SOURCE] [RUN]``, of a service if one is named."""
    return read_by(reading.load_run, first, second, service)


def read_by(read: Callable[..., T], first: str | None, second: str | None, service: str | None) -> T:
    """Return what a reading function gives for the run that is meant."""
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
    """Add to a failure what may have been meant instead: a file by the word taken for a run, another source."""
    try:
        yield
    except (SourceError, RunNotFoundError) as error:
        hints = list(_hints(source, guess))
        if not hints:
            raise
        raise AgentTraceError(f"{error} ({'; '.join(hints)})") from error


def _hints(source: str, guess: str | None) -> Iterator[str]:
    if guess is not None:
        yield f"{guess!r} is no file here, so it was taken for a run id"
        address = with_scheme(guess)
        if address is not None:
            yield f"for the address of a server write {address}"
    if source == DEFAULT_SOURCE and not os.path.lexists(source):
        yield f"name a source, or set {SOURCE_VARIABLE}, or begin with 'otel-agent-trace demo'"


def _is_source(word: str) -> bool:
    return os.path.lexists(word) or bool(_is_glob(word) and glob.glob(word, recursive=True))


def _looks_like_run(word: str) -> bool:
    has_path = "/" in word or os.sep in word or word in ("-", ".", "..")
    return not (has_path or _is_glob(word) or word.endswith(SUFFIXES))


def _is_glob(word: str) -> bool:
    return glob.has_magic(word)
