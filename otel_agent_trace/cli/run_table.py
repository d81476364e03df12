"""Many runs as a table, one line for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from rich.console import Console
from rich.text import Text

from otel_agent_trace.cli import styles
from otel_agent_trace.cli.columns import Column, print_columns
from otel_agent_trace.cli.escape import escaped_line
from otel_agent_trace.cli.figures import UNKNOWN, count_text, duration_text, when_text
from otel_agent_trace.cli.summaries import RunSummary, short_ids

_QUESTION_WIDTH = 20
_WIDE = 120
_ID_WIDTH = 64


def print_runs(summaries: Sequence[RunSummary], console: Console, now: datetime) -> None:
    """The table; ids are as short as they can be told apart."""
    short = short_ids([summary.run.run_id for summary in summaries])
    one_agent = len({summary.run.agent_name for summary in summaries}) == 1

    def cells(write: Callable[[RunSummary], Text]) -> list[Text]:
        return [write(summary) for summary in summaries]

    columns = [
        Column("run", cells(lambda item: _id(short[item.run.run_id])), right=False, max_width=_ID_WIDTH),
        Column("when", cells(lambda item: Text(when_text(item.run.started_at_ns, now))), right=False, rank=1),
        Column(
            "agent",
            cells(_agent),
            right=False,
            rank=5 if one_agent else 2,
            max_width=24 if console.width >= _WIDE else 14,
        ),
        Column("status", cells(lambda item: Text(*styles.status_word(item.run))), right=False),
        Column("took", cells(lambda item: Text(duration_text(item.run.duration_s)))),
        Column("steps", cells(lambda item: Text(count_text(item.steps))), rank=3),
        Column("errors", cells(_errors), rank=4),
        Column("tokens", cells(_tokens), rank=6),
        Column("question", cells(lambda item: Text(item.user_input)), right=False),
    ]
    print_columns(columns, console, room=_QUESTION_WIDTH)


def _id(short: str) -> Text:
    return Text(escaped_line(short), styles.ID)


def _agent(item: RunSummary) -> Text:
    return Text(escaped_line(item.run.agent_name or UNKNOWN))


def _errors(item: RunSummary) -> Text:
    return Text(count_text(item.errors), styles.FAILED if item.errors else styles.FAINT)


def _tokens(item: RunSummary) -> Text:
    return Text(count_text(item.run.usage.total_tokens if item.run.usage else None))
