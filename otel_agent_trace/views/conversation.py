"""Describe a run as one conversation, whatever recorded it: each message once, and a tool's call with its result."""

from __future__ import annotations

import json
from typing import Any

from otel_agent_trace.model import AgentRun, RunStatus
from otel_agent_trace.values import encode
from otel_agent_trace.views.conversation_calls import PartPlace, matched_calls
from otel_agent_trace.views.conversation_plan import ConversationPlan, Entry, shown_parts
from otel_agent_trace.views.details import value_fields
from otel_agent_trace.views.figures import UNKNOWN, duration_text
from otel_agent_trace.views.histories import INSTRUCTIONS
from otel_agent_trace.views.item_facts import OK, is_live, name_of, status_of_item
from otel_agent_trace.views.items import Item, RunItems, messages_of
from otel_agent_trace.views.json_values import JsonWriter, WriterOf, result_in, writer_of
from otel_agent_trace.views.values_text import plain_text

_VALUE_CHARS = 16_384
NO_RESULT = "no result"
"""Status of a call of a run that is over, whose result was not recorded."""
_PAGE_BLOCKS, _PAGE_CHARS = 100, 1 << 19


class Conversation:
    """Hold the blocks of a run's conversation, which are made when they are asked for.

    Args:
        run: the run, or its items.
        writer: returns what converts the values of an item.
    """

    def __init__(self, run: AgentRun | RunItems, writer: WriterOf = writer_of) -> None:
        self.items = RunItems.of(run)
        self.calls = matched_calls(self.items)
        self._plan = ConversationPlan(self.items, self.calls)
        self._writer_of = writer

    def page(self, number: int = 0, begin: int = 0, count: int = _PAGE_BLOCKS) -> dict[str, Any]:
        """Return blocks of an item and of all below it as JSON-able data, and the number of the next one, or None.

        Args:
            number: the number of the item; 0 is the whole run.
            begin: the number of the first block, from 0.
            count: the most blocks to return; there are fewer if they are long.

        Raises:
            IndexError: the run has no such item.
        """
        first, end = self._plan.place_of(number)
        blocks: list[dict[str, Any]] = []
        chars, place = 0, first + max(begin, 0)
        while place < end and len(blocks) < count and chars < _PAGE_CHARS:
            blocks.append(self._block(self._plan.entries[place]))
            chars += len(json.dumps(blocks[-1]))
            place += 1
        return {"blocks": blocks, "next": place - first if place < end else None}

    def _block(self, entry: Entry) -> dict[str, Any]:
        item = self.items[entry.number]
        block: dict[str, Any] = {
            "role": entry.role,
            "name": None if entry.message is None else messages_of(item)[entry.message].name,
            "step": entry.number,
            "depth": entry.depth,
            "parts": [],
            "folded": entry.role in INSTRUCTIONS,
            "repeated": entry.repeated,
            "prefilled": entry.is_prefilled,
            "tool": None,
        }
        if entry.message is not None:
            block["parts"] = self._parts(item, entry.message)
        elif entry.field is not None:
            block["parts"] = [self._field_part(item, entry.field)]
        else:
            block["tool"] = self._step_tool(item) if entry.call is None else self._call_tool(entry.call)
        return dict(encode(block).data)

    def _parts(self, item: Item, place: int) -> list[dict[str, Any]]:
        """Return the parts of a message but calls and results that other blocks show."""
        parts = messages_of(item)[place].parts
        shown = shown_parts(self.calls, item.number, place, parts)
        writer = self._writer(item.number)
        return [writer.part(parts[index], path_of(PartPlace(item.number, place, index))) for index in shown]

    def _field_part(self, item: Item, field: str) -> dict[str, Any]:
        value = str(item.error) if field == "error" else value_fields(item)[field]
        text, path = plain_text(value), f"@{item.number}.{field}"
        if isinstance(value, str) or not text.startswith(("{", "[")):
            return {"type": "text", **self._writer(item.number).text(text, path)}
        return {"type": "other", "value": self._writer(item.number).value(value, path)}

    def _step_tool(self, item: Item) -> dict[str, Any]:
        """Return what a step called, with its result or error, or where its span has none, with that in messages."""
        fields = value_fields(item)
        call = self.calls.call_of.get(item.number)
        sent = {} if call is None else self._call_values(call)
        if item.run is not None:  # its conversation has them
            fields = {**fields, "input": None, "output": None}
        writer, at = self._writer(item.number), f"@{item.number}"
        arguments = writer.value(fields["input"], f"{at}.input")
        result = writer.value(fields["output"], f"{at}.output")
        if result is None and item.run is None:
            result = sent.get("result") if item.error is None else writer.value(str(item.error), f"{at}.error")
        return {
            "name": name_of(item),
            "arguments": sent.get("arguments") if arguments is None else arguments,
            "result": result,
            "status": status_of_item(self.items, item),
            "duration_text": duration_text(item.subject.duration_s),
            "step": item.number,
        }

    def _call_tool(self, call: PartPlace) -> dict[str, Any]:
        """Return a call that no step executed, with its result."""
        values = self._call_values(call)
        pending = RunStatus.RUNNING.value if is_live(self.items) else NO_RESULT
        return {
            "name": str(self._part(call).get("name") or ""),
            **values,
            "status": OK if call in self.calls.result_of else pending,
            "duration_text": UNKNOWN,
            "step": call.number,
        }

    def _call_values(self, call: PartPlace) -> dict[str, Any]:
        answer = self.calls.result_of.get(call)
        arguments = self._part(call).get("arguments")
        result = None if answer is None else result_in(self._part(answer))
        return {
            "arguments": self._writer(call.number).value(arguments, path_of(call)),
            "result": None if answer is None else self._writer(answer.number).value(result, path_of(answer)),
        }

    def _writer(self, number: int) -> JsonWriter:
        return self._writer_of(number, _VALUE_CHARS)

    def _part(self, place: PartPlace) -> dict[Any, Any]:
        return messages_of(self.items[place.number])[place.message].parts[place.part]


def conversation_of(run: AgentRun | RunItems) -> list[dict[str, Any]]:
    """Return all blocks of the conversation of a run as JSON-able data."""
    conversation, blocks = Conversation(run), list[dict[str, Any]]()
    following: int | None = 0
    while following is not None:
        page = conversation.page(begin=following)
        blocks += page["blocks"]
        following = page["next"]
    return blocks


def path_of(place: PartPlace) -> str:
    """Return the path to the value in a part of a message of any item."""
    return f"@{place.number}.messages.{place.message}.parts.{place.part}"
