"""Recognise runs that resume an interrupted one: after a person approved a call, or another program made it.

The two are traces of their own, except Mastra's. The second begins with what the first had asked for: the result of a
call that is pending there, or the call itself, made again; or its span names a command to resume.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace import dialects
from otel_agent_trace.dialects.parsing.signals import resumes_another
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, StepKind
from otel_agent_trace.runs.assemble import Assembled
from otel_agent_trace.runs.calls import response_of, results_sent_last
from otel_agent_trace.values import same

MOST_HELD = 512
"""Runs that are interrupted, or may resume one, and are held back until others have passed; of more, half are released."""


def with_resumed(found: Iterable[Assembled]) -> Iterator[Assembled]:
    """Yield runs, each that resumes another one with the id of that in `continues`.

    Runs that are interrupted, or begin in the middle of something, are held back until all have passed, `MOST_HELD` at
    most.
    """
    held: list[Assembled] = []
    for each in found:
        if not may_be_linked(each):
            yield each
            continue
        held.append(each)
        if len(held) >= MOST_HELD:
            held = _linked(held)
            yield from held[: MOST_HELD // 2]
            del held[: MOST_HELD // 2]
    yield from _linked(held)


def may_be_linked(found: Assembled) -> bool:
    """Return whether a run is interrupted, or begins with a command, the result of a call, or a call of a conversation.

    Nearly all runs are neither, so the cheapest questions come first.
    """
    run = found.run
    if run.interrupted_for is not None:
        return True
    if (run.session_id is not None and _begins_with_call(run)) or _begins_with_command(found):
        return True
    return is_paused(run) or bool(_answered_first(run))


def _begins_with_call(run: AgentRun) -> bool:
    return bool(run.steps) and run.steps[0].kind is StepKind.TOOL


def _begins_with_command(found: Assembled) -> bool:
    """Return whether a run was given a command to resume another one: its span, or the shell around it."""
    if dialects.is_ours(found.spans[0]):
        return False
    span_id = found.run.span_id
    return any(resumes_another(span) for span in found.spans if span_id in (span.span_id, span.parent_span_id))


def is_paused(run: AgentRun) -> bool:
    """Return whether a run was interrupted, or may have been.

    It then has no answer, and calls of it have no result; or a tool returned that its result is pending.
    """
    if run.status is not RunStatus.SUCCESS or run.error is not None:
        return False
    if run.interrupted_for is not None:
        return True
    if run.final_output is None and (_ended_with_call(run) or _pending_calls(run)):
        return True
    return any(_is_pending(step.output) for step in run.steps)


def _ended_with_call(run: AgentRun) -> bool:
    """Return whether a tool that the last model asked for, or an agent which is one, has no result."""
    return bool(run.model_steps) and any(tool.output is None and tool.error is None for tool in _tools_that_waited(run))


class _Pause(NamedTuple):
    """Represent a run that was interrupted.

    Args:
        run: the run.
        place: its place among others.
        pending: the calls that wait in it, by their ids.
        made: the calls that it made, and those of the runs that it continues.
    """

    run: AgentRun
    place: int
    pending: dict[str, dict[Any, Any]]
    made: tuple[AgentStep, ...]


def _linked(found: list[Assembled]) -> list[Assembled]:
    """Return the same runs, oldest first: those that resume another one name it, and those resumed what they waited for."""
    found = sorted(found, key=lambda each: _start(each.run))
    paused: list[_Pause] = []
    for place, each in enumerate(found):
        run = each.run
        may_resume = run.continues is None
        pause = next((pause for pause in reversed(paused) if may_resume and _resumes(each, pause)), None)
        if pause is not None:
            paused.remove(pause)
            paused.insert(0, pause)  # to be resumed again only where no other fits: after an error, or from its history
            steps = tuple(_without_calls_of_history(run, pause.made))
            run = msgspec.structs.replace(run, continues=pause.run.run_id, steps=steps)
            found[place] = each._replace(run=run)
            found[pause.place] = found[pause.place]._replace(run=_interrupted(pause, run))
        if is_paused(run):
            made = (() if pause is None else pause.made) + run.tool_steps
            paused.append(_Pause(run, place, _pending_calls(run), made))
    return found


def _without_calls_of_history(run: AgentRun, made: tuple[AgentStep, ...]) -> Iterator[AgentStep]:
    """Yield the steps of a run without those inferred from its history that are calls which earlier runs made."""
    left = list(made)
    for step in run.steps:
        is_inferred = step.kind is StepKind.TOOL and step.span_id is None
        earlier = next((call for call in left if is_inferred and _is_same_call(step, call)), None)
        if earlier is None:
            yield step
        else:
            left.remove(earlier)


def _is_same_call(one: AgentStep, other: AgentStep) -> bool:
    return one.name == other.name and same(one.input, other.input) and same(one.output, other.output)


def _start(run: AgentRun) -> tuple[int, str]:
    return run.started_at_ns, run.run_id


def _resumes(found: Assembled, pause: _Pause) -> bool:
    """Return whether a run resumes an earlier one of the same agent and conversation; Mastra's are in one trace."""
    run, earlier = found.run, pause.run
    if earlier.service_name != run.service_name or (earlier.ended_at_ns or earlier.started_at_ns) > run.started_at_ns:
        return False
    sessions = {earlier.session_id, run.session_id}
    is_together = (len(sessions) == 1 and None not in sessions) or earlier.trace_id == run.trace_id is not None
    if len(sessions - {None}) > 1 or len({earlier.agent_name, run.agent_name} - {None}) > 1:
        return False
    if not pause.pending.keys().isdisjoint(_answered_first(run)):
        return is_together or same(earlier.user_input, run.user_input)
    is_interrupted = earlier.interrupted_for is not None
    if is_together and is_interrupted and _begins_with_command(found):
        return True
    if not is_interrupted and (pause.pending or dialects.is_ours(found.spans[0])):
        return False
    calls = _calls_made_again(run, earlier)
    if is_together:
        return bool(calls)
    is_same_question = run.user_input is not None and same(earlier.user_input, run.user_input)
    return is_same_question and not is_interrupted and any(call.input is not None for call in calls)


def _calls_made_again(run: AgentRun, earlier: AgentRun) -> list[AgentStep]:
    """Return the calls of an earlier run that waited, or came after its last model, and with which a run begins."""
    first = [*itertools.takewhile(lambda step: step.kind is StepKind.TOOL, run.steps)]
    if not first:
        return []
    waited = _tools_that_waited(earlier)
    return [tool for tool in waited if any(tool.name == call.name and same(tool.input, call.input) for call in first)]


def _tools_that_waited(run: AgentRun) -> list[AgentStep]:
    """Return the tools of a run that were interrupted, or called after its last model."""
    waited: list[AgentStep] = []
    for step in run.steps:
        if step.kind is StepKind.MODEL:
            waited = [tool for tool in waited if tool.interrupted_for is not None]
        elif step.kind is StepKind.TOOL:
            waited.append(step)
    return waited


def _interrupted(pause: _Pause, by: AgentRun) -> AgentRun:
    """Return a run that was resumed; where it does not record why it was interrupted, with the calls that waited."""
    if pause.run.interrupted_for is not None:
        return pause.run
    calls = _calls_that_waited(pause, by)
    return msgspec.structs.replace(pause.run, interrupted_for=calls[0] if len(calls) == 1 else calls)


def _calls_that_waited(pause: _Pause, by: AgentRun) -> list[dict[str, Any]]:
    answered = _answered_first(by)
    calls: list[dict[str, Any]] = [
        {"id": call_id, "name": part.get("name"), "arguments": part.get("arguments")}
        for call_id, part in pause.pending.items()
        if call_id in answered
    ]
    if not calls:  # the messages in which the model asked for them are not recorded
        made_again = _calls_made_again(by, pause.run)
        return [{"name": call.name, "arguments": call.input} for call in made_again if call.output is None]
    done = [(tool.name, tool.input) for tool in pause.run.tool_steps if tool.output is not None]
    return [call for call in calls if (call["name"], call["arguments"]) not in done] or calls


# ── calls in messages ────────────────────────────────────────────────────────────────────────────────────────────────


def _models(run: AgentRun) -> list[AgentStep]:
    return [step for part in run.walk() for step in part.model_steps]


def _pending_calls(run: AgentRun) -> dict[str, dict[Any, Any]]:
    """Return the calls that models of a run asked for and were not sent the results of, by id."""
    parts = [part for model in _models(run) for message in model.messages for part in message.parts]
    responses = (part for part in parts if part.get("type") == "tool_call_response")
    answered = {str(part.get("id")) for part in responses if not _is_pending(response_of(part))}
    calls = {str(part["id"]): part for part in parts if part.get("type") == "tool_call" and part.get("id") is not None}
    return {call_id: part for call_id, part in calls.items() if call_id not in answered}


def _is_pending(result: Any) -> bool:
    """Return whether a result is only a note that the actual one comes later, as of Google ADK's long-running tools."""
    return type(result) is dict and result.get("status") == "pending"


def _answered_first(run: AgentRun) -> set[str]:
    """Return the ids of the calls whose results end the messages that the first model of a run was sent."""
    for step in run.steps:
        if step.kind is StepKind.MODEL:
            return {str(part["id"]) for part in results_sent_last(step.messages) if part.get("id") is not None}
    return set()
