"""Define ``otel-agent-trace index``: make the index of a store, or bring it up to date."""

from __future__ import annotations

import click

from otel_agent_trace.cli.options import json_option, source_argument
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.sources import hints_on_error, source_of
from otel_agent_trace.cli.streams import write_json, write_message
from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources import is_address, name_of
from otel_agent_trace.views.escape import escaped_line
from otel_agent_trace.views.figures import plural


@click.command("index")
@source_argument
@json_option
def command(source: str | None, *, as_json: bool) -> None:
    """Make the index of the store SOURCE, or bring it up to date.

    Reading does so by itself, for stores of 8 MB or more. The index may be deleted at any time.
    """
    from otel_agent_trace.sources.index.source import build_index  # noqa: PLC0415 - imports SQLite

    name = source_of(source)
    if is_address(name):
        msg = f"{name_of(name)}: only local files have an index"
        raise SourceError(msg)
    with reporting_progress(doing="indexing") as reporter, hints_on_error(name):
        built = build_index(name, reporter.on_progress)
    for path in built.unusual:
        write_message(f"{path}: its spans cannot be located, so this store is read without the index")
    if as_json:
        write_json(
            {
                "path": built.path,
                "runs": built.runs,
                "files": built.files,
                "bytes": built.file_bytes,
                "index_bytes": built.index_bytes,
                "unusual": list(built.unusual),
            }
        )
        return
    what = f"{plural(built.runs, 'run')} in {plural(built.files, 'file')} ({plural(built.file_bytes, 'byte')})"
    print(escaped_line(f"{built.path}: {what}; the index takes {plural(built.index_bytes, 'byte')}"))  # noqa: T201
