"""Answers of Gemini's `generate_content`, and the chunks of `generate_content_stream`, which have the same shape."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.messages import message_from
from otel_agent_trace.model import Message, Usage
from otel_agent_trace.tracing.model_apis.fields import ModelResult, append, as_dict, fields_of, get, get_text, items_of


def is_chunk(chunk: Any) -> bool:
    """Return whether a value is a chunk of a stream."""
    return isinstance(get(chunk, "candidates"), list)


is_result = is_chunk


def read(result: Any) -> ModelResult:
    """Return the facts of an answer."""
    candidates = list(items_of(get(result, "candidates")))
    reasons = (_either(get_text, candidate, "finish_reason", "finishReason") for candidate in candidates)
    return ModelResult(
        messages=tuple(map(_message_of, candidates)),
        usage=_usage(_usage_of(result)),
        model=_either(get_text, result, "model_version", "modelVersion"),
        response_id=_either(get_text, result, "response_id", "responseId"),
        finish_reasons=tuple(reason for reason in reasons if reason is not None),
    )


def _message_of(candidate: Any) -> Message:
    parts = map(_part_of, items_of(get(get(candidate, "content"), "parts")))
    return message_from({"role": "assistant", "parts": list(parts)})


def _part_of(part: Any) -> dict[str, Any]:
    call = _either(get, part, "function_call", "functionCall")
    if call is not None:
        return {"type": "tool_call", "id": get(call, "id"), "name": get(call, "name"), "arguments": get(call, "args")}
    text = get(part, "text")
    if text is not None:
        return {"type": "reasoning" if get(part, "thought") else "text", "content": text}
    return {name: value for name, value in as_dict(part).items() if value is not None}


def put_together(chunks: list[Any]) -> dict[str, Any]:
    """Return the answer that the chunks of a stream make up."""
    whole: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        whole.update(fields_of(chunk, "model_version", "modelVersion", "response_id", "responseId"))
        whole.update(fields_of(chunk, "usage_metadata", "usageMetadata"))
        for part in items_of(get(chunk, "candidates")):
            candidate = candidates.setdefault(get(part, "index") or 0, {"content": {"parts": []}})
            candidate.update(fields_of(part, "finish_reason", "finishReason"))
            for piece in items_of(get(get(part, "content"), "parts")):
                _add_part(candidate["content"]["parts"], piece)
    return {**whole, "candidates": [candidates[index] for index in sorted(candidates)]}


def _add_part(parts: list[dict[str, Any]], piece: Any) -> None:
    """Append a part; one of text to the text before it, if both are thoughts or neither is."""
    part = {name: value for name, value in as_dict(piece).items() if value is not None}
    before = parts[-1] if parts else {}
    if "text" in part and "text" in before and bool(part.get("thought")) == bool(before.get("thought")):
        append(before, "text", part["text"])
    else:
        parts.append(part)


def _usage_of(result: Any) -> Any:
    return _either(get, result, "usage_metadata", "usageMetadata")


def _usage(usage: Any) -> Usage | None:
    """Return token counts; thoughts, which Gemini counts beside the answer, are part of the output."""
    if usage is None:
        return None

    def count(name: str, other: str) -> int | None:
        found = _either(get, usage, name, other)
        return found if type(found) is int else None

    answered = count("candidates_token_count", "candidatesTokenCount")
    thought = count("thoughts_token_count", "thoughtsTokenCount")
    return Usage(
        input_tokens=count("prompt_token_count", "promptTokenCount"),
        output_tokens=None if answered is thought is None else (answered or 0) + (thought or 0),
        reasoning_output_tokens=thought,
        cache_read_input_tokens=count("cached_content_token_count", "cachedContentTokenCount"),
    )


def _either(read_field: Any, holder: Any, name: str, other: str) -> Any:
    """Return a field by its name in Python, else by that in JSON."""
    found = read_field(holder, name)
    return read_field(holder, other) if found is None else found
