"""The figures of many runs as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from rich.console import Console
from rich.text import Text

from otel_agent_trace.cli import styles
from otel_agent_trace.cli.columns import Column, print_columns
from otel_agent_trace.cli.escape import escaped_line
from otel_agent_trace.cli.figures import UNKNOWN, count_text, duration_text, local_minute_text, plural, share_text
from otel_agent_trace.cli.labelled import Row, Rows
from otel_agent_trace.metrics import (
    AgentMetrics,
    Bucket,
    ErrorMessage,
    Latency,
    MetricsReport,
    ModelMetrics,
    Tokens,
    ToolMetrics,
)

T = TypeVar("T")
_INDENT = 2
_SHOWN_ROWS = 20
_SHOWN_MESSAGES = 5
_MESSAGE_WIDTH = 30
_NAME_WIDTH = 32
_BAR_WIDTH = 20


def print_report(report: MetricsReport, console: Console) -> None:
    """How the runs went, then tools, models, agents, errors and the course of time, each where there is any."""
    console.print(_headline(report))
    console.print(Rows(_summary_rows(report), indent=_INDENT))
    _print_named("tools", report.tools, _tool_columns, console)
    _print_named("models", report.models, _model_columns, console)
    if len(report.agents) > 1:
        _print_named("agents", report.agents, _agent_columns, console)
    _print_errors(report.error_messages, console)
    if report.series:
        _print_section("over time", _bucket_columns(report.series), console)


def _headline(report: MetricsReport) -> Text:
    title = Text(plural(report.runs, "run"), styles.STRONG)
    if report.success_rate is not None:
        title.append("  ").append(f"{share_text(report.success_rate)} succeeded", _rate_style(1 - report.success_rate))
    if report.success_interval is not None:
        low, high = report.success_interval
        title.append(f"  (95% sure: {share_text(low)} to {share_text(high)})", styles.FAINT)
    return title


def _summary_rows(report: MetricsReport) -> Iterable[Row]:
    counts = (
        (report.success, "success"),
        (report.errors, "error"),
        (report.timeouts, "timeout"),
        (report.running, "running"),
    )
    yield Row("status", ", ".join(f"{count:,} {word}" for count, word in counts if count) or UNKNOWN)
    yield Row("latency", _latency_text(report.latency))
    steps = report.steps_per_run
    if steps.mean is not None:
        yield Row("steps", f"mean {steps.mean:.1f}, p50 {steps.p50:g}, p95 {steps.p95:g}, max {steps.max:,} per run")
    if report.tokens.total_tokens:
        yield Row("tokens", _tokens_text(report.tokens))
    if report.run_errors:
        yield Row("run errors", _counts_text(report.run_errors))
    if report.step_errors:
        yield Row("step errors", _counts_text(report.step_errors))


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
    return ", ".join(f"{name} {duration_text(seconds)}" for name, seconds in figures)


def _tokens_text(tokens: Tokens) -> str:
    cached, thought = tokens.cache_read_input_tokens, tokens.reasoning_output_tokens
    sent = f"{tokens.input_tokens:,} in" + (f" ({cached:,} cached)" if cached else "")
    return f"{sent}, {tokens.output_tokens:,} out" + (f" ({thought:,} reasoning)" if thought else "")


def _counts_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {escaped_line(name)}" for name, count in counts.items())


def _print_named(
    title: str, items: Mapping[str, T], columns: Callable[[Sequence[T]], list[Column]], console: Console
) -> None:
    """A table of the first things by name."""
    if not items:
        return
    names = list(items)[:_SHOWN_ROWS]
    cells = [Text(escaped_line(name), styles.STRONG) for name in names]
    name_column = Column(title, cells, right=False, max_width=_NAME_WIDTH)
    _print_section(None, [name_column, *columns([items[name] for name in names])], console)
    if len(items) > len(names):
        console.print(Text(f"{' ' * _INDENT}… {len(items) - len(names):,} more (--json lists all)", styles.FAINT))


def _print_section(title: str | None, columns: Sequence[Column], console: Console) -> None:
    console.print()
    if title:
        console.print(Text(title, styles.STRONG))
    print_columns(columns, console, indent=_INDENT)


def _tool_columns(tools: Sequence[ToolMetrics]) -> list[Column]:
    return [
        Column("calls", [Text(count_text(tool.calls)) for tool in tools]),
        Column("errors", [_errors(tool.errors, tool.error_rate) for tool in tools]),
        *_latency_columns([tool.latency for tool in tools]),
    ]


def _model_columns(models: Sequence[ModelMetrics]) -> list[Column]:
    return [*_tool_columns(models), *_token_columns([model.tokens for model in models])]


def _agent_columns(agents: Sequence[AgentMetrics]) -> list[Column]:
    return [
        Column("runs", [Text(count_text(agent.runs)) for agent in agents]),
        Column("nested", [Text(count_text(agent.nested_runs)) for agent in agents], rank=5),
        Column("success", [_success(agent.success_rate) for agent in agents]),
        *_latency_columns([agent.latency for agent in agents]),
        *_token_columns([agent.tokens for agent in agents]),
    ]


def _bucket_columns(buckets: Sequence[Bucket]) -> list[Column]:
    most = max(bucket.runs for bucket in buckets)
    return [
        Column("from", [Text(local_minute_text(bucket.start)) for bucket in buckets], right=False),
        Column("runs", [Text(count_text(bucket.runs)) for bucket in buckets]),
        Column("success", [_success(bucket.success_rate) for bucket in buckets]),
        *_latency_columns([bucket.latency for bucket in buckets]),
        *_token_columns([bucket.tokens for bucket in buckets]),
        Column("", [_bar(bucket, most) for bucket in buckets], right=False, rank=6),
    ]


def _latency_columns(latencies: Sequence[Latency]) -> list[Column]:
    return [
        Column("p50", [Text(duration_text(latency.p50_s)) for latency in latencies]),
        Column("p95", [Text(duration_text(latency.p95_s)) for latency in latencies], rank=2),
        Column("max", [Text(duration_text(latency.max_s)) for latency in latencies], rank=3),
    ]


def _token_columns(tokens: Sequence[Tokens]) -> list[Column]:
    if not any(item.total_tokens for item in tokens):
        return []
    return [
        Column("tokens in", [Text(count_text(item.input_tokens)) for item in tokens], rank=4),
        Column("tokens out", [Text(count_text(item.output_tokens)) for item in tokens], rank=4),
    ]


def _errors(count: int, share: float | None) -> Text:
    return Text(f"{count:,} ({share_text(share)})", styles.FAILED) if count else Text("0", styles.FAINT)


def _success(share: float | None) -> Text:
    return Text(UNKNOWN) if share is None else Text(share_text(share), _rate_style(1 - share))


def _rate_style(failed_share: float) -> str:
    return "green" if failed_share <= 0.05 else "yellow" if failed_share <= 0.25 else "red"


def _bar(bucket: Bucket, most: int) -> Text:
    """A bar as long as there were runs, its end as red as there were failures."""
    length = max(1, round(_BAR_WIDTH * bucket.runs / most))
    failed = round(length * (bucket.errors + bucket.timeouts) / bucket.runs)
    return Text("#" * (length - failed), "green").append("x" * failed, "red")


def _print_errors(messages: Sequence[ErrorMessage], console: Console) -> None:
    if not messages:
        return
    shown = messages[:_SHOWN_MESSAGES]
    columns = [
        Column("times", [Text(count_text(error.count)) for error in shown]),
        Column("error", [Text(_class_name(error.type), styles.FAILED) for error in shown], right=False),
        Column("message", [Text(escaped_line(error.message)) for error in shown], right=False),
    ]
    console.print()
    print_columns(columns, console, indent=_INDENT, room=_MESSAGE_WIDTH)
    if len(messages) > len(shown):
        console.print(Text(f"{' ' * _INDENT}… {len(messages) - len(shown):,} more (--json lists them)", styles.FAINT))


def _class_name(error_type: str) -> str:
    """The type of an error without its module."""
    return escaped_line(error_type).rpartition(".")[2] or escaped_line(error_type)
