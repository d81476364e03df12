"""Find the recorded call that a program asks for, and describe the difference where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from otel_agent_trace.messages import message_data
from otel_agent_trace.model import AgentRun, Message, StepKind
from otel_agent_trace.replay.claims import ANSWERED, EXECUTED, UNASKED, Claims
from otel_agent_trace.replay.functions import facts_about
from otel_agent_trace.replay.keys import key_of, plain_key_of
from otel_agent_trace.replay.matching import (
    Bindings,
    Match,
    as_read,
    compared_text,
    difference,
    in_one_line,
    is_loose_key,
    likeness,
)
from otel_agent_trace.replay.recordings import BRACKETS, Call, Place, Recording

_MAX_COMPARED = 16
"""Recorded calls whose arguments are compared to find the closest one."""


class Question(NamedTuple):
    """Describe a call that a program makes now.

    Attributes:
        kind: its kind.
        name: the name of the tool, model or agent.
        arguments: its arguments by name; of an agent, its question.
        function: the function that is called, None for a block.
        model: the name of the model of a model call.
        messages: what a model is sent.
    """

    kind: StepKind
    name: str
    arguments: Any = None
    function: Callable[..., Any] | None = None
    model: str | None = None
    messages: tuple[Message, ...] = ()

    def __str__(self) -> str:
        return in_one_line(self.kind.value, self.name, self.arguments)


class _Prepared(NamedTuple):
    """Hold the key of recorded arguments, and whether others may fit too: they have masks, or were truncated."""

    key: str
    is_loose: bool
    function: Any
    """Function of today, which keeps its id for as long as this is known by that."""


class Finder:
    """Find recorded calls, each once.

    Args:
        recording: the recorded runs.
        claims: which of their calls have been asked for.
        ignored: by name of a tool or model, the parameters that are not compared.
    """

    def __init__(self, recording: Recording, claims: Claims, ignored: Mapping[str, frozenset[str]]) -> None:
        self.recording = recording
        self.claims = claims
        self._ignored = ignored
        self._lent: set[int] = set()
        """Numbers of calls that have answered others as the nearest ones; they still answer what is equal."""
        self._bindings = Bindings()
        self._texts: dict[int, str] = {}
        self._prepared: dict[tuple[int, int], _Prepared] = {}

    def find(self, place: Place, question: Question) -> Call | None:
        """Return the next call in a place that was recorded with the arguments of a question, and claim it.

        What another tracer with a backend of its own records of it, stands outside of the runs of the first one.
        """
        outside = self.recording.outside
        return self._find_in(place, question) or (None if place is outside else self._find_in(outside, question))

    def _find_in(self, place: Place, question: Question) -> Call | None:
        if question.name not in self._ignored:
            exact = place.matching(question.kind, question.name, question.arguments)
            call = self._claimed(exact)
            if call is not None:
                return call
        return self._found_slowly(place, question)

    def next_named(self, place: Place, question: Question) -> Call | None:
        """Return the next call of the same kind and name, whatever its arguments, and claim it."""
        return self._claimed(place.named(question.kind, question.name))

    def nearest(self, place: Place, question: Question) -> Call | None:
        """Return the call of the same kind and name with the most similar arguments, best one that nobody has asked for.

        It is not claimed, since what equals it may come later.
        """
        named = place.named(question.kind, question.name)
        if not named and not place.is_lossless:  # others name a call of a model in their own ways
            named = [call for call in place.calls if call.kind is question.kind]
        near = self._most_like(sorted(named, key=self._is_used), question)
        if near is not None:
            self._lent.add(near.number)
        return near

    def nearest_run(self, place: Place, question: Question) -> Call | None:
        """Return the agent of the same name with the most similar question, which has not run yet, and claim it."""
        unasked = [call for call in place.named(question.kind, question.name) if self.is_unasked(call)]
        near = self._most_like(unasked, question)
        return self._claimed([near] if near is not None else [])

    def _most_like(self, calls: list[Call], question: Question) -> Call | None:
        """Return the one of the first calls with the most similar arguments; of equally similar ones the first."""
        asked = compared_text(question.arguments)
        return max(calls[:_MAX_COMPARED], key=lambda call: likeness(self._text_of(call), asked), default=None)

    def _text_of(self, call: Call) -> str:
        if call.number not in self._texts:
            self._texts[call.number] = compared_text(_shown(call))
        return self._texts[call.number]

    def _is_used(self, call: Call) -> bool:
        return call.number in self._lent or not self.is_unasked(call)

    def is_repeated(self, place: Place, question: Question) -> bool:
        """Return whether equal calls were recorded in a place, all of which have been asked for."""
        return bool(place.matching(question.kind, question.name, question.arguments))

    def _claimed(self, calls: list[Call]) -> Call | None:
        number = self.claims.take((call.number for call in calls), ANSWERED) if calls else None
        return None if number is None else self.recording.calls[number]

    def claim(self, call: Call) -> bool:
        """Claim a call, and return whether nobody else had asked for it."""
        return self.claims.take((call.number,), ANSWERED) is not None

    def is_unasked(self, call: Call) -> bool:
        """Return whether nobody has asked for a call yet."""
        return self.claims.state(call.number) == UNASKED

    # ── equal in spite of masks, limits, and defaults ────────────────────────────────────────────────────────────────

    def _found_slowly(self, place: Place, question: Question) -> Call | None:
        candidates = [call for call in place.named(question.kind, question.name) if self.is_unasked(call)]
        if not candidates:
            return None
        current = self._compared(question, as_read(question.arguments))
        key = key_of(current)
        for call in candidates:
            prepared = self._prepared_for(call, question)
            if prepared.key != key and not prepared.is_loose:
                continue
            tried = self._bindings.copy()
            match = Match(tried, is_lossless=place.is_lossless)
            if self._fits(match, call, question, current) and self.claim(call):
                self._bindings.take(tried)
                return call
        return None

    def _prepared_for(self, call: Call, question: Question) -> _Prepared:
        """Return the recorded arguments as they are compared with those of a function, which is done once."""
        known = self._prepared.get((call.number, id(question.function)))
        if known is None:
            key = key_of(self._compared(question, call.arguments))
            is_loose = not call.parent.is_lossless or _is_unknown(call, question) or is_loose_key(key)
            known = _Prepared(key, is_loose, question.function)
            self._prepared[call.number, id(question.function)] = known
        return known

    def _fits(self, match: Match, call: Call, question: Question, current: Any) -> bool:
        if _is_unknown(call, question):
            return True
        if call.arguments is None and call.kind is StepKind.MODEL and not call.parent.is_lossless:
            return _same_messages(getattr(call.record, "messages", ()), question.messages)
        if not call.parent.is_lossless and isinstance(current, Mapping) and len(current) == 1:
            only = next(iter(current.values()))  # others record the value of an only parameter without its name
            if match.fits(call.arguments, only):
                return True
        return match.fits(self._compared(question, call.arguments), current)

    def _compared(self, question: Question, arguments: Any) -> Any:
        """Return the arguments that count: with the defaults of today's signature, without those that are ignored."""
        defaults = facts_about(question.function).defaults
        filled = {} if arguments is None and question.function is not None else arguments
        if defaults and isinstance(filled, Mapping):
            filled = as_read({**defaults, **filled})
        ignored = self._ignored.get(question.name)
        if not ignored or not isinstance(filled, Mapping):
            return filled
        return {name: value for name, value in filled.items() if name not in ignored}

    # ── what was not asked for ───────────────────────────────────────────────────────────────────────────────────────

    def missing(self, is_expected: Callable[[Call], bool]) -> Iterator[Call]:
        """Yield the calls that nobody asked for, although the code around them ran."""
        asked = {call.kind for call in self.recording.calls if not self.is_unasked(call)}
        for call in self.recording.calls:
            if not self._is_used(call) and self._ran(call.parent) and is_expected(call) and _can_be_asked(call, asked):
                yield call

    def _ran(self, place: Place) -> bool:
        return place.of is None or self.claims.state(place.of.number) == EXECUTED

    # ── describing differences ───────────────────────────────────────────────────────────────────────────────────────

    def facts_of(self, question: Question, place: Place, call: Call | None = None) -> dict[str, str]:
        """Return what a divergence shows of a question: the closest recorded call, the difference, what was next."""
        facts = {"kind": question.kind.value, "name": question.name}
        closest = call or self._closest(place, question)
        if closest is not None:
            facts |= {"step": closest.path, "closest": described(closest)}
            is_of_name = closest.name == question.name or not closest.parent.is_lossless
            if call is None and closest.kind is question.kind and is_of_name:
                facts["diff"] = difference(_shown(closest), question.arguments, closest.where)
        expected = next((one for one in place.calls if self.is_unasked(one) and one is not call), None)
        return facts if expected is None else {**facts, "expected": described(expected)}

    def _closest(self, place: Place, question: Question) -> Call | None:
        named = [call for call in place.named(question.kind, question.name) if self.is_unasked(call)]
        of_kind = [call for call in place.calls if call.kind is question.kind and self.is_unasked(call)]
        asked = place.named(question.kind, question.name)
        return self._most_like(named or of_kind or asked, question)


def _shown(call: Call) -> Any:
    """Return the recorded arguments; of a model call of which others recorded none, what it was sent."""
    record = call.record
    if call.arguments is not None or isinstance(record, AgentRun) or not record.messages:
        return call.arguments
    return {"model": record.model, "messages": list(map(message_data, _sent(record.messages)))}


def _sent(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return what a model was sent, of recorded messages, which end with its answer."""
    return messages[:-1] if messages and messages[-1].role == "assistant" else messages


def described(call: Call) -> str:
    """Return a recorded call in one line, with where it stands."""
    return f"{in_one_line(call.kind.value, call.name, call.arguments)} ({call.where})"


def _can_be_asked(call: Call, asked: set[StepKind]) -> bool:
    """Return whether a program asks for a call if it does as recorded; `asked` are the kinds that it asked for.

    What others recorded is asked for by adapters of clients and frameworks, if any. Their agents are not, nor tools that
    were found in messages of models only, and model calls without messages, which clients record a second time.
    """
    record = call.record
    if isinstance(record, AgentRun):
        return True
    is_empty = record.kind is StepKind.MODEL and record.error is None and not (record.messages or record.output)
    if (call.kind is StepKind.OTHER and not call.inside.calls) or not call.has_span:
        return False
    is_of_others = not call.parent.is_lossless and bool(asked)
    return not is_of_others or (call.kind in asked and call.kind not in BRACKETS and not is_empty)


def _is_unknown(call: Call, question: Question) -> bool:
    """Return whether it is not known what a call was given, or what an agent is asked until its block sets it."""
    if call.kind in BRACKETS and question.arguments is None and question.function is None:
        return True
    return "input" in getattr(call.record, "not_recorded", ())


def _same_messages(recorded: tuple[Message, ...], current: tuple[Message, ...]) -> bool:
    """Return whether a model was sent the same messages."""
    sent = _sent(recorded)
    return len(sent) == len(current) and all(map(_same_message, sent, current))


def _same_message(recorded: Message, current: Message) -> bool:
    data = [plain_key_of({**message_data(one), "finish_reason": None}) for one in (recorded, current)]
    return data[0] == data[1]
