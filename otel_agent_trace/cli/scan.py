"""Define ``otel-agent-trace scan``: the secrets, and the personal data where asked for, in the spans of a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import click

from otel_agent_trace.cli.options import json_option, source_argument
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.sources import hints_on_error, source_of, warn_of_files_beside
from otel_agent_trace.cli.streams import write_json, write_message
from otel_agent_trace.policies.redaction import RedactionPolicy
from otel_agent_trace.redaction.redactor import Redactor
from otel_agent_trace.runs.assemble import assemble
from otel_agent_trace.sources import name_of, open_source
from otel_agent_trace.span import LogRecord, Notice, Problem, SpanRecord, traces_and_logs
from otel_agent_trace.views.escape import escaped_line
from otel_agent_trace.views.figures import plural

_CLEAN, _FOUND, _UNREAD = 0, 1, 2
R = TypeVar("R", SpanRecord, LogRecord)


class _Row(NamedTuple):
    """Hold what was found in one place."""

    run_id: str | None
    trace_id: str
    span_id: str
    rule: str
    place: str


@click.command("scan")
@source_argument
@click.option(
    "--pii",
    multiple=True,
    metavar="KIND",
    help="Look for personal data, too: email, phone, card, iban, ip or ssn; may be given several times.",
)
@json_option
def command(source: str | None, pii: Sequence[str], *, as_json: bool) -> int:
    """Look for secrets in SOURCE, and write a row for each place: run, rule, and place in its span. Nothing is changed.

    A value that is a secret is never written. The exit status is 1 if anything was found, else 2 if
    something could not be read. To write a copy without
    secrets: otel-agent-trace export SOURCE --to otlp-json --redact --output FILE
    """
    policy, unread = RedactionPolicy(Redactor(pii=pii)), list[Problem]()
    rows = [*dict.fromkeys(_rows(source_of(source), policy, unread))]
    if as_json:
        write_json([row._asdict() for row in rows])
    else:
        for row in rows:
            print(escaped_line(f"{row.run_id or row.trace_id or '-'}  {row.rule}  {row.place}"))  # noqa: T201
        write_message(f"{plural(len(rows), 'find')} in {name_of(source_of(source))}")
    warn_of_files_beside(source_of(source))
    if unread:
        write_message(f"{plural(len(unread), 'piece')} could not be read, and not searched either")
    return _FOUND if rows else _UNREAD if unread else _CLEAN


def _rows(source: str, policy: RedactionPolicy, unread: list[Problem]) -> Iterator[_Row]:
    logs: list[_Row] = []

    def on_log(log: LogRecord) -> None:
        logs.extend(_rows_of(log, None, policy))

    def on_problem(problem: Problem) -> None:
        if not isinstance(problem, Notice):
            unread.append(problem)
        reporter.on_problem(problem)

    with reporting_progress() as reporter, hints_on_error(source):
        opened = open_source(source, on_progress=reporter.on_progress)
        for spans in traces_and_logs(opened, on_problem, on_log):
            found = [(span, finds) for span in spans if (finds := [*_rows_of(span, None, policy)])]
            run_ids = _run_ids(spans) if found else {}
            for span, rows in found:
                yield from (row._replace(run_id=run_ids.get(span.span_id)) for row in rows)
    yield from logs


def _rows_of(record: R, run_id: str | None, policy: RedactionPolicy) -> Iterator[_Row]:
    for find in policy.finds(record):
        yield _Row(run_id, record.trace_id, record.span_id, find.rule, find.path)


def _run_ids(spans: Sequence[SpanRecord]) -> dict[str, str]:
    """Return the id of the run of each span that is a run or a step."""
    outermost = assemble(spans)
    runs = [run for top in outermost for run in top.walk()]
    steps = {step.span_id: run.run_id for run in runs for step in run.steps if step.span_id}
    only = {span.span_id: outermost[0].run_id for span in spans} if len(outermost) == 1 else {}
    return only | steps | {run.span_id: run.run_id for run in runs if run.span_id}
