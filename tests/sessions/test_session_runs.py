"""The runs of a session: a sequence that reads them when they are asked for, in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from otel_agent_trace import AgentRun, AgentSession, RunNotFoundError, load_sessions
from otel_agent_trace.sessions import runs as session_runs
from otel_agent_trace.sessions.runs import MOST_HELD
from tests.support.sample_runs import make_run

RUNS = [make_run(number, session_id="s") for number in range(9)]


def session_of(source: Any) -> AgentSession:
    (session,) = load_sessions(source)
    return session


def test_it_is_a_sequence(write) -> None:
    runs = session_of(write(RUNS)).runs
    assert len(runs) == 9
    assert (runs[0], runs[-1]) == (RUNS[0], RUNS[-1])
    assert [*runs[2:8:2]] == RUNS[2:8:2]
    assert [*runs[2:][::-1][1:3]] == RUNS[2:][::-1][1:3]
    assert [*reversed(runs)] == RUNS[::-1]
    assert runs[20:] is not runs
    assert [*runs[20:]] == []
    assert RUNS[3] in runs
    assert RUNS[3] not in runs[4:]
    assert "run" not in runs
    assert (runs.index(RUNS[3]), runs.count(RUNS[3]), runs[1:].index(RUNS[3])) == (3, 1, 2)
    for outside in (9, -10):
        with pytest.raises(IndexError):
            runs[outside]
    with pytest.raises(ValueError, match="not in the sequence"):
        runs.index(RUNS[3], 4)


@given(order=st.permutations(range(9)), start=st.integers(-9, 9), step=st.sampled_from([-3, -2, -1, 1, 2, 3]))
@settings(max_examples=30, deadline=None)
def test_in_whatever_order_a_source_has_them_they_come_in_theirs(counted, order, start, step) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_runs, "MOST_HELD", 2)
        runs = session_of(counted(lambda: [RUNS[place] for place in order])).runs
        assert [*runs[start::step]] == RUNS[start::step]


def test_a_source_in_order_is_read_once_more_and_backwards_in_parts(counted) -> None:
    many = [make_run(number, session_id="s", steps=()) for number in range(2 * MOST_HELD + 1)]
    source = counted(lambda: many)
    session = session_of(source)
    assert source.passes == 1
    assert [*session.runs] == many
    assert source.passes == 2
    assert [*reversed(session.runs)] == many[::-1]
    assert source.passes == 5
    assert session.runs[4] == many[4]
    assert source.passes == 6


@pytest.mark.parametrize("step", [1, -1])
def test_memory_does_not_grow_with_what_the_runs_have(counted, step: int) -> None:
    count, content = 1_000, 50_000

    def made() -> Iterator[AgentRun]:
        return (make_run(n, session_id="s", steps=(), final_output=f"{n}" + "x" * content) for n in range(count))

    tracemalloc.start()
    try:
        session = session_of(counted(made))
        _, peak_of_listing = tracemalloc.get_traced_memory()
        assert sum(1 for _ in session.runs[::step]) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_of_listing < count * 2_000 + 2 * content
    assert peak < count * 3_000 + (MOST_HELD + 4) * content if step < 0 else peak < count * 3_000 + 4 * content


# ── a source that changes ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_went_on_is_read_as_it_is_now(write) -> None:
    begun = make_run(1, session_id="s", steps=RUNS[1].steps[:1])
    session = session_of(write([RUNS[0], begun]))
    write(RUNS)
    assert [*session.runs] == RUNS[:2]
    assert len(session.runs) == 2


def test_a_run_that_began_earlier_than_was_known_is_found(write) -> None:
    known = make_run(50, session_id="s", run_id="r", steps=())
    session = session_of(write([known]))
    earlier = AgentRun.from_dict({**known.to_dict(), "started_at_ns": RUNS[0].started_at_ns})
    write([earlier, *RUNS])
    assert session.runs[0] == earlier


def test_a_run_that_is_gone_is_an_error_that_names_it(write) -> None:
    path = write(RUNS)
    session = session_of(path)
    write(RUNS[:4] + RUNS[5:])
    assert session.runs[3] == RUNS[3]
    with pytest.raises(
        RunNotFoundError, match=rf"run '{RUNS[4].run_id}' of session 's' is no longer in .*traces\.jsonl"
    ):
        session.runs[4]
    walked = iter(session.runs)
    assert [next(walked) for _ in range(4)] == RUNS[:4]
    with pytest.raises(RunNotFoundError):
        next(walked)


def test_runs_with_one_id_are_each_read(counted) -> None:
    """As of a program that begins the same run again after an error, and of a backend that has no trace ids."""
    made = (make_run(number, session_id="s", run_id="order-1", steps=()) for number in (1, 2, 3))
    twice = [replace(run, trace_id=None, trace_ids=()) for run in made]
    assert [*session_of(counted(lambda: twice[::-1])).runs] == twice
