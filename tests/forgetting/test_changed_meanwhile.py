"""Runs are removed from all files, although programs close and compress these while they are removed."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_agent_trace import load_runs
from otel_agent_trace.forgetting import Forgotten, files, forget, oldest, passes, prune
from otel_agent_trace.query import RunQuery
from otel_agent_trace.span import Problem
from otel_agent_trace.store import replacing
from otel_agent_trace.store.compaction import compact
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.settings import store_settings
from tests.support.moments import act_after, act_before
from tests.support.requirements import needs_locks
from tests.support.stores import agent, segment

ANN, BOB = {"user.id": "ann"}, {"user.id": "bob"}

MOMENTS = {
    "counted": (passes, "_state_of"),
    "opened": (files, "content_of"),
    "checked": (passes, "check_writers"),
    "replaced": (files, "replace"),
    "copied": (replacing, "written_beside"),
}


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A store of two files, each with a run of Ann and one of Bob."""
    path = tmp_path / "t.jsonl"
    segment(path, agent(1, attributes=ANN), agent(2, attributes=BOB), days_ago=1)
    path.write_bytes(agent(3, attributes=ANN) + agent(4, attributes=BOB))
    return path


def close(path: Path, *then: bytes) -> None:
    path.rename(StoreFiles(str(path)).new_segment(time.time_ns()))
    if then:
        path.write_bytes(b"".join(then))


def compress(path: Path) -> None:
    compact(StoreFiles(str(path)), store_settings({"compress": "zst"}))


def fail(problem: Problem) -> None:
    pytest.fail(str(problem))


def users(path: Path) -> list[str | None]:
    return [run.user_id for run in load_runs(path, strict=True)]


def forget_ann(path: Path, *, apply: bool = True) -> Forgotten:
    return forget(path, user_id="ann", apply=apply, on_problem=fail)


CHANGES: dict[str, Callable[[Path], None]] = {
    "closed": close,
    "closed, and another begun": lambda path: close(path, agent(5, attributes=BOB)),
    "compressed": compress,
}


@needs_locks
@pytest.mark.parametrize("moment", ["counted", "opened", "checked"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_forgotten_is_in_no_file(live: Path, monkeypatch: pytest.MonkeyPatch, moment: str, change: str) -> None:
    act_before(monkeypatch, *MOMENTS[moment], lambda: CHANGES[change](live))
    forgotten = forget_ann(live)
    assert set(users(live)) == {"bob"}
    assert (forgotten.runs, forgotten.spans, forgotten.left) == (2, 2, ())


@pytest.mark.parametrize("moment", ["replaced", "copied"])
def test_a_file_that_is_closed_before_it_is_replaced(live: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    Path(StoreFiles(str(live)).segments()[0]).unlink()
    act_before(monkeypatch, *MOMENTS[moment], lambda: close(live, agent(5, attributes=BOB)))
    forgotten = forget_ann(live)
    assert users(live) == ["bob", "bob"]
    assert (forgotten.spans, forgotten.left) == (1, ())


@needs_locks
@pytest.mark.parametrize("change", CHANGES)
def test_what_would_be_forgotten_is_counted_once(live: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    act_before(monkeypatch, passes, "_state_of", lambda: CHANGES[change](live))
    assert forget_ann(live, apply=False).spans == 2


@needs_locks
def test_the_oldest_are_removed_while_files_are_compressed(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act_before(monkeypatch, oldest, "content_of", lambda: compress(live))
    removed = prune(live, RunQuery(), keep_bytes=0, apply=True, on_problem=fail)
    assert load_runs(live) == []
    assert removed.left == ()


def test_a_file_that_is_closed_each_time_is_reported(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = files.replace

    def closed_and_replaced(path: str, copy: replacing.Copy) -> None:
        Path(path).rename(StoreFiles(str(live)).new_segment(time.time_ns()))
        replace(path, copy)

    monkeypatch.setattr(files, "replace", closed_and_replaced)
    forgotten = forget_ann(live)
    assert len(forgotten.left) == 2
    assert all("try again" in problem.reason for problem in forgotten.left)
    assert forgotten.spans == 0


def test_a_file_that_is_closed_after_it_failed_is_reported(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str, _: object) -> None:
        raise PermissionError(errno.EACCES, "not permitted", path)

    store = StoreFiles(str(live))
    Path(store.segments()[0]).unlink()
    monkeypatch.setattr(files, "replace", refused)
    act_after(monkeypatch, passes, "problem_of", lambda: close(live))
    forgotten = forget_ann(live)
    assert forgotten.left == (Problem(store.segments()[0], 0, "not permitted"),)
    assert forgotten.spans == 0
