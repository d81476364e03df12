"""Answers of Ollama's own API (chat and generate), whose chunks have the same shape."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.messages import message_from, usage_from
from otel_agent_trace.tracing.model_apis.fields import ModelResult, append, fields_of, get, get_text, items_of


def is_chunk(chunk: Any) -> bool:
    """Return whether a value is a chunk of a stream."""
    return type(get(chunk, "done")) is bool and (get(chunk, "message") is not None or _generated(chunk) is not None)


is_result = is_chunk


def read(result: Any) -> ModelResult:
    """Return the facts of an answer."""
    reason, text = get_text(result, "done_reason"), _generated(result)
    message = {"role": "assistant", "content": text} if text is not None else get(result, "message")
    counts = {"input_tokens": get(result, "prompt_eval_count"), "output_tokens": get(result, "eval_count")}
    return ModelResult(
        messages=(message_from(message),),
        usage=usage_from(counts),
        model=get_text(result, "model"),
        finish_reasons=() if reason is None else (reason,),
    )


def put_together(chunks: list[Any]) -> dict[str, Any]:
    """Return the answer that the chunks of a stream make up; a tool call comes whole."""
    whole: dict[str, Any] = {"done": True}
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    for chunk in chunks:
        whole.update(fields_of(chunk, "model", "done_reason", "prompt_eval_count", "eval_count"))
        append(whole, "response", _generated(chunk))
        part = get(chunk, "message")
        for name in ("content", "thinking"):
            append(message, name, get(part, name))
        message.setdefault("tool_calls", []).extend(items_of(get(part, "tool_calls")))
    return {**whole, "message": message}


def _generated(result: Any) -> str | None:
    """Return the text of an answer of `generate`."""
    return get_text(result, "response")
