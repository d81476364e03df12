"""Calls tools in other processes: recorded, then replayed; prints what came of it as JSON.

``python processes_program.py WAY METHOD before|during``: the processes are those of one way, started by a method of
multiprocessing, before the replay or during it.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from otel_agent_trace import AgentTracer, FileBackend, child_environment, load_runs, replay_run

NAMES = ["a", "b", "b", "b"]
STORE, CALLS = Path("traces.jsonl"), Path("calls.txt")
tracer = AgentTracer(backend=FileBackend(STORE), user_ids="none")


@tracer.tool
def look(name: str) -> str:
    """Return another text at each call."""
    with CALLS.open("a") as file:
        file.write(f"{name}\n")
    return f"{name} {os.urandom(8).hex()}"


@contextlib.contextmanager
def executor(context: Any) -> Iterator[Any]:
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        yield lambda names: list(pool.map(look, names))


@contextlib.contextmanager
def traced(context: Any) -> Iterator[Any]:
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        yield lambda names: list(tracer.executor(pool).map(look, names))


@contextlib.contextmanager
def pool(context: Any) -> Iterator[Any]:
    with context.Pool(2) as workers:
        yield lambda names: workers.map(look, names)


def serve(pipe: Any) -> None:
    while (name := pipe.recv()) is not None:
        try:
            pipe.send(look(name))
        except Exception as error:
            pipe.send(error)


@contextlib.contextmanager
def process(context: Any) -> Iterator[Any]:
    pipes = [context.Pipe() for _ in range(2)]
    servers = [context.Process(target=serve, args=(theirs,)) for _, theirs in pipes]
    for server in servers:
        server.start()

    def ask(names: list[str]) -> list[Any]:
        for number, name in enumerate(names):
            pipes[number % 2][0].send(name)
        return [pipes[number % 2][0].recv() for number in range(len(names))]

    yield ask
    for (ours, _), server in zip(pipes, servers, strict=True):
        ours.send(None)
        server.join()


def started(names: list[str], env: dict[str, str] | None) -> list[str]:
    command = [sys.executable, __file__, "look"]
    children = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, env=env, text=True) for name in names]
    return [child.communicate()[0] for child in children]


@contextlib.contextmanager
def with_environment(context: Any) -> Iterator[Any]:
    yield lambda names: started(names, child_environment())


@contextlib.contextmanager
def without_environment(context: Any) -> Iterator[Any]:
    yield lambda names: started(names, None)


def forked(name: str) -> tuple[int, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writing, look(name).encode())
        finally:
            os._exit(0)
    os.close(writing)
    return pid, reading


@contextlib.contextmanager
def fork(context: Any) -> Iterator[Any]:
    def ask(names: list[str]) -> list[str]:
        children = [forked(name) for name in names]
        for pid, _ in children:
            os.waitpid(pid, 0)
        return [os.read(reading, 100).decode() for _, reading in children]

    yield ask


def agent(ask: Any) -> list[str]:
    with tracer.run(agent_name="agent"):
        first = look("first")
        return [first, *ask(NAMES)]


def calls() -> list[str]:
    return CALLS.read_text().split() if CALLS.exists() else []


def main(way: str, method: str, when: str) -> None:
    start = globals()[way]
    context = multiprocessing.get_context(method)
    with start(context) if when == "before" else contextlib.nullcontext() as ask:

        def answers() -> list[str]:
            with contextlib.nullcontext(ask) if ask is not None else start(context) as asked:
                return agent(asked)

        recorded = answers()
        runs, store = load_runs(STORE), STORE.read_bytes()
        CALLS.unlink()
        with replay_run(runs) as session:
            replayed = answers()
        result = {
            "live": calls(),
            "same": sorted(recorded) == sorted(replayed),
            "untouched": STORE.read_bytes() == store,
        }
        result |= {"answered": sorted(session.answered), "divergences": list(map(str, session.divergences))}
        result["steps"] = sorted(step.name for run in session.runs for step in run.steps)
        result["again"] = len(answers()) if ask is not None else 0
        result["normal"] = len(calls())
        print(json.dumps(result))


if __name__ == "__main__":
    if sys.argv[1] == "look":
        print(look(sys.argv[2]), end="")
    else:
        main(*sys.argv[1:])
