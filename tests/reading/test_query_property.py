"""Whatever is asked of whatever source, by a function or a command, gives what filtering all its runs by hand gives."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import Self

from otel_agent_trace import (
    AgentRun,
    AgentStep,
    RunQuery,
    RunStatus,
    Score,
    StepError,
    StepKind,
    Usage,
    iter_runs,
    load_runs,
    run_to_spans,
)
from otel_agent_trace.cli import main
from otel_agent_trace.values import same
from tests.support.backends import OnlyTraces
from tests.support.sample_runs import BEGAN_NS, lines_of, make_run

SECOND_NS = 1_000_000_000
WORDS = ("red", "Green", "blue")
words = st.sampled_from(WORDS)
some_word = st.none() | words
scores = st.lists(
    st.builds(
        Score,
        name=st.sampled_from(["good", "fast"]),
        value=st.none() | st.sampled_from([True, False, 0, 1, 0.25, -2.5]),
        label=st.none() | words,
        source=st.sampled_from([None, "a"]),
        at_ns=st.just(BEGAN_NS),
    ),
    max_size=2,
).map(tuple)
moments_s = st.sampled_from([0, 1, 2, 3])


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def steps(draw: st.DrawFn, number: int, depth: int) -> tuple[AgentStep, ...]:
    return tuple(draw(one_step(number, index, depth)) for index in range(draw(st.integers(0, 3))))


@st.composite
def one_step(draw: st.DrawFn, number: int, index: int, depth: int) -> AgentStep:
    kinds = [StepKind.TOOL, StepKind.MODEL, *([StepKind.AGENT] if depth < 2 else [])]
    kind = draw(st.sampled_from(kinds))
    began = BEGAN_NS + number * SECOND_NS + 10 + index
    span_id = f"{number:08x}{depth:04x}{index + 1:04x}"
    facts: dict[str, Any] = {"name": draw(words), "input": draw(some_word), "output": draw(some_word)}
    if kind is StepKind.AGENT:
        inner = run_of(draw, number, depth + 1, span_id)
        facts = {"name": inner.agent_name, "run": inner, "input": inner.user_input, "output": inner.final_output}
    if kind is StepKind.MODEL:
        facts = {"name": (model := draw(words)), "model": model}
    error = draw(st.none() | st.builds(StepError, type=words, message=words))
    return AgentStep(
        span_id=span_id, step_id=index + 1, index=index, kind=kind, started_at_ns=began, ended_at_ns=began + 1,
        attributes=draw(st.dictionaries(st.sampled_from(["a.b", "c"]), st.sampled_from([1, 2, "1"]), max_size=1)),
        error=error, scores=() if kind is StepKind.AGENT else draw(scores), **facts,
    )  # fmt: skip


def run_of(draw: st.DrawFn, number: int, depth: int = 0, span_id: str | None = None) -> AgentRun:
    """A run which began so many seconds after all began, with sub-agents down to a depth."""
    status = draw(st.sampled_from([RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.RUNNING]))
    took_ns = draw(st.sampled_from([SECOND_NS // 2, SECOND_NS, SECOND_NS + 1, 3 * SECOND_NS]))
    began = BEGAN_NS + number * SECOND_NS
    ids: dict[str, Any] = {} if span_id is None else {"span_id": span_id, "run_id": f"{number + 1:032x}-{span_id}"}
    made = make_run(
        number,
        agent_name=draw(words),
        user_input=draw(some_word),
        final_output=draw(some_word) if status is RunStatus.SUCCESS else None,
        user_id=draw(some_word),
        session_id=draw(some_word),
        metadata=draw(st.dictionaries(st.sampled_from(["tenant", "x.y"]), st.sampled_from([1, True, "1"]), max_size=2)),
        usage=draw(st.none() | st.builds(Usage, input_tokens=st.integers(0, 3))),
        status=status,
        error=StepError(type=draw(words), message=draw(words)) if status is RunStatus.ERROR else None,
        ended_at_ns=None if status is RunStatus.RUNNING else began + took_ns,
        steps=draw(steps(number, depth)),
        scores=draw(scores),
    )
    fields = {name: getattr(made, name) for name in AgentRun.__struct_fields__}
    return AgentRun(**{**fields, **ids})


@st.composite
def many_runs(draw: st.DrawFn) -> list[AgentRun]:
    numbers = draw(st.permutations(range(draw(st.integers(0, 5)))))
    return [run_of(draw, number) for number in numbers]


# ── what is asked for, and the same by hand ──────────────────────────────────────────────────────────────────────────


def all_steps(run: AgentRun) -> list[AgentStep]:
    return [step for part in run.walk() for step in part.steps]


def contains_text(run: AgentRun, text: str) -> bool:
    texts: list[Any] = []
    for part in run.walk():
        texts += [part.user_input, part.final_output]
        for item in (part, *part.steps):
            texts += [] if item.error is None else [item.error.type, item.error.message]
        for step in part.steps:
            texts += [step.input, step.output]
    return text.lower() in "\0".join(str(word) for word in texts if word is not None).lower()


def tools(run: AgentRun, *, failed: bool = False) -> list[str | None]:
    return [
        step.name for step in all_steps(run) if step.kind is StepKind.TOOL and (step.error is not None or not failed)
    ]


def of_name(run: AgentRun, name: str) -> list[Score]:
    """The scores of a name that count: of the run, else of anything below it."""
    found: list[tuple[Score, ...]] = [run.scores]
    below = [part.scores for part in run.walk() if part is not run] + [step.scores for step in all_steps(run)]
    if name not in [score.name for score in run.scores]:
        found = below
    return [
        score
        for own in found
        for score in {(each.name, each.source): each for each in own}.values()
        if score.name == name
    ]


def value_of(run: AgentRun, name: str) -> float | None:
    values = [float(score.value) for score in of_name(run, name) if score.value is not None]
    return sum(values) / len(values) if values else None


SCORED: dict[str, Callable[[Score], bool]] = {
    "good": lambda score: True,
    "good>=1": lambda score: score.value is not None and score.value >= 1,
    "fast<0.5": lambda score: score.value is not None and score.value < 0.5,
    "fast=true": lambda score: score.value == 1,
    "good=red": lambda score: score.label == "red",
    "good!=blue": lambda score: score.label not in (None, "blue"),
}
BY_HAND: dict[str, Callable[[AgentRun, Any], bool]] = {
    "agent": lambda run, name: run.agent_name == name,
    "status": lambda run, status: run.status.value == status,
    "tool": lambda run, name: name in tools(run),
    "tool_error": lambda run, name: name in tools(run, failed=True),
    "model": lambda run, name: name in [item.model for item in (*run.walk(), *all_steps(run))],
    "session_id": lambda run, name: run.session_id == name,
    "text": contains_text,
    "score": lambda run, asked: all(any(SCORED[each](score) for score in of_name(run, each[:4])) for each in asked),
    "since": lambda run, when: run.started_at_ns >= when * SECOND_NS,
    "until": lambda run, when: run.started_at_ns < when * SECOND_NS,
    "min_duration": lambda run, took_s: (
        run.ended_at_ns is not None and run.ended_at_ns - run.started_at_ns >= int(float(took_s) * SECOND_NS)
    ),
    "where": lambda run, facts: all(
        same(run.metadata[key], value) if key in run.metadata else False
        for key, value in ((name.removeprefix("metadata."), value) for name, value in facts.items())
    ),
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "agent": words,
    "status": st.sampled_from(["success", "error", "running", "timeout"]),
    "tool": words,
    "tool_error": words,
    "model": words,
    "session_id": words,
    "text": st.sampled_from(["RED", "een", "blu", "gold"]),
    "score": st.lists(st.sampled_from(sorted(SCORED)), min_size=1, max_size=2),
    "since": moments_s.map(lambda after_s: BEGAN_NS // SECOND_NS + after_s),
    "until": moments_s.map(lambda after_s: BEGAN_NS // SECOND_NS + after_s),
    "min_duration": st.sampled_from(["0.5", "1", "1.000000001", "3"]),
    "where": st.dictionaries(
        st.sampled_from(["metadata.tenant", "metadata.x.y"]), st.sampled_from([1, True, "1"]), min_size=1
    ),
}
SORTS: dict[str, Callable[[AgentRun], float]] = {
    "time": lambda run: run.started_at_ns,
    "duration": lambda run: -1 if run.ended_at_ns is None else run.ended_at_ns - run.started_at_ns,
    "steps": lambda run: len(all_steps(run)),
    "tokens": lambda run: run.usage.total_tokens if run.usage else 0,
    "score:good": lambda run: -9 if (value := value_of(run, "good")) is None else value,
}


@st.composite
def queries(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=2, unique=True))
    asked = {name: draw(VALUES[name]) for name in names}
    sort, limit = draw(st.none() | st.sampled_from(sorted(SORTS))), draw(st.none() | st.integers(1, 3))
    return asked | ({"sort": sort} if sort else {}) | ({"limit": limit} if limit else {})


def by_hand(runs: list[AgentRun], query: dict[str, Any], *, sort: str | None = None) -> list[str]:
    """The ids of the runs that fit, in their order, as many as are asked for."""
    fitting = [run for run in runs if all(fits(run, query[name]) for name, fits in BY_HAND.items() if name in query)]
    sort = query.get("sort", sort)
    fitting.sort(key=lambda run: (run.started_at_ns, run.run_id), reverse=sort is not None)
    if sort is not None:
        fitting.sort(key=SORTS[sort], reverse=True)  # which keeps the newer of equal ones before
    return [run.run_id for run in fitting][: query.get("limit")]


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Runs:
    """A backend that gives runs, those of sub-agents as well, as a `TracerBackend` receives them."""

    def __init__(self, runs: list[AgentRun]) -> None:
        self._runs = runs

    def runs(self) -> Iterator[AgentRun]:
        return (part for run in self._runs for part in run.walk())


class InFile:
    """A file of these runs, in a folder of its own."""

    def __init__(self, runs: list[AgentRun]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name) / "runs.jsonl"
        self.path.write_bytes(b"".join(lines_of(span for run in runs for span in reversed(run_to_spans(run)))))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


@contextlib.contextmanager
def every_source(runs: list[AgentRun]) -> Iterator[list[Any]]:
    """These runs as a file, in two of them, and as backends."""
    with InFile(runs) as whole, InFile(runs[::2]) as some, InFile(runs[1::2]) as others:
        yield [whole.path, [some.path, others.path], [some.path, OnlyTraces(runs[1::2])], OnlyTraces(runs), Runs(runs)]


@given(many_runs(), queries())
def test_readers_give_what_filtering_by_hand_gives(runs: list[AgentRun], query: dict[str, Any]) -> None:
    with every_source(runs) as sources:
        for source in sources:
            everything = load_runs(source)
            assert len(everything) == len(runs)
            expected = by_hand(everything, query)
            assert [run.run_id for run in load_runs(source, **query)] == expected
            assert [run.run_id for run in load_runs(source, RunQuery(**query))] == expected
            newest = [run.run_id for run in iter_runs(source, **{"newest_first": True, **query})]
            assert newest == by_hand(everything, query, sort="time")
            without_order = {name: value for name, value in query.items() if name not in ("sort", "limit")}
            assert sorted(run.run_id for run in iter_runs(source, **without_order)) == sorted(
                by_hand(everything, without_order)
            )


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_OPTIONS = {"session_id": "--session", "tool_error": "--tool-error", "min_duration": "--min-duration"}


def option_words(query: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for name, value in query.items():
        if name == "where":
            found += [word for key, fact in value.items() for word in ("--where", f"{key}={json.dumps(fact)}")]
        elif name == "score":
            found += [word for each in value for word in ("--score", each)]
        elif name in ("since", "until"):
            found += [f"--{name}", f"2026-11-23T23:03:{value - BEGAN_NS // SECOND_NS + 20}+00:00"]
        else:
            found += [_OPTIONS.get(name, f"--{name}"), str(value)]
    return found


def printed(*line: str) -> str:
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main(line)
    assert code == 0, errors.getvalue()
    output.seek(0)
    return output.read()


@given(many_runs(), queries())
def test_commands_give_what_filtering_by_hand_gives(runs: list[AgentRun], query: dict[str, Any]) -> None:
    with InFile(runs) as file:
        everything, source = load_runs(file.path), str(file.path)
        listed = json.loads(printed("list", source, "--json", *option_words({"limit": 0, **query})))
        assert [run["run_id"] for run in listed] == by_hand(everything, query, sort="time")

        exported = file.path.parent / "exported.jsonl"
        printed("export", source, "--to", "otlp-json", "--output", str(exported), *option_words(query))
        limited = query.get("limit") is not None
        expected = by_hand(everything, query, sort="time" if limited else None)
        assert sorted(run.run_id for run in load_runs(exported)) == sorted(expected)

        unlimited = {name: value for name, value in query.items() if name != "limit"}
        report = json.loads(printed("metrics", source, "--json", *option_words(unlimited)))
        assert report["runs"] == len(by_hand(everything, unlimited))


@pytest.mark.parametrize("name", sorted(RunQuery.__struct_fields__))
def test_every_field_is_tried(name: str) -> None:
    """Here, or by examples in `test_query.py`, `test_filters.py`, and for prices in `store/test_index.py`."""
    elsewhere = {"user_id", "service", "tag", "run_id", "newest_first", "prices"}
    assert name in {*VALUES, *elsewhere, "sort", "limit"}
