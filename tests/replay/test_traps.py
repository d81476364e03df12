"""What bites in replays, one trap a test."""

from __future__ import annotations

import asyncio
import datetime
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, InMemoryBackend, ReplayDivergence, load_runs, replay_run
from tests.support.processes import environment


def test_a_warm_cache_never_asks(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    @functools.lru_cache
    @tracer.tool
    def price(item: str) -> int:
        return 3

    @tracer.agent
    def bot() -> int:
        return price("tea")

    bot()
    with pytest.raises(ReplayDivergence, match="price.*never asked for"), replay_run(memory.runs()[0]):
        bot()


def test_clock_and_chance_are_ordinary_steps(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    @tracer.agent
    def bot() -> datetime.datetime:
        return tracer.tool(datetime.datetime.now)()  # noqa: DTZ005

    first = bot()
    with replay_run(memory.runs()[0]):
        assert bot() == first


@pytest.fixture
def numbers(tracer: AgentTracer) -> Any:
    @tracer.tool
    def count() -> Iterator[int]:
        yield 1
        yield 2
        yield 3

    return count


@pytest.mark.parametrize("asks", ["send", "throw", "more"])
def test_what_a_stream_cannot_answer(tracer: AgentTracer, memory: InMemoryBackend, numbers: Any, asks: str) -> None:
    def bot(asks: str) -> None:
        with tracer.run(agent_name="bot"):
            stream = numbers()
            next(stream)
            if asks == "send":
                stream.send("x")
            elif asks == "throw":
                stream.throw(ValueError())
            elif asks == "more":
                next(stream)
            stream.close()

    bot("")
    with pytest.raises(ReplayDivergence, match="count.*asks for more"), replay_run(memory.runs()[0]):
        bot(asks)
    with replay_run(memory.runs()[0]):
        bot("")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup is in Python 3.11 and later")
def test_a_difference_in_a_task_group(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    @tracer.tool
    async def fetch(key: str) -> str:
        return key

    @tracer.agent
    async def bot(keys: list[str]) -> None:
        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(fetch(key))

    def work(keys: list[str]) -> None:
        with tracer.run(agent_name="outer"):
            asyncio.run(bot.__wrapped__(keys))

    work(["a", "b"])
    with pytest.raises(ReplayDivergence, match="fetch"), replay_run(memory.runs()[0]):
        work(["a", "c"])


RECORDING = """
from otel_agent_trace import AgentTracer, FileBackend
tracer = AgentTracer(backend=FileBackend("traces.jsonl"))

class Handle:
    pass

@tracer.tool
def find(tags, handle, options):
    return {"red", "green", "blue"} - tags

@tracer.agent
def bot():
    return find({"red", "yellow", "pink"}, Handle(), options={"b": 1, "a": {"x", "y"}})

if __name__ == "__main__":
    bot()
"""


def test_a_recording_of_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets have another order there, objects other addresses, and the main module another name."""
    program = tmp_path / "program_of_another_process.py"
    program.write_text(RECORDING)
    recording = subprocess.run(
        [sys.executable, program.name],
        cwd=tmp_path,
        env=environment(PYTHONHASHSEED="7"),
        capture_output=True,
        text=True,
    )
    assert recording.returncode == 0, recording.stderr
    (run,) = load_runs(tmp_path / "traces.jsonl")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    import program_of_another_process as program_here  # type: ignore[import-not-found]

    with replay_run(run, on_miss="error") as session:
        assert program_here.bot() == {"green", "blue"}
    assert session.answered == ["find"]


def test_gaps_and_interruptions_of_the_recording_are_told(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    import msgspec

    @tracer.tool
    def step(number: int) -> int:
        return number

    @tracer.agent
    def bot() -> None:
        for number in range(3):
            step(number)

    bot()
    (run,) = memory.runs()
    lost = msgspec.structs.replace(run, steps=(run.steps[0], run.steps[2]))
    with pytest.raises(ReplayDivergence, match="lost steps before step 3"), replay_run(lost):
        bot()
    cut = msgspec.structs.replace(run, steps=run.steps[:1], ended_at_ns=None)
    with pytest.raises(ReplayDivergence, match="interrupted"), replay_run(cut):
        bot()
