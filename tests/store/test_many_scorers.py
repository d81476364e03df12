"""Ten processes score runs at once while runs end, the store rotates, and processes are killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from otel_agent_trace import load_run, load_runs
from tests.support.processes import environment
from tests.support.requirements import needs_fork
from tests.support.waiting import wait_until

PROCESSES = 10
KILLS = 12
RUNS = 12

PROGRAM = """
import os, sys
from otel_agent_trace import AgentTracer, FileBackend
from otel_agent_trace.errors import UnknownRunError

me, count = sys.argv[1], int(sys.argv[2])
tracer = AgentTracer(backend=FileBackend("t.jsonl", rotate_bytes=16 << 10, compress="zst"))
acknowledged = os.open("acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def acknowledge(*words):
    os.write(acknowledged, (" ".join(map(str, words)) + "\\n").encode())

def others():
    with open("acknowledged") as file:
        return [line.split()[0] for line in file if line.endswith("\\n")]

for number in range(count):
    run_id = f"{me}-{os.getpid()}-{number}"
    with tracer.run(run_id=run_id) as run:
        run.score("inside", number)
        acknowledge(run_id, "inside", number)
        with run.step("search", "x" * 500) as step:
            step.score("of a step", number)
            acknowledge(run_id, "of~a~step", number)
    run.score("after", number)
    acknowledge(run_id, "after", number)
    other = others()[-7:][0]
    tracer.score(other, f"by {run_id}", number)
    acknowledge(other, f"by~{run_id}", number)
"""


@needs_fork
@pytest.mark.slow
def test_every_acknowledged_score_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On its run and on no other, with the index and without, though the processes that gave some were killed."""

    def start(name: str) -> subprocess.Popen[bytes]:
        with open(tmp_path / f"{name}.stderr", "wb") as errors:
            return subprocess.Popen(
                [sys.executable, "-c", PROGRAM, name, str(RUNS)], cwd=tmp_path, env=environment(), stderr=errors
            )

    def acknowledged() -> list[list[str]]:
        path = tmp_path / "acknowledged"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def is_any_alive() -> bool:
        return any(process.poll() is None for process in processes)

    chosen = random.Random(17)
    processes = [start(f"p{number}") for number in range(PROCESSES)]
    for kill in range(KILLS):
        before = len(acknowledged())
        wait_until(lambda: len(acknowledged()) >= before + 5 or not is_any_alive(), "scores")  # noqa: B023 - called at once
        victim = chosen.randrange(PROCESSES)
        processes[victim].send_signal(signal.SIGKILL)
        processes[victim].wait()
        processes[victim] = start(f"again{kill}")
    codes = [process.wait() for process in processes]
    errors = "".join(path.read_text() for path in tmp_path.glob("*.stderr"))
    assert codes == [0] * PROCESSES, errors
    given = Counter((run_id, name.replace("~", " "), int(value)) for run_id, name, value in acknowledged())
    assert max(given.values()) == 1
    for index in ("off", "on"):
        monkeypatch.setenv("OTEL_AGENT_TRACE_INDEX", index)
        runs = load_runs(tmp_path / "t.jsonl")
        one = load_run(tmp_path / "t.jsonl", next(iter(given))[0])
        places = [(run, place) for run in runs for place in (run, *run.steps)]
        read = Counter((run.run_id, score.name, score.value) for run, place in places for score in place.scores)
        assert all(score.name == "of a step" for run in runs for step in run.steps for score in step.scores)
        assert max(read.values()) == 1
        assert given.keys() - read.keys() == set()
        by_another = Counter(name for _, name, _ in read if name.startswith("by "))
        assert max(by_another.values()) == 1
        assert one.scores == next(run for run in runs if run.run_id == one.run_id).scores
    assert len(list(tmp_path.glob("t-*.jsonl*"))) > 1, [path.name for path in tmp_path.iterdir()]
