"""Read the filters of a query from the address of a page, under the names of the options of the commands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.prices import PricesGiven
from otel_agent_trace.query import RunQuery, facts_of

_FIELDS = {"user": "user_id", "session": "session_id", "run": "run_id"}
_SAME = ("status", "agent", "tool", "tool_error", "model", "service", "text", "since", "until", "min_duration", "sort")
_REPEATED = ("tag", "where", "score")
FIELD_OF = {**_FIELDS, **{name: name for name in (*_SAME, *_REPEATED)}}
"""Name in an address → field of `RunQuery`."""


def query_of(parameters: Iterable[tuple[str, str]], prices: PricesGiven = None, others: Iterable[str] = ()) -> RunQuery:
    """Return the query of an address; empty values apply no filter.

    Args:
        parameters: the names and values of the address, in order.
        prices: what model calls cost.
        others: names that are no filters, which are left out.

    Raises:
        ConfigurationError: a name is unknown, is given twice, or a value is invalid.
    """
    given: dict[str, list[str]] = {}
    for name, value in parameters:
        if name not in FIELD_OF and name not in others:
            raise ConfigurationError(f"{name}: no such filter; there are {', '.join(FIELD_OF)}")
        if value and name in FIELD_OF:
            given.setdefault(name, []).append(value)
    return RunQuery(**{FIELD_OF[name]: _value_of(name, values) for name, values in given.items()}, prices=prices)


def _value_of(name: str, values: list[str]) -> Any:
    if name == "where":
        return facts_of(values)
    if name in _REPEATED:
        return values
    if len(values) > 1:
        raise ConfigurationError(f"{name}: given twice")
    return values[0]
