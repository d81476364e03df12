"""Answer what lists of runs ask for: rows, counts of what the runs have, and what a text occurs in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.query import RunQuery
from otel_agent_trace.viewer.entries import Entry
from otel_agent_trace.viewer.filters import query_of
from otel_agent_trace.viewer.library import Library
from otel_agent_trace.viewer.replies import data_reply
from otel_agent_trace.viewer.work import Stop, Work

_COUNT, _MOST_ROWS = 60, 1000
_LARGEST = 10**12


def query_in(request: Request, library: Library, *others: str) -> RunQuery:
    """Return the query of an address, in which `others` are no filters.

    Raises:
        ConfigurationError: a name is unknown, or a value is invalid.
    """
    return query_of(request.query_params.multi_items(), library.prices, others)


def number_in(parameters: Mapping[str, str], name: str, default: int, most: int = _LARGEST) -> int:
    """Return a whole number of an address, at most `most`.

    Raises:
        ConfigurationError: it is none.
    """
    text = parameters.get(name) or str(default)
    if not (text.isascii() and text.isdecimal()):
        raise ConfigurationError(f"{name} must be a whole number")
    return min(int(text[:15]), most)


def rows_json(entries: Sequence[Entry]) -> bytes:
    """Return the rows of runs as a JSON list."""
    now = datetime.now().astimezone()
    return b"[" + b",".join(entry.json(now) for entry in entries) + b"]"


class ListApi:
    """Answer requests about the runs of a source."""

    def __init__(self, library: Library, work: Work) -> None:
        self._library = library
        self._work = work

    async def runs(self, request: Request) -> Response:
        """Return some rows of a result, and how many there are."""
        query = query_in(request, self._library, "result", "from", "count")
        begin = number_in(request.query_params, "from", 0)
        count = number_in(request.query_params, "count", _COUNT, _MOST_ROWS)

        def read(stop: Stop) -> bytes:
            kept = self._library.result(request.query_params.get("result"), query, stop)
            rows = rows_json(kept.result.page(begin, count, stop))
            facts = {
                "result": kept.result_id,
                "total": kept.result.total,
                "at_least": kept.result.at_least,
                "from": begin,
                "new": self._library.new_runs(kept, stop),
            }
            return json.dumps(facts)[:-1].encode() + b',"rows":' + rows + b"}"

        return data_reply(request, await self._work.run(request, read))

    async def facets(self, request: Request) -> Response:
        """Return how many runs have which status, agent, tool, model and error, and began when."""
        query = query_in(request, self._library, "result")

        def read(stop: Stop) -> dict[str, Any]:
            kept = self._library.result(request.query_params.get("result"), query, stop)
            return self._library.answer(f"facets {kept.result_id}", lambda: kept.result.facets(stop))

        return data_reply(request, await self._work.run(request, read, is_slow=True))
