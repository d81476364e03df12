"""Figures over the runs of a file: success rate, latency, tools, errors.

Run it:  python examples/metrics.py FILE [--time-series]
Make a file with examples/instrumented_agent.py.
"""

from __future__ import annotations

import argparse
import sys

from otel_agent_trace import compute_metrics, iter_runs
from otel_agent_trace.errors import AgentTraceError
from otel_agent_trace.metrics import MetricsReport


def print_report(report: MetricsReport) -> None:
    figures = report.to_dict()
    print(f"runs: {figures['runs']} ({figures['success']} succeeded, {figures['errors']} failed)")
    print(f"success rate: {percent(report.success_rate)}")
    print(f"latency: {figures['latency']}")
    print(f"tokens: {figures['tokens']}")
    for name, tool in report.tools.items():
        print(f"tool {name!r}: {tool}")
    for error in figures["error_messages"]:
        print(f"error {error['type']!r}, {error['count']} times: {error['message']!r}")


def print_series(report: MetricsReport) -> None:
    for bucket in report.series:
        print(bucket)


def percent(share: float | None) -> str:
    return "no finished run" if share is None else f"{share:.1%}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Figures over the runs of a file.")
    parser.add_argument("file")
    parser.add_argument("--time-series", action="store_true", help="hour by hour as well")
    arguments = parser.parse_args()
    try:
        report = compute_metrics(iter_runs(arguments.file), bucket="1h" if arguments.time_series else None)
    except AgentTraceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not report.runs:
        print(f"error: no runs in {arguments.file}", file=sys.stderr)
        return 2
    print_report(report)
    print_series(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
