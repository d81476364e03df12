"""Answer questions with a model: a loop of chat completions with tool calls, behind any OpenAI-compatible API."""

from __future__ import annotations

import importlib.util
import inspect
import json
import logging
import os
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from otel_agent_trace.demo.planner import NoAnswerError
from otel_agent_trace.demo.tools import Tools
from otel_agent_trace.tracing import AgentTracer, current_run

if TYPE_CHECKING:
    from openai import OpenAI

Complete = Callable[[list[dict[str, Any]], list[dict[str, Any]]], dict[str, Any]]
"""Type of a function from the messages so far and the descriptions of the tools to a chat completion, as plain data."""

MAX_TURNS = 8
_SHOWN = 200
_DEFAULT_MODEL = "gpt-4o-mini"
_INSTRUCTIONS = (
    "You answer questions over a small library of texts. Search it, read what looks promising, and leave all arithmetic "
    "to the calculator. Answer in one or two sentences and name the file. If the texts do not say, say so."
)
_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}
_log = logging.getLogger(__name__)


class MalformedAnswerError(Exception):
    """Indicate that the model's server did not send a chat completion."""


def is_configured() -> bool:
    """Return whether the environment names a model, and the `openai` package is installed to call it."""
    if not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")):
        return False
    if importlib.util.find_spec("openai") is None:
        _log.warning("OPENAI_* is set, but not used: pip install 'otel-agent-trace[openai]'")
        return False
    return True


def ask(question: str, tools: Tools, tracer: AgentTracer) -> str:
    """Let the model that the environment names answer, each completion traced as a step.

    ``OPENAI_API_KEY``, ``OPENAI_BASE_URL`` and ``OPENAI_MODEL`` choose the model.

    Raises:
        NoAnswerError: the model still asks for tools after `MAX_TURNS` turns.
        MalformedAnswerError: the server's answer is no chat completion.
        openai.OpenAIError: the request failed, more often than the client retries.
    """
    from openai import OpenAI  # noqa: PLC0415 - optional, and half a second to import

    model = os.environ.get("OPENAI_MODEL") or _DEFAULT_MODEL
    current_run().model = model
    # Self-hosted servers need no key, but the client insists on one.
    with OpenAI(api_key=os.environ.get("OPENAI_API_KEY") or "none") as client:
        complete = tracer.model(model=model, provider="openai")(completion_call(client, model))
        return converse(question, tools, complete)


def completion_call(client: OpenAI, model: str) -> Complete:
    """Return a function that makes one chat completion, and raises `MalformedAnswerError` for any other answer."""

    def complete(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> dict[str, Any]:
        untyped: Any = client.chat.completions  # the client's types want its own classes in place of plain data
        given = {"tools": tools} if tools else {}  # OpenAI refuses an empty list
        return _checked(untyped.create(model=model, messages=messages, **given))

    return complete


def converse(question: str, tools: Tools, complete: Complete, *, max_turns: int = MAX_TURNS) -> str:
    """Alternate between the model and the tools that it asks for, until it answers.

    Raises:
        NoAnswerError: the model still asks for tools after `max_turns` completions.
    """
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": _INSTRUCTIONS},
        {"role": "user", "content": question},
    ]
    descriptions = [describe(name, tool) for name, tool in tools.items()]
    for _ in range(max_turns):
        message = complete(messages, descriptions)["choices"][0]["message"]
        calls = message.get("tool_calls")
        if not calls:
            return str(message.get("content") or "")
        messages = [*messages, message, *(_tool_message(call, tools) for call in calls)]
    raise NoAnswerError(f"the model still asks for tools after {max_turns} turns")


def describe(name: str, tool: Callable[..., Any]) -> dict[str, Any]:
    """Return a tool as the API wants it: its docstring's first paragraph, and a JSON schema made from its signature."""
    hints = typing.get_type_hints(tool)
    parameters = inspect.signature(tool).parameters.values()
    schema = {
        "type": "object",
        "properties": {parameter.name: _schema_of(hints.get(parameter.name)) for parameter in parameters},
        "required": [parameter.name for parameter in parameters if parameter.default is parameter.empty],
        "additionalProperties": False,
    }
    text = inspect.getdoc(tool) or name
    return {
        "type": "function",
        "function": {"name": name, "description": text.partition("\n\n")[0], "parameters": schema},
    }


def _schema_of(hint: Any) -> dict[str, str]:
    json_type = _JSON_TYPES.get(typing.get_origin(hint) or hint)
    return {"type": json_type} if json_type else {}


def _tool_message(call: dict[str, Any], tools: Tools) -> dict[str, Any]:
    """Return the message with the outcome of a tool call, a result or an error, for the model."""
    try:
        result = _call_tool(call["function"], tools)
        content = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
    except Exception as error:  # noqa: BLE001 - whatever a tool raises, the model gets it and may try something else
        content = f"error: {type(error).__name__}: {error}"
    return {"role": "tool", "tool_call_id": call["id"], "content": content}


def _call_tool(function: dict[str, Any], tools: Tools) -> Any:
    name = function["name"]
    if name not in tools:
        raise LookupError(f"no tool {name!r}; there are: {', '.join(tools)}")
    return tools[name](**json.loads(function["arguments"] or "{}"))


def _checked(completion: Any) -> dict[str, Any]:
    # The openai client returns whatever JSON or text it gets, so servers that are not quite compatible are noticed here.
    is_model = hasattr(completion, "model_dump")
    data: Any = completion.model_dump(mode="json", exclude_none=True, warnings=False) if is_model else completion
    try:
        for call in data["choices"][0]["message"].get("tool_calls") or ():
            _ = call["id"], call["function"]["name"], call["function"]["arguments"]
    except (TypeError, LookupError, AttributeError) as error:
        raise MalformedAnswerError(f"no chat completion: {str(data)[:_SHOWN]}") from error
    return typing.cast("dict[str, Any]", data)
