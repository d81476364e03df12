"""What `otel-agent-trace prune` removes from a store, what it keeps, and what it reports."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, FileBackend, SpanRecord, load_runs
from otel_agent_trace.cli import main
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.span import LogRecord
from otel_agent_trace.store.compaction import compact
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.settings import StoreSettings
from tests.support.file_formats import zstd
from tests.support.processes import environment
from tests.support.requirements import needs_locks
from tests.support.stores import agent, segment

Report = Callable[..., dict[str, Any]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traces.jsonl"


@pytest.fixture
def prune(path: Path, capsys: pytest.CaptureFixture[str]) -> Report:
    """Call the command with ``--json``, and return what it reports."""

    def call(*arguments: object, code: int = 0, source: Path = path) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["prune", str(source), *map(str, arguments), "--json"]) == code
        report: dict[str, Any] = json.loads(capsys.readouterr().out)
        return report

    return call


def numbers(path: Path) -> list[int]:
    return sorted(int(run.span_id or "", 16) for run in load_runs(path))


def bytes_on_disk(path: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in path.parent.glob("traces*"))


def score(trace_id: str) -> bytes:
    """A line with a score of the model's answer in a trace, as evaluators log it."""
    known = {"gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.value": 1.0}
    log = LogRecord(trace_id, f"{1:016x}", "gen_ai.evaluation.result", time.time_ns(), known)
    return otlp_json.encode_log(log) + b"\n"


@needs_locks
def test_old_runs_go_from_files_of_every_kind(path: Path, prune: Report) -> None:
    plain = segment(path, agent(1, 40), agent(2, 1))
    packed = segment(path, agent(3, 50), agent(4, 1))
    compact(StoreFiles(str(path)), StoreSettings(compress="zst"))
    plain.write_bytes(zstd.decompress(Path(f"{plain}.zst").read_bytes()))
    Path(f"{plain}.zst").unlink()
    Path(f"{path}.1").write_bytes(agent(5, 31) + agent(6, 29))
    Path(f"{path}-20200101.gz").write_bytes(gzip.compress(agent(7, 60) + agent(8, 2)))
    path.write_bytes(agent(9, 100) + agent(10))
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    report = prune("--until", "30d")
    assert (report["runs"], report["spans"], report["files"], report["applied"]) == (5, 5, 5, False)
    assert {file: file.read_bytes() for file in path.parent.iterdir() if file.suffix != ".lock"} == before
    assert numbers(path) == [*range(1, 11)]
    assert prune("--until", "30d", "--apply") == report | {"applied": True}
    assert numbers(path) == [2, 4, 6, 8, 10]
    assert {file.name for file in before} == {file.name for file in path.parent.iterdir()}
    frames = zstd.decompress(Path(f"{packed}.zst").read_bytes())
    assert len(frames.splitlines()) == 1
    assert prune("--until", "30d")["runs"] == 0


@needs_locks
@pytest.mark.parametrize("compress", ["zst", None])
def test_a_segment_of_which_nothing_is_left_is_removed(path: Path, prune: Report, compress: Any) -> None:
    segment(path, agent(1, 40), b"\n", agent(2, 40))
    kept = segment(path, agent(3, 40), agent(4))
    compact(StoreFiles(str(path)), StoreSettings(compress=compress))
    path.write_bytes(agent(5, 40))
    assert prune("--until", "30d", "--apply")["runs"] == 4
    suffix = f".{compress}" if compress else ""
    assert {file.name for file in path.parent.iterdir()} == {f"{kept.name}{suffix}", path.name}
    assert path.read_bytes() == b""
    assert numbers(path) == [4]


def test_whole_runs_go_with_sub_agents_logs_and_scores(path: Path, prune: Report) -> None:
    scores = []
    with AgentTracer(FileBackend(path)) as tracer:
        for user in ("ann", "bob"):
            with tracer.run(user_id=user, session_id=user, user_input=user) as run:
                with tracer.run(agent_name="helper") as helper, helper.step("look up"):
                    pass
                with run.step("search"):
                    pass
            scores.append(score(run.run_id))
    with open(path, "ab") as file:
        file.writelines(scores)
    report = prune("--user", "ann", "--apply")
    assert (report["runs"], report["spans"], report["logs"]) == (1, 4, 1)
    assert [run.user_input for run in load_runs(path)] == ["bob"]
    assert path.read_bytes().splitlines(keepends=True)[-1] == scores[1]
    assert path.read_bytes().count(b"\n") == 5


def test_a_trace_of_several_runs_keeps_the_others(path: Path, prune: Report) -> None:
    server = SpanRecord(f"{9:032x}", f"{90:016x}", None, "POST /chat", time.time_ns(), time.time_ns() + 5, {})
    first, second = (
        agent(91, trace=9, parent=90),
        agent(92, trace=9, parent=90, attributes={"gen_ai.agent.name": "planner"}),
    )
    below = agent(93, trace=9, parent=92)
    path.write_bytes(otlp_json.encode([server]) + b"\n" + first + second + below)
    report = prune("--agent", "planner", "--apply")
    assert (report["runs"], report["spans"]) == (1, 2)
    assert path.read_bytes() == otlp_json.encode([server]) + b"\n" + first
    assert prune("--agent", "weather", "--apply")["spans"] == 2
    assert path.read_bytes() == b""


def test_filters_are_combined(path: Path, prune: Report) -> None:
    lines = [
        agent(1, 40),
        agent(2, 40, attributes={"gen_ai.agent.name": "planner"}),
        agent(3, 1, attributes={"gen_ai.agent.name": "planner"}),
    ]
    path.write_bytes(b"".join(lines))
    assert prune("--until", "30d", "--agent", "planner", "--status", "success", "--apply")["runs"] == 1
    assert numbers(path) == [1, 3]
    assert prune("--status", "error", "--apply")["runs"] == 0


@pytest.mark.parametrize("part", [0.3, 0.7, 0.0])
def test_the_oldest_runs_go_until_the_files_fit(path: Path, prune: Report, part: float) -> None:
    text: dict[str, Any] = {"text": os.urandom(3000).hex()}
    for first in (0, 20, 40):
        segment(path, *(agent(number + 1, 60 - number, attributes=text) for number in range(first, first + 20)))
    path.write_bytes(b"".join(agent(number + 1, 60 - number, attributes=text) for number in range(60, 80)))
    most = max(1, int(bytes_on_disk(path) * part))
    planned = prune("--keep-bytes", most)
    assert prune("--keep-bytes", most, "--apply")["runs"] >= planned["runs"] >= (1 - part) * 80 - 3
    left = numbers(path)
    assert left == [*range(81 - len(left), 81)]
    assert bytes_on_disk(path) <= most or not left
    assert len(left) >= part * 80 - 4
    assert prune("--keep-bytes", "1GB")["runs"] == 0


def test_of_the_runs_that_are_named_the_oldest_go(path: Path, prune: Report) -> None:
    path.write_bytes(
        b"".join(
            agent(number, 20 - number, attributes={"gen_ai.agent.name": "ab"[number % 2]}) for number in range(1, 9)
        )
    )
    assert prune("--keep-bytes", "1", "--agent", "a", "--apply")["runs"] == 4
    assert numbers(path) == [1, 3, 5, 7]


def test_what_nothing_is_left_of_beside_the_store_goes(path: Path, prune: Report) -> None:
    path.write_bytes(agent(1, 40) + agent(2))
    index = Path(f"{path}.index")
    for suffix in ("", "-wal", "-shm"):
        Path(f"{index}{suffix}").write_bytes(b"preview of run 1")
    prune("--until", "30d")
    assert index.exists()
    prune("--until", "30d", "--apply")
    assert not [
        name for name in os.listdir(path.parent) if "index" in name and b"preview" in (path.parent / name).read_bytes()
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name what to remove: give --until, --keep-bytes, --status, --agent or --user"),
        (["--apply"], "name what to remove"),
        (["--until", "soon"], "an age like"),
        (["--keep-bytes", "much"], "number of bytes"),
        (["--keep-bytes", "-1"], "number of bytes"),
        (["--status", "odd"], "odd"),
        (["nowhere.jsonl", "--until", "30d"], "nowhere.jsonl"),
        (["http://localhost:1", "--until", "30d"], "only local files"),
    ],
)
def test_what_is_refused(path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(content := agent(1, 40))
    source = [] if arguments and not arguments[0].startswith("-") else [str(path)]
    assert main(["prune", *source, *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: ")
    assert message in err
    assert path.read_bytes() == content


# ── beside those who write ───────────────────────────────────────────────────────────────────────────────────────────

_IN_FLIGHT = """
import sys
from otel_agent_trace import AgentTracer, FileBackend

tracer = AgentTracer(FileBackend(sys.argv[1]))
with tracer.run(user_id="ann", user_input="ended"):
    pass
run = tracer.start_run(user_id="ann", user_input="in flight")
tracer.log_step(run, tool_name="add", tool_output=3)
print("ready", flush=True)
sys.stdin.read()
tracer.end_run(run)
"""


@pytest.fixture
def in_flight(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _IN_FLIGHT, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment()) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@needs_locks
def test_a_run_in_flight_stays(path: Path, prune: Report, in_flight: subprocess.Popen[str]) -> None:
    assert prune("--user", "ann", "--apply")["runs"] == 1
    assert [run.user_input for run in load_runs(path)] == ["in flight"]
    in_flight.communicate("")
    assert [(run.user_input, run.status) for run in load_runs(path)] == [("in flight", "success")]


@needs_locks
def test_a_run_of_a_process_that_is_gone_goes(path: Path, prune: Report, in_flight: subprocess.Popen[str]) -> None:
    in_flight.kill()
    in_flight.wait()
    assert prune("--status", "interrupted")["runs"] == 1
    assert len(load_runs(path)) == 2
    assert prune("--status", "interrupted", "--apply")["runs"] == 1
    assert [run.user_input for run in load_runs(path)] == ["ended"]
    assert StoreFiles(str(path)).journals() == []


@needs_locks
def test_forget_says_that_a_run_in_flight_stays(
    path: Path, in_flight: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["forget", str(path), "--user", "ann", "--apply"]) == 1
    assert "a run in flight stays" in capsys.readouterr().err
    (run,) = load_runs(path)
    assert (run.user_input, [(step.name, step.output) for step in run.steps]) == ("in flight", [("add", 3)])
    in_flight.kill()
    in_flight.wait()
    assert main(["forget", str(path), "--user", "ann", "--apply"]) == 0
    assert not load_runs(path)
    assert not any(b"in flight" in file.read_bytes() for file in path.parent.rglob("*") if file.is_file())


@needs_locks
def test_forget_reaches_segments_and_what_a_killed_compaction_left(path: Path) -> None:
    named: dict[str, Any] = {"enduser.id": "ann"}
    plain, packed = (
        segment(path, agent(1, attributes=named), agent(2)),
        segment(path, agent(3, attributes=named), agent(4)),
    )
    content = packed.read_bytes()
    compact(StoreFiles(str(path)), StoreSettings(compress="zst"))
    packed.write_bytes(content)  # as if it had been killed before it removed this
    left = path.parent / f".{plain.name}.zst.abcd1234.replacing"
    left.write_bytes(content)
    path.write_bytes(agent(5, attributes=named))
    assert main(["forget", str(path), "--user", "ann", "--apply"]) == 0
    assert numbers(path) == [2, 4]
    assert {file.name for file in path.parent.iterdir()} == {f"{plain.name}.zst", f"{packed.name}.zst", path.name}
