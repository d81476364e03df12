"""Answer what the page of metrics asks for: the report of the runs that match, as data and as people read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from otel_agent_trace.metrics import MetricsReport
from otel_agent_trace.metrics.engines import source_metrics
from otel_agent_trace.span import ignore_problem
from otel_agent_trace.viewer.library import Library
from otel_agent_trace.viewer.list_api import query_in
from otel_agent_trace.viewer.replies import data_reply
from otel_agent_trace.viewer.work import Stop, Work
from otel_agent_trace.views.report import report_rows, report_title
from otel_agent_trace.views.report_tables import report_tables
from otel_agent_trace.views.rows import Cell, Line, Table


class MetricsApi:
    """Answer requests about the figures of many runs."""

    def __init__(self, library: Library, work: Work) -> None:
        self._library = library
        self._work = work

    async def metrics(self, request: Request) -> Response:
        """Return the report of the runs that match; `by` may be given several times."""
        query = query_in(request, self._library, "by", "bucket").but(sort=None, prices=None)
        by = [name for name in request.query_params.getlist("by") if name]
        bucket = request.query_params.get("bucket") or None

        def read(stop: Stop) -> dict[str, Any]:
            source = self._library.opened(stop)
            how: dict[str, Any] = {"bucket": bucket, "by": by, "prices": self._library.prices}
            report = source_metrics(source, query, on_problem=ignore_problem, **how)
            return {"report": report.to_dict(), "texts": report_texts(report)}

        def answer(stop: Stop) -> dict[str, Any]:
            return self._library.answer(f"metrics {request.url.query}", lambda: read(stop))

        return data_reply(request, await self._work.run(request, answer, is_slow=True))


def report_texts(report: MetricsReport) -> dict[str, Any]:
    """Return what the terminal shows of a report: its title, rows and tables, each text with its tone."""
    return {
        "title": _cells(report_title(report)),
        "rows": [{"label": row.label, "text": row.text, "tone": row.tone} for row in report_rows(report)],
        "tables": [_table_data(table) for table in report_tables(report)],
    }


def _table_data(table: Table) -> dict[str, Any]:
    columns = [
        {"title": column.title, "align": column.align, "cells": [_cells(cell) for cell in column.cells]}
        for column in table.columns
    ]
    return {"title": table.title, "columns": columns, "left_out": table.left_out}


def _cells(line: Cell | Line | Sequence[Cell]) -> list[dict[str, str]]:
    cells = (line,) if isinstance(line, Cell) else line
    return [{"text": cell.text, "tone": cell.tone} for cell in cells]
