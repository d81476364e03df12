"""What ``status`` counts in a store."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from otel_agent_trace import AgentTracer, FileBackend, TailSampling
from tests.support.export_command import Result
from tests.support.processes import environment

RunCommand = Callable[..., Result]

KILLED = """
import os, sys
from otel_agent_trace import AgentTracer, FileBackend, TailSampling
with AgentTracer(FileBackend(sys.argv[1])) as tracer, tracer.run(user_input="killed"):
    os.kill(os.getpid(), 9)
"""


def status_of(run_command: RunCommand, path: Path) -> dict[str, Any]:
    result = run_command("status", path, "--json")
    assert (result.code, result.err) == (0, "")
    data: dict[str, Any] = json.loads(result.out)
    return data


def write_runs(path: Path, number: int, **settings: Any) -> None:
    with AgentTracer(FileBackend(path, **settings)) as tracer:
        for question in range(number):
            with tracer.run(user_input=question), tracer.run(agent_name="inner"):
                pass


def test_a_plain_file(tmp_path: Path, run_command: RunCommand) -> None:
    """Outermost runs are counted, ended spans, and the bytes on disk."""
    path = tmp_path / "t.jsonl"
    write_runs(path, 3)
    status = status_of(run_command, path)
    assert status["segments"] == {"closed": 0, "live": 1}
    assert (status["runs"], status["spans"], status["bytes"]) == (3, 6, path.stat().st_size)
    assert status["first_ns"] < status["last_ns"]
    assert status["journals"] == {"alive": 0, "dead": 0, "unknown": 0}
    assert status["index"] == {"present": False, "bytes": 0}
    assert (status["media"], status["damage"], status["damaged"]) == ({"parts": 0, "bytes": 0}, 0, [])


def test_segments_are_counted_with_the_live_file(tmp_path: Path, run_command: RunCommand) -> None:
    """Own segments, and what logrotate renamed, are closed; by the path of the live file as by the folder."""
    path = tmp_path / "t.jsonl"
    write_runs(path, 9, rotate_bytes=4096)
    (tmp_path / "t.jsonl.1").write_bytes(path.read_bytes())
    (tmp_path / "t-old.jsonl").write_bytes(b"")  # another store of that folder
    closed = len([*tmp_path.glob("t-2*.jsonl")]) + 1
    assert closed > 2
    status = status_of(run_command, path)
    assert (status["segments"], status["runs"]) == ({"closed": closed, "live": 1}, 9)
    assert status["bytes"] == sum(file.stat().st_size for file in tmp_path.glob("t*.jsonl*") if file.is_file())
    assert status_of(run_command, tmp_path)["segments"] == {"closed": closed, "live": 2}
    path.unlink()
    assert status_of(run_command, path)["segments"] == {"closed": closed, "live": 0}


def test_journals_are_alive_or_dead(tmp_path: Path, run_command: RunCommand) -> None:
    """The journal of this process is alive, that of a killed one dead; runs in flight are counted."""
    path = tmp_path / "t.jsonl"
    subprocess.run([sys.executable, "-c", KILLED, path], env=environment(), check=False)
    with AgentTracer(FileBackend(tmp_path / "other.jsonl")) as tracer, tracer.run(user_input="alive"):
        assert status_of(run_command, path)["journals"] == {"alive": 0, "dead": 1, "unknown": 0}
        assert status_of(run_command, path)["runs"] == 1
        both = status_of(run_command, tmp_path)
        assert both["journals"] == {"alive": 1, "dead": 1, "unknown": 0}
        assert both["runs"] == 2


def test_what_lies_beside_is_counted(tmp_path: Path, run_command: RunCommand) -> None:
    """The index with its log, and the binary parts, by number and bytes."""
    path = tmp_path / "t.jsonl"
    write_runs(path, 1)
    (tmp_path / "t.jsonl.index").write_bytes(b"x" * 100)
    (tmp_path / "t.jsonl.index-wal").write_bytes(b"x" * 10)
    folder = tmp_path / "t.jsonl.media"
    folder.mkdir()
    (folder / f"{hashlib.sha256(b'x' * 7).hexdigest()}.png").write_bytes(b"x" * 7)
    status = status_of(run_command, path)
    assert status["index"] == {"present": True, "bytes": 110}
    assert status["media"] == {"parts": 1, "bytes": 7}
    assert status["bytes"] == path.stat().st_size


def test_damage_is_counted_and_shown(tmp_path: Path, run_command: RunCommand) -> None:
    """Damage does not keep the rest from being counted; people see where it is."""
    path = tmp_path / "t.jsonl"
    write_runs(path, 2)
    path.write_bytes(path.read_bytes() + b'{"resourceSpans":[{"resou\n')
    status = status_of(run_command, path)
    assert (status["runs"], status["damage"]) == (2, 1)
    (damaged,) = status["damaged"]
    assert (damaged["path"], damaged["line"]) == (str(path), 5)
    shown = run_command("status", path).out
    assert "0 closed, 1 live" in shown
    assert f"{path}:5: " in shown


def test_a_store_that_is_not_there(tmp_path: Path, run_command: RunCommand) -> None:
    """It is an error of usage."""
    result = run_command("status", tmp_path / "missing.jsonl")
    assert result.code == 2
    assert "missing.jsonl: No such file" in result.err


def test_sampling(tmp_path: Path, run_command: RunCommand) -> None:
    """How many traces were dropped, and the files of that; no number once runs were removed."""
    path = tmp_path / "t.jsonl"
    write_runs(path, 1)
    assert status_of(run_command, path)["sampling"] == {"dropped": None, "bytes": 0}
    with AgentTracer(FileBackend(path), sampling=TailSampling(rest=0)) as tracer:
        for _ in range(3):
            with tracer.run():
                pass
    folder = tmp_path / "t.jsonl.sampling"
    size = sum(each.stat().st_size for each in folder.iterdir())
    assert status_of(run_command, path)["sampling"] == {"dropped": 3, "bytes": size}
    assert "3 traces dropped" in run_command("status", path).out
    (folder / "removals").touch()
    assert status_of(run_command, path)["sampling"] == {"dropped": None, "bytes": size}
    assert "runs were removed" in run_command("status", path).out
