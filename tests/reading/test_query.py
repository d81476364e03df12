"""What each filter of `RunQuery` means, in which order runs come, and how one is named; by the library and by `list`."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import (
    AgentRun,
    AgentStep,
    AgentTracer,
    AmbiguousRunError,
    InMemoryBackend,
    Message,
    RunNotFoundError,
    RunQuery,
    RunStatus,
    Score,
    StepError,
    StepKind,
    Usage,
    explain_run,
    export_spans,
    iter_runs,
    load_run,
    load_runs,
    run_to_spans,
)
from otel_agent_trace.cli import main
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import shown
from tests.support.backends import GivenRuns
from tests.support.sample_runs import BEGAN_NS, lines_of, make_run

Write = Callable[..., Path]
SECOND_NS = 1_000_000_000


def step(index: int, **fields: Any) -> AgentStep:
    """A tool step that began and ended a moment after the run."""
    times = {"started_at_ns": BEGAN_NS + 100 + index, "ended_at_ns": BEGAN_NS + 105 + index}
    return AgentStep(span_id=f"{index + 77:016x}", step_id=index + 1, index=index, **{**times, "name": "t", **fields})


def of(number: int, *steps: AgentStep, **fields: Any) -> AgentRun:
    """A run with just these steps, which says nothing but what it is given."""
    values: dict[str, Any] = {"user_input": None, "final_output": None, "usage": None, **fields}
    return make_run(number, steps=steps, **values)


def below(*steps: AgentStep, **fields: Any) -> AgentStep:
    """A step of a sub-agent that took these steps."""
    values: dict[str, Any] = {"user_input": None, "final_output": None, "usage": None, **fields}
    run = make_run(50, steps=steps, run_id="below", parent_run_id="outer", **values)
    return step(9, kind=StepKind.AGENT, name="helper", run=run)


def is_found(run: AgentRun, **filters: Any) -> bool:
    """Whether a run is among those that a source which holds it, and another run, gives."""
    other = of(40)
    return run.run_id in [found.run_id for found in load_runs(GivenRuns(run, other), **filters)]


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "run",
    [
        of(1, user_input="Where is the NEEDLE?"),
        of(1, final_output={"deep": [1, ("a", {"b": "a needle here"})]}),
        of(1, final_output={"Needle": 1}),
        of(1, status=RunStatus.ERROR, error=StepError(type="ValueError", message="no needle")),
        of(1, status=RunStatus.ERROR, error=StepError(type="NeedleError", message="no")),
        of(1, step(0, input={"q": "needles"})),
        of(1, step(0, output=["a", b"x", {"needle"}])),
        of(1, step(0, error=StepError(type="E", message="NEEDLE"))),
        of(
            1,
            step(
                0, kind=StepKind.MODEL, messages=(Message(role="user", parts=({"type": "text", "content": "needle"},)),)
            ),
        ),
        of(1, below(user_input="needle")),
        of(1, below(final_output="Needle")),
        of(1, below(step(0, output="needle"))),
        of(1, below(below(step(0, error=StepError(type="E", message="needle"))))),
    ],
    ids=range(13),
)
@pytest.mark.parametrize("text", ["needle", "NEEDLE", "eedl"])
def test_text_stands_anywhere_in_a_run(run: AgentRun, text: str) -> None:
    """In question, answer, errors, inputs, outputs and messages, of sub-agents too, in upper or lower case."""
    assert is_found(run, text=text)


@pytest.mark.parametrize(
    "run",
    [
        of(1),
        of(1, agent_name="needle", model="needle", session_id="needle", metadata={"a": "needle"}),
        of(1, step(0, name="needle", attributes={"a": "needle"}, metadata={"b": "needle"})),
        of(1, user_input="need", final_output="le"),
        of(
            1,
            step(0, kind=StepKind.MODEL, messages=(Message(role="user", parts=({"type": "needle", "content": "x"},)),)),
        ),
    ],
    ids=range(5),
)
def test_text_does_not_stand_in_names_and_attributes(run: AgentRun) -> None:
    """What a run is called, and what was noted beside it, is no text of its conversation."""
    assert not is_found(run, text="needle")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4711, "4711"),
        ({"order": 4711}, "471"),
        (0.25, "0.25"),
        ("Straße", "STRASSE"),
        (datetime.date(2026, 11, 23), "2026-11-23"),
        (-(10**30), "-1" + "0" * 30),
    ],
    ids=lambda value: type(value).__name__,
)
def test_text_of_values_that_are_no_texts(value: Any, text: str) -> None:
    """Numbers and dates are found as they are written, and letters that have no single upper-case one."""
    assert is_found(of(1, step(0, output=value)), text=text)


@pytest.mark.parametrize("value", [10**5000, float("nan"), None, True, b"\xff"], ids=range(5))
def test_text_in_values_that_can_hardly_be_written(value: Any) -> None:
    """No value makes a search fail."""
    assert not is_found(of(1, step(0, output=value)), text="x y")


def test_text_in_a_list_that_holds_itself() -> None:
    """What a backend gives is looked at once."""
    ring: list[Any] = ["needle"]
    ring.append(ring)
    assert is_found(of(1, final_output=ring), text="needle")
    assert not is_found(of(1, final_output=ring), text="thread")


def test_an_empty_text_is_in_all_that_say_something() -> None:
    assert is_found(of(1, user_input="q"), text="")


# ── tools and models ─────────────────────────────────────────────────────────────────────────────────────────────────

FAILED = StepError(type="OSError", message="no")


@pytest.mark.parametrize(
    ("run", "found"),
    [
        (of(1, step(0, name="search", error=FAILED)), ["search", "*", True]),
        (of(1, step(0, name="search")), []),
        (of(1, step(0, name="search"), step(1, name="read", error=FAILED)), ["read", "*", True]),
        (of(1, below(step(0, name="search", error=FAILED))), ["search", "*", True]),
        (of(1, step(0, kind=StepKind.MODEL, name="search", error=FAILED)), []),
        (of(1, step(0, kind=StepKind.AGENT, name="search", error=FAILED)), []),
        (of(1, status=RunStatus.ERROR, error=FAILED), []),
    ],
    ids=range(7),
)
def test_tool_error_is_a_tool_that_failed(run: AgentRun, found: list[Any]) -> None:
    """By its name or any, in sub-agents too, whether the run failed or not."""
    assert [asked for asked in ("search", "read", "*", True) if is_found(run, tool_error=asked)] == found


@pytest.mark.parametrize(
    "run",
    [
        of(1, model="gpt-4"),
        of(1, step(0, kind=StepKind.MODEL, model="m"), step(1, kind=StepKind.MODEL, model="gpt-4")),
        of(1, step(0, kind=StepKind.MODEL, model="gpt-4-0613", attributes={"gen_ai.request.model": "gpt-4"})),
        of(1, below(model="gpt-4")),
        of(1, below(step(0, kind=StepKind.MODEL, model="gpt-4"))),
    ],
    ids=range(5),
)
def test_model_of_any_call(run: AgentRun) -> None:
    """The model that was asked or that answered, of any call; the whole name."""
    assert is_found(run, model="gpt-4")
    assert not is_found(run, model="gpt")
    assert not is_found(run, model="GPT-4")


# ── how long ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "least_ns"),
    [
        ("1.5s", 1_500_000_000),
        (1.5, 1_500_000_000),
        ("1.5", 1_500_000_000),
        (2, 2_000_000_000),
        (0.1, 100_000_000),
        (0.3, 300_000_000),
        (1e-9, 1),
        ("0.000000001", 1),
        ("1.000000001s", 1_000_000_001),
        ("200ms", 200_000_000),
        (" 2 m ", 120_000_000_000),
        ("1h", 3_600_000_000_000),
        ("17ns", 17),
        ("3us", 3_000),
        (datetime.timedelta(microseconds=1), 1_000),
        (9007199.254740993, 9_007_199_254_740_993),
        (1_000_000_000, 10**18),
    ],
    ids=str,
)
def test_min_duration_is_exact_to_the_nanosecond(asked: Any, least_ns: int) -> None:
    """A run that took just as long is long enough, one of a nanosecond less is not."""
    for took_ns, found in ((least_ns, True), (least_ns - 1, False), (least_ns + 1, True)):
        assert is_found(of(1, ended_at_ns=BEGAN_NS + SECOND_NS + took_ns), min_duration=asked) is found


def test_min_duration_leaves_out_what_has_not_ended() -> None:
    running = of(1, status=RunStatus.RUNNING, ended_at_ns=None)
    assert is_found(running)
    assert not is_found(running, min_duration=0)
    assert is_found(of(1), min_duration=0)


# ── facts and tags ───────────────────────────────────────────────────────────────────────────────────────────────────

FACTS = of(
    1,
    step(0, attributes={"a.b": 1}),
    below(step(1, attributes={"deep.one": [1, "x"]})),
    metadata={"tenant": "acme", "a.b.c": 1, "": "empty", "none": None, "list": [1, {"k": 2.0}]},
    resource={"deployment.environment.name": "prod", "n": 1},
    attributes={"http.route": "/x", "metadata": "own", "step": 1, "flag": True},
)


@pytest.mark.parametrize(
    "where",
    [
        {"metadata.tenant": "acme"},
        {"metadata.a.b.c": 1},
        {"metadata.": "empty"},
        {"metadata.none": None},
        {"metadata.list": [1, {"k": 2.0}]},
        {"resource.deployment.environment.name": "prod"},
        {"step.a.b": 1},
        {"step.deep.one": [1, "x"]},
        {"http.route": "/x"},
        {"flag": True},
        {"metadata.tenant": "acme", "resource.n": 1, "step.a.b": 1, "http.route": "/x"},
        {"step.a.b": 1, "step.deep.one": [1, "x"]},
        {},
    ],
    ids=str,
)
def test_where_facts_are_equal(where: dict[str, Any]) -> None:
    """Of the run, its resource, any step; keys as they are; of several all."""
    assert is_found(FACTS, where=where)


@pytest.mark.parametrize(
    "where",
    [
        {"metadata.tenant": "Acme"},
        {"metadata.tenant": "acm"},
        {"metadata.a": {"b": {"c": 1}}},
        {"metadata.a.b.c": 1.0},
        {"metadata.a.b.c": True},
        {"metadata.a.b.c": "1"},
        {"metadata.list": (1, {"k": 2.0})},
        {"metadata.list": [1, {"k": 2}]},
        {"metadata.nothing": None},
        {"tenant": "acme"},
        {"resource.tenant": "acme"},
        {"resource.n": 2},
        {"step.http.route": "/x"},
        {"a.b": 1},
        {"flag": 1},
        {"metadata.tenant": "acme", "resource.n": 2},
    ],
    ids=str,
)
def test_where_facts_differ(where: dict[str, Any]) -> None:
    """By type, by value, or by the place where they stand."""
    assert not is_found(FACTS, where=where)


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        ("a", True),
        ("b", True),
        (["a"], True),
        (("a", "b"), True),
        (frozenset(["a"]), True),
        ([], True),
        ("c", False),
        (["a", "c"], False),
        ("A", False),
        ("ab", False),
        ("", False),
    ],
    ids=str,
)
def test_tags_must_all_be_there(tag: Any, found: bool) -> None:
    assert is_found(of(1, tags=("a", "b")), tag=tag) is found


# ── status ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_interrupted_runs_are_running_ones_whose_process_is_gone() -> None:
    """One of which nobody knows is running, and not interrupted."""
    running = {"status": RunStatus.RUNNING, "ended_at_ns": None}
    gone, unknown, alive = of(1, **running, interrupted=True), of(2, **running), of(3, **running, interrupted=False)
    kept = GivenRuns(gone, unknown, alive, of(4), of(5, interrupted=True))
    assert load_runs(kept, status="interrupted") == [gone]
    assert load_runs(kept, status="running") == [gone, unknown, alive]


def test_paused_runs_are_those_that_a_signal_ended_and_no_successes() -> None:
    """A run that failed in spite of a signal is one that failed; the filter agrees with the rates of metrics."""
    paused, failed = of(1, interrupted_for={"approve": "pay?"}), of(2, status=RunStatus.ERROR, interrupted_for="x")
    succeeded, running = of(3), of(4, status=RunStatus.RUNNING, ended_at_ns=None, interrupted_for="x")
    kept = GivenRuns(paused, failed, succeeded, running)
    for status, found in (
        ("paused", paused),
        ("error", failed),
        ("success", succeeded),
        (RunStatus.SUCCESS, succeeded),
        ("running", running),
    ):
        assert load_runs(kept, status=status) == [found]
    assert load_runs(kept, status="interrupted") == []


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def sized(number: int, steps: int, tokens: int | None, took_ns: int | None) -> AgentRun:
    """A run of a size, a second later than the one of the number before."""
    began = BEGAN_NS + number * SECOND_NS
    return of(
        number,
        *(step(index) for index in range(steps)),
        usage=None if tokens is None else Usage(input_tokens=tokens - 1, output_tokens=1),
        ended_at_ns=None if took_ns is None else began + took_ns,
    )


SIZED = (
    sized(0, 2, 30, 500),
    sized(1, 5, None, 100),
    sized(2, 2, 90, None),
    sized(3, 0, 30, 900),
    sized(4, 1, 60, 500),
)


@pytest.mark.parametrize("limit", [None, 0, 1, 2, 3, 5, 9])
@pytest.mark.parametrize(
    ("sort", "numbers"),
    [
        ("time", [4, 3, 2, 1, 0]),
        ("duration", [3, 4, 0, 1, 2]),  # of equal ones the newer first; what has not ended last
        ("steps", [1, 2, 0, 4, 3]),
        ("tokens", [2, 4, 3, 0, 1]),
    ],
)
def test_the_largest_or_newest_come_first(sort: Any, numbers: list[int], limit: int | None) -> None:
    expected = [SIZED[number].run_id for number in numbers][:limit]
    for read in (load_runs, iter_runs):
        assert [run.run_id for run in read(GivenRuns(*SIZED), sort=sort, limit=limit)] == expected
        assert [run.run_id for run in read(GivenRuns(*SIZED[::-1]), RunQuery(sort=sort, limit=limit))] == expected


def test_steps_of_sub_agents_count() -> None:
    few, many = of(1, step(0), step(1)), of(2, below(step(0), step(1)))
    assert load_runs(GivenRuns(few, many), sort="steps") == [many, few]


def test_sort_goes_before_newest_first() -> None:
    assert [run.run_id for run in load_runs(GivenRuns(*SIZED), sort="steps", newest_first=True, limit=1)] == [
        SIZED[1].run_id
    ]


def test_keywords_go_before_the_query() -> None:
    query = RunQuery(tool="t", sort="steps", limit=2)
    assert [run.run_id for run in load_runs(GivenRuns(*SIZED), query, limit=1)] == [SIZED[1].run_id]
    assert [run.run_id for run in load_runs(GivenRuns(*SIZED), query, tool="none")] == []


# ── scores ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def scored(number: int, *scores: Score, **fields: Any) -> AgentRun:
    """A run with just these scores."""
    return of(number, **{"scores": scores, **fields})


def helpful(value: Any = None, **fields: Any) -> Score:
    return Score(name="helpful", value=value, **fields)


@pytest.mark.parametrize(
    ("condition", "scores", "fits"),
    [
        ("helpful<0.5", [helpful(0.25)], True),
        ("helpful < 0.5", [helpful(0.5)], False),
        ("helpful<=0.5", [helpful(0.5)], True),
        ("helpful>=1", [helpful(True)], True),
        ("helpful=true", [helpful(True)], True),
        ("helpful=true", [helpful(1.0)], True),
        ("helpful!=true", [helpful(False)], True),
        ("helpful==1e-1", [helpful(0.1)], True),
        ("helpful=pass", [helpful(label="pass")], True),
        ("helpful=pass", [helpful(0.9, label="pass")], True),
        ("helpful!=pass", [helpful(label="fail")], True),
        ("helpful!=pass", [helpful(0.9)], False),
        ("helpful=5", [helpful(label="5")], True),
        ("helpful=true", [helpful(label="True")], True),
        ("helpful>4", [helpful(label="great")], False),
        ("helpful", [helpful(explanation="why")], True),
        ("helpful", [], False),
        ("helpful", [Score(name="help", value=1)], False),
        ("helpful<0.5", [helpful(0.1), helpful(0.9)], False),
        ("helpful<0.5", [helpful(0.1, source="a"), helpful(0.9, source="b")], True),
        ("helpful<0.5", [helpful(float("nan"))], False),
        ("helpful>0.5", [helpful(float("inf"))], False),
        ("helpful>0.5", [helpful(10**400)], False),
        (["helpful>0.1", "helpful<0.5"], [helpful(0.25)], True),
        (["helpful>0.1", "helpful<0.2"], [helpful(0.25)], False),
        ([], [], True),
    ],
    ids=str,
)
def test_scores_that_count_must_fit(condition: Any, scores: list[Score], fits: bool) -> None:
    """The newest of a name and source counts; of several sources any may fit."""
    run = scored(1, *scores)
    assert RunQuery(score=condition).matches(run) is fits
    assert load_runs(GivenRuns(run), score=condition) == [run] * fits


@pytest.mark.parametrize("below_run", [step(0, scores=(helpful(0.1),)), below(scores=(helpful(0.1),))])
def test_scores_of_steps_count_where_the_run_has_none(below_run: AgentStep) -> None:
    assert RunQuery(score="helpful<0.5").matches(of(1, below_run))
    assert not RunQuery(score="helpful<0.5").matches(of(1, below_run, scores=(helpful(0.9),)))


def test_a_limit_counts_runs_whose_score_fits() -> None:
    given = GivenRuns(*[scored(number, helpful(number % 2)) for number in range(6)])
    found = load_runs(given, score="helpful=1", newest_first=True, limit=2)
    assert [run.run_id for run in found] == [scored(5).run_id, scored(3).run_id]


@pytest.mark.parametrize("limit", [None, 1, 3, 9])
def test_the_largest_score_comes_first_and_none_last(limit: int | None) -> None:
    """Of equal values, and of runs without any, the newer come first."""
    largest = sys.float_info.max
    runs = [
        scored(0, helpful(0.5)),
        scored(1, helpful(label="pass")),
        scored(2, helpful(True, source="a"), helpful(False, source="b")),
        scored(3, helpful(-3)),
        scored(4),
        scored(5, helpful(float("nan"))),
        scored(6, helpful(largest, source="a"), helpful(largest, source="b")),
        scored(7, helpful(10**400)),
    ]
    expected = [runs[number].run_id for number in (6, 2, 0, 3, 7, 5, 4, 1)][:limit]
    assert [run.run_id for run in load_runs(GivenRuns(*runs), sort="score:helpful", limit=limit)] == expected
    assert [run.run_id for run in iter_runs(GivenRuns(*runs[::-1]), sort="score:helpful", limit=limit)] == expected


# ── which run ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("read", [load_run, lambda source, run_id: explain_run(source, run_id).run])
def test_a_run_is_named_by_its_id_its_beginning_or_last(path: Path, runs: list[AgentRun], read: Any) -> None:
    run, inner = runs[6], runs[6].steps[2].run
    assert inner is not None
    assert read(path, run.run_id) == run
    assert read(path, inner.run_id) == inner
    assert read(path, inner.run_id[:-1]) == inner
    assert read(path, "last") == runs[9]
    assert read(GivenRuns(make_run(0x5F), *runs), f"{0x60:032x}"[:-1]) == make_run(0x5F)


def test_a_run_id_as_a_filter_finds_the_outermost_run(path: Path, runs: list[AgentRun]) -> None:
    inner = runs[6].steps[2].run
    assert inner is not None
    assert load_runs(path, run_id=inner.run_id) == [runs[6]]
    assert load_runs(path, run_id="0" * 31) == runs
    assert load_runs(path, run_id="last") == [runs[9]]
    assert load_runs(path, run_id="last", status="error") == [runs[8]]
    assert load_runs(path, run_id="nonesuch") == []


def test_every_trace_of_a_joined_run_names_it() -> None:
    """In whole or by its beginning; one that fits exactly goes before those that begin so."""
    joined = of(1, trace_ids=(f"{2:032x}", "abc1", "abcd"))
    other = of(3, run_id="abc")
    for name in (f"{2:032x}", "abc1", "abcd"):
        assert load_run(GivenRuns(joined, other), name) == joined
    assert load_run(GivenRuns(joined, other), "abc") == other
    assert load_run(GivenRuns(joined), "abc") == joined
    with pytest.raises(AmbiguousRunError, match="'ab' matches 2 runs"):
        load_run(GivenRuns(joined, other), "ab")
    with pytest.raises(RunNotFoundError, match="no run 'abx' in GivenRuns"):
        load_run(GivenRuns(joined, other), "abx")
    with pytest.raises(AmbiguousRunError, match="give the id of one"):
        load_run(GivenRuns(joined, other))


# ── keywords ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "call",
    [
        lambda **keywords: load_runs("x.jsonl", **keywords),
        lambda **keywords: iter_runs("x.jsonl", **keywords),
        lambda **keywords: load_run("x.jsonl", **keywords),
        lambda **keywords: explain_run("x.jsonl", "last", **keywords),
        lambda **keywords: export_spans("x.jsonl", "http://localhost:1", **keywords),
        RunQuery.of,
    ],
    ids=["load_runs", "iter_runs", "load_run", "explain_run", "export_spans", "RunQuery"],
)
def test_each_misspelt_keyword_is_named_with_the_closest(call: Callable[..., Any], request: Any) -> None:
    with pytest.raises(TypeError) as refused:
        call(servce="a", zzz=1)
    name = request.node.callspec.id
    assert str(refused.value) == f"{name}() got unexpected keyword arguments 'servce' (did you mean 'service'?), 'zzz'"
    with pytest.raises(
        TypeError, match=rf"{name}\(\) got an unexpected keyword argument 'servic' \(did you mean 'service'\?\)"
    ):
        call(servic="a")


@pytest.mark.parametrize("function", [load_runs, iter_runs, export_spans])
def test_signatures_show_the_real_keywords(function: Callable[..., Any]) -> None:
    parameters = inspect.signature(function).parameters
    assert set(RunQuery.__struct_fields__) | {"source", "query", "on_problem", "on_progress"} <= set(parameters)
    assert not [item for item in parameters.values() if item.kind is item.VAR_KEYWORD]
    assert (parameters["source"].kind, parameters["tool_error"].kind) == (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )


HUGE = 10**6000
"""An integer that Python refuses to write as text."""


@pytest.mark.parametrize(
    ("filters", "expected_message"),
    [
        ({"sort": "size"}, "sort must be one of time, duration, steps, tokens, cost, score:NAME, got 'size'"),
        ({"sort": "score:"}, "sort must be one of time, duration, steps, tokens, cost, score:NAME, got 'score:'"),
        ({"score": 5}, "score must be a string, got 5"),
        *(({"score": wrong}, f'score must be like "helpful<0.5", "correct=true" or "verdict=pass", got {wrong!r}')
          for wrong in ["", "<0.5", "helpful<", "a<>5", "a=>5", "verdict<pass", "a<nan", "a<0.5\nb"]),
        ({"score": ["helpful", "=x"]}, "score must be like"),
        ({"limit": True}, "limit must be an integer, got True"),
        ({"tag": 5}, "tag must be a string, got 5"),
        ({"tag": ["a", 5]}, "tag must be a string"),
        ({"text": 5}, "text must be a string, got 5"),
        ({"tool_error": 5}, "tool_error must be a string or True, got 5"),
        ({"model": ["m"]}, "model must be a string"),
        ({"where": "a=b"}, """where must be a mapping like {"metadata.tenant": "acme"}, got 'a=b'"""),
        ({"where": {1: 2}}, "where must be a mapping"),
        ({"min_duration": HUGE}, "min_duration must be seconds, or a text like"),
        ({"limit": -HUGE}, "limit must not be negative, got a value of type int"),
        ({"status": HUGE}, "status must be one of"),
        ({"sort": HUGE}, "sort must be one of"),
        ({"where": HUGE}, "where must be a mapping"),
        ({"agent": HUGE}, "agent must be a string, got a value of type int"),
        ({"user_id": HUGE}, "user_id must be a string, got a value of type int"),
        *(({"min_duration": wrong}, f'min_duration must be seconds, or a text like "200ms", "1.5s" or "2m", got {wrong!r}') for wrong in
          ["long", "", "1y", "-1", -1, -0.5, float("nan"), float("inf"), True, [], datetime.timedelta(-1)]),
    ],
    ids=shown,
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(filters: dict[str, Any], expected_message: str) -> None:
    """Before anything is read, by all that take it."""
    for call in (RunQuery, lambda **given: load_runs("missing.jsonl", **given)):
        with pytest.raises(ConfigurationError) as refused:
            call(**filters)
        assert expected_message in str(refused.value)


@pytest.mark.parametrize("limit", [10**30, HUGE], ids=["30 digits", "6000 digits"])
def test_a_limit_may_be_any_number(limit: int) -> None:
    source = GivenRuns(*SIZED)
    assert len(load_runs(source, limit=limit)) == len(list(iter_runs(source, limit=limit))) == len(SIZED)


@pytest.mark.parametrize("given", [None, {"agent": "a"}, "agent=a"], ids=str)
def test_a_query_that_is_none_is_refused(given: Any) -> None:
    for call in (load_runs, iter_runs, functools.partial(export_spans, endpoint="http://localhost:1")):
        with pytest.raises(ConfigurationError, match=r"query must be a RunQuery, got .*RunQuery\.of\(\*\*mapping\)"):
            call(GivenRuns(), query=given)


def test_a_keyword_takes_back_the_order_of_a_query() -> None:
    """The runs are then yielded as they are read."""
    given = GivenRuns(*SIZED)
    newest = RunQuery(newest_first=True)
    as_read = [run.run_id for run in iter_runs(given)]
    assert [run.run_id for run in iter_runs(given, newest)] != as_read
    assert [run.run_id for run in iter_runs(given, newest, newest_first=False)] == as_read
    assert [run.run_id for run in iter_runs(given, newest, agent=None)] != as_read
    assert (RunQuery().newest_first, RunQuery(newest_first=False) == RunQuery()) == (False, True)


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def listed(write: Write, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Lists runs of a file, by what they were asked."""
    step_of = {"attributes": {"shop.order": 5, "shop.ok": True}}
    made = [
        of(0, step(0, name="search", error=FAILED, **step_of), user_input="first", metadata={"tenant": "acme", "n": 1},
           scores=(Score(name="helpful", value=0.75), Score(name="correct", value=True))),
        of(1, step(0, kind=StepKind.MODEL, name="m", model="gpt-4"), user_input="second", metadata={"n": "1"}),
        of(2, step(0), step(1), step(2), user_input="third", ended_at_ns=BEGAN_NS + 5 * SECOND_NS,
           scores=(Score(name="helpful", value=0.25),)),
    ]  # fmt: skip
    file = write("list.jsonl", lines_of(span for run in made for span in run_to_spans(run)))

    def call(*words: str) -> list[str]:
        capsys.readouterr()
        assert main(["list", str(file), "--json", *words]) == 0
        return [run["user_input"] for run in json.loads(capsys.readouterr().out)]

    return call


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], ["third", "second", "first"]),
        (["--text", "FIR"], ["first"]),
        (["--tool-error", "search"], ["first"]),
        (["--tool-error", "*"], ["first"]),
        (["--tool-error", "t"], []),
        (["--model", "gpt-4"], ["second"]),
        (["--min-duration", "3s"], ["third"]),
        (["--min-duration", "2.999999999"], ["third"]),
        (["--min-duration", "3.000000001"], []),
        (["--where", "metadata.tenant=acme"], ["first"]),
        (["--where", "metadata.n=1"], ["first"]),
        (["--where", 'metadata.n="1"'], ["second"]),
        (["--where", "step.shop.order=5", "--where", "step.shop.ok=true"], ["first"]),
        (["--where", "step.shop.order=5", "--where", "metadata.tenant=other"], []),
        (["--sort", "steps"], ["third", "second", "first"]),
        (["--sort", "duration", "--limit", "1"], ["third"]),
        (["--score", "helpful<0.5"], ["third"]),
        (["--score", "helpful", "--score", "correct=true"], ["first"]),
        (["--score", "helpful<2", "--limit", "1"], ["third"]),
        (["--sort", "score:helpful"], ["first", "third", "second"]),
        (["--sort", "score:correct", "--limit", "1"], ["first"]),
        (["--tag", "none"], []),
        (["--status", "interrupted"], []),
        (["--limit", "0", "--sort", "time"], ["third", "second", "first"]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_list_takes_each_filter(listed: Callable[..., list[str]], words: list[str], found: list[str]) -> None:
    assert listed(*words) == found


@pytest.mark.parametrize(
    ("words", "expected_message"),
    [
        (["--where", "tenant"], "'tenant' must be like metadata.tenant=acme"),
        (["--where", "=x"], "'=x' must be like metadata.tenant=acme"),
        (["--min-duration", "long"], "got 'long'"),
        (["--sort", "size"], "sort must be one of time, duration, steps, tokens, cost, score:NAME, got 'size'"),
        (["--score", "helpful<"], "got 'helpful<'"),
        (["--status", "great"], "'great'"),
    ],
)
@pytest.mark.parametrize(
    "command", [["list"], ["metrics"], ["export", "--to", "otlp-json"]], ids=lambda words: words[0]
)
def test_commands_refuse_what_cannot_be_meant(
    capsys: pytest.CaptureFixture[str], path: Path, command: list[str], words: list[str], expected_message: str
) -> None:
    assert main([command[0], str(path), *command[1:], *words]) == 2
    assert expected_message in capsys.readouterr().err


def test_text_in_each_of_many_values_of_classes() -> None:
    """What is made to be looked at does not hide what is looked at next."""
    memory = InMemoryBackend()
    with AgentTracer(memory).run() as run, run.step("search") as step:
        step.output = [Labelled("alpha"), Labelled("beta"), Labelled("gamma")]
    assert [len(load_runs(memory, text=word)) for word in ("alpha", "beta", "gamma")] == [1, 1, 1]


@dataclasses.dataclass
class Labelled:
    label: str
