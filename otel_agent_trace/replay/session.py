"""Answer the calls of a program from recorded runs, and note where it differs from them."""

from __future__ import annotations

import uuid
import weakref
from typing import TYPE_CHECKING, Any, NoReturn

from otel_agent_trace.model import AgentRun, AgentStep, StepKind
from otel_agent_trace.replay.answers import Outcome
from otel_agent_trace.replay.claims import EXECUTED, OwnClaims
from otel_agent_trace.replay.divergences import ReplayDivergence, class_here
from otel_agent_trace.replay.framework_calls import FrameworkCalls
from otel_agent_trace.replay.guides import CallGuide
from otel_agent_trace.replay.ids import OwnIds
from otel_agent_trace.replay.options import Options
from otel_agent_trace.replay.outcomes import UnanswerableError, outcome_of, patched
from otel_agent_trace.replay.questions import Finder, Question
from otel_agent_trace.replay.recordings import BRACKETS, Call, Place, Recording
from otel_agent_trace.replay.seats import Seat
from otel_agent_trace.replay.shared import SharedReplay
from otel_agent_trace.replay.turns import Turns, running_loop
from otel_agent_trace.replay.unasked import gap_at, unasked
from otel_agent_trace.tracing.active import ActiveModelCall, ActiveRun, ActiveStep
from otel_agent_trace.tracing.interception import Answer, Request

if TYPE_CHECKING:
    from otel_agent_trace.replay.folders import ReplayFolder


class ReplaySession(SharedReplay, FrameworkCalls):
    """Hold a replay while it runs, and what came of it.

    Args:
        recording: the recorded runs.
        options: the options of the replay.
        backends: where spans go in addition to memory.
        folder: the folder by which other processes take part, None for a replay of this process only.
    """

    def __init__(
        self, recording: Recording, options: Options, backends: tuple[Any, ...] = (), folder: ReplayFolder | None = None
    ) -> None:
        self._renamed: dict[str, str] = {}
        super().__init__(recording, folder, backends, [OwnIds(self._renamed)])
        self._options = options
        claims = OwnClaims(len(recording.calls)) if folder is None else folder.claims
        self._finder = Finder(recording, claims, options.ignored)
        self._turns: weakref.WeakKeyDictionary[Any, Turns] = weakref.WeakKeyDictionary()

    # ── the calls of our tracers ─────────────────────────────────────────────────────────────────────────────────────

    def intercept(self, request: Request) -> Answer | None:
        """Return the recorded answer to a call; None if its code is to run."""
        active = request.active
        if isinstance(active, ActiveRun):
            return self._begin_run(active, request)
        question = _question_of(active, request)
        if request.how == "logged":
            self._note_logged(request, question)
            return None
        place = self._place(request.context, question)
        if question.kind in BRACKETS:
            active.seat = Seat(self, self._bracket(place, question))
            return None
        if self._is_live(question):
            return self._begin_live(active, question, place)
        if request.how == "block":
            return self._begin_block(active, question, place)
        return self._answer(active, question, place)

    def _begin_live(self, active: ActiveStep, question: Question, place: Place) -> Answer | None:
        """Let a call happen, unless there is a patch for it."""
        call = self._finder.find(place, question)
        if call is not None and call.number in self._options.patches:
            return self._outcome(call, question)
        return self._execute(active, question, call, place)

    def _begin_block(self, active: ActiveStep, question: Question, place: Place) -> Answer | None:
        """Refuse a block before its body, which cannot be answered, unless it is live."""
        call = self._finder.find(place, question)
        is_after = self._is_after_the_end(place) if call is None else self._options.is_after_the_end(call)
        if not is_after:
            reason = "is a block, whose body cannot be answered: it runs only if it is live"
            if self._options.on_miss != "live":
                self.refuse(question, place, reason, call)
            self._note(f"{question} {reason}", question, place, call)
        return self._execute(active, question, call, place)

    def _answer(self, active: ActiveStep, question: Question, place: Place) -> Answer | None:
        call = self._finder.find(place, question)
        if call is None:
            is_repeated = self._finder.is_repeated(place, question)
            reason = (
                "was called more often than it was recorded" if is_repeated else "was called, which was not recorded"
            )
            return self._missed(active, question, place, reason)
        if self._options.is_after_the_end(call) and call.number not in self._options.patches:
            return self._execute(active, question, call, place)
        try:
            return self._outcome(call, question)
        except UnanswerableError as error:
            reason = f"cannot be answered, in {call.where}: {error}"
            return self._missed(active, question, place, reason, call)

    def _outcome(self, call: Call, question: Question) -> Outcome:
        guide = CallGuide(call, self._turns_here, self._refuse_more)
        if call.number in self._options.patches:
            outcome = patched(self._options.patches[call.number], guide)
        else:
            assert isinstance(call.record, AgentStep)  # noqa: S101 - a run is answered by a patch only
            outcome = outcome_of(call.record, question, guide)
        self._answered.append(question.name)
        return outcome

    def _missed(
        self, active: ActiveStep, question: Question, place: Place, reason: str, call: Call | None = None
    ) -> Answer | None:
        """Do what the option `on_miss` asks for."""
        if call is None and self._is_after_the_end(place):
            return self._execute(active, question, None, place)
        divergence = self._note(f"{question} {reason}", question, place, call)
        mode = self._options.on_miss
        if mode == "live":
            return self._execute(active, question, call, place)
        if mode == "nearest" and call is None and (near := self._finder.nearest(place, question)) is not None:
            try:
                return self._outcome(near, question)
            except UnanswerableError as error:
                facts = divergence.facts() | {"reason": f"{question} cannot be answered, in {near.where}: {error}"}
                raise class_here()(**facts) from None
        raise self._options.exception_for(divergence)

    def _execute(self, active: ActiveStep, question: Question, call: Call | None, place: Place) -> Answer | None:
        """Let a call happen, by None as the answer; what it calls is matched below its recorded counterpart, if there is one."""
        call = call or self._finder.next_named(place, question)
        if call is not None:
            self._finder.claims.mark(call.number, EXECUTED)
        active.seat = Seat(self, self._nowhere if call is None else call.inside)
        self._live.append(question.name)
        return None

    def _bracket(self, place: Place, question: Question) -> Place:
        """Return the place of a step whose code runs: its own, or if it was not recorded, that of what it stands in."""
        call = self._finder.next_named(place, question)
        if call is None:
            return place
        self._finder.claims.mark(call.number, EXECUTED)
        return call.inside

    # ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin_run(self, active: ActiveRun, request: Request) -> Answer | None:
        question = Question(StepKind.AGENT, active.agent_name or "", active.user_input, request.function)
        place = self._place(request.context, question)
        if active.run_id:
            self._renamed.setdefault(active.run_id, f"{active.run_id}-replay-{uuid.uuid4().hex[:8]}")
        is_live = self._is_live(question) or self._options.on_miss == "live"
        if request.how == "started" and not is_live:
            self.refuse(question, place, "was started by start_run, so that the code that belongs to it is not known")
        call = self._finder.find(place, question)
        if call is None:
            return self._missed_run(active, question, place)
        if call.number in self._options.patches:
            return self._outcome(call, question)
        self._seat_run(active, call)
        return None

    def _missed_run(self, active: ActiveRun, question: Question, place: Place) -> Answer | None:
        """Do what the option `on_miss` asks for; None lets the run happen."""
        recording = self._finder.recording
        active.seat = Seat(self, recording.outside if recording.is_bare else self._nowhere)
        if recording.is_bare or self._is_after_the_end(place) or self._is_live(question):
            return None
        is_repeated = self._finder.is_repeated(place, question)
        reason = "was started more often than it was recorded" if is_repeated else "was started, which was not recorded"
        divergence = self._note(f"{question} {reason}", question, place)
        mode = self._options.on_miss
        near = self._finder.nearest_run(place, question) if mode in ("nearest", "live") else None
        if near is not None:
            self._seat_run(active, near)
        elif mode != "live":
            raise self._options.exception_for(divergence)
        return None

    def _seat_run(self, active: ActiveRun, call: Call) -> None:
        self._finder.claims.mark(call.number, EXECUTED)
        active.seat = Seat(self, call.inside)
        if isinstance(call.record, AgentRun):
            active.put_fact("replay_of", call.record.run_id)

    # ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _place(self, context: Any, question: Question) -> Place:
        """Return the place of a call: that of the nearest run or step around it; refuse a call without one.

        Raises:
            ReplayDivergence: it belongs to an earlier replay, or to none, although it was not recorded so.
        """
        seat = self.seat_in(context)
        if seat is not None and seat.session is self:
            return seat.place
        outside = self._finder.recording.outside
        if seat is not None:
            self.refuse(question, outside, "belongs to a replay that is over")
        is_known = outside.named(question.kind, question.name) or question.kind in BRACKETS
        if not is_known and not self._is_live(question):
            self.refuse(question, outside, "was called outside of the runs of the replay, so that it cannot be placed")
        return outside

    def _is_live(self, question: Question) -> bool:
        is_block = question.function is None  # which has no name but its model's
        return question.name in self._options.live or (is_block and question.model in self._options.live)

    def _is_after_the_end(self, place: Place) -> bool:
        """Return whether everything was answered that is to be, in the run that a place belongs to."""
        ends = self._options.live_from
        number = place.of.order[0] if place.of is not None else next(iter(ends), None)
        if number not in ends:
            return False
        return (
            next(self._finder.missing(lambda call: call.order[0] == number and self._is_expected(call)), None) is None
        )

    def _is_expected(self, call: Call) -> bool:
        return not self._options.is_after_the_end(call)

    # ── differences ──────────────────────────────────────────────────────────────────────────────────────────────────

    def refuse(self, question: Question, place: Place, reason: str, call: Call | None = None) -> NoReturn:
        """Note that a call cannot be answered and must not be made, and raise it.

        Raises:
            ReplayDivergence: always; with ``on_miss="error"``, one that is an `Exception`.
        """
        divergence = self._note(f"{question} {reason}", question, place, call)
        raise self._options.exception_for(divergence)

    def _note(self, reason: str, question: Question, place: Place, call: Call | None = None) -> ReplayDivergence:
        divergence = class_here()(
            f"{reason}{gap_at(self._finder.recording, place)}", **self._finder.facts_of(question, place, call)
        )
        with self._lock:
            self._divergences.append(divergence)
        return divergence

    def _note_logged(self, request: Request, question: Question) -> None:
        seat = request.active.run.seat
        place = seat.place if isinstance(seat, Seat) and seat.session is self else self._nowhere
        self._finder.next_named(place, question)
        if question.kind not in BRACKETS and not self._is_live(question):
            self._note(f"{question} was logged: it has happened already, and was not answered", question, place)

    def note_missing(self) -> None:
        """Note the recorded calls that nobody asked for, at the end of the replay."""
        for divergence in unasked(self._finder, self._options):
            self._divergences.append(divergence)

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _turns_here(self) -> Turns:
        """Return the turns of the running event loop."""
        loop = running_loop()
        with self._lock:
            return self._turns.setdefault(loop, Turns(loop))

    def _refuse_more(self, call: Call, reason: str) -> NoReturn:
        self.refuse(
            Question(call.kind, call.name, call.arguments), call.parent, f"asks for more, in {call.where}: {reason}"
        )


def _question_of(active: Any, request: Request) -> Question:
    model = active.model
    messages = active.messages if isinstance(active, ActiveModelCall) else ()
    return Question(active.kind, active.name, active.input, request.function, model, messages)
