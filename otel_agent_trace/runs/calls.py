"""Follow tool calls through the messages of the model calls of a run: each call once, with its response.

Ids are no keys. Gemini, Ollama and some servers of vLLM give none, or the name of the tool; others count from
``call_0`` in each answer or conversation (strands-agents/harness-sdk#1201, run-llama/llama_index#22368,
ag2ai/ag2#2737). So a response belongs to the call of its id in the answer before it, in order, and the history in one
model call is compared with the calls known from earlier ones as one sequence with another.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from otel_agent_trace.dialects.parsing.payloads import result_of
from otel_agent_trace.model import Message
from otel_agent_trace.runs.node import Node, end_of

_MOST_COMPARED = 200
"""Calls at the end of a history, and of those known, that are compared each with each; the rest only in order."""
_PLACEHOLDER = re.compile(
    r"\W.*\W|.*\b(cleared|omitted|removed|truncated|pruned|elided|compacted|redacted)\b.*", re.DOTALL | re.IGNORECASE
)
"""Texts that frameworks put in place of an old result, to shorten a history: ``[Old tool result content cleared]``."""


class RecordedCall:
    """Hold a tool call as the messages of one model call have it.

    `place` and `response_place` are those of the messages with the request and the response. A `name` of None stands
    for a response whose request is missing, in a history that was cut.
    """

    __slots__ = ("arguments", "call_id", "has_failed", "name", "place", "response", "response_place")

    def __init__(self, call_id: str | None, name: str | None, arguments: Any, place: int) -> None:
        self.call_id, self.name, self.arguments, self.place = call_id, name, arguments, place
        self.response: Any = None
        self.response_place: int | None = None
        self.has_failed = False

    @property
    def is_answered(self) -> bool:
        """Return whether the messages have a response to the call."""
        return self.response_place is not None


class ToolCall:
    """Hold a tool call of a run, with the model call that asked for it and the first one that was sent its response.

    `asked_by` is None where the model call that asked has no span, `sent_to` where no model was sent a response.
    """

    __slots__ = (
        *("arguments", "asked_by", "call_id", "first_seen_in", "has_failed", "is_past", "is_sure", "name"),
        *("response", "sent_to"),
    )

    def __init__(self, recorded: RecordedCall, model: Node, *, is_asked: bool, is_past: bool = False) -> None:
        self.call_id, self.name, self.arguments = recorded.call_id, recorded.name or "", recorded.arguments
        self.first_seen_in = model
        self.asked_by = model if is_asked else None
        self.is_past = is_past
        self.is_sure = True
        """False for a call that a failed attempt at an answer asked for: the next attempt replaced it."""
        self.sent_to: Node | None = None
        self.response: Any = None
        self.has_failed = False
        self.take(recorded, model)

    def take(self, recorded: RecordedCall, model: Node) -> None:
        """Take the response, and what else is missing, from the messages of a later model call."""
        if recorded.is_answered and self.sent_to is None:
            self.response, self.sent_to, self.has_failed = recorded.response, model, recorded.has_failed
        if self.arguments in (None, "", {}):
            self.arguments = recorded.arguments


# ── calls in the messages of one model call ──────────────────────────────────────────────────────────────────────────


def recorded_calls(messages: Sequence[Message]) -> list[RecordedCall]:
    """Return the calls in the messages of one model call, in order, each with its response."""
    return _Reader().read(messages)


class _Reader:
    """Match responses with calls: those of the same answer first, by id, else in order."""

    def __init__(self) -> None:
        self._calls: list[RecordedCall] = []
        self._open: deque[RecordedCall] = deque()
        self._open_by_id: dict[str | None, deque[RecordedCall]] = {}
        self._earlier_by_id: dict[str | None, list[RecordedCall]] = {}
        self._has_requests = False

    def read(self, messages: Sequence[Message]) -> list[RecordedCall]:
        previous: Message | None = None
        for place, message in enumerate(messages):
            if message.role == "assistant" and (previous is None or previous.role != "assistant"):
                self._begin_answer()
            elif message == previous and _requests(message):
                continue  # an answer that the caller had added to the history before the span was written
            for part in message.parts:
                if part.get("type") == "tool_call" and part.get("name"):
                    self._add_call(part, place)
                elif part.get("type") == "tool_call_response":
                    self._add_response(part, place)
            previous = message
        return self._calls

    def _begin_answer(self) -> None:
        for call in self._open:
            if not call.is_answered:
                self._earlier_by_id.setdefault(call.call_id, []).append(call)
        self._open.clear()
        self._open_by_id.clear()

    def _add_call(self, part: dict[Any, Any], place: int) -> None:
        call = RecordedCall(call_id_of(part), str(part["name"]), part.get("arguments"), place)
        self._has_requests = True
        self._calls.append(call)
        self._open.append(call)
        self._open_by_id.setdefault(call.call_id, deque()).append(call)

    def _add_response(self, part: dict[Any, Any], place: int) -> None:
        call_id = call_id_of(part)
        call = self._answered_call(call_id)
        if call is None:
            if self._has_requests:
                return  # a second response to a call, or one to no call at all
            call = RecordedCall(call_id, None, None, place)
            self._calls.append(call)
        call.response, call.response_place = response_of(part), place
        call.has_failed = part.get("is_error") is True

    def _answered_call(self, call_id: str | None) -> RecordedCall | None:
        found = _first_open(self._open_by_id.get(call_id)) if call_id is not None else None
        if found is None and call_id in self._earlier_by_id and call_id is not None:
            earlier = self._earlier_by_id[call_id]
            found = earlier.pop() if earlier else None
        if found is None:  # Haystack's responses have no ids; other frameworks leave out those of the calls
            found = _first_open(self._open if call_id is None else self._open_by_id.get(None))
        return found


def _first_open(calls: deque[RecordedCall] | None) -> RecordedCall | None:
    while calls and calls[0].is_answered:
        calls.popleft()
    return calls[0] if calls else None


def _requests(message: Message) -> bool:
    return any(part.get("type") == "tool_call" for part in message.parts)


def call_id_of(part: dict[Any, Any]) -> str | None:
    """Return the id of a call as text, None for an empty one; a damaged file may have anything there."""
    call_id = part.get("id")
    return (call_id or None) if call_id is None or type(call_id) is str else repr(call_id)


def response_of(part: dict[Any, Any]) -> Any:
    """Return the result in a response to a tool call."""
    return result_of(part.get("response", part.get("result", part.get("content"))))


def place_of_question(messages: Sequence[Message], question: Any) -> int:
    """Return the place of the message that asked a question, else of the user's last one; -1 where there is none."""
    asked = [place for place, message in enumerate(messages) if _is_question(message)]
    if type(question) is str:
        same = [place for place in asked if messages[place].text.strip() == question.strip()]
        asked = same or asked
    return asked[-1] if asked else -1


def _is_question(message: Message) -> bool:
    if message.role != "user" or not message.text.strip():
        return False
    return not any(part.get("type") == "tool_call_response" for part in message.parts)  # reminders beside results


def place_of_answer(messages: Sequence[Message]) -> int:
    """Return the place of the first message of the model's own answer, at the end of its messages."""
    place = len(messages)
    while place and messages[place - 1].role == "assistant":
        place -= 1
    return place


def calls_just_answered(model: Node) -> list[ToolCall]:
    """Return the calls whose results a model was sent last."""
    messages = model.facts.messages
    places = _places_of_last_results(messages)
    return [
        ToolCall(recorded, model, is_asked=False)
        for recorded in recorded_calls(messages)
        if recorded.name is not None and recorded.response_place in places
    ]


def has_just_answered(model: Node) -> bool:
    """Return whether the last messages that a model was sent are results of tools."""
    return bool(_places_of_last_results(model.facts.messages))


def results_sent_last(messages: Sequence[Message]) -> list[dict[Any, Any]]:
    """Return the results of tools with which the messages end that a model was sent; none where something else does."""
    places = _places_of_last_results(messages)
    return [part for place in places for part in messages[place].parts if _is_result(part)]


def _places_of_last_results(messages: Sequence[Message]) -> range:
    """Return the places of the messages with results of tools that end what a model was sent."""
    begin = end = place_of_answer(messages)
    while begin and any(map(_is_result, messages[begin - 1].parts)):
        begin -= 1
    return range(begin, end)


def _is_result(part: dict[Any, Any]) -> bool:
    return part.get("type") == "tool_call_response"


# ── calls of a run ───────────────────────────────────────────────────────────────────────────────────────────────────


class _ModelCall(NamedTuple):
    node: Node
    recorded: list[RecordedCall]
    answer_place: int

    @property
    def sent(self) -> list[RecordedCall]:
        return [call for call in self.recorded if call.place < self.answer_place]

    @property
    def asked(self) -> list[RecordedCall]:
        return [call for call in self.recorded if call.place >= self.answer_place]

    @property
    def sent_messages(self) -> tuple[Message, ...]:
        return self.node.facts.messages[: self.answer_place]

    @property
    def request_key(self) -> tuple[int, str]:
        """Return what is equal where the same messages were sent, and seldom where others were."""
        sent = self.sent_messages
        return self.answer_place, sent[-1].text if sent else ""


class CallHistory:
    """Follow the tool calls of one run through its model calls, which are added in order of time."""

    def __init__(self, models: Iterable[Node], question: Any = None) -> None:
        self.calls: list[ToolCall] = []
        self._question = question
        self._added = defaultdict[tuple[int, str], list[_ModelCall]](list)
        models_with_calls = [_model_call(node) for node in models]
        self._reused_ids = set(_reused_ids(models_with_calls))
        for model in models_with_calls:
            self._add(model)

    def _add(self, model: _ModelCall) -> None:
        self._add_sent(model)
        self._add_asked(model)
        self._added[model.request_key].append(model)

    def _add_sent(self, model: _ModelCall) -> None:
        sent = model.sent
        found = _aligned(sent, self.calls, self._reused_ids)
        messages = model.node.facts.messages
        is_continued = any(place is not None and not self.calls[place].is_past for place in found)
        question_place = -1 if is_continued else place_of_question(messages, self._question)
        merged: list[ToolCall] = []
        done = 0
        for recorded, place in zip(sent, found, strict=True):
            if place is not None:
                merged += self.calls[done : place + 1]
                done = place + 1
                self.calls[place].take(recorded, model.node)
            elif recorded.name is not None:
                is_past = recorded.place < question_place
                merged.append(ToolCall(recorded, model.node, is_asked=False, is_past=is_past))
        self.calls = merged + self.calls[done:]

    def _add_asked(self, model: _ModelCall) -> None:
        replaced = self._calls_of_failed_attempts(model)
        for recorded in model.asked:
            if recorded.name is None:
                continue
            same = next((call for call in replaced if _is_same_request(recorded, call)), None)
            if same is not None:
                replaced.remove(same)
                self.calls.remove(same)
            self.calls.append(ToolCall(recorded, model.node, is_asked=True))
        for call in replaced:
            call.is_sure = False

    def _calls_of_failed_attempts(self, model: _ModelCall) -> list[ToolCall]:
        """Return the calls without a response that earlier models asked for which were sent the same messages."""
        unanswered = [call for call in self.calls if call.sent_to is None and call.asked_by is not None]
        if not unanswered:
            return []
        sent = model.sent_messages
        attempts = [
            earlier.node
            for earlier in self._added[model.request_key]
            if end_of(earlier.node) <= model.node.span.start_ns and earlier.sent_messages == sent
        ]
        return [call for call in unanswered if any(call.asked_by is node for node in attempts)]


def _model_call(node: Node) -> _ModelCall:
    messages = node.facts.messages
    return _ModelCall(node, recorded_calls(messages), place_of_answer(messages))


def _reused_ids(models: Iterable[_ModelCall]) -> Iterator[str]:
    """Yield the ids that cannot distinguish calls: they are those of several, or names of tools."""
    asked: dict[str, list[RecordedCall]] = {}
    for model in models:
        count = Counter([call.call_id for call in model.recorded if call.call_id is not None])
        yield from (call_id for call_id, number in count.items() if number > 1)
        yield from (call.call_id for call in model.recorded if call.call_id and call.call_id == call.name)
        for call in model.asked:
            if call.call_id is not None:
                asked.setdefault(call.call_id, []).append(call)
    yield from (call_id for call_id, calls in asked.items() if len(calls) > 1)


# ── a history beside the calls that are known ────────────────────────────────────────────────────────────────────────


def _aligned(sent: list[RecordedCall], known: list[ToolCall], reused_ids: set[str]) -> list[int | None]:
    """Return for each call of a history its place among the known ones, in ascending order; None for a new one."""

    def fit(here: int, there: int) -> int:
        return _fit(sent[here], known[there], reused_ids)

    if not sent or not known:
        return [None] * len(sent)
    if len(sent) >= len(known) and all(fit(place, place) for place in range(len(known))):  # the history as a whole
        return [*range(len(known)), *[None] * (len(sent) - len(known))]
    first = len(known) - len(sent)
    if first >= 0 and all(fit(place, first + place) for place in range(len(sent))):  # the end of it
        return [*range(first, len(known))]
    return _longest_alignment(sent, known, fit)


def _longest_alignment(sent: list[RecordedCall], known: list[ToolCall], fit: Any) -> list[int | None]:
    """Return the alignment with the most and best pairs; of equal ones that with the latest known calls."""
    skipped = 0
    while skipped < min(len(sent), len(known)) - _MOST_COMPARED and fit(skipped, skipped):
        skipped += 1
    here = range(max(skipped, len(sent) - _MOST_COMPARED), len(sent))
    there = range(max(skipped, len(known) - _MOST_COMPARED), len(known))
    best = [[0] * (len(there) + 1) for _ in range(len(here) + 1)]  # of the first calls here with the first ones there
    for row, place in enumerate(here):
        for column, other in enumerate(there):
            weight = fit(place, other)
            both = best[row][column] + _PAIR + weight if weight else 0
            best[row + 1][column + 1] = max(both, best[row][column + 1], best[row + 1][column])
    found: list[int | None] = [*range(skipped), *[None] * (len(sent) - skipped)]
    row, column = len(here), len(there)
    while row and column:
        weight = fit(here[row - 1], there[column - 1])
        if weight and best[row][column] == best[row - 1][column - 1] + _PAIR + weight:
            row, column = row - 1, column - 1
            found[here[row]] = there[column]
        elif best[row][column] == best[row - 1][column]:
            row -= 1
        else:
            column -= 1
    return found


_PAIR = 1_000
"""Weight of a pair of calls, beside which only that of the same number of pairs counts how well they fit."""


def _fit(recorded: RecordedCall, call: ToolCall, reused_ids: set[str]) -> int:
    """Return how well a call of a history fits a known one, 0 if it is another call."""
    if recorded.name is not None and recorded.name != call.name:
        return 0
    if recorded.call_id is not None and recorded.call_id == call.call_id and call.call_id not in reused_ids:
        return 3
    if None not in (recorded.call_id, call.call_id) and recorded.call_id != call.call_id:
        return 0
    if recorded.name is None and recorded.call_id != call.call_id:
        return 0
    if recorded.name is not None and not _may_be_same_arguments(recorded.arguments, call.arguments):
        return 0
    if not recorded.is_answered or call.sent_to is None:
        return 2
    if recorded.response == call.response:
        return 3
    return 1 if _is_placeholder(recorded.response) or _is_placeholder(call.response) else 0


def _may_be_same_arguments(one: Any, other: Any) -> bool:
    if one == other or one in (None, "", {}) or other in (None, "", {}):
        return True
    return type(one) is not type(other) and str in (type(one), type(other))  # JSON that a length limit has cut


def _is_placeholder(response: Any) -> bool:
    return response in (None, "") or (type(response) is str and _PLACEHOLDER.fullmatch(response) is not None)


def _is_same_request(recorded: RecordedCall, call: ToolCall) -> bool:
    return recorded.name == call.name and recorded.arguments == call.arguments
