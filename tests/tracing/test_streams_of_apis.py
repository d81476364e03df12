"""Streams as servers and the clients of OpenAI and Anthropic give them: several choices, calls however numbered, early ends."""

from __future__ import annotations

import asyncio
import gc
import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from openai import APIConnectionError, AsyncOpenAI, OpenAI
from opentelemetry import trace

from otel_agent_trace import (
    AgentRun,
    AgentStep,
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    load_run,
    run_to_spans,
    runs_from_spans,
)
from tests.support.event_streams import event_streams
from tests.support.requirements import need_package

TheRun = Callable[[], AgentRun]
ASKED: Any = [{"role": "user", "content": "hi"}]


def chunk(delta: dict[str, Any], index: int = 0, finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def call(id: str | None = None, name: str | None = None, arguments: Any = None, **place: Any) -> dict[str, Any]:
    return chunk({"tool_calls": [{"id": id, "function": {"name": name, "arguments": arguments}, **place}]})


def block_delta(index: int, kind: str, **piece: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **piece}}


def block_start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


USAGE = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": USAGE,
}
ANTHROPIC = [
    {"type": "message_start", "message": MESSAGE},
    {"type": "ping"},
    block_start(0, type="thinking", thinking="", signature=""),
    block_delta(0, "thinking_delta", thinking="hm"),
    block_delta(0, "signature_delta", signature="sig"),
    {"type": "content_block_stop", "index": 0},
    block_start(1, type="text", text=""),
    block_delta(1, "text_delta", text="hel"),
    block_delta(1, "text_delta", text="lo"),
    {"type": "content_block_stop", "index": 1},
    block_start(2, type="tool_use", id="t1", name="search", input={}),
    block_delta(2, "input_json_delta", partial_json='{"q": '),
    block_delta(2, "input_json_delta", partial_json='"x"}'),
    {"type": "content_block_stop", "index": 2},
    block_start(3, type="tool_use", id="t2", name="now", input={}),
    {"type": "content_block_stop", "index": 3},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"input_tokens": 10, "output_tokens": 7, "cache_read_input_tokens": 5},
    },
    {"type": "message_stop"},
]
OUTPUT: list[dict[str, Any]] = [
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
    {
        "type": "message",
        "id": "m_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "hello", "annotations": []}],
    },
    {"type": "function_call", "id": "f_1", "call_id": "t1", "name": "search", "arguments": '{"q": "x"}'},
    {"type": "function_call", "id": "f_2", "call_id": "t2", "name": "now", "arguments": "{}"},
]
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-x",
    "status": "completed",
    "output": OUTPUT,
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 15,
        "input_tokens_details": {"cached_tokens": 5},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 22,
    },
}


def event(kind: str, output_index: int | None = None, **more: Any) -> dict[str, Any]:
    place = {} if output_index is None else {"output_index": output_index, "item_id": "i"}
    return {"type": f"response.{kind}", "sequence_number": 0, **place, **more}


def added(index: int, **item: Any) -> dict[str, Any]:
    return event("output_item.added", index, item={**OUTPUT[index], **item})


BEGINNING = [
    event("created", response={**RESPONSE, "status": "in_progress", "output": [], "usage": None}),
    added(0, summary=[]),
    event("reasoning_summary_text.delta", 0, summary_index=0, delta="hm"),
    added(1, content=[]),
    event("content_part.added", 1, content_index=0, part={"type": "output_text", "text": "", "annotations": []}),
    event("output_text.delta", 1, content_index=0, delta="hel", logprobs=[]),
    event("output_text.delta", 1, content_index=0, delta="lo", logprobs=[]),
    event("output_text.done", 1, content_index=0, text="hello", logprobs=[]),
    event("output_item.done", 1, item=OUTPUT[1]),
    added(2, arguments=""),
    event("function_call_arguments.delta", 2, delta='{"q": '),
    event("function_call_arguments.delta", 2, delta='"x"}'),
    event("function_call_arguments.done", 2, name="search", arguments='{"q": "x"}'),
    added(3, arguments=""),
    event("function_call_arguments.delta", 3, delta="{}"),
]
RESPONSES = [*BEGINNING, event("completed", response=RESPONSE)]

CHAT = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "hel"}),
    chunk({"content": "HEL"}, 1),
    chunk({"content": "LO"}, 1),
    chunk({"content": "lo"}),
    chunk({}, 0, "stop"),
    chunk({}, 1, "length"),
    {**chunk({}), "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
]


def streamed(tracer: AgentTracer, the_run: TheRun, chunks: list[Any]) -> AgentStep:
    """Return the step of a decorated generator that yields some chunks."""

    @tracer.model
    def ask(messages: Any) -> Iterator[Any]:
        yield from chunks

    assert list(ask(ASKED)) == chunks
    assert not [name for name in tracer.stats() if name.startswith("failed")]
    return the_run().steps[0]


def calls(step: AgentStep) -> list[tuple[Any, ...]]:
    return [(part["id"], part["name"], part["arguments"]) for part in step.messages[-1].tool_calls]


def tokens(step: AgentStep) -> tuple[int | None, int | None]:
    assert step.usage is not None
    return step.usage.input_tokens, step.usage.output_tokens


def check(step: AgentStep, model: str) -> None:
    """The answer that `ANTHROPIC` and `RESPONSES` have in common."""
    assert (step.model, tokens(step), step.error) == (model, (15, 7), None)
    question, answer = step.messages
    assert (question.text, answer.role, answer.text) == ("hi", "assistant", "hello")
    assert answer.parts[0] == {"type": "reasoning", "content": "hm"}
    assert calls(step) == [("t1", "search", {"q": "x"}), ("t2", "now", {})]


def test_a_response_that_only_calls_functions(tracer: AgentTracer, the_run: TheRun) -> None:
    """It has a message; a reason why it is incomplete is its finish reason; tools of the provider are no calls."""
    search = {"type": "web_search_call", "id": "ws", "status": "completed"}
    script = {"type": "custom_tool_call", "call_id": "t3", "name": "shell", "input": "ls"}
    output = [search, OUTPUT[2], script]
    tracer.model(
        lambda messages: {
            **RESPONSE,
            "output": output,
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
        }
    )(ASKED)
    step = the_run().steps[0]
    assert calls(step) == [("t1", "search", {"q": "x"}), ("t3", "shell", "ls")]
    assert step.messages[-1].parts[0] == {
        "type": "server_tool_call",
        "id": "ws",
        "name": "web_search",
        "server_tool_call": search,
    }
    assert list(step.attributes["gen_ai.response.finish_reasons"]) == ["max_output_tokens"]


@pytest.mark.parametrize("is_streamed", [True, False])
def test_several_choices(tmp_path: Path, is_streamed: bool) -> None:
    """Each choice is a message with its own finish reason, in memory as from a file."""
    memory, path = InMemoryBackend(), tmp_path / "traces.jsonl"
    whole = {
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}},
            {"index": 1, "finish_reason": "length", "message": {"role": "assistant", "content": "HELLO"}},
        ],
        "model": "m",
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
    with AgentTracer(backends=[memory, FileBackend(path)]) as tracer:
        if is_streamed:
            streamed(tracer, lambda: memory.runs()[0], CHAT)
        else:
            tracer.model(lambda messages: whole)(ASKED)
    (step,) = load_run(path).steps
    assert memory.runs()[0].steps[0] == step
    (span,) = run_to_spans(load_run(path))
    assert span.attributes["gen_ai.output.messages"] == memory.spans()[0].attributes["gen_ai.output.messages"]
    (run,) = runs_from_spans([span])
    assert run.steps[0] == step
    assert [(message.role, message.text) for message in step.messages] == [
        ("user", "hi"),
        ("assistant", "hello"),
        ("assistant", "HELLO"),
    ]
    assert [message.extra.get("finish_reason") for message in step.messages] == [None, "stop", "length"]
    assert list(step.attributes["gen_ai.response.finish_reasons"]) == ["stop", "length"]
    assert tokens(step) == (3, 4)
    assert step.output == (CHAT if is_streamed else whole)


def test_a_conversation_goes_on_after_several_choices(tmp_path: Path) -> None:
    """With `history="new"` the first choice is the answer that the next call may refer to."""
    path = tmp_path / "traces.jsonl"
    messages = list(ASKED)
    with AgentTracer(FileBackend(path), history="new") as tracer, tracer.run():
        ask = tracer.model(lambda messages: {"choices": [{"message": answer(text)} for text in ("a", "b")]})
        ask(messages)
        messages += [answer("a"), {"role": "user", "content": "more"}]
        ask(messages)
    assert [message.text for message in load_run(path).steps[1].messages] == ["hi", "a", "more", "a", "b"]


def answer(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


WHOLE = {"x": 1}
TWO_CALLS = [
    pytest.param([call("a", "f", '{"x":1}', index=0), call("b", "g", "{}", index=0)], id="whole ones under one index"),
    pytest.param([call("a", "f", '{"x":1}'), call("b", "g", "{}")], id="no index"),
    pytest.param(
        [call("a", "f", '{"x"', index=None), call(arguments=":1}", index=None), call("b", "g", "{}", index=None)],
        id="index None, in pieces",
    ),
    pytest.param(
        [
            call("a", "f", '{"x"', index=0),
            call("b", "g", "{", index=1),
            call("a", "f", ":1}", index=0),
            call("b", "g", "}", index=1),
        ],
        id="id and name in each piece, interleaved",
    ),
    pytest.param(
        [
            call("a", "f", "", index=0),
            call("b", "g", "", index=1),
            call(None, None, '{"x":1}', index=0),
            call(None, None, "{}", index=1),
        ],
        id="id and name in the first piece",
    ),
    pytest.param(
        [
            call("a", "f", "", index=0),
            call("a2", None, '{"x"', index=0),
            call("a3", None, ":1}", index=0),
            call("b", "g", "{}", index=1),
        ],
        id="another id in each piece",
    ),
    pytest.param([call("a", "f", WHOLE, index=0), call("b", "g", {}, index=0)], id="arguments that are no text"),
]


@pytest.mark.parametrize("chunks", TWO_CALLS)
def test_tool_calls_of_many_servers(tracer: AgentTracer, the_run: TheRun, chunks: list[Any]) -> None:
    """Two calls come out as two, however a server numbers them."""
    assert calls(streamed(tracer, the_run, chunks)) == [("a", "f", WHOLE), ("b", "g", {})]


@pytest.mark.parametrize("call_id", [None, ""])
def test_calls_of_one_function_without_ids(tracer: AgentTracer, the_run: TheRun, call_id: str | None) -> None:
    """Whole arguments end a call, so that the same name begins another one."""
    chunks = [call(call_id, "f", '{"x":1}', index=0), call(call_id, "f", '{"x":2}', index=0)]
    assert calls(streamed(tracer, the_run, chunks)) == [(None, "f", {"x": 1}), (None, "f", {"x": 2})]


def test_a_function_call_and_reasoning(tracer: AgentTracer, the_run: TheRun) -> None:
    """OpenAI's older `function_call` is a tool call; reasoning that a server gives under two keys counts once."""
    chunks = [
        chunk({"reasoning_content": "h", "reasoning": "h"}),
        chunk({"reasoning_content": "m", "reasoning": "m"}),
        chunk({"function_call": {"name": "f", "arguments": '{"x"'}}),
        chunk({"function_call": {"arguments": ":1}"}}),
    ]
    step = streamed(tracer, the_run, chunks)
    assert step.messages[-1].parts == (
        {"type": "reasoning", "content": "hm"},
        {"type": "tool_call", "id": None, "name": "f", "arguments": {"x": 1}},
    )


@pytest.mark.parametrize("decorator", ["model", "tool", "agent"])
def test_a_stream_that_fails_keeps_what_came(tracer: AgentTracer, memory: InMemoryBackend, decorator: str) -> None:
    """The pieces until the error stand beside it."""

    @getattr(tracer, decorator)
    def ask(messages: Any) -> Iterator[str]:
        yield "hel"
        yield "lo"
        raise ValueError("gone")

    with pytest.raises(ValueError, match="gone"):
        list(ask(ASKED))
    (run,) = memory.runs()
    failed, output = (run, run.final_output) if decorator == "agent" else (run.steps[0], run.steps[0].output)
    assert (failed.error.type, failed.abandoned) == ("ValueError", False)
    assert output == ("hello" if decorator == "agent" else ["hel", "lo"])


@pytest.mark.parametrize("decorator", ["model", "tool", "agent"])
@pytest.mark.parametrize("waits", [False, True])
def test_a_break_as_the_last_thing_of_a_program(
    tracer: AgentTracer, memory: InMemoryBackend, decorator: str, waits: bool
) -> None:
    """`asyncio.run` cancels the task that closes the stream, before or while it runs: it was abandoned all the same."""

    @getattr(tracer, decorator)
    async def ask(messages: Any) -> Any:
        try:
            yield "hel"
            yield "lo"
        finally:
            if waits:
                await asyncio.sleep(0)

    async def main() -> None:
        async for _ in ask(ASKED):
            break

    asyncio.run(main())
    (run,) = memory.runs()
    left = run if decorator == "agent" else run.steps[0]
    assert (left.abandoned, left.error, left.ended_at_ns is None) == (True, None, False)
    assert (run.final_output if decorator == "agent" else run.steps[0].output) == (
        "hel" if decorator == "agent" else ["hel"]
    )


# ── real clients ─────────────────────────────────────────────────────────────────────────────────────────────────────

_ANSWERS: dict[str, list[Any]] = {"messages": ANTHROPIC, "responses": RESPONSES, "completions": CHAT}


@pytest.fixture
def address() -> Iterator[str]:
    with event_streams(_ANSWERS) as address:
        yield address


def openai_streams(client: Any) -> dict[str, Callable[[], Any]]:
    return {
        "create": lambda: client.responses.create(model="gpt-x", input=ASKED, stream=True),
        "helper": lambda: client.responses.stream(model="gpt-x", input=ASKED),
    }


@pytest.mark.parametrize("way", ["create", "helper"])
def test_responses_of_the_client(address: str, tracer: AgentTracer, the_run: TheRun, way: str) -> None:
    """Objects of the client's classes, raw or of its helper, which adds whole snapshots."""
    with OpenAI(base_url=f"{address}/v1", api_key="k", max_retries=0) as client:

        @tracer.model
        def ask(messages: Any) -> Iterator[Any]:
            with openai_streams(client)[way]() as stream:
                yield from stream

        list(ask(ASKED))
    check(the_run().steps[0], "gpt-x")
    assert the_run().steps[0].attributes["gen_ai.provider.name"] == "openai"


def test_an_async_stream_of_responses_is_followed(address: str, tracer: AgentTracer, the_run: TheRun) -> None:
    """A function that returns the client's stream is a step that lasts as long as the stream."""

    async def main() -> None:
        async with AsyncOpenAI(base_url=f"{address}/v1", api_key="k", max_retries=0) as client:

            @tracer.model
            async def ask(messages: Any) -> Any:
                return await client.responses.create(model="gpt-x", input=ASKED, stream=True)

            async for _ in await ask(ASKED):
                pass

    asyncio.run(main())
    check(the_run().steps[0], "gpt-x")


@pytest.mark.parametrize("way", ["create", "helper"])
def test_choices_of_the_client(address: str, tracer: AgentTracer, the_run: TheRun, way: str) -> None:
    """All choices come out once, also of the helper, whose events have deltas and snapshots beside the chunks."""
    with OpenAI(base_url=f"{address}/v1", api_key="k", max_retries=0) as client:

        @tracer.model
        def ask(messages: Any) -> Iterator[Any]:
            asked = {"model": "m", "messages": messages, "n": 2}
            if way == "create":
                yield from client.chat.completions.create(**asked, stream=True)
            else:
                with client.chat.completions.stream(**asked) as stream:
                    yield from stream

        stream = ask(ASKED)
        try:
            list(stream)
        except Exception as error:
            assert type(error).__name__ == "LengthFinishReasonError", repr(error)  # noqa: PT017 - what the helper raises for "length"
    step = the_run().steps[0]
    assert [message.text for message in step.messages] == ["hi", "hello", "HELLO"]


@pytest.mark.frameworks
@pytest.mark.parametrize("way", ["create", "helper", "text"])
def test_anthropic_client(address: str, tracer: AgentTracer, the_run: TheRun, way: str) -> None:
    """Streams of Anthropic's client, returned by a function: raw, and of its helper, whose events repeat deltas."""
    need_package("anthropic", "frameworks")
    anthropic: Any = importlib.import_module("anthropic")
    with anthropic.Anthropic(base_url=address, api_key="k", max_retries=0) as client:
        asked: Any = {"model": "claude", "messages": ASKED, "max_tokens": 9}

        @tracer.model
        def ask(messages: Any) -> Any:
            return client.messages.create(**asked, stream=True) if way == "create" else manager.__enter__()

        manager = client.messages.stream(**asked)
        stream = ask(ASKED)
        pieces = list(stream.text_stream if way == "text" else stream)
        stream.close()
    assert pieces
    step = the_run().steps[0]
    check(step, "claude-x")
    assert (step.attributes["gen_ai.provider.name"], step.abandoned) == ("anthropic", False)


@pytest.mark.frameworks
@pytest.mark.parametrize("way", ["create", "helper"])
def test_async_anthropic_client(address: str, tracer: AgentTracer, the_run: TheRun, way: str) -> None:
    """The same for the async client."""
    need_package("anthropic", "frameworks")
    anthropic: Any = importlib.import_module("anthropic")

    async def main() -> None:
        async with anthropic.AsyncAnthropic(base_url=address, api_key="k", max_retries=0) as client:
            asked: Any = {"model": "claude", "messages": ASKED, "max_tokens": 9}

            @tracer.model
            async def ask(messages: Any) -> Any:
                if way == "create":
                    return await client.messages.create(**asked, stream=True)
                return await client.messages.stream(**asked).__aenter__()

            async for _ in await ask(ASKED):
                pass

    asyncio.run(main())
    check(the_run().steps[0], "claude-x")


# ── managers of streams ──────────────────────────────────────────────────────────────────────────────────────────────


def managers(address: str, clients: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
    """Return functions that return managers which are not entered yet, of the clients' helpers."""
    asked: Any = {"model": "claude", "messages": ASKED, "max_tokens": 9}
    openai = clients["openai"](base_url=f"{address}/v1", api_key="k", max_retries=0)
    made: dict[str, Callable[[], Any]] = {"responses": lambda: openai_streams(openai)["helper"]()}
    if "anthropic" in clients:
        anthropic = clients["anthropic"](base_url=address, api_key="k", max_retries=0)
        made |= {
            "messages": lambda: anthropic.messages.stream(**asked),
            "beta": lambda: anthropic.beta.messages.stream(**asked),
        }
    return made


def clients_of(name: str, prefix: str = "") -> dict[str, Any]:
    """Return the classes of the clients that a test with one of the managers needs."""
    classes = {"openai": AsyncOpenAI if prefix else OpenAI}
    if name != "responses":
        need_package("anthropic", "frameworks")
        classes["anthropic"] = getattr(importlib.import_module("anthropic"), f"{prefix}Anthropic")
    return classes


MANAGERS = ["responses", *(pytest.param(name, marks=pytest.mark.frameworks) for name in ("messages", "beta"))]


@pytest.mark.parametrize("name", MANAGERS)
def test_a_manager_that_is_returned_before_it_is_entered(
    address: str, tracer: AgentTracer, memory: InMemoryBackend, name: str
) -> None:
    """The call lasts until the stream ends that it gives when it is entered; entered again, it is no part of the call."""
    make = managers(address, clients_of(name))[name]
    with tracer.run() as run:
        manager = tracer.model(lambda messages: make())(ASKED)
        assert type(manager) is type(make())
        for has_ended in (False, True):
            with manager as stream:
                assert (memory.runs()[0].steps[0].ended_at_ns is not None) == has_ended
                assert trace.get_current_span() is run.span
                assert list(stream)
    (step,) = memory.runs()[0].steps
    check(step, "claude-x" if name != "responses" else "gpt-x")
    assert (step.abandoned, step.attributes["gen_ai.provider.name"] in ("openai", "anthropic")) == (False, True)


@pytest.mark.parametrize("name", MANAGERS)
def test_an_async_manager_that_is_returned_before_it_is_entered(
    address: str, tracer: AgentTracer, the_run: TheRun, name: str
) -> None:
    async def main() -> None:
        make = managers(address, clients_of(name, "Async"))[name]

        @tracer.model
        async def ask(messages: Any) -> Any:
            return make()

        async with await ask(ASKED) as stream:
            assert [piece async for piece in stream]

    asyncio.run(main())
    check(the_run().steps[0], "claude-x" if name != "responses" else "gpt-x")


def test_choices_of_a_manager(address: str, tracer: AgentTracer, the_run: TheRun) -> None:
    client = OpenAI(base_url=f"{address}/v1", api_key="k", max_retries=0)
    ask = tracer.model(lambda messages: client.chat.completions.stream(model="m", messages=messages, n=2))
    with ask(ASKED) as stream:
        stream.until_done()
    (step,) = the_run().steps
    assert [message.text for message in step.messages] == ["hi", "hello", "HELLO"]


def test_a_manager_that_is_never_entered_or_whose_request_fails(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """The one is abandoned, and nothing but Python's own warning is said of it; the other is an error."""

    async def main() -> None:
        client = AsyncOpenAI(base_url="http://127.0.0.1:9", api_key="k", max_retries=0)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            manager: Any = tracer.model(lambda: client.chat.completions.stream(model="m", messages=ASKED))()
            del manager
            gc.collect()
        assert len({str(warning.message) for warning in seen}) == len(seen) == 1
        seen.clear()  # from Python 3.12 on the warning refers to the coroutine
        gc.collect()
        with pytest.raises(APIConnectionError):
            async with tracer.model(lambda: client.chat.completions.stream(model="m", messages=ASKED))():
                pass

    client = OpenAI(base_url="http://127.0.0.1:9", api_key="k", max_retries=0)
    tracer.model(lambda: client.responses.stream(model="m", input="hi"))()
    with pytest.raises(APIConnectionError), tracer.model(lambda: client.responses.stream(model="m", input="hi"))():
        pass
    asyncio.run(main())
    found = [
        (step.abandoned, step.output, step.error and step.error.type) for run in memory.runs() for step in run.steps
    ]
    assert found == [(True, None, None), (False, None, "openai.APIConnectionError")] * 2


def test_a_coroutine_whose_result_is_a_stream(address: str, tracer: AgentTracer, the_run: TheRun) -> None:
    """A plain function that returns it is a step that lasts as long as the stream."""

    async def main() -> None:
        client = AsyncOpenAI(base_url=f"{address}/v1", api_key="k", max_retries=0)
        ask = tracer.model(lambda messages: openai_streams(client)["create"]())
        async for _ in await ask(ASKED):
            pass

    asyncio.run(main())
    check(the_run().steps[0], "gpt-x")


# ── failures that are no exceptions ──────────────────────────────────────────────────────────────────────────────────

FAILED = {**RESPONSE, "status": "failed", "output": [], "error": {"code": "server_error", "message": "Sorry."}}
CUT_SHORT = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([*BEGINNING, event("failed", response=FAILED)], ("server_error", "Sorry.")),
        ([{"type": "error", "code": "rate_limit_exceeded", "message": "Slow."}], ("rate_limit_exceeded", "Slow.")),
        ([*BEGINNING, {"type": "error", "code": None, "message": "Gone."}], ("_OTHER", "Gone.")),
        ([*BEGINNING, event("incomplete", response=CUT_SHORT)], None),
        (
            [*ANTHROPIC[:9], {"type": "error", "error": {"type": "overloaded_error", "message": "Busy."}}],
            ("overloaded_error", "Busy."),
        ),
        ([{"type": "error", "error": {"type": "api_error", "message": "No."}}], ("api_error", "No.")),
        ([*CHAT[:2], {**chunk({}), "error": {"code": 502, "message": "Upstream."}}], ("502", "Upstream.")),
    ],
)
def test_an_event_that_reports_a_failure(
    tracer: AgentTracer, the_run: TheRun, chunks: list[Any], expected: tuple[str, str] | None
) -> None:
    """The step fails as with an exception, and has what came before; an answer that is cut short is no failure."""
    step = streamed(tracer, the_run, chunks)
    assert (step.error and (step.error.type, step.error.message)) == expected
    if len(chunks) > 3:
        assert step.messages[-1].text == "hello"
    if expected is None:
        assert list(step.attributes["gen_ai.response.finish_reasons"]) == ["max_output_tokens"]


@pytest.mark.parametrize("status", ["failed", "incomplete"])
def test_a_response_of_the_client_that_failed(tracer: AgentTracer, the_run: TheRun, status: str) -> None:
    """The client raises nothing; the step has the error, or the reason why the answer is not whole."""
    whole = FAILED if status == "failed" else CUT_SHORT
    with event_streams({"responses": [*BEGINNING, event(status, response=whole)]}) as address:
        client = OpenAI(base_url=f"{address}/v1", api_key="k", max_retries=0)
        list(tracer.model(lambda: client.responses.create(model="m", input="hi", stream=True))())
    (step,) = the_run().steps
    reasons = list(step.attributes["gen_ai.response.finish_reasons"])
    found = step.error and (step.error.type, step.error.message), reasons
    assert found == ((("server_error", "Sorry."), ["failed"]) if status == "failed" else (None, ["max_output_tokens"]))
    assert step.messages[-1].text == "hello"


@pytest.mark.parametrize("error", [None, "", False, {}, {"message": None}, print])
def test_a_field_that_only_has_the_name_of_an_error(tracer: AgentTracer, the_run: TheRun, error: Any) -> None:
    assert tracer.model(lambda: {"content": "hello", "error": error})()
    (step,) = the_run().steps
    assert (step.error, step.messages[-1].text) == (None, "hello")
