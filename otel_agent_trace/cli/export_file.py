"""Write runs for ``otel-agent-trace export``: ``--to otlp-json``, ``--to cases`` and ``--to parquet``."""

from __future__ import annotations

import operator
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.sources import Target, hints_on_error, redacted
from otel_agent_trace.cli.streams import write_json, write_message
from otel_agent_trace.metrics.dropped import counts_of, dropped_of
from otel_agent_trace.model import AgentRun
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sampling import DroppedTraces
from otel_agent_trace.sources import name_of, open_source, prices_for
from otel_agent_trace.sources.search import Found, find, nothing_found_text, search
from otel_agent_trace.views.escape import escaped_json, escaped_line
from otel_agent_trace.views.figures import plural

STANDARD_OUTPUT = "-"
Write = Callable[[bytes], object]
WriteRuns = Callable[[Iterable[AgentRun], Write], int]


def export_to_file(
    target: Target, path: str, query: RunQuery, write_runs: WriteRuns, *, redact: bool, as_json: bool
) -> None:
    """Write the run of `target`, or the runs that `query` selects, and print how many they are.

    Args:
        target: the source, and the run of it where one was named.
        path: the file to write, or ``-`` for standard output, where the count is not printed.
        query: which runs to write; of a single run only its `service` counts.
        write_runs: writes runs in the form that was asked for, and returns their number.
        redact: whether to mask secrets on the way.
        as_json: whether to print the count as JSON.
    """
    with opened_output(path) as write:
        number = written(target, query, lambda runs, _: write_runs(runs, write), redact=redact)
    if path != STANDARD_OUTPUT:
        report_written(path, number, as_json=as_json)


def export_to_folder(
    target: Target, folder: str, query: RunQuery, *, prices: str | None, redact: bool, as_json: bool
) -> None:
    """Write the run of `target`, or the runs that `query` selects, as Parquet, and print how many they are.

    Args:
        target: as for `export_to_file`.
        folder: the folder to make, or that of an earlier export.
        query: as for `export_to_file`.
        prices: the path of a file with prices of one's own.
        redact: whether to mask secrets on the way.
        as_json: whether to print the count as JSON.
    """
    from otel_agent_trace.export.parquet import write_parquet  # noqa: PLC0415 - rarely needed

    def write(runs: Iterable[AgentRun], source: Any) -> int:
        return write_parquet(
            runs, folder, prices=prices_for(target.source, prices), dropped=_counts_of(source, target, query)
        )

    number = written(target, query, write, redact=redact)
    report_written(folder, number, as_json=as_json)


def warn_of_dropped(target: Target, query: RunQuery, place: str) -> None:
    """Write a message about what sampling dropped of the runs that were written to a place which has no counts of them."""
    counts = _counts_of(target.source, target, query)
    if counts:
        number = plural(sum(count.traces for count in counts), "trace")
        possibly = "" if all(count.is_certain for count in counts) else "up to "
        write_message(
            f"{possibly}{number} of these runs were dropped by sampling; figures of {place} do not know of them"
        )


def _counts_of(source: Any, target: Target, query: RunQuery) -> Sequence[DroppedTraces]:
    """Return how many of the runs that a query selects sampling dropped, and how many of them perhaps; none of a single run."""
    found = dropped_of(counts_of(open_source(source)) if target.run is None else (), query)
    return *found.counted, *(count._replace(is_certain=False) for count in found.possible)


def written(
    target: Target,
    query: RunQuery,
    write: Callable[[Iterable[Any], Any], int],
    *,
    redact: bool,
    keep: Callable[[Found], Any] = operator.attrgetter("run"),
) -> int:
    """Return the number of runs that were written, after a message if there are none.

    `write` is called with what `keep` returns for each, by default the run, and with their source.
    """
    with reporting_progress() as reporter, hints_on_error(target.source, target.guess):
        source = redacted(target.source, on_progress=reporter.on_progress) if redact else target.source
        opened = open_source(source, on_progress=reporter.on_progress)
        found: Iterable[Any]
        if target.run is not None:
            named = RunQuery(run_id=target.run, service=query.service)
            found = [keep(find(opened, named, reporter.on_problem, name_of(source)))]
        else:
            query = query.but(newest_first=query.limit is not None)
            found = search(opened, query, reporter.on_problem, lambda whole: keep(Found(whole.run, whole)))
        number = write(found, source)
    if not number:
        write_message(nothing_found_text(query, name_of(target.source)))
    return number


def report_written(path: str, number: int, *, as_json: bool) -> None:
    """Print how many runs were written where."""
    if as_json:
        write_json({"file": path, "runs": number})
    else:
        print(escaped_line(f"{plural(number, 'run')} written to {path}"))  # noqa: T201


@contextmanager
def opened_output(path: str) -> Iterator[Write]:
    """Yield the function that writes to a path; a file is replaced at the end, so that it may be the source as well."""
    if path == STANDARD_OUTPUT:
        yield _to_standard_output
    elif _is_special(path):
        with open(path, "wb") as file:
            yield file.write
    else:
        with _replaced(os.path.realpath(path)) as write:
            yield write


def _to_standard_output(lines: bytes) -> None:
    """Write the lines unchanged, or to a terminal with their control characters escaped."""
    if sys.stdout.isatty():
        sys.stdout.write(escaped_json(lines.decode()))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(lines)


def _is_special(path: str) -> bool:
    """Return whether a path is something that cannot be replaced by a file: a pipe, a device."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


@contextmanager
def _replaced(path: str) -> Iterator[Write]:
    """Yield the function that writes a temporary file, which replaces the one at `path` unless an error is raised."""
    descriptor, beside = tempfile.mkstemp(dir=os.path.dirname(path), prefix=f"{os.path.basename(path)}.")
    try:
        with open(descriptor, "wb") as file:
            yield file.write
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
