import json
import re

import msgspec
import pytest

from otel_agent_trace.metrics import compute_metrics
from otel_agent_trace.model import RunStatus, Score, StepError, StepKind, Usage
from otel_agent_trace.reading import load_runs
from otel_agent_trace.sampling import DroppedTraces
from otel_agent_trace.sources.files import FilesSource
from tests.support.model_calls import model_call


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
    assert (
        " ".join(shown.split()).count("sample 50 runs, each weighed by 1/p 95% sure of all runs: success rate 96.") == 1
    )
    assert re.search(
        r"latency .*p95 \S+ \(95% sure: \S+\s+to\s+unknown\), p99", shown, re.DOTALL
    )  # no more than five kept runs are beyond it
    rows = [line.split() for line in shown.splitlines()]
    assert ["tools", "calls", "errors", "95%", "sure", "p50", "p95", "max"] in rows
    assert "too few 0%" in shown


@pytest.mark.parametrize("width", [80, 120])
def test_costs_and_quantiles_of_a_sample_have_their_interval(run_command, write_runs, make_run, monkeypatch, width):
    """People see in how far the dollars and the seconds are known, and what is not known at all."""
    call = model_call("house", input_tokens=1000)
    runs = [make_run(f"run {n}", n, sampling_probability=0.1, steps=(call,)) for n in range(300)]
    timed = [msgspec.structs.replace(run, ended_at_ns=run.started_at_ns + n * 10**6) for n, run in enumerate(runs)]
    write_runs(timed).with_name("p.json").write_text('{"house": {"input": 1000, "output": 0}}')
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run_command("metrics", "--prices", "p.json").out.splitlines()
    assert max(map(len, lines)) <= width
    shown = " ".join(" ".join(lines).split())
    assert re.search(r" p95 28\dms \(95% sure: 27\dms to \d{3}ms\), p99 29\dms", shown)
    assert re.search(r" number 26\d\d to 33\d\d", shown)
    assert re.search(r" 3,000,000 in, 0 out, 3,000,000 in total \(95% sure: 2.7M to 3.3M\)", shown)
    assert " cost $3,000.0000 (95% sure: $2,677.9" in shown
    compared = run_command("metrics", "--prices", "p.json", "--compare", "status=success,error").out
    assert re.search(r"dollars per run +1 +- +- +-", compared)


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


def test_what_no_kept_run_stands_for_is_shown(run_command, write_runs, make_run, monkeypatch):
    """With a window that cuts an hour it is not even known whether it belongs there."""
    write_runs([make_run("bad", 0, status=RunStatus.ERROR, sampling_probability=1.0)])
    counts = [DroppedTraces("weather", "success", 1_795_474_800_000_000_000, 19)]
    monkeypatch.setattr(FilesSource, "dropped", lambda _: counts, raising=False)
    whole, cut = run_command("metrics").out, run_command("metrics", "--until", "2026-11-23T23:30:00Z").out
    assert whole.startswith("20 runs  95% succeeded")
    assert "of all runs: success rate 95% to 95%" in whole
    assert "p95 1.00s (95% sure: unknown), p99" in " ".join(whole.split())
    assert "perhaps" not in whole
    assert cut.startswith("1 run  0% succeeded")
    assert "of all runs: success rate 0% to 95%" in cut
    assert "p95 1.00s (95% sure: unknown), p99" in " ".join(cut.split())
    assert "perhaps 19 more runs" in cut
    assert all("dropped runs that no kept one stands for" in shown for shown in (whole, cut))
    compared = run_command("metrics", "--compare", "1h", "--until", "2026-11-24T00:30:00Z").out
    assert compared.count("perhaps 19 more") == 2, "the hour of the counts belongs to both sides in part"


@pytest.fixture
def busy_runs(write_runs, make_run, make_step):
    """One run that loops, retries, streams, and reads a cache."""
    usage = Usage(input_tokens=100, output_tokens=20, cache_read_input_tokens=50)
    steps = [
        make_step(0, StepKind.TOOL, "search", 0, 10, input={"q": "rain"}, error=StepError(type="TimeoutError")),
        make_step(1, StepKind.TOOL, "search", 20, 10, input={"q": "rain"}),
        make_step(2, StepKind.TOOL, "search", 40, 10, input={"q": "rain"}),
    ]
    model = make_step(3, StepKind.MODEL, "gpt-4o", 60, 500, model="gpt-4o", usage=usage)
    streamed = msgspec.structs.replace(model, first_chunk_at_ns=model.started_at_ns + 250_000_000)
    return write_runs([make_run("busy", steps=(*steps, streamed), resource={"service.version": "1.2"})])


def test_what_runs_did_over_and_over_is_shown(run_command, busy_runs):
    """Loops, retries, errors that were overcome, cached input, first chunks and tokens per second have rows and columns."""
    shown = run_command("metrics", "--by", "version", "--by", "tool").out
    for text in (
        "in 1 run: 3 calls or more",
        "retries",
        "in 1 run that succeeded",
        "50%",
        "250ms",
        "first chunk",
        "40",
    ):
        assert text in shown


def test_what_did_not_happen_is_not_shown(run_command, mixed_runs):
    """Ordinary runs have no rows and columns for it."""
    shown = run_command("metrics").out
    assert not any(word in shown for word in ("loops", "retries", "first chunk", "cached"))


# ── comparisons and conditions ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def two_versions(write_runs, make_run, make_step):
    """Forty runs of each of two versions, a day apart, of which the newer fails more often."""
    tool = make_step(0, StepKind.TOOL, "search", 0, 250)
    return write_runs(
        [
            make_run(
                f"{version} {number}",
                number + (86_400 if version == "1.3" else 0),
                status=RunStatus.ERROR if number < failed else RunStatus.SUCCESS,
                steps=(tool,),
                scores=(Score(name="helpful", value=0.25),),
                resource={"service.version": version},
            )
            for version, failed in (("1.2", 2), ("1.3", 20))
            for number in range(40)
        ]
    )


def test_versions_are_compared(run_command, two_versions):
    """The figures of both stand beside each other, with the difference and its interval."""
    shown = run_command("metrics", "--compare", "version=1.2,1.3").out
    assert shown.startswith("version 1.2: 40 runs  ->  version 1.3: 40 runs")
    for line in (
        r"success +95% +50% +-45% +-60\.\d% to -26\.\d%",
        r"p50 +1\.00s +1\.00s +0ms",
        r"search +errors +0% +0%",
    ):
        assert re.search(line, shown)
    data = json.loads(run_command("metrics", "--compare", "version=1.2,1.3", "--json").out)
    assert data["differences"]["success_rate"]["difference"] == pytest.approx(-0.45)
    assert (data["before"]["runs"], data["after"]["runs"]) == (40, 40)


def test_a_comparison_says_which_of_its_sides_is_a_sample(run_command, write_runs, make_run):
    """And how many runs of it were read."""
    write_runs([make_run(f"a-{n}", n, agent_name="a", sampling_probability=0.1) for n in range(30)])
    write_runs([make_run(f"b-{n}", n, agent_name="b") for n in range(30)], "b.jsonl")
    shown = run_command("metrics", "*.jsonl", "--compare", "agent=a,b").out
    assert shown.startswith("agent a: 300 runs (sample of 30)  ->  agent b: 30 runs\n")


def test_windows_are_compared(run_command, two_versions):
    """They end at --until, and filters apply to both."""
    compare = ("metrics", "--compare", "1d", "--until", "2026-11-26T00:00:00+01:00", "--json")
    data = json.loads(run_command(*compare).out)
    assert [data[side]["runs"] for side in ("before", "after")] == [40, 40]
    data = json.loads(run_command(*compare, "--status", "error").out)
    assert [data[side]["runs"] for side in ("before", "after")] == [2, 20]


@pytest.mark.parametrize("width", [40, 80, 160])
def test_comparisons_fit_every_width(run_command, two_versions, monkeypatch, width):
    """No line is longer than the terminal is wide."""
    monkeypatch.setenv("COLUMNS", str(width))
    assert max(map(len, run_command("metrics", "--compare", "version=1.2,1.3").out.splitlines())) <= width


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--compare", "version"], 'compare must be a time like "7d"'),
        (["--compare", "7d", "--since", "30d"], "not with --since"),
        (["--compare", "7d", "--by", "model"], "neither --bucket nor --by"),
        (["--compare", "colour=1,2"], "by must be one of agent"),
        (["--fail-if", "speed<3"], "success_rate, cost, p95, score:NAME"),
        (["--fail-if", "success_rate<=3"], "with < or >"),
        (["--fail-if", "success_rate<high"], "with < or >"),
        (["--fail-if", "score:<1"], "with < or >"),
        (["--fail-if", "p95"], "with < or >"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(run_command, options, message):
    """The exit status is 2, and the source, which does not exist, is not looked at."""
    result = run_command("metrics", "nowhere.jsonl", *options)
    assert result.code == 2
    assert message in result.err
    assert "nowhere" not in result.err


@pytest.mark.parametrize(
    ("conditions", "failures"),
    [
        (["success_rate<.7"], []),
        (["success_rate<.95"], ["failed: success_rate<.95: it is 0.725"]),
        (
            ["success_rate < .95 ", "p95>0.5", "p95 > 30"],
            ["failed: success_rate < .95: it is 0.725", "failed: p95>0.5: it is 1"],
        ),
        (["score:helpful<0.5"], ["failed: score:helpful<0.5: it is 0.25"]),
        (["score:helpful>0.5"], []),
        (["score:unheard<0.5"], ["failed: score:unheard<0.5: nothing to measure"]),
    ],
)
def test_conditions_decide_the_exit_status(run_command, two_versions, conditions, failures):
    """Each that holds, or has nothing to measure, is a line on standard error; the report is printed all the same."""
    result = run_command("metrics", "--json", *(word for text in conditions for word in ("--fail-if", text)))
    assert (result.code, result.err.splitlines()) == (1 if failures else 0, failures)
    assert json.loads(result.out)["runs"] == 80


@pytest.mark.parametrize(("bucket", "is_noted"), [("15m", True), ("1h", False), ("2h", False)])
def test_dropped_runs_that_are_in_no_bucket_are_noted(run_command, write_runs, make_run, monkeypatch, bucket, is_noted):
    """They are counted by the hour: nobody knows which quarter they began in."""
    write_runs([make_run("bad", 0, status=RunStatus.ERROR, sampling_probability=1.0)])
    counts = [DroppedTraces("weather", "success", 1_795_474_800_000_000_000, 19)]
    monkeypatch.setattr(FilesSource, "dropped", lambda _: counts, raising=False)
    last = run_command("metrics", "--bucket", bucket).out.rstrip().splitlines()[-1]
    assert ("not in here: 19 dropped runs, counted by the hour" in last) == is_noted


@pytest.mark.parametrize(
    ("condition", "line"),
    [
        ("cost>1.5", "passed: cost>1.5: it is 1 or more; runs are unseen among 19 dropped"),
        ("p95>10", "passed: p95>10: it is 1; runs are unseen among 19 dropped"),
        ("score:good<0.5", "passed: score:good<0.5: it is 1; runs are unseen among 19 dropped"),
        ("success_rate<.95", None),
        ("cost>0.5", "failed: cost>0.5: it is 1; runs are unseen among 19 dropped"),
        ("score:none<1", "failed: score:none<1: nothing to measure; runs are unseen among 19 dropped"),
    ],
)
def test_a_condition_that_unseen_runs_may_break_is_in_doubt(
    run_command, write_runs, make_run, monkeypatch, condition, line
):
    """Nobody knows what they cost, how long they took, and how they were scored: a job that passes has a line on that."""
    call = model_call("house", input_tokens=1000)
    score = Score(name="good", value=True)
    run = make_run("bad", 0, status=RunStatus.ERROR, sampling_probability=1.0, steps=(call,), scores=(score,))
    write_runs([run]).with_name("p.json").write_text('{"house": {"input": 1000, "output": 0}}')
    counts = [DroppedTraces("weather", "success", 1_795_474_800_000_000_000, 19)]
    monkeypatch.setattr(FilesSource, "dropped", lambda _: counts, raising=False)
    result = run_command("metrics", "--json", "--prices", "p.json", "--fail-if", condition)
    assert result.err.splitlines() == ([] if line is None else [line])
    assert result.code == (line is not None and line.startswith("failed"))


def test_a_rate_is_in_doubt_where_dropped_runs_may_belong_to_it(run_command, write_runs, make_run, monkeypatch):
    write_runs([make_run("good", 0, sampling_probability=1.0)])
    counts = [DroppedTraces("weather", "error", 1_795_474_800_000_000_000, 19)]
    monkeypatch.setattr(FilesSource, "dropped", lambda _: counts, raising=False)
    result = run_command("metrics", "--json", "--tool", "search", "--fail-if", "success_rate<.95")
    assert result.code == 1, "no run at all is none that passes"
    result = run_command("metrics", "--json", "--until", "2026-11-23T23:30:00Z", "--fail-if", "success_rate<.95")
    line = "passed: success_rate<.95: it is 1; runs are unseen among 19 dropped"
    assert (result.code, result.err.splitlines()) == (0, [line])


def test_conditions_of_a_comparison_are_about_the_second_set(run_command, two_versions):
    """The older version may fail as it likes."""
    assert run_command("metrics", "--compare", "version=1.2,1.3", "--fail-if", "success_rate<.95").code == 1
    assert run_command("metrics", "--compare", "version=1.3,1.2", "--fail-if", "success_rate<.95").code == 0
