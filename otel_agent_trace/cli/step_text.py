"""One step as text for people: a line that names it, and rows of what went in and came out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.text import Text

from otel_agent_trace.cli import styles
from otel_agent_trace.cli.escape import escaped, escaped_line
from otel_agent_trace.cli.figures import duration_text, plural, usage_text
from otel_agent_trace.cli.labelled import Row
from otel_agent_trace.cli.messages_text import message_text
from otel_agent_trace.cli.values_text import SHORT, WHOLE, bounded, value_text
from otel_agent_trace.model import AgentRun, AgentStep, Message, StepError, StepKind

_NAME_CHARS = 80
_MESSAGES_SHOWN = 2
_NS_PER_S = 1_000_000_000


def step_title(step: AgentStep, began_ns: int) -> Text:
    """Kind, name, duration, time since the run began; red when it failed."""
    title = Text()
    title.append(f"{escaped(str(step.step_id))} ", styles.FAINT)
    title.append(f"{step.kind.value} ", styles.KIND[step.kind])
    title.append(_name(step), styles.STRONG)
    for text, style in _title_facts(step, began_ns):
        title.append("  ")
        title.append(text, style)
    return title


def step_rows(step: AgentStep, *, full: bool) -> Iterator[Row]:
    """What went into a step and what came out of it, its error, its tokens, and what of it was cut."""
    bounds = WHOLE if full else SHORT
    if step.messages:
        yield from _message_rows(step.messages, full=full)
    if step.kind is StepKind.AGENT and step.run is not None:
        yield from _sub_run_rows(step, full=full)
    elif full or not step.messages:
        for label, value in (("in", step.input), ("out", step.output)):
            if value is not None:
                yield Row(label, value_text(value, bounds))
    if step.error is not None:
        yield from error_rows(step.error, full=full)
    if step.usage:
        yield Row("tokens", usage_text(step.usage), styles.FAINT)
    if step.metadata:
        yield Row("meta", value_text(step.metadata, bounds), styles.FAINT)
    if step.attributes and full:
        yield Row("attributes", value_text(step.attributes, bounds), styles.FAINT)
    if step.truncated:
        yield Row("cut", cut_text(step.truncated), "yellow")


def error_rows(error: StepError, *, full: bool) -> Iterator[Row]:
    """What went wrong; with where, when everything is shown."""
    bounds = WHOLE if full else SHORT
    yield Row("error", bounded(escaped(str(error)), bounds), styles.FAILED)
    if full and error.stacktrace:
        yield Row("", escaped(error.stacktrace.rstrip()), styles.FAINT)


def cut_text(paths: Iterable[str]) -> str:
    """Which values a limit cut when they were recorded."""
    return escaped_line(f"by a limit when recorded: {', '.join(path.lstrip('.') for path in paths)}")


def _name(step: AgentStep) -> str:
    name = escaped_line(step.name) or (escaped_line(step.model) if step.model else "(unnamed)")
    return name if len(name) <= _NAME_CHARS else f"{name[: _NAME_CHARS - 1]}…"


def _title_facts(step: AgentStep, began_ns: int) -> Iterator[tuple[str, str]]:
    if step.model and step.model != step.name:
        yield escaped_line(step.model)[:_NAME_CHARS], ""
    yield _duration(step)
    if step.started_at_ns and began_ns:
        yield f"at +{duration_text((step.started_at_ns - began_ns) / _NS_PER_S)}", styles.FAINT
    if step.abandoned:
        yield "abandoned", "yellow"
    if step.error is not None:
        yield "failed", styles.STATUS_FAILED


def _duration(step: AgentStep) -> tuple[str, str]:
    return ("unfinished", "yellow") if step.duration_s is None else (duration_text(step.duration_s), "")


def _message_rows(messages: tuple[Message, ...], *, full: bool) -> Iterator[Row]:
    """The last messages: what the model was sent last and what it answered."""
    shown = messages if full else messages[-_MESSAGES_SHOWN:]
    if len(shown) < len(messages):
        yield Row("", f"… ({plural(len(messages) - len(shown), 'earlier message')})", styles.FAINT)
    for message in shown:
        yield Row(escaped_line(message.role), bounded(escaped(message_text(message)), WHOLE if full else SHORT))


def _sub_run_rows(step: AgentStep, *, full: bool) -> Iterator[Row]:
    run: AgentRun | None = step.run
    bounds = WHOLE if full else SHORT
    question = step.input if step.input is not None or run is None else run.user_input
    answer = step.output if step.output is not None or run is None else run.final_output
    for label, value in (("in", question), ("out", answer)):
        if value is not None:
            yield Row(label, value_text(value, bounds))
