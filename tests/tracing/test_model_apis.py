"""Answers and streams of the APIs of models: answer, tool calls, model, tokens and reasons, from results and from chunks."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from otel_agent_trace import AgentStep, AgentTracer, InMemoryBackend
from tests.support.requirements import need_package

TheStep = Callable[[], AgentStep]
ASKED = [{"role": "user", "content": "q"}]


@pytest.fixture
def the_step(memory: InMemoryBackend) -> TheStep:
    """The only step in memory."""

    def find() -> AgentStep:
        (run,) = memory.runs()
        (step,) = run.steps
        return step

    return find


def streamed(tracer: AgentTracer, chunks: list[Any]) -> None:
    @tracer.model
    def ask(messages: Any) -> Iterator[Any]:
        yield from chunks

    list(ask(ASKED))


def answers(step: AgentStep) -> list[str | None]:
    return [message.text for message in step.messages if message.role == "assistant"]


def calls(step: AgentStep) -> list[tuple[Any, Any, Any]]:
    return [(call.get("id"), call["name"], call.get("arguments")) for call in step.messages[-1].tool_calls]


def counts(step: AgentStep) -> tuple[int | None, int | None]:
    assert step.usage is not None
    return step.usage.input_tokens, step.usage.output_tokens


# ── chat completions ─────────────────────────────────────────────────────────────────────────────────────────────────


def chunk(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "gpt", "choices": list(choices), **fields}


def delta(index: int = 0, reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": index, "delta": fields, "finish_reason": reason}


def tool_call(index: object, call_id: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    given = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return {key: value for key, value in given.items() if value != "missing"}


def test_all_choices_of_a_stream(tracer: AgentTracer, the_step: TheStep) -> None:
    streamed(
        tracer,
        [
            chunk(),  # Azure begins with a chunk without choices
            chunk(delta(0, role="assistant", content="He")),
            chunk(delta(1, role="assistant", content="Ho")),
            chunk(delta(0, "stop", content="llo"), delta(1, "length", content="la")),
            chunk(usage={"prompt_tokens": 3, "completion_tokens": 4}),
        ],
    )
    step = the_step()
    assert answers(step) == ["Hello", "Hola"]
    assert (step.model, counts(step)) == ("gpt", (3, 4))
    assert step.attributes["gen_ai.response.finish_reasons"] == ["stop", "length"]


def test_all_choices_of_a_completion(tracer: AgentTracer, the_step: TheStep) -> None:
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for index, text in enumerate(("A", "B"))
    ]
    tracer.model(lambda messages: {"id": "c", "model": "gpt", "choices": choices})(ASKED)
    assert answers(the_step()) == ["A", "B"]


@pytest.mark.parametrize("index", [0, None, "missing"])
def test_whole_calls_under_one_index(tracer: AgentTracer, the_step: TheStep, index: object) -> None:
    """As Ollama, Gemini and Dynamo give them."""
    first = [tool_call(index, "t1", "a", '{"x": 1}'), tool_call(index, "t2", "b", '{"x": 2}')]
    last = [tool_call(index, "t3", "a", '{"x": 3}')]
    streamed(tracer, [chunk(delta(tool_calls=first)), chunk(delta(0, "tool_calls", tool_calls=last))])
    assert calls(the_step()) == [("t1", "a", {"x": 1}), ("t2", "b", {"x": 2}), ("t3", "a", {"x": 3})]


def test_calls_in_pieces_that_alternate(tracer: AgentTracer, the_step: TheStep) -> None:
    pieces = [
        tool_call(0, "t1", "a", ""),
        tool_call(0, None, None, '{"x"'),
        tool_call(1, "t2", "b", ""),
        tool_call(0, None, None, ": 1}"),
        tool_call(1, None, None, "{}"),
    ]
    streamed(tracer, [chunk(delta(tool_calls=[piece])) for piece in pieces])
    assert calls(the_step()) == [("t1", "a", {"x": 1}), ("t2", "b", {})]


def test_a_call_whose_id_is_in_every_piece(tracer: AgentTracer, the_step: TheStep) -> None:
    pieces = [tool_call(0, "t1", "a", ""), tool_call(0, "t1", "a", '{"x"'), tool_call(0, "t1", "", ": 1}")]
    streamed(tracer, [chunk(delta(tool_calls=[piece])) for piece in pieces])
    assert calls(the_step()) == [("t1", "a", {"x": 1})]


# ── Messages of Anthropic ────────────────────────────────────────────────────────────────────────────────────────────

MESSAGE: dict[str, Any] = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [],
    "stop_reason": None,
}
USAGE = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": each} for each in deltas),
        {"type": "content_block_stop", "index": index},
    ]


ANTHROPIC: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**MESSAGE, "stop_sequence": None, "usage": USAGE}},
    *block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "hm"}),
    {"type": "ping"},
    *block(1, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in ("hel", "lo"))),
    *block(
        2,
        {"type": "tool_use", "id": "t1", "name": "search", "input": {}},
        *({"type": "input_json_delta", "partial_json": piece} for piece in ('{"q":', ' "x"}')),
    ),
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 7},
    },
    {"type": "message_stop"},
]


def check_anthropic(step: AgentStep) -> None:
    assert (step.model, answers(step), counts(step)) == ("claude", ["hello"], (15, 7))
    assert calls(step) == [("t1", "search", {"q": "x"})]
    assert step.attributes["gen_ai.response.finish_reasons"] == ["tool_use"]


def test_events_of_anthropic(tracer: AgentTracer, the_step: TheStep) -> None:
    streamed(tracer, ANTHROPIC)
    check_anthropic(the_step())


def http_client(package: Any, kind: str, events: list[dict[str, Any]]) -> Any:
    """Return a client of the HTTP library that a package uses (httpx, or its successor), which receives a stream."""
    httpx: Any = importlib.import_module(package.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
    content = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
    headers = {"content-type": "text/event-stream"}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, headers=headers, content=content))
    return getattr(httpx, kind)(transport=transport)


@pytest.mark.frameworks
@pytest.mark.parametrize("how", ["raw", "helper", "final message"])
def test_the_client_of_anthropic(tracer: AgentTracer, the_step: TheStep, how: str) -> None:
    """The helper's own events repeat what the raw ones have."""
    need_package("anthropic", "frameworks")
    anthropic: Any = importlib.import_module("anthropic")

    http = http_client(anthropic, "Client", ANTHROPIC)
    client: Any = anthropic.Anthropic(api_key="x", base_url="http://x", http_client=http)
    given = {"model": "claude", "max_tokens": 9, "messages": ASKED}

    @tracer.model
    def raw(messages: Any) -> Any:
        return client.messages.create(**given, stream=True)

    @tracer.model
    def helper(messages: Any) -> Iterator[Any]:
        with client.messages.stream(**given) as stream:
            yield from stream

    @tracer.model
    def final(messages: Any) -> Any:
        with client.messages.stream(**given) as stream:
            return stream.get_final_message()

    final(ASKED) if how == "final message" else list((raw if how == "raw" else helper)(ASKED))
    check_anthropic(the_step())


# ── Responses of OpenAI ──────────────────────────────────────────────────────────────────────────────────────────────

CALL = {"type": "function_call", "id": "fc", "call_id": "c1", "name": "search", "arguments": '{"q": "x"}'}
TEXT = {"type": "output_text", "text": "hello", "annotations": []}
RESPONSE: dict[str, Any] = {
    "id": "r",
    "object": "response",
    "model": "gpt",
    "status": "completed",
    "output": [{"type": "message", "id": "ms", "role": "assistant", "content": [TEXT]}, CALL],
    "usage": {"input_tokens": 10, "output_tokens": 7, "total_tokens": 17},
}
RESPONSES: list[dict[str, Any]] = [
    {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": [], "usage": None}},
    {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "id": "ms", "content": []}},
    *(
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": piece}
        for piece in ("hel", "lo")
    ),
    {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "hello"},
    {"type": "response.output_item.added", "output_index": 1, "item": {**CALL, "arguments": ""}},
    *(
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": piece}
        for piece in ('{"q": ', '"x"}')
    ),
    {"type": "response.completed", "response": RESPONSE},
]


def check_responses(step: AgentStep) -> None:
    assert (step.model, answers(step), calls(step)) == ("gpt", ["hello"], [("c1", "search", {"q": "x"})])


def test_events_of_responses(tracer: AgentTracer, the_step: TheStep) -> None:
    streamed(tracer, RESPONSES)
    check_responses(the_step())
    assert counts(the_step()) == (10, 7)


def test_a_stream_of_responses_that_breaks_off(tracer: AgentTracer, the_step: TheStep) -> None:
    @tracer.model
    def ask(messages: Any) -> Iterator[Any]:
        yield from RESPONSES[:-1]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(ask(ASKED))
    check_responses(the_step())
    assert the_step().error is not None


def test_a_response_and_one_that_only_calls_functions(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    tracer.model(lambda messages: RESPONSE)(ASKED)
    tracer.model(lambda messages: {**RESPONSE, "output": [CALL]})(ASKED)
    whole, only_calls = (run.steps[0] for run in memory.runs())
    check_responses(whole)
    assert (answers(only_calls), calls(only_calls)) == ([""], [("c1", "search", {"q": "x"})])


def test_the_client_of_openai(tracer: AgentTracer, the_step: TheStep) -> None:
    import openai

    http = http_client(openai, "AsyncClient", RESPONSES)
    client: Any = openai.AsyncOpenAI(api_key="x", base_url="http://x", http_client=http)

    @tracer.model
    async def ask(messages: Any) -> Any:
        return await client.responses.create(model="gpt", input="q", stream=True)

    async def program() -> None:
        async for _ in await ask(ASKED):
            pass

    asyncio.run(program())
    check_responses(the_step())


# ── other APIs ───────────────────────────────────────────────────────────────────────────────────────────────────────

BEDROCK: list[dict[str, Any]] = [
    {"messageStart": {"role": "assistant"}},
    *({"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": piece}}} for piece in ("hel", "lo")),
    {"contentBlockStart": {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "c1", "name": "search"}}}},
    {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"q": "x"}'}}}},
    {"messageStop": {"stopReason": "tool_use"}},
    {"metadata": {"usage": {"inputTokens": 10, "outputTokens": 7}}},
]
GEMINI: list[dict[str, Any]] = [
    {"candidates": [{"content": {"parts": [{"text": "hel"}]}}], "modelVersion": "gemini"},
    {
        "candidates": [
            {
                "content": {
                    "parts": [{"text": "lo"}, {"functionCall": {"id": "c1", "name": "search", "args": {"q": "x"}}}]
                },
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 2},
    },
]
OLLAMA: list[dict[str, Any]] = [
    {"model": "llama", "message": {"role": "assistant", "content": "hel"}, "done": False},
    {"model": "llama", "message": {"role": "assistant", "content": "lo"}, "done": False},
    {
        "model": "llama",
        "message": {"tool_calls": [{"id": "c1", "function": {"name": "search", "arguments": {"q": "x"}}}]},
        "done": True,
        "prompt_eval_count": 10,
        "eval_count": 7,
    },
]
COHERE: list[dict[str, Any]] = [
    {"type": "message-start", "id": "m", "delta": {"message": {"role": "assistant"}}},
    *(
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": piece}}}}
        for piece in ("hel", "lo")
    ),
    {
        "type": "tool-call-start",
        "index": 0,
        "delta": {
            "message": {"tool_calls": {"id": "c1", "type": "function", "function": {"name": "search", "arguments": ""}}}
        },
    },
    {
        "type": "tool-call-delta",
        "index": 0,
        "delta": {"message": {"tool_calls": {"function": {"arguments": '{"q": "x"}'}}}},
    },
    {
        "type": "message-end",
        "delta": {"finish_reason": "TOOL_CALL", "usage": {"tokens": {"input_tokens": 10, "output_tokens": 7}}},
    },
]


@pytest.mark.parametrize(
    ("chunks", "model"),
    [(BEDROCK, None), (GEMINI, "gemini"), (OLLAMA, "llama"), (COHERE, None)],
    ids=["Bedrock", "Gemini", "Ollama", "Cohere"],
)
def test_streams_of_other_apis(tracer: AgentTracer, the_step: TheStep, chunks: list[Any], model: str | None) -> None:
    streamed(tracer, chunks)
    step = the_step()
    assert (step.model, answers(step), counts(step)) == (model, ["hello"], (10, 7))
    assert calls(step) == [("c1", "search", {"q": "x"})]


def test_pieces_of_text_and_of_no_api(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    streamed(tracer, ["hel", "lo"])
    streamed(tracer, [{"type": "unknown"}, 5, None, object()])
    text, unknown = (run.steps[0] for run in memory.runs())
    assert (answers(text), answers(unknown)) == (["hello"], [])


# ── left early ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_that_is_left_has_what_came_until_then(tracer: AgentTracer, the_step: TheStep) -> None:
    @tracer.model
    def ask(messages: Any) -> Iterator[Any]:
        yield from ANTHROPIC

    pieces = ask(ASKED)
    while next(pieces).get("delta") != {"type": "text_delta", "text": "lo"}:
        pass
    pieces.close()  # type: ignore[attr-defined]
    step = the_step()
    assert (step.abandoned, step.error, step.model, answers(step)) == (True, None, "claude", ["hello"])


def test_a_break_as_the_last_thing_of_a_program(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """`asyncio.run` closes the generators in tasks that it cancels before they run."""

    @tracer.tool
    async def inner() -> AsyncIterator[str]:
        yield "a"
        yield "b"

    @tracer.agent
    async def answer() -> AsyncIterator[str]:
        async for piece in inner():
            yield piece

    async def program() -> None:
        async for _ in answer():
            break

    asyncio.run(program())
    gc.collect()
    (run,) = memory.runs()
    assert (run.abandoned, run.error, run.final_output) == (True, None, "a")
    assert [(step.abandoned, step.error, step.output) for step in run.steps] == [(True, None, ["a"])]
