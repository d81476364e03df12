"""Describe in what engines of SQL differ."""

from __future__ import annotations

from dataclasses import dataclass

from otel_agent_trace.metrics.sketch import LOG_WIDTH


@dataclass(frozen=True)
class Dialect:
    """Hold how an engine spells what statements need; ``{}`` stands for an expression.

    `head` returns the first characters of a text, `wide` is put before integers in parentheses of which a sum could
    overflow, `distinct` counts different values, and `scores` selects the scores of ``chosen_runs``, one a row, where they have some, `unpriced` the
    `model` of each of their calls without a price.
    `whole` makes an integer of a small whole number, by which groups are made faster.
    `attribute` is that of a span with a name, NULL without one; `text` may be NULL also for an empty one; `integer` and `double` are what a text is, NULL if it is
    none; `starts` is whether a text starts with another, and `names` the different values of those that fit a condition.
    `has_key` is whether a span has an attribute with one of some names.
    """

    log: str
    whole: str
    head: str
    wide: str
    distinct: str
    attribute: str
    text: str
    integer: str
    double: str
    starts: str
    names: str
    has_key: str
    unpriced: str
    scores: str = ""

    def bin_of(self, value: str) -> str:
        """Return the bin of a value of a `Distribution`, one of its own for 0."""
        logarithm = self.log.format(f"greatest({value}, 1)")
        return self.whole.format(f"CASE WHEN {value} > 0 THEN ceil({logarithm} / {LOG_WIDTH!r}) ELSE -1 END")

    def name_of(self, value: str, characters: int) -> str:
        """Return as much of a name as tables keep; an empty text where there is none."""
        return self.head.format(f"coalesce({value}, '')", characters)


DUCKDB = Dialect(
    log="ln({})",
    whole="({})::INTEGER",
    head="left({}, {})",
    wide="",
    distinct="count(DISTINCT {})",
    unpriced="SELECT unnest(unpriced) AS model FROM chosen_runs",
    scores=(
        "SELECT run_number, score.name AS score_name, score.value AS score_value, score.is_bool AS is_bool,"
        " score.label AS label FROM (SELECT run_number, unnest(scores) AS score FROM chosen_runs)"
    ),
    attribute="map_extract(attributes, '{}')[1]",
    text="map_extract(attributes, '{}')[1]",
    integer="TRY_CAST({} AS BIGINT)",
    double="TRY_CAST({} AS DOUBLE)",
    starts="starts_with({}, {})",
    has_key="list_has_any(map_keys(attributes), [{}])",
    names="coalesce(list(DISTINCT {}) FILTER (WHERE {}), [])",
)
CLICKHOUSE = Dialect(
    log="log({})",
    whole="{}",
    head="leftUTF8({}, {})",
    wide="toInt128",
    distinct="uniqExact({})",
    attribute="if(mapContains(attributes, '{0}'), attributes['{0}'], NULL)",
    text="nullIf(attributes['{0}'], '')",  # the map is searched once
    integer="toInt64OrNull({})",
    double="toFloat64OrNull({})",
    starts="startsWith({}, {})",
    unpriced="SELECT arrayJoin(unpriced) AS model FROM chosen_runs",
    has_key="arrayExists(name -> name IN ({}), mapKeys(attributes))",
    names="groupUniqArrayIf(assumeNotNull({}), {})",
)
