"""Answer what a page about one run asks for; whatever serves the page, or writes it to a file, only passes it on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from otel_agent_trace.model import AgentRun
from otel_agent_trace.prices import Prices
from otel_agent_trace.runs.facts_on_demand import facts_on_demand
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.values import encode
from otel_agent_trace.views.conversation import Conversation
from otel_agent_trace.views.conversation_calls import first_new
from otel_agent_trace.views.details import step_details, value_fields
from otel_agent_trace.views.items import Item, RunItems, messages_of
from otel_agent_trace.views.json_values import LIMIT_CHARS, JsonWriter, Media
from otel_agent_trace.views.markdown import run_markdown
from otel_agent_trace.views.outline import outline_of
from otel_agent_trace.views.previews import preview_of
from otel_agent_trace.views.sources import Sources
from otel_agent_trace.views.value_paths import text_at, text_of

_MOST_ROWS = 500
_BUDGET_TOKENS = 8000
Spans = Callable[[], Iterable[SpanRecord]]
"""Function that returns the spans of a run's traces, from which it is explained where its facts were read."""


class RunPage:
    """Hold one state of a run, and return what a page shows of it, as JSON-able data or text.

    Each part is computed when it is first asked for.

    Args:
        run: the run.
        prices: what model calls cost; without them no cost is known.
        spans: returns the spans of the run's traces, to find where its facts were read; it is called at most once.
        revision: what distinguishes this state of a running run from later ones.
        command: the command that replays the run.
    """

    def __init__(
        self,
        run: AgentRun,
        prices: Prices | None = None,
        spans: Spans | None = None,
        *,
        revision: str = "",
        command: str = "",
    ) -> None:
        self.run, self.revision, self.command = run, revision, command
        self._prices, self._spans = prices, spans
        self._places_of_media: dict[str, int] = {}

    def outline(self, step: str | None = None, *, ids: bool = False) -> dict[str, Any]:
        """Return the outline of the run; `selected` in it is the number of the item that was read from the span `step`."""
        outline = dict(self._outline)
        if ids:
            outline["columns"] = {**outline["columns"], "ids": [item.subject.span_id for item in self._items]}
        return {**outline, "selected": None if step is None else self._items.number_of(step)}

    @property
    def count(self) -> int:
        """Return how many items the run has."""
        return len(self._items)

    def find(self, text: str, begin: int = 0) -> int | None:
        """Return the number of the next item, from one on and then from the first, in which a text occurs; None without any.

        Upper and lower case are the same. It is looked for in names, errors, values and messages.
        """
        wanted, count = text.casefold(), len(self._items)
        numbers = (number % count for number in range(begin, begin + count))
        return next((number for number in numbers if wanted in text_of(self._items[number]).casefold()), None)

    def rows(self, begin: int, end: int) -> list[dict[str, Any]]:
        """Return previews of the items from one number to before another, of which there are at most 500."""
        end = min(end, begin + _MOST_ROWS, len(self._items))
        previews = [{"number": at, "preview": preview_of(self._items[at])} for at in range(max(begin, 0), end)]
        return list(encode(previews).data)

    def step(self, number: int) -> dict[str, Any]:
        """Return the details of an item.

        Raises:
            IndexError: the run has no such item.
        """
        return step_details(
            self._items,
            self._item(number).number,
            prices=self._prices,
            new_from=first_new(self._items, number),
            source=() if self._sources is None else self._sources.of(number),
            writer=self._writer,
        )

    def conversation(self, step: int | None = None, begin: int = 0) -> dict[str, Any]:
        """Return blocks of the conversation of an item, from one number on, and the number of the next one.

        Raises:
            IndexError: the run has no such item.
        """
        return self._conversation.page(self._item(step or 0).number, begin)

    def copy(self, form: str, step: int | None = None, budget: int = _BUDGET_TOKENS) -> str:
        """Return the run, or an item of it, as text: ``json``, ``markdown`` within `budget` tokens, or the ``command``.

        Raises:
            IndexError: the run has no such item.
            ValueError: there is no such form, or the run is nested too deeply to be written as JSON.
        """
        item = self._item(step or 0)
        if form == "markdown":
            return run_markdown(self._items, budget_tokens=budget, step=step, command=self.command)
        if form == "command":
            return self.command
        if form != "json":
            raise ValueError(f"format must be json, markdown or command, got {form!r}")
        try:
            return msgspec.json.format(msgspec.json.encode(item.subject.to_dict()), indent=2).decode()
        except RecursionError as error:
            raise ValueError("the run is nested too deeply to be written as JSON") from error

    def value(self, step: int, path: str) -> str:
        """Return a value of an item whole, as text: the path is that of a value which was cut in another answer.

        Raises:
            IndexError: the run has no such item.
            KeyError: the item has no such value.
        """
        return text_at(self._items, self._item(step).number, path)

    def media(self, digest: str) -> Media | None:
        """Return the binary content of a digest in the values and messages of the run; None if there is none."""
        if digest not in self._places_of_media:
            _ = self._all_media_noted
        number = self._places_of_media.get(digest)
        if number is None:
            return None
        found: dict[str, Media] = {}
        _write(self._items[number], JsonWriter(keep_media=found.setdefault))
        return found.get(digest)

    @functools.cached_property
    def _items(self) -> RunItems:
        return RunItems(self.run)

    @functools.cached_property
    def _outline(self) -> dict[str, Any]:
        return outline_of(self._items, self._prices, revision=self.revision, command=self.command)

    @functools.cached_property
    def _conversation(self) -> Conversation:
        return Conversation(self._items, self._writer)

    @functools.cached_property
    def _sources(self) -> Sources | None:
        found = None if self._spans is None else facts_on_demand(self._spans(), self.run.run_id)
        return None if found is None else Sources(self._items, *found)

    @functools.cached_property
    def _all_media_noted(self) -> bool:
        """Note the places of all media of the run, once."""
        for item in self._items:
            _write(item, self._writer(item.number, LIMIT_CHARS))
        return True

    def _item(self, number: int) -> Item:
        if number < 0:
            raise IndexError(number)
        return self._items[number]

    def _writer(self, number: int, limit_chars: int) -> JsonWriter:
        """Return what converts values of an item, and notes which media are there."""
        return JsonWriter(limit_chars, lambda digest, _: self._places_of_media.__setitem__(digest, number))


def _write(item: Item, writer: JsonWriter) -> None:
    """Convert all values and messages of an item, for the media in them."""
    for path, value in value_fields(item).items():
        writer.value(value, path)
    for message in messages_of(item):
        writer.message(message, "messages")
