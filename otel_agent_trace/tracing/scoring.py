"""Pass on what people and checks thought of runs and steps, as log records of the conventions' evaluation event."""

from __future__ import annotations

import _thread
import numbers
import time
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError, SourceError, UnknownRunError
from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.formats.sdk_span import SdkReader
from otel_agent_trace.guard import guarded
from otel_agent_trace.keywords import shown
from otel_agent_trace.model import AgentRun, Score
from otel_agent_trace.query import age
from otel_agent_trace.runs.step_names import StepNames
from otel_agent_trace.scores import event_of
from otel_agent_trace.signals import OneShotResult
from otel_agent_trace.span import LogRecord, Notice, Problem, Scope
from otel_agent_trace.tracing.coercion import text_of
from otel_agent_trace.tracing.processor import AgentSpanProcessor, processors_in
from otel_agent_trace.tracing.providers import processors_of
from otel_agent_trace.tracing.state import NOT_RECORDED, TracerState, ids_of
from otel_agent_trace.values import Limits, encode_string
from otel_agent_trace.version import __version__

if TYPE_CHECKING:
    from otel_agent_trace.tracing.active_span import ActiveSpan

_SCOPE = Scope(semconv.SCOPE_NAME, __version__, {semconv.FORMAT: semconv.FORMAT_NUMBER})
_READER = SdkReader()
_LONGEST_READ_S = 3600.0
_OF_NOTHING = "dropped: score of what is not recorded"
_LARGEST = float(2**63)


class _Clock:
    """Return Unix nanoseconds that grow with each call, so that scores have the order in which they were given."""

    def __init__(self) -> None:
        self._lock, self._last_ns = ForkSafeLock(), 0

    def now_ns(self) -> int:
        with self._lock:
            self._last_ns = max(time.time_ns(), self._last_ns + 1)
            return self._last_ns


_CLOCK = _Clock()


class Place(NamedTuple):
    """Describe what a score is about.

    Attributes:
        run_id: the id of the run.
        trace_id: its trace, 0 where that is not known.
        span_id: the span of the run or of the step, 0 where it is not known.
        step_id: the id of the step, if the score is about one whose span is not known.
    """

    run_id: str
    trace_id: int = 0
    span_id: int = 0
    step_id: int | str | None = None


# ── making a score ───────────────────────────────────────────────────────────────────────────────────────────────────


def new_score(
    limits: Limits,
    name: object,
    value: object,
    *,
    label: object = None,
    explanation: object = None,
    source: object = None,
) -> Score:
    """Return a score that is given now; a text as its value is its label.

    Raises:
        ConfigurationError: it has no name, neither a value nor a label nor an explanation, or a value that is no number.
    """
    if isinstance(value, str) and label is None:
        value, label = None, value
    called = text_of(name)
    if not called.strip():
        raise ConfigurationError("score: a score needs a name")
    score = Score(
        name=_text(called, limits) or "",
        value=_number(called, value),
        label=_text(label, limits),
        explanation=_text(explanation, limits),
        source=_text(source, limits),
        at_ns=_CLOCK.now_ns(),
    )
    if score.value is None and score.label is None and score.explanation is None:
        msg = f"score {shown(called)}: give a value (a number or a bool), a label, or an explanation"
        raise ConfigurationError(msg)
    return score


def _text(given: object, limits: Limits) -> str | None:
    """Return a text within the limits; None for an empty one, which is read as none."""
    return None if given is None else encode_string(text_of(given), limits).text or None


def _number(name: str, given: Any) -> bool | int | float | None:
    """Return a number of any class as one of Python's own."""
    if given is None or type(given) in (bool, float):
        return given  # type: ignore[no-any-return]
    try:
        if str(type(given).__module__).partition(".")[0] == "numpy":  # whose bools are no numbers
            given = given.item()
        if isinstance(given, bool | numbers.Integral) and abs(int(given)) < _LARGEST:
            return given if type(given) is bool else int(given)
        if isinstance(given, numbers.Real | Decimal):
            return float(given)
    except (OverflowError, ValueError, TypeError):  # too large, a signalling NaN, an array
        pass
    msg = f"score {shown(name)}: value must be a number or a bool, or a text for a label, got {shown(given)}"
    raise ConfigurationError(msg)


# ── passing it on ────────────────────────────────────────────────────────────────────────────────────────────────────


def give_to_span(state: TracerState, active: ActiveSpan, score: Score) -> None:
    """Pass on a score of an open or ended run or step, to where its span goes.

    Where nothing takes log records, such as an exporter of others, it is an event of the span.
    """
    span = active.span
    trace_id, span_id = ids_of(span)
    if (trace_id, span_id) == NOT_RECORDED:
        state.diagnostics.count(_OF_NOTHING)
        return
    record = _record(Place(active.id_of_run, trace_id, span_id), score, span, active.asked_content())
    policies = active.destination.write_policies
    admitted = record if policies is None else policies.admitted(record)
    if admitted is None:
        return
    # The SDK has no public attribute for the processors of a span.
    processors = _taking(processors_in(getattr(span, "_span_processor", None)))
    for processor in processors:
        processor.on_log(span, admitted)  # type: ignore[arg-type]
    if processors:
        state.diagnostics.count("scores")
    elif span.is_recording():
        span.add_event(admitted.name, dict(admitted.attributes), admitted.time_ns)
        state.diagnostics.count("scores")
    else:
        _lose(state)


def give_to_place(state: TracerState, place: Place, score: Score) -> None:
    """Pass on a score of a run or step without its span at hand, to where spans go now."""
    provider = state.current_provider()
    record = _record(place, score, provider, state.content_mode)
    policies = state.destination().write_policies
    admitted = record if policies is None else policies.admitted(record)
    if admitted is None:
        return
    processors = _taking(processors_of(provider))
    for processor in processors:
        processor.pipeline.on_log(admitted)
    if processors:
        state.diagnostics.count("scores")
    else:
        _lose(state)


def _taking(processors: Iterable[AgentSpanProcessor]) -> list[AgentSpanProcessor]:
    return [each for each in processors if any(sink.takes_logs for sink in each.pipeline.sinks)]


def _lose(state: TracerState) -> None:
    state.diagnostics.count("dropped: score, as nothing takes log records")
    state.diagnostics.warn_once(
        "score", "a score was given after its span had ended, and no backend takes log records; such scores are lost"
    )


def _record(place: Place, score: Score, owner: Any, mode: str | None) -> LogRecord:
    """Return the log record of a score, with the resource of a span or a provider."""
    event = event_of(score)
    attributes = {**event.attributes, semconv.RUN_ID: place.run_id}
    if place.step_id is not None:
        attributes[semconv.STEP_ID] = place.step_id
    if mode is not None:
        attributes[semconv.CONTENT] = mode
    return LogRecord(
        f"{place.trace_id:032x}" if place.trace_id else "",
        f"{place.span_id:016x}" if place.span_id else "",
        event.name,
        event.time_ns,
        attributes,
        resource=_READER.resource(owner),
        scope=_SCOPE,
    )


# ── finding what it is about ─────────────────────────────────────────────────────────────────────────────────────────


def score_run(state: TracerState, given_id: object, step_id: int | str | None, score: Score) -> None:
    """Pass on a score of a run that is open, has ended, or was recorded by another process.

    Raises:
        UnknownRunError: neither this tracer nor a backend that can be read knows the run.
        ConfigurationError: the run has no such step.
    """
    run_id = text_of(given_id)
    run = state.open_run(run_id)
    if step_id is None and not isinstance(run, str):
        run.give(score)
        return
    ids = state.ids_of_ended(run_id) if isinstance(run, str) else ids_of(run.span)
    if ids == NOT_RECORDED:
        state.diagnostics.count(_OF_NOTHING)
        return
    context = None if step_id is None else state.step_context(run_id, step_id)
    if context is not None:
        place = Place(run_id, context.trace_id, context.span_id)
    elif ids is None:
        place = _place_read(state, run_id, step_id)
    else:  # readers find the step
        place = Place(run_id, ids[0], ids[1] if step_id is None else 0, step_id)
    guarded(state.diagnostics, "score", give_to_place, state, place, score)


def _place_read(state: TracerState, run_id: str, step_id: int | str | None) -> Place:
    """Return the place of a run that is read from the backends; without ids if it may be elsewhere."""
    sinks = [sink for each in processors_of(state.current_provider()) for sink in each.pipeline.sinks]
    is_sure = bool(sinks) and not state.has_started(run_id)
    for sink in sinks:
        found = _read(state, sink, run_id) if hasattr(sink, "traces") else None
        is_sure = is_sure and found is not None
        if found:
            return place_in(found[-1], step_id)
    if is_sure:
        raise UnknownRunError(run_id, state.open_ids())
    return Place(run_id, step_id=step_id)


def _read(state: TracerState, sink: object, run_id: str) -> list[AgentRun] | None:
    """Return what `_runs_in` does, or None after a failure; read in another thread, in which no signal handler runs."""
    answer: OneShotResult[list[AgentRun] | None] = OneShotResult()

    def work() -> None:
        answer.set(guarded(state.diagnostics, "score", _runs_in, sink, run_id))

    if guarded(state.diagnostics, "score", _thread.start_new_thread, work, ()) is None:
        return None
    return answer.wait(_LONGEST_READ_S)


def _runs_in(sink: object, run_id: str) -> list[AgentRun] | None:
    """Return the runs of a backend that have an id, or a trace with it, the one that began last at the end.

    None if there is none, and something could not be read.
    """
    from otel_agent_trace.reading import load_runs  # noqa: PLC0415 - traced programs rarely read traces

    problems: list[Problem] = []
    try:
        whole = load_runs(sink, run_id=run_id, on_problem=problems.append)
    except SourceError as error:
        if isinstance(error.__cause__, FileNotFoundError):  # nothing was written there yet
            return []
        raise
    runs = [run for outer in whole for run in outer.walk()]
    named = [run for run in runs if run.run_id == run_id] or [run for run in whole if run_id in run.trace_ids]
    is_damaged = any(not isinstance(problem, Notice) for problem in problems)
    return sorted(named, key=age) if named or not is_damaged else None


def place_in(run: AgentRun, step_id: int | str | None) -> Place:
    """Return the place of a run that was read, or of one of its steps.

    Raises:
        ConfigurationError: the run has no such step.
    """
    is_of_one_trace = len(run.trace_ids) < 2 and run.trace_id is not None
    trace_id = int(run.trace_id or "0", 16) if is_of_one_trace else 0
    if step_id is None:
        return Place(run.run_id, trace_id, int(run.span_id or "0", 16) if is_of_one_trace else 0)
    names = StepNames(run)
    found = names.find(str(step_id))
    if found is None:
        msg = f"step_id={shown(step_id)}: run {run.run_id} has no such step; its steps: {names.known_text()}"
        raise ConfigurationError(msg)
    part, step = found
    if is_of_one_trace and step.span_id:
        return Place(part.run_id, trace_id, int(step.span_id, 16))
    return Place(part.run_id, trace_id, step_id=step.step_id)
