"""Answer requests over HTTP, in the encoding of the request."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from otel_agent_trace.formats.otlp_answers import Signal, encode_response, encode_status
from otel_agent_trace.receiver.refusals import RefusedError
from otel_agent_trace.receiver.sink import Receipt

PROTOBUF, JSON = "application/x-protobuf", "application/json"
_MOST_UNREAD_BYTES, _MOST_UNREAD_S = 256 << 20, 5.0


def success(signal: Signal, receipt: Receipt, *, as_json: bool) -> Response:
    """Return the response to a request that was written."""
    body = encode_response(signal, receipt.rejected, receipt.message, as_json=as_json)
    return Response(body, media_type=JSON if as_json else PROTOBUF)


class Refusal(Response):
    """Answer a request that is refused; what is left of its body is received and dropped, then the connection closed.

    Clients that send a body read the answer afterwards: with a connection that is closed earlier, they never see it.
    """

    def __init__(self, error: RefusedError, *, as_json: bool, headers: dict[str, str] | None = None) -> None:
        body = encode_status(error.reason.grpc_code, str(error), as_json=as_json)
        retry = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
        super().__init__(
            body,
            error.reason.http_status,
            headers={"connection": "close", **retry, **(headers or {})},
            media_type=JSON if as_json else PROTOBUF,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, then receive what is left of the body, for some time."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_drop_body(receive), _MOST_UNREAD_S)
        await send({"type": "http.response.body", "body": b""})


async def _drop_body(receive: Receive) -> None:
    left = _MOST_UNREAD_BYTES
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return
