"""Define `plan_replay`: what a replay does with each recorded call, found without executing anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.model import AgentStep, StepKind
from otel_agent_trace.replay.agents import AgentCode
from otel_agent_trace.replay.answers import Outcome
from otel_agent_trace.replay.divergences import Raises
from otel_agent_trace.replay.options import Options, checked_options
from otel_agent_trace.replay.outcomes import UnanswerableError, outcome_of
from otel_agent_trace.replay.questions import Question
from otel_agent_trace.replay.recordings import BRACKETS, Call, Place, Recording
from otel_agent_trace.replay.replaying import Runs, recorded_runs

What: TypeAlias = Literal["answered", "live", "refused"]
_DECORATED = (StepKind.TOOL, StepKind.MODEL)
"""Kinds of steps for which there is a decorator."""
_NO_GUIDE: Any = None
"""Guide of outcomes that are looked at only."""


class PlannedCall(msgspec.Struct, frozen=True):
    """Describe what a replay does with a recorded call.

    Attributes:
        step: the path of its step, as ``"3/1"``: step 1 of the sub-agent in step 3; with several runs, ``"RUN#3/1"``.
        name: the name of the tool, model or agent.
        what: ``answered`` from the recording or a patch, ``live``: executed, or ``refused``: the replay diverges there.
        why: the reason, in a few words; of what is refused, what cannot be given back and where it stands.
        side_effects: whether the recording has it that the tool changes something outside of the program.
    """

    step: str
    name: str
    what: What
    why: str
    side_effects: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON data."""
        return msgspec.structs.asdict(self)


def plan_replay(
    run: Runs,
    agent: Any = None,
    *,
    live: Iterable[str] = (),
    patch: Mapping[Any, Any] = {},
    until: int | str | None = None,
) -> list[PlannedCall]:
    """Return what `replay_run` does with each recorded call, without executing anything.

    Runs, sub-agents and blocks around other steps are executed, so they are not listed, nor what happened below a call
    that is answered. Whether the program still makes the same calls is not known before it runs.

    Args:
        run: as for `replay_run`.
        agent: the function of the agent, or its tracer. Tools and models that its tracers have not decorated are refused:
            no call of them can be answered. Without it, or if its code refers to no tracer, the recording alone counts.
        live: as for `replay_run`.
        patch: as for `replay_run`.
        until: as for `replay_run`.

    Returns:
        A `PlannedCall` for each call, in the order in which they started.

    Raises:
        ConfigurationError: an argument is not valid, or names a step that was not recorded.
        AgentTraceError: `run` is an address that cannot be read.
    """
    recording = Recording(recorded_runs(run))
    options = checked_options(recording, on_miss="fail", live=live, patch=patch, until=until, ignore={})
    return list(_Plan(recording, options, AgentCode(agent)).rows(recording.outside))


class _Verdict(NamedTuple):
    """Hold what happens to a call, why, and whether its code runs, so that the calls in it happen too."""

    what: What
    why: str
    is_executed: bool = False


class _Plan:
    """Decide as a `ReplaySession` does, as far as that can be known before the program runs."""

    def __init__(self, recording: Recording, options: Options, code: AgentCode) -> None:
        self._recording, self._options, self._code = recording, options, code

    def rows(self, place: Place) -> Iterator[PlannedCall]:
        """Yield the rows of the calls that start in a place and in the places within it."""
        for call in place.calls:
            verdict = self._verdict(call)
            if verdict is not None:
                effects = call.record.attributes.get(semconv.SIDE_EFFECTS) is True
                yield PlannedCall(self._path(call), call.name, verdict.what, verdict.why, effects)
            if verdict is None or verdict.is_executed:
                yield from self.rows(call.inside)

    def _path(self, call: Call) -> str:
        runs = self._recording.runs
        return call.path if len(runs) == 1 else f"{runs[call.order[0]].run_id}#{call.path}"

    def _verdict(self, call: Call) -> _Verdict | None:
        """Return what happens to a call; None for a run, sub-agent or block whose code just runs again."""
        record, is_patched = call.record, call.number in self._options.patches
        if call.kind in BRACKETS or not isinstance(record, AgentStep):
            return self._patched(call) if is_patched and call.kind is StepKind.AGENT else None
        if is_patched and not self._missing(call):
            return self._patched(call)
        if call.name in self._options.live:
            return _Verdict("live", "named as live", is_executed=True)
        if self._options.is_after_the_end(call):
            return _Verdict("live", "after the last call that is answered", is_executed=True)
        missing = self._missing(call)
        return _Verdict("refused", missing) if missing else self._recorded(call, record)

    def _missing(self, call: Call) -> str:
        """Return why no function of today takes the answer to a call; empty if one does, or it cannot be known."""
        if call.kind not in _DECORATED:
            return "a block, whose body cannot be answered" if call.parent.is_lossless else ""
        if not self._code.is_known or self._code.has(call.kind, call.name):
            return ""
        return f"the tracer of {self._code.name} has decorated no {call.kind.value} of this name"

    def _patched(self, call: Call) -> _Verdict:
        value = self._options.patches[call.number]
        return _Verdict(
            "answered", f"the patch raises {value.exception!r}" if isinstance(value, Raises) else "the patch"
        )

    def _recorded(self, call: Call, step: AgentStep) -> _Verdict:
        function = self._code.function(call.kind, call.name)
        try:
            outcome = outcome_of(step, Question(call.kind, call.name, call.arguments, function), _NO_GUIDE)
        except UnanswerableError as error:
            if call.kind is StepKind.MODEL and not call.parent.is_lossless and step.messages and function is None:
                return _Verdict("answered", "the recorded messages, by an adapter of its client or framework")
            return _Verdict("refused", str(error))
        return _Verdict("answered", _described(outcome))


def _described(outcome: Outcome) -> str:
    if outcome.is_cancelled:
        return "it was cancelled"
    if outcome.error is not None:
        return f"the recorded error, {type(outcome.error).__name__}"
    if outcome.chunks is not None:
        return f"the recorded stream of {len(outcome.chunks)}"
    return "the recorded output"
