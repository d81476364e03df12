"""Answer the models of the OpenAI Agents SDK: those of agents, and those that are given for a run."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import httpx
from agents import FunctionTool, Model, ModelProvider, ModelResponse, MultiProvider, Usage
from agents.run import AgentRunner, get_default_agent_runner, set_default_agent_runner
from agents.tracing import response_span
from openai import APIStatusError
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.model import StepError
from otel_agent_trace.replay.exceptions import exception_from
from otel_agent_trace.replay.frameworks.hosted_tools import refuse_hosted
from otel_agent_trace.replay.frameworks.http_errors import error_body, http_status
from otel_agent_trace.replay.frameworks.model_answers import ModelAnswer, recorded_call
from otel_agent_trace.replay.frameworks.responses import response, response_events
from otel_agent_trace.replay.replaying import active_session

_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def answered_model(model: Any, provider: ModelProvider | None = None) -> Model:
    """Return a model that answers within a replay; `model` is one, or its name, or None for the default of a provider."""
    return model if isinstance(model, _AnsweredModel) else _AnsweredModel(model, provider)


def answer_models_of_runs() -> None:
    """Let models that a `RunConfig` has be answered too; they are used in place of those of agents."""
    if type(get_default_agent_runner()) is AgentRunner:
        set_default_agent_runner(_Runner())


class _AnsweredModel(Model):
    """Answer what a model is asked; the model may be one, its name, or None for the default one."""

    def __init__(self, model: Any, provider: ModelProvider | None) -> None:
        self._model = model
        self._provider = provider

    def _inner(self) -> Model:
        return (
            self._model
            if isinstance(self._model, Model)
            else (self._provider or MultiProvider()).get_model(self._model)
        )

    async def get_response(
        self, system_instructions: Any, input: Any, model_settings: Any, tools: Any, *args: Any, **kwargs: Any
    ) -> ModelResponse:
        answer = self._answer(system_instructions, input, tools)
        if answer is not None:
            return _model_response(_traced(answer, system_instructions, input))
        request = (system_instructions, input, model_settings, tools)
        return await self._inner().get_response(*request, *args, **kwargs)

    async def stream_response(
        self, system_instructions: Any, input: Any, model_settings: Any, tools: Any, *args: Any, **kwargs: Any
    ) -> AsyncIterator[Any]:
        answer = self._answer(system_instructions, input, tools)
        if answer is not None:
            _traced(answer, system_instructions, input)
            for event in response_events(answer, system_instructions):
                yield _EVENT.validate_python(event)
            return
        request = (system_instructions, input, model_settings, tools)
        async for event in self._inner().stream_response(*request, *args, **kwargs):
            yield event

    def _answer(self, system: Any, items: Any, tools: list[Any]) -> ModelAnswer | None:
        session = active_session()
        if session is None:
            return None
        hosted = (tool for tool in tools if not isinstance(tool, FunctionTool))
        refuse_hosted(session, [_name_of_hosted(tool) for tool in hosted])
        name = self._model if isinstance(self._model, str | None) else getattr(self._model, "model", None)
        asked = conversation([{"role": "system", "content": system}] if system else [])
        call = recorded_call(session, str(name or ""), (*asked, *conversation(items)))
        if call is None:
            return None
        if call.step.error is not None:
            raise _exception_of(call.step.error)
        return call.answer()


def _name_of_hosted(tool: Any) -> str:
    return str(getattr(tool, "tool_config", {}).get("server_label") or tool.name)


def _exception_of(error: StepError) -> BaseException:
    """Return the exception of a recorded error; that of the client for one with an HTTP status."""
    status = http_status(error)
    classes = {cls.status_code: cls for cls in APIStatusError.__subclasses__() if hasattr(cls, "status_code")}
    if status is None:
        return exception_from(error)
    answer = httpx.Response(status, request=httpx.Request("POST", "https://api.openai.com/v1/responses"))
    return classes.get(status, APIStatusError)(error.message, response=answer, body=error_body(error)["error"])


def _traced(answer: ModelAnswer, system: Any, asked: Any) -> Response:
    """Return the response of an answer, in a span such as the SDK's own models make."""
    built = Response.model_validate(response(answer, system))
    with response_span(built) as span:
        span.span_data.input = asked
    return built


def _model_response(built: Response) -> ModelResponse:
    used: Any = built.usage
    usage = Usage(
        requests=1,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        total_tokens=used.total_tokens,
        input_tokens_details=used.input_tokens_details,
        output_tokens_details=used.output_tokens_details,
    )
    return ModelResponse(output=built.output, usage=usage, response_id=None)


class _Runner(AgentRunner):
    """Run agents with a model of the `RunConfig` that answers."""

    async def run(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        return await super().run(starting_agent, input, **_with_answers(kwargs))

    def run_sync(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        return super().run_sync(starting_agent, input, **_with_answers(kwargs))

    def run_streamed(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        return super().run_streamed(starting_agent, input, **_with_answers(kwargs))


def _with_answers(arguments: dict[str, Any]) -> dict[str, Any]:
    config: Any = arguments.get("run_config")
    model = getattr(config, "model", None)
    if active_session() is None or model is None:
        return arguments
    answered = answered_model(model, config.model_provider)
    return {**arguments, "run_config": dataclasses.replace(config, model=answered)}
