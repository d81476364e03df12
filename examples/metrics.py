"""Figures over the runs of a file: success rate, latency, tools, errors.

Run it:  python examples/metrics.py FILE [--time-series]
With --time-series, a line for each hour follows. Make a file with examples/instrumented_agent.py.
"""

from __future__ import annotations

import argparse
import sys

from otel_agent_trace import StepError, compute_metrics, iter_runs
from otel_agent_trace.errors import AgentTraceError
from otel_agent_trace.metrics import Latency, MetricsReport

_LISTED_ERRORS = 10


def print_report(report: MetricsReport) -> None:
    print(f"runs: {report.runs} ({report.success} succeeded, {report.errors} failed, {report.timeouts} timed out)")
    print(f"success rate: {percent(report.success_rate)}")
    print(f"latency: {milliseconds(report.latency)}")
    print(f"tokens: {report.tokens.input_tokens} in, {report.tokens.output_tokens} out")
    for name, tool in report.tools.items():
        print(f"tool {name!r}: {tool.calls} calls, {tool.errors} failed, {milliseconds(tool.latency)}")
    for failed, categories in (("runs", report.run_errors), ("steps", report.step_errors)):
        counts = ", ".join(f"{count} {category!r}" for category, count in categories.items())
        print(f"failed {failed} by category: {counts or 'none'}")
    for error in report.error_messages[:_LISTED_ERRORS]:
        text = str(StepError(type=error.type, message=error.message))  # an error given as text is that text
        print(f"error, {error.count} times: {text!r}")


def print_series(report: MetricsReport) -> None:
    for bucket in report.series:
        hour = "earlier" if bucket.start is None else f"{bucket.start:%Y-%m-%d %H:%M}"
        print(f"{hour}  {bucket.runs} runs, {percent(bucket.success_rate)} succeeded, {milliseconds(bucket.latency)}")


def milliseconds(latency: Latency) -> str:
    if latency.p50_s is None or latency.p95_s is None:
        return "nothing finished"
    return f"median {latency.p50_s * 1000:.2f} ms, p95 {latency.p95_s * 1000:.2f} ms"


def percent(share: float | None) -> str:
    return "none of 0" if share is None else f"{share:.1%}"


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
