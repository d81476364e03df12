"""What the page is told as it happens: server-sent events about runs that other processes write."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from otel_agent_trace import load_runs
from otel_agent_trace.tracing.file_scores import score_in_file
from otel_agent_trace.viewer.events import Events
from tests.support.processes import environment, run_code
from tests.support.viewed import Viewed, events_in, viewing

pytestmark = pytest.mark.slow

WRITE = """
import sys
from otel_agent_trace import AgentTracer, FileBackend
tracer = AgentTracer(backend=FileBackend("t.jsonl"))
with tracer.run(run_id=sys.argv[1] if len(sys.argv) > 1 else "written", agent_name="a") as run:
    with tracer.run(agent_name="helper") as inner, inner.step("look", {}):
        pass
tracer.close()
"""
HANG = """
import sys, time
from otel_agent_trace import AgentTracer, FileBackend
tracer = AgentTracer(backend=FileBackend("t.jsonl"))
with tracer.run(run_id="killed", agent_name="a"):
    print("began", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Viewed]:
    """The page of a store with one run."""
    run_code(WRITE, tmp_path)
    with viewing("t.jsonl", "--port", 0, "--no-open", cwd=tmp_path) as running:
        yield running


def streamed(viewed: Viewed, last_id: str | None = None) -> Any:
    return viewed.client.stream("GET", "api/events", headers={} if last_id is None else {"last-event-id": last_id})


def until(events: Iterator[dict[str, Any]], name: str, **data: Any) -> dict[str, Any]:
    """Return the next event with this name and data."""
    return next(each for each in events if each["event"] == name and data.items() <= each["data"].items())


def test_a_run_that_another_process_writes(live: Viewed, tmp_path: Path) -> None:
    with streamed(live) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        assert "content-encoding" not in stream.headers
        events = events_in(stream.iter_lines())
        before = live.json("api/runs/written")["revision"]
        run_code(WRITE.replace('"written"', '"second"'), tmp_path)
        event = until(events, "run", run_id="second", status="success")
        assert set(event["data"]) == {"run_id", "revision", "status"}
        assert until(events, "runs")["data"] == {"new": 1}
    assert live.json("api/runs/second")["revision"] == event["data"]["revision"]
    assert live.json("api/runs/written")["revision"] == before


def test_a_run_that_is_killed(live: Viewed, tmp_path: Path) -> None:
    with streamed(live) as stream:
        events = events_in(stream.iter_lines())
        with subprocess.Popen(
            [sys.executable, "-c", HANG], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "began\n"
            started = until(events, "run", run_id="killed", status="running")
            outline = live.json("api/runs/killed")
            assert (outline["is_running"], outline["revision"]) == (True, started["data"]["revision"])
            os.kill(process.pid, signal.SIGKILL)
        ended = until(events, "run", run_id="killed", status="interrupted")
    outline = live.json("api/runs/killed")
    assert (outline["is_running"], outline["head"]["status"]) == (False, "interrupted")
    assert outline["revision"] == ended["data"]["revision"] != started["data"]["revision"]


def test_a_stream_goes_on_where_it_ended(live: Viewed, tmp_path: Path) -> None:
    with streamed(live) as stream:
        events = events_in(stream.iter_lines())
        run_code(WRITE.replace('"written"', '"second"'), tmp_path)
        last = until(events, "runs")
    run_code(WRITE.replace('"written"', '"third"'), tmp_path)
    with streamed(live, last["id"]) as stream:
        events = events_in(stream.iter_lines())
        assert until(events, "run", status="success")["data"]["run_id"] == "third"
    with streamed(live, "0badc0de-7") as stream:  # of a server that has ended
        assert next(events_in(stream.iter_lines()))["event"] == "reset"


def test_a_score_of_the_page_is_a_change(live: Viewed) -> None:
    before = live.json("api/runs/written")["revision"]
    with streamed(live) as stream:
        events = events_in(stream.iter_lines())
        posted = live.client.post("api/runs/written/scores", json={"name": "helpful", "value": True})
        assert posted.status_code == 201
        event = until(events, "run", run_id="written")
    after = live.json("api/runs/written")
    assert before != after["revision"] == event["data"]["revision"]
    assert [(score["name"], score["value"]) for score in after["head"]["scores"]] == [("helpful", True)]


def test_a_score_of_another_process_is_a_change(live: Viewed, tmp_path: Path) -> None:
    (run,) = load_runs(tmp_path / "t.jsonl")
    run_id = next(part.run_id for part in run.walk() if part is not run)
    before = live.json(f"api/runs/{run_id}")
    assert before["outermost_id"] == "written"
    with streamed(live) as stream:
        events = events_in(stream.iter_lines())
        score_in_file(str(tmp_path / "t.jsonl"), run_id, "helpful", 1.0)
        event = until(events, "run", run_id="written")
    after = live.json(f"api/runs/{run_id}")
    assert before["revision"] != after["revision"] == event["data"]["revision"]
    assert [score["name"] for score in after["head"]["scores"]] == ["helpful"]


def request(last_id: str | None = None) -> Request:
    headers = [] if last_id is None else [(b"last-event-id", last_id.encode())]
    return Request({"type": "http", "headers": headers})


async def read(events: Events, last_id: str | None = None) -> list[dict[str, Any]]:
    """Return what a stream of closed events has."""
    response: Any = await events.respond(request(last_id))
    text = b"".join([part async for part in response.body_iterator]).decode()
    return [*events_in(iter(text.split("\n")))]


def test_events_are_bounded_and_the_newest_of_each_thing() -> None:
    async def check() -> None:
        events = Events()
        events.publish("one", "run", {"number": 1})
        events.publish("two", "run", {"number": 2})
        events.publish("one", "run", {"number": 3})
        events.close()
        found = await read(events, f"{events._server}-0")
        assert [each["data"] for each in found] == [{"number": 2}, {"number": 3}]
        assert await read(events, found[-1]["id"]) == []
        for number in range(5000):
            events.publish(f"run {number % 1500}", "run", {"number": number})
        assert [each["event"] for each in await read(events, found[-1]["id"])] == ["reset"]  # more than is held
        last = (await read(events, f"{events._server}-4500"))[-1]
        assert last["data"] == {"number": 4999}

    asyncio.run(check())


def test_streams_are_bounded() -> None:
    async def check() -> None:
        events = Events()
        streams: list[Any] = [await events.respond(request()) for _ in range(64)]
        begun = [await anext(stream.body_iterator) for stream in streams]
        assert len(begun) == 64
        assert (await events.respond(request())).status_code == 503
        await streams[0].body_iterator.aclose()
        assert (await events.respond(request())).status_code == 200
        for stream in streams:
            await stream.body_iterator.aclose()

    asyncio.run(check())
