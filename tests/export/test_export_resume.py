"""An export that was interrupted goes on where it stopped, and misses nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import threading
from pathlib import Path

import pytest

from tests.support.export_command import Exporter, ids, trace, write
from tests.support.fake_receivers import OK, Answer, FakeReceiver, Request, poisoned
from tests.support.waiting import DEADLOCK_S

TRACES = [trace(number, names="abc", size=40_000) for number in range(1, 160)]  # some 10 requests
ALL = ids(TRACES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "t.jsonl", TRACES)


def interrupted(receiver: FakeReceiver, export: Exporter, path: Path, after: int) -> None:
    """An export of which so many requests are answered, before the receiver goes away for good.

    Requests that were on their way then may still come afterwards.
    """
    receiver.answer = lambda request: OK if request.number < after else Answer(401)
    assert export(path, "--to", receiver.endpoint).code == 2
    receiver.answer = lambda request: OK
    receiver.requests.clear()


def test_a_complete_export_leaves_nothing_behind(http_receiver: FakeReceiver, export: Exporter, path: Path) -> None:
    """A second one sends everything again, which readers do not mind: the ids are the same."""
    for times in (1, 2):
        result = export(path, "--to", http_receiver.endpoint)
        assert result.code == 0
        assert http_receiver.ids() == sorted(ALL * times)
        assert export.states() == []


def test_an_interrupted_export_goes_on(http_receiver: FakeReceiver, export: Exporter, path: Path) -> None:
    """What was answered is not sent again, all else is; what is left behind is private and goes away at the end."""
    interrupted(http_receiver, export, path, after=6)
    [state] = export.states()
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert state.parent == export.home / "otel-agent-trace" / "export"
    delivered = len(state.read_text().splitlines())
    assert 0 < delivered < len(TRACES)
    result = export(path, "--to", http_receiver.endpoint, "--json")
    assert result.code == 0
    output = json.loads(result.out)
    assert output["traces_before"] == delivered
    assert output["spans"] == 4 * (len(TRACES) - delivered)
    assert set(http_receiver.ids()) == set(ALL)
    assert export.states() == []


def test_again_begins_anew(http_receiver: FakeReceiver, export: Exporter, path: Path) -> None:
    """For a receiver that has forgotten everything."""
    interrupted(http_receiver, export, path, after=6)
    http_receiver.accepted.clear()
    result = export(path, "--to", http_receiver.endpoint, "--again")
    assert result.code == 0
    assert result.out.startswith(f"{len(ALL)} spans of")
    assert set(http_receiver.ids()) == set(ALL)
    assert export.states() == []


def test_another_export_is_another(
    http_receiver: FakeReceiver, grpc_receiver: FakeReceiver, export: Exporter, path: Path, tmp_path: Path
) -> None:
    """Another endpoint, filter, header or file has not been delivered."""
    interrupted(http_receiver, export, path, after=6)
    other = write(tmp_path / "other.jsonl", TRACES)
    for arguments in (
        (path, "--to", grpc_receiver.endpoint),
        (path, "--to", http_receiver.endpoint, "--agent", "a"),
        (path, "--to", http_receiver.endpoint, "--header", "x-tenant=other"),
        (other, "--to", http_receiver.endpoint),
    ):
        assert "before" not in export(*arguments).out
    assert len(export.states()) == 1
    assert "before" in export(path, "--to", http_receiver.endpoint).out


def test_a_grown_store_is_right(http_receiver: FakeReceiver, export: Exporter, path: Path) -> None:
    """A trace that has more spans than it had is sent again, with all of them."""
    interrupted(http_receiver, export, path, after=6)
    [state] = export.states()
    delivered = len(state.read_text().splitlines())  # which ones depends on how busy the machine is
    late = trace(1, names="abcd")[-1]
    write(path, [[late], trace(999)])
    http_receiver.accepted.clear()
    assert export(path, "--to", http_receiver.endpoint).code == 0
    sent = http_receiver.ids()
    assert set(ids([[*TRACES[0], late], trace(999)])) <= set(sent)
    not_sent_again = [known for known in TRACES[1:] if not set(ids([known])) & set(sent)]
    assert len(not_sent_again) in (delivered, delivered - 1)  # the grown one may be among them


def test_what_was_refused_is_named_again(http_receiver: FakeReceiver, export: Exporter, tmp_path: Path) -> None:
    """A trace is only delivered when each of its spans was taken."""
    traces = [trace(1, names=("poison",)), *TRACES[1:]]
    path = write(tmp_path / "t.jsonl", traces)
    refuse = poisoned(Answer(400, b"no"))

    def answer(request: Request) -> Answer:
        refusal = refuse(request)
        return Answer(401) if refusal is OK and len(http_receiver.accepted) > 250 else refusal

    http_receiver.answer = answer
    assert export(path, "--to", http_receiver.endpoint).code == 2
    http_receiver.answer = refuse
    result = export(path, "--to", http_receiver.endpoint)
    assert result.code == 1
    assert "(poison)" in result.err
    assert "before" in result.out


@pytest.mark.parametrize("damage", [b"", b"nonsense\n", b"0123", b"\0" * 100, b"0" * 16])
def test_a_damaged_state_costs_at_most_a_repetition(
    http_receiver: FakeReceiver, export: Exporter, path: Path, damage: bytes
) -> None:
    """Torn lines, and what is no state at all, are skipped; what is added stays readable."""
    interrupted(http_receiver, export, path, after=3)
    [state] = export.states()
    state.write_bytes(state.read_bytes() + damage)
    interrupted(http_receiver, export, path, after=2)
    assert export(path, "--to", http_receiver.endpoint).code == 0
    assert set(http_receiver.ids()) == set(ALL)


@pytest.mark.parametrize("kind", ["file", "state is a folder", "state is a pipe"])
def test_a_state_that_cannot_be_kept_costs_a_warning(
    http_receiver: FakeReceiver, export: Exporter, path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The export works without it."""
    if kind == "file":
        export.home.write_text("in the way")
    else:
        interrupted(http_receiver, export, path, after=3)
        [state] = export.states()
        state.unlink()
        state.mkdir() if kind == "state is a folder" else os.mkfifo(state)
        http_receiver.accepted.clear()
    result = export(path, "--to", http_receiver.endpoint)
    assert result.code == 0
    assert set(http_receiver.ids()) == set(ALL)
    assert result.err.count("warning: ") == 1


# ── killed ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_kills(
    http_receiver: FakeReceiver, grpc_receiver: FakeReceiver, export: Exporter, tmp_path: Path, scheme: str
) -> None:
    """Killed ten times in the midst, then run to its end: nothing is missing.

    What had no answer while the process lived, the receiver has not taken.
    """
    receiver = grpc_receiver if scheme == "grpc" else http_receiver
    traces = [trace(number, names="abcdef", size=30_000) for number in range(1, 600)]
    path = write(tmp_path / "t.jsonl", traces)
    for _ in range(10):
        seen = len(receiver.requests)
        wanted = seen + random.randint(2, 6)
        hold = threading.Event()

        def answer(request: Request, wanted: int = wanted, hold: threading.Event = hold) -> Answer:
            if request.number < wanted:
                return OK
            hold.wait(DEADLOCK_S)
            return Answer(503)

        receiver.answer = answer
        with export.start(path, "--to", receiver.endpoint) as process:
            receiver.wait_for_requests(wanted)
            process.send_signal(signal.SIGKILL)
            process.wait()
        hold.set()
    assert len(export.states()) == 1
    receiver.answer = lambda request: OK
    with export.start(path, "--to", receiver.endpoint) as process:
        assert process.wait(DEADLOCK_S) == 0
        assert process.stdout is not None
        assert "were delivered before" in process.stdout.read()
    assert set(receiver.ids()) == set(ids(traces))
    assert export.states() == []


def test_ctrl_c_ends_cleanly(http_receiver: FakeReceiver, export: Exporter, path: Path) -> None:
    """Status 130 at once, also while a request waits for its answer, and a word on how to go on."""
    hold = threading.Event()
    http_receiver.answer = lambda request: OK if request.number < 5 else (hold.wait(DEADLOCK_S) and OK) or OK
    with export.start(path, "--to", http_receiver.endpoint, "--timeout", "600") as process:
        http_receiver.wait_for_requests(7)
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLOCK_S) == 130
        assert process.stderr is not None
        errors = process.stderr.read()
    hold.set()
    assert "the same command resumes from there" in errors
    assert "Traceback" not in errors
    assert len(export.states()) == 1
    http_receiver.answer = lambda request: OK
    assert export(path, "--to", http_receiver.endpoint).code == 0
    assert set(http_receiver.ids()) == set(ALL)
