"""Turn a `RunQuery` into conditions and an order of SQL, which leave out no run that the query selects."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

from otel_agent_trace.policies.user_ids import key_id_of
from otel_agent_trace.query import ANY_TOOL, RunQuery
from otel_agent_trace.sources.index.rows import status_numbers
from otel_agent_trace.sources.index.schema import ORDERS, UNKNOWN, is_storable, session_number, within

INDEXED = frozenset(
    {"agent", "status", "tool", "tool_error", "model", "user_id", "session_id", "service", "tag", "since", "until"}
    | {"min_duration", "run_id"}
)
"""Fields of `RunQuery` by which rows are left out."""
_EXACT = INDEXED - {"run_id", "user_id"}
"""Fields of `RunQuery` by which rows are left out that do not match, and no others."""
_LARGEST = (1 << 63) - 1
_TRACE_ID_DIGITS = 32
_HEX = frozenset("0123456789abcdef")
_PSEUDONYMS = "text >= 'hmac:' AND text < 'hmac;'"


class Selection(NamedTuple):
    """Hold a statement that selects the numbers of traces and the values that their order goes by, and its arguments.

    `is_limited` is False where runs beyond the limit have to be read too: to count those whose user cannot be compared.
    """

    sql: str
    arguments: tuple[Any, ...]
    is_limited: bool


def is_narrowed(query: RunQuery) -> bool:
    """Return whether fewer traces are read for a query than there are."""
    is_filtered = not INDEXED.isdisjoint(query.given())
    if query.order_name is None:
        return query.limit is None and is_filtered
    return is_filtered or (query.limit is not None and query.order_name in ORDERS)


def selection_of(query: RunQuery, connection: sqlite3.Connection) -> Selection:
    """Return the statement for a query: traces in its order, the first one first, or in that in which they were added.

    They come in the latter also where rows have nothing of what the query sorts by.
    """
    conditions = [*_conditions(query)]
    has_other_keys = False
    if query.user_id is not None:
        condition, has_other_keys = _of_user(query, connection)
        conditions.append(condition)
    where = " AND ".join(f"({sql})" for sql, _ in conditions) or "1"
    arguments = tuple([each for _, given in conditions for each in given])
    sort = query.order_name
    if sort not in ORDERS:
        return Selection(f"SELECT DISTINCT trace, 0 FROM run WHERE {where} ORDER BY trace", arguments, False)
    value = ORDERS[sort]
    order = f"{value} DESC" if sort == "time" else f"{value} DESC, start_ns DESC"
    columns = f"trace, {value}" if sort == "time" else f"trace, {value}, start_ns"
    return Selection(f"SELECT {columns} FROM run WHERE {where} ORDER BY {order}", arguments, not has_other_keys)


_Condition = tuple[str, tuple[Any, ...]]


def is_exact(query: RunQuery) -> bool:
    """Return whether a query selects just the runs whose rows its conditions leave, in an order that rows have."""
    given = query.given().keys() - {"sort", "newest_first", "limit", "prices"}
    names = (
        query.agent,
        query.tool_error,
        query.tool,
        query.model,
        query.service,
        *(name for _, each in _sets(query) for name in each),
    )
    is_known = all(not isinstance(name, str) or within(name) is not None for name in names)
    return given <= _EXACT and is_known and query.order_name in ("time", "duration", "steps", "tokens", None)


def exact_conditions(query: RunQuery) -> Iterator[_Condition]:
    """Yield the conditions of a query that `is_exact`."""
    yield from _conditions(query.but(until=None))
    if query.until_ns is not None:
        yield "start_ns<?", (_in_64_bits(query.until_ns),)


def _conditions(query: RunQuery) -> Iterator[_Condition]:
    if query.agent is not None:
        yield _is_name("agent", query.agent)
    if query.status is not None:
        numbers = status_numbers(str(getattr(query.status, "value", query.status)))
        yield f"status IN ({','.join('?' * len(numbers))})", tuple(numbers)
    if query.session_id is not None:
        yield "session=?", (session_number(query.session_id),)
    for column, names in _sets(query):
        for name in names:
            yield from _has_name(column, name)
    if query.tool_error is not None:
        if query.tool_error in (True, ANY_TOOL):
            yield "failed_tools IS NOT NULL", ()
        else:
            yield from _has_name("failed_tools", str(query.tool_error))
    if query.since_ns is not None:
        yield "start_ns>=?", (_in_64_bits(query.since_ns),)
    if query.until_ns is not None:
        yield "start_ns<=?", (_in_64_bits(query.until_ns),)
    if query.min_duration_ns is not None:
        yield "end_ns-start_ns>=?", (_in_64_bits(int(query.min_duration_ns)),)
    if query.run_id is not None:
        yield _has_id(query.run_id)


def _sets(query: RunQuery) -> Iterator[tuple[str, tuple[str, ...]]]:
    tags = () if query.tag is None else (query.tag,) if isinstance(query.tag, str) else tuple(query.tag)
    yield "tags", tags
    for column, name in (("tools", query.tool), ("models", query.model), ("services", query.service)):
        yield column, () if name is None else (name,)


def _is_name(column: str, name: str) -> _Condition:
    known = name if is_storable(name) else UNKNOWN
    return f"{column} IN (SELECT id FROM name WHERE text IN (?,?))", (known, UNKNOWN)


def _has_name(column: str, name: str) -> Iterator[_Condition]:
    text = within(name)
    if text is not None:
        yield f"{column} IN (SELECT id FROM name WHERE instr(text,?)>0 OR text=?)", (text, UNKNOWN)
    else:
        yield f"{column} IS NOT NULL", ()


def _of_user(query: RunQuery, connection: sqlite3.Connection) -> tuple[_Condition, bool]:
    """Return the condition for the user, and whether there are pseudonyms under other keys, whose runs are counted."""
    forms = [form for form in query.user_ids if is_storable(form)]
    own = sorted({key for form in query.user_ids if (key := key_id_of(form)) is not None})
    others = f"{_PSEUDONYMS} AND substr(text,6,8) NOT IN ({','.join('?' * len(own))})"
    has_others = connection.execute(f"SELECT 1 FROM name WHERE {others} LIMIT 1", own).fetchone() is not None
    names = f"text=? OR text IN ({','.join('?' * len(forms))})" + (f" OR {others}" if has_others else "")
    condition = f"user IN (SELECT id FROM name WHERE {names})"
    return (condition, (UNKNOWN, *forms, *(own if has_others else ()))), has_others


def _has_id(begin: str) -> _Condition:
    """Return the condition that the id of a run, or of its trace, begins with a text."""
    conditions, arguments = [], list[Any]()
    digits = begin[:_TRACE_ID_DIGITS]
    if _HEX.issuperset(digits):
        conditions.append("trace IN (SELECT id FROM trace WHERE trace_id BETWEEN ? AND ?)")
        arguments += [bytes.fromhex(digits.ljust(_TRACE_ID_DIGITS, filler)) for filler in "0f"]
    if within(begin) is not None:
        conditions.append("trace IN (SELECT trace FROM run_id WHERE text >= ? AND text < ?)")
        arguments += [begin, begin + chr(0x10FFFF)]
    return " OR ".join(conditions) or "1", tuple(arguments)


def _in_64_bits(number: int) -> int:
    return min(max(number, -_LARGEST - 1), _LARGEST)
