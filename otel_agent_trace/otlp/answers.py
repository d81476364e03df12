"""Read the responses of receivers of OTLP, and define the errors that they stand for."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import msgspec

from otel_agent_trace.errors import EndpointError
from otel_agent_trace.formats import otlp_proto
from otel_agent_trace.formats.otlp_proto import OtlpProtoError, PartialSuccess
from otel_agent_trace.http import MAX_ERROR_BYTES

MAX_ANSWER_BYTES = MAX_ERROR_BYTES
_HTML = re.compile(rb"(?i)\s*(<!doctype html|<html)")
_REASON_KEYS = ("message", "detail", "error", "error_description", "errors")


CHECK_HEADERS = "check OTEL_EXPORTER_OTLP_HEADERS"
"""Advice where the receiver misses credentials, or does not accept them."""


class RejectedError(Exception):
    """Report that the receiver rejected a request, which is not to be sent again; `for_size`: because it is too large."""

    def __init__(self, reason: str, *, for_size: bool = False) -> None:
        super().__init__(reason)
        self.for_size = for_size


class ServerError(Exception):
    """Report that the receiver failed (500), by accident or because of a span in the request."""


class NotServedError(EndpointError):
    """Report that the endpoint exists, but does not serve this signal; Jaeger takes spans only, for example."""

    @classmethod
    def for_logs(cls, endpoint: str, status: int | str) -> NotServedError:
        """Return the error of an endpoint for logs; its address is that for traces, so that the path is right."""
        return cls(f"{endpoint} takes no logs (it answered {status})")


class RetryableError(Exception):
    """Report that the receiver may accept the request later: after `after_s` seconds, if it names them."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class ConnectionLostError(RetryableError):
    """Report that the connection was lost or could not be made."""


def is_html(body: bytes) -> bool:
    """Return whether a body begins as a web page does."""
    return _HTML.match(body) is not None


def reason_in(content_type: str, body: bytes) -> str:
    """Return the reason for an error that the body of a response gives, or an empty text.

    It is the message of a `google.rpc.Status`, as the OTLP specification has it, or one of the usual keys of a JSON
    object, or the body itself.
    """
    if not body:
        return ""
    if is_html(body):
        return "a web page"
    if "protobuf" in content_type:
        with suppress(OtlpProtoError):
            return otlp_proto.decode_status(body).message
    if body.lstrip().startswith(b"{"):
        return _json_reason(body)
    return body.decode("utf-8", "replace")


def _json_reason(body: bytes) -> str:
    """Return the first of `_REASON_KEYS` that a JSON object has as a text, or the whole body."""
    text = body.decode("utf-8", "replace")
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text
    found = next((answer[name] for name in _REASON_KEYS if answer.get(name)), None)
    return found if isinstance(found, str) else text


# ── successful requests ──────────────────────────────────────────────────────────────────────────────────────────────


class _Partial(msgspec.Struct, rename="camel"):
    rejected_spans: int = 0
    rejected_log_records: int = 0
    error_message: str = ""


class _Response(msgspec.Struct, rename="camel"):
    partial_success: _Partial | None = None


def success_of(content_type: str, body: bytes) -> PartialSuccess:
    """Decode the response to a request that was accepted; an empty body of any type is a full success.

    Raises:
        OtlpProtoError: the response is not one of an OTLP receiver; the message describes it.
    """
    if not body:
        return PartialSuccess()
    if len(body) > MAX_ANSWER_BYTES:
        msg = f"more than {MAX_ANSWER_BYTES >> 10} KiB"
        raise OtlpProtoError(msg)
    if "json" in content_type or (not content_type and body.lstrip().startswith(b"{")):
        return _json_success(body)
    if "protobuf" in content_type or not content_type:
        return otlp_proto.decode_response(body)
    what = "a web page" if is_html(body) else content_type
    raise OtlpProtoError(what)


def _json_success(body: bytes) -> PartialSuccess:
    """Decode a response in JSON; other keys are ignored beside ``partialSuccess``, but not in place of it."""
    try:
        answer: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        partial = msgspec.json.decode(body, type=_Response, strict=False).partial_success or _Partial()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OtlpProtoError(str(error)) from error
    if answer and "partialSuccess" not in answer:
        msg = f"JSON with {', '.join(sorted(answer)[:3])}"
        raise OtlpProtoError(msg)
    return PartialSuccess(max(partial.rejected_spans, partial.rejected_log_records, 0), partial.error_message)
