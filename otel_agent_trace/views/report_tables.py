"""Describe the tables of a report: of tools, models, agents, scores, groups, errors and time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from otel_agent_trace.metrics import (
    AgentMetrics,
    Bucket,
    CallMetrics,
    ErrorMessage,
    GroupMetrics,
    Latency,
    MetricsReport,
    ModelMetrics,
    Outcomes,
    ScoreMetrics,
    Tokens,
    ToolMetrics,
)
from otel_agent_trace.views.conduct import count_column, speed_columns
from otel_agent_trace.views.figures import (
    UNKNOWN,
    count_text,
    dollars_text,
    duration_text,
    local_minute_text,
    number_text,
    share_text,
)
from otel_agent_trace.views.report import error_name, rate_tone
from otel_agent_trace.views.rows import Cell, Column, Line, Table, cells
from otel_agent_trace.views.sample import bucket_note, error_rate_columns, too_few_text
from otel_agent_trace.views.values_text import one_line

T = TypeVar("T")
_SHOWN_ROWS = 20
_SHOWN_MESSAGES = 5
_SHOWN_LABELS = 3
_MESSAGE_WIDTH = 30
_NAME_WIDTH, _LEAST_NAME_WIDTH = 32, 12
_BAR_WIDTH = 20


def report_tables(report: MetricsReport) -> Iterator[Table]:
    """Yield the tables that have rows: of tools, models, agents (if several), scores, groups, errors and time."""
    if report.tools:
        yield _named_table("tools", report.tools, _tool_columns)
    if report.models:
        yield _named_table("models", report.models, _model_columns)
    if len(report.agents) > 1:
        yield _named_table("agents", report.agents, _agent_columns)
    if report.scores:
        yield _named_table("scores", report.scores, _score_columns)
    for key, groups in report.by.items():
        if groups:
            yield _named_table(key, groups, _group_columns)
            yield from _group_score_tables(key, groups)
    if report.error_messages:
        yield _errors_table(report.error_messages)
    if report.series:
        yield Table(_bucket_columns(report.series), title="over time", note=bucket_note(report))


def _named_table(title: str, items: Mapping[str, T], columns: Callable[[Sequence[T]], list[Column]]) -> Table:
    """Return a table of the first items, with their names in a first column that is called `title`."""
    names = list(items)[:_SHOWN_ROWS]
    shown = [items[name] for name in names]
    return Table([_name_column(title, names), *columns(shown)], left_out=len(items) - len(names))


def _name_column(title: str, names: Sequence[str]) -> Column:
    texts = cells(map(one_line, names), "strong")
    return Column(one_line(title), texts, "left", max_width=_NAME_WIDTH, least_width=_LEAST_NAME_WIDTH)


def _call_columns(calls: Sequence[CallMetrics]) -> list[Column]:
    return [
        Column("calls", cells(count_text(each.calls) for each in calls)),
        Column("errors", [_errors_cell(each.errors, each.error_rate) for each in calls]),
        *error_rate_columns(calls),
        *count_column("retries", [each.retries for each in calls]),
        *_latency_columns([each.latency for each in calls]),
        *_cost_columns([each.cost_usd for each in calls]),
    ]


def _tool_columns(tools: Sequence[ToolMetrics]) -> list[Column]:
    return [*_call_columns(tools), *count_column("loops", [tool.loops for tool in tools])]


def _model_columns(models: Sequence[ModelMetrics]) -> list[Column]:
    tokens = _token_columns([model.tokens for model in models])
    return [*_call_columns(models), *tokens, *speed_columns(models)]


def _agent_columns(agents: Sequence[AgentMetrics]) -> list[Column]:
    return [
        Column("runs", cells(count_text(agent.runs) for agent in agents)),
        Column("nested", cells(count_text(agent.nested_runs) for agent in agents), rank=5),
        Column("success", [_success_cell(agent) for agent in agents]),
        *count_column("loops", [agent.loops for agent in agents]),
        *_latency_columns([agent.latency for agent in agents]),
        *_token_columns([agent.tokens for agent in agents]),
        *_cost_columns([agent.cost_usd for agent in agents]),
    ]


def _score_columns(scores: Sequence[ScoreMetrics]) -> list[Column]:
    columns = [
        Column("runs", cells(count_text(score.runs) for score in scores)),
        Column("scores", cells(count_text(score.count) for score in scores), rank=5),
        Column("mean", cells(map(_mean_text, scores))),
        Column("95% sure", cells(map(_interval_text, scores)), rank=1),
    ]
    if any(score.numbers for score in scores):
        columns += [
            Column("min", cells(number_text(score.min) for score in scores), rank=3),
            Column("max", cells(number_text(score.max) for score in scores), rank=3),
        ]
    if any(score.labels for score in scores):
        columns.append(
            Column(
                "labels", cells(_labels_text(score.labels) for score in scores), "left", least_width=_LEAST_NAME_WIDTH
            )
        )
    return columns


def _group_columns(groups: Sequence[GroupMetrics]) -> list[Column]:
    return [
        Column("runs", cells(count_text(group.runs) for group in groups)),
        Column("success", [_success_cell(group) for group in groups]),
        Column("95% sure", cells(map(_success_interval_text, groups)), rank=1),
        *count_column("loops", [group.loops for group in groups]),
        *_latency_columns([group.latency for group in groups]),
        *_token_columns([group.tokens for group in groups]),
        *_cost_columns([group.cost_usd for group in groups]),
    ]


def _group_score_tables(by: str, groups: Mapping[str, GroupMetrics]) -> Iterator[Table]:
    """Yield a table of the scores in the groups, those of one name below each other, if there are any."""
    rows = sorted(
        ((name, group_name, score) for group_name, group in groups.items() for name, score in group.scores.items()),
        key=lambda row: row[0],
    )
    shown = rows[: 2 * _SHOWN_ROWS]
    if shown:
        columns = [_name_column("score", [row[0] for row in shown]), _name_column(by, [row[1] for row in shown])]
        yield Table([*columns, *_score_columns([row[2] for row in shown])], left_out=len(rows) - len(shown))


def _mean_text(score: ScoreMetrics) -> str:
    """Return the share of true bools, the mean of numbers, or both."""
    share = None if score.true_rate is None else f"{share_text(score.true_rate)} true"
    return _joined(share, None if score.mean is None else number_text(score.mean))


def _interval_text(score: ScoreMetrics) -> str:
    return _joined(
        None if score.true_interval is None else " to ".join(map(share_text, score.true_interval)),
        None if score.mean_interval is None else " to ".join(map(number_text, score.mean_interval)),
    )


def _joined(*texts: str | None) -> str:
    return ", ".join(filter(None, texts)) or UNKNOWN


def _labels_text(labels: Mapping[str, float]) -> str:
    shown = [
        f"{count_text(count)} {one_line(label)}" for label, count in itertools.islice(labels.items(), _SHOWN_LABELS)
    ]
    return ", ".join(shown) + (", …" if len(labels) > len(shown) else "")


def _success_interval_text(outcomes: Outcomes) -> str:
    return UNKNOWN if outcomes.success_interval is None else " to ".join(map(share_text, outcomes.success_interval))


def _bucket_columns(buckets: Sequence[Bucket]) -> list[Column]:
    most = max(bucket.runs for bucket in buckets)
    return [
        Column("from", cells(local_minute_text(bucket.start) for bucket in buckets), "left"),
        Column("runs", cells(count_text(bucket.runs) for bucket in buckets)),
        Column("success", [_success_cell(bucket) for bucket in buckets]),
        *_latency_columns([bucket.latency for bucket in buckets]),
        *_token_columns([bucket.tokens for bucket in buckets]),
        *_cost_columns([bucket.cost_usd for bucket in buckets]),
        Column("", [_bar(bucket, most) for bucket in buckets], "left", rank=6),
    ]


def _latency_columns(latencies: Sequence[Latency]) -> list[Column]:
    return [
        Column("p50", cells(duration_text(latency.p50_s) for latency in latencies)),
        Column("p95", cells(duration_text(latency.p95_s) for latency in latencies), rank=2),
        Column("max", cells(duration_text(latency.max_s) for latency in latencies), rank=3),
    ]


def _token_columns(tokens: Sequence[Tokens]) -> list[Column]:
    if not any(item.total_tokens for item in tokens):
        return []
    return [
        Column("tokens in", cells(count_text(item.input_tokens) for item in tokens), rank=4),
        Column("tokens out", cells(count_text(item.output_tokens) for item in tokens), rank=4),
    ]


def _cost_columns(costs: Sequence[float | None]) -> list[Column]:
    if all(usd is None for usd in costs):
        return []
    return [Column("cost", cells(map(dollars_text, costs)), rank=1)]


def _errors_table(messages: Sequence[ErrorMessage]) -> Table:
    shown = messages[:_SHOWN_MESSAGES]
    columns = [
        Column("times", cells(count_text(error.count) for error in shown)),
        Column("error", cells((_class_name(error.type) for error in shown), "failed"), "left"),
        Column("message", cells(one_line(error.message) for error in shown), "left"),
    ]
    return Table(columns, last_width=_MESSAGE_WIDTH, left_out=len(messages) - len(shown))


def _errors_cell(count: float, share: float | None) -> Cell:
    return Cell(f"{round(count):,} ({share_text(share)})", "failed") if count else Cell("0", "faint")


def _success_cell(outcomes: Outcomes) -> Cell:
    share, text = outcomes.success_rate, f"{too_few_text(outcomes)} {share_text(outcomes.success_rate)}".lstrip()
    return Cell(UNKNOWN) if share is None else Cell(text, rate_tone(1 - share))


def _bar(bucket: Bucket, most: float) -> Line:
    """Return a bar whose length is the number of runs relative to `most`, and whose end is the share that failed."""
    length = max(1, round(_BAR_WIDTH * bucket.runs / most))
    failed = round(length * (bucket.errors + bucket.timeouts) / bucket.runs)
    return Cell("#" * (length - failed), "success"), Cell("x" * failed, "failed")


def _class_name(error_type: str) -> str:
    """Return the type of an error without its module."""
    name = error_name(error_type)
    return name.rpartition(".")[2] or name
