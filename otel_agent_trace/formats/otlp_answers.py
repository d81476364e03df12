"""Encode what a receiver of OTLP answers, in the encoding of the request."""

from __future__ import annotations

from typing import Literal

import msgspec

from otel_agent_trace.formats import otlp_proto

Signal = Literal["traces", "logs"]
_REJECTED_FIELDS: dict[Signal, str] = {"traces": "rejectedSpans", "logs": "rejectedLogRecords"}
_to_json = msgspec.json.Encoder().encode


def encode_response(signal: Signal, rejected: int, message: str, *, as_json: bool) -> bytes:
    """Return the body of a response to an accepted request.

    Args:
        signal: what the request had.
        rejected: the number of spans or log records that were rejected.
        message: why, or a warning; without either, the response has no `partial_success`, as OTLP requires.
        as_json: whether the body is JSON; else protobuf.
    """
    if not as_json:
        return otlp_proto.encode_response(rejected, message)
    if not rejected and not message:
        return b"{}"
    return _to_json({"partialSuccess": {_REJECTED_FIELDS[signal]: str(rejected), "errorMessage": message}})


def encode_status(code: int, message: str, *, as_json: bool) -> bytes:
    """Return the body of a response to a refused request, a ``google.rpc.Status``; `code` is one of gRPC's."""
    return _to_json({"code": code, "message": message}) if as_json else otlp_proto.encode_status(code, message)
