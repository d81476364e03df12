"""Define the row of a run, and make those of the runs of a trace that was read as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from otel_agent_trace import dialects, semconv
from otel_agent_trace.model import AgentRun, RunStatus, StepKind
from otel_agent_trace.query import INTERRUPTED, STATUSES, models_in, status_of
from otel_agent_trace.runs.assemble import Assembled, assemble
from otel_agent_trace.runs.resume import is_paused, may_be_linked
from otel_agent_trace.runs.stitch import may_be_joined
from otel_agent_trace.sources.index.schema import UNKNOWN, Link, is_storable, joined
from otel_agent_trace.span import SpanRecord

TIME_END = 1 << 63
QUESTION_CHARS, ANSWER_CHARS = 96, 64
_PREVIEWED_CHARS = 1600
STATUS_NUMBERS = {status: number for number, status in enumerate(STATUSES)}


class RunRow(NamedTuple):
    """Hold what the index has of a run; names are texts, or several of them `joined`.

    `run_id` is None where it is the id of the trace; `question` and `answer` are the beginnings of texts, and `UNKNOWN`
    where they are none.
    """

    run_ids: tuple[str, ...]
    start_ns: int
    end_ns: int | None
    status: int
    agent: str | None
    user: str | None
    session: str | None
    services: str | None
    tools: str | None
    failed_tools: str | None
    models: str | None
    tags: str | None
    steps: int
    errors: int
    tokens: int
    probability: float | None
    question: str | None
    answer: str | None
    run_id: str | None


def status_numbers(status: str) -> list[int]:
    """Return the numbers of the statuses of rows that match the filter `status`."""
    statuses = [status, INTERRUPTED] if status == RunStatus.RUNNING.value else [status]
    return [STATUS_NUMBERS[each] for each in statuses]


def rows_of(spans: Sequence[SpanRecord]) -> tuple[list[RunRow], Link]:
    """Return a row for each outermost run in a trace, and how the trace is linked with others."""
    runs = assemble(spans)
    whole = tuple(spans)
    is_linked = may_be_joined(spans, runs) or any(map(is_paused, runs))
    link = Link.NONE
    if is_linked:
        link = Link.LINKED
    elif not dialects.is_ours(spans[0]) or any(may_be_linked(Assembled(run, whole)) for run in runs):
        link = Link.WITH_LINKED
    return [_row_of(run, spans) for run in runs], link


def _row_of(run: AgentRun, spans: Sequence[SpanRecord]) -> RunRow:
    parts = [*run.walk()]
    steps = [step for part in parts for step in part.steps]
    tools = [step for step in steps if step.kind is StepKind.TOOL]
    services = [part.service_name for part in parts]
    services += [span.resource.attributes.get(semconv.SERVICE_NAME) for span in spans]
    trace_id = spans[0].trace_id
    ids = (*(part.run_id for part in parts), *run.trace_ids)
    return RunRow(
        tuple([known for known in ids if not known.startswith(trace_id)]),
        _in_64_bits(run.started_at_ns),
        None if run.ended_at_ns is None else _in_64_bits(run.ended_at_ns),
        STATUS_NUMBERS[status_of(run)],
        run.agent_name,
        run.user_id,
        run.session_id,
        joined(_texts(services)),
        joined(_texts(tool.name for tool in tools)),
        joined(_texts(tool.name for tool in tools if tool.error is not None)),
        joined(models_in(run)),
        joined(_texts(run.tags)),
        len(steps),
        sum(step.error is not None for step in steps),
        _in_64_bits(run.usage.total_tokens if run.usage else 0),
        run.sampling_probability if type(run.sampling_probability) is float else None,
        preview(run.user_input, QUESTION_CHARS),
        preview(run.final_output, ANSWER_CHARS),
        None if run.run_id == trace_id else run.run_id,
    )


def _texts(values: Iterable[Any]) -> list[str]:
    return [value for value in values if type(value) is str]


def _in_64_bits(number: int) -> int:
    return min(max(number, -TIME_END), TIME_END - 1)


def preview(value: Any, most_chars: int) -> str | None:
    """Return the beginning of a text on one line, as lists show it; `UNKNOWN` of what is not kept as it is."""
    if value is None:
        return None
    if not isinstance(value, str):
        return UNKNOWN
    head = value[: most_chars + 1]
    if not (head.isprintable() and "  " not in head and head == head.strip()):
        head = " ".join(value[:_PREVIEWED_CHARS].split())
    line = head if len(head) <= most_chars else head[: most_chars - 1].rstrip() + "…"
    return line if is_storable(line) else UNKNOWN
