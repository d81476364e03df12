import json

import pytest

from otel_agent_trace.metrics import compute_metrics
from otel_agent_trace.model import RunStatus, StepError, StepKind, Usage
from otel_agent_trace.reading import load_runs


@pytest.fixture
def mixed_runs(write_runs, make_run, make_step, weather_run):
    model = make_step(
        0, StepKind.MODEL, "gpt-4o", 0, 500, model="gpt-4o", usage=Usage(input_tokens=100, output_tokens=20)
    )
    failed = make_step(1, StepKind.TOOL, "search", 0, 250, error=StepError(type="TimeoutError", message="too slow"))
    return write_runs(
        [
            weather_run,
            make_run("one", 10, agent_name="travel", steps=(model, failed)),
            make_run("two", 7200, status=RunStatus.ERROR, error=StepError(type="ValueError", message="bad city")),
        ]
    )


def test_json_is_the_report(run_command, mixed_runs):
    """`--json` writes what `compute_metrics` says of the same runs."""
    shown = json.loads(run_command("metrics", "--json", "--bucket", "1h").out)
    assert shown == json.loads(json.dumps(compute_metrics(load_runs(mixed_runs), bucket="1h").to_dict()))


def test_tables(run_command, mixed_runs):
    """People see success, tools, models, agents, errors and, with buckets, the course of time."""
    shown = run_command("metrics", "--bucket", "1h").out
    assert shown.startswith("3 runs  66.7% succeeded")
    for text in ("forecast", "1 (100%)", "gpt-4o", "travel", "bad city", "TimeoutError", "2026-11-24 01:00"):
        assert text in shown


def test_filters_apply(run_command, mixed_runs):
    """Only the runs that fit are measured."""
    assert json.loads(run_command("metrics", "--json", "--agent", "travel").out)["runs"] == 1
    assert json.loads(run_command("metrics", "--json", "--status", "error").out)["runs"] == 1


@pytest.mark.parametrize("width", [40, 80, 160])
def test_fits_every_width(run_command, mixed_runs, monkeypatch, width):
    """No line is longer than the terminal is wide."""
    monkeypatch.setenv("COLUMNS", str(width))
    assert max(map(len, run_command("metrics", "--bucket", "1h").out.splitlines())) <= width


def test_no_runs(run_command, mixed_runs):
    """Figures of no runs are no failure."""
    result = run_command("metrics", "--agent", "nobody")
    assert (result.code, result.out.splitlines()[0]) == (0, "0 runs")


def test_no_column_without_a_figure(run_command, write_runs, make_run):
    """Where no run tells its tokens, no column is spent on them."""
    write_runs([make_run("run")])
    assert "tokens" not in run_command("metrics", "--bucket", "1h").out
