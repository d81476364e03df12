"""One run is found by whatever names it, and only if that names one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, load_run, run_to_spans
from otel_agent_trace.errors import (
    AgentTraceError,
    AmbiguousRunError,
    BadRecordError,
    ConfigurationError,
    RunNotFoundError,
    SourceError,
)
from tests.support.sample_runs import Problems, lines_of, make_run

Write = Callable[..., Path]


@pytest.fixture
def named(write: Write) -> tuple[Path, list[AgentRun]]:
    """Three runs: one under its trace's id, two under ids of their own."""
    runs = [make_run(0xA0), make_run(0xB0, run_id="order-17"), make_run(0xB1, run_id="order-18")]
    return write("runs.jsonl", lines_of(span for run in runs for span in run_to_spans(run))), runs


def trace_id(number: int) -> str:
    """The trace of the run of that number."""
    return f"{number + 1:032x}"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (trace_id(0xA0), 0),
        (trace_id(0xA0)[:-1], 0),  # the beginning of one id only
        ("order-17", 1),
        (trace_id(0xB0), 1),  # the trace's id finds a run that has another
        ("order-18", 2),
        ("last", 2),
    ],
)
def test_found(named: tuple[Path, list[AgentRun]], asked: str, found: int) -> None:
    """By its id, its trace's id, the beginning of either, or being the last."""
    path, runs = named
    assert load_run(path, asked) == runs[found]


def test_nested_run_is_found(named: tuple[Path, list[AgentRun]]) -> None:
    """A sub-agent's run is found by its own id, and by the beginning of that."""
    path, runs = named
    inner = runs[0].steps[2].run
    assert load_run(path, inner.run_id) == inner
    assert load_run(path, inner.run_id[:-4]) == inner


def test_the_beginning_of_an_outer_id_means_the_outer_run(named: tuple[Path, list[AgentRun]]) -> None:
    """Ids below begin like the one above; a short id means the latter."""
    path, runs = named
    assert load_run(path, trace_id(0xA0)[:-1]) == runs[0]
    assert load_run(path, runs[1].trace_id) == runs[1]


def test_exact_goes_before_the_beginning(write: Write) -> None:
    """An id that is the beginning of another one means itself."""
    runs = [make_run(1, run_id="run-1"), make_run(2, run_id="run-10")]
    path = write("runs.jsonl", lines_of(span for run in runs for span in run_to_spans(run)))
    assert load_run(path, "run-1") == runs[0]


def test_the_only_run(write: Write) -> None:
    """Without an id it is the only run there is, sub-agents not counted."""
    path = write("runs.jsonl", lines_of(run_to_spans(make_run(1))))
    assert load_run(path) == make_run(1)


@pytest.mark.parametrize("asked", ["order-", "order-1", trace_id(0xB0)[:-2], "", None])
def test_ambiguous(named: tuple[Path, list[AgentRun]], asked: str | None) -> None:
    """What fits several runs names them, and the file."""
    path, _ = named
    with pytest.raises(AmbiguousRunError) as refused:
        load_run(path, asked)
    assert "order-17" in str(refused.value)
    assert "order-18" in str(refused.value)
    assert str(path) in str(refused.value)


def test_many_candidates_are_not_all_listed(write: Write) -> None:
    """Of very many that fit, some are named, and the rest counted."""
    runs = [make_run(n, run_id=f"run-{n}") for n in range(40)]
    path = write("runs.jsonl", lines_of(span for run in runs for span in run_to_spans(run)))
    with pytest.raises(AmbiguousRunError, match=r"'run-' matches 40 runs in .*: run-0, .*run-4 and 35 more"):
        load_run(path, "run-")


def test_two_runs_of_one_trace(write: Write) -> None:
    """Runs that share a trace are distinguished by their ids; the trace's own fits both."""
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory)
    with tracer._own.get_tracer("web").start_as_current_span("POST /"):
        for _ in range(2):
            with tracer.run():
                pass
    path = write("runs.jsonl", lines_of(memory.spans()))
    one, other = memory.runs()
    assert load_run(path, one.run_id) == one
    assert load_run(path, other.run_id) == other
    with pytest.raises(AmbiguousRunError):
        load_run(path, one.trace_id)


@pytest.mark.parametrize("asked", ["order-19", "7-order", "Order-17", "order-17 ", "f" * 32, "LAST"])
def test_none(named: tuple[Path, list[AgentRun]], asked: str) -> None:
    """What fits nothing is reported with the file, and is an error of looking up."""
    path, _ = named
    with pytest.raises(RunNotFoundError) as refused:
        load_run(path, asked)
    assert str(refused.value) == f"no run {asked!r} in {path}"
    assert isinstance(refused.value, LookupError)
    assert isinstance(refused.value, AgentTraceError)


@pytest.mark.parametrize("asked", [None, "last"])
def test_no_runs_at_all(write: Write, asked: str | None) -> None:
    """Nothing is there to be found."""
    path = write("runs.jsonl", b"")
    with pytest.raises(RunNotFoundError, match=f"no runs in {path}"):
        load_run(path, asked)
    with pytest.raises(RunNotFoundError, match="no runs in InMemoryBackend"):
        load_run(InMemoryBackend(), asked)


def test_last_is_the_newest_not_the_lowest_line(write: Write) -> None:
    """The last run is the one that began last, wherever it stands."""
    runs = [make_run(3), make_run(9), make_run(1)]
    path = write("runs.jsonl", lines_of(span for run in runs for span in run_to_spans(run)))
    assert load_run(path, "last") == make_run(9)


def test_problems_and_strictness(write: Write, problems: Problems) -> None:
    """What cannot be read on the way is reported, or raised."""
    path = write("runs.jsonl", [*lines_of(run_to_spans(make_run(1))), b"torn"])
    assert load_run(path, "last", on_problem=problems) == make_run(1)
    assert problems.places == [("runs.jsonl", 6)]
    with pytest.raises(BadRecordError, match=r"runs\.jsonl:6: "):
        load_run(path, "last", strict=True)


@pytest.mark.parametrize("kind", [SourceError, BadRecordError, RunNotFoundError, AmbiguousRunError, ConfigurationError])
def test_all_errors_have_one_base(kind: type[Exception]) -> None:
    """Whoever catches the base catches all."""
    assert issubclass(kind, AgentTraceError)


def test_run_in_several_sources(write: Write, named: tuple[Path, list[AgentRun]]) -> None:
    """A run is found in whichever of the sources it lies."""
    path, runs = named
    other: Any = write("other.jsonl", lines_of(run_to_spans(make_run(1))))
    assert load_run([other, path], "order-17") == runs[1]
    assert load_run([InMemoryBackend(), other, path], trace_id(1)) == make_run(1)
