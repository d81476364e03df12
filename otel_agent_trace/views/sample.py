"""Describe how large a sample is, and how far its figures may be from those of all runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from otel_agent_trace.metrics import CallMetrics, MetricsReport, Outcomes, Sampled
from otel_agent_trace.metrics.estimates import Bounds
from otel_agent_trace.views.figures import UNKNOWN, count_text, plural, share_text
from otel_agent_trace.views.rows import Column, Row, cells

_UNKNOWN_BOUND = "unknown"


def sample_rows(report: MetricsReport) -> Iterator[Row]:
    """Yield rows of a sample: how many runs were read, and the intervals of the number and success rate of all runs."""
    if report.sample is None:
        return
    few = f"; {too_few_text(report.outcomes)}" if report.too_few else ""
    yield Row("sample", f"{plural(report.sample.runs, 'run')}, each weighed by 1/p{few}", "warning" if few else "")
    yield from _unseen_rows(report.sample)
    intervals = (
        ("success rate", report.sampling_interval, share_text),
        ("number", report.runs_interval, count_text),
    )
    texts = [f"{name} {bounds_text(bounds, text)}" for name, bounds, text in intervals if bounds is not None]
    yield Row("95% sure", f"of all runs: {', '.join(texts)}")


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


def bucket_note(report: MetricsReport) -> str:
    """Return a note on the dropped runs that are in no bucket of a report, and unseen; else an empty text."""
    missing = round(report.runs - math.fsum(bucket.runs for bucket in report.series))
    if report.sample is None or not report.sample.has_unseen or missing <= 0:
        return ""
    return f"not in here: {plural(missing, 'dropped run')}, counted by the hour (--bucket 1h has them)"


def error_rate_columns(tools: Sequence[CallMetrics]) -> list[Column]:
    """Return a column of the intervals of the error rates of tools or models, if it is a sample."""
    intervals = [tool.error_rate_interval for tool in tools]
    if not any(intervals):
        return []
    texts = (UNKNOWN if bounds is None else bounds_text(bounds, share_text) for bounds in intervals)
    return [Column("95% sure", cells(texts), rank=1)]


def too_few_text(outcomes: Outcomes) -> str:
    """Return a note where too few runs were kept to trust their figures, else an empty text."""
    return "too few" if outcomes.too_few else ""


def sure_text(bounds: Bounds | None, text: Callable[[float | None], str]) -> str:
    """Return a remark after a figure of a sample: the interval of that of all runs; empty where there is none."""
    return "" if bounds is None else f" (95% sure: {bounds_text(bounds, text)})"


def bounds_text(bounds: Bounds, text: Callable[[float | None], str]) -> str:
    """Return an interval, of which a bound may be unknown."""
    if bounds == (None, None):
        return _UNKNOWN_BOUND
    return " to ".join(_UNKNOWN_BOUND if bound is None else text(bound) for bound in bounds)
