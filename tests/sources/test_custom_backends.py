"""A backend that can be read, by its spans or only by its runs, is a source of every reader, and of what commands call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    InMemoryBackend,
    RunNotFoundError,
    RunQuery,
    SourceError,
    StepKind,
    compute_metrics,
    explain_run,
    iter_runs,
    load_run,
    load_runs,
    open_source,
    runs_from_spans,
)
from otel_agent_trace.cli.export_file import export_to_file
from otel_agent_trace.cli.sources import Target, read_by
from otel_agent_trace.export.canonical import write_runs
from otel_agent_trace.replay import walk_run
from otel_agent_trace.span import Capabilities
from tests.support.backends import OnlyRuns, OnlyTraces
from tests.support.sample_runs import fail_on_problem


class Both(OnlyTraces):
    """Has `runs` for its own use; its spans say more."""

    def runs(self) -> Iterator[AgentRun]:
        raise NotImplementedError


@pytest.fixture(params=["runs", "traces", "both"])
def backend(request: pytest.FixtureRequest) -> Any:
    """Two runs, of which the first has a sub-agent, and a tool that failed in it."""
    kept = OnlyRuns()
    with AgentTracer(backend=kept, agent_name="weather") as tracer:
        with tracer.run(user_input="Rain?", user_id="u") as run:
            with (
                tracer.run(agent_name="helper", user_input="Look") as inner,
                pytest.raises(OSError),
                inner.step("search"),
            ):
                raise OSError("no")
            run.final_output = "No."
        with (
            tracer.run(user_input="Snow?", metadata={"tenant": "acme"}) as run,
            run.step("search", {"q": "snow"}) as step,
        ):
            step.output = [1, ("two", None)]
    outermost = [run for run in kept.kept.values() if run.parent_run_id is None]
    return {"runs": lambda: kept, "traces": lambda: OnlyTraces(outermost), "both": lambda: Both(outermost)}[
        request.param
    ]()


def test_readers(backend: Any) -> None:
    """Outermost runs, filtered and in order, and one by any of its names."""
    assert [run.user_input for run in load_runs(backend)] == ["Rain?", "Snow?"]
    assert [run.user_input for run in iter_runs(backend, newest_first=True, limit=1)] == ["Snow?"]
    assert [run.user_input for run in load_runs(backend, tool_error="search")] == ["Rain?"]
    assert [run.user_input for run in load_runs(backend, RunQuery(where={"metadata.tenant": "acme"}))] == ["Snow?"]
    first, last = load_runs(backend)
    inner = first.steps[0].run
    assert inner is not None
    assert load_run(backend, first.trace_id) == first
    assert load_run(backend, inner.run_id) == inner
    assert load_run(backend, "last") == last
    with pytest.raises(RunNotFoundError, match=f"no run 'x' in {type(backend).__name__}"):
        load_run(backend, "x")


def test_explaining(backend: Any) -> None:
    """The facts are those of the run; of a sub-agent's id, those of the sub-agent's run."""
    first, last = load_runs(backend)
    inner = first.steps[0].run
    assert inner is not None
    for run in (first, inner, last):
        explanation = explain_run(backend, run.run_id)
        assert explanation.run.run_id == run.run_id
        assert explanation.run.user_input == run.user_input
        assert len(explanation.run.steps) == len(run.steps)


def test_measuring_and_walking(backend: Any) -> None:
    report = compute_metrics(iter_runs(backend))
    assert (report.runs, report.tools["search"].calls, report.tools["search"].errors) == (2, 2, 1)
    walked = [(depth, step.kind, step.name) for depth, step in walk_run(load_runs(backend)[0])]
    assert walked == [(0, StepKind.AGENT, "helper"), (1, StepKind.TOOL, "search")]


def test_functions_behind_the_commands(backend: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run that a command line names, and what `export --to otlp-json` writes."""
    source: Any = backend
    assert read_by(load_run, source, "last", None) == load_runs(backend)[1]
    assert read_by(explain_run, source, "last", None).run.user_input == "Snow?"
    path = tmp_path / "runs.jsonl"
    export_to_file(Target(source, None), str(path), RunQuery(), write_runs, redact=False, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"file": str(path), "runs": 2}
    assert [run.run_id for run in load_runs(path)] == [run.run_id for run in load_runs(backend)]


def test_beside_a_file(backend: Any, tmp_path: Path) -> None:
    """In a list with other sources, whose runs come as well."""
    other = InMemoryBackend()
    with AgentTracer(backend=other) as tracer, tracer.run(user_input="Wind?"):
        pass
    runs = load_runs([backend, other], sort="time")
    assert [run.user_input for run in runs] == ["Wind?", "Snow?", "Rain?"]
    assert load_run([backend, other], runs[1].run_id).user_input == "Snow?"


def test_spans_of_runs_read_back_as_the_runs(backend: Any) -> None:
    """What is a source for readers has spans as well, those of one trace together."""
    traces = list(open_source(backend).traces(fail_on_problem))
    assert len({spans[0].trace_id for spans in traces}) == len(traces) == 2
    assert runs_from_spans(span for spans in traces for span in spans) == load_runs(backend)


def test_runs_come_as_they_were_given() -> None:
    """Without a way over spans, which cannot say everything."""
    run = AgentRun(run_id="mine", agent_name="a", user_input=object, started_at_ns=1, dialect="own")
    kept = OnlyRuns()
    kept.kept["mine"] = run
    assert load_runs(kept)[0] is run


@pytest.mark.parametrize("given", [["a"], [None], [{"run_id": "x"}]])
def test_what_is_no_run_is_refused(given: list[Any]) -> None:
    class Wrong:
        def runs(self) -> list[Any]:
            return given

    with pytest.raises(
        SourceError, match=rf"Wrong.runs\(\) must yield AgentRun objects, got {type(given[0]).__name__}"
    ):
        load_runs(Wrong())


def test_what_cannot_be_read_says_what_it_needs() -> None:
    with pytest.raises(SourceError, match=r"a backend that has traces\(\) or runs\(\)"):
        load_runs(object())


# ── what a source can answer itself ──────────────────────────────────────────────────────────────────────────────────


class Answers(OnlyTraces):
    """Leaves out the traces of other services itself, and notes what it is asked."""

    capabilities = Capabilities(filters=frozenset({"service", "since"}))

    def __init__(self, runs: list[AgentRun]) -> None:
        super().__init__(runs)
        self.asked: list[RunQuery] = []

    def narrowed(self, query: RunQuery) -> OnlyTraces:
        self.asked.append(query)
        return OnlyTraces([run for run in self._runs if run.service_name == query.service])


def test_a_source_is_asked_only_what_it_can_answer() -> None:
    """The rest is filtered after it."""
    kept = OnlyRuns()
    with AgentTracer(backend=kept) as tracer:
        for question in ("Rain?", "Snow?"):
            with tracer.run(user_input=question):
                pass
    runs = load_runs(kept)
    source = Answers(runs)
    service = str(runs[0].service_name)
    assert [run.user_input for run in load_runs(source, service=service, text="snow", limit=1)] == ["Snow?"]
    assert load_runs(source, text="rain") == runs[:1]
    assert load_runs(source, service="other") == []
    assert source.asked == [RunQuery(service=service), RunQuery(service="other")]


def test_a_run_that_a_backend_receives_while_it_is_read_is_left_for_the_next_time() -> None:
    """Its trace comes once, with the runs that were there at first."""
    trace_id = "1" * 32
    first, second = (
        AgentRun(run_id=name, trace_id=trace_id, span_id=name * 16, started_at_ns=1, ended_at_ns=2) for name in "ab"
    )

    class Growing:
        passes = 0

        def runs(self) -> list[AgentRun]:
            self.passes += 1
            return [first] if self.passes <= 2 else [second, first]

    growing = Growing()
    [spans] = open_source(growing).traces(fail_on_problem)
    assert [span.span_id for span in spans] == ["a" * 16]
    assert [len(trace) for trace in open_source(growing).traces(fail_on_problem)] == [2]
