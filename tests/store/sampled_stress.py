"""Kill processes that trace with sampling into one store, and account for every run that they began.

``python -m tests.store.sampled_stress --kills 1000 --seed 7`` prints what it counted, and exits with 1 if anything is wrong.

Each writer notes the runs whose start, and whose end, have returned (one `write` a note, which a kill does not undo). Others
compact the store meanwhile, and are killed as well.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from otel_agent_trace import AgentTracer, FileBackend, TailSampling, load_runs
from otel_agent_trace.sampling import probability_of, threshold_of
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.store.compaction import compact
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.settings import StoreSettings

REST = 0.2
THRESHOLD = threshold_of(REST)
STEPS, AT_ONCE = 3, 3
_SPAN_ID = re.compile(rb'"spanId":"([0-9a-f]{16})",(?:"parentSpanId":"[0-9a-f]{16}",)?"kind"')


class Noted(NamedTuple):
    """Runs by their trace ids, as the writers noted them: begun ones, and the outcome of those that ended."""

    begun: set[str]
    ended: dict[str, str]


def work(folder: Path, number: int, seed: int) -> None:
    """Run agents in two threads until somebody kills this process."""
    path, notes = folder / "t.jsonl", folder / f"notes-{number}"
    policy = TailSampling(keep_errors=True, rest=REST, wait_s=0.2)
    tracer = AgentTracer(backend=FileBackend(path), agent_name="stress", sampling=policy, redact=False)
    file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def loop(number: int) -> None:
        chance = random.Random(seed * 10 + number)
        while True:
            run_agent(tracer, chance, lambda *what: os.write(file, " ".join(what).encode() + b"\n"))

    threading.Thread(target=loop, args=(0,), daemon=True).start()
    loop(1)


def run_agent(tracer: AgentTracer, chance: random.Random, note: Callable[..., Any]) -> None:
    """Run an agent with a few steps, of which one in ten fails."""
    outcome = "error" if chance.random() < 0.1 else "success"
    with contextlib.suppress(ValueError):
        with tracer.run(user_input="?") as run:
            note("begun", run.run_id)
            for _ in range(STEPS):
                with run.step("look") as step:
                    step.output = "é" * chance.choice((10, 1000, 10_000))
            if outcome == "error":
                raise ValueError("wanted")
    note("ended", run.run_id, outcome)


def compact_on_and_on(folder: Path, number: int, seed: int) -> None:
    while True:
        compact(StoreFiles(str(folder / "t.jsonl")), StoreSettings())


def in_child(call: Callable[[], Any]) -> int:
    """Call in a child, and return its id."""
    child = os.fork()
    if child == 0:
        try:
            call()
        finally:
            os._exit(1)
    return child


def kill_many(folder: Path, kills: int, seed: int) -> None:
    """Kill writers, of which up to three trace at once, and now and then one who compacts."""
    chance = random.Random(seed)
    alive: list[int] = []
    for number in range(kills):
        alive.append(in_child(partial(compact_on_and_on if number % 5 == 4 else work, folder, number, seed + number)))
        time.sleep(chance.uniform(0.01, 0.08))
        if len(alive) == AT_ONCE or number == kills - 1:
            chance.shuffle(alive)
            _kill(alive if number == kills - 1 else [alive.pop()])


def _kill(children: list[int]) -> None:
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def noted_in(folder: Path) -> Noted:
    noted = Noted(set(), {})
    for path in folder.glob("notes-*"):
        for line in path.read_text().splitlines():
            what, trace_id, *outcome = line.split()
            if what == "begun":
                noted.begun.add(trace_id)
            elif outcome and outcome[0] in ("error", "success"):  # else torn by the kill
                noted.ended[trace_id] = outcome[0]
    return noted


def account(folder: Path) -> collections.Counter[str]:
    """Return counts of what was found; those that begin with "wrong" are to be zero."""
    path, noted = str(folder / "t.jsonl"), noted_in(folder)
    counts = collections.Counter(begun=len(noted.begun), ended=len(noted.ended))
    before = {run.run_id: (run.status, run.sampling_probability) for run in load_runs(path)}
    dropped_before = FilesSource([path]).dropped()
    compact(StoreFiles(path), StoreSettings())
    runs = {run.run_id: run for run in load_runs(path)}
    counts["wrong: readers and folding differ"] = before != {
        run_id: (run.status, run.sampling_probability) for run_id, run in runs.items()
    }
    counts["wrong: counts of readers and of folding differ"] = dropped_before != FilesSource([path]).dropped()
    for run_id, outcome in noted.ended.items():
        is_kept = outcome == "error" or int(run_id, 16) & (2**56 - 1) >= THRESHOLD
        counts["wrong: lost"] += is_kept and run_id not in runs
        counts["wrong: kept"] += run_id in runs and not is_kept
        if run_id in runs and is_kept:
            run = runs[run_id]
            counts[f"kept {outcome}"] += 1
            counts["wrong: steps"] += len(run.steps) != STEPS
            counts["wrong: outcome"] += run.status.value != outcome
            expected = 1 if outcome == "error" else probability_of(THRESHOLD)
            counts["wrong: probability"] += run.sampling_probability != expected
    for run_id in noted.begun - noted.ended.keys():
        is_interrupted = run_id in runs and runs[run_id].interrupted is True
        counts["kept interrupted"] += is_interrupted
        counts["ended without a note"] += not is_interrupted
    by_agent = FilesSource([path]).dropped()
    counts["wrong: agent"] = sum(one.traces for one in by_agent if one.agent != "stress")
    counts["dropped"] = dropped = sum(one.traces for one in by_agent)
    counts["wrong: dropped count"] = abs(dropped - len(noted.begun - runs.keys()))
    with open(path, "rb") as file:
        found = collections.Counter(_SPAN_ID.findall(file.read()))
    counts["wrong: spans twice"] = sum(number > 1 for number in found.values())
    counts["wrong: journals left"] = len(StoreFiles(path).journals())
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kill_many(Path(folder), arguments.kills, arguments.seed)
        counts = account(Path(folder))
    for what, number in counts.items():
        print(f"{number:>8,} {what}")
    return int(any(number for what, number in counts.items() if what.startswith("wrong")))


if __name__ == "__main__":
    sys.exit(main())
