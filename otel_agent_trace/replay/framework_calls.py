"""Answer the calls of frameworks, which their own extension points pass here: their spans have no place in a replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from otel_agent_trace.model import AgentStep, StepKind
from otel_agent_trace.replay.claims import EXECUTED
from otel_agent_trace.replay.divergences import Raises, ReplayDivergence
from otel_agent_trace.replay.notes import NotedList
from otel_agent_trace.replay.options import Options
from otel_agent_trace.replay.questions import Finder, Question
from otel_agent_trace.replay.recordings import Call, Place
from otel_agent_trace.replay.seats import Seat
from otel_agent_trace.tracing.contexts import current_context


class FrameworkCalls:
    """Answer the calls of frameworks; the base of `ReplaySession`, which has what this needs."""

    _finder: Finder
    _options: Options
    _answered: NotedList[str]
    _live: NotedList[str]

    def refuse(self, question: Question, place: Place, reason: str, call: Call | None = None) -> NoReturn:
        """Note that a call cannot be answered and must not be made, and raise it."""
        raise NotImplementedError

    def _is_live(self, question: Question) -> bool:
        raise NotImplementedError

    def _is_after_the_end(self, place: Place) -> bool:
        raise NotImplementedError

    def _note(self, reason: str, question: Question, place: Place, call: Call | None = None) -> ReplayDivergence:
        raise NotImplementedError

    def seat_in(self, context: Any) -> Seat | None:
        """Return where the nearest run or step in a context stands; None outside of all runs."""
        raise NotImplementedError

    def answering_step(
        self, kind: StepKind, name: str, arguments: Any, *, matches: Callable[[AgentStep], bool] | None = None
    ) -> AgentStep | None:
        """Return the recorded step that answers a call of a framework; None if the call is to be made.

        Args:
            kind: the kind of the call.
            name: the name of the tool or model.
            arguments: its arguments, for the comparison unless `matches` is given, and for messages.
            matches: returns whether a recorded step answers the call; by default, one with equal arguments does.

        Raises:
            ReplayDivergence: no step does, and `on_miss` does not allow anything else.
        """
        question = Question(kind, name, arguments)
        places = self._places_of_frameworks()
        if self._is_live(question):
            self._live.append(name)
            return None
        for place in places:
            call = self._matching(place, question, matches)
            if call is not None:
                return self._step_of(call, question)
        return self._missed_step(self._place_with(kind, places), question)

    def refuse_step(self, kind: StepKind, name: str, reason: str) -> NoReturn:
        """Note that a call of a framework cannot be answered and must not be made, and raise it.

        Raises:
            ReplayDivergence: always; with ``on_miss="error"``, one that is an `Exception`.
        """
        self.refuse(Question(kind, name), self._places_of_frameworks()[0], reason)

    def note_executed(self, kind: StepKind, name: str) -> None:
        """Count a step that a framework executes itself, such as a handoff, as asked for, if it was recorded."""
        question = Question(kind, name)
        any(self._finder.next_named(place, question) for place in self._places_of_frameworks())

    def _places_of_frameworks(self) -> list[Place]:
        """Return where a call of a framework may have been recorded: its own spans have no place in a replay."""
        seat = self.seat_in(current_context())
        mine: object = self
        is_placed = seat is not None and seat.session is mine
        return list(seat.place.with_inner() if seat is not None and is_placed else self._finder.recording.places())

    def _matching(self, place: Place, question: Question, matches: Callable[[AgentStep], bool] | None) -> Call | None:
        if matches is None:
            return self._finder.find(place, question)
        candidates = (call for call in place.calls if call.kind is question.kind and self._finder.is_unasked(call))
        fitting = (call for call in candidates if isinstance(call.record, AgentStep) and matches(call.record))
        return next((call for call in fitting if self._finder.claim(call)), None)

    def _step_of(self, call: Call, question: Question) -> AgentStep | None:
        assert isinstance(call.record, AgentStep)  # noqa: S101 - a question of a framework is no run
        if call.parent.of is not None and self._finder.is_unasked(call.parent.of):  # a framework's agent, which runs
            self._finder.claims.mark(call.parent.of.number, EXECUTED)
        if self._options.is_after_the_end(call) and call.number not in self._options.patches:
            self._live.append(question.name)
            return None
        self._answered.append(question.name)
        if call.number not in self._options.patches:
            return call.record
        value = self._options.patches[call.number]
        if isinstance(value, Raises):
            raise value.exception
        return msgspec.structs.replace(call.record, output=value, error=None, messages=())

    def _place_with(self, kind: StepKind, places: list[Place]) -> Place:
        """Return the first place with a call of a kind that nobody has asked for, for comparison; else the first one."""
        is_open = lambda call: call.kind is kind and self._finder.is_unasked(call)  # noqa: E731
        return next((place for place in places if any(map(is_open, place.calls))), places[0])

    def _missed_step(self, place: Place, question: Question) -> AgentStep | None:
        if not self._is_after_the_end(place):
            divergence = self._note(f"{question} was called, which was not recorded", question, place)
            mode = self._options.on_miss
            near = self._finder.nearest(place, question) if mode == "nearest" else None
            if near is not None:
                return self._step_of(near, question)
            if mode != "live":
                raise self._options.exception_for(divergence)
        self._live.append(question.name)
        return None
