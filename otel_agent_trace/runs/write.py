"""`run_to_spans`: the spans that our tracer would have written for a run."""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Iterator

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.mapping.writer import (
    AttributeWriter,
    fact_names,
    put_identity,
    put_input,
    put_output,
    put_step_id,
    status_message,
)
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, StepError, StepKind
from otel_agent_trace.policies.user_ids import is_pseudonym
from otel_agent_trace.runs.assemble import leaf_usage
from otel_agent_trace.span import Event, Resource, Scope, SpanRecord
from otel_agent_trace.values import NO_LIMITS

_SCOPE = Scope(semconv.SCOPE_NAME)
_Ids = tuple[str, str | None]
"""Of a span, and of the one above it."""
_REMOTE_KINDS = (StepKind.MODEL, StepKind.RETRIEVAL)


def run_to_spans(run: AgentRun) -> list[SpanRecord]:
    """The spans of a run and of its sub-agents, each parent before its children.

    Reading them back gives an equal run, if it is one that our tracer or reader made; of one that is put together by
    hand, spans cannot say an empty usage, an error without a type, or that the usage of model steps has no sum. Ids
    that the run does not know are derived from its own, so the same run gives the same spans each time.
    """
    return list(_Writer(run).run_spans(run, None, None))


def _derived(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:digits]


def _places_above(steps: tuple[AgentStep, ...]) -> list[int | None]:
    """For each step the place of the one above it, None below the run.

    Where several steps share an id, the last one before is meant; unless it is below the step itself, then another.
    """
    places: dict[int | str | None, list[int]] = {}
    for place, step in enumerate(steps):
        places.setdefault(step.step_id, []).append(place)
    candidates = [places.get(step.parent_step_id, []) for step in steps]
    above: list[int | None] = [found[0] if len(found) == 1 else None for found in candidates]
    unclear = [place for place, found in enumerate(candidates) if len(found) > 1]
    for place in unclear:
        found = candidates[place]
        before = bisect.bisect_left(found, place)
        order = itertools.chain(range(before - 1, -1, -1), range(len(found) - 1, before - 1, -1))
        others = (found[number] for number in order)
        above[place] = next((other for other in others if not _leads_to(place, other, above)), None)
    return above if all(above[place] is not None for place in unclear) else _grown(steps, candidates)


def _grown(steps: tuple[AgentStep, ...], candidates: list[list[int]]) -> list[int | None]:
    """The same where earlier choices left a step none: each goes below the first of its candidates that is placed."""
    above: list[int | None] = [None] * len(steps)
    waiting: dict[int | str | None, list[int]] = {}
    for place, step in enumerate(steps):
        if candidates[place]:
            waiting.setdefault(step.parent_step_id, []).append(place)
    placed = [place for place, found in enumerate(candidates) if not found]
    for place in placed:
        below = waiting.pop(steps[place].step_id, [])
        for other in below:
            above[other] = place
        placed += below
    return above


def _leads_to(place: int, start: int | None, above: list[int | None]) -> bool:
    """Whether the way up from a step comes by a place."""
    for _ in above:
        if start is None or start == place:
            break
        start = above[start]
    return start is not None


class _Writer:
    """Writes the spans of one trace."""

    def __init__(self, run: AgentRun) -> None:
        self.is_read = run.trace_id is not None
        self.trace_id = run.trace_id or _derived(run.run_id, 32)
        self.resources: dict[str | None, Resource] = {}

    def resource(self, run: AgentRun) -> Resource:
        """The program that a run took place in."""
        name = run.service_name
        return self.resources.setdefault(name, Resource({} if name is None else {semconv.SERVICE_NAME: name}))

    def derived_id(self, run: AgentRun, place: str) -> str:
        """An id for the span of a run, or of the step at a place, that has none; runs of one trace may share theirs."""
        known = (run.span_id, *(step.span_id for step in run.steps)) if self.is_read else ()
        first = next(filter(None, known), "")
        return _derived(f"{first}{run.run_id}/{place}", 16)

    def run_spans(self, run: AgentRun, step: AgentStep | None, parent_id: str | None) -> Iterator[SpanRecord]:
        """The span of a run, unless it was never seen and would tell nothing, and those of its steps."""
        own_id = run.span_id or (step.span_id if step else None) or self.derived_id(run, "")
        is_lone, is_open = _is_lone(run), _is_open(run)
        if step is not None or not (is_lone or is_open):
            yield self.run_span(run, step, (own_id, parent_id))
        outer_id = None if is_lone and run.run_id == run.trace_id else own_id
        ids = [item.span_id or self.derived_id(run, str(place)) for place, item in enumerate(run.steps)]
        for item, step_span_id, place_above in zip(run.steps, ids, _places_above(run.steps), strict=True):
            above = outer_id if place_above is None else ids[place_above]
            if item.run is not None:
                below = item.run
                if below.parent_run_id is None:
                    below = msgspec.structs.replace(below, parent_run_id=run.run_id)
                yield from self.run_spans(below, item, above)
            else:
                has_run = not is_lone or place_above is not None
                yield self.step_span(run, item, (step_span_id, above), has_run=has_run)

    def run_span(self, run: AgentRun, step: AgentStep | None, ids: _Ids) -> SpanRecord:
        """The span of a run; where it is a sub-agent's, with its place as a step."""
        content = AttributeWriter(NO_LIMITS)
        content.extra(run.attributes, _taken_names(StepKind.AGENT, run))
        name = _put_identity(content, StepKind.AGENT, run.agent_name or "", run)
        if run.agent_name is None:
            del content.attributes[semconv.AGENT_NAME]
        _put_run(content, run)
        self.put_inferred(content, run)
        _put_marks(content, run)
        if step is not None:
            if run.agent_name is None and step.name != name:
                content.text(semconv.STEP_NAME, "name", step.name)
            _put_place(content, step)
            _put_marks(content, step)
            content.messages(step.messages, StepKind.AGENT)
        content.list_cuts(run.truncated)
        failed = run.status in (RunStatus.ERROR, RunStatus.TIMEOUT)
        return self.span(content, name, run, ids, failed=failed, resource=self.resource(run))

    def put_inferred(self, content: AttributeWriter, item: AgentRun | AgentStep) -> None:
        """Say of what was read from somewhere and has no span that this one is made up."""
        if item.span_id is None and self.is_read:
            content.attributes[semconv.INFERRED] = True

    def step_span(self, run: AgentRun, step: AgentStep, ids: _Ids, *, has_run: bool) -> SpanRecord:
        """The span of a step that is no run of its own."""
        content = AttributeWriter(NO_LIMITS)
        content.extra(step.attributes, _taken_names(step.kind, step))
        name = _put_identity(content, step.kind, step.name, step)
        if has_run:
            content.text(semconv.RUN_ID, "run_id", run.run_id)
        if step.kind is not StepKind.AGENT:
            content.text(semconv.AGENT_NAME, "agent_name", run.agent_name)
        content.text(semconv.CONVERSATION_ID, "session_id", run.session_id)
        _put_place(content, step)
        _put_step(content, step)
        self.put_inferred(content, step)
        content.list_cuts(step.truncated)
        return self.span(
            content,
            name,
            step,
            ids,
            failed=step.error is not None,
            kind=semconv.KIND_CLIENT if step.kind in _REMOTE_KINDS else semconv.KIND_INTERNAL,
            resource=self.resource(run),
        )

    def span(
        self,
        content: AttributeWriter,
        name: str,
        item: AgentRun | AgentStep,
        ids: _Ids,
        *,
        failed: bool,
        resource: Resource,
        kind: int = semconv.KIND_INTERNAL,
    ) -> SpanRecord:
        """The span of a run or a step, whose content has been put together."""
        error = item.error
        if error is not None:
            content.error(error, failed=failed)
        elif failed:
            content.attributes[semconv.ERROR_TYPE] = semconv.ERROR_TYPE_OTHER
        events = _events(content, error, item.ended_at_ns or item.started_at_ns)
        return SpanRecord(
            self.trace_id,
            *ids,
            name,
            item.started_at_ns,
            item.ended_at_ns,
            content.taken(),
            kind=kind,
            status_code=semconv.STATUS_ERROR if failed else semconv.STATUS_UNSET,
            status_message=status_message(error, NO_LIMITS) if error is not None and failed else "",
            events=events,
            resource=resource,
            scope=_SCOPE,
        )


def _is_lone(run: AgentRun) -> bool:
    """Whether reading makes the same run of its outermost step, if that says nothing of a run."""
    outer = [step for step in run.steps if step.parent_step_id is None]
    if len(outer) != 1 or outer[0].run is not None or not _is_told_by_steps(run):
        return False
    (step,) = outer
    over = RunStatus.SUCCESS if step.error is None else RunStatus.ERROR
    status = RunStatus.RUNNING if step.ended_at_ns is None else over
    return (run.status, run.ended_at_ns, run.error) == (status, step.ended_at_ns, step.error) and run.run_id in (
        run.trace_id,
        f"{run.trace_id}-{step.span_id}",
    )


def _is_open(run: AgentRun) -> bool:
    """Whether reading makes the same run of its steps, if these say that they are the run's."""
    return (run.status, run.ended_at_ns, run.error) == (RunStatus.RUNNING, None, None) and _is_told_by_steps(run)


def _is_told_by_steps(run: AgentRun) -> bool:
    """Whether a run has no span of its own, and nothing that would have stood there."""
    if run.trace_id is None or run.span_id is not None or not run.steps:
        return False
    began = min(step.started_at_ns for step in run.steps)
    return run.started_at_ns == began and run == AgentRun(**{name: getattr(run, name) for name in _TOLD_BY_STEPS})


_TOLD_BY_STEPS = (
    *("run_id", "agent_name", "session_id", "status", "error", "started_at_ns", "ended_at_ns", "usage", "steps"),
    *("trace_id", "trace_ids", "service_name"),
)


def _put_run(content: AttributeWriter, run: AgentRun) -> None:
    content.text(semconv.RUN_ID, "run_id", run.run_id)
    content.text(semconv.RUN_PARENT_ID, "parent_run_id", run.parent_run_id)
    content.text(semconv.CONVERSATION_ID, "session_id", run.session_id)
    content.text(semconv.REPLAY_OF, "replay_of", run.replay_of)
    if run.user_id is not None:
        key = semconv.ENDUSER_PSEUDO_ID if is_pseudonym(run.user_id) else semconv.USER_ID
        content.text(key, "user_id", run.user_id)
    put_input(content, StepKind.AGENT, run.user_input)
    put_output(content, StepKind.AGENT, run.final_output, failed=False)
    content.json(semconv.CONFIG, "config", run.config)
    content.json(semconv.METADATA, "metadata", run.metadata or None)
    if run.status is RunStatus.TIMEOUT or (run.status is RunStatus.ERROR and run.ended_at_ns is None):
        content.attributes[semconv.RUN_STATUS] = run.status.value
    if run.sampling_probability is not None:
        content.attributes[semconv.SAMPLING_PROBABILITY] = run.sampling_probability
    if run.usage != leaf_usage(run.steps):  # reading sums the calls up anyway
        content.usage(run.usage)


def _put_step(content: AttributeWriter, step: AgentStep) -> None:
    put_input(content, step.kind, step.input)
    put_output(content, step.kind, step.output, failed=step.error is not None)
    content.messages(step.messages, step.kind)
    content.usage(step.usage)
    content.json(semconv.METADATA, "metadata", step.metadata or None)
    _put_marks(content, step)


def _put_marks(content: AttributeWriter, item: AgentRun | AgentStep) -> None:
    if item.abandoned:
        content.attributes[semconv.ABANDONED] = True
    if item.first_chunk_at_ns is not None:
        content.attributes[semconv.FIRST_CHUNK_AT_NS] = item.first_chunk_at_ns


def _taken_names(kind: StepKind, item: AgentRun | AgentStep) -> frozenset[str]:
    """Names under which facts stand, so that attributes which nobody understood cannot."""
    is_asked = item.model is not None and type(item.attributes.get(semconv.REQUEST_MODEL)) is str
    return fact_names(kind) if is_asked else fact_names(kind) | {semconv.REQUEST_MODEL}


def _put_identity(content: AttributeWriter, kind: StepKind, name: str, item: AgentRun | AgentStep) -> str:
    """What the span is; where the model that answered was another than the one asked for, both."""
    asked = item.attributes.get(semconv.REQUEST_MODEL)
    if type(asked) is not str or item.model is None:
        return put_identity(content, kind, name, item.model)
    content.text(semconv.RESPONSE_MODEL, "model", item.model)
    return put_identity(content, kind, name, asked)


def _put_place(content: AttributeWriter, step: AgentStep) -> None:
    content.attributes[semconv.STEP_INDEX] = step.index
    if step.step_id != step.index + 1 or type(step.step_id) is not int:
        put_step_id(content, step.step_id)


def _events(content: AttributeWriter, error: StepError | None, time_ns: int) -> tuple[Event, ...]:
    if error is None or error.stacktrace is None:
        return ()
    return (Event(semconv.EXCEPTION_EVENT, time_ns, content.exception(error, error.stacktrace)),)
