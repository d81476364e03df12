"""A run's own facts as text for people: who, when, how long, with what, and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.text import Text

from otel_agent_trace.cli import styles
from otel_agent_trace.cli.escape import escaped_line
from otel_agent_trace.cli.figures import duration_text, time_text, usage_text
from otel_agent_trace.cli.labelled import Row
from otel_agent_trace.cli.step_text import cut_text, error_rows
from otel_agent_trace.cli.values_text import SHORT, WHOLE, value_text
from otel_agent_trace.model import AgentRun

_NO_SERVICE = "unknown_service"  # what OpenTelemetry says where nobody named the service


def run_title(run: AgentRun) -> Text:
    """Agent, status and duration."""
    word, style = styles.status_word(run)
    title = Text(escaped_line(run.agent_name or "(unnamed agent)"), styles.STRONG)
    title.append("  ").append(word, style)
    if run.duration_s is not None:
        title.append(f"  {duration_text(run.duration_s)}", "not bold")
    return title


def fact_rows(run: AgentRun, *, full: bool) -> Iterator[Row]:
    """Everything that is known of a run but its steps, its question and its answer."""
    bounds = WHOLE if full else SHORT
    for label, text in _facts(run):
        if text:
            yield Row(label, escaped_line(text))
    for label, value in (("metadata", run.metadata), ("config", run.config)):
        if value:
            yield Row(label, value_text(value, bounds))
    if full and run.attributes:
        yield Row("attributes", value_text(run.attributes, bounds))
    if run.truncated:
        yield Row("cut", cut_text(run.truncated), "yellow")


def question_rows(run: AgentRun, *, full: bool) -> Iterator[Row]:
    """What the agent was asked."""
    if run.user_input is not None:
        yield Row("question", value_text(run.user_input, WHOLE if full else SHORT))


def ending_rows(run: AgentRun, *, full: bool) -> Iterator[Row]:
    """What the agent answered, or what ended it."""
    if run.final_output is not None:
        yield Row("answer", value_text(run.final_output, WHOLE if full else SHORT))
    if run.error is not None:
        yield from error_rows(run.error, full=full)


def _facts(run: AgentRun) -> Iterator[tuple[str, str | None]]:
    yield "run", run.run_id
    yield "trace", run.trace_id if run.trace_id != run.run_id else None
    yield "parent run", run.parent_run_id
    yield "replay of", run.replay_of
    yield "started", time_text(run.started_at_ns) if run.started_at_ns else None
    yield "user", run.user_id
    yield "session", run.session_id
    yield "service", None if (run.service_name or "").startswith(_NO_SERVICE) else run.service_name
    yield "dialect", run.dialect
    yield "model", run.model
    yield "tokens", usage_text(run.usage)
    yield "steps", _steps_text(run)
    yield "sampled", None if run.sampling_probability in (None, 1) else f"with probability {run.sampling_probability:g}"
    yield "status", "its process ended without saying how" if run.interrupted else None


def _steps_text(run: AgentRun) -> str:
    """How many steps of which kind, those of sub-agents too, and how many failed."""
    kinds: Counter[str] = Counter()
    failed = 0
    for one in run.walk():
        for step in one.steps:
            kinds[step.kind.value] += 1
            failed += step.error is not None
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    return f"{kinds.total():,}" + (f" ({counts})" if counts else "") + (f", {failed:,} failed" if failed else "")
