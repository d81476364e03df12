"""Read spans from ClickHouse, out of the table that the Collector's `clickhouseexporter` writes."""

from __future__ import annotations

from otel_agent_trace.sources.clickhouse.source import ClickHouseSource

__all__ = ["ClickHouseSource"]
