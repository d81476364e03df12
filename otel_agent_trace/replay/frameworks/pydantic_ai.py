"""Replay the models and tools of an agent of pydantic-ai, by a capability that each of its runs has."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic_ai import exceptions
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError, ModelRetry
from pydantic_ai.messages import ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models import CompletedStreamedResponse, Model
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.usage import RequestUsage

from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.dialects.parsing.texts import value_in
from otel_agent_trace.model import Message, StepError
from otel_agent_trace.replay.exceptions import exception_from
from otel_agent_trace.replay.frameworks.hosted_tools import refuse_hosted
from otel_agent_trace.replay.frameworks.model_answers import ModelAnswer, recorded_call
from otel_agent_trace.replay.frameworks.tool_results import recorded_result
from otel_agent_trace.replay.replaying import active_session

A = TypeVar("A")
_HTTP_ERROR = re.compile(r"status_code: (\d{3}), model_name: .*?, body: (.*)", re.DOTALL)
_RETRIES = ("ModelRetry", "ToolRetryError")


def replaying(agent: A) -> A:
    """Return an agent of pydantic-ai whose models and tools are answered within a replay; it works as before outside.

    Raises:
        TypeError: `agent` is no agent of pydantic-ai.
    """
    iterate = getattr(agent, "iter", None)
    if iterate is None:
        raise TypeError(f"{type(agent).__qualname__} is no agent of pydantic-ai")

    @functools.wraps(iterate)
    def iterate_with_answers(*args: Any, capabilities: Any = None, **kwargs: Any) -> Any:
        session = active_session()
        if session is not None:
            refuse_hosted(session, _mcp_servers(agent))
            capabilities = [*(capabilities or ()), _Answers()]
        return iterate(*args, capabilities=capabilities, **kwargs)

    agent.iter = iterate_with_answers  # type: ignore[attr-defined]
    return agent


def _mcp_servers(agent: Any) -> list[str]:
    found: list[Any] = []
    for toolset in agent.toolsets:
        toolset.apply(found.append)
    return [str(one.id or one.label) for one in found if any("MCP" in cls.__name__ for cls in type(one).__mro__)]


@dataclass
class _Answers(AbstractCapability[Any]):
    """Answer the models and tools of one run."""

    def get_wrapper_model(self, model: Model) -> Model:
        return _AnsweredModel(model)

    async def wrap_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Any) -> Any:
        session = active_session()
        try:
            parameters = tool_def.parameters_json_schema.get("properties", {})
            result = None if session is None else recorded_result(session, tool_def.name, args, parameters)
        except Exception as error:
            if type(error).__name__ in _RETRIES:  # the model is asked again, which only the framework's own class does
                raise ModelRetry(str(error)) from None
            raise
        return await handler(args) if result is None else result.value


class _AnsweredModel(WrapperModel):
    """Answer the requests to a model."""

    async def request(self, messages: Any, model_settings: Any, model_request_parameters: Any) -> ModelResponse:
        answer = _answer(self.wrapped, messages, model_request_parameters)
        return answer or await self.wrapped.request(messages, model_settings, model_request_parameters)

    @asynccontextmanager
    async def request_stream(
        self, messages: Any, model_settings: Any, model_request_parameters: Any, run_context: Any = None
    ) -> AsyncIterator[Any]:
        answer = _answer(self.wrapped, messages, model_request_parameters)
        if answer is not None:
            parameters = {"model_request_parameters": model_request_parameters, "replay_events": True}
            yield CompletedStreamedResponse(answer, **parameters)
            return
        inner = self.wrapped.request_stream(messages, model_settings, model_request_parameters, run_context)
        async with inner as stream:
            yield stream


def _answer(model: Model, messages: Any, parameters: Any) -> ModelResponse | None:
    session = active_session()
    if session is None:
        return None
    refuse_hosted(session, [getattr(tool, "id", None) or tool.kind for tool in parameters.native_tools])
    call = recorded_call(session, model.model_name, _asked(messages))
    if call is None:
        return None
    if call.step.error is not None:
        raise _exception_of(call.step.error, model.model_name)
    return _response(call.answer(), model)


def _asked(messages: Any) -> tuple[Message, ...]:
    """Return messages as the framework itself records them, with its instructions as the system's."""
    recorded = InstrumentationSettings().messages_to_otel_messages(messages)
    instructions = next((one.instructions for one in reversed(messages) if getattr(one, "instructions", None)), None)
    system = [{"role": "system", "content": instructions}] if instructions else []
    return conversation([*system, *recorded])


def _exception_of(error: StepError, model_name: str) -> BaseException:
    """Return the exception of a recorded error; one with an HTTP status also if nothing but its text was recorded."""
    found = _HTTP_ERROR.match(error.message)
    cls = getattr(exceptions, error.type.rpartition(".")[2], None)
    if found is None or not (isinstance(cls, type) and issubclass(cls, ModelAPIError)):
        return exception_from(error)
    category: Any = None if cls is ModelHTTPError else cls
    return ModelHTTPError.for_category(
        category, status_code=int(found[1]), model_name=model_name, body=value_in(found[2])
    )


def _response(answer: ModelAnswer, model: Model) -> ModelResponse:
    parts: list[Any] = [ThinkingPart(answer.reasoning)] if answer.reasoning else []
    parts += [TextPart(answer.text)] if answer.text else []
    parts += [ToolCallPart(call.name, call.arguments, call.id) for call in answer.calls]
    usage = answer.usage
    counts: Mapping[str, int | None] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_input_tokens,
        "cache_write_tokens": usage.cache_write_input_tokens,
    }
    reason: Any = "tool_call" if answer.reason == "tool_calls" else answer.reason
    used = RequestUsage(**{name: count for name, count in counts.items() if count})
    return ModelResponse(parts, usage=used, model_name=answer.model, provider_name=model.system, finish_reason=reason)
