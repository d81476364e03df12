"""Define ``otel-agent-trace compact``: put a local store in order."""

from __future__ import annotations

import os

import click

from otel_agent_trace.cli.options import json_option, source_argument
from otel_agent_trace.cli.sources import hints_on_error, source_of
from otel_agent_trace.cli.streams import write_json
from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources import is_address
from otel_agent_trace.sources.addresses import without_secrets
from otel_agent_trace.sources.listing import check_names_no_export
from otel_agent_trace.store.compaction import Compacted, compact
from otel_agent_trace.store.names import StoreFiles, stores_in
from otel_agent_trace.store.settings import store_settings
from otel_agent_trace.views.escape import escaped_line
from otel_agent_trace.views.figures import plural


@click.command("compact")
@source_argument
@click.option("--compress", is_flag=True, help="Compress closed segments, as OTEL_AGENT_TRACE_COMPRESS=zst does.")
@json_option
def command(source: str | None, *, compress: bool, as_json: bool) -> None:
    """Put the store of SOURCE in order: a live file, or a folder with some.

    What processes had open that are gone is kept in the live file as interrupted, torn lines are repaired in files that no
    program has open, closed segments are compressed (with --compress, or OTEL_AGENT_TRACE_COMPRESS=zst), and those removed
    that OTEL_AGENT_TRACE_KEEP_DAYS and OTEL_AGENT_TRACE_KEEP_BYTES do not keep, with binary parts that no span names.
    Programs may go on writing.
    """
    settings = store_settings({})
    if compress:
        settings = settings._replace(compress="zst")
    name = source_of(source)
    with hints_on_error(name):
        compacted = [compact(store, settings) for store in _stores_of(name)]
    done = sum(compacted[1:], compacted[0])
    if as_json:
        write_json(done.to_dict())
    else:
        print(escaped_line(_sentence(done)))  # noqa: T201


def _stores_of(source: str) -> list[StoreFiles]:
    """Return the stores of a source.

    Raises:
        SourceError: there are none, or it is a Parquet export.
    """
    if is_address(source):
        msg = f"{without_secrets(source)}: only local files can be compacted"
        raise SourceError(msg)
    check_names_no_export(source)
    if os.path.isdir(source):
        stores = stores_in(os.path.realpath(source))
    else:
        store = StoreFiles(os.path.realpath(source))
        stores = [store] if store.files() else []
    if not stores:
        msg = f"{source}: {'no store in this directory' if os.path.isdir(source) else 'no such file'}"
        raise SourceError(msg)
    return stores


def _sentence(done: Compacted) -> str:
    counts = {
        "journal folded": done.folded,
        "line repaired": done.repaired,
        "segment compressed": done.compressed,
        "segment removed": done.removed,
        "left-over file removed": done.leftovers,
        "binary part removed": done.media,
        "file in use": done.in_use,
        "file that cannot be changed": done.failed,
    }
    texts = [_counted(number, what) for what, number in counts.items() if number]
    return "; ".join(filter(None, [", ".join(texts) or ("" if done.reason else "nothing to do"), done.reason]))


def _counted(number: int, what: str) -> str:
    noun, _, rest = what.partition(" ")
    return f"{plural(number, noun)} {rest}"
