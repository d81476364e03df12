"""Write runs for ``otel-agent-trace export --to html``: one run as a document, or a folder of documents and a list of them."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import click

from otel_agent_trace.cli.export_file import STANDARD_OUTPUT, opened_output, report_written, written
from otel_agent_trace.cli.sources import Target
from otel_agent_trace.cli.streams import write_message
from otel_agent_trace.errors import AgentTraceError
from otel_agent_trace.model import AgentRun
from otel_agent_trace.prices import Prices, run_cost
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources.search import Found
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.viewer.html_file import document_of
from otel_agent_trace.viewer.html_index import index_document
from otel_agent_trace.views.bare import without_content
from otel_agent_trace.views.summaries import RunSummary, summary_of

_INDEX = "index.html"
_LARGE_BYTES, _MB = 20_000_000, 1_000_000
_Kept = tuple[AgentRun, Sequence[SpanRecord]]
"""Type of what is kept: a run, and the spans that it was read from."""
_USUAL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}")


class HtmlExport(NamedTuple):
    """Write runs as documents, with what model calls cost, and with what was recorded in them only if they have content."""

    prices: Prices
    has_content: bool

    def to_file(self, target: Target, path: str, query: RunQuery, *, redact: bool, as_json: bool) -> None:
        """Write the run of `target` as a document, as `export_to_file` writes others."""
        if path == STANDARD_OUTPUT and sys.stdout.isatty():
            raise click.UsageError("--to html writes a page, which is not for a terminal: name a file with --output")
        with opened_output(path) as write:
            number = written(
                target,
                query,
                lambda found, _: sum(self._write(each, path, write) for each in found),
                redact=redact,
                keep=self._kept,
            )
        if path != STANDARD_OUTPUT:
            report_written(path, number, as_json=as_json)

    def to_folder(self, target: Target, folder: str, query: RunQuery, *, redact: bool, as_json: bool) -> None:
        """Write each run that a query selects into a folder, and a page that lists them."""
        try:
            os.makedirs(folder, exist_ok=True)
            number = written(
                target, query, lambda found, _: self._write_all(found, folder), redact=redact, keep=self._kept
            )
        except OSError as error:
            raise AgentTraceError(f"{folder}: {error.strerror}") from error
        report_written(folder, number, as_json=as_json)

    def _kept(self, found: Found) -> _Kept:
        return found.run, found.whole.spans if self.has_content else ()

    def _write_all(self, found: Iterable[_Kept], folder: str) -> int:
        listed: list[tuple[RunSummary, str]] = []
        numbers = Counter[str]()
        for kept in found:
            run = kept[0]
            shown = run if self.has_content else without_content(run)
            numbers[run.run_id] += 1
            name = _name_of(run.run_id, numbers[run.run_id])
            with opened_output(os.path.join(folder, name)) as write:
                self._write(kept, name, write)
            listed.append((summary_of(shown, run_cost(shown, self.prices)), name))
        if listed:
            newest_first = sorted(listed, key=lambda each: -each[0].run.started_at_ns)
            with opened_output(os.path.join(folder, _INDEX)) as write:
                write(index_document(newest_first).encode("utf-8", "replace"))
        return len(listed)

    def _write(self, kept: _Kept, path: str, write: Any) -> int:
        run, spans = kept
        text = document_of(run, self.prices, (lambda: spans) if spans else None, has_content=self.has_content)
        document = text.encode("utf-8", "replace")
        if len(document) > _LARGE_BYTES:
            write_message(
                f"warning: {path} has {len(document) / _MB:.0f} MB, which browsers open slowly; --no-content makes it smaller"
            )
        write(document)
        return 1


def _name_of(run_id: str, number: int) -> str:
    """Return the name of a run's document: its id, or a digest of one that is no name of a file.

    Several runs may have the same id; `number` is which of them it is.
    """
    is_usual = _USUAL_NAME.fullmatch(run_id) and f"{run_id}.html" != _INDEX
    name = run_id if is_usual else hashlib.sha256(run_id.encode("utf-8", "replace")).hexdigest()[:32]
    return f"{name}.html" if number == 1 else f"{name}~{number}.html"
