"""Describe how large a sample is, and how far its figures may be from those of all runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from otel_agent_trace.metrics import CallMetrics, MetricsReport, Outcomes, Sampled
from otel_agent_trace.views.figures import UNKNOWN, duration_text, plural, share_text
from otel_agent_trace.views.rows import Column, Row, cells


def sample_rows(report: MetricsReport) -> Iterator[Row]:
    """Yield rows of a sample: how many runs were read, and the intervals of the figures of all runs."""
    if report.sample is None:
        return
    few = f"; {too_few_text(report.outcomes)}" if report.too_few else ""
    yield Row("sample", f"{plural(report.sample.runs, 'run')}, each weighed by 1/p{few}", "warning" if few else "")
    yield from _unseen_rows(report.sample)
    intervals = [
        None if interval is None else f"{name} {_bounds_text(interval, text_of)}"
        for name, interval, text_of in (
            ("success rate", report.sampling_interval, share_text),
            ("p95", report.latency.p95_interval_s, duration_text),
        )
    ]
    if any(intervals):
        yield Row("95% sure", f"of all runs: {', '.join(filter(None, intervals))}")


def _unseen_rows(sample: Sampled) -> Iterator[Row]:
    """Yield rows about dropped runs of which nothing is known but their number, or not even whether they belong here."""
    if sample.perhaps_dropped:
        yield Row(
            "dropped", f"perhaps {plural(sample.perhaps_dropped, 'more run')}: counts are by agent, status and hour"
        )
    if sample.has_unseen:
        yield Row(
            "unseen", "dropped runs that no kept one stands for: only counts and success rates have them", "warning"
        )


def sample_note(report: MetricsReport) -> str:
    """Return a note after a number of runs: from how many in a sample it is, else an empty text."""
    if report.sample is None:
        return ""
    few = f", {too_few_text(report.outcomes)}" if report.too_few else ""
    more = f", perhaps {report.sample.perhaps_dropped:,} more" if report.sample.perhaps_dropped else ""
    return f" (sample of {report.sample.runs:,}{few}{more})"


def error_rate_columns(tools: Sequence[CallMetrics]) -> list[Column]:
    """Return a column of the intervals of the error rates of tools or models, if it is a sample."""
    intervals = [tool.error_rate_interval for tool in tools]
    if not any(intervals):
        return []
    texts = (UNKNOWN if bounds is None else _bounds_text(bounds, share_text) for bounds in intervals)
    return [Column("95% sure", cells(texts), rank=1)]


def too_few_text(outcomes: Outcomes) -> str:
    """Return a note where too few runs were kept to trust their figures, else an empty text."""
    return "too few" if outcomes.too_few else ""


def _bounds_text(bounds: tuple[float | None, float | None], text: Callable[[float | None], str]) -> str:
    low, high = bounds
    if low is None and high is None:
        return UNKNOWN
    if high is None:
        return f"{text(low)} or more"
    return f"{text(high)} or less" if low is None else f"{text(low)} to {text(high)}"
