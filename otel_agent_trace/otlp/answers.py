"""Read what a receiver may answer, as the sender has to take it."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import msgspec

from otel_agent_trace.formats import otlp_proto
from otel_agent_trace.formats.otlp_proto import OtlpProtoError, PartialSuccess
from otel_agent_trace.http import MAX_ERROR_BYTES

MAX_ANSWER_BYTES = MAX_ERROR_BYTES
_HTML = re.compile(rb"(?i)\s*(<!doctype html|<html)")
_WORDS = ("message", "detail", "error", "error_description", "errors")


class RejectedError(Exception):
    """The receiver does not take this request, and would not if it came again."""

    def __init__(self, reason: str, *, for_size: bool = False) -> None:
        super().__init__(reason)
        self.for_size = for_size


class ServerError(Exception):
    """The receiver failed over this request (500): by chance, or because of what is in it."""


class RetryableError(Exception):
    """This request may be taken later; `after_s` are the seconds that the receiver asks for."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class ConnectionLostError(RetryableError):
    """The connection was lost, or none came about."""


def is_html(body: bytes) -> bool:
    """Return whether it looks like a web page."""
    return _HTML.match(body) is not None


def words_of(content_type: str, body: bytes) -> str:
    """Return why it was refused, as an answer says it."""
    if not body:
        return ""
    if is_html(body):
        return "a web page"
    if "protobuf" in content_type:
        with suppress(OtlpProtoError):
            return otlp_proto.decode_status(body).message
    if body.lstrip().startswith(b"{"):
        return _json_words(body)
    return body.decode("utf-8", "replace")


def _json_words(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text
    found = next((answer[name] for name in _WORDS if answer.get(name)), None)
    return found if isinstance(found, str) else text


# ── answers to what was taken ────────────────────────────────────────────────────────────────────────────────────────


class _Partial(msgspec.Struct, rename="camel"):
    rejected_spans: int = 0
    error_message: str = ""


class _Response(msgspec.Struct, rename="camel"):
    partial_success: _Partial | None = None


def success_of(content_type: str, body: bytes) -> PartialSuccess:
    """Read an answer that has a status of success.

    An empty body says that all is well, whatever its type is.

    Raises:
        OtlpProtoError: it is no answer of a receiver of OTLP.
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
    """Read one in JSON. Unknown fields are fine beside the known one; alone they make it the answer of something else."""
    try:
        answer: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        partial = msgspec.json.decode(body, type=_Response, strict=False).partial_success or _Partial()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OtlpProtoError(str(error)) from error
    if answer and "partialSuccess" not in answer:
        msg = f"JSON with {', '.join(sorted(answer)[:3])}"
        raise OtlpProtoError(msg)
    return PartialSuccess(max(partial.rejected_spans, 0), partial.error_message)
