"""Describe how runs went about their work: loops, retries, errors that were overcome, caches and speeds.

There are rows and columns only where there is something to show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from otel_agent_trace.metrics import MetricsReport, ModelMetrics
from otel_agent_trace.runs.repeats import LOOP
from otel_agent_trace.views.figures import count_text, duration_text, number_text, plural, share_text
from otel_agent_trace.views.rows import Column, Row, cells


def conduct_rows(report: MetricsReport) -> Iterator[Row]:
    """Yield rows for tool errors in runs that succeeded, for loops and for retries."""
    if report.success_with_tool_errors:
        yield Row("tool errors", f"in {plural(report.success_with_tool_errors, 'run')} that succeeded")
    if report.loops:
        yield Row("loops", f"in {plural(report.loops, 'run')}: {LOOP} calls or more of a tool with the same input")
    if report.retries:
        yield Row("retries", plural(report.retries, "call"))


def speed_columns(models: Sequence[ModelMetrics]) -> list[Column]:
    """Return columns for the share of cached input, the median time to the first chunk, and tokens per second."""
    columns = []
    if any(model.tokens.cache_read_input_tokens for model in models):
        columns.append(Column("cached", cells(share_text(model.tokens.cache_hit_share) for model in models), rank=5))
    if any(model.first_chunk.count for model in models):
        chunks = cells(duration_text(model.first_chunk.p50_s) for model in models)
        columns.append(Column("first chunk", chunks, rank=5))
    if any(model.tokens_per_s for model in models):
        columns.append(Column("tokens/s", cells(number_text(model.tokens_per_s) for model in models), rank=5))
    return columns


def count_column(title: str, counts: Sequence[float]) -> list[Column]:
    """Return a column of counts that are rarely above 0; none where no count is."""
    return [Column(title, cells(map(count_text, counts)), rank=4)] if any(counts) else []
