"""Match the tool calls in the messages of a run with the steps that executed them and with the results sent back."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from itertools import chain, islice
from typing import Any, NamedTuple

from otel_agent_trace import semconv
from otel_agent_trace.model import AgentStep, StepKind
from otel_agent_trace.views.histories import Exchange, History, compact_text, is_empty_call, key_of_call, new_from
from otel_agent_trace.views.item_facts import name_of
from otel_agent_trace.views.items import Item, RunItems
from otel_agent_trace.views.prefills import exchange_of

_MOST_EARLIER = 50
"""Number of earlier calls of an agent with which one is compared alone."""
_MOST_COMPARED = 200
"""Number of calls of one tool, the oldest, among which the one that a step executed is looked for."""


class PartPlace(NamedTuple):
    """Identify a part of a message: the number of the item, and the places of the message and of the part."""

    number: int
    message: int
    part: int


class MatchedCalls(NamedTuple):
    """Hold what belongs together in the conversation of a run.

    Attributes:
        new_places: the messages of each item, by its number, that no earlier call of its agent had.
        step_of: the number of the step that executed a call.
        call_of: the call that a step, by its number, executed.
        result_of: the result of a call.
        answered: the results that belong to calls.
        known: the calls that were asked for earlier, or are none at all.
    """

    new_places: dict[int, list[int]]
    step_of: dict[PartPlace, int]
    call_of: dict[int, PartPlace]
    result_of: dict[PartPlace, PartPlace]
    answered: set[PartPlace]
    known: set[PartPlace]


def matched_calls(items: RunItems) -> MatchedCalls:
    """Return the calls of a run matched with steps and results, and which messages are new in each model call."""
    found = MatchedCalls({}, {}, {}, {}, set(), set())
    agents = defaultdict[int, _Agent](lambda: _Agent(found))
    for item in items:
        if item.step is None:
            continue
        agent = agents[id(item.part)]
        if has_messages(item):
            agent.read(item.number, exchange_of(item.step))
        elif item.step.kind in (StepKind.TOOL, StepKind.AGENT):
            agent.execute(item, item.step)
    return found


def has_messages(item: Item) -> bool:
    """Return whether an item is a call of a model with messages; those of an agent are shown by its own calls."""
    return item.step is not None and item.run is None and bool(item.step.messages)


def first_new(items: RunItems, number: int) -> int:
    """Return how many of the first messages of a model call one of the latest calls of the same agent had."""
    item = items[number]
    if item.step is None or not has_messages(item):
        return 0
    before = (items[at] for at in range(number - 1, 0, -1))
    earlier = (each for each in before if each.part is item.part and has_messages(each))
    steps = (each.step for each in islice(earlier, _MOST_EARLIER))
    return new_from([exchange_of(step) for step in steps if step is not None], exchange_of(item.step))


class _Call(NamedTuple):
    place: PartPlace
    call_id: str | None
    name: str
    arguments: str


class _Agent:
    """Hold the calls of one agent that wait for a step or a result, and the steps that wait for a call."""

    def __init__(self, found: MatchedCalls) -> None:
        self._found = found
        self._history = History()
        self._asked: set[tuple[str, str]] = set()
        self._unexecuted = defaultdict[str, list[_Call]](list)
        self._unanswered = defaultdict[str | None, deque[_Call]](deque)
        self._uncalled = defaultdict[str, list[Item]](list)

    def read(self, number: int, call: Exchange) -> None:
        """Read the messages of a model call that are new."""
        messages, answer = call
        new = self._found.new_places[number] = self._history.new_places(call)
        for place in new:
            for index, part in enumerate(messages[place].parts):
                at, call_id = PartPlace(number, place, index), _id_in(part)
                if part.get("type") == "tool_call" and self._is_known(part, is_asked=place >= answer):
                    self._found.known.add(at)
                elif part.get("type") == "tool_call":
                    asked = _Call(at, call_id, str(part.get("name") or ""), compact_text(part.get("arguments")))
                    self._unanswered[call_id].append(asked)
                    self._find_step(asked, is_asked=place >= answer)
                elif part.get("type") == "tool_call_response" and self._unanswered[call_id]:
                    self._found.result_of[self._unanswered[call_id].popleft().place] = at
                    self._found.answered.add(at)

    def _is_known(self, part: Mapping[Any, Any], *, is_asked: bool) -> bool:
        """Return whether a call is one of an earlier answer, which a message repeats in another form."""
        if is_empty_call(part):
            return True
        if is_asked:
            self._asked.add(key_of_call(part))
        return not is_asked and key_of_call(part) in self._asked

    def execute(self, item: Item, step: AgentStep) -> None:
        """Match a step with the call that asked for it, which may be read later."""
        names = dict.fromkeys((step.name, name_of(item)))
        call_id, arguments = step.attributes.get(semconv.TOOL_CALL_ID, step.step_id), compact_text(step.input)
        for name in names:
            calls = self._unexecuted[name][:_MOST_COMPARED]
            by_id = (call for call in calls if call.call_id is not None and call.call_id == call_id)
            by_arguments = (call for call in calls if call.arguments == arguments)
            call = next(chain(by_id, by_arguments, calls), None)
            if call is not None:
                self._unexecuted[name].remove(call)
                self._match(call, item)
                return
        for name in names:
            self._uncalled[name].append(item)

    def _find_step(self, call: _Call, *, is_asked: bool) -> None:
        """Match a call with a step that began before the messages with the call were recorded, else let it wait."""
        waiting = self._uncalled[call.name]
        while waiting:
            item = waiting.pop(0)
            if item.number not in self._found.call_of:
                self._match(call, item)
                return
        if is_asked:
            self._unexecuted[call.name].append(call)

    def _match(self, call: _Call, item: Item) -> None:
        self._found.step_of[call.place] = item.number
        self._found.call_of[item.number] = call.place


def _id_in(part: Mapping[Any, Any]) -> str | None:
    return None if part.get("id") is None else str(part["id"])
