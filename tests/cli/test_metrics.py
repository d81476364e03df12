import json

import pytest

from otel_agent_trace.metrics import compute_metrics
from otel_agent_trace.model import RunStatus, Score, StepError, StepKind, Usage
from otel_agent_trace.reading import load_runs
from otel_agent_trace.sampling import DroppedTraces
from otel_agent_trace.sources.files import FilesSource


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


@pytest.fixture
def scored_runs(write_runs, make_run):
    """Two runs of a first version of a prompt, and one of a second."""
    helpful = [
        Score(name="helpful", value=value, label=label) for value, label in ((0.5, "so-so"), (1, None), (True, None))
    ]
    return write_runs(
        [
            make_run(f"run {number}", number, prompt_version=version, scores=(helpful[number],))
            for number, version in enumerate(["v1", "v1", "v2"])
        ]
    )


def test_scores_and_groups(run_command, scored_runs):
    """People see the scores by name, and those of each group, with their intervals."""
    shown = run_command("metrics", "--by", "prompt_version").out
    tables = [[line.split() for line in table.splitlines()] for table in shown.split("\n\n")[1:]]
    assert tables[0][0] == ["scores", "runs", "scores", "mean", "95%", "sure", "min", "max", "labels"]
    assert tables[0][1][:6] == ["helpful", "3", "3", "100%", "true,", "0.75"]
    assert [row[:3] for row in tables[1]] == [
        ["prompt_version", "runs", "success"],
        ["v1", "2", "100%"],
        ["v2", "1", "100%"],
    ]
    assert [row[:5] for row in tables[2][1:]] == [
        ["helpful", "v1", "2", "2", "0.75"],
        ["helpful", "v2", "1", "1", "100%"],
    ]
    assert "1 so-so" in shown


def test_json_has_the_groups(run_command, scored_runs):
    shown = json.loads(run_command("metrics", "--json", "--by", "score:helpful", "--score", "helpful>=1").out)
    assert shown["by"] == {"score:helpful": shown["groups"]}
    assert {name: group["runs"] for name, group in shown["groups"].items()} == {"1": 1, "true": 1}
    assert shown == json.loads(
        json.dumps(compute_metrics(load_runs(scored_runs, score="helpful>=1"), by="score:helpful").to_dict())
    )


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_groups_fit_every_width(run_command, scored_runs, monkeypatch, width):
    """Also where the key is long."""
    monkeypatch.setenv("COLUMNS", str(width))
    for by in ("prompt_version", f"metadata.{'x' * 100}"):
        assert max(map(len, run_command("metrics", "--by", by).out.splitlines())) <= width


def test_a_wrong_key_is_one_line_that_lists_the_keys(run_command, scored_runs):
    result = run_command("metrics", "--by", "colour")
    assert (result.code, result.out, len(result.err.splitlines())) == (2, "", 1)
    assert "error: by must be one of agent, model, " in result.err
    assert "metadata.KEY, resource.KEY, score:NAME, got 'colour'" in result.err


def test_no_runs(run_command, mixed_runs):
    """Figures of no runs are no failure."""
    result = run_command("metrics", "--agent", "nobody")
    assert (result.code, result.out.splitlines()[0]) == (0, "0 runs")


def test_no_column_without_a_figure(run_command, write_runs, make_run):
    """Where no run tells its tokens, no column is spent on them."""
    write_runs([make_run("run")])
    assert "tokens" not in run_command("metrics", "--bucket", "1h").out


@pytest.fixture
def sampled_runs(write_runs, make_run, make_step):
    """40 of 400 runs that succeeded, and all 10 that failed."""
    failed = make_step(1, StepKind.TOOL, "search", 0, 250, error=StepError(type="TimeoutError", message="too slow"))
    kept = [make_run(f"run {number}", number, sampling_probability=0.1, steps=(failed,)) for number in range(40)]
    return write_runs([*kept, *[make_run(f"bad {n}", 100 + n, status=RunStatus.ERROR) for n in range(10)]])


def test_a_sample_is_shown_as_one(run_command, sampled_runs):
    """People see how many runs were read, the figures of all, and in how far they are known."""
    shown = run_command("metrics", "--bucket", "1m").out
    assert shown.startswith("410 runs  97.6% succeeded")
    assert " ".join(shown.split()).count("sample 50 runs, each weighed by 1/p 95% sure of all runs 96.") == 1
    assert "s or more" in shown  # of the 95th percentile: no more than five kept runs are beyond it
    rows = [line.split() for line in shown.splitlines()]
    assert ["tools", "calls", "errors", "95%", "sure", "p50", "p95", "max"] in rows
    assert "too few 0%" in shown


def test_too_few_kept_runs_are_shown_as_such(run_command, sampled_runs):
    few = run_command("metrics", "--until", "2026-11-23T23:03:30Z").out
    assert "10 runs, each weighed by 1/p; too few" in few


def test_all_runs_are_shown_as_no_sample(run_command, sampled_runs):
    """Those that failed were all kept."""
    shown = run_command("metrics", "--status", "error").out
    assert shown.startswith("10 runs")
    assert "sample" not in shown
    assert "too few" not in shown


def test_numbers_are_exact_where_the_sampler_counted(run_command, sampled_runs, monkeypatch):
    """What a source counted as dropped is counted, unless a filter leaves out some of it and nobody knows how much."""
    counts = [DroppedTraces("weather", "success", 1_795_474_800_000_000_000, 350), DroppedTraces("b", "error", 0, 6)]
    monkeypatch.setattr(FilesSource, "dropped", lambda _: counts, raising=False)

    def runs(*filters):
        return json.loads(run_command("metrics", "--json", *filters).out)["runs"]

    assert runs() == 50 + 356
    assert runs("--agent", "weather") == 50 + 350
    assert runs("--status", "success") == 40 + 350
    assert runs("--status", "error") == 10 + 6
    assert runs("--since", "2026-11-23T23:00:00Z") == 50 + 350
    assert runs("--until", "2026-11-24T00:00:00Z") == 50 + 356
    assert runs("--since", "2026-11-23T23:00:01Z") == 410
    assert runs("--tool", "search") == 400
    assert runs("--agent", "weather", "--until", "2026-11-23T23:00:00Z") == 0
