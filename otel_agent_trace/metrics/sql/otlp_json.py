"""Count the runs of our own tracer in files of OTLP JSON Lines by DuckDB."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.metrics.sql.dialects import DUCKDB
from otel_agent_trace.metrics.sql.own_spans import (
    MAY_RESUME,
    ODD_TRACE,
    REPEATING,
    SAMPLED_STATE,
    TEXT_ATTRIBUTES,
    facts_of,
    for_steps,
    runs_of,
    steps_of,
)
from otel_agent_trace.metrics.sql.parquet import choose, count, key_of
from otel_agent_trace.metrics.sql.span_prices import CALLED, COST, rates_of_calls
from otel_agent_trace.metrics.strata import Strata
from otel_agent_trace.prices import Prices
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources.parquet.conditions import condition_of
from otel_agent_trace.sources.parquet.packages import duckdb
from otel_agent_trace.store.lines import MAX_LINE_BYTES

_GROUPS = frozenset({"agent", "model", "user_id", "session_id", "service", "status", "environment"})
"""Keys of groups that these statements have."""
_NO_FILTERS = frozenset({"tag", "run_id"})
"""Filters beside those of `condition_of` that these statements do not have."""

_ATTRIBUTES = (
    'STRUCT("key" VARCHAR, "value" STRUCT("stringValue" VARCHAR, "intValue" VARCHAR, "doubleValue" DOUBLE,'
    ' "boolValue" BOOLEAN))[]'
)
_SPAN = (
    'STRUCT("traceId" VARCHAR, "spanId" VARCHAR, "parentSpanId" VARCHAR, "traceState" VARCHAR, "startTimeUnixNano" VARCHAR,'
    f' "endTimeUnixNano" VARCHAR, attributes {_ATTRIBUTES}, "status" STRUCT(code VARCHAR, message VARCHAR),'
    ' events STRUCT("name" VARCHAR)[])'
)
_LINE = (
    f'STRUCT(resource STRUCT(attributes {_ATTRIBUTES}), "scopeSpans" STRUCT("scope" STRUCT("name" VARCHAR,'
    f" attributes {_ATTRIBUTES}), spans {_SPAN}[])[])[]"
)
_LINES = (
    "SELECT \"resourceSpans\" AS lines FROM read_json($files, format = 'newline_delimited',"
    f" columns = {{'resourceSpans': '{_LINE}'}}, maximum_object_size = {MAX_LINE_BYTES})"
)
_SPANS = (
    "SELECT resource, scope_span.scope AS scope, unnest(scope_span.spans) AS span FROM"
    ' (SELECT line.resource AS resource, unnest(line."scopeSpans") AS scope_span FROM'
    f" (SELECT unnest(lines) AS line FROM ({_LINES})))"
)
_TEXT = (
    '{{\'key\': each."key", \'value\': coalesce(each."value"."stringValue", each."value"."intValue",'
    ' each."value"."doubleValue"::VARCHAR, each."value"."boolValue"::VARCHAR)}}'
)
_MAP = f"map_from_entries([{_TEXT} for each in coalesce({{0}}, [])])"
_KEYS_OF_TEXTS = ", ".join(f"'{key}'" for key in sorted(TEXT_ATTRIBUTES))
_KEYS_OF_COUNTS = ", ".join(f"'{key}'" for key in sorted(semconv.USAGE.values()))
_HAS_ODD_TYPE = (
    "len([each for each in coalesce(span.attributes, []) if"
    f' (each."value"."stringValue" IS NULL AND each."key" IN ({_KEYS_OF_TEXTS}))'
    f' OR (each."value"."intValue" IS NULL AND each."key" IN ({_KEYS_OF_COUNTS}))'
    f' OR (each."value"."doubleValue" IS NULL AND each."key" = \'{semconv.SAMPLING_PROBABILITY}\')]) > 0'
)
_IS_NEWER = (
    f"len([each for each in coalesce(scope.attributes, []) if each.\"key\" = '{semconv.FORMAT}'"
    f' AND each."value"."intValue" <> \'{semconv.FORMAT_NUMBER}\']) > 0'
)
_IS_SAMPLED = f"regexp_matches(coalesce(span.\"traceState\", ''), '{SAMPLED_STATE}')"
_RAW = (
    'SELECT span."traceId" AS trace_id, span."spanId" AS span_id, coalesce(span."parentSpanId", \'\') AS parent_span_id,'
    ' TRY_CAST(span."startTimeUnixNano" AS BIGINT) AS start_ns, TRY_CAST(span."endTimeUnixNano" AS BIGINT) AS end_ns,'
    " coalesce(scope.name, '') AS scope_name, coalesce(span.status.code, '') IN ('2', 'STATUS_CODE_ERROR') AS is_error,"
    " coalesce(span.status.message, '') AS status_message,"
    f" {_MAP.format('span.attributes')} AS attributes, {_MAP.format('resource.attributes')} AS of_resource,"
    " len([each for each in coalesce(span.events, [])"
    f" if starts_with(each.name, '{semconv.EVALUATION_EVENTS}')]) > 0 AS has_scores,"
    f" len([each for each in coalesce(span.events, []) if each.name = '{semconv.EXCEPTION_EVENT}']) > 0 AS has_exception,"
    f" ({_HAS_ODD_TYPE} OR {_IS_NEWER} OR {_IS_SAMPLED}) AS is_odd FROM ({_SPANS})"
)
_ENVIRONMENT = ", ".join(f"map_extract(of_resource, '{key}')[1]" for key in semconv.ENVIRONMENTS)
_OF_PROGRAM = (
    f"SELECT *, map_extract(of_resource, '{semconv.SERVICE_NAME}')[1] AS service_name,"
    f" coalesce({_ENVIRONMENT}) AS environment"
    f" FROM ({_RAW})"
)
_MISPLACED = (
    "SELECT span.trace_id FROM facts AS span LEFT JOIN facts AS above ON above.trace_id = span.trace_id"
    " AND above.span_id = span.parent_span_id WHERE span.parent_span_id <> ''"
    " AND (above.span_id IS NULL OR above.start_ns >= span.start_ns OR above.kind = 'model')"
)
_AROUND_CALLS = (
    "SELECT span.trace_id FROM facts AS span JOIN facts AS above ON above.trace_id = span.trace_id"
    " AND above.span_id = span.parent_span_id WHERE (above.kind = 'tool' OR (above.kind = 'agent' AND above.parent_span_id <> ''))"
    " AND span.kind NOT IN ('tool', 'agent')"
)
"""Traces in which tools and sub-agents may have costs: those of the calls below them."""
_REPEATED = "count(DISTINCT span_id) <> count(*)"
_ODD = f"SELECT trace_id FROM facts GROUP BY trace_id HAVING {ODD_TRACE} OR {_REPEATED} UNION {_MISPLACED} UNION {REPEATING}"
_ID = "[0-9a-f]{32}"


def can_count(query: RunQuery, by: Sequence[str]) -> bool:
    """Return whether these statements select the runs of a query, and group them by some keys."""
    is_selected = condition_of(query).is_exact and _NO_FILTERS.isdisjoint(query.given()) and query.limit is None
    return is_selected and _GROUPS.issuperset(by)


class OtlpJsonSpans:
    """Hold the spans of files in a database in memory, to be counted."""

    def __init__(self, connection: Any, prices: Prices) -> None:
        self._connection = connection
        connection.execute(f"CREATE TEMP TABLE odd_traces AS {_ODD}")
        connection.execute(
            f"CREATE TEMP TABLE resuming AS SELECT trace_id FROM facts GROUP BY trace_id HAVING {MAY_RESUME}"
        )
        self._add_rates(prices)

    def odd(self) -> set[str]:
        """Return the ids of the traces that have to be read."""
        return {trace_id for (trace_id,) in self._connection.execute("FROM odd_traces").fetchall()}

    def add_resuming(self) -> bool:
        """Make those that may resume another one odd too; return whether there are any that were not."""
        before = len(self.odd())
        self._connection.execute("INSERT INTO odd_traces FROM resuming WHERE trace_id NOT IN (FROM odd_traces)")
        return len(self.odd()) > before

    def count(self, query: RunQuery, strata: Strata, *, replays: bool) -> None:
        """Count the runs in all other traces that a query selects."""
        connection, condition = self._connection, condition_of(query)
        connection.execute("CREATE TEMP VIEW usual_facts AS FROM priced_facts ANTI JOIN odd_traces USING (trace_id)")
        models = "list_concat(requested_models, answering_models) AS models"
        connection.execute(f"CREATE TEMP TABLE runs AS SELECT *, {models} FROM ({runs_of(DUCKDB)})")
        connection.execute(f"CREATE TEMP VIEW spans AS {steps_of()}")
        choose(
            connection, condition.sql if replays else f"({condition.sql}) AND replay_of IS NULL", condition.parameters
        )
        keys = [key for name in strata.by if (key := key_of(name)) is not None]
        count(connection, strata, keys, for_steps(DUCKDB), with_all=False)

    def _add_rates(self, prices: Prices) -> None:
        """Make ``rates``, and the traces odd of which SQL prices no calls."""
        connection = self._connection
        rates = rates_of_calls(prices, connection.execute(CALLED).fetchall() if prices.version else ())
        columns = {"called": list(rates.by_key), **rates.columns()}
        unnested = ", ".join(
            f"unnest(${name}::{'VARCHAR' if name == 'called' else 'BIGINT'}[]) AS {name}" for name in columns
        )
        connection.execute(f"CREATE TEMP TABLE rates AS SELECT {unnested}", columns)
        connection.execute(
            f"CREATE TEMP VIEW priced_facts AS SELECT facts.*, {COST} AS cost FROM facts LEFT JOIN rates ON called = {rates.key}"
        )
        if rates.by_key:
            connection.execute(f"INSERT INTO odd_traces {_AROUND_CALLS}")
        connection.execute(f"INSERT INTO odd_traces {rates.unfit_traces('$unfit')}", {"unfit": rates.unfit})


@contextmanager
def opened_files(files: Sequence[str], prices: Prices) -> Iterator[OtlpJsonSpans | None]:
    """Yield the spans of files, with the costs of the calls in them; None where a file is not of lines that DuckDB reads.

    Raises:
        ConfigurationError: DuckDB is not installed.
    """
    engine = duckdb()
    with closing(engine.connect(":memory:")) as connection:
        yield OtlpJsonSpans(connection, prices) if _is_read(engine, connection, files) else None


def _is_read(engine: Any, connection: Any, files: Sequence[str]) -> bool:
    """Read the spans of files into ``facts``, and return whether that was possible."""
    parameters = {"files": [glob.escape(file) for file in files]}
    try:
        connection.execute(f"CREATE TEMP TABLE facts AS WITH raw AS ({_OF_PROGRAM}) {facts_of(DUCKDB)}", parameters)
        odd_lines = f'SELECT count(*) FROM ({_LINES}) WHERE lines IS NULL OR len([line for line in lines if line."scopeSpans" IS NULL]) > 0'
        odd_ids = f"SELECT count(*) FROM facts WHERE NOT coalesce(regexp_full_match(trace_id, '{_ID}'), false)"
        lines, ids = (connection.execute(*each).fetchone()[0] for each in ((odd_lines, parameters), (odd_ids,)))
    except (engine.IOException, engine.InvalidInputException, engine.ConversionException):
        return False
    return not lines and not ids
