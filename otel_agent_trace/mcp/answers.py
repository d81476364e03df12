"""Answer the tools of the server: each answer is lines of text, of which the most important come first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from otel_agent_trace import reading
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.mcp.pages import more_text
from otel_agent_trace.metrics.engines import source_metrics
from otel_agent_trace.prices import Prices, run_cost
from otel_agent_trace.query import RunQuery
from otel_agent_trace.replay.diff import diff_runs
from otel_agent_trace.span import ignore_problem
from otel_agent_trace.views.explanation import fact_sections, left_out_lines, unread_lines
from otel_agent_trace.views.items import RunItems
from otel_agent_trace.views.markdown import run_markdown
from otel_agent_trace.views.parts import part_lines, parts_of
from otel_agent_trace.views.run_list import runs_table
from otel_agent_trace.views.summaries import RunSummary, summary_of
from otel_agent_trace.views.text import line_text, table_lines
from otel_agent_trace.views.values_text import shortened

_WHOLE_TOKENS = 1_000_000
_MOST_FOUND = 200
_ERROR_CHARS = 240


class Answers(NamedTuple):
    """Answer questions about the runs of a source, which is read anew for each.

    Each method returns lines, and raises an `AgentTraceError` where it cannot answer.
    """

    source: Any
    prices: Prices

    def runs(self, status: str | None, agent: str | None, limit: int, cursor: int) -> Iterator[str]:
        """Yield a table of the newest runs, from a position in their list on, and how to see more."""
        query = RunQuery(status=status, agent=agent, sort="time", limit=cursor + limit + 1, prices=self.prices)
        found = [*itertools.islice(self._summaries(query), cursor, None)]
        yield from self._table(found[:limit])
        if len(found) > limit:
            yield from ("", more_text(str(cursor + limit)))

    def search(self, text: str) -> Iterator[str]:
        """Yield a table of the newest runs in which a text occurs."""
        found = [*self._summaries(RunQuery(text=text, sort="time", limit=_MOST_FOUND + 1, prices=self.prices))]
        yield from self._table(found[:_MOST_FOUND])
        if len(found) > _MOST_FOUND:
            yield f"These are the newest {_MOST_FOUND}; a longer text finds fewer."

    def run(self, run_id: str, step: str | int | None) -> Iterator[str]:
        """Yield a run as Markdown, with what failed first, or one step of it with its values."""
        items = RunItems(reading.load_run(self.source, run_id, on_problem=ignore_problem))
        number = None if step is None else items.number_of(str(step))
        if step is not None and not number:
            raise ConfigurationError(f"the run has no step {str(step)[:40]!r}; its steps: {items.names.known_text()}")
        yield from run_markdown(items, budget_tokens=_WHOLE_TOKENS, step=number).split("\n")

    def explanation(self, run_id: str) -> Iterator[str]:
        """Yield where each fact of a run was read, and what was not understood."""
        explanation = reading.explain_run(self.source, run_id, on_problem=ignore_problem)
        for section in fact_sections(explanation):
            yield from map(line_text, section.lines)
            yield from table_lines(section.facts)
            yield ""
        yield from map(line_text, (*unread_lines(explanation.unread), *left_out_lines(explanation.left_out)))

    def difference(self, a: str, b: str) -> Iterator[str]:
        """Yield how two runs differ: how much first, then step by step."""
        diff = diff_runs(*(reading.load_run(self.source, run_id, on_problem=ignore_problem) for run_id in (a, b)))
        yield from part_lines(parts_of(diff, full=True))

    def measures(self, agent: str | None, since: str | None) -> Iterator[str]:
        """Yield the report of all runs, or those of an agent or since a time."""
        query = RunQuery(agent=agent, since=since)
        report = source_metrics(self.source, query, prices=self.prices, on_problem=ignore_problem)
        yield from part_lines(parts_of(report, full=True))

    def _summaries(self, query: RunQuery) -> Iterator[RunSummary]:
        runs = reading.iter_runs(self.source, query, on_problem=ignore_problem)
        return (summary_of(run, run_cost(run, self.prices)) for run in runs)

    def _table(self, summaries: list[RunSummary]) -> Iterator[str]:
        if not summaries:
            yield "No runs match."
            return
        yield from table_lines(runs_table(summaries, datetime.now().astimezone(), is_wide=True, whole_ids=True))
        errors = [
            shortened(f"{each.run.run_id}: {each.run.error}", _ERROR_CHARS)
            for each in summaries
            if each.run.error is not None
        ]
        yield from ("", "Errors:", *errors) if errors else ()
