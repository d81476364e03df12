"""Describe a report on many runs: a title, and rows for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from otel_agent_trace import semconv
from otel_agent_trace.metrics import Cost, Latency, MetricsReport, Tokens
from otel_agent_trace.views.conduct import conduct_rows
from otel_agent_trace.views.figures import (
    UNKNOWN,
    count_text,
    dollars_text,
    duration_text,
    plural,
    share_text,
    unpriced_text,
)
from otel_agent_trace.views.rows import Cell, Line, Row
from otel_agent_trace.views.sample import sample_rows, sure_text
from otel_agent_trace.views.values_text import one_line


def report_title(report: MetricsReport) -> Line:
    """Return the number of runs, and the share that succeeded with its confidence interval."""
    title = [Cell(plural(report.runs, "run"), "strong")]
    if report.success_rate is not None:
        tone = rate_tone(1 - report.success_rate)
        title += [Cell("  "), Cell(f"{share_text(report.success_rate)} succeeded", f"strong {tone}")]
    if report.success_interval is not None:
        low, high = report.success_interval
        title.append(Cell(f"  (95% sure: {share_text(low)} to {share_text(high)})", "strong faint"))
    return tuple(title)


def report_rows(report: MetricsReport) -> Iterator[Row]:
    """Yield a row for each figure of all runs: status, latency, steps, tokens and categories of errors."""
    counts = (
        (report.success, "success"),
        (report.errors, "error"),
        (report.timeouts, "timeout"),
        (report.paused, "paused"),
        (report.running, "running"),
    )
    yield Row("status", ", ".join(f"{round(count):,} {word}" for count, word in counts if count) or UNKNOWN)
    yield from sample_rows(report)
    yield Row("latency", _latency_text(report.latency))
    if report.first_chunk.count:
        yield Row("first chunk", _latency_text(report.first_chunk))
    steps = report.steps_per_run
    if steps.mean is not None:
        yield Row("steps", f"mean {steps.mean:.1f}, p50 {steps.p50:g}, p95 {steps.p95:g}, max {steps.max:,} per run")
    if report.tokens.total_tokens:
        yield Row("tokens", _tokens_text(report.tokens))
    if report.cost.total_usd is not None:
        yield Row("cost", _cost_text(report.cost))
    if report.run_errors:
        yield Row("run errors", _counts_text(report.run_errors))
    if report.step_errors:
        yield Row("step errors", _counts_text(report.step_errors))
    yield from conduct_rows(report)


def _latency_text(latency: Latency) -> str:
    if not latency.count:
        return UNKNOWN
    figures = (
        ("mean", latency.mean_s),
        ("p50", latency.p50_s),
        ("p90", latency.p90_s),
        ("p99", latency.p99_s),
        ("max", latency.max_s),
    )
    texts = [f"{name} {duration_text(seconds)}" for name, seconds in figures]
    if latency.p95_interval_s is not None:
        texts.insert(3, f"p95 {duration_text(latency.p95_s)}{sure_text(latency.p95_interval_s, duration_text)}")
    return ", ".join(texts)


def _tokens_text(tokens: Tokens) -> str:
    cached, thought = tokens.cache_read_input_tokens, tokens.reasoning_output_tokens
    share = f" ({round(cached):,} cached, {share_text(tokens.cache_hit_share)})" if cached else ""
    sent = f"{round(tokens.input_tokens):,} in{share}, {round(tokens.output_tokens):,} out"
    reasoning = f" ({round(thought):,} reasoning)" if thought else ""
    if tokens.total_tokens_interval is None:
        return sent + reasoning
    return f"{sent}{reasoning}, {round(tokens.total_tokens):,} in total{sure_text(tokens.total_tokens_interval, count_text)}"


def _cost_text(cost: Cost) -> str:
    text = dollars_text(cost.total_usd, is_least=bool(cost.unpriced))
    text += sure_text(cost.total_interval_usd, dollars_text)
    versions = f", by {len(cost.prices)} versions of prices" if len(cost.prices) > 1 else ""
    return f"{text}{versions}{unpriced_text({each.model: each.calls for each in cost.unpriced})}"


def _counts_text(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{round(count):,} {error_name(name)}" for name, count in counts.items())


def rate_tone(failed_share: float) -> str:
    """Return the tone of a rate, given the share that failed."""
    return "success" if failed_share <= 0.05 else "warning" if failed_share <= 0.25 else "failed"


def error_name(type_or_category: str) -> str:
    """Return the type or category of an error on one line, "other" for the conventions' ``_OTHER`` (no class known)."""
    return "other" if type_or_category == semconv.ERROR_TYPE_OTHER else one_line(type_or_category)
