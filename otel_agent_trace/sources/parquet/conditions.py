"""Turn a `RunQuery` into a condition and an order of SQL over ``runs.parquet``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from otel_agent_trace.model import RunStatus
from otel_agent_trace.query import ANY_TOOL, INTERRUPTED, LAST, PAUSED, RunQuery
from otel_agent_trace.sources.parquet.values import text_of

STATUS = (
    f"CASE WHEN status='{RunStatus.RUNNING.value}' AND interrupted THEN '{INTERRUPTED}'"
    f" WHEN status='{RunStatus.SUCCESS.value}' AND interrupted_for IS NOT NULL THEN '{PAUSED}' ELSE status END"
)
"""Expression of what `query.status_of` returns."""
_DURATION_NS = "ended_at_ns::HUGEINT - started_at_ns"


class Spelling(NamedTuple):
    """Hold how an engine of SQL spells what conditions need.

    `parameter` stands for one with a name and a type, `contains` is whether a list has a value, `is_any` whether it has
    one at all, `service` whether all runs of a trace together fulfil a condition.
    """

    parameter: str
    contains: str
    is_any: str
    duration_ns: str
    service: str


DUCKDB = Spelling(
    parameter="${name}",
    contains="list_contains({}, {{}})",
    is_any="len({}) > 0",
    duration_ns=_DURATION_NS,
    service="trace_id IN (SELECT trace_id FROM runs WHERE {})",
)
_INEXACT = frozenset({"where", "score", "text", "user_id"})
"""Filters that compare types of values, or whose runs that do not match are counted too; these are left to the readers."""
_ORDERS = {
    "time": "started_at_ns DESC, run_id DESC",
    "duration": f"coalesce({_DURATION_NS}, -1) DESC, started_at_ns DESC, run_id DESC",
    "steps": "step_count DESC, started_at_ns DESC, run_id DESC",
}
_LARGEST = 1 << 63


class Condition(NamedTuple):
    """Hold a condition over ``runs``, and its parameters by name; `is_exact` is False where it holds for other runs too."""

    sql: str
    parameters: dict[str, Any]
    is_exact: bool


def condition_of(query: RunQuery, spelling: Spelling = DUCKDB) -> Condition:
    """Return the condition that holds for all runs which a query selects, whatever its order and limit."""
    parameters: dict[str, Any] = {}
    parts = [sql.format(_named(value, parameters, spelling)) for sql, value in _parts(query, spelling)]
    is_exact = _INEXACT.isdisjoint(query.given()) and query.run_id != LAST
    return Condition(" AND ".join(parts) or "true", parameters, is_exact)


def order_of(query: RunQuery, *, is_exact: bool) -> str:
    """Return the order and the limit of a query as SQL; an empty text where all runs have to be read to know the first."""
    order = "run_number" if query.order_name is None else _ORDERS.get(query.order_name)
    return f" ORDER BY {order} LIMIT {query.limit:d}" if is_exact and order and query.limit is not None else ""


def _named(value: Any, parameters: dict[str, Any], spelling: Spelling) -> str:
    """Return the name of a parameter with a value, and add it."""
    if value is None:
        return ""
    name = f"p{len(parameters)}"
    parameters[name] = text_of(value) if isinstance(value, str) else value
    return spelling.parameter.format(name=name, type="String" if isinstance(value, str) else "Int64")


def _parts(query: RunQuery, spelling: Spelling) -> Iterator[tuple[str, Any]]:
    """Yield conditions, with ``{}`` in the place of the value beside, if there is one."""
    if query.agent is not None:
        yield "agent_name = {}", query.agent
    if query.status is not None:
        is_running = query.status == RunStatus.RUNNING
        yield ("status = {}" if is_running else f"{STATUS} = {{}}"), str(getattr(query.status, "value", query.status))
    if query.session_id is not None:
        yield "session_id = {}", query.session_id
    yield from _of_names(query, spelling)
    if query.since_ns is not None:
        yield "started_at_ns >= {}", _within(query.since_ns)
    if query.until_ns is not None:
        yield "started_at_ns < {}", _within(query.until_ns)
    if query.min_duration_ns is not None:
        yield f"{spelling.duration_ns} >= {{}}", _within(math.ceil(query.min_duration_ns))
    if query.run_id is not None and query.run_id != LAST:
        yield "EXISTS (SELECT 1 FROM unnest(run_ids || trace_ids) AS known(id) WHERE starts_with(id, {}))", query.run_id


def _of_names(query: RunQuery, spelling: Spelling) -> Iterator[tuple[str, Any]]:
    if query.tool is not None:
        yield spelling.contains.format("tools"), query.tool
    if query.tool_error in (True, ANY_TOOL):
        yield spelling.is_any.format("failed_tools"), None
    elif query.tool_error is not None:
        yield spelling.contains.format("failed_tools"), query.tool_error
    if query.model is not None:
        yield spelling.contains.format("models"), query.model
    if query.service is not None:  # of all runs in the trace
        yield spelling.service.format(spelling.contains.format("services")), query.service
    tags = () if query.tag is None else (query.tag,) if isinstance(query.tag, str) else tuple(query.tag)
    for tag in tags:
        yield spelling.contains.format("tags"), tag


def _within(number: int) -> int:
    return min(max(number, -_LARGEST), _LARGEST - 1)
