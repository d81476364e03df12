"""Lay a report out as one long table, with a row for each thing that has figures, and the figures as columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from otel_agent_trace.extras import needed_by
from otel_agent_trace.metrics import figures
from otel_agent_trace.metrics.report_figures import ReportFigures

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_TEXTS = ("table", "name", "score")
_START = "start"
_KINDS: tuple[type[msgspec.Struct], ...] = (
    figures.AgentMetrics,
    figures.ToolMetrics,
    figures.ModelMetrics,
    figures.ScoreMetrics,
)
_Figures = msgspec.Struct
_Row = dict[str, Any]


def to_arrow(report: ReportFigures) -> pa.Table:
    """Return a report as a table of pyarrow.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    with needed_by("to_arrow", "parquet"):
        import pyarrow as pa  # noqa: PLC0415 - an extra
    texts = [pa.field(name, pa.string()) for name in _TEXTS]
    numbers = [pa.field(name, pa.float64()) for name in _number_columns()]
    schema = pa.schema([*texts, pa.field(_START, pa.timestamp("us", tz="UTC")), *numbers])
    return pa.Table.from_pylist(list(_rows(report)), schema=schema)


def to_pandas(report: ReportFigures) -> pd.DataFrame:
    """Return a report as a data frame of pandas.

    Raises:
        ConfigurationError: pandas is not installed.
    """
    with needed_by("to_pandas", "pandas"):
        import pandas as pd  # noqa: PLC0415 - an extra
    rows = list(_rows(report))
    texts = {name: pd.Series([row.get(name) for row in rows], dtype="object") for name in _TEXTS}
    start = pd.Series(pd.to_datetime([row.get(_START) for row in rows], utc=True)).astype("datetime64[us, UTC]")
    numbers = {name: pd.Series([row.get(name) for row in rows], dtype="float64") for name in _number_columns()}
    return pd.DataFrame({**texts, _START: start, **numbers})


def _rows(report: ReportFigures) -> Iterator[_Row]:
    yield {"table": "total", **_numbers(report.outcomes)}
    tables: dict[str, Mapping[str, _Figures]] = {
        "agents": report.agents,
        "tools": report.tools,
        "models": report.models,
    }
    for table, items in tables.items():
        yield from ({"table": table, "name": name, **_numbers(item)} for name, item in items.items())
    yield from _score_rows("scores", None, report.scores)
    for key, groups in report.by.items():
        for name, group in groups.items():
            yield {"table": f"by {key}", "name": name, **_numbers(group)}
            yield from _score_rows(f"scores by {key}", name, group.scores)
    for bucket in report.series:
        yield {"table": "series", _START: bucket.start, **_numbers(bucket)}


def _score_rows(table: str, name: str | None, scores: Mapping[str, _Figures]) -> Iterator[_Row]:
    for score, item in scores.items():
        yield {"table": table, "name": name, "score": score, **_numbers(item)}


def _numbers(item: _Figures, prefix: str = "") -> dict[str, float | None]:
    """Return the numbers in figures by column: those of latencies after their name, the ends of intervals before theirs."""
    found: dict[str, float | None] = {}
    for field in item.__struct_fields__:
        value = getattr(item, field)
        if isinstance(value, msgspec.Struct):
            found |= _numbers(value, "" if isinstance(value, figures.Tokens) else f"{field}_")
        elif field.endswith(("_interval", "_interval_s")):
            low, high = (None, None) if value is None else value
            found |= {f"{prefix}{field}_low": low, f"{prefix}{field}_high": high}
        elif not isinstance(value, dict | datetime | tuple) and field != _START:
            found[f"{prefix}{field}"] = None if value is None else float(value)
    return found


def _number_columns() -> list[str]:
    """Return the columns of all figures that there may be, in the same order for every report."""
    return list(dict.fromkeys(name for kind in _KINDS for name in _numbers(kind())))
