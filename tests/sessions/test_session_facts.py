"""What a session is of its runs: which of them, in which order, and their totals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_agent_trace import (
    AgentRun,
    AgentSession,
    ConfigurationError,
    RunQuery,
    RunStatus,
    Score,
    StepKind,
    Usage,
    iter_runs,
    iter_sessions,
    load_runs,
    load_sessions,
)
from otel_agent_trace.model import AgentStep, StepError
from tests.support.sample_runs import BEGAN_NS, make_run

S = 1_000_000_000
FAILED = StepError(type="ValueError", message="no")


def only(runs: list[AgentRun], **query: Any) -> AgentSession:
    (session,) = load_sessions(_Backend(runs), **query)
    return session


class _Backend:
    def __init__(self, runs: list[AgentRun]) -> None:
        self.kept = runs

    def runs(self) -> list[AgentRun]:
        return self.kept


def turn(number: int, **fields: Any) -> AgentRun:
    return make_run(number, **{"session_id": "s", "user_id": "anna", "usage": None, "steps": (), **fields})


def bare(number: int, *steps: AgentStep, usage: Usage | None = None) -> AgentRun:
    return turn(number, steps=steps, usage=usage)


# ── which runs ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_runs_of_a_session_are_in_order_of_time_and_those_without_one_are_left_out(write) -> None:
    runs = [turn(3), turn(1, session_id="t"), turn(0), turn(2, session_id=None), turn(4, session_id="")]
    first, second = load_sessions(write(runs))
    assert (first.session_id, first.runs[0].run_id) == ("t", runs[1].run_id)
    assert [run.run_id for run in second.runs] == [runs[2].run_id, runs[0].run_id]
    assert [*second.runs] == load_runs(write(runs), session_id="s")


def test_a_filter_selects_runs_and_a_session_consists_of_those(write) -> None:
    path = write([turn(0), turn(1, tags=("x",)), turn(2, session_id="t"), turn(3, tags=("x",))])
    (session,) = load_sessions(path, tag="x")
    assert [run.started_at_ns for run in session.runs] == [BEGAN_NS + S, BEGAN_NS + 3 * S]
    assert load_sessions(path, RunQuery(tag="x")) == [session]
    assert [run.tags for run in load_sessions(path, RunQuery(tag="x"), tag=None, run_id="last")[0].runs] == [("x",)]


def test_sub_agents_are_no_turns(write) -> None:
    (session,) = load_sessions(write([make_run(1)]))
    assert [run.run_id for run in session.runs] == [make_run(1).run_id]
    assert session.runs[0].steps[2].run is not None


def test_all_keywords_of_the_readers_are_taken() -> None:
    import inspect

    for one, other in ((iter_runs, iter_sessions), (load_runs, load_sessions)):
        assert inspect.signature(one).parameters == inspect.signature(other).parameters
    with pytest.raises(TypeError, match="load_sessions.*did you mean 'session_id'"):
        load_sessions([], sesion_id="s")  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError):
        load_sessions([], limit=-1)


# ── in which order ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, ["b", "c", "a"]),
        ({"newest_first": True}, ["a", "c", "b"]),
        ({"sort": "time"}, ["a", "c", "b"]),
        ({"sort": "duration"}, ["a", "c", "b"]),
        ({"sort": "tokens"}, ["b", "a", "c"]),
        ({"sort": "steps"}, ["c", "a", "b"]),
        ({"sort": "score:helpful"}, ["b", "c", "a"]),
        ({"limit": 1}, ["b"]),
        ({"limit": 2, "newest_first": True}, ["a", "c"]),
        ({"limit": 0}, []),
    ],
)
def test_order_and_limit_are_of_sessions(write, query: dict[str, Any], ids: list[str]) -> None:
    many = tuple(AgentStep(step_id=place, started_at_ns=BEGAN_NS, ended_at_ns=BEGAN_NS) for place in range(5))
    path = write(
        [
            turn(0, session_id="a"),
            turn(9, session_id="a", usage=Usage(input_tokens=1)),
            turn(1, session_id="b", usage=Usage(input_tokens=7), scores=(Score(name="helpful", value=0.5, at_ns=1),)),
            turn(2, session_id="c", scores=(Score(name="helpful", value=0.0, at_ns=1),)),
            turn(4, session_id="c", steps=many),
        ]
    )
    assert [session.session_id for session in load_sessions(path, **query)] == ids
    assert [session.session_id for session in iter_sessions(path, **query)] == ids
    assert all(len(session.runs) == (1 if session.session_id == "b" else 2) for session in iter_sessions(path, **query))


# ── what they are together ───────────────────────────────────────────────────────────────────────────────────────────


def test_times_are_the_first_start_and_the_last_end() -> None:
    session = only([turn(0, ended_at_ns=BEGAN_NS + 9 * S), turn(1)])
    assert (session.started_at_ns, session.ended_at_ns, session.duration_s) == (BEGAN_NS, BEGAN_NS + 9 * S, 9)


RUNNING: dict[str, Any] = {"status": RunStatus.RUNNING, "ended_at_ns": None}
STATUSES = [
    ([{}, {"status": RunStatus.TIMEOUT}], RunStatus.TIMEOUT, True),
    ([{"status": RunStatus.ERROR}, {}], RunStatus.SUCCESS, True),
    ([RUNNING, {}], RunStatus.RUNNING, False),
    ([{**RUNNING, "interrupted": True}, {}], RunStatus.SUCCESS, True),
    ([{}, {**RUNNING, "interrupted": True}], RunStatus.RUNNING, True),
    ([{**RUNNING, "interrupted": True}], RunStatus.RUNNING, False),
    ([{}, {"interrupted_for": "?"}], RunStatus.SUCCESS, True),
]


@pytest.mark.parametrize(("fields", "status", "has_end"), STATUSES)
def test_the_status_is_running_while_a_run_is_and_else_that_of_the_last(fields, status, has_end) -> None:
    session = only([turn(number, **each) for number, each in enumerate(fields)])
    assert (session.status, session.ended_at_ns is not None) == (status, has_end)


@pytest.mark.parametrize(
    ("users", "user"), [(["anna", "anna"], "anna"), (["anna", None], "anna"), (["anna", "bo"], None), ([None], None)]
)
def test_the_user_is_the_one_that_the_runs_agree_on(users: list[str | None], user: str | None) -> None:
    assert only([turn(number, user_id=each) for number, each in enumerate(users)]).user_id == user


def test_no_token_counts_twice() -> None:
    """Of a run that has its sum and its calls, and a sub-agent that its caller's usage includes."""
    call = AgentStep(kind=StepKind.MODEL, usage=Usage(input_tokens=5, output_tokens=1), span_id="1" * 16)
    below = AgentRun(run_id="below", steps=(call,), usage=call.usage)
    agent = AgentStep(kind=StepKind.AGENT, run=below, step_id=1, span_id="2" * 16)
    own_sum = Usage(input_tokens=10, output_tokens=2)
    session = only([bare(0, call, agent, usage=own_sum), bare(1, usage=Usage(input_tokens=3)), bare(2)])
    assert session.usage == Usage(input_tokens=13, output_tokens=2)
    assert only([bare(0)]).usage is None


def test_scores_are_in_the_order_in_which_they_were_given() -> None:
    late = Score(name="late", value=1, at_ns=BEGAN_NS + 60 * S)
    soon, second = Score(name="soon", value=True, at_ns=BEGAN_NS + S), Score(name="second", value=0.5)
    session = only([turn(0, scores=(soon, late)), turn(30, scores=(second,)), turn(31)])
    assert session.scores == (soon, second, late)


def test_of_the_scores_of_a_run_the_newest_of_each_source_count() -> None:
    given = (
        Score(name="helpful", value=0, source="HUMAN", at_ns=1),
        Score(name="helpful", value=1, source="HUMAN", at_ns=2),
        Score(name="helpful", value=0.5, source="LLM", at_ns=3),
        Score(name="verdict", label="pass", at_ns=4),
    )
    more = (Score(name="helpful", value=False, source="HUMAN", at_ns=9), Score(name="huge", value=10**400, at_ns=9))
    session = only([turn(0, scores=given), turn(1, scores=more)])
    assert session.scores_by_name() == {"helpful": (*given[1:3], more[0]), "verdict": given[3:], "huge": more[1:]}
    assert session.to_dict()["mean_scores"] == {"helpful": 0.5, "verdict": None, "huge": None}


def test_failed_and_continued_runs_are_named() -> None:
    runs = [
        turn(0, interrupted_for="ok?"),
        turn(1, continues=turn(0).run_id),
        turn(2, status=RunStatus.ERROR, error=FAILED),
        turn(3, status=RunStatus.TIMEOUT),
    ]
    session = only(runs)
    assert session.first_failed is not None
    assert (session.runs[session.first_failed].run_id, session.failed) == (runs[2].run_id, 2)
    assert session.continued == {runs[1].run_id: runs[0].run_id}
    assert (only(runs[:2]).first_failed, only(runs[:1]).continued) == (None, {})


def test_equal_are_sessions_with_the_same_turns(write) -> None:
    runs = [turn(0), turn(1)]
    read = load_sessions(write(runs))
    assert read == load_sessions(write(runs)) == [only(runs)]
    assert hash(read[0]) == hash(only(runs))
    assert read[0] != only(runs[:1])
    assert read[0] != "s"


def test_neither_repr_nor_dict_have_content() -> None:
    scores = (Score(name="helpful", value=float("nan"), at_ns=1),)
    session = only([turn(number, user_input="secret", final_output="secret", scores=scores) for number in range(99)])
    shown, data = repr(session), session.to_dict()
    assert "secret" not in shown + json.dumps(data)
    assert len(shown) < 200
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert (data["session_id"], data["turns"], len(data["runs"]), data["duration_s"]) == ("s", 99, 99, 98.5)
    assert data["runs"][1]["started_at"] == "2026-11-23T23:03:21+00:00"


def test_the_mean_of_scores_that_no_double_can_sum() -> None:
    runs = [turn(number, scores=(Score("x", 1.7e308),)) for number in range(3)]
    assert only(runs).to_dict()["mean_scores"] == {"x": 1.7e308}
    assert len(load_sessions(_Backend(runs), sort="score:x")) == 1
