"""The command `otel-agent-trace compact`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import load_runs
from otel_agent_trace.cli import main
from otel_agent_trace.store import sharing
from otel_agent_trace.store.names import StoreFiles
from tests.support.processes import environment
from tests.support.requirements import needs_locks
from tests.support.stores import agent, segment

Compacting = Callable[..., dict[str, Any]]
NOTHING: dict[str, Any] = {
    "folded": 0,
    "repaired": 0,
    "compressed": 0,
    "removed": 0,
    "in_use": 0,
    "leftovers": 0,
    "media": 0,
    "failed": 0,
    "reason": "",
}

_WRITER = """
import sys
from otel_agent_trace import AgentTracer, FileBackend

with AgentTracer(FileBackend(sys.argv[1])) as tracer:
    run = tracer.start_run(user_input="in flight")
    with tracer.run(user_input="ended"):
        pass
    print("ready", flush=True)
    sys.stdin.read()
    tracer.end_run(run)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traces.jsonl"


@pytest.fixture
def compacted(path: Path, capsys: pytest.CaptureFixture[str]) -> Compacting:
    """Call the command with ``--json``, and return what it did that is not nothing."""

    def call(*arguments: str, source: Path = path) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["compact", str(source), *arguments, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report.keys() == NOTHING.keys()
        return {name: value for name, value in report.items() if value != NOTHING[name]}

    return call


@needs_locks
def test_it_applies_the_settings_of_the_environment(
    path: Path, compacted: Compacting, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, young = segment(path, agent(1), days_ago=31), segment(path, agent(2), days_ago=29)
    path.write_bytes(agent(3) + agent(4)[:100])
    assert compacted() == {"repaired": 1}
    assert compacted() == {}
    monkeypatch.setenv("OTEL_AGENT_TRACE_COMPRESS", "zst")
    monkeypatch.setenv("OTEL_AGENT_TRACE_KEEP_DAYS", "30")
    assert compacted() == {"compressed": 2, "removed": 1}
    assert not old.exists()
    assert not young.exists()
    monkeypatch.setenv("OTEL_AGENT_TRACE_KEEP_BYTES", "1")
    assert compacted(source=path.parent) == {"removed": 1}
    assert len(load_runs(path)) == 1


@needs_locks
def test_compress_needs_no_setting(path: Path, compacted: Compacting) -> None:
    segments = [segment(path, agent(number)) for number in (1, 2)]
    assert compacted("--compress") == {"compressed": 2}
    assert sorted(path.parent.glob("*.zst")) == sorted(Path(f"{each}.zst") for each in segments)
    assert len(load_runs(path)) == 2


@needs_locks
def test_it_works_beside_a_writer_and_folds_its_journal_when_it_is_gone(path: Path, compacted: Compacting) -> None:
    command = [sys.executable, "-c", _WRITER, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment()) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "ready\n"
        segment(path, agent(1))
        with open(path, "ab") as file:
            file.write(b'{"resourceSpans":[{')
        assert compacted("--compress") == {"compressed": 1, "in_use": 1}
        process.kill()
    before = load_runs(path, on_problem=lambda _: None)
    assert compacted()["folded"] == 1  # on a machine that is not busy, that blanks the torn line already
    assert load_runs(path, strict=True) == before
    assert sorted(str(run.interrupted) for run in before) == ["None", "None", "True"]
    assert StoreFiles(str(path)).journals() == []


@needs_locks
def test_a_folder_with_several_stores(path: Path, compacted: Compacting) -> None:
    other = path.with_name("other.jsonl")
    path.write_bytes(agent(1) + agent(2)[:99])
    other.write_bytes(agent(3) + agent(4)[:99])
    segment(other, agent(5))
    path.with_name("notes.txt").write_text('{"resourceSpans')
    assert compacted("--compress", source=path.parent) == {"compressed": 1, "repaired": 2}
    assert path.with_name("notes.txt").read_text() == '{"resourceSpans'


@needs_locks
def test_what_it_prints(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(agent(1) + agent(2)[:99] + agent(3))
    segment(path, agent(1))
    assert main(["compact", str(path), "--compress"]) == 0
    assert capsys.readouterr().out == "1 line repaired, 1 segment compressed\n"
    assert main(["compact", str(path)]) == 0
    assert capsys.readouterr().out == "nothing to do\n"
    with sharing.alone_in(str(path.parent)):
        assert main(["compact", str(path)]) == 0
    assert capsys.readouterr().out.startswith("somebody else compacts a store in this folder")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.jsonl", "nowhere.jsonl: no such file"),
        ("", "no store in this directory"),
        ("http://localhost:1", "only local files can be compacted"),
    ],
)
def test_what_is_refused(tmp_path: Path, source: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compact", source if "http" in source else str(tmp_path / source)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: ")
    assert message in err


def test_a_setting_that_cannot_be_meant(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_bytes(agent(1))
    monkeypatch.setenv("OTEL_AGENT_TRACE_KEEP_DAYS", "soon")
    assert main(["compact", str(path)]) == 2
    assert capsys.readouterr().err.startswith("error: OTEL_AGENT_TRACE_KEEP_DAYS='soon' must be")
