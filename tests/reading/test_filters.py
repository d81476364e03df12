"""Each filter gives the runs that it names, and what cannot be meant is refused."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, RunStatus, iter_runs, load_runs, pseudonymize_user_id, run_to_spans
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.query import moment_ns
from tests.support.sample_runs import BEGAN_NS, failed_run, lines_of, make_run

Write = Callable[..., Path]
UTC = datetime.timezone.utc
DAY_S = 86_400


def numbers(runs: list[AgentRun]) -> list[int]:
    """Which of the ten runs these are."""
    return [int(run.trace_id or "", 16) - 1 for run in runs]


# ── what a run is like ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, range(10)),
        ({"agent": "weather"}, range(10)),
        ({"agent": "Weather"}, []),
        ({"agent": "helper"}, []),  # only a sub-agent's name
        ({"status": "error"}, [2, 5, 8]),
        ({"status": RunStatus.SUCCESS}, [0, 1, 3, 4, 6, 7, 9]),
        ({"status": "running"}, []),
        ({"status": "timeout"}, []),
        ({"tool": "search"}, range(10)),
        ({"tool": "inner-tool"}, range(10)),  # of the sub-agent
        ({"tool": "helper"}, []),  # an agent, not a tool
        ({"tool": "m"}, []),  # a model, not a tool
        ({"user_id": "user-3"}, [3]),
        ({"user_id": "user"}, []),
        ({"session_id": "session-7"}, [7]),
        ({"status": "error", "user_id": "user-5", "agent": "weather", "tool": "search"}, [5]),
        ({"status": "error", "user_id": "user-4"}, []),
        ({"agent": ""}, []),
    ],
)
def test_filters(path: Path, filters: dict[str, Any], found: list[int]) -> None:
    """A run must be like all that is asked for."""
    assert numbers(load_runs(path, **filters)) == list(found)


def test_user_is_found_by_name_and_by_pseudonym(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who knows the key finds a user's runs by the id that the program knows; everybody by the pseudonym."""
    hidden = make_run(1, user_id=pseudonymize_user_id("alice"))
    plain = make_run(2, user_id="alice")
    file = write("runs.jsonl", lines_of(span for run in (hidden, plain) for span in run_to_spans(run)))
    assert numbers(load_runs(file, user_id="alice")) == [1, 2]
    assert numbers(load_runs(file, user_id=pseudonymize_user_id("alice"))) == [1]
    monkeypatch.setenv("OTEL_AGENT_TRACE_USER_KEY", "another")
    assert numbers(load_runs(file, user_id="alice")) == [2]


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

NOON = datetime.datetime(2026, 11, 23, 23, 3, 25, tzinfo=UTC)  # when the run number 5 began


@pytest.mark.parametrize(
    "moment",
    [
        NOON,
        NOON.astimezone(datetime.timezone(datetime.timedelta(hours=-7))),
        "2026-11-23T23:03:25Z",
        "2026-11-23T23:03:25+00:00",
        "2026-11-24 01:03:25+02:00",
        "  2026-11-23T23:03:25.000+00:00 ",
        NOON.timestamp(),
        int(NOON.timestamp()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_since_and_until(path: Path, moment: Any) -> None:
    """Since is from that moment on, until is before it, in every way to say it."""
    assert numbers(load_runs(path, since=moment)) == [5, 6, 7, 8, 9]
    assert numbers(load_runs(path, until=moment)) == [0, 1, 2, 3, 4]
    assert load_runs(path, since=moment, until=moment) == []


def test_microseconds_are_exact() -> None:
    """A moment is not moved by the rounding of seconds as a float."""
    for micros in range(0, 1_000_000, 997):
        moment = NOON.replace(microsecond=micros)
        assert moment_ns(moment) == moment_ns(moment.isoformat()) == BEGAN_NS + 5_000_000_000 + micros * 1000


def test_a_run_is_since_its_own_start(path: Path, runs: list[AgentRun]) -> None:
    """The start that a run tells finds the run."""
    for run in runs:
        assert numbers(load_runs(path, since=run.started_at, limit=1)) == numbers([run])


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_days_and_naive_times_are_local(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day, and a time without an offset, are those of the place where the question is asked."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        midnight = datetime.datetime(2026, 11, 23).astimezone()
        for day in (datetime.date(2026, 11, 23), "2026-11-23", datetime.datetime(2026, 11, 23), "2026-11-23T00:00"):
            assert moment_ns(day) == int(midnight.timestamp()) * 10**9
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("ago", "seconds"),
    [
        ("30s", 30),
        ("30 m", 1800),
        ("12h", 12 * 3600),
        ("7d", 7 * DAY_S),
        ("1.5d", 1.5 * DAY_S),
        ("2w", 14 * DAY_S),
        (" 7d ", 7 * DAY_S),
        (datetime.timedelta(days=7), 7 * DAY_S),
        (datetime.timedelta(microseconds=-1), -1e-6),
    ],
    ids=lambda value: type(value).__name__,
)
def test_ago(ago: Any, seconds: float) -> None:
    """A length of time is counted back from now."""
    before, found, after = time.time_ns(), moment_ns(ago), time.time_ns()
    assert before - seconds * 1e9 - 1000 <= found <= after - seconds * 1e9 + 1000


def test_seven_days(write: Write) -> None:
    """ "7d" keeps the runs of the last week."""
    now = time.time_ns()
    made = [
        make_run(n, started_at_ns=now - days * DAY_S * 10**9, steps=(), ended_at_ns=now) for n, days in ((1, 8), (2, 6))
    ]
    file = write("runs.jsonl", lines_of(span for run in made for span in run_to_spans(run)))
    assert numbers(load_runs(file, since="7d")) == [2]
    assert numbers(load_runs(file, until="7d")) == [1]
    assert numbers(load_runs(file, since=datetime.timedelta(days=7))) == [2]


# ── how many, in which order ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [0, 1, 3, 10, 11])
def test_limit(path: Path, limit: int) -> None:
    """At most so many: the oldest, or with newest_first the newest."""
    assert numbers(load_runs(path, limit=limit)) == list(range(10))[:limit]
    assert numbers(load_runs(path, limit=limit, newest_first=True)) == list(range(9, -1, -1))[:limit]
    assert len(list(iter_runs(path, limit=limit))) == min(limit, 10)


def test_limit_counts_what_is_found(path: Path) -> None:
    """Runs that are not asked for do not count."""
    assert numbers(load_runs(path, status="error", limit=2)) == [2, 5]
    assert numbers(load_runs(path, status="error", limit=2, newest_first=True)) == [8, 5]
    assert numbers(list(iter_runs(path, status="error", limit=2))) == [2, 5]


def test_order_is_by_start(write: Write, runs: list[AgentRun]) -> None:
    """Oldest first, wherever in the file the runs stand; equal starts are ordered by id."""
    simultaneous = [make_run(n, started_at_ns=BEGAN_NS, steps=()) for n in (30, 20)]
    stored = [*reversed(runs[3:]), *simultaneous]
    file = write("runs.jsonl", lines_of(span for run in stored for span in run_to_spans(run)))
    assert numbers(load_runs(file)) == [20, 30, *range(3, 10)]
    assert numbers(load_runs(file, newest_first=True)) == [*range(9, 2, -1), 30, 20]
    assert numbers(list(iter_runs(file, newest_first=True, limit=8))) == [*range(9, 2, -1), 30]


def test_streaming_stops_at_the_limit(write: Write, lines: list[bytes]) -> None:
    """What comes after the last run that is asked for need not be right."""
    many = [line for n in range(300) for line in lines_of(run_to_spans(make_run(n)))]
    file = write("runs.jsonl", [*many, b"bad\n"])
    assert numbers(list(iter_runs(file, strict=True, limit=5))) == [0, 1, 2, 3, 4]


# ── what cannot be meant ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("filters", "expected_message"),
    [
        ({"status": "great"}, "status must be one of running, success, error, timeout"),
        ({"status": ""}, "status must be one of"),
        ({"status": 5}, "status must be one of"),
        ({"status": []}, "status must be one of"),
        ({"limit": -1}, "limit must not be negative, got -1"),
        ({"limit": "3"}, "limit must be"),
        ({"limit": 2.0}, "limit must be"),
        *(
            ({name: value}, "a time must be")
            for name in ("since", "until")
            for value in (
                *(
                    "yesterday",
                    "",
                    "7",
                    "7 days",
                    "-7d",
                    "d",
                    "7D",
                    "2026-13-01",
                    "24:00",
                    "9" * 400 + "d",
                    "2026-11-23T",
                ),
                *(float("nan"), float("inf"), True, object(), [], datetime.datetime.min, datetime.date.min),
            )
        ),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("read", [load_runs, iter_runs])
def test_bad_filters(read: Callable[..., Any], path: Path, filters: dict[str, Any], expected_message: str) -> None:
    """What cannot be meant is refused before anything is read, and the refusal names it."""
    with pytest.raises(ConfigurationError) as refused:
        read(path.parent / "missing.jsonl", **filters)
    assert expected_message in str(refused.value)
    assert repr(next(iter(filters.values()))) in str(refused.value)


def test_unknown_filter(path: Path) -> None:
    """A filter that there is not is a mistake in the call."""
    with pytest.raises(TypeError, match="agnet"):
        load_runs(path, agnet="weather")  # type: ignore[call-arg]


def test_failed_runs_tell_their_error(path: Path) -> None:
    """What the status filter finds has the error that made it so."""
    for run in load_runs(path, status="error"):
        assert run == failed_run(int(run.trace_id or "", 16) - 1)
