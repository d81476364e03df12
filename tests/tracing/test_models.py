"""`@tracer.model` and model calls: what OpenAI's and Anthropic's results tell."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pydantic
import pytest

from otel_agent_trace import AgentRun, AgentStep, AgentTracer, InMemoryBackend, Usage
from otel_agent_trace.messages import usage_from
from tests.support.requirements import need_package

TheRun = Callable[[], AgentRun]
ASKED = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "hello",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q": "x"}'}}
                ],
            },
        }
    ],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    },
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "hello"},
        {"type": "tool_use", "id": "t1", "name": "search", "input": {"q": "x"}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 1},
}


class Dumped:
    """An object of a client: attributes, and `model_dump`."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._data:
            raise AttributeError(name)
        value = self._data[name]
        return Dumped(value) if isinstance(value, dict) else value

    def model_dump(self, exclude_none: bool = False) -> dict[str, Any]:
        return self._data


def openai_object() -> Any:
    from openai.types.chat import ChatCompletion

    return ChatCompletion.model_validate(COMPLETION)


def the_step(the_run: TheRun) -> AgentStep:
    (step,) = the_run().steps
    return step


@pytest.mark.parametrize("make", [openai_object, lambda: COMPLETION], ids=["object", "dict"])
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_openai(tracer: AgentTracer, the_run: TheRun, make: Callable[[], Any], kind: str) -> None:
    """Answer, tool calls, tokens, model, id and finish reason are taken from a chat completion, object or mapping."""
    result = make()

    @tracer.model
    def complete(messages: list[Any], model: str) -> Any:
        return result

    @tracer.model("complete")
    async def acomplete(messages: list[Any], model: str) -> Any:
        return result

    with tracer.run():
        got = complete(ASKED, model="gpt-4o") if kind == "plain" else asyncio.run(acomplete(ASKED, model="gpt-4o"))
        assert got is result
    step = the_step(the_run)
    assert (step.name, step.model) == ("complete", "gpt-4o-2024-08-06")
    assert step.attributes["gen_ai.request.model"] == "gpt-4o"
    assert step.attributes["gen_ai.response.id"] == "chatcmpl-1"
    assert list(step.attributes["gen_ai.response.finish_reasons"]) == ["tool_calls"]
    assert [(message.role, message.text) for message in step.messages] == [
        ("system", "be kind"),
        ("user", "hi"),
        ("assistant", "hello"),
    ]
    (call,) = step.messages[-1].tool_calls
    assert (call["name"], call["arguments"]) == ("search", {"q": "x"})
    assert step.usage is not None
    assert (step.usage.input_tokens, step.usage.output_tokens) == (10, 5)
    assert (step.usage.cache_read_input_tokens, step.usage.reasoning_output_tokens) == (4, 2)
    assert the_run().usage is not None
    assert the_run().usage.total_tokens == 15
    if make is openai_object:
        assert step.attributes["gen_ai.provider.name"] == "openai"


@pytest.mark.parametrize("make", [lambda: Dumped(MESSAGE), lambda: MESSAGE], ids=["object", "dict"])
def test_anthropic(tracer: AgentTracer, the_run: TheRun, make: Callable[[], Any]) -> None:
    """Answer, tool calls, tokens (the cached ones included) and model are taken from an Anthropic message."""

    @tracer.model("m", model="claude", provider="anthropic")
    def complete(messages: list[Any]) -> Any:
        return make()

    complete(ASKED[1:])
    step = the_step(the_run)
    assert (step.model, step.attributes["gen_ai.provider.name"]) == ("claude-x", "anthropic")
    assert step.messages[-1].text == "hello"
    assert [part["type"] for part in step.messages[-1].parts] == ["reasoning", "text", "tool_call"]
    assert step.usage == Usage(input_tokens=15, output_tokens=5, cache_read_input_tokens=4, cache_write_input_tokens=1)


def test_plain_text(tracer: AgentTracer, the_run: TheRun) -> None:
    """A text is the answer itself."""

    @tracer.model(model="gpt-4")
    def complete(prompt: str) -> str:
        return "hello"

    complete("hi")
    step = the_step(the_run)
    assert (step.input, step.output, step.model, step.usage) == ({"prompt": "hi"}, "hello", "gpt-4", None)
    assert [(message.role, message.text) for message in step.messages] == [("assistant", "hello")]


def test_a_stream_of_text(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """The pieces of a streamed text are its output, together they are the answer; also when it is left early."""

    @tracer.model
    def stream(messages: Any) -> Iterator[str]:
        yield "hel"
        yield "lo"

    @tracer.model
    async def astream(messages: Any) -> AsyncIterator[str]:
        yield "hel"
        yield "lo"

    async def collect() -> list[str]:
        return [piece async for piece in astream("hi")]

    assert list(stream("hi")) == asyncio.run(collect()) == ["hel", "lo"]
    early = stream("hi")
    next(early)
    early.close()
    steps = [run.steps[0] for run in memory.runs()]
    assert [step.output for step in steps] == [["hel", "lo"], ["hel", "lo"], ["hel"]]
    assert [step.messages[-1].text for step in steps] == ["hello", "hello", "hel"]
    assert [step.messages[0].text for step in steps] == ["hi"] * 3
    assert all(step.attributes["gen_ai.response.time_to_first_chunk"] >= 0 for step in steps)


def test_a_stream_whose_return_value_is_the_answer(tracer: AgentTracer, the_run: TheRun) -> None:
    """What a streaming generator returns is its result, with its own tokens and message."""

    @tracer.model
    def stream() -> Any:
        yield "hel"
        return COMPLETION

    assert list(stream()) == ["hel"]
    step = the_step(the_run)
    assert (step.output, step.messages[-1].text, len(step.messages)) == (COMPLETION, "hello", 1)
    assert step.usage is not None


def test_an_iterator_as_result_is_handed_on(tracer: AgentTracer, the_run: TheRun) -> None:
    """A function that returns an iterator returns it untouched; nothing is taken from it."""
    pieces = iter("abc")

    @tracer.model(usage=lambda result: {"input_tokens": len(list(result))})
    def stream() -> Iterator[str]:
        return pieces

    assert stream() is pieces
    assert list(pieces) == ["a", "b", "c"]
    assert the_step(the_run).usage is None


def test_usage_function(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """The usage function is asked with the result, goes over what the result says, and may fail or know nothing."""
    for usage in (
        lambda result: {"prompt_tokens": 1},
        lambda result: SimpleNamespace(input_tokens=1),
        lambda result: Usage(input_tokens=1),
        lambda result: None,
        lambda result: result["nope"],
        lambda result: 5,
    ):
        tracer.model(usage=usage)(lambda: COMPLETION)()
    tokens = [run.usage.input_tokens for run in memory.runs() if run.usage]
    assert tokens == [1, 1, 1, 10, 10, 10]
    assert tracer.stats()["failed: usage"] == 1


def test_usage_of_a_stream(tracer: AgentTracer, the_run: TheRun) -> None:
    """For a stream the usage function is given the pieces."""

    @tracer.model(usage=lambda pieces: {"output_tokens": len(pieces)})
    def stream() -> Iterator[str]:
        yield from "abc"

    list(stream())
    assert the_step(the_run).usage == Usage(output_tokens=3)


@pytest.mark.parametrize(
    "result",
    [
        None,
        0,
        [],
        {},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{"message": None}]},
        {"choices": "abc", "usage": "many"},
        {"content": 5, "usage": {"input_tokens": "3", "output_tokens": -1}},
        {"usage": {"prompt_tokens": 10**30}},
        {"model": ["x"], "id": 5, "content": [None, 3, {"type": 5}]},
        MagicMock(),
        SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content="x"), finish_reason=None)]),
        b"bytes",
        object(),
    ],
    ids=lambda result: type(result).__name__,
)
def test_odd_results_are_handed_on(tracer: AgentTracer, the_run: TheRun, result: Any) -> None:
    """Whatever a model function returns is returned as it is, and makes one ended step without an error."""
    assert tracer.model(lambda: result)() is result
    step = the_step(the_run)
    assert (step.error, step.ended_at_ns is None) == (None, False)


def test_values_set_by_the_caller_override_those_of_the_result(tracer: AgentTracer, the_run: TheRun) -> None:
    """Model, tokens and messages that the code sets are kept, whatever the result says."""
    with tracer.run() as run, run.model_call("asked", messages="hi") as call:
        call.output = COMPLETION
        call.model, call.usage = "mine", {"input_tokens": 1}
        call.messages = [*call.messages, {"role": "assistant", "content": "set by the caller"}]
    step = the_step(the_run)
    assert (step.model, step.usage, [message.text for message in step.messages]) == (
        "mine",
        Usage(input_tokens=1),
        ["hi", "set by the caller"],
    )


def test_an_enum_of_texts_as_model(tracer: AgentTracer, the_run: TheRun) -> None:
    """A model, a session and a name that are members of an enum of texts are recorded as their values."""

    class Name(str, enum.Enum):
        GPT = "gpt-4"

    @tracer.model
    def complete(model: str) -> None:
        pass

    with tracer.run(model=Name.GPT, session_id=Name.GPT, agent_name=Name.GPT) as run:
        complete(Name.GPT)
        with run.step(Name.GPT):
            pass
        run.model = Name.GPT
    read = the_run()
    assert (read.model, read.session_id, read.agent_name) == ("gpt-4",) * 3
    assert (read.steps[0].model, read.steps[1].name) == ("gpt-4", "gpt-4")


def test_names_of_spans(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """Spans are called as the conventions say, and model calls are client spans."""
    with tracer.run(agent_name="a") as run:
        with run.step("t"):
            pass
        with run.model_call("gpt-4", name="planner"):
            pass
    assert [(span.name, span.kind) for span in memory.spans()] == [
        ("execute_tool t", 1),
        ("chat gpt-4", 3),
        ("invoke_agent a", 1),
    ]
    assert [step.name for step in memory.runs()[0].steps] == ["t", "planner"]


def test_a_logged_call_is_called_like_one_in_a_block(tracer: AgentTracer, the_run: TheRun) -> None:
    """Without a name, a model call has that of its model, logged or lived."""
    with tracer.run() as run:
        for model in ("gpt-4", None):
            with run.model_call(model):
                pass
            tracer.log_step(run.run_id, kind="model", model=model)
        tracer.log_step(run.run_id, kind="model", model="gpt-4", name="planner")
    assert [step.name for step in the_run().steps] == ["gpt-4", "gpt-4", "chat", "chat", "planner"]


def test_defaults_of_messages_and_model(tracer: AgentTracer, the_run: TheRun) -> None:
    """What a call leaves to the defaults of the function is what the model was asked; arguments are what was passed."""

    @tracer.model
    def complete(top: int, messages: Any = ("hello",), model: str = "gpt-4") -> str:
        return "x"

    assert complete(1) == "x"
    (step,) = the_run().steps
    assert (step.model, step.input, [message.text for message in step.messages]) == (
        "gpt-4",
        {"top": 1},
        ["hello", "x"],
    )


# ── numbers of any type, and Anthropic's cached input ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [5, 5.0, Decimal(5), Decimal("5.0"), Fraction(10, 2)])
def test_whole_numbers_of_any_type_are_counts(number: Any) -> None:
    usage = usage_from({"input_tokens": number})
    assert usage == Usage(input_tokens=5)
    assert type(usage.input_tokens) is int


def test_numbers_of_numpy_are_counts() -> None:
    need_package("numpy", "test")
    import numpy as np

    numbers = [np.int8(5), np.uint64(5), np.float16(5), np.float64(5)]
    assert [usage_from({"input_tokens": number}) for number in numbers] == [Usage(input_tokens=5)] * 4
    assert usage_from({"input_tokens": np.bool_(True)}).input_tokens is None


@pytest.mark.parametrize("item", [True, 2.5, -1, float("nan"), float("inf"), Decimal("sNaN"), 5 + 0j, "5", [5]])
def test_what_is_no_count_is_a_detail(item: Any) -> None:
    usage = usage_from({"input_tokens": item, "output_tokens": 1})
    assert (usage.input_tokens, usage.output_tokens) == (None, 1)
    assert usage.details["input_tokens"] is item


class AnthropicUsage(pydantic.BaseModel):
    input_tokens: int
    output_tokens: int = 5
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


@pytest.mark.parametrize(
    ("given", "input_tokens"),
    [
        (AnthropicUsage(input_tokens=500, cache_read_input_tokens=100), 600),
        (AnthropicUsage(input_tokens=500, cache_read_input_tokens=100, cache_creation_input_tokens=0), 600),
        (AnthropicUsage(input_tokens=500), 500),
        (AnthropicUsage(input_tokens=500, cache_read_input_tokens=100).model_dump(), 600),
        ({"input_tokens": 10, "cache_read_input_tokens": 100}, 110),
        ({"input_tokens": 500, "cache_read_input_tokens": 100}, 500),  # as the conventions have it
        ({"output_tokens": 5, "cache_creation_input_tokens": None}, None),
    ],
)
def test_cached_input_of_anthropic(given: Any, input_tokens: int | None) -> None:
    """Cached tokens are part of the input, whether or not tokens were written to the cache."""
    assert usage_from(given).input_tokens == input_tokens
