"""A store with runs of every kind, and the page of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_agent_trace import AgentTracer, FileBackend
from tests.support.viewed import Viewed, viewing

ODD_ID = "a/b c?d#e%f"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4


def write_runs(path: Path) -> None:
    """Write a failed run, one with a sub-agent and a picture, one with an odd id, and two that differ in a step."""
    tracer = AgentTracer(backend=FileBackend(str(path)))
    with pytest.raises(TimeoutError), tracer.run(run_id="failed", agent_name="weather", user_input="how warm") as run:
        with run.step("search", {"q": "warm"}):
            pass
        with run.step("fetch", {"url": "x"}):
            raise TimeoutError("too slow")
    with tracer.run(run_id="outer", agent_name="chief", user_input="ask them", tags=("nightly",)) as run:
        with tracer.run(agent_name="helper", user_input="do it") as inner, inner.step("look", {"at": PNG}) as step:
            step.output = "seen"
        run.final_output = "done"
    with tracer.run(run_id=ODD_ID, agent_name="weather") as run:
        run.final_output = "needle in the answer"
    for run_id in ("one", "two"):
        with tracer.run(run_id=run_id, agent_name="weather", session_id="talk/1", user_input="same") as run:
            for number in range(30):
                with run.step("search", {"number": number}):
                    pass
            with run.step("fetch", {"page": run_id}):
                pass
            run.final_output = f"answer {run_id}"
    tracer.close()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("viewed") / "traces.jsonl"
    write_runs(path)
    return path


@pytest.fixture(scope="session")
def viewed(store: Path) -> Iterator[Viewed]:
    """The page of the store; no test of it changes anything."""
    with viewing(store, "--port", 0, "--no-open") as running:
        yield running
