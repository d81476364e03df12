"""Clients of OpenAI and Anthropic are answered from recorded messages: whole, streamed, sync, async, with errors."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentStep, AgentTracer, Message, ReplayDivergence, StepKind, replay_run
from otel_agent_trace.model import StepError, Usage
from otel_agent_trace.testing import capture_runs
from tests.support.requirements import need_package
from tests.support.scripted_model import Calls, Refuses, Says, Script, scripted_model

pytestmark = [pytest.mark.frameworks]
NOBODY = "http://127.0.0.1:9"
CALL = {"type": "tool_call", "id": "call_7", "name": "forecast", "arguments": {"city": "Lyon"}}
RESULT = {"type": "tool_call_response", "id": "call_7", "response": {"sky": "rain"}}
TEXT = {"type": "text", "content": "It will rain. ☔"}
USAGE = Usage(input_tokens=120, output_tokens=12, cache_read_input_tokens=20)
SYSTEM = Message(role="system", parts=({"type": "text", "content": "Be brief."},))
ASKED = Message(role="user", parts=({"type": "text", "content": "Rain in Lyon?"},))
STEPS = (
    AgentStep(
        step_id=1,
        kind=StepKind.MODEL,
        name="m",
        messages=(SYSTEM, ASKED, Message(role="assistant", parts=(CALL,))),
        usage=USAGE,
        ended_at_ns=1,
        span_id="1",
    ),
    AgentStep(
        step_id=2,
        index=1,
        kind=StepKind.MODEL,
        name="m",
        messages=(
            *(SYSTEM, ASKED, Message(role="assistant", parts=(CALL,)), Message(role="tool", parts=(RESULT,))),
            Message(role="assistant", parts=(TEXT,)),
        ),
        usage=USAGE,
        ended_at_ns=2,
        span_id="2",
    ),
)
RUN = AgentRun(run_id="r", span_id="0", steps=STEPS, ended_at_ns=3, dialect="openinference")


def failed(error: StepError) -> AgentRun:
    """Return a run whose only call of a model failed."""
    step = AgentStep(
        step_id=1, kind=StepKind.MODEL, name="m", messages=(SYSTEM, ASKED), error=error, ended_at_ns=1, span_id="1"
    )
    return AgentRun(run_id="r", span_id="0", steps=(step,), ended_at_ns=3, dialect="openinference")


# ── three APIs, asked in four ways ───────────────────────────────────────────────────────────────────────────────────

OPENAI_TOOL = {"type": "function", "function": {"name": "forecast", "parameters": {"type": "object"}}}


def chat_request(turn: int, system: str = "Be brief.") -> dict[str, Any]:
    messages: list[Any] = [{"role": "system", "content": system}, {"role": "user", "content": "Rain in Lyon?"}]
    if turn:
        function = {"name": "forecast", "arguments": '{"city": "Lyon"}'}
        messages.append(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_7", "type": "function", "function": function}],
            }
        )
        messages.append({"role": "tool", "tool_call_id": "call_7", "content": '{"sky": "rain"}'})
    return {"model": "m", "messages": messages, "tools": [OPENAI_TOOL]}


def responses_request(turn: int, system: str = "Be brief.") -> dict[str, Any]:
    items: list[Any] = [{"role": "user", "content": "Rain in Lyon?"}]
    if turn:
        items.append(
            {"type": "function_call", "call_id": "call_7", "name": "forecast", "arguments": '{"city": "Lyon"}'}
        )
        items.append({"type": "function_call_output", "call_id": "call_7", "output": '{"sky": "rain"}'})
    return {"model": "m", "instructions": system, "input": items}


def anthropic_request(turn: int, system: str = "Be brief.") -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": "Rain in Lyon?"}]
    if turn:
        use = {"type": "tool_use", "id": "call_7", "name": "forecast", "input": {"city": "Lyon"}}
        result = {"type": "tool_result", "tool_use_id": "call_7", "content": '{"sky": "rain"}'}
        messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    return {"model": "m", "max_tokens": 10, "system": system, "messages": messages}


def facts_of(answer: Any) -> tuple[Any, ...]:
    """Return text, calls with their arguments, reason to end, and tokens of an answer of any of the clients."""
    if hasattr(answer, "choices"):
        message, usage = answer.choices[0].message, answer.usage
        calls = [(one.id, one.function.name, json.loads(one.function.arguments)) for one in message.tool_calls or ()]
        reason = {"stop": "end", "tool_calls": "tools"}[answer.choices[0].finish_reason]
        return message.content or "", calls, reason, (usage.prompt_tokens, usage.completion_tokens)
    if hasattr(answer, "output"):
        calls = [
            (one.call_id, one.name, json.loads(one.arguments)) for one in answer.output if one.type == "function_call"
        ]
        usage = answer.usage
        return answer.output_text, calls, "tools" if calls else "end", (usage.input_tokens, usage.output_tokens)
    text = "".join(block.text for block in answer.content if block.type == "text")
    calls = [(block.id, block.name, block.input) for block in answer.content if block.type == "tool_use"]
    usage = answer.usage
    total = usage.input_tokens + (usage.cache_read_input_tokens or 0)
    reason = {"end_turn": "end", "tool_use": "tools"}[answer.stop_reason]
    return text, calls, reason, (total, usage.output_tokens)


EXPECTED = [
    ("", [("call_7", "forecast", {"city": "Lyon"})], "tools", (120, 12)),
    ("It will rain. ☔", [], "end", (120, 12)),
]


def create(api: str, client: Any) -> Callable[..., Any]:
    if api == "chat":
        return client.chat.completions.create
    return client.responses.create if api == "responses" else client.messages.create


def stream(api: str, client: Any, request: dict[str, Any]) -> Any:
    """Return the manager of a stream that collects the whole answer."""
    if api == "chat":
        return client.chat.completions.stream(**request, stream_options={"include_usage": True})
    return client.responses.stream(**request) if api == "responses" else client.messages.stream(**request)


def final(api: str, events: Any) -> Any:
    return {"chat": "get_final_completion", "responses": "get_final_response", "messages": "get_final_message"}[api]


REQUESTS = {"chat": chat_request, "responses": responses_request, "messages": anthropic_request}
PACKAGES = {"chat": "openai", "responses": "openai", "messages": "anthropic"}


def client_of(api: str, *, is_async: bool = False, url: str = NOBODY, max_retries: int = 0) -> Any:
    """Return a client that is answered."""
    package = PACKAGES[api]
    need_package(package, "frameworks")
    module = importlib.import_module(package)
    cls = getattr(module, {"openai": "OpenAI", "anthropic": "Anthropic"}[package])
    cls = getattr(module, f"Async{cls.__name__}") if is_async else cls
    client = cls(api_key="none", base_url=url, max_retries=max_retries)
    replaying = importlib.import_module(f"otel_agent_trace.replay.frameworks.{package}").replaying
    assert replaying(client) is client
    assert replaying(client) is client  # a second time changes nothing
    return client


@pytest.mark.parametrize("api", REQUESTS)
def test_a_client_is_answered_with_what_was_recorded(api: str) -> None:
    client = client_of(api)
    with replay_run(RUN) as session:
        answers = [create(api, client)(**REQUESTS[api](turn)) for turn in (0, 1)]
    assert [facts_of(answer) for answer in answers] == EXPECTED
    assert (session.answered, session.live) == (["m", "m"], [])


@pytest.mark.parametrize("api", REQUESTS)
def test_an_async_client_is_answered_with_what_was_recorded(api: str) -> None:
    client = client_of(api, is_async=True)

    async def ask() -> list[Any]:
        with replay_run(RUN):
            return [await create(api, client)(**REQUESTS[api](turn)) for turn in (0, 1)]

    assert [facts_of(answer) for answer in asyncio.run(ask())] == EXPECTED


@pytest.mark.parametrize("api", REQUESTS)
def test_a_stream_is_collected_to_what_was_recorded(api: str) -> None:
    client = client_of(api)
    answers = []
    with replay_run(RUN):
        for turn in (0, 1):
            request = REQUESTS[api](turn)
            request.pop("tools", None)  # the collecting stream wants strict ones
            with stream(api, client, request) as events:
                assert list(events)
                answers.append(getattr(events, final(api, events))())
    assert [facts_of(answer) for answer in answers] == EXPECTED


@pytest.mark.parametrize("api", REQUESTS)
def test_an_async_stream_is_collected_to_what_was_recorded(api: str) -> None:
    client = client_of(api, is_async=True)

    async def ask() -> list[Any]:
        answers = []
        with replay_run(RUN):
            for turn in (0, 1):
                request = REQUESTS[api](turn)
                request.pop("tools", None)
                async with stream(api, client, request) as events:
                    assert [event async for event in events]
                    answers.append(await getattr(events, final(api, events))())
        return answers

    assert [facts_of(answer) for answer in asyncio.run(ask())] == EXPECTED


@pytest.mark.parametrize("api", REQUESTS)
def test_an_edited_prompt_diverges_at_the_call_that_changed(api: str) -> None:
    client = client_of(api)
    with pytest.raises(ReplayDivergence, match="Be wordy"):
        with replay_run(RUN) as session:
            create(api, client)(**REQUESTS[api](0))
            create(api, client)(**REQUESTS[api](1, "Be wordy."))
    assert session.answered == ["m"]
    assert [one.name for one in session.divergences][:1] == ["m"]


@pytest.mark.parametrize("api", REQUESTS)
def test_a_miss_that_the_agent_is_to_handle_is_an_error_of_its_client(api: str) -> None:
    client = client_of(api, max_retries=2)
    error = importlib.import_module(PACKAGES[api]).APIStatusError
    with replay_run(RUN, on_miss="error") as session, pytest.raises(error, match="Be wordy"):
        create(api, client)(**REQUESTS[api](0, "Be wordy."))
    assert [one.name for one in session.divergences][:1] == ["m"]
    assert len([one for one in session.divergences if "was not recorded" in str(one)]) == 1


@pytest.mark.parametrize("api", REQUESTS)
@pytest.mark.parametrize(
    ("error", "name"),
    [
        (StepError(type="RateLimitError", message="Error code: 429 - too many questions"), "RateLimitError"),
        (StepError(type="x.AuthenticationError", message="wrong key"), "AuthenticationError"),
        (StepError(type="ValueError", message="what?"), "InternalServerError"),
        (StepError(type="openai.APITimeoutError", message="Request timed out."), "APITimeoutError"),
        (StepError(type="openai.APIConnectionError", message="Connection error."), "APIConnectionError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_recorded_error_is_raised_as_the_one_of_the_client(api: str, error: StepError, name: str) -> None:
    client = client_of(api)
    module = importlib.import_module(PACKAGES[api])
    with replay_run(failed(error)) as session, pytest.raises(getattr(module, name)) as raised:
        create(api, client)(**REQUESTS[api](0))
    assert type(raised.value) is getattr(module, name)
    assert session.answered == ["m"]


@pytest.mark.parametrize("api", REQUESTS)
def test_a_client_that_retries_is_given_one_recorded_error(api: str) -> None:
    error = StepError(type="RateLimitError", message="Error code: 429 - too many questions")
    client = client_of(api, max_retries=2)
    with replay_run(failed(error)) as session, pytest.raises(Exception, match="too many questions"):
        create(api, client)(**REQUESTS[api](0))
    assert session.answered == ["m"]


HOSTED = [
    ("responses", {"tools": [{"type": "web_search"}]}, "web_search"),
    ("responses", {"tools": [{"type": "web_search_preview_2025_03_11"}]}, "web_search"),
    ("responses", {"tools": [{"type": "mcp", "server_label": "deepwiki", "server_url": "x"}]}, "deepwiki"),
    ("chat", {"web_search_options": {}}, "web_search"),
    ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search"),
    ("messages", {"extra_body": {"mcp_servers": [{"type": "url", "name": "wiki"}]}}, "wiki"),
]


@pytest.mark.parametrize(("api", "offered", "name"), HOSTED)
def test_a_hosted_tool_is_refused_by_its_name(api: str, offered: dict[str, Any], name: str) -> None:
    client = client_of(api)
    with pytest.raises(ReplayDivergence, match=name) as raised, replay_run(RUN):
        create(api, client)(**{**REQUESTS[api](0), **offered})
    assert (raised.value.kind, raised.value.name) == ("tool", name)


@pytest.mark.parametrize("api", ["chat", "messages"])
def test_other_requests_are_refused_by_their_path(api: str) -> None:
    client = client_of(api)
    with pytest.raises(ReplayDivergence, match="/models"), replay_run(RUN):
        client.models.list()


@contextmanager
def model_of(api: str) -> Iterator[str]:
    script: Script = {
        "Rain in Lyon?": [Calls("forecast", {"city": "Lyon"}, 120, 12), Says("It will rain. ☔", 120, 12)]
    }
    with scripted_model(script | {"Rain on Mars?": [Refuses(429, "too many questions")]}) as url:
        yield url.removesuffix("/v1") if api == "messages" else url


@pytest.mark.parametrize("api", REQUESTS)
def test_a_client_asks_its_server_outside_of_a_replay_and_where_it_is_live(api: str) -> None:
    with model_of(api) as url:
        client = client_of(api, url=url)
        assert facts_of(create(api, client)(**REQUESTS[api](1)))[0] == "It will rain. ☔"
        with replay_run(RUN, live={"m"}, on_miss="live") as session:
            assert facts_of(create(api, client)(**REQUESTS[api](1)))[0] == "It will rain. ☔"
    assert (session.answered, session.live) == ([], ["m"])


@pytest.mark.parametrize("api", REQUESTS)
def test_what_our_own_decorator_recorded_answers_a_client(api: str) -> None:
    with model_of(api) as url, capture_runs() as runs:
        client = client_of(api, url=url)
        ask = AgentTracer(agent_name="weather").model("m")(create(api, client))
        with AgentTracer(agent_name="weather").run(user_input="Rain in Lyon?"):
            answers = [facts_of(ask(**REQUESTS[api](turn))) for turn in (0, 1)]
    client = client_of(api)
    with replay_run(runs[0]) as session:
        with AgentTracer(agent_name="weather").run(user_input="Rain in Lyon?"):
            assert [facts_of(create(api, client)(**REQUESTS[api](turn))) for turn in (0, 1)] == answers
    assert len(session.answered) == 2


def test_what_is_no_client_is_an_error() -> None:
    from otel_agent_trace.replay.frameworks.openai import replaying

    with pytest.raises(TypeError, match="str is no client"):
        replaying("https://api.openai.com")
