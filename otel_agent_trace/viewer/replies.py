"""Make answers of data: JSON, compressed where the client takes that, and errors that name what is wrong."""

from __future__ import annotations

import gzip
import json
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from otel_agent_trace.errors import ConfigurationError

_LEAST_COMPRESSED_BYTES = 2048
_COMPRESSION = 3
"""Level of gzip: higher ones take several times as long for a few percent."""


def encoded(data: Any) -> bytes:
    """Return data as JSON; numbers that JSON lacks are null, and lone surrogates are escaped."""
    try:
        return msgspec.json.encode(data)
    except UnicodeEncodeError:
        return json.dumps(data, separators=(",", ":")).encode("ascii")


def data_reply(request: Request, data: Any, status: int = 200) -> Response:
    """Return the answer that has some data as JSON; bytes are JSON already."""
    body = data if isinstance(data, bytes) else encoded(data)
    return compressed(request, Response(body, status, media_type="application/json"))


def text_reply(request: Request, text: str) -> Response:
    """Return the answer that is a text."""
    body = text.encode("utf-8", "backslashreplace")
    return compressed(request, Response(body, media_type="text/plain; charset=utf-8"))


def error_reply(status: int, message: str) -> JSONResponse:
    """Return the answer that names an error."""
    return JSONResponse({"error": message.encode("utf-8", "backslashreplace").decode()}, status)


def compressed(request: Request, response: Response) -> Response:
    """Return an answer compressed by gzip, if that is worth it and the client takes it."""
    takes_gzip = "gzip" in request.headers.get("accept-encoding", "")
    if not takes_gzip or len(response.body) < _LEAST_COMPRESSED_BYTES:
        return response
    response.body = gzip.compress(bytes(response.body), _COMPRESSION, mtime=0)
    response.headers["content-length"] = str(len(response.body))
    response.headers["content-encoding"] = "gzip"
    response.headers["vary"] = "accept-encoding"
    return response


async def posted(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request has.

    Raises:
        ConfigurationError: it has none.
    """
    try:
        data = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise ConfigurationError("a JSON object is needed")
    return data
