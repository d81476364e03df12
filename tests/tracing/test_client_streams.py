"""Streams that a client gives, which a traced function returns: OpenAI's client against a server on this machine."""

from __future__ import annotations

import asyncio
import collections
import gc
import inspect
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI, AsyncStream, OpenAI, Stream
from opentelemetry import trace

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, Usage
from tests.support.event_streams import event_streams

TheRun = Callable[[], AgentRun]
ASKED: Any = [{"role": "user", "content": "hi"}]


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-x",
        "choices": [choice],
        **more,
    }


def call_delta(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments, **more.pop("function", {})}, **more}]}


CHUNKS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "hel"}),
    chunk({"content": "lo"}),
    chunk(call_delta(0, "", id="t1", type="function", function={"name": "search"})),
    chunk(call_delta(0, '{"q": ')),
    chunk(call_delta(1, "{}", id="t2", type="function", function={"name": "now"})),
    chunk(call_delta(0, '"x"}')),
    chunk({}, "tool_calls"),
    {**chunk({}), "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
]


@pytest.fixture
def address() -> Iterator[str]:
    with event_streams({"completions": CHUNKS}) as address:
        yield f"{address}/v1"


@pytest.fixture
def client(address: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=address, api_key="k", max_retries=0) as client:
        yield client


def ask(client: OpenAI, tracer: AgentTracer) -> Stream[Any]:
    @tracer.model
    def complete(messages: Any, model: str) -> Any:
        return client.chat.completions.create(model=model, messages=messages, stream=True)

    return complete(ASKED, "gpt-4o")  # type: ignore[no-any-return]


def check(run: AgentRun) -> None:
    (step,) = run.steps
    assert (step.name, step.model, step.error, step.abandoned) == ("complete", "gpt-4o-x", None, False)
    assert step.usage == Usage(input_tokens=3, output_tokens=2)
    assert [(message.role, message.text) for message in step.messages] == [("user", "hi"), ("assistant", "hello")]
    assert [(call["name"], call["arguments"]) for call in step.messages[-1].tool_calls] == [
        ("search", {"q": "x"}),
        ("now", {}),
    ]
    assert step.attributes["gen_ai.response.id"] == "c1"
    assert list(step.attributes["gen_ai.response.finish_reasons"]) == ["tool_calls"]
    assert step.attributes["gen_ai.provider.name"] == "openai"
    assert len(step.output) == len(CHUNKS)
    assert step.started_at_ns <= (step.first_chunk_at_ns or 0) <= (step.ended_at_ns or 0)


def test_a_stream_of_the_client(client: OpenAI, tracer: AgentTracer, memory: InMemoryBackend, the_run: TheRun) -> None:
    """The call lasts as long as its stream, which stays what it was; answer, tool calls and tokens are put together."""
    with tracer.run() as run:
        stream = ask(client, tracer)
        assert (type(stream), inspect.isgenerator(stream._iterator)) == (Stream, True)
        assert stream.response.status_code == 200
        assert memory.runs()[0].steps[0].ended_at_ns is None
        pieces = []
        for piece in stream:
            assert trace.get_current_span() is run.span
            pieces.append(piece.choices[0].delta.content if piece.choices else None)
        assert list(stream) == []
    assert pieces == ["", "hel", "lo", None, None, None, None, None, None]
    check(the_run())


def test_an_async_stream_of_the_client(address: str, tracer: AgentTracer, the_run: TheRun) -> None:
    """The same for the async client, through its context manager."""

    async def main() -> None:
        async with AsyncOpenAI(base_url=address, api_key="k", max_retries=0) as client, tracer.run() as run:

            @tracer.model
            async def complete(messages: Any, model: str) -> Any:
                return await client.chat.completions.create(model=model, messages=messages, stream=True)

            stream = await complete(ASKED, "gpt-4o")
            assert (type(stream), inspect.isasyncgen(stream._iterator)) == (AsyncStream, True)
            async with stream:
                async for _ in stream:
                    assert trace.get_current_span() is run.span

    asyncio.run(main())
    check(the_run())


@pytest.mark.parametrize("taken", [0, 2])
def test_a_stream_that_is_left(client: OpenAI, tracer: AgentTracer, the_run: TheRun, taken: int) -> None:
    """Closed and dropped before its end, or never asked, it is abandoned, which is no error."""
    with ask(client, tracer) as stream:
        for _ in range(taken):
            next(stream)
    del stream
    gc.collect()
    (step,) = the_run().steps
    assert (step.abandoned, step.error, len(step.output)) == (True, None, taken)
    assert step.ended_at_ns is not None


def test_a_stream_that_breaks(client: OpenAI, tracer: AgentTracer, the_run: TheRun) -> None:
    """What the client raises in the middle comes out as it is, and is the step's error."""
    stream = ask(client, tracer)
    next(stream)
    error = ConnectionError("gone")
    with pytest.raises(ConnectionError) as caught:
        stream._iterator.throw(error)  # type: ignore[attr-defined]
    assert caught.value is error
    assert the_run().steps[0].error.type == "ConnectionError"


def test_what_only_looks_like_a_stream(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """An object of that shape without a generator inside is a result like any other."""

    class Odd:
        __slots__ = ()

        def __stream__(self) -> None:
            raise AssertionError

    class Empty:
        def __stream__(self) -> None:
            raise AssertionError

    for odd in (Odd(), Empty()):
        assert tracer.tool(lambda odd=odd: odd)() is odd
    assert [run.steps[0].ended_at_ns is None for run in memory.runs()] == [False, False]
    assert "failed: stream" not in tracer.stats()


def test_a_tool_whose_results_are_not_wanted(tracer: AgentTracer, the_run: TheRun) -> None:
    """Its pieces are not kept, not even until it ends; when the first came is noted."""

    class Piece:
        """Can be referred to weakly."""

    @tracer.tool(capture=False)
    def secret() -> Iterator[Piece]:
        piece = Piece()
        pieces.append(weakref.ref(piece))
        yield piece
        del piece
        yield Piece()
        pieces.append(pieces[0]())
        yield Piece()

    pieces: list[Any] = []
    collections.deque(secret(), maxlen=0)
    (step,) = the_run().steps
    assert (pieces[1], step.output, step.first_chunk_at_ns is None) == (None, None, False)
