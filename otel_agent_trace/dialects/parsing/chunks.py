"""Join the chunks of a streamed answer, which some tracers record in place of the response."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def whole_response(value: Any) -> Any:
    """Return one response for chunks with ``choices[].delta``, a list of them or a single one; else the value."""
    chunks = value if type(value) is list else [value]
    deltas = list(_deltas(chunks))
    if not deltas or not all(type(chunk) is dict and "choices" in chunk for chunk in chunks):
        return value
    messages: dict[int, dict[str, Any]] = {}
    for index, delta in deltas:
        message = messages.setdefault(index, {"role": "assistant", "content": "", "tool_calls": []})
        if type(delta.get("content")) is str:
            message["content"] += delta["content"]
        for call in delta.get("tool_calls") or ():
            _add_call(message["tool_calls"], call)
    return {"choices": [{"index": index, "message": messages[index]} for index in sorted(messages)]}


def joined_texts(value: Any) -> Any:
    """Return one text for a list of texts that are chunks of one, by the spaces between words at their ends; else the value.

    Several choices, which are whole texts, stay a list.
    """
    if type(value) is not list or len(value) < 2 or not all(type(text) is str for text in value):
        return value
    first, *others = value
    has_spaces = any(text.startswith(" ") for text in others) or any(text.endswith(" ") for text in value[:-1])
    return "".join(value) if has_spaces and not first.startswith(" ") else value


def _deltas(chunks: list[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    for chunk in chunks:
        choices = chunk.get("choices") if type(chunk) is dict else None
        for choice in choices if type(choices) is list else ():
            delta = choice.get("delta") if type(choice) is dict else None
            if type(delta) is dict:
                index = choice.get("index")
                yield (index if type(index) is int else 0), delta


def _add_call(calls: list[dict[str, Any]], chunk: Any) -> None:
    """Add a chunk of a tool call: the first of a call has its id and name, the arguments follow each other."""
    if type(chunk) is not dict:
        return
    given = chunk.get("function")
    function = given if type(given) is dict else {}
    call = next((call for call in calls if call["index"] == chunk.get("index")), None)
    if call is None:
        call = {"index": chunk.get("index"), "id": chunk.get("id"), "name": function.get("name"), "arguments": ""}
        calls.append(call)
    text = function.get("arguments")
    call["arguments"] += text if type(text) is str else ""
