"""Kill and stop processes that trace to one store, and account for every span that they were told is kept.

``python -m tests.store.stress --kills 1000 --seed 7`` prints what it counted, and exits with 1 if anything was lost.

Each writer notes the spans whose start and end have returned in a file of its own (one `write` a note, which a kill does
not undo). Meanwhile one process compacts the store, and another one checks that nobody who lives is called interrupted.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
from opentelemetry import trace

from otel_agent_trace import AgentRun, AgentTracer, FileBackend, RunStatus, cli, load_runs
from otel_agent_trace.store import zstandard
from otel_agent_trace.store.names import StoreFiles

SIZES = (100, 2_000, 30_000, 300_000)
"""Sizes of texts in characters: a kill tears a write only between two pages of memory."""
DEATH_S = 0.5
"""Time in which a process that was killed has let go of its locks."""


class Setting(NamedTuple):
    """What is done to which store."""

    folder: Path
    kills: int = 100
    writers: int = 4
    rotate_bytes: int = 2 << 20
    seed: int = 0

    @property
    def store(self) -> Path:
        return self.folder / "store" / "t.jsonl"


# ── the processes ────────────────────────────────────────────────────────────────────────────────────────────────────


class Notes:
    """Spans of this process that have started and ended."""

    def __init__(self, folder: Path) -> None:
        path = folder / "notes" / f"{os.getpid()}-{time.time_ns()}"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @contextlib.contextmanager
    def of(self, block: Any, *facts: str) -> Iterator[Any]:
        with block as entered:
            context = trace.get_current_span().get_span_context()
            ids = f"{context.trace_id:032x}", f"{context.span_id:016x}"
            self._note("started", *ids, *facts)
            yield entered
        self._note("ended", *ids)

    def _note(self, *facts: str) -> None:
        os.write(self._file, f"{json.dumps(facts)}\n".encode())


def work(setting: Setting, seed: int) -> None:
    """Run small agents in three threads until somebody kills this process."""
    backend = FileBackend(setting.store, rotate_bytes=setting.rotate_bytes, compress="zst")
    tracer = AgentTracer(backend=backend, agent_name="stress", user_ids="plain")
    notes = Notes(setting.folder)

    def loop(number: int) -> None:
        chance = random.Random(seed * 10 + number)
        while True:
            agent(tracer, notes, chance)
            if number == 0 and chance.random() < 0.01:
                fork(lambda: [agent(tracer, Notes(setting.folder), chance) for _ in range(3)])

    for number in range(2):
        threading.Thread(target=loop, args=(number,), daemon=True).start()
    loop(2)


def agent(tracer: AgentTracer, notes: Notes, chance: random.Random, depth: int = 0) -> None:
    """A run with tools, a model call, and sometimes a sub-agent."""
    facts: Any = {
        "user_input": f"question {chance.random()}",
        "user_id": f"of-{os.getpid()}",
        "session_id": f"s{depth}",
    }
    with notes.of(tracer.run(**facts), "run", *facts.values()) as run:
        with notes.of(run.model_call("m", messages=[{"role": "user", "content": facts["user_input"]}]), "model"):
            pass
        for _ in range(chance.randrange(3)):
            text = "é" * chance.choices(SIZES, (60, 30, 9, 1))[0]
            with notes.of(run.step("look", {"q": facts["user_input"]}), "look") as step:
                step.output = text
        if depth == 0 and chance.random() < 0.3:
            agent(tracer, notes, chance, depth + 1)
        run.final_output = "done"


def fork(call: Callable[[], Any]) -> int:
    """Call in a child, which ends without any clean-up."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            call()
            code = 0
        finally:
            os._exit(code)
    return child


def compact(setting: Setting) -> int:
    """Compact the store as the command does, and return its exit status."""
    os.environ["OTEL_AGENT_TRACE_COMPRESS"] = "zst"
    with contextlib.redirect_stdout(io.StringIO()):
        return cli.main(["compact", str(setting.store)])


def compact_on_and_on(setting: Setting) -> None:
    while True:
        if setting.store.exists() and compact(setting):
            raise RuntimeError("compact has failed beside live writers")
        time.sleep(0.05)


def check_on_and_on(setting: Setting) -> None:
    """Note each run that is called interrupted, although its process was alive before and is half a second later."""
    files = StoreFiles(str(setting.store))
    with open(setting.folder / "wrongly_dead", "ab", buffering=0) as found:
        while True:
            for path in files.journals():
                with contextlib.suppress(Exception):  # it was removed meanwhile
                    dead = {run.user_id for run in load_runs(path) if run.interrupted}
                    suspects = [int(user.removeprefix("of-")) for user in dead if user is not None]
                    if any(map(is_alive, suspects)):
                        time.sleep(DEATH_S)
                        found.writelines(f"{pid} in {path}\n".encode() for pid in filter(is_alive, suspects))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# ── who kills them ───────────────────────────────────────────────────────────────────────────────────────────────────


def torment(setting: Setting) -> collections.Counter[str]:
    """Kill and stop writers, and the process that compacts, at random instants, and start others in their place."""
    (setting.folder / "notes").mkdir(parents=True)
    setting.store.parent.mkdir()
    chance, done = random.Random(setting.seed), collections.Counter[str]()

    def begin(index: int) -> int:
        call = (lambda: compact_on_and_on(setting)) if index == 0 else (lambda: work(setting, chance.getrandbits(60)))
        child = fork(lambda: (os.setpgid(0, 0), call()))
        os.setpgid(child, child)  # whoever of both is first
        return child

    checker = fork(lambda: check_on_and_on(setting))
    running = [begin(index) for index in range(setting.writers + 1)]
    groups = [*running]
    try:
        while done["kills"] < setting.kills:
            time.sleep(chance.expovariate(20))
            index = chance.randrange(len(running)) and chance.randrange(1, len(running))
            if chance.random() < 0.4:
                os.kill(running[index], signal.SIGSTOP)
                time.sleep(chance.expovariate(10))
                done["stops"] += 1
                if chance.random() < 0.7:
                    os.kill(running[index], signal.SIGCONT)
                    continue
            os.kill(running[index], signal.SIGKILL)
            _, status = os.waitpid(running[index], 0)
            done["kills"] += 1
            done["failures of processes"] += not os.WIFSIGNALED(status)
            running[index] = begin(index)
            groups.append(running[index])
    finally:
        for group in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)  # forked children too
        os.kill(checker, signal.SIGKILL)
        for pid in (*running, checker):
            os.waitpid(pid, 0)
    time.sleep(DEATH_S)
    return done


# ── what is left ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Kept(NamedTuple):
    """What was read back: span id → status, or → questions and owners."""

    ended: set[str | None]
    running: set[str | None]
    runs: dict[str | None, AgentRun]
    seen: collections.Counter[str | None]


def read_back(runs: Iterable[AgentRun]) -> Kept:
    kept = Kept(set(), set(), {}, collections.Counter())
    waiting = [*runs]
    while waiting:
        run = waiting.pop()
        kept.runs[run.span_id] = run
        kept.seen[run.span_id] += 1
        (kept.running if run.status is RunStatus.RUNNING else kept.ended).add(run.span_id)
        for step in run.steps:
            if step.run is not None:
                waiting.append(step.run)
            else:
                kept.seen[step.span_id] += 1
                (kept.running if step.ended_at_ns is None else kept.ended).add(step.span_id)
    return kept


def noted(folder: Path) -> tuple[dict[str, list[str]], set[str]]:
    """Facts of each span that was noted as started, and the ids of those that ended."""
    started, ended = {}, set[str]()
    for path in (folder / "notes").iterdir():
        for line in path.read_bytes().split(b"\n")[:-1]:
            what, _, span_id, *facts = json.loads(line)
            if what == "started":
                started[span_id] = facts
            else:
                ended.add(span_id)
    return started, ended


def raw_lines(path: str) -> Iterator[bytes]:
    """The lines of a file, as any program reads them that knows nothing of torn lines."""
    with zstandard.library().open(path) if path.endswith(".zst") else open(path, "rb") as file:
        yield from (line for line in file if line.strip())


def read_by_others(paths: Iterable[str]) -> tuple[collections.Counter[str], collections.Counter[str]]:
    """How often each span id stands as ended, and how many files and lines other readers refuse."""
    ended, refused = collections.Counter[str](), collections.Counter[str]()
    for path in paths:
        for line in raw_lines(path):
            try:
                record = json.loads(line)
            except ValueError:
                refused["lines that json refuses"] += 1
                continue
            for group in record.get("resourceSpans", ()):
                for scope in group["scopeSpans"]:
                    ended.update(span["spanId"] for span in scope["spans"] if span.get("endTimeUnixNano"))
        try:
            duckdb.sql(
                f"select count(*) from read_json('{path}', format='newline_delimited', maximum_object_size=100000000)"
            ).fetchall()
        except duckdb.Error:
            refused["files that DuckDB refuses"] += 1
    return ended, refused


def account(setting: Setting) -> dict[str, int]:
    """Compare what was noted with what is read; what must be zero comes last."""
    started, ended = noted(setting.folder)
    before = read_back(load_runs(setting.store))
    code = compact(setting)
    files = StoreFiles(str(setting.store))
    kept = read_back(load_runs(setting.store))
    raw, refused = read_by_others(files.files())
    in_flight = started.keys() - kept.ended
    return {
        "acknowledged ends": len(ended),
        "acknowledged starts": len(started),
        "in flight": len(in_flight),
        "segments": len(files.segments()),
        "not compressed": sum(not path.endswith(".zst") for path in files.segments()),
        "bytes": sum(os.path.getsize(path) for path in files.files()),
        "lost": len(ended - kept.ended),
        "lost to other readers": len(ended - raw.keys()),
        "doubled": sum(count > 1 for count in kept.seen.values()),
        "doubled in the files": sum(count > 1 for count in raw.values()),
        "in flight nowhere": len(in_flight - kept.running),
        "in flight without facts": sum(
            not is_as_begun(kept.runs.get(span_id), started[span_id]) for span_id in in_flight
        ),
        "changed by folding": len((before.ended ^ kept.ended) | (before.running ^ kept.running)),
        "wrongly called dead": len((setting.folder / "wrongly_dead").read_bytes().splitlines()),
        "left journals": len(files.journals()),
        "left names": sum(name.startswith(".") for name in os.listdir(files.folder)),
        "failed compaction": code,
        **dict.fromkeys(("lines that json refuses", "files that DuckDB refuses"), 0),
        **refused,
    }


def is_as_begun(run: AgentRun | None, facts: list[str]) -> bool:
    """Whether a run in flight is interrupted, and has its question, user and session; steps have none of these."""
    if facts[0] != "run":
        return True
    return run is not None and run.interrupted is True and [run.user_input, run.user_id, run.session_id] == facts[1:]


NEED_NOT_BE_ZERO = frozenset(
    ("acknowledged ends", "acknowledged starts", "in flight", "segments", "bytes", "kills", "stops")
)


def stress(setting: Setting) -> dict[str, int]:
    """Torment writers, and return what was counted."""
    return {**torment(setting), **account(setting)}


def failures(counts: dict[str, int]) -> dict[str, int]:
    """What is not zero, though it must be."""
    return {name: count for name, count in counts.items() if count and name not in NEED_NOT_BE_ZERO}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--rotate-bytes", type=int, default=2 << 20)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--folder", type=Path, help="an empty one, which is left")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="stress-"))
    print(f"seed {given.seed}, in {folder}", file=sys.stderr)
    counts = stress(Setting(folder, given.kills, given.writers, given.rotate_bytes, given.seed))
    print(json.dumps(counts) if given.json else "\n".join(f"{name:26}{count:>12,}" for name, count in counts.items()))
    return bool(failures(counts))


if __name__ == "__main__":
    sys.exit(main())
