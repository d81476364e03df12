"""Describe one item of a run, with its values, messages, facts and where these were read from, as JSON-able data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from otel_agent_trace.model import AgentRun, LogEntry, Score
from otel_agent_trace.prices import Prices
from otel_agent_trace.values import encode
from otel_agent_trace.views.call_figures import call_figures
from otel_agent_trace.views.explanation import FactRow
from otel_agent_trace.views.figures import duration_text
from otel_agent_trace.views.head import head_of, paths, score_data
from otel_agent_trace.views.item_facts import kind_of, name_of, offset_of, offset_text, status_of_item
from otel_agent_trace.views.items import Item, RunItems, messages_of
from otel_agent_trace.views.json_values import LIMIT_CHARS, JsonWriter, WriterOf, writer_of
from otel_agent_trace.views.rows import Row
from otel_agent_trace.views.runs import named_fact_rows
from otel_agent_trace.views.steps import step_fact_rows
from otel_agent_trace.views.values_text import Bounds, value_text

_MOST_LOGS = 500
_LOG = Bounds(lines=200, chars=4000)
_MESSAGES_CHARS = 1 << 20
_LEAST_CHARS = 1024
"""Length of a text of a message that is always sent; of many messages, longer ones are cut."""


def run_head(run: AgentRun | RunItems, prices: Prices | None = None, *, command: str = "") -> dict[str, Any]:
    """Return the head of a run as JSON-able data; `command` is the one that replays it."""
    items = RunItems.of(run)
    return head_of(items, call_figures(items, prices), command=command)


def step_details(
    run: AgentRun | RunItems,
    number: int = 0,
    *,
    prices: Prices | None = None,
    new_from: int = 0,
    source: Iterable[FactRow] = (),
    writer: WriterOf = writer_of,
) -> dict[str, Any]:
    """Return the details of an item of a run as JSON-able data.

    Args:
        run: the run, or its items.
        number: the number of the item; 0 is the run itself.
        prices: what model calls cost.
        new_from: how many of its first messages repeat those of an earlier call.
        source: where each fact was read from.
        writer: returns what converts its values.

    Raises:
        IndexError: the run has no such item.
    """
    items = RunItems.of(run)
    item = items[number]
    details = {
        **_names(items, item),
        "error": _error_data(item),
        **_values(item, writer(number, LIMIT_CHARS)),
        "messages": _messages(item, writer),
        "new_from": new_from,
        "facts": [row._asdict() for row in _fact_rows(items, item, prices)],
        "source": [row._asdict() for row in source],
        "logs": [_log_data(entry, items) for entry in _logs(item)[:_MOST_LOGS]],
        "logs_left_out": max(len(_logs(item)) - _MOST_LOGS, 0),
        "scores": [score_data(score) for score in _scores(item)],
        "cut": paths(item.subject.truncated),
        "masked": paths(item.subject.redacted),
        "missing": [] if item.step is None else list(item.step.not_recorded),
    }
    return dict(encode(details).data)


def _names(items: RunItems, item: Item) -> dict[str, Any]:
    subject = item.subject
    return {
        "number": item.number,
        "span_id": subject.span_id,
        "step_id": None if item.step is None else item.step.step_id,
        "step_name": None if item.step is None else items.names.of(item.step),
        "kind": kind_of(item),
        "name": name_of(item),
        "status": status_of_item(items, item),
        "model": subject.model or (None if item.run is None else item.run.model),
        "started_at": subject.started_at.isoformat() if subject.started_at_ns else None,
        "offset_text": offset_text(items, item),
        "duration_text": duration_text(subject.duration_s),
    }


def _error_data(item: Item) -> dict[str, Any] | None:
    error = item.subject.error or (None if item.run is None else item.run.error)
    if error is None:
        return None
    return {
        "type": error.type,
        "message": error.message[:LIMIT_CHARS],
        "category": error.category,
        "stacktrace": error.stacktrace and error.stacktrace[:LIMIT_CHARS],
    }


def value_fields(item: Item) -> dict[str, Any]:
    """Return the recorded values of an item by the names under which they are shown."""
    run, step = item.run, item.step
    fields = {
        "input": None if step is None else step.input,
        "output": None if step is None else step.output,
        "attributes": item.subject.attributes or (None if run is None else run.attributes),
        "metadata": item.subject.metadata or (None if run is None else run.metadata),
        "interrupted_for": item.subject.interrupted_for,
        "input_after": None if step is None else step.input_after,
        "chunks": None if step is None else step.chunks,
        "config": None if run is None else run.config,
        "resource": item.part.resource if step is None else None,
    }
    if run is not None:
        fields["input"] = run.user_input if fields["input"] is None else fields["input"]
        fields["output"] = run.final_output if fields["output"] is None else fields["output"]
    return fields


def _values(item: Item, writer: JsonWriter) -> dict[str, Any]:
    shown = ("attributes", "metadata", "config", "resource")
    fields = {name: None if name in shown and not value else value for name, value in value_fields(item).items()}
    return {name: writer.value(value, name) for name, value in fields.items()}


def _messages(item: Item, writer: WriterOf) -> list[dict[str, Any]]:
    messages = messages_of(item)
    if not messages:
        return []
    limited = writer(item.number, min(LIMIT_CHARS, max(_LEAST_CHARS, _MESSAGES_CHARS // len(messages))))
    return [limited.message(message, f"messages.{place}") for place, message in enumerate(messages)]


def _fact_rows(items: RunItems, item: Item, prices: Prices | None) -> Iterable[Row]:
    if item.step is None:
        return named_fact_rows(item.part, call_figures(items, prices).cost)
    return step_fact_rows(item.step) if item.run is None else (*step_fact_rows(item.step), *named_fact_rows(item.run))


def _logs(item: Item) -> Sequence[LogEntry]:
    return item.subject.logs or (() if item.run is None else item.run.logs)


def _scores(item: Item) -> Sequence[Score]:
    return item.subject.scores or (() if item.run is None else item.run.scores)


def _log_data(entry: LogEntry, items: RunItems) -> dict[str, Any]:
    return {
        "offset_text": offset_of(entry.at_ns - items.run.started_at_ns) if entry.at_ns else "",
        "severity": entry.severity,
        "logger": entry.logger,
        "text": value_text(entry.body, _LOG),
    }
