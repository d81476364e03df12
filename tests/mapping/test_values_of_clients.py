"""What clients of model providers return is given back as they made it, though their servers leave out required fields."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pydantic
import pytest

from otel_agent_trace import AgentTracer, InMemoryBackend
from otel_agent_trace.values import decode_text, encode_text, same
from otel_agent_trace.values.rebuilding import NotRebuiltError, classes_in, rebuilt
from tests.support.requirements import need_package

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Lyon"}'}}
MESSAGE = {"role": "assistant", "content": '{"item": "tea"}', "tool_calls": [CALL], "reasoning": {"vendor": ["x"]}}
COMPLETION = {  # of a server that leaves out `created` and `object`, and adds fields of its own
    "id": "c",
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": MESSAGE, "native_finish_reason": "STOP"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.25},
    "provider": "someone",
}
RESPONSE = {
    "id": "r",
    "model": "m",
    "output": [
        {
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
        },
        {"id": "f1", "type": "function_call", "name": "weather", "arguments": "{}", "call_id": "c1"},
    ],
}
CHUNK = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
EMBEDDINGS = {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.0]}]}
STREAM = f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n"


class Order(pydantic.BaseModel):
    item: str


def answer(request: httpx.Request) -> httpx.Response:
    body = json.loads(request.content)
    headers = {"x-request-id": "req_1"}
    if body.get("stream"):
        return httpx.Response(200, headers={**headers, "content-type": "text/event-stream"}, text=STREAM)
    kinds = {"completions": COMPLETION, "responses": RESPONSE, "embeddings": EMBEDDINGS}
    return httpx.Response(200, headers=headers, json=kinds[request.url.path.rpartition("/")[2]])


@pytest.fixture
def openai_client() -> Any:
    need_package("openai", "test")
    from openai import OpenAI

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        yield OpenAI(api_key="k", base_url="http://localhost/v1", http_client=http)  # type: ignore[arg-type]


def carried(value: Any) -> Any:
    """The value as it comes out of a trace."""
    encoded = encode_text(value)
    return decode_text(encoded.text, json.loads(msgspec.json.encode(encoded.tag)))


def state_of(value: Any) -> Any:
    """All that an object holds, with the names of the classes."""
    if isinstance(value, pydantic.BaseModel):
        origin = value.__pydantic_generic_metadata__["origin"] or type(value)
        slots = ("__dict__", "__pydantic_extra__", "__pydantic_private__", "__pydantic_fields_set__")
        return [origin.__qualname__, *(state_of(object.__getattribute__(value, name)) for name in slots)]
    if type(value) is dict:
        return {key: state_of(item) for key, item in value.items()}
    return [state_of(item) for item in value] if type(value) is list else value


def assert_given_back(value: Any, classes: dict[str, type] | None = None) -> Any:
    read = carried(value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = rebuilt(read, classes or {})
    assert same(state_of(back), state_of(value))
    assert back == value
    assert back is not rebuilt(read, classes or {})
    return back


# ── OpenAI ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_chat_completion(openai_client: Any) -> None:
    value = openai_client.chat.completions.create(model="m", messages=[])
    back = assert_given_back(value)
    assert type(back) is type(value)
    assert back.choices[0].message.tool_calls[0].function.arguments == '{"city": "Lyon"}'
    assert back.choices[0].message.reasoning == {"vendor": ["x"]}
    assert (back.usage.total_tokens, back.usage.cost, back.provider) == (5, 0.25, "someone")
    assert back._request_id == "req_1"
    assert back.model_dump(warnings=False) == value.model_dump(warnings=False)
    assert back.to_json(warnings=False) == value.to_json(warnings=False)
    assert back.created is None


def test_a_response(openai_client: Any) -> None:
    value = openai_client.responses.create(model="m", input="x")
    back = assert_given_back(value)
    assert (back.output_text, back.output[1].arguments) == ("Hello", "{}")


def test_chunks_and_embeddings(openai_client: Any) -> None:
    chunks = list(openai_client.chat.completions.create(model="m", messages=[], stream=True))
    assert assert_given_back(chunks[0]).choices[0].delta.content == "Hi"
    embeddings = openai_client.embeddings.create(model="m", input="x", encoding_format="float")
    assert assert_given_back(embeddings).data[0].embedding == [0.5, -0.0]


def test_a_parsed_completion(openai_client: Any) -> None:
    """The class of what was parsed is the program's: an annotation names it."""
    from openai.types.chat import ParsedChatCompletion

    value = openai_client.chat.completions.parse(model="m", messages=[], response_format=Order)
    with pytest.raises(NotRebuiltError, match=r"\.choices\[0\]\.message\.parsed is an instance of .*Order"):
        rebuilt(carried(value), {})
    names = {"ParsedChatCompletion": ParsedChatCompletion, "Order": Order}
    for annotation in (ParsedChatCompletion[Order], "ParsedChatCompletion[Order]"):
        back = assert_given_back(value, classes_in(annotation, names))
        assert type(back.choices[0].message.parsed) is Order
        assert isinstance(back, ParsedChatCompletion)


def test_what_holds_a_connection_is_refused(openai_client: Any) -> None:
    raw = openai_client.chat.completions.with_raw_response.create(model="m", messages=[])
    stream = openai_client.chat.completions.create(model="m", messages=[], stream=True)
    for value in (raw, stream):
        with pytest.raises(NotRebuiltError, match=r"an instance of openai\..*, of which only the repr was recorded"):
            rebuilt(carried(value), {})
    stream.close()


def test_a_completion_in_a_run(openai_client: Any) -> None:
    memory = InMemoryBackend()
    ask = AgentTracer(backend=memory).model(openai_client.chat.completions.create)
    value = ask(model="m", messages=[{"role": "user", "content": "Hello"}])
    (step,) = memory.runs()[0].steps
    assert same(state_of(rebuilt(step.output, {})), state_of(value))


# ── Anthropic ────────────────────────────────────────────────────────────────────────────────────────────────────────

BLOCKS = [
    {"type": "thinking", "thinking": "hm", "signature": "s"},
    {"type": "text", "text": "Hello", "citations": None},
    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Lyon"}},
    {"type": "made_up", "some": ["thing"]},
]


@pytest.fixture
def anthropic_construct() -> Callable[..., Any]:
    """What builds Anthropic's objects from what a server sends, as the client does, without validation."""
    need_package("anthropic", "frameworks")
    from anthropic._models import construct_type  # type: ignore[import-not-found]

    return construct_type


@pytest.mark.frameworks
def test_a_message_of_anthropic(anthropic_construct: Callable[..., Any]) -> None:
    from anthropic.types import Message  # type: ignore[import-not-found]

    data = {"id": "m", "role": "assistant", "type": "message", "content": BLOCKS, "usage": {"input_tokens": 3}}
    value = anthropic_construct(type_=Message, value=data)
    value._request_id = "req_2"  # as the client does
    back = assert_given_back(value)
    assert [type(block) for block in back.content] == [type(block) for block in value.content]
    assert (back.content[1].text, back.content[2].input["city"]) == ("Hello", "Lyon")
    assert (back.usage.input_tokens, back._request_id) == (3, "req_2")


@pytest.mark.frameworks
@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_start", "index": 0, "content_block": BLOCKS[2]},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    ],
)
def test_events_of_anthropic(anthropic_construct: Callable[..., Any], event: dict[str, Any]) -> None:
    from anthropic.types import RawMessageStreamEvent

    value = anthropic_construct(type_=RawMessageStreamEvent, value=event)
    assert value.type == event["type"]
    assert type(assert_given_back(value)) is type(value)
