"""Provide `ClickHouseSource`, a `SpanSource` of the traces in a ClickHouse server."""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.formats.clickhouse_rows import is_trace_id
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources.clickhouse.address import parse_clickhouse_address
from otel_agent_trace.sources.clickhouse.conditions import FILTERS, Condition, condition_of, of_run
from otel_agent_trace.sources.clickhouse.connection import Connection, Options, Row, connected
from otel_agent_trace.sources.clickhouse.paging import MAX_PAGE, Page, Times, TracePages
from otel_agent_trace.sources.clickhouse.table import TooMuchError, TraceTable
from otel_agent_trace.span import Capabilities, Problem, SpanRecord

MAX_HELD_BYTES = 64 << 20
"""Most bytes of spans that are held at once; a single trace may have four times as many."""
_LARGE = 4
_TRACE_ID_DIGITS = 32


class ClickHouseSource:
    """Read spans from the table of the Collector's ``clickhouseexporter`` in a ClickHouse server; a `SpanSource`.

    Args:
        url: the address ``clickhouse://[USER:PASSWORD@]HOST[:8123][/DATABASE]`` with the HTTP port, ``clickhouses://``
            for TLS; with ``?service=NAME`` for the traces in which that service takes part (by default all), and
            ``?table=NAME`` for another table than ``otel_traces``.
        service: the name of the service, instead of that in the address.
        timeout_s: the timeout of one response in seconds.
        verify: whether to check the certificate of the server, or the path of the CA's file to check it with.
        page_traces: the most traces to request at once.
        max_held_bytes: the most bytes of spans that are held in memory at once.
        on_progress: called with the number of traces read and None after each trace.

    Raises:
        SourceError: `url` is not a valid address.
        ConfigurationError: an argument has an invalid value.
    """

    capabilities = Capabilities(filters=FILTERS, newest_first=True)

    def __init__(
        self,
        url: str,
        *,
        service: str | None = None,
        timeout_s: float = 60.0,
        verify: bool | str | os.PathLike[str] = True,
        page_traces: int = MAX_PAGE,
        max_held_bytes: int = MAX_HELD_BYTES,
        on_progress: Callable[[int, int | None], None] | None = None,
    ) -> None:
        if not timeout_s > 0 or page_traces < 1 or max_held_bytes < 1:
            raise ConfigurationError("timeout_s, page_traces and max_held_bytes must be greater than 0")
        self._address = parse_clickhouse_address(url)
        self._services = self._address.services if service is None else (service,)
        self._options = Options(timeout_s, verify if isinstance(verify, bool) else os.fspath(verify))
        self._page_traces, self._max_bytes, self._on_progress = page_traces, max_held_bytes, on_progress
        self._query = RunQuery()

    @property
    def services(self) -> tuple[str, ...]:
        """Return the services of which one takes part in each trace; empty for all."""
        return self._services

    @property
    def name(self) -> str:
        """Return the address without user, password and query."""
        return self._address.name

    def narrowed(self, query: RunQuery) -> ClickHouseSource:
        """Return the same table without traces that have no run which the query selects."""
        services = self._services or (() if query.service is None else (query.service,))
        narrow = copy.copy(self)
        narrow.__dict__.update(_query=query, _services=services)
        return narrow

    def connected(self) -> AbstractContextManager[Connection]:
        """Return a connection to the server for the time of a block.

        Raises:
            SourceError: there is no server, or it denies access.
        """
        return connected(self._address, self._options)

    def query(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Return the rows of a statement, in which ``{name:Type}`` stands for a parameter.

        Raises:
            SourceError: there is no server, it denies access, or the statement cannot be run.
        """
        with self.connected() as connection:
            return connection.rows(statement, parameters)

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace, those with the latest start first.

        Raises:
            SourceError: the server cannot be reached or denies access, or there is no such database or table.
        """
        with self.connected() as connection:
            table = TraceTable(connection, self._address, self._services, on_problem)
            times = table.times()
            if times is None:
                return
            reading = _Reading(table, self._query, self._max_bytes, self._report_large(on_problem))
            for count, spans in enumerate(reading.traces(times, self._page_traces), 1):
                if self._on_progress is not None:
                    self._on_progress(count, None)
                yield spans

    def traces_of(self, trace_ids: Iterable[str], on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of the traces with some ids.

        Raises:
            SourceError: as for `traces`.
        """
        rest = iter(trace_ids)
        with self.connected() as connection:
            table = TraceTable(connection, self._address, (), on_problem)
            if table.times() is None:
                return
            reading = _Reading(table, RunQuery(), self._max_bytes, self._report_large(on_problem))
            while some := [*itertools.islice(rest, self._page_traces)]:
                yield from reading.fetched(table.page(some))

    def _report_large(self, on_problem: Callable[[Problem], None]) -> Callable[[str], None]:
        size = f"{self._max_bytes * _LARGE:,} bytes"
        return lambda trace_id: on_problem(Problem(self.name, 0, f"trace {trace_id} has more than {size}"))


class _Reading:
    """Read the traces of a table that a query may select."""

    def __init__(self, table: TraceTable, query: RunQuery, max_bytes: int, on_large: Callable[[str], None]) -> None:
        self._table, self._query, self._max_bytes, self._on_large = table, query, max_bytes, on_large
        self._at_once = MAX_PAGE

    def traces(self, times: Times, page_traces: int) -> Iterator[list[SpanRecord]]:
        """Yield the traces that are selected, by run id if possible, else page by page."""
        found = self._of_run(page_traces)
        condition = condition_of(self._query)
        for page in self._pages(times, page_traces) if found is None else [self._table.page(found)]:
            selected = page if condition is None else self._table.fulfilling(condition, page)
            yield from self.fetched(selected)

    def _pages(self, times: Times, page_traces: int) -> TracePages:
        begin_ns, end_ns = times
        if self._query.since_ns is not None:
            begin_ns = max(begin_ns, self._query.since_ns)
        if self._query.until_ns is not None:
            end_ns = min(end_ns, self._query.until_ns - 1)
        return TracePages(self._table.listed, self._table.page, begin_ns, end_ns, page_traces)

    def _of_run(self, most: int) -> list[str] | None:
        """Return the traces that may have the run of the query; None without a run id, or if they are more than a page."""
        run_id = self._query.run_id
        if not run_id:
            return None
        trace_id = run_id[:_TRACE_ID_DIGITS]
        if is_trace_id(trace_id) and run_id[_TRACE_ID_DIGITS : _TRACE_ID_DIGITS + 1] in {"", "-"}:
            found = self._table.of_run(Condition("TraceId = {trace_id:String}", {"trace_id": trace_id}), 1)
            if found:
                return found
        condition = of_run(run_id)
        found = [] if condition is None else self._table.of_run(condition, most + 1)
        return None if condition is None or len(found) > most else found

    def fetched(self, page: Page) -> Iterator[list[SpanRecord]]:
        """Yield the spans of traces, as many traces at once as fit into memory."""
        rest = list(page.items())
        while rest:
            some = dict(rest[: self._at_once])
            try:
                traces = self._table.spans(some, self._max_bytes * (_LARGE if len(some) == 1 else 1))
            except TooMuchError:
                if len(some) == 1:
                    self._on_large(rest.pop(0)[0])
                self._at_once = max(1, len(some) // 2)
                continue
            del rest[: len(some)]
            self._at_once = min(2 * self._at_once, MAX_PAGE)
            while traces:
                yield traces.pop(next(iter(traces)))
