"""Describe a step: its title, and rows for its input, output, messages, error and other facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.model import AgentRun, AgentStep, LogEntry, Message, Score, StepError, StepKind
from otel_agent_trace.views.figures import duration_text, plural, usage_text
from otel_agent_trace.views.metadata import metadata_rows
from otel_agent_trace.views.rows import Cell, Line, Row
from otel_agent_trace.views.values_text import (
    SHORT,
    WHOLE,
    Bounds,
    bounded,
    message_text,
    one_line,
    shortened,
    value_text,
)

_NAME_CHARS = 80
_MESSAGES_SHOWN = 2
_LOGS_SHOWN, _LOG_CHARS = 5, 200
_TONES = {"WARN": "warning", "ERRO": "failed", "CRIT": "failed", "FATA": "failed"}
"""Tone by the beginning of a severity; other lines are faint."""
_NS_PER_S = 1_000_000_000


def step_title(step: AgentStep, run_started_at_ns: int, name: str | None = None) -> Line:
    """Return name in the run, kind, own name, model, duration, time since the run began, and whether the step failed.

    `name` is that of `StepNames`; by default it is the step's id.
    """
    kind = step.kind.value
    place = one_line(str(step.step_id)) if name is None else name
    title = [Cell(f"{place} ", "faint"), Cell(f"{kind} ", kind), Cell(_step_name(step), "strong")]
    for cell in _title_facts(step, run_started_at_ns):
        title += [Cell("  "), cell]
    return tuple(title)


def step_rows(step: AgentStep, *, full: bool) -> Iterator[Row]:
    """Yield rows for input, output or messages, error, tokens, prompt and metadata, and which values were cut."""
    bounds = bounds_of(full=full)
    if step.messages:
        yield from _message_rows(step.messages, full=full)
    if step.kind is StepKind.AGENT and step.run is not None:
        question = step.run.user_input if step.input is None else step.input
        answer = step.run.final_output if step.output is None else step.output
        yield from _value_rows((("in", question), ("out", answer)), bounds)
    elif full or not step.messages:
        yield from _value_rows((("in", step.input), ("out", step.output)), bounds)
    yield from interruption_rows(step, full=full)
    if step.error is not None:
        yield from error_rows(step.error, full=full)
    yield from step_fact_rows(step)
    yield from metadata_rows("meta", step.metadata, "faint", full=full)
    if step.attributes and full:
        yield Row("attributes", value_text(step.attributes, bounds), "faint")
    yield from score_rows((*step.scores, *(step.run.scores if step.run is not None else ())), full=full)
    yield from log_rows(step.logs, step.started_at_ns, full=full)
    yield from truncated_rows(step.truncated)
    yield from redacted_rows(step.redacted)


def step_fact_rows(step: AgentStep) -> Iterator[Row]:
    """Yield rows for the tokens and the prompt of a step, as far as they are known."""
    if step.usage:
        yield Row("tokens", usage_text(step.usage), "faint")
    if step.prompt_name:
        yield Row("prompt", name_and_version(step.prompt_name, step.prompt_version), "faint")


def score_rows(scores: Sequence[Score], *, full: bool) -> Iterator[Row]:
    """Yield a row for each score: its name, value and label, who gave it, and why."""
    for number, score in enumerate(scores):
        value = " ".join(str(part) for part in (score.value, score.label) if part is not None)
        source = f" ({score.source})" if score.source else ""
        why = "" if score.explanation is None else f": {bounded(score.explanation, bounds_of(full=full))}"
        yield Row("" if number else "scores", one_line(f"{score.name} {value}{source}") + why)


def log_rows(logs: tuple[LogEntry, ...], started_at_ns: int, *, full: bool) -> Iterator[Row]:
    """Yield a row for each of the first lines of a log, or for each line with `full`: when, how severe, where, what."""
    shown = logs if full else logs[:_LOGS_SHOWN]
    for number, entry in enumerate(shown):
        since = duration_text(max(entry.at_ns - started_at_ns, 0) / _NS_PER_S)
        where = one_line(f"{entry.severity} {entry.logger or ''}")
        body = value_text(entry.body, bounds_of(full=True)) if full else shortened(entry.body, _LOG_CHARS)
        yield Row(
            "" if number else "logs", f"+{since} {where}: {body}", _TONES.get(entry.severity[:4].upper(), "faint")
        )
        if full and entry.attributes.get(semconv.EXCEPTION_STACKTRACE):
            yield Row("", str(entry.attributes[semconv.EXCEPTION_STACKTRACE]).rstrip(), "faint")
    if len(shown) < len(logs):
        yield Row("", f"… ({plural(len(logs) - len(shown), 'more line')}; --full shows them)", "faint")


def interruption_rows(item: AgentRun | AgentStep, *, full: bool) -> Iterator[Row]:
    """Yield a row for the value of the signal that interrupted a run or a step, if one did."""
    if item.interrupted_for is not None:
        yield Row("paused for", value_text(item.interrupted_for, bounds_of(full=full)), "warning")


def error_rows(error: StepError, *, full: bool) -> Iterator[Row]:
    """Yield rows for an error: its type and message, and with `full` its stack trace."""
    yield Row("error", bounded(str(error), bounds_of(full=full)), "failed")
    if full and error.stacktrace:
        yield Row("", error.stacktrace.rstrip(), "faint")


def truncated_rows(paths: Sequence[str]) -> Iterator[Row]:
    """Yield a row that names the values which a limit cut when they were recorded."""
    if paths:
        names = ", ".join(path.lstrip(".") for path in paths)
        yield Row("cut", one_line(f"by a limit when recorded: {names}"), "warning")


def redacted_rows(paths: Sequence[str]) -> Iterator[Row]:
    """Yield a row that names the values in which something was masked before they were recorded."""
    if paths:
        yield Row("redacted", one_line(", ".join(paths)), "warning")


def bounds_of(*, full: bool) -> Bounds:
    """Return the bounds to which each value is shown."""
    return WHOLE if full else SHORT


def name_and_version(name: str | None, version: str | None) -> str:
    """Return a name and its version on one line; either may be missing."""
    return one_line(f"{name or ''} {version or ''}")


def _step_name(step: AgentStep) -> str:
    name = one_line(step.name) or one_line(step.model or "") or "(unnamed)"
    return name if len(name) <= _NAME_CHARS else f"{name[: _NAME_CHARS - 1]}…"


def _title_facts(step: AgentStep, run_started_at_ns: int) -> Iterator[Cell]:
    if step.model and step.model != step.name:
        yield Cell(one_line(step.model)[:_NAME_CHARS])
    yield Cell("unfinished", "warning") if step.duration_s is None else Cell(duration_text(step.duration_s))
    if step.started_at_ns and run_started_at_ns:
        yield Cell(f"at +{duration_text((step.started_at_ns - run_started_at_ns) / _NS_PER_S)}", "faint")
    if step.abandoned:
        yield Cell("abandoned", "warning")
    if step.interrupted_for is not None:
        yield Cell("paused", "warning")
    if step.error is not None:
        yield Cell("failed", "strong failed")


def _value_rows(values: Iterable[tuple[str, Any]], bounds: Bounds) -> Iterator[Row]:
    for label, value in values:
        if value is not None:
            yield Row(label, value_text(value, bounds))


def _message_rows(messages: tuple[Message, ...], *, full: bool) -> Iterator[Row]:
    """Yield a row for each of the last messages, the model's answer among them; with `full` for each message."""
    shown = messages if full else messages[-_MESSAGES_SHOWN:]
    if len(shown) < len(messages):
        yield Row("", f"… ({plural(len(messages) - len(shown), 'earlier message')})", "faint")
    for message in shown:
        yield Row(one_line(message.role), bounded(message_text(message), bounds_of(full=full)))
