"""Define the receiver of OTLP over HTTP: ``POST /v1/traces`` and ``POST /v1/logs``, protobuf or JSON, gzip or not."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from otel_agent_trace.formats.otlp_answers import Signal
from otel_agent_trace.receiver.bodies import Bodies
from otel_agent_trace.receiver.deliveries import Delivery
from otel_agent_trace.receiver.guard import LOOPBACK_NAMES, Guard
from otel_agent_trace.receiver.refusals import Reason, RefusedError
from otel_agent_trace.receiver.responses import JSON, PROTOBUF, Refusal, success
from otel_agent_trace.receiver.sink import Sink

PATHS: dict[Signal, str] = {"traces": "/v1/traces", "logs": "/v1/logs"}
_GZIP_BY_ENCODING = {"": False, "identity": False, "gzip": True}


def app(sink: Sink, *, hosts: Collection[str] | None = LOOPBACK_NAMES) -> Starlette:
    """Return an application that receives OTLP over HTTP.

    It answers 200 once the sink has written the request, with `partial_success` if spans were rejected. Nothing allows
    pages in a browser to send anything: there is no CORS.

    Args:
        sink: takes the requests.
        hosts: the names that requests may have in `Host`, by default those of loopback; None for any.
    """
    bodies = Bodies(sink.limits)
    routes = [
        Route(path, partial(_receive, sink=sink, bodies=bodies, signal=signal), methods=["POST"])
        for signal, path in PATHS.items()
    ]
    made = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=hosts)],
        exception_handlers={RefusedError: _refused, HTTPException: _not_here},
    )
    made.router.redirect_slashes = False
    return made


async def _receive(request: Request, *, sink: Sink, bodies: Bodies, signal: Signal) -> Response:
    is_json, is_gzip = _is_json(request), _is_gzip(request)
    async with bodies.received(request) as body:
        receipt = await asyncio.wrap_future(sink.submit(Delivery(signal, body, is_json, is_gzip)))
    return success(signal, receipt, as_json=is_json)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_json(request: Request) -> bool:
    media_type = _media_type(request)
    if media_type not in (JSON, PROTOBUF):
        raise RefusedError(Reason.MEDIA_TYPE, f"the content type must be {PROTOBUF} or {JSON}")
    return media_type == JSON


def _is_gzip(request: Request) -> bool:
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in _GZIP_BY_ENCODING:
        raise RefusedError(Reason.MEDIA_TYPE, "the content encoding must be gzip or identity")
    return _GZIP_BY_ENCODING[encoding]


async def _refused(request: Request, error: Any) -> Response:
    return Refusal(error, as_json=_media_type(request) != PROTOBUF)


async def _not_here(request: Request, error: Any) -> Response:
    """Answer a request with another path or another method."""
    if error.status_code == Reason.METHOD.http_status:
        refused, headers = RefusedError(Reason.METHOD, "only POST is served here"), {"allow": "POST"}
    else:
        served = " and ".join(PATHS.values())
        refused, headers = RefusedError(Reason.NOT_FOUND, f"only {served} are served here"), {}
    return Refusal(refused, as_json=_media_type(request) != PROTOBUF, headers=headers)
