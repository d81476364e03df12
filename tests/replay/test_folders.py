"""The folder of a replay: what other processes read from it, and what they note in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, extract, inject, replay_run
from otel_agent_trace.replay.claims import ANSWERED, EXECUTED, UNASKED
from otel_agent_trace.replay.folders import ReplayFolder
from otel_agent_trace.replay.options import Options, checked_options
from otel_agent_trace.replay.recordings import Recording
from otel_agent_trace.replay.shared_claims import SharedClaims
from tests.support.requirements import needs_fork, needs_locks

PLAIN: dict[str, Any] = {"on_miss": "fail", "live": (), "patch": {}, "until": None, "ignore": {}}


class City:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def run() -> AgentRun:
    """A run of two steps with values of many types."""
    backend = InMemoryBackend()
    with AgentTracer(backend=backend, user_ids="none").run(agent_name="agent") as active:
        for number in range(2):
            with active.step("look", {"number": number, "pair": (1, b"x"), "city": City("Rome")}, kind="tool") as step:
                step.output = {"found": {1, 2}}
    return backend.runs()[0]


def options_of(run: AgentRun, **changes: Any) -> Options:
    return checked_options(Recording([run]), **{**PLAIN, **changes})


@pytest.fixture
def folders(run: AgentRun) -> Iterator[tuple[ReplayFolder, ReplayFolder]]:
    """A folder, as its owner and another process have it."""
    options = options_of(run, live=["other"], until=2, ignore={"look": ["city"]}, patch={1: ("patched",), 2: lambda: 0})
    made = ReplayFolder.make([run], options)
    yield made, ReplayFolder.opened(made.path)
    made.close()


def test_another_process_has_the_same_recording_and_options(folders: tuple[ReplayFolder, ReplayFolder]) -> None:
    made, opened = folders
    assert [one.to_dict() for one in opened.recording.runs] == [one.to_dict() for one in made.recording.runs]
    assert opened.options._replace(patches={}) == made.options._replace(patches={})
    first, second = opened.options.patches.values()
    assert first == ("patched",)
    assert "cannot be pickled" in str(second.exception)
    assert (made.is_owner, opened.is_owner, made.id) == (True, False, opened.id)
    assert made.environment() == {"OTEL_AGENT_TRACE_REPLAY": made.path}
    assert os.stat(made.path).st_mode & 0o077 == 0


def test_claims_are_those_of_all_processes(folders: tuple[ReplayFolder, ReplayFolder]) -> None:
    made, opened = folders
    assert [claims.take([1, 2], ANSWERED) for claims in (made.claims, opened.claims, made.claims)] == [1, 2, None]
    opened.claims.mark(0, EXECUTED)
    assert [made.claims.state(number) for number in range(3)] == [EXECUTED, ANSWERED, ANSWERED]
    assert made.missing() == []


def test_missing_calls_are_those_that_no_process_asked_for(folders: tuple[ReplayFolder, ReplayFolder]) -> None:
    made, opened = folders
    opened.claims.mark(0, EXECUTED)
    opened.claims.mark(1, ANSWERED)
    assert [(one.name, one.step) for one in made.missing()] == [("look", "2")]


def test_notes_are_read_in_order(folders: tuple[ReplayFolder, ReplayFolder]) -> None:
    made, opened = folders
    assert (made.answered(), made.live(), made.divergences(), made.spans()) == ([], [], [], [])
    for name in ("a", "b\n"):
        opened.notes.add("answered", name)
    opened.notes.add("live", "c")
    opened.notes.add("divergence", {"reason": "why", "name": "d"})
    assert (made.answered(), made.live()) == (["a", "b\n"], ["c"])
    assert [(one.reason, one.name) for one in made.divergences()] == [("why", "d")]


def test_after_the_end_notes_are_lost_without_an_error(folders: tuple[ReplayFolder, ReplayFolder]) -> None:
    made, opened = folders
    made.close()
    assert not opened.exists()
    opened.notes.add("answered", "late")
    assert not Path(made.path).exists()
    assert opened.claims.take([1], ANSWERED) == 1


@needs_fork
@needs_locks
def test_each_call_is_taken_once_by_all_processes(tmp_path: Path) -> None:
    """A forked child would have the lock of its parent if it did not open the file itself."""
    size, children = 300, 4
    (tmp_path / "claims").write_bytes(bytes([UNASKED]) * size)
    claims = SharedClaims(str(tmp_path / "claims"))
    reading, writing = os.pipe()
    pids = []
    for _ in range(children):
        pids.append(os.fork())
        if not pids[-1]:
            try:
                while (number := claims.take(range(size), ANSWERED)) is not None:
                    os.write(writing, number.to_bytes(2, "big"))
            finally:
                os._exit(0)
    for pid in pids:
        os.waitpid(pid, 0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        taken = pipe.read()
    numbers = [int.from_bytes(taken[at : at + 2], "big") for at in range(0, len(taken), 2)]
    assert sorted(numbers) == list(range(size))


def test_nothing_is_left_of_a_replay(run: AgentRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with replay_run(run, on_miss="live") as session:
        assert session.folder is not None
        assert os.environ["OTEL_AGENT_TRACE_REPLAY"] == session.folder.path
    assert os.listdir(tmp_path) == []
    assert "OTEL_AGENT_TRACE_REPLAY" not in os.environ


def test_a_carrier_has_the_place_in_a_replay_only(run: AgentRun) -> None:
    tracer = AgentTracer(backend=InMemoryBackend(), user_ids="none")

    @tracer.tool
    def look(number: int) -> str:
        raise AssertionError(number)

    assert "agentreplay" not in inject()
    with replay_run(run, on_miss="error"), tracer.run(agent_name="agent"):
        carrier = inject()
        assert carrier["agentreplay"].endswith(":0")
    with extract(carrier), pytest.raises(Exception, match="belongs to a replay that is over"):
        look(1)
    assert "agentreplay" not in inject()
