"""A report as one long table, for pandas and for pyarrow."""

from __future__ import annotations

import math
import sys
from datetime import datetime, timezone
from typing import Any

import pandas as pd
import pytest

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.metrics import MetricsReport, compute_metrics
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, Score, StepKind, Usage

S = 1_000_000_000
NOON = datetime(2026, 5, 4, 12, tzinfo=timezone.utc)


@pytest.fixture
def report() -> MetricsReport:
    start = int(NOON.timestamp()) * S
    usage = Usage(input_tokens=10, output_tokens=5)
    times: dict[str, Any] = {"started_at_ns": start, "ended_at_ns": start + 2 * S}
    steps = (AgentStep(name="search", **times), AgentStep(kind=StepKind.MODEL, model="m", usage=usage, **times))
    run = AgentRun(
        run_id="r",
        agent_name="weather",
        status=RunStatus.SUCCESS,
        steps=steps,
        scores=(Score(name="helpful", value=0.5),),
        resource={"service.version": "1.2"},
        **times,
    )
    return compute_metrics([run], bucket="1h", by=["version", "user"])


def test_each_thing_with_figures_has_a_row(report: MetricsReport) -> None:
    """Table, name, score and start are their keys."""
    frame = report.to_pandas()
    keys = frame[["table", "name", "score"]].itertuples(index=False, name=None)
    assert list(keys) == [
        ("total", None, None),
        ("agents", "weather", None),
        ("tools", "search", None),
        ("models", "m", None),
        ("scores", None, "helpful"),
        ("by version", "1.2", None),
        ("scores by version", "1.2", "helpful"),
        ("by user", "(none)", None),
        ("scores by user", "(none)", "helpful"),
        ("series", None, None),
    ]
    assert [start for start in frame["start"] if start is not pd.NaT] == [NOON]


def test_figures_are_columns(report: MetricsReport) -> None:
    """They are those of the report, and missing where a row has no such figure."""
    rows = report.to_pandas().set_index("table")
    total, model = rows.loc["total"], rows.loc["models"]
    assert (total["runs"], total["success_rate"], total["latency_p95_s"], total["input_tokens"]) == (1, 1, 2, 10)
    assert (total["success_interval_low"], total["success_interval_high"]) == report.success_interval
    assert (model["calls"], model["tokens_per_s"], model["total_tokens"]) == (1, 2.5, 15)
    assert (rows.loc["scores"]["mean"], rows.loc["scores by version"]["mean"]) == (0.5, 0.5)
    assert math.isnan(total["calls"])
    assert math.isnan(rows.loc["scores"]["mean_interval_low"])


def test_every_report_has_the_same_columns(report: MetricsReport) -> None:
    """Names and types do not depend on what was counted, so that frames can be put together."""
    frame, empty = report.to_pandas(), MetricsReport().to_pandas()
    assert frame.dtypes.equals(empty.dtypes)
    assert report.to_arrow().schema == MetricsReport().to_arrow().schema
    assert len(pd.concat([frame, empty])) == len(frame) + 1
    numbers = frame.dtypes.drop(["table", "name", "score", "start"])
    assert set(map(str, numbers)) == {"float64"}


def test_every_figure_has_a_column(report: MetricsReport) -> None:
    """No row has a number that the columns, which are fixed, leave out."""
    from otel_agent_trace.metrics.frames import _number_columns, _rows

    keys = {"table", "name", "score", "start"}
    assert {name for row in _rows(report) for name in row} - keys == set(_number_columns())


def test_arrow_has_the_same_rows(report: MetricsReport) -> None:
    """The two differ in nothing but the package, missing values included."""
    frame, table = report.to_pandas(), report.to_arrow()
    assert table.schema.names == list(frame.columns)
    expected = frame.astype(object).where(frame.notna(), None).to_dict("records")
    assert table.to_pylist() == [{**row, "start": row["start"] and row["start"].to_pydatetime()} for row in expected]


@pytest.mark.parametrize(
    ("package", "method", "advice"),
    [
        ("pandas", "to_pandas", r"otel-agent-trace\[pandas\]"),
        ("pyarrow", "to_arrow", r"pip install 'otel-agent-trace\[parquet\]'"),
    ],
)
def test_a_missing_package_is_named(
    report: MetricsReport, monkeypatch: pytest.MonkeyPatch, package: str, method: str, advice: str
) -> None:
    """The error has the command that installs it."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=advice):
        getattr(report, method)()
