"""Put the messages, calls, questions and answers of a run in the order in which a conversation shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from otel_agent_trace.model import Message, StepKind
from otel_agent_trace.query import PAUSED
from otel_agent_trace.runs.calls import place_of_answer
from otel_agent_trace.views.conversation_calls import MatchedCalls, PartPlace, has_messages
from otel_agent_trace.views.details import value_fields
from otel_agent_trace.views.histories import MessageKey, compact_text, key_of
from otel_agent_trace.views.items import Item, RunItems
from otel_agent_trace.views.prefills import exchange_of
from otel_agent_trace.views.values_text import plain_text

USER, ASSISTANT, TOOL, AGENT, ERROR = "user", "assistant", "tool", "agent", "error"
_JSON = ("{", "[")


class Entry(NamedTuple):
    """Hold where the content of a block is: in a message, in a field of an item, or in a call of a tool.

    `call` is a call that no step executed; without it, and without message and field, the item itself is a call.
    `repeated` counts the messages before it that an earlier block shows. A message that `is_prefilled` is the beginning of
    an answer that the model was sent, and went on with.
    """

    number: int
    depth: int
    role: str
    message: int | None = None
    field: str | None = None
    call: PartPlace | None = None
    repeated: int = 0
    is_prefilled: bool = False


class _Open:
    """Hold an item whose items below are being read, and what was last shown of the agent that it belongs to."""

    __slots__ = ("agent", "answers", "depth", "item", "shown_answers", "shown_error")

    def __init__(self, item: Item, around: _Open | None) -> None:
        self.item = item
        is_agent = item.run is not None
        self.agent: _Open = self if is_agent or around is None else around.agent
        self.depth: int = 0 if around is None else around.agent.depth + is_agent
        self.answers: list[MessageKey] = [] if is_agent or around is None else around.answers
        self.shown_answers: frozenset[str] = frozenset()
        self.shown_error = ""


class ConversationPlan:
    """Hold the entries of a run's conversation in order, and which are those of each item and of all below it."""

    def __init__(self, items: RunItems, calls: MatchedCalls) -> None:
        self.entries: list[Entry] = []
        self._items, self._calls = items, calls
        self._begins, self._ends = [0] * len(items), [0] * len(items)
        self._open: list[_Open] = []
        for item in items:
            self._close(item.number)
            self._begins[item.number] = len(self.entries)
            self._open.append(_Open(item, self._open[-1] if self._open else None))
            self.entries += self._opening(self._open[-1])
        self._close(len(items))

    def place_of(self, number: int) -> tuple[int, int]:
        """Return the places of the first entry of an item, and after the last one of it and of all below it.

        Raises:
            IndexError: there is no such item.
        """
        return self._begins[number], self._ends[number]

    def _close(self, following: int) -> None:
        """Close the items that the following one is not below."""
        while self._open and self._items.end(self._open[-1].item.number) <= following:
            closed = self._open.pop()
            if closed.item.run is not None:
                self.entries += _closing(closed)
            self._ends[closed.item.number] = len(self.entries)

    def _opening(self, at: _Open) -> Iterator[Entry]:
        item = at.item
        if item.run is not None:
            if item.step is not None:
                yield Entry(item.number, at.depth - 1, AGENT)
            yield from _question(at)
        elif has_messages(item):
            yield from self._messages(at)
        elif item.step is not None and item.step.kind is StepKind.MODEL:
            yield from _fields(at, {"input": USER, "output": ASSISTANT})
            yield from _error(at)
        elif item.step is not None and (item.step.kind is not StepKind.OTHER or self._is_lone_call(item)):
            at.agent.shown_error = _message_of_error(item)
            yield Entry(item.number, at.depth, item.step.kind.value)

    def _is_lone_call(self, item: Item) -> bool:
        """Return whether a step of no known kind is shown as a call: around others it only repeats what these have."""
        has_values = any(value_fields(item)[name] is not None for name in ("input", "output"))
        return self._items.end(item.number) == item.number + 1 and (has_values or item.error is not None)

    def _messages(self, at: _Open) -> Iterator[Entry]:
        """Yield entries for the new messages of a model call, and for those calls in them that no step executed."""
        if at.item.step is None:
            return
        number, (messages, answer) = at.item.number, exchange_of(at.item.step)
        new, first = self._calls.new_places[number], place_of_answer(messages)
        answers = [key_of(message) for message in messages[answer:]]
        is_repeated = bool(answers) and answers == at.answers  # a step around it has recorded the same call
        repeated = answer - sum(place < answer for place in new)
        for place in new[: -len(answers)] if is_repeated else new:
            message = messages[place]
            is_prefilled = first <= place < answer
            shown = Entry(number, at.depth, message.role, place, repeated=repeated, is_prefilled=is_prefilled)
            if shown_parts(self._calls, number, place, message.parts):
                yield shown
                repeated = 0
            for call in self._lone_calls(number, place, message.parts):
                yield Entry(number, at.depth, TOOL, call=call, repeated=repeated)
                repeated = 0
        at.answers = answers or at.answers
        at.agent.shown_answers = _texts_of(messages[first:], messages[answer:])
        yield from _error(at)

    def _lone_calls(self, number: int, place: int, parts: Sequence[Mapping[Any, Any]]) -> Iterator[PartPlace]:
        found = (PartPlace(number, place, index) for index, part in enumerate(parts) if part.get("type") == "tool_call")
        return (call for call in found if call not in self._calls.step_of and call not in self._calls.known)


def shown_parts(calls: MatchedCalls, number: int, place: int, parts: Sequence[Mapping[Any, Any]]) -> list[int]:
    """Return the places of those parts of a message that are shown in it, as calls and their results are not."""
    return [
        index
        for index, part in enumerate(parts)
        if part.get("type") != "tool_call"
        and not (part.get("type") == "text" and part.get("content") in (None, ""))
        and PartPlace(number, place, index) not in calls.answered
    ]


def _question(at: _Open) -> Iterator[Entry]:
    """Yield an entry for the question to an agent, unless the messages of its first call have it."""
    run = at.item.run
    first = next((step.messages for step in run.steps if step.messages and step.run is None), ()) if run else ()
    question = plain_text(value_fields(at.item)["input"])
    asked = compact_text(question)
    is_sent = any(message.role == USER and asked in compact_text(message.text) for message in first)
    if not is_sent and not (first and question.startswith(_JSON)):
        yield from _fields(at, {"input": USER})


def _closing(at: _Open) -> Iterator[Entry]:
    """Yield entries for the answer and the error of an agent, unless they were shown last, and for why it waits."""
    answer = compact_text(plain_text(value_fields(at.item)["output"]))
    if answer not in (at.shown_answers or ("",)):
        yield from _fields(at, {"output": ASSISTANT})
    yield from _fields(at, {"interrupted_for": PAUSED})
    yield from _error(at)


def _texts_of(whole: Sequence[Message], answers: Sequence[Message]) -> frozenset[str]:
    """Return what the answer of an agent may be whose model answered last: a choice, all of it, or with its beginning."""
    texts = ("".join(message.text for message in found) for found in (whole, answers, *zip(whole)))
    return frozenset(map(compact_text, texts))


def _fields(at: _Open, roles: Mapping[str, str]) -> Iterator[Entry]:
    values = value_fields(at.item)
    for field, role in roles.items():
        if values[field] is not None:
            yield Entry(at.item.number, at.depth, role, field=field)


def _error(at: _Open) -> Iterator[Entry]:
    """Yield an entry for the error of an item, unless it was shown last."""
    text = _message_of_error(at.item)
    if text and text != at.agent.shown_error:
        at.agent.shown_error = text
        yield Entry(at.item.number, at.depth, ERROR, field="error")


def _message_of_error(item: Item) -> str:
    return "" if item.error is None else item.error.message or item.error.type
