"""The chat loop talks to a model over HTTP, calls the tools that it asks for, and survives what servers send."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from otel_agent_trace.demo import NoAnswerError, make_tools
from otel_agent_trace.demo.chat import (
    MAX_TURNS,
    Complete,
    MalformedAnswerError,
    completion_call,
    converse,
    describe,
    is_configured,
)


@pytest.fixture
def complete(model: Any) -> Iterator[Complete]:
    with openai.OpenAI(api_key="none") as client:
        yield completion_call(client, "scripted-1")


def last_tool_message(model: Any) -> dict[str, Any]:
    return next(message for message in reversed(model.requests[-1]["messages"]) if message["role"] == "tool")


def test_model_calls_tools_and_answers(model: Any, complete: Complete) -> None:
    """Each tool that the model asks for is called, and the model is told the result."""
    model.will_call("search", {"query": "wind dome", "limit": 1})
    model.will_call("calculator", {"expression": "55 / 1.852"})
    model.will_say("At 55 km/h, about 30 knots.")
    assert converse("When to close the dome?", make_tools(), complete) == "At 55 km/h, about 30 knots."
    roles = [message["role"] for message in model.requests[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "tool"]
    first = model.requests[1]["messages"][-1]
    assert first["tool_call_id"] == "call_1"
    assert json.loads(first["content"])[0]["file"] == "observatory-handbook.md"


def test_tools_are_described(model: Any, complete: Complete) -> None:
    """The model is told what each tool does and which parameters it has."""
    model.will_say("Hello.")
    converse("Hello?", make_tools(), complete)
    search, read, calculator = (tool["function"] for tool in model.requests[0]["tools"])
    assert (search["name"], read["name"], calculator["name"]) == ("search", "read", "calculator")
    assert search["description"] == "Find the passages that have most of the query's words, the best first."
    assert search["parameters"] == {
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
        "required": ["query"],
        "additionalProperties": False,
    }


def test_description_of_any_function() -> None:
    """Types that JSON has are named, others are left open; without a docstring the name must do."""

    def tool(a: list[int], b: dict[str, int], c: float, d: int | None, e, f: bool = False) -> None: ...  # type: ignore[no-untyped-def]

    function = describe("tool", tool)["function"]
    assert function["description"] == "tool"
    assert function["parameters"]["required"] == ["a", "b", "c", "d", "e"]
    assert function["parameters"]["properties"] == {
        "a": {"type": "array"},
        "b": {"type": "object"},
        "c": {"type": "number"},
        "d": {},
        "e": {},
        "f": {"type": "boolean"},
    }


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("calculator", {"expression": "1 / 0"}, "error: ZeroDivisionError: division by zero"),
        ("read", {"file": "tide-table.txt"}, "error: FileNotFoundError: no text 'tide-table.txt'"),
        ("calculator", "{not json", "error: JSONDecodeError: "),
        ("calculator", "[1]", "error: TypeError: "),
        ("calculator", "", "error: TypeError: "),
        ("calculator", {"sum": "1"}, "error: TypeError: "),
        ("weather", {}, "error: LookupError: no tool 'weather'; there are: search, read, calculator"),
    ],
)
def test_model_is_told_of_failing_calls(model: Any, complete: Complete, tool: str, arguments: Any, told: str) -> None:
    """Whatever goes wrong with a call is told to the model, which goes on."""
    model.will_call(tool, arguments)
    model.will_say("Sorry.")
    assert converse("?", make_tools(), complete) == "Sorry."
    assert last_tool_message(model)["content"].startswith(told)


def test_number_of_turns_is_bounded(model: Any, complete: Complete) -> None:
    """A model that never stops asking for tools is stopped."""
    model.will_call("calculator", {"expression": "1 + 1"})
    with pytest.raises(NoAnswerError, match=f"after {MAX_TURNS} turns"):
        converse("?", make_tools(), complete)
    assert len(model.requests) == MAX_TURNS


def test_rate_limit_is_waited_out(model: Any, complete: Complete) -> None:
    """One 429 is retried by the client."""
    model.will_send(b'{"error": {"message": "slow down"}}', status=429, retry_after_ms="1")
    model.will_say("Hello.")
    assert converse("Hello?", make_tools(), complete) == "Hello."
    assert len(model.requests) == 2


def test_rate_limit_for_good(model: Any, complete: Complete) -> None:
    """A 429 that is not to be retried is the client's own error."""
    model.will_send(b'{"error": {"message": "no quota"}}', status=429, x_should_retry="false")
    with pytest.raises(openai.RateLimitError, match="no quota"):
        converse("Hello?", make_tools(), complete)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"null",
        b'"text"',
        b"[]",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": "hello"}]}',
        b'{"choices": [{"message": {"tool_calls": ["search"]}}]}',
        b'{"choices": [{"message": {"tool_calls": 7}}]}',
        b'{"choices": [{"message": {"tool_calls": [{"id": "1", "function": {"name": "search"}}]}}]}',
    ],
)
def test_malformed_answer(model: Any, complete: Complete, body: bytes) -> None:
    """JSON that is no chat completion is said to be none."""
    model.will_send(body)
    with pytest.raises(MalformedAnswerError, match="no chat completion"):
        converse("Hello?", make_tools(), complete)


def test_page_instead_of_answer(model: Any, complete: Complete) -> None:
    """The page of a proxy is no chat completion, and shown cut."""
    model.will_send(b"<html>" + b"x" * 10_000, content_type="text/html")
    with pytest.raises(MalformedAnswerError, match=r"<html>x+$") as caught:
        converse("Hello?", make_tools(), complete)
    assert len(str(caught.value)) < 300


def test_broken_json(model: Any, complete: Complete) -> None:
    """JSON that breaks off is an error too."""
    model.will_send(b'{"choices": [')
    with pytest.raises((MalformedAnswerError, openai.OpenAIError, ValueError)):
        converse("Hello?", make_tools(), complete)


def test_answer_without_text(model: Any, complete: Complete) -> None:
    """A message with neither text nor calls is an empty answer."""
    model.will_send(b'{"choices": [{"message": {"role": "assistant"}}]}')
    assert converse("Hello?", make_tools(), complete) == ""


def test_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model decides if the environment has a key or an address."""
    assert not is_configured()
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "something")
            assert is_configured()


def test_package_must_be_there(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Without the package the rules decide, and the log says how to change that."""
    monkeypatch.setenv("OPENAI_API_KEY", "something")
    missing: Callable[..., None] = lambda name: None
    monkeypatch.setattr(importlib.util, "find_spec", missing)
    assert not is_configured()
    assert "otel-agent-trace[openai]" in caplog.text
