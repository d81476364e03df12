"""What tail holds in memory is bounded, and what it shows does not depend on the bounds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from otel_agent_trace import AgentTracer, FileBackend
from otel_agent_trace.sources import run_events
from otel_agent_trace.sources.run_events import Event
from otel_agent_trace.sources.tail import Tail


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of 200 runs of two steps, of which one is open the whole time, and two at a time are at work."""
    path = tmp_path / "t.jsonl"
    with AgentTracer(FileBackend(path, rotate_bytes=20_000)) as tracer, tracer.run(agent_name="long"):
        for number in range(200):
            run_id = tracer.start_run(agent_name=f"run {number}", parent=None)
            tracer.log_step(run_id, {"tool_name": "first", "tool_input": number})
            tracer.log_step(run_id, {"tool_name": "second", "tool_input": number})
            tracer.end_run(run_id)
    return path


def look_once(path: Path) -> list[Event]:
    reader = Tail(str(path))
    events = [*reader.look(is_last=True)]
    reader.close()
    return events


def by_run(events: list[Event]) -> dict[str, list[tuple[str, str | None]]]:
    runs: dict[str, list[tuple[str, str | None]]] = {}
    for event in events:
        runs.setdefault(event.run_id, []).append((event.event, event.span_id))
    return runs


@pytest.mark.parametrize(
    "limits", [{"_SWEEP_LINES": 8, "_MOST_SORTED": 16}, {"_SWEEP_LINES": 8, "_MOST_RECENT": 64}], ids=str
)
def test_bounds_change_at_most_the_order_of_runs(
    path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]
) -> None:
    """With little room, each run has the same events in the same order."""
    expected = look_once(path)
    assert Counter(event.event for event in expected)["step_ended"] == 400
    for name, value in limits.items():
        monkeypatch.setattr(run_events, name, value)
    found = look_once(path)
    assert len(found) == len(expected)
    assert by_run(found) == by_run(expected)


def test_little_is_held_while_a_run_goes_on(tmp_path: Path) -> None:
    """Of a long run only what is open is held, however many of its steps have ended."""
    reader = Tail(str(tmp_path / "t.jsonl"))
    with AgentTracer(FileBackend(tmp_path / "t.jsonl")) as tracer, tracer.run() as run:
        for _ in range(5):
            for _ in range(50):
                with run.step("s"):
                    pass
            assert Counter(event.event for event in reader.look())["step_ended"] == 50
            held = [len(trace.spans) + len(trace.stages) for trace in reader._traces._open.values()]
            assert sum(held) <= 4
    assert [event.event for event in reader.look()] == ["run_ended"]
    assert not reader._traces._open
    reader.close()


def test_too_many_open_traces_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that have been quiet for longest go, as those that sampling drops, whose ends never come."""
    monkeypatch.setattr(run_events, "_MOST_OPEN", 20)
    reader = Tail(str(tmp_path / "t.jsonl"))
    with AgentTracer(FileBackend(tmp_path / "t.jsonl")) as tracer:
        for number in range(50):
            tracer.start_run(user_input=number)
        assert [event.event for event in reader.look()] == ["run_started"] * 50
        assert len(reader._traces._open) == 18
        assert [*reader.look()] == []
    reader.close()
