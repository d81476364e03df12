"""Work that nobody waits for any more ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request

from otel_agent_trace import AgentRun
from otel_agent_trace.viewer.library import Library
from otel_agent_trace.viewer.search_api import SearchApi
from otel_agent_trace.viewer.work import Stop, StoppedError, Work
from tests.support.sample_runs import make_run

MANY = 100_000


def request(gone: asyncio.Event | None = None) -> Request:
    """A request whose client goes away at an event."""

    async def receive() -> dict[str, Any]:
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "GET", "headers": [], "query_string": b"", "path": "/"}, receive)


def endless(stop: Stop) -> None:
    while True:
        stop.check()


def test_work_ends_when_the_client_is_gone() -> None:
    async def check() -> None:
        work, gone = Work(), asyncio.Event()
        waiting = asyncio.ensure_future(work.run(request(gone), endless))
        assert await work.run(request(), lambda stop: stop.share) == 0  # others go on meanwhile
        gone.set()
        with pytest.raises(StoppedError):
            await waiting

    asyncio.run(check())


def test_work_ends_with_the_server() -> None:
    async def check() -> None:
        work = Work()
        begun = [asyncio.ensure_future(work.run(request(), endless)) for _ in range(20)]
        assert await asyncio.wait(begun, timeout=0) is not None
        work.close()
        assert {type(found) for found in await asyncio.gather(*begun, return_exceptions=True)} == {StoppedError}
        with pytest.raises(StoppedError):
            await work.run(request(), endless)

    asyncio.run(check())


def test_few_things_are_done_at_once() -> None:
    running, most, lock, enough = set[int](), list[int](), threading.Lock(), threading.Event()

    def work_on(number: int) -> None:
        with lock:
            running.add(number)
            most.append(len(running))
            if len(running) == 6:
                enough.set()
        enough.wait()
        with lock:
            running.discard(number)

    async def check() -> None:
        work = Work()
        await asyncio.gather(*(work.run(request(), lambda _, number=number: work_on(number)) for number in range(18)))  # type: ignore[misc]

    asyncio.run(check())
    assert max(most) == 6


class Endless:
    """A backend with very many runs, that counts those which are read."""

    def __init__(self) -> None:
        self.read = 0

    def runs(self) -> Iterator[AgentRun]:
        run = make_run(1, steps=())
        for _ in range(MANY):
            self.read += 1
            yield run


def test_a_search_is_no_faster_than_its_reader_and_ends_with_it() -> None:
    """The first pass over the runs is for the ids of sub-agents; the second is the search."""
    backend = Endless()

    async def check() -> None:
        work = Work()
        response: Any = await SearchApi(Library(backend), work).search(request())
        lines = response.body_iterator
        while not (await anext(lines)).startswith(b'{"row"'):
            pass
        await lines.aclose()
        assert not work._stops

    asyncio.run(check())
    assert backend.read < MANY + 200


def test_progress_is_a_share() -> None:
    stop = Stop()
    stop.on_progress(1, None)
    assert stop.share == 0
    stop.on_progress(30, 40)
    stop.on_progress(50, 40)
    assert stop.share == 1
    stop.set()
    with pytest.raises(StoppedError):
        stop.on_progress(1, 1)
