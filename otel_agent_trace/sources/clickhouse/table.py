"""Read the traces of one table: list their ids, find out which may be selected, and fetch their spans."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

from otel_agent_trace.errors import SourceError
from otel_agent_trace.formats.clickhouse_rows import COLUMNS, NotSpanError, RowReader, is_trace_id
from otel_agent_trace.sources.clickhouse.address import ClickHouseAddress
from otel_agent_trace.sources.clickhouse.conditions import Condition
from otel_agent_trace.sources.clickhouse.connection import Connection, Row, quoted
from otel_agent_trace.sources.clickhouse.paging import NS_PER_S, Listed, Page, Times
from otel_agent_trace.span import Problem, SpanRecord

Traces = dict[str, list[SpanRecord]]
_FIRST_NS, _LAST_NS = "toUnixTimestamp64Nano(min(Timestamp))", "toUnixTimestamp64Nano(max(Timestamp))"
_MOMENT = "fromUnixTimestamp64Nano({{{}:Int64}})"
_BETWEEN = f"Timestamp >= {_MOMENT.format('begin_ns')} AND Timestamp <= {_MOMENT.format('end_ns')}"
_TEXT_MAP = "Map("
_TIMES_SUFFIX = "_trace_id_ts"


class TooMuchError(Exception):
    """Report that traces have more bytes than may be held at once."""


class TraceTable:
    """Read the table with the spans, for one reading.

    Args:
        connection: the connection to the server.
        address: its address.
        services: the services of which one must take part in a trace; empty for all.
        on_problem: called with each `Problem`.
    """

    def __init__(
        self,
        connection: Connection,
        address: ClickHouseAddress,
        services: Sequence[str],
        on_problem: Callable[[Problem], None],
    ) -> None:
        self._connection, self._address, self._on_problem = connection, address, on_problem
        self._table = connection.table
        self._times_table: str | None = None
        self._selection, self._parameters = "", dict[str, Any]()
        self._has_bad_rows = False
        if services:
            self._selection = (
                f" AND TraceId IN (SELECT TraceId FROM {self._table} WHERE ServiceName IN {{services:Array(String)}})"
            )
            self._parameters = {"services": [service.encode("utf-8", "replace").decode() for service in services]}

    def times(self) -> Times | None:
        """Return the times of all spans; None for a table without rows.

        Raises:
            SourceError: there is no such table, or it is not as the exporter makes it.
        """
        statement = (
            f"SELECT {_FIRST_NS}, {_LAST_NS}, (SELECT toTypeName(SpanAttributes) FROM {self._table} LIMIT 1),"
            " (SELECT count() FROM system.tables WHERE database = {database:String} AND name = {name:String})"
            f" FROM {self._table}"
        )
        name = self._address.table + _TIMES_SUFFIX
        found = self._connection.rows(statement, {"database": self._address.database, "name": name})
        [(first_ns, last_ns, kind, has_times)] = found
        if kind is None:
            return None
        if not kind.startswith(_TEXT_MAP):
            raise SourceError(
                f"{self._address.name}: the table {self._address.table!r} holds attributes as {kind}, which cannot be "
                "read; the exporter's tables without its option json can"
            )
        self._times_table = quoted(name) if has_times else None
        return Times(first_ns, last_ns)

    def listed(self, begin_ns: int, end_ns: int, limit: int) -> list[Listed]:
        """Return the traces with a span that started in a window, those with the latest start in it first."""
        statement = (
            f"SELECT TraceId, {_LAST_NS} AS latest_ns FROM {self._table} WHERE {_BETWEEN}{self._selection}"
            " GROUP BY TraceId ORDER BY latest_ns DESC, TraceId LIMIT {limit:UInt64}"
        )
        window = {"begin_ns": begin_ns, "end_ns": end_ns, "limit": limit}
        return [Listed(*row) for row in self._connection.rows(statement, {**self._parameters, **window})]

    def of_run(self, condition: Condition, most: int) -> list[str]:
        """Return the traces with a span that fulfils a condition, up to a number, those with the latest start first."""
        statement = (
            f"SELECT TraceId, {_LAST_NS} AS latest_ns FROM {self._table} WHERE ({condition.sql}){self._selection}"
            " GROUP BY TraceId ORDER BY latest_ns DESC, TraceId LIMIT {limit:UInt64}"
        )
        parameters = {**self._parameters, **condition.parameters, "limit": most}
        return [trace_id for trace_id, _ in self._connection.rows(statement, parameters)]

    def page(self, trace_ids: Sequence[str]) -> Page:
        """Return traces with their times; without those whose ids are invalid, which is reported once."""
        valid = self._valid(trace_ids)
        found = self._times_by_seconds(valid) if self._times_table is not None else {}
        if len(found) < len(valid):
            statement = (
                f"SELECT TraceId, {_FIRST_NS}, {_LAST_NS} FROM {self._table} WHERE {_is_one_of(valid)} GROUP BY TraceId"
            )
            found = {trace_id: Times(*times) for trace_id, *times in self._connection.rows(statement)}
        return {trace_id: found[trace_id] for trace_id in valid if trace_id in found}

    def _times_by_seconds(self, trace_ids: Sequence[str]) -> Page:
        """Return times by the table that the exporter makes for that, which has seconds; traces may be missing there."""
        statement = (
            "SELECT TraceId, toUnixTimestamp(min(Start)), toUnixTimestamp(max(End)) "
            f"FROM {self._times_table} WHERE {_is_one_of(trace_ids)} GROUP BY TraceId"
        )
        return {
            trace_id: Times(first_s * NS_PER_S, (last_s + 1) * NS_PER_S)
            for trace_id, first_s, last_s in self._connection.rows(statement)
        }

    def fulfilling(self, condition: Condition, page: Page) -> Page:
        """Return those of the traces that fulfil a condition."""
        where, parameters = _of_page(page)
        statement = f"SELECT TraceId FROM {self._table} WHERE {where} GROUP BY TraceId HAVING {condition.sql}"
        rows = self._connection.rows(statement, {**parameters, **condition.parameters})
        found = {trace_id for (trace_id,) in rows}
        return {trace_id: times for trace_id, times in page.items() if trace_id in found}

    def spans(self, page: Page, most_bytes: int) -> Traces:
        """Return the spans of traces, in the order of the page; without traces that are gone.

        Raises:
            TooMuchError: they have more bytes than may be held.
        """
        where, parameters = _of_page(page)
        statement = f"SELECT {', '.join(COLUMNS)} FROM {self._table} WHERE {where}"
        traces: Traces = {trace_id: [] for trace_id in page}
        reader, size = RowReader(), 0
        with closing(self._connection.blocks(statement, parameters)) as blocks:
            for block in blocks:
                for row in block:
                    size += _size_of(row)
                    if size > most_bytes:
                        raise TooMuchError
                    self._add(traces, reader, row)
        return {trace_id: sorted(spans, key=_age) for trace_id, spans in traces.items() if spans}

    def _add(self, traces: Traces, reader: RowReader, row: Row) -> None:
        try:
            record = reader.record(row)
        except NotSpanError as error:
            self._on_problem(Problem(self._address.name, 0, f"a row is no span: {error}"))
        else:
            traces[record.trace_id].append(record)

    def _valid(self, trace_ids: Sequence[str]) -> list[str]:
        """Return the ids that are ids of traces; others are reported once."""
        valid = [*filter(is_trace_id, trace_ids)]
        if len(valid) < len(trace_ids) and not self._has_bad_rows:
            self._has_bad_rows = True
            self._on_problem(Problem(self._address.name, 0, "rows without a trace id of 32 hex digits"))
        return valid


def _of_page(page: Page) -> tuple[str, dict[str, int]]:
    """Return the condition for the rows of traces, and its parameters."""
    first_ns = min((times.first_ns for times in page.values()), default=0)
    last_ns = max((times.last_ns for times in page.values()), default=0)
    return f"{_is_one_of(page)} AND {_BETWEEN}", {"begin_ns": first_ns, "end_ns": last_ns}


def _is_one_of(trace_ids: Iterable[str]) -> str:
    """Return the condition for the rows of traces; their ids have hex digits only, which need no escapes.

    As parameters they would stand in the URL, of which proxies take a few thousand bytes.
    """
    return f"TraceId IN ({', '.join(map(repr, trace_ids))})" if trace_ids else "false"


def _age(span: SpanRecord) -> tuple[int, str]:
    return span.start_ns, span.span_id


def _size_of(row: Row) -> int:
    """Return about how many bytes a row takes in memory."""
    return sum(map(_size, row))


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value) + 50
    if isinstance(value, Mapping):
        return sum(len(key) + len(text) + 150 for key, text in value.items())
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 32
