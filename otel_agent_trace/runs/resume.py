"""Recognise runs that resume an interrupted one: after a person approved a call, or another program made it.

The two are traces of their own. The second begins with what the first had asked for: the result of a call that is
pending there, or the call itself, made again.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, StepKind
from otel_agent_trace.runs.assemble import Assembled
from otel_agent_trace.runs.calls import results_sent_last
from otel_agent_trace.values import same

MOST_HELD = 512
"""Runs that are interrupted, or may resume one, and are held back until others have passed; of more, half are released."""
_COMMAND = frozenset({"resume", "goto", "update"})
"""Fields of LangGraph's `Command(resume=...)`, which is the input of a run that resumes another one."""


def with_resumed(found: Iterable[Assembled]) -> Iterator[Assembled]:
    """Yield runs, each that resumes another one with the id of that in `continues`.

    Runs that are interrupted, or begin in the middle of something, are held back until all have passed, `MOST_HELD` at
    most. One that begins with a call is held only after an interrupted one of its conversation: many runs do.
    """
    held: list[Assembled] = []
    sessions: set[str | None] = set()
    for each in found:
        if not _may_be_linked(each.run, sessions):
            yield each
            continue
        held.append(each)
        if each.run.session_id is not None and _is_paused(each.run):
            sessions.add(each.run.session_id)
        if len(held) >= MOST_HELD:
            held = _linked(held)
            yield from held[: MOST_HELD // 2]
            del held[: MOST_HELD // 2]
            sessions.clear()
    yield from _linked(held)


def _may_be_linked(run: AgentRun, sessions: Container[str | None]) -> bool:
    """Return whether a run is interrupted, or begins with the result of a call, in some sessions with a call, or a command.

    Nearly all runs are neither, so the cheapest questions come first.
    """
    if run.interrupted_for is not None or (type(run.user_input) is dict and run.user_input.keys() >= _COMMAND):
        return True
    steps = run.steps
    if not steps:
        return False
    if steps[0].kind is StepKind.TOOL and run.session_id in sessions:
        return True
    return _is_paused(run) or bool(_answered_first(run))


def _is_paused(run: AgentRun) -> bool:
    """Return whether a run was interrupted, or may have been: it ended with a tool, and without an answer."""
    if run.status is not RunStatus.SUCCESS or run.error is not None:
        return False
    if run.interrupted_for is not None:
        return True
    last = run.steps[-1] if run.steps and run.final_output is None else None
    return last is not None and last.kind is StepKind.TOOL and last.error is None and bool(_pending_calls(run))


class _Pause(NamedTuple):
    """Represent a run that was interrupted, its place among others, and the calls that wait in it by their ids."""

    run: AgentRun
    place: int
    pending: dict[str, dict[Any, Any]]


def _linked(found: list[Assembled]) -> list[Assembled]:
    """Return the same runs, oldest first: those that resume another one name it, and those resumed what they waited for."""
    found = sorted(found, key=lambda each: _start(each.run))
    paused: list[_Pause] = []
    for place, each in enumerate(found):
        run = each.run
        may_resume = bool(run.steps) and run.continues is None
        pause = next((pause for pause in reversed(paused) if may_resume and _resumes(run, pause)), None)
        if pause is not None:
            paused = [other for other in paused if other is not pause]
            run = msgspec.structs.replace(run, continues=pause.run.run_id)
            found[place] = each._replace(run=run)
            found[pause.place] = found[pause.place]._replace(run=_interrupted(pause, run))
        if _is_paused(run):
            paused.append(_Pause(run, place, _pending_calls(run)))
    return found


def _start(run: AgentRun) -> tuple[int, str]:
    return run.started_at_ns, run.run_id


def _resumes(run: AgentRun, pause: _Pause) -> bool:
    """Return whether a run resumes an earlier one of the same agent and conversation."""
    earlier = pause.run
    if earlier.service_name != run.service_name or (earlier.ended_at_ns or earlier.started_at_ns) > run.started_at_ns:
        return False
    sessions = {earlier.session_id, run.session_id}
    is_same_session = len(sessions) == 1 and None not in sessions
    if len(sessions - {None}) > 1 or len({earlier.agent_name, run.agent_name} - {None}) > 1:
        return False
    if not pause.pending.keys().isdisjoint(_answered_first(run)):
        return is_same_session or same(earlier.user_input, run.user_input)
    if not is_same_session or earlier.interrupted_for is None:
        return False
    first = run.steps[0]
    makes_call_again = first.kind is StepKind.TOOL and any(
        first.name == step.name and same(first.input, step.input) for step in earlier.tool_steps
    )
    return makes_call_again or isinstance(run.user_input, dict)


def _interrupted(pause: _Pause, by: AgentRun) -> AgentRun:
    """Return a run that was resumed; where it does not record why it was interrupted, with the calls that waited."""
    if pause.run.interrupted_for is not None:
        return pause.run
    answered = _answered_first(by)
    calls = [
        {"id": call_id, "name": part.get("name"), "arguments": part.get("arguments")}
        for call_id, part in pause.pending.items()
        if call_id in answered
    ]
    return msgspec.structs.replace(pause.run, interrupted_for=calls[0] if len(calls) == 1 else calls)


# ── calls in messages ────────────────────────────────────────────────────────────────────────────────────────────────


def _models(run: AgentRun) -> list[AgentStep]:
    return [step for part in run.walk() for step in part.model_steps]


def _pending_calls(run: AgentRun) -> dict[str, dict[Any, Any]]:
    """Return the calls that models of a run asked for and were not sent the results of, by id."""
    parts = [part for model in _models(run) for message in model.messages for part in message.parts]
    answered = {str(part.get("id")) for part in parts if part.get("type") == "tool_call_response"}
    calls = {str(part["id"]): part for part in parts if part.get("type") == "tool_call" and part.get("id") is not None}
    return {call_id: part for call_id, part in calls.items() if call_id not in answered}


def _answered_first(run: AgentRun) -> set[str]:
    """Return the ids of the calls whose results end the messages that the first model of a run was sent."""
    for step in run.steps:
        if step.kind is StepKind.MODEL:
            return {str(part["id"]) for part in results_sent_last(step.messages) if part.get("id") is not None}
    return set()
