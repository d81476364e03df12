"""A model behind the APIs of OpenAI and Anthropic on this machine, which answers each question by its script."""

from __future__ import annotations

import http.server
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.support.http_servers import serving

MODEL = "scripted-1"


class Says(NamedTuple):
    """An answer."""

    text: str
    input_tokens: int
    output_tokens: int


class Calls(NamedTuple):
    """A wish to call a tool."""

    tool: str
    arguments: dict[str, Any]
    input_tokens: int
    output_tokens: int


class Refuses(NamedTuple):
    """A failure of the service."""

    status: int
    message: str


Reply = Says | Calls | Refuses
Script = dict[str, list[Reply]]
"""By question, what the model says to it, after that what it says to the first result, and so on."""


@contextmanager
def scripted_model(script: Script) -> Iterator[str]:
    """The base URL of a model with a script, behind both of OpenAI's APIs and Anthropic's."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            encode = next(answer for path, answer in _APIS.items() if self.path.partition("?")[0].endswith(path))
            place, reply = _next(script, asked["input"] if encode is _response else asked["messages"])
            body = _failure(reply) if isinstance(reply, Refuses) else encode(place, reply)
            if encode is _response:  # as OpenAI does
                body["instructions"] = asked.get("instructions")
            self.send_response(reply.status if isinstance(reply, Refuses) else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing on stderr."""

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}/v1"


def _next(script: Script, messages: list[dict[str, Any]]) -> tuple[int, Reply]:
    """The reply that is next in the script of the last question, and its place there."""
    place = 0
    for message in reversed(messages):
        if message.get("role") == "user" and _text(message["content"]):  # Anthropic's tool results are a user's as well
            return place, script[_text(message["content"])][place]
        place += message.get("role") == "assistant" or message.get("type") == "function_call"
    raise LookupError("nobody asked")


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _failure(reply: Refuses) -> dict[str, Any]:
    return {"error": {"message": reply.message, "type": "refused", "code": "refused"}}


def _chat(place: int, reply: Says | Calls) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    if isinstance(reply, Says):
        message["content"] = reply.text
    else:
        function = {"name": reply.tool, "arguments": json.dumps(reply.arguments)}
        message["tool_calls"] = [{"id": f"call_{place}", "type": "function", "function": function}]
    reason = "stop" if isinstance(reply, Says) else "tool_calls"
    return {
        "id": f"chatcmpl-{reply.input_tokens}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "finish_reason": reason, "message": message}],
        "usage": {
            "prompt_tokens": reply.input_tokens,
            "completion_tokens": reply.output_tokens,
            "total_tokens": reply.input_tokens + reply.output_tokens,
        },
    }


def _response(place: int, reply: Says | Calls) -> dict[str, Any]:
    item: dict[str, Any] = {"id": f"item_{place}", "status": "completed"}
    if isinstance(reply, Says):
        text = {"type": "output_text", "text": reply.text, "annotations": []}
        item |= {"type": "message", "role": "assistant", "content": [text]}
    else:
        arguments = json.dumps(reply.arguments)
        item |= {"type": "function_call", "call_id": f"call_{place}", "name": reply.tool, "arguments": arguments}
    return {
        "id": f"resp_{reply.input_tokens}",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": MODEL,
        "output": [item],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": reply.input_tokens,
            "output_tokens": reply.output_tokens,
            "total_tokens": reply.input_tokens + reply.output_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def _message(place: int, reply: Says | Calls) -> dict[str, Any]:
    if isinstance(reply, Says):
        part: dict[str, Any] = {"type": "text", "text": reply.text}
    else:
        part = {"type": "tool_use", "id": f"call_{place}", "name": reply.tool, "input": reply.arguments}
    return {
        "id": f"msg_{reply.input_tokens}",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [part],
        "stop_reason": "end_turn" if isinstance(reply, Says) else "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens},
    }


_APIS = {"/chat/completions": _chat, "/responses": _response, "/messages": _message}
"""By the end of its path, how an API encodes an answer."""
