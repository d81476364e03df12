"""Define ``otel-agent-trace export``: send spans to an OTLP endpoint, or write runs to a file or a folder."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from otel_agent_trace.cases import write_cases
from otel_agent_trace.cli.export_file import (
    STANDARD_OUTPUT,
    WriteRuns,
    export_to_file,
    export_to_folder,
    warn_of_dropped,
)
from otel_agent_trace.cli.options import filter_options, json_option, prices_option, run_argument, source_argument
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.sources import Target, hints_on_error, redacted, target_of
from otel_agent_trace.cli.streams import write_json, write_message
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.export import ExportState, ExportSummary, export_spans, state_path
from otel_agent_trace.export.canonical import write_runs
from otel_agent_trace.otlp import Settings, settings_of
from otel_agent_trace.prices import Prices
from otel_agent_trace.query import RunQuery
from otel_agent_trace.scores import score_condition
from otel_agent_trace.sources import name_of
from otel_agent_trace.sources.search import nothing_found_text
from otel_agent_trace.views.escape import escaped_line

OTLP_JSON, CASES, PARQUET, HTML = "otlp-json", "cases", "parquet", "html"
_OK, _REFUSED = 0, 1
_SHOWN_REASONS = 5
_MB = 1e6


def _conditions(_: click.Context, parameter: click.Parameter, words: Sequence[str]) -> Sequence[str]:
    """Return the conditions about scores, each of which was checked."""
    for word in words:
        try:
            score_condition(word)
        except ConfigurationError as error:
            raise click.BadParameter(str(error), param=parameter) from error
    return words


@click.command("export")
@source_argument
@run_argument
@click.option(
    "--to",
    "endpoint",
    required=True,
    metavar="URL|otlp-json|cases|parquet|html",
    help="http(s)://host:4318, or grpc://host:4317 (with TLS grpcs://); otlp-json, cases, parquet or html: write the runs instead.",
)
@click.option(
    "--output",
    "path",
    metavar="FILE",
    help="With otlp-json, cases, or html and RUN: the file to write, by default (or -) standard output; with parquet, or html without RUN: the folder.",
)
@click.option(
    "--expected",
    multiple=True,
    callback=_conditions,
    metavar="CONDITION",
    help="With cases: the answers of runs with such scores, as 'helpful>=1', are expected; if repeated, with all of them.",
)
@filter_options
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Only the newest N runs; 0: all.")
@click.option(
    "--protocol",
    type=click.Choice(["http/protobuf", "http/json", "grpc"]),
    help="By default grpc for grpc:// and grpcs:// addresses, else http/protobuf.",
)
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME=VALUE",
    help="Send this header with each request; better keep secrets in OTEL_EXPORTER_OTLP_HEADERS.",
)
@click.option(
    "--timeout", "timeout_s", type=float, metavar="S", help="Timeout of one request in seconds, by default 10."
)
@click.option(
    "--retry-timeout",
    "retry_timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    metavar="S",
    help="Give up on a request that cannot be delivered after this many seconds, by default 60.",
)
@click.option("--no-content", is_flag=True, help="With html: only names, times, tokens and classes of errors.")
@click.option("--redact", is_flag=True, help="Mask secrets on the way, as tracers do.")
@click.option("--again", is_flag=True, help="Send everything, also what an interrupted export has delivered.")
@prices_option
@json_option
def command(
    source: str | None,
    run: str | None,
    *,
    endpoint: str,
    path: str | None,
    expected: Sequence[str],
    limit: int | None,
    protocol: str | None,
    headers: Sequence[str],
    timeout_s: float | None,
    retry_timeout_s: float,
    no_content: bool,
    redact: bool,
    again: bool,
    prices: str | None,
    as_json: bool,
    **filters: Any,
) -> int:
    """Send the spans of SOURCE to an OTLP endpoint, or write its runs as OTLP JSON Lines, cases, Parquet or HTML.

    All spans are sent, or with RUN or filters the whole traces of the runs that match. RUN is a run id, the beginning of
    one, or "last"; SOURCE#RUN names both in one word.

    An interrupted export resumes where it stopped when it is called again. OTEL_EXPORTER_OTLP_HEADERS, _TIMEOUT,
    _COMPRESSION, _CERTIFICATE and the like are honoured.

    The exit status is 1 when spans were refused: each was sent alone, so that no other was lost, and is named.

    With --to otlp-json the runs of any tracer are written in the form of ours: OTLP JSON Lines with the current
    attribute names of the GenAI conventions, which read back as equal runs.

    With --to cases each run is written as a line of JSON with id, input, output, expected, tools, scores and metadata.

    With --to parquet a folder is written, with runs.parquet, spans.parquet, and dropped.parquet, the counts of what sampling
    dropped: a source for the commands that read, and tables for engines of SQL.

    With --to html RUN is written as one page, which needs neither a server nor a network; without RUN a folder is written,
    with a page for each run and a list of them.
    """
    target = target_of(source, run, without=None)
    query = RunQuery.of(**filters, limit=limit or None)
    if target.run is not None and query.but(service=None) != RunQuery():
        raise _usage_error("RUN cannot be combined with filters other than --service")
    _check_endpoint(endpoint, {"--expected": expected, "--no-content": no_content, "--prices": prices})
    writers: dict[str, WriteRuns] = {OTLP_JSON: write_runs, CASES: functools.partial(write_cases, expected=expected)}
    if (endpoint in writers or endpoint in (PARQUET, HTML)) and (protocol or headers or timeout_s or again):
        raise _usage_error(f"--protocol, --header, --timeout and --again cannot be combined with --to {endpoint}")
    if endpoint == PARQUET:
        if path in (None, STANDARD_OUTPUT):
            raise _usage_error("--to parquet needs --output, the folder to write")
        export_to_folder(target, str(path), query, prices=prices, redact=redact, as_json=as_json)
        return _OK
    if endpoint == HTML:
        _export_html(target, path, query, prices=prices, has_content=not no_content, redact=redact, as_json=as_json)
        return _OK
    if endpoint in writers:
        export_to_file(target, path or STANDARD_OUTPUT, query, writers[endpoint], redact=redact, as_json=as_json)
        if endpoint == OTLP_JSON:
            warn_of_dropped(target, query, "what was written")
        return _OK
    if path is not None:
        raise _usage_error("--output needs --to otlp-json, cases, parquet or html")
    settings = settings_of(endpoint, protocol=protocol, headers=_headers(headers), timeout_s=timeout_s)
    query = query.but(run_id=target.run)
    state = ExportState(state_path(target.source, settings, query.given()))
    if again:
        state.remove()
    summary = ExportSummary()
    with (
        _reporting_outcome(summary, settings, state, as_json=as_json),
        reporting_progress("sending") as reporter,
        hints_on_error(target.source, target.guess),
    ):
        export_spans(
            redacted(target.source, on_progress=reporter.on_progress) if redact else target.source,
            settings,
            query,
            retry_timeout_s=retry_timeout_s,
            state=state,
            summary=summary,
            on_problem=reporter.on_problem,
            on_progress=reporter.on_progress,
            on_retry=_RetryReporter(),
        )
    if not summary.traces:
        write_message(nothing_found_text(query, name_of(target.source)))
    warn_of_dropped(target, query, "what was sent")
    return _OK if summary.is_complete else _REFUSED


_NEEDED = {"--expected": (CASES,), "--no-content": (HTML,), "--prices": (PARQUET, HTML)}
"""Option → the values of ``--to`` that it belongs to."""


def _check_endpoint(endpoint: str, given: Mapping[str, object]) -> None:
    """Check that options are given only with what they belong to."""
    for option, needed in _NEEDED.items():
        if given[option] and endpoint not in needed:
            raise _usage_error(f"{option} needs --to {' or '.join(needed)}")


def _export_html(
    target: Target,
    path: str | None,
    query: RunQuery,
    *,
    prices: str | None,
    has_content: bool,
    redact: bool,
    as_json: bool,
) -> None:
    from otel_agent_trace.cli.export_html import HtmlExport  # noqa: PLC0415 - rarely needed

    export = HtmlExport(Prices.of(prices), has_content)
    if target.run is not None:
        export.to_file(target, path or STANDARD_OUTPUT, query, redact=redact, as_json=as_json)
    elif path in (None, STANDARD_OUTPUT):
        raise _usage_error("--to html without RUN needs --output, the folder to write")
    else:
        export.to_folder(target, str(path), query, redact=redact, as_json=as_json)


def _headers(words: Sequence[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise _usage_error("--header must be like NAME=VALUE")
        headers[name] = value
    return headers


def _usage_error(text: str) -> click.UsageError:
    return click.UsageError(text, click.get_current_context())


class _RetryReporter:
    """Write one message for each reason that a request is sent again, and five messages at most."""

    def __init__(self) -> None:
        self._reported: set[str] = set()

    def __call__(self, reason: str) -> None:
        if reason not in self._reported and len(self._reported) < _SHOWN_REASONS:
            self._reported.add(reason)
            write_message(f"{reason}; trying again")


@contextmanager
def _reporting_outcome(
    summary: ExportSummary, settings: Settings, state: ExportState, *, as_json: bool
) -> Iterator[None]:
    """Write the counts of an export when it ends, and what was lost also when an error ends it."""
    try:
        yield
    except BaseException:
        if summary.spans:
            write_message(f"stopped after {_spans(summary.spans)}; the same command resumes from there")
        raise
    finally:
        _report_losses(summary, state)
    if as_json:
        write_json(summary.to_dict() | {"endpoint": settings.shown})
    else:
        print(escaped_line(_sentence(summary, settings)))  # noqa: T201


def _report_losses(summary: ExportSummary, state: ExportState) -> None:
    if state.problem is not None:
        write_message(f"warning: {state.problem}: an interrupted export cannot be resumed")
    for span in summary.refused_spans:
        write_message(f"refused: span {span.span_id} ({span.name}) of trace {span.trace_id}: {span.reason}")
    if summary.refused > len(summary.refused_spans):
        write_message(f"... and {summary.refused - len(summary.refused_spans)} more")
    for note in summary.notes:
        write_message(f"message of the receiver: {note}")


def _sentence(summary: ExportSummary, settings: Settings) -> str:
    runs = "" if summary.runs is None else f"{summary.runs} runs, "
    parts = [
        f"{runs}{_spans(summary.spans)} of {summary.traces - summary.traces_before} traces sent to {settings.shown}"
    ]
    rate = summary.bytes / _MB / summary.seconds if summary.seconds else 0.0
    parts.append(f"{summary.bytes / _MB:.1f} MB in {summary.seconds:.1f} s ({rate:.1f} MB/s)")
    counts = {
        "traces were delivered before": summary.traces_before,
        "spans without an end": summary.unfinished,
        "spans in progress left out": summary.in_progress,
        "refused": summary.refused,
        "rejected by the receiver, which does not name them": summary.rejected,
    }
    return ", ".join([*parts, *(f"{number} {what}" for what, number in counts.items() if number)])


def _spans(number: int) -> str:
    return f"{number} span{'' if number == 1 else 's'}"
