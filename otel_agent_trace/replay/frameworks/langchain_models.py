"""Answer the methods by which LangChain's chat models ask for answers, whole and streamed."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.dialects.parsing.texts import value_in
from otel_agent_trace.replay.exceptions import exception_from
from otel_agent_trace.replay.frameworks.hosted_tools import hosted_names, refuse_hosted
from otel_agent_trace.replay.frameworks.model_answers import ModelAnswer, recorded_call
from otel_agent_trace.replay.replaying import active_session


def _answer(model: Any, messages: Any, arguments: Mapping[str, Any]) -> ModelAnswer | None:
    session = active_session()
    if session is None:
        return None
    refuse_hosted(session, hosted_names(arguments.get("tools") or ()))
    name = str(getattr(model, "model_name", None) or getattr(model, "model", None) or model._llm_type)
    call = recorded_call(session, name, conversation([message.model_dump() for message in messages]))
    if call is None:
        return None
    if call.step.error is not None:
        raise exception_from(call.step.error)
    return call.answer()


def _fields(answer: ModelAnswer) -> dict[str, Any]:
    usage = answer.usage
    total = {"input_tokens": usage.input_tokens or 0, "output_tokens": usage.output_tokens or 0}
    return {
        "content": answer.text,
        "response_metadata": {"model_name": answer.model, "finish_reason": answer.reason},
        "usage_metadata": {**total, "total_tokens": usage.total_tokens} if usage else None,
    }


def _whole(answer: ModelAnswer) -> ChatResult:
    calls = [tool_call(name=call.name, args=value_in(call.arguments), id=call.id) for call in answer.calls]
    return ChatResult(generations=[ChatGeneration(message=AIMessage(**_fields(answer), tool_calls=calls))])


def _chunk(answer: ModelAnswer) -> ChatGenerationChunk:
    calls = [
        tool_call_chunk(name=call.name, args=call.arguments, id=call.id, index=index)
        for index, call in enumerate(answer.calls)
    ]
    message = AIMessageChunk(**_fields(answer), tool_call_chunks=calls, chunk_position="last")
    return ChatGenerationChunk(message=message)


def _around_generate(inner: Any) -> Any:
    @functools.wraps(inner)
    def generate(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Any:
        answer = _answer(self, messages, kwargs)
        return inner(self, messages, *args, **kwargs) if answer is None else _whole(answer)

    return generate


def _around_agenerate(inner: Any) -> Any:
    @functools.wraps(inner)
    async def generate(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Any:
        answer = _answer(self, messages, kwargs)
        return await inner(self, messages, *args, **kwargs) if answer is None else _whole(answer)

    return generate


def _around_stream(inner: Any) -> Any:
    @functools.wraps(inner)
    def stream(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        answer = _answer(self, messages, kwargs)
        yield from inner(self, messages, *args, **kwargs) if answer is None else [_chunk(answer)]

    return stream


def _around_astream(inner: Any) -> Any:
    @functools.wraps(inner)
    async def stream(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Any:
        answer = _answer(self, messages, kwargs)
        if answer is not None:
            yield _chunk(answer)
            return
        async for chunk in inner(self, messages, *args, **kwargs):
            yield chunk

    return stream


MODEL_METHODS = {
    "_generate": _around_generate,
    "_agenerate": _around_agenerate,
    "_stream": _around_stream,
    "_astream": _around_astream,
}
"""By the name of a method of `BaseChatModel`, what makes one that answers around it."""
